//! Which attacks there are, and what each would do now: which nodes and links, by which means. Pure: who acts is
//! `nemesis.rs`.
//!
//! Promises: what a plan takes away at once can be lost without losing anything (one region, one node), except where
//! [`Attack::takes_all`], after which everything must come back. What is lost for good is only ever lost on one node of
//! the run, the *victim*: without repair, damage adds up.

use clap::ValueEnum;

use crate::needs::Need;
use crate::random::Random;
use crate::strike::{Arrow, Means, Rotten, Strike, arrows, both_ways};
use crate::switch::link::Link;
use std::time::Duration;

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
    /// Nodes, with the clients beside them, fall into two halves that hear nothing of each other.
    Split,
    /// One node, or a region, hears and is not heard, or is heard and hears not.
    OneWay,
    /// Two halves, and one node that hears both.
    Bridge,
    /// A region with its clients is cut off.
    CutRegion,
    /// The node that leads some shard is cut off from the other nodes, but not from clients.
    CutLeader,
    /// Links between regions get slow and lossy.
    Links,
    /// The power of one node, or of a region, goes: what was not synced is lost.
    Power,
    /// The power of all nodes goes.
    PowerAll,
    /// Bits flip, blocks are zeroed or misdirected in the fragments of the victim, which runs.
    Rot,
    /// The same in its applied states, while it is down.
    RotState,
    /// The same in its log, while it is down.
    RotLog,
    /// The disk of one node is full.
    Full,
    /// A sync fails on one node.
    SyncError,
    /// Syncs of one node take long.
    SlowSync,
    /// Syncs of the victim say yes and do nothing, then its power goes: what it has promised is lost.
    SyncLost,
    /// Wall clocks of one or two nodes are off by a second to a century, or jump about.
    Clock,
    /// The same of four nodes, or of all.
    ClockAll,
    /// All nodes are restarted, one after the other.
    Rolling,
    /// The victim's data directory is put back to what it was some seconds ago.
    SetBack,
    /// The victim comes back without log and states: in every group a member is replaced.
    Members,
}

/// What is attacked, as far as it matters here.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    /// Names and regions of the nodes, in the order of `dev.json`.
    pub nodes: &'a [(String, String)],
    /// Names and regions of the machines of clients.
    pub offices: &'a [(String, String)],
    /// Places of nodes that lead; without any there is nothing to aim at.
    pub leaders: &'a [usize],
    /// The node that may lose something for good.
    pub victim: usize,
}

/// How far off wall clocks are set: within five minutes of each other they agree, within a year certificates are valid.
const OFFSETS: [&str; 16] = [
    "+1s", "-1s", "+1m", "-1m", "+10m", "-10m", "+1h", "-30m", "+1d", "-1d", "+30d", "+1y", "-1y", "+10y", "+100y",
    "-50y",
];

