//! What the design says becomes of replicas whose state or disk is not what it was (DESIGN.md §6), on real nodes, each in
//! a cluster of its own; and who may ask about voters.
//!
//! Not here: fragments on disks (`losses.rs`), damage on all disks at once (`damage.rs`), the rules about reports and fences (`node/core`), single groups under
//! crashes and snapshots (`node/consensus`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use strongroom::backup::Backup;
use strongroom::client::Client;
use strongroom::enrol::{self, TlsKey};
use strongroom::error::Error;
use strongroom::status;
use strongroom_core::query::{Answer, ClusterMap, Query};
use strongroom_format::codec;
use strongroom_format::enrolment::{NodeAddresses, Token};
use strongroom_format::id::{GroupId, ReplicaId, SnapshotId};
use strongroom_format::receipt::{SignedCheckpoint, Voters};
use strongroom_format::seal::Kind;
use strongroom_format::sign::SigningKey;
use strongroom_peers::fault::PutFault;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::peers_client::PeersClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::bearer::{Authority, Bearer, Door};
use crate::cluster::{Cluster, DevNode, PATIENCE, comes_true, metric_at, metrics, overwrite, until};
use crate::digests::{GROUPS, assert_digests_equal};
use crate::forge::Forge;
use crate::inside::Inside;
use crate::shared::{back_up, create_vault, request, restore, shared};
use crate::speaker::{No, Speaker, channel, no, random};
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

pub async fn map_of(inside: &Inside) -> ClusterMap {
    match inside.ask(GroupId::CLUSTER, &Query::ClusterMap).await {
        Answer::ClusterMap(map) => *map,
        other => panic!("no map: {other:?}"),
    }
}

/// A node's replica ids by group, and whether any group is still changing.
pub fn replicas_of(map: &ClusterMap, node: &str) -> (BTreeMap<GroupId, ReplicaId>, bool) {
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
pub fn rot(file: &Path, needle: &[u8]) -> usize {
    let bytes = fs::read(file).expect("a state can be read");
    let places: Vec<usize> =
        bytes.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle).map(|(at, _)| at).collect();
    for at in &places {
        overwrite(file, *at as u64, &[needle[0] ^ 1]);
    }
    places.len()
}

/// Has a group's task killed at a running node whose settings allow it (`node/src/kill_switch.rs`).
fn throw_kill_switch(node: &DevNode, group: GroupId) {
    let written = node.data_dir.join("kill-group.new");
    fs::write(&written, group.to_string()).expect("a file can be written");
    fs::rename(written, node.data_dir.join("kill-group")).expect("a file can be renamed");
}

