//! What people ask of a snapshot's lock and holds, at home.
//!
//!     ExtendLock: longer, stricter, at once          AddHold ▶ held ──RemoveHold, every one──▶ not held
//!     WeakenLock: a governance lock, 72 h on E later ──CancelWeakening, ExtendLock──▶ as if never asked
//!
//! Compliance locks are weakened by nobody, and a governance lock may become one, never back (N57 to N59). Where the
//! design wants approvals of others, which no rule verifies yet, an admin's wish waits 72 hours, in which every legal
//! and every admin may cancel it. Each wish and what becomes of it is a leaf. Holds are the legal role's alone (N60). Law:
//! `laws/locks_only_grow.rs`. Not here: what a lock is (`shard/locks.rs`), the other shards (`shard/lock_parts.rs`).

use strongroom_format::id::{HoldName, SnapshotId};
use strongroom_format::lock::{Hold, LockMode, LockTerms, Longer};
use strongroom_format::lock_order::LockOrder;
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::policy::Policy;
use strongroom_format::role::Role;

use crate::shard::at::{At, Caller};
use crate::shard::audit;
use crate::shard::ends::{self, End};
use crate::shard::lock_parts;
use crate::shard::lock_rows::{HOLDS_MAX, Lock, LockRow, Weakening, WeakeningRow};
use crate::shard::locks::{self, LOCK_MS_MAX};
use crate::shard::rows::{SnapshotRow, SnapshotState, VaultRow};
use crate::shard::scope::TenantScope;
use crate::stop::{Ruled, Stop, impossible, invalid, limit};
use crate::tables::{Halt, Reads, Tables};
use crate::text;

/// How long a wish to weaken a lock waits.
pub const WEAKEN_AFTER_MS: u64 = 72 * 3_600_000;

/// Executes an order about a snapshot.
pub(crate) fn order(at: &At<'_>, caller: &Caller, tables: &mut dyn Tables, order: &LockOrder) -> Ruled<Done> {
    match order {
        LockOrder::ExtendLock { snapshot, mode, longer, reason } => {
            caller.require(&[Role::Admin, Role::Legal])?;
            text::check(reason)?;
            extend(at, caller, tables, *snapshot, *mode, *longer)
        }
        LockOrder::WeakenLock { snapshot, length_ms, reason, approvals: _ } => {
            caller.require(&[Role::Admin])?;
            given(reason)?;
            ask_to_weaken(at, caller, tables, *snapshot, *length_ms)
        }
        LockOrder::CancelWeakening { snapshot, reason } => {
            caller.require(&[Role::Admin, Role::Legal])?;
            text::check(reason)?;
            cancel(caller, tables, *snapshot)
        }
        LockOrder::AddHold { snapshot, hold, reason } => {
            caller.require(&[Role::Legal])?;
            given(reason)?;
            add_hold(at, caller, tables, *snapshot, hold)
        }
        LockOrder::RemoveHold { snapshot, hold, reason, approvals: _ } => {
            caller.require(&[Role::Legal])?;
            given(reason)?;
            remove_hold(caller, tables, *snapshot, hold)
        }
        LockOrder::SetPolicy { .. } | LockOrder::LockVault { .. } | LockOrder::WithdrawVaultLock { .. } => {
            Err(invalid("this is about a vault"))
        }
    }
}

/// At the end of the 72 hours: the lock becomes what was asked for, if that is still what people want.
pub(crate) fn weaken(at: &At<'_>, scope: &TenantScope, tables: &mut dyn Tables, number: u64) -> Result<(), Halt> {
    let Some(WeakeningRow { snapshot }) = scope.get(&*tables, &(number,))? else {
        return Ok(()); // cancelled
    };
    scope.delete::<WeakeningRow>(tables, &(number,))?;
    let snapshot_row: Option<SnapshotRow> = scope.get(&*tables, &(snapshot,))?;
    let (Some(mut row), Some(snapshot_row)) = (locks::row(scope, &*tables, snapshot)?, snapshot_row) else {
        return Ok(());
    };
    let Some(weakening) = row.weakening.take().filter(|weakening| weakening.number == number) else {
        return Err(impossible("a wish to weaken a lock is not that of its snapshot"));
    };
    let governance = row.lock.filter(|lock| lock.terms.mode == LockMode::Governance);
    if let Some(lock) = governance.filter(|lock| weakening.length_ms < lock.terms.length_ms) {
        row.lock = shortened(lock, weakening.length_ms);
        row.left_ms = 0;
        lock_parts::changed(scope, tables, &snapshot_row.opened, &mut row)?;
        audit::weakened(at, scope, tables, weakening.by, snapshot)?;
    }
    scope.put(tables, &(snapshot,), &row)
}

