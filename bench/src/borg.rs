//! Borg as a contestant, where it is installed: repositories in a local directory, encrypted, no network, one copy.
//!
//! A repository serves one client at a time, so each label has its own, as Borg's manual recommends.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;

use crate::child::{self, Ended};
use crate::contestant::{Contestant, Kept};
use crate::probe::Served;

/// Borg and its repositories.
pub struct Borg {
    work: PathBuf,
    served: Served,
    /// Archives have names of their own.
    archives: AtomicU64,
}

impl Borg {
    /// Its version, if it is installed.
    pub fn version() -> Option<String> {
        let output = Command::new("borg").arg("--version").output().ok()?;
        let line = String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned();
        output.status.success().then_some(line)
    }

    /// Makes a directory for repositories below `work`.
    pub fn start(work: &Path) -> anyhow::Result<Self> {
        let store = work.join("borg");
        std::fs::create_dir(&store).context("no directory for borg")?;
        let served = Served { pids: Vec::new(), stores: vec![store] };
        Ok(Self { work: work.to_path_buf(), served, archives: AtomicU64::new(0) })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("borg");
        command.env("BORG_BASE_DIR", self.work.join("borg-base"));
        command.env("BORG_PASSPHRASE", "bench");
        command
    }

    fn repository(&self, label: &str) -> PathBuf {
        self.work.join("borg").join(label)
    }
}

impl Contestant for Borg {
    fn prefix(&self) -> &'static str {
        "borg:"
    }

    fn served(&self) -> &Served {
        &self.served
    }

    fn prepare(&self, label: &str, log: &Path) -> anyhow::Result<()> {
        let repository = self.repository(label);
        if !repository.exists() {
            child::run(self.command().args(["init", "--encryption", "repokey-blake2"]).arg(repository), log)?;
        }
        Ok(())
    }

    fn back_up(&self, source: &Path, label: &str, log: &Path) -> anyhow::Result<(Ended, Kept)> {
        let number = self.archives.fetch_add(1, Ordering::Relaxed);
        let mut name = self.repository(label).into_os_string();
        name.push(format!("::{number}"));
        let name = name.into_string().ok().context("the path of borg's repository is no text")?;
        // From inside, so that the archive holds what is in the directory and not the way there.
        let mut command = self.command();
        command.args(["create", "--compression", "zstd,3", &name, "."]).current_dir(source);
        let ended = child::run(&mut command, log)?;
        Ok((ended, Kept { name, bytes_sent: None }))
    }

    fn restore(&self, kept: &Kept, to: &Path, log: &Path) -> anyhow::Result<Ended> {
        std::fs::create_dir(to)?;
        child::run(self.command().args(["extract", &kept.name]).current_dir(to), log)
    }
}
