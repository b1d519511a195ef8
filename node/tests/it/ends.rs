//! Certificates and identities that were good and are so no more, against running nodes: taken back, ended, their issuer
//! retired, their tenant suspended; at the door, and inside connections and streams that are open (N12, N15, N17, N18,
//! N31).
//!
//! That an open stream ends within five seconds is a matter of how often it is looked at (`node/service`, `standing.rs`;
//! `node/api`, `callers.rs`); here it is waited for as long as it takes on a loaded machine.
//!
//! Each test has an issuer of its own, registered beside the cluster's, so that no other test's certificate is touched.
//! Not here: certificates that never were good (`identity_and_tls.rs`).

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use rustls::AlertDescription::{CertificateExpired, CertificateRevoked, UnknownCA};
use rustls::HandshakeKind;
use rustls::client::Resumption;
use strongroom::governance::{Standing, accept_issuer};
use strongroom::keyring;
use strongroom::operator::Operator;
use strongroom_format::command::Body;
use strongroom_format::id::StatementVersion;
use strongroom_format::role::Plane;
use strongroom_identity::ca::Ca;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::upload_request::What as Ask;
use strongroom_proto::v1::vaults_client::VaultsClient;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::bearer::{
    Authority, Bearer, Door, Verdict, dial, knock, knock_with, seconds_from_now, since_1970, tls, uri,
};
use crate::cluster::{Cluster, DevNode, PATIENCE, comes_true};
use crate::forge::Forge;
use crate::shared::{create_vault, enrol_writer, shared};
use crate::speaker::{No, Person, Speaker, channel, no, try_channel};
use crate::tenant::{life, new_ca, operator, own_tenant};

/// An issuer of one plane that one test has for itself.
struct Own {
    operator: Operator,
    ca: Ca,
    authority: Authority,
    door: Door,
    name: String,
    lists: u64,
}

impl Own {
    /// Made, registered, and known to every node.
    async fn register(cluster: &Cluster, door: Door) -> Self {
        let operator = operator(cluster).await;
        let (plane, name) = match door {
            Door::Tenant => (Plane::Tenant, format!("spiffe://{}/tenant/acme/id/writer/role/writer", cluster.name)),
            Door::Peer => {
                let node = &cluster.nodes[0];
                (Plane::Peer, format!("spiffe://{}/node/{}/{}", cluster.name, node.region, node.name))
            }
            Door::Operator => {
                (Plane::Operator, format!("spiffe://{}/operator/platform/role/platform-operator", cluster.name))
            }
        };
        let ca = new_ca(cluster, plane);
        let pem = ca.certificate_pem().as_bytes();
        let mut acceptances = Vec::new();
        if door == Door::Tenant {
            let admin = cluster.client("acme-admin").await;
            let root = keyring::root(admin.profile(), None).expect("dev's admin has the root key");
            let accepted = accept_issuer(&root, admin.tenant(), operator.epoch(), pem, StatementVersion(1));
            acceptances.push(accepted.expect("a CA can be accepted"));
        }
        operator.register_issuer(plane, pem, acceptances).await.expect("an operator registers CAs");
        let own = Self { authority: Authority::of(&ca), operator, ca, door, name, lists: 0 };
        own.becomes(cluster, &own.issue(), Verdict::In).await;
        own
    }

    fn issue(&self) -> Bearer {
        self.authority.issue(&self.name)
    }

    /// Tells the cluster what was taken back; the list is good for so many seconds.
    async fn take_back(&mut self, bearers: &[&Bearer], seconds: i64) {
        self.lists += 1;
        let serials: Vec<Vec<u8>> = bearers.iter().map(|bearer| bearer.serial()).collect();
        let list = self.ca.revoke(&serials, self.lists, life(-60, seconds)).expect("a list can be made");
        let pem = self.ca.certificate_pem().as_bytes();
        let number = self.operator.put_revocations(pem, list).await.expect("the cluster takes the list");
        assert_eq!(number, self.lists);
    }

