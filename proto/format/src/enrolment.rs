//! Enrolment: how somebody new gets an identity, without any node ever seeing a secret.
//!
//!     token text ──parse──▶ Token ──redeem(own signing key, certificate request)──▶ SignedRedemption ──▶ apply
//!     issuer ──digest of the token's public key──▶ token row: name, roles, end
//!
//! A token is the seed of an Ed25519 key. The state keeps the hash of its public half, a node sees the public half and a
//! signature. Who and what the bearer becomes stands in the token's row; what the text says of it is for the bearer's
//! eyes. A redemption names the new signing key and the certificate request, and both keys sign it: whoever overhears
//! one can neither redeem for another key nor name another's key as its own.
//!
//! Not here: whether a token counts (`node/core`), the certificate (`strongroomd ca`), how text reaches its bearer.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use borsh::{BorshDeserialize, BorshSerialize};
use zeroize::{Zeroize, Zeroizing};

use crate::codec::{self, Format, FormatError};
use crate::id::{
    ClusterEpoch, ClusterName, Digest, GroupId, IdentityId, NodeName, PublicKey, RegionName, Signature, TenantId,
    TenantName,
};
use crate::name::Name;
use crate::role::{Plane, Role};
use crate::secret::Secret;
use crate::sign::{self, SignedError, SigningKey};

/// What the state finds a token by: BLAKE3 of its public key.
pub fn token_digest(token: &PublicKey) -> Digest {
    Digest::from_bytes(*blake3::hash(token.as_bytes()).as_bytes())
}

/// What a redemption calls a certificate request: BLAKE3 of the DER of its SubjectPublicKeyInfo.
pub fn request_digest(subject_public_key_info: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(subject_public_key_info).as_bytes())
}

/// Where a node listens, each as `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NodeAddresses {
    /// For other nodes.
    pub peer: String,
    /// For tenants.
    pub tenant: String,
    /// For operators.
    pub operator: String,
}

impl NodeAddresses {
    /// Longest address in bytes.
    pub const ADDRESS_BYTES_MAX: usize = 261;

    fn check(&self) -> Result<(), &'static str> {
        match [&self.peer, &self.tenant, &self.operator].into_iter().all(|address| is_address(address)) {
            true => Ok(()),
            false => Err("an address is none"),
        }
    }
}

/// Whether a text can be an address: printable, with a host and a port. Whether somebody listens is another question.
fn is_address(text: &str) -> bool {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    let port_reads =
        port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok());
    text.len() <= NodeAddresses::ADDRESS_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic()) && port_reads
}

// ------------------------------------------------------------------------------------------------- redemptions

/// What the bearer of a token asks: to become what the token's row says, under this signing key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Redemption {
    /// The cluster epoch that it is meant for.
    pub cluster: ClusterEpoch,
    /// The group that keeps the token: the tenant's home shard, or the cluster group for a node's.
    pub group: GroupId,
    /// The tenant; `None` for a node.
    pub tenant: Option<TenantId>,
    /// The token's public key.
    pub token: PublicKey,
    /// The bearer's own signing key.
    pub signing_key: PublicKey,
    /// The request for a certificate ([`request_digest`]): no other is answered with one.
    pub request: Digest,
    /// Where the node listens; `None` for an identity of a tenant.
    pub node: Option<NodeAddresses>,
}

impl Redemption {
    /// What the state finds the token by.
    pub fn token_digest(&self) -> Digest {
        token_digest(&self.token)
    }
}

impl Format for Redemption {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1024;
    const NAME: &'static str = "redemption";

    fn check(&self) -> Result<(), &'static str> {
        let is_node = self.group == GroupId::CLUSTER;
        if self.tenant.is_none() != is_node || self.node.is_some() != is_node {
            return Err("a node has addresses and no tenant, anybody else a tenant and no addresses");
        }
        if self.token == self.signing_key {
            return Err("the token is no signing key");
        }
        if sign::usable(&self.token).is_err() || sign::usable(&self.signing_key).is_err() {
            return Err("a key is none");
        }
        self.node.as_ref().map_or(Ok(()), NodeAddresses::check)
    }
}

/// A redemption with the signatures of both keys that it names. What it says is worth nothing before
/// [`SignedRedemption::open`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedRedemption {
    /// Canonical bytes of a [`Redemption`].
    pub redemption: Vec<u8>,
    /// By the token's key: the bearer has the token.
    pub by_token: Signature,
    /// By the new signing key: the bearer has that too.
    pub by_key: Signature,
}

impl SignedRedemption {
    /// Signs with both keys, which the redemption must name; refuses one that no reader would accept.
    pub fn new(redemption: &Redemption, token: &SigningKey, key: &SigningKey) -> Result<Self, FormatError> {
        if (redemption.token, redemption.signing_key) != (token.public_key(), key.public_key()) {
            return Err(FormatError::Malformed { name: Redemption::NAME, why: "it names other keys".into() });
        }
        let bytes = codec::encode(redemption);
        codec::decode::<Redemption>(&bytes)?;
        let sign = |key: &SigningKey| key.sign(Redemption::NAME, &bytes);
        Ok(Self { by_token: sign(token), by_key: sign(key), redemption: bytes })
    }

