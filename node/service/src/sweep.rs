//! Worker *sweep*: copies that the rules released leave this node's disk.
//!
//! ```text
//!   every shard: digest shared by a majority? ─▶ recomputed from rows? ─▶ it may be asked
//!   every copy on this disk, some at a time ─▶ its group's rows: a release? ─▶ tombstone, hole
//!   every tenant ─▶ segments without copies are unlinked
//! ```
//!
//! Look: the copies in the store's own order. Decide: `Release::of`, by the rows of this node's own replica; a release
//! that holds once holds for ever, so it does not matter how far the replica has applied. What does matter is that its
//! rows are right: so at the beginning of each pass the digest is recomputed from them, and only a replica is asked whose
//! digest at a tick was that of a majority of the voters, as their reports in the next tick showed. A learner reports
//! nothing and compares all the same. Act: the store takes releases and nothing else.
//! Not here: what may go (`strongroom_core::shard::release`), how it goes (`node/chunks`). No request comes here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use strongroom_chunks::store::{ChunkStore, Cursor, Listed};
use strongroom_consensus::groups::Consensus;
use strongroom_core::query::{Answer, GroupView, Query};
use strongroom_core::shard::release::Release;
use strongroom_format::fragment::CopyName;
use strongroom_format::id::{Digest, GroupId, NodeName, ReplicaId, TenantId};

use crate::gate::Gate;
use crate::metrics::{self, Worker};
use crate::reads::Reads;
use crate::topology::InForce;

/// So many copies are looked at at once.
const COPIES_MAX: usize = 512;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// How often it is looked whether a replica's digest is a majority's.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// See the head of the file.
pub struct Sweeper {
    /// This node.
    pub me: NodeName,
    /// Its disk.
    pub store: ChunkStore,
    /// Its groups.
    pub consensus: Consensus,
    /// Its way to questions.
    pub reads: Reads,
    /// Which replicas take part.
    pub gate: Gate,
    /// What the cluster group says.
    pub topology: InForce,
    /// From the end of a pass to the beginning of the next.
    pub every: Duration,
}

impl Sweeper {
    /// Runs for ever.
    pub async fn run(self) {
        loop {
            let trusted = self.trusted().await;
            let well = self.pass(&trusted).await;
            metrics::worked(Worker::Sweep, well);
        }
    }

    /// Waits for the next pass, and meanwhile finds out whose rows may be believed in it.
    async fn trusted(&self) -> BTreeMap<GroupId, ReplicaId> {
        let ends = tokio::time::Instant::now() + self.every;
        let mut seen: BTreeMap<GroupId, Seen> = BTreeMap::new();
        let mut shared: BTreeMap<GroupId, ReplicaId> = BTreeMap::new();
        loop {
            for group in self.consensus.groups().into_iter().filter(|group| *group != GroupId::CLUSTER) {
                let Some(replica) = self.admitted(group) else { continue };
                // its rows say the same until something is applied
                let Some(applied) = self.consensus.applied(group).map(|applied| *applied.borrow()) else { continue };
                if seen.get(&group).is_some_and(|seen| (seen.replica, seen.applied) == (replica, applied)) {
                    continue;
                }
                let Ok(Answer::Group(view)) = self.reads.local(group, &Query::Group).await else { continue };
                if seen.get(&group).is_some_and(|seen| seen.is_shared(replica, &view)) {
                    shared.insert(group, replica);
                }
                let now = Seen { replica, applied, ticks: view.clock.ticks, digest: view.clock.digest };
                seen.insert(group, now);
            }
            if ends <= tokio::time::Instant::now() && !shared.is_empty() {
                return shared;
            }
            tokio::time::sleep(LOOK_EVERY.min(self.every.max(Duration::from_millis(50)))).await;
        }
    }

    /// The replica of a group that is here and neither lost nor still asking.
    fn admitted(&self, group: GroupId) -> Option<ReplicaId> {
        let replica = self.consensus.replica(group)?;
        self.gate.is_admitted(group, replica).then_some(replica)
    }

    /// Looks at every copy once. Whether nothing was in the way.
    async fn pass(&self, shared: &BTreeMap<GroupId, ReplicaId>) -> bool {
        let mut trusted = BTreeSet::new();
        for group in shared.keys() {
            // What does not add up ends the group: its state is made again, and nothing goes on its word.
            match self.consensus.scrub(*group).await {
                Ok(_) => drop(trusted.insert(*group)),
                Err(fault) => tracing::warn!(%group, %fault, "a replica whose rows do not add up is not asked"),
            }
        }
        let mut from: Option<Cursor> = None;
        let mut well = true;
        loop {
            let (copies, next) = match self.store.list(from, COPIES_MAX).await {
                Ok(listed) => listed,
                Err(error) => {
                    tracing::warn!(%error, "the copies on this disk cannot be listed");
                    return false;
                }
            };
            well &= self.look_at(&copies, shared, &trusted).await;
            match next {
                Some(next) => from = Some(next),
                None => break,
            }
            tokio::time::sleep(PAUSE).await;
        }
        for tenant in self.topology.now().tenants.keys() {
            if let Err(error) = self.store.unlink_empty(*tenant).await {
                tracing::warn!(%error, "segments were not unlinked");
                well = false;
            }
        }
        well
    }

