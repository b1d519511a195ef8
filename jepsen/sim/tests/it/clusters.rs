//! Whole clusters on simulated machines: a few seeds, so that every law holds and the same seed is the same run, and a disk
//! that lies, so that a lost promise is seen. Many seeds run in `strongroom-jepsen sim`.

use strongroom_sim::lies::Lie;
use strongroom_sim::simulation::campaign::Campaign;
use strongroom_sim::simulation::plan::{Fault, Timed};
use strongroom_sim::simulation::run::{run, run_lying};

#[test]
fn every_law_holds_in_a_few_clusters_and_each_comes_again_byte_for_byte() {
    let campaign = Campaign { seeds: 2, from: 2, threads: 2, replays: true };
    let failed = campaign.run(|_| {});
    for ran in &failed {
        let outcome = &ran.outcome;
        eprintln!("seed {}: {:?}, {:?} {}", outcome.seed, outcome.broken, ran.differs, outcome.told.tail.join("\n"));
    }
    assert!(failed.is_empty());
}

/// A piece of a Raft snapshot was lost and waited for for ten minutes; a wiped founder was let in again under its id while
/// its leader could not be reached; a lock began and ended between two looks at a state, and the law cried wolf; a replica
/// took nothing from a new leader because it had been told its members before that one was made.
#[test]
fn seeds_that_once_failed_do_so_no_more() {
    for seed in [700_001, 900_166, 900_308, 961_679] {
        let outcome = run(seed);
        assert_eq!(outcome.broken, None, "seed {seed}: {:#?}", outcome.told.tail);
    }
}

#[test]
fn a_log_that_is_acknowledged_before_it_is_durable_is_seen() {
    let plan = vec![Timed { at_ms: 20_000, fault: Fault::PowerCutOfAll { down_ms: 1000 } }];
    let honest = run_lying(2, plan.clone(), Lie::None);
    assert_eq!(honest.broken, None, "{:#?}", honest.told.tail);
    let lying = run_lying(2, plan, Lie::Files("/data/log"));
    assert!(lying.broken.is_some(), "nobody saw it");
}
