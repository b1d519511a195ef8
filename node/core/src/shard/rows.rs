//! The rows of a shard: what each table holds.
//!
//! Tables 10 to 19 are of the shard itself, all others of tenants: their keys begin with the tenant's id and only a
//! [`crate::shard::scope::TenantScope`] makes them. Not here: what changes them, one file each beside this one.

use borsh::{BorshDeserialize, BorshSerialize};
use strongroom_format::code::Strength;
use strongroom_format::command::{BlobRef, HandedOver, Opened, Sealed};
use strongroom_format::gathered::{ExpectedStream, StreamOf};
use strongroom_format::id::{
    BlobId, ChunkId, DekId, Digest, DomainId, GroupId, IdentityId, KeyEpoch, LeaseId, Nonce, PublicKey, SessionId,
    SnapshotId, StatementVersion, StreamName, TenantId, TicketId, TreeId, VaultId, VaultName,
};
use strongroom_format::label::Label;
use strongroom_format::lock::{LockRange, LockTerms};
use strongroom_format::merkle::{Frontier, MerkleHash, Salt};
use strongroom_format::outcome::Outcome;
use strongroom_format::policy::Policy;
use strongroom_format::quota::Quotas;
use strongroom_format::role::Role;
use strongroom_format::tree::Totals;

use crate::entry::{ShardFacts, TenantFacts, TenantState};
use crate::row::{Row, rows};

// ------------------------------------------------------------------------------------------------- of the shard

/// What the shard knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct FactsRow {
    /// From the cluster group.
    pub facts: ShardFacts,
}

/// What lies in the shard, of all tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ShardUsageRow {
    /// The sum over tenants.
    pub usage: Usage,
}

/// A tenant that lives here.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TenantRow {
    /// From the cluster group.
    pub facts: TenantFacts,
    /// The key that signs founding record, statements and cards.
    pub root: PublicKey,
}

impl TenantRow {
    /// Whether its people may do anything.
    pub fn is_active(&self) -> bool {
        self.facts.standing.state == TenantState::Active
    }
}

/// Something ends at a time: found in the order of time. The value is empty.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EndRow {}

/// A tenant has something in its queues of garbage (`shard/garbage.rs`). The value is empty.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GarbageRow {}

/// At home: another shard is to be told that a snapshot has ended. The value is empty.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EndingRow {}

/// A part that is sealed and waits for its home shard's word.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct WaitingRow {
    /// Whom to ask.
    pub home: GroupId,
}

// ------------------------------------------------------------------------------------------------- of tenants

/// A person or machine.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct IdentityRow {
    /// Sorted.
    pub roles: Vec<Role>,
    /// Signs its commands.
    pub signing_key: PublicKey,
    /// The locks that it may ask for.
    pub locks: Option<LockRange>,
    /// Open, or closed for ever.
    pub open: bool,
    /// The admin who enrolled it or issued its token; `None`: the founding record.
    pub enrolled_by: Option<IdentityId>,
}

impl IdentityRow {
    /// Whether it has that role.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

/// A token: who its bearer will be, or is. The row of one that nobody used goes at its end.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TokenRow {
    /// Whom it makes.
    pub identity: IdentityId,
    /// With which roles, sorted.
    pub roles: Vec<Role>,
    /// With which locks.
    pub locks: Option<LockRange>,
    /// The admin who issued it.
    pub issuer: IdentityId,
    /// The place of its issue ([`strongroom_format::id::Place::number`]).
    pub number: u64,
    /// When it ends on `E`.
    pub ends_ms: u64,
    /// When it ends on a node's wall clock, in milliseconds since 1970.
    pub wall_end_unix_ms: u64,
    /// Whether it was used.
    pub state: TokenState,
}

/// Whether a token was used.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum TokenState {
    /// Not yet.
    Open,
    /// For ever.
    Used {
        /// The digest of the redemption: the same one again is answered as before.
        redemption: Digest,
    },
}

/// An open token, by the place of its issue.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct IssuedRow {
    /// Which.
    pub token: Digest,
}

