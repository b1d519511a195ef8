//! A replica that missed too much gets a snapshot.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, GROUP, Node, WITHIN, entry, name};
use strongroom_consensus::depth::LogDepth;
use strongroom_consensus::group::GroupStatus;
use strongroom_consensus::timing::Timing;
use strongroom_consensus::wire::{MESSAGE_BYTES_MAX, PROPOSAL_BYTES_MAX};
use strongroom_format::id::ReplicaId;

#[tokio::test]
async fn a_replica_that_missed_what_was_purged_gets_a_snapshot() {
    let mut cluster = Cluster::start(3, 0, &[GROUP]).await;
    let index = cluster.propose(GROUP, entry("first", "entry")).await;
    cluster.agree(GROUP, index).await;
    let leader = cluster.leader(GROUP).await;
    let away = cluster.nodes.values().find(|node| node.name != leader).unwrap().name.clone();
    cluster.kill(&away);
    let mut last = 0;
    for number in 0..300 {
        last = cluster.propose(GROUP, entry(&format!("key{number}"), &"x".repeat(4000))).await;
    }
    for node in cluster.nodes.values() {
        node.wait(GROUP, last).await;
        node.consensus.snapshot_and_purge(GROUP, last - 10).await.unwrap();
        let status = node.status(GROUP);
        assert!(Some(last) <= status.snapshot && Some(last - 10) <= status.purged, "{status:?}");
        assert!(status.snapshot <= status.checkpointed, "the log is purged behind a checkpoint only");
    }
    cluster.restart(&away).await;
    cluster.agree(GROUP, last).await;
    // what a replica has applied is told before what it got it by
    let began = Instant::now();
    while cluster.nodes[&away].status(GROUP).snapshot < Some(last) {
        assert!(began.elapsed() < WITHIN, "{:?}", cluster.nodes[&away].status(GROUP));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // and what it got survives its next crash
    cluster.kill(&away);
    cluster.restart(&away).await;
    let index = cluster.propose(GROUP, entry("last", "entry")).await;
    cluster.agree(GROUP, index).await;
}

#[tokio::test]
async fn a_purged_replica_starts_again_from_its_own_disk() {
    let mut cluster = Cluster::start(1, 0, &[GROUP]).await;
    let mut last = 0;
    for number in 0..50 {
        last = cluster.propose(GROUP, entry(&format!("key{number}"), "value")).await;
    }
    let node = &cluster.nodes[&name(1)];
    node.consensus.snapshot_and_purge(GROUP, last).await.unwrap();
    let digest = node.digest(GROUP).await;
    for _ in 0..3 {
        cluster.kill(&name(1));
        cluster.restart(&name(1)).await;
        let node = &cluster.nodes[&name(1)];
        node.wait(GROUP, last).await;
        assert_eq!(node.digest(GROUP).await, digest);
        assert_eq!(node.status(GROUP).replica, ReplicaId(256));
    }
    cluster.propose(GROUP, entry("key", "val")).await;
}

/// Waits until a node's replica stands so.
async fn wait_until(node: &Node, is_so: impl Fn(&GroupStatus) -> bool) {
    let reach = async {
        while !is_so(&node.status(GROUP)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let status = || format!("{:#?}", node.status(GROUP));
    tokio::time::timeout(WITHIN, reach).await.unwrap_or_else(|_| panic!("{}", status()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_snapshot_streams_under_load_goes_on_after_a_cut_and_is_the_only_one_that_is_needed() {
    let depth = LogDepth::new(400, 1 << 30, 100).unwrap();
    // patient: a busy machine must not change the leader
    let mut cluster = Cluster::start_with(3, 0, &[GROUP], (Timing::Wan, depth)).await;
    let index = cluster.propose(GROUP, entry("first", "entry")).await;
    cluster.agree(GROUP, index).await;
    let leader = cluster.leader(GROUP).await;
    let mut others = cluster.nodes.keys().filter(|node| **node != leader).cloned();
    let (away, other) = (others.next().unwrap(), others.next().unwrap());
    cluster.kill(&away);
    let mut last = 0;
    for round in 0..15 {
        let entries = (0..100).map(|number| entry(&format!("key{round}-{number}"), &"x".repeat(4000)));
        last = cluster.propose_all(GROUP, entries).await;
    }
    let is_due =
        |status: &GroupStatus| status.snapshot.map_or(0, |last| last + 400) <= status.applied.unwrap_or_default();
    wait_until(&cluster.nodes[&leader], |status| !is_due(status) && Some(last - 600) < status.purged).await;

    // the fifth megabyte waits, and the answer to the third is lost
    let pieces = &cluster.net.pieces;
    pieces.let_through.send_replace(4 << 20);
    *pieces.lose_answer_at.lock().unwrap() = Some(3 << 20);
    cluster.restart(&away).await;
    let pieces = &cluster.net.pieces;
    let reach = async {
        while pieces.taken() + (1 << 20) <= 4 << 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WITHIN, reach).await.expect("a snapshot is sent");
    let travels = cluster.nodes[&leader].status(GROUP);

    // writes run on, until every other log was cut behind the snapshot that travels
    let stop = std::sync::atomic::AtomicBool::new(false);
    let load = async {
        let mut round = 0;
        while !stop.load(Ordering::Relaxed) {
            round += 1;
            let entries = (0..50).map(|number| entry(&format!("load{round}-{number}"), "y"));
            last = cluster.propose_all(GROUP, entries).await;
        }
        last
    };
    let transfer = async {
        wait_until(&cluster.nodes[&other], |status| travels.snapshot < status.purged).await;
        assert_eq!(cluster.nodes[&leader].status(GROUP).snapshot, travels.snapshot, "the log is held back");
        pieces.let_through.send_replace(u64::MAX);
        wait_until(&cluster.nodes[&away], |status| travels.applied <= status.applied).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (last, ()) = tokio::join!(load, transfer);
    cluster.agree(GROUP, last).await;
    let sent = pieces.sent.lock().unwrap().clone();
    let snapshots: Vec<u64> = sent.keys().copied().collect();
    assert_eq!(snapshots, [travels.snapshot.unwrap()], "one snapshot was enough");
    let (bytes, whole) = sent[&snapshots[0]];
    assert!(pieces.lose_answer_at.lock().unwrap().is_none(), "it was cut");
    assert!(8 << 20 < whole && whole < bytes && bytes < whole + (2 << 20), "{bytes} bytes were sent of {whole}");

    // and the log is cut again when everybody has followed
    wait_until(&cluster.nodes[&leader], |status| travels.snapshot < status.purged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn entries_of_the_greatest_length_among_a_thousand_reach_whoever_was_away_in_messages_that_pass() {
    let mut cluster = Cluster::start(3, 0, &[GROUP]).await;
    let index = cluster.propose(GROUP, entry("first", "entry")).await;
    cluster.agree(GROUP, index).await;
    let leader = cluster.leader(GROUP).await;
    let away = cluster.nodes.keys().find(|node| **node != leader).unwrap().clone();
    cluster.kill(&away);
    // what stands before a long one adds up to nearly a message of its own, or to nearly nothing
    let longest = PROPOSAL_BYTES_MAX / 2;
    let lengths = [longest, 100, longest - 1, longest, 200_000, 200_000, 200_000, longest / 2 - 50, longest];
    let mut last = 0;
    for round in 0..8 {
        let entries = (0..128).map(|number| {
            let length = lengths.get(number).copied().unwrap_or(300);
            let mut entry = format!("key{round}-{number}").into_bytes();
            entry.resize(2 * length, b'x');
            entry
        });
        last = cluster.propose_all(GROUP, entries).await;
    }
    cluster.restart(&away).await;
    cluster.agree(GROUP, last).await;
    let bytes = cluster.net.longest.load(Ordering::Relaxed);
    assert!(PROPOSAL_BYTES_MAX < bytes && bytes <= MESSAGE_BYTES_MAX, "{bytes}");
}
