//! Files that break an order of syncs. A store over them must be caught: that proves that the order is tested and not
//! only kept.
//!
//! Production code has no switch for any of this: a lie is a [`Files`] around another one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom_host::files::{DiskFile, Files, Open};

/// What is not done although it is answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Everything is done.
    None,
    /// Names are never made durable.
    Directories,
    /// Removed names are never made durable, until others are.
    Removals,
    /// Bytes of files whose path contains this are never made durable.
    Files(&'static str),
    /// A file that was cut is made durable only after the next file was.
    CutAfterNext,
    /// The first sync of a file that was there before does nothing.
    FirstSync,
    /// Syncs of paths that contain the first wait until files whose path contains the second were synced twice.
    HeldBack(&'static str, &'static str),
    /// Syncs of files whose path contains this are done when the next change of one of them begins: the last is missing.
    Late(&'static str),
}

/// See the head of the file.
#[derive(Clone, Debug)]
pub(crate) struct Lying {
    below: Arc<dyn Files>,
    lie: Lie,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    files: Vec<Arc<dyn DiskFile>>,
    directories: Vec<PathBuf>,
    /// What waits for one sync more.
    next: (Vec<Arc<dyn DiskFile>>, Vec<PathBuf>),
    /// Whether a name was removed since the last sync of a directory.
    is_removal: bool,
}

impl Lying {
    pub(crate) fn new(below: Arc<dyn Files>, lie: Lie) -> Self {
        Self { below, lie, held: Arc::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file is about to change: does what was only late.
    fn catch_up(&self, path: &Path) {
        match self.lie {
            Lie::Late(part) if contains(path, part) => {
                let files = std::mem::take(&mut self.held().files);
                for file in files {
                    let _ = file.sync_data();
                }
            }
            _ => {}
        }
    }

    /// Does what was held back the time before. What fails now was answered for long ago.
    fn release(&self) {
        let (files, directories) = {
            let mut held = self.held();
            let fresh = (std::mem::take(&mut held.files), std::mem::take(&mut held.directories));
            std::mem::replace(&mut held.next, fresh)
        };
        for file in files {
            let _ = file.sync_data();
        }
        for directory in directories {
            let _ = self.below.sync_dir(&directory);
        }
    }
}

fn contains(path: &Path, part: &str) -> bool {
    path.to_string_lossy().contains(part)
}

impl Files for Lying {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.below.open(path, how)?;
        Ok(Arc::new(LyingFile {
            file,
            files: self.clone(),
            path: path.to_owned(),
            was_there: how == Open::Write,
            is_cut: AtomicBool::new(false),
            is_synced: AtomicBool::new(false),
        }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.below.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match self.lie {
            Lie::Directories => Ok(()),
            Lie::Removals if std::mem::take(&mut self.held().is_removal) => Ok(()),
            Lie::HeldBack(what, _) if contains(path, what) => {
                self.held().directories.push(path.to_owned());
                Ok(())
            }
            _ => self.below.sync_dir(path),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.below.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.below.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.held().is_removal = true;
        self.below.remove(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.below.exists(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.below.free_bytes(path)
    }
}

#[derive(Debug)]
struct LyingFile {
    file: Arc<dyn DiskFile>,
    files: Lying,
    path: PathBuf,
    was_there: bool,
    is_cut: AtomicBool,
    is_synced: AtomicBool,
}

impl DiskFile for LyingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.files.catch_up(&self.path);
        self.file.write_at(bytes, offset)
    }

    fn preallocate(&self, from: u64, to: u64) -> io::Result<()> {
        self.files.catch_up(&self.path);
        self.file.preallocate(from, to)
    }

    fn punch(&self, from: u64, to: u64) -> io::Result<()> {
        self.files.catch_up(&self.path);
        self.file.punch(from, to)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.files.catch_up(&self.path);
        self.is_cut.store(true, Ordering::Relaxed);
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        let is_first = !self.is_synced.swap(true, Ordering::Relaxed);
        match self.files.lie {
            Lie::Files(part) if contains(&self.path, part) => Ok(()),
            Lie::FirstSync if self.was_there && is_first => Ok(()),
            Lie::CutAfterNext => {
                if self.is_cut.swap(false, Ordering::Relaxed) {
                    self.files.held().files.push(Arc::clone(&self.file));
                    return Ok(());
                }
                let synced = self.file.sync_data();
                self.files.release();
                synced
            }
            Lie::HeldBack(what, _) | Lie::Late(what) if contains(&self.path, what) => {
                self.files.held().files.push(Arc::clone(&self.file));
                Ok(())
            }
            Lie::HeldBack(_, until) if contains(&self.path, until) => {
                let synced = self.file.sync_data();
                self.files.release();
                synced
            }
            _ => self.file.sync_data(),
        }
    }

    fn lock(&self) -> io::Result<()> {
        self.file.lock()
    }

    fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }
}
