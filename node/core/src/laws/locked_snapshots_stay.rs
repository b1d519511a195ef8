//! What a lock or a hold keeps is there after whatever was asked, and so is each of its parts. What is not known is kept.
//!
//! Many entries may lie between two states: a lock that had no beginning may have begun right behind the first, and be
//! over in the second. A hold that was removed in between is not seen: look right behind the entry that removes one.

use std::collections::BTreeMap;

use crate::clock::ClockRow;
use crate::laws::state::{State, holds};
use crate::shard::lock_rows::LockRow;
use crate::shard::locks::{self, BEGIN_AFTER_MS};
use crate::shard::rows::{PartRow, PartState, SnapshotRow, SnapshotState};

pub(crate) fn check(before: &State, after: &State) -> Result<(), String> {
    let (earlier, later_clock) = (before.clock()?, after.clock()?);
    let kept: BTreeMap<_, LockRow> =
        before.each::<LockRow>()?.into_iter().map(|(tenant, key, row)| ((tenant, key), row)).collect();
    let later: BTreeMap<_, SnapshotRow> =
        after.each::<SnapshotRow>()?.into_iter().map(|(tenant, key, row)| ((tenant, key), row)).collect();
    for (tenant, key, was) in before.each::<SnapshotRow>()? {
        let locked = matches!(was.state, SnapshotState::Committed(_))
            && is_kept_throughout(kept.get(&(tenant, key)), &earlier, &later_clock);
        let is = later.get(&(tenant, key));
        let there = is.is_some_and(|is| matches!(is.state, SnapshotState::Committed(_)));
        holds(!locked || there, || format!("{} was locked and became {is:?}", key.0))?;
    }
    let later: BTreeMap<_, PartRow> =
        after.each::<PartRow>()?.into_iter().map(|(tenant, key, row)| ((tenant, key), row)).collect();
    for (tenant, key, was) in before.each::<PartRow>()? {
        let locked = matches!(was.state, PartState::Committed { .. })
            && is_kept_throughout(kept.get(&(tenant, key)), &earlier, &later_clock);
        let is = later.get(&(tenant, key));
        let there = is.is_some_and(|is| matches!(is.state, PartState::Committed { .. }));
        holds(!locked || there, || format!("the part of {} was locked and became {is:?}", key.0))?;
    }
    Ok(())
}

/// Whether a row of the state with the first clock keeps what it is of until the second, whatever comes in between, but
/// for an order that weakens it. Time passes before what a tick ends.
pub(crate) fn is_kept_throughout(row: Option<&LockRow>, earlier: &ClockRow, later: &ClockRow) -> bool {
    let row = row.cloned().map(|mut row| {
        if let Some(lock) = &mut row.lock {
            let soonest_ms = earlier.began_unix_ms.saturating_add(earlier.elapsed_ms).saturating_add(BEGIN_AFTER_MS);
            lock.begins_ms.get_or_insert(soonest_ms);
        }
        row
    });
    locks::is_locked(row.as_ref(), later.clock_ms).is_some()
}

#[cfg(test)]
mod tests {
    use strongroom_format::lock::{LockMode, LockTerms};

    use super::*;
    use crate::shard::lock_rows::Lock;

    #[test]
    fn between_two_states_a_lock_may_have_begun_and_ended_but_no_sooner_than_it_can() {
        let of = |clock_ms| ClockRow { elapsed_ms: 500, clock_ms, ..ClockRow::founded(100_000) };
        let terms = LockTerms { mode: LockMode::Compliance, length_ms: 1000 };
        let kept = |begins_ms, clock_ms| {
            let row = LockRow::committed(Some(Lock { terms, begins_ms, until_unix_ms: 0 }));
            is_kept_throughout(Some(&row), &of(100_500), &of(clock_ms))
        };
        assert!(kept(None, 103_500) && !kept(None, 103_501), "it began at E + 2 s, and a thousandth is added");
        assert!(kept(Some(105_000), 106_000) && !kept(Some(105_000), 106_001));
        assert!(is_kept_throughout(None, &of(0), &of(u64::MAX)), "what is not known is kept");
    }
}
