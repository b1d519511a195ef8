//! The first entry of the cluster group: whoever leads it before it is founded proposes the genesis. The rules take it
//! once; the same again changes nothing.
//!
//! Not here: making a genesis (`strongroomd init`), founding shards (worker *tenants*, `tenants.rs`).

use std::time::Duration;

use strongroom_consensus::groups::Consensus;
use strongroom_core::entry::{EntryCommand, NodeCommand};
use strongroom_core::genesis::Genesis;
use strongroom_core::query::{Answer, Query};
use strongroom_format::id::GroupId;

use crate::propose::Proposer;
use crate::reads::Reads;

/// How often it is looked whether the group is founded.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// An entry that takes longer is given up; the next round tries again.
const WITHIN: Duration = Duration::from_secs(5);

/// Runs until this node's replica knows the cluster.
pub async fn found(consensus: Consensus, reads: Reads, proposer: Proposer, genesis: Genesis) {
    loop {
        if matches!(reads.local(GroupId::CLUSTER, &Query::ClusterMap).await, Ok(Answer::ClusterMap(_))) {
            return;
        }
        if consensus.leads(GroupId::CLUSTER) {
            let command = EntryCommand::Node(NodeCommand::Found(genesis.clone()));
            match proposer.propose(GroupId::CLUSTER, vec![command], WITHIN).await {
                Ok(applied) => {
                    tracing::info!(index = applied.index, outcome = ?applied.outcomes.first(), "proposed the genesis")
                }
                Err(fault) => tracing::warn!(%fault, "the genesis was not applied; trying again"),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
