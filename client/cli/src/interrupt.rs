//! Whoever wants the program to end: from a terminal (SIGINT), or from whatever supervises it (SIGTERM).
//!
//! ```text
//!   signal ─▶ a thread of its own ─▶ whoever awaits it ends in order
//!                                └─ nobody does, for a moment or until the next signal ─▶ the program is ended
//! ```
//!
//! Promises: a signal ends the program, whatever its main thread is blocked in: a key file that is a pipe to which nobody
//! writes, a file system that does not answer. Not here: what ending in order is (`main.rs`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Who does not answer for so long is blocked.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// Hears signals.
pub struct Interrupt {
    heard: watch::Receiver<u64>,
    answered: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Interrupt {
    /// From now on a signal does not end the process by itself. `abandon` must: it is called when nobody answers one.
    ///
    /// # Errors
    /// If the system has no thread or handler left.
    pub fn listen(abandon: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _entered = runtime.enter();
            Signals {
                from_terminal: signal(SignalKind::interrupt())?,
                from_supervisor: signal(SignalKind::terminate())?,
            }
        };
        let (tell, heard) = watch::channel(0);
        let answered = Arc::new(AtomicU64::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let (seen, over) = (Arc::clone(&answered), Arc::clone(&is_over));
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(signals.until_unanswered(&tell, &seen));
            if !over.load(Ordering::Acquire) {
                abandon();
            }
        })?;
        Ok(Self { heard, answered, is_over })
    }

    /// The result is there, and the program is about to end by itself: nothing is abandoned any more.
    pub fn ends_by_itself(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Waits for the next signal, and answers it.
    pub async fn heard(&mut self) {
        if self.heard.changed().await.is_err() {
            // The program is being ended.
            std::future::pending::<()>().await;
        }
        self.answered.store(*self.heard.borrow_and_update(), Ordering::Release);
    }
}

struct Signals {
    from_terminal: Signal,
    from_supervisor: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _heard = self.from_terminal.recv() => {}
            _heard = self.from_supervisor.recv() => {}
        }
    }

    async fn until_unanswered(mut self, tell: &watch::Sender<u64>, answered: &AtomicU64) {
        let mut count = 0;
        self.next().await;
        loop {
            count += 1;
            let _told = tell.send(count);
            let again = tokio::time::timeout(ANSWERED_WITHIN, self.next()).await;
            if answered.load(Ordering::Acquire) < count {
                return;
            }
            if again.is_err() {
                self.next().await;
            }
        }
    }
}
