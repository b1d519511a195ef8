//! Genesis: the cluster as its first entry founds it. One node in one region is enough: others join by tokens, and shards
//! are created when there are nodes for them.
//!
//! Promises: a valid genesis names every region, node, shard and operator once; its shards keep the rules of topology, and
//! no region has a majority of the cluster group's voters unless that risk was accepted in it.
//! Not here: what these rules are (`topology.rs`), what is made of a genesis in tables (`cluster/found.rs`).

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use strongroom_format::code::Code;
use strongroom_format::codec::Format;
use strongroom_format::id::{
    ClusterEpoch, ClusterName, GroupId, IdentityId, NodeName, PublicKey, RegionName, ReplicaId, Slot,
};
use strongroom_format::receipt::Voters;
use strongroom_format::role::{OperatorRole, Plane};
use strongroom_format::sign;

use crate::electorates::Electorate;
use crate::topology::{self, Topology, TopologyFault, largest_share, unique};

/// The cluster at its beginning.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Genesis {
    /// Its name.
    pub cluster: ClusterName,
    /// Random: this life of the cluster.
    pub epoch: ClusterEpoch,
    /// The regions, in the order in which slots are numbered.
    pub regions: Vec<RegionName>,
    /// The nodes; their order within a region is the order in which the cluster group's voters are chosen.
    pub nodes: Vec<GenesisNode>,
    /// The shards, sorted by group, from 1.
    pub shards: Vec<GenesisShard>,
    /// The operators.
    pub operators: Vec<GenesisOperator>,
    /// Who may issue certificates of nodes and operators. Issuers of tenants come with their tenants.
    pub issuers: Vec<GenesisIssuer>,
    /// One or two regions may hold more than the rest can lose.
    pub accept_region_loss: bool,
    /// A shard may have one slot, which survives nothing.
    pub single_node: bool,
    /// Where the compliance clock begins: the wall clock of the machine that founded the cluster, confirmed by a person.
    /// In milliseconds since 1970.
    pub clock_ms: u64,
}

impl Format for Genesis {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 << 20;
    const NAME: &'static str = "genesis";
}

/// A node at the beginning.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GenesisNode {
    /// Its name, unique in the cluster.
    pub name: NodeName,
    /// Its region.
    pub region: RegionName,
    /// `host:port` of its listener for other nodes.
    pub peer: String,
    /// `host:port` of its listener for tenants.
    pub tenant: String,
    /// `host:port` of its listener for operators.
    pub operator: String,
    /// Signs its reports and checkpoints.
    pub signing_key: PublicKey,
}

/// A shard at the beginning: the node in each slot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GenesisShard {
    /// Its group.
    pub group: GroupId,
    /// By slot; slots are numbered region by region in turn.
    pub slots: Vec<NodeName>,
}

/// An operator at the beginning.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GenesisOperator {
    /// Who.
    pub identity: IdentityId,
    /// Sorted.
    pub roles: Vec<OperatorRole>,
    /// Signs its commands.
    pub signing_key: PublicKey,
}

/// An issuing CA.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GenesisIssuer {
    /// On which plane. Never the tenant plane: those come with their tenants.
    pub plane: Plane,
    /// Its certificate in DER.
    pub certificate: Vec<u8>,
}

/// Why a genesis founds nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisFault {
    /// Its nodes cannot be put together so, or something is named twice or not at all.
    #[error(transparent)]
    Topology(#[from] TopologyFault),
    /// More or fewer of something than these rules can hold.
    #[error("there are {count} {what}; {allowed} are allowed")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A signing key under which no signature can verify.
    #[error("the signing key of {whose} is none")]
    WeakKey {
        /// Whose.
        whose: String,
    },
    /// An address or a certificate that cannot be one.
    #[error("{what} is empty or too long")]
    Field {
        /// Which.
        what: String,
    },
}

/// A member of the cluster group at the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterMember {
    /// Its identity in the group.
    pub replica: ReplicaId,
    /// The node.
    pub node: NodeName,
    /// Votes, or learns.
    pub votes: bool,
}

impl Genesis {
    /// At most so many nodes.
    pub const NODES_MAX: usize = 255;
    /// At most so many shards.
    pub const SHARDS_MAX: usize = 1024;
    /// At most so many groups on one node.
    pub const GROUPS_PER_NODE_MAX: usize = 200;
    /// The replica ids of the cluster group's first members are allotted by its log's first entry, the membership.
    pub const ALLOTTING_INDEX: u64 = 0;

