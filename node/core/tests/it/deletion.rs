//! The end of snapshots and vaults: who may, what keeps them, what stays said of them for ever.

use strongroom_core::entry::{Ended, NodeCommand};
use strongroom_core::query::{Answer, Query, SnapshotRef};
use strongroom_core::shard::rows::{PartState, Usage};
use strongroom_format::command::Body;
use strongroom_format::ending::EndOrder;
use strongroom_format::id::{GroupId, HoldName, SnapshotId};
use strongroom_format::lock_order::LockOrder;
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::receipt::{AuditEvent, AuditRecord};

use crate::backup::{Backup, Piece, back_up};
use crate::group::{HOUR_MS, claim, done, identity, refused};
use crate::tenant::{ADMIN, AUDITOR, LEGAL, OTHER_WRITER, RESTORER, WRITER};
use crate::world::World;

fn delete(world: &mut World, tenant: &str, who: &str, snapshot: SnapshotId) -> Outcome {
    let mut session = world.open_session(tenant, who);
    let order = EndOrder::DeleteSnapshot { snapshot, reason: "no more use".into() };
    world.submit(tenant, who, &mut session, Body::End(order))
}

fn order(world: &mut World, who: &str, order: LockOrder) -> Outcome {
    let mut session = world.open_session("acme", who);
    world.submit("acme", who, &mut session, Body::Lock(order))
}

fn delete_vault(world: &mut World, tenant: &str) -> Outcome {
    let vault = world.tenant(tenant).vault;
    let mut session = world.open_session(tenant, ADMIN);
    let order = EndOrder::DeleteVault { vault, reason: "moved".into() };
    world.submit(tenant, ADMIN, &mut session, Body::End(order))
}

fn part(world: &World, tenant: &str, group: GroupId, snapshot: SnapshotId) -> PartState {
    match world.groups[&group].ask(&Query::Part { tenant: world.tenant(tenant).id, snapshot }) {
        Answer::Part(part) => part.state,
        other => panic!("{other:?}"),
    }
}

#[test]
fn n57_a_locked_snapshot_is_deleted_by_nobody() {
    let mut world = World::new();
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a", "b", "c"]);
    for _ in 0..3 {
        let refusal = refused(delete(&mut world, "acme", ADMIN, snapshot));
        assert!(matches!(refusal, Refusal::RetentionActive { .. }), "{refusal:?}");
    }
    assert!(matches!(refused(delete_vault(&mut world, "acme")), Refusal::VaultNotEmpty));
    // Nor does a shard believe that it has ended: its own part is locked by its own clock.
    let home = world.tenant("acme").home;
    let tenant = world.tenant("acme").id;
    for group in world.tenant("acme").groups.clone() {
        let lie = NodeCommand::EndPart(claim(Ended { home, tenant, snapshot }));
        let refusal = refused(world.group(group).node(lie));
        let expected = matches!(refusal, Refusal::RetentionActive { .. } | Refusal::Unattested);
        assert!(expected && (group == home) == (refusal == Refusal::Unattested), "{group}: {refusal:?}");
        assert!(matches!(part(&world, "acme", group, snapshot), PartState::Committed { .. }));
    }
}

#[test]
fn n57_n60_what_was_locked_and_held_goes_once_neither_keeps_it_in_any_shard() {
    let mut world = World::new();
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a", "b", "c"]);
    let others = world.tenant("acme").groups.len() - 1;
    let (hold, reason) = ("case-1".parse::<HoldName>().unwrap(), "a case".to_owned());
    let add = LockOrder::AddHold { snapshot, hold: hold.clone(), reason: reason.clone() };
    let remove = LockOrder::RemoveHold { snapshot, hold, reason, approvals: Vec::new() };
    done(order(&mut world, LEGAL, add.clone()));
    assert_eq!(world.carry_locks(), others);
    for _ in 0..4 {
        world.pass(31 * 24 * HOUR_MS);
    }
    assert_eq!(refused(delete(&mut world, "acme", ADMIN, snapshot)), Refusal::LegalHold, "the lock is over");
    done(order(&mut world, LEGAL, remove));
    let behind = refused(delete(&mut world, "acme", ADMIN, snapshot));
    assert_eq!(behind, Refusal::RetentionActive { until_unix_ms: None }, "the others still hold it");
    assert_eq!(world.carry_locks(), others);
    done(delete(&mut world, "acme", ADMIN, snapshot));
    assert_eq!(world.tell_ends(), others);
    assert_eq!(refused(order(&mut world, LEGAL, add)), Refusal::NotFound, "nothing keeps what has gone");
    assert_eq!(world.carry_locks(), 0);
}