    /// The redemption, if both keys that it names have signed it. That proves possession, not that the token counts.
    pub fn open(&self) -> Result<Redemption, SignedError> {
        let redemption: Redemption = codec::decode(&self.redemption)?;
        sign::verify(&redemption.token, Redemption::NAME, &self.redemption, &self.by_token)?;
        sign::verify(&redemption.signing_key, Redemption::NAME, &self.redemption, &self.by_key)?;
        Ok(redemption)
    }

    /// What somebody claims was signed: to find out which group to ask, never to act on it.
    pub fn unverified(&self) -> Result<Redemption, FormatError> {
        codec::decode(&self.redemption)
    }

    /// The digest of the redemption: the same one again is answered as before.
    pub fn digest(&self) -> Digest {
        sign::digest(Redemption::NAME, &self.redemption)
    }
}

impl Format for SignedRedemption {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 + 4 + Redemption::BYTES_MAX + 128;
    const NAME: &'static str = "signed redemption";

    fn check(&self) -> Result<(), &'static str> {
        if self.redemption.len() <= Redemption::BYTES_MAX { Ok(()) } else { Err("the redemption is too long") }
    }
}

// ------------------------------------------------------------------------------------------------- certificates

/// What an identity that is there asks with its signing key: a certificate for another TLS key, in one of its roles. The
/// same wish again gives a certificate for the same TLS key, which whoever overheard it does not have.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CertificateWish {
    /// The cluster epoch that it is meant for.
    pub cluster: ClusterEpoch,
    /// The tenant.
    pub tenant: TenantId,
    /// Who asks.
    pub identity: IdentityId,
    /// In which role.
    pub role: Role,
    /// The request for a certificate ([`request_digest`]).
    pub request: Digest,
}

impl Format for CertificateWish {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 256;
    const NAME: &'static str = "certificate wish";
}

// ------------------------------------------------------------------------------------------------- tokens

/// What its bearer needs to enrol. Whoever has it can: it is a secret for as long as it counts.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    cluster: ClusterName,
    epoch: ClusterEpoch,
    endpoints: Vec<String>,
    pin: Digest,
    bearer: Bearer,
    seed: Secret<32>,
}

/// Who a token is for, as its issuer says. The row decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// A node.
    Node {
        /// Its name.
        name: NodeName,
        /// Its region.
        region: RegionName,
    },
    /// An identity of a tenant.
    Identity {
        /// The tenant.
        tenant: TokenTenant,
        /// The identity.
        identity: IdentityId,
        /// Its roles, sorted.
        roles: Vec<Role>,
    },
}

/// What a token says of a tenant: the bearer pins it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TokenTenant {
    /// Its name.
    pub name: TenantName,
    /// Its id.
    pub id: TenantId,
    /// Its home shard, which keeps the token.
    pub home: GroupId,
    /// Its root key.
    pub root: PublicKey,
}

