//! Questions about a group's applied state, and their answers. Whoever asks has read at the leader's read index or says
//! that it may be stale.
//!
//! Every question about a tenant's rows names the tenant that was authenticated; what is another's and what is not there
//! read alike, [`Answer::NotFound`] or left out. A question to the wrong kind of group, or one that does not read, is
//! [`Answer::Invalid`].
//!
//! Not here: who may ask what (`node/identity`, `node/api`): a writer's questions name the writer, so that the rules
//! show it its own.

use borsh::{BorshDeserialize, BorshSerialize};
use strongroom_format::code::Strength;
use strongroom_format::codec::Format;
use strongroom_format::command::BlobRef;
use strongroom_format::id::{
    BlobId, ChunkId, ClusterEpoch, ClusterName, DekId, Digest, DomainId, GroupId, IdentityId, KeyEpoch, LeaseId,
    RegionName, ReplicaId, RulesVersion, SessionId, SnapshotId, StatementVersion, StreamName, TenantId, TicketId,
    TreeId, VaultId, VaultName,
};
use strongroom_format::label::Label;
use strongroom_format::merkle::{MerkleHash, Salt};
use strongroom_format::policy::Policy;
use strongroom_format::policy_view::{LockView, PolicyView, PreviewPage, PreviewPlace};
use strongroom_format::quota::Quotas;

use crate::clock::ClockRow;
use crate::cluster::rows::{Changing, IssuerRow, NodeRow, OperatorRow, ShardRow, TenantRow as ClusterTenantRow};
use crate::electorates::Electorate;
use crate::entry::{ReportFacts, ShardFacts, TenantFacts};
use crate::locking::{Keeping, PartKeeping};
use crate::shard::rows::{
    ChunkRow, Committed, EndFacts, IdentityRow, LeaseRow, PartRow, RestoreRow, SessionRow, TicketRow, Usage,
};
use crate::voters::VoterView;

