//! What clients do during the safety phase, by name.

pub mod once;
pub mod thief;
pub mod trees;

use std::path::Path;

use clap::ValueEnum;

use crate::world::{Manners, World};

/// A kind of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Two clients per tenant back up trees that change, restore, and list.
    Trees,
    /// One client per tenant makes vaults and tries again while it does not know.
    Once,
    /// One client per tenant asks for the other tenant's snapshots.
    Thief,
}

type Client<'a> = Box<dyn FnOnce() -> anyhow::Result<()> + Send + 'a>;

impl Workload {
    /// Its clients; each runs until the world ends.
    pub fn clients<'a>(self, world: &'a World, dir: &'a Path, seed: u64) -> Vec<Client<'a>> {
        let mut clients: Vec<Client<'a>> = Vec::new();
        for tenant in &world.tenants {
            let name = |what: &str| format!("{what}-{}", tenant.tenant);
            let actor = move |name: String| world.actor(tenant, &name, dir, seed, Manners::Moody);
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
            }
        }
        clients
    }
}
