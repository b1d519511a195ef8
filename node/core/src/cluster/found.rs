//! The beginning of a cluster: its genesis made into rows, once.

use strongroom_format::id::{GroupId, NodeName, Slot};
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::statement::issuer_digest;

use crate::clock;
use crate::cluster::rows::{AllottedRow, FactsRow, IssuerRow, NodeRow, OperatorRow, ShardRow, SlotRow};
use crate::genesis::{Genesis, GenesisShard, replica_id};
use crate::row::Space;
use crate::rules;
use crate::stop::{Ruled, impossible, invalid};
use crate::tables::{Halt, Tables};

/// Founds the cluster. A second genesis is refused, whatever it says.
pub(crate) fn found(tables: &mut dyn Tables, index: u64, genesis: &Genesis) -> Ruled<Done> {
    let space = Space::whole();
    if space.has::<FactsRow>(&*tables, &())? {
        return Err(Refusal::Immutable.into());
    }
    genesis.check().map_err(|fault| invalid(&fault.to_string()))?;
    rules::establish(tables)?;
    clock::found(tables, genesis.clock_ms)?;
    let facts = FactsRow {
        cluster: genesis.cluster.clone(),
        epoch: genesis.epoch,
        regions: genesis.regions.clone(),
        accept_region_loss: genesis.accept_region_loss,
        single_node: genesis.single_node,
        changing: None,
        electorate_version: 0,
    };
    space.put(tables, &(), &facts)?;
    put_nodes(tables, genesis)?;
    for shard in &genesis.shards {
        let row = shard_row(genesis, index, shard)?;
        for slot in &row.slots {
            space.put(tables, &(shard.group, slot.replica), &AllottedRow {})?;
        }
        space.put(tables, &(shard.group,), &row)?;
    }
    for operator in &genesis.operators {
        let row = OperatorRow { roles: operator.roles.clone(), signing_key: operator.signing_key };
        space.put(tables, &(operator.identity.clone(),), &row)?;
    }
    for issuer in &genesis.issuers {
        let row = IssuerRow {
            plane: issuer.plane,
            certificate: issuer.certificate.clone(),
            tenants: Vec::new(),
            revocations: None,
        };
        space.put(tables, &(issuer_digest(&issuer.certificate),), &row)?;
    }
    Ok(Done::Done)
}

fn put_nodes(tables: &mut dyn Tables, genesis: &Genesis) -> Result<(), Halt> {
    for member in genesis.cluster_members() {
        let node = genesis.node(&member.node).ok_or_else(|| impossible("a member of the genesis is no node"))?;
        let row = NodeRow {
            name: node.name.clone(),
            region: node.region.clone(),
            peer: node.peer.clone(),
            tenant: node.tenant.clone(),
            operator: node.operator.clone(),
            signing_key: node.signing_key,
            replica: member.replica,
            votes: member.votes,
            ordinal: ordinal_of(genesis, &node.name)?,
        };
        Space::whole().put(tables, &(GroupId::CLUSTER, member.replica), &AllottedRow {})?;
        Space::whole().put(tables, &(node.name.clone(),), &row)?;
    }
    Ok(())
}

fn ordinal_of(genesis: &Genesis, name: &NodeName) -> Result<u32, Halt> {
    let place = genesis.nodes.iter().position(|node| node.name == *name);
    place
        .and_then(|place| u32::try_from(place).ok())
        .ok_or_else(|| impossible("a node of the genesis has no place in it"))
}

fn shard_row(genesis: &Genesis, index: u64, shard: &GenesisShard) -> Result<ShardRow, Halt> {
    debug_assert_ne!(shard.group, GroupId::CLUSTER, "shards count from 1");
    let code = genesis.code_of(shard).ok_or_else(|| impossible("a checked shard has no code"))?;
    let slots = (0..)
        .map(Slot)
        .zip(&shard.slots)
        .map(|(slot, name)| {
            let node = genesis.node(name).ok_or_else(|| impossible("a checked slot has no node"))?;
            let (region, node) = (node.region.clone(), node.name.clone());
            Ok(SlotRow { slot, region, node, replica: replica_id(index, slot) })
        })
        .collect::<Result<_, Halt>>()?;
    Ok(ShardRow { group: shard.group, code, slots, homes: 0, tenants: 0, changing: None, clock_ms: genesis.clock_ms })
}
