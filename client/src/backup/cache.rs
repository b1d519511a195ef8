//! The local cache: what this writer read of a tree before, so that what did not change since is not read again.
//!
//! ```text
//!   <state>/cache/files-<digest of vault, writer, paths>
//!        └─ past.rs ─▶ record of a path ─▶ same stamp, not due, all chunks there? ─▶ referred to, not read
//!   reader ─ next.rs ─▶ ….new-<random> ─ the snapshot is committed ─▶ renamed
//! ```
//!
//! It is MACed under the writer key and bound to cluster, vault, domain (and so to the key's epoch), machine and its own
//! inode. One that was edited, copied from elsewhere or kept over an epoch is ignored as a whole, loudly (N124); one that
//! is lost is made again. It is never trusted for content: a file whose bytes were read long ago is read again
//! ([`Record::is_due`]), and what it says of chunks counts only if the shard says that it has them.
//! Hardened vaults have none: their one stream must not show where files begin.
//!
//! Not here: the bytes of the file (`record.rs`).

pub(crate) mod next;
pub(crate) mod past;
pub(crate) mod record;

use std::path::PathBuf;

use strongroom_format::chunk::Chunking;
use strongroom_format::id::Digest;
use strongroom_format::keys::WriterKey;
use strongroom_format::manifest::path::EntryPath;

use self::next::Next;
use self::past::{Past, Remembered, Shelves};
use self::record::{Binding, Record, Seal};
use super::request::BackupRequest;
use crate::error::Result;
use crate::topology::Topology;
use crate::vault::VerifiedVault;

/// Where a tree's cache lies and who may have made it.
#[derive(Clone)]
pub(crate) struct CachePlace {
    path: PathBuf,
    binding: Binding,
    seal: Seal,
}

/// What was read before, and what is being read now.
#[derive(Default)]
pub(crate) struct Cache {
    past: Option<Past>,
    next: Option<Next>,
}

impl CachePlace {
    /// Of a backup; `None` where there is none.
    pub(crate) fn of(
        request: &BackupRequest,
        state: &std::path::Path,
        topology: &Topology,
        vault: &VerifiedVault,
        writer: &WriterKey,
    ) -> Result<Option<Self>> {
        if vault.statement.chunking == Chunking::Hardened || request.sources.is_empty() {
            return Ok(None);
        }
        let mut hasher = blake3::Hasher::new();
        let mut add = |part: &[u8]| {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        };
        add(vault.statement.vault.as_bytes());
        add(writer.writer.0.as_str().as_bytes());
        for source in &request.sources {
            let whole = std::path::absolute(&source.path)
                .map_err(|cause| crate::error::Error::file("find", &source.path, cause))?;
            add(std::os::unix::ffi::OsStrExt::as_bytes(whole.as_os_str()));
            add(source.top.as_deref().unwrap_or_default());
        }
        let paths = Digest::from_bytes(*hasher.finalize().as_bytes());
        let binding = Binding {
            cluster: topology.cluster,
            tenant: topology.tenant,
            vault: vault.statement.vault,
            writer: writer.writer.clone(),
            domain: writer.in_vault(&vault.statement.vault).domain,
            machine: record::machine(),
            paths,
        };
        let name = format!("files-{}", hex::encode(&paths.as_bytes()[..12]));
        Ok(Some(Self { path: state.join("cache").join(name), binding, seal: Seal::new(writer) }))
    }

    /// What was read before, if it may be believed; else why not. Blocks on the disk.
    pub(crate) fn past(&self, shelves: Shelves) -> (Option<Past>, Option<String>) {
        match Past::open(&self.path, &self.binding, &self.seal, shelves) {
            Ok(past) => (past, None),
            Err(why) => (None, Some(why)),
        }
    }

    /// What was read before, and the beginning of what will be known next.
    pub(crate) fn open(&self, shelves: Shelves) -> (Cache, Option<String>) {
        let (past, alarm) = self.past(shelves);
        let next = match Next::begin(&self.path, &self.binding, &self.seal) {
            Ok(next) => Some(next),
            Err(cause) => {
                let path = self.path.display();
                tracing::warn!(%path, %cause, "no cache can be written; all files are read again next time");
                None
            }
        };
        (Cache { past, next }, alarm)
    }
}

impl Cache {
    /// What is remembered of a path. Paths are asked for in the order of manifests.
    pub(crate) fn recall(&mut self, path: &EntryPath) -> Option<Remembered> {
        self.past.as_mut()?.recall(path)
    }

    /// Notes what is to be remembered. In the order of manifests too.
    pub(crate) fn note(&mut self, record: Record) {
        if let Some(next) = &mut self.next
            && let Err(cause) = next.add(record)
        {
            tracing::warn!(%cause, "the cache cannot be written; all files are read again next time");
            self.next = None;
        }
    }

    /// What was noted, to be kept once the snapshot is committed.
    pub(crate) fn into_next(self) -> Option<Next> {
        self.next
    }
}
