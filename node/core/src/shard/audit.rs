//! The audit log: one Merkle tree per tenant and shard, made in `apply` (DESIGN.md §7.6). The tree of the home shard is
//! *the* tenant's log; another shard's holds what was decided there.
//!
//!     decision, commit ───────────────▶ a leaf at once
//!     data-plane batch, refusal beyond one a second ──▶ pending ──a minute on E──▶ one leaf a kind, with the count
//!
//! A leaf's salt comes from the entry's, so nobody guesses a record from its hash. Law: the head is the tree over the
//! leaves (`laws/audit_head_is_the_tree.rs`). Not here: signing checkpoints (`node/service`).

use strongroom_format::codec::{self, Format};
use strongroom_format::command::{Body, Command, OperatorBody};
use strongroom_format::ending::EndOrder;
use strongroom_format::id::{Digest, IdentityId};
use strongroom_format::lock_order::LockOrder;
use strongroom_format::merkle::Salt;
use strongroom_format::outcome::Refusal;
use strongroom_format::receipt::{AuditEvent, AuditRecord};

use crate::entry::{Limited, Standing, TenantState};
use crate::shard::at::At;
use crate::shard::ends::{self, End};
use crate::shard::rows::{AuditHeadRow, LeafRow, Pending, SubtreeRow};
use crate::shard::scope::TenantScope;
use crate::tables::{Halt, Tables};

/// How long pending things wait for their leaf.
pub(crate) const BATCH_MS: u64 = 60_000;
/// One refusal in so long has a leaf of its own.
pub(crate) const REFUSAL_MS: u64 = 1_000;
/// Marks a batch of refusals.
const REFUSED: u16 = 0x4000;
/// What a redemption is called: it is no command of an identity, for it makes one.
pub(crate) const REDEEM: u16 = 0x2000;
/// Marks what an operator decided in the cluster group.
const OPERATORS: u16 = 0x8000;

/// How a command enters the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// It decides: a leaf.
    Decision,
    /// It carries data: counted.
    Batch,
    /// It changes nothing that anybody would ask about.
    Nothing,
}

/// How a kind of command enters the log.
pub(crate) fn weight(body: &Body) -> Weight {
    match body {
        Body::OpenSession { .. }
        | Body::EndSession
        | Body::EnrolIdentity { .. }
        | Body::CloseIdentity { .. }
        | Body::CreateVault { .. }
        | Body::UpdateStatement { .. }
        | Body::PutCard { .. }
        | Body::OpenSnapshot(_)
        | Body::JoinSnapshot { .. }
        | Body::SealPart { .. }
        | Body::CommitSnapshot { .. }
        | Body::AbortSnapshot { .. }
        | Body::OpenRestore { .. }
        | Body::EndRestore { .. }
        | Body::ReportBlob { .. }
        | Body::IssueToken { .. }
        | Body::OpenTicket(_)
        | Body::AbortTicket { .. }
        | Body::End(_)
        | Body::Lock(_)
        | Body::SetQuotas { .. } => Weight::Decision,
        Body::TopUp { .. } | Body::RegisterChunks { .. } | Body::PutNodes { .. } => Weight::Batch,
        Body::Ask { .. } => Weight::Nothing,
    }
}

/// Appends an event; returns its leaf's number.
pub(crate) fn append(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    event: AuditEvent,
) -> Result<u64, Halt> {
    let mut head: AuditHeadRow = scope.get(&*tables, &())?.unwrap_or_default();
    let leaf = append_to(&mut head, at, scope, tables, event)?;
    scope.put(tables, &(), &head)?;
    Ok(leaf)
}

/// Enters a command that was done.
pub(crate) fn allowed(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    command: &Command,
) -> Result<(), Halt> {
    let event = decision(command, true, reason_given(&command.body));
    match weight(&command.body) {
        // A commit, or an end, has entered the log itself: the snapshot's row names the leaf. So has a stream that is ready.
        Weight::Decision
            if matches!(command.body, Body::CommitSnapshot { .. } | Body::End(EndOrder::DeleteSnapshot { .. })) =>
        {
            Ok(())
        }
        Weight::Decision => append(at, scope, tables, event).map(|_| ()),
        Weight::Batch => {
            let mut head: AuditHeadRow = scope.get(&*tables, &())?.unwrap_or_default();
            pend(&mut head, at, scope, tables, command.body.kind(), event)?;
            scope.put(tables, &(), &head)
        }
        Weight::Nothing => Ok(()),
    }
}

