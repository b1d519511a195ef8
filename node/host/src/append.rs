//! The append-only file on which the log and the segments stand.
//!
//! ```text
//!   stage(bytes) stage(bytes) … ──▶ aligned buffer ──flush──▶ whole 4 KiB blocks ──sync──▶ durable
//!   │◀────────── one group ─────────────────────▶│ padded with zeros to a block
//!
//!   file:  [ group ][ group ][ group ]·····set-aside zeros·····
//!          0                          end                       allocated, in steps of 1, 4, 16, 64 MiB
//! ```
//!
//! Promises: **a block that holds a group is never written again**, so a torn write can only hurt what nobody was told is safe;
//! each group starts on a block; space is set aside before bytes are written, so that a full disk is refused before
//! damage; **after one failed write or sync every later call fails**, and a sync is never retried, because the kernel
//! forgets what it could not write.
//!
//! Why groups are padded instead of rewriting the last block: rewriting would put acknowledged records at risk in every
//! torn write, and it takes a buffered write where direct I/O costs half. The price is at most 4 KiB of file per sync.
//!
//! Not here: what records look like and where the last good one ends (`log.rs` and node/chunks, each for its own),
//! who waits for which sync (the owners' lanes).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aligned::{AlignedBuffer, BLOCK};
use crate::files::{DiskFile, Files, Open};

/// How much is set aside at a time; the last step repeats.
const STEPS_BYTES: [u64; 4] = [1 << 20, 4 << 20, 16 << 20, 64 << 20];

/// Staged bytes are written out when they reach this, and the buffer is not kept if it grew beyond.
const BUFFER_BYTES_MAX: usize = 4 << 20;

/// How far zeros are written ahead of small groups.
const ZEROS_BYTES: usize = 1 << 20;

/// A larger group is written straight into unwritten space.
const ZEROED_GROUP_BYTES_MAX: u64 = 64 << 10;

const BLOCK_BYTES: u64 = BLOCK as u64;

/// What lies in space that was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetAside {
    /// Nothing: best for large groups, whose bytes would be written twice otherwise.
    Unwritten,
    /// Zeros, written 1 MiB ahead of small groups: a sync into space that was written before needs no
    /// journal of the file system. Measured on ext4 with groups of one block: 125 µs a sync, not 200.
    Zeros,
}

/// Why an append-only file took nothing.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// There is no room. Nothing was written and nothing is wrong: free space or refuse work.
    #[error("no room on the disk for {path}")]
    Full {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// The disk failed. The file is poisoned: end the process.
    #[error("{path} cannot be {doing}")]
    Failed {
        /// The file.
        path: PathBuf,
        /// What was tried, as a participle: "written".
        doing: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// An earlier call failed, so nobody knows what is on the disk: end the process.
    #[error("{path} is poisoned by an earlier failure")]
    Poisoned {
        /// The file.
        path: PathBuf,
    },
    /// What had been made durable is not there any more: do not trust this store, rebuild it from others.
    #[error("{path} is damaged at byte {offset}")]
    Damaged {
        /// The file, or the missing one.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
    },
}

impl AppendError {
    /// Whether the disk failed: what goes on after it cannot be trusted.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Full { .. } => false,
            Self::Failed { .. } | Self::Poisoned { .. } | Self::Damaged { .. } => true,
        }
    }
}

/// A file that only grows. One owner appends; readers hold [`AppendFile::file`].
#[derive(Debug)]
pub struct AppendFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    /// Everything below is written. A multiple of a block.
    end: u64,
    /// Everything below survives a crash. A multiple of a block, never above `end`.
    durable: u64,
    /// Everything below is set aside.
    allocated: u64,
    set_aside: SetAside,
    /// Everything from `end` up to here holds zeros that were written.
    zeroed: u64,
    /// How many steps were set aside since the file was opened.
    steps: usize,
    /// What is staged from `end` on.
    staged: AlignedBuffer,
    poisoned: bool,
}

