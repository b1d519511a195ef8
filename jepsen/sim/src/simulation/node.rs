//! One simulated machine: its disk, its clocks, and the lives of its process, each a runtime of its own whose time the
//! simulation lets pass.
//!
//! ```text
//!   start ─▶ runtime (paused time, seeded) ─▶ the node, put together as `strongroomd` does it ─▶ listens
//!   until(t) runs all that is due before t   │   kill: tasks gone, what was written stays in the cache
//!                                            └   power cut: tasks gone, of what was not synced what the seed says
//! ```
//!
//! Promises: a process that ended has no task left; what it answers it answers through the same code as a node does
//! (`node/service`, `carry.rs`); nothing here runs but inside [`Machine::until`].
//! Not here: the node's wiring (`life.rs`), the network (`wires.rs`).

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use strongroom_host::sim_disk::SimDisk;
use tokio::runtime::{Builder, RngSeed, Runtime};

use crate::dice::Dice;
use crate::simulation::clocks::{Hands, Now};
use crate::simulation::life::{self, Door, Shared, World};
use crate::simulation::wires::{Load, Parcel, Said, Station};

/// See the head of the file.
pub(crate) struct Machine {
    world: Arc<World>,
    station: Station,
    disk: SimDisk,
    hands: Hands,
    dice: Dice,
    lives: u64,
    life: Option<Life>,
    /// Its process stands still: time will have passed when it goes on.
    is_paused: bool,
}

struct Life {
    runtime: Runtime,
    now: Now,
    shared: Arc<Shared>,
}

impl Machine {
    /// A machine that is off.
    pub(crate) fn new(world: Arc<World>, station: Station, hands: Hands) -> Self {
        let dice = Dice::named(world.seed, 100 + station as u64);
        let disk = SimDisk::new();
        Self { world, station, disk, hands, dice, lives: 0, life: None, is_paused: false }
    }

    /// Its clocks.
    pub(crate) fn hands(&self) -> &Hands {
        &self.hands
    }

    /// Its disk.
    pub(crate) fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Whether a process runs.
    pub(crate) fn is_up(&self) -> bool {
        self.life.is_some()
    }

    /// What the process shows from inside, while one runs.
    pub(crate) fn shared(&self) -> Option<&Arc<Shared>> {
        self.life.as_ref().map(|life| &life.shared)
    }

    /// Starts a process.
    pub(crate) fn start(&mut self, at_ms: u64) {
        if self.life.is_some() {
            return;
        }
        self.lives += 1;
        let seed = self.dice.next();
        let runtime = paused(seed);
        let now = runtime.block_on(async { Now::begin(at_ms) });
        let shared = Arc::new(Shared::default());
        let setup = life::Setup {
            world: Arc::clone(&self.world),
            station: self.station,
            life: self.lives,
            seed,
            disk: self.disk.clone(),
            clock: self.hands.seen(now),
            now,
            shared: Arc::clone(&shared),
        };
        self.world.wires.up(self.station, self.lives);
        runtime.spawn(life::live(setup));
        self.life = Some(Life { runtime, now, shared });
        self.is_paused = false;
    }

    /// Lets the process run up to a moment; why it ended by itself, if it did.
    pub(crate) fn until(&mut self, until_ms: u64) -> Option<String> {
        let parcels = match self.is_paused {
            false => self.world.wires.arriving(self.station, until_ms),
            true => return None,
        };
        let life = self.life.as_ref()?;
        for parcel in parcels {
            life.runtime.spawn(deliver(
                Arc::clone(&self.world),
                self.station,
                life.now,
                Arc::clone(&life.shared),
                parcel,
            ));
        }
        let until = life.now.at(until_ms);
        life.runtime.block_on(async move { tokio::time::sleep_until(until).await });
        life.shared.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does something inside the process that takes no time.
    ///
    /// # Panics
    ///
    /// If no process runs.
    pub(crate) fn inside<T>(&self, work: impl Future<Output = T>) -> T {
        self.life.as_ref().expect("whoever looks inside has seen it run").runtime.block_on(work)
    }

    /// The process stands still, as a stopped one does.
    pub(crate) fn pause(&mut self) {
        self.is_paused = self.life.is_some();
    }

    /// It goes on: for its timers all the time passes at once.
    pub(crate) fn resume(&mut self, at_ms: u64) {
        if let Some(life) = self.life.as_ref().filter(|_| self.is_paused) {
            life.runtime.block_on(async {
                let behind = Duration::from_millis(at_ms.saturating_sub(life.now.ms()));
                tokio::time::advance(behind).await;
            });
        }
        self.is_paused = false;
    }

    /// The process is killed, or ends itself; the machine runs on.
    pub(crate) fn kill(&mut self, at_ms: u64) {
        self.disk.kill();
        self.end(at_ms, true);
    }

    /// Power is cut.
    pub(crate) fn cut_power(&mut self, at_ms: u64) {
        // from now on nothing reaches the disk, whatever destructors do
        self.disk.cut_power_after(0);
        self.end(at_ms, false);
        self.disk.crash(self.dice.next());
        self.hands.reboot(at_ms);
    }

    /// Power is cut, and another disk is put in.
    pub(crate) fn wipe(&mut self, at_ms: u64) {
        self.cut_power(at_ms);
        self.disk = SimDisk::new();
    }

    fn end(&mut self, at_ms: u64, tells: bool) {
        self.world.wires.down(at_ms, self.station, tells);
        self.is_paused = false;
        if let Some(life) = self.life.take() {
            drop(life.runtime);
        }
    }
}

/// A runtime whose time stands unless all its tasks wait for it, and whose choices follow from a seed.
pub(crate) fn paused(seed: u64) -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
        .build()
        .expect("a runtime without I/O asks the system for nothing")
}

async fn deliver(world: Arc<World>, station: Station, now: Now, shared: Arc<Shared>, parcel: Parcel) {
    tokio::time::sleep_until(now.at(parcel.at_ms)).await;
    let Parcel { from, number, load, .. } = parcel;
    let ask = match load {
        Load::Said(said) => return world.wires.hand_over(number, said),
        Load::Ask(ask) => ask,
    };
    let door: Option<Arc<Door>> = shared.door.get().cloned();
    let said = match door {
        Some(door) => door.answer(&world, now, from, ask).await,
        None => Said::Refused,
    };
    world.wires.answer(now.ms(), station, from, number, said);
}
