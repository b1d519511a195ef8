//! The stores of a node's groups without Raft around them: for tests of disks, which must know at each moment what was
//! promised and cannot ask an election to come at that moment.
//!
//! ```text
//!   Stores         the shared log, opened as a node opens it
//!    ├ LogStore    one group's log: append, vote, commit, truncate, purge        as openraft calls it
//!    └ GroupStores its log, state and snapshots, recovered by openraft's own code: apply, checkpoint, snapshot, install
//! ```
//!
//! Promises: nothing here stores anything in another way or order than a running group: every call goes to the same
//! code, and a group is opened as `groups.rs` opens one, by openraft's recovery. Whoever drives it calls in the orders in
//! which openraft does: truncate, then append; install or build a snapshot, then purge.
//!
//! Not here: elections, replication, what is durable when (the stores themselves).

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, RaftLogReader, RaftSnapshotBuilder, StorageHelper};
use strongroom_core::machine::Machine;
use strongroom_core::tables::{Halt, Row};
use strongroom_format::id::GroupId;
use strongroom_host::Host;
use strongroom_host::lane::Lane;
use tokio::sync::{broadcast, watch};

use crate::checkpoint::Checkpointer;
use crate::fatal::Fatal;
use crate::health::Health;
use crate::log::store::GroupStore;
use crate::log::{LogError, SharedLog};
use crate::machine::GroupMachine;
use crate::plain::PlainLogId;
use crate::snapshot::{SnapshotFile, SnapshotPlace};
use crate::state::StateStore;
use crate::types::{Entry, LogId, Proposal, TypeConfig, Vote, log_id, term_of};

/// How many pieces of news wait for somebody who does not listen.
const NEWS_MAX: usize = 16;

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    /// The term of the leader that wrote it.
    pub term: u64,
    /// Its place in the group's log.
    pub index: u64,
}

/// A vote as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredVote {
    /// In which term.
    pub term: u64,
    /// For which replica.
    pub replica: u64,
    /// Whether a majority has granted it.
    pub granted: bool,
}

/// All that one group's log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogContents {
    /// The last vote.
    pub vote: Option<StoredVote>,
    /// The last entry known to be committed.
    pub committed: Option<EntryId>,
    /// The last entry that was purged.
    pub purged: Option<EntryId>,
    /// The entries behind it, in order. An entry without a proposal has no bytes.
    pub entries: Vec<(EntryId, Bytes)>,
}

impl EntryId {
    fn to_raft(self) -> LogId {
        log_id(self.term, self.index)
    }
}

impl From<&LogId> for EntryId {
    fn from(id: &LogId) -> Self {
        Self { term: term_of(id), index: id.index }
    }
}

impl From<PlainLogId> for EntryId {
    fn from(id: PlainLogId) -> Self {
        Self { term: id.term, index: id.index }
    }
}

/// What one node keeps for all its groups.
#[derive(Clone, Debug)]
pub struct Stores {
    host: Host,
    directory: PathBuf,
    log: SharedLog,
    snapshot_lane: Lane,
    fatal: Fatal,
}

impl Stores {
    /// Opens the log in a data directory and reads all of it. `log_file_bytes_max`: how long one of its files becomes.
    pub async fn open(
        host: &Host,
        data_directory: &Path,
        log_file_bytes_max: u64,
        fatal: Fatal,
    ) -> Result<Self, LogError> {
        let directory = data_directory.join("log");
        let log = SharedLog::open_with(host, &directory, fatal.clone(), log_file_bytes_max).await?;
        let snapshot_lane = host.lane("snapshots");
        Ok(Self { host: host.clone(), directory: data_directory.join("state"), log, snapshot_lane, fatal })
    }

    /// The log of one group, as it is.
    pub fn log(&self, group: GroupId) -> LogStore {
        LogStore { store: GroupStore::new(&self.log, group) }
    }

