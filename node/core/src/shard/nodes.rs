//! Index-tree nodes: stored once, with everything below them there, and counted.
//!
//!     PutNodes ──▶ chunk rows of a leaf, node rows of an inner node: all there? totals as claimed? ──▶ each counted once
//!
//! A node that is there is *known* and counts nothing: its id is the hash of its bytes, so it cannot be another. Its
//! putter is about to name it, so it stays as long as the putter's lease is open, whoever lets it go meanwhile. So
//! whatever a stored root names is there, down to the blobs (`laws/all_below_a_part_exists.rs`), and counts are exact
//! (N34, N37, N109, N113). Not here: the shape of nodes (`strongroom_format::tree`).

use std::collections::BTreeMap;

use strongroom_format::codec;
use strongroom_format::command::{BlobRef, Body};
use strongroom_format::id::{LeaseId, TreeId};
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::tree::{self, Child, LeafEntry, Node};

use crate::shard::at::{At, Caller};
use crate::shard::chunks::{self, In, NO_DEK};
use crate::shard::garbage;
use crate::shard::leases;
use crate::shard::rows::{BroughtRow, Lying, NodeBytesRow, NodeRow, Usage};
use crate::shard::scope::TenantScope;
use crate::shard::usage;
use crate::stop::{Ruled, Stop, format_refusal, impossible, invalid};
use crate::tables::{Halt, Reads, Tables};

/// A refusal lists at most so many missing chunks, and so many nodes.
pub(crate) const MISSING_MAX: usize = 1024;

/// Stores nodes, children before parents: all of them, or none.
pub(crate) fn put(
    at: &At<'_>,
    caller: &Caller,
    tables: &mut dyn Tables,
    lease: LeaseId,
    place: In,
    nodes: &[Vec<u8>],
) -> Ruled<Done> {
    if nodes.is_empty() || Body::NODES_MAX < nodes.len() {
        return Err(invalid("1 to 64 nodes are put at once"));
    }
    let scope = &caller.scope;
    let lease_row = leases::writable_in(at, caller, &*tables, lease, place.vault, place.domain)?;
    let (mut known, mut came, mut taken_over) = (0, Usage::default(), 0_u64);
    let mut brought = BroughtRow { vault: place.vault, domain: place.domain, chunks: Vec::new(), nodes: Vec::new() };
    for bytes in nodes {
        let id = tree::tree_id(bytes);
        if let Some(row) = row(scope, &*tables, place, id)? {
            if !garbage::is_open(scope, &*tables, row.lease)? {
                scope.put(tables, &(place.vault, place.domain, id), &NodeRow { lease, ..row })?;
                brought.nodes.push(id);
                taken_over = taken_over
                    .checked_add(bytes.len() as u64)
                    .ok_or_else(|| impossible("nodes of one command overflow"))?;
            }
            known += 1;
            continue;
        }
        let node: Node = codec::decode(bytes).map_err(|fault| Stop::Refused(format_refusal(&fault)))?;
        let lying = match &node {
            Node::Leaf(leaf) => count_entries(at, scope, tables, place, leaf.entries())?,
            Node::Inner(inner) => count_children(scope, tables, place, inner.children())?,
        };
        let row = NodeRow { count: 0, lease, totals: node.totals(), lying };
        scope.put(tables, &(place.vault, place.domain, id), &row)?;
        scope.put(tables, &(place.vault, place.domain, id), &NodeBytesRow { bytes: bytes.clone() })?;
        brought.nodes.push(id);
        came = came.plus(&Usage::of_node(bytes.len())).ok_or_else(|| impossible("nodes of one command overflow"))?;
    }
    garbage::brought(at, scope, tables, lease, &brought)?;
    let lie = came.node_bytes.checked_add(taken_over).ok_or_else(|| impossible("nodes of one command overflow"))?;
    leases::charge(at, caller, tables, lease, lease_row, place.vault, (0, lie))?;
    usage::count(scope, tables, place.vault, &caller.principal, &came, &Usage::default())?;
    Ok(Done::NodesPut { known })
}

/// A node's row.
pub(crate) fn row(scope: &TenantScope, reads: &dyn Reads, place: In, node: TreeId) -> Result<Option<NodeRow>, Halt> {
    scope.get(reads, &(place.vault, place.domain, node))
}

/// Adds to a node's count, or takes from it.
pub(crate) fn recount(
    scope: &TenantScope,
    tables: &mut dyn Tables,
    place: In,
    node: TreeId,
    change: impl FnOnce(u64) -> Option<u64>,
) -> Result<(), Halt> {
    let row: Option<NodeRow> = scope.get(&*tables, &(place.vault, place.domain, node))?;
    let mut row = row.ok_or_else(|| impossible("a counted node row is not there"))?;
    row.count = change(row.count).ok_or_else(|| impossible("the count of a node does not add up"))?;
    scope.put(tables, &(place.vault, place.domain, node), &row)
}

/// A refusal that lists what is missing.
pub(crate) fn missing(why: &str, missing_chunks: Vec<BlobRef>, missing_nodes: Vec<TreeId>) -> Stop {
    Stop::Refused(Refusal::ManifestMismatch { why: why.into(), missing_chunks, missing_nodes, groups: Vec::new() })
}

fn count_entries(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    place: In,
    entries: &[LeafEntry],
) -> Ruled<Lying> {
    let mut times: BTreeMap<BlobRef, u64> = BTreeMap::new();
    let mut absent = Vec::new();
    let mut lying = Lying::NOTHING;
    for entry in entries {
        let of = BlobRef { chunk: entry.chunk, blob: entry.blob };
        match place.get(scope, &*tables, &of)? {
            // A reported blob, or an open one, is none that a new leaf may mean: the chunk must be sent again.
            Some(row) if !row.reported && row.dek != NO_DEK => {
                if row.stored_bytes != entry.stored_bytes {
                    return Err(missing("a leaf gives a blob another length than it has", vec![of], Vec::new()));
                }
                lying = both(lying, Lying::of_blob(at.facts, &of.blob, &row))?;
                *times.entry(of).or_insert(0) += 1;
            }
            Some(_) | None => absent.push(of),
        }
    }
    if !absent.is_empty() {
        absent.sort_unstable();
        absent.dedup();
        absent.truncate(MISSING_MAX);
        return Err(missing("a leaf names chunks that are not here", absent, Vec::new()));
    }
    for (of, times) in times {
        chunks::recount(scope, tables, place, &of, |count| count.checked_add(times))?;
    }
    Ok(lying)
}

fn count_children(scope: &TenantScope, tables: &mut dyn Tables, place: In, children: &[Child]) -> Ruled<Lying> {
    let mut times: BTreeMap<TreeId, u64> = BTreeMap::new();
    let mut absent = Vec::new();
    let mut lying = Lying::NOTHING;
    for child in children {
        match row(scope, &*tables, place, child.id)? {
            Some(row) => {
                if row.totals != child.totals {
                    return Err(invalid("an inner node gives a child other totals than it has"));
                }
                lying = both(lying, row.lying)?;
                *times.entry(child.id).or_insert(0) += 1;
            }
            None => absent.push(child.id),
        }
    }
    if !absent.is_empty() {
        absent.sort_unstable();
        absent.dedup();
        absent.truncate(MISSING_MAX);
        return Err(missing("an inner node names children that are not here", Vec::new(), absent));
    }
    for (child, times) in times {
        recount(scope, tables, place, child, |count| count.checked_add(times))?;
    }
    Ok(lying)
}

fn both(one: Lying, other: Lying) -> Ruled<Lying> {
    one.and(other).ok_or_else(|| invalid("the fragments below a node overflow a count"))
}
