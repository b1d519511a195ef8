//! Who may do what, and with which signature.

use strongroom_core::entry::EntryCommand;
use strongroom_core::query::{Answer, Query};
use strongroom_format::codec;
use strongroom_format::command::{Body, Command, SignedCommand};
use strongroom_format::id::{ClusterEpoch, GroupId, Nonce, SessionId};
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::role::Role;
use strongroom_format::sign;

use crate::backup::{Backup, back_up};
use crate::group::{digest, done, fixed, identity, refused};
use crate::tenant::{ADMIN, APPROVER, AUDITOR, OTHER_WRITER, RESTORER, WRITER};
use crate::world::World;

fn enrol(world: &World, name: &str, roles: &[Role]) -> Body {
    Body::EnrolIdentity {
        identity: identity(name),
        roles: roles.to_vec(),
        signing_key: world.tenant("acme").key(name).public_key(),
        locks: None,
        approvals: Vec::new(),
    }
}

#[test]
fn n103_an_identity_without_a_row_or_with_a_closed_one_is_refused() {
    let mut world = World::new();
    let home = world.tenant("acme").home;
    let stranger = world.open_session_command("acme", "nobody", 0);
    let before = digest(&world.groups[&home]);
    assert_eq!(refused(world.group(home).client(stranger)), Refusal::Identity);
    assert_eq!(world.group(home).view().usage, world.group(home).view().usage);
    assert_ne!(digest(&world.groups[&home]), before, "the applied index moved");

    let mut writer = world.open_session("acme", WRITER);
    let mut admin = world.open_session("acme", ADMIN);
    let close = Body::CloseIdentity { identity: identity(WRITER), reason: "stolen".into() };
    done(world.submit("acme", ADMIN, &mut admin, close));
    let ask = world.submit("acme", WRITER, &mut writer, Body::Ask { sequence: 7 });
    assert_eq!(refused(ask), Refusal::Identity, "its open sessions are over at once");
    let again = world.open_session_command("acme", WRITER, 0);
    assert_eq!(refused(world.group(home).client(again)), Refusal::Identity);
    let body = enrol(&world, WRITER, &[Role::Writer]);
    let taken = world.submit("acme", ADMIN, &mut admin, body);
    assert_eq!(refused(taken), Refusal::IdentityTaken { identity: identity(WRITER) }, "never given again");
}

#[test]
fn n104_an_admin_alone_enrols_writers_and_auditors_and_nobody_else() {
    let mut world = World::new();
    let mut admin = world.open_session("acme", ADMIN);
    for (name, roles) in [("w3", [Role::Writer]), ("aud", [Role::Auditor])] {
        let body = enrol(&world, name, &roles);
        done(world.submit("acme", ADMIN, &mut admin, body));
    }
    for role in [Role::Restorer, Role::Admin, Role::KeyCustodian, Role::Legal, Role::Approver, Role::Gateway] {
        let body = enrol(&world, "more", &[role]);
        assert_eq!(refused(world.submit("acme", ADMIN, &mut admin, body)), Refusal::NeedsApproval, "{role}");
    }
    let body = enrol(&world, "both", &[Role::Writer, Role::Restorer]);
    assert_eq!(refused(world.submit("acme", ADMIN, &mut admin, body)), Refusal::ForbiddenRoles);
    let close = Body::CloseIdentity { identity: identity(ADMIN), reason: String::new() };
    assert_eq!(refused(world.submit("acme", ADMIN, &mut admin, close)), Refusal::NeedsApproval, "an admin is left");
}

#[test]
fn n27_a_writer_neither_restores_nor_administers() {
    let mut world = World::new();
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a", "b"]);
    let mut writer = world.open_session("acme", WRITER);
    let statement = world.tenant("acme").signed_statement(2);
    let card = {
        let card = world.tenant("acme").card(WRITER, 2);
        world.tenant("acme").sign(&card)
    };
    let more = enrol(&world, "w3", &[Role::Writer]);
    for body in [
        Body::OpenRestore { snapshots: vec![snapshot], purpose: "mine".into(), lifetime_ms: 1000 },
        Body::CloseIdentity { identity: identity(OTHER_WRITER), reason: String::new() },
        Body::UpdateStatement { statement },
        Body::PutCard { card },
        more,
    ] {
        assert_eq!(refused(world.submit("acme", WRITER, &mut writer, body.clone())), Refusal::Role, "{body:?}");
    }
}

#[test]
fn n28_an_auditor_and_an_approver_write_nothing() {
    let mut world = World::new();
    for who in [AUDITOR, APPROVER, RESTORER, ADMIN] {
        let session = world.open_session("acme", who);
        let mut backup = Backup::new(&world, "acme", who, session, who);
        let body = Body::OpenSnapshot(backup.open_body(&world));
        let home = backup.home(&world);
        assert_eq!(refused(backup.submit(&mut world, home, body)), Refusal::Role, "{who}");
        let budget = world.open_session_command("acme", who, 1);
        assert_eq!(refused(world.group(home).client(budget)), Refusal::Role, "{who} has no budget");
    }
}

