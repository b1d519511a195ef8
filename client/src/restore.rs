//! Restore, verify, list: a snapshot back from the shards, believed only as far as it is proved.
//!
//! ```text
//!   gate ─▶ restore session ─▶ manifest (home) ─▶ selection, plan ─▶ layout ─▶ leaves ─▶ runs from all members at once
//!   DIR ◀─ renames ◀─ syncfs ◀─ others, attributes ◀─ staging directory ◀─ files ◀─ open, verify ◀──┘
//! ```
//!
//! Promises: nothing is shown before it is verified, and nothing that was not named; a file whose bytes are damaged
//! everywhere is left out and listed, the rest is restored (N146); wrong scope, signature or provenance halts
//! everything (N44, N120); runs lie where they must, or nothing is restored (N46); what gives power on the machine is
//! given only when asked, and what cannot be given is said (N115). Memory: a few hundred bytes a file,
//! and the chunks on their way. Not here: the node's half of the gate.

mod book;
mod cat;
mod compare;
mod dump;
mod fetch;
mod gate;
mod give;
mod index;
pub(crate) mod layout;
pub(crate) mod open;
mod ordered;
pub(crate) mod others;
mod outer;
pub(crate) mod path;
pub(crate) mod plan;
mod pour;
mod reading;
mod resume;
mod sample;
pub(crate) mod selection;
pub(crate) mod staging;
pub(crate) mod streams;
mod tar;
mod visit;
mod whole;
pub(crate) mod write;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use strongroom_format::id::SnapshotId;
use strongroom_format::manifest::decode::Item;
use strongroom_format::manifest::entry::{Access, Content, Device, Entry, Moment, Owner};
use strongroom_format::seal::Kind;

pub use self::cat::{ByteRange, FileRead};
pub use self::compare::{Change, Difference};
pub use self::dump::Dumped;
pub use self::give::{Lacking, NotGiven, Special};
pub use self::resume::Kept;
pub use self::sample::Sample;
pub use self::staging::{Earlier, Occupied};
pub use self::streams::{RestoredStreams, one_stream_at_a_time};
pub use self::write::DamagedFile;

use self::book::Book;
use self::fetch::fetch;
use self::fetch::opening::{Sink, Stats};
use self::layout::{Layout, RunIndex};
use self::path::TreePath;
use self::plan::Plan;
use self::reading::Reading;
use self::resume::Left;
use self::sample::Checked;
use self::selection::{Selection, not_found};
use self::staging::{Marker, Staging};
use self::visit::Visit;
use self::write::{Writer, Written};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};
use crate::random::random;
use crate::state::Verification;

/// What to restore, and where to.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Which of its paths, any bytes; none: everything.
    pub paths: Vec<Vec<u8>>,
    /// Instead of paths: what these globs match, each under its whole path in the snapshot ([`crate::globs`]).
    pub globs: Vec<Vec<u8>>,
    /// The target directory.
    pub to: PathBuf,
    /// What to do if it is not empty.
    pub occupied: Occupied,
    /// What to do with what an interrupted restore of the same snapshot into the same directory left.
    pub earlier: Earlier,
    /// What to do with what gives power on the machine.
    pub special: Special,
    /// Fetch at most so many bytes a second.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Why, for the tenant's audit log.
    pub purpose: String,
    /// Who hears how it goes.
    pub progress: Progress,
}

impl RestoreRequest {
    /// Everything of a snapshot into a directory that is absent or empty.
    pub fn new(snapshot: SnapshotId, to: PathBuf) -> Self {
        Self {
            snapshot,
            paths: Vec::new(),
            globs: Vec::new(),
            to,
            occupied: Occupied::default(),
            earlier: Earlier::default(),
            special: Special::default(),
            bytes_per_second: None,
            purpose: "restore".into(),
            progress: Progress::silent(),
        }
    }
}

