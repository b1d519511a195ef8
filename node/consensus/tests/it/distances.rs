//! Nodes that are far from each other, links that lose messages, and links that are cut between some nodes only.

use std::time::Duration;

use strongroom_consensus::group::Role;
use strongroom_consensus::groups::ProposeError;
use strongroom_consensus::timing::Timing;
use strongroom_format::id::NodeName;
use tokio::time::Instant;

use crate::cluster::{Cluster, GROUP, Net, WITHIN, entry, name};

/// The highest term that any node knows.
fn term(cluster: &Cluster) -> u64 {
    cluster.nodes.values().map(|node| node.status(GROUP).term).max().unwrap()
}

/// Writes at the leader for so long, one after another, and gives how many were done. The leader must not change.
async fn writes_under_one_leader(cluster: &Cluster, long: Duration) -> u32 {
    let first = cluster.propose(GROUP, entry("first", "entry")).await;
    cluster.agree(GROUP, first).await;
    let leader = cluster.leader(GROUP).await;
    let before = term(cluster);
    let (begin, mut done) = (Instant::now(), 0);
    while begin.elapsed() < long {
        let key = format!("key{done}");
        cluster.nodes[&leader].consensus.propose(GROUP, entry(&key, &key), WITHIN).await.unwrap();
        done += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((cluster.leader(GROUP).await, term(cluster)), (leader, before), "an election came without need");
    let last = cluster.propose(GROUP, entry("last", "entry")).await;
    cluster.agree(GROUP, last).await;
    done
}

#[tokio::test]
async fn nodes_of_a_lan_keep_their_leader() {
    let cluster = Cluster::start_over(Net::of(Timing::Lan, Duration::from_millis(5), 0), 3, 0, &[GROUP]).await;
    let done = writes_under_one_leader(&cluster, Duration::from_secs(5)).await;
    println!("{done} writes in 5 s over 5 ms one way");
    // a write is one round: 10 ms and the disk; and 20 ms between two
    assert!(30 <= done, "{done} writes");
}

#[tokio::test]
async fn regions_apart_keep_their_leader_although_messages_are_lost() {
    let cluster = Cluster::start_over(Net::of(Timing::Wan, Duration::from_millis(40), 10), 3, 0, &[GROUP]).await;
    let done = writes_under_one_leader(&cluster, Duration::from_secs(12)).await;
    println!("{done} writes in 12 s over 40 ms one way, 1 % lost");
    assert!(20 <= done, "{done} writes");
}

/// Waits until a node of these leads, and gives it and how long that took.
async fn leader_among(cluster: &Cluster, nodes: &[&NodeName], within: Duration) -> (NodeName, Duration) {
    let begin = Instant::now();
    loop {
        let leads = |node: &&&NodeName| cluster.nodes[**node].status(GROUP).role == Role::Leader;
        if let Some(leader) = nodes.iter().find(leads) {
            let first = cluster.nodes[*leader].consensus.propose(GROUP, entry("still", "here!"), within).await;
            if first.is_ok() {
                return ((*leader).clone(), begin.elapsed());
            }
        }
        assert!(begin.elapsed() < within, "nobody of {nodes:?} leads after {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// After a heal: all agree again, and the terms do not go on growing.
async fn comes_to_rest(cluster: &Cluster) {
    let last = cluster.propose(GROUP, entry("after", "heals")).await;
    cluster.agree(GROUP, last).await;
    let before = term(cluster);
    // more than three times the longest election
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(term(cluster), before, "elections go on although nothing is cut");
}

#[tokio::test]
async fn two_of_three_nodes_that_do_not_reach_each_other_do_not_disturb_the_third() {
    let cluster = Cluster::start(3, 0, &[GROUP]).await;
    let first = cluster.propose(GROUP, entry("first", "entry")).await;
    cluster.agree(GROUP, first).await;
    // every link once, so that the leader is at its end and beside it
    for (one, other) in [(1, 2), (2, 3), (1, 3)].map(|(one, other)| (name(one), name(other))) {
        let before = term(&cluster);
        cluster.net.cut(&one, &other);
        let end = Instant::now() + Duration::from_secs(4);
        let (mut done, mut unknown) = (0, 0);
        while Instant::now() < end {
            let Some(leader) = cluster.nodes.values().find(|node| node.consensus.leads(GROUP)) else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            match leader.consensus.propose(GROUP, entry("during", "cuts!!"), Duration::from_secs(1)).await {
                Ok(_) => done += 1,
                Err(ProposeError::Unknown { .. } | ProposeError::NotLeader { .. }) => unknown += 1,
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let terms = term(&cluster) - before;
        println!("{one} and {other} cut: {done} writes, {unknown} without an answer, {terms} more terms");
        assert!(10 <= done, "{done} writes in 4 s");
        // without pre-vote the node that hears of no leader brings one with each of its six or more elections
        assert!(terms <= 3, "{terms} more terms");
        cluster.net.heal();
        comes_to_rest(&cluster).await;
    }
}

#[tokio::test]
async fn a_leader_that_reaches_too_few_lets_those_go_who_could_elect_another() {
    let cluster = Cluster::start(4, 0, &[GROUP]).await;
    let first = cluster.propose(GROUP, entry("first", "entry")).await;
    cluster.agree(GROUP, first).await;
    let leader = cluster.leader(GROUP).await;
    let others: Vec<NodeName> = cluster.nodes.keys().filter(|node| **node != leader).cloned().collect();
    let [friend, rest @ ..] = others.as_slice() else { panic!("{others:?}") };
    let before = term(&cluster);
    // The leader has one of three others: two of four are no majority. The rest need that one's vote, which it does not
    // give while it hears of the leader.
    for node in rest {
        cluster.net.cut(&leader, node);
    }
    // the lease (800 ms), a silence (1600 ms), an election or two
    let candidates: Vec<&NodeName> = [friend].into_iter().chain(rest).collect();
    let (next, took) = leader_among(&cluster, &candidates, Duration::from_secs(8)).await;
    println!("{next} leads after {took:?}, {} more terms", term(&cluster) - before);
    // it goes on although the old leader still reaches one
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        cluster.nodes[&next].consensus.propose(GROUP, entry("goes", "on!!"), WITHIN).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let terms = term(&cluster) - before;
    assert!(terms <= 4, "{terms} more terms");
    cluster.net.heal();
    comes_to_rest(&cluster).await;
}
