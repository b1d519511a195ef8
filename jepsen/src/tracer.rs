//! strace beside a running node: its syncs fail, do nothing or take long. Ended, the node runs on as before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;

use crate::process;

/// How long attaching may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a node syncs with.
const SYNCS: &str = "fdatasync,fsync,syncfs";

/// What becomes of syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncs {
    /// The first of each thread fails with EIO.
    FailOnce,
    /// Each says yes and does nothing.
    Swallowed,
    /// Each takes so much longer.
    Delayed(Duration),
}

/// An strace that is attached.
#[derive(Debug)]
pub struct Tracer {
    strace: Child,
    log: PathBuf,
    mark: &'static str,
}

impl Tracer {
    /// Attaches to all threads of a process; strace writes what it did into `log`.
    pub fn attach(pid: u32, syncs: Syncs, log: &Path) -> anyhow::Result<Self> {
        let (inject, mark) = match syncs {
            Syncs::FailOnce => (format!("inject={SYNCS}:error=EIO:when=1"), "(INJECTED)"),
            Syncs::Swallowed => (format!("inject={SYNCS}:retval=0"), "(INJECTED)"),
            Syncs::Delayed(by) => (format!("inject={SYNCS}:delay_enter={}", by.as_micros()), "(DELAYED)"),
        };
        let said = log.with_extension("said");
        fs::remove_file(log).ok();
        let strace = Command::new("strace")
            .args(["-f", "-p", &pid.to_string(), "-e", &format!("trace={SYNCS}"), "-e", &inject, "-o"])
            .arg(log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&said).context("cannot keep what strace says")?)
            .spawn()
            .context("cannot start strace")?;
        let mut tracer = Self { strace, log: log.into(), mark };
        let began = Instant::now();
        while !fs::read_to_string(&said)?.contains("attached") {
            if let Some(status) = tracer.strace.try_wait()? {
                bail!("strace ended with {status}: {}", fs::read_to_string(&said)?.trim());
            }
            ensure!(began.elapsed() < PATIENCE, "strace does not attach");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(tracer)
    }

    /// How many syncs it met.
    pub fn met(&self) -> usize {
        fs::read_to_string(&self.log).unwrap_or_default().lines().filter(|line| line.contains(self.mark)).count()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It lets go of the node when it is asked to end; killed, it would too, but not of a stopped one.
        process::signal(self.strace.id(), Signal::TERM);
        let began = Instant::now();
        while matches!(self.strace.try_wait(), Ok(None)) {
            if PATIENCE < began.elapsed() {
                self.strace.kill().ok();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
