//! This node as a member of shards: it takes fragments under open leases, and gives those that it has.
//!
//! ```text
//!   fragment ─▶ both nodes members? ─▶ lease open in my own applied state? ─▶ room in its budget? ─▶ disk ─▶ ack
//!                                       (waits a moment for the entry that opened it)
//! ```
//!
//! Promises: nothing touches the disk that the lease does not allow, as far as this replica has applied; what is
//! acknowledged is durable. A copy under a lease that ended meanwhile is harmless: `RegisterChunks` is refused from then
//! on and the copy falls to the lease's release (DESIGN.md §5.3).
//!
//! The budget is counted in payload bytes by this process and allows a quarter more, for what is sent twice. What was
//! written before a restart is not counted again. Not here: what rows say (`node/core`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use strongroom_chunks::store::{ChunkStore, ChunksError, NewCopy};
use strongroom_consensus::groups::{Consensus, WaitError};
use strongroom_core::query::{Answer, Query};
use strongroom_format::fragment::CopyName;
use strongroom_format::id::{GroupId, LeaseId, NodeName, Place, TenantId, TenantTag};
use strongroom_peers::fault::{FetchFault, PutFault};
use strongroom_peers::message::{FragmentFound, FragmentPut, FragmentsWanted};
use tokio::time::Instant;

use crate::reads::{ReadFault, Reads};
use crate::topology::{InForce, Shard};

/// How long the entry that opened a lease is waited for.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);
/// What was read about a lease counts for so long.
const FRESH: Duration = Duration::from_millis(500);
/// While somebody reads it again, others may use what was read before for so long.
const STALE_MAX: Duration = Duration::from_secs(5);
/// More leases than this are not remembered; those that were not used for longest go first.
const LEASES_MAX: usize = 4096;
/// So many fragments are read at once for one request.
const READ_AT_ONCE: usize = 8;

/// This node's fragments. Clones are the same.
#[derive(Clone)]
pub struct Members(Arc<Inner>);

struct Inner {
    me: NodeName,
    consensus: Consensus,
    reads: Reads,
    store: ChunkStore,
    topology: InForce,
    leases: Mutex<HashMap<Name, Known>>,
    asked: AtomicU64,
}

type Name = (GroupId, TenantId, LeaseId);

/// What is known of a lease.
#[derive(Clone, Debug)]
struct Known {
    tag: TenantTag,
    budget_bytes: u64,
    used_bytes: u64,
    read: Instant,
    used: Instant,
    /// Somebody is reading it again.
    renewing: bool,
}

impl Known {
    fn allows(&self, bytes: u64) -> bool {
        self.used_bytes.saturating_add(bytes) <= self.budget_bytes.saturating_add(self.budget_bytes / 4)
    }
}

/// Whether a lease that is known may be used.
enum Look {
    Taken(TenantTag),
    /// It must be read (again).
    Read,
    Full,
}

impl Members {
    /// On node `me`.
    pub fn new(me: NodeName, consensus: Consensus, reads: Reads, store: ChunkStore, topology: InForce) -> Self {
        Self(Arc::new(Inner {
            me,
            consensus,
            reads,
            store,
            topology,
            leases: Mutex::default(),
            asked: AtomicU64::new(0),
        }))
    }

    /// How often somebody has brought or wanted fragments here: while it grows, backups or restores go on.
    pub fn asked(&self) -> u64 {
        self.0.asked.load(Ordering::Relaxed)
    }

    /// Takes a fragment that node `from` sends.
    pub async fn put(&self, from: NodeName, put: FragmentPut) -> Result<(), PutFault> {
        let inner = &*self.0;
        inner.asked.fetch_add(1, Ordering::Relaxed);
        let shard = inner.shard_of_both(put.group, &from).ok_or(PutFault::NotAMember)?;
        let code = shard.code;
        if code.slots() <= put.index || put.payload.len() != code.fragment_bytes(put.blob_bytes) as usize {
            return Err(PutFault::Malformed);
        }
        let tag = inner.take_room(&put).await?;
        let copy = NewCopy {
            copy: CopyName { blob: put.blob, index: put.index, group: put.group, lease: put.lease },
            code,
            blob_bytes: put.blob_bytes,
            payload_hash: put.payload_hash,
            payload: put.payload,
        };
        inner.store.put(put.tenant, tag, vec![copy]).await.map_err(|error| match error {
            ChunksError::DiskFull => PutFault::DiskFull,
            ChunksError::Malformed { .. } => PutFault::Malformed,
            ChunksError::ForeignTag { .. } => PutFault::Foreign,
            error @ (ChunksError::NotHere
            | ChunksError::Damaged { .. }
            | ChunksError::Busy
            | ChunksError::Unreadable { .. }
            | ChunksError::Failed { .. }
            | ChunksError::Lane(_)) => {
                tracing::error!(%error, "a fragment was not written");
                PutFault::Failed
            }
        })
    }