/// What was restored, or verified.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Files that are whole.
    pub files: u64,
    /// Their bytes, without holes.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
    /// Fragments that nodes found damaged or missing on the way.
    pub fragments_bad: u64,
    /// Blobs that nodes had to rebuild from parity.
    pub blobs_rebuilt: u64,
    /// Files that are not in the result because their bytes are damaged everywhere.
    pub damaged: Vec<DamagedFile>,
    /// Entries that are not in the result for another reason, each with its own: this version does not understand them,
    /// nobody asked for them, the target or the caller's rights do not allow them.
    pub left_out: Vec<DamagedFile>,
    /// What entries that are in the result lack, by reason.
    pub not_given: Vec<NotGiven>,
    /// What an interrupted restore had left, and was not fetched again.
    pub kept: Kept,
}

impl Restored {
    /// Whether all that was named is whole.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty()
    }
}

/// An entry of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedEntry {
    /// Its path in the snapshot, any bytes.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// The 12 permission bits.
    pub mode: u32,
    /// A file's bytes, holes counted, under each of its names; else 0.
    pub bytes: u64,
    /// When it was last changed.
    pub modified: Moment,
    /// Whose it is, if that is known.
    pub owner: Option<Owner>,
    /// How many names it had where it was backed up, in the snapshot or not.
    pub names: u32,
    /// Where a symbolic link points; of a hard link, the path under which the snapshot holds the file.
    pub target: Option<Vec<u8>>,
    /// A device's numbers.
    pub device: Option<Device>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// One more name of an entry before it.
    HardLink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// Something that this version does not know.
    Other,
}

impl Client {
    /// Restores a snapshot, or some of it, into a directory.
    ///
    /// It succeeds also if files are damaged everywhere: [`Restored::damaged`] lists them. Dropping the future, or running
    /// out of patience, leaves a staging directory beside or in the target, and nothing else: the next attempt clears it,
    /// or goes on from it if [`RestoreRequest::earlier`] says so. Until it has ended a restore keeps its snapshot from being
    /// deleted: at most for a day if its process was killed, or until the next attempt.
    ///
    /// # Errors
    /// `Refused` with `TARGET_MISMATCH`, `PROVENANCE_INVALID`, `PLACEMENT_MISMATCH`, `NOT_FOUND`, `NO_SPACE`, … before
    /// anything is shown; `Failed` if the target's disk fails; `Unavailable` after the client's patience.
    pub async fn restore(&self, request: RestoreRequest) -> Result<Restored> {
        let began = Instant::now();
        let selection = match (&request.paths[..], &request.globs[..]) {
            (paths, []) => Selection::new(paths)?,
            ([], globs) => Selection::globs(globs)?,
            (_, _) => {
                let (why, next) = ("paths and globs are named at once", "name paths, or globs");
                return Err(Error::refused("INVALID_ARGUMENT", "SELECTION", why, next));
            }
        };
        let visit = Visit::begin_at_most(self, request.snapshot, &request.purpose, request.bytes_per_second).await?;
        let marker =
            Marker { tenant: visit.gate.envelope.tenant, vault: visit.gate.envelope.vault, snapshot: request.snapshot };
        let (to, occupied, earlier, special) = (request.to.clone(), request.occupied, request.earlier, request.special);
        let claimed = blocking(move || Staging::claim(&to, occupied, earlier, marker)).await?;
        if let Some(killed) = claimed.left_open() {
            visit.end_earlier(killed).await;
        }
        claimed.note_session(visit.gate.restore);
        let staging = Arc::new(claimed.giving(special));
        let (plan, into) = (Plan::new(special), Some(Arc::clone(&staging)));
        let done = restore_into(&visit, &selection, plan, into, request.progress, began).await;
        visit.end().await;
        match done {
            Err(Error::Unavailable { message }) => Err(Error::Unavailable {
                message: format!("{message}; restore again with --resume to go on from here"),
            }),
            Err(error) => {
                // What was wrong first is what people must hear.
                if let Err(left) = blocking(move || staging.discard()).await {
                    tracing::warn!(%left, "what was staged could not be removed");
                }
                Err(error)
            }
            Ok(restored) => Ok(restored),
        }
    }

