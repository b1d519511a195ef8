//! One run from the first process to the verdicts.
//!
//! ```text
//!   start ─▶ vaults ─▶ safety: workloads ∥ nemesis ─▶ heal ─▶ serve? ─▶ restore all ─▶ lists ─▶ end ─▶ scans ─▶ judges
//! ```
//!
//! Everything of a run lies in one directory: `history.jsonl`, `report.txt`, `nodes.log`, transcripts, metrics, and the
//! cluster, which is removed if every law passes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::attack::Attack;
use crate::binaries::{Binaries, target_directory};
use crate::canary::Canaries;
use crate::client::{Answer, Client, Patience};
use crate::cluster::Cluster;
use crate::grower::Grower;
use crate::history::{Ending, Operation, Recorder};
use crate::judges;
use crate::nemesis::Nemesis;
use crate::random::Random;
use crate::report;
use crate::scan::Scanned;
use crate::verdict::Verdict;
use crate::words;
use crate::workloads::{Workload, once, thief, trees};
use crate::world::{Acknowledged, DEADLINE_HEALED, Manners, VAULT, World};

/// The tenants of `dev`.
const TENANTS: [&str; 2] = ["acme", "globex"];
/// After healing everything must serve in this time.
const SERVES_WITHIN: Duration = Duration::from_secs(60);
/// How often each acknowledged snapshot is asked for until it is restored.
const RESTORE_ATTEMPTS: u32 = 3;
/// So many clients restore in the end.
const RESTORERS: usize = 3;
/// The least that must be free to begin, and what a minute may add to it.
const SPACE_BYTES: u64 = 4 << 30;
const SPACE_BYTES_PER_MINUTE: u64 = 1 << 30;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// How long there are attacks.
    pub minutes: f64,
    /// What choices follow from.
    pub seed: u64,
    /// What clients do.
    pub workloads: Vec<Workload>,
    /// What is done to the cluster.
    pub attacks: Vec<Attack>,
    /// Where runs are kept.
    pub dir: Option<PathBuf>,
    /// Whether the cluster's data stays in any case.
    pub keep: bool,
}

/// Runs and judges; true if every law passes.
///
/// # Errors
/// If the harness itself cannot go on: then nothing was judged.
pub fn run(campaign: &Campaign) -> anyhow::Result<bool> {
    ensure!(0.0 < campaign.minutes && campaign.minutes < 1e6, "--minutes must be more than nothing");
    let binaries = Binaries::find()?;
    let seed = campaign.seed;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = format!("{seed}-{}", since.as_secs());
    let dir = match &campaign.dir {
        Some(dir) => std::path::absolute(dir).context("--dir has no absolute path")?,
        None => target_directory()?.join("jepsen"),
    }
    .join(&name);
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    require_space(&dir, campaign.minutes)?;
    eprintln!("run {name}: seed {seed}, {} min, in {}", campaign.minutes, dir.display());

    let (cluster_dir, clients_dir) = (dir.join("cluster"), dir.join("clients"));
    let cluster = Cluster::start(&binaries.node, &cluster_dir, &dir.join("nodes.log"))?;
    let client = Client::new(&binaries.client, &cluster.profiles, &dir);
    let recorder = Recorder::create(&dir.join("history.jsonl"), &name, seed)?;
    let world = World::new(client, recorder, TENANTS.iter().map(|tenant| Canaries::of(seed, tenant)).collect());
    make_vaults(&world, &clients_dir, seed)?;
    safety(campaign, &cluster, &world, &clients_dir)?;
    liveness(campaign, &cluster, &world, &clients_dir)?;
    let metrics = dir.join("metrics.txt");
    let pages = (0..cluster.nodes.len()).map(|at| cluster.metrics(at)).collect::<Result<Vec<_>, _>>();
    fs::write(&metrics, pages.unwrap_or_default().concat())?;
    cluster.stop();
    scan_everything(&cluster, &world, &dir, &clients_dir)?;

    let events = world.recorder.events();
    let verdicts = judges::judge(&events);
    let page = report::text(&events, &verdicts);
    let report = dir.join("report.txt");
    fs::write(&report, &page).context("cannot write the report")?;
    print!("{page}");
    println!("{}", report::line(&events, &verdicts, &report));
    let passed = verdicts.values().all(Verdict::is_pass);
    fs::remove_dir_all(&clients_dir).context("cannot clean up")?;
    if passed && !campaign.keep {
        fs::remove_dir_all(&cluster_dir).context("cannot clean up")?;
    }
    Ok(passed)
}

