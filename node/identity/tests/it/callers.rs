//! Who is turned away at the door, and with which alert (REFUSALS.md, "Identity and TLS").

use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, PublicKeyData, SanType,
};
use rustls::AlertDescription::{
    AccessDenied, CertificateExpired, CertificateRequired, CertificateRevoked, ProtocolVersion, UnknownCA,
    UnsupportedCertificate,
};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use strongroom_format::role::Plane;
use strongroom_identity::ca::Ca;
use strongroom_identity::issuers::{Issuer, IssuerFault, Skipped};
use strongroom_proto_identity::certificate::{CHAIN_BYTES_MAX, CHAIN_CERTIFICATES_MAX};
use strongroom_proto_identity::verify::Refused;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{
    Bearer, NODE, NOW, OPERATOR, Verdict, WRITER, World, client_config, connection, crafted, crafted_for, day, issuer,
    life, name, names, revocations, uri,
};

const OWN: [(Plane, &str); 3] = [(Plane::Peer, NODE), (Plane::Tenant, WRITER), (Plane::Operator, OPERATOR)];

#[tokio::test]
async fn everybody_gets_in_by_the_own_door() {
    let world = World::new();
    for (plane, uri) in OWN {
        let peer = world.knock(plane, &world.bearer(plane, uri)).await.peer();
        assert_eq!(peer.id().to_string(), uri);
        assert_eq!(peer.plane(), plane);
        assert_eq!(peer.not_after_unix_s(), Some(life(0, 365).not_after_unix_s));
        assert_eq!(peer.check(), Ok(()));
    }
}

#[tokio::test]
async fn n01_without_a_certificate_nobody_gets_in() {
    let world = World::new();
    for plane in Plane::ALL {
        let config = client_config(&world, plane, None, &[&rustls::version::TLS13]);
        assert_eq!(world.knock_with(plane, config).await.alert(), Some(CertificateRequired));
    }
}

#[tokio::test]
async fn n02_an_unknown_authority_is_refused() {
    let world = World::new();
    for (plane, uri) in OWN {
        // Same name, same subject, another key.
        let other = Ca::create(&name("vault"), plane, life(-1, 3000)).unwrap();
        let bearer = crafted(&other, |params| params.subject_alt_names = vec![self::uri(uri)]);
        assert_eq!(world.knock(plane, &bearer).await.alert(), Some(UnknownCA));
        let stranger = rcgen::Issuer::new(
            {
                let mut params = rcgen::CertificateParams::default();
                params.distinguished_name.push(DnType::CommonName, "a stranger");
                params
            },
            KeyPair::generate().unwrap(),
        );
        let key = KeyPair::generate().unwrap();
        let leaf = crafted_for(&stranger, &key, |params| params.subject_alt_names = vec![self::uri(uri)]);
        assert_eq!(world.knock(plane, &Bearer::new(vec![leaf], &key)).await.alert(), Some(UnknownCA));
    }
}

#[tokio::test]
async fn n03_an_expired_or_future_certificate_is_refused() {
    let world = World::new();
    let expired = crafted(&world.tenant, |params| {
        params.not_before = day!(-20);
        params.not_after = day!(-1);
    });
    let future = crafted(&world.tenant, |params| params.not_before = day!(1));
    for bearer in [expired, future] {
        assert_eq!(world.knock(Plane::Tenant, &bearer).await.alert(), Some(CertificateExpired));
    }
}

#[tokio::test]
async fn n03_an_expired_issuer_vouches_for_nobody() {
    let world = World::new();
    let short = Ca::create(&name("vault"), Plane::Tenant, life(-10, -1)).unwrap();
    let mut table = world.table();
    table.issuers[1].certificate = short.certificate().clone();
    assert_eq!(world.issuers.replace(table), []);
    assert_eq!(world.knock(Plane::Tenant, &crafted(&short, |_| ())).await.alert(), Some(CertificateExpired));
}

#[tokio::test]
async fn n04_a_certificate_without_extended_key_usage_is_refused() {
    let world = World::new();
    for (plane, uri) in OWN {
        let bearer = crafted(world.ca(plane), |params| {
            params.subject_alt_names = vec![self::uri(uri)];
            params.extended_key_usages.clear();
        });
        assert_eq!(world.knock(plane, &bearer).await.alert(), Some(UnsupportedCertificate));
    }
}

