//! What a group needs now and then: checkpoints, snapshots, purged logs, its learners, and somebody who notices that it
//! has died.
//!
//! A slow group's few entries are written again where they would keep old files of the log from going; a group with more
//! of them takes a snapshot and lets them go.
//!
//! look (`Look`) → decide (`Look::steps`, pure) → act (`carry_out`), twice a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::{ChangeMembers, RaftMetrics};
use strongroom_format::id::ReplicaId;

use crate::arriving;
use crate::depth::LogDepth;
use crate::fatal::Fatal;
use crate::group::Member;
use crate::health::Death;
use crate::log::SharedLog;
use crate::running::Group;
use crate::types::{MemberNode, TypeConfig};

/// How often a group is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// A checkpoint is due after so many entries …
const CHECKPOINT_ENTRIES: u64 = 10_000;

/// … or so many looks (10 s) if there is anything to checkpoint.
const CHECKPOINT_LOOKS: u64 = 10;

/// A log that is held back for a snapshot that travels grows to so many times the bytes after which one is due.
const HELD_SNAPSHOTS: u64 = 4;

/// The log may have so many files; beyond it groups that need the oldest let go of it.
const LOG_FILES_MAX: usize = 32;

/// A group that needs the oldest files and whose entries take no more than this writes them again. That of two hundred
/// groups is well below what the log may hold, so writing them again does not fill it anew.
const REWRITTEN_BYTES_MAX: u64 = 4 << 20;

/// A founder that is not the first founds the group after so many looks, if nobody did.
const FOUND_LOOKS: u64 = 2;

/// Learners are added so fast or at another look: without a majority it would take for ever.
const ADD_WITHIN: Duration = Duration::from_secs(5);

/// What is known when a group is looked at.
#[derive(Clone, Debug, Default)]
struct Look {
    /// How many times it was looked at.
    looks: u64,
    depth: LogDepth,
    applied: Option<u64>,
    checkpointed: Option<u64>,
    snapshot: Option<u64>,
    purged: Option<u64>,
    log_bytes: u64,
    /// The last of this group's entries in files that should go.
    pinned: Option<u64>,
    /// Whether a snapshot is on its way to somebody who will need the entries behind it.
    travels: bool,
    leads: bool,
    is_founded: bool,
    /// Whether this replica is one that founds.
    may_found: bool,
    /// Learners that the membership does not have.
    missing: BTreeMap<u64, MemberNode>,
}

/// What may be done for a group.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Checkpoint,
    Snapshot,
    Purge(u64),
    Rewrite,
    Found,
    AddLearners(BTreeMap<u64, MemberNode>),
}

impl Look {
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let count = |last: Option<u64>| last.map_or(0, |last| last + 1);
        let behind = |mark: Option<u64>| count(self.applied).saturating_sub(count(mark));
        if CHECKPOINT_ENTRIES <= behind(self.checkpointed)
            || (self.looks.is_multiple_of(CHECKPOINT_LOOKS) && self.checkpointed < self.applied)
        {
            steps.push(Step::Checkpoint);
        }
        let rewrites = self.pinned.is_some() && self.log_bytes <= REWRITTEN_BYTES_MAX;
        if rewrites {
            steps.push(Step::Rewrite);
        }
        let pinned = self.pinned.filter(|_| !rewrites);
        let unpinned = pinned.filter(|&pinned| Some(pinned) <= self.snapshot);
        let must_let_go = pinned.is_some() && unpinned.is_none() && pinned <= self.applied;
        let is_large =
            self.depth.snapshot_bytes() <= self.log_bytes && self.depth.tail_entries() < behind(self.snapshot);
        // openraft cuts the log behind each new snapshot: whoever gets the last one would need the new one at once
        let is_held = self.travels && self.log_bytes < HELD_SNAPSHOTS * self.depth.snapshot_bytes();
        if !is_held && (self.depth.snapshot_entries() <= behind(self.snapshot) || is_large || must_let_go) {
            steps.push(Step::Snapshot);
        }
        if let Some(pinned) = unpinned
            && !is_held
            && self.purged < Some(pinned)
        {
            steps.push(Step::Purge(pinned));
        }
        if !self.is_founded && self.may_found && FOUND_LOOKS <= self.looks {
            steps.push(Step::Found);
        }
        if self.leads && !self.missing.is_empty() {
            steps.push(Step::AddLearners(self.missing.clone()));
        }
        steps
    }
}

