//! All machines of a simulation and the time that passes for them, window by window.
//!
//! ```text
//!   window of 10 ms: what is planned for it ─▶ each machine runs through it, one after another ─▶ looked at
//! ```
//!
//! Nothing travels faster than a window is long, so no machine can notice that another ran before it.
//! Law: one leader in a term (I14), looked for every 50 ms.
//! Not here: what is planned (`plan.rs`), what clients do (`client.rs`), phases (`run.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use strongroom_consensus::group::Role;
use strongroom_format::id::{GroupId, ReplicaId};
use strongroom_host::sim_disk::{Call, Fails};
use tokio::runtime::Runtime;

use crate::dice::Dice;
use crate::simulation::clocks::{Hands, Now};
use crate::simulation::ledger::FAST_PPM;
use crate::simulation::life::World;
use crate::simulation::node::{Machine, paused};
use crate::simulation::plan::Fault;
use crate::simulation::trace::Weight;
use crate::simulation::wires::{DELAY_MIN_MS, Link, Load, Station};

/// How long a window is.
const WINDOW_MS: u64 = DELAY_MIN_MS;
/// How often it is looked who leads.
const LOOK_EVERY_MS: u64 = 50;
/// A process that ended itself is started again after so long.
const RESTART_MS: u64 = 2_000;

/// See the head of the file.
pub(crate) struct Cluster {
    pub(crate) world: Arc<World>,
    pub(crate) machines: Vec<Machine>,
    clients: Runtime,
    clients_now: Now,
    now_ms: u64,
    base: Link,
    /// Faults of links that last until a moment.
    links: Vec<(u64, Fault)>,
    /// What is to be done at a moment: by moment and number.
    due: BTreeMap<(u64, u64), Deed>,
    numbers: u64,
    leaders: BTreeMap<(GroupId, u64), ReplicaId>,
    /// Machines one of whose syncs fails: what they think is safe may be lost.
    doubtful: Vec<bool>,
    /// Faults that took effect.
    pub(crate) effects: u64,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Suffer(Fault),
    Start(Station),
    Resume(Station),
    Relink,
}

impl Cluster {
    /// Machines that are off, and start within the first second.
    pub(crate) fn new(world: Arc<World>, base: Link) -> Self {
        let mut dice = Dice::named(world.seed, 31);
        let nodes = world.names.len();
        let crystal = |dice: &mut Dice| {
            let most = FAST_PPM * 1000;
            i64::try_from(dice.below(2 * most)).unwrap_or(0) - i64::try_from(most).unwrap_or(0)
        };
        let machine = |station| {
            let hands = Hands::new(crystal(&mut dice), crystal(&mut dice));
            Machine::new(Arc::clone(&world), station, hands)
        };
        let machines: Vec<Machine> = (0..nodes).map(machine).collect();
        let clients = paused(dice.next());
        let clients_now = clients.block_on(async { Now::begin(0) });
        world.wires.up(nodes, 1);
        let mut cluster = Self {
            world,
            machines,
            clients,
            clients_now,
            now_ms: 0,
            base,
            links: Vec::new(),
            due: BTreeMap::new(),
            numbers: 0,
            leaders: BTreeMap::new(),
            doubtful: vec![false; nodes],
            effects: 0,
        };
        for node in 0..nodes {
            cluster.plan(dice.below(1000), Deed::Start(node));
        }
        cluster
    }

    /// True time.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The clients' time.
    pub(crate) fn clients_now(&self) -> Now {
        self.clients_now
    }

