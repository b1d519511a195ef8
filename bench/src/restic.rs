//! restic as a contestant, where it is installed: a repository in a local directory, no network, one copy.
//!
//! So it does much less; it is the figure that people know.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use crate::child::{self, Ended};
use crate::contestant::{Contestant, Kept};
use crate::probe::Served;

/// restic and its repository.
pub struct Restic {
    work: PathBuf,
    served: Served,
}

impl Restic {
    /// Its version, if it is installed.
    pub fn version() -> Option<String> {
        let output = Command::new("restic").arg("version").output().ok()?;
        let line = String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned();
        output.status.success().then_some(line)
    }

    /// Makes a repository below `work`.
    pub fn start(work: &Path) -> anyhow::Result<Self> {
        let served = Served { pids: Vec::new(), stores: vec![work.join("restic")] };
        let it = Self { work: work.to_path_buf(), served };
        child::run(it.command().arg("init"), &work.join("restic-init.log"))?;
        Ok(it)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("restic");
        command.env("RESTIC_REPOSITORY", self.work.join("restic"));
        command.env("RESTIC_CACHE_DIR", self.work.join("restic-cache"));
        command.env("RESTIC_PASSWORD", "bench");
        command
    }
}

impl Contestant for Restic {
    fn prefix(&self) -> &'static str {
        "restic:"
    }

    fn served(&self) -> &Served {
        &self.served
    }

    fn back_up(&self, source: &Path, label: &str, log: &Path) -> anyhow::Result<(Ended, Kept)> {
        // From inside, so that the snapshot holds what is in the directory and not the way there.
        let mut command = self.command();
        command.args(["backup", "--json", "--host", label, "."]).current_dir(source);
        let ended = child::run(&mut command, log)?;
        let last = ended.stdout.lines().last().context("restic printed no result")?;
        let summary: Value = serde_json::from_str(last).context("restic's last line is no JSON")?;
        let name = summary["snapshot_id"].as_str().context("restic names no snapshot")?.to_owned();
        Ok((ended, Kept { name, bytes_sent: None }))
    }

    fn restore(&self, kept: &Kept, to: &Path, log: &Path) -> anyhow::Result<Ended> {
        child::run(self.command().args(["restore", "--quiet", &kept.name, "--target"]).arg(to), log)
    }
}
