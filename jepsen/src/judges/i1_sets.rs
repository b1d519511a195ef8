//! I1, sets: an element that was acknowledged, or was once seen, is in every read that begins later, once; what was
//! refused or never asked for is in none.
//!
//! Names of vaults are such a set, too, but that others than these clients make vaults.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::calls::{Call, calls, occur};
use crate::history::{Event, Kind};
use crate::verdict::Verdict;
use crate::words::{ADD, ELEMENTS, VAULT, VAULTS};

/// Its words; those of vaults alone do not ask for it.
pub const WORDS: [&str; 2] = [ADD, ELEMENTS];

/// Which set: its tenant and its name.
type Set<'a> = (&'a str, &'a str);
/// One listing: the call, and how often each element was shown.
type Read<'a> = (Call<'a>, HashMap<&'a str, u64>);

/// Judges the history.
pub fn judge(events: &[Event]) -> Verdict {
    let mut elements: BTreeMap<Set<'_>, BTreeMap<&str, Vec<Call<'_>>>> = BTreeMap::new();
    for call in calls(events, &[ADD, VAULT]) {
        let (set, element) = match call.invoke.f.as_str() {
            VAULT => ((call.tenant(), VAULTS), call.key()),
            _ => ((call.tenant(), call.key()), call.invoke.asked("element").unwrap_or_default()),
        };
        elements.entry(set).or_default().entry(element).or_default().push(call);
    }
    let mut evidence = Vec::new();
    let mut reads: BTreeMap<Set<'_>, Vec<Read<'_>>> = BTreeMap::new();
    for call in calls(events, &[ELEMENTS, VAULTS]) {
        let Some(end) = call.done() else { continue };
        let (set, seen) = match call.invoke.f.as_str() {
            VAULTS => ((call.tenant(), VAULTS), counts(&end.value["names"])),
            _ => ((call.tenant(), call.key()), counts(&end.value["elements"])),
        };
        reads.entry(set).or_default().push((call, seen));
    }
    let mut checked = 0;
    for (set, reads) in &mut reads {
        reads.sort_by_key(|(call, _)| call.ended());
        let elements = elements.entry(*set).or_default();
        checked += elements.len();
        one_set(*set, reads, elements, &mut evidence);
    }
    if evidence.is_empty() {
        if let Some(((tenant, set), _)) = elements.iter().find(|(set, _)| !reads.contains_key(*set)) {
            return Verdict::Unknown(format!("sets: {set} of {tenant} was never read"));
        }
        let done = events.iter().any(|event| event.is(ADD, Kind::Ok));
        if occur(events, &WORDS) && !(done && events.iter().any(|event| event.is(ELEMENTS, Kind::Ok))) {
            return Verdict::Unknown("sets: nothing was added, or nothing was read".to_owned());
        }
    }
    let count: usize = reads.values().map(Vec::len).sum();
    Verdict::from_evidence(evidence, format!("{checked} elements in {count} reads of {} sets", reads.len()))
}

/// Elements with how often they are there: a list of them, or an object with numbers.
fn counts(value: &Value) -> HashMap<&str, u64> {
    let mut counts = HashMap::new();
    for element in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
        *counts.entry(element).or_default() += 1;
    }
    let named = value.as_object().into_iter().flatten();
    counts.extend(named.map(|(element, count)| (element.as_str(), count.as_u64().unwrap_or(0))));
    counts
}

fn one_set<'a>(
    (tenant, set): Set<'a>,
    reads: &[(Call<'a>, HashMap<&'a str, u64>)],
    elements: &BTreeMap<&'a str, Vec<Call<'a>>>,
    evidence: &mut Vec<String>,
) {
    for (call, seen) in reads {
        let mut strange: Vec<&&str> = seen.keys().collect();
        strange.sort_unstable();
        for element in strange {
            if 1 < seen[*element] {
                evidence.push(format!("{}: {element} is {} times in {set} of {tenant}", call.name(), seen[*element]));
            }
            let adds = elements.get(*element).map_or(&[][..], Vec::as_slice);
            let begun: Vec<&Call<'_>> = adds.iter().filter(|add| add.began() < call.ended()).collect();
            let whose = match begun[..] {
                [] if set == VAULTS => continue,
                [] => "which nobody had asked for",
                _ if begun.iter().all(|add| add.is_refused()) => "which was refused",
                _ => continue,
            };
            evidence.push(format!("{}: {set} of {tenant} has {element}, {whose}", call.name()));
        }
    }
    for (name, adds) in elements {
        // From when on it must be there: the first event that shows it.
        let acknowledged = adds.iter().filter(|add| add.done().is_some()).map(Call::ended);
        let seen = reads.iter().filter(|(_, seen)| seen.contains_key(name)).map(|(call, _)| call.ended());
        let Some(since) = acknowledged.chain(seen).min() else { continue };
        let last_seen = reads.iter().rposition(|(_, seen)| seen.contains_key(name));
        for (at, (call, seen)) in reads.iter().enumerate() {
            if since < call.began() && !seen.contains_key(name) {
                let how = if last_seen.is_some_and(|last| at < last) { "stale" } else { "lost" };
                let read = call.name();
                evidence.push(format!(
                    "{how}: {name} was in {set} of {tenant} by event {since}, not in the read of {read}"
                ));
            }
        }
    }
}
