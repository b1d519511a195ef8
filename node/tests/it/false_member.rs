//! A false member: it has a member's key and address, says that it is well, and answers every request for a fragment
//! with other bytes.
//!
//! ```text
//!   honest node ──mTLS (a node's name)──▶ FalseMember: Ping: I am well · Raft: refused · GetFragments: lies
//! ```
//!
//! Not here: a node that lies to clients (`liar.rs`), damage that an honest member finds on its own disk (`losses.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use rcgen::ExtendedKeyUsagePurpose;
use strongroom_format::id::BlobId;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::peers_server::{Peers, PeersServer};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status, Streaming};

use crate::bearer::{Authority, uri};
use crate::cluster::{Cluster, DevNode};
use crate::liar::{Caller, server_config};
use crate::trees::noise;

/// What a fragment of a blob looks like from outside: the blob's length, and the fragment's.
pub type Shape = (u32, u32);

/// A false member. Dropping it closes its port.
pub struct FalseMember {
    asked: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl FalseMember {
    /// Takes the place of a node that does not run. Of blobs whose shape it knows it makes fragments of the right length.
    pub async fn in_place_of(cluster: &Cluster, node: &DevNode, shapes: BTreeMap<BlobId, Shape>) -> Self {
        let name = format!("spiffe://{}/node/{}/{}", cluster.name, node.region, node.name);
        let presented = Authority::of_plane(cluster, "peer").craft(|params| {
            params.subject_alt_names = vec![uri(&name)];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        let listener = TcpListener::bind(node.peer).await.expect("whoever had this port has ended");
        let tls = TlsAcceptor::from(Arc::new(server_config(presented)));
        let asked = Arc::new(AtomicU64::new(0));
        let lies = Lies { name: node.name.clone(), shapes, asked: Arc::clone(&asked) };
        let incoming = futures_util::stream::unfold((listener, tls), |(port, tls)| async {
            loop {
                let (tcp, _) = port.accept().await.expect("the port is ours");
                let Ok(mut stream) = tls.accept(tcp).await else { continue };
                // Between nodes the first byte says what the connection is for.
                if stream.read_u8().await.is_ok() {
                    return Some((Ok::<_, std::io::Error>(Caller(stream)), (port, tls)));
                }
            }
        });
        let served = tonic::transport::Server::builder()
            .add_service(PeersServer::new(lies).max_encoding_message_size(64 << 20))
            .serve_with_incoming(Box::pin(incoming));
        let serving = tokio::spawn(async move { served.await.expect("it serves") });
        Self { asked, serving }
    }

    /// For how many fragments it was asked.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for FalseMember {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Lies {
    name: String,
    shapes: BTreeMap<BlobId, Shape>,
    asked: Arc<AtomicU64>,
}

fn no() -> Status {
    Status::unavailable("not now")
}

#[tonic::async_trait]
impl Peers for Lies {
    type RaftStream = BoxStream<'static, Result<pb::RaftFrame, Status>>;
    type PutFragmentsStream = BoxStream<'static, Result<pb::PutFragmentAck, Status>>;
    type GetFragmentsStream = BoxStream<'static, Result<pb::Fragment, Status>>;

    async fn raft(&self, request: Request<Streaming<pb::RaftFrame>>) -> Result<Response<Self::RaftStream>, Status> {
        let refused = request.into_inner().map(|frame| {
            let frame = frame?;
            let (from, to) = (frame.to, frame.from);
            Ok(pb::RaftFrame { from, to, kind: 0, body: Bytes::new(), refused: "not now".into(), ..frame })
        });
        Ok(Response::new(refused.boxed()))
    }

    async fn propose(&self, _: Request<pb::ProposeRequest>) -> Result<Response<pb::ProposeReply>, Status> {
        Err(no())
    }

    async fn query(&self, _: Request<pb::QueryRequest>) -> Result<Response<pb::QueryReply>, Status> {
        Err(no())
    }

    async fn sign_checkpoint(
        &self,
        _: Request<pb::SignCheckpointRequest>,
    ) -> Result<Response<pb::SignCheckpointReply>, Status> {
        Err(no())
    }

    async fn sign_claims(&self, _: Request<pb::SignClaimsRequest>) -> Result<Response<pb::SignClaimsReply>, Status> {
        Err(no())
    }

    async fn put_fragments(
        &self,
        _: Request<Streaming<pb::PutFragment>>,
    ) -> Result<Response<Self::PutFragmentsStream>, Status> {
        Err(no())
    }

    async fn get_fragments(
        &self,
        request: Request<pb::GetFragmentsRequest>,
    ) -> Result<Response<Self::GetFragmentsStream>, Status> {
        let wanted = request.into_inner().wanted;
        self.asked.fetch_add(wanted.len() as u64, Ordering::SeqCst);
        let lie = |(at, wanted): (u32, pb::WantedFragment)| {
            let blob = BlobId::from_slice(&wanted.blob).expect("a blob's id");
            let (blob_bytes, bytes) = self.shapes.get(&blob).copied().unwrap_or((1000, 512));
            let payload = noise(&format!("a lie about {blob} {}", wanted.index), bytes as usize);
            // Every second one hashes to what it says, as another blob's fragment would.
            let payload_hash = match at % 2 {
                0 => *blake3::hash(&payload).as_bytes(),
                _ => [7; 32],
            };
            let payload_hash = Bytes::copy_from_slice(&payload_hash);
            Ok(pb::Fragment { at, code: 0, blob_bytes, payload_hash, payload: payload.into() })
        };
        let lies: Vec<_> = (0..).zip(wanted).map(lie).collect();
        Ok(Response::new(futures_util::stream::iter(lies).boxed()))
    }

    async fn ping(&self, _: Request<pb::PingRequest>) -> Result<Response<pb::PingReply>, Status> {
        Ok(Response::new(pb::PingReply { node: self.name.clone(), version: "1".into() }))
    }

    async fn known(&self, _: Request<pb::KnownRequest>) -> Result<Response<pb::KnownReply>, Status> {
        Err(no())
    }

    async fn report(&self, _: Request<pb::ReportRequest>) -> Result<Response<pb::ReportReply>, Status> {
        Err(no())
    }
}
