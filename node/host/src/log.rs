//! A log of records in numbered append-only files: `1.log`, `2.log`, …
//!
//! ```text
//!   append(group) ─▶ written at once, starting on a 4 KiB block ─▶ sync ─▶ durable
//!
//!   1.log   [group][group][group]      cut to size and synced before 2.log is made
//!   2.log   [group][group]····         the last one grows; recovery cuts its torn tail
//! ```
//!
//! Promises: what [`AppendLog::sync`] answered for is read back equal after any crash, in order; nothing is read back
//! that was not appended; a group comes back whole or not at all; opening twice finds the same. Bytes that were durable
//! and do not verify any more are [`AppendError::Damaged`], never a shorter log (but for the last group written, which
//! nothing can tell from a torn one).
//!
//! Not here: what records mean, who waits for a sync, which files may go (the owner knows).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::Host;
use crate::aligned::BLOCK;
use crate::append::{AppendError, AppendFile, SetAside, failure};
use crate::files::{DiskFile, Files, Open};
use crate::record::{HEADER_BYTES, Header, PAYLOAD_BYTES_MAX, Place, RECORD_ALIGN};
use crate::window::{PIECE_BYTES, Window};

const BLOCK_BYTES: u64 = BLOCK as u64;

/// Where a record lies. Positions are ordered as their records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The file's number.
    pub file: u64,
    /// The first byte of the record in it.
    pub offset: u64,
}

/// A record as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The caller's.
    pub kind: u8,
    /// The caller's bytes.
    pub payload: Vec<u8>,
}

/// The writing end. One owner, on one lane.
#[derive(Debug)]
pub struct AppendLog {
    host: Host,
    directory: PathBuf,
    file_bytes_max: u64,
    number: u64,
    salt: u64,
    current: AppendFile,
    open_files: Arc<OpenFiles>,
}

impl AppendLog {
    /// The most bytes that one record may carry.
    pub const RECORD_BYTES_MAX: usize = PAYLOAD_BYTES_MAX;

    /// Opens the log in `directory`, making it if it is not there, and shows every record in order. A torn tail is cut
    /// off. A file takes groups until it has `file_bytes_max` bytes.
    ///
    /// [`AppendError::Damaged`] means that this log has lost what it had promised to keep.
    pub fn open(
        host: &Host,
        directory: &Path,
        file_bytes_max: u64,
        mut visit: impl FnMut(Position, Record),
    ) -> Result<Self, AppendError> {
        let files = &**host.files();
        files.create_dir_all(directory).map_err(|cause| failure(directory, "made", cause))?;
        let numbers = numbers(files, directory)?;
        let mut last = None;
        for (at, &number) in numbers.iter().enumerate() {
            let path = path(directory, number);
            if numbers[0] + at as u64 != number {
                return Err(AppendError::Damaged { path: self::path(directory, numbers[0] + at as u64), offset: 0 });
            }
            let is_last = at + 1 == numbers.len();
            last = Some(recover(files, &path, number, is_last, &mut visit)?);
        }
        let (number, current, salt) = match (numbers.last(), last) {
            (Some(&number), Some(found)) => {
                (number, AppendFile::open(files, &path(directory, number), SetAside::Zeros, found.end)?, found.salt)
            }
            _ => (1, AppendFile::create(files, &path(directory, 1), SetAside::Zeros)?, None),
        };
        let open_files = Arc::new(OpenFiles { directory: directory.to_owned(), files: RwLock::default() });
        for &number in &numbers {
            let path = path(directory, number);
            let file = files.open(&path, Open::Read).map_err(|cause| failure(&path, "opened", cause))?;
            open_files.insert(number, file);
        }
        open_files.insert(number, Arc::clone(current.file()));
        let salt = salt.unwrap_or_else(|| random(host));
        Ok(Self {
            host: host.clone(),
            directory: directory.to_owned(),
            file_bytes_max,
            number,
            salt,
            current,
            open_files,
        })
    }

