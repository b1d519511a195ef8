//! Nodes for tests: one authority, real connections, and a plane of peers that answers in a way that tests can see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use strongroom_format::command::MemberSignature;
use strongroom_format::id::{BlobId, Digest, GroupId, LeaseId, NodeName, ReplicaId, Signature, TenantId};
use strongroom_format::name::Name;
use strongroom_format::role::Plane;
use strongroom_host::Host;
use strongroom_identity::acceptor::{Acceptor, HandshakeLimits};
use strongroom_identity::ca::Ca;
use strongroom_identity::connect::Connector;
use strongroom_identity::issuers::{Issuer, IssuerTable, Issuers};
use strongroom_peers::fault::{FetchFault, PutFault, RaftFault, WordFault};
use strongroom_peers::incoming::Sorter;
use strongroom_peers::message::{
    About, CheckpointWanted, ClaimsWanted, FragmentFound, FragmentPut, FragmentsWanted, Known, KnownPosition, PeerNode,
    Proposed, Queried, RaftMessage, SignedReport,
};
use strongroom_peers::peers::{Peers, Runtimes};
use strongroom_peers::serve::{Calls, service};
use strongroom_proto_identity::certificate::{Life, Purpose};
use strongroom_proto_identity::spiffe::SpiffeId;
use strongroom_proto_identity::tls::Credentials;
use tokio::task::JoinHandle;

const DAY_S: u64 = 86_400;

pub struct World {
    host: Host,
    ca: Ca,
    issuers: Issuers,
    now_s: u64,
}

/// What the other node does, and what it saw.
#[derive(Default)]
pub struct Seen {
    /// Puts under way wait while this is set.
    pub hold: AtomicBool,
    pub puts: AtomicU64,
    pub answered: AtomicU64,
}

pub struct Answering(pub Arc<Seen>);

#[async_trait::async_trait]
impl Calls for Answering {
    fn raft(&self, from: NodeName, message: RaftMessage) -> BoxFuture<'static, Result<Bytes, RaftFault>> {
        let answer = match message.kind {
            0 => Err(RaftFault::Foreign { why: format!("{from} may not") }),
            // The place in the order of arrival: taken when called, not when polled.
            _ => {
                let place = self.0.answered.fetch_add(1, Ordering::SeqCst);
                Ok(Bytes::from(format!("{from} {place} {}", message.body.len())))
            }
        };
        Box::pin(async move { answer })
    }

    async fn propose(&self, from: NodeName, group: GroupId, entry: Bytes, deadline: Duration) -> Proposed {
        match group.0 {
            1 => Proposed::Applied { index: 7, answer: Bytes::from(format!("{from} {} {deadline:?}", entry.len())) },
            2 => Proposed::NotLeader { leader: Some(from) },
            _ => {
                tokio::time::sleep(deadline * 100).await;
                Proposed::Unknown { why: "never".into() }
            }
        }
    }

    async fn query(&self, _: NodeName, _: GroupId, query: Bytes, _: Duration) -> Queried {
        Queried::Answer(query)
    }

    async fn sign_checkpoint(
        &self,
        _: NodeName,
        wanted: CheckpointWanted,
        _: Duration,
    ) -> Result<MemberSignature, WordFault> {
        match wanted.group.0 {
            1 => Ok(MemberSignature { replica: ReplicaId(wanted.size), signature: Signature([6; 64]) }),
            2 => Err(WordFault::NotYet { why: "behind".into() }),
            _ => Err(WordFault::NotAMember),
        }
    }

    async fn sign_claims(
        &self,
        _: NodeName,
        wanted: ClaimsWanted,
        _: Duration,
    ) -> Result<Vec<Option<Signature>>, WordFault> {
        match wanted.group.0 {
            1 => Ok(wanted.claims.iter().map(|byte| (0 < *byte).then_some(Signature([*byte; 64]))).collect()),
            2 => Err(WordFault::NotYet { why: "behind".into() }),
            _ => Err(WordFault::NotAMember),
        }
    }

    fn put_fragment(&self, _: NodeName, put: FragmentPut) -> BoxFuture<'static, Result<(), PutFault>> {
        let seen = Arc::clone(&self.0);
        Box::pin(async move {
            while seen.hold.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            seen.puts.fetch_add(1, Ordering::SeqCst);
            if put.index == 9 { Err(PutFault::BudgetExceeded) } else { Ok(()) }
        })
    }

    fn get_fragments(
        &self,
        _: NodeName,
        wanted: FragmentsWanted,
    ) -> BoxStream<'static, (u32, Result<FragmentFound, FetchFault>)> {
        let found = wanted.wanted.into_iter().enumerate().map(|(at, (blob, index))| {
            let found = match index {
                9 => Err(FetchFault::Absent),
                _ => Ok(FragmentFound {
                    blob_bytes: 3,
                    payload_hash: Digest::from_bytes(*blob.as_bytes()),
                    payload: Bytes::from(vec![index; 100_000]),
                }),
            };
            (u32::try_from(at).unwrap(), found)
        });
        futures_util::stream::iter(found).boxed()
    }

    async fn known(&self, _: NodeName, group: GroupId, replica: ReplicaId) -> Result<Known, WordFault> {
        match group.0 {
            1 => {
                let position = |vote_term| KnownPosition { vote_term, last_index: replica.0 };
                Ok(Known { of_it: position(4), own: position(5), leads_since_founding: true })
            }
            2 => Err(WordFault::NotYet { why: "starting".into() }),
            _ => Err(WordFault::NotAMember),
        }
    }

    async fn report(
        &self,
        from: NodeName,
        group: GroupId,
        previous: Digest,
        _: Duration,
    ) -> Result<SignedReport, WordFault> {
        match group.0 {
            1 => Ok(SignedReport { facts: Bytes::from(format!("{from} {previous}")), signature: Signature([5; 64]) }),
            2 => Err(WordFault::NotYet { why: "behind".into() }),
            _ => Err(WordFault::NotAMember),
        }
    }

    fn about(&self) -> About {
        About { node: "n2".into(), version: "0.1.0".into() }
    }
}