/// Why a text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAToken {
    /// It begins otherwise.
    #[error("a token begins with {prefix}", prefix = Token::PREFIX)]
    Prefix,
    /// Cut off, or altered.
    #[error("the token is cut off or altered")]
    Garbled,
    /// It reads, and is none.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl Token {
    /// How every token's text begins.
    pub const PREFIX: &'static str = "strongroom-token-1.";
    /// Longest text in bytes.
    pub const TEXT_BYTES_MAX: usize = 12 << 10;
    /// At most so many endpoints.
    pub const ENDPOINTS_MAX: usize = 32;

    /// From its parts; `seed` are 32 random bytes. Refuses what no reader would accept.
    pub fn new(
        cluster: ClusterName,
        epoch: ClusterEpoch,
        endpoints: Vec<String>,
        pin: Digest,
        bearer: Bearer,
        seed: [u8; 32],
    ) -> Result<Self, FormatError> {
        let (name, roles, tenant, region) = match bearer {
            Bearer::Node { name, region } => (name.0, Vec::new(), None, Some(region)),
            Bearer::Identity { tenant, identity, roles } => (identity.0, roles, Some(tenant), None),
        };
        let plane = if tenant.is_some() { Plane::Tenant } else { Plane::Peer };
        TokenBytes { cluster, epoch, endpoints, pin, plane, tenant, region, name, roles, seed }.read()
    }

    /// The token in a text. Blanks around it are of no account, everything else is.
    pub fn parse(text: &str) -> Result<Self, NotAToken> {
        let encoded = text.trim().strip_prefix(Self::PREFIX).ok_or(NotAToken::Prefix)?;
        if Self::TEXT_BYTES_MAX < encoded.len() {
            return Err(NotAToken::Garbled);
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map(Zeroizing::new).map_err(|_| NotAToken::Garbled)?;
        let token: TokenBytes = codec::decode(&bytes)?;
        Ok(token.read()?)
    }

    /// The text. A secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new(codec::encode(&self.to_bytes()));
        let mut text = Zeroizing::new(String::with_capacity(Self::PREFIX.len() + bytes.len().div_ceil(3) * 4));
        text.push_str(Self::PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        text
    }

    /// The cluster.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// Its life.
    pub fn epoch(&self) -> ClusterEpoch {
        self.epoch
    }

    /// Enrolment listeners, each as `host:port`, at least one.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// BLAKE3 of the DER of the CA certificate that ends the chain of every enrolment listener.
    pub fn pin(&self) -> Digest {
        self.pin
    }

    /// Who it is for, as its issuer says.
    pub fn bearer(&self) -> &Bearer {
        &self.bearer
    }

    /// The plane of the certificate.
    pub fn plane(&self) -> Plane {
        match &self.bearer {
            Bearer::Node { .. } => Plane::Peer,
            Bearer::Identity { .. } => Plane::Tenant,
        }
    }

    /// The group that keeps it.
    pub fn group(&self) -> GroupId {
        match &self.bearer {
            Bearer::Node { .. } => GroupId::CLUSTER,
            Bearer::Identity { tenant, .. } => tenant.home,
        }
    }

    /// What the state finds it by.
    pub fn digest(&self) -> Digest {
        token_digest(&self.key().public_key())
    }

    /// Asks to become what the token's row says, under `key`. A node says where it listens, nobody else does.
    pub fn redeem(
        &self,
        key: &SigningKey,
        request: Digest,
        node: Option<NodeAddresses>,
    ) -> Result<SignedRedemption, FormatError> {
        let tenant = match &self.bearer {
            Bearer::Node { .. } => None,
            Bearer::Identity { tenant, .. } => Some(tenant.id),
        };
        let token = self.key();
        let redemption = Redemption {
            cluster: self.epoch,
            group: self.group(),
            tenant,
            token: token.public_key(),
            signing_key: key.public_key(),
            request,
            node,
        };
        SignedRedemption::new(&redemption, &token, key)
    }

    fn key(&self) -> SigningKey {
        SigningKey::from(&self.seed)
    }

    fn to_bytes(&self) -> TokenBytes {
        let (name, roles, tenant, region) = match &self.bearer {
            Bearer::Node { name, region } => (name.0.clone(), Vec::new(), None, Some(region.clone())),
            Bearer::Identity { tenant, identity, roles } => {
                (identity.0.clone(), roles.clone(), Some(tenant.clone()), None)
            }
        };
        TokenBytes {
            cluster: self.cluster.clone(),
            epoch: self.epoch,
            endpoints: self.endpoints.clone(),
            pin: self.pin,
            plane: self.plane(),
            tenant,
            region,
            name,
            roles,
            seed: *self.seed.expose(),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(for {:?}, {})", self.bearer, self.digest())
    }
}

/// A token as it is written.
#[derive(BorshSerialize, BorshDeserialize)]
struct TokenBytes {
    cluster: ClusterName,
    epoch: ClusterEpoch,
    endpoints: Vec<String>,
    pin: Digest,
    plane: Plane,
    tenant: Option<TokenTenant>,
    region: Option<RegionName>,
    name: Name,
    roles: Vec<Role>,
    seed: [u8; 32],
}

impl TokenBytes {
    fn read(mut self) -> Result<Token, FormatError> {
        let malformed = |why: &str| FormatError::Malformed { name: Self::NAME, why: why.into() };
        self.check().map_err(malformed)?;
        let seed = Secret::new(self.seed).map_err(|weak| malformed(&weak.to_string()))?;
        let name = self.name.clone();
        let bearer = match (self.plane, self.tenant.take(), self.region.take()) {
            (Plane::Peer, None, Some(region)) => Bearer::Node { name: NodeName(name), region },
            (Plane::Tenant, Some(tenant), None) => {
                Bearer::Identity { tenant, identity: IdentityId(name), roles: std::mem::take(&mut self.roles) }
            }
            _ => return Err(malformed("a node has a region, anybody else a tenant")),
        };
        Ok(Token {
            cluster: self.cluster.clone(),
            epoch: self.epoch,
            endpoints: std::mem::take(&mut self.endpoints),
            pin: self.pin,
            bearer,
            seed,
        })
    }
}

impl Drop for TokenBytes {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

impl Format for TokenBytes {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = (Token::TEXT_BYTES_MAX / 4) * 3;
    const NAME: &'static str = "enrolment token";

    fn check(&self) -> Result<(), &'static str> {
        if self.endpoints.is_empty() || Token::ENDPOINTS_MAX < self.endpoints.len() {
            return Err("no endpoint, or too many");
        }
        if !self.endpoints.iter().all(|endpoint| is_address(endpoint)) {
            return Err("an endpoint is no address");
        }
        if !self.roles.is_sorted_by(|a, b| a < b) || self.roles.is_empty() != self.tenant.is_none() {
            return Err("roles are missing, not sorted, or one is named twice");
        }
        match &self.tenant {
            Some(tenant) if tenant.home == GroupId::CLUSTER || sign::usable(&tenant.root).is_err() => {
                Err("the tenant's root key or home is none")
            }
            Some(_) | None => Ok(()),
        }
    }
}
