//! How fast something may go over the network: so many bytes a second over all of its streams, without bursts.
//!
//! Whoever sends or takes waits for its turn first. A pause earns nothing beyond a moment's worth, so the rate holds
//! over any second, but for the size of one blob. Not here: who sends, or takes (`backup/upload.rs`, `restore/fetch.rs`).

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What a pause may earn.
const BURST: Duration = Duration::from_millis(100);

/// A bound on bytes a second, or none.
#[derive(Debug)]
pub(crate) struct Throttle {
    bytes_per_second: Option<NonZeroU64>,
    /// When all that was taken so far has been sent at that rate.
    free_at: Mutex<Instant>,
}

impl Throttle {
    /// At most so many bytes a second; `None`: as fast as it goes.
    pub(crate) fn new(bytes_per_second: Option<NonZeroU64>) -> Self {
        Self { bytes_per_second, free_at: Mutex::new(Instant::now()) }
    }

    /// Whether anybody ever waits.
    pub(crate) fn is_bounded(&self) -> bool {
        self.bytes_per_second.is_some()
    }

    /// Waits until so many bytes may be sent.
    pub(crate) async fn take(&self, bytes: u64) {
        if let Some(until) = self.turn(bytes, Instant::now()) {
            tokio::time::sleep_until(until).await;
        }
    }

    /// When so many bytes may be sent, if that is bounded.
    fn turn(&self, bytes: u64, now: Instant) -> Option<Instant> {
        let rate = self.bytes_per_second?.get();
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        *free_at = (*free_at).max(earliest).checked_add(takes).unwrap_or(*free_at);
        Some(*free_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn all_senders_together_keep_the_rate() {
        let began = Instant::now() + SECOND;
        let throttle = Throttle::new(NonZeroU64::new(1_000_000));
        let last = (0..40).filter_map(|_| throttle.turn(250_000, began)).max().unwrap();
        assert_eq!(last, began + 10 * SECOND - BURST);
    }

    #[test]
    fn a_pause_earns_no_burst() {
        let began = Instant::now() + 3600 * SECOND;
        let throttle = Throttle::new(NonZeroU64::new(1000));
        assert_eq!(throttle.turn(10_000, began), Some(began + 10 * SECOND - BURST));
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        assert_eq!(Throttle::new(None).turn(u64::MAX, Instant::now()), None);
    }
}
