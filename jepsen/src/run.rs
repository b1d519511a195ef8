//! One run from the first process to the verdicts.
//!
//! ```text
//!   site ─▶ start ─▶ vaults ─▶ safety: workloads ∥ nemesis ─▶ heal ─▶ serve? ─▶ restore all ─▶ end ─▶ scans ─▶ judges
//! ```
//!
//! Everything of a run lies in one directory: `history.jsonl`, `report.html`, `report.txt`, `nodes.log`, transcripts,
//! metrics, and the cluster, which is removed if every law passes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
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
use crate::cluster::file::{Node, Start, command};
use crate::disk::Disk;
use crate::enclosed;
use crate::force::Force;
use crate::grower::Grower;
use crate::history::{Ending, Event, Operation, Recorder};
use crate::html;
use crate::judges;
use crate::measure;
use crate::needs::Need;
use crate::nemesis::Nemesis;
use crate::process::State;
use crate::random::Random;
use crate::report;
use crate::scan::Scanned;
use crate::site::Site;
use crate::verdict::Verdict;
use crate::words;
use crate::workloads::{
    self, Workload, audit, bytes, clock, garbage, lists, locks, once, quota, sets, thief, tickets, trees,
};
use crate::world::{Acknowledged, Actor, Manners, World};

/// After healing everything must serve in this time.
const SERVES_WITHIN: Duration = Duration::from_secs(60);
/// How often each acknowledged snapshot is asked for until it is restored.
const RESTORE_ATTEMPTS: u32 = 3;
/// So many clients restore in the end.
const RESTORERS: usize = 3;
/// The least that must be free to begin, and what a minute may add to it.
const SPACE_BYTES: u64 = 4 << 30;
const SPACE_BYTES_PER_MINUTE: u64 = 1 << 30;
/// So many panics, and so many faults of a recount, are told.
const TOLD_MAX: usize = 10;

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
    /// How long a frame takes between regions, in one direction.
    pub delay: Duration,
    /// Somebody else's cluster: a file like `dev.json`.
    pub cluster: Option<PathBuf>,
    /// What ends and starts its nodes.
    pub hook: Option<PathBuf>,
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
    ensure!(
        campaign.cluster.is_none() || campaign.workloads.iter().all(|workload| workload.is_for_others()),
        "the workload garbage weighs disks: it is for clusters of our own; leave it out of --workload"
    );
    let host = match &campaign.cluster {
        None => Host::look(&campaign.attacks),
        Some(_) => Host::behind_a_hook(&campaign.attacks, campaign.hook.is_some()),
    };
    if host.has.contains(&Need::Disk) {
        enclosed::enclose()?;
    }
    // On a thread of its own: it goes to the harness's desk, and whoever ends the machines later ends every process whose
    // first thread is in one of them.
    std::thread::scope(|scope| match scope.spawn(|| attacked(campaign, &host)).join() {
        Ok(passed) => passed,
        Err(_) => bail!("the harness panicked"),
    })
}

