//! Quotas: who may set them, what they refuse, that they add up over shards, and that nothing leaks. The laws run after
//! every entry: usage recounts, and nothing is added beyond a hard quota.

use strongroom_core::entry::NodeCommand;
use strongroom_core::query::{Answer, Charge, Charges, Query};
use strongroom_format::codec;
use strongroom_format::command::{Body, OperatorBody};
use strongroom_format::id::GroupId;
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::quota::{Measure, Quota, QuotaOwner, QuotaSubject, Quotas, TenantLimits};
use strongroom_format::receipt::{AuditEvent, AuditRecord};

use crate::backup::{Backup, Piece, back_up};
use crate::group::{HOUR_MS, claim, done, identity, refused};
use crate::tenant::{ADMIN, OFFICER, OPERATOR, OTHER_WRITER, RESTORER, WRITER};
use crate::world::World;

fn hard(measure: Measure, hard: u64) -> Quotas {
    let quota = |of| if of == measure { Quota { soft: None, hard: Some(hard) } } else { Quota::default() };
    Quotas {
        logical_bytes: quota(Measure::LogicalBytes),
        stored_bytes: quota(Measure::StoredBytes),
        snapshots: quota(Measure::Snapshots),
        sessions: quota(Measure::Sessions),
    }
}

fn vault(world: &World) -> QuotaSubject {
    QuotaSubject::Vault(world.tenant("acme").vault)
}

fn writer(name: &str) -> QuotaSubject {
    QuotaSubject::Writer(identity(name))
}

fn set_as(world: &mut World, who: &str, of: QuotaSubject, quotas: Quotas) -> Outcome {
    let mut session = world.open_session("acme", who);
    world.submit("acme", who, &mut session, Body::SetQuotas { of, quotas })
}

fn set(world: &mut World, of: QuotaSubject, quotas: Quotas) {
    done(set_as(world, ADMIN, of, quotas));
}

fn limit(world: &mut World, quotas: Quotas) {
    let limits = TenantLimits { quotas, upload_bytes_per_second: None };
    let tenant = world.tenant("acme").id;
    done(world.operator(OperatorBody::LimitTenant { tenant, limits, reason: "contract".into() }));
    world.carry("acme");
}

fn charges(world: &World, group: GroupId) -> Charges {
    match world.groups[&group].ask(&Query::Charges { tenant: world.tenant("acme").id, by: None }) {
        Answer::Charges(charges) => charges,
        other => panic!("{other:?}"),
    }
}

fn tenants(world: &World, group: GroupId) -> Charge {
    charges(world, group).tenant.unwrap()
}

fn refused_by(outcome: Outcome) -> (QuotaOwner, Measure) {
    match refused(outcome) {
        Refusal::Quota { of, measure, hard, charged, asked } => {
            assert!(hard < charged + asked, "{hard} < {charged} + {asked}");
            (of, measure)
        }
        other => panic!("{other:?}"),
    }
}

/// A backup that is not opened yet.
fn backup(world: &mut World, who: &str, name: &str) -> Backup {
    let session = world.open_session("acme", who);
    Backup::new(world, "acme", who, session, name)
}

#[test]
fn n62_n117_a_writer_that_fills_its_snapshots_evicts_nothing_and_stops_nobody_else() {
    let mut world = World::new();
    let real = back_up(&mut world, "acme", OTHER_WRITER, "real", &["a", "b"]);
    set(&mut world, writer(WRITER), hard(Measure::Snapshots, 3));
    let mut open = Vec::new();
    for number in 0..10 {
        let mut tiny = backup(&mut world, WRITER, &format!("tiny {number}"));
        match number {
            // One that is only opened counts too.
            0 => drop(done(tiny.open(&mut world))),
            1 | 2 => {
                tiny.prepare(&mut world, &["t"]);
                done(tiny.commit(&mut world));
            }
            _ => assert_eq!(refused_by(tiny.open(&mut world)), (QuotaOwner::Writer, Measure::Snapshots)),
        }
        open.push(tiny);
    }
    back_up(&mut world, "acme", OTHER_WRITER, "another", &["a", "c"]);
    let home = world.tenant("acme").home;
    let query = Query::Decision { tenant: world.tenant("acme").id, snapshot: real };
    assert!(matches!(world.groups[&home].ask(&query), Answer::Decision(_)));
    // What is given up makes room for one.
    let snapshot = open[0].snapshot;
    done(open[0].submit(&mut world, home, Body::AbortSnapshot { snapshot }));
    done(backup(&mut world, WRITER, "room").open(&mut world));
    refused_by(backup(&mut world, WRITER, "no room").open(&mut world));
}

