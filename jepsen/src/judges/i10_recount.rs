//! I10, as disks have it: what lies on stopped nodes, counted again, is what their rows say: references, quotas, audit trees,
//! queues of garbage, digests, and every copy that a row names is there and whole.
//!
//! A node whose disk was damaged on purpose may have damage that nobody has found yet, or that nothing repairs. Not here: the
//! counting (`strongroomd fsck`).

use std::collections::BTreeSet;

use crate::calls::calls;
use crate::history::{Event, Kind};
use crate::verdict::Verdict;
use crate::words::{FAULT, RECOUNT};

/// Its words.
pub const WORDS: [&str; 1] = [RECOUNT];

/// Attacks behind which a disk lacks something, or has it wrong.
const DAMAGES: [&str; 6] = ["rot", "rot-state", "rot-log", "set-back", "sync-lost", "members"];

/// Judges the history.
pub fn judge(events: &[Event]) -> Verdict {
    let struck = |event: &&Event| {
        event.is(FAULT, Kind::Invoke) && event.key.as_deref().is_some_and(|attack| DAMAGES.contains(&attack))
    };
    let damaged: BTreeSet<&str> =
        events.iter().filter(struck).flat_map(|event| event.node.as_deref().unwrap_or_default().split(',')).collect();
    let counts = calls(events, &WORDS);
    let Some(count) = counts.iter().rev().find_map(|count| count.done()) else {
        let why = counts.iter().filter_map(|count| count.end?.error.as_deref()).next_back();
        return Verdict::Unknown(format!("recount: {}", why.unwrap_or("nothing was counted")));
    };
    let (mut evidence, mut expected) = (Vec::new(), 0);
    for broken in count.value["broken"].as_array().into_iter().flatten() {
        match broken["node"].as_str() {
            Some(node) if damaged.contains(node) => expected += 1,
            node => evidence.push(format!("on {}: {}", node.unwrap_or("no node"), broken["line"])),
        }
    }
    let number = |name: &str| count.value[name].as_u64().unwrap_or(0);
    if number("groups") == 0 {
        return Verdict::Unknown("recount: there is no group".to_owned());
    }
    let figures = format!(
        "{} groups and {} copies counted again, {expected} faults where damage was done",
        number("groups"),
        number("copies")
    );
    Verdict::from_evidence(evidence, figures)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::history::made_up::{history, operation};
    use crate::verdict::Word;

    fn word(attack: &str, struck: &str, broken: &str) -> Word {
        let fault = operation(Kind::Ok, FAULT, attack, Value::Null, Value::Null);
        let fault = fault.map(|event| Event { node: Some(struck.to_owned()), ..event });
        let broken = json!([{ "node": broken, "line": { "type": "copies", "missing": 1 } }]);
        let value = json!({ "groups": 12, "copies": 40, "broken": broken });
        let recount = operation(Kind::Ok, RECOUNT, "cluster", Value::Null, value);
        judge(&history([fault, recount].concat())).word()
    }

    #[test]
    fn damage_is_expected_where_it_was_done_and_nowhere_else() {
        assert_eq!(word("rot", "north-1", "north-1"), Word::Pass);
        assert_eq!(word("rot", "north-2", "north-1"), Word::Fail);
        assert_eq!(word("kill", "north-1", "north-1"), Word::Fail, "a kill damages nothing");
    }
}
