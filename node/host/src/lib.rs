//! What a machine gives to a node: files, clocks, random bytes, threads and connections, real or simulated.
//!
//! Everything above this package asks a [`Host`] and never the operating system, so that a whole cluster can run in one
//! seeded process with disks that lose, tear and garble what was not synced.
//!
//! ```text
//!   clock        wall, raw monotonic, boot time          real │ settable
//!   entropy      random bytes                            real │ from a seed
//!   lanes        closures in order, off the async runtime real │ on the runtime, at seeded moments
//!   files        a file system, direct I/O where it goes real │ SimDisk
//!   connections  TCP streams                             real
//!
//!   log::AppendLog    records in numbered files          ┐
//!   append::AppendFile  aligned, preallocated, poisoned  ┘ stand on files
//! ```
//!
//! **Blocking file calls are made from lanes only.** Nothing in [`files`], [`append`] and [`log`] is async; each call
//! may take as long as the disk does.
//!
//! Not here: what is written (the packages above), TLS (`node/identity`), timers and tasks (tokio's own; a simulation
//! replaces the runtime).

pub mod aligned;
pub mod append;
pub mod clock;
pub mod connections;
pub mod disk;
pub mod entropy;
pub mod files;
pub mod lane;
pub mod log;
mod record;
mod seeded;
pub mod sim_disk;
pub mod window;

use std::sync::Arc;

use clock::{Clock, RealClock, SimClock};
use connections::{Connections, Tcp};
use disk::Disk;
use entropy::{Entropy, KernelEntropy, SeededEntropy};
use files::Files;
use lane::{Lane, Lanes, SeededLanes, ThreadLanes};
use sim_disk::SimDisk;

/// One machine, as far as a node needs it. Cloning it gives the same machine.
#[derive(Clone, Debug)]
pub struct Host {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    lanes: Arc<dyn Lanes>,
    files: Arc<dyn Files>,
    connections: Arc<dyn Connections>,
}

impl Host {
    /// The machine that this process runs on.
    pub fn real() -> Self {
        Self {
            clock: Arc::new(RealClock),
            entropy: Arc::new(KernelEntropy),
            lanes: Arc::new(ThreadLanes),
            files: Arc::new(Disk),
            connections: Arc::new(Tcp),
        }
    }

    /// A machine whose random bytes, disk, clock and order of lanes follow from `seed` and from what a test does to
    /// `disk` and `clock`. Connections are real ones until the simulated network exists.
    pub fn simulated(seed: u64, disk: SimDisk, clock: SimClock) -> Self {
        Self {
            clock: Arc::new(clock),
            entropy: Arc::new(SeededEntropy::new(seed)),
            lanes: Arc::new(SeededLanes::new(seed)),
            files: Arc::new(disk),
            connections: Arc::new(Tcp),
        }
    }

    /// The same machine with other files: a real clock over a simulated disk, say.
    pub fn with_files(mut self, files: Arc<dyn Files>) -> Self {
        self.files = files;
        self
    }

    /// The same machine with another clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Wall, raw monotonic and boot-time clocks.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Random bytes.
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }

    /// The file system. Its calls block: make them from a lane.
    pub fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    /// Listening and connecting.
    pub fn connections(&self) -> &dyn Connections {
        &*self.connections
    }

    /// Starts a lane: closures given to it run one after another, off the async runtime. It ends when the last clone of
    /// the returned value is dropped and what was queued has run. `name` is what the thread is called.
    ///
    /// On a simulated host this needs a tokio runtime around it.
    pub fn lane(&self, name: &str) -> Lane {
        Lane::start(&*self.lanes, name)
    }
}
