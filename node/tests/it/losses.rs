//! The main job under losses, each in a cluster of its own: a region, all nodes at once, disks, bytes on disks, nodes
//! one after another while a backup runs.
//!
//! Not here: power cuts, partitions, clocks (`jepsen`).

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use strongroom::backup::Backup;
use strongroom::progress::{Event, Progress};
use strongroom::status;
use strongroom_format::code::Code;
use strongroom_format::id::SnapshotId;
use strongroom_format::seal::Kind;

use crate::cluster::{Cluster, PATIENCE, comes_true, metric_at, overwrite};
use crate::digests::assert_digests_equal;
use crate::false_member::FalseMember;
use crate::forge::{Forge, SealedBlob, file};
use crate::shared::{back_up, create_vault, request, restore};
use crate::trees::{self, noise};

/// A cluster with a vault for each tenant, and a tree to back up.
async fn cluster(nodes: usize) -> (Cluster, PathBuf) {
    let cluster = tokio::task::block_in_place(|| Cluster::start(nodes, &["acme", "globex"]));
    for tenant in ["acme", "globex"] {
        create_vault(&cluster, tenant, "papers").await;
    }
    let source = cluster.scratch();
    trees::plant(&source, "losses");
    (cluster, source)
}

/// Restores a snapshot of acme and compares it.
async fn comes_back(cluster: &Cluster, snapshot: SnapshotId, source: &std::path::Path) -> u64 {
    let to = cluster.scratch().join("restored");
    let restored = restore(&cluster.client("acme-restorer").await, snapshot, &to).await;
    assert!(restored.is_whole(), "{:?}", restored.damaged);
    trees::assert_equal(source, &to);
    restored.fragments_bad
}

