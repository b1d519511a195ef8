//! The metrics of this package. Labels are from enums only.

use strongroom_format::id::GroupId;

use crate::group::What;
use crate::health::Death;

const COMMITS: &str = "strongroom_consensus_commits_total";
const LOG_SYNCS: &str = "strongroom_consensus_log_syncs_total";
const TERMS: &str = "strongroom_consensus_terms_total";
const CHECKPOINTS: &str = "strongroom_consensus_checkpoints_total";
const SNAPSHOT_BYTES: &str = "strongroom_consensus_snapshot_bytes_total";
const SNAPSHOT_TRANSFERS_RESUMED: &str = "strongroom_consensus_snapshot_transfers_resumed_total";
const SNAPSHOTS: &str = "strongroom_consensus_snapshots_total";
const MESSAGES_REFUSED: &str = "strongroom_consensus_messages_refused_total";
const HEARTBEATS: &str = "strongroom_consensus_heartbeats_total";
const HEARTBEAT_MESSAGES: &str = "strongroom_consensus_heartbeat_messages_total";

const DEATHS: &str = "strongroom_consensus_group_deaths_total";
const RESTARTS: &str = "strongroom_consensus_group_restarts_total";

const SCRUBS: &str = "strongroom_consensus_state_scrubs_total";

const ROWS_WRITTEN: &str = "strongroom_core_rows_written_total";

/// Describes them to the recorder. Call it once, after the recorder is installed.
pub fn describe() {
    metrics::describe_counter!(COMMITS, "Entries applied on this node, by kind of group.");
    metrics::describe_counter!(LOG_SYNCS, "How often the shared log was made durable (one fdatasync each).");
    metrics::describe_counter!(TERMS, "Terms that applied entries went through: one for each election, won or not.");
    metrics::describe_counter!(CHECKPOINTS, "How often the state of a group was made durable.");
    metrics::describe_counter!(SNAPSHOTS, "Raft snapshots built or installed, by what was done.");
    metrics::describe_counter!(SNAPSHOT_BYTES, "Bytes of Raft snapshots sent to and received from other nodes.");
    metrics::describe_counter!(
        SNAPSHOT_TRANSFERS_RESUMED,
        "Raft snapshots whose sender broke off and that went on where they were."
    );
    metrics::describe_counter!(DEATHS, "Groups that died on this node, by what they died of: task or state.");
    metrics::describe_counter!(RESTARTS, "What became of groups that died: restarted, or broken for good.");
    metrics::describe_counter!(SCRUBS, "States read through and compared with their digest, by result.");
    metrics::describe_counter!(ROWS_WRITTEN, "Rows that the rules wrote on this node, by table.");
    metrics::describe_counter!(MESSAGES_REFUSED, "Raft messages that were not from the member that they named.");
    metrics::describe_counter!(HEARTBEATS, "Heartbeats that groups led here sent to their other replicas.");
    metrics::describe_counter!(HEARTBEAT_MESSAGES, "Messages to other nodes in which they went, many in one.");
}

pub(crate) fn committed(group: GroupId, entries: u64) {
    let kind = if group == GroupId::CLUSTER { "cluster" } else { "shard" };
    metrics::counter!(COMMITS, "group_kind" => kind).increment(entries);
}

pub(crate) fn terms_passed(group: GroupId, terms: u64) {
    let kind = if group == GroupId::CLUSTER { "cluster" } else { "shard" };
    metrics::counter!(TERMS, "group_kind" => kind).increment(terms);
}

pub(crate) fn rows_written(table: &'static str, rows: u64) {
    metrics::counter!(ROWS_WRITTEN, "table" => table).increment(rows);
}

pub(crate) fn log_synced() {
    metrics::counter!(LOG_SYNCS).increment(1);
}

pub(crate) fn checkpointed() {
    metrics::counter!(CHECKPOINTS).increment(1);
}

pub(crate) fn snapshot_built() {
    metrics::counter!(SNAPSHOTS, "what" => "built").increment(1);
}

pub(crate) fn snapshot_installed() {
    metrics::counter!(SNAPSHOTS, "what" => "installed").increment(1);
}

pub(crate) fn snapshot_bytes_sent(bytes: usize) {
    metrics::counter!(SNAPSHOT_BYTES, "what" => "sent").increment(bytes as u64);
}

pub(crate) fn snapshot_bytes_received(bytes: usize) {
    metrics::counter!(SNAPSHOT_BYTES, "what" => "received").increment(bytes as u64);
}

pub(crate) fn transfer_resumed() {
    metrics::counter!(SNAPSHOT_TRANSFERS_RESUMED).increment(1);
}

pub(crate) fn group_died(death: &Death) {
    let of = match death {
        Death::Task(_) => "task",
        Death::State(_) => "state",
    };
    metrics::counter!(DEATHS, "of" => of).increment(1);
}

pub(crate) fn group_event(what: &What) {
    let what = match what {
        What::Restarted => "restarted",
        What::Broken { .. } => "broken",
    };
    metrics::counter!(RESTARTS, "what" => what).increment(1);
}

pub(crate) fn scrubbed(is_well: bool) {
    metrics::counter!(SCRUBS, "result" => if is_well { "well" } else { "damaged" }).increment(1);
}

pub(crate) fn heartbeats_sent(count: usize) {
    metrics::counter!(HEARTBEATS).increment(count as u64);
    metrics::counter!(HEARTBEAT_MESSAGES).increment(1);
}

pub(crate) fn message_refused() {
    metrics::counter!(MESSAGES_REFUSED).increment(1);
}
