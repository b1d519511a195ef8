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

mod fetch;
mod gate;
mod give;
mod index;
pub(crate) mod layout;
pub(crate) mod open;
pub(crate) mod others;
pub(crate) mod path;
pub(crate) mod plan;
pub(crate) mod selection;
pub(crate) mod staging;
mod whole;
pub(crate) mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use strongroom_format::command::{BlobRef, Body};
use strongroom_format::id::{GroupId, SnapshotId};
use strongroom_format::manifest::ManifestError;
use strongroom_format::manifest::decode::{Decoder, Item, Limits};
use strongroom_format::manifest::entry::{Access, Content, Device, Entry, Moment, Owner, Run};
use strongroom_format::outcome::Done;
use strongroom_format::placement::group_of_run;
use strongroom_format::seal::Kind;
use strongroom_proto::v1 as pb;

pub use self::give::{Lacking, NotGiven, Special};
pub use self::staging::Occupied;
pub use self::write::DamagedFile;

use self::fetch::{Found, Sink, Stats, WantedRun, fetch};
use self::gate::Gate;
use self::index::{LeafAt, RunNode};
use self::layout::{Layout, RunIndex};
use self::path::TreePath;
use self::plan::Plan;
use self::selection::Selection;
use self::staging::{Marker, Staging};
use self::write::{PlannedFile, Writer, Written};
use crate::audit;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};
use crate::session::{Session, unexpected};

/// A restore may last so long before its pin ends.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// More entries are refused: each takes memory (N115).
const ENTRIES_MAX: u64 = 1 << 24;
/// So many chunks of a manifest are fetched at once.
const MANIFEST_WINDOW: usize = 32;
/// So many bad blobs are reported.
const REPORTS_MAX: usize = 64;

/// What to restore, and where to.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Which of its paths, any bytes; none: everything.
    pub paths: Vec<Vec<u8>>,
    /// The target directory.
    pub to: PathBuf,
    /// What to do if it is not empty.
    pub occupied: Occupied,
    /// What to do with what gives power on the machine.
    pub special: Special,
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
            to,
            occupied: Occupied::default(),
            special: Special::default(),
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
    /// It succeeds also if files are damaged everywhere: [`Restored::damaged`] lists them. Dropping the future leaves a
    /// staging directory beside or in the target, which the next attempt clears, and nothing else.
    ///
    /// # Errors
    /// `Refused` with `TARGET_MISMATCH`, `PROVENANCE_INVALID`, `PLACEMENT_MISMATCH`, `NOT_FOUND`, … before anything is
    /// shown; `Failed` if the target's disk fails; `Unavailable` after the client's patience.
    pub async fn restore(&self, request: RestoreRequest) -> Result<Restored> {
        let began = Instant::now();
        let selection = Selection::new(&request.paths)?;
        let visit = Visit::begin(self, request.snapshot, &request.purpose).await?;
        let marker =
            Marker { tenant: visit.gate.envelope.tenant, vault: visit.gate.envelope.vault, snapshot: request.snapshot };
        let (to, occupied, special) = (request.to.clone(), request.occupied, request.special);
        let claimed = blocking(move || Staging::claim(&to, occupied, marker)).await?;
        let staging = Arc::new(claimed.giving(special));
        let (plan, into) = (Plan::new(special), Some(Arc::clone(&staging)));
        let done = restore_into(&visit, &selection, plan, into, request.progress, began).await;
        if done.is_err() {
            let staging = Arc::clone(&staging);
            blocking(move || staging.discard()).await?;
        }
        visit.end().await;
        done
    }

    /// Verifies a snapshot, or some of it: everything that a restore does, but writing.
    ///
    /// # Errors
    /// As [`Client::restore`], without those of a target.
    pub async fn verify(&self, snapshot: SnapshotId, paths: &[Vec<u8>], progress: Progress) -> Result<Restored> {
        let began = Instant::now();
        let selection = Selection::new(paths)?;
        let visit = Visit::begin(self, snapshot, "verify").await?;
        let done = restore_into(&visit, &selection, Plan::new(Special::Given), None, progress, began).await;
        visit.end().await;
        done
    }

    /// The entries of a snapshot at and below a path (empty: all), in order.
    ///
    /// # Errors
    /// `Refused` if the path is not there, or as [`Client::restore`] for the manifest.
    pub async fn list_entries(&self, snapshot: SnapshotId, path: &[u8]) -> Result<Vec<ListedEntry>> {
        let below = TreePath::typed(path)
            .map_err(|fault| Error::refused("INVALID_ARGUMENT", "SELECTION", fault, "name a path in the snapshot"))?;
        let visit = Visit::begin(self, snapshot, "list").await?;
        let mut entries = Vec::new();
        let mut shared = Vec::new();
        let mut keep = |item| {
            if let Item::Entry(entry) = item {
                let listed = listed(&entry, &shared);
                if 1 < entry.names {
                    shared.push(listed.clone());
                }
                if entry.path.is_within(below.as_bytes()) {
                    entries.push(listed);
                }
            }
            Ok(())
        };
        let read = read_manifest(&visit.gate, &mut keep).await;
        visit.end().await;
        read?;
        if entries.is_empty() && !below.is_top() {
            return Err(not_found(&below));
        }
        Ok(entries)
    }
}

