//! A simulated disk that does what disks are allowed to do.
//!
//! ```text
//!   write ──▶ cached (what reads see) + list of unsynced changes ──sync──▶ durable
//!                                            │
//!                                          crash(seed): each unsynced change is kept, dropped, cut to a prefix of
//!                                          its sectors, or each of its sectors on its own kept, dropped, garbled or
//!                                          stale (what lay in another place or file once); so later changes are kept
//!                                          where earlier ones are lost. Of eight crashes one loses all of it and one
//!                                          keeps all;
//!                                          unsynced names appear, vanish or keep their old file
//! ```
//!
//! It is harsher than a journaling file system: names and lengths are reordered as freely as bytes. After a crash every
//! file that was open answers with errors. After a failed sync the changes are lost, reads still show them and the next
//! sync says yes: as Linux does it. Everything follows from the seeds and the order of calls.
//!
//! Not here: what a crash leaves of one file (`sim_disk/inode.rs`); slow disks; bit rot comes only when a test asks for it ([`SimDisk::damage`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::files::{DiskFile, Files, Open};
use crate::seeded::Seeded;
use crate::sim_disk::inode::{Change, Fate, Inode, PAGE, SECTOR, Sectors};

mod inode;

/// How many sectors of a file are kept at a crash, to come back in wrong places.
const STALE_SAMPLES: u64 = 4;

/// How many of them are kept in all; the oldest go.
const STALE_SECTORS_MAX: usize = 128;

/// A call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `read_at`
    Read,
    /// `write_at`
    Write,
    /// `preallocate`
    Preallocate,
    /// `punch`
    Punch,
    /// `set_len`
    SetLen,
    /// `sync_data`
    Sync,
    /// `sync_dir`
    SyncDir,
    /// `open` that makes a file
    Create,
}

/// How long a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fails {
    /// The next time only.
    Once,
    /// Once, after so many calls that succeed.
    OnceAfter(u32),
    /// From now on.
    Always,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk with as much room as memory gives.
    pub fn new() -> Self {
        let state = State {
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            directories: BTreeSet::from([PathBuf::from("/"), PathBuf::new()]),
            unsynced_names: Vec::new(),
            inodes: BTreeMap::new(),
            inode_next: 0,
            boot: 0,
            capacity_bytes: u64::MAX / 4,
            faults: Vec::new(),
            fuse: None,
            failures: 0,
            stale: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Power is cut and comes back. What was synced is there; of the rest, what the seed says. Files that were open
    /// before answer with errors. Injected faults and a cut of power that was ordered are over.
    pub fn crash(&self, seed: u64) {
        self.state().crash(&mut Seeded::new(seed), None, Sectors::Garbled);
    }

    /// As [`SimDisk::crash`], and everything that was not synced is lost: what shows an order of syncs and nothing else.
    pub fn crash_losing_all(&self) {
        self.state().crash(&mut Seeded::new(0), Some(Fate::Lost), Sectors::Garbled);
    }

    /// As [`SimDisk::crash`] on hardware that keeps or drops a sector as a whole and never garbles one: what a store
    /// asks for that writes its head in place, as redb does.
    pub fn crash_by_sectors(&self, seed: u64) {
        self.state().crash(&mut Seeded::new(seed), None, Sectors::Whole);
    }

    /// A process is killed: what it wrote stays in the cache of a machine that runs on, and files that it had open answer
    /// with errors and hold no lock. Injected faults stay.
    pub fn kill(&self) {
        let mut state = self.state();
        state.boot += 1;
        for inode in state.inodes.values_mut() {
            inode.locked = false;
        }
    }

    /// After this many more changing calls (writes, preallocations, lengths, syncs, names) every call fails as if power
    /// were gone, until [`SimDisk::crash`].
    pub fn cut_power_after(&self, calls: u64) {
        self.state().fuse = Some(calls);
    }

    /// Takes back a cut of power that was ordered and has not happened.
    pub fn keep_power(&self) {
        let mut state = self.state();
        state.fuse = state.fuse.filter(|&calls| calls == 0);
    }

    /// Whether an ordered cut of power has happened.
    pub fn is_without_power(&self) -> bool {
        self.state().fuse == Some(0)
    }

    /// Makes a call fail with `EIO` on files whose path contains `path_part`. A failed write may have written any part
    /// of its bytes; a failed sync loses what it should have synced.
    pub fn fail(&self, call: Call, path_part: &str, fails: Fails) {
        self.state().faults.push(Fault { call, path_part: path_part.to_owned(), fails });
    }

    /// Ends all injected failures.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// How many calls have failed so far because somebody asked for it: injected failures, changing calls without power, a
    /// full disk.
    pub fn failures(&self) -> u64 {
        self.state().failures
    }

    /// A hash over everything that survives a loss of power now: names, lengths and bytes.
    pub fn fingerprint(&self) -> [u8; 32] {
        let state = self.state();
        let mut hasher = blake3::Hasher::new();
        for (path, number) in &state.durable_names {
            let Some(inode) = state.inodes.get(number) else { continue };
            hasher.update(path.as_os_str().as_encoded_bytes());
            hasher.update(&inode.durable.length.to_le_bytes());
            for (page, bytes) in &inode.durable.pages {
                hasher.update(&page.to_le_bytes());
                hasher.update(&bytes[..]);
            }
        }
        *hasher.finalize().as_bytes()
    }

    /// How many bytes fit on the disk in all, counting set-aside space; beyond it calls fail with `StorageFull`.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity_bytes = bytes;
    }

    /// How many bytes all files take, counting set-aside space.
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// Bit rot: overwrites bytes below the file system, durably and silently.
    pub fn damage(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let number = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let inode = state.inode(number)?;
        inode.cached.write(offset, bytes);
        inode.durable.write(offset, bytes);
        Ok(())
    }

    /// All files, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // a test that panicked while it held the disk left it as a crash would
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl Debug for SimDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SimDisk").field("files", &self.state().names.len()).finish()
    }
}

