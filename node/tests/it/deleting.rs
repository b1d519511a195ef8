//! What is deleted leaves the disks of all nodes, what is not stays whole, and what a killed upload left goes too.
//!
//! Not here: what may be deleted (`node/core`), crashes of the store (`node/chunks`).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use strongroom::audit::{Leaf, Since};
use strongroom::client::Client;
use strongroom_format::id::{PolicyVersion, SnapshotId, VaultName};
use strongroom_format::lock::{LockMode, Longer};
use strongroom_format::policy::{KeepRules, Policy};
use strongroom_format::policy_view::{Fate, Previewed};
use strongroom_format::receipt::AuditEvent;

use crate::cluster::{Cluster, PATIENCE, comes_true};
use crate::shared::{back_up, create_vault, restore};
use crate::trees::{self, files_below, noise};

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// A cluster whose nodes forget at once and sweep without rest, with a vault `papers` of acme.
pub async fn forgetful() -> Cluster {
    let mut cluster = blocking(|| Cluster::start(3, &["acme", "globex"]));
    blocking(|| {
        let names = cluster.names();
        cluster.stop_together(&names);
        for name in &names {
            let file = cluster.node(name).data_dir.join("node.toml");
            let text = fs::read_to_string(&file).expect("a node has its settings");
            let hasty = |line: &str| match line.split_once(" = ") {
                Some(("grace_seconds", _)) => "grace_seconds = 0".to_owned(),
                Some(("sweep_seconds", _)) => "sweep_seconds = 1".to_owned(),
                Some(("expire_seconds", _)) => "expire_seconds = 1".to_owned(),
                _ => line.to_owned(),
            };
            let text: Vec<String> = text.lines().map(hasty).collect();
            assert!(text.iter().any(|line| line == "sweep_seconds = 1"), "{text:?}");
            fs::write(&file, text.join("\n") + "\n").expect("settings can be written");
        }
        names.iter().for_each(|name| cluster.restart(name));
        names.iter().for_each(|name| cluster.await_ready(name));
    });
    create_vault(&cluster, "acme", "papers").await;
    cluster
}

/// Lets a vault's snapshots be locked for up to 400 days, which a new one does not.
pub async fn permit_locks(admin: &Client, vault: &str) -> Policy {
    let vault: VaultName = vault.parse().expect("a name");
    let old = admin.policy(&vault).await.expect("a policy").policy;
    let policy = Policy { version: PolicyVersion(old.version.0 + 1), lock_max_ms: 400 * 86_400_000, ..old };
    admin.set_policy(&vault, policy.clone(), "for a test".into()).await.expect("an admin may");
    policy
}

/// What segments take on the disks of all nodes.
pub fn on_disk(cluster: &Cluster) -> u64 {
    let segments = |node: &crate::cluster::DevNode| files_below(&node.data_dir.join("segments"));
    let files = cluster.nodes.iter().flat_map(segments);
    let taken = |path: PathBuf| fs::metadata(path).map_or(0, |found| found.blocks() * 512);
    files.filter(|path| path.extension().is_some_and(|end| end == "seg")).map(taken).sum()
}

/// A tree with so many mebibytes of its own.
pub fn tree(cluster: &Cluster, seed: &str, mebibytes: usize) -> PathBuf {
    let source = cluster.scratch();
    trees::plant(&source, "shared by all");
    for number in 0..mebibytes {
        let bytes = noise(&format!("{seed} {number}"), 1 << 20);
        fs::write(source.join(format!("{seed} {number}")), bytes).expect("a file can be written");
    }
    source
}

async fn comes_back(cluster: &Cluster, snapshot: SnapshotId, source: &Path) {
    let to = cluster.scratch().join("restored");
    let restored = restore(&cluster.client("acme-restorer").await, snapshot, &to).await;
    assert!(restored.is_whole(), "{:?}", restored.damaged);
    trees::assert_equal(source, &to);
}

async fn delete(cluster: &Cluster, snapshot: SnapshotId) {
    let admin = cluster.client("acme-admin").await;
    admin.delete_snapshots(&[snapshot], "the test is over", |_| Ok(())).await.expect("nothing keeps it");
}

#[tokio::test(flavor = "multi_thread")]
async fn n66_what_is_deleted_leaves_every_disk_and_what_others_share_stays() {
    let mut cluster = forgetful().await;
    let writer = cluster.client("acme-writer").await;
    let (kept, going) = (tree(&cluster, "kept", 4), tree(&cluster, "going", 24));
    let first = back_up(&writer, &kept, "papers", "kept").await.snapshot;
    let second = back_up(&writer, &going, "papers", "going").await.snapshot;
    comes_back(&cluster, second, &going).await;
    let full = on_disk(&cluster);
    delete(&cluster, second).await;
    let ended = writer.snapshots(None).await.expect("the log says that it has ended, so nothing is hidden");
    assert_eq!(ended.iter().map(|info| info.id).collect::<Vec<_>>(), [first]);
    let to = cluster.scratch().join("too late");
    let restorer = cluster.client("acme-restorer").await;
    let late = restorer.restore(strongroom::restore::RestoreRequest::new(second, to)).await;
    let late = late.expect_err("it is gone");
    assert_eq!(late.reason(), Some("ENDED"), "{late}");
    // Of 24 MiB in code 2+1 some 36 MiB lay on disks.
    comes_true(PATIENCE, "the disks have given back what only the deleted one had", async || {
        on_disk(&cluster) + (30 << 20) < full
    })
    .await;
    comes_back(&cluster, first, &kept).await;
    let again = back_up(&writer, &going, "papers", "again").await.snapshot;
    comes_back(&cluster, again, &going).await;

    // Emptied, the vault can go, and leaves nothing.
    let admin = cluster.client("acme-admin").await;
    let papers = "papers".parse().expect("a name");
    let refused = admin.delete_vault(&papers, "over").await.expect_err("snapshots are left");
    assert_eq!(refused.reason(), Some("VAULT_NOT_EMPTY"));
    delete(&cluster, first).await;
    delete(&cluster, again).await;
    admin.delete_vault(&papers, "over").await.expect("it is empty");
    comes_true(PATIENCE, "no segment is left on any disk", async || on_disk(&cluster) == 0).await;
    blocking(|| recounts(&mut cluster));
}