    /// Starts what a client does.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.clients.spawn(work);
    }

    /// A fault comes at a moment.
    pub(crate) fn suffer_at(&mut self, at_ms: u64, fault: Fault) {
        self.plan(at_ms, Deed::Suffer(fault));
    }

    fn plan(&mut self, at_ms: u64, deed: Deed) {
        self.numbers += 1;
        self.due.insert((at_ms, self.numbers), deed);
    }

    /// Lets one window pass.
    pub(crate) fn step(&mut self) {
        let until_ms = self.now_ms + WINDOW_MS;
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 < until_ms) {
            let deed = entry.remove();
            self.act(deed);
        }
        for station in 0..self.machines.len() {
            let fatal = self.machines[station].until(until_ms);
            if self.machines[station].disk().is_without_power() {
                self.say(until_ms, station, format_args!("is without power"));
                self.machines[station].cut_power(until_ms);
                self.doubtful[station] = false;
                self.plan(until_ms + RESTART_MS, Deed::Start(station));
            } else if let Some(why) = fatal {
                self.ended(until_ms, station, &why);
            }
        }
        self.clients_until(until_ms);
        self.now_ms = until_ms;
        if until_ms.is_multiple_of(LOOK_EVERY_MS) {
            self.look_for_leaders();
        }
    }

    fn clients_until(&mut self, until_ms: u64) {
        let station = self.machines.len();
        for parcel in self.world.wires.arriving(station, until_ms) {
            let Load::Said(said) = parcel.load else { continue };
            let (wires, at) = (self.world.wires.clone(), self.clients_now.at(parcel.at_ms));
            self.clients.spawn(async move {
                tokio::time::sleep_until(at).await;
                wires.hand_over(parcel.number, said);
            });
        }
        let until = self.clients_now.at(until_ms);
        self.clients.block_on(async move { tokio::time::sleep_until(until).await });
    }

    /// A process ended itself. Whoever lost a sync has lost power: what it read back later might not be on the disk.
    fn ended(&mut self, at_ms: u64, station: Station, why: &str) {
        self.say(at_ms, station, format_args!("has ended: {why}"));
        match std::mem::replace(&mut self.doubtful[station], false) {
            true => self.machines[station].cut_power(at_ms),
            false => self.machines[station].kill(at_ms),
        }
        self.machines[station].disk().heal();
        self.plan(at_ms + RESTART_MS, Deed::Start(station));
    }

    fn say(&self, at_ms: u64, station: Station, what: std::fmt::Arguments<'_>) {
        let who = self.world.names.get(station).map_or_else(|| "--".to_owned(), ToString::to_string);
        self.world.trace.say(at_ms, &who, Weight::Event, what);
    }

    fn act(&mut self, deed: Deed) {
        let now_ms = self.now_ms;
        match deed {
            Deed::Suffer(fault) => self.suffer(fault),
            Deed::Start(node) if self.machines[node].disk().is_without_power() || self.machines[node].is_up() => {}
            Deed::Start(node) => {
                self.say(now_ms, node, format_args!("starts"));
                self.machines[node].start(now_ms);
            }
            Deed::Resume(node) => {
                self.say(now_ms, node, format_args!("goes on"));
                self.machines[node].resume(now_ms);
            }
            Deed::Relink => self.relink(),
        }
    }

    fn suffer(&mut self, fault: Fault) {
        let now_ms = self.now_ms;
        self.say(now_ms, usize::MAX, format_args!("{fault}"));
        self.effects += 1;
        match fault {
            Fault::Kill { node, down_ms } => {
                if self.machines[node].is_up() {
                    match std::mem::replace(&mut self.doubtful[node], false) {
                        true => self.machines[node].cut_power(now_ms),
                        false => self.machines[node].kill(now_ms),
                    }
                }
                self.plan(now_ms + down_ms, Deed::Start(node));
            }
            Fault::PowerCut { node, after_calls, down_ms } => {
                self.machines[node].disk().cut_power_after(after_calls);
                // where so many calls do not come, power goes anyway
                self.plan(now_ms + down_ms, Deed::Suffer(Fault::Kill { node, down_ms: RESTART_MS }));
                self.plan(now_ms + down_ms + RESTART_MS, Deed::Start(node));
            }
            Fault::PowerCutOfAll { down_ms } => {
                for node in 0..self.machines.len() {
                    self.machines[node].cut_power(now_ms);
                    self.doubtful[node] = false;
                    self.plan(now_ms + down_ms, Deed::Start(node));
                }
            }
            Fault::Wipe { node, down_ms } => {
                self.machines[node].wipe(now_ms);
                self.doubtful[node] = false;
                self.plan(now_ms + down_ms, Deed::Start(node));
            }
            Fault::Pause { node, for_ms } => {
                self.machines[node].pause();
                self.plan(now_ms + for_ms, Deed::Resume(node));
            }
            Fault::Cut { for_ms, .. }
            | Fault::Isolate { for_ms, .. }
            | Fault::HideFromClients { for_ms, .. }
            | Fault::Slow { for_ms, .. }
            | Fault::Storm { for_ms, .. } => {
                self.links.push((now_ms + for_ms, fault));
                self.plan(now_ms + for_ms, Deed::Relink);
                self.relink();
            }
            Fault::WallJump { node, by_ms } => self.machines[node].hands().jump_wall(now_ms, by_ms),
            Fault::RunningClock { node, jump_ms, ppb } => {
                self.machines[node].hands().run_at(now_ms, jump_ms, ppb);
            }
            Fault::SyncFails { node, down_ms } => {
                self.machines[node].disk().fail(Call::Sync, "", Fails::Once);
                self.doubtful[node] = true;
                self.plan(now_ms + down_ms, Deed::Start(node));
            }
        }
    }

    /// Makes links what the faults that last make of them.
    fn relink(&mut self) {
        let now_ms = self.now_ms;
        self.links.retain(|(until_ms, _)| now_ms < *until_ms);
        let (base, clients, faults) = (self.base, self.machines.len(), self.links.clone());
        self.world.wires.change(|from, to, link| {
            *link = base;
            for (_, fault) in &faults {
                touch(link, from, to, clients, fault);
            }
        });
    }

    /// Ends whatever lasts: all links are well, all processes run, no call fails. Clocks stay as they are.
    pub(crate) fn heal(&mut self) {
        self.say(self.now_ms, usize::MAX, format_args!("all is healed"));
        self.due.clear();
        self.links.clear();
        self.relink();
        for node in 0..self.machines.len() {
            let machine = &mut self.machines[node];
            machine.resume(self.now_ms);
            machine.disk().keep_power();
            // a sync that failed unseen is met when power goes, not later
            if std::mem::replace(&mut self.doubtful[node], false) {
                self.machines[node].cut_power(self.now_ms);
            }
            self.machines[node].disk().heal();
            self.plan(self.now_ms, Deed::Start(node));
        }
    }

    /// Two leaders of one term are a broken law; a new one is news.
    fn look_for_leaders(&mut self) {
        for (station, machine) in self.machines.iter().enumerate() {
            let Some(consensus) = machine.shared().and_then(|shared| shared.consensus.get()) else { continue };
            for group in consensus.groups() {
                let Some(status) = consensus.status(group).filter(|status| status.role == Role::Leader) else {
                    continue;
                };
                match self.leaders.get(&(group, status.term)) {
                    Some(leader) if *leader == status.replica => {}
                    Some(leader) => {
                        let what =
                            format!("{leader} and {} lead group {group} in term {}", status.replica, status.term);
                        self.world.ledger.accuse("I14", what);
                    }
                    None => {
                        self.leaders.insert((group, status.term), status.replica);
                        let what = format_args!("leads group {group} in term {}", status.term);
                        self.world.trace.say(self.now_ms, &self.world.names[station].to_string(), Weight::Event, what);
                    }
                }
            }
        }
    }

    /// How many elections were won.
    pub(crate) fn elections(&self) -> u64 {
        self.leaders.len() as u64
    }
}

