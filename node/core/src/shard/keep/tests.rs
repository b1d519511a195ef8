//! Keep rules on plain numbers: calendars, promises, and names of any length in pages.

use strongroom_format::id::PolicyVersion;

use super::*;

fn policy(keep: KeepRules) -> Policy {
    Policy {
        version: PolicyVersion(1),
        default_lock: None,
        lock_min_ms: 0,
        lock_max_ms: crate::shard::locks::LOCK_MS_MAX,
        least_regions: 0,
        keep,
        expected_every_ms: Some(DAY_MS),
    }
}

/// Snapshots committed at these hours, the last one the newest of the name; the firsts are found by the calendar alone.
fn at_hours(hours: &[u64]) -> Vec<Kept> {
    let firsts = |place: usize| {
        let is_first = |period: Period| {
            let number = |place: usize| period.number(hours[place] * HOUR_MS);
            place.checked_sub(1).is_none_or(|before| number(before) != number(place))
        };
        (0..).zip(PERIODS).fold(0, |bits, (bit, period)| bits | u8::from(is_first(period)) << bit)
    };
    let kept = |(place, hour): (usize, &u64)| Kept {
        order: place as u64 + 1,
        committed_clock_ms: hour * HOUR_MS,
        firsts: firsts(place),
        is_newest: place + 1 == hours.len(),
    };
    hours.iter().enumerate().map(kept).collect()
}

fn fates(rules: KeepRules, name: &KeptRow, clock_ms: u64, snapshots: &[Kept]) -> Vec<Fate> {
    snapshots.iter().map(|snapshot| fate(&policy(rules), name, clock_ms, snapshot)).collect()
}

#[test]
fn periods_are_those_of_the_calendar() {
    let day = |year: u64, month: u64, day: u64| {
        // Counted by hand of the months: independent of the function under test.
        let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
        let years: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
        let february = if leap(year) { 29 } else { 28 };
        let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        years + months[..month as usize].iter().sum::<u64>() + day
    };
    for year in 1970..2500 {
        for month in 0..12 {
            for of_month in [0, 27] {
                let unix_ms = day(year, month, of_month) * DAY_MS + 1;
                assert_eq!(Period::Year.number(unix_ms), year);
                assert_eq!(Period::Month.number(unix_ms), year * 12 + month);
            }
        }
    }
    // The 5th of January 1970 was a Monday.
    let weeks: Vec<u64> = [3, 4, 10, 11].map(|day| Period::Week.number(day * DAY_MS)).to_vec();
    assert_eq!(weeks, [0, 1, 1, 2]);
    for (period, next) in PERIODS.iter().zip(&PERIODS[1..]) {
        assert!(period.length_ms() < next.length_ms());
    }
}

#[test]
fn a_policy_without_rules_lets_nothing_go() {
    let fates = fates(KeepRules::default(), &KeptRow::default(), u64::MAX, &at_hours(&[1, 2, 3]));
    assert_eq!(fates, vec![Fate::NoRules; 3]);
}

#[test]
fn the_first_of_a_period_stays_for_what_the_rule_promises_and_the_newest_for_ever() {
    let rules = KeepRules { daily: 2, ..KeepRules::default() };
    let name = KeptRow { counted_orders: vec![1], ..KeptRow::default() };
    let snapshots = at_hours(&[1, 5, 25, 26]);
    let at = |hour: u64| fates(rules, &name, hour * HOUR_MS, &snapshots);
    let first = |hour: u64| Fate::First { period: Period::Day, until_unix_ms: hour * HOUR_MS };
    assert_eq!(at(26), [first(49), Fate::Goes, first(73), Fate::Newest]);
    assert_eq!(at(48)[0], first(49));
    assert_eq!(at(49), [Fate::Goes, Fate::Goes, first(73), Fate::Newest]);
    assert_eq!(at(1_000_000), [Fate::Goes, Fate::Goes, Fate::Goes, Fate::Newest]);
}

#[test]
fn n62_the_last_are_counted_by_intervals_and_what_came_since_stays() {
    let rules = KeepRules { last: 2, ..KeepRules::default() };
    // The first snapshots of four days count; ten thousand others do not.
    let hours: Vec<u64> = [1, 25, 49].into_iter().chain((0..10_000).map(|_| 73)).collect();
    let name = KeptRow { counted_orders: vec![1, 2, 3, 4], ..KeptRow::default() };
    let found = fates(rules, &name, 80 * HOUR_MS, &at_hours(&hours));
    assert_eq!(found[..4], [Fate::Goes, Fate::Goes, Fate::Last, Fate::Last]);
    assert!(found[4..].iter().all(|fate| matches!(fate, Fate::Last | Fate::Newest)));
    // Fewer than the rule keeps: all stay.
    let few = KeptRow { counted_orders: vec![2], ..KeptRow::default() };
    assert_eq!(fates(rules, &few, 80 * HOUR_MS, &at_hours(&hours))[0], Fate::Last);
}

#[test]
fn what_goes_makes_no_other_the_first_of_its_period() {
    let rules = KeepRules { daily: 1, ..KeepRules::default() };
    let name = KeptRow { counted_orders: vec![9], ..KeptRow::default() };
    let mut snapshots = at_hours(&[1, 20, 30]);
    assert_eq!(fates(rules, &name, 30 * HOUR_MS, &snapshots)[1], Fate::Goes);
    snapshots.remove(0);
    assert_eq!(fates(rules, &name, 30 * HOUR_MS, &snapshots)[0], Fate::Goes, "whoever is looked at first");
}

#[test]
fn a_promise_that_cannot_be_computed_holds_for_ever() {
    let rules = KeepRules { yearly: u32::MAX, ..KeepRules::default() };
    let name = KeptRow { counted_orders: vec![9], ..KeptRow::default() };
    let mut snapshots = at_hours(&[1, 2]);
    snapshots[0].committed_clock_ms = u64::MAX - 5;
    assert!(matches!(fates(rules, &name, u64::MAX - 1, &snapshots)[0], Fate::First { .. }));
}
