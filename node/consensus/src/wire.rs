//! Raft's messages between replicas, in our own bytes: version 1 ‖ borsh.
//!
//! | kind | question | answer |
//! |---|---|---|
//! | 1 append | [`AppendAsk`] | [`AppendReply`] |
//! | 2 vote | [`VoteAsk`] | [`VoteReply`] |
//! | 3 pre-vote | [`VoteAsk`] | [`VoteReply`] |
//! | 4 transfer of the lead | [`TransferAsk`] | [`TransferReply`] |
//! | 5 piece of a snapshot | [`PieceAsk`] | [`PieceReply`] |
//! | 6 heartbeats of many groups | [`HeartbeatsAsk`] | [`HeartbeatsReply`] |
//!
//! A message of kind 6 is from a node to a node: its group and both replicas are 0, and each heartbeat in it names its own.
//!
//! Not here: who may send them (`door.rs`), how they travel (`transport.rs`).

use borsh::{BorshDeserialize, BorshSerialize};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use strongroom_format::codec::Format;
use strongroom_format::id::{GroupId, ReplicaId};

use crate::plain::{PlainEntry, PlainLogId, PlainVote, Unfit};
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// A proposal may have so many bytes.
pub const PROPOSAL_BYTES_MAX: usize = 2 << 20;

/// No message is longer: one entry of the greatest length, or many short ones, and what stands around them.
pub const MESSAGE_BYTES_MAX: usize = PROPOSAL_BYTES_MAX + (64 << 10);

/// What a message is about: one byte on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Append = 1,
    Vote = 2,
    PreVote = 3,
    Transfer = 4,
    Piece = 5,
    Heartbeats = 6,
}

impl TryFrom<u8> for Kind {
    type Error = Unfit;

    fn try_from(byte: u8) -> Result<Self, Unfit> {
        [Self::Append, Self::Vote, Self::PreVote, Self::Transfer, Self::Piece, Self::Heartbeats]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
            .ok_or(Unfit("an unknown kind of message"))
    }
}

macro_rules! message {
    ($type:ty, $name:literal) => {
        impl Format for $type {
            const VERSION: u8 = 1;
            const BYTES_MAX: usize = MESSAGE_BYTES_MAX;
            const NAME: &'static str = $name;
        }
    };
}

/// Entries behind one that both have, and how far is committed. Without entries: a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct AppendAsk {
    vote: PlainVote,
    previous: Option<PlainLogId>,
    committed: Option<PlainLogId>,
    entries: Vec<PlainEntry>,
}
message!(AppendAsk, "append");

impl AppendAsk {
    /// The term in which this replica leads, as the message says; 0 if it speaks of another's lead.
    pub(crate) fn term_of(&self, replica: ReplicaId) -> u64 {
        if self.vote.replica == replica.0 { self.vote.term } else { 0 }
    }
}

impl From<&AppendEntriesRequest<TypeConfig>> for AppendAsk {
    fn from(request: &AppendEntriesRequest<TypeConfig>) -> Self {
        Self {
            vote: (&request.vote).into(),
            previous: request.prev_log_id.as_ref().map(PlainLogId::from),
            committed: request.leader_commit.as_ref().map(PlainLogId::from),
            entries: request.entries.iter().map(PlainEntry::from).collect(),
        }
    }
}

impl TryFrom<AppendAsk> for AppendEntriesRequest<TypeConfig> {
    type Error = Unfit;

    /// Entries that do not follow each other are unfit.
    fn try_from(ask: AppendAsk) -> Result<Self, Unfit> {
        let mut next = ask.previous.map_or(0, |previous| previous.index.saturating_add(1));
        for entry in &ask.entries {
            if entry.id.index != next {
                return Err(Unfit("entries that do not follow each other"));
            }
            next = next.saturating_add(1);
        }
        Ok(Self {
            vote: ask.vote.into(),
            prev_log_id: ask.previous.map(LogId::from),
            entries: ask.entries.into_iter().map(Entry::try_from).collect::<Result<_, _>>()?,
            leader_commit: ask.committed.map(LogId::from),
        })
    }
}

