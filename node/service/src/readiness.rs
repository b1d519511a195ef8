//! Whether this node serves: every group in which it has a member runs here, takes part and has a leader.
//!
//! A replica that has just started knows who led when it stopped: that says nothing until the others have admitted it.

use strongroom_consensus::groups::Consensus;
use strongroom_format::id::{GroupId, NodeName};

use crate::gate::Gate;
use crate::topology::InForce;

/// Tells whether this node serves. Clones are the same.
#[derive(Clone)]
pub struct Readiness {
    me: NodeName,
    consensus: Consensus,
    gate: Gate,
    topology: InForce,
}

impl Readiness {
    /// Of node `me`.
    pub fn new(me: NodeName, consensus: Consensus, gate: Gate, topology: InForce) -> Self {
        Self { me, consensus, gate, topology }
    }

    /// The groups that do not serve here yet; none: this node is ready. Before the cluster map is known, the cluster
    /// group itself is named.
    pub fn not_serving(&self) -> Vec<GroupId> {
        let topology = self.topology.now();
        let mine = topology.shards.values().filter(|shard| shard.member(&self.me).is_some()).map(|shard| shard.group);
        let mut groups: Vec<GroupId> = mine.collect();
        groups.push(GroupId::CLUSTER);
        let knows_map = topology.is_followed;
        let serves = |group: &GroupId| {
            (knows_map || *group != GroupId::CLUSTER)
                && self.gate.takes_part(*group)
                && self.consensus.leader(*group).is_some()
        };
        groups.retain(|group| !serves(group));
        groups.sort_unstable();
        groups
    }
}