/// A question to a group.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Query {
    /// How the group is. To any group. [`Answer::Group`].
    Group,
    /// All of the cluster. To the cluster group. [`Answer::ClusterMap`].
    ClusterMap,
    /// What a shard knows of itself. To a shard. [`Answer::Shard`]. So are all that follow.
    Shard,
    /// The parts that wait for their home shard's word, of all tenants: for the worker that asks it.
    /// [`Answer::Waiting`].
    Waiting {
        /// Behind this one; `None`: from the beginning.
        after: Option<(TenantId, SnapshotId)>,
        /// At most so many, at most 1000.
        limit: u32,
    },
    /// What the home shard decided about a snapshot. [`Answer::Decision`].
    Decision {
        /// Whose.
        tenant: TenantId,
        /// Which.
        snapshot: SnapshotId,
    },
    /// The tenant as this shard knows it. [`Answer::Tenant`].
    Tenant {
        /// Which.
        tenant: TenantId,
    },
    /// An identity's row. At home. [`Answer::Identity`].
    Identity {
        /// Whose.
        tenant: TenantId,
        /// Which.
        identity: IdentityId,
    },
    /// A client session's row. [`Answer::Session`].
    Session {
        /// Whose.
        tenant: TenantId,
        /// Which.
        session: SessionId,
    },
    /// An open lease's row: for members that are asked to take fragments under it. [`Answer::Lease`].
    Lease {
        /// Whose.
        tenant: TenantId,
        /// Which.
        lease: LeaseId,
    },
    /// Which chunks and nodes are known in a writer's own domain. A hint. [`Answer::Which`].
    Which {
        /// Whose.
        tenant: TenantId,
        /// Who asks.
        by: IdentityId,
        /// The vault.
        vault: VaultId,
        /// The domain.
        domain: DomainId,
        /// At most 4096.
        chunks: Vec<ChunkId>,
        /// At most 4096.
        nodes: Vec<TreeId>,
    },
    /// All vaults. At home. [`Answer::Vaults`].
    Vaults {
        /// Whose.
        tenant: TenantId,
    },
    /// One vault with its cards. At home. [`Answer::Vault`].
    Vault {
        /// Whose.
        tenant: TenantId,
        /// Which.
        vault: VaultRef,
        /// Only this writer's cards.
        by: Option<IdentityId>,
    },
    /// Committed snapshots of a vault in the order of their commits, by pages. At home. [`Answer::Snapshots`].
    Snapshots {
        /// Whose.
        tenant: TenantId,
        /// The vault.
        vault: VaultId,
        /// Only this writer's.
        by: Option<IdentityId>,
        /// Only of this name.
        label: Option<Label>,
        /// Behind this order ([`SnapshotsPage::next`]); zero: from the beginning.
        after: u64,
        /// At most so many, at most 1000; zero: 1000.
        limit: u32,
    },
    /// Committed snapshots by id. At home. [`Answer::Snapshots`] with at most two, so that a prefix that is not unique
    /// is seen.
    Snapshot {
        /// Whose.
        tenant: TenantId,
        /// Which.
        snapshot: SnapshotRef,
        /// Only in this vault.
        vault: Option<VaultId>,
        /// Only this writer's.
        by: Option<IdentityId>,
    },
    /// This shard's part of a snapshot. [`Answer::Part`].
    Part {
        /// Whose.
        tenant: TenantId,
        /// Which.
        snapshot: SnapshotId,
    },
    /// Wrapped session keys, in order. At home. [`Answer::Wraps`].
    Wraps {
        /// Whose.
        tenant: TenantId,
        /// The vault.
        vault: VaultId,
        /// The domain.
        domain: DomainId,
        /// At most 256.
        deks: Vec<DekId>,
    },
    /// Index-tree nodes, in order. [`Answer::Nodes`].
    Nodes {
        /// Whose.
        tenant: TenantId,
        /// Who reads its own domain; `None`: a restore that was let through the gate.
        by: Option<IdentityId>,
        /// The vault.
        vault: VaultId,
        /// The domain.
        domain: DomainId,
        /// At most 256.
        nodes: Vec<TreeId>,
    },
    /// Where blobs lie, in order. [`Answer::Chunks`].
    Chunks {
        /// Whose.
        tenant: TenantId,
        /// The vault.
        vault: VaultId,
        /// The domain.
        domain: DomainId,
        /// At most 1024.
        blobs: Vec<BlobRef>,
    },
    /// What names a blob, for each blob in order, at most 16 rows each. For scrub and repair. [`Answer::Blobs`].
    Blobs {
        /// Whose.
        tenant: TenantId,
        /// At most 256.
        blobs: Vec<BlobId>,
    },
    /// An open restore session. At home. [`Answer::Restore`].
    Restore {
        /// Whose.
        tenant: TenantId,
        /// Which.
        restore: SessionId,
    },
    /// A leaf of the tenant's audit log, proved. [`Answer::Leaf`].
    Leaf {
        /// Whose.
        tenant: TenantId,
        /// Its number.
        leaf_index: u64,
        /// Proved to the log as it was with so many leaves; `None`: as it is.
        size: Option<u64>,
    },
    /// That the log was only appended to. [`Answer::Consistency`].
    Consistency {
        /// Whose.
        tenant: TenantId,
        /// How many leaves the asker knows of.
        old: u64,
        /// Up to so many leaves; `None`: all.
        new: Option<u64>,
    },
    /// The tenant's audit log as it was with so many leaves. [`Answer::Head`].
    Head {
        /// Whose.
        tenant: TenantId,
        /// How many leaves; `None`: all.
        size: Option<u64>,
    },
    /// Leaves of the tenant's audit log in order, without proofs. [`Answer::Leaves`].
    Leaves {
        /// Whose.
        tenant: TenantId,
        /// The first.
        from: u64,
        /// At most so many, at most 1000.
        limit: u32,
    },
    /// Identities by id. At home. [`Answer::Identities`].
    Identities {
        /// Whose.
        tenant: TenantId,
        /// Behind this one; `None`: from the beginning.
        after: Option<IdentityId>,
        /// At most so many, at most 1000.
        limit: u32,
    },
    /// A token, for the door: one that does not count is not proposed. A tenant's at home, a node's in the cluster group.
    /// [`Answer::Token`].
    Token {
        /// Whose; `None`: a node's.
        tenant: Option<TenantId>,
        /// BLAKE3 of its public key.
        token: Digest,
    },
    /// What a tenant has in this shard. [`Answer::Usage`].
    Usage {
        /// Whose.
        tenant: TenantId,
    },
    /// A ticket with the streams that are under it: its opener sees all of them, anybody else its own. At home.
    /// [`Answer::Ticket`].
    Ticket {
        /// Whose.
        tenant: TenantId,
        /// Which.
        ticket: TicketId,
        /// Who asks.
        by: IdentityId,
    },
    /// The parts of ended snapshots that other shards are to be told of, of all tenants: for the worker that tells them.
    /// At home. [`Answer::Ending`].
    Ending {
        /// Behind this one; `None`: from the beginning.
        after: Option<EndingPart>,
        /// At most so many, at most 1000.
        limit: u32,
    },
    /// The tenants that have something to collect now: for the worker that collects. [`Answer::Garbage`].
    Garbage {
        /// How long a blob that nothing names waits.
        grace_ms: u64,
        /// Behind this one; `None`: from the beginning.
        after: Option<TenantId>,
        /// At most so many, at most 1000.
        limit: u32,
    },
    /// How a snapshot ended. At home. [`Answer::End`].
    End {
        /// Whose.
        tenant: TenantId,
        /// Which.
        snapshot: SnapshotId,
        /// Only this writer's.
        by: Option<IdentityId>,
    },
    /// Who votes in a group, as this one goes by it. To any group. [`Answer::Electorate`].
    Electorate {
        /// In which.
        of: GroupId,
    },
    /// Whether a restorer reported a blob. At home. [`Answer::Reported`].
    Reported {
        /// Whose.
        tenant: TenantId,
        /// The vault.
        vault: VaultId,
        /// The domain.
        domain: DomainId,
        /// The blob by its chunk row.
        of: BlobRef,
    },
    /// What keeps a committed snapshot. At home. [`Answer::Lock`].
    Lock {
        /// Whose.
        tenant: TenantId,
        /// Which.
        snapshot: SnapshotId,
        /// Only this writer's.
        by: Option<IdentityId>,
    },
    /// The version of what keeps a snapshot's part, in any shard that has one. [`Answer::Kept`].
    Kept {
        /// Whose.
        tenant: TenantId,
        /// Which.
        snapshot: SnapshotId,
    },
    /// What other shards are behind with, of all tenants: for the worker that tells them. At home. [`Answer::Behind`].
    Behind {
        /// Behind this one; `None`: from the beginning.
        after: Option<(TenantId, SnapshotId)>,
        /// So many snapshots at most, at most 1000.
        limit: u32,
    },
    /// A vault's policy and what it has to say today. At home. [`Answer::Policy`].
    Policy {
        /// Whose.
        tenant: TenantId,
        /// Which vault.
        vault: VaultId,
        /// Only this writer's names.
        by: Option<IdentityId>,
    },
    /// What would become of a vault's snapshots under a policy, by pages. At home. [`Answer::Preview`].
    Preview {
        /// Whose.
        tenant: TenantId,
        /// Which vault.
        vault: VaultId,
        /// The policy.
        policy: Policy,
        /// Behind this one; `None`: from the beginning.
        after: Option<PreviewPlace>,
        /// At most so many, at most 1000; zero: 1000.
        limit: u32,
    },
    /// The vaults of a tenant whose policies let something go, some at a time: for the worker that asks. At home.
    /// [`Answer::Expiring`].
    Expiring {
        /// Whose.
        tenant: TenantId,
        /// Behind this vault; `None`: from the beginning.
        after: Option<VaultId>,
    },
    /// What quotas count in this shard, and at home the quotas. [`Answer::Charges`].
    Charges {
        /// Whose.
        tenant: TenantId,
        /// Only this writer's.
        by: Option<IdentityId>,
    },
}