#[test]
fn n117_a_writer_that_fills_its_bytes_gets_no_more_and_others_do() {
    let mut world = World::new();
    let shards = world.tenant("acme").groups.len() as u64;
    set(&mut world, writer(WRITER), hard(Measure::StoredBytes, shards * (9 << 20)));
    // A session's own lease takes 8 MiB of the share at home, the first snapshot the rest.
    let mut first = backup(&mut world, WRITER, "first");
    done(first.open(&mut world));
    let mut second = backup_in(&first, &world, "second");
    assert_eq!(refused_by(second.open(&mut world)), (QuotaOwner::Writer, Measure::StoredBytes));
    back_up(&mut world, "acme", OTHER_WRITER, "other", &["a"]);
    // Ending it gives back what was not written. They number their commands in one session.
    let home = world.tenant("acme").home;
    let snapshot = first.snapshot;
    done(second.submit(&mut world, home, Body::AbortSnapshot { snapshot }));
    done(second.open(&mut world));
}

/// Another snapshot in the same sessions.
fn backup_in(of: &Backup, world: &World, name: &str) -> Backup {
    let home = of.home(world);
    Backup::new(world, "acme", &of.writer, of.sessions[&home], name)
}

#[test]
fn a_tenants_bytes_are_granted_in_shares_that_never_exceed_the_whole_and_nothing_leaks() {
    let mut world = World::new();
    let groups = world.tenant("acme").groups.clone();
    let home = world.tenant("acme").home;
    assert_eq!(groups.len(), 3, "the test is about several shards");
    let whole = 3 * (12 << 20) + 2;
    limit(&mut world, hard(Measure::StoredBytes, whole));
    let mut first = backup(&mut world, WRITER, "first");
    let (mut granted, mut partial) = (0, 0);
    done(first.open(&mut world));
    for group in groups.iter().copied().filter(|group| *group != home) {
        done(first.join(&mut world, group));
    }
    // Every lease takes what it can get.
    for group in groups.iter().copied() {
        let lease = first.leases[&group];
        loop {
            match first.submit(&mut world, group, Body::TopUp { lease, bytes: 5 << 20 }) {
                Outcome::Done(Done::ToppedUp { budget_bytes }) => {
                    partial += u64::from(!budget_bytes.is_multiple_of(1 << 20));
                }
                refused => {
                    assert_eq!(refused_by(refused), (QuotaOwner::Tenant, Measure::StoredBytes));
                    break;
                }
            }
        }
        granted += tenants(&world, group).reserved_bytes;
    }
    assert_eq!(granted, whole, "all of it, and no byte more");
    assert!(0 < partial, "a share is given to its last byte");
    // Writing changes nothing of what is charged; the end gives back what was not written.
    first.fill(&mut world, home, &[Piece::new("a", 0)]);
    let charge = tenants(&world, home);
    assert!(0 < charge.stored_bytes);
    assert_eq!(charge.stored_bytes + charge.reserved_bytes, 12 * (1 << 20) + 2);
    world.pass(7 * HOUR_MS);
    world.decide();
    for group in groups {
        assert_eq!(tenants(&world, group).reserved_bytes, 0, "{group}");
    }
    back_up(&mut world, "acme", WRITER, "after", &["b"]);
}

