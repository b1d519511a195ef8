//! Restores: the gate that every byte passes on its way out, and the runs behind it.
//!
//! ```text
//!   identity, tenant, role (the door, standing.rs) ─▶ restore session in the log: the caller's own, of this vault?
//!     ─▶ the domain is that of a snapshot that it pins? ─▶ leaf ─▶ rows of its blobs ─▶ gather ─▶ out
//! ```
//!
//! The first failure stops. A session was opened by a signed command against the snapshots' own rows, whose envelopes
//! were verified when they were committed; here it is read from the home shard and counts for five seconds. What was
//! written once never changes (nodes, rows of blobs), so it is read from this node's replica where it has it. Bytes are
//! gathered in batches of [`BATCH_BYTES_MAX`], two at a time for each call. Who puts blobs together itself asks each member
//! for the fragments in its own slot instead, past the same gate: they pass one connection, not two. What does not lie
//! where it should is asked for as a blob then; only gathering knows rows, parity and whom to blame.
//!
//! Not here: what is in the bytes; the client checks it all again.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use strongroom_core::query::{Answer, Query, SnapshotRef};
use strongroom_format::codec;
use strongroom_format::command::BlobRef;
use strongroom_format::id::{DomainId, GroupId, IdentityId, SessionId, TenantId, TreeId, VaultId};
use strongroom_format::role::Role;
use strongroom_format::tree::{LeafEntry, Node};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::caller::Caller;
use crate::gather::{Gather, GatherStats, Gathered, NotGathered, Own};
use crate::holders::Wanted;
use crate::reads::{ReadFault, Reads};
use crate::topology::{InForce, Shard};

/// So many bytes are gathered at once, and as many are on their way.
pub const BATCH_BYTES_MAX: u64 = 8 << 20;
/// What was read about a session counts for so long.
const FRESH: Duration = Duration::from_secs(5);
/// Shards are asked for so long.
const WITHIN: Duration = Duration::from_secs(10);
/// More sessions than this are not remembered.
const SESSIONS_MAX: usize = 4096;
/// At most so many nodes in one question.
pub const NODES_MAX: usize = 256;

/// Why nothing, or nothing more, comes out.
#[derive(Debug, thiserror::Error)]
pub enum RestoreFault {
    /// No such session, vault, domain or run, or not the caller's; all look the same.
    #[error("there is no such thing, or it is not yours")]
    NotFound,
    /// The caller's role does not read it.
    #[error("the role does not allow it")]
    Role,
    /// A field is outside its range.
    #[error("{why}")]
    OutOfRange {
        /// What is wrong, for people.
        why: &'static str,
    },
    /// What lies in the shard contradicts itself.
    #[error("a tree node does not read: {why}")]
    Damaged {
        /// What is wrong.
        why: String,
    },
    /// This node has no member in the shard: ask one that has.
    #[error("this node has no member in the shard")]
    NotAMember,
    /// Shards do not answer.
    #[error(transparent)]
    Read(#[from] ReadFault),
}

/// Which tree nodes are wanted.
#[derive(Clone, Debug)]
pub struct NodesWanted {
    /// The shard.
    pub group: GroupId,
    /// The restore session at home; `None`: a writer reads its own domain.
    pub restore: Option<SessionId>,
    /// The vault.
    pub vault: VaultId,
    /// The domain.
    pub domain: DomainId,
    /// Which, at most [`NODES_MAX`].
    pub nodes: Vec<TreeId>,
}

/// Which run is wanted.
#[derive(Clone, Debug)]
pub struct RunWanted {
    /// The shard.
    pub group: GroupId,
    /// The restore session at home.
    pub restore: SessionId,
    /// The vault.
    pub vault: VaultId,
    /// The domain.
    pub domain: DomainId,
    /// Its leaf.
    pub leaf: TreeId,
    /// Which of its chunks; empty: all.
    pub positions: Vec<u32>,
    /// In which form.
    pub form: Form,
}

/// What is sent of each blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// All of it, gathered and compared with its id.
    Blobs,
    /// The fragment that lies in this member's own slot, as it was read.
    OwnFragments,
}

/// One blob of a run.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its place in the run.
    pub position: u32,
    /// The blob, or what was wanted of it; else why it is not there.
    pub piece: Result<Piece, NoBlob>,
}

/// What is sent of a blob.
#[derive(Clone, Debug)]
pub enum Piece {
    /// It has the hash by which it was wanted.
    Blob(Bytes),
    /// Judged by nobody but its checksum: whoever puts the blob together judges.
    Fragment {
        /// Which.
        index: u8,
        /// Its bytes.
        payload: Bytes,
    },
}

/// Why a blob of a run is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBlob {
    /// For people.
    pub why: &'static str,
    /// Members that should have fragments did not answer: it is not lost, only not here now.
    pub away: bool,
}

