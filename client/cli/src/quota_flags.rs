//! Quotas as people type them, for `vault quota set`, `identity quota set` and `tenant quota set`.
//!
//! Not here: how much there is (`commands/usage.rs`).

use strongroom_format::quota::{Quota, Quotas};

use crate::exit::Failure;
use crate::text::parse_size;

/// How much there may be.
#[derive(Clone, Debug, clap::Args)]
pub struct QuotaFlags {
    /// Refuse more stored bytes than this: 500M, 10GiB.
    #[arg(long, env = "STRONGROOM_STORED", value_name = "SIZE", value_parser = parse_size)]
    stored: Option<u64>,

    /// Show more stored bytes than this as too much.
    #[arg(long, env = "STRONGROOM_SOFT_STORED", value_name = "SIZE", value_parser = parse_size)]
    soft_stored: Option<u64>,

    /// Refuse more logical bytes than this: what snapshots would take without deduplication.
    #[arg(long, env = "STRONGROOM_LOGICAL", value_name = "SIZE", value_parser = parse_size)]
    logical: Option<u64>,

    /// Show more logical bytes than this as too much.
    #[arg(long, env = "STRONGROOM_SOFT_LOGICAL", value_name = "SIZE", value_parser = parse_size)]
    soft_logical: Option<u64>,

    /// Refuse more snapshots than this.
    #[arg(long, env = "STRONGROOM_SNAPSHOTS", value_name = "N")]
    snapshots: Option<u64>,

    /// Show more snapshots than this as too many.
    #[arg(long, env = "STRONGROOM_SOFT_SNAPSHOTS", value_name = "N")]
    soft_snapshots: Option<u64>,

    /// Refuse more open sessions than this; not of a vault.
    #[arg(long, env = "STRONGROOM_SESSIONS", value_name = "N")]
    sessions: Option<u64>,

    /// Say that nothing is limited any more.
    #[arg(long, env = "STRONGROOM_UNLIMITED", value_parser = clap::builder::FalseyValueParser::new())]
    unlimited: bool,
}

impl QuotaFlags {
    /// What was typed: all that is said here or `elsewhere`, or --unlimited.
    ///
    /// # Errors
    /// Usage if nothing was said, or it makes no sense.
    pub fn quotas(&self, elsewhere: bool) -> Result<Quotas, Failure> {
        let quotas = Quotas {
            logical_bytes: Quota { soft: self.soft_logical, hard: self.logical },
            stored_bytes: Quota { soft: self.soft_stored, hard: self.stored },
            snapshots: Quota { soft: self.soft_snapshots, hard: self.snapshots },
            sessions: Quota { soft: None, hard: self.sessions },
        };
        if (quotas == Quotas::default() && !elsewhere) != self.unlimited {
            return Err(Failure::usage(
                "either nothing is limited, or something is",
                "name all limits that shall hold from now on, or say --unlimited",
            ));
        }
        quotas.check().map_err(|fault| Failure::usage(fault, "let --soft-… be at most the limit itself"))?;
        Ok(quotas)
    }
}
