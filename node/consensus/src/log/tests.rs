//! The shared log against crashes at any moment, and against openraft's own suite.

use std::path::Path;
use std::sync::Arc;

use openraft::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use strongroom_host::sim_disk::{Call, Fails, SimDisk};

use super::*;
use crate::log::index::Found;
use crate::log::store::GroupStore;
use crate::plain::{PlainLogId, PlainVote};
use crate::types::{Entry, Proposal, Vote, log_id};

const FILE_BYTES: u64 = 24 << 10;

/// A small generator, so that a failing seed is one number.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What a group's log says, all of it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Picture {
    state: GroupState,
    /// Term and bytes of each entry behind what was purged.
    entries: Vec<(u64, Vec<u8>)>,
}

impl Picture {
    fn begin(&self) -> u64 {
        self.state.purged.map_or(0, |purged| purged.index + 1)
    }

    fn end(&self) -> u64 {
        self.begin() + self.entries.len() as u64
    }
}

/// One group as the test drives it.
struct Driven {
    store: GroupStore,
    now: Picture,
    /// Every picture that there was, oldest first.
    history: Vec<Picture>,
    /// The first picture that a crash may bring back.
    acknowledged: usize,
    term: u64,
}

impl Driven {
    fn new(store: GroupStore, now: Picture) -> Self {
        let term = now.state.vote.map_or(0, |vote| vote.term);
        Self { store, history: vec![now.clone()], now, acknowledged: 0, term }
    }

    /// Does something. `Err` if the log has failed.
    async fn act(&mut self, dice: &mut Dice) -> io::Result<()> {
        match dice.below(11) {
            10 => {
                // it says nothing new, and all that was said before it is durable then
                if self.store.rewrite(u64::MAX).await? {
                    self.acknowledged = self.history.len() - 1;
                }
            }
            0 => {
                self.term += 1;
                let vote = Vote::new(self.term, dice.below(3));
                self.now.state.vote = Some(PlainVote::from(&vote));
                self.history.push(self.now.clone());
                self.store.save_vote(&vote).await?;
                self.acknowledged = self.history.len() - 1;
            }
            1 if !self.now.entries.is_empty() => {
                let committed = self.now.begin() + dice.below(self.now.entries.len() as u64);
                let before = self.now.state.committed.map_or(0, |committed| committed.index);
                let index = committed.max(before);
                if self.now.begin() <= index {
                    let term = self.now.entries[(index - self.now.begin()) as usize].0;
                    let id = log_id(term, index);
                    self.now.state.committed = Some(PlainLogId::from(&id));
                    self.history.push(self.now.clone());
                    self.store.save_committed(Some(id)).await?;
                }
            }
            2 => {
                let committed =
                    self.now.state.committed.map_or(0, |committed| committed.index + 1).max(self.now.begin());
                if committed < self.now.end() {
                    let keep = committed + dice.below(self.now.end() - committed);
                    self.now.entries.truncate((keep - self.now.begin()) as usize);
                    self.history.push(self.now.clone());
                    let last = keep.checked_sub(1).map(|last| log_id(0, last));
                    self.store.truncate_after(last).await?;
                }
            }
            3 => {
                if let Some(committed) = self.now.state.committed
                    && self.now.begin() <= committed.index
                {
                    let upto = self.now.begin() + dice.below(committed.index + 1 - self.now.begin());
                    let term = self.now.entries[(upto - self.now.begin()) as usize].0;
                    let gone = (upto + 1 - self.now.begin()) as usize;
                    self.now.entries.drain(..gone);
                    self.now.state.purged = Some(PlainLogId { term, index: upto });
                    self.history.push(self.now.clone());
                    self.store.purge(log_id(term, upto)).await?;
                }
            }
            _ => {
                let first = self.now.end();
                let count = 1 + dice.below(4);
                let entries: Vec<Entry> = (first..first + count)
                    .map(|index| {
                        let bytes = vec![index as u8; dice.below(3000) as usize];
                        self.now.entries.push((self.term, bytes.clone()));
                        let payload = EntryPayload::Normal(Proposal(bytes.into()));
                        Entry { log_id: log_id(self.term, index), payload }
                    })
                    .collect();
                self.history.push(self.now.clone());
                let (flushed, done) = TypeConfig::oneshot();
                self.store.append(entries, IOFlushed::signal(flushed)).await?;
                if dice.below(3) != 0 {
                    done.await.map_err(io::Error::other)??;
                    self.acknowledged = self.history.len() - 1;
                }
            }
        }
        Ok(())
    }
}

