//! What the state machines answer: *done*, *refused* or *unknown, ask*. Never anything vague, and it never flips.
//!
//! Not here: gRPC codes and texts (`node/api/src/answers.rs`), which are made from [`Refusal`] in one place.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::code::Strength;
use crate::codec::Format;
use crate::command::{BlobRef, Opened, Sealed};
use crate::id::{
    ChunkId, Digest, GroupId, IdentityId, LeaseId, NodeName, RegionName, ReplicaId, SessionId, SetVersion, SnapshotId,
    StatementVersion, StreamName, TenantId, TreeId, VaultId,
};
use crate::quota::{Measure, QuotaOwner};
use crate::role::Role;

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Outcome {
    /// It took effect, now or when it was first applied.
    Done(Done),
    /// The rules say no; nothing changed but an audit leaf.
    Refused(Refusal),
    /// The session no longer remembers this number. It may have been done.
    Forgotten,
}

impl Format for Outcome {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 << 20;
    const NAME: &'static str = "outcome";
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Done {
    /// Nothing more to say.
    Done,
    /// A client session is open.
    SessionOpened {
        /// Its name.
        session: SessionId,
        /// Its own lease.
        lease: LeaseId,
        /// When it ends on the group's elapsed clock, in milliseconds.
        ends_ms: u64,
    },
    /// The outcome of an earlier number.
    Asked {
        /// Canonical bytes of that [`Outcome`].
        outcome: Vec<u8>,
    },
    /// The number had not been applied and never will be.
    NeverApplied,
    /// A vault exists.
    VaultCreated {
        /// Its id.
        vault: VaultId,
    },
    /// The snapshot is open at home.
    SnapshotOpened {
        /// The lease of the home part.
        lease: LeaseId,
        /// What the other shards are told.
        opened: Opened,
        /// What may be written under the lease, in stored bytes.
        budget_bytes: u64,
    },
    /// A part is open in another shard.
    Joined {
        /// The session in that shard.
        session: SessionId,
        /// The part's lease.
        lease: LeaseId,
        /// What may be written under it, in stored bytes.
        budget_bytes: u64,
    },
    /// The lease's budget now, in stored bytes.
    ToppedUp {
        /// All of it, used or not.
        budget_bytes: u64,
    },
    /// The chunks have rows.
    Registered {
        /// How many had one before.
        known: u32,
    },
    /// The nodes are stored.
    NodesPut {
        /// How many were there before.
        known: u32,
    },
    /// The part waits for the home shard's word.
    Sealed(Sealed),
    /// The snapshot is committed.
    Committed {
        /// The envelope's digest.
        envelope: Digest,
        /// Its leaf in the tenant's audit tree.
        leaf_index: u64,
        /// What it survives: the least strength among its parts.
        strength: Strength,
    },
    /// A restore session is open.
    RestoreOpened {
        /// Its name.
        restore: SessionId,
        /// When it ends on the group's elapsed clock, in milliseconds.
        ends_ms: u64,
    },
    /// A tenant is admitted.
    TenantCreated {
        /// Its id.
        tenant: TenantId,
        /// Its home shard.
        home: GroupId,
        /// The shards over which its runs are spread.
        groups: Vec<GroupId>,
        /// The set's version.
        set_version: SetVersion,
    },
    /// A token was redeemed: this is who its bearer is from now on.
    Redeemed(Redeemed),
    /// A shard exists in the map of the cluster.
    ShardCreated {
        /// Its group.
        group: GroupId,
        /// Its members by slot.
        replicas: Vec<ReplicaId>,
    },
    /// A member is to be replaced by this one.
    ReplicaAllotted {
        /// The identity of the new member in its group; never given before, never again.
        replica: ReplicaId,
    },
    /// A ticket is open.
    TicketOpened {
        /// Its lease: giving it more budget of 0 bytes keeps the ticket open.
        lease: LeaseId,
        /// When it ends on the group's elapsed clock unless it is used, in milliseconds.
        ends_ms: u64,
    },
    /// A stream waits for the commit of its whole.
    Ready {
        /// The envelope's digest.
        envelope: Digest,
        /// What it survives: the least strength among its parts.
        strength: Strength,
    },
    /// A ticket is given up, and nothing of it will ever be shown.
    TicketAborted {
        /// So many streams are not tidied up yet: ask again, or leave it to time.
        left: u32,
    },
    /// Garbage was collected.
    Collected {
        /// References that were dropped or looked at.
        references: u32,
        /// Blobs whose rows went.
        blobs: u32,
        /// Whether there is more to do at once.
        more: bool,
    },
    /// What a vault's policy keeps no longer has ended, among the snapshots that were looked at.
    Expired {
        /// How many were looked at.
        looked_at: u32,
        /// How many of them ended.
        ended: u32,
    },
}

/// Who the bearer of a token became.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Redeemed {
    /// An identity of a tenant.
    Identity {
        /// Which.
        identity: IdentityId,
        /// Its roles, sorted.
        roles: Vec<Role>,
    },
    /// A node.
    Node {
        /// Its name.
        node: NodeName,
        /// Its region.
        region: RegionName,
        /// Its identity in the cluster group.
        replica: ReplicaId,
    },
}

