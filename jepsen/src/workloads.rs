//! What clients do during the safety phase, by name.

pub mod audit;
pub mod bytes;
pub mod clock;
pub mod garbage;
pub mod lists;
pub mod locks;
pub mod once;
pub mod quota;
pub mod registers;
pub mod sets;
pub mod thief;
pub mod tickets;
pub mod trees;

use std::path::Path;

use clap::ValueEnum;

use crate::world::{self, Manners, World};

/// A kind of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Two clients per tenant back up trees that change, restore, and list.
    Trees,
    /// One client per tenant makes vaults, tries again while it does not know, and lists.
    Once,
    /// One client per tenant asks for the other tenant's snapshots.
    Thief,
    /// Two clients per tenant read, write, and compare and set.
    Registers,
    /// Two clients per tenant append to lists and read them.
    Lists,
    /// Two clients per tenant add to a set and read it.
    Sets,
    /// One client per tenant makes locks and holds, and tries to end what they keep.
    Locks,
    /// One client per tenant reads the compliance clock.
    Clock,
    /// Three clients per tenant back up where a quota ends.
    Quota,
    /// One client per tenant lists the audit log.
    Audit,
    /// Two clients per tenant have several processes make one snapshot, and read.
    Tickets,
    /// Three clients per tenant fill a quota of bytes side by side.
    Bytes,
    /// Two clients per tenant back up the same bytes and delete them; in the end all is deleted, and disks are weighed.
    Garbage,
}

type Client<'a> = Box<dyn FnOnce() -> anyhow::Result<()> + Send + 'a>;

impl Workload {
    /// Vaults that it works in, for each tenant.
    pub fn vaults(self) -> Vec<String> {
        match self {
            Self::Trees | Self::Once | Self::Thief | Self::Clock | Self::Audit => Vec::new(),
            Self::Registers => (0..registers::REGISTERS).map(registers::vault).collect(),
            Self::Lists => vec![lists::VAULT.to_owned()],
            Self::Sets => vec![sets::VAULT.to_owned()],
            Self::Locks => locks::VAULTS.iter().map(|(name, ..)| (*name).to_owned()).collect(),
            Self::Quota => vec![quota::VAULT.to_owned()],
            Self::Tickets => vec![tickets::VAULT.to_owned()],
            Self::Bytes => vec![bytes::VAULT.to_owned()],
            Self::Garbage => vec![garbage::VAULT.to_owned()],
        }
    }

    /// Laws that it is about, beside those that are always judged.
    pub fn laws(self) -> &'static [&'static str] {
        match self {
            Self::Trees | Self::Once | Self::Thief => &[],
            Self::Registers | Self::Lists | Self::Sets | Self::Tickets => &["I1"],
            Self::Locks => &["I3", "I4"],
            Self::Clock => &["I5"],
            Self::Quota | Self::Bytes => &["I9"],
            Self::Audit => &["I7"],
            Self::Garbage => &["I9", "I10"],
        }
    }

    /// Whether it may be done to somebody else's cluster, where disks cannot be weighed.
    pub fn is_for_others(self) -> bool {
        self != Self::Garbage
    }

    /// Whether it makes snapshots by `charge`, all of them with their digests.
    pub fn charges(self) -> bool {
        matches!(self, Self::Quota | Self::Bytes | Self::Garbage)
    }

    /// Its clients; each runs until the world ends.
    pub fn clients<'a>(self, world: &'a World, dir: &'a Path, seed: u64) -> Vec<Client<'a>> {
        let mut clients: Vec<Client<'a>> = Vec::new();
        for (place, tenant) in world.tenants.iter().enumerate() {
            let name = |what: &str| format!("{what}-{}", tenant.tenant);
            let manners = if self == Self::Garbage { Manners::Restless } else { Manners::Moody };
            let actor = move |name: String| world.actor(tenant, &name, dir, seed, manners);
            match self {
                Self::Trees => {
                    for number in [1, 2] {
                        let name = format!("{}-{number}", name("trees"));
                        clients.push(Box::new(move || trees::run(actor(name)?, number, seed)));
                    }
                }
                Self::Once => {
                    let name = name("once");
                    clients.push(Box::new(move || once::run(actor(name)?)));
                }
                Self::Thief => {
                    let name = name("thief");
                    clients.push(Box::new(move || thief::run(actor(name)?)));
                }
                Self::Registers => {
                    for number in [1, 2] {
                        let name = format!("{}-{number}", name("registers"));
                        let values = (place * 2 + number) as u64;
                        let profile = world.client.profile(&tenant.tenant, "admin");
                        clients.push(Box::new(move || registers::run(actor(name)?, values, profile?)));
                    }
                }
                Self::Lists => {
                    for number in [1, 2] {
                        let name = format!("{}-{number}", name("lists"));
                        clients.push(Box::new(move || lists::run(actor(name)?, number, seed)));
                    }
                }
                Self::Sets => {
                    for number in [1, 2] {
                        let name = format!("{}-{number}", name("sets"));
                        clients.push(Box::new(move || sets::run(actor(name)?, number)));
                    }
                }
                Self::Locks => {
                    let name = name("locks");
                    clients.push(Box::new(move || locks::run(actor(name)?, seed)));
                }
                Self::Clock => {
                    let name = name("clock");
                    clients.push(Box::new(move || clock::run(actor(name)?)));
                }
                Self::Quota => {
                    for number in [0, 1, 2] {
                        let name = format!("{}-{number}", name("quota"));
                        clients.push(Box::new(move || quota::run(actor(name)?, number, seed)));
                    }
                }
                Self::Audit => {
                    let name = name("audit");
                    clients.push(Box::new(move || audit::run(actor(name)?)));
                }
                Self::Tickets => {
                    for number in [1, 2] {
                        let name = format!("{}-{number}", name("tickets"));
                        clients.push(Box::new(move || tickets::run(actor(name)?, number, seed)));
                    }
                }
                Self::Garbage => {
                    for number in [1, 2] {
                        let name = format!("{}-{number}", name("garbage"));
                        clients.push(Box::new(move || garbage::run(actor(name)?, number, seed)));
                    }
                }
                Self::Bytes => {
                    for number in 0..bytes::CLIENTS {
                        let name = format!("{}-{number}", name("bytes"));
                        clients.push(Box::new(move || bytes::run(actor(name)?, number, seed)));
                    }
                }
            }
        }
        clients
    }
}

/// All vaults that these workloads need, the one of every run first.
pub fn vaults(workloads: &[Workload]) -> Vec<String> {
    let own = workloads.iter().flat_map(|workload| workload.vaults());
    std::iter::once(world::VAULT.to_owned()).chain(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_has_vaults_of_its_own() {
        let vaults = vaults(Workload::value_variants());
        let different: std::collections::BTreeSet<&String> = vaults.iter().collect();
        assert_eq!(different.len(), vaults.len(), "{vaults:?}");
        assert_eq!(vaults[0], world::VAULT);
    }
}
