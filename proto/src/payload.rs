//! Large payloads on gRPC streams, without the copies that the general codec makes of each message.
//!
//! ```text
//!   message ─▶ prefix and small fields │ payload ═▶ frames of HTTP/2 ═▶ pieces ─▶ message
//!              (a few bytes, made)       (as it is)                      (its payload is a part of the frame)
//! ```
//!
//! What travels is gRPC as ever, byte for byte: the other side need not know. Only messages whose payload is the last
//! field can be sent so ([`Payload`]). Nothing is compressed, and what says that it is refused.
//!
//! Not here: which calls use it (`node/peers`, `node/api`, `client`), what they mean.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::Stream;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use prost::Message;
use prost::encoding::encode_varint;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tower::Service;

use crate::v1;
use crate::v1::fetch_run_reply::What;

/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// A message that can be cut in two without copying its payload.
pub trait Payload: Message + Default + 'static {
    /// The message's encoding as its small fields, the payload's key and length among them, and the payload. `None`:
    /// there is nothing large in it.
    fn cut(&self) -> Option<(BytesMut, Bytes)>;
}

/// Key of a length-delimited field.
fn key(number: u8) -> u8 {
    number << 3 | 2
}

impl Payload for v1::Fragment {
    fn cut(&self) -> Option<(BytesMut, Bytes)> {
        let payload = self.payload.clone();
        let small = Self { payload: Bytes::new(), ..self.clone() };
        let mut head = BytesMut::with_capacity(small.encoded_len() + 16);
        small.encode_raw(&mut head);
        head.put_u8(key(5));
        encode_varint(payload.len() as u64, &mut head);
        Some((head, payload))
    }
}

impl Payload for v1::FetchRunReply {
    fn cut(&self) -> Option<(BytesMut, Bytes)> {
        let mut inner = BytesMut::with_capacity(32);
        let (number, payload) = match self.what.as_ref()? {
            What::Blob(v1::FetchedBlob { position, blob }) => {
                v1::FetchedBlob { position: *position, blob: Bytes::new() }.encode_raw(&mut inner);
                inner.put_u8(key(2));
                (1, blob.clone())
            }
            What::Fragment(v1::FetchedFragment { position, index, payload }) => {
                v1::FetchedFragment { position: *position, index: *index, payload: Bytes::new() }
                    .encode_raw(&mut inner);
                inner.put_u8(key(3));
                (4, payload.clone())
            }
            What::Lost(_) | What::Stats(_) => return None,
        };
        encode_varint(payload.len() as u64, &mut inner);
        let mut head = BytesMut::with_capacity(inner.len() + 16);
        head.put_u8(key(number));
        encode_varint((inner.len() + payload.len()) as u64, &mut head);
        head.put(inner);
        Some((head, payload))
    }
}

/// A stream of messages as the body of an answer: each is one frame, or two.
struct Outgoing<S> {
    messages: S,
    payload: Option<Bytes>,
    ended: bool,
}

