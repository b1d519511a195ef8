//! Proofs: a tenant's audit log as it is, as it was, and that it was only appended to. For whoever trusts nobody here.
//!
//! The root at any earlier size comes from the stored roots of perfect subtrees, at most 64 rows, whatever the log holds;
//! so a voter signs a checkpoint of a size that has passed, and a proof fits the checkpoint that a client has. A tenant that
//! is not here, a leaf that is not there and a size beyond the log read alike: nothing (N92). Not here: what enters the
//! log (`shard/audit.rs`), signing (`node/service`).

use strongroom_format::merkle::{self, MerkleHash, NodeAt, ProofError};

use crate::query::{Answer, ListedLeaf, LogHead, ProvedLeaf};
use crate::rules;
use crate::shard::rows::{AuditHeadRow, LeafRow, SubtreeRow};
use crate::shard::scope::TenantScope;
use crate::stop::impossible;
use crate::tables::{Halt, Reads};

/// At most so many leaves in one answer.
const LEAVES_MAX: u32 = 1000;

/// The log with `size` leaves, or as it is.
pub(crate) fn head(scope: &TenantScope, reads: &dyn Reads, size: Option<u64>) -> Result<Option<LogHead>, Halt> {
    let row = scope.get::<AuditHeadRow>(reads, &())?.unwrap_or_default();
    let now = row.frontier.size();
    let size = size.unwrap_or(now);
    if now < size {
        return Ok(None);
    }
    let root = match size == now {
        true => row.frontier.root(),
        false => merkle::root_of(size, |node| subtree(scope, reads, node))?,
    };
    Ok(Some(LogHead { size, root, applied: rules::last_applied(reads)? }))
}

/// A leaf, proved to the log with `size` leaves, or as it is.
pub(crate) fn leaf(
    scope: &TenantScope,
    reads: &dyn Reads,
    leaf_index: u64,
    size: Option<u64>,
) -> Result<Option<Answer>, Halt> {
    let (Some(head), Some(row)) = (head(scope, reads, size)?, scope.get::<LeafRow>(reads, &(leaf_index,))?) else {
        return Ok(None);
    };
    let proof = proved(merkle::inclusion_proof(leaf_index, head.size, |node| subtree(scope, reads, node)))?;
    Ok(proof.map(|proof| Answer::Leaf(Box::new(ProvedLeaf { head, salt: row.salt, record: row.record, proof }))))
}

/// That the log with `old` leaves is a beginning of that with `new`, or of the one that is.
pub(crate) fn consistency(
    scope: &TenantScope,
    reads: &dyn Reads,
    old: u64,
    new: Option<u64>,
) -> Result<Option<Answer>, Halt> {
    let Some(head) = head(scope, reads, new)? else {
        return Ok(None);
    };
    let proof = proved(merkle::consistency_proof(old, head.size, |node| subtree(scope, reads, node)))?;
    Ok(proof.map(|proof| Answer::Consistency { head, proof }))
}

/// Leaves in order, from one on.
pub(crate) fn leaves(scope: &TenantScope, reads: &dyn Reads, from: u64, limit: u32) -> Result<Answer, Halt> {
    let limit = limit.min(LEAVES_MAX) as usize;
    let rows = scope.range_from::<LeafRow>(reads, &(), &(from,), limit)?;
    let listed =
        |((leaf_index,), row): ((u64,), LeafRow)| ListedLeaf { leaf_index, salt: row.salt, record: row.record };
    Ok(Answer::Leaves(rows.into_iter().map(listed).collect()))
}

fn proved(proof: Result<Vec<MerkleHash>, ProofError<Halt>>) -> Result<Option<Vec<MerkleHash>>, Halt> {
    match proof {
        Ok(proof) => Ok(Some(proof)),
        Err(ProofError::OutOfRange) => Ok(None),
        Err(ProofError::Read(halt)) => Err(halt),
    }
}

fn subtree(scope: &TenantScope, reads: &dyn Reads, node: NodeAt) -> Result<MerkleHash, Halt> {
    let row = scope.get::<SubtreeRow>(reads, &(node.level, node.index))?;
    Ok(row.ok_or_else(|| impossible("a subtree of the audit log is not there"))?.hash)
}
