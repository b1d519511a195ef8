//! Which machines there are to be: names, regions, addresses.
//!
//! `NAME@REGION` gives a machine 10.77.R.N/16: R counts regions from 1 in the order of their first machine, N counts the
//! region's machines from 10 in tens. So a page can name addresses and a run has the same.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::switch::link::Link;

/// So many machines at most: more than two cores can carry.
const MACHINES_MAX: usize = 24;
/// The network that all machines are in.
pub const PREFIX_BITS: u8 = 16;

/// Where networks have their directories and locks; it goes with the machine's uptime, as namespaces do.
pub const RUN: &str = "/run/strongroom-jepsen";

/// A network to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name on this host.
    pub name: String,
    /// What the fates of frames follow from.
    pub seed: u64,
    /// Its machines.
    pub machines: Vec<MachinePlan>,
    /// How links between regions behave at first.
    pub between_regions: Link,
}

/// A machine to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachinePlan {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its address.
    pub address: Ipv4Addr,
}

/// Reads `one@west,two@east`.
pub fn machines(texts: &[String]) -> anyhow::Result<Vec<MachinePlan>> {
    ensure!(!texts.is_empty(), "a network needs a machine");
    ensure!(texts.len() <= MACHINES_MAX, "{MACHINES_MAX} machines at most");
    let mut regions: Vec<(String, u8)> = Vec::new();
    let mut machines: Vec<MachinePlan> = Vec::new();
    for text in texts {
        let (name, region) = text.split_once('@').with_context(|| format!("`{text}` is not NAME@REGION"))?;
        require_name(name)?;
        require_name(region)?;
        let names = |other: &str| machines.iter().any(|machine| machine.name == other);
        let is_new = name != region && !names(name) && !names(region) && regions.iter().all(|(known, _)| known != name);
        ensure!(is_new, "`{name}@{region}`: each machine and region has a name of its own");
        let at = regions.iter().position(|(known, _)| known == region).unwrap_or_else(|| {
            regions.push((region.to_owned(), 0));
            regions.len() - 1
        });
        regions[at].1 += 1;
        let address = Ipv4Addr::new(10, 77, u8::try_from(at)? + 1, regions[at].1 * 10);
        machines.push(MachinePlan { name: name.to_owned(), region: region.to_owned(), address });
    }
    Ok(machines)
}

/// The directory of a network.
pub fn dir_of(network: &str) -> PathBuf {
    Path::new(RUN).join(network)
}

/// The namespace of a machine.
pub fn namespace(network: &str, machine: &str) -> String {
    format!("strongroom.{network}.{machine}")
}

/// The file of a machine's namespace.
pub fn namespace_file(network: &str, machine: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace(network, machine))
}

/// Names stand in file names and command lines.
pub fn require_name(name: &str) -> anyhow::Result<()> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = (1..=24).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('-');
    ensure!(good, "`{name}` is no name: 1 to 24 of a-z, 0-9 and -");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Vec<MachinePlan>> {
        machines(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn addresses_follow_from_region_and_place() {
        let machines = read("one@eu-west,two@eu-central,office@eu-west").unwrap();
        let addresses: Vec<String> = machines.iter().map(|machine| machine.address.to_string()).collect();
        assert_eq!(addresses, ["10.77.1.10", "10.77.2.10", "10.77.1.20"]);
    }

    #[test]
    fn a_name_that_means_two_things_or_leaves_its_place_is_refused() {
        for text in ["", "one", "one@", "@west", "one@west,one@east", "west@west", "one@a,a@b", "a@b,c@a", "../x@west"]
        {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read(&vec!["m@r"; 25].join(",")).is_err());
    }
}
