//! Of a whole all streams are shown, or none: a stream is shown only with the whole that names it by the digest of its
//! envelope, and a whole only with all that it names, until it ends; only then may they. A stream that was not given up is under its ticket by its name, and
//! nothing else is; a ticket that is not decided has its lease, and one that ended without a whole as long as streams are
//! left.

use std::collections::BTreeMap;

use strongroom_format::codec;
use strongroom_format::envelope::Envelope;
use strongroom_format::gathered::Gathered;
use strongroom_format::sign::Signed;

use crate::laws::state::{State, holds};
use crate::shard::rows::{
    EnvelopeRow, LeasePurpose, LeaseRow, SnapshotRow, SnapshotState, StreamRow, TicketRow, TicketState,
};

pub(crate) fn check(state: &State) -> Result<(), String> {
    let snapshots: BTreeMap<_, SnapshotRow> =
        state.each::<SnapshotRow>()?.into_iter().map(|(tenant, (snapshot,), row)| ((tenant, snapshot), row)).collect();
    let tickets: BTreeMap<_, TicketRow> =
        state.each::<TicketRow>()?.into_iter().map(|(tenant, (ticket,), row)| ((tenant, ticket), row)).collect();
    let mut leases: BTreeMap<_, LeaseRow> = state
        .each::<LeaseRow>()?
        .into_iter()
        .filter(|(.., row)| matches!(row.purpose, LeasePurpose::Ticket(_)))
        .map(|(tenant, (lease,), row)| ((tenant, lease), row))
        .collect();
    let streams: BTreeMap<_, StreamRow> = state
        .each::<StreamRow>()?
        .into_iter()
        .map(|(tenant, (ticket, name), row)| ((tenant, ticket, name), row))
        .collect();

    let mut under: BTreeMap<_, u32> = BTreeMap::new();
    for ((tenant, ticket, name), stream) in &streams {
        *under.entry((*tenant, *ticket)).or_insert(0) += 1;
        let named = snapshots
            .get(&(*tenant, stream.snapshot))
            .filter(|row| row.stream.as_ref().is_some_and(|of| (of.ticket, &of.name) == (*ticket, name)));
        let row = named.ok_or_else(|| format!("stream {name} of {ticket} is no such stream"))?;
        let ticket_row = tickets.get(&(*tenant, *ticket)).ok_or_else(|| format!("{name} is under no ticket"))?;
        holds(row.opened.vault == ticket_row.vault, || format!("{name} is in another vault than {ticket}"))?;
        let alike = match (&ticket_row.state, &row.state) {
            (TicketState::Open | TicketState::Aborted, SnapshotState::Open | SnapshotState::Ready(_))
            | (TicketState::Committed { .. }, SnapshotState::Committed(_) | SnapshotState::Ended { .. }) => true,
            (_, SnapshotState::Aborted)
            | (TicketState::Open | TicketState::Aborted, SnapshotState::Committed(_) | SnapshotState::Ended { .. })
            | (TicketState::Committed { .. }, SnapshotState::Open | SnapshotState::Ready(_)) => false,
        };
        holds(alike, || format!("{name} and {ticket} do not stand alike: {:?}", ticket_row.state))?;
    }
    for ((tenant, snapshot), row) in &snapshots {
        let Some(of) = &row.stream else { continue };
        let listed =
            streams.get(&(*tenant, of.ticket, of.name.clone())).is_some_and(|stream| stream.snapshot == *snapshot);
        holds(listed != (row.state == SnapshotState::Aborted), || format!("{snapshot} is not where its name says"))?;
    }
    for ((tenant, ticket), row) in &tickets {
        let left = under.remove(&(*tenant, *ticket)).unwrap_or(0);
        holds(left == row.streams, || format!("{ticket} counts {} streams, really {left}", row.streams))?;
        let lease =
            leases.remove(&(*tenant, row.lease)).is_some_and(|lease| lease.purpose == LeasePurpose::Ticket(*ticket));
        let has_its_lease = match &row.state {
            TicketState::Open => lease,
            TicketState::Committed { .. } => !lease,
            TicketState::Aborted => lease || left == 0,
        };
        holds(has_its_lease, || format!("{ticket} and its lease do not stand alike: {:?}", row.state))?;
    }
    holds(leases.is_empty(), || "a lease is for a ticket that is not there".into())?;

    let mut wholes = BTreeMap::new();
    for (tenant, (snapshot,), row) in state.each::<EnvelopeRow>()? {
        let signed: Signed<Envelope> = codec::decode(&row.envelope).map_err(|fault| format!("{snapshot}: {fault}"))?;
        let envelope = signed.unverified().map_err(|fault| format!("{snapshot}: {fault}"))?;
        if let Gathered::Whole(whole) = envelope.gathered {
            wholes.insert((tenant, snapshot), whole);
        }
    }
    for ((tenant, ticket), row) in &tickets {
        let TicketState::Committed { whole } = row.state else { continue };
        let stands = snapshots.get(&(*tenant, whole)).map(|row| &row.state);
        if matches!(stands, Some(SnapshotState::Ended { .. })) {
            // Its streams may end now, each on its own.
            continue;
        }
        let named = wholes.remove(&(*tenant, whole)).filter(|named| named.ticket == *ticket);
        let named = named.ok_or_else(|| format!("{ticket} was decided by {whole}, which does not say so"))?;
        holds(named.streams.len() == row.streams as usize, || {
            format!("{whole} names others than were under {ticket}")
        })?;
        for stream in named.streams {
            let shown = snapshots.get(&(*tenant, stream.snapshot)).is_some_and(|row| match &row.state {
                SnapshotState::Committed(committed) => {
                    (committed.envelope, &row.opened.writer) == (stream.envelope, &stream.writer)
                }
                SnapshotState::Open
                | SnapshotState::Ready(_)
                | SnapshotState::Aborted
                | SnapshotState::Ended { .. } => false,
            });
            holds(shown, || format!("{whole} is shown without its stream {}", stream.name))?;
        }
    }
    holds(wholes.is_empty(), || "a whole is shown that decided no ticket".into())
}
