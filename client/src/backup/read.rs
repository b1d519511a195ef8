//! Reading what is backed up: a thread that turns a walk into chunks and manifest entries, in order.
//!
//! ```text
//!   walk ─▶ large file ──────────────▶ cut ─▶ name ─▶ chunk, chunk, …        ordinals count up
//!        └▶ small files ─▶ extent ───▶ cut ─▶ name ─▶ chunk …
//!        └▶ hardened: one stream ────▶ cut every 4 MiB, last one padded
//!   entries come out in the walk's order, each when the chunks that it names have ordinals
//! ```
//!
//! Promises: an entry's pieces are exactly the bytes that its hash was taken of; a file that cannot be read to its end
//! is skipped whole; at most one extent and a few chunks are in memory here, the rest waits for a permit.
//! Not here: what happens to chunks (`stream.rs`), where extents and chunks end (`pack.rs`, `cut.rs`).

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use strongroom_format::chunk::{CHUNK_BYTES_FIXED, Chunking};
use strongroom_format::id::{ChunkId, Digest};
use strongroom_format::manifest::entry::{self, Attributes, Content, Entry, Moment, Piece};
use strongroom_format::manifest::path::{EntryPath, PATH_BYTES_MAX};
use strongroom_format::seal::Kind as BlobKind;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::cut::{Cutting, MAX, Rest};
use super::memory::{BLOCK_BYTES, Block, Memory};
use super::pack::{Packer, Packing};
use super::sealer::Sealer;
use super::walk::{Found, Kind, Walk, open_file};
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
        }
    }

    /// Reads everything. For a thread of its own: it blocks.
    pub(crate) fn run(mut self, walk: Walk) {
        // Whoever took the steps has its own reason to be gone.
        let _gone = self.read_all(walk);
    }

    fn read_all(&mut self, walk: Walk) -> Result<(), Gone> {
        for found in walk {
            if let Kind::Skipped(why) = found.kind {
                self.skip(found.path, why)?;
                continue;
            }
            if found.path.is_empty() {
                self.send(Step::Top(found.attributes))?;
                continue;
            }
            match EntryPath::new(found.path.clone()) {
                Ok(path) => self.take(path, found)?,
                Err(why) => self.skip(found.path, why.to_string())?,
            }
        }
        match self.chunking {
            Chunking::Default | Chunking::Fixed => self.end_extent(),
            Chunking::Hardened => {
                if !self.packed.is_empty() {
                    self.packed.resize(CHUNK_BYTES_FIXED as usize, 0);
                    self.chunk_of_stream()?;
                }
                self.send_ready()
            }
        }
    }

    fn take(&mut self, path: EntryPath, found: Found) -> Result<(), Gone> {
        let attributes = found.attributes;
        let content = match found.kind {
            Kind::Directory => Content::Directory,
            Kind::Symlink(target) if !(1..=PATH_BYTES_MAX).contains(&target.len()) => {
                return self.skip(found.path, "the link's target is too long".into());
            }
            Kind::Symlink(target) => Content::Symlink { target },
            Kind::File { bytes, parent, name } => {
                self.progress.tell(Event::Found { bytes });
                let file = match open_file(&parent, &name) {
                    Ok(file) => file,
                    Err(why) => return self.skip(found.path, why.to_string()),
                };
                return self.take_file(path, attributes, bytes, file);
            }
            Kind::Skipped(why) => return self.skip(found.path, why),
        };
        self.queue(Waiting { entry: entry(path, attributes, content), begins: None })
    }

    fn take_file(&mut self, path: EntryPath, attributes: Attributes, bytes: u64, file: File) -> Result<(), Gone> {
        if self.chunking == Chunking::Hardened {
            return self.take_into_stream(path, attributes, file);
        }
        match self.packer.place(path.as_bytes(), bytes) {
            Packing::Alone => return self.take_large(path, attributes, file),
            Packing::Begins => self.end_extent()?,
            Packing::Joins => {}
        }
        let begins = self.packed.len();
        if let Err(why) = file.take(bytes).read_to_end(&mut self.packed) {
            self.packed.truncate(begins);
            return self.skip(path.as_bytes().to_vec(), why.to_string());
        }
        let content = &self.packed[begins..];
        let size = content.len() as u64;
        let hash = Digest::from_bytes(*blake3::hash(content).as_bytes());
        self.progress.tell(Event::Read { bytes: size });
        let file = entry::File { size, pieces: Vec::new(), hash, last_read: now() };
        let begins = (size != 0).then_some(begins);
        self.queue(Waiting { entry: entry(path, attributes, Content::File(file)), begins })
    }

    /// A large file: an extent of its own, through the window. What was already cut of a file that then fails stays in
    /// the sequence, named by no entry.
    fn take_large(&mut self, path: EntryPath, attributes: Attributes, file: File) -> Result<(), Gone> {
        let cutting = match self.chunking {
            Chunking::Default => Cutting::Content,
            Chunking::Fixed | Chunking::Hardened => Cutting::Fixed,
        };
        // A file that grows while it is read ends where it ended when it was opened.
        let bytes = file.metadata().map_or(u64::MAX, |metadata| metadata.len());
        let mut file = file.take(bytes);
        let first = self.next_ordinal;
        let mut hasher = blake3::Hasher::new();
        let mut size = 0_u64;
        let mut block = self.lend()?;
        loop {
            let mut rest = Rest::Follows;
            while block.len() < BLOCK_BYTES && rest == Rest::Follows {
                let held = block.len();
                let step = STEP_BYTES.min(BLOCK_BYTES - held) as u64;
                match file.by_ref().take(step).read_to_end(&mut block) {
                    Ok(0) => rest = Rest::Ends,
                    Ok(read) => {
                        hasher.update(&block[held..]);
                        size += read as u64;
                        self.progress.tell(Event::Read { bytes: read as u64 });
                    }
                    Err(why) => return self.skip(path.as_bytes().to_vec(), why.to_string()),
                }
            }
            let mut ends = Vec::new();
            let mut start = 0;
            while let Some(length) = cutting.first(&block[start..], rest) {
                start += length;
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
        let file = entry::File { size, pieces, hash, last_read: now() };
        self.queue(Waiting { entry: entry(path, attributes, Content::File(file)), begins: None })
    }

    /// Hardened: all files are one stream, cut without restarts. What was taken of a file that then fails stays in the
    /// stream, named by no entry.
    fn take_into_stream(&mut self, path: EntryPath, attributes: Attributes, file: File) -> Result<(), Gone> {
        let full = CHUNK_BYTES_FIXED as usize;
        let bytes = file.metadata().map_or(u64::MAX, |metadata| metadata.len());
        let mut file = file.take(bytes);
        let first = self.next_ordinal;
        let offset = u32::try_from(self.packed.len()).expect("less than a chunk");
        let mut hasher = blake3::Hasher::new();
        let mut size = 0_u64;
        loop {
            let held = self.packed.len();
            match file.by_ref().take((full - held) as u64).read_to_end(&mut self.packed) {
                Ok(0) => break,
                Ok(read) => {
                    hasher.update(&self.packed[held..]);
                    size += read as u64;
                    self.progress.tell(Event::Read { bytes: read as u64 });
                }
                Err(why) => return self.skip(path.as_bytes().to_vec(), why.to_string()),
            }
            if self.packed.len() == full {
                self.chunk_of_stream()?;
            }
        }
        let pieces = if size == 0 { Vec::new() } else { vec![Piece { first, offset, length: size }] };
        let hash = Digest::from_bytes(*hasher.finalize().as_bytes());
        let file = entry::File { size, pieces, hash, last_read: now() };
        self.queue(Waiting { entry: entry(path, attributes, Content::File(file)), begins: None })
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
            file.pieces = vec![Piece { first: base + at as u64, offset, length: file.size }];
            waiting.begins = None;
        }
        self.packed = Vec::with_capacity(capacity);
        self.send_ready()
    }

    fn queue(&mut self, waiting: Waiting) -> Result<(), Gone> {
        self.waiting.push_back(waiting);
        self.send_ready()
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

    fn send(&self, step: Step) -> Result<(), Gone> {
        self.steps.blocking_send(step).map_err(|_| Gone)
    }
}

fn entry(path: EntryPath, attributes: Attributes, content: Content) -> Box<Entry> {
    Box::new(Entry { path, attributes, content, unknown: Vec::new() })
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
