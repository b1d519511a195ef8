//! Tokens of nodes: a platform operator says which node somebody will be, and whoever has the token becomes that node,
//! once, under a key of its own. Without one nobody joins, whatever certificate it has (N96).
//!
//!     IssueNodeToken ──▶ open ──Redeem: both signatures, in time──▶ used, node row
//!                         └──its end on E, or the wall clock's──▶ gone
//!
//! A used token keeps its row: the same redemption again is answered as before, another is refused, for ever (N105). Law:
//! `laws/tokens_are_used_once.rs`. Not here: what a joining node is (`cluster/nodes.rs`), tenants' tokens
//! (`shard/tokens.rs`).

use strongroom_format::enrolment::{Redemption, SignedRedemption};
use strongroom_format::id::{ClusterEpoch, Digest, GroupId, IdentityId, NodeName, RegionName};
use strongroom_format::outcome::{Done, Outcome, Redeemed, Refusal};
use strongroom_format::role::OperatorRole;

use crate::attempt::attempt;
use crate::clock;
use crate::cluster::at::At;
use crate::cluster::nodes;
use crate::cluster::rows::{NodeRow, NodeTokenEndRow, NodeTokenRow, NodeTokenState, OperatorRow};
use crate::query::{Answer, TokenView};
use crate::redemptions::{self, LIFETIME_MS_MAX};
use crate::row::Space;
use crate::stop::{Ruled, impossible, invalid, limit};
use crate::tables::{Halt, Reads, Tables};

/// At most so many tokens of nodes are open.
const TOKENS_MAX: usize = 256;

/// What an operator says of a token.
pub(crate) struct Wish<'a> {
    pub(crate) token: Digest,
    pub(crate) node: &'a NodeName,
    pub(crate) region: &'a RegionName,
    pub(crate) lifetime_ms: u64,
    pub(crate) wall_end_unix_ms: u64,
}

/// Issues a token.
pub(crate) fn issue(at: &At, tables: &mut dyn Tables, operator: &IdentityId, wish: &Wish<'_>) -> Ruled<Done> {
    if !(1..=LIFETIME_MS_MAX).contains(&wish.lifetime_ms) {
        return Err(invalid("a token counts for 1 ms to 1 h"));
    }
    let space = Space::whole();
    if space.has::<NodeRow>(&*tables, &(wish.node.clone(),))? {
        return Err(Refusal::NameRetired.into());
    }
    if space.has::<NodeTokenRow>(&*tables, &(wish.token,))? {
        return Err(Refusal::Immutable.into());
    }
    if TOKENS_MAX <= space.range::<NodeTokenEndRow>(&*tables, &(), TOKENS_MAX)?.len() {
        return Err(limit("open tokens of nodes"));
    }
    let ends_ms = at.now_ms.saturating_add(wish.lifetime_ms);
    let row = NodeTokenRow {
        node: wish.node.clone(),
        region: wish.region.clone(),
        issuer: operator.clone(),
        ends_ms,
        // Never later than the issuing leader's own wall clock makes it, whatever was asked for.
        wall_end_unix_ms: wish.wall_end_unix_ms.min(at.wall_unix_ms.saturating_add(wish.lifetime_ms)),
        state: NodeTokenState::Open,
    };
    space.put(tables, &(wish.token,), &row)?;
    space.put(tables, &(ends_ms, wish.token), &NodeTokenEndRow {})?;
    Ok(Done::Done)
}

/// Redeems a token: its bearer's node is there from now on.
pub(crate) fn redeem(
    at: &At,
    tables: &mut dyn Tables,
    epoch: ClusterEpoch,
    signed: &SignedRedemption,
) -> Result<Outcome, Halt> {
    let redemption = match redemptions::open(signed, epoch, GroupId::CLUSTER) {
        Ok(redemption) => redemption,
        Err(refusal) => return Ok(Outcome::Refused(refusal)),
    };
    attempt(tables, |draft| take(at, draft, &redemption, signed.digest()))
}

fn take(at: &At, tables: &mut dyn Tables, redemption: &Redemption, digest: Digest) -> Ruled<Done> {
    let space = Space::whole();
    let token = redemption.token_digest();
    let row: Option<NodeTokenRow> = space.get(&*tables, &(token,))?;
    let row = row.ok_or(Refusal::Token)?;
    match row.state {
        NodeTokenState::Open => {}
        NodeTokenState::Used { redemption: first, replica } if first == digest => {
            return Ok(Done::Redeemed(Redeemed::Node { node: row.node, region: row.region, replica }));
        }
        NodeTokenState::Used { .. } => return Err(Refusal::TokenUsed.into()),
    }
    if at.disputed {
        return Err(Refusal::DigestsDisagree.into());
    }
    if row.ends_ms <= at.now_ms || row.wall_end_unix_ms <= at.wall_unix_ms {
        return Err(Refusal::Token.into());
    }
    // What a former operator left behind ends with its role.
    let issuer: Option<OperatorRow> = space.get(&*tables, &(row.issuer.clone(),))?;
    if !issuer.is_some_and(|issuer| issuer.roles.contains(&OperatorRole::PlatformOperator)) {
        return Err(Refusal::Token.into());
    }
    let addresses = redemption.node.as_ref().ok_or(Refusal::Token)?;
    let joining =
        nodes::Joining { name: &row.node, region: &row.region, addresses, signing_key: redemption.signing_key };
    let replica = nodes::join(tables, at.index, &joining)?;
    let used = NodeTokenRow { state: NodeTokenState::Used { redemption: digest, replica }, ..row.clone() };
    space.put(tables, &(token,), &used)?;
    space.delete::<NodeTokenEndRow>(tables, &(row.ends_ms, token))?;
    Ok(Done::Redeemed(Redeemed::Node { node: row.node, region: row.region, replica }))
}

/// Ends the tokens that nobody used in time.
pub(crate) fn end_what_is_due(tables: &mut dyn Tables, now_ms: u64) -> Result<(), Halt> {
    let space = Space::whole();
    for ((ends_ms, token), _) in space.range::<NodeTokenEndRow>(&*tables, &(), TOKENS_MAX)? {
        if now_ms < ends_ms {
            break;
        }
        if !space.has::<NodeTokenRow>(&*tables, &(token,))? {
            return Err(impossible("a token that ends is not there"));
        }
        space.delete::<NodeTokenRow>(tables, &(token,))?;
        space.delete::<NodeTokenEndRow>(tables, &(ends_ms, token))?;
    }
    Ok(())
}

/// What a door must know of a token before it proposes a redemption: one that does not count is noise.
pub(crate) fn view(reads: &dyn Reads, token: Digest) -> Result<Option<Answer>, Halt> {
    let row: Option<NodeTokenRow> = Space::whole().get(reads, &(token,))?;
    let now_ms = clock::now(reads)?.elapsed_ms;
    Ok(row.map(|NodeTokenRow { ends_ms, wall_end_unix_ms, state, .. }| {
        let used = match state {
            NodeTokenState::Open => None,
            NodeTokenState::Used { redemption, .. } => Some(redemption),
        };
        Answer::Token(TokenView { ends_ms, now_ms, wall_end_unix_ms, used })
    }))
}

/// When the next token ends.
pub(crate) fn next_ms(reads: &dyn Reads) -> Result<Option<u64>, Halt> {
    let first = Space::whole().range::<NodeTokenEndRow>(reads, &(), 1)?;
    Ok(first.first().map(|((ends_ms, _), _)| *ends_ms))
}
