//! Reading a manifest from its first item to its last, a few chunks at a time.
//!
//! Promises: every item was sealed by the snapshot's writer; after the last one all was counted; memory is one window of
//! chunks. Not here: what items mean (`strongroom-format`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use strongroom_format::manifest::ManifestError;
use strongroom_format::manifest::decode::{Decoder, Item, Limits};
use strongroom_format::seal::Kind;

use super::fetch::opening::{Sink, Stats};
use super::fetch::work::WantedRun;
use super::fetch::{Found, fetch};
use super::gate::Gate;
use super::index::{self, LeafAt, RunNode};
use crate::error::{Error, Result};

/// More entries are refused: each takes memory (N115).
const ENTRIES_MAX: u64 = 1 << 24;
/// So many chunks of a manifest are fetched at once.
const WINDOW: usize = 32;

/// A manifest, being read.
pub(crate) struct Reading {
    gate: Arc<Gate>,
    leaves: VecDeque<LeafAt>,
    /// What is being read, and which of its chunks come next.
    run: Option<(RunNode, usize)>,
    decoder: Decoder,
    stats: Stats,
}

impl Reading {
    /// Of a snapshot that passed the gate.
    pub(crate) async fn begin(gate: &Arc<Gate>) -> Result<Self> {
        let (home, root) = (gate.client.topology().home, gate.envelope.manifest);
        let leaves = index::leaves(gate, home, root.root, root.stored_bytes, root.chunk_refs).await?.into();
        let decoder = Decoder::new(Limits { entries: ENTRIES_MAX, ..Limits::default() });
        Ok(Self { gate: Arc::clone(gate), leaves, run: None, decoder, stats: Stats::default() })
    }

    /// The next item; `None` behind the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Item>> {
        loop {
            if let Some(item) = self.decoder.next_item().map_err(malformed)? {
                return Ok(Some(item));
            }
            if !self.fetch_more().await? {
                self.decoder.finish().map_err(malformed)?;
                return Ok(None);
            }
        }
    }

    /// What nodes said about their own troubles so far.
    pub(crate) fn stats(&self) -> Stats {
        self.stats
    }

    /// Fetches some chunks; `false` if there are no more.
    async fn fetch_more(&mut self) -> Result<bool> {
        let home = self.gate.client.topology().home;
        let (run, first) = match self.run.take() {
            Some(run) => run,
            None => {
                let Some(leaf) = self.leaves.pop_front() else { return Ok(false) };
                (index::runs(&self.gate, home, &[leaf]).await?.pop().expect("one run for one leaf"), 0)
            }
        };
        let end = run.entries.len().min(first + WINDOW);
        let sink = Arc::new(InOrder::default());
        let wanted = WantedRun { number: 0, group: home, node: run.clone(), positions: (first..end).collect() };
        let Found { stats, .. } =
            fetch(&self.gate, Kind::Manifest, vec![wanted], Arc::clone(&sink) as Arc<dyn Sink>).await?;
        self.stats.fragments_bad += stats.fragments_bad;
        self.stats.blobs_rebuilt += stats.blobs_rebuilt;
        if let Some(why) = &*sink.lost.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(Error::data_loss("MANIFEST_LOST", format_args!("the manifest is damaged everywhere: {why}")));
        }
        for plaintext in std::mem::take(&mut *sink.had.lock().unwrap_or_else(PoisonError::into_inner)).into_values() {
            self.decoder.push(&plaintext);
        }
        if end < run.entries.len() {
            self.run = Some((run, end));
        }
        Ok(true)
    }
}

/// Chunks of a manifest, kept until their turn.
#[derive(Default)]
struct InOrder {
    had: Mutex<BTreeMap<usize, Vec<u8>>>,
    lost: Mutex<Option<String>>,
}

impl Sink for InOrder {
    fn take(&self, _run: usize, position: usize, plaintext: Vec<u8>) -> Result<()> {
        self.had.lock().unwrap_or_else(PoisonError::into_inner).insert(position, plaintext);
        Ok(())
    }

    fn lose(&self, _run: usize, _position: usize, why: &str) -> Result<()> {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
        Ok(())
    }
}

fn malformed(fault: ManifestError) -> Error {
    match fault {
        ManifestError::UnsupportedVersion { .. } => Error::refused(
            "INVALID_ARGUMENT",
            "UNSUPPORTED_FORMAT",
            fault,
            "update this program: the snapshot is newer than what it reads",
        ),
        ManifestError::Limit { .. } => {
            Error::refused("RESOURCE_EXHAUSTED", "LIMIT", fault, "the snapshot has more than a restore takes at once")
        }
        ManifestError::CutOff { .. } | ManifestError::Malformed { .. } => Error::data_loss("MANIFEST_MALFORMED", fault),
    }
}