/// Sets everything up, attacks, judges.
fn attacked(campaign: &Campaign, host: &Host) -> anyhow::Result<bool> {
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
    let site = Site::set_up(&dir, seed, &host.has, campaign.delay)?;
    site.enter_desk()?;
    let made = Instant::now();
    let cluster = match &campaign.cluster {
        Some(file) => Cluster::of_somebody(file, campaign.hook.as_deref())?,
        None => Cluster::start(&Start {
            program: &binaries.node,
            dir: &cluster_dir,
            log: &dir.join("nodes.log"),
            addresses: site.addresses()?,
            before: site.before(),
        })?,
    };
    let images = dir.join("disks");
    let disks = match cluster.is_own() {
        true => cluster.arm(host.has.contains(&Need::Disk).then_some(&images))?,
        false => Vec::new(),
    };
    let client = Client::new(&binaries.client, &cluster.profiles, &dir);
    let recorder = Recorder::create(&dir.join("history.jsonl"), &name, seed)?;
    let tenants = tenants(&cluster)?;
    let tenants = tenants.iter().map(|tenant| Canaries::of(seed, tenant)).collect();
    // Vaults of earlier runs may be there in a cluster that is not our own.
    let suffix = if cluster.is_own() { String::new() } else { format!("-{name}") };
    let world = World::new(client, recorder, tenants, &suffix);
    host.skip(&world);
    ask(campaign, &world);
    if cluster.is_own() {
        let argument = json!({ "before_seconds": made.elapsed().as_secs_f64() });
        let init = Operation::of_harness(words::INIT, "cluster", argument);
        world.recorder.begin(&init);
        world.recorder.end(&init, Ending::ok(Value::Null));
    }
    prepare(campaign, &world, &clients_dir)?;
    let weighs = campaign.workloads.contains(&Workload::Garbage);
    let before = if weighs { garbage::weigh(&world, &cluster, "before")? } else { Vec::new() };
    let scratch = clients_dir.join("nemesis");
    fs::create_dir_all(&scratch).context("no scratch directory")?;
    let random = Random::named(seed, "nemesis");
    let force = Force { cluster: &cluster, site: &site, disks: &disks, scratch: scratch.clone() };
    let victim = Random::named(seed, "victim").below(cluster.nodes.len());
    let mut nemesis = Nemesis { force, world: &world, attacks: &host.attacks, victim, random, scratch };
    safety(campaign, &mut nemesis, &clients_dir)?;
    liveness(campaign, &nemesis.force, &world, &clients_dir)?;
    if weighs {
        garbage::empty(&world, &cluster, &workloads::vaults(&campaign.workloads), &clients_dir, seed, &before)?;
    }
    let metrics = dir.join("metrics.txt");
    // Of a node that does not answer there is none; that it does not is judged elsewhere.
    let pages: Vec<String> = (0..cluster.nodes.len()).filter_map(|at| cluster.metrics(at).ok()).collect();
    fs::write(&metrics, pages.concat())?;
    let gone = (0..cluster.nodes.len()).filter(|at| cluster.state(*at) == State::Gone);
    for at in gone {
        trouble(&world, &cluster.nodes[at].name, "it ended after the last attack, and nobody had ended it".to_owned());
    }
    cluster.stop();
    if cluster.is_own() {
        read_beacons(&cluster, &binaries.node, &world)?;
        recount(&cluster, &binaries.node, &world, victim)?;
    }
    scan_everything(&cluster, &world, &dir, &clients_dir)?;
    if cluster.is_own() {
        let spoils = |event: &Event| event.f == words::FAULT && event.key.as_deref() == Some(Attack::RotState.name());
        let rotten = world.recorder.events().iter().any(spoils);
        for line in panics(&dir.join("nodes.log"), rotten)? {
            trouble(&world, "nodes.log", line);
        }
    }

    let events = world.recorder.events();
    let verdicts = judges::judge(&events);
    let text = report::text(&events, &verdicts);
    let report = dir.join("report.html");
    let line = report::line(&events, &verdicts, &report);
    fs::write(dir.join("report.txt"), &text).context("cannot write the report")?;
    fs::write(&report, html::page(&events, &verdicts, &line)).context("cannot write the report")?;
    print!("{text}");
    let measured = measure::measure(&events);
    print!("\n{}", measure::text(&measured));
    println!("{}", measure::line(&measured));
    println!("{line}");
    let passed = verdicts.values().all(Verdict::is_pass);
    fs::remove_dir_all(&clients_dir).context("cannot clean up")?;
    if passed && !campaign.keep && cluster.is_own() {
        remove_cluster(disks, &cluster_dir, &images)?;
    }
    Ok(passed)
}

/// Writes down which laws the run is about: a workload that did nothing must not pass.
fn ask(campaign: &Campaign, world: &World) {
    let laws: BTreeSet<&str> = campaign.workloads.iter().flat_map(|workload| workload.laws()).copied().collect();
    let asked = Operation::of_harness(words::ASKED, "laws", json!({ "laws": laws }));
    world.recorder.begin(&asked);
    world.recorder.end(&asked, Ending::ok(Value::Null));
}

/// Something that no node may do, whatever was done to it: I15 fails by it.
fn trouble(world: &World, key: &str, why: String) {
    eprintln!("{key}: {why}");
    let operation = Operation::of_harness(words::MEND, key, Value::Null);
    world.recorder.begin(&operation);
    world.recorder.end(&operation, Ending::fail(why));
}

/// The first lines in which nodes say that they panicked: a group that died is begun again, and nobody outside may notice.
/// Where pages of states were spoilt on purpose (`rotten`), the database is expected to: that ends the replica, which is then
/// rebuilt.
fn panics(log: &Path, rotten: bool) -> anyhow::Result<Vec<String>> {
    let file = File::open(log).with_context(|| format!("cannot read {}", log.display()))?;
    let lines =
        BufReader::new(file).split(b'\n').map(|line| line.map(|line| String::from_utf8_lossy(&line).into_owned()));
    let told = lines.filter(|line| line.as_ref().map_or(true, |line| is_panic(line, rotten)));
    told.take(TOLD_MAX).map(|line| line.context("cannot read the nodes' log")).collect()
}

