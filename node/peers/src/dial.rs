//! Connections as a node dials them: what runs on them, how large their windows and frames are.
//!
//! Not here: who is called when (`peers.rs`), what arrives (`serve.rs`).

use std::future::Future;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use strongroom_identity::connect::{ConnectFault, Connector};
use strongroom_proto::v1::peers_client::PeersClient;
use strongroom_proto::{payload, v1};
use tokio::runtime::Handle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::incoming::Purpose;
use crate::message::PeerNode;
use crate::pipe::Dialogue;

/// Connecting, TLS included, takes no longer.
const CONNECT_MAX: Duration = Duration::from_millis(1500);
/// What may be under way on one stream and on one connection.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Small frames cost a system call each, larger ones hold a heartbeat up.
pub(crate) const BULK_FRAME_BYTES: u32 = 1 << 20;
pub(crate) const SMALL_FRAME_BYTES: u32 = 64 << 10;
/// A connection on which nothing comes is asked whether it lives, and given so long.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The largest message, either way: a Raft append, or a fragment of the largest blob.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// The call whose answers are payloads.
pub(crate) const GET_FRAGMENTS: &str = "/strongroom.v1.Peers/GetFragments";
/// The call whose questions are payloads.
pub(crate) const PUT_FRAGMENTS: &str = "/strongroom.v1.Peers/PutFragments";

/// The small calls on a connection.
pub(crate) fn client(channel: Channel) -> PeersClient<Channel> {
    PeersClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// A connection that is made when it is needed, again and again, by whoever runs it on `runtime`.
pub(crate) fn channel(
    connector: &Connector,
    at: &PeerNode,
    purpose: Purpose,
    runtime: &Handle,
    frame_bytes: u32,
) -> Channel {
    let (connector, at) = (connector.clone(), at.clone());
    let dial = tower::service_fn(move |_: http::Uri| {
        let (connector, at) = (connector.clone(), at.clone());
        async move {
            let PeerNode { node, region, address } = at;
            let mut dialled = connector.connect(&address, &region.0, &node.0, CONNECT_MAX).await?;
            purpose.say(&mut dialled).await.map_err(|cause| ConnectFault::Unreachable { address, cause })?;
            Ok::<_, ConnectFault>(TokioIo::new(dialled))
        }
    });
    // The authority plays no part: the connector knows where to go and whom to expect there.
    Endpoint::from_static("http://peer")
        .executor(On(runtime.clone()))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(frame_bytes)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(dial)
}

/// Runs a connection's own tasks on one of our runtimes.
#[derive(Clone)]
struct On(Handle);

impl<F> hyper::rt::Executor<F> for On
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// Raft's messages of one class.
#[derive(Debug)]
pub(crate) struct Raft;

impl Dialogue for Raft {
    type Ask = v1::RaftFrame;
    type Answer = v1::RaftFrame;
    type Answers = Streaming<v1::RaftFrame>;
    const TELLS_OF_HEALTH: bool = false;

    fn number(ask: &mut v1::RaftFrame, number: u64) {
        ask.request = number;
    }

    fn number_of(answer: &v1::RaftFrame) -> u64 {
        answer.request
    }

    async fn open(channel: Channel, asks: ReceiverStream<v1::RaftFrame>) -> Result<Self::Answers, Status> {
        client(channel).raft(asks).await.map(tonic::Response::into_inner)
    }
}

/// Fragments.
#[derive(Debug)]
pub(crate) struct Puts;

impl Dialogue for Puts {
    type Ask = v1::PutFragment;
    type Answer = v1::PutFragmentAck;
    type Answers = payload::Incoming<v1::PutFragmentAck>;
    const TELLS_OF_HEALTH: bool = true;

    fn number(ask: &mut v1::PutFragment, number: u64) {
        ask.request = number;
    }

    fn number_of(answer: &v1::PutFragmentAck) -> u64 {
        answer.request
    }

    async fn open(channel: Channel, asks: ReceiverStream<v1::PutFragment>) -> Result<Self::Answers, Status> {
        payload::dialogue(&channel, PUT_FRAGMENTS, asks, MESSAGE_BYTES_MAX).await
    }
}
