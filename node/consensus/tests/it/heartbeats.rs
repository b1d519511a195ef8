//! Heartbeats of many groups in one message.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use strongroom_consensus::door::HandleError;
use strongroom_consensus::groups::Consensus;
use strongroom_consensus::transport::Message;
use strongroom_format::id::{GroupId, NodeName, ReplicaId};

use crate::cluster::{Cluster, HEARTBEATS, entry, undisturbed};

const APPEND: u8 = 1;

/// So often a leader beats in the profile of these tests.
const BEATS_EACH_SECOND: u64 = 5;

fn groups(count: u32) -> Vec<GroupId> {
    (0..count).map(GroupId).collect()
}

/// A cluster in which every group has a leader.
async fn led(groups: &[GroupId]) -> Cluster {
    let cluster = Cluster::start(3, 0, groups).await;
    for &group in groups {
        let index = cluster.propose(group, entry("key", "val")).await;
        cluster.agree(group, index).await;
    }
    cluster
}

async fn leaders_and_terms(cluster: &Cluster) -> BTreeMap<GroupId, (NodeName, u64)> {
    let mut leaders = BTreeMap::new();
    for &group in &cluster.groups {
        let leader = cluster.leader(group).await;
        let term = cluster.nodes[&leader].status(group).term;
        leaders.insert(group, (leader, term));
    }
    leaders
}

