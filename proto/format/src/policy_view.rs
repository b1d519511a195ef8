//! What people are shown of policies, locks and holds: dates, and why something stays.
//!
//! Dates are plain ones, for people; what counts is decided on times that no date shows (DESIGN.md §7.1).

use borsh::{BorshDeserialize, BorshSerialize};

use crate::id::{GroupId, IdentityId, SnapshotId};
use crate::label::Label;
use crate::lock::{Hold, LockTerms};
use crate::policy::Policy;

/// What keeps a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LockView {
    /// Its lock; `None`: none.
    pub lock: Option<LockShown>,
    /// Legal holds by name.
    pub holds: Vec<Hold>,
    /// A wish that the lock be shorter, which has not happened yet.
    pub weakening: Option<WeakeningShown>,
    /// Shards that do not have the last change yet, sorted; empty: all have it.
    pub behind: Vec<GroupId>,
}

/// A lock for people.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LockShown {
    /// Mode and length.
    pub terms: LockTerms,
    /// Until when, in milliseconds since 1970.
    pub until_unix_ms: u64,
    /// Whether it has begun: until then it is locked whatever the date.
    pub begun: bool,
    /// Whether it is over.
    pub over: bool,
}

/// A wish that a lock be shorter, for people.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct WeakeningShown {
    /// Who wants it.
    pub by: IdentityId,
    /// The length then, in milliseconds; zero: no lock.
    pub length_ms: u64,
    /// When, in milliseconds since 1970.
    pub due_unix_ms: u64,
}

/// A vault's policy and what it has to say today.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PolicyView {
    /// The policy in force.
    pub policy: Policy,
    /// The vault's lock, if somebody asked for one.
    pub lock: Option<VaultLockShown>,
    /// Names of which no good snapshot came in the interval in which one is expected, at most
    /// [`PolicyView::OVERDUE_MAX`].
    pub overdue: Vec<Overdue>,
    /// The compliance clock, in milliseconds since 1970.
    pub clock_ms: u64,
}

impl PolicyView {
    /// At most so many names are listed.
    pub const OVERDUE_MAX: usize = 256;
}

/// A vault's lock for people.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VaultLockShown {
    /// Who asked for it.
    pub by: IdentityId,
    /// When it may not be withdrawn any more, in milliseconds since 1970.
    pub due_unix_ms: u64,
    /// Whether that is so.
    pub in_force: bool,
}

/// A name of which no good snapshot came in time.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Overdue {
    /// The writer.
    pub writer: IdentityId,
    /// The name.
    pub label: Label,
    /// When the newest one was committed, in milliseconds since 1970.
    pub newest_unix_ms: u64,
}

/// A period of which keep rules keep the first snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Period {
    /// By the clock.
    Hour,
    /// In UTC.
    Day,
    /// From Monday.
    Week,
    /// Of the calendar.
    Month,
    /// Of the calendar.
    Year,
}

/// What becomes of a snapshot under a policy, and why.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Fate {
    /// It may go: no lock, hold or rule keeps it.
    Goes,
    /// A legal hold keeps it.
    Held,
    /// A lock keeps it.
    Locked {
        /// Until when, in milliseconds since 1970; `None`: no time is known.
        until_unix_ms: Option<u64>,
    },
    /// A shard has not heard yet what keeps it now.
    Behind,
    /// It is a stream of a whole that stands.
    OfWhole {
        /// The whole.
        whole: SnapshotId,
    },
    /// A restore session reads it.
    Pinned,
    /// The policy has no keep rules: everything stays.
    NoRules,
    /// The newest of its name is damaged: of the name nothing goes.
    NewestDamaged,
    /// It is the newest of its name.
    Newest,
    /// It came within the last intervals that count.
    Last,
    /// It is the first of a period.
    First {
        /// Of which.
        period: Period,
        /// Until when, in milliseconds since 1970.
        until_unix_ms: u64,
    },
}

/// A snapshot in the preview of a policy.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Previewed {
    /// Which.
    pub snapshot: SnapshotId,
    /// Its writer.
    pub writer: IdentityId,
    /// Its name.
    pub label: Label,
    /// When it was committed on the compliance clock, in milliseconds since 1970.
    pub committed_unix_ms: u64,
    /// What would become of it now.
    pub fate: Fate,
}

/// Where a preview goes on: behind this snapshot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PreviewPlace {
    /// Its writer.
    pub writer: IdentityId,
    /// Its name.
    pub label: Label,
    /// Its place in the order of commits.
    pub order: u64,
}

/// A page of a preview.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PreviewPage {
    /// By name, then in the order of commits.
    pub snapshots: Vec<Previewed>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<PreviewPlace>,
}
