//! Referring to chunks that the shards have, without their bytes.
//!
//! Promises: a chunk that several files share stands in the sequence once, as long as it is remembered; memory does not
//! grow with what is backed up. Not here: which chunks those are (`cache/past.rs`), in which run (`place.rs`).

use std::collections::{HashMap, VecDeque};

use strongroom_format::id::ChunkId;

/// So many chunks are remembered.
const REMEMBERED: usize = 1 << 16;

/// Kept chunks that stand in the sequence, by their ordinals.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    ordinals: HashMap<ChunkId, u64>,
    in_order: VecDeque<ChunkId>,
}

impl Standing {
    /// Where a chunk stands.
    pub(crate) fn ordinal(&self, chunk: &ChunkId) -> Option<u64> {
        self.ordinals.get(chunk).copied()
    }

    /// Notes where a chunk stands now.
    pub(crate) fn note(&mut self, chunk: ChunkId, ordinal: u64) {
        if self.ordinals.insert(chunk, ordinal).is_some() {
            return;
        }
        self.in_order.push_back(chunk);
        if REMEMBERED < self.in_order.len()
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.ordinals.remove(&oldest);
        }
    }
}
