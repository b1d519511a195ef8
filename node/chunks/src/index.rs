//! Where each copy lies: an index that can always be made again from the segments.
//!
//! ```text
//!   note(rows), remove(rows) ─▶ recent: a few thousand rows in memory ─ flush ─▶ index.redb, one durable commit
//!   find ─▶ recent, then index.redb
//! ```
//!
//! Keys are hash-ordered, so each row touches a page of its own: rows are committed a few thousand at a time, sorted, and
//! not with each group. What is in memory at a crash is found again by reading the segments from `scanned` on, which is
//! committed with the rows. Memory does not grow with stored data: the cache is fixed and `recent` is bounded by its
//! owner's flushes.
//!
//! A wrong row does no harm: every record says itself what it is. A database that does not open is made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use strongroom_format::code::Code;
use strongroom_format::fragment::CopyName;
use strongroom_format::id::{BlobId, GroupId, LeaseId, TenantId, TenantTag};
use strongroom_host::files::Files;

use crate::database;
use crate::metrics;

const CACHE_BYTES: usize = 16 << 20;
const VERSION: u64 = 1;

/// tenant(16) ‖ blob(32) ‖ index(1) ‖ group(4, big-endian) ‖ lease(8, big-endian)
pub(crate) const KEY_BYTES: usize = 61;
/// segment(4) ‖ block(4) ‖ payload bytes(4) ‖ k(1) ‖ m(1), little-endian
const VALUE_BYTES: usize = 14;

const COPIES: TableDefinition<'_, &[u8; KEY_BYTES], &[u8; VALUE_BYTES]> = TableDefinition::new("copies/1");
/// tenant(16) ‖ segment(4, big-endian) → everything below this offset is in `copies`
const SCANNED: TableDefinition<'_, &[u8; 20], u64> = TableDefinition::new("scanned/1");
const TAGS: TableDefinition<'_, &[u8; 16], &[u8; 16]> = TableDefinition::new("tags/1");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// The number of a tenant's segment, from 1.
pub(crate) type SegmentNumber = u32;

/// A copy's name in the index. Copies of one fragment lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) [u8; KEY_BYTES]);

impl Key {
    pub(crate) fn new(tenant: &TenantId, copy: &CopyName) -> Self {
        let mut bytes = [0; KEY_BYTES];
        bytes[..16].copy_from_slice(tenant.as_bytes());
        bytes[16..48].copy_from_slice(copy.blob.as_bytes());
        bytes[48] = copy.index;
        bytes[49..53].copy_from_slice(&copy.group.0.to_be_bytes());
        bytes[53..].copy_from_slice(&copy.lease.0.to_be_bytes());
        Self(bytes)
    }

    /// The first and the last key of a tenant.
    pub(crate) fn all_of(tenant: &TenantId) -> (Self, Self) {
        let with = |byte| {
            let mut bytes = [byte; KEY_BYTES];
            bytes[..16].copy_from_slice(tenant.as_bytes());
            Self(bytes)
        };
        (with(0), with(u8::MAX))
    }

    pub(crate) fn tenant(&self) -> TenantId {
        TenantId::from_bytes(part(&self.0, 0))
    }

    pub(crate) fn copy(&self) -> CopyName {
        CopyName {
            blob: BlobId::from_bytes(part(&self.0, 16)),
            index: self.0[48],
            group: GroupId(u32::from_be_bytes(part(&self.0, 49))),
            lease: LeaseId(u64::from_be_bytes(part(&self.0, 53))),
        }
    }
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) segment: SegmentNumber,
    /// In blocks of 4 KiB.
    pub(crate) block: u32,
    pub(crate) payload_bytes: u32,
    pub(crate) code: Code,
}

