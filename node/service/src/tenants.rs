//! Worker *tenants*: what the cluster group decided about shards, voters and tenants is carried into the shards that it is
//! about, with signatures of a majority of the cluster group's voters (`majority.rs`).
//!
//! Look: what each shard that this node leads knows of itself, of voters and of the tenants that the map puts there.
//! Decide: [`lacks`]. Act, one after the other: found the shard; tell it who votes in the cluster group, whose newer voters
//! sign all that follows; tell it who votes in the other shards of its tenants, and admit the tenants. Each may come twice;
//! the rules take the same facts again. Not here: who decided (`node/core`), following the map (`follow.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use strongroom_consensus::groups::Consensus;
use strongroom_core::claims::Claim;
use strongroom_core::electorates::Electorate;
use strongroom_core::entry::{EntryCommand, NodeCommand, TenantFacts};
use strongroom_core::query::{Answer, Query};
use strongroom_format::command::Attested;
use strongroom_format::id::{GroupId, SetVersion, TenantId};
use strongroom_format::outcome::Outcome;

use crate::leading;
use crate::majority::{Known, Word};
use crate::metrics::{self, Worker};
use crate::propose::Proposer;
use crate::reads::Reads;
use crate::topology::{InForce, Topology};

/// How often a leader looks where the map has not changed: it may just have begun to lead.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// An entry that takes longer is given up; the next round tries again.
const WITHIN: Duration = Duration::from_secs(5);
/// So many tenants are admitted in one entry.
const AT_ONCE: usize = 16;

/// See the head of the file.
pub struct Admitter {
    /// Whom a shard believes before it knows anything.
    pub founders: Electorate,
    /// This node's groups.
    pub consensus: Consensus,
    /// Its way to questions.
    pub reads: Reads,
    /// Its way into logs.
    pub proposer: Proposer,
    /// What the cluster group says.
    pub topology: InForce,
}

/// What was seen to be in each shard: it never goes away again.
type Seen = BTreeMap<GroupId, There>;

/// What was seen to be in a shard.
#[derive(Debug, Default)]
struct There {
    is_founded: bool,
    /// The versions of electorates.
    voters: BTreeMap<GroupId, u64>,
    tenants: BTreeSet<Version>,
}

/// A tenant, the version of its shard set, that of its standing and that of what it may have.
type Version = (TenantId, SetVersion, u32, u32);

impl Admitter {
    /// Runs until the map is not followed any more.
    pub async fn run(mut self) {
        let mut seen = Seen::new();
        loop {
            for group in leading::shards(&self.consensus) {
                self.round(group, seen.entry(group).or_default()).await;
            }
            tokio::select! {
                biased;
                goes_on = self.topology.changed() => if !goes_on { return },
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn round(&self, group: GroupId, there: &mut There) {
        let topology = self.topology.now();
        let Some(shard) = topology.shards.get(&group) else { return };
        if !there.is_founded {
            let is_founded = match self.reads.local(group, &Query::Group).await {
                Ok(Answer::Group(view)) => view.rules.is_some(),
                // A state that cannot be read is asked again in the next round.
                Ok(_) | Err(_) => return,
            };
            let facts = shard.facts(topology.cluster.clone(), topology.epoch);
            if !is_founded && !self.say(group, Some(&self.founders), vec![facts], NodeCommand::FoundShard).await {
                return;
            }
            there.is_founded = true;
        }
        if !self.tell_voters(group, &topology, BTreeSet::from([GroupId::CLUSTER]), there).await {
            return;
        }
        let tenants: Vec<_> =
            topology.tenants.values().filter(|facts| facts.groups.contains(&group) || facts.home == group).collect();
        let others = tenants.iter().flat_map(|facts| facts.groups.iter().copied().chain([facts.home]));
        let others = others.filter(|other| *other != group).collect();
        if !self.tell_voters(group, &topology, others, there).await {
            return;
        }
        let mut lacking: Vec<TenantFacts> = Vec::new();
        for facts in tenants {
            let version = (facts.tenant, facts.set_version, facts.standing.version, facts.limited.version);
            if there.tenants.contains(&version) {
                continue;
            }
            let known = match self.reads.local(group, &Query::Tenant { tenant: facts.tenant }).await {
                Ok(Answer::Tenant(view)) => Some(view.facts),
                Ok(_) | Err(_) => None,
            };
            if !lacks(known.as_ref(), facts) {
                there.tenants.insert(version);
            } else if lacking.len() < AT_ONCE {
                lacking.push(Arc::unwrap_or_clone(Arc::clone(facts)));
            }
        }
        self.say(group, None, lacking, NodeCommand::AdmitTenant).await;
    }

    /// Tells a shard who votes in these groups, where it knows none or older ones. Whether it knows them now.
    async fn tell_voters(&self, group: GroupId, topology: &Topology, of: BTreeSet<GroupId>, there: &mut There) -> bool {
        let mut lacking = Vec::new();
        for electorate in of.iter().filter_map(|of| topology.electorates.get(of)) {
            let seen = there.voters.get(&electorate.group);
            if seen.is_some_and(|version| electorate.version <= *version) {
                continue;
            }
            let known = self.proposer.majority().electorate(group, electorate.group, Known::Near, WITHIN).await;
            match known {
                Some(known) if electorate.version <= known.version => {
                    there.voters.insert(electorate.group, known.version);
                }
                Some(_) | None => lacking.push(electorate.clone()),
            }
        }
        self.say(group, None, lacking, NodeCommand::TellElectorate).await
    }

    /// Says something to a shard that the cluster group's voters sign: those that it goes by, or `founders` before it goes
    /// by any. Whether all of it was taken.
    async fn say<T: Clone + Into<Claim>>(
        &self,
        group: GroupId,
        founders: Option<&Electorate>,
        values: Vec<T>,
        command: fn(Attested<T>) -> NodeCommand,
    ) -> bool {
        if values.is_empty() {
            return true;
        }
        let majority = self.proposer.majority();
        let claims: Vec<Claim> = values.iter().cloned().map(Into::into).collect();
        let words = match founders {
            Some(founders) => majority.ask(founders, &claims, WITHIN).await,
            None => majority.collect(group, &claims, Known::Newest, WITHIN).await,
        };
        let wanted = values.len();
        let signed = values.into_iter().zip(words).filter_map(|(value, word)| match word {
            Word::Signed(signatures) => Some(EntryCommand::Node(command(Attested { value, signatures }))),
            // The map here is older than theirs, or newer, or too few answer.
            Word::NotSo | Word::Silence => None,
        });
        let commands: Vec<EntryCommand> = signed.collect();
        let all = commands.len() == wanted;
        if commands.is_empty() {
            tracing::debug!(%group, "too few of the cluster group's voters signed what it decided");
            metrics::worked(Worker::Tenants, false);
            return false;
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
        well && all
    }
}

/// Whether a shard must be told: it does not know the tenant, or an older set of its shards, how it stood before, or what it
/// might have before.
fn lacks(there: Option<&TenantFacts>, decided: &TenantFacts) -> bool {
    there.is_none_or(|there| {
        there.set_version < decided.set_version
            || there.standing.version < decided.standing.version
            || there.limited.version < decided.limited.version
    })
}