/// The node leads again, or could: everything is there with any one of the others away.
async fn all_come_back_without_any_other(cluster: &mut Cluster, kept: &[Kept], node: &str) {
    for other in cluster.names().into_iter().filter(|name| name != node) {
        blocking(|| cluster.kill(&other));
        all_come_back(cluster, kept, 1).await;
        blocking(|| {
            cluster.restart(&other);
            cluster.await_ready(&other);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_groups_task_killed_on_its_leader_under_load_is_begun_again_over_its_store_and_the_others_go_on() {
    let (mut cluster, source) = three().await;
    let writer = cluster.client("acme-writer").await;
    let first = back_up(&writer, &source, "papers", "first").await;
    let home = Speaker::founder(&cluster, "acme", "writer").await.home;
    for name in cluster.names() {
        let settings = cluster.node(&name).data_dir.join("node.toml");
        let text = fs::read_to_string(&settings).expect("a node has its settings");
        fs::write(&settings, text + "\n[test]\nkill_groups = true\n").expect("they can be written");
        blocking(|| {
            cluster.stop(&name);
            cluster.restart(&name);
            cluster.await_ready(&name);
        });
    }
    let load = Load::begin(&cluster, &writer, "while a task is killed");
    let before = one_more(&cluster, &writer, "before").await;
    let leader = leader_of(&writer, home).await;
    let node: DevNode = cluster.node(&leader).clone();
    throw_kill_switch(&node, home);
    blocking(|| {
        let deaths = || metric_at(&node, "strongroom_consensus_group_deaths_total", "of=\"task\"");
        until(|| 0.0 < deaths(), || format!("a task dies on {leader}"));
        let restarted = || metric_at(&node, "strongroom_service_groups_restarted_total", "");
        until(|| 0.0 < restarted(), || "it is begun again".into());
    });
    let after = one_more(&cluster, &writer, "after").await;
    blocking(|| cluster.await_ready(&leader));
    // Loudly, in the same process (its counters go on), and this group alone.
    let log = cluster.log();
    let is_told = |line: &str| line.contains("a group has died") && line.contains(&format!("group={home} "));
    assert!(log.lines().any(is_told), "the log says which group died");
    assert_eq!(metric_at(&node, "strongroom_consensus_group_deaths_total", ""), 1.0);
    assert_eq!(metric_at(&node, "strongroom_service_groups_broken_total", ""), 0.0);
    let mut kept = load.end().await;
    kept.extend([Kept::new(&first, source), before, after]);
    all_come_back(&cluster, &kept, 0).await;
    all_come_back_without_any_other(&mut cluster, &kept, &leader).await;
    blocking(|| assert_digests_equal(&mut cluster, std::slice::from_ref(&leader)));
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

    all_come_back_without_any_other(&mut cluster, &kept, &leader).await;
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
async fn n95_a_raft_message_in_another_nodes_name_is_refused_counted_and_told() {
    let cluster = shared();
    let [one, two, three] = &cluster.nodes[..] else { panic!("three nodes") };
    let map = map_of(&Inside::of(cluster).await).await;
    let (theirs, _) = replicas_of(&map, &two.name);
    let (others, _) = replicas_of(&map, &three.name);
    let incidents = || metric_at(two, "strongroom_peers_incidents_total", "what=\"foreign_replica\"");
    let before = incidents();
    let mut peers = as_node(cluster, one, two).await;
    // As a member of the group, in the name of another member and of a replica that nobody has.
    let mut frames = Vec::new();
    for (group, to) in &theirs {
        for from in [others[group], ReplicaId(u64::MAX)] {
            for kind in 1..=4 {
                frames.push(pb::RaftFrame {
                    request: frames.len() as u64,
                    group: group.0,
                    from: from.0,
                    to: to.0,
                    kind,
                    body: bytes::Bytes::from_static(&[0; 64]),
                    refused: String::new(),
                });
            }
        }
    }
    let count = frames.len();
    let mut answers = peers.raft(futures_util::stream::iter(frames)).await.expect("it is heard out").into_inner();
    for _frame in 0..count {
        let answer = answers.message().await.expect("an answer").expect("one for each");
        assert!(answer.refused.contains("does not hold replica") && answer.body.is_empty(), "{answer:?}");
    }
    assert!(before + count as f64 <= incidents(), "each is an incident");
    let told = || cluster.log().lines().any(|line| line.contains("a node spoke for what is not its own"));
    blocking(|| until(told, || "people are told".into()));
}

/// A certificate for a node that an operator let join, and that no shard has a member on.
async fn joined(cluster: &Cluster, name: &str) -> Bearer {
    let (node, region) = (name.parse().expect("a name"), "west".parse().expect("a name"));
    let operator = operator(cluster).await;
    let token = operator.issue_node_token(node, region, Duration::from_secs(600)).await.expect("a token");
    let token = Token::parse(&token).expect("a token");
    let uri = format!("spiffe://{}/node/west/{name}", cluster.name);
    let nobody_at = |port: u16| format!("127.0.0.1:{port}");
    let addresses = NodeAddresses { peer: nobody_at(9), tenant: nobody_at(10), operator: nobody_at(11) };
    let signing = SigningKey::from_secret(random()).expect("a good key");
    let tls = TlsKey::generate().expect("a key can be made");
    let expected = uri.parse().expect("a name");
    enrol::join(&token, &signing, &tls, addresses, &expected, PATIENCE).await.expect("an approved node joins");
    Authority::of_plane(cluster, "peer").issue(&uri)
}

#[tokio::test(flavor = "multi_thread")]
async fn n97_an_approved_node_that_is_no_member_of_a_shard_neither_gets_nor_gives_a_fragment() {
    let cluster = blocking(|| Cluster::start(3, &["acme"]));
    create_vault(&cluster, "acme", "papers").await;
    let mut forge = Forge::open(&cluster, "acme", "writer", "papers").await;
    let (group, tenant) = (forge.talk.group, forge.talk.speaker.tenant);
    let blob = forge.seal(Kind::Data, &noise("n97", 5000));
    forge.send(group, std::slice::from_ref(&blob)).await.expect("a blob is sent");
    let lease = forge.talk.lease;
    let stranger = joined(&cluster, "west-1").await;

    let bytes_of = Bytes::copy_from_slice;
    let wanted = pb::GetFragmentsRequest {
        group: group.0,
        tenant: bytes_of(tenant.as_bytes()),
        wanted: (0..3).map(|index| pb::WantedFragment { blob: bytes_of(blob.entry.blob.as_bytes()), index }).collect(),
    };
    let given = async |mut peers: PeersClient<Channel>| -> Result<usize, No> {
        let mut stream = peers.get_fragments(wanted.clone()).await?.into_inner();
        let mut found = 0;
        while let Some(fragment) = stream.message().await? {
            found += usize::from(fragment.code == 0);
        }
        Ok(found)
    };
    let not_a_member = no("PERMISSION_DENIED", "NOT_A_MEMBER");
    let mut members_got = 0;
    for node in &cluster.nodes {
        let mut peers = PeersClient::new(channel(&cluster, node, Door::Peer, &stranger).await);
        comes_true(PATIENCE, "the node knows that the other was approved", async || {
            peers.ping(pb::PingRequest {}).await.is_ok()
        })
        .await;
        let incidents = || metric_at(node, "strongroom_peers_incidents_total", "what=\"not_a_member\"");
        let before = incidents();
        assert_eq!(given(peers.clone()).await, Err(not_a_member.clone()), "{}", node.name);
        // Nor does it write one, under a lease that is open.
        let payload = Bytes::from(noise("n97 put", 64));
        let put = pb::PutFragment {
            request: 1,
            group: group.0,
            tenant: bytes_of(tenant.as_bytes()),
            lease: lease.0,
            blob: bytes_of(&[9; 32]),
            index: 0,
            blob_bytes: 100,
            payload_hash: bytes_of(blake3::hash(&payload).as_bytes()),
            payload,
        };
        let put = futures_util::stream::iter([put]);
        let mut acks = peers.put_fragments(put).await.expect("it is heard out").into_inner();
        let ack = acks.message().await.expect("an answer").expect("one");
        assert_eq!(ack.code, PutFault::NotAMember.code());
        assert!(before + 2.0 <= incidents(), "both are incidents");
        // Members do get it.
        let member = cluster.nodes.iter().find(|other| other.name != node.name).expect("there are three");
        members_got += given(as_node(&cluster, member, node).await).await.expect("a member may ask");
    }
    assert!(2 <= members_got, "the fragments are there: {members_got}");
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
