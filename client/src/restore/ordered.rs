//! Stretches of chunks in the order in which somebody wants them: for whoever writes to a pipe.
//!
//! ```text
//!   parts ─▶ windows ─▶ this one is given out while the next is fetched from all members at once
//! ```
//!
//! Promises: the order asked for; every stretch is of a verified chunk, or says that its chunk is lost; memory is two
//! windows, whatever is read. Not here: files, and whether they are whole (`cat.rs`, `dump.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use strongroom_format::command::BlobRef;
use strongroom_format::seal::Kind;
use tokio::task::JoinSet;

use super::book::Book;
use super::fetch::opening::{Sink, Stats};
use super::fetch::work::WantedRun;
use super::fetch::{Found, fetch};
use super::gate::Gate;
use super::layout::Part;
use crate::error::{Error, Result};

/// Plaintext of a window; one chunk more at most.
const WINDOW_BYTES: u64 = 24 << 20;

/// A chunk, or why it is lost.
type Chunk = std::result::Result<Arc<Vec<u8>>, String>;

/// A stretch of a file.
pub(crate) struct Stretch {
    pub part: Part,
    chunk: Chunk,
}

impl Stretch {
    /// Its bytes, or why nobody has them.
    pub(crate) fn bytes(&self) -> std::result::Result<&[u8], &str> {
        let chunk = self.chunk.as_ref().map_err(String::as_str)?;
        let first = self.part.chunk_offset as usize;
        chunk.get(first..first + self.part.bytes as usize).ok_or("its chunk is shorter than it should be")
    }
}

/// A window that came.
struct Fetched {
    parts: Vec<Part>,
    had: BTreeMap<u64, Chunk>,
    found: Found,
}

/// Parts on their way.
pub(crate) struct Ordered<'book> {
    gate: Arc<Gate>,
    book: &'book Book<'book>,
    /// Of no window yet.
    later: VecDeque<Part>,
    /// The window that is given out.
    now: VecDeque<Part>,
    had: BTreeMap<u64, Chunk>,
    /// The one that is fetched; at most one.
    coming: JoinSet<Result<Fetched>>,
    stats: Stats,
    bad_blobs: BTreeSet<BlobRef>,
}

impl<'book> Ordered<'book> {
    /// Begins to fetch. `parts` are in the order wanted, all of runs that `book` has read.
    pub(crate) fn begin(gate: &Arc<Gate>, book: &'book Book<'book>, parts: impl Into<VecDeque<Part>>) -> Result<Self> {
        let mut ordered = Self {
            gate: Arc::clone(gate),
            book,
            later: parts.into(),
            now: VecDeque::new(),
            had: BTreeMap::new(),
            coming: JoinSet::new(),
            stats: Stats::default(),
            bad_blobs: BTreeSet::new(),
        };
        ordered.fetch_next()?;
        Ok(ordered)
    }

    /// The next stretch; `None` behind the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Stretch>> {
        loop {
            if let Some(part) = self.now.pop_front() {
                let chunk = self.had.get(&part.ordinal).cloned();
                let chunk = chunk.ok_or_else(|| Error::broken("a chunk was neither fetched nor lost"))?;
                return Ok(Some(Stretch { part, chunk }));
            }
            let Some(ended) = self.coming.join_next().await else { return Ok(None) };
            let Fetched { parts, had, found } = ended.map_err(|panic| Error::failed("fetching broke", panic))??;
            self.stats.fragments_bad += found.stats.fragments_bad;
            self.stats.blobs_rebuilt += found.stats.blobs_rebuilt;
            self.bad_blobs.extend(found.bad_blobs);
            (self.now, self.had) = (parts.into(), had);
            self.fetch_next()?;
        }
    }

    /// What nodes said about their own troubles, and blobs that do not open.
    pub(crate) fn finish(self) -> (Stats, BTreeSet<BlobRef>) {
        (self.stats, self.bad_blobs)
    }

    fn fetch_next(&mut self) -> Result<()> {
        let (mut parts, mut ordinals, mut bytes) = (Vec::new(), BTreeSet::new(), 0);
        while let Some(part) = self.later.front() {
            if !ordinals.contains(&part.ordinal) {
                if WINDOW_BYTES <= bytes {
                    break;
                }
                let (chunk_bytes, _) = self.book.chunk(part.ordinal).ok_or_else(|| Error::broken("an unread run"))?;
                bytes += u64::from(chunk_bytes);
                ordinals.insert(part.ordinal);
            }
            parts.extend(self.later.pop_front());
        }
        if parts.is_empty() {
            return Ok(());
        }
        let wanted: Vec<WantedRun> = self.book.wanted(ordinals.into_iter())?;
        let firsts: BTreeMap<usize, u64> = wanted.iter().map(|run| (run.number, self.book.first(run.number))).collect();
        let gate = Arc::clone(&self.gate);
        self.coming.spawn(async move {
            let sink = Arc::new(Window { firsts, had: Mutex::default() });
            let found = fetch(&gate, Kind::Data, wanted, Arc::clone(&sink) as Arc<dyn Sink>).await?;
            let had = std::mem::take(&mut *sink.had.lock().unwrap_or_else(PoisonError::into_inner));
            Ok(Fetched { parts, had, found })
        });
        Ok(())
    }
}

/// Chunks of a window, by their ordinals.
struct Window {
    firsts: BTreeMap<usize, u64>,
    had: Mutex<BTreeMap<u64, Chunk>>,
}

impl Window {
    fn put(&self, run: usize, position: usize, chunk: Chunk) -> Result<()> {
        let first = self.firsts.get(&run).ok_or_else(|| Error::broken("a run that nobody wanted"))?;
        self.had.lock().unwrap_or_else(PoisonError::into_inner).insert(first + position as u64, chunk);
        Ok(())
    }
}

impl Sink for Window {
    fn take(&self, run: usize, position: usize, plaintext: Vec<u8>) -> Result<()> {
        self.put(run, position, Ok(Arc::new(plaintext)))
    }

    fn lose(&self, run: usize, position: usize, why: &str) -> Result<()> {
        self.put(run, position, Err(why.to_owned()))
    }
}
