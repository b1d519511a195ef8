//! Several writers, one snapshot: all of it or nothing, nobody in another's name, whatever is asked in whatever order.

use proptest::prelude::*;
use strongroom_core::query::{Answer, Decision, Query, TicketView};
use strongroom_core::shard::TICKETS_MAX;
use strongroom_core::shard::rows::TicketState;
use strongroom_format::codec;
use strongroom_format::command::Body;
use strongroom_format::ending::EndOrder;
use strongroom_format::gathered::{ExpectedStream, Gathered, NamedStream, OpenTicket, StreamOf, Whole};
use strongroom_format::id::{PolicyVersion, SnapshotId, StreamName, TicketId};
use strongroom_format::lock::{LockMode, LockRange, LockTerms};
use strongroom_format::lock_order::LockOrder;
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::policy::{KeepRules, Policy};
use strongroom_format::quota::{Measure, QuotaSubject, Quotas};
use strongroom_format::receipt::{AuditEvent, AuditRecord};
use strongroom_format::role::Role;

use crate::backup::{Backup, back_up};
use crate::group::{HOUR_MS, cases, done, fixed, identity, refused};
use crate::tenant::{ADMIN, OTHER_WRITER, RESTORER, WRITER};
use crate::world::{Session, World};

/// A ticket by its name in a test.
fn ticket(name: &str) -> TicketId {
    TicketId::from_bytes(fixed(&format!("ticket {name}")))
}

fn name(name: &str) -> StreamName {
    name.parse().unwrap()
}

fn open_body(world: &World, tenant: &str, of: &str, expected: &[(&str, &str)]) -> Body {
    let expected =
        expected.iter().map(|(stream, writer)| ExpectedStream { name: name(stream), writer: identity(writer) });
    Body::OpenTicket(OpenTicket {
        ticket: ticket(of),
        vault: world.tenant(tenant).vault,
        label: "shop".parse().unwrap(),
        expected: expected.collect(),
    })
}

/// Opens a ticket of the first writer.
fn open_ticket(world: &mut World, of: &str, expected: &[(&str, &str)]) -> Session {
    let mut session = world.open_session("acme", WRITER);
    let body = open_body(world, "acme", of, expected);
    assert!(matches!(done(world.submit("acme", WRITER, &mut session, body)), Done::TicketOpened { .. }));
    session
}

/// A stream that is not opened yet.
fn stream(world: &mut World, writer: &str, of: &str, stream: &str, called: &str) -> Backup {
    let session = world.open_session("acme", writer);
    let mut backup = Backup::new(world, "acme", writer, session, called);
    backup.label = format!("shop/{stream}");
    backup.gathered = Gathered::Stream(StreamOf { ticket: ticket(of), name: name(stream) });
    backup
}

/// A stream that is ready.
fn ready(world: &mut World, writer: &str, of: &str, called: &str) -> Backup {
    let mut backup = stream(world, writer, of, called, called);
    backup.prepare(world, &["a", "b", "c", called]);
    assert!(matches!(done(backup.commit(world)), Done::Ready { .. }));
    backup
}

/// How a whole names a stream.
fn named(world: &World, backup: &Backup) -> NamedStream {
    let StreamOf { name, .. } = backup.gathered.stream().unwrap().clone();
    let envelope = backup.envelope(world).digest();
    NamedStream { name, writer: identity(&backup.writer), snapshot: backup.snapshot, envelope }
}

/// The whole of streams, as the first writer would commit it.
fn whole(world: &mut World, writer: &str, of: &str, called: &str, streams: Vec<NamedStream>) -> Backup {
    let session = world.open_session("acme", writer);
    let mut backup = Backup::new(world, "acme", writer, session, called);
    backup.label = "shop".into();
    backup.gathered = Gathered::Whole(Whole { ticket: ticket(of), streams });
    backup.prepare(world, &[]);
    backup
}

fn decision(world: &World, snapshot: SnapshotId) -> Decision {
    let tenant = world.tenant("acme");
    match world.groups[&tenant.home].ask(&Query::Decision { tenant: tenant.id, snapshot }) {
        Answer::Decision(decision) => decision,
        other => panic!("{other:?}"),
    }
}

fn view(world: &World, of: &str, by: &str) -> Option<TicketView> {
    let tenant = world.tenant("acme");
    let query = Query::Ticket { tenant: tenant.id, ticket: ticket(of), by: identity(by) };
    match world.groups[&tenant.home].ask(&query) {
        Answer::Ticket(view) => Some(view),
        Answer::NotFound => None,
        other => panic!("{other:?}"),
    }
}

