//! Worker *tick*: time passes in a group because a majority of its voters reports to its leader, in its log.
//!
//! ```text
//!   due? ─▶ every voter, this one too: a signed report ─ all, or 300 ms and a majority ─▶ tick ─▶ apply
//! ```
//!
//! Look: the clock of each group that this node leads, where something was applied or a minute is over. Decide:
//! [`is_due`], when something waits for a time that has come (at most once a second), else every minute, each group at a
//! second of its own. Act: collect the voters' reports (each says what its own state was, so that a digest that differs
//! shows) and propose a tick with what this node's running clocks have counted since it saw the tick before applied:
//! never more than true time. Not here: what a voter reports (`report.rs`), what ends when and who is fenced (`node/core`).

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

use crate::leading;
use crate::metrics::{self, Worker};
use crate::propose::Proposer;
use crate::reads::Reads;
use crate::report::Reporter;

/// How often a leader looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often time passes where nothing waits for it.
const IDLE_EVERY: Duration = Duration::from_secs(60);
/// A tick that takes longer is given up; the next one counts its time too.
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
    /// When this node saw the last tick applied.
    since: Running,
}

impl Ticker {
    /// Runs for ever.
    pub async fn run(self) {
        let mut seen: BTreeMap<GroupId, Seen> = BTreeMap::new();
        loop {
            let led = leading::groups(&self.consensus);
            // Who stops leading stops counting: the tick before may be another leader's by the time it leads again.
            seen.retain(|group, _| led.contains(group));
            for group in led {
                self.look(group, &mut seen).await;
            }
            let due = seen.values().filter(|seen| self.is_due(seen));
            let mut ticks: FuturesUnordered<_> = due.map(|seen| self.tick(&seen.view, seen.since)).collect();
            let mut ticked = Vec::new();
            while let Some(group) = ticks.next().await {
                ticked.push(group);
            }
            drop(ticks);
            // The sooner the tick is seen, the less time is lost to the next one.
            for group in ticked {
                self.look(group, &mut seen).await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn is_due(&self, seen: &Seen) -> bool {
        is_due(&seen.view, seen.since.elapsed(self.host.clock()), self.host.clock().raw())
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
            let since = match seen.get(&group) {
                Some(before) if before.view.clock.last_tick == view.clock.last_tick => before.since,
                Some(_) | None => now,
            };
            seen.insert(group, Seen { view, applied, since });
        }
        if let Some(seen) = seen.get(&group) {
            let wall_ms = self.host.clock().wall_unix_ns() / 1_000_000;
            metrics::clock_lag(group.0, wall_ms.saturating_sub(seen.view.clock.wall_unix_ms) as f64 / 1000.0);
        }
    }

    /// One tick of one group, or none: then the next round tries again.
    async fn tick(&self, view: &GroupView, since: Running) -> GroupId {
        let group = view.group;
        let previous = view.clock.last_tick;
        let reports = self.collect(group, previous, &view.voters).await;
        if reports.len() <= view.voters.len() / 2 {
            tracing::debug!(%group, reports = reports.len(), voters = view.voters.len(), "too few voters reported");
            metrics::worked(Worker::Tick, false);
            return group;
        }
        let elapsed_ms = u64::try_from(since.elapsed(self.host.clock()).as_millis()).unwrap_or(u64::MAX);
        let tick = NodeCommand::Tick(Tick { previous, elapsed_ms, reports });
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
        group
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

/// Whether a tick is worth an entry: something waits for a time that has come, or the group's second of the minute has
/// passed since the tick before.
fn is_due(view: &GroupView, elapsed: Duration, raw: Duration) -> bool {
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let now_ms = view.clock.elapsed_ms.saturating_add(elapsed_ms);
    let ended = view.next_end_ms.is_some_and(|end_ms| end_ms <= now_ms);
    let minute = |at: Duration| (at + stagger(view.group)).as_millis() / IDLE_EVERY.as_millis();
    let is_idle_due = IDLE_EVERY <= elapsed || minute(raw.saturating_sub(elapsed)) < minute(raw);
    LOOK_EVERY <= elapsed && (ended || is_idle_due)
}

/// Where in the minute a group's idle ticks lie: groups that follow each other lie far apart (the golden ratio).
fn stagger(group: GroupId) -> Duration {
    let turn = u64::from(group.0).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    Duration::from_millis((turn * (IDLE_EVERY.as_millis() as u64)) >> 32)
}

#[cfg(test)]
mod tests {
    use strongroom_core::clock::ClockRow;
    use strongroom_core::shard::rows::Usage;

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
            assert_eq!(is_due(&view(1, next_end_ms), elapsed, raw), due, "{next_end_ms:?} {elapsed:?}");
        }
    }

    #[test]
    fn idle_groups_tick_once_a_minute_each_at_a_second_of_its_own() {
        let mut seconds: BTreeMap<u64, u32> = BTreeMap::new();
        for group in 0..120 {
            let mut last = s(600);
            let mut ticks = Vec::new();
            for raw in (601..=900).map(s) {
                if is_due(&view(group, None), raw - last, raw) {
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
