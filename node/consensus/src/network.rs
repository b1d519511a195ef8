//! openraft's network over a [`Transport`]: every question has a deadline, and what cannot be asked or understood is
//! *unreachable*, never a made-up answer. Heartbeats go with those of other groups (`heartbeats.rs`).

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use strongroom_format::codec::{self, Format};
use strongroom_format::id::{NodeName, ReplicaId};
use strongroom_host::lane::Lane;
use tokio::time::Instant;

use crate::group::{Position, Replica};
use crate::heartbeats::Heartbeats;
use crate::metrics;
use crate::plain::PlainLogId;
use crate::snapshot::SnapshotFile;
use crate::transfers::{Departures, Transfers};
use crate::transport::{Class, Message, Transport};
use crate::types::{LogId, MemberNode, Snapshot, TypeConfig, Vote};
use crate::wire::{
    AppendAsk, AppendReply, Heartbeat, HeartbeatReply, Kind, PieceAsk, PieceReply, TransferAsk, TransferReply, VoteAsk,
    VoteReply,
};

/// How long a follower may take to make entries durable. It is no measure of its health: heartbeats are.
const APPEND_WITHIN: Duration = Duration::from_secs(5);

/// One piece of a snapshot: well below any limit on messages.
const PIECE_BYTES: usize = 512 << 10;

const PIECE_WITHIN: Duration = Duration::from_secs(20);

/// The end: the receiver verifies and installs the whole snapshot before it answers.
const INSTALL_WITHIN: Duration = Duration::from_secs(600);

/// A piece takes so many times as long as the rest behind it, in which others may send.
const REST: u32 = 4;

/// So often the receiver may say that it is elsewhere; then somebody else sends to it, or it forgets.
const STRAYS_MAX: u32 = 3;

/// Makes the ways to the other members of one group.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) transport: Arc<dyn Transport>,
    /// What sends the heartbeats of all groups.
    pub(crate) heartbeats: Heartbeats,
    /// A heartbeat is given up after so long.
    pub(crate) heartbeat_within: Duration,
    /// Who asks.
    pub(crate) own: Arc<Replica>,
    /// The lane on which snapshot files are read.
    pub(crate) snapshot_lane: Lane,
    pub(crate) transfers: Arc<Transfers>,
    /// This group's snapshots that are on their way.
    pub(crate) departures: Arc<Departures>,
}

/// The way to one member.
pub(crate) struct Way {
    network: Network,
    to: ReplicaId,
    node: NodeName,
    class: Class,
    /// Of how many beats of the replica a heartbeat went to the member.
    beats: u64,
}

impl Network {
    fn way(&self, to: u64, node: &MemberNode, class: Class) -> Way {
        Way { network: self.clone(), to: ReplicaId(to), node: node.name.clone(), class, beats: 0 }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: u64, node: &MemberNode) -> Way {
        self.way(target, node, Class::Bulk)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &MemberNode) -> Way {
        self.way(target, node, Class::Heartbeat)
    }
}

impl Way {
    async fn ask<Q: Format, A: Format>(
        &self,
        kind: Kind,
        question: &Q,
        class: Class,
        within: Duration,
    ) -> Result<A, Unreachable<TypeConfig>> {
        let message = Message {
            group: self.network.own.group,
            from: self.network.own.id,
            to: self.to,
            kind: kind as u8,
            body: Bytes::from(codec::encode(question)),
        };
        let called = self.network.transport.call(&self.node, message, class, within);
        // The transport has a deadline of its own; this one holds even if it forgets.
        let answer = tokio::time::timeout(within + within / 4, called)
            .await
            .map_err(|_| unreachable(format!("{} did not answer in time", self.node)))?
            .map_err(unreachable)?;
        codec::decode(&answer).map_err(unreachable)
    }
}

fn unreachable(why: impl Display) -> Unreachable<TypeConfig> {
    Unreachable::from_string(why)
}