fn listed(world: &World) -> usize {
    let tenant = world.tenant("acme");
    let query =
        Query::Snapshots { tenant: tenant.id, vault: tenant.vault, by: None, label: None, after: 0, limit: 1000 };
    match world.groups[&tenant.home].ask(&query) {
        Answer::Snapshots(page) => page.snapshots.len(),
        other => panic!("{other:?}"),
    }
}

fn usage_of_snapshots(world: &World) -> u64 {
    world.groups[&world.tenant("acme").home].view().usage.snapshots
}

#[test]
fn streams_of_several_writers_are_shown_by_one_commit() {
    let mut world = World::new();
    open_ticket(&mut world, "t", &[]);
    let one = ready(&mut world, WRITER, "t", "rows-1");
    let two = ready(&mut world, OTHER_WRITER, "t", "rows-2");
    world.decide();
    assert_eq!((listed(&world), usage_of_snapshots(&world)), (0, 0), "nothing is shown before");
    assert_eq!(decision(&world, one.snapshot), Decision::Open);

    let streams = vec![named(&world, &one), named(&world, &two)];
    let mut all = whole(&mut world, WRITER, "t", "whole", streams.clone());
    let Done::Committed { leaf_index, .. } = done(all.commit(&mut world)) else { panic!() };
    assert_eq!((listed(&world), usage_of_snapshots(&world)), (3, 3));
    assert_eq!(world.decide(), 6, "two parts elsewhere of each stream, and of the whole");
    for snapshot in [one.snapshot, two.snapshot, all.snapshot] {
        assert!(matches!(decision(&world, snapshot), Decision::Committed { .. }));
    }
    let state = view(&world, "t", WRITER).unwrap().ticket.state;
    assert_eq!(state, TicketState::Committed { whole: all.snapshot });
    // The whole's leaf is the last: what it names was proved before.
    let tenant = world.tenant("acme");
    let Answer::Leaf(leaf) = world.groups[&tenant.home].ask(&Query::Leaf { tenant: tenant.id, leaf_index, size: None })
    else {
        panic!()
    };
    let record: AuditRecord = codec::decode(&leaf.record).unwrap();
    assert!(matches!(record.event, AuditEvent::Committed(event) if event.snapshot == all.snapshot));
    assert_eq!(leaf.head.size, leaf_index + 1);
}

#[test]
fn a_stream_ends_only_after_its_whole() {
    let mut world = World::unlocked(&["acme"]);
    open_ticket(&mut world, "t", &[]);
    let one = ready(&mut world, WRITER, "t", "rows-1");
    let streams = vec![named(&world, &one)];
    let mut all = whole(&mut world, WRITER, "t", "whole", streams);
    done(all.commit(&mut world));
    world.decide();
    let delete = |world: &mut World, snapshot| {
        let mut admin = world.open_session("acme", ADMIN);
        let order = EndOrder::DeleteSnapshot { snapshot, reason: "test".into() };
        world.submit("acme", ADMIN, &mut admin, Body::End(order))
    };
    let refusal = refused(delete(&mut world, one.snapshot));
    assert_eq!(refusal, Refusal::WholeStands { whole: all.snapshot });
    done(delete(&mut world, all.snapshot));
    done(delete(&mut world, one.snapshot));
    assert_eq!((listed(&world), usage_of_snapshots(&world)), (0, 0));
    world.tell_ends();
    world.pass(8 * HOUR_MS);
    world.collect(0);
    for group in world.shards() {
        assert_eq!(world.groups[&group].view().usage.blobs, 0, "{group}");
    }
}

