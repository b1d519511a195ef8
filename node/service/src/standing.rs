//! Whether somebody's identity row allows what the certificate claims: from a copy of the home shard's row that is at
//! most three seconds old: with the look that is taken at long streams each second, less than five pass in all (N17).
//!
//! Deciding commands are judged again in `apply`; this is so that a closed identity reads nothing either.
//!
//! ```text
//!   tenant in the own map? ─ no ─▶ in the leader's? ─ no ─▶ nobody
//!            │                           └ yes: this node is behind ─▶ not now
//!            ▼
//!   home shard: knows the tenant? ─ no: it is told in a moment ─▶ not now
//!            └ yes ─▶ its row
//! ```
//!
//! Promise: who is there is never called nobody because a map or a shard is behind.
//! Not here: certificates (`node/identity`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strongroom_core::entry::TenantFacts;
use strongroom_core::query::{Answer, ClusterMap, Query};
use strongroom_core::shard::rows::IdentityRow;
use strongroom_format::id::{GroupId, IdentityId, TenantId};
use strongroom_format::role::Role;
use tokio::time::Instant;

use crate::reads::Reads;
use crate::topology::InForce;

/// A copy counts for so long.
pub const FRESH: Duration = Duration::from_secs(3);
/// The home shard is asked for so long.
const WITHIN: Duration = Duration::from_secs(8);
/// More copies are not kept: the oldest go.
const COPIES_MAX: usize = 4096;

/// Why somebody does not stand where the certificate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStanding {
    /// No row, a closed one, or one without the role.
    #[error("there is no open identity with this role")]
    Identity,
    /// Its tenant may do nothing now.
    #[error("the tenant is suspended")]
    Suspended,
    /// The home shard does not answer, or this node or the shard has not been told of the tenant yet.
    #[error("the tenant's home shard cannot be asked now")]
    Unavailable,
}

/// An identity as its home shard has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its row; `None`: there is no such identity.
    pub row: Option<IdentityRow>,
    /// Whether its tenant is active.
    pub active: bool,
}

#[derive(Clone, Debug)]
struct Copy {
    found: Found,
    read: Instant,
}

/// Copies of identity rows. Clones are the same.
#[derive(Clone)]
pub struct Standings {
    reads: Reads,
    topology: InForce,
    copies: Arc<Mutex<HashMap<(TenantId, IdentityId), Copy>>>,
}

impl Standings {
    /// None read yet.
    pub fn new(reads: Reads, topology: InForce) -> Self {
        Self { reads, topology, copies: Arc::default() }
    }

    /// Whether the identity is open and has the role, and its tenant is active.
    pub async fn check(&self, tenant: TenantId, identity: &IdentityId, role: Role) -> Result<(), NotStanding> {
        let found = self.copy(tenant, identity).await?.found;
        if !found.active {
            return Err(NotStanding::Suspended);
        }
        match found.row {
            Some(row) if row.open && row.has(role) => Ok(()),
            Some(_) | None => Err(NotStanding::Identity),
        }
    }

    /// A tenant as this node's map has it. Before it is called nobody, the cluster group's leader is asked.
    pub async fn tenant(&self, tenant: TenantId) -> Result<Arc<TenantFacts>, NotStanding> {
        if let Some(facts) = self.topology.tenant(tenant) {
            return Ok(facts);
        }
        match self.reads.linearizable(GroupId::CLUSTER, &Query::ClusterMap, WITHIN).await {
            Ok(Answer::ClusterMap(map)) if !has_tenant(&map, tenant) => Err(NotStanding::Identity),
            // It is there, and this node will know it in a moment: its issuers, too.
            Ok(_) | Err(_) => Err(NotStanding::Unavailable),
        }
    }

    /// An identity as its home shard has it now.
    pub async fn now(&self, tenant: TenantId, identity: IdentityId) -> Result<Found, NotStanding> {
        let home = self.tenant(tenant).await?.home;
        let (row, tenant) = (Query::Identity { tenant, identity }, Query::Tenant { tenant });
        let at_once = self.reads.linearizable(home, &row, WITHIN);
        let tenant = self.reads.linearizable(home, &tenant, WITHIN);
        let (at_once, tenant) = futures_util::future::join(at_once, tenant).await;
        let active = match tenant {
            Ok(Answer::Tenant(view)) => view.active,
            // Not there: the home shard has not been told of the tenant yet, which is a moment's matter.
            Ok(_) | Err(_) => return Err(NotStanding::Unavailable),
        };
        let asked = match at_once {
            // The shard may have been told between the two answers.
            Ok(Answer::NotFound) => self.reads.linearizable(home, &row, WITHIN).await,
            asked => asked,
        };
        match asked {
            Ok(Answer::Identity(row)) => Ok(Found { row: Some(row), active }),
            Ok(Answer::NotFound) => Ok(Found { row: None, active }),
            Ok(_) | Err(_) => Err(NotStanding::Unavailable),
        }
    }

    async fn copy(&self, tenant: TenantId, identity: &IdentityId) -> Result<Copy, NotStanding> {
        let key = (tenant, identity.clone());
        let now = Instant::now();
        if let Some(copy) = self.copies().get(&key)
            && now.saturating_duration_since(copy.read) < FRESH
        {
            return Ok(copy.clone());
        }
        // `read` is from before the question: a copy never counts for longer than it says.
        let copy = Copy { found: self.now(tenant, identity.clone()).await?, read: now };
        let mut copies = self.copies();
        copies.insert(key, copy.clone());
        if COPIES_MAX < copies.len() {
            copies.retain(|_, copy| now.saturating_duration_since(copy.read) < FRESH);
        }
        Ok(copy)
    }

    fn copies(&self) -> std::sync::MutexGuard<'_, HashMap<(TenantId, IdentityId), Copy>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has_tenant(map: &ClusterMap, tenant: TenantId) -> bool {
    map.tenants.iter().any(|row| row.facts.tenant == tenant)
}
