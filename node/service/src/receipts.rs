//! Receipts and checkpoints: a tenant's audit log at one moment, signed by a majority of its home shard's voters, and what
//! is proved against it.
//!
//! ```text
//!   head of the log ─▶ each voter, this node too: sign it (sign.rs) ─▶ good signatures of a majority ─▶ checkpoint
//!   leaf of a commit, proof to the head ─────────────────────────────────────────────────────────────▶ receipt
//!   what the client knew ─▶ consistency proof to the head
//! ```
//!
//! Promises: nothing leaves as a receipt or checkpoint that a majority has not signed; a signature is counted only if it
//! is good over what is sent and its voter's state is not in doubt. A snapshot without such a majority is committed all the same: the receipt comes later.
//! Not here: the log itself (`node/core`), what a client believes (`proto/format`, `client`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use strongroom_core::entry::{ShardFacts, TenantFacts};
use strongroom_core::query::{Answer, GroupView, ListedLeaf, LogHead, ProvedLeaf, Query, SnapshotRef};
use strongroom_core::shard::rows::IdentityRow;
use strongroom_format::codec;
use strongroom_format::command::MemberSignature;
use strongroom_format::id::{IdentityId, NodeName, ReplicaId, SnapshotId};
use strongroom_format::merkle::MerkleHash;
use strongroom_format::receipt::{AuditRecord, Checkpoint, Receipt, SignedCheckpoint, Voters};
use strongroom_peers::message::CheckpointWanted;
use strongroom_peers::peers::Peers;
use tokio::time::Instant;

use crate::caller::Caller;
use crate::reads::{ReadFault, Reads};
use crate::sign::{Signer, in_doubt, voters, voting};
use crate::topology::{InForce, Topology};

/// The home shard is asked for so long.
const WITHIN: Duration = Duration::from_secs(10);
/// Voters have so long to sign; then whoever asks may ask again.
const SIGN_WITHIN: Duration = Duration::from_secs(4);
/// Voters beyond a majority are waited for so long, where all are wanted.
const OTHERS_WITHIN: Duration = Duration::from_secs(1);

/// Why there is no receipt, checkpoint or leaf.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptFault {
    /// No such thing, or not the caller's.
    #[error("there is no such thing, or it is not yours")]
    NotFound,
    /// The log has fewer leaves than the caller has seen of it.
    #[error("the tenant's log has {size} leaves, fewer than you know of")]
    Shorter {
        /// How many it has.
        size: u64,
    },
    /// Too few voters signed in time. What is committed is committed: ask again.
    #[error("{signed} of the voters have signed, {needed} are needed")]
    NoMajority {
        /// How many did.
        signed: usize,
        /// How many are needed.
        needed: usize,
    },
    /// The leaf does not read: this replica is damaged.
    #[error("the audit leaf does not read: {why}")]
    Damaged {
        /// What is wrong.
        why: String,
    },
    /// The home shard does not answer.
    #[error(transparent)]
    Read(#[from] ReadFault),
}

/// Whose signatures are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signers {
    /// A majority's.
    Majority,
    /// All that answer within a moment, and a majority's at least: for clients who know only some of the voters.
    All,
}

/// A checkpoint, and that the log only grew up to it.
#[derive(Clone, Debug)]
pub struct Proved<T> {
    /// What is proved.
    pub value: T,
    /// From the size that the client knew.
    pub consistency: Vec<MerkleHash>,
    /// The checkpoint with its signatures.
    pub checkpoint: SignedCheckpoint,
}

/// Some leaves, and that the log that ends with them is the beginning of the one that was named.
#[derive(Clone, Debug)]
pub struct LeavesPage {
    /// In order.
    pub leaves: Vec<ListedLeaf>,
    /// From the last of these leaves to the size that was named.
    pub consistency: Vec<MerkleHash>,
}

/// Makes receipts and checkpoints. Clones are the same.
#[derive(Clone)]
pub struct Receipts {
    me: NodeName,
    signer: Signer,
    peers: Peers,
    reads: Reads,
    topology: InForce,
}

impl Receipts {
    /// On node `me`.
    pub fn new(me: NodeName, signer: Signer, peers: Peers, reads: Reads, topology: InForce) -> Self {
        Self { me, signer, peers, reads, topology }
    }

