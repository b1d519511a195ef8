//! Releases: the only value against which a copy may leave a disk, and only rows make one.
//!
//! A release says of one copy on one member: *in my applied state its lease has ended and no row names it for me.* Later
//! entries can never make that untrue: registering, and every later change of where a row's fragments lie, names its own
//! lease and is refused once that lease has ended (`laws/releases_stay_true.rs`). So it holds on a replica that lags, was
//! restored or skipped entries by a Raft snapshot; and it covers dead uploads, late writes and lost races of repair.
//!
//! Nothing else can make one: the fields are private, it is neither read nor written, and it is computed at the moment
//! of the punch. Not here: which replica may be asked (`node/service`: one whose digest a majority shares), tombstones
//! and holes (`node/chunks`).

use strongroom_format::command::BlobRef;
use strongroom_format::fragment::CopyName;
use strongroom_format::id::{DomainId, NodeName, Place, Slot, TenantId, VaultId};

use crate::row::Space;
use crate::rules;
use crate::shard::rows::{BlobRow, ChunkRow, FactsRow, LeaseRow};
use crate::shard::scope::TenantScope;
use crate::stop::impossible;
use crate::tables::{Halt, Reads};

/// A blob that more rows name than this keeps its copies.
const ROWS_MAX: usize = 4096;

/// That one copy may leave the disk of one member. See the head of the file.
#[derive(Debug)]
pub struct Release {
    tenant: TenantId,
    copy: CopyName,
}

impl Release {
    /// The release of a copy that lies on this node, from the rows of the copy's group as this node's replica has applied
    /// them. `None`: it stays, also whenever that is not sure.
    pub fn of(reads: &dyn Reads, me: &NodeName, tenant: TenantId, copy: CopyName) -> Result<Option<Release>, Halt> {
        if rules::in_force(reads)?.is_none() {
            return Ok(None);
        }
        let Some(FactsRow { facts }) = Space::whole().get(reads, &())? else { return Ok(None) };
        let Some((scope, _)) = TenantScope::of(reads, tenant)? else { return Ok(None) };
        let mine: Vec<Slot> =
            facts.members.iter().filter(|member| member.node == *me).map(|member| member.slot).collect();
        if facts.group != copy.group || mine.is_empty() {
            return Ok(None);
        }
        // A lease that is not there has ended, or on a replica that lags is not there yet.
        let is_known = Place::index_of(copy.lease.0) <= rules::last_applied(reads)?;
        if !is_known || scope.has::<LeaseRow>(reads, &(copy.lease,))? {
            return Ok(None);
        }
        let rows = scope.range::<BlobRow>(reads, &(copy.blob,), ROWS_MAX)?;
        if rows.len() == ROWS_MAX {
            return Ok(None);
        }
        for ((blob, vault, domain, chunk), _) in rows {
            let of = BlobRef { chunk, blob };
            let row = chunk_row(&scope, reads, (vault, domain), &of)?;
            let slot = row.handed_over.iter().find(|one| one.index == copy.index).map(|one| one.slot);
            let slot = slot.unwrap_or_else(|| facts.code.slot_of(&blob, copy.index));
            if row.lease == copy.lease && !row.missing.contains(&copy.index) && mine.contains(&slot) {
                return Ok(None);
            }
        }
        Ok(Some(Release { tenant, copy }))
    }

    /// Whose copy.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Which copy.
    pub fn copy(&self) -> CopyName {
        self.copy
    }
}

fn chunk_row(
    scope: &TenantScope,
    reads: &dyn Reads,
    (vault, domain): (VaultId, DomainId),
    of: &BlobRef,
) -> Result<ChunkRow, Halt> {
    let row = scope.get::<ChunkRow>(reads, &(vault, domain, of.chunk, of.blob))?;
    row.ok_or_else(|| impossible("a blob's chunk row is not there"))
}
