//! Baselines: where a voter's running clock is known to have stood, and what it votes for since (DESIGN.md §7.2).
//!
//!     report ──new, restarted, ran backwards, or silent in the tick before──▶ baseline = (its running clock, E before)
//!        └──else──▶ the baseline that it has
//!     vote = the baseline's E + what the running clock has counted since ──after the tick──▶ cut to E' + 2 s for good
//!
//! Law of an honest voter: its vote is at most true time. A report names the tick before, so it was made after that tick,
//! whose `E` was at most true time when it came; from there on the voter's own clock counts. Nobody keeps time in hand: a
//! voter that was ahead is not ahead any more after the next tick, so what is let go later is never more than 2 s. Laws:
//! `laws/no_voter_keeps_time_in_hand.rs`. Not here: whose clock ran on (`voters.rs`), how many
//! votes move time (`clock.rs`).

use borsh::{BorshDeserialize, BorshSerialize};

/// No vote lies further ahead of `E` after a tick, in milliseconds.
pub const IN_HAND_MAX_MS: u64 = 2_000;

/// Where a voter's running clock stood at a known `E`, or a little further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Baseline {
    /// The running clock, in milliseconds since its incarnation began.
    pub running_ms: u64,
    /// `E` at that moment or before it.
    pub elapsed_ms: u64,
}

impl Baseline {
    /// A voter's baseline: the one that it has, if its clock ran on, else this report at the `E` before its tick.
    pub(crate) fn of(ran_on: Option<Self>, running_ms: u64, elapsed_ms: u64) -> Self {
        // The clock may have shown almost a millisecond more than it said: whoever chose such moments again and again would
        // gain one each time.
        ran_on.unwrap_or(Self { running_ms: running_ms.saturating_add(1), elapsed_ms })
    }

    /// What the voter votes for when its running clock shows this.
    pub fn vote_ms(&self, running_ms: u64) -> u64 {
        // A clock that shows anything is no reason to stop: whoever lies is outvoted.
        self.elapsed_ms.saturating_add(running_ms.saturating_sub(self.running_ms))
    }

    /// What is left of it after a tick that moved time to `elapsed_ms`.
    pub(crate) fn cut(self, running_ms: u64, elapsed_ms: u64) -> Self {
        let most = elapsed_ms.saturating_add(IN_HAND_MAX_MS);
        // Who says just so much may have almost a millisecond more.
        if self.vote_ms(running_ms) < most { self } else { Self::of(None, running_ms, most) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_begins_anew_votes_for_nothing_beyond_what_was_known_before_its_report() {
        let kept = Baseline { running_ms: 100, elapsed_ms: 7 };
        assert_eq!(Baseline::of(Some(kept), 500, 1000), kept);
        let anew = Baseline::of(None, 500, 1000);
        assert_eq!([500, 501, 502].map(|running_ms| anew.vote_ms(running_ms)), [1000, 1000, 1001]);
    }

    #[test]
    fn after_a_tick_nobody_is_further_ahead_than_two_seconds() {
        let baseline = Baseline { running_ms: 100, elapsed_ms: 1000 };
        assert_eq!(baseline.vote_ms(3100), 4000);
        assert_eq!(baseline.cut(3099, 2000), baseline);
        assert_eq!(baseline.cut(3100, 2000), Baseline { running_ms: 3101, elapsed_ms: 4000 });
        assert_eq!(baseline.cut(3101, 2000), Baseline { running_ms: 3102, elapsed_ms: 4000 });
        assert_eq!(baseline.cut(u64::MAX, 2000).vote_ms(u64::MAX), 4000);
    }
}
