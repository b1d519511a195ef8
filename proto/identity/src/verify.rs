//! A chain against anchors: the one way in which certificates are believed, by nodes and by clients.
//!
//! ```text
//!   bounded? ─▶ signatures, times, usage of the chain (webpki) ─▶ revoked? ─▶ anchor alive? ─▶ leaf (certificate.rs)
//! ```
//!
//! [`Anchors::verify`] says who the leaf is; whether these anchors may vouch for that name is the caller's question, who
//! chooses them. [`NodeVerifier`] is a caller: how a client, or a node that dials, judges the node that answers.
//! Each [`Refused`] ends the handshake with the alert of REFUSALS.md.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, TrustAnchor, UnixTime};
use strongroom_format::id::Digest;
use strongroom_format::name::Name;
use strongroom_format::statement::issuer_digest;
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy,
};

use crate::certificate::{
    AuthorityFault, Leaf, LeafFault, Life, Purpose, chain_is_bounded, public_key, read_authority, read_revocations,
};
use crate::spiffe::SpiffeId;

/// Why a chain was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// More certificates or bytes than anybody needs; nothing was parsed.
    #[error("the certificate chain is too long")]
    ChainTooLong,
    /// Not a certificate, or one with parts that we do not understand.
    #[error("a certificate of the chain cannot be read")]
    Unreadable,
    /// No anchor of ours leads to it.
    #[error("the certificate is from an unknown issuer")]
    UnknownIssuer,
    /// Past its end, or its issuer past its own.
    #[error("the certificate has expired")]
    Expired,
    /// Before its beginning: our clock or theirs is wrong, or it is for later.
    #[error("the certificate is not yet valid")]
    NotYetValid,
    /// Its issuer took it back.
    #[error("the certificate is revoked")]
    Revoked,
    /// Its issuer has a revocation list and that cannot be used: too old, or not signed by the issuer.
    #[error("whether the certificate is revoked cannot be told")]
    RevocationUnknown,
    /// A signature in the chain is of a kind that we do not trust.
    #[error("the certificate chain is signed with an algorithm that is not trusted")]
    Signature,
    /// What the leaf says of itself.
    #[error(transparent)]
    Leaf(#[from] LeafFault),
    /// A good name, but not one that may come here: another cluster, kind, tenant or node.
    #[error("the certificate's name is not acceptable here")]
    Name,
}

impl From<Refused> for CertificateError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::ChainTooLong | Refused::Unreadable | Refused::Leaf(LeafFault::Unreadable) => Self::BadEncoding,
            Refused::UnknownIssuer => Self::UnknownIssuer,
            Refused::Expired => Self::Expired,
            Refused::NotYetValid => Self::NotValidYet,
            Refused::Revoked => Self::Revoked,
            Refused::RevocationUnknown => Self::UnknownRevocationStatus,
            Refused::Signature => Self::BadSignature,
            Refused::Leaf(LeafFault::Purpose | LeafFault::Authority | LeafFault::Key) => Self::InvalidPurpose,
            Refused::Leaf(LeafFault::Lifetime | LeafFault::Name) | Refused::Name => {
                Self::ApplicationVerificationFailure
            }
        }
    }
}

impl From<Refused> for rustls::Error {
    fn from(refused: Refused) -> Self {
        Self::InvalidCertificate(refused.into())
    }
}

/// The certificate of an issuer, ready to vouch, and what it took back.
#[derive(Clone)]
pub struct Anchor {
    trusted: TrustAnchor<'static>,
    life: Life,
    public_key: Arc<[u8]>,
    /// Shared: lists can be large, and anchors are copied when a table is replaced.
    revoked: Option<Arc<CertRevocationList<'static>>>,
}

