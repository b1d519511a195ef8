//! Which nodes, shards and tenants there are, as this node's replica of the cluster group says: plain data.
//!
//! Every node follows the cluster group, so this is at most a moment behind. What it is used for stands that: who is a
//! member is checked again by whoever is asked, and places of fragments are written down in rows.
//!
//! Not here: following it (`follow.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use strongroom_consensus::group::Member as GroupMember;
use strongroom_core::cluster::rows::{Changing, ShardRow};
use strongroom_core::electorates::Electorate;
use strongroom_core::entry::{MemberFacts, ShardFacts, TenantFacts};
use strongroom_core::genesis::Genesis;
use strongroom_core::query::ClusterMap;
use strongroom_format::code::Code;
use strongroom_format::id::{
    ClusterEpoch, ClusterName, GroupId, NodeName, PublicKey, RegionName, ReplicaId, Slot, TenantId,
};
use tokio::sync::watch;

/// The cluster as far as it is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Whether the cluster group has said it. Else it is what the founders began with.
    pub is_followed: bool,
    /// Its name.
    pub cluster: ClusterName,
    /// This life of it.
    pub epoch: ClusterEpoch,
    /// All nodes. Where one's replica of the cluster group is being replaced, it has the one that comes.
    pub nodes: BTreeMap<NodeName, NodePlace>,
    /// All shards.
    pub shards: BTreeMap<GroupId, Arc<Shard>>,
    /// All tenants.
    pub tenants: BTreeMap<TenantId, Arc<TenantFacts>>,
    /// The replacement of a member of the cluster group, while it is under way.
    pub changing: Option<Changing>,
    /// Who votes in each group: what other groups are told.
    pub electorates: BTreeMap<GroupId, Electorate>,
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlace {
    /// Its region.
    pub region: RegionName,
    /// `host:port` of its listener for nodes.
    pub peer: String,
    /// `host:port` of its listener for tenants.
    pub tenant: String,
    /// `host:port` of its listener for operators.
    pub operator: String,
    /// Its identity in the cluster group.
    pub replica: ReplicaId,
    /// It signs with it.
    pub signing_key: PublicKey,
    /// Whether it votes in the cluster group.
    pub votes: bool,
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its group.
    pub group: GroupId,
    /// Its code.
    pub code: Code,
    /// One member a slot, by slot. Where one is being replaced, the one that comes.
    pub members: Vec<Member>,
    /// The replacement of a member, while it is under way.
    pub changing: Option<Changing>,
    /// Where its compliance clock begins, in milliseconds since 1970.
    pub clock_ms: u64,
}

/// The member that fills a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The slot.
    pub slot: Slot,
    /// The node.
    pub node: NodeName,
    /// Its region.
    pub region: RegionName,
    /// Its identity in the group.
    pub replica: ReplicaId,
    /// The node signs with it.
    pub signing_key: PublicKey,
    /// Whether it votes; else it learns.
    pub votes: bool,
}

impl Shard {
    /// The member that a node has here.
    pub fn member(&self, node: &NodeName) -> Option<&Member> {
        self.members.iter().find(|member| member.node == *node)
    }

    /// The member in a slot; `None` for a slot that the shard does not have.
    pub fn slot(&self, slot: Slot) -> Option<&Member> {
        self.members.get(usize::from(slot.0))
    }

    /// What the shard is told of itself when it is founded.
    pub fn facts(&self, cluster: ClusterName, epoch: ClusterEpoch) -> ShardFacts {
        let member = |member: &Member| MemberFacts {
            slot: member.slot,
            region: member.region.clone(),
            node: member.node.clone(),
            replica: member.replica,
            signing_key: member.signing_key,
        };
        ShardFacts {
            cluster,
            epoch,
            group: self.group,
            code: self.code,
            members: self.members.iter().map(member).collect(),
            clock_ms: self.clock_ms,
        }
    }
}

impl Topology {
    /// What is known before the cluster group has said anything: where the nodes are.
    pub fn at_first(genesis: &Genesis) -> Self {
        let founders = genesis.cluster_members();
        let place = |node: &strongroom_core::genesis::GenesisNode| {
            let founder = founders.iter().find(|member| member.node == node.name)?;
            let place = NodePlace {
                region: node.region.clone(),
                peer: node.peer.clone(),
                tenant: node.tenant.clone(),
                operator: node.operator.clone(),
                replica: founder.replica,
                signing_key: node.signing_key,
                votes: founder.votes,
            };
            Some((node.name.clone(), place))
        };
        Self {
            is_followed: false,
            cluster: genesis.cluster.clone(),
            epoch: genesis.epoch,
            nodes: genesis.nodes.iter().filter_map(place).collect(),
            shards: BTreeMap::new(),
            tenants: BTreeMap::new(),
            changing: None,
            electorates: [(GroupId::CLUSTER, genesis.founders())].into(),
        }
    }

