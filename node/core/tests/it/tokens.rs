//! Tokens: who issues them, what they make, and that they make it once.

use strongroom_core::entry::{EntryCommand, NodeCommand};
use strongroom_core::query::{Answer, Query, TokenView};
use strongroom_core::shard::rows::IdentityRow;
use strongroom_format::codec;
use strongroom_format::command::{Body, OperatorBody};
use strongroom_format::enrolment::{Redemption, SignedRedemption};
use strongroom_format::id::{ClusterEpoch, GroupId, TenantId};
use strongroom_format::lock::LockRange;
use strongroom_format::outcome::{Done, Outcome, Redeemed, Refusal};
use strongroom_format::role::Role;

use crate::group::{HOUR_MS, MINUTE_MS, done, identity, one, refused, signing_key};
use crate::tenant::{ADMIN, AUDITOR, OFFICER, OTHER_WRITER, WRITER, issue_body, token, token_key};
use crate::world::{World, genesis, issue_node_body, redeem_node};

/// `acme`'s admin issues a token for `who`.
fn issue(world: &mut World, name: &str, who: &str, roles: &[Role]) -> Outcome {
    let mut admin = world.open_session("acme", ADMIN);
    world.submit("acme", ADMIN, &mut admin, issue_body(name, who, roles))
}

fn redeem(world: &mut World, name: &str, who: &str) -> Outcome {
    let signed = world.tenant("acme").redeem(name, who);
    let home = world.tenant("acme").home;
    world.group(home).redeem(signed)
}

fn row(world: &World, who: &str) -> Option<IdentityRow> {
    let acme = world.tenant("acme");
    match world.groups[&acme.home].ask(&Query::Identity { tenant: acme.id, identity: identity(who) }) {
        Answer::Identity(row) => Some(row),
        Answer::NotFound => None,
        other => panic!("{other:?}"),
    }
}

fn made(who: &str, roles: &[Role]) -> Done {
    Done::Redeemed(Redeemed::Identity { identity: identity(who), roles: roles.to_vec() })
}

