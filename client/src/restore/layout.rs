//! From files to chunks: which stretch of which chunk goes where in which file.
//!
//! ```text
//!   runs (manifest) ─▶ ordinals          pieces (manifest) ─▶ first ordinal, offset, length
//!   leaves (index)  ─▶ lengths ──────────────────────────────▶ parts: (ordinal, offset) ─▶ (file, offset)
//! ```
//!
//! A piece runs on over the chunks that follow, and how long those are stand in the leaves. So lengths are asked for
//! where they are missing, until every part is known: a small selection of a large snapshot reads few leaves.
//!
//! Promises: no part lies outside of its chunk (N40); parts of a file are as many bytes as the file has.
//! Not here: fetching leaves (`index.rs`) and chunks (`fetch.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use strongroom_format::chunk::CHUNK_BYTES_MAX;
use strongroom_format::id::GroupId;
use strongroom_format::manifest::entry::{Piece, Run};

/// A run's place in the snapshot's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RunIndex(pub usize);

/// Where a run lies.
#[derive(Clone, Copy, Debug)]
struct Placed {
    group: GroupId,
    /// Its ordinal among its group's leaves.
    leaf: usize,
    /// The ordinal of its first chunk.
    first: u64,
    chunks: u32,
}

/// A stretch of one chunk and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part {
    /// The chunk.
    pub ordinal: u64,
    /// Its first byte in the chunk.
    pub chunk_offset: u32,
    /// Its bytes, at least 1.
    pub bytes: u32,
    /// The file, by its number.
    pub file: u32,
    /// Its first byte in the file.
    pub file_offset: u64,
}

/// The order of runs, and the lengths that are known.
#[derive(Debug)]
pub(crate) struct Layout {
    runs: Vec<Placed>,
    chunks: u64,
    lengths: BTreeMap<RunIndex, Vec<u32>>,
}

/// The manifest names bytes that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a file's piece lies outside of the chunks")]
pub(crate) struct Outside;

impl Layout {
    pub(crate) fn new(runs: &[Run]) -> Self {
        let mut leaves: BTreeMap<GroupId, usize> = BTreeMap::new();
        let mut first = 0;
        let place = |run: &Run| {
            let leaf = leaves.entry(run.group).or_default();
            let placed = Placed { group: run.group, leaf: *leaf, first, chunks: run.chunks };
            *leaf += 1;
            first += u64::from(run.chunks);
            placed
        };
        let runs: Vec<Placed> = runs.iter().map(place).collect();
        let chunks = runs.last().map_or(0, |run| run.first + u64::from(run.chunks));
        Self { runs, chunks, lengths: BTreeMap::new() }
    }

    /// The group of a run, the number of its leaf there, and how many chunks it has.
    pub(crate) fn run(&self, run: RunIndex) -> (GroupId, usize, u32) {
        let placed = &self.runs[run.0];
        (placed.group, placed.leaf, placed.chunks)
    }

    /// How many leaves each group has.
    pub(crate) fn leaves(&self) -> BTreeMap<GroupId, usize> {
        let mut leaves = BTreeMap::new();
        for run in &self.runs {
            *leaves.entry(run.group).or_default() += 1;
        }
        leaves
    }

    /// All runs.
    pub(crate) fn all(&self) -> impl Iterator<Item = RunIndex> {
        (0..self.runs.len()).map(RunIndex)
    }

    /// The ordinals of a run's chunks.
    pub(crate) fn ordinals(&self, run: RunIndex) -> Range<u64> {
        let placed = &self.runs[run.0];
        placed.first..placed.first + u64::from(placed.chunks)
    }

    /// Takes the lengths of a run's chunks.
    pub(crate) fn learn(&mut self, run: RunIndex, lengths: Vec<u32>) {
        debug_assert_eq!(lengths.len(), self.runs[run.0].chunks as usize, "checked against the leaf");
        self.lengths.insert(run, lengths);
    }

