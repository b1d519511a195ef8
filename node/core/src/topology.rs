//! Topology: which nodes may fill the slots of a shard, and which vote in the cluster group (DESIGN.md §3).
//!
//! Promises: a shard that passes has a code of the table there, its slots are numbered region by region in turn, and no
//! region holds more than `m` of its fragments nor a majority of its voters, unless that risk was accepted. The cluster
//! group's voters are one node a region in turn; where there are three regions, none has a majority.
//! Not here: what else a beginning must be (`genesis.rs`), rows (`cluster/`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use strongroom_format::code::Code;
use strongroom_format::id::{GroupId, NodeName, RegionName};

/// Why nodes cannot be put together so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyFault {
    /// Something is named twice, or a list that must be sorted is not.
    #[error("{what} is named twice or not in order")]
    Repeated {
        /// What.
        what: String,
    },
    /// Something is named that is not there.
    #[error("{what} is named but not defined")]
    Unknown {
        /// What.
        what: String,
    },
    /// DESIGN.md §3 has no row for such a shard.
    #[error("shard {group} has {slots} slots in {regions} regions: there is no code for that")]
    NoCode {
        /// Which.
        group: GroupId,
        /// Its slots.
        slots: usize,
        /// Their regions.
        regions: usize,
    },
    /// Slots must be numbered region by region in turn.
    #[error("shard {group}: the slots are not numbered region by region in turn")]
    SlotOrder {
        /// Which.
        group: GroupId,
    },
    /// Losing one region would lose data or the majority.
    #[error("{what}: one region holds too much; accept_region_loss = true accepts that")]
    RegionLoss {
        /// What would be lost.
        what: String,
    },
    /// One slot survives nothing.
    #[error("shard {group} has one slot; single_node = true accepts that")]
    SingleNode {
        /// Which.
        group: GroupId,
    },
}

/// The nodes, and what was accepted of them.
#[derive(Clone, Debug)]
pub(crate) struct Topology<'a> {
    /// Where each node is.
    pub(crate) region_of: BTreeMap<&'a NodeName, &'a RegionName>,
    /// One or two regions may hold more than the rest can lose.
    pub(crate) accept_region_loss: bool,
    /// A shard may have one slot.
    pub(crate) single_node: bool,
}

impl Topology<'_> {
    /// The code of a shard with these nodes in its slots; `None` where there is none. Nodes that are not there do not
    /// count as a region.
    pub(crate) fn code_of(&self, slots: &[NodeName]) -> Option<Code> {
        let regions: BTreeSet<_> = slots.iter().filter_map(|node| self.region_of.get(node)).collect();
        let slots = u8::try_from(slots.len()).ok()?;
        match regions.len() {
            // Two regions, or one with a multiple of three slots, are tiled as three would be; who accepts them knows
            // that losing one loses the shard.
            1 | 2 if self.accept_region_loss => Code::of(slots, 1).or_else(|| Code::of(slots, 3)),
            regions => Code::of(slots, u8::try_from(regions).ok()?),
        }
    }

    /// The code of a shard that keeps the rules.
    pub(crate) fn check_shard(&self, group: GroupId, slots: &[NodeName]) -> Result<Code, TopologyFault> {
        unique(&format!("a node of shard {group}"), slots.iter())?;
        let mut regions = Vec::new();
        for name in slots {
            let region = self.region_of.get(name);
            regions.push(*region.ok_or_else(|| TopologyFault::Unknown { what: format!("node {name}") })?);
        }
        let distinct = regions.iter().collect::<BTreeSet<_>>().len();
        let code = self.code_of(slots).ok_or(TopologyFault::NoCode { group, slots: slots.len(), regions: distinct })?;
        if code.m == 0 && !self.single_node {
            return Err(TopologyFault::SingleNode { group });
        }
        // The first `distinct` slots lie in one region each, and the rest repeats them.
        let in_turn = regions[..distinct].iter().collect::<BTreeSet<_>>().len() == distinct
            && (distinct..regions.len()).all(|slot| regions[slot] == regions[slot - distinct]);
        if !in_turn {
            return Err(TopologyFault::SlotOrder { group });
        }
        // A shard within one region promises nothing about regions: its table row says "any m members".
        if 1 < distinct && !self.accept_region_loss {
            let voters = usize::from(code.voters());
            let fragments = largest_share(regions.iter().copied());
            let votes = largest_share(regions[..voters].iter().copied());
            if usize::from(code.m) < fragments || voters <= votes * 2 {
                return Err(TopologyFault::RegionLoss { what: format!("shard {group}") });
            }
        }
        Ok(code)
    }
}

