//! Tenants of a shard: admitted on the cluster group's word, with what their root key signed.
//!
//! The home shard gets the founding record's identities as rows; other shards get the tenant alone. A later version of
//! its shard set, of its standing, or of what it may have is taken over; an older one never, whenever it comes. That it was
//! suspended, resumed, ended or limited is a leaf of its own log, with operator and reason, and from then on `admission.rs` lets nobody through who
//! may not go on (N31). What runs by itself goes on: ends, words of other shards. Law: `laws/ends_are_final.rs`. Not here:
//! how a tenant comes to be and who decides its standing (`cluster/tenants.rs`).

use strongroom_format::codec::Format;
use strongroom_format::id::TenantId;
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::statement::FoundingRecord;

use crate::entry::{TenantFacts, TenantState};
use crate::founding;
use crate::proved::Proved;
use crate::row::Space;
use crate::shard::at::At;
use crate::shard::audit;
use crate::shard::identities;
use crate::shard::rows::TenantRow;
use crate::shard::scope::TenantScope;
use crate::stop::{Ruled, impossible, invalid};
use crate::tables::{Halt, Tables};
use crate::text;

/// Admits a tenant, or takes over the next version of its shard set, its standing or what it may have.
pub(crate) fn admit(at: &At<'_>, tables: &mut dyn Tables, facts: &Proved<TenantFacts>) -> Ruled<Done> {
    let facts = facts.value();
    let record = FoundingRecord::open(&facts.founding)
        .map_err(|fault| invalid(&format!("{}: {fault}", FoundingRecord::NAME)))?;
    let same = (record.tenant, &record.name, record.tag) == (facts.tenant, &facts.name, facts.tag);
    if !same {
        return Err(invalid("the founding record is another tenant's"));
    }
    founding::check(&record)?;
    text::check(&facts.standing.reason)?;
    text::check(&facts.limited.reason)?;
    facts.limited.limits.check().map_err(invalid)?;
    if facts.groups.is_empty() || !facts.groups.is_sorted_by(|a, b| a < b) {
        return Err(invalid("the tenant's shards are missing or not sorted"));
    }
    if facts.home != at.group() && !facts.groups.contains(&at.group()) {
        return Err(Refusal::WrongGroup.into());
    }
    let key: (TenantId,) = (facts.tenant,);
    if let Some(mut row) = Space::whole().get::<TenantRow>(&*tables, &key)? {
        if row.facts == *facts {
            return Ok(Done::Done);
        }
        let known = std::mem::replace(&mut row.facts, facts.clone());
        check_follows(&known, facts)?;
        Space::whole().put(tables, &key, &row)?;
        if known.standing != facts.standing {
            audit_standing(at, tables, facts)?;
        }
        if known.limited != facts.limited {
            audit_limits(at, tables, facts)?;
        }
        return Ok(Done::Done);
    }
    let row = TenantRow { facts: facts.clone(), root: record.root };
    Space::whole().put(tables, &key, &row)?;
    if facts.standing.version != 0 {
        audit_standing(at, tables, facts)?;
    }
    if facts.limited.version != 0 {
        audit_limits(at, tables, facts)?;
    }
    if facts.home == at.group() {
        let (scope, _) = TenantScope::of(&*tables, facts.tenant)?.ok_or_else(|| impossible("a tenant is not there"))?;
        identities::found(&scope, tables, &record)?;
    }
    Ok(Done::Done)
}

/// Refuses what is older. The versions are the cluster group's: where one is older than what is known here, the facts are
/// old news; where one is the same, so must be what it counts.
fn check_follows(known: &TenantFacts, facts: &TenantFacts) -> Ruled<()> {
    let rest_is_the_same = TenantFacts {
        set_version: known.set_version,
        groups: known.groups.clone(),
        standing: known.standing.clone(),
        limited: known.limited.clone(),
        ..facts.clone()
    } == *known;
    let set_follows = known.set_version < facts.set_version
        || (known.set_version, &known.groups) == (facts.set_version, &facts.groups);
    let standing_follows = known.standing.version < facts.standing.version || known.standing == facts.standing;
    let limits_follow = known.limited.version < facts.limited.version || known.limited == facts.limited;
    let ended = known.standing.state == TenantState::Ended && known.standing != facts.standing;
    if rest_is_the_same && set_follows && standing_follows && limits_follow && !ended {
        Ok(())
    } else {
        Err(Refusal::VersionConflict.into())
    }
}

fn audit_standing(at: &At<'_>, tables: &mut dyn Tables, facts: &TenantFacts) -> Result<(), Halt> {
    let (scope, _) = TenantScope::of(&*tables, facts.tenant)?.ok_or_else(|| impossible("a tenant is not there"))?;
    audit::stands(at, &scope, tables, &facts.standing)
}

fn audit_limits(at: &At<'_>, tables: &mut dyn Tables, facts: &TenantFacts) -> Result<(), Halt> {
    let (scope, _) = TenantScope::of(&*tables, facts.tenant)?.ok_or_else(|| impossible("a tenant is not there"))?;
    audit::limited(at, &scope, tables, &facts.limited)
}
