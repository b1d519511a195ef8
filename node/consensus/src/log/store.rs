//! One group's log as openraft sees it: `RaftLogStorage` and `RaftLogReader` over the shared log.
//!
//! `append` makes entries readable, queues them and returns: openraft's group task waits for nothing here but votes.
//! Truncations, purges and commits are ordered with everything else in the log and are acknowledged at once; losing the
//! last of them in a crash only means knowing less.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex};

use futures_util::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{LogId as RaftLogId, OptionalSend, RaftLogReader};
use strongroom_format::id::GroupId;
use tokio::sync::oneshot;

use crate::journal::{self, JournalEvent};
use crate::log::index::{Found, GroupLog};
use crate::log::{Done, Operation, SharedLog, lock, report};
use crate::plain::{PlainEntry, PlainLogId, PlainVote};
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// At most so many bytes of entries are read for one message, unless a single entry is longer.
pub(crate) const READ_BYTES_MAX: usize = 1 << 20;

/// One group's log.
#[derive(Clone, Debug)]
pub(crate) struct GroupStore {
    group: GroupId,
    log: SharedLog,
    index: Arc<Mutex<GroupLog>>,
}

impl GroupStore {
    /// The log of one group, as it is.
    pub(crate) fn new(log: &SharedLog, group: GroupId) -> Self {
        Self { group, log: log.clone(), index: log.group(group) }
    }

    /// Looks at what the log knows.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&GroupLog) -> T) -> T {
        look(&lock(&self.index))
    }

    /// Waits until everything that was queued so far is durable.
    pub(crate) async fn flush(&self) -> io::Result<()> {
        self.log.flush().await
    }

    /// Forgets entries, votes and all else of a group that does not run, durably.
    pub(crate) async fn forget(&self) -> io::Result<()> {
        let (waiting, done) = oneshot::channel();
        // in memory it is gone when it is on the disk: until then nobody uses it
        self.change(JournalEvent::Forgotten, Some(waiting), |_| {})?;
        done.await.map_err(|_| io::Error::other("the shared log has ended"))?
    }

    /// Writes all entries again at the end of the log, so that no older file is kept for them, and waits until that is
    /// durable. `false` if there are none, if they have more bytes than that, or if they changed too fast: then nothing
    /// was written.
    ///
    /// What a crash leaves is the old log of the group or the new one, which say the same: the truncation and the entries
    /// are one operation. What is queued before it belongs to it, what is queued behind it comes later in the files too.
    pub(crate) async fn rewrite(&self, bytes_max: u64) -> io::Result<bool> {
        let _turn = self.log.inner.rewriting.acquire().await.map_err(io::Error::other)?;
        let (first, tickets, found) = {
            let index = lock(&self.index);
            if index.entries() == 0 || bytes_max < index.stored_bytes() {
                return Ok(false);
            }
            let (first, tickets) = index.tickets();
            (first, tickets, index.find(0, u64::MAX, usize::MAX))
        };
        let mut records: Vec<Vec<u8>> = match self.fetch(found).await {
            Ok(entries) => entries.iter().map(|entry| self.record(entry)).collect(),
            // a file went because entries in it were purged meanwhile
            Err(_) if Some(first) <= self.look(|index| index.purged().map(|purged| purged.index)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let done = {
            let mut queue = lock(&self.log.inner.queue);
            queue.check()?;
            let index = lock(&self.index);
            let (first_now, tickets_now) = index.tickets();
            let mut rewritten = Vec::with_capacity(1 + tickets_now.len());
            rewritten.push(journal::record(self.group.0, JournalEvent::Truncate(None)));
            for (at, ticket) in (first_now..).zip(&tickets_now) {
                let before = at.checked_sub(first).map(|before| before as usize);
                let before = before.filter(|&before| tickets.get(before) == Some(ticket));
                match before.and_then(|before| records.get_mut(before)) {
                    Some(record) => rewritten.push(std::mem::take(record)),
                    // it came meanwhile
                    None => match index.find(at, at + 1, usize::MAX).pop() {
                        Some(Found::Cached(entry)) => rewritten.push(self.record(&entry)),
                        Some(Found::At(_)) | None => return Ok(false),
                    },
                }
            }
            if tickets_now.is_empty() || bytes_max < index.stored_bytes() {
                return Ok(false);
            }
            let (waiting, done) = oneshot::channel();
            let written = Done::Rewritten { first: first_now, tickets: tickets_now, waiting };
            queue.operations.push_back(Operation { group: self.group, records: rewritten, done: written });
            self.log.schedule(&mut queue);
            done
        };
        done.await.map_err(|_| io::Error::other("the shared log has ended"))??;
        Ok(true)
    }

    fn record(&self, entry: &Entry) -> Vec<u8> {
        journal::record(self.group.0, JournalEvent::Entry(PlainEntry::from(entry)))
    }

    /// Makes a change in memory and queues it, both at once.
    fn change(
        &self,
        change: JournalEvent,
        waiting: Option<oneshot::Sender<io::Result<()>>>,
        make: impl FnOnce(&mut GroupLog),
    ) -> io::Result<()> {
        let records = vec![journal::record(self.group.0, change.clone())];
        let operation = Operation { group: self.group, records, done: Done::State { change, waiting } };
        let mut queue = lock(&self.log.inner.queue);
        queue.check()?;
        make(&mut lock(&self.index));
        if !operation.can_wait() {
            queue.operations.push_back(operation);
            self.log.schedule(&mut queue);
            return Ok(());
        }
        match queue.operations.back_mut() {
            // a later commit says more than one behind which nothing was queued
            Some(last) if last.group == self.group && last.can_wait() => *last = operation,
            _ => queue.operations.push_back(operation),
        }
        Ok(())
    }

    /// The entries in a range, up to a number of bytes.
    async fn read(&self, mut from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        loop {
            let (found, moves) = {
                let index = lock(&self.index);
                (index.find(from, to, bytes_max), index.moves())
            };
            let error = match self.fetch(found).await {
                Ok(entries) => return Ok(entries),
                Err(error) => error,
            };
            // A file may have gone because entries in it were purged meanwhile: then they are not part of the log; or
            // because they were written again. The others are there, and a disk that cannot read them must not look like
            // a log without them.
            let index = lock(&self.index);
            match index.purged() {
                Some(purged) if from <= purged.index => {
                    tracing::debug!(group = %self.group, from, "entries were purged while they were read");
                    from = purged.index + 1;
                }
                _ if index.moves() != moves => {
                    tracing::debug!(group = %self.group, from, "entries moved while they were read");
                }
                _ => return Err(error),
            }
        }
    }

    async fn fetch(&self, found: Vec<Found>) -> io::Result<Vec<Entry>> {
        if found.iter().all(|found| matches!(found, Found::Cached(_))) {
            return Ok(found.into_iter().filter_map(Found::cached).collect());
        }
        let reader = self.log.inner.reader.clone();
        let read = self.log.inner.reads.run(move || {
            let read_one = |found| match found {
                Found::Cached(entry) => Ok(entry),
                Found::At(place) => {
                    let record = reader.read(place).map_err(|error| io::Error::other(report(&error)))?;
                    match journal::read(&record.payload).map_err(io::Error::other)?.event {
                        JournalEvent::Entry(entry) => Entry::try_from(entry).map_err(io::Error::other),
                        _ => Err(io::Error::other("not an entry lies where one was written")),
                    }
                }
            };
            found.into_iter().map(read_one).collect::<io::Result<Vec<Entry>>>()
        });
        read.await.map_err(io::Error::other)?
    }
}

impl Found {
    fn cached(self) -> Option<Entry> {
        match self {
            Self::Cached(entry) => Some(entry),
            Self::At(_) => None,
        }
    }
}

impl RaftLogReader<TypeConfig> for GroupStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        let (from, to) = bounds(&range);
        self.read(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, READ_BYTES_MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(lock(&self.index).vote().map(Vote::from))
    }

    /// In pieces: a replica that catches up must not hold all that it missed in memory.
    async fn entries_stream<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend {
        let (from, to) = bounds(&range);
        let pieces = futures_util::stream::try_unfold((self.clone(), from), move |(store, from)| async move {
            let piece = store.read(from, to, READ_BYTES_MAX).await?;
            let next = piece.last().map(|last| last.log_id.index + 1);
            Ok::<_, io::Error>(next.map(|next| (piece, (store, next))))
        });
        Box::pin(futures_util::TryStreamExt::try_flatten(futures_util::TryStreamExt::map_ok(pieces, |piece| {
            futures_util::stream::iter(piece.into_iter().map(Ok))
        })))
    }
}

