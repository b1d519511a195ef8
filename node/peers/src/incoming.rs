//! An accepted connection as tonic wants to see it: bytes, and who is at the other end, in every request's extensions.
//! And, between nodes, what it is for: its first byte says so, before HTTP/2 begins, so that each kind can be served where
//! it belongs.
//!
//! ```text
//!   1  heartbeats, Raft, small calls ─▶ the control runtime: nothing there waits for bulk
//!   2  fragments ─────────────────────▶ the bulk runtime
//! ```
//!
//! Not here: handshakes (`node/identity`), what is served (`serve.rs`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use strongroom_identity::acceptor::{Accepted, Incoming};
use strongroom_identity::peer::Peer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// A connection that has not said by then what it is for is closed.
const SAYS_WITHIN: Duration = Duration::from_secs(5);
/// So many connections at once may be about to say it.
const SILENT_MAX: usize = 256;
/// Connections that wait to be served.
const WAITING_MAX: usize = 64;

/// What a connection between nodes is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Control,
    Bulk,
}

impl Purpose {
    fn byte(self) -> u8 {
        match self {
            Self::Control => 1,
            Self::Bulk => 2,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Control, Self::Bulk].into_iter().find(|purpose| purpose.byte() == byte)
    }

    /// Says it: the first byte on a connection.
    pub(crate) async fn say(self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        stream.write_all(&[self.byte()]).await?;
        stream.flush().await
    }
}

/// Connections of one kind, as they come. It ends with its [`Sorter`].
pub type Sorted = Pin<Box<dyn Stream<Item = io::Result<Served>> + Send>>;

/// Sorts the connections of a peer listener by what they are for. Somebody must run it.
pub struct Sorter {
    incoming: Incoming,
    control: mpsc::Sender<io::Result<Served>>,
    bulk: mpsc::Sender<io::Result<Served>>,
}

impl Sorter {
    /// The sorter, and what comes out: connections for control, and for bulk.
    pub fn new(incoming: Incoming) -> (Self, Sorted, Sorted) {
        let (control, for_control) = mpsc::channel(WAITING_MAX);
        let (bulk, for_bulk) = mpsc::channel(WAITING_MAX);
        let sorted = |queue| -> Sorted { Box::pin(ReceiverStream::new(queue)) };
        (Self { incoming, control, bulk }, sorted(for_control), sorted(for_bulk))
    }

    /// Runs until nobody serves any more.
    pub async fn run(mut self) {
        let mut silent = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(said) = silent.join_next() => {
                    let Ok(Some((purpose, served))) = said else { continue };
                    let queue = match purpose {
                        Purpose::Control => &self.control,
                        Purpose::Bulk => &self.bulk,
                    };
                    if queue.send(Ok(served)).await.is_err() {
                        return;
                    }
                }
                accepted = self.incoming.next(), if silent.len() < SILENT_MAX => drop(silent.spawn(listen(accepted))),
            }
        }
    }
}

async fn listen(mut accepted: Accepted) -> Option<(Purpose, Served)> {
    let byte = tokio::time::timeout(SAYS_WITHIN, accepted.read_u8()).await.ok()?.ok()?;
    Some((Purpose::of(byte)?, Served(accepted)))
}

/// A connection that got in, on any plane. Requests on it carry its [`Peer`].
#[derive(Debug)]
pub struct Served(pub Accepted);

impl Connected for Served {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.0.peer().clone()
    }
}

impl AsyncRead for Served {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Served {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
