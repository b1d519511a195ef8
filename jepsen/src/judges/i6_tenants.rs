//! I6: nothing of one tenant ever reaches another; no existence oracle; nodes see no content and no inner name.
//!
//! - No canary of another tenant in anything that was said to a tenant; no sealed canary in nodes' logs, metrics and
//!   data directories. Each place was really searched, and the search finds what is there (controls).
//! - A foreign snapshot is never served, and refused in the words in which an absent one is.

use std::collections::BTreeSet;

use crate::history::{Event, Kind};
use crate::verdict::Verdict;
use crate::words::{ABSENT, SCAN, STEAL};

/// Places that must have been searched; a key is the place, or the place, a colon and more.
const PLACES: [&str; 4] = ["transcript", "log", "metrics", "data"];
/// Where the search must find something.
const CONTROL: &str = "control";

/// Judges the history.
pub fn judge(events: &[Event]) -> Verdict {
    let mut evidence = Vec::new();
    let mut searched: BTreeSet<&str> = BTreeSet::new();
    let (mut bytes_in_all, mut controls, mut blind) = (0, 0, Vec::new());
    for scan in events.iter().filter(|event| event.is(SCAN, Kind::Ok)) {
        let key = scan.key.as_deref().unwrap_or_default();
        let place = key.split(':').next().unwrap_or_default();
        let bytes = scan.value["bytes"].as_u64().unwrap_or(0);
        let hits = scan.value["hits"].as_array().map_or(&[][..], Vec::as_slice);
        if place == CONTROL {
            controls += 1;
            if hits.is_empty() {
                blind.push(format!("{key}: canaries that must be there were not found"));
            }
            continue;
        }
        bytes_in_all += bytes;
        if 0 < bytes {
            searched.insert(place);
        }
        evidence.extend(hits.iter().map(|hit| format!("{key}: {hit}")));
    }
    let of = |f: &'static str, kind: Kind| events.iter().filter(move |event| event.is(f, kind));
    evidence.extend(of(STEAL, Kind::Ok).map(|event| format!("event {}: a foreign snapshot was served", event.index)));
    evidence
        .extend(of(ABSENT, Kind::Ok).map(|event| format!("event {}: a snapshot of nobody was served", event.index)));
    let words = |f| of(f, Kind::Fail).filter_map(words_without_id).collect::<BTreeSet<String>>();
    let (foreign, absent) = (words(STEAL), words(ABSENT));
    if !foreign.is_empty() && !absent.is_empty() {
        let told_apart = foreign.symmetric_difference(&absent);
        evidence.extend(told_apart.map(|words| format!("a foreign and an absent snapshot are told apart by: {words}")));
    }
    if evidence.is_empty() {
        let missing: Vec<&str> = PLACES.into_iter().filter(|place| !searched.contains(place)).collect();
        if !missing.is_empty() || controls == 0 || !blind.is_empty() {
            return Verdict::Unknown(format!("not searched: {missing:?}; {controls} controls, blind: {blind:?}"));
        }
        if foreign.is_empty() || absent.is_empty() {
            return Verdict::Unknown("no foreign and absent snapshot was asked for and refused".to_owned());
        }
    }
    let attempts = of(STEAL, Kind::Fail).count();
    Verdict::from_evidence(evidence, format!("{bytes_in_all} bytes searched, {attempts} thefts refused"))
}

/// Ids differ; all else in the answer must not.
fn words_without_id(event: &Event) -> Option<String> {
    let (error, id) = (event.error.as_deref()?, event.key.as_deref()?);
    let short = id.get(..8).unwrap_or(id);
    let words = error.replace(id, "ID");
    // Shortened ids, too: from the eighth digit on, as many as match.
    Some(match words.find(short) {
        Some(at) => {
            let digits = words[at..].chars().take_while(char::is_ascii_hexdigit).count();
            format!("{}ID{}", &words[..at], &words[at + digits..])
        }
        None => words,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::history::made_up::{history, operation};
    use crate::verdict::Word;

    fn scan(key: &str, hits: Value) -> [Event; 2] {
        operation(Kind::Ok, SCAN, key, Value::Null, json!({ "bytes": 10, "hits": hits }))
    }

    fn refused(f: &str, id: &str, error: &str) -> [Event; 2] {
        operation(Kind::Fail, f, id, Value::Null, Value::Null).map(|event| {
            let error = (event.kind == Kind::Fail).then(|| error.to_owned());
            Event { error, ..event }
        })
    }

    fn clean() -> Vec<[Event; 2]> {
        vec![
            scan("transcript:acme", json!([])),
            scan("log", json!([])),
            scan("metrics", json!([])),
            scan("data:north-1", json!([])),
            scan("control:acme", json!([{"canary": "x"}])),
            refused(STEAL, "0123456789abcdef", "NOT_FOUND/SNAPSHOT: 0123456789abcdef is not there"),
            refused(ABSENT, "fedcba9876543210", "NOT_FOUND/SNAPSHOT: fedcba987654 is not there"),
        ]
    }

    fn word(events: &[[Event; 2]]) -> Word {
        judge(&history(events.concat())).word()
    }

    #[test]
    fn a_clean_run_passes() {
        assert_eq!(word(&clean()), Word::Pass);
    }

    #[test]
    fn a_canary_anywhere_is_caught() {
        for at in 0..4 {
            let mut events = clean();
            let key = events[at][0].key.clone().unwrap();
            events[at] = scan(&key, json!([{"canary": "c", "file": "f", "offset": 7}]));
            assert_eq!(word(&events), Word::Fail, "{key}");
        }
    }

    #[test]
    fn a_served_theft_and_an_oracle_are_caught() {
        let mut served = clean();
        served.push(operation(Kind::Ok, STEAL, "s", Value::Null, Value::Null));
        assert_eq!(word(&served), Word::Fail);
        let mut oracle = clean();
        oracle[5] = refused(STEAL, "0123456789abcdef", "PERMISSION_DENIED/TENANT: 0123456789abcdef is another's");
        assert_eq!(word(&oracle), Word::Fail);
    }

    #[test]
    fn what_was_not_searched_or_a_blind_search_does_not_pass() {
        for at in 0..7 {
            let mut events = clean();
            events.remove(at);
            assert_eq!(word(&events), Word::Unknown, "without event {at}");
        }
        let mut blind = clean();
        blind[4] = scan("control:acme", json!([]));
        assert_eq!(word(&blind), Word::Unknown);
    }
}
