//! Wall clocks in reports: what a majority reaches, whether a majority agrees, and whose is off (DESIGN.md §7.2).
//!
//!     wall clocks of those who count ──no majority within 5 min──▶ the compliance clock is held
//!                                    └─else─▶ it goes no further than a majority of them has come
//!
//! A wall clock can hold the compliance clock up and never push it on. Not here: what pushes it (`baselines.rs`), alarms
//! (`node/service`).

use strongroom_format::id::NodeName;

use crate::voters::VoterView;

/// A majority of wall clocks must lie within so much of each other, in milliseconds.
pub const AGREE_WITHIN_MS: u64 = 300_000;
/// A wall clock further than this from the middle one is worth an alarm, in milliseconds.
pub const DEVIATES_MS: u64 = 60_000;

/// The highest value that so many of these reach; `None`: there are not so many.
pub(crate) fn reached(mut values: Vec<u64>, majority: usize) -> Option<u64> {
    values.sort_unstable_by(|a, b| b.cmp(a));
    values.get(majority.checked_sub(1)?).copied()
}

/// Whether so many of these lie close enough together.
pub(crate) fn agree(mut values: Vec<u64>, majority: usize) -> bool {
    values.sort_unstable();
    values.windows(majority.max(1)).any(|some| some[some.len() - 1] - some[0] <= AGREE_WITHIN_MS)
}

/// A wall clock that is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// Whose.
    pub node: NodeName,
    /// How far ahead of the middle one, in milliseconds; less than zero: behind.
    pub ahead_ms: i64,
}

/// Whose wall clocks were off in the tick of this number, by the voters' reports in it. Of two that differ nobody can say
/// which is off: both are named.
pub fn deviating(voters: &[VoterView], tick: u64) -> Vec<Deviation> {
    let said = |voter: &VoterView| {
        let last = voter.last.as_ref().filter(|last| last.tick == tick)?;
        Some((voter.node.clone(), last.wall_unix_ms))
    };
    let walls: Vec<(NodeName, u64)> = voters.iter().filter_map(said).collect();
    let mut sorted: Vec<u64> = walls.iter().map(|(_, wall_ms)| *wall_ms).collect();
    sorted.sort_unstable();
    let Some(low) = sorted.len().checked_sub(1).map(|last| sorted[last / 2]) else { return Vec::new() };
    let high = sorted[sorted.len() / 2];
    // Against both middle ones, where there are two.
    let off = |(node, wall_ms): (NodeName, u64)| {
        let from = if wall_ms.abs_diff(low) < wall_ms.abs_diff(high) { high } else { low };
        let far = i64::try_from(wall_ms.abs_diff(from)).unwrap_or(i64::MAX);
        (DEVIATES_MS < wall_ms.abs_diff(from))
            .then(|| Deviation { node, ahead_ms: if from < wall_ms { far } else { -far } })
    };
    walls.into_iter().filter_map(off).collect()
}

#[cfg(test)]
mod tests {
    use strongroom_format::id::{Digest, PublicKey, ReplicaId};

    use super::*;
    use crate::baselines::Baseline;
    use crate::voters::VoterRow;

    #[test]
    fn what_a_majority_reaches_is_what_no_minority_can_move() {
        assert_eq!(reached(vec![5, 9, 7], 2), Some(7));
        assert_eq!(reached(vec![5, u64::MAX, 7], 2), Some(7));
        assert_eq!(reached(vec![0, 9, 7], 2), Some(7));
        assert_eq!(reached(vec![9, 7], 2), Some(7));
        assert_eq!((reached(vec![9], 2), reached(vec![9], 1), reached(vec![9], 0)), (None, Some(9), None));
    }

    #[test]
    fn a_majority_agrees_or_it_does_not() {
        let within = AGREE_WITHIN_MS;
        assert!(agree(vec![0, within, u64::MAX], 2));
        assert!(!agree(vec![0, within + 1, u64::MAX], 2));
        assert!(!agree(vec![0, within, within * 2, within * 3, within * 4], 3));
        assert!(agree(vec![0, within / 2, within, within * 9, within * 20], 3));
        assert!(!agree(vec![7], 2) && agree(vec![7], 1));
    }

    fn voters(walls: &[(u64, u64)]) -> Vec<VoterView> {
        let voter = |(number, (wall_unix_ms, tick)): (u64, &(u64, u64))| VoterView {
            replica: ReplicaId(number),
            node: format!("n{number}").parse().unwrap(),
            signing_key: PublicKey::from_bytes([0; 32]),
            last: Some(VoterRow {
                incarnation: [0; 16],
                running_ms: 0,
                wall_unix_ms: *wall_unix_ms,
                durable_index: 0,
                vote_term: 0,
                digest: Digest::from_bytes([0; 32]),
                tick: *tick,
                baseline: Baseline { running_ms: 0, elapsed_ms: 0 },
            }),
            fenced: false,
        };
        (0..).zip(walls).map(voter).collect()
    }

    #[test]
    fn the_wall_clock_that_is_off_is_named_and_of_two_both() {
        let off = |walls: &[(u64, u64)]| {
            let named = |one: Deviation| (one.node.to_string(), one.ahead_ms);
            deviating(&voters(walls), 3).into_iter().map(named).collect::<Vec<_>>()
        };
        assert_eq!(off(&[]), []);
        assert_eq!(off(&[(1_000_000, 3), (1_060_000, 3), (1_000_000, 3)]), []);
        assert_eq!(off(&[(1_000_000, 3), (1_060_001, 3), (1_000_000, 3)]), [("n1".to_owned(), 60_001)]);
        assert_eq!(off(&[(1_000_000, 3), (0, 3), (1_000_000, 3)]), [("n1".to_owned(), -1_000_000)]);
        assert_eq!(off(&[(1_000_000, 3), (0, 3)]), [("n0".to_owned(), 1_000_000), ("n1".to_owned(), -1_000_000)]);
        assert_eq!(off(&[(1_000_000, 3), (0, 2), (1_000_000, 3)]), [], "what was said in an earlier tick is old");
    }
}
