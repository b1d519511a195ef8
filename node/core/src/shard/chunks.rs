//! Chunks: which blobs are registered, under which claims, and how often something names them.
//!
//!     RegisterChunks ──▶ row (vault, domain, chunk, blob), count 0 ──leaf or records name it──▶ count 1, 2, …
//!
//! A blob that has a row is *known* and changes nothing: its new copies fall to their lease. A chunk id is its writer's
//! claim, so it may have several blobs, each beside the others, at most four that nobody reported. A report removes
//! nothing: `which?` stops answering with the blob (N37, N109 to N111). Law: `laws/counts_recount.rs`.

use strongroom_format::command::{BlobRef, RegisteredChunk};
use strongroom_format::id::{BlobId, ChunkId, DekId, DomainId, LeaseId, SnapshotId, VaultId};
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::role::Role;
use strongroom_format::seal::BLOB_BYTES_MAX;

use crate::entry::Reported;
use crate::proved::Proved;
use crate::shard::at::{At, Caller};
use crate::shard::garbage;
use crate::shard::leases;
use crate::shard::lying;
use crate::shard::rows::{BlobRow, BroughtRow, ChunkRow, ReportedRow, SnapshotRow, SnapshotState, Usage, WrapRow};
use crate::shard::scope::TenantScope;
use crate::shard::usage;
use crate::stop::{Ruled, impossible, invalid, limit};
use crate::tables::{Halt, Reads, Tables};

/// At most so many blobs of one chunk that nobody reported.
pub const UNREPORTED_MAX: usize = 4;
/// At most so many blobs of one chunk, reported ones included.
pub(crate) const BLOBS_MAX: usize = 64;
/// What stands in place of a key where a blob is open: record blobs.
pub(crate) const NO_DEK: DekId = DekId::from_bytes([0; DekId::BYTES]);

/// Where rows of chunks are: in one domain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct In {
    pub(crate) vault: VaultId,
    pub(crate) domain: DomainId,
}

impl In {
    pub(crate) fn get(self, scope: &TenantScope, reads: &dyn Reads, of: &BlobRef) -> Result<Option<ChunkRow>, Halt> {
        scope.get(reads, &(self.vault, self.domain, of.chunk, of.blob))
    }

    fn put(self, scope: &TenantScope, tables: &mut dyn Tables, of: &BlobRef, row: &ChunkRow) -> Result<(), Halt> {
        scope.put(tables, &(self.vault, self.domain, of.chunk, of.blob), row)
    }
}

/// Makes chunks known whose fragments are durable: all of them, or none.
pub(crate) fn register(
    at: &At<'_>,
    caller: &Caller,
    tables: &mut dyn Tables,
    lease: LeaseId,
    place: In,
    chunks: &[RegisteredChunk],
) -> Ruled<Done> {
    if chunks.is_empty() || strongroom_format::command::Body::CHUNKS_MAX < chunks.len() {
        return Err(invalid("1 to 1024 chunks are registered at once"));
    }
    let scope = &caller.scope;
    let lease_row = leases::writable_in(at, caller, &*tables, lease, place.vault, place.domain)?;
    let (mut known, mut came, mut went) = (0, Usage::default(), Usage::default());
    let mut brought = BroughtRow { vault: place.vault, domain: place.domain, chunks: Vec::new(), nodes: Vec::new() };
    for (number, chunk) in (0..).zip(chunks) {
        check(at, scope, &*tables, place, chunk)?;
        let of = BlobRef { chunk: chunk.chunk, blob: chunk.blob };
        if place.get(scope, &*tables, &of)?.is_some() {
            known += 1;
            continue;
        }
        went = total(&went, &make_room(scope, tables, place, chunk.chunk)?)?;
        let row = ChunkRow {
            count: 0,
            lease,
            registered: (at.place.number(), number),
            stored_bytes: chunk.stored_bytes,
            dek: chunk.dek,
            handed_over: chunk.handed_over.clone(),
            missing: chunk.missing.clone(),
            reported: false,
        };
        came = total(&came, &Usage::of_blob(&row))?;
        place.put(scope, tables, &of, &row)?;
        brought.chunks.push(of);
        scope.put(tables, &(chunk.blob, place.vault, place.domain, chunk.chunk), &BlobRow {})?;
    }
    garbage::brought(at, scope, tables, lease, &brought)?;
    leases::charge(at, caller, tables, lease, lease_row, place.vault, (came.stored_bytes, 0))?;
    usage::count(scope, tables, place.vault, &caller.principal, &came, &went)?;
    Ok(Done::Registered { known })
}

/// Notes that a blob does not open to its chunk id, and that the snapshot in which that was met is damaged. Nothing
/// leaves.
pub(crate) fn report(
    caller: &Caller,
    tables: &mut dyn Tables,
    place: In,
    of: &BlobRef,
    snapshot: SnapshotId,
) -> Ruled<Done> {
    caller.require(&[Role::Restorer])?;
    let scope = &caller.scope;
    let mut snapshot_row: SnapshotRow = scope.get(&*tables, &(snapshot,))?.ok_or(Refusal::NotFound)?;
    let opened = &snapshot_row.opened;
    let SnapshotState::Committed(committed) = &mut snapshot_row.state else {
        return Err(Refusal::NotFound.into());
    };
    if (opened.vault, opened.domain) != (place.vault, place.domain) {
        return Err(Refusal::NotFound.into());
    }
    committed.damaged = true;
    scope.put(tables, &(snapshot,), &snapshot_row)?;
    // The blob may lie in another shard of the tenant: that one is told by [`hide`].
    mark_reported(scope, tables, place, of)?;
    scope.put(tables, &(place.vault, place.domain, of.chunk, of.blob), &ReportedRow {})?;
    Ok(Done::Done)
}

