//! The audit log at any size that it ever had: heads, leaves, consistency, pages; and refusals beyond the budget.

use proptest::prelude::*;
use strongroom_core::query::{Answer, ListedLeaf, LogHead, Query};
use strongroom_format::codec;
use strongroom_format::command::Body;
use strongroom_format::id::GroupId;
use strongroom_format::merkle::{self, Frontier};
use strongroom_format::outcome::{Outcome, Refusal};
use strongroom_format::receipt::{AuditEvent, AuditRecord};

use crate::backup::back_up;
use crate::group::{MINUTE_MS, cases, done, identity, refused};
use crate::tenant::{ADMIN, RESTORER, WRITER};
use crate::world::World;

const SHARD: GroupId = GroupId(1);

/// A log of some dozens of leaves, and its leaves.
fn long() -> (World, Vec<ListedLeaf>) {
    let mut world = World::single();
    for name in ["one", "two", "three"] {
        back_up(&mut world, "acme", WRITER, name, &["a", name]);
    }
    world.pass(MINUTE_MS);
    let leaves = leaves(&world, 0, 1000);
    assert!(12 < leaves.len(), "{}", leaves.len());
    (world, leaves)
}

fn leaves(world: &World, from: u64, limit: u32) -> Vec<ListedLeaf> {
    match world.groups[&SHARD].ask(&Query::Leaves { tenant: world.tenant("acme").id, from, limit }) {
        Answer::Leaves(leaves) => leaves,
        other => panic!("{other:?}"),
    }
}