/// A client session. The row stays when it has ended, so that its number says *forgotten*, never *new*.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SessionRow {
    /// Whose.
    pub identity: IdentityId,
    /// The highest number that was applied or asked about.
    pub top: u64,
    /// When it ends on `E`, unless it is used.
    pub ends_ms: u64,
    /// Not ended.
    pub open: bool,
}

/// What a session remembers of one number.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OutcomeRow {
    /// The answer, for ever.
    pub outcome: Outcome,
    /// It is the answer to a question about another number.
    pub asked: bool,
}

/// The session that a nonce opened.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NonceRow {
    /// Which.
    pub session: SessionId,
    /// When it was to end, as its opener was told.
    pub ends_ms: u64,
}

/// An open lease. There is no row for one that has ended.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LeaseRow {
    /// Who writes under it.
    pub identity: IdentityId,
    /// What for.
    pub purpose: LeasePurpose,
    /// What may be registered under it, in stored bytes.
    pub budget_bytes: u64,
    /// What was.
    pub used_bytes: u64,
    /// Bytes of index-tree nodes that were put under it; they count against the budget too.
    pub node_bytes: u64,
    /// When it ends on `E`, unless it is used.
    pub ends_ms: u64,
    /// Whether anything more may be written under it. At home a sealed part's lease stays until the snapshot is decided.
    pub writable: bool,
}

/// What a lease is for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum LeasePurpose {
    /// Small snapshots of a session at home.
    Session(SessionId),
    /// A part of a snapshot.
    Part {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Its vault.
        vault: VaultId,
        /// Its writer's domain.
        domain: DomainId,
    },
    /// A ticket: nothing is written under it, it is only open.
    Ticket(TicketId),
}

/// A vault.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VaultRow {
    /// Its name.
    pub name: VaultName,
    /// Canonical bytes of its signed statement.
    pub statement: Vec<u8>,
    /// The statement's version.
    pub statement_version: StatementVersion,
    /// Its policy.
    pub policy: Policy,
    /// How it ended; `None`: it has not. The row stays: neither its id nor its name is given again.
    pub end: Option<EndFacts>,
    /// The wish that its policy only get stricter, or that this is so.
    pub lock: Option<VaultLock>,
}

impl VaultRow {
    /// Whether its policy only gets stricter, at this `E`.
    pub fn is_locked(&self, now_ms: u64) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.due_ms <= now_ms)
    }
}

/// A vault's lock.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VaultLock {
    /// Who asked for it.
    pub by: IdentityId,
    /// From when on it holds, on `E`; until then it may be withdrawn.
    pub due_ms: u64,
    /// The same for people, in milliseconds since 1970.
    pub due_unix_ms: u64,
}

/// Who ended something, when and why.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EndFacts {
    /// Who asked; `None`: the vault's policy.
    pub by: Option<IdentityId>,
    /// The reason that was given, at most 1024 bytes.
    pub reason: String,
    /// `E` at that moment.
    pub ended_ms: u64,
    /// The wall clock of the entry's leader in milliseconds since 1970: a label.
    pub ended_unix_ms: u64,
}

/// The vault of a name.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VaultNameRow {
    /// Which.
    pub vault: VaultId,
}

/// A writer card.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CardRow {
    /// Canonical bytes of the signed card.
    pub card: Vec<u8>,
    /// Its digest.
    pub digest: Digest,
    /// The domain.
    pub domain: DomainId,
    /// The key that it says the writer signs with.
    pub signing_key: PublicKey,
}

/// A writer owns a domain: at home by a card, elsewhere by what the home shard opened.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DomainRow {
    /// The highest key epoch under which it does; zero where no card is here.
    pub epoch: KeyEpoch,
}

/// A session key whose wrap is stored.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct WrapRow {
    /// Canonical bytes of the wrap; `None` in other shards than home, which know only that home has it.
    pub wrap: Option<Vec<u8>>,
}

