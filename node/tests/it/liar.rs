//! A node that lies: it proves itself as a node of the cluster, passes on what the SDK asks to an honest one, and answers
//! some of it with what it likes.
//!
//! ```text
//!   SDK ──TLS (a node's name)──▶ Liar ──mTLS (the SDK's own certificate)──▶ honest node
//!          hidden, old, made up ◀──┘     every address that the honest node names is the liar's;
//!                                        or only the honest node's own, where one of many lies
//! ```
//!
//! Not here: what the SDK must make of it (`lies.rs`, `lying_member.rs`); nodes that store badly (`losses.rs`).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use prost::Message as _;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use strongroom::client::Client;
use strongroom_format::id::SnapshotId;
use strongroom_proto::v1 as pb;
use strongroom_proto_identity::tls::certificates_from_pem;
use strongroom_proto_identity::verify::provider;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::transport::Channel;
use tonic::transport::server::Connected;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::bearer::{Authority, Bearer, Door, uri};
use crate::cluster::Cluster;
use crate::raw::Raw;
use crate::shared::client_with;
use crate::speaker::channel;

/// No message is longer.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What becomes of a message: the messages that are sent in its place.
pub type Distortion = fn(Vec<u8>) -> Vec<Vec<u8>>;

/// A lying node. It lies for as long as the runtime of its test runs.
#[derive(Clone)]
pub struct Liar(Arc<Inner>);

struct Inner {
    at: SocketAddr,
    /// The address of the honest node.
    before: SocketAddr,
    honest: Channel,
    lies: Mutex<Lies>,
}

#[derive(Default)]
struct Lies {
    /// The last honest answer of each call.
    kept: BTreeMap<String, Vec<u8>>,
    /// What is answered whatever is asked.
    answers: BTreeMap<String, Vec<u8>>,
    /// Snapshots that are not there.
    hidden: Vec<SnapshotId>,
    /// The other members are honest, and one may ask them.
    is_alone: bool,
    /// What becomes of each message of a call.
    distortions: BTreeMap<String, Distortion>,
    /// How many messages were distorted.
    distorted: u64,
}

