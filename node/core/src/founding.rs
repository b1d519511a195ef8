//! Founding records, beyond their form: whether the people in them can become rows of a tenant. Asked when an operator
//! admits the tenant, and again by each of its shards.

use strongroom_format::outcome::Refusal;
use strongroom_format::role::Role;
use strongroom_format::statement::FoundingRecord;

use crate::roles;

/// Refuses roles that one identity may not hold, and an identity that stands in two lists with two faces.
pub(crate) fn check(founding: &FoundingRecord) -> Result<(), Refusal> {
    for one in founding.identities.iter().chain(&founding.approvers) {
        roles::check(&one.roles)?;
    }
    for approver in &founding.approvers {
        if !approver.roles.contains(&Role::Approver) {
            return Err(Refusal::Invalid { why: "an approver without the role".into() });
        }
        if founding.identities.iter().any(|one| one.identity == approver.identity && one != approver) {
            return Err(Refusal::Invalid { why: "an identity stands in two lists and differs".into() });
        }
    }
    Ok(())
}
