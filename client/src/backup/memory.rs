//! What a backup holds in memory between reading and registration, and no more.
//!
//! ```text
//!   reader ─ lend ─▶ block ─ freeze ─▶ slices (chunks) ─ all dropped ─▶ its bytes are free, its buffer is used again
//!   sealer ─ room ─▶ blob  ─────────── registered ────────────────────▶ its bytes are free
//! ```
//!
//! Promises: bytes count for as long as anybody holds a slice of them; whoever holds slices back is told when a reader
//! waits for room ([`Memory::starved`]). Not here: who waits for whom (`read.rs`, `reading.rs`, `stream.rs`,
//! `upload.rs`); none of them waits while it holds what the other needs.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// A large file is read in blocks of so many bytes.
pub(crate) const BLOCK_BYTES: usize = 16 << 20;
/// What lies in blocks at once.
const PLAIN_BYTES: usize = 4 * BLOCK_BYTES;
/// What lies in blobs at once.
const BLOB_BYTES: usize = 64 << 20;

/// The bounds of one backup.
#[derive(Debug)]
pub(crate) struct Memory {
    plain: Arc<Semaphore>,
    blobs: Arc<Semaphore>,
    /// Buffers of blocks that are not in use: fresh ones cost a fault per page.
    free: Mutex<Vec<Vec<u8>>>,
    starved: Notify,
}

/// Bytes that are being filled.
#[derive(Debug)]
pub(crate) struct Block {
    data: Vec<u8>,
    _permit: OwnedSemaphorePermit,
    memory: Arc<Memory>,
}

/// The backup has ended.
#[derive(Debug)]
pub(crate) struct Ended;

impl Memory {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            plain: Arc::new(Semaphore::new(PLAIN_BYTES)),
            blobs: Arc::new(Semaphore::new(BLOB_BYTES)),
            free: Mutex::default(),
            starved: Notify::new(),
        })
    }

    /// An empty block of [`BLOCK_BYTES`]. Blocks the thread until there is room.
    pub(crate) fn lend(self: &Arc<Self>, runtime: &Handle) -> Result<Block, Ended> {
        let permit = self.permit(runtime, BLOCK_BYTES)?;
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let data = free.unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES));
        Ok(Block { data, _permit: permit, memory: Arc::clone(self) })
    }

    /// Bytes that are whole already. Blocks the thread until there is room.
    pub(crate) fn hold(self: &Arc<Self>, runtime: &Handle, data: Vec<u8>) -> Result<Bytes, Ended> {
        let permit = self.permit(runtime, data.len())?;
        Ok(Block { data, _permit: permit, memory: Arc::clone(self) }.freeze())
    }

    /// Room for a blob.
    pub(crate) async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Ended> {
        let bytes = u32::try_from(bytes.min(BLOB_BYTES)).expect("the bound fits");
        Arc::clone(&self.blobs).acquire_many_owned(bytes).await.map_err(|_| Ended)
    }

    /// Waits until a thread has to wait for room: what holds slices back must let them go.
    pub(crate) async fn starved(&self) {
        self.starved.notified().await;
    }

    /// Whoever waits, or will, is told that the backup has ended.
    pub(crate) fn end(&self) {
        self.plain.close();
        self.blobs.close();
    }

    fn permit(&self, runtime: &Handle, bytes: usize) -> Result<OwnedSemaphorePermit, Ended> {
        let bytes = u32::try_from(bytes.min(PLAIN_BYTES)).expect("the bound fits");
        if let Ok(permit) = Arc::clone(&self.plain).try_acquire_many_owned(bytes) {
            return Ok(permit);
        }
        self.starved.notify_one();
        runtime.block_on(Arc::clone(&self.plain).acquire_many_owned(bytes)).map_err(|_| Ended)
    }
}

impl Block {
    /// Nothing more is written; slices may be given away.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Deref for Block {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.data
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.data.capacity() == BLOCK_BYTES {
            let mut data = std::mem::take(&mut self.data);
            data.clear();
            self.memory.free.lock().unwrap_or_else(PoisonError::into_inner).push(data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_count_until_the_last_slice_is_gone() {
        let memory = Memory::new();
        let runtime = Handle::current();
        let lent = Arc::clone(&memory);
        let slices = tokio::task::spawn_blocking(move || {
            let blocks = (0..4).map(|n| {
                let mut block = lent.lend(&runtime).unwrap();
                block.extend_from_slice(&[n; 100]);
                block.freeze()
            });
            blocks.map(|block| block.slice(10..20)).collect::<Vec<_>>()
        });
        let mut slices = slices.await.unwrap();
        assert_eq!(memory.plain.available_permits(), 0, "ten bytes hold their whole block");
        assert_eq!(slices[2][0], 2);
        slices.pop();
        assert_eq!(memory.plain.available_permits(), BLOCK_BYTES);
        assert_eq!(memory.free.lock().unwrap().len(), 1, "its buffer is used again");
        memory.end();
        assert!(memory.room(1).await.is_err());
    }
}
