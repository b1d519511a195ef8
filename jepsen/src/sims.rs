//! `sim`: whole clusters on simulated machines (`jepsen/sim`), told on the terminal.
//!
//! The last line on stdout is the result. A failing seed is told with the law that it broke, what went wrong by plan and
//! how the trace ended; `sim --shrink SEED` makes it short.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};
use strongroom_sim::simulation::campaign::{Campaign, Ran};
use strongroom_sim::simulation::run::{self, Done, Outcome};
use strongroom_sim::simulation::shrink;

/// How often progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// So many lines of the end of a failing trace are shown.
const TAIL_LINES: usize = 60;
/// Shrinking takes no more runs.
const SHRINK_RUNS_MAX: usize = 200;

/// What all seeds did together.
#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    failed: u64,
    done: Done,
}

impl Sum {
    fn add(&mut self, ran: &Ran) {
        let Done { simulated_ms, entries, laws_checked, parcels, elections, faults, judged } = ran.outcome.done;
        self.seeds += 1;
        self.failed += u64::from(!ran.is_well());
        self.done.simulated_ms += simulated_ms;
        self.done.entries += entries;
        self.done.laws_checked += laws_checked;
        self.done.parcels.0 += parcels.0;
        self.done.parcels.1 += parcels.1;
        self.done.elections += elections;
        self.done.faults += faults;
        self.done.judged.snapshots += judged.snapshots;
        self.done.judged.ended += judged.ended;
        self.done.judged.refused_ends += judged.refused_ends;
        self.done.judged.shown += judged.shown;
        self.done.judged.retried += judged.retried;
    }
}

/// Runs so many seeds; true if every law held.
pub fn run(seeds: u64, from: u64, replays: bool, threads: Option<usize>) -> anyhow::Result<bool> {
    ensure!(seeds != 0, "no seeds are no proof");
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let threads = threads.unwrap_or(cores);
    eprintln!("{seeds} seeds from {from} on {threads} threads");
    let (began, sum, shown) = (Instant::now(), Mutex::new(Sum::default()), Mutex::new(0));
    let failed = Campaign { seeds, from, threads, replays }.run(|ran| {
        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
        sum.add(ran);
        if !ran.is_well() {
            eprintln!("{}", story(ran));
        }
        let due = began.elapsed().as_secs() / PROGRESS_EVERY.as_secs();
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown < due {
            *shown = due;
            eprintln!("{} of {seeds} seeds, {} failed", sum.seeds, sum.failed);
        }
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seconds = began.elapsed().as_secs_f64();
    let runs = sum.seeds * if replays { 2 } else { 1 };
    let times = sum.done.simulated_ms as f64 / 1000.0 * runs as f64 / sum.seeds as f64 / seconds;
    let Done { simulated_ms, entries, laws_checked, parcels, elections, faults, judged } = sum.done;
    println!(
        "{} seeds in {seconds:.0} s: {:.2} seeds/s, {:.1} simulated hours, {times:.0} simulated hours per hour",
        sum.seeds,
        runs as f64 / seconds,
        simulated_ms as f64 / 3_600_000.0,
    );
    println!(
        "{entries} entries, {elections} elections, {} parcels ({} dropped), {faults} faults, laws checked {laws_checked} \
         times",
        parcels.0, parcels.1
    );
    println!(
        "{} snapshots acknowledged, looked for {} times; {} ended, {} ends refused; {} outcomes heard again",
        judged.snapshots, judged.shown, judged.ended, judged.refused_ends, judged.retried
    );
    println!("{}", line(&sum, from, seconds, &failed));
    Ok(sum.failed == 0)
}

/// Runs one seed and tells everything that matters.
pub fn tell(seed: u64) -> bool {
    let began = Instant::now();
    let outcome = run::run(seed);
    for line in &outcome.told.story {
        println!("{line}");
    }
    let seconds = began.elapsed().as_secs_f64();
    let ran = Ran { outcome, differs: None };
    println!("{}", story(&ran));
    let Outcome { told, done, .. } = &ran.outcome;
    println!("{} lines, hash {}, {:.0} s simulated in {seconds:.2} s", told.lines, told.hash, done.simulated_ms / 1000);
    println!("{done:?}");
    ran.is_well()
}

/// Makes a failing seed short and tells what is left; true if it does not fail.
pub fn shrink(seed: u64) -> bool {
    let shrunk = shrink::shrink(seed, run::planned(seed), SHRINK_RUNS_MAX, |runs, outcome| {
        let law = outcome.broken.as_ref().map_or("every law held", |broken| broken.law.as_str());
        eprintln!("run {runs}: {} faults, {law}", outcome.plan.len());
    });
    match shrunk {
        None => {
            println!("seed {seed} does not fail");
            true
        }
        Some(outcome) => {
            for line in &outcome.told.story {
                println!("{line}");
            }
            println!("{}", story(&Ran { outcome, differs: None }));
            false
        }
    }
}

/// A seed with its law, its faults and its end.
fn story(ran: &Ran) -> String {
    let Outcome { seed, broken, shape, plan, told, .. } = &ran.outcome;
    let mut text = match broken {
        Some(broken) => format!("FAILED seed {seed}: {}: {}\n", broken.law, broken.what),
        None => format!("seed {seed}\n"),
    };
    if let Some(other) = &ran.differs {
        text.push_str(&format!("FAILED seed {seed}: its trace was {} and then {other}\n", told.hash));
    }
    text.push_str(&format!("  {shape}\n"));
    for timed in plan {
        text.push_str(&format!("  {timed}\n"));
    }
    if broken.is_some() {
        text.push_str("  … the end of its trace:\n");
        for line in told.tail.iter().skip(told.tail.len().saturating_sub(TAIL_LINES)) {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

fn line(sum: &Sum, from: u64, seconds: f64, failed: &[Ran]) -> Value {
    let mut line = json!({
        "type": "sim",
        "seeds": sum.seeds,
        "from": from,
        "failed": sum.failed,
        "seconds": seconds,
        "simulated_ms": sum.done.simulated_ms,
        "entries": sum.done.entries,
        "snapshots": sum.done.judged.snapshots,
    });
    if !failed.is_empty() {
        let one = |ran: &Ran| {
            let law = ran.outcome.broken.as_ref().map_or("replay", |broken| broken.law.as_str());
            json!({ "seed": ran.outcome.seed, "law": law })
        };
        line["failures"] = failed.iter().map(one).collect();
    }
    line
}