#[tokio::test]
async fn n05_a_certificate_for_servers_does_not_dial() {
    let world = World::new();
    for purpose in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any] {
        let bearer = crafted(&world.tenant, |params| params.extended_key_usages = vec![purpose]);
        assert_eq!(world.knock(Plane::Tenant, &bearer).await.alert(), Some(UnsupportedCertificate));
    }
    // What a node presents on the tenant plane is no key to that plane.
    let presented = world.bearer(Plane::Tenant, NODE);
    assert_eq!(world.knock(Plane::Tenant, &presented).await.alert(), Some(UnsupportedCertificate));
}

#[tokio::test]
async fn n06_common_names_and_dns_names_are_no_identity() {
    let world = World::new();
    let nameless = crafted(&world.tenant, |params| params.subject_alt_names.clear());
    let common_name = crafted(&world.tenant, |params| {
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, WRITER);
    });
    let dns = crafted(&world.tenant, |params| {
        params.subject_alt_names = vec![SanType::DnsName("acme".try_into().unwrap())];
    });
    let mail = crafted(&world.tenant, |params| {
        params.subject_alt_names = vec![SanType::Rfc822Name(WRITER.try_into().unwrap())];
    });
    for bearer in [nameless, common_name, dns, mail] {
        assert_eq!(world.knock(Plane::Tenant, &bearer).await.alert(), Some(AccessDenied));
    }
    // Beside the URI they are passed over.
    let both = crafted(&world.tenant, |params| {
        params.distinguished_name.push(DnType::CommonName, "globex");
        params.subject_alt_names.push(SanType::DnsName("globex".try_into().unwrap()));
    });
    assert_eq!(world.knock(Plane::Tenant, &both).await.peer().id().to_string(), WRITER);
}

#[tokio::test]
async fn n07_two_names_are_no_identity() {
    let world = World::new();
    for second in [WRITER, "spiffe://vault/tenant/acme/id/db-1/role/admin", "https://example.org/"] {
        let bearer = crafted(&world.tenant, |params| params.subject_alt_names.push(uri(second)));
        assert_eq!(world.knock(Plane::Tenant, &bearer).await.alert(), Some(AccessDenied));
    }
}

#[tokio::test]
async fn n08_other_spellings_are_refused() {
    let world = World::new();
    for spelling in [
        "spiffe://vault/tenant/a%2Fb/id/w/role/writer",
        "spiffe://vault/tenant/../acme/id/w/role/writer",
        "spiffe://vault/tenant//acme/id/w/role/writer",
        "spiffe://vault/tenant/acme/id/w/role/writer/",
        "spiffe://VAULT/tenant/acme/id/w/role/writer",
        "spiffe://vault/tenant/acme/id/w/role/writer?role=admin",
        "spiffe://vault/tenant/*/id/w/role/writer",
        "spiffe://vault/tenant/acme/id/w/role/owner",
        "https://vault/tenant/acme/id/w/role/writer",
    ] {
        let bearer = crafted(&world.tenant, |params| params.subject_alt_names = vec![uri(spelling)]);
        assert_eq!(world.knock(Plane::Tenant, &bearer).await.alert(), Some(AccessDenied), "{spelling}");
    }
}

#[tokio::test]
async fn n09_reserved_long_and_look_alike_names_are_refused() {
    let world = World::new();
    let long = "x".repeat(64);
    for tenant in ["root", "system", "all", "any", "default", &long] {
        let spelling = format!("spiffe://vault/tenant/{tenant}/id/w/role/writer");
        let bearer = crafted(&world.tenant, |params| params.subject_alt_names = vec![uri(&spelling)]);
        assert_eq!(world.knock(Plane::Tenant, &bearer).await.alert(), Some(AccessDenied), "{spelling}");
    }
    for look_alike in
        ["spiffe://vault/tenant/аcme/id/db-1/role/writer", "spiffe://vault/tenant/acme\u{200b}/id/db-1/role/writer"]
    {
        let bearer = crafted(&world.tenant, |params| {
            params.subject_alt_names.clear();
            params.custom_extensions = vec![uri_extension(&[look_alike.as_bytes()])];
        });
        assert_eq!(world.knock(Plane::Tenant, &bearer).await.alert(), Some(AccessDenied), "{look_alike}");
    }
    // A name that cannot be read is a second name.
    let bearer = crafted(&world.tenant, |params| {
        params.subject_alt_names.clear();
        params.custom_extensions = vec![uri_extension(&[WRITER.as_bytes(), &[0xff, 0xfe]])];
    });
    assert_eq!(world.knock(Plane::Tenant, &bearer).await.alert(), Some(AccessDenied));
}