#[tokio::test]
async fn heartbeats_of_all_groups_to_a_node_travel_in_one_message() {
    const SECONDS: u64 = 3;
    let cluster = led(&groups(12)).await;
    let sent = || (cluster.net.sent(HEARTBEATS), cluster.net.sent(APPEND));
    // on a machine that has no time for a group, the group elects and counts for nothing: then once more
    undisturbed(async || {
        let before = leaders_and_terms(&cluster).await;
        let began = std::time::Instant::now();
        let (together, alone) = sent();
        tokio::time::sleep(Duration::from_secs(SECONDS)).await;
        let (together, alone) = (sent().0 - together, sent().1 - alone);
        let beats = BEATS_EACH_SECOND * (began.elapsed().as_secs() + 1);
        if leaders_and_terms(&cluster).await != before {
            return Err("there was an election".into());
        }
        // 12 groups × 2 followers × 15 beats are 360 heartbeats, in at most 3 × 2 × 15 messages
        let ways = 3 * 2;
        println!("{together} messages of many heartbeats, {alone} heartbeats alone");
        // a heartbeat whose replica is slow is sent again alone, on a busy machine now and then
        let is_together = together <= ways * beats && alone < 180;
        match BEATS_EACH_SECOND * SECONDS <= together {
            true if is_together => Ok(()),
            _ => Err(format!("{together} messages, {alone} of 360 heartbeats alone")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_is_slower_than_others_is_asked_alone_and_stays_led() {
    let cluster = led(&groups(3)).await;
    cluster.net.all_not_yet.store(true, Ordering::Relaxed);
    undisturbed(async || {
        let before = leaders_and_terms(&cluster).await;
        let alone = cluster.net.sent(APPEND);
        // three times the longest election
        tokio::time::sleep(Duration::from_millis(2400)).await;
        let alone = cluster.net.sent(APPEND) - alone;
        match leaders_and_terms(&cluster).await == before {
            // half of what 12 beats of 3 groups to 2 followers are
            true if 3 * 2 * 6 < alone => Ok(()),
            missed => Err(format!("a leader was missed: {}; {alone} heartbeats went alone", !missed)),
        }
    })
    .await;
}

/// Where the parts of the first heartbeat lie in a message: behind the version and the count.
const GROUP: usize = 5;
const FROM: usize = 9;
const TO: usize = 17;

fn with(message: &Message, at: usize, bytes: &[u8]) -> Message {
    let mut body = message.body.to_vec();
    body[at..at + bytes.len()].copy_from_slice(bytes);
    Message { body: Bytes::from(body), ..message.clone() }
}

/// What an answer says of each heartbeat: whether it was heard, or refused. `None`: some replica had not answered yet.
fn answers(answer: &[u8]) -> Option<Vec<bool>> {
    let (head, mut rest) = answer.split_at(5);
    let mut heard = Vec::new();
    while let [first, ..] = rest {
        heard.push(*first == 0);
        rest = match rest {
            // heard: done, done up to nothing, up to an entry, a conflict, a higher vote
            [0, 0, rest @ ..] | [0, 1, 0, rest @ ..] | [0, 2, rest @ ..] => rest,
            [0, 1, 1, rest @ ..] => &rest[16..],
            [0, 3, rest @ ..] => &rest[17..],
            [2, rest @ ..] => rest,
            [1, ..] => return None,
            other => panic!("no answer to a heartbeat: {other:?}"),
        };
    }
    assert_eq!(head, [1, heard.len() as u8, 0, 0, 0]);
    Some(heard)
}

/// Asks until all replicas have answered.
async fn ask(target: &Consensus, from: &NodeName, message: Message) -> Vec<bool> {
    loop {
        if let Some(answers) = answers(&target.handle(from, message.clone()).await.unwrap()) {
            return answers;
        }
    }
}

#[tokio::test]
async fn n95_a_heartbeat_in_anothers_name_is_refused_and_those_beside_it_are_heard() {
    let cluster = led(&groups(4)).await;
    // of four groups on three nodes, some node leads two
    let (from, to, message) = cluster.net.next_heartbeats().await;
    let target = &cluster.nodes[&to].consensus;
    let count = usize::from(message.body[1]);
    let ask = async |node: &NodeName, message: Message| ask(target, node, message).await;
    assert_eq!(ask(&from, message.clone()).await, vec![true; count]);

    let mut only_first = vec![true; count];
    only_first[0] = false;
    let third = cluster.members.iter().find(|(_, member)| member.node != from && member.node != to).unwrap();
    let (&third_replica, third) = third;
    let as_third = with(&message, FROM, &third_replica.0.to_le_bytes());
    assert_eq!(ask(&from, as_third.clone()).await, only_first, "the sending node does not hold that replica");
    let unknown = with(&message, FROM, &257_u64.to_le_bytes());
    assert_eq!(ask(&from, unknown).await, only_first, "nobody holds that replica");
    let not_here = with(&message, TO, &third_replica.0.to_le_bytes());
    assert_eq!(ask(&from, not_here).await, only_first, "the replica is not here");
    let no_group = with(&message, GROUP, &77_u32.to_le_bytes());
    assert_eq!(ask(&from, no_group).await, only_first, "the group is not here");

    assert_eq!(ask(&"x9".parse().unwrap(), message.clone()).await, vec![false; count], "a stranger sent them");
    assert_eq!(ask(&third.node, message).await, vec![false; count], "another member sent them");
    let only_thirds = ask(&third.node, as_third).await;
    assert_eq!(only_thirds[1..], vec![false; count - 1], "what another sends in its own name is not the others'");
}

#[tokio::test]
async fn what_is_no_message_of_heartbeats_is_refused_whole() {
    let cluster = led(&groups(4)).await;
    let (from, to, message) = cluster.net.next_heartbeats().await;
    let target = &cluster.nodes[&to].consensus;
    let refused = async |message: Message| match target.handle(&from, message).await {
        Err(HandleError::Malformed(why)) => why,
        other => panic!("{other:?}"),
    };
    let body = |body: Vec<u8>| Message { body: Bytes::from(body), ..message.clone() };
    let one = &message.body[5..];
    // one heartbeat is between 37 and 71 bytes: here as many as there are in the message, again and again
    let many = |times: usize| {
        let count = (usize::from(message.body[1]) * times) as u32;
        body([&[1], count.to_le_bytes().as_slice(), &one.repeat(times)].concat())
    };
    refused(many(150)).await;
    let long = refused(body(vec![1; 1 << 20])).await;
    assert!(long.contains("at most"), "{long}");
    refused(body([&[1, 1, 0, 0, 0], &message.body[..]].concat())).await;
    refused(body([&message.body[..], &message.body[..]].concat())).await;
    refused(body(vec![1, 0, 0, 0, 0])).await;
    refused(Message { group: GroupId(1), ..message.clone() }).await;
    refused(Message { from: ReplicaId(256), ..message.clone() }).await;
    refused(Message { to: ReplicaId(512), ..message.clone() }).await;
    cluster.check_health();
}

#[tokio::test]
async fn a_replica_that_is_not_admitted_is_not_asked_beside_others_either() {
    let mut cluster = led(&groups(4)).await;
    let (from, to, message) = cluster.net.next_heartbeats().await;
    cluster.kill(&to);
    let waits = cluster.start_unadmitted(&to).await;
    let count = message.body[1].into();
    assert_eq!(ask(&waits.consensus, &from, message).await, vec![false; count]);
}
