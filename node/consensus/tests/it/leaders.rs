//! Leaders come and go.

use std::time::Duration;

use strongroom_consensus::group::Role;
use strongroom_consensus::groups::{ProposeError, ReadError};
use strongroom_format::id::GroupId;

use crate::cluster::{Cluster, GROUP, WITHIN, entry, name, undisturbed};

#[tokio::test]
async fn three_nodes_elect_go_on_without_their_leader_and_take_it_back() {
    let mut cluster = Cluster::start(3, 0, &[GROUP]).await;
    for number in 0..20 {
        cluster.propose(GROUP, entry(&format!("a{number}"), "value")).await;
    }
    let first = cluster.leader(GROUP).await;
    cluster.kill(&first);
    let index = cluster.propose(GROUP, entry("without", "leader1")).await;
    let second = cluster.leader(GROUP).await;
    assert_ne!(first, second);
    cluster.agree(GROUP, index).await;
    cluster.restart(&first).await;
    let index = cluster.propose(GROUP, entry("together", "again")).await;
    cluster.agree(GROUP, index).await;
}

#[tokio::test]
async fn five_nodes_survive_two() {
    let mut cluster = Cluster::start(5, 0, &[GROUP]).await;
    for _ in 0..2 {
        cluster.propose(GROUP, entry("key", "one")).await;
        let leader = cluster.leader(GROUP).await;
        cluster.kill(&leader);
    }
    let index = cluster.propose(GROUP, entry("key", "two")).await;
    cluster.agree(GROUP, index).await;
}

#[tokio::test]
async fn a_follower_refuses_and_names_the_leader() {
    let cluster = Cluster::start(3, 0, &[GROUP]).await;
    undisturbed(async || {
        let index = cluster.propose(GROUP, entry("key", "val")).await;
        cluster.agree(GROUP, index).await;
        let leader = cluster.leader(GROUP).await;
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        for node in cluster.nodes.values().filter(|node| node.name != leader) {
            let proposed = node.consensus.propose(GROUP, entry("key", "val"), WITHIN).await.map(drop);
            let read = node.consensus.read(GROUP, b"key".to_vec(), WITHIN).await.map(drop);
            found.push((proposed, read));
            let leader = Some(leader.clone());
            expected
                .push((Err(ProposeError::NotLeader { leader: leader.clone() }), Err(ReadError::NotLeader { leader })));
            assert_eq!(node.consensus.read_local(GROUP, b"key".to_vec()).await.unwrap(), b"val");
        }
        if found == expected { Ok(()) } else { Err(format!("{found:?}, led by {leader}")) }
    })
    .await;
}

#[tokio::test]
async fn a_leader_without_a_majority_answers_unknown_and_reads_nothing() {
    let cluster = Cluster::start(3, 0, &[GROUP]).await;
    cluster.propose(GROUP, entry("key", "old")).await;
    let old = cluster.leader(GROUP).await;
    cluster.net.isolate(&old);
    let consensus = &cluster.nodes[&old].consensus;
    let within = Duration::from_millis(300);
    let unknown = consensus.propose(GROUP, entry("key", "lost"), within).await;
    assert!(matches!(unknown, Err(ProposeError::Unknown { .. })), "{unknown:?}");
    let read = consensus.read(GROUP, b"key".to_vec(), within).await;
    assert!(matches!(read, Err(ReadError::Unavailable { .. } | ReadError::NotLeader { .. })), "{read:?}");
    // the others elect, go on, and the old leader's proposal is gone for good
    let others = || cluster.nodes.values().filter(|node| node.name != old);
    let index = loop {
        if let Some(node) = others().find(|node| node.status(GROUP).role == Role::Leader) {
            match node.consensus.propose(GROUP, entry("key", "new"), WITHIN).await {
                Ok(done) => break done.index,
                // it leads, and its majority has not confirmed it yet
                Err(ProposeError::NotLeader { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    cluster.net.heal();
    cluster.agree(GROUP, index).await;
    assert_eq!(cluster.nodes[&old].consensus.read_local(GROUP, b"key".to_vec()).await.unwrap(), b"new");
}

#[tokio::test]
async fn a_node_that_was_away_does_not_disturb_the_leader() {
    let cluster = Cluster::start(3, 0, &[GROUP]).await;
    undisturbed(async || {
        let index = cluster.propose(GROUP, entry("key", "one")).await;
        cluster.agree(GROUP, index).await;
        let leader = cluster.leader(GROUP).await;
        let term = cluster.nodes[&leader].status(GROUP).term;
        let away = cluster.nodes.values().find(|node| node.name != leader).unwrap().name.clone();
        cluster.net.isolate(&away);
        tokio::time::sleep(Duration::from_secs(3)).await;
        cluster.net.heal();
        let index = cluster.propose(GROUP, entry("key", "two")).await;
        cluster.agree(GROUP, index).await;
        match cluster.nodes[&leader].status(GROUP).term {
            now if now == term => Ok(()),
            now => Err(format!("pre-vote keeps the term, which was {term} and is {now}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_lead_is_handed_over_when_asked() {
    let cluster = Cluster::start(3, 0, &[GROUP]).await;
    let index = cluster.propose(GROUP, entry("key", "one")).await;
    cluster.agree(GROUP, index).await;
    let leader = cluster.leader(GROUP).await;
    let (&to, heir) = cluster.members.iter().find(|(_, member)| member.node != leader).unwrap();
    cluster.nodes[&leader].consensus.transfer(GROUP, to).await.unwrap();
    let reached = async {
        while cluster.leader(GROUP).await != heir.node {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WITHIN, reached).await.unwrap();
    let index = cluster.propose(GROUP, entry("key", "two")).await;
    cluster.agree(GROUP, index).await;
}

#[tokio::test]
async fn groups_on_the_same_nodes_lead_their_own_lives() {
    let groups = [GroupId(0), GroupId(1), GroupId(2), GroupId(3)];
    let cluster = Cluster::start(3, 0, &groups).await;
    for round in 0..5 {
        for group in groups {
            let index = cluster.propose(group, entry(&format!("{group}-{round}"), "value")).await;
            cluster.agree(group, index).await;
        }
    }
    let digests: std::collections::BTreeSet<Vec<u8>> = {
        let mut digests = std::collections::BTreeSet::new();
        for group in groups {
            digests.insert(cluster.nodes[&name(1)].digest(group).await);
        }
        digests
    };
    assert_eq!(digests.len(), groups.len());
}