/// Enters a command that was refused.
pub(crate) fn refused(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    command: &Command,
    refusal: &Refusal,
) -> Result<(), Halt> {
    let event = decision(command, false, word(refusal).to_owned());
    match weight(&command.body) {
        Weight::Nothing => Ok(()),
        weight => refuse(at, scope, tables, command.body.kind(), weight, event),
    }
}

/// Enters a refusal: one a second of its own, all others counted, so that no number is missing (N145).
fn refuse(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    kind: u16,
    weight: Weight,
    event: AuditEvent,
) -> Result<(), Halt> {
    let mut head: AuditHeadRow = scope.get(&*tables, &())?.unwrap_or_default();
    let rested = head.refused_ms.is_none_or(|last_ms| last_ms.saturating_add(REFUSAL_MS) <= at.now_ms);
    if weight == Weight::Decision && rested {
        head.refused_ms = Some(at.now_ms);
        append_to(&mut head, at, scope, tables, event)?;
    } else {
        pend(&mut head, at, scope, tables, kind | REFUSED, event)?;
    }
    scope.put(tables, &(), &head)
}

/// A redemption by somebody who has the token.
pub(crate) struct Redeemed<'a> {
    /// Whom the token makes.
    pub(crate) identity: &'a IdentityId,
    /// The token.
    pub(crate) token: Digest,
    /// The redemption.
    pub(crate) by: Digest,
}

impl Redeemed<'_> {
    fn event(&self, allowed: bool, reason: &str) -> AuditEvent {
        AuditEvent::Decision {
            kind: REDEEM,
            principal: self.identity.clone(),
            subject: [*self.token.as_bytes(), *self.by.as_bytes()].concat(),
            allowed,
            reason: reason.to_owned(),
        }
    }
}

/// Enters that a token was redeemed.
pub(crate) fn redeemed(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    redeemed: &Redeemed<'_>,
) -> Result<(), Halt> {
    append(at, scope, tables, redeemed.event(true, "")).map(|_| ())
}

/// Enters that a redemption was refused.
pub(crate) fn redemption_refused(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    redeemed: &Redeemed<'_>,
    refusal: &Refusal,
) -> Result<(), Halt> {
    refuse(at, scope, tables, REDEEM, Weight::Decision, redeemed.event(false, word(refusal)))
}

/// Enters what an operator decided about the tenant.
pub(crate) fn stands(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    standing: &Standing,
) -> Result<(), Halt> {
    let tenant = scope.tenant();
    let reason = String::new();
    let body = match standing.state {
        TenantState::Active => OperatorBody::ResumeTenant { tenant, reason },
        TenantState::Suspended => OperatorBody::SuspendTenant { tenant, reason },
        TenantState::Ended => OperatorBody::EndTenant { tenant, reason },
    };
    let event = AuditEvent::Decision {
        kind: OPERATORS | body.kind(),
        principal: standing.by.clone(),
        subject: standing.version.to_le_bytes().to_vec(),
        allowed: true,
        reason: standing.reason.clone(),
    };
    append(at, scope, tables, event).map(|_| ())
}

/// Enters what an operator decided that the tenant may have. The subject is the version, and then the limits.
pub(crate) fn limited(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    limited: &Limited,
) -> Result<(), Halt> {
    let Limited { version, limits, by, reason } = limited;
    let body = OperatorBody::LimitTenant { tenant: scope.tenant(), limits: *limits, reason: String::new() };
    let mut subject = version.to_le_bytes().to_vec();
    subject.extend(borsh::to_vec(limits).expect("memory takes any bytes"));
    let event = AuditEvent::Decision {
        kind: OPERATORS | body.kind(),
        principal: by.clone(),
        subject,
        allowed: true,
        reason: reason.clone(),
    };
    append(at, scope, tables, event).map(|_| ())
}

