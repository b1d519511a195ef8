//! Identities: the persons and machines of a tenant, one row each, at home. A row is never removed, so an id is never
//! given again.
//!
//! An admin alone enrols writers and auditors, or issues tokens for them (`shard/tokens.rs`); every other role takes
//! approvals of others, which these rules cannot verify yet and so refuse (N104). Nobody gets more than its giver may give
//! (N29). Not here: certificates, which only prove an identity (`node/identity`).

use strongroom_format::id::{IdentityId, PublicKey};
use strongroom_format::lock::LockRange;
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::role::Role;
use strongroom_format::sign;
use strongroom_format::statement::FoundingRecord;

use crate::query::Answer;
use crate::roles;
use crate::shard::at::Caller;
use crate::shard::locks;
use crate::shard::rows::IdentityRow;
use crate::shard::scope::TenantScope;
use crate::stop::{Ruled, invalid};
use crate::tables::{Halt, Reads, Tables};
use crate::text;

/// Adds an identity.
pub(crate) fn enrol(
    caller: &Caller,
    tables: &mut dyn Tables,
    identity: &IdentityId,
    roles: &[Role],
    signing_key: PublicKey,
    locks: Option<LockRange>,
) -> Ruled<Done> {
    may_give(caller, roles, locks.as_ref())?;
    sign::usable(&signing_key).map_err(|_| invalid("the signing key is none"))?;
    let enrolled_by = Some(caller.principal.clone());
    let row = IdentityRow { roles: roles.to_vec(), signing_key, locks, open: true, enrolled_by };
    add(&caller.scope, tables, identity, &row)?;
    Ok(Done::Done)
}

/// Refuses who may not give these roles and locks.
pub(crate) fn may_give(caller: &Caller, roles: &[Role], locks: Option<&LockRange>) -> Ruled<()> {
    caller.require(&[Role::Admin])?;
    // Tokens and identities are the home shard's: elsewhere nobody's roles are known.
    caller.row()?;
    roles::check(roles)?;
    if !roles.iter().all(|role| roles::an_admin_alone_may_give(*role)) {
        return Err(Refusal::NeedsApproval.into());
    }
    locks.map_or(Ok(()), locks::check_range)
}

/// Puts the row of an identity that never was before.
pub(crate) fn add(scope: &TenantScope, tables: &mut dyn Tables, identity: &IdentityId, row: &IdentityRow) -> Ruled<()> {
    if scope.has::<IdentityRow>(&*tables, &(identity.clone(),))? {
        return Err(Refusal::IdentityTaken { identity: identity.clone() }.into());
    }
    Ok(scope.put(tables, &(identity.clone(),), row)?)
}

/// Closes an identity for ever. Nobody closes itself: then an admin is always left.
pub(crate) fn close(caller: &Caller, tables: &mut dyn Tables, identity: &IdentityId, reason: &str) -> Ruled<Done> {
    caller.require(&[Role::Admin])?;
    text::check(reason)?;
    if *identity == caller.principal {
        return Err(Refusal::NeedsApproval.into());
    }
    let row: Option<IdentityRow> = caller.scope.get(&*tables, &(identity.clone(),))?;
    let mut row = row.filter(|row| row.open).ok_or(Refusal::NotFound)?;
    row.open = false;
    caller.scope.put(tables, &(identity.clone(),), &row)?;
    Ok(Done::Done)
}

/// Adds the identities and approvers of a tenant's founding record.
pub(crate) fn found(scope: &TenantScope, tables: &mut dyn Tables, founding: &FoundingRecord) -> Result<(), Halt> {
    for one in founding.identities.iter().chain(&founding.approvers) {
        let row = IdentityRow {
            roles: one.roles.clone(),
            signing_key: one.signing_key,
            locks: None,
            open: true,
            enrolled_by: None,
        };
        scope.put(tables, &(one.identity.clone(),), &row)?;
    }
    Ok(())
}

/// Identities by id, behind one.
pub(crate) fn list(
    scope: &TenantScope,
    reads: &dyn Reads,
    after: Option<&IdentityId>,
    limit: u32,
) -> Result<Answer, Halt> {
    let limit = limit as usize;
    let rows = match after {
        None => scope.range::<IdentityRow>(reads, &(), limit)?,
        Some(after) => scope.range_from::<IdentityRow>(reads, &(), &(after.clone(),), limit.saturating_add(1))?,
    };
    let behind = rows.into_iter().map(|((identity,), row)| (identity, row)).filter(|(one, _)| Some(one) != after);
    Ok(Answer::Identities(behind.take(limit).collect()))
}
