//! Tickets: under one, several writers make one snapshot.
//!
//!     OpenTicket ──▶ Open ──CommitSnapshot of its whole──▶ Committed, with every stream
//!                     └──AbortTicket, its lease ends──▶ Aborted, with every stream
//!
//! A ticket is no secret and gives no right: who joins must be a writer with a card in the ticket's vault, and where the
//! opener said whose streams it expects, just that one. A name is taken by the first who joins with it and free again when
//! that stream is given up. Law: `laws/wholes_are_all_or_nothing.rs`. Not here: deciding (`shard/gathering.rs`,
//! `shard/ticket_ends.rs`).

use strongroom_format::command::OpenSnapshot;
use strongroom_format::gathered::{ExpectedStream, OpenTicket, StreamOf, Whole};
use strongroom_format::id::{IdentityId, StreamName, TicketId};
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::role::Role;

use crate::query::{Answer, StreamView, TicketView};
use crate::shard::at::{At, Caller};
use crate::shard::leases;
use crate::shard::rows::{
    LeasePurpose, LeaseRow, SnapshotRow, SnapshotState, StreamRow, TicketRow, TicketState, VaultRow,
};
use crate::shard::scope::TenantScope;
use crate::shard::usage;
use crate::shard::vaults;
use crate::stop::{Ruled, impossible, invalid, limit};
use crate::tables::{Halt, Reads, Tables};

/// At most so many tickets of one identity are open.
pub const TICKETS_MAX: u64 = 64;

/// Opens a ticket. Its opener is a writer of the vault: it will sign the whole.
pub(crate) fn open(at: &At<'_>, caller: &Caller, tables: &mut dyn Tables, wish: &OpenTicket) -> Ruled<Done> {
    caller.require(&[Role::Writer, Role::Gateway])?;
    if !wish.is_sound() {
        return Err(invalid("the expected streams are not sorted, too many, or one is named twice"));
    }
    let scope = &caller.scope;
    let writes = vaults::newest_card(scope, &*tables, wish.vault, &caller.principal)?.is_some();
    if !scope.has::<VaultRow>(&*tables, &(wish.vault,))? || !writes {
        return Err(Refusal::NotFound.into());
    }
    if scope.has::<TicketRow>(&*tables, &(wish.ticket,))? {
        return Err(Refusal::Immutable.into());
    }
    if TICKETS_MAX <= usage::open_of(scope, &*tables, &caller.principal)?.tickets {
        return Err(limit("open tickets of the writer"));
    }
    let lease = leases::open(at, scope, tables, caller.principal.clone(), LeasePurpose::Ticket(wish.ticket), 0)?;
    let row = TicketRow {
        vault: wish.vault,
        label: wish.label.clone(),
        opener: caller.principal.clone(),
        lease,
        expected: wish.expected.clone(),
        streams: 0,
        state: TicketState::Open,
    };
    scope.put(tables, &(wish.ticket,), &row)?;
    usage::count_open(scope, tables, &caller.principal, |row| {
        row.tickets = row.tickets.checked_add(1)?;
        Some(())
    })?;
    Ok(Done::TicketOpened { lease, ends_ms: at.now_ms.saturating_add(leases::LEASE_MS) })
}

/// A ticket that is not decided and in time, with its lease.
pub(crate) fn undecided(
    at: &At<'_>,
    scope: &TenantScope,
    reads: &dyn Reads,
    ticket: TicketId,
) -> Ruled<(TicketRow, LeaseRow)> {
    let row: TicketRow = scope.get(reads, &(ticket,))?.ok_or(Refusal::NotFound)?;
    if row.state != TicketState::Open {
        return Err(Refusal::TicketEnded.into());
    }
    match scope.get::<LeaseRow>(reads, &(row.lease,))? {
        Some(lease) if at.now_ms < lease.ends_ms => Ok((row, lease)),
        Some(_) | None => Err(Refusal::TicketEnded.into()),
    }
}

