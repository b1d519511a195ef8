//! What is counted as used, open and undecided is what a recount of rows gives: per vault, per tenant, per identity
//! and in all.

use std::collections::BTreeMap;

use crate::laws::state::{State, holds};
use crate::shard::rows::{
    ChunkRow, IssuedRow, NodeBytesRow, OpenRow, RestoreRow, SessionRow, ShardUsageRow, SnapshotRow, SnapshotState,
    TenantUsageRow, TicketRow, TicketState, TokenRow, Usage, VaultUsageRow,
};

pub(crate) fn check(state: &State) -> Result<(), String> {
    let mut by_vault: BTreeMap<_, Usage> = BTreeMap::new();
    let mut add = |key, usage: Usage| {
        let sum: &mut Usage = by_vault.entry(key).or_default();
        *sum = sum.plus(&usage).ok_or("usage overflows")?;
        Ok::<_, String>(())
    };
    for (tenant, (vault, ..), row) in state.each::<ChunkRow>()? {
        add((tenant, vault), Usage::of_blob(&row))?;
    }
    for (tenant, (vault, ..), row) in state.each::<NodeBytesRow>()? {
        add((tenant, vault), Usage::of_node(row.bytes.len()))?;
    }
    let mut open: BTreeMap<_, OpenRow> = BTreeMap::new();
    for (tenant, _, row) in state.each::<SnapshotRow>()? {
        match row.state {
            SnapshotState::Open | SnapshotState::Ready(_) => {
                open.entry((tenant, row.opened.writer)).or_default().undecided += 1
            }
            SnapshotState::Committed(_) => add((tenant, row.opened.vault), Usage::of_snapshot())?,
            SnapshotState::Aborted | SnapshotState::Ended { .. } => {}
        }
    }
    for (tenant, _, row) in state.each::<SessionRow>()?.into_iter().filter(|(.., row)| row.open) {
        open.entry((tenant, row.identity)).or_default().sessions += 1;
    }
    for (tenant, _, row) in state.each::<RestoreRow>()? {
        open.entry((tenant, row.identity)).or_default().restores += 1;
    }
    for (tenant, _, row) in state.each::<TicketRow>()?.into_iter().filter(|(.., row)| row.state == TicketState::Open) {
        open.entry((tenant, row.opener)).or_default().tickets += 1;
    }
    let tokens: BTreeMap<_, TokenRow> =
        state.each::<TokenRow>()?.into_iter().map(|(tenant, (token,), row)| ((tenant, token), row)).collect();
    for (tenant, _, IssuedRow { token }) in state.each()? {
        let row = tokens.get(&(tenant, token)).ok_or_else(|| format!("{token} is listed and not there"))?;
        open.entry((tenant, row.issuer.clone())).or_default().tokens += 1;
    }
    let (mut by_tenant, mut in_all) = (BTreeMap::<_, Usage>::new(), Usage::default());
    for ((tenant, _), usage) in &by_vault {
        let sum = by_tenant.entry(*tenant).or_default();
        *sum = sum.plus(usage).ok_or("usage overflows")?;
        in_all = in_all.plus(usage).ok_or("usage overflows")?;
    }

    for (tenant, (vault,), row) in state.each::<VaultUsageRow>()? {
        let real = by_vault.remove(&(tenant, vault)).unwrap_or_default();
        holds(row.usage == real, || format!("vault {vault}: counted {:?}, really {real:?}", row.usage))?;
    }
    holds(by_vault.is_empty(), || "a vault's usage is not counted".into())?;
    for (tenant, (), row) in state.each::<TenantUsageRow>()? {
        let real = by_tenant.remove(&tenant).unwrap_or_default();
        holds(row.usage == real, || format!("{tenant}: counted {:?}, really {real:?}", row.usage))?;
    }
    holds(by_tenant.is_empty(), || "a tenant's usage is not counted".into())?;
    for (tenant, (identity,), row) in state.each::<OpenRow>()? {
        let real = open.remove(&(tenant, identity.clone())).unwrap_or_default();
        holds(row == real, || format!("{identity} of {tenant}: counted {row:?}, really {real:?}"))?;
    }
    holds(open.is_empty(), || "what an identity has open is not counted".into())?;
    let counted = state.shared::<ShardUsageRow>()?.pop().map(|(_, row)| row.usage).unwrap_or_default();
    holds(counted == in_all, || format!("in all: counted {counted:?}, really {in_all:?}"))
}
