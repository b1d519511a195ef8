//! Where messages of other replicas come in: who they are from is checked before anything in them is read.
//!
//! A message, and each heartbeat in a message of many, counts only if the node that sent it, by its certificate, holds the replica that it names as its sender in
//! the group's membership, and this node holds the one that it is for. Anything else is refused and counted.

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use strongroom_format::codec::{self, Format};
use strongroom_format::id::{GroupId, NodeName, ReplicaId};

use crate::arriving::{self, TakeError};
use crate::group::Position;
use crate::metrics;
use crate::running::Group;
use crate::transport::Message;
use crate::wire::{
    AppendAsk, AppendReply, Heartbeat, HeartbeatReply, Kind, PieceAsk, TransferAsk, TransferReply, VoteAsk, VoteReply,
};

/// Why a message was not answered. The sender takes all of them as *unreachable*.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// This node has no replica in the group (yet).
    #[error("no replica of group {0} here")]
    NoSuchGroup(GroupId),
    /// The group's replica here is another one than was meant.
    #[error("replica {meant} of group {group} is not here")]
    NotForUs {
        /// The group.
        group: GroupId,
        /// Who was meant.
        meant: ReplicaId,
    },
    /// The sending node does not hold the replica that it speaks for.
    #[error("node {node} does not hold replica {claimed} of group {group}")]
    NotAMember {
        /// The group.
        group: GroupId,
        /// Who sent it.
        node: NodeName,
        /// Whom it spoke for.
        claimed: ReplicaId,
    },
    /// The replica is not admitted yet: nobody has made sure that its disk is not older than its promises.
    #[error("replica {0} is not admitted yet")]
    NotAdmitted(ReplicaId),
    /// The replica is fenced, and this message is about a vote or a lead.
    #[error("replica {0} is fenced")]
    Fenced(ReplicaId),
    /// Not a message of this protocol.
    #[error("malformed: {0}")]
    Malformed(String),
    /// Nothing is wrong: ask again later.
    #[error("not now: {0}")]
    Busy(&'static str),
    /// The group has ended here, or its disk failed.
    #[error("the group cannot answer: {0}")]
    Stopped(String),
}

/// Whether the replica `claimed`, for which the node `from` says to speak, may speak to `meant` here.
fn check(group: &Group, from: &NodeName, claimed: ReplicaId, meant: ReplicaId) -> Result<(), HandleError> {
    if meant != group.replica {
        metrics::message_refused();
        return Err(HandleError::NotForUs { group: group.id, meant });
    }
    if !group.is_at(claimed, from) {
        metrics::message_refused();
        tracing::debug!(group = %group.id, node = %from, %claimed, "a message of no member was refused");
        return Err(HandleError::NotAMember { group: group.id, node: from.clone(), claimed });
    }
    if !group.own.is_admitted() {
        return Err(HandleError::NotAdmitted(group.replica));
    }
    Ok(())
}

/// Answers one heartbeat of a message that has many.
pub(crate) async fn hear(group: &Group, from: &NodeName, heartbeat: Heartbeat) -> HeartbeatReply {
    let heard = async {
        check(group, from, heartbeat.from, heartbeat.to)?;
        append(group, heartbeat.from, heartbeat.into()).await
    };
    match heard.await {
        Ok(reply) => HeartbeatReply::Heard(reply),
        Err(error) => {
            tracing::debug!(group = %group.id, node = %from, %error, "a heartbeat was refused");
            HeartbeatReply::Refused
        }
    }
}

/// Answers one message of one group.
pub(crate) async fn handle(group: &Group, from: &NodeName, message: Message) -> Result<Bytes, HandleError> {
    check(group, from, message.from, message.to)?;
    let kind = Kind::try_from(message.kind).map_err(malformed)?;
    if group.own.is_fenced() && matches!(kind, Kind::Vote | Kind::PreVote | Kind::Transfer) {
        return Err(HandleError::Fenced(group.replica));
    }
    match kind {
        Kind::Append => {
            let ask: AppendAsk = codec::decode(&message.body).map_err(malformed)?;
            append(group, message.from, ask).await.map(|reply| bytes(&reply))
        }
        Kind::Vote => {
            let ask: VoteAsk = codec::decode(&message.body).map_err(malformed)?;
            voted(group, message.from, ask.term_of(message.from));
            let response = group.raft.vote(VoteRequest::from(ask)).await.map_err(stopped)?;
            Ok(bytes(&VoteReply::from(&response)))
        }
        Kind::PreVote => {
            let ask: VoteAsk = codec::decode(&message.body).map_err(malformed)?;
            let response = group.raft.pre_vote(VoteRequest::from(ask)).await.map_err(stopped)?;
            Ok(bytes(&VoteReply::from(&response)))
        }
        Kind::Transfer => {
            let ask: TransferAsk = codec::decode(&message.body).map_err(malformed)?;
            let response = group.raft.handle_transfer_leader(ask.into()).await.map_err(stopped)?;
            Ok(bytes(&TransferReply::from(&response)))
        }
        Kind::Piece => {
            let ask: PieceAsk = codec::decode(&message.body).map_err(malformed)?;
            match arriving::take_piece(group, ask).await {
                Ok(reply) => Ok(bytes(&reply)),
                Err(TakeError::Malformed(why)) => Err(HandleError::Malformed(why)),
                Err(TakeError::Busy(why)) => Err(HandleError::Busy(why)),
                Err(TakeError::Stopped(why)) => Err(HandleError::Stopped(why)),
            }
        }
        Kind::Heartbeats => Err(malformed("heartbeats of many groups in a message of one")),
    }
}

/// Whoever asks for a vote, or leads, has made its own vote durable before: openraft saves it, waits, and then asks.
fn voted(group: &Group, replica: ReplicaId, term: u64) {
    group.own.learn(replica, Position { vote_term: term, last_index: 0 });
}

async fn append(group: &Group, from: ReplicaId, ask: AppendAsk) -> Result<AppendReply, HandleError> {
    voted(group, from, ask.term_of(from));
    let request = AppendEntriesRequest::try_from(ask).map_err(malformed)?;
    let response = group.raft.append_entries(request).await.map_err(stopped)?;
    if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
        group.own.heard_leader();
    }
    Ok(AppendReply::from(&response))
}

fn bytes<T: Format>(reply: &T) -> Bytes {
    Bytes::from(codec::encode(reply))
}

fn malformed(error: impl ToString) -> HandleError {
    HandleError::Malformed(error.to_string())
}

fn stopped(error: impl ToString) -> HandleError {
    HandleError::Stopped(error.to_string())
}
