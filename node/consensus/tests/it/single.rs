//! A group of one.

use strongroom_consensus::group::Role;
use strongroom_consensus::groups::{ProposeError, ReadError};
use strongroom_format::id::{GroupId, ReplicaId};

use crate::cluster::{Cluster, GROUP, WITHIN, entry, name};

#[tokio::test]
async fn a_group_of_one_takes_proposals_and_answers_queries() {
    let cluster = Cluster::start(1, 0, &[GROUP]).await;
    let node = &cluster.nodes[&name(1)];
    let index = cluster.propose(GROUP, entry("key", "val")).await;
    assert_eq!(node.consensus.read(GROUP, b"key".to_vec(), WITHIN).await.unwrap(), b"val");
    node.wait(GROUP, index).await;
    let status = node.status(GROUP);
    assert_eq!((status.role, status.replica, status.applied), (Role::Leader, ReplicaId(256), Some(index)));
    assert_eq!(node.consensus.leader(GROUP), Some((ReplicaId(256), name(1))));
    cluster.check_health();
}

#[tokio::test]
async fn a_group_that_is_not_here_refuses_everything() {
    let cluster = Cluster::start(1, 0, &[]).await;
    let consensus = &cluster.nodes[&name(1)].consensus;
    assert_eq!(consensus.propose(GroupId(9), vec![], WITHIN).await, Err(ProposeError::Stopped));
    assert_eq!(consensus.read(GroupId(9), vec![], WITHIN).await, Err(ReadError::Stopped));
    assert!(consensus.status(GroupId(9)).is_none());
    assert!(consensus.groups().is_empty());
}

#[tokio::test]
async fn a_proposal_that_is_too_long_is_refused_before_anything_happens() {
    let cluster = Cluster::start(1, 0, &[GROUP]).await;
    cluster.propose(GROUP, entry("a", "b")).await;
    let consensus = &cluster.nodes[&name(1)].consensus;
    let long = vec![0; strongroom_consensus::wire::PROPOSAL_BYTES_MAX + 1];
    let refused = consensus.propose(GROUP, long, WITHIN).await;
    assert!(matches!(refused, Err(ProposeError::TooLong { .. })));
    let longest = vec![1; strongroom_consensus::wire::PROPOSAL_BYTES_MAX];
    consensus.propose(GROUP, longest, WITHIN).await.unwrap();
}

#[tokio::test]
async fn news_of_applied_entries_reach_who_listens() {
    let cluster = Cluster::start(1, 0, &[GROUP]).await;
    let consensus = &cluster.nodes[&name(1)].consensus;
    let mut news = consensus.on_applied();
    let index = cluster.propose(GROUP, entry("a", "b")).await;
    let reached = async { while news.recv().await.unwrap() != (GROUP, index) {} };
    tokio::time::timeout(WITHIN, reached).await.unwrap();
    assert_eq!(*consensus.applied(GROUP).unwrap().borrow(), index);
}
