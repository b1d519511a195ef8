//! Commands and outcomes: one sample of each variant, so that their numbers and fields stay what they are.

use strongroom_format::approval::Approval;
use strongroom_format::code::Strength;
use strongroom_format::codec::{self, Format};
use strongroom_format::command::{
    Attested, BlobRef, Body, Command, HandedOver, MemberSignature, OpenSnapshot, Opened, OperatorBody, OperatorCommand,
    RegisteredChunk, Sealed,
};
use strongroom_format::ending::EndOrder;
use strongroom_format::gathered::{ExpectedStream, OpenTicket};
use strongroom_format::id::{
    BlobId, ChunkId, GroupId, HoldName, KeyEpoch, LeaseId, Nonce, PolicyVersion, PublicKey, ReplicaId, SessionId,
    SetVersion, Signature, Slot, StatementVersion, TreeId, VaultId,
};
use strongroom_format::lock::{LockMode, LockRange, LockTerms, Longer};
use strongroom_format::lock_order::LockOrder;
use strongroom_format::outcome::{Done, Outcome, Redeemed, Refusal};
use strongroom_format::policy::{KeepRules, Policy};
use strongroom_format::quota::{Measure, Quota, QuotaOwner, QuotaSubject, Quotas, StoredShares, TenantLimits};
use strongroom_format::role::{Plane, Role};

use crate::golden;
use crate::sample::{HOME, Tenant, cluster, digest, fixed, identity, snapshot, stream_of};

fn chunk() -> ChunkId {
    ChunkId::from_bytes(fixed("chunk"))
}

fn blob() -> BlobId {
    BlobId::from_bytes(fixed("blob"))
}

fn vault() -> VaultId {
    Tenant::new("acme").vault
}

pub fn opened() -> Opened {
    let acme = Tenant::new("acme");
    Opened {
        home: HOME,
        snapshot: snapshot(),
        tenant: acme.id,
        vault: acme.vault,
        writer: identity("web-1"),
        signing_key: acme.signing.public_key(),
        domain: acme.card().domain,
        set_version: SetVersion(2),
        groups: vec![GroupId(1), GroupId(3)],
        budget_bytes: 1 << 33,
        home_lease: LeaseId(4096 * 77 + 3),
        deks: vec![acme.dek().id()],
        shares: StoredShares { vault_bytes: Some(1 << 40), writer_bytes: None },
    }
}

fn quotas() -> Quotas {
    let quota = |soft, hard| Quota { soft, hard };
    Quotas {
        logical_bytes: quota(Some(1 << 41), None),
        stored_bytes: quota(Some(1 << 40), Some(1 << 41)),
        snapshots: quota(None, Some(1000)),
        sessions: quota(None, None),
    }
}

fn sealed() -> Sealed {
    Sealed {
        group: GroupId(3),
        snapshot: snapshot(),
        roots: vec![TreeId::from_bytes(fixed("part 3"))],
        stored_bytes: 5_000_000_000,
        chunk_refs: 4800,
        records: vec![BlobRef { chunk: chunk(), blob: blob() }],
        strength: Strength { regions: 1, nodes: 2 },
        handed_over: 3,
        missing: 1,
    }
}

fn attested<T>(value: T) -> Attested<T> {
    let signature = MemberSignature { replica: ReplicaId(0x0102_0304), signature: Signature(fixed("member")) };
    Attested { value, signatures: vec![signature] }
}

