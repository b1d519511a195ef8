//! What callers are told when it is not done: one gRPC code, one reason that scripts can rely on, one text for people.
//!
//! The reason stands in the metadata under [`REASON`] and in front of the text: `REASON: text`. Foreign and absent look
//! the same. What the rules refuse comes back as a canonical outcome, not as a status; [`refusal`] names its code and
//! reason too, for metrics and for whoever must turn it into a status.
//!
//! Not here: the lines of the terminal (`client/cli`).

use strongroom_format::codec::FormatError;
use strongroom_format::outcome::Refusal;
use strongroom_format::seal::BlobError;
use strongroom_proto::{REASON, RETRY_AFTER_MS};
use strongroom_service::catalog::CatalogFault;
use strongroom_service::propose::ProposeFault;
use strongroom_service::rates::TooFast;
use strongroom_service::reads::ReadFault;
use strongroom_service::receipts::ReceiptFault;
use strongroom_service::restore::RestoreFault;
use strongroom_service::spread::SpreadError;
use strongroom_service::standing::NotStanding;
use strongroom_service::upload::UploadFault;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::metrics;

/// Why it is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// For machines that know gRPC.
    pub code: Code,
    /// For scripts.
    pub reason: &'static str,
    /// For people.
    pub text: String,
}

impl Answer {
    /// With a text of its own.
    pub fn new(code: Code, reason: &'static str, text: impl Into<String>) -> Self {
        Self { code, reason, text: text.into() }
    }
}

/// The status of an answer. Counts it.
pub fn status(answer: impl Into<Answer>) -> Status {
    let Answer { code, reason, text } = answer.into();
    metrics::refused(code, reason);
    let mut status = Status::new(code, format!("{reason}: {text}"));
    status.metadata_mut().insert(REASON, MetadataValue::from_static(reason));
    status
}

/// Faster than the tenant may, with when to come again.
pub fn too_fast(fault: TooFast) -> Status {
    let mut status = status(Answer::new(Code::ResourceExhausted, "RATE", fault.to_string()));
    let after_ms = MetadataValue::from(fault.again_after.as_millis().try_into().unwrap_or(u64::MAX));
    status.metadata_mut().insert(RETRY_AFTER_MS, after_ms);
    status
}

/// Not in this form.
pub fn invalid(text: impl Into<String>) -> Status {
    status(Answer::new(Code::InvalidArgument, "INVALID", text))
}