#[test]
fn a_policy_ends_a_stream_only_after_its_whole() {
    let mut world = World::unlocked(&["acme"]);
    let mut wholes = Vec::new();
    for number in 0..2 {
        let of = format!("t {number}");
        open_ticket(&mut world, &of, &[]);
        let [one, two] = [(WRITER, "rows-1"), (OTHER_WRITER, "rows-2")].map(|(writer, rows)| {
            let mut backup = stream(&mut world, writer, &of, rows, &format!("{rows} {number}"));
            backup.prepare(&mut world, &["a", "b", rows]);
            assert!(matches!(done(backup.commit(&mut world)), Done::Ready { .. }));
            backup
        });
        let streams = vec![named(&world, &one), named(&world, &two)];
        let mut all = whole(&mut world, WRITER, &of, &format!("whole {number}"), streams);
        done(all.commit(&mut world));
        world.decide();
        wholes.push((all.snapshot, [one.snapshot, two.snapshot]));
        world.pass(25 * HOUR_MS);
    }
    let vault = world.tenant("acme").vault;
    let now = world.tenant("acme").policy();
    let keep = KeepRules { hourly: 1, ..KeepRules::default() };
    let policy = Policy { version: PolicyVersion(2), keep, ..now };
    let mut admin = world.open_session("acme", ADMIN);
    let order = LockOrder::SetPolicy { vault, policy, reason: "test".into(), approvals: Vec::new() };
    done(world.submit("acme", ADMIN, &mut admin, Body::Lock(order)));
    // The first whole goes, and its streams in the next pass: when the first one began it stood.
    let (first, streams) = wholes[0];
    assert_eq!(world.expire("acme", 256), [first]);
    assert_eq!(world.expire("acme", 256), streams);
    assert_eq!(world.expire("acme", 256), [], "the newest of each name stays");
    assert_eq!(listed(&world), 3);
}

#[test]
fn a_whole_names_all_that_is_under_its_ticket_and_nothing_else() {
    let mut world = World::new();
    open_ticket(&mut world, "t", &[]);
    let one = ready(&mut world, WRITER, "t", "rows-1");
    let two = ready(&mut world, OTHER_WRITER, "t", "rows-2");
    let (first, second) = (named(&world, &one), named(&world, &two));
    let alone = back_up(&mut world, "acme", OTHER_WRITER, "alone", &["x"]);
    let swapped = |of: &NamedStream, with: &NamedStream| NamedStream { name: of.name.clone(), ..with.clone() };
    let wrong = [
        ("lacks one", vec![first.clone()], vec!["rows-2"]),
        (
            "names one more",
            vec![first.clone(), second.clone(), NamedStream { name: name("rows-3"), ..second.clone() }],
            vec!["rows-3"],
        ),
        (
            "another envelope",
            vec![first.clone(), NamedStream { envelope: first.envelope, ..second.clone() }],
            vec!["rows-2"],
        ),
        (
            "another writer",
            vec![first.clone(), NamedStream { writer: identity(WRITER), ..second.clone() }],
            vec!["rows-2"],
        ),
        ("another snapshot", vec![first.clone(), NamedStream { snapshot: alone, ..second.clone() }], vec!["rows-2"]),
        ("swapped", vec![swapped(&first, &second), swapped(&second, &first)], vec!["rows-1", "rows-2"]),
    ];
    for (number, (what, streams, differing)) in wrong.into_iter().enumerate() {
        let mut bad = whole(&mut world, WRITER, "t", &format!("bad {number}"), streams);
        let names = differing.into_iter().map(name).collect();
        assert_eq!(refused(bad.commit(&mut world)), Refusal::StreamsDiffer { names }, "{what}");
        assert_eq!(listed(&world), 1, "{what}");
    }
    let mut good = whole(&mut world, WRITER, "t", "good", vec![first, second]);
    done(good.commit(&mut world));
    assert_eq!(listed(&world), 4);
}

#[test]
fn one_writer_that_is_not_ready_holds_the_whole_up_until_its_stream_is_given_up() {
    let mut world = World::new();
    let mut opener = open_ticket(&mut world, "t", &[]);
    let one = ready(&mut world, WRITER, "t", "rows-1");
    // Killed in the middle: sealed in one shard, open in the others.
    let mut dead = stream(&mut world, OTHER_WRITER, "t", "rows-2", "dead");
    done(dead.open(&mut world));
    let first = named(&world, &one);
    let mut all = whole(&mut world, WRITER, "t", "whole", vec![first]);
    let held_up = Refusal::StreamsDiffer { names: vec![name("rows-2")] };
    assert_eq!(refused(all.commit(&mut world)), held_up);
    let mut again = stream(&mut world, OTHER_WRITER, "t", "rows-2", "again");
    assert_eq!(refused(again.open(&mut world)), Refusal::StreamTaken);
    // The opener drops it; the name is free, and what the dead one says later counts for nothing.
    let drop = Body::AbortSnapshot { snapshot: dead.snapshot };
    done(world.submit("acme", WRITER, &mut opener, drop.clone()));
    assert_eq!(refused(world.submit("acme", WRITER, &mut opener, drop)), Refusal::LeaseEnded);
    assert_eq!(decision(&world, dead.snapshot), Decision::Aborted);
    again.prepare(&mut world, &["a", "again"]);
    done(again.commit(&mut world));
    let streams = vec![named(&world, &one), named(&world, &again)];
    let mut all = whole(&mut world, WRITER, "t", "whole 2", streams);
    done(all.commit(&mut world));
    assert_eq!(listed(&world), 3);
}

