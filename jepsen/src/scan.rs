//! Searching files for canaries, in one pass with jumps (Horspool's rule on the prefix that all canaries share).

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::canary::PREFIX;

/// So much is read at a time.
const PIECE: usize = 1 << 20;
/// Longer canaries are not looked for.
const CANARY_BYTES_MAX: usize = 64;

/// Where a canary was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// Which.
    pub canary: String,
    /// In which file, or in whose name.
    pub file: String,
    /// Where in it; null for the name.
    pub offset: Option<u64>,
}

/// What a search saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scanned {
    /// So much was searched.
    pub bytes: u64,
    /// What was found, at most [`Scanned::HITS_MAX`].
    pub hits: Vec<Hit>,
}

impl Scanned {
    /// More is not listed.
    pub const HITS_MAX: usize = 50;

    /// Searches a file, or a tree with the names in it. What vanishes meanwhile is not there.
    pub fn of(path: &Path, canaries: &[&str]) -> anyhow::Result<Self> {
        assert!(
            canaries.iter().all(|canary| canary.as_bytes().starts_with(PREFIX) && canary.len() <= CANARY_BYTES_MAX)
        );
        let mut scanned = Self::default();
        let mut open: Vec<PathBuf> = vec![path.to_path_buf()];
        while let Some(path) = open.pop() {
            let metadata = match fs::symlink_metadata(&path) {
                Err(gone) if gone.kind() == ErrorKind::NotFound => continue,
                metadata => metadata.with_context(|| format!("cannot look at {}", path.display()))?,
            };
            scanned.search(path.as_os_str().as_bytes(), canaries, &path, None);
            if metadata.is_dir() {
                for entry in fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))? {
                    open.push(entry?.path());
                }
            } else if metadata.is_file() {
                scanned.search_file(&path, canaries).with_context(|| format!("cannot search {}", path.display()))?;
            }
        }
        Ok(scanned)
    }

    fn search_file(&mut self, path: &Path, canaries: &[&str]) -> std::io::Result<()> {
        let mut file = File::open(path)?;
        // The end of each piece is searched again with the next one.
        let mut buffer = vec![0; CANARY_BYTES_MAX + PIECE];
        let (mut kept, mut offset) = (0, 0_u64);
        loop {
            let read = file.read(&mut buffer[kept..])?;
            if read == 0 {
                return Ok(());
            }
            self.bytes += read as u64;
            let end = kept + read;
            self.search(&buffer[..end], canaries, path, Some(offset));
            let keep = end.min(CANARY_BYTES_MAX - 1);
            buffer.copy_within(end - keep..end, 0);
            offset += (end - keep) as u64;
            kept = keep;
        }
    }

    fn search(&mut self, bytes: &[u8], canaries: &[&str], file: &Path, offset: Option<u64>) {
        for at in prefixes(bytes) {
            for canary in canaries.iter().filter(|canary| bytes[at..].starts_with(canary.as_bytes())) {
                let offset = offset.map(|offset| offset + at as u64);
                let hit = Hit { canary: (*canary).to_owned(), file: file.display().to_string(), offset };
                // Seen again in the overlap of two pieces, it is still one.
                if self.hits.len() < Self::HITS_MAX && !self.hits.contains(&hit) {
                    self.hits.push(hit);
                }
            }
        }
    }
}

/// Where the shared prefix stands.
fn prefixes(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let mut jumps = [PREFIX.len(); 256];
    for (at, byte) in PREFIX[..PREFIX.len() - 1].iter().enumerate() {
        jumps[usize::from(*byte)] = PREFIX.len() - 1 - at;
    }
    let mut at = 0;
    std::iter::from_fn(move || {
        while at + PREFIX.len() <= bytes.len() {
            let here = at;
            at += jumps[usize::from(bytes[at + PREFIX.len() - 1])];
            if bytes[here..].starts_with(PREFIX) {
                return Some(here);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "jepsencanary-s-00000000000000aa";
    const B: &str = "jepsencanary-s-00000000000000bb";

    #[test]
    fn a_canary_is_found_wherever_it_lies_also_across_two_pieces_and_in_names() {
        let dir = tempfile::tempdir().unwrap();
        for offset in [0, 1, 77, PIECE - 40, PIECE - 5, PIECE + 30, PIECE + CANARY_BYTES_MAX - 10, 2 * PIECE - 3] {
            let path = dir.path().join("file");
            let mut bytes = vec![b'j'; 3 * PIECE];
            bytes[offset..offset + A.len()].copy_from_slice(A.as_bytes());
            fs::write(&path, &bytes).unwrap();
            let scanned = Scanned::of(&path, &[A, B]).unwrap();
            let hit = Hit { canary: A.into(), file: path.display().to_string(), offset: Some(offset as u64) };
            assert_eq!(scanned, Scanned { bytes: bytes.len() as u64, hits: vec![hit] });
            assert!(Scanned::of(&path, &[B]).unwrap().hits.is_empty());
        }
        fs::create_dir(dir.path().join(B)).unwrap();
        assert_eq!(Scanned::of(dir.path(), &[B]).unwrap().hits[0].offset, None);
    }

    #[test]
    fn two_canaries_beside_each_other_are_both_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, format!("jepsencjepsencanary-{A}{B}")).unwrap();
        assert_eq!(Scanned::of(&path, &[A, B]).unwrap().hits.len(), 2);
    }
}
