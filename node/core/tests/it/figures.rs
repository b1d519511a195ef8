//! Figures: what the rules cost where there is much. Ignored in everyday runs; each prints what it saw.
//!
//! ```sh
//! cargo test --release -p strongroom-core --test it -- --ignored --nocapture --test-threads 1 figures::
//! ```
//!
//! Rows that are written are counted exactly and judged; times are printed. Rows are in memory here (`MemoryTables`): what
//! a disk adds is not in these figures, nor are the laws, which would read everything after every entry. What is large is
//! made by a generator: one snapshot is committed by the rules, and its rows are written again under other ids.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use strongroom_core::entry::{EntryCommand, NodeCommand};
use strongroom_core::query::{Answer, Query};
use strongroom_core::shard::{COLLECT_MAX, EXPIRE_MAX};
use strongroom_core::tables::{Table, Tables as _};
use strongroom_format::command::{BlobRef, Body};
use strongroom_format::ending::EndOrder;
use strongroom_format::id::{BlobId, ChunkId, GroupId, PolicyVersion, SnapshotId};
use strongroom_format::lock::{LockMode, Longer};
use strongroom_format::lock_order::LockOrder;
use strongroom_format::outcome::{Done, Outcome};
use strongroom_format::policy::{KeepRules, Policy};
use strongroom_format::policy_view::Fate;
use strongroom_format::tree::Node;

use crate::backup::{Backup, Piece, inner, leaf};
use crate::group::{Group, HOUR_MS, done, fixed};
use crate::tenant::{ADMIN, WRITER};
use crate::world::{Session, World};

const DAY_MS: u64 = 24 * HOUR_MS;
/// The table of snapshots, and of what keeps them (`src/shard/rows.rs`, `src/shard/lock_rows.rs`).
const SNAPSHOTS: u8 = 50;
const LOCKS: u8 = 80;

/// What an entry read and wrote, by table.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cost {
    reads: BTreeMap<u8, u64>,
    writes: BTreeMap<u8, u64>,
}

impl Cost {
    fn and(&mut self, more: Cost) {
        for (own, more) in [(&mut self.reads, more.reads), (&mut self.writes, more.writes)] {
            more.into_iter().for_each(|(table, count)| *own.entry(table).or_default() += count);
        }
    }
}

/// A world whose home group of acme is not followed by laws, and its home.
fn quiet() -> (World, GroupId) {
    let mut world = World::unlocked(&["acme"]);
    let home = world.tenant("acme").home;
    world.group(home).lawless = true;
    (world, home)
}

fn at_home(world: &mut World, name: &str) -> Backup {
    let session = world.open_session("acme", WRITER);
    let mut backup = Backup::new(world, "acme", WRITER, session, name);
    backup.groups = vec![backup.home(world)];
    backup
}

fn commit(world: &mut World, name: &str, policy: u32) -> SnapshotId {
    let mut backup = at_home(world, name);
    backup.prepare(world, &["a"]);
    let mut envelope = backup.envelope(world);
    envelope.policy_version = PolicyVersion(policy);
    done(backup.commit_envelope(world, &envelope));
    backup.snapshot
}

/// All bytes that are `from` become `to`.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len().saturating_sub(from.len() - 1) {
        if bytes[at..].starts_with(from) {
            bytes[at..at + from.len()].copy_from_slice(to);
        }
    }
    bytes
}

