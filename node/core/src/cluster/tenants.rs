//! Tenants: admitted by an operator on what their root key signed, with a home shard, a set of shards and the CAs that
//! they begin with; suspended, resumed, ended.
//!
//!     CreateTenant ──▶ active ◀──SuspendTenant, ResumeTenant──▶ suspended
//!                        └──────────EndTenant──▶ ended ◀──────────┘
//!
//! A suspension takes nothing away but the right to ask. It is lifted by whoever decided it, or by a security officer: so
//! a platform operator cannot undo an officer's. An end is final: ids and names are never given again (N106), data stays
//! as it was promised. Each change counts the standing's version up and is carried to the tenant's shards, whose audit
//! log gets it with operator and reason (`shard/tenants.rs`). So it is with what a tenant may have. Not here: their people (`shard/identities.rs`), their CAs
//! (`cluster/issuers.rs`).

use std::collections::BTreeSet;

use strongroom_format::codec::Format;
use strongroom_format::id::{GroupId, IdentityId, SetVersion, TenantId, TenantName};
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::quota::TenantLimits;
use strongroom_format::role::OperatorRole;
use strongroom_format::sign::SignedError;
use strongroom_format::statement::FoundingRecord;

use crate::cluster::issuers;
use crate::cluster::rows::{ShardRow, TenantNameRow, TenantRow};
use crate::entry::{Limited, Standing, TenantFacts, TenantState};
use crate::row::Space;
use crate::stop::{Ruled, Stop, format_refusal, impossible, invalid, limit};
use crate::tables::{Reads, Tables};
use crate::text;

/// What an operator asks for a tenant.
pub(crate) struct Wish<'a> {
    pub(crate) name: &'a TenantName,
    pub(crate) founding: &'a [u8],
    pub(crate) issuers: &'a [Vec<u8>],
    pub(crate) home: Option<GroupId>,
    pub(crate) width: u16,
}

/// Admits a tenant.
pub(crate) fn create(tables: &mut dyn Tables, operator: &IdentityId, wish: &Wish<'_>) -> Ruled<Done> {
    let founding = open_founding(wish)?;
    let space = Space::whole();
    let taken = space.has::<TenantRow>(&*tables, &(founding.tenant,))?
        || space.has::<TenantNameRow>(&*tables, &(wish.name.clone(),))?;
    if taken {
        return Err(Refusal::NameRetired.into());
    }
    let (home, groups) = choose_shards(&*tables, wish)?;
    let issuers = issuers::of_new_tenant(tables, founding.tenant, wish.issuers)?;
    let set_version = SetVersion(1);
    let facts = TenantFacts {
        tenant: founding.tenant,
        name: founding.name,
        tag: founding.tag,
        home,
        set_version,
        groups: groups.clone(),
        founding: wish.founding.to_vec(),
        standing: Standing::admitted(operator.clone()),
        limited: Limited::admitted(operator.clone()),
    };
    for group in groups.iter().copied().chain([home]).collect::<BTreeSet<_>>() {
        let row: Option<ShardRow> = space.get(&*tables, &(group,))?;
        let mut row = row.ok_or_else(|| impossible("a chosen shard is not there"))?;
        row.homes += u64::from(group == home);
        row.tenants += u64::from(groups.contains(&group));
        space.put(tables, &(group,), &row)?;
    }
    let row = TenantRow { facts, issuers, admitted_by: operator.clone() };
    space.put(tables, &(founding.tenant,), &row)?;
    space.put(tables, &(wish.name.clone(),), &TenantNameRow { tenant: founding.tenant })?;
    Ok(Done::TenantCreated { tenant: founding.tenant, home, groups, set_version })
}

fn open_founding(wish: &Wish<'_>) -> Ruled<FoundingRecord> {
    let founding = FoundingRecord::open(wish.founding).map_err(|fault| match fault {
        SignedError::Format(fault) => Stop::Refused(format_refusal(&fault)),
        SignedError::Signature(fault) => {
            Stop::Refused(Refusal::ProvenanceInvalid { why: format!("{}: {fault}", FoundingRecord::NAME) })
        }
    })?;
    if founding.name != *wish.name {
        return Err(invalid("the founding record has another name"));
    }
    crate::founding::check(&founding)?;
    Ok(founding)
}