    /// What the cluster group says. A slot on a node that it does not name, which no honest state has, leaves its shard
    /// out.
    pub fn of(map: &ClusterMap) -> Self {
        let nodes = map.nodes.iter().map(|node| {
            let place = NodePlace {
                region: node.region.clone(),
                peer: node.peer.clone(),
                tenant: node.tenant.clone(),
                operator: node.operator.clone(),
                replica: successor(map.changing, node.replica),
                signing_key: node.signing_key,
                votes: node.votes,
            };
            (node.name.clone(), place)
        });
        let key_of = |name: &NodeName| map.nodes.iter().find(|node| node.name == *name).map(|node| node.signing_key);
        let shards = map.shards.iter().filter_map(|row| {
            let members = row.slots.iter().map(|slot| {
                Some(Member {
                    slot: slot.slot,
                    node: slot.node.clone(),
                    region: slot.region.clone(),
                    replica: successor(row.changing, slot.replica),
                    signing_key: key_of(&slot.node)?,
                    votes: slot.slot.0 < row.code.voters(),
                })
            });
            let members: Vec<Member> = members.collect::<Option<_>>()?;
            let in_order = members.len() == usize::from(row.code.slots())
                && (0_u8..).zip(&members).all(|(slot, member)| member.slot == Slot(slot));
            in_order.then(|| {
                let ShardRow { group, code, changing, clock_ms, .. } = *row;
                (group, Arc::new(Shard { group, code, members, changing, clock_ms }))
            })
        });
        let tenants = map.tenants.iter().map(|row| (row.facts.tenant, Arc::new(row.facts.clone())));
        Self {
            is_followed: true,
            cluster: map.cluster.clone(),
            epoch: map.epoch,
            nodes: nodes.collect(),
            shards: shards.collect(),
            tenants: tenants.collect(),
            changing: map.changing,
            electorates: map
                .shards
                .iter()
                .map(|shard| shard.group)
                .chain([GroupId::CLUSTER])
                .filter_map(|group| Some((group, map.electorate(group)?)))
                .collect(),
        }
    }

    /// The identity that a node has in a group.
    pub fn replica(&self, group: GroupId, node: &NodeName) -> Option<ReplicaId> {
        match group {
            GroupId::CLUSTER => self.nodes.get(node).map(|place| place.replica),
            _ => self.shards.get(&group)?.member(node).map(|member| member.replica),
        }
    }

    /// All members of a group, as its rows have them.
    pub fn members_of(&self, group: GroupId) -> BTreeMap<ReplicaId, GroupMember> {
        match group {
            GroupId::CLUSTER => {
                let member = |(node, place): (&NodeName, &NodePlace)| {
                    (place.replica, GroupMember { node: node.clone(), voter: place.votes })
                };
                self.nodes.iter().map(member).collect()
            }
            _ => {
                let members = self.shards.get(&group).into_iter().flat_map(|shard| &shard.members);
                let member =
                    |member: &Member| (member.replica, GroupMember { node: member.node.clone(), voter: member.votes });
                members.map(member).collect()
            }
        }
    }

    /// The replacement that is under way in a group.
    pub fn changing(&self, group: GroupId) -> Option<Changing> {
        match group {
            GroupId::CLUSTER => self.changing,
            _ => self.shards.get(&group)?.changing,
        }
    }

    /// The nodes that may lead a group: its voters.
    pub fn voters_of(&self, group: GroupId) -> Vec<NodeName> {
        if group == GroupId::CLUSTER {
            return self.nodes.iter().filter(|(_, place)| place.votes).map(|(node, _)| node.clone()).collect();
        }
        let shard = self.shards.get(&group);
        let voters = shard.into_iter().flat_map(|shard| shard.members.iter().filter(|member| member.votes));
        voters.map(|member| member.node.clone()).collect()
    }
}

/// Who comes where a member is being replaced; else the member.
fn successor(changing: Option<Changing>, member: ReplicaId) -> ReplicaId {
    changing.filter(|changing| changing.from == member).map_or(member, |changing| changing.to)
}

/// The topology in force. Clones see the same.
#[derive(Clone, Debug)]
pub struct InForce(watch::Receiver<Arc<Topology>>);

impl InForce {
    /// What a follower publishes.
    pub fn new(followed: watch::Receiver<Arc<Topology>>) -> Self {
        Self(followed)
    }

    /// As it is now.
    pub fn now(&self) -> Arc<Topology> {
        Arc::clone(&self.0.borrow())
    }

    /// A shard as it is now.
    pub fn shard(&self, group: GroupId) -> Option<Arc<Shard>> {
        self.0.borrow().shards.get(&group).cloned()
    }

    /// A tenant as it is now.
    pub fn tenant(&self, tenant: TenantId) -> Option<Arc<TenantFacts>> {
        self.0.borrow().tenants.get(&tenant).cloned()
    }

    /// Waits for the next change. Safe to cancel. `false`: there will be none.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
