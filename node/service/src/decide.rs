//! Worker *decide*: parts that are sealed wait for their home shard's word; whoever leads their shard asks for it.
//!
//! Look: the parts that wait in each shard that this node leads. Decide: the home shard has, or has not. Act: carry its
//! word into this shard's log. The word never flips, so carrying it twice changes nothing.
//! Not here: what a part is (`node/core`).

use std::collections::BTreeSet;
use std::time::Duration;

use strongroom_consensus::groups::Consensus;
use strongroom_core::entry::{Decided, NodeCommand};
use strongroom_core::query::{Answer, Decision, Query, WaitingPart};
use strongroom_format::id::GroupId;
use strongroom_format::outcome::Outcome;

use crate::act::act;
use crate::leading;
use crate::metrics::{self, Worker};
use crate::propose::Proposer;
use crate::reads::Reads;

/// How often a leader looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// So many parts are looked at, and decided, at once.
const PARTS_MAX: u32 = 256;
/// A question or an entry that takes longer is given up; the next round tries again.
const WITHIN: Duration = Duration::from_secs(5);

/// See the head of the file.
pub struct Decider {
    /// This node's groups.
    pub consensus: Consensus,
    /// Its way to questions.
    pub reads: Reads,
    /// Its way into logs.
    pub proposer: Proposer,
}

impl Decider {
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
    async fn round(&self, group: GroupId) -> bool {
        // A home shard that does not answer is not asked again in this round.
        let mut silent = BTreeSet::new();
        let mut after = None;
        loop {
            let query = Query::Waiting { after, limit: PARTS_MAX };
            let Ok(Answer::Waiting(parts)) = self.reads.local(group, &query).await else { return true };
            let Some(last) = parts.last() else { return after.is_some() };
            after = Some((last.tenant, last.snapshot));
            let mut said = Vec::new();
            for part in parts.iter().filter(|part| !silent.contains(&part.home)).collect::<Vec<_>>() {
                match self.ask(part).await {
                    Word::Decided(decided) => said.push(decided),
                    Word::NotYet => {}
                    Word::Silence => drop(silent.insert(part.home)),
                }
            }
            if !said.is_empty() {
                self.carry(group, said).await;
            }
            if parts.len() < PARTS_MAX as usize {
                return true;
            }
        }
    }

    /// Has the home shards' voters sign, and carries what a majority signed.
    async fn carry(&self, group: GroupId, said: Vec<Decided>) {
        let commands = self.proposer.majority().attested_all(group, said, NodeCommand::DecidePart, WITHIN).await;
        if commands.is_empty() {
            tracing::debug!(%group, "too few voters signed a home shard's word");
            return metrics::worked(Worker::Decide, false);
        }
        let is_expected = |outcome: &Outcome| matches!(outcome, Outcome::Done(_));
        act(&self.proposer, Worker::Decide, group, commands, WITHIN, is_expected).await;
    }

    /// Asks the home shard for its word.
    async fn ask(&self, part: &WaitingPart) -> Word {
        let WaitingPart { tenant, snapshot, home } = *part;
        let query = Query::Decision { tenant, snapshot };
        let kept = match self.reads.linearizable(home, &query, WITHIN).await {
            Ok(Answer::Decision(Decision::Committed { kept })) => Some(kept),
            Ok(Answer::Decision(Decision::Aborted)) => None,
            // Not decided: it waits. No clock of this shard drops it.
            Ok(_) => return Word::NotYet,
            Err(_) => return Word::Silence,
        };
        Word::Decided(Decided { home, tenant, snapshot, kept })
    }
}

/// What a home shard says about a part.
enum Word {
    Decided(Decided),
    NotYet,
    Silence,
}
