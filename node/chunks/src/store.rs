//! The store: put, get, has and list copies on this disk.
//!
//! ```text
//!   put ─▶ queue (bounded in bytes) ─▶ write lane: everything queued is one group
//!            per tenant: stage, write, fdatasync  ─▶ index, in memory ─▶ answered
//!            the next group is what arrived meanwhile; now and then the index is committed
//!   get ─▶ a read lane: index ─▶ segment ─▶ BLAKE3 ─▶ payload
//!   free ─▶ write lane, between groups (`store/freeing.rs`)
//! ```
//!
//! Promises: see the package. One put is all or nothing as far as answers go: it is acknowledged when all its copies are
//! durable. A put whose answer was not seen may be there; putting a copy again is harmless.
//!
//! Not here: when a worker calls [`ChunkStore::tidy`] or frees (`node/service`).

mod freeing;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use strongroom_core::shard::release::Release;
use strongroom_format::code::Code;
use strongroom_format::fragment::{CopyName, FragmentError, FragmentHeader, HEADER_BYTES};
use strongroom_format::id::{BlobId, Digest, GroupId, LeaseId, TenantId, TenantTag};
use strongroom_host::Host;
use strongroom_host::append::{AppendError, AppendFile, SetAside};
use strongroom_host::files::{DiskFile, Open};
use strongroom_host::lane::{Lane, LaneError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::damage::How;
use crate::index::{self, Index, IndexError, KEY_BYTES, Key, Location, SegmentNumber};
use crate::metrics;
use crate::segment::{self, BLOCK_BYTES, Check, Seen};

pub use self::freeing::Freed;

/// One group takes at most so many bytes; the rest waits for the next.
const GROUP_BYTES_MAX: u64 = 32 << 20;
/// What may wait or be written at once. A put that does not fit waits.
const QUEUED_KIB_MAX: u32 = 64 << 10;
/// The index is committed when so many rows wait in memory, or so many bytes would have to be read after a crash.
const RECENT_ROWS_MAX: usize = 2048;
const UNSCANNED_BYTES_MAX: u64 = 512 << 20;
/// Segments that are kept open for appending and for reading.
const WRITERS_MAX: usize = 64;
const READERS_MAX: usize = 128;

const WRITE_LANE: &str = "chunks-write";

/// What a store may use.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment takes records until it has so many bytes.
    pub segment_bytes_max: u64,
    /// So much of the disk is never taken, so that log, state and reads go on when it is full.
    pub reserve_bytes: u64,
    /// Threads that read.
    pub read_lanes: usize,
}

impl Default for Options {
    /// 1 GiB, 1 GiB, 2.
    fn default() -> Self {
        Self { segment_bytes_max: 1 << 30, reserve_bytes: 1 << 30, read_lanes: 2 }
    }
}

/// A copy to be written.
#[derive(Clone, Debug)]
pub struct NewCopy {
    /// Its name.
    pub copy: CopyName,
    /// The blob's code.
    pub code: Code,
    /// The blob's length.
    pub blob_bytes: u32,
    /// BLAKE3 of the payload, by whoever made it.
    pub payload_hash: Digest,
    /// The fragment.
    pub payload: Bytes,
}

/// A copy that was read and verifies.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// Its name.
    pub copy: CopyName,
    /// The blob's code.
    pub code: Code,
    /// The blob's length.
    pub blob_bytes: u32,
    /// BLAKE3 of the payload.
    pub payload_hash: Digest,
    /// The fragment.
    pub payload: Bytes,
}

/// Where a copy lies, for people and tests. Its payload was not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub copy: CopyName,
    /// The blob's code.
    pub code: Code,
    /// The segment, relative to the directory of segments.
    pub file: PathBuf,
    /// Where the payload starts in it.
    pub payload_offset: u64,
    /// The payload's length.
    pub payload_bytes: u32,
}

