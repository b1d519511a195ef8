//! Every name and id of the cluster is one thing's, every tenant lives in shards that there are, every CA is on one plane
//! and there for tenants that accepted it, and what shards count of tenants is what a recount gives.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::rows::{FactsRow, IssuerRow, NodeRow, ShardRow, TenantNameRow, TenantRow};
use crate::laws::state::{State, holds};
use strongroom_format::role::Plane;
use strongroom_format::statement::issuer_digest;

pub(crate) fn check(state: &State) -> Result<(), String> {
    let founded = !state.shared::<FactsRow>()?.is_empty();
    holds(founded || state.rows().count() <= 1, || "rows before the beginning".into())?;
    let nodes: BTreeMap<_, NodeRow> =
        state.shared::<NodeRow>()?.into_iter().map(|((name,), row)| (name, row)).collect();
    let replicas: BTreeSet<_> = nodes.values().map(|node| node.replica).collect();
    holds(replicas.len() == nodes.len(), || "two nodes have one replica id".into())?;
    let tenants: Vec<TenantRow> = state.shared::<TenantRow>()?.into_iter().map(|(_, row)| row).collect();
    let names: BTreeSet<_> =
        state.shared::<TenantNameRow>()?.into_iter().map(|((name,), row)| (name, row.tenant)).collect();
    let real: BTreeSet<_> = tenants.iter().map(|row| (row.facts.name.clone(), row.facts.tenant)).collect();
    holds(names == real, || "the index of names differs from the tenants".into())?;
    let mut shards = BTreeSet::new();
    for ((group,), row) in state.shared::<ShardRow>()? {
        shards.insert(group);
        let homes = tenants.iter().filter(|row| row.facts.home == group).count() as u64;
        let of = tenants.iter().filter(|row| row.facts.groups.contains(&group)).count() as u64;
        holds((row.homes, row.tenants) == (homes, of), || format!("shard {group} counts wrongly: {row:?}"))?;
        let slots = usize::from(row.code.slots());
        let members: BTreeSet<_> = row.slots.iter().map(|slot| slot.replica).collect();
        holds((row.slots.len(), members.len()) == (slots, slots), || format!("slots of shard {group}"))?;
        let known = row.slots.iter().all(|slot| nodes.get(&slot.node).is_some_and(|node| node.region == slot.region));
        holds(known, || format!("a slot of shard {group} is on no node, or in another region"))?;
    }
    for row in &tenants {
        let facts = &row.facts;
        let there = shards.contains(&facts.home) && facts.groups.iter().all(|group| shards.contains(group));
        holds(there && !facts.groups.is_empty(), || format!("{} lives in no shard", facts.tenant))?;
    }
    let issuers: BTreeMap<_, IssuerRow> =
        state.shared::<IssuerRow>()?.into_iter().map(|((digest,), row)| (digest, row)).collect();
    for row in &tenants {
        let tenant = row.facts.tenant;
        let known = |digest| issuers.get(digest).is_some_and(|row: &IssuerRow| row.tenants.contains(&tenant));
        holds(row.issuers.iter().all(known), || format!("a CA of {tenant} is not registered for it"))?;
    }
    for plane in [Plane::Peer, Plane::Operator] {
        let served = issuers.values().any(|row| row.plane == plane);
        holds(served || !founded, || format!("nobody issues certificates of the {plane} plane"))?;
    }
    for (digest, row) in issuers {
        holds(issuer_digest(&row.certificate) == digest, || "a CA under another's digest".into())?;
        holds((row.plane == Plane::Tenant) != row.tenants.is_empty(), || format!("a CA of {:?}", row.plane))?;
        let accepted = |tenant| tenants.iter().any(|row| row.facts.tenant == tenant && row.issuers.contains(&digest));
        holds(row.tenants.iter().all(|tenant| accepted(*tenant)), || "a CA that a tenant did not accept".into())?;
    }
    Ok(())
}
