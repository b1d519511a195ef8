//! The run: each shape is made, backed up, backed up again, restored and compared, by each contestant in turn.
//!
//! ```text
//!   for each shape: make ──▶ for each contestant: first ─▶ unchanged ──▶ change a hundredth
//!                        ──▶ for each contestant: changed ─▶ restore ─▶ compare ──▶ remove
//! ```
//!
//! Fails if a restore differs, or if ours sends much more than what changed ([`sends_what_changed`]).
//!
//! Not here: where it happens (`ground.rs`), what is measured (`plan.rs`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use strongroom_format::chunk::CHUNK_BYTES_MAX;

use crate::binaries::{self, Binaries};
use crate::borg::Borg;
use crate::child::Ended;
use crate::content::Stream;
use crate::contestant::{Contestant, Kept};
use crate::ground::Ground;
use crate::plan::{InProcess, Plan, Shape, Small};
use crate::probe::{Probe, Spent};
use crate::report::{Measured, Report, Row};
use crate::restic::Restic;
use crate::rustic::Rustic;
use crate::vault::Strongroom;
use crate::{compare, interrupt, machine, shapes};

/// Of what nothing changed in, less than one byte in so many is sent.
const UNCHANGED_ONE_IN: u64 = 100;

/// Carries the plan out below `dir`, or below Cargo's target directory.
pub fn run(plan: &Plan, dir: Option<&Path>) -> anyhow::Result<Report> {
    let ground = Ground::take(dir, plan.space())?;
    let machine = machine::describe(ground.path());
    let binaries = Binaries::find()?;
    let load = machine::load();
    let measured = measure(plan, &binaries, ground.path());
    ground.leave()?;
    let (shapes, notes, rivals) = measured?;
    let load = [load, machine::load()];
    let mut report = Report { commit: machine::commit(binaries::workspace()), machine, shapes, load, notes };
    report.compare(&rivals);
    Ok(report)
}