/// Region by region in turn: the first of each region, then the second of each, and so on. What lies in none of the
/// regions is left out.
pub(crate) fn in_turn<T>(
    regions: &[RegionName],
    all: impl IntoIterator<Item = T>,
    region_of: impl Fn(&T) -> &RegionName,
) -> Vec<T> {
    let mut queues: Vec<VecDeque<T>> = regions.iter().map(|_| VecDeque::new()).collect();
    for one in all {
        if let Some(place) = regions.iter().position(|region| region == region_of(&one)) {
            queues[place].push_back(one);
        }
    }
    let mut order = Vec::new();
    while queues.iter().any(|queue| !queue.is_empty()) {
        order.extend(queues.iter_mut().filter_map(VecDeque::pop_front));
    }
    order
}

/// How many vote in the cluster group, of nodes that lie in these regions, in turn: 1, 3, 5 or 7 (from nine nodes), as
/// many as leave no region a majority where there are three.
pub(crate) fn cluster_voters(in_turn: &[&RegionName]) -> usize {
    let most = match in_turn.len() {
        0 => 0,
        1 | 2 => 1,
        3 | 4 => 3,
        5..=8 => 5,
        _ => 7,
    };
    let accepted = in_turn.iter().collect::<BTreeSet<_>>().len() < 3;
    let fits = |voters: &usize| {
        *voters <= most && (accepted || largest_share(in_turn[..*voters].iter().copied()) * 2 < *voters)
    };
    [7, 5, 3].into_iter().find(fits).unwrap_or(most.min(1))
}

/// How many of one kind there are at most.
pub(crate) fn largest_share<T: Ord>(of: impl Iterator<Item = T>) -> usize {
    let mut counts = BTreeMap::new();
    of.for_each(|one| *counts.entry(one).or_insert(0_usize) += 1);
    counts.into_values().max().unwrap_or(0)
}

/// Refuses what is named twice.
pub(crate) fn unique<T: Ord>(what: &str, all: impl Iterator<Item = T>) -> Result<(), TopologyFault> {
    let mut seen = BTreeSet::new();
    for one in all {
        if !seen.insert(one) {
            return Err(TopologyFault::Repeated { what: what.into() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(names: &str) -> Vec<RegionName> {
        names.chars().map(|name| format!("r{name}").parse().unwrap()).collect()
    }

    #[test]
    fn voters_are_one_a_region_in_turn_and_no_region_of_three_has_a_majority() {
        for (nodes, of, voters) in [
            ("", "a", 0),
            ("a", "a", 1),
            ("ab", "ab", 1),
            ("abc", "abc", 3),
            ("aabc", "abc", 3),
            ("aaab", "ab", 3),
            ("aaaaa", "a", 5),
            ("abcabc", "abc", 5),
            ("aaaabc", "abc", 3),
            ("abcabcabc", "abc", 7),
            ("aaaaaaabc", "abc", 3),
        ] {
            let of = regions(of);
            let order = in_turn(&of, regions(nodes), |region| region);
            let order: Vec<&RegionName> = order.iter().collect();
            assert_eq!(cluster_voters(&order), voters, "{nodes}");
        }
    }

    #[test]
    fn in_turn_keeps_the_order_within_a_region() {
        let of = regions("ba");
        let all = [(1, "ra"), (2, "ra"), (3, "rb"), (4, "ra"), (5, "rc")].map(|(number, region)| {
            let region: RegionName = region.parse().unwrap();
            (number, region)
        });
        let order: Vec<i32> = in_turn(&of, all, |(_, region)| region).into_iter().map(|(number, _)| number).collect();
        assert_eq!(order, [3, 1, 2, 4]);
    }
}
