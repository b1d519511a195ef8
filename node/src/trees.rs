//! Comparing directory trees byte for byte, for `demo`: what was backed up against what came back.
//!
//! Not here: backing up and restoring (the SDK); this shares no code with it, so that it can disagree with it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use anyhow::Context as _;

/// The beginning of a file that marks a directory as a cache (bford.info/cachedir).
const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// What is compared of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Permission bits, and the time of the last change in seconds and nanoseconds.
    Directory(u32, (i64, i64)),
    /// The same, the length, and BLAKE3 of the contents.
    File(u32, (i64, i64), u64, [u8; 32]),
    /// The target.
    Link(Vec<u8>),
}

/// A tree by relative paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<Vec<u8>, Look>,
    /// Bytes of all files.
    pub bytes: u64,
    /// How many files.
    pub files: u64,
}

/// Reads a tree; sockets, fifos and devices do not count. `without_caches` leaves out marked directories.
pub fn read(root: &Path, without_caches: bool) -> anyhow::Result<Tree> {
    let mut tree = Tree::default();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
            let path = entry?.path();
            let about = fs::symlink_metadata(&path)?;
            let kind = about.file_type();
            if kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device() {
                continue;
            }
            let (mode, changed) = (about.mode() & 0o7777, (about.mtime(), about.mtime_nsec()));
            let look = if kind.is_dir() {
                if without_caches && is_cache(&path) {
                    continue;
                }
                open.push(path.clone());
                Look::Directory(mode, changed)
            } else if kind.is_symlink() {
                Look::Link(fs::read_link(&path)?.as_os_str().as_bytes().to_vec())
            } else {
                tree.files += 1;
                tree.bytes += about.len();
                Look::File(mode, changed, about.len(), hash(&path)?)
            };
            let relative = path.strip_prefix(root).expect("below the root").as_os_str().as_bytes().to_vec();
            tree.entries.insert(relative, look);
        }
    }
    Ok(tree)
}

impl Tree {
    /// The first differences to another tree, for people; empty if there are none.
    pub fn differences(&self, other: &Tree) -> Vec<String> {
        let name = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
        let lost_or_changed = self.entries.iter().filter_map(|(path, look)| match other.entries.get(path) {
            None => Some(format!("{} is missing", name(path))),
            Some(there) if there != look => Some(format!("{} differs: {look:?} became {there:?}", name(path))),
            Some(_) => None,
        });
        let invented = other.entries.keys().filter(|path| !self.entries.contains_key(*path));
        lost_or_changed.chain(invented.map(|path| format!("{} was not there", name(path)))).take(5).collect()
    }
}

fn is_cache(directory: &Path) -> bool {
    let mut start = [0; CACHE_TAG.len()];
    fs::File::open(directory.join("CACHEDIR.TAG")).and_then(|mut tag| tag.read_exact(&mut start)).is_ok()
        && start == CACHE_TAG
}

fn hash(path: &Path) -> anyhow::Result<[u8; 32]> {
    let mut file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut file, &mut hasher)?;
    Ok(*hasher.finalize().as_bytes())
}