    /// Appends records as one group: after a crash all of them are there or none. They can be read at once and are
    /// durable after [`AppendLog::sync`]. Gives back where each lies. An empty group does nothing.
    ///
    /// # Panics
    ///
    /// If a record is longer than [`AppendLog::RECORD_BYTES_MAX`].
    pub fn append(&mut self, records: &[(u8, &[u8])]) -> Result<Vec<Position>, AppendError> {
        if self.file_bytes_max <= self.current.end() {
            self.rotate()?;
        }
        let framed = |payload: &[u8]| (HEADER_BYTES + payload.len()).next_multiple_of(RECORD_ALIGN) as u64;
        self.current.reserve(records.iter().map(|(_, payload)| framed(payload)).sum())?;
        let mut positions = Vec::with_capacity(records.len());
        for (at, &(kind, payload)) in records.iter().enumerate() {
            assert!(payload.len() <= PAYLOAD_BYTES_MAX, "a record of {} bytes does not fit a log", payload.len());
            let offset = self.current.position().next_multiple_of(RECORD_ALIGN as u64);
            let header = Header {
                kind,
                more: at + 1 < records.len(),
                length: payload.len() as u32,
                salt: self.salt,
                durable: self.current.durable(),
            };
            let header = header.write(Place { file: self.number, offset }, payload);
            let staged = self.current.stage(&[&header, payload], RECORD_ALIGN)?;
            assert_eq!(staged, offset, "a record lies where its checksum says");
            positions.push(Position { file: self.number, offset });
        }
        self.current.flush()?;
        Ok(positions)
    }

    /// Makes everything appended durable, with one `fdatasync`.
    pub fn sync(&mut self) -> Result<(), AppendError> {
        self.current.sync()
    }

    /// Cuts and syncs the current file and starts the next.
    pub fn rotate(&mut self) -> Result<(), AppendError> {
        self.current.trim()?;
        let number = self.number + 1;
        self.current = AppendFile::create(&**self.host.files(), &path(&self.directory, number), SetAside::Zeros)?;
        self.number = number;
        self.salt = random(&self.host);
        self.open_files.insert(number, Arc::clone(self.current.file()));
        Ok(())
    }

    /// The file that is appended to.
    pub fn current_file(&self) -> u64 {
        self.number
    }

    /// The files that are there, oldest first.
    pub fn file_numbers(&self) -> Vec<u64> {
        self.open_files.numbers()
    }

    /// How many bytes all files take, without what is set aside.
    pub fn bytes(&self) -> Result<u64, AppendError> {
        let mut bytes = self.current.end();
        for number in self.open_files.numbers() {
            if number != self.number {
                let file = self.open_files.get(number)?;
                bytes += file.len().map_err(|cause| failure(&path(&self.directory, number), "measured", cause))?;
            }
        }
        Ok(bytes)
    }

    /// Removes the files with numbers below `first_kept`, oldest first, so that no crash leaves a gap. The current file
    /// always stays.
    pub fn remove_before(&mut self, first_kept: u64) -> Result<(), AppendError> {
        for number in self.open_files.numbers() {
            if first_kept <= number || number == self.number {
                break;
            }
            let path = path(&self.directory, number);
            let files = self.host.files();
            files.remove(&path).map_err(|cause| failure(&path, "removed", cause))?;
            files.sync_dir(&self.directory).map_err(|cause| failure(&path, "removed", cause))?;
            self.open_files.remove(number);
        }
        Ok(())
    }

    /// The reading end, for any lane.
    pub fn reader(&self) -> LogReader {
        LogReader { open_files: Arc::clone(&self.open_files) }
    }
}

/// Reads records by position. Clones read the same log.
#[derive(Clone, Debug)]
pub struct LogReader {
    open_files: Arc<OpenFiles>,
}

impl LogReader {
    /// The record at a position that `append` or `open` gave out. [`AppendError::Damaged`] if it does not verify.
    pub fn read(&self, position: Position) -> Result<Record, AppendError> {
        let file = self.open_files.get(position.file)?;
        let path = || path(&self.open_files.directory, position.file);
        let damaged = || AppendError::Damaged { path: path(), offset: position.offset };
        let read = |bytes: &mut [u8], offset| match file.read_exact_at(bytes, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(damaged()),
            read => read.map_err(|cause| failure(&path(), "read", cause)),
        };
        let mut header_bytes = [0; HEADER_BYTES];
        read(&mut header_bytes, position.offset)?;
        let header = Header::read(&header_bytes).ok_or_else(damaged)?;
        let mut payload = vec![0; header.length as usize];
        read(&mut payload, position.offset + HEADER_BYTES as u64)?;
        let place = Place { file: position.file, offset: position.offset };
        if !Header::verifies(place, &header_bytes, &payload) {
            return Err(damaged());
        }
        Ok(Record { kind: header.kind, payload })
    }
}

#[derive(Debug)]
struct OpenFiles {
    directory: PathBuf,
    files: RwLock<BTreeMap<u64, Arc<dyn DiskFile>>>,
}

