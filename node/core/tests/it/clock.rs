//! The compliance clock (DESIGN.md §7.2), sentence by sentence. Not here: that nothing at all hurries it (`adversary.rs`).

use strongroom_core::baselines::IN_HAND_MAX_MS;
use strongroom_core::clock::ClockRow;
use strongroom_core::entry::{NodeCommand, ReportFacts, Tick};
use strongroom_core::walls::AGREE_WITHIN_MS;
use strongroom_format::command::{Body, OperatorBody};
use strongroom_format::id::{Digest, GroupId};
use strongroom_format::outcome::{Done, Outcome, Refusal};

use crate::backup::back_up;
use crate::group::{BEGAN_MS, Group, HOUR_MS, MINUTE_MS, done, fixed, refused};
use crate::tenant::WRITER;
use crate::world::{World, genesis};

const SHARD: GroupId = GroupId(1);
const YEAR_MS: u64 = 365 * 24 * HOUR_MS;

fn clock(world: &World) -> ClockRow {
    world.groups[&SHARD].view().clock
}

/// Reports of all, with their wall clocks off by so much from the right time.
fn tick_with_walls(world: &mut World, elapsed_ms: u64, walls: [i64; 3]) -> ClockRow {
    let shard = world.group(SHARD);
    shard.wait(elapsed_ms);
    let mut facts = shard.facts();
    for (facts, off_ms) in facts.iter_mut().zip(walls) {
        facts.wall_unix_ms = facts.wall_unix_ms.saturating_add_signed(off_ms);
    }
    let reports = facts.into_iter().map(|facts| shard.sign(facts)).collect();
    done(shard.tick_with(reports));
    clock(world)
}

#[test]
fn n68_wall_clocks_that_are_set_forward_on_one_some_or_all_nodes_hurry_nothing() {
    let ten_years = i64::try_from(10 * YEAR_MS).unwrap();
    for ahead in [[1, 0, 0], [1, 1, 0], [1, 1, 1]] {
        let mut world = World::founded(&genesis(3, 3, 1));
        done(world.group(SHARD).tick(0));
        let clock = tick_with_walls(&mut world, MINUTE_MS, ahead.map(|set| set * ten_years));
        assert_eq!((clock.elapsed_ms, clock.clock_ms), (MINUTE_MS, BEGAN_MS + MINUTE_MS), "{ahead:?}");
        assert_eq!(clock.held_since_ms, None);
    }
}

#[test]
fn n69_wall_clocks_that_are_set_back_delay_the_clock_and_never_turn_it_back_and_rights_run_on() {
    let mut world = World::founded(&genesis(3, 3, 1));
    done(world.group(SHARD).tick(HOUR_MS));
    let ten_years = i64::try_from(10 * YEAR_MS).unwrap();
    let back = tick_with_walls(&mut world, HOUR_MS, [-ten_years; 3]);
    assert_eq!((back.elapsed_ms, back.clock_ms, back.held_since_ms), (2 * HOUR_MS, BEGAN_MS + HOUR_MS, None));
    let one_is_right = tick_with_walls(&mut world, HOUR_MS, [0, -ten_years, -ten_years]);
    assert_eq!((one_is_right.elapsed_ms, one_is_right.clock_ms), (3 * HOUR_MS, BEGAN_MS + HOUR_MS));
    // It leaps when they are right again, and no further than true time.
    let right = tick_with_walls(&mut world, HOUR_MS, [0, 0, -ten_years]);
    assert_eq!((right.elapsed_ms, right.clock_ms), (4 * HOUR_MS, BEGAN_MS + 4 * HOUR_MS));
}

#[test]
fn where_no_majority_of_wall_clocks_agrees_the_clock_is_held_and_rights_run_on() {
    let mut world = World::founded(&genesis(3, 3, 1));
    done(world.group(SHARD).tick(HOUR_MS));
    let apart = i64::try_from(AGREE_WITHIN_MS).unwrap() + 1;
    let held = tick_with_walls(&mut world, HOUR_MS, [-apart, 0, apart]);
    assert_eq!((held.elapsed_ms, held.clock_ms), (2 * HOUR_MS, BEGAN_MS + HOUR_MS));
    assert_eq!(held.held_since_ms, Some(2 * HOUR_MS));
    let still = tick_with_walls(&mut world, HOUR_MS, [-apart, 0, apart]);
    assert_eq!((still.clock_ms, still.held_since_ms), (BEGAN_MS + HOUR_MS, Some(2 * HOUR_MS)));
    // The reports of a bare majority that does not agree hold it too.
    let shard = world.group(SHARD);
    shard.wait(HOUR_MS);
    let mut facts = shard.facts();
    facts[1].wall_unix_ms += AGREE_WITHIN_MS + 1;
    let reports = facts[..2].iter().map(|facts| shard.sign(facts.clone())).collect();
    done(shard.tick_with(reports));
    assert!(clock(&world).held_since_ms.is_some());
    let runs = tick_with_walls(&mut world, HOUR_MS, [1 - apart, 0, apart]);
    assert_eq!((runs.held_since_ms, runs.clock_ms), (None, BEGAN_MS + 5 * HOUR_MS));
}

