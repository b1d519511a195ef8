//! Every path on which something could be destroyed, tried on snapshots under a governance lock, under a compliance lock
//! and under a hold, on a running cluster: afterwards they are there, under the same lock, and are restored equal; each
//! refused attempt of a person is in the log of its tenant.
//!
//! ```text
//!   people of the tenant ─Submit─▶ ┐
//!   operators ───────────Submit──▶ ├─ a sample of every variant (`paths.rs` sees to it), aimed at what is kept
//!   a rogue leader ─────Propose──▶ ┘      └ a policy, expiry, collecting and sweeping run all the while
//! ```
//!
//! Nodes forget at once and sweep without rest. Not here: verdicts (`paths.rs`), what needs more than commands, an old data
//! directory or a Raft snapshot put back (`foundation.rs`, `jepsen`), clocks (`clocks.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use strongroom::audit::{Leaf, Since};
use strongroom::client::Client;
use strongroom::keyring::{self, read_key};
use strongroom_core::claims::{Claim, Statement};
use strongroom_core::electorates::Electorate;
use strongroom_core::entry::{
    Decided, Ended, EntryCommand, Filled, NodeCommand, PartEnded, RebuildRequest, Replaced, Reported, Standing,
    TenantState, Tick,
};
use strongroom_core::genesis::Genesis;
use strongroom_core::locking::{Keeping, PartKeeping, PartKept};
use strongroom_core::query::{Answer, Query};
use strongroom_format::codec;
use strongroom_format::command::{
    Attested, BlobRef, Body, MemberSignature, OperatorBody, OperatorCommand, SignedCommand,
};
use strongroom_format::ending::EndOrder;
use strongroom_format::enrolment::{Redemption, SignedRedemption, request_digest};
use strongroom_format::gathered::OpenTicket;
use strongroom_format::id::{
    BlobId, ChunkId, Digest, DomainId, GroupId, LeaseId, Nonce, PolicyVersion, SessionId, Slot, SnapshotId,
    StatementVersion, TicketId, TreeId, VaultId,
};
use strongroom_format::lock::{LockMode, Longer};
use strongroom_format::lock_order::LockOrder;
use strongroom_format::outcome::Outcome;
use strongroom_format::policy::{KeepRules, Policy};
use strongroom_format::policy_view::LockView;
use strongroom_format::quota::{Quota, QuotaSubject, Quotas, TenantLimits};
use strongroom_format::receipt::AuditEvent;
use strongroom_format::role::{Plane, Role};
use strongroom_format::sign::{SigningKey, sign_operator_command};
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::operators_client::OperatorsClient;

use crate::bearer::{Bearer, Door};
use crate::cluster::{Cluster, PATIENCE, comes_true};
use crate::deleting::{forgetful, permit_locks};
use crate::forge::Forge;
use crate::inside::Inside;
use crate::paths::{Verdict, covers_all, of_body, of_entry, of_operator};
use crate::shared::{back_up, restore};
use crate::speaker::{Speaker, Talk, channel, random};
use crate::trees;

const DAY_MS: u64 = 86_400_000;

/// A snapshot that is kept, what it was made of, and what keeps it.
struct Kept {
    snapshot: SnapshotId,
    source: PathBuf,
    view: LockView,
}

struct Scene {
    cluster: Cluster,
    vault: VaultId,
    /// Under governance, under compliance, under a hold; the first ones of their names.
    kept: Vec<Kept>,
    admin: Client,
    reader: Client,
    /// Attempts that were refused, by kind of command.
    refused: BTreeMap<u16, u64>,
}

fn reason() -> String {
    "an attack".into()
}

