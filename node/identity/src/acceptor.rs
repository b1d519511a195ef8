//! A listener of one plane: TLS handshakes, each in a task of its own, with a deadline and a bound.
//!
//! ```text
//!   port ─▶ room for one more? ─▶ handshake (task, deadline) ─▶ Accepted { stream, peer }
//!             no: the port waits      refused: alert, then closed gently
//! ```
//!
//! Promises: no half-open or slow handshake holds others up for longer than the deadline; a shortage of file descriptors
//! ends nothing; nobody is let in on a resumed session, since there are none; an unknown caller learns nothing but an
//! alert (no names of issuers, which would be names of tenants).
//!
//! Not here: HTTP/2, maximum age of connections (whoever serves asks [`Peer::age`]).

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::BoxFuture;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use strongroom_format::role::Plane;
use strongroom_host::Host;
use strongroom_host::connections::{ByteStream, Connection, Listener};
use strongroom_proto_identity::certificate::{Leaf, LeafFault, Purpose};
use strongroom_proto_identity::spiffe::SpiffeId;
use strongroom_proto_identity::tls::ALPN;
use strongroom_proto_identity::verify::{Refused, algorithms, only_tls13, provider};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::{Id, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::issuers::Issuers;
use crate::metrics::{Ended, handshake};
use crate::peer::{Introduction, Peer};
use crate::reload::Presented;
use crate::time::HostTime;

/// How long the port rests when the system has no descriptors left.
const PORT_REST: Duration = Duration::from_millis(50);
/// How much of what a refused caller still sends is read, so that closing does not reset the alert away.
const FAREWELL_BYTES_MAX: u64 = 64 * 1024;
/// For how long.
const FAREWELL: Duration = Duration::from_secs(1);
/// At most one line about refused handshakes in this time: they are noise that anybody can make.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Bounds of handshakes on one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// A handshake that takes longer is given up.
    pub deadline: Duration,
    /// So many at once; while there are more, the port waits.
    pub at_once_max: usize,
    /// So many at once from one address; more are closed unheard, so that one address cannot fill the others' places.
    pub at_once_per_address_max: usize,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(10), at_once_max: 512, at_once_per_address_max: 256 }
    }
}

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeFault {
    /// TLS failed or the certificate was refused; the other side got an alert.
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    /// It took longer than the deadline.
    #[error("the TLS handshake took too long")]
    Deadline,
    /// The other side does not speak HTTP/2 by name.
    #[error("the other side did not offer h2")]
    Protocol,
    /// The caller may not come in here; on simulated connections, which have no alert.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// How one listener judges whoever connects.
#[derive(Clone)]
pub struct Acceptor {
    host: Host,
    plane: Plane,
    issuers: Issuers,
    tls: TlsAcceptor,
    limits: HandshakeLimits,
}

impl Acceptor {
    /// For one plane, presenting credentials that are made for a server.
    pub fn new(
        host: &Host,
        plane: Plane,
        credentials: impl Into<Presented>,
        issuers: &Issuers,
        limits: HandshakeLimits,
    ) -> Self {
        let verifier = CallerVerifier { plane, issuers: issuers.clone(), algorithms: algorithms() };
        let config = server_config(host, Arc::new(verifier), credentials.into());
        Self { host: host.clone(), plane, issuers: issuers.clone(), tls: TlsAcceptor::from(Arc::new(config)), limits }
    }

    /// One handshake. Cancelling it closes the connection.
    pub async fn accept(&self, connection: Connection) -> Result<Accepted, HandshakeFault> {
        let judged_by = self.issuers.version();
        let Connection { stream, peer: address, identity } = connection;
        let introduce = |id, not_after_unix_s, chain| {
            let plane = self.plane;
            let introduction = Introduction { plane, id, address, not_after_unix_s, chain, judged_by };
            Peer::new(introduction, self.issuers.clone(), self.host.clone())
        };
        if let Some(identity) = identity {
            let id: SpiffeId = identity.parse().map_err(|_| Refused::Leaf(LeafFault::Name))?;
            self.issuers.judge_name(self.plane, &id)?;
            return Ok(Accepted { stream: Inner::Plain(stream), peer: introduce(id, None, Vec::new()) });
        }
        let handshake = self.tls.accept(stream).into_fallible();
        let stream = match tokio::time::timeout(self.limits.deadline, handshake).await {
            Err(_elapsed) => return Err(HandshakeFault::Deadline),
            Ok(Err((cause, stream))) => {
                say_farewell(stream).await;
                return Err(HandshakeFault::Tls(cause));
            }
            Ok(Ok(stream)) => stream,
        };
        let (_, session) = stream.get_ref();
        if session.alpn_protocol() != Some(ALPN) {
            return Err(HandshakeFault::Protocol);
        }
        let chain: Vec<CertificateDer<'static>> = session
            .peer_certificates()
            .expect("client certificates are mandatory")
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        let leaf = Leaf::read(&chain[0], Purpose::Client).map_err(Refused::Leaf)?;
        let peer = introduce(leaf.id, Some(leaf.not_after_unix_s), chain);
        Ok(Accepted { stream: Inner::Tls(Box::new(stream)), peer })
    }

    /// Serves a port: all connections that got in, as they get in.
    #[must_use]
    pub fn serve(self, listener: Box<dyn Listener>) -> Incoming {
        Incoming::new(self, listener)
    }
}

impl Door for Acceptor {
    type In = Accepted;

    fn name(&self) -> &'static str {
        self.plane.as_str()
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn limits(&self) -> &HandshakeLimits {
        &self.limits
    }

    fn open(self: Arc<Self>, connection: Connection) -> BoxFuture<'static, Result<Accepted, HandshakeFault>> {
        Box::pin(async move { self.accept(connection).await })
    }
}

