//! Worker *follow*: what this node's replica of the cluster group says becomes what this node does.
//!
//! ```text
//!   cluster group applied something ─▶ ClusterMap ─┬▶ topology in force
//!                                                  ├▶ the other nodes' addresses (peers)
//!                                                  ├▶ issuers of all planes, tenants that there are (identity)
//!                                                  └▶ this node's replicas: started, replaced, ended (`replicas.rs`)
//! ```
//!
//! While this node's own replica of the cluster group takes no part (it has just started, is lost, or is being rebuilt),
//! the map is asked of whoever leads the cluster group; a node that nobody told its replica id learns it this way. Where
//! nobody leads, the own one, however old, must do: replica ids only grow, and a group is ended only when the leader's
//! map does not have it. A map that is the same as before changes nothing.
//! Not here: what the cluster group decides (`node/core`), whether a replica may take part (`admit.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use strongroom_consensus::groups::Consensus;
use strongroom_core::query::{Answer, ClusterMap, Query};
use strongroom_format::id::{GroupId, NodeName, ReplicaId};
use strongroom_format::name::Name;
use strongroom_identity::issuers::{Issuer, IssuerTable, Issuers, Tenant, TenantState};
use strongroom_peers::message::PeerNode;
use strongroom_peers::peers::Peers;
use tokio::sync::watch;

use crate::gate::Gate;
use crate::metrics::{self, Worker};
use crate::reads::Reads;
use crate::replicas::{ReplicaFault, Replicas};
use crate::topology::{InForce, Topology};

/// How soon a failed round is tried again, and the leader asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// The own map is looked at so often although nothing was applied.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The leader is asked for so long.
const LEADER_WITHIN: Duration = Duration::from_secs(2);

/// Publishes the topology. One for each node.
pub struct Publisher(watch::Sender<Arc<Topology>>);

/// What is known at first, and where it will change.
pub fn publish(at_first: Topology) -> (Publisher, InForce) {
    let (sender, receiver) = watch::channel(Arc::new(at_first));
    (Publisher(sender), InForce::new(receiver))
}

/// See the head of the file.
pub struct Follow {
    /// This node.
    pub me: NodeName,
    /// Its groups.
    pub consensus: Consensus,
    /// What lies on its disk.
    pub replicas: Replicas,
    /// Which of them take part.
    pub gate: Gate,
    /// Its way to questions.
    pub reads: Reads,
    /// The other nodes.
    pub peers: Peers,
    /// Who may speak for whom.
    pub issuers: Issuers,
    /// Where the topology goes.
    pub publisher: Publisher,
}

/// Why a round came to nothing.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the cluster map cannot be read, here or at the leader")]
    NoMap,
    #[error(transparent)]
    Replica(#[from] ReplicaFault),
}

/// Whose map it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// This node's own.
    Own,
    /// The leader's: newer than the own one, or as new.
    Leader,
}

