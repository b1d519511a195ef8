//! REFUSALS.md, "Protocol and load", against running nodes: bytes that are no messages, paths that are no calls, floods.
//! Each ends with a refusal, and the node serves others as before.
//!
//! Not here: buckets (N87), which do not exist yet; handshakes on a simulated port (`node/identity`).

use rustls::ClientConfig;
use strongroom_identity::admission::TABLE;
use strongroom_proto::v1 as pb;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::Code;
use tonic::transport::Channel;

use crate::bearer::{Bearer, Door, dial, tls};
use crate::cluster::{Cluster, PATIENCE};
use crate::raw::call;
use crate::shared::shared;
use crate::speaker::{No, Person, Speaker, channel, no};
use crate::trees::noise;

/// How the paths of the tenant plane begin.
const TENANTS_CALLS: &str = "/strongroom.v1.Vaults/";

fn bearer(cluster: &Cluster, identity: &str) -> Bearer {
    Person::founder(cluster, "initech", identity).bearer
}

async fn tenant_door(cluster: &Cluster, identity: &str) -> Channel {
    channel(cluster, &cluster.nodes[0], Door::Tenant, &bearer(cluster, identity)).await
}

/// While something goes on at a node, another tenant is served by it, call after call.
async fn others_go_on_during<T>(cluster: &Cluster, flood: impl Future<Output = T>) -> T {
    let others = Speaker::founder(cluster, "globex", "writer").await;
    let mut flood = std::pin::pin!(flood);
    let mut served = 0;
    let flooded = loop {
        let call = async {
            let mut vaults = others.vaults.clone();
            let listed = vaults.list_vaults(pb::ListVaultsRequest {}).await.expect("globex is served all the while");
            assert_eq!(listed.into_inner().vaults.len(), 2);
        };
        let mut call = std::pin::pin!(call);
        let ended = tokio::select! {
            ended = &mut flood => Some(ended),
            () = &mut call => None,
        };
        match ended {
            Some(ended) => {
                // The call under way is answered too.
                call.await;
                break ended;
            }
            None => served += 1,
        }
    };
    println!("{served} calls of another tenant were answered meanwhile");
    flooded
}

/// Somebody else is served by the same node.
async fn others_are_served(cluster: &Cluster) {
    let others = Speaker::founder(cluster, "globex", "writer").await;
    let listed = others.vaults.clone().list_vaults(pb::ListVaultsRequest {}).await.expect("globex is served");
    assert_eq!(listed.into_inner().vaults.len(), 2);
}

fn nothing_panicked(cluster: &Cluster) {
    assert!(!cluster.log().contains("panicked at"), "a node has panicked");
}

