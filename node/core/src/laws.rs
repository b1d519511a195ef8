//! Laws: what is true of every state of a group, whatever was asked of it. One file each, headed by the sentence that it
//! checks; run after every step of property tests and simulation, and by `strongroomd fsck` on a stopped node.
//!
//!     rows ──State::read──▶ state ──check──▶ every law of one state
//!     states before and after some entries ──check_step──▶ every law of what may change
//!
//! A state is held in memory as it is on disk; laws decode what they look at. Not here: judging histories (`jepsen`).

mod all_below_a_part_exists;
mod audit_head_is_the_tree;
mod audit_logs_only_grow;
mod changes_come_one_at_a_time;
mod clock_is_never_ahead;
mod cluster_adds_up;
mod counts_recount;
mod decisions_never_flip;
mod digest_is_the_recomputed_one;
mod electorates_only_grow;
mod ends_are_final;
mod every_blob_can_be_opened;
mod everything_open_has_an_end;
mod fenced_are_a_minority;
mod garbage_is_queued;
mod identities_are_never_given_again;
mod indexes_name_what_is_there;
mod issuers_only_tighten;
mod leases_keep_their_budgets;
mod locked_snapshots_stay;
mod locked_vaults_get_stricter;
mod locks_are_whole;
mod locks_only_grow;
mod members_fill_every_slot;
mod no_voter_keeps_time_in_hand;
mod parts_follow_their_snapshots;
mod policies_end_what_nothing_keeps;
mod quotas_are_kept;
mod releases_stay_true;
mod replica_ids_are_never_given_again;
mod sessions_are_bounded;
mod state;
mod tenants_are_apart;
mod time_never_goes_back;
mod tokens_are_used_once;
mod usage_adds_up;
mod voters_are_remembered;
mod votes_are_one_a_region_in_turn;
mod wholes_are_all_or_nothing;

use strongroom_format::id::GroupId;

pub use self::state::State;

/// A law that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the law \"{law}\" is broken: {what}")]
pub struct Broken {
    /// The file of the law.
    pub law: &'static str,
    /// What was found.
    pub what: String,
}

/// A law of one state.
type Law = fn(&State) -> Result<(), String>;
/// A law of what may change between two states.
type StepLaw = fn(&State, &State) -> Result<(), String>;

const OF_EVERY_GROUP: &[(&str, Law)] = &[
    ("digest_is_the_recomputed_one", digest_is_the_recomputed_one::check),
    ("fenced_are_a_minority", fenced_are_a_minority::check),
    ("clock_is_never_ahead", clock_is_never_ahead::check),
    ("no_voter_keeps_time_in_hand", no_voter_keeps_time_in_hand::check),
];

const OF_THE_CLUSTER: &[(&str, Law)] = &[
    ("cluster_adds_up", cluster_adds_up::check),
    ("changes_come_one_at_a_time", changes_come_one_at_a_time::check),
    ("replica_ids_are_never_given_again", replica_ids_are_never_given_again::check),
    ("votes_are_one_a_region_in_turn", votes_are_one_a_region_in_turn::check),
    ("issuers_only_tighten", issuers_only_tighten::check),
    ("tokens_are_used_once", tokens_are_used_once::of_the_cluster),
];

const OF_SHARDS: &[(&str, Law)] = &[
    ("tenants_are_apart", tenants_are_apart::check),
    ("members_fill_every_slot", members_fill_every_slot::check),
    ("counts_recount", counts_recount::check),
    ("all_below_a_part_exists", all_below_a_part_exists::check),
    ("every_blob_can_be_opened", every_blob_can_be_opened::check),
    ("parts_follow_their_snapshots", parts_follow_their_snapshots::check),
    ("garbage_is_queued", garbage_is_queued::check),
    ("indexes_name_what_is_there", indexes_name_what_is_there::check),
    ("usage_adds_up", usage_adds_up::check),
    ("leases_keep_their_budgets", leases_keep_their_budgets::check),
    ("locks_are_whole", locks_are_whole::check),
    ("sessions_are_bounded", sessions_are_bounded::check),
    ("everything_open_has_an_end", everything_open_has_an_end::check),
    ("audit_head_is_the_tree", audit_head_is_the_tree::check),
    ("tokens_are_used_once", tokens_are_used_once::of_shards),
    ("wholes_are_all_or_nothing", wholes_are_all_or_nothing::check),
    ("electorates_only_grow", electorates_only_grow::check),
];

const STEPS_OF_EVERY_GROUP: &[(&str, StepLaw)] = &[
    ("time_never_goes_back", time_never_goes_back::check),
    ("voters_are_remembered", voters_are_remembered::check),
    ("clock_is_never_ahead", clock_is_never_ahead::check_step),
    ("changes_come_one_at_a_time", changes_come_one_at_a_time::check_step),
    ("replica_ids_are_never_given_again", replica_ids_are_never_given_again::check_step),
    ("members_fill_every_slot", members_fill_every_slot::check_step),
    ("identities_are_never_given_again", identities_are_never_given_again::check),
    ("ends_are_final", ends_are_final::check_step),
    ("tokens_are_used_once", tokens_are_used_once::check_step),
];

const STEPS_OF_THE_CLUSTER: &[(&str, StepLaw)] = &[("issuers_only_tighten", issuers_only_tighten::check_step)];

const STEPS_OF_SHARDS: &[(&str, StepLaw)] = &[
    ("decisions_never_flip", decisions_never_flip::check),
    ("audit_logs_only_grow", audit_logs_only_grow::check),
    ("locked_snapshots_stay", locked_snapshots_stay::check),
    ("releases_stay_true", releases_stay_true::check),
    ("electorates_only_grow", electorates_only_grow::check_step),
    ("locks_only_grow", locks_only_grow::check_step),
    ("locked_vaults_get_stricter", locked_vaults_get_stricter::check_step),
    ("quotas_are_kept", quotas_are_kept::check),
    ("policies_end_what_nothing_keeps", policies_end_what_nothing_keeps::check),
];

/// Checks every law of one state.
pub fn check(state: &State) -> Result<(), Broken> {
    let of_this_group = if state.group() == GroupId::CLUSTER { OF_THE_CLUSTER } else { OF_SHARDS };
    for (law, holds) in OF_EVERY_GROUP.iter().chain(of_this_group) {
        holds(state).map_err(|what| Broken { law, what })?;
    }
    Ok(())
}

/// Checks every law of what may have changed from an earlier state to a later one of the same group.
pub fn check_step(before: &State, after: &State) -> Result<(), Broken> {
    let of_this_group = if before.group() == GroupId::CLUSTER { STEPS_OF_THE_CLUSTER } else { STEPS_OF_SHARDS };
    for (law, holds) in STEPS_OF_EVERY_GROUP.iter().chain(of_this_group) {
        holds(before, after).map_err(|what| Broken { law, what })?;
    }
    Ok(())
}