impl Location {
    fn write(self) -> [u8; VALUE_BYTES] {
        let mut bytes = [0; VALUE_BYTES];
        bytes[0..4].copy_from_slice(&self.segment.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.block.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[12] = self.code.k;
        bytes[13] = self.code.m;
        bytes
    }

    fn read(bytes: &[u8; VALUE_BYTES]) -> Self {
        Self {
            segment: u32::from_le_bytes(part(bytes, 0)),
            block: u32::from_le_bytes(part(bytes, 4)),
            payload_bytes: u32::from_le_bytes(part(bytes, 8)),
            code: Code { k: bytes[12], m: bytes[13] },
        }
    }
}

/// `N` bytes from `at`, which the caller's layout has.
fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    /// Another process has it.
    #[error("the index is open elsewhere")]
    Busy,
    /// Written by a later version of this program: use that one, or remove the file to make it again.
    #[error("the index has version {found}, this program knows {VERSION}")]
    Unknown { found: u64 },
    /// The disk or the database failed.
    #[error("the index failed")]
    Failed(#[source] redb::Error),
}

impl<E: Into<redb::Error>> From<E> for IndexError {
    fn from(cause: E) -> Self {
        Self::Failed(cause.into())
    }
}

pub(crate) struct Index {
    path: PathBuf,
    database: Database,
    recent: RwLock<Recent>,
}

#[derive(Default)]
struct Recent {
    /// `None`: the row goes.
    copies: BTreeMap<Key, Option<Location>>,
    /// `None`: the segment is no more.
    scanned: BTreeMap<(TenantId, SegmentNumber), Option<u64>>,
    tags: BTreeMap<TenantId, TenantTag>,
}

impl Index {
    /// Opens the index. A damaged one is removed and begun again: then nothing is `scanned`.
    pub(crate) fn open(files: &dyn Files, path: &Path) -> Result<Self, IndexError> {
        match try_open(files, path) {
            Tried::Open(database) => return Ok(Self::over(path, *database)),
            Tried::Refused(error) => return Err(error),
            Tried::Damaged(why) => {
                tracing::error!(path = %path.display(), why, "the index is damaged and made again from the segments");
            }
        }
        files.remove(path).map_err(redb::Error::Io)?;
        match try_open(files, path) {
            Tried::Open(database) => Ok(Self::over(path, *database)),
            Tried::Refused(error) => Err(error),
            Tried::Damaged(why) => Err(IndexError::Failed(redb::Error::Corrupted(why))),
        }
    }

    fn over(path: &Path, database: Database) -> Self {
        Self { path: path.to_owned(), database, recent: RwLock::default() }
    }

    /// Takes a damaged index its name, so that the next opening makes it again from the segments. Whoever has it open goes on
    /// with it, and should not for long.
    pub(crate) fn condemn(&self, files: &dyn Files) -> io::Result<()> {
        condemn(files, &self.path)
    }

    /// Adds rows in memory; they are found at once and durable after a flush. `scanned`: everything below it in the
    /// segment is in the index with these rows.
    pub(crate) fn note(
        &self,
        tenant: TenantId,
        tag: TenantTag,
        rows: impl IntoIterator<Item = (Key, Location)>,
        segment: SegmentNumber,
        scanned: u64,
    ) {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        recent.copies.extend(rows.into_iter().map(|(key, location)| (key, Some(location))));
        recent.scanned.insert((tenant, segment), Some(scanned));
        recent.tags.insert(tenant, tag);
    }

    /// Adds the tag of a tenant that has no copies yet.
    pub(crate) fn note_tag(&self, tenant: TenantId, tag: TenantTag) {
        self.recent.write().unwrap_or_else(PoisonError::into_inner).tags.insert(tenant, tag);
    }

    /// Removes the rows of copies that lie just there; one that has another row by now keeps it.
    pub(crate) fn remove(&self, rows: &[(Key, Location)]) -> Result<(), IndexError> {
        for (key, location) in rows {
            if self.find(key)? == Some(*location) {
                self.recent.write().unwrap_or_else(PoisonError::into_inner).copies.insert(*key, None);
            }
        }
        Ok(())
    }

    /// Forgets how far a segment was read: it is no more, and its number may be given again.
    pub(crate) fn forget(&self, tenant: TenantId, segment: SegmentNumber) {
        self.recent.write().unwrap_or_else(PoisonError::into_inner).scanned.insert((tenant, segment), None);
    }

