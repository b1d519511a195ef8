//! The compliance clock (DESIGN.md §7.2): whatever a minority of voters and the leader say, choose, hold back and repeat,
//! however wall clocks are set and members change, neither `E` nor the clock is ever ahead of true time.
//!
//! True time is the test's: the rules never see it. An honest voter's running clock is right up to one part in ten
//! thousand; its wall clock shows anything. Liars are nodes, and a minority of every set of voters that there can be; they
//! say anything, and the leader is theirs.

use std::collections::BTreeMap;

use proptest::prelude::*;
use strongroom_core::baselines::IN_HAND_MAX_MS;
use strongroom_core::clock::ClockRow;
use strongroom_core::entry::{Report, ReportFacts};
use strongroom_core::query::Measured;
use strongroom_core::voters::VoterView;
use strongroom_format::id::GroupId;
use strongroom_format::outcome::{Done, Outcome};

use crate::group::{BEGAN_MS, HOUR_MS, MINUTE_MS, cases, done, epoch, fixed, signing_key};
use crate::tenant::OPERATOR;
use crate::world::{World, genesis, issue_node_body, redeem_node};

const SHARD: GroupId = GroupId(1);
const YEAR_MS: u64 = 365 * 24 * HOUR_MS;

/// What somebody does. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    /// True time passes.
    Wait { us: u64 },
    /// Honest voters are asked, by bits, and what they say is kept.
    Ask { voters: u8 },
    /// A tick from what is kept of these voters, by bits: the oldest or the newest of each. Liars say what they like.
    Tick { voters: u8, oldest: u8, lies: [Lie; 2] },
    /// The same for which every honest voter is asked just before.
    HonestTick { silent: u8, lies: [Lie; 2] },
    /// Everything that was ever said, signed and sound, once more.
    Replay { which: usize },
    /// A process starts again.
    Restart { node: usize, down_ms: u64 },
    /// A running clock goes back.
    Back { node: usize, ms: u64 },
    /// A wall clock is set: some, or all of them.
    Walls { nodes: u8, wall_ms: u64 },
    /// A member is replaced under another id.
    Replace { node: usize },
    /// A node joins, which may change who votes in the cluster group.
    Join,
}

/// What a liar says.
#[derive(Clone, Copy, Debug)]
struct Lie {
    running_ms: u64,
    wall_ms: u64,
    incarnation: u8,
}

fn lie() -> impl Strategy<Value = Lie> {
    let running_ms = prop_oneof![Just(0), Just(u64::MAX), 0..HOUR_MS, 0..100 * YEAR_MS, any::<u64>()];
    (running_ms, wall(), 0..3_u8).prop_map(|(running_ms, wall_ms, incarnation)| Lie {
        running_ms,
        wall_ms,
        incarnation,
    })
}

fn wall() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), BEGAN_MS - HOUR_MS..BEGAN_MS + HOUR_MS, 0..BEGAN_MS + 100 * YEAR_MS]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop_oneof![0..5_000_u64, 0..5_000_000_u64, 0..90_000_000_u64, 0..400 * 24 * HOUR_MS * 1000]
            .prop_map(|us| Step::Wait { us }),
        4 => any::<u8>().prop_map(|voters| Step::Ask { voters }),
        4 => (any::<u8>(), any::<u8>(), [lie(), lie()])
            .prop_map(|(voters, oldest, lies)| Step::Tick { voters, oldest, lies }),
        6 => (0..4_u8, [lie(), lie()]).prop_map(|(silent, lies)| Step::HonestTick { silent, lies }),
        1 => any::<usize>().prop_map(|which| Step::Replay { which }),
        1 => (any::<usize>(), 0..HOUR_MS).prop_map(|(node, down_ms)| Step::Restart { node, down_ms }),
        1 => (any::<usize>(), 0..HOUR_MS).prop_map(|(node, ms)| Step::Back { node, ms }),
        2 => (any::<u8>(), wall()).prop_map(|(nodes, wall_ms)| Step::Walls { nodes, wall_ms }),
        1 => any::<usize>().prop_map(|node| Step::Replace { node }),
        1 => Just(Step::Join),
    ]
}

