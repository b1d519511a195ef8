//! What a policy ended no lock, hold, restore session, whole or keep rule kept, it was not the newest of its name, and its
//! tenant could act; and its leaf names the policy that was in force.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_format::codec;
use strongroom_format::receipt::{AuditEvent, AuditRecord};

use crate::laws::locked_snapshots_stay::is_kept_throughout;
use crate::laws::state::{State, holds};
use crate::shard::keep::{Calendar as _, PERIODS};
use crate::shard::lock_rows::{KeptRow, LockRow};
use crate::shard::rows::{LeafRow, PinRow, SnapshotRow, SnapshotState, TenantRow, TicketRow, TicketState, VaultRow};

pub(crate) fn check(before: &State, after: &State) -> Result<(), String> {
    let later = after.each::<SnapshotRow>()?;
    let ended_by_policy: BTreeMap<_, _> = later
        .iter()
        .filter_map(|(tenant, (snapshot,), row)| match &row.state {
            SnapshotState::Ended { end, leaf_index, .. } if end.by.is_none() => {
                Some(((*tenant, *snapshot), *leaf_index))
            }
            _ => None,
        })
        .collect();
    if ended_by_policy.is_empty() {
        return Ok(());
    }
    let (earlier_clock, clock) = (before.clock()?, after.clock()?);
    let locks: BTreeMap<_, LockRow> =
        before.each::<LockRow>()?.into_iter().map(|(tenant, (snapshot,), row)| ((tenant, snapshot), row)).collect();
    let pinned: BTreeSet<_> =
        before.each::<PinRow>()?.into_iter().map(|(tenant, (snapshot, _), _)| (tenant, snapshot)).collect();
    let names: BTreeMap<_, KeptRow> =
        before.each::<KeptRow>()?.into_iter().map(|(tenant, name, row)| ((tenant, name), row)).collect();
    let vaults: BTreeMap<_, VaultRow> =
        before.each::<VaultRow>()?.into_iter().map(|(tenant, (vault,), row)| ((tenant, vault), row)).collect();
    let tickets: BTreeMap<_, TicketRow> =
        before.each::<TicketRow>()?.into_iter().map(|(tenant, (ticket,), row)| ((tenant, ticket), row)).collect();
    let tenants: BTreeMap<_, TenantRow> =
        before.shared::<TenantRow>()?.into_iter().map(|((tenant,), row)| (tenant, row)).collect();
    let leaves: BTreeMap<_, LeafRow> =
        after.each::<LeafRow>()?.into_iter().map(|(tenant, (leaf,), row)| ((tenant, leaf), row)).collect();
    let earlier = before.each::<SnapshotRow>()?;
    let stood: BTreeSet<_> = earlier
        .iter()
        .filter(|(.., row)| matches!(row.state, SnapshotState::Committed(_)))
        .map(|(tenant, (snapshot,), _)| (*tenant, *snapshot))
        .collect();
    // The newest that is left of each name.
    let mut left: BTreeMap<_, u64> = BTreeMap::new();
    for (tenant, _, row) in &later {
        if let SnapshotState::Committed(committed) = &row.state {
            let name = (*tenant, (row.opened.vault, row.opened.writer.clone(), row.label.clone()));
            let newest = left.entry(name).or_default();
            *newest = committed.order.max(*newest);
        }
    }
    for (tenant, (snapshot,), was) in earlier {
        let Some(leaf_index) = ended_by_policy.get(&(tenant, snapshot)) else { continue };
        let SnapshotState::Committed(committed) = was.state else { continue };
        let goes = |why: bool, what: &str| holds(why, || format!("a policy ended {snapshot}, {what}"));
        let lock = locks.get(&(tenant, snapshot));
        goes(!is_kept_throughout(lock, &earlier_clock, &clock), "which was locked or held")?;
        goes(lock.is_some_and(|lock| lock.behind.is_empty()), "with which a shard was behind")?;
        goes(!pinned.contains(&(tenant, snapshot)), "which somebody read")?;
        goes(tenants.get(&tenant).is_some_and(TenantRow::is_active), "of a tenant that may do nothing")?;
        let ticket = was.stream.and_then(|of| tickets.get(&(tenant, of.ticket)));
        let whole = ticket.and_then(|ticket| match ticket.state {
            TicketState::Committed { whole } => Some(whole),
            TicketState::Open | TicketState::Aborted => None,
        });
        goes(whole.is_none_or(|whole| !stood.contains(&(tenant, whole))), "of which a whole stood")?;
        let vault = vaults.get(&(tenant, was.opened.vault));
        let policy = vault.map(|vault| &vault.policy).ok_or_else(|| format!("{snapshot} was in no vault"))?;
        goes(!policy.keep.keep_everything(), "in a vault that keeps everything")?;
        let name = (tenant, (was.opened.vault, was.opened.writer, was.label));
        goes(left.get(&name).is_some_and(|newest| committed.order < *newest), "the newest of its name")?;
        let counted = names.get(&name).map(|name| name.counted_orders.as_slice()).unwrap_or_default();
        let since = counted.iter().filter(|order| committed.order < **order).count();
        goes(policy.keep.last as usize <= since, "which was among the last")?;
        for (bit, period) in (0..).zip(PERIODS) {
            let promise_ms = period.promise_ms(&policy.keep);
            let until_ms = promise_ms.and_then(|promise_ms| committed.committed_clock_ms.checked_add(promise_ms));
            let over = until_ms.is_some_and(|until_ms| until_ms <= clock.clock_ms);
            goes(committed.firsts & (1 << bit) == 0 || over, "the first of a period")?;
        }
        let record =
            leaves.get(&(tenant, *leaf_index)).and_then(|leaf| codec::decode::<AuditRecord>(&leaf.record).ok());
        let said = record.is_some_and(|record| {
            matches!(record.event, AuditEvent::Expired(expired)
                if (expired.snapshot, expired.policy) == (snapshot, policy.version))
        });
        goes(said, "and no leaf says by which policy")?;
    }
    Ok(())
}