impl Attack {
    /// As on the command line and in the history.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Region => "region",
            Self::Pause => "pause",
            Self::Leader => "leader",
            Self::All => "all",
            Self::Split => "split",
            Self::OneWay => "one-way",
            Self::Bridge => "bridge",
            Self::CutRegion => "cut-region",
            Self::CutLeader => "cut-leader",
            Self::Links => "links",
            Self::Power => "power",
            Self::PowerAll => "power-all",
            Self::Rot => "rot",
            Self::RotState => "rot-state",
            Self::RotLog => "rot-log",
            Self::Full => "full",
            Self::SyncError => "sync-error",
            Self::SlowSync => "slow-sync",
            Self::SyncLost => "sync-lost",
            Self::Clock => "clock",
            Self::ClockAll => "clock-all",
            Self::Rolling => "rolling",
            Self::SetBack => "set-back",
            Self::Members => "members",
        }
    }

    /// What it cannot do without.
    pub fn needs(self) -> &'static [Need] {
        match self {
            Self::Kill | Self::Region | Self::Pause | Self::Leader | Self::All | Self::Rolling => &[],
            Self::Rot | Self::RotState | Self::RotLog | Self::SetBack | Self::Members => &[],
            Self::Split | Self::OneWay | Self::Bridge | Self::CutRegion | Self::CutLeader | Self::Links => {
                &[Need::Network]
            }
            Self::Power | Self::PowerAll | Self::Full => &[Need::Disk],
            Self::SyncError | Self::SlowSync => &[Need::Trace],
            Self::SyncLost => &[Need::Trace, Need::Disk],
            Self::Clock | Self::ClockAll => &[Need::Clock],
        }
    }

    /// Whether nobody may be able to answer meanwhile.
    pub fn takes_all(self) -> bool {
        matches!(self, Self::All | Self::PowerAll | Self::ClockAll)
    }

    /// Whether a hook of somebody else's cluster can do it.
    pub fn is_for_hooks(self) -> bool {
        match self {
            Self::Kill | Self::Region | Self::Pause | Self::Leader | Self::All | Self::Rolling => true,
            Self::CutRegion | Self::CutLeader => true,
            Self::Split | Self::OneWay | Self::Bridge | Self::Links | Self::Power | Self::PowerAll | Self::Rot => false,
            Self::RotState | Self::RotLog | Self::Full | Self::SyncError | Self::SlowSync | Self::Clock => false,
            Self::ClockAll | Self::SetBack | Self::SyncLost | Self::Members => false,
        }
    }

    /// Whether it aims at a leader.
    pub fn aims(self) -> bool {
        matches!(self, Self::Leader | Self::CutLeader)
    }

    /// Chooses. None if there is nothing to aim at.
    pub fn plan(self, random: &mut Random, field: &Field<'_>) -> Option<Strike> {
        let hold_ms = 2000 + random.below(6000) as u64;
        let count = field.nodes.len();
        let one = random.below(count);
        let all: Vec<usize> = (0..count).collect();
        let region_of = |at: usize| field.nodes[at].1.as_str();
        let region: Vec<usize> = (0..count).filter(|at| region_of(*at) == region_of(one)).collect();
        let one_or_region = |random: &mut Random| if random.below(2) == 0 { vec![one] } else { region.clone() };
        let (nodes, means) = match self {
            Self::Kill => (vec![one], Means::Kill),
            Self::Region => (region, Means::Kill),
            Self::Pause => (one_or_region(random), Means::Pause),
            Self::Leader => {
                let leader = *random.one_of(field.leaders)?;
                // Leaders that end matter most: how soon others lead is measured.
                (vec![leader], if random.below(3) != 0 { Means::Kill } else { Means::Pause })
            }
            Self::All => return Some(Strike { nodes: all, means: Means::Kill, hold_ms: 500 }),
            Self::Split => {
                let (these, those) = halves(random, field, None);
                (all, Means::Cut(both_ways(&these, &those)))
            }
            Self::OneWay => {
                let nodes = one_or_region(random);
                let (inside, outside) = apart(field, &nodes, Vec::new());
                let deaf = random.below(2) == 0;
                let cut = if deaf { arrows(&outside, &inside) } else { arrows(&inside, &outside) };
                (nodes, Means::Cut(cut))
            }
            Self::Bridge => {
                let (these, those) = halves(random, field, Some(one));
                (all, Means::Cut(both_ways(&these, &those)))
            }
            Self::CutRegion => {
                let offices = field.offices.iter().filter(|(_, of)| of == region_of(one));
                let (inside, outside) = apart(field, &region, offices.map(|(name, _)| name.as_str()).collect());
                (region, Means::Cut(both_ways(&inside, &outside)))
            }
            Self::CutLeader => {
                let leader = *random.one_of(field.leaders)?;
                let (inside, outside) = apart(field, &[leader], Vec::new());
                let outside: Vec<&str> = outside.into_iter().filter(|name| !field.is_office(name)).collect();
                (vec![leader], Means::Cut(both_ways(&inside, &outside)))
            }
            Self::Links => {
                let places = field.places();
                let between = arrows(&places, &places).into_iter().filter(|arrow| field.is_far(arrow)).collect();
                let link = Link {
                    delay: Duration::from_millis(10 + random.below(60) as u64),
                    jitter: Duration::from_millis(random.below(10) as u64),
                    loss: (1 + random.below(20)) as f64 / 1000.0,
                    ..Link::default()
                };
                (all, Means::Slow(between, link))
            }
            Self::Power => (one_or_region(random), Means::PowerCut),
            Self::PowerAll => return Some(Strike { nodes: all, means: Means::PowerCut, hold_ms: 500 }),
            Self::Rot => (vec![field.victim], Means::Rot(Rotten::Segments, 3 + random.below(10))),
            Self::RotState => (vec![field.victim], Means::Rot(Rotten::State, 1 + random.below(3))),
            Self::RotLog => (vec![field.victim], Means::Rot(Rotten::Log, 1 + random.below(3))),
            Self::Full => (vec![one], Means::Full),
            Self::SyncError => (vec![one], Means::SyncError),
            Self::SlowSync => (vec![one], Means::SlowSync { by_ms: 50 + random.below(400) as u64 }),
            Self::Clock => {
                let nodes = some(random, count, 1, 2);
                let means = clocks(random, nodes.len());
                (nodes, means)
            }
            Self::ClockAll => {
                let nodes = if random.below(2) == 0 { some(random, count, 4, 4) } else { all };
                let means = clocks(random, nodes.len());
                (nodes, means)
            }
            Self::Rolling => return Some(Strike { nodes: all, means: Means::Rolling, hold_ms: 0 }),
            Self::SetBack => (vec![field.victim], Means::SetBack),
            Self::SyncLost => (vec![field.victim], Means::SyncLost),
            Self::Members => (vec![field.victim], Means::Replaced),
        };
        Some(Strike { nodes, means, hold_ms })
    }
}

