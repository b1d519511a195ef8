//! The other nodes, as a node calls them.
//!
//! [`Peers`] knows where they are and keeps the connections; [`PeersRunner`] runs what keeps them: it must be run for
//! anything to be answered. Which nodes there are is told from above ([`Peers::set_nodes`]).
//!
//! Not here: who leads, who is a member of what.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use strongroom_format::command::MemberSignature;
use strongroom_format::id::{Digest, GroupId, NodeName, ReplicaId, Signature};
use strongroom_identity::connect::Connector;
use strongroom_proto::payload;
use strongroom_proto::v1;
use strongroom_proto::v1::peers_client::PeersClient;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::dial::{BULK_FRAME_BYTES, GET_FRAGMENTS, MESSAGE_BYTES_MAX, Puts, Raft, SMALL_FRAME_BYTES, channel, client};
use crate::error::PeerError;
use crate::fault::{FetchFault, PutFault};
use crate::health::Health;
use crate::incoming::Purpose;
use crate::medium::{Medium, Through};
use crate::message::{
    About, CheckpointWanted, ClaimsWanted, FragmentFound, FragmentPut, FragmentsWanted, Known, PeerNode, Proposed,
    Queried, RaftClass, RaftMessage, SignedReport,
};
use crate::metrics::{self, Kind};
use crate::pipe::{Dialogue, Pipe, PipeLoop};
use crate::wire;

/// What waits for one node, in bytes.
const HEARTBEAT_WINDOW_BYTES: usize = 1 << 20;
const RAFT_WINDOW_BYTES: usize = 32 << 20;
const PUT_WINDOW_BYTES: usize = 16 << 20;
/// A probe takes no longer.
const PROBE_MAX: Duration = Duration::from_secs(1);
/// So many probes in a row without an answer in time make a node suspect.
const LATE_PROBES_MAX: u32 = 2;
/// How often a node that is well says so.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// How soon a suspect node is probed, at first; then the pause doubles.
const PROBE_SOON: Duration = Duration::from_millis(50);
/// What an answer may take on its way when the other side uses its deadline up.
const WAY_BACK: Duration = Duration::from_millis(250);
/// Loops that wait to be started: a few for each node.
const LOOPS_MAX: usize = 1024;

/// Where the work on connections runs: heartbeats and small calls must not wait for bulk.
#[derive(Clone, Debug)]
pub struct Runtimes {
    /// For Raft, small calls and probes.
    pub control: Handle,
    /// For fragments.
    pub bulk: Handle,
}

impl Runtimes {
    /// Everything on the runtime that this is called on.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn current() -> Self {
        Self { control: Handle::current(), bulk: Handle::current() }
    }

    fn of(&self, place: Place) -> &Handle {
        match place {
            Place::Control => &self.control,
            Place::Bulk => &self.bulk,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Control,
    Bulk,
}

/// The other nodes. Clones are the same.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    ways: Ways,
    runtimes: Runtimes,
    nodes: RwLock<BTreeMap<NodeName, Arc<Node>>>,
    loops: mpsc::Sender<Loop>,
}

/// How nodes are reached.
enum Ways {
    /// By connections of our own.
    Dialled(Connector),
    /// By what a simulation has between its nodes.
    Through(Arc<dyn Medium>),
}

struct Loop {
    place: Place,
    run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Runs the loops behind [`Peers`].
pub struct PeersRunner {
    runtimes: Runtimes,
    loops: mpsc::Receiver<Loop>,
}

impl PeersRunner {
    /// Runs until every [`Peers`] is dropped. Dropping it ends the loops, and with them every call.
    ///
    /// # Panics
    ///
    /// If a loop does: it is a bug of ours, and half of what a connection owned is lost.
    pub async fn run(mut self) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended
                        && error.is_panic()
                    {
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
                next = self.loops.recv() => match next {
                    Some(Loop { place, run }) => drop(tasks.spawn_on(run, self.runtimes.of(place))),
                    None => return,
                },
            }
        }
    }
}

impl fmt::Debug for PeersRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeersRunner")
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("nodes", &self.0.table().keys().collect::<Vec<_>>()).finish()
    }
}

/// One other node.
struct Node {
    at: PeerNode,
    health: Arc<Health>,
    way: Way,
}

/// How it is reached.
enum Way {
    Dialled(Box<Dialled>),
    Through(Through),
}

/// Three connections and what runs on them.
struct Dialled {
    heartbeats: Pipe<Raft>,
    raft: Pipe<Raft>,
    puts: Pipe<Puts>,
    probes: PeersClient<Channel>,
    calls: PeersClient<Channel>,
    fetches: Channel,
}

