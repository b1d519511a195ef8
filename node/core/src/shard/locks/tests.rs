//! What locks are, without a state around them.

use strongroom_format::id::PolicyVersion;
use strongroom_format::lock::Hold;
use strongroom_format::policy::KeepRules;

use super::*;
use crate::shard::policies;

fn policy(default_ms: Option<u64>, min_ms: u64, max_ms: u64) -> Policy {
    Policy {
        version: PolicyVersion(1),
        default_lock: default_ms.map(|length_ms| LockTerms { mode: LockMode::Governance, length_ms }),
        lock_min_ms: min_ms,
        lock_max_ms: max_ms,
        least_regions: 0,
        keep: KeepRules::default(),
        expected_every_ms: None,
    }
}

fn asked(length_ms: u64) -> LockTerms {
    LockTerms { mode: LockMode::Compliance, length_ms }
}

fn begun(begins_ms: Option<u64>, length_ms: u64) -> LockRow {
    let lock = Lock { terms: asked(length_ms), begins_ms, until_unix_ms: 77 };
    LockRow { version: 1, lock: Some(lock), holds: Vec::new(), weakening: None, behind: Vec::new(), left_ms: 0 }
}

#[test]
fn n63_a_retention_that_makes_no_sense_is_refused_and_never_means_unlocked() {
    assert!(policies::check(&policy(Some(10), 1, 100)).is_ok());
    assert!(policies::check(&policy(None, 0, 0)).is_ok());
    for bad in [policy(Some(0), 0, 10), policy(Some(11), 1, 10), policy(None, 2, 1), policy(None, 0, u64::MAX)] {
        assert!(policies::check(&bad).is_err(), "{bad:?}");
    }
    let range = LockRange { min_ms: 5, max_ms: 50 };
    for length_ms in [0, 4, 51, 101, u64::MAX] {
        let chosen = choose(&policy(Some(10), 1, 100), Some(&range), Some(&asked(length_ms)));
        assert_eq!(chosen, Err(Refusal::LockOutOfRange.into()), "{length_ms}");
    }
}

#[test]
fn n117_a_writer_gets_the_default_unless_its_row_has_a_range() {
    let policy = policy(Some(10), 1, 100);
    assert_eq!(choose(&policy, None, None).unwrap().unwrap().length_ms, 10);
    assert_eq!(choose(&policy, None, Some(&asked(20))), Err(Refusal::LockOutOfRange.into()));
    let range = LockRange { min_ms: 5, max_ms: 50 };
    assert_eq!(choose(&policy, Some(&range), Some(&asked(20))), Ok(Some(asked(20))));
}

#[test]
fn a_mode_is_never_weakened_below_the_default() {
    let mut policy = policy(Some(10), 1, 100);
    policy.default_lock = Some(asked(10));
    let range = LockRange { min_ms: 5, max_ms: 50 };
    let weaker = LockTerms { mode: LockMode::Governance, length_ms: 20 };
    assert_eq!(choose(&policy, Some(&range), Some(&weaker)), Err(Refusal::LockOutOfRange.into()));
}

#[test]
fn n57_a_lock_is_over_a_thousandth_after_its_length_and_not_a_moment_before() {
    let active = Some(Refusal::RetentionActive { until_unix_ms: Some(77) });
    let row = begun(Some(5_000), 10_000);
    assert_eq!(is_locked(Some(&row), 15_009), active);
    assert_eq!(is_locked(Some(&row), 15_010), None);
    // A thousandth is rounded up: the least lock is longer by a millisecond.
    assert_eq!(is_locked(Some(&begun(Some(0), 1)), 1), active);
    assert_eq!(is_locked(Some(&begun(Some(0), 1)), 2), None);
}

#[test]
fn n63_what_has_no_beginning_overflows_or_is_not_known_is_locked() {
    let active = Some(Refusal::RetentionActive { until_unix_ms: Some(77) });
    assert_eq!(is_locked(Some(&begun(None, 1)), u64::MAX), active);
    for (begins_ms, length_ms) in [(u64::MAX, 1), (1, u64::MAX), (0, u64::MAX), (u64::MAX - 1000, 1000)] {
        assert_eq!(is_locked(Some(&begun(Some(begins_ms), length_ms)), u64::MAX), active, "{begins_ms} {length_ms}");
    }
    assert_eq!(is_locked(None, u64::MAX), Some(Refusal::RetentionActive { until_unix_ms: None }));
}

#[test]
fn n60_a_hold_keeps_what_no_lock_keeps_any_more() {
    let mut row = begun(Some(0), 1);
    assert_eq!(is_locked(Some(&row), 1_000), None);
    row.holds.push(Hold { name: "case-1".parse().unwrap(), since_unix_ms: 0 });
    assert_eq!(is_locked(Some(&row), u64::MAX), Some(Refusal::LegalHold));
    row.lock = None;
    assert_eq!(is_locked(Some(&row), u64::MAX), Some(Refusal::LegalHold));
}

#[test]
fn ten_thousand_locks_begin_in_order_a_bounded_number_at_a_tick() {
    use strongroom_format::code::Code;
    use strongroom_format::id::{ClusterEpoch, GroupId, Place};

    let (mut tables, scope) = TenantScope::alone(TenantId::from_bytes([1; 16]));
    let facts = crate::entry::ShardFacts {
        cluster: "test".parse().unwrap(),
        epoch: ClusterEpoch::from_bytes([0; ClusterEpoch::BYTES]),
        group: GroupId(1),
        code: Code { k: 1, m: 0 },
        members: Vec::new(),
        clock_ms: 0,
    };
    let mut at = At {
        facts: &facts,
        place: Place { index: 1, position: 0 },
        now_ms: 0,
        clock_ms: 0,
        ticks: 0,
        disputed: false,
        wall_unix_ms: 0,
        salt: &[0; 16],
    };
    let id = |number: usize| {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&(number as u64).to_be_bytes());
        SnapshotId::from_bytes(bytes)
    };
    for number in 0..10_000 {
        let row = LockRow { version: 0, ..begun(None, 1) };
        establish(&at, &scope, &mut tables, id(number), &row).unwrap();
    }
    let is_begun = |tables: &crate::tables::MemoryTables, number| {
        row(&scope, tables, id(number)).unwrap().unwrap().lock.unwrap().begins_ms.is_some()
    };
    at.ticks = 1;
    begin_what_waits(&at, &mut tables).unwrap();
    assert!(!is_begun(&tables, 0), "not at the first tick");
    let mut ticks = 0;
    while some_wait(&tables).unwrap() {
        at.ticks += 1;
        begin_what_waits(&at, &mut tables).unwrap();
        ticks += 1;
        let begun = (ticks * BEGIN_PER_TICK).min(10_000);
        assert!(is_begun(&tables, begun - 1) && (begun == 10_000 || !is_begun(&tables, begun)), "after {ticks} ticks");
    }
    assert_eq!(ticks, 10_000_usize.div_ceil(BEGIN_PER_TICK));
}
