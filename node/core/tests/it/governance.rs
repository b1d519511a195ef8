//! What operators decide about tenants and CAs, who of them may, and what becomes of it in the shards.

use strongroom_core::cluster::issuers::REVOCATIONS_BYTES_MAX;
use strongroom_core::entry::{NodeCommand, Standing, TenantFacts, TenantState};
use strongroom_core::query::{Answer, Query};
use strongroom_format::codec;
use strongroom_format::command::{Body, OperatorBody};
use strongroom_format::id::{ClusterEpoch, GroupId, SetVersion, StatementVersion, TenantId};
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::receipt::{AuditEvent, AuditRecord};
use strongroom_format::role::{Plane, Role};
use strongroom_format::statement::{IssuerAcceptance, issuer_digest};

use crate::backup::Backup;
use crate::group::{MINUTE_MS, claim, done, identity, refused};
use crate::tenant::{ADMIN, OFFICER, OPERATOR, WRITER, issue_body};
use crate::world::{World, genesis, issue_node_body};

const SHARD: GroupId = GroupId(1);

fn suspend(world: &World, tenant: &str, reason: &str) -> OperatorBody {
    OperatorBody::SuspendTenant { tenant: world.tenant(tenant).id, reason: reason.into() }
}

fn resume(world: &World, tenant: &str) -> OperatorBody {
    OperatorBody::ResumeTenant { tenant: world.tenant(tenant).id, reason: "paid".into() }
}

fn end(world: &World, tenant: &str) -> OperatorBody {
    OperatorBody::EndTenant { tenant: world.tenant(tenant).id, reason: "left".into() }
}

fn standing(world: &World, tenant: &str) -> (u32, TenantState) {
    let standing = world.facts(tenant).standing;
    (standing.version, standing.state)
}

fn records(world: &World, tenant: &str) -> Vec<AuditRecord> {
    let of = world.tenant(tenant);
    let query = Query::Leaves { tenant: of.id, from: 0, limit: 1000 };
    let Answer::Leaves(leaves) = world.groups[&of.home].ask(&query) else { panic!() };
    leaves.iter().map(|leaf| codec::decode(&leaf.record).unwrap()).collect()
}

#[test]
fn n31_people_of_a_suspended_tenant_are_refused_and_go_on_where_they_stood_when_it_is_resumed() {
    let mut world = World::new();
    let mut writer = world.open_session("acme", WRITER);
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(&world, "acme", WRITER, session, "one");
    backup.prepare(&mut world, &["a", "b", "c"]);
    let body = suspend(&world, "acme", "not paid");
    done(world.operator(body));
    world.carry("acme");
    let ask = |world: &mut World, session: &mut _| world.submit("acme", WRITER, session, Body::Ask { sequence: 40 });
    let mut before = writer;
    assert_eq!(refused(ask(&mut world, &mut before)), Refusal::TenantSuspended);
    let open = world.open_session_command("acme", ADMIN, 0);
    let home = world.tenant("acme").home;
    assert_eq!(refused(world.group(home).client(open)), Refusal::TenantSuspended);
    for group in world.tenant("acme").groups.clone() {
        let Answer::Tenant(view) = world.groups[&group].ask(&Query::Tenant { tenant: world.tenant("acme").id }) else {
            panic!()
        };
        assert!(!view.active, "{group}");
    }
    world.open_session("globex", WRITER);

    let body = resume(&world, "acme");
    done(world.operator(body));
    world.carry("acme");
    done(ask(&mut world, &mut writer));
    done(backup.commit(&mut world));
    let decided: Vec<_> = records(&world, "acme")
        .into_iter()
        .filter_map(|record| match record.event {
            AuditEvent::Decision { kind, principal, reason, allowed: true, .. } if 0x8000 <= kind => {
                Some((kind, principal.to_string(), reason))
            }
            _ => None,
        })
        .collect();
    let leaf = |kind, reason: &str| (kind, OPERATOR.to_string(), reason.to_string());
    assert_eq!(decided, [leaf(0x8004, "not paid"), leaf(0x8005, "paid")], "the tenant can prove who and why");
}

