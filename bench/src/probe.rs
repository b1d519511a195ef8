//! What an operation costs beside time: CPU of clients and nodes, memory of nodes, room on their disks.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::{procfs, space};

/// How long the disks may take to come to rest: segments are cut to size when they are idle.
const REST_PATIENCE: Duration = Duration::from_secs(3);
/// As long as this the figure must not change.
const REST: Duration = Duration::from_millis(300);

/// Which processes serve, and where they keep things.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// Processes other than the clients.
    pub pids: Vec<u32>,
    /// Directories.
    pub stores: Vec<PathBuf>,
}

/// What was there before.
pub struct Probe<'a> {
    served: &'a Served,
    clients_cpu: Duration,
    nodes_cpu: Vec<Duration>,
    allocated: u64,
}

/// What it took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// CPU time of the clients.
    pub clients_cpu: Duration,
    /// CPU time of the nodes, if there are any.
    pub nodes_cpu: Option<Duration>,
    /// The most memory that one node held meanwhile.
    pub node_peak_kib: Option<u64>,
    /// By how much the stores have grown, as allocated.
    pub disk_bytes: u64,
}

impl<'a> Probe<'a> {
    /// Looks before the operation.
    pub fn start(served: &'a Served) -> anyhow::Result<Self> {
        served.pids.iter().for_each(|pid| procfs::forget_peak(*pid));
        Ok(Self {
            served,
            allocated: allocated(served)?,
            nodes_cpu: served.pids.iter().map(|pid| procfs::cpu(*pid)).collect(),
            clients_cpu: procfs::cpu_of_ended_children(),
        })
    }

    /// Looks after it; then waits until the disks rest, which counts as no CPU time.
    pub fn finish(self) -> anyhow::Result<Spent> {
        let clients_cpu = procfs::cpu_of_ended_children().saturating_sub(self.clients_cpu);
        let now = self.served.pids.iter().map(|pid| procfs::cpu(*pid));
        let nodes_cpu = now.zip(&self.nodes_cpu).map(|(after, before)| after.saturating_sub(*before));
        let has_nodes = !self.served.pids.is_empty();
        Ok(Spent {
            clients_cpu,
            nodes_cpu: has_nodes.then(|| nodes_cpu.sum()),
            node_peak_kib: self.served.pids.iter().filter_map(|pid| procfs::peak_kib(*pid)).max(),
            disk_bytes: rested(self.served)?.saturating_sub(self.allocated),
        })
    }
}

fn allocated(served: &Served) -> anyhow::Result<u64> {
    served.stores.iter().map(|store| Ok(space::tree(store)?.allocated)).sum()
}

fn rested(served: &Served) -> anyhow::Result<u64> {
    let began = Instant::now();
    let mut last = allocated(served)?;
    loop {
        std::thread::sleep(REST);
        let now = allocated(served)?;
        if now == last || REST_PATIENCE < began.elapsed() {
            return Ok(now);
        }
        last = now;
    }
}