#[test]
fn a_commit_beyond_the_logical_bytes_is_refused_and_changes_nothing() {
    let mut world = World::new();
    let mut backup = backup(&mut world, WRITER, "one");
    backup.prepare(&mut world, &["a", "b", "c", "d"]);
    let home = world.tenant("acme").home;
    let envelope = backup.envelope(&world);
    let logical = envelope.parts.iter().map(|part| part.stored_bytes).sum::<u64>() + envelope.manifest.stored_bytes;
    let of = vault(&world);
    set(&mut world, of, hard(Measure::LogicalBytes, logical - 1));
    assert_eq!(refused_by(backup.commit(&mut world)), (QuotaOwner::Vault, Measure::LogicalBytes));
    assert_eq!((tenants(&world, home).snapshots, tenants(&world, home).undecided), (0, 1));
    let of = vault(&world);
    set(&mut world, of, hard(Measure::LogicalBytes, logical));
    done(backup.commit(&mut world));
    let charge = tenants(&world, home);
    assert_eq!((charge.logical_bytes, charge.snapshots, charge.undecided), (logical, 1, 0));
    // It is full to the last byte: whoever asks hears it before anything is sent.
    let mut next = self::backup(&mut world, OTHER_WRITER, "two");
    assert_eq!(refused_by(next.open(&mut world)), (QuotaOwner::Vault, Measure::LogicalBytes));
}

#[test]
fn what_a_session_writes_for_no_vault_in_particular_is_kept_by_the_vaults_quota_too() {
    let mut world = World::new();
    let piece = Piece::new("a", 0);
    let mut backup = backup(&mut world, WRITER, "one");
    done(backup.open(&mut world));
    let home = backup.home(&world);
    let reserved = charges(&world, home).vaults[0].2.reserved_bytes;
    // Room for what the snapshot has reserved, and for nothing beside it.
    let shards = world.tenant("acme").groups.len() as u64;
    let of = vault(&world);
    set(&mut world, of, hard(Measure::StoredBytes, shards * reserved));
    backup.leases.insert(home, backup.sessions[&home].lease);
    assert_eq!(refused_by(backup.register(&mut world, home, &[piece])), (QuotaOwner::Vault, Measure::StoredBytes));
}

#[test]
fn sessions_are_counted_per_writer_and_tenant() {
    let mut world = World::new();
    set(&mut world, writer(WRITER), hard(Measure::Sessions, 2));
    let home = world.tenant("acme").home;
    let mut sessions = [world.open_session("acme", WRITER), world.open_session("acme", WRITER)];
    let third = world.open_session_command("acme", WRITER, 0);
    assert_eq!(refused_by(world.group(home).client(third)), (QuotaOwner::Writer, Measure::Sessions));
    world.open_session("acme", OTHER_WRITER);
    done(world.submit("acme", WRITER, &mut sessions[0], Body::EndSession));
    world.open_session("acme", WRITER);
    let there = tenants(&world, home).sessions;
    limit(&mut world, hard(Measure::Sessions, there));
    let more = world.open_session_command("acme", RESTORER, 0);
    assert_eq!(refused_by(world.group(home).client(more)), (QuotaOwner::Tenant, Measure::Sessions));
}

