//! A shard has one member a slot, each on a node of its own and under a replica id that was allotted to that slot; and one
//! that is replaced keeps slot, node, region and key.

use std::collections::BTreeSet;

use crate::genesis::replica_slot;
use crate::laws::state::{State, holds};
use crate::shard::rows::FactsRow;
use strongroom_format::id::GroupId;

pub(crate) fn check(state: &State) -> Result<(), String> {
    for (_, FactsRow { facts }) in state.shared::<FactsRow>()? {
        let slots = facts.members.iter().map(|member| member.slot.0);
        holds((0..facts.code.slots()).eq(slots), || format!("not one member a slot: {:?}", facts.members))?;
        let nodes: BTreeSet<_> = facts.members.iter().map(|member| &member.node).collect();
        holds(nodes.len() == facts.members.len(), || format!("two members on one node: {:?}", facts.members))?;
        let own = facts.members.iter().all(|member| replica_slot(member.replica) == member.slot);
        holds(own, || format!("an id of another slot: {:?}", facts.members))?;
    }
    Ok(())
}

pub(crate) fn check_step(before: &State, after: &State) -> Result<(), String> {
    if before.group() == GroupId::CLUSTER {
        return Ok(());
    }
    let later = after.shared::<FactsRow>()?.pop();
    for (_, was) in before.shared::<FactsRow>()? {
        let is = later.as_ref().map(|(_, is)| &is.facts);
        let kept = is.is_some_and(|is| {
            let pairs = was.facts.members.iter().zip(&is.members);
            let same = |(was, is): (&crate::entry::MemberFacts, &crate::entry::MemberFacts)| {
                (was.slot, &was.node, &was.region, was.signing_key) == (is.slot, &is.node, &is.region, is.signing_key)
                    && was.replica <= is.replica
            };
            was.facts.members.len() == is.members.len() && was.facts.code == is.code && pairs.into_iter().all(same)
        });
        holds(kept, || format!("{:?} became {is:?}", was.facts))?;
    }
    Ok(())
}
