//! A leaf of an audit log never changes and never goes.

use std::collections::BTreeMap;

use crate::laws::state::{State, holds};
use crate::shard::rows::LeafRow;

pub(crate) fn check(before: &State, after: &State) -> Result<(), String> {
    let later: BTreeMap<_, LeafRow> =
        after.each::<LeafRow>()?.into_iter().map(|(tenant, (leaf,), row)| ((tenant, leaf), row)).collect();
    for (tenant, (leaf,), was) in before.each::<LeafRow>()? {
        let is = later.get(&(tenant, leaf));
        holds(is == Some(&was), || format!("leaf {leaf} of {tenant} changed or went"))?;
    }
    Ok(())
}
