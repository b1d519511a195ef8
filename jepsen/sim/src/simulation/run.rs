//! One seed: a cluster of some shape is founded, attacked, healed and looked through.
//!
//! ```text
//!   founded, tenants settled ─▶ safety phase: clients ∥ faults ─▶ healed ─▶ liveness phase ─▶ quiet: replicas compared
//! ```
//!
//! Everything follows from the seed and the plan of faults, which follows from the seed too, unless a shorter one is given
//! (`shrink.rs`). Not here: what clients do, what a fault is, what is a law.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use strongroom_consensus::depth::LogDepth;
use strongroom_consensus::timing::Timing;
use strongroom_core::laws::{self, State};
use strongroom_format::id::GroupId;

use crate::dice::Dice;
use crate::lies::Lie;
use crate::simulation::caller::Caller;
use crate::simulation::client::{self, Placed, Progress};
use crate::simulation::cluster::Cluster;
use crate::simulation::ledger::{self, Broken, Ledger};
use crate::simulation::life::World;
use crate::simulation::node::Machine;
use crate::simulation::panics;
use crate::simulation::plan::{self, Timed};
use crate::simulation::promises::{Judged, Promises};
use crate::simulation::tenant::{self, ADMIN, Tenant, WRITERS};
use crate::simulation::trace::{Told, Trace};
use crate::simulation::wires::{Link, Wires};

/// Founding and settling take no longer.
const FOUNDED_WITHIN_MS: u64 = 90_000;
/// After healing every tenant's clients have success again within so long (I15).
const ALIVE_WITHIN_MS: u64 = 120_000;
/// All acknowledged snapshots are shown within so long.
const SHOWN_WITHIN_MS: u64 = 120_000;
/// Replicas have applied the same within so long after the last client.
const EQUAL_WITHIN_MS: u64 = 120_000;

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which.
    pub seed: u64,
    /// The law that was broken, if one was.
    pub broken: Option<Broken>,
    /// The cluster in a few words.
    pub shape: String,
    /// What went wrong by plan.
    pub plan: Vec<Timed>,
    /// What is left of the trace.
    pub told: Told,
    /// How much was done.
    pub done: Done,
}

/// How much a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Entries that were applied by somebody first.
    pub entries: u64,
    /// How often all laws of a state were checked.
    pub laws_checked: u64,
    /// Parcels carried, and dropped.
    pub parcels: (u64, u64),
    /// Elections that were won.
    pub elections: u64,
    /// Faults that were carried out.
    pub faults: u64,
    /// What clients were told.
    pub judged: Judged,
}

/// A cluster's shape.
#[derive(Clone, Debug)]
struct Shape {
    nodes: usize,
    shards: u32,
    tenants: usize,
    timing: Timing,
    depth: LogDepth,
    delay_ms: (u64, u64),
    lock_ms: u64,
    attack_ms: u64,
}

impl Shape {
    fn of(seed: u64) -> Self {
        let mut dice = Dice::named(seed, 1);
        let is_wan = dice.one_in(2);
        let shards = 1 + dice.below(3) as u32;
        let shallow = LogDepth::new(120, 1 << 20, 100).expect("a tail of a hundred is allowed");
        Self {
            nodes: if dice.one_in(8) { 6 } else { 3 },
            shards,
            tenants: 1 + dice.below(u64::from(shards).min(2)) as usize,
            timing: if is_wan { Timing::Wan } else { Timing::Lan },
            depth: if dice.one_in(3) { LogDepth::default() } else { shallow },
            delay_ms: if is_wan { (10, 60) } else { (10, 14) },
            lock_ms: 10_000 + dice.below(110_000),
            attack_ms: 40_000 + dice.below(80_000),
        }
    }

    fn text(&self) -> String {
        let Self { nodes, shards, tenants, timing, delay_ms, lock_ms, attack_ms, depth } = self;
        format!(
            "{nodes} nodes, {shards} shards, {tenants} tenants, {timing:?}, {}–{} ms, locks of {} s, attacks for {} s, \
             a snapshot each {} entries",
            delay_ms.0,
            delay_ms.1,
            lock_ms / 1000,
            attack_ms / 1000,
            depth.snapshot_entries()
        )
    }
}

