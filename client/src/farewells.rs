//! What is ended in the cluster when whoever opened it has gone: a future that was dropped cannot wait for that itself.
//!
//! Promises: each farewell has a bounded time; [`Farewells::wait`] waits for all that were begun. They are courtesies: what
//! is not ended so ends by itself. Not here: what is ended (`restore/visit.rs`).

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// A farewell takes no longer.
const WITHIN: Duration = Duration::from_secs(10);

/// Farewells under way.
#[derive(Debug, Default)]
pub(crate) struct Farewells(Mutex<JoinSet<()>>);

impl Farewells {
    /// Begins one beside everything else. Outside of a runtime, or in one that ends, nothing happens.
    pub(crate) fn begin(&self, farewell: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else { return };
        let mut under_way = self.lock();
        while under_way.try_join_next().is_some() {}
        let bounded = async {
            let _in_time = tokio::time::timeout(WITHIN, farewell).await;
        };
        under_way.spawn_on(bounded, &runtime);
    }

    /// Waits for those that were begun before.
    pub(crate) async fn wait(&self) {
        let mut under_way = std::mem::take(&mut *self.lock());
        while under_way.join_next().await.is_some() {}
    }

    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn farewells_go_on_by_themselves_and_are_waited_for_but_not_for_ever() {
        let (farewells, said) = (Farewells::default(), Arc::new(AtomicU32::new(0)));
        for _ in 0..3 {
            let said = Arc::clone(&said);
            farewells.begin(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                said.fetch_add(1, Ordering::Relaxed);
            });
        }
        farewells.begin(std::future::pending());
        farewells.wait().await;
        assert_eq!(said.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn without_a_runtime_nothing_happens() {
        Farewells::default().begin(std::future::pending());
    }
}
