//! Worker *admit*: a replica that starts asks the other voters what they know of it before it votes (DESIGN.md §6), and
//! what this node knows of others' replicas.
//!
//! ```text
//!   started ─▶ every other voter: how far was I durable? ─▶ it and those who answered: a majority?
//!                  ▲ again, until then                        ├ somebody knows more than the own log has ─▶ lost
//!                  └──────────────────────────────────────────┴ nobody does ─▶ admitted; founded, if the group is new
//! ```
//!
//! Promises: until it is admitted a replica answers no Raft message and never stands; a replica whose disk was put back
//! does not vote again; answers are given before the asked replica is admitted itself, so that a whole cluster can start.
//! A majority is enough, but all are waited for a moment: whoever led remembers most.
//! More is known of a replica than its log has, if a later vote is, or in the term of its own vote a later entry. What was
//! known of it in an earlier term says nothing: the log has it, or lost it lawfully, because the later vote is behind it.
//! Not here: what becomes of a lost replica (`rebuild.rs`).

use std::time::Duration;

use strongroom_consensus::group::Position;
use strongroom_consensus::groups::Consensus;
use strongroom_core::query::{Answer, Query};
use strongroom_format::id::{GroupId, NodeName, ReplicaId};
use strongroom_peers::fault::WordFault;
use strongroom_peers::message::KnownPosition;
use strongroom_peers::peers::Peers;
use tokio::time::Instant;

use crate::gate::{Gate, Loss};
use crate::metrics::{self, Worker};
use crate::reads::Reads;
use crate::topology::{InForce, Topology};

/// How often replicas that are not admitted ask.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// An answer takes no longer.
const WITHIN: Duration = Duration::from_secs(1);
/// Where a majority has answered, the others are waited for so long since the first asking.
const ALL_WITHIN: Duration = Duration::from_secs(1);

/// What this node remembers of other nodes' replicas. Clones are the same.
#[derive(Clone)]
pub struct Memory {
    consensus: Consensus,
    reads: Reads,
    topology: InForce,
}

impl Memory {
    /// From consensus' own memory, and from what the state's voters last reported.
    pub fn new(consensus: Consensus, reads: Reads, topology: InForce) -> Self {
        Self { consensus, reads, topology }
    }

    /// How far `replica` is known to have been durable, for its own node only (N95).
    pub async fn known(&self, from: &NodeName, group: GroupId, replica: ReplicaId) -> Result<KnownPosition, WordFault> {
        let topology = self.topology.now();
        if topology.replica(group, from) != Some(replica) {
            return Err(WordFault::NotAMember);
        }
        let not_here = || WordFault::NotYet { why: "the group does not run here".into() };
        let remembered = self.consensus.known_of(group, replica).ok_or_else(not_here)?;
        let reported = match self.reads.local(group, &Query::Group).await {
            Ok(Answer::Group(view)) => {
                let voter = view.voters.into_iter().find(|voter| voter.replica == replica);
                voter.and_then(|voter| voter.last)
            }
            Ok(_) | Err(_) => return Err(not_here()),
        };
        let reported = reported.map(|row| Position { vote_term: row.vote_term, last_index: row.durable_index });
        let Position { vote_term, last_index } = remembered.max(reported.unwrap_or_default());
        Ok(KnownPosition { vote_term, last_index })
    }
}

/// See the head of the file.
pub struct Admit {
    /// This node.
    pub me: NodeName,
    /// Its groups.
    pub consensus: Consensus,
    /// The others.
    pub peers: Peers,
    /// Who votes where.
    pub topology: InForce,
    /// Where the verdicts go.
    pub gate: Gate,
}

/// What the answers say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Ask again.
    Wait,
    /// Nobody knows anything newer.
    Admit,
    /// Somebody does.
    RolledBack { known: Known },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    node: NodeName,
    position: KnownPosition,
}