/// What became of an [`AppendAsk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum AppendReply {
    /// All entries are durable there.
    Done,
    /// Entries up to this one are.
    DoneUpTo(Option<PlainLogId>),
    /// The previous entry is not there.
    Conflict,
    /// Somebody else leads.
    HigherVote(PlainVote),
}
message!(AppendReply, "append reply");

impl From<&AppendEntriesResponse<TypeConfig>> for AppendReply {
    fn from(response: &AppendEntriesResponse<TypeConfig>) -> Self {
        match response {
            AppendEntriesResponse::Success => Self::Done,
            AppendEntriesResponse::PartialSuccess(last) => Self::DoneUpTo(last.as_ref().map(PlainLogId::from)),
            AppendEntriesResponse::Conflict => Self::Conflict,
            AppendEntriesResponse::HigherVote(vote) => Self::HigherVote(vote.into()),
        }
    }
}

impl From<AppendReply> for AppendEntriesResponse<TypeConfig> {
    fn from(reply: AppendReply) -> Self {
        match reply {
            AppendReply::Done => Self::Success,
            AppendReply::DoneUpTo(last) => Self::PartialSuccess(last.map(LogId::from)),
            AppendReply::Conflict => Self::Conflict,
            AppendReply::HigherVote(vote) => Self::HigherVote(vote.into()),
        }
    }
}

/// A message has so many heartbeats at most: more than a node serves groups.
pub(crate) const HEARTBEATS_MAX: usize = 256;

/// So many of the longest, and nothing else: nobody decodes more.
const HEARTBEATS_BYTES_MAX: usize = 1 + 4 + HEARTBEATS_MAX * HEARTBEAT_BYTES_MAX;
const HEARTBEAT_BYTES_MAX: usize = 4 + 8 + 8 + 17 + 17 + 17;

/// One group's heartbeat among those of others: an [`AppendAsk`] that cannot have entries, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Heartbeat {
    pub(crate) group: GroupId,
    pub(crate) from: ReplicaId,
    pub(crate) to: ReplicaId,
    vote: PlainVote,
    previous: Option<PlainLogId>,
    committed: Option<PlainLogId>,
}

impl Heartbeat {
    /// What a request says, if it has no entries.
    pub(crate) fn of(
        group: GroupId,
        from: ReplicaId,
        to: ReplicaId,
        request: &AppendEntriesRequest<TypeConfig>,
    ) -> Option<Self> {
        request.entries.is_empty().then(|| Self {
            group,
            from,
            to,
            vote: (&request.vote).into(),
            previous: request.prev_log_id.as_ref().map(PlainLogId::from),
            committed: request.leader_commit.as_ref().map(PlainLogId::from),
        })
    }
}

impl From<Heartbeat> for AppendAsk {
    fn from(heartbeat: Heartbeat) -> Self {
        let Heartbeat { group: _, from: _, to: _, vote, previous, committed } = heartbeat;
        Self { vote, previous, committed, entries: Vec::new() }
    }
}

/// Heartbeats of replicas on one node to replicas on another.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct HeartbeatsAsk {
    pub(crate) heartbeats: Vec<Heartbeat>,
}

impl Format for HeartbeatsAsk {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = HEARTBEATS_BYTES_MAX;
    const NAME: &'static str = "heartbeats";

    fn check(&self) -> Result<(), &'static str> {
        match self.heartbeats.len() {
            1..=HEARTBEATS_MAX => Ok(()),
            _ => Err("no heartbeats, or too many"),
        }
    }
}

/// What became of one heartbeat among many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum HeartbeatReply {
    /// The replica's answer.
    Heard(AppendReply),
    /// The replica has not answered yet, and the others were not to wait for it: ask it alone.
    NotYet,
    /// The replica is not here, does not take it from this sender, or has ended.
    Refused,
}

/// What became of each, in the order in which they were asked.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct HeartbeatsReply {
    pub(crate) replies: Vec<HeartbeatReply>,
}

impl Format for HeartbeatsReply {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = HEARTBEATS_BYTES_MAX;
    const NAME: &'static str = "heartbeats reply";
}