fn make_vaults(world: &World, dir: &Path, seed: u64) -> anyhow::Result<()> {
    for tenant in &world.tenants {
        let actor = world.actor(tenant, &format!("setup-{}", tenant.tenant), dir, seed, Manners::Patient)?;
        let arguments = ["vault", "create", VAULT];
        let answer = world.client.run(
            &tenant.tenant,
            "admin",
            Patience::Deadline(DEADLINE_HEALED),
            &actor.scratch,
            &arguments,
        )?;
        ensure!(matches!(answer, Answer::Done(_)), "cannot make a vault for {}: {answer:?}", tenant.tenant);
    }
    Ok(())
}

/// Clients and attacks, side by side. An error of the harness in any of them ends all.
fn safety(campaign: &Campaign, cluster: &Cluster, world: &World, dir: &Path) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs_f64(campaign.minutes * 60.0);
    let scratch = dir.join("nemesis");
    fs::create_dir_all(&scratch).context("no scratch directory")?;
    let random = Random::named(campaign.seed, "nemesis");
    let mut nemesis = Nemesis { cluster, world, attacks: &campaign.attacks, random, scratch };
    let clients = campaign.workloads.iter().flat_map(|workload| workload.clients(world, dir, campaign.seed));
    std::thread::scope(|scope| {
        let clients: Vec<_> = clients.map(|client| scope.spawn(client)).collect();
        let attacked = nemesis.run(until);
        world.end();
        let ended = clients.into_iter().map(|client| match client.join() {
            Ok(ended) => ended,
            Err(_) => bail!("a client of the harness panicked"),
        });
        ended.chain([attacked]).collect()
    })
}

/// No faults from now on: everything must serve in time, and everything that was acknowledged be given back.
fn liveness(campaign: &Campaign, cluster: &Cluster, world: &World, dir: &Path) -> anyhow::Result<()> {
    eprintln!("healing; {} snapshots are acknowledged", world.acknowledged().len());
    let healed = Operation::of_harness(words::HEALED, "all", Value::Null);
    world.recorder.begin(&healed);
    let all: Vec<usize> = (0..cluster.nodes.len()).collect();
    for at in &all {
        if let Err(why) = cluster.mend(*at) {
            bail!("cannot heal: {why}");
        }
    }
    let began = Instant::now();
    let nodes: Vec<&str> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
    let value = json!({ "nodes": nodes, "tenants": TENANTS, "deadline_s": SERVES_WITHIN.as_secs() });
    world.recorder.end(&healed, Ending::ok(value));
    for at in &all {
        let ready = Operation::of_harness(words::READY, &cluster.nodes[*at].name, Value::Null);
        world.recorder.begin(&ready);
        let left = SERVES_WITHIN.saturating_sub(began.elapsed());
        let ended = cluster.become_ready(&[*at], left).map_or_else(Ending::fail, |()| Ending::ok(Value::Null));
        world.recorder.end(&ready, ended);
    }
    led(world, dir, began)?;
    for tenant in &world.tenants {
        serves(campaign.seed, world, tenant, dir, began)?;
    }
    let mut shown = Vec::new();
    for tenant in &world.tenants {
        let name = format!("last-{}", tenant.tenant);
        let mut actor = world.actor(tenant, &name, dir, campaign.seed, Manners::Patient)?;
        // The last one holds a name with the sealed canary: the transcript's control must find it.
        if let Some(last) = world.acknowledged_of(&tenant.tenant).pop() {
            trees::show(&mut actor, &last.snapshot)?;
        }
        thief::attempt(&mut actor)?;
        shown.extend(trees::list(&mut actor, true)?);
        once::list(&mut actor)?;
    }
    // What was acknowledged and is not shown is asked for all the same.
    let all: BTreeSet<Acknowledged> = world.acknowledged().into_iter().chain(shown).collect();
    restore_everything(campaign.seed, world, dir, &Vec::from_iter(all))
}

