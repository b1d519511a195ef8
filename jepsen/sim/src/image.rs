//! One crash image: which store, from which seed, and what came of it.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use crate::finding::{Broken, Finding};
use crate::lies::Lie;
use crate::world::World;
use crate::{append, chunks, log, snapshot, state};

/// What is crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Store {
    /// Records in numbered append-only files.
    Append,
    /// The shared log of several groups.
    Log,
    /// The states of several groups over the shared log: checkpoints, snapshots, purges.
    State,
    /// Raft snapshots from another replica.
    Snapshot,
    /// Segments and the chunk index.
    Chunks,
}

impl Store {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Append, Self::Log, Self::State, Self::Snapshot, Self::Chunks];

    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Log => "log",
            Self::State => "state",
            Self::Snapshot => "snapshot",
            Self::Chunks => "chunks",
        }
    }
}

impl FromStr for Store {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|store| store.name() == name).ok_or_else(|| format!("not one of {}", known()))
    }
}

impl fmt::Display for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What came of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What was crashed.
    pub store: Store,
    /// What everything followed from.
    pub seed: u64,
    /// How many recoveries were cut off by another loss of power.
    pub second_crashes: u32,
    /// A hash over the disk as each crash left it, where it was asked for.
    pub fingerprint: Option<[u8; 32]>,
    /// The promise that was broken, if one was.
    pub finding: Option<Finding>,
    /// What happened to the machine, in one line.
    pub story: String,
}

impl Image {
    /// Makes the image of this seed and judges it.
    pub fn make(store: Store, seed: u64, lie: Lie) -> Self {
        Self::run(store, seed, lie, false)
    }

    /// As `make`, with a hash over what each crash left on the disk.
    pub fn make_with_fingerprint(store: Store, seed: u64, lie: Lie) -> Self {
        Self::run(store, seed, lie, true)
    }

    fn run(store: Store, seed: u64, lie: Lie, is_traced: bool) -> Self {
        let mut world = World::new(seed, lie);
        world.fingerprints = is_traced.then(blake3::Hasher::new);
        let run = match store {
            Store::Append => append::image,
            Store::Log => log::image,
            Store::State => state::image,
            Store::Snapshot => snapshot::image,
            Store::Chunks => chunks::image,
        };
        let finding = match catch_unwind(AssertUnwindSafe(|| run(&mut world))) {
            Ok(judged) => judged.err(),
            Err(panic) => Some(Finding::new(Broken::Panic, said(&*panic))),
        };
        Self {
            store,
            seed,
            second_crashes: world.second_crashes,
            fingerprint: world.fingerprints.as_ref().map(|hasher| *hasher.finalize().as_bytes()),
            finding,
            story: world.story(),
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    words.unwrap_or("a panic without words").to_owned()
}
