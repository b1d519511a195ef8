//! Whatever a stored node names is there, as it says: a node's id is the hash of its bytes, its children have the totals
//! that it claims, its blobs the lengths; so everything below the root of a part is there, in one domain.

use std::collections::BTreeMap;

use strongroom_format::codec;
use strongroom_format::id::{BlobId, ChunkId, DomainId, TenantId, TreeId, VaultId};
use strongroom_format::tree::{self, Node, Totals};

use crate::laws::state::{State, holds};
use crate::shard::rows::{ChunkRow, LetGoRow, NodeBytesRow, NodeRow, PartRow, PartState};

pub(crate) fn check(state: &State) -> Result<(), String> {
    let lengths: BTreeMap<(TenantId, VaultId, DomainId, ChunkId, BlobId), u32> = state
        .each::<ChunkRow>()?
        .into_iter()
        .map(|(tenant, (vault, domain, chunk, blob), row)| ((tenant, vault, domain, chunk, blob), row.stored_bytes))
        .collect();
    let totals: BTreeMap<(TenantId, VaultId, DomainId, TreeId), Totals> = state
        .each::<NodeRow>()?
        .into_iter()
        .map(|(tenant, (vault, domain, id), row)| ((tenant, vault, domain, id), row.totals))
        .collect();
    let bytes = state.each::<NodeBytesRow>()?;
    holds(bytes.len() == totals.len(), || "not as many nodes' bytes as nodes".into())?;
    for (tenant, (vault, domain, id), row) in bytes {
        holds(tree::tree_id(&row.bytes) == id, || format!("node {id} is another"))?;
        let node: Node = codec::decode(&row.bytes).map_err(|fault| format!("node {id}: {fault}"))?;
        let own = totals.get(&(tenant, vault, domain, id));
        holds(own == Some(&node.totals()), || format!("node {id} has other totals than its row"))?;
        match node {
            Node::Leaf(leaf) => {
                for entry in leaf.entries() {
                    let found = lengths.get(&(tenant, vault, domain, entry.chunk, entry.blob));
                    holds(found == Some(&entry.stored_bytes), || format!("leaf {id} names {entry:?}: {found:?}"))?;
                }
            }
            Node::Inner(inner) => {
                for child in inner.children() {
                    let found = totals.get(&(tenant, vault, domain, child.id));
                    holds(found == Some(&child.totals), || format!("node {id} names {child:?}: {found:?}"))?;
                }
            }
        }
    }
    for (tenant, (snapshot,), row) in state.each::<PartRow>()? {
        let (PartState::Sealed(sealed) | PartState::Committed { sealed, .. }) = row.state else {
            continue;
        };
        let (vault, domain) = (row.opened.vault, row.opened.domain);
        for root in sealed.roots {
            let found = totals.contains_key(&(tenant, vault, domain, root));
            holds(found, || format!("root {root} of {snapshot} is not there"))?;
        }
        for record in sealed.records {
            let found = lengths.contains_key(&(tenant, vault, domain, record.chunk, record.blob));
            holds(found, || format!("record {record:?} of {snapshot} is not there"))?;
        }
    }
    for (tenant, (snapshot,), row) in state.each::<LetGoRow>()? {
        for root in row.roots {
            let found = totals.contains_key(&(tenant, row.vault, row.domain, root));
            holds(found, || format!("root {root} of {snapshot}, which was let go, is not there"))?;
        }
        for record in row.records {
            let found = lengths.contains_key(&(tenant, row.vault, row.domain, record.chunk, record.blob));
            holds(found, || format!("record {record:?} of {snapshot}, which was let go, is not there"))?;
        }
    }
    Ok(())
}
