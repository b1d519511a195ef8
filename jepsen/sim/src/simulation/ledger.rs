//! What every replica of every group has applied, entry by entry, compared at once.
//!
//! ```text
//!   replica applies entry i ─▶ rules ─▶ Watched: what was the entry, the answer, the digest of the rows afterwards?
//!                                          └ first to apply i: written down, and now and then all laws
//!                                          └ any other, or the same again: as it was written down
//! ```
//!
//! Laws: two replicas never apply different entries at one index, and their rows are equal afterwards (I14); nothing that
//! was applied is ever replaced; every law of one state and of a step holds (`strongroom_core::laws`); `E` is never ahead
//! of true time by more than a running clock may err (I5).
//! Not here: what clients were told (`promises.rs`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom_core::entry::{Entry, EntryCommand, NodeCommand};
use strongroom_core::laws::{self, State};
use strongroom_core::machine::{DIGEST_TABLE, Machine};
use strongroom_core::query::{Answer, Query};
use strongroom_core::tables::{Halt, Reads, Table, Tables};
use strongroom_format::codec;
use strongroom_format::command::{Body, Command};
use strongroom_format::id::GroupId;

use crate::simulation::clocks::Now;
use crate::simulation::trace::{Trace, Weight};

/// Laws are checked after so many entries of a group, and after each that may let go of something.
const LAWS_EVERY: u64 = 16;
/// A running clock may be so much too fast, in millionths (I5), and reports are in whole milliseconds.
pub(crate) const FAST_PPM: u64 = 200;
const ROUNDED_MS: u64 = 10;

/// A law that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which: a number of RESILIENCE.md, or the file of a law.
    pub law: String,
    /// What was found.
    pub what: String,
}

/// See the head of the file. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Ledger(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    trace: Trace,
    groups: BTreeMap<GroupId, Applied>,
    broken: Option<Broken>,
    entries: u64,
    laws_checked: u64,
}

#[derive(Debug, Default)]
struct Applied {
    /// By index: entry, answer and digest, hashed.
    at: BTreeMap<u64, [u8; 16]>,
    /// When the first entry was applied first, in milliseconds of true time.
    began_ms: u64,
    /// The newest entry that anybody applied.
    newest: u64,
    last: Option<State>,
}

