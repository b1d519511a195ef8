//! At home a snapshot and its part stand alike: open with open or sealed, committed with committed, aborted or ended with
//! dropped; a committed one has its envelope and a leaf, an ended one a leaf, and an undecided one its lease; a stream that
//! is ready has sealed and has none. Elsewhere a sealed part waits. Only shards with a part of an ended snapshot are to be
//! told of its end.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_format::receipt::{AuditEvent, AuditRecord};

use crate::laws::state::{State, holds};
use crate::shard::rows::{
    EndingRow, EnvelopeRow, LeafRow, LeaseRow, PartRow, PartState, SnapshotRow, SnapshotState, WaitingRow,
};
use strongroom_format::codec;

pub(crate) fn check(state: &State) -> Result<(), String> {
    let mut parts: BTreeMap<_, PartRow> =
        state.each::<PartRow>()?.into_iter().map(|(tenant, (snapshot,), row)| ((tenant, snapshot), row)).collect();
    let mut envelopes: BTreeSet<_> =
        state.each::<EnvelopeRow>()?.into_iter().map(|(tenant, (snapshot,), _)| (tenant, snapshot)).collect();
    let leases: BTreeMap<_, LeaseRow> =
        state.each::<LeaseRow>()?.into_iter().map(|(tenant, (lease,), row)| ((tenant, lease), row)).collect();
    let leaves: BTreeMap<_, LeafRow> =
        state.each::<LeafRow>()?.into_iter().map(|(tenant, (leaf,), row)| ((tenant, leaf), row)).collect();
    for (tenant, (snapshot,), row) in state.each::<SnapshotRow>()? {
        let part = parts.remove(&(tenant, snapshot)).ok_or_else(|| format!("{snapshot} has no part at home"))?;
        holds(part.opened == row.opened, || format!("{snapshot} and its part were opened differently"))?;
        let lease = leases.get(&(tenant, part.lease));
        let alike = match (&row.state, &part.state) {
            (SnapshotState::Open, PartState::Open) => lease.is_some_and(|lease| lease.writable),
            (SnapshotState::Open, PartState::Sealed(_)) => lease.is_some_and(|lease| !lease.writable),
            (SnapshotState::Committed(committed), PartState::Committed { sealed }) => {
                let leaf = leaves.get(&(tenant, committed.leaf_index));
                let record = leaf.and_then(|leaf| codec::decode::<AuditRecord>(&leaf.record).ok());
                let recorded = record.is_some_and(|record| match record.event {
                    AuditEvent::Committed(event) => (event.snapshot, event.envelope) == (snapshot, committed.envelope),
                    AuditEvent::Decision { .. } | AuditEvent::Batch { .. } | AuditEvent::Expired(_) => false,
                });
                let home = committed.parts.iter().find(|part| part.group == state.group());
                recorded
                    && lease.is_none()
                    && envelopes.remove(&(tenant, snapshot))
                    && home.is_some_and(|part| part.roots == sealed.roots)
            }
            (SnapshotState::Ended { leaf_index, end, .. }, PartState::Dropped) => {
                let leaf = leaves.get(&(tenant, *leaf_index));
                let record = leaf.and_then(|leaf| codec::decode::<AuditRecord>(&leaf.record).ok());
                let recorded = record.is_some_and(|record| match record.event {
                    AuditEvent::Decision { subject, allowed, principal, .. } => {
                        allowed && subject == snapshot.as_bytes() && end.by == Some(principal)
                    }
                    AuditEvent::Expired(expired) => {
                        (expired.snapshot, expired.vault, &end.by) == (snapshot, row.opened.vault, &None)
                    }
                    AuditEvent::Committed(_) | AuditEvent::Batch { .. } => false,
                });
                recorded && lease.is_none()
            }
            (SnapshotState::Aborted, PartState::Dropped) => lease.is_none(),
            (SnapshotState::Ready(ready), PartState::Sealed(sealed)) => {
                let home = ready.parts.iter().find(|part| part.group == state.group());
                lease.is_none() && row.stream.is_some() && home.is_some_and(|part| part.roots == sealed.roots)
            }
            _ => false,
        };
        holds(alike, || format!("{snapshot} and its part do not stand alike: {:?}, {:?}", row.state, part.state))?;
    }
    holds(envelopes.is_empty(), || "an envelope of no committed snapshot".into())?;
    let mut waiting: BTreeMap<_, WaitingRow> = state.shared::<WaitingRow>()?.into_iter().collect();
    for ((tenant, snapshot), part) in parts {
        let sealed = matches!(part.state, PartState::Sealed(_));
        let lease = leases.contains_key(&(tenant, part.lease));
        holds(part.opened.home != state.group(), || format!("a part of {snapshot}, which was not opened here"))?;
        holds(waiting.remove(&(tenant, snapshot)).is_some() == sealed, || format!("{snapshot} waits wrongly"))?;
        let writable = matches!(part.state, PartState::Open);
        holds(lease == writable, || format!("the lease of a part of {snapshot} does not follow it"))?;
    }
    holds(waiting.is_empty(), || "a part waits that is not here".into())?;
    let ended: BTreeMap<_, SnapshotRow> =
        state.each::<SnapshotRow>()?.into_iter().map(|(tenant, (snapshot,), row)| ((tenant, snapshot), row)).collect();
    for ((tenant, snapshot, group), _) in state.shared::<EndingRow>()? {
        let row = ended.get(&(tenant, snapshot));
        let is_told = row.is_some_and(|row| {
            matches!(row.state, SnapshotState::Ended { .. })
                && row.opened.groups.contains(&group)
                && group != state.group()
        });
        holds(is_told, || format!("{group} is to be told of the end of {snapshot}: {row:?}"))?;
    }
    Ok(())
}