#[test]
fn n129_while_the_clock_is_held_rights_end_and_backups_go_on() {
    let mut world = World::founded(&genesis(3, 3, 1));
    world.create_tenant("acme", 1);
    world.settle("acme");
    let mut session = world.open_session("acme", WRITER);
    done(world.group(SHARD).tick(0));
    let before = clock(&world);
    let apart = i64::try_from(AGREE_WITHIN_MS).unwrap() + 1;
    let held = tick_with_walls(&mut world, 100 * HOUR_MS, [-apart, 0, apart]);
    assert_eq!((held.clock_ms, held.held_since_ms.is_some()), (before.clock_ms, true));
    let lease = session.lease;
    let outcome = world.submit("acme", WRITER, &mut session, Body::TopUp { lease, bytes: 1 });
    assert_eq!(outcome, Outcome::Forgotten, "an old session is over");
    back_up(&mut world, "acme", WRITER, "held", &["a"]);
    assert_eq!(clock(&world).clock_ms, before.clock_ms);
}

#[test]
fn n71_a_voter_that_is_new_restarted_ran_backwards_or_was_silent_vouches_for_nothing() {
    /// What the second of two voters does to its report; the third is silent throughout.
    type Change = fn(&mut ReportFacts);
    let changes: [(&str, Change); 2] = [
        ("restarted, its running clock shifted", |facts| {
            facts.incarnation = [9; 16];
            facts.running_ms += YEAR_MS;
        }),
        ("ran backwards", |facts| facts.running_ms = 0),
    ];
    for (why, change) in changes {
        let mut world = World::founded(&genesis(3, 3, 1));
        let shard = world.group(SHARD);
        done(shard.tick_of(MINUTE_MS, &["n2"], &[]));
        done(shard.tick_of(MINUTE_MS + 1, &["n2"], &[]));
        assert_eq!(shard.view().clock.elapsed_ms, MINUTE_MS);
        shard.wait(MINUTE_MS);
        let mut facts = shard.facts();
        change(&mut facts[1]);
        let reports = facts[..2].iter().map(|facts| shard.sign(facts.clone())).collect();
        done(shard.tick_with(reports));
        assert_eq!(shard.view().clock.elapsed_ms, MINUTE_MS, "{why}: one of three is not enough");
    }
    // Silent in the tick before, or new in a slot.
    let mut world = World::founded(&genesis(3, 3, 1));
    let shard = world.group(SHARD);
    done(shard.tick(MINUTE_MS));
    for silent in ["n0", "n1", "n2", "n0", "n1"] {
        done(shard.tick_of(MINUTE_MS, &[silent], &[]));
    }
    // The first time two of three ran on; from then on one of each two had been silent.
    assert_eq!(shard.view().clock.elapsed_ms, 2 * MINUTE_MS);
    done(shard.tick(0));
    let before_ms = shard.view().clock.elapsed_ms;
    let (slot, from) = world.member(SHARD, "n1");
    let Done::ReplicaAllotted { replica: to } = done(world.rebuild(SHARD, "n1", from)) else { panic!() };
    done(world.replace(SHARD, slot, from, to));
    done(world.group(SHARD).tick_of(MINUTE_MS, &["n2"], &[]));
    assert_eq!(clock(&world).elapsed_ms, before_ms, "who is new vouches for nothing");
}