/// Where a listing goes on.
#[derive(Clone, Copy, Debug)]
pub struct Cursor(Key);

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ChunksError {
    /// No such fragment here.
    #[error("there is no such fragment here")]
    NotHere,
    /// It should be here and is not, or not whole: use others, and let repair bring it back.
    #[error("fragment {index} of blob {blob} is damaged: {}", how.label())]
    Damaged {
        /// The blob.
        blob: BlobId,
        /// The fragment.
        index: u8,
        /// What was found instead.
        how: How,
    },
    /// The disk is at its reserve. Nothing was written: try other members, free space.
    #[error("the disk has no room left")]
    DiskFull,
    /// The copy contradicts itself: its payload has not the length of its code and blob, say. Nothing was written.
    #[error("fragment {index} of blob {blob} cannot be written")]
    Malformed {
        /// The blob.
        blob: BlobId,
        /// The fragment.
        index: u8,
        /// What is wrong.
        #[source]
        why: FragmentError,
    },
    /// The tenant's fragments here carry another tag: the caller mistook the tenant. Nothing was written.
    #[error("tenant {tenant} has another tag here")]
    ForeignTag {
        /// The tenant.
        tenant: TenantId,
    },
    /// Another process has this directory open.
    #[error("the chunk store is open in another process")]
    Busy,
    /// A segment cannot be read: drain this node.
    #[error("{path} cannot be {doing}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What was tried, as a participle.
        doing: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The disk failed under a write or the index failed: end the process.
    #[error("the chunk store has failed and takes nothing more: {why}")]
    Failed {
        /// What failed.
        why: Arc<str>,
    },
    /// A lane of the store is gone.
    #[error(transparent)]
    Lane(#[from] LaneError),
}

/// This disk's copies. Clones are the same store. See the module.
#[derive(Clone)]
pub struct ChunkStore {
    shared: Arc<Shared>,
    write: Lane,
    reads: Arc<[Lane]>,
    next_read: Arc<AtomicUsize>,
}

impl ChunkStore {
    /// Opens the store in a node's data directory (`index.redb`, `segments/`), making it if it is not there, and brings
    /// the index up to what lies in the segments.
    pub async fn open(host: &Host, data_directory: &Path, options: Options) -> Result<Self, ChunksError> {
        let write = host.lane(WRITE_LANE);
        let reads: Arc<[Lane]> =
            (0..options.read_lanes.max(1)).map(|n| host.lane(&format!("chunks-read-{n}"))).collect();
        let (host, data_directory) = (host.clone(), data_directory.to_owned());
        let shared = write.run(move || Shared::open(&host, &data_directory, options)).await??;
        Ok(Self { shared: Arc::new(shared), write, reads, next_read: Arc::default() })
    }

    /// Writes copies of one tenant and answers when all are durable. Waits while too much is queued.
    ///
    /// Cancelled, it may be written or not.
    pub async fn put(&self, tenant: TenantId, tag: TenantTag, copies: Vec<NewCopy>) -> Result<(), ChunksError> {
        self.shared.check()?;
        let records = copies
            .into_iter()
            .map(|new| Ok(NewRecord { header: header(tag, &new)?, payload: new.payload }))
            .collect::<Result<Vec<_>, ChunksError>>()?;
        let bytes = records.iter().map(|record| record.header.record_bytes() as u64).sum::<u64>();
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, QUEUED_KIB_MAX);
        let room = Arc::clone(&self.shared.room);
        let permit = room.acquire_many_owned(kib).await.expect("the semaphore is never closed");
        let (answer, answered) = oneshot::channel();
        self.shared.enqueue(&self.write, Pending { tenant, tag, records, bytes, answer, _permit: permit })?;
        match answered.await {
            Ok(result) => result,
            Err(_) => {
                self.shared.check()?;
                // the lane fell with the group: its panic is the answer
                let ended = || LaneError::Ended { lane: WRITE_LANE.into() };
                Err(self.write.run(|| ()).await.err().unwrap_or_else(ended).into())
            }
        }
    }

    /// A good copy of a fragment, or of any fragment of the blob if `index` is `None`. The newest lease is tried first;
    /// what does not verify is counted and passed over.
    pub async fn get(&self, tenant: TenantId, blob: BlobId, index: Option<u8>) -> Result<Fragment, ChunksError> {
        self.read(move |shared| shared.get(tenant, blob, index)).await
    }

    /// Which of these copies the index knows, in order. Nothing is read from segments.
    pub async fn has(&self, tenant: TenantId, copies: Vec<CopyName>) -> Result<Vec<bool>, ChunksError> {
        self.read(move |shared| {
            let known = copies.iter().map(|copy| Ok(shared.index.find(&Key::new(&tenant, copy))?.is_some()));
            known.collect::<Result<_, IndexError>>().map_err(|error| shared.fail(&error))
        })
        .await
    }

    /// Up to `limit` copies in the order of tenant, blob and index, from the cursor on; and where to go on, if there is
    /// more.
    pub async fn list(&self, from: Option<Cursor>, limit: usize) -> Result<(Vec<Listed>, Option<Cursor>), ChunksError> {
        self.read(move |shared| shared.list(from, limit)).await
    }

    /// Frees the space of copies that the rules released. Those that are not here are left out. Once it is done they are
    /// gone for good; cancelled, they may be.
    pub async fn free(&self, releases: Vec<Release>) -> Result<Freed, ChunksError> {
        let shared = Arc::clone(&self.shared);
        self.write.run(move || shared.free(&releases)).await?
    }

    /// Removes a tenant's segments in which no copy lies any more, and says how many.
    pub async fn unlink_empty(&self, tenant: TenantId) -> Result<u64, ChunksError> {
        let shared = Arc::clone(&self.shared);
        let Some(tail) = self.write.run(move || shared.tail(tenant)).await? else { return Ok(0) };
        let live = self.read(move |shared| shared.index.segments(tenant).map_err(|error| shared.fail(&error))).await?;
        let shared = Arc::clone(&self.shared);
        self.write.run(move || shared.unlink(tenant, tail, &live)).await?
    }

    /// Commits the index and cuts segments to size that took nothing since the last call. For a worker, every few
    /// seconds or minutes, and before the process ends.
    pub async fn tidy(&self) -> Result<(), ChunksError> {
        let shared = Arc::clone(&self.shared);
        self.write.run(move || shared.tidy()).await?
    }

    /// Ends the store: what was put is in the index, segments are cut to size, and the directory can be opened again
    /// once all clones are gone.
    pub async fn close(self) -> Result<(), ChunksError> {
        self.tidy().await?;
        // what was open during the first call is idle in the second
        self.tidy().await
    }

    /// Waits until the store has failed for good; the process must then end. Safe to cancel.
    pub async fn failed(&self) -> ChunksError {
        loop {
            let woken = self.shared.failing.notified();
            if let Err(failed) = self.shared.check() {
                return failed;
            }
            tokio::select! {
                biased;
                () = woken => {}
                poisoned = self.write.poisoned() => return self.shared.fail(&poisoned),
            }
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, ChunksError> + Send + 'static,
    ) -> Result<T, ChunksError> {
        let lane = &self.reads[self.next_read.fetch_add(1, Ordering::Relaxed) % self.reads.len()];
        let shared = Arc::clone(&self.shared);
        match lane.run(move || work(&shared)).await {
            Ok(result) => result,
            // half a store is none: whoever watches `failed` ends the process
            Err(gone) => Err(self.shared.fail(&gone)),
        }
    }
}

/// The header of a copy; a copy that no code could have made is refused.
fn header(tag: TenantTag, new: &NewCopy) -> Result<FragmentHeader, ChunksError> {
    let header = FragmentHeader {
        tenant_tag: tag,
        copy: new.copy,
        code: new.code,
        blob_bytes: new.blob_bytes,
        payload_bytes: u32::try_from(new.payload.len()).unwrap_or(u32::MAX),
        payload_hash: new.payload_hash,
        payload_crc: crc32c::crc32c(&new.payload),
    };
    FragmentHeader::parse(&header.encode()).map_err(|why| ChunksError::Malformed {
        blob: new.copy.blob,
        index: new.copy.index,
        why,
    })
}

/// A put on its way.
struct Pending {
    tenant: TenantId,
    tag: TenantTag,
    records: Vec<NewRecord>,
    /// What its records take.
    bytes: u64,
    answer: oneshot::Sender<Result<(), ChunksError>>,
    /// Gives its room in the queue back when it is done.
    _permit: OwnedSemaphorePermit,
}

struct NewRecord {
    header: FragmentHeader,
    payload: Bytes,
}

struct Shared {
    host: Host,
    options: Options,
    /// The directory of segments.
    root: PathBuf,
    index: Index,
    room: Arc<Semaphore>,
    queue: Mutex<Queue>,
    /// Used by the write lane only.
    writer: Mutex<Writer>,
    readers: Mutex<Readers>,
    failure: OnceLock<Arc<str>>,
    failing: Notify,
}

#[derive(Default)]
struct Queue {
    pending: VecDeque<Pending>,
    /// Whether the write lane will look.
    is_scheduled: bool,
}

#[derive(Default)]
struct Writer {
    /// The last segment of each tenant that has any, and where it ends.
    tails: BTreeMap<TenantId, Tail>,
    open: BTreeMap<TenantId, OpenSegment>,
    /// The tag of each tenant that wrote since the store was opened.
    tags: BTreeMap<TenantId, TenantTag>,
    /// Written since the index was committed.
    unscanned_bytes: u64,
    /// Counts groups, to tell who was used last.
    group: u64,
    /// `group` at the last `tidy`.
    tidied: u64,
}

#[derive(Clone, Copy)]
struct Tail {
    segment: SegmentNumber,
    end: u64,
}

struct OpenSegment {
    segment: SegmentNumber,
    file: AppendFile,
    last_group: u64,
}

/// Rows of a tenant that wait for the group's sync.
struct Staged {
    tag: TenantTag,
    rows: Vec<(Key, Location)>,
}

impl Shared {
    /// Runs on the write lane. A database over a damaged index may panic, here once and not at each start.
    fn open(host: &Host, data_directory: &Path, options: Options) -> Result<Self, ChunksError> {
        let open = || Self::open_as_is(host.clone(), data_directory, options);
        catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| {
            let (files, path) = (&**host.files(), index_path(data_directory));
            index::condemn(files, &path).map_err(|cause| unreadable(&path, "removed", cause))?;
            open()
        })
    }

    fn open_as_is(host: Host, data_directory: &Path, options: Options) -> Result<Self, ChunksError> {
        let files = Arc::clone(host.files());
        let root = data_directory.join("segments");
        files.create_dir_all(&root).map_err(|cause| unreadable(&root, "made", cause))?;
        let index = Index::open(&*files, &index_path(data_directory)).map_err(|error| match error {
            IndexError::Busy => ChunksError::Busy,
            error => ChunksError::Failed { why: chain(&error) },
        })?;
        let shared = Self {
            host,
            options,
            root,
            index,
            room: Arc::new(Semaphore::new(QUEUED_KIB_MAX as usize)),
            queue: Mutex::default(),
            writer: Mutex::default(),
            readers: Mutex::default(),
            failure: OnceLock::new(),
            failing: Notify::new(),
        };
        shared.recover()?;
        Ok(shared)
    }

    /// Brings the index up to the segments and makes durable what it will answer for.
    fn recover(&self) -> Result<(), ChunksError> {
        let files = &**self.host.files();
        let mut writer = lock(&self.writer);
        let tenants = segment::tenants(files, &self.root).map_err(|cause| unreadable(&self.root, "listed", cause))?;
        for tenant in tenants {
            let directory = segment::directory(&self.root, tenant);
            let numbers =
                segment::numbers(files, &self.root, tenant).map_err(|cause| unreadable(&directory, "listed", cause))?;
            self.recover_tag(tenant).map_err(|cause| unreadable(&directory, "read", cause))?;
            for (at, &number) in numbers.iter().enumerate() {
                let is_last = at + 1 == numbers.len();
                let end = self.recover_segment(tenant, number, is_last)?;
                if is_last {
                    writer.tails.insert(tenant, Tail { segment: number, end });
                }
            }
        }
        self.index.flush().map_err(|error| self.fail(&error))
    }

    /// Brings a tenant's tag from its directory into an index that was lost, or the other way round.
    fn recover_tag(&self, tenant: TenantId) -> io::Result<()> {
        let files = &**self.host.files();
        let known = self.index.tag(tenant).map_err(io::Error::other)?;
        match (known, segment::read_tag(files, &self.root, tenant)?) {
            (None, Some(tag)) => self.index.note_tag(tenant, tag),
            (Some(tag), None) => segment::write_tag(files, &self.root, tenant, tag)?,
            (Some(_), Some(_)) | (None, None) => {}
        }
        Ok(())
    }

    /// Returns where the segment ends.
    fn recover_segment(&self, tenant: TenantId, number: SegmentNumber, is_last: bool) -> Result<u64, ChunksError> {
        let path = segment::path(&self.root, tenant, number);
        let failed = |cause| unreadable(&path, "read", cause);
        let file = self.host.files().open(&path, Open::Read).map_err(failed)?;
        let scanned = self.index.scanned(tenant, number).map_err(|error| self.fail(&error))?;
        let length = file.len().map_err(failed)?;
        if length == scanned {
            return Ok(scanned);
        }
        let tag = self.index.tag(tenant).map_err(|error| self.fail(&error))?;
        let mut rows = Vec::new();
        let mut found_tag = tag;
        // Also in a segment that has a successor: an earlier crash may have left a torn record among good ones, and it
        // must not take the place of a good copy of the same name.
        let mut gone = Vec::new();
        let end = segment::scan(&*file, scanned, Check::Payload, tag, |offset, seen| match seen {
            Seen::Copy(header) => {
                found_tag = Some(header.tenant_tag);
                rows.push((Key::new(&tenant, &header.copy), location(number, offset, header)));
            }
            Seen::Tombstones(tombstones) => {
                for one in tombstones {
                    let key = Key::new(&tenant, &one.copy);
                    let is_it =
                        |of: &(Key, Location)| of.0 == key && (of.1.segment, of.1.block) == (one.segment, one.block);
                    rows.retain(|row| !is_it(row));
                    gone.push((key, one.segment, one.block));
                }
            }
        })
        .map_err(failed)?;
        for (key, segment, block) in gone {
            let known = self.index.find(&key).map_err(|error| self.fail(&error))?;
            if let Some(location) = known.filter(|known| (known.segment, known.block) == (segment, block)) {
                self.index.remove(&[(key, location)]).map_err(|error| self.fail(&error))?;
            }
        }
        if is_last {
            // What was found may lie in a cache only, and what lies behind must never be read as written later.
            AppendFile::open(&**self.host.files(), &path, SetAside::Zeros, end).map_err(|error| self.fail(&error))?;
        }
        if let Some(tag) = found_tag {
            self.index.note(tenant, tag, rows, number, end);
            if RECENT_ROWS_MAX <= self.index.recent_rows() {
                self.index.flush().map_err(|error| self.fail(&error))?;
            }
        }
        Ok(end)
    }

    /// Queues a put and makes sure that the write lane looks.
    fn enqueue(self: &Arc<Self>, lane: &Lane, pending: Pending) -> Result<(), ChunksError> {
        let mut queue = lock(&self.queue);
        if !queue.is_scheduled {
            let (shared, again) = (Arc::clone(self), lane.clone());
            lane.post(move || shared.drain(&again))?;
            queue.is_scheduled = true;
        }
        queue.pending.push_back(pending);
        Ok(())
    }

    /// Commits one group and comes back if more has arrived, letting other work of the lane go between.
    fn drain(self: Arc<Self>, lane: &Lane) {
        loop {
            let group = {
                let mut queue = lock(&self.queue);
                let mut bytes = 0;
                let mut count = 0;
                for pending in &queue.pending {
                    bytes += pending.bytes;
                    if 0 < count && GROUP_BYTES_MAX < bytes {
                        break;
                    }
                    count += 1;
                }
                queue.pending.drain(..count).collect::<Vec<_>>()
            };
            self.commit(group);
            let mut queue = lock(&self.queue);
            if queue.pending.is_empty() {
                queue.is_scheduled = false;
                return;
            }
            let (shared, again) = (Arc::clone(&self), lane.clone());
            if lane.post(move || shared.drain(&again)).is_ok() {
                return;
            }
        }
    }

    /// Writes a group, syncs it, notes it in the index, answers.
    fn commit(&self, group: Vec<Pending>) {
        let started = self.host.clock().raw();
        let mut writer = lock(&self.writer);
        writer.group += 1;
        let mut staged = BTreeMap::new();
        let mut waiting = Vec::with_capacity(group.len());
        let (mut copies, mut bytes) = (0, 0);
        for pending in group {
            let result = self.check().and_then(|()| self.stage(&mut writer, &pending, &mut staged));
            match result {
                Ok(()) => {
                    copies += pending.records.len() as u64;
                    bytes += pending.records.iter().map(|record| record.payload.len() as u64).sum::<u64>();
                    waiting.push(pending);
                }
                Err(refused) => answer(pending, Err(refused)),
            }
        }
        if let Err(error) = self.sync(&mut writer, staged)
            && self.check().is_ok()
        {
            // whatever kept a group from being durable, none of it may be acknowledged
            self.fail(&error);
        }
        for pending in waiting {
            answer(pending, self.check());
        }
        metrics::written(copies, bytes, (self.host.clock().raw().saturating_sub(started)).as_secs_f64());
        if RECENT_ROWS_MAX <= self.index.recent_rows() || UNSCANNED_BYTES_MAX <= writer.unscanned_bytes {
            // a failure is kept and answers every later put
            let _ = self.commit_index(&mut writer);
        }
    }

    /// Puts all records of one put into its tenant's segment, or none.
    fn stage(
        &self,
        writer: &mut Writer,
        pending: &Pending,
        staged: &mut BTreeMap<TenantId, Staged>,
    ) -> Result<(), ChunksError> {
        let group = writer.group;
        self.check_tag(writer, pending.tenant, pending.tag)?;
        let open = self.segment(writer, pending.tenant, pending.tag, pending.bytes, staged)?;
        open.last_group = group;
        let reserve = self.options.reserve_bytes;
        let headroom = || {
            let free = self.host.files().free_bytes(&self.root)?;
            metrics::free(free);
            Ok(free.saturating_sub(reserve))
        };
        open.file.reserve_within(pending.bytes, headroom).map_err(|error| self.append_error(error))?;
        let rows = &mut staged.entry(pending.tenant).or_insert_with(|| Staged { tag: pending.tag, rows: vec![] }).rows;
        for NewRecord { header, payload } in &pending.records {
            let offset = open
                .file
                .stage(&[&header.encode(), payload], BLOCK_BYTES as usize)
                .map_err(|error| self.append_error(error))?;
            rows.push((Key::new(&pending.tenant, &header.copy), location(open.segment, offset, header)));
        }
        writer.tags.insert(pending.tenant, pending.tag);
        Ok(())
    }

    /// One tenant has one tag for ever: by it records are believed after a crash.
    fn check_tag(&self, writer: &Writer, tenant: TenantId, tag: TenantTag) -> Result<(), ChunksError> {
        let known = match writer.tags.get(&tenant) {
            Some(&known) => Some(known),
            None => self.index.tag(tenant).map_err(|error| self.fail(&error))?,
        };
        match known {
            Some(known) if known != tag => Err(ChunksError::ForeignTag { tenant }),
            _ => Ok(()),
        }
    }

    /// The segment that takes so many bytes more. A full one is ended: what it took in this group is synced with
    /// that, and noted.
    fn segment<'w>(
        &self,
        writer: &'w mut Writer,
        tenant: TenantId,
        tag: TenantTag,
        bytes: u64,
        staged: &mut BTreeMap<TenantId, Staged>,
    ) -> Result<&'w mut OpenSegment, ChunksError> {
        let limit = self.options.segment_bytes_max;
        let is_full = |end: u64| 0 < end && limit < end + bytes;
        if let Some(open) = writer.open.get(&tenant)
            && is_full(open.file.position())
        {
            self.end_segment(writer, tenant, staged.remove(&tenant))?;
        }
        if !writer.open.contains_key(&tenant) {
            if WRITERS_MAX <= writer.open.len()
                && let Some(oldest) = least_recent(&writer.open)
            {
                self.end_segment(writer, oldest, staged.remove(&oldest))?;
            }
            let files = &**self.host.files();
            let tail = writer.tails.get(&tenant).copied();
            if tail.is_none() {
                let free = files.free_bytes(&self.root).map_err(|cause| unreadable(&self.root, "measured", cause))?;
                if free < self.options.reserve_bytes.saturating_add(bytes) {
                    metrics::refused_full();
                    return Err(ChunksError::DiskFull);
                }
                // The first record must not say itself whose it is: after a crash it may be another tenant's, or torn.
                let directory = segment::directory(&self.root, tenant);
                let made = files.create_dir_all(&directory);
                made.and_then(|()| segment::write_tag(files, &self.root, tenant, tag)).map_err(|cause| match cause
                    .kind()
                {
                    io::ErrorKind::StorageFull => ChunksError::DiskFull,
                    _ => self.fail(&cause),
                })?;
                self.index.note_tag(tenant, tag);
                self.commit_index(writer)?;
            }
            let (segment, file) = match tail {
                Some(tail) if !is_full(tail.end) => {
                    let path = segment::path(&self.root, tenant, tail.segment);
                    (tail.segment, AppendFile::open(files, &path, SetAside::Zeros, tail.end))
                }
                _ => {
                    let segment = tail.map_or(1, |tail| tail.segment + 1);
                    (segment, AppendFile::create(files, &segment::path(&self.root, tenant, segment), SetAside::Zeros))
                }
            };
            let file = file.map_err(|error| self.append_error(error))?;
            writer.tails.insert(tenant, Tail { segment, end: file.end() });
            writer.open.insert(tenant, OpenSegment { segment, file, last_group: writer.group });
        }
        Ok(writer.open.get_mut(&tenant).expect("it was put there if it was not"))
    }

    /// Cuts a tenant's open segment to size, durably, notes what was staged for it and closes it.
    fn end_segment(&self, writer: &mut Writer, tenant: TenantId, staged: Option<Staged>) -> Result<(), ChunksError> {
        if let Some(mut open) = writer.open.remove(&tenant) {
            open.file.trim().map_err(|error| self.append_error(error))?;
            self.note(writer, tenant, &open, staged);
        }
        Ok(())
    }

    /// Writes and syncs what was staged, tenant by tenant, and notes it.
    fn sync(&self, writer: &mut Writer, staged: BTreeMap<TenantId, Staged>) -> Result<(), ChunksError> {
        for (tenant, staged) in staged {
            let Some(mut open) = writer.open.remove(&tenant) else {
                continue;
            };
            open.file.sync().map_err(|error| self.append_error(error))?;
            self.note(writer, tenant, &open, Some(staged));
            writer.open.insert(tenant, open);
        }
        Ok(())
    }

    /// Puts durable rows into the index.
    fn note(&self, writer: &mut Writer, tenant: TenantId, open: &OpenSegment, staged: Option<Staged>) {
        let end = open.file.durable();
        let before = writer.tails.insert(tenant, Tail { segment: open.segment, end });
        writer.unscanned_bytes += end - before.map_or(0, |before| before.end.min(end));
        if let Some(staged) = staged {
            self.index.note(tenant, staged.tag, staged.rows, open.segment, end);
        }
    }

    fn commit_index(&self, writer: &mut Writer) -> Result<(), ChunksError> {
        self.index.flush().map_err(|error| self.fail(&error))?;
        writer.unscanned_bytes = 0;
        Ok(())
    }

    fn tidy(&self) -> Result<(), ChunksError> {
        self.check()?;
        let mut writer = lock(&self.writer);
        let idle: Vec<TenantId> = writer
            .open
            .iter()
            .filter(|(_, open)| open.last_group <= writer.tidied)
            .map(|(&tenant, _)| tenant)
            .collect();
        for tenant in idle {
            self.end_segment(&mut writer, tenant, None)?;
        }
        writer.tidied = writer.group;
        self.commit_index(&mut writer)
    }

    fn get(&self, tenant: TenantId, blob: BlobId, index: Option<u8>) -> Result<Fragment, ChunksError> {
        let (low, high) = (index.unwrap_or(0), index.unwrap_or(u8::MAX));
        let first = CopyName { blob, index: low, group: GroupId(0), lease: LeaseId(0) };
        let last = CopyName { blob, index: high, group: GroupId(u32::MAX), lease: LeaseId(u64::MAX) };
        let (from, to) = (Key::new(&tenant, &first), Key::new(&tenant, &last));
        let copies = self.index.range(&from, &to, usize::MAX).map_err(|error| self.fail(&error))?;
        let mut damaged = ChunksError::NotHere;
        for (key, location) in copies.into_iter().rev() {
            match self.read(&key, location)? {
                Ok(fragment) => return Ok(fragment),
                // It was freed meanwhile.
                Err(_) if self.index.find(&key).map_err(|error| self.fail(&error))? != Some(location) => {}
                Err(how) => {
                    metrics::damaged(how);
                    let index = key.copy().index;
                    tracing::warn!(%blob, index, how = how.label(), "a fragment is damaged");
                    damaged = ChunksError::Damaged { blob, index, how };
                }
            }
        }
        Err(damaged)
    }

    fn read(&self, key: &Key, location: Location) -> Result<Result<Fragment, How>, ChunksError> {
        let path = segment::path(&self.root, key.tenant(), location.segment);
        let file = match self.reader(key.tenant(), location.segment, &path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(How::Missing)),
            Err(cause) => return Err(unreadable(&path, "opened", cause)),
        };
        let offset = u64::from(location.block) * BLOCK_BYTES;
        let found =
            segment::read(&*file, offset, location.payload_bytes).map_err(|cause| unreadable(&path, "read", cause))?;
        let found = match found {
            Ok(found) => found,
            Err(how) => return Ok(Err(how)),
        };
        let FragmentHeader { copy, code, blob_bytes, payload_hash, .. } = found.header;
        if copy != key.copy() {
            return Ok(Err(How::Misdirected));
        }
        let payload = found.payload;
        metrics::read(payload.len() as u64);
        Ok(Ok(Fragment { copy, code, blob_bytes, payload_hash, payload }))
    }

    fn reader(&self, tenant: TenantId, segment: SegmentNumber, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = lock(&self.readers).get(tenant, segment) {
            return Ok(file);
        }
        let file = self.host.files().open(path, Open::Read)?;
        lock(&self.readers).insert(tenant, segment, &file);
        Ok(file)
    }

    fn list(&self, from: Option<Cursor>, limit: usize) -> Result<(Vec<Listed>, Option<Cursor>), ChunksError> {
        let from = from.map_or(Key([0; KEY_BYTES]), |cursor| cursor.0);
        let limit = limit.clamp(1, 10_000);
        let mut rows =
            self.index.range(&from, &Key([u8::MAX; KEY_BYTES]), limit + 1).map_err(|error| self.fail(&error))?;
        let next = if rows.len() <= limit { None } else { rows.pop().map(|(key, _)| Cursor(key)) };
        let listed = rows.into_iter().map(|(key, location)| Listed {
            tenant: key.tenant(),
            copy: key.copy(),
            code: location.code,
            file: segment::path(Path::new(""), key.tenant(), location.segment),
            payload_offset: u64::from(location.block) * BLOCK_BYTES + HEADER_BYTES as u64,
            payload_bytes: location.payload_bytes,
        });
        Ok((listed.collect(), next))
    }

    fn check(&self) -> Result<(), ChunksError> {
        match self.failure.get() {
            None => Ok(()),
            Some(why) => Err(ChunksError::Failed { why: Arc::clone(why) }),
        }
    }

    /// Marks the store as failed for good. Where the index may be what is damaged, it is left to be made again: else the next
    /// process would find it as it is, and fail again.
    fn fail(&self, error: &(dyn std::error::Error + 'static)) -> ChunksError {
        let why = chain(error);
        tracing::error!(error = %why, "the chunk store has failed");
        let is_damage = match error.downcast_ref::<IndexError>() {
            Some(IndexError::Failed(cause)) => index::is_damage(cause),
            Some(IndexError::Busy | IndexError::Unknown { .. }) => false,
            // a panic, of the database for all that is known
            None => matches!(error.downcast_ref::<LaneError>(), Some(LaneError::Poisoned { .. })),
        };
        if is_damage
            && self.failure.get().is_none()
            && let Err(error) = self.index.condemn(&**self.host.files())
        {
            tracing::error!(%error, "the index was not removed");
        }
        let _ = self.failure.set(Arc::clone(&why));
        self.failing.notify_waiters();
        ChunksError::Failed { why }
    }

    fn append_error(&self, error: AppendError) -> ChunksError {
        match error {
            AppendError::Full { .. } => {
                metrics::refused_full();
                ChunksError::DiskFull
            }
            error => self.fail(&error),
        }
    }
}

