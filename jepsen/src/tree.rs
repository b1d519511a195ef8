//! What a tree of files is, as one digest: names, kinds, modes, bytes, times of files, targets of links.
//!
//! Only the harness knows these digests: the cluster cannot answer what it is expected to.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What a restore leaves in its target where the file system has no attributes.
const MARKER: &str = ".strongroom-restored";

/// The digest of what is in a directory, in hex. The directory's own attributes do not count.
pub fn digest(root: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    walk(root, Path::new(""), &mut hasher)?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn walk(root: &Path, below: &Path, hasher: &mut blake3::Hasher) -> io::Result<()> {
    let mut names = fs::read_dir(root.join(below))?.map(|e| Ok(e?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| !(below == Path::new("") && name == MARKER));
    names.sort();
    for name in names {
        let relative = below.join(&name);
        let path = root.join(&relative);
        let metadata = fs::symlink_metadata(&path)?;
        field(hasher, relative.as_os_str().as_bytes());
        if metadata.is_dir() {
            field(hasher, b"directory");
            field(hasher, &(metadata.mode() & 0o7777).to_le_bytes());
            walk(root, &relative, hasher)?;
        } else if metadata.is_symlink() {
            field(hasher, b"link");
            field(hasher, fs::read_link(&path)?.as_os_str().as_bytes());
        } else {
            field(hasher, b"file");
            field(hasher, &(metadata.mode() & 0o7777).to_le_bytes());
            field(hasher, &metadata.mtime().to_le_bytes());
            field(hasher, &metadata.mtime_nsec().to_le_bytes());
            field(hasher, &fs::read(&path)?);
        }
    }
    Ok(())
}

/// With its length before it, so that no two trees give the same bytes.
fn field(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn every_difference_gives_another_digest() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let mut seen = std::collections::BTreeSet::new();
        let mut is_new = |what: &str| assert!(seen.insert(digest(root).unwrap()), "{what} changes nothing");
        is_new("nothing");
        fs::write(root.join("a"), b"1").unwrap();
        is_new("a file");
        fs::write(root.join("a"), b"2").unwrap();
        is_new("a byte");
        fs::rename(root.join("a"), root.join("b")).unwrap();
        is_new("a name");
        fs::set_permissions(root.join("b"), fs::Permissions::from_mode(0o600)).unwrap();
        is_new("a mode");
        fs::create_dir(root.join("d")).unwrap();
        is_new("a directory");
        std::os::unix::fs::symlink("b", root.join("l")).unwrap();
        is_new("a link");
        fs::write(root.join(MARKER), b"x").unwrap();
        assert!(!seen.insert(digest(root).unwrap()), "the marker does not count");
    }
}