impl OpenFiles {
    fn get(&self, number: u64) -> Result<Arc<dyn DiskFile>, AppendError> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let found = files.get(&number).map(Arc::clone);
        found.ok_or_else(|| AppendError::Damaged { path: path(&self.directory, number), offset: 0 })
    }

    fn insert(&self, number: u64, file: Arc<dyn DiskFile>) {
        self.files.write().unwrap_or_else(PoisonError::into_inner).insert(number, file);
    }

    fn remove(&self, number: u64) {
        self.files.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    fn numbers(&self) -> Vec<u64> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}

struct Recovered {
    /// The end of the last whole group, on a block.
    end: u64,
    /// `None` if the file has no record.
    salt: Option<u64>,
}

/// Shows the records of one file and finds its end.
fn recover(
    files: &dyn Files,
    path: &Path,
    number: u64,
    is_last: bool,
    visit: &mut impl FnMut(Position, Record),
) -> Result<Recovered, AppendError> {
    let failed = |cause| failure(path, "read", cause);
    let file = files.open(path, Open::Read).map_err(failed)?;
    let mut window = Window::new(&*file, PIECE_BYTES).map_err(failed)?;
    let mut found = Recovered { end: 0, salt: None };
    while let Some(group) = read_group(&mut window, number, found.end, found.salt).map_err(failed)? {
        found.end = group.end;
        found.salt = Some(group.salt);
        for (offset, record) in group.records {
            visit(Position { file: number, offset }, record);
        }
    }
    // A file that has a successor was cut and synced before the successor was made.
    let is_whole = is_last || window.file_bytes() == found.end;
    if !is_whole || was_durable(&mut window, number, &found).map_err(failed)? {
        return Err(AppendError::Damaged { path: path.to_owned(), offset: found.end });
    }
    Ok(found)
}

struct Group {
    records: Vec<(u64, Record)>,
    salt: u64,
    end: u64,
}

/// The whole group that starts at `start`; `None` if there is none.
fn read_group(window: &mut Window<'_>, number: u64, start: u64, salt: Option<u64>) -> io::Result<Option<Group>> {
    let mut group = Group { records: Vec::new(), salt: 0, end: start };
    loop {
        let offset = group.end;
        let Some((header, payload)) = read_record(window, number, offset)? else {
            return Ok(None);
        };
        let expected = salt.or((!group.records.is_empty()).then_some(group.salt));
        if expected.is_some_and(|expected| expected != header.salt) {
            return Ok(None);
        }
        group.salt = header.salt;
        group.end = offset + HEADER_BYTES as u64 + u64::from(header.length);
        group.records.push((offset, Record { kind: header.kind, payload }));
        if !header.more {
            group.end = group.end.next_multiple_of(BLOCK_BYTES);
            return Ok(Some(group));
        }
        group.end = group.end.next_multiple_of(RECORD_ALIGN as u64);
    }
}

/// The record at `offset`, if what lies there verifies.
fn read_record(window: &mut Window<'_>, number: u64, offset: u64) -> io::Result<Option<(Header, Vec<u8>)>> {
    let Some(header) = Header::read(window.bytes(offset, HEADER_BYTES)?) else {
        return Ok(None);
    };
    let whole = window.bytes(offset, HEADER_BYTES + header.length as usize)?;
    if whole.len() < HEADER_BYTES + header.length as usize {
        return Ok(None);
    }
    let (header_bytes, payload) = whole.split_at(HEADER_BYTES);
    let verifies = Header::verifies(Place { file: number, offset }, header_bytes, payload);
    Ok(verifies.then(|| (header, payload.to_vec())))
}

/// Whether any group behind the recovered end proves that more than that was durable once.
fn was_durable(window: &mut Window<'_>, number: u64, found: &Recovered) -> io::Result<bool> {
    let mut offset = found.end + BLOCK_BYTES;
    while offset < window.file_bytes() {
        if let Some((header, _)) = read_record(window, number, offset)?
            && found.end < header.durable
            && found.salt.is_none_or(|salt| salt == header.salt)
        {
            return Ok(true);
        }
        offset += BLOCK_BYTES;
    }
    Ok(false)
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number}.log"))
}

/// The numbers of the log's files, lowest first. Other names are none of ours.
fn numbers(files: &dyn Files, directory: &Path) -> Result<Vec<u64>, AppendError> {
    let names = files.list(directory).map_err(|cause| failure(directory, "listed", cause))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn random(host: &Host) -> u64 {
    let mut bytes = [0; 8];
    host.entropy().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
