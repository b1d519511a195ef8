//! A dev cluster on this machine, six nodes in three regions: started, measured from outside, ended.
//!
//! It rests on `strongroomd dev --data DIR` and `dev.json` alone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal};
use serde::Deserialize;

use crate::child::tail_of;
use crate::interrupt;

/// How long the cluster may take until it serves.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// How long a node may take to show its metrics.
const SCRAPE_PATIENCE: Duration = Duration::from_secs(5);

/// A running cluster; dropped, it ends.
pub struct Cluster {
    dev: Child,
    /// Nodes that were started again, which `dev` knows nothing of.
    restarted: Mutex<Vec<Child>>,
    /// What stands in `dev.json`.
    pub file: DevFile,
}

/// `dev.json`, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct DevFile {
    version: u32,
    /// The nodes.
    pub nodes: Vec<Node>,
    profiles: BTreeMap<String, PathBuf>,
}

/// A node of `dev.json`.
#[derive(Debug, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// How it is started.
    pub argv: Vec<String>,
    pid: AtomicU32,
    /// What it keeps.
    pub data_dir: PathBuf,
    /// Where `/metrics` is.
    pub ops: SocketAddr,
}

/// A command that does not see what somebody has set for their own use of the client.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"STRONGROOM_")) {
        command.env_remove(name);
    }
    command
}

impl Cluster {
    /// Starts `program dev` in the new directory `dir` and waits until everything serves.
    pub fn start(program: &Path, dir: &Path) -> anyhow::Result<Self> {
        let log = dir.with_extension("log");
        let stderr = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut dev = command(program)
            .arg("dev")
            .arg("--data")
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        match serving(&mut dev, dir, &log) {
            Ok(file) => Ok(Self { dev, restarted: Mutex::default(), file }),
            Err(why) => {
                end(&mut dev);
                Err(why)
            }
        }
    }

    /// Path of a profile.
    pub fn profile(&self, name: &str) -> anyhow::Result<&Path> {
        Ok(self.file.profiles.get(name).with_context(|| format!("dev.json has no profile {name}"))?)
    }

    /// Starts it, changes settings of each node (a key that is there once, and its value as TOML), and starts it again.
    pub fn start_with(program: &Path, dir: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let founded = Self::start(program, dir)?;
        let files: Vec<PathBuf> = founded.file.nodes.iter().map(|node| node.data_dir.join("node.toml")).collect();
        drop(founded);
        for file in files {
            let mut text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            for (key, value) in settings {
                text = with_setting(&text, key, value).with_context(|| format!("no {key} in {}", file.display()))?;
            }
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Self::start(program, dir)
    }

    /// The sum of a metric over all nodes and label sets.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        self.file.nodes.iter().map(|node| node.metric(name, "")).sum()
    }

    /// SIGKILL to a node.
    pub fn kill(&self, at: usize) -> anyhow::Result<()> {
        signal(self.file.nodes[at].pid(), Signal::KILL)
    }

    /// Starts a node again with its argv, as soon as what was killed or stopped is gone with all its threads. `dev` ends
    /// its own children only: this one ends with the cluster.
    pub fn restart(&self, at: usize) -> anyhow::Result<()> {
        let node = &self.file.nodes[at];
        let Some((program, arguments)) = node.argv.split_first() else { bail!("{} has no argv", node.name) };
        let began = Instant::now();
        let child = loop {
            let mut child = command(Path::new(program))
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .with_context(|| format!("cannot start {program}"))?;
            // A lock on the directory is held until the last thread of the one before is gone: then it ends at once.
            std::thread::sleep(Duration::from_millis(300));
            match child.try_wait()? {
                None => break child,
                Some(_) if began.elapsed() < STOP_PATIENCE => {}
                Some(status) => bail!("node {} ended with {status}", node.name),
            }
        };
        node.pid.store(child.id(), Ordering::Relaxed);
        self.restarted().push(child);
        Ok(())
    }

    /// SIGTERM to all nodes at once, and waits until `inspect` says that none runs: what lies on each one's disk.
    pub fn stop_and_inspect(&self, program: &Path) -> anyhow::Result<Vec<Vec<GroupOnDisk>>> {
        self.file.nodes.iter().try_for_each(|node| signal(node.pid(), Signal::TERM))?;
        let stopped = Instant::now();
        let mut all = Vec::new();
        for node in &self.file.nodes {
            all.push(loop {
                interrupt::check()?;
                // A child that nobody waits for stays a process.
                self.restarted().iter_mut().for_each(|child| drop(child.try_wait()));
                match inspect(program, &node.data_dir) {
                    Ok(groups) => break groups,
                    Err(fault) => ensure!(stopped.elapsed() < STOP_PATIENCE, "{}: {fault:#}", node.name),
                }
                std::thread::sleep(Duration::from_millis(100));
            });
        }
        Ok(all)
    }

    fn restarted(&self) -> MutexGuard<'_, Vec<Child>> {
        self.restarted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// The sum of a metric over the label sets that contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> anyhow::Result<f64> {
        Ok(sum_in(&scrape(self.ops, "/metrics")?, name, label))
    }

    /// Whether all its groups serve.
    pub fn is_ready(&self) -> bool {
        scrape(self.ops, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }
}

/// A group of `strongroomd inspect`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GroupOnDisk {
    /// Its number.
    pub id: u32,
    /// The index of the last entry that was applied.
    pub applied: Option<u64>,
    /// What the state adds up to.
    pub digest: Option<String>,
}

/// A text of TOML with another number behind the only key of this name.
fn with_setting(text: &str, key: &str, value: &str) -> Option<String> {
    let is_it = |line: &&str| line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
    let line = text.lines().find(is_it)?;
    Some(text.replacen(line, &format!("{key} = {value}"), 1))
}