impl<S, M> http_body::Body for Outgoing<S>
where
    S: Stream<Item = Result<M, Status>> + Unpin,
    M: Payload,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(payload) = self.payload.take() {
            return Poll::Ready(Some(Ok(Frame::data(payload))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let status = match ready!(Pin::new(&mut self.messages).poll_next(context)) {
            Some(Ok(message)) => {
                let (small, payload) = message.cut().map_or_else(
                    || (message.encode_to_vec().into(), Bytes::new()),
                    |(head, payload)| (head.freeze(), payload),
                );
                self.payload = Some(payload.clone()).filter(|payload| !payload.is_empty());
                let mut frame = BytesMut::with_capacity(PREFIX_BYTES + small.len());
                prefix(&mut frame, small.len() + payload.len());
                frame.put(small);
                return Poll::Ready(Some(Ok(Frame::data(frame.freeze()))));
            }
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        self.ended = true;
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

fn prefix(out: &mut impl BufMut, bytes: usize) {
    out.put_u8(0);
    out.put_u32(u32::try_from(bytes).expect("messages have a few MiB"));
}

/// As tonic's own decoder says it, so that both are answered alike.
fn too_long(bytes: usize, bytes_max: usize) -> Status {
    Status::out_of_range(format!(
        "Error, decoded message length too large: found {bytes} bytes, the limit is: {bytes_max} bytes"
    ))
}

/// Pieces of a body, in order.
#[derive(Debug, Default)]
struct Pieces {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// The next message's length, if its prefix is here.
    fn announced(&self) -> Result<Option<usize>, Status> {
        if self.bytes < PREFIX_BYTES {
            return Ok(None);
        }
        let mut prefix = [0; PREFIX_BYTES];
        for (to, from) in prefix.iter_mut().zip(self.pieces.iter().flatten()) {
            *to = *from;
        }
        let [compressed, length @ ..] = prefix;
        match compressed {
            0 => Ok(Some(u32::from_be_bytes(length) as usize)),
            _ => Err(Status::unimplemented("nothing is compressed here")),
        }
    }

    /// The next message, if all of it is here.
    fn message<M: Message + Default>(&mut self, bytes_max: usize) -> Result<Option<M>, Status> {
        let Some(bytes) = self.announced()? else { return Ok(None) };
        if bytes_max < bytes {
            return Err(too_long(bytes, bytes_max));
        }
        if self.bytes < PREFIX_BYTES + bytes {
            return Ok(None);
        }
        self.advance(PREFIX_BYTES);
        let rest = self.bytes - bytes;
        let message = M::decode((&mut *self).take(bytes));
        let message = message.map_err(|fault| Status::internal(format!("a message does not read: {fault}")))?;
        debug_assert_eq!(self.bytes, rest, "a message is read to its end");
        Ok(Some(message))
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.bytes, "nobody advances past the end");
        self.bytes -= count;
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }

    /// Shares a piece's bytes where they lie in one; else puts them together.
    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        match self.pieces.front_mut() {
            Some(piece) if count <= piece.len() => {
                let bytes = piece.split_to(count);
                if piece.is_empty() {
                    self.pieces.pop_front();
                }
                self.bytes -= count;
                bytes
            }
            _ => {
                let mut bytes = BytesMut::with_capacity(count);
                bytes.put(Buf::take(self, count));
                bytes.freeze()
            }
        }
    }
}

/// The messages that a server sends. Dropping it ends the call.
pub struct Incoming<M> {
    body: Body,
    pieces: Pieces,
    bytes_max: usize,
    ended: bool,
    message: PhantomData<fn() -> M>,
}

impl<M: Message + Default> Incoming<M> {
    /// The next message; `None`: all have come. Safe to cancel.
    ///
    /// # Errors
    /// The status with which the server ended the call, or what is wrong with what it sent. Nothing comes after one.
    pub async fn message(&mut self) -> Result<Option<M>, Status> {
        let result = std::future::poll_fn(|context| self.poll_message(context)).await;
        self.ended |= !matches!(result, Ok(Some(_)));
        result
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<M>, Status>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        loop {
            if let Some(message) = self.pieces.message(self.bytes_max)? {
                return Poll::Ready(Ok(Some(message)));
            }
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
                return Poll::Ready(Err(Status::unknown("the answer ended without a status")));
            };
            match frame?.into_data() {
                Ok(piece) => self.pieces.push(piece),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return Poll::Ready(match Status::from_header_map(&trailers) {
                        Some(status) if status.code() != tonic::Code::Ok => Err(status),
                        Some(_) if self.pieces.bytes == 0 => Ok(None),
                        Some(_) => Err(Status::internal("the answer ended inside of a message")),
                        None => Err(Status::unknown("the answer ended without a status")),
                    });
                }
            }
        }
    }
}