#[test]
fn admins_set_quotas_of_what_is_there_and_what_makes_sense() {
    let mut world = World::new();
    let quotas = hard(Measure::Snapshots, 7);
    for who in [WRITER, RESTORER] {
        let of = vault(&world);
        assert_eq!(refused(set_as(&mut world, who, of, quotas)), Refusal::Role, "{who}");
    }
    let elsewhere = QuotaSubject::Vault(world.tenant("globex").vault);
    for of in [elsewhere, writer("nobody")] {
        assert_eq!(refused(set_as(&mut world, ADMIN, of, quotas)), Refusal::NotFound);
    }
    let upside_down = Quotas { snapshots: Quota { soft: Some(8), hard: Some(7) }, ..Quotas::default() };
    for (of, quotas) in
        [(vault(&world), upside_down), (writer(WRITER), upside_down), (vault(&world), hard(Measure::Sessions, 7))]
    {
        assert!(matches!(refused(set_as(&mut world, ADMIN, of, quotas)), Refusal::Invalid { .. }), "{quotas:?}");
    }
    let of = vault(&world);
    set(&mut world, of, quotas);
    let home = world.tenant("acme").home;
    assert_eq!(charges(&world, home).vaults[0].2.quotas, quotas);
    // A writer sees its own and nothing else.
    let by = Some(identity(WRITER));
    let Answer::Charges(own) = world.groups[&home].ask(&Query::Charges { tenant: world.tenant("acme").id, by }) else {
        panic!()
    };
    assert_eq!((own.tenant, own.vaults.len(), own.writers.len()), (None, 0, 1));
}

#[test]
fn a_tenants_limits_are_an_operators_word_that_every_shard_gets_and_its_own_log_keeps() {
    let mut world = World::new();
    let tenant = world.tenant("acme").id;
    let limits = |hard_snapshots| TenantLimits {
        quotas: hard(Measure::Snapshots, hard_snapshots),
        upload_bytes_per_second: Some(1 << 20),
    };
    let body = |limits, reason: &str| OperatorBody::LimitTenant { tenant, limits, reason: reason.into() };
    assert_eq!(refused(world.operator_as(OFFICER, body(limits(1), ""))), Refusal::Role);
    let too_slow = TenantLimits { upload_bytes_per_second: Some(1), ..TenantLimits::default() };
    assert!(matches!(refused(world.operator(body(too_slow, ""))), Refusal::Invalid { .. }));

    let before = world.facts("acme");
    done(world.operator(body(limits(5), "contract 17")));
    world.carry("acme");
    done(world.operator(body(limits(1), "not paid")));
    world.carry("acme");
    for group in world.tenant("acme").groups.clone() {
        assert_eq!(charges(&world, group).upload_bytes_per_second, Some(1 << 20), "{group}");
        // Old news is no news, nor is another word under the same number.
        let mut other = world.facts("acme");
        other.limited.limits = limits(9);
        for facts in [before.clone(), other] {
            let told = world.group(group).node(NodeCommand::AdmitTenant(claim(facts)));
            assert_eq!(refused(told), Refusal::VersionConflict);
        }
    }
    back_up(&mut world, "acme", WRITER, "one", &["a"]);
    let mut second = backup(&mut world, WRITER, "two");
    assert_eq!(refused_by(second.open(&mut world)), (QuotaOwner::Tenant, Measure::Snapshots));

    let home = world.tenant("acme").home;
    let query = Query::Leaves { tenant, from: 0, limit: 1000 };
    let Answer::Leaves(leaves) = world.groups[&home].ask(&query) else { panic!() };
    let decided: Vec<_> = leaves
        .iter()
        .map(|leaf| codec::decode::<AuditRecord>(&leaf.record).unwrap())
        .filter_map(|record| match record.event {
            AuditEvent::Decision { kind: 0x8009, principal, reason, allowed: true, .. } => {
                Some((principal.to_string(), reason))
            }
            _ => None,
        })
        .collect();
    assert_eq!(decided, [(OPERATOR.into(), "contract 17".into()), (OPERATOR.into(), "not paid".into())]);
}

#[test]
fn a_domain_is_one_writers_and_never_anothers() {
    let mut world = World::new();
    let mut card = world.tenant("acme").card(OTHER_WRITER, 2);
    card.domain = world.tenant("acme").card(WRITER, 1).domain;
    let card = world.tenant("acme").sign(&card);
    let mut admin = world.open_session("acme", ADMIN);
    assert_eq!(refused(world.submit("acme", ADMIN, &mut admin, Body::PutCard { card })), Refusal::Immutable);
}
