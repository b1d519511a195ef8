//! What may be called, by whom: one row for every RPC, asked before anything else about a call.
//!
//! ```text
//!   :path ─▶ row? ─ none ─▶ UNIMPLEMENTED
//!             └▶ the caller's plane? ─ other ─▶ UNIMPLEMENTED (another door's calls do not exist here)
//!                 └▶ one of its roles? ─ no ─▶ PERMISSION_DENIED
//!                     └▶ admitted; scope, grant and approval are then asked where the row says so
//! ```
//!
//! The path is compared byte for byte with the few that exist: nothing is decoded or tidied, so no spelling of a path can
//! go around its row. A test in `node/api` walks the compiled service descriptors and fails on a method without a row.
//!
//! This is the first of two gates. It knows the role that a certificate claims; whether the identity's row has that
//! role is asked next, and what a command inside a call needs is decided in `apply`.

use strongroom_format::role::{OperatorRole, Plane, Role};
use strongroom_proto_identity::spiffe::SpiffeId;

/// One RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its full path, `/package.Service/Method`.
    pub path: &'static str,
    /// Who may call it; says also on which plane it exists.
    pub callers: Callers,
    /// What of the call must be the caller's own.
    pub scope: Scope,
    /// Whether a grant is needed.
    pub grant: Grant,
    /// Whether approvals are needed.
    pub approval: Approval,
}

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Identities of tenants in one of these roles.
    Tenants(&'static [Role]),
    /// Operators in one of these roles.
    Operators(&'static [OperatorRole]),
    /// Nodes.
    Nodes,
    /// Whoever comes to the doorstep without a certificate: the body proves what it must.
    Strangers,
}

/// What of a call must be the caller's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The tenant is that of the certificate; the body names none.
    OwnTenant,
    /// The body names a tenant, which must be that of the certificate, else PERMISSION_DENIED before any lookup.
    OwnTenantNamed,
    /// The body names the caller itself (a command's principal), which must be the certificate's.
    OwnName,
    /// Nothing: it is about the whole cluster.
    Cluster,
    /// The body names a group; the calling node must have a replica in it, or want what any node may want of it.
    GroupOfNode,
}

/// Whether a grant is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Never.
    Never,
    /// Where the vault's policy asks for one.
    WherePolicyAsks,
}

/// Whether approvals are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// Never.
    Never,
    /// As each command inside says; decided in `apply`.
    AsCommandSays,
}

/// Why a call is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no such call on this plane: UNIMPLEMENTED.
    #[error("no such call")]
    NoSuchCall,
    /// Not in this role: PERMISSION_DENIED.
    #[error("the caller's role does not allow this call")]
    Role,
}

const EVERYBODY: &[Role] = &Role::ALL;
/// All but auditors, who write nothing.
const WHO_COMMAND: &[Role] =
    &[Role::Writer, Role::Restorer, Role::Admin, Role::KeyCustodian, Role::Legal, Role::Approver, Role::Gateway];
const WHO_BACK_UP: &[Role] = &[Role::Writer, Role::Gateway];
const WHO_RESTORE: &[Role] = &[Role::Restorer, Role::Gateway];
/// Restorers read trees and wrapped keys under restore, writers those of their own domain: a writer's records repeat the
/// wraps of keys that older chunks were sealed under, and it can open none of them.
const WHO_READ_TREES: &[Role] = &[Role::Writer, Role::Restorer, Role::Gateway];
/// Writers see their own.
const WHO_SEE_SNAPSHOTS: &[Role] =
    &[Role::Writer, Role::Restorer, Role::Admin, Role::Auditor, Role::Legal, Role::Gateway];
/// Those who decide about policies and holds, and those who look after them: a preview names all writers' snapshots.
const WHO_PREVIEW: &[Role] = &[Role::Admin, Role::Auditor, Role::Legal];
/// The log names all that happened and who did it.
const WHO_AUDIT: &[Role] = &[Role::Admin, Role::Auditor];

