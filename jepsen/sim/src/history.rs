//! What one group's log may say after a crash: one of the pictures that there were since the last one that was
//! acknowledged, whole.
//!
//! Records of a group come back in the order in which it made them, so a crash brings back a moment of the group's past
//! and never a mixture.

use std::io;

use bytes::Bytes;
use strongroom_consensus::stores::{Durable, EntryId, LogContents, LogStore, StoredVote};

use crate::dice::Dice;
use crate::finding::{Broken, Finding};

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct History {
    name: String,
    pub(crate) now: LogContents,
    /// Every picture that there was, oldest first.
    pictures: Vec<LogContents>,
    /// The first picture that a crash may bring back.
    acknowledged: usize,
    /// Appends whose answer nobody has waited for yet, and which picture they brought.
    pending: Vec<(Durable, usize)>,
    term: u64,
    serial: u64,
    /// The index behind the last entry that was ever committed and is still here: the group never drops it, even if this
    /// log forgot that it was committed.
    kept: u64,
}

impl History {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            now: LogContents::default(),
            pictures: vec![LogContents::default()],
            acknowledged: 0,
            pending: Vec::new(),
            term: 1,
            serial: 0,
            kept: 0,
        }
    }

    /// The index of the first entry that is not purged.
    pub(crate) fn begin(&self) -> u64 {
        self.now.purged.map_or(0, |purged| purged.index + 1)
    }

    /// The index behind the last entry.
    pub(crate) fn end(&self) -> u64 {
        self.begin() + self.now.entries.len() as u64
    }

    /// The index behind the last committed entry.
    pub(crate) fn committed(&self) -> u64 {
        self.now.committed.map_or(0, |committed| committed.index + 1).max(self.begin()).max(self.kept)
    }

    /// The entry at this index.
    pub(crate) fn id(&self, index: u64) -> Option<EntryId> {
        let at = index.checked_sub(self.begin())?;
        self.now.entries.get(usize::try_from(at).ok()?).map(|(id, _)| *id)
    }

    fn changed(&mut self) {
        self.pictures.push(self.now.clone());
    }

    fn acknowledge(&mut self, picture: usize) {
        self.acknowledged = self.acknowledged.max(picture);
    }

    /// A new term, a vote in it, or the majority's answer to it.
    pub(crate) async fn vote(&mut self, log: &mut LogStore, dice: &mut Dice) -> io::Result<()> {
        let vote = match self.now.vote {
            Some(vote) if !vote.granted && dice.one_in(2) => StoredVote { granted: true, ..vote },
            _ => {
                self.term += 1 + dice.below(2);
                StoredVote { term: self.term, replica: dice.below(3), granted: false }
            }
        };
        self.store_vote(log, vote).await
    }

    pub(crate) async fn store_vote(&mut self, log: &mut LogStore, vote: StoredVote) -> io::Result<()> {
        self.now.vote = Some(vote);
        self.changed();
        let picture = self.pictures.len() - 1;
        log.save_vote(vote).await?;
        self.acknowledge(picture);
        Ok(())
    }

    /// Entries of this replica's term, waited for in one of three cases.
    pub(crate) async fn append_some(&mut self, log: &mut LogStore, dice: &mut Dice) -> io::Result<()> {
        let first = self.end();
        let entries = (first..first + 1 + dice.below(4)).map(|index| {
            self.serial += 1;
            let bytes = match dice.one_in(9) {
                true => Bytes::new(),
                false => {
                    let length = dice.length(2500);
                    dice.bytes(self.serial.wrapping_mul(0x9e37_79b9_7f4a_7c15), length).into()
                }
            };
            (EntryId { term: self.term, index }, bytes)
        });
        let entries = entries.collect();
        self.append(log, entries).await?;
        if dice.one_in(3) { self.wait().await } else { Ok(()) }
    }

    /// These entries, not waited for.
    pub(crate) async fn append(&mut self, log: &mut LogStore, entries: Vec<(EntryId, Bytes)>) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        self.now.entries.extend(entries.iter().cloned());
        self.changed();
        let picture = self.pictures.len() - 1;
        let durable = log.append(entries).await?;
        self.pending.push((durable, picture));
        Ok(())
    }

    /// Waits for every append so far.
    pub(crate) async fn wait(&mut self) -> io::Result<()> {
        for (durable, picture) in std::mem::take(&mut self.pending) {
            durable.wait().await?;
            self.acknowledge(picture);
        }
        Ok(())
    }

    /// Waits for everything so far.
    pub(crate) async fn flush(&mut self, log: &mut LogStore) -> io::Result<()> {
        let picture = self.pictures.len() - 1;
        log.flush().await?;
        self.acknowledge(picture);
        Ok(())
    }

    /// All entries again at the end of the log: nothing new, and then all of it is durable.
    pub(crate) async fn rewrite(&mut self, log: &mut LogStore) -> io::Result<()> {
        let picture = self.pictures.len() - 1;
        if log.rewrite(u64::MAX).await? {
            self.acknowledge(picture);
        }
        Ok(())
    }

    /// Notes as committed what is there, up to this index.
    pub(crate) async fn commit(&mut self, log: &mut LogStore, index: u64) -> io::Result<()> {
        let Some(id) = self.id(index).filter(|_| self.committed() <= index) else { return Ok(()) };
        self.now.committed = Some(id);
        self.changed();
        log.save_committed(id).await
    }

    /// Drops everything from this index on.
    pub(crate) async fn truncate(&mut self, log: &mut LogStore, from: u64) -> io::Result<()> {
        let last = match from.checked_sub(1) {
            None => None,
            Some(last) => self.id(last).or(self.now.purged),
        };
        self.now.entries.truncate(usize::try_from(from - self.begin()).unwrap_or_default());
        self.changed();
        log.truncate_after(last).await
    }

    /// Drops everything up to this entry, which need not be here.
    pub(crate) async fn purge(&mut self, log: &mut LogStore, upto: EntryId) -> io::Result<()> {
        let gone = (upto.index + 1).saturating_sub(self.begin()).min(self.now.entries.len() as u64);
        self.now.entries.drain(..usize::try_from(gone).unwrap_or_default());
        self.now.purged = self.now.purged.max(Some(upto));
        self.changed();
        log.purge(upto).await
    }

    /// One of the things that happen to a group that has nothing but a log.
    pub(crate) async fn act(&mut self, log: &mut LogStore, dice: &mut Dice) -> io::Result<()> {
        match dice.below(13) {
            0 => self.vote(log, dice).await,
            1 if self.committed() < self.end() => {
                let index = self.committed() + dice.below(self.end() - self.committed());
                self.commit(log, index).await
            }
            2 if self.committed() < self.end() => {
                let from = self.committed() + dice.below(self.end() - self.committed());
                self.truncate(log, from).await
            }
            3 if self.begin() < self.committed() => {
                let index = self.begin() + dice.below(self.committed() - self.begin());
                match self.id(index) {
                    Some(id) => self.purge(log, id).await,
                    None => Ok(()),
                }
            }
            4 => self.flush(log).await,
            5 => self.wait().await,
            6 => self.rewrite(log).await,
            _ => self.append_some(log, dice).await,
        }
    }

    /// Compares what recovery found, and goes on from there: what was seen once must be seen again.
    pub(crate) fn check(&mut self, found: &LogContents) -> Result<(), Finding> {
        self.check_purged(found, None)
    }

    /// As `check`, where an earlier recovery may have purged the log up to an installed snapshot.
    pub(crate) fn check_purged(&mut self, found: &LogContents, upto: Option<EntryId>) -> Result<(), Finding> {
        let name = &self.name;
        let allowed = &self.pictures[self.acknowledged..];
        let is_purged = upto.is_some_and(|upto| {
            found.purged == Some(upto)
                && allowed.iter().any(|past| {
                    let rest = past.entries.iter().filter(|(id, _)| upto.index < id.index);
                    (past.vote, past.committed) == (found.vote, found.committed) && rest.eq(&found.entries)
                })
        });
        if is_purged || allowed.contains(found) {
            let kept = self.committed();
            let name = std::mem::take(&mut self.name);
            *self = Self { term: self.term, serial: self.serial, now: found.clone(), ..Self::new(name) };
            self.pictures = vec![found.clone()];
            self.kept = kept.min(self.end());
            return Ok(());
        }
        let acknowledged = &self.pictures[self.acknowledged];
        if found.vote < acknowledged.vote {
            let story = format!("{name}: vote {:?} was acknowledged, {:?} is there", acknowledged.vote, found.vote);
            return Err(Finding::new(Broken::Lost, story));
        }
        let broken = if self.pictures[..self.acknowledged].contains(found) { Broken::Lost } else { Broken::Invented };
        let story = format!(
            "{name}: {} was acknowledged, {} came last, {} is there",
            describe(acknowledged),
            describe(&self.now),
            describe(found)
        );
        Err(Finding::new(broken, story))
    }
}

fn describe(log: &LogContents) -> String {
    let id = |id: Option<EntryId>| id.map_or("-".to_owned(), |id| format!("{}:{}", id.term, id.index));
    format!(
        "[purged {}, {} entries to {}, committed {}, vote {}]",
        id(log.purged),
        log.entries.len(),
        id(log.entries.last().map(|(last, _)| *last)),
        id(log.committed),
        log.vote.map_or("-".to_owned(), |vote| format!("{} for {}", vote.term, vote.replica)),
    )
}
