//! Parts: what a shard holds of a snapshot.
//!
//!     home opened, others joined ──▶ Open ──SealPart──▶ Sealed ──the home shard's word──▶ Committed
//!                                     │ lease ends        │                    └──────▶ Dropped ◀── ended (`deletion.rs`)
//!                                     └──────────────────▶ Dropped
//!
//! An open part dies with its lease. Sealing ends the lease: from then on no clock of this shard drops the part. A part
//! checks against what the home shard opened and nothing else; what the home shard opened or decided comes as
//! [`Proved`], with its voters' signatures, or not at all. Laws: `laws/all_below_a_part_exists.rs`,
//! `laws/decisions_never_flip.rs`. Not here: deciding (`shard/snapshots.rs`).

use strongroom_format::command::{BlobRef, Body, Opened, Sealed};
use strongroom_format::id::{KeyEpoch, LeaseId, SessionId, SnapshotId, TreeId};
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::role::Role;

use crate::entry::Decided;
use crate::proved::Proved;
use crate::row::Space;
use crate::shard::at::{At, Caller};
use crate::shard::chunks::{self, In};
use crate::shard::garbage;
use crate::shard::leases;
use crate::shard::lock_parts;
use crate::shard::lock_rows::LockRow;
use crate::shard::locks;
use crate::shard::nodes;
use crate::shard::quotas::Whose;
use crate::shard::rows::{
    DomainRow, LeasePurpose, LeaseRow, Lying, PartRow, PartState, TenantRow, WaitingRow, WrapRow,
};
use crate::shard::scope::TenantScope;
use crate::shard::sessions;
use crate::shard::vaults;
use crate::stop::{Ruled, invalid};
use crate::tables::{Halt, Reads, Tables};

/// Opens a part under a lease over a budget that was granted, named by the place of the command.
pub(crate) fn open(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    session: SessionId,
    opened: &Opened,
    budget_bytes: u64,
) -> Result<LeaseId, Halt> {
    let purpose = LeasePurpose::Part { snapshot: opened.snapshot, vault: opened.vault, domain: opened.domain };
    let lease = leases::open(at, scope, tables, opened.writer.clone(), purpose, budget_bytes)?;
    let row = PartRow { opened: opened.clone(), session, lease, state: PartState::Open };
    scope.put(tables, &(opened.snapshot,), &row)?;
    Ok(lease)
}

/// What was answered when just this part was joined.
pub(crate) fn joined(scope: &TenantScope, reads: &dyn Reads, opened: &Opened) -> Result<Option<Done>, Halt> {
    let row = scope.get::<PartRow>(reads, &(opened.snapshot,))?.filter(|row| row.opened == *opened);
    let Some(PartRow { session, lease, .. }) = row else { return Ok(None) };
    // As it is now: it may have been topped up since, or have ended.
    let budget_bytes = scope.get::<LeaseRow>(reads, &(lease,))?.map_or(0, |row| row.budget_bytes);
    Ok(Some(Done::Joined { session, lease, budget_bytes }))
}

/// Opens a part in another shard than home, with a session of its own.
pub(crate) fn join(
    at: &At<'_>,
    scope: &TenantScope,
    tenant: &TenantRow,
    tables: &mut dyn Tables,
    opened: &Proved<Opened>,
) -> Ruled<Done> {
    let opened = opened.value();
    check_opened(at, tenant, opened)?;
    if scope.has::<PartRow>(&*tables, &(opened.snapshot,))? {
        return Err(Refusal::Immutable.into());
    }
    vaults::require_sole_owner(scope, &*tables, opened.vault, opened.domain, &opened.writer)?;
    let session = at.session();
    sessions::start(at, scope, tables, session, &opened.writer)?;
    let whose = Whose { facts: &tenant.facts, vault: Some(opened.vault), writer: &opened.writer };
    let budget_bytes = whose.grant(at, scope, &*tables, &opened.shares, opened.budget_bytes)?;
    let lease = open(at, scope, tables, session, opened, budget_bytes)?;
    for dek in &opened.deks {
        scope.put(tables, &(opened.vault, opened.domain, *dek), &WrapRow { wrap: None })?;
    }
    let own = DomainRow { epoch: KeyEpoch(0) };
    scope.put(tables, &(opened.vault, opened.domain, opened.writer.clone()), &own)?;
    Ok(Done::Joined { session, lease, budget_bytes })
}

