//! What other nodes may ask of this one: the peer plane's service.
//!
//! Every call carries the name in the caller's certificate, which is checked against the table of issuers on each call
//! and, on long streams, on each message. What is asked is answered above ([`Calls`]).
//!
//! Not here: what a node may ask of which shard (above: it knows the members).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{Stream, StreamExt};
use strongroom_format::command::MemberSignature;
use strongroom_format::id::{Digest, GroupId, NodeName, ReplicaId, Signature};
use strongroom_format::role::Plane;
use strongroom_identity::admission;
use strongroom_identity::peer::Peer;
use strongroom_proto::payload::Direct;
use strongroom_proto::v1;
use strongroom_proto::v1::peers_server::{self, PeersServer};
use strongroom_proto_identity::spiffe::SpiffeId;
use tonic::{Request, Response, Status, Streaming};

use crate::dial::{GET_FRAGMENTS, MESSAGE_BYTES_MAX, PUT_FRAGMENTS};
use crate::fault::{FetchFault, PutFault, RaftFault, WordFault};
use crate::incidents::Incidents;
use crate::message::{
    About, CheckpointWanted, ClaimsWanted, FragmentFound, FragmentPut, FragmentsWanted, Known, Proposed, Queried,
    RaftMessage, SignedReport,
};
use crate::metrics::Incident;
use crate::wire;

/// What one stream may have under way here: enough to fill a group commit, not enough to fill the memory.
const RAFT_UNDER_WAY_MAX: Bound = Bound { count: 1024, bytes: 64 << 20 };
const PUTS_UNDER_WAY_MAX: Bound = Bound { count: 256, bytes: 32 << 20 };
/// No question takes longer, whatever its asker says.
const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// Who answers. `from` is the name in the caller's certificate.
#[async_trait::async_trait]
pub trait Calls: Send + Sync + 'static {
    /// A Raft message. It is called in the order of arrival on each stream; what it returns may wait. The answer's bytes,
    /// or why the message is not heard.
    fn raft(&self, from: NodeName, message: RaftMessage) -> BoxFuture<'static, Result<Bytes, RaftFault>>;

    /// An entry to be proposed here, if this node leads.
    async fn propose(&self, from: NodeName, group: GroupId, entry: Bytes, deadline: Duration) -> Proposed;

    /// A question to be answered here, if this node leads.
    async fn query(&self, from: NodeName, group: GroupId, query: Bytes, deadline: Duration) -> Queried;

    /// This node's signature over a tenant's audit log, as its own replica has it.
    async fn sign_checkpoint(
        &self,
        from: NodeName,
        wanted: CheckpointWanted,
        deadline: Duration,
    ) -> Result<MemberSignature, WordFault>;

    /// This node's signatures over claims of one of its groups, as its own replica bears them out: one a claim.
    async fn sign_claims(
        &self,
        from: NodeName,
        wanted: ClaimsWanted,
        deadline: Duration,
    ) -> Result<Vec<Option<Signature>>, WordFault>;

    /// A fragment to be written; done when it is durable.
    fn put_fragment(&self, from: NodeName, put: FragmentPut) -> BoxFuture<'static, Result<(), PutFault>>;

    /// Fragments to be read, each with its place in what was wanted, in any order.
    fn get_fragments(
        &self,
        from: NodeName,
        wanted: FragmentsWanted,
    ) -> BoxStream<'static, (u32, Result<FragmentFound, FetchFault>)>;

    /// What is known here of `from`'s replica of a group.
    async fn known(&self, from: NodeName, group: GroupId, replica: ReplicaId) -> Result<Known, WordFault>;

    /// This node's report for the tick behind `previous`, for the group's leader.
    async fn report(
        &self,
        from: NodeName,
        group: GroupId,
        previous: Digest,
        deadline: Duration,
    ) -> Result<SignedReport, WordFault>;

    /// What this node says about itself.
    fn about(&self) -> About;
}

/// The service that answers other nodes, for a server whose connections are [`crate::incoming::Served`].
pub fn service(calls: Arc<dyn Calls>) -> Direct<Direct<PeersServer<PeerPlane>>> {
    let plane = Arc::new(PeerPlane { calls, incidents: Arc::default() });
    let service = PeersServer::from_arc(Arc::clone(&plane))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let service = Direct::new(service, Arc::clone(&plane), GET_FRAGMENTS, MESSAGE_BYTES_MAX, |plane, request| {
        peers_server::Peers::get_fragments(plane, request)
    });
    Direct::taking(service, plane, PUT_FRAGMENTS, MESSAGE_BYTES_MAX, |plane, request| {
        Box::pin(async move { plane.take_fragments(request) })
    })
}

