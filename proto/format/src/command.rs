//! What a caller asks of the replicated state machines. Deciding commands carry the caller's signature over their
//! canonical bytes; every replica verifies it in `apply`, so that a node can lose or delay a command, but cannot make,
//! change or repeat one.
//!
//!     client ──Command──▶ Signed ──▶ node ──▶ log entry ──▶ apply on every replica ──▶ Outcome
//!
//! Not here: what nodes say to the log themselves (`node/core/src/entry.rs`), the rules (`node/core`).

use borsh::{BorshDeserialize, BorshSerialize};

use crate::approval::Approval;
use crate::code::Strength;
use crate::codec::Format;
use crate::ending::EndOrder;
use crate::gathered::{OpenTicket, StreamOf};
use crate::id::{
    BlobId, ChunkId, ClusterEpoch, DekId, Digest, DomainId, GroupId, IdentityId, KeyEpoch, LeaseId, NodeName, Nonce,
    PublicKey, RegionName, ReplicaId, SessionId, SetVersion, Signature, Slot, SnapshotId, TenantId, TenantName,
    TicketId, TreeId, VaultId,
};
use crate::label::Label;
use crate::lock::LockRange;
use crate::lock_order::LockOrder;
use crate::policy::Policy;
use crate::quota::{QuotaSubject, Quotas, StoredShares, TenantLimits};
use crate::role::{Plane, Role};

/// One command of one caller to one shard.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Command {
    /// The cluster epoch that it is meant for.
    pub cluster: ClusterEpoch,
    /// The group that it is meant for.
    pub group: GroupId,
    /// The caller's tenant.
    pub tenant: TenantId,
    /// The caller.
    pub principal: IdentityId,
    /// The client session in that group; `None` only for [`Body::OpenSession`] and [`Body::JoinSnapshot`].
    pub session: Option<SessionId>,
    /// Its number in the session, from 1. Zero where there is no session.
    pub sequence: u64,
    /// It takes effect only if the command before it in the same entry was done.
    pub needs_previous: bool,
    /// What is asked.
    pub body: Body,
}

impl Format for Command {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 2 << 20;
    const NAME: &'static str = "command";
}

/// The bytes of a [`Command`] or [`OperatorCommand`] and, where it decides something, the signature over them.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedCommand {
    /// Canonical bytes of the command.
    pub command: Vec<u8>,
    /// By the principal's signing key; absent on what flows inside an opened session.
    pub signature: Option<Signature>,
}

impl Format for SignedCommand {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = (2 << 20) + 128;
    const NAME: &'static str = "signed command";
}

