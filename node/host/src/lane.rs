//! Lanes: where blocking work runs, in order, away from the async runtime.
//!
//! ```text
//!   run(closure).await ─┐
//!   run(closure).await ─┼─▶ bounded queue ─▶ one thread (real) or one task (simulated) ─▶ results
//!   post(closure) ──────┘                     a panic poisons the lane: nothing runs on it afterwards
//! ```
//!
//! A full queue makes `run` wait and `post` refuse. What was queued runs even if nobody waits for its result any more.
//! A panic is never lost: the caller of `run` gets it, every later caller gets it, and whoever watches
//! [`Lane::poisoned`] is woken.
//!
//! Not here: tasks and timers (tokio's own).

use std::any::Any;
use std::fmt::{self, Debug};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{Notify, mpsc, oneshot};

use crate::seeded::Seeded;

/// How many closures wait in a lane before `run` waits and `post` refuses.
const QUEUE_JOBS_MAX: usize = 1024;

/// How many cores this process may use: what its affinity and its control group leave of the machine's.
pub fn cores() -> io::Result<usize> {
    std::thread::available_parallelism().map(usize::from)
}

/// A piece of work as the queue holds it.
pub type Job = Box<dyn FnOnce() + Send>;

/// What makes lanes run: threads, or the simulation's runtime.
pub trait Lanes: Debug + Send + Sync {
    /// Runs everything that comes out of `jobs`, in order, until it is closed.
    fn start(&self, name: &str, jobs: Jobs);
}

/// Why a closure did not run or did not finish.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LaneError {
    /// A closure on this lane panicked, this one or an earlier one. What the lane owned may be half changed: its owner
    /// must be ended.
    #[error("lane {lane} is poisoned: {panic}")]
    Poisoned {
        /// The lane's name.
        lane: Arc<str>,
        /// What the panic said.
        panic: Arc<str>,
    },
    /// The queue is full. Try again, or use `run`, which waits.
    #[error("lane {lane} is full")]
    Full {
        /// The lane's name.
        lane: Arc<str>,
    },
    /// The lane's runtime is gone: the process is ending.
    #[error("lane {lane} has ended")]
    Ended {
        /// The lane's name.
        lane: Arc<str>,
    },
}

/// A queue of closures that run one after another. Clones share the queue.
#[derive(Clone)]
pub struct Lane {
    queue: mpsc::Sender<Job>,
    health: Arc<Health>,
}

impl Lane {
    pub(crate) fn start(lanes: &dyn Lanes, name: &str) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE_JOBS_MAX);
        let health = Arc::new(Health { lane: name.into(), panic: OnceLock::new(), poisoned: Notify::new() });
        lanes.start(name, Jobs { receiver, health: Arc::clone(&health) });
        Self { queue, health }
    }

    /// Runs `work` after everything queued before it and gives back what it returned. Waits for room in the queue.
    ///
    /// Dropping the future before the work is queued takes it back; afterwards the work runs all the same.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, LaneError> {
        self.health.check()?;
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            // nobody waiting any more is no fault of the work
            let _ = answer.send(work());
        });
        self.queue.send(job).await.map_err(|_| self.health.ended())?;
        match result.await {
            Ok(result) => Ok(result),
            Err(_) => {
                // The sender falls while the panic unwinds; the queue closes once the lane is marked as poisoned.
                self.queue.closed().await;
                Err(self.health.ended())
            }
        }
    }

    /// Queues `work` and does not wait for it.
    pub fn post(&self, work: impl FnOnce() + Send + 'static) -> Result<(), LaneError> {
        self.health.check()?;
        self.queue.try_send(Box::new(work)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => LaneError::Full { lane: Arc::clone(&self.health.lane) },
            mpsc::error::TrySendError::Closed(_) => self.health.ended(),
        })
    }

    /// Whether a closure on this lane has panicked.
    pub fn is_poisoned(&self) -> bool {
        self.health.panic.get().is_some()
    }

    /// Waits until a closure on this lane panics and says what it said. Safe to cancel.
    pub async fn poisoned(&self) -> LaneError {
        loop {
            let woken = self.health.poisoned.notified();
            if let Err(poisoned) = self.health.check() {
                return poisoned;
            }
            woken.await;
        }
    }
}

impl Debug for Lane {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Lane").field("name", &self.health.lane).field("poisoned", &self.is_poisoned()).finish()
    }
}

struct Health {
    lane: Arc<str>,
    panic: OnceLock<Arc<str>>,
    poisoned: Notify,
}

