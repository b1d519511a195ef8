//! The run: each shape is made, backed up, backed up again, restored and compared, by each contestant in turn.
//!
//! ```text
//!   for each shape: make ──▶ for each contestant: first ─▶ unchanged ─▶ restore ─▶ compare ──▶ remove
//! ```
//!
//! Not here: where it happens (`ground.rs`), what is measured (`plan.rs`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::binaries::{self, Binaries};
use crate::child::Ended;
use crate::content::Stream;
use crate::contestant::Contestant;
use crate::ground::Ground;
use crate::plan::{InProcess, Plan, Shape, Small};
use crate::probe::{Probe, Served, Spent};
use crate::report::{Measured, Report, Row};
use crate::restic::Restic;
use crate::vault::Strongroom;
use crate::{compare, interrupt, machine, shapes};

/// Carries the plan out below `dir`, or below Cargo's target directory.
pub fn run(plan: &Plan, dir: Option<&Path>) -> anyhow::Result<Report> {
    let ground = Ground::take(dir, plan.space())?;
    let machine = machine::describe(ground.path());
    let binaries = Binaries::find()?;
    let measured = measure(plan, &binaries, ground.path());
    ground.leave()?;
    let (shapes, notes) = measured?;
    Ok(Report { commit: machine::commit(binaries::workspace()), machine, shapes, notes })
}

fn measure(plan: &Plan, binaries: &Binaries, work: &Path) -> anyhow::Result<(Vec<Row>, Vec<String>)> {
    eprintln!("starting six nodes …");
    let mut strongroom = Strongroom::start(binaries, work)?;
    let mut rows = Vec::new();
    let mut notes = vec![
        "first, unchanged, restore: whole commands, process start to process end; warm cache; every restore was compared."
            .to_owned(),
        "nodes: CPU-seconds of all six; node: the largest; on disk: what was allocated more, over all six.".to_owned(),
        "each: one `strongroom backup` of a few kB: process start, keys, TLS handshakes, session, fragments on six disks,"
            .to_owned(),
        "      one commit by a majority, receipt.".to_owned(),
    ];
    let restic = match Restic::version() {
        Some(version) => {
            notes.push(format!("{version}: a local directory, no network, one copy; ×restic above 1: faster than it."));
            Some(Restic::start(work)?)
        }
        None => {
            notes.push("restic is not installed: nothing to compare with.".to_owned());
            None
        }
    };
    let mut contestants: Vec<&dyn Contestant> = vec![&strongroom];
    contestants.extend(restic.as_ref().map(|restic| restic as &dyn Contestant));
    for shape in &plan.shapes {
        eprintln!("{}: making {} MB …", shape.name, shape.bytes_in_all() / 1_000_000);
        let sources: Vec<PathBuf> = (0..shape.clients).map(|at| work.join(format!("source-{at}"))).collect();
        for (at, source) in (0..).zip(&sources) {
            interrupt::check()?;
            shapes::make(shape, at, source)?;
        }
        for contestant in &contestants {
            rows.extend(one_shape(*contestant, shape, &sources, work)?);
        }
        for source in &sources {
            fs::remove_dir_all(source).context("cannot remove a source")?;
        }
    }
    for small in &plan.small {
        let commits = strongroom.commits()?;
        let ours = rows.len();
        for contestant in &contestants {
            rows.push(small_snapshots(*contestant, small, work)?);
        }
        let commits = strongroom.commits()? - commits;
        let snapshots = small.snapshots * small.clients;
        notes.push(format!("{}: {}.", small.name, rows[ours].cpu_ms_each(snapshots)));
        notes.push(format!(
            "{}: {commits:.0} entries committed, as all nodes count them, for {snapshots} snapshots.",
            small.name
        ));
    }
    let InProcess { name, bytes, snapshots, kills } = plan.application;
    eprintln!("{name}: {snapshots} snapshots through the SDK, {kills} kills of the leader …");
    let (each, failovers) = strongroom.application(&plan.application, work)?;
    rows.push(Row::latencies(name.to_owned(), "commit", bytes as u64, &each));
    rows.push(Row::latencies(name.to_owned(), "leader-kill", bytes as u64, &failovers));
    notes.push(format!("{name}, commit: one snapshot by a process whose client stays open, receipt included."));
    notes.push(format!(
        "{name}, leader-kill: from SIGKILL of the shard's leader to the end of the next snapshot, {kills} times."
    ));
    Ok((rows, notes))
}

