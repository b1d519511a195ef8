//! The state against crashes: what a checkpoint made durable is there, and applying the rest again gives the same.

use std::path::Path;

use openraft::EntryPayload;
use strongroom_core::machine::DIGEST_TABLE;
use strongroom_core::tables::{Table, Tables};
use strongroom_host::sim_disk::{Call, Fails, SimDisk};

use super::*;
use crate::types::{Proposal, log_id};

/// Each entry writes rows that depend on all before it.
struct Chain;

impl Machine for Chain {
    fn apply(&self, tables: &mut dyn Tables, index: u64, entry: &[u8]) -> Result<Vec<u8>, Halt> {
        let before = tables.get(DIGEST_TABLE, b"")?.unwrap_or_default();
        let digest = *blake3::hash(&[&before[..], entry, &index.to_le_bytes()].concat()).as_bytes();
        tables.put(DIGEST_TABLE, b"", &digest)?;
        tables.put(Table(1), &digest[..2], &vec![digest[0]; usize::from(digest[1]) * 8])?;
        if digest[2] < 60 {
            tables.delete(Table(1), &digest[2..4])?;
        }
        Ok(digest.to_vec())
    }

    fn query(&self, tables: &dyn Reads, _: &[u8]) -> Result<Vec<u8>, Halt> {
        Ok(tables.get(DIGEST_TABLE, b"")?.unwrap_or_default())
    }
}

const GROUP: GroupId = GroupId(3);

fn entry(index: u64) -> Entry {
    Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(Proposal(index.to_be_bytes().to_vec().into())) }
}

fn open(disk: &SimDisk) -> Result<StateStore, Halt> {
    StateStore::open(&Host::real().with_files(Arc::new(disk.clone())), Path::new("/state"), GROUP)
}

fn rows(state: &StateStore) -> Vec<Row> {
    state.view().unwrap().rows.all().unwrap().map(|row| row.unwrap()).collect()
}

#[test]
fn a_checkpoint_survives_any_crash_and_the_rest_is_applied_again() {
    let expected = open(&SimDisk::new()).unwrap();
    let mut pictures = vec![rows(&expected)];
    for index in 0..240 {
        expected.apply(&Chain, &[entry(index)]).unwrap();
        pictures.push(rows(&expected));
    }
    for seed in 0..40_u64 {
        let disk = SimDisk::new();
        let (mut next, mut durable) = (0_u64, 0_u64);
        let mut life = 0;
        while next < 200 {
            life += 1;
            let state = open(&disk).unwrap_or_else(|halt| panic!("seed {seed} life {life}: {halt}"));
            let applied = state.applied_index().map_or(0, |applied| applied + 1);
            assert!(durable <= applied, "seed {seed} life {life}: a checkpoint is lost");
            assert_eq!(rows(&state), pictures[applied as usize], "seed {seed} life {life}: rows at {applied}");
            next = applied;
            durable = applied;
            disk.cut_power_after(20 + (seed * 37 + life * 11) % 90);
            while next < 240 {
                let batch: Vec<Entry> = (next..(next + 1 + (seed + next) % 5).min(240)).map(entry).collect();
                if state.apply(&Chain, &batch).is_err() {
                    break;
                }
                next += batch.len() as u64;
                if (next + seed).is_multiple_of(4) {
                    if state.checkpoint().is_err() {
                        break;
                    }
                    durable = next;
                }
            }
            disk.crash(seed * 1000 + life);
            drop(state);
        }
    }
}

/// Rows that no entry made, and how far they are.
fn replacement() -> (Applied, Vec<Row>) {
    let rows = (0..60_u8).map(|number| (vec![number / 20, number], vec![number; 400])).collect();
    (Applied { last: Some(log_id(2, 50)), ..Applied::default() }, rows)
}

#[test]
fn a_crash_while_rows_are_replaced_leaves_the_old_ones_or_the_new_ones() {
    let (applied, new) = replacement();
    let mut is_over = false;
    for calls in 0.. {
        for seed in 0..12 {
            let disk = SimDisk::new();
            let state = open(&disk).unwrap();
            state.apply(&Chain, &(0..20).map(entry).collect::<Vec<_>>()).unwrap();
            state.checkpoint().unwrap();
            let old = rows(&state);
            state.apply(&Chain, &[entry(20)]).unwrap();
            disk.cut_power_after(calls);
            let replaced = state.replace(applied.clone(), new.iter().cloned().map(Ok));
            is_over = !disk.is_without_power();
            disk.crash(calls * 100 + seed);
            drop(state);
            let story = format!("after {calls} calls, seed {seed} ({replaced:?})");
            let state = open(&disk).unwrap_or_else(|halt| panic!("{story}: {halt}"));
            let is_new = state.applied_index() == Some(50);
            assert!(is_new || state.applied_index() == Some(19), "{story}: {:?}", state.applied_index());
            assert!(rows(&state) == if is_new { new.clone() } else { old }, "{story}: rows");
            assert!(is_new || replaced.is_err(), "{story}: what was replaced is back");
            assert!(!disk.exists(Path::new("/state/3.redb.new")).unwrap(), "{story}: something is left");
            // it lives on, and is replaced again
            state.apply(&Chain, &[entry(51)]).unwrap();
            state.checkpoint().unwrap();
            drop(state);
            let state = open(&disk).unwrap();
            assert_eq!(state.applied_index(), Some(51));
            state.replace(applied.clone(), new.iter().cloned().map(Ok)).unwrap();
            assert!(rows(&state) == new);
        }
        if is_over {
            assert!(20 < calls);
            break;
        }
    }
}

