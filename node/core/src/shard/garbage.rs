//! Garbage: what nothing names any more, taken away in bounded steps.
//!
//! ```text
//!   part let go ─▶ LetGo: the counts of its roots and records fall ─┐        ┌──── its children's counts fall ────┐
//!   lease ended ─▶ EndedLease: what it brought and nothing names ───┼─▶ node at zero ─▶ UnnamedNode ─▶ its row goes ┤
//!                                                                   └─▶ blob at zero ◀──────────────────────────────┘
//!                                                                            └─▶ Grace ── a while on E ──▶ its row goes
//!   vault ended ─▶ EndedVault ── nothing lies in it here any more ──▶ its wraps and cards go
//! ```
//!
//! A row whose own lease is open never goes: its writer is about to name it. It is looked at again when that lease ends.
//! Whoever refers to what has gone is told that it is missing and sends it again, so the grace period saves work and
//! no promise rests on it. While a vault lives its wraps and cards stay: whatever lies in it, in any shard, may be named again.
//! Once it has ended nothing is committed in it any more, and what uploads brought or may bring goes first: a blob's wrap is
//! there as long as the blob is. A step never leaves half a node: counts are exact after each (`laws/counts_recount.rs`), and
//! nothing unnamed is forgotten (`laws/garbage_is_queued.rs`). Not here: copies on disks (`shard/release.rs`).

use std::collections::BTreeMap;

use strongroom_format::codec;
use strongroom_format::command::{BlobRef, Sealed};
use strongroom_format::id::{BlobId, ChunkId, DomainId, LeaseId, SnapshotId, TenantId, TreeId, VaultId};
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::tree::Node;

use crate::row::Space;
use crate::shard::at::At;
use crate::shard::rows::{
    BlobRow, BroughtRow, CardRow, ChunkRow, DomainRow, EndedLeaseRow, EndedVaultRow, GarbageRow, GraceRow, LeaseRow,
    LetGoRow, NodeBytesRow, NodeRow, UnnamedNodeRow, Usage, VaultOpenRow, WrapRow,
};
use crate::shard::scope::TenantScope;
use crate::shard::usage;
use crate::shard::vaults;
use crate::stop::{Ruled, impossible, invalid};
use crate::tables::{Halt, Reads, Tables};

/// One step drops at most so many references, and those of one node more.
pub const COLLECT_MAX: u32 = 4096;
/// So many unnamed nodes are looked up at once.
const NODES_AT_ONCE: usize = 128;
/// So many wraps, or cards, of an ended vault go at once.
const KEYS_AT_ONCE: usize = 256;
/// Ended vaults that wait until nothing lies in them: a tenant has no more.
const VAULTS_AT_ONCE: usize = vaults::VAULTS_MAX;
/// So many tenants are looked at for one question.
const TENANTS_AT_ONCE: usize = 1000;

/// Where rows of nodes and chunks are.
type Domain = (VaultId, DomainId);
type NodeKey = (VaultId, DomainId, TreeId);
type GraceKey = (u64, VaultId, DomainId, ChunkId, BlobId);

/// Notes what a command brought under a lease, so that it is found once the lease has ended.
pub(crate) fn brought(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    lease: LeaseId,
    row: &BroughtRow,
) -> Result<(), Halt> {
    if row.chunks.is_empty() && row.nodes.is_empty() {
        return Ok(());
    }
    scope.put(tables, &(lease, at.place.number()), row)
}

/// Queues what was brought under a lease that has ended.
pub(crate) fn lease_ended(scope: &TenantScope, tables: &mut dyn Tables, lease: LeaseId) -> Result<(), Halt> {
    let has_brought = !scope.range::<BroughtRow>(&*tables, &(lease,), 1)?.is_empty();
    if has_brought {
        scope.put(tables, &(lease,), &EndedLeaseRow {})?;
    } else if scope.range::<EndedVaultRow>(&*tables, &(), 1)?.is_empty() {
        return Ok(());
    }
    // It may be the last one of an ended vault.
    mark(scope, tables)
}

/// Queues what a part held that holds nothing any more.
pub(crate) fn let_go(
    scope: &TenantScope,
    tables: &mut dyn Tables,
    (vault, domain): (VaultId, DomainId),
    snapshot: SnapshotId,
    sealed: Sealed,
) -> Result<(), Halt> {
    let row = LetGoRow { vault, domain, roots: sealed.roots, records: sealed.records };
    scope.put(tables, &(snapshot,), &row)?;
    mark(scope, tables)
}

