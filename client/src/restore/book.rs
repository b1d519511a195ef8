//! The index of a snapshot's contents, read as far as needed: which chunks hold the bytes of which files.
//!
//! Promises: the shards hold the runs that the manifest says, in its order; a run lies in the shard in which it belongs
//! (N46). Memory: about a hundred bytes for each chunk of the runs that are needed. Not here: one tree (`index.rs`), sums
//! (`layout.rs`), chunks themselves (`fetch.rs`).

use std::collections::{BTreeMap, BTreeSet};

use strongroom_format::id::{ChunkId, GroupId};
use strongroom_format::manifest::entry::{Piece, Run};
use strongroom_format::placement::group_of_run;

use super::fetch::work::WantedRun;
use super::gate::Gate;
use super::index::{self, LeafAt, RunNode};
use super::layout::{self, Layout, Part, RunIndex};
use crate::error::{Error, Result};

/// The index of a snapshot's contents, read as far as needed.
pub(crate) struct Book<'a> {
    gate: &'a Gate,
    pub layout: Layout,
    leaves: BTreeMap<GroupId, Vec<LeafAt>>,
    read: BTreeMap<RunIndex, RunNode>,
}

impl<'a> Book<'a> {
    /// Finds every shard's leaves, and compares them with the order of runs.
    pub(crate) async fn open(gate: &'a Gate, runs: &[Run]) -> Result<Self> {
        let layout = Layout::new(runs);
        let mut leaves = BTreeMap::new();
        for part in &gate.envelope.parts {
            if let Some(root) = part.root {
                let found = index::leaves(gate, part.group, root, part.stored_bytes, part.chunk_refs).await?;
                leaves.insert(part.group, found);
            }
        }
        let counts: BTreeMap<GroupId, usize> = leaves.iter().map(|(group, leaves)| (*group, leaves.len())).collect();
        if counts != layout.leaves() {
            return Err(Error::data_loss("MANIFEST_MISMATCH", "the shards hold other runs than the manifest says"));
        }
        for run in layout.all() {
            let (group, leaf, chunks) = layout.run(run);
            if leaves[&group][leaf].chunks != u64::from(chunks) {
                return Err(Error::data_loss("MANIFEST_MISMATCH", "a run has other chunks than the manifest says"));
            }
        }
        Ok(Self { gate, layout, leaves, read: BTreeMap::new() })
    }

    /// Where the bytes of files are, reading leaves as needed.
    pub(crate) async fn parts<'p>(&mut self, files: impl Iterator<Item = &'p [Piece]> + Clone) -> Result<Vec<Part>> {
        loop {
            match self
                .layout
                .parts((0..).zip(files.clone()))
                .map_err(|fault| Error::data_loss("OUT_OF_RANGE", fault))?
            {
                Ok(parts) => return Ok(parts),
                Err(missing) => self.learn(missing).await?,
            }
        }
    }

    async fn learn(&mut self, missing: BTreeSet<RunIndex>) -> Result<()> {
        let mut by_group: BTreeMap<GroupId, Vec<(RunIndex, LeafAt)>> = BTreeMap::new();
        for run in missing {
            let (group, leaf, _) = self.layout.run(run);
            by_group.entry(group).or_default().push((run, self.leaves[&group][leaf]));
        }
        for (group, runs) in by_group {
            let leaves: Vec<LeafAt> = runs.iter().map(|(_, leaf)| *leaf).collect();
            for (node, (run, _)) in index::runs(self.gate, group, &leaves).await?.into_iter().zip(runs) {
                self.check_placement(group, &node)?;
                self.layout.learn(run, node.plaintext_bytes.clone());
                self.read.insert(run, node);
            }
        }
        Ok(())
    }

    /// Recorded placement = recomputed (N46).
    fn check_placement(&self, group: GroupId, node: &RunNode) -> Result<()> {
        let topology = self.gate.client.topology();
        let envelope = &self.gate.envelope;
        if topology.set_version != envelope.set_version {
            return Err(Error::data_loss(
                "PLACEMENT_MISMATCH",
                "the snapshot was placed by a version of the shard set that the cluster does not tell",
            ));
        }
        let first = node.entries.first().map(|entry| entry.chunk);
        let right = first.and_then(|first| group_of_run(&envelope.tenant, &envelope.vault, &first, &topology.set));
        if right == Some(group) {
            return Ok(());
        }
        Err(Error::data_loss(
            "PLACEMENT_MISMATCH",
            format_args!("a run lies in shard {group}, where it does not belong"),
        ))
    }

    /// The runs with the chunks that are needed of them.
    pub(crate) fn wanted(&self, needed: impl Iterator<Item = u64>) -> Result<Vec<WantedRun>> {
        let mut wanted: Vec<WantedRun> = Vec::new();
        for ordinal in needed {
            let outside = || Error::data_loss("OUT_OF_RANGE", layout::Outside);
            let run = self.layout.run_of(ordinal).ok_or_else(outside)?;
            let position = usize::try_from(ordinal - self.layout.ordinals(run).start).map_err(|_| outside())?;
            match wanted.last_mut() {
                Some(last) if last.number == run.0 => last.positions.push(position),
                Some(_) | None => {
                    let node = self.read.get(&run).ok_or_else(outside)?.clone();
                    let (group, _, _) = self.layout.run(run);
                    wanted.push(WantedRun { number: run.0, group, node, positions: vec![position] });
                }
            }
        }
        Ok(wanted)
    }

    /// How many bytes a chunk has, and which it is; `None` if its run was not read.
    pub(crate) fn chunk(&self, ordinal: u64) -> Option<(u32, ChunkId)> {
        let run = self.layout.run_of(ordinal)?;
        let node = self.read.get(&run)?;
        let position = usize::try_from(ordinal - self.layout.ordinals(run).start).ok()?;
        Some((*node.plaintext_bytes.get(position)?, node.entries.get(position)?.chunk))
    }

    /// The ordinal of a run's first chunk.
    pub(crate) fn first(&self, run: usize) -> u64 {
        self.layout.ordinals(RunIndex(run)).start
    }

    /// What is known of chunks, to look at while the index is elsewhere.
    pub(crate) fn chunks(&self) -> Chunks {
        let run = |(run, node): (&RunIndex, &RunNode)| {
            let chunks = node.plaintext_bytes.iter().zip(&node.entries).map(|(bytes, entry)| (*bytes, entry.chunk));
            (self.first(run.0), chunks.collect())
        };
        Chunks(self.read.iter().map(run).collect())
    }
}

/// Chunks' lengths and ids, by the ordinal of their run's first.
pub(crate) struct Chunks(BTreeMap<u64, Vec<(u32, ChunkId)>>);

impl Chunks {
    /// Of this ordinal, if its run was read.
    pub(crate) fn get(&self, ordinal: u64) -> Option<(u32, ChunkId)> {
        let (first, chunks) = self.0.range(..=ordinal).next_back()?;
        chunks.get(usize::try_from(ordinal - first).ok()?).copied()
    }
}
