//! Every lock is one that its vault permits, and has no beginning: under these rules what is locked stays.

use std::collections::BTreeMap;

use crate::laws::state::{State, holds};
use crate::shard::LOCK_MS_MAX;
use crate::shard::rows::{PartRow, PartState, SnapshotRow, SnapshotState, VaultRow};

pub(crate) fn check(state: &State) -> Result<(), String> {
    let vaults: BTreeMap<_, VaultRow> =
        state.each::<VaultRow>()?.into_iter().map(|(tenant, (vault,), row)| ((tenant, vault), row)).collect();
    for (tenant, (snapshot,), row) in state.each::<SnapshotRow>()? {
        let SnapshotState::Committed(committed) = row.state else {
            continue;
        };
        let vault = vaults.get(&(tenant, row.opened.vault)).ok_or_else(|| format!("{snapshot} in no vault"))?;
        let policy = &vault.policy;
        let permitted = match committed.lock {
            None => policy.default_lock.is_none(),
            Some(lock) => {
                let length_ms = lock.terms.length_ms;
                policy.lock_min_ms.max(1) <= length_ms
                    && length_ms <= policy.lock_max_ms.min(LOCK_MS_MAX)
                    && policy.default_lock.is_none_or(|default| default.mode <= lock.terms.mode)
            }
        };
        holds(permitted, || format!("{snapshot} has the lock {:?} under {policy:?}", committed.lock))?;
    }
    for (_, (snapshot,), row) in state.each::<PartRow>()? {
        if let PartState::Committed { lock: Some(lock), .. } = row.state {
            holds(lock.begins_ms.is_none(), || format!("the lock of {snapshot} began"))?;
        }
    }
    Ok(())
}
