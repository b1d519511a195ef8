//! Enrolment: strangers become somebody. What they must prove they prove by signatures in the body.
//!
//! ```text
//!   Enrol    redemption: both signatures? ─▶ does the token count? ─▶ Redeem, decided in apply ─┐
//!   Certify  wish: does the identity's own key sign it? is its row open, with the role? ────────┤
//!                                                                       certificates ◀─ CA processes ◀┘
//! ```
//!
//! Names and roles come from rows, never from the caller (N105). A token that does not count, an unknown one and one of a
//! foreign tenant read alike, and cost no log entry. Whoever lost the answer asks again with the same bytes and gets it.
//! Not here: who may issue tokens and what they make (`node/core`), TLS (`node/identity`, `doorstep.rs`).

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rustls_pki_types::CertificateDer;
use strongroom_core::entry::EntryCommand;
use strongroom_core::genesis::Genesis;
use strongroom_core::query::{Answer as Answered, Query, TokenView};
use strongroom_format::codec;
use strongroom_format::enrolment::{CertificateWish, Redemption, SignedRedemption, request_digest};
use strongroom_format::id::{GroupId, IdentityId, NodeName, RegionName, ReplicaId, TenantId};
use strongroom_format::outcome::{Done, Outcome, Redeemed, Refusal};
use strongroom_format::role::{Plane, Role};
use strongroom_format::sign::Signed;
use strongroom_host::Host;
use strongroom_identity::doorstep::Stranger;
use strongroom_identity::issuers::Issuers;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::enrolment_server::Enrolment;
use strongroom_proto_identity::spiffe::SpiffeId;
use strongroom_service::propose::Proposer;
use strongroom_service::reads::Reads;
use strongroom_service::standing::{NotStanding, Standings};
use strongroom_service::topology::InForce;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
use tonic::transport::server::Connected;
use tonic::{Code, Request, Response, Status};

use crate::answers::{self, Answer};
use crate::authority::Authorities;

/// An entry may take so long, elections included; then its outcome is unknown, and the same redemption is sent again.
const REDEEM_WITHIN: Duration = Duration::from_secs(12);
/// Questions may take so long.
const ASK_WITHIN: Duration = Duration::from_secs(8);
/// So many strangers at once; more are told to come back.
const AT_ONCE_MAX: usize = 32;

/// Where whoever has a token goes, and by what it knows the place.
#[derive(Clone, Debug)]
pub struct EnrolmentDoor {
    /// `host:port`.
    pub endpoint: String,
    /// The CA certificate that ends the listener's chain.
    pub authority: CertificateDer<'static>,
}

/// What enrolment stands on.
#[derive(Clone)]
pub struct EnrolmentPlane {
    /// This machine.
    pub host: Host,
    /// Where everything is.
    pub topology: InForce,
    /// Which CAs tenants accepted.
    pub issuers: Issuers,
    /// Who is there.
    pub standings: Standings,
    /// Questions to groups.
    pub reads: Reads,
    /// Into logs.
    pub proposer: Proposer,
    /// The CA processes.
    pub authorities: Authorities,
    /// The certificates of the built-in CAs, by plane.
    pub roots: BTreeMap<Plane, CertificateDer<'static>>,
    /// What the cluster began with.
    pub genesis: Arc<Genesis>,
    /// Room for strangers.
    pub room: Room,
}

/// Bounds how many strangers are served at once. Clones share it.
#[derive(Clone)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE_MAX)))
    }
}

#[tonic::async_trait]
impl Enrolment for EnrolmentPlane {
    async fn enrol(&self, request: Request<pb::EnrolRequest>) -> Result<Response<pb::EnrolReply>, Status> {
        let _place = self.room.0.try_acquire().map_err(|_full| busy())?;
        let pb::EnrolRequest { redemption, key } = request.into_inner();
        let signed: SignedRedemption = codec::decode(&redemption).map_err(answers::status)?;
        let redemption = signed.open().map_err(|_| refused(&Refusal::Signature))?;
        self.is_meant(&redemption, &key).await?;
        self.counts(&redemption, &signed).await?;
        let entry = vec![EntryCommand::Redeem(signed)];
        let applied = self.proposer.propose(redemption.group, entry, REDEEM_WITHIN).await.map_err(answers::status)?;
        let reply = match applied.outcomes.into_iter().next() {
            Some(Outcome::Done(Done::Redeemed(Redeemed::Identity { identity, roles }))) => {
                let tenant = redemption.tenant.ok_or_else(no_outcome)?;
                self.certificates(tenant, &identity, &roles, &key).await?
            }
            Some(Outcome::Done(Done::Redeemed(Redeemed::Node { node, region, replica }))) => {
                self.join(&node, &region, replica, &key).await?
            }
            Some(Outcome::Refused(refusal)) => return Err(refused(&refusal)),
            Some(Outcome::Done(_) | Outcome::Forgotten) | None => return Err(no_outcome()),
        };
        Ok(Response::new(reply))
    }

