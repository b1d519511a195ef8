//! A dialogue with one node over one long-lived stream: many questions at once, each with a number, answers in any order.
//!
//! ```text
//!   ask ─▶ window (bytes) ─▶ queue ─▶ loop ─▶ stream ═══▶ other node
//!    ▲                                 │ pending by number   │
//!    └───────────── answer ────────────┴◀════════════════════┘
//! ```
//!
//! The loop opens the stream when somebody asks. When it breaks, everything that had been sent is answered *broken* (it
//! may have been heard) and, until a pause that doubles is over, what comes is answered *unreachable* (it was not sent).
//! Where the dialogue says so, a stream on which something waits and nothing comes back is given up.
//! Full: `ask` waits for the window until its deadline, then *busy*.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use prost::Message;
use strongroom_format::id::NodeName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use crate::error::PeerError;
use crate::health::Health;
use crate::wire;

/// Opening takes no longer.
const OPEN_MAX: Duration = Duration::from_secs(3);
/// The pause after a failure.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Questions that wait for the loop.
const QUEUE_MAX: usize = 256;
/// Questions that wait for the connection.
const AHEAD_MAX: usize = 8;
/// The window is counted in KiB.
const WINDOW_UNIT: usize = 1024;

/// What is asked and answered on a stream.
pub(crate) trait Dialogue: Send + Sync + 'static {
    /// A question. It has a field for its number.
    type Ask: Message + Send + 'static;
    /// An answer, with the number of its question.
    type Answer: Send + 'static;
    /// How they come.
    type Answers: Stream<Item = Result<Self::Answer, Status>> + Send + Unpin;
    /// Whether a node from which nothing comes back while something waits has stalled, and how long answers took counts
    /// for its health.
    const TELLS_OF_HEALTH: bool;

    /// Writes the number into a question.
    fn number(ask: &mut Self::Ask, number: u64);
    /// Reads the number of an answer.
    fn number_of(answer: &Self::Answer) -> u64;
    /// Opens the stream.
    fn open(
        channel: Channel,
        asks: ReceiverStream<Self::Ask>,
    ) -> impl Future<Output = Result<Self::Answers, Status>> + Send;
}

/// Where questions go in.
pub(crate) struct Pipe<D: Dialogue> {
    node: NodeName,
    queue: mpsc::Sender<Job<D>>,
    window: Arc<Semaphore>,
    window_units: u32,
}

/// Where they come out: somebody must run it.
pub(crate) struct PipeLoop<D: Dialogue> {
    node: NodeName,
    channel: Channel,
    health: Arc<Health>,
    queue: mpsc::Receiver<Job<D>>,
    /// Streams opened so far times the questions asked on them: numbers are never used twice.
    next_number: u64,
}

struct Job<D: Dialogue> {
    ask: D::Ask,
    waiting: Waiting<D>,
}

struct Waiting<D: Dialogue> {
    answer: oneshot::Sender<Result<D::Answer, PeerError>>,
    since: Instant,
    /// Given back when the question needs no memory any more.
    _room: OwnedSemaphorePermit,
}

impl<D: Dialogue> Pipe<D> {
    /// A pipe to `node` that holds at most `window_bytes` of questions without answer.
    pub(crate) fn new(
        node: NodeName,
        channel: Channel,
        health: Arc<Health>,
        window_bytes: usize,
    ) -> (Self, PipeLoop<D>) {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let window_units = u32::try_from(window_bytes / WINDOW_UNIT).expect("a window of a few megabytes").max(1);
        let window = Arc::new(Semaphore::new(window_units as usize));
        let pipe = Self { node: node.clone(), queue: sender, window, window_units };
        (pipe, PipeLoop { node, channel, health, queue, next_number: 0 })
    }

    /// Asks and waits for the answer. Cancelling it leaves a question that was sent where it is.
    pub(crate) async fn ask(&self, ask: D::Ask, deadline: Duration) -> Result<D::Answer, PeerError> {
        let since = Instant::now();
        let ends = since + deadline;
        let busy = || PeerError::Busy { node: self.node.clone() };
        let units = u32::try_from(ask.encoded_len() / WINDOW_UNIT + 1).unwrap_or(u32::MAX).min(self.window_units);
        let (answer, answered) = oneshot::channel();
        let send = async {
            // Without waiting where nothing is full, so that what is asked first is sent first: a task that has used up
            // its turn would be made to wait at any other door.
            let room = match Arc::clone(&self.window).try_acquire_many_owned(units) {
                Ok(room) => room,
                Err(_) => Arc::clone(&self.window).acquire_many_owned(units).await.expect("the window is never closed"),
            };
            let waiting = Waiting { answer, since, _room: room };
            match self.queue.try_send(Job { ask, waiting }) {
                Ok(()) => Ok(()),
                Err(mpsc::error::TrySendError::Full(job)) => self.queue.send(job).await.map_err(|_| self.gone()),
                Err(mpsc::error::TrySendError::Closed(_)) => Err(self.gone()),
            }
        };
        tokio::time::timeout_at(ends, send).await.map_err(|_| busy())??;
        match tokio::time::timeout_at(ends, answered).await {
            Err(_elapsed) => Err(PeerError::Late { node: self.node.clone() }),
            Ok(Err(_dropped)) => Err(PeerError::Broken { node: self.node.clone(), why: "the pipe ended".into() }),
            Ok(Ok(answer)) => answer,
        }
    }

    fn gone(&self) -> PeerError {
        PeerError::Unreachable { node: self.node.clone(), why: "the pipe has ended".into() }
    }
}

