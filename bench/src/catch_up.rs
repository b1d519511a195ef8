//! A node that was away while much was written: how long it takes until it has caught up, by Raft snapshots because the
//! others' logs have let go of what it lacks, while the load goes on.
//!
//! ```text
//!   six nodes, short logs ─ SIGKILL one ─ clients back up … ─ so many GiB acknowledged ─ started again ─ ready ─ caught up
//!                              └──────────────────────── the same clients, all the time ──────────────────────────┘
//!   the load ends ─▶ a snapshot of the time without it, restored and compared ─▶ all stopped at once ─▶ all states alike
//! ```
//!
//! Fails if the node came back without a snapshot, if a restore differs, or if two replicas that have applied as much
//! differ. Not here: speed of backups (`contest.rs`), what fragments the node lacks afterwards: that is repair's matter.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;

use crate::binaries::{self, Binaries};
use crate::cluster::{Cluster, GroupOnDisk};
use crate::content::Stream;
use crate::contestant::{Contestant as _, Kept};
use crate::ground::Ground;
use crate::vault::Strongroom;
use crate::{compare, interrupt, machine};

const GIB: u64 = 1 << 30;
/// Bytes of one backup, all of them new: small, so that there are many entries.
const PIECE_BYTES: u64 = 8 << 20;
/// A log keeps so many entries behind a snapshot, and a snapshot comes after as many: the least that nodes take.
const LOG_ENTRIES: u64 = 100;
/// The node that is away.
const AWAY: usize = 4;
const HANDED_OVER: &str = "strongroom_service_fragments_handed_over_total";
const MISSING: &str = "strongroom_service_fragments_missing_total";
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Between two words about how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// So often all nodes are stopped and looked at, until all have applied the same.
const STOPS_MAX: usize = 5;

/// The figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename = "catch-up")]
struct Figures {
    commit: String,
    machine: String,
    gib: f64,
    clients: u32,
    /// Backups that were acknowledged while the node was away, and in all.
    backups_away: u64,
    backups: u64,
    /// From the kill until so much was acknowledged.
    load_s: f64,
    /// From the node's start until all its groups serve, and until it lacks almost nothing, under load.
    ready_s: f64,
    caught_up_s: f64,
    mb_per_s: f64,
    snapshots_installed: f64,
    fragments_handed_over: f64,
    fragments_missing: f64,
    groups_alike: usize,
}

/// Runs and prints the figures.
pub fn run(gib: f64, clients: u32, dir: Option<&Path>, is_json: bool) -> anyhow::Result<bool> {
    ensure!(0.0 < gib && 0 < clients, "some GiB and at least one client");
    let target = (gib * GIB as f64) as u64;
    // Code 4+2, half as much again while the node catches up, and what logs and nodes keep free.
    let ground = Ground::take(dir, target / 4 * 9 + 8 * GIB)?;
    let figures = measure(target, clients, ground.path());
    ground.leave()?;
    let figures = figures?;
    match is_json {
        true => println!("{}", serde_json::to_string(&figures).context("figures are JSON")?),
        false => print!("{}", figures.text()),
    }
    Ok(true)
}

impl Figures {
    fn text(&self) -> String {
        format!(
            "strongroom-bench catch-up {}\n{}\n\n\
             {} GiB acknowledged in {:.1} s ({:.1} MB/s) by {} clients without one of six nodes: {} backups\n\
             started again under load: ready after {:.1} s, caught up after {:.1} s, {} Raft snapshots installed\n\
             {} fragments handed over, {} missing; {} backups in all, one restored equal, {} groups alike on all nodes\n",
            self.commit,
            self.machine,
            self.gib,
            self.load_s,
            self.mb_per_s,
            self.clients,
            self.backups_away,
            self.ready_s,
            self.caught_up_s,
            self.snapshots_installed,
            self.fragments_handed_over,
            self.fragments_missing,
            self.backups,
            self.groups_alike,
        )
    }
}

/// What the clients share.
struct Load<'a> {
    strongroom: &'a Strongroom,
    work: &'a Path,
    ends: AtomicBool,
    acknowledged: AtomicU64,
    /// A backup that was made while the node was away, with its source.
    kept: Mutex<Option<(Kept, PathBuf)>>,
}

