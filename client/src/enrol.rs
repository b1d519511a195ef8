//! Enrolment: how a token, or the signing key of somebody who is there already, becomes a certificate.
//!
//! ```text
//!   token ─────────▶ redemption, signed by the token and the new signing key ─┐      any node that proves itself
//!   signing key ───▶ wish ────────────────────────────────────────────────────┴─▶ against the pinned CA ─▶ certificates
//! ```
//!
//! Promises: keys are made here and never leave; no node sees a secret of the token; what comes back is taken only if it
//! names who was meant, fits the key and comes from the CA that the token pins. An answer that was lost is asked for again
//! with the same keys: the same redemption is answered as before.
//! Not here: who may issue tokens (`identities.rs`, `governance.rs`), where keys and profiles are written.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use strongroom_format::codec;
use strongroom_format::enrolment::{CertificateWish, NodeAddresses, Token, request_digest};
use strongroom_format::id::{ClusterEpoch, ClusterName, Digest, IdentityId, TenantId, TenantName};
use strongroom_format::role::{Plane, Role};
use strongroom_format::sign::{Signed, SigningKey};
use strongroom_format::statement::issuer_digest;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::enrolment_client::EnrolmentClient;
use strongroom_proto_identity::certificate::Purpose;
use strongroom_proto_identity::spiffe::SpiffeId;
use strongroom_proto_identity::tls::{Credentials, strangers_config};
use strongroom_proto_identity::verify::NodeVerifier;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tonic::transport::Channel;
use tonic::{Code, Status};
use zeroize::Zeroizing;

use crate::connect::{Deadline, over_tls, turned_away};
use crate::error::{Answered, Error, Result, answered};
use crate::profile::is_endpoint;

/// A node that takes longer to connect to is passed over.
const CONNECT: Duration = Duration::from_secs(5);
/// A node that takes longer to answer is passed over.
const ATTEMPT: Duration = Duration::from_secs(45);
/// Pause after all nodes failed once.
const PAUSE: Duration = Duration::from_millis(300);
/// Lines of PEM have so many characters.
const PEM_LINE: usize = 64;

/// A TLS key, made here. It is never printed.
pub struct TlsKey {
    pkcs8: Zeroizing<Vec<u8>>,
    public: Vec<u8>,
}

impl TlsKey {
    /// A new one: P-256.
    ///
    /// # Errors
    /// `Failed` if the system has no random bytes.
    pub fn generate() -> Result<Self> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
        let pkcs8 = made.map_err(|_| Error::broken("the system gives no random bytes for a TLS key"))?;
        Self::from_pkcs8(Zeroizing::new(pkcs8.as_ref().to_vec()))
    }

    /// One that was made here before.
    ///
    /// # Errors
    /// `Refused` with reason `KEY_FILE` if it is none.
    pub fn from_pem(pem: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(pem).map_err(|_| no_key())?;
        let body: String = text.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
        let bytes = STANDARD.decode(body).map_err(|_| no_key())?;
        Self::from_pkcs8(Zeroizing::new(bytes))
    }

    fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8).map_err(|_| no_key())?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| no_key())?;
        Ok(Self { public: public.as_ref().to_vec(), pkcs8 })
    }

    /// As PEM, PKCS#8.
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem("PRIVATE KEY", &self.pkcs8))
    }

    /// DER of its SubjectPublicKeyInfo.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    fn der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.to_vec()))
    }
}

impl std::fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsKey([redacted])")
    }
}

fn no_key() -> Error {
    Error::refused("FAILED_PRECONDITION", "KEY_FILE", "this is no TLS key that was made here", "remove it to make one")
}

/// Certificates in PEM, one after another.
pub fn chain_pem(chain: &[CertificateDer<'_>]) -> String {
    chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect()
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(PEM_LINE) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// Where strangers go, and by what they know the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its epoch.
    pub epoch: ClusterEpoch,
    /// `host:port`, at least one.
    pub endpoints: Vec<String>,
    /// BLAKE3 of the DER of the CA certificate that ends the chain of every such listener.
    pub pin: Digest,
}

impl fmt::Display for Door {
    /// `cluster/epoch/pin@host:port,…`: one word, to be handed to founders.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}@{}", self.cluster, self.epoch, self.pin, self.endpoints.join(","))
    }
}

