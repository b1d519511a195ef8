//! How late a compliance clock is, and why: for people, who are told and who alone can do something about it.
//!
//! ```text
//!   GroupView, this node's wall clock ─▶ state: running | held, lag, why ─▶ status, `strongroom clock`
//!   the lag a day ago ─────────────────▶ alarms: it grew by over an hour · a node's wall clock is off ─▶ log, metrics
//! ```
//!
//! Nothing here changes anything: a clock that is late makes locks end late. Not here: how time moves (`node/core`,
//! `clock.rs`), when ticks are proposed (`tick.rs`).

use std::collections::VecDeque;
use std::time::Duration;

use strongroom_core::clock::ClockRow;
use strongroom_core::query::GroupView;
use strongroom_core::walls::{self, AGREE_WITHIN_MS, Deviation};

use crate::metrics;

/// How late a clock may be where all is well: a tick a minute where nothing waits, and two looks of the ticker.
pub const BOUND_MS: u64 = 62_000;
/// An alarm, if the lag grew by more within [`Lag::OVER`].
const GREW_MS: u64 = 3_600_000;

/// How far the clock lies behind a wall clock.
pub fn lag_ms(clock: &ClockRow, wall_ms: u64) -> u64 {
    wall_ms.saturating_sub(clock.clock_ms)
}

/// Why the clock stands or is later than it may be where all is well; empty if it is not. `wall_ms` is the wall clock of
/// the node that says so.
pub fn why(view: &GroupView, wall_ms: u64) -> String {
    let clock = &view.clock;
    let off = walls::deviating(&view.voters, clock.ticks);
    if clock.held_since_ms.is_some() {
        let minutes = AGREE_WITHIN_MS / 60_000;
        return format!("no majority of wall clocks agrees within {minutes} minutes{}", named(&off));
    }
    let late_ms = lag_ms(clock, wall_ms);
    let held_back_ms = clock.began_unix_ms.saturating_add(clock.elapsed_ms).saturating_sub(clock.clock_ms);
    match (late_ms <= BOUND_MS, BOUND_MS < held_back_ms) {
        (true, _) if off.is_empty() => String::new(),
        (true, _) => format!("a wall clock is off{}", named(&off)),
        (false, true) => format!("a majority of wall clocks is behind the time that was counted{}", named(&off)),
        (false, false) => {
            format!("no time was counted while the group did not run, or wall clocks are ahead{}", named(&off))
        }
    }
}

