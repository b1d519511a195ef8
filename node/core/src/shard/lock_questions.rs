//! Answers about policies, locks and keep rules. Bounded: a preview looks at a page of one vault's snapshots at a time.
//!
//! Not here: other questions (`shard/questions.rs`), what the rules decide (`shard/keep.rs`, `shard/locks.rs`).

use strongroom_format::id::{IdentityId, SnapshotId, VaultId};
use strongroom_format::policy::Policy;
use strongroom_format::policy_view::{
    LockShown, LockView, Overdue, PolicyView, PreviewPlace, VaultLockShown, WeakeningShown,
};

use crate::clock;
use crate::query::Answer;
use crate::shard::expiry;
use crate::shard::lock_rows::{KeptRow, LockRow};
use crate::shard::locks;
use crate::shard::policies;
use crate::shard::rows::{SnapshotRow, SnapshotState, VaultRow};
use crate::shard::scope::TenantScope;
use crate::stop::{Stop, impossible};
use crate::tables::{Halt, Reads};

/// A page of a preview looks at so many snapshots at most.
const PREVIEW_MAX: u32 = 1000;
/// So many names are looked at for overdue ones.
const NAMES_MAX: usize = 4096;

/// What keeps a snapshot in this shard.
pub(crate) fn lock_of(
    scope: &TenantScope,
    reads: &dyn Reads,
    snapshot: SnapshotId,
    by: Option<&IdentityId>,
) -> Result<Option<Answer>, Halt> {
    let row: Option<SnapshotRow> = scope.get(reads, &(snapshot,))?;
    let own = row.filter(|row| {
        matches!(row.state, SnapshotState::Committed(_)) && by.is_none_or(|writer| *writer == row.opened.writer)
    });
    match own {
        Some(_) => Ok(Some(Answer::Lock(lock_view(scope, reads, snapshot)?))),
        None => Ok(None),
    }
}

/// The same of a committed snapshot.
pub(crate) fn lock_view(scope: &TenantScope, reads: &dyn Reads, snapshot: SnapshotId) -> Result<LockView, Halt> {
    let row = locks::row(scope, reads, snapshot)?;
    let LockRow { lock, holds, weakening, behind, .. } =
        row.ok_or_else(|| impossible("a committed snapshot has no lock row"))?;
    let clock_ms = clock::now(reads)?.clock_ms;
    Ok(LockView {
        lock: lock.map(|lock| LockShown {
            terms: lock.terms,
            until_unix_ms: lock.until_unix_ms,
            begun: lock.begins_ms.is_some(),
            over: locks::is_over(&lock, clock_ms),
        }),
        holds,
        weakening: weakening.map(|weakening| WeakeningShown {
            by: weakening.by,
            length_ms: weakening.length_ms,
            due_unix_ms: weakening.due_unix_ms,
        }),
        behind,
    })
}

/// A vault's policy and what it has to say today; a writer hears of its own names.
pub(crate) fn policy_of(
    scope: &TenantScope,
    reads: &dyn Reads,
    vault: VaultId,
    by: Option<&IdentityId>,
) -> Result<Option<Answer>, Halt> {
    let Some(row) = scope.get::<VaultRow>(reads, &(vault,))? else {
        return Ok(None);
    };
    let clock = clock::now(reads)?;
    let in_force = row.is_locked(clock.elapsed_ms);
    let lock = row.lock.map(|lock| VaultLockShown { by: lock.by, due_unix_ms: lock.due_unix_ms, in_force });
    let mut overdue = Vec::new();
    if let Some(every_ms) = row.policy.expected_every_ms {
        let names = match by {
            Some(writer) => scope.range::<KeptRow>(reads, &(vault, writer.clone()), NAMES_MAX)?,
            None => scope.range::<KeptRow>(reads, &(vault,), NAMES_MAX)?,
        };
        for ((_, writer, label), kept) in names {
            let late = kept.newest.elapsed_ms.saturating_add(every_ms) < clock.elapsed_ms;
            if (late || expiry::newest_is_damaged(scope, reads, vault, &kept)?)
                && overdue.len() < PolicyView::OVERDUE_MAX
            {
                overdue.push(Overdue { writer, label, newest_unix_ms: kept.newest.clock_ms });
            }
        }
    }
    Ok(Some(Answer::Policy(PolicyView { policy: row.policy, lock, overdue, clock_ms: clock.clock_ms })))
}

/// What would become of a vault's snapshots if a policy were in force now: a page of them by name. Nothing changes.
pub(crate) fn preview(
    scope: &TenantScope,
    reads: &dyn Reads,
    vault: VaultId,
    policy: &Policy,
    after: Option<&PreviewPlace>,
    limit: u32,
) -> Result<Option<Answer>, Halt> {
    if !scope.has::<VaultRow>(reads, &(vault,))? {
        return Ok(None);
    }
    match policies::check(policy) {
        Ok(()) => {}
        Err(Stop::Refused(refusal)) => {
            return Ok(Some(Answer::Invalid { why: format!("such a policy is refused: {refusal:?}") }));
        }
        Err(Stop::Halt(halt)) => return Err(halt),
    }
    let limit = if limit == 0 { PREVIEW_MAX } else { limit.min(PREVIEW_MAX) } as usize;
    Ok(Some(Answer::Preview(expiry::look(scope, reads, vault, policy, after, limit)?)))
}
