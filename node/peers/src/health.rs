//! Who is well, and how long a node's acknowledgements take.
//!
//! ```text
//!   well ──connection fails, or nothing comes back while something waits──▶ suspect ──answers a probe──▶ well
//!                                                                   (after a stall not before its penance is over)
//! ```
//!
//! A node that is only slow is not suspect: its own 99th percentile grows, and with it the patience of those who wait.
//! Not here: who probes (`peers.rs`), what is done with a fragment that nobody took (`node/service`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Nobody is given up on sooner (DESIGN.md §3).
pub const PATIENCE_MIN: Duration = Duration::from_millis(300);
/// Patience with a node of whose acknowledgements little is known yet.
pub const PATIENCE_AT_FIRST: Duration = Duration::from_secs(3);
/// Nobody is waited for longer.
pub const PATIENCE_MAX: Duration = Duration::from_secs(10);
/// A node from which nothing comes back is not called stalled sooner.
const STALL_MIN: Duration = Duration::from_secs(1);
/// How many acknowledgements are remembered.
const SAMPLES: usize = 256;
/// Fewer say nothing about a percentile.
const SAMPLES_MIN: usize = 32;
/// For how long a node that stalled is left alone although it answers probes; doubles from stall to stall.
const PENANCE_MIN: Duration = Duration::from_secs(1);
const PENANCE_MAX: Duration = Duration::from_secs(16);

/// What is known of one node.
#[derive(Debug, Default)]
pub struct Health {
    suspect: watch::Sender<bool>,
    /// Whether it has ever answered.
    seen: AtomicBool,
    patience_us: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    samples: Samples,
    version: Option<String>,
    penance: Option<Penance>,
}

#[derive(Clone, Copy, Debug)]
struct Penance {
    length: Duration,
    ends: Instant,
}

impl Health {
    /// Whether it is to be skipped.
    pub fn is_suspect(&self) -> bool {
        *self.suspect.borrow()
    }

    /// Whether it has answered, and nothing has failed since.
    pub fn is_up(&self) -> bool {
        self.seen.load(Ordering::Acquire) && !self.is_suspect()
    }

    /// The version of its program, if it has said so.
    pub fn version(&self) -> Option<String> {
        self.inner().version.clone()
    }

    /// How long to wait for its acknowledgement of a fragment: three times its own 99th percentile, at least 300 ms.
    pub fn patience(&self) -> Duration {
        match self.patience_us.load(Ordering::Relaxed) {
            0 => PATIENCE_AT_FIRST,
            micros => Duration::from_micros(micros),
        }
    }

    /// After how long without any answer, while something waits, it has stalled.
    pub(crate) fn stall(&self) -> Duration {
        self.patience().max(STALL_MIN)
    }

    /// It acknowledged something after so long.
    pub(crate) fn acknowledged(&self, after: Duration) {
        let mut inner = self.inner();
        inner.penance = None;
        if let Some(p99) = inner.samples.add(after) {
            let patience = (3 * p99).clamp(PATIENCE_MIN, PATIENCE_MAX);
            self.patience_us.store(u64::try_from(patience.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// A connection to it failed.
    pub(crate) fn failed(&self) {
        self.suspect.send_replace(true);
    }

    /// Nothing came back from it while something waited.
    pub(crate) fn stalled(&self, now: Instant) {
        let mut inner = self.inner();
        let length = inner.penance.map_or(PENANCE_MIN, |before| (2 * before.length).min(PENANCE_MAX));
        inner.penance = Some(Penance { length, ends: now + length });
        drop(inner);
        self.failed();
    }

    /// It answered a probe.
    pub(crate) fn answered(&self, version: String, now: Instant) {
        let mut inner = self.inner();
        inner.version = Some(version);
        let doing_penance = inner.penance.is_some_and(|penance| now < penance.ends);
        drop(inner);
        self.seen.store(true, Ordering::Release);
        if !doing_penance {
            self.suspect.send_replace(false);
        }
    }

    /// Waits until it is suspect. Safe to cancel.
    pub(crate) async fn alarm(&self) {
        let mut suspect = self.suspect.subscribe();
        // The sender lives as long as `self`.
        let _ = suspect.wait_for(|suspect| *suspect).await;
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last acknowledgements, in a ring.
#[derive(Debug, Default)]
struct Samples {
    micros: Vec<u32>,
    next: usize,
    since_sorted: usize,
}

impl Samples {
    /// Remembers one; says the 99th percentile now and then.
    fn add(&mut self, sample: Duration) -> Option<Duration> {
        let micros = u32::try_from(sample.as_micros()).unwrap_or(u32::MAX);
        if self.micros.len() < SAMPLES {
            self.micros.push(micros);
        } else {
            self.micros[self.next] = micros;
        }
        self.next = (self.next + 1) % SAMPLES;
        self.since_sorted += 1;
        if self.micros.len() < SAMPLES_MIN || self.since_sorted < SAMPLES_MIN {
            return None;
        }
        self.since_sorted = 0;
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * 99).div_ceil(100) - 1;
        Some(Duration::from_micros(u64::from(sorted[place])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledge(health: &Health, times: usize, after_ms: u64) {
        for _ in 0..times {
            health.acknowledged(Duration::from_millis(after_ms));
        }
    }

    #[test]
    fn patience_is_three_times_the_99th_percentile_and_at_least_300_ms() {
        let health = Health::default();
        assert_eq!(health.patience(), PATIENCE_AT_FIRST);
        acknowledge(&health, SAMPLES, 5);
        assert_eq!(health.patience(), PATIENCE_MIN);
        acknowledge(&health, SAMPLES, 400);
        assert_eq!(health.patience(), Duration::from_millis(1200));
        acknowledge(&health, SAMPLES, 60_000);
        assert_eq!(health.patience(), PATIENCE_MAX);
        acknowledge(&health, SAMPLES + SAMPLES_MIN, 5);
        assert_eq!(health.patience(), PATIENCE_MIN);
    }

    #[test]
    fn a_few_slow_acknowledgements_do_not_move_the_99th_percentile() {
        let health = Health::default();
        acknowledge(&health, SAMPLES - 2, 5);
        acknowledge(&health, 2, 9_000);
        assert_eq!(health.patience(), PATIENCE_MIN);
    }

    #[tokio::test]
    async fn a_suspect_node_is_well_again_when_it_answers_a_probe() {
        let health = Health::default();
        assert!(!health.is_suspect() && !health.is_up());
        health.answered("1".into(), Instant::now());
        assert!(health.is_up());
        health.failed();
        assert!(health.is_suspect() && !health.is_up());
        health.alarm().await;
        health.answered("1".into(), Instant::now());
        assert!(health.is_up());
    }

    #[test]
    fn a_node_that_stalls_again_and_again_is_left_alone_for_longer_although_it_answers_probes() {
        let health = Health::default();
        let mut now = Instant::now();
        for length in [1, 2, 4, 8, 16, 16] {
            health.stalled(now);
            now += Duration::from_millis(length * 1000 - 1);
            health.answered("1".into(), now);
            assert!(health.is_suspect(), "{length}");
            now += Duration::from_millis(1);
            health.answered("1".into(), now);
            assert!(!health.is_suspect(), "{length}");
        }
        health.acknowledged(Duration::from_millis(5));
        health.stalled(now);
        health.answered("1".into(), now + PENANCE_MIN);
        assert!(!health.is_suspect());
    }
}