/// Enters what the rules did to a snapshot without being asked.
pub(crate) fn aborted(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    principal: IdentityId,
    snapshot: strongroom_format::id::SnapshotId,
) -> Result<(), Halt> {
    entered(at, scope, tables, &Body::AbortSnapshot { snapshot }, principal, "the lease ended")
}

/// Enters what was done as if it had been asked for.
pub(crate) fn entered(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    body: &Body,
    principal: IdentityId,
    reason: &str,
) -> Result<(), Halt> {
    let event = AuditEvent::Decision {
        kind: body.kind(),
        principal,
        subject: subject(body),
        allowed: true,
        reason: reason.into(),
    };
    append(at, scope, tables, event).map(|_| ())
}

/// Enters that a lock became weaker, as was asked for long enough ago.
pub(crate) fn weakened(
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    principal: IdentityId,
    snapshot: strongroom_format::id::SnapshotId,
) -> Result<(), Halt> {
    let event = AuditEvent::Decision {
        kind: LockOrder::FIRST_KIND + 4,
        principal,
        subject: snapshot.as_bytes().to_vec(),
        allowed: true,
        reason: "the lock was weakened: nobody cancelled it".into(),
    };
    append(at, scope, tables, event).map(|_| ())
}

/// Makes leaves of what was pending.
pub(crate) fn flush(at: &At<'_>, scope: &TenantScope, tables: &mut dyn Tables) -> Result<(), Halt> {
    let mut head: AuditHeadRow = scope.get(&*tables, &())?.unwrap_or_default();
    for Pending { kind, count, digest } in std::mem::take(&mut head.pending) {
        append_to(&mut head, at, scope, tables, AuditEvent::Batch { kind, count, digest })?;
    }
    scope.put(tables, &(), &head)
}

fn append_to(
    head: &mut AuditHeadRow,
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    event: AuditEvent,
) -> Result<u64, Halt> {
    let leaf = head.frontier.size();
    let record = record(at, event);
    let salt = salt(at, scope, leaf);
    for (node, hash) in head.frontier.append(record.leaf(&salt)) {
        scope.put(tables, &(node.level, node.index), &SubtreeRow { hash })?;
    }
    scope.put(tables, &(leaf,), &LeafRow { salt, record: codec::encode(&record) })?;
    Ok(leaf)
}

fn pend(
    head: &mut AuditHeadRow,
    at: &At<'_>,
    scope: &TenantScope,
    tables: &mut dyn Tables,
    kind: u16,
    event: AuditEvent,
) -> Result<(), Halt> {
    if head.pending.is_empty() {
        ends::schedule(tables, at.now_ms.saturating_add(BATCH_MS), scope.tenant(), End::AuditBatch)?;
    }
    let place = match head.pending.binary_search_by_key(&kind, |pending| pending.kind) {
        Ok(place) => place,
        Err(place) => {
            head.pending.insert(place, Pending { kind, count: 0, digest: Digest::from_bytes([0; 32]) });
            place
        }
    };
    let pending = &mut head.pending[place];
    let mut hasher = blake3::Hasher::new();
    hasher.update(pending.digest.as_bytes()).update(&codec::encode(&record(at, event)));
    pending.digest = Digest::from_bytes(*hasher.finalize().as_bytes());
    pending.count = pending.count.saturating_add(1);
    Ok(())
}

fn record(at: &At<'_>, event: AuditEvent) -> AuditRecord {
    AuditRecord {
        group: at.group(),
        place: at.place,
        elapsed_ms: at.now_ms,
        wall_unix_ms: i64::try_from(at.wall_unix_ms).unwrap_or(i64::MAX),
        event,
    }
}

/// `BLAKE3-derive-key(entry's salt ‖ place ‖ tenant ‖ leaf)`, its first 16 bytes: each leaf has its own, and a tenant
/// that knows its salts learns nobody else's.
fn salt(at: &At<'_>, scope: &TenantScope, leaf: u64) -> Salt {
    let mut hasher = blake3::Hasher::new_derive_key("strongroom 2026-11 salt of an audit leaf 1");
    hasher.update(at.salt).update(&at.place.number().to_le_bytes());
    hasher.update(scope.tenant().as_bytes()).update(&leaf.to_le_bytes());
    let mut salt = [0; 16];
    salt.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Salt(salt)
}

