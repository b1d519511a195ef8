//! Which replica signs a tenant's audit log, and what a group says of itself.

use std::time::Duration;

use strongroom_core::claims::Claim;
use strongroom_core::entry::{Decided, Filled};
use strongroom_core::query::{Answer, Query};
use strongroom_format::id::{GroupId, ReplicaId, Slot, SnapshotId};
use strongroom_peers::fault::WordFault;
use strongroom_peers::message::CheckpointWanted;
use strongroom_service::gate::{Gate, Loss};
use strongroom_service::majority::{Known, Word};

use crate::world::{SHARD, TENANT, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n134_a_voter_that_is_not_admitted_or_is_lost_signs_no_checkpoint() {
    let mut world = World::new().await;
    let (replica, gate) = (world.shard.members[0].replica, Gate::default());
    let signer = world.signer(gate.clone());
    let Ok(Answer::Head(head)) = world.reads.local(SHARD, &Query::Head { tenant: TENANT, size: None }).await else {
        panic!("the tenant has a log")
    };
    let wanted = CheckpointWanted { group: SHARD, tenant: TENANT, size: head.size, log_index: head.applied };
    let sign = async || signer.sign(wanted, Duration::from_secs(1)).await;
    gate.started(SHARD, replica);
    assert!(matches!(sign().await, Err(WordFault::NotYet { .. })), "it has not asked the others yet");
    assert!(gate.admit(SHARD, replica));
    assert_eq!(sign().await.unwrap().replica, replica);
    assert!(gate.lose(SHARD, replica, Loss::Fenced));
    assert!(matches!(sign().await, Err(WordFault::NotYet { .. })), "it is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n34_a_voter_signs_what_its_own_state_bears_out_and_none_that_is_not_admitted_or_is_lost() {
    let world = World::new().await;
    let replica = world.shard.members[0].replica;
    let so = Claim::from(Filled { group: SHARD, slot: Slot(0), to: replica });
    let not_so = Claim::from(Filled { group: SHARD, slot: Slot(0), to: ReplicaId(replica.0 + 256) });
    let of_another = Claim::from(Filled { group: GroupId(2), slot: Slot(0), to: replica });
    let nobody_opened =
        Claim::from(Decided { home: SHARD, tenant: TENANT, snapshot: SnapshotId::from_bytes([5; 16]), kept: None });
    let claims = vec![so.clone(), not_so.clone(), of_another, nobody_opened];
    let sign = async |index| world.attestor.sign(SHARD, index, claims.clone(), Duration::from_millis(200)).await;
    world.gate.started(SHARD, replica);
    assert!(matches!(sign(0).await, Err(WordFault::NotYet { .. })), "it has not asked the others yet");
    assert!(world.gate.admit(SHARD, replica));
    let signed: Vec<bool> = sign(0).await.unwrap().iter().map(Option::is_some).collect();
    assert_eq!(signed, [true, false, false, false]);
    assert!(matches!(sign(u64::MAX).await, Err(WordFault::NotYet { .. })), "it is not applied here");
    let elsewhere = world.attestor.sign(GroupId(7), 0, vec![so.clone()], Duration::from_millis(200)).await;
    assert_eq!(elsewhere, Err(WordFault::NotAMember));

    // What is collected is what the other group, here the cluster group, believes: it goes by keys.
    world.found_cluster().await;
    let within = Duration::from_secs(10);
    let words = world.majority.collect(GroupId::CLUSTER, &[so.clone(), not_so], Known::Newest, within).await;
    assert!(matches!(&words[..], [Word::Signed(signatures), Word::NotSo] if signatures.len() == 1), "{words:?}");
    assert!(world.gate.lose(SHARD, replica, Loss::Fenced));
    assert!(matches!(sign(0).await, Err(WordFault::NotYet { .. })), "it is lost");
    let words = world.majority.collect(GroupId::CLUSTER, &[so], Known::Newest, within).await;
    assert_eq!(words, [Word::Silence], "nothing is decided by that: it is asked again");
}
