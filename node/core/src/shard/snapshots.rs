//! Snapshots at home: opened, then decided once.
//!
//!     OpenSnapshot ──▶ Open ──CommitSnapshot──▶ Committed ──▶ Ended (`shard/deletion.rs`)
//!                       └──AbortSnapshot, its lease ends──▶ Aborted, final
//!
//! A stream of a whole is held when it commits, and shown with all others (`shard/gathering.rs`).
//! A commit shows all parts or none. Its signature covers the envelope, the envelope names every root, and every root
//! names all that is below it; so one signature vouches for the whole. A snapshot's id is never given again, its
//! decision never flips, its envelope never changes (N34 to N37, N44 to N48, N110, N116).
//!
//! Not here: parts (`shard/parts.rs`), locks (`shard/locks.rs`), what an envelope means to restorers.

use strongroom_format::codec;
use strongroom_format::command::{OpenSnapshot, Opened, Sealed};
use strongroom_format::envelope::{Envelope, PartRoot};
use strongroom_format::gathered::Gathered;
use strongroom_format::id::{DekId, GroupId, SnapshotId};
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::role::Role;
use strongroom_format::sign::{Signed, SignedError};
use strongroom_format::wrap::DekWrap;

use crate::proved::Proved;
use crate::shard::at::{At, Caller};
use crate::shard::chunks::{In, NO_DEK};
use crate::shard::gathering;
use crate::shard::leases;
use crate::shard::living;
use crate::shard::locks;
use crate::shard::nodes;
use crate::shard::parts;
use crate::shard::quotas::Whose;
use crate::shard::rows::{LeaseRow, Lying, PartRoots, PartState, Ready, SnapshotRow, SnapshotState, VaultRow, WrapRow};
use crate::shard::scope::TenantScope;
use crate::shard::shown::{self, Shown};
use crate::shard::tickets;
use crate::shard::usage::{self, One};
use crate::shard::vaults;
use crate::stop::{Ruled, Stop, format_refusal, impossible, invalid, limit};
use crate::tables::{Halt, Reads, Tables};

/// At most so many snapshots of one writer are open and undecided.
pub const UNDECIDED_MAX: u64 = 256;

/// Opens a snapshot: a lease for the home part, and what the other shards are told.
pub(crate) fn open(at: &At<'_>, caller: &Caller, tables: &mut dyn Tables, open: &OpenSnapshot) -> Ruled<Done> {
    caller.require(&[Role::Writer, Role::Gateway])?;
    let scope = &caller.scope;
    check_groups(at, caller, open)?;
    if leases::BUDGET_BYTES_MAX < open.budget_bytes {
        return Err(invalid("a budget beyond what a lease may have"));
    }
    living::vault(scope, &*tables, open.vault)?;
    check_domain(caller, &*tables, open)?;
    if scope.has::<SnapshotRow>(&*tables, &(open.snapshot,))? {
        return Err(Refusal::Immutable.into());
    }
    if UNDECIDED_MAX <= usage::open_of(scope, &*tables, &caller.principal)?.undecided {
        return Err(limit("undecided snapshots of the writer"));
    }
    if let Some(of) = &open.stream {
        tickets::join(at, caller, tables, open, of)?;
    }
    let whose = Whose { facts: &caller.tenant.facts, vault: Some(open.vault), writer: &caller.principal };
    whose.require_snapshot(scope, &*tables)?;
    let shares = whose.shares(scope, &*tables)?;
    let budget_bytes = whose.grant(at, scope, &*tables, &shares, open.budget_bytes)?;
    let deks = store_wraps(caller, tables, open)?;
    let opened = Opened {
        home: at.group(),
        snapshot: open.snapshot,
        tenant: scope.tenant(),
        vault: open.vault,
        writer: caller.principal.clone(),
        signing_key: caller.row()?.signing_key,
        domain: open.domain,
        set_version: open.set_version,
        groups: open.groups.clone(),
        budget_bytes: open.budget_bytes,
        home_lease: at.lease(),
        deks,
        shares,
    };
    let lease = parts::open(at, scope, tables, caller.session, &opened, budget_bytes)?;
    let row = SnapshotRow {
        opened: opened.clone(),
        label: open.label.clone(),
        key_epoch: open.key_epoch,
        stream: open.stream.clone(),
        state: SnapshotState::Open,
    };
    scope.put(tables, &(open.snapshot,), &row)?;
    usage::count_undecided(scope, tables, open.vault, &caller.principal, One::More)?;
    Ok(Done::SnapshotOpened { lease, opened, budget_bytes })
}

