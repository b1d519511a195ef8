//! Verifying a part of a snapshot's chunks, chosen at random: more often, in less time, with less certainty.
//!
//! Promises: every chunk has the same chance; what is chosen is fetched and proved as in a restore. A file's own hash is
//! proved only by reading all of it. Not here: choosing for files or snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::fetch::opening::Sink;
use super::layout::{Layout, Part, RunIndex};
use super::write::DamagedFile;
use crate::error::Result;
use crate::progress::{Event, Progress};

/// A share of a snapshot, above nothing and up to all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    per_myriad: u16,
}

impl Sample {
    /// All of it.
    pub const ALL: Self = Self { per_myriad: 10_000 };

    /// So many of ten thousand chunks, 1 to 10 000.
    pub fn per_myriad(per_myriad: u16) -> Option<Self> {
        (1..=Self::ALL.per_myriad).contains(&per_myriad).then_some(Self { per_myriad })
    }

    /// Of ten thousand chunks.
    pub fn in_per_myriad(self) -> u16 {
        self.per_myriad
    }

    /// In percent.
    pub fn percent(self) -> f64 {
        f64::from(self.per_myriad) / 100.0
    }

    /// The parts of chosen chunks. Of what has chunks one is chosen at least.
    pub(crate) fn choose(self, parts: &mut Vec<Part>, seed: u64) {
        let ordinals: BTreeSet<u64> = parts.iter().map(|part| part.ordinal).collect();
        let draw = |ordinal: &u64| mixed(seed ^ mixed(*ordinal)) % u64::from(Self::ALL.per_myriad);
        let luckiest = ordinals.iter().min_by_key(|ordinal| draw(ordinal)).copied();
        parts.retain(|part| draw(&part.ordinal) < u64::from(self.per_myriad) || Some(part.ordinal) == luckiest);
    }
}

/// Spreads a number evenly (the finaliser of `SplitMix64`).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Chunks that are looked at and kept nowhere.
pub(crate) struct Checked {
    layout: Layout,
    /// Ordered by chunk.
    parts: Vec<Part>,
    names: Vec<Vec<u8>>,
    bytes: AtomicU64,
    damaged: Mutex<BTreeMap<u32, String>>,
    progress: Progress,
}

impl Checked {
    pub(crate) fn new(layout: Layout, parts: Vec<Part>, names: Vec<Vec<u8>>, progress: Progress) -> Self {
        Self { layout, parts, names, bytes: AtomicU64::new(0), damaged: Mutex::default(), progress }
    }

    /// Files of which something was whole or damaged, their bytes that are whole, and what is damaged.
    pub(crate) fn finish(self) -> (u64, u64, Vec<DamagedFile>) {
        let files: BTreeSet<u32> = self.parts.iter().map(|part| part.file).collect();
        let damaged = self.damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
        let whole = files.len() - damaged.len();
        let named = |(file, why): (u32, String)| DamagedFile { path: self.names[file as usize].clone(), why };
        (whole as u64, self.bytes.into_inner(), damaged.into_iter().map(named).collect())
    }

    fn parts_of(&self, run: usize, position: usize) -> &[Part] {
        let ordinal = self.layout.ordinals(RunIndex(run)).start + position as u64;
        let start = self.parts.partition_point(|part| part.ordinal < ordinal);
        let end = self.parts.partition_point(|part| part.ordinal <= ordinal);
        &self.parts[start..end]
    }
}

impl Sink for Checked {
    fn take(&self, run: usize, position: usize, _plaintext: Vec<u8>) -> Result<()> {
        let bytes = self.parts_of(run, position).iter().map(|part| u64::from(part.bytes)).sum();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.progress.tell(Event::Restored { bytes });
        Ok(())
    }

    fn lose(&self, run: usize, position: usize, why: &str) -> Result<()> {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        for part in self.parts_of(run, position) {
            if damaged.insert(part.file, why.to_owned()).is_none() {
                let path = self.names[part.file as usize].clone();
                self.progress.tell(Event::Damaged { path, why: why.to_owned() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(chunks: u64) -> Vec<Part> {
        (0..chunks).map(|ordinal| Part { ordinal, chunk_offset: 0, bytes: 1, file: 0, file_offset: ordinal }).collect()
    }

    #[test]
    fn a_sample_is_about_as_large_as_it_says_and_never_empty() {
        for seed in 0..20 {
            let mut some = parts(10_000);
            Sample::per_myriad(1000).unwrap().choose(&mut some, seed);
            assert!((700..1300).contains(&some.len()), "seed {seed}: {}", some.len());
            let mut one = parts(3);
            Sample::per_myriad(1).unwrap().choose(&mut one, seed);
            assert!(!one.is_empty());
            let mut all = parts(100);
            Sample::ALL.choose(&mut all, seed);
            assert_eq!(all.len(), 100);
        }
        assert_eq!(Sample::per_myriad(0), None);
        assert_eq!(Sample::per_myriad(10_001), None);
    }
}
