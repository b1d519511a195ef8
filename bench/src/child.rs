//! One command as a child process: its time, its peak memory, what it says.
//!
//! Memory is read from `/proc` every few milliseconds while it runs; the kernel keeps the high-water mark, so only
//! growth in the last few milliseconds can be missed. CPU time is measured over whole operations (`probe.rs`).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::{interrupt, procfs};

/// How often the peak is read.
const SAMPLING: Duration = Duration::from_millis(5);
/// How often somebody is asked whether it is time.
const ASKING: Duration = Duration::from_millis(25);
/// So much of the end of a log is shown when something fails.
const TAIL_BYTES: usize = 2000;

/// A command that has ended well.
#[derive(Debug)]
pub struct Ended {
    /// From before the process was made until it had ended.
    pub duration: Duration,
    /// The most memory that it held.
    pub peak_kib: u64,
    /// What it wrote to stdout.
    pub stdout: String,
}

/// Runs a command to its end. Its stderr goes to the new file `log`.
///
/// # Errors
/// If it does not start or does not end with 0, with the end of its log; if the run is interrupted, it is ended.
pub fn run(command: &mut Command, log: &Path) -> anyhow::Result<Ended> {
    interrupt::check()?;
    let shown = format!("{command:?}");
    let stderr = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {shown}"))?;
    let pid = child.id();
    let mut pipe = child.stdout.take().expect("stdout was piped");
    let ended = AtomicBool::new(false);
    let (duration, peak_kib, stdout) = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| watch(pid, &ended));
        let mut stdout = String::new();
        let read = pipe.read_to_string(&mut stdout);
        // Not reaped yet: until the sampler has stopped, the number belongs to nobody else.
        let waited = raw(pid)
            .map(|pid| rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT));
        let duration = began.elapsed();
        ended.store(true, Ordering::Relaxed);
        let peak_kib = sampler.join().expect("the sampler does not panic");
        read.context("cannot read a child's stdout")?;
        waited.transpose().context("cannot wait for a child")?;
        anyhow::Ok((duration, peak_kib, stdout))
    })?;
    let status = child.wait().context("cannot wait for a child")?;
    interrupt::check()?;
    if !status.success() {
        bail!("{shown} ended with {status}:\n{}{}", tail(stdout.as_bytes()), tail_of(log));
    }
    Ok(Ended { duration, peak_kib, stdout })
}

/// Starts a command as [`run`] does and ends it with SIGKILL as soon as `is_time` says so, which is asked again and
/// again and told for how long it runs.
///
/// # Errors
/// If it ended by itself before, or `is_time` fails.
pub fn kill_when(
    command: &mut Command,
    log: &Path,
    mut is_time: impl FnMut(Duration) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let shown = format!("{command:?}");
    let output = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {shown}"))?;
    let asked = loop {
        if let Some(status) = child.try_wait().context("cannot wait for a child")? {
            bail!("{shown} was to be killed and ended with {status} before:\n{}", tail_of(log));
        }
        match interrupt::check().and_then(|()| is_time(began.elapsed())) {
            Ok(false) => std::thread::sleep(ASKING),
            Ok(true) => break Ok(()),
            Err(why) => break Err(why),
        }
    };
    child.kill().context("cannot kill a child")?;
    child.wait().context("cannot wait for a child")?;
    asked
}

/// The end of a log file.
pub fn tail_of(log: &Path) -> String {
    tail(&std::fs::read(log).unwrap_or_default())
}

fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]).into_owned()
}

fn watch(pid: u32, ended: &AtomicBool) -> u64 {
    let mut peak = 0;
    while !ended.load(Ordering::Relaxed) {
        peak = peak.max(procfs::peak_kib(pid).unwrap_or(0));
        if interrupt::asked()
            && let Some(pid) = raw(pid)
        {
            // It may have ended by itself meanwhile.
            rustix::process::kill_process(pid, Signal::TERM).ok();
        }
        std::thread::sleep(SAMPLING);
    }
    peak
}

fn raw(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_timed_and_its_peak_seen() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 0.1; echo done"]);
        let ended = run(&mut command, &dir.path().join("log")).unwrap();
        assert!(Duration::from_millis(100) <= ended.duration && ended.duration < Duration::from_secs(10));
        assert_eq!(ended.stdout, "done\n");
        assert!(100 < ended.peak_kib);
    }

    #[test]
    fn a_child_is_killed_when_it_is_time_and_not_if_it_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut asked = 0;
        let mut sleeps = Command::new("sleep");
        kill_when(sleeps.arg("1000"), &log, |_| {
            asked += 1;
            Ok(asked == 3)
        })
        .unwrap();
        assert_eq!(asked, 3);
        let ended = kill_when(&mut Command::new("false"), &log, |_| Ok(false)).unwrap_err().to_string();
        assert!(ended.contains("before"), "{ended}");
    }

    #[test]
    fn a_failure_shows_what_the_child_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo why >&2; exit 3"]);
        let failure = format!("{:#}", run(&mut command, &dir.path().join("log")).unwrap_err());
        assert!(failure.contains("out") && failure.contains("why") && failure.contains('3'), "{failure}");
    }
}
