//! A shard goes by the cluster group's voters from its first entry on, never forgets who votes in a group, and takes only
//! a higher version for it; no voter's key is there twice.

use std::collections::BTreeMap;

use strongroom_format::id::GroupId;

use crate::electorates::{Electorate, ElectorateRow};
use crate::laws::state::{State, holds};
use crate::shard::rows::FactsRow;

fn known(state: &State) -> Result<BTreeMap<GroupId, Electorate>, String> {
    Ok(state.shared::<ElectorateRow>()?.into_iter().map(|((group,), row)| (group, row.electorate)).collect())
}

pub(crate) fn check(state: &State) -> Result<(), String> {
    let known = known(state)?;
    let facts = state.shared::<FactsRow>()?.into_iter().map(|(_, row)| row.facts).next();
    let Some(facts) = facts else {
        return holds(known.is_empty(), || "a shard that is not founded goes by somebody".into());
    };
    holds(known.contains_key(&GroupId::CLUSTER), || "the cluster group's voters are not known".into())?;
    for (group, electorate) in &known {
        let well = electorate.group == *group
            && *group != facts.group
            && electorate.epoch == facts.epoch
            && electorate.check_voters().is_ok();
        holds(well, || format!("group {group} cannot have these voters: {electorate:?}"))?;
    }
    Ok(())
}

pub(crate) fn check_step(before: &State, after: &State) -> Result<(), String> {
    let later = known(after)?;
    for (group, was) in known(before)? {
        let is = later.get(&group);
        let grew = is.is_some_and(|is| *is == was || was.version < is.version);
        holds(grew, || format!("the voters of group {group} went from {was:?} to {is:?}"))?;
    }
    Ok(())
}
