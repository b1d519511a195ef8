//! I5: the compliance clock's advance since `init` is at most true elapsed time · 1.0002, always; it is late only within
//! its bound when all is well; and it never runs back.
//!
//! At `init` the clock is no later than true time, so a clock that is read is at most the true wall time of `init` plus all
//! that passed until the answer came, by the harness's monotonic clock, times 1.0002. The harness's own wall clock is used
//! once, for `init`, and must have gone with the monotonic one.
//!
//! Calm is when no fault was on for a while. Within calm, from the first reading to each later one, the clock has advanced by
//! what passed between them, less its bound; and it is not held.

use std::collections::BTreeMap;

use crate::calls::{Call, calls};
use crate::history::{Event, Kind};
use crate::judges::moment;
use crate::verdict::Verdict;
use crate::words::{CLOCK, FAULT, INIT, MEND};

/// Its words; that a cluster was made, which every run says, does not ask for it.
pub const WORDS: [&str; 1] = [CLOCK];

/// How much faster than true time a clock may run.
const RATE: f64 = 0.0002;
/// Readings are whole milliseconds.
const NEAR_MS: f64 = 1.0;
/// After a fault was undone, clocks get so long.
const SETTLES_S: f64 = 60.0;
/// A shard that is calm for so long is not held.
const HELD_S: f64 = 120.0;
/// How late a clock may be that does not say its bound: one that nobody waits for ticks every minute.
const BOUND_MS: f64 = 62_000.0;
/// How far the harness's wall clock may differ from its monotonic one.
const OWN_MS: f64 = 500.0;

/// A reading of one shard's clock.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// When it was asked for and when it came.
    began: u64,
    ended: u64,
    began_ms: f64,
    ended_ms: f64,
    clock_ms: f64,
    bound_ms: f64,
    held: bool,
}

/// Judges the history.
pub fn judge(events: &[Event]) -> Verdict {
    let Some(init) = calls(events, &[INIT]).into_iter().find(|call| call.done().is_some()) else {
        return Verdict::Unknown("clocks: it is not known when the cluster was made".to_owned());
    };
    let off_ms = |event: &Event| event.wall_ns as f64 / 1e6 - ms(event) - (wall_ms(&init) - ms(init.invoke));
    if let Some(moved) = events.iter().find(|event| OWN_MS < off_ms(event).abs()) {
        return Verdict::Unknown(format!("event {}: the harness's own wall clock was moved", moved.index));
    }
    let mut readings: BTreeMap<u64, Vec<Reading>> = BTreeMap::new();
    for call in calls(events, &[CLOCK]) {
        for (shard, reading) in read(&call) {
            readings.entry(shard).or_default().push(reading);
        }
    }
    let before_s = init.invoke.argument["before_seconds"].as_f64().unwrap_or(0.0);
    let calm = calm(events);
    let mut evidence = Vec::new();
    let (mut count, mut compared, mut earliest_ms) = (0, 0, f64::NEG_INFINITY);
    for (shard, readings) in &readings {
        count += readings.len();
        for reading in readings {
            let elapsed_ms = reading.ended_ms - ms(init.invoke);
            let most = wall_ms(&init) + elapsed_ms * (1.0 + RATE) + before_s * 1000.0 * RATE + NEAR_MS;
            earliest_ms = earliest_ms.max(reading.clock_ms - most);
            if most < reading.clock_ms {
                let early = reading.clock_ms - most;
                evidence.push(format!(
                    "event {}: the clock of shard {shard} is {early:.0} ms further than true time allows",
                    reading.ended
                ));
            }
        }
        never_back(*shard, readings, &mut evidence);
        compared += not_late(*shard, readings, &calm, &mut evidence);
    }
    if evidence.is_empty() && readings.values().all(|readings| readings.len() < 2) {
        return Verdict::Unknown("clocks: no shard's was read twice".to_owned());
    }
    let figures = format!(
        "{count} readings of {} clocks, none closer than {:.0} ms to its bound; {compared} compared in calm",
        readings.len(),
        -earliest_ms
    );
    Verdict::from_evidence(evidence, figures)
}

fn ms(event: &Event) -> f64 {
    event.time_ns as f64 / 1e6
}

fn wall_ms(call: &Call<'_>) -> f64 {
    call.invoke.wall_ns as f64 / 1e6
}

fn read(call: &Call<'_>) -> Vec<(u64, Reading)> {
    let Some(end) = call.done() else { return Vec::new() };
    let shards = end.value["shards"].as_array().into_iter().flatten();
    let readings = shards.filter_map(|shard| {
        let reading = Reading {
            began: call.began(),
            ended: end.index,
            began_ms: ms(call.invoke),
            ended_ms: ms(end),
            clock_ms: moment::unix_ms(shard["time"].as_str()?)? as f64,
            bound_ms: shard["bound_ms"].as_f64().unwrap_or(BOUND_MS),
            held: shard["state"].as_str() == Some("held"),
        };
        Some((shard["id"].as_u64()?, reading))
    });
    readings.collect()
}

fn never_back(shard: u64, readings: &[Reading], evidence: &mut Vec<String>) {
    let mut by_end: Vec<&Reading> = readings.iter().collect();
    by_end.sort_by_key(|reading| reading.ended);
    let (mut ended, mut highest) = (by_end.into_iter().peekable(), None::<&Reading>);
    for reading in readings {
        while let Some(before) = ended.next_if(|before| before.ended < reading.began) {
            highest = Some(highest.filter(|highest| before.clock_ms <= highest.clock_ms).unwrap_or(before));
        }
        if let Some(before) = highest.filter(|before| reading.clock_ms < before.clock_ms) {
            let back = before.clock_ms - reading.clock_ms;
            evidence.push(format!(
                "event {}: the clock of shard {shard} is {back:.0} ms before that of event {}",
                reading.ended, before.ended
            ));
        }
    }
}

/// Spans without a fault, after a while of rest: from when to when, in milliseconds.
fn calm(events: &[Event]) -> Vec<(f64, f64)> {
    let mut spans = Vec::new();
    let mut since = events.first().map(ms);
    for event in events {
        match (event.f.as_str(), event.kind) {
            (FAULT, Kind::Invoke) => spans.extend(since.take().map(|since| (since, ms(event)))),
            (MEND, Kind::Ok) => since = Some(ms(event) + SETTLES_S * 1000.0),
            _ => {}
        }
    }
    spans.extend(since.map(|since| (since, f64::INFINITY)));
    spans.retain(|(begin, end)| begin < end);
    spans
}

/// How many readings were compared.
fn not_late(shard: u64, readings: &[Reading], calm: &[(f64, f64)], evidence: &mut Vec<String>) -> usize {
    let mut compared = 0;
    for (begin, end) in calm {
        let within = |reading: &&Reading| *begin <= reading.began_ms && reading.ended_ms <= *end;
        let mut first: Option<&Reading> = None;
        for reading in readings.iter().filter(within) {
            if reading.held && HELD_S * 1000.0 < reading.began_ms - begin {
                evidence
                    .push(format!("event {}: the clock of shard {shard} is held though all is calm", reading.ended));
            }
            let Some(first) = first else {
                first = Some(reading);
                continue;
            };
            compared += 1;
            let passed_ms = (reading.began_ms - first.ended_ms) * (1.0 - RATE);
            let late_ms = passed_ms - (reading.clock_ms - first.clock_ms);
            if reading.bound_ms + NEAR_MS < late_ms {
                evidence.push(format!(
                    "event {}: the clock of shard {shard} lost {late_ms:.0} ms since event {} though all is calm",
                    reading.ended, first.ended
                ));
            }
        }
    }
    compared
}
