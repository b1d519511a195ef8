//! A stopped node's groups, looked at without changing a byte: what a checkpoint made durable. Entries behind it are
//! only in the log and are applied when the node starts.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;
use strongroom_core::laws::State;
use strongroom_core::machine::DIGEST_TABLE;
use strongroom_core::tables::{Halt, Reads, Table};
use strongroom_format::id::GroupId;
use strongroom_host::Host;
use strongroom_host::files::{DiskFile, Open};

use crate::database_file::newest_header;
use crate::state;
use crate::types::term_of;

const BLOCK: u64 = 4096;

/// The durable state of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfflineGroup {
    /// The group.
    pub id: GroupId,
    /// The index of the last entry that is durably applied; 0 if there is none.
    pub applied: u64,
    /// The term of that entry: each election that was won began another one.
    pub term: u64,
    /// The digest of the rows there, if the rules keep one.
    pub digest: Option<[u8; 32]>,
}

/// All rows of one group below a data directory, each verified, for laws to judge: they lie in memory. Blocks, and fails
/// as [`groups`] does.
pub fn state(host: &Host, data_dir: &Path, id: GroupId) -> Result<State, Halt> {
    open(host, &data_dir.join("state"), id.0, |view| {
        let rows: Vec<(Vec<u8>, Vec<u8>)> = view.rows.all()?.collect::<Result<_, Halt>>()?;
        let split = |(key, value): &'_ (Vec<u8>, Vec<u8>)| -> Option<(Table, Vec<u8>, Vec<u8>)> {
            let (table, key) = key.split_first()?;
            Some((Table(*table), key.to_vec(), value.clone()))
        };
        let rows: Vec<(Table, Vec<u8>, Vec<u8>)> = rows.iter().filter_map(split).collect();
        Ok(State::read(id, rows.iter().map(|(table, key, value)| (*table, key.as_slice(), value.as_slice()))))
    })
}

/// Reads what somebody wants to know of the rows of one group below a data directory. Blocks, and fails as [`groups`] does.
pub fn look<T>(
    host: &Host,
    data_dir: &Path,
    id: GroupId,
    read: impl FnOnce(&dyn Reads) -> Result<T, Halt>,
) -> Result<T, Halt> {
    open(host, &data_dir.join("state"), id.0, |view| read(&view.rows))
}

/// Looks at the groups below a data directory, lowest first. Blocks. A node that runs has its states locked: then this
/// fails.
pub fn groups(host: &Host, data_dir: &Path) -> Result<Vec<OfflineGroup>, Halt> {
    let directory = data_dir.join("state");
    let failed = |error: io::Error| Halt { why: format!("{} cannot be read: {error}", directory.display()) };
    if !host.files().exists(&directory).map_err(failed)? {
        return Ok(Vec::new());
    }
    let names = host.files().list(&directory).map_err(failed)?;
    let mut ids: Vec<u32> = names.iter().filter_map(|name| name.strip_suffix(".redb")?.parse().ok()).collect();
    ids.sort_unstable();
    ids.into_iter()
        .map(|id| {
            open(host, &directory, id, |view| {
                let digest = view.rows.get(DIGEST_TABLE, b"")?;
                Ok(OfflineGroup {
                    id: GroupId(id),
                    applied: view.applied.last.map_or(0, |last| last.index),
                    term: view.applied.last.as_ref().map_or(0, term_of),
                    digest: digest.and_then(|digest| digest.try_into().ok()),
                })
            })
        })
        .collect()
}

/// Looks at one group's state while its file is open.
fn open<T>(
    host: &Host,
    directory: &Path,
    id: u32,
    read: impl FnOnce(&state::View) -> Result<T, Halt>,
) -> Result<T, Halt> {
    let path = directory.join(format!("{id}.redb"));
    let failed = |error: io::Error| Halt { why: format!("{} cannot be read: {error}", path.display()) };
    let file = host.files().open(&path, Open::Read).map_err(failed)?;
    file.lock().map_err(failed)?;
    let overlay = Overlay::over(file).map_err(failed)?;
    if let Some(header) = newest_header(&**host.files(), &path).map_err(failed)? {
        overlay.write(0, &header).map_err(failed)?;
    }
    state::look(overlay, read)
}

