//! A vault's policy: which locks its snapshots get, what its keep rules promise, how often a backup is expected.
//!
//!     policy 1 ──SetPolicy──▶ policy 2 ──▶ …      after the vault's lock: only as strict or stricter
//!
//! Not here: what becomes of single snapshots (`lock.rs`), when they go (`node/core`).

use borsh::{BorshDeserialize, BorshSerialize};

use crate::id::PolicyVersion;
use crate::lock::LockTerms;

/// A vault's policy, versioned.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Policy {
    /// From 1.
    pub version: PolicyVersion,
    /// The lock that a snapshot gets unless its writer may choose; `None`: none.
    pub default_lock: Option<LockTerms>,
    /// The least length of a lock in milliseconds.
    pub lock_min_ms: u64,
    /// The greatest length of a lock in milliseconds.
    pub lock_max_ms: u64,
    /// The least strength that a commit must reach: how many more regions may be lost.
    pub least_regions: u8,
    /// What stays of each name; nothing said: everything stays.
    pub keep: KeepRules,
    /// A good snapshot of each name is expected this often, in milliseconds; `None`: nothing is expected.
    pub expected_every_ms: Option<u64>,
}

/// What stays of each name (writer and label). All zero: everything stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeepRules {
    /// What came since the last so many intervals in which one was expected; intervals without any do not count.
    pub last: u32,
    /// The first of each hour stays for so many hours.
    pub hourly: u32,
    /// The first of each day stays for so many days.
    pub daily: u32,
    /// The first of each week stays for so many weeks.
    pub weekly: u32,
    /// The first of each month stays for so many months of 31 days.
    pub monthly: u32,
    /// The first of each year stays for so many years of 366 days.
    pub yearly: u32,
}

impl KeepRules {
    /// No rule keeps more of the last ones.
    pub const LAST_MAX: u32 = 256;

    /// Whether nothing is said: everything stays.
    pub fn keep_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether every rule keeps as much as another's, or more. Keeping everything is the most.
    pub fn keep_as_much_as(&self, other: &Self) -> bool {
        if self.keep_everything() || other.keep_everything() {
            return self.keep_everything();
        }
        let counts = |rules: &Self| [rules.last, rules.hourly, rules.daily, rules.weekly, rules.monthly, rules.yearly];
        counts(self).iter().zip(counts(other)).all(|(own, others)| others <= *own)
    }
}

impl Policy {
    /// Whether it is as strict as another, or stricter, in everything: what a locked vault still takes.
    pub fn is_as_strict_as(&self, other: &Self) -> bool {
        let locks = match (self.default_lock, other.default_lock) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(others)) => others.mode <= own.mode && others.length_ms <= own.length_ms,
        };
        // "Last" counts intervals: with shorter ones it reaches less far back.
        let expects = match (self.expected_every_ms, other.expected_every_ms) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(others)) if other.keep.last == 0 => own <= others,
            (Some(own), Some(others)) => {
                let reach = |every: u64, last: u32| u128::from(every) * u128::from(last);
                own <= others && reach(others, other.keep.last) <= reach(own, self.keep.last)
            }
        };
        locks
            && other.lock_min_ms <= self.lock_min_ms
            && other.lock_max_ms <= self.lock_max_ms
            && other.least_regions <= self.least_regions
            && self.keep.keep_as_much_as(&other.keep)
            && (expects || self.keep.keep_everything() && self.expected_every_ms.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::LockMode;

    fn policy() -> Policy {
        Policy {
            version: PolicyVersion(1),
            default_lock: Some(LockTerms { mode: LockMode::Governance, length_ms: 10 }),
            lock_min_ms: 5,
            lock_max_ms: 100,
            least_regions: 1,
            keep: KeepRules { last: 7, daily: 7, ..KeepRules::default() },
            expected_every_ms: Some(10),
        }
    }

    #[test]
    fn a_policy_is_as_strict_as_another_only_in_everything() {
        let old = policy();
        assert!(old.is_as_strict_as(&old));
        let lock = |mode, length_ms| Some(LockTerms { mode, length_ms });
        let stricter = [
            Policy { default_lock: lock(LockMode::Compliance, 10), ..policy() },
            Policy { default_lock: lock(LockMode::Governance, 11), ..policy() },
            Policy { lock_min_ms: 6, ..policy() },
            Policy { lock_max_ms: 101, ..policy() },
            Policy { least_regions: 2, ..policy() },
            Policy { keep: KeepRules { yearly: 1, ..policy().keep }, ..policy() },
            Policy { keep: KeepRules { last: 70, ..policy().keep }, expected_every_ms: Some(1), ..policy() },
            Policy { keep: KeepRules::default(), ..policy() },
        ];
        for new in stricter {
            assert!(new.is_as_strict_as(&old), "{new:?}");
            assert!(!old.is_as_strict_as(&new), "{new:?}");
        }
        let looser = [
            Policy { default_lock: None, ..policy() },
            Policy { default_lock: lock(LockMode::Compliance, 9), ..policy() },
            Policy { keep: KeepRules { last: 6, yearly: 100, ..policy().keep }, ..policy() },
            Policy { expected_every_ms: None, ..policy() },
            Policy { expected_every_ms: Some(11), ..policy() },
            Policy { expected_every_ms: Some(9), ..policy() },
        ];
        for new in looser {
            assert!(!new.is_as_strict_as(&old), "{new:?}");
        }
    }
}