fn decision(command: &Command, allowed: bool, reason: String) -> AuditEvent {
    AuditEvent::Decision {
        kind: command.body.kind(),
        principal: command.principal.clone(),
        subject: subject(&command.body),
        allowed,
        reason,
    }
}

fn reason_given(body: &Body) -> String {
    let given = match body {
        Body::CloseIdentity { reason, .. } => reason,
        Body::OpenRestore { purpose, .. } => purpose,
        Body::End(order) => return order.reason().to_owned(),
        Body::Lock(order) => return order.reason().to_owned(),
        _ => return String::new(),
    };
    given.clone()
}

/// What a command is about: canonical ids, never longer than a record allows.
fn subject(body: &Body) -> Vec<u8> {
    let hash = |bytes: &[u8]| blake3::hash(bytes).as_bytes().to_vec();
    let name = |identity: &IdentityId| identity.0.as_str().as_bytes().to_vec();
    match body {
        Body::OpenSession { nonce, .. } => nonce.as_bytes().to_vec(),
        Body::EndSession => Vec::new(),
        Body::Ask { sequence } => sequence.to_le_bytes().to_vec(),
        Body::EnrolIdentity { identity, .. } | Body::CloseIdentity { identity, .. } => name(identity),
        Body::CreateVault { statement, .. } | Body::UpdateStatement { statement } => hash(statement),
        Body::PutCard { card } => hash(card),
        Body::OpenSnapshot(open) => {
            let stream = open.stream.as_ref();
            let ticket = stream.map_or(&[][..], |of| of.ticket.as_bytes());
            let name = stream.map_or("", |of| of.name.0.as_str());
            [open.snapshot.as_bytes().as_slice(), open.vault.as_bytes(), ticket, name.as_bytes()].concat()
        }
        Body::JoinSnapshot { opened } => opened.value.snapshot.as_bytes().to_vec(),
        Body::TopUp { lease, .. } | Body::RegisterChunks { lease, .. } | Body::PutNodes { lease, .. } => {
            lease.0.to_le_bytes().to_vec()
        }
        Body::SealPart { snapshot, .. } | Body::AbortSnapshot { snapshot } => snapshot.as_bytes().to_vec(),
        Body::CommitSnapshot { envelope, .. } => hash(envelope),
        Body::OpenRestore { snapshots, .. } => {
            let ids = snapshots.iter().take(AuditEvent::SUBJECT_BYTES_MAX / 16);
            ids.flat_map(|snapshot| *snapshot.as_bytes()).collect()
        }
        Body::EndRestore { restore } => restore.0.to_le_bytes().to_vec(),
        Body::OpenTicket(open) => [open.ticket.as_bytes().as_slice(), open.vault.as_bytes()].concat(),
        Body::AbortTicket { ticket } => ticket.as_bytes().to_vec(),
        Body::End(order) => order.subject().to_vec(),
        Body::IssueToken { token, identity, .. } => [token.as_bytes().to_vec(), name(identity)].concat(),
        Body::Lock(order) => about(order),
        // Whose, and how much: who reads the log sees what was decided.
        Body::SetQuotas { of, quotas } => borsh::to_vec(&(of, quotas)).expect("memory takes any bytes"),
        Body::ReportBlob { vault, domain, chunk, blob, snapshot } => {
            [vault.as_bytes().as_slice(), domain.as_bytes(), chunk.as_bytes(), blob.as_bytes(), snapshot.as_bytes()]
                .concat()
        }
    }
}

