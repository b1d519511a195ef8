//! A directory that changes step by step, as something that is backed up again and again does: from nothing to some
//! megabytes, much of it repeated, all of it with the tenant's sealed canary, names too.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::random::Random;

/// Sizes of files: nothing, around a block, small, large enough to be an extent of their own, several chunks.
const SIZES: [usize; 10] = [0, 1, 100, 4095, 4097, 20_000, 65_536, 300_000, 1_048_576, 2_500_000];
/// A larger tree begins anew, with nothing.
const BYTES_MAX: usize = 6 << 20;

/// The directory and what is in it.
pub struct Grower {
    root: PathBuf,
    canary: String,
    random: Random,
    files: Vec<PathBuf>,
    bytes: usize,
    made: usize,
}

impl Grower {
    /// An empty directory.
    pub fn new(root: &Path, canary: &str, random: Random) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.to_path_buf();
        Ok(Self { root, canary: canary.to_owned(), random, files: Vec::new(), bytes: 0, made: 0 })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Changes it a little.
    pub fn step(&mut self) -> io::Result<()> {
        if BYTES_MAX < self.bytes {
            fs::remove_dir_all(&self.root)?;
            fs::create_dir(&self.root)?;
            self.files.clear();
            self.bytes = 0;
            return Ok(());
        }
        match self.random.below(10) {
            0..=3 => self.add_random(),
            4 => self.add_text(),
            5 => self.copy(),
            6 => self.edit(),
            7 => self.remove(),
            8 => self.special(),
            _ => Ok(()),
        }
    }

    /// Adds a file whose name and text surely hold the canary.
    pub fn plant(&mut self) -> io::Result<()> {
        self.add_text()
    }

    fn add_random(&mut self) -> io::Result<()> {
        let size = *self.random.one_of(&SIZES).expect("there are sizes");
        let mut bytes = vec![0; size];
        self.random.fill(&mut bytes);
        // In the open, were it not sealed: such bytes do not compress and would be stored as they are.
        let canary = self.canary.as_bytes();
        if canary.len() <= size {
            bytes[..canary.len()].copy_from_slice(canary);
        }
        self.add(&bytes)
    }

    fn add_text(&mut self) -> io::Result<()> {
        let lines = 1 + self.random.below(400);
        let text: String = (0..lines).map(|line| format!("{line} {} {}\n", self.canary, self.random.hex(8))).collect();
        self.add(text.as_bytes())
    }

    fn copy(&mut self) -> io::Result<()> {
        match self.random.one_of(&self.files) {
            Some(file) => {
                let bytes = fs::read(file)?;
                self.add(&bytes)
            }
            None => self.add_text(),
        }
    }

    fn edit(&mut self) -> io::Result<()> {
        let Some(file) = self.random.one_of(&self.files).cloned() else { return self.add_text() };
        let mut bytes = fs::read(&file)?;
        let at = self.random.below(bytes.len() + 1);
        let inserted = self.random.hex(12);
        bytes.splice(at..at, inserted.bytes());
        self.bytes += inserted.len();
        fs::write(file, bytes)
    }

    fn remove(&mut self) -> io::Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        let file = self.files.swap_remove(self.random.below(self.files.len()));
        self.bytes = self.bytes.saturating_sub(usize::try_from(fs::metadata(&file)?.len()).unwrap_or(0));
        fs::remove_file(file)
    }

    fn special(&mut self) -> io::Result<()> {
        self.made += 1;
        let name = format!("{}-{}", self.canary, self.made);
        match self.random.below(4) {
            0 => fs::create_dir_all(self.root.join(format!("empty-{}/deeper", self.made))),
            1 => std::os::unix::fs::symlink(&self.canary, self.root.join(format!("link-{}", self.made))),
            2 => {
                let mut bytes = name.into_bytes();
                bytes.extend([0xff, 0xfe]);
                let path = self.root.join(OsString::from_vec(bytes));
                fs::write(&path, b"a name that is no text")?;
                self.files.push(path);
                Ok(())
            }
            _ => {
                let mode = self.random.below(2);
                let Some(file) = self.random.one_of(&self.files) else { return Ok(()) };
                let mode = [0o600, 0o755][mode];
                fs::set_permissions(file, fs::Permissions::from_mode(mode))
            }
        }
    }

    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.made += 1;
        let directory = self.root.join(["", "a", "a/b", "c"][self.random.below(4)]);
        fs::create_dir_all(&directory)?;
        let path = directory.join(format!("{}-{}", self.canary, self.made));
        fs::write(&path, bytes)?;
        self.bytes += bytes.len();
        self.files.push(path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canary::Canaries;
    use crate::scan::Scanned;
    use crate::tree;

    #[test]
    fn a_tree_grows_begins_anew_and_follows_from_its_seed() {
        let dir = tempfile::tempdir().unwrap();
        let canary = Canaries::of(5, "acme").sealed;
        let mut growers =
            ["1", "2"].map(|name| Grower::new(&dir.path().join(name), &canary, Random::named(5, "tree")).unwrap());
        let mut digests = std::collections::BTreeSet::new();
        let (mut largest, mut emptied) = (0, 0);
        for _ in 0..120 {
            for grower in &mut growers {
                grower.step().unwrap();
            }
            assert_eq!(growers[0].files.len(), growers[1].files.len());
            largest = largest.max(growers[0].bytes);
            emptied += usize::from(growers[0].files.is_empty());
            digests.insert(tree::digest(growers[0].root()).unwrap());
        }
        assert!(60 < digests.len() && 2_000_000 < largest && 0 < emptied, "{} {largest} {emptied}", digests.len());
        assert!(!Scanned::of(dir.path(), &[&canary]).unwrap().hits.is_empty());
    }
}