#[test]
fn a_view_outlives_a_replacement_and_tells_when_it_ends() {
    let disk = SimDisk::new();
    let state = open(&disk).unwrap();
    state.apply(&Chain, &(0..20).map(entry).collect::<Vec<_>>()).unwrap();
    let old = rows(&state);
    let view = state.view().unwrap();
    let (applied, new) = replacement();
    state.replace(applied, new.iter().cloned().map(Ok)).unwrap();
    assert!(rows(&state) == new);
    assert_eq!(view.rows.all().unwrap().map(|row| row.unwrap()).collect::<Vec<_>>(), old);
    assert_eq!(view.applied.last, Some(log_id(1, 19)));
    let closed = state.closed();
    drop(state);
    assert!(closed.has_changed().is_ok(), "a file is open");
    drop(view);
    assert!(closed.has_changed().is_err());
}

#[test]
fn rows_are_made_in_transactions_of_bounded_size() {
    let lengths = [10, 20, 30, 500, 10, 10];
    let rows = || lengths.iter().map(|&length| Ok((vec![7], vec![0; length - 1])));
    let made = |bytes_max| -> Vec<usize> {
        portions(rows(), bytes_max).map(|portion| portion.unwrap().iter().map(|row| row.1.len() + 1).sum()).collect()
    };
    assert_eq!(made(1), lengths);
    assert_eq!(made(60), [60, 500, 20]);
    assert_eq!(made(61), [560, 20]);
    assert_eq!(made(10_000), [580]);
    let broken = rows().take(2).chain([Err(Halt { why: "a row does not come".into() })]);
    let mut portions = portions(broken, 30);
    assert!(portions.next().unwrap().is_ok() && portions.next().unwrap().is_err());
}

#[test]
fn a_replacement_takes_the_room_of_its_rows_and_none_for_what_was_there() {
    const VALUE: usize = 3000;
    let disk = SimDisk::new();
    let state = open(&disk).unwrap();
    let rows = || (0..6000_u32).map(|number| Ok((number.to_be_bytes().to_vec(), vec![number as u8; VALUE])));
    let at = |index| Applied { last: Some(log_id(1, index)), ..Applied::default() };
    let mut took = Vec::new();
    for index in 0..3 {
        state.replace(at(index), rows()).unwrap();
        took.push(state.file_bytes());
    }
    const { assert!(4 * FILL_BYTES_MAX < 6000 * VALUE, "several transactions") };
    assert!(took[0] < 2 * 6000 * VALUE as u64, "{took:?}");
    assert_eq!(took, [took[0]; 3]);
    assert!(disk.used_bytes() < took[0] + (1 << 20), "the old file is gone");
}

#[test]
fn a_crash_while_a_state_is_made_leaves_none_or_a_whole_one() {
    for calls in 0..60 {
        let disk = SimDisk::new();
        disk.cut_power_after(calls);
        let made = open(&disk).map(drop);
        disk.crash(calls);
        let state = open(&disk).unwrap_or_else(|halt| panic!("after {calls} calls ({made:?}): {halt}"));
        assert_eq!(state.applied_index(), None);
        state.apply(&Chain, &[entry(0)]).unwrap();
    }
}

#[test]
fn a_sync_that_fails_while_a_state_is_made_leaves_none_that_counts() {
    for calls in 0..12 {
        let disk = SimDisk::new();
        disk.fail(Call::Sync, "state", Fails::OnceAfter(calls));
        let made = open(&disk).map(drop);
        disk.crash(u64::from(calls));
        let state = open(&disk).unwrap_or_else(|halt| panic!("after {calls} syncs ({made:?}): {halt}"));
        assert_eq!(state.applied_index(), None);
        state.apply(&Chain, &[entry(0)]).unwrap();
    }
}

