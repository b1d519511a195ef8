//! Orders of durability, with crashes and slow disks aimed at the moment between the two: what must come later has to wait,
//! and what was answered may be built upon. `jepsen/sim` looks for the same with crashes at any moment.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use strongroom_consensus::fatal::Fatal;
use strongroom_consensus::stores::{EntryId, GroupStores, SnapshotBytes, Stores};
use strongroom_host::Host;
use strongroom_host::files::{DiskFile, Files, Open};
use strongroom_host::sim_disk::SimDisk;

use crate::cluster::{GROUP, Ledger, entry};

/// What waits is seen to wait for so long.
const A_WHILE: Duration = Duration::from_millis(300);

/// A disk on which syncs of the log can be made to hang.
#[derive(Clone, Debug)]
struct SlowLog {
    disk: SimDisk,
    hangs: Arc<(Mutex<bool>, Condvar)>,
}

impl SlowLog {
    fn new() -> Self {
        Self { disk: SimDisk::new(), hangs: Arc::default() }
    }

    fn hang(&self, hangs: bool) {
        *self.hangs.0.lock().unwrap() = hangs;
        self.hangs.1.notify_all();
    }

    /// Cuts the power: what was not synced is lost.
    fn crash(&self) {
        self.disk.crash_losing_all();
        self.hang(false);
    }

    async fn open(&self) -> (Stores, GroupStores) {
        let host = Host::real().with_files(Arc::new(self.clone()));
        let stores = Stores::open(&host, Path::new("/node"), 1 << 20, Fatal::new(|_| {})).await.unwrap();
        let group = stores.group(GROUP, Arc::new(Ledger)).await.unwrap();
        (stores, group)
    }
}

impl Files for SlowLog {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, how)?;
        match path.starts_with("/node/log") {
            true => Ok(Arc::new(SlowFile { file, hangs: Arc::clone(&self.hangs) })),
            false => Ok(file),
        }
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.disk.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.free_bytes(path)
    }
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn DiskFile>,
    hangs: Arc<(Mutex<bool>, Condvar)>,
}

impl DiskFile for SlowFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn preallocate(&self, from: u64, to: u64) -> io::Result<()> {
        self.file.preallocate(from, to)
    }

    fn punch(&self, from: u64, to: u64) -> io::Result<()> {
        self.file.punch(from, to)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        let (hangs, woken) = &*self.hangs;
        drop(woken.wait_while(hangs.lock().unwrap(), |hangs| *hangs).unwrap());
        self.file.sync_data()
    }

    fn lock(&self) -> io::Result<()> {
        self.file.lock()
    }

    fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }
}

fn entries(term: u64, indexes: std::ops::Range<u64>) -> Vec<(EntryId, Bytes)> {
    indexes.map(|index| (EntryId { term, index }, entry(&format!("key{index}"), &format!("in{term}")).into())).collect()
}

fn at(term: u64, index: u64) -> Option<EntryId> {
    Some(EntryId { term, index })
}

/// A leader's snapshot of 20 entries.
async fn leaders_snapshot() -> SnapshotBytes {
    let (_stores, mut leader) = SlowLog::new().open().await;
    leader.log().append([entries(1, 0..10), entries(3, 10..20)].concat()).await.unwrap().wait().await.unwrap();
    leader.apply_to(19).await.unwrap();
    leader.build_snapshot().await.unwrap()
}

