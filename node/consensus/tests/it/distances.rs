//! Nodes that are far from each other, links that lose messages, and links that are cut between some nodes only.

use std::time::Duration;

use strongroom_consensus::group::Role;
use strongroom_consensus::groups::ProposeError;
use strongroom_consensus::timing::Timing;
use strongroom_format::id::NodeName;
use tokio::time::Instant;

use crate::cluster::{Cluster, GROUP, Net, WITHIN, entry, name, undisturbed};

/// The highest term that any node knows.
fn term(cluster: &Cluster) -> u64 {
    cluster.nodes.values().map(|node| node.status(GROUP).term).max().unwrap()
}

/// Writes so many at the leader, one after another. The leader must not change.
async fn writes_under_one_leader(cluster: &Cluster, writes: u32) -> Result<(), String> {
    let first = cluster.propose(GROUP, entry("first", "entry")).await;
    cluster.agree(GROUP, first).await;
    let leader = cluster.leader(GROUP).await;
    let (before, begin) = (term(cluster), Instant::now());
    for number in 0..writes {
        let key = format!("key{number}");
        let write = cluster.nodes[&leader].consensus.propose(GROUP, entry(&key, &key), WITHIN).await;
        write.map_err(|error| format!("write {number}: {error}"))?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{writes} writes in {:?}", begin.elapsed());
    if (cluster.leader(GROUP).await, term(cluster)) != (leader, before) {
        return Err("an election came without need".into());
    }
    let last = cluster.propose(GROUP, entry("last", "entry")).await;
    cluster.agree(GROUP, last).await;
    Ok(())
}

#[tokio::test]
async fn nodes_of_a_lan_keep_their_leader() {
    // 5 ms one way: a write is one round and the disk; 5 s in all on a machine that has time
    let cluster = Cluster::start_over(Net::of(Timing::Lan, Duration::from_millis(5), 0), 3, 0, &[GROUP]).await;
    undisturbed(|| writes_under_one_leader(&cluster, 120)).await;
}

#[tokio::test]
async fn regions_apart_keep_their_leader_although_messages_are_lost() {
    // 40 ms one way, 1 % lost
    let cluster = Cluster::start_over(Net::of(Timing::Wan, Duration::from_millis(40), 10), 3, 0, &[GROUP]).await;
    undisturbed(|| writes_under_one_leader(&cluster, 60)).await;
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
    undisturbed(async || {
        let before = term(cluster);
        // more than three times the longest election
        tokio::time::sleep(Duration::from_millis(2500)).await;
        match term(cluster) {
            now if now == before => Ok(()),
            now => Err(format!("elections go on although nothing is cut: {before}, {now}")),
        }
    })
    .await;
}

#[tokio::test]
async fn two_of_three_nodes_that_do_not_reach_each_other_do_not_disturb_the_third() {
    let cluster = Cluster::start(3, 0, &[GROUP]).await;
    let first = cluster.propose(GROUP, entry("first", "entry")).await;
    cluster.agree(GROUP, first).await;
    // every link once, so that the leader is at its end and beside it
    for (one, other) in [(1, 2), (2, 3), (1, 3)].map(|(one, other)| (name(one), name(other))) {
        undisturbed(async || {
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
            cluster.net.heal();
            println!("{one} and {other} cut: {done} writes, {unknown} without an answer, {terms} more terms");
            // without pre-vote the node that hears of no leader brings one with each of its six or more elections
            match terms <= 3 {
                true if 10 <= done => Ok(()),
                _ => Err(format!("{done} writes and {terms} more terms in 4 s")),
            }
        })
        .await;
        comes_to_rest(&cluster).await;
    }
}

#[tokio::test]
async fn a_leader_that_reaches_too_few_lets_those_go_who_could_elect_another() {
    undisturbed(lets_go).await;
}

async fn lets_go() -> Result<(), String> {
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
    let (next, took) = leader_among(&cluster, &candidates, WITHIN).await;
    println!("{next} leads after {took:?}, {} more terms", term(&cluster) - before);
    // it goes on although the old leader still reaches one
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        let write = cluster.nodes[&next].consensus.propose(GROUP, entry("goes", "on!!"), WITHIN).await;
        write.map_err(|error| error.to_string())?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let terms = term(&cluster) - before;
    if 4 < terms {
        return Err(format!("{terms} more terms"));
    }
    cluster.net.heal();
    comes_to_rest(&cluster).await;
    Ok(())
}
