//! One certificate, read: what a leaf says of its bearer, what makes a certificate an authority.
//!
//! A [`Leaf`] that exists has exactly one URI name, and that is a [`SpiffeId`]; it names its purpose, signs no
//! certificates, does not live too long and has a strong key. Common names and DNS names are never read: they would be
//! a second, softer identity beside the first.
//!
//! Not here: signatures, times and issuers (`verify.rs`). So nothing here may be believed before a chain has been
//! verified.

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::spiffe::SpiffeId;

/// Most certificates in a chain, leaf included.
pub const CHAIN_CERTIFICATES_MAX: usize = 4;
/// Most bytes in a chain, leaf included: nothing larger is parsed.
pub const CHAIN_BYTES_MAX: usize = 16 * 1024;
/// Longest life of a leaf in seconds: 400 days, a yearly renewal and a month to do it in.
pub const LEAF_LIFETIME_SECONDS_MAX: u64 = 400 * 24 * 60 * 60;
/// Shortest RSA modulus in bits.
pub const RSA_BITS_MIN: usize = 2048;

/// The tag of a URI in a subject alternative name.
const TAG_URI: u32 = 6;

/// In which part its bearer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It opens connections: extended key usage `clientAuth`.
    Client,
    /// It answers them: extended key usage `serverAuth`.
    Server,
}

/// What a leaf says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its only URI name.
    pub id: SpiffeId,
    /// The serial number's bytes, as its issuer wrote them.
    pub serial: Vec<u8>,
    /// First second of its life, since 1970.
    pub not_before_unix_s: u64,
    /// Last second of its life, since 1970.
    pub not_after_unix_s: u64,
}

/// Why a leaf says nothing that we believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafFault {
    /// Not a certificate, or one with unreadable parts.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// No extended key usage, or not the one that its part needs, or a key usage without signatures.
    #[error("the certificate is not made for this purpose")]
    Purpose,
    /// It may sign certificates.
    #[error("the certificate is that of an authority")]
    Authority,
    /// It lives longer than [`LEAF_LIFETIME_SECONDS_MAX`].
    #[error("the certificate lives too long")]
    Lifetime,
    /// Neither P-256, P-384, Ed25519 nor RSA with [`RSA_BITS_MIN`] bits.
    #[error("the certificate's key is weak or of an unknown kind")]
    Key,
    /// Not exactly one URI name, or none that is a SPIFFE id of ours.
    #[error("the certificate does not name exactly one identity")]
    Name,
}

/// Why a certificate cannot be registered as an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityFault {
    /// Not a certificate, or one with unreadable parts.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// It may not sign certificates.
    #[error("the certificate is not that of an authority")]
    NotAnAuthority,
    /// Its key is weak or of an unknown kind.
    #[error("the authority's key is weak or of an unknown kind")]
    Key,
    /// It constrains names: a constraint on URIs makes every URI name fail.
    #[error("an authority with name constraints cannot vouch for URI names")]
    NameConstraints,
    /// The revocation list cannot be read.
    #[error("the revocation list cannot be read")]
    UnreadableRevocations,
    /// The revocation list is that of another issuer, or not signed by it.
    #[error("the revocation list is not this issuer's")]
    ForeignRevocations,
}

/// From when to when a certificate lives, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// First second.
    pub not_before_unix_s: u64,
    /// Last second.
    pub not_after_unix_s: u64,
}

