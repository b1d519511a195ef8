//! The metrics of this package, each with its description.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::damage::How;

/// Fragments that did not verify when they were read, by how (`checksum`, `missing`, `misdirected`).
pub const FRAGMENTS_DAMAGED_TOTAL: &str = "strongroom_chunks_fragments_damaged_total";
/// Fragments made durable.
pub const FRAGMENTS_WRITTEN_TOTAL: &str = "strongroom_chunks_fragments_written_total";
/// Payload bytes made durable.
pub const FRAGMENT_BYTES_WRITTEN_TOTAL: &str = "strongroom_chunks_fragment_bytes_written_total";
/// Fragments read and verified.
pub const FRAGMENTS_READ_TOTAL: &str = "strongroom_chunks_fragments_read_total";
/// Payload bytes read and verified.
pub const FRAGMENT_BYTES_READ_TOTAL: &str = "strongroom_chunks_fragment_bytes_read_total";
/// Group commits, each one `fdatasync` per tenant in it.
pub const GROUPS_TOTAL: &str = "strongroom_chunks_groups_total";
/// How long a group commit took.
pub const GROUP_SECONDS: &str = "strongroom_chunks_group_seconds";
/// Durable commits of the index.
pub const INDEX_COMMITS_TOTAL: &str = "strongroom_chunks_index_commits_total";
/// Writes refused because the disk is at its reserve.
pub const DISK_FULL_REFUSALS_TOTAL: &str = "strongroom_chunks_disk_full_refusals_total";
/// What the disk has left when last looked at.
pub const DISK_FREE_BYTES: &str = "strongroom_chunks_disk_free_bytes";

/// Copies freed against releases.
pub const FRAGMENTS_FREED_TOTAL: &str = "strongroom_chunks_fragments_freed_total";
/// What their records took.
pub const FRAGMENT_BYTES_FREED_TOTAL: &str = "strongroom_chunks_fragment_bytes_freed_total";
/// Segments removed because no copy lay in them.
pub const SEGMENTS_UNLINKED_TOTAL: &str = "strongroom_chunks_segments_unlinked_total";

/// Registers the descriptions. Once, after the recorder is installed.
pub fn describe() {
    describe_counter!(FRAGMENTS_DAMAGED_TOTAL, "Fragments that did not verify when they were read, by how");
    describe_counter!(FRAGMENTS_WRITTEN_TOTAL, "Fragments made durable");
    describe_counter!(FRAGMENT_BYTES_WRITTEN_TOTAL, Unit::Bytes, "Payload bytes of fragments made durable");
    describe_counter!(FRAGMENTS_READ_TOTAL, "Fragments read and verified");
    describe_counter!(FRAGMENT_BYTES_READ_TOTAL, Unit::Bytes, "Payload bytes of fragments read and verified");
    describe_counter!(GROUPS_TOTAL, "Group commits of fragments");
    describe_histogram!(GROUP_SECONDS, Unit::Seconds, "Time from the first write of a group to its durability");
    describe_counter!(INDEX_COMMITS_TOTAL, "Durable commits of the index");
    describe_counter!(DISK_FULL_REFUSALS_TOTAL, "Writes refused because the disk is at its reserve");
    describe_counter!(FRAGMENTS_FREED_TOTAL, "Fragments that the rules released and whose space was given back");
    describe_counter!(FRAGMENT_BYTES_FREED_TOTAL, Unit::Bytes, "Bytes of the records of freed fragments");
    describe_counter!(SEGMENTS_UNLINKED_TOTAL, "Segments removed because no fragment lay in them any more");
    describe_gauge!(DISK_FREE_BYTES, Unit::Bytes, "Free bytes of the disk when last looked at");
}

pub(crate) fn damaged(how: How) {
    counter!(FRAGMENTS_DAMAGED_TOTAL, "how" => how.label()).increment(1);
}

pub(crate) fn read(bytes: u64) {
    counter!(FRAGMENTS_READ_TOTAL).increment(1);
    counter!(FRAGMENT_BYTES_READ_TOTAL).increment(bytes);
}

pub(crate) fn written(fragments: u64, bytes: u64, seconds: f64) {
    counter!(FRAGMENTS_WRITTEN_TOTAL).increment(fragments);
    counter!(FRAGMENT_BYTES_WRITTEN_TOTAL).increment(bytes);
    counter!(GROUPS_TOTAL).increment(1);
    histogram!(GROUP_SECONDS).record(seconds);
}

pub(crate) fn index_committed() {
    counter!(INDEX_COMMITS_TOTAL).increment(1);
}

pub(crate) fn refused_full() {
    counter!(DISK_FULL_REFUSALS_TOTAL).increment(1);
}

pub(crate) fn free(bytes: u64) {
    gauge!(DISK_FREE_BYTES).set(bytes as f64);
}

pub(crate) fn freed(copies: u64, bytes: u64) {
    counter!(FRAGMENTS_FREED_TOTAL).increment(copies);
    counter!(FRAGMENT_BYTES_FREED_TOTAL).increment(bytes);
}

pub(crate) fn unlinked(segments: u64) {
    counter!(SEGMENTS_UNLINKED_TOTAL).increment(segments);
}