#[test]
fn a_stream_is_never_committed_alone_nor_under_another_name() {
    let mut world = World::new();
    open_ticket(&mut world, "t", &[]);
    open_ticket(&mut world, "u", &[]);
    let mut backup = stream(&mut world, OTHER_WRITER, "t", "rows", "rows");
    backup.prepare(&mut world, &["a"]);
    let good = backup.envelope(&world);
    let as_other = [
        Gathered::Alone,
        Gathered::Stream(StreamOf { ticket: ticket("t"), name: name("other") }),
        Gathered::Stream(StreamOf { ticket: ticket("u"), name: name("rows") }),
        Gathered::Whole(Whole { ticket: ticket("t"), streams: vec![named(&world, &backup)] }),
    ];
    for gathered in as_other {
        let bad = strongroom_format::envelope::Envelope { gathered, ..good.clone() };
        let refusal = refused(backup.commit_envelope(&mut world, &bad));
        assert!(matches!(refusal, Refusal::ManifestMismatch { .. }), "{refusal:?}");
    }
    done(backup.commit(&mut world));
    assert_eq!(refused(backup.commit(&mut world)), Refusal::Immutable, "ready once");
    assert_eq!(listed(&world), 0);
}

#[test]
fn only_writers_of_the_vault_join_and_where_some_are_expected_only_those() {
    let mut world = World::new();
    open_ticket(&mut world, "t", &[("rows-1", WRITER), ("rows-2", OTHER_WRITER)]);
    let mut unnamed = stream(&mut world, OTHER_WRITER, "t", "rows-3", "a");
    assert_eq!(refused(unnamed.open(&mut world)), Refusal::StreamsDiffer { names: vec![name("rows-3")] });
    let mut others = stream(&mut world, OTHER_WRITER, "t", "rows-1", "b");
    assert_eq!(refused(others.open(&mut world)), Refusal::StreamsDiffer { names: vec![name("rows-1")] });
    let mut nowhere = stream(&mut world, OTHER_WRITER, "nowhere", "rows-2", "c");
    assert_eq!(refused(nowhere.open(&mut world)), Refusal::NotFound);
    // Another tenant finds no such ticket.
    let session = world.open_session("globex", WRITER);
    let mut foreign = Backup::new(&world, "globex", WRITER, session, "foreign");
    foreign.gathered = Gathered::Stream(StreamOf { ticket: ticket("t"), name: name("rows-1") });
    assert_eq!(refused(foreign.open(&mut world)), Refusal::NotFound);
    // A whole that lacks an expected stream is none.
    let one = ready(&mut world, WRITER, "t", "rows-1");
    let first = named(&world, &one);
    let mut all = whole(&mut world, WRITER, "t", "whole", vec![first]);
    assert_eq!(refused(all.commit(&mut world)), Refusal::StreamsDiffer { names: vec![name("rows-2")] });
}

#[test]
fn only_the_opener_commits_drops_or_gives_up() {
    let mut world = World::new();
    open_ticket(&mut world, "t", &[]);
    let one = ready(&mut world, WRITER, "t", "rows-1");
    let first = named(&world, &one);
    let mut all = whole(&mut world, OTHER_WRITER, "t", "whole", vec![first]);
    assert_eq!(refused(all.commit(&mut world)), Refusal::NotFound);
    let mut session = world.open_session("acme", OTHER_WRITER);
    let mut ask = |world: &mut World, body| refused(world.submit("acme", OTHER_WRITER, &mut session, body));
    assert_eq!(ask(&mut world, Body::AbortTicket { ticket: ticket("t") }), Refusal::NotFound);
    assert_eq!(ask(&mut world, Body::AbortSnapshot { snapshot: one.snapshot }), Refusal::NotFound);
    let mut restorer = world.open_session("acme", RESTORER);
    let body = open_body(&world, "acme", "r", &[]);
    assert_eq!(refused(world.submit("acme", RESTORER, &mut restorer, body)), Refusal::Role);
    assert_eq!(listed(&world), 0);
    // Who writes nothing here sees no ticket; who does sees its own streams.
    assert_eq!(view(&world, "t", "nobody"), None);
    assert_eq!(view(&world, "t", OTHER_WRITER).unwrap().streams, Vec::new());
    assert_eq!(view(&world, "t", WRITER).unwrap().streams.len(), 1);
}

