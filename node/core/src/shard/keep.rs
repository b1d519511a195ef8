//! Keep rules: which snapshots of a name stay, decided from the moments of their commits.
//!
//!     commit ─▶ the first of its hour, day, week, month, year? ─▶ its lock is raised to what the rule promises
//!     later ─▶ not locked · not the newest · not since the last N intervals · in no promised period ─▶ may go
//!
//! What a rule promises is a lock, made at the commit, so that nothing that comes later takes it back (N62, N118). Where
//! a policy came later than a snapshot, its periods count all the same, from the snapshot's commit: of which it was the
//! first stands in its row. "Last" counts at most
//! one for each interval in which one is expected, and what came since the oldest that counts stays: whoever commits ten
//! thousand pushes nothing out. A policy without keep rules lets nothing go. Calendars are UTC on the compliance clock;
//! while it stands, a period ends when as much time has passed on `E`.
//!
//! Not here: ending what may go (`shard/expiry.rs`), locks (`shard/locks.rs`).

use strongroom_format::id::{IdentityId, VaultId};
use strongroom_format::label::Label;
use strongroom_format::policy::{KeepRules, Policy};
use strongroom_format::policy_view::{Fate, Period};

use crate::shard::at::At;
use crate::shard::lock_rows::{KeptRow, Mark};
use crate::shard::rows::LabelRow;
use crate::shard::scope::TenantScope;
use crate::tables::{Halt, Tables};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The periods of which rules keep the first, shortest first; [`KeptRow::firsts`] has them in this order.
pub(crate) const PERIODS: [Period; 5] = [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year];

/// What the rules need of a period.
pub(crate) trait Calendar: Copy {
    /// How many such periods the rules keep the first of.
    fn kept(self, rules: &KeepRules) -> u32;
    /// No such period is longer.
    fn length_ms(self) -> u64;
    /// The number of the period that a moment lies in.
    fn number(self, unix_ms: u64) -> u64;

    /// How long the first snapshot of such a period stays; zero: not at all because of this rule. `None`: no such length
    /// exists.
    fn promise_ms(self, rules: &KeepRules) -> Option<u64> {
        u64::from(self.kept(rules)).checked_mul(self.length_ms())
    }
}

impl Calendar for Period {
    fn kept(self, rules: &KeepRules) -> u32 {
        match self {
            Period::Hour => rules.hourly,
            Period::Day => rules.daily,
            Period::Week => rules.weekly,
            Period::Month => rules.monthly,
            Period::Year => rules.yearly,
        }
    }

    fn length_ms(self) -> u64 {
        match self {
            Period::Hour => HOUR_MS,
            Period::Day => DAY_MS,
            Period::Week => 7 * DAY_MS,
            Period::Month => 31 * DAY_MS,
            Period::Year => 366 * DAY_MS,
        }
    }

    fn number(self, unix_ms: u64) -> u64 {
        let day = unix_ms / DAY_MS;
        match self {
            Period::Hour => unix_ms / HOUR_MS,
            Period::Day => day,
            // The first day of 1970 was a Thursday; weeks begin on Mondays.
            Period::Week => (day + 3) / 7,
            Period::Month => {
                let (year, month) = year_and_month(day);
                year * 12 + month
            }
            Period::Year => year_and_month(day).0,
        }
    }
}

/// Year and month (from 0) of a day since 1970, in the Gregorian calendar. After the algorithm "civil_from_days" of
/// Howard Hinnant, <https://howardhinnant.github.io/date_algorithms.html>.
fn year_and_month(day: u64) -> (u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months counted from March.
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 2 } else { from_march - 10 };
    (era * 400 + year_of_era + u64::from(month < 2), month)
}

/// Whose name it is that rules keep snapshots of.
pub(crate) type Name = (VaultId, IdentityId, Label);

/// What rules make of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Promised {
    /// How long they promise that it stays; zero: not at all.
    pub(crate) length_ms: u64,
    /// Of which periods it is the first, as in [`Kept::firsts`].
    pub(crate) firsts: u8,
}