#[test]
fn n106_an_ended_tenant_is_never_resumed_and_its_name_and_id_are_never_given_again() {
    let mut world = World::new();
    let body = end(&world, "globex");
    done(world.operator(body));
    world.carry("globex");
    let open = world.open_session_command("globex", ADMIN, 0);
    let home = world.tenant("globex").home;
    assert_eq!(refused(world.group(home).client(open)), Refusal::TenantSuspended);
    for (who, body) in [
        (OPERATOR, resume(&world, "globex")),
        (OFFICER, resume(&world, "globex")),
        (OFFICER, suspend(&world, "globex", "")),
        (OPERATOR, end(&world, "globex")),
    ] {
        assert_eq!(refused(world.operator_as(who, body)), Refusal::TenantSuspended);
    }
    let create = |name: &str, id: TenantId| {
        let mut founding = world.tenant("globex").founding();
        (founding.name, founding.tenant) = (name.parse().unwrap(), id);
        OperatorBody::CreateTenant {
            name: name.parse().unwrap(),
            founding: codec::encode(&founding.sign(&world.tenant("globex").root).unwrap()),
            issuers: vec![b"ca of globex".to_vec()],
            home: None,
            width: 1,
        }
    };
    let again = [
        create("globex", world.tenant("globex").id),
        create("globex", TenantId::from_bytes([3; 16])),
        create("initech", world.tenant("globex").id),
    ];
    for body in again {
        assert_eq!(refused(world.operator(body)), Refusal::NameRetired);
    }
    let id = world.tenant("globex").id;
    let registered = OperatorBody::RegisterIssuer {
        plane: Plane::Tenant,
        certificate: b"new ca".to_vec(),
        acceptances: vec![world.tenant("globex").accepts(b"new ca", 1)],
    };
    assert_eq!(refused(world.operator(registered)), Refusal::TenantSuspended);
    // What is there stays: for the tenant's data was promised to.
    assert!(matches!(world.groups[&home].ask(&Query::Usage { tenant: id }), Answer::Usage(_)));
    // Old facts, or new ones that say it lives, bring it back nowhere.
    let mut lies = world.facts("globex");
    lies.standing = Standing { version: 9, state: TenantState::Active, by: identity(OPERATOR), reason: String::new() };
    lies.set_version = SetVersion(2);
    let told = world.group(home).node(NodeCommand::AdmitTenant(claim::<TenantFacts>(lies)));
    assert_eq!(refused(told), Refusal::VersionConflict);
}

#[test]
fn a_shard_takes_over_a_newer_standing_whenever_it_comes_and_an_older_one_never() {
    let mut world = World::new();
    let facts = |world: &World| world.facts("acme");
    let admitted = facts(&world);
    let body = suspend(&world, "acme", "");
    done(world.operator(body));
    let suspended = facts(&world);
    let body = resume(&world, "acme");
    done(world.operator(body));
    let resumed = facts(&world);
    let tell = |world: &mut World, facts: &TenantFacts| {
        world.group(SHARD).node(NodeCommand::AdmitTenant(claim(facts.clone())))
    };
    assert_eq!(done(tell(&mut world, &admitted)), Done::Done, "known");
    assert_eq!(done(tell(&mut world, &resumed)), Done::Done, "the suspension was missed");
    for old in [&suspended, &admitted] {
        assert_eq!(refused(tell(&mut world, old)), Refusal::VersionConflict);
    }
    let mut differs = resumed.clone();
    differs.standing.state = TenantState::Suspended;
    assert_eq!(refused(tell(&mut world, &differs)), Refusal::VersionConflict, "one version, one meaning");
    // A newer set with an old standing is old news too, and so is the other way round.
    let mixed = TenantFacts { set_version: SetVersion(2), ..suspended };
    assert_eq!(refused(tell(&mut world, &mixed)), Refusal::VersionConflict);
    done(tell(&mut world, &resumed));
}

#[test]
fn a_suspension_is_lifted_by_whoever_decided_it_or_by_an_officer() {
    let mut world = World::new();
    let (suspended, resumed) = (suspend(&world, "acme", ""), resume(&world, "acme"));
    assert_eq!(refused(world.operator(resumed.clone())), Refusal::VersionConflict, "it is not suspended");
    done(world.operator(suspended.clone()));
    assert_eq!(refused(world.operator(suspended.clone())), Refusal::VersionConflict);
    done(world.operator(resumed.clone()));
    // An officer's stays until an officer lifts it, also where an operator was first.
    for first in [None, Some(OPERATOR)] {
        if let Some(first) = first {
            done(world.operator_as(first, suspended.clone()));
        }
        done(world.operator_as(OFFICER, suspended.clone()));
        assert_eq!(refused(world.operator_as(OFFICER, suspended.clone())), Refusal::VersionConflict);
        assert_eq!(refused(world.operator(suspended.clone())), Refusal::VersionConflict);
        assert_eq!(refused(world.operator(resumed.clone())), Refusal::Role);
        done(world.operator_as(OFFICER, resumed.clone()));
    }
    done(world.operator(suspended));
    done(world.operator_as(OFFICER, resumed));
    assert_eq!(standing(&world, "acme"), (9, TenantState::Active));
    let nobody = OperatorBody::SuspendTenant { tenant: TenantId::from_bytes([9; 16]), reason: String::new() };
    assert_eq!(refused(world.operator(nobody)), Refusal::NotFound);
    let long = suspend(&world, "acme", &"x".repeat(1025));
    assert!(matches!(refused(world.operator(long)), Refusal::Invalid { .. }));
}

