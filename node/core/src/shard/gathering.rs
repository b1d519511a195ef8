//! Gathering: streams that are ready, and the one commit that shows all of them.
//!
//!     stream: Open ──its own commit, verified like any──▶ Ready ──the whole's commit──▶ Committed
//!                                                            └──given up, the ticket ends──▶ Aborted
//!
//! A stream that is ready has no lease any more: its bytes stay as those of a sealed part do, and its ticket alone decides.
//! The whole must name just the streams that are under the ticket, each by the digest of the envelope that its writer
//! signed; what was true when a stream became ready must still be so: its writer is open and has the same newest card, the
//! vault the same statement and policy. Every stream gets the whole's lock, or its own where that is stricter.
//!
//! Law: `laws/wholes_are_all_or_nothing.rs`. Not here: who may join (`shard/tickets.rs`).

use std::collections::BTreeMap;

use strongroom_format::codec;
use strongroom_format::command::Body;
use strongroom_format::envelope::Envelope;
use strongroom_format::gathered::{NamedStream, StreamOf, Whole};
use strongroom_format::id::StreamName;
use strongroom_format::lock::LockTerms;
use strongroom_format::outcome::Refusal;
use strongroom_format::receipt::AuditEvent;
use strongroom_format::sign::Signed;

use crate::shard::at::{At, Caller};
use crate::shard::audit;
use crate::shard::leases;
use crate::shard::locks;
use crate::shard::rows::{IdentityRow, PartRow, Ready, SnapshotRow, SnapshotState, TicketState, VaultRow};
use crate::shard::scope::TenantScope;
use crate::shard::shown::{self, Shown};
use crate::shard::tickets;
use crate::shard::usage;
use crate::shard::vaults;
use crate::stop::{Ruled, Stop, impossible, invalid};
use crate::tables::{Halt, Reads, Tables};

/// Holds a stream whose commit was verified: it waits for its whole.
pub(crate) fn hold(
    at: &At<'_>,
    caller: &Caller,
    tables: &mut dyn Tables,
    mut row: SnapshotRow,
    part: &PartRow,
    of: &StreamOf,
    ready: Ready,
) -> Ruled<()> {
    let scope = &caller.scope;
    let (ticket, lease) = tickets::undecided(at, scope, &*tables, of.ticket)?;
    leases::keep_open(at, scope, tables, ticket.lease, lease)?;
    leases::end(scope, tables, part.lease)?;
    let snapshot = row.opened.snapshot;
    let about = [snapshot.as_bytes().as_slice(), of.ticket.as_bytes(), ready.digest.as_bytes()].concat();
    row.state = SnapshotState::Ready(ready);
    scope.put(tables, &(snapshot,), &row)?;
    let kind = Body::CommitSnapshot { envelope: Vec::new(), sealed: Vec::new() }.kind();
    let event = AuditEvent::Decision {
        kind,
        principal: caller.principal.clone(),
        subject: about,
        allowed: true,
        reason: String::new(),
    };
    audit::append(at, scope, tables, event)?;
    Ok(())
}

