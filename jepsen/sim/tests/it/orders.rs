//! For each order of syncs a host that breaks it, and the finding that must come. A test that would not see the other
//! order is none.

use strongroom_sim::campaign::Campaign;
use strongroom_sim::finding::Broken;
use strongroom_sim::image::Store;
use strongroom_sim::lies::Lie;

/// Lies until one of these findings comes; a lie may show as another one first.
fn is_caught(store: Store, lie: Lie, as_one_of: &[Broken]) {
    let mut seen = Vec::new();
    for round in 0..40_u64 {
        let campaign = Campaign { images: 50, seed: 1 + round * 50, stores: vec![store], threads: 1, lie };
        let outcome = campaign.run(|_| {});
        for finding in outcome.failures.into_iter().filter_map(|image| image.finding) {
            if as_one_of.contains(&finding.broken) {
                return;
            }
            seen.push(finding);
        }
    }
    panic!("{lie:?} of {store} was not caught as one of {as_one_of:?}; seen: {seen:#?}");
}

#[test]
fn a_log_file_whose_name_is_not_made_durable_is_missed() {
    is_caught(Store::Append, Lie::Directories, &[Broken::Lost]);
    is_caught(Store::Log, Lie::Directories, &[Broken::Lost]);
}

#[test]
fn a_log_file_that_is_made_durable_after_its_successor_is_damage() {
    is_caught(Store::Append, Lie::CutAfterNext, &[Broken::DoesNotOpen]);
    is_caught(Store::Log, Lie::CutAfterNext, &[Broken::DoesNotOpen]);
}

#[test]
fn removing_files_without_making_each_removal_durable_leaves_gaps() {
    is_caught(Store::Append, Lie::Removals, &[Broken::DoesNotOpen]);
}

#[test]
fn records_answered_for_before_they_are_durable_are_missed() {
    is_caught(Store::Append, Lie::Files("log"), &[Broken::Lost]);
    is_caught(Store::Log, Lie::Files("log"), &[Broken::Lost]);
}

#[test]
fn appending_before_a_torn_tail_is_durably_cut_brings_old_records_back() {
    is_caught(Store::Append, Lie::FirstSync, &[Broken::Invented, Broken::Lost]);
}

#[test]
fn a_checkpoint_before_the_log_is_a_state_ahead_of_its_log() {
    is_caught(Store::State, Lie::HeldBack("/log", "/state"), &[Broken::StateAheadOfLog]);
}

#[test]
fn a_purge_before_the_checkpoint_or_install_is_a_log_without_a_state() {
    is_caught(Store::State, Lie::HeldBack("/state", "/log"), &[Broken::PurgedPastState]);
    is_caught(Store::Snapshot, Lie::HeldBack("/state", "/log"), &[Broken::PurgedPastState]);
}

#[test]
fn an_install_before_the_truncation_is_durable_leaves_entries_that_contradict_it() {
    is_caught(Store::Snapshot, Lie::Late("/log"), &[Broken::Contradiction]);
}

#[test]
fn a_snapshot_without_a_durable_name_is_missed() {
    is_caught(Store::State, Lie::Directories, &[Broken::Lost]);
}

#[test]
fn a_copy_answered_for_before_its_segment_is_durable_is_missed() {
    is_caught(Store::Chunks, Lie::Files("segments"), &[Broken::Lost]);
    is_caught(Store::Chunks, Lie::Directories, &[Broken::Lost]);
}
