//! The laws bite: a row that is taken away or changed behind the rules' back is found, and by which law.

use std::collections::BTreeMap;

use strongroom_core::digest::recompute;
use strongroom_core::laws::{self, State};
use strongroom_core::machine::DIGEST_TABLE;
use strongroom_core::tables::{MemoryTables, Table, Tables};
use strongroom_format::command::{Body, OperatorBody};
use strongroom_format::ending::EndOrder;
use strongroom_format::id::GroupId;
use strongroom_format::quota::{Quota, QuotaSubject, Quotas};
use strongroom_format::role::{Plane, Role};
use strongroom_format::statement::issuer_digest;

use crate::backup::{Backup, Piece, back_up};
use crate::group::{done, identity, signing_key};
use crate::tenant::{ADMIN, RESTORER, WRITER, issue_body};
use crate::world::{World, issue_node_body, redeem_node};

/// A cluster with a row in every table.
fn lived_in() -> World {
    let mut world = World::unlocked(&["acme"]);
    let ended = ["gone", "going"].map(|name| back_up(&mut world, "acme", WRITER, name, &["a", name]));
    world.collect(0);
    for snapshot in ended {
        let mut admin = world.open_session("acme", ADMIN);
        let order = EndOrder::DeleteSnapshot { snapshot, reason: "test".into() };
        done(world.submit("acme", ADMIN, &mut admin, Body::End(order)));
    }
    let home = world.tenant("acme").home;
    // One of the two, and not what hangs on it.
    world.collect_in(home, 1, 0);
    let snapshot = back_up(&mut world, "acme", WRITER, "one", &["a", "b", "c", "d"]);
    let mut restorer = world.open_session("acme", RESTORER);
    let body = Body::OpenRestore { snapshots: vec![snapshot], purpose: "test".into(), lifetime_ms: 1000 };
    done(world.submit("acme", RESTORER, &mut restorer, body));
    for (name, seal) in [("sealed", true), ("open", false)] {
        let session = world.open_session("acme", WRITER);
        let mut backup = Backup::new(&world, "acme", WRITER, session, name);
        done(backup.open(&mut world));
        for group in backup.groups.clone() {
            if group != backup.home(&world) {
                done(backup.join(&mut world, group));
            }
            backup.fill(&mut world, group, &[Piece::new(name, 0)]);
            if seal {
                done(backup.seal(&mut world, group));
            }
        }
    }
    let mut admin = world.open_session("acme", ADMIN);
    let quotas = Quotas { snapshots: Quota { soft: Some(90), hard: Some(100) }, ..Quotas::default() };
    for of in [QuotaSubject::Vault(world.tenant("acme").vault), QuotaSubject::Writer(identity(WRITER))] {
        done(world.submit("acme", ADMIN, &mut admin, Body::SetQuotas { of, quotas }));
    }
    for (name, who) in [("used", "web-3"), ("open", "web-4")] {
        done(world.submit("acme", ADMIN, &mut admin, issue_body(name, who, &[Role::Writer])));
    }
    let redemption = world.tenant("acme").redeem("used", "web-3");
    let home = world.tenant("acme").home;
    done(world.group(home).redeem(redemption));
    for (name, node) in [("used node", "n8"), ("open node", "n9")] {
        done(world.operator(issue_node_body(name, node, "r0")));
    }
    done(world.cluster().redeem(redeem_node("used node", &signing_key("node 8"), 9000)));
    for certificate in [b"kept".as_slice(), b"retired"] {
        let acceptances = vec![world.tenant("acme").accepts(certificate, 1)];
        let (plane, certificate) = (Plane::Tenant, certificate.to_vec());
        done(world.operator(OperatorBody::RegisterIssuer { plane, certificate, acceptances }));
    }
    done(world.operator(OperatorBody::RetireIssuer { issuer: issuer_digest(b"retired") }));
    world.pass(1);
    world
}

/// Like a thorough forger: the digest is right again.
fn forge(tables: &mut MemoryTables, group: GroupId) {
    let digest = recompute(group, tables.rows());
    tables.put(DIGEST_TABLE, &[], digest.as_bytes()).unwrap();
}

fn found_by(group: GroupId, before: &MemoryTables, after: &MemoryTables) -> Option<&'static str> {
    let (before, after) = (State::of(group, before), State::of(group, after));
    let broken = laws::check(&after).and_then(|()| laws::check_step(&before, &after));
    broken.err().map(|broken| broken.law)
}

