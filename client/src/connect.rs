//! Connections to the cluster's nodes: mutual TLS by our own connector, several nodes, failover until a deadline.
//!
//! Promises: a node is who its SPIFFE id says, whatever address was dialled; a request that changes something is sent
//! again only in a form that cannot be executed twice (the caller's part: `session.rs`); whoever does not answer is
//! asked last for a while. Not here: what is asked.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use rustls::CertificateError;
use rustls_pki_types::ServerName;
use strongroom_proto::payload::{self, Incoming};
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::operators_client::OperatorsClient;
use strongroom_proto::v1::vaults_client::VaultsClient;
use strongroom_proto_identity::certificate::Purpose;
use strongroom_proto_identity::tls::{Credentials, client_config, read_certificates};
use strongroom_proto_identity::verify::{Anchors, ExpectedNode, NodeVerifier};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::error::{Answered, Error, Result, answered, is_told};
use crate::keyring;
use crate::profile::{ClusterSection, Profile};

/// What one stream may have in flight towards us: long links need fixed windows. Six members fill 120 MB/s at 100 ms; what is in
/// flight when a restore is killed was sent in vain.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// What one connection may have in flight.
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;
/// Larger frames cost less.
const FRAME_BYTES: u32 = 1 << 20;
/// No message of either direction is larger.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// A node that takes longer to connect to is passed over.
const CONNECT: Duration = Duration::from_secs(3);
/// A node that takes longer for a call is passed over; entries wait for an election no longer than this.
const ATTEMPT: Duration = Duration::from_secs(15);
/// How long a node that failed is asked last.
const SUSPECT: Duration = Duration::from_secs(5);
/// Pause after all nodes failed once.
const PAUSE: Duration = Duration::from_millis(150);

/// Until when something is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    pub(crate) fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    /// Whether it has passed.
    pub(crate) fn is_over(self) -> bool {
        self.0 <= Instant::now()
    }

    /// The same moment for timers.
    pub(crate) fn instant(self) -> Instant {
        self.0
    }
}

/// What is known of one listener.
struct Node {
    channel: Channel,
    /// Runs come by a connection of their own. Blobs that nobody reads yet fill its window; what they wait for, the key of
    /// one of them, must not have to come through it.
    runs: Channel,
    suspect_until: Option<Instant>,
}

/// The listeners of one plane.
pub(crate) struct Nodes {
    tls: TlsConnector,
    seeds: Vec<String>,
    nodes: Mutex<BTreeMap<String, Node>>,
}

/// The certificate and TLS key of a profile.
pub(crate) fn credentials(profile: &Profile) -> Result<Credentials> {
    let (certificate, key) = (&profile.identity.certificate, &profile.identity.key);
    Credentials::read(certificate, key, Purpose::Client)
        .map_err(|fault| keyring::credentials_in(certificate, Some(key), fault))
}

impl Nodes {
    /// The nodes of a profile's cluster. Dials nobody yet.
    pub(crate) fn of(profile: &Profile, credentials: &Credentials) -> Result<Self> {
        let ClusterSection { name, endpoints, roots } = &profile.cluster;
        let certificates = read_certificates(roots).map_err(|fault| keyring::credentials_in(roots, None, fault))?;
        let anchors = Anchors::read(&certificates).map_err(|fault| {
            Error::refused("FAILED_PRECONDITION", "ROOTS", fault, "check cluster.roots in the profile")
        })?;
        let tls = client_config(NodeVerifier::new(anchors, name.0.clone(), ExpectedNode::Any), credentials);
        Ok(Self { tls: TlsConnector::from(Arc::new(tls)), seeds: endpoints.clone(), nodes: Mutex::default() })
    }

    /// The endpoints to try, in order: the preferred ones, then the seeds; those that failed lately last, and of these
    /// the one first whose failure is longest ago. So whoever notes failures and takes the first tries all in turn.
    pub(crate) fn in_order(&self, preferred: &[String]) -> Vec<String> {
        let now = Instant::now();
        let nodes = self.lock();
        let mut order: Vec<String> = Vec::new();
        for endpoint in preferred.iter().chain(&self.seeds) {
            if !order.contains(endpoint) {
                order.push(endpoint.clone());
            }
        }
        order.sort_by_key(|endpoint| {
            nodes.get(endpoint).and_then(|node| node.suspect_until).filter(|until| now < *until)
        });
        order
    }

    /// Notes that a node failed.
    pub(crate) fn suspect(&self, endpoint: &str) {
        if let Some(node) = self.lock().get_mut(endpoint) {
            node.suspect_until = Some(Instant::now() + SUSPECT);
        }
    }

    /// Notes that a node answered.
    pub(crate) fn answered(&self, endpoint: &str) {
        if let Some(node) = self.lock().get_mut(endpoint) {
            node.suspect_until = None;
        }
    }

