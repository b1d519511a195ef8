//! I2: an acknowledged snapshot restores byte for byte after every tolerated fault; never wrong bytes.
//!
//! - Whatever a restore gave back is what was backed up, also where the backup's outcome was unknown.
//! - An acknowledged snapshot is never refused and never called damaged, at any time. No attack here harms bytes: where
//!   more is away than a receipt allows (it was made during a fault, say), *unavailable* is the right answer.
//! - In the liveness phase all acknowledged ones are restored: count acknowledged = count restored; and so are those
//!   with an unknown outcome that are there.
//! - What somebody asked to delete, and was not refused, may be gone from then on. Until then, and if it is there, it is
//!   what it was.
//!
//! A `charge` is judged as a `backup` is, if it says its `digest`.

use std::collections::{BTreeMap, BTreeSet};

use crate::calls::calls;
use crate::history::{Event, Kind};
use crate::verdict::Verdict;
use crate::words::{BACKUP, CHARGE, DELETE, FAULT, LIST, MEND, RESTORE};

/// Judges the history.
pub fn judge(events: &[Event]) -> Verdict {
    let mut evidence = Vec::new();
    // Labels are given once, so a label says what a snapshot must hold even where no answer came.
    let digests: BTreeMap<&str, &str> = events
        .iter()
        .filter(|event| event.kind == Kind::Invoke && makes(event))
        .filter_map(|event| Some((event.key.as_deref()?, event.asked("digest")?)))
        .collect();
    // From when on a snapshot may be gone.
    let mut deleted: BTreeMap<&str, u64> = BTreeMap::new();
    for delete in calls(events, &[DELETE]).into_iter().filter(|delete| !delete.is_refused()) {
        let since = deleted.entry(delete.invoke.key.as_deref().unwrap_or_default()).or_insert(u64::MAX);
        *since = delete.began().min(*since);
    }
    let mut acknowledged: BTreeMap<&str, u64> = BTreeMap::new();
    let mut promised: BTreeMap<&str, &serde_json::Value> = BTreeMap::new();
    for event in events.iter().filter(|event| event.kind == Kind::Ok && makes(event)) {
        match event.answered("snapshot").filter(|id| !id.is_empty()) {
            Some(id) => {
                acknowledged.insert(id, event.index);
                promised.insert(id, &event.value["survives"]);
            }
            None => evidence.push(format!("event {}: acknowledged without a snapshot's id", event.index)),
        }
    }
    let mut restored: BTreeSet<&str> = BTreeSet::new();
    let mut compared = 0;
    // When the last restore of each process began: what was acknowledged later need not be found by it.
    let mut began: BTreeMap<String, u64> = BTreeMap::new();
    for event in events.iter().filter(|event| event.f == RESTORE) {
        let process = format!("{:?}", event.process);
        let Some(snapshot) = event.asked("snapshot") else { continue };
        let label = event.key.as_deref().unwrap_or_default();
        match event.kind {
            Kind::Invoke => _ = began.insert(process, event.index),
            Kind::Ok => {
                compared += 1;
                match (digests.get(label), event.answered("digest")) {
                    (Some(expected), Some(got)) if *expected == got => {
                        if event.is_final() {
                            restored.insert(snapshot);
                        }
                    }
                    (Some(_), _) => evidence.push(format!("event {}: {label} came back as other bytes", event.index)),
                    (None, _) => evidence.push(format!("event {}: {label} was never backed up", event.index)),
                }
            }
            Kind::Fail => {
                let known_before = began.get(&process).zip(acknowledged.get(snapshot)).is_some_and(|(b, a)| a < b);
                let may_be_gone = deleted.get(snapshot).is_some_and(|since| *since < event.index);
                if known_before && !may_be_gone {
                    let why = event.error.as_deref().unwrap_or("no reason");
                    let (survives, away) = (promised[snapshot], away(events, event.index));
                    let when = format!("(survives {survives}; away: {away})");
                    evidence.push(format!("event {}: {label} {when} is not given back: {why}", event.index));
                }
            }
            Kind::Info => {}
        }
    }
    let kept = acknowledged.iter().filter(|(snapshot, _)| !deleted.contains_key(*snapshot));
    for (snapshot, index) in kept.filter(|(snapshot, _)| !restored.contains(*snapshot)) {
        evidence.push(format!("snapshot {snapshot}, acknowledged by event {index}, was not restored in the end"));
    }
    let shown: BTreeSet<&str> = events
        .iter()
        .filter(|event| event.is(LIST, Kind::Ok) && event.is_final())
        .flat_map(|event| event.value["labels"].as_object().into_iter().flatten())
        .flat_map(|(_, ids)| ids.as_array().into_iter().flatten().filter_map(serde_json::Value::as_str))
        .collect();
    let empty = shown.iter().filter(|id| !acknowledged.contains_key(*id) && !restored.contains(*id));
    evidence.extend(empty.map(|id| format!("snapshot {id} is there in the end and was not restored")));
    if acknowledged.is_empty() && evidence.is_empty() {
        return Verdict::Unknown("nothing was acknowledged".to_owned());
    }
    let figures =
        format!("{} acknowledged, {} restored in the end, {compared} compared", acknowledged.len(), restored.len());
    Verdict::from_evidence(evidence, figures)
}

/// Whether it makes a snapshot of which the history knows what is in it.
fn makes(event: &Event) -> bool {
    event.f == BACKUP || (event.f == CHARGE && event.asked("digest").is_some())
}

