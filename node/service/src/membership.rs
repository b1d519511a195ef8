//! Worker *members*: the one controller of each group's membership, on its leader. It brings what Raft has after what the
//! cluster group's rows say, one step at a time.
//!
//! ```text
//!   rows lack nobody: a member that Raft lacks ─▶ learner ─ caught up ─▶ joint change: the old one leaves, it votes
//!                                                                          └▶ shard's log: ReplaceMember
//!                                                                              └▶ cluster group's log: MemberReplaced
//! ```
//!
//! Look: rows (at the cluster group's read index whenever a step is due), Raft's membership, how far each member is.
//! Decide: [`next`], pure. Act: one step with a compare-and-set on what was looked at. Every step is found again from
//! rows and membership alone, so a controller may die anywhere and another leader's goes on; two that believe to lead
//! cannot both succeed. A replica never gives way to an earlier one: replica ids grow, so old rows bring nobody back.
//!
//! Not here: who is to be a member (`node/core`), starting replicas (`follow.rs`), members that take fragments
//! (`members.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use strongroom_consensus::group::{GroupStatus, Member, MemberStatus};
use strongroom_consensus::groups::Consensus;
use strongroom_consensus::membership::{MemberChange, Membership};
use strongroom_core::cluster::rows::Changing;
use strongroom_core::entry::{EntryCommand, Filled, NodeCommand, Replaced};
use strongroom_core::query::{Answer, Query};
use strongroom_format::command::Attested;
use strongroom_format::id::{GroupId, NodeName, ReplicaId};
use strongroom_format::outcome::{Outcome, Refusal};

use crate::leading;
use crate::metrics::{self, Step as Counted, Worker};
use crate::propose::Proposer;
use crate::reads::Reads;
use crate::topology::{InForce, Topology};

/// How often a leader looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// An entry or a question that takes longer is given up; the next round tries again.
const WITHIN: Duration = Duration::from_secs(5);
/// A learner that lacks fewer entries than this has caught up: the rest comes while the change is decided.
const LAG_MAX: u64 = 128;

/// See the head of the file.
pub struct Controller {
    /// This node's groups.
    pub consensus: Consensus,
    /// Its way to questions.
    pub reads: Reads,
    /// Its way into logs.
    pub proposer: Proposer,
    /// What the cluster group says.
    pub topology: InForce,
}

/// What the rows say of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rows {
    members: BTreeMap<ReplicaId, Member>,
    changing: Option<Changing>,
}

impl Rows {
    fn of(topology: &Topology, group: GroupId) -> Self {
        Self { members: topology.members_of(group), changing: topology.changing(group) }
    }

    fn voters(&self) -> BTreeSet<ReplicaId> {
        self.members.iter().filter(|(_, member)| member.voter).map(|(replica, _)| *replica).collect()
    }
}

/// What Raft has, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Have {
    voters: BTreeMap<ReplicaId, NodeName>,
    learners: BTreeMap<ReplicaId, NodeName>,
    /// Who has almost everything that the leader has.
    caught_up: BTreeSet<ReplicaId>,
    /// The leader.
    leader: ReplicaId,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Raft's membership.
    Change(MemberChange),
    /// This replica leads and is to leave: another leads first.
    HandOver(ReplicaId),
    /// Membership and rows agree: the replacement is carried into the group's own rows, and then ended.
    Finish(Changing),
}

