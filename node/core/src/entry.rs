//! The log entry: what a leader proposes and every replica applies.
//!
//!     callers' SignedCommands, alone, vouched for, ──┐
//!       or with other groups' signatures             │
//!     operators' SignedCommands ─────────────────────├─▶ Entry { salt, wall clock, commands } ──▶ apply ──▶ Outcomes
//!     SignedRedemptions of tokens ───────────────────┤
//!     the nodes' own words ──────────────────────────┘
//!
//! Salt and wall clock come from the leader: the first makes audit leaves unguessable, the second is a label and no
//! rule but one: it can end a token early, never prolong one. What is said about other groups carries signatures of a
//! majority of that group's voters, and every replica verifies them (`proved.rs`).
//!
//! Not here: what clients ask (`strongroom_format::command`), what is allowed (`cluster.rs`, `shard.rs`).

use borsh::{BorshDeserialize, BorshSerialize};
use strongroom_format::code::Code;
use strongroom_format::codec::{self, Format};
use strongroom_format::command::{Attested, BlobRef, MemberSignature, SignedCommand};
use strongroom_format::enrolment::SignedRedemption;
use strongroom_format::id::{
    ClusterEpoch, ClusterName, Digest, DomainId, GroupId, IdentityId, NodeName, PublicKey, RegionName, ReplicaId,
    SetVersion, Signature, Slot, SnapshotId, TenantId, TenantName, TenantTag, VaultId,
};
use strongroom_format::outcome::Outcome;
use strongroom_format::policy_view::PreviewPlace;
use strongroom_format::quota::TenantLimits;
use strongroom_format::sign::{self, BadSignature, SigningKey};

use crate::electorates::Electorate;
use crate::genesis::Genesis;
use crate::locking::{Keeping, PartKeeping, PartKept};

/// One entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Entry {
    /// Random, from the leader: audit leaves are salted with it.
    pub salt: [u8; 16],
    /// The leader's wall clock in milliseconds since 1970: a label.
    pub wall_unix_ms: u64,
    /// Applied in order, each with its outcome; at most [`strongroom_format::id::Place::COMMANDS_MAX`].
    pub commands: Vec<EntryCommand>,
}

impl Format for Entry {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 16 << 20;
    const NAME: &'static str = "log entry";
}

/// One command in an entry.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "decoded, applied and dropped one at a time: a box would only add an allocation"
)]
pub enum EntryCommand {
    /// A caller's, to a shard.
    Client(SignedCommand),
    /// A caller's, to a shard, for which the node that proposes it stands: the fragments of what it registers are
    /// durable. No caller can say that of itself.
    Vouched(SignedCommand),
    /// An operator's, to the cluster group.
    Operator(SignedCommand),
    /// A node's own.
    Node(NodeCommand),
    /// A token's bearer's: a tenant's to its home shard, a node's to the cluster group.
    Redeem(SignedRedemption),
    /// A caller's, to a shard, with what the voters of other groups signed of its claims ([`crate::claims`]).
    Attested {
        /// The caller's.
        command: SignedCommand,
        /// For each of its claims, in their order, the signatures, sorted by replica id.
        signatures: Vec<Vec<MemberSignature>>,
    },
}

/// What nodes say themselves. No client or operator can.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "decoded, applied and dropped one at a time: a box would only add an allocation"
)]
pub enum NodeCommand {
    /// The first entry of the cluster group.
    Found(Genesis),
    /// The first entry of a shard, from the cluster group.
    FoundShard(Attested<ShardFacts>),
    /// What a shard must know of a tenant that lives in it, from the cluster group; again when its set or standing changed.
    AdmitTenant(Attested<TenantFacts>),
    /// Time passed.
    Tick(Tick),
    /// The home shard's word about a part.
    DecidePart(Attested<Decided>),
    /// The home shard's word that a restorer reported a blob that lies in this shard.
    HideBlob(Attested<Reported>),
    /// In a shard: another member fills a slot from now on.
    ReplaceMember(Attested<Replaced>),
    /// In the cluster group: a member cannot go on under its replica id and asks for another.
    RebuildReplica(Attested<RebuildRequest>),
    /// In the cluster group: the new member has taken over. Of a shard on that shard's word; of itself on nobody else's.
    MemberReplaced(Attested<Filled>),
    /// The home shard's word that a snapshot has ended: its part goes, once its own lock is over.
    EndPart(Attested<Ended>),
    /// To the home shard: a shard's word that it has dropped its part of a snapshot that has ended.
    PartEnded(Attested<PartEnded>),
    /// Takes away what nothing names any more (`shard/garbage.rs`).
    CollectGarbage {
        /// Whose.
        tenant: TenantId,
        /// At most so many references, and those of one node more; at most [`crate::shard::COLLECT_MAX`].
        limit: u32,
        /// How long a blob that nothing names waits on `E`. It saves work; no promise rests on it.
        grace_ms: u64,
    },
    /// In a shard: who votes in another group, from the cluster group; again when that changed.
    TellElectorate(Attested<Electorate>),
    /// The home shard's word about what keeps a snapshot, to a shard with a part.
    KeepPart(Attested<PartKeeping>),
    /// That shard's word that its part is kept so.
    PartKept(Attested<PartKept>),
    /// At home: has the rules look at some snapshots of a vault and end what its policy keeps no longer
    /// (`shard/expiry.rs`). It says where to look; which ones end is for the rules alone.
    Expire {
        /// Whose.
        tenant: TenantId,
        /// Which vault.
        vault: VaultId,
        /// Behind this place in the order of names; `None`: from the beginning.
        after: Option<PreviewPlace>,
        /// At so many snapshots at most; at most [`crate::shard::EXPIRE_MAX`].
        limit: u32,
    },
}

