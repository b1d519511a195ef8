//! Policies: what a vault promises for its snapshots, and the vault lock behind which they only get stricter.
//!
//!     policy n ──SetPolicy n + 1──▶ …      LockVault ──cooling-off on E──▶ locked, for ever
//!                                                └──WithdrawVaultLock──▶ as before
//!
//! What snapshots got under an earlier policy they keep. A commit cites the version in force (N48). Law:
//! `laws/locked_vaults_get_stricter.rs`. Not here: single locks (`shard/lock_orders.rs`), keep rules (`shard/keep.rs`).

use strongroom_format::id::{PolicyVersion, VaultId};
use strongroom_format::lock_order::LockOrder;
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::policy::{KeepRules, Policy};
use strongroom_format::role::Role;

use crate::shard::at::{At, Caller};
use crate::shard::keep::{Calendar as _, PERIODS};
use crate::shard::living;
use crate::shard::locks::{self, LOCK_MS_MAX};
use crate::shard::rows::{VaultLock, VaultRow};
use crate::stop::{Ruled, invalid};
use crate::tables::Tables;
use crate::text;

/// A vault's lock may be withdrawn at least so long, and as long at most.
pub(crate) const COOLING_OFF_MS: std::ops::RangeInclusive<u64> = 3_600_000..=30 * 86_400_000;

/// Refuses a policy whose numbers make no sense: they would be trusted for ever (N63).
pub(crate) fn check(policy: &Policy) -> Ruled<()> {
    if LOCK_MS_MAX < policy.lock_max_ms || policy.lock_max_ms < policy.lock_min_ms {
        return Err(Refusal::LockOutOfRange.into());
    }
    let within = |length_ms| locks::within(length_ms, policy.lock_min_ms, policy.lock_max_ms);
    if policy.default_lock.is_some_and(|default| !within(default.length_ms)) {
        return Err(Refusal::LockOutOfRange.into());
    }
    for period in PERIODS {
        // A promise is a lock: it has a length, and no lock is longer than the vault's longest.
        match period.promise_ms(&policy.keep) {
            Some(promise_ms) if promise_ms <= policy.lock_max_ms => {}
            Some(_) | None => return Err(Refusal::LockOutOfRange.into()),
        }
    }
    if KeepRules::LAST_MAX < policy.keep.last {
        return Err(invalid("a keep rule counts at most 256 last snapshots"));
    }
    match policy.expected_every_ms {
        Some(every_ms) if !(60_000..=LOCK_MS_MAX).contains(&every_ms) => {
            Err(invalid("snapshots are expected at most every minute"))
        }
        None if 0 < policy.keep.last => {
            Err(invalid("the last snapshots are counted by the interval in which one is expected: say how often"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Executes an order about a vault.
pub(crate) fn order(at: &At<'_>, caller: &Caller, tables: &mut dyn Tables, order: &LockOrder) -> Ruled<Done> {
    match order {
        LockOrder::SetPolicy { vault, policy, reason, approvals: _ } => set(at, caller, tables, *vault, policy, reason),
        LockOrder::LockVault { vault, cooling_off_ms, reason, approvals: _ } => {
            lock(at, caller, tables, *vault, *cooling_off_ms, reason)
        }
        LockOrder::WithdrawVaultLock { vault, reason } => withdraw(at, caller, tables, *vault, reason),
        LockOrder::ExtendLock { .. }
        | LockOrder::WeakenLock { .. }
        | LockOrder::CancelWeakening { .. }
        | LockOrder::AddHold { .. }
        | LockOrder::RemoveHold { .. } => Err(invalid("this is about a snapshot")),
    }
}

fn set(
    at: &At<'_>,
    caller: &Caller,
    tables: &mut dyn Tables,
    vault: VaultId,
    policy: &Policy,
    reason: &str,
) -> Ruled<Done> {
    caller.require(&[Role::Admin])?;
    text::check(reason)?;
    let mut row = vault_row(caller, &*tables, vault)?;
    check(policy)?;
    let next = row.policy.version.0.checked_add(1).map(PolicyVersion);
    if next != Some(policy.version) {
        return Err(Refusal::VersionConflict.into());
    }
    if row.is_locked(at.now_ms) && !policy.is_as_strict_as(&row.policy) {
        return Err(Refusal::VaultLocked.into());
    }
    row.policy = policy.clone();
    caller.scope.put(tables, &(vault,), &row)?;
    Ok(Done::Done)
}

fn lock(
    at: &At<'_>,
    caller: &Caller,
    tables: &mut dyn Tables,
    vault: VaultId,
    cooling_off_ms: u64,
    reason: &str,
) -> Ruled<Done> {
    caller.require(&[Role::Admin])?;
    text::check(reason)?;
    if !COOLING_OFF_MS.contains(&cooling_off_ms) {
        return Err(invalid("a vault's lock may be withdrawn for 1 hour to 30 days"));
    }
    let mut row = vault_row(caller, &*tables, vault)?;
    if row.lock.is_some() {
        // Asked for is asked for: a second wish would begin the cooling-off anew.
        return Err(Refusal::VaultLocked.into());
    }
    let due_ms = at.now_ms.checked_add(cooling_off_ms).ok_or_else(|| invalid("time overflows"))?;
    let due_unix_ms = locks::elapsed_unix_ms(&*tables)?.saturating_add(cooling_off_ms);
    row.lock = Some(VaultLock { by: caller.principal.clone(), due_ms, due_unix_ms });
    caller.scope.put(tables, &(vault,), &row)?;
    Ok(Done::Done)
}

fn withdraw(at: &At<'_>, caller: &Caller, tables: &mut dyn Tables, vault: VaultId, reason: &str) -> Ruled<Done> {
    caller.require(&[Role::Admin, Role::Legal])?;
    text::check(reason)?;
    let mut row = vault_row(caller, &*tables, vault)?;
    if row.is_locked(at.now_ms) {
        return Err(Refusal::VaultLocked.into());
    }
    if row.lock.take().is_none() {
        return Err(Refusal::NotFound.into());
    }
    caller.scope.put(tables, &(vault,), &row)?;
    Ok(Done::Done)
}

fn vault_row(caller: &Caller, reads: &dyn crate::tables::Reads, vault: VaultId) -> Ruled<VaultRow> {
    // Vaults are the home shard's.
    caller.row()?;
    living::vault(&caller.scope, reads, vault)
}
