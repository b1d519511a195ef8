//! What a tenant may look up: vaults, snapshots, wrapped keys, which chunks are known. Read at the home shard's read
//! index, under the caller's own tenant and, for a writer, its own name.
//!
//! Not here: bytes (`restore.rs`), who may ask at all (the door).

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::entry::TenantFacts;
use strongroom_core::query::{
    Answer, Query, SnapshotRef, SnapshotView, SnapshotsPage, TicketView, VaultRef, VaultView, Which,
};
use strongroom_format::id::{ChunkId, DekId, DomainId, GroupId, SnapshotId, TicketId, TreeId, VaultId, VaultName};
use strongroom_format::label::Label;
use strongroom_format::policy::Policy;
use strongroom_format::policy_view::{LockView, PolicyView, PreviewPage, PreviewPlace};
use strongroom_format::role::Role;

use crate::caller::Caller;
use crate::reads::{ReadFault, Reads};
use crate::topology::InForce;

/// Shards are asked for so long.
const WITHIN: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogFault {
    /// No such thing, or not the caller's; both look the same.
    #[error("there is no such thing, or it is not yours")]
    NotFound,
    /// More than one snapshot has such an id.
    #[error("more than one snapshot begins so")]
    Ambiguous,
    /// The question is outside its range.
    #[error("{why}")]
    Invalid {
        /// What is wrong, for people.
        why: String,
    },
    /// The shard does not answer.
    #[error(transparent)]
    Read(#[from] ReadFault),
}

/// Which snapshots are wanted.
#[derive(Clone, Debug)]
pub struct SnapshotsWanted {
    /// Of which vault.
    pub vault: VaultId,
    /// Only of this name.
    pub label: Option<Label>,
    /// Behind this order; zero: from the beginning.
    pub after: u64,
    /// At most so many.
    pub limit: u32,
}

/// Looks things up. Clones are the same.
#[derive(Clone)]
pub struct Catalog {
    reads: Reads,
    topology: InForce,
}

impl Catalog {
    /// Over questions.
    pub fn new(reads: Reads, topology: InForce) -> Self {
        Self { reads, topology }
    }

    /// Where the caller's tenant lives.
    pub fn tenant(&self, caller: &Caller) -> Result<Arc<TenantFacts>, CatalogFault> {
        self.topology.tenant(caller.tenant).ok_or(CatalogFault::NotFound)
    }

    /// All vaults.
    pub async fn vaults(&self, caller: &Caller) -> Result<Vec<VaultView>, CatalogFault> {
        match self.at_home(caller, &Query::Vaults { tenant: caller.tenant }).await? {
            Answer::Vaults(vaults) => Ok(vaults),
            other => Err(fault(other)),
        }
    }

    /// One vault and its writer cards; a writer gets its own.
    pub async fn vault(&self, caller: &Caller, vault: VaultRef) -> Result<(VaultView, Vec<Vec<u8>>), CatalogFault> {
        let query = Query::Vault { tenant: caller.tenant, vault, by: caller.sees_only() };
        match self.at_home(caller, &query).await? {
            Answer::Vault { vault, cards } => Ok((vault, cards)),
            other => Err(fault(other)),
        }
    }

    /// A ticket with its streams, as far as the caller may see them.
    pub async fn ticket(&self, caller: &Caller, ticket: TicketId) -> Result<TicketView, CatalogFault> {
        let query = Query::Ticket { tenant: caller.tenant, ticket, by: caller.identity.clone() };
        match self.at_home(caller, &query).await? {
            Answer::Ticket(view) => Ok(view),
            other => Err(fault(other)),
        }
    }

    /// Snapshots of a vault, by pages.
    pub async fn snapshots(&self, caller: &Caller, wanted: SnapshotsWanted) -> Result<SnapshotsPage, CatalogFault> {
        let SnapshotsWanted { vault, label, after, limit } = wanted;
        let query = Query::Snapshots { tenant: caller.tenant, vault, by: caller.sees_only(), label, after, limit };
        match self.at_home(caller, &query).await? {
            Answer::Snapshots(page) => Ok(page),
            other => Err(fault(other)),
        }
    }

    /// One snapshot.
    pub async fn snapshot(
        &self,
        caller: &Caller,
        snapshot: SnapshotRef,
        vault: Option<VaultId>,
    ) -> Result<SnapshotView, CatalogFault> {
        let query = Query::Snapshot { tenant: caller.tenant, snapshot, vault, by: caller.sees_only() };
        let mut found = match self.at_home(caller, &query).await? {
            Answer::Snapshots(page) => page.snapshots.into_iter(),
            other => return Err(fault(other)),
        };
        match (found.next(), found.next()) {
            (Some(snapshot), None) => Ok(snapshot),
            (None, _) => Err(CatalogFault::NotFound),
            (Some(_), Some(_)) => Err(CatalogFault::Ambiguous),
        }
    }

    /// Those of the wrapped keys that there are. A writer gets those of its own domain only: they are sealed to the
    /// vault, and it opens none of them.
    pub async fn wraps(
        &self,
        caller: &Caller,
        vault: VaultId,
        domain: DomainId,
        deks: Vec<DekId>,
    ) -> Result<Vec<Vec<u8>>, CatalogFault> {
        if caller.role == Role::Writer {
            let by = caller.identity.clone();
            let owns = Query::Which { tenant: caller.tenant, by, vault, domain, chunks: Vec::new(), nodes: Vec::new() };
            match self.at_home(caller, &owns).await? {
                Answer::Which(_) => {}
                other => return Err(fault(other)),
            }
        }
        let query = Query::Wraps { tenant: caller.tenant, vault, domain, deks };
        match self.at_home(caller, &query).await? {
            Answer::Wraps(wraps) => Ok(wraps.into_iter().flatten().collect()),
            other => Err(fault(other)),
        }
    }

    /// Which chunks and nodes a shard knows in the caller's own domain: a hint, from this node's replica if it has one.
    pub async fn which(
        &self,
        caller: &Caller,
        group: GroupId,
        vault: VaultId,
        domain: DomainId,
        (chunks, nodes): (Vec<ChunkId>, Vec<TreeId>),
    ) -> Result<Which, CatalogFault> {
        let tenant = self.tenant(caller)?;
        if tenant.home != group && !tenant.groups.contains(&group) {
            return Err(CatalogFault::NotFound);
        }
        let by = caller.identity.clone();
        let query = Query::Which { tenant: caller.tenant, by, vault, domain, chunks, nodes };
        // A replica that is behind may not know the domain yet: then the leader is asked.
        let knows = |answer: &Answer| matches!(answer, Answer::Which(_));
        match self.reads.near(group, &query, WITHIN, knows).await? {
            Answer::Which(which) => Ok(which),
            other => Err(fault(other)),
        }
    }

    /// What keeps a snapshot; a writer asks about its own.
    pub async fn lock(&self, caller: &Caller, snapshot: SnapshotId) -> Result<LockView, CatalogFault> {
        let query = Query::Lock { tenant: caller.tenant, snapshot, by: caller.sees_only() };
        match self.at_home(caller, &query).await? {
            Answer::Lock(view) => Ok(view),
            other => Err(fault(other)),
        }
    }

    /// A vault's policy and what it has to say today; a writer hears of its own names.
    pub async fn policy(&self, caller: &Caller, vault: VaultId) -> Result<PolicyView, CatalogFault> {
        let query = Query::Policy { tenant: caller.tenant, vault, by: caller.sees_only() };
        match self.at_home(caller, &query).await? {
            Answer::Policy(view) => Ok(view),
            other => Err(fault(other)),
        }
    }

    /// What would become of a vault's snapshots under a policy, by pages. Nothing changes.
    pub async fn preview(
        &self,
        caller: &Caller,
        vault: VaultId,
        policy: Policy,
        after: Option<PreviewPlace>,
        limit: u32,
    ) -> Result<PreviewPage, CatalogFault> {
        let query = Query::Preview { tenant: caller.tenant, vault, policy, after, limit };
        match self.at_home(caller, &query).await? {
            Answer::Preview(page) => Ok(page),
            other => Err(fault(other)),
        }
    }

    async fn at_home(&self, caller: &Caller, query: &Query) -> Result<Answer, CatalogFault> {
        let home = self.tenant(caller)?.home;
        Ok(self.reads.linearizable(home, query, WITHIN).await?)
    }
}

/// A vault by what a caller named it by.
pub fn vault_ref(id: Option<VaultId>, name: Option<VaultName>) -> Option<VaultRef> {
    match (id, name) {
        (Some(id), None) => Some(VaultRef::Id(id)),
        (None, Some(name)) => Some(VaultRef::Name(name)),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// A snapshot by what a caller named it by.
pub fn snapshot_ref(id: Option<SnapshotId>, prefix: String) -> Option<SnapshotRef> {
    match (id, prefix.is_empty()) {
        (Some(id), true) => Some(SnapshotRef::Id(id)),
        (None, false) => Some(SnapshotRef::Prefix(prefix)),
        (Some(_), false) | (None, true) => None,
    }
}

fn fault(answer: Answer) -> CatalogFault {
    match answer {
        Answer::Invalid { why } => CatalogFault::Invalid { why },
        Answer::NotFound
        | Answer::Group(_)
        | Answer::ClusterMap(_)
        | Answer::Shard(_)
        | Answer::Waiting(_)
        | Answer::Decision(_)
        | Answer::Tenant(_)
        | Answer::Identity(_)
        | Answer::Session(_)
        | Answer::Lease(_)
        | Answer::Which(_)
        | Answer::Vaults(_)
        | Answer::Vault { .. }
        | Answer::Snapshots(_)
        | Answer::Part(_)
        | Answer::Wraps(_)
        | Answer::Nodes(_)
        | Answer::Chunks(_)
        | Answer::Blobs(_)
        | Answer::Restore(_)
        | Answer::Leaf(_)
        | Answer::Consistency { .. }
        | Answer::Head(_)
        | Answer::Leaves(_)
        | Answer::Identities(_)
        | Answer::Token(_)
        | Answer::Usage(_)
        | Answer::Ticket(_)
        | Answer::Ending(_)
        | Answer::Garbage(_)
        | Answer::End { .. }
        | Answer::Electorate(_)
        | Answer::Reported(_)
        | Answer::Lock(_)
        | Answer::Behind(_)
        | Answer::Kept { .. }
        | Answer::Policy(_)
        | Answer::Preview(_)
        | Answer::Expiring(_)
        | Answer::Charges(_) => CatalogFault::NotFound,
    }
}
