//! A client that is killed again and again: whether what was done before is done again.
//!
//! ```text
//!   backup ─ SIGKILL ─ the same backup ─ SIGKILL ─ … ─ to its end ─▶ what the nodes took in, in all
//!   restore ─ SIGKILL ─ restore --resume ─ SIGKILL ─ … ─ to its end ─▶ what the nodes gave out, in all; compared
//! ```
//!
//! Each kill comes when so many bytes have travelled as chance says, the twenty of them spread over the whole; every second
//! one after a chance moment already, while the client still looks at what is there. Fails if much more travelled than
//! there is, or if the restore differs. Not here: nodes that are killed (`rolling.rs`).

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use crate::binaries::{self, Binaries};
use crate::content::Stream;
use crate::ground::Ground;
use crate::plan::{Kind, Shape};
use crate::vault::{self, Strongroom};
use crate::{child, compare, machine, shapes};

/// What travels in all may be so many times what there is.
const TIMES_MAX: f64 = 1.3;
/// Every second client lives at most so long, in milliseconds.
const SHORT_LIFE_MS_MAX: u32 = 1500;
const TAKEN_IN: &str = "strongroom_api_ingest_bytes_total";
const GIVEN_OUT: &str = "strongroom_api_restore_bytes_total";

/// The figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename = "interrupted")]
struct Figures {
    commit: String,
    machine: String,
    seed: u64,
    bytes: u64,
    kills: u32,
    backup: Travelled,
    restore: Travelled,
    ok: bool,
}

/// What one operation took, all its beginnings together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Travelled {
    bytes: u64,
    times: f64,
    seconds: f64,
}

/// Runs and prints the figures. `Ok(false)`: more travelled than promised.
pub fn run(gib: f64, kills: u32, seed: u64, dir: Option<&Path>, is_json: bool) -> anyhow::Result<bool> {
    ensure!(0.0 < gib && 0 < kills, "some GiB and at least one kill");
    let bytes = (gib * f64::from(1 << 30)) as u64;
    // The source, the restore, 6/4 of what travels, and what nodes keep free.
    let ground = Ground::take(dir, bytes * 4 + (6 << 30))?;
    let measured = measure(bytes, kills, seed, ground.path());
    let machine = machine::describe(ground.path());
    ground.leave()?;
    let (backup, restore) = measured?;
    let ok = backup.times < TIMES_MAX && restore.times < TIMES_MAX;
    let commit = machine::commit(binaries::workspace());
    let figures = Figures { commit, machine, seed, bytes, kills, backup, restore, ok };
    match is_json {
        true => println!("{}", serde_json::to_string(&figures).context("figures are JSON")?),
        false => print!("{}", figures.text()),
    }
    Ok(ok)
}

impl Figures {
    fn text(&self) -> String {
        let line = |what: &str, Travelled { bytes, times, seconds }: Travelled| {
            format!(
                "{what}: {:.0} MB travelled, {times:.2} times what there is, at most {TIMES_MAX}; {seconds:.1} s\n",
                bytes as f64 / 1e6
            )
        };
        format!(
            "strongroom-bench interrupted {}\n{}\n\n{:.0} MB that do not compress, {} kills each, seed {}\n{}{}equal\n",
            self.commit,
            self.machine,
            self.bytes as f64 / 1e6,
            self.kills,
            self.seed,
            line("backup", self.backup),
            line("restore", self.restore),
        )
    }
}

fn measure(bytes: u64, kills: u32, seed: u64, work: &Path) -> anyhow::Result<(Travelled, Travelled)> {
    eprintln!("starting six nodes …");
    let strongroom = Strongroom::start(&Binaries::find()?, work)?;
    let source = work.join("source");
    let shape = Shape { name: "interrupted", kind: Kind::Random, bytes, clients: 1 };
    shapes::make(&shape, 0, &source)?;
    let mut chance = Stream::named(&format!("interrupted {seed}"));
    let log = work.join("client.log");

    let backup = || strongroom.backup_command(&source, "interrupted");
    let (travelled, stdout) = killed(&strongroom, TAKEN_IN, bytes, kills, &mut chance, &backup, &log)?;
    let kept = vault::kept(&stdout)?;

    let to = work.join("restored");
    let restore = || {
        let mut command = strongroom.restore_command(&kept, &to)?;
        command.arg("--resume");
        Ok(command)
    };
    let (fetched, _) = killed(&strongroom, GIVEN_OUT, bytes, kills, &mut chance, &restore, &log)?;
    compare::same(&source, &to).context("the restore is not what was backed up")?;
    Ok((travelled, fetched))
}

/// Kills the command so often, then lets it end: what travelled as the nodes count it, and what the last one printed.
fn killed(
    strongroom: &Strongroom,
    metric: &str,
    bytes: u64,
    kills: u32,
    chance: &mut Stream,
    command: &dyn Fn() -> anyhow::Result<Command>,
    log: &Path,
) -> anyhow::Result<(Travelled, String)> {
    let before = strongroom.cluster().metric(metric)?;
    let travelled = || Ok::<_, anyhow::Error>((strongroom.cluster().metric(metric)? - before) as u64);
    let began = Instant::now();
    for kill in 0..kills {
        let (threshold, life) = (threshold(bytes, kill, kills, chance), life(kill, chance));
        let mut at = 0;
        child::kill_when(&mut command()?, log, |lived| {
            at = travelled()?;
            Ok(threshold <= at || life.is_some_and(|life| life <= lived))
        })?;
        eprintln!("killed {} of {kills} times, after {} MB …", kill + 1, at / 1_000_000);
    }
    let ended = child::run(&mut command()?, log)?;
    let seconds = began.elapsed().as_secs_f64();
    let travelled = travelled()?;
    let times = (travelled as f64 / bytes as f64 * 1000.0).round() / 1000.0;
    Ok((Travelled { bytes: travelled, times, seconds }, ended.stdout))
}

/// After so many bytes this kill comes: somewhere in its share of the whole, the last one well before the end.
fn threshold(bytes: u64, kill: u32, kills: u32, chance: &mut Stream) -> u64 {
    let share = bytes / 10 * 9 / u64::from(kills);
    share * u64::from(kill) + share * u64::from(chance.below(1000)) / 1000
}

/// After so long at the latest, if this is a kill of a young client.
fn life(kill: u32, chance: &mut Stream) -> Option<Duration> {
    let chosen = chance.below(SHORT_LIFE_MS_MAX);
    (kill % 2 == 1).then(|| Duration::from_millis(chosen.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_spread_over_the_whole_and_leave_something_to_do() {
        let mut chance = Stream::named("a test");
        let all: Vec<u64> = (0..20).map(|kill| threshold(2_000_000, kill, 20, &mut chance)).collect();
        assert!(all.is_sorted() && all[19] < 1_800_000 && 1_700_000 < all[19], "{all:?}");
        assert_eq!((0..20).filter_map(|kill| life(kill, &mut chance)).count(), 10);
    }
}
