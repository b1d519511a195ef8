//! What the SDK makes of a node that lies: a hidden snapshot, an old list, an old log, an old statement, a log that one
//! node made up, an answer without end (N85, N134, N135).
//!
//! Every test has a tenant and a lying node of its own, through which its SDK asks for everything. What this machine
//! remembers is altered in `receipts.rs`, which lies without a liar.

use prost::Message as _;
use strongroom::client::Client;
use strongroom::error::Error;
use strongroom::keyring;
use strongroom::snapshots::SnapshotName;
use strongroom_format::codec;
use strongroom_format::command::Body;
use strongroom_format::id::{ReplicaId, StatementVersion, VaultName};
use strongroom_format::merkle::MerkleHash;
use strongroom_format::receipt::{Checkpoint, SignedCheckpoint, Voters};
use strongroom_format::sign::{Signed, SigningKey};
use strongroom_format::statement::VaultStatement;
use strongroom_proto::v1 as pb;

use crate::cluster::Cluster;
use crate::forge::Forge;
use crate::inside::Inside;
use crate::liar::Liar;
use crate::shared::{back_up, create_vault, request, shared};
use crate::speaker::{No, Person, Speaker, no, random};
use crate::tenant::own_tenant;
use crate::trees;

/// A tenant with a vault, and its writer behind a lying node.
async fn deceived(cluster: &Cluster, tenant: &str) -> (Liar, Client) {
    own_tenant(cluster, tenant).await;
    create_vault(cluster, tenant, "papers").await;
    let liar = Liar::before(cluster, &Person::founder(cluster, tenant, "writer").bearer).await;
    let writer = liar.client(cluster, &format!("{tenant}-writer")).await;
    (liar, writer)
}

fn papers() -> VaultName {
    "papers".parse().expect("a name")
}