impl Ledger {
    pub(crate) fn new(trace: Trace) -> Self {
        let inner = Inner { trace, groups: BTreeMap::new(), broken: None, entries: 0, laws_checked: 0 };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// The rules of a group on a machine, watched.
    pub(crate) fn watch(&self, rules: Arc<dyn Machine>, group: GroupId, who: Arc<str>, now: Now) -> Arc<dyn Machine> {
        Arc::new(Watched { rules, group, who, now, ledger: self.clone() })
    }

    /// Says that a law is broken; the first word counts.
    pub(crate) fn accuse(&self, law: &str, what: String) {
        self.inner().broken.get_or_insert(Broken { law: law.to_owned(), what });
    }

    /// The first law that was seen to be broken.
    pub(crate) fn broken(&self) -> Option<Broken> {
        self.inner().broken.clone()
    }

    /// How many entries were applied first by somebody, and how often all laws were checked.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let inner = self.inner();
        (inner.entries, inner.laws_checked)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `true`: laws are due, at this entry.
    fn applied(&self, watched: &Watched, index: u64, hash: [u8; 16], entry: &[u8]) -> bool {
        let mut inner = self.inner();
        let (group, now_ms) = (watched.group, watched.now.ms());
        let applied = inner.groups.entry(group).or_insert_with(|| Applied { began_ms: now_ms, ..Applied::default() });
        let known = *applied.at.entry(index).or_insert(hash);
        let is_first = applied.newest < index;
        applied.newest = applied.newest.max(index);
        let due = is_first && (index.is_multiple_of(LAWS_EVERY) || may_let_go(entry));
        if is_first {
            inner.entries += 1;
            let short = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            inner.trace.say(
                now_ms,
                &watched.who,
                Weight::Detail,
                format_args!("applies {index} of group {group}, {} bytes: {short}", entry.len()),
            );
        }
        if known != hash {
            let what = format!("{} has another entry {index} of group {group}, or other rows behind it", watched.who);
            inner.broken.get_or_insert(Broken { law: "I14".into(), what });
        }
        due
    }

    fn judge(&self, watched: &Watched, state: State, view: Option<Answer>) {
        let mut inner = self.inner();
        inner.laws_checked += 1;
        let applied = inner.groups.entry(watched.group).or_default();
        let began_ms = applied.began_ms;
        let before = applied.last.replace(state.clone());
        let step = before.map_or(Ok(()), |before| laws::check_step(&before, &state));
        if let Err(broken) = laws::check(&state).and(step) {
            let what = format!("group {}: {}", watched.group, broken.what);
            inner.broken.get_or_insert(Broken { law: broken.law.into(), what });
        }
        if let Some(Answer::Group(view)) = view {
            let passed_ms = watched.now.ms().saturating_sub(began_ms);
            let most_ms = passed_ms + passed_ms * FAST_PPM / 1_000_000 + ROUNDED_MS;
            let elapsed_ms = view.clock.elapsed_ms;
            if most_ms < elapsed_ms {
                let what = format!("group {}: E is {elapsed_ms} ms after {passed_ms} ms", watched.group);
                inner.broken.get_or_insert(Broken { law: "I5".into(), what });
            }
        }
    }
}

/// The rules of one replica, watched.
struct Watched {
    rules: Arc<dyn Machine>,
    group: GroupId,
    who: Arc<str>,
    now: Now,
    ledger: Ledger,
}

impl Machine for Watched {
    fn apply(&self, tables: &mut dyn Tables, index: u64, entry: &[u8]) -> Result<Vec<u8>, Halt> {
        let answer = self.rules.apply(tables, index, entry)?;
        let digest = tables.get(DIGEST_TABLE, b"")?.unwrap_or_default();
        let mut hasher = blake3::Hasher::new();
        for part in [entry, &answer, &digest] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut hash = [0; 16];
        hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        if self.ledger.applied(self, index, hash, entry) {
            let state = state(self.group, tables)?;
            let view = self.rules.query(tables, &codec::encode(&Query::Group))?;
            self.ledger.judge(self, state, codec::decode(&view).ok());
        }
        Ok(answer)
    }

    fn query(&self, tables: &dyn Reads, query: &[u8]) -> Result<Vec<u8>, Halt> {
        self.rules.query(tables, query)
    }

    fn summed_as(&self) -> Option<GroupId> {
        self.rules.summed_as()
    }

    fn table_name(&self, table: Table) -> &'static str {
        self.rules.table_name(table)
    }
}

/// Whether an entry may remove a hold: laws of a step do not see one that went between two states with its snapshot.
fn may_let_go(entry: &[u8]) -> bool {
    let Ok(entry) = codec::decode::<Entry>(entry) else { return false };
    entry.commands.iter().any(|command| match command {
        EntryCommand::Client(signed)
        | EntryCommand::Vouched(signed)
        | EntryCommand::Attested { command: signed, .. } => {
            codec::decode::<Command>(&signed.command).is_ok_and(|command| matches!(command.body, Body::Lock(_)))
        }
        EntryCommand::Node(NodeCommand::KeepPart(_)) => true,
        EntryCommand::Node(_) | EntryCommand::Operator(_) | EntryCommand::Redeem(_) => false,
    })
}

/// All rows of the rules.
pub(crate) fn state(group: GroupId, reads: &(impl Reads + ?Sized)) -> Result<State, Halt> {
    let mut rows = Vec::new();
    for table in (0..u8::MAX).map(Table) {
        for (key, value) in reads.range(table, &[], &[u8::MAX; 80], usize::MAX)? {
            rows.push((table, key, value));
        }
    }
    Ok(State::read(group, rows.iter().map(|(table, key, value)| (*table, key.as_slice(), value.as_slice()))))
}
