//! Every registered blob lies so that it can be read, and was sealed under a key whose wrap is stored, or is open; of one
//! chunk at most four were never reported. The card of every committed snapshot is there.

use std::collections::{BTreeMap, BTreeSet};

use crate::laws::state::{State, holds};
use crate::shard::UNREPORTED_MAX;
use crate::shard::chunks::NO_DEK;
use crate::shard::lying;
use crate::shard::rows::{CardRow, ChunkRow, FactsRow, SnapshotRow, SnapshotState, WrapRow};

pub(crate) fn check(state: &State) -> Result<(), String> {
    let wraps: BTreeSet<_> = state.each::<WrapRow>()?.into_iter().map(|(tenant, key, _)| (tenant, key)).collect();
    let mut unreported = BTreeMap::new();
    let facts = state.shared::<FactsRow>()?;
    for (tenant, (vault, domain, chunk, blob), row) in state.each::<ChunkRow>()? {
        let has_wrap = row.dek == NO_DEK || wraps.contains(&(tenant, (vault, domain, row.dek)));
        holds(has_wrap, || format!("blob {blob} is sealed under {}, which nobody has", row.dek))?;
        let count: &mut usize = unreported.entry((tenant, vault, domain, chunk)).or_default();
        *count += usize::from(!row.reported);
        holds(*count <= UNREPORTED_MAX, || format!("chunk {chunk} has too many blobs"))?;
        let [(_, facts)] = &facts[..] else {
            return Err("a shard with chunks does not know itself".into());
        };
        let strength = lying::strength(&facts.facts, &blob, &row.handed_over, &row.missing);
        holds(strength.is_some(), || format!("blob {blob} has fewer than k fragments"))?;
    }
    let cards: BTreeSet<_> = state.each::<CardRow>()?.into_iter().map(|(tenant, key, _)| (tenant, key)).collect();
    for (tenant, (snapshot,), row) in state.each::<SnapshotRow>()? {
        let card = (tenant, (row.opened.vault, row.opened.writer.clone(), row.key_epoch));
        let is_readable = !matches!(row.state, SnapshotState::Committed(_)) || cards.contains(&card);
        holds(is_readable, || format!("the card of snapshot {snapshot} is not there"))?;
    }
    Ok(())
}
