//! What callers can rely on: deadlines, what was surely not sent, who is suspect, bounded windows.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use strongroom_format::command::MemberSignature;
use strongroom_format::id::{BlobId, Digest, GroupId, ReplicaId, Signature, TenantId};
use strongroom_peers::error::PeerError;
use strongroom_peers::fault::{FetchFault, PutFault};
use strongroom_peers::message::{
    CheckpointWanted, ClaimsWanted, FragmentsWanted, Known, KnownPosition, Proposed, Queried, RaftClass,
};
use strongroom_peers::peers::Peers;

use crate::world::{World, n2, put, raft};

/// Long enough for anything, on a loaded machine too.
const SOON: Duration = Duration::from_secs(60);

async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..12_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came to pass: {what}");
}

fn is_up(peers: &Peers) -> bool {
    peers.health(&n2()).is_some_and(|health| health.is_up())
}

#[tokio::test]
async fn every_kind_of_call_is_answered_with_the_callers_own_name() {
    let world = World::new();
    let server = world.serve("n2", "127.0.0.1:0").await;
    let peers = world.peers(&server.address).await;
    let about = peers.ping(&n2(), SOON).await.unwrap();
    assert_eq!((about.node.as_str(), about.version.as_str()), ("n2", "0.1.0"));
    for class in [RaftClass::Heartbeat, RaftClass::Bulk] {
        let answer = peers.raft(&n2(), class, raft(1, 300_000), SOON).await.unwrap();
        assert!(answer.starts_with(b"n1 ") && answer.ends_with(b" 300000"), "{answer:?}");
    }
    let refused = peers.raft(&n2(), RaftClass::Bulk, raft(0, 1), SOON).await.unwrap_err();
    assert_eq!(refused, PeerError::Refused { node: n2(), why: "n1 may not".into() });
    let applied = peers.propose(&n2(), GroupId(1), Bytes::from_static(b"entry"), SOON).await.unwrap();
    assert_eq!(applied, Proposed::Applied { index: 7, answer: Bytes::from(format!("n1 5 {SOON:?}")) });
    let elsewhere = peers.propose(&n2(), GroupId(2), Bytes::new(), SOON).await.unwrap();
    assert_eq!(elsewhere, Proposed::NotLeader { leader: Some("n1".parse().unwrap()) });
    let answer = peers.query(&n2(), GroupId(1), Bytes::from_static(b"?"), SOON).await.unwrap();
    assert_eq!(answer, Queried::Answer(Bytes::from_static(b"?")));
    until("a probe is answered", || is_up(&peers)).await;
    assert_eq!(peers.health(&n2()).unwrap().version().as_deref(), Some("0.1.0"));
}

#[tokio::test]
async fn words_about_voters_are_told_refused_or_put_off() {
    let world = World::new();
    let server = world.serve("n2", "127.0.0.1:0").await;
    let peers = world.peers(&server.address).await;
    let known = async |group| peers.known(&n2(), GroupId(group), ReplicaId(77), SOON).await;
    let position = |vote_term| KnownPosition { vote_term, last_index: 77 };
    assert_eq!(known(1).await, Ok(Known { of_it: position(4), own: position(5), leads_since_founding: true }));
    assert_eq!(known(2).await, Err(PeerError::NotYet { node: n2(), why: "starting".into() }));
    assert!(matches!(known(3).await, Err(PeerError::Refused { .. })));

    let tenant = TenantId::from_bytes([3; 16]);
    let signed = async |group| {
        let wanted = CheckpointWanted { group: GroupId(group), tenant, size: 5, log_index: 6 };
        peers.sign_checkpoint(&n2(), wanted, SOON).await
    };

    let previous = Digest::from_bytes([8; 32]);
    peers.ping(&n2(), SOON).await.unwrap();
    until("n2 is well", || !peers.is_suspect(&n2())).await;
    let report = async |group| peers.report(&n2(), GroupId(group), previous, SOON).await;
    let told = report(1).await.unwrap();
    assert_eq!((told.facts, told.signature), (Bytes::from(format!("n1 {previous}")), Signature([5; 64])));
    assert_eq!(report(2).await, Err(PeerError::NotYet { node: n2(), why: "behind".into() }));
    assert!(matches!(report(3).await, Err(PeerError::Refused { .. })));
    assert_eq!(signed(1).await, Ok(MemberSignature { replica: ReplicaId(5), signature: Signature([6; 64]) }));
    assert_eq!(signed(2).await, Err(PeerError::NotYet { node: n2(), why: "behind".into() }));
    assert!(matches!(signed(3).await, Err(PeerError::Refused { .. })));
    let claimed = async |group| {
        let wanted = ClaimsWanted { group: GroupId(group), log_index: 6, claims: Bytes::from_static(&[4, 0]) };
        peers.sign_claims(&n2(), wanted, SOON).await
    };
    assert_eq!(claimed(1).await, Ok(vec![Some(Signature([4; 64])), None]));
    assert_eq!(claimed(2).await, Err(PeerError::NotYet { node: n2(), why: "behind".into() }));
    assert!(matches!(claimed(3).await, Err(PeerError::Refused { .. })));
    assert!(!peers.is_suspect(&n2()), "a refusal is no failure");
}