/// What a caller asks of a shard.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Body {
    /// Opens a client session with a lease of its own. Signed. The same nonce again gives the same session.
    OpenSession {
        /// Makes the command unlike any other.
        nonce: Nonce,
        /// What may be written under the session's own lease, in stored bytes.
        budget_bytes: u64,
    },
    /// Ends the session and its lease.
    EndSession,
    /// Asks for the outcome of a number; what was not applied before is refused from then on.
    Ask {
        /// The number that is asked about.
        sequence: u64,
    },
    /// Adds an identity. Signed.
    EnrolIdentity {
        /// Its id, never used before in this tenant.
        identity: IdentityId,
        /// Its roles, sorted.
        roles: Vec<Role>,
        /// Its signing key.
        signing_key: PublicKey,
        /// The locks that it may ask for when it backs up; `None`: each vault's default and no other.
        locks: Option<LockRange>,
        /// Signatures of approvers over this request; empty where the giver alone may.
        approvals: Vec<Approval>,
    },
    /// Closes an identity for ever. Signed.
    CloseIdentity {
        /// Whose.
        identity: IdentityId,
        /// For the audit log, at most 1024 bytes.
        reason: String,
    },
    /// Creates a vault from a statement signed by the tenant's root key. Signed.
    CreateVault {
        /// Canonical bytes of a signed vault statement (`statement.rs`), version 1.
        statement: Vec<u8>,
        /// Its first policy.
        policy: Policy,
    },
    /// Replaces a vault's statement by its next version. Signed.
    UpdateStatement {
        /// Canonical bytes of a signed vault statement.
        statement: Vec<u8>,
    },
    /// Stores a writer card signed by the tenant's root key. Signed.
    PutCard {
        /// Canonical bytes of a signed writer card (`statement.rs`).
        card: Vec<u8>,
    },
    /// Opens a snapshot in the home shard: a lease and a budget. Signed.
    OpenSnapshot(OpenSnapshot),
    /// Opens a part of a snapshot in another shard, with a session of its own there. Signed.
    JoinSnapshot {
        /// What the home shard opened.
        opened: Attested<Opened>,
    },
    /// More budget for an open lease: as much of it as the quotas leave.
    TopUp {
        /// Which.
        lease: LeaseId,
        /// How much more, in stored bytes.
        bytes: u64,
    },
    /// Makes chunks known whose fragments are durable. Made by the node that spread them.
    RegisterChunks {
        /// Under which the fragments were written.
        lease: LeaseId,
        /// The vault.
        vault: VaultId,
        /// The domain.
        domain: DomainId,
        /// At most [`Body::CHUNKS_MAX`].
        chunks: Vec<RegisteredChunk>,
    },
    /// Stores index-tree nodes, children before parents.
    PutNodes {
        /// Under which they live until something counts them.
        lease: LeaseId,
        /// The vault.
        vault: VaultId,
        /// The domain.
        domain: DomainId,
        /// Canonical bytes (`tree.rs`), at most [`Body::NODES_MAX`].
        nodes: Vec<Vec<u8>>,
    },
    /// Ends a part's lease: from now on it waits for the home shard's word.
    SealPart {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// Roots of the streams that it holds here, in the order of the envelope; at most 16.
        roots: Vec<TreeId>,
        /// Its record blobs, registered before, in order.
        records: Vec<BlobRef>,
    },
    /// Makes a snapshot, or where its envelope says that it is a stream: makes it ready for its whole. Signed. Decided once,
    /// by the home shard.
    CommitSnapshot {
        /// Canonical bytes of a signed envelope (`envelope.rs`).
        envelope: Vec<u8>,
        /// What the other shards sealed, ordered by group.
        sealed: Vec<Attested<Sealed>>,
    },
    /// Gives an opened snapshot up. Signed. A stream may be given up by its ticket's opener too.
    AbortSnapshot {
        /// Which.
        snapshot: SnapshotId,
    },
    /// Opens a restore session, which pins its snapshots. Signed.
    OpenRestore {
        /// Which snapshots, all of one vault; at most 64.
        snapshots: Vec<SnapshotId>,
        /// For the audit log, at most 1024 bytes.
        purpose: String,
        /// How long it may last.
        lifetime_ms: u64,
    },
    /// Ends a restore session.
    EndRestore {
        /// Which.
        restore: SessionId,
    },
    /// Says that a blob does not open to its chunk id. Signed by a restorer. Removes nothing.
    ReportBlob {
        /// The vault.
        vault: VaultId,
        /// The domain.
        domain: DomainId,
        /// What it was meant to be.
        chunk: ChunkId,
        /// Which blob.
        blob: BlobId,
        /// The snapshot in which it was met; it is marked damaged.
        snapshot: SnapshotId,
    },
    /// Says who the bearer of a token will be. Signed. The bearer redeems it (`enrolment.rs`).
    IssueToken {
        /// BLAKE3 of the token's public key; no secret.
        token: Digest,
        /// The bearer's id, never used before in this tenant.
        identity: IdentityId,
        /// Its roles, sorted.
        roles: Vec<Role>,
        /// The locks that it may ask for when it backs up; `None`: each vault's default and no other.
        locks: Option<LockRange>,
        /// How long the token counts on the group's time; at most an hour.
        lifetime_ms: u64,
        /// When it ends on the wall clock of a node, in milliseconds since 1970.
        wall_end_unix_ms: u64,
        /// Signatures of approvers over this request; empty where the giver alone may.
        approvals: Vec<Approval>,
    },
    /// Opens a ticket, under which several writers make one snapshot. Signed.
    OpenTicket(OpenTicket),
    /// Gives a ticket up with all its streams; again until none is left. Signed by its opener.
    AbortTicket {
        /// Which.
        ticket: TicketId,
    },
    /// Ends a snapshot or a vault. Signed.
    End(EndOrder),
    /// About a policy, a lock or a hold. Signed.
    Lock(LockOrder),
    /// Says how much a vault or a writer may have. Signed. In place of what was said before.
    SetQuotas {
        /// Whose.
        of: QuotaSubject,
        /// How much.
        quotas: Quotas,
    },
}

