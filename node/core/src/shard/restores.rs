//! Restore sessions: opened at home by a restorer, with a purpose and a lifetime, in the log. An open one pins its
//! snapshots. Not here: the rest of the gate, which needs keys or disks (DESIGN.md §5.2).

use strongroom_format::command::Body;
use strongroom_format::id::{SessionId, SnapshotId};
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::role::Role;

use crate::shard::at::{At, Caller};
use crate::shard::ends::{self, End};
use crate::shard::rows::{PinRow, RestoreRow, SnapshotRow, SnapshotState};
use crate::shard::scope::TenantScope;
use crate::shard::usage;
use crate::stop::{Ruled, invalid, limit};
use crate::tables::{Halt, Tables};
use crate::text;

/// A restore session lasts at most a week.
pub(crate) const RESTORE_MS_MAX: u64 = 7 * 86_400_000;

/// At most so many restore sessions of one identity are open.
pub(crate) const RESTORES_MAX: u64 = 256;

/// Opens a restore session.
pub(crate) fn open(
    at: &At<'_>,
    caller: &Caller,
    tables: &mut dyn Tables,
    snapshots: &[SnapshotId],
    purpose: &str,
    lifetime_ms: u64,
) -> Ruled<Done> {
    caller.require(&[Role::Restorer])?;
    text::check(purpose)?;
    if !(1..=RESTORE_MS_MAX).contains(&lifetime_ms) {
        return Err(invalid("a restore session lasts 1 ms to 7 days"));
    }
    let mut snapshots = snapshots.to_vec();
    snapshots.sort_unstable();
    snapshots.dedup();
    if snapshots.is_empty() || Body::RESTORE_SNAPSHOTS_MAX < snapshots.len() {
        return Err(invalid("a restore session is for 1 to 64 snapshots"));
    }
    let scope = &caller.scope;
    let mut vaults = Vec::new();
    for snapshot in &snapshots {
        match scope.get::<SnapshotRow>(&*tables, &(*snapshot,))? {
            Some(SnapshotRow { opened, state: SnapshotState::Committed(_), .. }) => vaults.push(opened.vault),
            Some(_) | None => return Err(Refusal::NotFound.into()),
        }
    }
    vaults.dedup();
    let [vault] = vaults[..] else {
        return Err(invalid("a restore session is for one vault"));
    };
    if RESTORES_MAX <= usage::open_of(scope, &*tables, &caller.principal)?.restores {
        return Err(limit("open restore sessions of the identity"));
    }
    let restore = at.session();
    let ends_ms = at.now_ms.saturating_add(lifetime_ms);
    for snapshot in &snapshots {
        scope.put(tables, &(*snapshot, restore), &PinRow {})?;
    }
    let row = RestoreRow { identity: caller.principal.clone(), vault, snapshots, purpose: purpose.to_owned(), ends_ms };
    scope.put(tables, &(restore,), &row)?;
    ends::schedule(tables, ends_ms, scope.tenant(), End::Restore(restore))?;
    usage::count_open(scope, tables, &caller.principal, |row| {
        row.restores = row.restores.checked_add(1)?;
        Some(())
    })?;
    Ok(Done::RestoreOpened { restore, ends_ms })
}

/// Ends the caller's own restore session.
pub(crate) fn end_own(caller: &Caller, tables: &mut dyn Tables, restore: SessionId) -> Ruled<Done> {
    let row = caller.scope.get::<RestoreRow>(&*tables, &(restore,))?;
    if row.is_none_or(|row| row.identity != caller.principal) {
        return Err(Refusal::NotFound.into());
    }
    end(&caller.scope, tables, restore)?;
    Ok(Done::Done)
}

/// Ends a restore session, if it is open.
pub(crate) fn end(scope: &TenantScope, tables: &mut dyn Tables, restore: SessionId) -> Result<(), Halt> {
    let Some(row) = scope.get::<RestoreRow>(&*tables, &(restore,))? else {
        return Ok(());
    };
    for snapshot in row.snapshots {
        scope.delete::<PinRow>(tables, &(snapshot, restore))?;
    }
    scope.delete::<RestoreRow>(tables, &(restore,))?;
    usage::count_open(scope, tables, &row.identity, |row| {
        row.restores = row.restores.checked_sub(1)?;
        Some(())
    })
}
