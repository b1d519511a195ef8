//! There and back: what people keep is backed up as they would, restored and compared.
//!
//! ```text
//!   files      very many small ones
//!   sparse     one large file that is nearly all hole: the hole is not sent, and is a hole again
//!   live       a directory that others write to meanwhile: what is restored is what was there at some moment, file by file
//!   postgres   a database through pg_dump (`postgres.rs`)
//! ```
//!
//! One line each, `ok` or `FAIL`, and a figure. Run it as root and as an ordinary user: only what belongs to them is there.
//! Not here: names, owners, times, attributes (the client's tests), speed (`contest.rs`).

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::binaries::Binaries;
use crate::content::Stream;
use crate::contestant::{Contestant as _, Kept};
use crate::ground::Ground;
use crate::plan::{Kind, Shape};
use crate::vault::Strongroom;
use crate::{compare, interrupt, live, machine, postgres, shapes};

const MIB: u64 = 1 << 20;
/// The sparse file's length, how much of it is there, in how many stretches.
const SPARSE_BYTES: u64 = 4 << 30;
const STRETCH_BYTES: u64 = 256 * 1024;
const STRETCHES: u64 = 16;
/// Beside the stretches: pages at their ends, the list of entries.
const SPARSE_MORE_BYTES: u64 = MIB;

type Trip = fn(&Strongroom, &Path) -> anyhow::Result<String>;

const TRIPS: [(&str, Trip); 4] =
    [("files", files), ("sparse", sparse), ("live", live::trip), ("postgres", postgres::trip)];

/// Makes them all, or those that are named, and prints a line for each. `Ok(false)`: one failed.
pub fn run(only: &[String], dir: Option<&Path>, is_json: bool) -> anyhow::Result<bool> {
    let known = |name: &String| TRIPS.iter().any(|(known, _)| known == name);
    ensure!(only.iter().all(known), "trips are files, sparse, live and postgres");
    let ground = Ground::take(dir, 12 << 30)?;
    let passed = all(only, ground.path(), is_json);
    ground.leave()?;
    passed
}

fn all(only: &[String], work: &Path, is_json: bool) -> anyhow::Result<bool> {
    let user = if rustix::process::geteuid().is_root() { "root" } else { "an ordinary user" };
    eprintln!("{}, as {user}", machine::describe(work));
    let strongroom = Strongroom::start(&Binaries::find()?, work)?;
    let mut passed = true;
    for (name, trip) in TRIPS.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|only| only == name)) {
        interrupt::check()?;
        let place = work.join(name);
        fs::create_dir(&place)?;
        let began = Instant::now();
        let went = trip(&strongroom, &place);
        let (ok, seconds) = (went.is_ok(), began.elapsed().as_secs_f64());
        let figure = went.unwrap_or_else(|why| format!("{why:#}"));
        if is_json {
            let line = json!({ "type": "trip", "name": name, "user": user, "ok": ok, "seconds": seconds,
                "figure": figure });
            println!("{line}");
        } else {
            println!("{} {name} as {user} — {figure} ({seconds:.1} s)", if ok { "ok" } else { "FAIL" });
        }
        passed &= ok;
    }
    Ok(passed)
}

/// Backs a directory up and restores it beside it.
fn there_and_back(strongroom: &Strongroom, source: &Path, place: &Path) -> anyhow::Result<Kept> {
    let log = place.join("client.log");
    let (_, kept) = strongroom.back_up(source, "trip", &log)?;
    let to = place.join("restored");
    strongroom.restore(&kept, &to, &log)?;
    compare::same(source, &to)?;
    Ok(kept)
}

fn files(strongroom: &Strongroom, place: &Path) -> anyhow::Result<String> {
    let source = place.join("source");
    let shape = Shape { name: "trip", kind: Kind::Sources { files: 100_000 }, bytes: 400_000_000, clients: 1 };
    shapes::make(&shape, 0, &source)?;
    let kept = there_and_back(strongroom, &source, place)?;
    Ok(format!("100000 small files of 400 MB, {} MB sent, equal", kept.bytes_sent.unwrap_or_default() / 1_000_000))
}

fn sparse(strongroom: &Strongroom, place: &Path) -> anyhow::Result<String> {
    let source = place.join("source");
    fs::create_dir(&source)?;
    let file = File::create(source.join("disk.img"))?;
    let (mut content, mut bytes) = (Stream::named("sparse"), vec![0; STRETCH_BYTES as usize]);
    for stretch in 0..STRETCHES {
        content.fill(&mut bytes);
        // Off the grid of pages and chunks.
        file.write_all_at(&bytes, stretch * (SPARSE_BYTES / STRETCHES) + stretch * 1000)?;
    }
    file.set_len(SPARSE_BYTES)?;
    shapes::settle(place)?;
    let kept = there_and_back(strongroom, &source, place)?;
    let sent = kept.bytes_sent.context("the client does not say what it sent")?;
    let most = STRETCHES * STRETCH_BYTES + SPARSE_MORE_BYTES;
    ensure!(sent <= most, "{sent} bytes were sent, not {most} at most");
    let allocated = |path: &Path| anyhow::Ok(fs::metadata(path.join("disk.img"))?.blocks() * 512);
    let (was, is) = (allocated(&source)?, allocated(&place.join("restored"))?);
    ensure!(is <= was + SPARSE_MORE_BYTES, "the restored file takes {is} bytes of the disk, not {was}");
    Ok(format!("4 GiB of which {was} bytes are there: {sent} sent, {is} there again, equal"))
}