/// Of each name the first of a year is kept and the newest; here that is the first and the last of four. Of those between,
/// one is locked.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_keeps_no_longer_leaves_every_disk_by_itself_and_the_log_says_so() {
    let mut cluster = forgetful().await;
    let (writer, admin) = (cluster.client("acme-writer").await, cluster.client("acme-admin").await);
    let papers: VaultName = "papers".parse().expect("a name");
    let old = permit_locks(&admin, "papers").await;
    let mut trees = Vec::new();
    for (name, mebibytes) in [("first", 2), ("between", 24), ("locked", 2), ("newest", 2)] {
        let source = tree(&cluster, name, mebibytes);
        trees.push((back_up(&writer, &source, "papers", "the papers").await.snapshot, source));
    }
    let [first, between, locked, newest] = &trees[..] else { panic!("four were made") };
    let longer = Longer::Length { length_ms: 3_600_000 };
    let reason = || "a test".to_owned();
    admin.extend_lock(locked.0, LockMode::Governance, longer, reason()).await.expect("an admin may");
    admin.wait_until_all_have(locked.0).await.expect("all shards hear of it");

    let keep = KeepRules { yearly: 1, ..KeepRules::default() };
    let policy = Policy { version: PolicyVersion(3), keep, ..old };
    let mut said = Vec::new();
    let see = |previewed: Previewed| {
        said.push((previewed.snapshot, previewed.fate == Fate::Goes));
        Ok(())
    };
    admin.preview_policy(&papers, &policy, see).await.expect("a dry run");
    assert_eq!(said, [(first.0, false), (between.0, true), (locked.0, false), (newest.0, false)]);
    let listed = async || -> Vec<SnapshotId> {
        let listed = writer.snapshots(None).await.expect("what is not listed has ended, as the log proves");
        listed.iter().map(|info| info.id).collect()
    };
    assert_eq!(listed().await.len(), 4, "a dry run changes nothing");
    let full = on_disk(&cluster);
    admin.set_policy(&papers, policy, reason()).await.expect("an admin may");
    comes_true(PATIENCE, "the policy has ended what it keeps no longer", async || listed().await.len() == 3).await;
    comes_true(PATIENCE, "the disks have given back what only that one had", async || {
        on_disk(&cluster) + (30 << 20) < full
    })
    .await;
    assert_eq!(listed().await.into_iter().collect::<BTreeSet<_>>(), [first.0, locked.0, newest.0].into());
    let to = cluster.scratch().join("too late");
    let restorer = cluster.client("acme-restorer").await;
    let late = restorer.restore(strongroom::restore::RestoreRequest::new(between.0, to)).await;
    let late = late.expect_err("it is gone");
    assert_eq!(late.reason(), Some("ENDED"), "{late}");
    assert!(late.to_string().contains("policy 3"), "{late}");
    let mut expired = Vec::new();
    let see = |leaf: Leaf| {
        if let AuditEvent::Expired(found) = leaf.record.event {
            expired.push((found.snapshot, found.policy));
        }
        Ok(())
    };
    admin.audit(Since::Leaf(0), see).await.expect("the whole log is proved");
    assert_eq!(expired, [(between.0, PolicyVersion(3))]);
    for (snapshot, source) in [first, locked, newest] {
        comes_back(&cluster, *snapshot, source).await;
    }
    let ended = cluster.metric("strongroom_service_snapshots_expired_total", "");
    assert!((ended - 1.0).abs() < 0.5, "{ended} ended by policy");
    blocking(|| recounts(&mut cluster));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_a_snapshot_as_young_as_its_vault_expects_is_counted_for_whoever_is_to_be_woken() {
    let cluster = forgetful().await;
    let (writer, admin) = (cluster.client("acme-writer").await, cluster.client("acme-admin").await);
    let papers: VaultName = "papers".parse().expect("a name");
    let old = permit_locks(&admin, "papers").await;
    let source = tree(&cluster, "expected", 1);
    for name in ["one", "other"] {
        back_up(&writer, &source, "papers", name).await;
    }
    let overdue = || cluster.metric("strongroom_service_names_overdue", "");
    assert_eq!(overdue(), 0.0, "nothing is expected");
    // No policy can expect more.
    let policy = Policy { version: PolicyVersion(3), expected_every_ms: Some(60_000), ..old };
    admin.set_policy(&papers, policy, "a test".into()).await.expect("an admin may");
    comes_true(PATIENCE, "both names are late", async || overdue() == 2.0).await;
    back_up(&writer, &source, "papers", "one").await;
    comes_true(PATIENCE, "one of them is late no more", async || overdue() == 1.0).await;
}

/// Stops all nodes and recounts what lies on their disks.
fn recounts(cluster: &mut Cluster) {
    let names = cluster.names();
    cluster.stop_together(&names);
    let (code, said) = cluster.fsck();
    let last = said.last().expect("a line");
    assert_eq!(code, Some(0), "{said:#?}");
    // Three shards and the cluster group on each of three nodes.
    assert_eq!((&last["type"], &last["groups"], &last["broken"]), (&"fsck".into(), &12.into(), &0.into()), "{said:#?}");
    assert_eq!(last["copies_broken"], 0, "{said:#?}");
}
