//! One group's part of the shared log, in memory: which entries there are, in which terms, and where each lies.
//!
//! ```text
//!   first                      last
//!   │ on disk, read by place │ on disk and cached │ queued, in memory only │
//!             ▲ the cache keeps the newest CACHE_BYTES_MAX
//! ```
//!
//! About 60 bytes an entry stay here; the payloads of old entries do not. Not here: files and order of writing (`log.rs`).

use std::collections::VecDeque;

use openraft::LogId as RaftLogId;
use strongroom_host::log::Position;

use crate::journal::{GroupState, JournalEvent};
use crate::plain::{PlainLogId, PlainVote, entry_bytes};
use crate::types::{Entry, LogId, log_id, term_of};

/// How many bytes of one group's written entries stay in memory.
const CACHE_BYTES_MAX: usize = 4 << 20;

/// An entry as it can be had.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// Its bytes are here.
    Cached(Entry),
    /// It lies in the file at this place.
    At(Position),
}

#[derive(Debug)]
struct Slot {
    term: u64,
    /// The append that brought it: tells an entry from one that had its index before a truncation.
    ticket: u64,
    bytes: u32,
    place: Option<Position>,
    cached: Option<Entry>,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(crate) struct GroupLog {
    pub(crate) state: GroupState,
    /// The index of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
    /// Slots before this one have no cached entry.
    cached_from: u64,
    cached_bytes: usize,
    stored_bytes: u64,
    /// Every entry up to this index survives a crash.
    durable: Option<u64>,
    /// The last vote that survives a crash.
    durable_vote: Option<PlainVote>,
    /// How often entries got other places.
    moves: u64,
}

/// The index of the first entry that a leader wrote; before it lie the founding members.
const FIRST_LED: u64 = 1;

/// The log would have a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} does not follow entry {last:?}")]
pub(crate) struct Hole {
    index: u64,
    last: Option<u64>,
}

impl GroupLog {
    /// The index behind the last entry.
    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn slot(&self, index: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// The last entry, or the last purged one.
    pub(crate) fn last(&self) -> Option<LogId> {
        match self.slots.back() {
            Some(slot) => Some(log_id(slot.term, self.end() - 1)),
            None => self.purged(),
        }
    }

    /// The last purged entry.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.state.purged.map(LogId::from)
    }

    /// Every entry up to this index survives a crash; `None` if not even the first does.
    pub(crate) fn durable(&self) -> Option<u64> {
        self.durable.max(self.state.purged.map(|purged| purged.index))
    }

    /// How many entries there are.
    pub(crate) fn entries(&self) -> u64 {
        self.slots.len() as u64
    }

    /// How many bytes they take.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Takes entries that are not written yet.
    pub(crate) fn append(&mut self, ticket: u64, entries: &[Entry]) -> Result<(), Hole> {
        for entry in entries {
            self.push(
                entry.log_id.index,
                term_of(&entry.log_id),
                ticket,
                entry_bytes(entry),
                None,
                Some(entry.clone()),
            )?;
        }
        Ok(())
    }

    fn push(
        &mut self,
        index: u64,
        term: u64,
        ticket: u64,
        bytes: usize,
        place: Option<Position>,
        cached: Option<Entry>,
    ) -> Result<(), Hole> {
        if self.slots.is_empty() {
            self.first = index;
            self.cached_from = index;
        } else if index != self.end() {
            return Err(Hole { index, last: Some(self.end() - 1) });
        }
        if cached.is_some() {
            self.cached_bytes += bytes;
        } else {
            self.cached_from = index + 1;
        }
        self.stored_bytes += bytes as u64;
        self.slots.push_back(Slot { term, ticket, bytes: u32::try_from(bytes).unwrap_or(u32::MAX), place, cached });
        Ok(())
    }

    /// Entries of an append were written at these places, durably. Those that were truncated meanwhile are not there.
    pub(crate) fn written(&mut self, ticket: u64, first: u64, places: &[Position]) {
        for (index, place) in (first..).zip(places) {
            let Some(at) = index.checked_sub(self.first) else {
                continue; // purged meanwhile
            };
            match self.slots.get_mut(at as usize) {
                Some(slot) if slot.ticket == ticket => {
                    slot.place = Some(*place);
                    self.durable = self.durable.max(Some(index));
                }
                _ => {}
            }
        }
        self.shrink_cache();
    }

    /// The index of the first entry, and of each entry the append that brought it: together they tell an entry from any
    /// other that has its index before or later.
    pub(crate) fn tickets(&self) -> (u64, Vec<u64>) {
        (self.first, self.slots.iter().map(|slot| slot.ticket).collect())
    }

