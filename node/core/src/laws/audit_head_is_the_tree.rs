//! The head of every audit log is the tree over its leaves, without a gap, and so is every stored subtree.

use std::collections::BTreeMap;

use strongroom_format::codec;
use strongroom_format::merkle::{Frontier, leaf_hash};
use strongroom_format::receipt::AuditRecord;

use crate::laws::state::{State, holds};
use crate::shard::rows::{AuditHeadRow, LeafRow, SubtreeRow};

pub(crate) fn check(state: &State) -> Result<(), String> {
    let mut heads: BTreeMap<_, AuditHeadRow> =
        state.each::<AuditHeadRow>()?.into_iter().map(|(tenant, (), row)| (tenant, row)).collect();
    let mut subtrees: BTreeMap<_, _> =
        state.each::<SubtreeRow>()?.into_iter().map(|(tenant, key, row)| ((tenant, key), row.hash)).collect();
    for (tenant, leaves) in state.of_tenants::<LeafRow>()? {
        let mut frontier = Frontier::default();
        for (expected, ((index,), row)) in (0..).zip(leaves) {
            holds(index == expected, || format!("leaf {expected} of {tenant} is missing"))?;
            let record: AuditRecord = codec::decode(&row.record).map_err(|fault| format!("leaf {index}: {fault}"))?;
            holds(record.group == state.group(), || format!("leaf {index} of {tenant} is another group's"))?;
            for (node, hash) in frontier.append(leaf_hash(&row.salt, &row.record)) {
                let stored = subtrees.remove(&(tenant, (node.level, node.index)));
                holds(stored == Some(hash), || format!("{node:?} of {tenant} is {stored:?}, really {hash}"))?;
            }
        }
        let head = heads.remove(&tenant).unwrap_or_default();
        holds(head.frontier == frontier, || format!("the head of {tenant} is another tree's"))?;
        holds(head.pending.is_sorted_by(|a, b| a.kind < b.kind), || format!("{tenant}: {:?}", head.pending))?;
    }
    let empty = heads.into_values().all(|head| head.frontier == Frontier::default());
    holds(empty && subtrees.is_empty(), || "a head or a subtree over leaves that are not there".into())
}
