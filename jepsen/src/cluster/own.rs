//! A dev cluster whose nodes are killed, paused, and started again by their argv.
//!
//! It rests on `strongroomd dev --data DIR` and `dev.json` alone. A signal goes only to a process whose command line
//! is the node's: numbers are given again.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;

use crate::cluster::file::{DevFile, Node, Start, command};
use crate::process::{self, State};

/// How long the cluster may take until it serves for the first time.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// How soon nodes forget, collect, sweep and expire, in seconds: races with these are what is looked for.
const HASTY: [(&str, u32); 3] = [("grace_seconds", 2), ("sweep_seconds", 1), ("expire_seconds", 1)];
/// How long it may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// The processes.
pub struct Own {
    dev: Mutex<Child>,
    log: PathBuf,
    now: Mutex<Vec<Now>>,
}

/// The process that runs a node now; ours to reap if we started it.
struct Now {
    pid: u32,
    child: Option<Child>,
}

impl Own {
    /// Starts `program dev` in a new directory; all nodes log to the new file `log`, for good.
    pub fn start(start: &Start<'_>) -> anyhow::Result<(Self, DevFile)> {
        let mut dev = command(start.program);
        dev.arg("dev").arg("--data").arg(start.dir);
        if !start.addresses.is_empty() {
            let addresses: Vec<String> = start.addresses.iter().map(ToString::to_string).collect();
            dev.args(["--addresses", &addresses.join(",")]);
        }
        if !start.before.is_empty() {
            dev.arg(format!("--before={}", start.before.join(" ")));
        }
        let mut dev = dev
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(append_to(start.log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", start.program.display()))?;
        let file = serving(&mut dev, start.dir, start.log).inspect_err(|_| end(&mut dev))?;
        let now = file.nodes.iter().map(|node| {
            let pid = node.pid.with_context(|| format!("dev.json names no process of {}", node.name))?;
            Ok(Now { pid, child: None })
        });
        let now = Mutex::new(now.collect::<anyhow::Result<_>>()?);
        Ok((Self { dev: Mutex::new(dev), log: start.log.to_path_buf(), now }, file))
    }

    /// SIGKILL; what shows that it took effect.
    pub fn kill(&self, nodes: &[Node], at: usize) -> Result<String, String> {
        let mut now = self.now();
        let pid = alive(&now, nodes, at)?;
        if !process::signal(pid, Signal::KILL) || !process::comes_to(pid, State::Gone) || !process::lets_go(pid) {
            return Err(format!("{}: process {pid} does not go", nodes[at].name));
        }
        if let Some(mut child) = now[at].child.take() {
            // It is gone; only its status is left.
            child.wait().ok();
        }
        Ok(format!("process {pid} is gone"))
    }

    /// SIGSTOP; what shows that it took effect.
    pub fn pause(&self, nodes: &[Node], at: usize) -> Result<String, String> {
        let now = self.now();
        let pid = alive(&now, nodes, at)?;
        if !process::signal(pid, Signal::STOP) || !process::comes_to(pid, State::Stopped) {
            return Err(format!("{}: process {pid} does not stop", nodes[at].name));
        }
        Ok(format!("process {pid} is in state T"))
    }

    /// The state of the process that runs a node, or ran it last.
    pub fn state(&self, at: usize) -> State {
        process::state(self.pid(at))
    }

    /// The process that runs a node, or ran it last.
    pub fn pid(&self, at: usize) -> u32 {
        self.now()[at].pid
    }

    /// Continues a paused node, starts a dead one, leaves a running one as it is.
    pub fn mend(&self, nodes: &[Node], at: usize) -> Result<String, String> {
        let mut now = self.now();
        let pid = now[at].pid;
        match process::state(pid) {
            State::Alive if process::is_running(pid, &nodes[at].argv) => Ok(format!("process {pid} runs")),
            State::Stopped => {
                if !process::signal(pid, Signal::CONT) || !process::comes_to(pid, State::Alive) {
                    return Err(format!("{}: process {pid} does not go on", nodes[at].name));
                }
                Ok(format!("process {pid} goes on"))
            }
            State::Gone | State::Alive => {
                if let Some(mut child) = now[at].child.take() {
                    child.wait().ok();
                }
                // It may have ended by itself a moment ago; if the number is another's by now, this waits in vain.
                process::lets_go(pid);
                let child = self.spawn(&nodes[at]).map_err(|why| format!("{}: {why:#}", nodes[at].name))?;
                let pid = child.id();
                now[at] = Now { pid, child: Some(child) };
                Ok(format!("process {pid} was started"))
            }
        }
    }

    /// Ends all nodes in order; those that do not end in time are killed.
    pub fn stop(&self, nodes: &[Node]) {
        let mut now = self.now();
        for (node, now) in nodes.iter().zip(now.iter()).filter(|(_, now)| now.child.is_some()) {
            if process::is_running(now.pid, &node.argv) {
                process::signal(now.pid, Signal::TERM);
            }
        }
        end(&mut self.dev.lock().unwrap_or_else(PoisonError::into_inner));
        let began = Instant::now();
        for (node, now) in nodes.iter().zip(now.iter_mut()) {
            while process::is_running(now.pid, &node.argv) && began.elapsed() < STOP_PATIENCE {
                std::thread::sleep(Duration::from_millis(20));
            }
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

    fn spawn(&self, node: &Node) -> anyhow::Result<Child> {
        let (program, arguments) = node.argv.split_first().context("an argv names a program")?;
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

/// Lets a node that does not run forget after some seconds, and collect, sweep and expire without rest.
pub fn hasten(data_dir: &Path) -> anyhow::Result<()> {
    let file = data_dir.join("node.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut hastened = 0;
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let name = line.split_once(" = ").map_or("", |(name, _)| name);
            match HASTY.iter().find(|(hasty, _)| *hasty == name) {
                Some((name, seconds)) => {
                    hastened += 1;
                    format!("{name} = {seconds}")
                }
                None => line.to_owned(),
            }
        })
        .collect();
    ensure!(hastened == HASTY.len(), "{} does not say how soon a node forgets", file.display());
    std::fs::write(&file, lines.join("\n") + "\n").with_context(|| format!("cannot write {}", file.display()))
}

fn alive(now: &[Now], nodes: &[Node], at: usize) -> Result<u32, String> {
    let pid = now[at].pid;
    let lives = process::state(pid) != State::Gone && process::is_running(pid, &nodes[at].argv);
    lives.then_some(pid).ok_or_else(|| format!("{}: it does not run, nobody attacked it", nodes[at].name))
}

fn append_to(log: &Path) -> anyhow::Result<File> {
    OpenOptions::new().create(true).append(true).open(log).with_context(|| format!("cannot open {}", log.display()))
}

fn serving(dev: &mut Child, dir: &Path, log: &Path) -> anyhow::Result<DevFile> {
    let began = Instant::now();
    let path = dir.join("dev.json");
    loop {
        if path.exists() {
            return DevFile::read(&path);
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
