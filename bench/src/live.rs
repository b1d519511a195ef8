//! A directory that others write to while it is backed up.
//!
//! ```text
//!   appended     lines are added at the end                 restored: a beginning of what it is later
//!   replaced     a whole new file is renamed over it        restored: one whole version
//!   coming-…     files appear and go                        restored: whole, or not at all
//!   overwritten  written in its middle                      restored: of its length; nobody can promise more
//!   still/       nobody touches it                          restored: equal
//! ```
//!
//! Each whole file ends with the hash of what stands before it, so that half of one and half of another are told.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::content::Stream;
use crate::contestant::Contestant as _;
use crate::plan::{Kind, Shape};
use crate::vault::Strongroom;
use crate::{compare, shapes};

/// So often it is backed up.
const BACKUPS: usize = 5;
const HASH_BYTES: usize = blake3::OUT_LEN;
const OVERWRITTEN_BYTES: u64 = 8 << 20;
/// So many rounds a file stays that comes.
const STAY: u64 = 50;
/// Between two rounds: others want to run, too.
const PACE: Duration = Duration::from_millis(1);

/// Backs up a living directory several times, restores each time, and checks what is there.
pub fn trip(strongroom: &Strongroom, place: &Path) -> anyhow::Result<String> {
    let source = place.join("source");
    let still = Shape { name: "live", kind: Kind::Sources { files: 5_000 }, bytes: 100_000_000, clients: 1 };
    shapes::make(&still, 0, &source.join("still"))?;
    let mut life = Life::begin(&source)?;
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                life.round()?;
                std::thread::sleep(PACE);
            }
            Ok::<_, anyhow::Error>(life.rounds)
        });
        let went = backups(strongroom, &source, place);
        ends.store(true, Ordering::Relaxed);
        let rounds = writer.join().expect("a writer does not panic").context("cannot write meanwhile")?;
        let whole = went?;
        ensure!(0 < whole, "no file that came and went was met");
        Ok(format!("{BACKUPS} backups while {rounds} rounds were written: {whole} files that came and went are whole"))
    })
}

fn backups(strongroom: &Strongroom, source: &Path, place: &Path) -> anyhow::Result<u64> {
    let log = place.join("client.log");
    let mut whole = 0;
    for backup in 0..BACKUPS {
        let (_, kept) = strongroom.back_up(source, "live", &log)?;
        let to = place.join(format!("restored-{backup}"));
        strongroom.restore(&kept, &to, &log)?;
        compare::same(&source.join("still"), &to.join("still"))?;
        whole += look(source, &to)?;
    }
    Ok(whole)
}

/// What goes on in the directory.
struct Life<'a> {
    source: &'a Path,
    content: Stream,
    appended: File,
    overwritten: File,
    rounds: u64,
}

impl<'a> Life<'a> {
    fn begin(source: &'a Path) -> anyhow::Result<Self> {
        let (appended, overwritten) =
            (File::create(source.join("appended"))?, File::create(source.join("overwritten"))?);
        overwritten.set_len(OVERWRITTEN_BYTES)?;
        Ok(Self { source, content: Stream::named("life"), appended, overwritten, rounds: 0 })
    }

    fn round(&mut self) -> anyhow::Result<()> {
        let round = self.rounds;
        writeln!(self.appended, "line {round} of what happens meanwhile")?;
        whole_file(&self.source.join("replaced"), &mut self.content)?;
        whole_file(&self.source.join(format!("coming-{round}")), &mut self.content)?;
        if let Some(old) = round.checked_sub(STAY) {
            fs::remove_file(self.source.join(format!("coming-{old}")))?;
        }
        let mut bytes = [0; 4096];
        self.content.fill(&mut bytes);
        let at = self.content.below(OVERWRITTEN_BYTES as u32 - 4096);
        self.overwritten.write_all_at(&bytes, u64::from(at))?;
        self.rounds += 1;
        Ok(())
    }
}

/// Appears at once, under its name, with the hash of its content at its end.
fn whole_file(path: &Path, content: &mut Stream) -> anyhow::Result<()> {
    let mut bytes = vec![0; 1000 + content.below(200_000) as usize];
    content.fill(&mut bytes);
    let hash = blake3::hash(&bytes);
    bytes.extend(hash.as_bytes());
    let new = path.with_extension("new");
    fs::write(&new, &bytes)?;
    Ok(fs::rename(new, path)?)
}

/// Whether a restored directory is one that was; how many files that came and went are in it.
fn look(source: &Path, restored: &Path) -> anyhow::Result<u64> {
    let (later, was) = (fs::read(source.join("appended"))?, fs::read(restored.join("appended"))?);
    ensure!(later.starts_with(&was), "`appended` is no beginning of what it became");
    let overwritten = fs::metadata(restored.join("overwritten"))?.len();
    ensure!(overwritten == OVERWRITTEN_BYTES, "`overwritten` has {overwritten} bytes");
    let mut whole = 0;
    for entry in fs::read_dir(restored)? {
        let name = entry?.file_name().into_string().ok().context("a name that nobody gave")?;
        // What is not under its name yet is nobody's promise.
        if name.ends_with(".new") || !(name.starts_with("coming-") || name == "replaced") {
            continue;
        }
        ensure!(is_whole(&fs::read(restored.join(&name))?), "`{name}` is not one of the files that were there");
        whole += u64::from(name != "replaced");
    }
    Ok(whole)
}

fn is_whole(bytes: &[u8]) -> bool {
    bytes.split_last_chunk::<HASH_BYTES>().is_some_and(|(content, hash)| blake3::hash(content) == *hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_file_is_told_from_a_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut content = Stream::named("a test");
        whole_file(&path, &mut content).unwrap();
        let first = fs::read(&path).unwrap();
        assert!(is_whole(&first) && !is_whole(&first[..first.len() - 1]) && !is_whole(b"") && !is_whole(&[0; 32]));
        whole_file(&path, &mut content).unwrap();
        let mut torn = fs::read(&path).unwrap();
        torn[..500].copy_from_slice(&first[..500]);
        assert!(!is_whole(&torn));
    }
}