#[test]
fn what_a_voter_is_ahead_is_cut_for_good_so_that_nobody_lets_it_go_later() {
    let mut world = World::founded(&genesis(3, 3, 1));
    let shard = world.group(SHARD);
    done(shard.tick(0));
    // For an hour only one of them says what it counted; the others say that nothing passed.
    let said = |shard: &Group, ahead: &[(usize, u64)]| {
        let mut facts = shard.facts();
        ahead.iter().for_each(|(of, ms)| facts[*of].running_ms += ms);
        facts.into_iter().map(|facts| shard.sign(facts)).collect::<Vec<_>>()
    };
    done(shard.tick_with(said(shard, &[(0, HOUR_MS)])));
    assert_eq!(shard.view().clock.elapsed_ms, 0);
    // Another comes as far: no more than two seconds were left of it.
    done(shard.tick_with(said(shard, &[(0, HOUR_MS), (1, HOUR_MS)])));
    assert_eq!(shard.view().clock.elapsed_ms, IN_HAND_MAX_MS);
}

#[test]
fn fenced_voters_never_count() {
    let mut world = World::founded(&genesis(3, 3, 1));
    let shard = world.group(SHARD);
    done(shard.tick(0));
    shard.wait(MINUTE_MS);
    // One is fenced by the very tick in which it would be of the majority.
    let mut facts = shard.facts();
    facts[1].digest = Digest::from_bytes([1; 32]);
    facts[2].running_ms -= MINUTE_MS / 2;
    let reports = facts.into_iter().map(|facts| shard.sign(facts)).collect();
    done(shard.tick_with(reports));
    assert_eq!((shard.fenced(), shard.view().clock.elapsed_ms), (vec!["n1".to_owned()], MINUTE_MS / 2));
    let mut facts = shard.facts();
    facts[1].running_ms += HOUR_MS;
    facts[0].running_ms += HOUR_MS;
    facts[2].running_ms -= MINUTE_MS / 2;
    facts[1].wall_unix_ms = 0;
    facts[2].wall_unix_ms = BEGAN_MS;
    let reports = facts.into_iter().map(|facts| shard.sign(facts)).collect();
    done(shard.tick_with(reports));
    let clock = shard.view().clock;
    assert_eq!((clock.elapsed_ms, clock.clock_ms), (MINUTE_MS / 2, BEGAN_MS + MINUTE_MS / 2));
}

#[test]
fn a_new_shard_begins_where_the_cluster_groups_clock_is() {
    let mut world = World::founded(&genesis(3, 3, 1));
    done(world.cluster().tick(HOUR_MS));
    let slots = ["n0", "n1", "n2"].map(|name| name.parse().unwrap()).to_vec();
    done(world.operator(OperatorBody::CreateShard { slots }));
    let row = world.map().shards.into_iter().find(|row| row.group == GroupId(2)).unwrap();
    assert_eq!(row.clock_ms, BEGAN_MS + HOUR_MS);
    // The first shard was there from the beginning.
    assert_eq!(clock(&world).began_unix_ms, BEGAN_MS);
    assert_eq!((clock(&world).elapsed_ms, clock(&world).clock_ms), (0, BEGAN_MS));
}

#[test]
fn a_genesis_that_begins_beyond_all_calendars_founds_nothing() {
    let mut cluster = Group::new(GroupId::CLUSTER, genesis(3, 3, 1).founders());
    let mut late = genesis(3, 3, 1);
    late.clock_ms = u64::MAX;
    assert!(matches!(refused(cluster.node(NodeCommand::Found(late))), Refusal::Invalid { .. }));
}

#[test]
fn n70_a_leader_that_invents_changes_or_doubles_reports_moves_nothing() {
    let mut world = World::founded(&genesis(3, 3, 1));
    let shard = world.group(SHARD);
    done(shard.tick(MINUTE_MS));
    shard.wait(MINUTE_MS);
    let sound = shard.reports();
    let mut hurried = sound.clone();
    hurried[0].value.running_ms += YEAR_MS;
    let mut of_another = sound.clone();
    of_another[0].signature = sound[1].signature;
    let doubled = vec![sound[0].clone(), sound[0].clone(), sound[1].clone()];
    for (why, reports) in
        [("changed", hurried), ("another's signature", of_another), ("doubled", doubled), ("none", Vec::new())]
    {
        assert!(matches!(shard.tick_with(reports), Outcome::Refused(_)), "{why}");
        assert_eq!(shard.view().clock.elapsed_ms, MINUTE_MS, "{why}");
    }
    let stale = NodeCommand::Tick(Tick { previous: no_tick(), reports: sound.clone() });
    assert_eq!(refused(shard.node(stale)), Refusal::VersionConflict);
    done(shard.tick_with(sound));
    assert_eq!(shard.view().clock.elapsed_ms, 2 * MINUTE_MS);
}

fn no_tick() -> Digest {
    Digest::from_bytes(fixed("no tick"))
}
