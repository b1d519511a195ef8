//! I10, as far as it shows outside: garbage ends. When all but some snapshots were deleted and garbage had its time, each
//! node's disk holds what these need, and no more.
//!
//! A node has one fragment of a chunk at most, so a byte that `usage` calls stored takes a quarter of one there, a little
//! more with heads, and disks give back whole blocks. What was begun and did not come to an end that anybody heard of may
//! keep what it had sent for the six hours of its lease. That nothing reachable is freed is I2's and I3's business: all is
//! restored.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::calls::{Call, calls};
use crate::history::{Event, Kind};
use crate::verdict::Verdict;
use crate::words::{ADD, APPEND, BACKUP, CHARGE, DELETE, KEEP, SPACE, USAGE};

/// Its words; a usage alone does not ask for it.
pub const WORDS: [&str; 1] = [SPACE];

/// What a stored byte takes on a node: one of the four fragments that make a chunk.
const SHARE: f64 = 0.25;
/// So much more may heads take.
const MORE: f64 = 1.25;
/// So much may lie on a node in blocks of which something is live.
const BLOCKS_BYTES: u64 = 4 << 20;

/// What a client may have sent that did not come to an end: its lease keeps that for six hours.
const LEASED_BYTES: u64 = 1 << 20;

/// How much a node's disk may hold that held `before`, with so many live bytes of all tenants and so many outcomes that
/// nobody knows.
pub fn most_bytes(before: u64, live: u64, unknown: u64) -> u64 {
    before + ((live + unknown * LEASED_BYTES) as f64 * SHARE * MORE) as u64 + BLOCKS_BYTES
}

/// How many snapshots were begun of which nobody knows what became.
pub fn unknown(events: &[Event]) -> u64 {
    let begun = calls(events, &[BACKUP, CHARGE, KEEP, APPEND, ADD]);
    begun.iter().filter(|call| call.kind() == Kind::Info).count() as u64
}

/// What a tenant's line of `usage` calls stored. Where no snapshot is left, nothing is: what is still charged is garbage.
pub fn live_bytes(line: &Value) -> u64 {
    match line["snapshots"]["used"].as_u64() {
        Some(0) => 0,
        Some(_) | None => line["stored_bytes"]["used"].as_u64().unwrap_or(0),
    }
}

/// Judges the history.
pub fn judge(events: &[Event]) -> Verdict {
    let spaces: Vec<Call<'_>> = calls(events, &WORDS).into_iter().filter(|space| space.done().is_some()).collect();
    let phase = |name: &str| -> BTreeMap<&str, u64> {
        let of_phase = spaces.iter().filter(|space| space.invoke.asked("phase") == Some(name));
        of_phase.filter_map(|space| Some((space.key(), space.done()?.value["bytes"].as_u64()?))).collect()
    };
    let (before, full, end) = (phase("before"), phase("full"), phase("end"));
    if before.is_empty() || !before.keys().eq(full.keys()) || !before.keys().eq(end.keys()) {
        return Verdict::Unknown("space: not every node's disk was looked at before, full and in the end".to_owned());
    }
    if !events.iter().any(|event| event.is(DELETE, Kind::Ok)) {
        return Verdict::Unknown("space: nothing was deleted".to_owned());
    }
    let last_space = spaces.iter().map(Call::ended).max().unwrap_or(0);
    let mut live: BTreeMap<&str, u64> = BTreeMap::new();
    for usage in
        calls(events, &[USAGE]).into_iter().filter(|usage| usage.invoke.is_final() && usage.ended() != u64::MAX)
    {
        let lines = usage.done().and_then(|end| end.value["usage"].as_array()).into_iter().flatten();
        let own = lines.filter(|line| line["of"] == "tenant");
        own.for_each(|line| _ = live.insert(usage.tenant(), live_bytes(line)));
    }
    if live.is_empty() {
        return Verdict::Unknown("space: no final usage says what is live".to_owned());
    }
    let live: u64 = live.values().sum();
    let sum = |phase: &BTreeMap<&str, u64>| phase.values().sum::<u64>();
    let unknown = unknown(events);
    let mut evidence = Vec::new();
    for (node, &holds) in &end {
        let had = before[node];
        let most = most_bytes(had, live, unknown);
        if most < holds {
            evidence.push(format!(
                "by event {last_space} the disk of {node} holds {holds} bytes, {had} before: {live} live bytes and {unknown} \
                 unknown outcomes explain no more than {most}"
            ));
        }
    }
    let (before, full, end) = (sum(&before), sum(&full), sum(&end));
    if full <= before {
        return Verdict::Unknown(format!("space: disks did not fill: {before} bytes before, {full} then"));
    }
    Verdict::from_evidence(
        evidence,
        format!("{before} bytes on disks before, {full} full, {end} with {live} live ones"),
    )
}