/// Writes the rows of a committed snapshot again, `count` times, under other ids, in the order of commits between it and
/// what is committed after it. Every 24th is the first of its day.
fn multiply(world: &mut World, home: GroupId, snapshot: SnapshotId, count: u64) -> Vec<SnapshotId> {
    let tenant = *world.tenant("acme").id.as_bytes();
    let of_it = |bytes: &[u8]| bytes.windows(16).any(|window| window == snapshot.as_bytes());
    // Snapshots, envelopes, lists, names, parts, locks; not its leaf.
    let wanted = [SNAPSHOTS, 51, 52, 53, 54, LOCKS];
    let tables = &world.groups[&home].tables;
    let rows: Vec<(Table, Vec<u8>, Vec<u8>)> = tables
        .rows()
        .filter(|(table, key, value)| wanted.contains(&table.0) && (of_it(key) || of_it(value)))
        .map(|(table, key, value)| (table, key.to_vec(), value.to_vec()))
        .collect();
    assert_eq!(rows.len(), wanted.len(), "one row in each table");
    let listed = rows.iter().find(|(table, ..)| table.0 == 52).expect("it is listed");
    let order = u64::from_be_bytes(listed.1[listed.1.len() - 8..].try_into().unwrap());
    let ids: Vec<SnapshotId> =
        (0..count).map(|number| SnapshotId::from_bytes(fixed(&format!("copy {number}")))).collect();
    let tables = &mut world.group(home).tables;
    for (number, id) in (1_u64..).zip(&ids) {
        for (table, key, value) in &rows {
            let mut key = replaced(key, snapshot.as_bytes(), id.as_bytes());
            let mut value = replaced(value, snapshot.as_bytes(), id.as_bytes());
            if [52, 53].contains(&table.0) {
                let from = key.len() - 8;
                key[from..].copy_from_slice(&(order + number).to_be_bytes());
            }
            if table.0 == SNAPSHOTS {
                value = replaced(&value, &order.to_le_bytes(), &(order + number).to_le_bytes());
                // Of which periods it is the first: the last byte of a committed row.
                *value.last_mut().unwrap() = if number % 24 == 0 { 0b00010 } else { 0 };
            }
            tables.put(*table, &key, &value).unwrap();
        }
    }
    // What they take is counted: snapshots and their logical bytes are the last two of eight numbers.
    for table in [11, 63, 64, 92] {
        let rows: Vec<_> = tables.rows().filter(|(of, ..)| of.0 == table).collect();
        let rows: Vec<(Vec<u8>, Vec<u8>)> = rows
            .into_iter()
            .filter(|(_, key, _)| table == 11 || key.starts_with(&tenant))
            .map(|(_, key, value)| (key.to_vec(), value.to_vec()))
            .collect();
        for (key, mut value) in rows {
            for at in [value.len() - 16, value.len() - 8] {
                let number = u64::from_le_bytes(value[at..at + 8].try_into().unwrap());
                value[at..at + 8].copy_from_slice(&(number * (count + 1)).to_le_bytes());
            }
            tables.put(Table(table), &key, &value).unwrap();
        }
    }
    ids
}

/// An admin's order; what it costs.
fn order(world: &mut World, home: GroupId, admin: &mut Session, order: LockOrder) -> Cost {
    let signed = world.command("acme", ADMIN, admin, Body::Lock(order));
    let group = world.group(home);
    let command = group.brought(signed);
    let (outcomes, cost) = counted(group, vec![command]);
    assert_eq!(outcomes, 1);
    cost
}

fn counted(group: &mut Group, commands: Vec<EntryCommand>) -> (usize, Cost) {
    let (outcomes, reads, writes) = group.apply_counted(commands);
    let all = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Done(_)));
    (all.count(), Cost { reads, writes })
}

fn longer(snapshot: SnapshotId, days: u64) -> LockOrder {
    let longer = Longer::Length { length_ms: days * DAY_MS };
    LockOrder::ExtendLock { snapshot, mode: LockMode::Governance, longer, reason: "figures".into() }
}

#[test]
#[ignore = "figures"]
fn locking_and_extending_ten_thousand_snapshots_writes_a_row_each() {
    let (mut world, home) = quiet();
    let first = commit(&mut world, "one", 1);
    let snapshots = multiply(&mut world, home, first, 10_000);
    let mut admin = world.open_session("acme", ADMIN);
    for days in [2, 3] {
        let (began, mut cost) = (Instant::now(), Cost::default());
        for snapshot in &snapshots {
            cost.and(order(&mut world, home, &mut admin, longer(*snapshot, days)));
        }
        let took = began.elapsed();
        let of_locks = cost.writes[&LOCKS];
        assert_eq!(of_locks, 10_000, "one row a snapshot");
        assert_eq!(cost.writes.get(&SNAPSHOTS), None, "the snapshot's own row stays as it is");
        let all: u64 = cost.writes.values().sum();
        println!(
            "10 000 locks, {days} days: {of_locks} rows of locks; with log, session and digest {:.1} rows each; {:.0} µs each",
            all as f64 / 10_000.0,
            took.as_micros() as f64 / 10_000.0
        );
    }
}