    /// Waits until every node answers a knock in this way.
    async fn becomes(&self, cluster: &Cluster, bearer: &Bearer, verdict: Verdict) {
        for node in &cluster.nodes {
            let what = format!("{} answers {verdict:?} at {:?}", node.name, self.door);
            comes_true(PATIENCE, &what, async || knock(cluster, node, self.door, Some(bearer)).await == verdict).await;
        }
    }

    /// Leaves no trace on the shared cluster, but for the refusal of all that it issued.
    async fn retire(self, cluster: &Cluster) {
        let last = self.issue();
        self.operator.retire_issuer(self.ca.certificate_pem().as_bytes()).await.expect("an operator retires CAs");
        self.becomes(cluster, &last, Verdict::Out(UnknownCA)).await;
        let pem = self.ca.certificate_pem().as_bytes();
        let again = self.operator.register_issuer(Plane::Peer, pem, Vec::new()).await.expect_err("never again");
        assert_eq!(No::from(again), no("ALREADY_EXISTS", "NAME_RETIRED"));
    }
}

/// The plane's own issuer, and the name that gets in.
fn usual(cluster: &Cluster, door: Door) -> Authority {
    match door {
        Door::Tenant => Authority::of_tenant(cluster, "acme"),
        Door::Peer | Door::Operator => Authority::of_plane(cluster, door.plane()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n12_what_was_taken_back_is_refused_on_each_listener_and_so_is_all_when_the_list_has_ended() {
    let cluster = shared();
    for door in Door::ALL {
        let mut own = Own::register(cluster, door).await;
        let (stolen, good) = (own.issue(), own.issue());
        own.take_back(&[&stolen], 3600).await;
        own.becomes(cluster, &stolen, Verdict::Out(CertificateRevoked)).await;
        own.becomes(cluster, &good, Verdict::In).await;
        // The same number from another issuer is another certificate.
        let serial = stolen.serial();
        let twin = usual(cluster, door).craft(|params| {
            params.subject_alt_names = vec![uri(&own.name)];
            params.serial_number = Some(rcgen::SerialNumber::from_slice(&serial));
        });
        assert_eq!(twin.serial(), serial);
        own.becomes(cluster, &twin, Verdict::In).await;
        // When a list ends without another, nobody knows what was taken back since.
        own.take_back(&[&stolen], 2).await;
        own.becomes(cluster, &good, Verdict::Out(UnknownCA)).await;
        own.take_back(&[&stolen], 3600).await;
        own.becomes(cluster, &good, Verdict::In).await;
        own.becomes(cluster, &stolen, Verdict::Out(CertificateRevoked)).await;
        own.retire(cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n15_a_client_that_would_resume_meets_a_full_handshake_and_after_revocation_a_refusal() {
    let cluster = shared();
    for door in Door::ALL {
        let mut own = Own::register(cluster, door).await;
        let bearer = own.issue();
        for node in &cluster.nodes {
            let mut config = tls(cluster, door, Some(&bearer));
            config.resumption = Resumption::in_memory_sessions(16);
            config.enable_early_data = true;
            // Twice with one store: the second would resume, or send early, if it were given anything to do so.
            for _time in 0..2 {
                assert_eq!(knock_with(node, door, config.clone()).await, Verdict::In);
                let stream = dial(door.of(node), door, config.clone()).await.expect("the door opens");
                let (_, session) = stream.get_ref();
                assert_ne!(session.handshake_kind(), Some(HandshakeKind::Resumed), "{door:?} of {}", node.name);
                assert!(!session.is_early_data_accepted(), "{door:?} of {}", node.name);
            }
        }
        // A store that saw a good handshake with each node, before and after.
        let mut configs = Vec::new();
        for node in &cluster.nodes {
            let mut config = tls(cluster, door, Some(&bearer));
            config.resumption = Resumption::in_memory_sessions(16);
            config.enable_early_data = true;
            assert_eq!(knock_with(node, door, config.clone()).await, Verdict::In);
            configs.push((node, config));
        }
        own.take_back(&[&bearer], 3600).await;
        own.becomes(cluster, &bearer, Verdict::Out(CertificateRevoked)).await;
        for (node, config) in configs {
            assert_eq!(knock_with(node, door, config).await, Verdict::Out(CertificateRevoked), "{}", node.name);
        }
        own.retire(cluster).await;
    }
}

/// An upload that is open, and of which nothing more comes: at a node, with some certificate.
struct Open {
    replies: Streaming<pb::UploadReply>,
    vaults: VaultsClient<Channel>,
}

impl Open {
    async fn at(cluster: &Cluster, node: &DevNode, bearer: &Bearer, open: &pb::UploadOpen) -> Self {
        Self::through(channel(cluster, node, Door::Tenant, bearer).await, open).await.expect("the upload opens")
    }

    async fn through(channel: Channel, open: &pb::UploadOpen) -> Result<Self, Status> {
        let mut vaults = VaultsClient::new(channel);
        let first = pb::UploadRequest { what: Some(Ask::Open(open.clone())) };
        let messages = futures_util::stream::iter([first]).chain(futures_util::stream::pending());
        let replies = vaults.upload(messages).await?.into_inner();
        Ok(Self { replies, vaults })
    }

    /// At every node.
    async fn everywhere(cluster: &Cluster, bearer: &Bearer, open: &pb::UploadOpen) -> Vec<Self> {
        let mut all = Vec::new();
        for node in &cluster.nodes {
            all.push(Self::at(cluster, node, bearer, open).await);
        }
        all
    }

    /// At every node, if the certificate lives for long enough to get in everywhere.
    async fn everywhere_in_time(cluster: &Cluster, bearer: &Bearer, open: &pb::UploadOpen) -> Option<Vec<Self>> {
        let mut all = Vec::new();
        for node in &cluster.nodes {
            let channel = try_channel(cluster, node, Door::Tenant, bearer).await.ok()?;
            all.push(Self::through(channel, open).await.ok()?);
        }
        Some(all)
    }

    /// How it ends, within so long from `since`, and how a call on its connection is answered then.
    async fn ends(mut self, since: Instant, within: Duration) -> (Result<(), No>, Result<(), No>) {
        let left = within.saturating_sub(since.elapsed());
        let ended = tokio::time::timeout(left, async {
            loop {
                match self.replies.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(()),
                    Err(status) => return Err(status),
                }
            }
        });
        let ended: Result<(), Status> = ended.await.unwrap_or_else(|_| panic!("the stream is open after {within:?}"));
        let next = self.vaults.topology(pb::TopologyRequest {}).await.map(drop);
        (ended.map_err(No::from), next.map_err(No::from))
    }
}

async fn all_end(open: Vec<Open>, since: Instant, within: Duration, refused: &No) {
    let ends = open.into_iter().map(|one| one.ends(since, within));
    for (stream, call) in futures_util::future::join_all(ends).await {
        assert_eq!((&stream, &call), (&Err(refused.clone()), &Err(refused.clone())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n17_an_open_stream_ends_soon_after_its_certificates_revocation() {
    let cluster = shared();
    let mut own = Own::register(cluster, Door::Tenant).await;
    let (stolen, good) = (own.issue(), own.issue());
    let mut forge = Forge::prepare(cluster, "acme", "writer", "papers").await;
    let open = forge.upload_open(forge.talk.group);
    let streams = Open::everywhere(cluster, &stolen, &open).await;
    let mut stays = Open::at(cluster, &cluster.nodes[0], &good, &open).await;
    own.take_back(&[&stolen], 3600).await;
    all_end(streams, Instant::now(), PATIENCE, &no("UNAUTHENTICATED", "CERTIFICATE")).await;
    // Another certificate of the same identity goes on.
    stays.vaults.topology(pb::TopologyRequest {}).await.expect("a good certificate");
    let waited = tokio::time::timeout(Duration::from_millis(1500), stays.replies.message()).await;
    assert!(waited.is_err(), "its stream is open: {waited:?}");
    drop(stays);
    own.retire(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n17_an_open_stream_ends_soon_after_its_identitys_closing() {
    let cluster = shared();
    enrol_writer(cluster, "acme", "n17", "papers").await;
    let mut forge = Forge::prepare(cluster, "acme", "n17", "papers").await;
    let open = forge.upload_open(forge.talk.group);
    let streams = Open::everywhere(cluster, &forge.talk.speaker.person.bearer, &open).await;
    let mut admin = Speaker::founder(cluster, "acme", "administrator").await.talk(0).await;
    let close = Body::CloseIdentity { identity: "n17".parse().expect("a name"), reason: "n17".into() };
    admin.say(close).await.expect("an admin closes identities");
    all_end(streams, Instant::now(), PATIENCE, &no("UNAUTHENTICATED", "IDENTITY")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n18_an_open_stream_ends_with_its_certificate() {
    let cluster = shared();
    let mut forge = Forge::prepare(cluster, "acme", "writer", "papers").await;
    let open = forge.upload_open(forge.talk.group);
    let name = format!("spiffe://{}/tenant/acme/id/writer/role/writer", cluster.name);
    let began = Instant::now();
    // A machine on which it ends before it has got in everywhere gets one that lives longer.
    let mut lives = 8;
    let (short, ends_at, streams) = loop {
        let ends_at = since_1970(lives);
        let short = Authority::of_tenant(cluster, "acme").craft(|params| {
            params.subject_alt_names = vec![uri(&name)];
            params.not_after = seconds_from_now!(lives);
        });
        if let Some(streams) = Open::everywhere_in_time(cluster, &short, &open).await {
            break (short, ends_at, streams);
        }
        assert!(began.elapsed() < PATIENCE, "no certificate lives for long enough to get in");
        lives *= 2;
    };
    let within = Duration::from_secs(lives.unsigned_abs()) + PATIENCE;
    all_end(streams, Instant::now(), within, &no("UNAUTHENTICATED", "CERTIFICATE")).await;
    assert!(ends_at <= since_1970(0), "not before it has ended");
    for node in &cluster.nodes {
        let verdict = knock(cluster, node, Door::Tenant, Some(&short)).await;
        assert_eq!(verdict, Verdict::Out(CertificateExpired), "{}", node.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n31_people_of_a_suspended_tenant_are_told_so_in_open_streams_too_and_go_on_when_it_is_resumed() {
    let cluster = shared();
    let tenant = own_tenant(cluster, "n31").await.tenant;
    create_vault(cluster, "n31", "papers").await;
    let mut forge = Forge::prepare(cluster, "n31", "writer", "papers").await;
    let open = forge.upload_open(forge.talk.group);
    let writer = Person::founder(cluster, "n31", "writer");
    let streams = Open::everywhere(cluster, &writer.bearer, &open).await;
    let operator = operator(cluster).await;
    operator.set_standing(tenant, Standing::Suspend, "under review".into()).await.expect("an operator suspends");
    let suspended = no("FAILED_PRECONDITION", "TENANT_SUSPENDED");
    all_end(streams, Instant::now(), PATIENCE, &suspended).await;
    // Whatever is asked, and whoever of them asks.
    for identity in ["administrator", "restorer", "writer"] {
        let person = Person::founder(cluster, "n31", identity);
        let mut vaults = VaultsClient::new(channel(cluster, &cluster.nodes[0], Door::Tenant, &person.bearer).await);
        let refused = vaults.list_vaults(pb::ListVaultsRequest {}).await.map(drop).map_err(No::from);
        assert_eq!(refused, Err(suspended.clone()), "{identity}");
        let opening = forge.talk.speaker.signed(&forge.talk.speaker.opening(0));
        let commands = vec![Bytes::from(strongroom_format::codec::encode(&opening))];
        let request = pb::SubmitRequest { group: forge.talk.group.0, commands };
        let refused = vaults.submit(request).await.map(drop).map_err(No::from);
        assert_eq!(refused, Err(suspended.clone()), "{identity}");
    }
    operator.set_standing(tenant, Standing::Resume, "signed".into()).await.expect("an operator resumes");
    for node in &cluster.nodes {
        let mut vaults = VaultsClient::new(channel(cluster, node, Door::Tenant, &writer.bearer).await);
        comes_true(PATIENCE, "the tenant's people go on", async || {
            vaults.list_vaults(pb::ListVaultsRequest {}).await.is_ok()
        })
        .await;
    }
}