fn bodies() -> Vec<Body> {
    let acme = Tenant::new("acme");
    let domain = acme.card().domain;
    let lease = LeaseId(4096 * 77 + 3);
    vec![
        Body::OpenSession { nonce: Nonce::from_bytes(fixed("nonce")), budget_bytes: 1 << 26 },
        Body::EndSession,
        Body::Ask { sequence: 41 },
        Body::EnrolIdentity {
            identity: identity("web-2"),
            roles: vec![Role::Writer],
            signing_key: PublicKey::from_bytes(fixed("web-2")),
            locks: Some(LockRange { min_ms: 1000, max_ms: 86_400_000 }),
            approvals: vec![Approval { approver: identity("berta"), signature: Signature(fixed("approval")) }],
        },
        Body::CloseIdentity { identity: identity("web-2"), reason: "sold".into() },
        Body::CreateVault {
            statement: fixed::<40>("statement").to_vec(),
            policy: Policy {
                version: PolicyVersion(1),
                default_lock: Some(LockTerms { mode: LockMode::Compliance, length_ms: 86_400_000 }),
                lock_min_ms: 0,
                lock_max_ms: u64::MAX,
                least_regions: 1,
                keep: KeepRules::default(),
                expected_every_ms: None,
            },
        },
        Body::UpdateStatement { statement: fixed::<40>("statement 2").to_vec() },
        Body::PutCard { card: fixed::<40>("card").to_vec() },
        Body::OpenSnapshot(OpenSnapshot {
            snapshot: snapshot(),
            vault: vault(),
            label: "/srv/www".parse().unwrap(),
            domain,
            key_epoch: KeyEpoch(1),
            set_version: SetVersion(2),
            groups: vec![GroupId(1), GroupId(3)],
            budget_bytes: 1 << 33,
            wraps: vec![fixed::<40>("wrap").to_vec()],
            stream: Some(stream_of()),
        }),
        Body::JoinSnapshot { opened: attested(opened()) },
        Body::TopUp { lease, bytes: 1 << 30 },
        Body::RegisterChunks {
            lease,
            vault: vault(),
            domain,
            chunks: vec![RegisteredChunk {
                chunk: chunk(),
                blob: blob(),
                stored_bytes: 1_048_729,
                dek: acme.dek().id(),
                handed_over: vec![HandedOver { index: 2, slot: Slot(5) }],
                missing: vec![4],
            }],
        },
        Body::PutNodes { lease, vault: vault(), domain, nodes: vec![fixed::<40>("node").to_vec()] },
        Body::SealPart {
            snapshot: snapshot(),
            roots: vec![TreeId::from_bytes(fixed("part 1")), TreeId::from_bytes(fixed("manifest root"))],
            records: vec![BlobRef { chunk: chunk(), blob: blob() }],
        },
        Body::CommitSnapshot { envelope: fixed::<40>("envelope").to_vec(), sealed: vec![attested(sealed())] },
        Body::AbortSnapshot { snapshot: snapshot() },
        Body::OpenRestore { snapshots: vec![snapshot()], purpose: "drill".into(), lifetime_ms: 3_600_000 },
        Body::EndRestore { restore: SessionId(4096 * 80) },
        Body::ReportBlob { vault: vault(), domain, chunk: chunk(), blob: blob(), snapshot: snapshot() },
        Body::IssueToken {
            token: digest("token"),
            identity: identity("web-3"),
            roles: vec![Role::Writer],
            locks: Some(LockRange { min_ms: 1000, max_ms: 86_400_000 }),
            lifetime_ms: 600_000,
            wall_end_unix_ms: 1_800_000_000_000,
            approvals: vec![Approval { approver: identity("berta"), signature: Signature(fixed("approval")) }],
        },
        Body::OpenTicket(OpenTicket {
            ticket: stream_of().ticket,
            vault: vault(),
            label: "shop".parse().unwrap(),
            expected: vec![ExpectedStream { name: stream_of().name, writer: identity("web-1") }],
        }),
        Body::AbortTicket { ticket: stream_of().ticket },
        Body::End(EndOrder::DeleteSnapshot { snapshot: snapshot(), reason: "old".into() }),
        Body::End(EndOrder::DeleteVault { vault: vault(), reason: "empty".into() }),
        Body::SetQuotas { of: QuotaSubject::Vault(vault()), quotas: quotas() },
        Body::SetQuotas { of: QuotaSubject::Writer(identity("web-1")), quotas: quotas() },
    ]
    .into_iter()
    .chain(lock_orders().into_iter().map(Body::Lock))
    .collect()
}

fn lock_orders() -> Vec<LockOrder> {
    let (vault, snapshot, reason) = (vault(), snapshot(), "why");
    let hold: HoldName = "case-7".parse().unwrap();
    vec![
        LockOrder::SetPolicy {
            vault,
            policy: Policy {
                version: PolicyVersion(2),
                default_lock: None,
                lock_min_ms: 0,
                lock_max_ms: 3_153_600_000_000,
                least_regions: 0,
                keep: KeepRules { last: 7, hourly: 24, daily: 7, weekly: 5, monthly: 12, yearly: 10 },
                expected_every_ms: Some(86_400_000),
            },
            reason: reason.into(),
            approvals: Vec::new(),
        },
        LockOrder::LockVault { vault, cooling_off_ms: 259_200_000, reason: reason.into(), approvals: Vec::new() },
        LockOrder::WithdrawVaultLock { vault, reason: reason.into() },
        LockOrder::ExtendLock {
            snapshot,
            mode: LockMode::Compliance,
            longer: Longer::Until { date_unix_ms: 1_900_000_000_000 },
            reason: reason.into(),
        },
        LockOrder::WeakenLock { snapshot, length_ms: 0, reason: reason.into(), approvals: Vec::new() },
        LockOrder::CancelWeakening { snapshot, reason: reason.into() },
        LockOrder::AddHold { snapshot, hold: hold.clone(), reason: reason.into() },
        LockOrder::RemoveHold { snapshot, hold, reason: reason.into(), approvals: Vec::new() },
    ]
}

