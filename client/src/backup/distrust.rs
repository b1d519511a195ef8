//! Chunks that a shard said it knows and then missed: they are sent again, whatever it says.
//!
//! Not here: who asks (`stream.rs`), who finds out (`upload.rs`).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use strongroom_format::id::ChunkId;

/// A set that grows over the attempts of one backup.
#[derive(Default)]
pub(crate) struct Distrust(Mutex<BTreeSet<ChunkId>>);

impl Distrust {
    /// Adds chunks.
    pub(crate) fn add(&self, chunks: impl IntoIterator<Item = ChunkId>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(chunks);
    }

    /// Whether a shard's word about a chunk counts.
    pub(crate) fn trusts(&self, chunk: &ChunkId) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(chunk)
    }

    /// How many chunks are in it.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
