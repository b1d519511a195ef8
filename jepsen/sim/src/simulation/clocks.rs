//! The time of a simulation, and the clocks of its machines, which are wrong.
//!
//! ```text
//!   true time   milliseconds since the simulation began; each machine's timers run on it (a paused one's stand)
//!     ├ raw, boot time   true time · rate + what they showed when the machine started
//!     └ wall             true time · rate + whatever somebody set it to
//! ```
//!
//! Not here: when they are set (`plan.rs`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_host::clock::Clock;
use tokio::time::Instant;

/// What the wall clocks show when a simulation begins, in milliseconds since 1970.
pub(crate) const BEGAN_UNIX_MS: u64 = 1_700_000_000_000;

const BILLION: i128 = 1_000_000_000;

/// True time as a machine's runtime counts it. Within that runtime only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    start: Instant,
    start_ms: u64,
}

impl Now {
    /// The runtime around this call has just begun, at this moment of true time.
    pub(crate) fn begin(start_ms: u64) -> Self {
        Self { start: Instant::now(), start_ms }
    }

    /// Milliseconds of true time.
    pub(crate) fn ms(&self) -> u64 {
        self.start_ms + u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn ns(&self) -> i128 {
        i128::from(self.start_ms) * 1_000_000 + i128::try_from(self.start.elapsed().as_nanos()).unwrap_or(i128::MAX)
    }

    /// When a moment of true time comes.
    pub(crate) fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms.saturating_sub(self.start_ms))
    }
}

/// A machine's clocks, over all its lives. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Hands(Arc<Mutex<Shown>>);

#[derive(Clone, Copy, Debug)]
struct Shown {
    /// When they were looked at, in nanoseconds of true time.
    at_ns: i128,
    running_ns: i128,
    wall_ns: i128,
    /// How much faster than true time they run, in billionths.
    running_ppb: i64,
    wall_ppb: i64,
}

impl Shown {
    fn later(self, at_ns: i128) -> Self {
        let passed = (at_ns - self.at_ns).max(0);
        let run = |ppb: i64| passed + passed * i128::from(ppb) / BILLION;
        Self {
            at_ns: at_ns.max(self.at_ns),
            running_ns: self.running_ns + run(self.running_ppb),
            wall_ns: self.wall_ns + run(self.wall_ppb),
            ..self
        }
    }
}

impl Hands {
    /// Right at the beginning, with the rates of this machine's crystals.
    pub(crate) fn new(running_ppb: i64, wall_ppb: i64) -> Self {
        let wall_ns = i128::from(BEGAN_UNIX_MS) * 1_000_000;
        Self(Arc::new(Mutex::new(Shown { at_ns: 0, running_ns: 0, wall_ns, running_ppb, wall_ppb })))
    }

    /// Somebody sets the wall clock.
    pub(crate) fn jump_wall(&self, at_ms: u64, by_ms: i64) {
        self.change(at_ms, |shown| shown.wall_ns = (shown.wall_ns + i128::from(by_ms) * 1_000_000).max(0));
    }

    /// The running clocks jump or run at another rate: a broken kernel.
    pub(crate) fn run_at(&self, at_ms: u64, jump_ms: u64, ppb: i64) {
        self.change(at_ms, |shown| {
            shown.running_ns += i128::from(jump_ms) * 1_000_000;
            shown.running_ppb = ppb;
        });
    }

    /// The machine starts: the running clocks begin at nothing.
    pub(crate) fn reboot(&self, at_ms: u64) {
        self.change(at_ms, |shown| shown.running_ns = 0);
    }

    fn change(&self, at_ms: u64, change: impl FnOnce(&mut Shown)) {
        let mut shown = self.shown();
        *shown = shown.later(i128::from(at_ms) * 1_000_000);
        change(&mut shown);
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As a process sees them in one of its lives.
    pub(crate) fn seen(&self, now: Now) -> Seen {
        Seen { hands: self.clone(), now }
    }
}

/// See [`Hands::seen`].
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    hands: Hands,
    now: Now,
}

impl Seen {
    fn shown(&self) -> Shown {
        self.hands.shown().later(self.now.ns())
    }

    fn running(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.shown().running_ns).unwrap_or(0))
    }
}

impl Clock for Seen {
    fn wall_unix_ns(&self) -> u64 {
        u64::try_from(self.shown().wall_ns).unwrap_or(0)
    }

    fn raw(&self) -> Duration {
        self.running()
    }

    fn boottime(&self) -> Duration {
        self.running()
    }
}
