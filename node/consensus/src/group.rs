//! This node's replica of a group: what outlives its task, what it remembers of the others, and what the outside may learn
//! of it.
//!
//! A replica starts unadmitted: it answers no Raft message and never stands for election until somebody has made sure
//! that its disk is not older than its promises. A fenced one neither leads nor votes, and still follows. What it
//! remembers of another replica is what that one must have had on its disk: entries that it acknowledged, terms in which
//! it granted a vote or asked for one (openraft asks only after its own vote is durable). It lies in memory only.
//!
//! Not here: the task and its stores (`running.rs`), starting and ending them (`supervise.rs`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom_core::machine::Machine;
use strongroom_format::id::{GroupId, NodeName, ReplicaId};
use tokio::sync::watch;

/// How far a replica was durable. The term comes first: entries that were acknowledged in an earlier term and never
/// committed may be replaced in a later one, so an index says something in its own term only; and a log whose vote is
/// of a later term has, or had and lawfully lost, all that was acknowledged before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The term of its last vote; 0 if it never voted.
    pub vote_term: u64,
    /// The index of its last entry, as it was in that term; 0 if it has none or the first only.
    pub last_index: u64,
}

/// Something happened to a group that its floors above should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupEvent {
    /// The group.
    pub group: GroupId,
    /// What happened.
    pub what: What,
}

/// See [`GroupEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It had died and runs again, as the same replica.
    Restarted,
    /// It cannot run over its store: it needs a new replica id.
    Broken {
        /// For people.
        why: String,
    },
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node that holds the replica.
    pub node: NodeName,
    /// Whether it votes; else it learns.
    pub voter: bool,
}

/// What a replica does in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes proposals.
    Leader,
    /// It votes.
    Follower,
    /// It wants to lead.
    Candidate,
    /// It has no vote.
    Learner,
    /// It has ended.
    Stopped,
}

/// How a member stands, as the group's membership and its leader know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// The replica.
    pub replica: ReplicaId,
    /// The node that holds it.
    pub node: NodeName,
    /// Whether it votes.
    pub voter: bool,
    /// The index of the last entry that it has, if this replica leads and knows.
    pub matched: Option<u64>,
}

/// How a group stands, seen from this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// This node's replica of it.
    pub replica: ReplicaId,
    /// What the replica does.
    pub role: Role,
    /// The term that it knows.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<(ReplicaId, NodeName)>,
    /// The index of the last entry in its log.
    pub last_log: Option<u64>,
    /// The index of the last entry that it applied.
    pub applied: Option<u64>,
    /// The index of the last entry that it applied durably.
    pub checkpointed: Option<u64>,
    /// The index of the last entry in its snapshot.
    pub snapshot: Option<u64>,
    /// The index of the last entry that it purged.
    pub purged: Option<u64>,
    /// The index up to which its log is durable.
    pub log_durable: Option<u64>,
    /// All members; those it was told of when the group is not founded yet.
    pub members: Vec<MemberStatus>,
}

/// See the head of the file.
pub(crate) struct Replica {
    pub(crate) group: GroupId,
    pub(crate) id: ReplicaId,
    pub(crate) rules: Arc<dyn Machine>,
    /// The members that this node was told of last: who may speak before the log names them.
    told: Mutex<BTreeMap<ReplicaId, Member>>,
    /// Those with which an empty log is founded.
    founders: Mutex<BTreeMap<ReplicaId, Member>>,
    is_admitted: AtomicBool,
    is_fenced: AtomicBool,
    beats: AtomicU64,
    /// Whether a leader was heard since it was asked last.
    is_led: AtomicBool,
    known: Mutex<BTreeMap<ReplicaId, Position>>,
    /// The index of the last applied entry.
    pub(crate) applied: watch::Sender<u64>,
}