/// Makes a snapshot of an opened one.
pub(crate) fn commit(
    at: &At<'_>,
    caller: &Caller,
    tables: &mut dyn Tables,
    envelope_bytes: &[u8],
    sealed: &[Proved<Sealed>],
) -> Ruled<Done> {
    caller.require(&[Role::Writer, Role::Gateway])?;
    let scope = &caller.scope;
    let envelope = open_envelope(at, caller, envelope_bytes)?;
    let row = undecided(at, caller, &*tables, envelope.snapshot)?;
    check_against_opened(&envelope, &row)?;
    let vault = living::vault(scope, &*tables, envelope.vault)?;
    check_against_vault(caller, &*tables, &envelope, &vault)?;
    check_parent(caller, &*tables, &envelope)?;
    let terms = locks::choose(&vault.policy, caller.row()?.locks.as_ref(), envelope.requested_lock.as_ref())?;

    let home_part = parts::row(scope, &*tables, envelope.snapshot)?
        .ok_or_else(|| impossible("an undecided snapshot has no part at home"))?;
    let PartState::Sealed(home_sealed) = home_part.state.clone() else {
        return Err(parts_differ("the home part is not sealed", vec![at.group()]));
    };
    check_home_part(at, scope, &*tables, &envelope, &row.opened, &home_sealed)?;
    let others = check_other_parts(at, &envelope, &row.opened, sealed)?;
    let lying = lying_of(&home_sealed, &others)?;
    if lying.strength.regions < vault.policy.least_regions {
        return Err(Refusal::TooThin.into());
    }
    let logical_bytes = shown::logical_bytes(&envelope)?;

    let digest = envelope.digest();
    let order = at.place.number();
    let part_roots = |sealed: &Sealed| PartRoots { group: sealed.group, roots: sealed.roots.clone() };
    let mut parts: Vec<PartRoots> = others.iter().map(|sealed| part_roots(sealed)).collect();
    parts.push(part_roots(&home_sealed));
    parts.sort_by_key(|part| part.group);
    match &envelope.gathered {
        Gathered::Alone => {}
        Gathered::Stream(of) => {
            // It is charged when its whole is committed; what would be refused then is refused now.
            let whose = Whose { facts: &caller.tenant.facts, vault: Some(envelope.vault), writer: &caller.principal };
            whose.require_logical(scope, &*tables, logical_bytes)?;
            let ready = Ready { envelope: envelope_bytes.to_vec(), digest, order, parts, lying };
            gathering::hold(at, caller, tables, row, &home_part, of, ready)?;
            return Ok(Done::Ready { envelope: digest, strength: lying.strength });
        }
        Gathered::Whole(whole) => gathering::gather(at, caller, tables, &envelope, whole, &vault, terms)?,
    }
    let shown = Shown {
        snapshot: envelope.snapshot,
        envelope: envelope_bytes.to_vec(),
        digest,
        order,
        parts,
        lying,
        terms,
        logical_bytes,
    };
    let leaf_index = shown::show(at, scope, &caller.tenant.facts, tables, row, shown)?;
    Ok(Done::Committed { envelope: digest, leaf_index, strength: lying.strength })
}

/// Gives up the caller's own opened snapshot, or a stream under the caller's own ticket.
pub(crate) fn abort_own(at: &At<'_>, caller: &Caller, tables: &mut dyn Tables, snapshot: SnapshotId) -> Ruled<Done> {
    caller.require(&[Role::Writer, Role::Gateway])?;
    let scope = &caller.scope;
    let row: SnapshotRow = scope.get(&*tables, &(snapshot,))?.ok_or(Refusal::NotFound)?;
    let is_ready = matches!(row.state, SnapshotState::Ready(_)) && row.opened.writer == caller.principal;
    if is_ready || tickets::decides(scope, &*tables, row.stream.as_ref(), &caller.principal)? {
        return match abort(scope, tables, snapshot)? {
            Some(_) => Ok(Done::Done),
            None => Err(Refusal::LeaseEnded.into()),
        };
    }
    undecided(at, caller, &*tables, snapshot)?;
    abort(scope, tables, snapshot)?;
    Ok(Done::Done)
}

