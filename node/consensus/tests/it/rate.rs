//! How fast small entries go through, on a real disk: printed for people. That all do is the test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use strongroom_consensus::group::Member;
use strongroom_consensus::groups::{Consensus, ProposeError};
use strongroom_format::id::ReplicaId;
use strongroom_host::Host;

use crate::cluster::{GROUP, Net, Node, WITHIN, entry, name};

/// A leader whose majority was late to confirm it refuses for a moment.
async fn propose(leader: &Consensus, bytes: Vec<u8>) {
    loop {
        match leader.propose(GROUP, bytes.clone(), WITHIN).await {
            Ok(_) => return,
            Err(ProposeError::NotLeader { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn rate(nodes: usize, entries: usize, callers: usize) {
    let directory = tempfile::tempdir().unwrap();
    let net: Arc<Net> = Arc::default();
    let members: BTreeMap<ReplicaId, Member> = (1..=nodes)
        .map(|number| (ReplicaId(number as u64 * 256), Member { node: name(number), voter: true }))
        .collect();
    let mut running = Vec::new();
    for (&replica, member) in &members {
        let node = Node::start(&member.node, Host::real(), directory.path().join(member.node.to_string()), &net).await;
        node.run(GROUP, replica).await;
        node.consensus.admit(GROUP);
        node.consensus.initialize(GROUP, members.clone()).await.unwrap();
        running.push(node);
    }
    let leader = loop {
        match running.iter().find(|node| node.consensus.leads(GROUP)) {
            Some(leader) => break leader.consensus.clone(),
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    propose(&leader, entry("first", "entry")).await;
    let begin = tokio::time::Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let leader = leader.clone();
            tokio::spawn(async move {
                for number in 0..entries / callers {
                    let bytes = entry(&format!("key-{caller}-{number}"), &"v".repeat(40));
                    propose(&leader, bytes).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{nodes} node(s), {callers} callers: {:.0} entries/s", entries as f64 / seconds);
    for node in &running {
        assert_eq!(*node.fatal.lock().unwrap(), Vec::<String>::new());
        node.consensus.shutdown().await;
    }
}

#[tokio::test]
async fn ten_thousand_small_entries_go_through_one_node_and_three() {
    rate(1, 10_000, 64).await;
    rate(1, 500, 1).await;
    rate(3, 10_000, 64).await;
    rate(3, 500, 1).await;
}