/// A snapshot that passed the gate, pinned by a restore session.
struct Visit {
    gate: Arc<Gate>,
    session: Session,
}

/// A restore session that may or may not have been opened ends by itself and changed nothing of the caller's: try again.
fn nothing_changed(error: Error) -> Error {
    match error {
        Error::Unknown { message } => Error::Unavailable { message },
        Error::Refused { .. } | Error::Failed { .. } | Error::Unavailable { .. } => error,
    }
}

impl Visit {
    async fn begin(client: &Client, snapshot: SnapshotId, purpose: &str) -> Result<Self> {
        client.refresh_topology().await?;
        let home = client.topology().home;
        let request = pb::GetSnapshotRequest {
            id: Bytes::copy_from_slice(snapshot.as_bytes()),
            prefix: String::new(),
            vault: Bytes::new(),
        };
        let reply = client
            .read(home, |mut vaults| {
                let request = request.clone();
                async move { vaults.get_snapshot(request).await }
            })
            .await
            .map_err(|error| audit::not_hidden(client, snapshot, error))?;
        client.look_at_log().await?;
        let mut gate = Gate::pass(client, snapshot, reply).await?;
        let session = Session::open(client, home, 0).await.map_err(nothing_changed)?;
        let lifetime_ms = u64::try_from(LIFETIME.as_millis()).expect("a day");
        let body = Body::OpenRestore { snapshots: vec![snapshot], purpose: purpose.to_owned(), lifetime_ms };
        match session.call(body).await.map_err(nothing_changed)? {
            Done::RestoreOpened { restore, .. } => gate.restore = restore,
            other => return Err(unexpected(&other)),
        }
        Ok(Self { gate: Arc::new(gate), session })
    }

    /// A courtesy: it ends by itself.
    async fn end(self) {
        let ends = async {
            if let Err(error) = self.session.call(Body::EndRestore { restore: self.gate.restore }).await {
                tracing::debug!(%error, "a restore session was not ended");
            }
            self.session.end().await;
        };
        let _ended = tokio::time::timeout(Duration::from_secs(2), ends).await;
    }

    /// Says which blobs do not open, so that the next backup sends their chunks again.
    async fn report(&self, bad: &BTreeSet<BlobRef>) {
        for BlobRef { chunk, blob } in bad.iter().take(REPORTS_MAX).copied() {
            let envelope = &self.gate.envelope;
            let body = Body::ReportBlob {
                vault: envelope.vault,
                domain: envelope.domain,
                chunk,
                blob,
                snapshot: envelope.snapshot,
            };
            if let Err(error) = self.session.call(body).await {
                tracing::warn!(%error, %blob, "a blob that does not open was not reported");
            }
        }
    }
}

