//! What was registered and put under a lease is at most its budget; what lies under it is at most what it has used.

use std::collections::BTreeMap;

use crate::laws::state::{State, holds};
use crate::shard::rows::{ChunkRow, LeaseRow, NodeBytesRow, NodeRow};

pub(crate) fn check(state: &State) -> Result<(), String> {
    let mut blobs: BTreeMap<_, u64> = BTreeMap::new();
    for (tenant, _, row) in state.each::<ChunkRow>()? {
        *blobs.entry((tenant, row.lease)).or_default() += u64::from(row.stored_bytes);
    }
    let node_bytes: BTreeMap<_, u64> = state
        .each::<NodeBytesRow>()?
        .into_iter()
        .map(|(tenant, key, row)| ((tenant, key), row.bytes.len() as u64))
        .collect();
    let mut nodes: BTreeMap<_, u64> = BTreeMap::new();
    for (tenant, key, row) in state.each::<NodeRow>()? {
        *nodes.entry((tenant, row.lease)).or_default() += node_bytes.get(&(tenant, key)).unwrap_or(&0);
    }
    for (tenant, (lease,), row) in state.each::<LeaseRow>()? {
        let used = row.used_bytes.checked_add(row.node_bytes);
        holds(used.is_some_and(|used| used <= row.budget_bytes), || format!("lease {lease}: {row:?}"))?;
        // Less may lie there: an unused blob makes room for a newer one of its chunk.
        let lying = blobs.get(&(tenant, lease)).unwrap_or(&0);
        holds(lying <= &row.used_bytes, || format!("lease {lease} has used {}, {lying} lie", row.used_bytes))?;
        let lying = nodes.get(&(tenant, lease)).unwrap_or(&0);
        holds(*lying == row.node_bytes, || format!("lease {lease} has {} of nodes, {lying} lie", row.node_bytes))?;
    }
    Ok(())
}