/// How a stream's life ended.
enum End {
    /// Nobody will ask any more.
    Closed,
    /// It never opened: nothing was sent.
    Unopened(Status),
    /// It broke after it had been open.
    Broken(String),
}

impl<D: Dialogue> PipeLoop<D> {
    /// Runs until the pipe is dropped.
    pub(crate) async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        while let Some(job) = self.queue.recv().await {
            if job.waiting.answer.is_closed() {
                continue; // its deadline is over: nobody waits for it
            }
            let why = match self.live(job).await {
                End::Closed => return,
                End::Unopened(status) => wire::describe(&status),
                End::Broken(why) => {
                    pause = PAUSE_MIN;
                    why
                }
            };
            tracing::debug!(node = %self.node, why, "a stream to a node ended");
            self.refuse_for(pause, &why).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    /// One stream, from the first question to its end.
    async fn live(&mut self, first: Job<D>) -> End {
        let (asks, body) = mpsc::channel(AHEAD_MAX);
        let mut pending: HashMap<u64, Waiting<D>> = HashMap::new();
        let opening = D::open(self.channel.clone(), ReceiverStream::new(body));
        // The stream opens with the first question under way, so that opening costs no round trip of its own.
        self.send(first, asks.try_reserve().expect("the first of several places"), &mut pending);
        let opened = tokio::time::timeout(OPEN_MAX, opening).await;
        let mut answers = match opened.unwrap_or_else(|_| Err(Status::deadline_exceeded("the stream did not open"))) {
            Ok(answers) => answers,
            Err(status) => {
                self.health.failed();
                let unsent = wire::surely_not_sent(&status);
                let why = wire::describe(&status);
                self.fail(pending, |node| match unsent {
                    true => PeerError::Unreachable { node, why: why.clone() },
                    false => PeerError::Broken { node, why: why.clone() },
                });
                return End::Unopened(status);
            }
        };
        let mut heard = Instant::now();
        let mut next: Option<Job<D>> = None;
        let end = loop {
            let stalls = heard + self.health.stall();
            let may_stall = D::TELLS_OF_HEALTH && !pending.is_empty();
            tokio::select! {
                biased;
                answer = answers.next() => match answer {
                    Some(Ok(answer)) => {
                        heard = Instant::now();
                        self.deliver(answer, heard, &mut pending);
                    }
                    None => break End::Broken("the other node ended the stream".into()),
                    Some(Err(status)) => break End::Broken(wire::describe(&status)),
                },
                place = asks.reserve(), if next.is_some() => match (place, next.take()) {
                    (Ok(place), Some(job)) => {
                        if pending.is_empty() {
                            heard = Instant::now(); // nothing was owed before
                        }
                        self.send(job, place, &mut pending);
                    }
                    (Err(_), Some(job)) => {
                        let gone = PeerError::Unreachable { node: self.node.clone(), why: "the stream broke".into() };
                        let _ = job.waiting.answer.send(Err(gone));
                        break End::Broken("the connection takes nothing more".into());
                    }
                    (_, None) => unreachable!("guarded by next.is_some()"),
                },
                job = self.queue.recv(), if next.is_none() => match job {
                    Some(job) if job.waiting.answer.is_closed() => {}
                    Some(job) => next = Some(job),
                    None => break End::Closed,
                },
                () = tokio::time::sleep_until(stalls), if may_stall => {
                    self.health.stalled(Instant::now());
                    break End::Broken("nothing came back".into());
                }
            }
        };
        if let End::Broken(why) = &end {
            self.health.failed();
            self.fail(pending, |node| PeerError::Broken { node, why: why.clone() });
        }
        if let Some(job) = next {
            let gone = PeerError::Unreachable { node: self.node.clone(), why: "the stream broke".into() };
            let _ = job.waiting.answer.send(Err(gone));
        }
        end
    }

    fn send(&mut self, job: Job<D>, place: mpsc::Permit<'_, D::Ask>, pending: &mut HashMap<u64, Waiting<D>>) {
        let Job { mut ask, waiting } = job;
        self.next_number += 1;
        D::number(&mut ask, self.next_number);
        pending.insert(self.next_number, waiting);
        place.send(ask);
    }

    fn deliver(&self, answer: D::Answer, now: Instant, pending: &mut HashMap<u64, Waiting<D>>) {
        let Some(waiting) = pending.remove(&D::number_of(&answer)) else {
            tracing::warn!(node = %self.node, "a node answered a question that nobody asked");
            return;
        };
        if D::TELLS_OF_HEALTH {
            self.health.acknowledged(now.saturating_duration_since(waiting.since));
        }
        // Whoever asked may have given up: what came too late still counted for the node's health.
        let _ = waiting.answer.send(Ok(answer));
    }

    fn fail(&self, pending: HashMap<u64, Waiting<D>>, error: impl Fn(NodeName) -> PeerError) {
        for waiting in pending.into_values() {
            let _ = waiting.answer.send(Err(error(self.node.clone())));
        }
    }

    /// Answers whatever comes within `pause` that the node cannot be reached.
    async fn refuse_for(&mut self, pause: Duration, why: &str) {
        let ends = Instant::now() + pause;
        while let Ok(Some(job)) = tokio::time::timeout_at(ends, self.queue.recv()).await {
            let refused = PeerError::Unreachable { node: self.node.clone(), why: why.to_owned() };
            let _ = job.waiting.answer.send(Err(refused));
        }
    }
}
