//! Who calls: the connection's certificate, the row of the call, and the identity's own row.
//!
//! ```text
//!   claim (nothing is looked up)                         stand (the home shard's row, at most 3 s old)
//!   certificate still good? ─▶ row of the call? ─▶ tenant active? ─▶ … the body … ─▶ open, with this role?
//! ```
//!
//! What a body names is compared with the claim between the two, so that a foreign name is refused before any lookup
//! (N20). Headers and bodies never say who calls (N30). Not here: handshakes and the table of calls (`node/identity`).

use std::time::Duration;

use strongroom_format::id::{IdentityId, TenantId};
use strongroom_format::role::Role;
use strongroom_identity::admission;
use strongroom_identity::issuers::TenantState;
use strongroom_identity::peer::Peer;
use strongroom_proto_identity::spiffe::SpiffeId;
use strongroom_service::caller::Caller;
use strongroom_service::standing::{NotStanding, Standings};
use tonic::{Request, Status};

use crate::answers;

/// How often a long stream's caller is checked again.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// What a certificate claims, admitted to a call.
#[derive(Clone, Debug)]
pub struct Claim {
    peer: Peer,
    /// The certificate's tenant.
    pub tenant: TenantId,
    /// The certificate's identity.
    pub identity: IdentityId,
    role: Role,
}

/// An operator, admitted to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Who.
    pub operator: IdentityId,
}

/// Tells who calls. Clones are the same.
#[derive(Clone)]
pub struct Callers {
    standings: Standings,
}

impl Callers {
    /// With copies of identity rows.
    pub fn new(standings: Standings) -> Self {
        Self { standings }
    }

    /// What the certificate claims, if it may make this call. Nothing is looked up.
    pub fn claim<T>(&self, request: &Request<T>, path: &'static str) -> Result<Claim, Status> {
        let peer = admitted(request, path)?;
        let SpiffeId::Tenant { identity, role, .. } = peer.id() else {
            return Err(answers::denied(admission::Denied::Role));
        };
        let (identity, role) = (IdentityId(identity.clone()), *role);
        // Admitted on the tenant plane, so the table named the tenant; it may be gone since.
        let tenant = peer.tenant().ok_or_else(|| answers::status(NotStanding::Identity))?;
        match tenant.state {
            TenantState::Active => Ok(Claim { peer, tenant: tenant.id, identity, role }),
            TenantState::Suspended => Err(answers::status(NotStanding::Suspended)),
        }
    }

    /// Whether the identity's row says so too.
    pub async fn stand(&self, claim: &Claim) -> Result<Caller, Status> {
        let Claim { tenant, identity, role, .. } = claim;
        self.standings.check(*tenant, identity, *role).await.map_err(answers::status)?;
        Ok(Caller { tenant: *tenant, identity: identity.clone(), role: *role })
    }

    /// Both at once, for calls whose body names nobody.
    pub async fn identify<T>(&self, request: &Request<T>, path: &'static str) -> Result<Caller, Status> {
        let claim = self.claim(request, path)?;
        self.stand(&claim).await
    }

    /// Ends, with what to answer, when the caller of a long stream would not be let in any more (N17, N18).
    pub async fn until_refused(&self, claim: Claim) -> Status {
        loop {
            tokio::time::sleep(WATCH_EVERY).await;
            if claim.peer.check().is_err() {
                return answers::not_valid_any_more();
            }
            let Claim { tenant, identity, role, .. } = &claim;
            match self.standings.check(*tenant, identity, *role).await {
                // An election ends no stream.
                Ok(()) | Err(NotStanding::Unavailable) => {}
                Err(not @ (NotStanding::Identity | NotStanding::Suspended)) => return answers::status(not),
            }
        }
    }

    /// The operator, if it may make this call.
    pub fn operator<T>(&self, request: &Request<T>, path: &'static str) -> Result<Operator, Status> {
        let peer = admitted(request, path)?;
        match peer.id() {
            SpiffeId::Operator { operator, .. } => Ok(Operator { operator: IdentityId(operator.clone()) }),
            SpiffeId::Tenant { .. } | SpiffeId::Node { .. } => Err(answers::denied(admission::Denied::Role)),
        }
    }
}

pub(crate) fn admitted<T>(request: &Request<T>, path: &'static str) -> Result<Peer, Status> {
    let peer = request.extensions().get::<Peer>().cloned();
    let peer = peer.ok_or_else(answers::not_valid_any_more)?;
    peer.check().map_err(|_| answers::not_valid_any_more())?;
    admission::admit(path, peer.plane(), peer.id()).map_err(answers::denied)?;
    Ok(peer)
}