/// Decides that a snapshot never was, unless it is decided. Returns its row if that is so now.
pub(crate) fn abort(
    scope: &TenantScope,
    tables: &mut dyn Tables,
    snapshot: SnapshotId,
) -> Result<Option<SnapshotRow>, Halt> {
    let row = scope.get::<SnapshotRow>(&*tables, &(snapshot,))?;
    let is_undecided = |row: &SnapshotRow| matches!(row.state, SnapshotState::Open | SnapshotState::Ready(_));
    let Some(mut row) = row.filter(is_undecided) else {
        return Ok(None);
    };
    let part = parts::row(scope, &*tables, snapshot)?
        .ok_or_else(|| impossible("an undecided snapshot has no part at home"))?;
    parts::drop_part(scope, tables, snapshot, part)?;
    row.state = SnapshotState::Aborted;
    scope.put(tables, &(snapshot,), &row)?;
    usage::count_undecided(scope, tables, row.opened.vault, &row.opened.writer, One::Less)?;
    if let Some(of) = &row.stream {
        tickets::leave(scope, tables, of)?;
    }
    Ok(Some(row))
}

fn check_groups(at: &At<'_>, caller: &Caller, open: &OpenSnapshot) -> Ruled<()> {
    let facts = &caller.tenant.facts;
    if open.set_version != facts.set_version {
        return Err(Refusal::SetVersion { current: facts.set_version }.into());
    }
    let sorted = open.groups.is_sorted_by(|a, b| a < b) && open.groups.len() <= OpenSnapshot::GROUPS_MAX;
    if !sorted || !open.groups.contains(&at.group()) {
        return Err(invalid("the shards are not sorted, too many, or the home shard is not among them"));
    }
    if !open.groups.iter().all(|group| *group == at.group() || facts.groups.contains(group)) {
        return Err(invalid("a shard outside of the tenant's set"));
    }
    Ok(())
}

/// The writer's own domain, under its newest key: an older one may be in a thief's hands.
fn check_domain(caller: &Caller, reads: &dyn Reads, open: &OpenSnapshot) -> Ruled<()> {
    let scope = &caller.scope;
    if !vaults::owns(scope, reads, open.vault, open.domain, &caller.principal)? {
        return Err(Refusal::NotFound.into());
    }
    let provenance = |why: &str| Stop::Refused(Refusal::ProvenanceInvalid { why: why.into() });
    match vaults::newest_card(scope, reads, open.vault, &caller.principal)? {
        Some((epoch, card)) if (epoch, card.domain) == (open.key_epoch, open.domain) => {
            if card.signing_key == caller.row()?.signing_key {
                Ok(())
            } else {
                Err(provenance("the writer's card names another signing key than its row"))
            }
        }
        Some(_) | None => Err(provenance("the domain is not that of the writer's newest card")),
    }
}

fn store_wraps(caller: &Caller, tables: &mut dyn Tables, open: &OpenSnapshot) -> Ruled<Vec<DekId>> {
    if OpenSnapshot::WRAPS_MAX < open.wraps.len() {
        return Err(invalid("an upload has at most 16 keys"));
    }
    let scope = &caller.scope;
    let mut deks = Vec::new();
    for bytes in &open.wraps {
        let wrap: DekWrap = codec::decode(bytes).map_err(|fault| Stop::Refused(format_refusal(&fault)))?;
        if wrap.tenant != scope.tenant() {
            return Err(Refusal::ForeignTenant.into());
        }
        let own = (wrap.vault, wrap.domain) == (open.vault, open.domain)
            && wrap.writer == caller.principal
            && wrap.epoch == open.key_epoch;
        if !own || wrap.dek == NO_DEK {
            return Err(Refusal::ProvenanceInvalid { why: "a wrap is not for this writer and vault".into() }.into());
        }
        let key = (open.vault, open.domain, wrap.dek);
        match scope.get::<WrapRow>(&*tables, &key)? {
            Some(row) if row.wrap.as_deref() == Some(bytes) => {}
            Some(_) => return Err(Refusal::Immutable.into()),
            None => scope.put(tables, &key, &WrapRow { wrap: Some(bytes.clone()) })?,
        }
        deks.push(wrap.dek);
    }
    if !deks.is_sorted_by(|a, b| a < b) {
        return Err(invalid("the wraps are not sorted by key, or one is named twice"));
    }
    Ok(deks)
}

