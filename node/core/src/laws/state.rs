//! A state as laws look at it: all rows, by table and key.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_format::codec;
use strongroom_format::id::{GroupId, ReplicaId, TenantId};

use crate::clock::ClockRow;
use crate::cluster;
use crate::key::{Key, KeyPart};
use crate::row::Row;
use crate::shard;
use crate::shard::rows::TenantsRow;
use crate::tables::{MemoryTables, Table};

/// Each tenant's rows of one table.
type ByTenant<R> = BTreeMap<TenantId, Vec<(<R as Row>::Key, R)>>;

/// All rows of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    group: GroupId,
    rows: BTreeMap<u8, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl State {
    /// From all rows, in any order.
    pub fn read<'a>(group: GroupId, rows: impl Iterator<Item = (Table, &'a [u8], &'a [u8])>) -> Self {
        let mut state = Self { group, rows: BTreeMap::new() };
        for (table, key, value) in rows {
            state.rows.entry(table.0).or_default().insert(key.to_vec(), value.to_vec());
        }
        state
    }

    /// From tables in memory.
    pub fn of(group: GroupId, tables: &MemoryTables) -> Self {
        Self::read(group, tables.rows())
    }

    /// Which group's.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// Every row.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Table, &[u8], &[u8])> {
        let of_table = |(table, rows): (&u8, _)| {
            let table = Table(*table);
            let rows: &BTreeMap<Vec<u8>, Vec<u8>> = rows;
            rows.iter().map(move |(key, value)| (table, key.as_slice(), value.as_slice()))
        };
        self.rows.iter().flat_map(of_table)
    }

    /// The rows of a table that belongs to no tenant.
    pub(crate) fn shared<R: Row>(&self) -> Result<Vec<(R::Key, R)>, String> {
        let rows = self.rows.get(&R::TABLE.0).into_iter().flatten();
        rows.map(|(key, value)| {
            let key = R::Key::read(key).ok_or_else(|| format!("a key of a {} does not read", R::NAME))?;
            Ok((key, decode(value)?))
        })
        .collect()
    }

    /// The compliance clock; one that stands at nothing where there is none yet.
    pub(crate) fn clock(&self) -> Result<ClockRow, String> {
        Ok(self.shared::<ClockRow>()?.pop().map_or_else(|| ClockRow::founded(0), |(_, row)| row))
    }

    /// Who votes in the group.
    pub(crate) fn voters(&self) -> Result<BTreeSet<ReplicaId>, String> {
        if self.group == GroupId::CLUSTER {
            let nodes = self.shared::<cluster::rows::NodeRow>()?.into_iter();
            return Ok(nodes.filter(|(_, node)| node.votes).map(|(_, node)| node.replica).collect());
        }
        let facts = self.shared::<shard::rows::FactsRow>()?;
        let of = |(_, row): &((), shard::rows::FactsRow)| shard::members::electorate(&row.facts);
        Ok(facts.iter().map(of).flat_map(|of| of.voters().to_vec()).map(|voter| voter.replica).collect())
    }

    /// The rows of a table of tenants.
    pub(crate) fn of_tenants<R: TenantsRow>(&self) -> Result<ByTenant<R>, String> {
        let mut by_tenant: ByTenant<R> = BTreeMap::new();
        for (key, value) in self.rows.get(&R::TABLE.0).into_iter().flatten() {
            let mut rest = key.as_slice();
            let tenant = TenantId::read(&mut rest).ok_or_else(|| format!("a {} of nobody", R::NAME))?;
            let key = R::Key::read(rest).ok_or_else(|| format!("a key of a {} does not read", R::NAME))?;
            by_tenant.entry(tenant).or_default().push((key, decode(value)?));
        }
        Ok(by_tenant)
    }

    /// One tenant's row at a key.
    pub(crate) fn one_of<R: TenantsRow>(&self, tenant: TenantId, key: &R::Key) -> Result<Option<R>, String> {
        let mut bytes = Vec::new();
        tenant.write(&mut bytes);
        key.write(&mut bytes);
        self.rows.get(&R::TABLE.0).and_then(|rows| rows.get(&bytes)).map(|value| decode(value)).transpose()
    }

    /// The same, with the tenant in front of each row.
    pub(crate) fn each<R: TenantsRow>(&self) -> Result<Vec<(TenantId, R::Key, R)>, String> {
        let flat = |(tenant, rows): (TenantId, Vec<(R::Key, R)>)| {
            rows.into_iter().map(move |(key, row)| (tenant, key, row)).collect::<Vec<_>>()
        };
        Ok(self.of_tenants::<R>()?.into_iter().flat_map(flat).collect())
    }
}

fn decode<R: Row>(value: &[u8]) -> Result<R, String> {
    codec::decode(value).map_err(|fault| fault.to_string())
}

/// A sentence if it does not hold.
pub(crate) fn holds(is_so: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(what()) }
}
