//! Many seeds, spread over threads. Which seeds there are follows from the first one and their number alone; each runs in
//! one thread from its beginning to its end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::simulation::run::{self, Outcome};

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// How many seeds.
    pub seeds: u64,
    /// The first one.
    pub from: u64,
    /// How many threads.
    pub threads: usize,
    /// Whether each seed runs twice, and both traces must be equal.
    pub replays: bool,
}

/// What came of one seed.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What came of it.
    pub outcome: Outcome,
    /// Where it ran twice: the hash of the other trace, if that differs.
    pub differs: Option<String>,
}

impl Ran {
    /// Whether every law held, and the trace came again.
    pub fn is_well(&self) -> bool {
        self.outcome.broken.is_none() && self.differs.is_none()
    }
}

impl Campaign {
    /// Runs all seeds. `seen` is told of each, from the thread that ran it; what failed is given back, by seed.
    pub fn run(&self, seen: impl Fn(&Ran) + Sync) -> Vec<Ran> {
        let next = AtomicU64::new(0);
        let failed = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if self.seeds <= number {
                            return;
                        }
                        let ran = self.one(self.from.wrapping_add(number));
                        seen(&ran);
                        if !ran.is_well() {
                            failed.lock().unwrap_or_else(PoisonError::into_inner).push(ran);
                        }
                    }
                });
            }
        });
        let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        failed.sort_by_key(|ran| ran.outcome.seed);
        failed
    }

    fn one(&self, seed: u64) -> Ran {
        let outcome = run::run(seed);
        let again = self.replays.then(|| run::run(seed));
        let differs = again.filter(|again| again.told.hash != outcome.told.hash).map(|again| again.told.hash);
        Ran { outcome, differs }
    }
}
