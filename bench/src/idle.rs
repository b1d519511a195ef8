//! What six nodes with many groups cost while nobody asks anything of them.
//!
//! ```text
//!   dev cluster ─▶ shards created, each with a member on all six nodes ─▶ quiet ─▶ CPU and memory of each node, and what
//!   its heartbeats take, over half a minute
//! ```
//!
//! CPU-seconds mean something on a busy machine too; that nobody was missed (no more terms) only on one that is not.
//! Not here: nodes at work (`contest.rs`).

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use strongroom::operator::Operator;
use strongroom::profile::Profile;
use strongroom_format::id::NodeName;

use crate::binaries::{self, Binaries};
use crate::cluster::Cluster;
use crate::ground::Ground;
use crate::{interrupt, machine, procfs};

/// A cluster that creates shards one after another may take so long for each.
const PATIENCE: Duration = Duration::from_secs(60);
/// For so long it is measured.
const MEASURED: Duration = Duration::from_secs(30);
/// It is quiet when it takes no less CPU time than in the time before, which was so long.
const QUIET: Duration = Duration::from_secs(5);
/// Nodes set space aside for logs and states; each group has little.
const SPACE: u64 = 8 << 30;
/// It has come to rest by then, or never does.
const QUIET_PATIENCE: Duration = Duration::from_secs(180);