impl Anchor {
    /// Reads the certificate of an authority.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, AuthorityFault> {
        let life = read_authority(certificate)?;
        let trusted = webpki::anchor_from_trusted_cert(certificate).map_err(|_| AuthorityFault::Unreadable)?.to_owned();
        let public_key = public_key(certificate).ok_or(AuthorityFault::Unreadable)?.into();
        Ok(Self { trusted, life, public_key, revoked: None })
    }

    /// With its revocation list. From then on a certificate of this issuer is refused when the list is out of date: a
    /// list that nobody can refresh must not let a stolen key back in. One that the issuer did not sign is not taken.
    pub fn with_revocations(&self, list: &CertificateRevocationListDer<'_>) -> Result<Self, AuthorityFault> {
        self.revocations_number(list)?;
        let list: CertRevocationList<'static> =
            OwnedCertRevocationList::from_der(list).map_err(|_| AuthorityFault::UnreadableRevocations)?.into();
        if list.issuer() != self.trusted.subject.as_ref() {
            return Err(AuthorityFault::ForeignRevocations);
        }
        Ok(Self { revoked: Some(Arc::new(list)), ..self.clone() })
    }

    /// The number of a revocation list that this authority signed.
    pub fn revocations_number(&self, list: &CertificateRevocationListDer<'_>) -> Result<u64, AuthorityFault> {
        let algorithms = algorithms().all;
        read_revocations(list, |signed, signature| {
            // Which of them it was stands in the list; a signature of one kind is none of another.
            algorithms.iter().any(|kind| kind.verify_signature(&self.public_key, signed, signature).is_ok())
        })
    }

    /// Whether both are the same authority: same subject, same key.
    fn is_same_authority(&self, other: &Self) -> bool {
        self.trusted.subject == other.trusted.subject && self.has_key_of(other)
    }

    /// Whether both have the same key, under whatever name.
    #[must_use]
    pub fn has_key_of(&self, other: &Self) -> bool {
        self.trusted.subject_public_key_info == other.trusted.subject_public_key_info
    }
}

impl fmt::Debug for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anchor").field("life", &self.life).finish_non_exhaustive()
    }
}

/// The anchors of one plane.
#[derive(Clone, Debug, Default)]
pub struct Anchors {
    anchors: Vec<Anchor>,
    /// The same, as webpki wants them: next to each other.
    trusted: Vec<TrustAnchor<'static>>,
}

impl Anchors {
    /// Of two certificates of one authority (it was renewed) the later in the list counts, with its life and its
    /// revocation list: a chain cannot say by which of them it came.
    #[must_use]
    pub fn new(all: Vec<Anchor>) -> Self {
        let mut anchors: Vec<Anchor> = Vec::with_capacity(all.len());
        for anchor in all {
            match anchors.iter_mut().find(|known| known.is_same_authority(&anchor)) {
                Some(known) => *known = anchor,
                None => anchors.push(anchor),
            }
        }
        let trusted = anchors.iter().map(|anchor| anchor.trusted.clone()).collect();
        Self { anchors, trusted }
    }

    /// Reads the certificates of authorities; one bad one spoils all.
    pub fn read(certificates: &[CertificateDer<'_>]) -> Result<Self, AuthorityFault> {
        Ok(Self::new(certificates.iter().map(Anchor::read).collect::<Result<_, _>>()?))
    }

    /// Verifies a chain as it came from the other side. The cost is bounded before anything is parsed.
    pub fn verify(
        &self,
        purpose: Purpose,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Leaf, Refused> {
        if !chain_is_bounded(leaf, intermediates) {
            return Err(Refused::ChainTooLong);
        }
        let end_entity = EndEntityCert::try_from(leaf).map_err(|error| refused(&error))?;
        let path = chain(&end_entity, purpose, &self.trusted, intermediates, now, None)?;
        let anchor_index = self
            .trusted
            .iter()
            .position(|candidate| std::ptr::eq(candidate, path))
            .expect("webpki returns one of the anchors that it was given");
        let anchor = &self.anchors[anchor_index];
        if let Some(list) = &anchor.revoked {
            // A second walk, with this issuer and its list only: another issuer's list, even one with the same name,
            // has no say.
            let lists = [&**list];
            let options = RevocationOptionsBuilder::new(&lists)
                .expect("one list is given")
                .with_depth(RevocationCheckDepth::Chain)
                // What an intermediate issued is not in its issuer's list.
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build();
            chain(
                &end_entity,
                purpose,
                std::slice::from_ref(&self.trusted[anchor_index]),
                intermediates,
                now,
                Some(options),
            )?;
        }
        if now.as_secs() < anchor.life.not_before_unix_s {
            return Err(Refused::NotYetValid);
        }
        if now.as_secs() > anchor.life.not_after_unix_s {
            return Err(Refused::Expired);
        }
        Ok(Leaf::read(leaf, purpose)?)
    }
}

/// The extended key usage of the leaf is read again, and required, in `certificate.rs`: webpki can only require it of
/// issuers as well, which seldom have one.
fn chain<'a>(
    end_entity: &'a EndEntityCert<'a>,
    purpose: Purpose,
    anchors: &'a [TrustAnchor<'static>],
    intermediates: &'a [CertificateDer<'a>],
    now: UnixTime,
    revocations: Option<RevocationOptions<'_>>,
) -> Result<&'a TrustAnchor<'a>, Refused> {
    let usage = match purpose {
        Purpose::Client => KeyUsage::client_auth(),
        Purpose::Server => KeyUsage::server_auth(),
    };
    let algorithms = algorithms().all;
    let path = end_entity
        .verify_for_usage(algorithms, anchors, intermediates, now, usage, revocations, None)
        .map_err(|error| refused(&error))?;
    Ok(path.anchor())
}