    async fn certify(&self, request: Request<pb::CertifyRequest>) -> Result<Response<pb::EnrolReply>, Status> {
        let _place = self.room.0.try_acquire().map_err(|_full| busy())?;
        let pb::CertifyRequest { wish, key } = request.into_inner();
        let signed: Signed<CertificateWish> = codec::decode(&wish).map_err(answers::status)?;
        let claimed = signed.unverified().map_err(answers::status)?;
        let topology = self.topology.now();
        if claimed.cluster != topology.epoch {
            return Err(refused(&Refusal::WrongGroup));
        }
        if claimed.request != request_digest(&key) {
            return Err(answers::invalid("the wish names another key"));
        }
        // Who does not exist, is closed, has another role or another key reads alike.
        let found = self.standings.now(claimed.tenant, claimed.identity.clone()).await.map_err(answers::status)?;
        let row = found.row.filter(|row| row.open && row.has(claimed.role)).ok_or_else(nobody)?;
        let wish = signed.open(&row.signing_key).map_err(|_| nobody())?;
        if !found.active {
            return Err(refused(&Refusal::TenantSuspended));
        }
        self.certificates(wish.tenant, &wish.identity, &[wish.role], &key).await.map(Response::new)
    }
}

impl EnrolmentPlane {
    /// What costs nothing to find out, but where the tenant is not known here.
    async fn is_meant(&self, redemption: &Redemption, key: &[u8]) -> Result<(), Status> {
        let topology = self.topology.now();
        if redemption.cluster != topology.epoch {
            return Err(refused(&Refusal::WrongGroup));
        }
        if redemption.request != request_digest(key) {
            return Err(answers::invalid("the redemption names another key"));
        }
        let Some(tenant) = redemption.tenant else {
            return Plane::ALL.into_iter().try_for_each(|plane| self.can_issue(plane));
        };
        let facts = match self.standings.tenant(tenant).await {
            Ok(facts) if facts.home == redemption.group => facts,
            Ok(_) | Err(NotStanding::Identity) => return Err(refused(&Refusal::Token)),
            Err(not) => return Err(answers::status(not)),
        };
        self.can_issue(Plane::Tenant)?;
        self.is_accepted(&facts.name.0)
    }

    fn can_issue(&self, plane: Plane) -> Result<(), Status> {
        if self.authorities.knows(plane) && self.roots.contains_key(&plane) {
            return Ok(());
        }
        Err(answers::status(Answer::new(
            Code::FailedPrecondition,
            "NO_AUTHORITY",
            format!("this node knows no CA process of the {plane} plane: name it under [ca] in node.toml"),
        )))
    }

    /// A certificate that the tenant has not agreed to would open nothing.
    fn is_accepted(&self, tenant: &strongroom_format::name::Name) -> Result<(), Status> {
        let root = self.roots.get(&Plane::Tenant);
        if root.is_some_and(|root| self.issuers.is_accepted(tenant, root)) {
            return Ok(());
        }
        Err(answers::status(Answer::new(
            Code::FailedPrecondition,
            "ISSUER",
            "the tenant has not accepted the cluster's own CA: get the certificate from the tenant's CA, or have it \
             accepted with `strongroom issuer register`",
        )))
    }

    /// Whether the token counts, before anything is written for it.
    async fn counts(&self, redemption: &Redemption, signed: &SignedRedemption) -> Result<(), Status> {
        let query = Query::Token { tenant: redemption.tenant, token: redemption.token_digest() };
        let answer = self.reads.linearizable(redemption.group, &query, ASK_WITHIN).await.map_err(answers::status)?;
        let Answered::Token(TokenView { ends_ms, now_ms, wall_end_unix_ms, used }) = answer else {
            return Err(refused(&Refusal::Token));
        };
        let wall_unix_ms = self.host.clock().wall_unix_ns() / 1_000_000;
        match used {
            Some(first) if first == signed.digest() => Ok(()),
            Some(_) => Err(refused(&Refusal::TokenUsed)),
            None if ends_ms <= now_ms || wall_end_unix_ms <= wall_unix_ms => Err(refused(&Refusal::Token)),
            None => Ok(()),
        }
    }