impl Health {
    fn check(&self) -> Result<(), LaneError> {
        match self.panic.get() {
            None => Ok(()),
            Some(panic) => Err(LaneError::Poisoned { lane: Arc::clone(&self.lane), panic: Arc::clone(panic) }),
        }
    }

    /// Why an answer did not come: the panic if there was one.
    fn ended(&self) -> LaneError {
        self.check().err().unwrap_or_else(|| LaneError::Ended { lane: Arc::clone(&self.lane) })
    }

    fn poison(&self, cause: &(dyn Any + Send)) {
        let said = cause
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| cause.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a panic without a message");
        tracing::error!(lane = %self.lane, panic = said, "a lane is poisoned");
        let _ = self.panic.set(said.into());
        self.poisoned.notify_waiters();
    }
}

/// The receiving end of a lane.
pub struct Jobs {
    receiver: mpsc::Receiver<Job>,
    health: Arc<Health>,
}

impl Jobs {
    /// Whether the lane may go on.
    fn run(&self, job: Job) -> bool {
        // Whatever the closure left half changed is never looked at again: the lane is poisoned.
        match catch_unwind(AssertUnwindSafe(job)) {
            Ok(()) => true,
            Err(cause) => {
                self.health.poison(&*cause);
                false
            }
        }
    }
}

impl Debug for Jobs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Jobs").field("lane", &self.health.lane).finish()
    }
}

/// Each lane is an OS thread.
#[derive(Clone, Copy, Debug)]
pub struct ThreadLanes;

impl Lanes for ThreadLanes {
    /// # Panics
    ///
    /// If the machine gives no thread: a node starts its lanes before it serves anybody.
    fn start(&self, name: &str, mut jobs: Jobs) {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Some(job) = jobs.receiver.blocking_recv() {
                    if !jobs.run(job) {
                        return;
                    }
                }
            })
            .expect("a machine that runs a node has threads for its lanes");
    }
}

/// Each lane is a task of the simulation's runtime that lets others go first as often as its seed says.
#[derive(Debug)]
pub struct SeededLanes {
    seed: AtomicU64,
}

impl SeededLanes {
    /// Lanes whose moments follow from `seed` and from the order in which they are started.
    pub fn new(seed: u64) -> Self {
        Self { seed: AtomicU64::new(seed) }
    }
}

impl Lanes for SeededLanes {
    /// # Panics
    ///
    /// Outside a tokio runtime.
    fn start(&self, _name: &str, mut jobs: Jobs) {
        let mut moments = Seeded::new(self.seed.fetch_add(1, Ordering::Relaxed));
        tokio::spawn(async move {
            while let Some(job) = jobs.receiver.recv().await {
                for _ in 0..moments.below(3) {
                    tokio::task::yield_now().await;
                }
                if !jobs.run(job) {
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn kinds() -> [Box<dyn Lanes>; 2] {
        [Box::new(ThreadLanes), Box::new(SeededLanes::new(7))]
    }

    #[tokio::test]
    async fn closures_run_in_the_order_in_which_they_were_given() {
        for lanes in kinds() {
            let lane = Lane::start(&*lanes, "order");
            let seen = Arc::new(Mutex::new(Vec::new()));
            for number in 0..100 {
                let seen = Arc::clone(&seen);
                lane.post(move || seen.lock().unwrap().push(number)).unwrap();
            }
            assert_eq!(lane.run(|| 5).await.unwrap(), 5);
            assert_eq!(*seen.lock().unwrap(), (0..100).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_panic_reaches_its_caller_and_every_later_one() {
        for lanes in kinds() {
            let lane = Lane::start(&*lanes, "panic");
            let watched = lane.clone();
            let (first, seen) = tokio::join!(lane.run(|| panic!("of {}", "lead")), watched.poisoned());
            assert!(matches!(first, Err(LaneError::Poisoned { panic, .. }) if &*panic == "of lead"));
            assert!(seen.to_string().contains("of lead"));
            assert!(matches!(lane.run(|| ()).await, Err(LaneError::Poisoned { .. })));
            assert!(matches!(lane.post(|| ()), Err(LaneError::Poisoned { .. })));
            assert!(lane.is_poisoned());
        }
    }

    #[tokio::test]
    async fn a_full_lane_refuses_what_is_posted_and_says_so() {
        let lane = Lane::start(&ThreadLanes, "full");
        let (release, wait) = std::sync::mpsc::channel::<()>();
        lane.post(move || assert!(wait.recv().is_err())).unwrap();
        let refused = (0..=QUEUE_JOBS_MAX + 1).find_map(|_| lane.post(|| ()).err());
        assert!(matches!(refused, Some(LaneError::Full { .. })));
        drop(release);
        lane.run(|| ()).await.unwrap();
    }
}
