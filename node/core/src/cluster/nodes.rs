//! Nodes that join: a redeemed token makes a node's row. In the cluster group it votes where its vote makes the cluster
//! stronger (`votes.rs`), else it learns; it fills no slot until a shard is created on it. Not here: the token (`cluster/tokens.rs`), the nodes of the beginning
//! (`cluster/found.rs`).

use strongroom_format::enrolment::NodeAddresses;
use strongroom_format::id::{GroupId, NodeName, PublicKey, RegionName, ReplicaId, Slot};
use strongroom_format::outcome::Refusal;

use crate::cluster::members;
use crate::cluster::rows::{FactsRow, NodeRow};
use crate::cluster::votes;
use crate::genesis::Genesis;
use crate::row::Space;
use crate::stop::{Ruled, impossible, invalid, limit};
use crate::tables::Tables;

/// Who joins.
pub(crate) struct Joining<'a> {
    pub(crate) name: &'a NodeName,
    pub(crate) region: &'a RegionName,
    pub(crate) addresses: &'a NodeAddresses,
    pub(crate) signing_key: PublicKey,
}

/// Puts the row of a node that never was before. Names, keys and addresses are one node's.
pub(crate) fn join(tables: &mut dyn Tables, index: u64, joining: &Joining<'_>) -> Ruled<ReplicaId> {
    let space = Space::whole();
    let key = (joining.name.clone(),);
    if space.has::<NodeRow>(&*tables, &key)? {
        return Err(Refusal::NameRetired.into());
    }
    let others = space.range::<NodeRow>(&*tables, &(), Genesis::NODES_MAX + 1)?;
    if Genesis::NODES_MAX <= others.len() {
        return Err(limit("nodes"));
    }
    let NodeAddresses { peer, tenant, operator } = joining.addresses;
    let ours = [peer, tenant, operator];
    for (_, other) in &others {
        if other.signing_key == joining.signing_key {
            return Err(invalid("the signing key is another node's"));
        }
        if [&other.peer, &other.tenant, &other.operator].into_iter().any(|theirs| ours.contains(&theirs)) {
            return Err(invalid("an address is another node's"));
        }
    }
    if peer == tenant || peer == operator || tenant == operator {
        return Err(invalid("two listeners have one address"));
    }
    let facts: Option<FactsRow> = space.get(&*tables, &())?;
    let mut facts = facts.ok_or_else(|| impossible("a node joins no cluster"))?;
    if !facts.regions.contains(joining.region) {
        if Genesis::NODES_MAX <= facts.regions.len() {
            return Err(limit("regions"));
        }
        facts.regions.push(joining.region.clone());
        space.put(tables, &(), &facts)?;
    }
    let replica = members::allot(tables, GroupId::CLUSTER, index, Slot(0))?;
    let row = NodeRow {
        name: joining.name.clone(),
        region: joining.region.clone(),
        peer: peer.clone(),
        tenant: tenant.clone(),
        operator: operator.clone(),
        signing_key: joining.signing_key,
        replica,
        votes: false,
        ordinal: votes::next_ordinal(&*tables)?,
    };
    space.put(tables, &key, &row)?;
    votes::recount(tables, &facts)?;
    Ok(replica)
}
