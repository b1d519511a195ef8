//! What can go wrong, as callers must tell it apart: *refused* (ask for something else), *failed* (the world or the data
//! is broken), *unknown* (it may have happened: ask), *unavailable* (nobody answered in time: try again later).
//!
//! Promises: every refusal of the rules and of a node's door becomes a code, a stable reason, a message and what to do
//! next; nothing of a secret is ever in a text. Not here: exit codes and JSON (`client/cli`).

use std::fmt;
use std::io;
use std::path::PathBuf;

use strongroom_format::codec::FormatError;
use strongroom_format::outcome::Refusal;
use strongroom_format::quota::{Measure, QuotaOwner};
use strongroom_proto::REASON;
use tonic::{Code, Status};

/// What the SDK answers when it cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rules, a node's door, or the SDK's own checks say no. The same request again gives the same answer.
    #[error("{code}/{reason}: {message}")]
    Refused {
        /// The gRPC code in capitals, for instance `PERMISSION_DENIED`.
        code: &'static str,
        /// The stable reason code, for instance `ROLE`.
        reason: String,
        /// For people.
        message: String,
        /// What to do now.
        next: String,
    },
    /// Something is broken: a file, a disk, the data, a protocol.
    #[error("{message}")]
    Failed {
        /// For people.
        message: String,
        /// What is below, where there is something.
        #[source]
        cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// It may have been done. Ask (`snapshots`, `vault show`) before doing it again.
    #[error("the outcome is unknown: {message}")]
    Unknown {
        /// For people.
        message: String,
    },
    /// Nobody who could answer did so until the deadline.
    #[error("unavailable until the deadline: {message}")]
    Unavailable {
        /// The last thing that was heard.
        message: String,
    },
}

/// What a caller knows about what it asked for, when it gets an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not done, and the same request again gives the same answer.
    Refused,
    /// It was not done: something is broken, or nobody answered. The same request again may be done.
    Failed,
    /// It may have been done: ask before asking for it again.
    Unknown,
}

impl Outcome {
    /// The word for scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Short for results of the SDK.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A refusal by the SDK itself.
    pub(crate) fn refused(code: &'static str, reason: &str, message: impl fmt::Display, next: &str) -> Self {
        Self::Refused { code, reason: reason.to_owned(), message: message.to_string(), next: next.to_owned() }
    }

    /// A failure with its cause.
    pub(crate) fn failed(
        message: impl fmt::Display,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed { message: message.to_string(), cause: Some(cause.into()) }
    }

    /// A failure that has no error below it.
    pub(crate) fn broken(message: impl fmt::Display) -> Self {
        Self::Failed { message: message.to_string(), cause: None }
    }

    /// A file that cannot be read, written or found.
    pub(crate) fn file(what: &str, path: impl Into<PathBuf>, cause: impl Into<io::Error>) -> Self {
        let path: PathBuf = path.into();
        Self::failed(format_args!("cannot {what} {}", path.display()), cause.into())
    }

    /// Whoever made these bytes does not prove that they come from where they must come from (N44, N119, N120).
    pub(crate) fn provenance(message: impl fmt::Display) -> Self {
        Self::refused(
            "FAILED_PRECONDITION",
            "PROVENANCE_INVALID",
            message,
            "do not trust this cluster's answer; compare the tenant's root key with the one that you pinned and tell \
             whoever runs the cluster",
        )
    }

    /// Data came back that is not what was stored, and nobody had better.
    pub(crate) fn data_loss(reason: &str, message: impl fmt::Display) -> Self {
        Self::refused(
            "DATA_LOSS",
            reason,
            message,
            "run `strongroom verify` on the snapshot and tell whoever runs the cluster",
        )
    }

