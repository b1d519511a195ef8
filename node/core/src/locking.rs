//! What the home shard and the shards with a part tell each other about a snapshot's lock and holds.
//!
//!     home row grows ─▶ behind: [2, 3] ──LockPart──▶ part's row grows ──PartLocked──▶ behind: [3] … ▶ behind: []
//!
//! The home row grows first and nothing goes while it says *locked*; an order is acknowledged to people as done only when
//! nobody is behind. Not here: what the rules make of it (`shard/lock_parts.rs`), who carries it (`node/service`).

use borsh::{BorshDeserialize, BorshSerialize};
use strongroom_format::codec::Format;
use strongroom_format::id::{GroupId, SnapshotId, TenantId};
use strongroom_format::lock::{Hold, LockTerms};

/// What a part's shard must know of what keeps its snapshot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Keeping {
    /// Counts the home shard's changes.
    pub version: u32,
    /// The lock; `None`: none.
    pub terms: Option<LockTerms>,
    /// The date that people are told, in milliseconds since 1970.
    pub until_unix_ms: u64,
    /// At least so much is left of the lock, by the part's own time, from when it hears of it.
    pub left_ms: u64,
    /// Legal holds, sorted by name.
    pub holds: Vec<Hold>,
}

/// The home shard's word about what keeps a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PartKeeping {
    /// The home shard.
    pub home: GroupId,
    /// The shard that it is for.
    pub group: GroupId,
    /// The tenant.
    pub tenant: TenantId,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// What keeps it.
    pub keeping: Keeping,
}

impl Format for PartKeeping {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 4096;
    const NAME: &'static str = "part's keeping";
}

/// A shard's word that its part is kept so.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PartKept {
    /// The home shard.
    pub home: GroupId,
    /// The shard with the part.
    pub group: GroupId,
    /// The tenant.
    pub tenant: TenantId,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The version that it has.
    pub version: u32,
}

impl Format for PartKept {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 128;
    const NAME: &'static str = "kept part";
}
