//! Learners, and strangers at the door.

use std::time::Duration;

use bytes::Bytes;
use strongroom_consensus::door::HandleError;
use strongroom_consensus::transport::Message;
use strongroom_format::id::{GroupId, ReplicaId};

use crate::cluster::{Cluster, GROUP, WITHIN, entry, name};

#[tokio::test]
async fn learners_of_the_founding_follow_and_do_not_vote() {
    let cluster = Cluster::start(3, 2, &[GroupId(0)]).await;
    let index = cluster.propose(GroupId(0), entry("key", "val")).await;
    cluster.agree(GroupId(0), index).await;
    let leader = cluster.leader(GroupId(0)).await;
    let members = || cluster.nodes[&leader].status(GroupId(0)).members;
    let voters: Vec<bool> = members().iter().map(|member| member.voter).collect();
    assert_eq!(voters, [true, true, true, false, false]);
    let all_known = async {
        while !members().iter().all(|member| Some(index) <= member.matched) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WITHIN, all_known).await.unwrap();
}

#[tokio::test]
async fn n95_messages_of_strangers_and_of_members_in_anothers_name_are_refused() {
    let cluster = Cluster::start(3, 0, &[GROUP]).await;
    let index = cluster.propose(GROUP, entry("key", "val")).await;
    cluster.agree(GROUP, index).await;
    let target = &cluster.nodes[&name(2)].consensus;
    let message = |from, to| Message { group: GROUP, from, to, kind: 2, body: Bytes::new() };
    let (ours, theirs) = (ReplicaId(512), ReplicaId(256));

    let stranger = target.handle(&"x9".parse().unwrap(), message(theirs, ours)).await;
    assert!(matches!(stranger, Err(HandleError::NotAMember { .. })));
    let other_member = target.handle(&name(3), message(theirs, ours)).await;
    assert!(matches!(other_member, Err(HandleError::NotAMember { .. })));
    let unknown_replica = target.handle(&name(1), message(ReplicaId(257), ours)).await;
    assert!(matches!(unknown_replica, Err(HandleError::NotAMember { .. })));
    let not_here = target.handle(&name(1), message(theirs, ReplicaId(513))).await;
    assert!(matches!(not_here, Err(HandleError::NotForUs { .. })));
    let no_group = target.handle(&name(1), Message { group: GroupId(77), ..message(theirs, ours) }).await;
    assert_eq!(no_group, Err(HandleError::NoSuchGroup(GroupId(77))));
    for kind in [0, 1, 2, 3, 4, 5, 6, 7, 255] {
        let empty = target.handle(&name(1), Message { kind, ..message(theirs, ours) }).await;
        assert!(matches!(empty, Err(HandleError::Malformed(_))), "kind {kind}: {empty:?}");
    }
    cluster.check_health();
}

#[tokio::test]
async fn a_voter_that_was_down_at_the_founding_joins_when_it_comes() {
    let mut cluster = Cluster::start(3, 0, &[]).await;
    cluster.groups = vec![GROUP];
    cluster.kill(&name(1));
    for number in [2, 3] {
        cluster.kill(&name(number));
        cluster.restart(&name(number)).await;
    }
    // the first voter is away: another founds after a while
    let index = cluster.propose(GROUP, entry("key", "val")).await;
    cluster.restart(&name(1)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    cluster.agree(GROUP, index).await;
}