/// A run that may be sent.
pub struct Run {
    shard: Arc<Shard>,
    tenant: TenantId,
    vault: VaultId,
    domain: DomainId,
    /// With their places, in order.
    entries: Vec<(u32, LeafEntry)>,
    form: Form,
}

/// What a session may read, as it was read at home.
#[derive(Clone, Debug)]
struct Pinned {
    identity: IdentityId,
    vault: VaultId,
    domains: BTreeSet<DomainId>,
    read: Instant,
}

/// Restores. Clones are the same.
#[derive(Clone)]
pub struct Restores {
    topology: InForce,
    reads: Reads,
    gather: Gather,
    sessions: Arc<Mutex<HashMap<(TenantId, SessionId), Pinned>>>,
}

impl Restores {
    /// Nothing known yet.
    pub fn new(topology: InForce, reads: Reads, gather: Gather) -> Self {
        Self { topology, reads, gather, sessions: Arc::default() }
    }

    /// Tree nodes, in order; `None` where there is none.
    pub async fn nodes(&self, caller: &Caller, wanted: NodesWanted) -> Result<Vec<Option<Vec<u8>>>, RestoreFault> {
        if NODES_MAX < wanted.nodes.len() {
            return Err(RestoreFault::OutOfRange { why: "more than 256 nodes are wanted at once" });
        }
        let NodesWanted { group, restore, vault, domain, nodes } = wanted;
        let by = match restore {
            Some(restore) => {
                self.pass(caller, restore, vault, domain).await?;
                None
            }
            None if caller.role == Role::Writer || caller.role == Role::Gateway => Some(caller.identity.clone()),
            None => return Err(RestoreFault::Role),
        };
        self.shard_of(caller, group)?;
        let count = nodes.len();
        let query = Query::Nodes { tenant: caller.tenant, by, vault, domain, nodes };
        let is_there = |answer: &Answer| matches!(answer, Answer::Nodes(found) if found.iter().all(Option::is_some));
        match self.reads.near(group, &query, WITHIN, is_there).await? {
            Answer::Nodes(found) if found.len() == count => Ok(found),
            _ => Err(RestoreFault::NotFound),
        }
    }

    /// Opens a run: everything that can be refused is refused here.
    pub async fn run(&self, caller: &Caller, wanted: RunWanted) -> Result<Run, RestoreFault> {
        let RunWanted { group, restore, vault, domain, leaf, positions, form } = wanted;
        self.pass(caller, restore, vault, domain).await?;
        let shard = self.shard_of(caller, group)?;
        if !self.gather.is_member(&shard) {
            return Err(RestoreFault::NotAMember);
        }
        let query = Query::Nodes { tenant: caller.tenant, by: None, vault, domain, nodes: vec![leaf] };
        let is_there = |answer: &Answer| matches!(answer, Answer::Nodes(found) if found.iter().all(Option::is_some));
        let bytes = match self.reads.near(group, &query, WITHIN, is_there).await? {
            Answer::Nodes(found) => found.into_iter().next().flatten().ok_or(RestoreFault::NotFound)?,
            _ => return Err(RestoreFault::NotFound),
        };
        let node: Node = codec::decode(&bytes).map_err(|fault| RestoreFault::Damaged { why: fault.to_string() })?;
        let Node::Leaf(run) = node else {
            return Err(RestoreFault::OutOfRange { why: "the node is no leaf" });
        };
        let entries = choose(run.entries(), &positions)?;
        Ok(Run { shard, tenant: caller.tenant, vault, domain, entries, form })
    }

    /// Sends a run, each piece as it is ready. Ends early when nobody receives any more.
    pub async fn send(&self, run: &Run, out: &mpsc::Sender<Fetched>) -> Result<GatherStats, RestoreFault> {
        match run.form {
            Form::Blobs => self.send_blobs(run, out).await,
            Form::OwnFragments => {
                self.send_fragments(run, out).await;
                Ok(GatherStats::default())
            }
        }
    }

    async fn send_fragments(&self, run: &Run, out: &mpsc::Sender<Fetched>) {
        let Run { shard, tenant, entries, .. } = run;
        let blobs = entries.iter().map(|(_, entry)| entry.blob).collect();
        let mut own = self.gather.own(shard, *tenant, blobs);
        while let Some(Own { at, index, found }) = own.next().await {
            let piece = found.map(|found| Piece::Fragment { index, payload: found.payload });
            let piece = piece.map_err(|_| NoBlob { why: "its fragment does not lie here", away: true });
            if out.send(Fetched { position: entries[at].0, piece }).await.is_err() {
                return;
            }
        }
    }