#[test]
fn any_changed_row_changes_the_digest() {
    let world = lived_in();
    for (group, of) in &world.groups {
        let rows: Vec<_> = of.tables.rows().map(|(table, key, _)| (table, key.to_vec())).collect();
        for (table, key) in rows.into_iter().filter(|(table, _)| *table != DIGEST_TABLE).step_by(7) {
            let mut tables = of.tables.clone();
            tables.delete(table, &key).unwrap();
            let law = found_by(*group, &of.tables, &tables);
            assert_eq!(law, Some("digest_is_the_recomputed_one"), "{table:?}");
        }
    }
}

#[test]
fn a_row_that_is_taken_away_is_found_although_the_digest_was_forged() {
    let world = lived_in();
    let mut unfound: BTreeMap<(u32, u8), usize> = BTreeMap::new();
    let mut tried: BTreeMap<u8, usize> = BTreeMap::new();
    for (group, of) in &world.groups {
        let rows: Vec<_> = of.tables.rows().map(|(table, key, _)| (table, key.to_vec())).collect();
        for (table, key) in rows.into_iter().filter(|(table, _)| *table != DIGEST_TABLE) {
            if 6 < *tried.entry(table.0).and_modify(|count| *count += 1).or_insert(1) {
                continue;
            }
            let mut tables = of.tables.clone();
            tables.delete(table, &key).unwrap();
            forge(&mut tables, *group);
            if found_by(*group, &of.tables, &tables).is_none() {
                *unfound.entry((group.0.min(1), table.0)).or_insert(0) += 1;
            }
        }
    }
    // Outcomes leave with their window; a card that nothing was made under, a wrap that nothing was sealed under, a
    // domain elsewhere, the lease of a session, ends of what has ended, who is still to be told of an end, what was brought
    // and is named, operators and their answers: only the digest finds those.
    let only_by_digest = [(0, 10), (0, 15), (0, 16), (1, 13), (1, 16), (1, 22), (1, 24), (1, 33), (1, 34), (1, 44)];
    let others: Vec<_> = unfound.keys().filter(|of| !only_by_digest.contains(of)).collect();
    assert!(others.is_empty(), "rows of (shard?, table) went unfound: {others:?}");
    for table in [
        18, 19, 20, 21, 22, 23, 24, 25, 26, 30, 31, 32, 33, 34, 40, 41, 42, 43, 44, 45, 46, 47, 48, 50, 51, 52, 53, 54,
        55, 56, 60, 61, 62, 63, 64, 65, 90, 91, 92, 93, 94,
    ] {
        assert!(tried.contains_key(&table), "no row in table {table}");
    }
}

#[test]
fn a_count_that_is_off_by_one_is_found_by_the_recount() {
    let world = lived_in();
    for (group, of) in world.groups.iter().filter(|(group, _)| **group != GroupId::CLUSTER) {
        for table in [Table(40), Table(42)] {
            let row =
                of.tables.rows().find(|(of, ..)| *of == table).map(|(_, key, value)| (key.to_vec(), value.to_vec()));
            let Some((key, mut value)) = row else { continue };
            // The count stands first, behind the version.
            value[1] ^= 1;
            let mut tables = of.tables.clone();
            tables.put(table, &key, &value).unwrap();
            forge(&mut tables, *group);
            assert_eq!(found_by(*group, &of.tables, &tables), Some("counts_recount"));
        }
    }
}

#[test]
fn time_that_was_put_ahead_is_found() {
    let world = lived_in();
    for (group, of) in &world.groups {
        // The clock stands behind version, E and where it began; a voter's baseline ends with its E.
        for (table, from_start, law) in
            [(2, Some(17 + 6), "clock_is_never_ahead"), (4, None, "no_voter_keeps_time_in_hand")]
        {
            let row = of.tables.rows().find(|(found, ..)| found.0 == table);
            let (key, mut value) = row.map(|(_, key, value)| (key.to_vec(), value.to_vec())).unwrap();
            let at = from_start.unwrap_or(value.len() - 2);
            value[at] ^= 1;
            let mut tables = of.tables.clone();
            tables.put(Table(table), &key, &value).unwrap();
            forge(&mut tables, *group);
            assert_eq!(found_by(*group, &of.tables, &tables), Some(law));
        }
    }
}

#[test]
fn n90_an_edited_audit_leaf_is_found_by_the_tree() {
    let world = lived_in();
    let home = world.tenant("acme").home;
    let of = &world.groups[&home];
    let leaf = of.tables.rows().find(|(table, ..)| table.0 == 61).map(|(_, key, value)| (key.to_vec(), value.to_vec()));
    let (key, mut value) = leaf.unwrap();
    // A bit of the salt.
    value[3] ^= 1;
    let mut tables = of.tables.clone();
    tables.put(Table(61), &key, &value).unwrap();
    forge(&mut tables, home);
    assert_eq!(found_by(home, &of.tables, &tables), Some("audit_head_is_the_tree"));
}