    /// One certificate for each role.
    async fn certificates(
        &self,
        tenant: TenantId,
        identity: &IdentityId,
        roles: &[Role],
        key: &[u8],
    ) -> Result<pb::EnrolReply, Status> {
        let topology = self.topology.now();
        let facts = self.standings.tenant(tenant).await.map_err(answers::status)?;
        self.can_issue(Plane::Tenant)?;
        self.is_accepted(&facts.name.0)?;
        let mut certificates = Vec::new();
        for role in roles {
            let id = SpiffeId::Tenant {
                cluster: topology.cluster.0.clone(),
                tenant: facts.name.0.clone(),
                identity: identity.0.clone(),
                role: *role,
            };
            certificates.push(self.issue(Plane::Tenant, &id, role.as_str(), key).await?);
        }
        Ok(pb::EnrolReply {
            certificates,
            roots: vec![self.roots_of(Plane::Tenant)],
            endpoints: topology.nodes.values().map(|place| place.tenant.clone()).collect(),
            joining: None,
        })
    }

    /// Everything that a node needs to begin.
    async fn join(
        &self,
        node: &NodeName,
        region: &RegionName,
        replica: ReplicaId,
        key: &[u8],
    ) -> Result<pb::EnrolReply, Status> {
        let topology = self.topology.now();
        let map = self.reads.linearizable(GroupId::CLUSTER, &Query::ClusterMap, ASK_WITHIN).await;
        let map = map.map_err(answers::status)?;
        let id = SpiffeId::Node { cluster: topology.cluster.0.clone(), region: region.0.clone(), node: node.0.clone() };
        let mut certificates = Vec::new();
        for plane in Plane::ALL {
            certificates.push(self.issue(plane, &id, "", key).await?);
        }
        let authority = |(plane, endpoint): (Plane, &str)| pb::AuthorityPlace {
            plane: plane.to_string(),
            endpoint: endpoint.to_owned(),
        };
        let joining = pb::Joining {
            genesis: codec::encode(&*self.genesis).into(),
            map: codec::encode(&map).into(),
            replica: replica.0,
            authorities: self.authorities.places().map(authority).collect(),
        };
        Ok(pb::EnrolReply {
            certificates,
            roots: Plane::ALL.into_iter().map(|plane| self.roots_of(plane)).collect(),
            endpoints: Vec::new(),
            joining: Some(joining),
        })
    }

    async fn issue(&self, plane: Plane, id: &SpiffeId, role: &str, key: &[u8]) -> Result<pb::Certificate, Status> {
        let leaf = self.authorities.issue(plane, id, key).await.map_err(answers::status)?;
        // Whole, so that a node that joined can show its CA's certificate to strangers itself.
        let chain = std::iter::once(&leaf).chain(self.roots.get(&plane));
        let chain = chain.map(|certificate| Bytes::copy_from_slice(certificate)).collect();
        Ok(pb::Certificate { plane: plane.to_string(), role: role.to_owned(), chain })
    }

    fn roots_of(&self, plane: Plane) -> pb::Roots {
        let certificates = self.roots.get(&plane).map(|root| Bytes::copy_from_slice(root)).into_iter().collect();
        pb::Roots { plane: plane.to_string(), certificates }
    }
}

fn refused(refusal: &Refusal) -> Status {
    answers::status(answers::refusal(refusal))
}

fn nobody() -> Status {
    refused(&Refusal::Identity)
}

fn busy() -> Status {
    answers::status(Answer::new(Code::ResourceExhausted, "BUSY", "many enrol just now: try again in a moment"))
}

fn no_outcome() -> Status {
    answers::status(Answer::new(Code::Unknown, "OUTCOME_UNKNOWN", "the rules answered nothing; send the same again"))
}

/// A stranger's connection as tonic wants to see it. Nothing is known of who it is.
#[derive(Debug)]
pub(crate) struct Guest(pub(crate) Stranger);

impl Connected for Guest {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Guest {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Where strangers go, for whoever hands out tokens.
pub(crate) fn door(door: Option<&EnrolmentDoor>) -> Option<pb::EnrolmentDoor> {
    door.map(|door| pb::EnrolmentDoor {
        endpoint: door.endpoint.clone(),
        authority: Bytes::copy_from_slice(&door.authority),
    })
}
