//! Receipts, checkpoints and the audit log against running nodes, and what a client does when a node serves an older or
//! another world (N134, N135, N144).
//!
//! Who lies here is played where a lie would arrive: what this machine remembers is moved ahead of the honest nodes, so
//! that they look to it as a node that rolled back would. A node that lies is in `lies.rs`. Not here: proofs by
//! themselves (`proto/format`).

use std::fs;

use bytes::Bytes;
use strongroom::audit::{Leaf, Since};
use strongroom::client::Client;
use strongroom::error::Error;
use strongroom::receipts::Keys;
use strongroom::restore::RestoreRequest;
use strongroom_format::codec;
use strongroom_format::command::{Body, MemberSignature};
use strongroom_format::id::{IdentityId, SnapshotId, VaultId};
use strongroom_format::receipt::{AuditEvent, Receipt, SignedCheckpoint};
use strongroom_format::role::Role;
use strongroom_format::sign::SigningKey;
use strongroom_proto::v1 as pb;

use crate::cluster::{Cluster, PATIENCE, comes_true};
use crate::forge::Forge;
use crate::shared::{back_up, certify, client_with, create_vault, enrol_writer, profile_of, request, shared};
use crate::speaker::{No, Person, Speaker, no, random};
use crate::tenant::own_tenant;
use crate::trees;

/// A writer of acme that no other test uses, so that what its machine remembers is this test's alone.
async fn own_writer(cluster: &Cluster, id: &str) -> Client {
    enrol_writer(cluster, "acme", id, "papers").await;
    client_with(&profile_of(cluster, "acme", id)).await
}

async fn leaves_of(client: &Client, since: Since) -> Result<Vec<Leaf>, Error> {
    let mut leaves = Vec::new();
    client
        .audit(since, |leaf| {
            leaves.push(leaf);
            Ok(())
        })
        .await?;
    Ok(leaves)
}

fn remembered(client: &Client) -> SignedCheckpoint {
    let file = client.profile().tenant().expect("a tenant's").state.join("log");
    let text = fs::read_to_string(file).expect("the log is remembered");
    codec::decode(&hex::decode(text.trim_end()).expect("hex")).expect("a checkpoint")
}

fn remember(client: &Client, log: &SignedCheckpoint) {
    let file = client.profile().tenant().expect("a tenant's").state.join("log");
    fs::write(file, hex::encode(codec::encode(log)) + "\n").expect("it can be written");
}

#[tokio::test(flavor = "multi_thread")]
async fn n134_a_backups_receipt_is_signed_by_a_majority_and_verified_without_the_cluster() {
    let cluster = shared();
    let source = cluster.scratch();
    trees::plant(&source, "n134");
    let writer = own_writer(cluster, "n134").await;
    let backup = back_up(&writer, &source, "papers", "n134").await;
    let proof = backup.receipt.expect("a majority signed within the deadline");
    assert!(2 <= proof.receipt.signatures.len(), "two of three voters");
    let log = remembered(&writer);
    assert_eq!(log.verify(), Ok(()));
    assert!(proof.receipt.checkpoint.size <= log.checkpoint.size);

    let keys = Keys::of_profile(writer.profile()).expect("this machine knows the voters");
    let verified = keys.verify(&proof.bytes).expect("it holds");
    assert_eq!((verified.committed.snapshot, verified.voters), (backup.snapshot, 3));
    // With fewer signatures, another's, or about something else it proves nothing.
    let with = |signatures: Vec<MemberSignature>| codec::encode(&Receipt { signatures, ..proof.receipt.clone() });
    let refused = |bytes: &[u8]| keys.verify(bytes).expect_err("it proves nothing").reason().map(str::to_owned);
    assert_eq!(refused(&with(proof.receipt.signatures[..1].to_vec())).as_deref(), Some("RECEIPT_INVALID"));
    let mut foreign = proof.receipt.signatures.clone();
    let stranger = SigningKey::from_secret(random()).expect("a good key");
    foreign[0] = proof.receipt.checkpoint.sign(foreign[0].replica, &stranger);
    assert_eq!(refused(&with(foreign)).as_deref(), Some("RECEIPT_INVALID"));
    let mut other = proof.receipt.clone();
    if let AuditEvent::Committed(committed) = &mut other.record.event {
        committed.snapshot = SnapshotId::from_bytes(random());
    }
    assert_eq!(refused(&codec::encode(&other)).as_deref(), Some("RECEIPT_INVALID"));
    // Fetched once more, by whoever sees the snapshot.
    let again = cluster.client("acme-restorer").await.receipt(backup.snapshot).await.expect("a receipt");
    assert_eq!(again.says, proof.says);
}

