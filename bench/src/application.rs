//! What an application sees that keeps a client open: how long a snapshot of a few kilobytes takes through the SDK, and
//! how long nothing is acknowledged when the leader is killed.
//!
//! ```text
//!   snapshots one after another ─────────┬──────────── acknowledged again ──▶ that long
//!                        SIGKILL ────────┘ the leader of the tenant's shard; then it is started again
//! ```
//!
//! Not here: whole commands (`contest.rs`).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use strongroom::backup::BackupRequest;
use strongroom::client::Client;
use strongroom::profile::Profile;
use strongroom_format::label::Label;

use crate::cluster::Cluster;
use crate::content::Stream;
use crate::interrupt;

/// How long the client waits for an election, and we for a node to come back.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before a kill, everything has been well for so many snapshots.
const WELL: u32 = 3;

/// An application with its client.
pub struct Application {
    runtime: tokio::runtime::Runtime,
    client: Client,
    vault: &'static str,
    source: PathBuf,
    content: Stream,
    bytes: usize,
}

impl Application {
    /// Connects with a writer's profile; its files lie below `work`.
    pub fn connect(profile: &Path, vault: &'static str, bytes: usize, work: &Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let client = runtime.block_on(Client::connect(Profile::read(profile)?, PATIENCE))?;
        let source = work.join("application");
        std::fs::create_dir_all(&source)?;
        Ok(Self { runtime, client, vault, source, content: Stream::named("application"), bytes })
    }

    /// One snapshot of new bytes, acknowledged: how long it took.
    pub fn snapshot(&mut self) -> anyhow::Result<Duration> {
        let mut bytes = vec![0; self.bytes];
        self.content.fill(&mut bytes);
        std::fs::write(self.source.join("file"), &bytes)?;
        let (vault, name) = (self.vault.parse()?, Label::try_from("application")?);
        let request = BackupRequest::new(std::slice::from_ref(&self.source), vault, name)?;
        let began = Instant::now();
        self.runtime.block_on(self.client.back_up(request))?;
        Ok(began.elapsed())
    }

    /// So many snapshots, one after another.
    pub fn snapshots(&mut self, count: u32) -> anyhow::Result<Vec<Duration>> {
        // The first one opens connections and sessions.
        self.snapshot()?;
        (0..count)
            .map(|_| {
                interrupt::check()?;
                self.snapshot()
            })
            .collect()
    }

    /// Kills the leader `times` times: from each kill to the end of the next snapshot, which was begun after it.
    /// `status` gives a status line of the tenant, which lives in one shard. A killed node is started again as `dev.json`
    /// says, and waited for.
    pub fn failovers(
        &mut self,
        times: u32,
        cluster: &mut Cluster,
        status: impl Fn() -> anyhow::Result<String>,
    ) -> anyhow::Result<Vec<Duration>> {
        let mut all = Vec::new();
        for _ in 0..times {
            interrupt::check()?;
            for _ in 0..WELL {
                self.snapshot()?;
            }
            let name = leader_in(&status()?)?;
            let at = cluster.file.nodes.iter().position(|node| node.name == name);
            let at = at.with_context(|| format!("dev.json has no node {name}"))?;
            cluster.kill(at)?;
            let killed = Instant::now();
            self.snapshot()?;
            all.push(killed.elapsed());
            cluster.restart(at)?;
            let began = Instant::now();
            while !is_whole(&status()?)? {
                ensure!(began.elapsed() < PATIENCE, "node {name} does not come back");
                interrupt::check()?;
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        Ok(all)
    }
}

/// The leader of the only shard in a status line of a tenant that lives in one.
pub fn leader_in(status: &str) -> anyhow::Result<String> {
    let status: Value = serde_json::from_str(status).context("the status is no JSON")?;
    let leader = match status["shards"].as_array().map(Vec::as_slice) {
        Some([shard]) => shard["leader"].as_str().unwrap_or_default(),
        _ => bail!("the tenant does not live in one shard: {status}"),
    };
    ensure!(!leader.is_empty(), "the shard has no leader");
    Ok(leader.to_owned())
}

/// Whether all nodes in a status line are up.
pub fn is_whole(status: &str) -> anyhow::Result<bool> {
    let status: Value = serde_json::from_str(status).context("the status is no JSON")?;
    let nodes = status["nodes"].as_array().context("the status names no nodes")?;
    Ok(nodes.iter().all(|node| node["up"] == true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_names_the_leader_and_who_is_up() {
        let line = r#"{"type":"status","nodes":[{"name":"a","up":true},{"name":"b","up":false}],
            "shards":[{"id":2,"leader":"b"}]}"#;
        assert_eq!(leader_in(line).unwrap(), "b");
        assert!(!is_whole(line).unwrap());
        assert!(leader_in(&line.replace("\"b\"}]", "\"\"}]")).is_err());
        assert!(leader_in(r#"{"shards":[{"leader":"a"},{"leader":"b"}]}"#).is_err());
    }
}