/// A subject alternative name with these bytes as URIs, whatever they are. All lengths below 128.
fn uri_extension(uris: &[&[u8]]) -> CustomExtension {
    let short = |length: usize| u8::try_from(length).ok().filter(|length| *length < 128).expect("short");
    let names: Vec<u8> = uris.iter().flat_map(|uri| [&[0x86, short(uri.len())], *uri].concat()).collect();
    let content = [&[0x30, short(names.len())], names.as_slice()].concat();
    CustomExtension::from_oid_content(&[2, 5, 29, 17], content)
}

#[tokio::test]
async fn n10_authorities_long_lives_and_weak_keys_are_refused() {
    let world = World::new();
    let authority = crafted(&world.tenant, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let signs = crafted(&world.tenant, |params| params.key_usages.push(KeyUsagePurpose::KeyCertSign));
    for bearer in [authority, signs] {
        assert_eq!(world.knock(Plane::Tenant, &bearer).await.alert(), Some(UnsupportedCertificate));
    }
    let cap = crafted(&world.tenant, |params| params.not_after = day!(400));
    world.knock(Plane::Tenant, &cap).await.peer();
    let over_cap = crafted(&world.tenant, |params| params.not_after = day!(401));
    assert_eq!(world.knock(Plane::Tenant, &over_cap).await.alert(), Some(AccessDenied));

    // The other key never gets to sign: the chain is refused first.
    let weak = crafted_for(&issuer(&world.tenant), &Rsa1024::new(), |_| ());
    let bearer = Bearer::new(vec![weak], &KeyPair::generate().unwrap());
    assert_eq!(world.knock(Plane::Tenant, &bearer).await.alert(), Some(UnsupportedCertificate));
}

/// A public key of 1024 bits. Nobody knows its private half, and nobody needs to.
struct Rsa1024(Vec<u8>);

impl Rsa1024 {
    fn new() -> Self {
        let modulus = [[0x02, 0x81, 0x81, 0x00].as_slice(), &[0xc5; 128]].concat();
        let exponent = [0x02, 0x03, 0x01, 0x00, 0x01];
        let body = [modulus.as_slice(), &exponent].concat();
        Self([&[0x30, 0x81, u8::try_from(body.len()).unwrap()], body.as_slice()].concat())
    }
}

impl PublicKeyData for Rsa1024 {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

#[tokio::test]
async fn n10_sha1_is_refused() {
    let world = World::new();
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.not_before = day!(-1);
    params.not_after = day!(3000);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let mut table = world.table();
    table.issuers.push(Issuer {
        plane: Plane::Tenant,
        certificate: authority.der().clone(),
        tenants: names(["acme"]),
        revocations: None,
    });
    assert_eq!(world.issuers.replace(table), []);
    let rsa = rcgen::Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let good = crafted_for(&rsa, &key, |_| ());
    world.knock(Plane::Tenant, &Bearer::new(vec![good.clone()], &key)).await.peer();

    // sha256WithRSAEncryption becomes sha1WithRSAEncryption. The signature does not fit any more, but nobody gets as
    // far as computing it.
    let (sha256, sha1) =
        ([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11], [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5]);
    let mut bytes = good.to_vec();
    let mut changed = 0;
    for start in 0..bytes.len() - sha256.len() {
        if bytes[start..].starts_with(&sha256) {
            bytes[start..start + sha1.len()].copy_from_slice(&sha1);
            changed += 1;
        }
    }
    assert_eq!(changed, 2);
    let bearer = Bearer::new(vec![CertificateDer::from(bytes)], &key);
    assert_eq!(world.knock(Plane::Tenant, &bearer).await.alert(), Some(rustls::AlertDescription::DecryptError));
}

/// The processor time that this thread has had.
fn cpu() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    std::time::Duration::try_from(time).expect("it counts upwards from zero")
}

#[tokio::test]
async fn n11_a_pathological_chain_costs_nothing() {
    let world = World::new();
    let bearer = world.bearer(Plane::Tenant, WRITER);
    let filler = world.tenant.certificate().clone();
    for count in [CHAIN_CERTIFICATES_MAX, 100] {
        let mut long = bearer.clone();
        long.chain.extend(std::iter::repeat_n(filler.clone(), count));
        assert_ne!(world.knock(Plane::Tenant, &long).await.alert(), None);
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW));
        // What this thread has computed, not how long the machine let it wait.
        let before = cpu();
        let refused = world.issuers.judge(Plane::Tenant, &long.chain[0], &long.chain[1..], now);
        let cost = cpu() - before;
        assert_eq!(refused, Err(Refused::ChainTooLong));
        assert!(cost < std::time::Duration::from_millis(50), "it cost {cost:?} of processor time");
    }
    for bytes in [CHAIN_BYTES_MAX, 100 * 1024] {
        let mut large = bearer.clone();
        large.chain.push(CertificateDer::from(vec![0x30; bytes]));
        // Beyond 64 KiB TLS itself gives up, and says nothing.
        assert!(!matches!(world.knock(Plane::Tenant, &large).await, Verdict::In(_)));
    }
    // An intermediate of its own is no issuer of ours, and junk beside a good leaf does no harm.
    let mut junk = bearer.clone();
    junk.chain.push(filler);
    world.knock(Plane::Tenant, &junk).await.peer();
}