/// Notes in another shard than home that a blob was reported. Absent or known: nothing more to do.
pub(crate) fn hide(at: &At<'_>, tables: &mut dyn Tables, reported: &Proved<Reported>) -> Ruled<Done> {
    let reported = reported.value();
    let Some((scope, tenant)) = TenantScope::of(&*tables, reported.tenant)? else {
        return Err(Refusal::NotFound.into());
    };
    if reported.home != tenant.facts.home || reported.home == at.group() {
        return Err(Refusal::WrongGroup.into());
    }
    let place = In { vault: reported.vault, domain: reported.domain };
    mark_reported(&scope, tables, place, &reported.of)?;
    Ok(Done::Done)
}

fn mark_reported(scope: &TenantScope, tables: &mut dyn Tables, place: In, of: &BlobRef) -> Result<(), Halt> {
    if let Some(mut row) = place.get(scope, &*tables, of)? {
        row.reported = true;
        place.put(scope, tables, of, &row)?;
    }
    Ok(())
}

/// The newest blob of a chunk that nobody reported.
pub(crate) fn newest(
    scope: &TenantScope,
    reads: &dyn Reads,
    place: In,
    chunk: ChunkId,
) -> Result<Option<(BlobId, ChunkRow)>, Halt> {
    let rows = blobs_of(scope, reads, place, chunk)?;
    Ok(rows.into_iter().filter(|(_, row)| !row.reported).max_by_key(|(_, row)| row.registered))
}

/// Adds to a row's count, or takes from it.
pub(crate) fn recount(
    scope: &TenantScope,
    tables: &mut dyn Tables,
    place: In,
    of: &BlobRef,
    change: impl FnOnce(u64) -> Option<u64>,
) -> Result<(), Halt> {
    let row = place.get(scope, &*tables, of)?;
    let mut row = row.ok_or_else(|| impossible("a counted chunk row is not there"))?;
    row.count = change(row.count).ok_or_else(|| impossible("the count of a chunk row does not add up"))?;
    place.put(scope, tables, of, &row)
}

fn check(at: &At<'_>, scope: &TenantScope, reads: &dyn Reads, place: In, chunk: &RegisteredChunk) -> Ruled<()> {
    if !(1..=BLOB_BYTES_MAX).contains(&chunk.stored_bytes) {
        return Err(invalid("a blob has 1 byte to 4 MiB and its overhead"));
    }
    if !lying::fits(at.facts, chunk) {
        return Err(invalid("fragments cannot lie so in this shard"));
    }
    if lying::strength(at.facts, &chunk.blob, &chunk.handed_over, &chunk.missing).is_none() {
        return Err(Refusal::TooThin.into());
    }
    if chunk.dek != NO_DEK && !scope.has::<WrapRow>(reads, &(place.vault, place.domain, chunk.dek))? {
        return Err(Refusal::ProvenanceInvalid { why: format!("no wrap of key {} is stored", chunk.dek) }.into());
    }
    Ok(())
}

/// Makes room for one more blob of a chunk: of four unreported ones the oldest with count zero goes. Returns what went.
fn make_room(scope: &TenantScope, tables: &mut dyn Tables, place: In, chunk: ChunkId) -> Ruled<Usage> {
    let rows = blobs_of(scope, &*tables, place, chunk)?;
    if BLOBS_MAX <= rows.len() {
        return Err(limit("blobs of one chunk"));
    }
    if rows.iter().filter(|(_, row)| !row.reported).count() < UNREPORTED_MAX {
        return Ok(Usage::default());
    }
    let unused = rows.into_iter().filter(|(_, row)| !row.reported && row.count == 0);
    let Some((blob, row)) = unused.min_by_key(|(_, row)| row.registered) else {
        return Err(Refusal::TooManyBlobs { chunk }.into());
    };
    scope.delete::<ChunkRow>(tables, &(place.vault, place.domain, chunk, blob))?;
    scope.delete::<BlobRow>(tables, &(blob, place.vault, place.domain, chunk))?;
    Ok(Usage::of_blob(&row))
}

fn blobs_of(
    scope: &TenantScope,
    reads: &dyn Reads,
    place: In,
    chunk: ChunkId,
) -> Result<Vec<(BlobId, ChunkRow)>, Halt> {
    let rows = scope.range::<ChunkRow>(reads, &(place.vault, place.domain, chunk), BLOBS_MAX)?;
    Ok(rows.into_iter().map(|((.., blob), row)| (blob, row)).collect())
}

fn total(sum: &Usage, more: &Usage) -> Result<Usage, Halt> {
    sum.plus(more).ok_or_else(|| impossible("usage of one command overflows"))
}
