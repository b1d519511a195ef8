//! Worker *keep*: what keeps a snapshot changed at home; whoever leads the home shard tells the shards that are behind.
//!
//! Look: the snapshots with which somebody is behind, in each shard that this node leads. Decide: nothing, the rules did.
//! Act: carry the home shard's word, signed by a majority of its voters, into each other shard's log, and *has it* back. The word has a version and is taken
//! over once, so carrying it twice changes nothing. Not here: what it means (`node/core`, `shard/lock_parts.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use strongroom_consensus::groups::Consensus;
use strongroom_core::entry::{EntryCommand, NodeCommand};
use strongroom_core::locking::{PartKeeping, PartKept};
use strongroom_core::query::{Answer, Query};
use strongroom_format::command::Attested;
use strongroom_format::id::GroupId;
use strongroom_format::outcome::{Outcome, Refusal};

use crate::act::act;
use crate::leading;
use crate::metrics::Worker;
use crate::propose::Proposer;
use crate::reads::Reads;

/// How often a leader looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// So many snapshots are told of at once.
const SNAPSHOTS_MAX: u32 = 64;
/// An entry that takes longer is given up; the next round tries again.
const WITHIN: Duration = Duration::from_secs(5);

/// See the head of the file.
pub struct Keeper {
    /// This node's groups.
    pub consensus: Consensus,
    /// Its way to questions.
    pub reads: Reads,
    /// Its way into logs.
    pub proposer: Proposer,
}

impl Keeper {
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
        // A shard that does not answer is not told more in this round.
        let mut silent = BTreeSet::new();
        let mut after = None;
        loop {
            let query = Query::Behind { after, limit: SNAPSHOTS_MAX };
            let Ok(Answer::Behind(behind)) = self.reads.local(home, &query).await else { return true };
            let Some(last) = behind.last() else { return after.is_some() };
            after = Some((last.tenant, last.snapshot));
            let mut by_shard: BTreeMap<GroupId, Vec<PartKeeping>> = BTreeMap::new();
            for told in behind {
                by_shard.entry(told.group).or_default().push(told);
            }
            let mut said = Vec::new();
            for (shard, told) in by_shard.into_iter().filter(|(shard, _)| !silent.contains(shard)).collect::<Vec<_>>() {
                match self.tell(shard, told).await {
                    Some(kept) => said.extend(kept),
                    None => drop(silent.insert(shard)),
                }
            }
            if !said.is_empty() {
                let commands = self.proposer.majority().attested_all(home, said, NodeCommand::PartKept, WITHIN).await;
                self.carry(home, commands).await;
            }
        }
    }

    /// Tells a shard what a majority of the home shard's voters sign; returns what it has now. `None`: too few sign, or it
    /// does not answer.
    async fn tell(&self, shard: GroupId, told: Vec<PartKeeping>) -> Option<Vec<PartKept>> {
        let commands = self.proposer.majority().attested_all(shard, told, NodeCommand::KeepPart, WITHIN).await;
        let says = |command: &EntryCommand| match command {
            EntryCommand::Node(NodeCommand::KeepPart(Attested { value: told, .. })) => Some(PartKept {
                home: told.home,
                group: told.group,
                tenant: told.tenant,
                snapshot: told.snapshot,
                version: told.keeping.version,
            }),
            _ => None,
        };
        let said: Vec<PartKept> = commands.iter().filter_map(says).collect();
        let outcomes = self.carry(shard, commands).await?;
        let done = said.into_iter().zip(outcomes).filter(|(_, outcome)| matches!(outcome, Outcome::Done(_)));
        Some(done.map(|(said, _)| said).collect())
    }

    async fn carry(&self, group: GroupId, commands: Vec<EntryCommand>) -> Option<Vec<Outcome>> {
        // A part that is not decided yet hears of its lock with the decision, and is told again.
        let is_expected = |outcome: &Outcome| matches!(outcome, Outcome::Done(_) | Outcome::Refused(Refusal::NotFound));
        act(&self.proposer, Worker::Keep, group, commands, WITHIN, is_expected).await
    }
}