#[tokio::test(flavor = "multi_thread")]
async fn n135_a_log_that_is_shorter_or_another_than_this_machine_has_seen_is_refused() {
    let cluster = shared();
    let source = cluster.scratch();
    trees::plant(&source, "n135");
    let writer = own_writer(cluster, "n135").await;
    back_up(&writer, &source, "papers", "n135").await;
    let vault = "papers".parse().expect("a name");
    writer.snapshots(Some(&vault)).await.expect("an honest list");
    let honest = remembered(&writer);
    let rollback = Some("ROLLBACK_DETECTED");

    // This machine has seen more than the nodes have.
    let mut longer = honest.clone();
    longer.checkpoint.size += 1_000_000;
    remember(&writer, &longer);
    assert_eq!(writer.snapshots(Some(&vault)).await.expect_err("an older list").reason(), rollback);
    let refused = writer.back_up(request(&source, "papers", "n135")).await.expect_err("an older log's receipt");
    assert_eq!(refused.reason(), rollback);
    // It has seen another log of a length that the nodes have too, and of the same length (N91).
    let mut forked = honest.clone();
    forked.checkpoint.root.0[0] ^= 1;
    remember(&writer, &forked);
    assert_eq!(writer.snapshots(Some(&vault)).await.expect_err("another log").reason(), rollback);
    assert_eq!(remembered(&writer), forked, "what is refused is not remembered");
    // Voters that it does not know.
    let mut strangers = honest.clone();
    for key in strangers.voters.keys.values_mut() {
        *key = SigningKey::from_secret(random()).expect("a good key").public_key();
    }
    remember(&writer, &strangers);
    assert_eq!(writer.snapshots(Some(&vault)).await.expect_err("strangers").reason(), Some("VOTERS_CHANGED"));

    remember(&writer, &honest);
    writer.snapshots(Some(&vault)).await.expect("the honest list again");
}

