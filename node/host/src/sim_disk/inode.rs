//! One file of the simulated disk: what reads see, what is durable, what was changed in between, and what a crash leaves
//! of it.
//!
//! Not here: names, faults, power (`sim_disk.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::seeded::Seeded;

/// What a disk writes or loses as a whole.
pub(super) const SECTOR: usize = 512;

pub(super) const PAGE: usize = 4096;

/// What a crash may do to a sector.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sectors {
    Whole,
    Garbled,
}

/// What a crash does to unsynced changes as a whole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    Kept,
    /// Each on its own.
    Mixed,
}

#[derive(Default)]
pub(super) struct Inode {
    pub(super) cached: Content,
    pub(super) durable: Content,
    pub(super) unsynced: Vec<Change>,
    pub(super) allocated: u64,
    /// Pages below `allocated` that were given back.
    pub(super) holes: BTreeSet<u64>,
    pub(super) locked: bool,
}

impl Inode {
    pub(super) fn bytes(&self) -> u64 {
        let page = PAGE as u64;
        let given_back = self.holes.range(..self.allocated.div_ceil(page)).count() as u64 * page;
        self.allocated.saturating_sub(given_back).max(self.cached.pages.len() as u64 * page)
    }

    /// Gives whole pages back; what is left of others becomes zeros.
    pub(super) fn punch(&mut self, from: u64, to: u64) {
        let page = PAGE as u64;
        self.holes.extend(from.div_ceil(page)..to / page);
        self.apply(Change::Punch { from, to });
    }

    pub(super) fn apply(&mut self, change: Change) {
        if let Change::Write { offset, bytes } = &change {
            for (page, ..) in pieces(*offset, bytes.len()) {
                self.holes.remove(&page);
            }
        }
        self.cached.apply(&change);
        self.unsynced.push(change);
    }

    pub(super) fn crash(&mut self, seeded: &mut Seeded, fate: Fate, sectors: Sectors, stale: &[(usize, [u8; SECTOR])]) {
        for change in std::mem::take(&mut self.unsynced) {
            match fate {
                Fate::Lost => {}
                Fate::Kept => self.durable.apply(&change),
                Fate::Mixed => self.durable.apply_some(&change, seeded, sectors, stale),
            }
        }
        self.cached = self.durable.clone();
        self.allocated = self.cached.length;
        self.holes =
            (0..self.allocated.div_ceil(PAGE as u64)).filter(|page| !self.cached.pages.contains_key(page)).collect();
        self.locked = false;
    }
}

pub(super) enum Change {
    Write { offset: u64, bytes: Box<[u8]> },
    Punch { from: u64, to: u64 },
    SetLen(u64),
}

/// The bytes of a file; pages that were never written take no memory.
#[derive(Clone, Default)]
pub(super) struct Content {
    pub(super) length: u64,
    pub(super) pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Content {
    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> usize {
        let count = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
        for (page, within, part) in pieces(offset, count) {
            match self.pages.get(&page) {
                Some(content) => bytes[part.clone()].copy_from_slice(&content[within..within + part.len()]),
                None => bytes[part].fill(0),
            }
        }
        count
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (page, within, part) in pieces(offset, bytes.len()) {
            let content = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(content)[within..within + part.len()].copy_from_slice(&bytes[part]);
        }
        self.length = self.length.max(offset + bytes.len() as u64);
    }

    pub(super) fn set_len(&mut self, length: u64) {
        if length < self.length {
            self.pages.split_off(&length.div_ceil(PAGE as u64));
            let within = (length % PAGE as u64) as usize;
            if let Some(last) = self.pages.get_mut(&(length / PAGE as u64)) {
                Arc::make_mut(last)[within..].fill(0);
            }
        }
        self.length = length;
    }

    /// Makes zeros of what lies there; whole pages take no memory any more.
    pub(super) fn punch(&mut self, from: u64, to: u64) {
        let to = to.min(self.length);
        for (page, within, part) in pieces(from, usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)) {
            if part.len() == PAGE {
                self.pages.remove(&page);
            } else if let Some(content) = self.pages.get_mut(&page) {
                Arc::make_mut(content)[within..within + part.len()].fill(0);
            }
        }
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Punch { from, to } => self.punch(*from, *to),
            Change::Write { offset, bytes } => self.write(*offset, bytes),
            Change::SetLen(length) => self.set_len(*length),
        }
    }

    /// What a crash leaves of an unsynced change.
    pub(super) fn apply_some(
        &mut self,
        change: &Change,
        seeded: &mut Seeded,
        sectors: Sectors,
        stale: &[(usize, [u8; SECTOR])],
    ) {
        let (offset, bytes) = match change {
            Change::Write { offset, bytes } => (*offset, bytes),
            Change::Punch { from, to } => {
                // Page by page: a crash may leave the head of what was punched, or its tail.
                for (page, within, part) in pieces(*from, usize::try_from(to - from).unwrap_or(usize::MAX)) {
                    if seeded.below(2) == 0 {
                        let start = page * PAGE as u64 + within as u64;
                        self.punch(start, start + part.len() as u64);
                    }
                }
                return;
            }
            Change::SetLen(length) => {
                if seeded.below(2) == 0 {
                    self.set_len(*length);
                }
                return;
            }
        };
        match seeded.below(4) {
            0 => self.write(offset, bytes),
            1 => {}
            2 => {
                let sectors = bytes.len().div_ceil(SECTOR) as u64;
                let kept = (seeded.below(sectors + 1) as usize * SECTOR).min(bytes.len());
                self.write(offset, &bytes[..kept]);
            }
            _ => {
                for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                    let at = offset + (number * SECTOR) as u64;
                    match seeded.below(if sectors == Sectors::Whole { 2 } else { 4 }) {
                        0 => self.write(at, sector),
                        1 => {}
                        2 if !stale.is_empty() => {
                            let within = (at as usize % PAGE) / SECTOR;
                            let mut fitting = stale.iter().cycle().skip(seeded.below(stale.len() as u64) as usize);
                            let found = fitting.by_ref().take(stale.len()).find(|(place, _)| *place == within);
                            if let Some((_, other)) = found {
                                self.write(at, &other[..sector.len()]);
                            }
                        }
                        _ => {
                            let mut garbled = sector.to_vec();
                            seeded.fill(&mut garbled);
                            self.write(at, &garbled);
                        }
                    }
                }
            }
        }
    }
}

/// The pages that a range touches: page number, offset within it, and the part of the range.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let part = done..(done + PAGE - within).min(length);
        done = part.end;
        Some((at / PAGE as u64, within, part))
    })
}
