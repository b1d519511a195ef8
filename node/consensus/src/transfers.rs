//! How the snapshots of all groups travel between nodes: few at once, paced, and with the log behind them held back.
//!
//! ```text
//!   sends      turn (one of SENDS_MAX) ─▶ piece ─ rest ─ piece ─ rest … ─▶ installed there
//!   receives   pieces of RECEIVES_MAX groups are taken, until one has ended or nothing came for a while
//!   departures while a group's snapshot is on its way to somebody who answers, and until who got it has followed, its log
//!              is not cut (openraft does not see to that: its issue 1706), but not for ever
//! ```
//!
//! Pieces share a stream with entries. A piece is half a megabyte, one is under way at a time, and behind each comes a
//! rest: a quarter of the time that it took, so that a slow link has room for entries, and whatever keeps all of them
//! together below BYTES_PER_SECOND_MAX, so that a fast one does not take the disk. Everything here is in memory.
//!
//! Not here: what a piece is (`wire.rs`), who writes it where (`arriving.rs`), who cuts the log (`keeping.rs`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom_format::id::{GroupId, ReplicaId};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::group::lock;

/// So many snapshots are sent at once; more wait for their turn.
const SENDS_MAX: usize = 2;

/// So many groups' snapshots are taken at once; senders of more are told to try later.
const RECEIVES_MAX: usize = 2;

/// A sender from whom nothing came for so long has no claim any more.
const SILENT_MAX: Duration = Duration::from_secs(30);

/// All snapshots together send no more than this.
const BYTES_PER_SECOND_MAX: u64 = 32 << 20;

/// A departure holds the log back for so long at most …
const HOLD_MAX: Duration = Duration::from_secs(3600);

/// … and for so long after something moved for the last time.
const QUIET_MAX: Duration = Duration::from_secs(60);

/// One node's transfers.
#[derive(Debug)]
pub(crate) struct Transfers {
    turns: Semaphore,
    /// When the next piece may go.
    next: Mutex<Instant>,
    /// Until when a group's pieces are expected.
    arriving: Mutex<BTreeMap<GroupId, Instant>>,
}

impl Transfers {
    pub(crate) fn new() -> Arc<Self> {
        let turns = Semaphore::new(SENDS_MAX);
        Arc::new(Self { turns, next: Mutex::new(Instant::now()), arriving: Mutex::default() })
    }

    /// Waits for a turn to send. It lasts as long as what is given back.
    pub(crate) async fn turn(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("turns are never closed")
    }

    /// Waits until a piece of so many bytes may go.
    pub(crate) async fn pace(&self, bytes: usize) {
        let at = self.goes_at(Instant::now(), bytes);
        tokio::time::sleep_until(at).await;
    }

    fn goes_at(&self, now: Instant, bytes: usize) -> Instant {
        let takes = Duration::from_micros(1_000_000 * bytes as u64 / BYTES_PER_SECOND_MAX);
        let mut next = lock(&self.next);
        let at = (*next).max(now);
        *next = at + takes;
        at
    }

    /// Whether a group's pieces are taken, now and within so long.
    pub(crate) fn admits(&self, group: GroupId, within: Duration) -> bool {
        self.admits_at(Instant::now(), group, within)
    }

    fn admits_at(&self, now: Instant, group: GroupId, within: Duration) -> bool {
        let mut arriving = lock(&self.arriving);
        arriving.retain(|_, until| now < *until);
        if arriving.len() < RECEIVES_MAX || arriving.contains_key(&group) {
            arriving.insert(group, now + within.max(SILENT_MAX));
            return true;
        }
        false
    }

    /// No more pieces of this group come.
    pub(crate) fn ended(&self, group: GroupId) {
        lock(&self.arriving).remove(&group);
    }
}

/// The snapshots of one group that are on their way from here.
#[derive(Debug, Default)]
pub(crate) struct Departures(Mutex<BTreeMap<ReplicaId, Departure>>);

#[derive(Debug)]
struct Departure {
    /// The last entry in the snapshot.
    last: u64,
    began: Instant,
    /// When it counts no more if nothing moves.
    until: Instant,
    /// What the member was known to have.
    matched: Option<u64>,
}

impl Departures {
    /// A snapshot up to this entry is on its way; the next news of it come within so long.
    pub(crate) fn moves(&self, to: ReplicaId, last: u64, within: Duration) {
        self.moves_at(Instant::now(), to, last, within);
    }

    fn moves_at(&self, now: Instant, to: ReplicaId, last: u64, within: Duration) {
        let mut departures = lock(&self.0);
        let departure = departures.entry(to).or_insert(Departure { last, began: now, until: now, matched: None });
        if departure.last != last {
            *departure = Departure { last, began: now, until: now, matched: departure.matched };
        }
        departure.until = now + within + QUIET_MAX;
    }