#[tokio::test]
async fn raft_messages_arrive_in_the_order_in_which_they_were_given() {
    let world = World::new();
    let server = world.serve("n2", "127.0.0.1:0").await;
    let peers = world.peers(&server.address).await;
    let ask = |length: usize| {
        let peers = peers.clone();
        async move { peers.raft(&n2(), RaftClass::Bulk, raft(1, length), SOON).await.unwrap() }
    };
    let answers = futures_util::future::join_all((0..200).map(ask)).await;
    for (place, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer, format!("n1 {place} {place}"));
    }
}

#[tokio::test]
async fn fragments_are_put_side_by_side_and_refusals_keep_their_reason() {
    let world = World::new();
    let server = world.serve("n2", "127.0.0.1:0").await;
    let peers = world.peers(&server.address).await;
    // More than the window holds: the rest waits.
    let node = n2();
    let puts = (0..96).map(|_| peers.put_fragment(&node, put(1, 1 << 20), SOON));
    let puts = puts.collect::<Vec<_>>();
    for done in futures_util::future::join_all(puts).await {
        done.unwrap();
    }
    assert_eq!(server.seen.puts.load(Ordering::SeqCst), 96);
    let refused = peers.put_fragment(&n2(), put(9, 100), SOON).await.unwrap_err();
    assert_eq!(refused, PeerError::Put { node: n2(), fault: PutFault::BudgetExceeded });
    assert!(refused.surely_not_sent());
}

#[tokio::test]
async fn fragments_come_with_their_place_and_absent_ones_are_named() {
    let world = World::new();
    let server = world.serve("n2", "127.0.0.1:0").await;
    let peers = world.peers(&server.address).await;
    let blob = BlobId::from_bytes([7; 32]);
    let wanted = FragmentsWanted {
        group: GroupId(1),
        tenant: TenantId::from_bytes([1; 16]),
        wanted: vec![(blob, 1), (blob, 9), (blob, 3)],
    };
    let mut fragments = peers.get_fragments(&n2(), &wanted, SOON).await.unwrap();
    let mut found = Vec::new();
    while let Some(next) = fragments.next().await {
        let (at, fragment) = next.unwrap();
        found.push((at, fragment.map(|fragment| (fragment.payload.len(), fragment.payload[0]))));
    }
    found.sort_unstable();
    assert_eq!(found, [(0, Ok((100_000, 1))), (1, Err(FetchFault::Absent)), (2, Ok((100_000, 3)))]);
}

