//! Worker *tick*: time passes in a group because a majority of its voters reports to its leader, in its log.
//!
//! ```text
//!   due? ─▶ every voter, this one too: a signed report ─ all, or 300 ms and a majority ─▶ tick ─▶ apply
//! ```
//!
//! Look: the clock of each group that this node leads, where something was applied or a minute is over. Decide:
//! [`is_due`], when something waits for ticks or for a time that has come (at most once a second), else every minute, each
//! group at a second of its own; and once when this node begins to lead, because nobody may have counted since the tick
//! before. Act: collect the voters' reports and propose a tick with them. Its reports alone say how much time passed.
//!
//! A voter that started again, or was silent in the tick before, vouches for nothing since that tick. It loses a minute if
//! it is counted from there and a second if it is counted from a tick just before, so [`chosen`] leaves it out of one where
//! a majority goes without it, and the next one follows at once.
//!
//! Not here: what a voter reports (`report.rs`), how time moves, what ends when and who is fenced (`node/core`), who is told
//! that a clock is late or held (`lag.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use strongroom_consensus::groups::Consensus;
use strongroom_core::entry::{EntryCommand, NodeCommand, Report, Tick};
use strongroom_core::query::{Answer, GroupView, Query};
use strongroom_core::voters::VoterView;
use strongroom_format::codec;
use strongroom_format::id::{Digest, GroupId, NodeName};
use strongroom_format::outcome::{Outcome, Refusal};
use strongroom_host::Host;
use strongroom_host::clock::Running;
use strongroom_peers::peers::Peers;
use tokio::time::Instant;

use crate::lag::Lag;
use crate::leading;
use crate::metrics::{self, Worker};
use crate::propose::Proposer;
use crate::reads::Reads;
use crate::report::Reporter;

/// How often a leader looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Who begins anew loses no more than this, which is not worth another tick.
const SOON: Duration = Duration::from_secs(3);
/// How often time passes where nothing waits for it.
const IDLE_EVERY: Duration = Duration::from_secs(60);
/// A tick that takes longer is given up; the reports of the next one count its time too.
const PROPOSE_MAX: Duration = Duration::from_secs(5);
/// All voters are waited for so long; then a majority must do.
const ALL_WITHIN: Duration = Duration::from_millis(300);
/// A majority is waited for so long.
const MAJORITY_WITHIN: Duration = Duration::from_secs(2);

/// See the head of the file.
pub struct Ticker {
    /// This node.
    pub me: NodeName,
    /// Clocks.
    pub host: Host,
    /// This node's groups.
    pub consensus: Consensus,
    /// The other voters.
    pub peers: Peers,
    /// This one.
    pub reporter: Reporter,
    /// Its way to questions.
    pub reads: Reads,
    /// Its way into logs.
    pub proposer: Proposer,
}

/// A group that this node leads, as far as it was looked at.
struct Seen {
    view: GroupView,
    /// What was applied here when it was read.
    applied: u64,
    /// When this node saw the last tick applied; `None`: it was before it began to look.
    since: Option<Running>,
    /// Whether another tick is worth proposing at once.
    again: bool,
    /// How late the compliance clock is.
    lag: Lag,
}