    /// Verifies a snapshot, or some of it: everything that a restore does, but writing. Of all of a snapshot it is noted
    /// when that was ([`crate::state::State::verifications`]).
    ///
    /// # Errors
    /// As [`Client::restore`], without those of a target.
    pub async fn verify(&self, snapshot: SnapshotId, paths: &[Vec<u8>], progress: Progress) -> Result<Restored> {
        let began = Instant::now();
        let selection = Selection::new(paths)?;
        let visit = Visit::begin(self, snapshot, "verify").await?;
        let done = restore_into(&visit, &selection, Plan::new(Special::Given), None, progress, began).await;
        if selection.is_everything() {
            self.note_verification(&visit, Sample::ALL, done.as_ref())?;
        }
        visit.end().await;
        done
    }

    /// Verifies the manifest of a snapshot, its index, and some of its chunks, chosen at random.
    ///
    /// # Errors
    /// As [`Client::verify`].
    pub async fn verify_sample(&self, snapshot: SnapshotId, sample: Sample, progress: Progress) -> Result<Restored> {
        let began = Instant::now();
        let visit = Visit::begin(self, snapshot, "verify").await?;
        let done = check_sample(&visit, sample, progress, began).await;
        self.note_verification(&visit, sample, done.as_ref())?;
        visit.end().await;
        done
    }

