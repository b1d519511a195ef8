//! Makes a group's state durable, and only after the group's log is: else a crash could leave a state that is ahead of
//! every log, and a replica that vouches for entries that it does not have.

use std::io;

use strongroom_core::tables::Halt;
use strongroom_host::lane::Lane;
use tokio::sync::watch;

use crate::fatal::Fatal;
use crate::health::{Death, Health, run_shared};
use crate::log::SharedLog;
use crate::log::store::GroupStore;
use crate::metrics;
use crate::state::StateStore;

/// What came of a try, where the state is one still.
enum Made {
    Durable,
    /// The log is not durable up to there.
    TooEarly,
    /// The disk did not take it.
    Refused(Halt),
}

/// What checkpoints one group. Clones do the same.
#[derive(Clone, Debug)]
pub(crate) struct Checkpointer {
    state: StateStore,
    /// The lane on which the state is changed.
    lane: Lane,
    log: GroupStore,
    writes: watch::Receiver<u64>,
    health: Health,
    fatal: Fatal,
}

impl Checkpointer {
    /// A write or sync that fails calls `fatal`: the disk may have dropped what it was given, and is not asked again. A state
    /// that turns out to be damaged, or over which the store panics, is reported to `health`: it is made again, where a
    /// process that ended would find it again as it is.
    pub(crate) fn new(
        state: &StateStore,
        lane: &Lane,
        shared: &SharedLog,
        log: &GroupStore,
        health: &Health,
        fatal: &Fatal,
    ) -> Self {
        Self {
            state: state.clone(),
            lane: lane.clone(),
            log: log.clone(),
            writes: shared.writes(),
            health: health.clone(),
            fatal: fatal.clone(),
        }
    }

    /// Makes the log durable as it is.
    pub(crate) async fn flush_log(&self) -> io::Result<()> {
        self.log.flush().await
    }

    /// Makes everything that is applied now durable, and perhaps more.
    pub(crate) async fn checkpoint(&self) -> io::Result<()> {
        let mut writes = self.writes.clone();
        loop {
            writes.mark_unchanged();
            let (state, log) = (self.state.clone(), self.log.clone());
            let checkpointed = run_shared(&self.lane, move || {
                let applied = state.applied_index();
                if applied <= state.checkpointed() {
                    return Ok(Made::Durable);
                }
                if log.look(|log| log.durable()) < applied {
                    return Ok(Made::TooEarly);
                }
                match state.checkpoint() {
                    Ok(()) => {
                        metrics::checkpointed();
                        Ok(Made::Durable)
                    }
                    Err(halt) if state.is_sealed() => Ok(Made::Refused(halt)),
                    Err(halt) => Err(halt),
                }
            });
            match checkpointed.await {
                Ok(Made::Durable) => return Ok(()),
                // a commit that others made durable before this node did: its own write is under way
                Ok(Made::TooEarly) => {
                    writes.changed().await.map_err(|_| io::Error::other("the shared log has ended"))?
                }
                Ok(Made::Refused(halt)) => {
                    self.fatal.call(&halt.to_string());
                    return Err(io::Error::other(halt));
                }
                Err(halt) => {
                    self.health.report(Death::State(halt.why.clone()));
                    return Err(io::Error::other(halt));
                }
            }
        }
    }
}
