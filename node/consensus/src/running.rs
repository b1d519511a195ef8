//! One group as it runs on this node: its openraft task and its stores.

use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use openraft::async_runtime::WatchReceiver;
use openraft::{Raft, RaftMetrics, ServerState};
use strongroom_format::id::{GroupId, NodeName, ReplicaId};
use strongroom_host::lane::Lane;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::checkpoint::Checkpointer;
use crate::depth::LogDepth;
use crate::group::{GroupStatus, MemberStatus, Replica, Role};
use crate::health::Health;
use crate::log::store::GroupStore;
use crate::machine::GroupMachine;
use crate::snapshot::Arriving;
use crate::transfers::{Departures, Transfers};
use crate::types::{TypeConfig, Vote};

/// So many proposals of one group may be under way on this node; more wait.
pub(crate) const PROPOSALS_MAX: usize = 1024;

/// See the head of the file.
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) replica: ReplicaId,
    /// What outlives it.
    pub(crate) own: Arc<Replica>,
    pub(crate) raft: Raft<TypeConfig, GroupMachine>,
    pub(crate) machine: GroupMachine,
    pub(crate) log: GroupStore,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) snapshot_lane: Lane,
    pub(crate) health: Health,
    pub(crate) depth: LogDepth,
    pub(crate) proposals: Semaphore,
    /// The snapshot that is arriving.
    pub(crate) arriving: Arriving,
    /// The snapshots that are on their way to others.
    pub(crate) departures: Arc<Departures>,
    pub(crate) transfers: Arc<Transfers>,
    pub(crate) keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Group {
    /// Brings openraft after what the replica may do.
    pub(crate) fn take_part(&self) {
        self.raft.runtime_config().elect(self.own.may_lead());
    }

    /// Sends heartbeats if this replica leads. A fenced leader falls silent, and the others elect.
    ///
    /// openraft's own timer only looks whether a leader is missed: it runs where none was heard since the beat before.
    pub(crate) fn beat(&self) {
        let leads = self.raft.metrics().borrow_watched().state == ServerState::Leader;
        self.raft.runtime_config().tick(!leads && !self.own.was_led());
        if leads && !self.own.is_fenced() {
            self.own.beat();
            // openraft's queue has room for thousands; if it has none, the group is beyond help by a heartbeat, and the
            // others' must not wait for it
            let _ = self.raft.trigger().heartbeat().now_or_never();
        }
    }

    /// Why openraft's task has ended, if it has.
    pub(crate) fn ended(&self) -> Option<String> {
        let mut metrics = self.raft.metrics();
        if let Err(error) = &metrics.borrow_watched().running_state {
            return Some(error.to_string());
        }
        // a task that panics says nothing any more: whoever waits for its news is told that none will come
        // (the first news are those that were there already)
        while let Some(news) = metrics.changed().now_or_never() {
            if news.is_err() {
                return Some("it panicked".into());
            }
        }
        None
    }

    /// openraft's view of itself at this moment.
    pub(crate) fn metrics(&self) -> RaftMetrics<TypeConfig> {
        self.raft.metrics().borrow_watched().clone()
    }

    /// Its vote, as openraft has it at this moment.
    pub(crate) fn vote(&self) -> Vote {
        self.raft.metrics().borrow_watched().vote
    }

    /// The node that holds a replica, by the membership or by what this node was told. A replica never moves, so the two
    /// cannot disagree; and a replica that was away must listen to a leader that joined meanwhile.
    pub(crate) fn node_of(&self, replica: ReplicaId) -> Option<NodeName> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        match metrics.membership_config.membership().get_node(&replica.0) {
            Some(node) => Some(node.name.clone()),
            None => self.own.told_node(replica),
        }
    }

    /// Whether that node holds a replica, as [`Group::node_of`] says.
    pub(crate) fn is_at(&self, replica: ReplicaId, node: &NodeName) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        match metrics.membership_config.membership().get_node(&replica.0) {
            Some(member) => member.name == *node,
            None => self.own.told_node(replica).as_ref() == Some(node),
        }
    }

    /// Whether this replica leads, as far as it knows.
    pub(crate) fn leads(&self) -> bool {
        self.own.may_lead() && self.raft.metrics().borrow_watched().current_leader == Some(self.replica.0)
    }

    /// Who leads, as far as this replica knows.
    pub(crate) fn leader(&self) -> Option<(ReplicaId, NodeName)> {
        let leader = ReplicaId(self.raft.metrics().borrow_watched().current_leader?);
        Some((leader, self.node_of(leader)?))
    }

    pub(crate) fn status(&self) -> GroupStatus {
        let metrics = self.metrics();
        let role = match metrics.state {
            ServerState::Leader => Role::Leader,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Learner => Role::Learner,
            ServerState::Shutdown => Role::Stopped,
        };
        GroupStatus {
            group: self.id,
            replica: self.replica,
            role: if metrics.running_state.is_ok() { role } else { Role::Stopped },
            term: metrics.current_term,
            leader: self.leader(),
            last_log: metrics.last_log_index,
            applied: self.machine.state.applied_index(),
            checkpointed: self.machine.state.checkpointed(),
            snapshot: metrics.snapshot.map(|last| last.index),
            purged: metrics.purged.map(|last| last.index),
            log_durable: self.log.look(|log| log.durable()),
            members: self.members(&metrics),
        }
    }

    fn members(&self, metrics: &RaftMetrics<TypeConfig>) -> Vec<MemberStatus> {
        let membership = metrics.membership_config.membership();
        if membership.nodes().next().is_none() {
            let told = self.own.told().into_iter().map(|(replica, member)| MemberStatus {
                replica,
                node: member.node,
                voter: member.voter,
                matched: None,
            });
            return told.collect();
        }
        let voters: Vec<u64> = membership.voter_ids().collect();
        let matched = |replica: u64| {
            if replica == self.replica.0 {
                return metrics.last_log_index;
            }
            metrics.replication.as_ref()?.get(&replica)?.as_ref().map(|matched| matched.index)
        };
        let members = membership.nodes().map(|(&replica, node)| MemberStatus {
            replica: ReplicaId(replica),
            node: node.name.clone(),
            voter: voters.contains(&replica),
            matched: matched(replica),
        });
        members.collect()
    }
}