/// Queues the keys of a vault that has ended.
pub(crate) fn vault_ended(scope: &TenantScope, tables: &mut dyn Tables, vault: VaultId) -> Result<(), Halt> {
    scope.put(tables, &(vault,), &EndedVaultRow {})?;
    mark(scope, tables)
}

/// The tenants with something to collect now, at most `limit`, behind one of them.
pub(crate) fn tenants(
    reads: &dyn Reads,
    now_ms: u64,
    grace_ms: u64,
    after: Option<TenantId>,
    limit: usize,
) -> Result<Vec<TenantId>, Halt> {
    let (mut found, mut after) = (Vec::new(), after);
    loop {
        let rows = match after {
            None => Space::whole().range::<GarbageRow>(reads, &(), TENANTS_AT_ONCE)?,
            Some(after) => Space::whole().range_from::<GarbageRow>(reads, &(), &(after,), TENANTS_AT_ONCE)?,
        };
        let is_last = rows.len() < TENANTS_AT_ONCE;
        for ((tenant,), _) in rows {
            if after == Some(tenant) {
                continue;
            }
            if let Some((scope, _)) = TenantScope::of(reads, tenant)?
                && !next(&scope, reads, now_ms, grace_ms, 1)?.is_empty()
            {
                found.push(tenant);
                if limit <= found.len() {
                    return Ok(found);
                }
            }
            after = Some(tenant);
        }
        if is_last {
            return Ok(found);
        }
    }
}

/// Collects a tenant's garbage, as far as the limit lets it.
pub(crate) fn collect(
    at: &At<'_>,
    tables: &mut dyn Tables,
    tenant: TenantId,
    limit: u32,
    grace_ms: u64,
) -> Ruled<Done> {
    if at.disputed {
        return Err(Refusal::DigestsDisagree.into());
    }
    if !(1..=COLLECT_MAX).contains(&limit) {
        return Err(invalid("1 to 4096 references are collected at once"));
    }
    let (scope, _) = TenantScope::of(&*tables, tenant)?.ok_or(Refusal::NotFound)?;
    let mut step =
        Step { at, scope: &scope, references: 0, blobs: 0, went: BTreeMap::new(), open_leases: BTreeMap::new() };
    let mut is_left = false;
    while step.references < limit {
        // One more than can be taken says that something is left.
        let wanted = (limit - step.references) as usize + 1;
        let batch = next(&scope, &*tables, at.now_ms, grace_ms, wanted)?;
        if batch.is_empty() {
            break;
        }
        is_left = false;
        for next in batch {
            if step.references < limit {
                step.take(tables, next)?;
            } else {
                is_left = true;
            }
        }
    }
    step.settle(tables)?;
    let Step { references, blobs, .. } = step;
    let more = is_left || !next(&scope, &*tables, at.now_ms, grace_ms, 1)?.is_empty();
    if !more && is_empty(&scope, &*tables)? {
        Space::whole().delete::<GarbageRow>(tables, &(tenant,))?;
    }
    Ok(Done::Collected { references, blobs, more })
}

/// What is to be taken next.
enum Next {
    Node(NodeKey),
    Part(SnapshotId, LetGoRow),
    Brought(LeaseId, u64, BroughtRow),
    Lease(LeaseId),
    Blob(GraceKey),
    Keys(VaultId),
}

