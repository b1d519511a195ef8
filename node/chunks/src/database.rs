//! redb over a host's files: the same database on real disks and on simulated ones.
//!
//! Promises: one opening at a time (`Busy` for the second); the cache has the size that was asked for, never the
//! library's default of 1 GiB. Page checksums are not verified on reads and damage from outside may panic: whoever opens
//! one says what is rebuilt then.

use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::{Database, StorageBackend};
use strongroom_host::files::{DiskFile, Files, Open};

/// Opens the database at `path`, making it (and its name, durably) if it is not there.
///
/// An error whose kind is `WouldBlock` says that somebody else has it open. Blocking: call it from a lane.
pub fn open(files: &dyn Files, path: &Path, cache_bytes: usize) -> Result<Database, redb::DatabaseError> {
    let storage = |cause: io::Error| redb::DatabaseError::Storage(redb::StorageError::Io(cause));
    let file = files.open(path, Open::WriteOrNew).map_err(storage)?;
    file.lock().map_err(storage)?;
    if let Some(directory) = path.parent() {
        files.sync_dir(directory).map_err(storage)?;
    }
    Database::builder().set_cache_size(cache_bytes).create_with_backend(TableFile { file })
}

#[derive(Debug)]
struct TableFile {
    file: Arc<dyn DiskFile>,
}

/// The lock methods stay unsupported: the whole file is locked when it is opened.
impl StorageBackend for TableFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(data, offset)
    }

    fn close(&self) -> io::Result<()> {
        self.file.unlock()
    }
}
