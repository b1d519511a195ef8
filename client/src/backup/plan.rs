//! What a backup would take in and read, counted without reading or sending any of it.
//!
//! Promises: it walks as a backup does and believes the cache as a backup does; nothing is opened in the cluster, and
//! the cache stays as it is. Not here: the backup (`backup.rs`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_format::id::VaultName;
use strongroom_format::label::Label;
use strongroom_format::manifest::path::EntryPath;
use tokio::runtime::Handle;

use super::cache::past::{Past, Shelves};
use super::clock::now;
use super::distrust::Distrust;
use super::draft::Draft;
use super::request::BackupRequest;
use super::tally::Tally;
use super::walk::{Kind, Walk};
use crate::client::Client;
use crate::error::{Error, Result};

/// What a backup would do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Into which vault.
    pub vault: VaultName,
    /// The snapshot's name within its writer.
    pub name: Label,
    /// Files.
    pub files: u64,
    /// Directories, without the one that would be backed up itself.
    pub dirs: u64,
    /// Symbolic links.
    pub links: u64,
    /// FIFOs and devices.
    pub special: u64,
    /// What is there and would not be in it, as far as that is known without reading.
    pub skipped: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Files that would not be read, because nothing about them changed.
    pub files_unchanged: u64,
    /// Their bytes.
    pub bytes_unchanged: u64,
    /// How long it took to find out.
    pub duration: Duration,
}

impl Client {
    /// Says what a backup would take in and read. Asks the cluster for the vault and for what it has, and changes nothing
    /// there.
    ///
    /// # Errors
    /// As [`Client::back_up`] before it reads; `Refused` with reason `SOURCES` for what is piped: that can only be read.
    pub async fn plan_backup(&self, request: BackupRequest) -> Result<Plan> {
        let began = Instant::now();
        if request.piped.is_some() {
            return Err(Error::refused(
                "INVALID_ARGUMENT",
                "SOURCES",
                "what is piped is known only when it has been read",
                "back it up",
            ));
        }
        let draft = Draft::begin(self, request).await?;
        let shelves = Shelves {
            client: draft.client.clone(),
            runtime: Handle::current(),
            vault: draft.vault.statement.vault,
            domain: draft.keys.domain,
            set: draft.topology.set.clone(),
            distrust: Arc::new(Distrust::default()),
        };
        let tally = Tally::new(draft.request.progress.clone());
        let walk = Walk::new(draft.request.sources.clone(), draft.request.bounds.clone());
        let place = draft.cache.clone();
        let walking = tokio::task::spawn_blocking(move || {
            let (past, alarm) = place.map_or((None, None), |place| place.past(shelves));
            if let Some(why) = alarm {
                tally.cache_ignored(why);
            }
            count(walk, past, &tally)
        });
        let counted = walking.await.map_err(|panic| Error::failed("walking broke", panic))?;
        Ok(Plan {
            vault: draft.request.vault.clone(),
            name: draft.request.name.clone(),
            files: counted.files,
            dirs: counted.dirs,
            links: counted.links,
            special: counted.special,
            skipped: counted.skipped,
            bytes: counted.bytes,
            files_unchanged: counted.files_unchanged,
            bytes_unchanged: counted.bytes_unchanged,
            duration: began.elapsed(),
        })
    }
}

fn count(walk: Walk, mut past: Option<Past>, tally: &Tally) -> Counted {
    let mut counted = Counted::default();
    for found in walk {
        if let Kind::Skipped(why) = found.kind {
            tally.skipped(found.path, why);
            counted.skipped += 1;
            continue;
        }
        if found.path.is_empty() {
            continue;
        }
        let path = match EntryPath::new(found.path.clone()) {
            Ok(path) => path,
            Err(why) => {
                tally.skipped(found.path, why.to_string());
                counted.skipped += 1;
                continue;
            }
        };
        match found.kind {
            Kind::Directory => counted.dirs += 1,
            Kind::Symlink(_) => counted.links += 1,
            Kind::Fifo | Kind::Device(_) => counted.special += 1,
            Kind::Vanished | Kind::Skipped(_) => {}
            Kind::File { stamp, .. } => {
                tally.found(stamp.bytes);
                counted.files += 1;
                counted.bytes += stamp.bytes;
                let remembered = past.as_mut().and_then(|past| past.recall(&path));
                if remembered.is_some_and(|remembered| remembered.is_unchanged(stamp, now())) {
                    counted.files_unchanged += 1;
                    counted.bytes_unchanged += stamp.bytes;
                }
            }
        }
    }
    counted
}

/// What was counted.
#[derive(Default)]
struct Counted {
    files: u64,
    dirs: u64,
    links: u64,
    special: u64,
    skipped: u64,
    bytes: u64,
    files_unchanged: u64,
    bytes_unchanged: u64,
}
