//! What to back up, and how.
//!
//! Not here: doing it (`backup.rs`).

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;

use strongroom_format::gathered::{Gathered, Whole};
use strongroom_format::id::{SnapshotId, VaultName};
use strongroom_format::label::Label;
use strongroom_format::lock::LockTerms;

use super::piped::Piped;
use super::walk::{Bounds, Kind, Source, Walk};
use crate::error::Result;
use crate::progress::Progress;

/// What to back up, and how.
#[derive(Clone, Debug)]
pub struct BackupRequest {
    /// Files and directories; [`Source::of`] says how they lie in the snapshot.
    pub sources: Vec<Source>,
    /// Into which vault.
    pub vault: VaultName,
    /// The snapshot's name within its writer.
    pub name: Label,
    /// For people and their rules.
    pub classification: String,
    /// For people and their rules.
    pub purpose: String,
    /// For people and their rules.
    pub tags: BTreeMap<String, String>,
    /// Another lock than the vault's default, where the writer may.
    pub lock: Option<LockTerms>,
    /// The snapshot that this one follows.
    pub parent: Option<SnapshotId>,
    /// What of the sources is left out.
    pub bounds: Bounds,
    /// A file that comes by a pipe, in place of sources.
    pub piped: Option<Piped>,
    /// How many bytes a second may be sent; `None`: as many as go.
    pub upload_bytes_per_second: Option<NonZeroU64>,
    /// Whether it stands alone, is a stream of a whole, or the whole: set where a
    /// ticket is joined or committed (`tickets.rs`).
    pub(crate) gathered: Gathered,
    /// Who hears how it goes.
    pub progress: Progress,
}

/// How much there is to back up, at a first look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl BackupRequest {
    /// A backup of these paths under this name, all else by default.
    ///
    /// # Errors
    /// `Refused` with reason `SOURCES` if two paths have the same base name or there is none; `Failed` if one is not
    /// there.
    pub fn new(paths: &[PathBuf], vault: VaultName, name: Label) -> Result<Self> {
        Ok(Self::of(Source::of(paths)?, None, vault, name))
    }

    /// A backup of one file that comes by a pipe, all else by default. It is tried once: its bytes come once.
    pub fn piped(piped: Piped, vault: VaultName, name: Label) -> Self {
        Self::of(Vec::new(), Some(piped), vault, name)
    }

    /// A whole of these streams: it has no files of its own.
    pub(crate) fn whole(vault: VaultName, name: Label, whole: Whole) -> Self {
        Self { gathered: Gathered::Whole(whole), ..Self::of(Vec::new(), None, vault, name) }
    }

    fn of(sources: Vec<Source>, piped: Option<Piped>, vault: VaultName, name: Label) -> Self {
        Self {
            sources,
            vault,
            name,
            classification: String::new(),
            purpose: String::new(),
            tags: BTreeMap::new(),
            lock: None,
            parent: None,
            bounds: Bounds::default(),
            piped,
            upload_bytes_per_second: None,
            gathered: Gathered::Alone,
            progress: Progress::silent(),
        }
    }

    /// Looks how much there is, without opening a file. It blocks, and takes the time of a walk through all directories:
    /// for whoever shows how long it will take.
    pub fn survey(&self) -> Survey {
        let walk = Walk::new(self.sources.clone(), self.bounds.clone());
        walk.fold(Survey::default(), |sum, found| match found.kind {
            Kind::File { stamp, .. } => Survey { files: sum.files + 1, bytes: sum.bytes.saturating_add(stamp.bytes) },
            Kind::Directory | Kind::Symlink(_) | Kind::Fifo | Kind::Device(_) | Kind::Vanished | Kind::Skipped(_) => {
                sum
            }
        })
    }
}
