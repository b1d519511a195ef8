//! Reading what is backed up: a thread that turns a walk into chunks and manifest entries, in order.
//!
//! ```text
//!   walk ─▶ unchanged since last read ──────────────────────▶ kept chunks   (no bytes: the shards have them)
//!        └▶ large file ──────────────▶ cut ─▶ name ─▶ place ─▶ chunk, chunk, …        ordinals count up
//!        └▶ small files ─▶ extent ───▶ cut ─▶ name ─▶ place ─▶ chunk …
//!        └▶ hardened: one stream ────▶ cut every 4 MiB, last one padded
//!   entries come out in the walk's order, each when the chunks that it names have ordinals
//! ```
//!
//! Promises: an entry's pieces are exactly the bytes that its hash was taken of, and its attributes are those of the file
//! that was opened; a file that cannot be read to its end is skipped whole; one that changes or vanishes meanwhile is
//! named and stops nothing; a file is left unread only if all that the file system says of it is as it was when it was
//! read, it is not due to be read again, and the shards have all of its chunks; at most one extent and a few chunks are in
//! memory here, the rest waits for a permit. Not here: what happens to chunks (`stream.rs`), where extents and chunks end
//! (`pack.rs`, `cut.rs`), holes (`stored.rs`), which names are one file (`links.rs`), what was read before (`cache.rs`).

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::Stat;
use strongroom_format::chunk::{CHUNK_BYTES_FIXED, Chunking};
use strongroom_format::id::{ChunkId, Digest};
use strongroom_format::manifest::entry::{self, Attributes, Content, Entry, Moment, Piece};
use strongroom_format::manifest::names::OwnerNames;
use strongroom_format::manifest::path::{EntryPath, PATH_BYTES_MAX};
use strongroom_format::seal::Kind as BlobKind;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::cache::Cache;
use super::cache::past::Remembered;
use super::cache::record::{CHUNKS_MAX, Record, RecordedChunk};
use super::clock::now;
use super::cut::{Cutting, MAX, Rest};
use super::links::{Links, Name};
use super::memory::{BLOCK_BYTES, Block, Memory};
use super::owners::Owners;
use super::pack::{Packer, Packing};
use super::pieces::Pieces;
use super::piped::Piped;
use super::place::{Kept, KeptChunk, Place, Placer};
use super::sealer::Sealer;
use super::stamp::Stamp;
use super::standing::Standing;
use super::stat::{Inode, attributes_of};
use super::stored::Stored;
use super::tally::Tally;
use super::walk::{Found, Kind, Walk, open_file};
use super::which::Known;
use super::xattrs;
use crate::error::Error;

/// A large file is read in steps of so many bytes, each hashed while it is near the processor.
const STEP_BYTES: usize = 512 << 10;
/// Why something is not in a snapshot.
const VANISHED: &str = "it vanished while it was backed up";
/// So many entries wait for an extent to end; then it ends. Far more than are in one that fills.
const WAITING_MAX: usize = 1 << 16;
/// Of a changed file, so many chunks at most are looked for where they were.
const SOUGHT_MAX: usize = 1 << 16;

/// A named chunk that waits to be stored, or is.
pub(crate) struct Chunk {
    pub id: ChunkId,
    pub place: Place,
    pub origin: Origin,
}

/// Where a chunk's bytes are.
#[derive(Clone)]
pub(crate) enum Origin {
    /// Here: they were read.
    Read(Bytes),
    /// In the shard that its run lies in.
    Kept { plaintext_bytes: u32, known: Known },
}

/// What comes out, in order.
pub(crate) enum Step {
    /// Attributes of the directory that is backed up itself. First, if at all.
    Top(Attributes),
    /// The next chunk of the sequence.
    Chunk(Chunk),
    /// The next entry of the manifest.
    Entry(Box<Entry>),
    /// Something is not backed up.
    Skipped,
    /// Something changed or vanished while it was backed up.
    Changed,
    /// What the owners of all entries are called. Last.
    Owners(OwnerNames),
}

/// Why reading ends before its end.
enum Stop {
    /// Nobody takes steps any more.
    Gone,
    /// What was to be read whole was not.
    Failed(Error),
}