/// The faults that a seed plans.
pub fn planned(seed: u64) -> Vec<Timed> {
    let shape = Shape::of(seed);
    plan::plan(seed, shape.nodes, shape.attack_ms)
}

/// Runs a seed with its own faults.
pub fn run(seed: u64) -> Outcome {
    run_with(seed, planned(seed))
}

/// Runs a seed with other faults.
pub fn run_with(seed: u64, plan: Vec<Timed>) -> Outcome {
    run_lying(seed, plan, Lie::None)
}

/// The same on disks that lie: to prove that it would be seen.
pub fn run_lying(seed: u64, plan: Vec<Timed>, lie: Lie) -> Outcome {
    let _watched = panics::watch();
    let shape = Shape::of(seed);
    let trace = Trace::default();
    let ledger = Ledger::new(trace.clone());
    let genesis = tenant::genesis(shape.nodes, shape.shards);
    let base = Link { delay_ms: shape.delay_ms, lost: 0, doubled: 0, reorders: false, is_cut: false };
    let world = Arc::new(World {
        seed,
        names: genesis.nodes.iter().map(|node| node.name.clone()).collect(),
        genesis,
        timing: shape.timing,
        depth: shape.depth,
        wires: Wires::new(seed, shape.nodes + 1, base),
        trace: trace.clone(),
        ledger: ledger.clone(),
        is_quiet: AtomicBool::new(false),
        lie,
    });
    let mut run = Run {
        cluster: Cluster::new(world, base),
        promises: Promises::new(ledger.clone()),
        ledger: ledger.clone(),
        dice: Dice::named(seed, 41),
        shape: shape.clone(),
    };
    run.all(&plan);
    let Run { cluster, promises, .. } = run;
    let (entries, laws_checked) = ledger.counts();
    let done = Done {
        simulated_ms: cluster.now_ms(),
        entries,
        laws_checked,
        parcels: cluster.world.wires.counts(),
        elections: cluster.elections(),
        faults: cluster.effects,
        judged: promises.judged(),
    };
    drop(cluster);
    if let Some(why) = panics::taken() {
        ledger.accuse("panic", why);
    }
    Outcome { seed, broken: ledger.broken(), shape: shape.text(), plan, told: trace.told(), done }
}

struct Run {
    cluster: Cluster,
    promises: Promises,
    ledger: Ledger,
    dice: Dice,
    shape: Shape,
}

/// A tenant that lives in the cluster.
struct Settled {
    tenant: Arc<Tenant>,
    placed: Placed,
    progress: Progress,
}

impl Run {
    fn all(&mut self, plan: &[Timed]) {
        let Some(settled) = self.found() else { return };
        for Settled { tenant, placed, progress } in &settled {
            for writer in WRITERS {
                let caller = self.caller(tenant, writer, writer);
                let (placed, lock_ms, progress) = (placed.clone(), self.shape.lock_ms, progress.clone());
                self.cluster.spawn(client::write(caller, placed, lock_ms, progress));
            }
            let caller = self.caller(tenant, ADMIN, "order");
            self.cluster.spawn(client::keep_order(caller, placed.clone()));
        }
        let began_ms = self.cluster.now_ms();
        for Timed { at_ms, fault } in plan {
            self.cluster.suffer_at(began_ms + at_ms, *fault);
        }
        if !self.until(began_ms + self.shape.attack_ms, |_| false) && self.is_over() {
            return;
        }
        self.cluster.heal();
        if !self.lives(&settled) || !self.shows(&settled) {
            return;
        }
        self.compare();
    }

    fn is_over(&self) -> bool {
        self.ledger.broken().is_some()
    }