    async fn look_at(
        &self,
        copies: &[Listed],
        shared: &BTreeMap<GroupId, ReplicaId>,
        trusted: &BTreeSet<GroupId>,
    ) -> bool {
        let mut by_group: BTreeMap<GroupId, Vec<(TenantId, CopyName)>> = BTreeMap::new();
        for listed in copies.iter().filter(|listed| trusted.contains(&listed.copy.group)) {
            by_group.entry(listed.copy.group).or_default().push((listed.tenant, listed.copy));
        }
        let mut well = true;
        for (group, copies) in by_group {
            // Fenced, lost or replaced since: it is not asked any more.
            if self.admitted(group) != shared.get(&group).copied() {
                continue;
            }
            let me = self.me.clone();
            let releases = self
                .consensus
                .look(group, move |rows| {
                    let released = copies.into_iter().map(|(tenant, copy)| Release::of(rows, &me, tenant, copy));
                    released.filter_map(Result::transpose).collect::<Result<Vec<Release>, _>>()
                })
                .await;
            let freed = match releases {
                Ok(releases) if releases.is_empty() => continue,
                Ok(releases) => self.store.free(releases).await.map_err(|error| error.to_string()),
                Err(fault) => Err(fault.to_string()),
            };
            if let Err(error) = freed {
                tracing::warn!(%group, error, "released copies were not freed");
                well = false;
            }
        }
        well
    }
}

/// A replica's digest at a tick.
#[derive(Clone, Copy, Debug)]
struct Seen {
    replica: ReplicaId,
    applied: u64,
    ticks: u64,
    digest: Digest,
}

impl Seen {
    /// Whether the view after the next tick shows that a majority of the voters had this digest too.
    fn is_shared(&self, replica: ReplicaId, later: &GroupView) -> bool {
        let same = |digest: Digest| digest == self.digest;
        let votes = later.voters.iter().filter(|voter| voter.last.is_some_and(|last| same(last.digest))).count();
        let is_fenced = later.voters.iter().any(|voter| voter.replica == replica && voter.fenced);
        self.replica == replica
            && self.ticks + 1 == later.clock.ticks
            && later.voters.len() / 2 < votes
            && !is_fenced
            && !later.disputed
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::baselines::Baseline;
    use strongroom_core::clock::ClockRow;
    use strongroom_core::shard::rows::Usage;
    use strongroom_core::voters::{VoterRow, VoterView};
    use strongroom_format::id::PublicKey;

    use super::*;

    const ME: ReplicaId = ReplicaId(1);

    fn digest(number: u8) -> Digest {
        Digest::from_bytes([number; 32])
    }

    /// A view after tick `ticks`, for which voters 1, 2, … said these digests; zero: nothing.
    fn view(ticks: u64, said: &[u8]) -> GroupView {
        let zeros = digest(0);
        let clock = ClockRow { ticks, ..ClockRow::founded(0) };
        let last = |said: u8| VoterRow {
            incarnation: [0; 16],
            running_ms: 0,
            wall_unix_ms: 0,
            durable_index: 0,
            vote_term: 0,
            digest: digest(said),
            tick: ticks,
            baseline: Baseline { running_ms: 0, elapsed_ms: 0 },
        };
        let voter = |(number, said): (u64, &u8)| VoterView {
            replica: ReplicaId(number),
            node: format!("n{number}").parse().unwrap(),
            signing_key: PublicKey::from_bytes([0; 32]),
            last: (*said != 0).then(|| last(*said)),
            fenced: false,
        };
        GroupView {
            group: GroupId(1),
            rules: None,
            clock,
            next_end_ms: None,
            next_clock_end_ms: None,
            waits: false,
            digest: zeros,
            applied: 0,
            usage: Usage::default(),
            voters: (1..).zip(said).map(voter).collect(),
            disputed: false,
        }
    }

    #[test]
    fn a_replica_is_asked_only_if_the_next_tick_shows_that_a_majority_had_its_digest() {
        let seen = Seen { replica: ME, applied: 70, ticks: 7, digest: digest(5) };
        assert!(seen.is_shared(ME, &view(8, &[5, 5, 6])));
        assert!(seen.is_shared(ME, &view(8, &[6, 5, 5])), "a learner, or one whose report came late");
        assert!(!seen.is_shared(ME, &view(8, &[5, 6, 6])), "alone");
        assert!(!seen.is_shared(ME, &view(8, &[5, 5, 6, 0])), "two of four are no majority");
        assert!(!seen.is_shared(ME, &view(7, &[5, 5, 5])), "no tick has come");
        assert!(!seen.is_shared(ME, &view(9, &[5, 5, 5])), "another tick's reports");
        assert!(!seen.is_shared(ReplicaId(2), &view(8, &[5, 5, 5])), "another replica by now");
        let mut fenced = view(8, &[5, 5, 5]);
        fenced.voters[0].fenced = true;
        assert!(!seen.is_shared(ME, &fenced));
        let disputed = GroupView { disputed: true, ..view(8, &[5, 5, 5]) };
        assert!(!seen.is_shared(ME, &disputed));
    }
}
