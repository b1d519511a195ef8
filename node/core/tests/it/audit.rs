//! The audit log: what is in it, what is only counted, and that it proves itself.

use strongroom_core::query::{Answer, ProvedLeaf, Query};
use strongroom_format::codec;
use strongroom_format::command::Body;
use strongroom_format::id::{Place, TenantId};
use strongroom_format::merkle;
use strongroom_format::outcome::{Done, Refusal};
use strongroom_format::receipt::{AuditEvent, AuditRecord};

use crate::backup::{Backup, back_up};
use crate::group::{MINUTE_MS, done, identity, refused};
use crate::tenant::{ADMIN, WRITER};
use crate::world::World;

fn leaf(world: &World, tenant: &str, leaf_index: u64) -> Option<ProvedLeaf> {
    let tenant = world.tenant(tenant);
    match world.groups[&tenant.home].ask(&Query::Leaf { tenant: tenant.id, leaf_index, size: None }) {
        Answer::Leaf(leaf) => Some(*leaf),
        Answer::NotFound => None,
        other => panic!("{other:?}"),
    }
}

fn records(world: &World, tenant: &str) -> Vec<AuditRecord> {
    let mut records = Vec::new();
    while let Some(leaf) = leaf(world, tenant, records.len() as u64) {
        let hash = merkle::leaf_hash(&leaf.salt, &leaf.record);
        let index = records.len() as u64;
        merkle::verify_inclusion(index, leaf.head.size, &hash, &leaf.proof, &leaf.head.root).unwrap();
        records.push(codec::decode(&leaf.record).unwrap());
    }
    records
}

#[test]
fn a_commits_leaf_is_proved_and_names_envelope_and_strength() {
    let mut world = World::new();
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(&world, "acme", WRITER, session, "one");
    backup.prepare(&mut world, &["a", "b"]);
    let Done::Committed { envelope, leaf_index, strength } = done(backup.commit(&mut world)) else { panic!() };
    for name in ["two", "three"] {
        back_up(&mut world, "acme", WRITER, name, &["a"]);
    }
    let leaf = leaf(&world, "acme", leaf_index).unwrap();
    let hash = merkle::leaf_hash(&leaf.salt, &leaf.record);
    merkle::verify_inclusion(leaf_index, leaf.head.size, &hash, &leaf.proof, &leaf.head.root).unwrap();
    let record: AuditRecord = codec::decode(&leaf.record).unwrap();
    assert!(record.place.index <= leaf.head.applied);
    let AuditEvent::Committed(committed) = record.event else { panic!() };
    assert_eq!((committed.snapshot, committed.envelope), (backup.snapshot, envelope));
    assert_eq!(committed.strength, strength);
}