impl FromStr for Door {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let expected = || "write CLUSTER/EPOCH/PIN@HOST:PORT, as `tenant create` said".to_owned();
        let (who, endpoints) = text.split_once('@').ok_or_else(expected)?;
        let parts: Vec<&str> = who.split('/').collect();
        let [cluster, epoch, pin] = parts[..] else { return Err(expected()) };
        let endpoints: Vec<String> = endpoints.split(',').map(str::to_owned).collect();
        if !endpoints.iter().all(|endpoint| is_endpoint(endpoint)) {
            return Err(expected());
        }
        Ok(Self {
            cluster: cluster.parse().map_err(|_| expected())?,
            epoch: epoch.parse().map_err(|_| expected())?,
            pin: pin.parse().map_err(|_| expected())?,
            endpoints,
        })
    }
}

/// Somebody of a tenant, in one role.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The role.
    pub role: Role,
    /// Its certificate, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
}

/// An identity of a tenant that has its certificates.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// One a role.
    pub certificates: Vec<Certified>,
    /// Who vouches for the nodes: the CA that was pinned.
    pub roots: Vec<CertificateDer<'static>>,
    /// `host:port` of the nodes' listeners for tenants.
    pub endpoints: Vec<String>,
}

/// A node that may begin.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Its certificates by plane, leaf first.
    pub certificates: Vec<(Plane, Vec<CertificateDer<'static>>)>,
    /// The CAs by plane.
    pub roots: Vec<(Plane, Vec<CertificateDer<'static>>)>,
    /// Canonical bytes of what the cluster began with.
    pub genesis: Vec<u8>,
    /// Canonical bytes of the answer with the cluster map.
    pub map: Vec<u8>,
    /// Where the CA processes are.
    pub authorities: Vec<(Plane, String)>,
}

/// Redeems an identity's token.
///
/// # Errors
/// `Refused` with reason `TOKEN` if it has ended or never was, `TOKEN_USED` if another key redeemed it; `Unavailable` or
/// `Unknown` if nobody answered: do it again with the same keys.
pub async fn enrol(
    token: &Token,
    signing: &SigningKey,
    tls: &TlsKey,
    expected: &Person,
    patience: Duration,
) -> Result<Enrolled> {
    let signed = token.redeem(signing, request_digest(tls.public()), None)?;
    let request =
        pb::EnrolRequest { redemption: codec::encode(&signed).into(), key: Bytes::copy_from_slice(tls.public()) };
    let door = door_of(token);
    let reply = ask(&door, patience, |mut client| {
        let request = request.clone();
        async move { client.enrol(request).await }
    });
    enrolled(reply.await?, &door, tls, expected)
}

/// Redeems a node's token.
///
/// # Errors
/// As [`enrol`].
pub async fn join(
    token: &Token,
    signing: &SigningKey,
    tls: &TlsKey,
    addresses: NodeAddresses,
    expected: &SpiffeId,
    patience: Duration,
) -> Result<Joined> {
    let signed = token.redeem(signing, request_digest(tls.public()), Some(addresses))?;
    let request =
        pb::EnrolRequest { redemption: codec::encode(&signed).into(), key: Bytes::copy_from_slice(tls.public()) };
    let door = door_of(token);
    let reply = ask(&door, patience, |mut client| {
        let request = request.clone();
        async move { client.enrol(request).await }
    });
    let reply = reply.await?;
    let joining = reply.joining.ok_or_else(|| foreign("it lets no node join"))?;
    let mut certificates = Vec::new();
    for certificate in reply.certificates {
        let plane = plane(&certificate.plane)?;
        let chain = chain(certificate.chain);
        is_ours(&chain, tls, Purpose::Server, expected)?;
        certificates.push((plane, chain));
    }
    if !Plane::ALL.into_iter().all(|wanted| certificates.iter().any(|(plane, _)| *plane == wanted)) {
        return Err(foreign("a plane's certificate is missing"));
    }
    let mut roots = Vec::new();
    for one in reply.roots {
        roots.push((plane(&one.plane)?, chain(one.certificates)));
    }
    let mut authorities = Vec::new();
    for place in joining.authorities {
        authorities.push((plane(&place.plane)?, place.endpoint));
    }
    Ok(Joined { certificates, roots, genesis: joining.genesis.to_vec(), map: joining.map.to_vec(), authorities })
}

/// Who is asked for, as the certificate must name it.
#[derive(Clone, Debug)]
pub struct Person {
    /// The tenant's name.
    pub tenant: TenantName,
    /// The identity.
    pub identity: IdentityId,
}

/// What is asked for with a signing key.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The tenant.
    pub tenant: TenantId,
    /// Who.
    pub person: Person,
    /// In which role.
    pub role: Role,
}

