//! How the cluster is: nodes as this one sees them, shards and what lies in them as their own state says.
//!
//! A shard that does not answer is shown without what it would have said. Not here: metrics (`node/api`, ops port).

use std::time::Duration;

use strongroom_core::query::{Answer, GroupView, Query};
use strongroom_core::shard::rows::Usage;
use strongroom_format::code::Code;
use strongroom_format::id::{GroupId, NodeName, RegionName, TenantId};
use strongroom_host::Host;
use strongroom_peers::peers::Peers;

use crate::lag;
use crate::reads::Reads;
use crate::route::Route;
use crate::topology::InForce;

/// A shard is asked for so long.
const WITHIN: Duration = Duration::from_secs(2);

/// How the cluster is.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Nodes by name.
    pub nodes: Vec<NodeStatus>,
    /// Shards by group.
    pub shards: Vec<ShardStatus>,
    /// What lies in these shards.
    pub usage: Usage,
    /// The home shard's clock, or that of the first shard that answered.
    pub clock: Option<ClockStatus>,
    /// This node's wall clock as it answers: a label, for comparing clocks.
    pub wall_unix_ms: u64,
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub node: NodeName,
    /// Its region.
    pub region: RegionName,
    /// Whether it answers this node.
    pub up: bool,
    /// The version of its program, if it has said so.
    pub version: String,
}

/// How a shard is.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardStatus {
    /// Its group.
    pub group: GroupId,
    /// Its code.
    pub code: Code,
    /// Who leads it, if that is known.
    pub leader: Option<NodeName>,
    /// Its members by slot.
    pub members: Vec<NodeName>,
    /// How far its leader has applied; `None`: nobody answered.
    pub applied: Option<u64>,
    /// Members whose digest differs from the majority's, as far as anybody answered.
    pub fenced: Vec<NodeName>,
    /// The member that is being replaced.
    pub changing: Option<NodeName>,
    /// Its clock; `None`: nobody answered.
    pub clock: Option<ClockStatus>,
}

/// How a shard's time is.
#[derive(Clone, Debug, PartialEq)]
pub struct ClockStatus {
    /// `E`: what its ticks have counted.
    pub elapsed_ms: u64,
    /// The compliance clock, in milliseconds since 1970.
    pub clock_ms: u64,
    /// How far it lies behind this node's wall clock.
    pub wall_lag_s: f64,
    /// Whether it stands, because no majority of wall clocks agrees.
    pub held: bool,
    /// How late it may be where all is well.
    pub bound_ms: u64,
    /// Why it stands or is later than that; empty: it is not.
    pub why: String,
}

/// Asks how the cluster is. Clones are the same.
#[derive(Clone)]
pub struct Statuses {
    me: NodeName,
    host: Host,
    peers: Peers,
    route: Route,
    reads: Reads,
    topology: InForce,
}

impl Statuses {
    /// As node `me` sees it.
    pub fn new(me: NodeName, host: Host, peers: Peers, route: Route, reads: Reads, topology: InForce) -> Self {
        Self { me, host, peers, route, reads, topology }
    }

    /// The shards in which a tenant lives, and what it has there.
    pub async fn of_tenant(&self, tenant: TenantId) -> Status {
        let facts = self.topology.tenant(tenant);
        let mut groups: Vec<GroupId> = facts.iter().flat_map(|facts| facts.groups.clone()).collect();
        groups.extend(facts.iter().map(|facts| facts.home));
        groups.sort_unstable();
        groups.dedup();
        let home = facts.map(|facts| facts.home);
        self.of(groups, home, Some(tenant)).await
    }

    /// All shards.
    pub async fn of_cluster(&self) -> Status {
        let groups = self.topology.now().shards.keys().copied().collect();
        self.of(groups, None, None).await
    }