impl Format for Query {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 << 20;
    const NAME: &'static str = "query";
}

/// A vault by one of its names.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum VaultRef {
    /// By id.
    Id(VaultId),
    /// By name.
    Name(VaultName),
}

/// A snapshot by id, whole or in part.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SnapshotRef {
    /// By id.
    Id(SnapshotId),
    /// By the first hex digits of its id: lower-case, at least [`SnapshotRef::PREFIX_MIN`].
    Prefix(String),
}

impl SnapshotRef {
    /// A prefix has at least so many hex digits.
    pub const PREFIX_MIN: usize = 8;
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Answer {
    /// The question does not read, or this kind of group cannot answer it.
    Invalid {
        /// What is wrong, for people.
        why: String,
    },
    /// There is no such thing, or it is not the asker's.
    NotFound,
    /// How the group is.
    Group(GroupView),
    /// All of the cluster.
    ClusterMap(Box<ClusterMap>),
    /// What a shard knows of itself.
    Shard(ShardFacts),
    /// Parts that wait.
    Waiting(Vec<WaitingPart>),
    /// What the home shard decided.
    Decision(Decision),
    /// A tenant.
    Tenant(TenantView),
    /// An identity.
    Identity(IdentityRow),
    /// A client session.
    Session(SessionRow),
    /// An open lease.
    Lease(LeaseView),
    /// What is known.
    Which(Which),
    /// Vaults by name.
    Vaults(Vec<VaultView>),
    /// A vault with its cards.
    Vault {
        /// The vault.
        vault: VaultView,
        /// Canonical bytes of signed cards, by writer and epoch.
        cards: Vec<Vec<u8>>,
    },
    /// Snapshots.
    Snapshots(SnapshotsPage),
    /// A part.
    Part(PartRow),
    /// Canonical bytes of each wrap; `None` where there is none.
    Wraps(Vec<Option<Vec<u8>>>),
    /// Canonical bytes of each node; `None` where there is none.
    Nodes(Vec<Option<Vec<u8>>>),
    /// The row of each blob; `None` where there is none.
    Chunks(Vec<Option<ChunkRow>>),
    /// The rows of each blob.
    Blobs(Vec<Vec<NamedBlob>>),
    /// An open restore session.
    Restore(RestoreRow),
    /// A leaf of the audit log.
    Leaf(Box<ProvedLeaf>),
    /// That the log was only appended to.
    Consistency {
        /// The log as it is.
        head: LogHead,
        /// From the size that was asked about.
        proof: Vec<MerkleHash>,
    },
    /// An audit log at one moment.
    Head(LogHead),
    /// Leaves in order.
    Leaves(Vec<ListedLeaf>),
    /// Identities by id.
    Identities(Vec<(IdentityId, IdentityRow)>),
    /// A token.
    Token(TokenView),
    /// What a tenant has in this shard.
    Usage(Usage),
    /// A ticket.
    Ticket(TicketView),
    /// Parts of ended snapshots.
    Ending(Vec<EndingPart>),
    /// Tenants with garbage.
    Garbage(Vec<TenantId>),
    /// How a snapshot ended.
    End {
        /// Who ended it, when and why.
        end: EndFacts,
        /// The leaf in the tenant's audit tree that says so.
        leaf_index: u64,
    },
    /// Who votes in a group.
    Electorate(Electorate),
    /// Whether a blob was reported.
    Reported(bool),
    /// What keeps a snapshot.
    Lock(LockView),
    /// What keeps a part.
    Kept {
        /// Counts the home shard's changes.
        version: u32,
    },
    /// What other shards are behind with, by snapshot: all shards of one that is here are here.
    Behind(Vec<PartKeeping>),
    /// A policy.
    Policy(PolicyView),
    /// A page of a preview.
    Preview(PreviewPage),
    /// Vaults whose policies let something go.
    Expiring(Expiring),
    /// What quotas count in this shard.
    Charges(Charges),
}

impl Format for Answer {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 64 << 20;
    const NAME: &'static str = "answer";
}

/// What quotas count in a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Charges {
    /// Of the tenant; `None`: a writer asked.
    pub tenant: Option<Charge>,
    /// Of its vaults, by id, with their names at home. None if a writer asked.
    pub vaults: Vec<(VaultId, Option<VaultName>, Charge)>,
    /// Of its writers, by id.
    pub writers: Vec<(IdentityId, Charge)>,
    /// How many bytes a second the tenant may send to one node.
    pub upload_bytes_per_second: Option<u64>,
}

