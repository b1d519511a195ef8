//! What was released goes for good, what was not stays, and the space comes back.

use std::path::Path;

use strongroom_chunks::store::{ChunksError, Freed, NewCopy};
use strongroom_format::fragment::{CopyName, record_bytes};
use strongroom_format::id::LeaseId;
use strongroom_host::Host;
use strongroom_host::clock::SimClock;
use strongroom_host::sim_disk::{Call, Fails, SimDisk};

use crate::releases::Rules;
use crate::store::{check_all, copy, list_all, open, tag, tenant};

fn simulated() -> (SimDisk, Host) {
    let disk = SimDisk::new();
    (disk.clone(), Host::simulated(1, disk, SimClock::new(0)))
}

fn segments(disk: &SimDisk) -> Vec<String> {
    let paths = disk.paths().into_iter().map(|path| path.display().to_string());
    paths.filter(|path| path.ends_with(".seg")).collect()
}

#[tokio::test]
async fn what_is_freed_is_gone_for_good_and_its_space_is_free() {
    let (disk, host) = simulated();
    let rules = Rules::new();
    let store = open(&host, Path::new("/node")).await.unwrap();
    let copies: Vec<NewCopy> = (0..40).map(|n| copy(n, 90_000, n)).collect();
    for copy in &copies {
        store.put(tenant(1), tag(1), vec![copy.clone()]).await.unwrap();
    }
    let (going, staying): (Vec<_>, Vec<_>) = copies.into_iter().partition(|copy| copy.copy.lease.0 % 3 != 0);
    store.tidy().await.unwrap();
    store.tidy().await.unwrap();
    let before = disk.used_bytes();
    let releases = || going.iter().map(|copy| rules.release(tenant(1), copy.copy)).collect::<Vec<_>>();
    let freed = store.free(releases()).await.unwrap();
    let bytes = going.len() as u64 * record_bytes(90_000) as u64;
    assert_eq!(freed, Freed { copies: going.len() as u64, bytes });
    assert_eq!(store.free(releases()).await.unwrap(), Freed::default(), "a second time there is nothing to free");
    store.tidy().await.unwrap();
    store.tidy().await.unwrap();
    let after = disk.used_bytes();
    assert!(after + bytes * 9 / 10 < before, "{before} became {after} where {bytes} were freed");
    for round in 0..2 {
        check_all(&store, &staying).await;
        assert_eq!(list_all(&store).await.len(), staying.len());
        for gone in &going {
            assert!(matches!(store.get(tenant(1), gone.copy.blob, None).await, Err(ChunksError::NotHere)));
        }
        if round == 0 {
            // Also where the index is made again: what the holes do not show, tombstones say.
            disk.crash_losing_all();
            break;
        }
    }
    drop(store);
    let store = open(&host, Path::new("/node")).await.unwrap();
    check_all(&store, &staying).await;
    assert_eq!(list_all(&store).await.len(), staying.len());
}

#[tokio::test]
async fn a_copy_that_is_written_again_lives_beside_the_tombstone_of_the_first() {
    let (disk, host) = simulated();
    let rules = Rules::new();
    let store = open(&host, Path::new("/node")).await.unwrap();
    let one = copy(1, 50_000, 1);
    store.put(tenant(1), tag(1), vec![one.clone()]).await.unwrap();
    store.free(vec![rules.release(tenant(1), one.copy)]).await.unwrap();
    store.put(tenant(1), tag(1), vec![one.clone()]).await.unwrap();
    check_all(&store, std::slice::from_ref(&one)).await;
    drop(store);
    disk.crash_losing_all();
    let store = open(&host, Path::new("/node")).await.unwrap();
    check_all(&store, &[one]).await;
}