/// What the rules refused, as REFUSALS.md names it.
pub fn refusal(refusal: &Refusal) -> Answer {
    use Code::{
        Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted,
        Unauthenticated, Unavailable,
    };
    let (code, reason, text): (Code, &'static str, String) = match refusal {
        Refusal::Invalid { why } => (InvalidArgument, "INVALID", why.clone()),
        Refusal::UnsupportedFormat { why } => (InvalidArgument, "UNSUPPORTED_FORMAT", why.clone()),
        Refusal::WrongGroup => (FailedPrecondition, "WRONG_GROUP", "meant for another cluster epoch or group".into()),
        Refusal::Identity => (Unauthenticated, "IDENTITY", "there is no open identity with this role".into()),
        Refusal::Role => (PermissionDenied, "ROLE", "the role does not allow it".into()),
        Refusal::Signature => (PermissionDenied, "SIGNATURE", "the signature is missing, foreign or altered".into()),
        Refusal::ForeignTenant => (PermissionDenied, "FOREIGN_TENANT", "another tenant is named".into()),
        Refusal::TenantSuspended => (FailedPrecondition, "TENANT_SUSPENDED", "the tenant is suspended".into()),
        Refusal::NotFound => (NotFound, "NOT_FOUND", "there is no such thing, or it is not yours".into()),
        Refusal::SessionEnded => (FailedPrecondition, "SESSION_ENDED", "the session has ended".into()),
        Refusal::SequenceOutOfWindow => {
            (FailedPrecondition, "SEQUENCE_OUT_OF_WINDOW", "more commands are in flight than are allowed".into())
        }
        Refusal::Withdrawn => (Aborted, "WITHDRAWN", "it was asked about before it was applied".into()),
        Refusal::PreviousNotDone => (Aborted, "PREVIOUS_NOT_DONE", "the command before it was not done".into()),
        Refusal::LeaseEnded => (FailedPrecondition, "LEASE_ENDED", "the lease has ended".into()),
        Refusal::BudgetExceeded { left_bytes } => (ResourceExhausted, "BUDGET", format!("{left_bytes} bytes are left")),
        Refusal::Immutable => (AlreadyExists, "IMMUTABLE", "it exists and does not change".into()),
        Refusal::NameRetired => (AlreadyExists, "NAME_RETIRED", "it was used before and is never given again".into()),
        Refusal::VersionConflict => (Aborted, "VERSION_CONFLICT", "another command came first".into()),
        Refusal::StatementVersion { stored } => {
            (Aborted, "VERSION_CONFLICT", format!("the stored statement has version {stored}"))
        }
        Refusal::SetVersion { current } => (Aborted, "SET_VERSION", format!("the shard set has version {current}")),
        Refusal::ManifestMismatch { why, missing_chunks, missing_nodes, .. } => (
            FailedPrecondition,
            "MANIFEST_MISMATCH",
            format!("{why} ({} chunks and {} nodes are missing)", missing_chunks.len(), missing_nodes.len()),
        ),
        Refusal::PolicyMismatch => (FailedPrecondition, "POLICY_MISMATCH", "another policy is in force".into()),
        Refusal::ProvenanceInvalid { why } => (FailedPrecondition, "PROVENANCE_INVALID", why.clone()),
        Refusal::Orphaned { parent } => (FailedPrecondition, "ORPHANED", format!("there is no parent {parent}")),
        Refusal::NeedsApproval => (FailedPrecondition, "NEEDS_APPROVAL", "approvals are needed".into()),
        Refusal::ForbiddenRoles => {
            (PermissionDenied, "FORBIDDEN_ROLES", "one identity may not hold these roles together".into())
        }
        Refusal::LockOutOfRange => (InvalidArgument, "LOCK_OUT_OF_RANGE", "the lock is outside its range".into()),
        Refusal::Limit { what } => (ResourceExhausted, "LIMIT", what.clone()),
        Refusal::TooThin => (Unavailable, "TOO_THIN", "fragments lie in too few places for the policy".into()),
        Refusal::TooManyBlobs { .. } => {
            (ResourceExhausted, "TOO_MANY_BLOBS", "a chunk has more blobs than are kept".into())
        }
        Refusal::IdentityTaken { .. } => (AlreadyExists, "IDENTITY_TAKEN", "the identity exists already".into()),
        Refusal::NotFromClients => (PermissionDenied, "NOT_FROM_CLIENTS", "only a node may say this".into()),
        Refusal::DigestsDisagree => {
            (Unavailable, "DIGESTS_DISAGREE", "the shard's voters hold different states".into())
        }
        Refusal::TokenUsed => (Unauthenticated, "TOKEN_USED", "the token was redeemed before, by another key".into()),
        Refusal::Token => (Unauthenticated, "TOKEN", "there is no such token, or it has ended".into()),
        Refusal::TicketEnded => (FailedPrecondition, "TICKET_ENDED", "the ticket is decided or out of time".into()),
        Refusal::StreamTaken => (AlreadyExists, "STREAM_TAKEN", "the ticket has a stream of this name already".into()),
        Refusal::StreamsDiffer { names } => {
            (FailedPrecondition, "STREAMS_DIFFER", format!("{} streams are not as is said", names.len()))
        }
        Refusal::RetentionActive { .. } => (FailedPrecondition, "RETENTION_ACTIVE", "a lock keeps it".into()),
        Refusal::Pinned => (FailedPrecondition, "PINNED", "a restore session reads it".into()),
        Refusal::WholeStands { whole } => {
            (FailedPrecondition, "WHOLE_STANDS", format!("it is a stream of snapshot {whole}, which stands"))
        }
        Refusal::VaultNotEmpty => (FailedPrecondition, "VAULT_NOT_EMPTY", "snapshots are left in the vault".into()),
        Refusal::Unattested => {
            (Unavailable, "UNATTESTED", "the voters of another shard have not signed what is said about it".into())
        }
        Refusal::LegalHold => (FailedPrecondition, "LEGAL_HOLD", "a legal hold keeps it".into()),
        Refusal::VaultLocked => {
            (FailedPrecondition, "VAULT_LOCKED", "the vault is locked: its policy only gets stricter".into())
        }
        Refusal::LockCannotShrink { .. } => {
            (FailedPrecondition, "LOCK_CANNOT_SHRINK", "a lock is never shortened or weakened so".into())
        }
        Refusal::Quota { of, measure, hard, charged, asked } => (
            ResourceExhausted,
            "QUOTA",
            format!(
                "the {of} may have {hard} {measure}; {charged} are there or under way, {asked} more were asked for"
            ),
        ),
    };
    Answer { code, reason, text }
}

