//! Usage: what lies in the shard and what is under way, of whom. Exact: every blob and node row counts once, as long as it
//! is there, and every lease with what may still be written under it, as long as it is open.
//!
//! Law: the counters are what a recount gives (`laws/usage_adds_up.rs`). Not here: limits on it (`quotas.rs`).

use strongroom_format::id::{IdentityId, VaultId};

use crate::row::Space;
use crate::shard::rows::{
    ChunkRow, LeasePurpose, LeaseRow, OpenRow, ShardUsageRow, TenantOpenRow, TenantUsageRow, Usage, VaultOpenRow,
    VaultUsageRow, WriterUsageRow,
};
use crate::shard::scope::TenantScope;
use crate::stop::impossible;
use crate::tables::{Halt, Reads, Tables};

impl Usage {
    /// What one registered blob is.
    pub(crate) fn of_blob(row: &ChunkRow) -> Usage {
        Usage {
            stored_bytes: u64::from(row.stored_bytes),
            blobs: 1,
            thin: u64::from(!row.missing.is_empty()),
            handed_over: u64::from(!row.handed_over.is_empty()),
            ..Usage::default()
        }
    }

    /// What one index-tree node is.
    pub(crate) fn of_node(bytes: usize) -> Usage {
        Usage { nodes: 1, node_bytes: bytes as u64, ..Usage::default() }
    }

    /// What one committed snapshot is, with stored bytes below its roots in all shards.
    pub(crate) fn of_snapshot(logical_bytes: u64) -> Usage {
        Usage { snapshots: 1, logical_bytes, ..Usage::default() }
    }

    /// What counts as stored: blobs and tree nodes.
    pub fn charged_bytes(&self) -> u64 {
        self.stored_bytes.saturating_add(self.node_bytes)
    }

    /// Both; `None` where it does not fit into 64 bits.
    pub(crate) fn plus(&self, other: &Usage) -> Option<Usage> {
        self.each(other, u64::checked_add)
    }

    /// This without the other; `None` where it was not in it.
    pub(crate) fn minus(&self, other: &Usage) -> Option<Usage> {
        self.each(other, u64::checked_sub)
    }

    fn each(&self, other: &Usage, both: impl Fn(u64, u64) -> Option<u64>) -> Option<Usage> {
        Some(Usage {
            stored_bytes: both(self.stored_bytes, other.stored_bytes)?,
            blobs: both(self.blobs, other.blobs)?,
            thin: both(self.thin, other.thin)?,
            handed_over: both(self.handed_over, other.handed_over)?,
            nodes: both(self.nodes, other.nodes)?,
            node_bytes: both(self.node_bytes, other.node_bytes)?,
            snapshots: both(self.snapshots, other.snapshots)?,
            logical_bytes: both(self.logical_bytes, other.logical_bytes)?,
        })
    }
}

/// Counts what a command brought and what it took away, for the vault, the writer whose domain it lies in, their tenant and
/// the shard.
pub(crate) fn count(
    scope: &TenantScope,
    tables: &mut dyn Tables,
    vault: VaultId,
    writer: &IdentityId,
    came: &Usage,
    went: &Usage,
) -> Result<(), Halt> {
    if came == went {
        return Ok(());
    }
    let changed = |usage: &Usage| {
        usage.plus(came).and_then(|sum| sum.minus(went)).ok_or_else(|| impossible("usage does not add up"))
    };
    let mut row: VaultUsageRow = scope.get(&*tables, &(vault,))?.unwrap_or_default();
    row.usage = changed(&row.usage)?;
    scope.put(tables, &(vault,), &row)?;

    let mut row: WriterUsageRow = scope.get(&*tables, &(writer.clone(),))?.unwrap_or_default();
    row.usage = changed(&row.usage)?;
    scope.put(tables, &(writer.clone(),), &row)?;

    let mut row: TenantUsageRow = scope.get(&*tables, &())?.unwrap_or_default();
    row.usage = changed(&row.usage)?;
    scope.put(tables, &(), &row)?;

    let mut row: ShardUsageRow = Space::whole().get(&*tables, &())?.unwrap_or_default();
    row.usage = changed(&row.usage)?;
    Space::whole().put(tables, &(), &row)
}

/// What an identity has open.
pub(crate) fn open_of(scope: &TenantScope, reads: &dyn Reads, identity: &IdentityId) -> Result<OpenRow, Halt> {
    Ok(scope.get(reads, &(identity.clone(),))?.unwrap_or_default())
}

