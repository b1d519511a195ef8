//! What voters report in ticks: whose words count, who is fenced, and when a group stops deciding.

use strongroom_core::entry::{Report, ReportFacts};
use strongroom_format::command::Body;
use strongroom_format::id::{ClusterEpoch, Digest, GroupId, ReplicaId};
use strongroom_format::outcome::{Done, Outcome, Refusal};

use crate::group::{Group, done, node_key, refused};
use crate::tenant::WRITER;
use crate::world::{World, genesis};

const SHARD: GroupId = GroupId(1);
/// So many ticks in a row in which all voters report and no state has a majority stop a group.
const DISPUTES_MAX: usize = 3;

/// Three nodes: each group has three voters.
fn world() -> World {
    let mut world = World::founded(&genesis(3, 3, 1));
    world.create_tenant("acme", 1);
    world
}

fn both() -> [GroupId; 2] {
    [GroupId::CLUSTER, SHARD]
}

#[test]
fn n70_a_tick_counts_only_where_a_majority_vouches_for_it_in_order() {
    for group in both() {
        let mut world = world();
        let shard = world.group(group);
        let reports = shard.reports();
        for few in [&reports[..0], &reports[..1]] {
            assert!(matches!(refused(shard.tick_with(few.to_vec())), Refusal::Invalid { .. }));
        }
        let twice = vec![reports[0].clone(), reports[0].clone()];
        assert!(matches!(refused(shard.tick_with(twice)), Refusal::Invalid { .. }));
        let unsorted = vec![reports[1].clone(), reports[0].clone()];
        assert!(matches!(refused(shard.tick_with(unsorted)), Refusal::Invalid { .. }));
        assert_eq!(shard.view().clock.ticks, 0);
        done(shard.tick_with(reports[1..].to_vec()));
        assert_eq!(shard.view().clock.ticks, 1);
    }
}

/// A report that was changed and signed by its own voter again.
fn changed(group: &Group, of: usize, change: impl FnOnce(&mut ReportFacts)) -> Vec<Report> {
    let mut facts = group.facts();
    change(&mut facts[of]);
    let view = group.view();
    let sign = |(at, facts): (usize, ReportFacts)| facts.sign(&node_key(&view.voters[at].node));
    facts.into_iter().enumerate().map(sign).collect()
}

#[test]
fn n127_a_report_for_another_group_life_or_tick_or_of_no_voter_spoils_the_tick() {
    for group in both() {
        let mut world = world();
        let shard = world.group(group);
        let earlier = shard.reports();
        done(shard.tick(1));
        let ticks = shard.view().clock.ticks;
        assert_eq!(refused(shard.tick_with(earlier)), Refusal::VersionConflict, "kept for later");
        let elsewhere = changed(shard, 1, |facts| facts.group = GroupId(7));
        assert_eq!(refused(shard.tick_with(elsewhere)), Refusal::WrongGroup);
        let other_life = changed(shard, 1, |facts| facts.epoch = ClusterEpoch::from_bytes([1; 16]));
        assert_eq!(refused(shard.tick_with(other_life)), Refusal::WrongGroup);
        let stale = changed(shard, 1, |facts| facts.previous = Digest::from_bytes([1; 32]));
        assert_eq!(refused(shard.tick_with(stale)), Refusal::VersionConflict);
        let stranger = changed(shard, 2, |facts| facts.replica = ReplicaId(facts.replica.0 + 256));
        assert_eq!(refused(shard.tick_with(stranger)), Refusal::Identity);
        let mut forged = shard.reports();
        forged[1].value.durable_index += 1;
        assert_eq!(refused(shard.tick_with(forged)), Refusal::Signature);
        assert_eq!(shard.view().clock.ticks, ticks);
    }
}

#[test]
fn a_voter_with_another_state_than_the_majority_is_fenced_until_it_is_another_member() {
    for group in both() {
        let mut world = world();
        done(world.group(group).tick_of(1, &[], &[("n1", "other")]));
        assert_eq!(world.group(group).fenced(), ["n1"]);
        // It says the right thing again: it stays fenced, and is not counted.
        let shard = world.group(group);
        done(shard.tick(1));
        assert_eq!(shard.fenced(), ["n1"]);
        assert!(matches!(refused(shard.tick_of(1, &["n0"], &[])), Refusal::Invalid { .. }), "one of three counts");
        assert!(!shard.view().disputed);
        let (slot, from) = world.member(group, "n1");
        let Done::ReplicaAllotted { replica: to } = done(world.rebuild(group, "n1", from)) else { panic!() };
        assert_eq!(world.group(group).fenced(), ["n1"]);
        if group == SHARD {
            done(world.replace(group, slot, from, to));
        }
        done(world.has_come(group, slot, to));
        assert!(world.group(group).fenced().is_empty());
        done(world.group(group).tick_of(1, &["n0"], &[]));
    }
}

#[test]
fn states_of_which_none_has_a_majority_fence_nobody_and_the_third_time_that_all_say_so_stop_the_group() {
    let mut world = world();
    let session = |world: &mut World| {
        let signed = world.open_session_command("acme", "ada", 0);
        world.group(SHARD).client(signed)
    };
    world.settle("acme");
    let mut opened = world.open_session("acme", WRITER);
    let lease = opened.lease;
    let mut inside = |world: &mut World| world.submit("acme", WRITER, &mut opened, Body::TopUp { lease, bytes: 1 });
    let apart = [("n1", "other"), ("n2", "third")];
    for _ in 1..DISPUTES_MAX {
        done(world.group(SHARD).tick_of(1, &[], &apart));
        done(session(&mut world));
        done(inside(&mut world));
    }
    // Who stays silent leaves it open: it begins anew.
    done(world.group(SHARD).tick_of(1, &["n2"], &apart));
    assert_eq!(world.group(SHARD).view().clock.disputes, 0);
    for _ in 0..DISPUTES_MAX {
        done(world.group(SHARD).tick_of(1, &[], &apart));
    }
    assert!(world.group(SHARD).view().disputed && world.group(SHARD).fenced().is_empty());
    assert_eq!(session(&mut world), Outcome::Refused(Refusal::DigestsDisagree));
    assert_eq!(inside(&mut world), Outcome::Refused(Refusal::DigestsDisagree), "also in a session that is open");
    // Silence does not let it decide again, a majority does.
    done(world.group(SHARD).tick_of(1, &["n2"], &apart));
    assert_eq!(session(&mut world), Outcome::Refused(Refusal::DigestsDisagree));
    done(world.group(SHARD).tick_of(1, &["n0"], &[]));
    assert!(!world.group(SHARD).view().disputed);
    done(session(&mut world));
    done(inside(&mut world));
}

#[test]
fn nothing_ends_while_the_states_are_disputed() {
    let mut world = world();
    world.settle("acme");
    world.open_session("acme", WRITER);
    let apart = [("n1", "other"), ("n2", "third")];
    for _ in 0..DISPUTES_MAX {
        done(world.group(SHARD).tick_of(1, &[], &apart));
    }
    let hour = 100 * crate::group::HOUR_MS;
    done(world.group(SHARD).tick_of(hour, &[], &apart));
    assert!(world.group(SHARD).view().next_end_ms.is_some_and(|end_ms| end_ms < hour), "it waits");
    done(world.group(SHARD).tick(1));
    assert!(world.group(SHARD).view().next_end_ms.is_none_or(|end_ms| hour < end_ms));
}
