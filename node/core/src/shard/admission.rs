//! Admission: who a command is from, whether it may be executed now, and where it goes.
//!
//!     bytes ─▶ command ─▶ this cluster and group? ─▶ tenant here? ─▶ session, row, signature ─▶ number ─▶ rule
//!                                                                        │ no: an outcome and no trace
//!                                                                        ▼ yes
//!                                             done: rows, outcome, leaf · refused: outcome, leaf
//!
//! What is not authenticated leaves no trace in the state: it is noise (N20, N103, N107, N108). What is, is answered
//! once and for ever under its number. A rule writes into a draft: refused, it leaves nothing.

use strongroom_format::codec;
use strongroom_format::command::{
    Attested, BlobRef, Body, Command, MemberSignature, OpenSnapshot, Opened, Sealed, SignedCommand,
};
use strongroom_format::id::{PublicKey, SessionId, TenantId};
use strongroom_format::lock_order::LockOrder;
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::sign;

use crate::attempt::attempt;
use crate::proved::{self, Proved};
use crate::shard::at::{At, Caller};
use crate::shard::audit;
use crate::shard::chunks::{self, In};
use crate::shard::deletion;
use crate::shard::identities;
use crate::shard::leases;
use crate::shard::lock_orders;
use crate::shard::nodes;
use crate::shard::parts;
use crate::shard::policies;
use crate::shard::quotas;
use crate::shard::restores;
use crate::shard::rows::{IdentityRow, SessionRow, TenantRow};
use crate::shard::scope::TenantScope;
use crate::shard::sessions::{self, Number};
use crate::shard::snapshots;
use crate::shard::ticket_ends;
use crate::shard::tickets;
use crate::shard::tokens;
use crate::shard::vaults;
use crate::stop::{Ruled, Stop, format_refusal, invalid};
use crate::tables::{Halt, Reads, Tables};

/// What the command before in the same entry was: for `needs_previous`, which looks at the same session only, so that
/// nobody learns what became of another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Previous {
    tenant: TenantId,
    session: SessionId,
    done: bool,
}

/// Who stands for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing<'a> {
    /// Its caller alone: what it says about durable fragments or other groups is hearsay.
    Alone,
    /// The node that proposed it too: fragments are durable.
    Vouched,
    /// For each of its claims about other groups, voters of these.
    Attested(&'a [Vec<MemberSignature>]),
}

/// What is known beside what the caller says.
enum Known {
    /// Nothing.
    Nothing,
    /// Fragments are durable.
    Durable,
    /// The home shard opened this.
    Opened(Proved<Opened>),
    /// These shards have sealed so.
    Sealed(Vec<Proved<Sealed>>),
}

/// Applies one command of a caller.
pub(crate) fn apply(
    at: &At<'_>,
    tables: &mut dyn Tables,
    signed: &SignedCommand,
    standing: Standing<'_>,
    previous: &mut Option<Previous>,
) -> Result<Outcome, Halt> {
    let before = previous.take();
    let command = match read(at, signed) {
        Ok(command) => command,
        Err(refusal) => return Ok(Outcome::Refused(refusal)),
    };
    let admitted = match admit_tenant(&*tables, &command) {
        Ok(admitted) => admitted,
        Err(stop) => return refusal_of(stop),
    };
    let (scope, tenant) = admitted;
    match command.session {
        None => apply_outside(at, tables, &scope, &tenant, signed, &command, standing),
        Some(session) => {
            let caller = match authenticate(at, &*tables, scope, tenant, session, signed, &command) {
                Ok(Some(caller)) => caller,
                Ok(None) => return Ok(Outcome::Forgotten),
                Err(stop) => return refusal_of(stop),
            };
            let outcome = apply_inside(at, tables, &caller, &command, standing, before)?;
            let done = matches!(outcome, Outcome::Done(_));
            *previous = Some(Previous { tenant: command.tenant, session, done });
            Ok(outcome)
        }
    }
}

fn refusal_of(stop: Stop) -> Result<Outcome, Halt> {
    match stop {
        Stop::Refused(refusal) => Ok(Outcome::Refused(refusal)),
        Stop::Halt(halt) => Err(halt),
    }
}