/// A call that does not exist on this plane, or not for this role.
pub fn denied(denied: strongroom_identity::admission::Denied) -> Status {
    use strongroom_identity::admission::Denied;
    status(match denied {
        Denied::NoSuchCall => Answer::new(Code::Unimplemented, "NO_SUCH_CALL", "there is no such call"),
        Denied::Role => refusal(&Refusal::Role),
    })
}

/// The certificate has ended, or was taken back, since the connection was made (N17, N18).
pub fn not_valid_any_more() -> Status {
    status(Answer::new(Code::Unauthenticated, "CERTIFICATE", "the certificate is not valid any more"))
}

/// Another tenant than the certificate's is named: one text, whoever it is and whether or not it exists (N20).
pub fn foreign_tenant() -> Status {
    status(refusal(&Refusal::ForeignTenant))
}

/// Another identity than the certificate's is named.
pub fn foreign_principal() -> Status {
    status(Answer::new(Code::PermissionDenied, "FOREIGN_PRINCIPAL", "another identity than the caller's is named"))
}

fn not_found() -> Answer {
    refusal(&Refusal::NotFound)
}

impl From<FormatError> for Answer {
    fn from(fault: FormatError) -> Self {
        let reason = match fault {
            FormatError::UnsupportedVersion { .. } => "UNSUPPORTED_FORMAT",
            FormatError::TooLong { .. } | FormatError::Malformed { .. } => "INVALID",
        };
        Self::new(Code::InvalidArgument, reason, fault.to_string())
    }
}

impl From<NotStanding> for Answer {
    fn from(not: NotStanding) -> Self {
        match not {
            NotStanding::Identity => refusal(&Refusal::Identity),
            NotStanding::Suspended => refusal(&Refusal::TenantSuspended),
            NotStanding::Unavailable => Self::new(Code::Unavailable, "NO_LEADER", not.to_string()),
        }
    }
}

impl From<ReadFault> for Answer {
    fn from(fault: ReadFault) -> Self {
        let text = fault.to_string();
        match fault {
            ReadFault::Unavailable => Self::new(Code::Unavailable, "NO_LEADER", text),
            ReadFault::Malformed { .. } => Self::new(Code::Internal, "DAMAGED", text),
        }
    }
}

impl From<ProposeFault> for Answer {
    fn from(fault: ProposeFault) -> Self {
        let text = fault.to_string();
        match fault {
            ProposeFault::NoLeader => Self::new(Code::Unavailable, "NO_LEADER", text),
            ProposeFault::Busy => Self::new(Code::ResourceExhausted, "BUSY", text),
            ProposeFault::DiskFull => Self::new(Code::ResourceExhausted, "DISK_FULL", text),
            ProposeFault::TooLong { .. } => Self::new(Code::ResourceExhausted, "LIMIT", text),
            ProposeFault::Unknown { .. } => Self::new(Code::Unknown, "OUTCOME_UNKNOWN", text),
        }
    }
}

impl From<CatalogFault> for Answer {
    fn from(fault: CatalogFault) -> Self {
        match fault {
            CatalogFault::NotFound => not_found(),
            CatalogFault::Ambiguous => Self::new(Code::InvalidArgument, "AMBIGUOUS", fault.to_string()),
            CatalogFault::Invalid { why } => Self::new(Code::InvalidArgument, "INVALID", why),
            CatalogFault::Read(fault) => fault.into(),
        }
    }
}

impl From<BlobError> for Answer {
    fn from(error: BlobError) -> Self {
        let reason = match error {
            BlobError::UnsupportedVersion { .. }
            | BlobError::UnsupportedSuite { .. }
            | BlobError::UnsupportedKind { .. }
            | BlobError::Damaged { .. } => "UNSUPPORTED_FORMAT",
            BlobError::CommitmentMismatch => "COMMITMENT_MISMATCH",
            BlobError::LengthMismatch { .. } => "INVALID",
        };
        Self::new(Code::InvalidArgument, reason, error.to_string())
    }
}

