//! Judges: each a pure function over a history, one law, one file.
//!
//! Promises: what a judge cannot tell is `unknown`, and that fails the run; the harness's own word is not believed
//! where the history can show the thing itself.
//!
//! I2, I6, I8, I15, the contract and the effect of faults are always judged. Another law is judged where its words occur,
//! or where an `asked` (harness, at the beginning, argument `{"laws": ["I1", …]}`) names it: without words it is then
//! unknown.
//!
//! # What judges expect of workloads
//!
//! An operation is an `invoke` and the next event of the same process with the same `f` and key. `fail` means surely not
//! done; whatever may have been done is `info`, and stays open for ever. Arguments are repeated in the ending. What is in
//! brackets may be absent. Vaults of these workloads are their own: `list` is of the vault `jepsen` only.
//!
//! | workload | f | key | argument | value of `ok` | law |
//! |---|---|---|---|---|---|
//! | register | `read` | register | | `{"value": V or null}`, version | I1 |
//! | | `write` | register | `{"value": V}` | version | |
//! | | `cas` | register | `{"from": V, "value": W}` | version | |
//! | append | `append` | anything | `{"elements": {"LIST": "E" or ["E", "F"], …}}` | `{["snapshot"]}` | I1 |
//! | | `lists` | anything | | `{"lists": {"LIST": ["E", ["F", "G"], …], …}}` | |
//! | sets | `add` | set | `{"element": "E"}` | `{["snapshot"]}` | I1 |
//! | | `elements` | set | `{["final"]}` | `{"elements": ["E", …]}` | |
//! | once | `vault`, `vaults` | name, anything | as before, also not final | | I1, I8 |
//! | locks | `keep` | label | `{"digest", "mode", "seconds"}` | `{"snapshot": ID}` | I3 |
//! | | `get` | ID | | `{"digest"}`; `fail`: it is gone | I3 |
//! | | `show` | ID | | `{"lock": {"mode", "seconds", "begun", "holds"} or null}`; `fail`: it is gone | I3, I4 |
//! | | `extend` | ID | `{"mode", "seconds" or "until_unix_ms"}` | `{["lock"]}` | I3, I4 |
//! | | `weaken` | ID | `{"seconds", ["wait_seconds"]}` | | I3, I4 |
//! | | `cancel` | ID | | | I4 |
//! | | `hold`, `release` | ID | `{"hold": NAME}` | | I4 |
//! | | `delete` | ID | | | I3, I4 |
//! | | `destroy` | how | `{"snapshots": [ID, …]}` | | I3, I4 |
//! | clock | `init` | `cluster` | `{["before_seconds"]}` | | I5 |
//! | | `clock` | anything | | `{"shards": [{"id", "time", "state", "bound_ms"}, …]}` | I5 |
//! | quota | `limit` | `tenant`, `vault:NAME`, `writer:NAME` | `{["stored_bytes"], ["logical_bytes"], ["snapshots"], ["sessions"]}` | | I9 |
//! | | `charge` | label | `{"vault", "writer", ["digest"]}` | `{"snapshot": ID, ["logical_bytes"]}` | I9; I2 with its digest |
//! | | `usage` | `all` | `{"final"}` | `{"usage": [line, …]}` | I9, I10 |
//! | | `stock` | `all` | | `{"snapshots": [{"id", "vault"}, …]}` | I9 |
//! | | `delete` | ID | | | I9 |
//! | space | `space` | node | `{"phase": "before", "full" or "end"}` | `{"bytes": N}` | I10 |
//! | recount | `recount` | `cluster` | | `{"groups", "copies", "broken": [{"node", "line"}, …]}` | I10 |
//! | audit | `audit` | `all` | `{"phase": "start", "middle" or "end"}` | `{"leaves": [line, …], ["hashes", "root"]}` | I7 |
//! | digests | `beacon` | node | | `{"groups": [{"id", "applied", "digest"}, …]}` | I14 |
//!
//! - *register*: values are compared as JSON; writes of one register should all be different. `version` stands in the
//!   event's own field (`Ending::version`): the number that the register has after a write, or had when it was read, one more
//!   with each write. It counts only if every `ok` of that register has one. `fail` of a `cas` says nothing of the register.
//!   A read of what was never written is null.
//! - *append*: an element is appended once, by one operation; all of an operation appear at once (a ticket's streams), or it
//!   names one. A list that `lists` does not name was not read: name an empty one `[]`. Elements stand in the order in which
//!   they were committed; those whose order is not known stand in an inner array.
//! - *locks*: true time is `time_ns`. `mode` is `governance` or `compliance`, `seconds` the plain length, at `keep` what the
//!   vault's policy or the writer asked for. `show` and `get` fail only if the answer is that there is no such snapshot; what
//!   is unavailable is `info`. `release` and `weaken` are to be recorded also where they are refused.
//! - *clock*: the run's first event, or nearly: `init`, before any fault; `before_seconds`: how long ago the cluster was made.
//!   `time` is RFC 3339. Reads should come every few seconds, in calm times too: lateness is judged only there.
//! - *quota*: `usage` and `stock` are of the event's tenant. In the end, when nothing is under way, a `usage` with `final`
//!   and a `stock` per tenant. Limits are the hard ones; what is not named is not limited.
//! - *space*: `before`: nothing was backed up; `full`: much is there; `end`: all was deleted but what a final `usage` still
//!   counts, and garbage had its time.
//! - *audit*: one `start` per tenant before its workloads begin (what there is then belongs to nobody), one `end` after all;
//!   every command of the tenant that decides anything is in the history, also the harness's own.