/// The command in the bytes, if it is for this cluster and group and has the form that its kind must have.
fn read(at: &At<'_>, signed: &SignedCommand) -> Result<Command, Refusal> {
    let command: Command = codec::decode(&signed.command).map_err(|fault| format_refusal(&fault))?;
    if (command.cluster, command.group) != (at.facts.epoch, at.facts.group) {
        return Err(Refusal::WrongGroup);
    }
    if command.body.is_deciding() != signed.signature.is_some() {
        return Err(Refusal::Signature);
    }
    let outside = matches!(command.body, Body::OpenSession { .. } | Body::JoinSnapshot { .. });
    if outside != command.session.is_none() || outside != (command.sequence == 0) {
        return Err(Refusal::Invalid { why: "a command has a session and a number where it must".into() });
    }
    if bears_signatures(&command.body) {
        return Err(Refusal::Invalid { why: "signatures of another group's voters stand beside a command".into() });
    }
    Ok(command)
}

/// Whether a caller's command bears signatures where nobody reads them: what it claims is believed by those beside it in
/// the entry ([`prove`]), and must not look as if it were believed by its own.
fn bears_signatures(body: &Body) -> bool {
    match body {
        Body::JoinSnapshot { opened } => !opened.signatures.is_empty(),
        Body::CommitSnapshot { sealed, .. } => sealed.iter().any(|part| !part.signatures.is_empty()),
        _ => false,
    }
}

fn admit_tenant(reads: &dyn Reads, command: &Command) -> Ruled<(TenantScope, TenantRow)> {
    let (scope, tenant) = TenantScope::of(reads, command.tenant)?.ok_or(Refusal::NotFound)?;
    if tenant.is_active() { Ok((scope, tenant)) } else { Err(Refusal::TenantSuspended.into()) }
}

/// Opens a session, or joins a snapshot: what has no session yet.
fn apply_outside(
    at: &At<'_>,
    tables: &mut dyn Tables,
    scope: &TenantScope,
    tenant: &TenantRow,
    signed: &SignedCommand,
    command: &Command,
    standing: Standing<'_>,
) -> Result<Outcome, Halt> {
    let is_home = tenant.facts.home == at.group();
    let identity = match (&command.body, is_home) {
        (Body::OpenSession { .. }, true) => match identity_row(scope, &*tables, command) {
            Ok(row) => Some(row),
            Err(stop) => return refusal_of(stop),
        },
        (Body::JoinSnapshot { .. }, false) => None,
        _ => return Ok(Outcome::Refused(Refusal::WrongGroup)),
    };
    let key = match (&command.body, &identity) {
        (_, Some(row)) => row.signing_key,
        (Body::JoinSnapshot { opened }, None) => {
            // Another's snapshot, or another tenant's: as if absent.
            if (opened.value.tenant, &opened.value.writer) != (command.tenant, &command.principal) {
                return Ok(Outcome::Refused(Refusal::NotFound));
            }
            opened.value.signing_key
        }
        _ => return Ok(Outcome::Refused(Refusal::WrongGroup)),
    };
    if !is_signed_by(signed, &key) {
        return Ok(Outcome::Refused(Refusal::Signature));
    }
    if command.needs_previous {
        return Ok(Outcome::Refused(Refusal::PreviousNotDone));
    }
    let said_before = match &command.body {
        Body::OpenSession { nonce, .. } => sessions::opened_by(scope, &*tables, &command.principal, *nonce)?,
        Body::JoinSnapshot { opened } => parts::joined(scope, &*tables, &opened.value)?,
        _ => None,
    };
    if let Some(done) = said_before {
        // Saying it again is no new decision.
        return Ok(Outcome::Done(done));
    }
    let known = match prove(at, &*tables, command, standing) {
        Ok(known) => known,
        Err(stop) => return refusal_of(stop),
    };
    let outcome = attempt(tables, |draft| match (&command.body, &identity) {
        _ if at.disputed => Err(Refusal::DigestsDisagree.into()),
        (Body::OpenSession { nonce, budget_bytes }, Some(row)) => {
            sessions::open(at, scope, tenant, draft, (&command.principal, row), *nonce, *budget_bytes)
        }
        (Body::JoinSnapshot { .. }, None) => match &known {
            Known::Opened(opened) => parts::join(at, scope, tenant, draft, opened),
            // Nobody but its caller says that this was opened: it is as if it was not.
            Known::Nothing | Known::Durable | Known::Sealed(_) => Err(Refusal::NotFound.into()),
        },
        _ => Err(Refusal::WrongGroup.into()),
    })?;
    record(at, scope, tables, command, &outcome)?;
    Ok(outcome)
}

