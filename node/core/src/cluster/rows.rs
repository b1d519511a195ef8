//! The rows of the cluster group: what each table holds. Not here: what changes them.

use borsh::{BorshDeserialize, BorshSerialize};
use strongroom_format::code::Code;
use strongroom_format::id::{
    ClusterEpoch, ClusterName, Digest, GroupId, IdentityId, NodeName, Nonce, PublicKey, RegionName, ReplicaId, Slot,
    StatementVersion, TenantId, TenantName,
};
use strongroom_format::outcome::Outcome;
use strongroom_format::role::{OperatorRole, Plane};

use crate::entry::TenantFacts;
use crate::row::rows;

/// What the cluster is called and where it lies.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct FactsRow {
    /// Its name.
    pub cluster: ClusterName,
    /// Its life.
    pub epoch: ClusterEpoch,
    /// In the order in which slots are numbered.
    pub regions: Vec<RegionName>,
    /// Whether it was accepted that the loss of a region loses data or the majority.
    pub accept_region_loss: bool,
    /// Whether it was accepted that a shard has one slot, which survives nothing.
    pub single_node: bool,
    /// The replacement of one of the cluster group's own members, while it is under way.
    pub changing: Option<Changing>,
    /// Counts the changes of who votes in the cluster group: the version of its electorate.
    pub electorate_version: u64,
}

/// A replacement that is under way: one at a time in each group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Changing {
    /// The slot; zero in the cluster group.
    pub slot: Slot,
    /// Who leaves.
    pub from: ReplicaId,
    /// Who comes.
    pub to: ReplicaId,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NodeRow {
    /// Its name.
    pub name: NodeName,
    /// Its region.
    pub region: RegionName,
    /// `host:port` of its listener for other nodes.
    pub peer: String,
    /// `host:port` of its listener for tenants.
    pub tenant: String,
    /// `host:port` of its listener for operators.
    pub operator: String,
    /// Signs its reports and checkpoints.
    pub signing_key: PublicKey,
    /// Its identity in the cluster group.
    pub replica: ReplicaId,
    /// Whether it votes there.
    pub votes: bool,
    /// Counts the nodes in the order in which they came, from 0: who came first votes first.
    pub ordinal: u32,
}

/// A shard.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ShardRow {
    /// Its group.
    pub group: GroupId,
    /// Its erasure code.
    pub code: Code,
    /// One a slot, by slot; the first [`Code::voters`] vote.
    pub slots: Vec<SlotRow>,
    /// How many tenants have it as their home.
    pub homes: u64,
    /// How many tenants have it in their set.
    pub tenants: u64,
    /// The replacement of one of its members, while it is under way.
    pub changing: Option<Changing>,
    /// The cluster group's clock when the shard was created: the shard's begins there. In milliseconds since 1970.
    pub clock_ms: u64,
}

/// A slot of a shard and the member that fills it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SlotRow {
    /// Which.
    pub slot: Slot,
    /// In which region.
    pub region: RegionName,
    /// On which node.
    pub node: NodeName,
    /// The member's identity in the group.
    pub replica: ReplicaId,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TenantRow {
    /// What its shards must know.
    pub facts: TenantFacts,
    /// The CAs that may issue its certificates: digests of their DER, sorted.
    pub issuers: Vec<Digest>,
    /// The operator that admitted it.
    pub admitted_by: IdentityId,
}

/// A tenant's name, never given again.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TenantNameRow {
    /// Whose it is or was.
    pub tenant: TenantId,
}

/// An operator.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OperatorRow {
    /// Sorted.
    pub roles: Vec<OperatorRole>,
    /// Signs its commands.
    pub signing_key: PublicKey,
}

/// What an operator's command was answered, for ever.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AnsweredRow {
    /// The digest of the command that was answered.
    pub command: Digest,
    /// The answer.
    pub outcome: Outcome,
}

/// An issuing CA, registered for one plane.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct IssuerRow {
    /// Which plane.
    pub plane: Plane,
    /// Its certificate in DER.
    pub certificate: Vec<u8>,
    /// On the tenant plane: the tenants that accepted it, sorted.
    pub tenants: Vec<TenantId>,
    /// What it revoked, as far as the cluster was told.
    pub revocations: Option<Revocations>,
}

/// What a CA revoked.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Revocations {
    /// The list's number; it only grows.
    pub number: u64,
    /// The CA's certificate revocation list in DER.
    pub list: Vec<u8>,
}

/// A CA that was taken out of use, for ever. The value is empty.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RetiredIssuerRow {}

/// What a tenant said last of a CA that it accepts.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AcceptanceRow {
    /// Of the acceptance.
    pub version: StatementVersion,
}

/// A node's token: which node its bearer will be, or is. The row of one that nobody used goes at its end.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NodeTokenRow {
    /// The node.
    pub node: NodeName,
    /// Its region.
    pub region: RegionName,
    /// The operator who issued it.
    pub issuer: IdentityId,
    /// When it ends on `E`.
    pub ends_ms: u64,
    /// When it ends on a node's wall clock, in milliseconds since 1970.
    pub wall_end_unix_ms: u64,
    /// Whether it was used.
    pub state: NodeTokenState,
}

/// Whether a node's token was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum NodeTokenState {
    /// Not yet.
    Open,
    /// For ever.
    Used {
        /// The digest of the redemption: the same one again is answered as before.
        redemption: Digest,
        /// What it allotted.
        replica: ReplicaId,
    },
}

/// An open token of a node, in the order of ends. The value is empty.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NodeTokenEndRow {}

/// A replica id that was allotted in a group, for ever. The value is empty.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AllottedRow {}

rows! {
    named CLUSTER_TABLES;
    FactsRow: "cluster facts row", 32 << 10, 10, ();
    NodeRow: "node of the cluster row", 2048, 11, (NodeName,);
    ShardRow: "shard row", 4096, 12, (GroupId,);
    TenantRow: "tenant of the cluster row", 64 << 10, 13, (TenantId,);
    TenantNameRow: "tenant name row", 32, 14, (TenantName,);
    OperatorRow: "operator row", 64, 15, (IdentityId,);
    AnsweredRow: "answered row", (1 << 20) + 64, 16, (IdentityId, Nonce);
    IssuerRow: "issuer row", 1 << 20, 17, (Digest,);
    RetiredIssuerRow: "retired issuer row", 16, 18, (Digest,);
    AcceptanceRow: "acceptance row", 16, 19, (TenantId, Digest);
    NodeTokenRow: "node token row", 512, 20, (Digest,);
    NodeTokenEndRow: "node token end row", 16, 21, (u64, Digest);
    AllottedRow: "allotted row", 16, 6, (GroupId, ReplicaId);
}
