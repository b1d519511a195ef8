//! How fast a tenant may send to this node: a bucket each, filled at the tenant's rate, emptied by what comes.
//!
//! ```text
//! blob ─▶ in the bucket? ─▶ taken
//!          └ no ─▶ a wait, as long as others do not wait too long already ─▶ or refused, with when to come again
//! ```
//!
//! Promises: over any time no tenant gets more than its rate and one bucket; one that is full slows nobody else. A wait holds
//! its upload up, and its sender with it: so a rate costs time and no work twice. Not here: who may how much (an operator
//! says it; the cluster group carries it), quotas (`node/core/src/shard/quotas.rs`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strongroom_format::id::TenantId;
use tokio::time::Instant;

/// Nobody waits longer at the door: senders take a longer silence for a dead node.
pub const WAIT_MAX: Duration = Duration::from_secs(8);
/// A bucket holds what comes in so long.
const BUCKET: Duration = Duration::from_secs(1);
/// No bucket is smaller: the largest blob passes at once.
const BUCKET_BYTES_MIN: u64 = 8 << 20;
/// At most so many buckets are kept; one that is full again is as good as none.
const BUCKETS_MAX: usize = 4096;

/// It came too fast. Come again after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tenant sends faster than it may; again in {} ms", .again_after.as_millis())]
pub struct TooFast {
    /// When there will be room.
    pub again_after: Duration,
}

/// All tenants' buckets on this node. Clones are the same.
#[derive(Clone, Default)]
pub struct Rates(Arc<Mutex<BTreeMap<TenantId, Bucket>>>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// What it lacks to be full, in bytes. More than it holds: somebody waits.
    lacks_bytes: f64,
    looked: Instant,
}

impl Rates {
    /// Takes so many bytes out of a tenant's bucket, which is filled at `rate` bytes a second. Says how long whoever sent
    /// them must wait.
    ///
    /// # Errors
    /// If it would be longer than [`WAIT_MAX`]. Nothing is taken then.
    pub fn take(&self, tenant: TenantId, bytes: u64, rate: u64, now: Instant) -> Result<Duration, TooFast> {
        let rate = rate.max(1) as f64;
        let holds = (rate * BUCKET.as_secs_f64()).max(BUCKET_BYTES_MIN as f64);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if BUCKETS_MAX <= buckets.len() {
            buckets.retain(|_, bucket| bucket.lacks_now(rate, now) > 0.0);
        }
        let bucket = buckets.entry(tenant).or_insert(Bucket { lacks_bytes: 0.0, looked: now });
        let lacks = bucket.lacks_now(rate, now) + bytes as f64;
        let wait = Duration::from_secs_f64(((lacks - holds) / rate).clamp(0.0, 1e9));
        if WAIT_MAX < wait {
            return Err(TooFast { again_after: wait - WAIT_MAX });
        }
        *bucket = Bucket { lacks_bytes: lacks, looked: now };
        Ok(wait)
    }
}

impl Bucket {
    fn lacks_now(&self, rate: f64, now: Instant) -> f64 {
        let past = now.saturating_duration_since(self.looked).as_secs_f64();
        (self.lacks_bytes - past * rate).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn tenant(n: u8) -> TenantId {
        TenantId::from_bytes([n; 16])
    }

    #[test]
    fn over_any_time_no_more_passes_than_the_rate_and_one_bucket() {
        let (rates, began, rate) = (Rates::default(), Instant::now(), 10 * MIB);
        // Somebody sends as fast as it goes, in pieces of odd sizes, and waits as it is told.
        let (mut now, mut sent, mut waited) = (began, 0, false);
        for n in 0..5000_u64 {
            let bytes = 1 + (n * 7919) % (4 * MIB);
            let wait = rates.take(tenant(1), bytes, rate, now).expect("one that waits is never refused");
            (now, sent, waited) = (now + wait, sent + bytes, waited || !wait.is_zero());
            let past = (now - began).as_secs_f64();
            assert!(sent as f64 <= past * rate as f64 + (10 * MIB) as f64 + 1.0, "{sent} bytes in {past} s");
        }
        assert!(waited);
        let past = (now - began).as_secs_f64();
        assert!(past * rate as f64 <= sent as f64, "and nobody waits for nothing: {sent} bytes in {past} s");
    }

    #[test]
    fn n87_who_floods_is_told_when_to_come_again_and_slows_nobody_else() {
        let (rates, now, rate) = (Rates::default(), Instant::now(), MIB);
        // Many uploads at once, none of which waits for another.
        let mut refused = None;
        for _ in 0..100 {
            if let Err(TooFast { again_after }) = rates.take(tenant(1), MIB, rate, now) {
                refused = Some(again_after);
            }
        }
        let again_after = refused.expect("100 MiB at once at 1 MiB a second");
        assert_eq!(rates.take(tenant(2), 4 * MIB, rate, now), Ok(Duration::ZERO), "another has its own bucket");
        // A refusal takes nothing: at the time that was named there is room.
        assert!(rates.take(tenant(1), MIB, rate, now).is_err());
        assert!(rates.take(tenant(1), MIB, rate, now + again_after).is_ok());
    }

    #[test]
    fn one_that_rests_has_a_full_bucket_again_and_no_more() {
        let (rates, now, rate) = (Rates::default(), Instant::now(), 20 * MIB);
        assert_eq!(rates.take(tenant(1), 20 * MIB, rate, now), Ok(Duration::ZERO));
        assert!(!rates.take(tenant(1), MIB, rate, now).expect("a short wait").is_zero());
        let later = now + Duration::from_secs(3600);
        assert_eq!(rates.take(tenant(1), 20 * MIB, rate, later), Ok(Duration::ZERO));
        assert!(!rates.take(tenant(1), MIB, rate, later).expect("a short wait").is_zero());
    }
}
