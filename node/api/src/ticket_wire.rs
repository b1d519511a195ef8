//! Tickets on the wire. Not here: anything else (`wire.rs`).

use bytes::Bytes;
use strongroom_core::query::{StreamView, TicketView};
use strongroom_core::shard::rows::TicketState;
use strongroom_format::gathered::ExpectedStream;
use strongroom_proto::v1 as pb;

/// A ticket and streams under it.
pub(crate) fn ticket(view: TicketView) -> pb::GetTicketReply {
    let TicketView { ticket, streams } = view;
    let (state, whole) = match ticket.state {
        TicketState::Open => (pb::TicketState::Open, Bytes::new()),
        TicketState::Committed { whole } => (pb::TicketState::Committed, Bytes::copy_from_slice(whole.as_bytes())),
        TicketState::Aborted => (pb::TicketState::Aborted, Bytes::new()),
    };
    let stream = |StreamView { name, writer, snapshot, ready }: StreamView| pb::TicketStream {
        name: name.to_string(),
        writer: writer.to_string(),
        snapshot: Bytes::copy_from_slice(snapshot.as_bytes()),
        envelope: ready.map(|digest| Bytes::copy_from_slice(digest.as_bytes())).unwrap_or_default(),
    };
    let expected = |ExpectedStream { name, writer }: ExpectedStream| pb::TicketStream {
        name: name.to_string(),
        writer: writer.to_string(),
        snapshot: Bytes::new(),
        envelope: Bytes::new(),
    };
    pb::GetTicketReply {
        vault: Bytes::copy_from_slice(ticket.vault.as_bytes()),
        label: ticket.label.to_string(),
        opener: ticket.opener.to_string(),
        lease: ticket.lease.0,
        state: state.into(),
        whole,
        streams: streams.into_iter().map(stream).collect(),
        expected: ticket.expected.into_iter().map(expected).collect(),
    }
}