/// The caller, if the session is its own, open, and its command is signed where it must be. `None`: the session has
/// ended.
fn authenticate(
    at: &At<'_>,
    reads: &dyn Reads,
    scope: TenantScope,
    tenant: TenantRow,
    session: SessionId,
    signed: &SignedCommand,
    command: &Command,
) -> Ruled<Option<Caller>> {
    let row = scope.get::<SessionRow>(reads, &(session,))?;
    // Another's session is as if absent (N21).
    let row = row.filter(|row| row.identity == command.principal).ok_or(Refusal::SessionEnded)?;
    let is_home = tenant.facts.home == at.group();
    let identity = if is_home { Some(identity_row(&scope, reads, command)?) } else { None };
    match &identity {
        Some(row) if command.body.is_deciding() && !is_signed_by(signed, &row.signing_key) => {
            return Err(Refusal::Signature.into());
        }
        // Nobody's signing key is known here.
        None if command.body.is_deciding() => return Err(Refusal::WrongGroup.into()),
        Some(_) | None => {}
    }
    if !row.open || row.ends_ms <= at.now_ms {
        return Ok(None);
    }
    Ok(Some(Caller { scope, tenant, principal: command.principal.clone(), identity, session }))
}

fn identity_row(scope: &TenantScope, reads: &dyn Reads, command: &Command) -> Ruled<IdentityRow> {
    let row: Option<IdentityRow> = scope.get(reads, &(command.principal.clone(),))?;
    row.filter(|row| row.open).ok_or(Stop::Refused(Refusal::Identity))
}

fn is_signed_by(signed: &SignedCommand, key: &PublicKey) -> bool {
    sign::verify_command(signed, key).is_ok()
}

/// Executes a command of an open session once, or answers with what it was answered.
fn apply_inside(
    at: &At<'_>,
    tables: &mut dyn Tables,
    caller: &Caller,
    command: &Command,
    standing: Standing<'_>,
    before: Option<Previous>,
) -> Result<Outcome, Halt> {
    let scope = &caller.scope;
    let row: Option<SessionRow> = scope.get(&*tables, &(caller.session,))?;
    let Some(row) = row else {
        return Ok(Outcome::Forgotten);
    };
    match sessions::look_up(scope, &*tables, caller.session, &row, command.sequence)? {
        Number::Remembered(outcome) => return Ok(*outcome),
        Number::Forgotten => return Ok(Outcome::Forgotten),
        Number::OutOfWindow => return Ok(Outcome::Refused(Refusal::SequenceOutOfWindow)),
        Number::New => {}
    }
    let follows =
        before.is_some_and(|before| (before.tenant, before.session) == (command.tenant, caller.session) && before.done);
    let known = match prove(at, &*tables, command, standing) {
        Ok(known) => known,
        Err(stop) => return refusal_of(stop),
    };
    let outcome = attempt(tables, |draft| {
        if at.disputed {
            return Err(Refusal::DigestsDisagree.into());
        }
        if command.needs_previous && !follows {
            return Err(Refusal::PreviousNotDone.into());
        }
        execute(at, draft, caller, command, &known)
    })?;
    record(at, scope, tables, command, &outcome)?;
    sessions::remember(at, scope, tables, caller.session, command.sequence, &outcome)?;
    Ok(outcome)
}

/// What stands for a command. Signatures that do not prove its claims leave no trace, and the number is free: the caller
/// did not make them, and others may.
fn prove(at: &At<'_>, reads: &dyn Reads, command: &Command, standing: Standing<'_>) -> Ruled<Known> {
    let signatures = match standing {
        Standing::Alone => return Ok(Known::Nothing),
        Standing::Vouched => return Ok(Known::Durable),
        Standing::Attested(signatures) => signatures,
    };
    let epoch = at.facts.epoch;
    match &command.body {
        Body::JoinSnapshot { opened } => Ok(Known::Opened(proved::opened(reads, epoch, &opened.value, signatures)?)),
        Body::CommitSnapshot { sealed, .. } if sealed.len() <= OpenSnapshot::GROUPS_MAX => {
            Ok(Known::Sealed(proved::sealed(reads, epoch, command.tenant, sealed, signatures)?))
        }
        // It claims nothing that could be signed.
        _ => Err(Refusal::Unattested.into()),
    }
}

/// The parts of other shards, if they have sealed so.
fn sealed_parts<'a>(sealed: &[Attested<Sealed>], known: &'a Known) -> Ruled<&'a [Proved<Sealed>]> {
    match known {
        Known::Sealed(proved) => Ok(proved),
        Known::Nothing | Known::Durable | Known::Opened(_) if sealed.is_empty() => Ok(&[]),
        Known::Nothing | Known::Durable | Known::Opened(_) => {
            let groups = sealed.iter().map(|claim| claim.value.group).take(OpenSnapshot::GROUPS_MAX).collect();
            Err(snapshots::parts_differ("nobody but the caller says that these shards have sealed so", groups))
        }
    }
}

