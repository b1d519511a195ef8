//! What the design says becomes of replicas whose state or disk is not what it was (DESIGN.md §6), on real nodes, each in
//! a cluster of its own; and who may ask about voters.
//!
//! Not here: fragments on disks (`losses.rs`), the rules about reports and fences (`node/core`), single groups under
//! crashes and snapshots (`node/consensus`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use strongroom::backup::Backup;
use strongroom::client::Client;
use strongroom::error::Error;
use strongroom::status;
use strongroom_core::query::{Answer, ClusterMap, Query};
use strongroom_format::codec;
use strongroom_format::id::{GroupId, ReplicaId, SnapshotId};
use strongroom_format::receipt::{SignedCheckpoint, Voters};
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::peers_client::PeersClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::bearer::{Authority, Door};
use crate::cluster::{Cluster, DevNode, PATIENCE, comes_true, metric_at, metrics, overwrite, until};
use crate::digests::{GROUPS, assert_digests_equal};
use crate::inside::Inside;
use crate::shared::{back_up, create_vault, request, restore, shared};
use crate::speaker::{Speaker, channel};
use crate::tenant::operator;
use crate::trees::{self, noise};

/// A cluster of three with a vault, and a tree to back up.
async fn three() -> (Cluster, PathBuf) {
    let cluster = blocking(|| Cluster::start(3, &["acme"]));
    create_vault(&cluster, "acme", "papers").await;
    let source = cluster.scratch();
    trees::plant(&source, "foundation");
    (cluster, source)
}

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// A snapshot that was acknowledged, what it was made of, and how many nodes it was said to survive.
struct Kept {
    snapshot: SnapshotId,
    source: PathBuf,
    nodes: u8,
}

impl Kept {
    fn new(backup: &Backup, source: PathBuf) -> Self {
        Self { snapshot: backup.snapshot, source, nodes: backup.survives.nodes }
    }
}

/// Backs up a file of its own.
async fn one_more(cluster: &Cluster, writer: &Client, label: &str) -> Kept {
    let source = cluster.scratch();
    fs::write(source.join("file"), noise(label, 300_000)).expect("a file can be written");
    Kept::new(&back_up(writer, &source, "papers", label).await, source)
}

/// Between two backups of a load: enough happens meanwhile, and all of it is to be restored more than once.
const PACE: Duration = Duration::from_millis(400);

/// Backups that go on while something happens: everything that is acknowledged is kept, with what it was.
struct Load {
    stop: Arc<AtomicBool>,
    kept: tokio::task::JoinHandle<Vec<Kept>>,
}

impl Load {
    fn begin(cluster: &Cluster, writer: &Client, name: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (home, writer, stopped) = (cluster.scratch(), writer.clone(), Arc::clone(&stop));
        let kept = tokio::spawn(async move {
            let mut kept = Vec::new();
            let mut stopped_at = None;
            for number in 0.. {
                // A slow machine may have acknowledged nothing yet: then it goes on until something is.
                if stopped.load(Ordering::SeqCst) {
                    let since: &mut Instant = stopped_at.get_or_insert_with(Instant::now);
                    if !kept.is_empty() || 2 * PATIENCE < since.elapsed() {
                        break;
                    }
                }
                tokio::time::sleep(PACE).await;
                let source = home.join(number.to_string());
                fs::create_dir(&source).expect("a directory can be made");
                fs::write(source.join("file"), noise(&format!("{name} {number}"), 20_000)).expect("a file");
                let request = request(&source, "papers", name);
                match writer.back_up(request).await {
                    Ok(backup) => kept.push(Kept::new(&backup, source)),
                    // Nobody was told that it is there; it may be.
                    Err(Error::Unknown { .. } | Error::Unavailable { .. }) => {}
                    Err(other) => panic!("a backup is refused or fails: {other}"),
                }
            }
            kept
        });
        Self { stop, kept }
    }

    /// Ends it, and gives what was acknowledged.
    async fn end(self) -> Vec<Kept> {
        self.stop.store(true, Ordering::SeqCst);
        let kept = self.kept.await.expect("no backup is refused");
        assert!(!kept.is_empty(), "something was acknowledged meanwhile");
        kept
    }
}

/// Everything that was acknowledged is listed, and comes back byte for byte; while nodes are away, what was said to
/// survive so many.
async fn all_come_back(cluster: &Cluster, kept: &[Kept], away: u8) {
    let restorer = cluster.client("acme-restorer").await;
    let listed = restorer.snapshots(None).await.expect("a list");
    for Kept { snapshot, source, nodes } in kept {
        assert!(listed.iter().any(|one| one.id == *snapshot), "{snapshot} was acknowledged and is not listed");
        if *nodes < away {
            continue;
        }
        let to = cluster.scratch().join("restored");
        let restored = restore(&restorer, *snapshot, &to).await;
        assert!(restored.is_whole(), "{:?}", restored.damaged);
        trees::assert_equal(source, &to);
    }
}

