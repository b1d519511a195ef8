//! What happened in a simulated cluster, line by line: the same seed gives the same text.
//!
//! ```text
//!     12.340 n2  ← n1 raft of group 1, 96 bytes
//!     12.900 --  n3 is killed for 4.0 s
//! ```
//!
//! Only a hash of it and its end are kept, and all lines that tell of faults, elections and what clients were told.
//! Not here: who says what.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many lines of the end are kept.
const TAIL_LINES: usize = 200;
/// So many lines that matter to people are kept.
const STORY_LINES: usize = 4000;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// A message, an entry.
    Detail,
    /// A fault, an election, what a client was told.
    Event,
}

/// The trace of one run. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    hasher: blake3::Hasher,
    lines: u64,
    tail: VecDeque<String>,
    story: VecDeque<String>,
}

/// What is left of a trace at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// BLAKE3 over all lines, the first half in hex.
    pub hash: String,
    /// How many lines there were.
    pub lines: u64,
    /// The last ones.
    pub tail: Vec<String>,
    /// Faults, elections and answers to clients.
    pub story: Vec<String>,
}

impl Trace {
    /// Says something at a moment in milliseconds.
    pub(crate) fn say(&self, at_ms: u64, who: &str, weight: Weight, what: fmt::Arguments<'_>) {
        let line = format!("{:>6}.{:03} {who:<3} {what}", at_ms / 1000, at_ms % 1000);
        let mut inner = self.inner();
        inner.hasher.update(line.as_bytes());
        inner.hasher.update(b"\n");
        inner.lines += 1;
        if weight == Weight::Event {
            keep(&mut inner.story, line.clone(), STORY_LINES);
        }
        keep(&mut inner.tail, line, TAIL_LINES);
    }

    /// What is left of it.
    pub(crate) fn told(&self) -> Told {
        let inner = self.inner();
        let hash = inner.hasher.finalize().to_hex()[..32].to_owned();
        let (tail, story) = (inner.tail.iter().cloned().collect(), inner.story.iter().cloned().collect());
        Told { hash, lines: inner.lines, tail, story }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(lines: &mut VecDeque<String>, line: String, most: usize) {
    if most <= lines.len() {
        lines.pop_front();
    }
    lines.push_back(line);
}
