//! Writing verified chunks into files, in whatever order they come, and proving each file whole.
//!
//! Promises: no file is held in memory; a file is finished only when all its bytes were written and their hash is the
//! manifest's; one that loses a chunk, or whose hash differs, is removed and listed, the others stay (N146). Holes are
//! not written. Checking without writing is the same with nothing behind it.
//! Not here: where files are (`staging.rs`), which bytes go where (`layout.rs`), decryption (`open.rs`), what a file gets
//! when it is whole (`give.rs`).

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom_format::id::Digest;
use strongroom_format::manifest::entry::{self, Attributes, Piece};
use strongroom_format::manifest::holes::{Segment, segments};

use super::layout::Part;
use super::path::TreePath;
use super::staging::{Staging, begin_to_flush};
use super::whole::{Whole, hash_piece};
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};

/// So many files that are not whole yet are kept open.
const OPEN_MAX: usize = 256;
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
    /// With holes.
    pub size: u64,
    /// Without holes: what its pieces and its hash are of.
    pub stored_bytes: u64,
    pub hash: Digest,
    pub pieces: Vec<Piece>,
    /// Where the stored bytes go, if there are holes.
    pub segments: Vec<Segment>,
}

impl PlannedFile {
    pub(crate) fn new(path: TreePath, name: Vec<u8>, attributes: Attributes, file: entry::File) -> Self {
        let stored_bytes = file.stored_bytes();
        let segments = if file.holes.is_empty() { Vec::new() } else { segments(file.size, &file.holes) };
        let entry::File { size, pieces, hash, .. } = file;
        Self { path, name, attributes, size, stored_bytes, hash, pieces, segments }
    }

    pub(crate) fn has_holes(&self) -> bool {
        self.stored_bytes != self.size
    }
}

/// A file that is not in the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedFile {
    /// Its path in the snapshot, any bytes.
    pub path: Vec<u8>,
    /// Why, for people.
    pub why: String,
}

/// What became of the files.
#[derive(Debug)]
pub(crate) struct Written {
    /// Those that are whole.
    pub files: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// Those that are not, in order.
    pub damaged: Vec<DamagedFile>,
    /// Those that the target cannot hold, in order.
    pub left_out: Vec<DamagedFile>,
}

/// Why a file is not in the result.
enum Loss<'a> {
    /// Its bytes.
    Damaged(&'a str),
    /// The target.
    LeftOut(String),
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
    left_out: Mutex<Vec<DamagedFile>>,
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
    /// Nothing more is written.
    is_lost: bool,
    /// Of a file that comes in more than one piece.
    hashed: Option<Box<Whole>>,
}

/// What is in a file already, proved.
#[derive(Debug)]
pub(crate) struct There {
    /// Bytes that are still to come.
    pub left: u64,
    /// Of all of it, if nothing is.
    pub hash: Option<blake3::Hash>,
    /// Of what is there, if something is.
    pub hashed: Option<Box<Whole>>,
}