/// One ticket of its opener is decided.
pub(crate) fn ticket_decided(scope: &TenantScope, tables: &mut dyn Tables, opener: &IdentityId) -> Result<(), Halt> {
    count_open(scope, tables, opener, |row| {
        row.tickets = row.tickets.checked_sub(1)?;
        Some(())
    })
}

/// Changes what an identity has open.
pub(crate) fn count_open(
    scope: &TenantScope,
    tables: &mut dyn Tables,
    identity: &IdentityId,
    change: impl FnOnce(&mut OpenRow) -> Option<()>,
) -> Result<(), Halt> {
    let mut row = open_of(scope, &*tables, identity)?;
    change(&mut row).ok_or_else(|| impossible("what an identity has open does not add up"))?;
    scope.put(tables, &(identity.clone(),), &row)
}

/// Counts a session that was opened, or that ended.
pub(crate) fn count_session(
    scope: &TenantScope,
    tables: &mut dyn Tables,
    identity: &IdentityId,
    one: One,
) -> Result<(), Halt> {
    count_open(scope, tables, identity, |row| one.of(&mut row.sessions))?;
    count_tenants(scope, tables, |row| one.of(&mut row.sessions))
}

/// Counts a snapshot that was opened, or that was decided.
pub(crate) fn count_undecided(
    scope: &TenantScope,
    tables: &mut dyn Tables,
    vault: VaultId,
    writer: &IdentityId,
    one: One,
) -> Result<(), Halt> {
    count_open(scope, tables, writer, |row| one.of(&mut row.undecided))?;
    count_vaults(scope, tables, vault, |row| one.of(&mut row.undecided))?;
    count_tenants(scope, tables, |row| one.of(&mut row.undecided))
}

/// Counts what may still be written under a lease, before and after it changed; `None`: there is none.
pub(crate) fn count_reserved(
    scope: &TenantScope,
    tables: &mut dyn Tables,
    before: Option<&LeaseRow>,
    after: Option<&LeaseRow>,
) -> Result<(), Halt> {
    let left = |row: Option<&LeaseRow>| row.map_or(0, LeaseRow::left_bytes);
    let (went, came) = (left(before), left(after));
    let Some(lease) = after.or(before).filter(|_| went != came) else { return Ok(()) };
    let changed = |bytes: &mut u64| {
        *bytes = bytes.checked_add(came)?.checked_sub(went)?;
        Some(())
    };
    count_open(scope, tables, &lease.identity, |row| changed(&mut row.reserved_bytes))?;
    if let LeasePurpose::Part { vault, .. } = lease.purpose {
        count_vaults(scope, tables, vault, |row| changed(&mut row.reserved_bytes))?;
    }
    count_tenants(scope, tables, |row| changed(&mut row.reserved_bytes))
}

impl LeaseRow {
    /// What may still be written under it, in stored bytes.
    pub fn left_bytes(&self) -> u64 {
        let used = self.used_bytes.saturating_add(self.node_bytes);
        if self.writable { self.budget_bytes.saturating_sub(used) } else { 0 }
    }
}

/// One more, or one less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum One {
    More,
    Less,
}

impl One {
    fn of(self, count: &mut u64) -> Option<()> {
        *count = match self {
            One::More => count.checked_add(1)?,
            One::Less => count.checked_sub(1)?,
        };
        Some(())
    }
}

fn count_tenants(
    scope: &TenantScope,
    tables: &mut dyn Tables,
    change: impl FnOnce(&mut TenantOpenRow) -> Option<()>,
) -> Result<(), Halt> {
    let mut row: TenantOpenRow = scope.get(&*tables, &())?.unwrap_or_default();
    change(&mut row).ok_or_else(|| impossible("what a tenant has open does not add up"))?;
    scope.put(tables, &(), &row)
}

fn count_vaults(
    scope: &TenantScope,
    tables: &mut dyn Tables,
    vault: VaultId,
    change: impl FnOnce(&mut VaultOpenRow) -> Option<()>,
) -> Result<(), Halt> {
    let mut row: VaultOpenRow = scope.get(&*tables, &(vault,))?.unwrap_or_default();
    change(&mut row).ok_or_else(|| impossible("what is open for a vault does not add up"))?;
    scope.put(tables, &(vault,), &row)
}
