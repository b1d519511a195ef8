//! A stream of chunks on its way into the tenant's shards: runs, placement, what is known already, trees.
//!
//! ```text
//!   chunk ─▶ run (cutter) ─▶ batch ─▶ which? ─▶ known ──────────────────────┐
//!                                         └──▶ seal ─▶ upload of the group ─┤ in order
//!                                                 tree of the group ◀─ run ◀┘ ─▶ nodes ─▶ upload of the group
//! ```
//!
//! Promises: the same chunks give the same runs, placement and trees; a chunk that occurs twice is sealed once; a leaf
//! is proposed behind the blobs that it names; batches are worked on side by side and settled in order. Not here: the
//! bound on memory (`memory.rs`), the transport (`upload.rs`).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use strongroom_format::id::{ChunkId, DekId, DomainId, GroupId, VaultId};
use strongroom_format::manifest::entry::Run;
use strongroom_format::seal::Kind;
use strongroom_format::tree::{LeafEntry, Made, Root, TreeBuilder};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::distrust::Distrust;
use super::memory::Memory;
use super::place::Place;
use super::read::{Chunk, Origin};
use super::sealer::Sealer;
use super::tally::Tally;
use super::upload::{Outgoing, Sender, Upload};
use super::which::{Known, Shelf};
use crate::client::Client;
use crate::error::{Error, Result};

/// Chunks are asked about in batches of so many,
const BATCH_CHUNKS: usize = 64;
/// or so many bytes.
const BATCH_BYTES: usize = 8 << 20;
/// So many batches are worked on at once.
const BATCHES_IN_FLIGHT: usize = 24;
/// So many chunks of this upload are remembered per group, to seal what repeats once.
const REMEMBERED_CHUNKS: usize = 1 << 16;

/// What all streams of one attempt share.
pub(crate) struct Shared {
    pub client: Client,
    pub sealer: Arc<Sealer>,
    pub vault: VaultId,
    pub domain: DomainId,
    pub distrust: Arc<Distrust>,
    pub tally: Arc<Tally>,
    pub memory: Arc<Memory>,
    /// One permit for each thread that seals.
    pub sealing: Semaphore,
    /// The ends of the uploads, by group.
    pub senders: BTreeMap<GroupId, Sender>,
    /// Other uploads' keys under which known chunks are sealed.
    pub foreign_deks: Mutex<BTreeSet<DekId>>,
}

/// What a group holds of a stream, when it has ended.
pub(crate) struct Tree {
    pub root: Root,
}

/// One stream.
pub(crate) struct Stream {
    shared: Arc<Shared>,
    kind: Kind,
    /// The group of the run that chunks are added to; `None` before the first.
    group: Option<GroupId>,
    batch: Vec<Pending>,
    batch_bytes: usize,
    launched: VecDeque<Launched>,
    claims: BTreeMap<GroupId, Claims>,
    run: Vec<LeafEntry>,
    run_plaintext_bytes: Vec<u32>,
    builders: BTreeMap<GroupId, TreeBuilder>,
    runs: Vec<Run>,
    /// Canonical bytes of every node, by group, in order: for the records.
    nodes: BTreeMap<GroupId, Vec<Bytes>>,
    length_key: strongroom_format::keys::LengthKey,
}

/// What was begun, in order of the chunks.
enum Launched {
    /// A batch of a run.
    Batch { task: JoinHandle<std::result::Result<Vec<(LeafEntry, u32)>, Stopped>>, group: GroupId },
    /// The run ends behind the batch before.
    RunEnds(GroupId),
}

/// Who seals a chunk, and what everybody else gets.
struct Pending {
    chunk: Chunk,
    role: Role,
}

enum Role {
    /// Finds out or seals, and tells.
    First(watch::Sender<Option<LeafEntry>>),
    /// Waits for the first.
    Repeats(watch::Receiver<Option<LeafEntry>>),
}

/// Chunks of this upload in one group.
#[derive(Default)]
struct Claims {
    by_chunk: HashMap<ChunkId, watch::Receiver<Option<LeafEntry>>>,
    in_order: VecDeque<ChunkId>,
}