/// The node that leads a group; an election is waited out.
async fn leader_of(client: &Client, group: GroupId) -> String {
    let mut leader = None;
    comes_true(PATIENCE, "somebody leads", async || {
        let status = status::of_tenant(client).await.expect("a status");
        leader = status.shards.into_iter().find(|shard| shard.id == group).and_then(|shard| shard.leader);
        leader.is_some()
    })
    .await;
    leader.expect("it was waited for")
}

async fn map_of(inside: &Inside) -> ClusterMap {
    match inside.ask(GroupId::CLUSTER, &Query::ClusterMap).await {
        Answer::ClusterMap(map) => *map,
        other => panic!("no map: {other:?}"),
    }
}

/// A node's replica ids by group, and whether any group is still changing.
fn replicas_of(map: &ClusterMap, node: &str) -> (BTreeMap<GroupId, ReplicaId>, bool) {
    let mut replicas = BTreeMap::new();
    let mut is_changing = map.changing.is_some();
    for row in map.nodes.iter().filter(|row| row.name.to_string() == node) {
        replicas.insert(GroupId::CLUSTER, row.replica);
    }
    for shard in &map.shards {
        is_changing |= shard.changing.is_some();
        for slot in shard.slots.iter().filter(|slot| slot.node.to_string() == node) {
            replicas.insert(shard.group, slot.replica);
        }
    }
    (replicas, is_changing)
}