fn shortened(lock: Lock, length_ms: u64) -> Option<Lock> {
    let cut_ms = lock.terms.length_ms.saturating_sub(length_ms);
    let until_unix_ms = lock.until_unix_ms.saturating_sub(cut_ms);
    let terms = LockTerms { length_ms, ..lock.terms };
    (length_ms != 0).then_some(Lock { terms, until_unix_ms, ..lock })
}

/// A lock that is longer or stricter, and what is left of it.
fn extend(
    at: &At<'_>,
    caller: &Caller,
    tables: &mut dyn Tables,
    snapshot: SnapshotId,
    mode: LockMode,
    longer: Longer,
) -> Ruled<Done> {
    let Target { opened, mut row, policy, .. } = target(at, caller, &*tables, snapshot)?;
    // What is over is no lock any more: another one begins.
    let current = row.lock.filter(|lock| !locks::is_over(lock, at.clock_ms));
    let elapsed_unix_ms = locks::elapsed_unix_ms(&*tables)?;
    let begun_for_ms =
        current.and_then(|lock| lock.begins_ms).map_or(0, |begins_ms| elapsed_unix_ms.saturating_sub(begins_ms));
    let too_long = || Stop::Refused(Refusal::LockOutOfRange);
    let (length_ms, left_ms, until_unix_ms) = match longer {
        Longer::Length { length_ms } => {
            let from_unix_ms = match current {
                Some(lock) => lock.until_unix_ms.saturating_sub(lock.terms.length_ms),
                None => at.clock_ms,
            };
            (length_ms, length_ms.saturating_sub(begun_for_ms), from_unix_ms.saturating_add(length_ms))
        }
        Longer::Until { date_unix_ms } => {
            // The longer of both: the clock may be late, and so may be the door's wall clock.
            let by_clock_ms = date_unix_ms.saturating_sub(at.clock_ms);
            let by_wall_ms = date_unix_ms.saturating_sub(at.wall_unix_ms);
            let left_ms = by_clock_ms.max(by_wall_ms);
            (left_ms.checked_add(begun_for_ms).ok_or_else(too_long)?, left_ms, date_unix_ms)
        }
    };
    if let Some(lock) = current {
        let shrinks = length_ms < lock.terms.length_ms || mode < lock.terms.mode || until_unix_ms < lock.until_unix_ms;
        if shrinks {
            return Err(Refusal::LockCannotShrink { until_unix_ms: lock.until_unix_ms }.into());
        }
        if (lock.terms, lock.until_unix_ms) == (LockTerms { mode, length_ms }, until_unix_ms) {
            return Ok(Done::Done);
        }
    }
    let permitted = locks::within(length_ms, policy.lock_min_ms, LOCK_MS_MAX) && left_ms <= policy.lock_max_ms;
    if !permitted {
        return Err(too_long());
    }
    let begins_ms = current.and_then(|lock| lock.begins_ms);
    if current.is_none() {
        locks::wait(at, &caller.scope, tables, snapshot)?;
    }
    row.lock = Some(Lock { terms: LockTerms { mode, length_ms }, begins_ms, until_unix_ms });
    // Those that are behind may not have heard of the order before either.
    row.left_ms = if row.behind.is_empty() { left_ms } else { row.left_ms.max(left_ms) };
    // What was asked for was asked of another lock.
    forget_wish(&caller.scope, tables, &mut row)?;
    lock_parts::changed(&caller.scope, tables, &opened, &mut row)?;
    caller.scope.put(tables, &(snapshot,), &row)?;
    Ok(Done::Done)
}

fn ask_to_weaken(
    at: &At<'_>,
    caller: &Caller,
    tables: &mut dyn Tables,
    snapshot: SnapshotId,
    length_ms: u64,
) -> Ruled<Done> {
    let Target { mut row, policy, vault_locked, .. } = target(at, caller, &*tables, snapshot)?;
    let lock = row.lock.filter(|lock| !locks::is_over(lock, at.clock_ms)).ok_or(Refusal::NotFound)?;
    match lock.terms.mode {
        LockMode::Compliance => {
            return Err(Refusal::RetentionActive { until_unix_ms: Some(lock.until_unix_ms) }.into());
        }
        LockMode::Governance => {}
    }
    if row.weakening.is_some() {
        return Err(Refusal::VersionConflict.into());
    }
    if lock.terms.length_ms <= length_ms {
        return Err(invalid("that would not be shorter: extend a lock to make it longer"));
    }
    if length_ms < policy.lock_min_ms {
        let refusal = if vault_locked { Refusal::VaultLocked } else { Refusal::LockOutOfRange };
        return Err(refusal.into());
    }
    let due_ms = at.now_ms.checked_add(WEAKEN_AFTER_MS).ok_or_else(|| invalid("time overflows"))?;
    let due_unix_ms = locks::elapsed_unix_ms(&*tables)?.saturating_add(WEAKEN_AFTER_MS);
    let number = at.place.number();
    row.weakening = Some(Weakening { by: caller.principal.clone(), length_ms, due_ms, due_unix_ms, number });
    let scope = &caller.scope;
    scope.put(tables, &(number,), &WeakeningRow { snapshot })?;
    ends::schedule(tables, due_ms, scope.tenant(), End::Weakening(number))?;
    scope.put(tables, &(snapshot,), &row)?;
    Ok(Done::Done)
}