fn view(world: &World, name: &str) -> Option<TokenView> {
    let acme = world.tenant("acme");
    match world.groups[&acme.home].ask(&Query::Token { tenant: Some(acme.id), token: token(name) }) {
        Answer::Token(view) => Some(view),
        Answer::NotFound => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_makes_whom_its_row_says_and_the_bearers_key_signs_from_then_on() {
    let mut world = World::single();
    let mut admin = world.open_session("acme", ADMIN);
    let locks = Some(LockRange { min_ms: HOUR_MS, max_ms: 24 * HOUR_MS });
    let Body::IssueToken { token, identity: who, roles, lifetime_ms, wall_end_unix_ms, approvals, .. } =
        issue_body("t", "web-3", &[Role::Writer, Role::Auditor])
    else {
        panic!()
    };
    let body = Body::IssueToken {
        token,
        identity: who,
        roles: roles.clone(),
        locks,
        lifetime_ms,
        wall_end_unix_ms,
        approvals,
    };
    assert_eq!(done(world.submit("acme", ADMIN, &mut admin, body)), Done::Done);
    assert_eq!(row(&world, "web-3"), None, "nobody yet");
    assert_eq!(done(redeem(&mut world, "t", "web-3")), made("web-3", &roles));
    let made = row(&world, "web-3").unwrap();
    assert_eq!((made.locks, made.enrolled_by, made.open), (locks, Some(identity(ADMIN)), true));
    assert_eq!(made.signing_key, world.tenant("acme").key("web-3").public_key());
    world.open_session("acme", "web-3");
}

#[test]
fn n105_of_two_redemptions_at_once_one_wins_and_the_same_one_again_is_answered_as_before() {
    let mut world = World::single();
    done(issue(&mut world, "t", "web-3", &[Role::Writer]));
    let (first, second) = (world.tenant("acme").redeem("t", "web-3"), world.tenant("acme").redeem("t", "thief"));
    let home = world.tenant("acme").home;
    let at_once = [&first, &second, &first].map(|one| EntryCommand::Redeem(one.clone()));
    let outcomes = world.group(home).apply(at_once.to_vec());
    let wins = Outcome::Done(made("web-3", &[Role::Writer]));
    assert_eq!(outcomes, [wins.clone(), Outcome::Refused(Refusal::TokenUsed), wins.clone()]);
    let key = row(&world, "web-3").unwrap().signing_key;
    // For ever: after the token's end, after the identity is closed, and the row is not touched.
    world.pass(2 * HOUR_MS);
    assert_eq!(world.group(home).redeem(first.clone()), wins);
    let mut admin = world.open_session("acme", ADMIN);
    let close = Body::CloseIdentity { identity: identity("web-3"), reason: String::new() };
    done(world.submit("acme", ADMIN, &mut admin, close));
    assert_eq!(world.group(home).redeem(first), wins);
    assert_eq!(refused(world.group(home).redeem(second)), Refusal::TokenUsed);
    let row = row(&world, "web-3").unwrap();
    assert_eq!((row.signing_key, row.open), (key, false));
}

#[test]
fn n105_an_ended_or_unknown_token_and_one_of_a_foreign_tenant_read_alike() {
    let mut world = World::single();
    world.create_tenant("globex", 1);
    done(issue(&mut world, "t", "web-3", &[Role::Writer]));
    let home = world.tenant("acme").home;
    let unknown = world.tenant("acme").redeem("other", "web-3");
    let in_globex = world.tenant("globex").redeem("t", "web-3");
    let nowhere = {
        let tenant = Some(TenantId::from_bytes([9; 16]));
        let redemption = Redemption { tenant, ..unknown.open().unwrap() };
        SignedRedemption::new(&redemption, &token_key("other"), &world.tenant("acme").key("web-3")).unwrap()
    };
    for redemption in [unknown, in_globex, nowhere] {
        assert_eq!(refused(world.group(home).redeem(redemption)), Refusal::Token);
    }
    assert!(view(&world, "t").is_some_and(|view| view.used.is_none()));
    world.pass(HOUR_MS - 1);
    assert!(view(&world, "t").is_some());
    world.pass(1);
    assert_eq!(view(&world, "t"), None, "the schedule took it away");
    assert_eq!(refused(redeem(&mut world, "t", "web-3")), Refusal::Token);
    assert_eq!(row(&world, "web-3"), None);
}

#[test]
fn n105_a_wall_clock_ends_a_token_early_and_never_prolongs_it() {
    let mut world = World::single();
    let mut admin = world.open_session("acme", ADMIN);
    // The world's leader says 1 700 000 000 000 and a little.
    for (name, who, wall_end) in [("past", "web-3", 1_600_000_000_000), ("ahead", "web-4", u64::MAX)] {
        let Body::IssueToken { token, identity, roles, locks, lifetime_ms, approvals, .. } =
            issue_body(name, who, &[Role::Writer])
        else {
            panic!()
        };
        let wall_end_unix_ms = wall_end;
        let body = Body::IssueToken { token, identity, roles, locks, lifetime_ms, wall_end_unix_ms, approvals };
        done(world.submit("acme", ADMIN, &mut admin, body));
    }
    assert_eq!(refused(redeem(&mut world, "past", "web-3")), Refusal::Token);
    let ahead = view(&world, "ahead").unwrap();
    assert!(ahead.wall_end_unix_ms < 1_700_000_000_000 + HOUR_MS + 1000, "an hour at most, whatever was asked for");
    done(redeem(&mut world, "ahead", "web-4"));
}

#[test]
fn n105_signatures_cluster_and_group_of_a_redemption_count_and_leave_no_trace_where_they_do_not() {
    let mut world = World::single();
    done(issue(&mut world, "t", "web-3", &[Role::Writer]));
    let home = world.tenant("acme").home;
    let good = world.tenant("acme").redeem("t", "web-3");
    let opened = good.open().unwrap();
    let key = world.tenant("acme").key("web-3");
    let with = |redemption: Redemption| SignedRedemption::new(&redemption, &token_key("t"), &key).unwrap();
    let other_life = with(Redemption { cluster: ClusterEpoch::from_bytes([1; 16]), ..opened.clone() });
    let other_group = with(Redemption { group: GroupId(2), ..opened });
    let unsigned = SignedRedemption { by_token: good.by_key, ..good.clone() };
    let foreign_key = SignedRedemption { by_key: good.by_token, ..good.clone() };
    let garbled = SignedRedemption { redemption: vec![1, 2, 3], ..good.clone() };
    let leaves = |world: &World| {
        let tenant = world.tenant("acme").id;
        let Answer::Head(head) = world.groups[&home].ask(&Query::Head { tenant, size: None }) else { panic!() };
        head.size
    };
    let before = leaves(&world);
    for (bad, refusal) in [
        (other_life, Refusal::WrongGroup),
        (other_group, Refusal::WrongGroup),
        (unsigned, Refusal::Signature),
        (foreign_key, Refusal::Signature),
    ] {
        assert_eq!(refused(world.group(home).redeem(bad)), refusal);
    }
    assert!(matches!(refused(world.group(home).redeem(garbled)), Refusal::Invalid { .. }));
    // In the cluster group a tenant's redemption is for another group, and the other way round.
    assert_eq!(refused(world.cluster().redeem(good.clone())), Refusal::WrongGroup);
    let node = redeem_node("t", &signing_key("n9"), 9000);
    assert_eq!(refused(world.group(home).redeem(node)), Refusal::WrongGroup);
    assert_eq!(leaves(&world), before);
    done(world.group(home).redeem(good));
    assert_eq!(leaves(&world), before + 1);
}

#[test]
fn n104_an_admin_alone_issues_tokens_for_writers_and_auditors_and_nobody_else() {
    let mut world = World::single();
    for role in [Role::Restorer, Role::Admin, Role::KeyCustodian, Role::Legal, Role::Approver, Role::Gateway] {
        assert_eq!(refused(issue(&mut world, "t", "more", &[role])), Refusal::NeedsApproval, "{role}");
    }
    for pair in [[Role::Writer, Role::Restorer], [Role::Admin, Role::Approver], [Role::Restorer, Role::Approver]] {
        assert_eq!(refused(issue(&mut world, "t", "both", &pair)), Refusal::ForbiddenRoles, "{pair:?}");
    }
    for roles in [&[][..], &[Role::Auditor, Role::Writer]] {
        assert!(matches!(refused(issue(&mut world, "t", "web-3", roles)), Refusal::Invalid { .. }));
    }
    assert_eq!(view(&world, "t"), None);
    done(issue(&mut world, "w", "web-3", &[Role::Writer]));
    done(issue(&mut world, "a", "alma", &[Role::Auditor]));
}

#[test]
fn n28_n29_whoever_a_token_made_gives_nothing_on() {
    let mut world = World::single();
    done(issue(&mut world, "t", "web-3", &[Role::Writer, Role::Auditor]));
    done(redeem(&mut world, "t", "web-3"));
    for who in ["web-3", AUDITOR, WRITER] {
        let mut session = world.open_session("acme", who);
        for roles in [[Role::Admin], [Role::Writer], [Role::Auditor]] {
            let body = issue_body("more", "eve", &roles);
            assert_eq!(refused(world.submit("acme", who, &mut session, body)), Refusal::Role, "{who}");
        }
    }
}

#[test]
fn n29_what_a_closed_admin_left_behind_makes_nobody() {
    // A second admin, from the founding record, so that one can close the other.
    let mut world = World::with_more_admins(&["adam"]);
    done(issue(&mut world, "t", "web-3", &[Role::Writer]));
    let mut other = world.open_session("acme", "adam");
    let close = Body::CloseIdentity { identity: identity(ADMIN), reason: "stolen".into() };
    done(world.submit("acme", "adam", &mut other, close));
    assert_eq!(refused(redeem(&mut world, "t", "web-3")), Refusal::Token);
    assert_eq!(row(&world, "web-3"), None);
}

#[test]
fn n25_a_refusal_shows_nothing_that_its_caller_may_not_read() {
    let mut world = World::single();
    let mut writer = world.open_session("acme", WRITER);
    let statement = world.tenant("acme").signed_statement(7);
    let taken = Body::EnrolIdentity {
        identity: identity(OTHER_WRITER),
        roles: vec![Role::Writer],
        signing_key: world.tenant("acme").key("x").public_key(),
        locks: None,
        approvals: Vec::new(),
    };
    // An admin would hear: taken, and the version that is stored.
    for body in [taken, issue_body("t", OTHER_WRITER, &[Role::Writer]), Body::UpdateStatement { statement }] {
        assert_eq!(refused(world.submit("acme", WRITER, &mut writer, body)), Refusal::Role);
    }
}

#[test]
fn a_token_names_nobody_who_is_there_and_is_issued_once_and_not_for_long() {
    let mut world = World::single();
    let taken = Refusal::IdentityTaken { identity: identity(OTHER_WRITER) };
    assert_eq!(refused(issue(&mut world, "t", OTHER_WRITER, &[Role::Writer])), taken);
    done(issue(&mut world, "t", "web-3", &[Role::Writer]));
    assert_eq!(refused(issue(&mut world, "t", "web-4", &[Role::Writer])), Refusal::Immutable);
    // Two tokens for one id: the first that is redeemed makes it.
    done(issue(&mut world, "u", "web-3", &[Role::Writer]));
    done(redeem(&mut world, "t", "web-3"));
    let taken = Refusal::IdentityTaken { identity: identity("web-3") };
    assert_eq!(refused(redeem(&mut world, "u", "web-3b")), taken);
    let mut admin = world.open_session("acme", ADMIN);
    for lifetime in [0, HOUR_MS + 1, u64::MAX] {
        let mut body = issue_body("v", "web-5", &[Role::Writer]);
        let Body::IssueToken { lifetime_ms, .. } = &mut body else { panic!() };
        *lifetime_ms = lifetime;
        assert!(matches!(refused(world.submit("acme", ADMIN, &mut admin, body)), Refusal::Invalid { .. }));
    }
}

#[test]
fn open_tokens_of_one_issuer_are_bounded_and_used_or_ended_ones_count_no_more() {
    let mut world = World::single();
    let mut admin = world.open_session("acme", ADMIN);
    for number in 0..64 {
        let body = issue_body(&format!("t{number}"), &format!("w{number}"), &[Role::Writer]);
        done(world.submit("acme", ADMIN, &mut admin, body));
    }
    let one_more = issue_body("t64", "w64", &[Role::Writer]);
    let full = world.submit("acme", ADMIN, &mut admin, one_more.clone());
    assert!(matches!(refused(full), Refusal::Limit { .. }));
    done(redeem(&mut world, "t0", "w0"));
    done(world.submit("acme", ADMIN, &mut admin, one_more));
    world.pass(HOUR_MS);
    let mut admin = world.open_session("acme", ADMIN);
    done(world.submit("acme", ADMIN, &mut admin, issue_body("t65", "w65", &[Role::Writer])));
}

#[test]
fn n96_a_node_joins_with_a_token_of_a_platform_operator_and_not_without() {
    let mut world = World::founded(&genesis(3, 3, 1));
    let key = signing_key("node 9");
    assert_eq!(refused(world.cluster().redeem(redeem_node("t", &key, 9000))), Refusal::Token);
    assert_eq!(refused(world.operator_as(OFFICER, issue_node_body("t", "n9", "r0"))), Refusal::Role);
    done(world.operator(issue_node_body("t", "n9", "r9")));
    let first = redeem_node("t", &key, 9000);
    let joined = done(world.cluster().redeem(first.clone()));
    let Done::Redeemed(Redeemed::Node { node, region, replica }) = &joined else { panic!("{joined:?}") };
    assert_eq!((node.to_string().as_str(), region.to_string().as_str()), ("n9", "r9"));
    let map = world.map();
    let row = map.nodes.iter().find(|row| row.name == *node).unwrap();
    assert_eq!((row.replica, row.signing_key, row.peer.as_str()), (*replica, key.public_key(), "127.0.0.1:9000"));
    assert!(map.regions.contains(region), "a new region");
    // Once: the same again is remembered, by another key refused, and the name is never given again.
    assert_eq!(done(world.cluster().redeem(first)), joined);
    assert_eq!(refused(world.cluster().redeem(redeem_node("t", &signing_key("x"), 9100))), Refusal::TokenUsed);
    assert_eq!(refused(world.operator(issue_node_body("u", "n9", "r9"))), Refusal::NameRetired);
    assert_eq!(refused(world.operator(issue_node_body("t", "n8", "r9"))), Refusal::Immutable);
}

#[test]
fn a_node_that_brings_anothers_key_or_address_does_not_join() {
    let mut world = World::founded(&genesis(3, 3, 1));
    done(world.operator(issue_node_body("t", "n9", "r0")));
    let taken = [redeem_node("t", &signing_key("node 1"), 9000), redeem_node("t", &signing_key("node 9"), 1001)];
    for redemption in taken {
        assert!(matches!(refused(world.cluster().redeem(redemption)), Refusal::Invalid { .. }));
    }
    assert_eq!(world.map().nodes.len(), 3);
    done(world.cluster().redeem(redeem_node("t", &signing_key("node 9"), 9000)));
}

#[test]
fn two_nodes_in_one_entry_never_get_one_identity() {
    let mut world = World::founded(&genesis(3, 3, 1));
    for (name, node) in [("t", "n8"), ("u", "n9")] {
        done(world.operator(issue_node_body(name, node, "r0")));
    }
    let both = [redeem_node("t", &signing_key("node 8"), 9000), redeem_node("u", &signing_key("node 9"), 9100)];
    let outcomes = world.cluster().apply(both.map(EntryCommand::Redeem).to_vec());
    assert!(matches!(outcomes[..], [Outcome::Done(_), Outcome::Refused(Refusal::VersionConflict)]), "{outcomes:?}");
    done(world.cluster().redeem(redeem_node("u", &signing_key("node 9"), 9100)));
}

#[test]
fn n105_a_nodes_token_ends_on_time_and_on_the_wall() {
    let mut world = World::founded(&genesis(3, 3, 1));
    done(world.operator(issue_node_body("t", "n9", "r0")));
    let ask = |world: &World| world.groups[&GroupId::CLUSTER].ask(&Query::Token { tenant: None, token: token("t") });
    assert!(matches!(ask(&world), Answer::Token(_)));
    assert_eq!(world.cluster().view().next_end_ms, Some(HOUR_MS), "a tick is worth proposing then");
    world.pass(HOUR_MS - MINUTE_MS);
    assert!(matches!(ask(&world), Answer::Token(_)));
    world.pass(MINUTE_MS);
    assert_eq!(ask(&world), Answer::NotFound);
    assert_eq!(world.cluster().view().next_end_ms, None);
    assert_eq!(refused(world.cluster().redeem(redeem_node("t", &signing_key("node 9"), 9000))), Refusal::Token);
    let mut body = issue_node_body("u", "n9", "r0");
    let OperatorBody::IssueNodeToken { wall_end_unix_ms, .. } = &mut body else { panic!() };
    *wall_end_unix_ms = 5;
    done(world.operator(body));
    assert_eq!(refused(world.cluster().redeem(redeem_node("u", &signing_key("node 9"), 9000))), Refusal::Token);
}

#[test]
fn n23_an_entry_that_hides_a_foreign_or_higher_command_gives_nobody_more_than_it_has() {
    let mut world = World::single();
    world.create_tenant("globex", 1);
    let home = world.tenant("acme").home;
    let mut writer = world.open_session("acme", WRITER);
    let mut admin = world.open_session("acme", ADMIN);
    let innocent = world.command("acme", WRITER, &mut writer, Body::Ask { sequence: 9 });
    // The writer's signature under an admin's name, in the admin's session; behind what was done.
    let mut hidden = world.command("acme", ADMIN, &mut admin, issue_body("t", "eve", &[Role::Writer]));
    hidden.signature = Some(world.tenant("acme").key(WRITER).sign("command", &hidden.command));
    let foreign = {
        let globex = world.tenant("globex");
        let command = globex.command(home, ADMIN, issue_body("t", "eve", &[Role::Writer]));
        strongroom_format::sign::sign_command(&command, &world.tenant("acme").key(ADMIN))
    };
    // An operator's bytes, a node's bytes and a redemption where a caller's command stands.
    let operators = world.tenant("acme").redeem("t", "eve");
    let nested = |bytes: Vec<u8>| strongroom_format::command::SignedCommand { command: bytes, signature: None };
    let node = codec::encode(&strongroom_core::entry::Entry {
        salt: [0; 16],
        wall_unix_ms: 0,
        commands: vec![EntryCommand::Node(NodeCommand::AdmitTenant(crate::group::claim(world.facts("acme"))))],
    });
    let commands = [innocent, hidden, foreign, nested(operators.redemption.clone()), nested(node)];
    let outcomes = world.group(home).apply(commands.map(EntryCommand::Vouched).to_vec());
    assert!(matches!(outcomes[0], Outcome::Done(Done::NeverApplied)), "{:?}", outcomes[0]);
    assert!(outcomes[1..].iter().all(|outcome| matches!(outcome, Outcome::Refused(_))), "{outcomes:?}");
    assert_eq!(refused(one(outcomes[1..2].to_vec())), Refusal::Signature);
    assert_eq!((view(&world, "t"), row(&world, "eve")), (None, None));
}

#[test]
fn a_redemption_is_a_leaf_of_the_tenants_log_done_or_refused() {
    use strongroom_format::receipt::{AuditEvent, AuditRecord};
    let mut world = World::single();
    world.pass(MINUTE_MS);
    done(issue(&mut world, "t", "web-3", &[Role::Writer]));
    done(redeem(&mut world, "t", "web-3"));
    refused(redeem(&mut world, "t", "thief"));
    refused(redeem(&mut world, "t", "thief"));
    world.pass(MINUTE_MS);
    let acme = world.tenant("acme");
    let leaves = Query::Leaves { tenant: acme.id, from: 0, limit: 1000 };
    let Answer::Leaves(leaves) = world.groups[&acme.home].ask(&leaves) else { panic!() };
    let records = leaves.iter().map(|leaf| codec::decode::<AuditRecord>(&leaf.record).unwrap());
    let seen: Vec<String> = records
        .filter_map(|record| match record.event {
            AuditEvent::Decision { kind: 0x2000, principal, allowed, reason, subject } => {
                assert_eq!(subject[..32], *token("t").as_bytes());
                Some(format!("{principal} {allowed} {reason}"))
            }
            AuditEvent::Batch { kind: 0x6000, count, .. } => Some(format!("{count} more")),
            _ => None,
        })
        .collect();
    assert_eq!(seen, ["web-3 true ", "web-3 false TOKEN_USED", "1 more"]);
}
