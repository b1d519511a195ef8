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

use crate::act::act;
use crate::leading;
use crate::metrics::Worker;
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
        let mut rounds = leading::rounds(&self.consensus, LOOK_EVERY);
        loop {
            if !self.round(rounds.next().await).await {
                rounds.found_nothing();
            }
        }
    }

    /// Whether something was found, or may be there.
    async fn round(&self, home: GroupId) -> bool {
        let mut after = None;
        loop {
            let Ok(Answer::Ending(parts)) = self.reads.local(home, &Query::Ending { after, limit: PARTS_MAX }).await
            else {
                return true;
            };
            if parts.is_empty() {
                return after.is_some();
            }
            after = parts.last().copied();
            let mut heard = Vec::new();
            for part in &parts {
                if self.tell(home, part).await {
                    let EndingPart { tenant, snapshot, group } = *part;
                    heard.push(PartEnded { tenant, snapshot, group });
                }
            }
            let heard = self.proposer.majority().attested_all(home, heard, NodeCommand::PartEnded, WITHIN).await;
            let is_expected = |outcome: &Outcome| matches!(outcome, Outcome::Done(_));
            act(&self.proposer, Worker::Expire, home, heard, WITHIN, is_expected).await;
            if parts.len() < PARTS_MAX as usize {
                return true;
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
        // Its own lock runs, it has not heard of the commit, or it decides nothing now: it is told again.
        let is_expected = |outcome: &Outcome| {
            matches!(
                outcome,
                Outcome::Done(_)
                    | Outcome::Refused(
                        Refusal::RetentionActive { .. } | Refusal::VersionConflict | Refusal::DigestsDisagree,
                    )
            )
        };
        let commands = vec![EntryCommand::Node(NodeCommand::EndPart(word))];
        let outcomes = act(&self.proposer, Worker::Expire, group, commands, WITHIN, is_expected).await;
        matches!(outcomes.as_deref(), Some([Outcome::Done(_)]))
    }
}