/// The figures, what to say beside them, and who else was there.
type All = (Vec<Row>, Vec<String>, Vec<&'static str>);

fn measure(plan: &Plan, binaries: &Binaries, work: &Path) -> anyhow::Result<All> {
    eprintln!("starting six nodes …");
    let mut strongroom = Strongroom::start(binaries, work)?;
    let mut rows = Vec::new();
    let mut notes = vec![
        "first, unchanged, changed (a hundredth), restore: whole commands, process start to process end; warm cache; every"
            .to_owned(),
        "      restore was compared.".to_owned(),
        "nodes: CPU-seconds of all six; node: the largest; disk: what was allocated more, over all six, and per byte of a"
            .to_owned(),
        "      first backup; commits: entries that majorities committed, of all groups.".to_owned(),
        "each: one `strongroom backup` of a few kB: process start, keys, TLS handshakes, session, fragments on six disks,"
            .to_owned(),
        "      one commit by a majority, receipt.".to_owned(),
    ];
    let rivals = if plan.has_rivals { rivals(work, &mut notes)? } else { Vec::new() };
    let mut contestants: Vec<&dyn Contestant> = vec![&strongroom];
    contestants.extend(rivals.iter().map(|rival| &**rival));
    for shape in &plan.shapes {
        rows.extend(one_shape(&contestants, shape, work)?);
    }
    for small in &plan.small {
        let ours = rows.len();
        for contestant in &contestants {
            rows.push(small_snapshots(*contestant, small, work)?);
        }
        notes.push(format!("{}: {}.", small.name, rows[ours].cpu_ms_each(small.snapshots * small.clients)));
    }
    let names = rivals.iter().map(|rival| rival.prefix()).collect();
    if let Some(application) = &plan.application {
        let InProcess { name, bytes, snapshots, kills } = *application;
        eprintln!("{name}: {snapshots} snapshots through the SDK, {kills} kills of the leader …");
        let (each, failovers) = strongroom.application(application, work)?;
        rows.push(Row::latencies(name.to_owned(), "commit", bytes as u64, &each));
        rows.push(Row::latencies(name.to_owned(), "leader-kill", bytes as u64, &failovers));
        notes.push(format!("{name}, commit: one snapshot by a process whose client stays open, receipt included."));
        notes.push(format!(
            "{name}, leader-kill: from SIGKILL of the shard's leader to the end of the next snapshot, {kills} times."
        ));
    }
    Ok((rows, notes, names))
}

/// Who else is installed.
fn rivals(work: &Path, notes: &mut Vec<String>) -> anyhow::Result<Vec<Box<dyn Contestant>>> {
    let mut rivals: Vec<Box<dyn Contestant>> = Vec::new();
    let mut note = |name: &str, version: Option<String>| match &version {
        Some(version) => notes.push(format!("{version}: a local directory, no network, one copy.")),
        None => notes.push(format!("{name} is not installed: nothing to compare with.")),
    };
    let (restic, borg, rustic) = (Restic::version(), Borg::version(), Rustic::version());
    if restic.is_some() {
        rivals.push(Box::new(Restic::start(work)?));
    }
    if borg.is_some() {
        rivals.push(Box::new(Borg::start(work)?));
    }
    if rustic.is_some() {
        rivals.push(Box::new(Rustic::start(work)?));
    }
    note("restic", restic);
    note("borg", borg);
    note("rustic", rustic);
    Ok(rivals)
}

/// A shape by each contestant in turn.
fn one_shape(contestants: &[&dyn Contestant], shape: &Shape, work: &Path) -> anyhow::Result<Vec<Row>> {
    eprintln!("{}: making {} MB …", shape.name, shape.bytes_in_all() / 1_000_000);
    let sources: Vec<PathBuf> = (0..shape.clients).map(|at| work.join(format!("source-{at}"))).collect();
    for (at, source) in (0..).zip(&sources) {
        interrupt::check()?;
        shapes::make(shape, at, source)?;
    }
    let mut rows = Vec::new();
    let mut changed = 0;
    for op in ["first", "unchanged", "changed"] {
        if op == "changed" {
            changed =
                (0..).zip(&sources).map(|(at, source)| shapes::change(shape, at, source)).sum::<anyhow::Result<_>>()?;
        }
        for contestant in contestants {
            let (row, kept) = backed_up(*contestant, shape, op, &sources, work)?;
            sends_what_changed(shape, &row, changed)?;
            rows.push(row);
            if op == "changed" {
                rows.push(restored(*contestant, shape, &sources, &kept, work)?);
            }
        }
    }
    // Only now: for minutes ext4 looks hard for inodes that were not freed lately, and whoever restores next would pay for it.
    for (at, source) in sources.iter().enumerate() {
        fs::remove_dir_all(source).context("cannot remove a source")?;
        for contestant in contestants {
            fs::remove_dir_all(restored_to(*contestant, at, work)).context("cannot remove a restore")?;
        }
    }
    Ok(rows)
}

fn backed_up(
    contestant: &dyn Contestant,
    shape: &Shape,
    op: &'static str,
    sources: &[PathBuf],
    work: &Path,
) -> anyhow::Result<(Row, Vec<Kept>)> {
    let name = format!("{}{}", contestant.prefix(), shape.name);
    eprintln!("{name}: {op} …");
    let label = |at: usize| format!("{}-{at}", shape.name);
    for at in 0..sources.len() {
        contestant.prepare(&label(at), &log(work, at))?;
    }
    let together =
        side_by_side(contestant, sources, work, |at, source| contestant.back_up(source, &label(at), &log(work, at)))?;
    let sent = together.results.iter().map(|(_, kept)| kept.bytes_sent).sum();
    let row = together.row(&name, op, shape.bytes_in_all(), sent, |(ended, _)| ended);
    Ok((row, together.results.into_iter().map(|(_, kept)| kept).collect()))
}

fn restored(
    contestant: &dyn Contestant,
    shape: &Shape,
    sources: &[PathBuf],
    kept: &[Kept],
    work: &Path,
) -> anyhow::Result<Row> {
    let name = format!("{}{}", contestant.prefix(), shape.name);
    eprintln!("{name}: restore …");
    let to = |at: usize| restored_to(contestant, at, work);
    let together = side_by_side(contestant, kept, work, |at, kept| contestant.restore(kept, &to(at), &log(work, at)))?;
    let row = together.row(&name, "restore", shape.bytes_in_all(), None, |ended| ended);
    for (at, source) in sources.iter().enumerate() {
        compare::same(source, &to(at)).with_context(|| format!("{name}: the restore is not what was backed up"))?;
    }
    Ok(row)
}

/// What nothing changed in sends next to nothing, and what changed by a hundredth about that: with a chunk of 4 MiB at both
/// ends of a stretch, and the list of entries. Of who does not say what it sent nothing is asked.
fn sends_what_changed(shape: &Shape, row: &Row, changed: u64) -> anyhow::Result<()> {
    let Some(sent) = row.bytes_sent() else { return Ok(()) };
    let little = shape.bytes_in_all() / UNCHANGED_ONE_IN;
    let most = match row.op {
        "unchanged" => little,
        "changed" => changed + little + u64::from(shape.clients) * 2 * CHUNK_BYTES_MAX as u64,
        _ => return Ok(()),
    };
    ensure!(sent <= most, "{}, {}: {sent} bytes were sent, not {most} at most", row.shape, row.op);
    Ok(())
}

fn restored_to(contestant: &dyn Contestant, at: usize, work: &Path) -> PathBuf {
    work.join(format!("restored-{at}-{}", contestant.prefix().trim_end_matches(':')))
}

fn log(work: &Path, at: usize) -> PathBuf {
    work.join(format!("client-{at}.log"))
}

/// Each client makes its snapshots one after another, of new bytes each time.
fn small_snapshots(contestant: &dyn Contestant, small: &Small, work: &Path) -> anyhow::Result<Row> {
    let name = format!("{}{}", contestant.prefix(), small.name);
    eprintln!("{name}: {} times {} …", small.clients, small.snapshots);
    let clients: Vec<u32> = (0..small.clients).collect();
    let size = usize::try_from(small.bytes).context("a small snapshot is small")?;
    let label = |at: usize| format!("{}-{at}", small.name);
    for at in 0..clients.len() {
        contestant.prepare(&label(at), &log(work, at))?;
    }
    let series = side_by_side(contestant, &clients, work, |at, client| {
        let source = work.join(format!("small-{at}"));
        let mut bytes = vec![0; size];
        let mut content = Stream::named(&format!("{}/{client}", small.name));
        let mut all = Vec::new();
        for _ in 0..small.snapshots {
            content.fill(&mut bytes);
            fs::create_dir_all(&source)?;
            fs::write(source.join("file"), &bytes)?;
            all.push(contestant.back_up(&source, &label(at), &log(work, at))?.0);
        }
        Ok(all)
    })?;
    let each: Vec<Duration> = series.results.iter().flatten().map(|ended| ended.duration).collect();
    let measured = Measured {
        bytes: small.bytes * each.len() as u64,
        duration: series.duration,
        client_peak_kib: series.results.iter().flatten().map(|ended| ended.peak_kib).max().unwrap_or(0),
        spent: series.spent,
        each: Some(&each),
        bytes_sent: None,
        commits: series.commits,
    };
    Ok(Row::new(name, "commit", &measured))
}

/// What several clients did at once.
struct Together<T> {
    duration: Duration,
    spent: Spent,
    commits: Option<f64>,
    results: Vec<T>,
}

impl<T> Together<T> {
    fn row(
        &self,
        shape: &str,
        op: &'static str,
        bytes: u64,
        bytes_sent: Option<u64>,
        ended: impl Fn(&T) -> &Ended,
    ) -> Row {
        let measured = Measured {
            bytes,
            duration: self.duration,
            client_peak_kib: self.results.iter().map(|result| ended(result).peak_kib).max().unwrap_or(0),
            spent: self.spent,
            each: None,
            bytes_sent,
            commits: self.commits,
        };
        Row::new(shape.to_owned(), op, &measured)
    }
}

/// Does something for each input at the same time. The first error ends the run once all have ended.
fn side_by_side<I: Sync, T: Send>(
    contestant: &dyn Contestant,
    inputs: &[I],
    work: &Path,
    act: impl Fn(usize, &I) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Together<T>> {
    shapes::settle(work)?;
    let before = contestant.commits()?;
    let probe = Probe::start(contestant.served())?;
    let began = Instant::now();
    let results = std::thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> =
            inputs.iter().enumerate().map(|(at, input)| scope.spawn(move || act(at, input))).collect();
        threads.into_iter().map(|thread| thread.join().expect("clients do not panic")).collect::<Vec<_>>()
    });
    let duration = began.elapsed();
    let commits = contestant.commits()?.zip(before).map(|(after, before)| after - before);
    let spent = probe.finish()?;
    let results = results.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Together { duration, spent, commits, results })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::plan::Kind;
    use crate::probe::Served;

    /// Copies directories: the least that a contestant must do. It loses a byte where it is told to, and sends everything
    /// again where it is told to.
    struct Copier {
        store: tempfile::TempDir,
        served: Served,
        loses: bool,
        sends: [u64; 3],
        backups: AtomicUsize,
    }

    impl Copier {
        fn new(loses: bool, sends: [u64; 3]) -> Self {
            let store = tempfile::tempdir().unwrap();
            let served = Served { pids: vec![std::process::id()], stores: vec![store.path().to_path_buf()] };
            Self { store, served, loses, sends, backups: AtomicUsize::new(0) }
        }

        fn copy(&self, from: &Path, to: &Path, log: &Path) -> anyhow::Result<Ended> {
            fs::remove_dir_all(to).ok();
            crate::child::run(std::process::Command::new("cp").arg("-r").arg(from).arg(to), log)
        }
    }

    impl Contestant for Copier {
        fn prefix(&self) -> &'static str {
            "cp:"
        }

        fn served(&self) -> &Served {
            &self.served
        }

        fn back_up(&self, source: &Path, label: &str, log: &Path) -> anyhow::Result<(Ended, Kept)> {
            let kept = self.store.path().join(label);
            let ended = self.copy(source, &kept, log)?;
            let bytes_sent = Some(self.sends[self.backups.fetch_add(1, Ordering::Relaxed)]);
            Ok((ended, Kept { name: kept.to_string_lossy().into_owned(), bytes_sent }))
        }

        fn restore(&self, kept: &Kept, to: &Path, log: &Path) -> anyhow::Result<Ended> {
            let ended = self.copy(Path::new(&kept.name), to, log)?;
            if self.loses {
                fs::write(to.join("random.bin"), b"")?;
            }
            Ok(ended)
        }
    }

    fn rows(loses: bool, sends: [u64; 3]) -> anyhow::Result<Vec<Row>> {
        let work = tempfile::tempdir().unwrap();
        let shape = Shape { name: "r", kind: Kind::Random, bytes: 30_000_000, clients: 1 };
        one_shape(&[&Copier::new(loses, sends)], &shape, work.path())
    }

    #[test]
    fn a_shape_is_backed_up_three_times_and_restored() {
        let rows = rows(false, [30_000_000, 1000, 400_000]).unwrap();
        let ops: Vec<_> = rows.iter().map(|row| (row.shape.as_str(), row.op)).collect();
        assert_eq!(ops, [("cp:r", "first"), ("cp:r", "unchanged"), ("cp:r", "changed"), ("cp:r", "restore")]);
    }

    #[test]
    fn a_restore_that_differs_is_no_figure() {
        let failure = format!("{:#}", rows(true, [0; 3]).unwrap_err());
        assert!(failure.contains("not what was backed up"), "{failure}");
    }

    #[test]
    fn who_sends_what_did_not_change_breaks_the_promise() {
        for (sends, op) in [([0, 300_001, 0], "unchanged"), ([0, 0, 30_000_000], "changed")] {
            let failure = format!("{:#}", rows(false, sends).unwrap_err());
            assert!(failure.contains(op) && failure.contains("were sent"), "{failure}");
        }
    }
}
