//! Tokens: an admin says who somebody will be, and whoever has the token becomes that, once, under a key of its own.
//!
//!     IssueToken ──▶ open ──Redeem: both signatures, in time, issuer still there──▶ used, identity row
//!                     └──its end on E, or the wall clock's──▶ gone
//!
//! The state has the hash of the token's public key, so no replica can redeem one. Names, roles and locks come from the
//! row; what the bearer says of itself is its key. A used token keeps its row: the same redemption again is answered as
//! before, another is refused, for ever (N105). A token ends on `E` and on the wall clock of an entry's leader, whichever
//! comes first: a wall clock can only end it, never prolong it. Laws: `laws/tokens_are_used_once.rs`. Not here: which
//! roles may be given (`roles.rs`), what a token is (`strongroom_format::enrolment`), nodes (`cluster/tokens.rs`).

use strongroom_format::enrolment::{Redemption, SignedRedemption};
use strongroom_format::id::{Digest, IdentityId};
use strongroom_format::lock::LockRange;
use strongroom_format::outcome::{Done, Outcome, Redeemed, Refusal};
use strongroom_format::role::Role;

use crate::attempt::attempt;
use crate::clock;
use crate::query::{Answer, TokenView};
use crate::redemptions::{self, LIFETIME_MS_MAX};
use crate::shard::at::{At, Caller};
use crate::shard::audit;
use crate::shard::ends::{self, End};
use crate::shard::identities;
use crate::shard::rows::{IdentityRow, IssuedRow, TokenRow, TokenState};
use crate::shard::scope::TenantScope;
use crate::shard::usage;
use crate::stop::{Ruled, invalid, limit};
use crate::tables::{Halt, Reads, Tables};

/// At most so many open tokens of one issuer.
pub(crate) const TOKENS_MAX: u64 = 64;

/// What an admin says of a token.
pub(crate) struct Wish<'a> {
    pub(crate) token: Digest,
    pub(crate) identity: &'a IdentityId,
    pub(crate) roles: &'a [Role],
    pub(crate) locks: Option<LockRange>,
    pub(crate) lifetime_ms: u64,
    pub(crate) wall_end_unix_ms: u64,
}

/// Issues a token.
pub(crate) fn issue(at: &At<'_>, caller: &Caller, tables: &mut dyn Tables, wish: &Wish<'_>) -> Ruled<Done> {
    identities::may_give(caller, wish.roles, wish.locks.as_ref())?;
    if !(1..=LIFETIME_MS_MAX).contains(&wish.lifetime_ms) {
        return Err(invalid("a token counts for 1 ms to 1 h"));
    }
    let scope = &caller.scope;
    if scope.has::<IdentityRow>(&*tables, &(wish.identity.clone(),))? {
        return Err(Refusal::IdentityTaken { identity: wish.identity.clone() }.into());
    }
    if scope.has::<TokenRow>(&*tables, &(wish.token,))? {
        return Err(Refusal::Immutable.into());
    }
    if TOKENS_MAX <= usage::open_of(scope, &*tables, &caller.principal)?.tokens {
        return Err(limit("open tokens of the issuer"));
    }
    let number = at.place.number();
    let ends_ms = at.now_ms.saturating_add(wish.lifetime_ms);
    let row = TokenRow {
        identity: wish.identity.clone(),
        roles: wish.roles.to_vec(),
        locks: wish.locks,
        issuer: caller.principal.clone(),
        number,
        ends_ms,
        // Never later than the issuing leader's own wall clock makes it, whatever was asked for.
        wall_end_unix_ms: wish.wall_end_unix_ms.min(at.wall_unix_ms.saturating_add(wish.lifetime_ms)),
        state: TokenState::Open,
    };
    scope.put(tables, &(wish.token,), &row)?;
    scope.put(tables, &(number,), &IssuedRow { token: wish.token })?;
    ends::schedule(tables, ends_ms, scope.tenant(), End::Token(number))?;
    usage::count_open(scope, tables, &caller.principal, |row| {
        row.tokens = row.tokens.checked_add(1)?;
        Some(())
    })?;
    Ok(Done::Done)
}

