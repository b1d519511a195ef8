//! Very many chunks, each a few hundred bytes when it is sealed: whether anybody's memory grows with them.
//!
//! ```text
//!   source: one sparse file a snapshot     │ hole, 256 KiB │ page: number … cut │ hole │ page │ …
//!                                          └────────── one chunk ──────────────┘
//! ```
//!
//! No chunk is shorter than 256 KiB, and 10⁶ of those would be 256 GB on disks. So each is nearly all hole: the file takes a
//! page a chunk, and goes by a pipe, in which holes are zeros; the sealed blob takes a few hundred bytes, each fragment one
//! block. The page ends with bytes at which
//! content-defined chunking cuts; they are looked for once, in pseudo-random bytes.
//!
//! Not here: speed of bytes (`contest.rs`).

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use fastcdc::v2020::FastCDC;
use serde_json::json;
use strongroom_format::chunk::{CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};

use crate::binaries::Binaries;
use crate::content::Stream;
use crate::contestant::Contestant as _;
use crate::ground::Ground;
use crate::interrupt;
use crate::probe::Probe;
use crate::vault::Strongroom;

const HOLE: usize = CHUNK_BYTES_MIN as usize;
/// The only bytes of a chunk that are no hole.
pub const PAGE: usize = 4096;
const CHUNK: usize = HOLE + PAGE;
/// So many last bytes decide whether a cut is there.
const WINDOW: usize = 64;
/// A snapshot each.
const STEPS: u64 = 10;
/// What a node may hold more at the end than after its first step, by which all caches are warm.
const GROWTH_MIB_MAX: f64 = 64.0;
/// A block in each of six segments, rows, log, the source: what a chunk takes on the disk meanwhile.
pub const BYTES_PER_CHUNK: u64 = 6 * 4096 + 4 * 1024 + 8 * 1024;

/// Backs up `count` chunks in ten snapshots and prints a line for each. `Ok(false)`: memory has grown.
pub fn run(count: u64, dir: Option<&Path>, is_json: bool) -> anyhow::Result<bool> {
    ensure!(STEPS <= count, "at least {STEPS} chunks");
    let ground = Ground::take(dir, count * BYTES_PER_CHUNK + (4 << 30))?;
    let steps = measure(count, ground.path(), is_json);
    ground.leave()?;
    let steps = steps?;
    let (first, last) = (&steps[1], &steps[steps.len() - 1]);
    let grown = last.node_mib - first.node_mib;
    let is_flat = grown <= GROWTH_MIB_MAX;
    if is_json {
        println!("{}", json!({ "type": "chunks", "chunks": last.chunks, "node_grown_mib": grown, "ok": is_flat }));
    } else {
        println!("the largest node's peak grew by {grown:.0} MiB from {} to {} chunks", first.chunks, last.chunks);
    }
    Ok(is_flat)
}

/// How it was when so many chunks were there.
struct Step {
    chunks: u64,
    node_mib: f64,
}

fn measure(count: u64, work: &Path, is_json: bool) -> anyhow::Result<Vec<Step>> {
    eprintln!("starting six nodes …");
    let strongroom = Strongroom::start(&Binaries::find()?, work)?;
    let page = cutting_page(&mut Stream::named("chunks"))?;
    let source = work.join("sparse");
    let mut steps = Vec::new();
    let mut chunks = 0;
    for step in 1..=STEPS {
        let until = count * step / STEPS;
        write(&source, &page, chunks..until).context("cannot write the source")?;
        let probe = Probe::start(strongroom.served())?;
        let ended = strongroom.back_up_piped(&source, "chunks", &work.join("client.log"))?;
        let spent = probe.finish()?;
        let sent = new_chunks(&ended.stdout)?;
        // a few chunks more: the manifest's
        ensure!(until - chunks <= sent, "only {sent} chunks were new, not {}", until - chunks);
        let (seconds, new) = (ended.duration.as_secs_f64(), until - chunks);
        chunks = until;
        let client_mib = ended.peak_kib as f64 / 1024.0;
        let node_mib = spent.node_peak_kib.unwrap_or(0) as f64 / 1024.0;
        let cpu = spent.clients_cpu + spent.nodes_cpu.unwrap_or_default();
        let cpu_ms = cpu.as_secs_f64() * 1000.0 / new as f64;
        if is_json {
            let line = json!({ "type": "step", "chunks": chunks, "seconds": seconds, "client_peak_mib": client_mib,
                "node_peak_mib": node_mib, "cpu_ms_per_chunk": cpu_ms, "disk_bytes": spent.disk_bytes });
            println!("{line}");
        } else {
            println!(
                "{chunks:>9} chunks: {:>6.0} a second, {cpu_ms:.2} CPU-ms each, peaks: client {client_mib:.0} MiB, \
                 largest node {node_mib:.0} MiB",
                new as f64 / seconds
            );
        }
        steps.push(Step { chunks, node_mib });
    }
    Ok(steps)
}

/// How many chunks were new, by a backup's last line.
pub fn new_chunks(stdout: &str) -> anyhow::Result<u64> {
    let last = stdout.lines().last().context("the client printed no result")?;
    let result: serde_json::Value = serde_json::from_str(last).context("the client's last line is no JSON")?;
    result["chunks_new"].as_u64().with_context(|| format!("no count of chunks in {last}"))
}

/// One page a number, behind a hole each: as many chunks.
pub fn write(path: &Path, page: &[u8; PAGE], numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
    let file = File::create(path)?;
    let mut page = *page;
    for (at, number) in (0_u64..).zip(numbers) {
        if at.is_multiple_of(10_000) {
            interrupt::check()?;
        }
        page[..8].copy_from_slice(&number.to_le_bytes());
        file.write_all_at(&page, at * CHUNK as u64 + HOLE as u64)?;
    }
    Ok(file.sync_all()?)
}

/// A page behind whose last byte a chunk ends that begins a hole before it.
pub fn cutting_page(random: &mut Stream) -> anyhow::Result<[u8; PAGE]> {
    let mut chunk = vec![0; CHUNK];
    loop {
        interrupt::check()?;
        random.fill(&mut chunk[HOLE..]);
        let end = first_cut(&chunk);
        if end <= HOLE + WINDOW || CHUNK <= end {
            continue;
        }
        let mut page = [0; PAGE];
        page[PAGE - WINDOW..].copy_from_slice(&chunk[end - WINDOW..end]);
        let mut made = vec![0; CHUNK];
        made[HOLE..].copy_from_slice(&page);
        made.resize(2 * CHUNK, 0);
        if first_cut(&made) == CHUNK {
            return Ok(page);
        }
    }
}

fn first_cut(bytes: &[u8]) -> usize {
    let [min, average, max] = [CHUNK_BYTES_MIN, CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX].map(|bytes| bytes as usize);
    FastCDC::new(bytes, min, average, max).cut(0, bytes.len()).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_ends_one_chunk() {
        let page = cutting_page(&mut Stream::named("a test")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse");
        write(&path, &page, 70..90).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 20 * CHUNK);
        let mut ends = (0..20).scan(0, |start, _| {
            let length = first_cut(&bytes[*start..]);
            *start += length;
            Some(length)
        });
        assert!(ends.all(|length| length == CHUNK));
        let pages: std::collections::BTreeSet<&[u8]> = bytes.chunks(CHUNK).collect();
        assert_eq!(pages.len(), 20, "no two chunks are the same");
    }
}
