//! Time: rights end on ticks, and nothing else moves it.

use strongroom_core::entry::{Decided, NodeCommand, Tick};
use strongroom_core::query::{Answer, Decision, Query};
use strongroom_core::shard::ENDS_PER_TICK;
use strongroom_core::shard::rows::PartState;
use strongroom_format::command::Body;
use strongroom_format::id::{Digest, GroupId};
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::role::Role;

use crate::backup::{Backup, Piece, back_up};
use crate::group::{HOUR_MS, MINUTE_MS, claim, done, refused};
use crate::tenant::{ADMIN, RESTORER, WRITER, issue_body};
use crate::world::World;

fn state_of(world: &World, backup: &Backup, group: GroupId) -> PartState {
    let query = Query::Part { tenant: world.tenant(&backup.tenant).id, snapshot: backup.snapshot };
    match world.groups[&group].ask(&query) {
        Answer::Part(row) => row.state,
        other => panic!("{other:?}"),
    }
}

fn decision(world: &World, backup: &Backup) -> Decision {
    let tenant = world.tenant(&backup.tenant);
    match world.groups[&tenant.home].ask(&Query::Decision { tenant: tenant.id, snapshot: backup.snapshot }) {
        Answer::Decision(decision) => decision,
        other => panic!("{other:?}"),
    }
}

#[test]
fn n70_a_replayed_or_stale_tick_is_refused() {
    let mut world = World::single();
    let group = GroupId(1);
    let reports = world.groups[&group].reports();
    let first = NodeCommand::Tick(Tick { previous: Digest::from_bytes([0; 32]), reports });
    done(world.group(group).node(first.clone()));
    assert_eq!(refused(world.group(group).node(first)), Refusal::VersionConflict);
    done(world.group(group).tick(1001));
    assert_eq!(world.group(group).view().clock.elapsed_ms, 1000, "the first millisecond may have begun long before");
    let forged = Tick { previous: Digest::from_bytes([1; 32]), reports: Vec::new() };
    assert_eq!(refused(world.group(group).node(NodeCommand::Tick(forged))), Refusal::VersionConflict);
    done(world.group(group).tick(1));
    assert_eq!(world.group(group).view().clock.elapsed_ms, 1001);
}

#[test]
fn an_open_part_dies_with_its_lease_and_with_it_the_snapshot() {
    let mut world = World::new();
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(&world, "acme", WRITER, session, "one");
    done(backup.open(&mut world));
    let home = backup.home(&world);
    let other = *backup.groups.iter().find(|group| **group != home).unwrap();
    done(backup.join(&mut world, other));
    backup.fill(&mut world, home, &[Piece::new("a", 0)]);
    world.pass(7 * HOUR_MS);
    assert_eq!(decision(&world, &backup), Decision::Aborted);
    assert_eq!(
        (state_of(&world, &backup, home), state_of(&world, &backup, other)),
        (PartState::Dropped, PartState::Dropped)
    );
    // Final: the same id opens nothing any more.
    let session = world.open_session("acme", WRITER);
    backup.sessions.insert(home, session);
    assert_eq!(refused(backup.open(&mut world)), Refusal::Immutable);
    // What was registered stays until it is collected, and is known.
    let which = Query::Which {
        tenant: world.tenant("acme").id,
        by: WRITER.parse().unwrap(),
        vault: world.tenant("acme").vault,
        domain: backup.keys(&world).domain,
        chunks: vec![Piece::new("a", 0).of.chunk],
        nodes: Vec::new(),
    };
    let Answer::Which(which) = world.groups[&home].ask(&which) else { panic!() };
    assert_eq!(which.chunks.len(), 1, "a resumed upload need not send it again");
}

#[test]
fn no_clock_of_its_own_drops_a_sealed_part() {
    let mut world = World::new();
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(&world, "acme", WRITER, session, "one");
    backup.prepare(&mut world, &["a", "b", "c"]);
    let home = backup.home(&world);
    let others: Vec<GroupId> = backup.groups.iter().copied().filter(|group| *group != home).collect();
    for group in &others {
        done(world.group(*group).tick(1000 * HOUR_MS));
        assert!(matches!(state_of(&world, &backup, *group), PartState::Sealed(_)));
    }
    done(backup.commit(&mut world));
    assert_eq!(world.decide(), others.len());
    for group in &others {
        assert!(matches!(state_of(&world, &backup, *group), PartState::Committed { .. }));
    }
    // The home shard's word does not flip.
    let decided = Decided { home, tenant: world.tenant("acme").id, snapshot: backup.snapshot, kept: None };
    let outcome = world.group(others[0]).node(NodeCommand::DecidePart(claim(decided.clone())));
    assert_eq!(refused(outcome), Refusal::VersionConflict);
    let by_another = Decided { home: others[1], ..decided };
    assert_eq!(refused(world.group(others[0]).node(NodeCommand::DecidePart(claim(by_another)))), Refusal::WrongGroup);
}

