//! What is counted as used, open, undecided and reserved is what a recount of rows gives: per vault, per writer, per tenant,
//! per identity and in all; and every domain has one owner, so that what lies in it counts for one.

use std::collections::BTreeMap;

use strongroom_format::codec;
use strongroom_format::envelope::Envelope;
use strongroom_format::id::{SnapshotId, TenantId};
use strongroom_format::sign::Signed;

use crate::laws::state::{State, holds};
use crate::shard::rows::{
    ChunkRow, DomainRow, EnvelopeRow, IssuedRow, LeasePurpose, LeaseRow, NodeBytesRow, OpenRow, RestoreRow, SessionRow,
    ShardUsageRow, SnapshotRow, SnapshotState, TenantOpenRow, TenantUsageRow, TicketRow, TicketState, TokenRow, Usage,
    VaultOpenRow, VaultUsageRow, WriterUsageRow,
};

pub(crate) fn check(state: &State) -> Result<(), String> {
    let mut owners = BTreeMap::new();
    for (tenant, (vault, domain, owner), _) in state.each::<DomainRow>()? {
        let other = owners.insert((tenant, vault, domain), owner);
        holds(other.is_none(), || format!("domain {domain} has two owners"))?;
    }
    let (mut by_vault, mut by_writer) = (BTreeMap::<_, Usage>::new(), BTreeMap::<_, Usage>::new());
    let mut add = |tenant, vault, domain, usage: Usage| {
        let owner = owners.get(&(tenant, vault, domain)).ok_or_else(|| format!("domain {domain} is nobody's"))?;
        for sum in [by_vault.entry((tenant, vault)).or_default(), by_writer.entry((tenant, owner.clone())).or_default()]
        {
            *sum = sum.plus(&usage).ok_or("usage overflows")?;
        }
        Ok::<_, String>(())
    };
    for (tenant, (vault, domain, ..), row) in state.each::<ChunkRow>()? {
        add(tenant, vault, domain, Usage::of_blob(&row))?;
    }
    for (tenant, (vault, domain, _), row) in state.each::<NodeBytesRow>()? {
        add(tenant, vault, domain, Usage::of_node(row.bytes.len()))?;
    }
    let mut open: BTreeMap<_, OpenRow> = BTreeMap::new();
    let (mut of_tenants, mut of_vaults) = (BTreeMap::<_, TenantOpenRow>::new(), BTreeMap::<_, VaultOpenRow>::new());
    let logical: BTreeMap<_, u64> = logical_bytes(state)?;
    for (tenant, (snapshot,), row) in state.each::<SnapshotRow>()? {
        let opened = row.opened;
        match row.state {
            SnapshotState::Open | SnapshotState::Ready(_) => {
                open.entry((tenant, opened.writer)).or_default().undecided += 1;
                of_tenants.entry(tenant).or_default().undecided += 1;
                of_vaults.entry((tenant, opened.vault)).or_default().undecided += 1;
            }
            SnapshotState::Committed(committed) => {
                let real = logical.get(&(tenant, snapshot)).copied();
                holds(real == Some(committed.logical_bytes), || format!("{snapshot} has {real:?} logical bytes"))?;
                add(tenant, opened.vault, opened.domain, Usage::of_snapshot(committed.logical_bytes))?;
            }
            SnapshotState::Aborted | SnapshotState::Ended { .. } => {}
        }
    }
    for (tenant, _, row) in state.each::<SessionRow>()?.into_iter().filter(|(.., row)| row.open) {
        open.entry((tenant, row.identity)).or_default().sessions += 1;
        of_tenants.entry(tenant).or_default().sessions += 1;
    }
    for (tenant, _, row) in state.each::<LeaseRow>()? {
        let left_bytes = row.left_bytes();
        open.entry((tenant, row.identity)).or_default().reserved_bytes += left_bytes;
        of_tenants.entry(tenant).or_default().reserved_bytes += left_bytes;
        if let LeasePurpose::Part { vault, .. } = row.purpose {
            of_vaults.entry((tenant, vault)).or_default().reserved_bytes += left_bytes;
        }
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
    for (tenant, (writer,), row) in state.each::<WriterUsageRow>()? {
        let real = by_writer.remove(&(tenant, writer.clone())).unwrap_or_default();
        holds(row.usage == real, || format!("{writer} of {tenant}: counted {:?}, really {real:?}", row.usage))?;
    }
    holds(by_writer.is_empty(), || "a writer's usage is not counted".into())?;
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
    for (tenant, (), row) in state.each::<TenantOpenRow>()? {
        let real = of_tenants.remove(&tenant).unwrap_or_default();
        holds(row == real, || format!("{tenant}: counted {row:?}, really {real:?}"))?;
    }
    holds(of_tenants.is_empty(), || "what a tenant has open is not counted".into())?;
    for (tenant, (vault,), row) in state.each::<VaultOpenRow>()? {
        let real = of_vaults.remove(&(tenant, vault)).unwrap_or_default();
        holds(row == real, || format!("vault {vault}: counted {row:?}, really {real:?}"))?;
    }
    holds(of_vaults.values().all(|row| *row == VaultOpenRow::default()), || {
        "what is open for a vault is not counted".into()
    })?;
    let counted = state.shared::<ShardUsageRow>()?.pop().map(|(_, row)| row.usage).unwrap_or_default();
    holds(counted == in_all, || format!("in all: counted {counted:?}, really {in_all:?}"))
}

/// What the envelopes say.
fn logical_bytes(state: &State) -> Result<BTreeMap<(TenantId, SnapshotId), u64>, String> {
    let of = |(tenant, (snapshot,), row): (TenantId, (SnapshotId,), EnvelopeRow)| {
        let signed: Signed<Envelope> = codec::decode(&row.envelope).map_err(|fault| fault.to_string())?;
        let envelope = signed.unverified().map_err(|fault| fault.to_string())?;
        let parts: u64 = envelope.parts.iter().map(|part| part.stored_bytes).sum();
        Ok(((tenant, snapshot), parts + envelope.manifest.stored_bytes))
    };
    state.each::<EnvelopeRow>()?.into_iter().map(of).collect()
}
