//! The listener for those who have no certificate yet: TLS that proves the node to the caller, and nothing the other way.
//!
//! The chain that it presents is whole, up to its CA's certificate: whoever has a token has that certificate's hash and no
//! other root. Handshakes have the same bounds as at every other door.
//!
//! Not here: what a stranger may say (`node/api`, enrolment).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use rustls::server::WebPkiClientVerifier;
use strongroom_host::Host;
use strongroom_host::connections::{ByteStream, Connection, Listener};
use strongroom_proto_identity::tls::ALPN;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::acceptor::{Door, HandshakeFault, HandshakeLimits, Incoming, say_farewell, server_config};
use crate::reload::Presented;

/// How strangers are let in.
#[derive(Clone)]
pub struct Doorstep {
    host: Host,
    tls: TlsAcceptor,
    limits: HandshakeLimits,
}

impl Doorstep {
    /// Presents a chain that ends with its CA's certificate.
    pub fn new(host: &Host, credentials: impl Into<Presented>, limits: HandshakeLimits) -> Self {
        let config = server_config(host, WebPkiClientVerifier::no_client_auth(), credentials.into());
        Self { host: host.clone(), tls: TlsAcceptor::from(Arc::new(config)), limits }
    }

    /// Serves a port.
    #[must_use]
    pub fn serve(self, listener: Box<dyn Listener>) -> Incoming<Self> {
        Incoming::new(self, listener)
    }
}

impl Door for Doorstep {
    type In = Stranger;

    fn name(&self) -> &'static str {
        "enrolment"
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn limits(&self) -> &HandshakeLimits {
        &self.limits
    }

    fn open(self: Arc<Self>, connection: Connection) -> BoxFuture<'static, Result<Stranger, HandshakeFault>> {
        Box::pin(async move {
            let Connection { stream, peer: address, .. } = connection;
            let handshake = self.tls.accept(stream).into_fallible();
            let stream = match tokio::time::timeout(self.limits.deadline, handshake).await {
                Err(_elapsed) => return Err(HandshakeFault::Deadline),
                Ok(Err((cause, stream))) => {
                    say_farewell(stream).await;
                    return Err(HandshakeFault::Tls(cause));
                }
                Ok(Ok(stream)) => stream,
            };
            if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
                return Err(HandshakeFault::Protocol);
            }
            Ok(Stranger { stream: Box::new(stream), address })
        })
    }
}

impl fmt::Debug for Doorstep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorstep").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A connection from somebody who proved nothing.
#[derive(Debug)]
pub struct Stranger {
    stream: Box<TlsStream<Box<dyn ByteStream>>>,
    address: SocketAddr,
}

impl Stranger {
    /// From where.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl AsyncRead for Stranger {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stranger {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}
