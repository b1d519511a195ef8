//! Quotas: how much a tenant, a vault or a writer may have. A soft one only shows; a hard one refuses what goes beyond it.
//!
//! Not here: what is counted and who decides (`node/core/src/shard/quotas.rs`).

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::id::{IdentityId, VaultId};

/// How much of one measure there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Quota {
    /// More than this is shown as too much; `None`: nothing is.
    pub soft: Option<u64>,
    /// More than this is refused; `None`: nothing is.
    pub hard: Option<u64>,
}

impl Quota {
    /// Whether so much is more than the soft one.
    pub fn is_exceeded_by(&self, charged: u64) -> bool {
        self.soft.is_some_and(|soft| soft < charged)
    }
}

/// How much of each measure there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Quotas {
    /// Stored bytes that committed snapshots refer to, each reference counted: what they would take without
    /// deduplication.
    pub logical_bytes: Quota,
    /// Stored bytes of blobs and tree nodes, each counted once, and what open uploads may still write.
    pub stored_bytes: Quota,
    /// Snapshots, committed and undecided.
    pub snapshots: Quota,
    /// Open client sessions; of a vault there are none.
    pub sessions: Quota,
}

impl Quotas {
    /// The quota of one measure.
    pub fn of(&self, measure: Measure) -> Quota {
        match measure {
            Measure::LogicalBytes => self.logical_bytes,
            Measure::StoredBytes => self.stored_bytes,
            Measure::Snapshots => self.snapshots,
            Measure::Sessions => self.sessions,
        }
    }

    /// Whether they make sense: what is refused is not below what is shown.
    pub fn check(&self) -> Result<(), &'static str> {
        let makes_sense = |measure: &Measure| match self.of(*measure) {
            Quota { soft: Some(soft), hard: Some(hard) } => soft <= hard,
            Quota { soft: None, .. } | Quota { hard: None, .. } => true,
        };
        if Measure::ALL.iter().all(makes_sense) { Ok(()) } else { Err("a soft quota is above the hard one") }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Measure {
    /// [`Quotas::logical_bytes`].
    LogicalBytes,
    /// [`Quotas::stored_bytes`].
    StoredBytes,
    /// [`Quotas::snapshots`].
    Snapshots,
    /// [`Quotas::sessions`].
    Sessions,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::LogicalBytes, Self::StoredBytes, Self::Snapshots, Self::Sessions];
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LogicalBytes => "logical bytes",
            Self::StoredBytes => "stored bytes",
            Self::Snapshots => "snapshots",
            Self::Sessions => "sessions",
        })
    }
}

/// Whose quota a tenant's admin sets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum QuotaSubject {
    /// A vault's.
    Vault(VaultId),
    /// A writer's, over all vaults.
    Writer(IdentityId),
}

/// Whose quota refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum QuotaOwner {
    /// The tenant's; an operator sets it.
    Tenant,
    /// The vault's.
    Vault,
    /// The writer's.
    Writer,
}

impl fmt::Display for QuotaOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tenant => "tenant",
            Self::Vault => "vault",
            Self::Writer => "writer",
        })
    }
}

/// What an operator grants a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TenantLimits {
    /// How much it may have.
    pub quotas: Quotas,
    /// How many bytes a second it may send to one node; `None`: as many as go.
    pub upload_bytes_per_second: Option<u64>,
}

impl TenantLimits {
    /// No rate is lower: the largest chunk must pass before its sender takes the node for dead.
    pub const UPLOAD_BYTES_PER_SECOND_MIN: u64 = 1 << 20;

    /// Whether they make sense.
    pub fn check(&self) -> Result<(), &'static str> {
        self.quotas.check()?;
        match self.upload_bytes_per_second {
            Some(rate) if rate < Self::UPLOAD_BYTES_PER_SECOND_MIN => {
                Err("a rate of uploads is 1 MiB a second at least")
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What a vault and a writer may still be given of stored bytes in one shard: as the home shard says when it opens a
/// snapshot, to shards that do not know their quotas. Shares: each shard gets an equal one, so that no shard must believe
/// another to keep the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StoredShares {
    /// The vault's hard quota in one shard.
    pub vault_bytes: Option<u64>,
    /// The writer's.
    pub writer_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soft_quota_is_not_above_the_hard_one() {
        let snapshots = |soft, hard| Quotas { snapshots: Quota { soft, hard }, ..Quotas::default() };
        assert!(snapshots(Some(3), Some(3)).check().is_ok());
        assert!(snapshots(Some(3), None).check().is_ok());
        assert!(snapshots(None, Some(0)).check().is_ok());
        assert!(snapshots(Some(4), Some(3)).check().is_err());
        assert!(Quota { soft: Some(3), hard: None }.is_exceeded_by(4));
        assert!(!Quota { soft: Some(3), hard: None }.is_exceeded_by(3));
    }

    #[test]
    fn a_rate_under_which_no_chunk_passes_is_none() {
        let rate = |rate| TenantLimits { upload_bytes_per_second: rate, ..TenantLimits::default() };
        assert!(rate(None).check().is_ok());
        assert!(rate(Some(1 << 20)).check().is_ok());
        assert!(rate(Some((1 << 20) - 1)).check().is_err());
        assert!(rate(Some(0)).check().is_err());
    }
}
