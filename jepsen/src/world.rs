//! What all clients of a run share, and the few operations that they are made of.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::canary::Canaries;
use crate::client::{Answer, Client, Patience};
use crate::history::{Ending, Operation, Process, Recorder};
use crate::random::Random;
use crate::{tree, words};

/// The vault of each tenant; they have the same name, which must not matter.
pub const VAULT: &str = "jepsen";
/// The writer of `dev`.
const WRITER: &str = "writer";
/// How long a client waits for nodes when there are no faults.
pub const DEADLINE_HEALED: Duration = Duration::from_secs(60);
/// How long while there are: often shorter than a fault, so that outcomes are unknown.
const DEADLINES_S: [u64; 5] = [1, 2, 5, 15, 15];
/// One backup in so many has its client killed, after at most so long.
const CLIENTS_KILLED: usize = 10;
const CLIENT_LIVES_MS: usize = 400;

/// How clients wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// Long.
    Patient,
    /// Now long, now short; now and then the client is killed during a backup.
    Moody,
    /// Now long, now short. What a killed client had sent stays for the six hours of its lease: where that would be in the
    /// way, nobody is killed.
    Restless,
}

/// What all clients share.
pub struct World {
    /// How nodes are asked.
    pub client: Client,
    /// Where everything is written down.
    pub recorder: Recorder,
    /// The tenants.
    pub tenants: Vec<Canaries>,
    /// What every vault's name ends with: nothing, unless vaults of other runs may be there.
    suffix: String,
    acknowledged: Mutex<Vec<Acknowledged>>,
    processes: AtomicU64,
    ends: AtomicBool,
}

/// A snapshot that the cluster has promised to keep, or shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acknowledged {
    /// Whose.
    pub tenant: String,
    /// Its label.
    pub label: String,
    /// Its id.
    pub snapshot: String,
}

impl Acknowledged {
    /// A snapshot as a line of a listing has it.
    pub fn of(tenant: &str, line: &Value) -> Option<Self> {
        let (label, snapshot) = (line["name"].as_str()?.to_owned(), line["id"].as_str()?.to_owned());
        Some(Self { tenant: tenant.to_owned(), label, snapshot })
    }
}

/// One client: an identity, a directory of its own, a number that retires with an unknown outcome.
pub struct Actor<'a> {
    /// What it shares.
    pub world: &'a World,
    /// Who it is.
    pub tenant: &'a Canaries,
    /// Its directory.
    pub scratch: PathBuf,
    /// Its choices.
    pub random: Random,
    manners: Manners,
    process: u64,
}

impl World {
    /// Nothing has happened yet.
    pub fn new(client: Client, recorder: Recorder, tenants: Vec<Canaries>, suffix: &str) -> Self {
        let (processes, ends) = (AtomicU64::new(0), AtomicBool::new(false));
        let suffix = suffix.to_owned();
        Self { client, recorder, tenants, suffix, acknowledged: Mutex::default(), processes, ends }
    }

    /// The name of a vault in this run.
    pub fn vault(&self, name: &str) -> String {
        format!("{name}{}", self.suffix)
    }

    /// Whether clients should come to an end.
    pub fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    /// Lets clients come to an end.
    pub fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    /// All snapshots that were acknowledged so far.
    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those of a tenant.
    pub fn acknowledged_of(&self, tenant: &str) -> Vec<Acknowledged> {
        self.acknowledged().into_iter().filter(|one| one.tenant == tenant).collect()
    }

    /// A new client.
    pub fn actor<'a>(
        &'a self,
        tenant: &'a Canaries,
        name: &str,
        dir: &Path,
        seed: u64,
        manners: Manners,
    ) -> anyhow::Result<Actor<'a>> {
        let scratch = dir.join(name);
        std::fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
        let random = Random::named(seed, name);
        Ok(Actor { world: self, tenant, scratch, random, manners, process: self.next_process() })
    }

    fn next_process(&self) -> u64 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }
}