#[test]
fn n27_who_is_no_admin_deletes_nothing() {
    let mut world = World::unlocked(&["acme"]);
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    for who in [WRITER, OTHER_WRITER, RESTORER, AUDITOR] {
        assert_eq!(refused(delete(&mut world, "acme", who, snapshot)), Refusal::Role, "{who}");
    }
    let mut admin = world.open_session("acme", ADMIN);
    let silent = EndOrder::DeleteSnapshot { snapshot, reason: String::new() };
    let refusal = refused(world.submit("acme", ADMIN, &mut admin, Body::End(silent)));
    assert!(matches!(refusal, Refusal::Invalid { .. }), "whoever deletes says why");
}

#[test]
fn n21_another_tenants_snapshot_cannot_be_deleted_and_reads_as_absent() {
    let mut world = World::unlocked(&["acme", "globex"]);
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    let absent = SnapshotId::from_bytes([9; 16]);
    for id in [snapshot, absent] {
        assert_eq!(refused(delete(&mut world, "globex", ADMIN, id)), Refusal::NotFound);
    }
    assert!(matches!(part(&world, "acme", world.tenant("acme").home, snapshot), PartState::Committed { .. }));
}

#[test]
fn an_ended_snapshot_is_ended_for_ever_and_says_by_whom() {
    let mut world = World::unlocked(&["acme"]);
    let (tenant, home) = (world.tenant("acme").id, world.tenant("acme").home);
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a", "b", "c"]);
    let by_id = Query::Snapshot { tenant, snapshot: SnapshotRef::Id(snapshot), vault: None, by: None };
    assert!(matches!(world.groups[&home].ask(&by_id), Answer::Snapshots(_)));
    done(delete(&mut world, "acme", ADMIN, snapshot));
    assert_eq!(world.groups[&home].ask(&by_id), Answer::NotFound);
    let leaf_index = match world.groups[&home].ask(&Query::End { tenant, snapshot, by: Some(identity(WRITER)) }) {
        Answer::End { end, leaf_index } => {
            assert_eq!((end.by, end.reason.as_str()), (Some(identity(ADMIN)), "no more use"));
            assert!(0 < end.ended_unix_ms);
            leaf_index
        }
        other => panic!("{other:?}"),
    };
    let others = Query::End { tenant, snapshot, by: Some(identity(OTHER_WRITER)) };
    assert_eq!(world.groups[&home].ask(&others), Answer::NotFound, "another writer's");
    let Answer::Leaf(leaf) = world.groups[&home].ask(&Query::Leaf { tenant, leaf_index, size: None }) else { panic!() };
    let record: AuditRecord = strongroom_format::codec::decode(&leaf.record).unwrap();
    match record.event {
        AuditEvent::Decision { kind: 40, principal, subject, allowed: true, reason } => {
            assert_eq!((principal, &subject[..]), (identity(ADMIN), &snapshot.as_bytes()[..]));
            assert_eq!(reason, "no more use");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(refused(delete(&mut world, "acme", ADMIN, snapshot)), Refusal::NotFound);
    let session = world.open_session("acme", WRITER);
    let mut again = Backup::new(&world, "acme", WRITER, session, "one");
    assert_eq!(refused(again.open(&mut world)), Refusal::Immutable, "its id is never given again");
    let mut restorer = world.open_session("acme", RESTORER);
    let body = Body::OpenRestore { snapshots: vec![snapshot], purpose: "test".into(), lifetime_ms: HOUR_MS };
    assert_eq!(refused(world.submit("acme", RESTORER, &mut restorer, body)), Refusal::NotFound);
    // A later one may still name it as its parent.
    let session = world.open_session("acme", WRITER);
    let mut later = Backup::new(&world, "acme", WRITER, session, "two");
    later.parent = Some(snapshot);
    later.prepare(&mut world, &["a"]);
    done(later.commit(&mut world));
}

#[test]
fn a_restore_session_keeps_its_snapshots_until_it_ends() {
    let mut world = World::unlocked(&["acme"]);
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    let mut restorer = world.open_session("acme", RESTORER);
    let body = Body::OpenRestore { snapshots: vec![snapshot], purpose: "test".into(), lifetime_ms: HOUR_MS };
    let Done::RestoreOpened { restore, .. } = done(world.submit("acme", RESTORER, &mut restorer, body)) else {
        panic!()
    };
    assert_eq!(refused(delete(&mut world, "acme", ADMIN, snapshot)), Refusal::Pinned);
    done(world.submit("acme", RESTORER, &mut restorer, Body::EndRestore { restore }));
    done(delete(&mut world, "acme", ADMIN, snapshot));
}

#[test]
fn ends_go_from_the_home_row_to_the_parts_and_nowhere_else() {
    let mut world = World::unlocked(&["acme"]);
    let (tenant, home) = (world.tenant("acme").id, world.tenant("acme").home);
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a", "b", "c", "d", "e", "f"]);
    let others: Vec<GroupId> = world.tenant("acme").groups.iter().copied().filter(|group| *group != home).collect();
    let told_by = |home| NodeCommand::EndPart(claim(Ended { home, tenant, snapshot }));
    assert_eq!(refused(world.group(others[0]).node(told_by(others[1]))), Refusal::WrongGroup);
    done(delete(&mut world, "acme", ADMIN, snapshot));
    for group in &others {
        assert!(matches!(part(&world, "acme", *group, snapshot), PartState::Committed { .. }), "it has not heard");
    }
    assert_eq!(world.tell_ends(), others.len());
    for group in &others {
        assert_eq!(part(&world, "acme", *group, snapshot), PartState::Dropped);
        done(world.group(*group).node(told_by(home)));
    }
    assert_eq!(world.tell_ends(), 0, "all have heard");
    // One that waits for the home shard's word hears of the commit first.
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(&world, "acme", WRITER, session, "two");
    backup.prepare(&mut world, &["a", "b", "c"]);
    done(backup.commit(&mut world));
    done(delete(&mut world, "acme", ADMIN, backup.snapshot));
    assert_eq!(world.tell_ends(), 0, "they wait for another word");
    world.decide();
    assert_eq!(world.tell_ends(), others.len());
}

#[test]
fn n66_only_what_no_other_snapshot_names_goes() {
    let mut world = World::unlocked(&["acme"]);
    let first = back_up(&mut world, "acme", WRITER, "one", &["a", "b", "c", "d", "e", "f"]);
    world.collect(0);
    let alone: Vec<Usage> = world.shards().iter().map(|group| world.groups[group].view().usage).collect();
    let second = back_up(&mut world, "acme", WRITER, "two", &["a", "b", "c", "d", "e", "f", "g", "h", "i"]);
    world.pass(7 * HOUR_MS);
    done(delete(&mut world, "acme", ADMIN, second));
    world.tell_ends();
    world.collect(0);
    let again: Vec<Usage> = world.shards().iter().map(|group| world.groups[group].view().usage).collect();
    assert_eq!(again, alone, "just what the second alone had is gone");
    done(delete(&mut world, "acme", ADMIN, first));
    world.tell_ends();
    world.collect(0);
    for group in world.shards() {
        assert_eq!(world.groups[&group].view().usage, Usage::default(), "{group}");
    }
}

#[test]
fn a_vault_ends_only_empty_and_its_name_is_never_given_again() {
    let mut world = World::unlocked(&["acme"]);
    let (tenant, home) = (world.tenant("acme").id, world.tenant("acme").home);
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a"]);
    assert_eq!(refused(delete_vault(&mut world, "acme")), Refusal::VaultNotEmpty);
    let session = world.open_session("acme", WRITER);
    let mut late = Backup::new(&world, "acme", WRITER, session, "late");
    late.prepare(&mut world, &["b"]);
    done(delete(&mut world, "acme", ADMIN, snapshot));
    done(delete_vault(&mut world, "acme"));
    assert_eq!(refused(late.commit(&mut world)), Refusal::NotFound, "an upload that was under way");
    let session = world.open_session("acme", WRITER);
    let mut later = Backup::new(&world, "acme", WRITER, session, "later");
    assert_eq!(refused(later.open(&mut world)), Refusal::NotFound);
    assert_eq!(refused(delete_vault(&mut world, "acme")), Refusal::NotFound);
    assert_eq!(world.groups[&home].ask(&Query::Vaults { tenant }), Answer::Vaults(Vec::new()));
    let (statement, policy) = (world.tenant("acme").signed_statement(1), world.tenant("acme").policy());
    let mut admin = world.open_session("acme", ADMIN);
    let refusal = refused(world.submit("acme", ADMIN, &mut admin, Body::CreateVault { statement, policy }));
    assert_eq!(refusal, Refusal::Immutable, "not even by the same statement");
    world.pass(7 * HOUR_MS);
    world.decide();
    world.tell_ends();
    world.collect(0);
    for group in world.shards() {
        assert_eq!(world.groups[&group].view().usage, Usage::default(), "{group}: an emptied vault leaves nothing");
    }
}

/// How many wraps and cards a tenant has at home (`src/shard/rows.rs`).
fn keys(world: &World, tenant: &str) -> (usize, usize) {
    let (id, home) = (world.tenant(tenant).id, world.tenant(tenant).home);
    let rows: Vec<_> = world.groups[&home].tables.rows().filter(|(_, key, _)| key.starts_with(id.as_bytes())).collect();
    let of = |number: u8| rows.iter().filter(|(table, ..)| table.0 == number).count();
    (of(34), of(32))
}

#[test]
fn an_ended_vault_loses_wraps_and_cards_when_nothing_lies_in_it_and_not_before() {
    let mut world = World::unlocked(&["acme", "globex"]);
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a", "b"]);
    back_up(&mut world, "globex", WRITER, "theirs", &["c"]);
    let (full, theirs) = (keys(&world, "acme"), keys(&world, "globex"));
    assert!(0 < full.0 && 0 < full.1, "{full:?}");
    // An upload that is under way has brought blobs, sealed under a key whose wrap they need.
    let session = world.open_session("acme", WRITER);
    let mut late = Backup::new(&world, "acme", WRITER, session, "late");
    late.prepare(&mut world, &["late"]);
    // Another one has brought nothing yet.
    let session = world.open_session("acme", WRITER);
    let mut later = Backup::new(&world, "acme", WRITER, session, "later");
    done(later.open(&mut world));
    let with_late = keys(&world, "acme");
    done(delete(&mut world, "acme", ADMIN, snapshot));
    world.tell_ends();
    world.collect(0);
    assert_eq!(keys(&world, "acme"), with_late, "a vault that lives keeps its keys, empty or not");
    done(delete_vault(&mut world, "acme"));
    world.collect(0);
    assert_eq!(keys(&world, "acme"), with_late, "something lies in it under a lease");
    let home = late.home(&world);
    done(late.submit(&mut world, home, Body::AbortSnapshot { snapshot: late.snapshot }));
    world.tell_ends();
    world.decide();
    world.collect(0);
    assert_eq!(keys(&world, "acme"), with_late, "somebody may still bring something");
    done(later.register(&mut world, home, &[Piece::new("later", 1)]));
    // The lease ends, and with it what it held.
    world.pass(7 * HOUR_MS);
    world.decide();
    world.tell_ends();
    world.collect(0);
    assert_eq!(keys(&world, "acme"), (0, 0), "nothing needs them any more");
    assert_eq!(keys(&world, "globex"), theirs, "another tenant's stay");
}
