//! A locked snapshot is there after whatever was asked, and so is each of its parts.

use std::collections::BTreeMap;

use crate::laws::state::{State, holds};
use crate::shard::locks;
use crate::shard::rows::{PartRow, PartState, SnapshotRow, SnapshotState};

pub(crate) fn check(before: &State, after: &State) -> Result<(), String> {
    let later: BTreeMap<_, SnapshotRow> =
        after.each::<SnapshotRow>()?.into_iter().map(|(tenant, key, row)| ((tenant, key), row)).collect();
    for (tenant, key, was) in before.each::<SnapshotRow>()? {
        let locked = matches!(&was.state, SnapshotState::Committed(was) if locks::is_locked(was.lock.as_ref()));
        let is = later.get(&(tenant, key));
        let there = is.is_some_and(|is| matches!(is.state, SnapshotState::Committed(_)));
        holds(!locked || there, || format!("{} was locked and became {is:?}", key.0))?;
    }
    let later: BTreeMap<_, PartRow> =
        after.each::<PartRow>()?.into_iter().map(|(tenant, key, row)| ((tenant, key), row)).collect();
    for (tenant, key, was) in before.each::<PartRow>()? {
        let locked = matches!(&was.state, PartState::Committed { lock, .. } if locks::is_locked(lock.as_ref()));
        let is = later.get(&(tenant, key));
        let there = is.is_some_and(|is| matches!(is.state, PartState::Committed { .. }));
        holds(!locked || there, || format!("the part of {} was locked and became {is:?}", key.0))?;
    }
    Ok(())
}