#[tokio::test]
async fn n12_a_revoked_certificate_is_refused_on_each_listener() {
    let world = World::new();
    for (place, (plane, uri)) in OWN.into_iter().enumerate() {
        let (stolen, good) = (world.bearer(plane, uri), world.bearer(plane, uri));
        let mut table = world.table();
        table.issuers[place].revocations = Some(revocations(world.ca(plane), vec![stolen.serial()], -1, 10));
        assert_eq!(world.issuers.replace(table), []);
        assert_eq!(world.knock(plane, &stolen).await.alert(), Some(CertificateRevoked));
        world.knock(plane, &good).await.peer();
    }
}

#[tokio::test]
async fn n12_an_expired_revocation_list_lets_nobody_in() {
    let world = World::new();
    for (place, (plane, uri)) in OWN.into_iter().enumerate() {
        let bearer = world.bearer(plane, uri);
        let mut table = world.table();
        table.issuers[place].revocations = Some(revocations(world.ca(plane), Vec::new(), -10, -1));
        assert_eq!(world.issuers.replace(table), []);
        assert_eq!(world.knock(plane, &bearer).await.alert(), Some(UnknownCA));
    }
}

#[tokio::test]
async fn n12_a_bad_revocation_list_is_passed_over_and_the_last_good_one_stays() {
    let world = World::new();
    let (stolen, good) = (world.bearer(Plane::Tenant, WRITER), world.bearer(Plane::Tenant, WRITER));
    let with = |list| {
        let mut table = world.table();
        table.issuers[1].revocations = Some(list);
        table
    };
    let first = revocations(&world.tenant, vec![stolen.serial()], -1, 10);
    assert_eq!(world.issuers.replace(with(first.clone())), []);
    let impostor = Ca::create(&name("vault"), Plane::Tenant, life(-1, 3000)).unwrap();
    let forged = revocations(&impostor, vec![good.serial()], -1, 10);
    let mut torn = first.to_vec();
    torn.truncate(torn.len() - 1);
    let mut altered = first.to_vec();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    for bad in [forged, torn.into(), altered.into(), Vec::new().into()] {
        let skipped = world.issuers.replace(with(bad));
        assert!(matches!(skipped[..], [Skipped { issuer: 1, fault: IssuerFault::Revocations(_) }]), "{skipped:?}");
        assert_eq!(world.knock(Plane::Tenant, &stolen).await.alert(), Some(CertificateRevoked));
        world.knock(Plane::Tenant, &good).await.peer();
    }
    // Where there never was a good one nobody knows what was taken back, so the issuer vouches for nobody.
    let fresh = World::new();
    let mut table = fresh.table();
    table.issuers[1].revocations = Some(Vec::new().into());
    assert!(matches!(fresh.issuers.replace(table)[..], [Skipped { issuer: 1, fault: IssuerFault::Authority(_) }]));
    let bearer = fresh.bearer(Plane::Tenant, WRITER);
    assert_eq!(fresh.knock(Plane::Tenant, &bearer).await.alert(), Some(UnknownCA));
}

