//! `strongroom-jepsen`: attacks a real cluster from outside and judges what it answered.
//!
//! ```text
//!   run ──▶ dev cluster ──▶ safety phase: workloads ∥ attacks ──▶ healed, liveness phase ──▶ cluster ends, scans
//!                                   │                                    │                        │
//!                                   ▼                                    ▼                        ▼
//!                               history (JSON Lines: invocations, answers, faults, scans) ──▶ judges ──▶ verdicts
//! ```
//!
//! It knows the product only by its contracts: `strongroomd dev`, the profiles, the command line. A judge is a pure
//! function over the history; `judge FILE` runs them again. A run proves nothing unless its faults took effect and
//! something succeeded meanwhile: then it fails, whatever the laws say.
//!
//! `crash-images` and `sim` are other things: one store at a time on a simulated disk, and whole clusters on simulated
//! machines, in this process (`jepsen/sim`). So is `mutants`: it plants bugs in a copy of the tree and asks whether the suite
//! sees them.

mod attack;
mod binaries;
mod calls;
mod canary;
mod client;
mod cluster;
mod disk;
mod enclosed;
mod exports;
mod force;
mod grower;
mod history;
mod html;
mod images;
mod judges;
mod machine;
mod measure;
mod mutants;
mod needs;
mod nemesis;
mod network;
mod page;
mod process;
mod random;
mod report;
mod rot;
mod run;
mod scan;
mod sims;
mod site;
mod strike;
mod switch;
mod three_machines;
mod tracer;
mod tree;
mod verdict;
mod wallclock;
mod words;
mod workloads;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};

use strongroom_sim::image::Store;

use crate::attack::Attack;
use crate::network::commands::{LinkFlags, NetworkCommand};
use crate::run::Campaign;
use crate::three_machines::Following;
use crate::workloads::Workload;

#[derive(Parser)]
#[command(
    name = "strongroom-jepsen",
    version,
    about = "Attack a Strongroom cluster and judge its answers",
    after_help = "Both programs are built first (cargo build --release); set STRONGROOM_BIN_DIR to take ready ones.\n\
        The last line on stdout is the result as JSON; 0 only if every law passes."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run real processes, kill and pause them, restore everything that was acknowledged, judge.
    Run {
        /// How long the attacks go on; healing and restoring come on top.
        #[arg(long, default_value_t = 5.0)]
        minutes: f64,
        /// What all choices follow from; by default another one each time. Timing is real, so it is no exact replay.
        #[arg(long)]
        seed: Option<u64>,
        /// What clients do; by default everything.
        #[arg(long, value_enum, value_delimiter = ',')]
        workload: Vec<Workload>,
        /// What is done to the cluster; by default everything.
        #[arg(long, value_enum, value_delimiter = ',')]
        attack: Vec<Attack>,
        /// Somebody else's cluster instead of one of our own: a file like the `dev.json` of `strongroomd dev`.
        #[arg(long, value_name = "FILE")]
        cluster: Option<PathBuf>,
        /// Called with kill, start, pause, resume, cut or heal and a node's name; does that, and ends with 0 when it is done.
        #[arg(long, value_name = "PROGRAM", requires = "cluster")]
        hook: Option<PathBuf>,
        /// How long a frame takes between regions, in one direction; only where nodes have machines of their own.
        #[arg(long, default_value_t = 2)]
        delay_ms: u64,
        /// Where runs are kept; by default `jepsen` in Cargo's target directory.
        #[arg(long, env = "STRONGROOM_JEPSEN_DIR")]
        dir: Option<PathBuf>,
        /// Keep the cluster's data also when every law passes.
        #[arg(long)]
        keep: bool,
    },
    /// Crash the node's stores on a simulated disk, at seeded moments, and open what is left. No cluster runs.
    CrashImages {
        /// How many images.
        images: u64,
        /// The first image's seed; the next has the next number. A failing image comes again from its own.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// What is crashed: append, log, state, snapshot, chunks; by default all in turn.
        #[arg(long, value_delimiter = ',')]
        store: Vec<Store>,
    },
    /// Plant bugs in a copy of the tree, one after the other, and see which of them the suite catches.
    Mutants(mutants::Options),
    /// Run whole clusters in this process, with simulated disks, networks and clocks; the same seed is the same run.
    Sim {
        /// How many seeds.
        #[arg(long, default_value_t = 100)]
        seeds: u64,
        /// The first seed; the next has the next number.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Run each seed twice and compare the traces.
        #[arg(long)]
        check_replay: bool,
        /// Take faults away from this failing seed as long as it fails, and tell what is left.
        #[arg(long, conflicts_with_all = ["seeds", "from", "check_replay", "tell"])]
        shrink: Option<u64>,
        /// Run this seed alone and tell its whole story.
        #[arg(long, conflicts_with_all = ["seeds", "from", "check_replay"])]
        tell: Option<u64>,
        /// How many seeds run at once; by default as many as there are cores.
        #[arg(long)]
        threads: Option<usize>,
    },
    /// Judge a history again.
    Judge {
        /// A `history.jsonl`.
        history: PathBuf,
        /// Write the page for a browser here, too.
        #[arg(long)]
        html: Option<PathBuf>,
    },
    /// Write a history in the forms of other checkers.
    #[command(group = clap::ArgGroup::new("form").required(true).multiple(true))]
    Export {
        /// A `history.jsonl`.
        history: PathBuf,
        /// Jepsen's history, one EDN map a line.
        #[arg(long, group = "form")]
        edn: Option<PathBuf>,
        /// Porcupine's operations, a JSON array.
        #[arg(long, group = "form")]
        porcupine: Option<PathBuf>,
    },
    /// Machines on this host: a network namespace each, and a switch with delays, losses and cuts between them. Root.
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Follow deploy/three-machines.md to the letter, with namespaces as machines. Root.
    ThreeMachines {
        /// How links between regions behave; delays and jitter count for one direction.
        #[command(flatten)]
        between_regions: LinkFlags,
        /// Raft's timing; by default `wan` where there is a delay: then what the page has for regions far apart is typed.
        #[arg(long, value_enum)]
        timing: Option<Timing>,
        /// What the fates of frames and the bytes of the load follow from.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// After the page: count elections for so many seconds while nothing is asked.
        #[arg(long, default_value_t = 0)]
        idle_s: u64,
        /// After that: back up and restore so many MiB of random bytes, and count elections.
        #[arg(long, default_value_t = 0)]
        load_mib: usize,
        /// Another page than the repository's.
        #[arg(long)]
        page: Option<PathBuf>,
        /// Keep the machines' directories also if all went well.
        #[arg(long)]
        keep: bool,
    },
}