/// Translates the peer plane's calls.
pub struct PeerPlane {
    calls: Arc<dyn Calls>,
    incidents: Arc<Incidents>,
}

/// A caller that was let in, and is asked again while its stream lives.
#[derive(Clone)]
struct Caller {
    node: NodeName,
    peer: Peer,
}

impl Caller {
    fn check(&self) -> Result<(), Status> {
        self.peer.check().map_err(|_| Status::unauthenticated("the certificate is not valid any more"))
    }
}

impl PeerPlane {
    /// Who calls, if it may call this.
    fn caller<T>(&self, request: &Request<T>, path: &'static str) -> Result<Caller, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::unauthenticated("nobody vouches for this connection"))?;
        peer.check().map_err(|_| Status::unauthenticated("the certificate is not valid any more"))?;
        admission::admit(path, peer.plane(), peer.id()).map_err(|denied| match denied {
            admission::Denied::NoSuchCall => Status::unimplemented("no such call"),
            admission::Denied::Role => Status::permission_denied("the role does not allow it"),
        })?;
        // Raft's messages name replicas, which consensus knows or not: a node that was away for long must hear of nodes that
        // joined since from whoever leads now. Everything else is for nodes whose approval is known here (N96).
        match peer.id() {
            SpiffeId::Node { node, .. } if peer.plane() == Plane::Peer => {
                let node = NodeName(node.clone());
                if path != "/strongroom.v1.Peers/Raft" && !peer.is_approved() {
                    return Err(self.incidents.refuse(&node, Incident::NotApproved));
                }
                Ok(Caller { node, peer })
            }
            SpiffeId::Node { .. } | SpiffeId::Tenant { .. } | SpiffeId::Operator { .. } => {
                Err(Status::permission_denied("only nodes call nodes"))
            }
        }
    }

    /// Writes fragments as they come, and says which are durable.
    fn take_fragments(
        &self,
        request: Request<impl Stream<Item = Result<v1::PutFragment, Status>> + Send + Unpin + 'static>,
    ) -> Result<Response<BoxStream<'static, Result<v1::PutFragmentAck, Status>>>, Status> {
        let caller = self.caller(&request, PUT_FRAGMENTS)?;
        let (calls, incidents) = (Arc::clone(&self.calls), Arc::clone(&self.incidents));
        let from = caller.node.clone();
        let answer = move |message: v1::PutFragment| {
            let (request, bytes) = (message.request, message.payload.len());
            let done = match wire::fragment_put(message) {
                Ok(put) => calls.put_fragment(from.clone(), put),
                Err(wire::Malformed) => Box::pin(std::future::ready(Err(PutFault::Malformed))),
            };
            let (incidents, from) = (Arc::clone(&incidents), from.clone());
            let work = async move {
                let fault = done.await.err();
                if fault == Some(PutFault::NotAMember) {
                    incidents.met(&from, Incident::NotAMember);
                }
                let code = fault.map_or(0, PutFault::code);
                v1::PutFragmentAck { request, code }
            };
            Work { bytes, work: Box::pin(work) }
        };
        Ok(Response::new(Answers::new(request.into_inner(), caller, PUTS_UNDER_WAY_MAX, answer).boxed()))
    }

    /// No member is PERMISSION_DENIED; what may come later is an answer.
    fn word<T>(&self, from: &NodeName, word: Result<T, WordFault>) -> Result<Result<T, String>, Status> {
        match word {
            Ok(word) => Ok(Ok(word)),
            Err(WordFault::NotYet { why }) => Ok(Err(why)),
            Err(WordFault::NotAMember) => Err(self.incidents.refuse(from, Incident::NotAMember)),
        }
    }
}

#[tonic::async_trait]
impl peers_server::Peers for PeerPlane {
    type RaftStream = BoxStream<'static, Result<v1::RaftFrame, Status>>;
    type PutFragmentsStream = BoxStream<'static, Result<v1::PutFragmentAck, Status>>;
    type GetFragmentsStream = BoxStream<'static, Result<v1::Fragment, Status>>;

