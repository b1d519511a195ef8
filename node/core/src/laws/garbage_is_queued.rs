//! What nothing names is on its way out or under a lease: a node or blob with count zero whose lease has ended is queued,
//! one whose lease is open was noted as brought under it. A tenant with anything queued is found.

use std::collections::BTreeSet;

use crate::laws::state::{State, holds};
use crate::shard::rows::{
    BroughtRow, ChunkRow, EndedLeaseRow, GarbageRow, GraceRow, LeaseRow, LetGoRow, NodeRow, UnnamedNodeRow,
};

pub(crate) fn check(state: &State) -> Result<(), String> {
    let leases: BTreeSet<_> =
        state.each::<LeaseRow>()?.into_iter().map(|(tenant, (lease,), _)| (tenant, lease)).collect();
    let ended: BTreeSet<_> =
        state.each::<EndedLeaseRow>()?.into_iter().map(|(tenant, (lease,), _)| (tenant, lease)).collect();
    let (mut nodes, mut blobs) = (BTreeSet::new(), BTreeSet::new());
    for (tenant, (lease, _), row) in state.each::<BroughtRow>()? {
        let looked_at = leases.contains(&(tenant, lease)) || ended.contains(&(tenant, lease));
        holds(looked_at, || format!("what was brought under lease {lease} is looked at by nobody"))?;
        nodes.extend(row.nodes.into_iter().map(|node| (tenant, row.vault, row.domain, node, lease)));
        blobs.extend(row.chunks.into_iter().map(|of| (tenant, row.vault, row.domain, of.chunk, of.blob, lease)));
    }
    let unnamed: BTreeSet<_> =
        state.each::<UnnamedNodeRow>()?.into_iter().map(|(tenant, key, _)| (tenant, key)).collect();
    let graced: BTreeSet<_> = state
        .each::<GraceRow>()?
        .into_iter()
        .map(|(tenant, (_, vault, domain, chunk, blob), _)| (tenant, (vault, domain, chunk, blob)))
        .collect();
    for (tenant, (vault, domain, node), row) in state.each::<NodeRow>()? {
        let brought = nodes.contains(&(tenant, vault, domain, node, row.lease));
        let queued = brought || unnamed.contains(&(tenant, (vault, domain, node)));
        let held = leases.contains(&(tenant, row.lease));
        holds(0 < row.count || if held { brought } else { queued }, || format!("node {node} is forgotten"))?;
    }
    for (tenant, (vault, domain, chunk, blob), row) in state.each::<ChunkRow>()? {
        let brought = blobs.contains(&(tenant, vault, domain, chunk, blob, row.lease));
        let queued = brought || graced.contains(&(tenant, (vault, domain, chunk, blob)));
        let held = leases.contains(&(tenant, row.lease));
        holds(0 < row.count || if held { brought } else { queued }, || format!("blob {blob} is forgotten"))?;
    }
    let with_queues: BTreeSet<_> = unnamed
        .iter()
        .map(|(tenant, _)| *tenant)
        .chain(graced.iter().map(|(tenant, _)| *tenant))
        .chain(ended.iter().map(|(tenant, _)| *tenant))
        .chain(state.each::<LetGoRow>()?.into_iter().map(|(tenant, ..)| tenant))
        .collect();
    let found: BTreeSet<_> = state.shared::<GarbageRow>()?.into_iter().map(|((tenant,), _)| tenant).collect();
    holds(found == with_queues, || format!("tenants {with_queues:?} have garbage, {found:?} are found"))
}