impl Actor<'_> {
    /// Backs up a directory under a label that nobody else uses.
    pub fn back_up(&mut self, source: &Path, label: &str) -> anyhow::Result<Option<String>> {
        let digest = tree::digest(source).context("cannot read a source")?;
        let path = text(source)?;
        let vault = self.world.vault(VAULT);
        let arguments = ["backup", path, "--vault", &vault, "--name", label];
        let operation = self.operation(words::BACKUP, label, json!({ "digest": digest }));
        let answer = self.ask(&operation, "writer", &arguments, |lines| {
            let done = lines.last().unwrap_or(&Value::Null);
            let kept = ["snapshot", "skipped", "code", "handed_over", "survives"];
            Value::Object(kept.iter().map(|name| ((*name).to_owned(), done[*name].clone())).collect())
        })?;
        let Answer::Done(lines) = answer else { return Ok(None) };
        let snapshot = lines.last().and_then(|done| done["snapshot"].as_str()).unwrap_or_default().to_owned();
        let acknowledged =
            Acknowledged { tenant: self.tenant.tenant.clone(), label: label.to_owned(), snapshot: snapshot.clone() };
        self.world.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(acknowledged);
        Ok(Some(snapshot))
    }

    /// Backs a directory up into a vault whose limit, or whose deletions, are what matters; its id if that is known.
    pub fn charge(
        &mut self,
        source: &Path,
        vault: &str,
        label: &str,
        logical_bytes: Option<usize>,
    ) -> anyhow::Result<Option<String>> {
        let digest = tree::digest(source).context("cannot read a source")?;
        let argument = json!({ "vault": vault, "writer": WRITER, "digest": digest });
        let operation = self.operation(words::CHARGE, label, argument);
        let arguments = ["backup", text(source)?, "--vault", vault, "--name", label];
        let answer = self.ask(&operation, "writer", &arguments, |lines| {
            let snapshot = lines.last().map_or(Value::Null, |done| done["snapshot"].clone());
            match logical_bytes {
                Some(bytes) => json!({ "snapshot": snapshot, "logical_bytes": bytes }),
                None => json!({ "snapshot": snapshot }),
            }
        })?;
        let Answer::Done(lines) = answer else { return Ok(None) };
        Ok(lines.last().and_then(|done| done["snapshot"].as_str()).map(str::to_owned))
    }

    /// Deletes a snapshot.
    pub fn delete(&mut self, snapshot: &str) -> anyhow::Result<()> {
        let operation = self.operation(words::DELETE, snapshot, Value::Null);
        self.ask(&operation, "admin", &["delete", snapshot, "--reason", "jepsen"], |_| Value::Null)?;
        Ok(())
    }

    /// What is shown of a vault, without a word in the history; nothing if nobody answers. Streams are their whole's.
    pub fn shown(&mut self, vault: &str) -> anyhow::Result<Vec<Acknowledged>> {
        let answer = self.run("restorer", &["snapshots", "--vault", vault])?;
        let lines = if let Answer::Done(lines) = answer { lines } else { Vec::new() };
        let wholes = lines.iter().filter(|line| line["stream"].is_null());
        Ok(wholes.filter_map(|line| Acknowledged::of(&self.tenant.tenant, line)).collect())
    }

    /// The digest of what a restore of this snapshot gives, or what was answered instead.
    pub fn restored(&mut self, snapshot: &str) -> anyhow::Result<Result<String, Answer>> {
        let to = self.scratch.join("restored");
        std::fs::remove_dir_all(&to).or_else(absent_is_fine).context("cannot remove a restore")?;
        let answer = self.run("restorer", &["restore", snapshot, "--to", text(&to)?])?;
        let given = match answer {
            Answer::Done(_) => Ok(tree::digest(&to).unwrap_or_else(|why| why.to_string())),
            other => Err(other),
        };
        std::fs::remove_dir_all(&to).or_else(absent_is_fine).context("cannot remove a restore")?;
        Ok(given)
    }

    /// Restores a snapshot and records the digest of what appeared; whether that is right is for the judge.
    pub fn restore(&mut self, one: &Acknowledged, is_final: bool) -> anyhow::Result<bool> {
        let argument = json!({ "snapshot": one.snapshot, "final": is_final });
        let operation = self.operation(words::RESTORE, &one.label, argument);
        self.world.recorder.begin(&operation);
        let given = self.restored(&one.snapshot)?;
        let is_done = given.is_ok();
        let ending = match given {
            Ok(digest) => Ending::ok(json!({ "digest": digest })),
            Err(Answer::Damage(what)) => Ending::fail(format!("damage: {what}")),
            // Turned away at the door, by a node whose clock is wrong: nobody spoke of the snapshot.
            Err(Answer::Refused(why)) if why.starts_with("UNAUTHENTICATED") => Ending::info(why),
            Err(Answer::Refused(why)) => Ending::fail(why),
            Err(Answer::Unknown(why)) => Ending::info(why),
            Err(Answer::Done(_)) => Ending::info("it was done and nothing was restored"),
        };
        self.end(&operation, ending);
        Ok(is_done)
    }

    /// Asks and records; `value` picks what the history keeps of a result.
    pub fn ask(
        &mut self,
        operation: &Operation,
        role: &str,
        arguments: &[&str],
        value: impl FnOnce(&[Value]) -> Value,
    ) -> anyhow::Result<Answer> {
        self.world.recorder.begin(operation);
        let answer = self.run(role, arguments)?;
        let ending = match &answer {
            Answer::Done(lines) => Ending::ok(value(lines)),
            Answer::Damage(why) | Answer::Refused(why) => Ending::fail(why.clone()),
            Answer::Unknown(why) => Ending::info(why.clone()),
        };
        self.end(operation, ending);
        Ok(answer)
    }

    /// An operation of this client.
    pub fn operation(&self, f: &'static str, key: &str, argument: Value) -> Operation {
        Operation {
            process: Process::Client(self.process),
            tenant: Some(self.tenant.tenant.clone()),
            ..Operation::of_harness(f, key, argument)
        }
    }

    /// Waits a little, less where the run ends.
    pub fn rest(&mut self, milliseconds_max: usize) {
        let mut left = self.random.below(milliseconds_max);
        while 0 < left && !self.world.ends() {
            let now = left.min(50);
            std::thread::sleep(Duration::from_millis(now as u64));
            left -= now;
        }
    }

    /// Asks and records nothing.
    pub fn run(&mut self, role: &str, arguments: &[&str]) -> anyhow::Result<Answer> {
        let patience = self.patience(role);
        self.world.client.run(&self.tenant.tenant, role, patience, &self.scratch, arguments)
    }

    /// How this client waits for the next answer.
    pub fn patience(&mut self, role: &str) -> Patience {
        match self.manners {
            Manners::Patient => Patience::Deadline(DEADLINE_HEALED),
            Manners::Moody | Manners::Restless => {
                let deadline = DEADLINES_S[self.random.below(DEADLINES_S.len())];
                match (role, self.random.below(CLIENTS_KILLED)) {
                    ("writer", 0) if self.manners == Manners::Moody => {
                        Patience::Killed(Duration::from_millis(self.random.below(CLIENT_LIVES_MS) as u64))
                    }
                    _ => Patience::Deadline(Duration::from_secs(deadline)),
                }
            }
        }
    }

    /// Records how an operation of this client ended; its number retires if that is unknown.
    pub fn end(&mut self, operation: &Operation, ending: Ending) {
        let is_known = ending.kind != crate::history::Kind::Info;
        self.world.recorder.end(operation, ending);
        if !is_known {
            self.process = self.world.next_process();
        }
    }
}

fn absent_is_fine(why: std::io::Error) -> std::io::Result<()> {
    if why.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(why) }
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the run's directory is not UTF-8")
}
