//! How the program ends: exit codes, and errors as scripts and people get them.
//!
//! | code | means | |
//! |---|---|---|
//! | 0 | done | |
//! | 1 | failed | something is broken: read the message |
//! | 2 | usage | ask differently: `--help` |
//! | 3 | refused | the rules say no: the same again gives the same answer |
//! | 4 | unknown | it may have been done: ask before doing it again |
//! | 5 | done, some entries skipped | |
//! | 6 | damage found | |
//! | 7 | unavailable, or nobody answered until the deadline | try again later |
//! | 130 | interrupted | |
//!
//! Not here: what the SDK's errors mean (`strongroom::error`).

use std::error::Error as _;
use std::process::ExitCode;

use serde::Serialize;
use strongroom::error::Error;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was done.
    Done,
    /// Something is broken.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// The rules, a node or the SDK say no.
    Refused,
    /// It may have been done.
    Unknown,
    /// It was done, and some entries are not in it.
    SomeSkipped,
    /// Data is damaged.
    DamageFound,
    /// Nobody answered in time, or what is needed is not there now.
    Unavailable,
    /// The user stopped it.
    Interrupted,
}

impl Exit {
    /// The number that a shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Unknown => 4,
            Self::SomeSkipped => 5,
            Self::DamageFound => 6,
            Self::Unavailable => 7,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Whether stopping a command leaves a doubt about what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing in the cluster.
    None,
    /// It changes nothing in the cluster, and has left a staging directory to go on from.
    Staged,
    /// It may have changed something.
    Changes,
    /// It may have changed something, and the same again goes on where it was.
    GoesOn,
}

/// Why there is no result.
#[derive(Debug)]
pub enum Failure {
    /// What the SDK says, or what this program says in its words.
    Error(Error),
    /// The command line makes no sense.
    Usage {
        /// What is wrong.
        message: String,
        /// What would be right.
        next: String,
    },
    /// The user stopped it.
    Interrupted(Effect),
    /// Whoever reads stdout has gone; there is nobody to tell.
    NobodyListens,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// An error as `--json` shows it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "error")]
pub struct ErrorLine {
    /// `refused`, `failed` or `unknown`.
    pub outcome: &'static str,
    /// A gRPC code in capitals.
    pub code: String,
    /// A stable word.
    pub reason: String,
    /// For people.
    pub message: String,
    /// What to do.
    pub next: String,
}

impl Failure {
    /// Something here is broken.
    pub fn broken(what: &str, cause: &dyn std::fmt::Display) -> Self {
        Self::Error(Error::Failed { message: format!("{what}: {cause}"), cause: None })
    }