#[test]
fn n28_an_officer_holds_off_and_makes_nothing_and_no_operator_decides_in_a_tenants_name() {
    let mut world = World::new();
    let founding = world.tenant("acme").signed_founding();
    let issuer = issuer_digest(b"ca of acme");
    for body in [
        OperatorBody::CreateTenant {
            name: "initech".parse().unwrap(),
            founding,
            issuers: vec![b"ca".to_vec()],
            home: None,
            width: 1,
        },
        end(&world, "acme"),
        OperatorBody::RegisterIssuer { plane: Plane::Peer, certificate: b"x".to_vec(), acceptances: Vec::new() },
        issue_node_body("t", "n9", "r0"),
        OperatorBody::CreateShard { slots: vec!["n0".parse().unwrap()] },
    ] {
        assert_eq!(refused(world.operator_as(OFFICER, body.clone())), Refusal::Role, "{body:?}");
    }
    let revoked = OperatorBody::PutRevocations { issuer, number: 1, revocations: vec![1] };
    for body in [suspend(&world, "acme", ""), resume(&world, "acme"), revoked, OperatorBody::RetireIssuer { issuer }] {
        done(world.operator_as(OFFICER, body));
    }
}

fn register(world: &World, certificate: &[u8], tenants: &[&str]) -> OperatorBody {
    OperatorBody::RegisterIssuer {
        plane: Plane::Tenant,
        certificate: certificate.to_vec(),
        acceptances: tenants.iter().map(|name| world.tenant(name).accepts(certificate, 1)).collect(),
    }
}

fn tenants_of(world: &World, certificate: &[u8]) -> Option<Vec<TenantId>> {
    world.map().issuers.into_iter().find(|row| row.certificate == certificate).map(|row| row.tenants)
}

#[test]
fn n102_a_ca_is_registered_for_exactly_the_tenants_whose_root_keys_accepted_it() {
    let mut world = World::new();
    let (acme, globex) = (world.tenant("acme").id, world.tenant("globex").id);
    let body = register(&world, b"corporate", &["acme"]);
    done(world.operator(body.clone()));
    assert_eq!(tenants_of(&world, b"corporate"), Some(vec![acme]));
    done(world.operator(body));
    let body = register(&world, b"corporate", &["globex"]);
    done(world.operator(body));
    let mut both = vec![acme, globex];
    both.sort_unstable();
    assert_eq!(tenants_of(&world, b"corporate"), Some(both));

    let acceptance = IssuerAcceptance {
        tenant: acme,
        cluster: crate::group::epoch(),
        issuer: issuer_digest(b"other"),
        version: StatementVersion(1),
    };
    let by_acme = |acceptance: &IssuerAcceptance| world.tenant("acme").sign(acceptance);
    let bad = [
        // By another's root; for another CA; for another life; of nobody; garbled.
        world.tenant("globex").sign(&acceptance),
        by_acme(&IssuerAcceptance { issuer: issuer_digest(b"corporate"), ..acceptance.clone() }),
        by_acme(&IssuerAcceptance { cluster: ClusterEpoch::from_bytes([1; 16]), ..acceptance.clone() }),
        by_acme(&IssuerAcceptance { tenant: TenantId::from_bytes([9; 16]), ..acceptance.clone() }),
        vec![1, 2, 3],
    ];
    for (number, bad) in bad.into_iter().enumerate() {
        let body = OperatorBody::RegisterIssuer {
            plane: Plane::Tenant,
            certificate: b"other".to_vec(),
            acceptances: vec![world.tenant("acme").accepts(b"other", 1), bad],
        };
        assert!(matches!(world.operator(body), Outcome::Refused(_)), "{number}");
        assert_eq!(tenants_of(&world, b"other"), None, "{number}: all or nothing");
    }
}

#[test]
fn n102_a_ca_serves_one_plane_and_an_older_acceptance_never_follows_a_newer_one() {
    let mut world = World::new();
    let plane = |plane, certificate: &[u8], acceptances| OperatorBody::RegisterIssuer {
        plane,
        certificate: certificate.to_vec(),
        acceptances,
    };
    let accepted = vec![world.tenant("acme").accepts(b"peer ca", 1)];
    for body in [
        plane(Plane::Tenant, b"peer ca", accepted.clone()),
        plane(Plane::Operator, b"peer ca", Vec::new()),
        plane(Plane::Peer, b"ca of acme", Vec::new()),
        plane(Plane::Tenant, b"new", Vec::new()),
        plane(Plane::Peer, b"new", accepted),
        plane(Plane::Peer, b"", Vec::new()),
        plane(Plane::Peer, &[7; 16 * 1024 + 1], Vec::new()),
    ] {
        assert!(matches!(refused(world.operator(body)), Refusal::Invalid { .. }));
    }
    done(world.operator(plane(Plane::Peer, b"new", Vec::new())));
    for (version, refusal) in [(5, None), (5, None), (4, Some(Refusal::VersionConflict)), (6, None)] {
        let body = plane(Plane::Tenant, b"corporate", vec![world.tenant("acme").accepts(b"corporate", version)]);
        match refusal {
            None => drop(done(world.operator(body))),
            Some(refusal) => assert_eq!(refused(world.operator(body)), refusal),
        }
    }
}

