//! Certificates, good ones from files and others that nobody should accept, and knocking at a door with them.
//!
//! Not here: what is said once the door is open (`speaker.rs`).

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, ClientConfig, SupportedProtocolVersion};
use strongroom_identity::ca::Ca;
use strongroom_proto_identity::certificate::{Leaf, Purpose};
use strongroom_proto_identity::tls::{certificates_from_pem, read_certificates};
use strongroom_proto_identity::verify::{Anchors, ExpectedNode, NodeVerifier, provider};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cluster::{Cluster, DevNode, PATIENCE};

/// A listener of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// For tenants.
    Tenant,
    /// For nodes.
    Peer,
    /// For operators.
    Operator,
}

impl Door {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tenant, Self::Peer, Self::Operator];

    /// The name of its plane.
    pub const fn plane(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Peer => "peer",
            Self::Operator => "operator",
        }
    }

    /// Where it is.
    pub const fn of(self, node: &DevNode) -> SocketAddr {
        match self {
            Self::Tenant => node.tenant,
            Self::Peer => node.peer,
            Self::Operator => node.operator,
        }
    }
}

/// A certificate chain and a key, which need not be of any use.
#[derive(Clone)]
pub struct Bearer {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn rustls::sign::SigningKey>,
    pem: (String, String),
}

impl Bearer {
    /// From `<name>.pem` and `<name>.key` in a directory.
    pub fn read(directory: &Path, name: &str) -> Self {
        let read = |end: &str| fs::read_to_string(directory.join(format!("{name}.{end}"))).expect("a file of dev's");
        Self::new(read("pem"), &KeyPair::from_pem(&read("key")).expect("a key"))
    }

    /// With more certificates behind its own.
    pub fn with_behind(mut self, more: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        self.chain.extend(more);
        self
    }

    /// A certificate that need not fit the key, which nobody gets to ask for.
    pub fn of_der(certificate: CertificateDer<'static>) -> Self {
        let mut bearer = Authority::unknown().craft(|_| {});
        bearer.chain = vec![certificate];
        bearer
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// Its serial number.
    pub fn serial(&self) -> Vec<u8> {
        Leaf::read(&self.chain[0], Purpose::Client).expect("a good client's certificate").serial
    }

    /// Its certificate and its key.
    pub fn into_pem(self) -> (String, String) {
        self.pem
    }

    fn new(chain_pem: String, key: &KeyPair) -> Self {
        let chain = certificates_from_pem(chain_pem.as_bytes()).expect("certificates");
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = provider().key_provider.load_private_key(der).expect("the key is of a known kind");
        Self { chain, key: signer, pem: (chain_pem, key.serialize_pem()) }
    }
}

/// An authority of which we have the key.
pub struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// The one that issues for a plane: for nodes, operators, and nodes towards tenants.
    pub fn of_plane(cluster: &Cluster, plane: &str) -> Self {
        Self::read(&cluster.directory().join("ca").join(plane), "ca")
    }

    /// A tenant's own.
    pub fn of_tenant(cluster: &Cluster, tenant: &str) -> Self {
        Self::read(&cluster.directory().join("tenants").join(tenant), "ca")
    }

    /// One that nobody knows.
    pub fn unknown() -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = params();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(Issuer::new(params, key))
    }

    /// The same as one that was made with the product's own code.
    pub fn of(ca: &Ca) -> Self {
        Self::from_pem(ca.certificate_pem(), &ca.key_pem())
    }

    fn read(directory: &Path, name: &str) -> Self {
        let read =
            |end: &str| fs::read_to_string(directory.join(format!("{name}.{end}"))).expect("an authority's file");
        Self::from_pem(&read("pem"), &read("key"))
    }

    fn from_pem(certificate: &str, key: &str) -> Self {
        let certificate = certificates_from_pem(certificate.as_bytes()).expect("PEM").remove(0);
        let key = KeyPair::from_pem(key).expect("a key");
        Self(Issuer::from_ca_cert_der(&certificate, key).expect("an authority"))
    }

    /// A good client's certificate for this URI.
    pub fn issue(&self, uri: &str) -> Bearer {
        self.craft(|params| params.subject_alt_names = vec![self::uri(uri)])
    }

    /// A client's certificate without a name, but for what `change` does to it.
    pub fn craft(&self, change: impl FnOnce(&mut CertificateParams)) -> Bearer {
        let key = KeyPair::generate().expect("a key can be made");
        Bearer::new(self.sign(&key, change).pem(), &key)
    }

    /// The same for any key, of which nobody need have the private half.
    pub fn craft_for(
        &self,
        key: &impl PublicKeyData,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        self.sign(key, change).der().clone()
    }

    fn sign(&self, key: &impl PublicKeyData, change: impl FnOnce(&mut CertificateParams)) -> rcgen::Certificate {
        let mut params = params();
        params.is_ca = IsCa::NoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        params.signed_by(key, &self.0).expect("the authority signs what we give it")
    }
}

