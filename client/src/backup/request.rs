//! What to back up, and how.
//!
//! Not here: doing it (`backup.rs`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use strongroom_format::command::LockTerms;
use strongroom_format::id::{SnapshotId, VaultName};
use strongroom_format::label::Label;

use super::walk::{CacheDirectories, Source};
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
    /// Whether directories marked as caches are backed up.
    pub cache_directories: CacheDirectories,
    /// Who hears how it goes.
    pub progress: Progress,
}

impl BackupRequest {
    /// A backup of these paths under this name, all else by default.
    ///
    /// # Errors
    /// `Refused` with reason `SOURCES` if two paths have the same base name or there is none; `Failed` if one is not
    /// there.
    pub fn new(paths: &[PathBuf], vault: VaultName, name: Label) -> Result<Self> {
        Ok(Self {
            sources: Source::of(paths)?,
            vault,
            name,
            classification: String::new(),
            purpose: String::new(),
            tags: BTreeMap::new(),
            lock: None,
            parent: None,
            cache_directories: CacheDirectories::default(),
            progress: Progress::silent(),
        })
    }
}
