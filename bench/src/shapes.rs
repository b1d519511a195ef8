//! Making the data of a shape on disk. Deterministic, never timed.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Context as _;

use crate::content::{Dump, Sources, Stream};
use crate::plan::{Kind, Shape};

/// So much is made at a time.
const PIECE: usize = 1 << 20;

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
        let package = at / 100;
        let directory = to.join(format!("package-{package:03}")).join(["src", "src/inner", "tests", "docs/en"][at % 4]);
        fs::create_dir_all(&directory)?;
        let size = usize::try_from(bytes * weight / in_all).context("a file larger than memory")?;
        let is_copy = shape.below(50) == 0 && !copied.is_empty();
        if !is_copy {
            copied = text.text(size);
        }
        fs::write(directory.join(format!("file_{at:05}.rs")), &copied)?;
    }
    Ok(())
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
