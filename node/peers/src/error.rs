//! Why another node gave no answer, sorted by what the caller may do next.

use strongroom_format::id::NodeName;

use crate::fault::PutFault;

/// Why a call to another node failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// No node of that name is known. Look up the members again.
    #[error("no node {node} is known")]
    NoSuchNode {
        /// Which.
        node: NodeName,
    },
    /// It failed before and has answered no probe since: nothing was sent. Ask another.
    #[error("node {node} is suspect")]
    Suspect {
        /// Which.
        node: NodeName,
    },
    /// There is no connection: nothing was sent. Ask another, or again later.
    #[error("node {node} cannot be reached: {why}")]
    Unreachable {
        /// Which.
        node: NodeName,
        /// What the connection said.
        why: String,
    },
    /// Too much waits for it already: nothing was sent.
    #[error("too much waits for node {node}")]
    Busy {
        /// Which.
        node: NodeName,
    },
    /// The connection broke or the other side failed after the question had left: it may or may not have been heard.
    #[error("node {node} gave no answer: {why}")]
    Broken {
        /// Which.
        node: NodeName,
        /// What the connection said.
        why: String,
    },
    /// No answer by the deadline: the question may or may not have been heard.
    #[error("node {node} did not answer in time")]
    Late {
        /// Which.
        node: NodeName,
    },
    /// It heard the question and refused. Asking it again gives the same.
    #[error("node {node} refused: {why}")]
    Refused {
        /// Which.
        node: NodeName,
        /// What it said.
        why: String,
    },
    /// It heard the question and cannot answer it yet: ask again.
    #[error("node {node} cannot answer yet: {why}")]
    NotYet {
        /// Which.
        node: NodeName,
        /// What it said.
        why: String,
    },
    /// It did not take the fragment.
    #[error("node {node} did not take the fragment: {fault}")]
    Put {
        /// Which.
        node: NodeName,
        /// Why.
        fault: PutFault,
    },
}

impl PeerError {
    /// Whether the other node surely has not acted on the question, so that it may be asked again elsewhere without
    /// being acted on twice.
    pub fn surely_not_sent(&self) -> bool {
        match self {
            Self::NoSuchNode { .. }
            | Self::Suspect { .. }
            | Self::Unreachable { .. }
            | Self::Busy { .. }
            | Self::Refused { .. }
            | Self::NotYet { .. }
            | Self::Put { .. } => true,
            Self::Broken { .. } | Self::Late { .. } => false,
        }
    }

    /// Whether the node itself is at fault and should be left alone until it answers a probe.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::NoSuchNode { .. }
            | Self::Suspect { .. }
            | Self::Busy { .. }
            | Self::Late { .. }
            | Self::Refused { .. }
            | Self::NotYet { .. }
            | Self::Put { .. } => false,
        }
    }
}
