//! Writing verified chunks into files, in whatever order they come, and proving each file whole.
//!
//! Promises: no file is held in memory; a file is finished only when all its bytes were written and their hash is the
//! manifest's; one that loses a chunk, or whose hash differs, is removed and listed, the others stay (N146). Set-uid and
//! set-gid bits are not restored. Checking without writing is the same with nothing behind it.
//! Not here: where files are (`staging.rs`), which bytes go where (`layout.rs`), decryption (`open.rs`).

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom_format::id::Digest;
use strongroom_format::manifest::entry::{Attributes, Piece};

use super::layout::Part;
use super::path::TreePath;
use super::staging::{Staging, begin_to_flush, finish_file};
use super::whole::{Whole, hash_piece};
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};

/// So many files that are not whole yet are kept open.
const OPEN_MAX: usize = 256;
/// Set-uid and set-gid are given only when asked, which nobody can yet.
const FILE_MODE: u32 = 0o777;
/// What is written into files of so many bytes begins to go to the disk at once: the sync at the end waits for less.
const FLUSH_FROM_BYTES: u64 = 16 << 20;

/// A file to restore.
#[derive(Debug)]
pub(crate) struct PlannedFile {
    /// Where it goes.
    pub path: TreePath,
    /// Its path in the snapshot.
    pub name: Vec<u8>,
    pub attributes: Attributes,
    pub size: u64,
    pub hash: Digest,
    pub pieces: Vec<Piece>,
}

/// A file that is not in the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedFile {
    /// Its path in the snapshot, any bytes.
    pub path: Vec<u8>,
    /// Why, for people.
    pub why: String,
}

/// The files of one restore, being written.
pub(crate) struct Writer {
    /// `None`: verified, not written.
    staging: Option<Arc<Staging>>,
    files: Vec<State>,
    /// Ordered by chunk.
    parts: Vec<Part>,
    open: Mutex<HashMap<u32, Arc<File>>>,
    damaged: Mutex<Vec<DamagedFile>>,
    written: AtomicU64,
    progress: Progress,
}

struct State {
    plan: PlannedFile,
    /// Bytes that are still to come.
    left: AtomicU64,
    work: Mutex<Work>,
}

#[derive(Default)]
struct Work {
    made: bool,
    damaged: bool,
    /// Of a file that comes in more than one piece.
    hashed: Option<Box<Whole>>,
}

impl Writer {
    /// Makes the empty files. Directories exist already.
    pub(crate) fn new(
        staging: Option<Arc<Staging>>,
        files: Vec<PlannedFile>,
        parts: Vec<Part>,
        progress: Progress,
    ) -> Result<Self> {
        let state = |plan: PlannedFile| State { left: AtomicU64::new(plan.size), plan, work: Mutex::default() };
        let writer = Self {
            staging,
            files: files.into_iter().map(state).collect(),
            parts,
            open: Mutex::default(),
            damaged: Mutex::default(),
            written: AtomicU64::new(0),
            progress,
        };
        for (file, state) in (0..).zip(&writer.files) {
            if state.plan.size == 0 {
                let mut work = state.work();
                writer.whole(file, state, &mut work, blake3::hash(b""))?;
            }
        }
        Ok(writer)
    }

    /// The chunks that are needed, ascending.
    pub(crate) fn needed(&self) -> impl Iterator<Item = u64> {
        let mut last = None;
        self.parts.iter().map(|part| part.ordinal).filter(move |ordinal| last.replace(*ordinal) != Some(*ordinal))
    }

