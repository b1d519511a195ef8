//! Quotas: how much a tenant, a vault and a writer may have, decided where something would be added to it.
//!
//!     charged = what is there + what is under way          charged + asked <= hard, or refused
//!
//! | measure | is there | is under way | decided |
//! |---|---|---|---|
//! | logical bytes | below committed snapshots | | at the commit, at home |
//! | snapshots | committed | undecided | at the opening, at home |
//! | sessions | open | | at the opening, at home |
//! | stored bytes | blobs and tree nodes that have a row | what open leases may still write | at a lease's opening and topping up, in each shard |
//!
//! Stored bytes lie in several shards. Each has an equal share of a quota and decides by its own rows: so the whole is kept
//! without one shard's word about another, and nothing that a shard learns late can exceed it. A hard quota refuses; it
//! takes nothing away from what is there, also where it was set lower. A soft one is only shown.
//!
//! Laws: `laws/usage_adds_up.rs` recounts both columns; `laws/quotas_are_kept.rs`: nothing is added beyond a hard quota. Not
//! here: counting (`usage.rs`), how fast somebody may send (`node/service`).

use std::collections::{BTreeMap, BTreeSet};

use strongroom_format::id::{GroupId, IdentityId, VaultId, VaultName};
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::quota::{Measure, QuotaOwner, QuotaSubject, Quotas, StoredShares};
use strongroom_format::role::Role;

use crate::entry::TenantFacts;
use crate::query::{Charge, Charges};
use crate::shard::at::{At, Caller};
use crate::shard::rows::{
    IdentityRow, OpenRow, TenantOpenRow, TenantUsageRow, Usage, VaultOpenRow, VaultQuotasRow, VaultRow, VaultUsageRow,
    WriterQuotasRow, WriterUsageRow,
};
use crate::shard::scope::TenantScope;
use crate::stop::{Ruled, Stop, invalid};
use crate::tables::{Halt, Reads, Tables};

/// At most so many vaults and writers are looked at at once.
const LISTED_MAX: usize = 1024;

/// Says how much a vault or a writer may have.
pub(crate) fn set(
    at: &At<'_>,
    caller: &Caller,
    tables: &mut dyn Tables,
    of: &QuotaSubject,
    quotas: &Quotas,
) -> Ruled<Done> {
    caller.require(&[Role::Admin])?;
    caller.row()?;
    quotas.check().map_err(invalid)?;
    let (scope, set) = (&caller.scope, at.place.number());
    match of {
        QuotaSubject::Vault(vault) => {
            if !scope.has::<VaultRow>(&*tables, &(*vault,))? {
                return Err(Refusal::NotFound.into());
            }
            if quotas.sessions != Default::default() {
                return Err(invalid("a vault has no sessions"));
            }
            scope.put(tables, &(*vault,), &VaultQuotasRow { set, quotas: *quotas })?;
        }
        QuotaSubject::Writer(writer) => {
            let row: Option<IdentityRow> = scope.get(&*tables, &(writer.clone(),))?;
            if row.is_none() {
                return Err(Refusal::NotFound.into());
            }
            scope.put(tables, &(writer.clone(),), &WriterQuotasRow { set, quotas: *quotas })?;
        }
    }
    Ok(Done::Done)
}

/// Who is charged, each with what it has here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Charged {
    of: QuotaOwner,
    quotas: Quotas,
    usage: Usage,
    sessions: u64,
    undecided: u64,
    reserved_bytes: u64,
}

impl Charged {
    fn of(self, measure: Measure) -> u64 {
        match measure {
            Measure::LogicalBytes => self.usage.logical_bytes,
            Measure::StoredBytes => self.usage.charged_bytes().saturating_add(self.reserved_bytes),
            Measure::Snapshots => self.usage.snapshots.saturating_add(self.undecided),
            Measure::Sessions => self.sessions,
        }
    }
}

/// In whose name something is added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose<'a> {
    /// The tenant.
    pub(crate) facts: &'a TenantFacts,
    /// Into which vault; `None`: into none.
    pub(crate) vault: Option<VaultId>,
    /// By whom.
    pub(crate) writer: &'a IdentityId,
}