/// A machine with its clocks.
struct Machine {
    /// How much faster than true time its running clock goes, in millionths: at most a hundred, either way.
    ppm: i64,
    /// What the running clock shows is that much less than it would.
    behind_ms: u64,
    began_us: u64,
    incarnation: u32,
    /// The wall clock is that; `None`: it is right.
    wall_ms: Option<u64>,
}

impl Machine {
    fn new(ppm: i64, now_us: u64) -> Self {
        Self { ppm, behind_ms: 0, began_us: now_us, incarnation: 0, wall_ms: None }
    }

    fn running_ms(&self, now_us: u64) -> u64 {
        let ran = i128::from(now_us - self.began_us) * (1_000_000 + i128::from(self.ppm)) / 1_000_000_000;
        u64::try_from(ran).unwrap().saturating_sub(self.behind_ms)
    }
}

struct Play {
    world: World,
    group: GroupId,
    /// True time since the cluster was founded, in microseconds.
    now_us: u64,
    machines: BTreeMap<String, Machine>,
    /// A minority of any electorate of the group.
    liars: Vec<String>,
    kept: Vec<Report>,
    said: Vec<Report>,
    /// For each tick: when, and which time it gave.
    ticks: Vec<(u64, ClockRow)>,
}

impl Play {
    fn new(nodes: usize, group: GroupId) -> Self {
        let world = World::founded(&genesis(nodes, 3, 1));
        let voters = world.groups[&group].view().voters.len();
        let names: Vec<String> = (0..nodes).map(|number| format!("n{number}")).collect();
        // The first ones vote in both kinds of groups.
        let liars = names.iter().take((voters - 1) / 2).cloned().collect();
        let machines = names.into_iter().zip([100, -100, 100, 30, 100, -20]);
        let machines = machines.map(|(name, ppm)| (name, Machine::new(ppm, 0))).collect();
        Self {
            world,
            group,
            now_us: 0,
            machines,
            liars,
            kept: Vec::new(),
            said: Vec::new(),
            ticks: vec![(0, ClockRow::founded(BEGAN_MS))],
        }
    }

    fn honest(&self) -> Vec<ReportFacts> {
        let view = self.world.groups[&self.group].view();
        let of = |voter: &VoterView| {
            let name = voter.node.to_string();
            let machine = (!self.liars.contains(&name)).then(|| &self.machines[&name])?;
            let measured = Measured {
                incarnation: fixed(&format!("{name} {}", machine.incarnation)),
                running_ms: machine.running_ms(self.now_us),
                wall_unix_ms: machine.wall_ms.unwrap_or(BEGAN_MS + self.now_us / 1000),
                durable_index: 0,
                vote_term: 0,
            };
            Some(view.report(epoch(), voter.replica, &measured))
        };
        view.voters.iter().filter_map(of).collect()
    }

    /// What the liars among the voters say; sound in form, or the tick would be refused.
    fn lies(&self, lies: &[Lie]) -> Vec<Report> {
        let group = &self.world.groups[&self.group];
        let view = group.view();
        let of = |(voter, lie): (&VoterView, &Lie)| {
            let measured = Measured {
                incarnation: [lie.incarnation; 16],
                running_ms: lie.running_ms,
                wall_unix_ms: lie.wall_ms,
                durable_index: 0,
                vote_term: 0,
            };
            group.sign(view.report(epoch(), voter.replica, &measured))
        };
        let lying = view.voters.iter().filter(|voter| self.liars.contains(&voter.node.to_string()));
        lying.zip(lies).map(of).collect()
    }

    fn ask(&mut self, voters: u8) {
        for (bit, facts) in self.honest().into_iter().enumerate() {
            if voters & (1 << bit) != 0 {
                let report = self.world.groups[&self.group].sign(facts);
                self.kept.push(report.clone());
                self.said.push(report);
            }
        }
    }