#[test]
fn a_ticket_is_good_for_nothing_once_it_is_decided() {
    let mut world = World::new();
    let mut opener = open_ticket(&mut world, "t", &[]);
    let one = ready(&mut world, WRITER, "t", "rows-1");
    let streams = vec![named(&world, &one)];
    let mut all = whole(&mut world, WRITER, "t", "whole", streams.clone());
    done(all.commit(&mut world));
    let mut late = stream(&mut world, OTHER_WRITER, "t", "rows-2", "late");
    assert_eq!(refused(late.open(&mut world)), Refusal::TicketEnded);
    let mut again = whole(&mut world, WRITER, "t", "again", streams);
    assert_eq!(refused(again.commit(&mut world)), Refusal::TicketEnded);
    let abort = Body::AbortTicket { ticket: ticket("t") };
    assert_eq!(refused(world.submit("acme", WRITER, &mut opener, abort)), Refusal::Immutable);
    let drop = Body::AbortSnapshot { snapshot: one.snapshot };
    assert_eq!(refused(world.submit("acme", WRITER, &mut opener, drop)), Refusal::Immutable);
    let reopened = open_body(&world, "acme", "t", &[]);
    assert_eq!(refused(world.submit("acme", WRITER, &mut opener, reopened)), Refusal::Immutable);
}

#[test]
fn a_ticket_that_is_given_up_takes_every_stream_along_step_by_step() {
    let mut world = World::new();
    let mut opener = open_ticket(&mut world, "t", &[]);
    let streams: Vec<Backup> = (0..20).map(|n| ready(&mut world, OTHER_WRITER, "t", &format!("rows-{n}"))).collect();
    let abort = Body::AbortTicket { ticket: ticket("t") };
    assert_eq!(done(world.submit("acme", WRITER, &mut opener, abort.clone())), Done::TicketAborted { left: 4 });
    let streams_named = streams.iter().map(|stream| named(&world, stream));
    let mut streams_named: Vec<NamedStream> = streams_named.collect();
    streams_named.sort_by(|one, other| one.name.cmp(&other.name));
    let mut all = whole(&mut world, WRITER, "t", "whole", streams_named);
    assert_eq!(refused(all.commit(&mut world)), Refusal::TicketEnded, "decided at once");
    assert_eq!(done(world.submit("acme", WRITER, &mut opener, abort)), Done::TicketAborted { left: 0 });
    world.decide();
    for stream in &streams {
        assert_eq!(decision(&world, stream.snapshot), Decision::Aborted);
    }
    assert_eq!(listed(&world), 0);
}

#[test]
fn a_ticket_that_nobody_uses_ends_and_its_streams_with_it_one_a_tick() {
    let mut world = World::new();
    open_ticket(&mut world, "t", &[]);
    let streams: Vec<Backup> = (0..3).map(|n| ready(&mut world, OTHER_WRITER, "t", &format!("rows-{n}"))).collect();
    // A stream that is ready does not wait for its writer: neither its session nor a lease of its own holds it.
    world.pass(5 * HOUR_MS);
    assert!(streams.iter().all(|stream| decision(&world, stream.snapshot) == Decision::Open));
    world.pass(2 * HOUR_MS);
    assert_eq!(view(&world, "t", WRITER).unwrap().ticket.state, TicketState::Aborted);
    let open =
        |world: &World| streams.iter().filter(|stream| decision(world, stream.snapshot) == Decision::Open).count();
    assert_eq!(open(&world), 2);
    world.pass(1);
    assert_eq!(open(&world), 1);
    world.pass(1);
    assert_eq!(open(&world), 0);
    world.decide();
}

#[test]
fn joining_and_being_ready_keep_a_ticket_open_and_its_opener_may() {
    let mut world = World::new();
    let mut opener = open_ticket(&mut world, "t", &[]);
    let lease = view(&world, "t", WRITER).unwrap().ticket.lease;
    world.pass(HOUR_MS / 2);
    assert_eq!(
        done(world.submit("acme", WRITER, &mut opener, Body::TopUp { lease, bytes: 0 })),
        Done::ToppedUp { budget_bytes: 0 }
    );
    let bytes = Body::TopUp { lease, bytes: 1 };
    assert!(matches!(refused(world.submit("acme", WRITER, &mut opener, bytes)), Refusal::Invalid { .. }));
    world.pass(5 * HOUR_MS);
    let one = ready(&mut world, WRITER, "t", "rows-1");
    world.pass(5 * HOUR_MS);
    let streams = vec![named(&world, &one)];
    let mut all = whole(&mut world, WRITER, "t", "whole", streams);
    done(all.commit(&mut world));
}

