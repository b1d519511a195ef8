//! How a ticket ends without a whole: given up by its opener, or out of time. It is decided at once and for all streams;
//! they are tidied up in bounded steps, some with each asking, one with each tick.
//!
//! Not here: what a ticket is (`shard/tickets.rs`), how its streams are shown (`shard/gathering.rs`).

use strongroom_format::command::Body;
use strongroom_format::id::TicketId;
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::role::Role;

use crate::shard::at::{At, Caller};
use crate::shard::audit;
use crate::shard::ends::{self, End};
use crate::shard::leases;
use crate::shard::rows::{LeaseRow, StreamRow, TicketRow, TicketState};
use crate::shard::scope::TenantScope;
use crate::shard::snapshots;
use crate::shard::tickets;
use crate::shard::usage;
use crate::stop::{Ruled, impossible};
use crate::tables::{Halt, Tables};

/// One asking tidies up at most so many streams.
const STREAMS_PER_ASKING: usize = 16;

/// Gives the caller's own ticket up, or goes on tidying up one that ended.
pub(crate) fn abort_own(at: &At<'_>, caller: &Caller, tables: &mut dyn Tables, ticket: TicketId) -> Ruled<Done> {
    caller.require(&[Role::Writer, Role::Gateway])?;
    let scope = &caller.scope;
    let row: Option<TicketRow> = scope.get(&*tables, &(ticket,))?;
    let row = row.filter(|row| row.opener == caller.principal).ok_or(Refusal::NotFound)?;
    match row.state {
        TicketState::Open => decide(scope, tables, ticket, row.clone())?,
        TicketState::Aborted => {}
        TicketState::Committed { .. } => return Err(Refusal::Immutable.into()),
    }
    let left = tidy(at, scope, tables, ticket, STREAMS_PER_ASKING)?;
    if left == 0 {
        leases::end(scope, tables, row.lease)?;
    }
    Ok(Done::TicketAborted { left })
}

/// The ticket's lease is out of time, and its row gone.
pub(crate) fn end(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    ticket: TicketId,
    mut lease: LeaseRow,
) -> Result<(), Halt> {
    let row: Option<TicketRow> = scope.get(&*tables, &(ticket,))?;
    let row = row.ok_or_else(|| impossible("a lease is for a ticket that is not here"))?;
    if row.state == TicketState::Open {
        decide(scope, tables, ticket, row.clone())?;
        audit::entered(at, scope, tables, &Body::AbortTicket { ticket }, row.opener.clone(), "the lease ended")?;
    }
    if tidy(at, scope, tables, ticket, 1)? != 0 {
        // The next tick goes on.
        lease.ends_ms = at.now_ms.saturating_add(1);
        ends::schedule(tables, lease.ends_ms, scope.tenant(), End::Lease(row.lease))?;
        scope.put(tables, &(row.lease,), &lease)?;
    }
    Ok(())
}

fn decide(scope: &TenantScope, tables: &mut dyn Tables, ticket: TicketId, mut row: TicketRow) -> Result<(), Halt> {
    row.state = TicketState::Aborted;
    scope.put(tables, &(ticket,), &row)?;
    usage::ticket_decided(scope, tables, &row.opener)
}

/// Drops streams of a ticket that ended; returns how many are left.
fn tidy(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    ticket: TicketId,
    at_most: usize,
) -> Result<u32, Halt> {
    for (_, StreamRow { snapshot }) in tickets::streams(scope, &*tables, ticket, at_most)? {
        let dropped = snapshots::abort(scope, tables, snapshot)?;
        let dropped = dropped.ok_or_else(|| impossible("a stream of a ticket that ended is decided"))?;
        let body = Body::AbortSnapshot { snapshot };
        audit::entered(at, scope, tables, &body, dropped.opened.writer, "the ticket ended")?;
    }
    let row: Option<TicketRow> = scope.get(&*tables, &(ticket,))?;
    Ok(row.map_or(0, |row| row.streams))
}
