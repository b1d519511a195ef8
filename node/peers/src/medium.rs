//! Between nodes without connections: what a simulation has in place of TLS and HTTP/2.
//!
//! ```text
//!   peers ─▶ Question ─▶ Medium (the simulation: delays, losses, cuts) ─▶ Question::answer ─▶ trait Calls
//!     ◀──────── Reply ◀── Medium ◀───────────────────────────────────────────────┘
//! ```
//!
//! Promises: whatever is asked over connections is asked here with the same words, and answers mean the same; who asks is
//! what the medium says, as a certificate would. Not here: deadlines, probes, suspicion (`peers.rs`: the same for both).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use strongroom_format::command::MemberSignature;
use strongroom_format::id::{Digest, GroupId, NodeName, ReplicaId, Signature};

use crate::error::PeerError;
use crate::fault::{FetchFault, PutFault, RaftFault, WordFault};
use crate::message::{
    About, CheckpointWanted, ClaimsWanted, FragmentFound, FragmentPut, FragmentsWanted, Known, Proposed, Queried,
    RaftClass, RaftMessage, SignedReport,
};
use crate::serve::Calls;

/// What carries questions and replies.
#[async_trait::async_trait]
pub trait Medium: Send + Sync + 'static {
    /// Asks a node. It may never return: whoever asks has a deadline. Errors are those of a connection:
    /// [`PeerError::Unreachable`] where nothing was sent, [`PeerError::Broken`] where nobody knows.
    async fn ask(&self, to: &NodeName, question: Question) -> Result<Reply, PeerError>;
}

/// What one node asks another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the methods of `Calls` say what each means")]
pub enum Question {
    Raft { class: RaftClass, message: RaftMessage },
    Propose { group: GroupId, entry: Bytes, deadline: Duration },
    Query { group: GroupId, query: Bytes, deadline: Duration },
    SignCheckpoint { wanted: CheckpointWanted, deadline: Duration },
    SignClaims { wanted: ClaimsWanted, deadline: Duration },
    PutFragment(FragmentPut),
    GetFragments(FragmentsWanted),
    Known { group: GroupId, replica: ReplicaId },
    Report { group: GroupId, previous: Digest, deadline: Duration },
    Ping,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the methods of `Calls` say what each means")]
pub enum Reply {
    Raft(Result<Bytes, RaftFault>),
    Propose(Proposed),
    Query(Queried),
    SignCheckpoint(Result<MemberSignature, WordFault>),
    SignClaims(Result<Vec<Option<Signature>>, WordFault>),
    PutFragment(Result<(), PutFault>),
    GetFragments(VecDeque<(u32, Result<FragmentFound, FetchFault>)>),
    Known(Result<Known, WordFault>),
    Report(Result<SignedReport, WordFault>),
    Ping(About),
}

impl Question {
    /// Answers a question that came from the node `from`.
    pub async fn answer(self, from: NodeName, calls: &dyn Calls) -> Reply {
        match self {
            Self::Raft { class: _, message } => Reply::Raft(calls.raft(from, message).await),
            Self::Propose { group, entry, deadline } => {
                Reply::Propose(calls.propose(from, group, entry, deadline).await)
            }
            Self::Query { group, query, deadline } => Reply::Query(calls.query(from, group, query, deadline).await),
            Self::SignCheckpoint { wanted, deadline } => {
                Reply::SignCheckpoint(calls.sign_checkpoint(from, wanted, deadline).await)
            }
            Self::SignClaims { wanted, deadline } => Reply::SignClaims(calls.sign_claims(from, wanted, deadline).await),
            Self::PutFragment(put) => Reply::PutFragment(calls.put_fragment(from, put).await),
            Self::GetFragments(wanted) => Reply::GetFragments(calls.get_fragments(from, wanted).collect().await),
            Self::Known { group, replica } => Reply::Known(calls.known(from, group, replica).await),
            Self::Report { group, previous, deadline } => {
                Reply::Report(calls.report(from, group, previous, deadline).await)
            }
            Self::Ping => Reply::Ping(calls.about()),
        }
    }
}

/// The way to one node through a medium.
pub(crate) struct Through {
    medium: Arc<dyn Medium>,
    to: NodeName,
}

/// A reply of the kind that was asked for; else the other side is not what it should be.
macro_rules! expect {
    ($self:ident, $question:expr, $kind:ident) => {
        match $self.medium.ask(&$self.to, $question).await? {
            Reply::$kind(reply) => reply,
            _ => return Err(PeerError::Broken { node: $self.to.clone(), why: "another answer than asked for".into() }),
        }
    };
}

impl Through {
    pub(crate) fn new(medium: Arc<dyn Medium>, to: NodeName) -> Self {
        Self { medium, to }
    }

