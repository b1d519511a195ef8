//! What the cluster group tells shards, made of its rows: who they are, and who votes where.
//!
//! The same rows give the same words on every node, so voters can compare before they sign. Not here: the rows
//! (`cluster/rows.rs`), signing (`claims.rs`).

use std::collections::BTreeMap;

use strongroom_format::id::{ClusterEpoch, GroupId, NodeName, PublicKey};
use strongroom_format::receipt::Voters;

use crate::cluster::rows::ShardRow;
use crate::electorates::Electorate;
use crate::entry::{MemberFacts, ShardFacts};
use crate::query::ClusterMap;

impl ClusterMap {
    /// Who votes in a group: what other groups are told. `None` for one that is not there, or whose rows contradict each
    /// other.
    pub fn electorate(&self, group: GroupId) -> Option<Electorate> {
        if group != GroupId::CLUSTER {
            let shard = self.shards.iter().find(|shard| shard.group == group)?;
            return electorate_of(self.epoch, shard, |node| self.key_of(node));
        }
        let voters = self.nodes.iter().filter(|node| node.votes);
        let keys = voters.map(|node| (node.replica, node.signing_key)).collect();
        Some(Electorate { epoch: self.epoch, group, version: self.electorate_version, voters: Voters { keys } })
    }

    /// What a shard is told of itself when it is founded: where a member is replaced already, the one that comes.
    pub fn shard_facts(&self, group: GroupId) -> Option<ShardFacts> {
        let shard = self.shards.iter().find(|shard| shard.group == group)?;
        let comes =
            |replica| shard.changing.filter(|change| change.from == replica).map_or(replica, |change| change.to);
        let members = shard.slots.iter().map(|slot| {
            Some(MemberFacts {
                slot: slot.slot,
                region: slot.region.clone(),
                node: slot.node.clone(),
                replica: comes(slot.replica),
                signing_key: self.key_of(&slot.node)?,
            })
        });
        Some(ShardFacts {
            cluster: self.cluster.clone(),
            epoch: self.epoch,
            group,
            code: shard.code,
            members: members.collect::<Option<_>>()?,
            clock_ms: shard.clock_ms,
        })
    }

    fn key_of(&self, name: &NodeName) -> Option<PublicKey> {
        self.nodes.iter().find(|node| node.name == *name).map(|node| node.signing_key)
    }
}

/// Who votes in a shard; `None` where a node has no key.
pub(crate) fn electorate_of(
    epoch: ClusterEpoch,
    shard: &ShardRow,
    key_of: impl Fn(&NodeName) -> Option<PublicKey>,
) -> Option<Electorate> {
    let voters = shard.slots.iter().take(usize::from(shard.code.voters()));
    let keys: BTreeMap<_, _> = voters.map(|slot| Some((slot.replica, key_of(&slot.node)?))).collect::<Option<_>>()?;
    let version = keys.keys().next_back()?.0;
    Some(Electorate { epoch, group: shard.group, version, voters: Voters { keys } })
}