    /// Gives the fragments that are here, each with its place in what was wanted, in any order.
    pub fn get(
        &self,
        from: NodeName,
        wanted: FragmentsWanted,
    ) -> BoxStream<'static, (u32, Result<FragmentFound, FetchFault>)> {
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        let may = self.0.shard_of_both(wanted.group, &from).is_some();
        let (store, tenant) = (self.0.store.clone(), wanted.tenant);
        let read = move |(at, (blob, index))| {
            let store = store.clone();
            async move {
                if !may {
                    return (at, Err(FetchFault::NotAMember));
                }
                let found = store.get(tenant, blob, Some(index)).await;
                let found = found.map(|fragment| FragmentFound {
                    blob_bytes: fragment.blob_bytes,
                    payload_hash: fragment.payload_hash,
                    payload: fragment.payload,
                });
                (at, found.map_err(|error| fetch_fault(&error)))
            }
        };
        let places = (0_u32..).zip(wanted.wanted);
        futures_util::stream::iter(places).map(read).buffer_unordered(READ_AT_ONCE).boxed()
    }
}

fn fetch_fault(error: &ChunksError) -> FetchFault {
    match error {
        ChunksError::NotHere => FetchFault::Absent,
        ChunksError::Damaged { .. } => FetchFault::Damaged,
        ChunksError::Malformed { .. } => FetchFault::Malformed,
        ChunksError::DiskFull
        | ChunksError::ForeignTag { .. }
        | ChunksError::Busy
        | ChunksError::Unreadable { .. }
        | ChunksError::Failed { .. }
        | ChunksError::Lane(_) => {
            tracing::error!(%error, "a fragment was not read");
            FetchFault::Failed
        }
    }
}

impl Inner {
    /// The shard, if this node and the asking one both have a member in it (N97).
    fn shard_of_both(&self, group: GroupId, from: &NodeName) -> Option<Arc<Shard>> {
        let shard = self.topology.shard(group)?;
        (shard.member(from).is_some() && shard.member(&self.me).is_some()).then_some(shard)
    }

    /// Counts a fragment against its lease, before anything is written.
    async fn take_room(&self, put: &FragmentPut) -> Result<TenantTag, PutFault> {
        let name = (put.group, put.tenant, put.lease);
        let bytes = put.payload.len() as u64;
        if let Look::Taken(tag) = self.look(name, bytes, FRESH) {
            return Ok(tag);
        }
        self.read_lease(name).await?;
        match self.look(name, bytes, STALE_MAX) {
            Look::Taken(tag) => Ok(tag),
            Look::Full => Err(PutFault::BudgetExceeded),
            // It was forgotten between two lines: too many leases are in use at once.
            Look::Read => Err(PutFault::Busy),
        }
    }

    fn look(&self, name: Name, bytes: u64, fresh: Duration) -> Look {
        let now = Instant::now();
        let mut leases = self.leases();
        let Some(known) = leases.get_mut(&name) else { return Look::Read };
        let age = now.saturating_duration_since(known.read);
        if fresh < age {
            if known.renewing && age < STALE_MAX && known.allows(bytes) {
                known.used_bytes += bytes;
                return Look::Taken(known.tag);
            }
            known.renewing = true;
            return Look::Read;
        }
        if !known.allows(bytes) {
            return Look::Full;
        }
        known.used = now;
        known.used_bytes += bytes;
        Look::Taken(known.tag)
    }

    /// Reads a lease from this replica's own state.
    async fn read_lease(&self, name: Name) -> Result<(), PutFault> {
        let (group, tenant, lease) = name;
        let result = self.lease_as_applied(group, tenant, lease).await;
        let mut leases = self.leases();
        match result {
            Ok((tag, budget_bytes)) => {
                let now = Instant::now();
                let used_bytes = leases.get(&name).map_or(0, |known| known.used_bytes);
                leases.insert(name, Known { tag, budget_bytes, used_bytes, read: now, used: now, renewing: false });
                if LEASES_MAX < leases.len() {
                    let oldest = leases.iter().min_by_key(|(_, known)| known.used).map(|(name, _)| *name);
                    oldest.and_then(|name| leases.remove(&name));
                }
                Ok(())
            }
            Err(fault) => {
                match fault {
                    PutFault::LeaseEnded => {
                        leases.remove(&name);
                    }
                    PutFault::Foreign
                    | PutFault::NotAMember
                    | PutFault::BudgetExceeded
                    | PutFault::DiskFull
                    | PutFault::Behind
                    | PutFault::Malformed
                    | PutFault::Busy
                    | PutFault::Failed => {
                        if let Some(known) = leases.get_mut(&name) {
                            known.renewing = false;
                        }
                    }
                }
                Err(fault)
            }
        }
    }

    async fn lease_as_applied(
        &self,
        group: GroupId,
        tenant: TenantId,
        lease: LeaseId,
    ) -> Result<(TenantTag, u64), PutFault> {
        match self.consensus.wait_applied(group, Place::index_of(lease.0), CATCH_UP_MAX).await {
            Ok(()) => {}
            Err(WaitError::NotYet { .. }) => return Err(PutFault::Behind),
            Err(WaitError::Stopped) => return Err(PutFault::NotAMember),
        }
        let failed = |fault: ReadFault| {
            tracing::warn!(%group, %fault, "a lease was not read");
            PutFault::Failed
        };
        let budget_bytes = match self.reads.local(group, &Query::Lease { tenant, lease }).await.map_err(failed)? {
            Answer::Lease(view) if view.lease.writable => view.lease.budget_bytes,
            _ => return Err(PutFault::LeaseEnded),
        };
        match self.reads.local(group, &Query::Tenant { tenant }).await.map_err(failed)? {
            Answer::Tenant(view) if view.active => Ok((view.facts.tag, budget_bytes)),
            _ => Err(PutFault::LeaseEnded),
        }
    }

    fn leases(&self) -> std::sync::MutexGuard<'_, HashMap<Name, Known>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
