//! How a worker acts: what it says goes into a group's log as one entry, is counted, and told of where it is refused.
//!
//! A refusal that the worker expects (a part that is not decided yet, a lock that still runs, a dispute) is no fault: it
//! looks again and says it again. Not here: looking and deciding, one file a worker.

use std::time::Duration;

use strongroom_core::entry::EntryCommand;
use strongroom_format::id::GroupId;
use strongroom_format::outcome::Outcome;

use crate::metrics::{self, Worker};
use crate::propose::Proposer;

/// Carries what a worker says into a log. `None`: there was nothing to say, or nothing is known of what became of it; the
/// next round says it again.
pub(crate) async fn act(
    proposer: &Proposer,
    worker: Worker,
    group: GroupId,
    commands: Vec<EntryCommand>,
    within: Duration,
    is_expected: impl Fn(&Outcome) -> bool,
) -> Option<Vec<Outcome>> {
    if commands.is_empty() {
        return None;
    }
    match proposer.propose(group, commands, within).await {
        Ok(applied) => {
            let refused = applied.outcomes.iter().find(|outcome| !is_expected(outcome));
            if let Some(refused) = refused {
                tracing::warn!(%group, worker = worker.label(), ?refused, "what a worker said was refused");
            }
            metrics::worked(worker, refused.is_none());
            Some(applied.outcomes)
        }
        Err(fault) => {
            tracing::debug!(%group, worker = worker.label(), %fault, "what a worker said was not carried over");
            metrics::worked(worker, false);
            None
        }
    }
}
