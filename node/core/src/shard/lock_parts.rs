//! Locks and holds over several shards: the home row leads, every other shard with a part has a row of its own.
//!
//!     home: changed ─▶ behind ──carried──▶ part: take_over ──carried──▶ home: has_taken_over ─▶ not behind
//!
//! The home row grows at once, and a part is dropped only when the home shard says so *and* the part's own row lets it
//! go; so nothing is lost while a part is behind. A part takes over what is newer. Its lock runs on its own times: it
//! keeps its beginning, and lasts at least as long as was left at home when the order was made (`left_ms`). What is under
//! compliance there is not weakened by anybody's word. Extending costs one row a shard (and one while a shard is behind).
//! Law: `laws/locks_only_grow.rs`. Not here: who carries (`node/service`, `keeping.rs`).

use strongroom_format::command::Opened;
use strongroom_format::id::{GroupId, SnapshotId, TenantId};
use strongroom_format::lock::{LockMode, LockTerms};
use strongroom_format::outcome::{Done, Refusal};

use crate::locking::{Keeping, PartKeeping, PartKept};
use crate::proved::Proved;
use crate::row::Space;
use crate::shard::at::At;
use crate::shard::lock_rows::{BehindRow, HOLDS_MAX, Lock, LockRow};
use crate::shard::locks;
use crate::shard::rows::Committed;
use crate::shard::scope::TenantScope;
use crate::stop::{Ruled, impossible, invalid};
use crate::tables::{Halt, Reads, Tables};

/// At home: notes that a row changed and that all other shards are behind.
pub(crate) fn changed(
    scope: &TenantScope,
    tables: &mut dyn Tables,
    opened: &Opened,
    row: &mut LockRow,
) -> Result<(), Halt> {
    row.version = row.version.checked_add(1).ok_or_else(|| impossible("the changes of a lock overflow"))?;
    row.behind = opened.groups.iter().copied().filter(|group| *group != opened.home).collect();
    if !row.behind.is_empty() {
        Space::whole().put(tables, &(scope.tenant(), opened.snapshot), &BehindRow {})?;
    }
    Ok(())
}

/// At home: what other shards must know.
pub(crate) fn keeping(row: &LockRow) -> Keeping {
    Keeping {
        version: row.version,
        terms: row.lock.map(|lock| lock.terms),
        until_unix_ms: row.lock.map_or(0, |lock| lock.until_unix_ms),
        left_ms: row.left_ms,
        holds: row.holds.clone(),
    }
}

/// At home: what a part must know that waited until its snapshot had ended. No order came later: none is made of what has
/// ended, and nothing ends while a shard is behind with one.
pub(crate) fn kept_once(committed: &Committed, terms: Option<LockTerms>) -> Keeping {
    let until_unix_ms = terms.map_or(0, |terms| committed.committed_clock_ms.saturating_add(terms.length_ms));
    Keeping { version: 0, terms, until_unix_ms, left_ms: 0, holds: Vec::new() }
}

/// The first row of a part in another shard than home.
pub(crate) fn first(at: &At<'_>, keeping: &Keeping) -> Ruled<LockRow> {
    let mut row = LockRow::committed(None);
    grow(at, 0, &mut row, keeping)?;
    Ok(row)
}

/// In a part's shard: takes the home shard's word over. It never takes an older one.
pub(crate) fn take_over(at: &At<'_>, tables: &mut dyn Tables, told: &Proved<PartKeeping>) -> Ruled<Done> {
    let told = told.value();
    let Some((scope, tenant)) = TenantScope::of(&*tables, told.tenant)? else {
        return Err(Refusal::NotFound.into());
    };
    if told.home != tenant.facts.home || told.home == at.group() || told.group != at.group() {
        return Err(Refusal::WrongGroup.into());
    }
    // A part that is not committed yet hears of its lock with the decision.
    let mut row: LockRow = scope.get(&*tables, &(told.snapshot,))?.ok_or(Refusal::NotFound)?;
    if told.keeping.version <= row.version {
        return Ok(Done::Done);
    }
    let waited = row.lock.is_some_and(|lock| lock.begins_ms.is_none());
    grow(at, locks::elapsed_unix_ms(&*tables)?, &mut row, &told.keeping)?;
    if !waited && row.lock.is_some_and(|lock| lock.begins_ms.is_none()) {
        locks::wait(at, &scope, tables, told.snapshot)?;
    }
    scope.put(tables, &(told.snapshot,), &row)?;
    Ok(Done::Done)
}

