//! REFUSALS.md, "Tenancy and authorization", against running nodes.
//!
//! Not here: grants, which do not exist yet; suspension (`ends.rs`); operators and what nobody may give (`enrolment.rs`).

use bytes::Bytes;
use prost::Message as _;
use strongroom::restore::RestoreRequest;
use strongroom_format::codec;
use strongroom_format::command::{Body, Command, OperatorBody, OperatorCommand, SignedCommand};
use strongroom_format::id::{GroupId, LeaseId, SessionId, SnapshotId, TenantId, VaultId};
use strongroom_format::outcome::{Done, Outcome};
use strongroom_format::role::Role;
use strongroom_format::sign::SigningKey;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::upload_request::What as Ask;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::cluster::Cluster;
use crate::forge::{Forge, file, upload};
use crate::inside::Inside;
use crate::shared::{back_up, quiet, shared};
use crate::speaker::{No, Speaker, no, patiently, random};
use crate::tenant::own_tenant;
use crate::trees;

/// All of an answer that a caller could tell two answers apart by.
fn all_of(status: &Status) -> (tonic::Code, String, Vec<u8>, String) {
    let mut metadata = status.metadata().clone();
    metadata.remove("date");
    (status.code(), status.message().to_owned(), status.details().to_vec(), format!("{metadata:?}"))
}