fn is_panic(line: &str, rotten: bool) -> bool {
    line.contains("panicked at") && !(rotten && line.contains("/redb-"))
}

/// The tenants of which there is a writer.
fn tenants(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let tenants: Vec<String> =
        cluster.profiles.keys().filter_map(|name| name.strip_suffix("-writer").map(str::to_owned)).collect();
    ensure!(tenants.len() == 2, "two tenants are needed, each with a profile NAME-writer; there are {}", tenants.len());
    Ok(tenants)
}

/// Disks are unmounted before what lies under them is removed.
fn remove_cluster(disks: Vec<Disk>, cluster: &Path, images: &Path) -> anyhow::Result<()> {
    let had_disks = !disks.is_empty();
    drop(disks);
    fs::remove_dir_all(cluster).context("cannot clean up")?;
    if had_disks {
        fs::remove_dir_all(images).context("cannot clean up")?;
    }
    Ok(())
}

/// What this host can do of what is asked for.
struct Host {
    has: Vec<Need>,
    attacks: Vec<Attack>,
    /// Attacks that are left out, and why.
    skipped: Vec<(Attack, String)>,
}

impl Host {
    fn look(wanted: &[Attack]) -> Self {
        let mut needs: Vec<Need> = wanted.iter().flat_map(|attack| attack.needs()).copied().collect();
        // Machines of their own make every attack truer: they are used where they are to be had.
        needs.push(Need::Network);
        needs.sort_unstable();
        needs.dedup();
        let lacks: Vec<(Need, Vec<String>)> = needs.iter().map(|need| (*need, need.lacks())).collect();
        let missing = |attack: &Attack| -> Vec<String> {
            lacks
                .iter()
                .filter(|(need, _)| attack.needs().contains(need))
                .flat_map(|(_, lacks)| lacks.clone())
                .collect()
        };
        let (attacks, left_out): (Vec<Attack>, Vec<Attack>) =
            wanted.iter().partition(|attack| missing(attack).is_empty());
        let has = lacks.iter().filter(|(_, lacks)| lacks.is_empty()).map(|(need, _)| *need).collect();
        let skipped = left_out.into_iter().map(|attack| (attack, missing(&attack).join("; "))).collect();
        Self { has, attacks, skipped }
    }

    /// What can be done to somebody else's cluster: nothing of it is on this host.
    fn behind_a_hook(wanted: &[Attack], has_hook: bool) -> Self {
        let reach = |attack: &Attack| match (has_hook, attack.is_for_hooks()) {
            (false, _) => Some("there is no --hook"),
            (true, false) => Some("no hook does this: it is for clusters of our own"),
            (true, true) => None,
        };
        let attacks = wanted.iter().copied().filter(|attack| reach(attack).is_none()).collect();
        let skipped = wanted.iter().filter_map(|attack| Some((*attack, reach(attack)?.to_owned()))).collect();
        Self { has: Vec::new(), attacks, skipped }
    }

    /// Writes down what is left out.
    fn skip(&self, world: &World) {
        for (attack, why) in &self.skipped {
            eprintln!("skipped: attack {}: {why}", attack.name());
            let operation = Operation::of_harness(words::SKIPPED, attack.name(), Value::Null);
            world.recorder.end(&operation, Ending::info(why.clone()));
        }
    }
}

/// Vaults and policies, before anything is attacked; then what there is from the beginning is looked at.
fn prepare(campaign: &Campaign, world: &World, dir: &Path) -> anyhow::Result<()> {
    for tenant in &world.tenants {
        let name = format!("setup-{}", tenant.tenant);
        let mut actor = world.actor(tenant, &name, dir, campaign.seed, Manners::Patient)?;
        for vault in workloads::vaults(&campaign.workloads) {
            let vault = world.vault(&vault);
            // Not in the history: it belongs to nobody's workload.
            let answer = actor.run("admin", &["vault", "create", &vault])?;
            ensure!(matches!(answer, Answer::Done(_)), "cannot make vault {vault} of {}: {answer:?}", tenant.tenant);
        }
        if campaign.workloads.contains(&Workload::Locks) {
            locks::prepare(&mut actor)?;
        }
        if campaign.workloads.contains(&Workload::Bytes) {
            bytes::prepare(&mut actor)?;
        }
        if campaign.workloads.contains(&Workload::Audit) {
            audit::list(&mut actor, "start")?;
        }
    }
    Ok(())
}

