//! Node processes of one machine, as `dev` and `demo` run them: started, awaited, killed, started again.
//!
//! A dead child is reaped and stays dead until somebody starts its argv again. Not here: what a node does
//! (`wiring.rs`), founding a cluster (`found.rs`).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};

/// Holds the process id of a running node, in its data directory.
pub const PID_FILE: &str = "node.pid";

/// One node's process.
pub struct NodeProcess {
    /// The node's name.
    pub name: String,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Where it is asked whether it serves: a node's ops listener.
    pub ops: std::net::SocketAddr,
    /// What starts it: absolute, needs no environment and no working directory.
    pub argv: Vec<String>,
    child: Option<tokio::process::Child>,
}

impl NodeProcess {
    /// Not started yet.
    pub fn new(name: String, data_dir: PathBuf, ops: std::net::SocketAddr, argv: Vec<String>) -> Self {
        Self { name, data_dir, ops, argv, child: None }
    }

    /// Starts it; it logs to our stderr.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let (program, arguments) = self.argv.split_first().context("an argv names a program")?;
        let child = tokio::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            // Whoever gives up leaves no node behind.
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        self.child = Some(child);
        Ok(())
    }

    /// Its process id, while it is our child and lives.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(tokio::process::Child::id)
    }

    /// Collects the exit status if it has died.
    pub fn reap(&mut self) -> Option<std::process::ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status)
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.start_kill().context("cannot kill a child")?;
            child.wait().await.context("cannot wait for a child")?;
        }
        Ok(())
    }

    /// SIGTERM to whatever process runs this node now, our child or one that somebody else started again; SIGKILL
    /// after `patience`.
    pub async fn stop(&mut self, patience: Duration) {
        let somebody_elses = running_pid(&self.data_dir);
        for pid in [self.pid(), somebody_elses].into_iter().flatten() {
            signal(pid, Signal::TERM);
        }
        if let Some(mut child) = self.child.take()
            && tokio::time::timeout(patience, child.wait()).await.is_err()
        {
            // It may have died meanwhile; then there is nothing to kill.
            child.start_kill().ok();
            child.wait().await.ok();
        }
    }
}

/// The process that says in this data directory that it runs, if it does.
pub fn running_pid(data_dir: &Path) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(data_dir.join(PID_FILE)).ok()?.trim().parse().ok()?;
    // A number may have been given to another process since: it must be ours by its command line.
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let of_this_node = data_dir.join(crate::settings::NodeSettings::FILE);
    let of_this_node = of_this_node.as_os_str().as_encoded_bytes();
    command_line.split(|byte| *byte == 0).any(|argument| argument == of_this_node).then_some(pid)
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have died meanwhile; then there is nothing to signal.
        rustix::process::kill_process(pid, signal).ok();
    }
}

/// Waits until all processes take connections where they are asked, or says which does not.
pub async fn all_listen(processes: &mut [NodeProcess], patience: Duration) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + patience;
    for process in processes {
        while tokio::net::TcpStream::connect(process.ops).await.is_err() {
            if let Some(status) = process.reap() {
                bail!("{} ended with {status} before it served; its log is above", process.name);
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("{} does not serve after {} s; its log is above", process.name, patience.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// Waits until all nodes answer 200 at `/readyz`, or says which do not.
pub async fn all_ready(nodes: &mut [NodeProcess], patience: Duration) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + patience;
    for node in nodes {
        loop {
            if http_ok(node.ops, "/readyz").await {
                break;
            }
            if let Some(status) = node.reap() {
                bail!("node {} ended with {status} before it served; its log is above", node.name);
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("node {} does not serve after {} s; its log is above", node.name, patience.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// Whether a GET in the clear is answered with 200.
pub async fn http_ok(at: std::net::SocketAddr, path: &str) -> bool {
    http_get(at, path).await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// A GET in the clear: status line, headers and body as they came.
pub async fn http_get(at: std::net::SocketAddr, path: &str) -> anyhow::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let exchange = async {
        let mut stream = tokio::net::TcpStream::connect(at).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(Duration::from_secs(5), exchange).await.context("no answer in 5 s")?
}
