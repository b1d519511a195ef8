//! Strongroom as a contestant: its client, with the first tenant's profiles, against the dev cluster.

use std::path::{Path, PathBuf};
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
            it.run(admin, &work.join("vault.log"), |command| command.args(["vault", "create", VAULT]))?;
        }
        Ok(it)
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Entries that all groups have committed so far, counted once per entry.
    pub fn commits(&self) -> anyhow::Result<f64> {
        self.cluster.metric("strongroom_consensus_commits_total")
    }

    /// Backs up a file as it comes by a pipe, its holes as zeros: found in the file, they would not be read.
    pub fn back_up_piped(&self, file: &Path, label: &str, log: &Path) -> anyhow::Result<Ended> {
        self.run("acme-writer", log, |command| {
            let command = command.args(["backup", "--vault", VAULT, "--name", label, "--from-command", "piped", "--"]);
            command.arg("cat").arg(file)
        })
    }

    /// Through the SDK: how long snapshots of so many bytes take, and how long none is acknowledged when the leader is
    /// killed. The second tenant lives in one shard.
    pub fn application(&mut self, plan: &InProcess, work: &Path) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
        let profile = self.cluster.profile("globex-writer")?.to_owned();
        let mut application = Application::connect(&profile, VAULT, plan.bytes, work)?;
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

    fn run(
        &self,
        profile: &str,
        log: &Path,
        arguments: impl FnOnce(&mut std::process::Command) -> &mut std::process::Command,
    ) -> anyhow::Result<Ended> {
        let mut command = cluster::command(&self.client);
        command.args(["--json", "--quiet", "--profile"]).arg(self.cluster.profile(profile)?);
        child::run(arguments(&mut command), log)
    }
}

impl Contestant for Strongroom {
    fn prefix(&self) -> &'static str {
        ""
    }

    fn served(&self) -> &Served {
        &self.served
    }

    fn back_up(&self, source: &Path, label: &str, log: &Path) -> anyhow::Result<(Ended, Kept)> {
        let ended = self.run("acme-writer", log, |command| {
            command.arg("backup").arg(source).args(["--vault", VAULT, "--name", label])
        })?;
        let kept = kept(&ended.stdout)?;
        Ok((ended, kept))
    }

    fn restore(&self, kept: &Kept, to: &Path, log: &Path) -> anyhow::Result<Ended> {
        self.run("acme-restorer", log, |command| command.args(["restore", &kept.0, "--to"]).arg(to))
    }
}

/// The snapshot that a backup's last line names.
fn kept(stdout: &str) -> anyhow::Result<Kept> {
    let last = stdout.lines().last().context("the client printed no result")?;
    let result: Value = serde_json::from_str(last).context("the client's last line is no JSON")?;
    ensure!(result["type"] == "backup" && result["skipped"] == 0, "an odd result: {last}");
    Ok(Kept(result["snapshot"].as_str().with_context(|| format!("no snapshot in {last}"))?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_names_the_snapshot_and_a_skipped_entry_is_no_backup() {
        let good = "{\"type\":\"progress\"}\n{\"type\":\"backup\",\"snapshot\":\"00ff\",\"skipped\":0}\n";
        assert_eq!(kept(good).unwrap().0, "00ff");
        assert!(kept("{\"type\":\"backup\",\"snapshot\":\"00ff\",\"skipped\":1}\n").is_err());
        assert!(kept("").is_err());
    }
}
