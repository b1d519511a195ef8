//! Locks and holds: how long a snapshot must stay, and who may weaken that.
//!
//!     committed ──▶ locked, without a beginning ──two ticks──▶ begun ──compliance clock──▶ over
//!                        └── extend ▶ longer, stricter · never shorter, never weaker (governance: asked, 72 h, then)
//!     hold ▶ stays, whatever the lock says, until every hold is removed
//!
//! Not here: what a vault gives by itself (`policy.rs`), what people ask (`lock_order.rs`), when a lock begins and ends
//! (`node/core`).

use borsh::{BorshDeserialize, BorshSerialize};

use crate::id::HoldName;

/// A lock's mode and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LockTerms {
    /// Who may weaken it.
    pub mode: LockMode,
    /// How long, in milliseconds; it begins after the commit (DESIGN.md §7.1).
    pub length_ms: u64,
}

/// The locks that an identity may ask for, within its vault's own range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LockRange {
    /// The least length in milliseconds.
    pub min_ms: u64,
    /// The greatest length in milliseconds.
    pub max_ms: u64,
}

/// Who may weaken a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum LockMode {
    /// A role with an approval and a reason; until there are approvals: an admin, after a delay in which others may
    /// cancel it.
    Governance,
    /// Nobody.
    Compliance,
}

/// How much longer a lock is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Longer {
    /// This long in all, counted from its beginning.
    Length {
        /// In milliseconds.
        length_ms: u64,
    },
    /// Until a date.
    Until {
        /// In milliseconds since 1970.
        date_unix_ms: u64,
    },
}

/// A legal hold by its name.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Hold {
    /// Unique in its snapshot.
    pub name: HoldName,
    /// The wall clock of the node that led the shard when it was added, in milliseconds since 1970: a label.
    pub since_unix_ms: u64,
}
