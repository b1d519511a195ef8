//! REFUSALS.md, "Identity and TLS", against the listeners of running nodes, and the certificates of "Claims that nobody
//! may make alone" (N102, N103).
//!
//! Not here: what becomes of good certificates later (`ends.rs`), the same judgements on a simulated clock and with lists
//! and issuers that no cluster would take (`node/identity`).

use rcgen::{
    BasicConstraints, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, PKCS_RSA_SHA256,
    PublicKeyData,
};
use rustls::AlertDescription::{
    self, AccessDenied, CertificateExpired, CertificateRequired, DecryptError, ProtocolVersion, UnknownCA,
    UnsupportedCertificate,
};
use rustls::pki_types::CertificateDer;
use strongroom_format::codec;
use strongroom_format::command::Body;
use strongroom_proto::v1 as pb;
use tonic::Code;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::bearer::{Authority, Bearer, Door, Verdict, dns, knock, knock_with, seconds_from_now, tls_of, uri};
use crate::cluster::{Cluster, PATIENCE, until};
use crate::shared::shared;
use crate::speaker::{No, Person, Speaker, channel, no, patiently, vaults};

/// The URI of somebody of a tenant.
fn somebody(cluster: &Cluster, tenant: &str, identity: &str, role: &str) -> String {
    format!("spiffe://{}/tenant/{tenant}/id/{identity}/role/{role}", cluster.name)
}

/// Who may come in by each door.
fn own(cluster: &Cluster, door: Door) -> String {
    let name = &cluster.name;
    match door {
        Door::Tenant => somebody(cluster, "acme", "writer", "writer"),
        Door::Peer => format!("spiffe://{name}/node/{}/{}", cluster.nodes[0].region, cluster.nodes[0].name),
        Door::Operator => format!("spiffe://{name}/operator/platform/role/platform-operator"),
    }
}

/// Who vouches for them.
fn authority(cluster: &Cluster, door: Door) -> Authority {
    match door {
        Door::Tenant => Authority::of_tenant(cluster, "acme"),
        Door::Peer | Door::Operator => Authority::of_plane(cluster, door.plane()),
    }
}