fn inspect(program: &Path, data_dir: &Path) -> anyhow::Result<Vec<GroupOnDisk>> {
    let output = command(program).arg("inspect").arg(data_dir).arg("--json").output().context("cannot inspect")?;
    ensure!(output.status.success(), "inspect: {}", String::from_utf8_lossy(&output.stderr).trim());
    groups_in(&String::from_utf8_lossy(&output.stdout))
}

fn groups_in(lines: &str) -> anyhow::Result<Vec<GroupOnDisk>> {
    let objects = lines.lines().map(serde_json::from_str::<serde_json::Value>).collect::<Result<Vec<_>, _>>()?;
    ensure!(objects.last().is_some_and(|last| last["type"] == "end"), "inspect broke off");
    let groups = objects.into_iter().filter(|object| object["type"] == "group");
    Ok(groups.map(serde_json::from_value).collect::<Result<_, _>>()?)
}

fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
    rustix::process::kill_process(process, signal).with_context(|| format!("process {pid} takes no signal"))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.restarted().iter_mut().for_each(end);
        end(&mut self.dev);
    }
}

fn serving(dev: &mut Child, dir: &Path, log: &Path) -> anyhow::Result<DevFile> {
    let began = Instant::now();
    let path = dir.join("dev.json");
    loop {
        interrupt::check()?;
        if let Ok(text) = fs::read_to_string(&path) {
            let file: DevFile = serde_json::from_str(&text).context("dev.json is not as CONTRACTS says")?;
            ensure!(file.version == 1, "dev.json has version {}, not 1", file.version);
            return Ok(file);
        }
        if let Some(status) = dev.try_wait().context("cannot wait for strongroomd dev")? {
            bail!("strongroomd dev ended with {status} before it served:\n{}", tail_of(log));
        }
        ensure!(began.elapsed() < START_PATIENCE, "strongroomd dev does not serve in time:\n{}", tail_of(log));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// SIGTERM, which ends the nodes too; after a while SIGKILL.
fn end(dev: &mut Child) {
    let pid = i32::try_from(dev.id()).ok().and_then(Pid::from_raw);
    let began = Instant::now();
    // Errors mean that it has ended: nothing is left to do then.
    if let Some(pid) = pid
        && matches!(dev.try_wait(), Ok(None))
    {
        rustix::process::kill_process(pid, Signal::TERM).ok();
    }
    while began.elapsed() < STOP_PATIENCE {
        if !matches!(dev.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    dev.kill().ok();
    dev.wait().ok();
}

fn scrape(ops: SocketAddr, path: &str) -> anyhow::Result<String> {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&ops, SCRAPE_PATIENCE)?;
        stream.set_read_timeout(Some(SCRAPE_PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {ops}\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    exchange().with_context(|| format!("no answer from {ops}"))
}

fn sum_in(text: &str, metric: &str, label: &str) -> f64 {
    let value = |line: &str| -> Option<f64> {
        let rest = line.strip_prefix(metric)?.strip_prefix(['{', ' '])?;
        let (labels, value) = rest.rsplit_once(' ').unwrap_or(("", rest));
        labels.contains(label).then(|| value.trim().parse().ok()).flatten()
    };
    text.lines().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dev_json_is_read_and_what_is_new_in_it_ignored() {
        let text = r#"{"version":1,"cluster":"dev","nodes":[{"name":"north-1","region":"north","pid":7,"argv":["/x"],
            "data_dir":"/d","tenant":"127.0.0.1:1","peer":"127.0.0.1:2","operator":"127.0.0.1:3","ops":"127.0.0.1:4"}],
            "profiles":{"acme-writer":"/p"},"later":1}"#;
        let file: DevFile = serde_json::from_str(text).unwrap();
        assert_eq!((file.nodes[0].pid(), file.nodes[0].ops.port()), (7, 4));
    }

    #[test]
    fn a_metric_is_summed_over_its_label_sets() {
        let text = "# HELP a_total x\na_total{g=\"1\"} 2\na_total{g=\"2\"} 3\na_total_more 9\nb 1\n";
        assert_eq!(sum_in(text, "a_total", ""), 5.0);
        assert_eq!(sum_in(text, "a_total", "g=\"2\""), 3.0);
        assert_eq!(sum_in(text, "b", ""), 1.0);
        assert_eq!(sum_in(text, "b", "g"), 0.0);
        assert_eq!(sum_in(text, "c", ""), 0.0);
    }

    #[test]
    fn a_setting_is_changed_where_it_stands_and_only_if_it_does() {
        let text = "[log]\nsnapshot_entries = 50000\nsnapshot_bytes = 1\n";
        let changed = with_setting(text, "snapshot_entries", "100").unwrap();
        assert_eq!(changed, "[log]\nsnapshot_entries = 100\nsnapshot_bytes = 1\n");
        assert_eq!(with_setting(text, "tail_entries", "100"), None);
    }

    #[test]
    fn groups_are_read_from_an_inspection_that_did_not_break_off() {
        let lines = "{\"type\":\"fragment\"}\n\
            {\"type\":\"group\",\"id\":3,\"applied\":9,\"term\":2,\"digest\":\"00ff\"}\n\
            {\"type\":\"end\",\"count\":2}\n";
        let group = GroupOnDisk { id: 3, applied: Some(9), digest: Some("00ff".into()) };
        assert_eq!(groups_in(lines).unwrap(), [group]);
        assert!(groups_in(&lines[..40]).is_err());
        assert!(groups_in("").is_err());
    }
}