impl RaftLogStorage<TypeConfig> for GroupStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let index = lock(&self.index);
        Ok(LogState { last_purged_log_id: index.purged(), last_log_id: index.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (waiting, done) = oneshot::channel();
        let vote = PlainVote::from(vote);
        self.change(JournalEvent::Vote(vote), Some(waiting), |index| index.state.vote = Some(vote))?;
        done.await.map_err(|_| io::Error::other("the shared log has ended"))?
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed.as_ref().map(PlainLogId::from) else {
            return Ok(());
        };
        self.change(JournalEvent::Committed(committed), None, |index| index.state.committed = Some(committed))
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(lock(&self.index).state.committed.map(LogId::from))
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let Some(first) = entries.first().map(|entry| entry.log_id.index) else {
            flushed.io_completed(Ok(()));
            return Ok(());
        };
        let records = entries.iter().map(|entry| self.record(entry)).collect();
        let mut queue = lock(&self.log.inner.queue);
        queue.check()?;
        queue.next_ticket += 1;
        let ticket = queue.next_ticket;
        lock(&self.index).append(ticket, &entries).map_err(io::Error::other)?;
        let done = Done::Entries { ticket, first, flushed };
        queue.operations.push_back(Operation { group: self.group, records, done });
        self.log.schedule(&mut queue);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let after = last.map(|last: RaftLogId<_>| last.index);
        self.change(JournalEvent::Truncate(after), None, |index| index.truncate(after))
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let upto = PlainLogId::from(&upto);
        self.change(JournalEvent::Purge(upto), None, |index| index.purge(upto))
    }
}

/// A range as `from..to`.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(&from) => from,
        Bound::Excluded(&from) => from.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(&to) => to.saturating_add(1),
        Bound::Excluded(&to) => to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}
