//! Nothing is added beyond a hard quota: what is charged to a tenant, a vault or a writer grows up to it and no further,
//! unless the quota itself was set in the same step. And a quota that was set stays set.

use std::collections::BTreeMap;

use strongroom_format::id::{IdentityId, TenantId, VaultId};
use strongroom_format::quota::Quotas;

use crate::laws::state::{State, holds};
use crate::shard::quotas::share;
use crate::shard::rows::{
    OpenRow, TenantOpenRow, TenantRow, TenantUsageRow, Usage, VaultOpenRow, VaultQuotasRow, VaultUsageRow,
    WriterQuotasRow, WriterUsageRow,
};

/// Who is charged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Tenant,
    Vault(VaultId),
    Writer(IdentityId),
}

/// What somebody has and may have here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Account {
    /// Changes with every setting, also of the same.
    set: (u64, usize),
    /// Logical bytes, stored bytes, snapshots, sessions.
    hard: [Option<u64>; 4],
    charged: [u64; 4],
}

pub(crate) fn check(before: &State, after: &State) -> Result<(), String> {
    let (was, is) = (accounts(before)?, accounts(after)?);
    for (key, account) in &is {
        let Some(earlier) = was.get(key).filter(|earlier| earlier.set == account.set) else { continue };
        for measure in 0..4 {
            let (from, to) = (earlier.charged[measure], account.charged[measure]);
            let kept = account.hard[measure].is_none_or(|hard| to <= from || to <= hard);
            holds(kept, || format!("{key:?}: {from} became {to} of measure {measure}: {account:?}"))?;
        }
    }
    let set = |accounts: &BTreeMap<_, Account>, key| accounts.get(key).map_or((0, 0), |account: &Account| account.set);
    was.keys().try_for_each(|key| {
        holds(set(&was, key).0 <= set(&is, key).0, || format!("what {key:?} may have was forgotten"))
    })
}

/// The tenants' in every shard, those of vaults and writers at home: elsewhere nobody knows their quotas.
fn accounts(state: &State) -> Result<BTreeMap<(TenantId, Who), Account>, String> {
    let mut accounts: BTreeMap<(TenantId, Who), Account> = BTreeMap::new();
    for ((tenant,), row) in state.shared::<TenantRow>()? {
        let (facts, is_home) = (&row.facts, row.facts.home == state.group());
        let hard = |quotas: &Quotas| {
            let at_home = |hard: Option<u64>| hard.filter(|_| is_home);
            [
                at_home(quotas.logical_bytes.hard),
                share(quotas.stored_bytes.hard, facts, state.group()),
                at_home(quotas.snapshots.hard),
                at_home(quotas.sessions.hard),
            ]
        };
        let limited = &facts.limited;
        let account = accounts.entry((tenant, Who::Tenant)).or_default();
        account.set = (limited.version.into(), facts.groups.len());
        account.hard = hard(&limited.limits.quotas);
        if !is_home {
            continue;
        }
        for (of, (vault,), row) in state.each::<VaultQuotasRow>()? {
            if of == tenant {
                let account = accounts.entry((tenant, Who::Vault(vault))).or_default();
                (account.set, account.hard) = ((row.set, facts.groups.len()), hard(&row.quotas));
            }
        }
        for (of, (writer,), row) in state.each::<WriterQuotasRow>()? {
            if of == tenant {
                let account = accounts.entry((tenant, Who::Writer(writer))).or_default();
                (account.set, account.hard) = ((row.set, facts.groups.len()), hard(&row.quotas));
            }
        }
    }
    let mut add = |tenant, who, more: [u64; 4]| {
        let account = accounts.entry((tenant, who)).or_default();
        account.charged.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.saturating_add(more));
    };
    let used = |usage: &Usage| [usage.logical_bytes, usage.charged_bytes(), usage.snapshots, 0];
    for (tenant, (), row) in state.each::<TenantUsageRow>()? {
        add(tenant, Who::Tenant, used(&row.usage));
    }
    for (tenant, (), row) in state.each::<TenantOpenRow>()? {
        add(tenant, Who::Tenant, [0, row.reserved_bytes, row.undecided, row.sessions]);
    }
    for (tenant, (vault,), row) in state.each::<VaultUsageRow>()? {
        add(tenant, Who::Vault(vault), used(&row.usage));
    }
    for (tenant, (vault,), row) in state.each::<VaultOpenRow>()? {
        add(tenant, Who::Vault(vault), [0, row.reserved_bytes, row.undecided, 0]);
    }
    for (tenant, (writer,), row) in state.each::<WriterUsageRow>()? {
        add(tenant, Who::Writer(writer), used(&row.usage));
    }
    for (tenant, (writer,), row) in state.each::<OpenRow>()? {
        add(tenant, Who::Writer(writer), [0, row.reserved_bytes, row.undecided, row.sessions]);
    }
    Ok(accounts)
}