fn named(off: &[Deviation]) -> String {
    let one = |off: &Deviation| {
        let way = if off.ahead_ms < 0 { "behind" } else { "ahead" };
        format!("{} is {} s {way}", off.node, off.ahead_ms.unsigned_abs() / 1000)
    };
    match off {
        [] => String::new(),
        off => format!(": {}", off.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}

/// What is remembered of the lag of one group, to see whether it grows.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    /// Moments of this node's raw clock with the lag then, in milliseconds; the oldest at the front.
    seen: VecDeque<(Duration, u64)>,
    grew: bool,
    held: bool,
    off: Vec<Deviation>,
}

impl Lag {
    /// The lag now is compared with every one that was seen within so much time.
    const OVER: Duration = Duration::from_secs(24 * 3600);
    /// One is remembered so often.
    const EVERY: Duration = Duration::from_secs(600);

    /// Looks at the clock; shows and says what a person should know.
    pub(crate) fn look(&mut self, view: &GroupView, wall_ms: u64, raw: Duration) {
        let lag_ms = lag_ms(&view.clock, wall_ms);
        let grew_ms = self.grew_ms(lag_ms, raw);
        let off = walls::deviating(&view.voters, view.clock.ticks);
        let furthest_ms = off.iter().map(|one| one.ahead_ms.unsigned_abs()).max().unwrap_or(0);
        let held = view.clock.held_since_ms.is_some();
        metrics::clock(view.group.0, lag_ms, grew_ms, held, furthest_ms);

        let (group, grew) = (view.group, GREW_MS < grew_ms);
        if held && !self.held {
            tracing::error!(%group, why = why(view, wall_ms), "the compliance clock is held: no lock ends; set the wall clocks right");
        }
        if !held && self.held {
            tracing::info!(%group, "the compliance clock runs again");
        }
        if grew && !self.grew {
            tracing::error!(%group, grew_ms, why = why(view, wall_ms), "the compliance clock lost more than an hour within a day");
        }
        if off != self.off && !off.is_empty() && off.len() != self.off.len() {
            tracing::error!(%group, off = named(&off), "a wall clock is off; it moves nothing");
        }
        (self.grew, self.held, self.off) = (grew, held, off);
    }

    /// By how much the lag is more than the least of the last day.
    fn grew_ms(&mut self, lag_ms: u64, raw: Duration) -> u64 {
        while self.seen.front().is_some_and(|(at, _)| *at + Self::OVER < raw) {
            self.seen.pop_front();
        }
        if self.seen.back().is_none_or(|(at, _)| *at + Self::EVERY <= raw) {
            self.seen.push_back((raw, lag_ms));
        }
        let least_ms = self.seen.iter().map(|(_, lag_ms)| *lag_ms).min().unwrap_or(lag_ms);
        lag_ms.saturating_sub(least_ms)
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::baselines::Baseline;
    use strongroom_core::shard::rows::Usage;
    use strongroom_core::voters::{VoterRow, VoterView};
    use strongroom_format::id::{Digest, GroupId, PublicKey, ReplicaId};

    use super::*;

    const ZEROS: Digest = Digest::from_bytes([0; 32]);

    fn view(elapsed_ms: u64, clock_ms: u64, held_since_ms: Option<u64>, walls: [u64; 3]) -> GroupView {
        let voter = |(replica, wall_unix_ms): (u64, u64)| VoterView {
            replica: ReplicaId(replica),
            node: format!("n{replica}").parse().unwrap(),
            signing_key: PublicKey::from_bytes([0; 32]),
            last: Some(VoterRow {
                incarnation: [0; 16],
                running_ms: 0,
                wall_unix_ms,
                durable_index: 0,
                vote_term: 0,
                digest: ZEROS,
                tick: 7,
                baseline: Baseline { running_ms: 0, elapsed_ms: 0 },
            }),
            fenced: false,
        };
        GroupView {
            group: GroupId(1),
            rules: None,
            clock: ClockRow { elapsed_ms, clock_ms, held_since_ms, ticks: 7, ..ClockRow::founded(1_000_000) },
            next_end_ms: None,
            next_clock_end_ms: None,
            waits: false,
            digest: ZEROS,
            applied: 0,
            usage: Usage::default(),
            voters: (0..).zip(walls).map(voter).collect(),
            disputed: false,
        }
    }

    #[test]
    fn why_a_clock_is_late_or_held_names_who_can_be_set_right() {
        let wall_ms = 5_000_000;
        for (view, expected) in [
            (view(4_000_000, 5_000_000, None, [wall_ms; 3]), ""),
            (view(4_000_000, 5_000_000, None, [wall_ms, wall_ms, 0]), "a wall clock is off: n2 is 5000 s behind"),
            (view(4_000_000, 1_000_000, None, [wall_ms, 0, 0]), "a majority of wall clocks is behind"),
            (view(0, 1_000_000, None, [wall_ms; 3]), "no time was counted"),
            (
                view(4_000_000, 1_000_000, Some(3), [wall_ms, 0, 9_000_000]),
                "no majority of wall clocks agrees within 5 minutes: n1 is 5000 s behind, n2 is 4000 s ahead",
            ),
        ] {
            let why = why(&view, wall_ms);
            assert!(why.starts_with(expected) && why.is_empty() == expected.is_empty(), "{why}");
        }
    }

    #[test]
    fn a_lag_that_grows_within_a_day_is_seen_and_one_that_stands_is_not() {
        let mut lag = Lag::default();
        let hour = Duration::from_secs(3600);
        assert_eq!(lag.grew_ms(7_000, hour), 0);
        for hours in 2..50 {
            assert_eq!(lag.grew_ms(7_000, hour * hours), 0);
        }
        assert_eq!(lag.grew_ms(GREW_MS + 7_001, hour * 50), GREW_MS + 1);
        for hours in 51..73 {
            assert!(0 < lag.grew_ms(GREW_MS + 7_001, hour * hours));
        }
        assert_eq!(lag.grew_ms(GREW_MS + 7_001, hour * 75), 0, "a day later it is what it is");
        assert!(lag.seen.len() < 200);
    }
}
