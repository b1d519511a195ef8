//! Who asks, once the door has let them in: what every question about a tenant's rows begins with.

use strongroom_format::id::{IdentityId, TenantId};
use strongroom_format::role::Role;

/// An authenticated identity of a tenant, in the role that its certificate names and its row has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its tenant: from the certificate, never from a body.
    pub tenant: TenantId,
    /// Who.
    pub identity: IdentityId,
    /// In which role.
    pub role: Role,
}

impl Caller {
    /// Whose rows it sees: a writer its own, everybody else who may look all of the tenant's.
    pub fn sees_only(&self) -> Option<IdentityId> {
        match self.role {
            Role::Writer | Role::Gateway => Some(self.identity.clone()),
            Role::Restorer | Role::Admin | Role::Auditor | Role::KeyCustodian | Role::Legal | Role::Approver => None,
        }
    }
}
