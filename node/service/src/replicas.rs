//! Which replica of which group lies on this node's disk, and running it.
//!
//! ```text
//!   rows say the same replica ─▶ started over what lies there
//!   rows say a later one      ─▶ the old one stopped, its log and state forgotten, the new one noted, started empty
//!   rows say an earlier one   ─▶ they are old: what lies there is started
//! ```
//!
//! Replica ids only grow, so an old cluster map cannot bring an earlier one back. The note `replicas` is replaced as a
//! whole and synced; a crash between any two steps leaves a disk that the next start goes on from. Segments stay
//! untouched: rows name slots and leases, never replica ids.
//!
//! Not here: who says which replica a node has (`follow.rs`), whether it may take part (`admit.rs`).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use strongroom_consensus::groups::{Consensus, StartError};
use strongroom_core::machine::Machine;
use strongroom_format::codec::{self, Format};
use strongroom_format::id::{Digest, GroupId, ReplicaId};
use strongroom_host::Host;
use strongroom_host::files::{Files, Open};
use strongroom_host::lane::{Lane, LaneError};

use crate::gate::{Gate, Loss};

/// The note's name below the data directory.
const FILE: &str = "replicas";

/// Why a replica does not run.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaFault {
    /// The note could not be read or written: the disk fails.
    #[error("the note of this node's replicas cannot be read or written")]
    Note(#[from] io::Error),
    /// The note does not read. Remove it together with `log/` and `state/`: the replicas are then rebuilt from others.
    #[error("the note of this node's replicas is damaged: remove `replicas`, `log` and `state` to have them rebuilt")]
    Damaged,
    /// The thread for files ended.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// Consensus did not start, stop or forget it.
    #[error(transparent)]
    Consensus(#[from] StartError),
}

/// What stands in the note.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Note {
    /// By group.
    replicas: BTreeMap<GroupId, ReplicaId>,
}

impl Format for Note {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 << 20;
    const NAME: &'static str = "replicas";
}

/// See the head of the file.
pub struct Replicas {
    consensus: Consensus,
    gate: Gate,
    rules: Arc<dyn Fn(GroupId) -> Arc<dyn Machine> + Send + Sync>,
    files: Arc<dyn Files>,
    lane: Lane,
    data_dir: PathBuf,
    note: Note,
}

impl Replicas {
    /// Reads the note below a data directory.
    pub async fn open(
        host: &Host,
        data_dir: &Path,
        consensus: Consensus,
        gate: Gate,
        rules: Arc<dyn Fn(GroupId) -> Arc<dyn Machine> + Send + Sync>,
    ) -> Result<Self, ReplicaFault> {
        let (files, lane) = (Arc::clone(host.files()), host.lane("replicas"));
        let (reading, path) = (Arc::clone(&files), data_dir.join(FILE));
        let note = lane.run(move || read(&*reading, &path)).await??;
        Ok(Self { consensus, gate, rules, files, lane, data_dir: data_dir.to_path_buf(), note })
    }

    /// The replica of a group that lies here.
    pub fn held(&self, group: GroupId) -> Option<ReplicaId> {
        self.note.replicas.get(&group).copied()
    }

    /// The groups that lie here.
    pub fn groups(&self) -> Vec<GroupId> {
        self.note.replicas.keys().copied().collect()
    }

