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

fn at_hours(hours: &[u64]) -> Vec<Kept> {
    let kept = |(order, hour): (u64, &u64)| Kept {
        snapshot: SnapshotId::from_bytes([0; 16]),
        order,
        committed_clock_ms: hour * HOUR_MS,
        locked: None,
    };
    (1..).zip(hours).map(kept).collect()
}

fn around(kept: &KeptRow, clock_ms: u64) -> Around<'_> {
    Around { kept, clock_ms, before_ms: None, more: false }
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
    let snapshots = at_hours(&[1, 2, 3]);
    let fates = expires(&policy(KeepRules::default()), &around(&KeptRow::default(), u64::MAX), &snapshots);
    assert_eq!(fates, vec![Fate::NoRules; 3]);
}

#[test]
fn the_first_of_a_period_stays_for_what_the_rule_promises_and_the_newest_for_ever() {
    let rules = KeepRules { daily: 2, ..KeepRules::default() };
    let kept = KeptRow { counted_orders: vec![1], ..KeptRow::default() };
    let snapshots = at_hours(&[1, 5, 25, 26]);
    let at = |hour: u64| expires(&policy(rules), &around(&kept, hour * HOUR_MS), &snapshots);
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
    let kept = KeptRow { counted_orders: vec![1, 2, 3, 4], ..KeptRow::default() };
    let fates = expires(&policy(rules), &around(&kept, 80 * HOUR_MS), &at_hours(&hours));
    assert_eq!(fates[..4], [Fate::Goes, Fate::Goes, Fate::Last, Fate::Last]);
    assert!(fates[4..].iter().all(|fate| matches!(fate, Fate::Last | Fate::Newest)));
    // Fewer than the rule keeps: all stay.
    let few = KeptRow { counted_orders: vec![2], ..KeptRow::default() };
    assert_eq!(expires(&policy(rules), &around(&few, 80 * HOUR_MS), &at_hours(&hours))[0], Fate::Last);
}

#[test]
fn what_a_lock_or_a_hold_keeps_stays_whatever_the_rules_say() {
    let mut snapshots = at_hours(&[1, 1, 1, 1]);
    snapshots[0].locked = Some(Refusal::RetentionActive { until_unix_ms: None });
    snapshots[1].locked = Some(Refusal::LegalHold);
    snapshots[2].locked = Some(Refusal::VaultLocked);
    let rules = KeepRules { hourly: 1, ..KeepRules::default() };
    let fates = expires(
        &policy(rules),
        &around(&KeptRow { counted_orders: vec![9], ..KeptRow::default() }, u64::MAX),
        &snapshots,
    );
    let locked = Fate::Locked { until_unix_ms: None };
    assert_eq!(fates, [locked.clone(), Fate::Held, locked, Fate::Newest]);
}

#[test]
fn a_name_in_pages_fares_like_a_name_as_a_whole() {
    let rules = KeepRules { hourly: 3, daily: 2, weekly: 1, last: 1, ..KeepRules::default() };
    let hours: Vec<u64> = (0..300).map(|number| number * 7 / 3).collect();
    let snapshots = at_hours(&hours);
    let kept = KeptRow { counted_orders: vec![1, 100, 280], ..KeptRow::default() };
    let clock_ms = 720 * HOUR_MS;
    let whole = expires(&policy(rules), &around(&kept, clock_ms), &snapshots);
    assert!(whole.iter().any(|fate| matches!(fate, Fate::Goes)));
    for page in [1, 7, 299] {
        let mut paged = Vec::new();
        for (number, part) in snapshots.chunks(page).enumerate() {
            let before_ms = (number * page).checked_sub(1).map(|place| snapshots[place].committed_clock_ms);
            let more = (number + 1) * page < snapshots.len();
            paged.extend(expires(&policy(rules), &Around { kept: &kept, clock_ms, before_ms, more }, part));
        }
        assert_eq!(paged, whole, "{page} a page");
    }
}