/// Raft's timing profiles, as in `node.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Timing {
    /// What the page has for regions far apart is left out.
    Lan,
    /// It is typed.
    Wan,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run { minutes, seed, workload, attack, cluster, hook, delay_ms, dir, keep } => {
            let is_own = cluster.is_none();
            let all: Vec<Workload> =
                Workload::value_variants().iter().copied().filter(|one| is_own || one.is_for_others()).collect();
            let campaign = Campaign {
                minutes,
                seed: seed.unwrap_or_else(fresh_seed),
                workloads: if workload.is_empty() { all } else { workload },
                attacks: if attack.is_empty() { Attack::value_variants().to_vec() } else { attack },
                delay: Duration::from_millis(delay_ms),
                cluster,
                hook,
                dir,
                keep,
            };
            run::run(&campaign)
        }
        Command::CrashImages { images, seed, store } => images::run(images, seed, store),
        Command::Mutants(options) => mutants::run(&options),
        Command::Judge { history, html } => judge(&history, html.as_deref()),
        Command::Export { history, edn, porcupine } => export(&history, edn.as_deref(), porcupine.as_deref()),
        Command::Sim { shrink: Some(seed), .. } => Ok(sims::shrink(seed)),
        Command::Sim { tell: Some(seed), .. } => Ok(sims::tell(seed)),
        Command::Sim { seeds, from, check_replay, threads, .. } => sims::run(seeds, from, check_replay, threads),
        Command::Network(command) => network::commands::run(&command),
        Command::ThreeMachines { between_regions, timing, seed, idle_s, load_mib, page, keep } => {
            between_regions.link().and_then(|between_regions| {
                let is_wan = timing.map_or(!between_regions.delay.is_zero(), |timing| timing == Timing::Wan);
                let idle = Duration::from_secs(idle_s);
                three_machines::run(&Following { between_regions, is_wan, seed, idle, load_mib, page, keep })
            })
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("strongroom-jepsen: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn judge(path: &Path, html: Option<&Path>) -> anyhow::Result<bool> {
    let events = history::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let verdicts = judges::judge(&events);
    let line = report::line(&events, &verdicts, html.unwrap_or(path));
    if let Some(html) = html {
        write(html, &html::page(&events, &verdicts, &line))?;
    }
    println!("{}", report::text(&events, &verdicts));
    println!("{line}");
    Ok(verdicts.values().all(verdict::Verdict::is_pass))
}

fn export(path: &Path, edn: Option<&Path>, porcupine: Option<&Path>) -> anyhow::Result<bool> {
    let events = history::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    edn.map_or(Ok(()), |to| write(to, &exports::edn(&events)))?;
    porcupine.map_or(Ok(()), |to| write(to, &exports::porcupine(&events)))?;
    Ok(true)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Small enough to be typed again.
    since.as_micros() as u64 % 1_000_000_000
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_unknown_names_are_refused() {
        Arguments::command().debug_assert();
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        assert!(parse("x run --minutes 1 --seed 7 --workload trees,thief --attack kill").is_ok());
        assert!(parse("x crash-images 1000 --seed 7 --store log,chunks").is_ok());
        assert!(parse("x crash-images 1000 --store tape").is_err());
        assert!(parse("x sim --seeds 5 --from 7 --check-replay").is_ok());
        assert!(parse("x sim --shrink 7").is_ok());
        assert!(parse("x sim --shrink 7 --seeds 5").is_err());
        assert!(parse("x run --workload registers-not-built").is_err());
        assert!(parse("x run --attack meteor").is_err());
        assert!(parse("x export h --edn e --porcupine p").is_ok() && parse("x export h --edn e").is_ok());
        assert!(parse("x export h").is_err(), "in which form?");
    }
}