/// Whether a chain is small enough to be looked at, before any of it is parsed.
#[must_use]
pub fn chain_is_bounded(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> bool {
    let bytes = intermediates.iter().try_fold(leaf.len(), |sum, certificate| sum.checked_add(certificate.len()));
    intermediates.len() < CHAIN_CERTIFICATES_MAX && bytes.is_some_and(|bytes| bytes <= CHAIN_BYTES_MAX)
}

impl Leaf {
    /// Reads a leaf. Purpose first, name last, as REFUSALS.md orders the answers.
    pub fn read(der: &CertificateDer<'_>, purpose: Purpose) -> Result<Self, LeafFault> {
        let certificate = parse(der).ok_or(LeafFault::Unreadable)?;
        let life = life(&certificate).ok_or(LeafFault::Unreadable)?;
        let usage = certificate.extended_key_usage().map_err(|_| LeafFault::Unreadable)?;
        let made_for_it = usage.is_some_and(|usage| match purpose {
            Purpose::Client => usage.value.client_auth,
            Purpose::Server => usage.value.server_auth,
        });
        if !made_for_it {
            return Err(LeafFault::Purpose);
        }
        if let Some(usage) = certificate.key_usage().map_err(|_| LeafFault::Unreadable)? {
            if usage.value.key_cert_sign() {
                return Err(LeafFault::Authority);
            }
            if !usage.value.digital_signature() {
                return Err(LeafFault::Purpose);
            }
        }
        if certificate.is_ca() {
            return Err(LeafFault::Authority);
        }
        if life.not_after_unix_s.saturating_sub(life.not_before_unix_s) > LEAF_LIFETIME_SECONDS_MAX {
            return Err(LeafFault::Lifetime);
        }
        if !key_is_strong(&certificate.tbs_certificate.subject_pki) {
            return Err(LeafFault::Key);
        }
        Ok(Self {
            id: only_uri(&certificate)?,
            serial: certificate.raw_serial().to_vec(),
            not_before_unix_s: life.not_before_unix_s,
            not_after_unix_s: life.not_after_unix_s,
        })
    }
}

/// The serial number of a certificate, as people write it: hex digits. Empty if it is no certificate.
#[must_use]
pub fn serial(der: &CertificateDer<'_>) -> String {
    let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    parse(der).map(|certificate| digits(certificate.raw_serial())).unwrap_or_default()
}

/// Reads the certificate of an issuer: may it sign certificates, and from when to when does it live?
pub fn read_authority(der: &CertificateDer<'_>) -> Result<Life, AuthorityFault> {
    let certificate = parse(der).ok_or(AuthorityFault::Unreadable)?;
    let life = life(&certificate).ok_or(AuthorityFault::Unreadable)?;
    let may_sign = match certificate.key_usage().map_err(|_| AuthorityFault::Unreadable)? {
        Some(usage) => usage.value.key_cert_sign(),
        None => true,
    };
    if !certificate.is_ca() || !may_sign {
        return Err(AuthorityFault::NotAnAuthority);
    }
    if !key_is_strong(&certificate.tbs_certificate.subject_pki) {
        return Err(AuthorityFault::Key);
    }
    if certificate.name_constraints().map_err(|_| AuthorityFault::Unreadable)?.is_some() {
        return Err(AuthorityFault::NameConstraints);
    }
    Ok(life)
}

/// The number of a revocation list, if `is_good` says so of what is signed and its signature. One without a number, or
/// with a number beyond 64 bits, is not read.
pub(crate) fn read_revocations(der: &[u8], is_good: impl FnOnce(&[u8], &[u8]) -> bool) -> Result<u64, AuthorityFault> {
    let unreadable = AuthorityFault::UnreadableRevocations;
    let (rest, list) = x509_parser::parse_x509_crl(der).map_err(|_| unreadable)?;
    if !rest.is_empty() {
        return Err(unreadable);
    }
    let number = match list.crl_number().ok_or(unreadable)?.to_u64_digits()[..] {
        [] => 0,
        [number] => number,
        [_, _, ..] => return Err(unreadable),
    };
    if is_good(list.tbs_cert_list.as_ref(), &list.signature_value.data) {
        Ok(number)
    } else {
        Err(AuthorityFault::ForeignRevocations)
    }
}

/// The bits of an authority's public key.
pub(crate) fn public_key(der: &CertificateDer<'_>) -> Option<Vec<u8>> {
    Some(parse(der)?.tbs_certificate.subject_pki.subject_public_key.data.to_vec())
}

/// All of the bytes, and every extension that the parser knows.
fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (rest, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let readable = certificate
        .extensions()
        .iter()
        .all(|extension| !matches!(extension.parsed_extension(), ParsedExtension::ParseError { .. }));
    (rest.is_empty() && readable).then_some(certificate)
}

fn life(certificate: &X509Certificate<'_>) -> Option<Life> {
    let validity = certificate.validity();
    Some(Life {
        not_before_unix_s: u64::try_from(validity.not_before.timestamp()).ok()?,
        not_after_unix_s: u64::try_from(validity.not_after.timestamp()).ok()?,
    })
}

fn key_is_strong(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let kind = &key.algorithm.algorithm;
    if *kind == OID_SIG_ED25519 {
        return true;
    }
    if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
        return curve.is_some_and(|curve| curve == OID_EC_P256 || curve == OID_NIST_EC_P384);
    }
    if *kind == OID_PKCS1_RSAENCRYPTION {
        return match key.parsed() {
            Ok(PublicKey::RSA(rsa)) => significant_bits(rsa.modulus) >= RSA_BITS_MIN,
            _ => false,
        };
    }
    false
}

fn significant_bits(big_endian: &[u8]) -> usize {
    let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    match big_endian.get(zeros) {
        Some(first) => {
            let first_bits = usize::try_from(u8::BITS - first.leading_zeros()).unwrap_or(0);
            (big_endian.len() - zeros - 1) * 8 + first_bits
        }
        None => 0,
    }
}

/// Names of other kinds are passed over unread. A URI that is not ASCII comes as [`GeneralName::Invalid`] and counts.
fn only_uri(certificate: &X509Certificate<'_>) -> Result<SpiffeId, LeafFault> {
    let names = certificate.subject_alternative_name().map_err(|_| LeafFault::Unreadable)?.ok_or(LeafFault::Name)?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(text) => Some(Some(*text)),
        GeneralName::Invalid(tag, _) if tag.0 == TAG_URI => Some(None),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(Some(text)), None) => text.parse().map_err(|_| LeafFault::Name),
        _ => Err(LeafFault::Name),
    }
}