/// What a fault makes of a link.
fn touch(link: &mut Link, from: Station, to: Station, clients: Station, fault: &Fault) {
    let ends = |one: Station, other: Station| (from, to) == (one, other) || (from, to) == (other, one);
    match *fault {
        Fault::Cut { from: one, to: other, .. } => link.is_cut |= (from, to) == (one, other),
        Fault::Isolate { node, .. } => {
            link.is_cut |= (from == node || to == node) && from != clients && to != clients;
        }
        Fault::HideFromClients { node, .. } => link.is_cut |= ends(node, clients),
        Fault::Slow { one, other, delay_ms, .. } if ends(one, other) => {
            link.delay_ms.1 = link.delay_ms.1.max(delay_ms);
        }
        Fault::Storm { lost, doubled, .. } => {
            link.lost = link.lost.max(lost);
            link.doubled = link.doubled.max(doubled);
            link.reorders = true;
        }
        Fault::Slow { .. }
        | Fault::Kill { .. }
        | Fault::PowerCut { .. }
        | Fault::PowerCutOfAll { .. }
        | Fault::Wipe { .. }
        | Fault::Pause { .. }
        | Fault::WallJump { .. }
        | Fault::RunningClock { .. }
        | Fault::SyncFails { .. } => {}
    }
}