    /// The segments in which a tenant's copies lie.
    pub(crate) fn segments(&self, tenant: TenantId) -> Result<BTreeSet<SegmentNumber>, IndexError> {
        let (from, to) = Key::all_of(&tenant);
        // memory first, as in `range`
        let recent: BTreeMap<Key, Option<Location>> = {
            let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
            recent.copies.range(from..=to).map(|(key, location)| (*key, *location)).collect()
        };
        let mut segments: BTreeSet<SegmentNumber> =
            recent.values().flatten().map(|location| location.segment).collect();
        let table = self.database.begin_read()?.open_table(COPIES)?;
        for row in table.range::<&[u8; KEY_BYTES]>(&from.0..=&to.0)? {
            let (key, location) = row?;
            if !recent.contains_key(&Key(*key.value())) {
                segments.insert(Location::read(location.value()).segment);
            }
        }
        Ok(segments)
    }

    /// How many rows wait in memory.
    pub(crate) fn recent_rows(&self) -> usize {
        self.recent.read().unwrap_or_else(PoisonError::into_inner).copies.len()
    }

    /// Makes all rows durable. One at a time.
    pub(crate) fn flush(&self) -> Result<(), IndexError> {
        let (copies, scanned, tags) = {
            let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
            if recent.copies.is_empty() && recent.scanned.is_empty() && recent.tags.is_empty() {
                return Ok(());
            }
            (recent.copies.clone(), recent.scanned.clone(), recent.tags.clone())
        };
        let mut transaction = self.database.begin_write()?;
        // opening after a kill must not walk the whole file
        transaction.set_quick_repair(true);
        {
            let mut table = transaction.open_table(COPIES)?;
            for (key, location) in &copies {
                match location {
                    Some(location) => {
                        table.insert(&key.0, &location.write())?;
                    }
                    None => {
                        table.remove(&key.0)?;
                    }
                }
            }
            let mut table = transaction.open_table(SCANNED)?;
            for (&(tenant, segment), end) in &scanned {
                match end {
                    Some(end) => {
                        table.insert(&scanned_key(tenant, segment), end)?;
                    }
                    None => {
                        table.remove(&scanned_key(tenant, segment))?;
                    }
                }
            }
            let mut table = transaction.open_table(TAGS)?;
            for (tenant, tag) in &tags {
                table.insert(tenant.as_bytes(), tag.as_bytes())?;
            }
        }
        transaction.commit()?;
        metrics::index_committed();
        // Only what was committed leaves memory, and only now: a reader finds a row here or there.
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        recent.copies.retain(|key, location| copies.get(key) != Some(location));
        recent.scanned.retain(|key, end| scanned.get(key) != Some(end));
        recent.tags.retain(|key, tag| tags.get(key) != Some(tag));
        Ok(())
    }

    /// All copies whose keys lie in `from..=to`, in order, at most `limit`.
    pub(crate) fn range(&self, from: &Key, to: &Key, limit: usize) -> Result<Vec<(Key, Location)>, IndexError> {
        // memory first: a row that is flushed in between is then seen twice, not missed
        let mut found: BTreeMap<Key, Option<Location>> = BTreeMap::new();
        let mut there = 0;
        for (key, location) in self.recent.read().unwrap_or_else(PoisonError::into_inner).copies.range(from..=to) {
            if there == limit {
                break;
            }
            there += usize::from(location.is_some());
            found.insert(*key, *location);
        }
        // Each row that goes may hide one in the database.
        let hidden = found.len() - there;
        let table = self.database.begin_read()?.open_table(COPIES)?;
        for row in table.range::<&[u8; KEY_BYTES]>(&from.0..=&to.0)?.take(limit.saturating_add(hidden)) {
            let (key, location) = row?;
            found.entry(Key(*key.value())).or_insert_with(|| Some(Location::read(location.value())));
        }
        Ok(found.into_iter().filter_map(|(key, location)| Some((key, location?))).take(limit).collect())
    }

