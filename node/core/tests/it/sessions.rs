//! Sessions: every number is executed at most once, and its answer never flips.

use strongroom_core::entry::EntryCommand;
use strongroom_core::shard::WINDOW;
use strongroom_format::codec;
use strongroom_format::command::{Body, Command, SignedCommand};
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::sign;

use crate::backup::Backup;
use crate::group::{HOUR_MS, done, refused};
use crate::tenant::WRITER;
use crate::world::{Session, World};

fn numbered(world: &World, session: &Session, sequence: u64, body: Body) -> SignedCommand {
    let tenant = world.tenant("acme");
    let command = Command { session: Some(session.session), sequence, ..tenant.command(session.group, WRITER, body) };
    tenant.seal_command(WRITER, &command)
}

fn keep_alive(session: &Session) -> Body {
    Body::TopUp { lease: session.lease, bytes: 1 }
}

fn apply(world: &mut World, session: &Session, sequence: u64, body: Body) -> Outcome {
    let signed = numbered(world, session, sequence, body);
    world.group(session.group).client(signed)
}

#[test]
fn a_number_is_executed_once_whatever_comes_under_it_later() {
    let mut world = World::new();
    let session = world.open_session("acme", WRITER);
    let first = apply(&mut world, &session, 1, keep_alive(&session));
    let Outcome::Done(Done::ToppedUp { budget_bytes }) = first else { panic!() };
    assert_eq!(apply(&mut world, &session, 1, keep_alive(&session)), first);
    assert_eq!(apply(&mut world, &session, 1, Body::EndSession), first, "the answer to the number, not to the command");
    let second = done(apply(&mut world, &session, 2, keep_alive(&session)));
    assert_eq!(second, Done::ToppedUp { budget_bytes: budget_bytes + 1 });
}

#[test]
fn what_left_the_window_is_forgotten_and_never_executed() {
    let mut world = World::new();
    let session = world.open_session("acme", WRITER);
    done(apply(&mut world, &session, 1, keep_alive(&session)));
    // 2 is late. 64 more are in flight, none is 64 ahead.
    done(apply(&mut world, &session, 1 + WINDOW, keep_alive(&session)));
    assert_eq!(apply(&mut world, &session, 1, keep_alive(&session)), Outcome::Forgotten);
    done(apply(&mut world, &session, 2, keep_alive(&session)));
    done(apply(&mut world, &session, 2 + WINDOW, keep_alive(&session)));
    assert_eq!(apply(&mut world, &session, 2, keep_alive(&session)), Outcome::Forgotten);
    let ahead = apply(&mut world, &session, 3 + 2 * WINDOW, keep_alive(&session));
    assert_eq!(refused(ahead), Refusal::SequenceOutOfWindow);
    for impossible in [0, u64::MAX] {
        assert!(matches!(apply(&mut world, &session, impossible, keep_alive(&session)), Outcome::Refused(_)));
    }
}

#[test]
fn what_was_asked_about_before_it_came_is_refused_for_ever() {
    let mut world = World::new();
    let session = world.open_session("acme", WRITER);
    let first = apply(&mut world, &session, 1, keep_alive(&session));
    let Done::Asked { outcome } = done(apply(&mut world, &session, 2, Body::Ask { sequence: 1 })) else { panic!() };
    assert_eq!(codec::decode::<Outcome>(&outcome).unwrap(), first);

    assert_eq!(done(apply(&mut world, &session, 3, Body::Ask { sequence: 10 })), Done::NeverApplied);
    assert_eq!(refused(apply(&mut world, &session, 10, keep_alive(&session))), Refusal::Withdrawn);
    let Done::Asked { outcome } = done(apply(&mut world, &session, 4, Body::Ask { sequence: 10 })) else { panic!() };
    assert_eq!(codec::decode::<Outcome>(&outcome).unwrap(), Outcome::Refused(Refusal::Withdrawn));

    for about in [0, 5, 3] {
        let outcome = apply(&mut world, &session, 5, Body::Ask { sequence: about });
        assert!(matches!(refused(outcome), Refusal::Invalid { .. }), "{about}");
    }
    // A question that moves the window beyond its own number.
    let session = world.open_session("acme", WRITER);
    done(apply(&mut world, &session, 30, keep_alive(&session)));
    assert_eq!(done(apply(&mut world, &session, 1, Body::Ask { sequence: 94 })), Done::NeverApplied);
    assert_eq!(apply(&mut world, &session, 1, Body::Ask { sequence: 94 }), Outcome::Forgotten);
}

