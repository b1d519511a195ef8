//! A token is open or used, never both, and once used it is used for ever, by the same redemption; whom it makes is there.
//! What it says of its bearer never changes.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_format::id::GroupId;

use crate::cluster::rows::{NodeRow, NodeTokenEndRow, NodeTokenRow, NodeTokenState};
use crate::laws::state::{State, holds};
use crate::shard::rows::{IdentityRow, IssuedRow, TokenRow, TokenState};

/// Of one state of a shard.
pub(crate) fn of_shards(state: &State) -> Result<(), String> {
    let mut issued: BTreeMap<_, _> =
        state.each::<IssuedRow>()?.into_iter().map(|(tenant, (number,), row)| ((tenant, number), row.token)).collect();
    let identities: BTreeMap<_, IdentityRow> =
        state.each::<IdentityRow>()?.into_iter().map(|(tenant, (id,), row)| ((tenant, id), row)).collect();
    for (tenant, (token,), row) in state.each::<TokenRow>()? {
        let open = issued.remove(&(tenant, row.number));
        holds(identities.contains_key(&(tenant, row.issuer.clone())), || format!("nobody issued {token}"))?;
        match &row.state {
            TokenState::Open => holds(open == Some(token), || format!("{token} is not listed as open"))?,
            TokenState::Used { .. } => {
                holds(open.is_none(), || format!("{token} was used and is listed as open"))?;
                let made = identities.get(&(tenant, row.identity.clone()));
                let as_said = made.is_some_and(|made| {
                    (&made.roles, &made.locks, made.enrolled_by.as_ref()) == (&row.roles, &row.locks, Some(&row.issuer))
                });
                holds(as_said, || format!("{token} made {made:?}, it said {row:?}"))?;
            }
        }
    }
    holds(issued.is_empty(), || "a token is listed as open that is not there".into())
}

/// Of one state of the cluster group.
pub(crate) fn of_the_cluster(state: &State) -> Result<(), String> {
    let mut open: BTreeSet<_> = state.shared::<NodeTokenEndRow>()?.into_iter().map(|(key, _)| key).collect();
    let nodes: BTreeMap<_, NodeRow> =
        state.shared::<NodeRow>()?.into_iter().map(|((name,), row)| (name, row)).collect();
    for ((token,), row) in state.shared::<NodeTokenRow>()? {
        let is_open = open.remove(&(row.ends_ms, token));
        holds(is_open == (row.state == NodeTokenState::Open), || format!("{token} is listed wrongly: {row:?}"))?;
        let there = nodes.get(&row.node).is_some_and(|node| node.region == row.region);
        holds(is_open || there, || format!("{token} made no node"))?;
    }
    holds(open.is_empty(), || "a token is listed as open that is not there".into())
}

/// Of what may change.
pub(crate) fn check_step(before: &State, after: &State) -> Result<(), String> {
    if before.group() == GroupId::CLUSTER {
        let later: BTreeMap<_, NodeTokenRow> = after.shared::<NodeTokenRow>()?.into_iter().collect();
        for (key, was) in before.shared::<NodeTokenRow>()? {
            let is = later.get(&key);
            let may_be = match was.state {
                NodeTokenState::Open => {
                    is.is_none_or(|is| NodeTokenRow { state: NodeTokenState::Open, ..is.clone() } == was)
                }
                NodeTokenState::Used { .. } => is == Some(&was),
            };
            holds(may_be, || format!("{was:?} became {is:?}"))?;
        }
        return Ok(());
    }
    let later: BTreeMap<_, TokenRow> =
        after.each::<TokenRow>()?.into_iter().map(|(tenant, key, row)| ((tenant, key), row)).collect();
    for (tenant, key, was) in before.each::<TokenRow>()? {
        let is = later.get(&(tenant, key));
        let may_be = match was.state {
            TokenState::Open => is.is_none_or(|is| TokenRow { state: TokenState::Open, ..is.clone() } == was),
            TokenState::Used { .. } => is == Some(&was),
        };
        holds(may_be, || format!("{was:?} became {is:?}"))?;
    }
    Ok(())
}