/// Lets a stream that is being opened into a ticket, and moves the ticket's end on.
pub(crate) fn join(
    at: &At<'_>,
    caller: &Caller,
    tables: &mut dyn Tables,
    open: &OpenSnapshot,
    of: &StreamOf,
) -> Ruled<()> {
    let scope = &caller.scope;
    let (mut ticket, lease) = undecided(at, scope, &*tables, of.ticket)?;
    if ticket.vault != open.vault {
        return Err(Refusal::NotFound.into());
    }
    if !ticket.expects(&of.name, &caller.principal) {
        return Err(Refusal::StreamsDiffer { names: vec![of.name.clone()] }.into());
    }
    if scope.has::<StreamRow>(&*tables, &(of.ticket, of.name.clone()))? {
        return Err(Refusal::StreamTaken.into());
    }
    if Whole::STREAMS_MAX <= ticket.streams as usize {
        return Err(limit("streams of the ticket"));
    }
    leases::keep_open(at, scope, tables, ticket.lease, lease)?;
    ticket.streams += 1;
    scope.put(tables, &(of.ticket,), &ticket)?;
    scope.put(tables, &(of.ticket, of.name.clone()), &StreamRow { snapshot: open.snapshot })?;
    Ok(())
}

/// Takes a stream that was given up from its ticket: its name is free again.
pub(crate) fn leave(scope: &TenantScope, tables: &mut dyn Tables, of: &StreamOf) -> Result<(), Halt> {
    let row = scope.get::<TicketRow>(&*tables, &(of.ticket,))?;
    let mut row = row.ok_or_else(|| impossible("a stream's ticket is not there"))?;
    row.streams = row.streams.checked_sub(1).ok_or_else(|| impossible("a ticket's streams do not add up"))?;
    scope.put(tables, &(of.ticket,), &row)?;
    scope.delete::<StreamRow>(tables, &(of.ticket, of.name.clone()))
}

/// Whether somebody opened the ticket of a stream that is not decided.
pub(crate) fn decides(
    scope: &TenantScope,
    reads: &dyn Reads,
    of: Option<&StreamOf>,
    who: &IdentityId,
) -> Result<bool, Halt> {
    let Some(of) = of else {
        return Ok(false);
    };
    let ticket = scope.get::<TicketRow>(reads, &(of.ticket,))?;
    Ok(ticket.is_some_and(|ticket| ticket.opener == *who && ticket.state == TicketState::Open))
}

/// The streams under a ticket, by name.
pub(crate) fn streams(
    scope: &TenantScope,
    reads: &dyn Reads,
    ticket: TicketId,
    limit: usize,
) -> Result<Vec<(StreamName, StreamRow)>, Halt> {
    let rows = scope.range::<StreamRow>(reads, &(ticket,), limit)?;
    Ok(rows.into_iter().map(|((_, name), row)| (name, row)).collect())
}

/// A ticket as its opener sees it, or as anybody else does: with its own streams only.
pub(crate) fn view(
    scope: &TenantScope,
    reads: &dyn Reads,
    ticket: TicketId,
    by: &IdentityId,
) -> Result<Option<Answer>, Halt> {
    let Some(row) = scope.get::<TicketRow>(reads, &(ticket,))? else {
        return Ok(None);
    };
    let opened = row.opener == *by;
    if !opened && vaults::newest_card(scope, reads, row.vault, by)?.is_none() {
        // Who writes elsewhere sees nothing.
        return Ok(None);
    }
    let mut views = Vec::new();
    for (name, StreamRow { snapshot }) in streams(scope, reads, ticket, Whole::STREAMS_MAX)? {
        let stream = scope.get::<SnapshotRow>(reads, &(snapshot,))?;
        let stream = stream.ok_or_else(|| impossible("a stream's snapshot is not there"))?;
        let writer = stream.opened.writer;
        if !opened && writer != *by {
            continue;
        }
        let ready = match stream.state {
            SnapshotState::Ready(ready) => Some(ready.digest),
            SnapshotState::Committed(committed) => Some(committed.envelope),
            SnapshotState::Open | SnapshotState::Aborted | SnapshotState::Ended { .. } => None,
        };
        views.push(StreamView { name, writer, snapshot, ready });
    }
    Ok(Some(Answer::Ticket(TicketView { ticket: row, streams: views })))
}

impl TicketRow {
    /// Whether this writer may join with this name.
    fn expects(&self, name: &StreamName, writer: &IdentityId) -> bool {
        let is_it = |expected: &ExpectedStream| (&expected.name, &expected.writer) == (name, writer);
        self.expected.is_empty() || self.expected.iter().any(is_it)
    }
}