/// What is to be taken next, at most `limit`. Nodes first: what hangs on them is found by them.
fn next(scope: &TenantScope, reads: &dyn Reads, now_ms: u64, grace_ms: u64, limit: usize) -> Result<Vec<Next>, Halt> {
    let nodes = scope.range::<UnnamedNodeRow>(reads, &(), limit.min(NODES_AT_ONCE))?;
    if !nodes.is_empty() {
        return Ok(nodes.into_iter().map(|(key, _)| Next::Node(key)).collect());
    }
    if let Some(((snapshot,), row)) = scope.range::<LetGoRow>(reads, &(), 1)?.pop() {
        return Ok(vec![Next::Part(snapshot, row)]);
    }
    if let Some(((lease,), _)) = scope.range::<EndedLeaseRow>(reads, &(), 1)?.pop() {
        let brought = scope.range::<BroughtRow>(reads, &(lease,), 1)?.pop();
        let next = brought.map_or(Next::Lease(lease), |((_, number), row)| Next::Brought(lease, number, row));
        return Ok(vec![next]);
    }
    let oldest = scope.range::<GraceRow>(reads, &(), limit)?.into_iter().map(|(key, _)| key);
    let due = oldest.take_while(|(since_ms, ..)| since_ms.saturating_add(grace_ms) <= now_ms);
    let due: Vec<Next> = due.map(Next::Blob).collect();
    if !due.is_empty() {
        return Ok(due);
    }
    Ok(bare_vault(scope, reads)?.map(Next::Keys).into_iter().collect())
}

/// An ended vault in which nothing lies here, nor ever will: what is undecided may still bring something, under a lease whose
/// end has the tenant found again.
fn bare_vault(scope: &TenantScope, reads: &dyn Reads) -> Result<Option<VaultId>, Halt> {
    for ((vault,), _) in scope.range::<EndedVaultRow>(reads, &(), VAULTS_AT_ONCE)? {
        let is_bare = scope.range::<ChunkRow>(reads, &(vault,), 1)?.is_empty()
            && scope.range::<NodeRow>(reads, &(vault,), 1)?.is_empty()
            && scope.get::<VaultOpenRow>(reads, &(vault,))?.is_none_or(|open| open.undecided == 0);
        if is_bare {
            return Ok(Some(vault));
        }
    }
    Ok(None)
}

fn is_empty(scope: &TenantScope, reads: &dyn Reads) -> Result<bool, Halt> {
    // With no grace at all and at the end of time everything is due.
    Ok(next(scope, reads, u64::MAX, 0, 1)?.is_empty())
}

fn mark(scope: &TenantScope, tables: &mut dyn Tables) -> Result<(), Halt> {
    Space::whole().put(tables, &(scope.tenant(),), &GarbageRow {})
}

/// One step on its way.
struct Step<'a> {
    at: &'a At<'a>,
    scope: &'a TenantScope,
    references: u32,
    blobs: u32,
    went: BTreeMap<Domain, Usage>,
    /// Leases that were looked up: a step opens and ends none.
    open_leases: BTreeMap<LeaseId, bool>,
}