impl Peers {
    /// Knows nobody yet.
    pub fn new(connector: Connector, runtimes: Runtimes) -> (Self, PeersRunner) {
        Self::by(Ways::Dialled(connector), runtimes)
    }

    /// The same over a medium of a simulation: deadlines, probes and suspicion as over connections.
    pub fn through(medium: Arc<dyn Medium>, runtimes: Runtimes) -> (Self, PeersRunner) {
        Self::by(Ways::Through(medium), runtimes)
    }

    fn by(ways: Ways, runtimes: Runtimes) -> (Self, PeersRunner) {
        let (loops, started) = mpsc::channel(LOOPS_MAX);
        let inner = Inner { ways, runtimes: runtimes.clone(), nodes: RwLock::default(), loops };
        (Self(Arc::new(inner)), PeersRunner { runtimes, loops: started })
    }

    /// From now on these are the other nodes. A node whose address or region changed is another one: what waits for the
    /// old one breaks. This node itself must not be among them.
    pub async fn set_nodes(&self, nodes: Vec<PeerNode>) {
        let mut table = BTreeMap::new();
        let mut started = Vec::new();
        let before = self.0.table().clone();
        for at in nodes {
            let node = match before.get(&at.node) {
                Some(known) if known.at == at => Arc::clone(known),
                Some(_) | None => {
                    let (node, loops) = Node::new(at, &self.0.ways, &self.0.runtimes);
                    started.extend(loops);
                    node
                }
            };
            table.insert(node.at.node.clone(), node);
        }
        *self.0.nodes.write().unwrap_or_else(PoisonError::into_inner) = table;
        for one in started {
            // Without a runner there is nobody whom a loop could answer.
            let _ = self.0.loops.send(one).await;
        }
    }

    /// The other nodes.
    pub fn nodes(&self) -> Vec<PeerNode> {
        self.0.table().values().map(|node| node.at.clone()).collect()
    }

    /// What is known of a node's health; `None` if no such node is known.
    pub fn health(&self, node: &NodeName) -> Option<Arc<Health>> {
        self.0.table().get(node).map(|node| Arc::clone(&node.health))
    }

    /// Whether fragments should not be sent to a node, or it is not known.
    pub fn is_suspect(&self, node: &NodeName) -> bool {
        self.health(node).is_none_or(|health| health.is_suspect())
    }

    /// Sends a Raft message and waits for its answer. Messages of one class arrive in the order in which they were
    /// given, unless so many wait that the window is full. Suspect nodes are tried too: Raft decides for itself.
    pub async fn raft(
        &self,
        node: &NodeName,
        class: RaftClass,
        message: RaftMessage,
        deadline: Duration,
    ) -> Result<Bytes, PeerError> {
        let node = self.0.node(node)?;
        let dialled = match &node.way {
            Way::Dialled(dialled) => dialled,
            Way::Through(through) => return through.raft(class, message, deadline).await,
        };
        let pipe = match class {
            RaftClass::Heartbeat => &dialled.heartbeats,
            RaftClass::Bulk => &dialled.raft,
        };
        let answer = pipe.ask(wire::raft_frame(message), deadline).await;
        let answer = answer.inspect_err(|_| metrics::call_failed(Kind::Raft))?;
        match answer.refused.is_empty() {
            true => Ok(answer.body),
            false => Err(PeerError::Refused { node: node.at.node.clone(), why: answer.refused }),
        }
    }

    /// Proposes an entry at a node. An error that is not [`PeerError::surely_not_sent`] means *unknown*. A suspect node is
    /// not asked, and one that becomes suspect is not waited for.
    pub async fn propose(
        &self,
        node: &NodeName,
        group: GroupId,
        entry: Bytes,
        deadline: Duration,
    ) -> Result<Proposed, PeerError> {
        let node = self.0.well(node)?;
        let asked = async {
            match &node.way {
                Way::Dialled(dialled) => {
                    let request = v1::ProposeRequest { group: group.0, entry, deadline_ms: millis(deadline) };
                    node.said(dialled.calls.clone().propose(request).await).map(wire::proposed)
                }
                Way::Through(through) => through.propose(group, entry, deadline).await,
            }
        };
        node.call_while_well(Kind::Propose, deadline + WAY_BACK, asked).await
    }