fn index_path(data_directory: &Path) -> PathBuf {
    data_directory.join("index.redb")
}

fn location(segment: SegmentNumber, offset: u64, header: &FragmentHeader) -> Location {
    Location {
        segment,
        block: u32::try_from(offset / BLOCK_BYTES).expect("segments are shorter than 16 TiB"),
        payload_bytes: header.payload_bytes,
        code: header.code,
    }
}

fn least_recent(open: &BTreeMap<TenantId, OpenSegment>) -> Option<TenantId> {
    open.iter().min_by_key(|(_, open)| open.last_group).map(|(&tenant, _)| tenant)
}

fn answer(pending: Pending, result: Result<(), ChunksError>) {
    // whoever asked may have gone
    let _ = pending.answer.send(result);
}

fn unreadable(path: &Path, doing: &'static str, cause: io::Error) -> ChunksError {
    ChunksError::Unreadable { path: path.to_owned(), doing, cause }
}

/// An error with its causes, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> Arc<str> {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.into()
}

/// State behind a mutex is whole between calls; a panic elsewhere has poisoned the lane, not the state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Segments open for reading, the oldest opening closed first.
#[derive(Default)]
struct Readers {
    files: BTreeMap<(TenantId, SegmentNumber), Arc<dyn DiskFile>>,
    order: VecDeque<(TenantId, SegmentNumber)>,
}

impl Readers {
    fn get(&self, tenant: TenantId, segment: SegmentNumber) -> Option<Arc<dyn DiskFile>> {
        self.files.get(&(tenant, segment)).map(Arc::clone)
    }

    fn forget(&mut self, tenant: TenantId, segment: SegmentNumber) {
        if self.files.remove(&(tenant, segment)).is_some() {
            self.order.retain(|known| *known != (tenant, segment));
        }
    }

    fn insert(&mut self, tenant: TenantId, segment: SegmentNumber, file: &Arc<dyn DiskFile>) {
        if self.files.insert((tenant, segment), Arc::clone(file)).is_none() {
            self.order.push_back((tenant, segment));
        }
        while READERS_MAX < self.order.len() {
            if let Some(oldest) = self.order.pop_front() {
                self.files.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests;
