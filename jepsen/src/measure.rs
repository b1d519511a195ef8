//! How soon a cluster goes on after it lost something: from the fault until every tenant had a commit acknowledged that was
//! asked for after it. Pure: read from the history.
//!
//! Every tenant, because what was lost may have led the home of one of them only. A client waits between two operations:
//! what is measured is never too short, and a little too long.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::history::{Event, Kind, Process};
use crate::words::{
    APPEND, BACKUP, CAS, CHARGE, DELETE, EXTEND, FAULT, HOLD, KEEP, LIMIT, MEND, RELEASE, VAULT, WRITE,
};

/// Operations of which `ok` means that something was committed.
const COMMITS: [&str; 12] = [BACKUP, VAULT, WRITE, CAS, APPEND, KEEP, EXTEND, HOLD, RELEASE, DELETE, LIMIT, CHARGE];

/// What is measured: its name, the attack, its means, and from which event of it on.
const MEASURES: [(&str, &str, &str, &str); 4] = [
    ("leader killed", "leader", "kill", FAULT),
    ("region killed", "region", "kill", FAULT),
    ("all killed, since they were started", "all", "kill", MEND),
    ("power of all cut, since it came back", "power-all", "power", MEND),
];

/// Seconds until commits were acknowledged again, by measure; each fault once.
pub fn measure(events: &[Event]) -> BTreeMap<&'static str, Vec<f64>> {
    let mut measured: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let commits = commits(events);
    let tenants: BTreeSet<&str> = commits.iter().map(|commit| commit.tenant).collect();
    for (at, fault) in events.iter().enumerate().filter(|(_, event)| event.is(FAULT, Kind::Invoke)) {
        let Some((name, _, _, since)) = MEASURES.iter().find(|(_, attack, means, _)| {
            fault.key.as_deref() == Some(*attack) && fault.asked("means") == Some(*means)
        }) else {
            continue;
        };
        let Some(began) = events[at..].iter().find(|event| event.is(since, Kind::Invoke)) else { continue };
        let next = |tenant: &str| {
            let later = commits.iter().filter(|commit| commit.tenant == tenant && began.index < commit.asked);
            later.map(|commit| commit.time_ns).min()
        };
        let all: Option<Vec<u64>> = tenants.iter().map(|tenant| next(tenant)).collect();
        if let Some(last) = all.and_then(|times| times.into_iter().max()) {
            let seconds = last.saturating_sub(began.time_ns) as f64 / 1e9;
            measured.entry(*name).or_default().push(seconds);
        }
    }
    measured
}

/// For people: one line a measure.
pub fn text(measured: &BTreeMap<&'static str, Vec<f64>>) -> String {
    let mut text = String::new();
    for (name, seconds) in measured {
        let (median, most) = summary(seconds);
        let times = seconds.len();
        let line = format!(
            "{name}: every tenant commits again after {median:.1} s (median of {times}), {most:.1} s at most\n"
        );
        text.push_str(&line);
    }
    text
}

/// For machines.
pub fn line(measured: &BTreeMap<&'static str, Vec<f64>>) -> Value {
    let of = |(name, seconds): (&&str, &Vec<f64>)| {
        let (median, most) = summary(seconds);
        ((*name).to_owned(), json!({ "times": seconds.len(), "median_s": median, "most_s": most }))
    };
    let measured: serde_json::Map<String, Value> = measured.iter().map(of).collect();
    json!({ "type": "measured", "commit_again": measured })
}

struct Commit<'a> {
    tenant: &'a str,
    /// Place of its beginning.
    asked: u64,
    time_ns: u64,
}

fn commits(events: &[Event]) -> Vec<Commit<'_>> {
    let mut asked: BTreeMap<String, u64> = BTreeMap::new();
    let mut commits = Vec::new();
    for event in events.iter().filter(|event| COMMITS.contains(&event.f.as_str())) {
        let (Process::Client(process), Some(tenant)) = (&event.process, event.tenant.as_deref()) else { continue };
        match event.kind {
            Kind::Invoke => _ = asked.insert(process.to_string(), event.index),
            Kind::Ok => {
                let asked = asked.get(&process.to_string()).copied().unwrap_or(0);
                commits.push(Commit { tenant, asked, time_ns: event.time_ns });
            }
            Kind::Fail | Kind::Info => {}
        }
    }
    commits
}

/// The middle and the most.
fn summary(seconds: &[f64]) -> (f64, f64) {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    (middle, sorted.last().copied().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::made_up::{event, history, operation};

    fn harness(f: &str, key: &str, means: &str) -> Event {
        let invoked = event(Kind::Invoke, f, key, json!({ "means": means }), Value::Null);
        Event { process: Process::Harness("nemesis".into()), tenant: None, ..invoked }
    }

    fn backup(tenant: &str) -> [Event; 2] {
        let process = Process::Client(u64::from(tenant.as_bytes()[0]));
        operation(Kind::Ok, BACKUP, "l", Value::Null, Value::Null).map(|event| Event {
            tenant: Some(tenant.into()),
            process: process.clone(),
            ..event
        })
    }

    #[test]
    fn every_tenant_must_commit_again_with_what_it_asked_for_afterwards() {
        let [asked, before] = backup("acme");
        let fault = harness(FAULT, "leader", "kill");
        // 0 asked, 1 fault, 2 an answer to what was asked before, 3-4 acme, 5-6 globex
        let events = [vec![asked, fault, before], backup("acme").to_vec(), backup("globex").to_vec()].concat();
        let measured = measure(&history(events));
        assert_eq!(measured, BTreeMap::from([("leader killed", vec![5.0])]));
        assert!(text(&measured).contains("after 5.0 s"));
        assert_eq!(line(&measured)["commit_again"]["leader killed"]["times"], 1);
    }

    #[test]
    fn power_is_counted_from_when_it_comes_back_and_a_pause_is_no_loss() {
        let events = [
            backup("acme").to_vec(),
            vec![
                harness(FAULT, "leader", "pause"),
                harness(FAULT, "power-all", "power"),
                harness(MEND, "power-all", ""),
            ],
            backup("acme").to_vec(),
        ];
        let measured = measure(&history(events.concat()));
        assert_eq!(measured, BTreeMap::from([("power of all cut, since it came back", vec![2.0])]));
        assert!(measure(&history(vec![harness(FAULT, "region", "kill")])).is_empty(), "nobody committed again");
    }
}