/// What workloads look at in the end, when nothing is under way any more.
fn look_back(campaign: &Campaign, actor: &mut Actor<'_>, healed: Instant) -> anyhow::Result<()> {
    for workload in &campaign.workloads {
        match workload {
            Workload::Lists => lists::read(actor)?,
            Workload::Sets => sets::read(actor, true)?,
            Workload::Clock => clock::look(actor)?,
            Workload::Tickets => tickets::read(actor)?,
            Workload::Quota | Workload::Bytes | Workload::Garbage => {
                // What killed clients had under way is given up when their leases end.
                while !quota::usage(actor, false)? && healed.elapsed() < SERVES_WITHIN {
                    std::thread::sleep(Duration::from_secs(1));
                }
                quota::usage(actor, true)?;
                quota::stock(actor)?;
            }
            Workload::Audit => audit::list(actor, "end")?,
            Workload::Locks => locks::look_back(actor)?,
            Workload::Trees | Workload::Once | Workload::Thief | Workload::Registers => {}
        }
    }
    Ok(())
}

/// Digests of all replicas, as each node's disk has them; nobody writes any more.
fn read_beacons(cluster: &Cluster, node: &Path, world: &World) -> anyhow::Result<()> {
    for one in &cluster.nodes {
        let Some(data_dir) = &one.data_dir else { continue };
        let operation = Operation::of_harness(words::BEACON, &one.name, Value::Null);
        world.recorder.begin(&operation);
        let inspected = command(node).arg("inspect").arg(data_dir).arg("--json").output().context("cannot inspect")?;
        let said = String::from_utf8_lossy(&inspected.stdout).into_owned();
        let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let groups: Vec<Value> = lines.filter(|line| line["type"] == "group").collect();
        let ending = match inspected.status.success() {
            true => Ending::ok(json!({ "groups": groups })),
            false => {
                let why = String::from_utf8_lossy(&inspected.stderr);
                Ending::info(format!("inspect ended with {}: {}", inspected.status, why.trim()))
            }
        };
        world.recorder.end(&operation, ending);
    }
    Ok(())
}

/// What lies on all disks, counted again; the one on which damage is done comes last, so that it is blamed for what differs.
fn recount(cluster: &Cluster, program: &Path, world: &World, victim: usize) -> anyhow::Result<()> {
    let operation = Operation::of_harness(words::RECOUNT, "cluster", Value::Null);
    world.recorder.begin(&operation);
    let mut nodes: Vec<&Node> = cluster.nodes.iter().collect();
    let last = nodes.remove(victim);
    nodes.push(last);
    let dirs: Vec<&PathBuf> = nodes.iter().filter_map(|node| node.data_dir.as_ref()).collect();
    let counted = command(program).arg("fsck").args(&dirs).arg("--json").output().context("cannot recount")?;
    let said = String::from_utf8_lossy(&counted.stdout).into_owned();
    let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |line: &Value| {
        let dir = Path::new(line["data_dir"].as_str().unwrap_or_default());
        nodes.iter().find(|node| node.data_dir.as_deref() == Some(dir)).map(|node| node.name.clone())
    };
    let broken = lines.iter().filter(|line| line["ok"] == false);
    let broken: Vec<Value> = broken.take(TOLD_MAX).map(|line| json!({ "node": of(line), "line": line })).collect();
    let ending = match lines.last().filter(|line| line["type"] == "fsck") {
        Some(sum) => Ending::ok(json!({ "groups": sum["groups"], "copies": sum["copies"], "broken": broken })),
        None => {
            let why = String::from_utf8_lossy(&counted.stderr);
            Ending::info(format!("fsck ended with {}: {}", counted.status, why.trim()))
        }
    };
    world.recorder.end(&operation, ending);
    Ok(())
}