/// What every listener of ours does alike.
pub(crate) fn server_config(host: &Host, callers: Arc<dyn ClientCertVerifier>, presented: Presented) -> ServerConfig {
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(HostTime(host.clone())))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has cipher suites for TLS 1.3")
        .with_client_cert_verifier(callers)
        .with_cert_resolver(Arc::new(presented));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session copies the old chain without verifying it.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}

/// How a listener lets somebody in: this file's, and the doorstep's (`doorstep.rs`).
pub trait Door: Send + Sync + 'static {
    /// A connection that got in.
    type In: Send + 'static;

    /// For metrics and logs.
    fn name(&self) -> &'static str;

    /// The machine.
    fn host(&self) -> &Host;

    /// The bounds of its handshakes.
    fn limits(&self) -> &HandshakeLimits;

    /// One handshake. Cancelling it closes the connection.
    fn open(self: Arc<Self>, connection: Connection) -> BoxFuture<'static, Result<Self::In, HandshakeFault>>;
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("plane", &self.plane).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Lets the alert arrive: closing a socket with unread bytes in it resets the connection, and a reset can overtake the
/// alert.
pub(crate) async fn say_farewell(mut stream: Box<dyn ByteStream>) {
    let farewell = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(FAREWELL_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // Whatever happens now, the connection ends.
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

/// A served port. Dropping it closes the port and ends all handshakes.
pub struct Incoming<D: Door = Acceptor> {
    door: Arc<D>,
    listener: Box<dyn Listener>,
    handshakes: JoinSet<Result<D::In, HandshakeFault>>,
    /// Handshakes under way from each address.
    addresses: BTreeMap<IpAddr, usize>,
    of_task: BTreeMap<Id, IpAddr>,
    refused: RefusedReport,
}

impl<D: Door> Incoming<D> {
    pub(crate) fn new(door: D, listener: Box<dyn Listener>) -> Self {
        Self {
            door: Arc::new(door),
            listener,
            handshakes: JoinSet::new(),
            addresses: BTreeMap::new(),
            of_task: BTreeMap::new(),
            refused: RefusedReport::default(),
        }
    }

    /// The next connection that got in. Safe to cancel: what is under way goes on at the next call.
    pub async fn next(&mut self) -> D::In {
        loop {
            let room = self.handshakes.len() < self.door.limits().at_once_max;
            tokio::select! {
                Some(ended) = self.handshakes.join_next_with_id() => {
                    let task = match &ended {
                        Ok((task, _)) => *task,
                        Err(error) => error.id(),
                    };
                    self.leave(task);
                    match ended {
                        Ok((_, Ok(accepted))) => {
                            handshake(self.door.name(), Ended::Accepted);
                            return accepted;
                        }
                        Ok((_, Err(fault))) => self.report(&fault),
                        // The task is ours and nobody cancels it: a bug in a verifier, say. That connection is gone.
                        Err(error) => tracing::error!(%error, "a handshake panicked"),
                    }
                }
                connection = self.listener.accept(), if room => match connection {
                    Ok(connection) => self.enter(connection),
                    Err(error) => {
                        tracing::warn!(%error, plane = self.door.name(), "a connection could not be accepted");
                        tokio::time::sleep(PORT_REST).await;
                    }
                },
            }
        }
    }

    /// As a stream that never ends, for whoever serves HTTP/2.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<D::In>> + Send {
        futures_util::stream::unfold(self, |mut incoming| async move {
            let accepted = incoming.next().await;
            Some((Ok(accepted), incoming))
        })
    }

    fn enter(&mut self, connection: Connection) {
        let address = connection.peer.ip();
        let under_way = self.addresses.entry(address).or_default();
        if self.door.limits().at_once_per_address_max <= *under_way {
            handshake(self.door.name(), Ended::Crowded);
            return;
        }
        *under_way += 1;
        let task = self.handshakes.spawn(Arc::clone(&self.door).open(connection));
        self.of_task.insert(task.id(), address);
    }

    fn leave(&mut self, task: Id) {
        if let Some(address) = self.of_task.remove(&task)
            && let Some(under_way) = self.addresses.get_mut(&address)
        {
            *under_way -= 1;
            if *under_way == 0 {
                self.addresses.remove(&address);
            }
        }
    }

    fn report(&mut self, fault: &HandshakeFault) {
        let ended = match fault {
            HandshakeFault::Deadline => Ended::TooSlow,
            HandshakeFault::Tls(_) | HandshakeFault::Protocol | HandshakeFault::Refused(_) => Ended::Refused,
        };
        handshake(self.door.name(), ended);
        let now = self.door.host().clock().raw();
        self.refused.unreported += 1;
        if self.refused.next_report.is_some_and(|next| now < next) {
            return;
        }
        let why: &dyn fmt::Display = match fault {
            HandshakeFault::Tls(cause) => cause,
            other => other,
        };
        tracing::info!(plane = self.door.name(), count = self.refused.unreported, %why, "handshakes refused");
        self.refused = RefusedReport { unreported: 0, next_report: Some(now + REPORT_EVERY) };
    }
}

impl<D: Door> fmt::Debug for Incoming<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("door", &self.door.name())
            .field("handshakes", &self.handshakes.len())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct RefusedReport {
    unreported: u64,
    /// On the raw clock.
    next_report: Option<Duration>,
}

/// A connection that got in. It reads and writes plain bytes; vectored writes are forwarded.
#[derive(Debug)]
pub struct Accepted {
    stream: Inner,
    peer: Peer,
}

#[derive(Debug)]
enum Inner {
    /// Boxed: the session is large and moves often on its way to its task.
    Tls(Box<TlsStream<Box<dyn ByteStream>>>),
    Plain(Box<dyn ByteStream>),
}

impl Accepted {
    /// Who it is.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut (dyn ByteStream + 'static)> {
        match &mut self.get_mut().stream {
            Inner::Tls(stream) => Pin::new(&mut **stream),
            Inner::Plain(stream) => Pin::new(&mut **stream),
        }
    }
}

impl AsyncRead for Accepted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Inner::Tls(stream) => stream.is_write_vectored(),
            Inner::Plain(stream) => stream.is_write_vectored(),
        }
    }
}

/// rustls asks, the issuers answer.
#[derive(Debug)]
struct CallerVerifier {
    plane: Plane,
    issuers: Issuers,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for CallerVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// None: the subjects of issuers tell whoever connects which tenants there are.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.issuers.judge(self.plane, end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