    pub(crate) async fn raft(
        &self,
        class: RaftClass,
        message: RaftMessage,
        deadline: Duration,
    ) -> Result<Bytes, PeerError> {
        let asked = async { Ok(expect!(self, Question::Raft { class, message }, Raft)) };
        let answer = self.within(deadline, asked).await?;
        answer.map_err(|fault| PeerError::Refused { node: self.to.clone(), why: fault.to_string() })
    }

    pub(crate) async fn propose(
        &self,
        group: GroupId,
        entry: Bytes,
        deadline: Duration,
    ) -> Result<Proposed, PeerError> {
        Ok(expect!(self, Question::Propose { group, entry, deadline }, Propose))
    }

    pub(crate) async fn query(&self, group: GroupId, query: Bytes, deadline: Duration) -> Result<Queried, PeerError> {
        Ok(expect!(self, Question::Query { group, query, deadline }, Query))
    }

    pub(crate) async fn sign_checkpoint(
        &self,
        wanted: CheckpointWanted,
        deadline: Duration,
    ) -> Result<MemberSignature, PeerError> {
        self.word(expect!(self, Question::SignCheckpoint { wanted, deadline }, SignCheckpoint))
    }

    pub(crate) async fn sign_claims(
        &self,
        wanted: ClaimsWanted,
        deadline: Duration,
    ) -> Result<Vec<Option<Signature>>, PeerError> {
        self.word(expect!(self, Question::SignClaims { wanted, deadline }, SignClaims))
    }

    pub(crate) async fn put_fragment(&self, put: FragmentPut, deadline: Duration) -> Result<(), PeerError> {
        let asked = async { Ok(expect!(self, Question::PutFragment(put), PutFragment)) };
        let answer = self.within(deadline, asked).await?;
        answer.map_err(|fault| PeerError::Put { node: self.to.clone(), fault })
    }

    pub(crate) async fn get_fragments(
        &self,
        wanted: FragmentsWanted,
    ) -> Result<VecDeque<(u32, Result<FragmentFound, FetchFault>)>, PeerError> {
        Ok(expect!(self, Question::GetFragments(wanted), GetFragments))
    }

    pub(crate) async fn known(&self, group: GroupId, replica: ReplicaId) -> Result<Known, PeerError> {
        self.word(expect!(self, Question::Known { group, replica }, Known))
    }

    pub(crate) async fn report(
        &self,
        group: GroupId,
        previous: Digest,
        deadline: Duration,
    ) -> Result<SignedReport, PeerError> {
        self.word(expect!(self, Question::Report { group, previous, deadline }, Report))
    }

    pub(crate) async fn ping(&self) -> Result<About, PeerError> {
        Ok(expect!(self, Question::Ping, Ping))
    }

    async fn within<T>(
        &self,
        deadline: Duration,
        asked: impl Future<Output = Result<T, PeerError>>,
    ) -> Result<T, PeerError> {
        match tokio::time::timeout(deadline, asked).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(PeerError::Late { node: self.to.clone() }),
        }
    }

    /// No member is refused; what may come later is asked again.
    fn word<T>(&self, word: Result<T, WordFault>) -> Result<T, PeerError> {
        let node = self.to.clone();
        word.map_err(|fault| match fault {
            WordFault::NotYet { why } => PeerError::NotYet { node, why },
            WordFault::NotAMember => PeerError::Refused { node, why: fault.to_string() },
        })
    }
}
