//! Running `strongroom` and reading what it says.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::page;

/// What one run said.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The program without any of our environment.
pub fn strongroom() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STRONGROOM_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs it.
pub fn run<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Ran {
    strongroom().args(arguments).output().map(Ran::from).expect("the program starts")
}

/// Runs it with a profile and `--json`.
pub fn run_json<I: AsRef<OsStr>>(profile: &Path, arguments: impl IntoIterator<Item = I>) -> Ran {
    let mut command = strongroom();
    command.arg("--json").arg("--profile").arg(profile).args(arguments);
    command.output().map(Ran::from).expect("the program starts")
}

/// Runs it with a profile, `--json`, and something to read on stdin.
pub fn run_with_input<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>, input: &str) -> Ran {
    let mut command = strongroom();
    command.arg("--json").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads what it is given");
    child.wait_with_output().map(Ran::from).expect("a child of ours")
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("it was not killed"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

impl Ran {
    /// The objects on stdout, each with its type.
    pub fn lines(&self) -> Vec<Value> {
        let lines: Vec<Value> = self
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{line}: {why}")))
            .collect();
        for line in &lines {
            page::explains(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        }
        lines
    }

    /// The last object on stdout: the result, or the error.
    pub fn last(&self) -> Value {
        self.lines().pop().unwrap_or_else(|| panic!("nothing on stdout; stderr: {}", self.stderr))
    }

    /// The result of a run that was done.
    pub fn done(&self) -> Value {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self.last()
    }

    /// The error of a run that ended with this code, which has all its fields.
    pub fn error(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        let error = self.last();
        assert_eq!(error["type"], "error", "{error}");
        for field in ["outcome", "code", "reason", "message", "next"] {
            assert!(error[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {error}");
        }
        error
    }
}

/// The names of an object's fields.
pub fn fields(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}