impl Body {
    /// At most so many chunks in one [`Body::RegisterChunks`].
    pub const CHUNKS_MAX: usize = 1024;
    /// At most so many nodes in one [`Body::PutNodes`].
    pub const NODES_MAX: usize = 64;

    /// At most so many roots in one [`Body::SealPart`].
    pub const ROOTS_MAX: usize = 16;
    /// At most so many record blobs in one [`Body::SealPart`].
    pub const RECORDS_MAX: usize = 1024;
    /// At most so many snapshots in one [`Body::OpenRestore`].
    pub const RESTORE_SNAPSHOTS_MAX: usize = 64;
    /// At most so many bytes in a label, a reason or a purpose.
    pub const TEXT_BYTES_MAX: usize = 1024;

    /// The number of the variant, from 0: what audit records and metrics call the kind of a command.
    pub fn kind(&self) -> u16 {
        match self {
            Body::OpenSession { .. } => 0,
            Body::EndSession => 1,
            Body::Ask { .. } => 2,
            Body::EnrolIdentity { .. } => 3,
            Body::CloseIdentity { .. } => 4,
            Body::CreateVault { .. } => 5,
            Body::UpdateStatement { .. } => 6,
            Body::PutCard { .. } => 7,
            Body::OpenSnapshot(_) => 8,
            Body::JoinSnapshot { .. } => 9,
            Body::TopUp { .. } => 10,
            Body::RegisterChunks { .. } => 11,
            Body::PutNodes { .. } => 12,
            Body::SealPart { .. } => 13,
            Body::CommitSnapshot { .. } => 14,
            Body::AbortSnapshot { .. } => 15,
            Body::OpenRestore { .. } => 16,
            Body::EndRestore { .. } => 17,
            Body::ReportBlob { .. } => 18,
            Body::IssueToken { .. } => 19,
            Body::OpenTicket(_) => 20,
            Body::AbortTicket { .. } => 21,
            Body::End(order) => order.kind(),
            Body::Lock(order) => order.kind(),
            Body::SetQuotas { .. } => 24,
        }
    }

    /// Whether the command decides something and so must be signed.
    pub fn is_deciding(&self) -> bool {
        match self {
            Body::OpenSession { .. }
            | Body::EnrolIdentity { .. }
            | Body::CloseIdentity { .. }
            | Body::CreateVault { .. }
            | Body::UpdateStatement { .. }
            | Body::PutCard { .. }
            | Body::OpenSnapshot(_)
            | Body::JoinSnapshot { .. }
            | Body::CommitSnapshot { .. }
            | Body::AbortSnapshot { .. }
            | Body::OpenRestore { .. }
            | Body::ReportBlob { .. }
            | Body::IssueToken { .. }
            | Body::OpenTicket(_)
            | Body::AbortTicket { .. }
            | Body::End(_)
            | Body::Lock(_)
            | Body::SetQuotas { .. } => true,
            Body::EndSession
            | Body::Ask { .. }
            | Body::TopUp { .. }
            | Body::RegisterChunks { .. }
            | Body::PutNodes { .. }
            | Body::SealPart { .. }
            | Body::EndRestore { .. } => false,
        }
    }
}

