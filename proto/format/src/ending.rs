//! What people ask to end: a snapshot, or a vault whose snapshots have all ended.
//!
//!     committed ──DeleteSnapshot──▶ ended, for ever: its id and its name's past are never given again
//!
//! The rules refuse what a lock, a legal hold or a restore session keeps. Not here: when bytes leave disks (`node/core`,
//! `node/chunks`): nobody can ask for that.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::id::{SnapshotId, VaultId};

/// What people ask to end. Always signed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum EndOrder {
    /// Ends a committed snapshot.
    DeleteSnapshot {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// For the audit log, at most 1024 bytes; not empty.
        reason: String,
    },
    /// Ends a vault in which no snapshot is left. Its name and id are never given again.
    DeleteVault {
        /// Which vault.
        vault: VaultId,
        /// For the audit log, at most 1024 bytes; not empty.
        reason: String,
    },
}

impl EndOrder {
    /// The first number of these orders among the kinds of commands.
    pub const FIRST_KIND: u16 = 40;

    /// The number of the order among the kinds of commands ([`crate::command::Body::kind`]).
    pub fn kind(&self) -> u16 {
        let place = match self {
            EndOrder::DeleteSnapshot { .. } => 0,
            EndOrder::DeleteVault { .. } => 1,
        };
        Self::FIRST_KIND + place
    }

    /// The reason that was given.
    pub fn reason(&self) -> &str {
        match self {
            EndOrder::DeleteSnapshot { reason, .. } | EndOrder::DeleteVault { reason, .. } => reason,
        }
    }

    /// The id of what is to end.
    pub fn subject(&self) -> &[u8] {
        match self {
            EndOrder::DeleteSnapshot { snapshot, .. } => snapshot.as_bytes(),
            EndOrder::DeleteVault { vault, .. } => vault.as_bytes(),
        }
    }
}