/// Backs a small tree up, with so many mebibytes beside it, each time another with other chunks, until all members took
/// part: what one that is slow for a moment should have taken lies elsewhere, as the receipt says, and it is trusted again
/// once it has answered.
pub async fn back_up_strong(cluster: &Cluster, label: &str, mebibytes: u32) -> (Backup, PathBuf) {
    let writer = cluster.client("acme-writer").await;
    let (began, mut number) = (Instant::now(), 0);
    loop {
        number += 1;
        let source = cluster.scratch();
        trees::plant(&source, &format!("{label} {number}"));
        for blob in 0..mebibytes {
            let bytes = noise(&format!("{label} {number} blob {blob}"), 1 << 20);
            fs::write(source.join(format!("blob {blob}")), bytes).expect("a file can be written");
        }
        let backup = back_up(&writer, &source, "papers", label).await;
        comes_back(cluster, backup.snapshot, &source).await;
        if backup.handed_over == Some(0) && backup.survives.nodes == backup.code.m {
            return (backup, source);
        }
        assert!(began.elapsed() < PATIENCE, "what is new still lies thin: {backup:?}");
    }
}

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_killed_restores_are_equal_backups_go_on_and_both_say_how_strong_they_are() {
    let (mut cluster, _) = cluster(3).await;
    let writer = cluster.client("acme-writer").await;
    let (first, source) = back_up_strong(&cluster, "first", 0).await;
    assert_eq!((first.code.k, first.code.m, first.handed_over), (2, 1, Some(0)));
    assert_eq!((first.survives.regions, first.survives.nodes), (1, 1));

    blocking(|| cluster.kill("north-1"));
    comes_back(&cluster, first.snapshot, &source).await;
    fs::write(source.join("news"), noise("news", 700_000)).expect("a file can be written");
    let thin = back_up(&writer, &source, "papers", "thin").await;
    assert_eq!((thin.survives.regions, thin.survives.nodes), (0, 0), "the receipt does not promise what is not there");
    comes_back(&cluster, thin.snapshot, &source).await;
    let listed = cluster.client("acme-restorer").await.snapshots(None).await.expect("a list");
    let strength = |id| listed.iter().find(|one| one.id == id).map(|one| (one.strength.regions, one.strength.nodes));
    assert_eq!((strength(first.snapshot), strength(thin.snapshot)), (Some((1, 1)), Some((0, 0))));
    let mut said = None;
    comes_true(PATIENCE, "the killed node, and no other, is said to be down", async || {
        let status = status::of_tenant(&writer).await.expect("a status");
        let down: Vec<String> = status.nodes.iter().filter(|node| !node.up).map(|node| node.name.clone()).collect();
        let is_told = 0 < status.blobs.thin;
        said = Some(status.blobs);
        is_told && down == ["north-1"]
    })
    .await;
    let blobs = said.expect("it was waited for");
    assert_eq!(blobs.lost, 0);
    assert_eq!(blobs.full + blobs.thin, blobs.total);

    // The region comes back, and backups are strong again.
    blocking(|| {
        cluster.restart("north-1");
        cluster.await_ready("north-1");
    });
    let (strong, _) = back_up_strong(&cluster, "fresh", 0).await;
    assert_eq!((strong.survives.regions, strong.survives.nodes), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_killed_right_after_the_receipt_everything_is_there_and_all_replicas_agree() {
    let (mut cluster, source) = cluster(3).await;
    let writer = cluster.client("acme-writer").await;
    let backup = back_up(&writer, &source, "papers", "last words").await;
    let names = cluster.names();
    blocking(|| names.iter().for_each(|name| cluster.kill(name)));
    blocking(|| names.iter().for_each(|name| cluster.restart(name)));
    blocking(|| names.iter().for_each(|name| cluster.await_ready(name)));
    comes_back(&cluster, backup.snapshot, &source).await;
    // The same client, whose connections all broke, goes on.
    let again = back_up(&writer, &source, "papers", "after").await;
    comes_back(&cluster, again.snapshot, &source).await;

    blocking(|| assert_digests_equal(&mut cluster, &names));
    comes_back(&cluster, backup.snapshot, &source).await;
}

/// A fragment on a stopped node's disk, as `inspect` shows it: `offset` and `bytes` are its payload's.
pub struct Lying {
    pub file: PathBuf,
    pub offset: u64,
    bytes: u64,
    pub blob: String,
    index: u64,
}

/// What lies on a stopped node's disk.
pub fn fragments_on(cluster: &Cluster, name: &str) -> Vec<Lying> {
    let objects = cluster.inspect(name);
    let fragments = objects.iter().filter(|object| object["type"] == "fragment");
    let lying = |object: &serde_json::Value| Lying {
        file: cluster.node(name).data_dir.join("segments").join(object["file"].as_str().expect("a path")),
        offset: object["offset"].as_u64().expect("an offset"),
        bytes: object["bytes"].as_u64().expect("a length"),
        blob: object["blob"].as_str().expect("a blob").to_owned(),
        index: object["index"].as_u64().expect("an index"),
    };
    fragments.map(lying).collect()
}

impl Lying {
    /// Where its record begins: a block holds no two, and the header stands in front of the payload.
    fn start(&self) -> u64 {
        self.offset - self.offset % 4096
    }

    /// Its whole record, header and payload.
    fn record(&self) -> Vec<u8> {
        let bytes = fs::read(&self.file).expect("a segment can be read");
        let at = |place: u64| usize::try_from(place).expect("a segment is short");
        bytes[at(self.start())..at(self.offset + self.bytes)].to_vec()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n98_fragments_garbled_on_one_disk_misplaced_on_another_and_then_both_disks_gone_restores_are_equal() {
    let (mut cluster, _) = cluster(6).await;
    let writer = cluster.client("acme-writer").await;
    // Enough blobs that every node has data fragments of several: those are asked for before parity.
    let (backup, source) = back_up_strong(&cluster, "first", 16).await;
    assert_eq!((backup.code.k, backup.code.m), (4, 2));
    assert_eq!((backup.survives.regions, backup.survives.nodes), (1, 2));

    let victims = ["north-1", "south-2"];
    for name in victims {
        blocking(|| cluster.stop(name));
        let fragments = fragments_on(&cluster, name);
        assert!(!fragments.is_empty(), "{name} has fragments");
        if name == victims[0] {
            fragments.iter().for_each(|one| overwrite(&one.file, one.offset, &[0xA5; 32]));
        } else {
            // Written to a wrong place: each second record begins with one that is good, with all its checksums, and
            // of another blob.
            let mut misplaced = 0;
            let data: Vec<Lying> = fragments.into_iter().filter(|one| one.index < backup.code.k.into()).collect();
            for pair in data.chunks_exact(2) {
                let (short, long) =
                    if pair[0].bytes <= pair[1].bytes { (&pair[0], &pair[1]) } else { (&pair[1], &pair[0]) };
                if short.blob != long.blob {
                    overwrite(&long.file, long.start(), &short.record());
                    misplaced += 1;
                }
            }
            assert!(0 < misplaced, "{name} has data fragments of several blobs");
        }
        blocking(|| {
            cluster.restart(name);
            cluster.await_ready(name);
        });
    }
    // Whom the others still take for down they do not ask; a restore that asks both has met both.
    let (began, mut fragments_bad) = (Instant::now(), 0);
    let damaged = |name| metric_at(cluster.node(name), "strongroom_chunks_fragments_damaged_total", "");
    while fragments_bad == 0 || victims.into_iter().any(|name| damaged(name) == 0.0) {
        assert!(began.elapsed() < PATIENCE, "not met: {fragments_bad} bad, {:?} on disks", victims.map(damaged));
        fragments_bad += comes_back(&cluster, backup.snapshot, &source).await;
    }
    let rebuilt = cluster.metric("strongroom_service_blobs_rebuilt_total", "");
    assert!(0.0 < rebuilt, "blobs came out of parity");

    for name in victims {
        blocking(|| cluster.kill(name));
        fs::remove_dir_all(&cluster.node(name).data_dir).expect("a disk can be lost");
    }
    comes_back(&cluster, backup.snapshot, &source).await;
    let after = back_up(&writer, &source, "papers", "four of six").await;
    comes_back(&cluster, after.snapshot, &source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n98_a_member_that_lies_over_the_wire_is_found_out_others_serve_and_it_is_marked() {
    let (mut cluster, _) = cluster(3).await;
    let victim = cluster.node("north-1").clone();
    let (mut snapshots, mut shapes) = (Vec::new(), BTreeMap::new());
    // What lies on the victim: data fragments of several blobs, which are asked for before parity.
    let began = Instant::now();
    loop {
        let number = snapshots.len();
        let mut forge = Forge::open(&cluster, "globex", "writer", "papers").await;
        let contents: Vec<Vec<u8>> = (0..6).map(|at| noise(&format!("n98 {number} {at}"), 30_000)).collect();
        let run: Vec<SealedBlob> = contents.iter().map(|bytes| forge.seal(Kind::Data, bytes)).collect();
        for blob in &run {
            let code = Code { k: 2, m: 1 };
            shapes.insert(blob.entry.blob, (blob.entry.stored_bytes, code.fragment_bytes(blob.entry.stored_bytes)));
        }
        let contents = contents.concat();
        snapshots.push((forge.write(&[run], &[file("all", &contents, 0)]).await, contents));
        blocking(|| cluster.stop(&victim.name));
        let is_asked_for = |one: &&Lying| one.index < 2 && shapes.keys().any(|blob| blob.to_string() == one.blob);
        if 4 <= fragments_on(&cluster, &victim.name).iter().filter(is_asked_for).count() {
            break;
        }
        blocking(|| {
            cluster.restart(&victim.name);
            cluster.await_ready(&victim.name);
        });
        assert!(began.elapsed() < PATIENCE, "it takes no data fragments");
    }
    let liar = FalseMember::in_place_of(&cluster, &victim, shapes).await;
    let restorer = cluster.client("globex-restorer").await;
    let wrong = || cluster.metric("strongroom_service_fragments_wrong_total", "");
    // While the others still take it for down it is not asked.
    let began = Instant::now();
    while liar.asked() == 0 || wrong() == 0.0 {
        assert!(began.elapsed() < PATIENCE, "it was asked {} times, {} were found wrong", liar.asked(), wrong());
        for (snapshot, contents) in &snapshots {
            let to = cluster.scratch().join("restored");
            let restored = restore(&restorer, *snapshot, &to).await;
            assert!(restored.is_whole(), "{:?}", restored.damaged);
            assert_eq!(&fs::read(to.join("all")).expect("the file"), contents);
        }
    }
    assert!(0.0 < cluster.metric("strongroom_service_fragments_bad_total", ""));
    let log = cluster.log();
    let is_told = |line: &str| line.contains("a member gives wrong fragments") && line.contains("node=north-1");
    assert!(log.lines().any(is_told), "people are told who");
    assert!(!log.lines().any(|line| line.contains("gives wrong fragments") && !is_told(line)), "and nobody else is");
}

/// Holds a backup where it is until whoever waits for it lets it go on.
#[derive(Default)]
struct Gate {
    /// Bytes that may be read.
    allowed: Mutex<u64>,
    changed: Condvar,
    read: AtomicU64,
}

impl Gate {
    fn read(&self, bytes: u64) {
        let read = self.read.fetch_add(bytes, Ordering::SeqCst) + bytes;
        let mut allowed = self.allowed.lock().expect("nobody panics inside");
        while *allowed < read {
            allowed = self.changed.wait(allowed).expect("nobody panics inside");
        }
    }

    fn allow(&self, bytes: u64) {
        *self.allowed.lock().expect("nobody panics inside") = bytes;
        self.changed.notify_all();
    }
}

/// Lets everything go on however the test ends: whoever waits at the gate would hold its runtime up.
struct OpensInTheEnd(Arc<Gate>);

impl Drop for OpensInTheEnd {
    fn drop(&mut self) {
        self.0.allow(u64::MAX);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_killed_and_restarted_one_after_another_during_a_backup_do_not_stop_it() {
    const FILES: u64 = 48;
    const FILE_BYTES: usize = 4 << 20;
    let (mut cluster, source) = cluster(3).await;
    for number in 0..FILES {
        let bytes = noise(&format!("rolling {number}"), FILE_BYTES);
        fs::write(source.join(format!("file {number}")), bytes).expect("a file can be written");
    }
    let total = FILES * FILE_BYTES as u64;
    let gate = Arc::new(Gate::default());
    let _opens = OpensInTheEnd(Arc::clone(&gate));
    // Each node dies with the backup under way: it may read a quarter before the first, two before the second …
    gate.allow(total / 4);
    let writer = cluster.client("acme-writer").await;
    let (reader, stored) = (Arc::clone(&gate), Arc::new(AtomicU64::new(0)));
    let mut request = request(&source, "papers", "rolling");
    request.progress = Progress::to({
        let stored = Arc::clone(&stored);
        move |event| match event {
            Event::Read { bytes } => reader.read(bytes),
            Event::Stored { bytes } => drop(stored.fetch_add(bytes, Ordering::SeqCst)),
            _ => {}
        }
    });
    let backup = tokio::spawn({
        let writer = writer.clone();
        async move { writer.back_up(request).await }
    });
    let so_far = || stored.load(Ordering::SeqCst);
    blocking(|| crate::cluster::until(|| 0 < so_far(), || "the backup gets on".into()));
    for (at, name) in cluster.names().into_iter().enumerate() {
        blocking(|| {
            cluster.kill(&name);
            let before = so_far();
            gate.allow(total / 4 * (at as u64 + 2));
            crate::cluster::until(|| before < so_far(), || format!("the backup gets on without {name}"));
            cluster.restart(&name);
            cluster.await_ready(&name);
        });
        assert!(!backup.is_finished(), "the backup still runs");
    }
    gate.allow(u64::MAX);
    let backup = backup.await.expect("it does not panic").expect("it completes");
    assert!(total <= backup.bytes_read);
    comes_back(&cluster, backup.snapshot, &source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_tenants_restore_reads_three_shards_at_once_and_the_seconds_one() {
    let (cluster, source) = cluster(3).await;
    let gathered = |shard: u32| {
        let label = format!("shard=\"{shard}\"");
        cluster.metric("strongroom_service_blobs_gathered_total", &label)
    };
    let all = || [1, 2, 3].map(gathered);

    // The second tenant first: of a restore that went before, a member may still be giving what nobody waits for any more.
    let writer = cluster.client("globex-writer").await;
    let backup = back_up(&writer, &source, "papers", "one shard").await;
    let before = all();
    let to = cluster.scratch().join("restored");
    restore(&cluster.client("globex-restorer").await, backup.snapshot, &to).await;
    trees::assert_equal(&source, &to);
    let grown: Vec<f64> = all().iter().zip(before).map(|(now, before)| now - before).collect();
    assert_eq!(grown.iter().filter(|blobs| 0.0 < **blobs).count(), 1, "one shard gave all: {grown:?}");

    // Runs lie by the hash of their first chunk; so they are made until each shard has four.
    let mut forge = Forge::open(&cluster, "acme", "writer", "papers").await;
    let (mut runs, mut contents): (Vec<Vec<SealedBlob>>, Vec<u8>) = (Vec::new(), Vec::new());
    let mut in_shard = std::collections::BTreeMap::new();
    for number in 0.. {
        let bytes = noise(&format!("run {number}"), 20_000);
        let run = vec![forge.seal(Kind::Data, &bytes)];
        let count = in_shard.entry(forge.shard_of(&run)).or_insert(0);
        if *count < 4 {
            *count += 1;
            contents.extend(bytes);
            runs.push(run);
        }
        if in_shard.values().sum::<u32>() == 12 {
            break;
        }
    }
    let snapshot = forge.write(&runs, &[file("all", &contents, 0)]).await;
    let before = all();
    let to = cluster.scratch().join("restored");
    let restored = restore(&cluster.client("acme-restorer").await, snapshot, &to).await;
    assert!(restored.is_whole());
    assert_eq!(fs::read(to.join("all")).expect("the file"), contents);
    let grown: Vec<f64> = all().iter().zip(before).map(|(now, before)| now - before).collect();
    assert!(grown.iter().all(|blobs| 4.0 <= *blobs), "each shard gave its runs: {grown:?}");
}
