//! The three clocks of a machine.
//!
//! ```text
//!   wall       unix time; people and NTP set it          labels, certificates, the door
//!   raw        CLOCK_MONOTONIC_RAW; nobody slews it,     ┐ the compliance clock takes what the
//!              stands while the machine sleeps           │ smaller of the two has counted
//!   boot time  CLOCK_BOOTTIME; counts sleep, is slewed   ┘
//! ```
//!
//! Not here: what time *decides* (`node/core`), timers (tokio's).

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Three readings of time. Only `wall_unix_ns` may jump.
pub trait Clock: Debug + Send + Sync {
    /// Nanoseconds since 1970 as this machine believes; zero if it believes to be before that.
    fn wall_unix_ns(&self) -> u64;

    /// What `CLOCK_MONOTONIC_RAW` has counted since an arbitrary moment.
    fn raw(&self) -> Duration;

    /// What `CLOCK_BOOTTIME` has counted since the machine started.
    fn boottime(&self) -> Duration;
}

/// A moment from which both running clocks are read: what has passed since then is the smaller of the two counts, so that
/// neither a slewed clock nor one that counts sleep hurries it.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    raw: Duration,
    boottime: Duration,
}

impl Running {
    /// From now on.
    pub fn begin(clock: &dyn Clock) -> Self {
        Self { raw: clock.raw(), boottime: clock.boottime() }
    }

    /// What has passed; nothing if a clock ran backwards.
    pub fn elapsed(&self, clock: &dyn Clock) -> Duration {
        let raw = clock.raw().saturating_sub(self.raw);
        raw.min(clock.boottime().saturating_sub(self.boottime))
    }
}

/// The kernel's clocks.
#[derive(Clone, Copy, Debug)]
pub struct RealClock;

impl Clock for RealClock {
    fn wall_unix_ns(&self) -> u64 {
        // Through the C library, so that tests can set this clock and no other (libfaketime).
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
    }

    fn raw(&self) -> Duration {
        elapsed(clock_gettime(ClockId::MonotonicRaw))
    }

    fn boottime(&self) -> Duration {
        elapsed(clock_gettime(ClockId::Boottime))
    }
}

/// A reading before zero, which no running clock has, counts as zero.
fn elapsed(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds)
}

/// A clock that stands until somebody moves it. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct SimClock {
    now: Arc<Mutex<Now>>,
}

#[derive(Clone, Copy, Debug)]
struct Now {
    wall_unix_ns: u64,
    raw: Duration,
    boottime: Duration,
}

impl SimClock {
    /// A machine that has just started, at the given wall time.
    pub fn new(wall_unix_ns: u64) -> Self {
        let now = Now { wall_unix_ns, raw: Duration::ZERO, boottime: Duration::ZERO };
        Self { now: Arc::new(Mutex::new(now)) }
    }

    /// Lets true time pass: all three clocks move.
    pub fn advance(&self, by: Duration) {
        self.change(|now| {
            let nanoseconds = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
            now.wall_unix_ns = now.wall_unix_ns.saturating_add(nanoseconds);
            now.raw += by;
            now.boottime += by;
        });
    }

    /// Sets the wall clock, as an operator or NTP can.
    pub fn set_wall(&self, wall_unix_ns: u64) {
        self.change(|now| now.wall_unix_ns = wall_unix_ns);
    }

    /// Sets the monotonic clocks: what a restart, a suspended machine or a faulty kernel does.
    pub fn set_running(&self, raw: Duration, boottime: Duration) {
        self.change(|now| {
            now.raw = raw;
            now.boottime = boottime;
        });
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn read(&self) -> Now {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SimClock {
    fn wall_unix_ns(&self) -> u64 {
        self.read().wall_unix_ns
    }

    fn raw(&self) -> Duration {
        self.read().raw
    }

    fn boottime(&self) -> Duration {
        self.read().boottime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_running_clocks_never_go_back() {
        let before = (RealClock.raw(), RealClock.boottime());
        let after = (RealClock.raw(), RealClock.boottime());
        assert!(before.0 <= after.0);
        assert!(before.1 <= after.1);
        assert!(1_600_000_000_000_000_000 < RealClock.wall_unix_ns());
    }

    #[test]
    fn what_has_passed_is_what_the_slower_running_clock_says() {
        let clock = SimClock::new(5);
        clock.advance(Duration::from_secs(10));
        let running = Running::begin(&clock);
        clock.set_running(Duration::from_secs(14), Duration::from_secs(13));
        assert_eq!(running.elapsed(&clock), Duration::from_secs(3));
        clock.set_running(Duration::from_secs(14), Duration::from_secs(90));
        assert_eq!(running.elapsed(&clock), Duration::from_secs(4));
        clock.set_running(Duration::from_secs(2), Duration::from_secs(90));
        assert_eq!(running.elapsed(&clock), Duration::ZERO);
    }

    #[test]
    fn n125_a_kernel_that_slews_its_clocks_by_a_tenth_hurries_nothing() {
        let clock = SimClock::new(5);
        let running = Running::begin(&clock);
        clock.set_wall(1_100_000_000_005);
        clock.set_running(Duration::from_secs(1000), Duration::from_secs(1100));
        assert_eq!(running.elapsed(&clock), Duration::from_secs(1000));
    }

    #[test]
    fn a_wall_clock_that_is_set_moves_no_other_clock() {
        let clock = SimClock::new(5);
        clock.advance(Duration::from_secs(1));
        clock.set_wall(7);
        assert_eq!(clock.wall_unix_ns(), 7);
        assert_eq!(clock.raw(), Duration::from_secs(1));
        assert_eq!(clock.boottime(), Duration::from_secs(1));
    }
}
