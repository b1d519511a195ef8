//! A file of the host as redb wants it, so that a group's state lies on whatever disk the node has, real or simulated;
//! and a guard for the one page that redb writes in place.
//!
//! ```text
//!   5.redb        header (page 0) │ pages, never overwritten while a durable commit needs them
//!   5.redb.head   copy of the header │ copy of the header        in turn, each with number and hash
//! ```
//!
//! redb keeps two commits in its header and survives a header that was written in part, but not one whose sector comes
//! back as garbage: magic number and both commits lie in it. So a new header goes into the other file first and is made
//! durable there, after everything that it may refer to; when the state is opened the newest whole copy is put back. It
//! costs at most four more syncs a checkpoint, and checkpoints are seconds apart.

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redb::{BackendError, StorageBackend};
use strongroom_host::files::{DiskFile, Files, Open};

/// Bytes of the page that is guarded.
const PAGE: usize = 4096;

/// A copy: a block that describes it, and the page.
const COPY: usize = 2 * PAGE;

const MAGIC: [u8; 8] = *b"SRHD\x01\0\0\0";

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct DatabaseFile {
    file: Arc<dyn DiskFile>,
    /// Whether something was written since the last sync.
    is_dirty: AtomicBool,
    /// `None` while a new database is made under a name that does not count yet.
    head: Option<Mutex<Head>>,
    seal: Seal,
}

/// Keeps a database from changing any more. Clones seal the same file.
///
/// redb makes everything durable when it is dropped, also commits that were not to be. A state's owner decides that, and
/// seals the file first where the log is perhaps not durable so far. And a failed write or sync seals it for good: a drop
/// tells nobody what failed in it, and the next sync would say yes although bytes are lost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seal(Arc<AtomicBool>);

impl Seal {
    /// From now on every change is refused.
    pub(crate) fn close(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Refuses if the file is sealed.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Acquire) {
            return Err(io::Error::other("the database is sealed"));
        }
        Ok(())
    }

    /// Makes a change if the file may change, and seals it if that fails.
    fn change<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.check()?;
        change().inspect_err(|_| self.close())
    }
}

#[derive(Debug)]
struct Head {
    file: Arc<dyn DiskFile>,
    /// The number of the newest copy.
    number: u64,
}

impl DatabaseFile {
    /// A file that needs no guard yet.
    pub(crate) fn unguarded(file: Arc<dyn DiskFile>) -> Self {
        Self { file, is_dirty: AtomicBool::new(false), head: None, seal: Seal::default() }
    }

    /// Opens a database and puts its newest header in place.
    pub(crate) fn open(files: &dyn Files, path: &Path) -> io::Result<Self> {
        let file = files.open(path, Open::Write)?;
        let head = files.open(&head_path(path), Open::WriteOrNew)?;
        if let Some(directory) = path.parent() {
            files.sync_dir(directory)?;
        }
        // redb takes the lock again; without it here, somebody who runs would find another header in his file
        file.lock()?;
        let newest = newest(&*head)?;
        if let Some((_, page)) = &newest {
            file.write_at(page, 0)?;
            file.sync_data()?;
        }
        file.unlock()?;
        let head = Head { file: head, number: newest.map_or(0, |(number, _)| number) };
        Ok(Self { file, is_dirty: AtomicBool::new(false), head: Some(Mutex::new(head)), seal: Seal::default() })
    }

    /// The database's own file.
    pub(crate) fn file(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file)
    }

    /// What keeps the file from changing any more.
    pub(crate) fn seal(&self) -> Seal {
        self.seal.clone()
    }

    /// Makes a header durable in the other file, before it may touch this one.
    fn guard(&self, head: &Mutex<Head>, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut page = vec![0; PAGE];
        self.file.read_at(&mut page, 0)?;
        let at = offset as usize;
        let end = (at + data.len()).min(PAGE);
        page[at..end].copy_from_slice(&data[..end - at]);
        if self.is_dirty.load(Ordering::Acquire) {
            self.sync_data()?;
        }
        // a copy is written whole or not at all: a panic leaves nothing half changed
        let mut head = head.lock().unwrap_or_else(PoisonError::into_inner);
        let number = head.number + 1;
        let mut copy = vec![0; COPY];
        copy[..8].copy_from_slice(&MAGIC);
        copy[8..16].copy_from_slice(&number.to_le_bytes());
        copy[16..48].copy_from_slice(hash(number, &page).as_bytes());
        copy[PAGE..].copy_from_slice(&page);
        head.file.write_at(&copy, number % 2 * COPY as u64)?;
        head.file.sync_data()?;
        head.number = number;
        Ok(())
    }
}

/// Where the copies of a database's header lie.
fn head_path(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.head", path.display()))
}

/// Removes the copies of a header whose database is not there.
pub(crate) fn forget_head(files: &dyn Files, path: &Path) -> io::Result<()> {
    let head = head_path(path);
    if files.exists(&head)? {
        files.remove(&head)?;
        if let Some(directory) = path.parent() {
            files.sync_dir(directory)?;
        }
    }
    Ok(())
}

/// The newest header of a database that nobody has open, if it was ever guarded.
pub(crate) fn newest_header(files: &dyn Files, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let head = head_path(path);
    if !files.exists(&head)? {
        return Ok(None);
    }
    Ok(newest(&*files.open(&head, Open::Read)?)?.map(|(_, page)| page))
}

/// The newest whole copy.
fn newest(head: &dyn DiskFile) -> io::Result<Option<(u64, Vec<u8>)>> {
    let mut newest = None;
    for slot in 0..2_u64 {
        let mut copy = vec![0; COPY];
        if head.read_at(&mut copy, slot * COPY as u64)? < COPY || copy[..8] != MAGIC {
            continue;
        }
        let mut number = [0; 8];
        number.copy_from_slice(&copy[8..16]);
        let number = u64::from_le_bytes(number);
        let page = copy[PAGE..].to_vec();
        let is_newer = newest.as_ref().is_none_or(|(newest, _)| *newest < number);
        if copy[16..48] == *hash(number, &page).as_bytes() && is_newer {
            newest = Some((number, page));
        }
    }
    Ok(newest)
}

fn hash(number: u64, page: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(page);
    hasher.finalize()
}

impl StorageBackend for DatabaseFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.is_dirty.store(true, Ordering::Release);
        self.seal.change(|| self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        // what is written while it runs is dirty again
        self.is_dirty.store(false, Ordering::Release);
        self.seal.change(|| self.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.seal.change(|| {
            if let Some(head) = &self.head
                && offset < PAGE as u64
            {
                self.guard(head, offset, data)?;
            }
            self.is_dirty.store(true, Ordering::Release);
            self.file.write_at(data, offset)
        })
    }

    fn close(&self) -> io::Result<()> {
        self.file.unlock()
    }

    /// Whole files only: one process writes a state.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if !is_whole(start, end) {
            return Err(BackendError::Unsupported);
        }
        match self.file.lock() {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(BackendError::Io(error)),
        }
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if !is_whole(start, end) {
            return Err(BackendError::Unsupported);
        }
        self.file.unlock().map_err(BackendError::Io)
    }
}

fn is_whole(start: Bound<u64>, end: Bound<u64>) -> bool {
    matches!((start, end), (Bound::Unbounded | Bound::Included(0), Bound::Unbounded))
}