    /// Whether it keeps the rules of topology.
    pub fn check(&self) -> Result<(), GenesisFault> {
        self.check_regions_and_nodes()?;
        self.check_shards()?;
        self.check_cluster_group()?;
        self.check_operators_and_issuers()
    }

    /// The members of the cluster group: every node, ordered region by region in turn; the first ones vote.
    pub fn cluster_members(&self) -> Vec<ClusterMember> {
        let order = self.nodes_region_by_region();
        let voters = topology::cluster_voters(&order.iter().map(|node| &node.region).collect::<Vec<_>>());
        let member = |(ordinal, node): (u8, &GenesisNode)| ClusterMember {
            replica: replica_id(Self::ALLOTTING_INDEX, Slot(ordinal)),
            node: node.name.clone(),
            votes: usize::from(ordinal) < voters,
        };
        (0_u8..).zip(order).map(member).collect()
    }

    /// Who votes in the cluster group at the beginning: what a shard believes before it knows anything, since every
    /// node has the same genesis on its disk.
    pub fn founders(&self) -> Electorate {
        let votes = self.cluster_members().into_iter().filter(|member| member.votes);
        let key = |member: ClusterMember| Some((member.replica, self.node(&member.node)?.signing_key));
        let voters = Voters { keys: votes.filter_map(key).collect() };
        Electorate { epoch: self.epoch, group: GroupId::CLUSTER, version: 0, voters }
    }

    /// The code of a shard; `None` where there is none.
    pub fn code_of(&self, shard: &GenesisShard) -> Option<Code> {
        self.topology().code_of(&shard.slots)
    }

