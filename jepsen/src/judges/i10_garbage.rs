//! I10, as far as it shows outside: garbage ends. When all but some snapshots were deleted and garbage had its time, disks
//! hold what these need, and no more.
//!
//! A byte that `usage` calls stored takes `spread` bytes on disks (1.5 with the usual codes), a little more with heads, and
//! files grow in steps. That nothing reachable is freed is I2's and I3's business: all is restored.

use std::collections::BTreeMap;

use crate::calls::{Call, calls};
use crate::history::{Event, Kind};
use crate::verdict::Verdict;
use crate::words::{DELETE, SPACE, USAGE};

/// Its words; a usage alone does not ask for it.
pub const WORDS: [&str; 1] = [SPACE];

/// What a stored byte takes, unless the reading says it.
const SPREAD: f64 = 1.5;
/// So much more may heads and indexes take.
const MORE: f64 = 1.25;
/// So much may lie on a node in files that are not full.
const STEP_BYTES: u64 = 64 << 20;

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
        own.for_each(|line| _ = live.insert(usage.tenant(), line["stored_bytes"]["used"].as_u64().unwrap_or(0)));
    }
    if live.is_empty() {
        return Verdict::Unknown("space: no final usage says what is live".to_owned());
    }
    let spread = spaces.iter().find_map(|space| space.invoke.argument["spread"].as_f64()).unwrap_or(SPREAD);
    let live: u64 = live.values().sum();
    let sum = |phase: &BTreeMap<&str, u64>| phase.values().sum::<u64>();
    let (before, full, end, nodes) = (sum(&before), sum(&full), sum(&end), end.len() as u64);
    let most = before + (live as f64 * spread * MORE) as u64 + nodes * STEP_BYTES;
    let mut evidence = Vec::new();
    if most < end {
        evidence.push(format!(
            "by event {last_space} disks hold {end} bytes, {before} before: {live} live bytes explain no more than {most}"
        ));
    }
    if full <= before {
        return Verdict::Unknown(format!("space: disks did not fill: {before} bytes before, {full} then"));
    }
    Verdict::from_evidence(
        evidence,
        format!("{before} bytes on disks before, {full} full, {end} with {live} live ones"),
    )
}