async fn restore_into(
    visit: &Visit,
    selection: &Selection,
    mut plan: Plan,
    staging: Option<Arc<Staging>>,
    progress: Progress,
    began: Instant,
) -> Result<Restored> {
    let gate = &visit.gate;
    let mut stats = read_manifest(gate, &mut |item| {
        plan.take(item, selection);
        Ok(())
    })
    .await?;
    if let Some(path) = selection.not_found() {
        return Err(not_found(path));
    }
    let Plan { directories, files, others, names, mut left_out, bytes, runs, .. } = plan;
    progress.tell(Event::Planned { files: files.len() as u64, bytes });
    if let Some(staging) = &staging
        && staging.free_bytes()? < bytes
    {
        return Err(Error::refused(
            "RESOURCE_EXHAUSTED",
            "NO_SPACE",
            format_args!("{bytes} bytes do not fit into the target's file system"),
            "make room, restore elsewhere, or restore some of it",
        ));
    }

    let mut book = Book::open(gate, &runs).await?;
    let parts = book.parts(&files).await?;
    let paths: Vec<TreePath> = directories.iter().map(|directory| directory.path.clone()).collect();
    let (below, tell) = (staging.clone(), progress.clone());
    let writer = blocking(move || {
        if let Some(staging) = &below {
            for path in &paths {
                staging.make_directory(path).map_err(|errno| Error::file("make", path.to_string(), errno))?;
            }
        }
        Writer::new(below, files, parts, tell)
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

/// The index of a snapshot's contents, read as far as needed.
struct Book<'a> {
    gate: &'a Gate,
    layout: Layout,
    leaves: BTreeMap<GroupId, Vec<LeafAt>>,
    read: BTreeMap<RunIndex, RunNode>,
}

impl<'a> Book<'a> {
    /// Finds every shard's leaves, and compares them with the order of runs.
    async fn open(gate: &'a Gate, runs: &[Run]) -> Result<Self> {
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
    async fn parts(&mut self, files: &[PlannedFile]) -> Result<Vec<layout::Part>> {
        loop {
            let pieces = (0..).zip(files).map(|(number, file)| (number, file.pieces.as_slice()));
            match self.layout.parts(pieces).map_err(|fault| Error::data_loss("OUT_OF_RANGE", fault))? {
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
    fn wanted(&self, needed: impl Iterator<Item = u64>) -> Result<Vec<WantedRun>> {
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

/// Reads the manifest from its first item to its last.
async fn read_manifest(gate: &Arc<Gate>, on: &mut (dyn FnMut(Item) -> Result<()> + Send)) -> Result<Stats> {
    let home = gate.client.topology().home;
    let root = gate.envelope.manifest;
    let leaves = index::leaves(gate, home, root.root, root.stored_bytes, root.chunk_refs).await?;
    let mut decoder = Decoder::new(Limits { entries: ENTRIES_MAX, ..Limits::default() });
    let mut stats = Stats::default();
    for leaf in leaves {
        let run = index::runs(gate, home, &[leaf]).await?.pop().expect("one run for one leaf");
        let positions: Vec<usize> = (0..run.entries.len()).collect();
        for window in positions.chunks(MANIFEST_WINDOW) {
            let sink = Arc::new(InOrder::default());
            let wanted = WantedRun { number: 0, group: home, node: run.clone(), positions: window.to_vec() };
            let Found { stats: more, .. } =
                fetch(gate, Kind::Manifest, vec![wanted], Arc::clone(&sink) as Arc<dyn Sink>).await?;
            stats.fragments_bad += more.fragments_bad;
            stats.blobs_rebuilt += more.blobs_rebuilt;
            if let Some(why) = &*sink.lost.lock().unwrap_or_else(PoisonError::into_inner) {
                return Err(Error::data_loss(
                    "MANIFEST_LOST",
                    format_args!("the manifest is damaged everywhere: {why}"),
                ));
            }
            let had = std::mem::take(&mut *sink.had.lock().unwrap_or_else(PoisonError::into_inner));
            for plaintext in had.into_values() {
                decoder.push(&plaintext);
                while let Some(item) = decoder.next_item().map_err(malformed)? {
                    on(item)?;
                }
            }
        }
    }
    decoder.finish().map_err(malformed)?;
    Ok(stats)
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

fn not_found(path: &TreePath) -> Error {
    Error::refused(
        "NOT_FOUND",
        "NOT_FOUND",
        format_args!("{path} is not in the snapshot"),
        "name a path as `strongroom ls` shows it",
    )
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
