//! Talking to a node without the SDK: whatever command, signed by whomever, over whatever connection.
//!
//! ```text
//!   Person (certificate, signing key) ──▶ Speaker (a node's tenant door) ──▶ Talk (a session: numbered commands)
//! ```
//!
//! What is refused comes back as [`No`]: code and reason, wherever it was refused. Elections are waited out. Not here:
//! snapshots made by hand (`forge.rs`).

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use strongroom::error::Error;
use strongroom::keyring::read_key;
use strongroom_format::codec;
use strongroom_format::command::{Body, Command, SignedCommand};
use strongroom_format::id::{ClusterEpoch, GroupId, IdentityId, LeaseId, Nonce, SessionId, TenantId};
use strongroom_format::outcome::{Done, Outcome};
use strongroom_format::sign::{SigningKey, sign_command, unsigned_command};
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::vaults_client::VaultsClient;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::bearer::{Bearer, Door, dial, tls};
use crate::cluster::{Cluster, DevNode, PATIENCE};

/// The metadata in which a node's door names the reason.
const REASON: &str = "strongroom-reason";

/// Turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct No {
    /// The gRPC code, in capitals.
    pub code: String,
    /// The reason.
    pub reason: String,
}

/// What a refusal should be.
pub fn no(code: &str, reason: &str) -> No {
    No { code: code.to_owned(), reason: reason.to_owned() }
}

impl From<Status> for No {
    fn from(status: Status) -> Self {
        let reason = status.metadata().get(REASON).and_then(|reason| reason.to_str().ok());
        let code = format!("{:?}", status.code());
        let capitals = |(at, letter): (usize, char)| {
            let gap = (0 < at && letter.is_ascii_uppercase()).then_some('_');
            gap.into_iter().chain([letter.to_ascii_uppercase()]).collect::<String>()
        };
        no(&code.chars().enumerate().map(capitals).collect::<String>(), reason.unwrap_or_default())
    }
}

impl From<Error> for No {
    #[track_caller]
    fn from(error: Error) -> Self {
        match error {
            Error::Refused { code, reason, .. } => no(code, &reason),
            other => panic!("not refused, but: {other}"),
        }
    }
}

/// What became of a command.
#[track_caller]
pub fn outcome(outcome: Outcome) -> Result<Done, No> {
    match outcome {
        Outcome::Done(done) => Ok(done),
        Outcome::Refused(refusal) => Err(Error::from(refusal).into()),
        Outcome::Forgotten => panic!("the session does not remember"),
    }
}

/// An identity: what its certificate and its key say.
#[derive(Clone)]
pub struct Person {
    /// Its name.
    pub identity: IdentityId,
    /// Its certificate.
    pub bearer: Bearer,
    /// Signs its commands.
    pub signing: SigningKey,
}

impl Person {
    /// One of a tenant's founders: `administrator`, `restorer` or `writer`.
    pub fn founder(cluster: &Cluster, tenant: &str, identity: &str) -> Self {
        let home = cluster.directory().join("tenants").join(tenant);
        Self {
            identity: identity.parse().expect("a name"),
            bearer: Bearer::read(&home, identity),
            signing: read_key(&home.join(format!("{identity}.signing"))).expect("its signing key"),
        }
    }
}

/// A connection to one listener of one node, with any certificate that gets in.
pub async fn channel(cluster: &Cluster, node: &DevNode, door: Door, bearer: &Bearer) -> Channel {
    try_channel(cluster, node, door, bearer).await.expect("the door opens")
}

/// The same, with any certificate.
pub async fn try_channel(
    cluster: &Cluster,
    node: &DevNode,
    door: Door,
    bearer: &Bearer,
) -> Result<Channel, tonic::transport::Error> {
    let (at, config) = (door.of(node), tls(cluster, door, Some(bearer)));
    let connector = tower::service_fn(move |_: http::Uri| {
        let config = config.clone();
        async move { dial(at, door, config).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_shared(format!("http://{at}")).expect("an address");
    endpoint.connect_with_connector(connector).await
}

/// Random bytes: ids that nobody had before.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut file = fs::File::open("/dev/urandom").expect("the system has a random source");
    std::io::Read::read_exact(&mut file, &mut bytes).expect("it gives bytes");
    bytes
}

/// Repeats what only an election or a start refuses. Numbers and nonces keep it from being done twice.
pub async fn patiently<T, F>(mut call: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => return other.map(tonic::Response::into_inner),
        }
    }
}