/// Asks for a certificate with the signing key of an identity that is there: a founder's first, or the next one.
///
/// # Errors
/// `Refused` with reason `IDENTITY` if there is no open identity with this role and key; else as [`enrol`].
pub async fn certify(
    door: &Door,
    wish: &Wish,
    signing: &SigningKey,
    tls: &TlsKey,
    patience: Duration,
) -> Result<Enrolled> {
    let expected = &wish.person;
    let wish = CertificateWish {
        cluster: door.epoch,
        tenant: wish.tenant,
        identity: expected.identity.clone(),
        role: wish.role,
        request: request_digest(tls.public()),
    };
    let wish = codec::encode(&Signed::new(&wish, signing)?);
    let request = pb::CertifyRequest { wish: wish.into(), key: Bytes::copy_from_slice(tls.public()) };
    let reply = ask(door, patience, |mut client| {
        let request = request.clone();
        async move { client.certify(request).await }
    });
    enrolled(reply.await?, door, tls, expected)
}

fn door_of(token: &Token) -> Door {
    Door {
        cluster: token.cluster().clone(),
        epoch: token.epoch(),
        endpoints: token.endpoints().to_vec(),
        pin: token.pin(),
    }
}

fn enrolled(reply: pb::EnrolReply, door: &Door, tls: &TlsKey, expected: &Person) -> Result<Enrolled> {
    let mut certificates = Vec::new();
    for certificate in reply.certificates {
        let role: Role = certificate.role.parse().map_err(|_| foreign("a role is none"))?;
        let chain = chain(certificate.chain);
        let id = SpiffeId::Tenant {
            cluster: door.cluster.0.clone(),
            tenant: expected.tenant.0.clone(),
            identity: expected.identity.0.clone(),
            role,
        };
        is_ours(&chain, tls, Purpose::Client, &id)?;
        certificates.push(Certified { role, chain });
    }
    if certificates.is_empty() {
        return Err(foreign("there is no certificate in it"));
    }
    let roots = reply.roots.into_iter().filter(|roots| roots.plane == Plane::Tenant.as_str());
    let mut roots: Vec<CertificateDer<'static>> = roots.flat_map(|roots| chain(roots.certificates)).collect();
    roots.retain(|root| issuer_digest(root) == door.pin);
    if roots.is_empty() {
        return Err(foreign("the pinned CA's certificate is missing"));
    }
    Ok(Enrolled { certificates, roots, endpoints: reply.endpoints })
}

/// A certificate that names somebody else, or is for another key, is none of ours.
fn is_ours(chain: &[CertificateDer<'static>], tls: &TlsKey, purpose: Purpose, expected: &SpiffeId) -> Result<()> {
    let credentials =
        Credentials::new(chain.to_vec(), &tls.der(), purpose).map_err(|fault| foreign(&fault.to_string()))?;
    let found = &credentials.leaf().id;
    if found == expected {
        return Ok(());
    }
    Err(foreign(&format!("the certificate names {found}, not {expected}")))
}

fn foreign(why: &str) -> Error {
    Error::provenance(format_args!("the answer is not what was asked for: {why}"))
}

fn chain(certificates: Vec<Bytes>) -> Vec<CertificateDer<'static>> {
    certificates.into_iter().map(|certificate| certificate.to_vec().into()).collect()
}

fn plane(word: &str) -> Result<Plane> {
    Plane::ALL.into_iter().find(|plane| plane.as_str() == word).ok_or_else(|| foreign("a plane is none"))
}