#[test]
fn a_retired_ca_is_gone_for_ever_and_the_last_one_of_a_plane_stays() {
    let mut world = World::new();
    let retire = |certificate: &[u8]| OperatorBody::RetireIssuer { issuer: issuer_digest(certificate) };
    for last in [b"peer ca".as_slice(), b"operator ca"] {
        assert!(matches!(refused(world.operator(retire(last))), Refusal::Invalid { .. }));
    }
    let body =
        OperatorBody::RegisterIssuer { plane: Plane::Peer, certificate: b"new".to_vec(), acceptances: Vec::new() };
    done(world.operator(body));
    done(world.operator(retire(b"peer ca")));
    done(world.operator(retire(b"ca of acme")));
    assert_eq!(tenants_of(&world, b"ca of acme"), None);
    assert!(world.map().tenants.iter().find(|row| row.facts.name.to_string() == "acme").unwrap().issuers.is_empty());
    assert_eq!(refused(world.operator(retire(b"ca of acme"))), Refusal::NotFound);
    let body = register(&world, b"ca of acme", &["acme"]);
    assert_eq!(refused(world.operator(body)), Refusal::NameRetired);
    let issuer = issuer_digest(b"ca of acme");
    let revoked = OperatorBody::PutRevocations { issuer, number: 1, revocations: vec![1] };
    assert_eq!(refused(world.operator(revoked)), Refusal::NotFound);
    // A new tenant cannot bring it back either.
    let mut founding = world.tenant("acme").founding();
    (founding.name, founding.tenant) = ("initech".parse().unwrap(), TenantId::from_bytes([3; 16]));
    let body = OperatorBody::CreateTenant {
        name: "initech".parse().unwrap(),
        founding: codec::encode(&founding.sign(&world.tenant("acme").root).unwrap()),
        issuers: vec![b"ca of acme".to_vec()],
        home: None,
        width: 1,
    };
    assert_eq!(refused(world.operator(body)), Refusal::NameRetired);
    let body = register(&world, b"ca of acme, the second", &["acme"]);
    done(world.operator(body));
}

#[test]
fn a_cas_revocations_only_grow_in_number_and_are_bounded() {
    let mut world = World::new();
    let issuer = issuer_digest(b"ca of acme");
    let put = |number, bytes: usize| OperatorBody::PutRevocations { issuer, number, revocations: vec![7; bytes] };
    done(world.operator(put(3, 10)));
    for number in [0, 2, 3] {
        assert_eq!(refused(world.operator(put(number, 11))), Refusal::VersionConflict);
    }
    done(world.operator(put(9, REVOCATIONS_BYTES_MAX)));
    for bytes in [0, REVOCATIONS_BYTES_MAX + 1] {
        assert!(matches!(refused(world.operator(put(10, bytes))), Refusal::Limit { .. }));
    }
    let row = world.map().issuers.into_iter().find(|row| row.certificate == b"ca of acme").unwrap();
    let revocations = row.revocations.unwrap();
    assert_eq!((revocations.number, revocations.list.len()), (9, REVOCATIONS_BYTES_MAX));
    assert_eq!(row.tenants.len(), 1, "whom it serves is not touched");
    let stranger = OperatorBody::PutRevocations { issuer: issuer_digest(b"x"), number: 1, revocations: vec![1] };
    assert_eq!(refused(world.operator(stranger)), Refusal::NotFound);
}

#[test]
fn a_suspended_tenants_token_makes_nobody_and_time_goes_on_for_it() {
    let mut world = World::founded(&genesis(1, 1, 1));
    world.create_tenant("acme", 1);
    let mut admin = world.open_session("acme", ADMIN);
    done(world.submit("acme", ADMIN, &mut admin, issue_body("t", "web-3", &[Role::Writer])));
    let body = suspend(&world, "acme", "");
    done(world.operator(body));
    world.carry("acme");
    let redemption = world.tenant("acme").redeem("t", "web-3");
    assert_eq!(refused(world.group(SHARD).redeem(redemption.clone())), Refusal::TenantSuspended);
    world.pass(MINUTE_MS);
    let body = resume(&world, "acme");
    done(world.operator(body));
    world.carry("acme");
    done(world.group(SHARD).redeem(redemption));
}
