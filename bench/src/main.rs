//! `strongroom-bench`: how fast and how frugal, measured from outside.
//!
//! ```text
//!   plan ──▶ shapes (generated, not timed) ──▶ contest ──▶ report (a table for people, one JSON object for scripts)
//!                                               │
//!                     strongroom on a dev cluster, restic and borg if installed; each an own process, each restore compared
//! ```
//!
//! It knows the product only by its contracts: `strongroomd dev`, the profiles, the command line, `/metrics`, the SDK. So
//! what it measures is what a user gets, process start and TLS handshakes included.
//!
//! Not here: benchmarks of single functions.

mod application;
mod binaries;
mod borg;
mod catch_up;
mod child;
mod chunks;
mod cluster;
mod collect;
mod compare;
mod content;
mod contest;
mod contestant;
mod ground;
mod idle;
mod interrupt;
mod interrupted;
mod live;
mod machine;
mod memory;
mod plan;
mod postgres;
mod probe;
mod procfs;
mod report;
mod restic;
mod rolling;
mod rustic;
mod shapes;
mod space;
mod trips;
mod vault;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::idle::Timing;
use crate::plan::Plan;

#[derive(Parser)]
#[command(
    name = "strongroom-bench",
    version,
    about = "Measure a client and six nodes on this machine",
    after_help = "Both programs are built first (cargo build --release); set STRONGROOM_BIN_DIR to take ready ones.\n\
        Data is made below --dir and removed at the end. A table goes to stdout; with --json one object instead."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// One JSON object on stdout instead of the table.
    #[arg(long, global = true)]
    json: bool,
    /// Where data, cluster and restores lie meanwhile; by default Cargo's target directory. A disk, not a tmpfs:
    /// nodes sync what they write.
    #[arg(long, global = true, env = "STRONGROOM_BENCH_DIR")]
    dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// One file of 2 GiB, 40 000 source files, small snapshots by 1 and 16 clients, kills of the leader: two minutes, more
    /// where restic, borg or rustic is installed. Fails if a restore differs, or if much more is sent than changed.
    Quick {
        /// Only these, by the names in the table: random-2g, sdk-4k.
        only: Vec<String>,
    },
    /// All shapes, with 1 and with 16 clients: about ten minutes, more where restic, borg or rustic is
    /// installed.
    Full {
        /// Only these, by the names in the table: dump-2g, random-128m-x16.
        only: Vec<String>,
    },
    /// 100 000 files, then one file of 1 and one of 4 GiB: what client and nodes hold. Fails if it is more than promised.
    Memory,
    /// A client is killed again and again while it backs up, and while it restores. Fails if what was done is done again.
    Interrupted {
        /// Of bytes that do not compress.
        #[arg(long, default_value_t = 2.0)]
        gib: f64,
        /// How often, each.
        #[arg(long, default_value_t = 20)]
        kills: u32,
        /// Decides when.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Nodes are killed and started again, one after another, while a client backs up, and while it restores. Fails if it
    /// does, or if the restore differs.
    Rolling {
        /// Of bytes that do not compress: enough that each node's turn comes.
        #[arg(long, default_value_t = 4.0)]
        gib: f64,
    },
    /// Very many small files, a sparse file, a directory that lives, a database: there and back. Fails if one differs.
    Trips {
        /// Only these: files, sparse, live, postgres. The last wants `apt-get install postgresql`.
        only: Vec<String>,
    },
    /// Very many chunks in ten snapshots: whether memory grows with them. Fails if it does.
    Chunks {
        /// How many. A million take about 25 minutes and 42 GB of disk meanwhile.
        #[arg(long, default_value_t = 1_000_000)]
        count: u64,
    },
    /// A snapshot of very many chunks ends, twice: how fast its references are collected, what one costs a member, and how
    /// long small snapshots of another tenant take beside it. Fails if not every chunk's row goes.
    Collect {
        /// How many chunks, each time.
        #[arg(long, default_value_t = 40_000)]
        count: u64,
    },
    /// One of six nodes is away while much is written, and comes back under load: how long until it has caught up by
    /// Raft snapshots. Fails if it did not, or if states or a restore differ.
    CatchUp {
        /// So much is acknowledged while it is away. Ten take some minutes and 30 GB of disk meanwhile.
        #[arg(long, default_value_t = 10.0)]
        gib: f64,
        /// Clients at once.
        #[arg(long, default_value_t = 4)]
        clients: u32,
    },
    /// Six nodes with many groups and nothing to do: what that costs.
    Idle {
        /// How many groups, the cluster's own among them; a node serves 200.
        #[arg(long, default_value_t = 100)]
        groups: u32,
        /// The nodes' timing profile: `lan` beats five times a second, `wan` twice and is for regions apart.
        #[arg(long, value_enum, default_value_t = Timing::Lan)]
        timing: Timing,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let dir = arguments.dir.as_deref();
    let done = match arguments.command {
        Command::Quick { only } => Plan::quick().only(&only).and_then(|plan| contest(&plan, dir, arguments.json)),
        Command::Full { only } => Plan::full().only(&only).and_then(|plan| contest(&plan, dir, arguments.json)),
        Command::Idle { groups, timing } => idle::run(groups, timing, dir, arguments.json),
        Command::Chunks { count } => chunks::run(count, dir, arguments.json),
        Command::Collect { count } => collect::run(count, dir, arguments.json),
        Command::Memory => memory::run(dir, arguments.json),
        Command::Interrupted { gib, kills, seed } => interrupted::run(gib, kills, seed, dir, arguments.json),
        Command::Rolling { gib } => rolling::run(gib, dir, arguments.json),
        Command::Trips { only } => trips::run(&only, dir, arguments.json),
        Command::CatchUp { gib, clients } => catch_up::run(gib, clients, dir, arguments.json),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("strongroom-bench: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn contest(plan: &Plan, dir: Option<&Path>, is_json: bool) -> anyhow::Result<bool> {
    let report = contest::run(plan, dir)?;
    if is_json {
        println!("{}", report.json());
    } else {
        print!("{}", report.table());
    }
    Ok(true)
}
