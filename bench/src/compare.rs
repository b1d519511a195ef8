//! Whether a restore is what was backed up: names, kinds and every byte. A fast answer that is wrong is no figure.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

const PIECE: usize = 1 << 20;
/// What a restore leaves in its target where the file system has no attributes: it names the snapshot.
const MARKER: &str = ".strongroom-restored";

/// Names the first difference.
pub fn same(source: &Path, restored: &Path) -> anyhow::Result<()> {
    let names = |dir: &Path| -> anyhow::Result<Vec<std::ffi::OsString>> {
        let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
        let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>()?;
        names.retain(|name| name != MARKER);
        names.sort();
        Ok(names)
    };
    let (wanted, got) = (names(source)?, names(restored)?);
    ensure!(wanted == got, "{} holds other names than {}", restored.display(), source.display());
    for name in wanted {
        let (source, restored) = (source.join(&name), restored.join(&name));
        let (wanted, got) = (fs::symlink_metadata(&source)?, fs::symlink_metadata(&restored)?);
        ensure!(wanted.file_type() == got.file_type(), "{} is of another kind", restored.display());
        if wanted.is_dir() {
            same(&source, &restored)?;
        } else {
            ensure!(wanted.len() == got.len(), "{} has {} bytes, not {}", restored.display(), got.len(), wanted.len());
            same_bytes(&source, &restored)?;
        }
    }
    Ok(())
}

fn same_bytes(source: &Path, restored: &Path) -> anyhow::Result<()> {
    let (mut wanted, mut got) = (File::open(source)?, File::open(restored)?);
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let read = wanted.read(&mut left)?;
        if read == 0 {
            return Ok(());
        }
        got.read_exact(&mut right[..read])?;
        if left[..read] != right[..read] {
            bail!("{} holds other bytes than {}", restored.display(), source.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_byte_a_missing_and_an_added_file_are_differences() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for tree in [&a, &b] {
            fs::create_dir_all(tree.join("in")).unwrap();
            fs::write(tree.join("in/file"), vec![7; 3_000_000]).unwrap();
        }
        same(&a, &b).unwrap();
        let mut bytes = vec![7; 3_000_000];
        bytes[2_999_999] = 8;
        fs::write(b.join("in/file"), &bytes).unwrap();
        assert!(same(&a, &b).is_err());
        fs::remove_file(b.join("in/file")).unwrap();
        assert!(same(&a, &b).is_err());
        fs::write(b.join("in/file"), vec![7; 3_000_000]).unwrap();
        fs::write(b.join("more"), b"").unwrap();
        assert!(same(&a, &b).is_err());
    }
}
