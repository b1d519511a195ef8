//! Leases: under what bytes may be written, how many, until when.
//!
//!     opened ──registered under, topped up: its end moves on──▶ sealed, ended or out of time ──▶ no row
//!
//! A lease is named by the place in the log that opened it, so an id is never given again and a lease that is not there
//! has ended (or, on a replica that lags, is not there yet: its log index tells). Law: what a lease has used is at most
//! its budget (`laws/leases_keep_their_budgets.rs`). Not here: who checks bytes before they reach a disk
//! (`node/service`).

use strongroom_format::id::{DomainId, IdentityId, LeaseId, VaultId};
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::role::Role;

use crate::shard::at::{At, Caller};
use crate::shard::ends::{self, End};
use crate::shard::garbage;
use crate::shard::rows::{DomainRow, LeasePurpose, LeaseRow};
use crate::shard::scope::TenantScope;
use crate::stop::{Ruled, invalid};
use crate::tables::{Halt, Reads, Tables};

/// A lease that is not used for so long ends.
pub(crate) const LEASE_MS: u64 = 6 * 3_600_000;
/// A session's own lease has at most this budget.
pub(crate) const SESSION_BUDGET_BYTES_MAX: u64 = 64 << 20;
/// Any other lease has at most this budget.
pub(crate) const BUDGET_BYTES_MAX: u64 = 1 << 50;

/// Opens a lease, named by the place of the command.
pub(crate) fn open(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    identity: IdentityId,
    purpose: LeasePurpose,
    budget_bytes: u64,
) -> Result<LeaseId, Halt> {
    let lease = at.lease();
    let ends_ms = at.now_ms.saturating_add(LEASE_MS);
    let row = LeaseRow { identity, purpose, budget_bytes, used_bytes: 0, node_bytes: 0, ends_ms, writable: true };
    scope.put(tables, &(lease,), &row)?;
    ends::schedule(tables, ends_ms, scope.tenant(), End::Lease(lease))?;
    Ok(lease)
}

/// A lease under which this caller may write now. Another's has ended, as far as this caller can see.
pub(crate) fn writable(at: &At<'_>, caller: &Caller, reads: &dyn Reads, lease: LeaseId) -> Ruled<LeaseRow> {
    match caller.scope.get::<LeaseRow>(reads, &(lease,))? {
        Some(row) if row.identity == caller.principal && row.writable && at.now_ms < row.ends_ms => Ok(row),
        Some(_) | None => Err(Refusal::LeaseEnded.into()),
    }
}

/// A lease under which this caller may write into this domain now. A foreign domain is as if absent (N109).
pub(crate) fn writable_in(
    at: &At<'_>,
    caller: &Caller,
    reads: &dyn Reads,
    lease: LeaseId,
    vault: VaultId,
    domain: DomainId,
) -> Ruled<LeaseRow> {
    caller.require(&[Role::Writer, Role::Gateway])?;
    let row = writable(at, caller, reads, lease)?;
    let own = match &row.purpose {
        LeasePurpose::Part { vault: of, domain: its, .. } => (*of, *its) == (vault, domain),
        LeasePurpose::Session(_) => caller.scope.has::<DomainRow>(reads, &(vault, domain, caller.principal.clone()))?,
        LeasePurpose::Ticket(_) => false,
    };
    if own { Ok(row) } else { Err(Refusal::NotFound.into()) }
}

/// Takes bytes from a lease's budget, and moves its end on.
pub(crate) fn charge(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    lease: LeaseId,
    mut row: LeaseRow,
    stored_bytes: u64,
    node_bytes: u64,
) -> Ruled<()> {
    let used = row.used_bytes.saturating_add(row.node_bytes);
    let left_bytes = row.budget_bytes.saturating_sub(used);
    if left_bytes < stored_bytes.saturating_add(node_bytes) {
        return Err(Refusal::BudgetExceeded { left_bytes }.into());
    }
    row.used_bytes += stored_bytes;
    row.node_bytes += node_bytes;
    keep_open(at, scope, tables, lease, row)?;
    Ok(())
}

/// Gives an open lease more budget; with no bytes it only moves its end on.
pub(crate) fn top_up(at: &At<'_>, caller: &Caller, tables: &mut dyn Tables, lease: LeaseId, bytes: u64) -> Ruled<Done> {
    caller.require(&[Role::Writer, Role::Gateway])?;
    // At home a sealed part's lease is kept open so, until the snapshot is decided; nothing is written under it.
    let row = caller.scope.get::<LeaseRow>(&*tables, &(lease,))?;
    let open = row.filter(|row| row.identity == caller.principal && at.now_ms < row.ends_ms);
    let mut row = open.ok_or(Refusal::LeaseEnded)?;
    let most = match row.purpose {
        LeasePurpose::Session(_) => SESSION_BUDGET_BYTES_MAX.saturating_add(row.used_bytes),
        LeasePurpose::Part { .. } => BUDGET_BYTES_MAX,
        LeasePurpose::Ticket(_) => 0,
    };
    let budget_bytes = row.budget_bytes.checked_add(bytes).filter(|budget| *budget <= most);
    row.budget_bytes = budget_bytes.ok_or_else(|| invalid("a budget beyond what a lease may have"))?;
    let budget_bytes = row.budget_bytes;
    keep_open(at, &caller.scope, tables, lease, row)?;
    Ok(Done::ToppedUp { budget_bytes })
}

/// Ends writing under a lease and starts its time anew: at home it is now the time in which to decide.
pub(crate) fn close_to_writes(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    lease: LeaseId,
    mut row: LeaseRow,
) -> Result<(), Halt> {
    row.writable = false;
    keep_open(at, scope, tables, lease, row)
}

/// Ends a lease. What was brought under it and nothing names is garbage from now on.
pub(crate) fn end(scope: &TenantScope, tables: &mut dyn Tables, lease: LeaseId) -> Result<(), Halt> {
    scope.delete::<LeaseRow>(tables, &(lease,))?;
    garbage::lease_ended(scope, tables, lease)
}

/// Moves a lease's end on.
pub(crate) fn keep_open(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    lease: LeaseId,
    mut row: LeaseRow,
) -> Result<(), Halt> {
    row.ends_ms = at.now_ms.saturating_add(LEASE_MS);
    scope.put(tables, &(lease,), &row)
}