fn head(world: &World, size: Option<u64>) -> Option<LogHead> {
    match world.groups[&SHARD].ask(&Query::Head { tenant: world.tenant("acme").id, size }) {
        Answer::Head(head) => Some(head),
        Answer::NotFound => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_root_at_every_size_is_that_of_the_leaves_up_to_there() {
    let (world, leaves) = long();
    let mut frontier = Frontier::default();
    for size in 0..=leaves.len() as u64 {
        let head = head(&world, Some(size)).unwrap();
        assert_eq!((head.size, head.root), (size, frontier.root()));
        if let Some(leaf) = leaves.get(usize::try_from(size).unwrap()) {
            assert_eq!(leaf.leaf_index, size);
            frontier.append(merkle::leaf_hash(&leaf.salt, &leaf.record));
        }
    }
    let now = head(&world, None).unwrap();
    assert_eq!(Some(now), head(&world, Some(now.size)));
    for beyond in [now.size + 1, u64::MAX] {
        assert_eq!(head(&world, Some(beyond)), None);
    }
}

#[test]
fn leaves_are_listed_by_pages_without_a_gap() {
    let (world, all) = long();
    let mut paged = Vec::new();
    loop {
        let page = leaves(&world, paged.len() as u64, 7);
        assert!(page.len() <= 7);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert_eq!(leaves(&world, all.len() as u64, 5), []);
    assert_eq!(leaves(&world, u64::MAX, u32::MAX), []);
    assert_eq!(leaves(&world, 0, 0), []);
}

#[test]
fn n92_n24_n26_another_tenants_log_and_people_are_as_if_absent_whatever_page_is_asked_for() {
    let mut world = World::founded(&crate::world::genesis(3, 3, 1));
    for tenant in ["acme", "globex"] {
        world.create_tenant(tenant, 1);
        world.settle(tenant);
    }
    back_up(&mut world, "globex", WRITER, "one", &["a", "b", "c"]);
    let (acme, globex) = (world.tenant("acme").id, world.tenant("globex").id);
    let group = &world.groups[&SHARD];
    let Answer::Head(theirs) = group.ask(&Query::Head { tenant: globex, size: None }) else { panic!() };
    let Answer::Head(ours) = group.ask(&Query::Head { tenant: acme, size: None }) else { panic!() };
    assert!(ours.size < theirs.size);
    for query in [
        Query::Head { tenant: acme, size: Some(theirs.size) },
        Query::Leaf { tenant: acme, leaf_index: 0, size: Some(theirs.size) },
        Query::Leaf { tenant: acme, leaf_index: theirs.size - 1, size: None },
        Query::Consistency { tenant: acme, old: 1, new: Some(theirs.size) },
    ] {
        assert_eq!(group.ask(&query), Answer::NotFound, "{query:?}");
    }
    // Pages are positions in the asker's own rows: another's leads nowhere else.
    let Answer::Leaves(leaves) = group.ask(&Query::Leaves { tenant: acme, from: ours.size - 1, limit: 1000 }) else {
        panic!()
    };
    assert_eq!(leaves.len(), 1);
    let canaries = [globex.as_bytes().to_vec(), b"globex".to_vec()];
    for after in [None, Some("a"), Some("albert"), Some("web-2"), Some("zzz")] {
        let query = Query::Identities { tenant: acme, after: after.map(identity), limit: u32::MAX };
        let answer = group.ask(&query);
        let Answer::Identities(people) = &answer else { panic!("{answer:?}") };
        let order = |name: &str| (name.len(), name.to_owned());
        let behind = |one: &str| after.is_none_or(|after| order(after) < order(one));
        assert!(people.iter().all(|(one, _)| behind(&one.to_string())), "{after:?}");
        let bytes = codec::encode(&answer);
        assert!(!canaries.iter().any(|canary| bytes.windows(canary.len()).any(|window| window == canary.as_slice())));
        for (one, row) in people {
            assert_eq!(row.signing_key, world.tenant("acme").key(&one.to_string()).public_key());
        }
    }
}

#[test]
fn identities_are_listed_by_pages_closed_ones_too() {
    let mut world = World::single();
    let mut admin = world.open_session("acme", ADMIN);
    let close = Body::CloseIdentity { identity: identity(WRITER), reason: String::new() };
    done(world.submit("acme", ADMIN, &mut admin, close));
    let tenant = world.tenant("acme").id;
    let page = |after, limit| match world.groups[&SHARD].ask(&Query::Identities { tenant, after, limit }) {
        Answer::Identities(people) => people,
        other => panic!("{other:?}"),
    };
    let all = page(None, 100);
    let names: Vec<String> = all.iter().map(|(one, _)| one.to_string()).collect();
    assert_eq!(names, ["ada", "lena", "rita", "berta", "web-1", "web-2", "albert"], "by length, then by letters");
    assert!(all.iter().all(|(one, row)| row.open == (one.to_string() != WRITER)));
    let mut paged = Vec::new();
    while let Some(last) = page(paged.last().map(|(one, _): &(_, _)| one).cloned(), 2).into_iter().next() {
        paged.push(last);
    }
    assert_eq!(paged, all);
}

#[test]
fn n22_a_restore_with_one_foreign_snapshot_among_its_own_pins_nothing() {
    let mut world = World::founded(&crate::world::genesis(3, 3, 1));
    for tenant in ["acme", "globex"] {
        world.create_tenant(tenant, 1);
        world.settle(tenant);
    }
    let own = back_up(&mut world, "acme", WRITER, "mine", &["a"]);
    let foreign = back_up(&mut world, "globex", WRITER, "theirs", &["b"]);
    let mut restorer = world.open_session("acme", RESTORER);
    let body = |snapshots: &[_]| Body::OpenRestore {
        snapshots: snapshots.to_vec(),
        purpose: "drill".into(),
        lifetime_ms: MINUTE_MS,
    };
    let rows =
        |world: &World| world.groups[&SHARD].tables.rows().filter(|(table, ..)| [55, 56].contains(&table.0)).count();
    for snapshots in [[own, foreign], [foreign, own]] {
        assert_eq!(refused(world.submit("acme", RESTORER, &mut restorer, body(&snapshots))), Refusal::NotFound);
        assert_eq!(rows(&world), 0);
    }
    done(world.submit("acme", RESTORER, &mut restorer, body(&[own])));
    assert_eq!(rows(&world), 2);
}

#[test]
fn n145_every_refusal_is_in_the_log_alone_or_counted_whatever_kinds_are_mixed_and_however_time_passes() {
    let mut world = World::single();
    world.pass(MINUTE_MS);
    let mut admin = world.open_session("acme", ADMIN);
    let mut writer = world.open_session("acme", WRITER);
    let start = leaves(&world, 0, 1000).len() as u64;
    let mut sent = 0_u64;
    for round in 0..90_u64 {
        let outcomes = [
            world.submit(
                "acme",
                ADMIN,
                &mut admin,
                Body::CloseIdentity { identity: identity("nobody"), reason: String::new() },
            ),
            world.submit(
                "acme",
                WRITER,
                &mut writer,
                Body::CreateVault { statement: vec![1], policy: crate::tenant::policy() },
            ),
        ];
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Refused(_))));
        sent += 2;
        if round % 3 == 0 {
            world.pass(1700);
        }
    }
    world.pass(MINUTE_MS);
    let (mut alone, mut counted, mut batches) = (0, 0, Vec::new());
    for (leaf, index) in leaves(&world, start, 1000).into_iter().zip(start..) {
        assert_eq!(leaf.leaf_index, index, "no gap");
        let record: AuditRecord = codec::decode(&leaf.record).unwrap();
        match record.event {
            AuditEvent::Decision { allowed: false, .. } => alone += 1,
            AuditEvent::Batch { kind, count, .. } if kind & 0x4000 != 0 => {
                counted += count;
                batches.push((kind, record.elapsed_ms));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(alone + counted, sent, "none is missing");
    assert!(alone <= 31, "one a second at most");
    for kind in [0x4004_u16, 0x4005] {
        let times: Vec<u64> = batches.iter().filter(|(of, _)| *of == kind).map(|(_, at)| *at).collect();
        assert!(times.windows(2).all(|pair| MINUTE_MS <= pair[1] - pair[0]), "one leaf a minute: {times:?}");
    }
}

proptest! {
    #![proptest_config(cases(64))]

    /// Every earlier log is a beginning of every later one, and every leaf is in every log that is long enough.
    #[test]
    fn any_two_sizes_and_any_leaf_are_proved(a in any::<proptest::sample::Index>(), b in any::<proptest::sample::Index>(), leaf in any::<proptest::sample::Index>()) {
        static LONG: std::sync::OnceLock<(World, Vec<ListedLeaf>)> = std::sync::OnceLock::new();
        let (world, all) = LONG.get_or_init(long);
        let tenant = world.tenant("acme").id;
        let (a, b) = (a.index(all.len() + 1) as u64, b.index(all.len() + 1) as u64);
        let (old, new) = (a.min(b), a.max(b));
        let Answer::Consistency { head: of_new, proof } =
            world.groups[&SHARD].ask(&Query::Consistency { tenant, old, new: Some(new) })
        else {
            panic!()
        };
        let of_old = head(world, Some(old)).unwrap();
        prop_assert_eq!(Some(of_new), head(world, Some(new)));
        prop_assert!(merkle::verify_consistency(old, new, &of_old.root, &of_new.root, &proof).is_ok());

        let leaf_index = leaf.index(all.len());
        let listed = &all[leaf_index];
        let answer = world.groups[&SHARD].ask(&Query::Leaf { tenant, leaf_index: leaf_index as u64, size: Some(new) });
        if new <= leaf_index as u64 {
            prop_assert_eq!(answer, Answer::NotFound);
        } else {
            let Answer::Leaf(proved) = answer else { panic!("{answer:?}") };
            prop_assert_eq!((proved.salt, &proved.record, proved.head), (listed.salt, &listed.record, of_new));
            let hash = merkle::leaf_hash(&proved.salt, &proved.record);
            prop_assert!(merkle::verify_inclusion(leaf_index as u64, new, &hash, &proved.proof, &of_new.root).is_ok());
        }
    }
}
