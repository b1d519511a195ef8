//! The scope of a tenant: the only way to its rows, and to nobody else's.
//!
//! Every key of a tenant's row begins with the tenant's id, and only a scope puts it there. A scope is made in two
//! places: here, of a tenant that lives in this shard and in whose name a command or query was authenticated, and in
//! laws. So a key outside of the caller's tenant cannot be written down, and a range cannot leave it (N20, N21, N24).

use strongroom_format::id::TenantId;

use crate::key::Key;
use crate::row::Space;
use crate::shard::rows::{TenantRow, TenantsRow};
use crate::tables::{Halt, Reads, Tables};

/// One tenant's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TenantScope {
    tenant: TenantId,
    space: Space,
}

impl TenantScope {
    /// The scope of a tenant that lives here, and its row; `None`: no such tenant, whatever else is.
    pub(crate) fn of(reads: &dyn Reads, tenant: TenantId) -> Result<Option<(Self, TenantRow)>, Halt> {
        let row = Space::whole().get::<TenantRow>(reads, &(tenant,))?;
        Ok(row.map(|row| (Self::under(tenant), row)))
    }

    fn under(tenant: TenantId) -> Self {
        Self { tenant, space: Space::under(tenant.as_bytes()) }
    }

    /// Whose.
    pub(crate) fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The row at a key.
    pub(crate) fn get<R: TenantsRow>(&self, reads: &dyn Reads, key: &R::Key) -> Result<Option<R>, Halt> {
        self.space.get(reads, key)
    }

    /// Whether there is a row at a key.
    pub(crate) fn has<R: TenantsRow>(&self, reads: &dyn Reads, key: &R::Key) -> Result<bool, Halt> {
        self.space.has::<R>(reads, key)
    }

    /// Writes a row.
    pub(crate) fn put<R: TenantsRow>(&self, tables: &mut dyn Tables, key: &R::Key, row: &R) -> Result<(), Halt> {
        self.space.put(tables, key, row)
    }

    /// Removes a row.
    pub(crate) fn delete<R: TenantsRow>(&self, tables: &mut dyn Tables, key: &R::Key) -> Result<(), Halt> {
        self.space.delete::<R>(tables, key)
    }

    /// The first `limit` rows whose keys begin with `first`.
    pub(crate) fn range<R: TenantsRow>(
        &self,
        reads: &dyn Reads,
        first: &impl Key,
        limit: usize,
    ) -> Result<Vec<(R::Key, R)>, Halt> {
        self.space.range(reads, first, limit)
    }

    /// The first `limit` rows whose keys begin with `first` and lie at `from` or behind.
    pub(crate) fn range_from<R: TenantsRow>(
        &self,
        reads: &dyn Reads,
        first: &impl Key,
        from: &impl Key,
        limit: usize,
    ) -> Result<Vec<(R::Key, R)>, Halt> {
        self.space.range_from(reads, first, from, limit)
    }
}

#[cfg(test)]
impl TenantScope {
    /// Tables of a shard that knows one tenant.
    pub(crate) fn alone(tenant: TenantId) -> (crate::tables::MemoryTables, Self) {
        use strongroom_format::id::{GroupId, PublicKey, SetVersion, TenantTag};

        use crate::entry::{Limited, Standing, TenantFacts};

        let mut tables = crate::tables::MemoryTables::default();
        let facts = TenantFacts {
            tenant,
            name: "acme".parse().unwrap(),
            tag: TenantTag::from_bytes([1; TenantTag::BYTES]),
            home: GroupId(1),
            set_version: SetVersion(1),
            groups: vec![GroupId(1)],
            founding: Vec::new(),
            standing: Standing::admitted("olga".parse().unwrap()),
            limited: Limited::admitted("olga".parse().unwrap()),
        };
        let row = TenantRow { facts, root: PublicKey::from_bytes([0; 32]) };
        Space::whole().put(&mut tables, &(tenant,), &row).unwrap();
        (tables, Self::under(tenant))
    }
}