/// All rows, by path.
pub const TABLE: &[Row] = &[
    nodes("/strongroom.v1.Authority/Issue", Scope::Cluster),
    strangers("/strongroom.v1.Enrolment/Certify"),
    strangers("/strongroom.v1.Enrolment/Enrol"),
    operators("/strongroom.v1.Operators/Describe", &OperatorRole::ALL, Approval::Never),
    operators("/strongroom.v1.Operators/Status", &OperatorRole::ALL, Approval::Never),
    // Which of them may decide what, the rules say: an officer suspends and takes back, and makes nothing.
    operators("/strongroom.v1.Operators/Submit", &OperatorRole::ALL, Approval::AsCommandSays),
    nodes("/strongroom.v1.Peers/GetFragments", Scope::GroupOfNode),
    nodes("/strongroom.v1.Peers/Known", Scope::GroupOfNode),
    nodes("/strongroom.v1.Peers/Ping", Scope::Cluster),
    nodes("/strongroom.v1.Peers/Propose", Scope::GroupOfNode),
    nodes("/strongroom.v1.Peers/PutFragments", Scope::GroupOfNode),
    nodes("/strongroom.v1.Peers/Query", Scope::GroupOfNode),
    nodes("/strongroom.v1.Peers/Raft", Scope::GroupOfNode),
    nodes("/strongroom.v1.Peers/Report", Scope::GroupOfNode),
    nodes("/strongroom.v1.Peers/SignCheckpoint", Scope::Cluster),
    nodes("/strongroom.v1.Peers/SignClaims", Scope::Cluster),
    restores("/strongroom.v1.Vaults/FetchRun", WHO_RESTORE),
    reads("/strongroom.v1.Vaults/GetCheckpoint", EVERYBODY),
    reads("/strongroom.v1.Vaults/GetLock", WHO_SEE_SNAPSHOTS),
    restores("/strongroom.v1.Vaults/GetNodes", WHO_READ_TREES),
    reads("/strongroom.v1.Vaults/GetPolicy", EVERYBODY),
    reads("/strongroom.v1.Vaults/GetReceipt", WHO_SEE_SNAPSHOTS),
    reads("/strongroom.v1.Vaults/GetSnapshot", WHO_SEE_SNAPSHOTS),
    reads("/strongroom.v1.Vaults/GetTicket", WHO_BACK_UP),
    reads("/strongroom.v1.Vaults/GetVault", EVERYBODY),
    restores("/strongroom.v1.Vaults/GetWraps", WHO_READ_TREES),
    reads("/strongroom.v1.Vaults/ListAudit", WHO_AUDIT),
    reads("/strongroom.v1.Vaults/ListIdentities", WHO_AUDIT),
    reads("/strongroom.v1.Vaults/ListSnapshots", WHO_SEE_SNAPSHOTS),
    reads("/strongroom.v1.Vaults/ListVaults", EVERYBODY),
    reads("/strongroom.v1.Vaults/PreviewPolicy", WHO_PREVIEW),
    reads("/strongroom.v1.Vaults/Status", EVERYBODY),
    commands("/strongroom.v1.Vaults/Submit", WHO_COMMAND),
    reads("/strongroom.v1.Vaults/Topology", EVERYBODY),
    commands("/strongroom.v1.Vaults/Upload", WHO_BACK_UP),
    reads("/strongroom.v1.Vaults/Usage", WHO_SEE_SNAPSHOTS),
    reads("/strongroom.v1.Vaults/Which", WHO_BACK_UP),
];

/// The row of a call.
#[must_use]
pub fn row(path: &str) -> Option<&'static Row> {
    let place = TABLE.binary_search_by(|row| row.path.cmp(path)).ok()?;
    Some(&TABLE[place])
}

/// Whether somebody who came by this plane's door, with this name, may make the call.
pub fn admit(path: &str, plane: Plane, id: &SpiffeId) -> Result<&'static Row, Denied> {
    let row = row(path).ok_or(Denied::NoSuchCall)?;
    if row.plane() != Some(plane) {
        return Err(Denied::NoSuchCall);
    }
    let allowed = match (row.callers, id) {
        (Callers::Tenants(roles), SpiffeId::Tenant { role, .. }) => roles.contains(role),
        (Callers::Operators(roles), SpiffeId::Operator { role, .. }) => roles.contains(role),
        (Callers::Nodes, SpiffeId::Node { .. }) => true,
        (Callers::Tenants(_), SpiffeId::Node { .. } | SpiffeId::Operator { .. })
        | (Callers::Operators(_), SpiffeId::Node { .. } | SpiffeId::Tenant { .. })
        | (Callers::Nodes, SpiffeId::Tenant { .. } | SpiffeId::Operator { .. })
        | (Callers::Strangers, _) => false,
    };
    if allowed { Ok(row) } else { Err(Denied::Role) }
}

impl Row {
    /// The plane on which the call exists; `None`: at the doorstep.
    #[must_use]
    pub const fn plane(&self) -> Option<Plane> {
        match self.callers {
            Callers::Tenants(_) => Some(Plane::Tenant),
            Callers::Operators(_) => Some(Plane::Operator),
            Callers::Nodes => Some(Plane::Peer),
            Callers::Strangers => None,
        }
    }
}

/// A tenant reads rows under its own prefix.
const fn reads(path: &'static str, roles: &'static [Role]) -> Row {
    Row {
        path,
        callers: Callers::Tenants(roles),
        scope: Scope::OwnTenant,
        grant: Grant::Never,
        approval: Approval::Never,
    }
}

/// A tenant reads contents or what opens them.
const fn restores(path: &'static str, roles: &'static [Role]) -> Row {
    Row {
        path,
        callers: Callers::Tenants(roles),
        scope: Scope::OwnTenant,
        grant: Grant::WherePolicyAsks,
        approval: Approval::Never,
    }
}

/// A tenant's commands, each of which names tenant and principal.
const fn commands(path: &'static str, roles: &'static [Role]) -> Row {
    Row {
        path,
        callers: Callers::Tenants(roles),
        scope: Scope::OwnTenantNamed,
        grant: Grant::Never,
        approval: Approval::AsCommandSays,
    }
}

