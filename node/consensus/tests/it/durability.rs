//! What was answered survives.

use crate::cluster::{Cluster, GROUP, WITHIN, entry, name};
use strongroom_format::id::GroupId;

#[tokio::test]
async fn a_killed_node_finds_everything_that_it_had_answered() {
    let mut cluster = Cluster::start(1, 0, &[GROUP]).await;
    let mut last = 0;
    for round in 0..6 {
        for number in 0..20 {
            last = cluster.propose(GROUP, entry(&format!("k{round}-{number}"), "value")).await;
        }
        let before = cluster.nodes[&name(1)].digest(GROUP).await;
        cluster.kill(&name(1));
        cluster.restart(&name(1)).await;
        cluster.leader(GROUP).await;
        let node = &cluster.nodes[&name(1)];
        node.wait(GROUP, last).await;
        assert_eq!(node.digest(GROUP).await, before, "round {round}");
    }
    let count = cluster.nodes[&name(1)].consensus.read(GROUP, b"count".to_vec(), WITHIN).await.unwrap();
    assert_eq!(count, 120_usize.to_le_bytes());
    assert!(last > 120);
    cluster.check_health();
}

#[tokio::test]
async fn an_orderly_end_leaves_nothing_to_apply_again() {
    let mut cluster = Cluster::start(1, 0, &[GROUP]).await;
    let last = cluster.propose(GROUP, entry("key", "val")).await;
    let node = &cluster.nodes[&name(1)];
    let digest = node.digest(GROUP).await;
    node.consensus.shutdown().await;
    assert_eq!(*node.fatal.lock().unwrap(), Vec::<String>::new());
    cluster.kill(&name(1));
    let host = strongroom_host::Host::real().with_files(std::sync::Arc::new(cluster.disks[&name(1)].clone()));
    let node = crate::cluster::Node::start(&name(1), host, "/data".into(), &cluster.net).await;
    node.run(GROUP, strongroom_format::id::ReplicaId(256)).await;
    assert!(Some(last) <= node.status(GROUP).checkpointed);
    assert_eq!(node.digest(GROUP).await, digest);
}

#[tokio::test]
async fn all_killed_at_once_find_everything_again() {
    let mut cluster = Cluster::start(3, 0, &[GROUP, GroupId(2)]).await;
    for round in 0..3 {
        let mut last = [0, 0];
        for number in 0..30 {
            for (at, group) in [GROUP, GroupId(2)].into_iter().enumerate() {
                last[at] = cluster.propose(group, entry(&format!("k{round}-{number}"), "value")).await;
            }
        }
        for number in 1..=3 {
            cluster.kill(&name(number));
        }
        for number in 1..=3 {
            cluster.restart(&name(number)).await;
        }
        for (at, group) in [GROUP, GroupId(2)].into_iter().enumerate() {
            let index = cluster.propose(group, entry(&format!("after-{round}"), "value")).await;
            assert!(last[at] < index);
            cluster.agree(group, index).await;
            let leader = cluster.leader(group).await;
            let count = cluster.nodes[&leader].consensus.read(group, b"count".to_vec(), WITHIN).await.unwrap();
            assert_eq!(count, ((round + 1) * 31_usize).to_le_bytes());
        }
    }
}