/// A node's setting `timing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Timing {
    /// Nodes a few milliseconds apart.
    Lan,
    /// Regions far apart.
    Wan,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Idle {
    commit: String,
    machine: String,
    timing: Timing,
    groups: u32,
    seconds: f64,
    nodes: Vec<Node>,
    /// Of all nodes, a second.
    heartbeats: f64,
    heartbeat_messages: f64,
    log_syncs: f64,
    /// Elections meanwhile, in all groups.
    terms: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Node {
    name: String,
    /// Of one core.
    cpu_percent: f64,
    peak_mib: f64,
}

/// Counters at one moment: CPU time of each node, and sums over all.
struct Counted {
    at: Instant,
    cpu: Vec<Duration>,
    sums: [f64; 4],
}

/// What is summed.
const SUMS: [&str; 4] = [
    "strongroom_consensus_heartbeats_total",
    "strongroom_consensus_heartbeat_messages_total",
    "strongroom_consensus_log_syncs_total",
    "strongroom_consensus_terms_total",
];

/// Starts a cluster in a directory of its own below `dir` or Cargo's target directory, measures it and prints the figures.
pub fn run(groups: u32, timing: Timing, dir: Option<&Path>, is_json: bool) -> anyhow::Result<bool> {
    let ground = Ground::take(dir, SPACE)?;
    let binaries = Binaries::find()?;
    let machine = machine::describe(ground.path());
    let measured = measure(groups, timing, &binaries, ground.path());
    // The cluster has ended by now. What cannot be removed is said, not hidden.
    ground.leave()?;
    let (nodes, seconds, [heartbeats, heartbeat_messages, log_syncs, terms]) = measured?;
    let idle = Idle {
        commit: machine::commit(binaries::workspace()),
        machine,
        timing,
        groups,
        seconds,
        nodes,
        heartbeats: heartbeats / seconds,
        heartbeat_messages: heartbeat_messages / seconds,
        log_syncs: log_syncs / seconds,
        terms,
    };
    if is_json {
        println!("{}", serde_json::to_string(&idle).context("figures are finite and names are text")?);
    } else {
        print!("{}", idle.table());
    }
    Ok(true)
}

fn measure(
    groups: u32,
    timing: Timing,
    binaries: &Binaries,
    work: &Path,
) -> anyhow::Result<(Vec<Node>, f64, [f64; 4])> {
    eprintln!("starting six nodes …");
    let timing = match timing {
        Timing::Lan => "\"lan\"",
        Timing::Wan => "\"wan\"",
    };
    let cluster = Cluster::start_with(&binaries.node, &work.join("cluster"), &[("timing", timing)])?;
    // the cluster group and dev's own shards are there already
    let there = count_groups(&cluster);
    create_shards(&cluster, groups.saturating_sub(there))?;
    eprintln!("waiting for quiet …");
    quiet(&cluster)?;
    eprintln!("measuring for {} s …", MEASURED.as_secs());
    cluster.file.nodes.iter().for_each(|node| procfs::forget_peak(node.pid()));
    let before = count(&cluster)?;
    rest(MEASURED)?;
    let after = count(&cluster)?;
    let seconds = (after.at - before.at).as_secs_f64();
    let spent = after.cpu.iter().zip(&before.cpu).map(|(after, before)| after.saturating_sub(*before));
    let nodes = cluster.file.nodes.iter().zip(spent).map(|(node, spent)| Node {
        name: node.name.clone(),
        cpu_percent: spent.as_secs_f64() / seconds * 100.0,
        peak_mib: procfs::peak_kib(node.pid()).unwrap_or_default() as f64 / 1024.0,
    });
    let nodes = nodes.collect();
    Ok((nodes, seconds, std::array::from_fn(|at| after.sums[at] - before.sums[at])))
}

/// How many groups have a state on the first node.
fn count_groups(cluster: &Cluster) -> u32 {
    let states = cluster.file.nodes.first().and_then(|node| std::fs::read_dir(node.data_dir.join("state")).ok());
    let names = states.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    u32::try_from(names.filter(|name| name.ends_with(".redb")).count()).unwrap_or(u32::MAX)
}

fn create_shards(cluster: &Cluster, count: u32) -> anyhow::Result<()> {
    let mut slots: Vec<NodeName> =
        cluster.file.nodes.iter().map(|node| node.name.parse()).collect::<Result<_, _>>().context("a node's name")?;
    // region by region in turn: north-1, south-1, west-1, north-2, …
    slots.sort_by_key(|name| name.to_string().rsplit_once('-').map(|(region, at)| (at.to_owned(), region.to_owned())));
    let profile = Profile::read(cluster.profile("operator")?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let operator = runtime.block_on(Operator::connect(&profile, PATIENCE))?;
    for number in 1..=count {
        interrupt::check()?;
        if number.is_multiple_of(10) || number == count {
            eprintln!("{number} of {count} shards …");
        }
        runtime.block_on(operator.create_shard(slots.clone())).context("a shard was not created")?;
    }
    Ok(())
}

/// Waits until the nodes take no less than before.
fn quiet(cluster: &Cluster) -> anyhow::Result<()> {
    let cpu = || cluster.file.nodes.iter().map(|node| procfs::cpu(node.pid())).sum::<Duration>();
    let (began, mut before, mut last) = (Instant::now(), cpu(), Duration::MAX);
    loop {
        rest(QUIET)?;
        let now = cpu();
        let spent = now.saturating_sub(before);
        if last <= spent || QUIET_PATIENCE < began.elapsed() {
            return Ok(());
        }
        (before, last) = (now, spent);
    }
}

fn count(cluster: &Cluster) -> anyhow::Result<Counted> {
    let mut sums = [0.0; SUMS.len()];
    for (sum, name) in sums.iter_mut().zip(SUMS) {
        *sum = cluster.metric(name)?;
    }
    let cpu = cluster.file.nodes.iter().map(|node| procfs::cpu(node.pid())).collect();
    Ok(Counted { at: Instant::now(), cpu, sums })
}

/// Sleeps, and ends early if somebody asks for the end.
fn rest(long: Duration) -> anyhow::Result<()> {
    let ends = Instant::now() + long;
    while Instant::now() < ends {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(100).min(ends.saturating_duration_since(Instant::now())));
    }
    Ok(())
}

impl Idle {
    /// For people.
    fn table(&self) -> String {
        let fits = "text grows in memory";
        let mut text = String::new();
        let Self { commit, machine, timing, groups, seconds, .. } = self;
        writeln!(text, "strongroom-bench {commit}\n{machine}\n\n{groups} groups, {timing:?}, idle for {seconds:.0} s")
            .expect(fits);
        for Node { name, cpu_percent, peak_mib } in &self.nodes {
            writeln!(text, "{name:12} {cpu_percent:6.1} % of a core  {peak_mib:7.1} MiB").expect(fits);
        }
        writeln!(
            text,
            "all nodes, a second: {:.0} heartbeats in {:.0} messages, {:.1} syncs of a log; {} more terms",
            self.heartbeats, self.heartbeat_messages, self.log_syncs, self.terms
        )
        .expect(fits);
        text
    }
}
