//! A node that is alone, with a tenant that has a writer; on demand with a cluster group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strongroom_chunks::store::{ChunkStore, Options};
use strongroom_consensus::depth::LogDepth;
use strongroom_consensus::fatal::Fatal;
use strongroom_consensus::group::Member as GroupMember;
use strongroom_consensus::groups::{Consensus, Settings};
use strongroom_consensus::timing::Timing;
use strongroom_core::claims::{Claim, Statement};
use strongroom_core::cluster::ClusterMachine;
use strongroom_core::entry::{EntryCommand, Limited, NodeCommand, Standing, TenantFacts};
use strongroom_core::genesis::{Genesis, GenesisIssuer, GenesisNode, GenesisOperator};
use strongroom_core::shard::ShardMachine;
use strongroom_format::code::Code;
use strongroom_format::codec;
use strongroom_format::command::{Attested, Body, Command, MemberSignature, OperatorBody, OperatorCommand};
use strongroom_format::id::{
    BlobId, ClusterEpoch, Digest, GroupId, LeaseId, NodeName, Nonce, PublicKey, ReplicaId, SessionId, SetVersion, Slot,
    StatementVersion, TenantId, TenantTag,
};
use strongroom_format::keys::RootKey;
use strongroom_format::name::Name;
use strongroom_format::outcome::{Done, Outcome};
use strongroom_format::role::{OperatorRole, Plane, Role};
use strongroom_format::sign::{SigningKey, sign_command, sign_operator_command, unsigned_command};
use strongroom_format::statement::{FoundingIdentity, FoundingRecord};
use strongroom_host::Host;
use strongroom_identity::ca::Ca;
use strongroom_identity::connect::Connector;
use strongroom_identity::issuers::{Issuer, IssuerTable, Issuers};
use strongroom_peers::message::FragmentPut;
use strongroom_peers::peers::{Peers, Runtimes};
use strongroom_proto_identity::certificate::{Life, Purpose};
use strongroom_proto_identity::tls::Credentials;
use strongroom_service::attest::Attestor;
use strongroom_service::carry::OverPeers;
use strongroom_service::coders::Coders;
use strongroom_service::follow::{Publisher, publish};
use strongroom_service::gate::Gate;
use strongroom_service::gather::Gather;
use strongroom_service::majority::Majority;
use strongroom_service::members::Members;
use strongroom_service::propose::Proposer;
use strongroom_service::reads::Reads;
use strongroom_service::route::Route;
use strongroom_service::sign::Signer;
use strongroom_service::spread::Spread;
use strongroom_service::standing::Standings;
use strongroom_service::topology::{Member, NodePlace, Shard, Topology};
use strongroom_service::voice::Voice;
use tempfile::TempDir;

pub const SHARD: GroupId = GroupId(1);
pub const CODE: Code = Code { k: 1, m: 0 };
pub const TENANT: TenantId = TenantId::from_bytes([0xa1; 16]);
const EPOCH: ClusterEpoch = ClusterEpoch::from_bytes([0xe1; 16]);
const WITHIN: Duration = Duration::from_secs(60);
const DAY_S: u64 = 86_400;

/// See the head of the file. Dropping it ends the node.
pub struct World {
    pub members: Members,
    pub spread: Spread,
    pub gather: Gather,
    pub store: ChunkStore,
    pub shard: Arc<Shard>,
    pub reads: Reads,
    /// What the cluster group would say of the tenant.
    pub facts: TenantFacts,
    consensus: Consensus,
    proposer: Proposer,
    writer: SigningKey,
    publishers: Vec<Publisher>,
    /// Of [`World::attestor`].
    pub gate: Gate,
    pub attestor: Attestor,
    pub majority: Majority,
    _directory: TempDir,
}

pub fn n1() -> NodeName {
    "n1".parse().unwrap()
}

impl World {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let host = Host::real();
        let (peers, runner) = Peers::new(connector(&host), Runtimes::current());
        tokio::spawn(runner.run());
        let settings =
            Settings { data_dir: directory.path().into(), node: n1(), timing: Timing::Lan, depth: LogDepth::default() };
        let fatal = Fatal::new(|why| panic!("{why}"));
        let consensus =
            Consensus::open(host.clone(), settings, Arc::new(OverPeers(peers.clone())), fatal).await.unwrap();
        let store = ChunkStore::open(&host, directory.path(), Options { reserve_bytes: 0, ..Options::default() });
        let store = store.await.unwrap();

