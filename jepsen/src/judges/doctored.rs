//! Histories that never happened: some break one law in one way and must be rejected by it, others are odd and legal and
//! must pass. They stand in `doctored/*.txt`, to be read like the minutes of a meeting:
//!
//! ```text
//! == reject I1: a read gives what was overwritten before it began
//! 0      1 write r {"value":1}           seconds, who, what, of which thing, argument: it begins
//! 0.5    1 ok v3                         it ends; `v3`: the version; then the value as JSON
//! 0.5    2@globex read r                 of another tenant than acme; who has a name is the harness
//! 0.7    2 fail NOT_FOUND/SNAPSHOT: gone for `fail` and `info` the rest is the error
//! 0.8    : clear                         only a comment
//! ```
//!
//! `unknown` in place of `reject`: the law must not pass, since nothing is shown.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::history::{Event, Kind, Process, made_up};
use crate::judges::{each, effect};
use crate::verdict::{Verdict, Word};

const FILES: [&str; 13] =
    ["i1_register", "i1_lists", "i1_sets", "i2", "i3", "i4", "i5", "i6", "i7", "i8", "i9_i10", "i14_i15", "run"];
/// So many of each there must be.
const LEAST: usize = 60;
/// When made-up runs begin, by the wall clock: 2026-11-26T08:00:00Z.
const BEGINS_NS: u64 = 1_795_680_000_000_000_000;

pub struct Doctored {
    pub name: String,
    pub says: Word,
    law: String,
    pub events: Vec<Event>,
}

fn read(file: &str, text: &str) -> Vec<Doctored> {
    let mut all: Vec<Doctored> = Vec::new();
    let mut open: BTreeMap<Process, Event> = BTreeMap::new();
    let mut was = 0.0;
    for (at, line) in text.lines().enumerate() {
        let wrong = |why: &str| -> ! { panic!("{file}.txt:{}: {why}: {line}", at + 1) };
        if let Some(title) = line.strip_prefix("== ") {
            let Some((head, what)) = title.split_once(": ") else { wrong("no name") };
            let Some((says, law)) = head.split_once(' ') else { wrong("no law") };
            let says = match says {
                "reject" => Word::Fail,
                "accept" => Word::Pass,
                "unknown" => Word::Unknown,
                _ => wrong("reject, accept or unknown"),
            };
            all.push(Doctored { name: format!("{file}: {what}"), says, law: law.to_owned(), events: Vec::new() });
            open.clear();
            was = 0.0;
            continue;
        }
        let mut words = line.splitn(3, ' ').filter(|word| !word.is_empty());
        let Some(seconds) = words.next() else { continue };
        let rest = line[seconds.len()..].trim_start();
        if rest.starts_with(':') || seconds.starts_with(':') {
            continue;
        }
        let Ok(seconds) = seconds.parse::<f64>() else { wrong("no time") };
        if seconds < was {
            wrong("time runs back");
        }
        was = seconds;
        let Some((who, rest)) = rest.split_once(' ') else { wrong("who does what?") };
        let (who, tenant) = who.split_once('@').unwrap_or((who, "acme"));
        let process = who.parse().map_or_else(|_| Process::Harness(who.to_owned()), Process::Client);
        let (what, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let json = |text: &str| match text.trim() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|why| wrong(&why.to_string())),
        };
        let Some(doctored) = all.last_mut() else { wrong("it belongs to nothing") };
        let event = match what {
            "ok" | "fail" | "info" => {
                let Some(begun) = open.remove(&process) else { wrong("nothing has begun") };
                let mut end = Event { kind: Kind::Ok, ..begun };
                if what == "ok" {
                    let rest = rest.trim();
                    let version = rest.split(' ').next().and_then(|word| word.strip_prefix('v')?.parse().ok());
                    end.version = version;
                    end.value =
                        json(if version.is_some() { rest.split_once(' ').map_or("", |(_, more)| more) } else { rest });
                } else {
                    end.kind = if what == "fail" { Kind::Fail } else { Kind::Info };
                    end.error = Some(rest.trim().to_owned());
                }
                end
            }
            f => {
                let (key, argument) = rest.split_once(' ').unwrap_or((rest, ""));
                let is_client = matches!(process, Process::Client(_));
                let event = Event {
                    process: process.clone(),
                    tenant: is_client.then(|| tenant.to_owned()),
                    ..made_up::event(Kind::Invoke, f, key, json(argument), Value::Null)
                };
                open.insert(process, event.clone());
                event
            }
        };
        let time_ns = (seconds * 1e9).round() as u64;
        let index = doctored.events.len() as u64;
        doctored.events.push(Event { index, time_ns, wall_ns: BEGINS_NS + time_ns, ..event });
    }
    all
}

fn all() -> Vec<Doctored> {
    FILES.iter().flat_map(|file| of(file)).collect()
}

/// Those of one file.
pub fn of(file: &str) -> Vec<Doctored> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/judges/doctored");
    read(file, &std::fs::read_to_string(dir.join(format!("{file}.txt"))).unwrap())
}

fn says(doctored: &Doctored) -> Verdict {
    match doctored.law.as_str() {
        "effect" => effect::judge(&doctored.events),
        law => each(&doctored.events).remove(law).unwrap_or_else(|| Verdict::Unknown("nobody judged it".to_owned())),
    }
}

#[test]
fn every_doctored_history_is_judged_as_it_says() {
    let wrong: Vec<String> = all()
        .iter()
        .map(|doctored| (doctored, says(doctored)))
        .filter(|(doctored, verdict)| verdict.word() != doctored.says)
        .map(|(doctored, verdict)| format!("{} must be {:?}: {verdict:?}", doctored.name, doctored.says))
        .collect();
    assert!(wrong.is_empty(), "{} are judged wrongly:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn there_are_sixty_of_each_kind_with_different_names_and_of_every_law() {
    let all = all();
    let count = |says| all.iter().filter(|doctored| doctored.says == says).count();
    let (rejected, accepted, unknown) = (count(Word::Fail), count(Word::Pass), count(Word::Unknown));
    println!("{rejected} rejected, {accepted} accepted, {unknown} unknown");
    assert!(LEAST <= rejected && LEAST <= accepted, "{rejected} rejected, {accepted} accepted");
    let names: std::collections::BTreeSet<&str> = all.iter().map(|doctored| doctored.name.as_str()).collect();
    assert_eq!(names.len(), all.len(), "two have one name");
    let laws = ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I14", "I15", "contract", "effect"];
    for law in laws {
        for says in [Word::Fail, Word::Pass] {
            assert!(all.iter().any(|one| one.law == law && one.says == says), "no history for {law} that is {says:?}");
        }
    }
}
