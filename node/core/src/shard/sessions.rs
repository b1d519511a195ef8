//! Client sessions: numbered commands, each executed at most once, with outcomes that are remembered and never flip.
//!
//!     number n ──n ≤ top − 64──▶ forgotten, never executed
//!              ──remembered────▶ the remembered outcome
//!              ──top + 64 < n──▶ refused: more in flight than the state can remember
//!              ──else──────────▶ executed, remembered; top = max(top, n)
//!
//! Asking for a number that was not applied makes it refused for ever. An ended session's row stays, without outcomes:
//! its numbers are *forgotten*. The nonce that opened a session stays too, so that a repeated opening opens nothing
//! (N108). Law: `laws/sessions_are_bounded.rs`. Not here: who the caller is (`shard/admission.rs`).

use strongroom_format::codec;
use strongroom_format::id::{IdentityId, LeaseId, Nonce, SessionId};
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::quota::StoredShares;
use strongroom_format::role::Role;

use crate::shard::at::{At, Caller};
use crate::shard::ends::{self, End};
use crate::shard::leases::{self, SESSION_BUDGET_BYTES_MAX};
use crate::shard::quotas::Whose;
use crate::shard::rows::{IdentityRow, LeasePurpose, LeaseRow, NonceRow, OutcomeRow, SessionRow, TenantRow};
use crate::shard::scope::TenantScope;
use crate::shard::usage::{self, One};
use crate::stop::{Ruled, invalid, limit};
use crate::tables::{Halt, Reads, Tables};

/// At most so many numbers are in flight, and so many outcomes are remembered.
pub const WINDOW: u64 = 64;
/// A session that is not used for so long ends.
pub(crate) const SESSION_MS: u64 = 3_600_000;
/// At most so many sessions of one identity are open in one shard.
pub const SESSIONS_MAX: u64 = 512;

/// What the rules know of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    /// It may be executed.
    New,
    /// It was answered.
    Remembered(Box<Outcome>),
    /// It may have been answered.
    Forgotten,
    /// Too far ahead.
    OutOfWindow,
}

/// Opens a session at home with a lease of its own, for a nonce that opened none ([`opened_by`]).
pub(crate) fn open(
    at: &At<'_>,
    scope: &TenantScope,
    tenant: &TenantRow,
    tables: &mut dyn Tables,
    (principal, identity): (&IdentityId, &IdentityRow),
    nonce: Nonce,
    budget_bytes: u64,
) -> Ruled<Done> {
    let writes = identity.has(Role::Writer) || identity.has(Role::Gateway);
    if 0 < budget_bytes && !writes {
        return Err(Refusal::Role.into());
    }
    if SESSION_BUDGET_BYTES_MAX < budget_bytes {
        return Err(invalid("a session's budget is at most 64 MiB"));
    }
    let whose = Whose { facts: &tenant.facts, vault: None, writer: principal };
    whose.require_session(scope, &*tables)?;
    // Whatever is left of it: who backs nothing up needs none.
    let budget_bytes = whose.grant(at, scope, &*tables, &StoredShares::default(), budget_bytes)?;
    let session = at.session();
    let ends_ms = start(at, scope, tables, session, principal)?;
    let lease = leases::open(at, scope, tables, principal.clone(), LeasePurpose::Session(session), budget_bytes)?;
    debug_assert_eq!(lease.0, session.0, "both are named by the place of the command");
    scope.put(tables, &(principal.clone(), nonce), &NonceRow { session, ends_ms })?;
    Ok(Done::SessionOpened { session, lease, ends_ms })
}

/// What the opener of a nonce was told.
pub(crate) fn opened_by(
    scope: &TenantScope,
    reads: &dyn Reads,
    principal: &IdentityId,
    nonce: Nonce,
) -> Result<Option<Done>, Halt> {
    let row = scope.get::<NonceRow>(reads, &(principal.clone(), nonce))?;
    Ok(row.map(|NonceRow { session, ends_ms }| Done::SessionOpened { session, lease: LeaseId(session.0), ends_ms }))
}

/// Starts a session without a lease: in another shard than home the part has one.
pub(crate) fn start(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    session: SessionId,
    identity: &IdentityId,
) -> Ruled<u64> {
    if SESSIONS_MAX <= usage::open_of(scope, &*tables, identity)?.sessions {
        return Err(limit("open sessions of the identity"));
    }
    let ends_ms = at.now_ms.saturating_add(SESSION_MS);
    scope.put(tables, &(session,), &SessionRow { identity: identity.clone(), top: 0, ends_ms, open: true })?;
    ends::schedule(tables, ends_ms, scope.tenant(), End::Session(session))?;
    usage::count_session(scope, tables, identity, One::More)?;
    Ok(ends_ms)
}

