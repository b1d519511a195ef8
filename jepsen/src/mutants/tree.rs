//! A copy of the tree in which bugs are planted: the tree itself is never touched.
//!
//! What is as it was is not written again, so that Cargo builds only what a bug touches. A copy that a killed run left with
//! a bug in it is put right before anything else. Not here: building (`suite.rs`).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// What Cargo and others put into directories that can be made again.
const CACHE_MARK: &str = "CACHEDIR.TAG";

/// A copy of a tree.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    files: BTreeSet<PathBuf>,
}

impl Tree {
    /// Makes `root` a copy of `from`, without what git and Cargo keep there.
    pub fn copy(from: &Path, root: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
        let (files, before) = (files_below(from)?, files_below(root)?);
        for file in &files {
            let (source, copy) = (from.join(file), root.join(file));
            let bytes = fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
            if fs::read(&copy).ok().as_deref() == Some(&bytes) {
                continue;
            }
            fs::create_dir_all(copy.parent().expect("a file lies in a directory"))?;
            fs::write(&copy, bytes).with_context(|| format!("cannot write {}", copy.display()))?;
            fs::set_permissions(&copy, fs::metadata(&source)?.permissions())?;
        }
        for file in before.difference(&files) {
            fs::remove_file(root.join(file)).with_context(|| format!("cannot remove {}", file.display()))?;
        }
        Ok(Self { root: root.to_owned(), files })
    }

    /// Where it lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// BLAKE3 over what lies below some directories, and over what all packages share. Papers do not count.
    pub fn digest(&self, below: &[&str]) -> anyhow::Result<String> {
        let counts = |file: &&PathBuf| {
            let is_shared = file.parent() == Some(Path::new("")) || file.starts_with(".cargo");
            let is_paper = file.extension().is_some_and(|extension| extension == "md");
            !is_paper && (is_shared || below.iter().any(|directory| file.starts_with(directory)))
        };
        let mut hasher = blake3::Hasher::new();
        for file in self.files.iter().filter(counts) {
            let bytes = fs::read(self.root.join(file))?;
            let path = file.to_string_lossy();
            for part in [path.as_bytes(), &bytes] {
                hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Writes files as a bug leaves them, until the result falls.
    pub fn plant(&self, files: Vec<(String, String)>) -> anyhow::Result<Planted> {
        let mut planted = Planted { before: Vec::new() };
        for (path, text) in files {
            let path = self.root.join(path);
            planted.before.push((path.clone(), fs::read(&path)?));
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(planted)
    }
}

/// A bug in a copy.
#[derive(Debug)]
pub struct Planted {
    before: Vec<(PathBuf, Vec<u8>)>,
}

impl Drop for Planted {
    fn drop(&mut self) {
        for (path, bytes) in self.before.drain(..) {
            if let Err(error) = fs::write(&path, bytes) {
                eprintln!("{} keeps a planted bug until the next run: {error}", path.display());
            }
        }
    }
}

/// The files of a tree, by their paths from its root.
fn files_below(root: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        if root.join(&directory).join(CACHE_MARK).exists() {
            continue;
        }
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            if path == Path::new(".git") {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_file() {
                files.insert(path);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), text).unwrap();
    }

    #[test]
    fn a_bug_is_in_the_copy_only_and_gone_when_it_falls_or_with_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let (from, root) = (dir.path().join("from"), dir.path().join("copy"));
        write(&from, "a/x.rs", "one");
        write(&from, "a/README.md", "paper");
        write(&from, "b/y.rs", "two");
        write(&from, "Cargo.lock", "lock");
        write(&from, ".git/HEAD", "git");
        write(&from, "target/CACHEDIR.TAG", "tag");
        write(&from, "target/debug/x", "made");
        let tree = Tree::copy(&from, &root).unwrap();
        assert!(!root.join(".git").exists() && !root.join("target").exists());
        let digest = |tree: &Tree| tree.digest(&["a"]).unwrap();
        let before = digest(&tree);

        let planted = tree.plant(vec![("a/x.rs".into(), "bug".into())]).unwrap();
        assert_eq!(fs::read_to_string(root.join("a/x.rs")).unwrap(), "bug");
        assert_eq!(fs::read_to_string(from.join("a/x.rs")).unwrap(), "one");
        assert_ne!(digest(&tree), before);
        drop(planted);
        assert_eq!((fs::read_to_string(root.join("a/x.rs")).unwrap(), digest(&tree)), ("one".into(), before.clone()));

        write(&root, "a/x.rs", "left by a run that was killed");
        write(&root, "a/z.rs", "nobody's");
        let unchanged = fs::metadata(root.join("b/y.rs")).unwrap().modified().unwrap();
        let tree = Tree::copy(&from, &root).unwrap();
        assert_eq!(digest(&tree), before);
        assert!(!root.join("a/z.rs").exists());
        assert_eq!(fs::metadata(root.join("b/y.rs")).unwrap().modified().unwrap(), unchanged, "nothing to build anew");

        write(&from, "b/y.rs", "three");
        write(&from, "a/README.md", "another paper");
        assert_eq!(digest(&Tree::copy(&from, &root).unwrap()), before, "another tier's, and a paper");
        write(&from, "Cargo.lock", "another");
        assert_ne!(digest(&Tree::copy(&from, &root).unwrap()), before);
    }
}