#[tokio::test]
async fn a_checkpoint_waits_until_the_log_is_durable() {
    let disk = SlowLog::new();
    let (stores, mut group) = disk.open().await;
    group.log().append(entries(1, 0..5)).await.unwrap().wait().await.unwrap();
    disk.hang(true);
    // others are a majority: it is committed and applied before it is durable here
    let _durable = group.log().append(entries(1, 5..10)).await.unwrap();
    group.apply_to(9).await.unwrap();
    assert!(tokio::time::timeout(A_WHILE, group.checkpoint()).await.is_err());
    disk.crash();
    drop((stores, group));
    let (_stores, mut group) = disk.open().await;
    assert!(group.opened_at() <= at(1, 4), "{:?}", group.opened_at());

    disk.hang(true);
    let durable = group.log().append(entries(1, 5..10)).await.unwrap();
    group.apply_to(9).await.unwrap();
    let open = async {
        tokio::task::yield_now().await;
        disk.hang(false);
    };
    let (checkpointed, ()) = tokio::join!(group.checkpoint(), open);
    checkpointed.unwrap();
    durable.wait().await.unwrap();
}

#[tokio::test]
async fn an_install_waits_until_the_truncation_before_it_is_durable() {
    let snapshot = leaders_snapshot().await;
    let disk = SlowLog::new();
    let (stores, mut group) = disk.open().await;
    // entries of a leader that lost them, as many as the snapshot has and more
    group.log().append([entries(1, 0..10), entries(2, 10..25)].concat()).await.unwrap().wait().await.unwrap();
    group.apply_to(5).await.unwrap();
    group.checkpoint().await.unwrap();
    disk.hang(true);
    group.log().truncate_after(at(1, 9)).await.unwrap();
    assert!(tokio::time::timeout(A_WHILE, group.install(&snapshot, 1000)).await.is_err());
    disk.crash();
    drop((stores, group));
    let (stores, mut group) = disk.open().await;
    assert_eq!(group.opened_at(), at(1, 5), "the snapshot would contradict the entries that came back");
    assert_eq!(group.log().read().await.unwrap().entries.len(), 25);

    group.log().truncate_after(at(1, 9)).await.unwrap();
    group.install(&snapshot, 1000).await.unwrap();
    drop((stores, group));
    disk.crash();
    let (_stores, mut group) = disk.open().await;
    assert_eq!(group.opened_at(), at(3, 19));
    assert_eq!(group.log().read().await.unwrap().entries, []);
}

#[tokio::test]
async fn what_is_purged_behind_a_snapshot_is_durable_in_the_state_and_under_the_snapshots_name() {
    let disk = SlowLog::new();
    let (stores, mut group) = disk.open().await;
    group.log().append(entries(1, 0..10)).await.unwrap().wait().await.unwrap();
    group.apply_to(9).await.unwrap();
    group.build_snapshot().await.unwrap();
    group.log().purge(EntryId { term: 1, index: 8 }).await.unwrap();
    group.log().flush().await.unwrap();
    disk.crash();
    drop((stores, group));
    // openraft would write another one
    assert!(disk.exists(Path::new("/node/state/1.snapshot")).unwrap());
    let (_stores, mut group) = disk.open().await;
    assert_eq!(group.opened_at(), at(1, 9));
    let snapshot = group.snapshot().await.unwrap().expect("it has its name");
    assert_eq!(snapshot.last(), at(1, 9));
    assert_eq!(snapshot.rows().unwrap(), group.rows().await.unwrap());
}

#[tokio::test]
async fn what_is_purged_behind_an_install_is_durable_in_the_state_and_under_the_snapshots_name() {
    let snapshot = leaders_snapshot().await;
    let disk = SlowLog::new();
    let (stores, mut group) = disk.open().await;
    group.log().append(entries(1, 0..4)).await.unwrap().wait().await.unwrap();
    group.install(&snapshot, 1000).await.unwrap();
    group.log().purge(EntryId { term: 3, index: 19 }).await.unwrap();
    group.log().flush().await.unwrap();
    disk.crash();
    drop((stores, group));
    let (_stores, mut group) = disk.open().await;
    assert_eq!(group.opened_at(), at(3, 19));
    assert_eq!(group.rows().await.unwrap(), snapshot.rows().unwrap());
    assert_eq!(group.snapshot().await.unwrap().expect("it has its name").last(), at(3, 19));
}