#[track_caller]
fn is_a_rollback<T>(refused: Result<T, Error>) {
    assert_eq!(refused.map(drop).expect_err("a lie").reason(), Some("ROLLBACK_DETECTED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn n85_an_answer_over_its_limit_is_not_read() {
    let cluster = shared();
    let (liar, writer) = deceived(cluster, "n85").await;
    writer.vaults().await.expect("an honest answer");
    liar.answer("ListVaults", vec![0; 17 << 20]);
    let refused = writer.vaults().await.map(drop).map_err(No::from);
    assert_eq!(refused, Err(no("RESOURCE_EXHAUSTED", "LIMIT")));
    liar.repent();
    writer.vaults().await.expect("an honest answer again");
}

#[tokio::test(flavor = "multi_thread")]
async fn n135_a_node_that_hides_the_newest_snapshot_or_serves_an_old_list_is_found_out() {
    let cluster = shared();
    let (liar, writer) = deceived(cluster, "n135-list").await;
    let source = cluster.scratch();
    trees::plant(&source, "n135");
    let first = back_up(&writer, &source, "papers", "n135").await.snapshot;
    assert_eq!(writer.snapshots(Some(&papers())).await.expect("an honest list").len(), 1);
    let old_list = liar.kept("ListSnapshots");
    let second = back_up(&writer, &source, "papers", "n135").await.snapshot;
    let latest = SnapshotName::Latest { vault: papers(), name: Some("n135".into()) };
    assert_eq!(writer.find_snapshot(&latest).await.expect("an honest answer"), second);

    liar.hide(second);
    is_a_rollback(writer.snapshots(Some(&papers())).await);
    is_a_rollback(writer.snapshots(None).await);
    is_a_rollback(writer.find_snapshot(&latest).await);
    is_a_rollback(writer.receipt(second).await);
    liar.repent();
    // An older one is missed as well.
    liar.hide(first);
    is_a_rollback(writer.snapshots(Some(&papers())).await);
    liar.repent();
    liar.answer("ListSnapshots", old_list);
    is_a_rollback(writer.snapshots(Some(&papers())).await);
    is_a_rollback(writer.find_snapshot(&latest).await);
    liar.answer("ListSnapshots", pb::ListSnapshotsReply::default().encode_to_vec());
    is_a_rollback(writer.snapshots(Some(&papers())).await);
    liar.repent();
    assert_eq!(writer.snapshots(Some(&papers())).await.expect("the honest list again").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn n135_a_node_that_serves_an_old_log_is_found_out() {
    let cluster = shared();
    let (liar, writer) = deceived(cluster, "n135-log").await;
    let source = cluster.scratch();
    trees::plant(&source, "n135 log");
    back_up(&writer, &source, "papers", "first").await;
    writer.snapshots(None).await.expect("an honest list");
    let (old_log, old_list) = (liar.kept("GetCheckpoint"), liar.kept("ListSnapshots"));
    let second = back_up(&writer, &source, "papers", "second").await.snapshot;
    // The whole world as it was before: list and log fit together, and are still too old.
    liar.answer("GetCheckpoint", old_log.clone());
    is_a_rollback(writer.snapshots(None).await);
    liar.answer("ListSnapshots", old_list);
    is_a_rollback(writer.snapshots(None).await);
    liar.repent();
    // So it is for whoever only restores, once it has seen more.
    let restorer = Liar::before(cluster, &Person::founder(cluster, "n135-log", "restorer").bearer).await;
    let client = restorer.client(cluster, "n135-log-restorer").await;
    client.snapshots(None).await.expect("an honest list");
    restorer.answer("GetCheckpoint", old_log);
    is_a_rollback(client.snapshots(None).await);
    let to = cluster.scratch().join("restored");
    is_a_rollback(client.restore(strongroom::restore::RestoreRequest::new(second, to.clone())).await);
    assert!(!to.exists(), "nothing is shown");
    restorer.repent();
    crate::shared::restore(&client, second, &to).await;
    trees::assert_equal(&source, &to);
}

#[tokio::test(flavor = "multi_thread")]
async fn n135_a_node_that_serves_an_old_statement_is_found_out_and_nothing_is_sealed() {
    let cluster = shared();
    let (liar, writer) = deceived(cluster, "n135-vault").await;
    let source = cluster.scratch();
    trees::plant(&source, "n135 vault");
    back_up(&writer, &source, "papers", "first").await;
    let (old_vault, old_vaults) = (liar.kept("GetVault"), {
        writer.vaults().await.expect("honest vaults");
        liar.kept("ListVaults")
    });
    // The next statement: the same recipients, another version.
    let found = pb::GetVaultReply::decode(&old_vault[..]).expect("an answer").vault.expect("a vault");
    let signed: Signed<VaultStatement> = codec::decode(&found.statement).expect("a statement");
    let mut next = signed.unverified().expect("a statement");
    next.version = StatementVersion(2);
    let admin = cluster.client("n135-vault-admin").await;
    let root = keyring::root(admin.profile(), None).expect("the admin has the root key");
    let statement = codec::encode(&Signed::new(&next, root.signing_key()).expect("a statement"));
    let mut talk = Speaker::founder(cluster, "n135-vault", "administrator").await.talk(0).await;
    talk.say(Body::UpdateStatement { statement }).await.expect("the next version follows");
    back_up(&writer, &source, "papers", "second").await;

    let own = Forge::prepare(cluster, "n135-vault", "writer", "papers").await;
    let inside = Inside::of(cluster).await;
    let usage = async || inside.held(own.talk.group, own.talk.speaker.tenant).await.usage;
    let before = usage().await;
    liar.answer("GetVault", old_vault);
    liar.answer("ListVaults", old_vaults);
    is_a_rollback(writer.back_up(request(&source, "papers", "third")).await);
    is_a_rollback(writer.vault(&papers()).await);
    is_a_rollback(writer.vaults().await);
    is_a_rollback(writer.snapshots(Some(&papers())).await);
    assert_eq!(usage().await, before, "no byte was stored");
    liar.repent();
    back_up(&writer, &source, "papers", "third").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n134_a_log_that_one_node_made_up_is_not_believed_whoever_it_says_votes() {
    let cluster = shared();
    let (liar, writer) = deceived(cluster, "n134-made-up").await;
    let source = cluster.scratch();
    trees::plant(&source, "n134");
    back_up(&writer, &source, "papers", "honest").await;
    writer.snapshots(None).await.expect("an honest list");
    let honest = pb::GetCheckpointReply::decode(&liar.kept("GetCheckpoint")[..]).expect("an answer");
    let honest: SignedCheckpoint = codec::decode(&honest.checkpoint).expect("a checkpoint");
    // Voters under the known names or others, with keys that the liar has; a longer log that they all signed.
    let own_key = SigningKey::from_secret(random()).expect("a good key");
    let keys: Vec<SigningKey> =
        honest.voters.keys.iter().map(|_| SigningKey::from_secret(random()).expect("a good key")).collect();
    for shift in [0, 1 << 40] {
        let names = honest.voters.keys.keys().map(|replica| ReplicaId(replica.0 + shift));
        let named: Vec<(ReplicaId, &SigningKey)> = names.zip(&keys).collect();
        let voters = Voters { keys: named.iter().map(|(name, key)| (*name, key.public_key())).collect() };
        let checkpoint = Checkpoint {
            size: honest.checkpoint.size + 5,
            root: MerkleHash([7; 32]),
            log_index: honest.checkpoint.log_index + 5,
            voters: voters.digest(),
            ..honest.checkpoint.clone()
        };
        let signatures = named.iter().map(|(name, key)| checkpoint.sign(*name, key)).collect();
        let made_up = SignedCheckpoint { checkpoint, voters, signatures };
        assert_eq!(made_up.verify(), Ok(()), "it holds by itself");
        let reply = pb::GetCheckpointReply { checkpoint: codec::encode(&made_up).into(), consistency: Vec::new() };
        liar.answer("GetCheckpoint", reply.encode_to_vec());
        let refused = writer.snapshots(None).await.expect_err("nobody that is known signed it");
        assert!(
            matches!(&refused, Error::Refused { code: "UNAVAILABLE", reason, .. } if reason == "VOTERS_CHANGED"),
            "it is not believed, and may be asked for again: {refused}"
        );
        liar.repent();
    }
    // The known voters, and too few of their signatures, or another's beside them.
    let few = SignedCheckpoint { signatures: honest.signatures[..1].to_vec(), ..honest.clone() };
    let mut forged = honest.clone();
    forged.signatures.truncate(honest.voters.majority());
    let last = forged.signatures.len() - 1;
    forged.signatures[last] = forged.checkpoint.sign(forged.signatures[last].replica, &own_key);
    for lie in [few, forged] {
        let reply = pb::GetCheckpointReply { checkpoint: codec::encode(&lie).into(), consistency: Vec::new() };
        liar.answer("GetCheckpoint", reply.encode_to_vec());
        let refused = writer.snapshots(None).await.expect_err("too few signatures");
        assert_eq!(refused.reason(), Some("PROVENANCE_INVALID"));
        liar.repent();
    }
    assert_eq!(writer.snapshots(None).await.expect("the honest list again").len(), 1);
}