    fn tick(&mut self, mut reports: Vec<Report>) -> Outcome {
        reports.sort_by_key(|report| report.value.replica);
        self.said.extend(reports.iter().cloned());
        let outcome = self.world.group(self.group).tick_with(reports);
        if matches!(outcome, Outcome::Done(_)) {
            self.kept.clear();
            let clock = self.world.groups[&self.group].view().clock;
            self.ticks.push((self.now_us, clock));
        }
        outcome
    }

    fn act(&mut self, step: &Step) -> Option<Outcome> {
        match *step {
            Step::Wait { us } => self.now_us += us,
            Step::Ask { voters } => self.ask(voters),
            Step::Tick { voters, oldest, ref lies } => {
                let mut of: BTreeMap<_, Vec<Report>> = BTreeMap::new();
                for report in &self.kept {
                    of.entry(report.value.replica).or_default().push(report.clone());
                }
                let chosen = of.into_values().enumerate().filter(|(bit, _)| voters & (1 << bit) != 0);
                let mut reports: Vec<Report> = chosen
                    .filter_map(|(bit, all)| match oldest & (1 << bit) {
                        0 => all.last().cloned(),
                        _ => all.first().cloned(),
                    })
                    .collect();
                reports.extend(self.lies(lies));
                return Some(self.tick(reports));
            }
            Step::HonestTick { silent, ref lies } => {
                self.kept.clear();
                self.ask(!silent);
                let mut reports = self.kept.clone();
                reports.extend(self.lies(lies));
                return Some(self.tick(reports));
            }
            Step::Replay { which } => {
                let report = self.said.get(which % self.said.len().max(1))?.clone();
                let before = self.world.groups[&self.group].view();
                if report.value.previous == before.clock.last_tick {
                    return None;
                }
                let mut reports = vec![report];
                reports.extend(self.lies(&[Lie { running_ms: 0, wall_ms: 0, incarnation: 0 }; 2]));
                reports.sort_by_key(|report| report.value.replica);
                let outcome = self.world.group(self.group).tick_with(reports);
                assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
                assert_eq!(self.world.groups[&self.group].view().clock, before.clock);
                return Some(outcome);
            }
            Step::Restart { node, down_ms } => {
                self.now_us += down_ms * 1000;
                let now_us = self.now_us;
                let machine = self.machine(node);
                machine.incarnation += 1;
                (machine.began_us, machine.behind_ms) = (now_us, 0);
            }
            Step::Back { node, ms } => self.machine(node).behind_ms += ms,
            Step::Walls { nodes, wall_ms } => {
                for (bit, machine) in self.machines.values_mut().enumerate() {
                    if u32::from(nodes) & (1 << bit) != 0 {
                        machine.wall_ms = Some(wall_ms);
                    }
                }
            }
            Step::Replace { node } => return self.replace(node),
            Step::Join => return self.join(),
        }
        None
    }

    fn machine(&mut self, node: usize) -> &mut Machine {
        let count = self.machines.len();
        self.machines.values_mut().nth(node % count).unwrap()
    }

    fn replace(&mut self, node: usize) -> Option<Outcome> {
        let names: Vec<String> = self.machines.keys().filter(|name| name.starts_with('n')).cloned().collect();
        let name = &names[node % names.len()];
        if self.group == SHARD && self.world.map().shards[0].slots.iter().all(|slot| slot.node.to_string() != *name) {
            return None;
        }
        let (slot, from) = self.world.member(self.group, name);
        let Outcome::Done(Done::ReplicaAllotted { replica: to }) = self.world.rebuild(self.group, name, from) else {
            return None;
        };
        if self.group == SHARD {
            done(self.world.replace(SHARD, slot, from, to));
        }
        let outcome = self.world.has_come(self.group, slot, to);
        self.kept.clear();
        Some(outcome)
    }

