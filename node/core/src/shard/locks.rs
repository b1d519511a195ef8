//! Locks: the promise that a snapshot stays. What a lock is, which one a commit gets, when it begins and when it is over.
//!
//!     commit ──▶ locked, no beginning ──second tick──▶ begins at E + 2 s ──clock at beginning + length · 1.001──▶ over
//!
//! A lock without a beginning is locked, and so is what cannot be computed or is not known. The beginning is on `E`,
//! because the compliance clock may stand and then leap; the end is on the clock, which is never ahead of true time; the
//! thousandth is the error that a running clock may have (DESIGN.md §7.1). A client's times are labels and enter nowhere
//! (N61). Each shard begins and ends its own rows. Laws: `laws/locks_only_grow.rs`, `laws/locks_are_whole.rs`.
//!
//! Not here: what people ask of locks (`shard/lock_orders.rs`), what home and parts tell each other
//! (`shard/lock_parts.rs`), which locks keep rules raise (`shard/keep.rs`), what happens to what is not locked any more.

use strongroom_format::id::{SnapshotId, TenantId};
use strongroom_format::lock::{LockMode, LockRange, LockTerms};
use strongroom_format::outcome::Refusal;
use strongroom_format::policy::Policy;

use crate::clock;
use crate::row::Space;
use crate::shard::at::At;
use crate::shard::lock_rows::{Lock, LockRow, UnbegunRow, WeakeningRow};
use crate::shard::scope::TenantScope;
use crate::stop::{Ruled, impossible};
use crate::tables::{Halt, Reads, Tables};

/// No lock is longer: 200 years of 366 days.
pub const LOCK_MS_MAX: u64 = 200 * 366 * 86_400_000;
/// At most so many locks begin at one tick; the others begin later, which only makes them longer.
pub const BEGIN_PER_TICK: usize = 256;
/// A lock begins so long after `E`: what a false vote can push it by (DESIGN.md §7.2).
pub(crate) const BEGIN_AFTER_MS: u64 = 2_000;
/// A lock begins at this tick behind its commit: the first may carry reports that were made before.
const BEGIN_TICKS: u64 = 2;

/// Why what this row is of, a snapshot or a part of one, may not go; `None`: neither a lock nor a hold keeps it. Who removes
/// anything asks this first, of the rows of the shard in which it is removed. No row: unknown, so locked. A hold is named
/// before a lock: it lasts longer.
pub(crate) fn is_locked(row: Option<&LockRow>, clock_ms: u64) -> Option<Refusal> {
    let Some(row) = row else {
        return Some(Refusal::RetentionActive { until_unix_ms: None });
    };
    if !row.holds.is_empty() {
        return Some(Refusal::LegalHold);
    }
    let lock = row.lock.filter(|lock| !is_over(lock, clock_ms))?;
    Some(Refusal::RetentionActive { until_unix_ms: Some(lock.until_unix_ms) })
}

/// What kept a snapshot, or a part of one, until now; a refusal while it still does.
pub(crate) fn check_may_end(
    scope: &TenantScope,
    reads: &dyn Reads,
    snapshot: SnapshotId,
    clock_ms: u64,
) -> Ruled<LockRow> {
    let row = row(scope, reads, snapshot)?;
    match is_locked(row.as_ref(), clock_ms) {
        Some(refusal) => Err(refusal.into()),
        None => Ok(row.ok_or_else(|| impossible("what nothing is known of is not locked"))?),
    }
}

/// Forgets what kept a snapshot, or a part of one, that goes.
pub(crate) fn forget(
    scope: &TenantScope,
    tables: &mut dyn Tables,
    snapshot: SnapshotId,
    row: &LockRow,
) -> Result<(), Halt> {
    if let Some(weakening) = &row.weakening {
        scope.delete::<WeakeningRow>(tables, &(weakening.number,))?;
    }
    scope.delete::<LockRow>(tables, &(snapshot,))
}

/// Whether a lock is over.
pub(crate) fn is_over(lock: &Lock, clock_ms: u64) -> bool {
    ends_ms(lock).is_some_and(|ends_ms| ends_ms <= clock_ms)
}

/// What the clock must show for the lock to be over; `None`: it has no beginning, or no such time exists.
pub(crate) fn ends_ms(lock: &Lock) -> Option<u64> {
    let LockTerms { length_ms, .. } = lock.terms;
    lock.begins_ms?.checked_add(length_ms)?.checked_add(length_ms.div_ceil(1000))
}

/// A snapshot's row in this shard.
pub(crate) fn row(scope: &TenantScope, reads: &dyn Reads, snapshot: SnapshotId) -> Result<Option<LockRow>, Halt> {
    scope.get(reads, &(snapshot,))
}