/// A registered blob.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChunkRow {
    /// How often leaves and records name it.
    pub count: u64,
    /// Under which its copies were written.
    pub lease: LeaseId,
    /// When: the place of its command ([`strongroom_format::id::Place::number`]), then its place in the batch.
    pub registered: (u64, u16),
    /// Its sealed bytes.
    pub stored_bytes: u32,
    /// The key that it was sealed under; zeros for open records.
    pub dek: DekId,
    /// Fragments in other slots than their own.
    pub handed_over: Vec<HandedOver>,
    /// Fragments that are nowhere.
    pub missing: Vec<u8>,
    /// A restorer says that it does not open to its chunk id.
    pub reported: bool,
}

/// A blob's chunk row, by blob. The value is empty.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BlobRow {}

/// A blob that a restorer reported, at home: the home shard's word to the others. The value is empty.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReportedRow {}

/// An index-tree node.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NodeRow {
    /// How often parents and parts name it.
    pub count: u64,
    /// Under which it was put.
    pub lease: LeaseId,
    /// What is at and below it.
    pub totals: Totals,
    /// How its blobs lay when it was put.
    pub lying: Lying,
}

/// How blobs lie: of a subtree, each reference counted as often as it occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Lying {
    /// The least strength among them.
    pub strength: Strength,
    /// Fragments in other slots than their own.
    pub handed_over: u64,
    /// Fragments that are nowhere.
    pub missing: u64,
}

/// An index-tree node's bytes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NodeBytesRow {
    /// Canonical.
    pub bytes: Vec<u8>,
}

/// A snapshot at home. The row stays whatever is decided: its id is never given again and its decision never flips.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SnapshotRow {
    /// What the other shards were told.
    pub opened: Opened,
    /// Its name within its writer.
    pub label: Label,
    /// The writer's key epoch.
    pub key_epoch: KeyEpoch,
    /// Under which ticket it is made, if it is a stream of a whole.
    pub stream: Option<StreamOf>,
    /// What became of it.
    pub state: SnapshotState,
}

/// What became of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SnapshotState {
    /// Not decided.
    Open,
    /// Decided: it is there.
    Committed(Committed),
    /// Decided: it never was.
    Aborted,
    /// It was there, and its time was over or somebody who may ended it. Final.
    Ended {
        /// As it was.
        committed: Committed,
        /// Who ended it, when and why.
        end: EndFacts,
        /// The leaf in the tenant's audit tree that says so.
        leaf_index: u64,
        /// The lock that it had, for shards that have not even heard of its commit.
        lock: Option<LockTerms>,
    },
    /// A stream that waits for its whole: not decided, and not shown.
    Ready(Ready),
}

/// A stream that waits for its whole: what will be shown of it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Ready {
    /// Canonical bytes of the signed envelope.
    pub envelope: Vec<u8>,
    /// The envelope's digest.
    pub digest: Digest,
    /// The place of its own commit ([`strongroom_format::id::Place::number`]): its order, once it is shown.
    pub order: u64,
    /// What each shard holds, sorted by group.
    pub parts: Vec<PartRoots>,
    /// How its blobs lie.
    pub lying: Lying,
}

/// A ticket, under which several writers make one snapshot. The row stays: its id is never given again.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TicketRow {
    /// The vault of the whole and of its streams.
    pub vault: VaultId,
    /// What the whole will be called within its opener.
    pub label: Label,
    /// Who opened it and alone may commit.
    pub opener: IdentityId,
    /// Its lease, which ends with it.
    pub lease: LeaseId,
    /// Which streams must be there, sorted by name; empty: any.
    pub expected: Vec<ExpectedStream>,
    /// How many streams are under it.
    pub streams: u32,
    /// What became of it.
    pub state: TicketState,
}

/// What became of a ticket.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum TicketState {
    /// Not decided.
    Open,
    /// Decided: its streams are there.
    Committed {
        /// The whole that names them.
        whole: SnapshotId,
    },
    /// Decided: they never were.
    Aborted,
}

/// A stream under a ticket, by name.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StreamRow {
    /// The snapshot that it is.
    pub snapshot: SnapshotId,
}