fn record(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    command: &Command,
    outcome: &Outcome,
) -> Result<(), Halt> {
    match outcome {
        Outcome::Done(_) => audit::allowed(at, scope, tables, command),
        Outcome::Refused(refusal) => audit::refused(at, scope, tables, command, refusal),
        Outcome::Forgotten => Ok(()),
    }
}

fn execute(at: &At<'_>, tables: &mut dyn Tables, caller: &Caller, command: &Command, known: &Known) -> Ruled<Done> {
    match &command.body {
        Body::OpenSession { .. } | Body::JoinSnapshot { .. } => Err(invalid("this has no session yet")),
        Body::EndSession => {
            sessions::end(&caller.scope, tables, caller.session)?;
            Ok(Done::Done)
        }
        Body::Ask { sequence } => sessions::ask(at, caller, tables, command.sequence, *sequence),
        Body::EnrolIdentity { identity, roles, signing_key, locks, approvals: _ } => {
            identities::enrol(caller, tables, identity, roles, *signing_key, *locks)
        }
        Body::CloseIdentity { identity, reason } => identities::close(caller, tables, identity, reason),
        Body::CreateVault { statement, policy } => vaults::create(caller, tables, statement, policy),
        Body::UpdateStatement { statement } => vaults::update_statement(caller, tables, statement),
        Body::PutCard { card } => vaults::put_card(caller, tables, card),
        Body::OpenSnapshot(open) => snapshots::open(at, caller, tables, open),
        Body::TopUp { lease, bytes } => leases::top_up(at, caller, tables, *lease, *bytes),
        // Nobody but its caller says that these fragments are durable.
        Body::RegisterChunks { .. } if !matches!(known, Known::Durable) => Err(Refusal::NotFromClients.into()),
        Body::RegisterChunks { lease, vault, domain, chunks } => {
            chunks::register(at, caller, tables, *lease, In { vault: *vault, domain: *domain }, chunks)
        }
        Body::PutNodes { lease, vault, domain, nodes } => {
            nodes::put(at, caller, tables, *lease, In { vault: *vault, domain: *domain }, nodes)
        }
        Body::SealPart { snapshot, roots, records } => parts::seal(at, caller, tables, *snapshot, roots, records),
        Body::CommitSnapshot { envelope, sealed } => {
            snapshots::commit(at, caller, tables, envelope, sealed_parts(sealed, known)?)
        }
        Body::AbortSnapshot { snapshot } => snapshots::abort_own(at, caller, tables, *snapshot),
        Body::OpenRestore { snapshots, purpose, lifetime_ms } => {
            restores::open(at, caller, tables, snapshots, purpose, *lifetime_ms)
        }
        Body::EndRestore { restore } => restores::end_own(caller, tables, *restore),
        Body::IssueToken { token, identity, roles, locks, lifetime_ms, wall_end_unix_ms, approvals: _ } => {
            let wish = tokens::Wish {
                token: *token,
                identity,
                roles,
                locks: *locks,
                lifetime_ms: *lifetime_ms,
                wall_end_unix_ms: *wall_end_unix_ms,
            };
            tokens::issue(at, caller, tables, &wish)
        }
        Body::OpenTicket(open) => tickets::open(at, caller, tables, open),
        Body::AbortTicket { ticket } => ticket_ends::abort_own(at, caller, tables, *ticket),
        Body::End(order) => deletion::order(at, caller, tables, order),
        Body::Lock(order) => match order {
            LockOrder::SetPolicy { .. } | LockOrder::LockVault { .. } | LockOrder::WithdrawVaultLock { .. } => {
                policies::order(at, caller, tables, order)
            }
            LockOrder::ExtendLock { .. }
            | LockOrder::WeakenLock { .. }
            | LockOrder::CancelWeakening { .. }
            | LockOrder::AddHold { .. }
            | LockOrder::RemoveHold { .. } => lock_orders::order(at, caller, tables, order),
        },
        Body::SetQuotas { of, quotas } => quotas::set(at, caller, tables, of, quotas),
        Body::ReportBlob { vault, domain, chunk, blob, snapshot } => {
            let place = In { vault: *vault, domain: *domain };
            chunks::report(caller, tables, place, &BlobRef { chunk: *chunk, blob: *blob }, *snapshot)
        }
    }
}
