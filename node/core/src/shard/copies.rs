//! Copies that rows name for one member: what must lie on its disk, in its replica's applied state.
//!
//! For the offline recount (`strongroomd fsck`). Not here: what may leave a disk (`shard/release.rs`), which says of one
//! copy what this says of all.

use strongroom_format::fragment::CopyName;
use strongroom_format::id::{BlobId, ChunkId, DomainId, NodeName, Slot, TenantId, VaultId};

use crate::row::Space;
use crate::shard::rows::{ChunkRow, FactsRow, TenantRow};
use crate::shard::scope::TenantScope;
use crate::tables::{Halt, Reads};

/// So many rows are read at once.
const PAGE: usize = 1000;

/// Shows every copy that a row names for this node. Nothing in a group that was not founded yet.
pub fn named(reads: &dyn Reads, me: &NodeName, visit: &mut dyn FnMut(TenantId, CopyName)) -> Result<(), Halt> {
    let Some(FactsRow { facts }) = Space::whole().get(reads, &())? else { return Ok(()) };
    let mine: Vec<Slot> = facts.members.iter().filter(|member| member.node == *me).map(|member| member.slot).collect();
    if mine.is_empty() {
        return Ok(());
    }
    let mut of_tenant = |tenant: TenantId, blob: BlobId, row: &ChunkRow| {
        for index in (0..facts.code.slots()).filter(|index| !row.missing.contains(index)) {
            let elsewhere = row.handed_over.iter().find(|one| one.index == index).map(|one| one.slot);
            if mine.contains(&elsewhere.unwrap_or_else(|| facts.code.slot_of(&blob, index))) {
                visit(tenant, CopyName { blob, index, group: facts.group, lease: row.lease });
            }
        }
    };
    let mut after: Option<TenantId> = None;
    loop {
        let tenants = match after {
            None => Space::whole().range::<TenantRow>(reads, &(), PAGE)?,
            Some(after) => Space::whole().range_from::<TenantRow>(reads, &(), &(after,), PAGE)?,
        };
        let is_last = tenants.len() < PAGE;
        for ((tenant,), _) in tenants {
            if after != Some(tenant)
                && let Some((scope, _)) = TenantScope::of(reads, tenant)?
            {
                blobs(&scope, reads, &mut |blob, row| of_tenant(tenant, blob, row))?;
            }
            after = Some(tenant);
        }
        if is_last {
            return Ok(());
        }
    }
}

fn blobs(scope: &TenantScope, reads: &dyn Reads, visit: &mut dyn FnMut(BlobId, &ChunkRow)) -> Result<(), Halt> {
    let mut after: Option<(VaultId, DomainId, ChunkId, BlobId)> = None;
    loop {
        let rows = match &after {
            None => scope.range::<ChunkRow>(reads, &(), PAGE)?,
            Some(after) => scope.range_from::<ChunkRow>(reads, &(), after, PAGE)?,
        };
        let is_last = rows.len() < PAGE;
        for (key, row) in rows {
            if after != Some(key) {
                visit(key.3, &row);
            }
            after = Some(key);
        }
        if is_last {
            return Ok(());
        }
    }
}