impl Scene {
    async fn new() -> Self {
        let cluster = forgetful().await;
        let (writer, admin) = (cluster.client("acme-writer").await, cluster.client("acme-admin").await);
        let counsel = cluster.client("acme-legal").await;
        permit_locks(&admin, "papers").await;
        let mut kept = Vec::new();
        for name in ["governance", "compliance", "held"] {
            let source = cluster.scratch();
            trees::plant(&source, name);
            let snapshot = back_up(&writer, &source, "papers", name).await.snapshot;
            let longer = Longer::Length { length_ms: 30 * DAY_MS };
            let done = match name {
                "governance" => admin.extend_lock(snapshot, LockMode::Governance, longer, reason()).await,
                "compliance" => admin.extend_lock(snapshot, LockMode::Compliance, longer, reason()).await,
                _ => counsel.add_hold(snapshot, "case-1".parse().expect("a name"), reason()).await,
            };
            done.expect("whoever may");
            // Two later ones of the name, so that a policy could let the kept one go, and lets the second one go.
            for _ in 0..2 {
                back_up(&writer, &source, "papers", name).await;
            }
            let view = admin.wait_until_all_have(snapshot).await.expect("all shards hear of it");
            kept.push(Kept { snapshot, source, view });
        }
        let vault = Forge::prepare(&cluster, "acme", "writer", "papers").await.statement.vault;
        // A lock that has begun is shown as begun: wait for that, so that the views stay comparable.
        for one in &mut kept {
            comes_true(PATIENCE, "the lock begins", async || {
                let view = admin.lock(one.snapshot).await.expect("it is there");
                let begun = view.lock.as_ref().is_none_or(|lock| lock.begun);
                one.view = view;
                begun
            })
            .await;
        }
        let reader = cluster.client("acme-restorer").await;
        Self { cluster, vault, kept, admin, reader, refused: BTreeMap::new() }
    }

    /// All that is kept is listed and under the lock that it had.
    async fn stands(&self, after: &str) {
        let listed: BTreeSet<_> =
            self.reader.snapshots(None).await.expect("a list").iter().map(|info| info.id).collect();
        for one in &self.kept {
            assert!(listed.contains(&one.snapshot), "after {after}: {} is gone", one.snapshot);
            let view = self.admin.lock(one.snapshot).await.expect("it is there");
            // Who has not heard of the last order yet is no part of what keeps it.
            let keeps = |view: &LockView| (view.lock.clone(), view.holds.clone(), view.weakening.clone());
            assert_eq!(keeps(&view), keeps(&one.view), "after {after}");
        }
    }

    /// … and it is restored equal.
    async fn comes_back(&self, after: &str) {
        self.stands(after).await;
        for one in &self.kept {
            let to = self.cluster.scratch().join("restored");
            let restored = restore(&self.reader, one.snapshot, &to).await;
            assert!(restored.is_whole(), "after {after}: {:?}", restored.damaged);
            trees::assert_equal(&one.source, &to);
        }
    }

    fn targets(&self) -> Vec<SnapshotId> {
        self.kept.iter().map(|one| one.snapshot).collect()
    }

