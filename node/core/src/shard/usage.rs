//! Usage: what lies in the shard, of whom. Exact: every blob and node row counts once, as long as it is there.
//!
//! Law: the counters are what a recount gives (`laws/usage_adds_up.rs`). Not here: limits on it (quotas come with the
//! operators' commands that set them).

use strongroom_format::id::{IdentityId, VaultId};

use crate::row::Space;
use crate::shard::rows::{ChunkRow, OpenRow, ShardUsageRow, TenantUsageRow, Usage, VaultUsageRow};
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

    /// What one committed snapshot is.
    pub(crate) fn of_snapshot() -> Usage {
        Usage { snapshots: 1, ..Usage::default() }
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
        })
    }
}

/// Counts what a command brought and what it took away, for the vault, its tenant and the shard.
pub(crate) fn count(
    scope: &TenantScope,
    tables: &mut dyn Tables,
    vault: VaultId,
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

/// One snapshot of a writer is decided.
pub(crate) fn no_longer_undecided(
    scope: &TenantScope,
    tables: &mut dyn Tables,
    writer: &IdentityId,
) -> Result<(), Halt> {
    count_open(scope, tables, writer, |row| {
        row.undecided = row.undecided.checked_sub(1)?;
        Some(())
    })
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
