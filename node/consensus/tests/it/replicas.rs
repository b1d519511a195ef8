//! Replicas that may not take part yet, or not any more, and replicas that are forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use strongroom_consensus::door::HandleError;
use strongroom_consensus::group::{Member, Position, Role};
use strongroom_consensus::groups::{FoundError, ProposeError, StartError};
use strongroom_consensus::transport::Message;
use strongroom_format::id::{GroupId, ReplicaId};

use crate::cluster::{Cluster, GROUP, Node, WITHIN, entry, name};

const OTHER: GroupId = GroupId(2);

async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WITHIN, wait).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_is_not_admitted_answers_nothing_and_never_stands() {
    let mut cluster = Cluster::start(3, 0, &[GROUP]).await;
    let index = cluster.propose(GROUP, entry("key", "val")).await;
    cluster.agree(GROUP, index).await;
    for number in 1..=3 {
        cluster.kill(&name(number));
    }
    let waits = cluster.start_unadmitted(&name(1)).await;
    cluster.restart(&name(2)).await;
    let own = waits.consensus.position(GROUP).unwrap();
    assert!(1 <= own.vote_term && own.last_index == index, "{own:?}");
    for kind in 1..=5 {
        let message = Message { group: GROUP, from: ReplicaId(512), to: ReplicaId(256), kind, body: Bytes::new() };
        let refused = waits.consensus.handle(&name(2), message).await;
        assert_eq!(refused, Err(HandleError::NotAdmitted(ReplicaId(256))), "kind {kind}");
    }
    assert_eq!(waits.consensus.initialize(GROUP, cluster.members.clone()).await, Err(FoundError::NotAdmitted));
    // three times the longest election: with its vote there would be a leader long since
    tokio::time::sleep(Duration::from_millis(2400)).await;
    for node in [&waits, &cluster.nodes[&name(2)]] {
        assert_ne!(node.status(GROUP).role, Role::Leader);
        assert_eq!(node.consensus.position(GROUP).unwrap().vote_term, own.vote_term, "nobody voted");
    }
    waits.consensus.admit(GROUP);
    cluster.nodes.insert(name(1), waits);
    let index = cluster.propose(GROUP, entry("key", "two")).await;
    cluster.agree(GROUP, index).await;
}

#[tokio::test]
async fn a_new_member_is_a_stranger_until_it_is_told_and_who_founds_the_group_stays() {
    let cluster = Cluster::start(2, 0, &[]).await;
    let late = &cluster.nodes[&name(1)];
    late.run(GROUP, ReplicaId(256)).await;
    late.consensus.admit(GROUP);
    late.consensus.initialize(GROUP, cluster.members.clone()).await.unwrap();
    let (old, new) = (ReplicaId(512), ReplicaId(1024));
    let hears = async |from| {
        let message = Message { group: GROUP, from, to: ReplicaId(256), kind: 2, body: Bytes::new() };
        !matches!(late.consensus.handle(&name(2), message).await, Err(HandleError::NotAMember { .. }))
    };
    assert!(hears(old).await && !hears(new).await);
    assert_eq!(late.status(GROUP).last_log, None, "another one is asked to found it");
    let mut members = cluster.members.clone();
    let replaced = members.remove(&old).unwrap();
    members.insert(new, replaced);
    late.consensus.tell(GROUP, members.clone()).unwrap();
    assert!(!hears(old).await && hears(new).await);
    members.remove(&ReplicaId(256));
    assert_eq!(late.consensus.tell(GROUP, members), Err(FoundError::NotAMember));
    assert!(hears(new).await);
    // nobody else does it, so it founds: with those with whom everybody else would have
    until(|| late.status(GROUP).last_log.is_some()).await;
    let voters = late.consensus.membership(GROUP).unwrap().voters;
    assert_eq!(voters.keys().collect::<Vec<_>>(), cluster.members.keys().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_fenced_leader_stops_leading_and_follows_and_no_fenced_replica_is_elected() {
    let cluster = Cluster::start(3, 0, &[GROUP]).await;
    let index = cluster.propose(GROUP, entry("key", "one")).await;
    cluster.agree(GROUP, index).await;
    let old = cluster.leader(GROUP).await;
    let fenced = &cluster.nodes[&old];
    fenced.consensus.fence(GROUP, true);
    assert!(!fenced.consensus.leads(GROUP));
    let refused = fenced.consensus.propose(GROUP, entry("key", "bad"), WITHIN).await;
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: None }));
    let body = Bytes::new();
    let (&from, member) = cluster.members.iter().find(|(_, member)| member.node != old).unwrap();
    let to = fenced.status(GROUP).replica;
    for kind in [2, 3, 4] {
        let message = Message { group: GROUP, from, to, kind, body: body.clone() };
        assert_eq!(fenced.consensus.handle(&member.node, message).await, Err(HandleError::Fenced(to)));
    }
    let index = cluster.propose(GROUP, entry("key", "two")).await;
    assert_ne!(cluster.leader(GROUP).await, old);
    cluster.agree(GROUP, index).await;
    fenced.consensus.fence(GROUP, false);
    until(|| fenced.status(GROUP).role == Role::Follower).await;
    fenced.consensus.transfer(GROUP, to).await.unwrap();
}