    /// A sample of every tenant's command, each aimed at what is kept, at all of it where one can name it.
    async fn bodies(&self) -> Vec<Body> {
        let forge = Forge::prepare(&self.cluster, "acme", "writer", "papers").await;
        let (vault, domain, statement) = (self.vault, forge.keys.domain, &forge.statement);
        let root = keyring::root(self.admin.profile(), None).expect("the admin has the root key");
        let signed = |statement: &strongroom_format::statement::VaultStatement| {
            codec::encode(&strongroom_format::sign::Signed::new(statement, root.signing_key()).expect("a statement"))
        };
        let next = strongroom_format::statement::VaultStatement { version: StatementVersion(2), ..statement.clone() };
        let thief = SigningKey::from_secret(random()).expect("a good key").public_key();
        let nothing = LeaseId(1);
        let blob = || BlobRef { chunk: ChunkId::from_bytes(random()), blob: BlobId::from_bytes(random()) };
        let zero = Quota { soft: Some(0), hard: Some(0) };
        let mut bodies = vec![
            Body::Ask { sequence: 1 },
            Body::EnrolIdentity {
                identity: "thief".parse().expect("a name"),
                roles: vec![Role::Legal],
                signing_key: thief,
                locks: None,
                approvals: Vec::new(),
            },
            Body::IssueToken {
                token: Digest::from_bytes(random()),
                identity: "thief".parse().expect("a name"),
                roles: vec![Role::Legal],
                locks: None,
                lifetime_ms: 60_000,
                wall_end_unix_ms: u64::MAX,
                approvals: Vec::new(),
            },
            Body::CreateVault { statement: signed(statement), policy: forge.policy.clone() },
            Body::UpdateStatement { statement: signed(&next) },
            Body::PutCard { card: codec::encode(&forge.wrap) },
            Body::TopUp { lease: nothing, bytes: 1 },
            Body::RegisterChunks { lease: nothing, vault, domain, chunks: Vec::new() },
            Body::PutNodes { lease: nothing, vault, domain, nodes: vec![Vec::new()] },
            Body::CommitSnapshot { envelope: codec::encode(&forge.wrap), sealed: Vec::new() },
            Body::EndRestore { restore: SessionId(1) },
            Body::OpenTicket(OpenTicket {
                ticket: TicketId::from_bytes(random()),
                vault: VaultId::from_bytes(random()),
                label: forge.label.clone(),
                expected: Vec::new(),
            }),
            Body::AbortTicket { ticket: TicketId::from_bytes(random()) },
            Body::End(EndOrder::DeleteVault { vault, reason: reason() }),
            Body::Lock(LockOrder::LockVault {
                vault,
                cooling_off_ms: 3 * DAY_MS,
                reason: reason(),
                approvals: Vec::new(),
            }),
            Body::Lock(LockOrder::WithdrawVaultLock { vault, reason: reason() }),
            Body::SetQuotas {
                of: QuotaSubject::Vault(vault),
                quotas: Quotas { logical_bytes: zero, stored_bytes: zero, snapshots: zero, ..Quotas::default() },
            },
        ];
        for snapshot in self.targets() {
            let opening = strongroom_format::command::OpenSnapshot { snapshot, ..forge.opening() };
            bodies.extend([
                Body::OpenSnapshot(opening),
                Body::SealPart { snapshot, roots: vec![TreeId::from_bytes(random())], records: Vec::new() },
                Body::AbortSnapshot { snapshot },
                Body::OpenRestore { snapshots: vec![snapshot], purpose: reason(), lifetime_ms: 1_000 },
                Body::End(EndOrder::DeleteSnapshot { snapshot, reason: reason() }),
                Body::Lock(LockOrder::ExtendLock {
                    snapshot,
                    mode: LockMode::Governance,
                    longer: Longer::Length { length_ms: 0 },
                    reason: reason(),
                }),
                Body::Lock(LockOrder::WeakenLock { snapshot, length_ms: 0, reason: reason(), approvals: Vec::new() }),
                Body::Lock(LockOrder::CancelWeakening { snapshot, reason: reason() }),
                Body::Lock(LockOrder::AddHold { snapshot, hold: "case-9".parse().expect("a name"), reason: reason() }),
                Body::Lock(LockOrder::RemoveHold {
                    snapshot,
                    hold: "case-1".parse().expect("a name"),
                    reason: reason(),
                    approvals: Vec::new(),
                }),
            ]);
            let BlobRef { chunk, blob } = blob();
            bodies.push(Body::ReportBlob { vault, domain, chunk, blob, snapshot });
        }
        let keep = KeepRules { yearly: 1, ..KeepRules::default() };
        let policy = Policy {
            version: PolicyVersion(forge.policy.version.0 + 1),
            default_lock: None,
            lock_min_ms: 0,
            lock_max_ms: 366 * DAY_MS,
            least_regions: 0,
            keep,
            expected_every_ms: None,
        };
        bodies.push(Body::Lock(LockOrder::SetPolicy { vault, policy, reason: reason(), approvals: Vec::new() }));
        // The writer of all of it, and after that everybody's own session.
        bodies.push(Body::CloseIdentity { identity: "writer".parse().expect("a name"), reason: reason() });
        bodies.push(Body::EndSession);
        bodies
    }

