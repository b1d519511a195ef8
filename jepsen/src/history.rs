//! The history of a run: one JSON line per event, in one order (RESILIENCE.md, "History").
//!
//! An operation is an `invoke` and then `ok` (done), `fail` (surely not done) or `info` (nobody knows); faults, scans
//! and phases stand in the same stream. Times are the harness's own, which the cluster never sees. What the public API
//! does not tell (term, log index) is null.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How an event stands to its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It begins.
    Invoke,
    /// It was done.
    Ok,
    /// It was surely not done.
    Fail,
    /// Nobody knows.
    Info,
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Process {
    /// A client; a number retires with the first operation whose outcome is unknown.
    Client(u64),
    /// The harness itself.
    Harness(String),
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Which run.
    pub run: String,
    /// What its choices follow from.
    pub seed: u64,
    /// Place in the history.
    pub index: u64,
    /// Since the run began, by the monotonic clock.
    pub time_ns: u64,
    /// By the wall clock.
    pub wall_ns: u64,
    /// Who.
    pub process: Process,
    /// A node, or several with commas.
    pub node: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Whose identity.
    pub tenant: Option<String>,
    /// How it stands to its operation.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What (`words.rs`).
    pub f: String,
    /// Of which thing.
    pub key: Option<String>,
    /// Of which version of it.
    pub version: Option<u64>,
    /// What was asked.
    pub argument: Value,
    /// What was answered.
    pub value: Value,
    /// What ties attempts together.
    pub idempotency_key: Option<String>,
    /// Where it was decided.
    pub shard: Option<u32>,
    /// As the log has it.
    pub term: Option<u64>,
    /// As the log has it.
    pub log_index: Option<u64>,
    /// The cluster's clock.
    pub cluster_time: Option<String>,
    /// Why not.
    pub error: Option<String>,
}

impl Event {
    /// Whether it is the end of such an operation.
    pub fn is(&self, f: &str, kind: Kind) -> bool {
        self.f == f && self.kind == kind
    }

    /// Text in the argument.
    pub fn asked(&self, name: &str) -> Option<&str> {
        self.argument.get(name)?.as_str()
    }

    /// Text in the value.
    pub fn answered(&self, name: &str) -> Option<&str> {
        self.value.get(name)?.as_str()
    }

    /// Whether it belongs to the liveness phase.
    pub fn is_final(&self) -> bool {
        self.argument.get("final") == Some(&Value::Bool(true))
    }
}

/// What begins.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Who.
    pub process: Process,
    /// Whose identity.
    pub tenant: Option<String>,
    /// On which node.
    pub node: Option<String>,
    /// In which region.
    pub region: Option<String>,
    /// What.
    pub f: &'static str,
    /// Of which thing.
    pub key: Option<String>,
    /// What is asked.
    pub argument: Value,
}

impl Operation {
    /// Something that the harness does or sees.
    pub fn of_harness(f: &'static str, key: &str, argument: Value) -> Self {
        let process = Process::Harness("nemesis".to_owned());
        Self { process, tenant: None, node: None, region: None, f, key: Some(key.to_owned()), argument }
    }
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Ok, fail or info.
    pub kind: Kind,
    /// What was answered.
    pub value: Value,
    /// Which version of the thing that was.
    pub version: Option<u64>,
    /// The cluster's clock, if the answer says it.
    pub cluster_time: Option<String>,
    /// Why not.
    pub error: Option<String>,
}

impl Ending {
    /// Done.
    pub fn ok(value: Value) -> Self {
        Self { kind: Kind::Ok, value, version: None, cluster_time: None, error: None }
    }

    /// Surely not done.
    pub fn fail(why: impl Into<String>) -> Self {
        Self { kind: Kind::Fail, error: Some(why.into()), ..Self::ok(Value::Null) }
    }

    /// Nobody knows.
    pub fn info(why: impl Into<String>) -> Self {
        Self { kind: Kind::Info, error: Some(why.into()), ..Self::ok(Value::Null) }
    }

    /// The same, of this version.
    pub fn of_version(self, version: u64) -> Self {
        Self { version: Some(version), ..self }
    }
}

/// Writes the history while it happens.
pub struct Recorder {
    run: String,
    seed: u64,
    began: Instant,
    written: Mutex<Written>,
}

struct Written {
    file: File,
    events: Vec<Event>,
}