    /// Entries were written again at these places, durably. Those that were replaced meanwhile lie elsewhere.
    pub(crate) fn rewritten(&mut self, first: u64, tickets: &[u64], places: &[Position]) {
        for ((index, ticket), place) in (first..).zip(tickets).zip(places) {
            let Some(at) = index.checked_sub(self.first) else {
                continue; // purged meanwhile
            };
            match self.slots.get_mut(at as usize) {
                Some(slot) if slot.ticket == *ticket => slot.place = Some(*place),
                _ => {}
            }
        }
        self.moves += 1;
    }

    /// How often entries got other places: a place that was found before it moved may be gone.
    pub(crate) fn moves(&self) -> u64 {
        self.moves
    }

    /// A change of the group's state was written, durably.
    pub(crate) fn changed(&mut self, change: &JournalEvent) {
        match change {
            JournalEvent::Vote(vote) => self.durable_vote = Some(*vote),
            JournalEvent::Forgotten => *self = Self::default(),
            JournalEvent::Entry(_)
            | JournalEvent::Committed(_)
            | JournalEvent::Truncate(_)
            | JournalEvent::Purge(_)
            | JournalEvent::State(_) => {}
        }
    }

    fn shrink_cache(&mut self) {
        while CACHE_BYTES_MAX < self.cached_bytes && self.cached_from < self.end() {
            let at = (self.cached_from - self.first) as usize;
            let slot = &mut self.slots[at];
            if slot.place.is_none() {
                return;
            }
            if slot.cached.take().is_some() {
                self.cached_bytes -= slot.bytes as usize;
            }
            self.cached_from += 1;
        }
    }

    /// Drops the entries behind `after`.
    pub(crate) fn truncate(&mut self, after: Option<u64>) {
        let keep = after.map_or(0, |after| (after + 1).saturating_sub(self.first)).min(self.entries());
        for slot in self.slots.drain(keep as usize..) {
            self.stored_bytes -= u64::from(slot.bytes);
            self.cached_bytes -= slot.cached.map_or(0, |_| slot.bytes as usize);
        }
        self.cached_from = self.cached_from.min(self.end());
        self.durable = match (self.durable, after) {
            (Some(durable), Some(after)) => Some(durable.min(after)),
            _ => None,
        };
    }

    /// Drops the entries up to `upto`.
    pub(crate) fn purge(&mut self, upto: PlainLogId) {
        let drop = (upto.index + 1).saturating_sub(self.first).min(self.entries());
        for slot in self.slots.drain(..drop as usize) {
            self.stored_bytes -= u64::from(slot.bytes);
            self.cached_bytes -= slot.cached.map_or(0, |_| slot.bytes as usize);
        }
        self.first = (self.first + drop).max(upto.index + 1);
        self.cached_from = self.cached_from.max(self.first);
        if self.state.purged.is_none_or(|purged| purged.index < upto.index) {
            self.state.purged = Some(upto);
        }
    }

    /// The entries in `from..to`, without those that are not there; the byte limit ends the list, but never before the
    /// first entry.
    pub(crate) fn find(&self, from: u64, to: u64, bytes_max: usize) -> Vec<Found> {
        let mut found = Vec::new();
        let mut bytes = 0_usize;
        for index in from.max(self.first)..to.min(self.end()) {
            let Some(slot) = self.slot(index) else { break };
            bytes = bytes.saturating_add(slot.bytes as usize);
            if bytes_max < bytes && !found.is_empty() {
                break;
            }
            match (&slot.cached, slot.place) {
                (Some(entry), _) => found.push(Found::Cached(entry.clone())),
                (None, Some(place)) => found.push(Found::At(place)),
                (None, None) => unreachable!("an entry leaves the cache only when it has a place"),
            }
        }
        found
    }

    /// The lowest file with an entry that is needed. `None` if no written entry is.
    pub(crate) fn oldest_file(&self) -> Option<u64> {
        self.slots.front()?.place.map(|place| place.file)
    }

    /// The last entry that lies in a file before `file`.
    pub(crate) fn last_before_file(&self, file: u64) -> Option<u64> {
        let before = self.slots.partition_point(|slot| slot.place.is_some_and(|place| place.file < file));
        (before != 0).then(|| self.first + before as u64 - 1)
    }