    /// Runs a group as the rows say. One that runs already is left alone; one that cannot run over what lies here is lost,
    /// and said to be so.
    ///
    /// Dropping the future leaves a disk from which the next call goes on.
    pub async fn run(&mut self, group: GroupId, replica: ReplicaId) -> Result<(), ReplicaFault> {
        let held = self.held(group);
        if let Some(held) = held
            && held < replica
        {
            tracing::info!(%group, from = %held, to = %replica, "a replica gives way to its successor");
            self.forget(group).await?;
        }
        let replica = held.map_or(replica, |held| held.max(replica));
        if held != Some(replica) {
            let mut note = self.note.clone();
            note.replicas.insert(group, replica);
            self.write(note).await?;
        }
        self.gate.started(group, replica);
        match self.consensus.start_group(group, replica, (self.rules)(group)).await {
            Ok(()) => Ok(()),
            Err(fault @ (StartError::State { .. } | StartError::Raft { .. })) => {
                tracing::error!(%group, %replica, %fault, "a replica cannot run over what lies on its disk");
                self.gate.lose(group, replica, Loss::Broken { why: fault.to_string() });
                Ok(())
            }
            Err(
                fault
                @ (StartError::Log(_) | StartError::Lane(_) | StartError::AlreadyRuns { .. } | StartError::Ending),
            ) => Err(fault.into()),
        }
    }

    /// Ends a group that has no replica here any more, and forgets its log and state.
    pub async fn end(&mut self, group: GroupId) -> Result<(), ReplicaFault> {
        self.forget(group).await?;
        let mut note = self.note.clone();
        note.replicas.remove(&group);
        self.write(note).await?;
        self.gate.gone(group);
        Ok(())
    }

    async fn forget(&self, group: GroupId) -> Result<(), ReplicaFault> {
        self.consensus.stop_group(group).await;
        self.consensus.forget_group(group).await?;
        Ok(())
    }

    async fn write(&mut self, note: Note) -> Result<(), ReplicaFault> {
        let (files, directory) = (Arc::clone(&self.files), self.data_dir.clone());
        let bytes = sealed(&note);
        self.lane.run(move || replace(&*files, &directory, &bytes)).await??;
        self.note = note;
        Ok(())
    }
}

/// The note and its hash.
fn sealed(note: &Note) -> Vec<u8> {
    let mut bytes = codec::encode(note);
    let digest = blake3::hash(&bytes);
    bytes.extend_from_slice(digest.as_bytes());
    bytes
}

fn opened(bytes: &[u8]) -> Result<Note, ReplicaFault> {
    let (note, digest) = bytes.split_last_chunk::<{ Digest::BYTES }>().ok_or(ReplicaFault::Damaged)?;
    if blake3::hash(note) != *digest {
        return Err(ReplicaFault::Damaged);
    }
    codec::decode(note).map_err(|_| ReplicaFault::Damaged)
}

fn read(files: &dyn Files, path: &Path) -> Result<Note, ReplicaFault> {
    if !files.exists(path)? {
        return Ok(Note::default());
    }
    let file = files.open(path, Open::Read)?;
    let length = usize::try_from(file.len()?).map_err(|_| ReplicaFault::Damaged)?;
    if Note::BYTES_MAX < length {
        return Err(ReplicaFault::Damaged);
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    opened(&bytes)
}

fn replace(files: &dyn Files, directory: &Path, bytes: &[u8]) -> io::Result<()> {
    let (path, beside) = (directory.join(FILE), directory.join("replicas.new"));
    if files.exists(&beside)? {
        files.remove(&beside)?;
    }
    let file = files.open(&beside, Open::New)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    files.rename(&beside, &path)?;
    files.sync_dir(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_comes_back_and_no_flipped_bit_goes_unseen() {
        let host = Host::real();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        assert_eq!(read(&**host.files(), &path).unwrap(), Note::default());
        let mut note = Note::default();
        for round in 1..=3 {
            note.replicas.insert(GroupId(round), ReplicaId(u64::from(round) << 8));
            replace(&**host.files(), directory.path(), &sealed(&note)).unwrap();
            assert_eq!(read(&**host.files(), &path).unwrap(), note);
        }
        let bytes = sealed(&note);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(matches!(opened(&flipped), Err(ReplicaFault::Damaged)), "byte {at}");
            assert!(matches!(opened(&bytes[..at]), Err(ReplicaFault::Damaged)), "cut at {at}");
        }
    }
}