/// The nodes that were under attack at an event, and had not all come back.
fn away(events: &[Event], index: u64) -> &str {
    let faults = events.iter().take_while(|event| event.index < index).filter(|event| match event.kind {
        Kind::Invoke => event.f == FAULT,
        Kind::Ok | Kind::Fail | Kind::Info => event.f == MEND,
    });
    faults.last().filter(|event| event.f == FAULT).and_then(|event| event.node.as_deref()).unwrap_or("no nodes")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::history::made_up::{history, operation};
    use crate::verdict::Word;

    fn backup(kind: Kind, label: &str, digest: &str) -> [Event; 2] {
        operation(kind, BACKUP, label, json!({ "digest": digest }), json!({ "snapshot": format!("id-{label}") }))
    }

    fn restore(kind: Kind, label: &str, digest: &str, is_final: bool) -> [Event; 2] {
        let argument = json!({ "snapshot": format!("id-{label}"), "final": is_final });
        operation(kind, RESTORE, label, argument, json!({ "digest": digest }))
    }

    fn word(events: &[[Event; 2]]) -> Word {
        judge(&history(events.concat())).word()
    }

    #[test]
    fn odd_but_right_histories_pass() {
        assert_eq!(
            word(&[
                backup(Kind::Ok, "a", "1"),
                backup(Kind::Info, "b", "2"),
                backup(Kind::Fail, "c", "3"),
                restore(Kind::Info, "a", "", false),
                restore(Kind::Ok, "b", "2", false),
                restore(Kind::Ok, "a", "1", true),
            ]),
            Word::Pass
        );
    }

    #[test]
    fn other_bytes_are_caught_whoever_was_acknowledged() {
        let (good, wrong) = (restore(Kind::Ok, "a", "1", true), restore(Kind::Ok, "a", "9", false));
        assert_eq!(word(&[backup(Kind::Ok, "a", "1"), wrong.clone(), good]), Word::Fail);
        assert_eq!(word(&[backup(Kind::Info, "a", "1"), wrong]), Word::Fail);
    }

    #[test]
    fn a_lost_acknowledgement_is_caught() {
        let kept = [backup(Kind::Ok, "a", "1"), backup(Kind::Ok, "b", "2"), restore(Kind::Ok, "a", "1", true)];
        assert_eq!(word(&kept), Word::Fail);
        let unavailable = [backup(Kind::Ok, "a", "1"), restore(Kind::Info, "a", "", true)];
        assert_eq!(word(&unavailable), Word::Fail);
    }

    #[test]
    fn what_was_deleted_may_be_gone_from_then_on_and_not_before_nor_changed() {
        let delete = |kind, label: &str| operation(kind, DELETE, &format!("id-{label}"), Value::Null, Value::Null);
        let charge = |label: &str| {
            let value = json!({ "snapshot": format!("id-{label}") });
            operation(Kind::Ok, CHARGE, label, json!({ "digest": "1" }), value)
        };
        let (gone, there) = (restore(Kind::Fail, "a", "", true), restore(Kind::Ok, "a", "1", true));
        for unsure in [Kind::Ok, Kind::Info] {
            assert_eq!(word(&[charge("a"), delete(unsure, "a"), gone.clone()]), Word::Pass);
            assert_eq!(word(&[charge("a"), delete(unsure, "a")]), Word::Pass);
            assert_eq!(word(&[charge("a"), gone.clone(), delete(unsure, "a")]), Word::Fail, "not yet");
            assert_eq!(word(&[charge("a"), delete(unsure, "a"), restore(Kind::Ok, "a", "2", true)]), Word::Fail);
        }
        assert_eq!(word(&[charge("a"), delete(Kind::Fail, "a"), gone.clone()]), Word::Fail, "that was refused");
        assert_eq!(word(&[charge("a"), delete(Kind::Fail, "a"), there]), Word::Pass);
        assert_eq!(word(&[charge("a")]), Word::Fail, "it was not restored");
    }

    #[test]
    fn an_acknowledged_snapshot_must_not_be_refused_even_if_it_is_there_later() {
        let flickers =
            [backup(Kind::Ok, "a", "1"), restore(Kind::Fail, "a", "", false), restore(Kind::Ok, "a", "1", true)];
        assert_eq!(word(&flickers), Word::Fail);
    }

    #[test]
    fn what_is_there_in_the_end_must_restore_though_nobody_acknowledged_it() {
        let list = operation(Kind::Ok, LIST, "v", json!({"final": true}), json!({"labels": {"b": ["id-b"]}}));
        let rest = [backup(Kind::Ok, "a", "1"), backup(Kind::Info, "b", "2"), restore(Kind::Ok, "a", "1", true), list];
        assert_eq!(word(&rest), Word::Fail);
        let restored = [&rest[..], &[restore(Kind::Ok, "b", "2", true)]].concat();
        assert_eq!(word(&restored), Word::Pass);
    }

    #[test]
    fn what_was_never_backed_up_and_an_empty_history_do_not_pass() {
        assert_eq!(word(&[backup(Kind::Ok, "a", "1"), restore(Kind::Ok, "x", "1", true)]), Word::Fail);
        assert_eq!(word(&[]), Word::Unknown);
        let nameless = operation(Kind::Ok, BACKUP, "a", json!({"digest": "1"}), Value::Null);
        assert_eq!(word(&[nameless]), Word::Fail);
    }
}