/// Shows every stream of a ticket, because its opener commits the whole that names them; ends the ticket.
pub(crate) fn gather(
    at: &At<'_>,
    caller: &Caller,
    tables: &mut dyn Tables,
    envelope: &Envelope,
    whole: &Whole,
    vault: &VaultRow,
    lock: Option<LockTerms>,
) -> Ruled<()> {
    let scope = &caller.scope;
    let (mut ticket, _) = tickets::undecided(at, scope, &*tables, whole.ticket)?;
    if ticket.opener != caller.principal || ticket.vault != envelope.vault {
        return Err(Refusal::NotFound.into());
    }
    if ticket.label != envelope.label {
        return Err(invalid("the whole has another name than its ticket was opened for"));
    }
    let mut under: BTreeMap<StreamName, SnapshotRow> = BTreeMap::new();
    for (name, stream) in tickets::streams(scope, &*tables, whole.ticket, Whole::STREAMS_MAX)? {
        let row = scope.get::<SnapshotRow>(&*tables, &(stream.snapshot,))?;
        under.insert(name, row.ok_or_else(|| impossible("a stream's snapshot is not there"))?);
    }
    let mut streams = Vec::new();
    let mut differing = Vec::new();
    for named in &whole.streams {
        match under.remove(&named.name).map(|row| stream(scope, &*tables, vault, named, row, lock)) {
            Some(Ok(stream)) => streams.push(stream),
            Some(Err(Stop::Halt(halt))) => return Err(halt.into()),
            Some(Err(Stop::Refused(_))) | None => differing.push(named.name.clone()),
        }
    }
    differing.extend(under.into_keys());
    let lacking = ticket.expected.iter().filter(|expected| whole.stream(&expected.name).is_none());
    differing.extend(lacking.map(|expected| expected.name.clone()));
    if !differing.is_empty() {
        differing.sort_unstable();
        differing.dedup();
        differing.truncate(Whole::STREAMS_MAX);
        return Err(Refusal::StreamsDiffer { names: differing }.into());
    }
    for (row, shown) in streams {
        shown::show(at, scope, &caller.tenant.facts, tables, row, shown)?;
    }
    leases::end(scope, tables, ticket.lease)?;
    ticket.state = TicketState::Committed { whole: envelope.snapshot };
    scope.put(tables, &(whole.ticket,), &ticket)?;
    usage::ticket_decided(scope, tables, &ticket.opener)?;
    Ok(())
}

/// A stream as it will be shown, if it is ready, is what the whole says, and could be committed now.
fn stream(
    scope: &TenantScope,
    reads: &dyn Reads,
    vault: &VaultRow,
    named: &NamedStream,
    row: SnapshotRow,
    of_whole: Option<LockTerms>,
) -> Ruled<(SnapshotRow, Shown)> {
    let SnapshotState::Ready(ready) = row.state.clone() else {
        return Err(Refusal::NotFound.into());
    };
    let is = (&row.opened.snapshot, &row.opened.writer, &ready.digest);
    if is != (&named.snapshot, &named.writer, &named.envelope) {
        return Err(Refusal::VersionConflict.into());
    }
    let envelope = codec::decode::<Signed<Envelope>>(&ready.envelope).and_then(|signed| signed.unverified());
    let envelope =
        envelope.map_err(|fault| Halt { why: format!("a ready stream's envelope does not read: {fault}") })?;
    if envelope.policy_version != vault.policy.version || envelope.statement_version != vault.statement_version {
        return Err(Refusal::PolicyMismatch.into());
    }
    let writer: Option<IdentityRow> = scope.get(reads, &(named.writer.clone(),))?;
    let writer = writer.filter(|writer| writer.open).ok_or(Refusal::Identity)?;
    match vaults::newest_card(scope, reads, envelope.vault, &named.writer)? {
        Some((_, card)) if card.digest == envelope.card && card.signing_key == writer.signing_key => {}
        Some(_) | None => return Err(Refusal::ProvenanceInvalid { why: "the writer has a newer card".into() }.into()),
    }
    let logical_bytes = shown::logical_bytes(&envelope)?;
    let own = locks::choose(&vault.policy, writer.locks.as_ref(), envelope.requested_lock.as_ref())?;
    let Ready { envelope, digest, order, parts, lying } = ready;
    let lock = stricter(of_whole, own);
    Ok((row, Shown { snapshot: named.snapshot, envelope, digest, order, parts, lying, terms: lock, logical_bytes }))
}

/// A lock that keeps what both promise.
fn stricter(one: Option<LockTerms>, other: Option<LockTerms>) -> Option<LockTerms> {
    let (Some(mut lock), Some(other)) = (one, other) else {
        return one.or(other);
    };
    lock.mode = lock.mode.max(other.mode);
    lock.length_ms = lock.length_ms.max(other.length_ms);
    Some(lock)
}
