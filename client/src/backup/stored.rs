//! An open file, as far as it is stored: its holes are found and not read.
//!
//! ```text
//!   file    ▓▓▓▓▓░░░░░░░▓▓▓▓▓▓▓▓░░░░      lseek finds where data and holes begin
//!   fill    ▓▓▓▓▓▓▓▓▓▓▓▓▓                 what is read, hashed and cut
//! ```
//!
//! Promises: size and holes describe just the bytes that were read, also of a file that changed meanwhile, and that it
//! did is known in the end. Not here: what becomes of the bytes (`read.rs`).

use std::fs::File;
use std::io::Read as _;

use rustix::fs::{SeekFrom, Stat};
use rustix::io::Errno;
use strongroom_format::manifest::holes::{Hole, Segment, segments};

/// More holes do not fit into an entry: the smallest are read as the zeros that they are.
const HOLES_MAX: usize = 1 << 14;
/// A file of so many bytes is looked at more closely than by what its blocks say.
const LARGE_BYTES: u64 = 1 << 20;

/// A file that is being read.
pub(crate) struct Stored {
    file: File,
    /// What it was when it was opened.
    before: Stat,
    holes: Vec<Hole>,
    /// What lies between them, and will be read.
    segments: Vec<Segment>,
    /// The segment that is being read, and how much of it has been.
    at: usize,
    within: u64,
    is_short: bool,
}

/// What a file was, as far as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Described {
    pub size: u64,
    pub holes: Vec<Hole>,
    /// That it is not the same any more, for people.
    pub changed: Option<&'static str>,
}

impl Stored {
    /// Finds the holes. What the file gets behind its present end is not read.
    pub(crate) fn new(file: File, before: Stat) -> Self {
        let size = u64::try_from(before.st_size).unwrap_or(0);
        let blocks_bytes = u64::try_from(before.st_blocks).unwrap_or(u64::MAX).saturating_mul(512);
        let holes = if size < LARGE_BYTES && size <= blocks_bytes { Vec::new() } else { holes_of(&file, size) };
        let segments = segments(size, &holes);
        Self { file, before, holes, segments, at: 0, within: 0, is_short: false }
    }

    /// How many bytes there are to read.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.last().map_or(0, |last| last.stored + last.bytes)
    }

    /// Appends the next bytes, at most so many; none at the end.
    pub(crate) fn fill(&mut self, buffer: &mut Vec<u8>, most: usize) -> std::io::Result<usize> {
        let mut filled = 0;
        while filled < most
            && !self.is_short
            && let Some(segment) = self.segments.get(self.at)
        {
            if self.within == 0 && !self.holes.is_empty() {
                rustix::fs::seek(&self.file, SeekFrom::Start(segment.offset))?;
            }
            let wanted = (segment.bytes - self.within).min((most - filled) as u64);
            let read = (&self.file).take(wanted).read_to_end(buffer)?;
            filled += read;
            self.within += read as u64;
            self.is_short = (read as u64) < wanted;
            if self.within == segment.bytes {
                (self.at, self.within) = (self.at + 1, 0);
            }
        }
        Ok(filled)
    }

    /// How many stored bytes follow one of them, itself included, in its stretch of the file between two multiples of
    /// `window`, holes counted.
    pub(crate) fn to_window_end(&self, stored: u64, window: u64) -> u64 {
        let of = |at: u64, key: fn(&Segment) -> u64| {
            let behind = self.segments.partition_point(|segment| key(segment) <= at);
            behind.checked_sub(1).map(|at| self.segments[at])
        };
        let Some(segment) = of(stored, |segment| segment.stored) else { return window };
        let offset = segment.offset + (stored - segment.stored);
        let end = (offset / window + 1).saturating_mul(window);
        let last = of(end - 1, |segment| segment.offset).unwrap_or(segment);
        last.stored + (end - last.offset).min(last.bytes) - stored
    }

    /// Looks at the file again, and says what was read of it.
    pub(crate) fn finish(mut self) -> Described {
        let after = rustix::fs::fstat(&self.file);
        let look = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec);
        let is_same = after.is_ok_and(|after| look(&after) == look(&self.before));
        let mut size = u64::try_from(self.before.st_size).unwrap_or(0);
        if self.is_short {
            // It ends where reading ended.
            size = self.segments.get(self.at).map_or(size, |segment| segment.offset + self.within);
            self.holes.retain(|hole| hole.offset < size);
        }
        let changed = match (self.is_short, is_same) {
            (true, _) => Some("it became shorter while it was read"),
            (false, false) => Some("it changed while it was read"),
            (false, true) => None,
        };
        Described { size, holes: self.holes, changed }
    }
}

