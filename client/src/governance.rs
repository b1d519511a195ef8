//! What operators decide about the cluster: tokens for nodes, shards, CAs, and whether a tenant's people may do anything.
//!
//! Promises: a request is made into one command, which is never executed twice. Not here: admitting tenants
//! (`tenants.rs`), who may do this (the rules).

use std::time::Duration;

use strongroom_format::codec;
use strongroom_format::command::OperatorBody;
use strongroom_format::enrolment::{Bearer, Token};
use strongroom_format::id::{ClusterEpoch, Digest, GroupId, NodeName, Nonce, RegionName, StatementVersion, TenantId};
use strongroom_format::keys::RootKey;
use strongroom_format::outcome::Done;
use strongroom_format::quota::TenantLimits;
use strongroom_format::role::Plane;
use strongroom_format::sign::Signed;
use strongroom_format::statement::{IssuerAcceptance, issuer_digest};
use strongroom_proto::v1 as pb;
use strongroom_proto_identity::certificate::read_authority;
use strongroom_proto_identity::tls::certificates_from_pem;
use strongroom_proto_identity::verify::Anchor;
use zeroize::Zeroizing;

use crate::connect::Effect;
use crate::enrol::Door;
use crate::error::{Error, Result};
use crate::identities::{ends, read_door};
use crate::operator::Operator;
use crate::random::random;
use crate::session;

/// What is to become of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its people may do nothing; nothing is lost.
    Suspend,
    /// They may go on.
    Resume,
    /// They never will again, and the name is never given again; nothing is lost.
    End,
}

/// Where strangers enrol, and under which CA.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// The door.
    pub door: Door,
    /// DER of the cluster's own CA of the tenant plane.
    pub authority: Vec<u8>,
}

impl Operator {
    /// Where strangers enrol, as the node that answers says.
    ///
    /// # Errors
    /// `Refused` with reason `NO_ENROLMENT` if that node lets nobody in.
    pub async fn enrolment(&self) -> Result<Enrolment> {
        let reply =
            self.call(Effect::None, |mut client| async move { client.describe(pb::DescribeRequest {}).await }).await?;
        let cluster =
            reply.cluster.parse().map_err(|_| Error::broken("the node's answer has no usable cluster name"))?;
        let door = read_door(reply.door.as_ref(), cluster, self.epoch())?;
        let authority = reply.door.map(|door| door.authority.to_vec()).unwrap_or_default();
        Ok(Enrolment { door, authority })
    }

    /// Issues a token: the machine that has its text becomes this node, once.
    ///
    /// # Errors
    /// `Refused` if the name was used before or the operator may not.
    pub async fn issue_node_token(
        &self,
        node: NodeName,
        region: RegionName,
        lifetime: Duration,
    ) -> Result<Zeroizing<String>> {
        let Enrolment { door, .. } = self.enrolment().await?;
        let bearer = Bearer::Node { name: node.clone(), region: region.clone() };
        let token = Token::new(door.cluster, self.epoch(), door.endpoints, door.pin, bearer, random()?)?;
        let (lifetime_ms, wall_end_unix_ms) = ends(lifetime)?;
        let body = OperatorBody::IssueNodeToken { token: token.digest(), node, region, lifetime_ms, wall_end_unix_ms };
        self.decide(body).await?;
        Ok(token.to_text())
    }

    /// Says how much a tenant may have and how fast it may send, in place of what was said before.
    ///
    /// # Errors
    /// `Refused` if the operator may not, there is no such tenant, or the limits make no sense.
    pub async fn limit_tenant(&self, tenant: TenantId, limits: TenantLimits, reason: String) -> Result<()> {
        self.decide(OperatorBody::LimitTenant { tenant, limits, reason }).await.map(|_done| ())
    }

    /// Creates a shard with one member on each of these nodes.
    ///
    /// # Errors
    /// `Refused` if they do not make a shard that keeps its promises.
    pub async fn create_shard(&self, slots: Vec<NodeName>) -> Result<GroupId> {
        match self.decide(OperatorBody::CreateShard { slots }).await? {
            Done::ShardCreated { group, .. } => Ok(group),
            other => Err(session::unexpected(&other)),
        }
    }