impl Admit {
    /// Runs for ever.
    pub async fn run(self) {
        let mut since = std::collections::BTreeMap::new();
        loop {
            let asking = self.gate.asking();
            since.retain(|name, _| asking.contains(name));
            let rounds = asking.into_iter().map(|(group, replica)| {
                let began = *since.entry((group, replica)).or_insert_with(Instant::now);
                self.round(group, replica, began)
            });
            futures_util::future::join_all(rounds.collect::<Vec<_>>()).await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn round(&self, group: GroupId, replica: ReplicaId, began: Instant) {
        let topology = self.topology.now();
        // What this node knows of the members is older than its replica, or newer: it will be told.
        if topology.replica(group, &self.me) != Some(replica) {
            return;
        }
        let Some(own) = self.consensus.position(group) else { return };
        let voters = topology.voters_of(group);
        let others = voters.iter().filter(|node| **node != self.me);
        let asked = others.map(async |node| {
            let position = self.peers.known(node, group, replica, WITHIN).await;
            let position = position.inspect_err(|fault| tracing::debug!(%group, %replica, %fault, "no word about us"));
            Some(Known { node: node.clone(), position: position.ok()? })
        });
        let answers: Vec<Known> = futures_util::future::join_all(asked).await.into_iter().flatten().collect();
        match judge(&own, &voters, &self.me, &answers, ALL_WITHIN <= began.elapsed()) {
            Verdict::Wait => {}
            Verdict::RolledBack { known } => {
                let KnownPosition { vote_term, last_index } = known.position;
                let why = format!(
                    "node {} knows term {vote_term} and entry {last_index} of it, its log has term {} and entry {}",
                    known.node, own.vote_term, own.last_index
                );
                tracing::error!(%group, %replica, why, "ROLLBACK_DETECTED: this replica does not vote again");
                if self.gate.lose(group, replica, Loss::RolledBack { why }) {
                    metrics::rollback_detected();
                }
            }
            Verdict::Admit => self.let_in(group, replica, &topology).await,
        }
    }

    async fn let_in(&self, group: GroupId, replica: ReplicaId, topology: &Topology) {
        let members = topology.members_of(group);
        let may_found = are_founders(group, topology);
        self.consensus.admit(group);
        let told = match may_found {
            true => self.consensus.initialize(group, members).await,
            false => self.consensus.tell(group, members),
        };
        match told {
            Ok(()) => {
                if self.gate.admit(group, replica) {
                    tracing::info!(%group, %replica, "a replica is admitted");
                }
            }
            Err(ref fault) => tracing::warn!(%group, %replica, %fault, "a replica was not told its members yet"),
        }
        metrics::worked(Worker::Admit, told.is_ok());
    }
}

/// Whether the members are those with which the group was made: then whoever has an empty log may found it. Where one was
/// replaced, the group is founded.
fn are_founders(group: GroupId, topology: &Topology) -> bool {
    let members = topology.members_of(group);
    let mut entries = members.keys().map(|replica| replica.0 >> 8);
    let first = entries.next();
    topology.changing(group).is_none()
        && entries.all(|entry| Some(entry) == first)
        && (group != GroupId::CLUSTER || first == Some(0))
}

/// What follows from the answers. A replica that has no vote counts for none.
fn judge(own: &Position, voters: &[NodeName], me: &NodeName, answers: &[Known], all_were_waited_for: bool) -> Verdict {
    let newer = |known: &&Known| {
        let KnownPosition { vote_term, last_index } = known.position;
        *own < Position { vote_term, last_index }
    };
    let answered = answers.iter().filter(|known| voters.contains(&known.node)).count();
    let counted = answered + usize::from(voters.contains(me));
    if counted <= voters.len() / 2 {
        return Verdict::Wait;
    }
    match answers.iter().find(newer) {
        Some(known) => Verdict::RolledBack { known: known.clone() },
        None if counted == voters.len() || all_were_waited_for => Verdict::Admit,
        None => Verdict::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(node: &str) -> NodeName {
        node.parse().unwrap()
    }

    fn names(nodes: &[&str]) -> Vec<NodeName> {
        nodes.iter().map(|node| name(node)).collect()
    }

    fn known(node: &str, vote_term: u64, last_index: u64) -> Known {
        Known { node: name(node), position: KnownPosition { vote_term, last_index } }
    }

    fn own() -> Position {
        Position { vote_term: 5, last_index: 100 }
    }

    #[test]
    fn a_voter_alone_waits_for_nobody() {
        assert_eq!(judge(&own(), &names(&["n1"]), &name("n1"), &[], false), Verdict::Admit);
    }

    #[test]
    fn a_majority_is_needed_and_all_are_waited_for_a_moment() {
        let voters = names(&["n1", "n2", "n3"]);
        let judge = |answers: &[Known], waited| judge(&own(), &voters, &name("n1"), answers, waited);
        assert_eq!(judge(&[], true), Verdict::Wait);
        assert_eq!(judge(&[known("n2", 5, 100)], false), Verdict::Wait);
        assert_eq!(judge(&[known("n2", 5, 100)], true), Verdict::Admit);
        assert_eq!(judge(&[known("n2", 0, 0), known("n3", 4, 99)], false), Verdict::Admit);
    }

    #[test]
    fn n72_whoever_is_known_to_have_had_more_is_rolled_back() {
        let voters = names(&["n1", "n2", "n3"]);
        let judge = |answers: &[Known]| judge(&own(), &voters, &name("n1"), answers, false);
        for newer in [known("n2", 6, 100), known("n2", 5, 101), known("n2", 6, 0)] {
            assert_eq!(judge(std::slice::from_ref(&newer)), Verdict::RolledBack { known: newer.clone() });
            assert_eq!(judge(&[known("n3", 1, 1), newer.clone()]), Verdict::RolledBack { known: newer });
        }
    }

    #[test]
    fn entries_of_an_earlier_term_than_the_own_vote_may_have_been_replaced_and_lose_nobody() {
        // 40 entries were acknowledged to the leader of term 4 and never committed; the one of term 5 cut them off.
        let voters = names(&["n1", "n2", "n3"]);
        let answers = [known("n2", 4, 140), known("n3", 5, 100)];
        assert_eq!(judge(&own(), &voters, &name("n1"), &answers, false), Verdict::Admit);
        // A disk from before that cut has the earlier vote too, and does not get in.
        let before = Position { vote_term: 4, last_index: 140 };
        let Verdict::RolledBack { known } = judge(&before, &voters, &name("n1"), &answers, false) else { panic!() };
        assert_eq!(known.node, name("n3"));
        // So has one from before the entries came.
        let older = Position { vote_term: 4, last_index: 100 };
        assert!(matches!(judge(&older, &voters, &name("n1"), &answers[..1], true), Verdict::RolledBack { .. }));
    }

    #[test]
    fn a_learner_needs_a_majority_of_the_voters_without_itself() {
        let voters = names(&["n1", "n2", "n3"]);
        let judge = |answers: &[Known]| judge(&own(), &voters, &name("n4"), answers, true);
        assert_eq!(judge(&[known("n1", 1, 1)]), Verdict::Wait);
        assert_eq!(judge(&[known("n1", 1, 1), known("n5", 1, 1)]), Verdict::Wait);
        assert_eq!(judge(&[known("n1", 1, 1), known("n3", 1, 1)]), Verdict::Admit);
    }
}
