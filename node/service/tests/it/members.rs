//! What a member takes and gives, and the way of a blob in and out.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use strongroom_format::code::Strength;
use strongroom_format::fragment::CopyName;
use strongroom_format::id::{BlobId, LeaseId, TenantId};
use strongroom_peers::fault::{FetchFault, PutFault};
use strongroom_peers::message::FragmentsWanted;
use strongroom_service::holders::Wanted;
use strongroom_service::spread::{SpreadError, Under};
use tokio::sync::mpsc;

use crate::world::{SHARD, TENANT, World, blob, n1, put};

const NONE: Strength = Strength { regions: 0, nodes: 0 };

fn under(world: &World, lease: LeaseId) -> Under {
    Under { shard: Arc::clone(&world.shard), tenant: TENANT, lease, least: NONE }
}

async fn has(world: &World, lease: LeaseId, blob: BlobId) -> bool {
    world.store.has(TENANT, vec![CopyName { blob, index: 0, group: SHARD, lease }]).await.unwrap()[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n97_a_node_that_is_no_member_of_the_shard_neither_puts_nor_gets() {
    let world = World::new().await;
    let (_, lease) = world.open_session(1 << 20).await;
    let stranger = || "n9".parse().unwrap();
    let one = put(lease, 1000, 1);
    assert_eq!(world.members.put(stranger(), one.clone()).await, Err(PutFault::NotAMember));
    assert!(!has(&world, lease, one.blob).await);
    assert_eq!(world.members.put(n1(), one.clone()).await, Ok(()));
    assert!(has(&world, lease, one.blob).await);
    let wanted = |tenant| FragmentsWanted { group: SHARD, tenant, wanted: vec![(one.blob, 0), (one.blob, 1)] };
    let mut got: Vec<_> = world.members.get(n1(), wanted(TENANT)).collect().await;
    got.sort_by_key(|(at, _)| *at);
    assert_eq!(got[0].1.as_ref().unwrap().payload, one.payload);
    assert_eq!(got[1].1, Err(FetchFault::Absent));
    for (_, fragment) in world.members.get(stranger(), wanted(TENANT)).collect::<Vec<_>>().await {
        assert_eq!(fragment, Err(FetchFault::NotAMember));
    }
    // Another tenant's question finds nothing.
    for (_, fragment) in world.members.get(n1(), wanted(TenantId::from_bytes([9; 16]))).collect::<Vec<_>>().await {
        assert_eq!(fragment, Err(FetchFault::Absent));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_under_a_lease_that_is_not_open_or_is_anothers() {
    let world = World::new().await;
    let (session, lease) = world.open_session(1 << 20).await;
    let never = LeaseId(1 << 12);
    assert_eq!(world.members.put(n1(), put(never, 1000, 1)).await, Err(PutFault::LeaseEnded));
    let mut foreign = put(lease, 1000, 1);
    foreign.tenant = TenantId::from_bytes([9; 16]);
    assert_eq!(world.members.put(n1(), foreign).await, Err(PutFault::LeaseEnded));
    let mut wrong = put(lease, 1000, 1);
    wrong.index = 1;
    assert_eq!(world.members.put(n1(), wrong).await, Err(PutFault::Malformed));
    let mut cut = put(lease, 1000, 1);
    cut.payload.truncate(999);
    assert_eq!(world.members.put(n1(), cut).await, Err(PutFault::Malformed));
    assert_eq!(world.members.put(n1(), put(lease, 1000, 1)).await, Ok(()));
    world.end_session(session).await;
    // What was read about the lease counts for half a second.
    let ended = async {
        let mut seed = 2;
        while world.members.put(n1(), put(lease, 1000, seed)).await != Err(PutFault::LeaseEnded) {
            seed += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the lease ends for members too");
    let (id, bytes) = blob(1000, 99);
    let refused = world.spread.place(&under(&world, lease), id, bytes).await;
    assert!(matches!(refused, Err(SpreadError::LeaseEnded)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_takes_its_budget_and_a_quarter_more_and_then_nothing_reaches_the_disk() {
    let world = World::new().await;
    let (_, lease) = world.open_session(1 << 20).await;
    for seed in 0..5 {
        assert_eq!(world.members.put(n1(), put(lease, 1 << 18, seed)).await, Ok(()));
    }
    let beyond = put(lease, 1, 9);
    assert_eq!(world.members.put(n1(), beyond.clone()).await, Err(PutFault::BudgetExceeded));
    assert!(!has(&world, lease, beyond.blob).await);
    let (id, bytes) = blob(1000, 9);
    let refused = world.spread.place(&under(&world, lease), id, bytes).await;
    assert!(matches!(refused, Err(SpreadError::BudgetExceeded)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_comes_out_as_it_went_in_and_a_lost_one_is_called_lost() {
    let world = World::new().await;
    let (_, lease) = world.open_session(32 << 20).await;
    let under = under(&world, lease);
    let mut wanted = Vec::new();
    for (bytes, seed) in [(1, 1), (4096, 2), (3 << 20, 3)] {
        let (id, content) = blob(bytes, seed);
        let placed = world.spread.place(&under, id, content).await.unwrap();
        assert!(placed.handed_over.is_empty() && placed.missing.is_empty() && placed.slots_missed.is_empty());
        wanted.push(Wanted { blob: id, blob_bytes: placed.blob_bytes, handed_over: vec![], missing: vec![] });
    }
    let (never, _) = blob(77, 77);
    wanted.push(Wanted { blob: never, blob_bytes: 77, handed_over: vec![], missing: vec![] });
    let (out, mut gathered) = mpsc::channel(16);
    let stats = world.gather.gather(&world.shard, TENANT, &wanted, &out).await;
    drop(out);
    assert_eq!((stats.fragments_bad, stats.blobs_rebuilt), (1, 0));
    let mut came = 0;
    while let Some(one) = gathered.recv().await {
        came += 1;
        match one.blob {
            Ok(blob) => assert_eq!(blake3::hash(&blob).as_bytes(), wanted[one.at].blob.as_bytes()),
            Err(_) => assert_eq!(one.at, 3),
        }
    }
    assert_eq!(came, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n33_a_blob_that_is_not_what_was_declared_leaves_nothing_behind() {
    let world = World::new().await;
    let (_, lease) = world.open_session(1 << 20).await;
    let (id, _) = blob(1000, 1);
    let (_, other) = blob(1000, 2);
    let refused = world.spread.place(&under(&world, lease), id, other).await;
    assert!(matches!(refused, Err(SpreadError::HashMismatch)), "{refused:?}");
    assert!(!has(&world, lease, id).await);
    let (id, empty) = blob(0, 0);
    let refused = world.spread.place(&under(&world, lease), id, empty).await;
    assert!(matches!(refused, Err(SpreadError::Length { .. })), "{refused:?}");
}