async fn submit_raw(speaker: &Speaker, group: GroupId, commands: &[SignedCommand]) -> Result<(), Status> {
    speaker.submit(group, commands).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn n20_a_foreign_tenant_is_refused_before_any_lookup_and_reads_like_an_absent_one() {
    let cluster = shared();
    own_tenant(cluster, "n20").await;
    let globex = Speaker::founder(cluster, "globex", "writer").await;
    let own = Speaker::founder(cluster, "n20", "writer").await;
    let inside = Inside::of(cluster).await;
    let before = inside.held(own.home, own.tenant).await;
    let absent = TenantId::from_bytes(random());
    let mut answers = Vec::new();
    // Existing or not, in its own group or in one that does not exist, signed by its own people or not.
    for (tenant, group) in [
        (globex.tenant, globex.home),
        (globex.tenant, own.home),
        (absent, own.home),
        (absent, GroupId(77)),
        (globex.tenant, GroupId::CLUSTER),
    ] {
        let command = Command { tenant, group, ..own.opening(0) };
        for signed in [own.signed(&command), globex.signed(&command)] {
            let refused = submit_raw(&own, group, &[signed]).await.expect_err("a foreign tenant");
            answers.push(refused);
        }
    }
    for answer in &answers {
        assert_eq!(all_of(answer), all_of(&answers[0]), "byte-identical");
        assert_eq!(No::from(answer.clone()), no("PERMISSION_DENIED", "FOREIGN_TENANT"));
        let text = answer.message();
        assert!(!text.contains("globex") && !text.contains(&globex.tenant.to_string()), "{text}");
    }
    // One foreign command among good ones: nothing of it is applied (N22).
    let good = own.signed(&own.opening(0));
    let foreign = own.signed(&Command { tenant: globex.tenant, ..own.opening(0) });
    let refused = submit_raw(&own, own.home, &[good, foreign]).await.expect_err("one is foreign");
    assert_eq!(all_of(&refused), all_of(&answers[0]));
    assert_eq!(inside.held(own.home, own.tenant).await, before, "it leaves no trace");
}

/// A session of a tenant's writer, and its lease. Every group numbers its own sessions, so another tenant's may have the
/// same number; but not this one's, which is the eighth of its entry: everybody else opens one an entry.
async fn a_session_that_nobody_elses_number_is_like(cluster: &Cluster, tenant: &str) -> (SessionId, LeaseId) {
    let speaker = Speaker::founder(cluster, tenant, "writer").await;
    let openings: Vec<_> = (0..8).map(|_| speaker.signed(&speaker.opening(0))).collect();
    let outcomes = speaker.submit(speaker.home, &openings).await.expect("sessions open");
    match outcomes.last() {
        Some(Outcome::Done(Done::SessionOpened { session, lease, .. })) => (*session, *lease),
        other => panic!("no session: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n21_what_is_anothers_reads_like_what_is_absent() {
    let cluster = shared();
    let source = cluster.scratch();
    trees::plant(&source, "n21");
    let acme = cluster.client("acme-writer").await;
    let theirs = back_up(&acme, &source, "papers", "n21").await.snapshot;
    let forge = Forge::prepare(cluster, "acme", "writer", "papers").await;
    let absent = SnapshotId::from_bytes(random());
    let (their_session, their_lease) = a_session_that_nobody_elses_number_is_like(cluster, "acme").await;
    let not_found = no("NOT_FOUND", "NOT_FOUND");

    // By somebody of another tenant, whose role would allow each call.
    let restorer = Speaker::founder(cluster, "globex", "restorer").await;
    for id in [theirs, absent] {
        let bytes = Bytes::copy_from_slice(id.as_bytes());
        let request = pb::GetSnapshotRequest { id: bytes.clone(), prefix: String::new(), vault: Bytes::new() };
        let mut vaults = restorer.vaults.clone();
        assert_eq!(vaults.get_snapshot(request).await.map(drop).map_err(No::from), Err(not_found.clone()));
        let prefix = id.to_string()[..12].to_owned();
        let request = pb::GetSnapshotRequest { id: Bytes::new(), prefix, vault: Bytes::new() };
        assert_eq!(vaults.get_snapshot(request).await.map(drop).map_err(No::from), Err(not_found.clone()));
        let request = pb::GetReceiptRequest { snapshot: bytes, old_size: 0 };
        assert_eq!(vaults.get_receipt(request).await.map(drop).map_err(No::from), Err(not_found.clone()));
        let body = Body::OpenRestore { snapshots: vec![id], purpose: "n21".into(), lifetime_ms: 60_000 };
        assert_eq!(restorer.talk(0).await.say(body).await, Err(not_found.clone()));
        let body = Body::EndRestore { restore: their_session };
        assert_eq!(restorer.talk(0).await.say(body).await, Err(not_found.clone()));
    }
    for vault in [forge.statement.vault, VaultId::from_bytes(random())] {
        let vault = Bytes::copy_from_slice(vault.as_bytes());
        let mut vaults = restorer.vaults.clone();
        let request = pb::GetVaultRequest { name: String::new(), id: vault.clone() };
        assert_eq!(vaults.get_vault(request).await.map(drop).map_err(No::from), Err(not_found.clone()));
        let request = pb::ListSnapshotsRequest { vault, ..pb::ListSnapshotsRequest::default() };
        assert_eq!(vaults.list_snapshots(request).await.map(drop).map_err(No::from), Err(not_found.clone()));
    }

    // A lease and a session of another tenant's upload, and such that nobody has.
    let writer = Speaker::founder(cluster, "globex", "writer").await;
    let own = Forge::prepare(cluster, "globex", "writer", "papers").await;
    for (lease, session) in
        [(their_lease, their_session), (LeaseId(u64::MAX), SessionId(u64::MAX)), (their_lease, own.talk.session)]
    {
        let open = pb::UploadOpen {
            group: writer.home.0,
            lease: lease.0,
            vault: Bytes::copy_from_slice(own.statement.vault.as_bytes()),
            domain: Bytes::copy_from_slice(own.keys.domain.as_bytes()),
            session: session.0,
        };
        let refused = upload(&writer, vec![Ask::Open(open)]).await.map(drop).map_err(No::from);
        assert_eq!(refused, Err(not_found.clone()), "{lease} {session}");
    }
    let mut answers = Vec::new();
    for session in [their_session, SessionId(u64::MAX)] {
        let mut talk = own.talk.clone();
        talk.session = session;
        answers.push(talk.say(Body::EndSession).await);
    }
    assert_eq!(answers[0], answers[1], "alike");
    assert_eq!(answers[0], Err(no("FAILED_PRECONDITION", "SESSION_ENDED")), "there is no such session to go on in");
    // A shard in which only others live does not exist.
    let elsewhere = (1..=3).map(GroupId).filter(|group| !writer.set.contains(group) && *group != writer.home);
    for group in elsewhere.chain([GroupId(77)]) {
        let command = Command { group, ..writer.opening(0) };
        let refused = submit_raw(&writer, group, &[writer.signed(&command)]).await.map_err(No::from);
        assert_eq!(refused, Err(not_found.clone()), "group {group}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n27_a_writer_neither_restores_nor_deletes_nor_extends() {
    let cluster = shared();
    let source = cluster.scratch();
    trees::plant(&source, "n27");
    let writer = cluster.client("acme-writer").await;
    let snapshot = back_up(&writer, &source, "papers", "n27").await.snapshot;
    let to = cluster.scratch().join("stolen");
    let refused = writer.restore(RestoreRequest::new(snapshot, to.clone())).await.map(drop);
    assert!(refused.is_err() && !to.exists(), "the SDK itself has no key to restore with");

    let line = Speaker::founder(cluster, "acme", "writer").await;
    let role = no("PERMISSION_DENIED", "ROLE");
    let restore = Body::OpenRestore { snapshots: vec![snapshot], purpose: "n27".into(), lifetime_ms: 60_000 };
    let mut talk = line.talk(0).await;
    assert_eq!(talk.say(restore).await, Err(role.clone()));
    let mut vaults = line.vaults.clone();
    let refused = vaults.fetch_run(pb::FetchRunRequest::default()).await.map(drop).map_err(No::from);
    assert_eq!(refused, Err(role.clone()));
    let forge = Forge::prepare(cluster, "acme", "writer", "papers").await;
    // Nothing deletes or extends yet; what comes nearest touches no committed snapshot.
    assert_eq!(talk.say(Body::AbortSnapshot { snapshot }).await, Err(no("ALREADY_EXISTS", "IMMUTABLE")));
    for body in [
        Body::CloseIdentity { identity: "restorer".parse().expect("a name"), reason: "n27".into() },
        Body::UpdateStatement { statement: Vec::new() },
        Body::PutCard { card: Vec::new() },
        Body::ReportBlob {
            vault: forge.statement.vault,
            domain: forge.keys.domain,
            chunk: strongroom_format::id::ChunkId::from_bytes(random()),
            blob: strongroom_format::id::BlobId::from_bytes(random()),
            snapshot,
        },
    ] {
        assert_eq!(talk.say(body).await, Err(role.clone()));
    }
    let restored = cluster.scratch().join("restored");
    let restorer = cluster.client("acme-restorer").await;
    crate::shared::restore(&restorer, snapshot, &restored).await;
    trees::assert_equal(&source, &restored);
}

#[tokio::test(flavor = "multi_thread")]
async fn n30_headers_that_claim_somebody_else_are_ignored() {
    let cluster = shared();
    let acme = Speaker::founder(cluster, "acme", "writer").await;
    let globex = Speaker::founder(cluster, "globex", "writer").await;
    let claims = |request: &mut MetadataMap| {
        let spiffe = format!("spiffe://{}/tenant/acme/id/administrator/role/admin", cluster.name);
        let tenant = acme.tenant.to_string();
        for (name, value) in [
            ("x-tenant", "acme"),
            ("strongroom-tenant", tenant.as_str()),
            ("tenant", tenant.as_str()),
            ("x-forwarded-client-cert", spiffe.as_str()),
            ("x-client-cert", spiffe.as_str()),
            ("x-spiffe-id", spiffe.as_str()),
            ("authorization", "Bearer acme"),
            ("x-forwarded-for", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1;by=acme"),
        ] {
            request.insert(name, value.parse().expect("ASCII"));
        }
    };
    let reply = patiently(|| {
        let mut vaults = globex.vaults.clone();
        let mut request = tonic::Request::new(pb::TopologyRequest {});
        claims(request.metadata_mut());
        async move { vaults.topology(request).await }
    });
    let reply = reply.await.expect("globex's own answer");
    assert_eq!(reply.tenant.as_ref(), globex.tenant.as_bytes());
    // A call for another role, and a command in another's name, are what they were.
    let mut request = tonic::Request::new(pb::FetchRunRequest::default());
    claims(request.metadata_mut());
    let refused = globex.vaults.clone().fetch_run(request).await.map(drop).map_err(No::from);
    assert_eq!(refused, Err(no("PERMISSION_DENIED", "ROLE")));
    let command = acme.signed(&acme.opening(0));
    let mut request =
        tonic::Request::new(pb::SubmitRequest { group: acme.home.0, commands: vec![codec::encode(&command).into()] });
    claims(request.metadata_mut());
    let refused = globex.vaults.clone().submit(request).await.map(drop).map_err(No::from);
    assert_eq!(refused, Err(no("PERMISSION_DENIED", "FOREIGN_TENANT")));
}

#[tokio::test(flavor = "multi_thread")]
async fn n101_nothing_that_another_tenant_can_read_holds_a_canary() {
    let cluster = shared();
    let canary = "canary-n101-of-acme";
    let mut forge = Forge::prepare(cluster, "acme", "writer", "papers").await;
    forge.label = strongroom_format::label::Label::try_from(canary).expect("a label");
    forge.open_snapshot().await.expect("the snapshot opens");
    let run = vec![forge.seal(strongroom_format::seal::Kind::Data, b"some bytes")];
    let snapshot = forge.write(&[run], &[file("a", b"some bytes", 0)]).await;
    for role in ["administrator", "restorer", "writer"] {
        let globex = Speaker::founder(cluster, "globex", role).await;
        let mut vaults = globex.vaults.clone();
        let mut shown = globex.topology.encode_to_vec();
        let vaults_of_globex = vaults.list_vaults(pb::ListVaultsRequest {}).await.expect("its own vaults").into_inner();
        shown.extend(vaults_of_globex.encode_to_vec());
        let status = vaults.status(pb::StatusRequest {}).await.expect("how its shards are").into_inner();
        shown.extend(status.encode_to_vec());
        for pb::Vault { id: vault, .. } in vaults_of_globex.vaults {
            let request = pb::ListSnapshotsRequest { vault, ..pb::ListSnapshotsRequest::default() };
            let listed = vaults.list_snapshots(request).await.expect("its own snapshots").into_inner();
            shown.extend(listed.encode_to_vec());
        }
        let tenant = forge.talk.speaker.tenant;
        for needle in
            [canary.as_bytes(), snapshot.as_bytes(), b"acme", tenant.as_bytes(), tenant.to_string().as_bytes()]
        {
            assert!(memchr::memmem::find(&shown, needle).is_none(), "{role} of globex reads {needle:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n22_a_bulk_call_with_one_foreign_item_applies_nothing() {
    let cluster = shared();
    let _quiet = quiet().await;
    let initech = Speaker::founder(cluster, "initech", "administrator").await;
    let globex = Speaker::founder(cluster, "globex", "administrator").await;
    let enrolment = |name: &str| Body::EnrolIdentity {
        identity: name.parse().expect("a name"),
        roles: vec![Role::Auditor],
        signing_key: SigningKey::from_secret(random()).expect("a good key").public_key(),
        locks: None,
        approvals: Vec::new(),
    };
    let mut talk = initech.talk(0).await;
    let good = talk.next(enrolment("n22-good"));
    let foreign = Command { tenant: globex.tenant, ..talk.next(enrolment("n22-foreign")) };
    for foreign in [initech.signed(&foreign), globex.signed(&foreign)] {
        let many = [initech.signed(&good), foreign];
        let refused = submit_raw(&initech, initech.home, &many).await.map_err(No::from);
        assert_eq!(refused, Err(no("PERMISSION_DENIED", "FOREIGN_TENANT")));
    }
    for speaker in [&initech, &globex] {
        let mut vaults = speaker.vaults.clone();
        let listed = vaults.list_identities(pb::ListIdentitiesRequest::default()).await.expect("a list").into_inner();
        assert!(!listed.identities.iter().any(|one| one.id.starts_with("n22")), "nothing was applied");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n23_a_batch_hides_no_other_principal_and_no_higher_right() {
    let cluster = shared();
    let _quiet = quiet().await;
    let writer = Speaker::founder(cluster, "initech", "writer").await;
    let admin = Speaker::founder(cluster, "initech", "administrator").await;
    let enrolment = Body::EnrolIdentity {
        identity: "n23".parse().expect("a name"),
        roles: vec![Role::Auditor],
        signing_key: writer.person.signing.public_key(),
        locks: None,
        approvals: Vec::new(),
    };
    // As the administrator, among the writer's own: refused at the door, all of it, whoever signed it.
    let hidden = admin.outside(admin.home, enrolment.clone());
    for hidden in [writer.signed(&hidden), admin.signed(&hidden)] {
        let many = [writer.signed(&writer.opening(0)), hidden];
        let refused = submit_raw(&writer, writer.home, &many).await.map_err(No::from);
        assert_eq!(refused, Err(no("PERMISSION_DENIED", "FOREIGN_PRINCIPAL")));
    }
    // As itself, beyond its role: the rules say no to that one.
    let mut talk = writer.talk(0).await;
    let many = [writer.signed(&writer.opening(0)), writer.signed(&talk.next(enrolment))];
    let outcomes = writer.submit(writer.home, &many).await.expect("outcomes");
    let outcomes: Vec<_> = outcomes.into_iter().map(crate::speaker::outcome).collect();
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[1], Err(no("PERMISSION_DENIED", "ROLE")));
    let listed = admin.vaults.clone().list_identities(pb::ListIdentitiesRequest::default()).await.expect("a list");
    assert!(!listed.into_inner().identities.iter().any(|one| one.id == "n23"), "nobody was enrolled");
}

#[tokio::test(flavor = "multi_thread")]
async fn n25_a_conditional_write_shows_nobody_what_it_may_not_read() {
    let cluster = shared();
    let writer = Speaker::founder(cluster, "globex", "writer").await;
    let forge = Forge::prepare(cluster, "globex", "writer", "papers").await;
    let mut vaults = writer.vaults.clone();
    let request = pb::GetVaultRequest { name: "papers".into(), id: Bytes::new() };
    let stored = vaults.get_vault(request).await.expect("its vault").into_inner().vault.expect("a vault");
    // The stored version would be in the answer to an administrator's stale write; a writer hears its role only.
    let stale = Body::UpdateStatement { statement: stored.statement.to_vec() };
    assert_eq!(writer.talk(0).await.say(stale.clone()).await, Err(no("PERMISSION_DENIED", "ROLE")));
    let admin = Speaker::founder(cluster, "globex", "administrator").await;
    assert_eq!(admin.talk(0).await.say(stale).await, Err(no("ABORTED", "VERSION_CONFLICT")));
    assert_eq!(forge.statement.version.0, 1, "it is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn n26_a_page_token_of_another_tenant_or_vault_and_a_tampered_one_are_refused() {
    let cluster = shared();
    let mut vault_of = std::collections::BTreeMap::new();
    for (tenant, vault) in [("acme", "papers"), ("globex", "papers"), ("globex", "ledgers")] {
        let speaker = Speaker::founder(cluster, tenant, "restorer").await;
        let request = pb::GetVaultRequest { name: vault.into(), id: Bytes::new() };
        let found = speaker.vaults.clone().get_vault(request).await.expect("its vault").into_inner();
        vault_of.insert((tenant, vault), (speaker, found.vault.expect("a vault").id));
    }
    // Three snapshots, so that two pages of one end before the last.
    let writer = cluster.client("acme-writer").await;
    for number in 0..3 {
        let source = cluster.scratch();
        std::fs::write(source.join("file"), format!("n26 {number}")).expect("a file can be written");
        back_up(&writer, &source, "papers", "n26").await;
    }
    let ask = async |place: (&'static str, &'static str), page: Bytes| {
        let (speaker, vault) = &vault_of[&place];
        let request = pb::ListSnapshotsRequest { vault: vault.clone(), label: String::new(), page, limit: 1 };
        speaker.vaults.clone().list_snapshots(request).await.map(tonic::Response::into_inner).map_err(No::from)
    };
    let own = ("acme", "papers");
    let first = ask(own, Bytes::new()).await.expect("its own first page");
    let second = ask(own, first.next_page.clone()).await.expect("its own second page");
    assert_ne!(first.snapshots[0].id, second.snapshots[0].id, "a good token goes on");
    let invalid = no("INVALID_ARGUMENT", "PAGE");
    for place in [("globex", "papers"), ("globex", "ledgers")] {
        let refused = ask(place, first.next_page.clone()).await.expect_err("another's token");
        assert_eq!(refused, invalid, "{place:?}");
    }
    for at in 0..first.next_page.len() {
        let mut tampered = first.next_page.to_vec();
        tampered[at] ^= 1;
        assert_eq!(ask(own, tampered.into()).await.expect_err("tampered"), invalid, "byte {at}");
    }
    let longer = [&first.next_page[..], &[0]].concat();
    for wrong in [first.next_page.slice(..first.next_page.len() - 1), longer.into()] {
        assert_eq!(ask(own, wrong).await.expect_err("of another length"), invalid);
    }
}

/// Names that are none, as long as `name`.
fn bad_spellings(name: &str) -> Vec<Vec<u8>> {
    let mut spellings = Vec::new();
    for bad in [&b"/"[..], b"%2F", b"\\", b"\0", b"..", b"\n", b"\x7f", b"*", b"A"] {
        let mut spelling = name.as_bytes().to_vec();
        spelling[1..=bad.len()].copy_from_slice(bad);
        spellings.push(spelling);
    }
    spellings
}

#[tokio::test(flavor = "multi_thread")]
async fn n16_names_with_separators_or_control_characters_are_invalid_and_who_may_not_name_hears_that_first() {
    let cluster = shared();
    let admin = Speaker::founder(cluster, "globex", "administrator").await;
    let writer = Speaker::founder(cluster, "globex", "writer").await;
    let invalid = no("INVALID_ARGUMENT", "INVALID");
    let role = no("PERMISSION_DENIED", "ROLE");
    let name = "n16-name";

    // Where a name stands by itself. Whoever may not ask hears nothing about it.
    for spelling in bad_spellings(name).into_iter().filter_map(|bytes| String::from_utf8(bytes).ok()) {
        let request = pb::GetVaultRequest { name: spelling.clone(), id: Bytes::new() };
        let refused = admin.vaults.clone().get_vault(request).await.map(drop).map_err(No::from);
        assert_eq!(refused, Err(invalid.clone()), "a vault {spelling:?}");
        let request = || pb::ListIdentitiesRequest { after: spelling.clone(), limit: 1 };
        let refused = admin.vaults.clone().list_identities(request()).await.map(drop).map_err(No::from);
        assert_eq!(refused, Err(invalid.clone()), "an identity {spelling:?}");
        let refused = writer.vaults.clone().list_identities(request()).await.map(drop).map_err(No::from);
        assert_eq!(refused, Err(role.clone()), "an identity {spelling:?}, asked for by a writer");
    }
    // Inside of signed commands: identities and vaults in a tenant's, nodes, regions and tenants in an operator's.
    let mut talk = admin.talk(0).await;
    let close = talk.next(Body::CloseIdentity { identity: name.parse().expect("a name"), reason: "n16".into() });
    for bytes in misspelt(&codec::encode(&close), name) {
        let signed =
            SignedCommand { signature: Some(admin.person.signing.sign("command", &bytes)), command: bytes.clone() };
        let refused = submit_raw(&admin, admin.home, &[signed]).await.map_err(No::from);
        assert_eq!(refused, Err(invalid.clone()), "an identity in a command");
    }
    let forge = Forge::prepare(cluster, "globex", "writer", "papers").await;
    let root = cluster.client("globex-admin").await;
    let root = strongroom::keyring::root(root.profile(), None).expect("dev's admin has the root key");
    let mut statement = forge.statement.clone();
    (statement.vault, statement.name) = (VaultId::from_bytes(random()), name.parse().expect("a name"));
    for payload in misspelt(&codec::encode(&statement), name) {
        // A signed value is its payload and the signature over it.
        let signature = root.signing_key().sign("vault statement", &payload);
        let signed = [&[1][..], &u32::try_from(payload.len()).expect("short").to_le_bytes(), &payload, &signature.0];
        let body = Body::CreateVault { statement: signed.concat(), policy: forge.policy.clone() };
        assert_eq!(talk.say(body).await, Err(invalid.clone()), "a vault in a statement");
    }
    let home = cluster.directory().join("operator");
    let signing: SigningKey = strongroom::keyring::read_key(&home.join("platform.signing")).expect("its signing key");
    let bearer = crate::bearer::Bearer::read(&home, "platform");
    let door = crate::speaker::channel(cluster, &cluster.nodes[0], crate::bearer::Door::Operator, &bearer).await;
    let mut operators = strongroom_proto::v1::operators_client::OperatorsClient::new(door);
    let token = |node: &str, region: &str| OperatorBody::IssueNodeToken {
        token: strongroom_format::id::Digest::from_bytes(random()),
        node: node.parse().expect("a name"),
        region: region.parse().expect("a name"),
        lifetime_ms: 60_000,
        wall_end_unix_ms: u64::MAX,
    };
    for (what, body) in [("a node", token(name, "west")), ("a region", token("west-16", name))] {
        let command = OperatorCommand {
            cluster: cluster.epoch(),
            operator: "platform".parse().expect("a name"),
            nonce: strongroom_format::id::Nonce::from_bytes(random()),
            body,
        };
        for bytes in misspelt(&codec::encode(&command), name) {
            let signed =
                SignedCommand { signature: Some(signing.sign("operator command", &bytes)), command: bytes.clone() };
            let request = pb::OperatorSubmitRequest { command: codec::encode(&signed).into() };
            let refused = operators.submit(request).await.map(drop).map_err(No::from);
            assert_eq!(refused, Err(invalid.clone()), "{what}");
        }
    }
}

/// Canonical bytes in which a name is spelt in all the ways that are none.
fn misspelt(bytes: &[u8], name: &str) -> Vec<Vec<u8>> {
    let at = memchr::memmem::find(bytes, name.as_bytes()).expect("the name stands in the bytes");
    let misspell = |spelling: Vec<u8>| [&bytes[..at], &spelling, &bytes[at + name.len()..]].concat();
    bad_spellings(name).into_iter().map(misspell).collect()
}
