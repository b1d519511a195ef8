//! Where hashing and coding runs: lanes of the host, taken in turn, so that no heartbeat waits for a blob.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use strongroom_host::Host;
use strongroom_host::lane::{Lane, LaneError};

/// Lanes for hashing and coding. Clones are the same.
#[derive(Clone, Debug)]
pub struct Coders {
    lanes: Arc<[Lane]>,
    next: Arc<AtomicUsize>,
}

impl Coders {
    /// So many lanes, at least one.
    pub fn new(host: &Host, lanes: usize) -> Self {
        let lanes = (0..lanes.max(1)).map(|number| host.lane(&format!("coding-{number}"))).collect();
        Self { lanes, next: Arc::default() }
    }

    /// Runs `work` on the next lane.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, LaneError> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.lanes[next % self.lanes.len()].run(work).await
    }
}
