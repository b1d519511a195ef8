//! The machine's own file system.
//!
//! A file that is written has two descriptors: one with `O_DIRECT`, where the file system has it, for transfers that
//! are aligned in memory, offset and length, and one through the page cache for all others. The kernel keeps the two
//! coherent. Direct transfers of 1 MiB into preallocated space reach more than twice the rate of buffered ones and leave
//! the cache to readers.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, OFlags, fallocate, flock, statvfs};
use rustix::io::retry_on_intr;

use crate::aligned::BLOCK;
use crate::files::{DiskFile, Files, Open};

/// The real file system.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Files for Disk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        match how {
            Open::Read => options.read(true),
            Open::Write => options.read(true).write(true),
            Open::New => options.read(true).write(true).create_new(true),
            Open::WriteOrNew => options.read(true).write(true).create(true).truncate(false),
        };
        let cached = options.open(path)?;
        // A file system without direct I/O says EINVAL here; then everything goes through the cache.
        let direct = OpenOptions::new()
            .read(true)
            .write(how != Open::Read)
            .custom_flags(OFlags::DIRECT.bits().cast_signed())
            .open(path)
            .ok();
        Ok(Arc::new(RealFile { cached, direct }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = parent(path);
        self.create_dir_all(parent)?;
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_dir(parent)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let space = statvfs(path)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

/// The directory that holds `path`; a bare name lies in the working directory.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

#[derive(Debug)]
struct RealFile {
    cached: File,
    direct: Option<File>,
}

impl RealFile {
    /// The descriptor that this transfer can use.
    fn way(&self, bytes: &[u8], offset: u64) -> &File {
        let aligned = !bytes.is_empty()
            && bytes.as_ptr().align_offset(BLOCK) == 0
            && bytes.len().is_multiple_of(BLOCK)
            && offset.is_multiple_of(BLOCK as u64);
        match &self.direct {
            Some(direct) if aligned => direct,
            _ => &self.cached,
        }
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.cached.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let way = self.way(bytes, offset);
        let mut done = 0;
        while done < bytes.len() {
            // A direct read comes back short and unaligned only where the file ends; what is left goes the other way.
            let way = if done.is_multiple_of(BLOCK) { way } else { &self.cached };
            match way.read_at(&mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.way(bytes, offset).write_all_at(bytes, offset)
    }

    fn preallocate(&self, from: u64, to: u64) -> io::Result<()> {
        if to <= from {
            return Ok(());
        }
        retry_on_intr(|| fallocate(&self.cached, FallocateFlags::empty(), from, to - from))?;
        Ok(())
    }

    fn punch(&self, from: u64, to: u64) -> io::Result<()> {
        if to <= from {
            return Ok(());
        }
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        retry_on_intr(|| fallocate(&self.cached, how, from, to - from))?;
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.cached.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        // std repeats it after EINTR only, which reports no write's fate
        self.cached.sync_data()
    }

    fn lock(&self) -> io::Result<()> {
        Ok(flock(&self.cached, FlockOperation::NonBlockingLockExclusive)?)
    }

    fn unlock(&self) -> io::Result<()> {
        Ok(flock(&self.cached, FlockOperation::Unlock)?)
    }
}