    /// The receipt of a snapshot that the caller may see; of one that has ended, that of its end.
    pub async fn receipt(
        &self,
        caller: &Caller,
        snapshot: SnapshotId,
        old_size: u64,
    ) -> Result<Proved<Receipt>, ReceiptFault> {
        let (topology, tenant) = self.tenant(caller)?;
        let shard = topology.shards.get(&tenant.home).ok_or(ReceiptFault::NotFound)?;
        let query = Query::Snapshot {
            tenant: caller.tenant,
            snapshot: SnapshotRef::Id(snapshot),
            vault: None,
            by: caller.sees_only(),
        };
        let leaf_index = match self.reads.linearizable(tenant.home, &query, WITHIN).await? {
            Answer::Snapshots(page) => {
                page.snapshots.into_iter().next().ok_or(ReceiptFault::NotFound)?.committed.leaf_index
            }
            _ => {
                let query = Query::End { tenant: caller.tenant, snapshot, by: caller.sees_only() };
                match self.reads.linearizable(tenant.home, &query, WITHIN).await? {
                    Answer::End { leaf_index, .. } => leaf_index,
                    _ => return Err(ReceiptFault::NotFound),
                }
            }
        };
        let leaf = self.leaf(&tenant, leaf_index, old_size).await?;
        let record: AuditRecord =
            codec::decode(&leaf.record).map_err(|fault| ReceiptFault::Damaged { why: fault.to_string() })?;
        let signed = self.signed(&topology, &tenant, leaf.head, Signers::Majority);
        let consistency = self.consistency(&tenant, old_size, leaf.head.size);
        let (signed, consistency) = futures_util::future::try_join(signed, consistency).await?;
        let receipt = Receipt {
            leaf_index,
            salt: leaf.salt,
            record,
            proof: leaf.proof,
            checkpoint: signed.checkpoint.clone(),
            code: shard.code,
            signatures: signed.signatures.clone(),
        };
        Ok(Proved { value: receipt, consistency, checkpoint: signed })
    }

    /// The tenant's log as it is, or as it was with `size` leaves.
    pub async fn checkpoint(
        &self,
        caller: &Caller,
        old_size: u64,
        size: Option<u64>,
        signers: Signers,
    ) -> Result<Proved<()>, ReceiptFault> {
        let (topology, tenant) = self.tenant(caller)?;
        let head = self.head(&tenant, size).await?;
        if head.size < old_size {
            return Err(ReceiptFault::Shorter { size: head.size });
        }
        let signed = self.signed(&topology, &tenant, head, signers);
        let consistency = self.consistency(&tenant, old_size, head.size);
        let (checkpoint, consistency) = futures_util::future::try_join(signed, consistency).await?;
        Ok(Proved { value: (), consistency, checkpoint })
    }

    /// Leaves of the tenant's log, below `size`.
    pub async fn leaves(&self, caller: &Caller, from: u64, limit: u32, size: u64) -> Result<LeavesPage, ReceiptFault> {
        let (_, tenant) = self.tenant(caller)?;
        let limit = limit.min(u32::try_from(size.saturating_sub(from)).unwrap_or(u32::MAX));
        if limit == 0 {
            return Ok(LeavesPage { leaves: Vec::new(), consistency: Vec::new() });
        }
        let query = Query::Leaves { tenant: tenant.tenant, from, limit };
        let reaches = |answer: &Answer| matches!(answer, Answer::Leaves(leaves) if leaves.len() as u64 == limit.into());
        let leaves = match self.reads.near(tenant.home, &query, WITHIN, reaches).await? {
            Answer::Leaves(leaves) => leaves,
            _ => return Err(ReceiptFault::NotFound),
        };
        let end = from.saturating_add(leaves.len() as u64);
        let consistency = self.consistency(&tenant, end, size).await?;
        Ok(LeavesPage { leaves, consistency })
    }

    /// The tenant's identities, by id.
    pub async fn identities(
        &self,
        caller: &Caller,
        after: Option<IdentityId>,
        limit: u32,
    ) -> Result<Vec<(IdentityId, IdentityRow)>, ReceiptFault> {
        let (_, tenant) = self.tenant(caller)?;
        let query = Query::Identities { tenant: tenant.tenant, after, limit };
        match self.reads.linearizable(tenant.home, &query, WITHIN).await? {
            Answer::Identities(identities) => Ok(identities),
            _ => Err(ReceiptFault::NotFound),
        }
    }

    fn tenant(&self, caller: &Caller) -> Result<(Arc<Topology>, Arc<TenantFacts>), ReceiptFault> {
        let topology = self.topology.now();
        let tenant = topology.tenants.get(&caller.tenant).cloned().ok_or(ReceiptFault::NotFound)?;
        Ok((topology, tenant))
    }