impl Whose<'_> {
    /// The three that are charged, with their quotas as they are known at home.
    fn charged(&self, scope: &TenantScope, reads: &dyn Reads) -> Result<Vec<Charged>, Halt> {
        let mut charged = vec![of_tenant(scope, reads, self.facts)?];
        if let Some(vault) = self.vault {
            charged.push(of_one_vault(scope, reads, vault)?);
        }
        charged.push(of_one_writer(scope, reads, self.writer)?);
        Ok(charged)
    }

    /// Refuses, at home, what goes beyond a quota of this measure. Not for stored bytes: [`Whose::grant`].
    fn require(&self, scope: &TenantScope, reads: &dyn Reads, measure: Measure, asked: u64) -> Ruled<()> {
        for charged in self.charged(scope, reads)? {
            let Some(hard) = charged.quotas.of(measure).hard else { continue };
            let there = charged.of(measure);
            if there.checked_add(asked).is_none_or(|sum| hard < sum) {
                return Err(refused(charged.of, measure, hard, there, asked));
            }
        }
        Ok(())
    }

    /// Refuses a session beyond a quota.
    pub(crate) fn require_session(&self, scope: &TenantScope, reads: &dyn Reads) -> Ruled<()> {
        self.require(scope, reads, Measure::Sessions, 1)
    }

    /// Refuses the opening of a snapshot beyond a quota, or of one whose commit could not be done in any case.
    pub(crate) fn require_snapshot(&self, scope: &TenantScope, reads: &dyn Reads) -> Ruled<()> {
        self.require(scope, reads, Measure::Snapshots, 1)?;
        self.require(scope, reads, Measure::LogicalBytes, 1)
    }

    /// Refuses the commit of a snapshot with so many logical bytes beyond a quota.
    pub(crate) fn require_logical(&self, scope: &TenantScope, reads: &dyn Reads, bytes: u64) -> Ruled<()> {
        self.require(scope, reads, Measure::LogicalBytes, bytes)
    }

    /// What the quotas leave here of the stored bytes that are asked for. Elsewhere than at home, what vault and writer
    /// may have is what home said (`shares`). Refused if nothing is left.
    pub(crate) fn grant(
        &self,
        at: &At<'_>,
        scope: &TenantScope,
        reads: &dyn Reads,
        shares: &StoredShares,
        asked: u64,
    ) -> Ruled<u64> {
        let is_home = self.facts.home == at.group();
        let mut granted = asked;
        for charged in self.charged(scope, reads)? {
            let known_here = share(charged.quotas.stored_bytes.hard, self.facts, at.group());
            let hard = match charged.of {
                QuotaOwner::Tenant => known_here,
                QuotaOwner::Vault if is_home => known_here,
                QuotaOwner::Writer if is_home => known_here,
                QuotaOwner::Vault => shares.vault_bytes,
                QuotaOwner::Writer => shares.writer_bytes,
            };
            let Some(hard) = hard else { continue };
            let there = charged.of(Measure::StoredBytes);
            let left = hard.saturating_sub(there);
            if left == 0 && 0 < asked {
                return Err(refused(charged.of, Measure::StoredBytes, hard, there, asked));
            }
            granted = granted.min(left);
        }
        Ok(granted)
    }

    /// Refuses, at home, stored bytes that a vault's quota leaves no room for: where nothing was reserved for the vault.
    pub(crate) fn require_stored_in_vault(
        &self,
        at: &At<'_>,
        scope: &TenantScope,
        reads: &dyn Reads,
        asked: u64,
    ) -> Ruled<()> {
        for charged in self.charged(scope, reads)?.into_iter().filter(|charged| charged.of == QuotaOwner::Vault) {
            let Some(hard) = share(charged.quotas.stored_bytes.hard, self.facts, at.group()) else { continue };
            let there = charged.of(Measure::StoredBytes);
            if there.checked_add(asked).is_none_or(|sum| hard < sum) {
                return Err(refused(charged.of, Measure::StoredBytes, hard, there, asked));
            }
        }
        Ok(())
    }

    /// What the other shards are told about the quotas of vault and writer.
    pub(crate) fn shares(&self, scope: &TenantScope, reads: &dyn Reads) -> Result<StoredShares, Halt> {
        let elsewhere = |quotas: Quotas| quotas.stored_bytes.hard.map(|hard| hard / shards_of(self.facts));
        let vault_bytes = match self.vault {
            Some(vault) => elsewhere(of_vault(scope, reads, vault)?),
            None => None,
        };
        Ok(StoredShares { vault_bytes, writer_bytes: elsewhere(of_writer(scope, reads, self.writer)?) })
    }
}

fn of_tenant(scope: &TenantScope, reads: &dyn Reads, facts: &TenantFacts) -> Result<Charged, Halt> {
    let open = scope.get::<TenantOpenRow>(reads, &())?.unwrap_or_default();
    Ok(Charged {
        of: QuotaOwner::Tenant,
        quotas: facts.limited.limits.quotas,
        usage: scope.get::<TenantUsageRow>(reads, &())?.unwrap_or_default().usage,
        sessions: open.sessions,
        undecided: open.undecided,
        reserved_bytes: open.reserved_bytes,
    })
}