    /// Says something in a session; what is refused is counted.
    async fn say(&mut self, talk: &mut Talk, body: Body) -> bool {
        let (kind, decides) = (body.kind(), body.is_deciding());
        let done = talk.say(body).await.is_ok();
        if !done && decides {
            *self.refused.entry(kind).or_default() += 1;
        }
        done
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_people_operators_or_nodes_say_ends_or_shortens_what_is_kept() {
    let mut scene = Scene::new().await;
    scene.comes_back("nothing").await;

    // People, each with its own right key; what any of them may do, an admin may or a legal one.
    let bodies = scene.bodies().await;
    let opened = {
        let mut forge = Forge::prepare(&scene.cluster, "acme", "writer", "papers").await;
        forge.open_snapshot().await.expect("a snapshot opens")
    };
    let join = |snapshot| Body::JoinSnapshot {
        opened: Attested {
            value: strongroom_format::command::Opened { snapshot, ..opened.clone() },
            signatures: Vec::new(),
        },
    };
    let joins: Vec<Body> = scene.targets().into_iter().map(join).collect();
    // Each of them opens a session first.
    let session = Body::OpenSession { nonce: Nonce::from_bytes(random()), budget_bytes: 0 };
    covers_all("commands of tenants", &[bodies.clone(), joins.clone(), vec![session]].concat());
    let of = |wanted: fn(&Body) -> Option<Vec<u8>>| -> Vec<Vec<u8>> { bodies.iter().filter_map(wanted).collect() };
    let orders = |body: &Body| match body {
        Body::End(order) => Some(borsh::to_vec(order).expect("memory")),
        _ => None,
    };
    let ends: Vec<EndOrder> =
        of(orders).iter().map(|bytes| borsh::from_slice(bytes).expect("as it was written")).collect();
    covers_all("orders to end", &ends);
    let orders = |body: &Body| match body {
        Body::Lock(order) => Some(borsh::to_vec(order).expect("memory")),
        _ => None,
    };
    let locks: Vec<LockOrder> =
        of(orders).iter().map(|bytes| borsh::from_slice(bytes).expect("as it was written")).collect();
    covers_all("orders about locks", &locks);
    for who in ["writer", "restorer", "administrator", "counsel"] {
        let speaker = Speaker::founder(&scene.cluster, "acme", who).await;
        let mut talk = speaker.talk(0).await;
        for body in &bodies {
            // What a legal role is there for is no attack: to hold, and to let go.
            let is_its_right = who == "counsel"
                && matches!(body, Body::Lock(LockOrder::AddHold { .. } | LockOrder::RemoveHold { .. }));
            // It would lock its own door; it comes last.
            if is_its_right || matches!(body, Body::CloseIdentity { .. }) {
                continue;
            }
            let done = scene.say(&mut talk, body.clone()).await;
            match of_body(body) {
                Verdict::Refused => assert!(!done, "{who} did {body:?}"),
                Verdict::Done(_) | Verdict::Harmless(_) | Verdict::Elsewhere(_) => {}
            }
            if !done || matches!(body, Body::Lock(LockOrder::WeakenLock { .. })) {
                continue;
            }
            scene.stands(&format!("{who} did {body:?}")).await;
        }
        for body in &joins {
            let other = *opened.groups.iter().find(|group| **group != opened.home).expect("acme lives in three shards");
            let joined = speaker.say(other, speaker.signed(&speaker.outside(other, body.clone()))).await;
            assert!(joined.is_err(), "{who} joined what is kept");
        }
        scene.stands(who).await;
    }
    // The policy that the admin set lets go what no lock and no hold keeps, but the newest of a name and the first of its
    // year: so one of each name goes, and nothing else, while collecting and sweeping go on.
    comes_true(PATIENCE, "the policy ends what nothing keeps", async || {
        scene.reader.snapshots(None).await.is_ok_and(|listed| listed.len() == 2 * scene.kept.len())
    })
    .await;
    scene.comes_back("all that people said").await;

    operators(&mut scene).await;
    scene.comes_back("all that operators said").await;
    nodes(&mut scene).await;
    scene.comes_back("all that nodes said").await;

    // The writer is closed: what it backed up stays.
    let mut talk = Speaker::founder(&scene.cluster, "acme", "administrator").await.talk(0).await;
    let close = Body::CloseIdentity { identity: "writer".parse().expect("a name"), reason: reason() };
    talk.say(close).await.expect("an admin closes whom it likes");
    scene.comes_back("the writer was closed").await;
    everything_is_in_the_log(&scene).await;
}

/// Each refused attempt of a person is a leaf of its own or counted in one.
async fn everything_is_in_the_log(scene: &Scene) {
    let mut told: BTreeMap<u16, u64> = BTreeMap::new();
    comes_true(PATIENCE, "every refused attempt is in the log", async || {
        told.clear();
        let count = |leaf: Leaf| {
            match leaf.record.event {
                AuditEvent::Decision { kind, allowed: false, .. } => *told.entry(kind).or_default() += 1,
                AuditEvent::Batch { kind, count, .. } if kind & 0x4000 != 0 => {
                    *told.entry(kind & !0x4000).or_default() += count;
                }
                _ => {}
            }
            Ok(())
        };
        scene.admin.audit(Since::Leaf(0), count).await.expect("the log is proved");
        scene.refused.iter().all(|(kind, count)| told.get(kind).is_some_and(|told| count <= told))
    })
    .await;
}

/// An operator says everything that operators can say, aimed at the tenant.
async fn operators(scene: &mut Scene) {
    let home = scene.cluster.directory().join("operator");
    let bearer = Bearer::read(&home, "platform");
    let signing: SigningKey = read_key(&home.join("platform.signing")).expect("its signing key");
    let mut door =
        OperatorsClient::new(channel(&scene.cluster, &scene.cluster.nodes[0], Door::Operator, &bearer).await);
    let tenants = scene.cluster.directory().join("tenants");
    let founding = std::fs::read(tenants.join("acme").join("founding")).expect("the founding record");
    let acme = Speaker::founder(&scene.cluster, "acme", "administrator").await.tenant;
    let zero = Quota { soft: Some(0), hard: Some(0) };
    let nothing = Quotas { logical_bytes: zero, stored_bytes: zero, snapshots: zero, ..Quotas::default() };
    let limit = |quotas| OperatorBody::LimitTenant {
        tenant: acme,
        limits: TenantLimits { quotas, upload_bytes_per_second: None },
        reason: reason(),
    };
    let bodies = vec![
        OperatorBody::CreateTenant {
            name: "acme".parse().expect("a name"),
            founding,
            issuers: Vec::new(),
            home: None,
            width: 1,
        },
        OperatorBody::RegisterIssuer { plane: Plane::Tenant, certificate: vec![1], acceptances: Vec::new() },
        OperatorBody::RetireIssuer { issuer: Digest::from_bytes(random()) },
        OperatorBody::PutRevocations { issuer: Digest::from_bytes(random()), number: 1, revocations: vec![1] },
        OperatorBody::IssueNodeToken {
            token: Digest::from_bytes(random()),
            node: "thief".parse().expect("a name"),
            region: "north".parse().expect("a name"),
            lifetime_ms: 60_000,
            wall_end_unix_ms: u64::MAX,
        },
        OperatorBody::CreateShard { slots: vec!["nobody".parse().expect("a name")] },
        limit(nothing),
        limit(Quotas::default()),
        OperatorBody::SuspendTenant { tenant: acme, reason: reason() },
        OperatorBody::ResumeTenant { tenant: acme, reason: reason() },
    ];
    let globex = Speaker::founder(&scene.cluster, "globex", "administrator").await.tenant;
    let end = OperatorBody::EndTenant { tenant: globex, reason: reason() };
    covers_all("commands of operators", &[bodies.clone(), vec![end.clone()]].concat());
    // Another tenant, which is ended for ever: its people see it no more, so the rows are asked.
    let inside = Inside::of(&scene.cluster).await;
    let globexs = Speaker::founder(&scene.cluster, "globex", "administrator").await.home;
    let source = scene.cluster.scratch();
    trees::plant(&source, "globex");
    crate::shared::create_vault(&scene.cluster, "globex", "papers").await;
    let lost = back_up(&scene.cluster.client("globex-writer").await, &source, "papers", "theirs").await.snapshot;
    let admin = scene.cluster.client("globex-admin").await;
    permit_locks(&admin, "papers").await;
    let longer = Longer::Length { length_ms: DAY_MS };
    admin.extend_lock(lost, LockMode::Compliance, longer, reason()).await.expect("an admin may");
    let query = Query::Lock { tenant: globex, snapshot: lost, by: None };
    let Answer::Lock(before) = inside.ask(globexs, &query).await else { panic!("no lock") };
    let named = async || {
        let usage = inside.held(globexs, globex).await.usage;
        (usage.snapshots, usage.logical_bytes)
    };
    let usage = named().await;

    for body in bodies.into_iter().chain([end]) {
        let verdict = of_operator(&body);
        let suspends = matches!(body, OperatorBody::SuspendTenant { .. });
        let what = format!("{body:?}");
        let command = OperatorCommand {
            cluster: scene.cluster.epoch(),
            operator: "platform".parse().expect("a name"),
            nonce: Nonce::from_bytes(random()),
            body,
        };
        let request =
            pb::OperatorSubmitRequest { command: codec::encode(&sign_operator_command(&command, &signing)).into() };
        let reply = door.submit(request).await;
        let done = reply
            .is_ok_and(|reply| matches!(codec::decode::<Outcome>(&reply.into_inner().outcome), Ok(Outcome::Done(_))));
        assert_eq!(done, matches!(verdict, Verdict::Done(_)), "{what}");
        if !suspends {
            // Nodes hear of it one after the other.
            let (mut in_a_row, target) = (0, scene.kept[0].snapshot);
            comes_true(PATIENCE, "acme's people get in", async || {
                let gets_in = scene.reader.snapshots(None).await.is_ok() && scene.admin.lock(target).await.is_ok();
                in_a_row = if gets_in { in_a_row + 1 } else { 0 };
                3 <= in_a_row
            })
            .await;
            scene.stands(&what).await;
        }
    }
    let Answer::Lock(after) = inside.ask(globexs, &query).await else { panic!("no lock") };
    assert_eq!((after.lock.map(|lock| lock.terms), after.holds), (before.lock.map(|lock| lock.terms), before.holds));
    assert_eq!(named().await, usage, "nothing of an ended tenant goes");
}

/// A node with its own certificate and key says everything that an entry can say, past its own software.
async fn nodes(scene: &mut Scene) {
    let inside = Inside::of(&scene.cluster).await;
    let key: SigningKey =
        read_key(&scene.cluster.nodes[0].data_dir.join("identity/signing.key")).expect("the node's signing key");
    let speaker = Speaker::founder(&scene.cluster, "acme", "administrator").await;
    let (tenant, home, vault) = (speaker.tenant, speaker.home, scene.vault);
    let other = *speaker.set.iter().find(|group| **group != home).expect("acme lives in three shards");
    let mut all: Vec<(GroupId, NodeCommand)> = Vec::new();
    let genesis = std::fs::read(scene.cluster.nodes[0].data_dir.join("genesis")).expect("a node has its genesis");
    let genesis: Genesis = codec::decode(&genesis).expect("a genesis");
    let Answer::Shard(facts) = inside.ask(other, &Query::Shard).await else { panic!("no shard") };
    let Answer::Tenant(view) = inside.ask(other, &Query::Tenant { tenant }).await else { panic!("no tenant") };
    let mut ended = view.facts;
    ended.standing =
        Standing { version: ended.standing.version + 9, state: TenantState::Ended, ..ended.standing.clone() };
    let Answer::Electorate(electorate) = inside.ask(other, &Query::Electorate { of: home }).await else {
        panic!("it knows the voters")
    };
    let mut mine = electorate.clone();
    mine.version += 9;
    mine.voters.keys.retain(|_, voter| *voter == key.public_key());
    let (slot, from) = (facts.members[0].slot, facts.members[0].replica);
    let to = strongroom_format::id::ReplicaId(from.0 + 256);
    all.push((home, NodeCommand::Found(genesis)));
    for group in [home, other] {
        let claim = |value: Claim| signatures(&electorate, &key, value);
        all.push((group, NodeCommand::FoundShard(Attested { value: facts.clone(), signatures: Vec::new() })));
        all.push((group, NodeCommand::AdmitTenant(under(ended.clone(), claim))));
        all.push((group, NodeCommand::Tick(Tick { previous: Digest::from_bytes(random()), reports: Vec::new() })));
        all.push((group, NodeCommand::ReplaceMember(under(Replaced { group, slot, from, to }, claim))));
        all.push((group, NodeCommand::MemberReplaced(under(Filled { group, slot, to }, claim))));
        all.push((group, NodeCommand::TellElectorate(under(mine.clone(), claim))));
        let asked = RebuildRequest { epoch: scene.cluster.epoch(), group, slot: Slot(1), from: to, why: reason() };
        all.push((group, NodeCommand::RebuildReplica(asked.sign(&key))));
        all.push((group, NodeCommand::CollectGarbage { tenant, limit: 4096, grace_ms: 0 }));
        all.push((group, NodeCommand::Expire { tenant, vault, after: None, limit: 256 }));
        for snapshot in scene.targets() {
            let nothing = Keeping { version: 99, terms: None, until_unix_ms: 0, left_ms: 0, holds: Vec::new() };
            let told = PartKeeping { home, group, tenant, snapshot, keeping: nothing };
            let said = PartKept { home, group: other, tenant, snapshot, version: 99 };
            let of = BlobRef { chunk: ChunkId::from_bytes(random()), blob: BlobId::from_bytes(random()) };
            let domain = DomainId::from_bytes(random());
            all.extend([
                (group, NodeCommand::DecidePart(under(Decided { home, tenant, snapshot, kept: None }, claim))),
                (group, NodeCommand::EndPart(under(Ended { home, tenant, snapshot }, claim))),
                (group, NodeCommand::PartEnded(under(PartEnded { tenant, snapshot, group: other }, claim))),
                (group, NodeCommand::HideBlob(under(Reported { home, tenant, vault, domain, of }, claim))),
                (group, NodeCommand::KeepPart(under(told, claim))),
                (group, NodeCommand::PartKept(under(said, claim))),
            ]);
        }
    }
    covers_all("what nodes say", &all.iter().map(|(_, command)| command.clone()).collect::<Vec<_>>());
    let mut entries: Vec<(GroupId, EntryCommand)> =
        all.into_iter().map(|(group, command)| (group, EntryCommand::Node(command))).collect();
    // A good order of an admin's, which nobody signed, which another signed, which the node signed; and as an operator's.
    for snapshot in scene.targets() {
        let order = Body::End(EndOrder::DeleteSnapshot { snapshot, reason: reason() });
        let command = speaker.talk(0).await.next(order);
        let bytes = codec::encode(&command);
        let writer = Speaker::founder(&scene.cluster, "acme", "writer").await.person.signing;
        for signature in [None, Some(writer.sign("command", &bytes)), Some(key.sign("command", &bytes))] {
            let signed = SignedCommand { command: bytes.clone(), signature };
            entries.extend([
                (home, EntryCommand::Client(signed.clone())),
                (home, EntryCommand::Vouched(signed.clone())),
                (home, EntryCommand::Attested { command: signed.clone(), signatures: Vec::new() }),
                (home, EntryCommand::Operator(signed)),
            ]);
        }
        // The right signature, and yet it is refused: the order itself is.
        entries.push((home, EntryCommand::Vouched(speaker.signed(&command))));
    }
    let (token, bearer) = (SigningKey::from_secret(random()).expect("a key"), &key);
    let redemption = Redemption {
        cluster: scene.cluster.epoch(),
        group: home,
        tenant: Some(tenant),
        token: token.public_key(),
        signing_key: bearer.public_key(),
        request: request_digest(b"request"),
        node: None,
    };
    let redemption = SignedRedemption::new(&redemption, &token, bearer).expect("a redemption");
    entries.push((home, EntryCommand::Redeem(redemption)));
    covers_all("entries", &entries.iter().map(|(_, command)| command.clone()).collect::<Vec<_>>());
    for (group, command) in entries {
        let verdict = of_entry(&command);
        let outcomes = inside.propose(group, vec![command.clone()]).await;
        let refused = outcomes.iter().all(|outcome| matches!(outcome, Outcome::Refused(_)));
        if verdict == Verdict::Refused {
            assert!(refused, "group {group}: {command:?} became {outcomes:?}");
        }
        if !refused {
            scene.stands(&format!("{command:?}")).await;
        }
    }
}

/// A claim under this node's signature, in the name of every voter.
fn under<T: Clone + Into<Claim>>(value: T, sign: impl Fn(Claim) -> Vec<MemberSignature>) -> Attested<T> {
    Attested { signatures: sign(value.clone().into()), value }
}

fn signatures(electorate: &Electorate, key: &SigningKey, claim: Claim) -> Vec<MemberSignature> {
    let by = claim.by();
    let signature = Statement { epoch: electorate.epoch, by, claim }.sign(key);
    electorate.voters.keys.keys().map(|replica| MemberSignature { replica: *replica, signature }).collect()
}