/// Calls a method that answers with a stream of payloads.
///
/// # Errors
/// The status of a call that was refused, or of a connection that broke.
pub async fn call<Q: Message, M: Payload>(
    channel: &Channel,
    path: &'static str,
    question: &Q,
    bytes_max: usize,
) -> Result<Incoming<M>, Status> {
    let mut body = BytesMut::with_capacity(PREFIX_BYTES + question.encoded_len());
    prefix(&mut body, question.encoded_len());
    question.encode(&mut body).expect("the buffer grows");
    let request = http::Request::post(path)
        .version(http::Version::HTTP_2)
        .header(http::header::TE, "trailers")
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .body(Body::new(http_body_util::Full::new(body.freeze())))
        .expect("a path of ours");
    let mut channel = channel.clone();
    let broken = |error: tonic::transport::Error| Status::from_error(Box::new(error));
    std::future::poll_fn(|context| channel.poll_ready(context)).await.map_err(broken)?;
    let response = channel.call(request).await.map_err(broken)?;
    if let Some(status) = Status::from_header_map(response.headers())
        && status.code() != tonic::Code::Ok
    {
        return Err(status);
    }
    if response.status() != http::StatusCode::OK {
        return Err(Status::unknown(format!("the server answered with HTTP status {}", response.status())));
    }
    let body = response.into_body();
    Ok(Incoming { body, pieces: Pieces::default(), bytes_max, ended: false, message: PhantomData })
}

type Answering = Pin<Box<dyn Future<Output = http::Response<Body>> + Send>>;

/// A service of which one method answers with payloads; everything else goes to the service itself.
#[derive(Clone)]
pub struct Direct<S> {
    inner: S,
    path: &'static str,
    answer: Arc<dyn Fn(http::Request<Body>) -> Answering + Send + Sync>,
}

impl<S> Direct<S> {
    /// `method` is the implementation of `path` that the service itself has, on `plane`.
    pub fn new<T, Q, M, A, F>(inner: S, plane: Arc<T>, path: &'static str, question_bytes_max: usize, method: F) -> Self
    where
        T: Send + Sync + 'static,
        Q: Message + Default,
        M: Payload,
        A: Stream<Item = Result<M, Status>> + Send + Unpin + 'static,
        F: for<'plane> Fn(
                &'plane T,
                Request<Q>,
            ) -> Pin<Box<dyn Future<Output = Result<Response<A>, Status>> + Send + 'plane>>
            + Copy
            + Send
            + Sync
            + 'static,
    {
        let answer = move |request: http::Request<Body>| -> Answering {
            let plane = Arc::clone(&plane);
            Box::pin(async move {
                let asked = match question::<Q>(request, question_bytes_max).await {
                    Ok(request) => method(&plane, request).await,
                    Err(status) => Err(status),
                };
                match asked {
                    Ok(response) => {
                        let (metadata, messages, extensions) = response.into_parts();
                        let mut answer =
                            http::Response::new(Body::new(Outgoing { messages, payload: None, ended: false }));
                        *answer.headers_mut() = metadata.into_headers();
                        *answer.extensions_mut() = extensions;
                        answer.headers_mut().insert(http::header::CONTENT_TYPE, tonic::metadata::GRPC_CONTENT_TYPE);
                        answer
                    }
                    Err(status) => status.into_http(),
                }
            })
        };
        Self { inner, path, answer: Arc::new(answer) }
    }
}

/// Reads the one message of a question.
async fn question<Q: Message + Default>(request: http::Request<Body>, bytes_max: usize) -> Result<Request<Q>, Status> {
    let (head, mut body) = request.into_parts();
    let mut pieces = Pieces::default();
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(piece) = frame?.into_data() {
            pieces.push(piece);
        }
        if PREFIX_BYTES + bytes_max < pieces.bytes {
            return Err(too_long(pieces.bytes, bytes_max));
        }
    }
    let message = pieces.message(bytes_max)?;
    let message = message.ok_or_else(|| Status::internal("the question ended inside of its message"))?;
    if pieces.bytes != 0 {
        return Err(Status::internal("there is more than one question"));
    }
    Ok(Request::from_parts(MetadataMap::from_headers(head.headers), head.extensions, message))
}

impl<S> Service<http::Request<Body>> for Direct<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() == self.path {
            let answer = (self.answer)(request);
            return Box::pin(async move { Ok(answer.await) });
        }
        Box::pin(self.inner.call(request))
    }
}