fn of_one_vault(scope: &TenantScope, reads: &dyn Reads, vault: VaultId) -> Result<Charged, Halt> {
    let open = scope.get::<VaultOpenRow>(reads, &(vault,))?.unwrap_or_default();
    Ok(Charged {
        of: QuotaOwner::Vault,
        quotas: of_vault(scope, reads, vault)?,
        usage: scope.get::<VaultUsageRow>(reads, &(vault,))?.unwrap_or_default().usage,
        sessions: 0,
        undecided: open.undecided,
        reserved_bytes: open.reserved_bytes,
    })
}

fn of_one_writer(scope: &TenantScope, reads: &dyn Reads, writer: &IdentityId) -> Result<Charged, Halt> {
    let open = scope.get::<OpenRow>(reads, &(writer.clone(),))?.unwrap_or_default();
    Ok(Charged {
        of: QuotaOwner::Writer,
        quotas: of_writer(scope, reads, writer)?,
        usage: scope.get::<WriterUsageRow>(reads, &(writer.clone(),))?.unwrap_or_default().usage,
        sessions: open.sessions,
        undecided: open.undecided,
        reserved_bytes: open.reserved_bytes,
    })
}

/// The quotas of a vault.
fn of_vault(scope: &TenantScope, reads: &dyn Reads, vault: VaultId) -> Result<Quotas, Halt> {
    Ok(scope.get::<VaultQuotasRow>(reads, &(vault,))?.unwrap_or_default().quotas)
}

/// The quotas of a writer.
fn of_writer(scope: &TenantScope, reads: &dyn Reads, writer: &IdentityId) -> Result<Quotas, Halt> {
    Ok(scope.get::<WriterQuotasRow>(reads, &(writer.clone(),))?.unwrap_or_default().quotas)
}

/// What is counted here, for whoever looks.
pub(crate) fn charges(
    scope: &TenantScope,
    reads: &dyn Reads,
    facts: &TenantFacts,
    is_home: bool,
    by: Option<&IdentityId>,
) -> Result<Charges, Halt> {
    let view = |charged: &Charged| Charge {
        quotas: charged.quotas,
        logical_bytes: charged.usage.logical_bytes,
        stored_bytes: charged.usage.charged_bytes(),
        reserved_bytes: charged.reserved_bytes,
        snapshots: charged.usage.snapshots,
        undecided: charged.undecided,
        // Elsewhere a session comes of a snapshot, and counts for nobody's quota.
        sessions: if is_home { charged.sessions } else { 0 },
    };
    let writers: BTreeSet<IdentityId> = match by {
        Some(writer) => [writer.clone()].into(),
        None => {
            let used = scope.range::<WriterUsageRow>(reads, &(), LISTED_MAX)?.into_iter().map(|((writer,), _)| writer);
            let given =
                scope.range::<WriterQuotasRow>(reads, &(), LISTED_MAX)?.into_iter().map(|((writer,), _)| writer);
            used.chain(given).collect()
        }
    };
    let mut charges =
        Charges { upload_bytes_per_second: facts.limited.limits.upload_bytes_per_second, ..Charges::default() };
    for writer in writers {
        charges.writers.push((writer.clone(), view(&of_one_writer(scope, reads, &writer)?)));
    }
    if by.is_some() {
        return Ok(charges);
    }
    charges.tenant = Some(view(&of_tenant(scope, reads, facts)?));
    let known = scope.range::<VaultRow>(reads, &(), LISTED_MAX)?;
    let names: BTreeMap<VaultId, VaultName> = known.into_iter().map(|((vault,), row)| (vault, row.name)).collect();
    let used = scope.range::<VaultUsageRow>(reads, &(), LISTED_MAX)?.into_iter().map(|((vault,), _)| vault);
    let vaults: BTreeSet<VaultId> = used.chain(names.keys().copied()).collect();
    for vault in vaults {
        let charge = view(&of_one_vault(scope, reads, vault)?);
        charges.vaults.push((vault, names.get(&vault).cloned(), charge));
    }
    Ok(charges)
}

/// What a shard may have of a quota: an equal share; home has the rest of the division too.
pub(crate) fn share(hard: Option<u64>, facts: &TenantFacts, group: GroupId) -> Option<u64> {
    let hard = hard?;
    let shards = shards_of(facts);
    let equal = hard / shards;
    Some(if group == facts.home { hard - equal * (shards - 1) } else { equal })
}

fn shards_of(facts: &TenantFacts) -> u64 {
    facts.groups.iter().chain([&facts.home]).collect::<BTreeSet<_>>().len() as u64
}

fn refused(of: QuotaOwner, measure: Measure, hard: u64, charged: u64, asked: u64) -> Stop {
    Refusal::Quota { of, measure, hard, charged, asked }.into()
}
