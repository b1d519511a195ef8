//! What can once be released can be released for ever: a row that names a lease which had ended before was there before,
//! and says the same of where its fragments lie.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_format::id::Place;

use crate::laws::state::{State, holds};
use crate::rules::AppliedRow;
use crate::shard::rows::{ChunkRow, LeaseRow};

pub(crate) fn check(before: &State, after: &State) -> Result<(), String> {
    let applied = before.shared::<AppliedRow>()?.pop().map_or(0, |(_, row)| row.index);
    let open: BTreeSet<_> =
        before.each::<LeaseRow>()?.into_iter().map(|(tenant, (lease,), _)| (tenant, lease)).collect();
    let earlier: BTreeMap<_, ChunkRow> =
        before.each::<ChunkRow>()?.into_iter().map(|(tenant, key, row)| ((tenant, key), row)).collect();
    for (tenant, key, is) in after.each::<ChunkRow>()? {
        let had_ended = Place::index_of(is.lease.0) <= applied && !open.contains(&(tenant, is.lease));
        let was = earlier.get(&(tenant, key));
        let lies = |row: &ChunkRow| (row.lease, row.handed_over.clone(), row.missing.clone());
        holds(!had_ended || was.is_some_and(|was| lies(was) == lies(&is)), || {
            format!("blob {} came under lease {}, which had ended: {was:?}", key.3, is.lease)
        })?;
    }
    for (tenant, (lease,), _) in after.each::<LeaseRow>()? {
        let had_ended = Place::index_of(lease.0) <= applied && !open.contains(&(tenant, lease));
        holds(!had_ended, || format!("lease {lease} is open again"))?;
    }
    Ok(())
}