/// What an order about a policy, a lock or a hold is about, and what it asks: a policy by its hash.
fn about(order: &LockOrder) -> Vec<u8> {
    match order {
        LockOrder::SetPolicy { vault, policy, .. } => {
            let encoded = borsh::to_vec(policy).unwrap_or_default();
            let version = policy.version.0.to_le_bytes();
            [vault.as_bytes().as_slice(), &version, blake3::hash(&encoded).as_bytes()].concat()
        }
        LockOrder::LockVault { vault, cooling_off_ms, .. } => {
            [vault.as_bytes().as_slice(), &cooling_off_ms.to_le_bytes()].concat()
        }
        LockOrder::WithdrawVaultLock { vault, .. } => vault.as_bytes().to_vec(),
        LockOrder::ExtendLock { snapshot, mode, longer, .. } => {
            [snapshot.as_bytes().to_vec(), borsh::to_vec(&(mode, longer)).unwrap_or_default()].concat()
        }
        LockOrder::WeakenLock { snapshot, length_ms, .. } => {
            [snapshot.as_bytes().as_slice(), &length_ms.to_le_bytes()].concat()
        }
        LockOrder::CancelWeakening { snapshot, .. } => snapshot.as_bytes().to_vec(),
        LockOrder::AddHold { snapshot, hold, .. } | LockOrder::RemoveHold { snapshot, hold, .. } => {
            [snapshot.as_bytes().as_slice(), hold.0.as_str().as_bytes()].concat()
        }
    }
}

/// What audit records call a refusal. Words are never changed: records are compared for ever.
fn word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Invalid { .. } => "INVALID",
        Refusal::UnsupportedFormat { .. } => "UNSUPPORTED_FORMAT",
        Refusal::WrongGroup => "WRONG_GROUP",
        Refusal::Identity => "IDENTITY",
        Refusal::Role => "ROLE",
        Refusal::Signature => "SIGNATURE",
        Refusal::ForeignTenant => "FOREIGN_TENANT",
        Refusal::TenantSuspended => "TENANT_SUSPENDED",
        Refusal::NotFound => "NOT_FOUND",
        Refusal::SessionEnded => "SESSION_ENDED",
        Refusal::SequenceOutOfWindow => "SEQUENCE_OUT_OF_WINDOW",
        Refusal::Withdrawn => "WITHDRAWN",
        Refusal::PreviousNotDone => "PREVIOUS_NOT_DONE",
        Refusal::LeaseEnded => "LEASE_ENDED",
        Refusal::BudgetExceeded { .. } => "BUDGET_EXCEEDED",
        Refusal::Immutable => "IMMUTABLE",
        Refusal::NameRetired => "NAME_RETIRED",
        Refusal::VersionConflict => "VERSION_CONFLICT",
        Refusal::StatementVersion { .. } => "STATEMENT_VERSION",
        Refusal::SetVersion { .. } => "SET_VERSION",
        Refusal::ManifestMismatch { .. } => "MANIFEST_MISMATCH",
        Refusal::PolicyMismatch => "POLICY_MISMATCH",
        Refusal::ProvenanceInvalid { .. } => "PROVENANCE_INVALID",
        Refusal::Orphaned { .. } => "ORPHANED",
        Refusal::NeedsApproval => "NEEDS_APPROVAL",
        Refusal::ForbiddenRoles => "FORBIDDEN_ROLES",
        Refusal::LockOutOfRange => "LOCK_OUT_OF_RANGE",
        Refusal::Limit { .. } => "LIMIT",
        Refusal::TooThin => "TOO_THIN",
        Refusal::TooManyBlobs { .. } => "TOO_MANY_BLOBS",
        Refusal::IdentityTaken { .. } => "IDENTITY_TAKEN",
        Refusal::NotFromClients => "NOT_FROM_CLIENTS",
        Refusal::DigestsDisagree => "DIGESTS_DISAGREE",
        Refusal::TokenUsed => "TOKEN_USED",
        Refusal::Token => "TOKEN",
        Refusal::TicketEnded => "TICKET_ENDED",
        Refusal::StreamTaken => "STREAM_TAKEN",
        Refusal::StreamsDiffer { .. } => "STREAMS_DIFFER",
        Refusal::RetentionActive { .. } => "RETENTION_ACTIVE",
        Refusal::Pinned => "PINNED",
        Refusal::VaultNotEmpty => "VAULT_NOT_EMPTY",
        Refusal::WholeStands { .. } => "WHOLE_STANDS",
        Refusal::Unattested => "UNATTESTED",
        Refusal::LegalHold => "LEGAL_HOLD",
        Refusal::VaultLocked => "VAULT_LOCKED",
        Refusal::LockCannotShrink { .. } => "LOCK_CANNOT_SHRINK",
        Refusal::Quota { .. } => "QUOTA",
    }
}

const _: () = assert!(AuditRecord::BYTES_MAX + 64 < 8192, "a leaf row takes every record");
