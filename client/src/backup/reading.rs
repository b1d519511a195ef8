//! The thread that reads, from the side of who takes what it reads.
//!
//! Not here: reading (`read.rs`).

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::draft::Draft;
use super::memory::Memory;
use super::read::{Reader, Step};
use super::walk::Walk;
use crate::error::{Error, Result};

/// What is read before it is decided how to go on: so many bytes of chunks,
const HEAD_BYTES: usize = 8 << 20;
/// so many steps.
const HEAD_STEPS: usize = 4096;

/// Steps that come, those that were looked at first.
pub(crate) struct Reading {
    head: VecDeque<Step>,
    steps: mpsc::Receiver<Step>,
    memory: Arc<Memory>,
    thread: Option<JoinHandle<()>>,
    has_ended: bool,
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
    pub(crate) fn start(draft: &Draft) -> Self {
        let (tell, steps) = mpsc::channel(32);
        let memory = Memory::new();
        let request = &draft.request;
        let chunking = draft.vault.statement.chunking;
        let progress = request.progress.clone();
        let reader = Reader::new(chunking, Arc::clone(&draft.sealer), tell, Arc::clone(&memory), progress);
        let walk = Walk::new(request.sources.clone(), request.cache_directories);
        let thread = tokio::task::spawn_blocking(move || reader.run(walk));
        Self { head: VecDeque::new(), steps, memory, thread: Some(thread), has_ended: false }
    }

    /// The bound on what is in memory.
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Reads the beginning and keeps it, as long as that leaves the thread room: a few files of a mebibyte hold a block
    /// of memory each.
    pub(crate) async fn look_ahead(&mut self) {
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
                bytes += chunk.plaintext.len();
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

    /// Waits for the thread, which has ended.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        match self.thread.take() {
            Some(thread) => thread.await.map_err(|panic| Error::failed("reading broke", panic)),
            None => Ok(()),
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // The reader may wait for room that nobody frees any more.
        self.memory.end();
    }
}
