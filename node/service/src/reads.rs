//! Questions to a group: at the leader's read index, or of this node's own replica, which may be behind.
//!
//! What decides something is asked at the leader. A question changes nothing, so it is asked again elsewhere whenever an
//! answer does not come. Not here: what the answers mean (`node/core/src/query.rs`).

use std::time::Duration;

use bytes::Bytes;
use strongroom_consensus::groups::ReadError;
use strongroom_core::query::{Answer, Query};
use strongroom_format::codec;
use strongroom_format::id::GroupId;
use strongroom_peers::message::Queried;

use crate::route::{Route, Step, Target};

/// One node gets no longer: another may lead by now.
const ATTEMPT_MAX: Duration = Duration::from_secs(3);

/// Why there is no answer. Asking again is always safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadFault {
    /// Nobody led the group until the deadline, or it has no replica here.
    #[error("the group cannot be read now")]
    Unavailable,
    /// The bytes that came are no answer.
    #[error("the answer does not read: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
}

/// Asks. Clones are the same.
#[derive(Clone)]
pub struct Reads {
    route: Route,
}

impl Reads {
    /// Over a route.
    pub fn new(route: Route) -> Self {
        Self { route }
    }

    /// Everything that was acknowledged before this call is in the answer.
    pub async fn linearizable(&self, group: GroupId, query: &Query, within: Duration) -> Result<Answer, ReadFault> {
        let query = Bytes::from(codec::encode(query));
        let attempt = |target, left: Duration| self.attempt(group, target, query.clone(), left.min(ATTEMPT_MAX));
        let answer = Box::pin(self.route.at_leader(group, within, attempt)).await.ok_or(ReadFault::Unavailable)?;
        read(&answer)
    }

    /// From this node's replica as it is.
    pub async fn local(&self, group: GroupId, query: &Query) -> Result<Answer, ReadFault> {
        let answer = self.route.consensus.read_local(group, codec::encode(query)).await;
        read(&answer.map_err(|_| ReadFault::Unavailable)?)
    }

    /// From this node's replica if `is_there` likes its answer, else at the leader: for what, once written, does not
    /// change.
    pub async fn near(
        &self,
        group: GroupId,
        query: &Query,
        within: Duration,
        is_there: impl Fn(&Answer) -> bool,
    ) -> Result<Answer, ReadFault> {
        match self.local(group, query).await {
            Ok(answer) if is_there(&answer) => Ok(answer),
            Ok(_) | Err(_) => self.linearizable(group, query, within).await,
        }
    }

    /// Answers, at this node only, a question that another node forwarded.
    pub(crate) async fn read_forwarded(&self, group: GroupId, query: Bytes, within: Duration) -> Queried {
        match self.route.consensus.read(group, query.into(), within).await {
            Ok(answer) => Queried::Answer(answer.into()),
            Err(ReadError::NotLeader { leader }) => Queried::NotLeader { leader },
            Err(ReadError::Stopped) => Queried::NotLeader { leader: None },
            Err(ReadError::Unavailable { why }) => Queried::Failed { why },
        }
    }

    async fn attempt(&self, group: GroupId, target: Target, query: Bytes, left: Duration) -> Step<Bytes> {
        match target {
            Target::Here => match self.route.consensus.read(group, query.into(), left).await {
                Ok(answer) => Step::Done(answer.into()),
                Err(ReadError::NotLeader { leader }) => Step::Elsewhere(leader),
                Err(ReadError::Unavailable { .. } | ReadError::Stopped) => Step::Elsewhere(None),
            },
            Target::There(node) => match self.route.peers.query(&node, group, query, left).await {
                Ok(Queried::Answer(answer)) => Step::Done(answer),
                Ok(Queried::NotLeader { leader }) => Step::Elsewhere(leader),
                Ok(Queried::Failed { .. }) | Err(_) => Step::Elsewhere(None),
            },
        }
    }
}

fn read(answer: &[u8]) -> Result<Answer, ReadFault> {
    codec::decode(answer).map_err(|fault| ReadFault::Malformed { why: fault.to_string() })
}