fn one_shape(contestant: &dyn Contestant, shape: &Shape, sources: &[PathBuf], work: &Path) -> anyhow::Result<Vec<Row>> {
    let name = format!("{}{}", contestant.prefix(), shape.name);
    let log = |at: usize| work.join(format!("client-{at}.log"));
    let label = |at: usize| format!("{}-{at}", shape.name);
    let mut rows = Vec::new();
    let mut kept = Vec::new();
    for op in ["first", "unchanged"] {
        eprintln!("{name}: {op} …");
        kept.clear();
        let backed_up = side_by_side(contestant.served(), sources, work, |at, source| {
            contestant.back_up(source, &label(at), &log(at))
        })?;
        rows.push(backed_up.row(&name, op, shape.bytes_in_all(), |(ended, _)| ended));
        kept.extend(backed_up.results.into_iter().map(|(_, kept)| kept));
    }
    eprintln!("{name}: restore …");
    let to = |at: usize| work.join(format!("restored-{at}"));
    let restored =
        side_by_side(contestant.served(), &kept, work, |at, kept| contestant.restore(kept, &to(at), &log(at)))?;
    rows.push(restored.row(&name, "restore", shape.bytes_in_all(), |ended| ended));
    for (at, source) in sources.iter().enumerate() {
        compare::same(source, &to(at)).with_context(|| format!("{name}: the restore is not what was backed up"))?;
        fs::remove_dir_all(to(at)).context("cannot remove a restore")?;
    }
    Ok(rows)
}

/// Each client makes its snapshots one after another, of new bytes each time.
fn small_snapshots(contestant: &dyn Contestant, small: &Small, work: &Path) -> anyhow::Result<Row> {
    let name = format!("{}{}", contestant.prefix(), small.name);
    eprintln!("{name}: {} times {} …", small.clients, small.snapshots);
    let clients: Vec<u32> = (0..small.clients).collect();
    let size = usize::try_from(small.bytes).context("a small snapshot is small")?;
    let series = side_by_side(contestant.served(), &clients, work, |at, client| {
        let source = work.join(format!("small-{at}"));
        let mut bytes = vec![0; size];
        let mut content = Stream::named(&format!("{}/{client}", small.name));
        let mut all = Vec::new();
        for _ in 0..small.snapshots {
            content.fill(&mut bytes);
            fs::create_dir_all(&source)?;
            fs::write(source.join("file"), &bytes)?;
            let log = work.join(format!("client-{at}.log"));
            all.push(contestant.back_up(&source, &format!("{}-{at}", small.name), &log)?.0);
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
    };
    Ok(Row::new(name, "commit", &measured))
}

/// What several clients did at once.
struct Together<T> {
    duration: Duration,
    spent: Spent,
    results: Vec<T>,
}

impl<T> Together<T> {
    fn row(&self, shape: &str, op: &'static str, bytes: u64, ended: impl Fn(&T) -> &Ended) -> Row {
        let peak = self.results.iter().map(|result| ended(result).peak_kib).max().unwrap_or(0);
        let measured =
            Measured { bytes, duration: self.duration, client_peak_kib: peak, spent: self.spent, each: None };
        Row::new(shape.to_owned(), op, &measured)
    }
}

/// Does something for each input at the same time. The first error ends the run once all have ended.
fn side_by_side<I: Sync, T: Send>(
    served: &Served,
    inputs: &[I],
    work: &Path,
    act: impl Fn(usize, &I) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Together<T>> {
    shapes::settle(work)?;
    let probe = Probe::start(served)?;
    let began = Instant::now();
    let results = std::thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> =
            inputs.iter().enumerate().map(|(at, input)| scope.spawn(move || act(at, input))).collect();
        threads.into_iter().map(|thread| thread.join().expect("clients do not panic")).collect::<Vec<_>>()
    });
    let duration = began.elapsed();
    let spent = probe.finish()?;
    let results = results.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Together { duration, spent, results })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contestant::Kept;

    /// Copies directories: the least that a contestant must do. It loses a byte where it is told to.
    struct Copier {
        store: tempfile::TempDir,
        served: Served,
        loses: bool,
    }

    impl Copier {
        fn new(loses: bool) -> Self {
            let store = tempfile::tempdir().unwrap();
            let served = Served { pids: vec![std::process::id()], stores: vec![store.path().to_path_buf()] };
            Self { store, served, loses }
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
            Ok((self.copy(source, &kept, log)?, Kept(kept.to_string_lossy().into_owned())))
        }

        fn restore(&self, kept: &Kept, to: &Path, log: &Path) -> anyhow::Result<Ended> {
            let ended = self.copy(Path::new(&kept.0), to, log)?;
            if self.loses {
                fs::write(to.join("random.bin"), b"")?;
            }
            Ok(ended)
        }
    }

    fn rows(loses: bool) -> anyhow::Result<Vec<Row>> {
        let work = tempfile::tempdir().unwrap();
        let shape = Shape { name: "r", kind: crate::plan::Kind::Random, bytes: 300_000, clients: 2 };
        let sources = vec![work.path().join("source-0"), work.path().join("source-1")];
        for (at, source) in (0..).zip(&sources) {
            shapes::make(&shape, at, source).unwrap();
        }
        one_shape(&Copier::new(loses), &shape, &sources, work.path())
    }

    #[test]
    fn a_shape_is_backed_up_twice_and_restored_by_all_clients() {
        let rows = rows(false).unwrap();
        let ops: Vec<_> = rows.iter().map(|row| (row.shape.as_str(), row.op)).collect();
        assert_eq!(ops, [("cp:r", "first"), ("cp:r", "unchanged"), ("cp:r", "restore")]);
    }

    #[test]
    fn a_restore_that_differs_is_no_figure() {
        let failure = format!("{:#}", rows(true).unwrap_err());
        assert!(failure.contains("not what was backed up"), "{failure}");
    }
}
