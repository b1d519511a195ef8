//! What carries Raft's messages from node to node: implemented above, by the wiring over `node/peers`, and in memory by
//! tests.
//!
//! Promises asked of an implementation: the answer is the remote [`crate::groups::Consensus::handle`]'s for this very
//! question; a question is delivered at most once; whatever else happens is [`Unreachable`], never a made-up answer;
//! and no call outlives its deadline. Heartbeats must not wait behind bulk.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use strongroom_format::id::{GroupId, NodeName, ReplicaId};

/// One replica's question to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The group of both.
    pub group: GroupId,
    /// Who asks. The receiver checks that the sending node holds this replica.
    pub from: ReplicaId,
    /// Who is asked.
    pub to: ReplicaId,
    /// What is asked.
    pub kind: u8,
    /// The question, at most [`crate::wire::MESSAGE_BYTES_MAX`] bytes.
    pub body: Bytes,
}

/// How urgent a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Small and urgent: heartbeats, votes.
    Heartbeat,
    /// Entries and snapshots.
    Bulk,
}

/// No answer came: the question may have been received or not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node} is unreachable: {why}")]
pub struct Unreachable {
    /// The node that was asked.
    pub node: NodeName,
    /// What happened, for people.
    pub why: String,
}

/// See the head of the file.
#[async_trait]
pub trait Transport: Debug + Send + Sync + 'static {
    /// Asks a replica on node `to` and gives its answer.
    async fn call(&self, to: &NodeName, message: Message, class: Class, within: Duration)
    -> Result<Bytes, Unreachable>;
}