#[tokio::test(flavor = "multi_thread")]
async fn n81_bytes_that_are_no_message_are_invalid_and_never_a_panic() {
    let cluster = shared();
    let doors = [tenant_door(cluster, "writer").await, tenant_door(cluster, "restorer").await];
    // A field of any claimed length, groups within groups, a varint without end, lengths that overflow.
    let mut bodies = vec![
        vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        vec![0x0b; 100_000],
        vec![0xff; 64],
        vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
        [0x0a, 0x82, 0x01].repeat(40_000),
    ];
    bodies.extend((0..12_u8).map(|n| noise(&format!("n81 {n}"), 1 + usize::from(n) * 97)));
    let mut refused = 0;
    for row in TABLE.iter().filter(|row| row.path.starts_with(TENANTS_CALLS)) {
        for body in &bodies {
            for door in &doors {
                // Random bytes may be unknown fields of a good message; then it is answered as an empty one would be.
                let Err(status) = call(door, row.path, body.clone()).await else { continue };
                refused += 1;
                let bad = matches!(status.code(), Code::Internal | Code::Unknown | Code::DataLoss | Code::Cancelled);
                assert!(!bad, "{} {:?}: {status:?}", row.path, &body[..body.len().min(16)]);
            }
        }
    }
    assert!(bodies.len() < refused, "something was refused");
    let huge = call(&doors[0], "/strongroom.v1.Vaults/Which", bodies[0].clone()).await;
    assert_eq!(huge.map_err(No::from), Err(no("INVALID_ARGUMENT", "INVALID")));
    others_are_served(cluster).await;
    nothing_panicked(cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn n82_another_spelling_of_a_path_is_no_call() {
    let cluster = shared();
    let door = tenant_door(cluster, "administrator").await;
    let good = call(&door, "/strongroom.v1.Vaults/ListVaults", Vec::new()).await;
    assert!(good.is_ok_and(|reply| !reply.is_empty()), "spelt well it is answered");
    for path in [
        "//strongroom.v1.Vaults/ListVaults",
        "/strongroom.v1.Vaults//ListVaults",
        "/strongroom.v1.Vaults/ListVaults/",
        "/strongroom.v1.Vaults/listvaults",
        "/strongroom.v1.Vaults/List%56aults",
        "/strongroom.v1.Vaults/../Vaults/ListVaults",
        "/strongroom.v1.Vaults",
        "/",
    ] {
        let refused = call(&door, path, Vec::new()).await.expect_err(path);
        assert_eq!(refused.code(), Code::Unimplemented, "{path}: {refused:?}");
    }
    // A path without its slash cannot be said by a library: byte by byte then.
    let mut raw = Wire::open(cluster, "administrator").await;
    raw.send(&[headers(1, "strongroom.v1.Vaults/ListVaults", END_HEADERS), empty_message(1)].concat()).await;
    let answer = raw.until_over(1).await;
    assert!(answer.data == 0, "nothing of a listing came: {answer:?}");
    assert!(answer.ended(), "it is refused, not left open: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn n83_rapid_resets_end_the_connection_that_sends_them_while_others_go_on() {
    let cluster = shared();
    let mut raw = Wire::open(cluster, "writer").await;
    let opened_and_reset = |stream: u32| {
        let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        [headers(stream, "/strongroom.v1.Vaults/Topology", END_HEADERS), reset].concat()
    };
    let flood = async {
        for hundred in 0..200_u32 {
            let many: Vec<u8> = (0..100).flat_map(|n| opened_and_reset(2 * (100 * hundred + n) + 1)).collect();
            if raw.try_send(&many).await.is_err() {
                break;
            }
        }
        raw.until_over(u32::MAX).await
    };
    let answer = others_go_on_during(cluster, flood).await;
    assert!(answer.closed, "whoever opens and resets without end is cut off: {answer:?}");
    others_are_served(cluster).await;
    nothing_panicked(cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn n83_headers_without_end_end_the_connection_while_others_go_on() {
    let cluster = shared();
    let mut raw = Wire::open(cluster, "writer").await;
    raw.send(&headers(1, "/strongroom.v1.Vaults/Topology", 0)).await;
    let piece = field("x-more", &"a".repeat(4000));
    let flood = async {
        for _ in 0..10_000 {
            if raw.try_send(&frame(CONTINUATION, 0, 1, &piece)).await.is_err() {
                break;
            }
        }
        raw.until_over(u32::MAX).await
    };
    let answer = others_go_on_during(cluster, flood).await;
    assert!(answer.closed, "headers without end are cut off: {answer:?}");
    others_are_served(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n83_headers_over_their_limit_are_refused() {
    let cluster = shared();
    let speaker = Speaker::founder(cluster, "initech", "writer").await;
    let mut request = tonic::Request::new(pb::ListVaultsRequest {});
    for number in 0..40 {
        let key: tonic::metadata::MetadataKey<_> = format!("x-{number}").parse().expect("a key");
        request.metadata_mut().insert(key, "a".repeat(1000).parse().expect("a value"));
    }
    assert!(speaker.vaults.clone().list_vaults(request).await.is_err(), "40 kB of headers are too many");
    others_are_served(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n84_silent_and_slow_callers_hold_nobody_up() {
    let cluster = shared();
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(cluster.nodes[0].tenant).await.expect("the port takes it"));
    }
    // One byte a frame, and slowly: it is waited for, by nobody else.
    let mut slow = Wire::open(cluster, "writer").await;
    for byte in headers(1, "/strongroom.v1.Vaults/Topology", END_HEADERS) {
        slow.send(&[byte]).await;
    }
    others_are_served(cluster).await;
    // They are shown the door in the end.
    let gone = async {
        for mut one in silent {
            let mut byte = [0];
            while one.read(&mut byte).await.is_ok_and(|read| read != 0) {}
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("a handshake that does not come ends at its deadline");
}

#[tokio::test(flavor = "multi_thread")]
async fn n85_a_message_over_its_limit_is_refused() {
    let cluster = shared();
    let speaker = Speaker::founder(cluster, "initech", "writer").await;
    let request = pb::SubmitRequest { group: speaker.home.0, commands: vec![vec![7; 9 << 20].into()] };
    let refused = speaker.vaults.clone().submit(request).await.map(drop).map_err(No::from);
    assert_eq!(refused, Err(no("RESOURCE_EXHAUSTED", "LIMIT")));
    // In a stream too, after what was good.
    let open = pb::UploadOpen { group: speaker.home.0, ..pb::UploadOpen::default() };
    let long = pb::UploadBlob { blob_id: vec![0; 32].into(), blob: vec![7; 9 << 20].into() };
    let messages = [pb::upload_request::What::Blob(long), pb::upload_request::What::Open(open)];
    let stream = messages.map(|what| pb::UploadRequest { what: Some(what) });
    let refused = speaker.vaults.clone().upload(futures_util::stream::iter(stream)).await.map(drop).map_err(No::from);
    assert_eq!(refused, Err(no("RESOURCE_EXHAUSTED", "LIMIT")));
    others_are_served(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n86_nothing_but_the_planes_calls_is_served_to_tenants() {
    let cluster = shared();
    let door = tenant_door(cluster, "administrator").await;
    for path in [
        "/metrics",
        "/healthz",
        "/readyz",
        "/debug/pprof/heap",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.channelz.v1.Channelz/GetTopChannels",
    ] {
        let refused = call(&door, path, Vec::new()).await.expect_err(path);
        assert_eq!(refused.code(), Code::Unimplemented, "{path}: {refused:?}");
    }
    // What the other planes serve is not served here either.
    for row in TABLE.iter().filter(|row| !row.path.starts_with(TENANTS_CALLS)) {
        let refused = call(&door, row.path, Vec::new()).await.expect_err(row.path);
        assert_eq!(refused.code(), Code::Unimplemented, "{}: {refused:?}", row.path);
    }
}

const HEADERS: u8 = 1;
const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header field, literal and without Huffman's code.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0, u8::try_from(name.len()).expect("a short name")];
    bytes.extend(name.bytes());
    match value.len() {
        short @ 0..127 => bytes.push(u8::try_from(short).expect("below 127")),
        long => {
            let mut rest = long - 127;
            bytes.push(127);
            while 128 <= rest {
                bytes.push(u8::try_from(rest % 128).expect("below 128") | 0x80);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).expect("below 128"));
        }
    }
    bytes.extend(value.bytes());
    bytes
}

/// The headers of a call.
fn headers(stream: u32, path: &str, flags: u8) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "node"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    frame(HEADERS, flags, stream, &fields.map(|(name, value)| field(name, value)).concat())
}

/// An empty gRPC message, and no more.
fn empty_message(stream: u32) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, &[0; 5])
}

/// HTTP/2 spoken by hand.
struct Wire(TlsStream<TcpStream>);

/// What came.
#[derive(Debug, Default)]
struct Answer {
    /// Bytes of bodies.
    data: usize,
    /// The stream ended or was reset.
    over: bool,
    /// The connection was given up.
    closed: bool,
}

impl Answer {
    fn ended(&self) -> bool {
        self.over || self.closed
    }
}

impl Wire {
    async fn open(cluster: &Cluster, identity: &str) -> Self {
        let config: ClientConfig = tls(cluster, Door::Tenant, Some(&bearer(cluster, identity)));
        let stream = dial(cluster.nodes[0].tenant, Door::Tenant, config).await.expect("the door opens");
        let mut wire = Self(stream);
        wire.send(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, &[])].concat()).await;
        wire
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.expect("the connection stands");
    }

    async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let sent = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        // A node that reads no more has given the caller up too.
        tokio::time::timeout(PATIENCE, sent).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }

    /// Reads until this stream is over, or the connection.
    async fn until_over(&mut self, stream: u32) -> Answer {
        let mut answer = Answer::default();
        let read = async {
            loop {
                let mut head = [0; 9];
                if self.0.read_exact(&mut head).await.is_err() {
                    answer.closed = true;
                    return;
                }
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; usize::try_from(length).expect("fits")];
                if self.0.read_exact(&mut payload).await.is_err() {
                    answer.closed = true;
                    return;
                }
                let (kind, flags) = (head[3], head[4]);
                let of = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                match kind {
                    GOAWAY => {
                        answer.closed = true;
                        return;
                    }
                    DATA if of == stream => answer.data += payload.len(),
                    RST_STREAM if of == stream => answer.over = true,
                    _ => {}
                }
                if of == stream && matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                    answer.over = true;
                }
                if answer.over {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("the node answers or hangs up");
        answer
    }
}