#[tokio::test(flavor = "multi_thread")]
async fn n135_a_list_that_lacks_what_there_is_a_receipt_for_is_refused() {
    let cluster = shared();
    let source = cluster.scratch();
    trees::plant(&source, "hidden");
    let writer = own_writer(cluster, "hidden").await;
    back_up(&writer, &source, "papers", "hidden").await;
    let receipts = writer.profile().tenant().expect("a tenant's").state.join("receipts");
    let before = fs::read_to_string(&receipts).expect("the receipt is remembered");
    assert_eq!(before.lines().count(), 1);
    let vault = "papers".parse().expect("a name");
    assert_eq!(writer.snapshots(Some(&vault)).await.expect("an honest list").len(), 1);
    // A snapshot for which this machine has a receipt, and that the nodes do not show.
    let hidden = SnapshotId::from_bytes(random());
    let line = before.lines().next().expect("a line");
    let (_, rest) = line.split_once(' ').expect("words");
    fs::write(&receipts, format!("{before}{hidden} {rest}\n")).expect("it can be written");
    let refused = writer.snapshots(Some(&vault)).await.expect_err("one is hidden");
    assert_eq!(refused.reason(), Some("ROLLBACK_DETECTED"));
    assert!(refused.to_string().contains(&hidden.to_string()), "{refused}");
    assert_eq!(writer.receipt(hidden).await.expect_err("hidden").reason(), Some("ROLLBACK_DETECTED"));
    let latest = strongroom::snapshots::SnapshotName::Latest { vault, name: Some("hidden".into()) };
    assert_eq!(writer.find_snapshot(&latest).await.expect_err("hidden").reason(), Some("ROLLBACK_DETECTED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn n135_a_restore_asks_for_the_log_too() {
    let cluster = shared();
    let source = cluster.scratch();
    trees::plant(&source, "restored");
    let backup = back_up(&cluster.client("globex-writer").await, &source, "papers", "restored").await;
    // A state directory of its own, so that no other test's restorer is led astray.
    let home = cluster.scratch();
    let text = fs::read_to_string(cluster.profile("globex-restorer")).expect("a profile");
    let state = home.join("state");
    let text: Vec<String> = text
        .lines()
        .map(|line| if line.starts_with("state = ") { format!("state = \"{}\"", state.display()) } else { line.into() })
        .collect();
    let profile = home.join("restorer.toml");
    fs::write(&profile, text.join("\n")).expect("a profile can be written");
    let restorer = client_with(&profile).await;
    restorer.snapshots(None).await.expect("an honest list");
    let mut longer = remembered(&restorer);
    longer.checkpoint.size += 1_000_000;
    remember(&restorer, &longer);
    let refused = restorer.restore(RestoreRequest::new(backup.snapshot, home.join("back"))).await;
    assert_eq!(refused.expect_err("an older log").reason(), Some("ROLLBACK_DETECTED"));
    assert!(!home.join("back").exists(), "nothing is shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_says_who_did_what_and_only_to_those_who_may_know() {
    let cluster = shared();
    let source = cluster.scratch();
    trees::plant(&source, "audit");
    let writer = own_writer(cluster, "audited").await;
    let backup = back_up(&writer, &source, "papers", "audit").await;
    let admin = cluster.client("acme-admin").await;
    let leaves = leaves_of(&admin, Since::Leaf(0)).await.expect("an admin reads it");
    assert!(leaves.iter().zip(0..).all(|(leaf, index)| leaf.index == index), "none is missing");
    let is_ours = |leaf: &&Leaf| matches!(&leaf.record.event, AuditEvent::Committed(committed) if committed.snapshot == backup.snapshot);
    let committed = leaves.iter().find(is_ours).expect("the commit is a leaf");
    let audited: IdentityId = "audited".parse().expect("a name");
    let by_writer =
        |leaf: &Leaf| matches!(&leaf.record.event, AuditEvent::Decision { principal, .. } if *principal == audited);
    assert!(leaves.iter().any(by_writer), "so is what the writer did before");
    let later = leaves_of(&admin, Since::Leaf(committed.index)).await.expect("from there on");
    assert_eq!(later.first().map(|leaf| leaf.index), Some(committed.index));
    let in_time = leaves_of(&admin, Since::UnixMs(i64::MAX)).await.expect("from never on");
    assert!(in_time.is_empty());
    let refused = leaves_of(&writer, Since::Leaf(0)).await.expect_err("a writer does not");
    assert_eq!(No::from(refused), no("PERMISSION_DENIED", "ROLE"));
}

/// An auditor of acme with a certificate, a signing key and a row.
async fn auditor(cluster: &Cluster) -> Person {
    let signing = SigningKey::from_secret(random()).expect("a good key");
    let enrolment = Body::EnrolIdentity {
        identity: "auditor".parse().expect("a name"),
        roles: vec![Role::Auditor],
        signing_key: signing.public_key(),
        locks: None,
        approvals: Vec::new(),
    };
    let admin = Speaker::founder(cluster, "acme", "administrator").await;
    admin.talk(0).await.say(enrolment).await.expect("an admin enrols auditors");
    certify(cluster, "acme", "auditor", "auditor");
    let home = cluster.directory().join("tenants").join("acme");
    Person {
        identity: "auditor".parse().expect("a name"),
        bearer: crate::bearer::Bearer::read(&home, "auditor"),
        signing,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n28_an_auditor_reads_the_log_and_writes_nothing() {
    let cluster = shared();
    let speaker = Speaker::call(cluster, auditor(cluster).await).await;
    let request = pb::ListAuditRequest { from: 0, limit: 10, size: 1 };
    let listed = speaker.vaults.clone().list_audit(request).await.expect("an auditor reads it").into_inner();
    assert_eq!(listed.leaves.len(), 1);
    let identities = speaker.vaults.clone().list_identities(pb::ListIdentitiesRequest::default()).await;
    let identities = identities.expect("and sees who there is").into_inner().identities;
    assert!(identities.iter().any(|one| one.id == "auditor" && one.roles == ["auditor"] && one.open));
    let opening = speaker.signed(&speaker.opening(0));
    assert_eq!(speaker.say(speaker.home, opening).await, Err(no("PERMISSION_DENIED", "ROLE")));
    let vault = Bytes::copy_from_slice(VaultId::from_bytes(random()).as_bytes());
    let wraps = pb::GetWrapsRequest { vault, ..pb::GetWrapsRequest::default() };
    let refused = speaker.vaults.clone().get_wraps(wraps).await.map(drop).map_err(No::from);
    assert_eq!(refused, Err(no("PERMISSION_DENIED", "ROLE")), "nor does it read keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn n24_n92_no_range_reaches_into_another_tenant() {
    let cluster = shared();
    let globex = Speaker::founder(cluster, "globex", "administrator").await;
    let mut vaults = globex.vaults.clone();
    let head = vaults.get_checkpoint(pb::GetCheckpointRequest::default()).await.expect("its own").into_inner();
    let head: SignedCheckpoint = codec::decode(&head.checkpoint).expect("a checkpoint");
    // Open-ended, and from behind the end on.
    let all = pb::ListAuditRequest { from: 0, limit: u32::MAX, size: u64::MAX };
    let refused = vaults.list_audit(all).await.map(drop).map_err(No::from);
    assert_eq!(refused, Err(no("NOT_FOUND", "NOT_FOUND")), "no log has that many leaves");
    let mut from = 0;
    while from < head.checkpoint.size {
        let page = pb::ListAuditRequest { from, limit: 1000, size: head.checkpoint.size };
        let leaves = vaults.list_audit(page).await.expect("a page").into_inner().leaves;
        for leaf in &leaves {
            assert!(memchr::memmem::find(&leaf.record, b"acme").is_none());
        }
        assert!(!leaves.is_empty());
        from += leaves.len() as u64;
    }
    let beyond = pb::ListAuditRequest { from: head.checkpoint.size, limit: 1000, size: head.checkpoint.size };
    assert_eq!(vaults.list_audit(beyond).await.expect("nothing").into_inner().leaves, Vec::new());
    let mut one_by_one: Vec<String> = Vec::new();
    loop {
        let after = one_by_one.last().cloned().unwrap_or_default();
        let request = pb::ListIdentitiesRequest { after, limit: 1 };
        let listed = vaults.list_identities(request).await.expect("its own").into_inner().identities;
        let Some(one) = listed.into_iter().next() else { break };
        one_by_one.push(one.id);
    }
    let all = vaults.list_identities(pb::ListIdentitiesRequest::default()).await.expect("its own").into_inner();
    assert_eq!(all.identities.into_iter().map(|one| one.id).collect::<Vec<_>>(), one_by_one);
    assert!(one_by_one.iter().any(|id| id == "restorer"));
    assert!(!one_by_one.iter().any(|id| id == "second"), "acme's second writer is not globex's");
}

#[tokio::test(flavor = "multi_thread")]
async fn n144_no_proof_and_no_checkpoint_holds_anything_of_another_tenant() {
    let cluster = shared();
    // Both tenants have done something, in one shard or in several.
    let source = cluster.scratch();
    trees::plant(&source, "n144");
    let acme = own_writer(cluster, "n144").await;
    let theirs = back_up(&acme, &source, "papers", "label-of-n144").await;
    let ours = back_up(&cluster.client("globex-writer").await, &source, "papers", "n144").await;
    let forge = Forge::prepare(cluster, "acme", "writer", "papers").await;
    let their_log = leaves_of(&cluster.client("acme-admin").await, Since::Leaf(0)).await.expect("acme's own");

    let mut needles: Vec<(String, Vec<u8>)> = vec![
        ("the name".into(), b"acme".to_vec()),
        ("the tenant's id".into(), acme.tenant().as_bytes().to_vec()),
        ("the vault's id".into(), forge.statement.vault.as_bytes().to_vec()),
        ("the snapshot".into(), theirs.snapshot.as_bytes().to_vec()),
        ("the label".into(), b"label-of-n144".to_vec()),
    ];
    let proof = theirs.receipt.expect("a receipt");
    needles.push(("the tenant's tag".into(), proof.receipt.checkpoint.tenant.as_bytes().to_vec()));
    needles.push(("the root".into(), proof.receipt.checkpoint.root.0.to_vec()));
    needles.push(("the leaf's salt".into(), proof.receipt.salt.0.to_vec()));
    needles.extend(proof.receipt.proof.iter().map(|hash| ("a hash of its proof".to_owned(), hash.0.to_vec())));
    for leaf in &their_log {
        if let AuditEvent::Batch { digest, .. } = &leaf.record.event {
            needles.push(("a batch's digest".into(), digest.as_bytes().to_vec()));
        }
    }

    let globex = Speaker::founder(cluster, "globex", "administrator").await;
    let mut vaults = globex.vaults.clone();
    let mut shown: Vec<u8> = Vec::new();
    let receipt = pb::GetReceiptRequest { snapshot: Bytes::copy_from_slice(ours.snapshot.as_bytes()), old_size: 1 };
    let receipt = vaults.get_receipt(receipt).await.expect("its own").into_inner();
    shown.extend(prost::Message::encode_to_vec(&receipt));
    let now = vaults.get_checkpoint(pb::GetCheckpointRequest::default()).await.expect("its own").into_inner();
    let size = codec::decode::<SignedCheckpoint>(&now.checkpoint).expect("a checkpoint").checkpoint.size;
    for old_size in 1..=size.min(40) {
        let request = pb::GetCheckpointRequest { old_size, size: 0, all_voters: old_size == 1 };
        let reply = vaults.get_checkpoint(request).await.expect("its own").into_inner();
        shown.extend(prost::Message::encode_to_vec(&reply));
        let request = pb::ListAuditRequest { from: 0, limit: 1000, size: old_size };
        let reply = vaults.list_audit(request).await.expect("its own").into_inner();
        shown.extend(prost::Message::encode_to_vec(&reply));
    }
    assert!(memchr::memmem::find(&shown, ours.snapshot.as_bytes()).is_some(), "the search finds what is there");
    for (what, needle) in needles {
        assert!(memchr::memmem::find(&shown, &needle).is_none(), "{what} is shown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_comes_without_one_voter_and_says_the_same_when_all_are_back() {
    let mut cluster = tokio::task::block_in_place(|| Cluster::start(3, &["acme"]));
    create_vault(&cluster, "acme", "papers").await;
    let source = cluster.scratch();
    trees::plant(&source, "voters");
    let writer = cluster.client("acme-writer").await;
    back_up(&writer, &source, "papers", "all").await;
    let name = cluster.names().pop().expect("a node");
    tokio::task::block_in_place(|| cluster.kill(&name));
    let thin = back_up(&writer, &source, "papers", "two").await;
    let proof = thin.receipt.expect("two of three are a majority");
    assert_eq!(proof.receipt.signatures.len(), 2);
    tokio::task::block_in_place(|| {
        cluster.restart(&name);
        cluster.await_ready(&name);
    });
    let again = writer.receipt(thin.snapshot).await.expect("with all three again");
    assert_eq!(again.says, proof.says);
}

#[tokio::test(flavor = "multi_thread")]
async fn n145_refusals_beyond_one_a_second_are_counted_in_one_leaf_a_minute_and_none_is_missing() {
    const REFUSED: usize = 40;
    let cluster = shared();
    own_tenant(cluster, "n145").await;
    let admin = cluster.client("n145-admin").await;
    let writer = Speaker::founder(cluster, "n145", "writer").await;
    let mut talk = writer.talk(0).await;
    let before = leaves_of(&admin, Since::Leaf(0)).await.expect("an admin reads it").len();
    let began = std::time::Instant::now();
    // Of two kinds, in turn: neither hides the other.
    for number in 0..REFUSED {
        let close = Body::CloseIdentity { identity: "restorer".parse().expect("a name"), reason: "n145".into() };
        let card = Body::PutCard { card: Vec::new() };
        let refused = talk.say(if number % 2 == 0 { close } else { card }).await;
        assert_eq!(refused, Err(no("PERMISSION_DENIED", "ROLE")));
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("short") + 1;
    // What did not get a leaf of its own has one within a minute, behind a clock that waits for ticks.
    let mut told = (0, Vec::new());
    comes_true(3 * PATIENCE, "every refusal is in the log", async || {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let leaves = leaves_of(&admin, Since::Leaf(0)).await.expect("an admin reads it");
        let (mut alone, mut counted) = (0, Vec::new());
        for leaf in &leaves[before..] {
            match &leaf.record.event {
                AuditEvent::Decision { allowed: false, reason, principal, .. } => {
                    assert_eq!((reason.as_str(), principal.to_string().as_str()), ("ROLE", "writer"));
                    alone += 1;
                }
                AuditEvent::Batch { kind, count, .. } if kind & 0x4000 != 0 => counted.push(*count),
                _ => {}
            }
        }
        let all = alone + usize::try_from(counted.iter().sum::<u64>()).expect("few");
        told = (alone, counted);
        assert!(all <= REFUSED, "none is counted twice: {told:?}");
        all == REFUSED
    })
    .await;
    let (alone, counted) = told;
    // One a second of a clock that stands between two ticks and then catches up, of which there is at most one a second;
    // so a minute of it may be over after a few seconds of ours, once.
    assert!((1..=2 * seconds + 2).contains(&alone), "one a second: {alone} in {seconds} s");
    let minutes = seconds / 60 + 2;
    assert!((1..=2 * minutes).contains(&counted.len()), "one leaf a minute and kind: {counted:?}");
}
