//! Wall clocks of nodes: libfaketime, preloaded, reads from a file how far off each is, at every look at the clock.
//!
//! Only the wall clock is set: running clocks are true, and tokio with them. What shows that it is: the node has the library
//! in its memory, and `date`, started as the node was, tells the wrong time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};

/// Right.
pub const RIGHT: &str = "+0";

/// The files that say how far off each node's wall clock is.
#[derive(Debug)]
pub struct WallClocks {
    directory: PathBuf,
    library: PathBuf,
}

impl WallClocks {
    /// All are right.
    pub fn new(directory: &Path, library: &Path, nodes: &[String]) -> anyhow::Result<Self> {
        fs::create_dir_all(directory).context("cannot make a directory for clocks")?;
        let clocks = Self { directory: directory.into(), library: library.into() };
        ensure!(!clocks.words().iter().any(|word| word.contains(' ')), "{} has a space", directory.display());
        nodes.iter().try_for_each(|node| clocks.set(node, RIGHT))?;
        Ok(clocks)
    }

    /// The words in front of a node's command; `{node}` stands for its name.
    pub fn words(&self) -> Vec<String> {
        vec![
            "/usr/bin/env".to_owned(),
            format!("LD_PRELOAD={}", self.library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}/{{node}}", self.directory.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ]
    }

    /// Sets a node's wall clock so far off: `+10m`, `-1y`. Replaced as a whole: a node must never read half of it.
    pub fn set(&self, node: &str, offset: &str) -> anyhow::Result<()> {
        let new = self.directory.join(format!("{node}.new"));
        fs::write(&new, offset).context("cannot set a clock")?;
        fs::rename(&new, self.directory.join(node)).context("cannot set a clock")
    }

    /// How far a node's wall clock is off, in seconds, as a program sees it that is started in the node's environment.
    pub fn off(&self, node: &str) -> anyhow::Result<i64> {
        let words: Vec<String> = self.words().iter().map(|word| word.replace("{node}", node)).collect();
        let date =
            Command::new(&words[0]).args(&words[1..]).args(["date", "+%s"]).output().context("cannot run date")?;
        let shown: i64 = String::from_utf8_lossy(&date.stdout).trim().parse().context("date tells no time")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("this machine's clock is before 1970")?;
        Ok(shown - i64::try_from(now.as_secs())?)
    }

    /// Whether a process has the library in its memory.
    pub fn is_in(&self, pid: u32) -> bool {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        maps.lines().any(|line| self.library.to_str().is_some_and(|library| line.ends_with(library)))
    }
}

/// How many seconds an offset is.
pub fn seconds(offset: &str) -> Option<i64> {
    let (number, unit) = match offset.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => offset.split_at(at),
        None => (offset, "s"),
    };
    let number: i64 = number.parse().ok()?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "y" => 31_536_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_as_libfaketime_reads_them() {
        let all = [("+0", 0), ("-1s", -1), ("+10m", 600), ("-1h", -3600), ("+1d", 86_400), ("+100y", 3_153_600_000)];
        for (offset, expected) in all {
            assert_eq!(seconds(offset), Some(expected), "{offset}");
        }
        assert_eq!(seconds("soon"), None);
    }

    #[test]
    fn a_clock_is_set_by_replacing_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let clocks = WallClocks::new(dir.path(), Path::new("/lib/x.so"), &["n-1".to_owned()]).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("n-1")).unwrap(), RIGHT);
        clocks.set("n-1", "+1d").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("n-1")).unwrap(), "+1d");
        assert!(clocks.words().contains(&format!("FAKETIME_TIMESTAMP_FILE={}/{{node}}", dir.path().display())));
    }
}
