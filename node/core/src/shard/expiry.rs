//! Expiry: what a vault's policy keeps no longer ends, some snapshots at a time.
//!
//! ```text
//!   place ─▶ the next few snapshots by name ─▶ a fate each, by the state as it is ─▶ those that go end, each with a leaf
//!                          └ the same for people: `vault policy dry-run`
//! ```
//!
//! Whoever asks for a step says where to look and nothing more: which snapshots end is decided here, from commit times,
//! the policy in force, locks, holds, restore sessions and wholes, and it does not hang on where a step begins or how far
//! it reaches. A step looks at a bounded number of snapshots. What stays whatever a policy says is asked of the same rules
//! as when an admin deletes (`shard/deletion.rs`). Where the newest of a name is damaged nothing of that name goes: the
//! last good one may be among what would. Nothing ends in a tenant that may do nothing.
//! Not here: what keep rules say (`shard/keep.rs`), who asks (`node/service`), what becomes of what went.

use strongroom_format::id::{SnapshotId, TenantId, VaultId};
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::policy::Policy;
use strongroom_format::policy_view::{Fate, PreviewPage, PreviewPlace, Previewed};
use strongroom_format::receipt::{AuditEvent, Expired};

use crate::clock;
use crate::query::{Answer, Expiring};
use crate::shard::at::At;
use crate::shard::audit;
use crate::shard::deletion::{self, Keeps};
use crate::shard::keep::{self, Kept};
use crate::shard::living;
use crate::shard::lock_rows::KeptRow;
use crate::shard::locks;
use crate::shard::rows::{Committed, EndFacts, LabelRow, ListedRow, SnapshotRow, SnapshotState, TenantRow, VaultRow};
use crate::shard::scope::TenantScope;
use crate::stop::{Ruled, Stop, impossible, invalid};
use crate::tables::{Halt, Reads, Tables};

/// One step looks at most at so many snapshots.
pub const EXPIRE_MAX: u32 = 256;
/// So many vaults are looked at for one question.
const VAULTS_MAX: usize = 64;

/// Ends what the policy of a vault keeps no longer, among the next `limit` snapshots behind a place.
pub(crate) fn expire(
    at: &At<'_>,
    tables: &mut dyn Tables,
    tenant: TenantId,
    vault: VaultId,
    after: Option<&PreviewPlace>,
    limit: u32,
) -> Ruled<Done> {
    if at.disputed {
        return Err(Refusal::DigestsDisagree.into());
    }
    if !(1..=EXPIRE_MAX).contains(&limit) {
        return Err(invalid("1 to 256 snapshots are looked at at once"));
    }
    let (scope, row) = TenantScope::of(&*tables, tenant)?.ok_or(Refusal::NotFound)?;
    if row.facts.home != at.group() {
        return Err(Refusal::WrongGroup.into());
    }
    if !row.is_active() {
        return Err(Refusal::TenantSuspended.into());
    }
    let policy = living::vault(&scope, &*tables, vault)?.policy;
    // All fates first, by the state as it is: what ends in this step changes nobody else's in it.
    let page = look(&scope, &*tables, vault, &policy, after, limit as usize)?;
    let looked_at = u32::try_from(page.snapshots.len()).map_err(|_| impossible("more than the limit was looked at"))?;
    let mut ended = 0;
    for going in page.snapshots.into_iter().filter(|previewed| previewed.fate == Fate::Goes) {
        // An end is final: what keeps a snapshot is asked once more by whoever ends it.
        let ending = match deletion::may_end(&scope, &*tables, going.snapshot, at.clock_ms) {
            Ok(ending) => ending,
            Err(Stop::Refused(_)) => continue,
            Err(Stop::Halt(halt)) => return Err(halt.into()),
        };
        let expired = Expired {
            snapshot: going.snapshot,
            vault,
            policy: policy.version,
            committed_clock_ms: going.committed_unix_ms,
            clock_ms: at.clock_ms,
        };
        let end = EndFacts {
            by: None,
            reason: format!("{}: {}", expired.by(), Expired::REASON),
            ended_ms: at.now_ms,
            ended_unix_ms: at.wall_unix_ms,
        };
        let leaf_index = audit::append(at, &scope, tables, AuditEvent::Expired(expired))?;
        deletion::end_snapshot(at, &scope, tables, going.snapshot, ending, end, leaf_index)?;
        ended += 1;
    }
    Ok(Done::Expired { looked_at, ended })
}

