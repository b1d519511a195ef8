//! Dialling another node: TLS with the certificate of exactly the node that was meant.
//!
//! An address is a hint and nothing more: whoever answers must have the name that the caller gives, so that a node that
//! took over an address gets nothing that was meant for its predecessor.
//!
//! Not here: which address a node has, keeping connections (`node/peers`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::{IpAddr, Ipv4Addr, ServerName};
use strongroom_format::name::Name;
use strongroom_format::role::Plane;
use strongroom_host::Host;
use strongroom_host::connections::{ByteStream, Connection};
use strongroom_proto_identity::spiffe::SpiffeId;
use strongroom_proto_identity::tls::client_config_with_time;
use strongroom_proto_identity::verify::{ExpectedNode, NodeVerifier};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::issuers::Issuers;
use crate::reload::Presented;
use crate::time::HostTime;

/// Dials nodes on the peer plane.
#[derive(Clone, Debug)]
pub struct Connector {
    host: Host,
    presented: Presented,
    issuers: Issuers,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectFault {
    /// Nobody answers there.
    #[error("cannot connect to {address}")]
    Unreachable {
        /// Where.
        address: String,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// TLS failed: one of the two does not accept the other. What the other does not accept may also show at the first
    /// read.
    #[error("the TLS handshake with {address} failed")]
    Tls {
        /// Where.
        address: String,
        /// What TLS said.
        #[source]
        cause: io::Error,
    },
    /// Another node answers there (simulated connections; else [`ConnectFault::Tls`]).
    #[error("another node answers at {address}")]
    OtherNode {
        /// Where.
        address: String,
    },
    /// It took longer than the deadline.
    #[error("connecting to {address} took too long")]
    Deadline {
        /// Where.
        address: String,
    },
}

impl Connector {
    /// Presents credentials that are made for a client, and believes the peer plane's issuers: those in force at each
    /// dial.
    #[must_use]
    pub fn new(host: &Host, credentials: impl Into<Presented>, issuers: &Issuers) -> Self {
        Self { host: host.clone(), presented: credentials.into(), issuers: issuers.clone() }
    }

    /// Connects to `host:port`, where the node `region`/`node` should answer.
    pub async fn connect(
        &self,
        address: &str,
        region: &Name,
        node: &Name,
        deadline: Duration,
    ) -> Result<Dialled, ConnectFault> {
        tokio::time::timeout(deadline, self.dial(address, region, node))
            .await
            .unwrap_or_else(|_elapsed| Err(ConnectFault::Deadline { address: address.to_owned() }))
    }

    async fn dial(&self, address: &str, region: &Name, node: &Name) -> Result<Dialled, ConnectFault> {
        let Connection { stream, identity, .. } = self
            .host
            .connections()
            .connect(address)
            .await
            .map_err(|cause| ConnectFault::Unreachable { address: address.to_owned(), cause })?;
        let cluster = self.issuers.cluster();
        if let Some(identity) = identity {
            let expected = SpiffeId::Node { cluster, region: region.clone(), node: node.clone() };
            if identity.parse() == Ok(expected) {
                return Ok(Dialled(Inner::Plain(stream)));
            }
            return Err(ConnectFault::OtherNode { address: address.to_owned() });
        }
        let expected = ExpectedNode::Exactly { region: region.clone(), node: node.clone() };
        let verifier = NodeVerifier::new(self.issuers.anchors(Plane::Peer), cluster, expected);
        let time = Arc::new(HostTime(self.host.clone()));
        let config = client_config_with_time(verifier, &self.presented.now(), time);
        let stream = TlsConnector::from(Arc::new(config))
            .connect(no_name(), stream)
            .await
            .map_err(|cause| ConnectFault::Tls { address: address.to_owned(), cause })?;
        Ok(Dialled(Inner::Tls(Box::new(stream))))
    }
}

/// TLS wants a server name; ours plays no part, and an IP address is one that is not sent.
fn no_name() -> ServerName<'static> {
    ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0, 0, 0, 0])))
}

/// A connection to the node that was meant. It reads and writes plain bytes; vectored writes are forwarded.
#[derive(Debug)]
pub struct Dialled(Inner);

#[derive(Debug)]
enum Inner {
    Tls(Box<TlsStream<Box<dyn ByteStream>>>),
    Plain(Box<dyn ByteStream>),
}

impl Dialled {
    fn stream(self: Pin<&mut Self>) -> Pin<&mut (dyn ByteStream + 'static)> {
        match &mut self.get_mut().0 {
            Inner::Tls(stream) => Pin::new(&mut **stream),
            Inner::Plain(stream) => Pin::new(&mut **stream),
        }
    }
}

impl AsyncRead for Dialled {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buf)
    }
}

impl AsyncWrite for Dialled {
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
        match &self.0 {
            Inner::Tls(stream) => stream.is_write_vectored(),
            Inner::Plain(stream) => stream.is_write_vectored(),
        }
    }
}
