//! Who becomes somebody, against running nodes: tokens at the fourth listener, roles that nobody may give alone, nodes
//! without approval, tenants that have ended, operators who would decide for tenants (N28, N96, N104, N105, N106).
//!
//! Not here: the rules by themselves (`node/core`), the commands for people (`client/cli`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use strongroom::enrol::{self, Door as Doorstep, Person as Someone, TlsKey, Wish};
use strongroom::governance::Standing;
use strongroom::tenants;
use strongroom_format::codec;
use strongroom_format::command::{Body, OperatorBody, OperatorCommand};
use strongroom_format::enrolment::{
    Bearer as Named, CertificateWish, NodeAddresses, Token, TokenTenant, request_digest,
};
use strongroom_format::id::{Digest, GroupId, Nonce, StatementVersion, TenantTag};
use strongroom_format::keys::RootKey;
use strongroom_format::outcome::Outcome;
use strongroom_format::role::Role;
use strongroom_format::sign::{Signed, SigningKey, sign_operator_command};
use strongroom_format::statement::{FoundingRecord, issuer_digest};
use strongroom_identity::admission::TABLE;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::enrolment_client::EnrolmentClient;
use strongroom_proto::v1::operators_client::OperatorsClient;
use strongroom_proto::v1::peers_client::PeersClient;
use strongroom_proto_identity::certificate::{Leaf, Purpose};
use strongroom_proto_identity::tls::{read_certificates, strangers_config};
use strongroom_proto_identity::verify::NodeVerifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::bearer::{Authority, Bearer, Door, Verdict, knock, since_1970};
use crate::cluster::{Cluster, DevNode, PATIENCE, comes_true, metric_at};
use crate::inside::Inside;
use crate::raw::call;
use crate::shared::{create_vault, shared};
use crate::speaker::{No, Person, Speaker, channel, no, outcome, patiently, random, vaults};
use crate::tenant::{admit, found, new_ca, operator};

/// A token's lifetime where it must not end.
const LONG: Duration = Duration::from_secs(600);

/// A token that can be made to say something else than its row.
struct Issued {
    seed: [u8; 32],
    door: Doorstep,
    tenant: TokenTenant,
}

impl Issued {
    /// Issues one, as an admin of the tenant.
    async fn by(
        cluster: &Cluster,
        admin: &Speaker,
        identity: &str,
        roles: &[Role],
        lifetime: Duration,
    ) -> Result<Self, No> {
        let door = doorstep(cluster, &cluster.nodes[0]);
        let issued = Self { seed: random(), door, tenant: tenant_of(admin) };
        let token = issued.saying(identity, roles);
        let body = Body::IssueToken {
            token: token.digest(),
            identity: identity.parse().expect("a name"),
            roles: roles.to_vec(),
            locks: None,
            lifetime_ms: u64::try_from(lifetime.as_millis()).expect("short"),
            wall_end_unix_ms: u64::try_from((since_1970(0) + lifetime).as_millis()).expect("this century"),
            approvals: Vec::new(),
        };
        admin.talk(0).await.say(body).await?;
        Ok(issued)
    }

    /// The token, with whatever its text says of who its bearer is.
    fn saying(&self, identity: &str, roles: &[Role]) -> Token {
        let bearer = Named::Identity {
            tenant: self.tenant.clone(),
            identity: identity.parse().expect("a name"),
            roles: roles.to_vec(),
        };
        let Doorstep { cluster, epoch, endpoints, pin } = self.door.clone();
        Token::new(cluster, epoch, endpoints, pin, bearer, self.seed).expect("a token")
    }
}

/// What a token says of somebody's tenant.
fn tenant_of(speaker: &Speaker) -> TokenTenant {
    let founding = FoundingRecord::open(&speaker.topology.founding).expect("the tenant's record");
    TokenTenant { name: founding.name, id: speaker.tenant, home: speaker.home, root: founding.root }
}

