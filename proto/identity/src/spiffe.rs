//! The SPIFFE URI of a caller: who it is, in one line.
//!
//! ```text
//!   spiffe://<cluster>/tenant/<tenant>/id/<identity>/role/<role>
//!   spiffe://<cluster>/node/<region>/<node>
//!   spiffe://<cluster>/operator/<operator>/role/<role>
//! ```
//!
//! There is one spelling for each identity: what parses prints as it was read. Nothing is decoded, folded, trimmed or
//! normalised, so percent signs, dot segments, doubled or trailing slashes, capitals, ports, queries, wildcards and
//! anything beyond ASCII are refused because no [`Name`] contains them.
//!
//! Not here: whether such an identity exists (a row), or may speak (its issuer).

use std::fmt;
use std::str::FromStr;

use strongroom_format::name::Name;
use strongroom_format::role::{OperatorRole, Plane, Role};

const SCHEME: &str = "spiffe://";

/// Who a certificate speaks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpiffeId {
    /// A person or machine of a tenant, in one of its roles.
    Tenant {
        /// The cluster for which the certificate was issued.
        cluster: Name,
        /// Its tenant.
        tenant: Name,
        /// The identity within the tenant.
        identity: Name,
        /// The role in which it comes.
        role: Role,
    },
    /// A node of the cluster.
    Node {
        /// The cluster for which the certificate was issued.
        cluster: Name,
        /// Its region.
        region: Name,
        /// The node's name.
        node: Name,
    },
    /// An operator of the cluster.
    Operator {
        /// The cluster for which the certificate was issued.
        cluster: Name,
        /// The operator's name.
        operator: Name,
        /// The role in which it comes.
        role: OperatorRole,
    },
}

/// The text is not exactly one of the three forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the SPIFFE URI of a tenant's identity, a node or an operator")]
pub struct NotASpiffeId;

impl SpiffeId {
    /// The cluster that it names.
    #[must_use]
    pub const fn cluster(&self) -> &Name {
        match self {
            Self::Tenant { cluster, .. } | Self::Node { cluster, .. } | Self::Operator { cluster, .. } => cluster,
        }
    }

    /// The plane on which it may appear as a caller.
    #[must_use]
    pub const fn plane(&self) -> Plane {
        match self {
            Self::Tenant { .. } => Plane::Tenant,
            Self::Node { .. } => Plane::Peer,
            Self::Operator { .. } => Plane::Operator,
        }
    }
}

impl FromStr for SpiffeId {
    type Err = NotASpiffeId;