impl Replica {
    pub(crate) fn new(group: GroupId, id: ReplicaId, rules: Arc<dyn Machine>) -> Self {
        Self {
            group,
            id,
            rules,
            told: Mutex::default(),
            founders: Mutex::default(),
            is_admitted: AtomicBool::new(false),
            is_fenced: AtomicBool::new(false),
            beats: AtomicU64::new(0),
            is_led: AtomicBool::new(false),
            known: Mutex::default(),
            applied: watch::channel(0).0,
        }
    }

    pub(crate) fn admit(&self) {
        self.is_admitted.store(true, Ordering::Release);
    }

    pub(crate) fn is_admitted(&self) -> bool {
        self.is_admitted.load(Ordering::Acquire)
    }

    pub(crate) fn fence(&self, is_fenced: bool) {
        self.is_fenced.store(is_fenced, Ordering::Release);
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.is_fenced.load(Ordering::Acquire)
    }

    /// Whether it may stand for election, lead and vote.
    pub(crate) fn may_lead(&self) -> bool {
        self.is_admitted() && !self.is_fenced()
    }

    /// Its heartbeats are due.
    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Release);
    }

    /// How often its heartbeats were due.
    pub(crate) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Acquire)
    }

    /// It follows a leader that was heard just now.
    pub(crate) fn heard_leader(&self) {
        self.is_led.store(true, Ordering::Release);
    }

    /// Whether a leader was heard since this was asked last.
    pub(crate) fn was_led(&self) -> bool {
        self.is_led.swap(false, Ordering::AcqRel)
    }

    /// Takes the members that it is told. With whom an empty log is founded does not change by it.
    pub(crate) fn tell(&self, members: BTreeMap<ReplicaId, Member>) {
        *lock(&self.told) = members;
    }

    /// The members that it was told.
    pub(crate) fn told(&self) -> BTreeMap<ReplicaId, Member> {
        lock(&self.told).clone()
    }

    /// An empty log may be founded with these members.
    pub(crate) fn may_found_with(&self, founders: BTreeMap<ReplicaId, Member>) {
        *lock(&self.founders) = founders;
    }

    /// The members that found the group, if it was told that they do.
    pub(crate) fn founders(&self) -> BTreeMap<ReplicaId, Member> {
        lock(&self.founders).clone()
    }

    /// The node of a replica that it was told.
    pub(crate) fn told_node(&self, replica: ReplicaId) -> Option<NodeName> {
        lock(&self.told).get(&replica).map(|member| member.node.clone())
    }

    /// Remembers what another replica has shown to have.
    pub(crate) fn learn(&self, of: ReplicaId, position: Position) {
        let mut known = lock(&self.known);
        let known = known.entry(of).or_default();
        *known = position.max(*known);
    }

    /// What it remembers of another replica.
    pub(crate) fn known_of(&self, replica: ReplicaId) -> Position {
        lock(&self.known).get(&replica).copied().unwrap_or_default()
    }
}

/// What these locks guard is changed in single steps, so a panic elsewhere cannot leave it half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use strongroom_core::cluster::ClusterMachine;

    use super::*;

    fn position(vote_term: u64, last_index: u64) -> Position {
        Position { vote_term, last_index }
    }

    #[test]
    fn what_was_acknowledged_in_an_earlier_term_is_not_remembered_of_a_later_one() {
        let group = GroupId(1);
        let own = Replica::new(group, ReplicaId(1), Arc::new(ClusterMachine::new()));
        let learned = |of: Position| {
            own.learn(ReplicaId(2), of);
            own.known_of(ReplicaId(2))
        };
        assert_eq!(learned(position(3, 100)), position(3, 100));
        assert_eq!(learned(position(3, 0)), position(3, 100), "a vote of the same term takes nothing back");
        assert_eq!(learned(position(2, 900)), position(3, 100), "an answer that comes late is of its own term");
        assert_eq!(learned(position(5, 0)), position(5, 0), "the hundred may have been replaced in term 5");
        assert_eq!(learned(position(5, 98)), position(5, 98));
    }
}
