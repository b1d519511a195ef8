//! An identity, once there, is there for ever, with the same roles and key; closed, it is closed for ever. A tenant keeps
//! its name, root key and home.

use std::collections::BTreeMap;

use crate::laws::state::{State, holds};
use crate::shard::rows::{IdentityRow, TenantRow};
use strongroom_format::id::GroupId;

pub(crate) fn check(before: &State, after: &State) -> Result<(), String> {
    if before.group() == GroupId::CLUSTER {
        return tenants_of_the_cluster(before, after);
    }
    let later: BTreeMap<_, IdentityRow> =
        after.each::<IdentityRow>()?.into_iter().map(|(tenant, key, row)| ((tenant, key), row)).collect();
    for (tenant, key, was) in before.each::<IdentityRow>()? {
        let is = later.get(&(tenant, key));
        let same = is.is_some_and(|is| {
            (&is.roles, is.signing_key, &is.locks, &is.enrolled_by)
                == (&was.roles, was.signing_key, &was.locks, &was.enrolled_by)
                && is.open <= was.open
        });
        holds(same, || format!("{was:?} became {is:?}"))?;
    }
    let later: BTreeMap<_, TenantRow> = after.shared::<TenantRow>()?.into_iter().collect();
    for (key, was) in before.shared::<TenantRow>()? {
        let is = later.get(&key);
        let same = is.is_some_and(|is| {
            (&is.facts.name, is.facts.tag, is.root, is.facts.home)
                == (&was.facts.name, was.facts.tag, was.root, was.facts.home)
                && was.facts.set_version <= is.facts.set_version
        });
        holds(same, || format!("{was:?} became {is:?}"))?;
    }
    Ok(())
}

fn tenants_of_the_cluster(before: &State, after: &State) -> Result<(), String> {
    use crate::cluster::rows::TenantRow;
    let later: BTreeMap<_, TenantRow> = after.shared::<TenantRow>()?.into_iter().collect();
    for (key, was) in before.shared::<TenantRow>()? {
        let is = later.get(&key);
        let same = is.is_some_and(|is| is.facts.name == was.facts.name && is.facts.home == was.facts.home);
        holds(same, || format!("{was:?} became {is:?}"))?;
    }
    Ok(())
}
