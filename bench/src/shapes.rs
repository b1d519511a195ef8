//! Making the data of a shape on disk, and changing a little of it. Deterministic, never timed.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::Context as _;

use crate::content::{Dump, Sources, Stream};
use crate::plan::{Kind, Shape};

/// So much is made at a time.
const PIECE: usize = 1 << 20;
/// One of so many files, or of so many bytes, changes.
const CHANGED_ONE_IN: u64 = 100;

/// Makes the data of one client of a shape in the new directory `to`, which is then on disk.
pub fn make(shape: &Shape, client: u32, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    let name = format!("{}/{client}", shape.name);
    match shape.kind {
        Kind::Random => {
            let mut stream = Stream::named(&name);
            let mut piece = vec![0; PIECE];
            one_file(&to.join("random.bin"), shape.bytes, || {
                stream.fill(&mut piece);
                piece.clone()
            })
        }
        Kind::Dump => {
            let mut dump = Dump::named(&name);
            one_file(&to.join("dump.sql"), shape.bytes, || dump.rows(PIECE).into_bytes())
        }
        Kind::Sources { files } => sources(&name, files, shape.bytes, to),
    }
    .with_context(|| format!("cannot make the data of {}", shape.name))?;
    settle(to)
}

/// Changes about a hundredth of what [`make`] made: every hundredth file is written anew, or one stretch in the middle of
/// the only one. How many bytes are others now.
pub fn change(shape: &Shape, client: u32, in_dir: &Path) -> anyhow::Result<u64> {
    let name = format!("{}/{client}/changed", shape.name);
    let stretch = |file: &str, next: &mut dyn FnMut(usize) -> Vec<u8>| -> anyhow::Result<u64> {
        let length = shape.bytes / CHANGED_ONE_IN;
        let bytes = next(usize::try_from(length).context("a stretch larger than memory")?);
        let file = File::options().write(true).open(in_dir.join(file))?;
        file.write_all_at(&bytes[..length as usize], shape.bytes / 2)?;
        Ok(length)
    };
    let changed = match shape.kind {
        Kind::Random => stretch("random.bin", &mut |length| {
            let mut bytes = vec![0; length];
            Stream::named(&name).fill(&mut bytes);
            bytes
        }),
        Kind::Dump => stretch("dump.sql", &mut |length| Dump::named(&name).rows(length).into_bytes()),
        Kind::Sources { files } => {
            let mut text = Sources::named(&name);
            let mut changed = 0;
            for at in (0..files as usize).step_by(CHANGED_ONE_IN as usize) {
                let path = in_dir.join(source_name(at));
                let length = fs::metadata(&path)?.len();
                fs::write(&path, text.text(usize::try_from(length)?))?;
                changed += length;
            }
            Ok(changed)
        }
    }
    .with_context(|| format!("cannot change the data of {}", shape.name))?;
    settle(in_dir)?;
    Ok(changed)
}

/// Waits until what was written below `path` is on disk, so that nothing of it falls into a measured time.
pub fn settle(path: &Path) -> anyhow::Result<()> {
    let directory = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    rustix::fs::syncfs(directory).context("cannot sync the file system")
}

fn one_file(path: &Path, bytes: u64, mut next: impl FnMut() -> Vec<u8>) -> anyhow::Result<()> {
    let mut file = BufWriter::with_capacity(PIECE, File::create(path)?);
    let mut left = bytes;
    while 0 < left {
        let piece = next();
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        file.write_all(&piece[..take])?;
        left -= take as u64;
    }
    file.flush()?;
    Ok(())
}

/// A tree like a directory of vendored sources: a hundred files a package in up to four directories, most of them
/// small, a few large, one in fifty a copy of an earlier one.
fn sources(name: &str, files: u32, bytes: u64, to: &Path) -> anyhow::Result<()> {
    let mut shape = Stream::named(&format!("{name}/shape"));
    let mut text = Sources::named(name);
    // Weights with a long tail: a quarter of the files has most of the bytes.
    let weights: Vec<u64> = (0..files)
        .map(|_| {
            let even = u64::from(shape.below(1000));
            20 + even * even * even / 1_000_000
        })
        .collect();
    let in_all: u64 = weights.iter().sum();
    let mut copied = String::new();
    for (at, weight) in weights.iter().enumerate() {
        let path = to.join(source_name(at));
        fs::create_dir_all(path.parent().expect("it lies in a package"))?;
        let size = usize::try_from(bytes * weight / in_all).context("a file larger than memory")?;
        let is_copy = shape.below(50) == 0 && !copied.is_empty();
        if !is_copy {
            copied = text.text(size);
        }
        fs::write(path, &copied)?;
    }
    Ok(())
}

/// Where the file of this number lies.
fn source_name(at: usize) -> String {
    let directory = ["src", "src/inner", "tests", "docs/en"][at % 4];
    format!("package-{:03}/{directory}/file_{at:05}.rs", at / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space;

    #[test]
    fn a_tree_has_the_files_and_about_the_bytes_that_were_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let shape = Shape { name: "t", kind: Kind::Sources { files: 400 }, bytes: 2_000_000, clients: 1 };
        make(&shape, 0, dir.path()).unwrap();
        let found = space::tree(dir.path()).unwrap();
        assert_eq!(found.files, 400);
        assert!((1_700_000..2_300_000).contains(&found.bytes), "{}", found.bytes);
    }

    #[test]
    fn a_hundredth_is_changed_and_no_more() {
        for kind in [Kind::Random, Kind::Dump, Kind::Sources { files: 400 }] {
            let dir = tempfile::tempdir().unwrap();
            let shape = Shape { name: "c", kind, bytes: 2_000_000, clients: 1 };
            let (old, new) = (dir.path().join("old"), dir.path().join("new"));
            make(&shape, 0, &old).unwrap();
            make(&shape, 0, &new).unwrap();
            let changed = change(&shape, 0, &new).unwrap();
            assert!((5_000..40_000).contains(&changed), "{kind:?}: {changed}");
            assert_eq!(space::tree(&old).unwrap().bytes, space::tree(&new).unwrap().bytes);
            let file = |tree: &Path| match kind {
                Kind::Random => fs::read(tree.join("random.bin")).unwrap(),
                Kind::Dump => fs::read(tree.join("dump.sql")).unwrap(),
                Kind::Sources { .. } => fs::read(tree.join(source_name(100))).unwrap(),
            };
            let differ = file(&old).iter().zip(file(&new)).filter(|(old, new)| *old != new).count() as u64;
            assert!(0 < differ && differ <= changed, "{kind:?}: {differ} of {changed}");
        }
    }

    #[test]
    fn one_file_has_exactly_its_size_and_each_client_its_own_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let shape = Shape { name: "r", kind: Kind::Random, bytes: 1_500_001, clients: 2 };
        make(&shape, 0, &dir.path().join("0")).unwrap();
        make(&shape, 1, &dir.path().join("1")).unwrap();
        let bytes = |client: &str| fs::read(dir.path().join(client).join("random.bin")).unwrap();
        assert_eq!(bytes("0").len(), 1_500_001);
        assert_ne!(bytes("0"), bytes("1"));
    }
}