/// What quotas count of one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Charge {
    /// How much there may be; at home.
    pub quotas: Quotas,
    /// Stored bytes that committed snapshots refer to; at home.
    pub logical_bytes: u64,
    /// Stored bytes of blobs and tree nodes.
    pub stored_bytes: u64,
    /// What may still be written under open leases.
    pub reserved_bytes: u64,
    /// Committed snapshots; at home.
    pub snapshots: u64,
    /// Undecided ones; at home.
    pub undecided: u64,
    /// Open sessions; at home.
    pub sessions: u64,
}

/// How a group is.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GroupView {
    /// Which.
    pub group: GroupId,
    /// The rules in force; `None`: it is not founded yet.
    pub rules: Option<RulesVersion>,
    /// Its time.
    pub clock: ClockRow,
    /// When the next thing ends on `E`: a tick is worth proposing then.
    pub next_end_ms: Option<u64>,
    /// When the next thing ends on the compliance clock: a tick is worth proposing then, if that clock runs.
    pub next_clock_end_ms: Option<u64>,
    /// Whether something waits for ticks, whatever the time: one a second is worth proposing.
    pub waits: bool,
    /// The digest of its rows.
    pub digest: Digest,
    /// The last entry that changed anything.
    pub applied: u64,
    /// What lies in it, of all tenants. Zeros in the cluster group.
    pub usage: Usage,
    /// Its voters, by replica id.
    pub voters: Vec<VoterView>,
    /// Whether the group decides nothing because its voters' digests differ and none has a majority.
    pub disputed: bool,
}

