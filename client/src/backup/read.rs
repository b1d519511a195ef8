//! Reading what is backed up: a thread that turns a walk into chunks and manifest entries, in order.
//!
//! ```text
//!   walk ─▶ large file ──────────────▶ cut ─▶ name ─▶ chunk, chunk, …        ordinals count up
//!        └▶ small files ─▶ extent ───▶ cut ─▶ name ─▶ chunk …
//!        └▶ hardened: one stream ────▶ cut every 4 MiB, last one padded
//!   entries come out in the walk's order, each when the chunks that it names have ordinals
//! ```
//!
//! Promises: an entry's pieces are exactly the bytes that its hash was taken of, and its attributes are those of the file
//! that was opened; a file that cannot be read to its end is skipped whole; one that changes or vanishes meanwhile is
//! named and stops nothing; at most one extent and a few chunks are in memory here, the rest waits for a permit.
//! Not here: what happens to chunks (`stream.rs`), where extents and chunks end (`pack.rs`, `cut.rs`), holes
//! (`stored.rs`), which names are one file (`links.rs`).

use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

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

use super::cut::{Cutting, MAX, Rest};
use super::links::{Links, Name};
use super::memory::{BLOCK_BYTES, Block, Memory};
use super::owners::Owners;
use super::pack::{Packer, Packing};
use super::sealer::Sealer;
use super::stat::{Inode, attributes_of};
use super::stored::Stored;
use super::walk::{Found, Kind, Walk, open_file};
use super::xattrs;
use crate::progress::{Event, Progress};

/// A large file is read in steps of so many bytes, each hashed while it is near the processor.
const STEP_BYTES: usize = 512 << 10;

/// A named chunk that waits to be stored.
pub(crate) struct Chunk {
    pub id: ChunkId,
    pub plaintext: Bytes,
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

/// Nobody takes steps any more.
struct Gone;

/// The reading end of a backup.
pub(crate) struct Reader {
    chunking: Chunking,
    sealer: Arc<Sealer>,
    steps: mpsc::Sender<Step>,
    memory: Arc<Memory>,
    runtime: Handle,
    progress: Progress,
    next_ordinal: u64,
    packer: Packer,
    /// The present extent of small files; hardened: the stream's bytes that are no chunk yet.
    packed: Vec<u8>,
    waiting: VecDeque<Waiting>,
    links: Links,
    owners: Owners,
}

/// A file that is about to be read.
struct Opened {
    path: EntryPath,
    attributes: Attributes,
    inode: Inode,
    content: Stored,
}

/// An entry that waits for its turn, or for its extent to end.
struct Waiting {
    entry: Box<Entry>,
    /// Where its bytes begin in the present extent.
    begins: Option<usize>,
}

impl Reader {
    pub(crate) fn new(
        chunking: Chunking,
        sealer: Arc<Sealer>,
        steps: mpsc::Sender<Step>,
        memory: Arc<Memory>,
        progress: Progress,
    ) -> Self {
        Self {
            chunking,
            sealer,
            steps,
            memory,
            runtime: Handle::current(),
            progress,
            next_ordinal: 0,
            packer: Packer::default(),
            packed: Vec::new(),
            waiting: VecDeque::new(),
            links: Links::default(),
            owners: Owners::default(),
        }
    }

    /// Reads everything. For a thread of its own: it blocks.
    pub(crate) fn run(mut self, walk: Walk) {
        // Whoever took the steps has its own reason to be gone.
        let _gone = self.read_all(walk);
    }

