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
    bytes_read: AtomicU64,
    files_unchanged: AtomicU64,
    bytes_unchanged: AtomicU64,
}

impl Tally {
    /// At zero.
    pub(crate) fn new(progress: Progress) -> Self {
        Self { progress, ..Self::default() }
    }

    /// An entry was found.
    pub(crate) fn found(&self, bytes: u64) {
        self.progress.tell(Event::Found { bytes });
    }

    /// Bytes were read from files.
    pub(crate) fn read(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        self.progress.tell(Event::Read { bytes });
    }

    /// A file was not read, because it did not change.
    pub(crate) fn unchanged(&self, bytes: u64) {
        self.files_unchanged.fetch_add(1, Ordering::Relaxed);
        self.bytes_unchanged.fetch_add(bytes, Ordering::Relaxed);
        self.progress.tell(Event::Unchanged { bytes });
    }

    /// An entry is not backed up.
    pub(crate) fn skipped(&self, path: Vec<u8>, why: String) {
        self.progress.tell(Event::Skipped { path, why });
    }

    /// An entry changed or vanished while it was backed up.
    pub(crate) fn changed(&self, path: Vec<u8>, why: String) {
        self.progress.tell(Event::Changed { path, why });
    }

    /// The local cache is not believed.
    pub(crate) fn cache_ignored(&self, why: String) {
        self.progress.tell(Event::CacheIgnored { why });
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

    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    pub(crate) fn files_unchanged(&self) -> u64 {
        self.files_unchanged.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_unchanged(&self) -> u64 {
        self.bytes_unchanged.load(Ordering::Relaxed)
    }
}
