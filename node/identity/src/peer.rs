//! Who is at the other end of an accepted connection, for as long as it is open.
//!
//! A certificate ends and is taken back while connections live, so [`Peer::check`] is asked again on every request and
//! every few seconds inside long streams. It costs a comparison, and a whole chain only after the table of issuers
//! changed.
//!
//! Not here: identity rows, roles in rows (`node/service`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use strongroom_format::role::Plane;
use strongroom_host::Host;
use strongroom_proto_identity::spiffe::SpiffeId;
use strongroom_proto_identity::verify::Refused;

use crate::issuers::{Issuers, Tenant};
use crate::time::now;

/// The other end. Clones are the same.
#[derive(Clone, Debug)]
pub struct Peer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    plane: Plane,
    id: SpiffeId,
    address: SocketAddr,
    /// The end of its certificate; `None` where the medium vouches and there is none.
    not_after_unix_s: Option<u64>,
    /// Leaf first; empty where the medium vouches.
    chain: Vec<CertificateDer<'static>>,
    accepted_raw: Duration,
    /// The table by which it was judged last.
    judged_by: AtomicU64,
    issuers: Issuers,
    host: Host,
}

/// What the acceptor knows of a connection.
pub(crate) struct Introduction {
    pub(crate) plane: Plane,
    pub(crate) id: SpiffeId,
    pub(crate) address: SocketAddr,
    pub(crate) not_after_unix_s: Option<u64>,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// The version of the table before the handshake: if it has changed since, the next check judges again.
    pub(crate) judged_by: u64,
}

impl Peer {
    pub(crate) fn new(introduction: Introduction, issuers: Issuers, host: Host) -> Self {
        let Introduction { plane, id, address, not_after_unix_s, chain, judged_by } = introduction;
        let accepted_raw = host.clock().raw();
        let judged_by = AtomicU64::new(judged_by);
        Self(Arc::new(Inner { plane, id, address, not_after_unix_s, chain, accepted_raw, judged_by, issuers, host }))
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.0.id
    }

    /// By which door it came.
    #[must_use]
    pub fn plane(&self) -> Plane {
        self.0.plane
    }

    /// From where.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The last second of its certificate, since 1970; `None` on simulated connections.
    #[must_use]
    pub fn not_after_unix_s(&self) -> Option<u64> {
        self.0.not_after_unix_s
    }

    /// For how long the connection has been open.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.0.host.clock().raw().saturating_sub(self.0.accepted_raw)
    }

    /// What is known of its tenant now; `None` for nodes and operators, and for a tenant that is not in the table.
    #[must_use]
    pub fn tenant(&self) -> Option<Tenant> {
        match &self.0.id {
            SpiffeId::Tenant { tenant, .. } => self.0.issuers.tenant(tenant),
            SpiffeId::Node { .. } | SpiffeId::Operator { .. } => None,
        }
    }

    /// Whether it is a node of the cluster; of tenants and operators this is asked elsewhere.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        match &self.0.id {
            SpiffeId::Node { node, .. } => self.0.issuers.has_node(node),
            SpiffeId::Tenant { .. } | SpiffeId::Operator { .. } => true,
        }
    }

    /// Whether it would still be let in: its certificate has not ended, nor been revoked, and its issuer still speaks
    /// for its name. Refused means UNAUTHENTICATED.
    pub fn check(&self) -> Result<(), Refused> {
        let inner = &*self.0;
        let now = now(&inner.host);
        if inner.not_after_unix_s.is_some_and(|end| end < now.as_secs()) {
            return Err(Refused::Expired);
        }
        let version = inner.issuers.version();
        if inner.judged_by.load(Ordering::Acquire) == version {
            return Ok(());
        }
        match inner.chain.split_first() {
            Some((leaf, intermediates)) => {
                inner.issuers.judge(inner.plane, leaf, intermediates, now)?;
            }
            None => inner.issuers.judge_name(inner.plane, &inner.id)?,
        }
        // The table may have been replaced again meanwhile: then the next check judges by that one.
        inner.judged_by.store(version, Ordering::Release);
        Ok(())
    }
}
