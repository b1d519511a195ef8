//! This node's voice: its key, and the replicas that it may speak for. Whoever signs in its name stands on it
//! (`report.rs`, `sign.rs`).
//!
//! Not here: what is signed, and when.

use std::sync::Arc;

use strongroom_consensus::groups::Consensus;
use strongroom_core::query::{Answer, GroupView, Query};
use strongroom_format::id::{GroupId, NodeName};
use strongroom_format::sign::SigningKey;
use strongroom_peers::fault::WordFault;

use crate::gate::Gate;
use crate::reads::Reads;
use crate::topology::InForce;

/// See the head of the file. Clones are the same.
#[derive(Clone)]
pub struct Voice {
    /// This node.
    pub me: NodeName,
    /// Its key.
    pub key: Arc<SigningKey>,
    /// Its replicas.
    pub consensus: Consensus,
    /// Reads their states.
    pub reads: Reads,
    /// Which of them may take part.
    pub gate: Gate,
    /// Who is a member of what.
    pub topology: InForce,
}

impl Voice {
    /// The group as its replica here has applied it.
    pub(crate) async fn view(&self, group: GroupId) -> Result<GroupView, WordFault> {
        match self.reads.local(group, &Query::Group).await {
            Ok(Answer::Group(view)) => Ok(view),
            Ok(_) | Err(_) => Err(not_yet("the state cannot be read")),
        }
    }
}

/// Nothing is wrong: ask again.
pub(crate) fn not_yet(why: &str) -> WordFault {
    WordFault::NotYet { why: why.to_owned() }
}
