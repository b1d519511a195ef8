//! Bytes on a disk that change: flipped bits, zeroed blocks, and blocks that hold what belongs elsewhere.
//!
//! Only where something is: a hole, or a file's preallocated end, has nothing to lose. What was done is read back.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::random::Random;

/// What a disk takes and gives at once.
const BLOCK: usize = 4096;
/// So often is looked for a block that holds something.
const ATTEMPTS: usize = 400;

/// Spoils so many blocks of files below a directory whose names end so. Says what it did to which.
///
/// # Errors
/// Nothing there can be spoilt, or the disk does not take it.
pub fn spoil(dir: &Path, ending: &str, blocks: usize, random: &mut Random) -> anyhow::Result<Vec<String>> {
    let files = files(dir, ending)?;
    ensure!(!files.is_empty(), "{} has no file that ends with `{ending}`", dir.display());
    let mut done = Vec::new();
    for _ in 0..ATTEMPTS {
        if done.len() == blocks {
            break;
        }
        let file = random.one_of(&files).expect("there is a file");
        done.extend(spoil_one(file, random).with_context(|| format!("cannot spoil {}", file.display()))?);
    }
    ensure!(!done.is_empty(), "{} holds nothing that could be spoilt", dir.display());
    Ok(done)
}

/// What lies below a directory: names with sizes and times of change.
pub fn listing(dir: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut listing = BTreeSet::new();
    for path in files(dir, "")? {
        let metadata = path.metadata()?;
        let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
        listing.insert(format!("{name} {} {:?}", metadata.len(), metadata.modified()?));
    }
    Ok(listing)
}

fn spoil_one(path: &Path, random: &mut Random) -> anyhow::Result<Option<String>> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let blocks = usize::try_from(file.metadata()?.len())? / BLOCK;
    // The first block says what the file is: whoever loses it loses all of it, which is another attack.
    if blocks < 2 {
        return Ok(None);
    }
    let (at, from) = (1 + random.below(blocks - 1), 1 + random.below(blocks - 1));
    let before = read(&file, at)?;
    if is_empty(&before) {
        return Ok(None);
    }
    let (how, after) = match random.below(3) {
        0 => {
            let mut after = before.clone();
            for _ in 0..=random.below(8) {
                after[random.below(BLOCK)] ^= 1 << random.below(8);
            }
            ("bits flipped".to_owned(), after)
        }
        1 => ("zeroed".to_owned(), vec![0; BLOCK]),
        _ => (format!("holds block {from}"), read(&file, from)?),
    };
    if after == before {
        return Ok(None);
    }
    file.write_all_at(&after, (at * BLOCK) as u64)?;
    file.sync_all()?;
    ensure!(read(&File::open(path)?, at)? == after, "block {at} is not as it was written");
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Some(format!("{name}: block {at} {how}")))
}

fn read(file: &File, block: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; BLOCK];
    file.read_exact_at(&mut bytes, (block * BLOCK) as u64)?;
    Ok(bytes)
}

fn is_empty(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// The files, in an order that does not depend on the disk.
fn files(dir: &Path, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let (mut files, mut open) = (Vec::new(), vec![dir.to_path_buf()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_hold_something_change_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.seg");
        let mut bytes = vec![0; 64 * BLOCK];
        for block in 10..20 {
            bytes[block * BLOCK..(block + 1) * BLOCK].fill(u8::try_from(block).unwrap());
        }
        fs::write(&path, &bytes).unwrap();
        fs::write(dir.path().join("tag"), vec![7; 64 * BLOCK]).unwrap();
        let done = spoil(dir.path(), ".seg", 3, &mut Random::named(1, "rot")).unwrap();
        assert_eq!(done.len(), 3, "{done:?}");
        let after = fs::read(&path).unwrap();
        let changed: Vec<usize> = (0..64)
            .filter(|block| after[block * BLOCK..(block + 1) * BLOCK] != bytes[block * BLOCK..(block + 1) * BLOCK])
            .collect();
        assert!(
            (1..=3).contains(&changed.len()) && changed.iter().all(|block| (10..20).contains(block)),
            "{changed:?}"
        );
        assert_eq!(fs::read(dir.path().join("tag")).unwrap(), vec![7; 64 * BLOCK]);
    }

    #[test]
    fn where_nothing_is_nothing_can_be_spoilt() {
        let dir = tempfile::tempdir().unwrap();
        assert!(spoil(dir.path(), ".seg", 1, &mut Random::named(1, "rot")).is_err());
        fs::write(dir.path().join("1.seg"), vec![0; 8 * BLOCK]).unwrap();
        assert!(spoil(dir.path(), ".seg", 1, &mut Random::named(1, "rot")).is_err());
    }
}