/// A node that answers. Dropping it is the death of its process.
pub struct Server {
    pub address: String,
    pub seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    pub fn new() -> Self {
        let host = Host::real();
        let now_s = host.clock().wall_unix_ns() / 1_000_000_000;
        let cluster: Name = "vault".to_owned().try_into().unwrap();
        let life = Life { not_before_unix_s: now_s - DAY_S, not_after_unix_s: now_s + 300 * DAY_S };
        let ca = Ca::create(&cluster, Plane::Peer, life).unwrap();
        let (issuers, skipped) = Issuers::new(IssuerTable {
            cluster,
            issuers: vec![Issuer {
                plane: Plane::Peer,
                certificate: ca.certificate().clone(),
                tenants: Default::default(),
                revocations: None,
            }],
            tenants: Default::default(),
            nodes: ["n1", "n2", "n3"].map(|node| node.to_owned().try_into().unwrap()).into(),
            gone_nodes: Default::default(),
        });
        assert!(skipped.is_empty());
        Self { host, ca, issuers, now_s }
    }

    fn credentials(&self, node: &str, purpose: Purpose) -> Credentials {
        let id: SpiffeId = format!("spiffe://vault/node/eu/{node}").parse().unwrap();
        let life = Life { not_before_unix_s: self.now_s - 60, not_after_unix_s: self.now_s + DAY_S };
        let issued = self.ca.issue(&id, life).unwrap();
        Credentials::from_pem(issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes(), purpose).unwrap()
    }

    /// A node that listens on `address` (port 0: a free one).
    pub async fn serve(&self, node: &str, address: &str) -> Server {
        let credentials = self.credentials(node, Purpose::Server);
        let acceptor = Acceptor::new(&self.host, Plane::Peer, &credentials, &self.issuers, HandshakeLimits::default());
        let listener = self.host.connections().listen(address.parse().unwrap()).await.unwrap();
        let address = listener.address().unwrap().to_string();
        let seen = Arc::new(Seen::default());
        let calls = Arc::new(Answering(Arc::clone(&seen)));
        let (sorter, control, bulk) = Sorter::new(acceptor.serve(listener));
        let serve = |connections| {
            let plane = service(Arc::clone(&calls) as Arc<dyn Calls>);
            tonic::transport::Server::builder().add_service(plane).serve_with_incoming(connections)
        };
        let (control, bulk) = (serve(control), serve(bulk));
        let task = tokio::spawn(async move {
            let (_, control, bulk) = tokio::join!(sorter.run(), control, bulk);
            control.and(bulk).unwrap();
        });
        Server { address, seen, task }
    }

    /// This node, n1, which knows n2 at `address`.
    pub async fn peers(&self, address: &str) -> Peers {
        let connector = Connector::new(&self.host, &self.credentials("n1", Purpose::Client), &self.issuers);
        let (peers, runner) = Peers::new(connector, Runtimes::current());
        tokio::spawn(runner.run());
        let n2 = PeerNode { node: n2(), region: "eu".parse().unwrap(), address: address.to_owned() };
        peers.set_nodes(vec![n2]).await;
        peers
    }
}

pub fn n2() -> NodeName {
    "n2".parse().unwrap()
}

pub fn put(index: u8, bytes: usize) -> FragmentPut {
    FragmentPut {
        group: GroupId(1),
        tenant: TenantId::from_bytes([1; 16]),
        lease: LeaseId(4096),
        blob: BlobId::from_bytes([2; 32]),
        index,
        blob_bytes: u32::try_from(bytes).unwrap(),
        payload_hash: Digest::from_bytes([3; 32]),
        payload: Bytes::from(vec![index; bytes]),
    }
}

pub fn raft(kind: u8, bytes: usize) -> RaftMessage {
    RaftMessage { group: GroupId(1), from: ReplicaId(256), to: ReplicaId(257), kind, body: Bytes::from(vec![0; bytes]) }
}