impl Liar {
    /// Between the first node and whoever has this certificate.
    pub async fn before(cluster: &Cluster, bearer: &Bearer) -> Self {
        let node = &cluster.nodes[0];
        let name = format!("spiffe://{}/node/{}/{}", cluster.name, node.region, node.name);
        let presented = Authority::of_plane(cluster, "tenant").craft(|params| {
            params.subject_alt_names = vec![uri(&name)];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        let config = server_config(presented);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("an address");
        let honest = channel(cluster, node, Door::Tenant, bearer).await;
        let liar = Self(Arc::new(Inner { at, before: node.tenant, honest, lies: Mutex::default() }));
        let incoming =
            futures_util::stream::unfold((listener, TlsAcceptor::from(Arc::new(config))), |(port, tls)| async {
                loop {
                    let (tcp, _) = port.accept().await.expect("the port is ours");
                    if let Ok(stream) = tls.accept(tcp).await {
                        return Some((Ok::<_, std::io::Error>(Caller(stream)), (port, tls)));
                    }
                }
            });
        let server = tonic::transport::Server::builder().add_service(liar.clone());
        tokio::spawn(server.serve_with_incoming(Box::pin(incoming)));
        liar
    }

    /// The SDK with a profile, as it would be if this were the only node that it knows; it has seen nothing yet.
    pub async fn client(&self, cluster: &Cluster, profile: &str) -> Client {
        let home = cluster.scratch();
        let text = fs::read_to_string(cluster.directory().join("profiles").join(format!("{profile}.toml")));
        let line = |line: &str| match line.split(' ').next() {
            Some("endpoints") => format!("endpoints = [\"{}\"]", self.0.at),
            Some("state") => format!("state = \"{}\"", home.join("state").display()),
            _ => line.to_owned(),
        };
        let lines: Vec<String> = text.expect("a profile").lines().map(line).collect();
        let file: PathBuf = home.join("profile.toml");
        fs::write(&file, lines.join("\n")).expect("a profile can be written");
        client_with(&file).await
    }

    /// What a call was answered last, honestly.
    pub fn kept(&self, call: &str) -> Vec<u8> {
        self.lies().kept.get(call).unwrap_or_else(|| panic!("{call} was answered before")).clone()
    }

    /// Answers a call in this way, whatever is asked.
    pub fn answer(&self, call: &str, with: Vec<u8>) {
        self.lies().answers.insert(call.to_owned(), with);
    }

    /// Hides a snapshot wherever one looks for it.
    pub fn hide(&self, snapshot: SnapshotId) {
        self.lies().hidden.push(snapshot);
    }

    /// From now on the other members' addresses are their own: this one lies alone.
    pub fn is_alone(&self) {
        self.lies().is_alone = true;
    }

    /// Sends something else in place of each message of a call, and counts from nothing how often it did.
    pub fn distort(&self, call: &str, how: Distortion) {
        let mut lies = self.lies();
        lies.distortions.insert(call.to_owned(), how);
        lies.distorted = 0;
    }

    /// How many messages were distorted.
    pub fn distorted(&self) -> u64 {
        self.lies().distorted
    }

    /// Stops lying.
    pub fn repent(&self) {
        let mut lies = self.lies();
        lies.answers.clear();
        lies.hidden.clear();
        lies.distortions.clear();
    }

    fn lies(&self) -> MutexGuard<'_, Lies> {
        self.0.lies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is said in place of an honest message.
    fn says(&self, call: &str, message: Result<Vec<u8>, Status>) -> Vec<Result<Vec<u8>, Status>> {
        let message = message.and_then(|message| self.said(call, message));
        let distorted = message.map(|message| {
            let mut lies = self.lies();
            match lies.distortions.get(call).copied() {
                Some(distortion) => {
                    lies.distorted += 1;
                    distortion(message)
                }
                None => vec![message],
            }
        });
        match distorted {
            Ok(messages) => messages.into_iter().map(Ok).collect(),
            Err(status) => vec![Err(status)],
        }
    }

    /// What is said in place of an honest answer.
    fn said(&self, call: &str, honest: Vec<u8>) -> Result<Vec<u8>, Status> {
        let mut lies = self.lies();
        lies.kept.insert(call.to_owned(), honest.clone());
        if let Some(answer) = lies.answers.get(call) {
            return Ok(answer.clone());
        }
        let hidden = lies.hidden.clone();
        let is_hidden = |id: &[u8]| hidden.iter().any(|snapshot| snapshot.as_bytes() == id);
        let reads = "an honest node's answer reads";
        match call {
            "Topology" => {
                let mut reply = pb::TopologyReply::decode(&honest[..]).expect(reads);
                let own = self.0.before.to_string();
                let members = reply.shards.iter_mut().flat_map(|shard| &mut shard.members);
                let known = members.filter(|member| !lies.is_alone || member.endpoint == own);
                known.for_each(|member| member.endpoint = self.0.at.to_string());
                Ok(reply.encode_to_vec())
            }
            "ListSnapshots" => {
                let mut reply = pb::ListSnapshotsReply::decode(&honest[..]).expect(reads);
                reply.snapshots.retain(|snapshot| !is_hidden(&snapshot.id));
                Ok(reply.encode_to_vec())
            }
            "GetSnapshot" => {
                let reply = pb::GetSnapshotReply::decode(&honest[..]).expect(reads);
                match reply.snapshot.is_some_and(|snapshot| is_hidden(&snapshot.id)) {
                    false => Ok(honest),
                    true => {
                        let mut status = Status::new(Code::NotFound, "NOT_FOUND: there is no such thing");
                        status.metadata_mut().insert("strongroom-reason", MetadataValue::from_static("NOT_FOUND"));
                        Err(status)
                    }
                }
            }
            _ => Ok(honest),
        }
    }
}

impl NamedService for Liar {
    const NAME: &'static str = "strongroom.v1.Vaults";
}

impl tower::Service<http::Request<Body>> for Liar {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let passing = Passing { liar: self.clone(), path: request.uri().path().to_owned() };
        Box::pin(async move {
            let sizes = Some(MESSAGE_BYTES_MAX);
            Ok(Grpc::new(Raw).apply_max_message_size_config(sizes, sizes).streaming(passing, request).await)
        })
    }
}

/// One call on its way.
struct Passing {
    liar: Liar,
    path: String,
}

impl StreamingService<Vec<u8>> for Passing {
    type Response = Vec<u8>;
    type ResponseStream = BoxStream<'static, Result<Vec<u8>, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Vec<u8>>>) -> Self::Future {
        let (liar, path) = (self.liar.clone(), self.path.clone());
        Box::pin(async move {
            // What the caller breaks off ends there too.
            let asked = request.into_inner().filter_map(|message| std::future::ready(message.ok()));
            let mut honest = tonic::client::Grpc::new(liar.0.honest.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            honest.ready().await.map_err(|fault| Status::unavailable(fault.to_string()))?;
            let call = path.rsplit('/').next().unwrap_or_default().to_owned();
            let at = path.parse().map_err(|_| Status::unimplemented("no path"))?;
            let answered = honest.streaming(Request::new(asked), at, Raw).await?.into_inner();
            let said = answered.flat_map(move |message| futures_util::stream::iter(liar.says(&call, message)));
            Ok(Response::new(said.boxed()))
        })
    }
}

/// TLS that shows this certificate to whoever connects, and asks nobody for one.
pub fn server_config(presented: Bearer) -> ServerConfig {
    let (chain, key) = presented.into_pem();
    let chain = certificates_from_pem(chain.as_bytes()).expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider speaks TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// A connection as tonic wants to see it.
pub struct Caller(pub TlsStream<TcpStream>);

impl Connected for Caller {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Caller {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Caller {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