/// Keeps a group until the task is ended.
pub(crate) async fn keep(group: Arc<Group>, log: SharedLog, fatal: Fatal) {
    let mut looks = 0_u64;
    let mut purged = group.metrics().purged;
    loop {
        tokio::time::sleep(EVERY).await;
        looks += 1;
        let metrics = group.metrics();
        if let Some(why) = group.ended() {
            group.health.report(Death::Task(why));
            return;
        }
        if looks.is_multiple_of(CHECKPOINT_LOOKS) {
            arriving::forget_idle(&group);
        }
        let steps = look(&group, &metrics, &log, looks).await.steps();
        let rewrites = steps.contains(&Step::Rewrite);
        for step in steps {
            carry_out(&group, step).await;
        }
        if rewrites || metrics.purged != purged {
            purged = metrics.purged;
            if let Err(error) = log.remove_old_files().await {
                fatal.call(&error.to_string());
                return;
            }
        }
    }
}

async fn look(group: &Group, metrics: &RaftMetrics<TypeConfig>, log: &SharedLog, looks: u64) -> Look {
    // The lane that knows the files may be busy with a sync: that is worth waiting for only now and then.
    let pinned = match looks.is_multiple_of(CHECKPOINT_LOOKS) {
        true => {
            let files = log.files().await.unwrap_or_default();
            let keep_from = files.len().checked_sub(LOG_FILES_MAX).and_then(|at| files.get(at)).copied();
            keep_from.and_then(|file| group.log.look(|log| log.last_before_file(file)))
        }
        false => None,
    };
    let leads = metrics.current_leader == Some(group.replica.0);
    let travels = match &metrics.replication {
        Some(members) if leads => {
            let matched = |replica: ReplicaId| members.get(&replica.0)?.as_ref().map(|matched| matched.index);
            group.departures.hold(matched, metrics.last_log_index.unwrap_or_default(), group.depth.tail_entries())
        }
        Some(_) | None => {
            group.departures.clear();
            false
        }
    };
    let membership = metrics.membership_config.membership();
    let is_founded = membership.nodes().next().is_some() || metrics.last_log_index.is_some();
    // whoever has a leader and does not lead has no use for them
    let founders = if leads || !is_founded { group.own.founders() } else { BTreeMap::new() };
    // Where a node has a replica already, an earlier one of it is not missing: it was replaced.
    let is_missing = |member: &Member| !membership.nodes().any(|(_, node)| node.name == member.node);
    let missing = founders
        .iter()
        .filter(|(_, member)| !member.voter && is_missing(member))
        .map(|(replica, member)| (replica.0, MemberNode { name: member.node.clone() }));
    Look {
        looks,
        depth: group.depth,
        applied: group.machine.state.applied_index(),
        checkpointed: group.machine.state.checkpointed(),
        snapshot: metrics.snapshot.as_ref().map(|last| last.index),
        purged: metrics.purged.as_ref().map(|last| last.index),
        log_bytes: group.log.look(|log| log.stored_bytes()),
        pinned,
        travels,
        leads,
        is_founded,
        may_found: group.own.may_lead() && founders.get(&group.replica).is_some_and(|member| member.voter),
        missing: missing.collect(),
    }
}

/// A step that fails is tried again at the next look, if it is still due.
async fn carry_out(group: &Group, step: Step) {
    let done = match &step {
        Step::Checkpoint => group.checkpointer.checkpoint().await.map_err(|error| error.to_string()),
        Step::Snapshot => group.raft.trigger().snapshot().await.map_err(|error| error.to_string()),
        Step::Purge(upto) => group.raft.trigger().purge_log(*upto).await.map_err(|error| error.to_string()),
        Step::Rewrite => group.log.rewrite(REWRITTEN_BYTES_MAX).await.map(|_| ()).map_err(|error| error.to_string()),
        Step::Found => found(group).await,
        Step::AddLearners(learners) => {
            let change = ChangeMembers::AddNodes(learners.clone());
            let changed = tokio::time::timeout(ADD_WITHIN, group.raft.change_membership(change, true)).await;
            match changed {
                Ok(changed) => changed.map(|_| ()).map_err(|error| error.to_string()),
                Err(_) => Err("no majority in time".into()),
            }
        }
    };
    if let Err(why) = done {
        tracing::warn!(group = %group.id, ?step, why, "a step for a group failed");
    }
}

