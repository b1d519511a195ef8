//! Certificates and keys in files, and the TLS configuration of whoever dials.
//!
//! TLS 1.3 only, aws-lc-rs, ALPN `h2`, no resumption and no early data: a resumed session would carry an identity that
//! nobody verified again. A private key that others on the machine can read is refused, not used with a warning.
//!
//! Not here: the configuration of listeners (`node/identity`), dialling.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::certificate::{CHAIN_BYTES_MAX, Leaf, LeafFault, Purpose};
use crate::verify::{NodeVerifier, provider};

/// The protocol inside of TLS.
pub const ALPN: &[u8] = b"h2";

/// No PEM file of ours is larger; nothing larger is read.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsFault {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Others can read the file: the key must be taken for stolen unless nobody else was on the machine.
    #[error("{} can be read by others than its owner; run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
    },
    /// Not PEM with certificates in it.
    #[error("no certificates in PEM found")]
    NoCertificates,
    /// Not PEM with a private key in it.
    #[error("no private key in PEM found")]
    NoKey,
    /// The chain is longer than any listener accepts.
    #[error("the certificate chain is too long")]
    ChainTooLong,
    /// The key is of a kind that TLS here does not use, or damaged.
    #[error("the private key cannot be used")]
    UnusableKey,
    /// Certificate and key are not a pair, for instance because only one of them was replaced yet.
    #[error("the private key does not belong to the certificate")]
    NotAPair,
    /// The certificate is not one that anybody would accept.
    #[error(transparent)]
    Leaf(#[from] LeafFault),
}

/// A certificate chain and its private key. The key is never printed.
#[derive(Clone)]
pub struct Credentials {
    certified: Arc<CertifiedKey>,
    leaf: Leaf,
}

impl Credentials {
    /// From PEM: the chain, leaf first, and the key (PKCS#8, SEC1 or PKCS#1). They must be a pair, and the leaf made
    /// for the purpose.
    pub fn from_pem(chain: &[u8], key: &[u8], purpose: Purpose) -> Result<Self, CredentialsFault> {
        let chain = certificates_from_pem(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CredentialsFault::NoKey)?;
        Self::new(chain, &key, purpose)
    }

    /// From files: the certificates may be read by all, the key by its owner only.
    pub fn read(chain: &Path, key: &Path, purpose: Purpose) -> Result<Self, CredentialsFault> {
        let chain = read_bounded(chain)?;
        let key = read_private(key)?;
        Self::from_pem(&chain, &key, purpose)
    }

    /// From what was in the files.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
        purpose: Purpose,
    ) -> Result<Self, CredentialsFault> {
        let (first, rest) = chain.split_first().ok_or(CredentialsFault::NoCertificates)?;
        if !crate::certificate::chain_is_bounded(first, rest) {
            return Err(CredentialsFault::ChainTooLong);
        }
        let leaf = Leaf::read(first, purpose)?;
        let key =
            provider().key_provider.load_private_key(key.clone_key()).map_err(|_| CredentialsFault::UnusableKey)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| CredentialsFault::NotAPair)?;
        Ok(Self { certified: Arc::new(certified), leaf })
    }

    /// What the leaf says of us.
    #[must_use]
    pub const fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// As rustls wants them.
    #[must_use]
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("leaf", &self.leaf).field("key", &"[redacted]").finish()
    }
}

/// All certificates of a PEM text, in order; other sections are passed over.
pub fn certificates_from_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialsFault> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| CredentialsFault::NoCertificates)?;
    if certificates.is_empty() {
        return Err(CredentialsFault::NoCertificates);
    }
    Ok(certificates)
}

/// Reads the certificates of a PEM file.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialsFault> {
    certificates_from_pem(&read_bounded(path)?)
}

/// Reads a secret from a file that nobody but its owner can read.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialsFault> {
    use std::os::unix::fs::PermissionsExt;
    let file = std::fs::File::open(path).map_err(|cause| CredentialsFault::Read { path: path.into(), cause })?;
    // Of the open file, so that what is checked is what is read.
    let metadata = file.metadata().map_err(|cause| CredentialsFault::Read { path: path.into(), cause })?;
    if metadata.is_dir() {
        let cause = io::ErrorKind::IsADirectory.into();
        return Err(CredentialsFault::Read { path: path.into(), cause });
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(CredentialsFault::Exposed { path: path.into() });
    }
    read_open(path, &file).map(Zeroizing::new)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, CredentialsFault> {
    let file = std::fs::File::open(path).map_err(|cause| CredentialsFault::Read { path: path.into(), cause })?;
    read_open(path, &file)
}

fn read_open(path: &Path, file: &std::fs::File) -> Result<Vec<u8>, CredentialsFault> {
    use std::io::Read;
    // Reserved at once: a buffer that grows leaves copies of the secret behind.
    let mut bytes = Vec::with_capacity(4 * CHAIN_BYTES_MAX);
    file.take(PEM_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|cause| CredentialsFault::Read { path: path.into(), cause })?;
    Ok(bytes)
}

/// The configuration of whoever dials a node, with the machine's clock.
pub fn client_config(verifier: NodeVerifier, credentials: &Credentials) -> ClientConfig {
    client_config_with_time(verifier, credentials, Arc::new(DefaultTimeProvider))
}

/// The same with a clock of one's own.
pub fn client_config_with_time(
    verifier: NodeVerifier,
    credentials: &Credentials,
    time: Arc<dyn TimeProvider>,
) -> ClientConfig {
    let mut config = ClientConfig::builder_with_details(provider(), time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has cipher suites for TLS 1.3")
        .dangerous() // the name of rustls for "own verifier"; ours is stricter
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certified_key())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}

/// The configuration of whoever has no certificate yet.
pub fn strangers_config(verifier: NodeVerifier) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has cipher suites for TLS 1.3")
        .dangerous() // the name of rustls for "own verifier"; ours is stricter
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}