/// What a log says after it was opened.
fn picture(log: &SharedLog, group: GroupId) -> Picture {
    let index = log.group(group);
    let index = lock(&index);
    let entries = index.find(0, u64::MAX, usize::MAX).into_iter().map(|found| match found {
        Found::Cached(entry) => (entry.log_id.leader_id.term, payload(&entry)),
        Found::At(place) => {
            let record = log.inner.reader.read(place).unwrap();
            match journal::read(&record.payload).unwrap().event {
                JournalEvent::Entry(entry) => {
                    let entry = Entry::try_from(entry).unwrap();
                    (entry.log_id.leader_id.term, payload(&entry))
                }
                other => panic!("{other:?}"),
            }
        }
    });
    Picture { entries: entries.collect(), state: index.state }
}

fn payload(entry: &Entry) -> Vec<u8> {
    match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.0.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn host(disk: &SimDisk) -> Host {
    Host::real().with_files(Arc::new(disk.clone()))
}

async fn open(disk: &SimDisk) -> Result<SharedLog, LogError> {
    SharedLog::open_with(&host(disk), Path::new("/log"), Fatal::new(|_| {}), FILE_BYTES).await
}

const GROUPS: [GroupId; 3] = [GroupId(0), GroupId(1), GroupId(9)];

async fn crash_again_and_again(seed: u64) {
    let disk = SimDisk::new();
    let mut dice = Dice(seed);
    let mut pictures = GROUPS.map(|_| Picture::default());
    for life in 0..5 {
        let log = open(&disk).await.unwrap();
        let mut driven: Vec<Driven> = GROUPS
            .iter()
            .zip(&pictures)
            .map(|(&group, expected)| {
                assert_eq!(picture(&log, group), *expected, "seed {seed} life {life}: opening twice differs");
                Driven::new(GroupStore::new(&log, group), expected.clone())
            })
            .collect();
        disk.cut_power_after(5 + dice.below(150));
        for _ in 0..200 {
            let at = dice.below(GROUPS.len() as u64) as usize;
            let acted = driven[at].act(&mut dice).await;
            if acted.is_err() {
                break;
            }
            if dice.below(8) == 0 {
                log.remove_old_files().await.unwrap();
            }
        }
        disk.crash(dice.below(u64::MAX));
        drop(log);
        // a second crash while the log is opened
        disk.cut_power_after(dice.below(8));
        drop(open(&disk).await);
        disk.crash(dice.below(u64::MAX));

        let log = open(&disk).await.unwrap_or_else(|error| panic!("seed {seed} life {life}: {}", report(&error)));
        for ((&group, driven), kept) in GROUPS.iter().zip(&driven).zip(&mut pictures) {
            let found = picture(&log, group);
            let allowed = &driven.history[driven.acknowledged..];
            assert!(
                allowed.contains(&found),
                "seed {seed} life {life} group {group}: found {found:?}, acknowledged {:?}, last {:?}",
                allowed[0],
                driven.now
            );
            *kept = found;
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_crashes_and_nothing_is_invented() {
    for seed in 0..60 {
        crash_again_and_again(seed).await;
    }
}

fn entries(term: u64, indexes: std::ops::Range<u64>, bytes: usize) -> Vec<Entry> {
    let entry = |index| Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Proposal(vec![index as u8; bytes].into())),
    };
    indexes.map(entry).collect()
}

async fn append(store: &mut GroupStore, entries: Vec<Entry>) -> io::Result<()> {
    let (flushed, done) = TypeConfig::oneshot();
    store.append(entries, IOFlushed::signal(flushed)).await?;
    done.await.map_err(io::Error::other)?
}

#[tokio::test]
async fn groups_share_syncs() {
    let disk = SimDisk::new();
    let log = open(&disk).await.unwrap();
    let mut stores: Vec<GroupStore> = (0..8).map(|group| GroupStore::new(&log, GroupId(group))).collect();
    let mut waiting = Vec::new();
    // the lane is held up, as by a slow sync
    let (release, wait) = std::sync::mpsc::channel::<()>();
    log.inner.lane.post(move || wait.recv().unwrap_or_default()).unwrap();
    for round in 0..10 {
        for store in &mut stores {
            let (flushed, done) = TypeConfig::oneshot();
            store.append(entries(1, round..round + 1, 10), IOFlushed::signal(flushed)).await.unwrap();
            waiting.push(done);
        }
    }
    drop(release);
    for done in waiting {
        done.await.unwrap().unwrap();
    }
    assert!(*log.writes().borrow() <= 2, "80 appends took {} writes", *log.writes().borrow());
}

#[tokio::test]
async fn entries_can_be_read_before_they_are_durable_and_after_they_left_memory() {
    let disk = SimDisk::new();
    let log = SharedLog::open(&host(&disk), Path::new("/log"), Fatal::new(|_| {})).await.unwrap();
    let mut store = GroupStore::new(&log, GroupId(4));
    let (release, wait) = std::sync::mpsc::channel::<()>();
    log.inner.lane.post(move || wait.recv().unwrap_or_default()).unwrap();
    let all = entries(3, 0..40, 300_000);
    let (flushed, done) = TypeConfig::oneshot();
    store.append(all.clone(), IOFlushed::signal(flushed)).await.unwrap();
    assert_eq!(openraft::RaftLogReader::try_get_log_entries(&mut store, 0..40).await.unwrap(), all);
    drop(release);
    done.await.unwrap().unwrap();
    assert_eq!(openraft::RaftLogReader::try_get_log_entries(&mut store, ..).await.unwrap(), all);
    let some = openraft::RaftLogReader::limited_get_log_entries(&mut store, 5, 40).await.unwrap();
    assert_eq!(some, all[5..8], "a message takes at most a mebibyte");
    let stream = openraft::RaftLogReader::entries_stream(&mut store, 2..39).await;
    let streamed: Vec<Entry> = futures_util::TryStreamExt::try_collect(stream).await.unwrap();
    assert_eq!(streamed, all[2..39]);
}

#[tokio::test]
async fn files_that_nobody_needs_go_and_what_is_left_opens() {
    let disk = SimDisk::new();
    let log = open(&disk).await.unwrap();
    let (mut busy, mut idle) = (GroupStore::new(&log, GroupId(1)), GroupStore::new(&log, GroupId(2)));
    let vote = Vote::new_committed(7, 2);
    idle.save_vote(&vote).await.unwrap();
    for index in 0..60 {
        append(&mut busy, entries(1, index..index + 1, 1000)).await.unwrap();
    }
    log.remove_old_files().await.unwrap();
    let files = log.files().await.unwrap();
    assert_eq!(files[0], 1, "nothing was purged");
    assert!(8 < files.len());
    busy.purge(log_id(1, 55)).await.unwrap();
    log.remove_old_files().await.unwrap();
    let left = log.files().await.unwrap();
    assert!(left.len() <= 3, "{left:?}");
    let before = [picture(&log, GroupId(1)), picture(&log, GroupId(2))];
    drop((log, busy, idle));
    disk.crash(5);
    let log = open(&disk).await.unwrap();
    assert_eq!([picture(&log, GroupId(1)), picture(&log, GroupId(2))], before);
    assert_eq!(before[0].entries.len(), 4);
    assert_eq!(before[1].state.vote, Some(PlainVote::from(&vote)), "a vote outlives the file that it was cast in");
}

/// Cleaning was asked for before the purge and runs while that is still queued: the file must outlive the entries' last need.
#[tokio::test]
async fn a_file_goes_only_when_the_purge_that_frees_it_is_durable() {
    for (calls, seed) in (0..24).flat_map(|calls| (0..4).map(move |seed| (calls, seed))) {
        let disk = SimDisk::new();
        let log = open(&disk).await.unwrap();
        let mut busy = GroupStore::new(&log, GroupId(1));
        for index in 0..60 {
            append(&mut busy, entries(1, index..index + 1, 1000)).await.unwrap();
        }
        let before = picture(&log, GroupId(1));
        // the lane is held up, so that both are queued in this order
        let (release, wait) = std::sync::mpsc::channel::<()>();
        log.inner.lane.post(move || wait.recv().unwrap_or_default()).unwrap();
        {
            let mut removing = std::pin::pin!(log.remove_old_files());
            assert!(futures_util::FutureExt::now_or_never(&mut removing).is_none());
            busy.purge(log_id(1, 55)).await.unwrap();
            disk.cut_power_after(calls);
            drop(release);
            let _whatever_comes_of_it = removing.await;
        }
        drop((log, busy));
        disk.crash(seed);
        let log = open(&disk).await.unwrap_or_else(|error| panic!("after {calls} calls, {seed}: {}", report(&error)));
        let found = picture(&log, GroupId(1));
        let is_purged = found.begin() == 56 && found.entries == before.entries[56..];
        assert!(is_purged || found == before, "after {calls} calls, {seed}: {found:?}");
    }
}

#[tokio::test]
async fn a_slow_groups_entries_are_written_again_and_the_files_before_them_go() {
    let disk = SimDisk::new();
    let log = open(&disk).await.unwrap();
    let (mut busy, mut slow) = (GroupStore::new(&log, GroupId(1)), GroupStore::new(&log, GroupId(2)));
    slow.save_vote(&Vote::new_committed(7, 2)).await.unwrap();
    append(&mut slow, entries(7, 0..9, 300)).await.unwrap();
    slow.save_committed(Some(log_id(7, 6))).await.unwrap();
    slow.purge(log_id(7, 2)).await.unwrap();
    for index in 0..60 {
        append(&mut busy, entries(1, index..index + 1, 1000)).await.unwrap();
    }
    busy.purge(log_id(1, 58)).await.unwrap();
    log.remove_old_files().await.unwrap();
    assert_eq!(log.files().await.unwrap()[0], 1, "the slow group's entries lie there");

    let before = [picture(&log, GroupId(1)), picture(&log, GroupId(2))];
    let bytes = slow.look(|index| index.stored_bytes());
    let writes = *log.writes().borrow();
    assert!(!slow.rewrite(bytes - 1).await.unwrap(), "too much is left where it is");
    assert!(!GroupStore::new(&log, GroupId(9)).rewrite(u64::MAX).await.unwrap(), "there is nothing");
    assert_eq!(*log.writes().borrow(), writes);
    assert!(slow.rewrite(bytes).await.unwrap());
    log.remove_old_files().await.unwrap();
    let left = log.files().await.unwrap();
    assert!(left.len() <= 2, "{left:?}");
    assert_eq!(slow.look(|index| index.durable()), Some(8), "what was durable stayed so");
    let pictures = |log: &SharedLog| [picture(log, GroupId(1)), picture(log, GroupId(2))];
    assert_eq!(pictures(&log), before);
    append(&mut slow, entries(8, 9..10, 10)).await.unwrap();
    slow.truncate_after(Some(log_id(7, 8))).await.unwrap();
    slow.flush().await.unwrap();
    drop((log, busy, slow));
    disk.crash(5);
    let log = open(&disk).await.unwrap();
    assert_eq!(pictures(&log), before);
    assert_eq!(before[1].entries.len(), 6);
    let slow = GroupStore::new(&log, GroupId(2));
    assert!(slow.rewrite(bytes).await.unwrap(), "also what is in no memory");
    assert_eq!(pictures(&log), before);
}

/// Runs a future until it waits for something.
async fn poll_once<F: Future + Unpin>(future: &mut F) {
    assert!(futures_util::poll!(future).is_pending());
}

#[tokio::test]
async fn what_comes_while_entries_are_written_again_is_there_afterwards() {
    let disk = SimDisk::new();
    let log = open(&disk).await.unwrap();
    let mut store = GroupStore::new(&log, GroupId(1));
    append(&mut store, entries(1, 0..10, 50)).await.unwrap();
    drop((log, store));
    let log = open(&disk).await.unwrap();
    let mut store = GroupStore::new(&log, GroupId(1));
    // the lane of reads is held up, then the lane of writes
    let (release_reads, wait) = std::sync::mpsc::channel::<()>();
    log.inner.reads.post(move || wait.recv().unwrap_or_default()).unwrap();
    let (release_writes, wait) = std::sync::mpsc::channel::<()>();
    log.inner.lane.post(move || wait.recv().unwrap_or_default()).unwrap();
    let rewriter = store.clone();
    let mut rewriting = Box::pin(rewriter.rewrite(u64::MAX));
    poll_once(&mut rewriting).await;
    // while its entries are read: one is purged, some are replaced, some come
    store.purge(log_id(1, 1)).await.unwrap();
    store.truncate_after(Some(log_id(1, 5))).await.unwrap();
    let (flushed, early) = TypeConfig::oneshot();
    store.append(entries(2, 6..9, 50), IOFlushed::signal(flushed)).await.unwrap();
    drop(release_reads);
    let queued = async {
        while !lock(&log.inner.queue).operations.iter().any(|queued| matches!(queued.done, Done::Rewritten { .. })) {
            poll_once(&mut rewriting).await;
            tokio::task::yield_now().await;
        }
    };
    queued.await;
    // while it waits to be written: the same
    store.purge(log_id(1, 2)).await.unwrap();
    store.truncate_after(Some(log_id(2, 7))).await.unwrap();
    let (flushed, late) = TypeConfig::oneshot();
    store.append(entries(3, 8..11, 50), IOFlushed::signal(flushed)).await.unwrap();
    drop(release_writes);
    assert!(rewriting.await.unwrap());
    early.await.unwrap().unwrap();
    late.await.unwrap().unwrap();
    let expected = [entries(1, 3..6, 50), entries(2, 6..8, 50), entries(3, 8..11, 50)].concat();
    assert_eq!(openraft::RaftLogReader::try_get_log_entries(&mut store, ..).await.unwrap(), expected);
    drop((log, store, rewriter));
    let log = open(&disk).await.unwrap();
    let mut store = GroupStore::new(&log, GroupId(1));
    assert_eq!(openraft::RaftLogReader::try_get_log_entries(&mut store, ..).await.unwrap(), expected);
}

#[tokio::test]
async fn who_reads_entries_while_they_move_finds_them() {
    let disk = SimDisk::new();
    let log = open(&disk).await.unwrap();
    let (mut other, mut store) = (GroupStore::new(&log, GroupId(1)), GroupStore::new(&log, GroupId(2)));
    append(&mut store, entries(1, 0..4, 50)).await.unwrap();
    for index in 0..40 {
        append(&mut other, entries(1, index..index + 1, 1000)).await.unwrap();
    }
    drop((log, store, other));
    let log = open(&disk).await.unwrap();
    let store = GroupStore::new(&log, GroupId(2));
    let places = || {
        store.look(|index| index.find(0, 4, usize::MAX)).into_iter().map(|found| match found {
            Found::At(place) => place,
            Found::Cached(entry) => panic!("{entry:?}"),
        })
    };
    let (first, tickets) = store.look(|index| index.tickets());
    let old: Vec<Position> = places().collect();
    assert!(store.rewrite(u64::MAX).await.unwrap());
    let new: Vec<Position> = places().collect();
    assert!(old[3] < new[0]);
    // as it was before they had moved, with the file gone already
    lock(&log.group(GroupId(2))).rewritten(first, &tickets, &old);
    lock(&log.inner.writer).log.remove_before(new[0].file).unwrap();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    log.inner.reads.post(move || wait.recv().unwrap_or_default()).unwrap();
    let mut reader = store.clone();
    let mut read = Box::pin(openraft::RaftLogReader::try_get_log_entries(&mut reader, 0..4));
    poll_once(&mut read).await;
    lock(&log.group(GroupId(2))).rewritten(first, &tickets, &new);
    drop(release);
    assert_eq!(read.await.unwrap(), entries(1, 0..4, 50));
}

#[tokio::test]
async fn a_disk_that_cannot_read_is_no_log_without_entries() {
    let disk = SimDisk::new();
    let log = open(&disk).await.unwrap();
    let mut store = GroupStore::new(&log, GroupId(1));
    append(&mut store, entries(1, 0..6, 100)).await.unwrap();
    store.purge(log_id(1, 1)).await.unwrap();
    store.flush().await.unwrap();
    drop((log, store));
    let log = open(&disk).await.unwrap();
    let mut store = GroupStore::new(&log, GroupId(1));
    let read =
        |mut store: GroupStore| async move { openraft::RaftLogReader::try_get_log_entries(&mut store, 0..9).await };
    disk.fail(Call::Read, "log", Fails::Always);
    assert!(read(store.clone()).await.is_err());
    disk.heal();
    assert_eq!(read(store.clone()).await.unwrap(), entries(1, 2..6, 100));
    store.purge(log_id(1, 5)).await.unwrap();
    disk.fail(Call::Read, "log", Fails::Always);
    assert_eq!(read(store).await.unwrap(), []);
}

#[tokio::test]
async fn a_failed_sync_ends_the_log_for_good() {
    let disk = SimDisk::new();
    let reasons: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::clone(&reasons);
    let fatal = Fatal::new(move |why| told.lock().unwrap().push(why.to_owned()));
    let log = SharedLog::open(&host(&disk), Path::new("/log"), fatal).await.unwrap();
    let (mut one, mut other) = (GroupStore::new(&log, GroupId(1)), GroupStore::new(&log, GroupId(2)));
    append(&mut one, entries(1, 0..1, 10)).await.unwrap();
    disk.fail(Call::Sync, "log", Fails::Once);
    assert!(append(&mut one, entries(1, 1..2, 10)).await.is_err());
    assert_eq!(reasons.lock().unwrap().len(), 1);
    // the disk would say yes now; nobody asks it any more
    assert!(append(&mut other, entries(1, 0..1, 10)).await.is_err());
    assert!(one.save_vote(&Vote::new(3, 1)).await.is_err());
    assert!(log.flush().await.is_err());
    assert_eq!(reasons.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn damage_in_the_middle_is_not_a_shorter_log() {
    let disk = SimDisk::new();
    let log = open(&disk).await.unwrap();
    let mut store = GroupStore::new(&log, GroupId(1));
    for index in 0..12 {
        append(&mut store, entries(1, index..index + 1, 1000)).await.unwrap();
    }
    drop((log, store));
    disk.damage(Path::new("/log/1.log"), 4096 + 100, &[0xff; 16]).unwrap();
    assert!(matches!(open(&disk).await, Err(LogError::Unreadable(AppendError::Damaged { .. }))));
}