impl Follow {
    /// Runs until consensus ends.
    pub async fn run(mut self) {
        let mut known: Option<ClusterMap> = None;
        let mut source = Source::Own;
        loop {
            let applied = self.consensus.applied(GroupId::CLUSTER);
            let applied = applied.map(|mut applied| {
                applied.mark_unchanged();
                applied
            });
            let round = self.round(&mut known, &mut source).await;
            metrics::worked(Worker::Follow, round.is_ok());
            if let Err(fault) = &round {
                tracing::debug!(%fault, "the cluster map is not carried out yet");
            }
            match applied {
                Some(mut applied) if round.is_ok() && source == Source::Own && self.takes_part() => {
                    // The group may end here and begin again as another replica, or be lost without a word.
                    let _ = tokio::time::timeout(LOOK_EVERY, applied.changed()).await;
                }
                Some(_) | None => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    fn takes_part(&self) -> bool {
        self.gate.takes_part(GroupId::CLUSTER)
    }

    async fn round(&mut self, known: &mut Option<ClusterMap>, source: &mut Source) -> Result<(), Fault> {
        let own = self.own_map().await;
        // Once the leader was asked, the own map counts again only when it has come as far.
        let is_behind = *source == Source::Leader && own != *known;
        let map = match self.takes_part() && !is_behind {
            true => {
                *source = Source::Own;
                own
            }
            false => match self.leaders_map().await {
                Some(map) => {
                    *source = Source::Leader;
                    Some(map)
                }
                None if is_behind => known.clone(),
                None => own,
            },
        };
        let map = map.ok_or(Fault::NoMap)?;
        if known.as_ref() == Some(&map) {
            return Ok(());
        }
        let topology = Topology::of(&map);
        self.peers.set_nodes(others(&topology, &self.me)).await;
        // Whoever is let in is known by then.
        self.publisher.0.send_replace(Arc::new(topology.clone()));
        for skipped in self.issuers.replace(issuer_table(&map)) {
            tracing::warn!(issuer = skipped.issuer, fault = %skipped.fault, "of an issuer something cannot be used");
        }
        self.carry_out(&topology).await?;
        *known = Some(map);
        tracing::info!(nodes = topology.nodes.len(), shards = topology.shards.len(), "the cluster map changed");
        Ok(())
    }

    /// `None`: the group does not run here, or is not founded yet.
    async fn own_map(&self) -> Option<ClusterMap> {
        match self.reads.local(GroupId::CLUSTER, &Query::ClusterMap).await {
            Ok(Answer::ClusterMap(map)) => Some(*map),
            Ok(_) | Err(_) => None,
        }
    }

    async fn leaders_map(&self) -> Option<ClusterMap> {
        match self.reads.linearizable(GroupId::CLUSTER, &Query::ClusterMap, LEADER_WITHIN).await {
            Ok(Answer::ClusterMap(map)) => Some(*map),
            Ok(_) | Err(_) => None,
        }
    }

    async fn carry_out(&mut self, topology: &Topology) -> Result<(), Fault> {
        let mine = |group: GroupId| topology.replica(group, &self.me);
        let groups = std::iter::once(GroupId::CLUSTER).chain(topology.shards.keys().copied());
        let here: BTreeMap<GroupId, ReplicaId> =
            groups.filter_map(|group| mine(group).map(|replica| (group, replica))).collect();
        for (group, replica) in &here {
            self.replicas.run(*group, *replica).await?;
        }
        for group in self.replicas.groups() {
            if here.contains_key(&group) {
                continue;
            }
            // An old map may not have it yet: only the leader's ends a group.
            let map = self.leaders_map().await.ok_or(Fault::NoMap)?;
            if Topology::of(&map).replica(group, &self.me).is_none() {
                tracing::info!(%group, "this node has no member of the group any more");
                self.replicas.end(group).await?;
            }
        }
        Ok(())
    }
}

/// Where the other nodes are.
pub fn others(topology: &Topology, me: &NodeName) -> Vec<PeerNode> {
    let others = topology.nodes.iter().filter(|(node, _)| *node != me);
    others
        .map(|(node, place)| PeerNode { node: node.clone(), region: place.region.clone(), address: place.peer.clone() })
        .collect()
}

/// Who may speak for whom, as the cluster group says.
pub fn issuer_table(map: &ClusterMap) -> IssuerTable {
    let name_of: BTreeMap<_, &Name> =
        map.tenants.iter().map(|tenant| (tenant.facts.tenant, &tenant.facts.name.0)).collect();
    let issuer = |row: &strongroom_core::cluster::rows::IssuerRow| Issuer {
        plane: row.plane,
        certificate: CertificateDer::from(row.certificate.clone()),
        tenants: row.tenants.iter().filter_map(|tenant| name_of.get(tenant).map(|name| (*name).clone())).collect(),
        revocations: row.revocations.as_ref().map(|of| of.list.clone().into()),
    };
    let tenant = |row: &strongroom_core::cluster::rows::TenantRow| {
        let state = match row.facts.standing.state {
            strongroom_core::entry::TenantState::Active => TenantState::Active,
            strongroom_core::entry::TenantState::Suspended | strongroom_core::entry::TenantState::Ended => {
                TenantState::Suspended
            }
        };
        (row.facts.name.0.clone(), Tenant { id: row.facts.tenant, state })
    };
    IssuerTable {
        cluster: map.cluster.0.clone(),
        issuers: map.issuers.iter().map(issuer).collect(),
        tenants: map.tenants.iter().map(tenant).collect(),
        nodes: map.nodes.iter().map(|node| node.name.0.clone()).collect(),
        gone_nodes: BTreeSet::new(),
    }
}
