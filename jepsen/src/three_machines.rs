//! `deploy/three-machines.md`, followed to the letter: its commands, in its order, on machines that are namespaces.
//!
//! ```text
//!   page ─▶ machines of its table, links proved ─▶ its blocks ─▶ idle ─▶ load ─▶ terms and counters ─▶ one line
//! ```
//!
//! The page must work as it is written: nothing is added between its blocks, and none is left out. What the runner adds
//! comes after: a backup of random bytes of a given size, its restore, and how often Raft elected meanwhile.
//!
//! Not here: how a page is read (`page.rs`), machines (`machine.rs`), links (`switch.rs`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::binaries::{Binaries, target_directory, workspace};
use crate::machine::Machine;
use crate::network::plan::{self, Plan};
use crate::network::{Network, host, proof};
use crate::page::{self, Block, Page, When};
use crate::random::Random;
use crate::switch::link::Link;
use crate::tree;

/// The page.
pub const PAGE: &str = "deploy/three-machines.md";
/// What the page has a person copy to every machine, beside the programs.
const UNITS: [&str; 2] = ["strongroomd.service", "strongroom-ca@.service"];
/// Programs of other packages that the page calls.
const CALLED: [&str; 3] = ["curl", "diff", "runuser"];
/// The network's name on this host.
const NETWORK: &str = "pages";
/// The machine that backs up on the page, with its profiles and its vault.
const CLIENT: &str = "office";
const WRITER: &str = "web-1.toml";
const RESTORER: &str = "rita.toml";
const VAULT: &str = "papers";
/// Where a node's metrics are on the page.
const METRICS: &str = "http://127.0.0.1:7704/metrics";
/// What is counted: elections, won or not.
const TERMS: &str = "strongroom_consensus_terms_total";
/// One file of the load has so many bytes.
const FILE_BYTES: usize = 4 << 20;

/// How the page is followed.
#[derive(Clone, Debug)]
pub struct Following {
    /// How links between regions behave.
    pub between_regions: Link,
    /// Whether what is for regions far apart is typed too.
    pub is_wan: bool,
    /// What the fates of frames, and the bytes of the load, follow from.
    pub seed: u64,
    /// After the page: for how long nothing is asked of the cluster.
    pub idle: Duration,
    /// After that: how much is backed up and restored.
    pub load_mib: usize,
    /// The page; by default the repository's.
    pub page: Option<PathBuf>,
    /// Keep the machines' directories also if all went well.
    pub keep: bool,
}

