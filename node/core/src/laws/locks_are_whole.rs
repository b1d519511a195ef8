//! Every committed part has a row of what keeps it, and every such row a committed part; a lock has a length, and one
//! without beginning waits for it; holds are few and in order; who is behind is found, and so is a wish to weaken a lock,
//! which only governance locks at home have. Keep rules know every committed snapshot's name
//! and no other.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_format::lock::LockMode;

use crate::laws::state::{State, holds};
use crate::shard::HOLDS_MAX;
use crate::shard::lock_rows::{BehindRow, KeptRow, LockRow, UnbegunRow, WeakeningRow};
use crate::shard::rows::{EndRow, PartRow, PartState, SnapshotRow, SnapshotState};

pub(crate) fn check(state: &State) -> Result<(), String> {
    let mut rows: BTreeMap<_, LockRow> =
        state.each::<LockRow>()?.into_iter().map(|(tenant, (snapshot,), row)| ((tenant, snapshot), row)).collect();
    let waiting: BTreeSet<_> =
        state.shared::<UnbegunRow>()?.into_iter().map(|((_, tenant, snapshot), _)| (tenant, snapshot)).collect();
    let mut behind: BTreeSet<_> = state.shared::<BehindRow>()?.into_iter().map(|(key, _)| key).collect();
    let mut wishes: BTreeMap<_, _> =
        state.each::<WeakeningRow>()?.into_iter().map(|(tenant, (number,), row)| ((tenant, number), row)).collect();
    let ends: BTreeSet<_> = state
        .shared::<EndRow>()?
        .into_iter()
        .filter(|((_, kind, ..), _)| *kind == 16)
        .map(|((ends_ms, _, tenant, number), _)| (tenant, number, ends_ms))
        .collect();
    for (tenant, (snapshot,), part) in state.each::<PartRow>()? {
        if !matches!(part.state, PartState::Committed { .. }) {
            continue;
        }
        let row = rows.remove(&(tenant, snapshot)).ok_or_else(|| format!("nothing says what keeps {snapshot}"))?;
        let at_home = part.opened.home == state.group();
        if let Some(lock) = row.lock {
            holds(0 < lock.terms.length_ms, || format!("the lock of {snapshot} has no length"))?;
            let waits = lock.begins_ms.is_some() || waiting.contains(&(tenant, snapshot));
            holds(waits, || format!("the lock of {snapshot} waits for no beginning"))?;
        }
        let few = row.holds.len() <= HOLDS_MAX && row.holds.is_sorted_by(|a, b| a.name < b.name);
        holds(few, || format!("{snapshot} has the holds {:?}", row.holds))?;
        let others = row.behind.is_sorted_by(|a, b| a < b)
            && row.behind.iter().all(|group| *group != state.group() && part.opened.groups.contains(group));
        let found = behind.remove(&(tenant, snapshot)) != row.behind.is_empty();
        holds(others && found, || format!("{:?} are behind with {snapshot}, found: {found}", row.behind))?;
        if let Some(wish) = &row.weakening {
            let of_this = wishes.remove(&(tenant, wish.number)).is_some_and(|found| found.snapshot == snapshot);
            let governed = row.lock.is_some_and(|lock| lock.terms.mode == LockMode::Governance);
            let ends = ends.contains(&(tenant, wish.number, wish.due_ms));
            holds(at_home && of_this && governed && ends, || format!("a wish to weaken {snapshot} hangs loose"))?;
        }
        holds(at_home || row.behind.is_empty(), || format!("only home knows who is behind with {snapshot}"))?;
    }
    let mut kept: BTreeMap<_, KeptRow> =
        state.each::<KeptRow>()?.into_iter().map(|(tenant, name, row)| ((tenant, name), row)).collect();
    let mut names = BTreeSet::new();
    for (tenant, (snapshot,), row) in state.each::<SnapshotRow>()? {
        let SnapshotState::Committed(committed) = row.state else { continue };
        let name = (tenant, (row.opened.vault, row.opened.writer, row.label));
        let known = kept.get(&name).is_some_and(|kept| committed.order <= kept.newest_order);
        holds(known, || format!("keep rules do not know {snapshot}"))?;
        names.insert(name);
    }
    kept.retain(|name, _| !names.contains(name));
    holds(kept.is_empty(), || "keep rules know a name of which no snapshot is left".into())?;
    holds(rows.is_empty(), || "something keeps what is not committed".into())?;
    holds(behind.is_empty(), || "somebody is behind with what is not committed".into())?;
    holds(wishes.is_empty(), || "a wish to weaken what has no such wish".into())
}
