//! Whether the network does what it was told: datagrams between every two regions, and what the switch counted of them.

use anyhow::{Context as _, anyhow, ensure};
use serde_json::Value;

use crate::network::Network;
use crate::network::probe::Probed;
use crate::switch::link::Counted;

/// So many datagrams together: at a loss of one in a hundred, none lost would be a miracle.
const DATAGRAMS: u32 = 750;
/// At least so many between two regions.
const DATAGRAMS_MIN: u32 = 250;

/// What the network did.
#[derive(Clone, Debug)]
pub struct Proof {
    /// What shows it, in words.
    pub words: String,
    /// What each two regions saw: (from, to, what came back).
    pub probes: Vec<(String, String, Probed)>,
}

impl Proof {
    /// The middle of the round trips between regions, in milliseconds.
    pub fn round_trip_ms(&self) -> Option<f64> {
        let mut all: Vec<f64> = self.probes.iter().filter_map(|(_, _, probed)| probed.round_trip_ms).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    }

    /// One object per two regions.
    pub fn lines(&self) -> impl Iterator<Item = Value> + '_ {
        self.probes.iter().map(|(from, to, probed)| probed.line(from, to))
    }
}

/// Sends datagrams between each two regions, at the same time, and judges what became of them. Nothing else may be
/// under way between regions.
///
/// # Errors
/// A setting between regions that had no effect; or none of the datagrams came back although nothing is cut.
pub fn prove(network: &Network) -> anyhow::Result<Proof> {
    let mut first: Vec<(&str, &str)> = Vec::new();
    for machine in &network.plan().machines {
        if first.iter().all(|(region, _)| *region != machine.region) {
            first.push((&machine.region, &machine.name));
        }
    }
    let pairs: Vec<(&str, &str)> = (0..first.len())
        .flat_map(|a| (a + 1..first.len()).map(move |b| (a, b)))
        .map(|(a, b)| (first[a].1, first[b].1))
        .collect();
    let count = DATAGRAMS_MIN.max(DATAGRAMS / u32::try_from(pairs.len()).unwrap_or(1).max(1));
    let before = between_regions(network);
    let probes: Vec<(String, String, Probed)> = std::thread::scope(|scope| {
        let probing: Vec<_> = pairs
            .iter()
            .map(|(from, to)| {
                scope.spawn(|| anyhow::Ok(((*from).to_owned(), (*to).to_owned(), network.probe(from, to, count)?)))
            })
            .collect();
        probing
            .into_iter()
            .map(|one| one.join().map_err(|_| anyhow!("a probe panicked"))?)
            .collect::<anyhow::Result<_>>()
    })?;
    let link = network.plan().between_regions;
    let counted = between_regions(network).since(before);
    if pairs.is_empty() {
        return Ok(Proof { words: "one region: no link between regions".to_owned(), probes });
    }
    let words = counted.proves(link).map_err(|why| anyhow!("the run is void: {why}"))?;
    for (from, to, probed) in probes.iter().filter(|_| !link.cut) {
        let round_trip_ms = probed.round_trip_ms.with_context(|| format!("nothing comes back from {to} to {from}"))?;
        let least_ms = 2.0 * link.delay.saturating_sub(link.jitter).as_secs_f64() * 1000.0;
        ensure!(least_ms <= round_trip_ms, "the run is void: {from} and {to} are {round_trip_ms:.2} ms apart");
    }
    Ok(Proof { words, probes })
}

/// All links between regions together.
pub fn between_regions(network: &Network) -> Counted {
    let directions = network.switch().directions();
    let between = directions.iter().filter(|direction| direction.from.region != direction.to.region);
    between.fold(Counted::default(), |sum, direction| sum.and(direction.counted))
}