/// What only a voter itself can say of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Random, new at each start of its process.
    pub incarnation: [u8; 16],
    /// Milliseconds since the incarnation began: the smaller of two clocks.
    pub running_ms: u64,
    /// Its wall clock, in milliseconds since 1970.
    pub wall_unix_ms: u64,
    /// How far its log is durable.
    pub durable_index: u64,
    /// The term of its durable vote.
    pub vote_term: u64,
}

impl GroupView {
    /// The report of the voter whose state this is, for the next tick; to be signed ([`ReportFacts::sign`]).
    pub fn report(&self, epoch: ClusterEpoch, replica: ReplicaId, measured: &Measured) -> ReportFacts {
        let Measured { incarnation, running_ms, wall_unix_ms, durable_index, vote_term } = *measured;
        ReportFacts {
            epoch,
            group: self.group,
            replica,
            previous: self.clock.last_tick,
            incarnation,
            running_ms,
            wall_unix_ms,
            durable_index,
            vote_term,
            digest: self.clock.digest,
        }
    }
}

/// All of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ClusterMap {
    /// Its name.
    pub cluster: ClusterName,
    /// Its life.
    pub epoch: ClusterEpoch,
    /// Regions, in the order in which slots are numbered.
    pub regions: Vec<RegionName>,
    /// Nodes by name.
    pub nodes: Vec<NodeRow>,
    /// Shards by group.
    pub shards: Vec<ShardRow>,
    /// Tenants by id.
    pub tenants: Vec<ClusterTenantRow>,
    /// Operators by id.
    pub operators: Vec<(IdentityId, OperatorRow)>,
    /// Issuing CAs.
    pub issuers: Vec<IssuerRow>,
    /// The replacement of one of the cluster group's own members, while it is under way.
    pub changing: Option<Changing>,
    /// Counts the changes of who votes in the cluster group.
    pub electorate_version: u64,
}

/// A part that waits for its home shard's word.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct WaitingPart {
    /// Whose.
    pub tenant: TenantId,
    /// Of which snapshot.
    pub snapshot: SnapshotId,
    /// Whom to ask.
    pub home: GroupId,
}

/// A part of an ended snapshot that its shard is to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EndingPart {
    /// Whose.
    pub tenant: TenantId,
    /// Of which snapshot.
    pub snapshot: SnapshotId,
    /// In which shard.
    pub group: GroupId,
}

/// What the home shard decided about a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Decision {
    /// Nothing yet.
    Open,
    /// It is there.
    Committed {
        /// What keeps each part.
        kept: Keeping,
    },
    /// It never was. Final.
    Aborted,
}

/// A tenant as a shard knows it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TenantView {
    /// From the cluster group.
    pub facts: TenantFacts,
    /// Whether its people may do anything.
    pub active: bool,
}

/// An open lease: what a member must know before it takes a fragment.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LeaseView {
    /// Its row.
    pub lease: LeaseRow,
    /// The cluster's life.
    pub epoch: ClusterEpoch,
    /// The group's time.
    pub now_ms: u64,
}