impl Recorder {
    /// Begins a history in a new file.
    pub fn create(path: &Path, run: &str, seed: u64) -> anyhow::Result<Self> {
        let file = File::create_new(path).with_context(|| format!("cannot create {}", path.display()))?;
        let written = Mutex::new(Written { file, events: Vec::new() });
        Ok(Self { run: run.to_owned(), seed, began: Instant::now(), written })
    }

    /// Records the beginning of an operation.
    pub fn begin(&self, operation: &Operation) {
        self.write(operation, Ending { kind: Kind::Invoke, ..Ending::ok(Value::Null) });
    }

    /// Records its end.
    pub fn end(&self, operation: &Operation, ending: Ending) {
        self.write(operation, ending);
    }

    /// What was recorded so far.
    pub fn events(&self) -> Vec<Event> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).events.clone()
    }

    fn write(&self, operation: &Operation, ending: Ending) {
        let Ending { kind, value, version, cluster_time, error } = ending;
        let operation = operation.clone();
        // The time is taken inside, so that the order of lines is an order of times.
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Event {
            run: self.run.clone(),
            seed: self.seed,
            index: written.events.len() as u64,
            time_ns: u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX),
            wall_ns: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)),
            process: operation.process,
            node: operation.node,
            region: operation.region,
            tenant: operation.tenant,
            kind,
            f: operation.f.to_owned(),
            key: operation.key,
            version,
            argument: operation.argument,
            value,
            idempotency_key: None,
            shard: None,
            term: None,
            log_index: None,
            cluster_time,
            error,
        };
        let line = serde_json::to_string(&event).expect("an event is plain data");
        // A history that cannot be written ends the run: nothing could be judged from it.
        writeln!(written.file, "{line}").expect("the history's disk takes it");
        written.events.push(event);
    }
}

/// Reads a history.
pub fn read(path: &Path) -> anyhow::Result<Vec<Event>> {
    let lines = BufReader::new(File::open(path)?).lines();
    lines
        .enumerate()
        .map(|(at, line)| serde_json::from_str(&line?).with_context(|| format!("line {}", at + 1)))
        .collect()
}

#[cfg(test)]
pub mod made_up {
    //! Histories that never happened, for tests of judges.

    use super::*;

    /// An event of a client; its index and its time in seconds are set by [`history`].
    pub fn event(kind: Kind, f: &str, key: &str, argument: Value, value: Value) -> Event {
        Event {
            run: "made-up".into(),
            seed: 1,
            index: 0,
            time_ns: 0,
            wall_ns: 0,
            process: Process::Client(1),
            node: None,
            region: None,
            tenant: Some("acme".into()),
            kind,
            f: f.into(),
            key: Some(key.into()),
            version: None,
            argument,
            value,
            idempotency_key: None,
            shard: None,
            term: None,
            log_index: None,
            cluster_time: None,
            error: None,
        }
    }

    /// An operation from its beginning to its end.
    pub fn operation(kind: Kind, f: &str, key: &str, argument: Value, value: Value) -> [Event; 2] {
        [event(Kind::Invoke, f, key, argument.clone(), Value::Null), event(kind, f, key, argument, value)]
    }

    /// Events one second after another.
    pub fn history(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
        let stamp =
            |(at, event): (usize, Event)| Event { index: at as u64, time_ns: at as u64 * 1_000_000_000, ..event };
        events.into_iter().enumerate().map(stamp).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_with_the_fields_of_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let recorder = Recorder::create(&path, "r", 7).unwrap();
        let operation = Operation {
            process: Process::Client(3),
            tenant: Some("acme".into()),
            ..Operation::of_harness("backup", "label", json!({"digest": "d"}))
        };
        recorder.begin(&operation);
        recorder.end(&operation, Ending::ok(json!({"snapshot": "s"})));
        recorder.end(&Operation::of_harness("healed", "", Value::Null), Ending::info("why"));
        let events = read(&path).unwrap();
        assert_eq!(events, recorder.events());
        assert_eq!((events[1].asked("digest"), events[1].answered("snapshot")), (Some("d"), Some("s")));
        assert!(events.is_sorted_by_key(|event| event.time_ns));
        let line = std::fs::read_to_string(&path).unwrap().lines().next().unwrap().to_owned();
        for field in "run seed index time_ns wall_ns process node region tenant type f key version argument value \
            idempotency_key shard term log_index cluster_time error"
            .split_ascii_whitespace()
        {
            assert!(line.contains(&format!("\"{field}\":")), "{field} is missing in {line}");
        }
        assert!(line.contains("\"process\":3") && line.contains("\"type\":\"invoke\""), "{line}");
    }
}
