//! Fetching runs from all members of all shards at once.
//!
//! ```text
//!   runs of a shard ─▶ waiting ─▶ all members at once: fragments in their own slots ═▶ put together ─┐
//!                        │  ▲                                                                        ├▶ open, verify ─▶ sink
//!                        │  ├──── what did not come together ◀───────────────────────────────────────┤
//!                        │  ├─▶ member 1: gathers ═▶ blobs ──────────────────────────────────────────┤
//!                        │  ├─▶ member 2: gathers ═▶ …                                               │
//!                        │  └──── what failed, for others ◀──────────────────────────────────────────┘
//!                        └──── nothing waits: take half of what the slowest still has; it is stopped when all it has
//!                              left was taken
//! ```
//!
//! Promises: every wanted chunk is given to the sink once, verified, or reported lost after every member that answers
//! has failed to give it, twice; what lies with members that are away is waited for, and is never called lost; one bad
//! member costs its own runs a second try and nothing else (N41, N98, N146); memory is bounded by the streams' windows,
//! what is under way and the chunks being opened. Not here: what chunks are for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use strongroom_format::command::BlobRef;
use strongroom_format::id::GroupId;
use strongroom_format::seal::Kind;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::direct::{AT_ONCE, Direct};
use self::gathered::Worker;
use self::opening::{Opening, Sink, Stats};
use self::work::{Group, Pace, WantedRun};
use super::gate::Gate;
use crate::error::{Error, Result};

mod direct;
mod gathered;
pub(crate) mod opening;
pub(crate) mod work;

/// A member sends so many streams at once, of all shards in turn: they share one window, and each has a blob on its way to it.
const STREAMS_PER_MEMBER: usize = 1;

/// What a fetch found out besides chunks.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub stats: Stats,
    /// Blobs that do not open to their chunk, by nobody's fault but their maker's.
    pub bad_blobs: BTreeSet<BlobRef>,
}

/// Fetches everything, from all members at once.
pub(crate) async fn fetch(gate: &Arc<Gate>, kind: Kind, wanted: Vec<WantedRun>, sink: Arc<dyn Sink>) -> Result<Found> {
    let mut by_group: BTreeMap<GroupId, Vec<WantedRun>> = BTreeMap::new();
    for run in wanted {
        if !run.positions.is_empty() {
            by_group.entry(run.group).or_default().push(run);
        }
    }
    let topology = gate.client.topology();
    let opening = Opening::new(gate, kind, sink);
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    let mut streams: BTreeMap<String, Arc<Semaphore>> = BTreeMap::new();
    for (group, runs) in by_group {
        let shard = topology.shard(group)?;
        // Members are listed by slot; a list that is not whole says nothing of slots.
        let is_whole = shard.members.len() == usize::from(shard.code.slots());
        let pace = match (gate.throttle.is_bounded(), is_whole) {
            (true, _) => Pace::Throttled,
            (false, true) => Pace::Free,
            (false, false) => Pace::Gathered,
        };
        let work = Arc::new(Group::new(group, shard.members.len(), runs, pace));
        let direct = Direct {
            opening: opening.clone(),
            work: Arc::clone(&work),
            code: shard.code,
            endpoints: Arc::new(shard.members.iter().map(|member| member.endpoint.clone()).collect()),
            turns: Arc::clone(&turns),
        };
        tasks.spawn(direct.run());
        for (number, member) in shard.members.iter().enumerate() {
            let streams =
                streams.entry(member.endpoint.clone()).or_insert_with(|| Arc::new(Semaphore::new(STREAMS_PER_MEMBER)));
            let worker = Worker {
                opening: opening.clone(),
                work: Arc::clone(&work),
                number,
                endpoint: member.endpoint.clone(),
                streams: Arc::clone(streams),
            };
            tasks.spawn(worker.run());
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|panic| Error::failed("fetching broke", panic))??;
    }
    Ok(Found { stats: opening.stats(), bad_blobs: opening.bad_blobs() })
}