/// What becomes of the next `limit` snapshots of a vault under a policy, by name and then in the order of commits.
pub(crate) fn look(
    scope: &TenantScope,
    reads: &dyn Reads,
    vault: VaultId,
    policy: &Policy,
    after: Option<&PreviewPlace>,
    limit: usize,
) -> Result<PreviewPage, Halt> {
    // One behind the page says whether its last name goes on.
    let wanted = limit + 1;
    let mut rows = match after {
        Some(PreviewPlace { writer, label, order }) => {
            let from = (vault, writer.clone(), label.clone(), order.saturating_add(1));
            scope.range_from::<LabelRow>(reads, &(vault,), &from, wanted)?
        }
        None => scope.range::<LabelRow>(reads, &(vault,), wanted)?,
    };
    let behind = if limit < rows.len() { rows.pop() } else { None };
    let behind = behind.map(|((_, writer, label, _), _)| (writer, label));
    let next = behind.as_ref().and_then(|_| rows.last()).map(|((_, writer, label, order), _)| PreviewPlace {
        writer: writer.clone(),
        label: label.clone(),
        order: *order,
    });
    let clock_ms = clock::now(reads)?.clock_ms;
    let mut snapshots = Vec::with_capacity(rows.len());
    for of_name in rows.chunk_by(|(a, _), (b, _)| (&a.1, &a.2) == (&b.1, &b.2)) {
        let Some(((_, writer, label, _), _)) = of_name.first() else { continue };
        let name: KeptRow = scope.get(reads, &(vault, writer.clone(), label.clone()))?.unwrap_or_default();
        let newest_is_damaged = newest_is_damaged(scope, reads, vault, &name)?;
        let goes_on = behind.as_ref().is_some_and(|(of, called)| (of, called) == (writer, label));
        for (place, ((.., order), LabelRow { snapshot })) in (1..).zip(of_name) {
            let row: Option<SnapshotRow> = scope.get(reads, &(*snapshot,))?;
            let row = row.ok_or_else(|| impossible("a snapshot is listed by its name and not there"))?;
            let committed = committed(&row)?;
            let (committed_clock_ms, firsts) = (committed.committed_clock_ms, committed.firsts);
            let is_newest = place == of_name.len() && !goes_on;
            let fate = match kept(scope, reads, *snapshot, &row, clock_ms)? {
                Some(fate) => fate,
                None => {
                    keep::fate(policy, &name, clock_ms, &Kept { order: *order, committed_clock_ms, firsts, is_newest })
                }
            };
            snapshots.push(Previewed {
                snapshot: *snapshot,
                writer: writer.clone(),
                label: label.clone(),
                committed_unix_ms: committed_clock_ms,
                fate: if fate == Fate::Goes && newest_is_damaged { Fate::NewestDamaged } else { fate },
            });
        }
    }
    Ok(PreviewPage { snapshots, next })
}

/// What keeps a committed snapshot whatever a policy says.
fn kept(
    scope: &TenantScope,
    reads: &dyn Reads,
    snapshot: SnapshotId,
    row: &SnapshotRow,
    clock_ms: u64,
) -> Result<Option<Fate>, Halt> {
    let lock = locks::row(scope, reads, snapshot)?;
    Ok(deletion::keeps(scope, reads, snapshot, row, lock.as_ref(), clock_ms)?.map(|keeps| match keeps {
        Keeps::Lock(Refusal::LegalHold) => Fate::Held,
        Keeps::Lock(Refusal::RetentionActive { until_unix_ms }) => Fate::Locked { until_unix_ms },
        // Whatever else keeps it keeps it.
        Keeps::Lock(_) => Fate::Locked { until_unix_ms: None },
        Keeps::Behind => Fate::Behind,
        Keeps::Whole(whole) => Fate::OfWhole { whole },
        Keeps::Pin => Fate::Pinned,
    }))
}

fn committed(row: &SnapshotRow) -> Result<&Committed, Halt> {
    match &row.state {
        SnapshotState::Committed(committed) => Ok(committed),
        SnapshotState::Open | SnapshotState::Ready(_) | SnapshotState::Aborted | SnapshotState::Ended { .. } => {
            Err(impossible("a snapshot is listed by its name and not committed"))
        }
    }
}

/// Whether the newest snapshot of a name is damaged: such a one is no good one.
pub(crate) fn newest_is_damaged(
    scope: &TenantScope,
    reads: &dyn Reads,
    vault: VaultId,
    name: &KeptRow,
) -> Result<bool, Halt> {
    let Some(listed) = scope.get::<ListedRow>(reads, &(vault, name.newest_order))? else {
        return Ok(false);
    };
    let row: Option<SnapshotRow> = scope.get(reads, &(listed.snapshot,))?;
    Ok(row.is_some_and(|row| matches!(row.state, SnapshotState::Committed(committed) if committed.damaged)))
}

/// The vaults of a tenant whose policies let something go, among the next ones behind one: for the worker that asks.
pub(crate) fn vaults(
    scope: &TenantScope,
    tenant: &TenantRow,
    reads: &dyn Reads,
    after: Option<VaultId>,
) -> Result<Answer, Halt> {
    let rows = match after {
        None => scope.range::<VaultRow>(reads, &(), VAULTS_MAX)?,
        Some(after) => scope.range_from::<VaultRow>(reads, &(), &(after,), VAULTS_MAX)?,
    };
    let next = if rows.len() < VAULTS_MAX { None } else { rows.last().map(|((vault,), _)| *vault) };
    let lets_go = |row: &VaultRow| tenant.is_active() && row.end.is_none() && !row.policy.keep.keep_everything();
    let behind = rows.into_iter().filter(|((vault,), row)| after != Some(*vault) && lets_go(row));
    Ok(Answer::Expiring(Expiring { vaults: behind.map(|((vault,), row)| (vault, row.policy)).collect(), next }))
}