    /// The parts of files, ordered by chunk; or the runs whose lengths must be learnt first.
    pub(crate) fn parts<'a>(
        &self,
        files: impl Iterator<Item = (u32, &'a [Piece])>,
    ) -> Result<std::result::Result<Vec<Part>, BTreeSet<RunIndex>>, Outside> {
        let mut parts = Vec::new();
        let mut missing = BTreeSet::new();
        for (file, pieces) in files {
            let mut file_offset = 0;
            for piece in pieces {
                self.parts_of(piece, file, file_offset, &mut parts, &mut missing)?;
                file_offset += piece.length;
            }
        }
        if !missing.is_empty() {
            return Ok(Err(missing));
        }
        parts.sort_unstable();
        Ok(Ok(parts))
    }

    fn parts_of(
        &self,
        piece: &Piece,
        file: u32,
        mut file_offset: u64,
        parts: &mut Vec<Part>,
        missing: &mut BTreeSet<RunIndex>,
    ) -> Result<(), Outside> {
        let (mut ordinal, mut chunk_offset, mut left) = (piece.first, piece.offset, piece.length);
        while left != 0 {
            let run = self.run_of(ordinal).ok_or(Outside)?;
            let Some(lengths) = self.lengths.get(&run) else {
                // At least so many chunks more: so many runs are surely needed.
                let chunks = (left + u64::from(chunk_offset)).div_ceil(CHUNK_BYTES_MAX.into());
                let last = self.run_of(ordinal.saturating_add(chunks - 1)).ok_or(Outside)?;
                missing.extend((run.0..=last.0).map(RunIndex).filter(|run| !self.lengths.contains_key(run)));
                return Ok(());
            };
            let position = usize::try_from(ordinal - self.runs[run.0].first).expect("a run has at most 1024 chunks");
            let room = lengths[position].checked_sub(chunk_offset).filter(|room| *room != 0).ok_or(Outside)?;
            let bytes = u32::try_from(left).map_or(room, |left| left.min(room));
            parts.push(Part { ordinal, chunk_offset, bytes, file, file_offset });
            left -= u64::from(bytes);
            file_offset += u64::from(bytes);
            ordinal += 1;
            chunk_offset = 0;
        }
        Ok(())
    }

    /// The run that holds a chunk.
    pub(crate) fn run_of(&self, ordinal: u64) -> Option<RunIndex> {
        if self.chunks <= ordinal {
            return None;
        }
        Some(RunIndex(self.runs.partition_point(|run| run.first <= ordinal) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let run = |group, chunks| Run { group: GroupId(group), chunks };
        let mut layout = Layout::new(&[run(1, 2), run(2, 1), run(1, 3)]);
        layout.learn(RunIndex(0), vec![10, 20]);
        layout.learn(RunIndex(1), vec![5]);
        layout
    }

    #[test]
    fn a_piece_runs_on_over_the_chunks_that_follow() {
        let mut layout = layout();
        let piece = [Piece { first: 1, offset: 15, length: 12 }];
        let missing = layout.parts([(7, &piece[..])].into_iter()).unwrap().unwrap_err();
        assert_eq!(missing, BTreeSet::from([RunIndex(2)]));
        layout.learn(RunIndex(2), vec![100, 100, 100]);
        let parts = layout.parts([(7, &piece[..])].into_iter()).unwrap().unwrap();
        let found: Vec<_> = parts.iter().map(|p| (p.ordinal, p.chunk_offset, p.bytes, p.file_offset)).collect();
        assert_eq!(found, [(1, 15, 5, 0), (2, 0, 5, 5), (3, 0, 2, 10)]);
        assert_eq!(layout.run(RunIndex(2)), (GroupId(1), 1, 3));
    }

    #[test]
    fn n40_a_piece_outside_of_its_chunks_is_refused() {
        let mut layout = layout();
        layout.learn(RunIndex(2), vec![1, 1, 1]);
        for piece in [
            Piece { first: 0, offset: 10, length: 1 },
            Piece { first: 5, offset: 0, length: 2 },
            Piece { first: 6, offset: 0, length: 1 },
            Piece { first: 0, offset: 0, length: u64::MAX },
        ] {
            assert_eq!(layout.parts([(0, &[piece][..])].into_iter()), Err(Outside), "{piece:?}");
        }
    }
}