impl Ticker {
    /// Runs for ever.
    pub async fn run(self) {
        let mut seen: BTreeMap<GroupId, Seen> = BTreeMap::new();
        loop {
            let led = leading::groups(&self.consensus);
            for (group, _) in seen.extract_if(.., |group, _| !led.contains(group)) {
                metrics::clock_unknown(group.0);
            }
            for group in led {
                self.look(group, &mut seen).await;
            }
            let due = seen.values().filter(|seen| self.is_due(seen));
            let mut ticks: FuturesUnordered<_> = due.map(|seen| self.tick(&seen.view, self.elapsed(seen))).collect();
            let mut ticked = Vec::new();
            while let Some(done) = ticks.next().await {
                ticked.push(done);
            }
            drop(ticks);
            for (group, again) in ticked {
                self.look(group, &mut seen).await;
                if let Some(seen) = seen.get_mut(&group) {
                    seen.again = again;
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn is_due(&self, seen: &Seen) -> bool {
        is_due(&seen.view, seen.again, self.elapsed(seen), self.host.clock().raw())
    }

    /// How long ago the last tick was.
    fn elapsed(&self, seen: &Seen) -> Duration {
        seen.since.map_or(IDLE_EVERY, |since| since.elapsed(self.host.clock()))
    }

    /// Reads the group's clock where something was applied since it was read.
    async fn look(&self, group: GroupId, seen: &mut BTreeMap<GroupId, Seen>) {
        let Some(applied) = self.consensus.applied(group).map(|applied| *applied.borrow()) else { return };
        if seen.get(&group).is_none_or(|seen| seen.applied != applied) {
            let now = Running::begin(self.host.clock());
            let Ok(Answer::Group(view)) = self.reads.local(group, &Query::Group).await else { return };
            if view.rules.is_none() {
                return; // not founded yet: it has no time
            }
            let (since, again, lag) = match seen.remove(&group) {
                Some(before) if before.view.clock.last_tick == view.clock.last_tick => {
                    (before.since, before.again, before.lag)
                }
                Some(before) => (Some(now), before.again, before.lag),
                None => (None, false, Lag::default()),
            };
            seen.insert(group, Seen { view, applied, since, again, lag });
        }
        if let Some(seen) = seen.get_mut(&group) {
            let wall_ms = self.host.clock().wall_unix_ns() / 1_000_000;
            seen.lag.look(&seen.view, wall_ms, self.host.clock().raw());
        }
    }

    /// One tick of one group, or none: then the next round tries again. With whether another one should follow at once.
    async fn tick(&self, view: &GroupView, elapsed: Duration) -> (GroupId, bool) {
        let group = view.group;
        let previous = view.clock.last_tick;
        let reports = self.collect(group, previous, &view.voters).await;
        if reports.len() <= view.voters.len() / 2 {
            tracing::debug!(%group, reports = reports.len(), voters = view.voters.len(), "too few voters reported");
            metrics::worked(Worker::Tick, false);
            return (group, false);
        }
        let all = reports.len();
        let reports = if elapsed < SOON { reports } else { chosen(view, reports) };
        let again = reports.len() < all;
        let tick = NodeCommand::Tick(Tick { previous, reports });
        let proposed = self.proposer.propose(group, vec![EntryCommand::Node(tick)], PROPOSE_MAX).await;
        let well = match &proposed {
            Ok(applied) => match applied.outcomes.as_slice() {
                // Another leader's tick came first.
                [Outcome::Done(_) | Outcome::Refused(Refusal::VersionConflict)] => true,
                other => {
                    tracing::warn!(%group, ?other, "a tick was refused");
                    false
                }
            },
            Err(fault) => {
                tracing::debug!(%group, %fault, "a tick was not applied");
                false
            }
        };
        metrics::worked(Worker::Tick, well);
        (group, again)
    }

    /// The voters' reports, sorted by replica id: all that come in time, and a majority if it comes later.
    async fn collect(&self, group: GroupId, previous: Digest, voters: &[VoterView]) -> Vec<Report> {
        let began = Instant::now();
        let mut asked: FuturesUnordered<_> =
            voters.iter().filter(|voter| !voter.fenced).map(|voter| self.ask(group, previous, voter)).collect();
        let mut reports = Vec::with_capacity(voters.len());
        loop {
            let is_majority = voters.len() / 2 < reports.len();
            let ends = began + if is_majority { ALL_WITHIN } else { MAJORITY_WITHIN };
            match tokio::time::timeout_at(ends, asked.next()).await {
                Ok(Some(Some(report))) => reports.push(report),
                Ok(Some(None)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        reports.sort_unstable_by_key(|report: &Report| report.value.replica);
        reports
    }

    async fn ask(&self, group: GroupId, previous: Digest, voter: &VoterView) -> Option<Report> {
        let report = match voter.node == self.me {
            true => self.reporter.report(group, previous, MAJORITY_WITHIN).await.map_err(|fault| fault.to_string()),
            false => {
                let signed = self.peers.report(&voter.node, group, previous, MAJORITY_WITHIN).await;
                signed.map_err(|fault| fault.to_string()).and_then(|signed| {
                    let value = codec::decode(&signed.facts).map_err(|fault| fault.to_string())?;
                    Ok(Report { value, signature: signed.signature })
                })
            }
        };
        // A report that the rules would refuse would spoil the tick.
        let checked = report.and_then(|report| match check(&report, group, previous, voter) {
            true => Ok(report),
            false => Err("its report is not its own, or for another tick".to_owned()),
        });
        metrics::reported(checked.is_ok());
        checked.inspect_err(|fault| tracing::debug!(%group, node = %voter.node, fault, "a voter did not report")).ok()
    }
}

fn check(report: &Report, group: GroupId, previous: Digest, voter: &VoterView) -> bool {
    let facts = &report.value;
    facts.group == group
        && facts.previous == previous
        && facts.replica == voter.replica
        && report.verify(&voter.signing_key).is_ok()
}

/// The reports of those whose running clocks ran on since the tick before, if they are a majority; else all.
fn chosen(view: &GroupView, reports: Vec<Report>) -> Vec<Report> {
    let ran_on = |report: &Report| {
        let voter = view.voters.iter().find(|voter| voter.replica == report.value.replica);
        let last = voter.and_then(|voter| voter.last.as_ref());
        last.is_some_and(|last| last.ran_on(&report.value, view.clock.ticks.saturating_add(1)))
    };
    let (counted, anew): (Vec<Report>, Vec<Report>) = reports.iter().cloned().partition(ran_on);
    if anew.is_empty() || counted.len() <= view.voters.len() / 2 { reports } else { counted }
}

/// Whether a tick is worth an entry: another one is to follow at once, something waits for ticks or for a time that has
/// come, or the group's second of the minute has passed since the tick before.
fn is_due(view: &GroupView, again: bool, elapsed: Duration, raw: Duration) -> bool {
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let has_come =
        |end_ms: Option<u64>, now_ms: u64| end_ms.is_some_and(|end_ms| end_ms <= now_ms.saturating_add(elapsed_ms));
    // A clock that is held shows the same after any number of ticks.
    let runs = view.clock.held_since_ms.is_none();
    let ended = has_come(view.next_end_ms, view.clock.elapsed_ms)
        || (runs && has_come(view.next_clock_end_ms, view.clock.clock_ms));
    let minute = |at: Duration| (at + stagger(view.group)).as_millis() / IDLE_EVERY.as_millis();
    let is_idle_due = IDLE_EVERY <= elapsed || minute(raw.saturating_sub(elapsed)) < minute(raw);
    LOOK_EVERY <= elapsed && (again || view.waits || ended || is_idle_due)
}

/// Where in the minute a group's idle ticks lie: groups that follow each other lie far apart (the golden ratio).
fn stagger(group: GroupId) -> Duration {
    let turn = u64::from(group.0).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    Duration::from_millis((turn * (IDLE_EVERY.as_millis() as u64)) >> 32)
}

#[cfg(test)]
mod tests {
    use strongroom_core::baselines::Baseline;
    use strongroom_core::clock::ClockRow;
    use strongroom_core::entry::ReportFacts;
    use strongroom_core::shard::rows::Usage;
    use strongroom_core::voters::VoterRow;
    use strongroom_format::id::{ClusterEpoch, ReplicaId};
    use strongroom_format::sign::SigningKey;

    use super::*;

    const ZEROS: Digest = Digest::from_bytes([0; 32]);

    fn view(group: u32, next_end_ms: Option<u64>) -> GroupView {
        let clock = ClockRow { elapsed_ms: 10_000, ticks: 3, ..ClockRow::founded(0) };
        GroupView {
            group: GroupId(group),
            rules: None,
            clock,
            next_end_ms,
            next_clock_end_ms: None,
            waits: false,
            digest: ZEROS,
            applied: 0,
            usage: Usage::default(),
            voters: Vec::new(),
            disputed: false,
        }
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn where_something_waits_time_passes_once_a_second_and_not_before_it_is_due() {
        let raw = s(1000) - stagger(GroupId(1));
        for (next_end_ms, elapsed, due) in
            [(None, s(5), false), (Some(11_000), s(1), true), (Some(11_001), s(1), false), (Some(1), s(0), false)]
        {
            assert_eq!(is_due(&view(1, next_end_ms), false, elapsed, raw), due, "{next_end_ms:?} {elapsed:?}");
        }
    }

    #[test]
    fn what_waits_for_ticks_or_for_the_compliance_clock_has_one_a_second_unless_that_clock_is_held() {
        let raw = s(1000) - stagger(GroupId(1));
        let idle = view(1, None);
        assert!(is_due(&idle, true, s(1), raw) && !is_due(&idle, true, s(0), raw));
        let waits = GroupView { waits: true, ..idle.clone() };
        assert!(is_due(&waits, false, s(1), raw) && !is_due(&waits, false, s(0), raw));
        let ends = GroupView { next_clock_end_ms: Some(idle.clock.clock_ms + 1000), ..idle };
        assert!(is_due(&ends, false, s(1), raw));
        let held = GroupView { clock: ClockRow { held_since_ms: Some(0), ..ends.clock.clone() }, ..ends };
        assert!(!is_due(&held, false, s(5), raw) && is_due(&held, false, s(60), raw));
    }

    #[test]
    fn who_begins_anew_is_left_out_where_a_majority_goes_without_it() {
        let key = SigningKey::from_secret(*blake3::hash(b"key").as_bytes()).unwrap();
        let facts = |replica: u64, incarnation: u8| ReportFacts {
            epoch: ClusterEpoch::from_bytes([0; 16]),
            group: GroupId(1),
            replica: ReplicaId(replica),
            previous: ZEROS,
            incarnation: [incarnation; 16],
            running_ms: 10,
            wall_unix_ms: 0,
            durable_index: 0,
            vote_term: 0,
            digest: ZEROS,
        };
        let voter = |replica: u64| VoterView {
            replica: ReplicaId(replica),
            node: format!("n{replica}").parse().unwrap(),
            signing_key: key.public_key(),
            last: Some(VoterRow {
                incarnation: [0; 16],
                running_ms: 10,
                wall_unix_ms: 0,
                durable_index: 0,
                vote_term: 0,
                digest: ZEROS,
                tick: 3,
                baseline: Baseline { running_ms: 0, elapsed_ms: 0 },
            }),
            fenced: false,
        };
        let view = GroupView { voters: (0..3).map(voter).collect(), ..view(1, None) };
        let of = |incarnations: [u8; 3]| {
            let reports = (0..).zip(incarnations).map(|(replica, one)| facts(replica, one).sign(&key)).collect();
            chosen(&view, reports).iter().map(|report| report.value.replica.0).collect::<Vec<_>>()
        };
        assert_eq!(of([0, 0, 0]), [0, 1, 2]);
        assert_eq!(of([0, 9, 0]), [0, 2]);
        assert_eq!(of([0, 9, 9]), [0, 1, 2], "the others would be no majority");
    }

    #[test]
    fn idle_groups_tick_once_a_minute_each_at_a_second_of_its_own() {
        let mut seconds: BTreeMap<u64, u32> = BTreeMap::new();
        for group in 0..120 {
            let mut last = s(600);
            let mut ticks = Vec::new();
            for raw in (601..=900).map(s) {
                if is_due(&view(group, None), false, raw - last, raw) {
                    ticks.push(raw.as_secs());
                    last = raw;
                }
            }
            assert!((4..=6).contains(&ticks.len()), "group {group} ticks at {ticks:?}");
            assert!(ticks.windows(2).all(|pair| pair[1] - pair[0] <= 60), "group {group} ticks at {ticks:?}");
            *seconds.entry(ticks[1] % 60).or_default() += 1;
        }
        assert!(50 < seconds.len() && seconds.values().all(|groups| *groups < 6), "{seconds:?}");
    }
}