/// A committed snapshot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Committed {
    /// The digest of its envelope.
    pub envelope: Digest,
    /// Its leaf in the tenant's audit tree.
    pub leaf_index: u64,
    /// The place of its commit ([`strongroom_format::id::Place::number`]): the order of snapshots.
    pub order: u64,
    /// `E` at its commit.
    pub committed_ms: u64,
    /// The compliance clock at its commit, in milliseconds since 1970: what keep rules go by.
    pub committed_clock_ms: u64,
    /// The wall clock of the entry's leader in milliseconds since 1970: a label.
    pub committed_unix_ms: u64,
    /// What each shard holds, sorted by group.
    pub parts: Vec<PartRoots>,
    /// How its blobs lay when it was committed.
    pub lying: Lying,
    /// A restorer has met a blob in it that does not open.
    pub damaged: bool,
    /// Stored bytes below its roots in all shards, each reference counted.
    pub logical_bytes: u64,
    /// Of which periods it is the first of its name, by bits, the shortest first (`shard/keep.rs`).
    pub firsts: u8,
}

/// What a shard holds of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PartRoots {
    /// The shard.
    pub group: GroupId,
    /// Its roots there, in the order of the envelope.
    pub roots: Vec<TreeId>,
}

/// A snapshot's envelope.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EnvelopeRow {
    /// Canonical bytes of the signed envelope.
    pub envelope: Vec<u8>,
}

/// A committed snapshot, by the order of commits in its vault.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ListedRow {
    /// Which.
    pub snapshot: SnapshotId,
}

/// A committed snapshot, by its name and then by the order of commits.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LabelRow {
    /// Which.
    pub snapshot: SnapshotId,
}

/// What this shard holds of a snapshot. The row stays whatever is decided.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PartRow {
    /// What the home shard opened.
    pub opened: Opened,
    /// The session that joined; at home the one that opened.
    pub session: SessionId,
    /// Its lease.
    pub lease: LeaseId,
    /// Where it stands.
    pub state: PartState,
}

/// Where a part stands.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum PartState {
    /// It is being written, and dies with its lease.
    Open,
    /// It waits for the home shard's word; no clock drops it.
    Sealed(Sealed),
    /// It belongs to a snapshot. What keeps it stands in its lock row (`shard/lock_rows.rs`).
    Committed {
        /// What it holds.
        sealed: Sealed,
    },
    /// It holds nothing any more.
    Dropped,
}

/// What one command brought under a lease that was new: looked at once the lease has ended, for what nothing names.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BroughtRow {
    /// The vault.
    pub vault: VaultId,
    /// The domain.
    pub domain: DomainId,
    /// Blobs that it registered.
    pub chunks: Vec<BlobRef>,
    /// Index-tree nodes that it put.
    pub nodes: Vec<TreeId>,
}

/// A lease has ended and what was brought under it is still to be looked at. The value is empty.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EndedLeaseRow {}

/// What a part held that holds nothing any more: these counts are still to fall.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LetGoRow {
    /// The vault.
    pub vault: VaultId,
    /// The domain.
    pub domain: DomainId,
    /// Its roots.
    pub roots: Vec<TreeId>,
    /// Its record blobs.
    pub records: Vec<BlobRef>,
}

/// An index-tree node whose count has fallen to zero. The value is empty.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct UnnamedNodeRow {}

/// A blob whose count has fallen to zero then, on `E`. The value is empty.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GraceRow {}

/// A vault has ended and its wraps and cards are still there. The value is empty.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EndedVaultRow {}

/// A restore session.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RestoreRow {
    /// Whose.
    pub identity: IdentityId,
    /// The vault of its snapshots.
    pub vault: VaultId,
    /// Which it pins, sorted.
    pub snapshots: Vec<SnapshotId>,
    /// What for, as its opener says.
    pub purpose: String,
    /// When it ends on `E`.
    pub ends_ms: u64,
}

/// A restore session pins a snapshot. The value is empty.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PinRow {}

