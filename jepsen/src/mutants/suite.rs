//! What is run against a planted bug, and what the answer means.
//!
//! | tier | commands |
//! |---|---|
//! | `core` | the rules: unit tests, scripts, properties with all laws |
//! | `images` | the host, the log and state of groups, chunks; crash images |
//! | `service` | formats, workers and doors of a node, certificates, the SDK |
//! | `nodes` | whole nodes, driven through the SDK and the command line |
//!
//! A bug is in the lowest tier where it can be seen: the lower, the faster. Not here: which bug (`catalogue.rs`).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::process;

/// A command that takes longer does not end: that is an answer too.
const WITHIN: Duration = Duration::from_secs(30 * 60);

/// A bug is built once and tested once: what the compiler does for speed, and for debuggers, takes longer than it saves.
/// Dependencies stay as they are. And no case that fails with one bug is tried first with the next.
const QUICK: [(&str, &str); 4] = [
    ("CARGO_INCREMENTAL", "1"),
    ("CARGO_PROFILE_DEV_OPT_LEVEL", "0"),
    ("CARGO_PROFILE_DEV_DEBUG", "0"),
    ("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1"),
];

/// Where a bug should be seen, the fastest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Tier {
    /// The rules.
    Core,
    /// Stores, on disks that lose power.
    Images,
    /// Formats, doors, workers, the SDK.
    Service,
    /// Whole nodes.
    Nodes,
}

impl Tier {
    /// The tier's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Images => "images",
            Self::Service => "service",
            Self::Nodes => "nodes",
        }
    }

    /// Cargo's arguments, one command a line.
    pub fn commands(self) -> &'static [&'static str] {
        match self {
            Self::Core => &["test -p strongroom-core --lib --test it"],
            Self::Images => &[
                "test -p strongroom-host",
                "test -p strongroom-consensus --lib --test it",
                "test -p strongroom-chunks",
                "test -p strongroom-sim",
                "run -p strongroom-jepsen -- crash-images 20000",
            ],
            Self::Service => &[
                "test -p strongroom-format -p strongroom-proto-identity",
                "test -p strongroom-service --lib --test it",
                "test -p strongroom-identity -p strongroom-peers -p strongroom-api",
                "test -p strongroom",
            ],
            Self::Nodes => &["test -p strongroom-node --test it", "test -p strongroom-cli"],
        }
    }

    /// What its commands are made of, from the root of the tree: as long as that stays, so does what was found.
    pub fn sources(self) -> &'static [&'static str] {
        match self {
            Self::Core => &["node/core", "proto"],
            Self::Images => &["node/core", "proto", "node/host", "node/consensus", "node/chunks", "jepsen/sim"],
            Self::Service => &["node", "proto", "client"],
            Self::Nodes => &["node", "proto", "client", "deploy"],
        }
    }
}

impl FromStr for Tier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::value_variants().iter().copied().find(|tier| tier.name() == text);
        named.ok_or_else(|| format!("there is no tier {text}"))
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It ended well.
    Passed,
    /// Something failed, as it should.
    Failed {
        /// What, for people: package, target and test.
        by: String,
        /// All that was said.
        said: String,
    },
    /// The sources do not compile, or Cargo itself failed: nothing was tested.
    Void {
        /// The words of it.
        why: String,
    },
}

/// Runs Cargo in a tree.
#[derive(Clone, Debug)]
pub struct Cargo {
    /// The tree.
    pub tree: PathBuf,
    /// Its target directory.
    pub target: PathBuf,
}

impl Cargo {
    /// Runs a command and keeps what it says in a file.
    pub fn run(&self, arguments: &[&str], said: &Path) -> anyhow::Result<Ran> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let out = File::create(said).with_context(|| format!("cannot write {}", said.display()))?;
        let mut child = Command::new(cargo)
            .args(arguments)
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_TERM_COLOR", "never")
            .envs(QUICK)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .context("cannot run cargo")?;
        let ended = wait(child.id()).context("cannot wait for cargo")?;
        if !ended {
            process::kill_with_children(child.id());
        }
        let status = child.wait().context("cannot wait for cargo")?;
        let text = String::from_utf8_lossy(&std::fs::read(said)?).into_owned();
        Ok(if ended { judge(status.success(), text) } else { Ran::Failed { by: "it did not end".into(), said: text } })
    }
}