const fn operators(path: &'static str, roles: &'static [OperatorRole], approval: Approval) -> Row {
    let scope = match approval {
        Approval::AsCommandSays => Scope::OwnName,
        Approval::Never => Scope::Cluster,
    };
    Row { path, callers: Callers::Operators(roles), scope, grant: Grant::Never, approval }
}

/// Whoever calls names in the body who it wants to be, and proves with signatures that it may.
const fn strangers(path: &'static str) -> Row {
    Row {
        path,
        callers: Callers::Strangers,
        scope: Scope::OwnName,
        grant: Grant::Never,
        approval: Approval::AsCommandSays,
    }
}

const fn nodes(path: &'static str, scope: Scope) -> Row {
    Row { path, callers: Callers::Nodes, scope, grant: Grant::Never, approval: Approval::Never }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(role: &str) -> SpiffeId {
        format!("spiffe://vault/tenant/acme/id/w/role/{role}").parse().unwrap()
    }

    fn operator(role: &str) -> SpiffeId {
        format!("spiffe://vault/operator/olga/role/{role}").parse().unwrap()
    }

    fn node() -> SpiffeId {
        "spiffe://vault/node/eu/n1".parse().unwrap()
    }

    #[test]
    fn rows_are_sorted_and_unique() {
        assert!(TABLE.is_sorted_by(|row, next| row.path < next.path));
        for expected in TABLE {
            assert_eq!(row(expected.path), Some(expected));
        }
    }

    #[test]
    fn n14_a_call_without_a_row_does_not_exist() {
        for path in
            ["", "/", "/strongroom.v1.Vaults/Delete", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"]
        {
            assert_eq!(admit(path, Plane::Tenant, &tenant("admin")), Err(Denied::NoSuchCall));
        }
    }

    #[test]
    fn n82_another_spelling_of_a_path_has_no_row() {
        for path in [
            "strongroom.v1.Vaults/Submit",
            "//strongroom.v1.Vaults/Submit",
            "/strongroom.v1.Vaults//Submit",
            "/strongroom.v1.Vaults/Submit/",
            "/strongroom.v1.Vaults/submit",
            "/strongroom.v1.Vaults/Sub%6Dit",
            "/strongroom.v1.Vaults/Submit?x",
            "/strongroom.v1.Vaults/Submit ",
            "/strongroom.v1.Vaults/../Vaults/Submit",
        ] {
            assert_eq!(row(path), None, "{path}");
        }
    }

    #[test]
    fn n27_a_writer_reads_nothing_back() {
        let path = "/strongroom.v1.Vaults/FetchRun";
        assert_eq!(admit(path, Plane::Tenant, &tenant("writer")), Err(Denied::Role));
        assert!(admit(path, Plane::Tenant, &tenant("restorer")).is_ok());
        assert!(admit("/strongroom.v1.Vaults/Upload", Plane::Tenant, &tenant("writer")).is_ok());
        assert_eq!(admit("/strongroom.v1.Vaults/Upload", Plane::Tenant, &tenant("restorer")), Err(Denied::Role));
    }

    #[test]
    fn n28_auditors_write_nothing_and_operators_have_no_data() {
        for path in ["/strongroom.v1.Vaults/Submit", "/strongroom.v1.Vaults/Upload"] {
            assert_eq!(admit(path, Plane::Tenant, &tenant("auditor")), Err(Denied::Role), "{path}");
        }
        for row in TABLE.iter().filter(|row| row.plane() == Some(Plane::Tenant)) {
            let olga = operator("platform-operator");
            assert_eq!(admit(row.path, Plane::Tenant, &olga), Err(Denied::Role), "{}", row.path);
            assert_eq!(admit(row.path, Plane::Operator, &olga), Err(Denied::NoSuchCall), "{}", row.path);
        }
    }

    #[test]
    fn no_call_exists_on_two_planes() {
        for row in TABLE {
            for plane in Plane::ALL.into_iter().filter(|plane| Some(*plane) != row.plane()) {
                for id in [tenant("admin"), operator("platform-operator"), node()] {
                    assert_eq!(admit(row.path, plane, &id), Err(Denied::NoSuchCall), "{}", row.path);
                }
            }
        }
        assert!(admit("/strongroom.v1.Peers/Raft", Plane::Peer, &node()).is_ok());
        assert_eq!(admit("/strongroom.v1.Peers/Raft", Plane::Peer, &tenant("admin")), Err(Denied::Role));
    }

    #[test]
    fn n28_an_officer_has_a_door_for_what_the_rules_let_it_decide() {
        for role in ["platform-operator", "security-officer"] {
            for call in ["Describe", "Status", "Submit"] {
                let path = format!("/strongroom.v1.Operators/{call}");
                assert!(admit(&path, Plane::Operator, &operator(role)).is_ok(), "{path} as {role}");
            }
        }
    }
}