/// A committed snapshot of so many chunks of a mebibyte, at home.
fn large(world: &mut World, name: &str, chunks: usize) -> SnapshotId {
    let mut backup = at_home(world, name);
    let home = backup.home(world);
    let mut body = backup.open_body(world);
    body.budget_bytes = 1 << 40;
    let Done::SnapshotOpened { lease, opened, .. } = done(backup.submit(world, home, Body::OpenSnapshot(body))) else {
        panic!()
    };
    backup.leases.insert(home, lease);
    backup.opened = Some(opened);
    let piece = |number: usize| Piece {
        of: BlobRef {
            chunk: ChunkId::from_bytes(fixed(&format!("{name} chunk {number}"))),
            blob: BlobId::from_bytes(fixed(&format!("{name} blob {number}"))),
        },
        stored_bytes: 1 << 20,
    };
    let pieces: Vec<Piece> = (0..chunks).map(piece).collect();
    let mut leaves: Vec<Node> = Vec::new();
    for some in pieces.chunks(Body::CHUNKS_MAX) {
        done(backup.register(world, home, some));
        let (node, bytes) = leaf(&backup.keys(world), some);
        done(backup.put(world, home, &[bytes]));
        leaves.push(node);
    }
    let (root, bytes) = inner(&backup.keys(world), &leaves.iter().collect::<Vec<_>>());
    done(backup.put(world, home, &[bytes]));
    backup.contents.insert(home, root);
    backup.fill_manifest(world);
    done(backup.seal(world, home));
    done(backup.commit(world));
    backup.snapshot
}

#[test]
#[ignore = "figures"]
fn extending_the_lock_of_100_gb_costs_what_it_costs_for_a_kilobyte() {
    let (mut world, home) = quiet();
    let small = commit(&mut world, "small", 1);
    let big = large(&mut world, "big", 102_400);
    let mut admin = world.open_session("acme", ADMIN);
    // The first order of a session, and of a snapshot, is another one than those that follow.
    for snapshot in [small, big] {
        order(&mut world, home, &mut admin, longer(snapshot, 2));
    }
    let (mut times, mut costs) = (BTreeMap::<_, Vec<Duration>>::new(), Vec::new());
    for days in 3..53 {
        for snapshot in [small, big] {
            let began = Instant::now();
            let cost = order(&mut world, home, &mut admin, longer(snapshot, days));
            times.entry(snapshot == big).or_default().push(began.elapsed());
            costs.push((cost.reads[&LOCKS], cost.reads.get(&SNAPSHOTS).copied(), cost.writes[&LOCKS]));
            // The tenant's log aside, which grows whatever is ordered.
            let all: u64 =
                cost.writes.iter().filter(|(table, _)| !(60..=62).contains(*table)).map(|(_, count)| count).sum();
            assert!(all <= 6, "{cost:?}");
        }
    }
    assert!(costs.iter().all(|cost| *cost == costs[0]), "{costs:?}");
    let median = |big: bool| {
        let mut of = times[&big].clone();
        of.sort_unstable();
        of[of.len() / 2]
    };
    println!(
        "extend: {:?} for 1 kB, {:?} for 100 GB in 102 400 chunks; rows read and written alike",
        median(false),
        median(true)
    );
}

#[test]
#[ignore = "figures"]
fn how_many_references_collect_takes_a_second() {
    let (mut world, home) = quiet();
    let tenant = world.tenant("acme").id;
    let chunks = 102_400;
    let snapshot = large(&mut world, "big", chunks);
    let mut admin = world.open_session("acme", ADMIN);
    let delete = EndOrder::DeleteSnapshot { snapshot, reason: "figures".into() };
    done(world.submit("acme", ADMIN, &mut admin, Body::End(delete)));
    let (mut references, mut times) = (0_u64, Vec::new());
    let mut cost = Cost::default();
    // Counts fall; then, as no grace was given, rows go.
    let mut falling = (0_u64, Duration::ZERO);
    loop {
        let step = NodeCommand::CollectGarbage { tenant, limit: COLLECT_MAX, grace_ms: 0 };
        let began = Instant::now();
        let (outcomes, reads, writes) = world.group(home).apply_counted(vec![EntryCommand::Node(step)]);
        let took = began.elapsed();
        let [Outcome::Done(Done::Collected { references: some, blobs, more })] = outcomes[..] else {
            panic!("{outcomes:?}")
        };
        cost.and(Cost { reads, writes });
        references += u64::from(some);
        times.push(took);
        if blobs == 0 {
            falling = (falling.0 + u64::from(some), falling.1 + took);
        }
        if !more {
            break;
        }
    }
    let all: Duration = times.iter().sum();
    let longest = times.iter().max().unwrap();
    let rate = |references: u64, took: Duration| references as f64 / took.as_secs_f64() / 1e6;
    println!(
        "collect: {references} references in {all:?} ({:.2} million a second), counts alone {:.2} million a second; {} steps, the longest {longest:?}; {:.1} reads and {:.1} writes a reference",
        rate(references, all),
        rate(falling.0, falling.1),
        times.len(),
        cost.reads.values().sum::<u64>() as f64 / references as f64,
        cost.writes.values().sum::<u64>() as f64 / references as f64,
    );
    assert!(chunks as u64 * 2 <= references, "each chunk's count fell, and each row went");
}