impl AppendFile {
    /// Makes a new file and its name durable. `AlreadyExists` comes back as [`AppendError::Failed`].
    pub fn create(files: &dyn Files, path: &Path, set_aside: SetAside) -> Result<Self, AppendError> {
        let failed = |cause| failure(path, "made", cause);
        let file = files.open(path, Open::New).map_err(|cause| match cause.kind() {
            io::ErrorKind::StorageFull => AppendError::Full { path: path.to_owned() },
            _ => failed(cause),
        })?;
        if let Some(directory) = path.parent() {
            files.sync_dir(directory).map_err(failed)?;
        }
        Ok(Self::over(file, path, set_aside, 0))
    }

    /// Opens a file that recovery found good up to `end`, which is rounded up to a block. What lies behind is cut off,
    /// and the cut is made durable before anything is written there: else a second crash could bring old bytes back
    /// behind new ones. So is what lies before, which a killed process may have written and not synced. (Where direct I/O
    /// works, recovery read it from the disk itself. Where not, after a *failed* sync, it may have read what only the
    /// page cache has: nobody was told of that, and only power lost before the next write reaches it would show.)
    pub fn open(files: &dyn Files, path: &Path, set_aside: SetAside, end: u64) -> Result<Self, AppendError> {
        let end = end.next_multiple_of(BLOCK_BYTES);
        let failed = |cause| failure(path, "opened", cause);
        let file = files.open(path, Open::Write).map_err(failed)?;
        if file.len().map_err(failed)? != end {
            file.set_len(end).map_err(failed)?;
        }
        file.sync_data().map_err(failed)?;
        if let Some(directory) = path.parent() {
            files.sync_dir(directory).map_err(failed)?;
        }
        Ok(Self::over(file, path, set_aside, end))
    }

    fn over(file: Arc<dyn DiskFile>, path: &Path, set_aside: SetAside, end: u64) -> Self {
        Self {
            file,
            path: path.to_owned(),
            end,
            durable: end,
            allocated: end,
            set_aside,
            zeroed: end,
            steps: 0,
            staged: AlignedBuffer::default(),
            poisoned: false,
        }
    }

    /// The file, for readers. Bytes below [`AppendFile::end`] never change.
    pub fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next group starts: everything below is written.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Everything below survives a crash.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Where the next staged byte would lie.
    pub fn position(&self) -> u64 {
        self.end + self.staged.len() as u64
    }

    /// Sets space aside so that `bytes` more can be staged. Call it before a group is staged: when it refuses with
    /// [`AppendError::Full`], nothing has happened.
    pub fn reserve(&mut self, bytes: u64) -> Result<(), AppendError> {
        self.reserve_within(bytes, || Ok(u64::MAX))
    }

    /// As [`AppendFile::reserve`], setting aside at most what `headroom` says when it must be asked: what its caller may
    /// still take from the disk.
    pub fn reserve_within(
        &mut self,
        bytes: u64,
        headroom: impl FnOnce() -> io::Result<u64>,
    ) -> Result<(), AppendError> {
        self.check()?;
        let wanted = (self.position() + bytes).next_multiple_of(BLOCK_BYTES);
        if wanted <= self.allocated {
            return Ok(());
        }
        let headroom = headroom().map_err(|cause| failure(&self.path, "given space", cause))?;
        let bound = self.allocated.saturating_add(headroom - headroom % BLOCK_BYTES);
        if bound < wanted {
            return Err(AppendError::Full { path: self.path.clone() });
        }
        let step = STEPS_BYTES[self.steps.min(STEPS_BYTES.len() - 1)];
        let generous = wanted.max(self.allocated + step).min(bound);
        match self.preallocate(generous) {
            // the last room of a disk is used in small pieces
            Err(AppendError::Full { .. }) if wanted < generous => self.preallocate(wanted),
            done => done,
        }
    }