impl RaftNetworkV2<TypeConfig> for Way {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let own = &self.network.own;
        let reply = match (self.class, Heartbeat::of(own.group, own.id, self.to, &request)) {
            (Class::Heartbeat, Some(heartbeat)) => self.beat(heartbeat).await?,
            (Class::Heartbeat, None) | (Class::Bulk, _) => {
                self.ask(Kind::Append, &AppendAsk::from(&request), self.class, APPEND_WITHIN).await?
            }
        };
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        let durable = match &reply {
            AppendReply::Done => Some(last),
            AppendReply::DoneUpTo(last) => Some(last.map(LogId::from)),
            AppendReply::Conflict | AppendReply::HigherVote(_) => None,
        };
        if let Some(last) = durable {
            self.learn(request.vote.leader_id.term, last);
        }
        Ok(reply.into())
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let ask = VoteAsk::from(&request);
        let reply: VoteReply = self.ask(Kind::Vote, &ask, Class::Heartbeat, option.soft_ttl()).await?;
        let response = VoteResponse::from(reply);
        if response.vote_granted {
            self.learn(request.vote.leader_id.term, None);
        }
        Ok(response)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let ask = VoteAsk::from(&request);
        let reply: VoteReply = self.ask(Kind::PreVote, &ask, Class::Heartbeat, option.soft_ttl()).await?;
        Ok(reply.into())
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let send = self.send_snapshot(vote, snapshot.snapshot);
        match futures_util::future::select(Box::pin(cancel), Box::pin(send)).await {
            futures_util::future::Either::Left((closed, _)) => Err(closed.into()),
            futures_util::future::Either::Right((sent, _)) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let ask = TransferAsk::from(&request);
        let reply: TransferReply = self.ask(Kind::Transfer, &ask, Class::Heartbeat, option.soft_ttl()).await?;
        Ok(reply.into())
    }
}

impl Way {
    /// Sends a heartbeat with those of other groups; alone if it is none that was due, or if the replica was slower than
    /// others. A read waits for one that was not due: it confirms the lead.
    async fn beat(&mut self, heartbeat: Heartbeat) -> Result<AppendReply, Unreachable<TypeConfig>> {
        let within = self.network.heartbeat_within;
        let ends = Instant::now() + within;
        let beats = self.network.own.beats();
        if std::mem::replace(&mut self.beats, beats) != beats {
            match self.network.heartbeats.ask(&self.node, heartbeat, within).await.map_err(unreachable)? {
                HeartbeatReply::Heard(reply) => return Ok(reply),
                HeartbeatReply::NotYet => {}
                HeartbeatReply::Refused => return Err(unreachable(format!("{} refused a heartbeat", self.node))),
            }
        }
        let rest = ends.saturating_duration_since(Instant::now());
        self.ask(Kind::Append, &AppendAsk::from(heartbeat), Class::Heartbeat, rest).await
    }

    /// Remembers what the member has shown to have on its disk.
    fn learn(&self, vote_term: u64, last: Option<LogId>) {
        let last_index = last.map_or(0, |last| last.index);
        self.network.own.learn(self.to, Position { vote_term, last_index });
    }

    /// Sends the file piece by piece, and at its end asks for it to be installed; the receiver says where to go on.
    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: SnapshotFile,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let Network { transfers, departures, .. } = &self.network;
        let of = snapshot.bytes();
        let transfer = snapshot.applied().last.as_ref().map(PlainLogId::from);
        let transfer = transfer.ok_or_else(|| NetworkError::from_string("a snapshot of nothing"))?;
        let _turn = transfers.turn().await;
        let (mut at, mut strays) = (0, 0);
        loop {
            let file = snapshot.clone();
            let read = self.network.snapshot_lane.run(move || file.piece(at, PIECE_BYTES)).await;
            let piece = match read {
                Ok(Ok(piece)) => piece,
                Ok(Err(error)) => return Err(NetworkError::new(&error).into()),
                Err(error) => return Err(NetworkError::new(&error).into()),
            };
            transfers.pace(piece.len()).await;
            let (began, bytes) = (Instant::now(), piece.len());
            let within = if at == of { INSTALL_WITHIN } else { PIECE_WITHIN };
            // whoever has never answered may be away for long: nothing is held back for it
            if at != 0 {
                departures.moves(self.to, transfer.index, within);
            }
            let ask = PieceAsk { vote: (&vote).into(), transfer, at, of, piece };
            let reply = self.ask(Kind::Piece, &ask, Class::Bulk, within).await?;
            metrics::snapshot_bytes_sent(bytes);
            match reply {
                PieceReply::Over(theirs) => {
                    let theirs = Vote::from(theirs);
                    if theirs == vote {
                        self.learn(vote.leader_id.term, snapshot.applied().last);
                    }
                    return Ok(SnapshotResponse::new(theirs));
                }
                PieceReply::Next(next) if at < of && next == at + bytes as u64 => at = next,
                // it has some of it from an earlier try, or has lost what it had
                PieceReply::Next(next) if next <= of && strays < STRAYS_MAX => {
                    at = next;
                    strays += 1;
                }
                PieceReply::Next(_) => {
                    return Err(unreachable(format!("{} lost the thread of a snapshot", self.node)).into());
                }
            }
            tokio::time::sleep(began.elapsed() / REST).await;
        }
    }
}