impl<'a> Field<'a> {
    fn places(&self) -> Vec<&'a str> {
        self.nodes.iter().chain(self.offices).map(|(name, _)| name.as_str()).collect()
    }

    fn is_office(&self, name: &str) -> bool {
        self.offices.iter().any(|(office, _)| office == name)
    }

    fn is_far(&self, arrow: &Arrow) -> bool {
        let region =
            |name: &str| self.nodes.iter().chain(self.offices).find(|(known, _)| known == name).map(|(_, of)| of);
        region(&arrow.from) != region(&arrow.to)
    }
}

/// These nodes with these offices, and all others.
fn apart<'a>(field: &Field<'a>, nodes: &[usize], offices: Vec<&'a str>) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut inside: Vec<&str> = nodes.iter().map(|at| field.nodes[*at].0.as_str()).collect();
    inside.extend(offices);
    let outside = field.places().into_iter().filter(|name| !inside.contains(name)).collect();
    (inside, outside)
}

/// Two sides, each with two nodes at least, offices on either; without one of the nodes, if it is to hear both.
fn halves<'a>(random: &mut Random, field: &Field<'a>, without: Option<usize>) -> (Vec<&'a str>, Vec<&'a str>) {
    let count = field.nodes.len();
    let mut order: Vec<usize> = (0..count).filter(|at| Some(*at) != without).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, random.below(at + 1));
    }
    let least = 2.min(order.len() / 2).max(1);
    let first = least + random.below((order.len() + 1 - 2 * least).max(1));
    let name = |at: &usize| field.nodes[*at].0.as_str();
    let (mut these, mut those): (Vec<&str>, Vec<&str>) =
        (order[..first].iter().map(name).collect(), order[first..].iter().map(name).collect());
    for (office, _) in field.offices {
        if random.below(2) == 0 { these.push(office) } else { those.push(office) }
    }
    (these, those)
}

/// Between `least` and `most` of so many, in order.
fn some(random: &mut Random, count: usize, least: usize, most: usize) -> Vec<usize> {
    let wanted = (least + random.below(most - least + 1)).min(count);
    let mut chosen: Vec<usize> = (0..count).collect();
    while wanted < chosen.len() {
        chosen.remove(random.below(chosen.len()));
    }
    chosen
}

