//! Opening what came: a blob or its pieces in, a verified chunk to the sink, or what it was instead.
//!
//! Promises: what the sink takes is the chunk that the tree names; so many are opened at once as there are processors, and
//! what waits for it is bounded. Not here: asking for blobs (`gathered.rs`, `direct.rs`).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use strongroom_format::command::BlobRef;
use strongroom_format::seal::{Dek, Kind};
use strongroom_format::tree::LeafEntry;
use strongroom_proto::v1 as pb;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::work::{Group, Run};
use crate::error::{Error, Result};
use crate::restore::gate::Gate;
use crate::restore::open::{NotTaken, Sealed, take};

/// Blobs that wait to be opened, and what they are opened into, take at most so many bytes for each that is opened at once:
/// what waits is lost if the restore is killed.
const MEMORY_BYTES_EACH: usize = 8 << 20;
/// All together at most so many.
const MEMORY_BYTES_MAX: usize = 64 << 20;

/// What happens to chunks. Called from threads that may block.
pub(crate) trait Sink: Send + Sync + 'static {
    /// A verified chunk of a wanted run.
    fn take(&self, run: usize, position: usize, plaintext: Vec<u8>) -> Result<()>;
    /// A chunk that nobody has.
    fn lose(&self, run: usize, position: usize, why: &str) -> Result<()>;
}

/// What nodes said about their own troubles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub fragments_bad: u64,
    pub blobs_rebuilt: u64,
}

/// What all of a fetch share. Clones are the same.
#[derive(Clone)]
pub(crate) struct Opening(Arc<Shared>);

struct Shared {
    gate: Arc<Gate>,
    kind: Kind,
    sink: Arc<dyn Sink>,
    /// Chunks that are opened and written at once.
    at_once: Semaphore,
    memory: Arc<Semaphore>,
    memory_bytes: usize,
    fragments_bad: AtomicU64,
    blobs_rebuilt: AtomicU64,
    bad_blobs: Mutex<BTreeSet<BlobRef>>,
}

/// What came of a chunk that was opened.
pub(crate) enum Opened {
    /// The sink has it, or knows that its maker spoilt it.
    Done,
    /// What came is not the blob that the tree names; why.
    Wrong(String),
}

/// A claimed chunk that can be opened.
pub(crate) struct Ready {
    pub run: Arc<Run>,
    pub position: usize,
    pub dek: Dek,
    pub sealed: Sealed,
}

/// Chunks that are being opened for one call.
pub(crate) type Jobs = JoinSet<Result<()>>;

impl Opening {
    /// Nothing opened yet.
    pub(crate) fn new(gate: &Arc<Gate>, kind: Kind, sink: Arc<dyn Sink>) -> Self {
        let at_once = std::thread::available_parallelism().map_or(2, usize::from) + 1;
        let memory_bytes = (at_once * MEMORY_BYTES_EACH).min(MEMORY_BYTES_MAX);
        Self(Arc::new(Shared {
            gate: Arc::clone(gate),
            kind,
            sink,
            at_once: Semaphore::new(at_once),
            memory: Arc::new(Semaphore::new(memory_bytes)),
            memory_bytes,
            fragments_bad: AtomicU64::new(0),
            blobs_rebuilt: AtomicU64::new(0),
            bad_blobs: Mutex::default(),
        }))
    }

