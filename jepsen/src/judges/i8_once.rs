//! I8: a command takes effect once, however often the client tried; what was seen does not flip.
//!
//! Each label is used by one backup, each name by one vault. In the end: done is there exactly once, refused is not
//! there, unknown is there at most once. A list that began after an acknowledgement has it; what one list had, later
//! ones have.
//!
//! Not here: outcomes asked for by session and number, which the command line does not show.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::history::{Event, Kind};
use crate::verdict::Verdict;
use crate::words::{BACKUP, LIST, VAULT, VAULTS};

/// Judges the history.
pub fn judge(events: &[Event]) -> Verdict {
    let mut evidence = Vec::new();
    let lists = lists(events);
    let tenants: BTreeSet<&str> = events
        .iter()
        .filter(|event| event.f == BACKUP && event.kind != Kind::Invoke)
        .filter_map(|event| event.tenant.as_deref())
        .collect();
    let mut checked = 0;
    for tenant in &tenants {
        let last = lists.iter().rev().find(|list| list.tenant == *tenant && list.event.is_final());
        let Some(last) = last else {
            return Verdict::Unknown(format!("{tenant} has no list of its snapshots from the end"));
        };
        checked += in_the_end(events, tenant, last, &mut evidence);
    }
    for list in &lists {
        is_not_stale(events, list, &mut evidence);
    }
    for tenant in &tenants {
        does_not_flip(lists.iter().filter(|list| list.tenant == *tenant), &mut evidence);
    }
    let (vaults, unseen) = vaults(events, &mut evidence);
    if evidence.is_empty() {
        if tenants.is_empty() {
            return Verdict::Unknown("nothing was backed up".to_owned());
        }
        if let Some(tenant) = unseen {
            return Verdict::Unknown(format!("{tenant} has no list of its vaults from the end"));
        }
    }
    Verdict::from_evidence(evidence, format!("{checked} backups, {vaults} vaults, {} lists", lists.len()))
}

/// A list of snapshots that was answered.
struct List<'a> {
    event: &'a Event,
    tenant: &'a str,
    /// Index of its invocation.
    began: u64,
    /// Ids by label.
    labels: BTreeMap<&'a str, Vec<&'a str>>,
}

fn lists(events: &[Event]) -> Vec<List<'_>> {
    let mut began: BTreeMap<String, u64> = BTreeMap::new();
    let mut lists = Vec::new();
    for event in events.iter().filter(|event| event.f == LIST) {
        let process = format!("{:?}", event.process);
        match event.kind {
            Kind::Invoke => _ = began.insert(process, event.index),
            Kind::Ok => {
                let labels = event.value["labels"].as_object().into_iter().flatten();
                let labels = labels.map(|(label, ids)| {
                    let ids = ids.as_array().map_or(&[][..], Vec::as_slice);
                    (label.as_str(), ids.iter().filter_map(Value::as_str).collect())
                });
                lists.push(List {
                    event,
                    tenant: event.tenant.as_deref().unwrap_or_default(),
                    began: began.get(&process).copied().unwrap_or(event.index),
                    labels: labels.collect(),
                });
            }
            Kind::Fail | Kind::Info => {}
        }
    }
    lists
}

fn in_the_end(events: &[Event], tenant: &str, list: &List<'_>, evidence: &mut Vec<String>) -> usize {
    let own = |event: &&Event| event.f == BACKUP && event.tenant.as_deref() == Some(tenant);
    let mut asked = BTreeSet::new();
    let mut ended: BTreeMap<&str, &Event> = BTreeMap::new();
    for event in events.iter().filter(own) {
        let label = event.key.as_deref().unwrap_or_default();
        match event.kind {
            Kind::Invoke => _ = asked.insert(label),
            Kind::Ok | Kind::Fail | Kind::Info => _ = ended.insert(label, event),
        }
    }
    for label in &asked {
        let ids = list.labels.get(label).map_or(&[][..], Vec::as_slice);
        let count = ids.len();
        let right = match ended.get(label).map(|event| event.kind) {
            Some(Kind::Ok) => ended[label].answered("snapshot").is_some_and(|id| ids == [id]),
            Some(Kind::Fail) => count == 0,
            Some(Kind::Info | Kind::Invoke) | None => count <= 1,
        };
        if !right {
            let how = ended.get(label).map_or("unanswered".to_owned(), |event| format!("{:?}", event.kind));
            evidence.push(format!("{label}: the answer was {how}, in the end it is there {count} times: {ids:?}"));
        }
    }
    let strange = list.labels.keys().filter(|label| !asked.contains(*label));
    evidence.extend(strange.map(|label| format!("{label}: {tenant} has it and never asked for it")));
    asked.len()
}