impl Writer {
    /// Makes the empty files. Directories exist already, and some files perhaps, whole or in part; `parts` are those that
    /// are not there.
    pub(crate) fn new(
        staging: Option<Arc<Staging>>,
        files: Vec<PlannedFile>,
        parts: Vec<Part>,
        there: BTreeMap<u32, There>,
        progress: Progress,
    ) -> Result<Self> {
        let state = |plan: PlannedFile| State { left: AtomicU64::new(plan.stored_bytes), plan, work: Mutex::default() };
        let writer = Self {
            staging,
            files: files.into_iter().map(state).collect(),
            parts,
            open: Mutex::default(),
            damaged: Mutex::default(),
            left_out: Mutex::default(),
            written: AtomicU64::new(0),
            progress,
        };
        for (file, state) in (0..).zip(&writer.files) {
            if state.plan.stored_bytes == 0 {
                let mut work = state.work();
                writer.whole(file, state, &mut work, blake3::hash(b""))?;
            }
        }
        for (file, There { left, hash, hashed }) in there {
            let state = &writer.files[file as usize];
            let mut work = state.work();
            work.made = true;
            work.hashed = hashed;
            state.left.store(left, Ordering::Relaxed);
            if let Some(hash) = hash {
                writer.whole(file, state, &mut work, hash)?;
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
                match (&self.staging, work.is_lost) {
                    (_, true) => continue,
                    (Some(staging), false) => match self.file(staging, part.file, state, &mut work)? {
                        Some(file) => Some(file),
                        None => continue,
                    },
                    (None, false) => None,
                }
            };
            // Written and hashed by many at once: only what they found out is put together one after another.
            if let Some(file) = file {
                state.write(&file, part.file_offset, bytes).map_err(|cause| self.disk(state, "write", cause))?;
            }
            let size = state.plan.stored_bytes;
            if bytes.len() as u64 == size {
                let hash = blake3::hash(bytes);
                self.progress.tell(Event::Restored { bytes: size });
                self.whole(part.file, state, &mut state.work(), hash)?;
                continue;
            }
            let hashed = hash_piece(size, part.file_offset, bytes);
            let mut work = state.work();
            if work.is_lost {
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
            self.lose_file(part.file, state, &mut work, Loss::Damaged(why))?;
        }
        Ok(())
    }

    /// What became of the files.
    pub(crate) fn finish(self) -> Written {
        let [damaged, left_out] = [self.damaged, self.left_out].map(|files| {
            let mut files = files.into_inner().unwrap_or_else(PoisonError::into_inner);
            files.sort_by(|a, b| a.path.cmp(&b.path));
            files
        });
        let files = (self.files.len() - damaged.len() - left_out.len()) as u64;
        Written { files, bytes: self.written.into_inner(), damaged, left_out }
    }

    fn parts_of(&self, ordinal: u64) -> &[Part] {
        let start = self.parts.partition_point(|part| part.ordinal < ordinal);
        let end = self.parts.partition_point(|part| part.ordinal <= ordinal);
        &self.parts[start..end]
    }

    /// The open file, made if this is its first byte; `None` if the target cannot hold such a file.
    fn file(&self, staging: &Staging, number: u32, state: &State, work: &mut Work) -> Result<Option<Arc<File>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&number) {
            return Ok(Some(Arc::clone(file)));
        }
        let path = &state.plan.path;
        let opened = if work.made { staging.open_file(path) } else { staging.make_file(path) };
        let file = Arc::new(opened.map_err(|errno| self.disk(state, "make", errno.into()))?);
        let is_new = !std::mem::replace(&mut work.made, true);
        if is_new
            && state.plan.has_holes()
            && let Err(cause) = file.set_len(state.plan.size)
        {
            // A file of 2⁶² bytes takes no space, but not every file system can number them (N115).
            drop(open);
            let why = format!("the target cannot hold a file of {} bytes: {cause}", state.plan.size);
            return self.lose_file(number, state, work, Loss::LeftOut(why)).map(|()| None);
        }
        if OPEN_MAX <= open.len()
            && let Some(other) = open.keys().next().copied()
        {
            open.remove(&other);
        }
        open.insert(number, Arc::clone(&file));
        Ok(Some(file))
    }

    /// All bytes are there: attributes, or out with it.
    fn whole(&self, number: u32, state: &State, work: &mut Work, hash: blake3::Hash) -> Result<()> {
        if *hash.as_bytes() != *state.plan.hash.as_bytes() {
            return self.lose_file(number, state, work, Loss::Damaged("its content is not what its manifest says"));
        }
        if let Some(staging) = &self.staging {
            let Some(file) = self.file(staging, number, state, work)? else { return Ok(()) };
            staging
                .finish_file(&file, &state.plan.attributes)
                .map_err(|errno| self.disk(state, "set attributes of", errno.into()))?;
            self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        }
        self.written.fetch_add(state.plan.stored_bytes, Ordering::Relaxed);
        Ok(())
    }

    fn lose_file(&self, number: u32, state: &State, work: &mut Work, loss: Loss<'_>) -> Result<()> {
        if std::mem::replace(&mut work.is_lost, true) {
            return Ok(());
        }
        work.hashed = None;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        if let (Some(staging), true) = (&self.staging, work.made) {
            let removed = staging.remove_file(&state.plan.path);
            removed.map_err(|errno| self.disk(state, "remove", errno.into()))?;
        }
        let path = state.plan.name.clone();
        let (files, lost) = match loss {
            Loss::Damaged(why) => {
                self.progress.tell(Event::Damaged { path: path.clone(), why: why.to_owned() });
                (&self.damaged, DamagedFile { path, why: why.to_owned() })
            }
            Loss::LeftOut(why) => (&self.left_out, DamagedFile { path, why }),
        };
        files.lock().unwrap_or_else(PoisonError::into_inner).push(lost);
        Ok(())
    }

    fn disk(&self, state: &State, what: &str, cause: std::io::Error) -> Error {
        Error::file(what, state.plan.path.to_string(), cause)
    }
}

impl State {
    /// Writes stored bytes where they belong, holes left out.
    fn write(&self, file: &File, mut stored: u64, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let (offset, room) = self.place(stored);
            let (now, rest) = bytes.split_at(usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len())));
            file.write_all_at(now, offset)?;
            if FLUSH_FROM_BYTES <= self.plan.stored_bytes {
                begin_to_flush(file, offset, now.len() as u64);
            }
            stored += now.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Where a stored byte goes, and how many behind it go behind it.
    fn place(&self, stored: u64) -> (u64, u64) {
        let segments = &self.plan.segments;
        match segments.partition_point(|segment| segment.stored <= stored).checked_sub(1) {
            None => (stored, u64::MAX),
            Some(at) => {
                let within = stored - segments[at].stored;
                (segments[at].offset + within, segments[at].bytes - within)
            }
        }
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
