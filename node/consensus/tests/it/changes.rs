//! A membership changes step by step, each step against what was looked at.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use strongroom_consensus::group::Member;
use strongroom_consensus::membership::{ChangeError, MemberChange};
use strongroom_format::id::ReplicaId;
use strongroom_host::sim_disk::SimDisk;

use crate::cluster::{Cluster, GROUP, WITHIN, entry, name};

async fn change(cluster: &Cluster, change: MemberChange) -> Result<(), ChangeError> {
    let leader = cluster.leader(GROUP).await;
    let consensus = &cluster.nodes[&leader].consensus;
    let membership = consensus.membership(GROUP).unwrap();
    consensus.change(GROUP, membership.log_id, change, WITHIN).await
}

#[tokio::test]
async fn a_member_is_replaced_by_an_empty_one_and_the_old_one_is_a_stranger() {
    let mut cluster = Cluster::start(3, 0, &[GROUP]).await;
    let index = cluster.propose(GROUP, entry("key", "one")).await;
    cluster.agree(GROUP, index).await;
    let leader = cluster.leader(GROUP).await;
    let (&old, gone) = cluster.members.iter().find(|(_, member)| member.node != leader).unwrap();
    let (new, there) = (ReplicaId(4 * 256), name(4));
    let gone = gone.node.clone();
    cluster.kill(&gone);
    cluster.members.remove(&old);
    cluster.members.insert(new, Member { node: there.clone(), voter: true });
    cluster.disks.insert(there.clone(), SimDisk::new());
    let comes = cluster.start_unadmitted(&there).await;
    comes.consensus.admit(GROUP);
    comes.consensus.tell(GROUP, cluster.members.clone()).unwrap();
    cluster.nodes.insert(there.clone(), comes);

    let not_there_yet = change(&cluster, MemberChange::Replace { remove: old, add: new }).await;
    assert!(matches!(not_there_yet, Err(ChangeError::Conflict { .. })), "{not_there_yet:?}");
    let before = cluster.nodes[&leader].consensus.membership(GROUP).unwrap();
    change(&cluster, MemberChange::AddLearner { replica: new, node: there.clone() }).await.unwrap();
    let leader = cluster.leader(GROUP).await;
    let consensus = &cluster.nodes[&leader].consensus;
    let late = consensus.change(GROUP, before.log_id, MemberChange::Remove { replica: new }, WITHIN).await;
    assert!(matches!(late, Err(ChangeError::Conflict { .. })), "{late:?}");
    assert_eq!(consensus.membership(GROUP).unwrap().learners, [(new, there.clone())].into());

    change(&cluster, MemberChange::Replace { remove: old, add: new }).await.unwrap();
    let membership = cluster.nodes[&leader].consensus.membership(GROUP).unwrap();
    assert_eq!(
        membership.voters.keys().copied().collect::<Vec<_>>(),
        cluster.members.keys().copied().collect::<Vec<_>>()
    );
    assert!(membership.learners.is_empty() && before.log_id < membership.log_id);
    let index = cluster.propose(GROUP, entry("key", "two")).await;
    cluster.agree(GROUP, index).await;
    // the newcomer's vote counts: one of the two old ones goes
    let other = cluster.nodes.keys().find(|node| **node != leader && **node != there).unwrap().clone();
    cluster.kill(&other);
    let index = cluster.propose(GROUP, entry("key", "three")).await;
    cluster.agree(GROUP, index).await;
}

#[tokio::test]
async fn learners_come_and_go_and_only_the_leader_changes_anything() {
    let cluster = Cluster::start(3, 1, &[GROUP]).await;
    let index = cluster.propose(GROUP, entry("key", "one")).await;
    cluster.agree(GROUP, index).await;
    let leader = cluster.leader(GROUP).await;
    let learner = ReplicaId(4 * 256);
    let consensus = |node| &cluster.nodes[node].consensus;
    let follower = cluster.nodes.keys().find(|node| **node != leader).unwrap();
    let membership = consensus(follower).membership(GROUP).unwrap();
    let refused = consensus(follower)
        .change(GROUP, membership.log_id, MemberChange::Remove { replica: learner }, Duration::from_secs(5))
        .await;
    assert_eq!(refused, Err(ChangeError::NotLeader));
    let voters: BTreeSet<_> = [256, 512, 768, 1024].map(ReplicaId).into();
    // Until the learner's own entry, which a leader appends by itself, is committed, nothing else changes.
    let began = Instant::now();
    while let Err(conflict) = change(&cluster, MemberChange::SetVoters(voters.clone())).await {
        assert!(matches!(conflict, ChangeError::Conflict { .. }) && began.elapsed() < WITHIN, "{conflict:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(consensus(&leader).membership(GROUP).unwrap().voters.len(), 4);
    let voters = [256, 512, 768].map(ReplicaId).into();
    change(&cluster, MemberChange::SetVoters(voters)).await.unwrap();
    let membership = consensus(&leader).membership(GROUP).unwrap();
    assert_eq!((membership.voters.len(), membership.learners.len()), (3, 0));
}
