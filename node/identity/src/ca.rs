//! The built-in certificate authority: one per plane, in a process of its own or in `dev` and `init`, never in a node.
//!
//! What it issues is made for its bearer's part and no other: a node's certificate answers on every plane and dials on
//! the peer plane only; a tenant's or operator's only dials; a CA process's answers nodes and does nothing else. Keys that
//! are made here are P-256, written for their owner's eyes; a key that comes from elsewhere must be as strong.
//!
//! Not here: whether somebody may have a certificate (tokens, approvals), registering an issuer, the process
//! (`node/api`, `authority.rs`).

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams, SanType,
    SerialNumber, SubjectPublicKeyInfo, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use strongroom_format::name::Name;
use strongroom_format::role::Plane;
use strongroom_proto_identity::certificate::{
    AuthorityFault, LEAF_LIFETIME_SECONDS_MAX, Leaf, LeafFault, Life, Purpose, read_authority,
};
use strongroom_proto_identity::spiffe::SpiffeId;
use strongroom_proto_identity::tls::certificates_from_pem;
use strongroom_proto_identity::verify::provider;
use zeroize::Zeroizing;

/// Why the authority does not issue.
#[derive(Debug, thiserror::Error)]
pub enum CaFault {
    /// The identity belongs on another plane or in another cluster than the authority's.
    #[error("this authority does not issue for this plane or cluster")]
    NotMine,
    /// The life asked for is longer than any verifier accepts, or outside the authority's own.
    #[error("a certificate cannot live that long under this authority")]
    Life,
    /// The key to be certified is no public key, or a weak one.
    #[error("this is no public key that may have a certificate")]
    Key,
    /// The PEM text is not the certificate and key of an authority.
    #[error("this is not the certificate and key of an authority")]
    NotAnAuthority(#[source] Option<AuthorityFault>),
    /// The library could not make it.
    #[error("cannot make the certificate")]
    Make(#[from] rcgen::Error),
}

/// An authority of one plane of one cluster.
pub struct Ca {
    cluster: Name,
    plane: Plane,
    life: Life,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

/// The region in the names of CA processes: no node is ever in it.
const PROCESS_REGION: &str = "issuing-authority";

/// The name of a plane's CA process, region and node: in a region of its own, so that nodes can dial it like one of theirs.
/// Its certificate answers only.
#[must_use]
pub fn process_name(plane: Plane) -> (Name, Name) {
    let name = |text: &str| Name::try_from(text).expect("our own names are names");
    (name(PROCESS_REGION), name(&format!("{plane}-ca")))
}

/// A certificate and its key.
pub struct Issued {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// The same as PEM.
    pub certificate_pem: String,
    /// The private key as PEM, PKCS#8.
    pub key_pem: Zeroizing<String>,
}

impl Ca {
    /// A new authority with a new key.
    pub fn create(cluster: &Name, plane: Plane, life: Life) -> Result<Self, CaFault> {
        let key = KeyPair::generate()?;
        let mut params = params(life);
        params.distinguished_name.push(DnType::OrganizationName, "Strongroom");
        params.distinguished_name.push(DnType::CommonName, format!("{cluster} {plane} CA"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            cluster: cluster.clone(),
            plane,
            life,
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            issuer: rcgen::Issuer::new(params, key),
        })
    }

    /// An authority that was written before.
    pub fn from_pem(cluster: &Name, plane: Plane, certificate_pem: &str, key_pem: &str) -> Result<Self, CaFault> {
        let certificates =
            certificates_from_pem(certificate_pem.as_bytes()).map_err(|_| CaFault::NotAnAuthority(None))?;
        let [certificate] = <[_; 1]>::try_from(certificates).map_err(|_| CaFault::NotAnAuthority(None))?;
        let life = read_authority(&certificate).map_err(|fault| CaFault::NotAnAuthority(Some(fault)))?;
        let key = KeyPair::from_pem(key_pem)?;
        if !is_pair(&certificate, &key) {
            return Err(CaFault::NotAnAuthority(None));
        }
        let issuer = rcgen::Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self {
            cluster: cluster.clone(),
            plane,
            life,
            certificate,
            certificate_pem: certificate_pem.to_owned(),
            issuer,
        })
    }

    /// The plane that it issues for.
    #[must_use]
    pub const fn plane(&self) -> Plane {
        self.plane
    }

    /// From when to when it lives itself.
    #[must_use]
    pub const fn life(&self) -> Life {
        self.life
    }

    /// The cluster that it issues for.
    #[must_use]
    pub const fn cluster(&self) -> &Name {
        &self.cluster
    }

    /// Its own certificate, to be registered and pinned.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The same as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its private key as PEM, PKCS#8.
    #[must_use]
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// Issues a certificate with a new key. Nodes get one from the authority of each plane.
    pub fn issue(&self, id: &SpiffeId, life: Life) -> Result<Issued, CaFault> {
        let purposes = self.purposes(id).ok_or(CaFault::NotMine)?;
        let key = KeyPair::generate()?;
        let certificate = self.sign(id, purposes, life, &key, None)?;
        Ok(Issued {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }

    /// Issues what a CA process presents to nodes. Of the peer plane only: that is the plane on which nodes dial.
    pub fn issue_to_process(&self, of: Plane, life: Life) -> Result<Issued, CaFault> {
        if self.plane != Plane::Peer {
            return Err(CaFault::NotMine);
        }
        let key = KeyPair::generate()?;
        let purposes = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (region, node) = process_name(of);
        let id = SpiffeId::Node { cluster: self.cluster.clone(), region, node };
        let certificate = self.sign(&id, purposes, life, &key, None)?;
        Ok(Issued {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }

    /// Issues a certificate for a public key that was made elsewhere (DER of a SubjectPublicKeyInfo), with a random serial
    /// number of the caller's. No operator gets one this way: whoever may ask here is a node, and no node makes operators.
    pub fn certify(
        &self,
        id: &SpiffeId,
        key: &[u8],
        life: Life,
        serial: [u8; 16],
    ) -> Result<CertificateDer<'static>, CaFault> {
        let is_process = matches!(id, SpiffeId::Node { region, .. } if region.as_str() == PROCESS_REGION);
        if is_process || id.plane() == Plane::Operator {
            return Err(CaFault::NotMine);
        }
        let purposes = self.purposes(id).ok_or(CaFault::NotMine)?;
        let key = SubjectPublicKeyInfo::from_der(key).map_err(|_| CaFault::Key)?;
        let certificate = self.sign(id, purposes, life, &key, Some(serial))?.der().clone();
        // What no listener would accept is not issued.
        let purpose = match id {
            SpiffeId::Node { .. } => Purpose::Server,
            SpiffeId::Tenant { .. } | SpiffeId::Operator { .. } => Purpose::Client,
        };
        match Leaf::read(&certificate, purpose) {
            Ok(_) => Ok(certificate),
            Err(LeafFault::Key) => Err(CaFault::Key),
            Err(_) => Err(CaFault::Life),
        }
    }

    /// A revocation list with all serial numbers that were taken back so far.
    pub fn revoke(&self, serials: &[Vec<u8>], number: u64, life: Life) -> Result<Vec<u8>, CaFault> {
        let since_1970 = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        let revoked = |serial: &Vec<u8>| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: since_1970(life.not_before_unix_s),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: since_1970(life.not_before_unix_s),
            next_update: since_1970(life.not_after_unix_s),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.der().to_vec())
    }

    fn sign(
        &self,
        id: &SpiffeId,
        purposes: Vec<ExtendedKeyUsagePurpose>,
        life: Life,
        key: &impl PublicKeyData,
        serial: Option<[u8; 16]>,
    ) -> Result<Certificate, CaFault> {
        let seconds = life.not_after_unix_s.checked_sub(life.not_before_unix_s).ok_or(CaFault::Life)?;
        if LEAF_LIFETIME_SECONDS_MAX < seconds
            || life.not_before_unix_s < self.life.not_before_unix_s
            || self.life.not_after_unix_s < life.not_after_unix_s
        {
            return Err(CaFault::Life);
        }
        let mut params = params(life);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = purposes;
        params.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = serial.map(|mut serial| {
            // Positive, and never shorter than it is.
            serial[0] = (serial[0] & 0x7f) | 0x40;
            SerialNumber::from_slice(&serial)
        });
        Ok(params.signed_by(key, &self.issuer)?)
    }

    /// What a certificate of this authority is made for; `None`: it does not issue for this identity.
    fn purposes(&self, id: &SpiffeId) -> Option<Vec<ExtendedKeyUsagePurpose>> {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        if *id.cluster() != self.cluster {
            return None;
        }
        match (id.plane(), self.plane) {
            (Plane::Peer, Plane::Peer) => Some(vec![ServerAuth, ClientAuth]),
            (Plane::Peer, Plane::Tenant | Plane::Operator) => Some(vec![ServerAuth]),
            (Plane::Tenant, Plane::Tenant) | (Plane::Operator, Plane::Operator) => Some(vec![ClientAuth]),
            (Plane::Tenant, Plane::Peer | Plane::Operator) | (Plane::Operator, Plane::Peer | Plane::Tenant) => None,
        }
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca")
            .field("cluster", &self.cluster)
            .field("plane", &self.plane)
            .field("life", &self.life)
            .field("key", &"[redacted]")
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("key", &"[redacted]").finish_non_exhaustive()
    }
}

fn params(life: Life) -> CertificateParams {
    let mut params = CertificateParams::default();
    let since_1970 = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_before = since_1970(life.not_before_unix_s);
    params.not_after = since_1970(life.not_after_unix_s);
    params.distinguished_name = DistinguishedName::new();
    params
}

fn is_pair(certificate: &CertificateDer<'_>, key: &KeyPair) -> bool {
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialized_der()));
    let Ok(key) = provider().key_provider.load_private_key(der.clone_key()) else {
        return false;
    };
    CertifiedKey::new(vec![certificate.clone().into_owned()], key).keys_match().is_ok()
}

/// Writes a secret into a new file that only its owner can read, durably. A file that is there stays as it is.
pub fn write_private(path: &Path, secret: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(secret)?;
    file.sync_all()
}
