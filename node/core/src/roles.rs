//! Which roles one identity may hold together, and who may give them.
//!
//! Whoever could back up and read back, or ask and approve, alone, would make one stolen key enough. Not here: which
//! role a command needs (each rule says it first).

use strongroom_format::outcome::Refusal;
use strongroom_format::role::Role;

/// Pairs that one identity may not hold.
const FORBIDDEN: [(Role, Role); 6] = [
    (Role::Writer, Role::Restorer),
    (Role::Writer, Role::Admin),
    (Role::Writer, Role::Approver),
    (Role::Restorer, Role::Approver),
    (Role::Admin, Role::Approver),
    (Role::KeyCustodian, Role::Approver),
];

/// Whether one identity may hold these roles: at least one, sorted, none twice, no forbidden pair.
pub(crate) fn check(roles: &[Role]) -> Result<(), Refusal> {
    if roles.is_empty() || !roles.is_sorted_by(|a, b| a < b) {
        return Err(Refusal::Invalid { why: "roles are missing, not sorted, or one is named twice".into() });
    }
    let has = |role| roles.contains(&role);
    if FORBIDDEN.iter().any(|(one, other)| has(*one) && has(*other)) {
        return Err(Refusal::ForbiddenRoles);
    }
    Ok(())
}

/// Whether an admin alone may give the role; every other takes approvals of others.
pub(crate) fn an_admin_alone_may_give(role: Role) -> bool {
    match role {
        Role::Writer | Role::Auditor => true,
        Role::Restorer | Role::Admin | Role::KeyCustodian | Role::Legal | Role::Approver | Role::Gateway => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n104_pairs_that_would_make_one_key_enough_are_forbidden() {
        assert_eq!(check(&[Role::Writer]), Ok(()));
        assert_eq!(check(&[Role::Restorer, Role::Admin]), Ok(()));
        assert_eq!(check(&[Role::Writer, Role::Restorer]), Err(Refusal::ForbiddenRoles));
        assert_eq!(check(&[Role::Admin, Role::Approver]), Err(Refusal::ForbiddenRoles));
        for unsorted in [&[][..], &[Role::Writer, Role::Writer], &[Role::Admin, Role::Writer]] {
            assert!(matches!(check(unsorted), Err(Refusal::Invalid { .. })));
        }
    }
}