impl Load<'_> {
    /// Backs up new bytes again and again until the load ends.
    fn client(&self, number: u32) -> anyhow::Result<()> {
        let log = self.work.join(format!("client-{number}.log"));
        let mut bytes = vec![0; usize::try_from(PIECE_BYTES).context("a piece fits into memory")?];
        let mut content = Stream::named(&format!("catch-up {number}"));
        for round in 0.. {
            if self.ends.load(Ordering::Relaxed) {
                break;
            }
            let source = self.work.join(format!("source-{number}-{round}"));
            content.fill(&mut bytes);
            fs::create_dir(&source)?;
            fs::write(source.join("random.bin"), &bytes)?;
            let (_, kept) = self.strongroom.back_up(&source, &format!("client-{number}"), &log)?;
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
            let mut first = self.kept.lock().expect("nobody panics inside");
            match *first {
                None => *first = Some((kept, source)),
                Some(_) => fs::remove_dir_all(&source)?,
            }
        }
        Ok(())
    }
}

fn measure(target: u64, clients: u32, work: &Path) -> anyhow::Result<Figures> {
    let binaries = Binaries::find()?;
    eprintln!("starting six nodes …");
    let entries = LOG_ENTRIES.to_string();
    let settings = [("snapshot_entries", entries.as_str()), ("tail_entries", entries.as_str())];
    let cluster = Cluster::start_with(&binaries.node, &work.join("cluster"), &settings)?;
    let strongroom = Strongroom::over(cluster, &binaries, work)?;
    let cluster = strongroom.cluster();
    let before = [others(cluster, HANDED_OVER)?, others(cluster, MISSING)?];
    cluster.kill(AWAY)?;
    let killed = Instant::now();

    let mut figures = None;
    let (acknowledged, kept) = {
        let load = Load {
            strongroom: &strongroom,
            work,
            ends: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            kept: Mutex::new(None),
        };
        std::thread::scope(|scope| -> anyhow::Result<()> {
            let running: Vec<_> = (0..clients)
                .map(|number| {
                    scope.spawn({
                        let load = &load;
                        move || load.client(number).inspect_err(|_| load.ends.store(true, Ordering::Relaxed))
                    })
                })
                .collect();
            let seen = (|| -> anyhow::Result<_> {
                let away = wait(&load, "GiB are acknowledged", |bytes| Ok((target <= bytes).then_some(bytes)))?;
                let load_s = killed.elapsed().as_secs_f64();
                let node = &cluster.file.nodes[AWAY];
                eprintln!("starting {} again …", node.name);
                let started = Instant::now();
                cluster.restart(AWAY)?;
                wait(&load, "it is ready", |_| Ok(node.is_ready().then_some(())))?;
                let ready_s = started.elapsed().as_secs_f64();
                let installed = wait(&load, "it has caught up", |_| {
                    let installed = node.metric("strongroom_consensus_snapshots_total", "what=\"installed\"")?;
                    let behind = cluster.metric("strongroom_service_members_behind")?;
                    Ok((0.0 < installed && behind == 0.0).then_some(installed))
                })?;
                Ok((away, load_s, ready_s, started.elapsed().as_secs_f64(), installed))
            })();
            load.ends.store(true, Ordering::Relaxed);
            for client in running {
                client.join().expect("a client does not panic")?;
            }
            figures = Some(seen?);
            Ok(())
        })?;
        let kept = load.kept.into_inner().expect("nobody panics inside").context("nothing was backed up")?;
        (load.acknowledged.into_inner(), kept)
    };
    let (away, load_s, ready_s, caught_up_s, snapshots_installed) = figures.context("the run has figures")?;
    let after = [others(cluster, HANDED_OVER)?, others(cluster, MISSING)?];

    eprintln!("restoring and comparing …");
    let (kept, source) = kept;
    let to = work.join("restored");
    strongroom.restore(&kept, &to, &work.join("restore.log"))?;
    compare::same(&source, &to).context("the restore is not what was backed up")?;
    let groups_alike = all_alike(cluster, &binaries.node)?;
    Ok(Figures {
        commit: machine::commit(binaries::workspace()),
        machine: machine::describe(work),
        gib: rounded(target as f64 / GIB as f64),
        clients,
        backups_away: away / PIECE_BYTES,
        backups: acknowledged,
        load_s: rounded(load_s),
        ready_s: rounded(ready_s),
        caught_up_s: rounded(caught_up_s),
        mb_per_s: rounded(away as f64 / 1e6 / load_s),
        snapshots_installed,
        fragments_handed_over: after[0] - before[0],
        fragments_missing: after[1] - before[1],
        groups_alike,
    })
}