/// Asks one endpoint after another, until one answers or patience ends.
async fn ask<F>(door: &Door, patience: Duration, call: impl Fn(EnrolmentClient<Channel>) -> F) -> Result<pb::EnrolReply>
where
    F: Future<Output = std::result::Result<tonic::Response<pb::EnrolReply>, Status>>,
{
    let deadline = Deadline::after(patience);
    let (mut perhaps_done, mut last) = (false, String::new());
    loop {
        for endpoint in &door.endpoints {
            let until = deadline.instant().min(Instant::now() + ATTEMPT);
            let answer = tokio::time::timeout_at(until, call(EnrolmentClient::new(dial(door, endpoint)?))).await;
            let status = match answer {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_elapsed) => Status::new(Code::DeadlineExceeded, "no answer in time"),
            };
            if let Some(refused) = turned_away(&status) {
                return Err(refused);
            }
            let text = match answered(&status) {
                Answered::No(error) => return Err(next_for(error)),
                Answered::NotNow(text) => text,
                Answered::Perhaps(text) => {
                    perhaps_done = true;
                    text
                }
            };
            last = format!("{endpoint}: {text}");
            if deadline.is_over() {
                break;
            }
        }
        if deadline.is_over() {
            return Err(match perhaps_done {
                true => Error::Unknown { message: format!("{last}; run it again: the same keys get the same answer") },
                false => Error::Unavailable { message: last },
            });
        }
        tokio::time::sleep_until(deadline.instant().min(Instant::now() + PAUSE)).await;
    }
}

/// Says what to do now, where the door's words do not.
fn next_for(error: Error) -> Error {
    let Error::Refused { code, reason, message, next } = error else { return error };
    let next = match reason.as_str() {
        "TOKEN" => "ask for another token: it counts for minutes, and once".into(),
        "TOKEN_USED" => {
            "if it was not you who used it, tell whoever issued it to close that identity; ask for another".into()
        }
        "IDENTITY" => {
            "check --identity, --role and the signing key against the founding record, or ask an admin".into()
        }
        "ISSUER" => "see `strongroom issuer register --help`, or use certificates of the tenant's own CA".into(),
        _ => next,
    };
    Error::Refused { code, reason, message, next }
}

fn dial(door: &Door, endpoint: &str) -> Result<Channel> {
    let config = strangers_config(NodeVerifier::pinned(door.pin, door.cluster.0.clone()));
    over_tls(endpoint, &TlsConnector::from(Arc::new(config)), |endpoint| endpoint.connect_timeout(CONNECT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tls_key_is_read_back_as_it_was_written_and_never_printed() {
        let key = TlsKey::generate().unwrap();
        let again = TlsKey::from_pem(key.to_pem().as_bytes()).unwrap();
        assert_eq!(key.public(), again.public());
        assert!(key.to_pem().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert_eq!(format!("{key:?}"), "TlsKey([redacted])");
        assert_eq!(TlsKey::from_pem(b"no key").unwrap_err().reason(), Some("KEY_FILE"));
    }

    #[test]
    fn a_door_is_one_word_that_reads_as_it_was_written() {
        let door = Door {
            cluster: "prod".parse().unwrap(),
            epoch: ClusterEpoch::from_bytes([9; 16]),
            endpoints: vec!["10.0.0.1:7705".into(), "[::1]:7705".into()],
            pin: Digest::from_bytes([7; 32]),
        };
        assert_eq!(door.to_string().parse(), Ok(door));
        for bad in ["", "prod@a:1", "prod/1/2@a:1", "prod/1/2/3@a:1"] {
            assert!(bad.parse::<Door>().is_err(), "{bad}");
        }
    }

    #[test]
    fn certificates_are_written_as_everybody_reads_them() {
        let certificate = CertificateDer::from(vec![7; 100]);
        let text = chain_pem(&[certificate.clone(), certificate.clone()]);
        let read = strongroom_proto_identity::tls::certificates_from_pem(text.as_bytes()).unwrap();
        assert_eq!(read, [certificate.clone(), certificate]);
    }
}