/// Seals a part: its roots and records are there and counted, and its lease is over.
pub(crate) fn seal(
    at: &At<'_>,
    caller: &Caller,
    tables: &mut dyn Tables,
    snapshot: SnapshotId,
    roots: &[TreeId],
    records: &[BlobRef],
) -> Ruled<Done> {
    caller.require(&[Role::Writer, Role::Gateway])?;
    if Body::ROOTS_MAX < roots.len() || Body::RECORDS_MAX < records.len() {
        return Err(invalid("a part has at most 16 roots and 1024 record blobs"));
    }
    let scope = &caller.scope;
    let row: Option<PartRow> = scope.get(&*tables, &(snapshot,))?;
    let mut row = row.filter(|row| row.opened.writer == caller.principal).ok_or(Refusal::NotFound)?;
    match &row.state {
        PartState::Open => {}
        PartState::Sealed(_) | PartState::Committed { .. } => return Err(Refusal::Immutable.into()),
        PartState::Dropped => return Err(Refusal::LeaseEnded.into()),
    }
    let lease = leases::writable(at, caller, &*tables, row.lease)?;
    let sealed = take_up(at, scope, tables, &row.opened, roots, records)?;
    if row.opened.home == at.group() {
        leases::close_to_writes(at, scope, tables, row.lease, lease)?;
    } else {
        leases::end(scope, tables, row.lease)?;
        let waiting = WaitingRow { home: row.opened.home };
        Space::whole().put(tables, &(scope.tenant(), snapshot), &waiting)?;
    }
    row.state = PartState::Sealed(sealed.clone());
    scope.put(tables, &(snapshot,), &row)?;
    Ok(Done::Sealed(sealed))
}

/// Lets a sealed part belong to its snapshot, which is kept so.
pub(crate) fn commit(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    snapshot: SnapshotId,
    mut row: PartRow,
    sealed: Sealed,
    kept: &LockRow,
) -> Result<(), Halt> {
    row.state = PartState::Committed { sealed };
    locks::establish(at, scope, tables, snapshot, kept)?;
    scope.put(tables, &(snapshot,), &row)
}

/// Drops a part that is not committed: it names nothing any more.
pub(crate) fn drop_part(
    scope: &TenantScope,
    tables: &mut dyn Tables,
    snapshot: SnapshotId,
    mut row: PartRow,
) -> Result<(), Halt> {
    match &row.state {
        PartState::Open | PartState::Dropped => {}
        PartState::Sealed(sealed) => {
            garbage::let_go(scope, tables, (row.opened.vault, row.opened.domain), snapshot, sealed.clone())?;
        }
        PartState::Committed { .. } => return Err(Halt { why: "a committed part is to be dropped".into() }),
    }
    leases::end(scope, tables, row.lease)?;
    row.state = PartState::Dropped;
    scope.put(tables, &(snapshot,), &row)
}