/// Writes the first entry of a group's log, the membership of its voters, if the log is empty. Every voter may do it:
/// they write the same.
pub(crate) async fn found(group: &Group) -> Result<(), String> {
    let voters: BTreeMap<u64, MemberNode> = group
        .own
        .founders()
        .into_iter()
        .filter(|(_, member)| member.voter)
        .map(|(ReplicaId(replica), member)| (replica, MemberNode { name: member.node }))
        .collect();
    match group.raft.initialize(voters).await {
        Ok(()) => Ok(()),
        // somebody was faster
        Err(openraft::errors::RaftError::APIError(openraft::errors::InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Look {
        Look {
            looks: 1,
            applied: Some(60_000),
            checkpointed: Some(59_000),
            snapshot: Some(50_000),
            purged: Some(30_000),
            log_bytes: 10 << 20,
            is_founded: true,
            ..Look::default()
        }
    }

    #[test]
    fn a_healthy_group_needs_nothing_but_a_checkpoint_now_and_then() {
        assert_eq!(healthy().steps(), []);
        assert_eq!(Look { looks: CHECKPOINT_LOOKS, ..healthy() }.steps(), [Step::Checkpoint]);
        let idle = Look { looks: CHECKPOINT_LOOKS, checkpointed: Some(60_000), ..healthy() };
        assert_eq!(idle.steps(), []);
        assert_eq!(Look::default().steps(), []);
    }

    #[test]
    fn a_deep_log_asks_for_a_checkpoint_and_a_snapshot() {
        let deep = Look { applied: Some(100_000), ..healthy() };
        assert_eq!(deep.steps(), [Step::Checkpoint, Step::Snapshot]);
        let large = Look { log_bytes: LogDepth::default().snapshot_bytes(), snapshot: Some(30_000), ..healthy() };
        assert_eq!(large.steps(), [Step::Snapshot]);
    }

    #[test]
    fn a_group_that_pins_old_files_snapshots_first_and_purges_then() {
        let large = || Look { log_bytes: REWRITTEN_BYTES_MAX + 1, ..healthy() };
        let pins = Look { pinned: Some(55_000), ..large() };
        assert_eq!(pins.steps(), [Step::Snapshot]);
        let covered = Look { pinned: Some(40_000), ..large() };
        assert_eq!(covered.steps(), [Step::Purge(40_000)]);
        let purged = Look { pinned: Some(40_000), purged: Some(40_000), ..large() };
        assert_eq!(purged.steps(), []);
    }

    #[test]
    fn a_log_is_not_cut_behind_a_snapshot_that_travels_unless_it_grows_too_long() {
        let due = Look { applied: Some(200_000), pinned: Some(40_000), looks: 1, ..healthy() };
        assert_eq!(due.steps(), [Step::Checkpoint, Step::Snapshot, Step::Purge(40_000)]);
        assert_eq!(Look { travels: true, ..due.clone() }.steps(), [Step::Checkpoint]);
        let bytes = HELD_SNAPSHOTS * LogDepth::default().snapshot_bytes();
        let long = Look { travels: true, log_bytes: bytes, ..due.clone() };
        assert_eq!(long.steps(), due.steps());
    }

    #[test]
    fn a_group_with_few_entries_that_pins_old_files_writes_them_again_and_lets_nothing_go() {
        let small = || Look { log_bytes: REWRITTEN_BYTES_MAX, ..healthy() };
        for pinned in [55_000, 40_000] {
            assert_eq!(Look { pinned: Some(pinned), ..small() }.steps(), [Step::Rewrite]);
        }
        assert_eq!(small().steps(), []);
        let deep = Look { pinned: Some(55_000), applied: Some(100_000), ..small() };
        assert_eq!(deep.steps(), [Step::Checkpoint, Step::Rewrite, Step::Snapshot]);
    }

    #[test]
    fn only_a_voter_founds_and_only_the_leader_adds() {
        let empty = Look { looks: FOUND_LOOKS, ..Look::default() };
        assert_eq!(empty.steps(), []);
        assert_eq!(Look { may_found: true, ..empty }.steps(), [Step::Found]);
        let missing: BTreeMap<u64, MemberNode> = [(9, MemberNode::default())].into();
        assert_eq!(Look { missing: missing.clone(), ..healthy() }.steps(), []);
        let leads = Look { missing: missing.clone(), leads: true, ..healthy() };
        assert_eq!(leads.steps(), [Step::AddLearners(missing)]);
    }
}
