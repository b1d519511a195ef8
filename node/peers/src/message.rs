//! What nodes say to each other, as the floors above see it. Protobuf stays in `wire.rs`.

use bytes::Bytes;
use strongroom_format::id::{BlobId, Digest, GroupId, LeaseId, NodeName, RegionName, ReplicaId, Signature, TenantId};

/// Where a node is reached on the peer plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerNode {
    /// Its name: whoever answers must have the certificate of just this node.
    pub node: NodeName,
    /// Its region, which the certificate names too.
    pub region: RegionName,
    /// `host:port` of its peer listener: a hint.
    pub address: String,
}

/// On which connection a Raft message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaftClass {
    /// Heartbeats and votes: small, and late is as bad as lost.
    Heartbeat,
    /// Entries and snapshots.
    Bulk,
}

/// A Raft message: its meaning is consensus' own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftMessage {
    /// The group.
    pub group: GroupId,
    /// Who says to speak. Consensus checks that it is a replica of the certificate's node.
    pub from: ReplicaId,
    /// Who is meant. Consensus checks that it is a replica of this node.
    pub to: ReplicaId,
    /// Which message.
    pub kind: u8,
    /// Its bytes.
    pub body: Bytes,
}

/// What became of a proposal at the node that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// It is committed and applied there.
    Applied {
        /// The entry's log index.
        index: u64,
        /// What the machine answered.
        answer: Bytes,
    },
    /// Surely not proposed: another node leads.
    NotLeader {
        /// Which, if it is known.
        leader: Option<NodeName>,
    },
    /// Surely not proposed: no such group there, or no room.
    Refused {
        /// What it said.
        why: String,
    },
    /// It may or may not come to pass.
    Unknown {
        /// What is known.
        why: String,
    },
}

/// What became of a question at the node that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queried {
    /// The machine's answer, at a read index.
    Answer(Bytes),
    /// Another node leads.
    NotLeader {
        /// Which, if it is known.
        leader: Option<NodeName>,
    },
    /// No answer; a question changes nothing, so it may be asked again.
    Failed {
        /// What it said.
        why: String,
    },
}

/// A fragment on its way to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentPut {
    /// The shard.
    pub group: GroupId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Under which it is written.
    pub lease: LeaseId,
    /// The blob.
    pub blob: BlobId,
    /// Which of its fragments.
    pub index: u8,
    /// The blob's length.
    pub blob_bytes: u32,
    /// BLAKE3 of the payload.
    pub payload_hash: Digest,
    /// The fragment.
    pub payload: Bytes,
}

/// Fragments of one tenant that are wanted from a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentsWanted {
    /// The shard.
    pub group: GroupId,
    /// Whose they are: no message carries bytes of two tenants.
    pub tenant: TenantId,
    /// Which; at most [`FragmentsWanted::AT_ONCE_MAX`].
    pub wanted: Vec<(BlobId, u8)>,
}

impl FragmentsWanted {
    /// At most so many in one request: a run and some.
    pub const AT_ONCE_MAX: usize = 2048;
}

/// A fragment that a member had. Its hash is the member's word: whoever gathers checks it, and the blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentFound {
    /// The blob's length.
    pub blob_bytes: u32,
    /// BLAKE3 of the payload, as it was written.
    pub payload_hash: Digest,
    /// The fragment.
    pub payload: Bytes,
}

/// How far a replica's log and vote are durable, or were known to be by another node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownPosition {
    /// The term of its vote.
    pub vote_term: u64,
    /// The index of the last entry in its log.
    pub last_index: u64,
}

/// What a node knows of another node's replica of a group that both are in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// How far that replica was durable, at least. Zeros: nothing is known of it.
    pub of_it: KnownPosition,
    /// How far the node's own replica is.
    pub own: KnownPosition,
    /// The node's own replica leads and nobody led before it: whoever acknowledged anything in the group is known to it.
    pub leads_since_founding: bool,
}

/// A tenant's audit log at one moment, for a voter to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointWanted {
    /// The tenant's home shard.
    pub group: GroupId,
    /// Whose log.
    pub tenant: TenantId,
    /// With how many leaves.
    pub size: u64,
    /// The voter signs when it has applied this.
    pub log_index: u64,
}

/// Claims of a group about itself, for a voter to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimsWanted {
    /// Whose voter signs.
    pub group: GroupId,
    /// The voter answers when it has applied this.
    pub log_index: u64,
    /// Canonical bytes. Here they are opaque.
    pub claims: Bytes,
}

/// A voter's report for a tick. Here it is bytes: the rules read them and check the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReport {
    /// Canonical `ReportFacts`.
    pub facts: Bytes,
    /// Over these bytes, by the voter's key in its membership row.
    pub signature: Signature,
}

/// What a node says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub node: String,
    /// The version of its program.
    pub version: String,
}
