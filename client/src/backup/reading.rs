//! The thread that reads, from the side of who takes what it reads.
//!
//! Not here: reading (`read.rs`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::cache::Cache;
use super::cache::past::Shelves;
use super::distrust::Distrust;
use super::draft::Draft;
use super::memory::Memory;
use super::piped::Piped;
use super::place::Placer;
use super::read::{Reader, Step};
use super::tally::Tally;
use super::walk::Walk;
use crate::error::{Error, Result};

/// What is read before it is decided how to go on: so many bytes of chunks,
const HEAD_BYTES: usize = 8 << 20;
/// so many steps,
const HEAD_STEPS: usize = 4096;
/// for so long: what comes slowly by a pipe may come for hours, and a session that nobody uses ends.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Steps that come, those that were looked at first.
pub(crate) struct Reading {
    head: VecDeque<Step>,
    steps: mpsc::Receiver<Step>,
    memory: Arc<Memory>,
    thread: Option<JoinHandle<Result<Cache>>>,
    has_ended: bool,
    piped: Option<Piped>,
    cache: Cache,
}

/// What comes next.
pub(crate) enum Next {
    Step(Step),
    /// Nothing yet; whoever holds something back that others wait for should let it go.
    NotYet,
    End,
}

impl Reading {
    /// Starts the thread.
    pub(crate) fn start(draft: &Draft, tally: &Arc<Tally>, distrust: &Arc<Distrust>) -> Self {
        let (tell, steps) = mpsc::channel(32);
        let memory = Memory::new();
        let request = &draft.request;
        let chunking = draft.vault.statement.chunking;
        let vault = draft.vault.statement.vault;
        let set = draft.topology.set.clone();
        let placer = Placer::over(draft.topology.tenant, vault, set.clone());
        let tally = Arc::clone(tally);
        let sealer = Arc::clone(&draft.sealer);
        let reader = Reader::new(chunking, sealer, tell, Arc::clone(&memory), Arc::clone(&tally), placer);
        let piped = request.piped.clone();
        let thread = match &piped {
            Some(piped) => {
                let piped = piped.clone();
                tokio::task::spawn_blocking(move || reader.run_piped(&piped))
            }
            None => {
                let walk = Walk::new(request.sources.clone(), request.bounds.clone());
                let place = draft.cache.clone();
                let shelves = Shelves {
                    client: draft.client.clone(),
                    runtime: Handle::current(),
                    vault,
                    domain: draft.keys.domain,
                    set,
                    distrust: Arc::clone(distrust),
                };
                tokio::task::spawn_blocking(move || {
                    let (cache, alarm) = place.map_or_else(Default::default, |place| place.open(shelves));
                    if let Some(why) = alarm {
                        tally.cache_ignored(why);
                    }
                    reader.run(walk, cache)
                })
            }
        };
        let (head, cache) = (VecDeque::new(), Cache::default());
        Self { head, steps, memory, thread: Some(thread), has_ended: false, piped, cache }
    }

    /// The bound on what is in memory.
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Reads the beginning and keeps it, as long as that leaves the thread room: a few files of a mebibyte hold a block
    /// of memory each.
    pub(crate) async fn look_ahead(&mut self) {
        // Whatever came until then is in the head.
        let _elapsed = tokio::time::timeout(HEAD_WITHIN, self.fill_head()).await;
    }

    async fn fill_head(&mut self) {
        let mut bytes = 0;
        while bytes < HEAD_BYTES && self.head.len() < HEAD_STEPS {
            let step = tokio::select! {
                biased;
                step = self.steps.recv() => step,
                () = self.memory.starved() => return,
            };
            let Some(step) = step else {
                self.has_ended = true;
                return;
            };
            if let Step::Chunk(chunk) = &step {
                bytes += chunk.origin.bytes_held();
            }
            self.head.push_back(step);
        }
    }

    /// All steps, if that is what [`Reading::look_ahead`] saw.
    pub(crate) fn whole(&mut self) -> Option<&[Step]> {
        self.has_ended.then(|| &*self.head.make_contiguous())
    }

    /// The next step, if there is one already.
    pub(crate) fn try_next(&mut self) -> Next {
        if let Some(step) = self.head.pop_front() {
            return Next::Step(step);
        }
        match self.steps.try_recv() {
            Ok(step) => Next::Step(step),
            Err(mpsc::error::TryRecvError::Empty) => Next::NotYet,
            Err(mpsc::error::TryRecvError::Disconnected) => Next::End,
        }
    }

    /// The next step, waiting for it.
    pub(crate) async fn next(&mut self) -> Option<Step> {
        match self.head.pop_front() {
            Some(step) => Some(step),
            None => self.steps.recv().await,
        }
    }

    /// Waits for the thread, which has ended, and says whether it read all that there was to read: if not, nothing may
    /// be committed.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        if let Some(thread) = self.thread.take() {
            self.cache = thread.await.map_err(|panic| Error::failed("reading broke", panic))??;
        }
        Ok(())
    }

    /// What is to be remembered, once the snapshot is committed.
    pub(crate) fn into_cache(mut self) -> Cache {
        std::mem::take(&mut self.cache)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // The reader may wait for room that nobody frees any more, or for a command that writes nothing.
        self.memory.end();
        if let Some(piped) = &self.piped {
            piped.stop();
        }
    }
}
