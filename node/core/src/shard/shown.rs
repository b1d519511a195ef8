//! A snapshot is shown: it gets its leaf, its row says committed, its part belongs to it, and lists name it.
//!
//! Not here: whether it may be (`shard/snapshots.rs`, for streams of a whole `shard/gathering.rs`).

use strongroom_format::envelope::Envelope;
use strongroom_format::id::{Digest, SnapshotId};
use strongroom_format::lock::LockTerms;
use strongroom_format::receipt::{self, AuditEvent};

use crate::entry::TenantFacts;
use crate::shard::at::At;
use crate::shard::audit;
use crate::shard::keep;
use crate::shard::leases;
use crate::shard::lock_rows::LockRow;
use crate::shard::locks;
use crate::shard::parts;
use crate::shard::quotas::Whose;
use crate::shard::rows::{
    Committed, EnvelopeRow, LabelRow, ListedRow, Lying, PartRoots, PartState, SnapshotRow, SnapshotState, Usage,
    VaultRow,
};
use crate::shard::scope::TenantScope;
use crate::shard::usage::{self, One};
use crate::stop::{Ruled, impossible, invalid};
use crate::tables::Tables;

/// What is shown of a snapshot.
pub(crate) struct Shown {
    pub(crate) snapshot: SnapshotId,
    /// Canonical bytes of the signed envelope.
    pub(crate) envelope: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) order: u64,
    /// What each shard holds, sorted by group.
    pub(crate) parts: Vec<PartRoots>,
    pub(crate) lying: Lying,
    /// The terms of its lock, keep rules aside.
    pub(crate) terms: Option<LockTerms>,
    /// Stored bytes below its roots in all shards, each reference counted.
    pub(crate) logical_bytes: u64,
}

/// Stored bytes below all roots of a snapshot, each reference counted. The parts have said them too.
pub(crate) fn logical_bytes(envelope: &Envelope) -> Ruled<u64> {
    let parts = envelope.parts.iter().map(|part| part.stored_bytes);
    let sum = parts.chain([envelope.manifest.stored_bytes]).try_fold(0_u64, u64::checked_add);
    sum.ok_or_else(|| invalid("the stored bytes of the snapshot overflow"))
}

/// Shows a snapshot whose part at home is sealed, unless a quota leaves no room for it. Returns its leaf's number.
pub(crate) fn show(
    at: &At<'_>,
    scope: &TenantScope,
    facts: &TenantFacts,
    tables: &mut dyn Tables,
    mut row: SnapshotRow,
    shown: Shown,
) -> Ruled<u64> {
    let Shown { snapshot, envelope, digest, order, parts, lying, terms, logical_bytes } = shown;
    let whose = Whose { facts, vault: Some(row.opened.vault), writer: &row.opened.writer };
    whose.require_logical(scope, &*tables, logical_bytes)?;
    let home_part = parts::row(scope, &*tables, snapshot)?;
    let home_part = home_part.ok_or_else(|| impossible("an undecided snapshot has no part at home"))?;
    let PartState::Sealed(sealed) = home_part.state.clone() else {
        return Err(impossible("a snapshot is shown whose part at home is not sealed").into());
    };
    let Lying { strength, handed_over, missing } = lying;
    let event =
        AuditEvent::Committed(receipt::Committed { snapshot, envelope: digest, strength, handed_over, missing });
    let leaf_index = audit::append(at, scope, tables, event)?;
    let (vault, writer) = (row.opened.vault, row.opened.writer.clone());
    let policy = scope.get::<VaultRow>(&*tables, &(vault,))?.map(|vault| vault.policy);
    let policy = policy.ok_or_else(|| impossible("a snapshot is shown in no vault"))?;
    let promised = keep::committed(at, scope, tables, &policy, &(vault, writer.clone(), row.label.clone()), order)?;
    row.state = SnapshotState::Committed(Committed {
        envelope: digest,
        leaf_index,
        order,
        committed_ms: at.now_ms,
        committed_clock_ms: at.clock_ms,
        committed_unix_ms: at.wall_unix_ms,
        parts,
        lying,
        damaged: false,
        logical_bytes,
        firsts: promised.firsts,
    });
    leases::end(scope, tables, home_part.lease)?;
    let kept = LockRow::committed(locks::raised(terms, promised.length_ms).map(|terms| locks::new(at, terms)));
    parts::commit(at, scope, tables, snapshot, home_part, sealed, &kept)?;
    scope.put(tables, &(snapshot,), &row)?;
    scope.put(tables, &(snapshot,), &EnvelopeRow { envelope })?;
    scope.put(tables, &(vault, order), &ListedRow { snapshot })?;
    scope.put(tables, &(vault, writer.clone(), row.label.clone(), order), &LabelRow { snapshot })?;
    usage::count(scope, tables, vault, &writer, &Usage::of_snapshot(logical_bytes), &Usage::default())?;
    usage::count_undecided(scope, tables, vault, &writer, One::Less)?;
    Ok(leaf_index)
}
