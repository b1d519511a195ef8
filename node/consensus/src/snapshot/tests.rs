//! A snapshot file comes back as it was written, or not at all.

use std::path::Path;

use strongroom_core::machine::Machine;
use strongroom_core::tables::{Reads, Table, Tables};
use strongroom_host::sim_disk::SimDisk;

use super::*;
use crate::rows::OWN_TABLE;
use crate::state::StateStore;
use crate::types::{Entry, Proposal, log_id};
use openraft::EntryPayload;

/// Each entry is a key; its value is long.
struct Keys;

impl Machine for Keys {
    fn apply(&self, tables: &mut dyn Tables, index: u64, entry: &[u8]) -> Result<Vec<u8>, Halt> {
        tables.put(Table(entry[0]), entry, &vec![index as u8; 3000])?;
        Ok(Vec::new())
    }

    fn query(&self, _: &dyn Reads, _: &[u8]) -> Result<Vec<u8>, Halt> {
        Ok(Vec::new())
    }
}

const STATE: &str = "/state";

fn filled(disk: &SimDisk, group: GroupId) -> (Host, StateStore) {
    let host = Host::real().with_files(Arc::new(disk.clone()));
    let state = StateStore::open(&host, Path::new(STATE), group).unwrap();
    let entries: Vec<Entry> = (0..900_u64)
        .map(|index| {
            let key = [&[(index % 3) as u8][..], &index.to_be_bytes()].concat();
            Entry { log_id: log_id(2, index), payload: EntryPayload::Normal(Proposal(key.into())) }
        })
        .collect();
    state.apply(&Keys, &entries).unwrap();
    (host, state)
}

fn all(view: &View) -> Vec<Row> {
    view.rows.all().unwrap().map(|row| row.unwrap()).collect()
}

#[test]
fn a_snapshot_carries_all_rows_to_another_replica() {
    let (here, there) = (SimDisk::new(), SimDisk::new());
    let (host, state) = filled(&here, GroupId(1));
    let snapshot = SnapshotPlace::new(&host, Path::new(STATE), GroupId(1)).write(&state.view().unwrap()).unwrap();
    assert!((2 << 20) < snapshot.bytes(), "more than one buffer");

    let (other_host, other) = filled(&there, GroupId(1));
    other
        .apply(&Keys, &[Entry { log_id: log_id(2, 900), payload: EntryPayload::Normal(Proposal("gone".into())) }])
        .unwrap();
    let place = SnapshotPlace::new(&other_host, Path::new(STATE), GroupId(1));
    let mut incoming = place.receive(snapshot.bytes(), PlainLogId { term: 2, index: 899 }).unwrap();
    while incoming.received < incoming.bytes {
        incoming.add(&snapshot.piece(incoming.received, 100_000).unwrap()).unwrap();
    }
    assert!(incoming.add(b"more").is_err());
    let received = incoming.finish().unwrap();
    assert_eq!(received.meta(), snapshot.meta());
    let adopted = place.adopt(&received).unwrap();
    other.replace(adopted.applied().clone(), adopted.rows().unwrap()).unwrap();
    assert_eq!(all(&other.view().unwrap()), all(&state.view().unwrap()));
    assert_eq!(other.applied().last, Some(log_id(2, 899)));
    assert_eq!(other.checkpointed(), Some(899));

    drop((other, other_host));
    there.crash(3);
    let host = Host::real().with_files(Arc::new(there.clone()));
    let other = StateStore::open(&host, Path::new(STATE), GroupId(1)).unwrap();
    assert_eq!(all(&other.view().unwrap()), all(&state.view().unwrap()), "it is durable at once");
    assert!(place.current().is_err() || place.current().unwrap().is_some());
}

#[test]
fn i8_i4_the_rows_of_every_table_of_the_rules_are_in_a_snapshot() {
    let disk = SimDisk::new();
    let host = Host::real().with_files(Arc::new(disk.clone()));
    let state = StateStore::open(&host, Path::new(STATE), GroupId(1)).unwrap();
    let tables = 0..OWN_TABLE.0;
    let entries: Vec<Entry> = tables
        .clone()
        .map(|table| {
            let key = [table, 7];
            Entry { log_id: log_id(2, table.into()), payload: EntryPayload::Normal(Proposal(key.to_vec().into())) }
        })
        .collect();
    state.apply(&Keys, &entries).unwrap();
    let place = SnapshotPlace::new(&host, Path::new(STATE), GroupId(1));
    let snapshot = place.write(&state.view().unwrap()).unwrap();
    let written: Vec<u8> = snapshot.rows().unwrap().map(|row| row.unwrap().0[0]).collect();
    assert_eq!(written, tables.collect::<Vec<_>>());
}