/// Notes a commit under its name.
pub(crate) fn committed(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    policy: &Policy,
    name: &Name,
    order: u64,
) -> Result<Promised, Halt> {
    let now = Mark { clock_ms: at.clock_ms, elapsed_ms: at.now_ms };
    let mut row: KeptRow = scope.get(&*tables, name)?.unwrap_or_default();
    let mut promised = Promised { length_ms: 0, firsts: 0 };
    for ((bit, period), first) in (0..).zip(PERIODS).zip(&mut row.firsts) {
        let number = |mark: &Mark| period.number(mark.clock_ms);
        if is_another(first.as_ref(), &now, number, period.length_ms()) {
            *first = Some(now);
            promised.firsts |= 1 << bit;
            promised.length_ms = promised.length_ms.max(period.promise_ms(&policy.keep).unwrap_or(u64::MAX));
        }
    }
    let every_ms = policy.expected_every_ms.unwrap_or(HOUR_MS).max(1);
    if is_another(row.counted.as_ref(), &now, |mark| mark.clock_ms / every_ms, every_ms) {
        row.counted = Some(now);
        // A stream's place in the order is older than the moment in which all of its snapshot is shown.
        let place = row.counted_orders.partition_point(|counted| *counted < order);
        row.counted_orders.insert(place, order);
        let too_many = row.counted_orders.len().saturating_sub(KeepRules::LAST_MAX as usize);
        row.counted_orders.drain(..too_many);
    }
    (row.newest, row.newest_order) = (now, row.newest_order.max(order));
    scope.put(tables, name, &row)?;
    Ok(promised)
}

/// Forgets what is known of a name of which no snapshot is left.
pub(crate) fn ended(scope: &TenantScope, tables: &mut dyn Tables, name: &Name) -> Result<(), Halt> {
    if scope.range::<LabelRow>(&*tables, name, 1)?.is_empty() {
        scope.delete::<KeptRow>(tables, name)?;
    }
    Ok(())
}

/// Whether a moment lies in another period than the first one that was noted, or, where the clock stands, so much later.
fn is_another(first: Option<&Mark>, now: &Mark, number: impl Fn(&Mark) -> u64, length_ms: u64) -> bool {
    first.is_none_or(|first| {
        number(first) != number(now) || first.elapsed_ms.saturating_add(length_ms) <= now.elapsed_ms
    })
}

/// A committed snapshot that no lock or hold keeps, as keep rules look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Its place in the order of commits.
    pub(crate) order: u64,
    /// The compliance clock at its commit, in milliseconds since 1970.
    pub(crate) committed_clock_ms: u64,
    /// Of which periods it was the first of its name when it was committed: bits in the order of [`PERIODS`]. What was
    /// committed before it and has gone since makes no other one the first.
    pub(crate) firsts: u8,
    /// Whether its name has none behind it.
    pub(crate) is_newest: bool,
}

/// What becomes of a snapshot under a policy: why it stays, or that it may go. It hangs on nothing but this snapshot,
/// what is known of its name, and time: so it does not matter in which order snapshots are looked at, nor how many at once.
pub(crate) fn fate(policy: &Policy, name: &KeptRow, clock_ms: u64, snapshot: &Kept) -> Fate {
    let rules = &policy.keep;
    if rules.keep_everything() {
        return Fate::NoRules;
    }
    if snapshot.is_newest {
        return Fate::Newest;
    }
    if is_among_the_last(rules, name, snapshot.order) {
        return Fate::Last;
    }
    let firsts = (0..).zip(PERIODS).filter(|(bit, _)| snapshot.firsts & (1 << bit) != 0);
    let promised = |period: Period| {
        let until_ms =
            period.promise_ms(rules).and_then(|promise_ms| snapshot.committed_clock_ms.checked_add(promise_ms));
        // What cannot be computed stays.
        until_ms.unwrap_or(u64::MAX)
    };
    let longest = firsts.map(|(_, period)| (promised(period), period)).max_by_key(|(until_ms, _)| *until_ms);
    match longest {
        Some((until_unix_ms, period)) if clock_ms < until_unix_ms => Fate::First { period, until_unix_ms },
        Some(_) | None => Fate::Goes,
    }
}

/// Whether it came with or after the oldest of the last ones that count.
fn is_among_the_last(rules: &KeepRules, name: &KeptRow, order: u64) -> bool {
    let Some(back) = name.counted_orders.len().checked_sub(rules.last as usize) else {
        // Fewer count than the rule keeps: all of them stay.
        return true;
    };
    name.counted_orders.get(back).is_some_and(|oldest| *oldest <= order)
}

#[cfg(test)]
mod tests;