        let root = RootKey::from_secret(secret(0x11)).unwrap();
        let writer = SigningKey::from_secret(secret(0x12)).unwrap();
        let facts = tenant(&root, &writer, TENANT, "acme");
        let shard = Arc::new(Shard { group: SHARD, code: CODE, members: vec![member()], changing: None, clock_ms: 0 });
        let (publisher, topology) = publish(topology(&shard, &facts));

        let replica = shard.members[0].replica;
        let rules = Arc::new(ShardMachine::new(SHARD, genesis().founders()));
        consensus.start_group(SHARD, replica, rules).await.unwrap();
        consensus.admit(SHARD);
        let voter = GroupMember { node: n1(), voter: true };
        consensus.initialize(SHARD, BTreeMap::from([(replica, voter)])).await.unwrap();

        let route = Route::new(n1(), consensus.clone(), peers.clone(), topology.clone());
        let reads = Reads::new(route.clone());
        let gate = Gate::default();
        let attestor = Attestor::new(Voice {
            me: n1(),
            key: Arc::new(node_key()),
            consensus: consensus.clone(),
            reads: reads.clone(),
            gate: gate.clone(),
            topology: topology.clone(),
        });
        let majority = Majority::new(route.clone(), attestor.clone());
        let proposer = Proposer::new(host.clone(), route, majority.clone());
        let coders = Coders::new(&host, 1);
        let members = Members::new(n1(), consensus.clone(), reads.clone(), store.clone(), topology);
        let spread = Spread::new(n1(), peers.clone(), members.clone(), coders.clone());
        let gather = Gather::new(n1(), peers, members.clone(), coders);

        let founded = shard.facts("vault".parse().unwrap(), EPOCH);
        let commands = vec![
            EntryCommand::Node(NodeCommand::FoundShard(attested(founded))),
            EntryCommand::Node(NodeCommand::AdmitTenant(attested(facts.clone()))),
        ];
        let publishers = vec![publisher];
        let world = Self {
            members,
            spread,
            gather,
            store,
            shard,
            reads,
            facts,
            consensus,
            proposer,
            writer,
            publishers,
            gate,
            attestor,
            majority,
            _directory: directory,
        };
        world.done(SHARD, commands).await;
        world
    }

    /// Founds a cluster group of this node alone. It knows no tenant.
    pub async fn found_cluster(&self) {
        let genesis = genesis();
        let replica = genesis.cluster_members()[0].replica;
        self.consensus.start_group(GroupId::CLUSTER, replica, Arc::new(ClusterMachine::new())).await.unwrap();
        self.consensus.admit(GroupId::CLUSTER);
        let voter = GroupMember { node: n1(), voter: true };
        self.consensus.initialize(GroupId::CLUSTER, BTreeMap::from([(replica, voter)])).await.unwrap();
        self.done(GroupId::CLUSTER, vec![EntryCommand::Node(NodeCommand::Found(genesis))]).await;
    }

    /// The cluster group takes the tenant in; the shard is not told.
    pub async fn create_tenant(&self) {
        let body = OperatorBody::CreateTenant {
            name: self.facts.name.clone(),
            founding: self.facts.founding.clone(),
            issuers: vec![b"the tenant's ca".to_vec()],
            home: None,
            width: 1,
        };
        let nonce = Nonce::from_bytes([9; 16]);
        let command = OperatorCommand { cluster: EPOCH, operator: "olga".parse().unwrap(), nonce, body };
        let signed = sign_operator_command(&command, &SigningKey::from_secret(secret(0x15)).unwrap());
        self.done(GroupId::CLUSTER, vec![EntryCommand::Operator(signed)]).await;
    }

    /// What signs as this node's voter, if the gate lets it.
    pub fn signer(&mut self, gate: Gate) -> Signer {
        let (publisher, topology) = publish(topology(&self.shard, &self.facts));
        self.publishers.push(publisher);
        let key = Arc::new(node_key());
        Signer::new(Voice {
            me: n1(),
            key,
            consensus: self.consensus.clone(),
            reads: self.reads.clone(),
            gate,
            topology,
        })
    }

    /// The shard is told of a tenant.
    pub async fn admit_tenant(&self, facts: &TenantFacts) {
        self.done(SHARD, vec![EntryCommand::Node(NodeCommand::AdmitTenant(attested(facts.clone())))]).await;
    }

    /// Who is there, for a node whose map has these tenants.
    pub fn standings(&mut self, tenants: &[&TenantFacts]) -> Standings {
        let mut known = topology(&self.shard, &self.facts);
        known.tenants = tenants.iter().map(|facts| (facts.tenant, Arc::new((*facts).clone()))).collect();
        let (publisher, topology) = publish(known);
        self.publishers.push(publisher);
        Standings::new(self.reads.clone(), topology)
    }

    async fn done(&self, group: GroupId, commands: Vec<EntryCommand>) {
        let applied = self.proposer.propose(group, commands, WITHIN).await.unwrap();
        assert!(applied.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done(_))), "{applied:?}");
    }

    /// Opens a session of the writer; its lease has so many bytes.
    pub async fn open_session(&self, budget_bytes: u64) -> (SessionId, LeaseId) {
        let body = Body::OpenSession { nonce: Nonce::from_bytes([7; 16]), budget_bytes };
        match self.submit(None, 0, body).await {
            Outcome::Done(Done::SessionOpened { session, lease, .. }) => (session, lease),
            other => panic!("{other:?}"),
        }
    }

    /// Ends it, and its lease.
    pub async fn end_session(&self, session: SessionId) {
        let ended = self.submit(Some(session), 1, Body::EndSession).await;
        assert!(matches!(ended, Outcome::Done(_)), "{ended:?}");
    }

    async fn submit(&self, session: Option<SessionId>, sequence: u64, body: Body) -> Outcome {
        let command = Command {
            cluster: EPOCH,
            group: SHARD,
            tenant: TENANT,
            principal: "w".parse().unwrap(),
            session,
            sequence,
            needs_previous: false,
            body,
        };
        let signed = match command.body.is_deciding() {
            true => sign_command(&command, &self.writer),
            false => unsigned_command(&command),
        };
        let applied = self.proposer.propose(SHARD, vec![EntryCommand::Client(signed)], WITHIN).await.unwrap();
        applied.outcomes.into_iter().next().unwrap()
    }
}