    fn read_all(&mut self, walk: Walk) -> Result<(), Gone> {
        for found in walk {
            match found.kind {
                Kind::Skipped(why) => self.skip(found.path, why)?,
                Kind::Vanished => self.changed(found.path, "it vanished while it was backed up")?,
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

    fn take(&mut self, path: EntryPath, found: Found) -> Result<(), Gone> {
        let Found { attributes, inode, kind, lacks, .. } = found;
        if let Kind::File { bytes, .. } = kind {
            self.progress.tell(Event::Found { bytes });
        }
        let is_directory = matches!(kind, Kind::Directory);
        if !is_directory && 1 < inode.names {
            match self.links.meet(&inode) {
                Name::First => {}
                Name::Changed => self.changed(found.path, "it changed since another of its names was read")?,
                Name::Another { back } => {
                    let attributes = Attributes { xattrs: Vec::new(), ..attributes };
                    return self.queue(entry(path, attributes, 1, Content::HardLink { back }), None, inode);
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
            Kind::File { parent, name, .. } => {
                return match open_file(&parent, &name) {
                    Ok((file, stat)) => self.take_file(path, file, stat),
                    Err(why) if why.kind() == ErrorKind::NotFound => {
                        self.changed(bytes_of(&path), "it vanished while it was backed up")
                    }
                    Err(why) => self.skip(bytes_of(&path), why.to_string()),
                };
            }
            Kind::Vanished => return self.changed(bytes_of(&path), "it vanished while it was backed up"),
            Kind::Skipped(why) => return self.skip(bytes_of(&path), why),
        };
        if let Some(why) = lacks {
            self.skip(bytes_of(&path), why)?;
        }
        self.queue(entry(path, attributes, names, content), None, inode)
    }

    /// An open file, as it is now: who opened it may have seen another one under its name.
    fn take_file(&mut self, path: EntryPath, file: File, stat: Stat) -> Result<(), Gone> {
        let mut attributes = attributes_of(&stat);
        match xattrs::of(&file) {
            Ok(xattrs) => attributes.xattrs = xattrs,
            Err(why) => self.skip(path.as_bytes().to_vec(), why)?,
        }
        let opened = Opened { path, attributes, inode: Inode::of(&stat), content: Stored::new(file, stat) };
        if self.chunking == Chunking::Hardened {
            return self.take_into_stream(opened);
        }
        match self.packer.place(opened.path.as_bytes(), opened.content.bytes()) {
            Packing::Alone => return self.take_large(opened),
            Packing::Begins => self.end_extent()?,
            Packing::Joins => {}
        }
        self.take_small(opened)
    }

    fn take_small(&mut self, mut opened: Opened) -> Result<(), Gone> {
        let begins = self.packed.len();
        if let Err(why) = opened.content.fill(&mut self.packed, usize::MAX) {
            self.packed.truncate(begins);
            return self.skip(opened.path.as_bytes().to_vec(), why.to_string());
        }
        let content = &self.packed[begins..];
        let hash = Digest::from_bytes(*blake3::hash(content).as_bytes());
        let bytes = content.len() as u64;
        self.progress.tell(Event::Read { bytes });
        self.put_file(opened, Vec::new(), hash, (bytes != 0).then_some(begins))
    }

    /// A large file: an extent of its own, through the window. What was already cut of a file that then fails stays in
    /// the sequence, named by no entry.
    fn take_large(&mut self, mut opened: Opened) -> Result<(), Gone> {
        let cutting = match self.chunking {
            Chunking::Default => Cutting::Content,
            Chunking::Fixed | Chunking::Hardened => Cutting::Fixed,
        };
        let first = self.next_ordinal;
        let mut hasher = blake3::Hasher::new();
        let (mut size, mut cut) = (0_u64, 0_u64);
        let mut block = self.lend()?;
        loop {
            let mut rest = Rest::Follows;
            while block.len() < BLOCK_BYTES && rest == Rest::Follows {
                let held = block.len();
                match opened.content.fill(&mut block, STEP_BYTES.min(BLOCK_BYTES - held)) {
                    Ok(0) => rest = Rest::Ends,
                    Ok(read) => {
                        hasher.update(&block[held..]);
                        size += read as u64;
                        self.progress.tell(Event::Read { bytes: read as u64 });
                    }
                    Err(why) => return self.skip(opened.path.as_bytes().to_vec(), why.to_string()),
                }
            }
            let mut ends = Vec::new();
            let mut start = 0;
            while let Some(length) = cutting.first(&block[start..], rest) {
                let length = match cutting {
                    Cutting::Content => length,
                    // A hole that is filled moves nothing behind it into other chunks.
                    Cutting::Fixed => {
                        let window = opened.content.to_window_end(cut, CHUNK_BYTES_FIXED.into());
                        usize::try_from(window).map_or(length, |window| length.min(window))
                    }
                };
                start += length;
                cut += length as u64;
                ends.push(start);
            }
            if rest == Rest::Ends {
                self.chunks(&block.freeze(), &ends)?;
                break;
            }
            // What no chunk ends in is the beginning of the next block.
            let full = std::mem::replace(&mut block, self.lend()?);
            block.extend_from_slice(&full[start..]);
            self.chunks(&full.freeze(), &ends)?;
        }
        let pieces = if size == 0 { Vec::new() } else { vec![Piece { first, offset: 0, length: size }] };
        let hash = Digest::from_bytes(*hasher.finalize().as_bytes());
        self.put_file(opened, pieces, hash, None)
    }

    /// Hardened: all files are one stream, cut without restarts. What was taken of a file that then fails stays in the
    /// stream, named by no entry.
    fn take_into_stream(&mut self, mut opened: Opened) -> Result<(), Gone> {
        let full = CHUNK_BYTES_FIXED as usize;
        let first = self.next_ordinal;
        let offset = u32::try_from(self.packed.len()).expect("less than a chunk");
        let mut hasher = blake3::Hasher::new();
        let mut size = 0_u64;
        loop {
            let held = self.packed.len();
            match opened.content.fill(&mut self.packed, full - held) {
                Ok(0) => break,
                Ok(read) => {
                    hasher.update(&self.packed[held..]);
                    size += read as u64;
                    self.progress.tell(Event::Read { bytes: read as u64 });
                }
                Err(why) => return self.skip(opened.path.as_bytes().to_vec(), why.to_string()),
            }
            if self.packed.len() == full {
                self.chunk_of_stream()?;
            }
        }
        let pieces = if size == 0 { Vec::new() } else { vec![Piece { first, offset, length: size }] };
        let hash = Digest::from_bytes(*hasher.finalize().as_bytes());
        self.put_file(opened, pieces, hash, None)
    }

    /// A file that was read. `begins`: where it begins in the present extent, if it is in it.
    fn put_file(
        &mut self,
        opened: Opened,
        pieces: Vec<Piece>,
        hash: Digest,
        begins: Option<usize>,
    ) -> Result<(), Gone> {
        let Opened { path, attributes, inode, content } = opened;
        let described = content.finish();
        if let Some(why) = described.changed {
            self.changed(path.as_bytes().to_vec(), why)?;
        }
        let (size, holes) = (described.size, described.holes);
        let file = entry::File { size, pieces, hash, last_read: now(), holes };
        self.queue(entry(path, attributes, inode.names, Content::File(file)), begins, inode)
    }

    /// Cuts the present extent of small files and gives its files their pieces.
    fn end_extent(&mut self) -> Result<(), Gone> {
        let extent = std::mem::take(&mut self.packed);
        let cutting = match self.chunking {
            Chunking::Default => Cutting::Content,
            Chunking::Fixed | Chunking::Hardened => Cutting::Fixed,
        };
        let base = self.next_ordinal;
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        let mut start = 0;
        while let Some(length) = cutting.first(&extent[start..], Rest::Ends) {
            starts.push(start);
            start += length;
            ends.push(start);
        }
        let capacity = extent.capacity();
        let extent = self.memory.hold(&self.runtime, extent).map_err(|_| Gone)?;
        self.chunks(&extent, &ends)?;
        for waiting in &mut self.waiting {
            let (Some(begins), Content::File(file)) = (waiting.begins, &mut waiting.entry.content) else { continue };
            let at = starts.partition_point(|start| *start <= begins) - 1;
            let offset = u32::try_from(begins - starts[at]).expect("less than a chunk");
            file.pieces = vec![Piece { first: base + at as u64, offset, length: file.stored_bytes() }];
            waiting.begins = None;
        }
        self.packed = Vec::with_capacity(capacity);
        self.send_ready()
    }

    fn queue(&mut self, entry: Box<Entry>, begins: Option<usize>, inode: Inode) -> Result<(), Gone> {
        self.meet_owner(&entry.attributes);
        if entry.names != 1 {
            self.links.made(inode);
        }
        self.waiting.push_back(Waiting { entry, begins });
        self.send_ready()
    }

    fn meet_owner(&mut self, attributes: &Attributes) {
        if let Some(owner) = attributes.owner {
            self.owners.meet(owner);
        }
    }

    fn send_ready(&mut self) -> Result<(), Gone> {
        while self.waiting.front().is_some_and(|waiting| waiting.begins.is_none()) {
            let Some(waiting) = self.waiting.pop_front() else { break };
            self.send(Step::Entry(waiting.entry))?;
        }
        Ok(())
    }

    /// Hardened: the stream's next 4 MiB.
    fn chunk_of_stream(&mut self) -> Result<(), Gone> {
        let chunk = std::mem::take(&mut self.packed);
        let ends = [chunk.len()];
        let chunk = self.memory.hold(&self.runtime, chunk).map_err(|_| Gone)?;
        self.chunks(&chunk, &ends)
    }

    /// Names and sends chunks that lie one after the other.
    fn chunks(&mut self, bytes: &Bytes, ends: &[usize]) -> Result<(), Gone> {
        let mut start = 0;
        for end in ends {
            let plaintext = bytes.slice(start..*end);
            debug_assert!((1..=MAX).contains(&plaintext.len()), "a chunk has 1 byte to 4 MiB");
            self.next_ordinal += 1;
            let id = self.sealer.name(BlobKind::Data, &plaintext);
            self.send(Step::Chunk(Chunk { id, plaintext }))?;
            start = *end;
        }
        Ok(())
    }

    fn lend(&self) -> Result<Block, Gone> {
        self.memory.lend(&self.runtime).map_err(|_| Gone)
    }

    fn skip(&mut self, path: Vec<u8>, why: String) -> Result<(), Gone> {
        self.progress.tell(Event::Skipped { path, why });
        self.send(Step::Skipped)
    }

    fn changed(&mut self, path: Vec<u8>, why: &str) -> Result<(), Gone> {
        self.progress.tell(Event::Changed { path, why: why.to_owned() });
        self.send(Step::Changed)
    }

    fn send(&self, step: Step) -> Result<(), Gone> {
        self.steps.blocking_send(step).map_err(|_| Gone)
    }
}

fn entry(path: EntryPath, attributes: Attributes, names: u32, content: Content) -> Box<Entry> {
    Box::new(Entry { path, attributes, names, content, unknown: Vec::new() })
}

/// The machine's wall clock: a label.
pub(crate) fn now() -> Moment {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => {
            Moment { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
        }
        Err(_before_1970) => Moment::default(),
    }
}
