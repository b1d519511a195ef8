//! Trees of files for tests of backups, and a machine of its own for those that look at what it remembers.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::cluster::cluster;
use crate::program::{Ran, run_json};

/// Conditions are waited for no longer than this.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A machine of acme's writer that remembers for itself.
pub struct Machine {
    pub profile: PathBuf,
    pub state: PathBuf,
}

impl Machine {
    /// A new one; `name` is its test's.
    pub fn new(name: &str) -> Self {
        let ours = cluster().profile("acme-writer");
        let profile = ours.with_file_name(format!("machine-{name}.toml"));
        let state = ours.with_file_name(format!("machine-{name}-state"));
        let text = fs::read_to_string(&ours).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let line = lines.iter_mut().find(|line| line.trim_start().starts_with("state")).expect("a state directory");
        *line = format!("state = \"{}\"", state.display());
        fs::write(&profile, lines.join("\n")).unwrap();
        Self { profile, state }
    }

    /// Runs the program on it.
    pub fn run<const N: usize>(&self, arguments: [&str; N]) -> Ran {
        run_json(&self.profile, arguments)
    }

    /// Backs up a tree that is settled, and gives all that was said.
    pub fn back_up(&self, tree: &Path, vault: &str) -> (Value, Ran) {
        settle(tree);
        let ran = self.run(["backup", text(tree), "--vault", vault, "--name", "tree"]);
        (ran.done(), ran)
    }

    /// The one cache that it has.
    pub fn cache(&self) -> PathBuf {
        let all = self.caches();
        let [cache] = &all[..] else { panic!("{all:?}") };
        cache.clone()
    }

    /// All files in its cache directory.
    pub fn caches(&self) -> Vec<PathBuf> {
        match fs::read_dir(self.state.join("cache")) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => Vec::new(),
        }
    }
}

/// A path that is text.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Bytes that nobody compresses, others for another seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}

/// Waits until no file's inode changed so lately that its time could be that of another change too.
pub fn settle(tree: &Path) {
    let newest = newest_change(tree);
    wait_until("the tree is settled", || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        newest + 3 < i64::try_from(now).unwrap()
    });
}

fn newest_change(path: &Path) -> i64 {
    let metadata = fs::symlink_metadata(path).unwrap();
    let below = match fs::read_dir(path) {
        Ok(entries) if metadata.is_dir() => entries.map(|entry| newest_change(&entry.unwrap().path())).max(),
        Ok(_) | Err(_) => None,
    };
    metadata.ctime().max(below.unwrap_or(i64::MIN))
}

/// Waits for a condition.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Restores a snapshot and compares it with the tree.
pub fn assert_restores(backup: &Value, tree: &Path) {
    let home = tempfile::tempdir().unwrap();
    let to = home.path().join("restored");
    let snapshot = backup["snapshot"].as_str().unwrap();
    cluster().run("acme-restorer", ["restore", snapshot, "--to", text(&to)]).done();
    let diff = Command::new("diff").arg("-r").arg("--no-dereference").arg(tree).arg(&to).output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
}