/// Refuses a range that makes no sense.
pub(crate) fn check_range(range: &LockRange) -> Ruled<()> {
    let sound = 0 < range.min_ms && range.min_ms <= range.max_ms && range.max_ms <= LOCK_MS_MAX;
    if sound { Ok(()) } else { Err(Refusal::LockOutOfRange.into()) }
}

/// The terms of a snapshot's lock: the vault's default, or what was asked for within both the vault's and the writer's
/// range.
pub(crate) fn choose(
    policy: &Policy,
    range: Option<&LockRange>,
    requested: Option<&LockTerms>,
) -> Ruled<Option<LockTerms>> {
    match requested {
        None => Ok(policy.default_lock),
        Some(terms) if Some(*terms) == policy.default_lock => Ok(policy.default_lock),
        Some(terms) => {
            let permitted = within(terms.length_ms, policy.lock_min_ms, policy.lock_max_ms)
                && range.is_some_and(|range| within(terms.length_ms, range.min_ms, range.max_ms))
                // A mode may be made stricter than the default, never weaker.
                && policy.default_lock.is_none_or(|default| default.mode <= terms.mode);
            if permitted { Ok(Some(*terms)) } else { Err(Refusal::LockOutOfRange.into()) }
        }
    }
}

/// Whether a length is one that a range permits. No lock has a length of zero.
pub(crate) fn within(length_ms: u64, min_ms: u64, max_ms: u64) -> bool {
    min_ms.max(1) <= length_ms && length_ms <= max_ms.min(LOCK_MS_MAX)
}

/// A lock's terms with what keep rules promise.
pub(crate) fn raised(terms: Option<LockTerms>, promised_ms: u64) -> Option<LockTerms> {
    match terms {
        Some(terms) => Some(LockTerms { length_ms: terms.length_ms.max(promised_ms), ..terms }),
        None if promised_ms == 0 => None,
        None => Some(LockTerms { mode: LockMode::Governance, length_ms: promised_ms }),
    }
}

/// A lock that has just been given.
pub(crate) fn new(at: &At<'_>, terms: LockTerms) -> Lock {
    Lock { terms, begins_ms: None, until_unix_ms: at.clock_ms.saturating_add(terms.length_ms) }
}

/// Writes the first row of a snapshot or part.
pub(crate) fn establish(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    snapshot: SnapshotId,
    row: &LockRow,
) -> Result<(), Halt> {
    if row.lock.is_some() {
        wait(at, scope, tables, snapshot)?;
    }
    scope.put(tables, &(snapshot,), row)
}

/// Puts a lock without beginning into the order of those that wait for theirs.
pub(crate) fn wait(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    snapshot: SnapshotId,
) -> Result<(), Halt> {
    let tick = at.ticks.checked_add(BEGIN_TICKS).ok_or_else(|| impossible("ticks overflow"))?;
    Space::whole().put(tables, &(tick, scope.tenant(), snapshot), &UnbegunRow {})
}

/// At a tick: the locks begin whose turn it is.
pub(crate) fn begin_what_waits(at: &At<'_>, tables: &mut dyn Tables) -> Result<(), Halt> {
    let begins_ms = elapsed_unix_ms(&*tables)?.checked_add(BEGIN_AFTER_MS);
    for (tick, tenant, snapshot) in unbegun(&*tables, BEGIN_PER_TICK)? {
        if at.ticks < tick {
            break;
        }
        Space::whole().delete::<UnbegunRow>(tables, &(tick, tenant, snapshot))?;
        let (scope, _) =
            TenantScope::of(&*tables, tenant)?.ok_or_else(|| impossible("a lock of a tenant that is not here"))?;
        // It may have been given up since by those who may, and so may have been what it kept.
        let Some(mut row) = row(&scope, &*tables, snapshot)? else { continue };
        let Some(lock) = &mut row.lock else { continue };
        if lock.begins_ms.is_none() {
            lock.begins_ms = begins_ms;
            scope.put(tables, &(snapshot,), &row)?;
        }
    }
    Ok(())
}

/// Whether locks wait for their beginning, so that ticks should come.
pub(crate) fn some_wait(reads: &dyn Reads) -> Result<bool, Halt> {
    Ok(!unbegun(reads, 1)?.is_empty())
}

/// `E` on the scale of the compliance clock, in milliseconds since 1970.
pub(crate) fn elapsed_unix_ms(reads: &dyn Reads) -> Result<u64, Halt> {
    let clock = clock::now(reads)?;
    let sum = clock.began_unix_ms.checked_add(clock.elapsed_ms);
    sum.ok_or_else(|| impossible("the group's time overflows"))
}

fn unbegun(reads: &dyn Reads, limit: usize) -> Result<Vec<(u64, TenantId, SnapshotId)>, Halt> {
    let rows = Space::whole().range::<UnbegunRow>(reads, &(), limit)?;
    Ok(rows.into_iter().map(|(key, _)| key).collect())
}

#[cfg(test)]
mod tests;
