//! I14, as far as it shows outside: where two nodes have applied the same entries of a group, their states have one digest;
//! and no node's state goes back.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::calls::calls;
use crate::history::Event;
use crate::verdict::Verdict;
use crate::words::BEACON;

/// Its words.
pub const WORDS: [&str; 1] = [BEACON];

/// Judges the history.
pub fn judge(events: &[Event]) -> Verdict {
    let mut evidence = Vec::new();
    // By group and index: the digest, and which nodes have it.
    let mut digests: BTreeMap<(u64, u64), BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    let mut last: BTreeMap<(&str, u64), u64> = BTreeMap::new();
    for beacon in calls(events, &WORDS) {
        let Some(end) = beacon.done() else { continue };
        for group in end.value["groups"].as_array().into_iter().flatten() {
            let known = (group["id"].as_u64(), group["applied"].as_u64(), group["digest"].as_str());
            let (Some(id), Some(applied), Some(digest)) = known else {
                return Verdict::Unknown(format!("event {}: no id, applied or digest in {group}", end.index));
            };
            digests.entry((id, applied)).or_default().entry(digest).or_default().push(beacon.key());
            // A node that was wiped on purpose begins anew.
            let is_new = beacon.invoke.argument["wiped"] == Value::Bool(true);
            let before = last.insert((beacon.key(), id), applied).filter(|before| !is_new && applied < *before);
            if let Some(before) = before {
                let node = beacon.key();
                evidence
                    .push(format!("event {}: group {id} of {node} was at {before}, and is at {applied}", end.index));
            }
        }
    }
    let mut compared = 0;
    for ((group, applied), by_digest) in &digests {
        let nodes = by_digest.values().flatten().collect::<std::collections::BTreeSet<_>>().len();
        compared += usize::from(1 < nodes);
        if 1 < by_digest.len() {
            evidence.push(format!("group {group} at index {applied} has several states: {by_digest:?}"));
        }
    }
    if evidence.is_empty() && compared == 0 {
        return Verdict::Unknown("digests: no two nodes were seen at the same index".to_owned());
    }
    Verdict::from_evidence(evidence, format!("{compared} states compared between nodes"))
}
