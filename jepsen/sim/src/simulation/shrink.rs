//! Makes a failing seed short enough to be read: the same cluster and clients with fewer faults, as long as the same law
//! breaks (delta debugging: Zeller and Hildebrandt, 2002).
//!
//! Not here: what a fault is, what a law is.

use crate::simulation::plan::Timed;
use crate::simulation::run::{Outcome, run_with};

/// A plan with as few faults as can be found with so many runs; `None`: the seed does not fail.
pub fn shrink(seed: u64, plan: Vec<Timed>, runs_max: usize, told: impl Fn(usize, &Outcome)) -> Option<Outcome> {
    let mut runs = 1;
    let mut best = run_with(seed, plan);
    told(runs, &best);
    let law = best.broken.as_ref()?.law.clone();
    let breaks = |outcome: &Outcome| outcome.broken.as_ref().is_some_and(|broken| broken.law == law);
    let mut pieces = 2;
    while !best.plan.is_empty() && runs < runs_max {
        let length = best.plan.len().div_ceil(pieces);
        let without = |piece: usize| -> Vec<Timed> {
            let (from, to) = (piece * length, (piece + 1) * length);
            let kept = best.plan.iter().enumerate().filter(|(at, _)| *at < from || to <= *at);
            kept.map(|(_, timed)| *timed).collect()
        };
        let mut shorter = None;
        for piece in 0..best.plan.len().div_ceil(length) {
            if runs_max <= runs {
                break;
            }
            runs += 1;
            let outcome = run_with(seed, without(piece));
            told(runs, &outcome);
            if breaks(&outcome) {
                shorter = Some(outcome);
                break;
            }
        }
        match shorter {
            Some(outcome) => {
                best = outcome;
                pieces = (pieces - 1).max(2);
            }
            None if length == 1 => break,
            None => pieces = (pieces * 2).min(best.plan.len()),
        }
    }
    Some(best)
}