/// Follows it; the result is the last line on stdout.
///
/// # Errors
/// What failed, where on the page, and what was said.
pub fn run(following: &Following) -> anyhow::Result<bool> {
    let file = following.page.clone().unwrap_or_else(|| workspace().join(PAGE));
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let page = page::read(&text).with_context(|| format!("{} cannot be followed", file.display()))?;
    let missing = CALLED.iter().find(|program| host::find(program).is_none());
    ensure!(missing.is_none(), "the page calls {}, which is not in PATH here", missing.copied().unwrap_or_default());
    let binaries = Binaries::find()?;
    let network = set_up(&page, following)?;
    let proof = proof::prove(&network)?;
    proof.lines().for_each(|line| println!("{line}"));
    if !proof.words.is_empty() {
        eprintln!("links between regions: {}", proof.words);
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let dir = target_directory()?.join("jepsen").join(format!("three-machines-{since}"));
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let began = Instant::now();
    let mut machines = start_machines(&page, &dir, &binaries)?;
    let followed = follow(&page, following, &mut machines).and_then(|blocks| {
        let seconds = began.elapsed().as_secs_f64();
        let mut result = json!({
            "type": "three-machines",
            "blocks": blocks,
            "seconds": seconds,
            "timing": if following.is_wan { "wan" } else { "lan" },
            "delay_ms": following.between_regions.delay.as_secs_f64() * 1000.0,
            "loss": following.between_regions.loss,
            "round_trip_ms": proof.round_trip_ms(),
        });
        result["after"] = after(following, &machines)?;
        Ok(result)
    });
    let mut result = followed.with_context(|| format!("machines and logs are kept in {}", dir.display()))?;
    let between = proof::between_regions(&network);
    let mut counted = serde_json::to_value(between).context("counters are plain")?;
    counted["held_ms"] = json!(between.held_ms());
    drop((machines, network));
    match following.keep {
        true => eprintln!("kept in {}", dir.display()),
        false => fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?,
    }
    result["between_regions"] = counted;
    println!("{result}");
    Ok(true)
}

fn set_up(page: &Page, following: &Following) -> anyhow::Result<Network> {
    let texts: Vec<String> = page.machines.iter().map(|(name, region, _)| format!("{name}@{region}")).collect();
    let machines = plan::machines(&texts)?;
    for (machine, (name, _, address)) in machines.iter().zip(&page.machines) {
        let given = machine.address.to_string();
        ensure!(given == *address, "the page's {name} has {address}; machines here get {given}");
    }
    let between_regions = following.between_regions;
    Network::up(Plan { name: NETWORK.to_owned(), seed: following.seed, machines, between_regions })
}

fn start_machines(page: &Page, dir: &Path, binaries: &Binaries) -> anyhow::Result<BTreeMap<String, Machine>> {
    let peers: Vec<(String, String)> =
        page.machines.iter().map(|(name, _, address)| (name.clone(), address.clone())).collect();
    let mut machines = BTreeMap::new();
    for (name, _) in &peers {
        let machine = Machine::start(NETWORK, name, dir, &peers)?;
        // What a person has copied there by hand before the page begins.
        let brought = UNITS.map(|unit| workspace().join("deploy").join(unit));
        for file in brought.iter().chain([&binaries.client, &binaries.node]) {
            let name = file.file_name().context("a file has a name")?;
            fs::copy(file, machine.file("/root").join(name))
                .with_context(|| format!("cannot copy {}", file.display()))?;
        }
        machines.insert(name.clone(), machine);
    }
    Ok(machines)
}

/// Types what stands on the page; says how many blocks that was.
fn follow(page: &Page, following: &Following, machines: &mut BTreeMap<String, Machine>) -> anyhow::Result<u32> {
    let mut typed = 0;
    for block in &page.blocks {
        match block.when {
            When::Always => {}
            When::Wan if following.is_wan => {}
            When::Wan | When::Building => continue,
        }
        for name in &block.on {
            let machine = machines.get_mut(name).context("the page's machines are all there")?;
            let began = Instant::now();
            let ended = machine.run(&block.commands);
            typed += 1;
            match ended {
                Ok(said) => {
                    eprintln!("ok    line {:<4} {name:<8} {:6.1} s", block.line, began.elapsed().as_secs_f64());
                    said.lines().for_each(|line| eprintln!("      {line}"));
                }
                Err(why) => {
                    eprintln!("FAIL  line {:<4} {name:<8} {:6.1} s", block.line, began.elapsed().as_secs_f64());
                    return Err(explained(block, name, &why, machines));
                }
            }
        }
    }
    Ok(typed)
}

/// With what was typed and the last words of all units.
fn explained(block: &Block, name: &str, why: &anyhow::Error, machines: &BTreeMap<String, Machine>) -> anyhow::Error {
    let mut logs = String::new();
    for machine in machines.values() {
        let entries = fs::read_dir(machine.file("/var/log")).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "log")) {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let last: Vec<&str> = text.lines().rev().take(8).collect();
            logs.push_str(&format!("\n--- {}: {}", machine.name(), path.display()));
            last.iter().rev().for_each(|line| logs.push_str(&format!("\n    {line}")));
        }
    }
    anyhow!("line {} of the page, typed on {name}:\n{}\n{why:#}{logs}", block.line, block.commands.trim_end())
}