    /// A leaf proved to a log that has at least the leaves that the client knows of.
    async fn leaf(&self, tenant: &TenantFacts, leaf_index: u64, old_size: u64) -> Result<ProvedLeaf, ReceiptFault> {
        let query = Query::Leaf { tenant: tenant.tenant, leaf_index, size: None };
        let reaches = |answer: &Answer| matches!(answer, Answer::Leaf(leaf) if old_size <= leaf.head.size);
        match self.reads.near(tenant.home, &query, WITHIN, reaches).await? {
            Answer::Leaf(leaf) if leaf.head.size < old_size => Err(ReceiptFault::Shorter { size: leaf.head.size }),
            Answer::Leaf(leaf) => Ok(*leaf),
            _ => Err(ReceiptFault::NotFound),
        }
    }

    async fn head(&self, tenant: &TenantFacts, size: Option<u64>) -> Result<LogHead, ReceiptFault> {
        let query = Query::Head { tenant: tenant.tenant, size };
        match self.reads.linearizable(tenant.home, &query, WITHIN).await? {
            Answer::Head(head) => Ok(head),
            // A log that has no such size is shorter.
            _ => match self
                .reads
                .linearizable(tenant.home, &Query::Head { tenant: tenant.tenant, size: None }, WITHIN)
                .await?
            {
                Answer::Head(head) => Err(ReceiptFault::Shorter { size: head.size }),
                _ => Err(ReceiptFault::NotFound),
            },
        }
    }

    async fn consistency(&self, tenant: &TenantFacts, old: u64, new: u64) -> Result<Vec<MerkleHash>, ReceiptFault> {
        if old == 0 || old == new {
            return Ok(Vec::new());
        }
        let query = Query::Consistency { tenant: tenant.tenant, old, new: Some(new) };
        let is_there = |answer: &Answer| matches!(answer, Answer::Consistency { .. });
        match self.reads.near(tenant.home, &query, WITHIN, is_there).await? {
            Answer::Consistency { proof, .. } => Ok(proof),
            _ => Err(ReceiptFault::NotFound),
        }
    }

    /// The head with signatures of the group's voters.
    async fn signed(
        &self,
        topology: &Topology,
        tenant: &TenantFacts,
        head: LogHead,
        signers: Signers,
    ) -> Result<SignedCheckpoint, ReceiptFault> {
        let (shard, view) = futures_util::future::try_join(self.shard(tenant), self.view(tenant)).await?;
        let (voters, in_doubt) = (voters(&shard), in_doubt(&view));
        let checkpoint = Checkpoint {
            cluster: topology.epoch,
            group: tenant.home,
            tenant: tenant.tag,
            size: head.size,
            root: head.root,
            log_index: head.applied,
            voters: voters.digest(),
        };
        let wanted =
            CheckpointWanted { group: tenant.home, tenant: tenant.tenant, size: head.size, log_index: head.applied };
        let trusted = voting(&shard).filter(|voter| !in_doubt.contains(&voter.replica));
        let mut asked: FuturesUnordered<_> = trusted.map(|voter| self.ask(&voter.node, wanted)).collect();
        let needed = voters.majority();
        let mut signatures: Vec<MemberSignature> = Vec::with_capacity(needed);
        let mut until = Instant::now() + SIGN_WITHIN;
        while let Ok(Some(answer)) = tokio::time::timeout_at(until, asked.next()).await {
            let Some(signature) = answer else { continue };
            if counts(&signature, &checkpoint, &voters, &in_doubt)
                && signatures.iter().all(|other| other.replica != signature.replica)
            {
                signatures.push(signature);
            } else {
                // Another root for the same size, or a key that is not the voter's: the tick's digests tell who is wrong.
                tracing::warn!(replica = signature.replica.0, "a voter signed something else");
            }
            if signatures.len() == needed {
                match signers {
                    Signers::Majority => break,
                    Signers::All => until = until.min(Instant::now() + OTHERS_WITHIN),
                }
            }
        }
        drop(asked);
        if signatures.len() < needed {
            return Err(ReceiptFault::NoMajority { signed: signatures.len(), needed });
        }
        signatures.sort_by_key(|signature: &MemberSignature| -> ReplicaId { signature.replica });
        Ok(SignedCheckpoint { checkpoint, voters, signatures })
    }