/// A file whose changes stay in memory: redb repairs what was not closed in order when it opens it.
#[derive(Debug)]
struct Overlay {
    file: Arc<dyn DiskFile>,
    changes: Mutex<Changes>,
}

#[derive(Debug)]
struct Changes {
    length: u64,
    /// How much of the file below still counts.
    below: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    fn over(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let length = file.len()?;
        Ok(Self { file, changes: Mutex::new(Changes { length, below: length, blocks: BTreeMap::new() }) })
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block as it lies below, zeros behind its end.
    fn block_below(&self, number: u64, below: u64) -> io::Result<Vec<u8>> {
        let mut block = vec![0; BLOCK as usize];
        let there = below.saturating_sub(number * BLOCK).min(BLOCK) as usize;
        self.file.read_exact_at(&mut block[..there], number * BLOCK)?;
        Ok(block)
    }
}

/// The blocks that a range touches: number, where in the block it begins, how many bytes.
fn blocks(offset: u64, bytes: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + bytes as u64;
    (offset / BLOCK..end.div_ceil(BLOCK)).map(move |number| {
        let from = offset.max(number * BLOCK);
        let to = end.min((number + 1) * BLOCK);
        (number, (from - number * BLOCK) as usize, (to - from) as usize)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changes = self.changes();
        if changes.length < offset + out.len() as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        for (number, at, bytes) in blocks(offset, out.len()) {
            let below;
            let block = match changes.blocks.get(&number) {
                Some(block) => block,
                None => {
                    below = self.block_below(number, changes.below)?;
                    &below
                }
            };
            out[done..done + bytes].copy_from_slice(&block[at..at + bytes]);
            done += bytes;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut changes = self.changes();
        changes.blocks.retain(|number, _| number * BLOCK < length);
        if let Some(block) = changes.blocks.get_mut(&(length / BLOCK)) {
            block[(length % BLOCK) as usize..].fill(0);
        }
        changes.below = changes.below.min(length);
        changes.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changes = self.changes();
        let mut done = 0;
        for (number, at, bytes) in blocks(offset, data.len()) {
            if !changes.blocks.contains_key(&number) {
                let below = self.block_below(number, changes.below)?;
                changes.blocks.insert(number, below);
            }
            if let Some(block) = changes.blocks.get_mut(&number) {
                block[at..at + bytes].copy_from_slice(&data[done..done + bytes]);
            }
            done += bytes;
        }
        changes.length = changes.length.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use strongroom_host::sim_disk::SimDisk;

    use super::*;

    #[test]
    fn an_overlay_reads_what_was_written_and_leaves_the_file() {
        let disk = SimDisk::new();
        let host = Host::real().with_files(Arc::new(disk));
        let file = host.files().open(Path::new("/f"), Open::New).unwrap();
        let below: Vec<u8> = (0..10_000_u32).map(|number| number as u8).collect();
        file.write_at(&below, 0).unwrap();
        let overlay = Overlay::over(Arc::clone(&file)).unwrap();
        let mut expected = below.clone();
        for (offset, bytes) in [(0, 1), (4090, 20), (8192, 4096), (9_999, 3), (20_000, 5)] {
            let data = vec![0xaa; bytes];
            overlay.write(offset, &data).unwrap();
            expected.resize(expected.len().max(offset as usize + bytes), 0);
            expected[offset as usize..offset as usize + bytes].copy_from_slice(&data);
        }
        overlay.set_len(5000).unwrap();
        overlay.set_len(12_000).unwrap();
        expected.truncate(5000);
        expected.resize(12_000, 0);
        let mut found = vec![0; 12_000];
        overlay.read(0, &mut found).unwrap();
        assert!(found == expected);
        assert_eq!(overlay.len().unwrap(), 12_000);
        assert!(overlay.read(11_999, &mut [0; 2]).is_err());
        let mut untouched = vec![0; 10_000];
        file.read_exact_at(&mut untouched, 0).unwrap();
        assert!(untouched == below);
    }
}
