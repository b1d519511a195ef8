//! A dev cluster whose nodes are killed, paused, and started again by their argv.
//!
//! It rests on `strongroomd dev --data DIR` and `dev.json` alone. A signal goes only to a process whose command line
//! is the node's: numbers are given again.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use serde::Deserialize;

use crate::process::{self, State};

/// How long the cluster may take until it serves for the first time.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// How long a node may take to answer at its ops port.
const HTTP_PATIENCE: Duration = Duration::from_secs(3);

/// A running cluster; dropped, it ends.
pub struct Cluster {
    dev: Mutex<Child>,
    log: PathBuf,
    /// The nodes, in the order of `dev.json`.
    pub nodes: Vec<Node>,
    /// Paths of profiles, by name.
    pub profiles: BTreeMap<String, PathBuf>,
    now: Mutex<Vec<Now>>,
}

/// A node of `dev.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    pid: u32,
    argv: Vec<String>,
    /// What it keeps.
    pub data_dir: PathBuf,
    ops: SocketAddr,
}

#[derive(Deserialize)]
struct DevFile {
    version: u32,
    nodes: Vec<Node>,
    profiles: BTreeMap<String, PathBuf>,
}

/// The process that runs a node now; ours to reap if we started it.
struct Now {
    pid: u32,
    child: Option<Child>,
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
    /// Starts `program dev` in the new directory `dir`; all nodes log to the new file `log`, for good.
    pub fn start(program: &Path, dir: &Path, log: &Path) -> anyhow::Result<Self> {
        let mut dev = command(program)
            .arg("dev")
            .arg("--data")
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(append_to(log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        match serving(&mut dev, dir, log) {
            Ok(file) => Ok(Self {
                dev: Mutex::new(dev),
                log: log.to_path_buf(),
                now: Mutex::new(file.nodes.iter().map(|node| Now { pid: node.pid, child: None }).collect()),
                nodes: file.nodes,
                profiles: file.profiles,
            }),
            Err(why) => {
                end(&mut dev);
                Err(why)
            }
        }
    }

    /// SIGKILL; what shows that it took effect.
    pub fn kill(&self, at: usize) -> Result<String, String> {
        let mut now = self.now();
        let pid = self.alive(&now, at)?;
        if !process::signal(pid, Signal::KILL) || !process::comes_to(pid, State::Gone) {
            return Err(format!("{}: process {pid} does not go", self.nodes[at].name));
        }
        if let Some(mut child) = now[at].child.take() {
            // It is gone; only its status is left.
            child.wait().ok();
        }
        Ok(format!("process {pid} is gone"))
    }

    /// SIGSTOP; what shows that it took effect.
    pub fn pause(&self, at: usize) -> Result<String, String> {
        let now = self.now();
        let pid = self.alive(&now, at)?;
        if !process::signal(pid, Signal::STOP) || !process::comes_to(pid, State::Stopped) {
            return Err(format!("{}: process {pid} does not stop", self.nodes[at].name));
        }
        Ok(format!("process {pid} is in state T"))
    }

    /// The state of the process that runs a node, or ran it last.
    pub fn state(&self, at: usize) -> State {
        process::state(self.now()[at].pid)
    }

    /// Continues a paused node, starts a dead one, leaves a running one as it is.
    pub fn mend(&self, at: usize) -> Result<String, String> {
        let mut now = self.now();
        let pid = now[at].pid;
        match process::state(pid) {
            State::Alive if process::is_running(pid, &self.nodes[at].argv) => Ok(format!("process {pid} runs")),
            State::Stopped => {
                if !process::signal(pid, Signal::CONT) || !process::comes_to(pid, State::Alive) {
                    return Err(format!("{}: process {pid} does not go on", self.nodes[at].name));
                }
                Ok(format!("process {pid} goes on"))
            }
            State::Gone | State::Alive => {
                if let Some(mut child) = now[at].child.take() {
                    child.wait().ok();
                }
                let child = self.spawn(at).map_err(|why| format!("{}: {why:#}", self.nodes[at].name))?;
                let pid = child.id();
                now[at] = Now { pid, child: Some(child) };
                Ok(format!("process {pid} was started"))
            }
        }
    }

    /// Whether all groups of a node serve, by its own word.
    pub fn is_ready(&self, at: usize) -> bool {
        http_get(self.nodes[at].ops, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Waits until these nodes are ready; names those that are not in time.
    pub fn become_ready(&self, nodes: &[usize], patience: Duration) -> Result<(), String> {
        let began = Instant::now();
        for at in nodes {
            while !self.is_ready(*at) {
                if patience < began.elapsed() {
                    return Err(format!("{} is not ready after {} s", self.nodes[*at].name, patience.as_secs()));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// The metrics page of a node.
    pub fn metrics(&self, at: usize) -> std::io::Result<String> {
        http_get(self.nodes[at].ops, "/metrics")
    }

    /// Ends all nodes.
    pub fn stop(&self) {
        end(&mut self.dev.lock().unwrap_or_else(PoisonError::into_inner));
        for (node, now) in self.nodes.iter().zip(self.now().iter_mut()) {
            if process::is_running(now.pid, &node.argv) {
                process::signal(now.pid, Signal::KILL);
            }
            if let Some(mut child) = now.child.take() {
                child.wait().ok();
            }
        }
    }

    fn now(&self) -> MutexGuard<'_, Vec<Now>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self, now: &[Now], at: usize) -> Result<u32, String> {
        let pid = now[at].pid;
        let lives = process::state(pid) != State::Gone && process::is_running(pid, &self.nodes[at].argv);
        lives.then_some(pid).ok_or_else(|| format!("{}: it does not run, nobody attacked it", self.nodes[at].name))
    }

    fn spawn(&self, at: usize) -> anyhow::Result<Child> {
        let (program, arguments) = self.nodes[at].argv.split_first().context("an argv names a program")?;
        command(Path::new(program))
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(append_to(&self.log)?)
            .spawn()
            .with_context(|| format!("cannot start {program}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

fn append_to(log: &Path) -> anyhow::Result<File> {
    OpenOptions::new().create(true).append(true).open(log).with_context(|| format!("cannot open {}", log.display()))
}

fn serving(dev: &mut Child, dir: &Path, log: &Path) -> anyhow::Result<DevFile> {
    let began = Instant::now();
    loop {
        if let Ok(text) = fs::read_to_string(dir.join("dev.json")) {
            let file: DevFile = serde_json::from_str(&text).context("dev.json is not as CONTRACTS says")?;
            ensure!(file.version == 1, "dev.json has version {}, not 1", file.version);
            return Ok(file);
        }
        if let Some(status) = dev.try_wait().context("cannot wait for strongroomd dev")? {
            bail!("strongroomd dev ended with {status} before it served; see {}", log.display());
        }
        ensure!(began.elapsed() < START_PATIENCE, "strongroomd dev does not serve in time; see {}", log.display());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// SIGTERM, which ends the nodes too; after a while SIGKILL. Errors mean that it has ended.
fn end(dev: &mut Child) {
    let began = Instant::now();
    if matches!(dev.try_wait(), Ok(None)) {
        process::signal(dev.id(), Signal::TERM);
    }
    while matches!(dev.try_wait(), Ok(None)) {
        if STOP_PATIENCE < began.elapsed() {
            dev.kill().ok();
            dev.wait().ok();
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn http_get(at: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&at, HTTP_PATIENCE)?;
    stream.set_read_timeout(Some(HTTP_PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