    /// This program says no.
    pub fn refused(code: &'static str, reason: &str, message: impl Into<String>, next: &str) -> Self {
        Self::Error(Error::Refused { code, reason: reason.to_owned(), message: message.into(), next: next.to_owned() })
    }

    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), next: next.into() }
    }

    /// With which code it ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Error(Error::Refused { code: "DATA_LOSS", .. }) => Exit::DamageFound,
            Self::Error(Error::Refused { code: "UNAVAILABLE", .. }) => Exit::Unavailable,
            Self::Error(Error::Refused { .. }) => Exit::Refused,
            Self::Error(Error::Failed { .. }) | Self::NobodyListens => Exit::Failed,
            Self::Error(Error::Unknown { .. }) => Exit::Unknown,
            Self::Error(Error::Unavailable { .. }) => Exit::Unavailable,
            Self::Usage { .. } => Exit::Usage,
            Self::Interrupted(_) => Exit::Interrupted,
        }
    }

    /// As scripts get it.
    pub fn line(&self) -> ErrorLine {
        let line = |outcome, code: &str, reason: &str, message: String, next: &str| ErrorLine {
            outcome,
            code: code.to_owned(),
            reason: reason.to_owned(),
            message,
            next: next.to_owned(),
        };
        match self {
            Self::Error(error) => {
                let (code, reason, message) = match error {
                    Error::Refused { code, reason, message, .. } => (*code, reason.as_str(), message.clone()),
                    Error::Failed { .. } => ("INTERNAL", "FAILED", with_causes(error)),
                    Error::Unknown { message } => ("UNKNOWN", "OUTCOME", format!("it may have been done: {message}")),
                    Error::Unavailable { message } => {
                        ("UNAVAILABLE", "DEADLINE", format!("nobody answered until the deadline; last: {message}"))
                    }
                };
                line(error.outcome().as_str(), code, reason, message, error.next())
            }
            Self::Usage { message, next } => line("refused", "INVALID_ARGUMENT", "USAGE", message.clone(), next),
            Self::Interrupted(Effect::None) => {
                line("failed", "CANCELLED", "INTERRUPTED", "interrupted".into(), "run it again")
            }
            Self::Interrupted(Effect::Staged) => line(
                "failed",
                "CANCELLED",
                "INTERRUPTED",
                "interrupted; nothing is shown, what was fetched waits in the staging directory".into(),
                "restore again with --resume to go on from here, or without it to begin anew",
            ),
            Self::Interrupted(Effect::Changes) => line(
                "unknown",
                "CANCELLED",
                "INTERRUPTED",
                "interrupted; what was under way may have been done".into(),
                "look (`snapshots`, `vault list`) before doing it again",
            ),
            Self::Interrupted(Effect::GoesOn) => line(
                "unknown",
                "CANCELLED",
                "INTERRUPTED",
                "interrupted; what was sent is kept for some hours (a snapshot that was just being committed may be)"
                    .into(),
                "run the same backup again: it goes on where it was; `snapshots` shows whether it was done",
            ),
            Self::NobodyListens => {
                line("failed", "CANCELLED", "STDOUT", "stdout is closed".into(), "read all of the output")
            }
        }
    }
}

/// The message and what is below it, each once.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        below = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &'static str) -> Failure {
        Failure::refused(code, "ROLE", "the role does not allow it", "use another profile")
    }

    #[test]
    fn every_end_has_the_code_that_scripts_rely_on() {
        let codes = [
            (Exit::Done, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::Refused, 3),
            (Exit::Unknown, 4),
            (Exit::SomeSkipped, 5),
            (Exit::DamageFound, 6),
            (Exit::Unavailable, 7),
            (Exit::Interrupted, 130),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }

    #[test]
    fn every_error_of_the_sdk_has_an_exit_and_an_outcome() {
        let io = std::io::Error::other("no such disk");
        for (failure, exit, outcome) in [
            (refused("PERMISSION_DENIED"), Exit::Refused, "refused"),
            (refused("DATA_LOSS"), Exit::DamageFound, "failed"),
            (refused("UNAVAILABLE"), Exit::Unavailable, "failed"),
            (Error::Failed { message: "x".into(), cause: Some(io.into()) }.into(), Exit::Failed, "failed"),
            (Error::Unknown { message: "x".into() }.into(), Exit::Unknown, "unknown"),
            (Error::Unavailable { message: "x".into() }.into(), Exit::Unavailable, "failed"),
            (Failure::usage("x", "y"), Exit::Usage, "refused"),
            (Failure::Interrupted(Effect::None), Exit::Interrupted, "failed"),
            (Failure::Interrupted(Effect::Staged), Exit::Interrupted, "failed"),
            (Failure::Interrupted(Effect::Changes), Exit::Interrupted, "unknown"),
            (Failure::Interrupted(Effect::GoesOn), Exit::Interrupted, "unknown"),
        ] {
            assert_eq!(failure.exit(), exit, "{failure:?}");
            assert_eq!(failure.line().outcome, outcome, "{failure:?}");
            assert!(!failure.line().next.is_empty(), "{failure:?}");
        }
    }

    #[test]
    fn an_error_line_has_the_fields_of_the_contract() {
        let json = serde_json::to_string(&refused("PERMISSION_DENIED").line()).unwrap();
        let expected = r#"{"type":"error","outcome":"refused","code":"PERMISSION_DENIED","reason":"ROLE","message":"the role does not allow it","next":"use another profile"}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn a_failure_names_its_cause() {
        let io = std::io::Error::other("no such disk");
        let failure: Failure = Error::Failed { message: "cannot read x".into(), cause: Some(io.into()) }.into();
        assert_eq!(failure.line().message, "cannot read x: no such disk");
    }
}
