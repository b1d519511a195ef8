//! The people and machines of a tenant: tokens for new ones, who there is, closing.
//!
//! Promises: a token's secret is made here and is in the text that is returned, nowhere else; the cluster gets its hash.
//! Not here: what a token becomes (`enrol.rs`), who may do this (the rules).

use std::time::{Duration, SystemTime};

use strongroom_format::command::Body;
use strongroom_format::enrolment::{Bearer, Token, TokenTenant};
use strongroom_format::id::{ClusterEpoch, ClusterName, IdentityId, PublicKey};
use strongroom_format::lock::LockRange;
use strongroom_format::role::Role;
use strongroom_format::statement::issuer_digest;
use strongroom_proto::v1 as pb;
use strongroom_proto_identity::tls::read_certificates;
use zeroize::Zeroizing;

use crate::client::Client;
use crate::enrol::Door;
use crate::error::{Error, Result};
use crate::keyring;
use crate::random::random;
use crate::session::Session;

/// So many identities are asked for at once.
const PAGE: u32 = 1000;

/// An identity, as its row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub id: IdentityId,
    /// Its roles, sorted.
    pub roles: Vec<Role>,
    /// Its signing key.
    pub signing_key: PublicKey,
    /// Whether it may do anything.
    pub is_open: bool,
    /// Who enrolled it; `None`: the founding record.
    pub enrolled_by: Option<IdentityId>,
}

/// Who the bearer of a token is to be.
#[derive(Clone, Debug)]
pub struct NewIdentity {
    /// Its id, never used before in this tenant.
    pub id: IdentityId,
    /// Its roles.
    pub roles: Vec<Role>,
    /// The locks that it may ask for; `None`: each vault's default.
    pub locks: Option<LockRange>,
    /// How long the token counts, at most an hour.
    pub lifetime: Duration,
}

impl Client {
    /// Where to enrol, as the node that answers says: under a CA that the profile believes.
    ///
    /// # Errors
    /// `Refused` with reason `NO_ENROLMENT` if that node lets nobody in.
    pub fn enrolment_door(&self) -> Result<Door> {
        let topology = self.topology();
        let profile = self.profile();
        let door = read_door(topology.door.as_ref(), profile.cluster.name.clone(), topology.cluster)?;
        // A node may name an address, but no CA that the profile does not believe.
        let roots = &profile.cluster.roots;
        let roots = read_certificates(roots).map_err(|fault| keyring::credentials_in(roots, None, fault))?;
        if roots.iter().any(|root| issuer_digest(root) == door.pin) {
            Ok(door)
        } else {
            Err(Error::provenance("the node names another CA for enrolment than cluster.roots in the profile"))
        }
    }

    /// Issues a token: whoever has its text becomes this identity, once.
    ///
    /// # Errors
    /// `Refused` if the caller may not give these roles, the id was used before, or the node lets nobody enrol.
    pub async fn issue_token(&self, new: NewIdentity) -> Result<Zeroizing<String>> {
        let topology = self.topology();
        let profile = self.profile();
        let door = self.enrolment_door()?;
        let mut roles = new.roles;
        roles.sort_unstable();
        roles.dedup();
        let tenant = TokenTenant {
            name: profile.tenant()?.name.clone(),
            id: topology.tenant,
            home: topology.home,
            root: profile.tenant()?.root,
        };
        let bearer = Bearer::Identity { tenant, identity: new.id.clone(), roles: roles.clone() };
        let token = Token::new(door.cluster, topology.cluster, door.endpoints, door.pin, bearer, random()?)?;
        let (lifetime_ms, wall_end_unix_ms) = ends(new.lifetime)?;
        let body = Body::IssueToken {
            token: token.digest(),
            identity: new.id,
            roles,
            locks: new.locks,
            lifetime_ms,
            wall_end_unix_ms,
            approvals: Vec::new(),
        };
        let session = Session::open(self, topology.home, 0).await?;
        let done = session.call(body).await;
        session.end().await;
        done.map(|_done| token.to_text())
    }

    /// All identities that there ever were.
    ///
    /// # Errors
    /// As every reading call.
    pub async fn identities(&self) -> Result<Vec<Identity>> {
        let home = self.topology().home;
        let mut all: Vec<Identity> = Vec::new();
        loop {
            let after = all.last().map(|identity| identity.id.to_string()).unwrap_or_default();
            let request = pb::ListIdentitiesRequest { after, limit: PAGE };
            let reply = self.read(home, |mut client| {
                let request = request.clone();
                async move { client.list_identities(request).await }
            });
            let page = reply.await?.identities;
            let is_last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            for identity in page {
                all.push(read(identity)?);
            }
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Closes an identity for ever.
    ///
    /// # Errors
    /// `Refused` if the caller may not, or there is none of this name.
    pub async fn close_identity(&self, identity: IdentityId, reason: String) -> Result<()> {
        let session = Session::open(self, self.topology().home, 0).await?;
        let done = session.call(Body::CloseIdentity { identity, reason }).await;
        session.end().await;
        done.map(|_done| ())
    }
}

fn read(identity: pb::Identity) -> Result<Identity> {
    let bad = |what: &str| Error::broken(format_args!("the node's answer has no usable {what}"));
    let roles = identity.roles.iter().map(|role| role.parse()).collect::<std::result::Result<_, _>>();
    let enrolled_by = match identity.enrolled_by.as_str() {
        "" => None,
        name => Some(name.parse().map_err(|_| bad("identity"))?),
    };
    Ok(Identity {
        id: identity.id.parse().map_err(|_| bad("identity"))?,
        roles: roles.map_err(|_| bad("role"))?,
        signing_key: PublicKey::from_slice(&identity.signing_key).map_err(|_| bad("signing key"))?,
        is_open: identity.open,
        enrolled_by,
    })
}

/// The door that a node names.
pub(crate) fn read_door(door: Option<&pb::EnrolmentDoor>, cluster: ClusterName, epoch: ClusterEpoch) -> Result<Door> {
    let door = door.ok_or_else(|| {
        Error::refused(
            "FAILED_PRECONDITION",
            "NO_ENROLMENT",
            "the node that answers lets nobody enrol",
            "set listen.enrol and [ca] in its node.toml, or name another node's listener in the profile",
        )
    })?;
    let pin = issuer_digest(&door.authority);
    Ok(Door { cluster, epoch, endpoints: vec![door.endpoint.clone()], pin })
}

/// How long a token counts on the group's time, and when it ends on wall clocks.
pub(crate) fn ends(lifetime: Duration) -> Result<(u64, u64)> {
    let now = SystemTime::UNIX_EPOCH.elapsed().map_err(|fault| Error::failed("the clock is before 1970", fault))?;
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Ok((ms(lifetime), ms(now.saturating_add(lifetime))))
}