#[tokio::test]
async fn n12_another_issuers_serial_is_another_certificate() {
    let world = World::new();
    let second = Ca::create(&name("vault"), Plane::Tenant, life(-1, 3000)).unwrap();
    let bearer = world.bearer(Plane::Tenant, WRITER);
    let mut table = world.table();
    table.issuers.push(Issuer {
        plane: Plane::Tenant,
        certificate: second.certificate().clone(),
        tenants: names(["acme"]),
        revocations: Some(revocations(&second, vec![bearer.serial()], -1, 10)),
    });
    assert_eq!(world.issuers.replace(table), []);
    world.knock(Plane::Tenant, &bearer).await.peer();
}

#[tokio::test]
async fn n13_no_certificate_opens_another_planes_door() {
    let world = World::new();
    for (own, uri) in OWN {
        let bearer = world.bearer(own, uri);
        for door in Plane::ALL.into_iter().filter(|door| *door != own) {
            assert_eq!(world.knock(door, &bearer).await.alert(), Some(UnknownCA), "{own} at {door}");
        }
    }
}

#[tokio::test]
async fn n15_no_session_can_be_resumed() {
    let world = World::new();
    let bearer = world.bearer(Plane::Tenant, WRITER);
    let mut config = client_config(&world, Plane::Tenant, Some(&bearer), &[&rustls::version::TLS13]);
    let tickets = Arc::new(Tickets::default());
    config.resumption = Resumption::store(Arc::clone(&tickets) as Arc<dyn ClientSessionStore>);
    config.enable_early_data = true;
    world.knock_with(Plane::Tenant, config).await.peer();
    assert_eq!(*tickets.0.lock().unwrap(), 0);
}

#[tokio::test]
async fn n15_after_revocation_the_same_client_meets_a_full_handshake_and_is_refused() {
    let world = World::new();
    for (place, (plane, uri)) in OWN.into_iter().enumerate() {
        let bearer = world.bearer(plane, uri);
        let mut config = client_config(&world, plane, Some(&bearer), &[&rustls::version::TLS13]);
        config.resumption = Resumption::in_memory_sessions(16);
        config.enable_early_data = true;
        world.knock_with(plane, config.clone()).await.peer();
        let mut table = world.table();
        table.issuers[place].revocations = Some(revocations(world.ca(plane), vec![bearer.serial()], -1, 10));
        assert_eq!(world.issuers.replace(table), []);
        assert_eq!(world.knock_with(plane, config).await.alert(), Some(CertificateRevoked));
    }
}

