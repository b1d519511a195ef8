//! The listeners: what the node's wiring starts, each until it is told to stop.
//!
//! Limits, for both directions: messages ([`MESSAGE_BYTES_MAX`]), headers, streams at once, calls at once, the age of a
//! connection on the planes of people and machines outside (a certificate that was taken back ends with it at the
//! latest), silence (keep-alive). Large frames and windows, because one default window is full with one upload. A call
//! that is not of the plane does not exist there, and nothing else is served.
//!
//! Not here: TLS (`node/identity`), what is answered (`vaults.rs`, `operators.rs`, `node/peers`).

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use strongroom_identity::acceptor::Incoming;
use strongroom_identity::doorstep::Doorstep;
use strongroom_peers::incoming::{Served, Sorted, Sorter};
use strongroom_peers::serve::{Calls, service as peers_service};
use strongroom_proto::payload::Direct;
use strongroom_proto::v1::authority_server::AuthorityServer;
use strongroom_proto::v1::enrolment_server::EnrolmentServer;
use strongroom_proto::v1::operators_server::OperatorsServer;
use strongroom_proto::v1::vaults_server::{Vaults, VaultsServer};
use tonic::body::Body;
use tonic::transport::Server;
use tower::layer::util::{Identity, Stack};
use tower::util::MapResponseLayer;

use crate::authority::AuthorityPlane;
use crate::enrol::{EnrolmentPlane, Guest};
use crate::operators::OperatorsPlane;
use crate::too_long;
use crate::vaults::{FETCH_RUN, UPLOAD, VaultsPlane};

/// The largest message of a tenant, either way: a blob, or a question and its answer.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// The largest message of an operator, either way.
pub const OPERATOR_MESSAGE_BYTES_MAX: usize = 2 << 20;

/// The largest message of a stranger.
const STRANGERS_BYTES_MAX: usize = 16 << 10;
/// A stranger makes one call, and perhaps makes it again.
const STRANGERS_STREAMS_MAX: u32 = 4;
/// How long a stranger may stay.
const STRANGERS_AGE_MAX: Duration = Duration::from_secs(60);

const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const FRAME_BYTES: u32 = 1 << 20;
const HEADERS_BYTES_MAX: u32 = 16 << 10;
const STREAMS_MAX: u32 = 256;
const CALLS_MAX: usize = 256;
/// A call that has not begun to answer by then is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEP_ALIVE_WITHIN: Duration = Duration::from_secs(20);
/// A connection is told to end at this age, and ended a while later.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(3600);
const CONNECTION_GRACE: Duration = Duration::from_secs(600);
/// Peers send bulk beside heartbeats on connections that stay.
const PEER_STREAMS_MAX: u32 = 1024;

/// Puts the right code where tonic has another.
type RightCodes = MapResponseLayer<fn(http::Response<Body>) -> http::Response<Body>>;

/// Why a listener ended.
pub type ServeError = tonic::transport::Error;

/// A listener at work, until it is told to stop.
pub type Serving = BoxFuture<'static, Result<(), ServeError>>;

/// Serves the tenant plane until `stop`, then waits for calls under way.
pub async fn serve_tenant(
    incoming: Incoming,
    plane: VaultsPlane,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let plane = Arc::new(plane);
    let vaults = VaultsServer::from_arc(Arc::clone(&plane))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let vaults = Direct::new(vaults, Arc::clone(&plane), FETCH_RUN, MESSAGE_BYTES_MAX, |plane, request| {
        Vaults::fetch_run(plane, request)
    });
    let vaults =
        Direct::taking(vaults, plane, UPLOAD, MESSAGE_BYTES_MAX, |plane, request| Box::pin(plane.take_upload(request)));
    let connections = incoming.into_stream().map(|accepted| accepted.map(Served));
    outside().add_service(vaults).serve_with_incoming_shutdown(connections, stop).await
}

/// Serves strangers until `stop`, then waits for calls under way.
pub async fn serve_enrolment(
    incoming: Incoming<Doorstep>,
    plane: EnrolmentPlane,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let enrolment = EnrolmentServer::new(plane)
        .max_decoding_message_size(STRANGERS_BYTES_MAX)
        .max_encoding_message_size(OPERATOR_MESSAGE_BYTES_MAX);
    let connections = incoming.into_stream().map(|stranger| stranger.map(Guest));
    outside()
        .max_concurrent_streams(STRANGERS_STREAMS_MAX)
        .max_connection_age(STRANGERS_AGE_MAX)
        .add_service(enrolment)
        .serve_with_incoming_shutdown(connections, stop)
        .await
}

/// Serves nodes that ask a CA process, until `stop`.
pub async fn serve_authority(
    incoming: Incoming,
    plane: AuthorityPlane,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let authority = AuthorityServer::new(plane)
        .max_decoding_message_size(STRANGERS_BYTES_MAX)
        .max_encoding_message_size(STRANGERS_BYTES_MAX);
    let connections = incoming.into_stream().map(|accepted| accepted.map(Served));
    outside().add_service(authority).serve_with_incoming_shutdown(connections, stop).await
}

/// Serves the operator plane until `stop`, then waits for calls under way.
pub async fn serve_operator(
    incoming: Incoming,
    plane: OperatorsPlane,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let operators = OperatorsServer::new(plane)
        .max_decoding_message_size(OPERATOR_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(OPERATOR_MESSAGE_BYTES_MAX);
    let connections = incoming.into_stream().map(|accepted| accepted.map(Served));
    outside().add_service(operators).serve_with_incoming_shutdown(connections, stop).await
}

/// Serves the peer plane until `stop`. Peers' streams do not end by themselves: the connections are dropped then. Two
/// futures: what must not wait for bulk, to be run on the control runtime, and fragments, to be run on the bulk runtime.
pub fn serve_peer<S>(incoming: Incoming, calls: Arc<dyn Calls>, stop: impl Fn() -> S) -> (Serving, Serving)
where
    S: Future<Output = ()> + Send + 'static,
{
    let (sorter, control, bulk) = Sorter::new(incoming);
    let bulk = between_nodes(bulk, Arc::clone(&calls), stop());
    let control = between_nodes(control, calls, stop());
    let control = async move {
        tokio::select! {
            biased;
            ended = control => ended,
            () = sorter.run() => Ok(()),
        }
    };
    (Box::pin(control), Box::pin(bulk))
}

async fn between_nodes(
    connections: Sorted,
    calls: Arc<dyn Calls>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .max_concurrent_streams(PEER_STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_WITHIN))
        .add_service(peers_service(calls))
        .serve_with_incoming(connections);
    tokio::select! {
        biased;
        () = stop => Ok(()),
        ended = server => ended,
    }
}

/// A plane on which people and machines from outside call.
fn outside() -> Server<Stack<RightCodes, Identity>> {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .concurrency_limit_per_connection(CALLS_MAX)
        .timeout(ANSWER_WITHIN)
        .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_WITHIN))
        .max_connection_age(CONNECTION_AGE_MAX)
        .max_connection_age_grace(CONNECTION_GRACE)
        .layer(RightCodes::new(too_long::response))
}