/// All off by the same, each by its own, or jumping about.
fn clocks(random: &mut Random, nodes: usize) -> Means {
    let offset = |random: &mut Random| OFFSETS[random.below(OFFSETS.len())].to_owned();
    match random.below(4) {
        0 => Means::Strobe((0..4).map(|_| offset(random)).collect()),
        1 => Means::Clock((0..nodes).map(|_| offset(random)).collect()),
        _ => {
            let same = offset(random);
            Means::Clock(vec![same; nodes])
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn named(names: &[&str]) -> Vec<(String, String)> {
        let split = |name: &&str| name.split_once('@').map(|(name, region)| (name.to_owned(), region.to_owned()));
        names.iter().filter_map(split).collect()
    }

    fn plans(attack: Attack, leaders: &[usize]) -> Vec<Strike> {
        let nodes = named(&["n1@north", "e1@east", "s1@south", "n2@north", "e2@east", "s2@south"]);
        let offices = named(&["on@north", "oe@east", "os@south"]);
        let field = Field { nodes: &nodes, offices: &offices, leaders, victim: 3 };
        let mut random = Random::named(3, "attack");
        (0..50).filter_map(|_| attack.plan(&mut random, &field)).collect()
    }

    #[test]
    fn no_attack_that_ends_nodes_takes_more_than_a_region_unless_it_takes_all() {
        let region = |at: usize| at % 3;
        for attack in Attack::value_variants() {
            for strike in plans(*attack, &[4]) {
                let regions: BTreeSet<_> = strike.nodes.iter().map(|at| region(*at)).collect();
                let ends = strike.means.may_end_a_node() || strike.means == Means::Pause;
                let is_rolling = strike.means == Means::Rolling;
                assert!(!ends || is_rolling || regions.len() == 1 || attack.takes_all(), "{attack:?} {strike:?}");
                assert!(!attack.aims() || strike.nodes == [4]);
                assert!(*attack != Attack::Region || strike.nodes.len() == 2);
            }
        }
    }

    #[test]
    fn what_is_lost_for_good_is_lost_on_the_victim_only() {
        for attack in
            [Attack::Rot, Attack::RotState, Attack::RotLog, Attack::SetBack, Attack::SyncLost, Attack::Members]
        {
            assert!(plans(attack, &[4]).iter().all(|strike| strike.nodes == [3]));
        }
    }

    #[test]
    fn without_a_leader_there_is_nothing_to_aim_at() {
        assert_eq!(plans(Attack::Leader, &[]), []);
        assert_eq!(plans(Attack::CutLeader, &[]), []);
    }

    #[test]
    fn cuts_go_where_they_are_meant_to() {
        let cut = |strike: &Strike| match &strike.means {
            Means::Cut(arrows) => arrows.iter().cloned().collect::<BTreeSet<_>>(),
            other => panic!("{other:?}"),
        };
        let back = |arrow: &Arrow| Arrow { from: arrow.to.clone(), to: arrow.from.clone() };
        for strike in
            [plans(Attack::Split, &[]), plans(Attack::CutRegion, &[]), plans(Attack::CutLeader, &[4])].concat()
        {
            let cut = cut(&strike);
            assert!(!cut.is_empty() && cut.iter().all(|arrow| cut.contains(&back(arrow))), "{strike:?}");
        }
        for strike in plans(Attack::OneWay, &[]) {
            let cut = cut(&strike);
            assert!(!cut.is_empty() && cut.iter().all(|arrow| !cut.contains(&back(arrow))), "{strike:?}");
        }
        for strike in plans(Attack::Bridge, &[]) {
            let met: BTreeSet<String> = cut(&strike).into_iter().map(|arrow| arrow.from).collect();
            assert_eq!(met.iter().filter(|name| !name.starts_with('o')).count(), 5, "one hears all: {met:?}");
        }
        for strike in plans(Attack::CutLeader, &[4]) {
            assert!(cut(&strike).iter().all(|arrow| !arrow.from.starts_with('o') && !arrow.to.starts_with('o')));
        }
        for strike in plans(Attack::Split, &[]) {
            let from: BTreeSet<String> = cut(&strike).into_iter().map(|arrow| arrow.from).collect();
            assert_eq!(from.len(), 9, "everybody is on one side or the other");
        }
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for attack in Attack::value_variants() {
            assert_eq!(attack.to_possible_value().unwrap().get_name(), attack.name());
        }
    }
}