/// Waits until a process ends; `false`: it did not in time.
fn wait(pid: u32) -> io::Result<bool> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let until = Instant::now() + WITHIN;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = left.try_into().map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Ok(events) => return Ok(events != 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn judge(is_success: bool, said: String) -> Ran {
    if is_success {
        return Ran::Passed;
    }
    if said.contains("could not compile") {
        let why = said.lines().find(|line| line.starts_with("error")).unwrap_or_default().to_owned();
        return Ran::Void { why };
    }
    let rerun = said.lines().find_map(|line| line.strip_prefix("error: test failed, to rerun pass `"));
    let target = rerun.unwrap_or_default().trim_end_matches('`').replace("-p strongroom-", "").replace("--test ", "");
    let target = target.trim_start_matches("-p ").replace("--", "");
    if let Some(test) = said.lines().find_map(failed_test) {
        return Ran::Failed { by: format!("{target} {test}").trim().to_owned(), said };
    }
    if let Some(image) = said.lines().find_map(|line| line.strip_prefix("FAILED ")?.split(':').next()) {
        return Ran::Failed { by: format!("crash-images {image}"), said };
    }
    if !target.is_empty() {
        return Ran::Failed { by: format!("{target}: the test program died"), said };
    }
    let why = said.lines().rfind(|line| line.starts_with("error")).unwrap_or("cargo failed without a word");
    Ran::Void { why: why.to_owned() }
}

fn failed_test(line: &str) -> Option<&str> {
    let by_name = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"));
    by_name.or_else(|| line.strip_prefix("---- ")?.strip_suffix(" stdout ----"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(said: &str) -> String {
        match judge(false, said.to_owned()) {
            Ran::Failed { by, .. } => by,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_failing_test_an_image_and_a_dead_program_have_their_names() {
        let said = "test locks::a ... ok\ntest locks::b ... FAILED\n\
            error: test failed, to rerun pass `-p strongroom-core --test it`\n";
        assert_eq!(by(said), "core it locks::b");
        let said =
            "test baselines::tests::c ... FAILED\nerror: test failed, to rerun pass `-p strongroom-core --lib`\n";
        assert_eq!(by(said), "core lib baselines::tests::c");
        assert_eq!(
            by("FAILED state --seed 7: a row is gone [power]\nerror: process …\n"),
            "crash-images state --seed 7"
        );
        let said = "error: test failed, to rerun pass `-p strongroom --lib`\n\nCaused by:\n  process didn't exit …\n";
        assert_eq!(by(said), "strongroom lib: the test program died");
    }

    #[test]
    fn what_does_not_compile_and_what_cargo_cannot_do_proves_nothing() {
        let said = "error[E0425]: cannot find value `x`\nerror: could not compile `strongroom-core` (lib)\n";
        assert_eq!(judge(false, said.into()), Ran::Void { why: "error[E0425]: cannot find value `x`".into() });
        let said = "error: package ID specification `strongroom-cor` did not match any packages\n";
        assert!(matches!(judge(false, said.into()), Ran::Void { .. }));
        assert_eq!(judge(true, "test a ... ok".into()), Ran::Passed);
    }

    #[test]
    fn a_command_that_fails_says_so_and_what_it_said_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let cargo = Cargo { tree: dir.path().to_owned(), target: dir.path().join("target") };
        let said = dir.path().join("said");
        assert!(matches!(cargo.run(&["test", "-p", "nothing-here"], &said).unwrap(), Ran::Void { .. }));
        assert!(std::fs::read_to_string(&said).unwrap().contains("error"));
        assert_eq!(cargo.run(&["--version"], &said).unwrap(), Ran::Passed);
    }
}
