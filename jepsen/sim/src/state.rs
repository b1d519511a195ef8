//! States over the shared log: two groups at once append, commit, apply, checkpoint, snapshot, purge, truncate and vote.
//! Commits do not wait for this node's disk, as where others are a majority.
//!
//! Judged: each log as in `log.rs`; a checkpoint that was answered is there; a state is never durable further than its
//! log; a log is never purged further than its state is durable; after recovery the rows are what the log's entries make,
//! up to the last one known to be committed; a snapshot that was answered is there and reads.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_consensus::stores::{EntryId, GroupStores, LogContents, NotRecovered, Stores};
use strongroom_core::tables::Row;
use strongroom_format::id::GroupId;
use strongroom_host::Host;

use crate::dice::Dice;
use crate::finding::{Broken, Finding};
use crate::group::{End, join, open};
use crate::history::History;
use crate::machine::{self, Chain};
use crate::world::{World, life};

const GROUPS: [GroupId; 2] = [GroupId(0), GroupId(5)];

const LOG_FILE_BYTES_MAX: u64 = 24 << 10;
const CALLS: u64 = 160;
const RECOVERY_CALLS: u64 = 14;

/// What one group's stores must and may show.
#[derive(Debug)]
struct Expected {
    history: History,
    /// Every entry from the first on, purged ones too.
    chain: Vec<(EntryId, Bytes)>,
    /// The last index of the last checkpoint that was answered.
    checkpointed: Option<u64>,
    /// The last index of the last snapshot that was answered.
    snapshot: Option<u64>,
}

/// What recovery showed of one group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    /// The log before anything was recovered from it.
    pub(crate) log: LogContents,
    /// The state as the crash left it.
    pub(crate) opened_at: Option<EntryId>,
    pub(crate) applied: Option<EntryId>,
    pub(crate) rows: Vec<Row>,
    pub(crate) snapshot: Option<(Option<EntryId>, Vec<Row>)>,
    /// The log after recovery.
    pub(crate) recovered: LogContents,
}

pub(crate) fn image(world: &mut World) -> Result<(), Finding> {
    let mut expected: Vec<Expected> = GROUPS
        .iter()
        .map(|group| Expected {
            history: History::new(format!("group {group}")),
            chain: Vec::new(),
            checkpointed: None,
            snapshot: None,
        })
        .collect();
    for _ in 0..1 + world.dice.below(2) {
        world.trouble(CALLS);
        let dice = Dice::named(world.dice.next(), 4);
        expected = life(live(world.host.clone(), expected, dice))?;
        world.end_life();
        let seen = world.recover(RECOVERY_CALLS, |host| look(host, &GROUPS))?;
        for (expected, seen) in expected.iter_mut().zip(&seen) {
            expected.check(seen)?;
        }
        if world.dice.one_in(3) {
            world.lose_power();
            let again = world.recover(RECOVERY_CALLS, |host| look(host, &GROUPS))?;
            check_again(&seen, &again)?;
        }
    }
    Ok(())
}

/// What was recovered once is recovered again.
pub(crate) fn check_again(seen: &[Seen], again: &[Seen]) -> Result<(), Finding> {
    let is_same = seen.len() == again.len()
        && seen.iter().zip(again).all(|(one, other)| {
            (&one.recovered, one.applied, &one.rows, &one.snapshot)
                == (&other.recovered, other.applied, &other.rows, &other.snapshot)
        });
    if is_same { Ok(()) } else { Err(Finding::new(Broken::Unstable, "opening again shows something else")) }
}

/// Opens some groups with real recovery and shows all of them.
pub(crate) async fn look(host: Host, groups: &[GroupId]) -> Result<Vec<Seen>, Unopened> {
    let (stores, _) = open(&host, LOG_FILE_BYTES_MAX).await?;
    look_into(&stores, groups).await
}

/// Groups that do not open.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// Something could not be read.
    Unreadable(String),
    /// Log and state of one do not fit together.
    Unfit { log: Box<LogContents>, opened_at: Option<EntryId>, why: String },
}

impl From<String> for Unopened {
    fn from(why: String) -> Self {
        Self::Unreadable(why)
    }
}

