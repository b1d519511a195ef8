//! Which law of RESILIENCE.md a failing test speaks for, where a table can say it.
//!
//! In this order: the law of a state that was found broken, a test named after a law (`i4_…`), after a case of the
//! refusals (`n57_…`), after the place that it stands in. Not here: what fails (`suite.rs`).

use std::ops::RangeInclusive;

/// Laws of states (`node/core/src/laws`) by the law of histories that they serve.
const OF_STATES: &[(&str, &[&str])] = &[
    ("I2", &["all_below_a_part_exists", "every_blob_can_be_opened", "wholes_are_all_or_nothing"]),
    ("I3", &["locked_snapshots_stay", "locks_are_whole", "policies_end_what_nothing_keeps"]),
    ("I4", &["locks_only_grow", "locked_vaults_get_stricter"]),
    ("I5", &["clock_is_never_ahead", "no_voter_keeps_time_in_hand", "time_never_goes_back", "voters_are_remembered"]),
    ("I6", &["tenants_are_apart", "identities_are_never_given_again", "issuers_only_tighten", "tokens_are_used_once"]),
    ("I7", &["audit_head_is_the_tree", "audit_logs_only_grow"]),
    ("I8", &["decisions_never_flip", "sessions_are_bounded", "ends_are_final"]),
    ("I9", &["usage_adds_up", "quotas_are_kept", "leases_keep_their_budgets"]),
    (
        "I10",
        &[
            "counts_recount",
            "garbage_is_queued",
            "releases_stay_true",
            "indexes_name_what_is_there",
            "parts_follow_their_snapshots",
            "everything_open_has_an_end",
        ],
    ),
    (
        "I14",
        &[
            "digest_is_the_recomputed_one",
            "fenced_are_a_minority",
            "changes_come_one_at_a_time",
            "replica_ids_are_never_given_again",
            "votes_are_one_a_region_in_turn",
            "members_fill_every_slot",
            "electorates_only_grow",
            "cluster_adds_up",
        ],
    ),
];

/// Cases of the refusals.
const OF_REFUSALS: &[(RangeInclusive<u32>, &str)] = &[
    (1..=32, "I6"),
    (33..=37, "I2"),
    (41..=48, "I2"),
    (49..=56, "I12"),
    (57..=57, "I3"),
    (58..=60, "I4"),
    (61..=63, "I3"),
    (64..=64, "I4"),
    (65..=66, "I10"),
    (67..=67, "I14"),
    (68..=71, "I5"),
    (72..=72, "I14"),
    (73..=73, "I10"),
    (74..=80, "I11"),
    (90..=94, "I7"),
    (95..=96, "I14"),
    (97..=97, "I6"),
    (98..=98, "I2"),
    (101..=107, "I6"),
    (108..=108, "I8"),
    (109..=109, "I6"),
    (110..=116, "I2"),
    (117..=117, "I9"),
    (118..=118, "I3"),
    (125..=129, "I5"),
    (133..=133, "I2"),
    (134..=134, "I7"),
    (145..=145, "I7"),
];

/// Places of tests, by what stands in the name.
const OF_PLACES: &[(&str, &str)] = &[
    ("core it upload::", "I2"),
    ("core it claims::", "I2"),
    ("core it locks::", "I4"),
    ("core it keeping::", "I4"),
    ("core it deletion::", "I3"),
    ("core it clock::", "I5"),
    ("core it ticks::", "I5"),
    ("core it adversary::", "I5"),
    ("core it tenant::", "I6"),
    ("core it tenancy::", "I6"),
    ("core it tokens::", "I6"),
    ("core it identity::", "I6"),
    ("core it governance::", "I6"),
    ("core it audit::", "I7"),
    ("core it proofs::", "I7"),
    ("core it sessions::", "I8"),
    ("core it quotas::", "I9"),
    ("core it garbage::", "I10"),
    ("core it releases::", "I10"),
    ("core it members::", "I14"),
    ("core lib baselines::", "I5"),
    ("core lib walls::", "I5"),
    ("core lib digest::", "I14"),
    ("consensus ", "I14"),
    ("crash-images chunks", "I2"),
    ("crash-images append", "I2"),
    ("crash-images ", "I14"),
    ("chunks ", "I2"),
    ("host ", "I2"),
    ("identity ", "I6"),
];

/// The law that a failure speaks for; `None`: no table says it.
pub fn of(by: &str, said: &str) -> Option<String> {
    let broken = said.split("the law \"").nth(1).and_then(|rest| rest.split('"').next());
    let of_states = broken.and_then(|law| OF_STATES.iter().find(|(_, files)| files.contains(&law)));
    let test = by.rsplit([' ', ':']).next().unwrap_or_default();
    let number = |mark: char| {
        let digits = test.strip_prefix(mark)?.split('_').next()?;
        digits.parse::<u32>().ok()
    };
    let of_refusals = || {
        let number = number('n')?;
        OF_REFUSALS.iter().find(|(cases, _)| cases.contains(&number)).map(|(_, law)| *law)
    };
    let of_places = || OF_PLACES.iter().find(|(place, _)| by.starts_with(place)).map(|(_, law)| *law);
    match (of_states, number('i')) {
        (Some((law, _)), _) => Some((*law).to_owned()),
        (None, Some(number)) => Some(format!("I{number}")),
        (None, None) => of_refusals().or_else(of_places).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::binaries::workspace;

    #[test]
    fn a_broken_law_speaks_first_then_the_tests_name_then_its_place() {
        let said = "panicked: Broken the law \"counts_recount\" is broken: 2 and not 1";
        assert_eq!(of("core it locks::n57_x", said).as_deref(), Some("I10"));
        assert_eq!(of("core it adversary::i4_locks_only_grow", "").as_deref(), Some("I4"));
        assert_eq!(of("core it locks::n57_n59_nobody_weakens", "").as_deref(), Some("I3"));
        assert_eq!(of("core it locks::a_lock_begins", "").as_deref(), Some("I4"));
        assert_eq!(of("crash-images state --seed 7", "").as_deref(), Some("I14"));
        assert_eq!(of("node it shared::whatever", ""), None);
    }

    #[test]
    fn every_law_of_a_state_is_in_the_table_once() {
        let files = fs::read_dir(workspace().join("node/core/src/laws")).unwrap();
        let mut laws: Vec<String> = files
            .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .filter(|law| law != "state")
            .collect();
        laws.sort();
        let mut listed: Vec<&str> = OF_STATES.iter().flat_map(|(_, laws)| *laws).copied().collect();
        listed.sort_unstable();
        assert_eq!(listed, laws);
    }
}