    fn join(&mut self) -> Option<Outcome> {
        let number = self.machines.keys().filter(|name| name.starts_with('j')).count();
        if 3 <= number {
            return None;
        }
        let (name, token) = (format!("j{number}"), format!("token {number}"));
        let body = issue_node_body(&token, &name, &format!("r{}", number % 3));
        if !matches!(self.world.operator_as(OPERATOR, body), Outcome::Done(_)) {
            return None;
        }
        let key = signing_key(&format!("node key {number}"));
        let port = 9000 + 10 * u16::try_from(number).unwrap();
        let outcome = self.world.cluster().redeem(redeem_node(&token, &key, port));
        if matches!(outcome, Outcome::Done(_)) {
            self.machines.insert(name, Machine::new(-100, self.now_us));
        }
        Some(outcome)
    }

    /// See the head of the file: the laws that true time is needed for.
    fn check(&self) -> Result<(), TestCaseError> {
        let clock = self.world.groups[&self.group].view().clock;
        let now_us = self.now_us;
        prop_assert!(clock.elapsed_ms * 1000 <= most(now_us), "E is ahead at {now_us}: {clock:?}");
        prop_assert!((clock.clock_ms - BEGAN_MS) * 1000 <= most(now_us), "the clock is ahead at {now_us}: {clock:?}");
        Ok(())
    }

    /// A lock that was committed at any moment begins at `E + 2 s` after the second tick behind it: what `E` shows beyond
    /// that beginning has truly passed since the commit. The reports of the second tick name the first, so they were made
    /// behind it.
    fn check_beginnings(&self) -> Result<(), TestCaseError> {
        for (at, pair) in self.ticks.windows(2).enumerate() {
            let ((first_us, _), (_, second)) = (&pair[0], &pair[1]);
            for (later_us, later) in &self.ticks[at + 2..] {
                let since = later.elapsed_ms.saturating_sub(second.elapsed_ms + IN_HAND_MAX_MS);
                let truly = later_us - first_us;
                prop_assert!(
                    since * 1000 <= most(truly),
                    "{since} ms from a beginning, {truly} us in truth: {:?}",
                    self.ticks
                );
            }
        }
        Ok(())
    }
}

/// What a clock that may be wrong by one part in ten thousand shows at most.
fn most(true_us: u64) -> u64 {
    true_us + true_us / 10_000
}

fn adversary(nodes: usize, group: GroupId, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut play = Play::new(nodes, group);
    for step in steps {
        play.act(step);
        play.check()?;
    }
    play.check_beginnings()?;
    let group = &play.world.groups[&play.group];
    prop_assert!(group.replayed() == group.tables);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 400, ..cases(64) })]

    #[test]
    fn n68_n125_n126_nothing_moves_time_ahead_of_true_time_in_a_shard_of_three(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        adversary(3, SHARD, &steps)?;
    }

    #[test]
    fn n68_n125_n126_nothing_moves_time_ahead_of_true_time_in_a_shard_of_five(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        adversary(6, SHARD, &steps)?;
    }

    #[test]
    fn n68_n125_n126_nothing_moves_time_ahead_of_true_time_in_the_cluster_group(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        adversary(3, GroupId::CLUSTER, &steps)?;
    }
}

/// The play reaches what it is about: without this, the properties could hold of a clock that stands.
#[test]
fn plays_move_time_and_members() {
    for (nodes, group) in [(3, SHARD), (6, SHARD), (3, GroupId::CLUSTER)] {
        let mut play = Play::new(nodes, group);
        let far = Lie { running_ms: u64::MAX, wall_ms: u64::MAX, incarnation: 0 };
        let tick = |play: &mut Play| drop(done(play.act(&Step::HonestTick { silent: 0, lies: [far, far] }).unwrap()));
        tick(&mut play);
        for round in 1..=10 {
            play.act(&Step::Wait { us: MINUTE_MS * 1000 });
            tick(&mut play);
            play.act(&Step::Restart { node: round, down_ms: 0 });
        }
        assert!(matches!(play.act(&Step::Replace { node: 1 }), Some(Outcome::Done(_))));
        if group == GroupId::CLUSTER {
            assert!(matches!(play.act(&Step::Join), Some(Outcome::Done(_))));
        }
        for _ in 0..3 {
            play.act(&Step::Wait { us: MINUTE_MS * 1000 });
            tick(&mut play);
        }
        assert!(matches!(play.act(&Step::Replay { which: 3 }), Some(Outcome::Refused(_))));
        play.check().unwrap();
        play.check_beginnings().unwrap();
        let clock = play.world.groups[&group].view().clock;
        assert!(3 * MINUTE_MS < clock.elapsed_ms && BEGAN_MS + 3 * MINUTE_MS < clock.clock_ms, "{clock:?}");
    }
}

