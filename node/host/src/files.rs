//! The file system as a node needs it: few calls, positions instead of cursors, and nothing durable until it is synced.
//!
//! | durable after | what |
//! |---|---|
//! | [`DiskFile::sync_data`] | the file's bytes and length, written before the call |
//! | [`Files::sync_dir`] | names made, renamed or removed in that directory |
//! | return | directories made by [`Files::create_dir_all`] |
//!
//! All calls block: make them from a lane. Two implementations: `disk.rs` (the real one) and `sim_disk.rs`.
//!
//! Not here: records, checksums, group commit (`append.rs`, `log.rs`).

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It must be there; reading only.
    Read,
    /// It must be there; reading and writing.
    Write,
    /// It must not be there; it is made. Its name is durable after a `sync_dir`.
    New,
    /// It is made if it is not there.
    WriteOrNew,
}

/// A file system.
pub trait Files: Debug + Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes a directory and those above it, durably.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes what happened to the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, sorted. Names that are not UTF-8 are none of ours and are left out.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Gives a file another name in the same directory, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Whoever has it open keeps it.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Whether there is a file or directory of this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// How many bytes this process may still write below `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// An open file. Several threads may use it at once; where their ranges overlap the order is open.
pub trait DiskFile: Debug + Send + Sync {
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads until the slice is full or the file ends and says how much it read. Where the slice, its length and the
    /// offset are aligned to `aligned::BLOCK` and the file system can, the page cache is bypassed: what comes back is
    /// what lies on the disk.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes everything, lengthening the file if need be. Aligned slices bypass the page cache as in `read_at`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Sets space aside for `from..to` and lengthens the file to `to` with zeros if it is shorter. Fails with
    /// `StorageFull` and without changing bytes where there is none, and with `Unsupported` where the file system
    /// cannot.
    fn preallocate(&self, from: u64, to: u64) -> io::Result<()>;

    /// Gives the space of `from..to` back to the file system; what is read there is zeros, and the length stays. Fails with
    /// `Unsupported` and without changing bytes where the file system cannot. Durable after [`DiskFile::sync_data`].
    fn punch(&self, from: u64, to: u64) -> io::Result<()>;

    /// Cuts the file, or lengthens it with zeros that take no space.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Makes bytes and length durable. After an error nobody knows what is on the disk, and asking again would lie.
    fn sync_data(&self) -> io::Result<()>;

    /// Keeps other processes (and other openings in this one) from locking it, until this file is dropped.
    /// `WouldBlock` if somebody has it.
    fn lock(&self) -> io::Result<()>;

    /// Ends a [`DiskFile::lock`].
    fn unlock(&self) -> io::Result<()>;

    /// Reads exactly the slice; `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read_at(bytes, offset)? < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}