    /// Takes a verified chunk. Blocks on the disk.
    ///
    /// # Errors
    /// `Failed` if the disk fails: nothing can go on then.
    pub(crate) fn take(&self, ordinal: u64, plaintext: &[u8]) -> Result<()> {
        for part in self.parts_of(ordinal) {
            let state = &self.files[part.file as usize];
            let start = part.chunk_offset as usize;
            let bytes = &plaintext[start..start + part.bytes as usize];
            let file = {
                let mut work = state.work();
                match (&self.staging, work.damaged) {
                    (_, true) => continue,
                    (Some(staging), false) => Some(self.file(staging, part.file, state, &mut work)?),
                    (None, false) => None,
                }
            };
            // Written and hashed by many at once: only what they found out is put together one after another.
            if let Some(file) = file {
                file.write_all_at(bytes, part.file_offset).map_err(|cause| self.disk(state, "write", cause))?;
                if FLUSH_FROM_BYTES <= state.plan.size {
                    begin_to_flush(&file, part.file_offset, part.bytes.into());
                }
            }
            let size = state.plan.size;
            if bytes.len() as u64 == size {
                let hash = blake3::hash(bytes);
                self.progress.tell(Event::Restored { bytes: size });
                self.whole(part.file, state, &mut state.work(), hash)?;
                continue;
            }
            let hashed = hash_piece(size, part.file_offset, bytes);
            let mut work = state.work();
            if work.damaged {
                continue;
            }
            work.hashed.get_or_insert_with(|| Box::new(Whole::new(size))).absorb(hashed);
            let left = state.left.fetch_sub(bytes.len() as u64, Ordering::Relaxed) - bytes.len() as u64;
            self.progress.tell(Event::Restored { bytes: bytes.len() as u64 });
            if left == 0
                && let Some(hashed) = work.hashed.take()
            {
                self.whole(part.file, state, &mut work, hashed.finish())?;
            }
        }
        Ok(())
    }

    /// A chunk that nobody has: its files are left out.
    pub(crate) fn lose(&self, ordinal: u64, why: &str) -> Result<()> {
        for part in self.parts_of(ordinal) {
            let state = &self.files[part.file as usize];
            let mut work = state.work();
            self.damage(part.file, state, &mut work, why)?;
        }
        Ok(())
    }

    /// Files that are whole, their bytes, and what is damaged.
    pub(crate) fn finish(self) -> (u64, u64, Vec<DamagedFile>) {
        let mut damaged = self.damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
        damaged.sort_by(|a, b| a.path.cmp(&b.path));
        let whole = self.files.len() - damaged.len();
        (whole as u64, self.written.into_inner(), damaged)
    }

    fn parts_of(&self, ordinal: u64) -> &[Part] {
        let start = self.parts.partition_point(|part| part.ordinal < ordinal);
        let end = self.parts.partition_point(|part| part.ordinal <= ordinal);
        &self.parts[start..end]
    }

    /// The open file, made if this is its first byte.
    fn file(&self, staging: &Staging, number: u32, state: &State, work: &mut Work) -> Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&number) {
            return Ok(Arc::clone(file));
        }
        let path = &state.plan.path;
        let opened = if work.made { staging.open_file(path) } else { staging.make_file(path) };
        let file = Arc::new(opened.map_err(|errno| self.disk(state, "make", errno.into()))?);
        work.made = true;
        if OPEN_MAX <= open.len()
            && let Some(other) = open.keys().next().copied()
        {
            open.remove(&other);
        }
        open.insert(number, Arc::clone(&file));
        Ok(file)
    }

    /// All bytes are there: attributes, or out with it.
    fn whole(&self, number: u32, state: &State, work: &mut Work, hash: blake3::Hash) -> Result<()> {
        if *hash.as_bytes() != *state.plan.hash.as_bytes() {
            return self.damage(number, state, work, "its content is not what its manifest says");
        }
        if let Some(staging) = &self.staging {
            let file = self.file(staging, number, state, work)?;
            let Attributes { mode, modified } = state.plan.attributes;
            finish_file(&file, Attributes { mode: mode & FILE_MODE, modified })
                .map_err(|errno| self.disk(state, "set attributes of", errno.into()))?;
            self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        }
        self.written.fetch_add(state.plan.size, Ordering::Relaxed);
        Ok(())
    }

    fn damage(&self, number: u32, state: &State, work: &mut Work, why: &str) -> Result<()> {
        if std::mem::replace(&mut work.damaged, true) {
            return Ok(());
        }
        work.hashed = None;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        if let (Some(staging), true) = (&self.staging, work.made) {
            let removed = staging.remove_file(&state.plan.path);
            removed.map_err(|errno| self.disk(state, "remove", errno.into()))?;
        }
        let damaged = DamagedFile { path: state.plan.name.clone(), why: why.to_owned() };
        self.progress.tell(Event::Damaged { path: damaged.path.clone(), why: damaged.why.clone() });
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).push(damaged);
        Ok(())
    }

    fn disk(&self, state: &State, what: &str, cause: std::io::Error) -> Error {
        Error::file(what, state.plan.path.to_string(), cause)
    }
}

impl State {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