#[test]
fn letting_go_of_a_state_is_no_checkpoint() {
    let disk = SimDisk::new();
    let state = open(&disk).unwrap();
    state.apply(&Chain, &[entry(0)]).unwrap();
    state.checkpoint().unwrap();
    let checkpointed = rows(&state);
    state.apply(&Chain, &[entry(1)]).unwrap();
    let view = state.view().unwrap();
    drop(state);
    drop(view);
    let state = open(&disk).unwrap();
    assert_eq!(state.applied_index(), Some(0), "the log may not have the second entry");
    assert_eq!(rows(&state), checkpointed);
    state.apply(&Chain, &[entry(1)]).unwrap();
    state.checkpoint().unwrap();
    drop(state);
    assert_eq!(open(&disk).unwrap().applied_index(), Some(1));
}

#[test]
fn a_damaged_row_stops_the_replica() {
    struct Far;
    impl Machine for Far {
        fn apply(&self, tables: &mut dyn Tables, _: u64, entry: &[u8]) -> Result<Vec<u8>, Halt> {
            tables.put(Table(1), b"key", entry)?;
            Ok(Vec::new())
        }
        fn query(&self, _: &dyn Reads, _: &[u8]) -> Result<Vec<u8>, Halt> {
            Ok(Vec::new())
        }
    }
    let disk = SimDisk::new();
    let state = open(&disk).unwrap();
    let needle = [0xc5; 64];
    let payload = EntryPayload::Normal(Proposal(needle.to_vec().into()));
    state.apply(&Far, &[Entry { log_id: log_id(1, 0), payload }]).unwrap();
    state.checkpoint().unwrap();
    drop(state);
    let path = Path::new("/state/3.redb");
    let file = strongroom_host::files::Files::open(&disk, path, Open::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let places: Vec<usize> = (0..bytes.len() - 64).filter(|&at| bytes[at..at + 64] == needle).collect();
    assert!(!places.is_empty());
    for at in places {
        disk.damage(path, at as u64 + 7, &[0]).unwrap();
    }
    let state = open(&disk).unwrap();
    let found = state.view().unwrap().rows.get(Table(1), b"key");
    assert!(found.unwrap_err().why.contains("damaged"));
}

#[test]
fn a_state_whose_own_row_lost_its_name_does_not_open_as_one_to_which_nothing_was_applied() {
    let disk = SimDisk::new();
    let state = open(&disk).unwrap();
    state.apply(&Chain, &[entry(0), entry(1)]).unwrap();
    state.checkpoint().unwrap();
    drop(state);
    let path = Path::new("/state/3.redb");
    let file = strongroom_host::files::Files::open(&disk, path, Open::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let name = [&[OWN_TABLE.0], APPLIED_KEY].concat();
    let places: Vec<usize> = (0..bytes.len() - name.len()).filter(|&at| bytes[at..].starts_with(&name)).collect();
    assert!(!places.is_empty());
    for at in places {
        disk.damage(path, at as u64, &[OWN_TABLE.0 ^ 1]).unwrap();
    }
    assert!(open(&disk).unwrap_err().why.contains("how far it is applied"));
}

#[test]
fn the_rules_cannot_write_into_the_table_of_consensus() {
    struct Thief;
    impl Machine for Thief {
        fn apply(&self, tables: &mut dyn Tables, _: u64, _: &[u8]) -> Result<Vec<u8>, Halt> {
            tables.put(OWN_TABLE, APPLIED_KEY, b"far ahead")?;
            Ok(Vec::new())
        }
        fn query(&self, _: &dyn Reads, _: &[u8]) -> Result<Vec<u8>, Halt> {
            Ok(Vec::new())
        }
    }
    let state = open(&SimDisk::new()).unwrap();
    assert!(state.apply(&Thief, &[entry(0)]).is_err());
    assert_eq!(state.applied_index(), None);
}

#[test]
fn a_stopped_state_is_looked_at_without_a_change() {
    let disk = SimDisk::new();
    let state =
        StateStore::open(&Host::real().with_files(Arc::new(disk.clone())), Path::new("/d/state"), GROUP).unwrap();
    state.apply(&Chain, &[entry(0), entry(1)]).unwrap();
    state.checkpoint().unwrap();
    let digest = state.view().unwrap().rows.get(DIGEST_TABLE, b"").unwrap().unwrap();
    state.apply(&Chain, &[entry(2)]).unwrap();
    let host = Host::real().with_files(Arc::new(disk.clone()));
    assert!(crate::offline::groups(&host, Path::new("/d")).is_err(), "it runs");
    disk.crash(9);
    drop(state);
    let read = || {
        let file = host.files().open(Path::new("/d/state/3.redb"), Open::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    let before = read();
    let groups = crate::offline::groups(&host, Path::new("/d")).unwrap();
    assert_eq!((groups.len(), groups[0].id, groups[0].applied, groups[0].term), (1, GROUP, 1, 1));
    assert_eq!(groups[0].digest.unwrap().to_vec(), digest);
    assert!(read() == before);
}
