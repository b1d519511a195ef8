//! Which issuers may speak for whom: what every node holds from the cluster group, and judges handshakes by.
//!
//! ```text
//!   chain ─▶ issuers that may speak for this name ─ good ─▶ cluster, plane, tenant, node known? ─▶ in
//!              │ from none of them
//!              └▶ any other issuer of ours? ─ yes ─▶ it oversteps: refused as a name (N102)
//!                                           ─ no ──▶ unknown issuer
//! ```
//!
//! A tenant's chain is verified against the issuers that this tenant accepted and no others, so whatever another tenant
//! registers, be it a certificate made up with the first one's key and subject, changes nothing for the first.
//!
//! An [`IssuerTable`] is plain data. [`Issuers`] holds the one in force; it is replaced whole when rows change, and
//! connections that are open are judged again ([`crate::peer::Peer::check`]).
//!
//! Not here: whether a tenant's state lets a call through (FAILED_PRECONDITION, per request), identity rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use strongroom_format::id::TenantId;
use strongroom_format::name::Name;
use strongroom_format::role::Plane;
use strongroom_proto_identity::certificate::{AuthorityFault, Leaf, Purpose, chain_is_bounded};
use strongroom_proto_identity::spiffe::SpiffeId;
use strongroom_proto_identity::verify::{Anchor, Anchors, Refused};

use crate::metrics;

/// All that a handshake is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerTable {
    /// The cluster that certificates must name.
    pub cluster: Name,
    /// Issuing CAs of all planes.
    pub issuers: Vec<Issuer>,
    /// All tenants that ever were.
    pub tenants: BTreeMap<Name, Tenant>,
    /// Nodes of the cluster: others with a good certificate are told that they are not approved (N96).
    pub nodes: BTreeSet<Name>,
    /// Nodes that left or were replaced: their names are refused for ever.
    pub gone_nodes: BTreeSet<Name>,
}

/// An issuing CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The one plane that it is registered for.
    pub plane: Plane,
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// The tenants that accepted it; of no meaning on other planes.
    pub tenants: BTreeSet<Name>,
    /// Its newest revocation list.
    pub revocations: Option<CertificateRevocationListDer<'static>>,
}

/// What a node knows of a tenant without asking its home shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Whether calls go through.
    pub state: TenantState,
}

/// Whether a tenant's calls go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantState {
    /// They do.
    Active,
    /// They do not: suspended, sealed or deleted. The handshake lets it in so that it can be told.
    Suspended,
}

/// An issuer of the table of which something cannot be used, by its place in the table. The others can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its place.
    pub issuer: usize,
    /// Why.
    pub fault: IssuerFault,
}

/// Why an issuer is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerFault {
    /// Its certificate is no good, or its revocation list is and there was no good one before.
    #[error(transparent)]
    Authority(#[from] AuthorityFault),
    /// Its newest revocation list is no good; the last good one stays in force.
    #[error("its newest revocation list is passed over, the one before stays: {0}")]
    Revocations(AuthorityFault),
    /// Its key is that of an issuer of another plane. Peers come first, then operators, then tenants: a tenant cannot
    /// take another plane's issuer away by registering it.
    #[error("the issuer's key is registered for another plane")]
    OtherPlane,
}

/// The issuers in force. Clones are the same; replacing the table is seen by all.
#[derive(Clone, Debug)]
pub struct Issuers(Arc<RwLock<Arc<InForce>>>);

#[derive(Debug)]
struct InForce {
    version: u64,
    table: IssuerTable,
    peer: Anchors,
    operator: Anchors,
    /// Of all tenants together: only to tell an issuer that oversteps from one that nobody knows.
    tenant: Anchors,
    of_tenant: BTreeMap<Name, Anchors>,
    /// The last good revocation list of each issuer, by its certificate.
    revocations: Revocations,
}

type Revocations = HashMap<CertificateDer<'static>, CertificateRevocationListDer<'static>>;