pub fn commands() -> Vec<Command> {
    let command = |body| Command {
        cluster: cluster(),
        group: HOME,
        tenant: Tenant::new("acme").id,
        principal: identity("web-1"),
        session: Some(SessionId(4096 * 70 + 1)),
        sequence: 12,
        needs_previous: true,
        body,
    };
    bodies().into_iter().map(command).collect()
}

pub fn operator_commands() -> Vec<OperatorCommand> {
    let (issuer, tenant) = (digest("issuer"), Tenant::new("acme").id);
    let reason = || String::from("moved away");
    let bodies = [
        OperatorBody::CreateTenant {
            name: "acme".parse().unwrap(),
            founding: fixed::<40>("founding").to_vec(),
            issuers: vec![fixed::<40>("issuer").to_vec()],
            home: Some(GroupId(2)),
            width: 3,
        },
        OperatorBody::RegisterIssuer {
            plane: Plane::Tenant,
            certificate: fixed::<40>("issuer").to_vec(),
            acceptances: vec![fixed::<40>("acceptance").to_vec()],
        },
        OperatorBody::RetireIssuer { issuer },
        OperatorBody::PutRevocations { issuer, number: 7, revocations: fixed::<40>("revocations").to_vec() },
        OperatorBody::SuspendTenant { tenant, reason: reason() },
        OperatorBody::ResumeTenant { tenant, reason: reason() },
        OperatorBody::EndTenant { tenant, reason: reason() },
        OperatorBody::IssueNodeToken {
            token: digest("token"),
            node: "node-7".parse().unwrap(),
            region: "west".parse().unwrap(),
            lifetime_ms: 600_000,
            wall_end_unix_ms: 1_800_000_000_000,
        },
        OperatorBody::CreateShard { slots: vec!["node-1".parse().unwrap(), "node-2".parse().unwrap()] },
        OperatorBody::LimitTenant {
            tenant,
            limits: TenantLimits { quotas: quotas(), upload_bytes_per_second: Some(1 << 26) },
            reason: reason(),
        },
    ];
    let nonce = Nonce::from_bytes(fixed("operator nonce"));
    let command = |body| OperatorCommand { cluster: cluster(), operator: identity("olga"), nonce, body };
    bodies.into_iter().map(command).collect()
}