/// A candidate asks for a vote, or whether it would get one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct VoteAsk {
    vote: PlainVote,
    last: Option<PlainLogId>,
    /// The leader itself asked the candidate to stand.
    transfer: bool,
}
message!(VoteAsk, "vote");

impl VoteAsk {
    /// The term in which this replica asks for votes; 0 if it asks for another.
    pub(crate) fn term_of(&self, replica: ReplicaId) -> u64 {
        if self.vote.replica == replica.0 { self.vote.term } else { 0 }
    }
}

impl From<&VoteRequest<TypeConfig>> for VoteAsk {
    fn from(request: &VoteRequest<TypeConfig>) -> Self {
        Self {
            vote: (&request.vote).into(),
            last: request.last_log_id.as_ref().map(PlainLogId::from),
            transfer: request.leadership_transfer,
        }
    }
}

impl From<VoteAsk> for VoteRequest<TypeConfig> {
    fn from(ask: VoteAsk) -> Self {
        let mut request = Self::new(ask.vote.into(), ask.last.map(LogId::from));
        request.leadership_transfer = ask.transfer;
        request
    }
}

/// The voter's vote after the question, and its last entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct VoteReply {
    vote: PlainVote,
    granted: bool,
    last: Option<PlainLogId>,
}
message!(VoteReply, "vote reply");

impl From<&VoteResponse<TypeConfig>> for VoteReply {
    fn from(response: &VoteResponse<TypeConfig>) -> Self {
        Self {
            vote: (&response.vote).into(),
            granted: response.vote_granted,
            last: response.last_log_id.as_ref().map(PlainLogId::from),
        }
    }
}

impl From<VoteReply> for VoteResponse<TypeConfig> {
    fn from(reply: VoteReply) -> Self {
        Self::new(Vote::from(reply.vote), reply.last.map(LogId::from), reply.granted)
    }
}

/// The leader hands its lead to a replica and tells all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct TransferAsk {
    from: PlainVote,
    to: u64,
    last: Option<PlainLogId>,
}
message!(TransferAsk, "transfer");

impl From<&TransferLeaderRequest<TypeConfig>> for TransferAsk {
    fn from(request: &TransferLeaderRequest<TypeConfig>) -> Self {
        Self {
            from: request.from_leader().into(),
            to: *request.to_node_id(),
            last: request.last_log_id().map(PlainLogId::from),
        }
    }
}

impl From<TransferAsk> for TransferLeaderRequest<TypeConfig> {
    fn from(ask: TransferAsk) -> Self {
        Self::new(ask.from.into(), ask.to, ask.last.map(LogId::from))
    }
}

/// Whether the replica stands for election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum TransferReply {
    Done,
    VoteChanged { expected: PlainVote, actual: PlainVote },
    NotFlushed { expected: Option<PlainLogId>, actual: Option<PlainLogId> },
}
message!(TransferReply, "transfer reply");

impl From<&TransferLeaderResponse<TypeConfig>> for TransferReply {
    fn from(response: &TransferLeaderResponse<TypeConfig>) -> Self {
        match response {
            Ok(()) => Self::Done,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                Self::VoteChanged { expected: expected.into(), actual: actual.into() }
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => Self::NotFlushed {
                expected: expected.as_ref().map(PlainLogId::from),
                actual: actual.as_ref().map(PlainLogId::from),
            },
        }
    }
}

impl From<TransferReply> for TransferLeaderResponse<TypeConfig> {
    fn from(reply: TransferReply) -> Self {
        match reply {
            TransferReply::Done => Ok(()),
            TransferReply::VoteChanged { expected, actual } => {
                Err(TransferLeaderError::VoteChanged { expected: expected.into(), actual: actual.into() })
            }
            TransferReply::NotFlushed { expected, actual } => Err(TransferLeaderError::LogNotFlushed {
                expected: expected.map(LogId::from),
                actual: actual.map(LogId::from),
            }),
        }
    }
}