    async fn send_blobs(&self, run: &Run, out: &mpsc::Sender<Fetched>) -> Result<GatherStats, RestoreFault> {
        let mut stats = GatherStats::default();
        let mut batches = batches(&run.entries).into_iter();
        let mut next = batches.next();
        // The rows of the next batch are read, and its blobs asked for, while this one's go out.
        while let Some(first) = next {
            let second = batches.next();
            let one = self.send_batch(run, first, out);
            let other = async {
                match second {
                    Some(batch) => self.send_batch(run, batch, out).await,
                    None => Ok(GatherStats::default()),
                }
            };
            let (one, other) = futures_util::future::try_join(one, other).await?;
            stats.fragments_bad += one.fragments_bad + other.fragments_bad;
            stats.blobs_rebuilt += one.blobs_rebuilt + other.blobs_rebuilt;
            if out.is_closed() {
                break;
            }
            next = batches.next();
        }
        Ok(stats)
    }

    async fn send_batch(
        &self,
        run: &Run,
        batch: &[(u32, LeafEntry)],
        out: &mpsc::Sender<Fetched>,
    ) -> Result<GatherStats, RestoreFault> {
        let blobs: Vec<BlobRef> =
            batch.iter().map(|(_, entry)| BlobRef { chunk: entry.chunk, blob: entry.blob }).collect();
        let count = blobs.len();
        let Run { shard, tenant, vault, domain, .. } = run;
        let query = Query::Chunks { tenant: *tenant, vault: *vault, domain: *domain, blobs };
        let is_there = |answer: &Answer| matches!(answer, Answer::Chunks(rows) if rows.iter().all(Option::is_some));
        let rows = match self.reads.near(shard.group, &query, WITHIN, is_there).await? {
            Answer::Chunks(rows) if rows.len() == count => rows,
            _ => return Err(RestoreFault::NotFound),
        };
        let mut wanted = Vec::with_capacity(count);
        let mut positions = Vec::with_capacity(count);
        for ((position, entry), row) in batch.iter().zip(rows) {
            match row {
                Some(row) if row.stored_bytes == entry.stored_bytes => {
                    positions.push(*position);
                    wanted.push(Wanted {
                        blob: entry.blob,
                        blob_bytes: entry.stored_bytes,
                        handed_over: row.handed_over,
                        missing: row.missing,
                    });
                }
                Some(_) | None => {
                    let none = NoBlob { why: "its row is not there", away: false };
                    let lost = Fetched { position: *position, piece: Err(none) };
                    if out.send(lost).await.is_err() {
                        return Ok(GatherStats::default());
                    }
                }
            }
        }
        let (sender, mut gathered) = mpsc::channel::<Gathered>(4);
        let gather = async move {
            let stats = self.gather.gather(shard, *tenant, &wanted, &sender).await;
            drop(sender);
            stats
        };
        let forward = async move {
            while let Some(Gathered { at, blob }) = gathered.recv().await {
                let piece = blob.map(Piece::Blob).map_err(|why| match why {
                    NotGathered::Lost => NoBlob { why: "too few good fragments of it were found", away: false },
                    NotGathered::Away => NoBlob { why: "members that hold its fragments do not answer", away: true },
                });
                if out.send(Fetched { position: positions[at], piece }).await.is_err() {
                    return;
                }
            }
        };
        let (stats, ()) = futures_util::future::join(gather, forward).await;
        Ok(stats)
    }

    /// The gate: the session is the caller's, open, of this vault, and pins a snapshot of this domain.
    async fn pass(
        &self,
        caller: &Caller,
        restore: SessionId,
        vault: VaultId,
        domain: DomainId,
    ) -> Result<(), RestoreFault> {
        let pinned = self.pinned(caller.tenant, restore).await?;
        let own = pinned.identity == caller.identity && pinned.vault == vault && pinned.domains.contains(&domain);
        if own { Ok(()) } else { Err(RestoreFault::NotFound) }
    }

    async fn pinned(&self, tenant: TenantId, restore: SessionId) -> Result<Pinned, RestoreFault> {
        let read = Instant::now();
        if let Some(pinned) = self.sessions().get(&(tenant, restore))
            && read.saturating_duration_since(pinned.read) < FRESH
        {
            return Ok(pinned.clone());
        }
        let home = self.topology.tenant(tenant).ok_or(RestoreFault::NotFound)?.home;
        let row = match self.reads.linearizable(home, &Query::Restore { tenant, restore }, WITHIN).await? {
            Answer::Restore(row) => row,
            _ => {
                self.sessions().remove(&(tenant, restore));
                return Err(RestoreFault::NotFound);
            }
        };
        // Snapshots that are pinned do not go, so a session's domains are the same each time.
        let known = self.sessions().get(&(tenant, restore)).map(|pinned| pinned.domains.clone());
        let domains = match known {
            Some(domains) => domains,
            None => self.domains_of(home, tenant, &row.snapshots).await?,
        };
        let pinned = Pinned { identity: row.identity, vault: row.vault, domains, read };
        let mut sessions = self.sessions();
        sessions.insert((tenant, restore), pinned.clone());
        if SESSIONS_MAX < sessions.len() {
            sessions.retain(|_, pinned| read.saturating_duration_since(pinned.read) < FRESH);
        }
        Ok(pinned)
    }