/// Signature algorithms that certificates and handshakes may use: those of aws-lc-rs, none with SHA-1.
#[must_use]
pub fn algorithms() -> WebPkiSupportedAlgorithms {
    rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms
}

fn refused(error: &webpki::Error) -> Refused {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } | Error::InvalidCertValidity => Refused::Expired,
        Error::CertNotValidYet { .. } => Refused::NotYetValid,
        // An issuer of ours by name but not by key is another issuer: two authorities may have one subject.
        Error::UnknownIssuer
        | Error::InvalidSignatureForPublicKey
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Refused::UnknownIssuer,
        Error::CertRevoked => Refused::Revoked,
        Error::CrlExpired { .. }
        | Error::UnknownRevocationStatus
        | Error::InvalidCrlSignatureForPublicKey
        | Error::IssuerNotCrlSigner
        | Error::UnsupportedCrlSignatureAlgorithmContext(_)
        | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => Refused::RevocationUnknown,
        Error::UnsupportedSignatureAlgorithmContext(_) | Error::SignatureAlgorithmMismatch => Refused::Signature,
        Error::CaUsedAsEndEntity => Refused::Leaf(LeafFault::Authority),
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => Refused::Leaf(LeafFault::Purpose),
        Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded
        | Error::MaximumNameConstraintComparisonsExceeded => Refused::ChainTooLong,
        Error::NameConstraintViolation => Refused::Name,
        // webpki's list is open, and every other entry is about certificates that we do not understand.
        _ => Refused::Unreadable,
    }
}

/// Which nodes may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedNode {
    /// Any node of the cluster: for clients, to whom they are all alike.
    Any,
    /// This one: for nodes, who must know whom they tell what.
    Exactly {
        /// Its region.
        region: Name,
        /// Its name.
        node: Name,
    },
}

/// How whoever dials judges the node that answers: a server certificate of the plane's issuers, with a node's name.
/// The address that was dialled plays no part.
#[derive(Debug)]
pub struct NodeVerifier {
    vouches: Vouches,
    cluster: Name,
    expected: ExpectedNode,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Who vouches for nodes.
#[derive(Debug)]
enum Vouches {
    Anchors(Anchors),
    /// The CA whose certificate has this hash, which ends the chain that the node shows.
    Pinned(Digest),
}

impl NodeVerifier {
    /// Nodes of `cluster` that `anchors` vouch for.
    #[must_use]
    pub fn new(anchors: Anchors, cluster: Name, expected: ExpectedNode) -> Self {
        Self { vouches: Vouches::Anchors(anchors), cluster, expected, algorithms: algorithms() }
    }

    /// For whoever has only a hash: any node of `cluster` under the CA with this certificate (BLAKE3 of its DER), which
    /// must be in the chain.
    #[must_use]
    pub fn pinned(pin: Digest, cluster: Name) -> Self {
        Self { vouches: Vouches::Pinned(pin), cluster, expected: ExpectedNode::Any, algorithms: algorithms() }
    }