/// Takes the home shard's word about a part. It never flips.
pub(crate) fn decide(at: &At<'_>, tables: &mut dyn Tables, decided: &Proved<Decided>) -> Ruled<Done> {
    let decided = decided.value();
    let Some((scope, _)) = TenantScope::of(&*tables, decided.tenant)? else {
        return Err(Refusal::NotFound.into());
    };
    let row: PartRow = scope.get(&*tables, &(decided.snapshot,))?.ok_or(Refusal::NotFound)?;
    if row.opened.home != decided.home || decided.home == at.group() {
        // Nobody but the home shard has a say, and at home nobody but its own commands.
        return Err(Refusal::WrongGroup.into());
    }
    match (row.state.clone(), &decided.kept) {
        (PartState::Sealed(sealed), Some(keeping)) => {
            let kept = lock_parts::first(at, keeping)?;
            commit(at, &scope, tables, decided.snapshot, row, sealed, &kept)?;
        }
        (PartState::Sealed(_) | PartState::Open, None) => drop_part(&scope, tables, decided.snapshot, row)?,
        (PartState::Committed { .. }, Some(_)) | (PartState::Dropped, None) => return Ok(Done::Done),
        (PartState::Committed { .. }, None) | (PartState::Dropped | PartState::Open, Some(_)) => {
            return Err(Refusal::VersionConflict.into());
        }
    }
    Space::whole().delete::<WaitingRow>(tables, &(decided.tenant, decided.snapshot))?;
    Ok(Done::Done)
}

/// Refuses what the home shard of this tenant cannot have opened.
fn check_opened(at: &At<'_>, tenant: &TenantRow, opened: &Opened) -> Ruled<()> {
    let facts = &tenant.facts;
    if opened.home != facts.home || opened.home == at.group() || !opened.groups.contains(&at.group()) {
        return Err(Refusal::WrongGroup.into());
    }
    if opened.set_version != facts.set_version {
        return Err(Refusal::SetVersion { current: facts.set_version }.into());
    }
    if !opened.groups.iter().all(|group| *group == facts.home || facts.groups.contains(group)) {
        return Err(invalid("a shard outside of the tenant's set"));
    }
    if leases::BUDGET_BYTES_MAX < opened.budget_bytes {
        return Err(invalid("a budget beyond what a lease may have"));
    }
    Ok(())
}

fn take_up(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    opened: &Opened,
    roots: &[TreeId],
    records: &[BlobRef],
) -> Ruled<Sealed> {
    let place = In { vault: opened.vault, domain: opened.domain };
    let (mut missing_nodes, mut missing_chunks) = (Vec::new(), Vec::new());
    let (mut stored_bytes, mut chunk_refs, mut lying) = (0_u64, 0_u64, Lying::NOTHING);
    let overflow = || invalid("the totals of the part overflow");
    for root in roots {
        match nodes::row(scope, &*tables, place, *root)? {
            Some(row) => {
                stored_bytes = stored_bytes.checked_add(row.totals.stored_bytes).ok_or_else(overflow)?;
                chunk_refs = chunk_refs.checked_add(row.totals.chunk_refs).ok_or_else(overflow)?;
                lying = lying.and(row.lying).ok_or_else(overflow)?;
                nodes::recount(scope, tables, place, *root, |count| count.checked_add(1))?;
            }
            None => missing_nodes.push(*root),
        }
    }
    for record in records {
        match place.get(scope, &*tables, record)? {
            Some(row) => {
                lying = lying.and(Lying::of_blob(at.facts, &record.blob, &row)).ok_or_else(overflow)?;
                chunks::recount(scope, tables, place, record, |count| count.checked_add(1))?;
            }
            None => missing_chunks.push(*record),
        }
    }
    if !missing_nodes.is_empty() || !missing_chunks.is_empty() {
        missing_chunks.truncate(nodes::MISSING_MAX);
        return Err(nodes::missing("roots or records of the part are not here", missing_chunks, missing_nodes));
    }
    Ok(Sealed {
        group: at.group(),
        snapshot: opened.snapshot,
        roots: roots.to_vec(),
        stored_bytes,
        chunk_refs,
        records: records.to_vec(),
        strength: lying.strength,
        handed_over: lying.handed_over,
        missing: lying.missing,
    })
}

/// A part's row.
pub(crate) fn row(scope: &TenantScope, reads: &dyn Reads, snapshot: SnapshotId) -> Result<Option<PartRow>, Halt> {
    scope.get(reads, &(snapshot,))
}
