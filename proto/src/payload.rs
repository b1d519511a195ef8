//! Large payloads on gRPC streams, without the copies that the general codec makes of each message.
//!
//! ```text
//!   message ─▶ prefix and small fields │ payload ═▶ frames of HTTP/2 ═▶ pieces ─▶ message
//!              (a few bytes, made)       (as it is)                      (its payload is a part of the frame)
//! ```
//!
//! What travels is gRPC as ever, byte for byte: the other side need not know. Only messages whose payload is the last
//! field can be sent so ([`Payload`]), as answers or as questions. Nothing is compressed, and what says that it is refused.
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
use futures_util::{Stream, StreamExt};
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
use crate::v1::upload_request::What as Uploaded;

/// Shorter pieces are put together: else whoever sends bytes one by one makes this side hold many times as many.
const PIECE_BYTES_MIN: usize = 4096;
/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// A message that can be cut in two without copying its payload.
pub trait Payload: Message + Default + 'static {
    /// The message's encoding as its small fields, the payload's key and length among them, and the payload. `None`:
    /// there is nothing large in it.
    fn cut(&self) -> Option<(BytesMut, Bytes)> {
        None
    }
}

impl Payload for v1::UploadReply {}

impl Payload for v1::PutFragmentAck {}

/// Key of a length-delimited field.
fn key(number: u8) -> u8 {
    number << 3 | 2
}

/// A message without its payload, and the payload as its field `number`.
fn flat(small: &impl Message, number: u8, payload: Bytes) -> (BytesMut, Bytes) {
    let mut head = BytesMut::with_capacity(small.encoded_len() + 16);
    small.encode_raw(&mut head);
    head.put_u8(key(number));
    encode_varint(payload.len() as u64, &mut head);
    (head, payload)
}

/// The same inside of field `outer` of a message that has nothing else.
fn nested(outer: u8, small: &impl Message, number: u8, payload: Bytes) -> (BytesMut, Bytes) {
    let (inner, payload) = flat(small, number, payload);
    let mut head = BytesMut::with_capacity(inner.len() + 16);
    head.put_u8(key(outer));
    encode_varint((inner.len() + payload.len()) as u64, &mut head);
    head.put(inner);
    (head, payload)
}

impl Payload for v1::Fragment {
    fn cut(&self) -> Option<(BytesMut, Bytes)> {
        let small = Self { payload: Bytes::new(), ..self.clone() };
        Some(flat(&small, 5, self.payload.clone()))
    }
}

impl Payload for v1::PutFragment {
    fn cut(&self) -> Option<(BytesMut, Bytes)> {
        let small = Self { payload: Bytes::new(), ..self.clone() };
        Some(flat(&small, 9, self.payload.clone()))
    }
}

impl Payload for v1::UploadRequest {
    fn cut(&self) -> Option<(BytesMut, Bytes)> {
        match self.what.as_ref()? {
            Uploaded::Blob(v1::UploadBlob { blob_id, blob }) => {
                let small = v1::UploadBlob { blob_id: blob_id.clone(), blob: Bytes::new() };
                Some(nested(2, &small, 2, blob.clone()))
            }
            Uploaded::Open(_) | Uploaded::Submit(_) => None,
        }
    }
}

impl Payload for v1::FetchRunReply {
    fn cut(&self) -> Option<(BytesMut, Bytes)> {
        match self.what.as_ref()? {
            What::Blob(v1::FetchedBlob { position, blob }) => {
                let small = v1::FetchedBlob { position: *position, blob: Bytes::new() };
                Some(nested(1, &small, 2, blob.clone()))
            }
            What::Fragment(v1::FetchedFragment { position, index, payload }) => {
                let small = v1::FetchedFragment { position: *position, index: *index, payload: Bytes::new() };
                Some(nested(4, &small, 3, payload.clone()))
            }
            What::Lost(_) | What::Stats(_) => None,
        }
    }
}

/// Which way messages go: an answer ends with its status, a question with its last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Question,
    Answer,
}