/// What a writer asks the home shard to open.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OpenSnapshot {
    /// Random, chosen by the client.
    pub snapshot: SnapshotId,
    /// The vault.
    pub vault: VaultId,
    /// The name within the writer.
    pub label: Label,
    /// The writer's domain in this vault.
    pub domain: DomainId,
    /// The writer's key epoch.
    pub key_epoch: KeyEpoch,
    /// The version of the tenant's shard set that the client places by.
    pub set_version: SetVersion,
    /// The shards that take a part, sorted; the home shard always takes one.
    pub groups: Vec<GroupId>,
    /// What may be written, in stored bytes, in each shard before it is topped up. A shard grants what the quotas leave of
    /// it.
    pub budget_bytes: u64,
    /// Canonical bytes of the wraps of the keys that this upload seals with (`wrap.rs`), sorted by key, at most
    /// [`OpenSnapshot::WRAPS_MAX`]. They are stored at once: a chunk is registered only under a key whose wrap is here,
    /// so what an upload leaves behind can always be opened, and a resumed one may refer to it.
    pub wraps: Vec<Vec<u8>>,
    /// Under which ticket, if it is one writer's stream of a whole.
    pub stream: Option<StreamOf>,
}

impl OpenSnapshot {
    /// At most so many wraps.
    pub const WRAPS_MAX: usize = 16;
    /// At most so many shards.
    pub const GROUPS_MAX: usize = 64;
}

/// What the home shard says that it opened. The part's row in another shard holds just this.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Opened {
    /// The home shard.
    pub home: GroupId,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The tenant.
    pub tenant: TenantId,
    /// The vault.
    pub vault: VaultId,
    /// The writer.
    pub writer: IdentityId,
    /// The writer's signing key at that moment.
    pub signing_key: PublicKey,
    /// The domain.
    pub domain: DomainId,
    /// The shard set's version.
    pub set_version: SetVersion,
    /// The shards that take a part, sorted.
    pub groups: Vec<GroupId>,
    /// The budget in stored bytes that was asked for, in each shard.
    pub budget_bytes: u64,
    /// The home shard's lease.
    pub home_lease: LeaseId,
    /// The keys whose wraps the home shard has for this upload, sorted.
    pub deks: Vec<DekId>,
    /// What vault and writer may have of stored bytes in each other shard.
    pub shares: StoredShares,
}

impl Format for Opened {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 4096;
    const NAME: &'static str = "opened snapshot";
}

/// What a shard says that it sealed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Sealed {
    /// The shard.
    pub group: GroupId,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Roots of its streams there.
    pub roots: Vec<TreeId>,
    /// Stored bytes below these roots.
    pub stored_bytes: u64,
    /// Chunk references below these roots.
    pub chunk_refs: u64,
    /// Its record blobs.
    pub records: Vec<BlobRef>,
    /// The least strength among its blobs.
    pub strength: Strength,
    /// Fragments of its blobs that lie in another slot than their own, by reference.
    pub handed_over: u64,
    /// Fragments of its blobs that lie nowhere yet, by reference.
    pub missing: u64,
}

/// What one group must believe about another, with signatures of a majority of that group's voters (`node/core`,
/// `proved.rs`). In a caller's own command there are none: whoever carries it puts them beside it in the entry, and a
/// command that bears some is refused.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Attested<T> {
    /// The claim.
    pub value: T,
    /// Who vouches for it, sorted by replica id.
    pub signatures: Vec<MemberSignature>,
}

/// A member's signature over a claim of its group.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct MemberSignature {
    /// Which member.
    pub replica: ReplicaId,
    /// Over the canonical claim.
    pub signature: Signature,
}

/// A chunk whose fragments are durable.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RegisteredChunk {
    /// The writer's claim of what it is.
    pub chunk: ChunkId,
    /// What lies on the disks.
    pub blob: BlobId,
    /// Its sealed bytes.
    pub stored_bytes: u32,
    /// The key that it was sealed under.
    pub dek: DekId,
    /// Fragments that lie elsewhere than [`crate::code::Code::slot_of`] says, sorted by index.
    pub handed_over: Vec<HandedOver>,
    /// Fragments that are nowhere yet (their slot was down and no other could take them), sorted.
    pub missing: Vec<u8>,
}

/// A fragment that another slot took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct HandedOver {
    /// The fragment's index.
    pub index: u8,
    /// The slot that has it.
    pub slot: Slot,
}

/// A registered blob by its chunk row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct BlobRef {
    /// The chunk id that it was registered under.
    pub chunk: ChunkId,
    /// The blob.
    pub blob: BlobId,
}