    async fn of(&self, groups: Vec<GroupId>, home: Option<GroupId>, tenant: Option<TenantId>) -> Status {
        let asked = groups.iter().map(|group| self.ask(*group, tenant));
        let answers = futures_util::future::join_all(asked).await;
        let topology = self.topology.now();
        let mut status = Status {
            nodes: self.nodes(),
            shards: Vec::new(),
            usage: Usage::default(),
            clock: None,
            wall_unix_ms: self.host.clock().wall_unix_ns() / 1_000_000,
        };
        for (group, (view, usage)) in groups.into_iter().zip(answers) {
            let Some(shard) = topology.shards.get(&group) else { continue };
            status.shards.push(ShardStatus {
                group,
                code: shard.code,
                leader: self.route.leader(group),
                members: shard.members.iter().map(|member| member.node.clone()).collect(),
                applied: view.as_ref().map(|view| view.applied),
                fenced: view.iter().flat_map(fenced).collect(),
                changing: shard.changing.and_then(|changing| shard.slot(changing.slot)).map(|one| one.node.clone()),
                clock: view.as_ref().map(|view| clock(view, status.wall_unix_ms)),
            });
            add(&mut status.usage, &usage);
            if let Some(view) = view
                && (status.clock.is_none() || Some(group) == home)
            {
                status.clock = Some(clock(&view, status.wall_unix_ms));
            }
        }
        status
    }

    async fn ask(&self, group: GroupId, tenant: Option<TenantId>) -> (Option<GroupView>, Usage) {
        let view = match self.reads.linearizable(group, &Query::Group, WITHIN).await {
            Ok(Answer::Group(view)) => Some(view),
            Ok(_) | Err(_) => None,
        };
        let usage = match (tenant, &view) {
            (Some(tenant), Some(_)) => match self.reads.linearizable(group, &Query::Usage { tenant }, WITHIN).await {
                Ok(Answer::Usage(usage)) => usage,
                Ok(_) | Err(_) => Usage::default(),
            },
            (None, Some(view)) => view.usage,
            (_, None) => Usage::default(),
        };
        (view, usage)
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        let topology = self.topology.now();
        let status = |(node, place): (&NodeName, &crate::topology::NodePlace)| {
            let health = self.peers.health(node);
            let (up, version) = match (*node == self.me, health) {
                (true, _) => (true, env!("CARGO_PKG_VERSION").to_owned()),
                (false, Some(health)) => (health.is_up(), health.version().unwrap_or_default()),
                (false, None) => (false, String::new()),
            };
            NodeStatus { node: node.clone(), region: place.region.clone(), up, version }
        };
        topology.nodes.iter().map(status).collect()
    }
}

fn clock(view: &GroupView, wall_ms: u64) -> ClockStatus {
    ClockStatus {
        elapsed_ms: view.clock.elapsed_ms,
        clock_ms: view.clock.clock_ms,
        wall_lag_s: lag::lag_ms(&view.clock, wall_ms) as f64 / 1000.0,
        held: view.clock.held_since_ms.is_some(),
        bound_ms: lag::BOUND_MS,
        why: lag::why(view, wall_ms),
    }
}

fn fenced(view: &GroupView) -> Vec<NodeName> {
    view.voters.iter().filter(|voter| voter.fenced).map(|voter| voter.node.clone()).collect()
}

fn add(sum: &mut Usage, one: &Usage) {
    sum.stored_bytes = sum.stored_bytes.saturating_add(one.stored_bytes);
    sum.blobs = sum.blobs.saturating_add(one.blobs);
    sum.thin = sum.thin.saturating_add(one.thin);
    sum.handed_over = sum.handed_over.saturating_add(one.handed_over);
    sum.nodes = sum.nodes.saturating_add(one.nodes);
    sum.node_bytes = sum.node_bytes.saturating_add(one.node_bytes);
    sum.snapshots = sum.snapshots.saturating_add(one.snapshots);
    sum.logical_bytes = sum.logical_bytes.saturating_add(one.logical_bytes);
}