    /// Lets time pass until something is so; `false`: the moment came before, or a law is broken.
    fn until(&mut self, until_ms: u64, is_so: impl Fn(&Self) -> bool) -> bool {
        while self.cluster.now_ms() < until_ms {
            self.cluster.step();
            if let Some(why) = panics::taken() {
                self.ledger.accuse("panic", why);
            }
            if self.is_over() {
                return false;
            }
            if is_so(self) {
                return true;
            }
        }
        false
    }

    fn caller(&mut self, tenant: &Arc<Tenant>, who: &'static str, name: &str) -> Caller {
        Caller {
            world: Arc::clone(&self.cluster.world),
            now: self.cluster.clients_now(),
            promises: self.promises.clone(),
            tenant: Arc::clone(tenant),
            who,
            name: format!("{} {name}", tenant.name),
            dice: Dice::named(self.dice.next(), 1),
            node: self.dice.below(self.shape.nodes as u64) as usize,
            nonces: 0,
        }
    }

    /// Founds the cluster and settles its tenants, undisturbed.
    fn found(&mut self) -> Option<Vec<Settled>> {
        let places: Arc<Mutex<Vec<Option<Placed>>>> = Arc::new(Mutex::new(vec![None; self.shape.tenants]));
        let tenants = tenant::tenants(self.shape.tenants);
        for (number, tenant) in tenants.iter().enumerate() {
            let mut caller = self.caller(tenant, ADMIN, "admin");
            let (places, lock_ms) = (Arc::clone(&places), self.shape.lock_ms);
            let width = 1 + self.dice.below(u64::from(self.shape.shards)) as u16;
            self.cluster.spawn(async move {
                // everything here has the same outcome when it is asked for again
                tokio::time::sleep(Duration::from_secs(3)).await;
                let settled = client::settle(&mut caller, number as u64, width, lock_ms).await;
                places.lock().unwrap_or_else(PoisonError::into_inner)[number] = settled.ok();
            });
        }
        let all = |places: &Mutex<Vec<Option<Placed>>>| {
            places.lock().unwrap_or_else(PoisonError::into_inner).iter().all(Option::is_some)
        };
        if !self.until(FOUNDED_WITHIN_MS, |_| all(&places)) {
            self.ledger.accuse("I15", format!("the cluster was not founded within {FOUNDED_WITHIN_MS} ms"));
            return None;
        }
        let places = places.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let settled = tenants
            .into_iter()
            .zip(places)
            .filter_map(|(tenant, placed)| Some(Settled { tenant, placed: placed?, progress: Progress::default() }));
        Some(settled.collect())
    }

    /// Every tenant's clients commit and read again.
    fn lives(&mut self, settled: &[Settled]) -> bool {
        let count = |settled: &Settled| settled.progress.commits.load(Ordering::Relaxed);
        let before: Vec<u64> = settled.iter().map(count).collect();
        let healed_ms = self.cluster.now_ms();
        let alive = self.until(healed_ms + ALIVE_WITHIN_MS, |_| {
            settled.iter().zip(&before).all(|(settled, before)| before + 2 <= count(settled))
        });
        if !alive && !self.is_over() {
            let late: Vec<&str> = settled
                .iter()
                .zip(&before)
                .filter(|(settled, before)| count(settled) < **before + 2)
                .map(|(settled, _)| settled.tenant.name.as_str())
                .collect();
            self.ledger.accuse("I15", format!("{late:?} commit nothing within {ALIVE_WITHIN_MS} ms after healing"));
        }
        alive
    }

