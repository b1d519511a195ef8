//! Every row is in a table that a shard has, and a tenant's row lies under a tenant that lives in the shard.

use std::collections::BTreeSet;

use strongroom_format::id::TenantId;

use crate::key::KeyPart;
use crate::laws::state::{State, holds};
use crate::shard::rows::{ChunkRow, FIRST_TABLE_OF_TENANTS, NodeRow, TenantRow, VaultRow};

/// The tables of every group and of the shard itself.
const SHARED: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15, 16, 17, 18];
/// The tables of tenants.
const OF_TENANTS: [u8; 46] = [
    20, 21, 22, 23, 24, 25, 26, 30, 31, 32, 33, 34, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56,
    57, 60, 61, 62, 63, 64, 65, 70, 71, 80, 81, 82, 90, 91, 92, 93, 94,
];

pub(crate) fn check(state: &State) -> Result<(), String> {
    let tenants: BTreeSet<TenantId> = state.shared::<TenantRow>()?.into_iter().map(|((tenant,), _)| tenant).collect();
    for (table, key, _) in state.rows() {
        if table.0 < FIRST_TABLE_OF_TENANTS {
            holds(SHARED.contains(&table.0), || format!("a row in table {}", table.0))?;
            continue;
        }
        holds(OF_TENANTS.contains(&table.0), || format!("a row in table {}", table.0))?;
        let mut rest = key;
        let tenant = TenantId::read(&mut rest);
        holds(tenant.is_some_and(|tenant| tenants.contains(&tenant)), || {
            format!("a row in table {} under {tenant:?}, who does not live here", table.0)
        })?;
    }
    vaults_of_data_are_the_tenants_own(state)
}

/// At home every chunk and node lies in a vault of its own tenant.
fn vaults_of_data_are_the_tenants_own(state: &State) -> Result<(), String> {
    let vaults = state.of_tenants::<VaultRow>()?;
    let homes: BTreeSet<TenantId> = state
        .shared::<TenantRow>()?
        .into_iter()
        .filter(|(_, row)| row.facts.home == state.group())
        .map(|((tenant,), _)| tenant)
        .collect();
    let has = |tenant, vault| vaults.get(&tenant).is_some_and(|rows| rows.iter().any(|((of,), _)| *of == vault));
    for (tenant, (vault, ..), _) in state.each::<ChunkRow>()? {
        holds(!homes.contains(&tenant) || has(tenant, vault), || format!("a chunk in no vault of {tenant}"))?;
    }
    for (tenant, (vault, ..), _) in state.each::<NodeRow>()? {
        holds(!homes.contains(&tenant) || has(tenant, vault), || format!("a node in no vault of {tenant}"))?;
    }
    Ok(())
}