/// Counts what a client could resume with.
#[derive(Debug, Default)]
struct Tickets(Mutex<u32>);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: rustls::NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<rustls::NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {
        *self.0.lock().unwrap() += 1;
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        *self.0.lock().unwrap() += 1;
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

#[tokio::test]
async fn n88_tls12_is_not_spoken() {
    let world = World::new();
    for (plane, uri) in OWN {
        let bearer = world.bearer(plane, uri);
        let config = client_config(&world, plane, Some(&bearer), &[&rustls::version::TLS12]);
        assert_eq!(world.knock_with(plane, config).await.alert(), Some(ProtocolVersion));
    }
}

#[tokio::test]
async fn n88_plaintext_is_not_spoken() {
    let world = World::new();
    for plane in Plane::ALL {
        let acceptor = world.acceptor(plane);
        let (mut here, there) = tokio::io::duplex(64 * 1024);
        let server = async { acceptor.accept(connection(there)).await.map(|_| ()) };
        let client = async {
            here.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
            here.shutdown().await.unwrap();
            let mut answer = Vec::new();
            here.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let (server, answer) = tokio::join!(server, client);
        assert!(server.is_err());
        // Nothing but an alert.
        assert_eq!(answer.first(), Some(&21), "{answer:?}");
        assert_eq!(answer.len(), 7);
    }
}

#[tokio::test]
async fn without_h2_by_name_nobody_gets_in() {
    let world = World::new();
    let bearer = world.bearer(Plane::Tenant, WRITER);
    for protocols in [vec![], vec![b"http/1.1".to_vec()]] {
        let mut config = client_config(&world, Plane::Tenant, Some(&bearer), &[&rustls::version::TLS13]);
        config.alpn_protocols = protocols;
        assert!(!matches!(world.knock_with(Plane::Tenant, config).await, Verdict::In(_)));
    }
}

#[tokio::test]
async fn n102_an_issuer_speaks_only_for_the_tenants_that_accepted_it() {
    let world = World::new();
    let globex = Ca::create(&name("vault"), Plane::Tenant, life(-1, 3000)).unwrap();
    let mut table = world.table();
    table.issuers.push(Issuer {
        plane: Plane::Tenant,
        certificate: globex.certificate().clone(),
        tenants: names(["globex"]),
        revocations: None,
    });
    assert_eq!(world.issuers.replace(table), []);
    const GLOBEX: &str = "spiffe://vault/tenant/globex/id/db-1/role/writer";
    for (ca, uri, gets_in) in [
        (&globex, GLOBEX, true),
        (&world.tenant, WRITER, true),
        (&globex, WRITER, false),
        (&world.tenant, GLOBEX, false),
    ] {
        let bearer = crafted(ca, |params| params.subject_alt_names = vec![self::uri(uri)]);
        let verdict = world.knock(Plane::Tenant, &bearer).await;
        if gets_in {
            assert_eq!(verdict.peer().id().to_string(), uri);
        } else {
            assert_eq!(verdict.alert(), Some(AccessDenied));
        }
    }
}

#[tokio::test]
async fn n102_another_tenants_registrations_change_nothing_for_the_first() {
    let world = World::new();
    // Globex makes up a certificate with acme's issuer's key and subject that ended long ago, and registers it
    // for itself, before or after acme's own.
    let authority = issuer(&world.tenant);
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Strongroom");
    params.distinguished_name.push(DnType::CommonName, "vault tenant CA");
    params.not_before = day!(-20);
    params.not_after = day!(-10);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let made_up = params.signed_by(authority.key(), &authority).unwrap();
    for place in [1, 3] {
        let mut table = world.table();
        let issuer = Issuer {
            plane: Plane::Tenant,
            certificate: made_up.der().clone(),
            tenants: names(["globex"]),
            revocations: None,
        };
        table.issuers.insert(place, issuer);
        assert_eq!(world.issuers.replace(table), []);
        world.knock(Plane::Tenant, &world.bearer(Plane::Tenant, WRITER)).await.peer();
        let globex = crafted(&world.tenant, |params| {
            params.subject_alt_names = vec![uri("spiffe://vault/tenant/globex/id/db-1/role/writer")];
        });
        assert_eq!(world.knock(Plane::Tenant, &globex).await.alert(), Some(CertificateExpired));
    }
}

#[tokio::test]
async fn n102_an_issuer_of_another_plane_does_not_speak_here() {
    let world = World::new();
    for (plane, uri) in OWN {
        for other in Plane::ALL.into_iter().filter(|other| *other != plane) {
            let bearer = crafted(world.ca(other), |params| params.subject_alt_names = vec![self::uri(uri)]);
            assert_eq!(world.knock(plane, &bearer).await.alert(), Some(AccessDenied), "{uri} by {other}");
            // Nor at its own plane's door, under a name that does not belong there.
            assert_eq!(world.knock(other, &bearer).await.alert(), Some(AccessDenied), "{uri} at {other}");
        }
    }
}

#[tokio::test]
async fn n103_a_name_without_identity_is_refused() {
    let world = World::new();
    for spelling in [
        "spiffe://vault/tenant/acme",
        "spiffe://vault/tenant/acme/role/writer",
        "spiffe://vault/tenant/acme/id/db-1",
        "spiffe://vault/tenant/acme/id//role/writer",
    ] {
        let bearer = crafted(&world.tenant, |params| params.subject_alt_names = vec![uri(spelling)]);
        assert_eq!(world.knock(Plane::Tenant, &bearer).await.alert(), Some(AccessDenied), "{spelling}");
    }
}

#[tokio::test]
async fn another_clusters_certificates_are_refused() {
    let world = World::new();
    for (plane, uri) in OWN {
        let foreign = uri.replace("//vault/", "//other/");
        let bearer = crafted(world.ca(plane), |params| params.subject_alt_names = vec![self::uri(&foreign)]);
        assert_eq!(world.knock(plane, &bearer).await.alert(), Some(AccessDenied));
    }
}

#[tokio::test]
async fn a_node_that_left_and_a_tenant_that_never_was_are_refused() {
    let world = World::new();
    let mut table = world.table();
    table.gone_nodes = names(["n1"]);
    table.tenants.remove(&name("acme"));
    assert_eq!(world.issuers.replace(table), []);
    let node = world.bearer(Plane::Peer, NODE);
    assert_eq!(world.knock(Plane::Peer, &node).await.alert(), Some(AccessDenied));
    let writer = world.bearer(Plane::Tenant, WRITER);
    assert_eq!(world.knock(Plane::Tenant, &writer).await.alert(), Some(AccessDenied));
}