/// Whether every shard has a leader, asked until it is so or too late.
fn led(world: &World, dir: &Path, began: Instant) -> anyhow::Result<()> {
    let operation = Operation::of_harness(words::LED, "all", Value::Null);
    world.recorder.begin(&operation);
    let mut seen = Value::Null;
    while began.elapsed() < SERVES_WITHIN {
        let scratch = dir.join("nemesis");
        let answer =
            world.client.run("operator", "", Patience::Deadline(Duration::from_secs(5)), &scratch, &["status"])?;
        if let Answer::Done(lines) = &answer
            && let Some(status) = lines.last()
        {
            seen = status["shards"].clone();
            let shards = seen.as_array().map_or(&[][..], Vec::as_slice);
            if !shards.is_empty() && shards.iter().all(|shard| shard["leader"].is_string()) {
                world.recorder.end(&operation, Ending::ok(json!({ "shards": seen })));
                return Ok(());
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    world.recorder.end(&operation, Ending::fail(format!("in time only: {seen}")));
    Ok(())
}

/// A backup and its restore, tried until both succeed or it is too late.
fn serves(seed: u64, world: &World, tenant: &Canaries, dir: &Path, began: Instant) -> anyhow::Result<()> {
    let operation = Operation::of_harness(words::SERVES, &tenant.tenant, Value::Null);
    world.recorder.begin(&operation);
    let name = format!("serves-{}", tenant.tenant);
    let mut actor = world.actor(tenant, &name, dir, seed, Manners::Patient)?;
    let mut grower = Grower::new(&actor.scratch.join("source"), &tenant.sealed, Random::named(seed, &name))?;
    for attempt in 1_u32.. {
        if SERVES_WITHIN < began.elapsed() {
            break;
        }
        grower.plant()?;
        let label = format!("{}-serves-{attempt}", tenant.open);
        if let Some(snapshot) = actor.back_up(grower.root(), &label)? {
            let one = Acknowledged { tenant: tenant.tenant.clone(), label, snapshot };
            if actor.restore(&one, false)? {
                world.recorder.end(&operation, Ending::ok(Value::Null));
                return Ok(());
            }
        }
    }
    world.recorder.end(&operation, Ending::fail("no backup with its restore succeeded in time"));
    Ok(())
}

/// Restores everything that was ever acknowledged, or is there in the end. What fails is tried again: the judge sees
/// every attempt.
fn restore_everything(seed: u64, world: &World, dir: &Path, all: &[Acknowledged]) -> anyhow::Result<()> {
    eprintln!("restoring all {} of them", all.len());
    let next = AtomicUsize::new(0);
    let restorer = |number: usize| -> anyhow::Result<()> {
        let mut actors = Vec::new();
        for tenant in &world.tenants {
            let name = format!("restorer-{}-{number}", tenant.tenant);
            actors.push(world.actor(tenant, &name, dir, seed, Manners::Patient)?);
        }
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let actor = actors.iter_mut().find(|actor| actor.tenant.tenant == one.tenant).context("no such tenant")?;
            for _ in 0..RESTORE_ATTEMPTS {
                if actor.restore(one, true)? {
                    break;
                }
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let restorer = &restorer;
        let restorers: Vec<_> = (0..RESTORERS).map(|number| scope.spawn(move || restorer(number))).collect();
        restorers.into_iter().try_for_each(|thread| match thread.join() {
            Ok(ended) => ended,
            Err(_) => bail!("a restorer of the harness panicked"),
        })
    })
}

/// Looks for canaries everywhere. Open ones are looked for only in what other tenants were told.
fn scan_everything(cluster: &Cluster, world: &World, dir: &Path, clients_dir: &Path) -> anyhow::Result<()> {
    eprintln!("searching for canaries");
    let scan = |key: String, path: &Path, canaries: &[&str]| -> anyhow::Result<()> {
        let operation = Operation::of_harness(words::SCAN, &key, json!({ "canaries": canaries }));
        world.recorder.begin(&operation);
        let found = Scanned::of(path, canaries)?;
        world.recorder.end(&operation, Ending::ok(serde_json::to_value(found)?));
        Ok(())
    };
    for tenant in &world.tenants {
        let transcript = world.client.transcript(&tenant.tenant);
        let others = world.tenants.iter().filter(|other| other.tenant != tenant.tenant);
        let others: Vec<&str> = others.flat_map(|other| [other.sealed.as_str(), other.open.as_str()]).collect();
        scan(format!("transcript:{}", tenant.tenant), &transcript, &others)?;
        // That the search finds what is there: its own names in its own transcript, its content in its sources.
        scan(format!("control:transcript:{}", tenant.tenant), &transcript, &[&tenant.sealed])?;
        scan(format!("control:transcript-open:{}", tenant.tenant), &transcript, &[&tenant.open])?;
    }
    let sealed: Vec<&str> = world.tenants.iter().map(|tenant| tenant.sealed.as_str()).collect();
    let every: Vec<&str> = world.tenants.iter().flat_map(|t| [t.sealed.as_str(), t.open.as_str()]).collect();
    scan("log".to_owned(), &dir.join("nodes.log"), &sealed)?;
    scan("metrics".to_owned(), &dir.join("metrics.txt"), &every)?;
    scan("control:sources".to_owned(), clients_dir, &sealed)?;
    for node in &cluster.nodes {
        scan(format!("data:{}", node.name), &node.data_dir, &sealed)?;
    }
    Ok(())
}

fn require_space(dir: &Path, minutes: f64) -> anyhow::Result<()> {
    let disk = rustix::fs::statvfs(dir).with_context(|| format!("cannot ask for the space at {}", dir.display()))?;
    let free = disk.f_bavail * disk.f_frsize;
    let needed = SPACE_BYTES + (SPACE_BYTES_PER_MINUTE as f64 * minutes) as u64;
    ensure!(
        needed <= free,
        "{} has {} MB free and {} MB are needed; name another directory with --dir",
        dir.display(),
        free / 1_000_000,
        needed / 1_000_000
    );
    Ok(())
}