    /// Where a copy lies.
    pub(crate) fn find(&self, key: &Key) -> Result<Option<Location>, IndexError> {
        Ok(self.range(key, key, 1)?.pop().map(|(_, location)| location))
    }

    /// How far a segment is in the index; zero if not at all.
    pub(crate) fn scanned(&self, tenant: TenantId, segment: SegmentNumber) -> Result<u64, IndexError> {
        let noted = self.recent.read().unwrap_or_else(PoisonError::into_inner).scanned.get(&(tenant, segment)).copied();
        if let Some(end) = noted {
            return Ok(end.unwrap_or(0));
        }
        let table = self.database.begin_read()?.open_table(SCANNED)?;
        Ok(table.get(&scanned_key(tenant, segment))?.map_or(0, |end| end.value()))
    }

    /// The tag that a tenant's fragments carry, if any was written.
    pub(crate) fn tag(&self, tenant: TenantId) -> Result<Option<TenantTag>, IndexError> {
        let noted = self.recent.read().unwrap_or_else(PoisonError::into_inner).tags.get(&tenant).copied();
        if noted.is_some() {
            return Ok(noted);
        }
        let table = self.database.begin_read()?.open_table(TAGS)?;
        Ok(table.get(tenant.as_bytes())?.map(|tag| TenantTag::from_bytes(*tag.value())))
    }
}

/// As [`Index::condemn`], where none is open. Without one there is nothing to do.
pub(crate) fn condemn(files: &dyn Files, path: &Path) -> io::Result<()> {
    if !files.exists(path)? {
        return Ok(());
    }
    tracing::error!(path = %path.display(), "the index is damaged: the next start makes it again from the segments");
    files.remove(path)?;
    match path.parent() {
        Some(directory) => files.sync_dir(directory),
        None => Ok(()),
    }
}

/// Whether an error says that the file holds something else than was written: it is made again then. Anything else is the
/// disk's, or somebody else's, and stays.
pub(crate) fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableIsNotMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableDoesNotExist(_) => true,
        // what redb and our backend say of bytes that are no database, or end too early
        redb::Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}

fn scanned_key(tenant: TenantId, segment: SegmentNumber) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(tenant.as_bytes());
    key[16..].copy_from_slice(&segment.to_be_bytes());
    key
}

enum Tried {
    Open(Box<Database>),
    Refused(IndexError),
    Damaged(String),
}

/// Damage may come as an error or as a panic of the library.
fn try_open(files: &dyn Files, path: &Path) -> Tried {
    let opened = catch_unwind(AssertUnwindSafe(|| -> Result<(Database, u64), redb::Error> {
        let database = database::open(files, path, CACHE_BYTES)?;
        let mut transaction = database.begin_write()?;
        transaction.set_quick_repair(true);
        let version = {
            let mut about = transaction.open_table(ABOUT)?;
            let version = about.get("version")?.map(|version| version.value());
            if version.is_none() {
                about.insert("version", VERSION)?;
            }
            version.unwrap_or(VERSION)
        };
        // What the tables of another version are like is not this program's to say.
        if version == VERSION {
            transaction.open_table(COPIES)?;
            transaction.open_table(SCANNED)?;
            transaction.open_table(TAGS)?;
        }
        transaction.commit()?;
        Ok((database, version))
    }));
    match opened {
        Ok(Ok((database, VERSION))) => Tried::Open(Box::new(database)),
        Ok(Ok((_, found))) => Tried::Refused(IndexError::Unknown { found }),
        Ok(Err(redb::Error::Io(error))) if error.kind() == io::ErrorKind::WouldBlock => {
            Tried::Refused(IndexError::Busy)
        }
        Ok(Err(error)) if is_damage(&error) => Tried::Damaged(error.to_string()),
        Ok(Err(error)) => Tried::Refused(error.into()),
        Err(_) => Tried::Damaged("the database panicked".to_owned()),
    }
}
