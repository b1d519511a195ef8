//! What clients were told, held against what they are told later and against true time.
//!
//! | law | here |
//! |---|---|
//! | I2 | a snapshot whose commit was acknowledged is shown in every later answer, until somebody asks for its end |
//! | I3 | no end of it is acknowledged before its lock is over in true time, counted from before its commit was asked for |
//! | I4 | no shown lock is shorter or weaker than one that was acknowledged or shown before; a hold that was acknowledged and that nobody asked to remove is shown, and while it is there no end is acknowledged |
//! | I8 | a number of a session has one outcome, however often and wherever it is asked for |
//!
//! Not here: who asks (`client.rs`), what replicas hold (`ledger.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom_format::id::{GroupId, HoldName, SessionId, SnapshotId, TenantId};
use strongroom_format::lock::{LockMode, LockTerms};
use strongroom_format::outcome::{Outcome, Refusal};
use strongroom_format::policy_view::LockView;

use crate::simulation::ledger::Ledger;

/// See the head of the file. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Promises(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    ledger: Ledger,
    outcomes: BTreeMap<(GroupId, SessionId, u64), Outcome>,
    snapshots: BTreeMap<SnapshotId, Snapshot>,
    retried: u64,
    shown: u64,
    ended: u64,
    refused_ends: u64,
}

/// A snapshot whose commit was acknowledged.
#[derive(Clone, Debug)]
struct Snapshot {
    tenant: TenantId,
    /// Before its commit was asked for, in milliseconds of true time.
    asked_ms: u64,
    /// The longest that was acknowledged or shown.
    lock: LockTerms,
    holds: BTreeSet<HoldName>,
    /// So many asked for its end and do not know what came of it: it may be gone.
    ends_open: u32,
    /// Somebody was told that it is.
    is_gone: bool,
}

impl Snapshot {
    fn may_be_gone(&self) -> bool {
        self.is_gone || self.ends_open != 0
    }
}

/// How much was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Snapshots whose commit was acknowledged.
    pub snapshots: u64,
    /// Of these, whose end was.
    pub ended: u64,
    /// Ends that were refused.
    pub refused_ends: u64,
    /// Answers in which a snapshot was looked for.
    pub shown: u64,
    /// Outcomes that were heard more than once.
    pub retried: u64,
}