#[test]
fn a_session_that_is_not_used_ends_and_its_numbers_are_forgotten() {
    let mut world = World::new();
    let session = world.open_session("acme", WRITER);
    done(apply(&mut world, &session, 1, keep_alive(&session)));
    // Used every half an hour it lives on.
    for sequence in 2..6 {
        world.pass(HOUR_MS / 2);
        done(apply(&mut world, &session, sequence, Body::Ask { sequence: 1 }));
    }
    world.pass(HOUR_MS);
    assert_eq!(apply(&mut world, &session, 1, keep_alive(&session)), Outcome::Forgotten);
    assert_eq!(apply(&mut world, &session, 9, keep_alive(&session)), Outcome::Forgotten);
}

#[test]
fn a_command_that_needs_its_predecessor_looks_at_its_own_session_only() {
    let mut world = World::new();
    let (one, other) = (world.open_session("acme", WRITER), world.open_session("acme", WRITER));
    let needing = |world: &World, session: &Session, sequence| {
        let tenant = world.tenant("acme");
        let command = Command {
            session: Some(session.session),
            sequence,
            needs_previous: true,
            ..tenant.command(session.group, WRITER, keep_alive(session))
        };
        EntryCommand::Vouched(sign::unsigned_command(&command))
    };
    let plain = |world: &World, session: &Session, sequence, body| {
        EntryCommand::Vouched(numbered(world, session, sequence, body))
    };
    let entry = vec![
        needing(&world, &one, 1),
        plain(&world, &one, 2, keep_alive(&one)),
        needing(&world, &one, 3),
        needing(&world, &other, 1),
        plain(&world, &one, 4, Body::TopUp { lease: other.lease, bytes: u64::MAX }),
        needing(&world, &one, 5),
        needing(&world, &one, 6),
    ];
    let outcomes = world.group(one.group).apply(entry);
    let not = Outcome::Refused(Refusal::PreviousNotDone);
    assert_eq!(outcomes[0], not, "nothing stands before it");
    assert!(matches!(outcomes[1..3], [Outcome::Done(_), Outcome::Done(_)]));
    assert_eq!(outcomes[3], not, "another session stands before it");
    assert!(matches!(outcomes[4], Outcome::Refused(Refusal::Invalid { .. })));
    assert_eq!(outcomes[5..], [not.clone(), not.clone()], "and so on");
    assert_eq!(apply(&mut world, &one, 5, keep_alive(&one)), not, "remembered like any other");
}

#[test]
fn a_small_snapshot_is_one_entry_under_the_sessions_lease() {
    let mut world = World::single();
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(&world, "acme", WRITER, session, "small");
    let home = backup.home(&world);
    // All that can be known before anything is opened: ids, blobs, trees, the session's lease.
    backup.leases.insert(home, session.lease);
    let (vault, keys) = (world.tenant("acme").vault, backup.keys(&world));
    let (dek, no_dek) = (world.tenant("acme").dek(WRITER), strongroom_format::id::DekId::from_bytes([0; 16]));
    let pieces = [crate::backup::Piece::new("a", 0), crate::backup::Piece::new("b", 0)];
    let of_manifest = crate::backup::Piece::new("manifest", 0);
    let record = crate::backup::Piece::new("record", 0);
    let (content, content_bytes) = crate::backup::leaf(&keys, &pieces);
    let (manifest, manifest_bytes) = crate::backup::leaf(&keys, &[of_manifest]);
    backup.contents.insert(home, content);
    backup.manifest = Some(manifest);
    let mut chunks: Vec<_> = pieces.iter().chain([&of_manifest]).map(|piece| piece.registered(dek)).collect();
    chunks.push(record.registered(no_dek));
    let envelope = backup.signed_envelope(&world, &backup.envelope(&world));
    let bodies = [
        Body::OpenSnapshot(backup.open_body(&world)),
        Body::RegisterChunks { lease: session.lease, vault, domain: keys.domain, chunks },
        Body::PutNodes { lease: session.lease, vault, domain: keys.domain, nodes: vec![content_bytes, manifest_bytes] },
        Body::SealPart { snapshot: backup.snapshot, roots: backup.roots(&world, home), records: vec![record.of] },
        Body::CommitSnapshot { envelope, sealed: Vec::new() },
    ];
    let tenant = world.tenant("acme");
    let commands = (1_u64..).zip(bodies).map(|(sequence, body)| {
        let command = Command {
            session: Some(session.session),
            sequence,
            needs_previous: 1 < sequence,
            ..tenant.command(home, WRITER, body)
        };
        EntryCommand::Vouched(tenant.seal_command(WRITER, &command))
    });
    let commands: Vec<_> = commands.collect();
    let outcomes = world.group(home).apply(commands.clone());
    assert!(matches!(outcomes[4], Outcome::Done(Done::Committed { .. })), "{outcomes:?}");
    assert_eq!(world.group(home).apply(commands), outcomes, "sent again: remembered, nothing done twice");
    assert_eq!(world.group(home).view().usage.snapshots, 1);
}
