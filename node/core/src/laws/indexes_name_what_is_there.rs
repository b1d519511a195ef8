//! Every index names what is there, and everything is named: blobs by id, vaults by name, domains by card, snapshots by
//! order and by label, pins by restore session.

use std::collections::BTreeSet;

use crate::laws::state::{State, holds};
use crate::shard::rows::{
    BlobRow, CardRow, ChunkRow, DomainRow, LabelRow, ListedRow, PinRow, RestoreRow, SnapshotRow, SnapshotState,
    TenantRow, VaultNameRow, VaultRow,
};

pub(crate) fn check(state: &State) -> Result<(), String> {
    let chunks: BTreeSet<_> = state
        .each::<ChunkRow>()?
        .into_iter()
        .map(|(tenant, (vault, domain, chunk, blob), _)| (tenant, (blob, vault, domain, chunk)))
        .collect();
    let blobs: BTreeSet<_> = state.each::<BlobRow>()?.into_iter().map(|(tenant, key, _)| (tenant, key)).collect();
    holds(chunks == blobs, || "the index of blobs differs from the chunk rows".into())?;

    let vaults: BTreeSet<_> =
        state.each::<VaultRow>()?.into_iter().map(|(tenant, (vault,), row)| (tenant, row.name, vault)).collect();
    let names: BTreeSet<_> =
        state.each::<VaultNameRow>()?.into_iter().map(|(tenant, (name,), row)| (tenant, name, row.vault)).collect();
    holds(vaults == names, || "the index of names differs from the vaults".into())?;

    let homes: BTreeSet<_> = state
        .shared::<TenantRow>()?
        .into_iter()
        .filter(|(_, row)| row.facts.home == state.group())
        .map(|((tenant,), _)| tenant)
        .collect();
    let cards: BTreeSet<_> = state
        .each::<CardRow>()?
        .into_iter()
        .map(|(tenant, (vault, writer, epoch), row)| (tenant, (vault, row.domain, writer), epoch))
        .collect();
    let domains: BTreeSet<_> = state
        .each::<DomainRow>()?
        .into_iter()
        .filter(|(tenant, ..)| homes.contains(tenant))
        .map(|(tenant, key, row)| (tenant, key, row.epoch))
        .collect();
    holds(cards == domains, || "the index of domains differs from the cards".into())?;

    let (mut by_order, mut by_label) = (BTreeSet::new(), BTreeSet::new());
    for (tenant, (snapshot,), row) in state.each::<SnapshotRow>()? {
        if let SnapshotState::Committed(committed) = row.state {
            by_order.insert((tenant, (row.opened.vault, committed.order), snapshot));
            let key = (row.opened.vault, row.opened.writer, row.label, committed.order);
            by_label.insert((tenant, key, snapshot));
        }
    }
    let listed: BTreeSet<_> =
        state.each::<ListedRow>()?.into_iter().map(|(tenant, key, row)| (tenant, key, row.snapshot)).collect();
    let labels: BTreeSet<_> =
        state.each::<LabelRow>()?.into_iter().map(|(tenant, key, row)| (tenant, key, row.snapshot)).collect();
    holds(by_order == listed, || "the listing differs from the committed snapshots".into())?;
    holds(by_label == labels, || "the index of labels differs from the committed snapshots".into())?;

    let restores = state.each::<RestoreRow>()?.into_iter();
    let pinned: BTreeSet<_> = restores
        .flat_map(|(tenant, (restore,), row)| row.snapshots.into_iter().map(move |one| (tenant, (one, restore))))
        .collect();
    let pins: BTreeSet<_> = state.each::<PinRow>()?.into_iter().map(|(tenant, key, _)| (tenant, key)).collect();
    holds(pinned == pins, || "the pins differ from the open restore sessions".into())
}