    /// Whether a node failed lately.
    pub(crate) fn is_suspect(&self, endpoint: &str) -> bool {
        let until = self.lock().get(endpoint).and_then(|node| node.suspect_until);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// A client of the tenant plane at one endpoint.
    pub(crate) fn vaults(&self, endpoint: &str) -> Result<VaultsClient<Channel>> {
        Ok(VaultsClient::new(self.channel(endpoint)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Opens a run at one endpoint.
    pub(crate) async fn fetch_run(
        &self,
        endpoint: &str,
        request: &pb::FetchRunRequest,
    ) -> Result<std::result::Result<Incoming<pb::FetchRunReply>, Status>> {
        let channel = self.connection(endpoint, |node| &node.runs)?;
        Ok(payload::call(&channel, "/strongroom.v1.Vaults/FetchRun", request, MESSAGE_BYTES_MAX).await)
    }

    /// Opens an upload at one endpoint.
    pub(crate) async fn upload(
        &self,
        endpoint: &str,
        requests: mpsc::Receiver<pb::UploadRequest>,
    ) -> Result<std::result::Result<Incoming<pb::UploadReply>, Status>> {
        let channel = self.channel(endpoint)?;
        let requests = ReceiverStream::new(requests);
        Ok(payload::dialogue(&channel, "/strongroom.v1.Vaults/Upload", requests, MESSAGE_BYTES_MAX).await)
    }

    /// A client of the operator plane at one endpoint.
    pub(crate) fn operators(&self, endpoint: &str) -> Result<OperatorsClient<Channel>> {
        Ok(OperatorsClient::new(self.channel(endpoint)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Calls nodes in turn until one answers or the deadline passes. The call must be harmless to repeat.
    ///
    /// # Errors
    /// The first refusal; `Unavailable` after the deadline, or `Unknown` if one of the attempts may have had an effect
    /// and `effect` says that the call has one.
    pub(crate) async fn call<T, F>(
        &self,
        preferred: &[String],
        deadline: Deadline,
        effect: Effect,
        call: impl Fn(String) -> F,
    ) -> Result<T>
    where
        F: Future<Output = std::result::Result<tonic::Response<T>, Status>>,
    {
        let mut perhaps_done = false;
        let (mut last, mut told) = (String::new(), None);
        loop {
            for endpoint in self.in_order(preferred) {
                let until = deadline.instant().min(Instant::now() + ATTEMPT);
                let answer = tokio::time::timeout_at(until, call(endpoint.clone())).await;
                let was_cut_short = answer.is_err() && deadline.is_over();
                let status = match answer {
                    Ok(Ok(response)) => {
                        self.answered(&endpoint);
                        return Ok(response.into_inner());
                    }
                    Ok(Err(status)) => status,
                    Err(_elapsed) => Status::new(Code::DeadlineExceeded, "no answer in time"),
                };
                if let Some(refused) = turned_away(&status) {
                    return Err(given_up(refused, effect, perhaps_done));
                }
                let text = match answered(&status) {
                    Answered::No(error) => return Err(given_up(error, effect, perhaps_done)),
                    Answered::NotNow(text) => text,
                    Answered::Perhaps(text) => {
                        perhaps_done = true;
                        text
                    }
                };
                tracing::debug!(%endpoint, text, "a node did not answer");
                self.suspect(&endpoint);
                let text = format!("{endpoint}: {text}");
                if is_told(&status) {
                    told = Some(text.clone());
                }
                // What was heard before says more than that time ran out.
                if !was_cut_short || last.is_empty() {
                    last = text;
                }
                if deadline.is_over() {
                    break;
                }
            }
            if deadline.is_over() {
                // What a node said says more than that another could not be reached.
                let message = told.unwrap_or(last);
                return Err(match effect {
                    Effect::Changes if perhaps_done => Error::Unknown { message },
                    Effect::Changes | Effect::None => Error::Unavailable { message },
                });
            }
            tokio::time::sleep_until(deadline.instant().min(Instant::now() + PAUSE)).await;
        }
    }

    fn channel(&self, endpoint: &str) -> Result<Channel> {
        self.connection(endpoint, |node| &node.channel)
    }

    /// One of the connections to an endpoint; each is opened when it is first used.
    fn connection(&self, endpoint: &str, which: impl Fn(&Node) -> &Channel) -> Result<Channel> {
        let mut nodes = self.lock();
        if let Some(node) = nodes.get(endpoint) {
            return Ok(which(node).clone());
        }
        let node = Node { channel: self.dial(endpoint)?, runs: self.dial(endpoint)?, suspect_until: None };
        let channel = which(&node).clone();
        nodes.insert(endpoint.to_owned(), node);
        Ok(channel)
    }

    fn dial(&self, endpoint: &str) -> Result<Channel> {
        over_tls(endpoint, &self.tls, |endpoint| {
            endpoint
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .max_frame_size(FRAME_BYTES)
                .connect_timeout(CONNECT)
                .http2_keep_alive_interval(Duration::from_secs(5))
                .keep_alive_timeout(Duration::from_secs(10))
                .keep_alive_while_idle(true)
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection over TLS that is opened when it is first used.
pub(crate) fn over_tls(
    endpoint: &str,
    tls: &TlsConnector,
    shape: impl FnOnce(Endpoint) -> Endpoint,
) -> Result<Channel> {
    let (tls, address) = (tls.clone(), endpoint.to_owned());
    let connector = tower::service_fn(move |_: http::Uri| {
        let (tls, address) = (tls.clone(), address.clone());
        async move {
            let tcp = TcpStream::connect(&address).await?;
            tcp.set_nodelay(true)?;
            // The name only fills the protocol's field: the verifier reads the SPIFFE id and nothing else.
            let name = ServerName::try_from("strongroom").expect("a valid DNS name");
            tls.connect(name, tcp).await.map(TokioIo::new)
        }
    });
    let shared = Endpoint::from_shared(Bytes::from(format!("http://{endpoint}")))
        .map_err(|cause| Error::failed(format_args!("{endpoint} is no endpoint"), cause))?;
    Ok(shape(shared).connect_with_connector_lazy(connector))
}

/// Whether a call changes something, so that silence leaves its outcome unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only reads.
    None,
    /// It proposes something.
    Changes,
}

/// What a refusal says of a call whose earlier attempt may have had an effect: nothing. The rules' own refusals come as
/// outcomes, which are of all attempts together; a door speaks of the last one only.
fn given_up(refused: Error, effect: Effect, perhaps_done: bool) -> Error {
    match effect {
        Effect::Changes if perhaps_done => Error::Unknown { message: refused.to_string() },
        Effect::Changes | Effect::None => refused,
    }
}

/// The refusal, if a status comes from a handshake that the node ended with an alert: trying elsewhere would not help.
pub(crate) fn turned_away(status: &Status) -> Option<Error> {
    let mut cause: Option<&(dyn StdError + 'static)> = status.source();
    while let Some(error) = cause {
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner.or_else(|| error.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(alert)) => {
                return Some(alert_received(&format!("{alert:?}")));
            }
            Some(rustls::Error::InvalidCertificate(fault)) => return Some(no_node(fault)),
            Some(_) | None => {}
        }
        // HTTP/2 keeps the text of what ended the connection, and nothing else of it.
        if let Some((_, alert)) = error.to_string().split_once("received fatal alert: ") {
            return Some(alert_received(alert));
        }
        cause = error.source();
    }
    None
}

/// What is wrong with a node's certificate, and whose fault that may be: where it is about time, perhaps this machine's.
fn no_node(fault: &CertificateError) -> Error {
    let no_node = format!("whoever answers is no node of this cluster: {fault:?}");
    let (message, next) = match fault {
        CertificateError::Expired => (
            "by this machine's clock the certificate of whoever answers has expired".to_owned(),
            "set this machine's clock right; if it is, have the operator look at the node (strongroomd doctor)",
        ),
        CertificateError::NotValidYet => (
            "by this machine's clock the certificate of whoever answers is not valid yet".to_owned(),
            "set this machine's clock right; if it is, have the operator look at the node (strongroomd doctor)",
        ),
        CertificateError::Revoked => (no_node, "somebody uses a certificate that was taken back: tell the operator"),
        _ => (no_node, "check cluster.name, cluster.roots and the endpoints of the profile"),
    };
    Error::refused("UNAUTHENTICATED", "NODE_IDENTITY", message, next)
}

fn alert_received(alert: &str) -> Error {
    Error::refused(
        "UNAUTHENTICATED",
        "TLS",
        format_args!("the node turned the certificate away: {alert}"),
        "check the profile's certificate: its issuer, its end, its tenant, its plane",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_is_not_called_another_cluster() {
        for fault in [CertificateError::Expired, CertificateError::NotValidYet] {
            let error = no_node(&fault).to_string();
            assert!(error.contains("this machine's clock") && !error.contains("no node"), "{error}");
        }
        assert!(no_node(&CertificateError::UnknownIssuer).to_string().contains("no node of this cluster"));
    }

    #[test]
    fn a_refusal_after_an_attempt_that_perhaps_had_an_effect_is_no_refusal() {
        let given_up = |effect, perhaps_done| given_up(alert_received("CertificateExpired"), effect, perhaps_done);
        assert!(matches!(given_up(Effect::Changes, true), Error::Unknown { message } if message.contains("TLS")));
        assert!(matches!(given_up(Effect::Changes, false), Error::Refused { .. }));
        assert!(matches!(given_up(Effect::None, true), Error::Refused { .. }));
    }
}
