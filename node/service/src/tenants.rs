//! Worker *tenants*: what the cluster group decided about shards and tenants is carried into the shards that it is about.
//!
//! Look: what each shard that this node leads knows of itself and of the tenants that the map puts there. Decide:
//! [`lacks`]. Act: found the shard, admit the tenant. Both may come twice; the rules take the same facts again.
//! Not here: who decided (`node/core`), following the map (`follow.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use strongroom_consensus::groups::Consensus;
use strongroom_core::entry::{EntryCommand, NodeCommand, TenantFacts};
use strongroom_core::query::{Answer, Query};
use strongroom_format::command::Attested;
use strongroom_format::id::{GroupId, SetVersion, TenantId};
use strongroom_format::outcome::Outcome;

use crate::leading;
use crate::metrics::{self, Worker};
use crate::propose::Proposer;
use crate::reads::Reads;
use crate::topology::InForce;

/// How often a leader looks where the map has not changed: it may just have begun to lead.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// An entry that takes longer is given up; the next round tries again.
const WITHIN: Duration = Duration::from_secs(5);
/// So many tenants are admitted in one entry.
const AT_ONCE: usize = 16;

/// See the head of the file.
pub struct Admitter {
    /// This node's groups.
    pub consensus: Consensus,
    /// Its way to questions.
    pub reads: Reads,
    /// Its way into logs.
    pub proposer: Proposer,
    /// What the cluster group says.
    pub topology: InForce,
}

/// What was seen to be in a shard: it never goes away again.
type Admitted = BTreeMap<GroupId, BTreeSet<Version>>;

/// A tenant, the version of its shard set and that of its standing.
type Version = (TenantId, SetVersion, u32);

impl Admitter {
    /// Runs until the map is not followed any more.
    pub async fn run(mut self) {
        let mut admitted = Admitted::new();
        loop {
            for group in leading::shards(&self.consensus) {
                self.round(group, admitted.entry(group).or_default()).await;
            }
            tokio::select! {
                biased;
                goes_on = self.topology.changed() => if !goes_on { return },
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn round(&self, group: GroupId, admitted: &mut BTreeSet<Version>) {
        let topology = self.topology.now();
        let Some(shard) = topology.shards.get(&group) else { return };
        let mut commands = Vec::new();
        if admitted.is_empty() && !self.is_founded(group).await {
            let facts = shard.facts(topology.cluster.clone(), topology.epoch);
            let founded = Attested { value: facts, signatures: Vec::new() };
            commands.push(EntryCommand::Node(NodeCommand::FoundShard(founded)));
        }
        let mut known = Vec::new();
        for facts in topology.tenants.values().filter(|facts| facts.groups.contains(&group) || facts.home == group) {
            let version = (facts.tenant, facts.set_version, facts.standing.version);
            if admitted.contains(&version) {
                continue;
            }
            let there = match self.reads.local(group, &Query::Tenant { tenant: facts.tenant }).await {
                Ok(Answer::Tenant(view)) => Some(view.facts),
                Ok(_) | Err(_) => None,
            };
            if lacks(there.as_ref(), facts) {
                if commands.len() < AT_ONCE {
                    commands.push(EntryCommand::Node(NodeCommand::AdmitTenant(attested(facts))));
                }
            } else {
                known.push(version);
            }
        }
        admitted.extend(known);
        if commands.is_empty() {
            return;
        }
        let proposed = self.proposer.propose(group, commands, WITHIN).await;
        let well = match &proposed {
            Ok(applied) => {
                let refused = applied.outcomes.iter().find(|outcome| !matches!(outcome, Outcome::Done(_)));
                if let Some(refused) = refused {
                    tracing::warn!(%group, ?refused, "what the cluster group decided was refused");
                }
                refused.is_none()
            }
            Err(fault) => {
                tracing::debug!(%group, %fault, "what the cluster group decided was not carried over");
                false
            }
        };
        metrics::worked(Worker::Tenants, well);
    }

    async fn is_founded(&self, group: GroupId) -> bool {
        // A state that cannot be read is asked again in the next round.
        !matches!(self.reads.local(group, &Query::Group).await, Ok(Answer::Group(view)) if view.rules.is_none())
    }
}

/// Whether a shard must be told: it does not know the tenant, or an older set of its shards, or how it stood before.
fn lacks(there: Option<&TenantFacts>, decided: &TenantFacts) -> bool {
    there.is_none_or(|there| {
        there.set_version < decided.set_version || there.standing.version < decided.standing.version
    })
}

fn attested(facts: &Arc<TenantFacts>) -> Attested<TenantFacts> {
    // These rules take the cluster group's word from a node; later ones will want its voters' signatures.
    Attested { value: (**facts).clone(), signatures: Vec::new() }
}