#[tokio::test]
async fn segments_without_copies_are_unlinked_and_the_last_one_too_where_a_tenant_has_none() {
    let (disk, host) = simulated();
    let rules = Rules::new();
    let store = open(&host, Path::new("/node")).await.unwrap();
    let copies: Vec<NewCopy> = (0..30).map(|n| copy(n, 200_000, n)).collect();
    for copy in &copies {
        store.put(tenant(1), tag(1), vec![copy.clone()]).await.unwrap();
    }
    let neighbour = copy(99, 1000, 5);
    store.put(tenant(2), tag(2), vec![neighbour.clone()]).await.unwrap();
    assert_eq!(store.unlink_empty(tenant(1)).await.unwrap(), 0, "all have copies");
    let many = segments(&disk).len();
    assert!(5 < many);
    let (going, staying) = copies.split_at(20);
    store.free(going.iter().map(|copy| rules.release(tenant(1), copy.copy)).collect()).await.unwrap();
    let unlinked = store.unlink_empty(tenant(1)).await.unwrap();
    assert!(2 < unlinked, "{unlinked} of {many}");
    check_all(&store, staying).await;
    store.free(staying.iter().map(|copy| rules.release(tenant(1), copy.copy)).collect()).await.unwrap();
    store.unlink_empty(tenant(1)).await.unwrap();
    assert_eq!(segments(&disk).len(), 1, "{:?}: only the neighbour's is left", segments(&disk));
    assert_eq!(store.unlink_empty(tenant(2)).await.unwrap(), 0);
    assert_eq!(store.unlink_empty(tenant(3)).await.unwrap(), 0, "who was never here");
    // A number may come again after a restart, and is read from its beginning.
    drop(store);
    disk.crash_losing_all();
    let store = open(&host, Path::new("/node")).await.unwrap();
    let again: Vec<NewCopy> = (0..3).map(|n| copy(n, 200_000, 100 + n)).collect();
    for copy in &again {
        store.put(tenant(1), tag(1), vec![copy.clone()]).await.unwrap();
    }
    drop(store);
    disk.crash_losing_all();
    let store = open(&host, Path::new("/node")).await.unwrap();
    check_all(&store, &again).await;
    assert_eq!(list_all(&store).await.len(), again.len() + 1);
}

#[tokio::test]
async fn a_lost_index_is_made_again_without_what_was_freed() {
    let (disk, host) = simulated();
    let rules = Rules::new();
    let store = open(&host, Path::new("/node")).await.unwrap();
    let copies: Vec<NewCopy> = (0..8).map(|n| copy(n, 60_000, n)).collect();
    store.put(tenant(1), tag(1), copies.clone()).await.unwrap();
    // The file system cannot punch: the records stay whole, and only tombstones say that they are no more.
    disk.fail(Call::Punch, "seg", Fails::Always);
    let (going, staying) = copies.split_at(4);
    let refused = store.free(going.iter().map(|copy| rules.release(tenant(1), copy.copy)).collect()).await;
    assert!(matches!(refused, Err(ChunksError::Failed { .. })), "a disk that fails ends the store");
    disk.heal();
    drop(store);
    disk.crash_losing_all();
    let index = disk.paths().into_iter().find(|path| path.ends_with("index.redb")).unwrap();
    host.files().remove(&index).unwrap();
    let store = open(&host, Path::new("/node")).await.unwrap();
    check_all(&store, staying).await;
    assert_eq!(list_all(&store).await.len(), staying.len());
}

#[tokio::test]
async fn a_full_disk_can_get_rid_of_something() {
    let (disk, host) = simulated();
    let rules = Rules::new();
    let options = strongroom_chunks::store::Options { reserve_bytes: 4 << 20, ..crate::store::options() };
    disk.set_capacity(16 << 20);
    let store = strongroom_chunks::store::ChunkStore::open(&host, Path::new("/node"), options).await.unwrap();
    let mut copies = Vec::new();
    loop {
        let next = copy(copies.len() as u64, 300_000, 1);
        match store.put(tenant(1), tag(1), vec![next.clone()]).await {
            Ok(()) => copies.push(next),
            Err(ChunksError::DiskFull) => break,
            Err(other) => panic!("{other}"),
        }
    }
    let half = copies.len() / 2;
    store.free(copies[..half].iter().map(|copy| rules.release(tenant(1), copy.copy)).collect()).await.unwrap();
    store.unlink_empty(tenant(1)).await.unwrap();
    store.tidy().await.unwrap();
    store.put(tenant(1), tag(1), vec![copy(999, 300_000, 2)]).await.unwrap();
    check_all(&store, &copies[half..]).await;
}

#[tokio::test]
async fn n73_a_copy_leaves_only_against_a_release_of_just_it() {
    let (_, host) = simulated();
    let rules = Rules::new();
    let store = open(&host, Path::new("/node")).await.unwrap();
    let one = copy(1, 10_000, 1);
    let other_lease = NewCopy { copy: CopyName { lease: LeaseId(2), ..one.copy }, ..one.clone() };
    store.put(tenant(1), tag(1), vec![one.clone(), other_lease.clone()]).await.unwrap();
    store.put(tenant(2), tag(2), vec![one.clone()]).await.unwrap();
    store.free(vec![rules.release(tenant(1), one.copy)]).await.unwrap();
    assert_eq!(store.has(tenant(1), vec![one.copy, other_lease.copy]).await.unwrap(), [false, true]);
    assert_eq!(store.has(tenant(2), vec![one.copy]).await.unwrap(), [true], "another tenant's copy of the same name");
    assert!(store.get(tenant(1), one.copy.blob, None).await.unwrap().payload == one.payload);
}