impl From<SpreadError> for Answer {
    fn from(error: SpreadError) -> Self {
        let text = error.to_string();
        match error {
            SpreadError::HashMismatch => Self::new(Code::InvalidArgument, "HASH_MISMATCH", text),
            SpreadError::Length { .. } => Self::new(Code::InvalidArgument, "INVALID", text),
            SpreadError::LeaseEnded => refusal(&Refusal::LeaseEnded),
            SpreadError::BudgetExceeded => refusal(&Refusal::BudgetExceeded { left_bytes: 0 }),
            SpreadError::TooThin { .. } => refusal(&Refusal::TooThin),
            SpreadError::TooFew => Self::new(Code::Unavailable, "TOO_FEW_MEMBERS", text),
            SpreadError::DiskFull => Self::new(Code::ResourceExhausted, "DISK_FULL", text),
            SpreadError::NotAMember => Self::new(Code::Unavailable, "NOT_A_MEMBER", text),
            SpreadError::Coding(_) | SpreadError::Lane(_) => {
                Self::new(Code::Internal, "INTERNAL", "see the node's log")
            }
        }
    }
}

impl From<UploadFault> for Answer {
    fn from(fault: UploadFault) -> Self {
        match fault {
            UploadFault::NotFound => not_found(),
            UploadFault::Invalid { why } => Self::new(Code::InvalidArgument, "INVALID", why),
            UploadFault::Blob(error) => error.into(),
            UploadFault::Spread(error) => error.into(),
            UploadFault::Propose(fault) => fault.into(),
            UploadFault::Read(fault) => fault.into(),
        }
    }
}

impl From<RestoreFault> for Answer {
    fn from(fault: RestoreFault) -> Self {
        match fault {
            RestoreFault::NotFound => not_found(),
            RestoreFault::Role => refusal(&Refusal::Role),
            RestoreFault::OutOfRange { why } => Self::new(Code::OutOfRange, "OUT_OF_RANGE", why),
            RestoreFault::Damaged { .. } => Self::new(Code::DataLoss, "DAMAGED", fault.to_string()),
            RestoreFault::NotAMember => Self::new(Code::Unavailable, "NOT_A_MEMBER", fault.to_string()),
            RestoreFault::Read(fault) => fault.into(),
        }
    }
}