/// One command of one operator to the cluster group. Always signed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OperatorCommand {
    /// The cluster epoch that it is meant for.
    pub cluster: ClusterEpoch,
    /// The operator.
    pub operator: IdentityId,
    /// Makes it unlike any other; the same nonce again gives the remembered outcome.
    pub nonce: Nonce,
    /// What is asked.
    pub body: OperatorBody,
}

impl Format for OperatorCommand {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 << 20;
    const NAME: &'static str = "operator command";
}

/// What an operator asks of the cluster group.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum OperatorBody {
    /// Admits a tenant.
    CreateTenant {
        /// Its name, never used before.
        name: TenantName,
        /// Canonical bytes of a signed founding record (`statement.rs`).
        founding: Vec<u8>,
        /// DER of the CA certificates that may issue this tenant's certificates.
        issuers: Vec<Vec<u8>>,
        /// Its home shard; `None`: the shard with the fewest tenants.
        home: Option<GroupId>,
        /// Over how many shards its runs are spread, at least 1.
        width: u16,
    },
    /// Registers a CA for one plane.
    RegisterIssuer {
        /// Which plane.
        plane: Plane,
        /// Its certificate in DER.
        certificate: Vec<u8>,
        /// On the tenant plane: canonical bytes of the signed acceptances (`statement.rs`) of the tenants whose
        /// certificates it may issue. Empty on the others.
        acceptances: Vec<Vec<u8>>,
    },
    /// Takes a CA out of use: what it issued is good for nothing any more.
    RetireIssuer {
        /// The CA (`statement.rs`, `issuer_digest`).
        issuer: Digest,
    },
    /// Takes over what a CA revoked.
    PutRevocations {
        /// The CA.
        issuer: Digest,
        /// The list's number; it only grows.
        number: u64,
        /// The CA's certificate revocation list in DER.
        revocations: Vec<u8>,
    },
    /// Stops a tenant's people; nothing is lost.
    SuspendTenant {
        /// Which.
        tenant: TenantId,
        /// For the tenant's audit log, at most 1024 bytes.
        reason: String,
    },
    /// Lets them go on.
    ResumeTenant {
        /// Which.
        tenant: TenantId,
        /// For the tenant's audit log, at most 1024 bytes.
        reason: String,
    },
    /// Ends a tenant for ever. Its name and id are never given again, its data stays as it was promised.
    EndTenant {
        /// Which.
        tenant: TenantId,
        /// For the tenant's audit log, at most 1024 bytes.
        reason: String,
    },
    /// Says which node the bearer of a token will be.
    IssueNodeToken {
        /// BLAKE3 of the token's public key; no secret.
        token: Digest,
        /// The node's name, never used before.
        node: NodeName,
        /// Its region, known or new.
        region: RegionName,
        /// How long the token counts on the cluster group's time; at most an hour.
        lifetime_ms: u64,
        /// When it ends on the wall clock of a node, in milliseconds since 1970.
        wall_end_unix_ms: u64,
    },
    /// Creates a shard.
    CreateShard {
        /// The node in each slot; slots are numbered region by region in turn.
        slots: Vec<NodeName>,
    },
    /// Says how much a tenant may have and how fast it may send. In place of what was said before.
    LimitTenant {
        /// Which.
        tenant: TenantId,
        /// How much.
        limits: TenantLimits,
        /// For the tenant's audit log, at most 1024 bytes.
        reason: String,
    },
}

impl OperatorBody {
    /// The number of the variant, from 0: what audit records and metrics call the kind of a command.
    pub fn kind(&self) -> u16 {
        match self {
            OperatorBody::CreateTenant { .. } => 0,
            OperatorBody::RegisterIssuer { .. } => 1,
            OperatorBody::RetireIssuer { .. } => 2,
            OperatorBody::PutRevocations { .. } => 3,
            OperatorBody::SuspendTenant { .. } => 4,
            OperatorBody::ResumeTenant { .. } => 5,
            OperatorBody::EndTenant { .. } => 6,
            OperatorBody::IssueNodeToken { .. } => 7,
            OperatorBody::CreateShard { .. } => 8,
            OperatorBody::LimitTenant { .. } => 9,
        }
    }
}
