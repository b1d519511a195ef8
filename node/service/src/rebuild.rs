//! Worker *rebuild*: a replica of this node that cannot go on asks for a new replica id.
//!
//! ```text
//!   fenced by its own applied state ┐
//!   broken, says consensus          ├─▶ lost: neither leads nor votes ─▶ RebuildReplica in the cluster group's log
//!   rolled back, found by *admit*   ┘                                      └▶ the map names another replica (`follow.rs`)
//! ```
//!
//! Look: the state of each group whenever something was applied, and consensus' events. Decide: a lost replica stays lost
//! ([`Gate`]). Act: hand the lead over, fence, ask; again until another replica is here. While another member of the same
//! group is being replaced, the cluster group says so and it waits; a replica that is lost while it is coming waits for
//! nobody and asks for a later id.
//! Not here: who says that a digest is wrong (`node/core`), the change of the membership (`membership.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use strongroom_consensus::group::{GroupEvent, What};
use strongroom_consensus::groups::Consensus;
use strongroom_core::entry::{EntryCommand, NodeCommand, RebuildRequest};
use strongroom_core::query::{Answer, GroupView, Query};
use strongroom_format::id::{GroupId, NodeName, ReplicaId, Slot};
use strongroom_format::outcome::{Outcome, Refusal};
use strongroom_format::sign::SigningKey;
use tokio::sync::broadcast::error::RecvError;

use crate::gate::{Gate, Loss};
use crate::metrics::{self, Worker};
use crate::propose::Proposer;
use crate::reads::Reads;
use crate::topology::InForce;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// An entry that takes longer is given up; the next round tries again.
const WITHIN: Duration = Duration::from_secs(5);

/// See the head of the file.
pub struct Rebuild {
    /// This node.
    pub me: NodeName,
    /// Its key.
    pub key: Arc<SigningKey>,
    /// Its groups.
    pub consensus: Consensus,
    /// Its way to questions.
    pub reads: Reads,
    /// Its way into logs.
    pub proposer: Proposer,
    /// What the cluster group says.
    pub topology: InForce,
    /// Which replicas are lost.
    pub gate: Gate,
}

impl Rebuild {
    /// Runs until consensus ends.
    pub async fn run(self) {
        let mut events = self.consensus.events();
        let mut looked_at = BTreeMap::new();
        loop {
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Ok(event) => self.heard(event),
                    // Whatever was missed shows again: a group that does not run is asked about in each round.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                () = tokio::time::sleep(LOOK_EVERY) => self.round(&mut looked_at).await,
            }
        }
    }

    fn heard(&self, event: GroupEvent) {
        let group = event.group;
        match event.what {
            What::Restarted => {
                metrics::group_restarted();
                tracing::warn!(%group, "a dead group was restarted over its store");
            }
            What::Broken { why } => {
                let Some(replica) = self.consensus.replica(group) else { return };
                if self.gate.lose(group, replica, Loss::Broken { why: why.clone() }) {
                    metrics::group_broken();
                    tracing::error!(%group, %replica, why, "a group cannot run over its store");
                }
            }
        }
    }

    async fn round(&self, looked_at: &mut BTreeMap<GroupId, u64>) {
        for group in self.consensus.groups() {
            let Some(applied) = self.consensus.applied(group).map(|applied| *applied.borrow()) else { continue };
            if looked_at.get(&group) != Some(&applied) && self.look(group).await {
                looked_at.insert(group, applied);
            }
        }
        let lost = self.gate.lost();
        metrics::replicas_lost(lost.len());
        for (group, replica, loss) in lost {
            let well = self.ask(group, replica, &loss).await;
            metrics::worked(Worker::Rebuild, well);
        }
    }

    /// Notes whether this node's replica is fenced in what it has applied itself; `false`: it could not be looked at.
    async fn look(&self, group: GroupId) -> bool {
        let Some(replica) = self.consensus.replica(group) else { return false };
        let Ok(Answer::Group(view)) = self.reads.local(group, &Query::Group).await else { return false };
        let is_fenced = view.voters.iter().any(|voter| voter.replica == replica && voter.fenced);
        if !is_fenced || !self.gate.lose(group, replica, Loss::Fenced) {
            return true;
        }
        metrics::replica_fenced();
        tracing::error!(%group, %replica, "this replica's digest differs from the majority's: it is fenced");
        if let Some(to) = successor(&view, replica)
            && self.consensus.leads(group)
            && let Err(fault) = self.consensus.transfer(group, to).await
        {
            tracing::debug!(%group, %fault, "the lead was not handed over");
        }
        true
    }

    async fn ask(&self, group: GroupId, from: ReplicaId, loss: &Loss) -> bool {
        self.consensus.fence(group, true);
        let topology = self.topology.now();
        let slot = match group {
            GroupId::CLUSTER => Slot(0),
            _ => match topology.shards.get(&group).and_then(|shard| shard.member(&self.me)) {
                Some(member) if member.replica == from => member.slot,
                // Another one is on its way, or the group is not ours any more.
                Some(_) | None => return true,
            },
        };
        if topology.replica(group, &self.me).is_some_and(|replica| from < replica) {
            return true;
        }
        let mut why = loss.why();
        why.truncate(why.floor_char_boundary(RebuildRequest::WHY_BYTES_MAX));
        let request = RebuildRequest { epoch: topology.epoch, group, slot, from, why }.sign(&self.key);
        let command = EntryCommand::Node(NodeCommand::RebuildReplica(request));
        match self.proposer.propose(GroupId::CLUSTER, vec![command], WITHIN).await {
            Ok(applied) => match applied.outcomes.as_slice() {
                [Outcome::Done(_)] => {
                    metrics::rebuild_asked();
                    tracing::warn!(%group, replica = %from, "a new replica id was allotted: the replica is rebuilt");
                    true
                }
                // It has another one already, or another member of the group comes first.
                [Outcome::Refused(Refusal::VersionConflict | Refusal::NeedsApproval)] => true,
                other => {
                    tracing::warn!(%group, ?other, "a new replica id was refused");
                    false
                }
            },
            Err(fault) => {
                tracing::debug!(%group, %fault, "a new replica id could not be asked for");
                false
            }
        }
    }
}

/// A voter that is not fenced, the one whose log was durable farthest at the last tick.
fn successor(view: &GroupView, me: ReplicaId) -> Option<ReplicaId> {
    let good = view.voters.iter().filter(|voter| voter.replica != me && !voter.fenced);
    let far = good.max_by_key(|voter| voter.last.map_or(0, |last| last.durable_index));
    far.map(|voter| voter.replica)
}
