//! The command line client as a child process: what it answered, in the classes that a history knows.
//!
//! | exit code | event |
//! |---|---|
//! | 0, 5 | ok |
//! | 3 | fail: surely not done |
//! | 4, 7, 130 | info: nobody knows |
//! | 1 | info: something is broken; whether it was done is not said |
//! | 6 | damage: ok or not is the operation's business |
//! | else, or a last line that is no result | info, and against the contract |
//!
//! Everything that it prints is kept in a transcript per tenant, where canaries are looked for.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use crate::cluster::file;

/// After its deadline a command gets so much longer, then it hangs: writing files has no deadline.
const HANGS_AFTER: Duration = Duration::from_secs(90);
/// Stands at the beginning of the error of an answer that the contract does not allow.
pub const AGAINST_CONTRACT: &str = "against the contract: ";

/// How a client waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Until this deadline, which the command knows.
    Deadline(Duration),
    /// It is killed after this time, as by a crash of its machine: the outcome is unknown.
    Killed(Duration),
}

/// The client and where its words are kept.
pub struct Client {
    program: PathBuf,
    profiles: BTreeMap<String, PathBuf>,
    transcripts: PathBuf,
}

/// What a command answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Done; all objects, the result last.
    Done(Vec<Value>),
    /// Damage was found.
    Damage(String),
    /// Surely not done: `CODE/REASON: message`.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

impl Client {
    /// Transcripts are made in the directory `transcripts`.
    pub fn new(program: &Path, profiles: &BTreeMap<String, PathBuf>, transcripts: &Path) -> Self {
        Self { program: program.into(), profiles: profiles.clone(), transcripts: transcripts.into() }
    }

    /// The file that holds all that was ever said to a tenant.
    pub fn transcript(&self, tenant: &str) -> PathBuf {
        self.transcripts.join(format!("transcript-{tenant}.log"))
    }

    /// The profile of `<tenant>-<role>`; an operator has no tenant and no role.
    ///
    /// # Errors
    /// There is none.
    pub fn profile(&self, tenant: &str, role: &str) -> anyhow::Result<&Path> {
        let name = if tenant == "operator" { tenant.to_owned() } else { format!("{tenant}-{role}") };
        self.profiles.get(&name).map(PathBuf::as_path).with_context(|| format!("dev.json has no profile {name}"))
    }

    /// Runs a command as `<tenant>-<role>`; `scratch` is this caller's own directory.
    ///
    /// # Errors
    /// If the harness itself cannot go on: no such profile, no disk.
    pub fn run(
        &self,
        tenant: &str,
        role: &str,
        patience: Patience,
        scratch: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<Answer> {
        let (deadline, killed_after) = match patience {
            Patience::Deadline(deadline) => (deadline, None),
            Patience::Killed(after) => (HANGS_AFTER, Some(after)),
        };
        let profile = self.profile(tenant, role)?;
        let (out, err) = (scratch.join("stdout"), scratch.join("stderr"));
        let mut child = file::command(&self.program)
            .args(["--json", "--quiet", "--deadline", &format!("{}s", deadline.as_secs()), "--profile"])
            .arg(profile)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(&out).context("no scratch file")?)
            .stderr(File::create(&err).context("no scratch file")?)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().context("cannot wait for a child")? {
                break Some(status);
            }
            if killed_after.unwrap_or(deadline + HANGS_AFTER) < began.elapsed() {
                // It may have ended by itself meanwhile; nobody hears of it any more.
                child.kill().ok();
                child.wait().ok();
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let (stdout, stderr) = (fs::read(&out)?, fs::read(&err)?);
        let mut transcript = OpenOptions::new().create(true).append(true).open(self.transcript(tenant))?;
        let code = status.and_then(|status| status.code());
        // One write, so that answers of several callers do not mix.
        let said = [format!("$ {arguments:?} -> {code:?}\n").as_bytes(), &stdout, &stderr].concat();
        transcript.write_all(&said).context("cannot write a transcript")?;
        Ok(match status {
            None if killed_after.is_some() => Answer::Unknown("the harness killed the client".to_owned()),
            None => Answer::Unknown(format!("{AGAINST_CONTRACT}it hangs, long after its deadline")),
            Some(status) => answer(status, &String::from_utf8_lossy(&stdout)),
        })
    }
}

fn answer(status: ExitStatus, stdout: &str) -> Answer {
    let broken = |what: String| Answer::Unknown(format!("{AGAINST_CONTRACT}{what}"));
    let Some(code) = status.code() else { return broken(format!("it ended with {status}")) };
    let lines: Result<Vec<Value>, _> = stdout.lines().map(serde_json::from_str).collect();
    let Ok(lines) = lines else { return broken(format!("with {code}, stdout is not JSON Lines")) };
    let Some(last) = lines.last() else { return broken(format!("it ended with {code} and no result")) };
    if matches!(code, 0 | 5) {
        return match last["type"].as_str() {
            None | Some("error") => broken(format!("it ended with {code} and {last}")),
            Some(_) => Answer::Done(lines),
        };
    }
    if code == 6 {
        return Answer::Damage(last.to_string());
    }
    let word = |name: &str| last[name].as_str().unwrap_or("?");
    if word("type") != "error" {
        return broken(format!("it ended with {code} and {last}"));
    }
    let why = format!("{}/{}: {}", word("code"), word("reason"), word("message"));
    match code {
        1 => Answer::Unknown(format!("failed: {why}")),
        3 => Answer::Refused(why),
        4 | 7 | 130 => Answer::Unknown(why),
        _ => broken(format!("it ended with {code}: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn of(code: i32, stdout: &str) -> Answer {
        answer(ExitStatus::from_raw(code << 8), stdout)
    }

    #[test]
    fn exit_codes_become_what_a_history_knows() {
        let error = r#"{"type":"error","outcome":"x","code":"C","reason":"R","message":"m","next":"n"}"#;
        assert!(matches!(of(0, "{\"type\":\"entry\"}\n{\"type\":\"end\"}\n"), Answer::Done(lines) if lines.len() == 2));
        assert!(matches!(of(5, "{\"type\":\"backup\"}\n"), Answer::Done(_)));
        assert_eq!(of(3, error), Answer::Refused("C/R: m".into()));
        assert_eq!(of(4, error), Answer::Unknown("C/R: m".into()));
        assert_eq!(of(7, error), Answer::Unknown("C/R: m".into()));
        assert_eq!(of(1, error), Answer::Unknown("failed: C/R: m".into()));
        assert!(matches!(of(6, error), Answer::Damage(_)));
    }

    #[test]
    fn what_the_contract_does_not_allow_is_named_so() {
        let broken = |answer| matches!(answer, Answer::Unknown(why) if why.starts_with(AGAINST_CONTRACT));
        assert!(broken(of(0, "")) && broken(of(0, "done\n")) && broken(of(0, "{\"type\":\"error\"}\n")));
        assert!(broken(of(101, "{\"type\":\"error\"}\n")) && broken(of(3, "{\"type\":\"backup\"}\n")));
        assert!(broken(answer(ExitStatus::from_raw(9), "")));
    }
}