    fn preallocate(&mut self, to: u64) -> Result<(), AppendError> {
        match self.file.preallocate(self.allocated, to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                return Err(AppendError::Full { path: self.path.clone() });
            }
            // Such a file system cannot promise room: a full disk then poisons instead of being refused.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(cause) => return Err(self.poison("lengthened", cause)),
        }
        self.allocated = to;
        self.steps += 1;
        Ok(())
    }

    /// Adds bytes to the group, at the next offset that is a multiple of `align` (a power of two up to a block), and
    /// says where they will lie. Bytes beyond the buffer are written at once.
    ///
    /// Refuses with [`AppendError::Full`] if the space was not reserved and is not there; the group then stands as it
    /// was staged.
    pub fn stage(&mut self, parts: &[&[u8]], align: usize) -> Result<u64, AppendError> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let padding = self.staged.len().next_multiple_of(align) - self.staged.len();
        self.reserve((padding + bytes) as u64)?;
        self.staged.pad(align);
        let offset = self.position();
        for part in parts {
            self.staged.extend(part);
        }
        if BUFFER_BYTES_MAX <= self.staged.len() {
            self.write_blocks()?;
        }
        Ok(offset)
    }

    /// Ends the group: pads it to a block and writes it. It is not durable yet.
    pub fn flush(&mut self) -> Result<(), AppendError> {
        self.check()?;
        self.staged.pad(BLOCK);
        self.write_blocks()
    }

    /// Writes the staged bytes that fill whole blocks.
    fn write_blocks(&mut self) -> Result<(), AppendError> {
        let whole = self.staged.len() - self.staged.len() % BLOCK;
        if whole == 0 {
            return Ok(());
        }
        let written = self
            .zero_ahead(self.end + whole as u64)
            .and_then(|()| self.file.write_at(&self.staged.bytes()[..whole], self.end));
        if let Err(cause) = written {
            return Err(self.poison("written", cause));
        }
        self.end += whole as u64;
        let rest = self.staged.bytes()[whole..].to_vec();
        if BUFFER_BYTES_MAX * 2 < self.staged.room() {
            self.staged = AlignedBuffer::default();
        }
        self.staged.clear();
        self.staged.extend(&rest);
        Ok(())
    }

    /// Before a small group is written up to `to`: zeros there and beyond, so that the groups behind it find
    /// written space.
    fn zero_ahead(&mut self, to: u64) -> io::Result<()> {
        if self.set_aside == SetAside::Unwritten || to <= self.zeroed || ZEROED_GROUP_BYTES_MAX < to - self.end {
            return Ok(());
        }
        let from = self.zeroed.max(self.end);
        let bytes = ((self.allocated - from) as usize).min(ZEROS_BYTES);
        let mut zeros = AlignedBuffer::default();
        zeros.resize(bytes);
        self.file.write_at(zeros.bytes(), from)?;
        self.zeroed = from + bytes as u64;
        Ok(())
    }

    /// Ends the group and makes everything written durable.
    pub fn sync(&mut self) -> Result<(), AppendError> {
        self.flush()?;
        if self.durable == self.end {
            return Ok(());
        }
        if let Err(cause) = self.file.sync_data() {
            return Err(self.poison("synced", cause));
        }
        self.durable = self.end;
        Ok(())
    }

    /// Cuts the file to what is written, durably: before another file takes over, and when it lies idle. Appending
    /// later sets space aside again.
    pub fn trim(&mut self) -> Result<(), AppendError> {
        self.flush()?;
        if self.end < self.allocated {
            if let Err(cause) = self.file.set_len(self.end) {
                return Err(self.poison("cut", cause));
            }
            self.allocated = self.end;
            self.zeroed = self.end;
            self.steps = 0;
        }
        if let Err(cause) = self.file.sync_data() {
            return Err(self.poison("synced", cause));
        }
        self.durable = self.end;
        Ok(())
    }

    fn check(&self) -> Result<(), AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned { path: self.path.clone() });
        }
        Ok(())
    }

    fn poison(&mut self, doing: &'static str, cause: io::Error) -> AppendError {
        self.poisoned = true;
        tracing::error!(path = %self.path.display(), doing, error = %cause, "an append-only file is poisoned");
        failure(&self.path, doing, cause)
    }
}

