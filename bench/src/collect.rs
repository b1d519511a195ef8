//! The end of a snapshot of very many chunks: how fast what it named is collected, and who feels it.
//!
//! ```text
//!   two snapshots of so many chunks (`chunks.rs`) ─▶ small snapshots of another tenant, alone          p50, p99 idle
//!   one is deleted, nothing else happens ─▶ until every blob's row is gone      references a second, CPU a reference
//!   the other is deleted, small snapshots go on meanwhile                                       p50, p99 beside it
//! ```
//!
//! Each chunk costs two references: its count falls, and its row goes. Grace is nothing here, so that one follows the
//! other, and nobody sweeps: what is measured is rows. A reference is applied by all six members; what it costs one of them
//! is the nodes' CPU time by references and members, Raft and all.
//! Not here: what the rules cost without a disk (`node/core/tests/it/figures.rs`).

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use crate::application::Application;
use crate::binaries::{self, Binaries};
use crate::chunks;
use crate::cluster::Cluster;
use crate::content::Stream;
use crate::contestant::Kept;
use crate::ground::Ground;
use crate::report::percentile;
use crate::vault::{self, Strongroom};
use crate::{interrupt, machine, procfs};

const REFERENCES: &str = "strongroom_service_references_collected_total";
const BLOBS: &str = "strongroom_service_blobs_collected_total";
/// So many small snapshots alone, and at least so many beside collecting.
const SNAPSHOTS: u32 = 200;
/// Of so many bytes.
const SNAPSHOT_BYTES: usize = 4096;
/// All is collected by then, or never.
const PATIENCE: Duration = Duration::from_secs(1800);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(250);
/// Nodes need no CPU for anything else for so long before they are measured.
const REST: Duration = Duration::from_secs(5);

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Collected {
    commit: String,
    machine: String,
    load: f64,
    chunks: u64,
    /// Of the deletion beside which nothing happened.
    references: f64,
    seconds: f64,
    references_per_second: f64,
    /// What one member could apply with a core of its own.
    references_per_core_second: f64,
    idle_ms: Percentiles,
    beside_ms: Percentiles,
    /// While that many were collected beside them.
    beside_references_per_second: f64,
}

/// How long small snapshots took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Percentiles {
    snapshots: usize,
    p50: f64,
    p99: f64,
}

impl Percentiles {
    fn of(each: &[Duration]) -> Self {
        let ms = |percent| percentile(each, percent).as_secs_f64() * 1000.0;
        Self { snapshots: each.len(), p50: ms(50), p99: ms(99) }
    }
}

/// Counters of all nodes at one moment.
#[derive(Clone, Copy)]
struct Counted {
    at: Instant,
    references: f64,
    blobs: f64,
    cpu: Duration,
}

/// Measures and prints.
pub fn run(count: u64, dir: Option<&Path>, is_json: bool) -> anyhow::Result<bool> {
    let ground = Ground::take(dir, 2 * count * chunks::BYTES_PER_CHUNK + (4 << 30))?;
    let measured = measure(count, ground.path());
    ground.leave()?;
    let it = measured?;
    if is_json {
        println!("{}", serde_json::to_string(&it).context("figures are finite and names are text")?);
    } else {
        let Collected { commit, machine, load, chunks, references, seconds, idle_ms, beside_ms, .. } = &it;
        println!("strongroom-bench {commit}\n{machine}, load {load:.1}\n");
        println!(
            "{chunks} chunks end: {references:.0} references in {seconds:.1} s, {:.0} a second; a member takes {:.0} a \
             second of a core",
            it.references_per_second, it.references_per_core_second
        );
        println!(
            "small snapshots alone: p50 {:.1} ms, p99 {:.1} ms; beside collecting ({:.0} references a second): p50 {:.1} \
             ms, p99 {:.1} ms, {} of them",
            idle_ms.p50,
            idle_ms.p99,
            it.beside_references_per_second,
            beside_ms.p50,
            beside_ms.p99,
            beside_ms.snapshots
        );
    }
    Ok(true)
}