/// The reading end of a backup.
pub(crate) struct Reader {
    chunking: Chunking,
    sealer: Arc<Sealer>,
    steps: mpsc::Sender<Step>,
    memory: Arc<Memory>,
    runtime: Handle,
    tally: Arc<Tally>,
    placer: Placer,
    cache: Cache,
    standing: Standing,
    next_ordinal: u64,
    packer: Packer,
    /// The present extent of small files; hardened: the stream's bytes that are no chunk yet.
    packed: Vec<u8>,
    waiting: VecDeque<Waiting>,
    links: Links,
    owners: Owners,
}

/// What is read to its end, step by step.
trait Contents {
    /// Appends the next bytes, at most so many; none at the end.
    fn fill(&mut self, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize>;

    /// How many bytes follow one of them, itself included, up to where a chunk of `fixed` ends.
    fn to_window_end(&self, at: u64, window: u64) -> u64;
}

/// What comes by a pipe: no holes, and no size before its end.
struct Pipe(Box<dyn Read + Send>);

/// A file that is about to be read.
struct Opened {
    path: EntryPath,
    attributes: Attributes,
    inode: Inode,
    content: Stored,
    stamp: Stamp,
    /// What its name led to when it was looked at is what was opened, and will show it if it changes from now on.
    is_settled: bool,
    past: Option<Remembered>,
}

/// An entry that waits for its turn, or for its extent to end.
struct Waiting {
    entry: Box<Entry>,
    /// Where its bytes begin in the present extent.
    begins: Option<usize>,
    /// What is to be remembered of it, but for the chunks that it does not have yet.
    record: Option<Record>,
}

/// A chunk that was put into the sequence.
#[derive(Clone, Copy)]
struct Put {
    ordinal: u64,
    recorded: RecordedChunk,
}

/// A file that was read to its end.
struct Taken {
    size: u64,
    pieces: Vec<Piece>,
    hash: Digest,
    /// Where it begins in the first of its chunks.
    offset: u32,
    /// Empty if there are too many to be remembered, or none yet.
    chunks: Vec<RecordedChunk>,
}

/// Chunks of a file as it was, by which those that are still in it find their shard.
type Sought = HashMap<ChunkId, KeptChunk>;

impl Reader {
    pub(crate) fn new(
        chunking: Chunking,
        sealer: Arc<Sealer>,
        steps: mpsc::Sender<Step>,
        memory: Arc<Memory>,
        tally: Arc<Tally>,
        placer: Placer,
    ) -> Self {
        Self {
            chunking,
            sealer,
            steps,
            memory,
            runtime: Handle::current(),
            tally,
            placer,
            cache: Cache::default(),
            standing: Standing::default(),
            next_ordinal: 0,
            packer: Packer::default(),
            packed: Vec::new(),
            waiting: VecDeque::new(),
            links: Links::default(),
            owners: Owners::default(),
        }
    }

