//! A tenant that has ended is ended for ever and keeps its name; a tenant's standing changes only with a higher version.

use std::collections::BTreeMap;

use strongroom_format::id::GroupId;

use crate::cluster::rows::TenantRow as TenantOfTheCluster;
use crate::entry::{Standing, TenantState};
use crate::laws::state::{State, holds};
use crate::shard::rows::TenantRow;

pub(crate) fn check_step(before: &State, after: &State) -> Result<(), String> {
    let standings = |state: &State| -> Result<BTreeMap<_, (_, Standing)>, String> {
        if state.group() == GroupId::CLUSTER {
            let rows = state.shared::<TenantOfTheCluster>()?.into_iter().map(|(_, row)| row.facts);
            return Ok(rows.map(|facts| (facts.tenant, (facts.name, facts.standing))).collect());
        }
        let rows = state.shared::<TenantRow>()?.into_iter().map(|(_, row)| row.facts);
        Ok(rows.map(|facts| (facts.tenant, (facts.name, facts.standing))).collect())
    };
    let later = standings(after)?;
    for (tenant, (name, was)) in standings(before)? {
        let is = later.get(&tenant);
        let may_be = is.is_some_and(|(same, is)| {
            *same == name && (*is == was || was.version < is.version) && (was.state != TenantState::Ended || *is == was)
        });
        holds(may_be, || format!("{tenant}: {was:?} became {is:?}"))?;
    }
    Ok(())
}
