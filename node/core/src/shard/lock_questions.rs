//! Answers about policies, locks and keep rules. Bounded: a preview looks at a page of one vault's snapshots at a time.
//!
//! Not here: other questions (`shard/questions.rs`), what the rules decide (`shard/keep.rs`, `shard/locks.rs`).

use strongroom_format::id::{IdentityId, SnapshotId, VaultId};
use strongroom_format::policy::Policy;
use strongroom_format::policy_view::{
    LockShown, LockView, Overdue, PolicyView, PreviewPage, PreviewPlace, Previewed, VaultLockShown, WeakeningShown,
};

use crate::clock;
use crate::query::Answer;
use crate::shard::keep::{self, Around, Kept};
use crate::shard::lock_rows::{KeptRow, LockRow};
use crate::shard::locks;
use crate::shard::policies;
use crate::shard::rows::{LabelRow, ListedRow, SnapshotRow, SnapshotState, VaultRow};
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
            if (late || newest_is_damaged(scope, reads, vault, &kept)?) && overdue.len() < PolicyView::OVERDUE_MAX {
                overdue.push(Overdue { writer, label, newest_unix_ms: kept.newest.clock_ms });
            }
        }
    }
    Ok(Some(Answer::Policy(PolicyView { policy: row.policy, lock, overdue, clock_ms: clock.clock_ms })))
}

/// A damaged snapshot is no good one.
fn newest_is_damaged(scope: &TenantScope, reads: &dyn Reads, vault: VaultId, kept: &KeptRow) -> Result<bool, Halt> {
    let Some(listed) = scope.get::<ListedRow>(reads, &(vault, kept.newest_order))? else {
        return Ok(false);
    };
    let row: Option<SnapshotRow> = scope.get(reads, &(listed.snapshot,))?;
    Ok(row.is_some_and(|row| matches!(row.state, SnapshotState::Committed(committed) if committed.damaged)))
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
    // One before the page says where its period began, one behind it whether its name goes on.
    let wanted = limit + 2;
    let mut rows = match after {
        Some(after) => {
            let from = (vault, after.writer.clone(), after.label.clone(), after.order);
            scope.range_from::<LabelRow>(reads, &(vault,), &from, wanted)?
        }
        None => scope.range::<LabelRow>(reads, &(vault,), wanted)?,
    };
    let is_before = |key: &(VaultId, IdentityId, _, u64)| {
        after.is_some_and(|after| (&key.1, &key.2, key.3) == (&after.writer, &after.label, after.order))
    };
    let mut before = None;
    if rows.first().is_some_and(|(key, _)| is_before(key)) {
        let ((_, writer, label, _), row) = rows.remove(0);
        before = Some((writer, label, committed_clock_ms(scope, reads, row.snapshot)?));
    }
    let behind = rows.get(limit).map(|((_, writer, label, _), _)| (writer.clone(), label.clone()));
    rows.truncate(limit);
    let next = behind.as_ref().and_then(|_| rows.last()).map(|((_, writer, label, order), _)| PreviewPlace {
        writer: writer.clone(),
        label: label.clone(),
        order: *order,
    });
    let clock_ms = clock::now(reads)?.clock_ms;
    let mut snapshots = Vec::with_capacity(rows.len());
    for of_name in rows.chunk_by(|(a, _), (b, _)| (&a.1, &a.2) == (&b.1, &b.2)) {
        let Some(((_, writer, label, _), _)) = of_name.first() else { continue };
        let kept: KeptRow = scope.get(reads, &(vault, writer.clone(), label.clone()))?.unwrap_or_default();
        let mut looked_at = Vec::with_capacity(of_name.len());
        for ((.., order), row) in of_name {
            let snapshot = row.snapshot;
            let committed_clock_ms = committed_clock_ms(scope, reads, snapshot)?;
            let locked = locks::keeps(scope, reads, snapshot, clock_ms)?;
            looked_at.push(Kept { snapshot, order: *order, committed_clock_ms, locked });
        }
        let before = before.take().filter(|(of, name, _)| (of, name) == (writer, label));
        let around = Around {
            kept: &kept,
            clock_ms,
            before_ms: before.map(|(.., clock_ms)| clock_ms),
            more: behind.as_ref().is_some_and(|(of, name)| (of, name) == (writer, label)),
        };
        let fates = keep::expires(policy, &around, &looked_at);
        snapshots.extend(looked_at.into_iter().zip(fates).map(|(kept, fate)| Previewed {
            snapshot: kept.snapshot,
            writer: writer.clone(),
            label: label.clone(),
            committed_unix_ms: kept.committed_clock_ms,
            fate,
        }));
    }
    Ok(Some(Answer::Preview(PreviewPage { snapshots, next })))
}

fn committed_clock_ms(scope: &TenantScope, reads: &dyn Reads, snapshot: SnapshotId) -> Result<u64, Halt> {
    let row: Option<SnapshotRow> = scope.get(reads, &(snapshot,))?;
    match row.map(|row| row.state) {
        Some(SnapshotState::Committed(committed)) => Ok(committed.committed_clock_ms),
        Some(SnapshotState::Open | SnapshotState::Ready(_) | SnapshotState::Aborted | SnapshotState::Ended { .. })
        | None => Err(impossible("a snapshot is listed by its name and not committed")),
    }
}