#[test]
fn what_was_true_when_a_stream_became_ready_must_still_be() {
    let mut world = World::new();
    open_ticket(&mut world, "t", &[]);
    let one = ready(&mut world, OTHER_WRITER, "t", "rows-1");
    let mut admin = world.open_session("acme", ADMIN);
    let close = Body::CloseIdentity { identity: identity(OTHER_WRITER), reason: "stolen".into() };
    done(world.submit("acme", ADMIN, &mut admin, close));
    let streams = vec![named(&world, &one)];
    let mut all = whole(&mut world, WRITER, "t", "whole", streams);
    assert_eq!(refused(all.commit(&mut world)), Refusal::StreamsDiffer { names: vec![name("rows-1")] });
    assert_eq!(listed(&world), 0);
}

#[test]
fn a_stream_beyond_the_quota_is_refused_before_it_is_ready() {
    let mut world = World::new();
    open_ticket(&mut world, "t", &[]);
    let mut one = stream(&mut world, OTHER_WRITER, "t", "rows-1", "rows-1");
    one.prepare(&mut world, &["a", "b", "c", "d"]);
    let envelope = one.envelope(&world);
    let bytes = envelope.parts.iter().map(|part| part.stored_bytes).sum::<u64>() + envelope.manifest.stored_bytes;
    let limit = |world: &mut World, hard| {
        let mut quotas = Quotas::default();
        quotas.logical_bytes.hard = Some(hard);
        let of = QuotaSubject::Vault(world.tenant("acme").vault);
        let mut admin = world.open_session("acme", ADMIN);
        done(world.submit("acme", ADMIN, &mut admin, Body::SetQuotas { of, quotas }));
    };
    limit(&mut world, bytes - 1);
    assert!(matches!(refused(one.commit(&mut world)), Refusal::Quota { measure: Measure::LogicalBytes, .. }));
    limit(&mut world, bytes);
    assert!(matches!(done(one.commit(&mut world)), Done::Ready { .. }));
}

