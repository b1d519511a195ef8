//! Shards that come later: an operator names the node in each slot, and the rules of topology judge as they judged at the
//! beginning. Not here: these rules (`topology.rs`), starting the shard's members (`node/service`).

use strongroom_format::id::{GroupId, NodeName, Slot};
use strongroom_format::outcome::Done;

use crate::cluster::at::At;
use crate::cluster::members;
use crate::cluster::rows::{FactsRow, NodeRow, ShardRow, SlotRow};
use crate::genesis::Genesis;
use crate::row::Space;
use crate::stop::{Ruled, impossible, invalid, limit};
use crate::tables::Tables;
use crate::topology::Topology;

/// Creates a shard on nodes that are there.
pub(crate) fn create(tables: &mut dyn Tables, facts: &FactsRow, at: &At, slots: &[NodeName]) -> Ruled<Done> {
    let space = Space::whole();
    let nodes: Vec<((NodeName,), NodeRow)> = space.range(&*tables, &(), Genesis::NODES_MAX)?;
    let shards: Vec<((GroupId,), ShardRow)> = space.range(&*tables, &(), Genesis::SHARDS_MAX)?;
    if Genesis::SHARDS_MAX <= shards.len() {
        return Err(limit("shards"));
    }
    let last = shards.last().map_or(GroupId::CLUSTER, |((group,), _)| *group);
    let group = GroupId(last.0 + 1);
    let topology = Topology {
        region_of: nodes.iter().map(|((name,), node)| (name, &node.region)).collect(),
        accept_region_loss: facts.accept_region_loss,
        single_node: facts.single_node,
    };
    let code = topology.check_shard(group, slots).map_err(|fault| invalid(&fault.to_string()))?;
    for name in slots {
        let on_it = shards.iter().filter(|(_, shard)| shard.slots.iter().any(|slot| slot.node == *name)).count();
        // The cluster group is one of its groups too.
        if Genesis::GROUPS_PER_NODE_MAX <= on_it + 1 {
            return Err(limit("groups on one node"));
        }
    }
    let mut row =
        ShardRow { group, code, slots: Vec::new(), homes: 0, tenants: 0, changing: None, clock_ms: at.clock_ms };
    for (slot, name) in (0..).map(Slot).zip(slots) {
        let region = topology.region_of.get(name).ok_or_else(|| impossible("a checked slot has no node"))?;
        let replica = members::allot(tables, group, at.index, slot)?;
        row.slots.push(SlotRow { slot, region: (*region).clone(), node: name.clone(), replica });
    }
    space.put(tables, &(group,), &row)?;
    Ok(Done::ShardCreated { group, replicas: row.slots.iter().map(|slot| slot.replica).collect() })
}
