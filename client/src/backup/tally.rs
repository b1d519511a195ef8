//! What a backup counted.
//!
//! Not here: who shows it (`progress.rs`, `backup.rs`).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::progress::{Event, Progress};

/// Counters that several tasks add to.
#[derive(Default)]
pub(crate) struct Tally {
    progress: Progress,
    batches: AtomicU64,
    chunks_new: AtomicU64,
    chunks_known: AtomicU64,
    bytes_sent: AtomicU64,
}

impl Tally {
    /// At zero.
    pub(crate) fn new(progress: Progress) -> Self {
        Self { progress, ..Self::default() }
    }

    /// A batch was registered.
    pub(crate) fn submitted(&self, bytes: u64) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.progress.tell(Event::Stored { bytes });
    }

    /// A chunk was sealed and sent.
    pub(crate) fn sent(&self, bytes: u64) {
        self.chunks_new.fetch_add(1, Ordering::Relaxed);
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
        self.progress.tell(Event::Sent { bytes });
    }

    /// Chunks were known.
    pub(crate) fn known(&self, chunks: u64) {
        self.chunks_known.fetch_add(chunks, Ordering::Relaxed);
    }

    pub(crate) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    pub(crate) fn chunks_new(&self) -> u64 {
        self.chunks_new.load(Ordering::Relaxed)
    }

    pub(crate) fn chunks_known(&self) -> u64 {
        self.chunks_known.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_sent(&self) -> u64 {
        self.bytes_sent.load(Ordering::Relaxed)
    }
}
