//! Connections between processes: streams of bytes, with the peer's identity where the medium itself proves it.
//!
//! TCP proves nothing, so real connections carry no identity and TLS is laid over them (`node/identity`). The simulated
//! network, which has no TLS, will say who the peer is.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// A stream of bytes both ways. Vectored writes reach the medium.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + Debug {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + Debug> ByteStream for S {}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    /// The bytes.
    pub stream: Box<dyn ByteStream>,
    /// The other end.
    pub peer: SocketAddr,
    /// Who the other end is (a SPIFFE id), where the medium proves it; `None` on TCP.
    pub identity: Option<Arc<str>>,
}

/// How to reach others and be reached.
#[async_trait]
pub trait Connections: Debug + Send + Sync {
    /// Listens on `address`; port 0 takes a free one.
    async fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>>;

    /// Connects to `host:port`. There is no deadline here: the caller sets one.
    async fn connect(&self, address: &str) -> io::Result<Connection>;
}

/// A port that others connect to.
#[async_trait]
pub trait Listener: Debug + Send + Sync {
    /// The next connection. Safe to cancel. An error concerns that connection or a passing shortage of descriptors:
    /// wait a moment and go on.
    async fn accept(&self) -> io::Result<Connection>;

    /// Where others reach it.
    fn address(&self) -> io::Result<SocketAddr>;
}

/// TCP without Nagle's delay.
#[derive(Clone, Copy, Debug)]
pub struct Tcp;

#[async_trait]
impl Connections for Tcp {
    async fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(TcpPort(TcpListener::bind(address).await?)))
    }

    async fn connect(&self, address: &str) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        let peer = stream.peer_addr()?;
        connection(stream, peer)
    }
}

#[derive(Debug)]
struct TcpPort(TcpListener);

#[async_trait]
impl Listener for TcpPort {
    async fn accept(&self) -> io::Result<Connection> {
        let (stream, peer) = self.0.accept().await?;
        connection(stream, peer)
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

fn connection(stream: TcpStream, peer: SocketAddr) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    Ok(Connection { stream: Box::new(stream), peer, identity: None })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn bytes_go_both_ways() {
        let listener = Tcp.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.address().unwrap().to_string();
        let (mut here, mut there) = tokio::try_join!(Tcp.connect(&address), listener.accept()).unwrap();
        assert!(here.stream.is_write_vectored());
        here.stream.write_all(b"ping").await.unwrap();
        let mut bytes = [0; 4];
        there.stream.read_exact(&mut bytes).await.unwrap();
        there.stream.write_all(b"pong").await.unwrap();
        here.stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"pong");
        assert_eq!(there.identity, None);
    }
}
