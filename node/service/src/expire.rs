//! Worker *expire*: ends go from the home row of a snapshot to its parts in other shards.
//!
//! Look: the parts that each home shard that this node leads still has to tell. Decide: nothing; the rules there refuse
//! while the part's own lock runs by their own clock, and then it is told again. Act: carry the word into the other
//! shard's log, and that it was heard back into the home shard's. Carried twice it changes nothing.
//! Not here: what keeps a snapshot (`node/core`), what becomes of what it named (`collect.rs`).

use std::time::Duration;

use strongroom_consensus::groups::Consensus;
use strongroom_core::entry::{Ended, EntryCommand, NodeCommand, PartEnded};
use strongroom_core::query::{Answer, EndingPart, Query};
use strongroom_format::id::GroupId;
use strongroom_format::outcome::{Outcome, Refusal};

use crate::leading;
use crate::metrics::{self, Worker};
use crate::propose::Proposer;
use crate::reads::Reads;

/// How often a leader looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many parts are told of at once.
const PARTS_MAX: u32 = 64;
/// An entry that takes longer is given up; the next round tries again.
const WITHIN: Duration = Duration::from_secs(5);

/// See the head of the file.
pub struct Expirer {
    /// This node's groups.
    pub consensus: Consensus,
    /// Its way to questions.
    pub reads: Reads,
    /// Its way into logs.
    pub proposer: Proposer,
}

impl Expirer {
    /// Runs for ever.
    pub async fn run(self) {
        loop {
            for home in leading::shards(&self.consensus) {
                self.round(home).await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn round(&self, home: GroupId) {
        let mut after = None;
        loop {
            let Ok(Answer::Ending(parts)) = self.reads.local(home, &Query::Ending { after, limit: PARTS_MAX }).await
            else {
                return;
            };
            after = parts.last().copied();
            let mut heard = Vec::new();
            for part in &parts {
                if self.tell(home, part).await {
                    let EndingPart { tenant, snapshot, group } = *part;
                    heard.push(PartEnded { tenant, snapshot, group });
                }
            }
            let heard = self.proposer.majority().attested_all(home, heard, NodeCommand::PartEnded, WITHIN).await;
            if !heard.is_empty() {
                let well = self.proposer.propose(home, heard, WITHIN).await.is_ok();
                metrics::worked(Worker::Expire, well);
            }
            if parts.len() < PARTS_MAX as usize {
                return;
            }
        }
    }

    /// Tells a shard. Whether its part is gone.
    async fn tell(&self, home: GroupId, part: &EndingPart) -> bool {
        let EndingPart { tenant, snapshot, group } = *part;
        let value = Ended { home, tenant, snapshot };
        let Some(word) = self.proposer.majority().attested(group, value, WITHIN).await else {
            tracing::debug!(%group, "too few voters signed that a snapshot has ended");
            return false;
        };
        let word = NodeCommand::EndPart(word);
        match self.proposer.propose(group, vec![EntryCommand::Node(word)], WITHIN).await {
            Ok(applied) => match applied.outcomes.as_slice() {
                [Outcome::Done(_)] => true,
                // Its own lock runs, it has not heard of the commit, or it decides nothing now: it is told again.
                [
                    Outcome::Refused(
                        Refusal::RetentionActive { .. } | Refusal::VersionConflict | Refusal::DigestsDisagree,
                    ),
                ] => false,
                other => {
                    tracing::warn!(%group, %snapshot, ?other, "a shard does not believe that a snapshot has ended");
                    false
                }
            },
            Err(fault) => {
                tracing::debug!(%group, %fault, "a shard was not told that a snapshot has ended");
                false
            }
        }
    }
}
