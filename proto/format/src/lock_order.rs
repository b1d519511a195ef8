//! What people ask about policies, locks and holds.
//!
//! Not here: locks and holds themselves (`lock.rs`), who may ask what (`node/core`).

use borsh::{BorshDeserialize, BorshSerialize};

use crate::approval::Approval;
use crate::id::{HoldName, SnapshotId, VaultId};
use crate::lock::{LockMode, Longer};
use crate::policy::Policy;

/// What people ask about policies, locks and holds. Always signed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum LockOrder {
    /// Replaces a vault's policy by its next version.
    SetPolicy {
        /// Which vault.
        vault: VaultId,
        /// The policy; its version follows the one in force.
        policy: Policy,
        /// For the audit log, at most 1024 bytes.
        reason: String,
        /// Signatures of approvers over this request.
        approvals: Vec<Approval>,
    },
    /// Locks a vault: after a cooling-off its policy only gets stricter, for ever.
    LockVault {
        /// Which vault.
        vault: VaultId,
        /// How long it may be withdrawn, on the group's time.
        cooling_off_ms: u64,
        /// For the audit log, at most 1024 bytes.
        reason: String,
        /// Signatures of approvers over this request.
        approvals: Vec<Approval>,
    },
    /// Withdraws a vault's lock within its cooling-off.
    WithdrawVaultLock {
        /// Which vault.
        vault: VaultId,
        /// For the audit log, at most 1024 bytes.
        reason: String,
    },
    /// Makes a snapshot's lock longer or stricter, or gives it one.
    ExtendLock {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// At least this mode.
        mode: LockMode,
        /// How long.
        longer: Longer,
        /// For the audit log, at most 1024 bytes.
        reason: String,
    },
    /// Asks that a governance lock be shorter. It happens 72 hours later, unless somebody cancels it.
    WeakenLock {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// The length then, counted from its beginning, in milliseconds; zero: no lock.
        length_ms: u64,
        /// For the audit log, at most 1024 bytes; not empty.
        reason: String,
        /// Signatures of approvers over this request.
        approvals: Vec<Approval>,
    },
    /// Cancels what [`LockOrder::WeakenLock`] asked for.
    CancelWeakening {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// For the audit log, at most 1024 bytes.
        reason: String,
    },
    /// Adds a legal hold.
    AddHold {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// Its name.
        hold: HoldName,
        /// For the audit log, at most 1024 bytes; not empty.
        reason: String,
    },
    /// Removes a legal hold.
    RemoveHold {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// Its name.
        hold: HoldName,
        /// For the audit log, at most 1024 bytes; not empty.
        reason: String,
        /// Signatures of approvers over this request.
        approvals: Vec<Approval>,
    },
}

impl LockOrder {
    /// The first number of these orders among the kinds of commands.
    pub const FIRST_KIND: u16 = 50;

    /// The number of the order among the kinds of commands ([`crate::command::Body::kind`]).
    pub fn kind(&self) -> u16 {
        let place = match self {
            LockOrder::SetPolicy { .. } => 0,
            LockOrder::LockVault { .. } => 1,
            LockOrder::WithdrawVaultLock { .. } => 2,
            LockOrder::ExtendLock { .. } => 3,
            LockOrder::WeakenLock { .. } => 4,
            LockOrder::CancelWeakening { .. } => 5,
            LockOrder::AddHold { .. } => 6,
            LockOrder::RemoveHold { .. } => 7,
        };
        Self::FIRST_KIND + place
    }

    /// The reason that was given.
    pub fn reason(&self) -> &str {
        match self {
            LockOrder::SetPolicy { reason, .. }
            | LockOrder::LockVault { reason, .. }
            | LockOrder::WithdrawVaultLock { reason, .. }
            | LockOrder::ExtendLock { reason, .. }
            | LockOrder::WeakenLock { reason, .. }
            | LockOrder::CancelWeakening { reason, .. }
            | LockOrder::AddHold { reason, .. }
            | LockOrder::RemoveHold { reason, .. } => reason,
        }
    }
}