mod contract;
mod cycles;
#[cfg(test)]
mod doctored;
mod effect;
pub mod i10_garbage;
mod i10_recount;
mod i14_digests;
mod i15_serves;
mod i1_append;
mod i1_register;
mod i1_sets;
mod i2_bytes;
mod i3_locked;
mod i4_lattice;
mod i5_clock;
mod i6_tenants;
mod i7_audit;
mod i8_once;
mod i9_quota;
mod kept;
mod linear;
mod moment;
#[cfg(test)]
mod second;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::history::{Event, Kind};
use crate::verdict::Verdict;
use crate::words::ASKED;

/// A law that is judged where its words occur.
struct Law {
    name: &'static str,
    words: &'static [&'static str],
    judge: fn(&[Event]) -> Verdict,
}

/// Laws that are not always judged. Several judges of one law are one law.
const ON_DEMAND: [Law; 11] = [
    Law { name: "I1", words: &i1_register::WORDS, judge: i1_register::judge },
    Law { name: "I1", words: &i1_append::WORDS, judge: i1_append::judge },
    Law { name: "I1", words: &i1_sets::WORDS, judge: i1_sets::judge },
    Law { name: "I3", words: &kept::MAKES, judge: i3_locked::judge },
    Law { name: "I4", words: &kept::MAKES, judge: i4_lattice::judge },
    Law { name: "I5", words: &i5_clock::WORDS, judge: i5_clock::judge },
    Law { name: "I7", words: &i7_audit::WORDS, judge: i7_audit::judge },
    Law { name: "I9", words: &i9_quota::WORDS, judge: i9_quota::judge },
    Law { name: "I10", words: &i10_garbage::WORDS, judge: i10_garbage::judge },
    Law { name: "I10", words: &i10_recount::WORDS, judge: i10_recount::judge },
    Law { name: "I14", words: &i14_digests::WORDS, judge: i14_digests::judge },
];

/// What every judge says, by law. Where the run itself is void, no law has passed.
pub fn judge(events: &[Event]) -> BTreeMap<&'static str, Verdict> {
    let mut verdicts = each(events);
    let effect = effect::judge(events);
    if !effect.is_pass() {
        for verdict in verdicts.values_mut().filter(|verdict| verdict.is_pass()) {
            *verdict = Verdict::Unknown("the run is void (see effect): passing it proves nothing".to_owned());
        }
    }
    verdicts.insert("effect", effect);
    verdicts
}

