//! Leases: under what bytes may be written, how many, until when.
//!
//!     opened ──registered under, topped up: its end moves on──▶ sealed, ended or out of time ──▶ no row
//!
//! What may still be written under an open lease is reserved: quotas count it as if it lay there (`quotas.rs`). So a lease
//! is granted what they leave, and what is registered under it never exceeds them.
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
use crate::shard::quotas::Whose;
use crate::shard::rows::{DomainRow, LeasePurpose, LeaseRow, PartRow};
use crate::shard::scope::TenantScope;
use crate::shard::usage;
use crate::stop::{Ruled, impossible, invalid};
use crate::tables::{Halt, Reads, Tables};

/// A lease that is not used for so long ends.
pub(crate) const LEASE_MS: u64 = 6 * 3_600_000;
/// A session's own lease has at most this budget.
pub(crate) const SESSION_BUDGET_BYTES_MAX: u64 = 64 << 20;
/// Any other lease has at most this budget.
pub(crate) const BUDGET_BYTES_MAX: u64 = 1 << 50;

/// Opens a lease over a budget that was granted, named by the place of the command.
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
    usage::count_reserved(scope, tables, None, Some(&row))?;
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

/// Takes bytes of blobs and of nodes that come into a vault from a lease's budget, and moves its end on.
pub(crate) fn charge(
    at: &At<'_>,
    caller: &Caller,
    tables: &mut dyn Tables,
    lease: LeaseId,
    row: LeaseRow,
    vault: VaultId,
    (stored_bytes, node_bytes): (u64, u64),
) -> Ruled<()> {
    let (left_bytes, bytes) = (row.left_bytes(), stored_bytes.saturating_add(node_bytes));
    if left_bytes < bytes {
        return Err(Refusal::BudgetExceeded { left_bytes }.into());
    }
    if let LeasePurpose::Session(_) = row.purpose {
        // What it reserved was for no vault yet.
        let whose = Whose { facts: &caller.tenant.facts, vault: Some(vault), writer: &caller.principal };
        whose.require_stored_in_vault(at, &caller.scope, &*tables, bytes)?;
    }
    let charged =
        LeaseRow { used_bytes: row.used_bytes + stored_bytes, node_bytes: row.node_bytes + node_bytes, ..row.clone() };
    change(at, &caller.scope, tables, lease, &row, charged)?;
    Ok(())
}

/// Gives an open lease more budget, as much as quotas leave; with no bytes it only moves its end on.
pub(crate) fn top_up(at: &At<'_>, caller: &Caller, tables: &mut dyn Tables, lease: LeaseId, bytes: u64) -> Ruled<Done> {
    caller.require(&[Role::Writer, Role::Gateway])?;
    // At home a sealed part's lease is kept open so, until the snapshot is decided; nothing is written under it.
    let row = caller.scope.get::<LeaseRow>(&*tables, &(lease,))?;
    let open = row.filter(|row| row.identity == caller.principal && at.now_ms < row.ends_ms);
    let row = open.ok_or(Refusal::LeaseEnded)?;
    if 0 < bytes && !row.writable {
        return Err(Refusal::LeaseEnded.into());
    }
    let most = match row.purpose {
        LeasePurpose::Session(_) => SESSION_BUDGET_BYTES_MAX.saturating_add(row.used_bytes),
        LeasePurpose::Part { .. } => BUDGET_BYTES_MAX,
        LeasePurpose::Ticket(_) => 0,
    };
    if row.budget_bytes.checked_add(bytes).is_none_or(|budget| most < budget) {
        return Err(invalid("a budget beyond what a lease may have"));
    }
    let budget_bytes = row.budget_bytes + granted(at, caller, &*tables, &row, bytes)?;
    change(at, &caller.scope, tables, lease, &row, LeaseRow { budget_bytes, ..row.clone() })?;
    Ok(Done::ToppedUp { budget_bytes })
}

/// How much more quotas leave for a lease.
fn granted(at: &At<'_>, caller: &Caller, reads: &dyn Reads, row: &LeaseRow, bytes: u64) -> Ruled<u64> {
    let (vault, shares) = match &row.purpose {
        LeasePurpose::Session(_) | LeasePurpose::Ticket(_) => (None, Default::default()),
        LeasePurpose::Part { snapshot, vault, .. } => {
            let part: Option<PartRow> = caller.scope.get(reads, &(*snapshot,))?;
            let part = part.ok_or_else(|| impossible("a lease is for a part that is not here"))?;
            (Some(*vault), part.opened.shares)
        }
    };
    let whose = Whose { facts: &caller.tenant.facts, vault, writer: &caller.principal };
    whose.grant(at, &caller.scope, reads, &shares, bytes)
}

/// Ends writing under a lease and starts its time anew: at home it is now the time in which to decide.
pub(crate) fn close_to_writes(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    lease: LeaseId,
    row: LeaseRow,
) -> Result<(), Halt> {
    change(at, scope, tables, lease, &row, LeaseRow { writable: false, ..row.clone() })
}

/// Ends a lease. What was brought under it and nothing names is garbage from now on.
pub(crate) fn end(scope: &TenantScope, tables: &mut dyn Tables, lease: LeaseId) -> Result<(), Halt> {
    let row = scope.get::<LeaseRow>(&*tables, &(lease,))?;
    usage::count_reserved(scope, tables, row.as_ref(), None)?;
    scope.delete::<LeaseRow>(tables, &(lease,))?;
    garbage::lease_ended(scope, tables, lease)
}

/// Moves a lease's end on.
pub(crate) fn keep_open(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    lease: LeaseId,
    row: LeaseRow,
) -> Result<(), Halt> {
    change(at, scope, tables, lease, &row, row.clone())
}

/// Changes a lease, which moves its end on.
fn change(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    lease: LeaseId,
    before: &LeaseRow,
    mut after: LeaseRow,
) -> Result<(), Halt> {
    after.ends_ms = at.now_ms.saturating_add(LEASE_MS);
    usage::count_reserved(scope, tables, Some(before), Some(&after))?;
    scope.put(tables, &(lease,), &after)
}
