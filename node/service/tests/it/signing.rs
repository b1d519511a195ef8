//! Which replica signs a tenant's audit log.

use std::time::Duration;

use strongroom_core::query::{Answer, Query};
use strongroom_peers::fault::WordFault;
use strongroom_peers::message::CheckpointWanted;
use strongroom_service::gate::{Gate, Loss};

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
