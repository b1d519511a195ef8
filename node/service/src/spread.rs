//! A blob comes in: checked against the hash that its sender declared, cut into fragments, and every fragment made
//! durable in its slot or handed over.
//!
//! ```text
//!   blob ─▶ BLAKE3 = declared? encode (coding lane) ─▶ k+m puts at once ─▶ all ended ─▶ enough? ─▶ Placed
//!              no: HASH_MISMATCH, nothing is sent          │ suspect, late, full
//!                                                          └▶ another slot (handover.rs)
//! ```
//!
//! Promises: when [`Spread::place`] answers, every fragment that it does not call missing is durable under the lease; a
//! blob that too few slots took is refused, and what was written falls to its lease's release.
//!
//! Not here: rows (`upload.rs` registers what was placed), who may write (`members.rs`, on each member).

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use strongroom_chunks::coding::{self, CodingError};
use strongroom_format::code::{Code, Strength};
use strongroom_format::command::HandedOver;
use strongroom_format::id::{BlobId, Digest, LeaseId, NodeName, Slot, TenantId};
use strongroom_format::seal::BLOB_BYTES_MAX;
use strongroom_host::lane::LaneError;
use strongroom_peers::error::PeerError;
use strongroom_peers::fault::PutFault;
use strongroom_peers::health::PATIENCE_AT_FIRST;
use strongroom_peers::message::FragmentPut;
use strongroom_peers::peers::Peers;

use crate::coders::Coders;
use crate::handover::{Handover, Send};
use crate::members::Members;
use crate::metrics;
use crate::topology::Shard;

/// Under what a blob is written.
#[derive(Clone, Debug)]
pub struct Under {
    /// The shard.
    pub shard: Arc<Shard>,
    /// Whose it is.
    pub tenant: TenantId,
    /// The lease.
    pub lease: LeaseId,
    /// What the vault demands at least.
    pub least: Strength,
}

/// A blob whose fragments are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Which.
    pub blob: BlobId,
    /// Its length.
    pub blob_bytes: u32,
    /// Fragments that lie elsewhere than in their own slot, sorted by index.
    pub handed_over: Vec<HandedOver>,
    /// Fragments that lie nowhere, sorted.
    pub missing: Vec<u8>,
    /// Slots that did not take their own fragment.
    pub slots_missed: Vec<Slot>,
}