pub(crate) fn failure(path: &Path, doing: &'static str, cause: io::Error) -> AppendError {
    AppendError::Failed { path: path.to_owned(), doing, cause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::sim_disk::{Call, Fails, SimDisk};

    fn both(test: impl Fn(&dyn Files, &Path)) {
        let directory = tempfile::tempdir().unwrap();
        test(&Disk, directory.path());
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        test(&disk, Path::new("/d"));
    }

    #[test]
    fn every_group_starts_on_a_block_and_no_block_is_written_twice() {
        both(|files, directory| {
            let path = directory.join("f");
            let mut file = AppendFile::create(files, &path, SetAside::Zeros).unwrap();
            assert_eq!(file.stage(&[b"abc"], 8).unwrap(), 0);
            assert_eq!(file.stage(&[b"de", b"f"], 8).unwrap(), 8);
            file.sync().unwrap();
            assert_eq!((file.end(), file.durable()), (4096, 4096));
            assert_eq!(file.stage(&[&[7; 5000]], 4096).unwrap(), 4096);
            assert_eq!(file.stage(&[b"x"], 4096).unwrap(), 12288);
            file.sync().unwrap();
            let mut bytes = vec![0; 16384];
            file.file().read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(&bytes[..11], b"abc\0\0\0\0\0def");
            assert_eq!(bytes[4096..9096], [7; 5000]);
            assert_eq!(bytes[9096..12288], [0; 3192]);
            assert_eq!(file.file().len().unwrap(), 1 << 20);
            file.trim().unwrap();
            assert_eq!(file.file().len().unwrap(), 16384);
        });
    }

    #[test]
    fn a_large_group_goes_out_in_pieces_and_comes_back_whole() {
        both(|files, directory| {
            let mut file = AppendFile::create(files, &directory.join("f"), SetAside::Zeros).unwrap();
            let pieces: Vec<Vec<u8>> = (0..9_u8).map(|piece| vec![piece; 1_000_001]).collect();
            file.reserve(9 * 1_004_096).unwrap();
            let offsets: Vec<u64> = pieces.iter().map(|piece| file.stage(&[piece], 8).unwrap()).collect();
            file.sync().unwrap();
            for (piece, offset) in pieces.iter().zip(offsets) {
                let mut bytes = vec![0; piece.len()];
                file.file().read_exact_at(&mut bytes, offset).unwrap();
                assert_eq!(bytes, *piece);
            }
        });
    }

    #[test]
    fn a_hole_reads_as_zeros_and_the_rest_stays() {
        both(|files, directory| {
            let path = directory.join("f");
            let mut file = AppendFile::create(files, &path, SetAside::Zeros).unwrap();
            file.stage(&[&[7; 32768]], 4096).unwrap();
            file.sync().unwrap();
            file.file().punch(8192, 16384).unwrap();
            file.file().sync_data().unwrap();
            file.stage(&[&[8; 4096]], 4096).unwrap();
            file.sync().unwrap();
            file.trim().unwrap();
            let mut bytes = vec![1; 36864];
            file.file().read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!((&bytes[..8192], &bytes[8192..16384]), (&[7; 8192][..], &[0; 8192][..]));
            assert_eq!((&bytes[16384..32768], &bytes[32768..]), (&[7; 16384][..], &[8; 4096][..]));
            assert_eq!(file.file().len().unwrap(), 36864);
        });
    }

    #[test]
    fn one_failure_poisons_for_good() {
        for call in [Call::Write, Call::Sync] {
            let disk = SimDisk::new();
            disk.create_dir_all(Path::new("/d")).unwrap();
            let mut file = AppendFile::create(&disk, Path::new("/d/f"), SetAside::Zeros).unwrap();
            file.stage(&[b"abc"], 8).unwrap();
            disk.fail(call, "/d/f", Fails::Once);
            assert!(matches!(file.sync(), Err(AppendError::Failed { .. })));
            assert!(matches!(file.sync(), Err(AppendError::Poisoned { .. })));
            assert!(matches!(file.stage(&[b"abc"], 8), Err(AppendError::Poisoned { .. })));
            assert!(matches!(file.trim(), Err(AppendError::Poisoned { .. })));
        }
    }

    #[test]
    fn a_full_disk_is_refused_before_anything_is_written() {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        disk.set_capacity(16384);
        let mut file = AppendFile::create(&disk, Path::new("/d/f"), SetAside::Zeros).unwrap();
        file.reserve(16384).unwrap();
        file.stage(&[&[1; 8192]], 8).unwrap();
        file.sync().unwrap();
        let refused = file.reserve(8193).unwrap_err();
        assert!(matches!(refused, AppendError::Full { .. }));
        assert!(!refused.is_fatal());
        file.stage(&[&[1; 8000]], 8).unwrap();
        file.sync().unwrap();
        assert_eq!(file.end(), 16384);
    }
}