/// Why a batch was not stored.
enum Stopped {
    /// The group's upload ended; it knows why.
    Upload,
    /// Something else.
    Error(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Stream {
    /// An empty stream of chunks of one kind.
    pub(crate) fn new(shared: Arc<Shared>, kind: Kind, length_key: strongroom_format::keys::LengthKey) -> Self {
        Self {
            shared,
            kind,
            group: None,
            batch: Vec::new(),
            batch_bytes: 0,
            launched: VecDeque::new(),
            claims: BTreeMap::new(),
            run: Vec::new(),
            run_plaintext_bytes: Vec::new(),
            builders: BTreeMap::new(),
            runs: Vec::new(),
            nodes: BTreeMap::new(),
            length_key,
        }
    }

    /// Takes the next chunk.
    pub(crate) async fn push(&mut self, chunk: Chunk, uploads: &mut BTreeMap<GroupId, Upload>) -> Result<()> {
        if let Place::Begins(group) = chunk.place {
            self.end_present_run();
            self.group = Some(group);
        }
        let group = self.group.ok_or_else(|| Error::broken("the first chunk begins no run"))?;
        self.batch_bytes += chunk.origin.bytes_held();
        let role = self.claims.entry(group).or_default().claim(chunk.id);
        self.batch.push(Pending { chunk, role });
        if BATCH_CHUNKS <= self.batch.len() || BATCH_BYTES <= self.batch_bytes {
            self.launch(group);
        }
        while BATCHES_IN_FLIGHT < self.launched.len() || self.launched.front().is_some_and(Launched::is_finished) {
            self.settle(uploads).await?;
        }
        Ok(())
    }

    /// Sends what waits for company: nothing more comes soon, and what comes may wait for its memory.
    pub(crate) fn hurry(&mut self) {
        if let (Some(group), false) = (self.group, self.batch.is_empty()) {
            self.launch(group);
        }
    }

    fn end_present_run(&mut self) {
        self.hurry();
        if let Some(group) = self.group.take() {
            self.launched.push_back(Launched::RunEnds(group));
        }
    }

    /// Ends the stream: the trees are whole and their nodes on the way. The order of runs, and per group what it holds.
    pub(crate) async fn finish(
        mut self,
        uploads: &mut BTreeMap<GroupId, Upload>,
    ) -> Result<(Vec<Run>, BTreeMap<GroupId, Tree>, BTreeMap<GroupId, Vec<Bytes>>)> {
        self.end_present_run();
        while !self.launched.is_empty() {
            self.settle(uploads).await?;
        }
        if self.kind == Kind::Manifest && self.builders.is_empty() {
            return Err(Error::broken("a manifest has at least its header"));
        }
        let mut trees = BTreeMap::new();
        for (group, builder) in std::mem::take(&mut self.builders) {
            let (made, root) = builder.finish().map_err(|fault| Error::failed("the tree is too large", fault))?;
            self.send_nodes(group, made, uploads).await?;
            trees.insert(group, Tree { root });
        }
        Ok((std::mem::take(&mut self.runs), trees, std::mem::take(&mut self.nodes)))
    }

    fn launch(&mut self, group: GroupId) {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let task = tokio::spawn(store(Arc::clone(&self.shared), self.kind, group, batch));
        self.launched.push_back(Launched::Batch { task, group });
    }

    /// Waits for the oldest batch.
    async fn settle(&mut self, uploads: &mut BTreeMap<GroupId, Upload>) -> Result<()> {
        let (task, group) = match self.launched.front_mut() {
            None => return Ok(()),
            Some(Launched::RunEnds(group)) => {
                let group = *group;
                self.launched.pop_front();
                return self.end_run(group, uploads).await;
            }
            Some(Launched::Batch { task, group }) => (task, *group),
        };
        let ended = task.await;
        self.launched.pop_front();
        let stored = match ended {
            Ok(Ok(stored)) => stored,
            Ok(Err(Stopped::Error(error))) => return Err(error),
            Ok(Err(Stopped::Upload)) => {
                return Err(match uploads.get_mut(&group) {
                    Some(upload) => upload.failure().await,
                    None => Error::broken("a group without an upload"),
                });
            }
            Err(panic) => return Err(Error::failed("a sealing task broke", panic)),
        };
        for (entry, plaintext_bytes) in stored {
            self.run.push(entry);
            self.run_plaintext_bytes.push(plaintext_bytes);
        }
        Ok(())
    }

    async fn end_run(&mut self, group: GroupId, uploads: &mut BTreeMap<GroupId, Upload>) -> Result<()> {
        let entries = std::mem::take(&mut self.run);
        let plaintext_bytes = std::mem::take(&mut self.run_plaintext_bytes);
        let chunks = u32::try_from(entries.len()).expect("a run has at most 1024 chunks");
        self.runs.push(Run { group, chunks });
        let builder = self.builders.entry(group).or_insert_with(|| TreeBuilder::new(self.length_key.clone()));
        let made = builder
            .push(entries, &plaintext_bytes)
            .map_err(|fault| Error::failed("the tree cannot take a run", fault))?;
        self.send_nodes(group, made, uploads).await
    }

    async fn send_nodes(
        &mut self,
        group: GroupId,
        made: Vec<Made>,
        uploads: &mut BTreeMap<GroupId, Upload>,
    ) -> Result<()> {
        let upload = uploads.get_mut(&group).ok_or_else(|| Error::broken("a group without an upload"))?;
        for node in made {
            self.nodes.entry(group).or_default().push(Bytes::from(node.bytes.clone()));
            upload.node(node.bytes).await?;
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        for launched in &self.launched {
            if let Launched::Batch { task, .. } = launched {
                task.abort();
            }
        }
    }
}

impl Launched {
    fn is_finished(&self) -> bool {
        match self {
            Self::Batch { task, .. } => task.is_finished(),
            Self::RunEnds(_) => true,
        }
    }
}

impl Claims {
    fn claim(&mut self, chunk: ChunkId) -> Role {
        if let Some(first) = self.by_chunk.get(&chunk) {
            return Role::Repeats(first.clone());
        }
        let (tell, listen) = watch::channel(None);
        self.by_chunk.insert(chunk, listen);
        self.in_order.push_back(chunk);
        if REMEMBERED_CHUNKS < self.in_order.len()
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.by_chunk.remove(&oldest);
        }
        Role::First(tell)
    }
}

/// Finds out which chunks of a batch are known, seals and sends the others, and says what each became.
async fn store(
    shared: Arc<Shared>,
    kind: Kind,
    group: GroupId,
    batch: Vec<Pending>,
) -> std::result::Result<Vec<(LeafEntry, u32)>, Stopped> {
    let asked: Vec<ChunkId> = batch
        .iter()
        .filter(|pending| matches!(pending.role, Role::First(_)) && shared.distrust.trusts(&pending.chunk.id))
        .filter(|pending| matches!(pending.chunk.origin, Origin::Read(_)))
        .map(|pending| pending.chunk.id)
        .collect();
    let shelf = Shelf { client: &shared.client, group, vault: shared.vault, domain: shared.domain };
    let known = shelf.which(&asked).await?;
    let sender = shared.senders.get(&group).ok_or_else(|| Error::broken("a group without an upload"))?;
    let mut stored = Vec::with_capacity(batch.len());
    let mut repeats = Vec::new();
    for (at, Pending { chunk: Chunk { id, origin, .. }, role }) in batch.into_iter().enumerate() {
        let plaintext_bytes = origin.plaintext_bytes();
        let tell = match role {
            Role::First(tell) => tell,
            Role::Repeats(first) => {
                shared.tally.known(1);
                repeats.push((at, id, first));
                stored.push((None, plaintext_bytes));
                continue;
            }
        };
        let origin = match known.get(&id) {
            Some(known) => Origin::Kept { plaintext_bytes, known: *known },
            None => origin,
        };
        let entry = match origin {
            Origin::Kept { known: Known { blob, stored_bytes, dek }, .. } => {
                shared.tally.known(1);
                if dek != shared.sealer.dek() {
                    shared.foreign_deks.lock().unwrap_or_else(PoisonError::into_inner).insert(dek);
                }
                LeafEntry { chunk: id, blob, stored_bytes }
            }
            Origin::Read(plaintext) => {
                let sealed = {
                    let _turn = shared.sealing.acquire().await.map_err(|_| Error::broken("sealing ended"))?;
                    let sealer = Arc::clone(&shared.sealer);
                    tokio::task::spawn_blocking(move || sealer.seal(kind, id, &plaintext))
                        .await
                        .map_err(|panic| Error::failed("sealing broke", panic))??
                };
                let stored_bytes = u32::try_from(sealed.bytes.len()).expect("a blob is hardly longer than its chunk");
                shared.tally.sent(stored_bytes.into());
                let room = shared.memory.room(sealed.bytes.len()).await.map_err(|_ended| Stopped::Upload)?;
                let outgoing = Outgoing { blob: sealed.blob, bytes: sealed.bytes, _room: Some(room) };
                sender.blob(outgoing).await.map_err(|_ended| Stopped::Upload)?;
                LeafEntry { chunk: id, blob: sealed.blob, stored_bytes }
            }
        };
        tell.send_replace(Some(entry));
        stored.push((Some(entry), plaintext_bytes));
    }
    for (at, _, mut first) in repeats {
        // If the first fails, so does the backup, with the first's reason.
        let entry = *first.wait_for(Option::is_some).await.map_err(|_| Stopped::Upload)?;
        stored[at].0 = entry;
    }
    Ok(stored.into_iter().map(|(entry, bytes)| (entry.expect("known, sealed, or told by the first"), bytes)).collect())
}