#[test]
fn n107_a_deciding_command_without_with_a_foreign_or_with_an_altered_signature_leaves_no_trace() {
    let mut world = World::new();
    let home = world.tenant("acme").home;
    let mut writer = world.open_session("acme", WRITER);
    let backup = Backup::new(&world, "acme", WRITER, writer, "one");
    let body = Body::OpenSnapshot(backup.open_body(&world));
    let good = world.command("acme", WRITER, &mut writer, body);
    let command: Command = codec::decode(&good.command).unwrap();
    let unsigned = SignedCommand { signature: None, ..good.clone() };
    let foreign = sign::sign_command(&command, &world.tenant("acme").key(OTHER_WRITER));
    let other_tenants = sign::sign_command(&command, &world.tenant("globex").key(WRITER));
    let mut longer = command.clone();
    longer.needs_previous = true;
    let altered = SignedCommand { command: codec::encode(&longer), signature: good.signature };
    let principal = Command { principal: identity(OTHER_WRITER), ..command };
    let principal = sign::sign_command(&principal, &world.tenant("acme").key(WRITER));
    for bad in [unsigned, foreign, other_tenants, altered] {
        assert_eq!(refused(world.group(home).client(bad)), Refusal::Signature);
    }
    // The session is another's, so it is not there; the signature is not even looked at.
    assert_eq!(refused(world.group(home).client(principal)), Refusal::SessionEnded);
    assert!(matches!(done(world.group(home).client(good)), Done::SnapshotOpened { .. }), "its number is still free");
}

#[test]
fn n107_what_flows_inside_a_session_carries_no_signature() {
    let mut world = World::new();
    let mut writer = world.open_session("acme", WRITER);
    let unsigned = world.command("acme", WRITER, &mut writer, Body::Ask { sequence: 9 });
    let command: Command = codec::decode(&unsigned.command).unwrap();
    let signed = sign::sign_command(&command, &world.tenant("acme").key(WRITER));
    assert_eq!(refused(world.group(writer.group).client(signed)), Refusal::Signature, "one command, one form");
}

#[test]
fn n108_a_replayed_command_is_answered_as_before_and_does_nothing() {
    let mut world = World::new();
    let home = world.tenant("acme").home;
    let open = world.open_session_command("acme", WRITER, 1 << 20);
    let opened = done(world.group(home).client(open.clone()));
    let Done::SessionOpened { session, .. } = opened else { panic!() };
    let view = world.group(home).view();
    assert_eq!(done(world.group(home).client(open.clone())), opened);
    assert_eq!(world.group(home).view().usage, view.usage);

    // In another shard, and in another life of the cluster.
    let elsewhere = GroupId(if home.0 == 1 { 2 } else { 1 });
    assert_eq!(refused(world.group(elsewhere).client(open.clone())), Refusal::WrongGroup);
    let mut command: Command = codec::decode(&open.command).unwrap();
    command.cluster = ClusterEpoch::from_bytes(fixed("another life"));
    let other_life = sign::sign_command(&command, &world.tenant("acme").key(WRITER));
    assert_eq!(refused(world.group(home).client(other_life)), Refusal::WrongGroup);

    // After the session has ended.
    let end =
        Command { session: Some(session), sequence: 1, ..world.tenant("acme").command(home, WRITER, Body::EndSession) };
    let end = sign::unsigned_command(&end);
    done(world.group(home).client(end.clone()));
    assert_eq!(world.group(home).client(end), Outcome::Forgotten);
    assert_eq!(done(world.group(home).client(open)), opened, "no second session");
    let Answer::Session(row) = world.groups[&home].ask(&Query::Session { tenant: world.tenant("acme").id, session })
    else {
        panic!()
    };
    assert!(!row.open);
}

#[test]
fn n108_a_commit_that_is_sent_again_is_remembered_and_in_a_new_number_refused() {
    let mut world = World::new();
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(&world, "acme", WRITER, session, "one");
    backup.prepare(&mut world, &["a", "b", "c"]);
    let home = backup.home(&world);
    let mut at_home = backup.sessions[&home];
    let envelope = backup.signed_envelope(&world, &backup.envelope(&world));
    let body = Body::CommitSnapshot { envelope, sealed: backup.others(&world) };
    let signed = world.command("acme", WRITER, &mut at_home, body.clone());
    let first = done(world.group(home).client(signed.clone()));
    assert_eq!(done(world.group(home).client(signed)), first);
    assert_eq!(refused(world.submit("acme", WRITER, &mut at_home, body)), Refusal::Immutable);
}

#[test]
fn a_session_is_opened_without_a_session_and_everything_else_in_one() {
    let mut world = World::new();
    let home = world.tenant("acme").home;
    let nonce = Nonce::from_bytes([1; 16]);
    let in_a_session = Command {
        session: Some(SessionId(7)),
        sequence: 1,
        ..world.tenant("acme").command(home, WRITER, Body::OpenSession { nonce, budget_bytes: 0 })
    };
    let signed = sign::sign_command(&in_a_session, &world.tenant("acme").key(WRITER));
    assert!(matches!(refused(world.group(home).client(signed)), Refusal::Invalid { .. }));
    let outside = sign::unsigned_command(&world.tenant("acme").command(home, WRITER, Body::EndSession));
    assert!(matches!(refused(world.group(home).client(outside)), Refusal::Invalid { .. }));
}

#[test]
fn an_operator_decides_nothing_in_a_shard_and_a_tenant_nothing_in_the_cluster_group() {
    let mut world = World::new();
    let home = world.tenant("acme").home;
    let open = world.open_session_command("acme", WRITER, 0);
    let to_cluster = world.cluster().apply(vec![EntryCommand::Client(open.clone())]);
    assert_eq!(to_cluster, [Outcome::Refused(Refusal::WrongGroup)]);
    let to_shard = world.group(home).apply(vec![EntryCommand::Operator(open)]);
    assert_eq!(to_shard, [Outcome::Refused(Refusal::WrongGroup)]);
}