    /// The node's leaf, if chain and name are good.
    pub fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Leaf, Refused> {
        let leaf = match &self.vouches {
            Vouches::Anchors(anchors) => anchors.verify(Purpose::Server, leaf, intermediates, now)?,
            Vouches::Pinned(pin) => {
                pinned(pin, leaf, intermediates)?.verify(Purpose::Server, leaf, intermediates, now)?
            }
        };
        let SpiffeId::Node { cluster, region, node } = &leaf.id else {
            return Err(Refused::Name);
        };
        let expected = match &self.expected {
            ExpectedNode::Any => true,
            ExpectedNode::Exactly { region: its_region, node: its_name } => region == its_region && node == its_name,
        };
        if *cluster != self.cluster || !expected {
            return Err(Refused::Name);
        }
        Ok(leaf)
    }
}

/// The pinned CA, out of the chain that it ends.
fn pinned(pin: &Digest, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<Anchors, Refused> {
    if !chain_is_bounded(leaf, intermediates) {
        return Err(Refused::ChainTooLong);
    }
    let root = intermediates.iter().find(|one| issuer_digest(one) == *pin).ok_or(Refused::UnknownIssuer)?;
    Ok(Anchors::new(vec![Anchor::read(root).map_err(|_| Refused::UnknownIssuer)?]))
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What verifiers answer to a signature of TLS 1.2, which no configuration of ours offers.
#[must_use]
pub fn only_tls13() -> rustls::Error {
    rustls::Error::General("only TLS 1.3 is spoken".to_owned())
}

/// The cryptography under TLS, named explicitly: two linked providers would panic at run time.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;
    use std::time::Duration;

    use proptest::prelude::*;
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType, date_time_ymd};

    use super::*;

    const NOW: u64 = 1_795_000_000;

    struct Fixture {
        anchors: Anchors,
        leaf: CertificateDer<'static>,
    }

    static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
        let (key, leaf_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let params = |days: u64| {
            let mut params = CertificateParams::default();
            params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(NOW - 60);
            params.not_after = params.not_before + Duration::from_secs(days * 86_400);
            params
        };
        let mut authority = params(3000);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let anchors = Anchors::read(&[authority.self_signed(&key).unwrap().der().clone()]).unwrap();
        let mut leaf = params(365);
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.subject_alt_names = vec![SanType::URI("spiffe://vault/node/eu/n1".try_into().unwrap())];
        let leaf = leaf.signed_by(&leaf_key, &rcgen::Issuer::new(authority, key)).unwrap().der().clone();
        Fixture { anchors, leaf }
    });

    fn verify(leaf: &[u8]) -> Result<Leaf, Refused> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
        FIXTURE.anchors.verify(Purpose::Server, &CertificateDer::from(leaf), &[], now)
    }

    #[test]
    fn a_leaf_is_believed_for_its_purpose_only() {
        assert_eq!(verify(&FIXTURE.leaf).unwrap().id.to_string(), "spiffe://vault/node/eu/n1");
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
        let as_client = FIXTURE.anchors.verify(Purpose::Client, &FIXTURE.leaf, &[], now);
        assert_eq!(as_client, Err(Refused::Leaf(LeafFault::Purpose)));
        assert_eq!(Anchors::default().verify(Purpose::Server, &FIXTURE.leaf, &[], now), Err(Refused::UnknownIssuer));
    }

    proptest! {
        #[test]
        fn n81_a_changed_byte_makes_a_leaf_worthless_and_never_panics(position in any::<prop::sample::Index>(), change in 1_u8..) {
            let mut bytes = FIXTURE.leaf.to_vec();
            let position = position.index(bytes.len());
            bytes[position] ^= change;
            prop_assert!(verify(&bytes).is_err());
            let _ = Leaf::read(&CertificateDer::from(bytes.as_slice()), Purpose::Server);
            let _ = read_authority(&CertificateDer::from(bytes.as_slice()));
        }

        #[test]
        fn n81_arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            prop_assert!(verify(&bytes).is_err());
            prop_assert!(Leaf::read(&CertificateDer::from(bytes.as_slice()), Purpose::Server).is_err());
        }
    }
}
