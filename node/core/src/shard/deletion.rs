//! The end of a snapshot, and of a vault in which none is left (DESIGN.md §5.3).
//!
//!     home: Committed ──an admin's order, or its policy──▶ Ended ──EndPart, told again until done──▶ other shards' parts dropped
//!                 └ refused while a lock, a legal hold, a restore session or the whole that it belongs to keeps it
//!
//! The row of a snapshot stays: its id is never given again and its end is final. So do the row and the name of a vault.
//! A part in another shard goes only when the home shard says that the snapshot has ended *and* the part's own lock is
//! over by that shard's own clock. Laws: `laws/decisions_never_flip.rs`, `laws/locked_snapshots_stay.rs`. Not here: what
//! a policy ends (`shard/expiry.rs`), what becomes of what it named (`shard/garbage.rs`), of copies on disks (`shard/release.rs`), locks (`shard/locks.rs`).

use strongroom_format::ending::EndOrder;
use strongroom_format::gathered::StreamOf;
use strongroom_format::id::{SnapshotId, VaultId};
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::receipt::AuditEvent;
use strongroom_format::role::Role;

use crate::entry::{Ended, PartEnded};
use crate::proved::Proved;
use crate::row::Space;
use crate::shard::at::{At, Caller};
use crate::shard::audit;
use crate::shard::garbage;
use crate::shard::keep;
use crate::shard::living;
use crate::shard::lock_rows::LockRow;
use crate::shard::locks;
use crate::shard::rows::{
    Committed, EndFacts, EndingRow, EnvelopeRow, LabelRow, ListedRow, PartRow, PartState, PinRow, SnapshotRow,
    SnapshotState, TicketRow, TicketState, Usage, VaultRow,
};
use crate::shard::scope::TenantScope;
use crate::shard::usage;
use crate::stop::{Ruled, impossible, invalid};
use crate::tables::{Halt, Reads, Tables};
use crate::text;

/// Carries out what an admin orders.
pub(crate) fn order(at: &At<'_>, caller: &Caller, tables: &mut dyn Tables, order: &EndOrder) -> Ruled<Done> {
    caller.require(&[Role::Admin])?;
    text::check(order.reason())?;
    if order.reason().is_empty() {
        return Err(invalid("whoever ends something says why"));
    }
    let end = EndFacts {
        by: Some(caller.principal.clone()),
        reason: order.reason().to_owned(),
        ended_ms: at.now_ms,
        ended_unix_ms: at.wall_unix_ms,
    };
    match order {
        EndOrder::DeleteSnapshot { snapshot, .. } => {
            let ending = may_end(&caller.scope, &*tables, *snapshot, at.clock_ms)?;
            let leaf_index = audit::append(at, &caller.scope, tables, said(caller, order))?;
            Ok(end_snapshot(at, &caller.scope, tables, *snapshot, ending, end, leaf_index)?)
        }
        EndOrder::DeleteVault { vault, .. } => end_vault(&caller.scope, tables, *vault, end),
    }
}

/// What the log says of an order that is carried out.
fn said(caller: &Caller, order: &EndOrder) -> AuditEvent {
    AuditEvent::Decision {
        kind: order.kind(),
        principal: caller.principal.clone(),
        subject: order.subject().to_vec(),
        allowed: true,
        reason: order.reason().to_owned(),
    }
}

/// A committed snapshot that nothing keeps: only [`may_end`] makes one.
pub(crate) struct Ending {
    row: SnapshotRow,
    committed: Committed,
    kept: LockRow,
}

/// A committed snapshot's rows, if no lock, hold, whole or restore session keeps it.
pub(crate) fn may_end(scope: &TenantScope, reads: &dyn Reads, snapshot: SnapshotId, clock_ms: u64) -> Ruled<Ending> {
    let row: SnapshotRow = scope.get(reads, &(snapshot,))?.ok_or(Refusal::NotFound)?;
    let SnapshotState::Committed(committed) = row.state.clone() else {
        return Err(Refusal::NotFound.into());
    };
    let kept = locks::row(scope, reads, snapshot)?;
    match keeps(scope, reads, snapshot, &row, kept.as_ref(), clock_ms)? {
        Some(Keeps::Lock(refusal)) => Err(refusal.into()),
        Some(Keeps::Behind) => Err(Refusal::RetentionActive { until_unix_ms: None }.into()),
        Some(Keeps::Whole(whole)) => Err(Refusal::WholeStands { whole }.into()),
        Some(Keeps::Pin) => Err(Refusal::Pinned.into()),
        None => {
            let kept = kept.ok_or_else(|| impossible("what nothing is known of is locked"))?;
            Ok(Ending { row, committed, kept })
        }
    }
}

/// What keeps a committed snapshot, whatever anybody or a policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// A lock or a hold.
    Lock(Refusal),
    /// A shard has not heard yet what was ordered last: so no hold that was removed stays behind there.
    Behind,
    /// The whole that it is a stream of.
    Whole(SnapshotId),
    /// A restore session.
    Pin,
}

/// What keeps a committed snapshot of this row and with this lock row, if anything does.
pub(crate) fn keeps(
    scope: &TenantScope,
    reads: &dyn Reads,
    snapshot: SnapshotId,
    row: &SnapshotRow,
    kept: Option<&LockRow>,
    clock_ms: u64,
) -> Result<Option<Keeps>, Halt> {
    if let Some(refusal) = locks::is_locked(kept, clock_ms) {
        return Ok(Some(Keeps::Lock(refusal)));
    }
    if kept.is_some_and(|kept| !kept.behind.is_empty()) {
        return Ok(Some(Keeps::Behind));
    }
    if let Some(whole) = standing_whole(scope, reads, row.stream.as_ref())? {
        return Ok(Some(Keeps::Whole(whole)));
    }
    let pinned = !scope.range::<PinRow>(reads, &(snapshot,), 1)?.is_empty();
    Ok(pinned.then_some(Keeps::Pin))
}

