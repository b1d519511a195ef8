//! Attacks one after another, and writes down what was done and what shows that it was.
//!
//! ```text
//!   rest ─▶ plan ─▶ begin ─▶ hold ─▶ proof ─▶ undo ─▶ all ready again ─▶ rest …
//! ```
//!
//! The next one begins only when all nodes serve again, so that never more is taken away than may be lost. Not here: what
//! attacks do (`attack.rs`), how it is done (`force.rs`).

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::attack::{Attack, Field};
use crate::client::{Answer, Patience};
use crate::cluster::file::Node;
use crate::force::{Force, READY_WITHIN};
use crate::history::{Ending, Operation};
use crate::random::Random;
use crate::strike::Strike;
use crate::words;
use crate::world::World;

/// The longest rest between two attacks; the shortest is a fifth of it.
const REST_MS: usize = 4000;
/// How long `status` may take.
const STATUS_PATIENCE: Patience = Patience::Deadline(Duration::from_secs(5));

/// Who attacks.
pub struct Nemesis<'a> {
    /// Who carries attacks out.
    pub force: Force<'a>,
    /// Where it is written down.
    pub world: &'a World,
    /// What may be done.
    pub attacks: &'a [Attack],
    /// The node that may lose something for good.
    pub victim: usize,
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
        if self.attacks.is_empty() {
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            return Ok(());
        }
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
            let Some(strike) = self.plan(attack)? else {
                eprintln!("attack {}: status names no leader now", attack.name());
                continue;
            };
            self.strike(attack, &strike);
            if !self.mend(attack, &strike) {
                return Ok(());
            }
        }
    }

    fn plan(&mut self, attack: Attack) -> anyhow::Result<Option<Strike>> {
        let leaders = if attack.aims() { self.leaders()? } else { Vec::new() };
        let nodes = &self.force.cluster.nodes;
        let nodes: Vec<(String, String)> = nodes.iter().map(|node| (node.name.clone(), node.region.clone())).collect();
        let field = Field { nodes: &nodes, offices: &self.force.site.offices, leaders: &leaders, victim: self.victim };
        Ok(attack.plan(&mut self.random, &field))
    }

    fn strike(&mut self, attack: Attack, strike: &Strike) {
        let operation = self.operation(words::FAULT, attack, strike, strike_argument(attack, strike));
        self.world.recorder.begin(&operation);
        let began = self.force.begin(strike, &mut self.random);
        let proofs = began.and_then(|standing| {
            self.force.hold(strike, &standing, &mut self.random)?;
            self.force.proof(strike, standing)
        });
        let ending = match proofs {
            Ok(proofs) => Ending::ok(json!({ "proofs": proofs, "held_ms": strike.hold_ms })),
            Err(why) => Ending::fail(why),
        };
        let why = ending.error.as_deref().unwrap_or("");
        let node = operation.node.as_deref().unwrap_or("-");
        eprintln!("attack {} ({}) on {node}: {:?} {why}", attack.name(), strike.means.name(), ending.kind);
        self.world.recorder.end(&operation, ending);
    }

    /// Whether all nodes are ready again.
    fn mend(&self, attack: Attack, strike: &Strike) -> bool {
        let argument = json!({ "deadline_s": READY_WITHIN.as_secs() });
        let operation = self.operation(words::MEND, attack, strike, argument);
        self.world.recorder.begin(&operation);
        let began = Instant::now();
        let undone = self.force.undo(Some(strike));
        let all: Vec<usize> = (0..self.force.cluster.nodes.len()).collect();
        let ready = self.force.cluster.become_ready(&all, READY_WITHIN);
        let is_ready = ready.is_ok();
        let seconds = began.elapsed().as_secs_f64();
        let ending = match undone.and_then(|proofs| ready.map(|()| proofs)) {
            Ok(proofs) => Ending::ok(json!({ "proofs": proofs, "seconds": seconds })),
            Err(why) => {
                eprintln!("after attack {}: {why}", attack.name());
                Ending::fail(why)
            }
        };
        self.world.recorder.end(&operation, ending);
        is_ready
    }

    fn operation(&self, f: &'static str, attack: Attack, strike: &Strike, argument: Value) -> Operation {
        let of = |what: fn(&Node) -> &str| {
            let mut words: Vec<&str> = strike.nodes.iter().map(|at| what(&self.force.cluster.nodes[*at])).collect();
            words.sort_unstable();
            words.dedup();
            Some(words.join(","))
        };
        Operation {
            node: of(|node| &node.name),
            region: of(|node| &node.region),
            ..Operation::of_harness(f, attack.name(), argument)
        }
    }

    /// Places of the nodes that lead some shard.
    fn leaders(&self) -> anyhow::Result<Vec<usize>> {
        let answer = self.world.client.run("operator", "", STATUS_PATIENCE, &self.scratch, &["status"])?;
        let Answer::Done(lines) = answer else { return Ok(Vec::new()) };
        let shards = lines.last().and_then(|status| status["shards"].as_array()).map_or(&[][..], Vec::as_slice);
        let named = shards.iter().filter_map(|shard| shard["leader"].as_str());
        let nodes = &self.force.cluster.nodes;
        Ok(named.filter_map(|name| nodes.iter().position(|node| node.name == name)).collect())
    }
}

/// What is asked of the fault: by which means, whether anybody can answer meanwhile, and the details.
fn strike_argument(attack: Attack, strike: &Strike) -> Value {
    json!({
        "means": strike.means.name(),
        "takes_all": attack.takes_all(),
        "details": format!("{:?}", strike.means).chars().take(400).collect::<String>(),
    })
}
