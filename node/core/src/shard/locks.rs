//! Locks: the promise that a snapshot stays, as far as these rules go: its terms are chosen and recorded at the commit.
//!
//! A lock has a length and no beginning at first, and without beginning it is locked. These rules begin none and end
//! none, so what is locked stays (DESIGN.md §7.1). A client's times are labels and enter nowhere (N61). Law:
//! `laws/locks_are_in_range.rs`. Not here: extending, holds, expiry: they come with the compliance clock.

use strongroom_format::command::{LockRange, LockTerms, Policy};
use strongroom_format::id::PolicyVersion;
use strongroom_format::outcome::Refusal;

use crate::shard::rows::LockRow;
use crate::stop::{Ruled, invalid};

/// No lock is longer: 200 years of 366 days.
pub const LOCK_MS_MAX: u64 = 200 * 366 * 86_400_000;

/// Refuses a policy whose numbers make no sense: they would be trusted for ever (N63).
pub(crate) fn check_policy(policy: &Policy) -> Ruled<()> {
    if policy.version != PolicyVersion(1) {
        return Err(invalid("a vault's first policy has version 1"));
    }
    if LOCK_MS_MAX < policy.lock_max_ms || policy.lock_max_ms < policy.lock_min_ms {
        return Err(Refusal::LockOutOfRange.into());
    }
    match &policy.default_lock {
        Some(default) if !within(default, policy.lock_min_ms, policy.lock_max_ms) => {
            Err(Refusal::LockOutOfRange.into())
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses a range that makes no sense.
pub(crate) fn check_range(range: &LockRange) -> Ruled<()> {
    let sound = 0 < range.min_ms && range.min_ms <= range.max_ms && range.max_ms <= LOCK_MS_MAX;
    if sound { Ok(()) } else { Err(Refusal::LockOutOfRange.into()) }
}

/// The lock of a snapshot: the vault's default, or what was asked for within both the vault's and the writer's range.
pub(crate) fn choose(
    policy: &Policy,
    range: Option<&LockRange>,
    requested: Option<&LockTerms>,
) -> Ruled<Option<LockRow>> {
    let terms = match requested {
        None => policy.default_lock,
        Some(terms) if Some(*terms) == policy.default_lock => policy.default_lock,
        Some(terms) => {
            let permitted = within(terms, policy.lock_min_ms, policy.lock_max_ms)
                && range.is_some_and(|range| within(terms, range.min_ms, range.max_ms))
                // A mode may be made stricter than the default, never weaker.
                && policy.default_lock.is_none_or(|default| default.mode <= terms.mode);
            if !permitted {
                return Err(Refusal::LockOutOfRange.into());
            }
            Some(*terms)
        }
    };
    Ok(terms.map(|terms| LockRow { terms, begins_ms: None }))
}

/// Refuses to end what a lock keeps. Under these rules no lock begins, so none is over.
pub(crate) fn check_may_end(lock: Option<&LockRow>) -> Ruled<()> {
    if is_locked(lock) { Err(Refusal::RetentionActive { until_unix_ms: None }.into()) } else { Ok(()) }
}

/// Whether a lock keeps what it is on.
pub(crate) fn is_locked(lock: Option<&LockRow>) -> bool {
    lock.is_some()
}

fn within(terms: &LockTerms, min_ms: u64, max_ms: u64) -> bool {
    min_ms.max(1) <= terms.length_ms && terms.length_ms <= max_ms
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_format::command::LockMode;

    fn policy(default_ms: Option<u64>, min_ms: u64, max_ms: u64) -> Policy {
        Policy {
            version: PolicyVersion(1),
            default_lock: default_ms.map(|length_ms| LockTerms { mode: LockMode::Governance, length_ms }),
            lock_min_ms: min_ms,
            lock_max_ms: max_ms,
            least_regions: 0,
        }
    }

    fn asked(length_ms: u64) -> LockTerms {
        LockTerms { mode: LockMode::Compliance, length_ms }
    }

    #[test]
    fn n63_a_retention_that_makes_no_sense_is_refused_and_never_means_unlocked() {
        assert!(check_policy(&policy(Some(10), 1, 100)).is_ok());
        assert!(check_policy(&policy(None, 0, 0)).is_ok());
        for bad in [policy(Some(0), 0, 10), policy(Some(11), 1, 10), policy(None, 2, 1), policy(None, 0, u64::MAX)] {
            assert!(check_policy(&bad).is_err(), "{bad:?}");
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
        assert_eq!(choose(&policy, None, None).unwrap().unwrap().terms.length_ms, 10);
        assert_eq!(choose(&policy, None, Some(&asked(20))), Err(Refusal::LockOutOfRange.into()));
        let range = LockRange { min_ms: 5, max_ms: 50 };
        let lock = choose(&policy, Some(&range), Some(&asked(20))).unwrap().unwrap();
        assert_eq!((lock.terms, lock.begins_ms), (asked(20), None), "locked, without a beginning");
    }

    #[test]
    fn a_mode_is_never_weakened_below_the_default() {
        let mut policy = policy(Some(10), 1, 100);
        policy.default_lock = Some(asked(10));
        let range = LockRange { min_ms: 5, max_ms: 50 };
        let weaker = LockTerms { mode: LockMode::Governance, length_ms: 20 };
        assert_eq!(choose(&policy, Some(&range), Some(&weaker)), Err(Refusal::LockOutOfRange.into()));
    }
}