/// A blob of this length, and its id.
pub fn blob(bytes: usize, seed: u8) -> (BlobId, Bytes) {
    let blob = Bytes::from(vec![seed; bytes]);
    (BlobId::from_bytes(*blake3::hash(&blob).as_bytes()), blob)
}

/// A whole blob as its only fragment.
pub fn put(lease: LeaseId, bytes: usize, seed: u8) -> FragmentPut {
    let (id, blob) = blob(bytes, seed);
    FragmentPut {
        group: SHARD,
        tenant: TENANT,
        lease,
        blob: id,
        index: 0,
        blob_bytes: u32::try_from(bytes).unwrap(),
        payload_hash: Digest::from_bytes(*id.as_bytes()),
        payload: blob,
    }
}

fn connector(host: &Host) -> Connector {
    let now_s = host.clock().wall_unix_ns() / 1_000_000_000;
    let cluster: Name = "vault".to_owned().try_into().unwrap();
    let life = Life { not_before_unix_s: now_s - 60, not_after_unix_s: now_s + 30 * DAY_S };
    let ca = Ca::create(&cluster, Plane::Peer, life).unwrap();
    let issued = ca.issue(&"spiffe://vault/node/eu/n1".parse().unwrap(), life).unwrap();
    let credentials =
        Credentials::from_pem(issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes(), Purpose::Client);
    let issuer = Issuer {
        plane: Plane::Peer,
        certificate: ca.certificate().clone(),
        tenants: Default::default(),
        revocations: None,
    };
    let table = IssuerTable {
        cluster,
        issuers: vec![issuer],
        tenants: Default::default(),
        nodes: Default::default(),
        gone_nodes: Default::default(),
    };
    let (issuers, _) = Issuers::new(table);
    Connector::new(host, &credentials.unwrap(), &issuers)
}

fn member() -> Member {
    Member {
        slot: Slot(0),
        node: n1(),
        region: "eu".parse().unwrap(),
        replica: ReplicaId(256),
        signing_key: key_of(0x13),
        votes: true,
    }
}