/// What every judge but that of the run itself says.
fn each(events: &[Event]) -> BTreeMap<&'static str, Verdict> {
    let mut verdicts = BTreeMap::from([
        ("I2", i2_bytes::judge(events)),
        ("I6", i6_tenants::judge(events)),
        ("I8", i8_once::judge(events)),
        ("I15", i15_serves::judge(events)),
        ("contract", contract::judge(events)),
    ]);
    let words: BTreeSet<&str> = events.iter().map(|event| event.f.as_str()).collect();
    for law in &ON_DEMAND {
        if law.words.iter().any(|word| words.contains(word)) {
            let said = (law.judge)(events);
            match verdicts.remove(law.name) {
                None => verdicts.insert(law.name, said),
                Some(before) => verdicts.insert(law.name, before.and(said)),
            };
        }
    }
    for law in ON_DEMAND.iter().filter(|law| asked(events).contains(law.name)) {
        verdicts.entry(law.name).or_insert_with(|| Verdict::Unknown("the run is about it, and nobody did".to_owned()));
    }
    verdicts
}

/// Laws that the run says that it is about.
fn asked(events: &[Event]) -> BTreeSet<&str> {
    let asked = events.iter().filter(|event| event.f == ASKED && event.kind == Kind::Invoke);
    asked.flat_map(|event| event.argument["laws"].as_array().into_iter().flatten()).filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::history::Kind;
    use crate::history::made_up::{history, operation};

    #[test]
    fn a_run_without_a_fault_passes_no_law() {
        let quiet = history(
            [
                operation(Kind::Ok, "backup", "l", json!({"digest": "d"}), json!({"snapshot": "s"})),
                operation(Kind::Ok, "restore", "l", json!({"snapshot": "s", "final": true}), json!({"digest": "d"})),
                operation(Kind::Ok, "list", "v", json!({"final": true}), json!({"labels": {"l": ["s"]}})),
            ]
            .concat(),
        );
        assert!(i2_bytes::judge(&quiet).is_pass() && i8_once::judge(&quiet).is_pass());
        assert!(judge(&quiet).values().all(|verdict| !verdict.is_pass()));
        assert!(judge(&history(operation(Kind::Ok, "ls", "l", Value::Null, Value::Null))).len() == 6);
    }

    #[test]
    fn a_law_is_judged_where_its_words_occur_or_where_the_run_asks_for_it() {
        let read = operation(Kind::Ok, "read", "r", Value::Null, json!({"value": null}));
        assert!(each(&history(read)).contains_key("I1"));
        // Every run says when its cluster was made; that reads no clock.
        let made = operation(Kind::Ok, "init", "cluster", json!({"before_seconds": 1}), Value::Null);
        assert!(!each(&history(made)).contains_key("I5"));
        let asked = operation(Kind::Ok, "asked", "all", json!({"laws": ["I3", "I5"]}), Value::Null);
        let verdicts = each(&history(asked));
        assert_eq!(verdicts.keys().copied().collect::<Vec<_>>(), ["I15", "I2", "I3", "I5", "I6", "I8", "contract"]);
        assert!(["I3", "I5"].iter().all(|law| !verdicts[law].is_pass()));
    }

    #[test]
    fn several_judges_of_one_law_pass_together() {
        let write = operation(Kind::Ok, "write", "r", json!({"value": 1}), Value::Null);
        let read = |value| operation(Kind::Ok, "read", "r", Value::Null, json!({ "value": value }));
        let add = operation(Kind::Ok, "add", "s", json!({"element": "e"}), Value::Null);
        let seen = |elements| operation(Kind::Ok, "elements", "s", Value::Null, json!({ "elements": elements }));
        let passes = |events: &[[Event; 2]]| each(&history(events.concat()))["I1"].is_pass();
        let right = [write, read(json!(1)), add, seen(json!(["e"]))];
        assert!(passes(&right));
        for (at, wrong) in [(1, read(json!(2))), (3, seen(json!([])))] {
            let mut events = right.clone();
            events[at] = wrong;
            assert!(!passes(&events), "{at}");
        }
    }
}