    /// Opens log, state and snapshots of one group and recovers them as a start of the group does: half received
    /// snapshots go, a snapshot that is ahead of the state is installed, committed entries are applied.
    pub async fn group(&self, group: GroupId, rules: Arc<dyn Machine>) -> Result<GroupStores, NotRecovered> {
        let lane = self.host.lane(&format!("state-{group}"));
        let snapshots = SnapshotPlace::new(&self.host, &self.directory, group);
        let (host, directory, place) = (self.host.clone(), self.directory.clone(), snapshots.clone());
        let open = lane.run(move || {
            let state = StateStore::open(&host, &directory, group)?;
            place.clean().map_err(|error| Halt { why: format!("the directory cannot be cleaned: {error}") })?;
            Ok::<_, Halt>(state)
        });
        let state = open.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
        let log = self.log(group);
        let health = Health::new();
        let checkpointer = Checkpointer::new(&state, &lane, &self.log, &log.store, &health, &self.fatal);
        let opened_at = state.applied().last.as_ref().map(EntryId::from);
        let machine = GroupMachine {
            group,
            rules,
            state,
            lane,
            snapshots,
            snapshot_lane: self.snapshot_lane.clone(),
            checkpointer: Some(checkpointer),
            applied: watch::channel(0).0,
            news: broadcast::channel(NEWS_MAX).0,
            health,
        };
        let mut stores = GroupStores { log, machine, opened_at };
        let GroupStores { log, machine, .. } = &mut stores;
        let recovered = StorageHelper::new(&mut log.store, machine).with_id(0).get_initial_state().await;
        recovered.map_err(|error| NotRecovered { opened_at, cause: io::Error::other(error) })?;
        Ok(stores)
    }

    /// Removes files of the log that no group needs.
    pub async fn remove_old_files(&self) -> io::Result<()> {
        self.log.remove_old_files().await.map_err(io::Error::other)
    }
}

/// A group's stores did not open, or do not fit together.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct NotRecovered {
    /// The last entry that the state's file had, if it opened.
    pub opened_at: Option<EntryId>,
    /// What went wrong.
    pub cause: io::Error,
}

impl From<io::Error> for NotRecovered {
    fn from(cause: io::Error) -> Self {
        Self { opened_at: None, cause }
    }
}

impl From<NotRecovered> for io::Error {
    fn from(NotRecovered { cause, .. }: NotRecovered) -> Self {
        cause
    }
}

/// One group's log.
#[derive(Clone, Debug)]
pub struct LogStore {
    store: GroupStore,
}

impl LogStore {
    /// Appends entries behind the last one; an entry without bytes is a blank one. They can be read at once, and are
    /// durable when what comes back has an answer.
    pub async fn append(&mut self, entries: Vec<(EntryId, Bytes)>) -> io::Result<Durable> {
        let entries = entries.into_iter().map(|(id, bytes)| Entry {
            log_id: id.to_raft(),
            payload: match bytes.is_empty() {
                true => EntryPayload::Blank,
                false => EntryPayload::Normal(Proposal(bytes)),
            },
        });
        let (flushed, done) = TypeConfig::oneshot();
        self.store.append(entries.collect::<Vec<_>>(), IOFlushed::signal(flushed)).await?;
        Ok(Durable(Box::pin(async move { done.await.map_err(io::Error::other)? })))
    }

    /// Stores a vote, durably.
    pub async fn save_vote(&mut self, vote: StoredVote) -> io::Result<()> {
        let StoredVote { term, replica, granted } = vote;
        let vote = match granted {
            true => Vote::new_committed(term, replica),
            false => Vote::new(term, replica),
        };
        self.store.save_vote(&vote).await
    }

    /// Notes how far entries are committed.
    pub async fn save_committed(&mut self, committed: EntryId) -> io::Result<()> {
        self.store.save_committed(Some(committed.to_raft())).await
    }

    /// Drops the entries behind this one; all of them if there is none.
    pub async fn truncate_after(&mut self, last: Option<EntryId>) -> io::Result<()> {
        self.store.truncate_after(last.map(EntryId::to_raft)).await
    }

    /// Drops the entries up to this one.
    pub async fn purge(&mut self, upto: EntryId) -> io::Result<()> {
        self.store.purge(upto.to_raft()).await
    }

    /// Writes all entries again at the end of the log if they have no more bytes than that, so that older files may go;
    /// then everything so far is durable.
    pub async fn rewrite(&self, bytes_max: u64) -> io::Result<bool> {
        self.store.rewrite(bytes_max).await
    }

    /// Waits until everything so far is durable.
    pub async fn flush(&self) -> io::Result<()> {
        self.store.flush().await
    }

    /// Reads all of it.
    pub async fn read(&mut self) -> io::Result<LogContents> {
        let entries = self.store.try_get_log_entries(..).await?;
        let entries = entries.iter().map(|entry| (EntryId::from(&entry.log_id), bytes(entry)));
        let vote = self.store.read_vote().await?;
        Ok(LogContents {
            vote: vote.map(|vote| StoredVote {
                term: vote.leader_id.term,
                replica: vote.leader_id.voted_for,
                granted: vote.committed,
            }),
            committed: self.store.read_committed().await?.as_ref().map(EntryId::from),
            purged: self.store.look(|log| log.purged()).as_ref().map(EntryId::from),
            entries: entries.collect(),
        })
    }
}