#[test]
#[ignore = "figures"]
fn a_hundred_thousand_snapshots_are_listed_previewed_and_expired() {
    let (mut world, home) = quiet();
    let (tenant, vault) = (world.tenant("acme").id, world.tenant("acme").vault);
    let keep = KeepRules { last: 1, daily: 30, ..KeepRules::default() };
    let policy = Policy {
        version: PolicyVersion(2),
        keep,
        lock_min_ms: 0,
        lock_max_ms: 800 * DAY_MS,
        expected_every_ms: Some(DAY_MS),
        ..world.tenant("acme").policy()
    };
    let first = commit(&mut world, "one", 1);
    multiply(&mut world, home, first, 100_000);
    // What keep rules count: the days after.
    for day in 0..2 {
        world.pass(DAY_MS);
        let session = world.open_session("acme", ADMIN);
        let mut admin = session;
        if day == 0 {
            let order =
                LockOrder::SetPolicy { vault, policy: policy.clone(), reason: "figures".into(), approvals: Vec::new() };
            done(world.submit("acme", ADMIN, &mut admin, Body::Lock(order)));
        }
        world.group(home).place_after(1 << 20);
        commit(&mut world, &format!("day {day}"), 2);
    }
    let group = world.group(home);
    let (began, mut listed, mut after) = (Instant::now(), 0, 0);
    loop {
        let query = Query::Snapshots { tenant, vault, by: None, label: None, after, limit: 1000 };
        let Answer::Snapshots(page) = group.ask(&query) else { panic!() };
        listed += page.snapshots.len();
        match page.snapshots.last() {
            Some(last) if page.snapshots.len() == 1000 => after = last.committed.order,
            Some(_) | None => break,
        }
    }
    println!("list: {listed} snapshots in {:?}", began.elapsed());
    assert_eq!(listed, 100_003);

    let page_of = |group: &Group, after, limit| {
        let query = Query::Preview { tenant, vault, policy: policy.clone(), after, limit };
        let Answer::Preview(page) = group.ask(&query) else { panic!() };
        page
    };
    for limit in [1000, 128] {
        let (began, mut previewed, mut goes, mut after, mut longest) =
            (Instant::now(), 0, 0_usize, None, Duration::ZERO);
        loop {
            let one = Instant::now();
            let page = page_of(group, after, limit);
            longest = longest.max(one.elapsed());
            previewed += page.snapshots.len();
            goes += page.snapshots.iter().filter(|previewed| previewed.fate == Fate::Goes).count();
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        println!(
            "dry run by {limit}: {previewed} in {:?}, {goes} would go; a page {longest:?} at most",
            began.elapsed()
        );
        assert_eq!((previewed, goes), (100_003, 100_000 - 100_000 / 24));
    }

    let (mut ended, mut times, mut after) = (0, Vec::new(), None);
    loop {
        // As the worker does: the dry run's page, then the step over it.
        let began = Instant::now();
        let page = page_of(group, after.clone(), 128);
        if page.snapshots.iter().any(|previewed| previewed.fate == Fate::Goes) {
            let step = NodeCommand::Expire { tenant, vault, after, limit: 128.min(EXPIRE_MAX) };
            let Done::Expired { ended: some, .. } = done(group.rogue(step)) else { panic!() };
            ended += some;
        }
        times.push(began.elapsed());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    times.sort_unstable();
    let all: Duration = times.iter().sum();
    println!(
        "expiry: {ended} of 100 003 ended in {all:?}, {} steps, p50 {:?}, longest {:?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
    let (began, mut left, mut after) = (Instant::now(), 0, None);
    loop {
        let page = page_of(group, after, 128);
        left += page.snapshots.len();
        assert!(page.snapshots.iter().all(|previewed| previewed.fate != Fate::Goes));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    println!("a pass that finds nothing: {left} in {:?}", began.elapsed());
    assert_eq!(left as u32 + ended, 100_003);
    let peak = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = peak.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: unknown");
    println!("{peak} of the whole test, rows and all");
}