impl Issuers {
    /// With this table, and what of it had to be passed over: worth a warning, never a reason to stop.
    #[must_use]
    pub fn new(table: IssuerTable) -> (Self, Vec<Skipped>) {
        let (in_force, skipped) = InForce::new(1, table, &Revocations::new());
        (Self(Arc::new(RwLock::new(Arc::new(in_force)))), skipped)
    }

    /// Puts another table in force.
    pub fn replace(&self, table: IssuerTable) -> Vec<Skipped> {
        // Read and built under the write lock: two replacements must not get the same version.
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if current.table == table {
            return Vec::new();
        }
        let (in_force, skipped) = InForce::new(current.version + 1, table, &current.revocations);
        *current = Arc::new(in_force);
        skipped
    }

    /// Counts replacements.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.current().version
    }

    /// What is known of a tenant.
    #[must_use]
    pub fn tenant(&self, name: &Name) -> Option<Tenant> {
        self.current().table.tenants.get(name).copied()
    }

    /// Whether a tenant accepted an issuer.
    #[must_use]
    pub fn is_accepted(&self, tenant: &Name, issuer: &CertificateDer<'_>) -> bool {
        let table = &self.current().table;
        table
            .issuers
            .iter()
            .any(|one| one.plane == Plane::Tenant && one.certificate == *issuer && one.tenants.contains(tenant))
    }

    /// Whether a node is one of the cluster. A certificate alone makes nobody one (N96).
    #[must_use]
    pub fn has_node(&self, name: &Name) -> bool {
        self.current().table.nodes.contains(name)
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> Name {
        self.current().table.cluster.clone()
    }

    /// The issuers of a plane, for whoever verifies nodes on it.
    #[must_use]
    pub fn anchors(&self, plane: Plane) -> Anchors {
        self.current().plane(plane).clone()
    }

    /// Judges the chain of a caller on a plane.
    pub fn judge(
        &self,
        plane: Plane,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Leaf, Refused> {
        self.current().judge(plane, leaf, intermediates, now)
    }

    /// Judges a name that the medium itself vouches for (simulated connections).
    pub(crate) fn judge_name(&self, plane: Plane, id: &SpiffeId) -> Result<(), Refused> {
        self.current().judge_name(plane, id)
    }

    fn current(&self) -> Arc<InForce> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl InForce {
    fn new(version: u64, table: IssuerTable, before: &Revocations) -> (Self, Vec<Skipped>) {
        let mut skipped = Vec::new();
        let mut revocations = Revocations::new();
        let mut taken: Vec<Anchor> = Vec::new();
        let mut of_plane = |plane| {
            let mut anchors: Vec<(Anchor, &BTreeSet<Name>)> = Vec::new();
            for (place, issuer) in table.issuers.iter().enumerate() {
                if issuer.plane != plane {
                    continue;
                }
                let skip = |fault| Skipped { issuer: place, fault };
                match read(issuer, &taken, before.get(&issuer.certificate)) {
                    Ok(Vouching { anchor, list, passed_over }) => {
                        anchors.push((anchor, &issuer.tenants));
                        skipped.extend(passed_over.map(IssuerFault::Revocations).map(skip));
                        revocations.extend(list.map(|list| (issuer.certificate.clone(), list.clone())));
                    }
                    Err(fault) => skipped.push(skip(fault)),
                }
            }
            taken.extend(anchors.iter().map(|(anchor, _)| anchor.clone()));
            anchors
        };
        let together = |anchors: Vec<(Anchor, &BTreeSet<Name>)>| {
            Anchors::new(anchors.into_iter().map(|(anchor, _)| anchor).collect())
        };
        let peer = together(of_plane(Plane::Peer));
        let operator = together(of_plane(Plane::Operator));
        let of_tenants = of_plane(Plane::Tenant);
        let mut of_tenant: BTreeMap<Name, Vec<Anchor>> = BTreeMap::new();
        for (anchor, tenants) in &of_tenants {
            for tenant in *tenants {
                of_tenant.entry(tenant.clone()).or_default().push(anchor.clone());
            }
        }
        let tenant = together(of_tenants);
        let of_tenant = of_tenant.into_iter().map(|(tenant, anchors)| (tenant, Anchors::new(anchors))).collect();
        metrics::revocations_refused(skipped.len());
        (Self { version, table, peer, operator, tenant, of_tenant, revocations }, skipped)
    }

    fn plane(&self, plane: Plane) -> &Anchors {
        match plane {
            Plane::Peer => &self.peer,
            Plane::Tenant => &self.tenant,
            Plane::Operator => &self.operator,
        }
    }

    fn judge(
        &self,
        plane: Plane,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Leaf, Refused> {
        if !chain_is_bounded(leaf, intermediates) {
            return Err(Refused::ChainTooLong);
        }
        let verify = |anchors: &Anchors| anchors.verify(Purpose::Client, leaf, intermediates, now);
        // Not believed yet: it only chooses the anchors.
        let claimed = Leaf::read(leaf, Purpose::Client).ok();
        let own = match (plane, claimed.as_ref().map(|leaf| &leaf.id)) {
            (Plane::Tenant, Some(SpiffeId::Tenant { tenant, .. })) => self.of_tenant.get(tenant),
            (Plane::Tenant, _) => None,
            (Plane::Peer | Plane::Operator, _) => Some(self.plane(plane)),
        };
        match own.map(verify) {
            Some(Ok(leaf)) => {
                self.judge_name(plane, &leaf.id)?;
                return Ok(leaf);
            }
            None | Some(Err(Refused::UnknownIssuer)) => {}
            Some(Err(refused)) => return Err(refused),
        }
        // From here on nobody gets in; the question is why not.
        match verify(self.plane(plane)) {
            Ok(_) => return Err(Refused::Name),
            Err(Refused::UnknownIssuer) => {}
            Err(refused) => return Err(refused),
        }
        // A name that belongs on this plane, from an issuer of another. (Any other certificate of another plane's issuer
        // is from an unknown issuer here: that the other plane knows it is nobody's business.)
        let oversteps = claimed.is_some_and(|leaf| leaf.id.plane() == plane)
            && Plane::ALL.into_iter().filter(|other| *other != plane).any(|other| verify(self.plane(other)).is_ok());
        Err(if oversteps { Refused::Name } else { Refused::UnknownIssuer })
    }

    fn judge_name(&self, plane: Plane, id: &SpiffeId) -> Result<(), Refused> {
        if *id.cluster() != self.table.cluster || id.plane() != plane {
            return Err(Refused::Name);
        }
        let known = match id {
            SpiffeId::Tenant { tenant, .. } => self.table.tenants.contains_key(tenant),
            SpiffeId::Node { node, .. } => !self.table.gone_nodes.contains(node),
            SpiffeId::Operator { .. } => true,
        };
        if known { Ok(()) } else { Err(Refused::Name) }
    }
}

/// An issuer as it vouches now.
struct Vouching<'a> {
    anchor: Anchor,
    /// The list in force.
    list: Option<&'a CertificateRevocationListDer<'static>>,
    /// Why it is not the newest.
    passed_over: Option<AuthorityFault>,
}

fn read<'a>(
    issuer: &'a Issuer,
    taken: &[Anchor],
    before: Option<&'a CertificateRevocationListDer<'static>>,
) -> Result<Vouching<'a>, IssuerFault> {
    let bare = Anchor::read(&issuer.certificate)?;
    if taken.iter().any(|other| other.has_key_of(&bare)) {
        return Err(IssuerFault::OtherPlane);
    }
    let Some(newest) = &issuer.revocations else {
        return Ok(Vouching { anchor: bare, list: None, passed_over: None });
    };
    match bare.with_revocations(newest) {
        Ok(anchor) => Ok(Vouching { anchor, list: Some(newest), passed_over: None }),
        Err(fault) => {
            // Without any list the issuer would vouch for what it took back.
            let list = before.ok_or(fault)?;
            Ok(Vouching { anchor: bare.with_revocations(list)?, list: Some(list), passed_over: Some(fault) })
        }
    }
}
