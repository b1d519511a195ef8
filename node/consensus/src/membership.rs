//! A group's membership and its changes: joint, and each a compare-and-set on the membership that the caller looked at.
//!
//! openraft writes a joint membership and then a uniform one. If the lead is lost between the two, the joint one stays:
//! [`Membership::voters`] then has the voters of both, and any further change leads out of it.
//!
//! Not here: who is to be a member (floors above), how far members are (`GroupStatus`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::Precondition;
use strongroom_format::id::{NodeName, ReplicaId};

use crate::running::Group;
use crate::types::{LogId, MemberNode, TypeConfig, log_id, term_of};

/// The entry that brought a membership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MembershipId {
    /// The term of the leader that wrote it.
    pub term: u64,
    /// Its place in the group's log.
    pub index: u64,
}

/// Who is in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The entry that brought it; `None`: the group is not founded here.
    pub log_id: Option<MembershipId>,
    /// Who votes, and where.
    pub voters: BTreeMap<ReplicaId, NodeName>,
    /// Who does not.
    pub learners: BTreeMap<ReplicaId, NodeName>,
}

/// A change of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A new member, without a vote.
    AddLearner {
        /// Its id.
        replica: ReplicaId,
        /// Where it is.
        node: NodeName,
    },
    /// A voter leaves the group, and a learner takes its vote.
    Replace {
        /// Who leaves.
        remove: ReplicaId,
        /// Who votes from now on.
        add: ReplicaId,
    },
    /// Just these vote. Voters that are not among them leave the group; new ones are learners before.
    SetVoters(BTreeSet<ReplicaId>),
    /// A learner leaves the group.
    Remove {
        /// Who.
        replica: ReplicaId,
    },
}

/// Why a membership was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Another replica leads, or nobody. Nothing happened, or only the joint half: look again.
    #[error("this replica does not lead")]
    NotLeader,
    /// The membership is another one by now, or the change does not fit it. Nothing happened, or only the joint half: look
    /// again.
    #[error("the membership is another one: {why}")]
    Conflict {
        /// What openraft said.
        why: String,
    },
    /// It may take effect, now or later, wholly, as a joint membership, or not: look again.
    #[error("the outcome is unknown: {why}")]
    Unknown {
        /// What happened, for people.
        why: String,
    },
    /// The group is not on this node or has ended. Nothing happened.
    #[error("the group is not here")]
    Stopped,
}

impl From<MembershipId> for LogId {
    fn from(id: MembershipId) -> Self {
        log_id(id.term, id.index)
    }
}

/// The membership as this replica has it; an entry that brings another may not be committed yet.
pub(crate) fn of(group: &Group) -> Membership {
    let metrics = group.metrics();
    let stored = &metrics.membership_config;
    let voters: BTreeSet<u64> = stored.membership().voter_ids().collect();
    let mut membership = Membership {
        log_id: stored.log_id().as_ref().map(|id| MembershipId { term: term_of(id), index: id.index }),
        ..Membership::default()
    };
    for (replica, node) in stored.membership().nodes() {
        let members = if voters.contains(replica) { &mut membership.voters } else { &mut membership.learners };
        members.insert(ReplicaId(*replica), node.name.clone());
    }
    membership
}

/// Changes the membership if it is still the one that `expected` brought.
///
/// Dropping the future leaves the outcome unknown.
pub(crate) async fn change(
    group: &Group,
    expected: Option<MembershipId>,
    change: MemberChange,
    within: Duration,
) -> Result<(), ChangeError> {
    let precondition = Precondition::LastMembershipLogId { last_membership_log_id: expected.map(LogId::from) };
    let members = match change {
        MemberChange::AddLearner { replica, node } => {
            ChangeMembers::AddNodes([(replica.0, MemberNode { name: node })].into())
        }
        MemberChange::Replace { remove, add } => {
            let voters = of(group).voters.into_keys().filter(|voter| *voter != remove).chain([add]);
            ChangeMembers::ReplaceAllVoters(voters.map(|voter| voter.0).collect())
        }
        MemberChange::SetVoters(voters) => {
            ChangeMembers::ReplaceAllVoters(voters.into_iter().map(|voter| voter.0).collect())
        }
        MemberChange::Remove { replica } => ChangeMembers::RemoveNodes([replica.0].into()),
    };
    let changed = group.raft.change_membership_if(members, false, [precondition]);
    match tokio::time::timeout(within, changed).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(change_error(error)),
        Err(_) => Err(ChangeError::Unknown { why: format!("no answer within {within:?}") }),
    }
}

fn change_error(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ChangeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => ChangeError::NotLeader,
        RaftError::APIError(
            error @ (ClientWriteError::PreconditionFailed(_) | ClientWriteError::ChangeMembershipError(_)),
        ) => ChangeError::Conflict { why: error.to_string() },
        RaftError::APIError(error @ ClientWriteError::LogEntryDiscarded(_)) => {
            ChangeError::Unknown { why: error.to_string() }
        }
        RaftError::Fatal(fatal) => ChangeError::Unknown { why: fatal.to_string() },
    }
}