fn cancel(caller: &Caller, tables: &mut dyn Tables, snapshot: SnapshotId) -> Ruled<Done> {
    let mut row = row_at_home(caller, &*tables, snapshot)?;
    if row.weakening.is_none() {
        return Err(Refusal::NotFound.into());
    }
    forget_wish(&caller.scope, tables, &mut row)?;
    caller.scope.put(tables, &(snapshot,), &row)?;
    Ok(Done::Done)
}

/// Its row in the order of time stays until then, and finds nothing.
fn forget_wish(scope: &TenantScope, tables: &mut dyn Tables, row: &mut LockRow) -> Result<(), Halt> {
    match row.weakening.take() {
        Some(weakening) => scope.delete::<WeakeningRow>(tables, &(weakening.number,)),
        None => Ok(()),
    }
}

fn add_hold(
    at: &At<'_>,
    caller: &Caller,
    tables: &mut dyn Tables,
    snapshot: SnapshotId,
    name: &HoldName,
) -> Ruled<Done> {
    let Target { opened, mut row, .. } = target(at, caller, &*tables, snapshot)?;
    let place = match row.holds.binary_search_by(|hold| hold.name.cmp(name)) {
        // Asked again: there is nothing more to do.
        Ok(_) => return Ok(Done::Done),
        Err(place) => place,
    };
    if HOLDS_MAX <= row.holds.len() {
        return Err(limit("holds of the snapshot"));
    }
    row.holds.insert(place, Hold { name: name.clone(), since_unix_ms: at.wall_unix_ms });
    lock_parts::changed(&caller.scope, tables, &opened, &mut row)?;
    caller.scope.put(tables, &(snapshot,), &row)?;
    Ok(Done::Done)
}

fn remove_hold(caller: &Caller, tables: &mut dyn Tables, snapshot: SnapshotId, name: &HoldName) -> Ruled<Done> {
    let mut row = row_at_home(caller, &*tables, snapshot)?;
    let place = row.holds.iter().position(|hold| hold.name == *name).ok_or(Refusal::NotFound)?;
    row.holds.remove(place);
    let snapshot_row: SnapshotRow = caller.scope.get(&*tables, &(snapshot,))?.ok_or(Refusal::NotFound)?;
    lock_parts::changed(&caller.scope, tables, &snapshot_row.opened, &mut row)?;
    caller.scope.put(tables, &(snapshot,), &row)?;
    Ok(Done::Done)
}

/// What an order is about.
struct Target {
    opened: strongroom_format::command::Opened,
    row: LockRow,
    policy: Policy,
    vault_locked: bool,
}

fn target(at: &At<'_>, caller: &Caller, reads: &dyn Reads, snapshot: SnapshotId) -> Ruled<Target> {
    let row = row_at_home(caller, reads, snapshot)?;
    let SnapshotRow { opened, .. } = caller.scope.get(reads, &(snapshot,))?.ok_or(Refusal::NotFound)?;
    let vault: VaultRow = caller.scope.get(reads, &(opened.vault,))?.ok_or(Refusal::NotFound)?;
    let vault_locked = vault.is_locked(at.now_ms);
    Ok(Target { opened, row, policy: vault.policy, vault_locked })
}

/// The row of a committed snapshot; what is not committed, or another's, is as if absent.
fn row_at_home(caller: &Caller, reads: &dyn Reads, snapshot: SnapshotId) -> Ruled<LockRow> {
    caller.row()?;
    let row: SnapshotRow = caller.scope.get(reads, &(snapshot,))?.ok_or(Refusal::NotFound)?;
    match row.state {
        SnapshotState::Committed(_) => {}
        SnapshotState::Open | SnapshotState::Ready(_) | SnapshotState::Aborted | SnapshotState::Ended { .. } => {
            return Err(Refusal::NotFound.into());
        }
    }
    Ok(locks::row(&caller.scope, reads, snapshot)?.ok_or_else(|| impossible("a committed snapshot has no lock row"))?)
}

/// A reason that somebody gave.
fn given(reason: &str) -> Ruled<()> {
    text::check(reason)?;
    if reason.trim().is_empty() { Err(invalid("this needs a reason")) } else { Ok(()) }
}