/// The envelope, if this caller signed it for its own tenant and under its own name.
fn open_envelope(at: &At<'_>, caller: &Caller, bytes: &[u8]) -> Ruled<Envelope> {
    let refuse = |refusal| Err(Stop::Refused(refusal));
    let signed: Signed<Envelope> = codec::decode(bytes).map_err(|fault| Stop::Refused(format_refusal(&fault)))?;
    let envelope = match signed.open(&caller.row()?.signing_key) {
        Ok(envelope) => envelope,
        Err(SignedError::Format(fault)) => return refuse(format_refusal(&fault)),
        Err(SignedError::Signature(_)) => return refuse(Refusal::Signature),
    };
    if envelope.tenant != caller.scope.tenant() {
        return refuse(Refusal::ForeignTenant);
    }
    if envelope.writer != caller.principal {
        return refuse(Refusal::Role);
    }
    if envelope.cluster != at.facts.epoch {
        return refuse(Refusal::WrongGroup);
    }
    Ok(envelope)
}

/// The caller's own snapshot, open and in time.
fn undecided(at: &At<'_>, caller: &Caller, reads: &dyn Reads, snapshot: SnapshotId) -> Ruled<SnapshotRow> {
    let row = caller.scope.get::<SnapshotRow>(reads, &(snapshot,))?;
    let row = row.filter(|row| row.opened.writer == caller.principal).ok_or(Refusal::NotFound)?;
    match row.state {
        SnapshotState::Open => {}
        SnapshotState::Committed(_) | SnapshotState::Ready(_) | SnapshotState::Ended { .. } => {
            return Err(Refusal::Immutable.into());
        }
        SnapshotState::Aborted => return Err(Refusal::LeaseEnded.into()),
    }
    // Its lease is out of time, although no tick has come to end it yet.
    let lease = caller.scope.get::<LeaseRow>(reads, &(row.opened.home_lease,))?;
    match lease {
        Some(lease) if at.now_ms < lease.ends_ms => Ok(row),
        Some(_) | None => Err(Refusal::LeaseEnded.into()),
    }
}

fn check_against_opened(envelope: &Envelope, row: &SnapshotRow) -> Ruled<()> {
    let opened = &row.opened;
    if envelope.vault != opened.vault {
        return Err(Refusal::ForeignTenant.into());
    }
    let same = envelope.domain == opened.domain
        && envelope.label == row.label
        && envelope.key_epoch == row.key_epoch
        && envelope.set_version == opened.set_version
        && envelope.deks == opened.deks
        && envelope.gathered.stream() == row.stream.as_ref();
    if !same {
        return Err(parts_differ("the envelope is not of what was opened", Vec::new()));
    }
    Ok(())
}

fn check_against_vault(caller: &Caller, reads: &dyn Reads, envelope: &Envelope, vault: &VaultRow) -> Ruled<()> {
    if envelope.policy_version != vault.policy.version {
        return Err(Refusal::PolicyMismatch.into());
    }
    if envelope.statement_version != vault.statement_version {
        return Err(Refusal::StatementVersion { stored: vault.statement_version }.into());
    }
    let card = vaults::newest_card(&caller.scope, reads, envelope.vault, &caller.principal)?;
    match card {
        Some((epoch, card)) if (epoch, card.digest) == (envelope.key_epoch, envelope.card) => Ok(()),
        Some(_) | None => {
            Err(Refusal::ProvenanceInvalid { why: "the envelope does not name the writer's newest card".into() }.into())
        }
    }
}

/// A parent is an earlier snapshot of the same writer in the same vault, perhaps one that has ended since; any other is
/// as if absent (N45).
fn check_parent(caller: &Caller, reads: &dyn Reads, envelope: &Envelope) -> Ruled<()> {
    let Some(parent) = envelope.parent else {
        return Ok(());
    };
    let row = caller.scope.get::<SnapshotRow>(reads, &(parent,))?;
    let earlier = row.is_some_and(|row| {
        matches!(row.state, SnapshotState::Committed(_) | SnapshotState::Ended { .. })
            && row.opened.vault == envelope.vault
            && row.opened.writer == envelope.writer
    });
    if earlier { Ok(()) } else { Err(Refusal::Orphaned { parent }.into()) }
}