impl Controller {
    /// Runs until the map is not followed any more.
    pub async fn run(mut self) {
        loop {
            let led = leading::groups(&self.consensus).into_iter().filter_map(|group| self.consensus.status(group));
            let led: Vec<GroupStatus> = led.collect();
            metrics::members_behind(led.iter().map(behind).sum());
            let rounds = led.iter().map(|status| self.round(status));
            futures_util::future::join_all(rounds.collect::<Vec<_>>()).await;
            tokio::select! {
                biased;
                goes_on = self.topology.changed() => if !goes_on { return },
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn round(&self, status: &GroupStatus) {
        if self.look(status, &self.topology.now()).is_none() {
            return;
        }
        let group = status.group;
        // What follows may not stand on an old map.
        let map = match self.reads.linearizable(GroupId::CLUSTER, &Query::ClusterMap, WITHIN).await {
            Ok(Answer::ClusterMap(map)) => *map,
            Ok(_) | Err(_) => return,
        };
        let Some(status) = self.consensus.status(group) else { return };
        let Some((membership, step)) = self.look(&status, &Topology::of(&map)) else { return };
        let well = match step {
            Step::Change(change) => self.change(group, &membership, change).await,
            Step::HandOver(to) => self.hand_over(group, to).await,
            Step::Finish(changing) => self.finish(group, changing).await,
        };
        metrics::worked(Worker::Members, well);
    }

    /// What this leader's next step is; `None`: rows and membership agree, or it does not run any more.
    fn look(&self, status: &GroupStatus, topology: &Topology) -> Option<(Membership, Step)> {
        let membership = self.consensus.membership(status.group)?;
        let far = status.members.iter().filter(|member| has_caught_up(status, member));
        let have = Have {
            voters: membership.voters.clone(),
            learners: membership.learners.clone(),
            caught_up: far.map(|member| member.replica).collect(),
            leader: status.replica,
        };
        let step = next(&Rows::of(topology, status.group), &have)?;
        Some((membership, step))
    }

    async fn change(&self, group: GroupId, membership: &Membership, change: MemberChange) -> bool {
        let counted = match &change {
            MemberChange::AddLearner { .. } => Counted::AddLearner,
            MemberChange::Replace { .. } | MemberChange::SetVoters(_) => Counted::Voters,
            MemberChange::Remove { .. } => Counted::Remove,
        };
        let changed = self.consensus.change(group, membership.log_id, change.clone(), WITHIN).await;
        match changed {
            Ok(()) => {
                metrics::membership_changed(counted);
                tracing::info!(%group, ?change, "the membership changed");
                true
            }
            Err(fault) => {
                tracing::debug!(%group, ?change, %fault, "the membership was not changed");
                false
            }
        }
    }

    async fn hand_over(&self, group: GroupId, to: ReplicaId) -> bool {
        let asked = self.consensus.transfer(group, to).await;
        if let Err(fault) = &asked {
            tracing::debug!(%group, %to, %fault, "the lead was not handed over");
        }
        asked.is_ok()
    }

    async fn finish(&self, group: GroupId, changing: Changing) -> bool {
        let Changing { slot, to, .. } = changing;
        if group != GroupId::CLUSTER {
            let there = match self.reads.linearizable(group, &Query::Shard, WITHIN).await {
                Ok(Answer::Shard(facts)) => facts.members.iter().find(|member| member.slot == slot).cloned(),
                Ok(_) | Err(_) => return false,
            };
            let Some(there) = there else { return false };
            if there.replica != to {
                let replaced = Replaced { group, slot, from: there.replica, to };
                let Some(attested) = self.proposer.majority().attested(group, replaced, WITHIN).await else {
                    return false;
                };
                if !self.propose(group, NodeCommand::ReplaceMember(attested)).await {
                    return false;
                }
            }
        }
        let filled = Filled { group, slot, to };
        let attested = match group {
            // It says so of itself, to itself.
            GroupId::CLUSTER => Some(Attested { value: filled, signatures: Vec::new() }),
            _ => self.proposer.majority().attested(GroupId::CLUSTER, filled, WITHIN).await,
        };
        let Some(attested) = attested else { return false };
        let ended = self.propose(GroupId::CLUSTER, NodeCommand::MemberReplaced(attested)).await;
        if ended {
            metrics::membership_changed(Counted::Replaced);
            tracing::info!(%group, slot = slot.0, replica = %to, "a member was replaced");
        }
        ended
    }

    async fn propose(&self, group: GroupId, command: NodeCommand) -> bool {
        match self.proposer.propose(group, vec![EntryCommand::Node(command)], WITHIN).await {
            Ok(applied) => match applied.outcomes.as_slice() {
                // Another leader's controller came first.
                [Outcome::Done(_) | Outcome::Refused(Refusal::VersionConflict)] => true,
                other => {
                    tracing::warn!(%group, ?other, "a step of a replacement was refused");
                    false
                }
            },
            Err(fault) => {
                tracing::debug!(%group, %fault, "a step of a replacement was not applied");
                false
            }
        }
    }
}

/// Whether a member has almost everything that the leader has, whose status this is.
fn has_caught_up(status: &GroupStatus, member: &MemberStatus) -> bool {
    let last = status.last_log.unwrap_or_default();
    member.replica == status.replica || member.matched.is_some_and(|matched| last < matched + LAG_MAX)
}

/// How many members of a group lack many entries.
fn behind(status: &GroupStatus) -> usize {
    status.members.iter().filter(|member| !has_caught_up(status, member)).count()
}

/// The next step from what Raft has to what the rows say.
fn next(rows: &Rows, have: &Have) -> Option<Step> {
    // A group without members is not founded; rows without it are older than it.
    if have.voters.is_empty() || rows.members.is_empty() {
        return None;
    }
    let is_there = |replica: &ReplicaId| have.voters.contains_key(replica) || have.learners.contains_key(replica);
    let wanted = rows.voters();
    if let Some((replica, member)) = rows.members.iter().find(|(replica, _)| !is_there(replica)) {
        let is_new = have.voters.iter().chain(&have.learners).all(|(old, node)| *node != member.node || old < replica);
        let learner = MemberChange::AddLearner { replica: *replica, node: member.node.clone() };
        return is_new.then_some(Step::Change(learner));
    }
    let comes: Vec<ReplicaId> = wanted.iter().filter(|replica| !have.voters.contains_key(replica)).copied().collect();
    let goes: Vec<ReplicaId> = have.voters.keys().filter(|replica| !wanted.contains(replica)).copied().collect();
    if let Some(add) = comes.iter().copied().find(|replica| have.caught_up.contains(replica)) {
        let node = &rows.members[&add].node;
        let same_node = goes.iter().copied().find(|old| have.voters[old] == *node);
        let others = || if wanted.len() <= have.voters.len() { goes.first().copied() } else { None };
        return match same_node.or_else(others) {
            Some(remove) if remove == have.leader => hand_over(have, &wanted),
            Some(remove) => Some(Step::Change(MemberChange::Replace { remove, add })),
            None => Some(Step::Change(MemberChange::SetVoters(have.voters.keys().copied().chain([add]).collect()))),
        };
    }
    if !comes.is_empty() {
        return None; // it catches up
    }
    if let Some(out) = goes.first() {
        if *out == have.leader {
            return hand_over(have, &wanted);
        }
        let rest = have.voters.keys().filter(|replica| *replica != out).copied().collect();
        return Some(Step::Change(MemberChange::SetVoters(rest)));
    }
    if let Some(replica) = have.learners.keys().find(|replica| !rows.members.contains_key(replica)) {
        return Some(Step::Change(MemberChange::Remove { replica: *replica }));
    }
    rows.changing.map(Step::Finish)
}

/// To a voter that stays.
fn hand_over(have: &Have, wanted: &BTreeSet<ReplicaId>) -> Option<Step> {
    let stays = have.voters.keys().find(|replica| wanted.contains(replica) && have.caught_up.contains(replica));
    stays.map(|to| Step::HandOver(*to))
}

#[cfg(test)]
mod tests;
