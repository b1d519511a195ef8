//! Room on the disk, and what trees of files take of it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// What a tree of files holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Regular files.
    pub files: u64,
    /// Their lengths.
    pub bytes: u64,
    /// What is allocated for them.
    pub allocated: u64,
}

/// Counts a tree; what vanishes meanwhile counts nothing.
pub fn tree(root: &Path) -> anyhow::Result<Tree> {
    let mut found = Tree::default();
    let mut open: Vec<PathBuf> = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        let entries = match fs::read_dir(&directory) {
            Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("cannot read {}", directory.display()))?,
        };
        for entry in entries {
            let path = entry.with_context(|| format!("cannot read {}", directory.display()))?.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                open.push(path);
            } else if metadata.is_file() {
                found.files += 1;
                found.bytes += metadata.len();
                found.allocated += metadata.blocks() * 512;
            }
        }
    }
    Ok(found)
}

/// Refuses to begin where the disk would fill up.
pub fn require(dir: &Path, bytes: u64) -> anyhow::Result<()> {
    let disk = rustix::fs::statvfs(dir).with_context(|| format!("cannot ask for the space at {}", dir.display()))?;
    let free = disk.f_bavail * disk.f_frsize;
    ensure!(
        bytes <= free,
        "{} has {} MB free and {} MB are needed; name another directory with --dir",
        dir.display(),
        free / 1_000_000,
        bytes / 1_000_000
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        require(dir.path(), 1).unwrap();
        let refusal = require(dir.path(), u64::MAX).unwrap_err().to_string();
        assert!(refusal.contains("--dir"), "{refusal}");
        assert_eq!(tree(dir.path()).unwrap(), Tree::default());
    }
}