    fn note_verification(
        &self,
        visit: &Visit,
        sample: Sample,
        done: std::result::Result<&Restored, &Error>,
    ) -> Result<()> {
        let is_whole = match done {
            Ok(restored) => restored.is_whole(),
            Err(Error::Refused { code: "DATA_LOSS", .. }) => false,
            // It was not verified.
            Err(_) => return Ok(()),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.0.state.note_verification(&Verification {
            vault: visit.gate.envelope.vault,
            snapshot: visit.gate.envelope.snapshot,
            unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            per_myriad: sample.in_per_myriad(),
            is_whole,
        })
    }

    /// The entries of a snapshot at and below a path (empty: all), in order.
    ///
    /// # Errors
    /// `Refused` if the path is not there, or as [`Client::restore`] for the manifest.
    pub async fn list_entries(&self, snapshot: SnapshotId, path: &[u8]) -> Result<Vec<ListedEntry>> {
        let mut entries = Vec::new();
        let keep = |entry| {
            entries.push(entry);
            Ok::<(), Error>(())
        };
        self.each_entry(snapshot, path, keep).await?;
        Ok(entries)
    }

    /// The same, one after another: memory grows with the entries that have several names, not with the snapshot. Answers
    /// how many there were.
    ///
    /// # Errors
    /// As [`Client::list_entries`], perhaps after some entries; or the listener's.
    pub async fn each_entry<E: From<Error>>(
        &self,
        snapshot: SnapshotId,
        path: &[u8],
        mut on: impl FnMut(ListedEntry) -> std::result::Result<(), E>,
    ) -> std::result::Result<u64, E> {
        let below = TreePath::typed(path)
            .map_err(|fault| Error::refused("INVALID_ARGUMENT", "SELECTION", fault, "name a path in the snapshot"))?;
        let visit = Visit::begin(self, snapshot, "list").await?;
        let told = tell_entries(&visit, &below, &mut on).await;
        visit.end().await;
        match told? {
            0 if !below.is_top() => Err(not_found(&below).into()),
            count => Ok(count),
        }
    }
}

async fn tell_entries<E: From<Error>>(
    visit: &Visit,
    below: &TreePath,
    on: &mut impl FnMut(ListedEntry) -> std::result::Result<(), E>,
) -> std::result::Result<u64, E> {
    let mut reading = Reading::begin(&visit.gate).await?;
    let (mut count, mut shared) = (0, Vec::new());
    while let Some(item) = reading.next().await? {
        let Item::Entry(entry) = item else { continue };
        let listed = listed(&entry, &shared);
        if 1 < entry.names {
            shared.push(listed.clone());
        }
        if entry.path.is_within(below.as_bytes()) {
            count += 1;
            on(listed)?;
        }
    }
    Ok(count)
}

async fn restore_into(
    visit: &Visit,
    selection: &Selection,
    plan: Plan,
    staging: Option<Arc<Staging>>,
    progress: Progress,
    began: Instant,
) -> Result<Restored> {
    let gate = &visit.gate;
    let mut reading = Reading::begin(gate).await?;
    let plan = plan.read(&mut reading, selection).await?;
    let Plan { directories, files, others, names, mut left_out, bytes, runs, .. } = plan;
    let mut stats = reading.stats();
    progress.tell(Event::Planned { files: files.len() as u64, bytes });
    let mut book = Book::open(gate, &runs).await?;
    let parts = book.parts(files.iter().map(|file| file.pieces.as_slice())).await?;
    let paths: Vec<TreePath> = directories.iter().map(|directory| directory.path.clone()).collect();
    let (below, tell) = (staging.clone(), progress.clone());
    let (found, mut parts, files, directories) = match below.clone() {
        Some(staging) if staging.is_continued() => {
            let chunks = book.chunks();
            let (id_key, tell) = (gate.keys.id_key.clone(), progress.clone());
            blocking(move || {
                let mut parts = parts;
                resume::prune(&staging, &directories, &files)?;
                let found = resume::look(&staging, &files, &mut parts, |at| chunks.get(at), &id_key, &tell)?;
                Ok((found, parts, files, directories))
            })
            .await?
        }
        Some(_) | None => (Left::default(), parts, files, directories),
    };
    let Left { there, kept } = found;
    if let Some(staging) = &staging {
        require_space(staging.free_bytes()?, bytes.saturating_sub(kept.bytes))?;
    }
    let writer = blocking(move || {
        if let Some(staging) = &below {
            for path in &paths {
                staging.make_directory(path).map_err(|errno| Error::file("make", path.to_string(), errno))?;
            }
        }
        Writer::new(below, files, std::mem::take(&mut parts), there, tell)
    })
    .await?;

    let wanted = book.wanted(writer.needed())?;
    let sink = Arc::new(IntoFiles { writer, layout: book.layout });
    let found = fetch(gate, Kind::Data, wanted, Arc::clone(&sink) as Arc<dyn Sink>).await?;
    stats.fragments_bad += found.stats.fragments_bad;
    stats.blobs_rebuilt += found.stats.blobs_rebuilt;
    visit.report(&found.bad_blobs).await;
    let IntoFiles { writer, .. } =
        Arc::try_unwrap(sink).map_err(|_| Error::broken("a chunk is still being written"))?;
    let Written { files, bytes, mut damaged, left_out: too_large } = writer.finish();
    left_out.extend(too_large);
    let mut not_given = Vec::new();
    if let Some(staging) = staging {
        (damaged, left_out, not_given) = blocking(move || {
            left_out.extend(others::make_others(&staging, &others)?);
            others::make_names(&staging, &names, &mut damaged, &mut left_out)?;
            staging.publish(directories)?;
            Ok((damaged, left_out, staging.not_given()))
        })
        .await?;
    }
    Ok(Restored {
        snapshot: gate.envelope.snapshot,
        files,
        bytes,
        duration: began.elapsed(),
        fragments_bad: stats.fragments_bad,
        blobs_rebuilt: stats.blobs_rebuilt,
        damaged,
        left_out,
        not_given,
        kept,
    })
}

/// Looks before anything is fetched.
fn require_space(free_bytes: u64, needed_bytes: u64) -> Result<()> {
    if needed_bytes <= free_bytes {
        return Ok(());
    }
    Err(Error::refused(
        "RESOURCE_EXHAUSTED",
        "NO_SPACE",
        format_args!("{needed_bytes} bytes are needed, and the target's file system has {free_bytes} bytes free"),
        "make room, restore elsewhere, or restore some of it",
    ))
}

/// Fetches and proves some chunks.
async fn check_sample(visit: &Visit, sample: Sample, progress: Progress, began: Instant) -> Result<Restored> {
    let gate = &visit.gate;
    let mut reading = Reading::begin(gate).await?;
    let plan = Plan::new(Special::Given).read(&mut reading, &Selection::new(&[])?).await?;
    let Plan { files, left_out, runs, .. } = plan;
    let mut book = Book::open(gate, &runs).await?;
    let mut parts = book.parts(files.iter().map(|file| file.pieces.as_slice())).await?;
    sample.choose(&mut parts, u64::from_le_bytes(random()?));
    let bytes = parts.iter().map(|part| u64::from(part.bytes)).sum();
    progress.tell(Event::Planned { files: files.len() as u64, bytes });
    let mut ordinals: Vec<u64> = parts.iter().map(|part| part.ordinal).collect();
    ordinals.dedup();
    let wanted = book.wanted(ordinals.into_iter())?;
    let names = files.into_iter().map(|file| file.name).collect();
    let sink = Arc::new(Checked::new(book.layout, parts, names, progress));
    let found = fetch(gate, Kind::Data, wanted, Arc::clone(&sink) as Arc<dyn Sink>).await?;
    visit.report(&found.bad_blobs).await;
    let checked = Arc::try_unwrap(sink).map_err(|_| Error::broken("a chunk is still being looked at"))?;
    let (files, bytes, damaged) = checked.finish();
    let Stats { fragments_bad, blobs_rebuilt } = reading.stats();
    Ok(Restored {
        snapshot: gate.envelope.snapshot,
        files,
        bytes,
        duration: began.elapsed(),
        fragments_bad: fragments_bad + found.stats.fragments_bad,
        blobs_rebuilt: blobs_rebuilt + found.stats.blobs_rebuilt,
        damaged,
        left_out,
        not_given: Vec::new(),
        kept: Kept::default(),
    })
}

/// Chunks on their way into files.
struct IntoFiles {
    writer: Writer,
    layout: Layout,
}

impl Sink for IntoFiles {
    fn take(&self, run: usize, position: usize, plaintext: Vec<u8>) -> Result<()> {
        self.writer.take(self.layout.ordinals(RunIndex(run)).start + position as u64, &plaintext)
    }