/// The head of a tenant's audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AuditHeadRow {
    /// The tree so far.
    pub frontier: Frontier,
    /// `E` at the last refusal that had a leaf of its own.
    pub refused_ms: Option<u64>,
    /// What waits for the minute's leaves, sorted by kind.
    pub pending: Vec<Pending>,
}

/// Many things of one kind that will be one leaf.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Pending {
    /// As in [`strongroom_format::receipt::AuditEvent::Batch`].
    pub kind: u16,
    /// How many.
    pub count: u64,
    /// Over their records.
    pub digest: Digest,
}

/// A leaf of a tenant's audit log.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LeafRow {
    /// Hides the record behind its hash.
    pub salt: Salt,
    /// Canonical bytes of the record.
    pub record: Vec<u8>,
}

/// The root of a perfect subtree of a tenant's audit log.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SubtreeRow {
    /// Its hash.
    pub hash: MerkleHash,
}

/// What lies somewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Usage {
    /// Sealed bytes of registered blobs.
    pub stored_bytes: u64,
    /// Registered blobs.
    pub blobs: u64,
    /// Those of them of which a fragment is nowhere.
    pub thin: u64,
    /// Those of them of which a fragment lies in another slot than its own.
    pub handed_over: u64,
    /// Index-tree nodes.
    pub nodes: u64,
    /// Their bytes.
    pub node_bytes: u64,
    /// Committed snapshots, counted at home.
    pub snapshots: u64,
    /// Stored bytes that they refer to in all shards, each reference counted; at home.
    pub logical_bytes: u64,
}

/// What a tenant has here.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TenantUsageRow {
    /// The sum over its vaults.
    pub usage: Usage,
}

/// What an identity has open here: each has a share of its own, so that one who fills it stops nobody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OpenRow {
    /// Its open sessions.
    pub sessions: u64,
    /// Its snapshots that are not decided, counted at home.
    pub undecided: u64,
    /// Its open restore sessions.
    pub restores: u64,
    /// The open tokens that it issued, counted at home.
    pub tokens: u64,
    /// The tickets that it opened and that are not decided, counted at home.
    pub tickets: u64,
    /// What may still be written under its open leases, in stored bytes.
    pub reserved_bytes: u64,
}

/// What a tenant has open here: the sum over its identities.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TenantOpenRow {
    /// Open sessions.
    pub sessions: u64,
    /// Snapshots that are not decided, counted at home.
    pub undecided: u64,
    /// What may still be written under open leases, in stored bytes.
    pub reserved_bytes: u64,
}

/// What is open for a vault here.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VaultOpenRow {
    /// Snapshots that are not decided, counted at home.
    pub undecided: u64,
    /// What may still be written under open leases of parts, in stored bytes.
    pub reserved_bytes: u64,
}

/// What a writer has here, in all vaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct WriterUsageRow {
    /// What it has.
    pub usage: Usage,
}

/// How much a vault may have; at home.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VaultQuotasRow {
    /// The place of the command that said so ([`strongroom_format::id::Place::number`]).
    pub set: u64,
    /// How much.
    pub quotas: Quotas,
}

/// How much a writer may have; at home.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct WriterQuotasRow {
    /// The place of the command that said so ([`strongroom_format::id::Place::number`]).
    pub set: u64,
    /// How much.
    pub quotas: Quotas,
}

/// What a vault has here.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VaultUsageRow {
    /// What it has.
    pub usage: Usage,
}

/// From here on, tables are of tenants.
pub(crate) const FIRST_TABLE_OF_TENANTS: u8 = 20;

/// Rows of one tenant: found through its scope and no other way.
pub(crate) trait TenantsRow: Row {}

macro_rules! tenants_rows {
    (named $names:ident; $($row:ty: $name:literal, $bytes_max:expr, $table:expr, $key:ty;)+) => {
        rows! { named $names; $($row: $name, $bytes_max, $table, $key;)+ }
        $(impl crate::shard::rows::TenantsRow for $row {})+
    };
}

pub(crate) use tenants_rows;

