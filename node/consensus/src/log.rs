//! The node's one Raft log, shared by all its groups.
//!
//! ```text
//!   group 0 ── append ─┐ readable at once                      ┌─▶ callbacks, in order
//!   group 1 ── vote ───┼─▶ queue ─▶ the log's lane: one group ─┤
//!   group 7 ── purge ──┘            of records, one fdatasync  └─▶ places, what is durable
//!
//!   files   1.log │ 2.log │ 3.log …     each begins with the state of every group; the oldest go when no group
//!           needs an entry in them; a slow group's few old entries are written again, and lie in the newest
//! ```
//!
//! Promises: what was acknowledged survives any crash; nothing comes back that was not appended; a group's records come
//! back in the order in which it made them, so that its vote and its commits never go back; **any failed write or sync
//! ends the log for good**, tells everybody who waits, and calls `fatal`; a sync is never retried.
//!
//! While one sync runs everything else queues, and the next write takes all of it (up to 1024 operations or 1 MiB): that
//! is the group commit. There is no extra waiting for company: tokio's timers are coarser than a sync is long.
//!
//! Not here: which entries a group has (`log/index.rs`), openraft's traits (`log/store.rs`), when to purge
//! (`keeping.rs`).

pub(crate) mod index;
pub(crate) mod store;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::IOFlushed;
use strongroom_format::id::GroupId;
use strongroom_host::Host;
use strongroom_host::append::AppendError;
use strongroom_host::lane::{Lane, LaneError};
use strongroom_host::log::{AppendLog, LogReader, Position};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::fatal::Fatal;
use crate::journal::{self, GroupState, JournalEvent, RECORD_KIND};
use crate::log::index::{GroupLog, Hole};
use crate::metrics;
use crate::types::TypeConfig;

/// A file takes no more records once it is this long.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// One write takes so many operations …
const WRITE_OPERATIONS_MAX: usize = 1024;

/// … and stops behind the one that reaches so many bytes.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// Why the log did not open.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The files could not be read, or are not what was written: this node's replicas must be rebuilt from others.
    #[error("the shared log does not open")]
    Unreadable(#[from] AppendError),
    /// A record means nothing to this program, or contradicts those before it.
    #[error("the shared log is damaged in file {file} at byte {offset}: {why}")]
    Damaged {
        /// The file's number.
        file: u64,
        /// Where the record begins.
        offset: u64,
        /// What is wrong, for people.
        why: String,
    },
    /// The log's thread ended while it opened.
    #[error(transparent)]
    Lane(#[from] LaneError),
}

/// The log of all groups of this node. Clones are the same log.
#[derive(Clone, Debug)]
pub(crate) struct SharedLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: Mutex<Queue>,
    /// Only the log's lane locks it.
    writer: Mutex<Writer>,
    groups: Mutex<BTreeMap<GroupId, Arc<Mutex<GroupLog>>>>,
    lane: Lane,
    reads: Lane,
    reader: LogReader,
    /// One group at a time writes its entries again: they are in memory meanwhile.
    rewriting: Semaphore,
    /// How many writes are durable.
    writes: watch::Sender<u64>,
    fatal: Fatal,
}

#[derive(Debug, Default)]
struct Queue {
    operations: VecDeque<Operation>,
    /// Whether the lane will look at the queue.
    is_scheduled: bool,
    /// Why nothing is taken any more.
    ended: Option<String>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Operation {
    group: GroupId,
    records: Vec<Vec<u8>>,
    done: Done,
}

/// Who waits for an operation.
enum Done {
    /// Entries with this ticket from this index on.
    Entries { ticket: u64, first: u64, flushed: IOFlushed<TypeConfig> },
    /// All of the group's entries again: a truncation to nothing, and each entry from this index on, with the ticket of
    /// the append that brought it. One operation is one group of records: after a crash all of it is there or nothing.
    Rewritten { first: u64, tickets: Vec<u64>, waiting: oneshot::Sender<io::Result<()>> },
    /// A change of the group's state, for the heads of files, and perhaps somebody who waits for it.
    State { change: JournalEvent, waiting: Option<oneshot::Sender<io::Result<()>>> },
    /// Somebody who waits for everything before it; no record.
    Flush(oneshot::Sender<io::Result<()>>),
}

impl Operation {
    /// Whether it is worth no sync of its own: it is written with whatever is written next.
    fn can_wait(&self) -> bool {
        matches!(self.done, Done::State { change: JournalEvent::Committed(_), waiting: None })
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Entries { .. } => "Entries",
            Self::Rewritten { .. } => "Rewritten",
            Self::State { .. } => "State",
            Self::Flush(_) => "Flush",
        })
    }
}