    async fn domains_of(
        &self,
        home: GroupId,
        tenant: TenantId,
        snapshots: &[strongroom_format::id::SnapshotId],
    ) -> Result<BTreeSet<DomainId>, RestoreFault> {
        let mut domains = BTreeSet::new();
        for snapshot in snapshots {
            let query = Query::Snapshot { tenant, snapshot: SnapshotRef::Id(*snapshot), vault: None, by: None };
            if let Answer::Snapshots(page) = self.reads.linearizable(home, &query, WITHIN).await? {
                domains.extend(page.snapshots.iter().map(|snapshot| snapshot.domain));
            }
        }
        Ok(domains)
    }

    /// A shard in which the caller's tenant lives; another does not exist for it.
    fn shard_of(&self, caller: &Caller, group: GroupId) -> Result<Arc<Shard>, RestoreFault> {
        let tenant = self.topology.tenant(caller.tenant).ok_or(RestoreFault::NotFound)?;
        let lives_there = tenant.home == group || tenant.groups.contains(&group);
        let shard = self.topology.shard(group).filter(|_| lives_there);
        shard.ok_or(RestoreFault::NotFound)
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<(TenantId, SessionId), Pinned>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The chunks at these places: sorted, each once, none past the end (N40).
fn choose(run: &[LeafEntry], positions: &[u32]) -> Result<Vec<(u32, LeafEntry)>, RestoreFault> {
    let all = (0_u32..).zip(run.iter().copied());
    if positions.is_empty() {
        return Ok(all.collect());
    }
    if !positions.is_sorted_by(|a, b| a < b) {
        return Err(RestoreFault::OutOfRange { why: "positions are not sorted, or one is named twice" });
    }
    if positions.last().is_some_and(|last| run.len() <= *last as usize) {
        return Err(RestoreFault::OutOfRange { why: "a position is past the end of the run" });
    }
    Ok(positions.iter().map(|position| (*position, run[*position as usize])).collect())
}

/// Cuts a run into pieces that may be gathered at once.
fn batches(entries: &[(u32, LeafEntry)]) -> Vec<&[(u32, LeafEntry)]> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, (_, entry)) in entries.iter().enumerate() {
        let stored = u64::from(entry.stored_bytes);
        if start < at && BATCH_BYTES_MAX < bytes + stored {
            batches.push(&entries[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += stored;
    }
    if start < entries.len() {
        batches.push(&entries[start..]);
    }
    batches
}

#[cfg(test)]
mod tests {
    use strongroom_format::id::{BlobId, ChunkId};

    use super::*;

    fn run(bytes: &[u32]) -> Vec<LeafEntry> {
        let entry = |(number, stored_bytes): (u8, &u32)| LeafEntry {
            chunk: ChunkId::from_bytes([number; 32]),
            blob: BlobId::from_bytes([number; 32]),
            stored_bytes: *stored_bytes,
        };
        (0..).zip(bytes).map(entry).collect()
    }

    fn places(chosen: &[(u32, LeafEntry)]) -> Vec<u32> {
        chosen.iter().map(|(position, _)| *position).collect()
    }

    #[test]
    fn no_positions_are_all_positions() {
        assert_eq!(places(&choose(&run(&[1, 2, 3]), &[]).unwrap()), [0, 1, 2]);
        assert_eq!(places(&choose(&run(&[1, 2, 3]), &[0, 2]).unwrap()), [0, 2]);
    }

    #[test]
    fn n40_positions_past_the_end_or_repeated_are_out_of_range() {
        for positions in [&[3][..], &[u32::MAX], &[1, 1], &[2, 0]] {
            let refused = choose(&run(&[1, 2, 3]), positions);
            assert!(matches!(refused, Err(RestoreFault::OutOfRange { .. })), "{positions:?}");
        }
    }

    #[test]
    fn batches_are_bounded_and_leave_nothing_out() {
        let mib = 1 << 20;
        let entries = choose(&run(&[2 * mib, 2 * mib, 2 * mib, 2 * mib, 1, 20 * mib, 1]), &[]).unwrap();
        let cut: Vec<Vec<u32>> = batches(&entries).into_iter().map(places).collect();
        assert_eq!(cut, [vec![0, 1, 2, 3], vec![4], vec![5], vec![6]]);
        assert!(batches(&[]).is_empty());
    }
}
