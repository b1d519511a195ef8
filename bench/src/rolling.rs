//! All nodes are killed and started again, one after another, while a client backs up and while it restores.
//!
//! ```text
//!   backup of one file ─────────────────────────────────────────▶ ends well
//!      SIGKILL north-1 ─ a second ─ started, ready ─ SIGKILL south-1 ─ … round and round until the client has ended
//!   restore ─────────────── the same ───────────────────────────▶ ends well, equal
//! ```
//!
//! Fails if either fails, if the restore differs, or if a client ended before each node was killed once: then it needs more
//! bytes. Not here: how long a leader is missed (`application.rs`).

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use crate::binaries::{self, Binaries};
use crate::child::Ended;
use crate::ground::Ground;
use crate::plan::{Kind, Shape};
use crate::vault::{self, Strongroom};
use crate::{child, compare, interrupt, machine, shapes};

/// A node is away for so long before it is started.
const AWAY: Duration = Duration::from_secs(1);
/// It serves again by then.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename = "rolling")]
struct Figures {
    commit: String,
    machine: String,
    bytes: u64,
    backup: Went,
    restore: Went,
}

/// How one operation went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Went {
    seconds: f64,
    kills: usize,
    client_peak_mib: f64,
}

/// Runs and prints the figures.
pub fn run(gib: f64, dir: Option<&Path>, is_json: bool) -> anyhow::Result<bool> {
    ensure!(0.0 < gib, "some GiB");
    let bytes = (gib * f64::from(1 << 30)) as u64;
    // The source, the restore, 6/4 of it and what repair holds twice meanwhile, and what nodes keep free.
    let ground = Ground::take(dir, bytes * 4 + (6 << 30))?;
    let measured = measure(bytes, ground.path());
    let machine = machine::describe(ground.path());
    ground.leave()?;
    let (backup, restore) = measured?;
    let figures = Figures { commit: machine::commit(binaries::workspace()), machine, bytes, backup, restore };
    match is_json {
        true => println!("{}", serde_json::to_string(&figures).context("figures are JSON")?),
        false => print!("{}", figures.text()),
    }
    Ok(true)
}

impl Figures {
    fn text(&self) -> String {
        let line = |what: &str, Went { seconds, kills, client_peak_mib }: Went| {
            format!("{what}: {seconds:.1} s while nodes were killed {kills} times; client {client_peak_mib:.0} MiB\n")
        };
        format!(
            "strongroom-bench rolling {}\n{}\n\n{:.0} MB in one file\n{}{}equal\n",
            self.commit,
            self.machine,
            self.bytes as f64 / 1e6,
            line("backup", self.backup),
            line("restore", self.restore),
        )
    }
}

fn measure(bytes: u64, work: &Path) -> anyhow::Result<(Went, Went)> {
    eprintln!("starting six nodes …");
    let strongroom = Strongroom::start(&Binaries::find()?, work)?;
    let source = work.join("source");
    shapes::make(&Shape { name: "rolling", kind: Kind::Random, bytes, clients: 1 }, 0, &source)?;
    eprintln!("backing up …");
    let (backup, ended) = under_kills(&strongroom, &mut strongroom.backup_command(&source, "rolling")?, work)?;
    let kept = vault::kept(&ended.stdout)?;
    let to = work.join("restored");
    eprintln!("restoring …");
    let (restore, _) = under_kills(&strongroom, &mut strongroom.restore_command(&kept, &to)?, work)?;
    compare::same(&source, &to).context("the restore is not what was backed up")?;
    Ok((backup, restore))
}

/// Kills and starts nodes in turn until the command has ended.
fn under_kills(strongroom: &Strongroom, command: &mut Command, work: &Path) -> anyhow::Result<(Went, Ended)> {
    let (cluster, has_ended) = (strongroom.cluster(), AtomicBool::new(false));
    let nodes = cluster.file.nodes.len();
    let (ended, kills) = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let ended = child::run(command, &work.join("client.log"));
            has_ended.store(true, Ordering::Relaxed);
            ended
        });
        let kills = (|| {
            let mut kills = 0;
            while !has_ended.load(Ordering::Relaxed) {
                let at = kills % nodes;
                cluster.kill(at)?;
                std::thread::sleep(AWAY);
                cluster.restart(at)?;
                let began = Instant::now();
                while !cluster.file.nodes[at].is_ready() {
                    interrupt::check()?;
                    ensure!(began.elapsed() < PATIENCE, "{} does not serve again", cluster.file.nodes[at].name);
                    std::thread::sleep(LOOK_AGAIN);
                }
                kills += 1;
                eprintln!("{} was killed and serves again; {kills} so far …", cluster.file.nodes[at].name);
            }
            Ok(kills)
        })();
        (client.join().expect("a client does not panic"), kills)
    });
    let (ended, kills) = (ended?, kills?);
    ensure!(nodes <= kills, "the client ended after {kills} kills of {nodes} nodes: name more with --gib");
    let went = Went { seconds: ended.duration.as_secs_f64(), kills, client_peak_mib: ended.peak_kib as f64 / 1024.0 };
    Ok((went, ended))
}