#[derive(Debug)]
struct Writer {
    log: AppendLog,
    /// How far the current file is written, nearly.
    file_bytes: u64,
    file_bytes_max: u64,
    /// The groups' states as the written records say them.
    states: BTreeMap<GroupId, GroupState>,
}

impl SharedLog {
    /// Opens the log in `directory` and reads all of it once.
    pub(crate) async fn open(host: &Host, directory: &Path, fatal: Fatal) -> Result<Self, LogError> {
        Self::open_with(host, directory, fatal, FILE_BYTES_MAX).await
    }

    /// As `open`, with files of another size: for tests.
    pub(crate) async fn open_with(
        host: &Host,
        directory: &Path,
        fatal: Fatal,
        file_bytes_max: u64,
    ) -> Result<Self, LogError> {
        let lane = host.lane("raft-log");
        let reads = host.lane("raft-log-read");
        let (owned_host, directory) = (host.clone(), directory.to_owned());
        let (log, groups, end) = lane.run(move || recover(&owned_host, &directory)).await??;
        let states = groups.iter().map(|(&group, log)| (group, log.state)).collect();
        let reader = log.reader();
        let inner = Inner {
            queue: Mutex::default(),
            writer: Mutex::new(Writer { log, file_bytes: end, file_bytes_max, states }),
            groups: Mutex::new(groups.into_iter().map(|(group, log)| (group, Arc::new(Mutex::new(log)))).collect()),
            lane,
            reads,
            reader,
            rewriting: Semaphore::new(1),
            writes: watch::channel(0).0,
            fatal,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The part of one group; an empty one if it has none yet.
    pub(crate) fn group(&self, group: GroupId) -> Arc<Mutex<GroupLog>> {
        Arc::clone(lock(&self.inner.groups).entry(group).or_default())
    }

    /// Counts the durable writes: whoever waits for something to become durable looks again when it moves.
    pub(crate) fn writes(&self) -> watch::Receiver<u64> {
        self.inner.writes.subscribe()
    }

    /// Waits until everything queued so far is durable.
    pub(crate) async fn flush(&self) -> io::Result<()> {
        let (waiting, done) = oneshot::channel();
        {
            let mut queue = lock(&self.inner.queue);
            queue.check()?;
            let done = Done::Flush(waiting);
            queue.operations.push_back(Operation { group: GroupId::CLUSTER, records: Vec::new(), done });
            self.schedule(&mut queue);
        }
        done.await.map_err(|_| io::Error::other("the shared log has ended"))?
    }

    fn schedule(&self, queue: &mut Queue) {
        if queue.is_scheduled || queue.ended.is_some() {
            return;
        }
        queue.is_scheduled = true;
        let log = self.clone();
        if let Err(error) = self.inner.lane.post(move || log.write_queued()) {
            queue.is_scheduled = false;
            self.end(queue, &error.to_string());
        }
    }

    /// The lane's work: writes until the queue is empty.
    fn write_queued(&self) {
        loop {
            let batch = {
                let mut queue = lock(&self.inner.queue);
                let batch = queue.take();
                if batch.is_empty() {
                    queue.is_scheduled = false;
                    return;
                }
                batch
            };
            let written = lock(&self.inner.writer).write(&batch);
            match written {
                Ok(places) => {
                    self.complete(batch, places);
                    self.inner.writes.send_modify(|writes| *writes += 1);
                }
                Err(error) => {
                    let why = report(&error);
                    {
                        let mut queue = lock(&self.inner.queue);
                        queue.is_scheduled = false;
                        self.end(&mut queue, &why);
                    }
                    for operation in batch {
                        operation.done.fail(&why);
                    }
                    return;
                }
            }
        }
    }

    fn complete(&self, batch: Vec<Operation>, places: Vec<Position>) {
        let mut places = places.as_slice();
        for operation in batch {
            let (own, rest) = places.split_at(operation.records.len());
            places = rest;
            match operation.done {
                Done::Entries { ticket, first, flushed } => {
                    lock(&self.group(operation.group)).written(ticket, first, own);
                    flushed.io_completed(Ok(()));
                }
                Done::Rewritten { first, tickets, waiting } => {
                    let (_truncation, own) = own.split_at(1);
                    lock(&self.group(operation.group)).rewritten(first, &tickets, own);
                    // whoever stopped waiting does not need to know
                    let _ = waiting.send(Ok(()));
                }
                Done::State { change, waiting } => {
                    lock(&self.group(operation.group)).changed(&change);
                    if let Some(waiting) = waiting {
                        // whoever stopped waiting does not need to know
                        let _ = waiting.send(Ok(()));
                    }
                }
                Done::Flush(waiting) => {
                    let _ = waiting.send(Ok(()));
                }
            }
        }
    }

    /// Ends the log: nothing is taken any more, and the process must end.
    fn end(&self, queue: &mut Queue, why: &str) {
        if queue.ended.is_some() {
            return;
        }
        queue.ended = Some(why.to_owned());
        for operation in queue.operations.drain(..) {
            operation.done.fail(why);
        }
        self.inner.fatal.call(&format!("the shared log has failed: {why}"));
    }

    /// Removes files that no group needs. Called now and then.
    pub(crate) async fn remove_old_files(&self) -> Result<(), LaneError> {
        let log = self.clone();
        self.inner.lane.run(move || log.remove_unneeded()).await
    }

    /// Runs on the lane.
    fn remove_unneeded(&self) {
        let oldest = loop {
            let queue = lock(&self.inner.queue);
            if queue.ended.is_some() {
                return;
            }
            // A purge that is not durable yet must not cost a file: after a crash its entries would be missed. Whoever
            // purges holds the queue, so with nothing urgent in it every purge is written.
            if !queue.is_urgent() {
                let groups = lock(&self.inner.groups);
                break groups.values().filter_map(|group| lock(group).oldest_file()).min();
            }
            drop(queue);
            self.write_queued();
        };
        let mut writer = lock(&self.inner.writer);
        let keep = oldest.unwrap_or(u64::MAX).min(writer.log.current_file());
        if let Err(error) = writer.log.remove_before(keep) {
            drop(writer);
            self.end(&mut lock(&self.inner.queue), &report(&error));
        }
    }

    /// The numbers of the files, oldest first.
    pub(crate) async fn files(&self) -> Result<Vec<u64>, LaneError> {
        let log = self.clone();
        self.inner.lane.run(move || lock(&log.inner.writer).log.file_numbers()).await
    }
}

impl Queue {
    fn check(&self) -> io::Result<()> {
        match &self.ended {
            None => Ok(()),
            Some(why) => Err(io::Error::other(format!("the shared log has failed: {why}"))),
        }
    }

    /// Whether something waits that is worth a sync.
    fn is_urgent(&self) -> bool {
        self.operations.iter().any(|operation| !operation.can_wait())
    }

    /// The next operations to write; none if nothing is urgent.
    fn take(&mut self) -> Vec<Operation> {
        if !self.is_urgent() {
            return Vec::new();
        }
        let mut bytes = 0;
        let mut batch = Vec::new();
        while batch.len() < WRITE_OPERATIONS_MAX && bytes < WRITE_BYTES_MAX {
            let Some(operation) = self.operations.pop_front() else { break };
            bytes += operation.records.iter().map(Vec::len).sum::<usize>();
            batch.push(operation);
        }
        batch
    }
}

impl Done {
    fn fail(self, why: &str) {
        let error = || io::Error::other(why.to_owned());
        match self {
            Self::Entries { flushed, .. } => flushed.io_completed(Err(error())),
            Self::State { waiting: None, .. } => {}
            Self::State { waiting: Some(waiting), .. } | Self::Rewritten { waiting, .. } | Self::Flush(waiting) => {
                // whoever stopped waiting does not need to know
                let _ = waiting.send(Err(error()));
            }
        }
    }
}

impl Writer {
    /// Writes the operations as one group and makes it durable. Gives the place of every record.
    fn write(&mut self, batch: &[Operation]) -> Result<Vec<Position>, AppendError> {
        if self.file_bytes_max <= self.file_bytes {
            self.rotate()?;
        }
        let records: Vec<(u8, &[u8])> = batch
            .iter()
            .flat_map(|operation| &operation.records)
            .map(|bytes| (RECORD_KIND, bytes.as_slice()))
            .collect();
        let places = self.append(&records)?;
        if !records.is_empty() {
            self.log.sync()?;
            metrics::log_synced();
        }
        for operation in batch {
            match &operation.done {
                Done::State { change: JournalEvent::Forgotten, .. } => {
                    self.states.remove(&operation.group);
                }
                Done::State { change, .. } => self.states.entry(operation.group).or_default().follow(change),
                Done::Entries { .. } | Done::Rewritten { .. } | Done::Flush(_) => {}
            }
        }
        Ok(places)
    }

    fn append(&mut self, records: &[(u8, &[u8])]) -> Result<Vec<Position>, AppendError> {
        let places = self.log.append(records)?;
        if let (Some(place), Some((_, bytes))) = (places.last(), records.last()) {
            self.file_bytes = place.offset + bytes.len() as u64;
        }
        Ok(places)
    }

    /// Starts a file with the states of all groups, durably, so that those before it can go.
    fn rotate(&mut self) -> Result<(), AppendError> {
        self.log.rotate()?;
        self.file_bytes = 0;
        let states: Vec<Vec<u8>> =
            self.states.iter().map(|(group, state)| journal::record(group.0, JournalEvent::State(*state))).collect();
        let records: Vec<(u8, &[u8])> = states.iter().map(|bytes| (RECORD_KIND, bytes.as_slice())).collect();
        self.append(&records)?;
        self.log.sync()
    }
}

impl GroupState {
    fn follow(&mut self, change: &JournalEvent) {
        match change {
            JournalEvent::Vote(vote) => self.vote = Some(*vote),
            JournalEvent::Committed(id) => self.committed = Some(*id),
            JournalEvent::Purge(upto) => self.purged = Some(*upto),
            JournalEvent::State(state) => *self = *state,
            JournalEvent::Forgotten => *self = Self::default(),
            JournalEvent::Entry(_) | JournalEvent::Truncate(_) => {}
        }
    }
}

type Recovered = (AppendLog, BTreeMap<GroupId, GroupLog>, u64);

/// Reads the whole log.
fn recover(host: &Host, directory: &Path) -> Result<Recovered, LogError> {
    let mut groups: BTreeMap<GroupId, GroupLog> = BTreeMap::new();
    let mut damage = None;
    let mut end = Position { file: 0, offset: 0 };
    let log = AppendLog::open(host, directory, u64::MAX, |place, record| {
        end = Position { file: place.file, offset: place.offset + record.payload.len() as u64 };
        if damage.is_some() {
            return;
        }
        let replayed = match journal::read(&record.payload) {
            Ok(read) if record.kind == RECORD_KIND => {
                let group = groups.entry(GroupId(read.group)).or_default();
                group.replay(place, read.event).map_err(|hole| hole.to_string())
            }
            Ok(_) => Err(format!("a record of kind {}", record.kind)),
            Err(error) => Err(error.to_string()),
        };
        damage = replayed.err().map(|why| LogError::Damaged { file: place.file, offset: place.offset, why });
    })?;
    if let Some(damage) = damage {
        return Err(damage);
    }
    for (group, log) in &groups {
        let damaged = |hole: Hole| LogError::Damaged {
            file: end.file,
            offset: end.offset,
            why: format!("group {group}: {hole}"),
        };
        log.check().map_err(damaged)?;
    }
    let end = if end.file == log.current_file() { end.offset } else { 0 };
    Ok((log, groups, end))
}

/// An error with its causes.
fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

/// A lock that a panic cannot spoil: what it guards is changed in single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
