//! What a lock or a hold keeps is there after whatever was asked, and so is each of its parts. What is not known is kept.

use std::collections::BTreeMap;

use crate::clock::ClockRow;
use crate::laws::state::{State, holds};
use crate::shard::lock_rows::LockRow;
use crate::shard::locks;
use crate::shard::rows::{PartRow, PartState, SnapshotRow, SnapshotState};

pub(crate) fn check(before: &State, after: &State) -> Result<(), String> {
    // Time passes before what a tick ends.
    let clock_ms = after.shared::<ClockRow>()?.pop().map_or(0, |(_, clock)| clock.clock_ms);
    let kept: BTreeMap<_, LockRow> =
        before.each::<LockRow>()?.into_iter().map(|(tenant, key, row)| ((tenant, key), row)).collect();
    let later: BTreeMap<_, SnapshotRow> =
        after.each::<SnapshotRow>()?.into_iter().map(|(tenant, key, row)| ((tenant, key), row)).collect();
    for (tenant, key, was) in before.each::<SnapshotRow>()? {
        let locked = matches!(was.state, SnapshotState::Committed(_))
            && locks::is_locked(kept.get(&(tenant, key)), clock_ms).is_some();
        let is = later.get(&(tenant, key));
        let there = is.is_some_and(|is| matches!(is.state, SnapshotState::Committed(_)));
        holds(!locked || there, || format!("{} was locked and became {is:?}", key.0))?;
    }
    let later: BTreeMap<_, PartRow> =
        after.each::<PartRow>()?.into_iter().map(|(tenant, key, row)| ((tenant, key), row)).collect();
    for (tenant, key, was) in before.each::<PartRow>()? {
        let locked = matches!(was.state, PartState::Committed { .. })
            && locks::is_locked(kept.get(&(tenant, key)), clock_ms).is_some();
        let is = later.get(&(tenant, key));
        let there = is.is_some_and(|is| matches!(is.state, PartState::Committed { .. }));
        holds(!locked || there, || format!("the part of {} was locked and became {is:?}", key.0))?;
    }
    Ok(())
}