/// A token, as a door must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TokenView {
    /// When it ends on the group's time.
    pub ends_ms: u64,
    /// The group's time.
    pub now_ms: u64,
    /// When it ends on a node's wall clock, in milliseconds since 1970.
    pub wall_end_unix_ms: u64,
    /// The digest of the redemption that used it; the same one again is answered as before.
    pub used: Option<Digest>,
}

/// A ticket and streams under it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TicketView {
    /// Its row.
    pub ticket: TicketRow,
    /// By name.
    pub streams: Vec<StreamView>,
}

/// A stream under a ticket.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StreamView {
    /// Its name.
    pub name: StreamName,
    /// Who writes it.
    pub writer: IdentityId,
    /// The snapshot that it is.
    pub snapshot: SnapshotId,
    /// The digest of its envelope, once it is ready.
    pub ready: Option<Digest>,
}

/// What is known in a domain.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Which {
    /// Of the chunks asked for those that are known, each with its newest blob that nobody reported.
    pub chunks: Vec<KnownChunk>,
    /// Of the nodes asked for those that are known.
    pub nodes: Vec<TreeId>,
}

/// A known chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KnownChunk {
    /// Which.
    pub chunk: ChunkId,
    /// Its newest blob that nobody reported.
    pub blob: BlobId,
    /// The blob's bytes.
    pub stored_bytes: u32,
    /// The key that it was sealed under.
    pub dek: DekId,
}

/// A vault.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VaultView {
    /// Its id.
    pub vault: VaultId,
    /// Its name.
    pub name: VaultName,
    /// Canonical bytes of its signed statement.
    pub statement: Vec<u8>,
    /// The statement's version.
    pub statement_version: StatementVersion,
    /// Its policy.
    pub policy: Policy,
    /// What it has in its home shard.
    pub usage: Usage,
}

/// Some snapshots.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SnapshotsPage {
    /// In the order of their commits.
    pub snapshots: Vec<SnapshotView>,
    /// Where the next page begins; `None`: this is the last. A page may have fewer than were asked for, even none.
    pub next: Option<u64>,
}

/// A committed snapshot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SnapshotView {
    /// Its id.
    pub snapshot: SnapshotId,
    /// Its vault.
    pub vault: VaultId,
    /// Its writer.
    pub writer: IdentityId,
    /// Its writer's domain.
    pub domain: DomainId,
    /// Its writer's key epoch.
    pub key_epoch: KeyEpoch,
    /// Its name within its writer.
    pub label: Label,
    /// Canonical bytes of the signed envelope.
    pub envelope: Vec<u8>,
    /// Canonical bytes of the signed card that the envelope names.
    pub card: Vec<u8>,
    /// What was decided.
    pub committed: Committed,
    /// What keeps it.
    pub kept: LockView,
}

impl SnapshotView {
    /// What it survives.
    pub fn strength(&self) -> Strength {
        self.committed.lying.strength
    }
}

/// A row that names a blob.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NamedBlob {
    /// In which vault.
    pub vault: VaultId,
    /// In which domain.
    pub domain: DomainId,
    /// As which chunk.
    pub chunk: ChunkId,
    /// The row.
    pub row: ChunkRow,
}

/// A tenant's audit log at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LogHead {
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: MerkleHash,
    /// The log index up to which this replica has applied.
    pub applied: u64,
}

/// Vaults whose policies let something go, some at a time.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Expiring {
    /// Which, and their policies.
    pub vaults: Vec<(VaultId, Policy)>,
    /// Behind which vault to go on; `None`: these are the last.
    pub next: Option<VaultId>,
}

/// A leaf, not proved.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ListedLeaf {
    /// Its number.
    pub leaf_index: u64,
    /// Its salt.
    pub salt: Salt,
    /// Canonical bytes of its record.
    pub record: Vec<u8>,
}

/// A leaf with its proof.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ProvedLeaf {
    /// The log as it is.
    pub head: LogHead,
    /// The leaf's salt.
    pub salt: Salt,
    /// Canonical bytes of its record.
    pub record: Vec<u8>,
    /// From the leaf to the head's root.
    pub proof: Vec<MerkleHash>,
}