impl<S: NamedService> NamedService for Direct<S> {
    const NAME: &'static str = S::NAME;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(bytes: usize) -> v1::Fragment {
        v1::Fragment {
            at: 7,
            code: 0,
            blob_bytes: 900,
            payload_hash: Bytes::from_static(&[3; 32]),
            payload: (0..bytes).map(|at| at as u8).collect::<Vec<_>>().into(),
        }
    }

    fn replies() -> Vec<v1::FetchRunReply> {
        let blob = |position, bytes: usize| v1::FetchedBlob { position, blob: vec![9; bytes].into() };
        let lost = v1::LostBlob { position: 3, why: "gone".into(), away: true };
        let fragment = |index, bytes: usize| v1::FetchedFragment { position: 5, index, payload: vec![8; bytes].into() };
        let whats = [
            What::Blob(blob(0, 0)),
            What::Blob(blob(1, 1)),
            What::Blob(blob(300, 200_000)),
            What::Lost(lost),
            What::Fragment(fragment(0, 0)),
            What::Fragment(fragment(3, 70_000)),
        ];
        whats.map(|what| v1::FetchRunReply { what: Some(what) }).into()
    }

    fn together(message: &impl Payload) -> Vec<u8> {
        match message.cut() {
            Some((head, payload)) => [&head[..], &payload[..]].concat(),
            None => message.encode_to_vec(),
        }
    }

    #[test]
    fn what_is_cut_is_the_same_message() {
        for bytes in [0, 1, 127, 128, 300_000] {
            let fragment = fragment(bytes);
            assert_eq!(v1::Fragment::decode(&together(&fragment)[..]), Ok(fragment));
        }
        for reply in replies() {
            assert_eq!(v1::FetchRunReply::decode(&together(&reply)[..]), Ok(reply));
        }
    }

    /// However a body is cut into pieces, the same messages come out.
    #[test]
    fn messages_come_out_of_pieces_of_any_size() {
        let mut body = BytesMut::new();
        for reply in replies() {
            prefix(&mut body, reply.encoded_len());
            reply.encode(&mut body).unwrap();
        }
        for piece_bytes in [1, 2, 3, 5, 7, 64, 4096, body.len()] {
            let (mut pieces, mut found) = (Pieces::default(), Vec::new());
            for piece in body.chunks(piece_bytes) {
                pieces.push(Bytes::copy_from_slice(piece));
                while let Some(reply) = pieces.message::<v1::FetchRunReply>(1 << 20).unwrap() {
                    found.push(reply);
                }
            }
            assert_eq!(found, replies(), "pieces of {piece_bytes}");
            assert_eq!(pieces.bytes, 0);
        }
    }

    #[test]
    fn a_payload_in_one_piece_is_not_copied() {
        let fragment = fragment(100_000);
        let (head, payload) = fragment.cut().unwrap();
        let mut pieces = Pieces::default();
        let mut first = BytesMut::new();
        prefix(&mut first, head.len() + payload.len());
        first.put(head);
        pieces.push(first.freeze());
        assert_eq!(pieces.message::<v1::Fragment>(1 << 20).unwrap(), None, "the payload is not here yet");
        pieces.push(payload.clone());
        let read = pieces.message::<v1::Fragment>(1 << 20).unwrap().unwrap();
        assert_eq!(read.payload.as_ptr(), payload.as_ptr());
    }

    #[test]
    fn n85_what_is_too_long_or_compressed_is_refused() {
        let mut pieces = Pieces::default();
        pieces.push(Bytes::from_static(&[0, 0, 0, 1, 0]));
        assert_eq!(pieces.message::<v1::Fragment>(255).unwrap_err().code(), tonic::Code::OutOfRange);
        let mut pieces = Pieces::default();
        pieces.push(Bytes::from_static(&[1, 0, 0, 0, 0]));
        assert_eq!(pieces.message::<v1::Fragment>(255).unwrap_err().code(), tonic::Code::Unimplemented);
    }
}