/// Redeems a token. Whoever does not have one leaves no trace and learns nothing: a foreign tenant, an absent one and an
/// unknown token read alike.
pub(crate) fn redeem(at: &At<'_>, tables: &mut dyn Tables, signed: &SignedRedemption) -> Result<Outcome, Halt> {
    let refused = |refusal| Ok(Outcome::Refused(refusal));
    let redemption = match redemptions::open(signed, at.facts.epoch, at.group()) {
        Ok(redemption) => redemption,
        Err(refusal) => return refused(refusal),
    };
    let Some(tenant) = redemption.tenant else {
        return refused(Refusal::WrongGroup);
    };
    let Some((scope, tenant)) = TenantScope::of(&*tables, tenant)? else {
        return refused(Refusal::Token);
    };
    let Some(row) = scope.get::<TokenRow>(&*tables, &(redemption.token_digest(),))? else {
        return refused(Refusal::Token);
    };
    let digest = signed.digest();
    if let TokenState::Used { redemption: first } = &row.state
        && *first == digest
    {
        return Ok(Outcome::Done(made(&row)));
    }
    let outcome = attempt(tables, |draft| {
        if at.disputed {
            return Err(Refusal::DigestsDisagree.into());
        }
        if !tenant.is_active() {
            return Err(Refusal::TenantSuspended.into());
        }
        take(at, &scope, draft, &row, &redemption, digest)
    })?;
    let entered = audit::Redeemed { identity: &row.identity, token: redemption.token_digest(), by: digest };
    match &outcome {
        Outcome::Done(_) => audit::redeemed(at, &scope, tables, &entered)?,
        Outcome::Refused(refusal) => audit::redemption_refused(at, &scope, tables, &entered, refusal)?,
        Outcome::Forgotten => {}
    }
    Ok(outcome)
}

fn take(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    row: &TokenRow,
    redemption: &Redemption,
    digest: Digest,
) -> Ruled<Done> {
    if row.state != TokenState::Open {
        return Err(Refusal::TokenUsed.into());
    }
    if row.ends_ms <= at.now_ms || row.wall_end_unix_ms <= at.wall_unix_ms {
        return Err(Refusal::Token.into());
    }
    // What a stolen admin key left behind ends with its identity.
    let issuer: Option<IdentityRow> = scope.get(&*tables, &(row.issuer.clone(),))?;
    if !issuer.is_some_and(|issuer| issuer.open && issuer.has(Role::Admin)) {
        return Err(Refusal::Token.into());
    }
    let identity = IdentityRow {
        roles: row.roles.clone(),
        signing_key: redemption.signing_key,
        locks: row.locks,
        open: true,
        enrolled_by: Some(row.issuer.clone()),
    };
    identities::add(scope, tables, &row.identity, &identity)?;
    let used = TokenRow { state: TokenState::Used { redemption: digest }, ..row.clone() };
    scope.put(tables, &(redemption.token_digest(),), &used)?;
    close(scope, tables, row)?;
    Ok(made(row))
}

/// Who the token's bearer is.
fn made(row: &TokenRow) -> Done {
    Done::Redeemed(Redeemed::Identity { identity: row.identity.clone(), roles: row.roles.clone() })
}

/// What a door must know of a token before it proposes a redemption: one that does not count is noise.
pub(crate) fn view(scope: &TenantScope, reads: &dyn Reads, token: Digest) -> Result<Option<Answer>, Halt> {
    let row: Option<TokenRow> = scope.get(reads, &(token,))?;
    let now_ms = clock::now(reads)?.elapsed_ms;
    Ok(row.map(|TokenRow { ends_ms, wall_end_unix_ms, state, .. }| {
        let used = match state {
            TokenState::Open => None,
            TokenState::Used { redemption } => Some(redemption),
        };
        Answer::Token(TokenView { ends_ms, now_ms, wall_end_unix_ms, used })
    }))
}

/// Ends a token that nobody used. Where it was used, nothing is left to do.
pub(crate) fn end(scope: &TenantScope, tables: &mut dyn Tables, number: u64) -> Result<(), Halt> {
    let Some(IssuedRow { token }) = scope.get(&*tables, &(number,))? else {
        return Ok(());
    };
    let row: Option<TokenRow> = scope.get(&*tables, &(token,))?;
    let row = row.ok_or_else(|| Halt { why: "an issued token is not there".into() })?;
    scope.delete::<TokenRow>(tables, &(token,))?;
    close(scope, tables, &row)
}

/// It is no open token any more.
fn close(scope: &TenantScope, tables: &mut dyn Tables, row: &TokenRow) -> Result<(), Halt> {
    scope.delete::<IssuedRow>(tables, &(row.number,))?;
    usage::count_open(scope, tables, &row.issuer, |open| {
        open.tokens = open.tokens.checked_sub(1)?;
        Some(())
    })
}