#[test]
fn every_decision_is_one_leaf_allowed_or_refused() {
    let mut world = World::single();
    let before = records(&world, "acme").len();
    let mut admin = world.open_session("acme", ADMIN);
    let close = |name: &str| Body::CloseIdentity { identity: identity(name), reason: "left".into() };
    assert_eq!(refused(world.submit("acme", ADMIN, &mut admin, close("nobody"))), Refusal::NotFound);
    done(world.submit("acme", ADMIN, &mut admin, close(WRITER)));
    let records = records(&world, "acme");
    let decisions: Vec<_> = records[before..]
        .iter()
        .map(|record| match &record.event {
            AuditEvent::Decision { principal, allowed, reason, subject, .. } => {
                (principal.to_string(), *allowed, reason.as_str(), subject.len())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        decisions,
        [
            (ADMIN.to_string(), true, "", 16),
            (ADMIN.to_string(), false, "NOT_FOUND", 6),
            (ADMIN.to_string(), true, "left", 5),
        ]
    );
    let places: Vec<Place> = records.iter().map(|record| record.place).collect();
    assert!(places.is_sorted());
}

#[test]
fn n145_refusals_beyond_one_a_second_are_one_leaf_a_minute_with_their_count() {
    let mut world = World::single();
    world.pass(MINUTE_MS);
    let mut admin = world.open_session("acme", ADMIN);
    let before = records(&world, "acme").len();
    for _ in 0..20 {
        let body = Body::CloseIdentity { identity: identity("nobody"), reason: String::new() };
        refused(world.submit("acme", ADMIN, &mut admin, body));
    }
    let now = records(&world, "acme");
    assert_eq!(now.len(), before + 1, "the first of the second");
    world.pass(MINUTE_MS);
    let flushed = records(&world, "acme");
    let AuditEvent::Batch { kind, count, .. } = &flushed.last().unwrap().event else { panic!() };
    let close = Body::CloseIdentity { identity: identity("nobody"), reason: String::new() };
    assert_eq!((*kind, *count), (0x4000 | close.kind(), 19), "none is missing");
}

#[test]
fn data_plane_batches_are_counted_and_no_leaf_each() {
    let mut world = World::single();
    world.pass(2 * MINUTE_MS);
    let mut session = world.open_session("acme", WRITER);
    let before = records(&world, "acme").len();
    for _ in 0..5 {
        let lease = session.lease;
        done(world.submit("acme", WRITER, &mut session, Body::TopUp { lease, bytes: 1 }));
    }
    assert_eq!(records(&world, "acme").len(), before);
    world.pass(MINUTE_MS);
    let flushed = records(&world, "acme");
    assert_eq!(flushed.len(), before + 1);
    assert!(matches!(flushed.last().unwrap().event, AuditEvent::Batch { count: 5, .. }));
}

#[test]
fn noise_that_nobody_signed_enters_no_log() {
    let mut world = World::single();
    let home = world.tenant("acme").home;
    let before = records(&world, "acme");
    let mut forged = world.open_session_command("acme", ADMIN, 0);
    forged.signature = Some(strongroom_format::id::Signature([7; 64]));
    assert_eq!(refused(world.group(home).client(forged)), Refusal::Signature);
    let stranger = world.open_session_command("acme", "stranger", 0);
    assert_eq!(refused(world.group(home).client(stranger)), Refusal::Identity);
    assert_eq!(records(&world, "acme"), before);
}

#[test]
fn the_log_is_only_appended_to_and_proves_it() {
    let mut world = World::new();
    let tenant = world.tenant("acme").id;
    let home = world.tenant("acme").home;
    let head = |world: &World, old: u64| match world.groups[&home].ask(&Query::Consistency { tenant, old, new: None }) {
        Answer::Consistency { head, proof } => (head, proof),
        other => panic!("{other:?}"),
    };
    let mut seen = head(&world, 0).0;
    for name in ["one", "two", "three"] {
        back_up(&mut world, "acme", WRITER, name, &["a", name]);
        let (now, proof) = head(&world, seen.size);
        merkle::verify_consistency(seen.size, now.size, &seen.root, &now.root, &proof).unwrap();
        seen = now;
    }
    let beyond = Query::Consistency { tenant, old: seen.size + 1, new: None };
    assert_eq!(world.groups[&home].ask(&beyond), Answer::NotFound);
}

#[test]
fn n92_another_tenants_log_is_as_if_absent() {
    let mut world = World::new();
    back_up(&mut world, "acme", WRITER, "one", &["a"]);
    let home = world.tenant("acme").home;
    let absent = TenantId::from_bytes([4; 16]);
    let globex = world.tenant("globex");
    let elsewhere = if globex.home == home { absent } else { globex.id };
    for tenant in [absent, elsewhere] {
        assert_eq!(world.groups[&home].ask(&Query::Leaf { tenant, leaf_index: 0, size: None }), Answer::NotFound);
        assert_eq!(world.groups[&home].ask(&Query::Consistency { tenant, old: 0, new: None }), Answer::NotFound);
    }
}

#[test]
fn equal_records_have_different_leaves() {
    let mut world = World::single();
    back_up(&mut world, "acme", WRITER, "one", &["a"]);
    let before = records(&world, "acme").len();
    // What was only counted gets its leaves at one tick.
    world.pass(2 * MINUTE_MS);
    let flushed = records(&world, "acme").split_off(before);
    assert!(flushed.windows(2).any(|two| two[0].place == two[1].place), "{flushed:?}");
    let mut salts = Vec::new();
    while let Some(leaf) = leaf(&world, "acme", salts.len() as u64) {
        salts.push(leaf.salt.0);
    }
    let count = salts.len();
    salts.sort_unstable();
    salts.dedup();
    assert_eq!(salts.len(), count);
}