    /// Takes part in recovery: what a record read from the files says. Order is the files'.
    pub(crate) fn replay(&mut self, place: Position, event: JournalEvent) -> Result<(), Hole> {
        match event {
            JournalEvent::Entry(entry) => {
                let PlainLogId { term, index } = entry.id;
                if self.state.purged.is_none_or(|purged| purged.index < index) {
                    let bytes = Entry::try_from(entry).as_ref().map_or(0, entry_bytes);
                    self.push(index, term, 0, bytes, Some(place), None)?;
                    self.durable = Some(index);
                }
            }
            JournalEvent::Vote(vote) => {
                self.state.vote = Some(vote);
                self.durable_vote = Some(vote);
            }
            JournalEvent::Committed(id) => self.state.committed = Some(id),
            JournalEvent::Truncate(after) => self.truncate(after),
            JournalEvent::Purge(upto) => self.purge(upto),
            JournalEvent::State(state) => {
                if let Some(purged) = state.purged {
                    self.purge(purged);
                }
                self.state = state;
                self.durable_vote = state.vote;
            }
            JournalEvent::Forgotten => *self = Self::default(),
        }
        Ok(())
    }

    /// Whether what recovery found is a log: entries follow what was purged, and nothing is committed that is not
    /// there.
    pub(crate) fn check(&self) -> Result<(), Hole> {
        let purged = self.state.purged.map(|purged| purged.index);
        let begin = purged.map_or(0, |purged| purged + 1);
        if !self.slots.is_empty() && self.first != begin {
            return Err(Hole { index: self.first, last: purged });
        }
        let last = self.last().map(|last: RaftLogId<_>| last.index);
        match self.state.committed {
            Some(committed) if last < Some(committed.index) => Err(Hole { index: committed.index, last }),
            _ => Ok(()),
        }
    }

    /// The term of the last vote that survives a crash; 0 if there is none.
    pub(crate) fn durable_vote_term(&self) -> u64 {
        self.durable_vote.map_or(0, |vote| vote.term)
    }

    /// Whether nothing ever happened to it, or nothing since it was forgotten.
    pub(crate) fn is_untouched(&self) -> bool {
        self.slots.is_empty() && self.state == GroupState::default()
    }

    /// The term of the first leader's first entry, as long as it lies in the log: behind the members that found the group.
    pub(crate) fn first_led_term(&self) -> Option<u64> {
        self.slot(FIRST_LED).map(|slot| slot.term)
    }

    /// The last vote.
    pub(crate) fn vote(&self) -> Option<PlainVote> {
        self.state.vote
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Proposal;
    use openraft::EntryPayload;

    fn entry(term: u64, index: u64, bytes: usize) -> Entry {
        Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(Proposal(vec![7; bytes].into())) }
    }

    fn at(offset: u64) -> Position {
        Position { file: 1, offset }
    }

    #[test]
    fn a_late_report_about_truncated_entries_changes_nothing() {
        let mut log = GroupLog::default();
        log.append(1, &[entry(1, 0, 1), entry(1, 1, 1), entry(1, 2, 1)]).unwrap();
        log.truncate(Some(0));
        log.append(2, &[entry(2, 1, 1)]).unwrap();
        log.written(1, 0, &[at(0), at(64), at(128)]);
        assert_eq!(log.durable(), Some(0));
        assert!(matches!(log.find(1, 2, 9)[0], Found::Cached(_)));
        log.written(2, 1, &[at(192)]);
        assert_eq!(log.durable(), Some(1));
        assert_eq!(log.last(), Some(log_id(2, 1)));
    }

    #[test]
    fn written_entries_leave_memory_and_queued_ones_stay() {
        let mut log = GroupLog::default();
        let entries: Vec<Entry> = (0..10).map(|index| entry(1, index, 1 << 20)).collect();
        log.append(1, &entries[..8]).unwrap();
        log.append(2, &entries[8..]).unwrap();
        log.written(1, 0, &[at(0); 8]);
        let found = log.find(0, 10, usize::MAX);
        let cached = found.iter().filter(|found| matches!(found, Found::Cached(_))).count();
        assert_eq!((found.len(), cached), (10, 3));
    }

    #[test]
    fn a_byte_limit_never_hides_the_first_entry() {
        let mut log = GroupLog::default();
        log.append(1, &[entry(1, 0, 100), entry(1, 1, 100), entry(1, 2, 100)]).unwrap();
        assert_eq!(log.find(0, 3, 1).len(), 1);
        assert_eq!(log.find(0, 3, 300).len(), 2);
        assert_eq!(log.find(1, 3, 9999).len(), 2);
        assert_eq!(log.find(5, 9, 9999).len(), 0);
    }

    #[test]
    fn holes_are_refused() {
        let mut log = GroupLog::default();
        log.append(1, &[entry(1, 0, 1)]).unwrap();
        assert!(log.append(2, &[entry(1, 2, 1)]).is_err());
        log.purge(PlainLogId { term: 1, index: 9 });
        assert_eq!(log.last(), Some(log_id(1, 9)));
        log.append(3, &[entry(1, 10, 1)]).unwrap();
        log.check().unwrap();
    }
}
