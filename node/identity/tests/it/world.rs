//! A cluster `vault` with an authority per plane, tenants, and ways to craft certificates that nobody should accept.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PublicKeyData, RevokedCertParams, SanType, SerialNumber, SigningKey,
};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, ClientConfig, SupportedProtocolVersion};
use strongroom_format::id::TenantId;
use strongroom_format::name::Name;
use strongroom_format::role::Plane;
use strongroom_host::Host;
use strongroom_host::clock::SimClock;
use strongroom_host::connections::Connection;
use strongroom_identity::acceptor::{Accepted, Acceptor, HandshakeFault, HandshakeLimits};
use strongroom_identity::ca::{Ca, Issued};
use strongroom_identity::issuers::{Issuer, IssuerTable, Issuers, Tenant, TenantState};
use strongroom_identity::peer::Peer;
use strongroom_proto_identity::certificate::{Life, Purpose};
use strongroom_proto_identity::spiffe::SpiffeId;
use strongroom_proto_identity::tls::Credentials;
use strongroom_proto_identity::verify::{Anchors, ExpectedNode, NodeVerifier, provider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

/// When these tests take place: some second in 2026.
pub const NOW: u64 = 1_795_000_000;
pub const DAY: u64 = 24 * 60 * 60;

pub const WRITER: &str = "spiffe://vault/tenant/acme/id/db-1/role/writer";
pub const NODE: &str = "spiffe://vault/node/eu/n1";
pub const OPERATOR: &str = "spiffe://vault/operator/olga/role/platform-operator";

/// A day, as counted from [`NOW`], in rcgen's own type of time (which it does not name in public).
macro_rules! day {
    ($days:expr) => {
        rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs($crate::world::at($days))
    };
}
pub(crate) use day;

pub fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

pub fn names<const N: usize>(texts: [&str; N]) -> BTreeSet<Name> {
    texts.into_iter().map(name).collect()
}

pub fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

pub const fn life(from_days: i64, to_days: i64) -> Life {
    Life { not_before_unix_s: at(from_days), not_after_unix_s: at(to_days) }
}

pub const fn at(days: i64) -> u64 {
    NOW.checked_add_signed(days * DAY as i64).expect("days are few")
}

pub struct World {
    pub clock: SimClock,
    pub host: Host,
    pub peer: Ca,
    pub tenant: Ca,
    pub operator: Ca,
    pub issuers: Issuers,
}

impl World {
    pub fn new() -> Self {
        let clock = SimClock::new(NOW * 1_000_000_000);
        let host = Host::real().with_clock(Arc::new(clock.clone()));
        let ca = |plane| Ca::create(&name("vault"), plane, life(-1, 3000)).unwrap();
        let (peer, tenant, operator) = (ca(Plane::Peer), ca(Plane::Tenant), ca(Plane::Operator));
        let table = table([&peer, &tenant, &operator]);
        let (issuers, skipped) = Issuers::new(table);
        assert_eq!(skipped, []);
        Self { clock, host, peer, tenant, operator, issuers }
    }

    pub fn table(&self) -> IssuerTable {
        table([&self.peer, &self.tenant, &self.operator])
    }

    pub fn ca(&self, plane: Plane) -> &Ca {
        match plane {
            Plane::Peer => &self.peer,
            Plane::Tenant => &self.tenant,
            Plane::Operator => &self.operator,
        }
    }

    pub fn advance(&self, days: u64) {
        self.clock.advance(Duration::from_secs(days * DAY));
    }

    pub fn acceptor(&self, plane: Plane) -> Acceptor {
        let issued = self.ca(plane).issue(&id(NODE), life(0, 365)).unwrap();
        let credentials = credentials(&issued, Purpose::Server);
        Acceptor::new(&self.host, plane, &credentials, &self.issuers, HandshakeLimits::default())
    }

    /// What the plane's issuer gives to whoever is named.
    pub fn bearer(&self, plane: Plane, uri: &str) -> Bearer {
        Bearer::issued(&self.ca(plane).issue(&id(uri), life(0, 365)).unwrap())
    }

    /// Knocks at the plane's door.
    pub async fn knock(&self, plane: Plane, bearer: &Bearer) -> Verdict {
        let config = client_config(self, plane, Some(bearer), &[&rustls::version::TLS13]);
        self.knock_with(plane, config).await
    }

    pub async fn knock_with(&self, plane: Plane, config: ClientConfig) -> Verdict {
        let acceptor = self.acceptor(plane);
        let (here, there) = tokio::io::duplex(256 * 1024);
        let client = async {
            let mut stream = TlsConnector::from(Arc::new(config)).connect(any_name(), here).await?;
            stream.read_exact(&mut [0]).await?;
            Ok(())
        };
        let server = async {
            let mut accepted = acceptor.accept(connection(there)).await?;
            // The caller may already be gone.
            let _ = accepted.write_all(b"!").await;
            let _ = accepted.flush().await;
            Ok(accepted)
        };
        let (client, server): (io::Result<()>, Result<Accepted, HandshakeFault>) = tokio::join!(client, server);
        match (server, client) {
            (Ok(accepted), Ok(())) => Verdict::In(accepted.peer().clone()),
            (Err(_), Err(error)) => match alert(&error) {
                Some(alert) => Verdict::Out(alert),
                None => Verdict::Broken(error.to_string()),
            },
            (server, client) => panic!("they do not agree: {server:?}, {client:?}"),
        }
    }
}

fn table(authorities: [&Ca; 3]) -> IssuerTable {
    let tenant = |number| Tenant { id: TenantId::from_bytes([number; 16]), state: TenantState::Active };
    IssuerTable {
        cluster: name("vault"),
        issuers: authorities
            .into_iter()
            .map(|ca| Issuer {
                plane: ca.plane(),
                certificate: ca.certificate().clone(),
                tenants: names(["acme"]),
                revocations: None,
            })
            .collect(),
        tenants: BTreeMap::from([(name("acme"), tenant(1)), (name("globex"), tenant(2))]),
        nodes: names(["n1"]),
        gone_nodes: BTreeSet::new(),
    }
}

#[derive(Debug)]
pub enum Verdict {
    In(Peer),
    Out(AlertDescription),
    /// The connection ended without an alert.
    #[expect(dead_code, reason = "printed when a test fails")]
    Broken(String),
}

impl Verdict {
    pub fn alert(&self) -> Option<AlertDescription> {
        match self {
            Self::Out(alert) => Some(*alert),
            Self::In(_) | Self::Broken(_) => None,
        }
    }

    #[track_caller]
    pub fn peer(self) -> Peer {
        match self {
            Self::In(peer) => peer,
            other => panic!("should have got in: {other:?}"),
        }
    }
}

/// The alert that came from the other side.
pub fn alert(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// A chain and a key, which need not fit together.
#[derive(Clone, Debug)]
pub struct Bearer {
    pub chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn rustls::sign::SigningKey>,
}

impl Bearer {
    fn issued(issued: &Issued) -> Self {
        let key = KeyPair::from_pem(&issued.key_pem).unwrap();
        Self::new(vec![issued.certificate.clone()], &key)
    }

    pub fn new(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Self {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = provider().key_provider.load_private_key(key).unwrap();
        Self { chain, key }
    }

    pub fn serial(&self) -> SerialNumber {
        let leaf = strongroom_proto_identity::certificate::Leaf::read(&self.chain[0], Purpose::Client).unwrap();
        SerialNumber::from(leaf.serial)
    }
}

pub fn issuer(ca: &Ca) -> rcgen::Issuer<'static, KeyPair> {
    rcgen::Issuer::from_ca_cert_pem(ca.certificate_pem(), KeyPair::from_pem(&ca.key_pem()).unwrap()).unwrap()
}

/// A good client's certificate but for what `change` does to it.
pub fn crafted(ca: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Bearer {
    let key = KeyPair::generate().unwrap();
    let certificate = crafted_for(&issuer(ca), &key, change);
    Bearer::new(vec![certificate], &key)
}

pub fn crafted_for(
    issuer: &rcgen::Issuer<'_, impl SigningKey>,
    key: &impl PublicKeyData,
    change: impl FnOnce(&mut CertificateParams),
) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = day!(0);
    params.not_after = day!(30);
    params.is_ca = IsCa::NoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![uri(WRITER)];
    change(&mut params);
    params.signed_by(key, issuer).unwrap().der().clone()
}

pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

pub fn revocations(
    ca: &Ca,
    serials: Vec<SerialNumber>,
    from_days: i64,
    to_days: i64,
) -> CertificateRevocationListDer<'static> {
    CertificateRevocationListParams {
        this_update: day!(from_days),
        next_update: day!(to_days),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: serials
            .into_iter()
            .map(|serial_number| RevokedCertParams {
                serial_number,
                revocation_time: day!(from_days),
                reason_code: None,
                invalidity_date: None,
            })
            .collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
    .signed_by(&issuer(ca))
    .unwrap()
    .into()
}

pub fn credentials(issued: &Issued, purpose: Purpose) -> Credentials {
    Credentials::from_pem(issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes(), purpose).unwrap()
}

/// A client that judges the node as it should, and presents whatever it is given.
pub fn client_config(
    world: &World,
    plane: Plane,
    bearer: Option<&Bearer>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let anchors = Anchors::read(&[world.ca(plane).certificate().clone()]).unwrap();
    let verifier = NodeVerifier::new(anchors, name("vault"), ExpectedNode::Any);
    let time = Arc::new(Now(world.clock.clone()));
    let builder = ClientConfig::builder_with_details(provider(), time)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match bearer {
        Some(Bearer { chain, key }) => {
            let certified = CertifiedKey::new(chain.clone(), Arc::clone(key));
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    config
}

#[derive(Debug)]
struct Now(SimClock);

impl rustls::time_provider::TimeProvider for Now {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        use strongroom_host::clock::Clock;
        Some(rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_nanos(self.0.wall_unix_ns())))
    }
}

pub fn any_name() -> ServerName<'static> {
    ServerName::try_from("nobody.invalid").unwrap()
}

pub fn connection(stream: tokio::io::DuplexStream) -> Connection {
    Connection { stream: Box::new(stream), peer: "192.0.2.1:1".parse().unwrap(), identity: None }
}