/// Why the rules say no: one variant per thing that a caller would do differently.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Refusal {
    /// The bytes are no command, or a field is outside its range. Send something else.
    Invalid {
        /// What is wrong, for people.
        why: String,
    },
    /// A version or suite that these rules do not know.
    UnsupportedFormat {
        /// What is wrong, for people.
        why: String,
    },
    /// For another cluster epoch or group.
    WrongGroup,
    /// No row, a closed row, or a row without this role's right. Ask an admin.
    Identity,
    /// The role does not allow it.
    Role,
    /// The signature is missing, foreign or altered. An incident.
    Signature,
    /// Another tenant than the caller's is named.
    ForeignTenant,
    /// The tenant is suspended, deleted or sealed.
    TenantSuspended,
    /// There is no such thing, or it is not the caller's; both look the same.
    NotFound,
    /// The session has ended or never was. Open another.
    SessionEnded,
    /// The number is not one that may follow: more than 64 are in flight.
    SequenceOutOfWindow,
    /// The number was asked about before it was applied.
    Withdrawn,
    /// The command before it in the entry was not done.
    PreviousNotDone,
    /// The lease has ended.
    LeaseEnded,
    /// The lease's bytes are used up. Top it up.
    BudgetExceeded {
        /// What is left.
        left_bytes: u64,
    },
    /// It exists and does not change.
    Immutable,
    /// A name or id that was used before and is never given again.
    NameRetired,
    /// A newer version exists, or another command came first.
    VersionConflict,
    /// The vault's statement is not the version that follows.
    StatementVersion {
        /// The version that is stored.
        stored: StatementVersion,
    },
    /// The shard set has another version. Place again.
    SetVersion {
        /// The version in force.
        current: SetVersion,
    },
    /// Chunks, nodes or parts that the command needs are not here.
    ManifestMismatch {
        /// What is wrong, for people.
        why: String,
        /// The chunks that are missing, at most 1024.
        missing_chunks: Vec<BlobRef>,
        /// The nodes that are missing, at most 1024.
        missing_nodes: Vec<TreeId>,
        /// The groups whose part is missing or differs.
        groups: Vec<GroupId>,
    },
    /// The envelope cites another policy than the one in force.
    PolicyMismatch,
    /// The writer card, a statement or a wrap is missing or does not fit.
    ProvenanceInvalid {
        /// What is wrong, for people.
        why: String,
    },
    /// The parent does not exist.
    Orphaned {
        /// The parent that was named.
        parent: SnapshotId,
    },
    /// Approvals are needed that are not there.
    NeedsApproval,
    /// Two roles that one identity may not hold.
    ForbiddenRoles,
    /// A lock outside the vault's or the writer's range.
    LockOutOfRange,
    /// A bound of the rules: too many of something.
    Limit {
        /// Of what, for people.
        what: String,
    },
    /// The fragments reached lie in too few places for the vault's policy.
    TooThin,
    /// More than four unreported blobs under one chunk id, all of them counted.
    TooManyBlobs {
        /// Which chunk.
        chunk: ChunkId,
    },
    /// The identity exists already.
    IdentityTaken {
        /// Which.
        identity: IdentityId,
    },
    /// The caller may not say this; only a node of the cluster may.
    NotFromClients,
    /// The voters' digests differ and none has a majority: the group decides nothing until they agree or a person acts.
    DigestsDisagree,
    /// The token was redeemed before, by another key. An incident.
    TokenUsed,
    /// There is no such token, or it has ended. Ask for another.
    Token,
    /// The ticket is decided, given up, or out of time. Open another.
    TicketEnded,
    /// A stream of this name is under the ticket already. Take another name, or give that one up.
    StreamTaken,
    /// These streams are not ready, not expected, not named, or not what is said of them.
    StreamsDiffer {
        /// Sorted, at most [`crate::gathered::Whole::STREAMS_MAX`].
        names: Vec<StreamName>,
    },
    /// A lock keeps it. Wait.
    RetentionActive {
        /// Until when, as people were told, in milliseconds since 1970; `None`: no time is known.
        until_unix_ms: Option<u64>,
    },
    /// A restore session reads it. Wait for its end.
    Pinned,
    /// Snapshots are left in the vault.
    VaultNotEmpty,
    /// It is a stream of a whole that stands. End the whole first.
    WholeStands {
        /// Which.
        whole: SnapshotId,
    },
    /// A legal hold keeps it.
    LegalHold,
    /// The vault is locked: its policy only gets stricter.
    VaultLocked,
    /// A lock only grows.
    LockCannotShrink {
        /// Until when it lasts, as people were told, in milliseconds since 1970.
        until_unix_ms: u64,
    },
    /// What is said about another group does not bear signatures of a majority of its voters, as they are known here.
    /// Nothing was decided by it: whoever proposes collects them again.
    Unattested,
    /// A hard quota leaves no room. Make room, or ask whoever set it for more.
    Quota {
        /// Whose.
        of: QuotaOwner,
        /// Of what.
        measure: Measure,
        /// How much there may be; of stored bytes in this shard.
        hard: u64,
        /// How much there is, what is under way included.
        charged: u64,
        /// How much more was asked for.
        asked: u64,
    },
}