/// Every node turns this bearer away at a door with an alert, and lets a good one in right after.
async fn turned_away(cluster: &Cluster, door: Door, bearer: Option<&Bearer>, alert: AlertDescription) {
    let good = authority(cluster, door).issue(&own(cluster, door));
    for node in &cluster.nodes {
        assert_eq!(knock(cluster, node, door, bearer).await, Verdict::Out(alert), "{door:?} of {}", node.name);
        assert_eq!(knock(cluster, node, door, Some(&good)).await, Verdict::In, "{door:?} of {}", node.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n01_without_a_certificate_nobody_gets_in() {
    let cluster = shared();
    for door in Door::ALL {
        turned_away(cluster, door, None, CertificateRequired).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n02_an_unknown_authority_is_refused() {
    let cluster = shared();
    for door in Door::ALL {
        let bearer = Authority::unknown().issue(&own(cluster, door));
        turned_away(cluster, door, Some(&bearer), UnknownCA).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n03_a_certificate_that_has_ended_or_not_begun_is_refused() {
    let cluster = shared();
    for door in Door::ALL {
        for (from, to) in [(-7200, -3600), (3600, 7200)] {
            let bearer = authority(cluster, door).craft(|params| {
                params.subject_alt_names = vec![uri(&own(cluster, door))];
                (params.not_before, params.not_after) = (seconds_from_now!(from), seconds_from_now!(to));
            });
            turned_away(cluster, door, Some(&bearer), CertificateExpired).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n04_a_certificate_without_extended_key_usage_is_refused() {
    let cluster = shared();
    for door in Door::ALL {
        let bearer = authority(cluster, door).craft(|params| {
            params.subject_alt_names = vec![uri(&own(cluster, door))];
            params.extended_key_usages.clear();
        });
        turned_away(cluster, door, Some(&bearer), UnsupportedCertificate).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n05_a_certificate_for_servers_does_not_dial() {
    let cluster = shared();
    for door in Door::ALL {
        let bearer = authority(cluster, door).craft(|params| {
            params.subject_alt_names = vec![uri(&own(cluster, door))];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        turned_away(cluster, door, Some(&bearer), UnsupportedCertificate).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n06_common_names_and_dns_names_are_no_identity() {
    let cluster = shared();
    let acme = Authority::of_tenant(cluster, "acme");
    let nameless = acme.craft(|_| {});
    let common_name = acme.craft(|params| params.distinguished_name.push(DnType::CommonName, "acme"));
    let whole_uri = acme.craft(|params| {
        params.distinguished_name.push(DnType::CommonName, own(cluster, Door::Tenant));
    });
    let dns_name = acme.craft(|params| params.subject_alt_names = vec![dns("acme")]);
    for bearer in [nameless, common_name, whole_uri, dns_name] {
        turned_away(cluster, Door::Tenant, Some(&bearer), AccessDenied).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n07_two_names_are_no_identity() {
    let cluster = shared();
    for door in Door::ALL {
        let name = own(cluster, door);
        let twice = authority(cluster, door).craft(|params| params.subject_alt_names = vec![uri(&name), uri(&name)]);
        turned_away(cluster, door, Some(&twice), AccessDenied).await;
    }
}

/// Every door turns away whoever has this URI in place of its own name, from the door's own issuer.
async fn no_name(cluster: &Cluster, spelling: &str) {
    for door in Door::ALL {
        let bearer = authority(cluster, door).craft(|params| params.subject_alt_names = vec![uri(spelling)]);
        for node in &cluster.nodes {
            let verdict = knock(cluster, node, door, Some(&bearer)).await;
            assert_eq!(verdict, Verdict::Out(AccessDenied), "{spelling} at {door:?} of {}", node.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n08_other_spellings_are_refused() {
    let cluster = shared();
    let name = &cluster.name;
    for spelling in [
        format!("spiffe://{name}/tenant/a%2Fb/id/writer/role/writer"),
        format!("spiffe://{name}/tenant/%61cme/id/writer/role/writer"),
        format!("spiffe://{name}/tenant/../acme/id/writer/role/writer"),
        format!("spiffe://{name}/tenant//acme/id/writer/role/writer"),
        format!("spiffe://{name}/tenant/acme/id/writer/role/writer/"),
        format!("spiffe://{}/tenant/acme/id/writer/role/writer", name.to_uppercase()),
        format!("spiffe://{name}/tenant/acme/id/writer/role/writer?role=admin"),
        format!("spiffe://{name}/tenant/acme/id/writer/role/writer#admin"),
        format!("spiffe://{name}:443/tenant/acme/id/writer/role/writer"),
        format!("spiffe://{name}/tenant/*/id/writer/role/writer"),
        format!("spiffe://{name}/tenant/acme/id/*/role/writer"),
        format!("SPIFFE://{name}/tenant/acme/id/writer/role/writer"),
    ] {
        no_name(cluster, &spelling).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n09_reserved_long_and_look_alike_names_are_refused() {
    let cluster = shared();
    let long = "a".repeat(64);
    let reserved = ["root", "system", "node", "operator", "admin", "all", "any", "global", "default"];
    for tenant in reserved.into_iter().chain([long.as_str()]) {
        no_name(cluster, &somebody(cluster, tenant, "writer", "writer")).await;
    }
    // Cyrillic letters, a blank of no width: as bytes, since they are no ASCII.
    let acme = Authority::of_tenant(cluster, "acme");
    for look_alike in ["\u{430}cme", "acm\u{435}", "acme\u{200b}"] {
        let name = somebody(cluster, look_alike, "writer", "writer");
        let bearer = acme.craft(|params| params.custom_extensions = vec![uri_extension(&[name.as_bytes()])]);
        turned_away(cluster, Door::Tenant, Some(&bearer), AccessDenied).await;
    }
    // A name that does not read is a second name beside the good one.
    let good = own(cluster, Door::Tenant);
    let names: [&[u8]; 2] = [good.as_bytes(), &[0xff, 0xfe]];
    let bearer = acme.craft(|params| params.custom_extensions = vec![uri_extension(&names)]);
    turned_away(cluster, Door::Tenant, Some(&bearer), AccessDenied).await;
}

/// Subject alternative names with these bytes as URIs, whatever they are. All lengths below 128.
fn uri_extension(uris: &[&[u8]]) -> CustomExtension {
    let short = |length: usize| u8::try_from(length).ok().filter(|length| *length < 128).expect("short");
    let names: Vec<u8> = uris.iter().flat_map(|uri| [&[0x86, short(uri.len())], *uri].concat()).collect();
    let content = [&[0x30, short(names.len())], names.as_slice()].concat();
    CustomExtension::from_oid_content(&[2, 5, 29, 17], content)
}

/// A public key of 1024 bits. Nobody knows its private half, and nobody needs to: the chain is refused first.
struct Rsa1024(Vec<u8>);

impl Rsa1024 {
    fn new() -> Self {
        let modulus = [[0x02, 0x81, 0x81, 0x00].as_slice(), &[0xc5; 128]].concat();
        let exponent = [0x02, 0x03, 0x01, 0x00, 0x01];
        let body = [modulus.as_slice(), &exponent].concat();
        Self([&[0x30, 0x81, u8::try_from(body.len()).expect("short")], body.as_slice()].concat())
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

#[tokio::test(flavor = "multi_thread")]
async fn n10_authorities_long_lives_and_weak_keys_are_refused() {
    let cluster = shared();
    for door in Door::ALL {
        let authority = authority(cluster, door);
        let name = uri(&own(cluster, door));
        let is_authority = authority.craft(|params| {
            params.subject_alt_names = vec![name.clone()];
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        });
        let signs = authority.craft(|params| {
            params.subject_alt_names = vec![name.clone()];
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        });
        let weak = authority.craft_for(&Rsa1024::new(), |params| params.subject_alt_names = vec![name.clone()]);
        for bearer in [is_authority, signs, Bearer::of_der(weak)] {
            turned_away(cluster, door, Some(&bearer), UnsupportedCertificate).await;
        }
        let days = |days: i64| days * 24 * 3600;
        let over_cap = authority.craft(|params| {
            params.subject_alt_names = vec![name.clone()];
            (params.not_before, params.not_after) = (seconds_from_now!(-60), seconds_from_now!(days(401)));
        });
        turned_away(cluster, door, Some(&over_cap), AccessDenied).await;
        // Signed with a weak hash, as far as it says: nobody gets as far as computing whether it is.
        let good = authority.issue(&own(cluster, door));
        for weak in [&ECDSA_WITH_SHA1[..], &ECDSA_WITH_SHA224] {
            let presented = Bearer::of_der(with_a_weak_hash(good.certificate(), weak));
            for node in &cluster.nodes {
                let verdict = knock(cluster, node, door, Some(&presented)).await;
                assert!(
                    matches!(verdict, Verdict::Out(DecryptError | UnsupportedCertificate)),
                    "{weak:x?} at {door:?} of {}: {verdict:?}",
                    node.name
                );
            }
        }
    }
}

/// A certificate that says of itself that it was signed with a weak hash: SHA-1, or SHA-224. (Of RSA it is shown in
/// `node/identity`.)
fn with_a_weak_hash(certificate: &CertificateDer<'_>, weak: &[u8]) -> CertificateDer<'static> {
    // AlgorithmIdentifier of ecdsa-with-SHA256: 1.2.840.10045.4.3.2.
    let sha256 = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let mut bytes = certificate.to_vec();
    let places: Vec<usize> = memchr::memmem::find_iter(&bytes, &sha256).collect();
    assert_eq!(places.len(), 2, "it stands inside and outside of what is signed");
    for at in places.into_iter().rev() {
        bytes.splice(at..at + sha256.len(), weak.iter().copied());
    }
    // The lengths of the whole, and of what is signed, both in two bytes.
    let shorter = sha256.len() - weak.len();
    for (at, by) in [(0, 2 * shorter), (4, shorter)] {
        assert_eq!(bytes[at..at + 2], [0x30, 0x82]);
        let length = u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]) - u16::try_from(by).expect("a few bytes");
        bytes[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
    }
    bytes.into()
}

/// AlgorithmIdentifiers of ECDSA with a weak hash: 1.2.840.10045.4.1 and 1.2.840.10045.4.3.1.
const ECDSA_WITH_SHA1: [u8; 11] = [0x30, 0x09, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
const ECDSA_WITH_SHA224: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 1];

#[tokio::test(flavor = "multi_thread")]
async fn n11_a_pathological_chain_is_refused_and_the_door_stays_open() {
    let cluster = shared();
    for door in Door::ALL {
        let authority = authority(cluster, door);
        let good = authority.issue(&own(cluster, door));
        let filler = good.certificate().clone();
        let large = CertificateDer::from(vec![0x30; 100 << 10]);
        let long = good.clone().with_behind(std::iter::repeat_n(filler, 100));
        for bearer in [long, good.clone().with_behind([large])] {
            for node in &cluster.nodes {
                // Beyond 64 KiB TLS itself gives up, and may say nothing.
                let verdict = knock(cluster, node, door, Some(&bearer)).await;
                assert_ne!(verdict, Verdict::In, "{door:?} of {}", node.name);
                assert_eq!(knock(cluster, node, door, Some(&good)).await, Verdict::In, "{door:?} of {}", node.name);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n88_neither_plaintext_nor_tls_1_2_is_spoken() {
    let cluster = shared();
    for door in Door::ALL {
        let good = authority(cluster, door).issue(&own(cluster, door));
        for node in &cluster.nodes {
            let older = tls_of(cluster, door, Some(&good), &rustls::version::TLS12);
            assert_eq!(knock_with(node, door, older).await, Verdict::Out(ProtocolVersion), "{door:?} of {}", node.name);
            let plain = async {
                let mut tcp = tokio::net::TcpStream::connect(door.of(node)).await?;
                tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
                let mut answer = Vec::new();
                // A reset is an end too.
                tcp.read_to_end(&mut answer).await.ok();
                std::io::Result::Ok(answer)
            };
            let answer = tokio::time::timeout(PATIENCE, plain).await.expect("the door answers").expect("a connection");
            // An alert of TLS (21), or nothing.
            assert!(answer.is_empty() || (answer[0] == 21 && answer.len() == 7), "{door:?}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n13_no_certificate_opens_another_planes_door() {
    let cluster = shared();
    for door in Door::ALL {
        let bearer = authority(cluster, door).issue(&own(cluster, door));
        for other in Door::ALL.into_iter().filter(|other| *other != door) {
            turned_away(cluster, other, Some(&bearer), UnknownCA).await;
        }
    }
    // What a node presents towards tenants and operators only answers; it opens no door there either.
    for node in &cluster.nodes {
        for door in [Door::Tenant, Door::Operator] {
            let presented = Bearer::read(&node.data_dir.join("identity"), door.plane());
            let verdict = knock(cluster, node, door, Some(&presented)).await;
            assert!(matches!(verdict, Verdict::Out(UnsupportedCertificate | UnknownCA)), "{door:?}: {verdict:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n14_a_call_without_a_row_does_not_exist() {
    let cluster = shared();
    for (door, own_call) in [
        (Door::Tenant, "/strongroom.v1.Vaults/Topology"),
        (Door::Operator, "/strongroom.v1.Operators/Describe"),
        (Door::Peer, "/strongroom.v1.Peers/Ping"),
    ] {
        let bearer = authority(cluster, door).issue(&own(cluster, door));
        let channel = channel(cluster, &cluster.nodes[0], door, &bearer).await;
        let call = async |path: &'static str| {
            let mut client = tonic::client::Grpc::new(channel.clone());
            tokio::time::timeout(PATIENCE, client.ready()).await.expect("in time").expect("the connection serves");
            let path = http::uri::PathAndQuery::from_static(path);
            let codec = tonic_prost::ProstCodec::<pb::PingRequest, pb::PingReply>::default();
            client.unary(tonic::Request::new(pb::PingRequest {}), path, codec).await.map(drop)
        };
        assert!(!matches!(call(own_call).await, Err(status) if status.code() == Code::Unimplemented));
        for path in [
            "/strongroom.v1.Vaults/SetClock",
            "/strongroom.v1.Vaults/DeleteSnapshot",
            "/strongroom.v1.Vaults",
            "/strongroom.v1.Nobody/Topology",
            "/strongroom.v1.vaults/Topology",
            "/strongroom.v1.Vaults/Topology/",
            "//strongroom.v1.Vaults/Topology",
            "/strongroom.v1.Vaults/%54opology",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.health.v1.Health/Check",
            "/metrics",
            "/",
        ] {
            let status = call(path).await.expect_err("no such call");
            assert_eq!(status.code(), Code::Unimplemented, "{path} at {door:?}: {status:?}");
        }
        // Another plane's calls do not exist here.
        for path in [
            "/strongroom.v1.Vaults/Topology",
            "/strongroom.v1.Operators/Describe",
            "/strongroom.v1.Peers/Ping",
            "/strongroom.v1.Peers/Query",
        ] {
            if path.split('/').nth(1) != own_call.split('/').nth(1) {
                let status = call(path).await.expect_err("no such call here");
                assert_eq!(status.code(), Code::Unimplemented, "{path} at {door:?}: {status:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n102_an_issuer_speaks_only_for_the_tenants_and_the_plane_that_accepted_it() {
    let cluster = shared();
    let acme = own(cluster, Door::Tenant);
    let globex = somebody(cluster, "globex", "writer", "writer");
    let of_tenant = |tenant| Authority::of_tenant(cluster, tenant);
    turned_away(cluster, Door::Tenant, Some(&of_tenant("globex").issue(&acme)), AccessDenied).await;
    turned_away(cluster, Door::Tenant, Some(&of_tenant("acme").issue(&globex)), AccessDenied).await;
    // A tenant's issuer names a node or an operator, at the tenants' door and at theirs.
    for door in [Door::Peer, Door::Operator] {
        let bearer = of_tenant("acme").issue(&own(cluster, door));
        turned_away(cluster, door, Some(&bearer), AccessDenied).await;
        turned_away(cluster, Door::Tenant, Some(&bearer), AccessDenied).await;
    }
    // Another plane's issuer names somebody of a tenant.
    for plane in ["peer", "operator"] {
        let bearer = Authority::of_plane(cluster, plane).issue(&acme);
        turned_away(cluster, Door::Tenant, Some(&bearer), AccessDenied).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n103_a_name_without_identity_is_turned_away_in_the_handshake() {
    let cluster = shared();
    let acme = Authority::of_tenant(cluster, "acme");
    for name in ["", "/role/writer", "/id/writer", "/id//role/writer", "/id/writer/role/nobody"] {
        let bearer = acme.issue(&format!("spiffe://{}/tenant/acme{name}", cluster.name));
        turned_away(cluster, Door::Tenant, Some(&bearer), AccessDenied).await;
    }
}

/// What the first request of a certificate's bearer is answered.
async fn first_request(cluster: &Cluster, bearer: &Bearer) -> Result<(), No> {
    let client = vaults(cluster, bearer).await;
    let reply = patiently(|| {
        let mut client = client.clone();
        async move { client.topology(pb::TopologyRequest {}).await }
    });
    Ok(reply.await.map(drop)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn n103_without_an_open_row_with_the_role_the_first_request_is_refused() {
    let cluster = shared();
    let acme = Authority::of_tenant(cluster, "acme");
    let refused = Err(no("UNAUTHENTICATED", "IDENTITY"));
    for (identity, role) in [("nobody", "writer"), ("writer", "restorer"), ("writer", "admin"), ("restorer", "writer")]
    {
        let bearer = acme.issue(&somebody(cluster, "acme", identity, role));
        assert_eq!(first_request(cluster, &bearer).await, refused, "{identity} as {role}");
        // Nor does a command get further.
        let founder = Person::founder(cluster, "acme", "writer");
        let line = Speaker::call(cluster, founder.clone()).await;
        let mut opening = line.opening(0);
        opening.principal = identity.parse().expect("a name");
        let command = line.signed(&opening);
        let request = pb::SubmitRequest { group: line.home.0, commands: vec![codec::encode(&command).into()] };
        let client = vaults(cluster, &bearer).await;
        let answer = patiently(|| {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.submit(request).await }
        });
        assert_eq!(answer.await.map(drop).map_err(No::from), refused, "{identity} as {role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n103_a_closed_identity_is_refused_within_seconds_on_every_node() {
    let cluster = shared();
    crate::shared::enrol_writer(cluster, "acme", "leaver", "papers").await;
    let leaver = Person::founder(cluster, "acme", "leaver");
    assert_eq!(first_request(cluster, &leaver.bearer).await, Ok(()));
    let admin = Speaker::founder(cluster, "acme", "administrator").await;
    let close = Body::CloseIdentity { identity: leaver.identity.clone(), reason: "left".into() };
    admin.talk(0).await.say(close).await.expect("an admin closes identities");
    // A copy of the row may be five seconds old at the door; the rules know at once.
    let line = Speaker { person: leaver.clone(), ..Speaker::founder(cluster, "acme", "writer").await };
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        let is_refused =
            || runtime.block_on(first_request(cluster, &leaver.bearer)) == Err(no("UNAUTHENTICATED", "IDENTITY"));
        until(is_refused, || "a closed identity is refused".into());
    });
    let vaults = vaults(cluster, &leaver.bearer).await;
    let line = Speaker { vaults, ..line };
    let opening = line.signed(&line.opening(0));
    assert_eq!(line.say(line.home, opening).await, Err(no("UNAUTHENTICATED", "IDENTITY")));
}