    /// Every acknowledged snapshot that must be there is shown.
    fn shows(&mut self, settled: &[Settled]) -> bool {
        let open = Arc::new(AtomicUsize::new(settled.len()));
        for Settled { tenant, placed, .. } in settled {
            let mut caller = self.caller(tenant, ADMIN, "audit");
            let (placed, open, promises) = (placed.clone(), Arc::clone(&open), self.promises.clone());
            let tenant = tenant.id;
            self.cluster.spawn(async move {
                for snapshot in promises.snapshots(tenant) {
                    while client::show(&mut caller, &placed, snapshot).await.is_err() {}
                }
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
        let until_ms = self.cluster.now_ms() + SHOWN_WITHIN_MS;
        let shown = self.until(until_ms, |_| open.load(Ordering::Relaxed) == 0);
        if !shown && !self.is_over() {
            self.ledger.accuse("I15", format!("not all snapshots could be asked for within {SHOWN_WITHIN_MS} ms"));
        }
        shown
    }

    /// All replicas come to the same rows, and every law holds in each.
    fn compare(&mut self) {
        self.cluster.world.is_quiet.store(true, Ordering::Relaxed);
        let until_ms = self.cluster.now_ms() + EQUAL_WITHIN_MS;
        let groups: Vec<GroupId> = (0..=self.shape.shards).map(GroupId).collect();
        for group in groups {
            let mut why = "nobody looked".to_owned();
            let ledger = self.ledger.clone();
            while self.cluster.now_ms() < until_ms && ledger.broken().is_none() {
                let next_ms = self.cluster.now_ms() + 100;
                self.until(next_ms, |_| false);
                match self.states(group) {
                    Ok(()) => {
                        why.clear();
                        break;
                    }
                    Err(different) => why = different,
                }
            }
            if !why.is_empty() {
                let standings = self.standings(group);
                self.ledger.accuse("I14", format!("group {group} has not come together: {why}; {standings}"));
            }
        }
    }

    /// What keeps each machine's replica of a group from taking part, if anything does.
    fn standings(&self, group: GroupId) -> String {
        let of = |(station, machine): (usize, &Machine)| {
            let shared = machine.shared();
            let replica = shared.and_then(|shared| shared.consensus.get()).and_then(|one| one.replica(group));
            let gate = shared.and_then(|shared| shared.gate.get());
            let lost = gate.and_then(|gate| gate.lost().into_iter().find(|(of, ..)| *of == group));
            let standing = match lost {
                Some((_, _, loss)) => loss.why(),
                None if gate.is_some_and(|gate| gate.takes_part(group)) => "takes part".to_owned(),
                None => "asks what is known of it".to_owned(),
            };
            format!("{} is {replica:?}: {standing}", self.cluster.world.names[station])
        };
        self.cluster.machines.iter().enumerate().map(of).collect::<Vec<_>>().join("; ")
    }

    /// Whether all replicas of a group have applied the same; then their rows are compared.
    fn states(&mut self, group: GroupId) -> Result<(), String> {
        let mut seen: Vec<(String, u64, State)> = Vec::new();
        for (station, machine) in self.cluster.machines.iter().enumerate() {
            let name = self.cluster.world.names[station].to_string();
            let consensus = machine.shared().and_then(|shared| shared.consensus.get()).cloned();
            let consensus = consensus.ok_or_else(|| format!("{name} does not run"))?;
            if consensus.replica(group).is_none() {
                continue;
            }
            let Some(applied) = consensus.applied(group).map(|applied| *applied.borrow()) else { continue };
            let looked =
                machine.inside(async move { consensus.look(group, move |reads| ledger::state(group, reads)).await });
            let state = looked.map_err(|error| format!("{name} shows nothing: {error}"))?;
            seen.push((name, applied, state));
        }
        let genesis = &self.cluster.world.genesis;
        let members = match group {
            GroupId::CLUSTER => genesis.nodes.len(),
            _ => genesis.shards.iter().find(|shard| shard.group == group).map_or(0, |shard| shard.slots.len()),
        };
        if seen.len() != members {
            return Err(format!("{} of its {members} replicas are there", seen.len()));
        }
        let Some((first, applied, state)) = seen.first() else { return Err("it has no replicas".into()) };
        for (name, other, _) in &seen {
            if other != applied {
                return Err(format!("{first} has applied {applied}, {name} {other}"));
            }
        }
        for (name, _, other) in &seen {
            if other != state {
                self.ledger.accuse("I14", format!("{first} and {name} have other rows of group {group} at {applied}"));
            }
            if let Err(broken) = laws::check(other) {
                self.ledger.accuse(broken.law, format!("{name}, group {group}: {}", broken.what));
            }
        }
        Ok(())
    }
}