/// The next bytes of a snapshot file.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct PieceAsk {
    /// The leader's vote.
    pub(crate) vote: PlainVote,
    /// The snapshot's last entry: pieces of one transfer say the same.
    pub(crate) transfer: PlainLogId,
    /// Where these bytes begin; at the end there are none, and the receiver installs the snapshot.
    pub(crate) at: u64,
    /// How many bytes the whole file has.
    pub(crate) of: u64,
    /// The bytes.
    pub(crate) piece: Vec<u8>,
}
message!(PieceAsk, "snapshot piece");

/// What to send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum PieceReply {
    /// The bytes from here on.
    Next(u64),
    /// Nothing: the receiver has all that the snapshot has, durably, or follows a later leader, as its vote says.
    Over(PlainVote),
}
message!(PieceReply, "snapshot piece reply");

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::prelude::*;
    use strongroom_format::codec::{decode, encode};

    use super::*;
    use crate::plain::PlainPayload;

    fn returns<T: Format + PartialEq + Debug>(message: &T) {
        let bytes = encode(message);
        assert_eq!(decode::<T>(&bytes).as_ref(), Ok(message));
        assert!(decode::<T>(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn messages_come_back_as_they_went() {
        let vote = PlainVote { term: 3, replica: 4, granted: false };
        let id = PlainLogId { term: 2, index: 9 };
        let entries = vec![PlainEntry { id: PlainLogId { term: 2, index: 10 }, payload: PlainPayload::Blank }];
        let append = AppendAsk { vote, previous: Some(id), committed: None, entries };
        returns(&append);
        let request = AppendEntriesRequest::try_from(append.clone()).unwrap();
        assert_eq!(AppendAsk::from(&request), append);

        for reply in [
            AppendReply::Done,
            AppendReply::DoneUpTo(Some(id)),
            AppendReply::DoneUpTo(None),
            AppendReply::Conflict,
            AppendReply::HigherVote(vote),
        ] {
            returns(&reply);
            assert_eq!(AppendReply::from(&AppendEntriesResponse::from(reply)), reply);
        }
        for transfer in [false, true] {
            let ask = VoteAsk { vote, last: Some(id), transfer };
            returns(&ask);
            assert_eq!(VoteAsk::from(&VoteRequest::from(ask)), ask);
        }
        let reply = VoteReply { vote, granted: true, last: None };
        returns(&reply);
        assert_eq!(VoteReply::from(&VoteResponse::from(reply)), reply);

        let ask = TransferAsk { from: vote, to: 7, last: Some(id) };
        returns(&ask);
        assert_eq!(TransferAsk::from(&TransferLeaderRequest::from(ask)), ask);
        for reply in [
            TransferReply::Done,
            TransferReply::VoteChanged { expected: vote, actual: vote },
            TransferReply::NotFlushed { expected: Some(id), actual: None },
        ] {
            returns(&reply);
            assert_eq!(TransferReply::from(&TransferLeaderResponse::from(reply)), reply);
        }
        returns(&PieceAsk { vote, transfer: id, at: 5, of: 9, piece: vec![1, 2] });
        returns(&PieceReply::Next(4));
        returns(&PieceReply::Over(vote));

        let beat = Heartbeat {
            group: GroupId(7),
            from: ReplicaId(256),
            to: ReplicaId(512),
            vote,
            previous: Some(id),
            committed: Some(id),
        };
        returns(&HeartbeatsAsk { heartbeats: vec![beat, Heartbeat { previous: None, ..beat }] });
        let request = AppendEntriesRequest::try_from(AppendAsk::from(beat)).unwrap();
        assert_eq!(Heartbeat::of(beat.group, beat.from, beat.to, &request), Some(beat));
        let replies = vec![
            HeartbeatReply::Heard(AppendReply::Conflict),
            HeartbeatReply::Heard(AppendReply::HigherVote(vote)),
            HeartbeatReply::NotYet,
            HeartbeatReply::Refused,
        ];
        returns(&HeartbeatsReply { replies });
    }

    #[test]
    fn heartbeats_keep_their_bytes() {
        let vote = PlainVote { term: 3, replica: 256, granted: true };
        let previous = Some(PlainLogId { term: 2, index: 9 });
        let beat =
            Heartbeat { group: GroupId(7), from: ReplicaId(256), to: ReplicaId(512), vote, previous, committed: None };
        let mut expected = vec![1, 1, 0, 0, 0];
        expected.extend([7, 0, 0, 0]);
        expected.extend([0, 1, 0, 0, 0, 0, 0, 0]);
        expected.extend([0, 2, 0, 0, 0, 0, 0, 0]);
        expected.extend([3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
        expected.extend([1, 2, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        expected.push(0);
        assert_eq!(encode(&HeartbeatsAsk { heartbeats: vec![beat] }), expected);
        let replies = vec![HeartbeatReply::Heard(AppendReply::Done), HeartbeatReply::NotYet, HeartbeatReply::Refused];
        assert_eq!(encode(&HeartbeatsReply { replies }), [1, 3, 0, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn a_message_has_neither_too_many_heartbeats_nor_none_nor_other_messages() {
        let vote = PlainVote { term: 3, replica: 4, granted: true };
        let id = Some(PlainLogId { term: 2, index: 9 });
        let beat =
            Heartbeat { group: GroupId(7), from: ReplicaId(1), to: ReplicaId(2), vote, previous: id, committed: id };
        let most = HeartbeatsAsk { heartbeats: vec![beat; HEARTBEATS_MAX] };
        assert_eq!(encode(&most).len(), HEARTBEATS_BYTES_MAX, "the bound is what the most heartbeats take");
        returns(&most);
        let shorter = Heartbeat { previous: None, committed: None, ..beat };
        let too_many = encode(&HeartbeatsAsk { heartbeats: vec![shorter; HEARTBEATS_MAX + 1] });
        assert!(too_many.len() < HEARTBEATS_BYTES_MAX);
        let refused = |bytes: &[u8]| decode::<HeartbeatsAsk>(bytes).unwrap_err().to_string();
        assert!(refused(&too_many).contains("too many"), "{}", refused(&too_many));
        assert!(refused(&encode(&HeartbeatsAsk { heartbeats: vec![] })).contains("no heartbeats"));
        let too_long = [encode(&most), vec![0]].concat();
        assert!(refused(&too_long).contains("bytes"), "{}", refused(&too_long));
        // one message of heartbeats where a heartbeat belongs, and one whose bytes go on
        let inner = encode(&HeartbeatsAsk { heartbeats: vec![beat] });
        for nested in [[&[1, 1, 0, 0, 0], inner.as_slice()].concat(), [inner.as_slice(), inner.as_slice()].concat()] {
            refused(&nested);
        }
        let with_entries = AppendAsk {
            vote,
            previous: id,
            committed: id,
            entries: vec![PlainEntry { id: PlainLogId { term: 2, index: 10 }, payload: PlainPayload::Blank }],
        };
        let request = AppendEntriesRequest::try_from(with_entries).unwrap();
        assert_eq!(Heartbeat::of(GroupId(7), ReplicaId(1), ReplicaId(2), &request), None);
    }

    #[test]
    fn entries_with_a_gap_are_unfit() {
        let vote = PlainVote { term: 3, replica: 4, granted: true };
        let entry = |index| PlainEntry { id: PlainLogId { term: 1, index }, payload: PlainPayload::Blank };
        for entries in [vec![entry(1)], vec![entry(0), entry(2)], vec![entry(0), entry(0)]] {
            let ask = AppendAsk { vote, previous: None, committed: None, entries };
            assert!(AppendEntriesRequest::try_from(ask).is_err());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_or_canonical(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            fn check<T: Format>(bytes: &[u8]) {
                if let Ok(message) = decode::<T>(bytes) {
                    assert_eq!(encode(&message), bytes);
                }
            }
            check::<AppendAsk>(&bytes);
            check::<AppendReply>(&bytes);
            check::<VoteAsk>(&bytes);
            check::<VoteReply>(&bytes);
            check::<TransferAsk>(&bytes);
            check::<TransferReply>(&bytes);
            check::<PieceAsk>(&bytes);
            check::<PieceReply>(&bytes);
            check::<HeartbeatsAsk>(&bytes);
            check::<HeartbeatsReply>(&bytes);
        }
    }
}
