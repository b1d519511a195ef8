//! Worker *collect*: what nothing names any more leaves the rows, step by step.
//!
//! Look: the tenants with garbage in each shard that this node leads. Decide: nothing; the rules know what may go. Act:
//! one bounded step for each tenant in turn, so that one tenant's garbage never stands before another's, with a pause
//! behind each that is no shorter than the step was: at most half of the time is collecting's. While others propose in
//! the same group, or backups or restores reach this node's disks, steps are small and the pause is four times the step:
//! a commit hardly ever finds a step before it, and never a long one, nor all cores busy with other groups' steps. It
//! rests only when nothing more is due.
//! Not here: copies on disks (`sweep.rs`).

use std::time::Duration;

use strongroom_consensus::groups::Consensus;
use strongroom_core::entry::{EntryCommand, NodeCommand};
use strongroom_core::query::{Answer, Query};
use strongroom_format::id::{GroupId, TenantId};
use strongroom_format::outcome::{Done, Outcome, Refusal};
use tokio::time::Instant;

use crate::act::act;
use crate::leading::{self, Quiet};
use crate::members::Members;
use crate::metrics::{self, Worker};
use crate::propose::Proposer;
use crate::reads::Reads;

/// How often a leader looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many tenants are looked up at once.
const TENANTS_MAX: u32 = 64;
/// One step drops so many references,
const STEP_REFERENCES: u32 = 256;
/// or so many beside others.
const STEP_REFERENCES_BESIDE_OTHERS: u32 = 64;
/// Between two steps, at least.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// A pause is so many times its step beside others.
const PAUSE_BESIDE_OTHERS: u32 = 4;
/// One tenant after the other has a turn in a group for so long; then it is the next group's.
const TURN: Duration = Duration::from_secs(1);
/// An entry that takes longer is given up; the next round tries again.
const WITHIN: Duration = Duration::from_secs(10);

/// Who else is at work beside collecting in a group.
struct Company {
    /// Up to where the group's log was applied.
    applied: u64,
    /// How often fragments were brought or wanted here.
    asked: u64,
    /// Whether others were at work since the step before. Until it is known, they are.
    others: bool,
}

impl Company {
    /// Looks once a step, behind its pause.
    fn look(&mut self, applied: u64, asked: u64) {
        let own = self.applied + 1;
        self.others = own < applied || self.asked < asked;
        (self.applied, self.asked) = (applied, asked);
    }
}

/// What a group has for this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// No garbage, by its rows.
    Nothing,
    /// Garbage, or it could not be asked: it is asked again.
    Something,
    /// More garbage than one step takes.
    More,
}

/// See the head of the file.
pub struct Collector {
    /// This node's groups.
    pub consensus: Consensus,
    /// Its way to questions.
    pub reads: Reads,
    /// Its way into logs.
    pub proposer: Proposer,
    /// Its fragments: who asks for them is served first.
    pub members: Members,
    /// How long a blob that nothing names waits on the group's time. It saves sending again what is named again soon.
    pub grace: Duration,
}

impl Collector {
    /// Runs for ever.
    pub async fn run(self) {
        let mut quiet = Quiet::default();
        loop {
            let mut is_left = false;
            for group in leading::shards(&self.consensus) {
                if let Some(applied) = quiet.changed(&self.consensus, group) {
                    match self.turn(group).await {
                        Found::More => is_left = true,
                        Found::Something => {}
                        Found::Nothing => quiet.found_nothing(group, applied),
                    }
                }
            }
            if !is_left {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    /// One step for each tenant with garbage, again and again while it is this group's turn.
    async fn turn(&self, group: GroupId) -> Found {
        let ends = Instant::now() + TURN;
        let mut company = Company { applied: self.applied(group), asked: self.members.asked(), others: true };
        loop {
            let found = self.round(group, &mut company).await;
            if found != Found::More || ends <= Instant::now() {
                return found;
            }
        }
    }

    /// One step for each tenant with garbage.
    async fn round(&self, group: GroupId, company: &mut Company) -> Found {
        let grace_ms = u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX);
        let (mut after, mut found) = (None, Found::Nothing);
        loop {
            let query = Query::Garbage { grace_ms, after, limit: TENANTS_MAX };
            let Ok(Answer::Garbage(tenants)) = self.reads.local(group, &query).await else { return Found::Something };
            for tenant in &tenants {
                let began = Instant::now();
                let limit = if company.others { STEP_REFERENCES_BESIDE_OTHERS } else { STEP_REFERENCES };
                let is_left = self.step(group, *tenant, limit, grace_ms).await;
                found = found.max(if is_left { Found::More } else { Found::Something });
                let took = began.elapsed();
                let pause = if company.others { took * PAUSE_BESIDE_OTHERS } else { took };
                tokio::time::sleep(pause.max(PAUSE_MIN)).await;
                company.look(self.applied(group), self.members.asked());
            }
            after = tenants.last().copied();
            if tenants.len() < TENANTS_MAX as usize {
                return found;
            }
        }
    }

    /// Up to where this node has applied the group's log.
    fn applied(&self, group: GroupId) -> u64 {
        self.consensus.applied(group).map_or(0, |applied| *applied.borrow())
    }

    /// One step. Whether something is left of this tenant's; what was not done is for a later round.
    async fn step(&self, group: GroupId, tenant: TenantId, limit: u32, grace_ms: u64) -> bool {
        let collect = NodeCommand::CollectGarbage { tenant, limit, grace_ms };
        let is_expected = |outcome: &Outcome| {
            matches!(outcome, Outcome::Done(Done::Collected { .. }) | Outcome::Refused(Refusal::DigestsDisagree))
        };
        let commands = vec![EntryCommand::Node(collect)];
        let outcomes = act(&self.proposer, Worker::Collect, group, commands, WITHIN, is_expected).await;
        let Some([Outcome::Done(Done::Collected { references, blobs, more })]) = outcomes.as_deref() else {
            return false;
        };
        metrics::collected(*references, *blobs);
        *more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_steps_are_no_company_and_others_entries_or_fragments_are() {
        let mut company = Company { applied: 10, asked: 5, others: true };
        company.look(11, 5);
        assert!(!company.others, "only the step itself was applied");
        company.look(13, 5);
        assert!(company.others, "somebody else's entry came");
        company.look(14, 6);
        assert!(company.others, "a fragment was brought or wanted");
        company.look(14, 6);
        assert!(!company.others, "a step that failed is nobody's work");
    }
}