    fn lose(&self, run: usize, position: usize, why: &str) -> Result<()> {
        self.writer.lose(self.layout.ordinals(RunIndex(run)).start + position as u64, why)
    }
}

/// `shared`: the entries before it that have several names.
fn listed(entry: &Entry, shared: &[ListedEntry]) -> ListedEntry {
    let first = |back: u64| usize::try_from(back).ok().and_then(|back| shared.get(shared.len().checked_sub(back)?));
    let (kind, first, target, device) = match &entry.content {
        Content::File(_) => (EntryKind::File, None, None, None),
        Content::Directory => (EntryKind::Directory, None, None, None),
        Content::Symlink { target } => (EntryKind::Symlink, None, Some(target.clone()), None),
        Content::HardLink { back } => {
            let first = first(*back);
            (EntryKind::HardLink, first, first.map(|first| first.path.clone()), None)
        }
        Content::Fifo => (EntryKind::Fifo, None, None, None),
        Content::Device(device) => {
            let kind = match device.access {
                Access::Character => EntryKind::CharacterDevice,
                Access::Block => EntryKind::BlockDevice,
            };
            (kind, None, None, Some(*device))
        }
        Content::Other { .. } => (EntryKind::Other, None, None, None),
    };
    ListedEntry {
        path: entry.path.as_bytes().to_vec(),
        kind,
        mode: entry.attributes.mode,
        bytes: first.map_or(entry.bytes(), |first| first.bytes),
        modified: entry.attributes.modified,
        owner: entry.attributes.owner,
        names: first.map_or(entry.names, |first| first.names),
        target,
        device,
    }
}

/// Runs what blocks on the disk where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| Error::failed("the work on the disk broke", panic))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        assert!(require_space(1000, 1000).is_ok());
        let refused = require_space(999, 1000).unwrap_err();
        assert_eq!(refused.reason(), Some("NO_SPACE"));
        assert!(
            refused.to_string().contains("1000 bytes are needed") && refused.to_string().contains("999"),
            "{refused}"
        );
    }
}
