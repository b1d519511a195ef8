//! What this package counts.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

const PLACED: &str = "strongroom_service_blobs_placed_total";
const PLACED_BYTES: &str = "strongroom_service_blobs_placed_bytes_total";
const HANDED_OVER: &str = "strongroom_service_fragments_handed_over_total";
const MISSING: &str = "strongroom_service_fragments_missing_total";
const TOO_THIN: &str = "strongroom_service_blobs_too_thin_total";
const GATHERED: &str = "strongroom_service_blobs_gathered_total";
const REBUILT: &str = "strongroom_service_blobs_rebuilt_total";
const BLOBS_LOST: &str = "strongroom_service_blobs_lost_total";
const BAD: &str = "strongroom_service_fragments_bad_total";
const WRONG: &str = "strongroom_service_fragments_wrong_total";
const CLOCK_LAG: &str = "strongroom_clock_lag_seconds";
const CLOCK_LAG_GREW: &str = "strongroom_clock_lag_grew_seconds";
const CLOCK_HELD: &str = "strongroom_clock_held";
const CLOCK_WALL_OFF: &str = "strongroom_clock_wall_off_seconds";
const WORK: &str = "strongroom_service_worker_rounds_total";

const FENCED: &str = "strongroom_service_replicas_fenced_total";
const LOST: &str = "strongroom_service_replicas_lost";
const BEHIND: &str = "strongroom_service_members_behind";
const ROLLBACKS: &str = "strongroom_service_rollbacks_detected_total";
const REBUILDS: &str = "strongroom_service_rebuilds_asked_total";
const RESTARTED: &str = "strongroom_service_groups_restarted_total";
const BROKEN: &str = "strongroom_service_groups_broken_total";
const MEMBERSHIP: &str = "strongroom_service_membership_changes_total";
const REPORTS: &str = "strongroom_service_tick_reports_total";
const EXPIRED: &str = "strongroom_service_snapshots_expired_total";
const OVERDUE: &str = "strongroom_service_names_overdue";
const COLLECTED: &str = "strongroom_service_references_collected_total";
const COLLECTED_BLOBS: &str = "strongroom_service_blobs_collected_total";

/// Says what the names mean. Called once, when the process starts.
pub fn describe() {
    describe_counter!(PLACED, Unit::Count, "Blobs whose fragments were made durable by this node");
    describe_counter!(PLACED_BYTES, Unit::Bytes, "Bytes of these blobs");
    describe_counter!(HANDED_OVER, Unit::Count, "Fragments that another slot than their own took");
    describe_counter!(MISSING, Unit::Count, "Fragments that no slot took although the blob was acknowledged");
    describe_counter!(TOO_THIN, Unit::Count, "Blobs that were refused because too few slots took a fragment");
    describe_counter!(GATHERED, Unit::Count, "Blobs gathered from fragments, by shard");
    describe_counter!(REBUILT, Unit::Count, "Blobs gathered with a fragment that is not data");
    describe_counter!(BLOBS_LOST, Unit::Count, "Blobs for which too few good fragments were found");
    describe_counter!(BAD, Unit::Count, "Fragments met while gathering that were absent, damaged or wrong");
    describe_counter!(WRONG, Unit::Count, "Fragments among them that a member gave and that were not what it said");
    describe_gauge!(
        CLOCK_LAG,
        Unit::Seconds,
        "How far a group's compliance clock lies behind its leader's wall clock, by shard"
    );
    describe_gauge!(
        CLOCK_LAG_GREW,
        Unit::Seconds,
        "By how much that lag is more than its least of the last day, by shard"
    );
    describe_gauge!(
        CLOCK_HELD,
        Unit::Count,
        "1 while no majority of wall clocks agrees and the clock stands, by shard"
    );
    describe_gauge!(
        CLOCK_WALL_OFF,
        Unit::Seconds,
        "How far the voter's wall clock that is furthest off is off, by shard"
    );
    describe_counter!(FENCED, Unit::Count, "Replicas of this node whose digest differed from the majority's");
    describe_gauge!(LOST, Unit::Count, "Replicas of this node that wait for a new replica id");
    describe_gauge!(BEHIND, Unit::Count, "Members that lack many entries, over all groups that this node leads");
    describe_counter!(ROLLBACKS, Unit::Count, "Replicas of this node whose disk was found to have been put back");
    describe_counter!(REBUILDS, Unit::Count, "New replica ids that were allotted to this node's lost replicas");
    describe_counter!(RESTARTED, Unit::Count, "Dead groups that were restarted over their store");
    describe_counter!(BROKEN, Unit::Count, "Dead groups that could not be restarted");
    describe_counter!(MEMBERSHIP, Unit::Count, "Steps of membership changes that this node made as a leader, by step");
    describe_counter!(REPORTS, Unit::Count, "Voters' reports that this node asked for as a leader, by result");
    describe_counter!(EXPIRED, Unit::Count, "Snapshots that a vault's policy ended, as a leader");
    describe_gauge!(
        OVERDUE,
        Unit::Count,
        "Names without a good snapshot as young as their vault's policy expects, by home shard, as its leader"
    );
    describe_counter!(COLLECTED, Unit::Count, "References that collecting dropped or looked at, as a leader");
    describe_counter!(COLLECTED_BLOBS, Unit::Count, "Blobs whose rows went because nothing named them, as a leader");
    describe_counter!(WORK, Unit::Count, "Rounds of background workers, by worker and result");
}