impl From<Unopened> for Finding {
    /// Names the order that was broken, where it shows.
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::Unreadable(why) => why.into(),
            Unopened::Unfit { log, opened_at, why } => {
                let judged = check_purged(&log, opened_at).and_then(|()| check_behind(&log, opened_at));
                judged.err().unwrap_or_else(|| why.into())
            }
        }
    }
}

/// As `look`, into stores that are open.
pub(crate) async fn look_into(stores: &Stores, groups: &[GroupId]) -> Result<Vec<Seen>, Unopened> {
    let mut seen = Vec::new();
    for &group in groups {
        let failed = |error: io::Error| format!("group {group}: {error}");
        let log = stores.log(group).read().await.map_err(failed)?;
        let unfit = |NotRecovered { opened_at, cause }| Unopened::Unfit {
            log: Box::new(log.clone()),
            opened_at,
            why: failed(cause),
        };
        let mut opened = stores.group(group, Arc::new(Chain)).await.map_err(unfit)?;
        let snapshot = match opened.snapshot().await.map_err(failed)? {
            Some(snapshot) => Some((snapshot.last(), snapshot.rows().map_err(failed)?)),
            None => None,
        };
        seen.push(Seen {
            log,
            opened_at: opened.opened_at(),
            applied: opened.applied(),
            rows: opened.rows().await.map_err(failed)?,
            snapshot,
            recovered: opened.log().read().await.map_err(failed)?,
        });
    }
    Ok(seen)
}

/// Both groups work until something fails or enough is done.
async fn live(host: Host, mut expected: Vec<Expected>, mut dice: Dice) -> Result<Vec<Expected>, Finding> {
    let Ok((stores, end)) = open(&host, LOG_FILE_BYTES_MAX).await else { return Ok(expected) };
    let mut tasks = Vec::new();
    for (group, mut expected) in GROUPS.into_iter().zip(expected.drain(..)) {
        let (stores, mut end) = (stores.clone(), end.clone());
        let mut dice = Dice::named(dice.next(), u64::from(group.0));
        tasks.push(tokio::spawn(async move {
            let opened = end.or(stores.group(group, Arc::new(Chain))).await;
            if let Ok(mut opened) = opened {
                for _ in 0..10 + dice.below(30) {
                    if expected.act(&mut opened, &mut end, &mut dice).await.is_err() {
                        break;
                    }
                    if dice.one_in(8) && stores.remove_old_files().await.is_err() {
                        break;
                    }
                    for _ in 0..dice.below(4) {
                        tokio::task::yield_now().await;
                    }
                }
            }
            expected
        }));
    }
    for task in tasks {
        expected.push(join(task).await?);
    }
    Ok(expected)
}

impl Expected {
    async fn act(&mut self, stores: &mut GroupStores, end: &mut End, dice: &mut Dice) -> io::Result<()> {
        let applied = stores.applied().map_or(0, |applied| applied.index + 1);
        let mut log = stores.log().clone();
        match dice.below(14) {
            0 => self.history.vote(&mut log, dice).await,
            1 | 2 => {
                let picture = applied.checked_sub(1);
                end.or(stores.checkpoint()).await?;
                self.checkpointed = self.checkpointed.max(picture);
                Ok(())
            }
            3 => {
                let last = end.or(stores.build_snapshot()).await?.last();
                self.snapshot = self.snapshot.max(last.map(|last| last.index));
                self.checkpointed = self.checkpointed.max(self.snapshot);
                match last {
                    Some(last) if self.history.begin() <= last.index && !dice.one_in(4) => {
                        let upto = last.index - dice.below((last.index - self.history.begin() + 1).min(3));
                        match self.history.id(upto) {
                            Some(upto) => self.history.purge(&mut log, upto).await,
                            None => Ok(()),
                        }
                    }
                    _ => Ok(()),
                }
            }
            4 if self.history.committed() < self.history.end() => {
                let from = self.history.committed() + dice.below(self.history.end() - self.history.committed());
                self.chain.truncate(from as usize);
                self.history.truncate(&mut log, from).await
            }
            5 => self.history.wait().await,
            6..=9 if self.history.committed() < self.history.end() => {
                let index = self.history.committed() + dice.below(self.history.end() - self.history.committed());
                self.history.commit(&mut log, index).await?;
                end.or(stores.apply_to(index)).await
            }
            _ => {
                let appended = self.history.append_some(&mut log, dice).await;
                let known = self.chain.len() as u64;
                let behind = known.saturating_sub(self.history.begin()) as usize;
                self.chain.extend(self.history.now.entries.iter().skip(behind).cloned());
                appended
            }
        }
    }