    /// Whether it was refused, failed, or may have been done after all.
    pub fn outcome(&self) -> Outcome {
        match self {
            // Data that is damaged is no rule, and what is unavailable comes back.
            Self::Refused { code: "DATA_LOSS" | "UNAVAILABLE", .. }
            | Self::Failed { .. }
            | Self::Unavailable { .. } => Outcome::Failed,
            Self::Refused { .. } => Outcome::Refused,
            Self::Unknown { .. } => Outcome::Unknown,
        }
    }

    /// What to do now, for people.
    pub fn next(&self) -> &str {
        match self {
            Self::Refused { next, .. } => next,
            Self::Failed { .. } => "mend what the message names, then run it again",
            Self::Unknown { .. } => "look (`snapshots`, `vault list`) before doing it again",
            Self::Unavailable { .. } => {
                "check that nodes run and that the profile's endpoints are right, or wait longer with --deadline"
            }
        }
    }

    /// The refusal's reason, if it is one.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused { reason, .. } => Some(reason),
            Self::Failed { .. } | Self::Unknown { .. } | Self::Unavailable { .. } => None,
        }
    }
}

impl From<FormatError> for Error {
    fn from(fault: FormatError) -> Self {
        match fault {
            FormatError::UnsupportedVersion { .. } => Self::refused(
                "INVALID_ARGUMENT",
                "UNSUPPORTED_FORMAT",
                fault,
                "update this program: what was stored is newer than what it reads",
            ),
            FormatError::TooLong { .. } | FormatError::Malformed { .. } => {
                Self::refused("DATA_LOSS", "MALFORMED", fault, "tell whoever runs the cluster")
            }
        }
    }
}

/// Whether a status says that the request was not and will not be executed, may have been, or was turned away.
pub(crate) enum Answered {
    /// It was not accepted: try elsewhere or later.
    NotNow(String),
    /// It may have been executed.
    Perhaps(String),
    /// Turned away for good.
    No(Error),
}

/// Reads a status by what the caller can do about it.
pub(crate) fn answered(status: &Status) -> Answered {
    let reason = reason_of(status).to_owned();
    let text = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::Unavailable if reason == "TOO_THIN" => Answered::No(door(status, "UNAVAILABLE", reason)),
        Code::Unavailable | Code::ResourceExhausted if !matches!(&*reason, "LIMIT" | "BUDGET" | "QUOTA") => {
            Answered::NotNow(text)
        }
        // A connection that breaks surfaces under any of these; only a door's refusal carries a reason.
        Code::Unknown | Code::Internal | Code::Cancelled | Code::DeadlineExceeded | Code::Ok | Code::Aborted
            if reason.is_empty() =>
        {
            Answered::Perhaps(text)
        }
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Ok => {
            Answered::Perhaps(text)
        }
        Code::ResourceExhausted => Answered::No(door(status, "RESOURCE_EXHAUSTED", reason)),
        Code::InvalidArgument => Answered::No(door(status, "INVALID_ARGUMENT", reason)),
        Code::NotFound => Answered::No(door(status, "NOT_FOUND", reason)),
        Code::AlreadyExists => Answered::No(door(status, "ALREADY_EXISTS", reason)),
        Code::PermissionDenied => Answered::No(door(status, "PERMISSION_DENIED", reason)),
        Code::Unauthenticated => Answered::No(door(status, "UNAUTHENTICATED", reason)),
        Code::FailedPrecondition => Answered::No(door(status, "FAILED_PRECONDITION", reason)),
        // Doors give reasons: this is our own end, which reads no longer answer (N85).
        Code::OutOfRange if reason.is_empty() => Answered::No(Error::refused(
            "RESOURCE_EXHAUSTED",
            "LIMIT",
            format_args!("a node's answer is longer than any may be: {}", status.message()),
            "ask another node; this one is not to be trusted, or of a version that this program does not know",
        )),
        Code::OutOfRange => Answered::No(door(status, "OUT_OF_RANGE", reason)),
        Code::Aborted => Answered::No(door(status, "ABORTED", reason)),
        Code::DataLoss => Answered::No(door(status, "DATA_LOSS", reason)),
        Code::Unimplemented => Answered::No(door(status, "UNIMPLEMENTED", reason)),
        // That node is broken; another may not be.
        Code::Internal => Answered::Perhaps(text),
    }
}