/// Why a blob was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SpreadError {
    /// The bytes are not what their sender declared: nothing was stored. Send it again.
    #[error("the bytes do not have the declared hash")]
    HashMismatch,
    /// Longer than any blob may be, or empty.
    #[error("a blob of {bytes} bytes is not allowed")]
    Length {
        /// Its length.
        bytes: usize,
    },
    /// The lease has ended or is another's: open another.
    #[error("the lease is not open")]
    LeaseEnded,
    /// The lease's bytes are used up: top it up.
    #[error("the lease's budget is used up")]
    BudgetExceeded,
    /// Enough fragments are durable to have the blob back and one more, but not for what the vault demands. It stays so
    /// while members are down.
    #[error("the fragments lie in too few places for the vault's policy: {strength:?}")]
    TooThin {
        /// What would survive.
        strength: Strength,
    },
    /// Too few slots took a fragment. Try again when more members are there.
    #[error("too few members took a fragment")]
    TooFew,
    /// Too few slots took a fragment, and some of them because their disks are full.
    #[error("members' disks are full")]
    DiskFull,
    /// This node has no member in the shard: send it to one that has.
    #[error("this node has no member in the shard")]
    NotAMember,
    /// The coder does not know the shard's code: a bug in its rows.
    #[error(transparent)]
    Coding(#[from] CodingError),
    /// The lanes have ended: the process is ending.
    #[error(transparent)]
    Lane(#[from] LaneError),
}

/// Spreads blobs over members. Clones are the same.
#[derive(Clone)]
pub struct Spread {
    me: NodeName,
    peers: Peers,
    members: Members,
    coders: Coders,
}

/// One fragment, ready to be sent.
#[derive(Clone)]
struct Piece {
    hash: Digest,
    payload: Bytes,
}

impl Spread {
    /// From node `me`, whose own fragments `members` takes.
    pub fn new(me: NodeName, peers: Peers, members: Members, coders: Coders) -> Self {
        Self { me, peers, members, coders }
    }

    /// Makes a blob durable. Cancelling it leaves fragments that no row names.
    pub async fn place(&self, under: &Under, declared: BlobId, blob: Bytes) -> Result<Placed, SpreadError> {
        let shard = &under.shard;
        if shard.member(&self.me).is_none() {
            return Err(SpreadError::NotAMember);
        }
        let length = SpreadError::Length { bytes: blob.len() };
        let blob_bytes = u32::try_from(blob.len()).ok().filter(|bytes| (1..=BLOB_BYTES_MAX).contains(bytes));
        let blob_bytes = blob_bytes.ok_or(length)?;
        let code = shard.code;
        let pieces = self.coders.run(move || cut(code, declared, &blob)).await??;
        let regions: Vec<_> = shard.members.iter().map(|member| member.region.clone()).collect();
        let skip = |slot: Slot| {
            let node = &shard.members[usize::from(slot.0)].node;
            *node != self.me && self.peers.is_suspect(node)
        };
        let (mut plan, sends) = Handover::new(code, &declared, &regions, skip);
        let put = |send: Send| {
            let piece = pieces[usize::from(send.index)].clone();
            let put = FragmentPut {
                group: shard.group,
                tenant: under.tenant,
                lease: under.lease,
                blob: declared,
                index: send.index,
                blob_bytes,
                payload_hash: piece.hash,
                payload: piece.payload,
            };
            self.put(&shard.members[usize::from(send.slot.0)].node, send, put)
        };
        let mut disk_full = false;
        let mut puts: FuturesUnordered<_> = sends.into_iter().map(&put).collect();
        while let Some((send, result)) = puts.next().await {
            match result {
                Ok(()) => plan.durable(send.index),
                Err(PutFault::LeaseEnded | PutFault::Foreign) => return Err(SpreadError::LeaseEnded),
                Err(PutFault::BudgetExceeded) => return Err(SpreadError::BudgetExceeded),
                Err(
                    fault @ (PutFault::NotAMember
                    | PutFault::DiskFull
                    | PutFault::Behind
                    | PutFault::Malformed
                    | PutFault::Busy
                    | PutFault::Failed),
                ) => {
                    disk_full |= fault == PutFault::DiskFull;
                    if let Some(next) = plan.failed(send.index) {
                        puts.push(put(next));
                    }
                }
            }
        }
        drop(puts);
        if !plan.is_enough(under.least) {
            metrics::blob_too_thin();
            let strength = plan.strength();
            let none = Strength { regions: 0, nodes: 0 };
            return Err(match (plan.is_enough(none), disk_full) {
                (true, _) => SpreadError::TooThin { strength },
                (false, true) => SpreadError::DiskFull,
                (false, false) => SpreadError::TooFew,
            });
        }
        let placed = Placed {
            blob: declared,
            blob_bytes,
            handed_over: plan.handed_over(),
            missing: plan.missing(),
            slots_missed: plan.slots_missed(),
        };
        metrics::blob_placed(blob_bytes, placed.handed_over.len(), placed.missing.len());
        Ok(placed)
    }

    /// One fragment to one member. Whatever the node is at fault for reads as a failed put.
    async fn put(&self, node: &NodeName, send: Send, put: FragmentPut) -> (Send, Result<(), PutFault>) {
        if *node == self.me {
            return (send, self.members.put(self.me.clone(), put).await);
        }
        let patience = self.peers.health(node).map_or(PATIENCE_AT_FIRST, |health| health.patience());
        let result = self.peers.put_fragment(node, put, patience).await.map_err(|error| {
            let fault = match error {
                PeerError::Put { fault, .. } => fault,
                PeerError::NoSuchNode { .. } | PeerError::Refused { .. } => PutFault::NotAMember,
                PeerError::Suspect { .. }
                | PeerError::Unreachable { .. }
                | PeerError::Busy { .. }
                | PeerError::Broken { .. }
                | PeerError::NotYet { .. }
                | PeerError::Late { .. } => PutFault::Failed,
            };
            tracing::debug!(%node, slot = %send.slot, %error, "a slot did not take its fragment");
            fault
        });
        (send, result)
    }
}

/// On a coding lane: the declared hash, the fragments, their hashes.
fn cut(code: Code, declared: BlobId, blob: &Bytes) -> Result<Vec<Piece>, SpreadError> {
    if blake3::hash(blob).as_bytes() != declared.as_bytes() {
        return Err(SpreadError::HashMismatch);
    }
    let fragments = coding::encode(code, blob)?;
    let piece = |payload: Bytes| {
        // Code 1+0: the fragment is the blob, and so is its hash.
        let hash = match code.k {
            1 if code.m == 0 => *declared.as_bytes(),
            _ => *blake3::hash(&payload).as_bytes(),
        };
        Piece { hash: Digest::from_bytes(hash), payload }
    };
    Ok(fragments.into_iter().map(piece).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n33_bytes_that_do_not_have_the_declared_hash_are_not_cut() {
        let blob = Bytes::from(vec![7; 5000]);
        let right = BlobId::from_bytes(*blake3::hash(&blob).as_bytes());
        for code in [Code { k: 1, m: 0 }, Code { k: 4, m: 2 }] {
            let pieces = cut(code, right, &blob).unwrap();
            assert_eq!(pieces.len(), usize::from(code.slots()));
            for piece in pieces {
                assert_eq!(piece.hash.as_bytes(), blake3::hash(&piece.payload).as_bytes());
            }
            let mut wrong = *right.as_bytes();
            wrong[31] ^= 1;
            assert!(matches!(cut(code, BlobId::from_bytes(wrong), &blob), Err(SpreadError::HashMismatch)));
        }
    }
}
