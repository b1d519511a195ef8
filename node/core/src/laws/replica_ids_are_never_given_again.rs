//! Every replica id that somebody has or will have was allotted, what was allotted stays so, and ids only grow: none is
//! given to a second member.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::rows::{AllottedRow, FactsRow, NodeRow, ShardRow};
use crate::laws::state::{State, holds};
use strongroom_format::id::{GroupId, ReplicaId};

fn allotted(state: &State) -> Result<BTreeSet<(GroupId, ReplicaId)>, String> {
    Ok(state.shared::<AllottedRow>()?.into_iter().map(|(key, _)| key).collect())
}

pub(crate) fn check(state: &State) -> Result<(), String> {
    let allotted = allotted(state)?;
    let mut had = Vec::new();
    for (_, facts) in state.shared::<FactsRow>()? {
        had.extend(facts.changing.map(|change| (GroupId::CLUSTER, change.to)));
    }
    for (_, node) in state.shared::<NodeRow>()? {
        had.push((GroupId::CLUSTER, node.replica));
    }
    for ((group,), shard) in state.shared::<ShardRow>()? {
        had.extend(shard.slots.iter().map(|slot| (group, slot.replica)));
        had.extend(shard.changing.map(|change| (group, change.to)));
    }
    for of in &had {
        holds(allotted.contains(of), || format!("{of:?} was never allotted"))?;
    }
    let distinct: BTreeSet<_> = had.iter().collect();
    holds(distinct.len() == had.len(), || format!("an id has two members: {had:?}"))
}

pub(crate) fn check_step(before: &State, after: &State) -> Result<(), String> {
    if before.group() != GroupId::CLUSTER {
        return Ok(());
    }
    holds(allotted(before)?.is_subset(&allotted(after)?), || "an id is not allotted any more".into())?;
    let later: BTreeMap<_, NodeRow> = after.shared::<NodeRow>()?.into_iter().collect();
    for (key, was) in before.shared::<NodeRow>()? {
        let is = later.get(&key);
        let same = is.is_some_and(|is| {
            (&is.region, is.signing_key, is.ordinal) == (&was.region, was.signing_key, was.ordinal)
                && was.replica <= is.replica
        });
        holds(same, || format!("{was:?} became {is:?}"))?;
    }
    let later: BTreeMap<_, ShardRow> = after.shared::<ShardRow>()?.into_iter().collect();
    for (key, was) in before.shared::<ShardRow>()? {
        let is = later.get(&key);
        let same = is.is_some_and(|is| {
            let kept = was.slots.iter().zip(&is.slots).all(|(was, is)| {
                (was.slot, &was.node, &was.region) == (is.slot, &is.node, &is.region) && was.replica <= is.replica
            });
            kept && was.slots.len() == is.slots.len() && was.code == is.code
        });
        holds(same, || format!("{was:?} became {is:?}"))?;
    }
    Ok(())
}