#[tokio::test]
async fn a_node_that_is_not_there_got_nothing_and_is_suspect_until_it_is() {
    let world = World::new();
    let server = world.serve("n2", "127.0.0.1:0").await;
    let address = server.address.clone();
    drop(server);
    let peers = world.peers(&address).await;
    let error = peers.propose(&n2(), GroupId(1), Bytes::new(), SOON).await.unwrap_err();
    assert!(matches!(error, PeerError::Unreachable { .. } | PeerError::Suspect { .. }), "{error}");
    assert!(error.surely_not_sent());
    until("it is suspect", || peers.is_suspect(&n2())).await;
    let error = peers.put_fragment(&n2(), put(1, 10), SOON).await.unwrap_err();
    assert_eq!(error, PeerError::Suspect { node: n2() });
    let _server = world.serve("n2", &address).await;
    until("it is up", || is_up(&peers)).await;
    peers.put_fragment(&n2(), put(1, 10), SOON).await.unwrap();
}

#[tokio::test]
async fn a_node_that_stalls_breaks_what_it_had_got_and_is_suspect_until_its_penance_is_over() {
    let world = World::new();
    let server = world.serve("n2", "127.0.0.1:0").await;
    let peers = world.peers(&server.address).await;
    peers.put_fragment(&n2(), put(1, 10), SOON).await.unwrap();
    server.seen.hold.store(true, Ordering::SeqCst);
    let waiting = tokio::spawn({
        let peers = peers.clone();
        async move { peers.put_fragment(&n2(), put(1, 10), Duration::from_secs(60)).await }
    });
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, PeerError::Broken { .. }), "{error}");
    assert!(!error.surely_not_sent());
    assert!(peers.is_suspect(&n2()));
    server.seen.hold.store(false, Ordering::SeqCst);
    until("it is up", || is_up(&peers)).await;
}

#[tokio::test]
async fn a_deadline_is_kept_and_what_was_sent_is_not_called_unsent() {
    let world = World::new();
    let server = world.serve("n2", "127.0.0.1:0").await;
    let peers = world.peers(&server.address).await;
    // With a connection that is there, so that a second is enough to send it.
    peers.ping(&n2(), SOON).await.unwrap();
    peers.put_fragment(&n2(), put(1, 10), SOON).await.unwrap();
    let short = Duration::from_secs(1);
    let error = peers.propose(&n2(), GroupId(3), Bytes::new(), short).await.unwrap_err();
    assert_eq!(error, PeerError::Late { node: n2() });
    assert!(!error.surely_not_sent());
    server.seen.hold.store(true, Ordering::SeqCst);
    let error = peers.put_fragment(&n2(), put(1, 10), short).await.unwrap_err();
    assert_eq!(error, PeerError::Late { node: n2() });
}

#[tokio::test]
async fn what_waits_for_one_node_is_bounded_and_more_is_busy() {
    let world = World::new();
    let server = world.serve("n2", "127.0.0.1:0").await;
    let peers = world.peers(&server.address).await;
    peers.put_fragment(&n2(), put(1, 10), SOON).await.unwrap();
    server.seen.hold.store(true, Ordering::SeqCst);
    let node = n2();
    let many = (0..40).map(|_| peers.put_fragment(&node, put(1, 1 << 20), Duration::from_millis(300)));
    let errors = futures_util::future::join_all(many.collect::<Vec<_>>()).await;
    let busy = errors.iter().filter(|error| matches!(error, Err(PeerError::Busy { .. }))).count();
    let late = errors.iter().filter(|error| matches!(error, Err(PeerError::Late { .. }))).count();
    assert_eq!(busy + late, 40);
    assert!((8..40).contains(&busy), "{busy}");
}

#[tokio::test]
async fn n95_another_node_at_the_address_gets_nothing() {
    let world = World::new();
    let other = world.serve("n3", "127.0.0.1:0").await;
    let peers = world.peers(&other.address).await;
    let error = peers.ping(&n2(), SOON).await.unwrap_err();
    assert!(matches!(error, PeerError::Unreachable { .. }), "{error}");
    assert!(peers.put_fragment(&n2(), put(1, 10), SOON).await.is_err());
    assert_eq!(other.seen.puts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_node_that_nobody_named_is_not_known() {
    let world = World::new();
    let peers = world.peers("127.0.0.1:1").await;
    let n9 = "n9".parse().unwrap();
    assert_eq!(peers.ping(&n9, SOON).await.unwrap_err(), PeerError::NoSuchNode { node: n9 });
}
