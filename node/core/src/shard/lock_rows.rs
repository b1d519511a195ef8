//! The rows of locks, holds and keep rules: what each table holds.
//!
//! The rows stand by themselves and not in those of snapshots and parts, because a snapshot's decision never changes and
//! its lock does. Not here: what changes them (`shard/locks.rs`, `shard/lock_orders.rs`, `shard/lock_parts.rs`,
//! `shard/keep.rs`).

use borsh::{BorshDeserialize, BorshSerialize};
use strongroom_format::id::{GroupId, IdentityId, SnapshotId, TenantId, VaultId};
use strongroom_format::label::Label;
use strongroom_format::lock::{Hold, LockTerms};

use crate::row::rows;
use crate::shard::rows::tenants_rows;

/// What keeps a snapshot from going: one row at home and one in every other shard that has a part. There is one for every
/// committed part, so where none is, nothing is known, and unknown means locked.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LockRow {
    /// Counts the changes that the home shard made; other shards say which one they have.
    pub version: u32,
    /// The lock; `None`: none.
    pub lock: Option<Lock>,
    /// Legal holds, sorted by name.
    pub holds: Vec<Hold>,
    /// At home: what was asked for and has not happened yet.
    pub weakening: Option<Weakening>,
    /// At home: the other shards with a part that have not said that they have this version, sorted.
    pub behind: Vec<GroupId>,
    /// At home: what was left of the lock at the last order that made it grow, for the shards that are behind.
    pub left_ms: u64,
}

impl LockRow {
    /// That of a snapshot, or a part of one, that has just been committed.
    pub(crate) fn committed(lock: Option<Lock>) -> Self {
        Self { version: 0, lock, holds: Vec::new(), weakening: None, behind: Vec::new(), left_ms: 0 }
    }
}

/// A lock. Without a beginning it is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Lock {
    /// Mode and length.
    pub terms: LockTerms,
    /// When it began, on the scale of the compliance clock in milliseconds since 1970; `None`: not yet.
    pub begins_ms: Option<u64>,
    /// The date that people are told, in milliseconds since 1970: a label, never a rule.
    pub until_unix_ms: u64,
}

/// A wish that a governance lock be shorter.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Weakening {
    /// Which admin wants it.
    pub by: IdentityId,
    /// The lock's length then; zero: no lock.
    pub length_ms: u64,
    /// When it happens, on `E`.
    pub due_ms: u64,
    /// The same for people, in milliseconds since 1970.
    pub due_unix_ms: u64,
    /// The place of the order ([`strongroom_format::id::Place::number`]).
    pub number: u64,
}

/// A wish by its number: what happens at its end finds the snapshot here.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct WeakeningRow {
    /// Of which snapshot.
    pub snapshot: SnapshotId,
}

/// What keep rules know of one name: a writer's snapshots under one label.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeptRow {
    /// The newest snapshot's commit.
    pub newest: Mark,
    /// Its place in the order of commits.
    pub newest_order: u64,
    /// The first commit of the newest hour, day, week, month and year.
    pub firsts: [Option<Mark>; 5],
    /// The first commit of the newest interval in which one was expected.
    pub counted: Option<Mark>,
    /// The orders of the first snapshots of such intervals, oldest first, at most
    /// [`strongroom_format::policy::KeepRules::LAST_MAX`].
    pub counted_orders: Vec<u64>,
}

/// A moment on both times of the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Mark {
    /// The compliance clock, in milliseconds since 1970.
    pub clock_ms: u64,
    /// `E`.
    pub elapsed_ms: u64,
}

/// A lock that has no beginning, in the order of the ticks at which they begin. The value is empty.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct UnbegunRow {}

/// At home: a snapshot that some other shard is behind with. The value is empty.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BehindRow {}

/// At most so many holds of one snapshot.
pub const HOLDS_MAX: usize = 16;

rows! {
    named LOCK_QUEUES;
    UnbegunRow: "unbegun lock row", 16, 17, (u64, TenantId, SnapshotId);
    BehindRow: "lock behind row", 16, 18, (TenantId, SnapshotId);
}

tenants_rows! {
    named LOCK_TABLES;
    LockRow: "lock row", 4096, 80, (SnapshotId,);
    WeakeningRow: "weakening row", 32, 81, (u64,);
    KeptRow: "kept row", 4096, 82, (VaultId, IdentityId, Label);
}
