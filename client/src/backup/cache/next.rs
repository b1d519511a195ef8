//! Writing the cache: beside the one that is there, and put in its place when the snapshot is committed.
//!
//! Promises: a backup that does not commit changes no cache; what a killed backup leaves behind is removed by a later one.
//! Not here: what is worth remembering (`read.rs`).

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::record::{Binding, Header, HeaderMac, More, Record, Seal};
use crate::random::random;

/// A block is written when it weighs so much: about one for every 40 bytes.
const BLOCK_WEIGHT: usize = 4096;
/// Between a cache's name and the random end of its successor's.
const NEW: &str = ".new-";
/// A successor that nobody wrote to for so long is a killed backup's.
const LEFT_BEHIND: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// A cache that nobody used for so long would have all files read again anyway.
const UNUSED: Duration = Duration::from_secs(45 * 24 * 60 * 60);

/// The next cache.
pub(crate) struct Next {
    path: PathBuf,
    temporary: PathBuf,
    out: BufWriter<File>,
    seal: Seal,
    header: HeaderMac,
    number: u64,
    records: Vec<Record>,
    weight: usize,
}

impl Next {
    /// Begins one that will lie at `path`.
    pub(crate) fn begin(path: &Path, binding: &Binding, seal: &Seal) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
            tidy_up(directory);
        }
        let random: [u8; 8] = random().map_err(io::Error::other)?;
        let mut temporary = path.to_owned().into_os_string();
        temporary.push(format!("{NEW}{}", hex::encode(random)));
        let temporary = PathBuf::from(temporary);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let inode = rustix::fs::fstat(file.as_fd())?.st_ino;
        let mut out = BufWriter::with_capacity(1 << 18, file);
        let header = seal.write_header(&Header { binding: binding.clone(), inode }, &mut out)?;
        let (path, seal) = (path.to_owned(), seal.clone());
        Ok(Self { path, temporary, out, seal, header, number: 0, records: Vec::new(), weight: 0 })
    }

    /// Adds the record of the next path.
    pub(crate) fn add(&mut self, record: Record) -> io::Result<()> {
        self.weight += 2 + record.chunks.len() + record.path.len() / 32;
        self.records.push(record);
        if BLOCK_WEIGHT <= self.weight { self.write(More::Follows) } else { Ok(()) }
    }

    /// Puts it in the place of the one that was there.
    pub(crate) fn keep(mut self) -> io::Result<()> {
        self.write(More::Ends)?;
        self.out.flush()?;
        // A crash must not leave a torn one: that would be an alarm.
        self.out.get_ref().sync_all()?;
        std::fs::rename(&self.temporary, &self.path)
    }

    fn write(&mut self, more: More) -> io::Result<()> {
        self.seal.write_block(self.header, self.number, more, &self.records, &mut self.out)?;
        self.records.clear();
        (self.number, self.weight) = (self.number + 1, 0);
        Ok(())
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        // After `keep` it has another name.
        let _removed = std::fs::remove_file(&self.temporary);
    }
}

/// Removes what nobody will use any more.
fn tidy_up(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let limit = if name.contains(NEW) { LEFT_BEHIND } else { UNUSED };
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
        if name.starts_with("files-") && age.is_some_and(|age| limit < age) {
            let _removed = std::fs::remove_file(entry.path());
        }
    }
}