    fn topology(&self) -> Topology<'_> {
        Topology {
            region_of: self.nodes.iter().map(|node| (&node.name, &node.region)).collect(),
            accept_region_loss: self.accept_region_loss,
            single_node: self.single_node,
        }
    }

    /// The node of that name.
    pub fn node(&self, name: &NodeName) -> Option<&GenesisNode> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// Places `count` shards over the nodes, each as wide as the nodes allow, so that every node gets about as many
    /// slots as any other. For `init` and `dev`; [`Genesis::check`] still judges the result.
    pub fn place_shards(&mut self, count: u32) {
        let order = self.nodes_region_by_region();
        let regions = self.regions.len();
        let width = match (order.len(), regions) {
            (_, 3..) => [9, 6, 3].into_iter().find(|width| self.region_size_min() * 3 >= *width),
            (5.., _) => Some(5),
            (3.., 2) => Some(3),
            _ => Some(1),
        };
        let width = width.unwrap_or(1);
        let mut by_region: Vec<Vec<NodeName>> = vec![Vec::new(); regions.max(1)];
        for node in &order {
            let place = self.regions.iter().position(|region| *region == node.region).unwrap_or(0);
            by_region[place].push(node.name.clone());
        }
        let turn = regions.clamp(1, 3);
        let mut shards = Vec::new();
        for shard in 0..count as usize {
            let slot = |slot: usize| {
                // Which three regions, and where in each to begin, moves on from shard to shard.
                let nodes = &by_region[(shard + slot % turn) % by_region.len()];
                (!nodes.is_empty()).then(|| nodes[(shard * width.div_ceil(turn) + slot / turn) % nodes.len()].clone())
            };
            shards.push(GenesisShard {
                group: GroupId(u32::try_from(shard + 1).expect("count is a u32 and shards are few")),
                slots: (0..width).filter_map(slot).collect(),
            });
        }
        self.shards = shards;
    }

    fn region_size_min(&self) -> usize {
        let size = |region: &RegionName| self.nodes.iter().filter(|node| node.region == *region).count();
        self.regions.iter().map(size).min().unwrap_or(0)
    }

    fn nodes_region_by_region(&self) -> Vec<&GenesisNode> {
        topology::in_turn(&self.regions, &self.nodes, |node| &node.region)
    }

    fn check_regions_and_nodes(&self) -> Result<(), GenesisFault> {
        count("regions", self.regions.len(), 1..=64, "1 to 64")?;
        count("nodes", self.nodes.len(), 1..=Self::NODES_MAX, "1 to 255")?;
        unique("region", self.regions.iter())?;
        unique("node", self.nodes.iter().map(|node| &node.name))?;
        unique("peer address", self.nodes.iter().map(|node| &node.peer))?;
        unique("signing key of a node", self.nodes.iter().map(|node| node.signing_key))?;
        for node in &self.nodes {
            if !self.regions.contains(&node.region) {
                return Err(TopologyFault::Unknown { what: format!("region {}", node.region) }.into());
            }
            for address in [&node.peer, &node.tenant, &node.operator] {
                if address.is_empty() || 256 < address.len() || address.chars().any(char::is_control) {
                    return Err(GenesisFault::Field { what: format!("an address of node {}", node.name) });
                }
            }
            sign::usable(&node.signing_key)
                .map_err(|_| GenesisFault::WeakKey { whose: format!("node {}", node.name) })?;
        }
        for region in &self.regions {
            if !self.nodes.iter().any(|node| node.region == *region) {
                return Err(TopologyFault::Unknown { what: format!("a node in region {region}") }.into());
            }
        }
        Ok(())
    }

    fn check_shards(&self) -> Result<(), GenesisFault> {
        count("shards", self.shards.len(), 0..=Self::SHARDS_MAX, "at most 1024")?;
        let topology = self.topology();
        let mut groups_of: BTreeMap<&NodeName, usize> = BTreeMap::new();
        for (expected, shard) in (1_u32..).zip(&self.shards) {
            if shard.group != GroupId(expected) {
                return Err(TopologyFault::Repeated { what: format!("shard {}", shard.group) }.into());
            }
            topology.check_shard(shard.group, &shard.slots)?;
            for node in &shard.slots {
                *groups_of.entry(node).or_insert(1) += 1;
            }
        }
        match groups_of.values().max() {
            Some(&most) if Self::GROUPS_PER_NODE_MAX < most => {
                Err(GenesisFault::Count { what: "groups on one node", count: most, allowed: "200" })
            }
            _ => Ok(()),
        }
    }

    fn check_cluster_group(&self) -> Result<(), GenesisFault> {
        let voters: Vec<_> = self.cluster_members().into_iter().filter(|member| member.votes).collect();
        let regions = voters.iter().filter_map(|member| self.node(&member.node)).map(|node| &node.region);
        let one_region = self.regions.len() == 1;
        if !one_region && !self.accept_region_loss && voters.len() <= largest_share(regions) * 2 {
            return Err(TopologyFault::RegionLoss { what: "the cluster group".into() }.into());
        }
        Ok(())
    }

    fn check_operators_and_issuers(&self) -> Result<(), GenesisFault> {
        count("operators", self.operators.len(), 1..=64, "1 to 64")?;
        unique("operator", self.operators.iter().map(|operator| &operator.identity))?;
        for operator in &self.operators {
            if operator.roles.is_empty() || !operator.roles.is_sorted_by(|a, b| a < b) {
                return Err(
                    TopologyFault::Repeated { what: format!("a role of operator {}", operator.identity) }.into()
                );
            }
            sign::usable(&operator.signing_key)
                .map_err(|_| GenesisFault::WeakKey { whose: format!("operator {}", operator.identity) })?;
        }
        count("issuers", self.issuers.len(), 2..=64, "2 to 64")?;
        // One CA on two planes would make one certificate good on both.
        unique("issuer", self.issuers.iter().map(|issuer| &issuer.certificate))?;
        for issuer in &self.issuers {
            if issuer.certificate.is_empty() || ISSUER_BYTES_MAX < issuer.certificate.len() {
                return Err(GenesisFault::Field { what: "an issuer's certificate".into() });
            }
            if issuer.plane == Plane::Tenant {
                return Err(TopologyFault::Unknown { what: "the tenant of an issuer".into() }.into());
            }
        }
        for plane in [Plane::Peer, Plane::Operator] {
            if !self.issuers.iter().any(|issuer| issuer.plane == plane) {
                return Err(TopologyFault::Unknown { what: format!("an issuer of the {plane} plane") }.into());
            }
        }
        Ok(())
    }
}

/// A CA certificate has at most so many bytes.
pub(crate) const ISSUER_BYTES_MAX: usize = 16 << 10;

/// The identity of the member that an entry at `index` of the cluster group's log allots to a slot.
pub fn replica_id(index: u64, slot: Slot) -> ReplicaId {
    ReplicaId((index << 8) | u64::from(slot.0))
}

/// The slot that an id was allotted to.
pub(crate) fn replica_slot(replica: ReplicaId) -> Slot {
    let [slot, ..] = replica.0.to_le_bytes();
    Slot(slot)
}

fn count(
    what: &'static str,
    count: usize,
    range: std::ops::RangeInclusive<usize>,
    allowed: &'static str,
) -> Result<(), GenesisFault> {
    if range.contains(&count) { Ok(()) } else { Err(GenesisFault::Count { what, count, allowed }) }
}