impl Step<'_> {
    fn take(&mut self, tables: &mut dyn Tables, next: Next) -> Result<(), Halt> {
        match next {
            Next::Node(key) => self.take_node(tables, key),
            Next::Part(snapshot, row) => {
                self.scope.delete::<LetGoRow>(tables, &(snapshot,))?;
                let place = (row.vault, row.domain);
                self.count(row.roots.len() + row.records.len());
                for root in row.roots {
                    self.drop_node(tables, place, root, 1)?;
                }
                for record in row.records {
                    self.drop_blob(tables, place, &record, 1)?;
                }
                Ok(())
            }
            Next::Brought(lease, number, row) => {
                self.scope.delete::<BroughtRow>(tables, &(lease, number))?;
                self.look_at(tables, lease, row)
            }
            Next::Lease(lease) => {
                self.count(0);
                self.scope.delete::<EndedLeaseRow>(tables, &(lease,))
            }
            Next::Blob(key) => self.take_blob(tables, key),
            Next::Keys(vault) => self.take_keys(tables, vault),
        }
    }

    /// Counts what went so far as used no more.
    fn settle(&mut self, tables: &mut dyn Tables) -> Result<(), Halt> {
        for ((vault, domain), went) in std::mem::take(&mut self.went) {
            let owner = vaults::owner(self.scope, &*tables, vault, domain)?;
            let owner = owner.ok_or_else(|| impossible("a domain with something in it is nobody's"))?;
            usage::count(self.scope, tables, vault, &owner, &Usage::default(), &went)?;
        }
        Ok(())
    }

    /// Removes wraps of an ended vault in which nothing lies, and behind the last of them its cards.
    fn take_keys(&mut self, tables: &mut dyn Tables, vault: VaultId) -> Result<(), Halt> {
        // A domain's owner goes with its card.
        self.settle(tables)?;
        let scope = self.scope;
        let wraps = scope.range::<WrapRow>(&*tables, &(vault,), KEYS_AT_ONCE)?;
        self.count(wraps.len());
        for (key, _) in &wraps {
            scope.delete::<WrapRow>(tables, key)?;
        }
        if wraps.len() == KEYS_AT_ONCE {
            return Ok(());
        }
        let cards = scope.range::<CardRow>(&*tables, &(vault,), KEYS_AT_ONCE)?;
        self.count(cards.len());
        for ((_, writer, epoch), card) in &cards {
            scope.delete::<CardRow>(tables, &(vault, writer.clone(), *epoch))?;
            scope.delete::<DomainRow>(tables, &(vault, card.domain, writer.clone()))?;
        }
        if cards.len() < KEYS_AT_ONCE {
            scope.delete::<EndedVaultRow>(tables, &(vault,))?;
        }
        Ok(())
    }

    /// Removes a node that nothing names, and lets what it names go.
    fn take_node(&mut self, tables: &mut dyn Tables, key: NodeKey) -> Result<(), Halt> {
        let scope = self.scope;
        scope.delete::<UnnamedNodeRow>(tables, &key)?;
        let stays = match scope.get::<NodeRow>(&*tables, &key)? {
            Some(row) => row.count != 0 || self.is_open(&*tables, row.lease)?,
            None => true,
        };
        if stays {
            self.count(0);
            return Ok(());
        }
        let bytes = scope.get::<NodeBytesRow>(&*tables, &key)?;
        let bytes = bytes.ok_or_else(|| impossible("a node has no bytes"))?.bytes;
        scope.delete::<NodeRow>(tables, &key)?;
        scope.delete::<NodeBytesRow>(tables, &key)?;
        let place = (key.0, key.1);
        self.gone(place, &Usage::of_node(bytes.len()))?;
        match codec::decode::<Node>(&bytes).map_err(|fault| impossible(&format!("a stored node: {fault}")))? {
            Node::Leaf(leaf) => {
                self.count(leaf.entries().len());
                let mut times: BTreeMap<BlobRef, u64> = BTreeMap::new();
                for entry in leaf.entries() {
                    *times.entry(BlobRef { chunk: entry.chunk, blob: entry.blob }).or_insert(0) += 1;
                }
                for (of, times) in times {
                    self.drop_blob(tables, place, &of, times)?;
                }
            }
            Node::Inner(inner) => {
                self.count(inner.children().len());
                let mut times: BTreeMap<TreeId, u64> = BTreeMap::new();
                for child in inner.children() {
                    *times.entry(child.id).or_insert(0) += 1;
                }
                for (child, times) in times {
                    self.drop_node(tables, place, child, times)?;
                }
            }
        }
        Ok(())
    }

    /// What was brought under an ended lease and is named by nothing goes on its way.
    fn look_at(&mut self, tables: &mut dyn Tables, lease: LeaseId, row: BroughtRow) -> Result<(), Halt> {
        self.count(row.chunks.len() + row.nodes.len());
        let place = (row.vault, row.domain);
        for node in row.nodes {
            let key = (row.vault, row.domain, node);
            // Put again under another lease, it is that lease's.
            if self.scope.get::<NodeRow>(&*tables, &key)?.is_some_and(|row| row.count == 0 && row.lease == lease) {
                self.scope.put(tables, &key, &UnnamedNodeRow {})?;
            }
        }
        for of in row.chunks {
            let found = self.scope.get::<ChunkRow>(&*tables, &(row.vault, row.domain, of.chunk, of.blob))?;
            if found.is_some_and(|row| row.count == 0 && row.lease == lease) {
                self.grant(tables, place, &of)?;
            }
        }
        Ok(())
    }

    /// Removes the row of a blob whose grace is over, if nothing names it by now.
    fn take_blob(&mut self, tables: &mut dyn Tables, key: GraceKey) -> Result<(), Halt> {
        let (_, vault, domain, chunk, blob) = key;
        let scope = self.scope;
        self.count(0);
        scope.delete::<GraceRow>(tables, &key)?;
        let Some(row) = scope.get::<ChunkRow>(&*tables, &(vault, domain, chunk, blob))? else { return Ok(()) };
        if row.count != 0 || self.is_open(&*tables, row.lease)? {
            return Ok(());
        }
        scope.delete::<ChunkRow>(tables, &(vault, domain, chunk, blob))?;
        scope.delete::<BlobRow>(tables, &(blob, vault, domain, chunk))?;
        self.blobs += 1;
        self.gone((vault, domain), &Usage::of_blob(&row))
    }

    fn drop_node(&mut self, tables: &mut dyn Tables, place: Domain, node: TreeId, times: u64) -> Result<(), Halt> {
        let key = (place.0, place.1, node);
        let row = self.scope.get::<NodeRow>(&*tables, &key)?;
        let mut row = row.ok_or_else(|| impossible("a counted node row is not there"))?;
        row.count = row.count.checked_sub(times).ok_or_else(|| impossible("the count of a node does not add up"))?;
        if row.count == 0 {
            self.scope.put(tables, &key, &UnnamedNodeRow {})?;
        }
        self.scope.put(tables, &key, &row)
    }

    fn drop_blob(&mut self, tables: &mut dyn Tables, place: Domain, of: &BlobRef, times: u64) -> Result<(), Halt> {
        let key = (place.0, place.1, of.chunk, of.blob);
        let row = self.scope.get::<ChunkRow>(&*tables, &key)?;
        let mut row = row.ok_or_else(|| impossible("a counted chunk row is not there"))?;
        row.count =
            row.count.checked_sub(times).ok_or_else(|| impossible("the count of a chunk row does not add up"))?;
        if row.count == 0 {
            self.grant(tables, place, of)?;
        }
        self.scope.put(tables, &key, &row)
    }

    fn is_open(&mut self, reads: &dyn Reads, lease: LeaseId) -> Result<bool, Halt> {
        if let Some(is_open) = self.open_leases.get(&lease) {
            return Ok(*is_open);
        }
        let is_open = is_open(self.scope, reads, lease)?;
        self.open_leases.insert(lease, is_open);
        Ok(is_open)
    }

    /// Begins a blob's grace period.
    fn grant(&mut self, tables: &mut dyn Tables, place: Domain, of: &BlobRef) -> Result<(), Halt> {
        let key = (self.at.now_ms, place.0, place.1, of.chunk, of.blob);
        self.scope.put(tables, &key, &GraceRow {})
    }

    fn gone(&mut self, place: Domain, usage: &Usage) -> Result<(), Halt> {
        let sum = self.went.entry(place).or_default();
        *sum = sum.plus(usage).ok_or_else(|| impossible("usage of one step overflows"))?;
        Ok(())
    }

    /// Counts references, and one for having looked.
    fn count(&mut self, references: usize) {
        self.references =
            self.references.saturating_add(u32::try_from(references).unwrap_or(u32::MAX)).saturating_add(1);
    }
}