    /// Reads a tree, beside what was read of it before, and says what is to be remembered. For a thread of its own: it
    /// blocks.
    ///
    /// # Errors
    /// None: what cannot be read is skipped.
    pub(crate) fn run(mut self, walk: Walk, cache: Cache) -> Result<Cache, Error> {
        self.cache = cache;
        match self.read_all(walk) {
            Ok(()) => Ok(self.cache),
            // Whoever took the steps has its own reason to be gone.
            Err(Stop::Gone) => Ok(Cache::default()),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// Reads the one file of a piped backup. For a thread of its own: it blocks.
    ///
    /// # Errors
    /// It was not read to its end, or the command that it comes from failed: nothing of it may be committed.
    pub(crate) fn run_piped(mut self, piped: &Piped) -> Result<Cache, Error> {
        match self.read_piped(piped) {
            Ok(()) | Err(Stop::Gone) => Ok(Cache::default()),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn read_all(&mut self, walk: Walk) -> Result<(), Stop> {
        for found in walk {
            match found.kind {
                Kind::Skipped(why) => self.skip(found.path, why)?,
                Kind::Vanished => self.changed(found.path, VANISHED)?,
                Kind::Directory if found.path.is_empty() => {
                    self.meet_owner(&found.attributes);
                    self.send(Step::Top(found.attributes))?;
                    if let Some(why) = found.lacks {
                        self.skip(found.path, why)?;
                    }
                }
                Kind::Directory | Kind::File { .. } | Kind::Symlink(_) | Kind::Fifo | Kind::Device(_) => {
                    match EntryPath::new(found.path.clone()) {
                        Ok(path) => self.take(path, found)?,
                        Err(why) => self.skip(found.path, why.to_string())?,
                    }
                }
            }
        }
        self.end()
    }

    fn read_piped(&mut self, piped: &Piped) -> Result<(), Stop> {
        let mut source = Pipe(piped.begin().map_err(Stop::Failed)?);
        self.tally.found(0);
        let taken = match self.chunking {
            Chunking::Default | Chunking::Fixed => self.read_large(&mut source, &Sought::new())?,
            Chunking::Hardened => self.read_into_stream(&mut source)?,
        };
        let Taken { size, pieces, hash, .. } =
            taken.map_err(|cause| Stop::Failed(Error::failed("what was piped cannot be read", cause)))?;
        piped.end().map_err(Stop::Failed)?;
        let file = entry::File { size, pieces, hash, last_read: now(), holes: Vec::new() };
        let entry = entry(piped.path().clone(), piped.attributes(), 1, Content::File(file));
        self.queue(Waiting { entry, begins: None, record: None }, Inode::default())?;
        self.end()
    }

    fn end(&mut self) -> Result<(), Stop> {
        match self.chunking {
            Chunking::Default | Chunking::Fixed => self.end_extent()?,
            Chunking::Hardened => {
                if !self.packed.is_empty() {
                    self.packed.resize(CHUNK_BYTES_FIXED as usize, 0);
                    self.chunk_of_stream()?;
                }
                self.send_ready()?;
            }
        }
        self.send(Step::Owners(self.owners.names()))
    }

    fn take(&mut self, path: EntryPath, found: Found) -> Result<(), Stop> {
        let Found { attributes, inode, kind, lacks, .. } = found;
        if let Kind::File { stamp, .. } = &kind {
            self.tally.found(stamp.bytes);
        }
        let is_directory = matches!(kind, Kind::Directory);
        if !is_directory && 1 < inode.names {
            match self.links.meet(&inode) {
                Name::First => {}
                Name::Changed => self.changed(found.path, "it changed since another of its names was read")?,
                Name::Another { back } => {
                    let attributes = Attributes { xattrs: Vec::new(), ..attributes };
                    let entry = entry(path, attributes, 1, Content::HardLink { back });
                    return self.queue(Waiting { entry, begins: None, record: None }, inode);
                }
            }
        }
        let names = if is_directory { 1 } else { inode.names };
        let bytes_of = |path: &EntryPath| path.as_bytes().to_vec();
        let content = match kind {
            Kind::Directory => Content::Directory,
            Kind::Symlink(target) if !(1..=PATH_BYTES_MAX).contains(&target.len()) => {
                return self.skip(bytes_of(&path), "the link's target is too long".into());
            }
            Kind::Symlink(target) => Content::Symlink { target },
            Kind::Fifo => Content::Fifo,
            Kind::Device(device) => Content::Device(device),
            Kind::File { stamp, parent, name } => {
                let mut past = self.cache.recall(&path);
                if let Some(found) = past.take_if(|past| past.is_unchanged(stamp, now())) {
                    match self.refer(&found)? {
                        Some(pieces) => {
                            self.tally.unchanged(stamp.bytes);
                            let mut attributes = attributes;
                            match xattrs::of_name(&parent, &name) {
                                Ok(xattrs) => attributes.xattrs = xattrs,
                                Err(why) => self.skip(bytes_of(&path), why)?,
                            }
                            return self.keep(path, attributes, inode, found.record, pieces);
                        }
                        None => past = Some(found),
                    }
                }
                return match open_file(&parent, &name) {
                    Ok((file, stat)) => self.take_file(path, file, stat, stamp, past),
                    Err(why) if why.kind() == ErrorKind::NotFound => self.changed(bytes_of(&path), VANISHED),
                    Err(why) => self.skip(bytes_of(&path), why.to_string()),
                };
            }
            Kind::Vanished => return self.changed(bytes_of(&path), VANISHED),
            Kind::Skipped(why) => return self.skip(bytes_of(&path), why),
        };
        if let Some(why) = lacks {
            self.skip(bytes_of(&path), why)?;
        }
        self.queue(Waiting { entry: entry(path, attributes, names, content), begins: None, record: None }, inode)
    }

    /// An entry whose bytes are those that were read before.
    fn keep(
        &mut self,
        path: EntryPath,
        attributes: Attributes,
        inode: Inode,
        record: Record,
        pieces: Vec<Piece>,
    ) -> Result<(), Stop> {
        let (seconds, nanos) = record.last_read;
        let last_read = Moment { seconds, nanos };
        // Files with holes are not remembered.
        let file = entry::File { size: record.stamp.bytes, pieces, hash: record.hash, last_read, holes: Vec::new() };
        let entry = entry(path, attributes, inode.names, Content::File(file));
        self.queue(Waiting { entry, begins: None, record: Some(record) }, inode)
    }

    /// An open file, as it is now: who opened it may have seen another one under its name.
    fn take_file(
        &mut self,
        path: EntryPath,
        file: File,
        stat: Stat,
        stamp: Stamp,
        past: Option<Remembered>,
    ) -> Result<(), Stop> {
        let mut attributes = attributes_of(&stat);
        match xattrs::of(&file) {
            Ok(xattrs) => attributes.xattrs = xattrs,
            Err(why) => self.skip(path.as_bytes().to_vec(), why)?,
        }
        let is_settled = stamp.is_settled_at(now()) && Stamp::of(&stat) == stamp;
        let inode = Inode::of(&stat);
        let mut opened = Opened { path, attributes, inode, content: Stored::new(file, stat), stamp, is_settled, past };
        if self.chunking != Chunking::Hardened && Packer::packs(opened.content.bytes()) {
            return self.take_small(opened);
        }
        let taken = if self.chunking == Chunking::Hardened {
            self.read_into_stream(&mut opened.content)?
        } else {
            let kept = opened.past.iter().flat_map(|past| past.chunks.iter().take(SOUGHT_MAX).flatten());
            let sought = kept.map(|kept| (kept.id, *kept)).collect();
            self.read_large(&mut opened.content, &sought)?
        };
        match taken {
            Ok(taken) => self.put_file(opened, taken, None),
            Err(why) => self.skip(opened.path.as_bytes().to_vec(), why.to_string()),
        }
    }

    /// A small file: read, and packed, unless its bytes are those that were read before.
    fn take_small(&mut self, mut opened: Opened) -> Result<(), Stop> {
        let begins = self.packed.len();
        if let Err(why) = opened.content.fill(&mut self.packed, usize::MAX) {
            self.packed.truncate(begins);
            return self.skip(opened.path.as_bytes().to_vec(), why.to_string());
        }
        let content = &self.packed[begins..];
        let size = content.len() as u64;
        let hash = Digest::from_bytes(*blake3::hash(content).as_bytes());
        self.tally.read(size);
        if opened.is_settled
            && size == opened.stamp.bytes
            && let Some(past) = opened.past.take_if(|past| past.record.hash == hash)
            && let Some(pieces) = self.refer(&past)?
        {
            self.packed.truncate(begins);
            let Record { offset, chunks, .. } = past.record;
            return self.put_file(opened, Taken { size, pieces, hash, offset, chunks }, None);
        }
        if self.packer.place(opened.path.as_bytes(), size) == Packing::Begins {
            let content = self.packed.split_off(begins);
            self.end_extent()?;
            self.packed.extend_from_slice(&content);
        }
        let begins = usize::try_from(size).ok().filter(|size| *size != 0).map(|size| self.packed.len() - size);
        self.put_file(opened, Taken { size, pieces: Vec::new(), hash, offset: 0, chunks: Vec::new() }, begins)
    }

    /// A file that was read. `begins`: where it begins in the present extent, if it is in it.
    fn put_file(&mut self, opened: Opened, taken: Taken, begins: Option<usize>) -> Result<(), Stop> {
        let Opened { path, attributes, inode, content, stamp, is_settled, .. } = opened;
        let Taken { size: stored_bytes, pieces, hash, offset, chunks } = taken;
        let described = content.finish();
        let is_as_it_was = is_settled && described.changed.is_none();
        if let Some(why) = described.changed {
            self.changed(path.as_bytes().to_vec(), why)?;
        }
        let last_read = now();
        // The cache says nothing of holes, and nothing of files of which it does not know the chunks.
        let is_remembered = is_as_it_was
            && described.holes.is_empty()
            && stored_bytes == stamp.bytes
            && (begins.is_some() || stored_bytes == 0 || !chunks.is_empty())
            && self.chunking != Chunking::Hardened;
        let record = is_remembered.then(|| Record {
            path: path.as_bytes().to_vec(),
            stamp,
            hash,
            last_read: (last_read.seconds, last_read.nanos),
            offset,
            chunks,
        });
        let (size, holes) = (described.size, described.holes);
        let file = entry::File { size, pieces, hash, last_read, holes };
        let entry = entry(path, attributes, inode.names, Content::File(file));
        self.queue(Waiting { entry, begins, record }, inode)
    }

    /// The pieces of a file whose chunks the shards have; `None` if they do not, or cannot take a run that refers to
    /// them.
    fn refer(&mut self, past: &Remembered) -> Result<Option<Vec<Piece>>, Stop> {
        let Some(chunks) = past.whole() else { return Ok(None) };
        let mut pieces = Pieces::default();
        let mut rest = past.record.stamp.bytes;
        let mut offset = past.record.offset;
        for chunk in chunks {
            let Some(ordinal) = self.stand(&chunk)? else { return Ok(None) };
            let here = chunk.plaintext_bytes.saturating_sub(offset);
            let length = u32::try_from(rest).unwrap_or(u32::MAX).min(here);
            pieces.add(ordinal, chunk.plaintext_bytes, offset, length);
            rest -= u64::from(length);
            offset = 0;
        }
        Ok((rest == 0).then(|| pieces.finish()))
    }

    /// Where a kept chunk stands in the sequence: from now on, if it does not yet.
    fn stand(&mut self, chunk: &KeptChunk) -> Result<Option<u64>, Stop> {
        if let Some(ordinal) = self.standing.ordinal(&chunk.id) {
            return Ok(Some(ordinal));
        }
        self.put_kept(chunk)
    }

    /// Puts a kept chunk into the sequence; `None` if it cannot stand there.
    fn put_kept(&mut self, chunk: &KeptChunk) -> Result<Option<u64>, Stop> {
        let place = match self.placer.kept(chunk) {
            None => return Ok(None),
            Some(Kept::Alone(place)) => place,
            Some(Kept::Behind(anchor)) => {
                self.send_kept(&anchor, Place::Begins(anchor.group))?;
                Place::Follows
            }
        };
        self.send_kept(chunk, place).map(Some)
    }

    fn send_kept(&mut self, chunk: &KeptChunk, place: Place) -> Result<u64, Stop> {
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        self.standing.note(chunk.id, ordinal);
        let origin = Origin::Kept { plaintext_bytes: chunk.plaintext_bytes, known: chunk.known };
        self.send(Step::Chunk(Chunk { id: chunk.id, place, origin }))?;
        Ok(ordinal)
    }

    /// A large file: an extent of its own, through the window. What was already cut of a file that then fails stays in
    /// the sequence, named by no entry.
    fn read_large(&mut self, source: &mut dyn Contents, sought: &Sought) -> Result<io::Result<Taken>, Stop> {
        let cutting = self.cutting();
        let mut hasher = blake3::Hasher::new();
        let (mut size, mut cut) = (0_u64, 0_u64);
        let mut pieces = Pieces::default();
        let mut chunks = Vec::new();
        let mut block = self.lend()?;
        loop {
            let mut rest = Rest::Follows;
            while block.len() < BLOCK_BYTES && rest == Rest::Follows {
                let held = block.len();
                match source.fill(&mut block, STEP_BYTES.min(BLOCK_BYTES - held)) {
                    Ok(0) => rest = Rest::Ends,
                    Ok(read) => {
                        hasher.update(&block[held..]);
                        size += read as u64;
                        self.tally.read(read as u64);
                    }
                    Err(why) => return Ok(Err(why)),
                }
            }
            let mut ends = Vec::new();
            let mut start = 0;
            while let Some(length) = cutting.first(&block[start..], rest) {
                let length = match cutting {
                    Cutting::Content => length,
                    // A hole that is filled moves nothing behind it into other chunks.
                    Cutting::Fixed => {
                        let window = source.to_window_end(cut, CHUNK_BYTES_FIXED.into());
                        usize::try_from(window).map_or(length, |window| length.min(window))
                    }
                };
                start += length;
                cut += length as u64;
                ends.push(start);
            }
            let full = match rest {
                Rest::Ends => block.freeze(),
                Rest::Follows => {
                    // What no chunk ends in is the beginning of the next block.
                    let full = std::mem::replace(&mut block, self.lend()?);
                    block.extend_from_slice(&full[start..]);
                    for put in self.chunks(&full.freeze(), &ends, sought)? {
                        add_whole(&mut pieces, &mut chunks, put);
                    }
                    continue;
                }
            };
            for put in self.chunks(&full, &ends, sought)? {
                add_whole(&mut pieces, &mut chunks, put);
            }
            break;
        }
        if CHUNKS_MAX < chunks.len() {
            chunks.clear();
        }
        let hash = Digest::from_bytes(*hasher.finalize().as_bytes());
        Ok(Ok(Taken { size, pieces: pieces.finish(), hash, offset: 0, chunks }))
    }

    /// Hardened: all files are one stream, cut without restarts. What was taken of a file that then fails stays in the
    /// stream, named by no entry.
    fn read_into_stream(&mut self, source: &mut dyn Contents) -> Result<io::Result<Taken>, Stop> {
        let full = CHUNK_BYTES_FIXED as usize;
        let first = self.next_ordinal;
        let offset = u32::try_from(self.packed.len()).expect("less than a chunk");
        let mut hasher = blake3::Hasher::new();
        let mut size = 0_u64;
        loop {
            let held = self.packed.len();
            match source.fill(&mut self.packed, full - held) {
                Ok(0) => break,
                Ok(read) => {
                    hasher.update(&self.packed[held..]);
                    size += read as u64;
                    self.tally.read(read as u64);
                }
                Err(why) => return Ok(Err(why)),
            }
            if self.packed.len() == full {
                self.chunk_of_stream()?;
            }
        }
        let pieces = if size == 0 { Vec::new() } else { vec![Piece { first, offset, length: size }] };
        let hash = Digest::from_bytes(*hasher.finalize().as_bytes());
        Ok(Ok(Taken { size, pieces, hash, offset: 0, chunks: Vec::new() }))
    }

    /// Cuts the present extent of small files and gives its files their pieces.
    fn end_extent(&mut self) -> Result<(), Stop> {
        let extent = std::mem::take(&mut self.packed);
        let cutting = self.cutting();
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        let mut start = 0;
        while let Some(length) = cutting.first(&extent[start..], Rest::Ends) {
            starts.push(start);
            start += length;
            ends.push(start);
        }
        let capacity = extent.capacity();
        let extent = self.memory.hold(&self.runtime, extent).map_err(|_| Stop::Gone)?;
        let chunks = self.chunks(&extent, &ends, &Sought::new())?;
        for waiting in &mut self.waiting {
            let (Some(begins), Content::File(file)) = (waiting.begins, &mut waiting.entry.content) else { continue };
            let at = starts.partition_point(|start| *start <= begins) - 1;
            let until = begins + usize::try_from(file.stored_bytes()).expect("it is in memory");
            let chunks = &chunks[at..starts.partition_point(|start| *start < until)];
            let offset = u32::try_from(begins - starts[at]).expect("less than a chunk");
            file.pieces = vec![Piece { first: chunks[0].ordinal, offset, length: file.stored_bytes() }];
            if let Some(record) = &mut waiting.record {
                record.offset = offset;
                record.chunks = chunks.iter().map(|put| put.recorded).collect();
            }
            waiting.begins = None;
        }
        self.packed = Vec::with_capacity(capacity);
        self.send_ready()
    }

    fn queue(&mut self, waiting: Waiting, inode: Inode) -> Result<(), Stop> {
        self.meet_owner(&waiting.entry.attributes);
        if waiting.entry.names != 1 {
            self.links.made(inode);
        }
        self.waiting.push_back(waiting);
        self.send_ready()?;
        if WAITING_MAX <= self.waiting.len() {
            self.packer.restart();
            self.end_extent()?;
        }
        Ok(())
    }

    fn meet_owner(&mut self, attributes: &Attributes) {
        if let Some(owner) = attributes.owner {
            self.owners.meet(owner);
        }
    }

    fn send_ready(&mut self) -> Result<(), Stop> {
        while self.waiting.front().is_some_and(|waiting| waiting.begins.is_none()) {
            let Some(waiting) = self.waiting.pop_front() else { break };
            if let Some(record) = waiting.record {
                self.cache.note(record);
            }
            self.send(Step::Entry(waiting.entry))?;
        }
        Ok(())
    }

    /// Hardened: the stream's next 4 MiB.
    fn chunk_of_stream(&mut self) -> Result<(), Stop> {
        let chunk = std::mem::take(&mut self.packed);
        let ends = [chunk.len()];
        let chunk = self.memory.hold(&self.runtime, chunk).map_err(|_| Stop::Gone)?;
        self.chunks(&chunk, &ends, &Sought::new()).map(drop)
    }

    /// Names, places and sends chunks that lie one after the other. Those that are sought are referred to where they
    /// are.
    fn chunks(&mut self, bytes: &Bytes, ends: &[usize], sought: &Sought) -> Result<Vec<Put>, Stop> {
        let mut start = 0;
        let mut all = Vec::with_capacity(ends.len());
        for end in ends {
            let plaintext = bytes.slice(start..*end);
            start = *end;
            debug_assert!((1..=MAX).contains(&plaintext.len()), "a chunk has 1 byte to 4 MiB");
            let plaintext_bytes = u32::try_from(plaintext.len()).expect("a chunk has at most 4 MiB");
            let id = self.sealer.name(BlobKind::Data, &plaintext);
            if let Some(kept) = sought.get(&id)
                && let Some(ordinal) = self.put_kept(kept)?
            {
                all.push(Put { ordinal, recorded: RecordedChunk { id, plaintext_bytes, group: kept.group } });
                continue;
            }
            let (group, place) = self.placer.read(&id);
            all.push(Put { ordinal: self.next_ordinal, recorded: RecordedChunk { id, plaintext_bytes, group } });
            self.next_ordinal += 1;
            self.send(Step::Chunk(Chunk { id, place, origin: Origin::Read(plaintext) }))?;
        }
        Ok(all)
    }

    fn cutting(&self) -> Cutting {
        match self.chunking {
            Chunking::Default => Cutting::Content,
            Chunking::Fixed | Chunking::Hardened => Cutting::Fixed,
        }
    }

    fn lend(&self) -> Result<Block, Stop> {
        self.memory.lend(&self.runtime).map_err(|_| Stop::Gone)
    }

    fn skip(&mut self, path: Vec<u8>, why: String) -> Result<(), Stop> {
        self.tally.skipped(path, why);
        self.send(Step::Skipped)
    }

    fn changed(&mut self, path: Vec<u8>, why: &str) -> Result<(), Stop> {
        self.tally.changed(path, why.to_owned());
        self.send(Step::Changed)
    }

    fn send(&self, step: Step) -> Result<(), Stop> {
        self.steps.blocking_send(step).map_err(|_| Stop::Gone)
    }
}

impl Contents for Stored {
    fn fill(&mut self, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        self.fill(buffer, most)
    }

    fn to_window_end(&self, at: u64, window: u64) -> u64 {
        self.to_window_end(at, window)
    }
}

impl Contents for Pipe {
    fn fill(&mut self, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        self.0.by_ref().take(most as u64).read_to_end(buffer)
    }

    fn to_window_end(&self, at: u64, window: u64) -> u64 {
        window - at % window
    }
}

impl Origin {
    /// How long the plaintext is.
    pub(crate) fn plaintext_bytes(&self) -> u32 {
        match self {
            Self::Read(plaintext) => u32::try_from(plaintext.len()).expect("a chunk has at most 4 MiB"),
            Self::Kept { plaintext_bytes, .. } => *plaintext_bytes,
        }
    }

    /// What of it is in memory.
    pub(crate) fn bytes_held(&self) -> usize {
        match self {
            Self::Read(plaintext) => plaintext.len(),
            Self::Kept { .. } => 0,
        }
    }
}

/// A chunk of which the file has all. Beyond what may be remembered, its pieces are.
fn add_whole(pieces: &mut Pieces, chunks: &mut Vec<RecordedChunk>, put: Put) {
    let Put { ordinal, recorded } = put;
    pieces.add(ordinal, recorded.plaintext_bytes, 0, recorded.plaintext_bytes);
    if chunks.len() <= CHUNKS_MAX {
        chunks.push(recorded);
    }
}

fn entry(path: EntryPath, attributes: Attributes, names: u32, content: Content) -> Box<Entry> {
    Box::new(Entry { path, attributes, names, content, unknown: Vec::new() })
}