/// A slot of a group is filled by this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Filled {
    /// In which group.
    pub group: GroupId,
    /// In which slot; in the cluster group's own replacement of no account.
    pub slot: Slot,
    /// Who fills it now.
    pub to: ReplicaId,
}

/// Another member fills a slot of a shard. Its node, region and signing key stay; so do the copies, which rows name by
/// slot and lease.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Replaced {
    /// The shard.
    pub group: GroupId,
    /// The slot.
    pub slot: Slot,
    /// Who filled it.
    pub from: ReplicaId,
    /// Who fills it now.
    pub to: ReplicaId,
}

impl Format for Replaced {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 64;
    const NAME: &'static str = "replaced member";
}

/// A member's wish for another replica id, because it cannot go on under its own: its state or log cannot be trusted, or
/// is older than what it said before. Signed with its node's key, as the member that it was.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RebuildRequest {
    /// The cluster's life.
    pub epoch: ClusterEpoch,
    /// In which group.
    pub group: GroupId,
    /// In which slot; zero in the cluster group.
    pub slot: Slot,
    /// Who asks.
    pub from: ReplicaId,
    /// For people, at most [`RebuildRequest::WHY_BYTES_MAX`].
    pub why: String,
}

impl RebuildRequest {
    /// At most so many bytes of explanation.
    pub const WHY_BYTES_MAX: usize = 1024;

    /// Signs it as the member that asks.
    pub fn sign(self, key: &SigningKey) -> Attested<Self> {
        let signature = key.sign(Self::NAME, &codec::encode(&self));
        Attested { signatures: vec![MemberSignature { replica: self.from, signature }], value: self }
    }
}

impl Format for RebuildRequest {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 64 + Self::WHY_BYTES_MAX;
    const NAME: &'static str = "rebuild request";

    fn check(&self) -> Result<(), &'static str> {
        if self.why.len() <= Self::WHY_BYTES_MAX { Ok(()) } else { Err("the explanation is too long") }
    }
}

/// What a shard must know of itself.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ShardFacts {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its life.
    pub epoch: ClusterEpoch,
    /// The shard.
    pub group: GroupId,
    /// Its erasure code.
    pub code: Code,
    /// One member a slot, by slot.
    pub members: Vec<MemberFacts>,
    /// The cluster group's clock when it created the shard: the shard's begins there. In milliseconds since 1970.
    pub clock_ms: u64,
}

/// The member that fills a slot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct MemberFacts {
    /// Which slot.
    pub slot: Slot,
    /// The slot's region.
    pub region: RegionName,
    /// The node.
    pub node: NodeName,
    /// The member's identity in the group.
    pub replica: ReplicaId,
    /// The node's signing key.
    pub signing_key: PublicKey,
}

/// What a shard must know of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TenantFacts {
    /// The tenant.
    pub tenant: TenantId,
    /// Its name.
    pub name: TenantName,
    /// What stands in fragment headers for it.
    pub tag: TenantTag,
    /// Its home shard.
    pub home: GroupId,
    /// Counts the versions of the set.
    pub set_version: SetVersion,
    /// The shards over which its runs are spread, sorted.
    pub groups: Vec<GroupId>,
    /// Canonical bytes of its signed founding record.
    pub founding: Vec<u8>,
    /// Whether its people may do anything.
    pub standing: Standing,
    /// How much it may have, and how fast it may send.
    pub limited: Limited,
}

/// How much a tenant may have, and who decided so.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Limited {
    /// Counts the changes, from 0 at its admission: a shard takes over a higher one and no other.
    pub version: u32,
    /// How much.
    pub limits: TenantLimits,
    /// The operator who decided so.
    pub by: IdentityId,
    /// The reason that was given, at most 1024 bytes.
    pub reason: String,
}