/// The sum of a metric over the nodes that are there all the time.
fn others(cluster: &Cluster, metric: &str) -> anyhow::Result<f64> {
    let nodes = cluster.file.nodes.iter().enumerate().filter(|(at, _)| *at != AWAY);
    nodes.map(|(_, node)| node.metric(metric, "")).sum()
}

/// Looks again and again while the load goes on, and says how far it is. What is looked at is given the bytes that were
/// acknowledged; an error is a look in vain.
fn wait<T>(load: &Load<'_>, what: &str, look: impl Fn(u64) -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let began = Instant::now();
    let (mut told, mut progressed) = (Instant::now(), (0, Instant::now()));
    loop {
        interrupt::check()?;
        ensure!(!load.ends.load(Ordering::Relaxed), "a client failed before {what}");
        let bytes = load.acknowledged.load(Ordering::Relaxed) * PIECE_BYTES;
        match look(bytes) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(fault) if PATIENCE < began.elapsed() => return Err(fault.context(format!("waited until {what}"))),
            Err(_) => {}
        }
        if progressed.0 != bytes {
            progressed = (bytes, Instant::now());
        }
        ensure!(progressed.1.elapsed() < PATIENCE, "nothing is acknowledged for {PATIENCE:?}; waited until {what}");
        if TELL_EVERY <= told.elapsed() {
            told = Instant::now();
            eprintln!("{:.2} GiB acknowledged; waiting until {what} …", bytes as f64 / GIB as f64);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Stops all nodes at once, and again until all have applied the same; then all states must be alike. How many groups.
fn all_alike(cluster: &Cluster, program: &Path) -> anyhow::Result<usize> {
    for _ in 0..STOPS_MAX {
        eprintln!("stopping all nodes and looking at what lies there …");
        let found = cluster.stop_and_inspect(program)?;
        match alike(&found) {
            Alike::Yes(groups) => return Ok(groups),
            Alike::Differ(what) => bail!("{what}"),
            Alike::NotAsFar => {}
        }
        // A follower that stopped a moment before the leader has not heard what was committed last.
        for at in 0..cluster.file.nodes.len() {
            cluster.restart(at)?;
        }
        let began = Instant::now();
        while !cluster.file.nodes.iter().all(crate::cluster::Node::is_ready) {
            interrupt::check()?;
            ensure!(began.elapsed() < PATIENCE, "the nodes do not come back");
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    bail!("after {STOPS_MAX} stops the nodes have still not applied the same")
}

/// What all disks say.
#[derive(Debug, PartialEq, Eq)]
enum Alike {
    /// So many groups, each with one index and one digest.
    Yes(usize),
    /// No two that are as far differ, but some are not as far as others.
    NotAsFar,
    /// Two that are as far differ.
    Differ(String),
}

fn alike(nodes: &[Vec<GroupOnDisk>]) -> Alike {
    let all: Vec<&GroupOnDisk> = nodes.iter().flatten().collect();
    for one in &all {
        let other = all.iter().find(|two| (two.id, two.applied) == (one.id, one.applied) && two.digest != one.digest);
        if let Some(other) = other {
            let of = |group: &GroupOnDisk| group.digest.clone().unwrap_or_default();
            let applied = one.applied.unwrap_or_default();
            return Alike::Differ(format!("group {} at {applied}: {} and {}", one.id, of(one), of(other)));
        }
    }
    let groups: std::collections::BTreeSet<u32> = all.iter().map(|group| group.id).collect();
    let same = |id: &u32| {
        all.iter()
            .filter(|group| group.id == *id)
            .all(|group| Some(group.applied) == all.iter().find(|first| first.id == *id).map(|first| first.applied))
    };
    if groups.iter().all(same) { Alike::Yes(groups.len()) } else { Alike::NotAsFar }
}

fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: u32, applied: u64, digest: &str) -> GroupOnDisk {
        GroupOnDisk { id, applied: Some(applied), digest: Some(digest.to_owned()) }
    }

    #[test]
    fn states_are_alike_only_if_index_and_digest_are() {
        let well = vec![group(0, 9, "aa"), group(1, 7, "bb")];
        assert_eq!(alike(&[well.clone(), well.clone()]), Alike::Yes(2));
        assert_eq!(alike(&[well.clone(), vec![group(1, 6, "cc")]]), Alike::NotAsFar);
        assert!(matches!(alike(&[well, vec![group(1, 7, "cc")]]), Alike::Differ(_)));
    }
}