/// Whether a node said so: what a broken connection looks like carries no reason.
pub(crate) fn is_told(status: &Status) -> bool {
    !reason_of(status).is_empty()
}

fn reason_of(status: &Status) -> &str {
    status.metadata().get(REASON).and_then(|value| value.to_str().ok()).unwrap_or("")
}

fn door(status: &Status, code: &'static str, reason: String) -> Error {
    let next = match reason.as_str() {
        "ROLE" => "use a profile whose identity has the role",
        "IDENTITY" => "ask an admin of the tenant whether this identity is enrolled and open",
        "NOT_FOUND" => "check the name or id; what belongs to others looks the same as what is absent",
        _ => "read the message; the same request again gives the same answer",
    };
    // A node's text begins with the reason, which stands in a field of its own here.
    let text = status.message();
    let message = text.strip_prefix(&reason).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(text).to_owned();
    Error::Refused { code, reason, message, next: next.to_owned() }
}

impl From<Refusal> for Error {
    #[expect(clippy::too_many_lines, reason = "one row per refusal, read from top to bottom")]
    fn from(refusal: Refusal) -> Self {
        fn no(code: &'static str, reason: &str, message: impl fmt::Display, next: &str) -> Error {
            Error::refused(code, reason, message, next)
        }
        match refusal {
            Refusal::Invalid { why } => no("INVALID_ARGUMENT", "INVALID", why, "correct the request"),
            Refusal::UnsupportedFormat { why } => no(
                "INVALID_ARGUMENT",
                "UNSUPPORTED_FORMAT",
                why,
                "use a program and a cluster of versions that know each other",
            ),
            Refusal::WrongGroup => no(
                "FAILED_PRECONDITION",
                "WRONG_GROUP",
                "the command was meant for another cluster epoch or group",
                "run the command again; if it stays, compare the cluster with the one in the profile",
            ),
            Refusal::Identity => no(
                "UNAUTHENTICATED",
                "IDENTITY",
                "there is no open identity row with this role",
                "ask an admin of the tenant whether this identity is enrolled and open",
            ),
            Refusal::Role => no(
                "PERMISSION_DENIED",
                "ROLE",
                "the role does not allow it",
                "use a profile whose identity has the role",
            ),
            Refusal::Signature => no(
                "PERMISSION_DENIED",
                "SIGNATURE",
                "the signature is missing, foreign or altered",
                "check that the profile's signing key is the one that was enrolled",
            ),
            Refusal::ForeignTenant => no(
                "PERMISSION_DENIED",
                "FOREIGN_TENANT",
                "another tenant than the caller's is named",
                "check the profile's tenant id",
            ),
            Refusal::TenantSuspended => no(
                "FAILED_PRECONDITION",
                "TENANT_SUSPENDED",
                "the tenant is suspended, deleted or sealed",
                "ask whoever runs the cluster",
            ),
            Refusal::NotFound => {
                no("NOT_FOUND", "NOT_FOUND", "there is no such thing, or it is not yours", "check the name or id")
            }
            Refusal::SessionEnded => {
                no("FAILED_PRECONDITION", "SESSION_ENDED", "the client session has ended", "run the command again")
            }
            Refusal::SequenceOutOfWindow => no(
                "FAILED_PRECONDITION",
                "SEQUENCE_OUT_OF_WINDOW",
                "more commands are in flight than a session allows",
                "run the command again",
            ),
            Refusal::Withdrawn => no(
                "ABORTED",
                "WITHDRAWN",
                "the command was asked about before it was applied, and so never will be",
                "run the command again",
            ),
            Refusal::PreviousNotDone => {
                no("ABORTED", "PREVIOUS_NOT_DONE", "the command before it was not done", "run the command again")
            }
            Refusal::LeaseEnded => no(
                "FAILED_PRECONDITION",
                "LEASE_ENDED",
                "the upload's lease has ended",
                "run the backup again: what is there already is not sent again",
            ),
            Refusal::BudgetExceeded { left_bytes } => no(
                "RESOURCE_EXHAUSTED",
                "BUDGET",
                format_args!("the lease leaves {left_bytes} bytes"),
                "run the backup again; if quotas leave no more, it says so",
            ),
            Refusal::Quota { of, measure, hard, charged, asked } => no(
                "RESOURCE_EXHAUSTED",
                "QUOTA",
                format_args!(
                    "the {of} may have {hard} {measure}{}; {charged} are there or under way, and {asked} more were asked for",
                    if measure == Measure::StoredBytes { " in this shard" } else { "" }
                ),
                match of {
                    QuotaOwner::Tenant => "`strongroom usage` shows it; ask whoever runs the cluster for more",
                    QuotaOwner::Vault | QuotaOwner::Writer => {
                        "`strongroom usage` shows it; ask an admin of the tenant for more"
                    }
                },
            ),
            Refusal::Immutable => {
                no("ALREADY_EXISTS", "IMMUTABLE", "it exists and does not change", "choose another name or id")
            }
            Refusal::NameRetired => no(
                "ALREADY_EXISTS",
                "NAME_RETIRED",
                "the name or id was used before and is never given again",
                "choose another one",
            ),
            Refusal::VersionConflict => no(
                "ABORTED",
                "VERSION_CONFLICT",
                "another command came first",
                "look at the present state, then run the command again",
            ),
            Refusal::StatementVersion { stored } => no(
                "ABORTED",
                "VERSION_CONFLICT",
                format_args!("the vault's statement has version {stored}"),
                "sign the version that follows",
            ),
            Refusal::SetVersion { current } => no(
                "ABORTED",
                "SET_VERSION",
                format_args!("the tenant's shard set has version {current} now"),
                "run the command again: it places anew",
            ),
            Refusal::ManifestMismatch { why, missing_chunks, missing_nodes, groups } => no(
                "FAILED_PRECONDITION",
                "MANIFEST_MISMATCH",
                format_args!(
                    "{why} ({} chunks, {} nodes missing; groups {groups:?})",
                    missing_chunks.len(),
                    missing_nodes.len()
                ),
                "run the backup again: it sends what is missing",
            ),
            Refusal::PolicyMismatch => no(
                "FAILED_PRECONDITION",
                "POLICY_MISMATCH",
                "the vault's policy changed",
                "run the backup again: it reads the new policy",
            ),
            Refusal::ProvenanceInvalid { why } => Self::provenance(why),
            Refusal::Orphaned { parent } => no(
                "FAILED_PRECONDITION",
                "ORPHANED",
                format_args!("the parent snapshot {parent} does not exist"),
                "name an existing parent or none",
            ),
            Refusal::NeedsApproval => no(
                "FAILED_PRECONDITION",
                "NEEDS_APPROVAL",
                "approvals are needed",
                "collect the approvals of the tenant's approvers",
            ),
            Refusal::ForbiddenRoles => no(
                "PERMISSION_DENIED",
                "FORBIDDEN_ROLES",
                "one identity may not hold these roles together",
                "enrol two identities",
            ),
            Refusal::LockOutOfRange => no(
                "INVALID_ARGUMENT",
                "LOCK_OUT_OF_RANGE",
                "the lock is outside the vault's or the writer's range",
                "ask for a lock within the range, or for none: the vault's default",
            ),
            Refusal::Limit { what } => no("RESOURCE_EXHAUSTED", "LIMIT", what, "ask for less at once"),
            Refusal::TooThin => no(
                "UNAVAILABLE",
                "TOO_THIN",
                "the members that are up are too few for the vault's policy",
                "run the backup again when more members are up (`strongroom status`)",
            ),
            Refusal::TooManyBlobs { chunk } => no(
                "RESOURCE_EXHAUSTED",
                "TOO_MANY_BLOBS",
                format_args!("chunk {chunk} has more blobs than are kept"),
                "have a restorer verify and report the bad ones",
            ),
            Refusal::IdentityTaken { identity } => no(
                "ALREADY_EXISTS",
                "IDENTITY_TAKEN",
                format_args!("identity {identity} exists already"),
                "choose another id",
            ),
            Refusal::NotFromClients => no(
                "PERMISSION_DENIED",
                "NOT_FROM_CLIENTS",
                "only a node of the cluster may say this",
                "report this as a fault of the program",
            ),
            Refusal::DigestsDisagree => no(
                "UNAVAILABLE",
                "DIGESTS_DISAGREE",
                "the shard's voters hold different states and none has a majority",
                "ask whoever runs the cluster: a person must look at the shard",
            ),
            Refusal::TokenUsed => no(
                "PERMISSION_DENIED",
                "TOKEN_USED",
                "the token was redeemed before, by another key",
                "find out who had the token; if it was not you, have its identity closed; ask for a new token",
            ),
            Refusal::RetentionActive { .. } => no(
                "FAILED_PRECONDITION",
                "RETENTION_ACTIVE",
                "a lock keeps it",
                "wait until the lock is over: `strongroom lock show` says when, and which shards are behind",
            ),
            Refusal::Pinned => no(
                "FAILED_PRECONDITION",
                "PINNED",
                "a restore session reads it",
                "wait until the restore ends; one whose process was killed ends by itself within a day, or when it is run again",
            ),
            Refusal::WholeStands { whole } => no(
                "FAILED_PRECONDITION",
                "WHOLE_STANDS",
                format_args!("it is a stream of snapshot {whole}, which stands"),
                "delete the whole first",
            ),
            Refusal::VaultNotEmpty => no(
                "FAILED_PRECONDITION",
                "VAULT_NOT_EMPTY",
                "snapshots are left in the vault",
                "delete them first (`strongroom snapshots --vault …`); what is locked stays, and so does the vault",
            ),
            Refusal::Token => no(
                "UNAUTHENTICATED",
                "TOKEN",
                "there is no such token, or it has ended",
                "ask for a new token: it counts for minutes and once",
            ),
            Refusal::TicketEnded => no(
                "FAILED_PRECONDITION",
                "TICKET_ENDED",
                "the ticket is committed, given up, or out of time",
                "open another with `strongroom ticket open`, and let every writer join that",
            ),
            Refusal::StreamTaken => no(
                "ALREADY_EXISTS",
                "STREAM_TAKEN",
                "the ticket has a stream of this name already",
                "take another name; if its writer died, give its stream up with `strongroom ticket drop`, then join again",
            ),
            Refusal::StreamsDiffer { names } => no(
                "FAILED_PRECONDITION",
                "STREAMS_DIFFER",
                format_args!(
                    "not ready, not expected, lacking, or made under other rules: {}",
                    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                ),
                "see `strongroom ticket show`; wait for these streams, join again under their names, or drop them",
            ),
            Refusal::Unattested => no(
                "UNAVAILABLE",
                "UNATTESTED",
                "the voters of another shard have not signed what is said about it",
                "try again when more nodes are up",
            ),
            Refusal::LegalHold => no(
                "FAILED_PRECONDITION",
                "LEGAL_HOLD",
                "a legal hold keeps it",
                "ask whoever is legal in the tenant to remove its holds",
            ),
            Refusal::VaultLocked => no(
                "FAILED_PRECONDITION",
                "VAULT_LOCKED",
                "the vault is locked: its policy only gets stricter",
                "ask for as much as the policy says, or for more: `vault policy get` shows it",
            ),
            Refusal::LockCannotShrink { .. } => no(
                "FAILED_PRECONDITION",
                "LOCK_CANNOT_SHRINK",
                "a lock is never shortened or weakened so",
                "name a later date: `lock show` says until when it lasts",
            ),
        }
    }
}