#[test]
fn an_undecided_snapshot_is_aborted_once_and_every_part_follows() {
    let mut world = World::new();
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(&world, "acme", WRITER, session, "one");
    backup.prepare(&mut world, &["a", "b", "c"]);
    let home = backup.home(&world);
    assert_eq!(world.decide(), 0, "nothing is decided yet");
    done(world.group(home).tick(7 * HOUR_MS));
    assert_eq!(decision(&world, &backup), Decision::Aborted);
    let session = world.open_session("acme", WRITER);
    backup.sessions.insert(home, session);
    assert_eq!(refused(backup.commit(&mut world)), Refusal::LeaseEnded);
    world.decide();
    for group in backup.groups.clone() {
        assert_eq!(state_of(&world, &backup, group), PartState::Dropped);
    }
    // The same contents back up again, and everything is known.
    let snapshot = back_up(&mut world, "acme", WRITER, "two", &["a", "b", "c"]);
    assert_ne!(snapshot, backup.snapshot);
}

#[test]
fn a_right_is_over_when_its_time_is_although_no_tick_has_tidied_up() {
    let mut world = World::single();
    let group = GroupId(1);
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(&world, "acme", WRITER, session, "late");
    backup.prepare(&mut world, &["a"]);
    let mut sessions = Vec::new();
    for _ in 0..ENDS_PER_TICK + 10 {
        sessions.push(world.open_session("acme", WRITER));
    }
    let mut admin = world.open_session("acme", ADMIN);
    // It ends behind all the sessions, which count for an hour too.
    world.pass(1);
    done(world.submit("acme", ADMIN, &mut admin, issue_body("late", "web-9", &[Role::Writer])));
    let token = world.tenant("acme").redeem("late", "web-9");
    let mut unsealed = Backup::new(&world, "acme", WRITER, sessions[0], "unsealed");
    done(unsealed.open(&mut world));
    done(world.group(group).tick(10 * HOUR_MS));
    // The snapshot's lease is over and its row still there: too late to decide but by ending it.
    assert_eq!(decision(&world, &backup), Decision::Open);
    let session = world.open_session("acme", WRITER);
    backup.sessions.insert(group, session);
    assert_eq!(refused(backup.commit(&mut world)), Refusal::LeaseEnded);
    // Nor is anything brought under a lease that is over, in a session that is not.
    unsealed.sessions.insert(group, world.open_session("acme", WRITER));
    assert_eq!(refused(unsealed.register(&mut world, group, &[Piece::new("b", 0)])), Refusal::LeaseEnded);
    // Nor does a token make anybody.
    assert_eq!(refused(world.group(group).redeem(token)), Refusal::Token);
    for mut session in [sessions[1], sessions[sessions.len() - 1]] {
        let lease = session.lease;
        let outcome = world.submit("acme", WRITER, &mut session, Body::TopUp { lease, bytes: 1 });
        assert_eq!(outcome, Outcome::Forgotten);
        let query = Query::Lease { tenant: world.tenant("acme").id, lease };
        assert_eq!(world.groups[&group].ask(&query), Answer::NotFound);
    }
    for _ in 0..2 {
        assert!(world.group(group).view().next_end_ms.is_some(), "a tick is worth proposing at once");
        done(world.group(group).tick(0));
    }
    assert_eq!(decision(&world, &backup), Decision::Aborted);
}

#[test]
fn a_lease_that_is_used_lives_on() {
    let mut world = World::single();
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(&world, "acme", WRITER, session, "long");
    done(backup.open(&mut world));
    let group = backup.home(&world);
    for round in 0..40 {
        world.pass(HOUR_MS / 2);
        let lease = backup.leases[&group];
        done(backup.submit(&mut world, group, Body::TopUp { lease, bytes: round }));
    }
    backup.fill(&mut world, group, &[Piece::new("late", 0)]);
}

#[test]
fn a_restore_session_ends_by_itself_or_by_its_owner() {
    let mut world = World::single();
    let group = GroupId(1);
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    let mut restorer = world.open_session("acme", RESTORER);
    let open = |purpose: &str, lifetime_ms| Body::OpenRestore {
        snapshots: vec![snapshot, snapshot],
        purpose: purpose.into(),
        lifetime_ms,
    };
    let Done::RestoreOpened { restore, ends_ms } =
        done(world.submit("acme", RESTORER, &mut restorer, open("drill", 10 * MINUTE_MS)))
    else {
        panic!()
    };
    assert_eq!(ends_ms, 10 * MINUTE_MS);
    let query = Query::Restore { tenant: world.tenant("acme").id, restore };
    let Answer::Restore(row) = world.groups[&group].ask(&query) else { panic!() };
    assert_eq!((row.snapshots, row.purpose.as_str()), (vec![snapshot], "drill"));
    done(world.group(group).tick(10 * MINUTE_MS));
    assert_eq!(world.groups[&group].ask(&query), Answer::NotFound);

    let Done::RestoreOpened { restore, .. } = done(world.submit("acme", RESTORER, &mut restorer, open("drill", 1000)))
    else {
        panic!()
    };
    done(world.submit("acme", RESTORER, &mut restorer, Body::EndRestore { restore }));
    let again = world.submit("acme", RESTORER, &mut restorer, Body::EndRestore { restore });
    assert_eq!(refused(again), Refusal::NotFound);
    for body in [open("drill", 0), open("drill", u64::MAX), open("a\nb", 1), open(&"x".repeat(2000), 1)] {
        assert!(matches!(refused(world.submit("acme", RESTORER, &mut restorer, body)), Refusal::Invalid { .. }));
    }
}