fn check_home_part(
    at: &At<'_>,
    scope: &TenantScope,
    reads: &dyn Reads,
    envelope: &Envelope,
    opened: &Opened,
    sealed: &Sealed,
) -> Ruled<()> {
    let home = at.group();
    if sealed.roots != envelope.roots_in(home, home) {
        return Err(parts_differ("the roots of the home part are not those of the envelope", vec![home]));
    }
    let place = In { vault: opened.vault, domain: opened.domain };
    let totals_of = |root| match nodes::row(scope, reads, place, root)? {
        Some(row) => Ok((row.totals.stored_bytes, row.totals.chunk_refs)),
        None => Err(impossible("a sealed root is not there")),
    };
    let manifest = &envelope.manifest;
    if totals_of(manifest.root)? != (manifest.stored_bytes, manifest.chunk_refs) {
        return Err(parts_differ("the manifest has other totals than the envelope says", vec![home]));
    }
    if let Some(PartRoot { root: Some(root), stored_bytes, chunk_refs, .. }) = part_in(envelope, home)
        && totals_of(*root)? != (*stored_bytes, *chunk_refs)
    {
        return Err(parts_differ("the home part has other totals than the envelope says", vec![home]));
    }
    Ok(())
}

/// All other shards that were named at the opening, and no more, have sealed what the envelope says.
fn check_other_parts<'a>(
    at: &At<'_>,
    envelope: &Envelope,
    opened: &Opened,
    claims: &'a [Proved<Sealed>],
) -> Ruled<Vec<&'a Sealed>> {
    let home = at.group();
    let claimed: Vec<GroupId> = claims.iter().map(|claim| claim.value().group).collect();
    let expected: Vec<GroupId> = opened.groups.iter().copied().filter(|group| *group != home).collect();
    if !claimed.is_sorted_by(|a, b| a < b) {
        return Err(parts_differ("the sealed parts are not sorted, or one is there twice", Vec::new()));
    }
    if claimed != expected {
        let differing = |group: &GroupId| claimed.contains(group) != expected.contains(group);
        let mut groups: Vec<GroupId> = claimed.iter().chain(&expected).copied().filter(differing).collect();
        groups.truncate(OpenSnapshot::GROUPS_MAX);
        return Err(parts_differ("not just the shards that were named at the opening have sealed", groups));
    }
    if let Some(stranger) = envelope.parts.iter().find(|part| !opened.groups.contains(&part.group)) {
        return Err(parts_differ("the envelope names a shard that was not opened", vec![stranger.group]));
    }
    let fits = |sealed: &Sealed| {
        let (stored_bytes, chunk_refs) =
            part_in(envelope, sealed.group).map_or((0, 0), |part| (part.stored_bytes, part.chunk_refs));
        sealed.snapshot == envelope.snapshot
            && sealed.roots == envelope.roots_in(sealed.group, home)
            && (sealed.stored_bytes, sealed.chunk_refs) == (stored_bytes, chunk_refs)
    };
    let differing: Vec<GroupId> =
        claims.iter().map(Proved::value).filter(|sealed| !fits(sealed)).map(|sealed| sealed.group).collect();
    if !differing.is_empty() {
        return Err(parts_differ("a part is not what the envelope says", differing));
    }
    Ok(claims.iter().map(Proved::value).collect())
}

fn lying_of(home: &Sealed, others: &[&Sealed]) -> Ruled<Lying> {
    let mut lying = Lying::NOTHING;
    for sealed in others.iter().copied().chain([home]) {
        let Sealed { strength, handed_over, missing, .. } = *sealed;
        lying = lying
            .and(Lying { strength, handed_over, missing })
            .ok_or_else(|| invalid("the fragments of the parts overflow a count"))?;
    }
    Ok(lying)
}

fn part_in(envelope: &Envelope, group: GroupId) -> Option<&PartRoot> {
    envelope.parts.iter().find(|part| part.group == group)
}

/// A refusal that names the shards whose part is missing or differs.
pub(crate) fn parts_differ(why: &str, groups: Vec<GroupId>) -> Stop {
    Stop::Refused(Refusal::ManifestMismatch {
        why: why.into(),
        missing_chunks: Vec::new(),
        missing_nodes: Vec::new(),
        groups,
    })
}
