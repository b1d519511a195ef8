//! Canaries: text that only one tenant has. Where it appears and should not, something leaks.
//!
//! A tenant has two: the *sealed* one stands in contents and in names inside snapshots, which nodes must never see;
//! the *open* one stands in labels and names of vaults, which nodes see and other tenants must not. All canaries begin
//! alike, so that one pass finds all.

use crate::random::Random;

/// How every canary begins.
pub const PREFIX: &[u8] = b"jepsencanary-";

/// A tenant and its canaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canaries {
    /// Whose.
    pub tenant: String,
    /// In what is sealed.
    pub sealed: String,
    /// In what is open to nodes.
    pub open: String,
}

impl Canaries {
    /// Those of a tenant in the run with this seed.
    pub fn of(seed: u64, tenant: &str) -> Self {
        let mut random = Random::named(seed, &format!("canary/{tenant}"));
        let mut canary = |kind: &str| format!("jepsencanary-{kind}-{}", random.hex(16));
        Self { tenant: tenant.to_owned(), sealed: canary("s"), open: canary("o") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_have_different_canaries_that_begin_alike() {
        let (a, b) = (Canaries::of(1, "acme"), Canaries::of(1, "globex"));
        let all = [&a.sealed, &a.open, &b.sealed, &b.open];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), 4);
        assert!(all.iter().all(|canary| canary.as_bytes().starts_with(PREFIX)));
    }
}