/// No key is made of one byte repeated.
fn secret(seed: u8) -> [u8; 32] {
    *blake3::hash(&[seed]).as_bytes()
}

fn node_key() -> SigningKey {
    SigningKey::from_secret(secret(0x13)).unwrap()
}

/// As the cluster group's only voter signs it.
fn attested<T: Clone + Into<Claim>>(value: T) -> Attested<T> {
    let founders = genesis().founders();
    let statement = Statement { epoch: EPOCH, by: GroupId::CLUSTER, claim: value.clone().into() };
    let sign = |replica: &ReplicaId| MemberSignature { replica: *replica, signature: statement.sign(&node_key()) };
    Attested { value, signatures: founders.voters.keys.keys().map(sign).collect() }
}

fn key_of(seed: u8) -> PublicKey {
    SigningKey::from_secret(secret(seed)).unwrap().public_key()
}

/// Another tenant of the same people.
pub fn other_tenant() -> TenantFacts {
    let root = RootKey::from_secret(secret(0x16)).unwrap();
    let writer = SigningKey::from_secret(secret(0x12)).unwrap();
    tenant(&root, &writer, TenantId::from_bytes([0xb1; 16]), "globex")
}

fn tenant(root: &RootKey, writer: &SigningKey, tenant: TenantId, name: &str) -> TenantFacts {
    let tag = TenantTag::from_bytes([tenant.as_bytes()[0] + 1; 16]);
    let founding = FoundingRecord {
        tenant,
        name: name.parse().unwrap(),
        tag,
        root: root.public_key(),
        version: StatementVersion(1),
        identities: vec![
            FoundingIdentity { identity: "boss".parse().unwrap(), roles: vec![Role::Admin], signing_key: key_of(0x14) },
            FoundingIdentity {
                identity: "w".parse().unwrap(),
                roles: vec![Role::Writer],
                signing_key: writer.public_key(),
            },
        ],
        approvers: vec![],
    };
    let founding = codec::encode(&founding.sign(root).unwrap());
    TenantFacts {
        tenant,
        name: name.parse().unwrap(),
        tag,
        home: SHARD,
        set_version: SetVersion(1),
        groups: vec![SHARD],
        founding,
        standing: Standing::admitted("olga".parse().unwrap()),
        limited: Limited::admitted("olga".parse().unwrap()),
    }
}

/// One node, one shard, and the operator olga.
fn genesis() -> Genesis {
    let node = GenesisNode {
        name: n1(),
        region: "eu".parse().unwrap(),
        peer: "127.0.0.1:1".into(),
        tenant: "127.0.0.1:2".into(),
        operator: "127.0.0.1:3".into(),
        signing_key: key_of(0x13),
    };
    let operator = GenesisOperator {
        identity: "olga".parse().unwrap(),
        roles: vec![OperatorRole::PlatformOperator],
        signing_key: key_of(0x15),
    };
    let mut genesis = Genesis {
        cluster: "vault".parse().unwrap(),
        epoch: EPOCH,
        regions: vec!["eu".parse().unwrap()],
        nodes: vec![node],
        shards: Vec::new(),
        operators: vec![operator],
        issuers: vec![
            GenesisIssuer { plane: Plane::Peer, certificate: b"peer ca".to_vec() },
            GenesisIssuer { plane: Plane::Operator, certificate: b"operator ca".to_vec() },
        ],
        accept_region_loss: false,
        single_node: true,
        clock_ms: 0,
    };
    genesis.place_shards(1);
    genesis
}

fn topology(shard: &Arc<Shard>, facts: &TenantFacts) -> Topology {
    let place = NodePlace {
        region: "eu".parse().unwrap(),
        peer: "127.0.0.1:1".into(),
        tenant: "127.0.0.1:2".into(),
        operator: "127.0.0.1:3".into(),
        replica: ReplicaId(1),
        signing_key: shard.members[0].signing_key,
        votes: true,
    };
    Topology {
        is_followed: true,
        cluster: "vault".parse().unwrap(),
        epoch: EPOCH,
        nodes: BTreeMap::from([(n1(), place)]),
        shards: BTreeMap::from([(SHARD, Arc::clone(shard))]),
        tenants: BTreeMap::from([(TENANT, Arc::new(facts.clone()))]),
        changing: None,
        electorates: BTreeMap::from([(GroupId::CLUSTER, genesis().founders())]),
    }
}