#[tokio::test]
async fn what_a_member_acknowledged_and_voted_is_remembered_by_the_others() {
    let cluster = Cluster::start(3, 0, &[GROUP]).await;
    let index = cluster.propose(GROUP, entry("key", "val")).await;
    cluster.agree(GROUP, index).await;
    let leader = cluster.leader(GROUP).await;
    let term = cluster.nodes[&leader].status(GROUP).term;
    for (&replica, member) in &cluster.members {
        if member.node == leader {
            for node in cluster.nodes.values().filter(|node| node.name != leader) {
                until(|| node.consensus.known_of(GROUP, replica).unwrap().vote_term == term).await;
            }
        } else {
            let known = || cluster.nodes[&leader].consensus.known_of(GROUP, replica).unwrap();
            until(|| known() == Position { vote_term: term, last_index: index }).await;
            let own = cluster.nodes[&member.node].consensus.position(GROUP).unwrap();
            assert!(known().vote_term <= own.vote_term && known().last_index <= own.last_index);
        }
    }
    assert_eq!(cluster.nodes[&leader].consensus.known_of(GROUP, ReplicaId(9)), Some(Position::default()));
    assert_eq!(cluster.nodes[&leader].consensus.known_of(OTHER, ReplicaId(256)), None);
}

#[tokio::test]
async fn a_forgotten_group_leaves_nothing_and_another_replica_begins_empty() {
    let mut cluster = Cluster::start(1, 0, &[GROUP, OTHER]).await;
    cluster.propose(GROUP, entry("key", "val")).await;
    let kept = cluster.propose(OTHER, entry("other", "stays")).await;
    let node = &cluster.nodes[&name(1)];
    node.consensus.snapshot_and_purge(GROUP, 1).await.unwrap();
    let runs = node.consensus.forget_group(GROUP).await;
    assert!(matches!(runs, Err(StartError::AlreadyRuns { .. })), "{runs:?}");
    node.consensus.stop_group(GROUP).await;
    assert_eq!(node.consensus.replica(GROUP), None);
    node.consensus.forget_group(GROUP).await.unwrap();
    cluster.groups = vec![OTHER];
    for _ in 0..2 {
        cluster.kill(&name(1));
        cluster.restart(&name(1)).await;
    }
    let node = &cluster.nodes[&name(1)];
    node.wait(OTHER, kept).await;
    node.run(GROUP, ReplicaId(999)).await;
    assert_eq!(node.consensus.position(GROUP), Some(Position::default()));
    let status = node.status(GROUP);
    assert_eq!((status.applied, status.last_log, status.snapshot), (None, None, None));
    node.consensus.admit(GROUP);
    let alone = BTreeMap::from([(ReplicaId(999), Member { node: name(1), voter: true })]);
    node.consensus.initialize(GROUP, alone).await.unwrap();
    cluster.propose(GROUP, entry("begins", "anew")).await;
}

#[tokio::test]
async fn a_crash_at_any_moment_of_forgetting_leaves_all_or_an_empty_replica() {
    let (mut whole, mut empty) = (0, 0);
    for calls in 0..14 {
        let mut cluster = Cluster::start(1, 0, &[GROUP]).await;
        let last = cluster.propose(GROUP, entry("key", "val")).await;
        let node = &cluster.nodes[&name(1)];
        let digest = node.digest(GROUP).await;
        node.consensus.snapshot_and_purge(GROUP, last).await.unwrap();
        node.consensus.stop_group(GROUP).await;
        let disk = cluster.disks[&name(1)].clone();
        disk.cut_power_after(calls);
        let forgotten = node.consensus.forget_group(GROUP).await.is_ok();
        cluster.net.isolate(&name(1));
        drop(cluster.nodes.remove(&name(1)));
        disk.crash(calls);
        let host = strongroom_host::Host::real().with_files(std::sync::Arc::new(disk));
        let node = Node::start(&name(1), host, "/data".into(), &cluster.net).await;
        node.run(GROUP, ReplicaId(256)).await;
        match node.status(GROUP).applied {
            Some(applied) => {
                assert!(!forgotten && last <= applied, "after {calls} calls");
                assert_eq!(node.digest(GROUP).await, digest);
                assert_ne!(node.consensus.position(GROUP).unwrap().vote_term, 0);
                whole += 1;
            }
            None => {
                assert_eq!(node.consensus.position(GROUP), Some(Position::default()), "after {calls} calls");
                empty += 1;
            }
        }
    }
    assert!(0 < whole && 0 < empty, "{whole} whole, {empty} empty");
}