    /// Nothing is on its way any more: another replica leads.
    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// Whether the log should be left as it is. `matched`: the last entry that a member is known to have; whoever has what
    /// it was sent, and all but `tail` of the entries up to `last`, needs no more.
    pub(crate) fn hold(&self, matched: impl Fn(ReplicaId) -> Option<u64>, last: u64, tail: u64) -> bool {
        self.hold_at(Instant::now(), matched, last, tail)
    }

    fn hold_at(&self, now: Instant, matched: impl Fn(ReplicaId) -> Option<u64>, last: u64, tail: u64) -> bool {
        let mut departures = lock(&self.0);
        departures.retain(|replica, departure| {
            let matched = matched(*replica);
            if departure.matched < matched {
                departure.matched = matched;
                departure.until = departure.until.max(now + QUIET_MAX);
            }
            !matched.is_some_and(|matched| departure.last <= matched && last <= matched.saturating_add(tail))
        });
        departures.values().any(|departure| now < departure.until && now < departure.began + HOLD_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pieces_of_all_snapshots_together_keep_to_the_bound() {
        let transfers = Transfers::new();
        let now = Instant::now() + SECOND;
        for _ in 0..128 {
            transfers.goes_at(now, 512 << 10);
        }
        assert_eq!(transfers.goes_at(now, 512 << 10), now + 2 * SECOND);
        let later = now + 9 * SECOND;
        assert_eq!(transfers.goes_at(later, 1), later, "what was not used is not saved");
    }

    #[tokio::test]
    async fn a_third_sender_waits_for_its_turn() {
        let transfers = Transfers::new();
        let first = transfers.turn().await;
        let _second = transfers.turn().await;
        assert!(tokio::time::timeout(SECOND / 20, transfers.turn()).await.is_err());
        drop(first);
        assert!(tokio::time::timeout(SECOND, transfers.turn()).await.is_ok());
    }

    #[test]
    fn a_third_group_is_taken_when_another_has_ended_or_fell_silent() {
        let transfers = Transfers::new();
        let now = Instant::now();
        let admits = |now, group| transfers.admits_at(now, GroupId(group), SECOND);
        assert!(admits(now, 1) && admits(now, 2) && !admits(now, 3) && admits(now, 1));
        transfers.ended(GroupId(2));
        assert!(admits(now, 3) && !admits(now, 2));
        let later = now + SILENT_MAX;
        assert!(admits(later, 2) && admits(later, 4) && !admits(later, 1));
    }

    #[test]
    fn a_log_is_held_back_until_the_member_has_followed_and_not_for_ever() {
        let (to, other) = (ReplicaId(7), ReplicaId(8));
        let now = Instant::now();
        let departures = Departures::default();
        let hold = |now, matched: Option<u64>| departures.hold_at(now, |_| matched, 5000, 100);
        assert!(!hold(now, None));

        departures.moves_at(now, to, 1000, 20 * SECOND);
        assert!(hold(now + 79 * SECOND, None));
        assert!(!hold(now + 80 * SECOND, None), "nothing moves");
        departures.moves_at(now + 90 * SECOND, to, 1000, 20 * SECOND);
        assert!(hold(now + 100 * SECOND, None), "it is tried again");

        // it has the snapshot and follows
        for (second, matched) in [(160, 1000), (210, 2000), (260, 4000)] {
            assert!(hold(now + second * SECOND, Some(matched)), "{matched}");
        }
        assert!(hold(now + 310 * SECOND, Some(4899)));
        assert!(!hold(now + 311 * SECOND, Some(4900)), "it needs no more than the tail");
        assert!(!hold(now + 312 * SECOND, None), "that was all");

        // for ever on its way
        for minute in 0..70_u32 {
            let now = now + minute * 60 * SECOND;
            departures.moves_at(now, other, 1000, 20 * SECOND);
            assert_eq!(hold(now, None), minute < 60, "{minute}");
        }
        // the next snapshot is another one
        departures.moves_at(now + 71 * 60 * SECOND, other, 6000, SECOND);
        assert!(hold(now + 71 * 60 * SECOND, None));
        departures.clear();
        assert!(!hold(now + 71 * 60 * SECOND, None));
    }

    #[test]
    fn a_member_that_is_near_the_end_without_its_snapshot_still_needs_it() {
        let departures = Departures::default();
        let now = Instant::now();
        departures.moves_at(now, ReplicaId(7), 1000, SECOND);
        assert!(departures.hold_at(now, |_| Some(990), 1000, 100));
        assert!(!departures.hold_at(now, |_| Some(1000), 1000, 100));
    }
}
