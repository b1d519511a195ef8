//! Answers of the cluster group.

use strongroom_format::id::GroupId;

use crate::clock;
use crate::cluster::rows::{FactsRow, IssuerRow, NodeRow, OperatorRow, ShardRow, TenantRow};
use crate::cluster::tokens;
use crate::cluster::votes;
use crate::digest;
use crate::key::Key;
use crate::query::{Answer, ClusterMap, GroupView, Query};
use crate::row::{Row, Space};
use crate::rules;
use crate::shard::rows::Usage;
use crate::tables::{Halt, Reads};

/// Answers one question.
pub(crate) fn answer(reads: &dyn Reads, query: &Query) -> Result<Answer, Halt> {
    match query {
        Query::Group => group(reads).map(Answer::Group),
        Query::ClusterMap => Ok(map(reads)?.map_or(Answer::NotFound, |map| Answer::ClusterMap(Box::new(map)))),
        Query::Token { tenant: None, token } => Ok(tokens::view(reads, *token)?.unwrap_or(Answer::NotFound)),
        Query::Token { .. } => Ok(Answer::NotFound),
        Query::Electorate { of } => {
            let known = map(reads)?.and_then(|map| map.electorate(*of));
            Ok(known.map_or(Answer::NotFound, Answer::Electorate))
        }
        _ => Ok(Answer::Invalid { why: "the cluster group does not know what a shard knows".into() }),
    }
}

fn group(reads: &dyn Reads) -> Result<GroupView, Halt> {
    let facts: Option<FactsRow> = Space::whole().get(reads, &())?;
    let voters = match facts {
        Some(facts) => votes::electorate(reads, &facts)?.views(reads)?,
        None => Vec::new(),
    };
    let clock = clock::now(reads)?;
    Ok(GroupView {
        group: GroupId::CLUSTER,
        rules: rules::in_force(reads)?,
        disputed: clock.is_disputed(),
        next_end_ms: tokens::next_ms(reads)?,
        next_clock_end_ms: None,
        waits: clock::waits(&clock),
        clock,
        digest: digest::recorded(reads)?,
        applied: rules::last_applied(reads)?,
        usage: Usage::default(),
        voters,
    })
}

/// All of the cluster; `None` before it is founded.
fn map(reads: &dyn Reads) -> Result<Option<ClusterMap>, Halt> {
    let Some(facts) = Space::whole().get::<FactsRow>(reads, &())? else {
        return Ok(None);
    };
    Ok(Some(ClusterMap {
        cluster: facts.cluster,
        epoch: facts.epoch,
        regions: facts.regions,
        nodes: values(all::<NodeRow>(reads)?),
        shards: values(all::<ShardRow>(reads)?),
        tenants: values(all::<TenantRow>(reads)?),
        operators: all::<OperatorRow>(reads)?.into_iter().map(|((identity,), row)| (identity, row)).collect(),
        issuers: values(all::<IssuerRow>(reads)?),
        changing: facts.changing,
        electorate_version: facts.electorate_version,
    }))
}

fn values<K, R>(rows: Vec<(K, R)>) -> Vec<R> {
    rows.into_iter().map(|(_, row)| row).collect()
}

/// All rows of a table: they are few, every node holds the whole map.
fn all<R: Row>(reads: &dyn Reads) -> Result<Vec<(R::Key, R)>, Halt>
where
    R::Key: Key,
{
    Space::whole().range(reads, &(), 1 << 20)
}