impl Files for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.check_power()?;
        let there = state.names.get(path).copied();
        let number = match (how, there) {
            (Open::Read | Open::Write | Open::WriteOrNew, Some(number)) => number,
            (Open::Read | Open::Write, None) => return Err(io::ErrorKind::NotFound.into()),
            (Open::New, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Open::New | Open::WriteOrNew, None) => {
                if !state.directories.contains(directory(path)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                state.change(Call::Create, path)?;
                let number = state.inode_next;
                state.inode_next += 1;
                state.inodes.insert(number, Inode::default());
                state.rename_to(path, Some(number));
                number
            }
        };
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            path: path.to_owned(),
            number,
            boot: state.boot,
            writes: how != Open::Read,
            holds_lock: AtomicBool::new(false),
        }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_power()?;
        state.directories.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.directories.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Call::SyncDir, path)?;
        let (synced, rest) = std::mem::take(&mut state.unsynced_names)
            .into_iter()
            .partition(|change: &NameChange| directory(&change.path) == path);
        state.unsynced_names = rest;
        for change in synced {
            set_name(&mut state.durable_names, &change);
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_power()?;
        if !state.directories.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names: BTreeSet<String> = state
            .names
            .keys()
            .chain(&state.directories)
            .filter(|name| name.parent() == Some(path))
            .filter_map(|name| name.file_name()?.to_str().map(str::to_owned))
            .collect();
        Ok(names.into_iter().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let number = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.spend()?;
        state.rename_to(to, Some(number));
        state.rename_to(from, None);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.spend()?;
        state.rename_to(path, None);
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        state.check_power()?;
        Ok(state.names.contains_key(path) || state.directories.contains(path))
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let state = self.state();
        state.check_power()?;
        Ok(state.capacity_bytes.saturating_sub(state.used_bytes()))
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    number: u64,
    boot: u64,
    writes: bool,
    holds_lock: AtomicBool,
}

impl SimFile {
    /// The disk, if this file was opened since the last crash.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.boot != self.boot {
            return Err(io::Error::other("whoever opened this file is gone"));
        }
        state.check_power()?;
        Ok(state)
    }

    fn state_to_change(&self) -> io::Result<MutexGuard<'_, State>> {
        if !self.writes {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.state()
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.inode(self.number)?.cached.length)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        state.check_fault(Call::Read, &self.path)?;
        Ok(state.inode(self.number)?.cached.read(offset, bytes))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state_to_change()?;
        if let Err(error) = state.change(Call::Write, &self.path) {
            // some of it may have reached the cache before it failed
            let some = &bytes[..bytes.len() / 2];
            state.inode(self.number)?.apply(Change::Write { offset, bytes: some.into() });
            return Err(error);
        }
        let end = offset + bytes.len() as u64;
        state.check_room(self.number, end)?;
        let inode = state.inode(self.number)?;
        inode.allocated = inode.allocated.max(end);
        inode.apply(Change::Write { offset, bytes: bytes.into() });
        Ok(())
    }

    fn preallocate(&self, _from: u64, to: u64) -> io::Result<()> {
        let mut state = self.state_to_change()?;
        state.change(Call::Preallocate, &self.path)?;
        state.check_room(self.number, to)?;
        let inode = state.inode(self.number)?;
        inode.allocated = inode.allocated.max(to);
        if inode.cached.length < to {
            inode.apply(Change::SetLen(to));
        }
        Ok(())
    }

    fn punch(&self, from: u64, to: u64) -> io::Result<()> {
        let mut state = self.state_to_change()?;
        state.change(Call::Punch, &self.path)?;
        let inode = state.inode(self.number)?;
        inode.punch(from, to);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.state_to_change()?;
        state.change(Call::SetLen, &self.path)?;
        let inode = state.inode(self.number)?;
        inode.allocated = inode.allocated.min(length);
        inode.apply(Change::SetLen(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let synced = state.change(Call::Sync, &self.path);
        if state.fuse == Some(0) && synced.is_err() {
            return synced; // power went first: the crash decides about the changes
        }
        let inode = state.inode(self.number)?;
        let changes = std::mem::take(&mut inode.unsynced);
        if synced.is_ok() {
            for change in changes {
                inode.durable.apply(&change);
            }
        }
        synced
    }

    fn lock(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let inode = state.inode(self.number)?;
        if inode.locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        inode.locked = true;
        self.holds_lock.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn unlock(&self) -> io::Result<()> {
        if self.holds_lock.swap(false, Ordering::Relaxed) {
            self.state()?.inode(self.number)?.locked = false;
        }
        Ok(())
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        // after a crash there is no lock left to give back
        let _ = self.unlock();
    }
}

struct State {
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    directories: BTreeSet<PathBuf>,
    unsynced_names: Vec<NameChange>,
    inodes: BTreeMap<u64, Inode>,
    inode_next: u64,
    /// Which life of the machine this is.
    boot: u64,
    capacity_bytes: u64,
    faults: Vec<Fault>,
    /// Changing calls left before power goes.
    fuse: Option<u64>,
    failures: u64,
    /// Sectors that a crash may bring back in a wrong place, with their place in their page.
    stale: Vec<(usize, [u8; SECTOR])>,
}

impl State {
    fn inode(&mut self, number: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().filter_map(|number| self.inodes.get(number)).map(Inode::bytes).sum()
    }

    /// Whether a file may reach `end` without filling the disk.
    fn check_room(&mut self, number: u64, end: u64) -> io::Result<()> {
        let has = self.inode(number)?.bytes();
        // A file that lost its name while somebody has it open takes room, too.
        let is_named = self.names.values().any(|named| *named == number);
        let others = self.used_bytes() - if is_named { has } else { 0 };
        if self.capacity_bytes < others + has.max(end) {
            self.failures += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn check_power(&self) -> io::Result<()> {
        match self.fuse {
            Some(0) => Err(io::Error::other("the power is cut")),
            _ => Ok(()),
        }
    }

    /// Counts a changing call towards an ordered cut of power.
    fn spend(&mut self) -> io::Result<()> {
        if let Some(calls) = &mut self.fuse {
            *calls = calls.saturating_sub(1);
        }
        let powered = self.check_power();
        self.failures += u64::from(powered.is_err());
        powered
    }

    fn check_fault(&mut self, call: Call, path: &Path) -> io::Result<()> {
        let path = path.to_string_lossy();
        let Some(at) = self.faults.iter().position(|fault| fault.call == call && path.contains(&fault.path_part))
        else {
            return Ok(());
        };
        match self.faults[at].fails {
            Fails::OnceAfter(calls @ 1..) => {
                self.faults[at].fails = Fails::OnceAfter(calls - 1);
                return Ok(());
            }
            Fails::Once | Fails::OnceAfter(0) => drop(self.faults.remove(at)),
            Fails::Always => {}
        }
        self.failures += 1;
        Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()))
    }

    /// Before every changing call.
    fn change(&mut self, call: Call, path: &Path) -> io::Result<()> {
        self.spend()?;
        self.check_fault(call, path)
    }

    /// Points a name at a file, or at nothing.
    fn rename_to(&mut self, path: &Path, number: Option<u64>) {
        let change = NameChange { path: path.to_owned(), number };
        set_name(&mut self.names, &change);
        self.unsynced_names.push(change);
    }

    fn crash(&mut self, seeded: &mut Seeded, fate: Option<Fate>, sectors: Sectors) {
        let fate = fate.unwrap_or_else(|| match seeded.below(8) {
            0 => Fate::Lost,
            1 => Fate::Kept,
            _ => Fate::Mixed,
        });
        for change in std::mem::take(&mut self.unsynced_names) {
            let is_kept = match fate {
                Fate::Lost => false,
                Fate::Kept => true,
                Fate::Mixed => seeded.below(2) == 0,
            };
            if is_kept {
                set_name(&mut self.durable_names, &change);
            }
        }
        self.names = self.durable_names.clone();
        if sectors == Sectors::Garbled {
            self.collect_stale(seeded);
        }
        let live: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|number, _| live.contains(number));
        let stale = std::mem::take(&mut self.stale);
        for inode in self.inodes.values_mut() {
            inode.crash(seeded, fate, sectors, &stale);
        }
        self.stale = stale;
        self.boot += 1;
        self.faults.clear();
        self.fuse = None;
    }
}

impl State {
    /// Keeps some sectors of every file, removed ones too. Most begin a page: that is where records begin.
    fn collect_stale(&mut self, seeded: &mut Seeded) {
        let mut fresh = Vec::new();
        for inode in self.inodes.values() {
            for content in [&inode.durable, &inode.cached] {
                let pages = content.pages.len() as u64;
                for _ in 0..STALE_SAMPLES.min(pages) {
                    let Some(page) = content.pages.values().nth(seeded.below(pages) as usize) else { continue };
                    let within = if seeded.below(2) == 0 { 0 } else { seeded.below((PAGE / SECTOR) as u64) as usize };
                    let mut sector = [0; SECTOR];
                    sector.copy_from_slice(&page[within * SECTOR..(within + 1) * SECTOR]);
                    fresh.push((within, sector));
                }
            }
        }
        self.stale.append(&mut fresh);
        let too_many = self.stale.len().saturating_sub(STALE_SECTORS_MAX);
        self.stale.drain(..too_many);
    }
}

struct Fault {
    call: Call,
    path_part: String,
    fails: Fails,
}

struct NameChange {
    path: PathBuf,
    number: Option<u64>,
}

fn set_name(names: &mut BTreeMap<PathBuf, u64>, change: &NameChange) {
    match change.number {
        Some(number) => drop(names.insert(change.path.clone(), number)),
        None => drop(names.remove(&change.path)),
    }
}

/// The directory that holds a file.
fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_with(path: &Path) -> (SimDisk, Arc<dyn DiskFile>) {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        let file = disk.open(path, Open::New).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        (disk, file)
    }

    fn content(disk: &SimDisk, path: &Path) -> Vec<u8> {
        let file = disk.open(path, Open::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_is_anything() {
        let path = Path::new("/d/f");
        let (mut lost, mut kept, mut else_) = (0, 0, 0);
        for seed in 0..100 {
            let (disk, file) = disk_with(path);
            file.write_at(&[1; 1024], 0).unwrap();
            file.sync_data().unwrap();
            file.write_at(&[2; 1024], 1024).unwrap();
            disk.crash(seed);
            assert!(file.len().is_err(), "a file from before the crash answers");
            let bytes = content(&disk, path);
            assert_eq!(bytes[..1024], [1; 1024], "seed {seed}");
            match &bytes[1024..] {
                [] => lost += 1,
                rest if rest == [2; 1024] => kept += 1,
                _ => else_ += 1,
            }
        }
        assert!(0 < lost && 0 < kept && 0 < else_, "{lost} {kept} {else_}");
    }

    #[test]
    fn a_name_whose_directory_was_not_synced_may_vanish() {
        let (mut gone, mut there) = (0, 0);
        for seed in 0..50 {
            let disk = SimDisk::new();
            disk.create_dir_all(Path::new("/d")).unwrap();
            let file = disk.open(Path::new("/d/f"), Open::New).unwrap();
            file.sync_data().unwrap();
            disk.crash(seed);
            if disk.exists(Path::new("/d/f")).unwrap() { there += 1 } else { gone += 1 }
        }
        assert!(0 < gone && 0 < there);
    }

    #[test]
    fn after_a_failed_sync_the_next_one_lies() {
        let path = Path::new("/d/f");
        let (disk, file) = disk_with(path);
        file.write_at(&[1; 10], 0).unwrap();
        disk.fail(Call::Sync, "/d/f", Fails::Once);
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        assert_eq!(content(&disk, path), [1; 10]);
        disk.crash(0);
        assert_eq!(content(&disk, path), []);
    }

    #[test]
    fn whole_sectors_are_kept_or_dropped_and_never_garbled() {
        let path = Path::new("/d/f");
        for seed in 0..50 {
            let (disk, file) = disk_with(path);
            file.write_at(&[1; 4096], 0).unwrap();
            file.sync_data().unwrap();
            file.write_at(&[2; 4096], 0).unwrap();
            disk.crash_by_sectors(seed);
            for sector in content(&disk, path).chunks(SECTOR) {
                assert!(sector == [1; SECTOR] || sector == [2; SECTOR], "seed {seed}");
            }
        }
    }

    #[test]
    fn a_crash_may_bring_back_what_lay_elsewhere_once() {
        let path = Path::new("/d/f");
        let brought_back = |seed| {
            let (disk, file) = disk_with(path);
            file.write_at(&[1; 8192], 0).unwrap();
            file.sync_data().unwrap();
            file.write_at(&[2; 4096], 8192).unwrap();
            disk.crash(seed);
            content(&disk, path).get(8192..).is_some_and(|new| new.chunks(SECTOR).any(|sector| sector == [1; SECTOR]))
        };
        assert!((0..50).any(brought_back));
        assert!(!(0..50).all(brought_back));
    }

    #[test]
    fn the_same_seed_leaves_the_same_fingerprint_and_failures_are_counted() {
        let path = Path::new("/d/f");
        let left = |seed| {
            let (disk, file) = disk_with(path);
            file.write_at(&[1; 30_000], 0).unwrap();
            disk.cut_power_after(9);
            disk.keep_power();
            disk.fail(Call::Sync, "f", Fails::Once);
            file.set_len(20_000).unwrap();
            assert_eq!(disk.failures(), 0);
            disk.crash(seed);
            disk.cut_power_after(0);
            disk.sync_dir(Path::new("/d")).unwrap_err();
            assert_eq!(disk.failures(), 1);
            disk.crash(seed);
            disk.fingerprint()
        };
        assert_eq!(left(7), left(7));
        assert!((0..20).any(|seed| left(seed) != left(7)));
    }

    #[test]
    fn a_full_disk_says_so_and_changes_nothing() {
        let path = Path::new("/d/f");
        let (disk, file) = disk_with(path);
        disk.set_capacity(8192);
        file.preallocate(0, 8192).unwrap();
        assert_eq!(disk.free_bytes(path).unwrap(), 0);
        assert_eq!(file.preallocate(8192, 8193).unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.write_at(&[1; 8192], 0).unwrap();
        assert_eq!(file.write_at(&[1], 8192).unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.set_len(0).unwrap();
        assert_eq!(disk.free_bytes(path).unwrap(), 8192);
    }

    #[test]
    fn what_was_punched_takes_no_room_and_a_crash_may_bring_any_page_of_it_back() {
        let path = Path::new("/d/f");
        let mut kept = [0_u32; 4];
        for seed in 0..200 {
            let (disk, file) = disk_with(path);
            file.write_at(&[7; 16384], 0).unwrap();
            file.sync_data().unwrap();
            let before = disk.used_bytes();
            file.punch(4096, 12288).unwrap();
            assert_eq!(before - disk.used_bytes(), 8192);
            disk.crash(seed);
            let content = content(&disk, path);
            assert_eq!(content.len(), 16384);
            for (page, kept) in content.chunks(4096).zip(&mut kept) {
                assert!(page.iter().all(|byte| *byte == page[0]), "a page goes as a whole");
                *kept += u32::from(page[0] == 7);
            }
        }
        assert_eq!((kept[0], kept[3]), (200, 200));
        assert!((1..200).contains(&kept[1]) && (1..200).contains(&kept[2]), "{kept:?}");
    }

    #[test]
    fn cut_power_stays_cut_until_the_crash() {
        let path = Path::new("/d/f");
        let (disk, file) = disk_with(path);
        disk.cut_power_after(2);
        file.write_at(&[1], 0).unwrap();
        file.sync_data().unwrap_err();
        assert!(disk.is_without_power());
        file.write_at(&[1], 0).unwrap_err();
        disk.open(path, Open::Read).unwrap_err();
        disk.crash(1);
        disk.open(path, Open::Read).unwrap();
    }

    #[test]
    fn a_shortened_file_has_zeros_where_it_grows_again() {
        let path = Path::new("/d/f");
        let (disk, file) = disk_with(path);
        file.write_at(&[1; 10_000], 0).unwrap();
        file.set_len(100).unwrap();
        file.set_len(10_000).unwrap();
        let mut expected = vec![1; 100];
        expected.resize(10_000, 0);
        assert_eq!(content(&disk, path), expected);
    }

    #[test]
    fn a_lock_keeps_others_out_until_it_is_dropped() {
        let path = Path::new("/d/f");
        let (disk, file) = disk_with(path);
        file.lock().unwrap();
        let other = disk.open(path, Open::Write).unwrap();
        assert_eq!(other.lock().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(file);
        other.lock().unwrap();
    }
}
