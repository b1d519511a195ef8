//! Chunks that a shard said it knows and then missed: they are sent again, whatever it says. Nodes that it missed are
//! counted: they are sent with every attempt.
//!
//! Not here: who asks (`stream.rs`), who finds out (`upload.rs`).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use strongroom_format::id::ChunkId;

/// A set that grows over the attempts of one backup.
#[derive(Default)]
pub(crate) struct Distrust {
    chunks: Mutex<BTreeSet<ChunkId>>,
    nodes: AtomicUsize,
}

impl Distrust {
    /// Adds chunks.
    pub(crate) fn add(&self, chunks: impl IntoIterator<Item = ChunkId>) {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner).extend(chunks);
    }

    /// Notes nodes that a shard had and has no more: what named them was collected between two of our commands.
    pub(crate) fn missed_nodes(&self, count: usize) {
        self.nodes.fetch_add(count, Ordering::Relaxed);
    }

    /// Whether a shard's word about a chunk counts.
    pub(crate) fn trusts(&self, chunk: &ChunkId) -> bool {
        !self.chunks.lock().unwrap_or_else(PoisonError::into_inner).contains(chunk)
    }

    /// How much was learnt: it only grows.
    pub(crate) fn len(&self) -> usize {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner).len() + self.nodes.load(Ordering::Relaxed)
    }
}