/// What is measured when the page is through: elections while nothing is asked, then under load.
fn after(following: &Following, machines: &BTreeMap<String, Machine>) -> anyhow::Result<Value> {
    let mut measured = json!({});
    if !following.idle.is_zero() {
        let before = terms(machines)?;
        // The time itself is what is measured here, nothing is waited for.
        std::thread::sleep(following.idle);
        measured["idle"] = json!({ "seconds": following.idle.as_secs_f64(), "elections": terms(machines)? - before });
    }
    if 0 < following.load_mib {
        let before = terms(machines)?;
        let mut load = load(following, machines)?;
        load["elections"] = json!(terms(machines)? - before);
        measured["load"] = load;
    }
    Ok(measured)
}

/// Backs random bytes up and restores them, byte for byte.
fn load(following: &Following, machines: &BTreeMap<String, Machine>) -> anyhow::Result<Value> {
    let client = machines.get(CLIENT).with_context(|| format!("the page has no machine `{CLIENT}`"))?;
    let (source, target) = (client.file("/var/tmp/load"), client.file("/var/tmp/load-restored"));
    fs::create_dir_all(&source).context("cannot create the load")?;
    let mut random = Random::named(following.seed, "load");
    let mut bytes = vec![0; FILE_BYTES];
    for at in 0..(following.load_mib << 20).div_ceil(FILE_BYTES) {
        random.fill(&mut bytes);
        fs::write(source.join(format!("{at:06}")), &bytes).context("cannot write the load")?;
    }
    let timed = |arguments: &[&str]| -> anyhow::Result<(f64, Value)> {
        let began = Instant::now();
        let output = client
            .command("strongroom")
            .args(["--json", "--quiet", "--deadline", "600s"])
            .args(arguments)
            .output()
            .context("cannot start the client")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{arguments:?} ended with {}: {said}", output.status);
        let last = said.lines().last().context("it gives a result")?;
        Ok((began.elapsed().as_secs_f64(), serde_json::from_str(last).context("its result is JSON")?))
    };
    let (up_s, backup) = timed(&["--profile", WRITER, "backup", "/var/tmp/load", "--vault", VAULT])?;
    let snapshot = backup["snapshot"].as_str().context("a backup names its snapshot")?;
    let (back_s, _) = timed(&["--profile", RESTORER, "restore", snapshot, "--to", "/var/tmp/load-restored"])?;
    ensure!(tree::digest(&source)? == tree::digest(&target)?, "what came back is not what was backed up");
    let mib = following.load_mib as f64;
    Ok(json!({
        "mib": following.load_mib, "backup_s": up_s, "backup_mib_per_s": mib / up_s,
        "restore_s": back_s, "restore_mib_per_s": mib / back_s,
    }))
}

/// Terms that the nodes' groups have gone through, all nodes together: an election counts once on each of them.
fn terms(machines: &BTreeMap<String, Machine>) -> anyhow::Result<u64> {
    let mut terms = 0;
    let mut nodes = 0;
    for machine in machines.values().filter(|machine| machine.file("/run/strongroomd.pid").exists()) {
        let page = machine.command("bash").args(["-c", HTTP_GET, "get", METRICS]).output().context("cannot ask")?;
        let page = String::from_utf8_lossy(&page.stdout).into_owned();
        ensure!(page.contains("strongroom_"), "{} shows no metrics", machine.name());
        // A node that has seen no election since it was started shows no count.
        let lines = page.lines().filter(|line| line.starts_with(TERMS));
        terms += lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>();
        nodes += 1;
    }
    if nodes == 0 {
        bail!("no machine of the page runs a node");
    }
    Ok(terms)
}

/// A page of a node, with nothing but bash.
const HTTP_GET: &str = "rest=${1#http://}; at=${rest%%/*}; exec 3<>/dev/tcp/${at%:*}/${at#*:}; \
    printf 'GET /%s HTTP/1.1\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n' \"${rest#*/}\" \"$at\" >&3; cat <&3";
