//! A Raft snapshot: all rows of a group at one log index, as a file beside its state.
//!
//! ```text
//!   "SRSS" ‖ version 1 ‖ header length (4) ‖ header: group, last entry, membership
//!   row    key length (4) ‖ key, table byte first ‖ value length (4) ‖ value          … in key order
//!   end    FF FF FF FF ‖ number of rows (8) ‖ BLAKE3 of everything before (32)
//! ```
//!
//! Numbers are little-endian. Written as `<group>.snapshot.new`, synced, renamed to `<group>.snapshot`, its directory
//! synced; one that comes from another replica is `<group>.snapshot.incoming-<n>` until it is whole, verified and
//! installed. So the name never stands for half a snapshot. Rows have the machine's own digest among them.
//!
//! All calls block. Not here: when one is built (`keeping.rs`), how it travels (`network.rs`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use borsh::{BorshDeserialize, BorshSerialize};
use strongroom_core::tables::{Halt, Row};
use strongroom_format::id::GroupId;
use strongroom_host::Host;
use strongroom_host::files::{DiskFile, Open};
use tokio::time::Instant;

use crate::group::lock;
use crate::plain::{PlainLogId, PlainStoredMembership};
use crate::state::{Applied, View};
use crate::types::{LogId, SnapshotMeta, StoredMembership};

const MAGIC: [u8; 4] = *b"SRSS";
const VERSION: u8 = 1;
const END: u32 = u32::MAX;
const HEADER_BYTES_MAX: usize = 1 << 20;
const KEY_BYTES_MAX: usize = 1 << 20;
const VALUE_BYTES_MAX: usize = 64 << 20;
const BUFFER_BYTES: usize = 1 << 20;

/// So much of the disk is for the log and the states: who writes anything else leaves it free.
pub(crate) const RESERVE_BYTES: u64 = 128 << 20;

#[derive(BorshSerialize, BorshDeserialize)]
struct Header {
    group: u32,
    last: Option<PlainLogId>,
    membership: PlainStoredMembership,
}

/// Where the snapshots of one group lie.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotPlace {
    host: Host,
    directory: PathBuf,
    group: GroupId,
    /// Transfers so far: each has a file of its own, because one may begin before the last is installed.
    transfers: Arc<AtomicU64>,
    /// Held while one takes the name: one that was built for long must not replace one that was installed meanwhile.
    naming: Arc<Mutex<()>>,
}

/// A whole snapshot, open for reading. It stays readable when another takes its name.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    bytes: u64,
    /// Where the rows begin.
    rows_at: u64,
    group: GroupId,
    applied: Applied,
}

/// A snapshot that is arriving.
#[derive(Debug)]
pub(crate) struct Incoming {
    group: GroupId,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    /// How many bytes are there.
    pub(crate) received: u64,
    /// How many there will be.
    pub(crate) bytes: u64,
    /// Which transfer it belongs to.
    pub(crate) transfer: PlainLogId,
    /// When a piece came for the last time.
    pub(crate) touched: Instant,
}

/// What has come of a group's snapshot. Only jobs of the snapshot lane lock it for long.
pub(crate) type Arriving = Arc<Mutex<Option<Incoming>>>;

impl SnapshotPlace {
    pub(crate) fn new(host: &Host, directory: &Path, group: GroupId) -> Self {
        Self {
            host: host.clone(),
            directory: directory.to_owned(),
            group,
            transfers: Arc::default(),
            naming: Arc::default(),
        }
    }

    /// Whether a snapshot of a state of this size leaves the reserve alone.
    pub(crate) fn has_room_for(&self, state_bytes: u64) -> io::Result<bool> {
        Ok(state_bytes.saturating_add(RESERVE_BYTES) <= self.host.files().free_bytes(&self.directory)?)
    }

    /// Removes what earlier lives of this node left half received.
    pub(crate) fn clean(&self) -> io::Result<()> {
        let left = format!("{}.snapshot.incoming-", self.group);
        for name in self.host.files().list(&self.directory)? {
            if name.starts_with(&left) {
                self.host.files().remove(&self.directory.join(name))?;
            }
        }
        Ok(())
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.directory.join(format!("{}.snapshot{suffix}", self.group))
    }