pub fn outcomes() -> Vec<Outcome> {
    let why = || String::from("why");
    let session = SessionId(4096 * 70 + 1);
    let lease = LeaseId(4096 * 77 + 3);
    let done = [
        Done::Done,
        Done::SessionOpened { session, lease, ends_ms: 99_000 },
        Done::Asked { outcome: codec::encode(&Outcome::Forgotten) },
        Done::NeverApplied,
        Done::VaultCreated { vault: vault() },
        Done::SnapshotOpened { lease, opened: opened(), budget_bytes: 1 << 32 },
        Done::Joined { session, lease, budget_bytes: 1 << 31 },
        Done::ToppedUp { budget_bytes: 1 << 34 },
        Done::Registered { known: 7 },
        Done::NodesPut { known: 8 },
        Done::Sealed(sealed()),
        Done::Committed { envelope: digest("envelope"), leaf_index: 6, strength: Strength { regions: 1, nodes: 2 } },
        Done::RestoreOpened { restore: SessionId(4096 * 80), ends_ms: 99_000 },
        Done::TenantCreated {
            tenant: Tenant::new("acme").id,
            home: HOME,
            groups: vec![GroupId(1), GroupId(2), GroupId(3)],
            set_version: SetVersion(1),
        },
        Done::Redeemed(Redeemed::Identity { identity: identity("web-3"), roles: vec![Role::Writer] }),
        Done::Redeemed(Redeemed::Node {
            node: "node-7".parse().unwrap(),
            region: "west".parse().unwrap(),
            replica: ReplicaId(0x0102_0300),
        }),
        Done::ShardCreated { group: GroupId(4), replicas: vec![ReplicaId(0x0102_0300), ReplicaId(0x0102_0301)] },
        Done::ReplicaAllotted { replica: ReplicaId(0x0102_0304) },
        Done::TicketOpened { lease, ends_ms: 99_000 },
        Done::Ready { envelope: digest("envelope"), strength: Strength { regions: 1, nodes: 2 } },
        Done::TicketAborted { left: 3 },
        Done::Collected { references: 1000, blobs: 7, more: true },
        Done::Expired { looked_at: 128, ended: 3 },
    ];
    let refused = [
        Refusal::Invalid { why: why() },
        Refusal::UnsupportedFormat { why: why() },
        Refusal::WrongGroup,
        Refusal::Identity,
        Refusal::Role,
        Refusal::Signature,
        Refusal::ForeignTenant,
        Refusal::TenantSuspended,
        Refusal::NotFound,
        Refusal::SessionEnded,
        Refusal::SequenceOutOfWindow,
        Refusal::Withdrawn,
        Refusal::PreviousNotDone,
        Refusal::LeaseEnded,
        Refusal::BudgetExceeded { left_bytes: 5 },
        Refusal::Immutable,
        Refusal::NameRetired,
        Refusal::VersionConflict,
        Refusal::StatementVersion { stored: StatementVersion(4) },
        Refusal::SetVersion { current: SetVersion(3) },
        Refusal::ManifestMismatch {
            why: why(),
            missing_chunks: vec![BlobRef { chunk: chunk(), blob: blob() }],
            missing_nodes: vec![TreeId::from_bytes(fixed("node"))],
            groups: vec![GroupId(3)],
        },
        Refusal::PolicyMismatch,
        Refusal::ProvenanceInvalid { why: why() },
        Refusal::Orphaned { parent: snapshot() },
        Refusal::NeedsApproval,
        Refusal::ForbiddenRoles,
        Refusal::LockOutOfRange,
        Refusal::Limit { what: why() },
        Refusal::TooThin,
        Refusal::TooManyBlobs { chunk: chunk() },
        Refusal::IdentityTaken { identity: identity("web-2") },
        Refusal::NotFromClients,
        Refusal::DigestsDisagree,
        Refusal::TokenUsed,
        Refusal::Token,
        Refusal::TicketEnded,
        Refusal::StreamTaken,
        Refusal::StreamsDiffer { names: vec![stream_of().name] },
        Refusal::RetentionActive { until_unix_ms: Some(1_800_000_000_000) },
        Refusal::Pinned,
        Refusal::VaultNotEmpty,
        Refusal::WholeStands { whole: snapshot() },
        Refusal::LegalHold,
        Refusal::VaultLocked,
        Refusal::LockCannotShrink { until_unix_ms: 7 },
        Refusal::Unattested,
        Refusal::Quota {
            of: QuotaOwner::Vault,
            measure: Measure::StoredBytes,
            hard: 1 << 40,
            charged: (1 << 40) - 5,
            asked: 6,
        },
    ];
    let done = done.into_iter().map(Outcome::Done);
    done.chain(refused.into_iter().map(Outcome::Refused)).chain([Outcome::Forgotten]).collect()
}

/// One line a value: its variant's name, its canonical bytes.
fn lines<T: Format + std::fmt::Debug>(values: &[T], name: impl Fn(&T) -> String) -> String {
    let line = |value| {
        let name = name(value);
        let name = name.split([' ', '{', '(']).next().unwrap();
        format!("{name} {}\n", hex::encode(codec::encode(value)))
    };
    values.iter().map(line).collect()
}

#[test]
fn commands_keep_their_numbers_and_bytes() {
    let is_end = |command: &Command| matches!(command.body, Body::End(_));
    let is_lock = |command: &Command| matches!(command.body, Body::Lock(_));
    let (ends, others): (Vec<_>, Vec<_>) = commands().into_iter().partition(is_end);
    let (locks, others): (Vec<_>, Vec<_>) = others.into_iter().partition(is_lock);
    // Two samples of one number.
    let (quotas, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|command| matches!(command.body, Body::SetQuotas { .. }));
    assert_eq!(quotas.iter().map(|command| command.body.kind()).collect::<Vec<_>>(), [24, 24]);
    let (ends, locks) = ((EndOrder::FIRST_KIND..).zip(ends), (LockOrder::FIRST_KIND..).zip(locks));
    for (at, command) in (0..).zip(others).chain(ends).chain(locks) {
        assert_eq!(command.body.kind(), at, "a sample of each variant, in order");
    }
    golden::text("commands-1.txt", &lines(&commands(), |command| format!("{:?}", command.body)));
    golden::text("operator-commands-1.txt", &lines(&operator_commands(), |command| format!("{:?}", command.body)));
    golden::bytes("opened-1", &codec::encode(&opened()));
}

#[test]
fn outcomes_keep_their_numbers_and_bytes() {
    let name = |outcome: &Outcome| match outcome {
        Outcome::Done(done) => format!("{done:?}"),
        Outcome::Refused(refusal) => format!("{refusal:?}"),
        Outcome::Forgotten => "Forgotten".into(),
    };
    golden::text("outcomes-1.txt", &lines(&outcomes(), name));
}