/// A URI name.
pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

/// A DNS name.
pub fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().expect("ASCII"))
}

/// So many seconds before or after now, in rcgen's own type of time.
macro_rules! seconds_from_now {
    ($seconds:expr) => {
        rcgen::date_time_ymd(1970, 1, 1) + $crate::bearer::since_1970($seconds)
    };
}
pub(crate) use seconds_from_now;

/// What `seconds_from_now` counts from 1970.
pub fn since_1970(seconds_from_now: i64) -> Duration {
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_secs();
    Duration::from_secs(now.checked_add_signed(seconds_from_now).expect("some time after 1970"))
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = seconds_from_now!(-3600);
    params.not_after = seconds_from_now!(30 * 24 * 3600);
    params
}

/// A client of one plane of this cluster that judges the node as it should and presents whatever it is given.
pub fn tls(cluster: &Cluster, door: Door, bearer: Option<&Bearer>) -> ClientConfig {
    tls_of(cluster, door, bearer, &rustls::version::TLS13)
}

/// The same in one version of TLS.
pub fn tls_of(
    cluster: &Cluster,
    door: Door,
    bearer: Option<&Bearer>,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let roots = cluster.directory().join("ca").join(format!("{}.pem", door.plane()));
    let anchors = Anchors::read(&read_certificates(&roots).expect("the plane's roots")).expect("they are authorities");
    let name = strongroom_format::name::Name::try_from(cluster.name.as_str()).expect("a cluster's name is a name");
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .expect("the provider speaks it")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NodeVerifier::new(anchors, name, ExpectedNode::Any)));
    let mut config = match bearer {
        Some(Bearer { chain, key, .. }) => {
            let certified = CertifiedKey::new(chain.clone(), Arc::clone(key));
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    config
}

/// Opens TLS to a door. Between nodes the first byte says what the connection is for: small calls, here. Whoever was
/// refused meanwhile learns it by reading.
pub async fn dial(at: SocketAddr, door: Door, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(at).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("nobody.invalid").expect("a DNS name");
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    if door == Door::Peer {
        // A door that has closed by now may fail this: its alert says more, and is read next.
        stream.write_all(&[1]).await.ok();
    }
    Ok(stream)
}

/// What became of a knock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The other side speaks HTTP/2 with us.
    In,
    /// The handshake ended with this alert.
    Out(AlertDescription),
    /// The connection ended without one.
    Broken(String),
}

/// Knocks at a node's door. In TLS 1.3 a refused client may see the alert on its first read only.
pub async fn knock(cluster: &Cluster, node: &DevNode, door: Door, bearer: Option<&Bearer>) -> Verdict {
    knock_with(node, door, tls(cluster, door, bearer)).await
}

/// The same with whatever configuration.
pub async fn knock_with(node: &DevNode, door: Door, config: ClientConfig) -> Verdict {
    let conversation = async {
        let mut stream = dial(door.of(node), door, config).await?;
        // Refused before this was written, one may fail to write it; the alert is there to be read all the same.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.ok();
        stream.read_exact(&mut [0; 9]).await
    };
    let ended = tokio::time::timeout(PATIENCE, conversation).await.expect("the door answers");
    match ended {
        Ok(_) => Verdict::In,
        Err(fault) => alert(&fault).map_or_else(|| Verdict::Broken(fault.to_string()), Verdict::Out),
    }
}

fn alert(fault: &io::Error) -> Option<AlertDescription> {
    match fault.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}
