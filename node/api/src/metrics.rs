//! What this package counts. Labels come from closed lists, never from what a caller sent.

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use tonic::Code;

const INGEST: &str = "strongroom_api_ingest_bytes_total";
const REFUSALS: &str = "strongroom_api_refusals_total";
const VERIFICATIONS: &str = "strongroom_api_verifications_failed_total";
const FIRST_BYTE: &str = "strongroom_api_restore_first_byte_seconds";
const RESTORE: &str = "strongroom_api_restore_seconds";
const HELD_UP: &str = "strongroom_api_ingest_held_up_seconds";
const RESTORED: &str = "strongroom_api_restore_bytes_total";

/// Says what the names mean. Called once, when the process starts.
pub fn describe() {
    describe_counter!(INGEST, Unit::Bytes, "Bytes of blobs that callers sent");
    describe_counter!(REFUSALS, Unit::Count, "What was refused at the doors or by the rules, by code and reason");
    describe_counter!(VERIFICATIONS, Unit::Count, "Checks that failed: a hash of what came in, a blob that is lost");
    describe_histogram!(FIRST_BYTE, Unit::Seconds, "From the call for a run to its first blob");
    describe_histogram!(RESTORE, Unit::Seconds, "From the call for a run to its last blob");
    describe_histogram!(HELD_UP, Unit::Seconds, "How long a blob waited because its tenant sends faster than it may");
    describe_counter!(RESTORED, Unit::Bytes, "Bytes of blobs that were sent back, by shard");
}

/// Which check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// What came in has another hash than declared.
    Hash,
    /// Too few good fragments of a blob.
    Lost,
}

impl Check {
    fn label(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Lost => "lost",
        }
    }
}

pub(crate) fn ingested(bytes: usize) {
    counter!(INGEST).increment(bytes as u64);
}

pub(crate) fn refused(code: Code, reason: &'static str) {
    counter!(REFUSALS, "code" => code_name(code), "reason" => reason).increment(1);
    if reason == "HASH_MISMATCH" {
        verification_failed(Check::Hash);
    }
}

pub(crate) fn verification_failed(check: Check) {
    counter!(VERIFICATIONS, "kind" => check.label()).increment(1);
}

pub(crate) fn first_byte(after_s: f64) {
    histogram!(FIRST_BYTE).record(after_s);
}

pub(crate) fn held_up(time: std::time::Duration) {
    histogram!(HELD_UP).record(time.as_secs_f64());
}

pub(crate) fn restored(after_s: f64) {
    histogram!(RESTORE).record(after_s);
}

pub(crate) fn sent_back(shard: u32, bytes: usize) {
    counter!(RESTORED, "shard" => shard.to_string()).increment(bytes as u64);
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
