//! How the cluster is: nodes, shards, blobs and the clock, as one node of it sees them.
//!
//! A tenant sees its own shards and its own blobs, an operator all of them. It is the word of the node that answers:
//! good for people and alarms, decided upon by nobody. Not here: what a snapshot survives (`snapshots.rs`).

use std::time::Duration;

use strongroom_format::id::GroupId;
use strongroom_proto::v1 as pb;

use crate::client::Client;
use crate::connect::Effect;
use crate::error::{Error, Result};
use crate::operator::Operator;

/// How the cluster is.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The cluster's name.
    pub cluster: String,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
    /// The shards that the caller may see.
    pub shards: Vec<ShardStatus>,
    /// Their blobs, as far as they are the caller's.
    pub blobs: BlobCounts,
    /// The clock; nothing if no shard that has one answered the node, or there is none yet.
    pub clock: Option<Clock>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Whether it answers the node that was asked.
    pub up: bool,
    /// Of its program; empty if it does not answer.
    pub version: String,
}

/// One shard.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardStatus {
    /// Its group.
    pub id: GroupId,
    /// Its erasure code, for instance `4+2`.
    pub code: String,
    /// The node that leads it, if one is known to.
    pub leader: Option<String>,
    /// The nodes of its members, by slot.
    pub members: Vec<String>,
    /// The log index up to which its rules were applied.
    pub applied: u64,
    /// Members whose state differs from the majority's: they serve fragments and are being rebuilt.
    pub fenced: Vec<String>,
    /// The member that is being replaced.
    pub changing: Option<String>,
    /// Its clock, if it answered.
    pub clock: Option<Clock>,
}

/// Blobs by how many of their fragments are where they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobCounts {
    /// All.
    pub total: u64,
    /// With all fragments where they should be.
    pub full: u64,
    /// With some fragments missing, or in another slot than their own, to be repaired.
    pub thin: u64,
    /// With fewer than are needed.
    pub lost: u64,
}

/// A shard's compliance clock: locks end on it. Nothing sets it; it moves where a majority of the shard's voters vouches for
/// it, and is never ahead of true time.
#[derive(Clone, Debug, PartialEq)]
pub struct Clock {
    /// What the voters have counted since the shard began; sessions and grants end on that.
    pub elapsed: Duration,
    /// What it shows, in milliseconds since 1970.
    pub unix_ms: u64,
    /// How far it is behind the wall clock of the node that answered, in seconds.
    pub wall_lag_s: f64,
    /// Whether it runs.
    pub state: ClockState,
    /// How late it may be where all is well.
    pub bound: Duration,
    /// Why it is held, or later than that; empty if it is not.
    pub why: String,
}

/// Whether a clock runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// It counts.
    Running,
    /// It stands: what waits for time waits longer.
    Held,
}

/// What a tenant sees.
///
/// # Errors
/// `Unavailable` if nobody answers in time; `Refused` if the identity may not ask.
pub async fn of_tenant(client: &Client) -> Result<Status> {
    let home = client.topology().home;
    read(client.read(home, |mut client| async move { client.status(pb::StatusRequest {}).await }).await?)
}

/// What an operator sees.
///
/// # Errors
/// `Unavailable` if nobody answers in time; `Refused` if the operator may not ask.
pub async fn of_cluster(operator: &Operator) -> Result<Status> {
    let ask = |mut client: strongroom_proto::v1::operators_client::OperatorsClient<_>| async move {
        client.status(pb::StatusRequest {}).await
    };
    read(operator.call(Effect::None, ask).await?)
}

fn read(reply: pb::StatusReply) -> Result<Status> {
    let blobs = reply.blobs.ok_or_else(|| malformed("blob counts"))?;
    let clock = reply.clock.map(read_clock).transpose()?;
    let node =
        |node: pb::NodeStatus| NodeStatus { name: node.name, region: node.region, up: node.up, version: node.version };
    let shard = |shard: pb::ShardStatus| -> Result<ShardStatus> {
        Ok(ShardStatus {
            id: GroupId(shard.id),
            code: shard.code,
            leader: Some(shard.leader).filter(|name| !name.is_empty()),
            members: shard.members,
            applied: shard.applied,
            fenced: shard.fenced,
            changing: Some(shard.changing).filter(|name| !name.is_empty()),
            clock: shard.clock.map(read_clock).transpose()?,
        })
    };
    Ok(Status {
        cluster: reply.cluster,
        nodes: reply.nodes.into_iter().map(node).collect(),
        shards: reply.shards.into_iter().map(shard).collect::<Result<_>>()?,
        blobs: BlobCounts { total: blobs.total, full: blobs.full, thin: blobs.thin, lost: blobs.lost },
        clock,
    })
}

fn read_clock(clock: pb::ClockStatus) -> Result<Clock> {
    let state = match clock.state.as_str() {
        "running" => ClockState::Running,
        "held" => ClockState::Held,
        _ => return Err(malformed("state of the clock")),
    };
    Ok(Clock {
        elapsed: Duration::from_millis(clock.elapsed_ms),
        unix_ms: clock.clock_ms,
        // What is no number would be no JSON either.
        wall_lag_s: if clock.wall_lag_s.is_finite() { clock.wall_lag_s } else { 0.0 },
        state,
        bound: Duration::from_millis(clock.bound_ms),
        why: clock.why,
    })
}

fn malformed(what: &str) -> Error {
    Error::broken(format_args!("the node's answer has no usable {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(clock: Option<pb::ClockStatus>) -> pb::StatusReply {
        pb::StatusReply { cluster: "c".into(), blobs: Some(pb::BlobStatus::default()), clock, ..Default::default() }
    }

    #[test]
    fn a_cluster_without_a_shard_that_answers_has_no_clock_and_is_shown_all_the_same() {
        assert_eq!(read(reply(None)).unwrap().clock, None);
        let running = pb::ClockStatus { state: "running".into(), wall_lag_s: f64::NAN, ..Default::default() };
        let clock = read(reply(Some(running))).unwrap().clock.unwrap();
        assert_eq!((clock.state, clock.wall_lag_s), (ClockState::Running, 0.0));
        assert!(read(reply(Some(pb::ClockStatus { state: "?".into(), ..Default::default() }))).is_err());
    }
}