rows! {
    named SHARD_TABLES;
    FactsRow: "shard facts row", 64 << 10, 10, ();
    ShardUsageRow: "shard usage row", 256, 11, ();
    TenantRow: "tenant row", 64 << 10, 12, (TenantId,);
    EndRow: "end row", 16, 13, (u64, u8, TenantId, u64);
    WaitingRow: "waiting row", 16, 14, (TenantId, SnapshotId);
    GarbageRow: "garbage row", 16, 15, (TenantId,);
    EndingRow: "ending row", 16, 16, (TenantId, SnapshotId, GroupId);
}

tenants_rows! {
    named TENANTS_TABLES;
    IdentityRow: "identity row", 512, 20, (IdentityId,);
    SessionRow: "session row", 256, 21, (SessionId,);
    OutcomeRow: "outcome row", (1 << 20) + 16, 22, (SessionId, u64);
    NonceRow: "nonce row", 32, 23, (IdentityId, Nonce);
    LeaseRow: "lease row", 512, 24, (LeaseId,);
    TokenRow: "token row", 512, 25, (Digest,);
    IssuedRow: "issued token row", 64, 26, (u64,);
    VaultRow: "vault row", 512 << 10, 30, (VaultId,);
    VaultNameRow: "vault name row", 32, 31, (VaultName,);
    CardRow: "card row", 8192, 32, (VaultId, IdentityId, KeyEpoch);
    DomainRow: "domain row", 16, 33, (VaultId, DomainId, IdentityId);
    WrapRow: "wrap row", 8192, 34, (VaultId, DomainId, DekId);
    ChunkRow: "chunk row", 512, 40, (VaultId, DomainId, ChunkId, BlobId);
    BlobRow: "blob row", 16, 41, (BlobId, VaultId, DomainId, ChunkId);
    NodeRow: "node row", 256, 42, (VaultId, DomainId, TreeId);
    NodeBytesRow: "node bytes row", 256 << 10, 43, (VaultId, DomainId, TreeId);
    BroughtRow: "brought row", 128 << 10, 44, (LeaseId, u64);
    EndedLeaseRow: "ended lease row", 16, 45, (LeaseId,);
    LetGoRow: "let go row", 128 << 10, 46, (SnapshotId,);
    UnnamedNodeRow: "unnamed node row", 16, 47, (VaultId, DomainId, TreeId);
    GraceRow: "grace row", 16, 48, (u64, VaultId, DomainId, ChunkId, BlobId);
    ReportedRow: "reported row", 16, 49, (VaultId, DomainId, ChunkId, BlobId);
    SnapshotRow: "snapshot row", 512 << 10, 50, (SnapshotId,);
    EnvelopeRow: "envelope row", 512 << 10, 51, (SnapshotId,);
    ListedRow: "listed row", 32, 52, (VaultId, u64);
    LabelRow: "label row", 32, 53, (VaultId, IdentityId, Label, u64);
    PartRow: "part row", 512 << 10, 54, (SnapshotId,);
    RestoreRow: "restore row", 4096, 55, (SessionId,);
    PinRow: "pin row", 16, 56, (SnapshotId, SessionId);
    EndedVaultRow: "ended vault row", 16, 57, (VaultId,);
    AuditHeadRow: "audit head row", 8192, 60, ();
    LeafRow: "audit leaf row", 8192, 61, (u64,);
    SubtreeRow: "audit subtree row", 64, 62, (u8, u64);
    TenantUsageRow: "tenant usage row", 256, 63, ();
    VaultUsageRow: "vault usage row", 256, 64, (VaultId,);
    OpenRow: "open row", 64, 65, (IdentityId,);
    TicketRow: "ticket row", 64 << 10, 70, (TicketId,);
    StreamRow: "stream row", 32, 71, (TicketId, StreamName);
    TenantOpenRow: "tenant open row", 64, 90, ();
    VaultOpenRow: "vault open row", 64, 91, (VaultId,);
    WriterUsageRow: "writer usage row", 256, 92, (IdentityId,);
    VaultQuotasRow: "vault quotas row", 256, 93, (VaultId,);
    WriterQuotasRow: "writer quotas row", 256, 94, (IdentityId,);
}
