//! A replacement that is under way goes from who fills the slot to a newer id of that slot, and another one in the same
//! group begins only when it is complete. Until then at most who comes changes, to a later id of the same slot.

use std::collections::BTreeMap;

use crate::cluster::rows::{Changing, FactsRow, NodeRow, ShardRow};
use crate::genesis::replica_slot;
use crate::laws::state::{State, holds};
use strongroom_format::id::{GroupId, ReplicaId};

/// A group's replacement, if one is under way, and who fills its slots.
type Filling = (Option<Changing>, Vec<ReplicaId>);

fn groups(state: &State) -> Result<BTreeMap<GroupId, Filling>, String> {
    let mut groups = BTreeMap::new();
    for (_, facts) in state.shared::<FactsRow>()? {
        let members = state.shared::<NodeRow>()?.into_iter().map(|(_, node)| node.replica).collect();
        groups.insert(GroupId::CLUSTER, (facts.changing, members));
    }
    for ((group,), shard) in state.shared::<ShardRow>()? {
        groups.insert(group, (shard.changing, shard.slots.iter().map(|slot| slot.replica).collect()));
    }
    Ok(groups)
}

pub(crate) fn check(state: &State) -> Result<(), String> {
    for (group, (changing, members)) in groups(state)? {
        let Some(change) = changing else { continue };
        let newer = change.from < change.to && replica_slot(change.to) == change.slot;
        let fills = members.contains(&change.from) && !members.contains(&change.to);
        holds(newer && fills, || format!("group {group}: {change:?} with members {members:?}"))?;
    }
    Ok(())
}

pub(crate) fn check_step(before: &State, after: &State) -> Result<(), String> {
    if before.group() != GroupId::CLUSTER {
        return Ok(());
    }
    let later = groups(after)?;
    for (group, (changing, _)) in groups(before)? {
        let Some(was) = changing else { continue };
        let (is, members) = later.get(&group).ok_or_else(|| format!("group {group} is gone"))?;
        let under_way = is.is_some_and(|is| (is.slot, is.from) == (was.slot, was.from) && was.to <= is.to);
        let complete = !members.contains(&was.from);
        holds(under_way || complete, || format!("group {group}: {was:?} became {is:?} with members {members:?}"))?;
    }
    Ok(())
}