    /// Writes the rows of a view as the group's snapshot.
    pub(crate) fn write(&self, view: &View) -> io::Result<SnapshotFile> {
        let files = self.host.files();
        let path = self.path(".new");
        remove_if_there(&self.host, &path)?;
        let file = files.open(&path, Open::New)?;
        let mut writer =
            Writer { file: &*file, at: 0, buffer: Vec::with_capacity(BUFFER_BYTES), hash: blake3::Hasher::new() };
        let header = Header {
            group: self.group.0,
            last: view.applied.last.as_ref().map(PlainLogId::from),
            membership: (&view.applied.membership).into(),
        };
        let header = borsh::to_vec(&header)?;
        writer.write(&MAGIC)?;
        writer.write(&[VERSION])?;
        writer.write_long(&header)?;
        let mut count = 0_u64;
        for row in view.rows.all().map_err(io::Error::other)? {
            let (key, value) = row.map_err(io::Error::other)?;
            writer.write_long(&key)?;
            writer.write_long(&value)?;
            count += 1;
        }
        writer.write(&END.to_le_bytes())?;
        writer.write(&count.to_le_bytes())?;
        writer.finish()?;
        drop(file);
        self.publish(&path, view.applied.last)
    }

    /// Gives a file that is whole the name that counts, unless a later one has it: then that one is given back.
    fn publish(&self, from: &Path, last: Option<LogId>) -> io::Result<SnapshotFile> {
        let files = self.host.files();
        let _naming = lock(&self.naming);
        if let Some(current) = self.current()?.filter(|current| last < current.applied.last) {
            files.remove(from)?;
            return Ok(current);
        }
        files.rename(from, &self.path(""))?;
        files.sync_dir(&self.directory)?;
        self.current()?.ok_or_else(|| io::Error::other("a snapshot is gone as soon as it was written"))
    }

    /// The group's snapshot, if it has one.
    pub(crate) fn current(&self) -> io::Result<Option<SnapshotFile>> {
        let path = self.path("");
        if !self.host.files().exists(&path)? {
            return Ok(None);
        }
        SnapshotFile::open(self.host.files().open(&path, Open::Read)?, path, self.group).map(Some)
    }

    /// Takes the snapshot its name and keeps the file as `<group>.snapshot.aside`. An earlier one goes.
    pub(crate) fn set_aside(&self) -> io::Result<()> {
        let path = self.path("");
        if self.host.files().exists(&path)? {
            self.host.files().rename(&path, &self.path(".aside"))?;
            self.host.files().sync_dir(&self.directory)?;
        }
        Ok(())
    }

    /// Begins to take a snapshot from another replica.
    pub(crate) fn receive(&self, bytes: u64, transfer: PlainLogId) -> io::Result<Incoming> {
        let number = self.transfers.fetch_add(1, Ordering::Relaxed);
        let path = self.path(&format!(".incoming-{number}"));
        remove_if_there(&self.host, &path)?;
        let file = self.host.files().open(&path, Open::New)?;
        Ok(Incoming { group: self.group, file, path, received: 0, bytes, transfer, touched: Instant::now() })
    }

    /// Drops what came of a transfer.
    pub(crate) fn give_up(&self, incoming: Incoming) -> io::Result<()> {
        // one that was installed has another name
        remove_if_there(&self.host, &incoming.path)
    }

    /// Makes a snapshot that came from another replica the group's own.
    pub(crate) fn adopt(&self, snapshot: &SnapshotFile) -> io::Result<SnapshotFile> {
        self.publish(&snapshot.path, snapshot.applied.last)
    }
}

impl Incoming {
    /// Adds the next bytes.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.bytes - self.received < bytes.len() as u64 {
            return Err(io::Error::other("a snapshot is longer than it said"));
        }
        self.file.write_at(bytes, self.received)?;
        self.received += bytes.len() as u64;
        Ok(())
    }

    /// Checks every byte of a snapshot that is whole and makes it durable.
    pub(crate) fn finish(&self) -> io::Result<SnapshotFile> {
        self.file.sync_data()?;
        let snapshot = SnapshotFile::open(Arc::clone(&self.file), self.path.clone(), self.group)?;
        for row in snapshot.rows()? {
            row.map_err(io::Error::other)?;
        }
        Ok(snapshot)
    }
}

impl SnapshotFile {
    fn open(file: Arc<dyn DiskFile>, path: PathBuf, group: GroupId) -> io::Result<Self> {
        let bytes = file.len()?;
        let mut reader = Reader::new(&*file, bytes);
        if reader.array()? != MAGIC || reader.array()? != [VERSION] {
            return Err(damaged("no snapshot of a version that this program knows"));
        }
        let header: Header = borsh::from_slice(&reader.long(HEADER_BYTES_MAX)?.ok_or_else(|| damaged("no header"))?)?;
        if header.group != group.0 {
            return Err(damaged("a snapshot of another group"));
        }
        let membership = StoredMembership::try_from(header.membership).map_err(io::Error::other)?;
        let rows_at = reader.at;
        Ok(Self {
            file,
            path,
            bytes,
            rows_at,
            group,
            applied: Applied { last: header.last.map(LogId::from), membership },
        })
    }

