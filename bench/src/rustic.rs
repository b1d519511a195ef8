//! rustic as a contestant, where it is installed: a repository in a local directory, no network, one copy.
//!
//! It reads and writes restic's format with its own code.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use crate::child::{self, Ended};
use crate::contestant::{Contestant, Kept};
use crate::probe::Served;

/// rustic and its repository.
pub struct Rustic {
    work: PathBuf,
    served: Served,
}

impl Rustic {
    /// Its version, if it is installed.
    pub fn version() -> Option<String> {
        let output = Command::new("rustic").arg("--version").output().ok()?;
        let line = String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned();
        output.status.success().then_some(line)
    }

    /// Makes a repository below `work`.
    pub fn start(work: &Path) -> anyhow::Result<Self> {
        let served = Served { pids: Vec::new(), stores: vec![work.join("rustic")] };
        let it = Self { work: work.to_path_buf(), served };
        child::run(it.command().arg("init"), &work.join("rustic-init.log"))?;
        Ok(it)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("rustic");
        command.env("RUSTIC_REPOSITORY", self.work.join("rustic"));
        command.env("RUSTIC_CACHE_DIR", self.work.join("rustic-cache"));
        command.env("RUSTIC_PASSWORD", "bench");
        command
    }
}

impl Contestant for Rustic {
    fn prefix(&self) -> &'static str {
        "rustic:"
    }

    fn served(&self) -> &Served {
        &self.served
    }

    fn back_up(&self, source: &Path, label: &str, log: &Path) -> anyhow::Result<(Ended, Kept)> {
        // From inside, so that the snapshot holds what is in the directory and not the way there.
        let mut command = self.command();
        command.args(["backup", "--json", "--host", label, "."]).current_dir(source);
        let ended = child::run(&mut command, log)?;
        let snapshot: Value = serde_json::from_str(ended.stdout.trim()).context("rustic's result is no JSON")?;
        let name = snapshot["id"].as_str().context("rustic names no snapshot")?.to_owned();
        Ok((ended, Kept { name, bytes_sent: None }))
    }

    fn restore(&self, kept: &Kept, to: &Path, log: &Path) -> anyhow::Result<Ended> {
        child::run(self.command().args(["restore", &kept.name]).arg(to), log)
    }
}