/// Clients and attacks, side by side; clients sit in the offices of all regions in turn. An error of the harness in any of
/// them ends all.
fn safety(campaign: &Campaign, nemesis: &mut Nemesis<'_>, dir: &Path) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs_f64(campaign.minutes * 60.0);
    let (world, site) = (nemesis.world, nemesis.force.site);
    let clients = campaign.workloads.iter().flat_map(|workload| workload.clients(world, dir, campaign.seed));
    std::thread::scope(|scope| {
        let sent = clients.enumerate().map(|(number, client)| {
            scope.spawn(move || {
                site.enter_office(number)?;
                client()
            })
        });
        let clients: Vec<_> = sent.collect();
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
fn liveness(campaign: &Campaign, force: &Force<'_>, world: &World, dir: &Path) -> anyhow::Result<()> {
    eprintln!("healing; {} snapshots are acknowledged", world.acknowledged().len());
    let healed = Operation::of_harness(words::HEALED, "all", Value::Null);
    world.recorder.begin(&healed);
    let cluster = force.cluster;
    if let Err(why) = force.undo(None) {
        trouble(world, "healing", why);
    }
    let began = Instant::now();
    let nodes: Vec<&str> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
    let tenants: Vec<&str> = world.tenants.iter().map(|tenant| tenant.tenant.as_str()).collect();
    let value = json!({ "nodes": nodes, "tenants": tenants, "deadline_s": SERVES_WITHIN.as_secs() });
    world.recorder.end(&healed, Ending::ok(value));
    ready(world, cluster, began);
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
        once::list(&mut actor, true)?;
        look_back(campaign, &mut actor, began)?;
        for vault in campaign.workloads.iter().filter(|workload| workload.charges()).flat_map(|one| one.vaults()) {
            shown.extend(actor.shown(&world.vault(&vault))?);
        }
    }
    if campaign.workloads.contains(&Workload::Garbage) {
        garbage::weigh(world, cluster, "full")?;
    }
    // What was acknowledged and is not shown is asked for all the same.
    let all: BTreeSet<Acknowledged> = world.acknowledged().into_iter().chain(shown).collect();
    restore_everything(campaign.seed, world, force.site, dir, &Vec::from_iter(all))
}

/// When each node is ready, all asked in turn until they are or it is too late: one that never is holds up no other.
fn ready(world: &World, cluster: &Cluster, began: Instant) {
    let ready = |at: usize| Operation::of_harness(words::READY, &cluster.nodes[at].name, Value::Null);
    let mut waiting: Vec<usize> = (0..cluster.nodes.len()).collect();
    waiting.iter().for_each(|at| world.recorder.begin(&ready(*at)));
    while !waiting.is_empty() && began.elapsed() < SERVES_WITHIN / 2 {
        waiting.retain(|at| {
            let is_ready = cluster.is_ready(*at);
            if is_ready {
                world.recorder.end(&ready(*at), Ending::ok(Value::Null));
            }
            !is_ready
        });
        std::thread::sleep(Duration::from_millis(50));
    }
    for at in waiting {
        let why = format!("not ready after {} s", began.elapsed().as_secs());
        world.recorder.end(&ready(at), Ending::fail(why));
    }
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
fn restore_everything(seed: u64, world: &World, site: &Site, dir: &Path, all: &[Acknowledged]) -> anyhow::Result<()> {
    eprintln!("restoring all {} of them", all.len());
    let next = AtomicUsize::new(0);
    let restorer = |number: usize| -> anyhow::Result<()> {
        // One in each region.
        site.enter_office(number)?;
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
    if cluster.is_own() {
        scan("log".to_owned(), &dir.join("nodes.log"), &sealed)?;
    }
    scan("metrics".to_owned(), &dir.join("metrics.txt"), &every)?;
    scan("control:sources".to_owned(), clients_dir, &sealed)?;
    for node in &cluster.nodes {
        if let Some(data_dir) = &node.data_dir {
            scan(format!("data:{}", node.name), data_dir, &sealed)?;
        }
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

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn the_database_may_panic_over_pages_that_were_spoilt_and_nothing_else_may() {
        let database = "thread 'state-3' (1) panicked at /r/redb-4.6.0/src/tree_store/btree.rs:1110:22:";
        let own = "thread 'state-3' (1) panicked at node/core/src/shard.rs:1:1:";
        assert_eq!([false, true].map(|rotten| is_panic(database, rotten)), [true, false]);
        assert_eq!([false, true].map(|rotten| is_panic(own, rotten)), [true, true]);
        assert!(!is_panic("all is well", false));
    }

    #[test]
    fn what_cannot_be_done_is_skipped_with_a_reason_and_nothing_is_lost_on_the_way() {
        let all = Attack::value_variants();
        for host in [Host::look(all), Host::behind_a_hook(all, true), Host::behind_a_hook(all, false)] {
            assert_eq!(host.attacks.len() + host.skipped.len(), all.len());
            assert!(host.skipped.iter().all(|(_, why)| !why.is_empty()));
        }
        let hooked = Host::behind_a_hook(all, true);
        assert!(hooked.attacks.contains(&Attack::CutLeader) && !hooked.attacks.contains(&Attack::Rot));
        assert!(Host::behind_a_hook(all, false).attacks.is_empty());
        assert!(Host::look(&[Attack::Kill]).skipped.is_empty(), "killing needs nothing");
    }
}