    fn from_str(text: &str) -> Result<Self, NotASpiffeId> {
        let path = text.strip_prefix(SCHEME).ok_or(NotASpiffeId)?;
        // One more than the longest form, so that a longer path cannot match a shorter pattern.
        let mut parts = [""; 8];
        let mut count = 0;
        for part in path.split('/') {
            *parts.get_mut(count).ok_or(NotASpiffeId)? = part;
            count += 1;
        }
        let name = |text: &str| Name::try_from(text).map_err(|_| NotASpiffeId);
        match parts[..count] {
            [cluster, "tenant", tenant, "id", identity, "role", role] => Ok(Self::Tenant {
                cluster: name(cluster)?,
                tenant: name(tenant)?,
                identity: name(identity)?,
                role: role.parse().map_err(|_| NotASpiffeId)?,
            }),
            [cluster, "node", region, node] => {
                Ok(Self::Node { cluster: name(cluster)?, region: name(region)?, node: name(node)? })
            }
            [cluster, "operator", operator, "role", role] => Ok(Self::Operator {
                cluster: name(cluster)?,
                operator: name(operator)?,
                role: role.parse().map_err(|_| NotASpiffeId)?,
            }),
            _ => Err(NotASpiffeId),
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant { cluster, tenant, identity, role } => {
                write!(f, "{SCHEME}{cluster}/tenant/{tenant}/id/{identity}/role/{role}")
            }
            Self::Node { cluster, region, node } => write!(f, "{SCHEME}{cluster}/node/{region}/{node}"),
            Self::Operator { cluster, operator, role } => {
                write!(f, "{SCHEME}{cluster}/operator/{operator}/role/{role}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TENANT: &str = "spiffe://vault/tenant/acme/id/db-1/role/writer";

    #[test]
    fn the_three_forms_are_read_and_printed_alike() {
        for (text, plane) in [
            (TENANT, Plane::Tenant),
            ("spiffe://vault/node/eu-west/n1", Plane::Peer),
            ("spiffe://vault/operator/olga/role/platform-operator", Plane::Operator),
        ] {
            let id: SpiffeId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(id.plane(), plane);
            assert_eq!(id.cluster().as_str(), "vault");
        }
    }

    #[test]
    fn n08_every_other_spelling_is_refused() {
        for text in [
            "",
            "spiffe://",
            "spiffe://vault",
            "spiffe://vault/",
            "spiffe://vault/tenant/a%2Fb/id/w/role/writer",
            "spiffe://vault/tenant/../b/id/w/role/writer",
            "spiffe://vault/tenant//b/id/w/role/writer",
            "spiffe://vault/tenant/acme/id//role/writer",
            "spiffe://vault//tenant/acme/id/w/role/writer",
            "spiffe://vault/tenant/acme/id/w/role/writer/",
            "spiffe://vault/tenant/acme/id/w/role/writer/x",
            "spiffe://vault/tenant/acme/id/w/role",
            "spiffe://vault/tenant/acme/id/w",
            "spiffe://vault/tenant/acme/role/writer",
            "spiffe://vault/tenant/acme",
            "spiffe://VAULT/tenant/acme/id/w/role/writer",
            "SPIFFE://vault/tenant/acme/id/w/role/writer",
            "spiffe:/vault/tenant/acme/id/w/role/writer",
            "https://vault/tenant/acme/id/w/role/writer",
            " spiffe://vault/tenant/acme/id/w/role/writer",
            "spiffe://vault/tenant/acme/id/w/role/writer\n",
            "spiffe://vault/tenant/acme/id/w/role/writer?x=1",
            "spiffe://vault/tenant/acme/id/w/role/writer#x",
            "spiffe://vault:443/tenant/acme/id/w/role/writer",
            "spiffe://user@vault/tenant/acme/id/w/role/writer",
            "spiffe://vault/tenant/*/id/w/role/writer",
            "spiffe://vault/tenant/acme/id/w/role/*",
            "spiffe://vault/tenant/acme/id/w/role/Writer",
            "spiffe://vault/tenant/acme/id/w/role/platform-operator",
            "spiffe://vault/TENANT/acme/id/w/role/writer",
            "spiffe://vault/node/eu/n1/",
            "spiffe://vault/node/eu",
            "spiffe://vault/node/eu/n1/role/writer",
            "spiffe://vault/operator/olga/role/admin",
            "spiffe://vault/operator/olga",
        ] {
            assert_eq!(text.parse::<SpiffeId>(), Err(NotASpiffeId), "{text}");
        }
    }

    #[test]
    fn n09_reserved_long_and_look_alike_names_are_refused_in_every_place() {
        let long = "x".repeat(64);
        for bad in strongroom_format::name::RESERVED.into_iter().chain(["асme", "ａcme", "acme\u{200b}", &long]) {
            for text in [
                format!("spiffe://{bad}/tenant/acme/id/w/role/writer"),
                format!("spiffe://vault/tenant/{bad}/id/w/role/writer"),
                format!("spiffe://vault/tenant/acme/id/{bad}/role/writer"),
                format!("spiffe://vault/node/{bad}/n1"),
                format!("spiffe://vault/node/eu/{bad}"),
                format!("spiffe://vault/operator/{bad}/role/security-officer"),
            ] {
                assert_eq!(text.parse::<SpiffeId>(), Err(NotASpiffeId), "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_prints_as_it_was_read(text in "(spiffe://)?([a-z0-9./%*A-Z-]{0,12}|tenant|node|operator|id|role|writer|/){0,12}") {
            if let Ok(id) = text.parse::<SpiffeId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn names_survive_the_way_through_text(names in proptest::array::uniform3("[a-z][a-z0-9-]{0,62}"), role in 0_usize..8) {
            let [cluster, tenant, identity] = names.map(|name| Name::try_from(name).ok());
            if let (Some(cluster), Some(tenant), Some(identity)) = (cluster, tenant, identity) {
                let id = SpiffeId::Tenant { cluster, tenant, identity, role: Role::ALL[role] };
                prop_assert_eq!(id.to_string().parse(), Ok(id));
            }
        }

        #[test]
        fn one_changed_byte_is_refused_or_another_identity(position in 0_usize..TENANT.len(), byte in 0_u8..128) {
            let mut bytes = TENANT.as_bytes().to_vec();
            bytes[position] = byte;
            let text = String::from_utf8(bytes).expect("ASCII stays ASCII");
            match text.parse::<SpiffeId>() {
                Ok(id) => prop_assert_eq!(id == TENANT.parse().unwrap(), text == TENANT),
                Err(NotASpiffeId) => prop_assert_ne!(text.as_str(), TENANT),
            }
        }
    }
}
