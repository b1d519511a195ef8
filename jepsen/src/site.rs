//! Where a cluster runs: a network namespace for each node, one for the clients of each region and one for the harness,
//! wall clocks and disks of the nodes; as much of it as this host has.
//!
//! ```text
//!   office-north ─┐                  ┌─ north-1 (node, its disk, its wall clock)
//!   office-east  ─┼──── switch ──────┼─ east-1 …
//!   desk ─────────┘  (links cut,     └─ south-2
//!                     slowed, lost)
//! ```
//!
//! The desk is the harness's: its links are never touched, so that it sees what becomes of every node. Without namespaces
//! everything is on loopback, as `strongroomd dev` has it. Not here: processes (`cluster.rs`), attacks.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::needs::{self, Need};
use crate::network::plan::{self, Plan};
use crate::network::{Network, proof};
use crate::strike::Arrow;
use crate::switch::link::{Counted, Link};
use crate::wallclock::WallClocks;

/// Regions of `strongroomd dev`, in its order.
const REGIONS: [&str; 3] = ["north", "east", "south"];
/// How many nodes there are.
pub const NODES: usize = 6;
/// The network's name on this host.
const NETWORK: &str = "box";
/// The harness's own machine, which has a region to itself.
const DESK: &str = "desk";
const DESK_REGION: &str = "harness";

/// Where the cluster runs.
pub struct Site {
    network: Option<Network>,
    /// Wall clocks of the nodes, if they can be set.
    pub clocks: Option<WallClocks>,
    /// Names and regions of the machines of clients; empty without a network.
    pub offices: Vec<(String, String)>,
    between_regions: Link,
}

impl Site {
    /// Sets up what this run needs and this host has. `has` says what it has.
    pub fn set_up(dir: &Path, seed: u64, has: &[Need], delay: Duration) -> anyhow::Result<Self> {
        let clocks = match needs::faketime().filter(|_| has.contains(&Need::Clock)) {
            Some(library) => Some(WallClocks::new(&dir.join("clocks"), &library, &node_names())?),
            None => None,
        };
        let between_regions = Link { delay, ..Link::default() };
        if !has.contains(&Need::Network) {
            return Ok(Self { network: None, clocks, offices: Vec::new(), between_regions });
        }
        let offices: Vec<(String, String)> =
            REGIONS.iter().map(|region| (format!("office-{region}"), (*region).to_owned())).collect();
        let nodes = node_names().into_iter().enumerate().map(|(at, name)| format!("{name}@{}", region_of(at)));
        let texts = nodes
            .chain(offices.iter().map(|(name, region)| format!("{name}@{region}")))
            .chain([format!("{DESK}@{DESK_REGION}")]);
        let machines = plan::machines(&texts.collect::<Vec<_>>())?;
        let network = Network::up(Plan { name: NETWORK.to_owned(), seed, machines, between_regions })?;
        proof::prove(&network).context("the machines' links are not as they should be")?;
        let site = Self { network: Some(network), clocks, offices, between_regions };
        // The desk's own links are as short as can be: it is nobody's region.
        site.set_desk(Link::default());
        Ok(site)
    }

    /// This thread, and what it starts, sits at the harness's desk from now on.
    pub fn enter_desk(&self) -> anyhow::Result<()> {
        self.enter(DESK)
    }

    /// This thread, and what it starts, is in an office from now on; offices are given in turn.
    pub fn enter_office(&self, number: usize) -> anyhow::Result<()> {
        match self.offices.get(number % self.offices.len().max(1)) {
            Some((office, _)) => self.enter(office),
            None => Ok(()),
        }
    }

    fn enter(&self, machine: &str) -> anyhow::Result<()> {
        self.network.as_ref().map_or(Ok(()), |network| network.enter(machine))
    }

    /// The addresses of the nodes, in order; none without a network.
    pub fn addresses(&self) -> anyhow::Result<Vec<IpAddr>> {
        let Some(network) = &self.network else { return Ok(Vec::new()) };
        node_names().iter().map(|name| Ok(IpAddr::V4(network.machine(name)?.address))).collect()
    }

    /// The words in front of a node's command; `{node}` stands for its name.
    pub fn before(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(network) = &self.network {
            words.push("/usr/bin/nsenter".to_owned());
            words.push(format!("--net=/run/netns/{}", network.namespace("{node}")));
            words.push("--".to_owned());
        }
        words.extend(self.clocks.iter().flat_map(WallClocks::words));
        words
    }

    /// Changes links, each in its direction.
    pub fn set(&self, arrows: &[Arrow], link: Link) {
        let Some(network) = &self.network else { return };
        for Arrow { from, to } in arrows {
            network.switch().set(from, to, |_| link);
        }
    }

    /// All links as they were at first.
    pub fn heal(&self) {
        let Some(network) = &self.network else { return };
        for machine in &network.plan().machines {
            network.switch().set(&machine.name, &machine.region, |_| Link::default());
            network.switch().set(&machine.region, &machine.name, |_| Link::default());
        }
        network.switch().set_between_regions(self.between_regions);
        self.set_desk(Link::default());
    }

    fn set_desk(&self, link: Link) {
        let Some(network) = &self.network else { return };
        for machine in &network.plan().machines {
            network.switch().set(DESK, &machine.name, |_| link);
            network.switch().set(&machine.name, DESK, |_| link);
        }
    }

    /// What happened on these links since the network was made.
    pub fn counted(&self, arrows: &[Arrow]) -> Counted {
        let Some(network) = &self.network else { return Counted::default() };
        let directions = network.switch().directions();
        let meant = directions.iter().filter(|direction| {
            arrows.iter().any(|arrow| arrow.from == direction.from.machine && arrow.to == direction.to.machine)
        });
        meant.fold(Counted::default(), |sum, direction| sum.and(direction.counted))
    }
}

/// The region of a node of `strongroomd dev`, by its place.
fn region_of(at: usize) -> &'static str {
    REGIONS[at % REGIONS.len()]
}

/// The names that `strongroomd dev` gives its nodes.
pub fn node_names() -> Vec<String> {
    (0..NODES).map(|at| format!("{}-{}", region_of(at), at / REGIONS.len() + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_named_as_dev_names_them() {
        assert_eq!(node_names(), ["north-1", "east-1", "south-1", "north-2", "east-2", "south-2"]);
    }

    #[test]
    fn without_anything_nodes_are_on_loopback() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::set_up(dir.path(), 1, &[], Duration::ZERO).unwrap();
        assert!(site.addresses().unwrap().is_empty() && site.before().is_empty() && site.offices.is_empty());
        site.enter_desk().unwrap();
        site.enter_office(5).unwrap();
    }
}