/// The promise that entries are durable.
pub struct Durable(Pin<Box<dyn Future<Output = io::Result<()>> + Send>>);

impl Durable {
    /// Waits until they are, or says why they are not.
    pub async fn wait(self) -> io::Result<()> {
        self.0.await
    }
}

impl std::fmt::Debug for Durable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Durable")
    }
}

/// One group's log, state and snapshots.
pub struct GroupStores {
    log: LogStore,
    machine: GroupMachine,
    opened_at: Option<EntryId>,
}

impl GroupStores {
    /// Its log.
    pub fn log(&mut self) -> &mut LogStore {
        &mut self.log
    }

    /// The last entry that the state's file had when it was opened, before anything was recovered from log or snapshot.
    pub fn opened_at(&self) -> Option<EntryId> {
        self.opened_at
    }

    /// The last entry that is applied.
    pub fn applied(&self) -> Option<EntryId> {
        self.machine.state.applied().last.as_ref().map(EntryId::from)
    }

    /// Applies the entries of the log up to this index, as after a commit.
    pub async fn apply_to(&mut self, upto: u64) -> io::Result<()> {
        let from = self.applied().map_or(0, |applied| applied.index + 1);
        let entries = self.log.store.try_get_log_entries(from..=upto).await?;
        let entries = entries.into_iter().map(|entry| Ok((entry, None)));
        self.machine.apply(futures_util::stream::iter(entries)).await
    }

    /// Makes everything that is applied durable, when the log is.
    pub async fn checkpoint(&self) -> io::Result<()> {
        match &self.machine.checkpointer {
            Some(checkpointer) => checkpointer.checkpoint().await,
            None => Ok(()),
        }
    }

    /// Writes a snapshot of what is applied. What it covers may be purged afterwards.
    pub async fn build_snapshot(&mut self) -> io::Result<SnapshotBytes> {
        let snapshot = self.machine.build_snapshot().await?.snapshot;
        Ok(SnapshotBytes { snapshot })
    }

    /// The group's snapshot, if it has one.
    pub async fn snapshot(&mut self) -> io::Result<Option<SnapshotBytes>> {
        let current = self.machine.get_current_snapshot().await?;
        Ok(current.map(|current| SnapshotBytes { snapshot: current.snapshot }))
    }

    /// Takes a snapshot from another replica in pieces of this size and installs it, as after the last piece of a
    /// transfer. What it covers may be purged afterwards, and contradicting entries must have been truncated before.
    pub async fn install(&mut self, from: &SnapshotBytes, piece_bytes: usize) -> io::Result<()> {
        let (place, from) = (self.machine.snapshots.clone(), from.snapshot.clone());
        let received = self.machine.snapshot_lane.run(move || {
            let transfer = from.applied().last.as_ref().map_or(PlainLogId { term: 0, index: 0 }, PlainLogId::from);
            let mut incoming = place.receive(from.bytes(), transfer)?;
            while incoming.received < incoming.bytes {
                incoming.add(&from.piece(incoming.received, piece_bytes)?)?;
            }
            incoming.finish()
        });
        let received = received.await.map_err(io::Error::other)??;
        self.machine.install_snapshot(&received.meta(), received).await
    }

    /// All rows, in order, verified: table and key in one, and value.
    pub async fn rows(&self) -> io::Result<Vec<Row>> {
        let state = self.machine.state.clone();
        let rows = self.machine.lane.run(move || state.view()?.rows.all()?.collect::<Result<Vec<Row>, Halt>>());
        rows.await.map_err(io::Error::other)?.map_err(io::Error::other)
    }
}

impl std::fmt::Debug for GroupStores {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("GroupStores").field("group", &self.machine.group).finish_non_exhaustive()
    }
}

/// A whole snapshot of a group.
#[derive(Clone, Debug)]
pub struct SnapshotBytes {
    snapshot: SnapshotFile,
}

impl SnapshotBytes {
    /// The last entry that it covers.
    pub fn last(&self) -> Option<EntryId> {
        self.snapshot.applied().last.as_ref().map(EntryId::from)
    }

    /// Reads it through: its rows, in order, verified. Blocks.
    pub fn rows(&self) -> io::Result<Vec<Row>> {
        self.snapshot.rows()?.collect::<Result<Vec<Row>, Halt>>().map_err(io::Error::other)
    }
}

/// The bytes of an entry's proposal.
fn bytes(entry: &Entry) -> Bytes {
    match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.0.clone(),
        EntryPayload::Blank | EntryPayload::Membership(_) => Bytes::new(),
    }
}