fn is_not_stale(events: &[Event], list: &List<'_>, evidence: &mut Vec<String>) {
    let acknowledged = events
        .iter()
        .take_while(|event| event.index < list.began)
        .filter(|event| event.is(BACKUP, Kind::Ok) && event.tenant.as_deref() == Some(list.tenant));
    for event in acknowledged {
        let label = event.key.as_deref().unwrap_or_default();
        if !list.labels.contains_key(label) {
            evidence.push(format!(
                "{label}: acknowledged by event {}, missing in the list of event {}",
                event.index, list.event.index
            ));
        }
    }
}

fn does_not_flip<'a>(lists: impl Iterator<Item = &'a List<'a>>, evidence: &mut Vec<String>) {
    let lists: Vec<&List<'_>> = lists.collect();
    for (at, earlier) in lists.iter().enumerate() {
        for later in lists[at + 1..].iter().filter(|later| earlier.event.index < later.began) {
            let gone = earlier.labels.keys().filter(|label| !later.labels.contains_key(*label));
            evidence.extend(gone.map(|label| {
                format!("{label}: in the list of event {}, not in that of {}", earlier.event.index, later.event.index)
            }));
        }
    }
}

/// How many names were checked, and a tenant whose list is missing.
fn vaults(events: &[Event], evidence: &mut Vec<String>) -> (usize, Option<String>) {
    let mut attempts: BTreeMap<(&str, &str), Vec<Kind>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.f == VAULT && event.kind != Kind::Invoke) {
        let (tenant, name) = (event.tenant.as_deref().unwrap_or_default(), event.key.as_deref().unwrap_or_default());
        attempts.entry((tenant, name)).or_default().push(event.kind);
    }
    for ((tenant, name), kinds) in &attempts {
        let list = events
            .iter()
            .rev()
            .find(|event| event.is(VAULTS, Kind::Ok) && event.is_final() && event.tenant.as_deref() == Some(tenant));
        let Some(list) = list else { return (attempts.len(), Some((*tenant).to_owned())) };
        let count = list.value["names"][*name].as_u64().unwrap_or(0);
        let done = kinds.iter().filter(|kind| **kind == Kind::Ok).count();
        let unknown = kinds.contains(&Kind::Info);
        let right = match (done, unknown) {
            (0, false) => count == 0,
            (0, true) => count <= 1,
            (1, _) => count == 1,
            _ => false,
        };
        if !right {
            evidence.push(format!("vault {name} of {tenant}: answers {kinds:?}, in the end it is there {count} times"));
        }
    }
    (attempts.len(), None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::made_up::{history, operation};
    use crate::verdict::Word;

    fn backup(kind: Kind, label: &str) -> [Event; 2] {
        operation(kind, BACKUP, label, json!({"digest": "d"}), json!({ "snapshot": format!("id-{label}") }))
    }

    fn list(is_final: bool, labels: Value) -> [Event; 2] {
        operation(Kind::Ok, LIST, "v", json!({ "final": is_final }), json!({ "labels": labels }))
    }

    fn word(events: &[[Event; 2]]) -> Word {
        judge(&history(events.concat())).word()
    }

    #[test]
    fn done_once_refused_never_unknown_at_most_once() {
        let ends = |labels| {
            word(&[backup(Kind::Ok, "a"), backup(Kind::Fail, "b"), backup(Kind::Info, "c"), list(true, labels)])
        };
        assert_eq!(ends(json!({"a": ["id-a"]})), Word::Pass);
        assert_eq!(ends(json!({"a": ["id-a"], "c": ["x"]})), Word::Pass);
        assert_eq!(ends(json!({})), Word::Fail, "an acknowledged one is missing");
        assert_eq!(ends(json!({"a": ["id-a", "x"]})), Word::Fail, "a double effect");
        assert_eq!(ends(json!({"a": ["x"]})), Word::Fail, "another id");
        assert_eq!(ends(json!({"a": ["id-a"], "b": ["x"]})), Word::Fail, "a refused one is there");
        assert_eq!(ends(json!({"a": ["id-a"], "c": ["x", "y"]})), Word::Fail, "an unknown one twice");
        assert_eq!(ends(json!({"a": ["id-a"], "z": ["x"]})), Word::Fail, "nobody asked for it");
    }

    #[test]
    fn a_stale_list_and_one_that_flips_are_caught() {
        let end = || list(true, json!({"a": ["id-a"]}));
        assert_eq!(word(&[backup(Kind::Ok, "a"), list(false, json!({})), end()]), Word::Fail);
        let seen = list(false, json!({"a": ["x"]}));
        let flips = [backup(Kind::Info, "a"), seen.clone(), list(true, json!({}))];
        assert_eq!(word(&flips), Word::Fail);
        assert_eq!(
            word(&[backup(Kind::Info, "a"), list(false, json!({})), seen, list(true, json!({"a": ["x"]}))]),
            Word::Pass
        );
    }

    #[test]
    fn an_acknowledgement_during_a_list_need_not_be_in_it() {
        let [invoke, ok] = list(false, json!({}));
        let [asked, done] = backup(Kind::Ok, "a");
        let other = crate::history::Process::Client(2);
        let (invoke, ok) = (Event { process: other.clone(), ..invoke }, Event { process: other, ..ok });
        let [last_invoke, last] = list(true, json!({"a": ["id-a"]}));
        assert_eq!(judge(&history([asked, invoke, done, ok, last_invoke, last])).word(), Word::Pass);
    }

    #[test]
    fn a_vault_made_twice_or_lost_is_caught() {
        let ends = |kinds: &[Kind], count: u64| {
            let mut events = vec![backup(Kind::Ok, "a"), list(true, json!({"a": ["id-a"]}))];
            events.extend(kinds.iter().map(|kind| operation(*kind, VAULT, "n", Value::Null, Value::Null)));
            events.push(operation(Kind::Ok, VAULTS, "all", json!({"final": true}), json!({"names": {"n": count}})));
            word(&events)
        };
        assert_eq!(ends(&[Kind::Ok], 1), Word::Pass);
        assert_eq!(ends(&[Kind::Info, Kind::Fail], 1), Word::Pass, "done by the first, refused as taken to the second");
        assert_eq!(ends(&[Kind::Info], 0), Word::Pass);
        assert_eq!(ends(&[Kind::Ok], 0), Word::Fail);
        assert_eq!(ends(&[Kind::Info, Kind::Ok], 2), Word::Fail);
        assert_eq!(ends(&[Kind::Ok, Kind::Ok], 1), Word::Fail);
        assert_eq!(ends(&[Kind::Fail], 1), Word::Fail);
    }

    #[test]
    fn without_lists_from_the_end_nothing_is_known() {
        assert_eq!(word(&[backup(Kind::Ok, "a"), list(false, json!({"a": ["id-a"]}))]), Word::Unknown);
        assert_eq!(word(&[]), Word::Unknown);
        let vault = operation(Kind::Ok, VAULT, "n", Value::Null, Value::Null);
        assert_eq!(word(&[backup(Kind::Ok, "a"), list(true, json!({"a": ["id-a"]})), vault]), Word::Unknown);
    }
}
