//! What is done to a cluster, by name: which nodes, by which means. Pure: who acts is `nemesis.rs`.
//!
//! Promises: what a plan takes away at once can be lost without losing anything (one region, one node), except `all`,
//! after which everything must come back.

use clap::ValueEnum;

use crate::random::Random;

/// A kind of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// SIGKILL to one node.
    Kill,
    /// SIGKILL to all nodes of a region.
    Region,
    /// SIGSTOP to one node, or to all of a region.
    Pause,
    /// SIGKILL or SIGSTOP to the node that leads some shard, as `status` says.
    Leader,
    /// SIGKILL to all nodes.
    All,
}

/// By which means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// SIGKILL, later started again.
    Kill,
    /// SIGSTOP, later SIGCONT.
    Pause,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strike {
    /// To which nodes, by their place in `dev.json`.
    pub nodes: Vec<usize>,
    /// How.
    pub means: Means,
    /// How long it stays so.
    pub hold_ms: u64,
}

impl Attack {
    /// As on the command line and in the history.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Region => "region",
            Self::Pause => "pause",
            Self::Leader => "leader",
            Self::All => "all",
        }
    }

    /// Chooses. `regions` has the region of each node, `leaders` the places of nodes that lead; without any there is
    /// nothing to aim at.
    pub fn plan(self, random: &mut Random, regions: &[&str], leaders: &[usize]) -> Option<Strike> {
        let hold_ms = 2000 + random.below(6000) as u64;
        let one = random.below(regions.len());
        let region: Vec<usize> = (0..regions.len()).filter(|at| regions[*at] == regions[one]).collect();
        let (nodes, means) = match self {
            Self::Kill => (vec![one], Means::Kill),
            Self::Region => (region, Means::Kill),
            Self::Pause => (if random.below(2) == 0 { vec![one] } else { region }, Means::Pause),
            Self::Leader => {
                let leader = *random.one_of(leaders)?;
                (vec![leader], if random.below(2) == 0 { Means::Kill } else { Means::Pause })
            }
            Self::All => return Some(Strike { nodes: (0..regions.len()).collect(), means: Means::Kill, hold_ms: 500 }),
        };
        Some(Strike { nodes, means, hold_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGIONS: [&str; 6] = ["north", "east", "south", "north", "east", "south"];

    #[test]
    fn no_attack_but_all_takes_more_than_a_region() {
        let mut random = Random::named(3, "attack");
        for attack in Attack::value_variants() {
            for _ in 0..50 {
                let strike = attack.plan(&mut random, &REGIONS, &[4]).unwrap();
                let regions: std::collections::BTreeSet<_> = strike.nodes.iter().map(|at| REGIONS[*at]).collect();
                assert!(regions.len() == 1 || *attack == Attack::All, "{attack:?} {strike:?}");
                assert!(*attack != Attack::Leader || strike.nodes == [4]);
                assert!(*attack != Attack::Region || strike.nodes.len() == 2);
            }
        }
    }

    #[test]
    fn without_a_leader_there_is_nothing_to_aim_at() {
        assert_eq!(Attack::Leader.plan(&mut Random::named(3, "attack"), &REGIONS, &[]), None);
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for attack in Attack::value_variants() {
            assert_eq!(attack.to_possible_value().unwrap().get_name(), attack.name());
        }
    }
}