    async fn raft(&self, request: Request<Streaming<v1::RaftFrame>>) -> Result<Response<Self::RaftStream>, Status> {
        let caller = self.caller(&request, "/strongroom.v1.Peers/Raft")?;
        let (calls, incidents) = (Arc::clone(&self.calls), Arc::clone(&self.incidents));
        let from = caller.node.clone();
        let answer = move |frame: v1::RaftFrame| {
            let (request, group, sender, to) = (frame.request, frame.group, frame.from, frame.to);
            let bytes = frame.body.len();
            let answered = match wire::raft_message(frame) {
                Ok(message) => calls.raft(from.clone(), message),
                Err(wire::Malformed) => {
                    Box::pin(std::future::ready(Err(RaftFault::Unheard { why: "malformed".into() })))
                }
            };
            let (incidents, from) = (Arc::clone(&incidents), from.clone());
            let work = async move {
                let answered = answered.await;
                if let Err(RaftFault::Foreign { .. }) = &answered {
                    incidents.met(&from, Incident::ForeignReplica);
                }
                let (body, refused) = match answered.map_err(|fault| fault.to_string()) {
                    Ok(body) => (body, String::new()),
                    Err(why) if why.is_empty() => (Bytes::new(), "refused".into()),
                    Err(why) => (Bytes::new(), why),
                };
                // Back to where it came from.
                v1::RaftFrame { request, group, from: to, to: sender, kind: 0, body, refused }
            };
            Work { bytes, work: Box::pin(work) }
        };
        Ok(Response::new(Answers::new(request.into_inner(), caller, RAFT_UNDER_WAY_MAX, answer).boxed()))
    }

    async fn propose(&self, request: Request<v1::ProposeRequest>) -> Result<Response<v1::ProposeReply>, Status> {
        let caller = self.caller(&request, "/strongroom.v1.Peers/Propose")?;
        let v1::ProposeRequest { group, entry, deadline_ms } = request.into_inner();
        let proposed = self.calls.propose(caller.node, GroupId(group), entry, deadline(deadline_ms)).await;
        Ok(Response::new(wire::propose_reply(proposed)))
    }

    async fn query(&self, request: Request<v1::QueryRequest>) -> Result<Response<v1::QueryReply>, Status> {
        let caller = self.caller(&request, "/strongroom.v1.Peers/Query")?;
        let v1::QueryRequest { group, query, deadline_ms } = request.into_inner();
        let queried = self.calls.query(caller.node, GroupId(group), query, deadline(deadline_ms)).await;
        Ok(Response::new(wire::query_reply(queried)))
    }

    async fn sign_checkpoint(
        &self,
        request: Request<v1::SignCheckpointRequest>,
    ) -> Result<Response<v1::SignCheckpointReply>, Status> {
        let caller = self.caller(&request, "/strongroom.v1.Peers/SignCheckpoint")?;
        let within = deadline(request.get_ref().deadline_ms);
        let wanted = wire::checkpoint_wanted(request.get_ref())
            .map_err(|wire::Malformed| Status::invalid_argument("malformed request for a signature"))?;
        let signed = self.calls.sign_checkpoint(caller.node.clone(), wanted, within).await;
        Ok(Response::new(wire::sign_checkpoint_reply(self.word(&caller.node, signed)?)))
    }

    async fn sign_claims(
        &self,
        request: Request<v1::SignClaimsRequest>,
    ) -> Result<Response<v1::SignClaimsReply>, Status> {
        let caller = self.caller(&request, "/strongroom.v1.Peers/SignClaims")?;
        let within = deadline(request.get_ref().deadline_ms);
        let wanted = wire::claims_wanted(request.into_inner());
        let signed = self.calls.sign_claims(caller.node.clone(), wanted, within).await;
        Ok(Response::new(wire::sign_claims_reply(self.word(&caller.node, signed)?)))
    }

    async fn put_fragments(
        &self,
        request: Request<Streaming<v1::PutFragment>>,
    ) -> Result<Response<Self::PutFragmentsStream>, Status> {
        self.take_fragments(request)
    }