/// Whether a row's lease is open: then its writer may be about to name it.
pub(crate) fn is_open(scope: &TenantScope, reads: &dyn Reads, lease: LeaseId) -> Result<bool, Halt> {
    scope.has::<LeaseRow>(reads, &(lease,))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whose garbage still waits stays in the queue, and there may be any number of them.
    #[test]
    fn a_tenant_is_found_behind_any_number_of_tenants_with_nothing_due() {
        let due = TenantId::from_bytes([u8::MAX; TenantId::BYTES]);
        let (mut tables, scope) = TenantScope::alone(due);
        let (since_ms, grace_ms) = (5, 10);
        let key = (
            since_ms,
            VaultId::from_bytes([1; 16]),
            DomainId::from_bytes([1; 16]),
            ChunkId::from_bytes([1; 32]),
            BlobId::from_bytes([1; 32]),
        );
        scope.put(&mut tables, &key, &GraceRow {}).unwrap();
        mark(&scope, &mut tables).unwrap();
        for number in 0..2 * TENANTS_AT_ONCE {
            let mut bytes = [0; TenantId::BYTES];
            bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
            Space::whole().put(&mut tables, &(TenantId::from_bytes(bytes),), &GarbageRow {}).unwrap();
        }
        let found = |now_ms, after| tenants(&tables, now_ms, grace_ms, after, 64).unwrap();
        assert_eq!(found(since_ms + grace_ms, None), [due]);
        assert_eq!(found(since_ms + grace_ms - 1, None), []);
        assert_eq!(found(since_ms + grace_ms, Some(due)), []);
    }
}