/// A node's door for strangers.
fn doorstep(cluster: &Cluster, node: &DevNode) -> Doorstep {
    let authority = read_certificates(&cluster.directory().join("ca/tenant.pem")).expect("a CA").remove(0);
    Doorstep {
        cluster: cluster.name.parse().expect("a name"),
        epoch: cluster.epoch(),
        endpoints: vec![node.enrol.to_string()],
        pin: issuer_digest(&authority),
    }
}

/// Keys of somebody new.
struct Keys {
    signing: SigningKey,
    tls: TlsKey,
}

fn keys() -> Keys {
    Keys {
        signing: SigningKey::from_secret(random()).expect("a good key"),
        tls: TlsKey::generate().expect("a key can be made"),
    }
}

/// A connection of a stranger to a node.
async fn stranger_channel(cluster: &Cluster, node: &DevNode) -> Channel {
    let door = doorstep(cluster, node);
    let config = strangers_config(NodeVerifier::pinned(door.pin, door.cluster.0.clone()));
    let (tls, at) = (TlsConnector::from(Arc::new(config)), node.enrol);
    let connector = tower::service_fn(move |_: http::Uri| {
        let tls = tls.clone();
        async move {
            let tcp = TcpStream::connect(at).await?;
            let name = ServerName::try_from("nobody.invalid").expect("a DNS name");
            tls.connect(name, tcp).await.map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{at}")).expect("an address");
    endpoint.connect_with_connector(connector).await.expect("the door opens to strangers")
}

async fn stranger(cluster: &Cluster, node: &DevNode) -> EnrolmentClient<Channel> {
    EnrolmentClient::new(stranger_channel(cluster, node).await)
}

/// Redeems a token at a node.
async fn redeem(cluster: &Cluster, node: &DevNode, token: &Token, keys: &Keys) -> Result<pb::EnrolReply, No> {
    let signed = token.redeem(&keys.signing, request_digest(keys.tls.public()), None).expect("a redemption");
    let request =
        pb::EnrolRequest { redemption: codec::encode(&signed).into(), key: Bytes::copy_from_slice(keys.tls.public()) };
    let client = stranger(cluster, node).await;
    let reply = patiently(|| {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.enrol(request).await }
    });
    reply.await.map_err(No::from)
}

/// Whom the certificates of an answer name.
fn named(reply: &pb::EnrolReply) -> Vec<String> {
    let name = |certificate: &pb::Certificate| {
        let der = certificate.chain[0].to_vec().into();
        Leaf::read(&der, Purpose::Client).expect("a client's certificate").id.to_string()
    };
    reply.certificates.iter().map(name).collect()
}

fn used() -> No {
    no("UNAUTHENTICATED", "TOKEN_USED")
}

fn no_token() -> No {
    no("UNAUTHENTICATED", "TOKEN")
}

#[tokio::test(flavor = "multi_thread")]
async fn n105_of_two_who_redeem_a_token_at_once_at_two_nodes_one_wins_and_is_answered_again() {
    let cluster = shared();
    let admin = Speaker::founder(cluster, "acme", "administrator").await;
    for round in 0..3 {
        let id = format!("n105-twice-{round}");
        let issued = Issued::by(cluster, &admin, &id, &[Role::Writer], LONG).await.expect("an admin issues tokens");
        let token = issued.saying(&id, &[Role::Writer]);
        let (one, other) = (keys(), keys());
        let (first, second) = tokio::join!(
            redeem(cluster, &cluster.nodes[1], &token, &one),
            redeem(cluster, &cluster.nodes[2], &token, &other),
        );
        let (winner, reply, refused) = match (first, second) {
            (Ok(reply), Err(refused)) => (&one, reply, refused),
            (Err(refused), Ok(reply)) => (&other, reply, refused),
            both => panic!("one of two wins: {both:?}"),
        };
        assert_eq!(refused, used());
        let expected = vec![format!("spiffe://{}/tenant/acme/id/{id}/role/writer", cluster.name)];
        assert_eq!(named(&reply), expected);
        // The answer was lost: the same keys get it again, at any node. Others never do.
        for node in &cluster.nodes {
            assert_eq!(redeem(cluster, node, &token, winner).await.map(|reply| named(&reply)), Ok(expected.clone()));
            assert_eq!(redeem(cluster, node, &token, &keys()).await.map(drop), Err(used()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n105_the_row_says_who_the_bearer_is_and_nothing_that_is_sent() {
    let cluster = shared();
    let admin = Speaker::founder(cluster, "acme", "administrator").await;
    let issued = Issued::by(cluster, &admin, "n105-names", &[Role::Writer], LONG).await.expect("a token");
    let forged = issued.saying("n105-king", &[Role::Admin]);
    let keys = keys();
    let signed = forged.redeem(&keys.signing, request_digest(keys.tls.public()), None).expect("a redemption");
    let request =
        pb::EnrolRequest { redemption: codec::encode(&signed).into(), key: Bytes::copy_from_slice(keys.tls.public()) };
    // Names beside what the message knows, as other fields and as headers.
    let mut bytes = prost::Message::encode_to_vec(&request);
    for (field, text) in [(3_u8, "n105-king"), (4, "admin"), (15, "acme")] {
        bytes.extend([field << 3 | 2, u8::try_from(text.len()).expect("short")]);
        bytes.extend(text.bytes());
    }
    let door = stranger_channel(cluster, &cluster.nodes[0]).await;
    let reply = call(&door, "/strongroom.v1.Enrolment/Enrol", bytes).await.expect("an answer");
    let reply: pb::EnrolReply = prost::Message::decode(&reply[..]).expect("an answer");
    assert_eq!(named(&reply), [format!("spiffe://{}/tenant/acme/id/n105-names/role/writer", cluster.name)]);
    assert_eq!(reply.certificates[0].role, "writer");
    // The SDK takes no certificate that names somebody else than it was told.
    let king = Someone { tenant: issued.tenant.name.clone(), identity: "n105-king".parse().expect("a name") };
    let refused = enrol::enrol(&forged, &keys.signing, &keys.tls, &king, PATIENCE).await.expect_err("another's name");
    assert_eq!(refused.reason(), Some("PROVENANCE_INVALID"));

    // Nor does the new identity's own key get it another name or role, here or elsewhere.
    let door = issued.door.clone();
    for (identity, role) in [
        ("n105-names", Role::Admin),
        ("n105-names", Role::Restorer),
        ("administrator", Role::Admin),
        ("writer", Role::Writer),
    ] {
        let person = Someone { tenant: issued.tenant.name.clone(), identity: identity.parse().expect("a name") };
        let wish = Wish { tenant: admin.tenant, person, role };
        let refused = enrol::certify(&door, &wish, &keys.signing, &keys.tls, PATIENCE).await.expect_err("not its own");
        assert_eq!(No::from(refused), no("UNAUTHENTICATED", "IDENTITY"), "{identity} as {role}");
    }
    let globex = Speaker::founder(cluster, "globex", "writer").await;
    let name = "globex".parse().expect("a name");
    let person = Someone { tenant: name, identity: "n105-names".parse().expect("a name") };
    let wish = Wish { tenant: globex.tenant, person, role: Role::Writer };
    let refused = enrol::certify(&door, &wish, &keys.signing, &keys.tls, PATIENCE).await.expect_err("another tenant");
    assert_eq!(No::from(refused), no("UNAUTHENTICATED", "IDENTITY"));
    // A wish that names another TLS key than the one that is sent is somebody else's, overheard.
    let wish = CertificateWish {
        cluster: door.epoch,
        tenant: admin.tenant,
        identity: "n105-names".parse().expect("a name"),
        role: Role::Writer,
        request: Digest::from_bytes(random()),
    };
    let wish = codec::encode(&Signed::new(&wish, &keys.signing).expect("a wish"));
    let request = pb::CertifyRequest { wish: wish.into(), key: Bytes::copy_from_slice(keys.tls.public()) };
    let refused = stranger(cluster, &cluster.nodes[0]).await.certify(request).await.map(drop).map_err(No::from);
    assert_eq!(refused, Err(no("INVALID_ARGUMENT", "INVALID")));
}

#[tokio::test(flavor = "multi_thread")]
async fn n105_a_token_that_has_ended_one_that_never_was_and_a_foreign_one_read_alike() {
    const SHORT: Duration = Duration::from_secs(2);
    let cluster = shared();
    let admin = Speaker::founder(cluster, "acme", "administrator").await;
    let globex = Speaker::founder(cluster, "globex", "administrator").await;
    let short = Issued::by(cluster, &admin, "n105-late", &[Role::Writer], SHORT).await.expect("a token");
    let ended_at = since_1970(0) + SHORT;
    let good = Issued::by(cluster, &admin, "n105-good", &[Role::Writer], LONG).await.expect("a token");
    // Globex's, said to be acme's: nobody finds it there. Acme's, said to be globex's: nor there.
    let foreign = Issued::by(cluster, &globex, "n105-foreign", &[Role::Writer], LONG).await.expect("a token");
    let foreign = Issued { tenant: good.tenant.clone(), ..foreign };
    let abroad = Issued { seed: good.seed, door: good.door.clone(), tenant: tenant_of(&globex) };
    let absent = Issued { seed: random(), door: good.door.clone(), tenant: good.tenant.clone() };
    for (what, issued) in [("foreign", &foreign), ("abroad", &abroad), ("absent", &absent)] {
        for node in &cluster.nodes {
            let refused = redeem(cluster, node, &issued.saying("n105-x", &[Role::Writer]), &keys()).await;
            assert_eq!(refused.map(drop), Err(no_token()), "{what} at {}", node.name);
        }
    }
    while since_1970(0) <= ended_at {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for node in &cluster.nodes {
        let refused = redeem(cluster, node, &short.saying("n105-late", &[Role::Writer]), &keys()).await;
        assert_eq!(refused.map(drop), Err(no_token()), "it has ended, at {}", node.name);
    }
    // What was refused has used nothing up.
    let token = good.saying("n105-good", &[Role::Writer]);
    redeem(cluster, &cluster.nodes[0], &token, &keys()).await.expect("a good token");
    let listed = admin.vaults.clone().list_identities(pb::ListIdentitiesRequest::default()).await.expect("a list");
    let listed: Vec<String> = listed.into_inner().identities.into_iter().map(|one| one.id).collect();
    assert!(listed.contains(&"n105-good".to_owned()));
    assert!(!listed.iter().any(|id| ["n105-late", "n105-foreign", "n105-x"].contains(&id.as_str())), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn n104_an_admin_alone_makes_writers_and_auditors_and_nobody_else() {
    let cluster = shared();
    let admin = Speaker::founder(cluster, "acme", "administrator").await;
    let needs_approval = no("FAILED_PRECONDITION", "NEEDS_APPROVAL");
    let forbidden = no("PERMISSION_DENIED", "FORBIDDEN_ROLES");
    let alone = |role: &Role| matches!(role, Role::Writer | Role::Auditor);
    let pairs = [
        [Role::Writer, Role::Restorer],
        [Role::Writer, Role::Admin],
        [Role::Writer, Role::Approver],
        [Role::Restorer, Role::Approver],
        [Role::Admin, Role::Approver],
        [Role::KeyCustodian, Role::Approver],
    ];
    let mut cases: Vec<(Vec<Role>, &No)> = Vec::new();
    cases.extend(Role::ALL.into_iter().filter(|role| !alone(role)).map(|role| (vec![role], &needs_approval)));
    cases.push((vec![Role::Auditor, Role::Restorer], &needs_approval));
    cases.extend(pairs.map(|pair| (pair.to_vec(), &forbidden)));
    for (mut roles, refused) in cases {
        roles.sort_unstable();
        let enrolment = Body::EnrolIdentity {
            identity: "n104".parse().expect("a name"),
            roles: roles.clone(),
            signing_key: SigningKey::from_secret(random()).expect("a good key").public_key(),
            locks: None,
            approvals: Vec::new(),
        };
        assert_eq!(admin.talk(0).await.say(enrolment).await.as_ref(), Err(refused), "{roles:?}");
        let issued = Issued::by(cluster, &admin, "n104", &roles, LONG).await.map(drop);
        assert_eq!(issued.as_ref(), Err(refused), "a token for {roles:?}");
    }
    // Nobody else makes anybody.
    for role in ["writer", "restorer"] {
        let other = Speaker::founder(cluster, "acme", role).await;
        let issued = Issued::by(cluster, &other, "n104", &[Role::Writer], LONG).await.map(drop);
        assert_eq!(issued, Err(no("PERMISSION_DENIED", "ROLE")), "{role}");
    }
    let listed = admin.vaults.clone().list_identities(pb::ListIdentitiesRequest::default()).await.expect("a list");
    assert!(!listed.into_inner().identities.iter().any(|one| one.id == "n104"), "nobody was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn n96_a_good_certificate_of_a_node_that_nobody_approved_joins_nothing() {
    let cluster = shared();
    let uri = format!("spiffe://{}/node/west/west-9", cluster.name);
    let bearer = Authority::of_plane(cluster, "peer").issue(&uri);
    let asked = Inside::of(cluster).await;
    for node in &cluster.nodes {
        assert_eq!(knock(cluster, node, Door::Peer, Some(&bearer)).await, Verdict::In, "its certificate is good");
        let channel = channel(cluster, node, Door::Peer, &bearer).await;
        let mut refused: Vec<(&str, Status)> = Vec::new();
        let mut peers = PeersClient::new(channel.clone());
        for row in TABLE.iter().filter(|row| row.path.starts_with("/strongroom.v1.Peers/")) {
            if row.path != "/strongroom.v1.Peers/Raft" {
                refused.push((row.path, call(&channel, row.path, Vec::new()).await.expect_err("not approved")));
            }
        }
        let fragment = pb::PutFragment { request: 1, group: 1, ..pb::PutFragment::default() };
        let put = peers.put_fragments(futures_util::stream::iter([fragment])).await;
        refused.push(("a fragment", put.map(drop).expect_err("not approved")));
        let calls = refused.len();
        for (what, status) in refused {
            assert_eq!(No::from(status), no("FAILED_PRECONDITION", "NEEDS_APPROVAL"), "{what}");
        }
        let counted = metric_at(node, "strongroom_peers_incidents_total", "what=\"not_approved\"");
        assert!(calls as f64 <= counted, "each is an incident: {counted} of {calls}");
        // Raft hears nobody who is no member, under whatever replica's name.
        let frames = [1_u32, 2, 3, 4].map(|kind| pb::RaftFrame {
            request: u64::from(kind),
            group: 1,
            from: u64::MAX,
            to: 1,
            kind,
            body: Bytes::from_static(&[0; 64]),
            refused: String::new(),
        });
        let mut answers = peers.raft(futures_util::stream::iter(frames)).await.expect("it is heard out").into_inner();
        for _frame in 0..4 {
            let answer = answers.message().await.expect("an answer").expect("one for each");
            assert!(!answer.refused.is_empty() && answer.body.is_empty(), "{answer:?}");
        }
    }
    // Nor does it get in as strangers do, without a token of an operator.
    let door = doorstep(cluster, &cluster.nodes[0]);
    let named = Named::Node { name: "west-9".parse().expect("a name"), region: "west".parse().expect("a name") };
    let token = Token::new(door.cluster, door.epoch, door.endpoints, door.pin, named, random()).expect("a token");
    let addresses =
        NodeAddresses { peer: "127.0.0.1:9".into(), tenant: "127.0.0.1:9".into(), operator: "127.0.0.1:9".into() };
    let id = uri.parse().expect("a name");
    let new = keys();
    let refused = enrol::join(&token, &new.signing, &new.tls, addresses, &id, PATIENCE).await.expect_err("no token");
    assert_eq!(No::from(refused), no_token());
    match asked.ask(GroupId::CLUSTER, &strongroom_core::query::Query::ClusterMap).await {
        strongroom_core::query::Answer::ClusterMap(map) => {
            assert!(!map.nodes.iter().any(|node| node.name.to_string() == "west-9"), "it is no node");
        }
        other => panic!("no map: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n106_a_tenant_that_has_ended_leaves_its_name_and_id_to_nobody_and_its_people_nothing() {
    let cluster = shared();
    let new = found(cluster, "n106");
    let (name, founding) = (new.name.clone(), new.founding.clone());
    let tenant = admit(cluster, new.clone()).await.tenant;
    create_vault(cluster, "n106", "papers").await;
    let operator = operator(cluster).await;
    operator.set_standing(tenant, Standing::End, "the contract ended".into()).await.expect("an operator ends it");

    // There is no way back.
    for standing in [Standing::Resume, Standing::Suspend, Standing::End] {
        let refused = operator.set_standing(tenant, standing, "n106".into()).await.expect_err("it has ended");
        assert_eq!(No::from(refused), no("FAILED_PRECONDITION", "TENANT_SUSPENDED"), "{standing:?}");
    }
    // The name, in another record; the id, under another name; both, admitted once more in another way.
    let profile = strongroom::profile::Profile::read(cluster.profile("operator")).expect("a profile");
    let again = async |new| tenants::admit(&profile, new, PATIENCE).await.expect_err("never again");
    let root = RootKey::from_secret(random()).expect("a good key");
    let record = FoundingRecord::open(&founding).expect("a record");
    let (_, other_record) =
        tenants::found(&root, name.clone(), record.identities.clone(), Vec::new()).expect("a record");
    let same_id = FoundingRecord {
        name: "n106-heir".parse().expect("a name"),
        tag: TenantTag::from_bytes(random()),
        root: root.public_key(),
        version: StatementVersion(1),
        ..record
    };
    let same_id = codec::encode(&same_id.sign(&root).expect("a record"));
    let issuers_pem = new_ca(cluster, strongroom_format::role::Plane::Tenant).certificate_pem().to_owned();
    for (what, name, founding, width) in [
        ("its name", name.clone(), other_record, 1),
        ("its id", "n106-heir".parse().expect("a name"), same_id, 1),
        ("both", name, founding, 2),
    ] {
        let new = tenants::NewTenant { name, founding, issuers_pem: issuers_pem.clone(), width };
        assert_eq!(No::from(again(new).await), no("ALREADY_EXISTS", "NAME_RETIRED"), "{what}");
    }
    // An old certificate of it is told what it is (DECISIONS.md 26), and gets no other.
    let ended = no("FAILED_PRECONDITION", "TENANT_SUSPENDED");
    for identity in ["administrator", "restorer", "writer"] {
        let person = Person::founder(cluster, "n106", identity);
        for node in &cluster.nodes {
            let mut vaults = strongroom_proto::v1::vaults_client::VaultsClient::new(
                channel(cluster, node, Door::Tenant, &person.bearer).await,
            );
            // A door's copy of what the home shard knows may be a few seconds old.
            let what = format!("{identity} is told so at {}", node.name);
            comes_true(PATIENCE, &what, async || {
                let refused = vaults.list_vaults(pb::ListVaultsRequest {}).await.map(drop).map_err(No::from);
                assert!(refused.is_ok() || refused == Err(ended.clone()), "{what}, but: {refused:?}");
                refused.is_err()
            })
            .await;
        }
        let role = match identity {
            "administrator" => Role::Admin,
            "restorer" => Role::Restorer,
            _ => Role::Writer,
        };
        let someone = Someone { tenant: "n106".parse().expect("a name"), identity: person.identity.clone() };
        let wish = Wish { tenant, person: someone, role };
        let tls = TlsKey::generate().expect("a key can be made");
        let door = doorstep(cluster, &cluster.nodes[0]);
        let refused = enrol::certify(&door, &wish, &person.signing, &tls, PATIENCE).await.expect_err("it has ended");
        assert_eq!(No::from(refused), ended, "{identity}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n28_an_operator_reads_no_data_and_decides_nothing_in_a_tenants_name() {
    let cluster = shared();
    let home = cluster.directory().join("operator");
    let bearer = Bearer::read(&home, "platform");
    let signing: SigningKey = strongroom::keyring::read_key(&home.join("platform.signing")).expect("its signing key");
    let acme = Speaker::founder(cluster, "acme", "administrator").await;
    for node in &cluster.nodes {
        let door = channel(cluster, node, Door::Operator, &bearer).await;
        // What tenants and nodes may ask does not exist for it.
        for row in TABLE.iter().filter(|row| !row.path.starts_with("/strongroom.v1.Operators/")) {
            let refused = call(&door, row.path, Vec::new()).await.expect_err("not its plane's");
            assert_eq!(refused.code(), Code::Unimplemented, "{}: {refused:?}", row.path);
        }
        // A tenant's command in an operator's envelope is none, whoever signed it.
        let mut operators = OperatorsClient::new(door);
        let close = Body::CloseIdentity { identity: "writer".parse().expect("a name"), reason: "n28".into() };
        let mut command = acme.outside(acme.home, close);
        command.principal = "platform".parse().expect("a name");
        let bytes = codec::encode(&command);
        for (name, key) in [("operator command", &signing), ("command", &signing), ("command", &acme.person.signing)] {
            let signed = strongroom_format::command::SignedCommand {
                signature: Some(key.sign(name, &bytes)),
                command: bytes.clone(),
            };
            let request = pb::OperatorSubmitRequest { command: codec::encode(&signed).into() };
            let refused = operators.submit(request).await.map(drop).map_err(No::from).expect_err("no such command");
            assert_eq!(refused.code, "INVALID_ARGUMENT", "{refused:?}");
        }
        // Another operator's name, and a good name with another's signature.
        let command = OperatorCommand {
            cluster: cluster.epoch(),
            operator: "platform".parse().expect("a name"),
            nonce: Nonce::from_bytes(random()),
            body: OperatorBody::SuspendTenant { tenant: acme.tenant, reason: "n28".into() },
        };
        let other = OperatorCommand { operator: "olga".parse().expect("a name"), ..command.clone() };
        let request = |command: &OperatorCommand, key: &SigningKey| pb::OperatorSubmitRequest {
            command: codec::encode(&sign_operator_command(command, key)).into(),
        };
        let refused = operators.submit(request(&other, &signing)).await.map(drop).map_err(No::from);
        assert_eq!(refused, Err(no("PERMISSION_DENIED", "FOREIGN_PRINCIPAL")));
        let reply = operators.submit(request(&command, &acme.person.signing)).await.expect("an outcome").into_inner();
        let decided = outcome(codec::decode::<Outcome>(&reply.outcome).expect("an outcome"));
        assert_eq!(decided.map(drop), Err(no("PERMISSION_DENIED", "SIGNATURE")));
    }
    // Operators whom the cluster does not know, with good certificates of the plane: the rules know their rows, and an
    // officer gets as far as the rules.
    for role in ["platform-operator", "security-officer"] {
        let uri = format!("spiffe://{}/operator/olga/role/{role}", cluster.name);
        let olga = Authority::of_plane(cluster, "operator").issue(&uri);
        let mut operators = OperatorsClient::new(channel(cluster, &cluster.nodes[0], Door::Operator, &olga).await);
        let stranger = SigningKey::from_secret(random()).expect("a good key");
        let command = OperatorCommand {
            cluster: cluster.epoch(),
            operator: "olga".parse().expect("a name"),
            nonce: Nonce::from_bytes(random()),
            body: OperatorBody::SuspendTenant { tenant: acme.tenant, reason: "n28".into() },
        };
        let command = codec::encode(&sign_operator_command(&command, &stranger)).into();
        let reply = operators.submit(pb::OperatorSubmitRequest { command }).await.expect("an outcome").into_inner();
        let decided = outcome(codec::decode::<Outcome>(&reply.outcome).expect("an outcome")).map(drop);
        assert_eq!(decided, Err(no("UNAUTHENTICATED", "IDENTITY")), "{role}");
    }
    // And nothing of it happened: acme's people go on.
    let writer = Person::founder(cluster, "acme", "writer");
    let mut vaults = vaults(cluster, &writer.bearer).await;
    vaults.list_vaults(pb::ListVaultsRequest {}).await.expect("acme goes on");
}