impl From<ReceiptFault> for Answer {
    fn from(fault: ReceiptFault) -> Self {
        match fault {
            ReceiptFault::NotFound => not_found(),
            ReceiptFault::Shorter { .. } => Self::new(Code::FailedPrecondition, "ROLLBACK_DETECTED", fault.to_string()),
            ReceiptFault::NoMajority { .. } => Self::new(Code::Unavailable, "NO_MAJORITY", fault.to_string()),
            ReceiptFault::Damaged { .. } => Self::new(Code::DataLoss, "DAMAGED", fault.to_string()),
            ReceiptFault::Read(fault) => fault.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_format::code::Strength;
    use strongroom_format::id::{ChunkId, SetVersion, SnapshotId, StatementVersion};

    use super::*;

    fn code_and_reason(answer: impl Into<Answer>) -> (Code, &'static str) {
        let answer = answer.into();
        (answer.code, answer.reason)
    }

    #[test]
    fn refusals_have_the_codes_and_reasons_that_scripts_rely_on() {
        let why = || String::from("why");
        let of = |refused: Refusal| code_and_reason(refusal(&refused));
        assert_eq!(of(Refusal::ForeignTenant), (Code::PermissionDenied, "FOREIGN_TENANT"));
        assert_eq!(of(Refusal::NotFound), (Code::NotFound, "NOT_FOUND"));
        assert_eq!(of(Refusal::TenantSuspended), (Code::FailedPrecondition, "TENANT_SUSPENDED"));
        assert_eq!(of(Refusal::Identity), (Code::Unauthenticated, "IDENTITY"));
        assert_eq!(of(Refusal::UnsupportedFormat { why: why() }), (Code::InvalidArgument, "UNSUPPORTED_FORMAT"));
        assert_eq!(of(Refusal::Immutable), (Code::AlreadyExists, "IMMUTABLE"));
        assert_eq!(of(Refusal::NameRetired), (Code::AlreadyExists, "NAME_RETIRED"));
        assert_eq!(of(Refusal::VersionConflict), (Code::Aborted, "VERSION_CONFLICT"));
        assert_eq!(of(Refusal::SetVersion { current: SetVersion(2) }), (Code::Aborted, "SET_VERSION"));
        assert_eq!(of(Refusal::StatementVersion { stored: StatementVersion(2) }), (Code::Aborted, "VERSION_CONFLICT"));
        assert_eq!(of(Refusal::NeedsApproval), (Code::FailedPrecondition, "NEEDS_APPROVAL"));
        assert_eq!(of(Refusal::PolicyMismatch), (Code::FailedPrecondition, "POLICY_MISMATCH"));
        assert_eq!(of(Refusal::ProvenanceInvalid { why: why() }), (Code::FailedPrecondition, "PROVENANCE_INVALID"));
        let parent = SnapshotId::from_bytes([1; 16]);
        assert_eq!(of(Refusal::Orphaned { parent }), (Code::FailedPrecondition, "ORPHANED"));
        assert_eq!(of(Refusal::TooThin), (Code::Unavailable, "TOO_THIN"));
        let active = Refusal::RetentionActive { until_unix_ms: None };
        assert_eq!(of(active), (Code::FailedPrecondition, "RETENTION_ACTIVE"));
        assert_eq!(of(Refusal::LegalHold), (Code::FailedPrecondition, "LEGAL_HOLD"));
        assert_eq!(of(Refusal::VaultLocked), (Code::FailedPrecondition, "VAULT_LOCKED"));
        let shrinks = Refusal::LockCannotShrink { until_unix_ms: 0 };
        assert_eq!(of(shrinks), (Code::FailedPrecondition, "LOCK_CANNOT_SHRINK"));
        let chunk = ChunkId::from_bytes([1; 32]);
        assert_eq!(of(Refusal::TooManyBlobs { chunk }), (Code::ResourceExhausted, "TOO_MANY_BLOBS"));
        let mismatch =
            Refusal::ManifestMismatch { why: why(), missing_chunks: vec![], missing_nodes: vec![], groups: vec![] };
        assert_eq!(of(mismatch), (Code::FailedPrecondition, "MANIFEST_MISMATCH"));
    }

    #[test]
    fn n33_bytes_with_another_hash_are_the_callers_fault() {
        assert_eq!(code_and_reason(SpreadError::HashMismatch), (Code::InvalidArgument, "HASH_MISMATCH"));
    }

    #[test]
    fn n36_unknown_versions_and_suites_are_told_apart_from_damage_of_ours() {
        for error in [
            BlobError::UnsupportedVersion { found: 9 },
            BlobError::UnsupportedSuite { found: 9 },
            BlobError::UnsupportedKind { found: 9 },
            BlobError::Damaged { why: "not a blob" },
        ] {
            assert_eq!(code_and_reason(error), (Code::InvalidArgument, "UNSUPPORTED_FORMAT"));
        }
        let version = FormatError::UnsupportedVersion { name: "envelope", found: 9, known: 1 };
        assert_eq!(code_and_reason(version), (Code::InvalidArgument, "UNSUPPORTED_FORMAT"));
    }

    #[test]
    fn what_may_have_happened_is_unknown_and_what_did_not_is_unavailable() {
        assert_eq!(code_and_reason(ProposeFault::Unknown { why: String::new() }).0, Code::Unknown);
        assert_eq!(code_and_reason(ProposeFault::NoLeader).0, Code::Unavailable);
        let thin = SpreadError::TooThin { strength: Strength { regions: 0, nodes: 1 } };
        assert_eq!(code_and_reason(thin), (Code::Unavailable, "TOO_THIN"));
        assert_eq!(code_and_reason(SpreadError::TooFew), (Code::Unavailable, "TOO_FEW_MEMBERS"));
    }

    #[test]
    fn n21_what_is_foreign_and_what_is_absent_read_alike_on_every_way() {
        let all: [Answer; 4] = [
            CatalogFault::NotFound.into(),
            UploadFault::NotFound.into(),
            RestoreFault::NotFound.into(),
            ReceiptFault::NotFound.into(),
        ];
        assert!(all.iter().all(|answer| *answer == refusal(&Refusal::NotFound)));
    }

    #[test]
    fn the_reason_stands_in_the_metadata_and_in_front_of_the_text() {
        let status = status(refusal(&Refusal::Role));
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(status.metadata().get(REASON).unwrap(), "ROLE");
        assert_eq!(status.message(), "ROLE: the role does not allow it");
    }
}