#[test]
fn a_snapshot_with_any_damage_is_refused_and_changes_nothing() {
    let disk = SimDisk::new();
    let (host, state) = filled(&disk, GroupId(1));
    let place = SnapshotPlace::new(&host, Path::new(STATE), GroupId(1));
    let snapshot = place.write(&state.view().unwrap()).unwrap();
    let good = snapshot.piece(0, usize::MAX).unwrap();
    let before = all(&state.view().unwrap());
    for at in [0, 4, 9, 40, 80, good.len() / 2, good.len() - 50, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        let mut incoming = place.receive(bad.len() as u64, PlainLogId { term: 2, index: 899 }).unwrap();
        incoming.add(&bad).unwrap();
        assert!(incoming.finish().is_err(), "byte {at}");
    }
    for length in [0, 3, 100, good.len() - 1] {
        let mut incoming = place.receive(length as u64, PlainLogId { term: 2, index: 899 }).unwrap();
        incoming.add(&good[..length]).unwrap();
        assert!(incoming.finish().is_err(), "{length} bytes");
    }
    let other_group = SnapshotPlace::new(&host, Path::new(STATE), GroupId(2));
    let mut incoming = other_group.receive(good.len() as u64, PlainLogId { term: 2, index: 899 }).unwrap();
    incoming.add(&good).unwrap();
    assert!(incoming.finish().is_err(), "another group's");

    // damage that shows only while rows go in takes all of them back
    disk.damage(Path::new("/state/1.snapshot"), good.len() as u64 / 2, &[0xee; 4]).unwrap();
    let damaged = place.current().unwrap().unwrap();
    assert!(state.replace(damaged.applied().clone(), damaged.rows().unwrap()).is_err());
    assert_eq!(all(&state.view().unwrap()), before);
}

#[test]
fn one_that_took_long_to_write_does_not_replace_a_later_one() {
    let disk = SimDisk::new();
    let (host, state) = filled(&disk, GroupId(1));
    let place = SnapshotPlace::new(&host, Path::new(STATE), GroupId(1));
    let early = state.view().unwrap();
    state.apply(&Keys, &[Entry { log_id: log_id(2, 900), payload: EntryPayload::Blank }]).unwrap();
    let late = place.write(&state.view().unwrap()).unwrap();
    let written = place.write(&early).unwrap();
    assert_eq!(written.meta(), late.meta());
    assert_eq!(place.current().unwrap().unwrap().meta(), late.meta());
    assert_eq!(disk.paths().iter().filter(|path| path.to_string_lossy().contains("snapshot")).count(), 1);
}

#[test]
fn a_crash_while_one_is_written_leaves_the_old_one() {
    for seed in 0..20 {
        let disk = SimDisk::new();
        let (host, state) = filled(&disk, GroupId(1));
        let place = SnapshotPlace::new(&host, Path::new(STATE), GroupId(1));
        let old = place.write(&state.view().unwrap()).unwrap().meta();
        state.apply(&Keys, &[Entry { log_id: log_id(2, 900), payload: EntryPayload::Blank }]).unwrap();
        let view = state.view().unwrap();
        disk.cut_power_after(seed % 8);
        let written = place.write(&view).is_ok();
        disk.crash(seed);
        let host = Host::real().with_files(Arc::new(disk.clone()));
        let found = SnapshotPlace::new(&host, Path::new(STATE), GroupId(1)).current().unwrap().unwrap();
        for row in found.rows().unwrap() {
            row.unwrap();
        }
        let last = found.meta().last_log_id.unwrap().index;
        assert!(found.meta() == old || last == 900, "seed {seed}");
        assert!(!written || last == 900, "seed {seed}: a snapshot that was written is gone");
    }
}