    /// Asks a question at a node. A suspect node is not asked, and one that becomes suspect is not waited for.
    pub async fn query(
        &self,
        node: &NodeName,
        group: GroupId,
        query: Bytes,
        deadline: Duration,
    ) -> Result<Queried, PeerError> {
        let node = self.0.well(node)?;
        let asked = async {
            match &node.way {
                Way::Dialled(dialled) => {
                    let request = v1::QueryRequest { group: group.0, query, deadline_ms: millis(deadline) };
                    node.said(dialled.calls.clone().query(request).await).map(wire::queried)
                }
                Way::Through(through) => through.query(group, query, deadline).await,
            }
        };
        node.call_while_well(Kind::Query, deadline + WAY_BACK, asked).await
    }

    /// Asks a voter to sign a tenant's audit log. A suspect node is not asked, and one that becomes suspect is not waited
    /// for.
    pub async fn sign_checkpoint(
        &self,
        node: &NodeName,
        wanted: CheckpointWanted,
        deadline: Duration,
    ) -> Result<MemberSignature, PeerError> {
        let node = self.0.well(node)?;
        let asked = async {
            match &node.way {
                Way::Dialled(dialled) => {
                    let request = wire::sign_checkpoint(wanted, millis(deadline));
                    let reply = node.said(dialled.calls.clone().sign_checkpoint(request).await)?;
                    wire::checkpoint_signature(reply).map_err(|why| node.not_yet(why))
                }
                Way::Through(through) => through.sign_checkpoint(wanted, deadline).await,
            }
        };
        node.call_while_well(Kind::Sign, deadline + WAY_BACK, asked).await
    }

    /// Asks a voter to sign claims of one of its groups: one answer a claim, `None` where it is not so. A suspect node is
    /// not asked, and one that becomes suspect is not waited for.
    pub async fn sign_claims(
        &self,
        node: &NodeName,
        wanted: ClaimsWanted,
        deadline: Duration,
    ) -> Result<Vec<Option<Signature>>, PeerError> {
        let node = self.0.well(node)?;
        let asked = async {
            match &node.way {
                Way::Dialled(dialled) => {
                    let request = wire::sign_claims(wanted, millis(deadline));
                    let reply = node.said(dialled.calls.clone().sign_claims(request).await)?;
                    wire::claim_signatures(reply).map_err(|why| node.not_yet(why))
                }
                Way::Through(through) => through.sign_claims(wanted, deadline).await,
            }
        };
        node.call_while_well(Kind::Sign, deadline + WAY_BACK, asked).await
    }

    /// Sends a fragment and waits until it is durable there. A suspect node is not tried.
    pub async fn put_fragment(&self, node: &NodeName, put: FragmentPut, deadline: Duration) -> Result<(), PeerError> {
        let node = self.0.well(node)?;
        let dialled = match &node.way {
            Way::Dialled(dialled) => dialled,
            Way::Through(through) => {
                let began = Instant::now();
                through.put_fragment(put, deadline).await?;
                node.health.acknowledged(began.elapsed());
                return Ok(());
            }
        };
        let ack = dialled.puts.ask(wire::put_fragment(put), deadline).await;
        let ack = ack.inspect_err(|_| metrics::call_failed(Kind::Put))?;
        if ack.code != 0 {
            let fault = PutFault::from_code(ack.code);
            return Err(PeerError::Put { node: node.at.node.clone(), fault });
        }
        metrics::fragment_put();
        Ok(())
    }

    /// Asks for fragments. They come in any order, each with its place in what was wanted; each comes at most once and
    /// `each_max` after the one before it, else the stream ends with an error.
    pub async fn get_fragments(
        &self,
        node: &NodeName,
        wanted: &FragmentsWanted,
        each_max: Duration,
    ) -> Result<Fragments, PeerError> {
        let node = self.0.node(node)?;
        let opened = async {
            match &node.way {
                Way::Dialled(dialled) => {
                    let question = wire::get_fragments(wanted);
                    let opened = payload::call(&dialled.fetches, GET_FRAGMENTS, &question, MESSAGE_BYTES_MAX).await;
                    opened.map(Source::Stream).map_err(|status| node.error(&status))
                }
                Way::Through(through) => through.get_fragments(wanted.clone()).await.map(Source::Here),
            }
        };
        let incoming = Some(node.call(Kind::Get, each_max, opened).await?);
        Ok(Fragments { incoming, node, each_max })
    }

    /// Asks what a node knows of this node's replica of a group. Suspect nodes are asked too: whoever
    /// asks has just started and has heard of nobody.
    pub async fn known(
        &self,
        node: &NodeName,
        group: GroupId,
        replica: ReplicaId,
        deadline: Duration,
    ) -> Result<Known, PeerError> {
        let node = self.0.node(node)?;
        let asked = async {
            match &node.way {
                Way::Dialled(dialled) => {
                    let request = v1::KnownRequest { group: group.0, replica: replica.0 };
                    let reply = node.said(dialled.calls.clone().known(request).await)?;
                    wire::known(reply).map_err(|why| node.not_yet(why))
                }
                Way::Through(through) => through.known(group, replica).await,
            }
        };
        node.call(Kind::Known, deadline, asked).await
    }

