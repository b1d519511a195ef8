//! A stream of answers and the work behind it. The work is a task that its stream owns: it goes on while a caller does
//! not read, so that it can hold nothing (memory, others' turns) for longer than [`UNREAD_MAX`], and it ends when the
//! stream does, whatever ends that.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;

/// A caller that has not read an answer for so long is given up.
pub(crate) const UNREAD_MAX: Duration = Duration::from_secs(60);

/// What the work sends comes out; when it has ended and all is out, so does its fault.
pub(crate) struct Driven<T> {
    work: JoinHandle<Result<(), Status>>,
    out: mpsc::Receiver<T>,
    ended: bool,
}

/// Where the work's answers go in.
pub(crate) struct Out<T>(mpsc::Sender<T>);

/// Nobody reads any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread;

impl<T> Out<T> {
    /// Waits for room, but not for ever.
    pub(crate) async fn send(&self, answer: T) -> Result<(), Unread> {
        self.0.send_timeout(answer, UNREAD_MAX).await.map_err(|_| Unread)
    }
}

impl<T: Send + 'static> Driven<T> {
    /// `work` gets the sending end of a queue of `ahead` answers.
    pub(crate) fn new<F>(ahead: usize, work: impl FnOnce(Out<T>) -> F) -> Self
    where
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let (sender, out) = mpsc::channel(ahead);
        Self { work: tokio::spawn(work(Out(sender))), out, ended: false }
    }
}

impl<T> Drop for Driven<T> {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl<T> Stream for Driven<T> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        match this.out.poll_recv(cx) {
            Poll::Ready(Some(answer)) => return Poll::Ready(Some(Ok(answer))),
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => {}
        }
        // The work has dropped its end: it is over, or about to be.
        let Poll::Ready(ended) = Pin::new(&mut this.work).poll(cx) else { return Poll::Pending };
        this.ended = true;
        match ended {
            Ok(Ok(())) => Poll::Ready(None),
            Ok(Err(status)) => Poll::Ready(Some(Err(status))),
            Err(broken) => {
                tracing::error!(%broken, "the work behind a stream broke");
                Poll::Ready(Some(Err(Status::internal("INTERNAL: see the node's log"))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn everything_that_was_sent_comes_out_before_the_fault() {
        let mut driven = Driven::new(2, |out| async move {
            for number in 0..10 {
                out.send(number).await.map_err(|_| Status::cancelled(""))?;
            }
            Err(Status::aborted("at the end"))
        });
        for number in 0..10 {
            assert_eq!(driven.next().await.unwrap().unwrap(), number);
        }
        assert_eq!(driven.next().await.unwrap().unwrap_err().code(), tonic::Code::Aborted);
        assert!(driven.next().await.is_none());
    }

    #[tokio::test]
    async fn work_that_ends_well_ends_the_stream() {
        let mut driven = Driven::new(1, |out| async move {
            out.send(7).await.map_err(|_| Status::cancelled(""))?;
            Ok(())
        });
        assert_eq!(driven.next().await.unwrap().unwrap(), 7);
        assert!(driven.next().await.is_none());
        assert!(driven.next().await.is_none());
    }

    #[tokio::test]
    async fn work_ends_when_its_stream_is_dropped() {
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let driven: Driven<u8> = Driven::new(1, |out| async move {
            let _alive = alive;
            let _out = out;
            std::future::pending().await
        });
        drop(driven);
        assert!(ended.await.is_err());
    }
}
