//! Whether a group's task and stores are well, and what they died of.
//!
//! ```text
//!   task ended, task panicked             ─▶ Task   ─▶ opened again over the same state
//!   row damaged, rules halt, store panics ─▶ State  ─▶ state set aside, made again of snapshot and log
//!   log failed, checkpoint's sync failed  ─▶ `fatal.rs`: the process ends
//! ```
//!
//! The panic policy: a panic belongs to whoever owns what it may have left half changed. A group's task, its own lane and
//! what runs for it on shared lanes take that group down and no other; a panic on the log's lane ends the process.
//! The first report counts. Not here: what is done about it (`supervise.rs`).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use strongroom_core::tables::Halt;
use strongroom_host::lane::Lane;
use tokio::sync::watch;

/// What a group died of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Death {
    /// openraft's task is gone. What lies on the disk is as it was.
    #[error("its task ended: {0}")]
    Task(String),
    /// The state cannot be trusted or read.
    #[error("{0}")]
    State(String),
}

/// Where deaths are reported. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Health(watch::Sender<Option<Death>>);

impl Health {
    pub(crate) fn new() -> Self {
        Self(watch::channel(None).0)
    }

    /// The first report counts.
    pub(crate) fn report(&self, death: Death) {
        self.0.send_if_modified(|known| {
            let is_first = known.is_none();
            known.get_or_insert(death);
            is_first
        });
    }

    /// Waits for the first report.
    pub(crate) async fn died(&self) -> Death {
        let mut reports = self.0.subscribe();
        loop {
            if let Some(death) = reports.borrow_and_update().clone() {
                return death;
            }
            // this end keeps the channel open
            if reports.changed().await.is_err() {
                return Death::Task("nobody can report any more".into());
            }
        }
    }
}

/// Runs work for one group on a lane that it shares with others: a panic is the group's, and the lane goes on.
pub(crate) async fn run_shared<T: Send + 'static>(
    lane: &Lane,
    work: impl FnOnce() -> Result<T, Halt> + Send + 'static,
) -> Result<T, Halt> {
    let guarded = move || match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done,
        Err(panic) => Err(Halt { why: format!("a panic: {}", said(&*panic)) }),
    };
    lane.run(guarded).await.unwrap_or_else(|lane| Err(Halt { why: lane.to_string() }))
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "not a text",
    }
}

#[cfg(test)]
mod tests {
    use strongroom_host::Host;

    use super::*;

    #[tokio::test]
    async fn the_first_report_counts() {
        let health = Health::new();
        health.report(Death::State("a row".into()));
        health.report(Death::Task("the rest of it".into()));
        assert_eq!(health.died().await, Death::State("a row".into()));
    }

    #[tokio::test]
    async fn a_panic_for_one_group_leaves_a_shared_lane_to_the_others() {
        let lane = Host::real().lane("shared");
        let panicked = run_shared::<()>(&lane, || panic!("page {}", 7)).await;
        assert_eq!(panicked, Err(Halt { why: "a panic: page 7".into() }));
        assert_eq!(run_shared(&lane, || Ok(5)).await, Ok(5));
    }
}