impl Promises {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            ledger,
            outcomes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            retried: 0,
            shown: 0,
            ended: 0,
            refused_ends: 0,
        })))
    }

    /// A number of a session was answered.
    pub(crate) fn outcome(&self, group: GroupId, session: SessionId, sequence: u64, outcome: &Outcome) {
        // what is older or ended is not remembered, and says so; two refusals say that nothing was decided yet
        match outcome {
            Outcome::Forgotten
            | Outcome::Refused(Refusal::SessionEnded | Refusal::Unattested | Refusal::DigestsDisagree) => return,
            Outcome::Done(_) | Outcome::Refused(_) => {}
        }
        let mut inner = self.inner();
        match inner.outcomes.get(&(group, session, sequence)).cloned() {
            None => drop(inner.outcomes.insert((group, session, sequence), outcome.clone())),
            Some(before) if before == *outcome => inner.retried += 1,
            Some(before) => {
                let what = format!("number {sequence} of {session} in group {group}: {before:?}, and then {outcome:?}");
                inner.ledger.accuse("I8", what);
            }
        }
    }

    /// A commit was acknowledged that was asked for at this moment or later.
    pub(crate) fn committed(&self, tenant: TenantId, snapshot: SnapshotId, asked_ms: u64, lock: LockTerms) {
        let made = Snapshot { tenant, asked_ms, lock, holds: BTreeSet::new(), ends_open: 0, is_gone: false };
        self.inner().snapshots.entry(snapshot).or_insert(made);
    }

    /// A longer or stricter lock was acknowledged.
    pub(crate) fn extended(&self, snapshot: SnapshotId, lock: LockTerms) {
        if let Some(known) = self.inner().snapshots.get_mut(&snapshot) {
            known.grow(lock);
        }
    }

    /// A hold was acknowledged.
    pub(crate) fn held(&self, snapshot: SnapshotId, hold: HoldName) {
        if let Some(known) = self.inner().snapshots.get_mut(&snapshot) {
            known.holds.insert(hold);
        }
    }

    /// Somebody will ask for a hold to be removed.
    pub(crate) fn may_let_go(&self, snapshot: SnapshotId, hold: &HoldName) {
        if let Some(known) = self.inner().snapshots.get_mut(&snapshot) {
            known.holds.remove(hold);
        }
    }

    /// Somebody will ask for its end.
    pub(crate) fn may_end(&self, snapshot: SnapshotId) {
        if let Some(known) = self.inner().snapshots.get_mut(&snapshot) {
            known.ends_open += 1;
        }
    }

    /// Its end was refused.
    pub(crate) fn not_ended(&self, snapshot: SnapshotId) {
        let mut inner = self.inner();
        inner.refused_ends += 1;
        if let Some(known) = inner.snapshots.get_mut(&snapshot) {
            known.ends_open = known.ends_open.saturating_sub(1);
        }
    }

    /// Its end was acknowledged at this moment.
    pub(crate) fn ended(&self, snapshot: SnapshotId, now_ms: u64) {
        let mut inner = self.inner();
        inner.ended += 1;
        let Some(known) = inner.snapshots.get_mut(&snapshot) else { return };
        known.is_gone = true;
        let Snapshot { asked_ms, lock, holds, .. } = known.clone();
        if now_ms < asked_ms.saturating_add(lock.length_ms) {
            let what = format!(
                "{snapshot} is locked for {} ms, was asked for at {asked_ms} ms and is gone at {now_ms} ms",
                lock.length_ms
            );
            inner.ledger.accuse("I3", what);
        }
        if !holds.is_empty() {
            inner.ledger.accuse("I4", format!("{snapshot} is held by {holds:?} and is gone"));
        }
    }

    /// The acknowledged snapshots of a tenant.
    pub(crate) fn snapshots(&self, of: TenantId) -> Vec<SnapshotId> {
        let inner = self.inner();
        inner.snapshots.iter().filter(|(_, known)| known.tenant == of).map(|(snapshot, _)| *snapshot).collect()
    }

    /// A linearizable answer at this moment did not show a snapshot.
    pub(crate) fn missing(&self, snapshot: SnapshotId, now_ms: u64) {
        let mut inner = self.inner();
        inner.shown += 1;
        let Some(known) = inner.snapshots.get(&snapshot).cloned() else { return };
        // whoever asks for an end meanwhile may be first, but nobody while it is kept
        if !known.may_be_gone() {
            inner.ledger.accuse("I2", format!("{snapshot} was acknowledged and is not shown"));
        } else if !known.is_gone && now_ms < known.asked_ms.saturating_add(known.lock.length_ms) {
            inner.ledger.accuse("I3", format!("{snapshot} is locked and is not shown at {now_ms} ms: {known:?}"));
        } else if !known.is_gone && !known.holds.is_empty() {
            inner.ledger.accuse("I4", format!("{snapshot} is held and is not shown: {known:?}"));
        }
    }

    /// What was known when a question was asked: the answer must not be behind it.
    pub(crate) fn before(&self, snapshot: SnapshotId) -> Option<Before> {
        let inner = self.inner();
        let known = inner.snapshots.get(&snapshot)?;
        Some(Before { lock: known.lock, holds: known.holds.clone(), is_gone: known.is_gone })
    }

    /// A linearizable answer showed a snapshot.
    pub(crate) fn shown(&self, snapshot: SnapshotId, before: &Before, view: &LockView) {
        let mut inner = self.inner();
        inner.shown += 1;
        if before.is_gone {
            inner.ledger.accuse("I4", format!("{snapshot} was gone and is shown again"));
        }
        let terms = view.lock.as_ref().map(|lock| lock.terms);
        let Some(terms) = terms.filter(|terms| is_as_strict(*terms, before.lock)) else {
            let what = format!("the lock of {snapshot} was {:?} and is {:?}", before.lock, view.lock);
            inner.ledger.accuse("I4", what);
            return;
        };
        let there: BTreeSet<HoldName> = view.holds.iter().map(|hold| hold.name.clone()).collect();
        let Some(known) = inner.snapshots.get_mut(&snapshot) else { return };
        known.grow(terms);
        // a hold that somebody asked to remove meanwhile may be gone
        let lost: Vec<HoldName> =
            before.holds.iter().filter(|hold| known.holds.contains(*hold) && !there.contains(*hold)).cloned().collect();
        if !lost.is_empty() {
            inner.ledger.accuse("I4", format!("{snapshot} is not held by {lost:?} any more"));
        }
    }

    /// How much was judged.
    pub(crate) fn judged(&self) -> Judged {
        let inner = self.inner();
        Judged {
            snapshots: inner.snapshots.len() as u64,
            ended: inner.ended,
            refused_ends: inner.refused_ends,
            shown: inner.shown,
            retried: inner.retried,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Promises::before`].
#[derive(Clone, Debug)]
pub(crate) struct Before {
    lock: LockTerms,
    holds: BTreeSet<HoldName>,
    is_gone: bool,
}

impl Snapshot {
    fn grow(&mut self, lock: LockTerms) {
        self.lock =
            LockTerms { mode: self.lock.mode.max(lock.mode), length_ms: self.lock.length_ms.max(lock.length_ms) };
    }
}

fn is_as_strict(lock: LockTerms, than: LockTerms) -> bool {
    let strict = |mode| mode == LockMode::Compliance;
    than.length_ms <= lock.length_ms && (strict(lock.mode) || !strict(than.mode))
}