    /// What everything goes through.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.0.gate
    }

    /// Asks for these chunks of a run.
    pub(crate) fn request(&self, work: &Group, run: &Run, positions: &BTreeSet<usize>) -> pb::FetchRunRequest {
        let Gate { restore, envelope, .. } = &*self.0.gate;
        let whole = positions.len() == run.node.entries.len();
        pb::FetchRunRequest {
            group: work.group.0,
            restore: restore.0,
            vault: Bytes::copy_from_slice(envelope.vault.as_bytes()),
            domain: Bytes::copy_from_slice(envelope.domain.as_bytes()),
            leaf: Bytes::copy_from_slice(run.node.leaf.as_bytes()),
            positions: if whole { Vec::new() } else { positions.iter().map(|at| *at as u32).collect() },
            fragments: false,
        }
    }

    /// Counts what a node met.
    pub(crate) fn count(&self, stats: Stats) {
        self.0.fragments_bad.fetch_add(stats.fragments_bad, Ordering::Relaxed);
        self.0.blobs_rebuilt.fetch_add(stats.blobs_rebuilt, Ordering::Relaxed);
    }

    /// Everything that was counted.
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            fragments_bad: self.0.fragments_bad.load(Ordering::Relaxed),
            blobs_rebuilt: self.0.blobs_rebuilt.load(Ordering::Relaxed),
        }
    }

    /// Blobs that did not open to their chunk, by nobody's fault but their maker's.
    pub(crate) fn bad_blobs(&self) -> BTreeSet<BlobRef> {
        std::mem::take(&mut *self.0.bad_blobs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives a chunk up: nobody has it.
    pub(crate) fn lose(&self, work: &Group, run: &Run, position: usize, why: &str) -> Result<()> {
        self.0.sink.lose(run.number, position, why)?;
        work.close_one();
        Ok(())
    }

    /// Has a claimed chunk opened, verified and given to the sink on a thread that may block; waits while too much waits
    /// for that. `wrong` hears of it if it was not what the tree names.
    pub(crate) async fn open(
        &self,
        work: &Arc<Group>,
        ready: Ready,
        jobs: &mut Jobs,
        wrong: impl FnOnce(&str) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        while let Some(done) = jobs.try_join_next() {
            let done: Result<()> = done.map_err(|panic| Error::failed("opening broke", panic))?;
            done?;
        }
        let Ready { run, position, dek, sealed } = ready;
        let held = sealed.len() + run.node.plaintext_bytes[position] as usize;
        // More than there is would be waited for for ever.
        let held = held.min(self.0.memory_bytes) as u32;
        let room = Arc::clone(&self.0.memory).acquire_many_owned(held).await;
        let room = room.map_err(|_| Error::broken("opening ended"))?;
        let (opening, work) = (self.clone(), Arc::clone(work));
        jobs.spawn(async move {
            let _room = room;
            let _turn = opening.0.at_once.acquire().await.map_err(|_| Error::broken("opening ended"))?;
            let opened = {
                let opening = opening.clone();
                let run = Arc::clone(&run);
                tokio::task::spawn_blocking(move || opening.open_now(&work, &run, position, &dek, &sealed)).await
            };
            match opened.map_err(|panic| Error::failed("opening broke", panic))?? {
                Opened::Done => Ok(()),
                Opened::Wrong(why) => {
                    run.unclaim(position);
                    wrong(&why)
                }
            }
        });
        Ok(())
    }

    fn open_now(&self, work: &Group, run: &Run, position: usize, dek: &Dek, sealed: &Sealed) -> Result<Opened> {
        let Shared { gate, kind, sink, .. } = &*self.0;
        let entry: &LeafEntry = &run.node.entries[position];
        let context = gate.context(dek.id(), entry.chunk, run.node.plaintext_bytes[position]);
        match take(dek, *kind, &gate.keys.id_key, &context, entry, sealed) {
            Ok(plaintext) => {
                sink.take(run.number, position, plaintext)?;
                work.close_one();
                Ok(Opened::Done)
            }
            Err(NotTaken::BadBlob(why)) => {
                let bad = BlobRef { chunk: entry.chunk, blob: entry.blob };
                self.0.bad_blobs.lock().unwrap_or_else(PoisonError::into_inner).insert(bad);
                // Every member has the same bytes: nobody else need be asked.
                self.lose(work, run, position, &why)?;
                Ok(Opened::Done)
            }
            Err(NotTaken::AnotherBlob(why)) => Ok(Opened::Wrong(why)),
        }
    }
}

/// Waits for everything that is being opened.
pub(crate) async fn finish(mut jobs: Jobs) -> Result<()> {
    while let Some(done) = jobs.join_next().await {
        let done: Result<()> = done.map_err(|panic| Error::failed("opening broke", panic))?;
        done?;
    }
    Ok(())
}