/// A person on the line to a node.
#[derive(Clone)]
pub struct Speaker {
    /// Who speaks.
    pub person: Person,
    /// The cluster's epoch.
    pub epoch: ClusterEpoch,
    /// The tenant, as the node says.
    pub tenant: TenantId,
    /// Its home shard.
    pub home: GroupId,
    /// Its shards.
    pub set: Vec<GroupId>,
    /// What the node said of both.
    pub topology: pb::TopologyReply,
    /// The calls of the tenant plane.
    pub vaults: VaultsClient<Channel>,
}

impl Speaker {
    /// Calls the first node, and asks it where the tenant lives.
    pub async fn call(cluster: &Cluster, person: Person) -> Self {
        let vaults = vaults(cluster, &person.bearer).await;
        let topology = patiently(|| {
            let mut vaults = vaults.clone();
            async move { vaults.topology(pb::TopologyRequest {}).await }
        })
        .await
        .expect("the tenant has a place");
        Self {
            person,
            epoch: ClusterEpoch::from_slice(&topology.cluster_epoch).expect("an epoch"),
            tenant: TenantId::from_slice(&topology.tenant).expect("a tenant"),
            home: GroupId(topology.home),
            set: topology.set.iter().copied().map(GroupId).collect(),
            topology,
            vaults,
        }
    }

    /// A founder of a tenant on the line.
    pub async fn founder(cluster: &Cluster, tenant: &str, identity: &str) -> Self {
        Self::call(cluster, Person::founder(cluster, tenant, identity)).await
    }

    /// A command of this person outside of any session.
    pub fn outside(&self, group: GroupId, body: Body) -> Command {
        Command {
            cluster: self.epoch,
            group,
            tenant: self.tenant,
            principal: self.person.identity.clone(),
            session: None,
            sequence: 0,
            needs_previous: false,
            body,
        }
    }

    /// The opening of a session.
    pub fn opening(&self, budget_bytes: u64) -> Command {
        self.outside(self.home, Body::OpenSession { nonce: Nonce::from_bytes(random()), budget_bytes })
    }

    /// A command, signed if it decides something.
    pub fn signed(&self, command: &Command) -> SignedCommand {
        if command.body.is_deciding() { sign_command(command, &self.person.signing) } else { unsigned_command(command) }
    }

    /// Proposes commands as one entry.
    pub async fn submit(&self, group: GroupId, commands: &[SignedCommand]) -> Result<Vec<Outcome>, Status> {
        let request = pb::SubmitRequest {
            group: group.0,
            commands: commands.iter().map(|command| Bytes::from(codec::encode(command))).collect(),
        };
        let reply = patiently(|| {
            let (mut vaults, request) = (self.vaults.clone(), request.clone());
            async move { vaults.submit(request).await }
        })
        .await?;
        Ok(reply.outcomes.iter().map(|bytes| codec::decode(bytes).expect("an outcome")).collect())
    }

    /// Proposes one command.
    pub async fn say(&self, group: GroupId, command: SignedCommand) -> Result<Done, No> {
        let mut outcomes = self.submit(group, &[command]).await?;
        assert_eq!(outcomes.len(), 1);
        outcome(outcomes.remove(0))
    }

    /// Opens a session at home.
    pub async fn talk(&self, budget_bytes: u64) -> Talk {
        let opening = self.signed(&self.opening(budget_bytes));
        match self.say(self.home, opening).await {
            Ok(Done::SessionOpened { session, lease, .. }) => {
                Talk { speaker: self.clone(), group: self.home, session, lease, last: 0 }
            }
            other => panic!("no session: {other:?}"),
        }
    }
}

/// The calls of the tenant plane at the first node, with any certificate that gets in.
pub async fn vaults(cluster: &Cluster, bearer: &Bearer) -> VaultsClient<Channel> {
    let channel = channel(cluster, &cluster.nodes[0], Door::Tenant, bearer).await;
    VaultsClient::new(channel).max_decoding_message_size(16 << 20).max_encoding_message_size(16 << 20)
}

/// A session.
#[derive(Clone)]
pub struct Talk {
    /// Who speaks.
    pub speaker: Speaker,
    /// In which group.
    pub group: GroupId,
    /// Its name.
    pub session: SessionId,
    /// Its own lease, or that of the part that it joined with.
    pub lease: LeaseId,
    /// The last number that was given.
    pub last: u64,
}

impl Talk {
    /// The next command.
    pub fn next(&mut self, body: Body) -> Command {
        self.last += 1;
        Command { session: Some(self.session), sequence: self.last, ..self.speaker.outside(self.group, body) }
    }

    /// Has one command executed.
    pub async fn say(&mut self, body: Body) -> Result<Done, No> {
        let command = self.next(body);
        self.speaker.say(self.group, self.speaker.signed(&command)).await
    }
}
