//! What time does: at a tick, that which is due ends, in bounded steps.
//!
//! What is due but not reached yet is over all the same: whoever uses a thing compares its end with `E`. So the bound
//! delays only the tidying up. Not here: how time moves (`clock.rs`).

use strongroom_format::outcome::Done;

use crate::shard::at::At;
use crate::shard::audit;
use crate::shard::ends::{self, Due, End};
use crate::shard::leases;
use crate::shard::lock_orders;
use crate::shard::locks;
use crate::shard::parts;
use crate::shard::restores;
use crate::shard::rows::{LeasePurpose, LeaseRow, RestoreRow, SessionRow};
use crate::shard::scope::TenantScope;
use crate::shard::sessions;
use crate::shard::snapshots;
use crate::shard::ticket_ends;
use crate::shard::tokens;
use crate::tables::{Halt, Tables};

/// A tick ends at most so many things; the rest waits for the next.
pub const ENDS_PER_TICK: usize = 256;

/// Ends what is due, and begins the locks whose turn it is.
pub(crate) fn end_what_is_due(at: &At<'_>, tables: &mut dyn Tables) -> Result<Done, Halt> {
    locks::begin_what_waits(at, tables)?;
    for due in ends::due(&*tables, at.now_ms, ENDS_PER_TICK)? {
        ends::unschedule(tables, &due)?;
        let Some((scope, _)) = TenantScope::of(&*tables, due.tenant)? else {
            return Err(Halt { why: "something of a tenant that is not here ends".into() });
        };
        end(at, &scope, tables, &due)?;
    }
    Ok(Done::Done)
}

fn end(at: &At<'_>, scope: &TenantScope, tables: &mut dyn Tables, due: &Due) -> Result<(), Halt> {
    let later = |tables: &mut dyn Tables, ends_ms| ends::schedule(tables, ends_ms, due.tenant, due.end);
    match due.end {
        End::Session(session) => match scope.get::<SessionRow>(&*tables, &(session,))? {
            Some(row) if row.open && at.now_ms < row.ends_ms => later(tables, row.ends_ms),
            Some(row) if row.open => sessions::end(scope, tables, session),
            Some(_) | None => Ok(()),
        },
        End::Lease(lease) => match scope.get::<LeaseRow>(&*tables, &(lease,))? {
            Some(row) if at.now_ms < row.ends_ms => later(tables, row.ends_ms),
            Some(row) => {
                leases::end(scope, tables, lease)?;
                if let LeasePurpose::Ticket(ticket) = row.purpose {
                    return ticket_ends::end(at, scope, tables, ticket, row);
                }
                end_purpose(at, scope, tables, &row.purpose)
            }
            None => Ok(()),
        },
        End::Restore(restore) => match scope.get::<RestoreRow>(&*tables, &(restore,))? {
            Some(_) => restores::end(scope, tables, restore),
            None => Ok(()),
        },
        End::AuditBatch => audit::flush(at, scope, tables),
        End::Token(number) => tokens::end(scope, tables, number),
        End::Weakening(number) => lock_orders::weaken(at, scope, tables, number),
    }
}

/// With its lease, an unsealed part dies, and at home an undecided snapshot.
fn end_purpose(at: &At<'_>, scope: &TenantScope, tables: &mut dyn Tables, purpose: &LeasePurpose) -> Result<(), Halt> {
    let LeasePurpose::Part { snapshot, .. } = purpose else {
        return Ok(());
    };
    let part = parts::row(scope, &*tables, *snapshot)?;
    let part = part.ok_or_else(|| Halt { why: "a lease is for a part that is not here".into() })?;
    if part.opened.home == at.group() {
        if let Some(row) = snapshots::abort(scope, tables, *snapshot)? {
            audit::aborted(at, scope, tables, row.opened.writer, *snapshot)?;
        }
        return Ok(());
    }
    parts::drop_part(scope, tables, *snapshot, part)
}
