//! Carries attacks out, one after another, and proves each: a process is gone, is in state T, was so to the end.
//!
//! ```text
//!   rest ─▶ plan ─▶ strike ─▶ proof ─▶ hold ─▶ proof ─▶ mend ─▶ ready again ─▶ rest …
//! ```
//!
//! The next one begins only when all nodes serve again, so that never more is taken away than may be lost.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::attack::{Attack, Means, Strike};
use crate::client::{Answer, Patience};
use crate::cluster::Cluster;
use crate::history::{Ending, Operation};
use crate::process::State;
use crate::random::Random;
use crate::words;
use crate::world::World;

/// A node that was brought back must be ready in this time.
pub const READY_WITHIN: Duration = Duration::from_secs(60);
/// The longest rest between two attacks; the shortest is a fifth of it.
const REST_MS: usize = 5000;
/// How long `status` may take.
const STATUS_PATIENCE: Patience = Patience::Deadline(Duration::from_secs(5));

/// Who attacks.
pub struct Nemesis<'a> {
    /// What is attacked.
    pub cluster: &'a Cluster,
    /// Where it is written down.
    pub world: &'a World,
    /// What may be done.
    pub attacks: &'a [Attack],
    /// Its choices.
    pub random: Random,
    /// Its directory.
    pub scratch: PathBuf,
}

impl Nemesis<'_> {
    /// Attacks until `until`. Stops early if a node does not come back: then more could be lost than may be.
    pub fn run(&mut self, until: Instant) -> anyhow::Result<()> {
        // Each kind once before chance decides, so that short runs have all of them.
        let mut waiting: Vec<Attack> = self.attacks.to_vec();
        loop {
            let rest = REST_MS / 5 + self.random.below(REST_MS * 4 / 5);
            std::thread::sleep(Duration::from_millis(rest as u64).min(until.saturating_duration_since(Instant::now())));
            if until <= Instant::now() {
                return Ok(());
            }
            let attack = match waiting.is_empty() {
                false => waiting.swap_remove(self.random.below(waiting.len())),
                true => self.attacks[self.random.below(self.attacks.len())],
            };
            let leaders = if attack == Attack::Leader { self.leaders()? } else { Vec::new() };
            let regions: Vec<&str> = self.cluster.nodes.iter().map(|node| node.region.as_str()).collect();
            let Some(strike) = attack.plan(&mut self.random, &regions, &leaders) else {
                eprintln!("attack {}: status names no leader now", attack.name());
                continue;
            };
            self.strike(attack, &strike);
            if !self.mend(attack, &strike.nodes) {
                return Ok(());
            }
        }
    }

    fn strike(&self, attack: Attack, strike: &Strike) {
        let operation = self.operation(words::FAULT, attack, &strike.nodes);
        self.world.recorder.begin(&operation);
        let act = |at: &usize| match strike.means {
            Means::Kill => self.cluster.kill(*at),
            Means::Pause => self.cluster.pause(*at),
        };
        let proofs: Result<Vec<String>, String> = strike.nodes.iter().map(act).collect();
        if proofs.is_ok() {
            std::thread::sleep(Duration::from_millis(strike.hold_ms));
        }
        let wanted = match strike.means {
            Means::Kill => State::Gone,
            Means::Pause => State::Stopped,
        };
        let held = strike.nodes.iter().all(|at| self.cluster.state(*at) == wanted);
        let ending = match proofs {
            Ok(proofs) if held => Ending::ok(json!({ "proofs": proofs, "held_ms": strike.hold_ms })),
            Ok(_) => Ending::fail("it did not last: somebody brought a node back"),
            Err(why) => Ending::fail(why),
        };
        eprintln!("attack {} on {}: {:?}", attack.name(), operation.node.as_deref().unwrap_or("-"), ending.kind);
        self.world.recorder.end(&operation, ending);
    }

    fn mend(&self, attack: Attack, nodes: &[usize]) -> bool {
        let mut operation = self.operation(words::MEND, attack, nodes);
        operation.argument = json!({ "deadline_s": READY_WITHIN.as_secs() });
        self.world.recorder.begin(&operation);
        let began = Instant::now();
        let mended: Result<Vec<String>, String> = nodes.iter().map(|at| self.cluster.mend(*at)).collect();
        let all: Vec<usize> = (0..self.cluster.nodes.len()).collect();
        let ready = mended.and_then(|proofs| self.cluster.become_ready(&all, READY_WITHIN).map(|()| proofs));
        let is_ready = ready.is_ok();
        let ending = match ready {
            Ok(proofs) => Ending::ok(json!({ "proofs": proofs, "seconds": began.elapsed().as_secs_f64() })),
            Err(why) => Ending::fail(why),
        };
        self.world.recorder.end(&operation, ending);
        is_ready
    }

    fn operation(&self, f: &'static str, attack: Attack, nodes: &[usize]) -> Operation {
        let of = |what: fn(&crate::cluster::Node) -> &str| {
            let mut words: Vec<&str> = nodes.iter().map(|at| what(&self.cluster.nodes[*at])).collect();
            words.sort_unstable();
            words.dedup();
            Some(words.join(","))
        };
        Operation {
            node: of(|node| &node.name),
            region: of(|node| &node.region),
            ..Operation::of_harness(f, attack.name(), Value::Null)
        }
    }

    /// Places of the nodes that lead some shard.
    fn leaders(&self) -> anyhow::Result<Vec<usize>> {
        let answer = self.world.client.run("operator", "", STATUS_PATIENCE, &self.scratch, &["status"])?;
        let Answer::Done(lines) = answer else { return Ok(Vec::new()) };
        let shards = lines.last().and_then(|status| status["shards"].as_array()).map_or(&[][..], Vec::as_slice);
        let named = shards.iter().filter_map(|shard| shard["leader"].as_str());
        Ok(named.filter_map(|name| self.cluster.nodes.iter().position(|node| node.name == name)).collect())
    }
}