/// Ends a snapshot that nothing keeps.
pub(crate) fn end_snapshot(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    snapshot: SnapshotId,
    ending: Ending,
    end: EndFacts,
    leaf_index: u64,
) -> Result<Done, Halt> {
    let Ending { mut row, committed, kept } = ending;
    let part: Option<PartRow> = scope.get(&*tables, &(snapshot,))?;
    let mut part = part.ok_or_else(|| impossible("a committed snapshot has no part at home"))?;
    let PartState::Committed { sealed } = part.state else {
        return Err(impossible("a committed snapshot's part at home is not"));
    };
    let (vault, domain) = (row.opened.vault, row.opened.domain);
    garbage::let_go(scope, tables, (vault, domain), snapshot, sealed)?;
    part.state = PartState::Dropped;
    scope.put(tables, &(snapshot,), &part)?;
    for group in row.opened.groups.iter().filter(|group| **group != at.group()) {
        Space::whole().put(tables, &(scope.tenant(), snapshot, *group), &EndingRow {})?;
    }
    scope.delete::<EnvelopeRow>(tables, &(snapshot,))?;
    scope.delete::<ListedRow>(tables, &(vault, committed.order))?;
    let name = (vault, row.opened.writer.clone(), row.label.clone(), committed.order);
    scope.delete::<LabelRow>(tables, &name)?;
    let (vault, writer, label, _) = name;
    keep::ended(scope, tables, &(vault, writer, label))?;
    locks::forget(scope, tables, snapshot, &kept)?;
    let went = Usage::of_snapshot(committed.logical_bytes);
    usage::count(scope, tables, vault, &row.opened.writer, &Usage::default(), &went)?;
    row.state = SnapshotState::Ended { committed, end, leaf_index, lock: kept.lock.map(|lock| lock.terms) };
    scope.put(tables, &(snapshot,), &row)?;
    Ok(Done::Done)
}

/// The whole that a stream belongs to, while it stands: of a whole all streams are shown, or none.
fn standing_whole(scope: &TenantScope, reads: &dyn Reads, of: Option<&StreamOf>) -> Result<Option<SnapshotId>, Halt> {
    let Some(of) = of else { return Ok(None) };
    let ticket: Option<TicketRow> = scope.get(reads, &(of.ticket,))?;
    let Some(TicketState::Committed { whole }) = ticket.map(|ticket| ticket.state) else { return Ok(None) };
    let row: Option<SnapshotRow> = scope.get(reads, &(whole,))?;
    let stands = row.is_some_and(|row| matches!(row.state, SnapshotState::Committed(_)));
    Ok(stands.then_some(whole))
}

/// Ends a vault in which no snapshot is left. What uploads to it are under way are refused at their commit.
fn end_vault(scope: &TenantScope, tables: &mut dyn Tables, vault: VaultId, end: EndFacts) -> Ruled<Done> {
    let mut row: VaultRow = living::vault(scope, &*tables, vault)?;
    if !scope.range::<ListedRow>(&*tables, &(vault,), 1)?.is_empty() {
        return Err(Refusal::VaultNotEmpty.into());
    }
    row.end = Some(end);
    scope.put(tables, &(vault,), &row)?;
    garbage::vault_ended(scope, tables, vault)?;
    Ok(Done::Done)
}

/// Drops a part whose home shard says that its snapshot has ended, once its own lock is over.
pub(crate) fn end_part(at: &At<'_>, tables: &mut dyn Tables, ended: &Proved<Ended>) -> Ruled<Done> {
    let ended = ended.value();
    if at.disputed {
        return Err(Refusal::DigestsDisagree.into());
    }
    let (scope, _) = TenantScope::of(&*tables, ended.tenant)?.ok_or(Refusal::NotFound)?;
    let mut row: PartRow = scope.get(&*tables, &(ended.snapshot,))?.ok_or(Refusal::NotFound)?;
    if row.opened.home != ended.home || ended.home == at.group() {
        return Err(Refusal::WrongGroup.into());
    }
    let sealed = match row.state {
        PartState::Committed { sealed } => {
            let kept = locks::check_may_end(&scope, &*tables, ended.snapshot, at.clock_ms)?;
            locks::forget(&scope, tables, ended.snapshot, &kept)?;
            sealed
        }
        PartState::Dropped => return Ok(Done::Done),
        // It has not even heard that it belongs to a snapshot.
        PartState::Open | PartState::Sealed(_) => return Err(Refusal::VersionConflict.into()),
    };
    let place = (row.opened.vault, row.opened.domain);
    garbage::let_go(&scope, tables, place, ended.snapshot, sealed)?;
    row.state = PartState::Dropped;
    scope.put(tables, &(ended.snapshot,), &row)?;
    Ok(Done::Done)
}

/// Notes that a shard has dropped its part: it is told no more.
pub(crate) fn part_ended(tables: &mut dyn Tables, ended: &Proved<PartEnded>) -> Result<Done, Halt> {
    let PartEnded { tenant, snapshot, group } = *ended.value();
    Space::whole().delete::<EndingRow>(tables, &(tenant, snapshot, group))?;
    Ok(Done::Done)
}