    fn check(&mut self, seen: &Seen) -> Result<(), Finding> {
        let Seen { log, opened_at, applied, rows, snapshot, recovered } = seen;
        let last = log.entries.last().map(|(last, _)| *last).max(log.purged);
        check_orders(log, *opened_at, last)?;
        let opened = opened_at.map(|opened| opened.index);
        if opened < self.checkpointed {
            let story = format!("the state was checkpointed at {:?} and is at {opened:?}", self.checkpointed);
            return Err(Finding::new(Broken::Lost, story));
        }
        self.history.check(log)?;
        // what the crash brought back behind a truncation, and without what it lost
        self.chain.truncate(log.purged.map_or(0, |purged| purged.index as usize + 1));
        self.chain.extend(log.entries.iter().cloned());
        check_rows(&self.chain, *applied, rows)?;
        if *applied < log.committed {
            let story = format!("{:?} is known to be committed and {applied:?} is applied", log.committed);
            return Err(Finding::new(Broken::Lost, story));
        }
        match snapshot {
            Some((last, rows)) => check_rows(&self.chain, *last, rows)?,
            None if self.snapshot.is_some() => return Err(Finding::new(Broken::Lost, "the snapshot is gone")),
            None => {}
        }
        let snapshot = snapshot.as_ref().and_then(|(last, _)| last.map(|last| last.index));
        if snapshot < self.snapshot {
            let story = format!("the snapshot was at {:?} and is at {snapshot:?}", self.snapshot);
            return Err(Finding::new(Broken::Lost, story));
        }
        if recovered != log {
            return Err(Finding::new(Broken::Unstable, "recovery has changed a log that had nothing to recover"));
        }
        self.snapshot = snapshot;
        self.checkpointed = opened;
        Ok(())
    }
}

/// Checkpoint after log, purge after state.
pub(crate) fn check_orders(
    log: &LogContents,
    opened_at: Option<EntryId>,
    last: Option<EntryId>,
) -> Result<(), Finding> {
    if last.map(|last| last.index) < opened_at.map(|opened| opened.index) {
        let story = format!("the state is durable up to {opened_at:?}, its log up to {last:?}");
        return Err(Finding::new(Broken::StateAheadOfLog, story));
    }
    check_purged(log, opened_at)
}

/// Purge after state.
fn check_purged(log: &LogContents, opened_at: Option<EntryId>) -> Result<(), Finding> {
    if opened_at.map(|opened| opened.index) < log.purged.map(|purged| purged.index) {
        let story = format!("the log is purged up to {:?}, the state is durable up to {opened_at:?}", log.purged);
        return Err(Finding::new(Broken::PurgedPastState, story));
    }
    Ok(())
}

/// Terms never go back along a log: what lies behind a state is not of an earlier term than what made it.
fn check_behind(log: &LogContents, opened_at: Option<EntryId>) -> Result<(), Finding> {
    let Some(opened) = opened_at else { return Ok(()) };
    match log.entries.iter().find(|(id, _)| opened.index <= id.index && id.term < opened.term) {
        Some((id, _)) => {
            let story = format!("entry {id:?} lies behind a state of {opened:?}");
            Err(Finding::new(Broken::Contradiction, story))
        }
        None => Ok(()),
    }
}

/// The rows are what the entries up to this one make.
pub(crate) fn check_rows(chain: &[(EntryId, Bytes)], upto: Option<EntryId>, rows: &[Row]) -> Result<(), Finding> {
    let count = upto.map_or(0, |upto| upto.index as usize + 1);
    let entries = chain.get(..count);
    let is_known = entries.is_some_and(|entries| entries.last().map(|(last, _)| *last) == upto);
    match entries {
        Some(entries) if is_known && machine::rows(entries) == rows => Ok(()),
        _ => {
            let known = (0..=chain.len()).find(|&count| machine::rows(&chain[..count]) == rows);
            let there = known.map_or("no known entries".to_owned(), |known| format!("{known} entries"));
            let story = format!("the rows said to be of {upto:?} are those of {there}, of {} in all", chain.len());
            Err(Finding::new(Broken::WrongRows, story))
        }
    }
}