    async fn ask(&self, voter: &NodeName, wanted: CheckpointWanted) -> Option<MemberSignature> {
        if *voter == self.me {
            return self.signer.sign(wanted, SIGN_WITHIN).await.ok();
        }
        self.peers.sign_checkpoint(voter, wanted, SIGN_WITHIN).await.ok()
    }

    /// How the home shard's voters stand.
    async fn view(&self, tenant: &TenantFacts) -> Result<GroupView, ReceiptFault> {
        let is_there = |answer: &Answer| matches!(answer, Answer::Group(_));
        match self.reads.near(tenant.home, &Query::Group, WITHIN, is_there).await? {
            Answer::Group(view) => Ok(view),
            _ => Err(ReceiptFault::NotFound),
        }
    }

    /// Who votes at home. A replica that is behind may name those of before: their signatures do not fit, and the client
    /// asks another node.
    async fn shard(&self, tenant: &TenantFacts) -> Result<ShardFacts, ReceiptFault> {
        let is_there = |answer: &Answer| matches!(answer, Answer::Shard(_));
        match self.reads.near(tenant.home, &Query::Shard, WITHIN, is_there).await? {
            Answer::Shard(shard) => Ok(shard),
            _ => Err(ReceiptFault::NotFound),
        }
    }
}

/// Whether a signature is one of a voter whose state is not in doubt, and good over this checkpoint.
fn counts(
    signature: &MemberSignature,
    checkpoint: &Checkpoint,
    voters: &Voters,
    in_doubt: &BTreeSet<ReplicaId>,
) -> bool {
    let key = voters.keys.get(&signature.replica).filter(|_| !in_doubt.contains(&signature.replica));
    key.is_some_and(|key| checkpoint.verify(signature, key).is_ok())
}

#[cfg(test)]
mod tests {
    use strongroom_core::clock::ClockRow;
    use strongroom_core::shard::rows::Usage;
    use strongroom_core::voters::VoterView;
    use strongroom_format::id::{ClusterEpoch, Digest, GroupId, TenantTag};
    use strongroom_format::sign::SigningKey;

    use super::*;

    fn key(of: u64) -> SigningKey {
        SigningKey::from_secret(*blake3::hash(&of.to_le_bytes()).as_bytes()).unwrap()
    }

    fn view(fenced: &[u64], disputed: bool) -> GroupView {
        let digest = Digest::from_bytes([0; 32]);
        let voter = |of: u64| VoterView {
            replica: ReplicaId(of),
            node: format!("n{of}").parse().unwrap(),
            signing_key: key(of).public_key(),
            last: None,
            fenced: fenced.contains(&of),
        };
        GroupView {
            group: GroupId(1),
            rules: None,
            clock: ClockRow { last_tick: digest, digest, ticks: 3, ..ClockRow::founded(0) },
            next_end_ms: None,
            next_clock_end_ms: None,
            waits: false,
            digest,
            applied: 9,
            usage: Usage::default(),
            voters: (1..=3).map(voter).collect(),
            disputed,
        }
    }

    #[test]
    fn n134_a_voter_that_is_fenced_is_not_counted_and_where_states_are_disputed_nobody_is() {
        let voters = Voters { keys: (1..=3).map(|of| (ReplicaId(of), key(of).public_key())).collect() };
        let checkpoint = Checkpoint {
            cluster: ClusterEpoch::from_bytes([1; 16]),
            group: GroupId(1),
            tenant: TenantTag::from_bytes([2; 16]),
            size: 7,
            root: MerkleHash([3; 32]),
            log_index: 9,
            voters: voters.digest(),
        };
        let counted = |view: &GroupView| -> Vec<u64> {
            let in_doubt = in_doubt(view);
            let counts =
                |of: &u64| counts(&checkpoint.sign(ReplicaId(*of), &key(*of)), &checkpoint, &voters, &in_doubt);
            (1..=4).filter(counts).collect()
        };
        assert_eq!(counted(&view(&[], false)), [1, 2, 3], "the fourth is no voter");
        assert_eq!(counted(&view(&[2], false)), [1, 3]);
        assert_eq!(counted(&view(&[], true)), [0; 0]);
        let foreign = checkpoint.sign(ReplicaId(1), &key(2));
        assert!(!counts(&foreign, &checkpoint, &voters, &BTreeSet::new()));
        let other = Checkpoint { size: 8, ..checkpoint.clone() };
        assert!(!counts(&other.sign(ReplicaId(1), &key(1)), &checkpoint, &voters, &BTreeSet::new()));
    }
}