/// A stream of messages as a body: each is one frame, or two.
struct Outgoing<S> {
    messages: S,
    way: Way,
    payload: Option<Bytes>,
    ended: bool,
}

impl<S> Outgoing<S> {
    fn new(way: Way, messages: S) -> Self {
        Self { messages, way, payload: None, ended: false }
    }
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
        if self.way == Way::Question {
            return Poll::Ready((status.code() != tonic::Code::Ok).then_some(Err(status)));
        }
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
        let joins = |last: &mut Bytes| last.len() + piece.len() <= PIECE_BYTES_MIN;
        match self.pieces.pop_back_if(joins) {
            // In place from the third on: what was put together is nobody else's.
            Some(last) => {
                let mut both = last.try_into_mut().unwrap_or_else(|last| {
                    let mut both = BytesMut::with_capacity(PIECE_BYTES_MIN);
                    both.put(last);
                    both
                });
                both.put(piece);
                self.pieces.push_back(both.freeze());
            }
            None if piece.is_empty() => {}
            None => self.pieces.push_back(piece),
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

/// The messages that the other side sends. Dropping a server's ends the call.
pub struct Incoming<M> {
    body: Body,
    way: Way,
    pieces: Pieces,
    bytes_max: usize,
    ended: bool,
    message: PhantomData<fn() -> M>,
}

impl<M: Message + Default> Incoming<M> {
    /// The next message; `None`: all have come. Safe to cancel.
    ///
    /// # Errors
    /// The status with which the server ended the call, or what is wrong with what came. Nothing comes after one.
    pub async fn message(&mut self) -> Result<Option<M>, Status> {
        std::future::poll_fn(|context| self.poll_message(context)).await
    }

    fn new(body: Body, way: Way, bytes_max: usize) -> Self {
        Self { body, way, pieces: Pieces::default(), bytes_max, ended: false, message: PhantomData }
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<M>, Status>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        let result = ready!(self.poll_next_message(context));
        self.ended = !matches!(result, Ok(Some(_)));
        Poll::Ready(result)
    }

    fn poll_next_message(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<M>, Status>> {
        loop {
            if let Some(message) = self.pieces.message(self.bytes_max)? {
                return Poll::Ready(Ok(Some(message)));
            }
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
                return Poll::Ready(match (self.way, self.pieces.bytes) {
                    (Way::Answer, _) => Err(Status::unknown("the answer ended without a status")),
                    (Way::Question, 0) => Ok(None),
                    (Way::Question, _) => Err(Status::internal("the question ended inside of a message")),
                });
            };
            match frame?.into_data() {
                Ok(piece) => self.pieces.push(piece),
                // Nothing of ours is in what may come behind a question's messages.
                Err(_) if self.way == Way::Question => {}
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

impl<M: Message + Default> Stream for Incoming<M> {
    type Item = Result<M, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(context).map(Result::transpose)
    }
}

/// Calls a method that takes one question and answers with a stream of payloads.
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
    ask(channel, path, Body::new(http_body_util::Full::new(body.freeze())), bytes_max).await
}

/// Calls a method that takes a stream of payloads and answers with a stream.
///
/// # Errors
/// The status of a call that was refused, or of a connection that broke.
pub async fn dialogue<Q: Payload, M: Payload>(
    channel: &Channel,
    path: &'static str,
    questions: impl Stream<Item = Q> + Unpin + Send + 'static,
    bytes_max: usize,
) -> Result<Incoming<M>, Status> {
    let body = Body::new(Outgoing::new(Way::Question, questions.map(Ok)));
    ask(channel, path, body, bytes_max).await
}

async fn ask<M: Payload>(
    channel: &Channel,
    path: &'static str,
    body: Body,
    bytes_max: usize,
) -> Result<Incoming<M>, Status> {
    let request = http::Request::post(path)
        .version(http::Version::HTTP_2)
        .header(http::header::TE, "trailers")
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .body(body)
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
    Ok(Incoming::new(response.into_body(), Way::Answer, bytes_max))
}

type Answering = Pin<Box<dyn Future<Output = http::Response<Body>> + Send>>;

/// What a method gives back, on the plane that it is a method of.
type Answered<'plane, A> = Pin<Box<dyn Future<Output = Result<Response<A>, Status>> + Send + 'plane>>;

/// A service of which one method sends or takes payloads; everything else goes to the service itself.
#[derive(Clone)]
pub struct Direct<S> {
    inner: S,
    path: &'static str,
    answer: Arc<dyn Fn(http::Request<Body>) -> Answering + Send + Sync>,
}

impl<S> Direct<S> {
    /// `method` answers one question with payloads: the implementation of `path` that the service itself has, on `plane`.
    pub fn new<T, Q, M, A, F>(inner: S, plane: Arc<T>, path: &'static str, question_bytes_max: usize, method: F) -> Self
    where
        T: Send + Sync + 'static,
        Q: Message + Default,
        M: Payload,
        A: Stream<Item = Result<M, Status>> + Send + Unpin + 'static,
        F: for<'plane> Fn(&'plane T, Request<Q>) -> Answered<'plane, A> + Copy + Send + Sync + 'static,
    {
        let answer = move |request: http::Request<Body>| -> Answering {
            let plane = Arc::clone(&plane);
            Box::pin(async move {
                answered(match question::<Q>(request, question_bytes_max).await {
                    Ok(request) => method(&plane, request).await,
                    Err(status) => Err(status),
                })
            })
        };
        Self { inner, path, answer: Arc::new(answer) }
    }

    /// `method` takes a stream of payloads, each message of at most so many bytes.
    pub fn taking<T, Q, M, A, F>(inner: S, plane: Arc<T>, path: &'static str, bytes_max: usize, method: F) -> Self
    where
        T: Send + Sync + 'static,
        Q: Payload,
        M: Payload,
        A: Stream<Item = Result<M, Status>> + Send + Unpin + 'static,
        F: for<'plane> Fn(&'plane T, Request<Incoming<Q>>) -> Answered<'plane, A> + Copy + Send + Sync + 'static,
    {
        let answer = move |request: http::Request<Body>| -> Answering {
            let plane = Arc::clone(&plane);
            let request = asked(request, |body| Incoming::new(body, Way::Question, bytes_max));
            Box::pin(async move { answered(method(&plane, request).await) })
        };
        Self { inner, path, answer: Arc::new(answer) }
    }
}

/// A request as its method sees it.
fn asked<Q>(request: http::Request<Body>, question: impl FnOnce(Body) -> Q) -> Request<Q> {
    let (head, body) = request.into_parts();
    Request::from_parts(MetadataMap::from_headers(head.headers), head.extensions, question(body))
}

/// An answer as it travels.
fn answered<A, M>(answer: Result<Response<A>, Status>) -> http::Response<Body>
where
    A: Stream<Item = Result<M, Status>> + Send + Unpin + 'static,
    M: Payload,
{
    let (metadata, messages, extensions) = match answer {
        Ok(response) => response.into_parts(),
        Err(status) => return status.into_http(),
    };
    let mut answer = http::Response::new(Body::new(Outgoing::new(Way::Answer, messages)));
    *answer.headers_mut() = metadata.into_headers();
    *answer.extensions_mut() = extensions;
    answer.headers_mut().insert(http::header::CONTENT_TYPE, tonic::metadata::GRPC_CONTENT_TYPE);
    answer
}

/// Reads the one message of a question.
async fn question<Q: Message + Default>(request: http::Request<Body>, bytes_max: usize) -> Result<Request<Q>, Status> {
    let (head, extensions, mut incoming) =
        asked(request, |body| Incoming::new(body, Way::Question, bytes_max)).into_parts();
    let message = incoming.message().await?.ok_or_else(|| Status::internal("Missing request message."))?;
    if incoming.message().await?.is_some() {
        return Err(Status::internal("there is more than one question"));
    }
    Ok(Request::from_parts(head, extensions, message))
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
        for request in requests() {
            assert_eq!(v1::UploadRequest::decode(&together(&request)[..]), Ok(request));
        }
        for bytes in [0, 1, 300_000] {
            let put = v1::PutFragment {
                request: 9,
                group: 2,
                tenant: Bytes::from_static(&[1; 16]),
                lease: 4,
                blob: Bytes::from_static(&[5; 32]),
                index: 5,
                blob_bytes: 77,
                payload_hash: Bytes::from_static(&[8; 32]),
                payload: vec![6; bytes].into(),
            };
            assert_eq!(v1::PutFragment::decode(&together(&put)[..]), Ok(put));
        }
    }

    fn requests() -> [v1::UploadRequest; 5] {
        let open = v1::UploadOpen { group: 1, lease: 2, session: 3, ..v1::UploadOpen::default() };
        let blob = |bytes: usize| v1::UploadBlob { blob_id: Bytes::from_static(&[4; 32]), blob: vec![5; bytes].into() };
        let submit = v1::UploadSubmit { register_at: 1, ..v1::UploadSubmit::default() };
        [
            Uploaded::Open(open),
            Uploaded::Blob(blob(0)),
            Uploaded::Blob(blob(1)),
            Uploaded::Blob(blob(300_000)),
            Uploaded::Submit(submit),
        ]
        .map(|what| v1::UploadRequest { what: Some(what) })
    }

    /// A body of these pieces.
    fn body(pieces: Vec<Bytes>) -> Body {
        let frames = pieces.into_iter().map(|piece| Ok::<_, Status>(Frame::data(piece)));
        Body::new(http_body_util::StreamBody::new(futures_util::stream::iter(frames)))
    }

    /// Questions that are sent come as they were, and end as they ended: a body has no status behind it.
    #[test]
    fn questions_come_as_they_were_sent_and_end_without_a_status() {
        let sent = Outgoing::new(Way::Question, futures_util::stream::iter(requests().map(Ok)));
        let came = Incoming::<v1::UploadRequest>::new(Body::new(sent), Way::Question, 1 << 20);
        let came: Vec<_> = futures_util::FutureExt::now_or_never(came.collect()).unwrap();
        assert_eq!(came.into_iter().map(Result::unwrap).collect::<Vec<_>>(), requests());
    }

    /// Whoever is gone in the middle of a message has not sent it.
    #[test]
    fn a_body_that_ends_inside_of_a_message_gives_no_message_and_an_error() {
        let request = &requests()[3];
        let mut whole = BytesMut::new();
        prefix(&mut whole, request.encoded_len());
        request.encode(&mut whole).unwrap();
        let whole = whole.freeze();
        for bytes in [1, PREFIX_BYTES, PREFIX_BYTES + 1, whole.len() - 1] {
            let mut came = Incoming::<v1::UploadRequest>::new(body(vec![whole.slice(..bytes)]), Way::Question, 1 << 20);
            let mut next = || futures_util::FutureExt::now_or_never(came.message()).unwrap();
            assert_eq!(next().unwrap_err().code(), tonic::Code::Internal, "{bytes} bytes");
            assert!(next().unwrap().is_none(), "nothing comes behind an error");
        }
        let mut answer = Incoming::<v1::UploadRequest>::new(body(vec![whole]), Way::Answer, 1 << 20);
        let mut next = || futures_util::FutureExt::now_or_never(answer.message()).unwrap();
        assert!(next().unwrap().is_some());
        assert_eq!(next().unwrap_err().code(), tonic::Code::Unknown, "an answer without a status is none");
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
    fn bytes_that_come_one_by_one_are_not_held_one_by_one() {
        let mut pieces = Pieces::default();
        let whole: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
        for byte in &whole {
            pieces.push(Bytes::copy_from_slice(&[*byte]));
            pieces.push(Bytes::new());
        }
        assert!(pieces.pieces.len() <= whole.len() / PIECE_BYTES_MIN + 1, "{} pieces", pieces.pieces.len());
        assert_eq!(pieces.copy_to_bytes(whole.len()), whole);
        assert_eq!((pieces.bytes, pieces.pieces.len()), (0, 0));
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