pub(crate) fn blob_placed(bytes: u32, handed_over: usize, missing: usize) {
    counter!(PLACED).increment(1);
    counter!(PLACED_BYTES).increment(u64::from(bytes));
    counter!(HANDED_OVER).increment(handed_over as u64);
    counter!(MISSING).increment(missing as u64);
}

pub(crate) fn fragment_wrong() {
    counter!(WRONG).increment(1);
}

pub(crate) fn blob_too_thin() {
    counter!(TOO_THIN).increment(1);
}

pub(crate) fn blob_gathered(shard: u32, rebuilt: bool) {
    counter!(GATHERED, "shard" => shard.to_string()).increment(1);
    counter!(REBUILT).increment(u64::from(rebuilt));
}

pub(crate) fn blob_lost() {
    counter!(BLOBS_LOST).increment(1);
}

pub(crate) fn fragments_bad(count: u64) {
    counter!(BAD).increment(count);
}

/// How the clock of a group that this node leads is; times in milliseconds.
pub(crate) fn clock(shard: u32, lag_ms: u64, grew_ms: u64, held: bool, wall_off_ms: u64) {
    let shard = shard.to_string();
    let seconds = |ms: u64| ms as f64 / 1000.0;
    gauge!(CLOCK_LAG, "shard" => shard.clone()).set(seconds(lag_ms));
    gauge!(CLOCK_LAG_GREW, "shard" => shard.clone()).set(seconds(grew_ms));
    gauge!(CLOCK_HELD, "shard" => shard.clone()).set(f64::from(u8::from(held)));
    gauge!(CLOCK_WALL_OFF, "shard" => shard).set(seconds(wall_off_ms));
}

/// This node leads the group no more: what it last showed would be old.
pub(crate) fn clock_unknown(shard: u32) {
    let shard = shard.to_string();
    for gone in [CLOCK_LAG, CLOCK_LAG_GREW, CLOCK_HELD, CLOCK_WALL_OFF] {
        gauge!(gone, "shard" => shard.clone()).set(0.0);
    }
}

pub(crate) fn replica_fenced() {
    counter!(FENCED).increment(1);
}

pub(crate) fn replicas_lost(count: usize) {
    gauge!(LOST).set(count as f64);
}

pub(crate) fn members_behind(count: usize) {
    gauge!(BEHIND).set(count as f64);
}

pub(crate) fn rollback_detected() {
    counter!(ROLLBACKS).increment(1);
}

pub(crate) fn rebuild_asked() {
    counter!(REBUILDS).increment(1);
}

pub(crate) fn group_restarted() {
    counter!(RESTARTED).increment(1);
}

pub(crate) fn group_broken() {
    counter!(BROKEN).increment(1);
}

/// A step of a change of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    AddLearner,
    Voters,
    Remove,
    Replaced,
}

pub(crate) fn membership_changed(step: Step) {
    let label = match step {
        Step::AddLearner => "add-learner",
        Step::Voters => "voters",
        Step::Remove => "remove",
        Step::Replaced => "replaced",
    };
    counter!(MEMBERSHIP, "step" => label).increment(1);
}

pub(crate) fn reported(well: bool) {
    counter!(REPORTS, "well" => if well { "true" } else { "false" }).increment(1);
}

pub(crate) fn expired(snapshots: u32) {
    counter!(EXPIRED).increment(u64::from(snapshots));
}

pub(crate) fn names_overdue(shard: u32, count: usize) {
    gauge!(OVERDUE, "shard" => shard.to_string()).set(count as f64);
}

pub(crate) fn collected(references: u32, blobs: u32) {
    counter!(COLLECTED).increment(u64::from(references));
    counter!(COLLECTED_BLOBS).increment(u64::from(blobs));
}

/// Which worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worker {
    Decide,
    Tick,
    Tenants,
    Follow,
    Admit,
    Rebuild,
    Members,
    Expire,
    Collect,
    Sweep,
    Keep,
    Policies,
}

impl Worker {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Decide => "decide",
            Self::Tick => "tick",
            Self::Tenants => "tenants",
            Self::Follow => "follow",
            Self::Admit => "admit",
            Self::Rebuild => "rebuild",
            Self::Members => "members",
            Self::Expire => "expire",
            Self::Collect => "collect",
            Self::Sweep => "sweep",
            Self::Keep => "keep",
            Self::Policies => "policies",
        }
    }
}

pub(crate) fn worked(worker: Worker, well: bool) {
    counter!(WORK, "worker" => worker.label(), "well" => if well { "true" } else { "false" }).increment(1);
}