#[test]
fn every_stream_gets_the_lock_of_the_whole_or_a_stricter_one_of_its_own() {
    let mut world = World::new();
    let mut admin = world.open_session("acme", ADMIN);
    let free = Body::EnrolIdentity {
        identity: identity("web-free"),
        roles: vec![Role::Writer],
        signing_key: world.tenant("acme").key("web-free").public_key(),
        locks: Some(LockRange { min_ms: 1, max_ms: 400 * 86_400_000 }),
        approvals: Vec::new(),
    };
    done(world.submit("acme", ADMIN, &mut admin, free));
    let card = world.tenant("acme").card("web-free", 1);
    let card = world.tenant("acme").sign(&card);
    done(world.submit("acme", ADMIN, &mut admin, Body::PutCard { card }));

    open_ticket(&mut world, "t", &[]);
    let plain = ready(&mut world, WRITER, "t", "plain");
    let default = crate::tenant::policy().default_lock.unwrap();
    let longer = LockTerms { mode: LockMode::Compliance, length_ms: default.length_ms + 1000 };
    let mut asks = stream(&mut world, "web-free", "t", "strict", "strict");
    asks.requested_lock = Some(longer);
    asks.prepare(&mut world, &["a"]);
    done(asks.commit(&mut world));
    let streams = vec![named(&world, &plain), named(&world, &asks)];
    let mut all = whole(&mut world, WRITER, "t", "whole", streams);
    done(all.commit(&mut world));
    let lock = |snapshot| match decision(&world, snapshot) {
        Decision::Committed { kept } => kept.terms.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!((lock(plain.snapshot), lock(all.snapshot)), (default, default));
    assert_eq!(lock(asks.snapshot), longer);
}

#[test]
fn tickets_of_one_writer_are_bounded() {
    let mut world = World::single();
    let mut session = world.open_session("acme", WRITER);
    for number in 0..TICKETS_MAX {
        let body = open_body(&world, "acme", &number.to_string(), &[]);
        done(world.submit("acme", WRITER, &mut session, body));
    }
    let body = open_body(&world, "acme", "one more", &[]);
    assert!(matches!(refused(world.submit("acme", WRITER, &mut session, body)), Refusal::Limit { .. }));
    let abort = Body::AbortTicket { ticket: ticket("0") };
    done(world.submit("acme", WRITER, &mut session, abort));
    let body = open_body(&world, "acme", "one more", &[]);
    done(world.submit("acme", WRITER, &mut session, body));
}

// --------------------------------------------------------------------------------------------------- properties

const NAMES: [&str; 3] = ["a", "b", "c"];
const WRITERS: [&str; 2] = [WRITER, OTHER_WRITER];

/// One thing that somebody does with one of two tickets.
#[derive(Clone, Debug)]
enum Step {
    OpenTicket {
        of: usize,
        expects: bool,
    },
    /// A writer joins and comes as far as it comes.
    Join {
        of: usize,
        writer: usize,
        name: usize,
        far: u8,
    },
    /// The newest stream of a name goes on to its end.
    Finish {
        of: usize,
        name: usize,
    },
    /// Somebody commits what is ready, all or some of it.
    Gather {
        of: usize,
        writer: usize,
        without: usize,
    },
    Drop {
        of: usize,
        writer: usize,
        name: usize,
    },
    AbortTicket {
        of: usize,
        writer: usize,
    },
    Tick {
        minutes: u64,
    },
    Close,
    Decide,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let of = || 0..2_usize;
    let step = prop_oneof![
        3 => (of(), any::<bool>()).prop_map(|(of, expects)| Step::OpenTicket { of, expects }),
        8 => (of(), 0..2_usize, 0..3_usize, 0..4_u8)
            .prop_map(|(of, writer, name, far)| Step::Join { of, writer, name, far }),
        3 => (of(), 0..3_usize).prop_map(|(of, name)| Step::Finish { of, name }),
        5 => (of(), 0..3_usize, 0..6_usize)
            .prop_map(|(of, writer, without)| Step::Gather { of, writer: writer / 2, without }),
        2 => (of(), 0..2_usize, 0..3_usize).prop_map(|(of, writer, name)| Step::Drop { of, writer, name }),
        1 => (of(), 0..2_usize).prop_map(|(of, writer)| Step::AbortTicket { of, writer }),
        2 => (0..200_u64).prop_map(|minutes| Step::Tick { minutes }),
        1 => Just(Step::Close),
        2 => Just(Step::Decide),
    ];
    proptest::collection::vec(step, 1..40)
}

struct Play {
    world: World,
    streams: Vec<(usize, usize, Backup)>,
    number: usize,
    wholes: usize,
}

impl Play {
    /// Whoever is closed opens no session.
    fn session(&mut self, writer: usize) -> Option<Session> {
        let signed = self.world.open_session_command("acme", WRITERS[writer], 8 << 20);
        let group = self.world.tenant("acme").home;
        match self.world.group(group).client(signed) {
            Outcome::Done(Done::SessionOpened { session, lease, .. }) => {
                Some(Session { group, session, lease, next: 1 })
            }
            _ => None,
        }
    }

    fn ask(&mut self, writer: usize, body: Body) -> Option<Outcome> {
        let mut session = self.session(writer)?;
        Some(self.world.submit("acme", WRITERS[writer], &mut session, body))
    }

    fn newest(&self, of: usize, name: usize) -> Option<usize> {
        self.streams.iter().rposition(|(under, called, _)| (*under, *called) == (of, name))
    }

    fn act(&mut self, step: &Step) -> Option<Outcome> {
        self.number += 1;
        let called = format!("{}", self.number);
        match *step {
            Step::OpenTicket { of, expects } => {
                let expected = if expects { &[("a", WRITER), ("b", OTHER_WRITER)][..] } else { &[] };
                let body = open_body(&self.world, "acme", &of.to_string(), expected);
                self.ask(0, body)
            }
            Step::Join { of, writer, name: called_there, far } => {
                let session = self.session(writer)?;
                let mut backup = Backup::new(&self.world, "acme", WRITERS[writer], session, &called);
                let stream = StreamOf { ticket: ticket(&of.to_string()), name: name(NAMES[called_there]) };
                backup.gathered = Gathered::Stream(stream);
                let world = &mut self.world;
                let outcome = backup.open(world);
                if !matches!(outcome, Outcome::Done(_)) {
                    return Some(outcome);
                }
                let home = backup.home(world);
                for group in backup.groups.clone().into_iter().filter(|group| *group != home && 0 < far) {
                    done(backup.join(world, group));
                }
                if 1 < far {
                    backup.fill_manifest(world);
                    for group in backup.groups.clone() {
                        done(backup.seal(world, group));
                    }
                }
                let outcome = if 2 < far { backup.commit(world) } else { outcome };
                self.streams.push((of, called_there, backup));
                Some(outcome)
            }
            Step::Finish { of, name } => {
                let at = self.newest(of, name)?;
                let backup = &mut self.streams[at].2;
                backup.manifest.as_ref()?;
                Some(backup.commit(&mut self.world))
            }
            Step::Gather { of, writer, without } => {
                let view = view(&self.world, &of.to_string(), WRITER)?;
                let mut streams: Vec<NamedStream> = view
                    .streams
                    .into_iter()
                    .map(|stream| NamedStream {
                        name: stream.name,
                        writer: stream.writer,
                        snapshot: stream.snapshot,
                        envelope: stream.ready.unwrap_or(strongroom_format::id::Digest::from_bytes([0; 32])),
                    })
                    .collect();
                if without < streams.len() {
                    streams.remove(without);
                }
                if streams.is_empty() {
                    return None;
                }
                let session = self.session(writer)?;
                let world = &mut self.world;
                let mut backup = Backup::new(world, "acme", WRITERS[writer], session, &called);
                backup.label = "shop".into();
                backup.gathered = Gathered::Whole(Whole { ticket: ticket(&of.to_string()), streams });
                backup.prepare(world, &[]);
                let outcome = backup.commit(world);
                self.wholes += usize::from(matches!(outcome, Outcome::Done(_)));
                Some(outcome)
            }
            Step::Drop { of, writer, name } => {
                let snapshot = self.streams[self.newest(of, name)?].2.snapshot;
                self.ask(writer, Body::AbortSnapshot { snapshot })
            }
            Step::AbortTicket { of, writer } => self.ask(writer, Body::AbortTicket { ticket: ticket(&of.to_string()) }),
            Step::Tick { minutes } => {
                self.world.pass(minutes * 60_000);
                None
            }
            Step::Close => {
                let mut admin = self.world.open_session("acme", ADMIN);
                let body = Body::CloseIdentity { identity: identity(OTHER_WRITER), reason: "test".into() };
                Some(self.world.submit("acme", ADMIN, &mut admin, body))
            }
            Step::Decide => {
                self.world.decide();
                None
            }
        }
    }
}

fn play(steps: &[Step]) -> Play {
    let mut play = Play { world: World::new(), streams: Vec::new(), number: 0, wholes: 0 };
    for step in steps {
        play.act(step);
    }
    play
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..cases(48) })]

    /// The laws are checked after every entry; in the end all shards agree, and all replicas.
    #[test]
    fn a_whole_is_all_or_nothing_after_any_commands(steps in steps()) {
        let mut play = play(&steps);
        play.world.decide();
        for (.., backup) in &play.streams {
            let shown = matches!(decision(&play.world, backup.snapshot), Decision::Committed { .. });
            for group in &backup.groups {
                let query = Query::Part { tenant: play.world.tenant("acme").id, snapshot: backup.snapshot };
                if let Answer::Part(part) = play.world.groups[group].ask(&query) {
                    let committed = matches!(part.state, strongroom_core::shard::rows::PartState::Committed { .. });
                    prop_assert_eq!(committed, shown, "{} in {}", backup.snapshot, group);
                }
            }
        }
        for group in play.world.groups.values() {
            prop_assert!(group.replayed() == group.tables, "group {} replays otherwise", group.group);
        }
    }
}

/// The play reaches what it is about.
#[test]
fn plays_gather_drop_and_give_up() {
    let join = |of, writer, name, far| Step::Join { of, writer, name, far };
    let steps = [
        Step::OpenTicket { of: 0, expects: true },
        join(0, 0, 0, 3),
        join(0, 1, 1, 1),
        Step::Drop { of: 0, writer: 0, name: 1 },
        join(0, 1, 1, 2),
        Step::Finish { of: 0, name: 1 },
        Step::Gather { of: 0, writer: 0, without: 9 },
        Step::OpenTicket { of: 1, expects: false },
        join(1, 1, 2, 3),
        Step::AbortTicket { of: 1, writer: 0 },
    ];
    let mut play = Play { world: World::new(), streams: Vec::new(), number: 0, wholes: 0 };
    for step in steps {
        let outcome = play.act(&step);
        assert!(matches!(outcome, Some(Outcome::Done(_))), "{step:?}: {outcome:?}");
    }
    assert_eq!((play.wholes, listed(&play.world)), (1, 3));
}