fn measure(count: u64, work: &Path) -> anyhow::Result<Collected> {
    eprintln!("starting six nodes …");
    let binaries = Binaries::find()?;
    let settings = [("grace_seconds", "0"), ("sweep_seconds", "86400")];
    let cluster = Cluster::start_with(&binaries.node, &work.join("cluster"), &settings)?;
    let strongroom = Strongroom::over(cluster, &binaries, work)?;
    let page = chunks::cutting_page(&mut Stream::named("collect"))?;
    let mut backed_up = Vec::new();
    for which in 0..2 {
        eprintln!("{count} chunks …");
        let source = work.join("sparse");
        chunks::write(&source, &page, which * count..(which + 1) * count).context("cannot write the source")?;
        let ended = strongroom.back_up_piped(&source, &format!("chunks-{which}"), &work.join("client.log"))?;
        let new = chunks::new_chunks(&ended.stdout)?;
        ensure!(count <= new, "only {new} chunks were new");
        backed_up.push((vault::kept(&ended.stdout)?, new as f64));
        std::fs::remove_file(&source).context("cannot remove the source")?;
    }
    let mut application = strongroom.connect(SNAPSHOT_BYTES, work)?;
    eprintln!("{SNAPSHOTS} small snapshots …");
    let idle = application.snapshots(SNAPSHOTS)?;
    let [(alone, alone_chunks), (beside, beside_chunks)] =
        <[(Kept, f64); 2]>::try_from(backed_up).map_err(|_| anyhow::anyhow!("there are two"))?;

    // What six nodes take while nothing happens is not collecting.
    std::thread::sleep(REST);
    let before = count_up(strongroom.cluster())?;
    std::thread::sleep(REST);
    let quiet = count_up(strongroom.cluster())?;
    let idle_share = (quiet.cpu - before.cpu).as_secs_f64() / (quiet.at - before.at).as_secs_f64();

    eprintln!("collecting alone …");
    let load = machine::load();
    strongroom.delete(&alone, &work.join("client.log"))?;
    let (began, ended) = wait(strongroom.cluster(), quiet.blobs + alone_chunks, rest)?;
    let (references, seconds) = (ended.references - began.references, (ended.at - began.at).as_secs_f64());
    let cpu = (ended.cpu.saturating_sub(began.cpu)).as_secs_f64() - idle_share * seconds;
    let members = strongroom.cluster().file.nodes.len() as f64;

    eprintln!("collecting beside small snapshots …");
    strongroom.delete(&beside, &work.join("client.log"))?;
    let mut each = Vec::new();
    let all = ended.blobs + beside_chunks;
    let (first, last) = wait(strongroom.cluster(), all, || snapshots(&mut application, &mut each))?;
    ensure!(!each.is_empty(), "nothing went on meanwhile");
    Ok(Collected {
        commit: machine::commit(binaries::workspace()),
        machine: machine::describe(work),
        load,
        chunks: count,
        references,
        seconds,
        references_per_second: references / seconds,
        references_per_core_second: references * members / cpu,
        idle_ms: Percentiles::of(&idle),
        beside_ms: Percentiles::of(&each),
        beside_references_per_second: (last.references - first.references) / (last.at - first.at).as_secs_f64(),
    })
}

fn rest() -> anyhow::Result<()> {
    std::thread::sleep(LOOK);
    Ok(())
}

/// Some small snapshots, and how long each took.
fn snapshots(application: &mut Application, each: &mut Vec<Duration>) -> anyhow::Result<()> {
    for _ in 0..10 {
        each.push(application.snapshot()?);
    }
    Ok(())
}

/// From now until so many blobs have gone. `meanwhile` is called over and over.
fn wait(
    cluster: &Cluster,
    blobs: f64,
    mut meanwhile: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<(Counted, Counted)> {
    let began = count_up(cluster)?;
    loop {
        interrupt::check()?;
        meanwhile()?;
        let now = count_up(cluster)?;
        if blobs <= now.blobs {
            return Ok((began, now));
        }
        ensure!(began.at.elapsed() < PATIENCE, "{} of {blobs} blobs were collected in time", now.blobs);
    }
}

fn count_up(cluster: &Cluster) -> anyhow::Result<Counted> {
    let cpu = cluster.file.nodes.iter().map(|node| procfs::cpu(node.pid())).sum();
    Ok(Counted { at: Instant::now(), references: cluster.metric(REFERENCES)?, blobs: cluster.metric(BLOBS)?, cpu })
}
