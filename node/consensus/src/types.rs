//! The types with which openraft is filled in: replicas are numbers, members are node names, entries are bytes.
//!
//! One leader per term, as in Raft's own paper (openraft can also have several; a law of this house says one).
//! A member carries its node's name and no address: an address that changes in place could split a group, so where a
//! node is reached is looked up outside, and its certificate must say the name.
//!
//! Not here: bytes on disk or wire (`plain.rs`, `journal.rs`, `wire.rs`).

use std::fmt;

use bytes::Bytes;
use openraft::impls::{BoxedErrorSource, InlineBatch, OneshotResponder, leader_id_std};
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, RaftTypeConfig};
use openraft_rt::deterministic_rng::DeterministicRng;
use strongroom_format::id::NodeName;

/// What a proposal says. Opaque here.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proposal(pub(crate) Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the rules answered; empty for entries that are not proposals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer(pub(crate) Vec<u8>);

/// A member as the replicated membership knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberNode {
    pub(crate) name: NodeName,
}

#[cfg(test)]
impl Default for MemberNode {
    fn default() -> Self {
        Self { name: "suite".parse().unwrap() }
    }
}

/// Strongroom's choice of openraft's types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Proposal;
    type R = Answer;
    type NodeId = u64;
    type Node = MemberNode;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = openraft::Vote<LeaderId>;
    type Payload = EntryPayload<Proposal, u64, MemberNode>;
    type Entry = openraft::Entry<<LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = OneshotResponder<Self, T>
    where
        T: Send + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = BoxedErrorSource;
}

/// tokio, with random numbers that follow from a seed which each group takes from its host: when an election begins is the
/// host's word, so that a simulated one gives the same elections again.
pub(crate) type Runtime = DeterministicRng<openraft::TokioRuntime>;

pub(crate) type LeaderId = leader_id_std::LeaderId<u64, u64>;
pub(crate) type LeaderTerm = <LeaderId as RaftLeaderId>::Committed;
pub(crate) type LogId = openraft::LogId<LeaderTerm>;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type Entry = openraft::Entry<LeaderTerm, EntryPayload<Proposal, u64, MemberNode>>;
pub(crate) type Membership = openraft::Membership<u64, MemberNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderTerm, u64, MemberNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<LeaderTerm, u64, MemberNode>;
pub(crate) type Snapshot<D> = openraft::Snapshot<LeaderTerm, u64, MemberNode, D>;

/// The log id of an entry of this term at this index.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderTerm::from(term), index)
}

/// The term of a log id.
pub(crate) fn term_of(log_id: &LogId) -> u64 {
    log_id.leader_id.term
}
