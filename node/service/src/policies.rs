//! Worker *policies*: what the policies of vaults keep no longer ends, page by page.
//!
//! Look: the dry run of each vault's own policy, a page of names at a time, in the home shards that this node leads.
//! Decide: nothing; where the dry run says that something would go, the rules are told to look at that page themselves,
//! and by their own rows they end what goes. No snapshot is named by a node. Act: one bounded step, and a pause behind it,
//! so that policies never stand before backups. A page costs the leader some reads, and only a page in which something
//! goes costs an entry, so memory is flat whatever a vault holds. On its way it counts the names that have no good snapshot
//! as young as their vault expects, for whoever is to be woken.
//! Not here: what stays (`node/core`, `shard/expiry.rs`), telling other shards (`expire.rs`), what becomes of what went
//! (`collect.rs`).

use std::collections::BTreeSet;
use std::time::Duration;

use strongroom_consensus::groups::Consensus;
use strongroom_core::entry::{EntryCommand, NodeCommand, TenantState};
use strongroom_core::query::{Answer, Expiring, Query};
use strongroom_format::id::{GroupId, TenantId, VaultId};
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::policy::Policy;
use strongroom_format::policy_view::{Fate, PreviewPage};

use crate::act::act;
use crate::leading;
use crate::metrics::{self, Worker};
use crate::propose::Proposer;
use crate::reads::Reads;
use crate::topology::InForce;

/// A page, and a step, looks at so many snapshots.
const PAGE: u32 = 128;
/// Between two steps, and between two pages.
const PAUSE: Duration = Duration::from_millis(5);
/// An entry that takes longer is given up; the next pass tries again.
const WITHIN: Duration = Duration::from_secs(10);

/// See the head of the file.
pub struct Policies {
    /// This node's groups.
    pub consensus: Consensus,
    /// Its way to questions.
    pub reads: Reads,
    /// Its way into logs.
    pub proposer: Proposer,
    /// What the cluster group says: which tenants are at home where.
    pub topology: InForce,
    /// From the end of a pass to the beginning of the next.
    pub every: Duration,
}

impl Policies {
    /// Runs for ever.
    pub async fn run(self) {
        let mut shown = BTreeSet::new();
        loop {
            let leads = leading::shards(&self.consensus);
            // Of a shard that another leads by now this node says nothing more.
            for shard in std::mem::take(&mut shown) {
                if !leads.contains(&shard) {
                    metrics::names_overdue(shard.0, 0);
                }
            }
            for home in leads {
                let topology = self.topology.now();
                let mut overdue = 0;
                for facts in topology.tenants.values().filter(|facts| facts.home == home) {
                    self.tenant(home, facts.tenant).await;
                    if facts.standing.state == TenantState::Active {
                        overdue += self.overdue(home, facts.tenant).await;
                    }
                }
                metrics::names_overdue(home.0, overdue);
                shown.insert(home);
            }
            tokio::time::sleep(self.every).await;
        }
    }

    /// How many names of a tenant are late, by what their vaults expect. Of one vault at most 256 are counted.
    async fn overdue(&self, home: GroupId, tenant: TenantId) -> usize {
        let Ok(Answer::Vaults(vaults)) = self.reads.local(home, &Query::Vaults { tenant }).await else { return 0 };
        let mut overdue = 0;
        for vault in vaults.into_iter().filter(|vault| vault.policy.expected_every_ms.is_some()) {
            let query = Query::Policy { tenant, vault: vault.vault, by: None };
            if let Ok(Answer::Policy(view)) = self.reads.local(home, &query).await {
                overdue += view.overdue.len();
            }
        }
        overdue
    }

    /// One pass over the vaults of a tenant.
    async fn tenant(&self, home: GroupId, tenant: TenantId) {
        let mut after = None;
        loop {
            let query = Query::Expiring { tenant, after };
            let Ok(Answer::Expiring(Expiring { vaults, next })) = self.reads.local(home, &query).await else { return };
            for (vault, policy) in vaults {
                self.vault(home, tenant, vault, &policy).await;
            }
            after = next;
            if after.is_none() {
                return;
            }
        }
    }

    /// One pass over a vault. Where this node does not lead any more, or nothing comes of a step, the next pass goes on.
    async fn vault(&self, home: GroupId, tenant: TenantId, vault: VaultId, policy: &Policy) {
        let mut after = None;
        loop {
            let query = Query::Preview { tenant, vault, policy: policy.clone(), after: after.clone(), limit: PAGE };
            let Ok(Answer::Preview(PreviewPage { snapshots, next })) = self.reads.local(home, &query).await else {
                return;
            };
            if snapshots.iter().any(|previewed| previewed.fate == Fate::Goes) {
                let step = NodeCommand::Expire { tenant, vault, after, limit: PAGE };
                let commands = vec![EntryCommand::Node(step)];
                let Some(outcomes) = act(&self.proposer, Worker::Policies, home, commands, WITHIN, is_expected).await
                else {
                    return;
                };
                match outcomes.as_slice() {
                    [Outcome::Done(Done::Expired { ended, .. })] => metrics::expired(*ended),
                    _ => return,
                }
            }
            after = next;
            if after.is_none() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Suspended or ended meanwhile, or in dispute: nothing goes.
fn is_expected(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Done(Done::Expired { .. })
            | Outcome::Refused(Refusal::DigestsDisagree | Refusal::TenantSuspended | Refusal::NotFound)
    )
}
