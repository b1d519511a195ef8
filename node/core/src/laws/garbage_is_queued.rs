//! What nothing names is on its way out or under a lease: a node or blob with count zero whose lease has ended is queued,
//! one whose lease is open was noted as brought under it. A vault that has ended and still has wraps or cards is queued, and
//! no other is. A tenant with anything queued that can go is found.

use std::collections::BTreeSet;

use crate::laws::state::{State, holds};
use crate::shard::rows::{
    BroughtRow, CardRow, ChunkRow, EndedLeaseRow, EndedVaultRow, GarbageRow, GraceRow, LeasePurpose, LeaseRow,
    LetGoRow, NodeRow, UnnamedNodeRow, VaultOpenRow, VaultRow, WrapRow,
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
    let waiting: BTreeSet<_> =
        state.each::<EndedVaultRow>()?.into_iter().map(|(tenant, (vault,), _)| (tenant, vault)).collect();
    let ended_vaults: BTreeSet<_> = state
        .each::<VaultRow>()?
        .into_iter()
        .filter(|(.., row)| row.end.is_some())
        .map(|(tenant, (vault,), _)| (tenant, vault))
        .collect();
    holds(waiting.is_subset(&ended_vaults), || "a vault that lives is to lose its keys".into())?;
    let wraps = state.each::<WrapRow>()?.into_iter().map(|(tenant, (vault, ..), _)| (tenant, vault));
    let cards = state.each::<CardRow>()?.into_iter().map(|(tenant, (vault, ..), _)| (tenant, vault));
    for key in wraps.chain(cards).filter(|of| ended_vaults.contains(of)) {
        holds(waiting.contains(&key), || format!("the keys of vault {}, which has ended, are forgotten", key.1))?;
    }
    let mut bare = waiting.clone();
    for (tenant, (vault, ..), _) in state.each::<ChunkRow>()? {
        bare.remove(&(tenant, vault));
    }
    for (tenant, (vault, ..), _) in state.each::<NodeRow>()? {
        bare.remove(&(tenant, vault));
    }
    for (tenant, (vault,), open) in state.each::<VaultOpenRow>()? {
        if 0 < open.undecided {
            bare.remove(&(tenant, vault));
        }
    }
    for (tenant, (lease,), row) in state.each::<LeaseRow>()? {
        if let LeasePurpose::Part { vault, .. } = row.purpose {
            let has_keys = !ended_vaults.contains(&(tenant, vault)) || waiting.contains(&(tenant, vault));
            holds(has_keys, || format!("lease {lease} is open in vault {vault}, whose keys are gone"))?;
        }
    }
    let with_queues: BTreeSet<_> = unnamed
        .iter()
        .map(|(tenant, _)| *tenant)
        .chain(graced.iter().map(|(tenant, _)| *tenant))
        .chain(ended.iter().map(|(tenant, _)| *tenant))
        .chain(state.each::<LetGoRow>()?.into_iter().map(|(tenant, ..)| tenant))
        .chain(bare.into_iter().map(|(tenant, _)| tenant))
        .collect();
    let found: BTreeSet<_> = state.shared::<GarbageRow>()?.into_iter().map(|((tenant,), _)| tenant).collect();
    let may_be_found: BTreeSet<_> =
        with_queues.iter().copied().chain(waiting.into_iter().map(|(tenant, _)| tenant)).collect();
    let is_so = with_queues.is_subset(&found) && found.is_subset(&may_be_found);
    holds(is_so, || format!("tenants {with_queues:?} have garbage, {found:?} are found"))
}
