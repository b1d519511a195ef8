//! Strongroom as a contestant: its client, with the first tenant's profiles, against the dev cluster.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::application::Application;
use crate::binaries::Binaries;
use crate::child::{self, Ended};
use crate::cluster::{self, Cluster, Node};
use crate::contestant::{Contestant, Kept};
use crate::plan::InProcess;
use crate::probe::Served;

const VAULT: &str = "bench";

/// The client and whom it talks to.
pub struct Strongroom {
    client: PathBuf,
    cluster: Cluster,
    served: Served,
}

impl Strongroom {
    /// Starts a cluster below `work` and makes a vault in it.
    pub fn start(binaries: &Binaries, work: &Path) -> anyhow::Result<Self> {
        Self::over(Cluster::start(&binaries.node, &work.join("cluster"))?, binaries, work)
    }

    /// Makes a vault in a cluster that runs.
    pub fn over(cluster: Cluster, binaries: &Binaries, work: &Path) -> anyhow::Result<Self> {
        let served = Served {
            pids: cluster.file.nodes.iter().map(Node::pid).collect(),
            stores: cluster.file.nodes.iter().map(|node| node.data_dir.clone()).collect(),
        };
        let it = Self { client: binaries.client.clone(), cluster, served };
        for admin in ["acme-admin", "globex-admin"] {
            child::run(it.command(admin)?.args(["vault", "create", VAULT]), &work.join("vault.log"))?;
        }
        Ok(it)
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Backs up a file as it comes by a pipe, its holes as zeros: found in the file, they would not be read.
    pub fn back_up_piped(&self, file: &Path, label: &str, log: &Path) -> anyhow::Result<Ended> {
        child::run(&mut self.piped_command(label, &["cat".as_ref(), file.as_os_str()])?, log)
    }

    /// Ends a snapshot for ever.
    pub fn delete(&self, kept: &Kept, log: &Path) -> anyhow::Result<Ended> {
        let mut command = self.command("acme-admin")?;
        command.args(["delete", &kept.name, "--reason", "measured"]);
        child::run(&mut command, log)
    }

    /// An application of the second tenant, which lives in one shard, with a client that stays open.
    pub fn connect(&self, bytes: usize, work: &Path) -> anyhow::Result<Application> {
        Application::connect(self.cluster.profile("globex-writer")?, VAULT, bytes, work)
    }

    /// Through the SDK: how long snapshots of so many bytes take, and how long none is acknowledged when the leader is
    /// killed. The second tenant lives in one shard.
    pub fn application(&mut self, plan: &InProcess, work: &Path) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
        let mut application = self.connect(plan.bytes, work)?;
        let snapshots = application.snapshots(plan.snapshots)?;
        let admin = self.cluster.profile("globex-admin")?.to_owned();
        let (client, log) = (self.client.clone(), work.join("status.log"));
        let status = || {
            let mut command = cluster::command(&client);
            command.args(["--json", "--quiet", "--profile"]).arg(&admin).arg("status");
            Ok(child::run(&mut command, &log)?.stdout)
        };
        let failovers = application.failovers(plan.kills, &mut self.cluster, status)?;
        Ok((snapshots, failovers))
    }

    /// The command that backs up what is in a directory.
    pub fn backup_command(&self, source: &Path, label: &str) -> anyhow::Result<Command> {
        let mut command = self.command("acme-writer")?;
        command.arg("backup").arg(source).args(["--vault", VAULT, "--name", label]);
        Ok(command)
    }

    /// The command that backs up what another writes to its stdout.
    pub fn piped_command(&self, name: &str, from: &[&OsStr]) -> anyhow::Result<Command> {
        let mut command = self.command("acme-writer")?;
        command.args(["backup", "--vault", VAULT, "--from-command", name, "--"]).args(from);
        Ok(command)
    }

    /// The command that restores.
    pub fn restore_command(&self, kept: &Kept, to: &Path) -> anyhow::Result<Command> {
        let mut command = self.command("acme-restorer")?;
        command.args(["restore", &kept.name, "--to"]).arg(to);
        Ok(command)
    }

    /// The command that lists what is in the vault.
    pub fn snapshots_command(&self) -> anyhow::Result<Command> {
        let mut command = self.command("acme-writer")?;
        command.args(["snapshots", "--vault", VAULT]);
        Ok(command)
    }

    fn command(&self, profile: &str) -> anyhow::Result<Command> {
        let mut command = cluster::command(&self.client);
        command.args(["--json", "--quiet", "--profile"]).arg(self.cluster.profile(profile)?);
        Ok(command)
    }
}

impl Contestant for Strongroom {
    fn prefix(&self) -> &'static str {
        ""
    }

    fn served(&self) -> &Served {
        &self.served
    }

    /// Of all groups, counted once per entry.
    fn commits(&self) -> anyhow::Result<Option<f64>> {
        self.cluster.metric("strongroom_consensus_commits_total").map(Some)
    }

    fn back_up(&self, source: &Path, label: &str, log: &Path) -> anyhow::Result<(Ended, Kept)> {
        let ended = child::run(&mut self.backup_command(source, label)?, log)?;
        let kept = kept(&ended.stdout)?;
        Ok((ended, kept))
    }

    fn restore(&self, kept: &Kept, to: &Path, log: &Path) -> anyhow::Result<Ended> {
        child::run(&mut self.restore_command(kept, to)?, log)
    }
}

/// The snapshot that a backup's last line names.
pub fn kept(stdout: &str) -> anyhow::Result<Kept> {
    let last = stdout.lines().last().context("the client printed no result")?;
    let result: Value = serde_json::from_str(last).context("the client's last line is no JSON")?;
    ensure!(result["type"] == "backup" && result["skipped"] == 0, "an odd result: {last}");
    let name = result["snapshot"].as_str().with_context(|| format!("no snapshot in {last}"))?.to_owned();
    Ok(Kept { name, bytes_sent: result["bytes_sent"].as_u64() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_names_the_snapshot_and_a_skipped_entry_is_no_backup() {
        let good =
            "{\"type\":\"progress\"}\n{\"type\":\"backup\",\"snapshot\":\"00ff\",\"skipped\":0,\"bytes_sent\":7}\n";
        assert_eq!(kept(good).unwrap(), Kept { name: "00ff".into(), bytes_sent: Some(7) });
        assert!(kept("{\"type\":\"backup\",\"snapshot\":\"00ff\",\"skipped\":1}\n").is_err());
        assert!(kept("").is_err());
    }
}