/// Where a file of `size` bytes has holes. A file system that does not say has none.
fn holes_of(file: &File, size: u64) -> Vec<Hole> {
    let mut holes: Vec<Hole> = Vec::new();
    let (mut end, mut least) = (0, 1);
    while end < size {
        let data = match rustix::fs::seek(file, SeekFrom::Data(end)) {
            Ok(data) => data.min(size),
            // Nothing but a hole follows.
            Err(Errno::NXIO) => size,
            Err(_) => break,
        };
        if end + least <= data {
            holes.push(Hole { offset: end, bytes: data - end });
        }
        while HOLES_MAX < holes.len() {
            least = (2 * least).max(4096);
            holes.retain(|hole| least <= hole.bytes);
        }
        if data == size {
            break;
        }
        end = match rustix::fs::seek(file, SeekFrom::Hole(data)) {
            Ok(hole) if data < hole => hole.min(size),
            // It changes under our hands.
            Ok(_) | Err(_) => break,
        };
    }
    // Reading begins at the beginning.
    match rustix::fs::seek(file, SeekFrom::Start(0)) {
        Ok(_) => holes,
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    fn opened(path: &std::path::Path) -> Stored {
        let file = File::open(path).unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        Stored::new(file, stat)
    }

    fn read(stored: &mut Stored, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while stored.fill(&mut all, step).unwrap() != 0 {}
        all
    }

    /// Writes at these offsets into a file of `size` bytes; `None` where the file system keeps no holes.
    fn sparse(at: &std::path::Path, size: u64, writes: &[(u64, usize)]) -> Option<Vec<u8>> {
        let file = File::create(at).unwrap();
        file.set_len(size).unwrap();
        for (offset, bytes) in writes {
            file.write_all_at(&vec![7; *bytes], *offset).unwrap();
        }
        file.sync_all().unwrap();
        if opened(at).holes.is_empty() {
            eprintln!("the file system keeps no holes; nothing was tested");
            return None;
        }
        Some(std::fs::read(at).unwrap())
    }

    /// Puts a file together again.
    fn put_together(described: &Described, stored: &[u8]) -> Vec<u8> {
        let mut whole = vec![0; usize::try_from(described.size).unwrap()];
        for Segment { stored: from, offset, bytes } in segments(described.size, &described.holes) {
            let [from, offset, bytes] = [from, offset, bytes].map(|n| usize::try_from(n).unwrap());
            whole[offset..offset + bytes].copy_from_slice(&stored[from..from + bytes]);
        }
        whole
    }

    #[test]
    fn holes_are_not_read_and_what_was_read_makes_the_file_again() {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().join("f");
        for (size, writes) in [
            (1 << 22, vec![(0, 100), (1 << 20, 70_000), ((1 << 22) - 1, 1)]),
            (300_000, vec![(130_000, 10)]),
            (1 << 21, vec![(1 << 20, 4096)]),
            (1 << 21, vec![]),
        ] {
            let Some(content) = sparse(&at, size, &writes) else { return };
            for step in [1000, 1 << 16, 1 << 24] {
                let mut stored = opened(&at);
                let planned = stored.bytes();
                let read = read(&mut stored, step);
                assert_eq!(read.len() as u64, planned);
                assert!(planned < size / 2, "{planned} of {size} bytes were read");
                let described = stored.finish();
                assert_eq!((described.size, described.changed), (size, None));
                assert!(put_together(&described, &read) == content);
            }
        }
    }

    #[test]
    fn a_file_without_holes_is_read_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().join("f");
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        for bytes in [0, 1, 5000, 3_000_000] {
            std::fs::write(&at, &content[..bytes]).unwrap();
            let mut stored = opened(&at);
            assert!(read(&mut stored, 4096) == content[..bytes]);
            assert_eq!(stored.finish(), Described { size: bytes as u64, holes: vec![], changed: None });
        }
    }

    #[test]
    fn a_file_that_changes_shrinks_or_grows_meanwhile_is_described_as_it_was_read() {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().join("f");
        let write = |bytes: usize| std::fs::write(&at, vec![5; bytes]).unwrap();
        let shrink = |bytes: u64| File::options().write(true).open(&at).unwrap().set_len(bytes).unwrap();

        write(10_000);
        let mut stored = opened(&at);
        shrink(6000);
        assert_eq!(read(&mut stored, 4096), vec![5; 6000]);
        let shorter = Some("it became shorter while it was read");
        assert_eq!(stored.finish(), Described { size: 6000, holes: vec![], changed: shorter });

        write(10_000);
        let mut stored = opened(&at);
        let mut start = Vec::new();
        stored.fill(&mut start, 1000).unwrap();
        write(20_000);
        start.extend(read(&mut stored, 4096));
        assert_eq!(start, vec![5; 10_000]);
        let changed = Some("it changed while it was read");
        assert_eq!(stored.finish(), Described { size: 10_000, holes: vec![], changed });

        let Some(_) = sparse(&at, 1 << 21, &[(0, 4096), (1 << 20, 4096), ((1 << 21) - 4096, 4096)]) else { return };
        let mut stored = opened(&at);
        shrink((1 << 20) + 100);
        let bytes = read(&mut stored, 1 << 20);
        let described = stored.finish();
        assert_eq!((bytes.len(), described.size, described.holes.len()), (4196, (1 << 20) + 100, 1));
        assert!(put_together(&described, &bytes) == std::fs::read(&at).unwrap());
    }

    #[test]
    fn a_window_ends_where_the_files_offset_is_a_multiple_of_it() {
        let holes = vec![Hole { offset: 0, bytes: 10 }, Hole { offset: 15, bytes: 20 }, Hole { offset: 62, bytes: 1 }];
        let file = tempfile::tempfile().unwrap();
        let stored = Stored {
            before: rustix::fs::fstat(&file).unwrap(),
            file,
            segments: segments(70, &holes),
            holes,
            at: 0,
            within: 0,
            is_short: false,
        };
        // Stored byte 0 lies at 10, 5 at 35, 32 at 63: windows of 16 end at 16, 48, 64, 80.
        for (at, left) in [(0, 5), (4, 1), (5, 13), (17, 1), (18, 15), (32, 1), (33, 6), (38, 1)] {
            assert_eq!(stored.to_window_end(at, 16), left, "stored byte {at}");
        }
    }
}