fn grow(at: &At<'_>, elapsed_unix_ms: u64, row: &mut LockRow, keeping: &Keeping) -> Ruled<()> {
    let sound = keeping.holds.len() <= HOLDS_MAX
        && keeping.holds.is_sorted_by(|a, b| a.name < b.name)
        && keeping.terms.is_none_or(|terms| 0 < terms.length_ms);
    if !sound {
        return Err(invalid("this keeps no snapshot"));
    }
    let current = row.lock.filter(|lock| !locks::is_over(lock, at.clock_ms));
    let under_compliance = current.filter(|lock| lock.terms.mode == LockMode::Compliance);
    row.lock = match keeping.terms {
        None => under_compliance,
        Some(terms) => {
            // Also where it is over: a word about holds alone does not let it begin anew.
            let begins_ms = row.lock.and_then(|lock| lock.begins_ms);
            let begun_for_ms = begins_ms.map_or(0, |begins_ms| elapsed_unix_ms.saturating_sub(begins_ms));
            // Too long to be counted is locked for ever.
            let left_ms = if keeping.left_ms == 0 { 0 } else { keeping.left_ms.saturating_add(begun_for_ms) };
            let floor_ms = under_compliance.map_or(0, |lock| lock.terms.length_ms);
            let length_ms = terms.length_ms.max(left_ms).max(floor_ms);
            let mode = if under_compliance.is_some() { LockMode::Compliance } else { terms.mode };
            let until_unix_ms = keeping.until_unix_ms.max(under_compliance.map_or(0, |lock| lock.until_unix_ms));
            Some(Lock { terms: LockTerms { mode, length_ms }, begins_ms, until_unix_ms })
        }
    };
    row.holds.clone_from(&keeping.holds);
    row.version = keeping.version;
    Ok(())
}

/// At home: another shard has a version of the row.
pub(crate) fn has_taken_over(at: &At<'_>, tables: &mut dyn Tables, said: &Proved<PartKept>) -> Ruled<Done> {
    let said = said.value();
    let Some((scope, tenant)) = TenantScope::of(&*tables, said.tenant)? else {
        return Err(Refusal::NotFound.into());
    };
    if said.home != at.group() || tenant.facts.home != at.group() {
        return Err(Refusal::WrongGroup.into());
    }
    let mut row: LockRow = scope.get(&*tables, &(said.snapshot,))?.ok_or(Refusal::NotFound)?;
    if said.version < row.version {
        return Ok(Done::Done); // the newer one is on its way
    }
    if row.version < said.version {
        return Err(invalid("nobody has a version that was never made"));
    }
    row.behind.retain(|group| *group != said.group);
    if row.behind.is_empty() {
        row.left_ms = 0;
        Space::whole().delete::<BehindRow>(tables, &(said.tenant, said.snapshot))?;
    }
    scope.put(tables, &(said.snapshot,), &row)?;
    Ok(Done::Done)
}

/// At home: what others are behind with, at most `limit`, behind `after`.
pub(crate) fn behind(
    home: GroupId,
    reads: &dyn Reads,
    after: Option<&(TenantId, SnapshotId)>,
    limit: usize,
) -> Result<Vec<PartKeeping>, Halt> {
    let rows = match after {
        None => Space::whole().range::<BehindRow>(reads, &(), limit)?,
        Some(after) => Space::whole().range_from::<BehindRow>(reads, &(), after, limit.saturating_add(1))?,
    };
    let mut told = Vec::new();
    for ((tenant, snapshot), _) in rows.into_iter().filter(|(key, _)| after != Some(key)).take(limit) {
        let Some((scope, _)) = TenantScope::of(reads, tenant)? else { continue };
        let Some(row) = locks::row(&scope, reads, snapshot)? else { continue };
        let keeping = keeping(&row);
        told.extend(row.behind.iter().map(|group| PartKeeping {
            home,
            group: *group,
            tenant,
            snapshot,
            keeping: keeping.clone(),
        }));
    }
    Ok(told)
}
