//! Approvals: signatures of others over what somebody asks for.
//!
//! Not here: what needs them (`node/core`). No rule verifies one yet.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::id::{IdentityId, Signature};

/// A signature of a registered approver over one exact request.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Approval {
    /// Who.
    pub approver: IdentityId,
    /// Over the canonical request.
    pub signature: Signature,
}
