//! openraft's values in our own bytes: the parts from which journal records, messages and snapshot headers are made.
//!
//! All of it is borsh of these shapes and of nothing that a library could change under us. Each `From` back is total:
//! what a peer can send cannot panic here.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use openraft::EntryPayload;
use strongroom_format::id::NodeName;

use crate::types::{Entry, LogId, MemberNode, Membership, Proposal, StoredMembership, Vote, log_id, term_of};

/// Term and index of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct PlainLogId {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

impl From<&LogId> for PlainLogId {
    fn from(id: &LogId) -> Self {
        Self { term: term_of(id), index: id.index }
    }
}

impl From<PlainLogId> for LogId {
    fn from(plain: PlainLogId) -> Self {
        log_id(plain.term, plain.index)
    }
}

/// A vote: for whom in which term, and whether a majority has granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct PlainVote {
    pub(crate) term: u64,
    pub(crate) replica: u64,
    pub(crate) granted: bool,
}

impl From<&Vote> for PlainVote {
    fn from(vote: &Vote) -> Self {
        Self { term: vote.leader_id.term, replica: vote.leader_id.voted_for, granted: vote.committed }
    }
}

impl From<PlainVote> for Vote {
    fn from(plain: PlainVote) -> Self {
        match plain.granted {
            true => Vote::new_committed(plain.term, plain.replica),
            false => Vote::new(plain.term, plain.replica),
        }
    }
}

/// Who votes (two sets while it changes) and who is a member at all.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct PlainMembership {
    voters: Vec<BTreeSet<u64>>,
    members: BTreeMap<u64, NodeName>,
}

impl From<&Membership> for PlainMembership {
    fn from(membership: &Membership) -> Self {
        Self {
            voters: membership.get_joint_config().clone(),
            members: membership.nodes().map(|(&replica, node)| (replica, node.name.clone())).collect(),
        }
    }
}

impl TryFrom<PlainMembership> for Membership {
    type Error = Unfit;

    fn try_from(plain: PlainMembership) -> Result<Self, Unfit> {
        let nodes: BTreeMap<u64, MemberNode> =
            plain.members.into_iter().map(|(replica, name)| (replica, MemberNode { name })).collect();
        if plain.voters.is_empty() && nodes.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(plain.voters, nodes).map_err(|_| Unfit("a membership without voters or with unknown ones"))
    }
}

/// A membership and the entry that brought it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct PlainStoredMembership {
    at: Option<PlainLogId>,
    membership: PlainMembership,
}

impl From<&StoredMembership> for PlainStoredMembership {
    fn from(stored: &StoredMembership) -> Self {
        Self { at: stored.log_id().as_ref().map(PlainLogId::from), membership: stored.membership().into() }
    }
}

impl TryFrom<PlainStoredMembership> for StoredMembership {
    type Error = Unfit;

    fn try_from(plain: PlainStoredMembership) -> Result<Self, Unfit> {
        Ok(StoredMembership::new(plain.at.map(LogId::from), plain.membership.try_into()?))
    }
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum PlainPayload {
    /// Nothing: a new leader's first entry.
    Blank,
    /// A proposal.
    Proposal(Vec<u8>),
    /// A membership.
    Membership(PlainMembership),
}

/// An entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct PlainEntry {
    pub(crate) id: PlainLogId,
    pub(crate) payload: PlainPayload,
}

impl From<&Entry> for PlainEntry {
    fn from(entry: &Entry) -> Self {
        let payload = match &entry.payload {
            EntryPayload::Blank => PlainPayload::Blank,
            EntryPayload::Normal(proposal) => PlainPayload::Proposal(proposal.0.to_vec()),
            EntryPayload::Membership(membership) => PlainPayload::Membership(membership.into()),
        };
        Self { id: PlainLogId::from(&entry.log_id), payload }
    }
}

impl TryFrom<PlainEntry> for Entry {
    type Error = Unfit;

    fn try_from(plain: PlainEntry) -> Result<Self, Unfit> {
        let payload = match plain.payload {
            PlainPayload::Blank => EntryPayload::Blank,
            PlainPayload::Proposal(bytes) => EntryPayload::Normal(Proposal(Bytes::from(bytes))),
            PlainPayload::Membership(membership) => EntryPayload::Membership(membership.try_into()?),
        };
        Ok(Self { log_id: plain.id.into(), payload })
    }
}

/// How many bytes an entry takes in a message or record, nearly.
pub(crate) fn entry_bytes(entry: &Entry) -> usize {
    32 + match &entry.payload {
        EntryPayload::Blank => 0,
        EntryPayload::Normal(proposal) => proposal.0.len(),
        EntryPayload::Membership(membership) => 96 * membership.nodes().count(),
    }
}

/// Bytes that decode but mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unfit(pub(crate) &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_went() {
        let nodes: BTreeMap<u64, MemberNode> =
            [(1, "a"), (2, "b"), (3, "c")].map(|(id, name)| (id, MemberNode { name: name.parse().unwrap() })).into();
        let membership = Membership::new(vec![[1, 2].into(), [2].into()], nodes).unwrap();
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Proposal(Bytes::from_static(b"x"))),
            EntryPayload::Membership(membership.clone()),
        ] {
            let entry = Entry { log_id: log_id(3, 9), payload };
            let bytes = borsh::to_vec(&PlainEntry::from(&entry)).unwrap();
            let plain: PlainEntry = borsh::from_slice(&bytes).unwrap();
            assert_eq!(Entry::try_from(plain).unwrap(), entry);
        }
        for vote in [Vote::new(4, 7), Vote::new_committed(5, 8)] {
            assert_eq!(Vote::from(PlainVote::from(&vote)), vote);
        }
        for stored in [StoredMembership::default(), StoredMembership::new(Some(log_id(1, 2)), membership)] {
            assert_eq!(StoredMembership::try_from(PlainStoredMembership::from(&stored)).unwrap(), stored);
        }
    }

    #[test]
    fn a_membership_whose_voters_are_no_members_is_unfit() {
        let plain = PlainMembership { voters: vec![[1].into()], members: BTreeMap::new() };
        assert!(Membership::try_from(plain).is_err());
        let plain = PlainMembership { voters: vec![BTreeSet::new()], members: [(1, "a".parse().unwrap())].into() };
        assert!(Membership::try_from(plain).is_err());
    }
}