/// The home shard that was asked for, or the one with the fewest homes; and for the set it and those with the fewest
/// tenants.
fn choose_shards(reads: &dyn Reads, wish: &Wish<'_>) -> Ruled<(GroupId, Vec<GroupId>)> {
    let mut shards: Vec<ShardRow> = Space::whole()
        .range::<ShardRow>(reads, &(), crate::genesis::Genesis::SHARDS_MAX)?
        .into_iter()
        .map(|(_, row)| row)
        .collect();
    let width = usize::from(wish.width);
    if width == 0 || shards.len() < width {
        return Err(invalid("the width is not between 1 and the number of shards"));
    }
    shards.sort_by_key(|shard| (shard.homes, shard.group));
    let home = match wish.home {
        Some(home) if shards.iter().any(|shard| shard.group == home) => home,
        Some(_) => return Err(Refusal::NotFound.into()),
        None => shards[0].group,
    };
    shards.sort_by_key(|shard| (shard.group != home, shard.tenants, shard.group));
    let mut groups: Vec<GroupId> = shards.iter().take(width).map(|shard| shard.group).collect();
    groups.sort_unstable();
    Ok((home, groups))
}

/// What becomes of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its people may not go on.
    Suspend,
    /// They may again.
    Resume,
    /// Never again.
    End,
}

/// Changes a tenant's standing.
pub(crate) fn change(
    tables: &mut dyn Tables,
    operator: &IdentityId,
    roles: &[OperatorRole],
    step: Step,
    tenant: TenantId,
    reason: &str,
) -> Ruled<Done> {
    text::check(reason)?;
    let space = Space::whole();
    let row: Option<TenantRow> = space.get(&*tables, &(tenant,))?;
    let mut row = row.ok_or(Refusal::NotFound)?;
    let before = &row.facts.standing;
    let is_officer = roles.contains(&OperatorRole::SecurityOfficer);
    let state = match (step, before.state) {
        // Final, and no second end either.
        (_, TenantState::Ended) => return Err(Refusal::TenantSuspended.into()),
        (Step::End, TenantState::Active | TenantState::Suspended) => TenantState::Ended,
        (Step::Suspend, TenantState::Active) => TenantState::Suspended,
        // An officer's word takes the place of an operator's: from now on an officer lifts it.
        (Step::Suspend, TenantState::Suspended) if is_officer && before.by != *operator => TenantState::Suspended,
        (Step::Resume, TenantState::Suspended) if is_officer || before.by == *operator => TenantState::Active,
        (Step::Resume, TenantState::Suspended) => return Err(Refusal::Role.into()),
        (Step::Suspend, TenantState::Suspended) | (Step::Resume, TenantState::Active) => {
            return Err(Refusal::VersionConflict.into());
        }
    };
    let version = before.version.checked_add(1).ok_or_else(|| limit("changes of a tenant's standing"))?;
    row.facts.standing = Standing { version, state, by: operator.clone(), reason: reason.to_owned() };
    space.put(tables, &(tenant,), &row)?;
    Ok(Done::Done)
}

/// Says how much a tenant may have.
pub(crate) fn set_limits(
    tables: &mut dyn Tables,
    operator: &IdentityId,
    tenant: TenantId,
    limits: TenantLimits,
    reason: &str,
) -> Ruled<Done> {
    text::check(reason)?;
    limits.check().map_err(invalid)?;
    let space = Space::whole();
    let row: Option<TenantRow> = space.get(&*tables, &(tenant,))?;
    let mut row = row.ok_or(Refusal::NotFound)?;
    if row.facts.standing.state == TenantState::Ended {
        return Err(Refusal::TenantSuspended.into());
    }
    let version = row.facts.limited.version.checked_add(1);
    let version = version.ok_or_else(|| limit("changes of what a tenant may have"))?;
    row.facts.limited = Limited { version, limits, by: operator.clone(), reason: reason.to_owned() };
    space.put(tables, &(tenant,), &row)?;
    Ok(Done::Done)
}