/// All voters of three or five, honest and well, with a tick a minute and running clocks that are wrong by one part in ten
/// thousand at most: the clock is behind true time by what passed before the second tick, by less than a minute and two
/// looks since the last, and by the error of the clocks. A minority that is silent or slow changes nothing.
#[test]
fn a_healthy_clock_is_late_by_no_more_than_it_says() {
    for (nodes, silent) in [(3, 0), (6, 0), (3, 1), (6, 2)] {
        let mut play = Play::new(nodes, SHARD);
        if silent == 0 {
            play.liars.clear();
        }
        let slow = Lie { running_ms: 0, wall_ms: 0, incarnation: 0 };
        let tick = |play: &mut Play| drop(done(play.act(&Step::HonestTick { silent: 0, lies: [slow, slow] }).unwrap()));
        let first_ms = 1_000;
        play.act(&Step::Wait { us: first_ms * 1000 });
        tick(&mut play);
        for _ in 0..1_000 {
            play.act(&Step::Wait { us: 60_000_000 });
            let late = |play: &Play| {
                let clock = play.world.groups[&SHARD].view().clock;
                BEGAN_MS + play.now_us / 1000 - clock.clock_ms
            };
            let most_ms = first_ms + 60_000 + play.now_us / 10_000_000 + 3;
            assert!(late(&play) <= most_ms, "{} ms late of {most_ms}", late(&play));
            tick(&mut play);
            assert!(late(&play) <= most_ms - 60_000, "{} ms late after a tick, of {most_ms}", late(&play));
        }
    }
}

/// A voter says whole milliseconds. Whoever lets it begin anew at the end of one and go on at the beginning of another sees
/// it count almost a millisecond that did not pass, and could do so with each in turn: time would run an eighth too fast.
#[test]
fn a_leader_that_chooses_moments_within_milliseconds_gains_nothing() {
    let mut play = Play::new(3, SHARD);
    play.liars.clear();
    for (began_us, machine) in (0..).zip(play.machines.values_mut()) {
        (machine.ppm, machine.began_us) = (0, began_us);
    }
    play.now_us = 10_000;
    play.ticks = vec![(play.now_us, ClockRow::founded(BEGAN_MS))];
    let nothing = [Lie { running_ms: 0, wall_ms: 0, incarnation: 0 }; 2];
    // In each turn one voter goes on, one begins anew and one is silent. Each one's milliseconds begin just behind those of
    // the one before.
    for turn in 0..300 {
        let (goes_on, anew) = (turn % 3, (turn + 1) % 3);
        for (moment_us, at_least_us) in [(goes_on, 0), (anew, 1000)] {
            let us = at_least_us + (1000 + moment_us - play.now_us % 1000) % 1000;
            play.act(&Step::Wait { us });
            let silent = !((1 << goes_on) | (1 << anew));
            done(play.act(&Step::HonestTick { silent, lies: nothing }).unwrap());
            let (now_ms, clock) = (play.now_us / 1000 - 10, play.world.groups[&SHARD].view().clock);
            assert!(clock.elapsed_ms <= now_ms, "{} ms counted in {now_ms}", clock.elapsed_ms);
        }
    }
    assert!(200 < play.world.groups[&SHARD].view().clock.elapsed_ms, "and time passes all the same");
}