impl Limited {
    /// Nobody has said anything about a tenant that was just admitted.
    pub fn admitted(by: IdentityId) -> Self {
        Self { version: 0, limits: TenantLimits::default(), by, reason: String::new() }
    }
}

/// Whether a tenant's people may do anything, and who decided so.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Standing {
    /// Counts the changes, from 0 at its admission: a shard takes over a higher one and no other.
    pub version: u32,
    /// How it stands.
    pub state: TenantState,
    /// The operator who decided so.
    pub by: IdentityId,
    /// The reason that was given, at most 1024 bytes.
    pub reason: String,
}

impl Standing {
    /// That of a tenant that was just admitted.
    pub fn admitted(by: IdentityId) -> Self {
        Self { version: 0, state: TenantState::Active, by, reason: String::new() }
    }
}

/// Whether a tenant's people may do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum TenantState {
    /// They may.
    Active,
    /// They may not; nothing is lost.
    Suspended,
    /// They never will again; nothing is lost either.
    Ended,
}

/// Time passed: how much is in the reports, not in the leader's word.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Tick {
    /// The digest of the tick before ([`Tick::digest`]); zeros for the first.
    pub previous: Digest,
    /// The voters' reports, sorted by replica id: those of a majority at least (`clock.rs`).
    pub reports: Vec<Report>,
}

impl Tick {
    /// At most so many reports.
    pub const REPORTS_MAX: usize = 16;

    /// What the next tick names.
    pub fn digest(&self, index: u64) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"strongroom/tick\0");
        hasher.update(&index.to_le_bytes());
        self.serialize(&mut hasher).expect("a hasher takes any bytes");
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }
}

/// A voter's report for a tick (DESIGN.md §7.2).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Report {
    /// What the voter says.
    pub value: ReportFacts,
    /// By the signing key in its membership row, over the canonical facts.
    pub signature: Signature,
}

/// What a voter says for a tick.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReportFacts {
    /// The cluster's life.
    pub epoch: ClusterEpoch,
    /// The group.
    pub group: GroupId,
    /// The voter.
    pub replica: ReplicaId,
    /// The tick before.
    pub previous: Digest,
    /// Random, new at each start of its process.
    pub incarnation: [u8; 16],
    /// Milliseconds since the incarnation began: the smaller of two clocks.
    pub running_ms: u64,
    /// Its wall clock.
    pub wall_unix_ms: u64,
    /// How far its log is durable.
    pub durable_index: u64,
    /// The term of its durable vote.
    pub vote_term: u64,
    /// The digest of its state as it was just before it applied the tick before ([`crate::clock::ClockRow::digest`]).
    pub digest: Digest,
}

impl ReportFacts {
    /// Signs them with the key in the voter's membership row.
    pub fn sign(self, key: &SigningKey) -> Report {
        let signature = key.sign(Self::NAME, &codec::encode(&self));
        Report { value: self, signature }
    }
}

impl Report {
    /// Whether `key` signed it.
    pub fn verify(&self, key: &PublicKey) -> Result<(), BadSignature> {
        sign::verify(key, ReportFacts::NAME, &codec::encode(&self.value), &self.signature)
    }
}

impl Format for ReportFacts {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 512;
    const NAME: &'static str = "tick report";
}

/// The home shard's word about a snapshot. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Decided {
    /// The home shard.
    pub home: GroupId,
    /// The tenant.
    pub tenant: TenantId,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Committed, and what keeps each part; `None`: aborted.
    pub kept: Option<Keeping>,
}

/// The home shard's word that a snapshot has ended. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Ended {
    /// The home shard.
    pub home: GroupId,
    /// The tenant.
    pub tenant: TenantId,
    /// The snapshot.
    pub snapshot: SnapshotId,
}

/// A shard's word that it has dropped its part of a snapshot that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PartEnded {
    /// Whose.
    pub tenant: TenantId,
    /// Of which snapshot.
    pub snapshot: SnapshotId,
    /// Which shard.
    pub group: GroupId,
}

/// A blob that a restorer reported to the home shard. It removes nothing: `which?` stops answering with the blob.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Reported {
    /// The home shard.
    pub home: GroupId,
    /// The tenant.
    pub tenant: TenantId,
    /// The vault.
    pub vault: VaultId,
    /// The domain.
    pub domain: DomainId,
    /// The blob by its chunk row.
    pub of: BlobRef,
}

/// The answers to an entry's commands, in order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Outcomes {
    /// One a command; a single refusal where the bytes were no entry.
    pub outcomes: Vec<Outcome>,
}

impl Format for Outcomes {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 64 << 20;
    const NAME: &'static str = "outcomes";
}