    /// How far the log was applied, and the membership there.
    pub(crate) fn applied(&self) -> &Applied {
        &self.applied
    }

    /// What openraft wants to know of it.
    pub(crate) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.applied.last, last_membership: self.applied.membership.clone() }
    }

    /// How many bytes it has.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A piece of its bytes, shorter at the end.
    pub(crate) fn piece(&self, at: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let bytes = self.bytes.saturating_sub(at).min(bytes_max as u64);
        let mut piece = vec![0; bytes as usize];
        self.file.read_exact_at(&mut piece, at)?;
        Ok(piece)
    }

    /// All rows in order. The last item is an error if anything is not as it was written.
    pub(crate) fn rows(&self) -> io::Result<impl Iterator<Item = Result<Row, Halt>> + '_> {
        let mut reader = Reader::new(&*self.file, self.bytes);
        reader.skip(self.rows_at)?;
        let mut count = 0_u64;
        let mut is_over = false;
        let group = self.group;
        Ok(std::iter::from_fn(move || {
            if is_over {
                return None;
            }
            let row = reader.row(count);
            is_over = !matches!(row, Ok(Some(_)));
            count += 1;
            row.map_err(|error| Halt { why: format!("the snapshot of group {group} is damaged: {error}") }).transpose()
        }))
    }
}

struct Writer<'f> {
    file: &'f dyn DiskFile,
    at: u64,
    buffer: Vec<u8>,
    hash: blake3::Hasher,
}

impl Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.buffer.extend_from_slice(bytes);
        if BUFFER_BYTES <= self.buffer.len() {
            self.flush()?;
        }
        Ok(())
    }

    fn write_long(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.write(&length.to_le_bytes())?;
        self.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        let digest = *self.hash.finalize().as_bytes();
        self.buffer.extend_from_slice(&digest);
        self.flush()?;
        self.file.sync_data()
    }
}

struct Reader<'f> {
    file: &'f dyn DiskFile,
    bytes: u64,
    at: u64,
    buffer: Vec<u8>,
    /// Where in the buffer the next byte is.
    next: usize,
    hash: blake3::Hasher,
}

impl<'f> Reader<'f> {
    fn new(file: &'f dyn DiskFile, bytes: u64) -> Self {
        Self { file, bytes, at: 0, buffer: Vec::new(), next: 0, hash: blake3::Hasher::new() }
    }

    fn exact(&mut self, count: usize) -> io::Result<Vec<u8>> {
        if self.bytes - self.at < count as u64 {
            return Err(damaged("it ends too early"));
        }
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            if self.next == self.buffer.len() {
                let from = self.at + bytes.len() as u64;
                let length = (self.bytes - from).min(BUFFER_BYTES as u64);
                self.buffer.resize(length as usize, 0);
                self.file.read_exact_at(&mut self.buffer, from)?;
                self.next = 0;
            }
            let some = (count - bytes.len()).min(self.buffer.len() - self.next);
            bytes.extend_from_slice(&self.buffer[self.next..self.next + some]);
            self.next += some;
        }
        self.at += count as u64;
        Ok(bytes)
    }

    fn hashed(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let bytes = self.exact(count)?;
        self.hash.update(&bytes);
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let bytes = self.hashed(N)?;
        Ok(*bytes.first_chunk().expect("as many bytes were read as were asked for"))
    }

    /// Bytes with their length; `None` at the end mark.
    fn long(&mut self, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let length = u32::from_le_bytes(self.array()?);
        if length == END {
            return Ok(None);
        }
        if bytes_max < length as usize {
            return Err(damaged("a length is out of range"));
        }
        self.hashed(length as usize).map(Some)
    }

    fn skip(&mut self, to: u64) -> io::Result<()> {
        while self.at < to {
            self.hashed((to - self.at).min(BUFFER_BYTES as u64) as usize)?;
        }
        Ok(())
    }

    fn row(&mut self, count: u64) -> io::Result<Option<Row>> {
        if let Some(key) = self.long(KEY_BYTES_MAX)? {
            let value = self.long(VALUE_BYTES_MAX)?.ok_or_else(|| damaged("a key has no value"))?;
            return Ok(Some((key, value)));
        }
        let expected = u64::from_le_bytes(self.array()?);
        let digest = *self.hash.finalize().as_bytes();
        let written = self.exact(digest.len())?;
        if expected != count || written != digest || self.at != self.bytes {
            return Err(damaged("its digest does not match"));
        }
        Ok(None)
    }
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

fn remove_if_there(host: &Host, path: &Path) -> io::Result<()> {
    if host.files().exists(path)? {
        host.files().remove(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