    /// Asks a voter for its report for the tick behind `previous`. A suspect node is not asked, and one that becomes
    /// suspect is not waited for.
    pub async fn report(
        &self,
        node: &NodeName,
        group: GroupId,
        previous: Digest,
        deadline: Duration,
    ) -> Result<SignedReport, PeerError> {
        let node = self.0.well(node)?;
        let asked = async {
            match &node.way {
                Way::Dialled(dialled) => {
                    let (previous, deadline_ms) = (wire::digest(previous), millis(deadline));
                    let request = v1::ReportRequest { group: group.0, previous, deadline_ms };
                    let reply = node.said(dialled.calls.clone().report(request).await)?;
                    wire::report(reply).map_err(|why| node.not_yet(why))
                }
                Way::Through(through) => through.report(group, previous, deadline).await,
            }
        };
        node.call_while_well(Kind::Report, deadline, asked).await
    }

    /// Asks a node about itself.
    pub async fn ping(&self, node: &NodeName, deadline: Duration) -> Result<About, PeerError> {
        self.0.node(node)?.ping(deadline).await
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Inner {
    fn table(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<NodeName, Arc<Node>>> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, name: &NodeName) -> Result<Arc<Node>, PeerError> {
        self.table().get(name).cloned().ok_or_else(|| PeerError::NoSuchNode { node: name.clone() })
    }

    /// The node, unless it is suspect.
    fn well(&self, name: &NodeName) -> Result<Arc<Node>, PeerError> {
        let node = self.node(name)?;
        if node.health.is_suspect() { Err(PeerError::Suspect { node: name.clone() }) } else { Ok(node) }
    }
}

impl Node {
    fn new(at: PeerNode, ways: &Ways, runtimes: &Runtimes) -> (Arc<Self>, Vec<Loop>) {
        match ways {
            Ways::Dialled(connector) => Self::dialled(at, connector, runtimes),
            Ways::Through(medium) => {
                let way = Way::Through(Through::new(Arc::clone(medium), at.node.clone()));
                let node = Arc::new(Self { at, health: Arc::default(), way });
                let probes = Loop { place: Place::Control, run: Box::pin(probe(Arc::downgrade(&node))) };
                (node, vec![probes])
            }
        }
    }

    fn dialled(at: PeerNode, connector: &Connector, runtimes: &Runtimes) -> (Arc<Self>, Vec<Loop>) {
        let health = Arc::new(Health::default());
        let name = || at.node.clone();
        let small = |frame| channel(connector, &at, Purpose::Control, &runtimes.control, frame);
        let (heartbeat, control) = (small(SMALL_FRAME_BYTES), small(BULK_FRAME_BYTES));
        let bulk = channel(connector, &at, Purpose::Bulk, &runtimes.bulk, BULK_FRAME_BYTES);
        let (heartbeats, heartbeat_loop) =
            Pipe::new(name(), heartbeat.clone(), Arc::clone(&health), HEARTBEAT_WINDOW_BYTES);
        let (raft, raft_loop) = Pipe::new(name(), control.clone(), Arc::clone(&health), RAFT_WINDOW_BYTES);
        let (puts, put_loop) = Pipe::new(name(), bulk.clone(), Arc::clone(&health), PUT_WINDOW_BYTES);
        let (probes, calls, fetches) = (client(heartbeat), client(control), bulk);
        let dialled = Box::new(Dialled { heartbeats, raft, puts, probes, calls, fetches });
        let node = Arc::new(Self { at, health, way: Way::Dialled(dialled) });
        let loops = vec![
            started(Place::Control, heartbeat_loop),
            started(Place::Control, raft_loop),
            started(Place::Bulk, put_loop),
            Loop { place: Place::Control, run: Box::pin(probe(Arc::downgrade(&node))) },
        ];
        (node, loops)
    }

    async fn call<T>(
        &self,
        kind: Kind,
        deadline: Duration,
        call: impl Future<Output = Result<T, PeerError>>,
    ) -> Result<T, PeerError> {
        let result = match tokio::time::timeout(deadline, call).await {
            Err(_elapsed) => Err(PeerError::Late { node: self.at.node.clone() }),
            Ok(result) => result,
        };
        result.inspect_err(|error| {
            metrics::call_failed(kind);
            if error.is_failure() {
                self.health.failed();
            }
        })
    }

    /// The same, given up when the node becomes suspect.
    async fn call_while_well<T>(
        &self,
        kind: Kind,
        deadline: Duration,
        call: impl Future<Output = Result<T, PeerError>>,
    ) -> Result<T, PeerError> {
        tokio::select! {
            biased;
            result = self.call(kind, deadline, call) => result,
            () = self.health.alarm() => {
                metrics::call_failed(kind);
                Err(PeerError::Broken { node: self.at.node.clone(), why: "it became suspect".into() })
            }
        }
    }

    /// What a call over a connection came to.
    fn said<T>(&self, result: Result<tonic::Response<T>, Status>) -> Result<T, PeerError> {
        result.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    fn not_yet(&self, why: String) -> PeerError {
        PeerError::NotYet { node: self.at.node.clone(), why }
    }

    fn error(&self, status: &Status) -> PeerError {
        let node = self.at.node.clone();
        let why = wire::describe(status);
        if wire::surely_not_sent(status) {
            return PeerError::Unreachable { node, why };
        }
        match status.code() {
            Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented | Code::InvalidArgument => {
                PeerError::Refused { node, why }
            }
            Code::DeadlineExceeded => PeerError::Late { node },
            _ => PeerError::Broken { node, why },
        }
    }

    async fn ping(&self, deadline: Duration) -> Result<About, PeerError> {
        let asked = async {
            match &self.way {
                Way::Dialled(dialled) => {
                    let reply = self.said(dialled.probes.clone().ping(v1::PingRequest {}).await)?;
                    Ok(About { node: reply.node, version: reply.version })
                }
                Way::Through(through) => through.ping().await,
            }
        };
        self.call(Kind::Ping, deadline, asked).await
    }
}

/// Where they come from.
enum Source {
    Stream(payload::Incoming<v1::Fragment>),
    /// They have come.
    Here(VecDeque<(u32, Result<FragmentFound, FetchFault>)>),
}

/// The fragments that a node sends. Dropping it ends the call.
pub struct Fragments {
    incoming: Option<Source>,
    node: Arc<Node>,
    each_max: Duration,
}

impl Fragments {
    /// The next one, with its place in what was wanted; `None`: all have come that will come.
    pub async fn next(&mut self) -> Option<Result<(u32, Result<FragmentFound, FetchFault>), PeerError>> {
        let incoming = match self.incoming.as_mut()? {
            Source::Stream(incoming) => incoming,
            Source::Here(fragments) => return fragments.pop_front().map(Ok),
        };
        let error = match tokio::time::timeout(self.each_max, incoming.message()).await {
            Ok(Ok(Some(fragment))) => return Some(Ok(wire::fragment_found(fragment))),
            Ok(Ok(None)) => return None,
            Ok(Err(status)) => self.node.error(&status),
            Err(_elapsed) => PeerError::Late { node: self.node.at.node.clone() },
        };
        self.incoming = None;
        metrics::call_failed(Kind::Get);
        if error.is_failure() {
            self.node.health.failed();
        }
        Some(Err(error))
    }

    /// As a stream that ends after its first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<(u32, Result<FragmentFound, FetchFault>), PeerError>> + Send {
        futures_util::stream::unfold(self, |mut fragments| async move {
            let next = fragments.next().await?;
            Some((next, fragments))
        })
        .boxed()
    }
}

impl fmt::Debug for Fragments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fragments").field("node", &self.node.at.node).finish_non_exhaustive()
    }
}

/// Asks a node again and again how it is. One late answer is a busy machine; two in a row are none.
async fn probe(node: Weak<Node>) {
    let mut soon = PROBE_SOON;
    let mut late = 0;
    loop {
        let Some(node) = node.upgrade() else { return };
        let health = Arc::clone(&node.health);
        match node.ping(PROBE_MAX).await {
            Ok(about) => {
                late = 0;
                health.answered(about.version, Instant::now());
            }
            Err(error) => {
                tracing::debug!(node = %node.at.node, %error, "a probe failed");
                late += 1;
                if error.is_failure() || LATE_PROBES_MAX <= late {
                    health.failed();
                }
            }
        }
        drop(node);
        if health.is_suspect() || late != 0 {
            tokio::time::sleep(soon).await;
            soon = (2 * soon).min(PROBE_EVERY);
        } else {
            soon = PROBE_SOON;
            let _ = tokio::time::timeout(PROBE_EVERY, health.alarm()).await;
        }
    }
}

fn started<D: Dialogue>(place: Place, pipe: PipeLoop<D>) -> Loop {
    Loop { place, run: Box::pin(pipe.run()) }
}
