//! Every count of a chunk or node is what a recount of leaves, inner nodes, parts that hold something, and parts let go
//! whose counts are still to fall gives.

use std::collections::BTreeMap;

use strongroom_format::codec;
use strongroom_format::id::{BlobId, ChunkId, DomainId, TenantId, TreeId, VaultId};
use strongroom_format::tree::Node;

use crate::laws::state::{State, holds};
use crate::shard::rows::{ChunkRow, LetGoRow, NodeBytesRow, NodeRow, PartRow, PartState};

type Domain = (TenantId, VaultId, DomainId);

pub(crate) fn check(state: &State) -> Result<(), String> {
    let mut chunks: BTreeMap<(Domain, ChunkId, BlobId), u64> = BTreeMap::new();
    let mut nodes: BTreeMap<(Domain, TreeId), u64> = BTreeMap::new();
    for (tenant, (vault, domain, id), row) in state.each::<NodeBytesRow>()? {
        let domain = (tenant, vault, domain);
        match codec::decode(&row.bytes).map_err(|fault| format!("node {id}: {fault}"))? {
            Node::Leaf(leaf) => {
                for entry in leaf.entries() {
                    *chunks.entry((domain, entry.chunk, entry.blob)).or_insert(0) += 1;
                }
            }
            Node::Inner(inner) => {
                for child in inner.children() {
                    *nodes.entry((domain, child.id)).or_insert(0) += 1;
                }
            }
        }
    }
    for (tenant, _, row) in state.each::<PartRow>()? {
        let domain = (tenant, row.opened.vault, row.opened.domain);
        let (PartState::Sealed(sealed) | PartState::Committed { sealed, .. }) = row.state else {
            continue;
        };
        for root in sealed.roots {
            *nodes.entry((domain, root)).or_insert(0) += 1;
        }
        for record in sealed.records {
            *chunks.entry((domain, record.chunk, record.blob)).or_insert(0) += 1;
        }
    }
    for (tenant, _, row) in state.each::<LetGoRow>()? {
        let domain = (tenant, row.vault, row.domain);
        for root in row.roots {
            *nodes.entry((domain, root)).or_insert(0) += 1;
        }
        for record in row.records {
            *chunks.entry((domain, record.chunk, record.blob)).or_insert(0) += 1;
        }
    }
    for (tenant, (vault, domain, chunk, blob), row) in state.each::<ChunkRow>()? {
        let real = chunks.remove(&((tenant, vault, domain), chunk, blob)).unwrap_or(0);
        holds(row.count == real, || format!("chunk {chunk} has count {}, really {real}", row.count))?;
    }
    for (tenant, (vault, domain, id), row) in state.each::<NodeRow>()? {
        let real = nodes.remove(&((tenant, vault, domain), id)).unwrap_or(0);
        holds(row.count == real, || format!("node {id} has count {}, really {real}", row.count))?;
    }
    holds(chunks.is_empty() && nodes.is_empty(), || "something is named that is not there".into())
}