/// What the rules know of a number of an open session.
pub(crate) fn look_up(
    scope: &TenantScope,
    reads: &dyn Reads,
    session: SessionId,
    row: &SessionRow,
    sequence: u64,
) -> Result<Number, Halt> {
    if sequence.saturating_add(WINDOW) <= row.top {
        return Ok(Number::Forgotten);
    }
    if row.top.saturating_add(WINDOW) < sequence {
        return Ok(Number::OutOfWindow);
    }
    let remembered = scope.get::<OutcomeRow>(reads, &(session, sequence))?;
    Ok(remembered.map_or(Number::New, |row| Number::Remembered(Box::new(row.outcome))))
}

/// Remembers an answer, forgets those that leave the window, and moves the session's end on. Nothing happens where the
/// session ended meanwhile: its numbers are forgotten.
pub(crate) fn remember(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    session: SessionId,
    sequence: u64,
    outcome: &Outcome,
) -> Result<(), Halt> {
    let Some(mut row) = scope.get::<SessionRow>(&*tables, &(session,))?.filter(|row| row.open) else {
        return Ok(());
    };
    if sequence.saturating_add(WINDOW) <= row.top {
        // Its own question moved the window beyond it.
        return Ok(());
    }
    let asked = matches!(outcome, Outcome::Done(Done::Asked { .. } | Done::NeverApplied));
    scope.put(tables, &(session, sequence), &OutcomeRow { outcome: outcome.clone(), asked })?;
    if row.top < sequence {
        let forgotten_before = row.top.saturating_sub(WINDOW - 1);
        let forgotten_now = sequence.saturating_sub(WINDOW - 1);
        for number in forgotten_before..forgotten_now {
            scope.delete::<OutcomeRow>(tables, &(session, number))?;
        }
        row.top = sequence;
    }
    row.ends_ms = at.now_ms.saturating_add(SESSION_MS);
    scope.put(tables, &(session,), &row)
}

/// Answers what became of a number; one that was not applied never will be.
pub(crate) fn ask(
    at: &At<'_>,
    caller: &Caller,
    tables: &mut dyn Tables,
    own_sequence: u64,
    sequence: u64,
) -> Ruled<Done> {
    let scope = &caller.scope;
    if sequence == 0 || sequence == own_sequence {
        return Err(invalid("a question is about another number, from 1"));
    }
    let row: SessionRow = scope.get(&*tables, &(caller.session,))?.ok_or(Refusal::SessionEnded)?;
    let asked = |outcome: &Outcome| Ok(Done::Asked { outcome: codec::encode(outcome) });
    match look_up(scope, &*tables, caller.session, &row, sequence)? {
        Number::Remembered(outcome) => {
            let about = scope.get::<OutcomeRow>(&*tables, &(caller.session, sequence))?;
            if about.is_some_and(|about| about.asked) {
                // Answers would grow with every question about a question.
                return Err(invalid("a question is not about a question"));
            }
            asked(&outcome)
        }
        Number::Forgotten => asked(&Outcome::Forgotten),
        Number::OutOfWindow => Err(Refusal::SequenceOutOfWindow.into()),
        Number::New => {
            remember(at, scope, tables, caller.session, sequence, &Outcome::Refused(Refusal::Withdrawn))?;
            Ok(Done::NeverApplied)
        }
    }
}

/// Ends a session and its own lease. Its row stays; its outcomes go.
pub(crate) fn end(scope: &TenantScope, tables: &mut dyn Tables, session: SessionId) -> Result<(), Halt> {
    let Some(mut row) = scope.get::<SessionRow>(&*tables, &(session,))?.filter(|row| row.open) else {
        return Ok(());
    };
    // All that can be remembered: the window.
    for ((_, number), _) in scope.range::<OutcomeRow>(&*tables, &(session,), 2 * WINDOW as usize)? {
        scope.delete::<OutcomeRow>(tables, &(session, number))?;
    }
    let lease = LeaseId(session.0);
    let own = scope.get::<LeaseRow>(&*tables, &(lease,))?;
    if own.is_some_and(|lease| lease.purpose == LeasePurpose::Session(session)) {
        leases::end(scope, tables, lease)?;
    }
    row.open = false;
    scope.put(tables, &(session,), &row)?;
    usage::count_session(scope, tables, &row.identity, One::Less)
}
