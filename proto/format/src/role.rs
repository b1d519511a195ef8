//! Planes and roles: where a caller stands and what it may be there.
//!
//! Both are closed lists: a word that is not here is refused, never guessed. The words are those in certificates, in
//! files and on the command line; the numbers are those in rows and on the wire, and are never given again.
//!
//! Not here: which call needs which role (`node/identity`, `admission.rs`), which identity has which roles (rows).

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};

/// Who talks to whom: each plane has a listener and issuing CAs of its own, and no certificate is valid on two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Plane {
    /// Node to node.
    Peer = 1,
    /// Tenants: writers, restorers, their admins.
    Tenant = 2,
    /// Operators of the cluster.
    Operator = 3,
}

/// What an identity of a tenant may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Role {
    /// Backs up; sees names, times and sizes of its own snapshots; cannot read back or delete.
    Writer = 1,
    /// Reads back.
    Restorer = 2,
    /// Vaults, policies, identities of its tenant.
    Admin = 3,
    /// Reads what was done, by whom; writes nothing.
    Auditor = 4,
    /// Looks after recipients and custody.
    KeyCustodian = 5,
    /// Sets and lifts legal holds.
    Legal = 6,
    /// Signs approvals.
    Approver = 7,
    /// A gateway that acts for the tenant's applications.
    Gateway = 8,
}

/// What an operator may be. No operator has data or keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum OperatorRole {
    /// Runs nodes, shards and tenants.
    PlatformOperator = 1,
    /// Watches the operators: second signature, incidents, suspensions.
    SecurityOfficer = 2,
}

/// The word is in no list of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such role")]
pub struct UnknownRole;

impl Plane {
    /// All planes.
    pub const ALL: [Self; 3] = [Self::Peer, Self::Tenant, Self::Operator];

    /// The word for the plane.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Tenant => "tenant",
            Self::Operator => "operator",
        }
    }
}

impl Role {
    /// All roles, by number.
    pub const ALL: [Self; 8] = [
        Self::Writer,
        Self::Restorer,
        Self::Admin,
        Self::Auditor,
        Self::KeyCustodian,
        Self::Legal,
        Self::Approver,
        Self::Gateway,
    ];

    /// The word for the role.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Restorer => "restorer",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::KeyCustodian => "key-custodian",
            Self::Legal => "legal",
            Self::Approver => "approver",
            Self::Gateway => "gateway",
        }
    }
}

impl OperatorRole {
    /// All roles of operators, by number.
    pub const ALL: [Self; 2] = [Self::PlatformOperator, Self::SecurityOfficer];

    /// The word for the role.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PlatformOperator => "platform-operator",
            Self::SecurityOfficer => "security-officer",
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == word).ok_or(UnknownRole)
    }
}

impl FromStr for OperatorRole {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == word).ok_or(UnknownRole)
    }
}

impl fmt::Display for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for OperatorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_of_roles_are_fixed() {
        let words: Vec<_> = Role::ALL.iter().map(|role| role.as_str()).collect();
        assert_eq!(words, ["writer", "restorer", "admin", "auditor", "key-custodian", "legal", "approver", "gateway"]);
        for (role, number) in Role::ALL.into_iter().zip(1_u8..) {
            assert_eq!(borsh::to_vec(&role).unwrap(), [number]);
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        for (role, number) in OperatorRole::ALL.into_iter().zip(1_u8..) {
            assert_eq!(borsh::to_vec(&role).unwrap(), [number]);
            assert_eq!(role.as_str().parse(), Ok(role));
        }
    }

    #[test]
    fn unknown_words_and_numbers_are_refused() {
        for word in ["", "Writer", "writer ", "root", "platform-operator"] {
            assert_eq!(word.parse::<Role>(), Err(UnknownRole), "{word}");
        }
        assert_eq!("admin".parse::<OperatorRole>(), Err(UnknownRole));
        for number in [0_u8, 9, 255] {
            assert!(borsh::from_slice::<Role>(&[number]).is_err());
        }
        assert!(borsh::from_slice::<Plane>(&[0]).is_err());
    }
}