    /// Registers a CA; on the tenant plane for the tenants whose acceptances are given.
    ///
    /// # Errors
    /// `Refused` if it is no CA, or an acceptance does not hold.
    pub async fn register_issuer(&self, plane: Plane, pem: &[u8], acceptances: Vec<Vec<u8>>) -> Result<Digest> {
        let certificate = authority(pem)?;
        let digest = issuer_digest(&certificate);
        self.decide(OperatorBody::RegisterIssuer { plane, certificate, acceptances }).await?;
        Ok(digest)
    }

    /// Takes a CA out of use, for ever.
    ///
    /// # Errors
    /// `Refused` if there is none, or it is the last of its plane.
    pub async fn retire_issuer(&self, pem: &[u8]) -> Result<Digest> {
        let issuer = issuer_digest(&authority(pem)?);
        self.decide(OperatorBody::RetireIssuer { issuer }).await?;
        Ok(issuer)
    }

    /// Tells the cluster what a CA revoked; the list (DER) must be signed by it, and newer than the last.
    ///
    /// # Errors
    /// `Refused` with reason `REVOCATIONS` if the list is not the CA's.
    pub async fn put_revocations(&self, pem: &[u8], list: Vec<u8>) -> Result<u64> {
        let certificate = authority(pem)?;
        let anchor = Anchor::read(&certificate.clone().into()).map_err(|fault| no_authority(&fault))?;
        let number = anchor.revocations_number(&list.clone().into()).map_err(|fault| {
            Error::refused(
                "INVALID_ARGUMENT",
                "REVOCATIONS",
                fault,
                "name a list in DER that this CA signed, with a number (`openssl crl -outform DER` converts PEM)",
            )
        })?;
        let issuer = issuer_digest(&certificate);
        self.decide(OperatorBody::PutRevocations { issuer, number, revocations: list }).await?;
        Ok(number)
    }

    /// Decides what becomes of a tenant.
    ///
    /// # Errors
    /// `Refused` if there is none, or it has ended.
    pub async fn set_standing(&self, tenant: TenantId, standing: Standing, reason: String) -> Result<()> {
        let body = match standing {
            Standing::Suspend => OperatorBody::SuspendTenant { tenant, reason },
            Standing::Resume => OperatorBody::ResumeTenant { tenant, reason },
            Standing::End => OperatorBody::EndTenant { tenant, reason },
        };
        self.decide(body).await.map(|_done| ())
    }

    /// One command with a nonce of its own; lost answers are asked for with the same one.
    async fn decide(&self, body: OperatorBody) -> Result<Done> {
        self.submit(Nonce::from_bytes(random()?), body).await
    }
}

/// Says, with the tenant's root key, that a CA may issue certificates for its people. Canonical bytes, for
/// [`Operator::register_issuer`].
///
/// # Errors
/// `Refused` with reason `ISSUER` if it is no CA.
pub fn accept_issuer(
    root: &RootKey,
    tenant: TenantId,
    cluster: ClusterEpoch,
    pem: &[u8],
    version: StatementVersion,
) -> Result<Vec<u8>> {
    let issuer = issuer_digest(&authority(pem)?);
    let acceptance = IssuerAcceptance { tenant, cluster, issuer, version };
    Ok(codec::encode(&Signed::new(&acceptance, root.signing_key())?))
}

/// The one CA certificate of a PEM text, in DER.
fn authority(pem: &[u8]) -> Result<Vec<u8>> {
    let certificates = certificates_from_pem(pem).map_err(|fault| no_authority(&fault))?;
    let [certificate] = &certificates[..] else {
        return Err(no_authority(&"there is more than one certificate in it"));
    };
    read_authority(certificate).map_err(|fault| no_authority(&fault))?;
    Ok(certificate.to_vec())
}

fn no_authority(fault: &dyn std::fmt::Display) -> Error {
    Error::refused("INVALID_ARGUMENT", "ISSUER", fault, "name a PEM file with the certificate of one CA")
}