    async fn get_fragments(
        &self,
        request: Request<v1::GetFragmentsRequest>,
    ) -> Result<Response<Self::GetFragmentsStream>, Status> {
        let caller = self.caller(&request, GET_FRAGMENTS)?;
        let wanted = wire::fragments_wanted(request.get_ref())
            .map_err(|wire::Malformed| Status::invalid_argument("malformed request for fragments"))?;
        let found = self.calls.get_fragments(caller.node.clone(), wanted);
        let incidents = Arc::clone(&self.incidents);
        let answers = found.map(move |(at, found)| {
            caller.check()?;
            match found {
                // Whoever is no member gets no fragment, so the first answer is the last.
                Err(FetchFault::NotAMember) => Err(incidents.refuse(&caller.node, Incident::NotAMember)),
                found => Ok(wire::fragment(at, found)),
            }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn ping(&self, request: Request<v1::PingRequest>) -> Result<Response<v1::PingReply>, Status> {
        self.caller(&request, "/strongroom.v1.Peers/Ping")?;
        let About { node, version } = self.calls.about();
        Ok(Response::new(v1::PingReply { node, version }))
    }

    async fn known(&self, request: Request<v1::KnownRequest>) -> Result<Response<v1::KnownReply>, Status> {
        let caller = self.caller(&request, "/strongroom.v1.Peers/Known")?;
        let v1::KnownRequest { group, replica } = request.into_inner();
        let known = self.calls.known(caller.node.clone(), GroupId(group), ReplicaId(replica)).await;
        let known = self.word(&caller.node, known)?;
        Ok(Response::new(wire::known_reply(known)))
    }

    async fn report(&self, request: Request<v1::ReportRequest>) -> Result<Response<v1::ReportReply>, Status> {
        let caller = self.caller(&request, "/strongroom.v1.Peers/Report")?;
        let v1::ReportRequest { group, previous, deadline_ms } = request.into_inner();
        let previous =
            Digest::from_slice(&previous).map_err(|_| Status::invalid_argument("malformed request for a report"))?;
        let report = self.calls.report(caller.node.clone(), GroupId(group), previous, deadline(deadline_ms)).await;
        Ok(Response::new(wire::report_reply(self.word(&caller.node, report)?)))
    }
}

fn deadline(millis: u64) -> Duration {
    Duration::from_millis(millis).min(DEADLINE_MAX)
}

/// How much may be under way.
#[derive(Clone, Copy, Debug)]
struct Bound {
    count: usize,
    bytes: usize,
}

/// One question under way: how many bytes it holds, and its answer.
struct Work<A> {
    bytes: usize,
    work: BoxFuture<'static, A>,
}

/// Answers to a stream of questions as they become ready. Questions are begun in order, while there is room; when there
/// is none, the sender's window fills up. The stream ends when its questions have ended and are answered, or when the
/// caller's certificate has.
struct Answers<S, A, F> {
    questions: S,
    caller: Caller,
    begin: F,
    bound: Bound,
    under_way: FuturesUnordered<BoxFuture<'static, (usize, A)>>,
    bytes: usize,
    ended: bool,
}

impl<S, Q, A, F> Answers<S, A, F>
where
    S: Stream<Item = Result<Q, Status>>,
    A: 'static,
    F: FnMut(Q) -> Work<A>,
{
    fn new(questions: S, caller: Caller, bound: Bound, begin: F) -> Self {
        Self { questions, caller, begin, bound, under_way: FuturesUnordered::new(), bytes: 0, ended: false }
    }

    fn has_room(&self) -> bool {
        self.under_way.len() < self.bound.count && (self.bytes < self.bound.bytes || self.under_way.is_empty())
    }

    fn begin(&mut self, question: Q) {
        let Work { bytes, work } = (self.begin)(question);
        self.bytes += bytes;
        self.under_way.push(Box::pin(async move { (bytes, work.await) }));
    }
}

impl<S, Q, A, F> Stream for Answers<S, A, F>
where
    S: Stream<Item = Result<Q, Status>> + Unpin,
    A: 'static,
    F: FnMut(Q) -> Work<A> + Unpin,
{
    type Item = Result<A, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        while !this.ended && this.has_room() {
            match this.questions.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(question))) => {
                    if let Err(status) = this.caller.check() {
                        this.ended = true;
                        this.under_way.clear();
                        return Poll::Ready(Some(Err(status)));
                    }
                    this.begin(question);
                }
                // A broken stream has nobody left who reads answers.
                Poll::Ready(Some(Err(_)) | None) => this.ended = true,
                Poll::Pending => break,
            }
        }
        match this.under_way.poll_next_unpin(cx) {
            Poll::Ready(Some((bytes, answer))) => {
                this.bytes -= bytes;
                Poll::Ready(Some(Ok(answer)))
            }
            Poll::Ready(None) if this.ended => Poll::Ready(None),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