/// Waits until all of a node's replicas are others than before and every replacement is complete.
async fn await_rebuilt(cluster: &Cluster, node: &str, before: &BTreeMap<GroupId, ReplicaId>) {
    blocking(|| until(|| !metrics(cluster.node(node)).is_empty(), || format!("{node} answers")));
    let inside = Inside::of(cluster).await;
    let began = Instant::now();
    loop {
        let (now, is_changing) = replicas_of(&map_of(&inside).await, node);
        if !is_changing && before.iter().all(|(group, replica)| replica < &now[group]) {
            return;
        }
        assert!(began.elapsed() < 2 * PATIENCE, "replicas of {node} were {before:?} and are {now:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Puts a copy of a directory in its place.
fn copy(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).expect("a directory can be removed");
    }
    let status = Command::new("cp").arg("-a").args([from, to]).status().expect("cp runs");
    assert!(status.success());
}

/// Flips a bit in every place of a file at which `needle` stands, and says how many there were.
fn rot(file: &Path, needle: &[u8]) -> usize {
    let bytes = fs::read(file).expect("a state can be read");
    let places: Vec<usize> =
        bytes.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle).map(|(at, _)| at).collect();
    for at in &places {
        overwrite(file, *at as u64, &[needle[0] ^ 1]);
    }
    places.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_rotted_on_a_leader_kills_its_group_alone_which_comes_back_with_the_same_digest() {
    let (mut cluster, source) = three().await;
    let writer = cluster.client("acme-writer").await;
    let first = back_up(&writer, &source, "papers", "first").await;
    let speaker = Speaker::founder(&cluster, "acme", "writer").await;
    let home = speaker.home;
    let tenant = match Inside::of(&cluster).await.ask(home, &Query::Tenant { tenant: speaker.tenant }).await {
        Answer::Tenant(view) => view.facts,
        other => panic!("no tenant: {other:?}"),
    };
    let leader = leader_of(&writer, home).await;

    // Every command of the tenant reads this row in `apply`.
    blocking(|| cluster.stop(&leader));
    let state = cluster.node(&leader).data_dir.join("state").join(format!("{home}.redb"));
    assert!(0 < rot(&state, &tenant.founding[16..48]), "the row lies in the file");
    let load = Load::begin(&cluster, &writer, "while a group dies");
    blocking(|| {
        cluster.restart(&leader);
        cluster.await_ready(&leader);
    });
    let node: DevNode = cluster.node(&leader).clone();
    let label = format!("group=\"{home}\"");
    let deaths = |name: &str| metric_at(&node, name, "");
    let second = one_more(&cluster, &writer, "second").await;
    blocking(|| {
        until(
            || 0.0 < deaths("strongroom_consensus_group_deaths_total"),
            || format!("the group dies on {leader}, {label}"),
        );
        until(|| 0.0 < deaths("strongroom_service_groups_restarted_total"), || "it is restarted".into());
        cluster.await_ready(&leader);
    });
    assert_eq!(deaths("strongroom_service_groups_broken_total"), 0.0);
    let mut kept = load.end().await;
    kept.extend([Kept::new(&first, source), second]);
    all_come_back(&cluster, &kept, 0).await;

    // It leads again, or could: everything is there with any one of the others away.
    for other in cluster.names().into_iter().filter(|name| *name != leader) {
        blocking(|| cluster.kill(&other));
        all_come_back(&cluster, &kept, 1).await;
        blocking(|| {
            cluster.restart(&other);
            cluster.await_ready(&other);
        });
    }
    blocking(|| assert_digests_equal(&mut cluster, std::slice::from_ref(&leader)));
}

#[tokio::test(flavor = "multi_thread")]
async fn n72_an_old_data_directory_put_back_on_one_voter_is_detected_and_its_replicas_are_rebuilt() {
    let (mut cluster, source) = three().await;
    let writer = cluster.client("acme-writer").await;
    let first = back_up(&writer, &source, "papers", "first").await;
    let victim = cluster.names()[1].clone();
    let data_dir = cluster.node(&victim).data_dir.clone();
    let old = data_dir.with_extension("old");
    let (before, _) = replicas_of(&map_of(&Inside::of(&cluster).await).await, &victim);
    assert_eq!(before.len(), GROUPS);
    blocking(|| {
        cluster.stop(&victim);
        copy(&data_dir, &old);
        cluster.restart(&victim);
        cluster.await_ready(&victim);
    });
    let mut kept = vec![Kept::new(&first, source)];
    // A replica that has missed nothing is not old: something must happen in each group, in the quiet cluster group too.
    let applied = async || {
        let shards = status::of_tenant(&writer).await.expect("a status").shards;
        shards.into_iter().map(|shard| (shard.id, shard.applied)).collect::<BTreeMap<GroupId, u64>>()
    };
    let was = applied().await;
    let (west, token) = ("west".parse().expect("a name"), "west-1".parse().expect("a name"));
    operator(&cluster).await.issue_node_token(token, west, Duration::from_secs(60)).await.expect("a token");
    for number in 0.. {
        // Each lies in the shard that the hash of its content says.
        kept.push(one_more(&cluster, &writer, &format!("acknowledged {number}")).await);
        let now = applied().await;
        if 2 <= number && was.iter().all(|(group, at)| at < &now[group]) {
            break;
        }
        assert!(number < 60, "a shard gets nothing: {was:?} and {now:?}");
    }
    let believed = voters_known_to(&writer);
    let load = Load::begin(&cluster, &writer, "while an old disk comes back");
    blocking(|| {
        cluster.stop(&victim);
        copy(&old, &data_dir);
        cluster.restart(&victim);
    });
    await_rebuilt(&cluster, &victim, &before).await;
    let found = metric_at(cluster.node(&victim), "strongroom_service_rollbacks_detected_total", "");
    assert_eq!(found, GROUPS as f64, "each of its replicas was found to be old");
    assert!(cluster.log().contains("ROLLBACK_DETECTED"));
    blocking(|| cluster.await_ready(&victim));
    kept.extend(load.end().await);
    all_come_back(&cluster, &kept, 0).await;
    // The client that ran all the while has met the new voters on the known ones' word (N134), and so has its proof.
    let fetched = writer.receipt(kept[kept.len() - 1].snapshot).await.expect("a receipt under the new voters");
    let now = voters_known_to(&writer);
    assert_ne!(now.digest(), believed.digest(), "another replica votes");
    assert_eq!(fetched.receipt.checkpoint.voters, now.digest());
    assert!(believed.majority() <= believed.keys.keys().filter(|replica| now.keys.contains_key(replica)).count());
    // The rebuilt replicas vote: without one of the others they are half of what decides.
    let other = cluster.names()[0].clone();
    blocking(|| cluster.kill(&other));
    kept.push(one_more(&cluster, &writer, "with the rebuilt one's vote").await);
    blocking(|| {
        cluster.restart(&other);
        cluster.await_ready(&other);
    });
    blocking(|| assert_digests_equal(&mut cluster, std::slice::from_ref(&victim)));
    all_come_back(&cluster, &kept, 0).await;
}

/// The voters of the home shard, as a client's machine has believed them last.
fn voters_known_to(client: &Client) -> Voters {
    let file = client.profile().tenant().expect("a tenant's").state.join("log");
    let text = fs::read_to_string(file).expect("the log is remembered");
    codec::decode::<SignedCheckpoint>(&hex::decode(text.trim_end()).expect("hex")).expect("a checkpoint").voters
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_came_back_empty_is_rebuilt_also_when_leaders_are_killed_meanwhile() {
    let (mut cluster, source) = three().await;
    let writer = cluster.client("acme-writer").await;
    let first = back_up(&writer, &source, "papers", "first").await;
    let names = cluster.names();
    let (victim, others) = (names[2].clone(), [names[0].clone(), names[1].clone()]);
    let (before, _) = replicas_of(&map_of(&Inside::of(&cluster).await).await, &victim);
    let data_dir = cluster.node(&victim).data_dir.clone();
    let load = Load::begin(&cluster, &writer, "while a disk is empty");
    blocking(|| {
        cluster.stop(&victim);
        for lost in ["log", "state"] {
            fs::remove_dir_all(data_dir.join(lost)).expect("a directory can be lost");
        }
        fs::remove_file(data_dir.join("replicas")).expect("a file can be lost");
        cluster.restart(&victim);
    });
    // Controllers die wherever they are; whoever leads then goes on.
    for other in &others {
        let node = cluster.node(&victim).clone();
        blocking(|| {
            let asked = || metric_at(&node, "strongroom_service_rebuilds_asked_total", "");
            until(|| 0.0 < asked(), || "the victim has asked for a new replica id".into());
            cluster.kill(other);
            cluster.restart(other);
            cluster.await_ready(other);
        });
    }
    await_rebuilt(&cluster, &victim, &before).await;
    blocking(|| cluster.await_ready(&victim));
    let mut kept = load.end().await;
    kept.push(Kept::new(&first, source));
    all_come_back(&cluster, &kept, 0).await;
    kept.push(one_more(&cluster, &writer, "second").await);
    blocking(|| assert_digests_equal(&mut cluster, std::slice::from_ref(&victim)));
    all_come_back(&cluster, &kept, 0).await;
}

/// Calls a node's peer plane as another.
async fn as_node(cluster: &Cluster, caller: &DevNode, to: &DevNode) -> PeersClient<Channel> {
    let uri = format!("spiffe://{}/node/{}/{}", cluster.name, caller.region, caller.name);
    let bearer = Authority::of_plane(cluster, "peer").issue(&uri);
    PeersClient::new(channel(cluster, to, Door::Peer, &bearer).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn n95_a_node_that_asks_about_another_nodes_replica_is_refused() {
    let cluster = shared();
    let (one, two) = (&cluster.nodes[0], &cluster.nodes[1]);
    let map = map_of(&Inside::of(cluster).await).await;
    let (ours, _) = replicas_of(&map, &one.name);
    let (theirs, _) = replicas_of(&map, &two.name);
    let mut peers = as_node(cluster, one, two).await;
    for (group, replica) in &ours {
        // A replica here that is not ready yet, or between two lives, says so, and is asked again.
        comes_true(PATIENCE, "a node is told about its own replica", async || {
            let own = pb::KnownRequest { group: group.0, replica: replica.0 };
            let known = peers.known(own).await.expect("a node may ask about its own replica").into_inner();
            matches!(known.how, Some(pb::known_reply::How::Position(_)))
        })
        .await;
        for foreign in [theirs[group], ReplicaId(replica.0 + (1 << 40)), ReplicaId(u64::MAX)] {
            let asked = pb::KnownRequest { group: group.0, replica: foreign.0 };
            let refused = peers.known(asked).await.expect_err("another's replica");
            assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n97_a_node_that_is_no_member_of_a_group_learns_nothing_about_its_voters() {
    let cluster = shared();
    let (one, two) = (&cluster.nodes[0], &cluster.nodes[1]);
    let mut peers = as_node(cluster, one, two).await;
    let (nowhere, previous) = (77, bytes::Bytes::from_static(&[0; 32]));
    let asked = pb::ReportRequest { group: nowhere, previous: previous.clone(), deadline_ms: 100 };
    let refused = peers.report(asked).await.expect_err("no member");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    let refused = peers.known(pb::KnownRequest { group: nowhere, replica: 1 }).await.expect_err("no member");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");

    // A member is told, or told to wait; a question without a tick before it is none.
    let asked = pb::ReportRequest { group: 1, previous, deadline_ms: 100 };
    assert!(peers.report(asked).await.is_ok());
    let asked = pb::ReportRequest { group: 1, previous: bytes::Bytes::from_static(&[0; 31]), deadline_ms: 100 };
    assert_eq!(peers.report(asked).await.expect_err("malformed").code(), Code::InvalidArgument);
}
