//! Command lines that make no sense, and those that only ask for help.
//!
//! Promises: help is on stdout with code 0; whoever asks this program for a node's command is told where it is; with
//! `--json` a usage error is an error object too.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::exit::{Exit, Failure};
use crate::output::{Chatter, Format, Output, error_line};

/// Commands of `strongroomd`, which needs a disk and no identity.
const NODE_COMMANDS: [&str; 10] =
    ["run", "init", "join", "ca", "ca-tls", "ca-revoke", "dev", "demo", "inspect", "fsck"];

/// Says what is wrong and how the program ends.
pub fn explain(fault: &clap::Error) -> ExitCode {
    if matches!(fault.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _printed = fault.print();
        return Exit::Done.into();
    }
    let failure = failure(fault);
    match node_command(fault) {
        Some(command) => {
            error_line(&format!("strongroom: `{command}` needs a disk, not an identity: run `strongroomd {command}`"))
        }
        None => {
            let _printed = fault.print();
        }
    }
    // The flags were not read: look for the one that matters here.
    if wants_json(std::env::args_os(), std::env::var("STRONGROOM_JSON").ok()) {
        let _printed = Output::new(Format::Json, Chatter::Quiet).json(&failure.line());
    }
    Exit::Usage.into()
}

fn failure(fault: &clap::Error) -> Failure {
    if let Some(command) = node_command(fault) {
        return Failure::usage(
            format!("`{command}` needs a disk, not an identity"),
            format!("run `strongroomd {command}`"),
        );
    }
    let text = fault.render().to_string();
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("the command line makes no sense");
    Failure::usage(first.trim_start_matches("error: "), "read `strongroom --help`")
}

fn node_command(fault: &clap::Error) -> Option<&'static str> {
    match fault.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(asked)) => NODE_COMMANDS.into_iter().find(|command| command == asked),
        Some(_) | None => None,
    }
}

fn wants_json(arguments: impl Iterator<Item = std::ffi::OsString>, variable: Option<String>) -> bool {
    let falsey = ["", "0", "n", "no", "f", "false", "off"];
    let before_dashes: Vec<_> = arguments.take_while(|argument| argument != "--").collect();
    before_dashes.iter().any(|argument| argument == "--json")
        || variable.is_some_and(|value| !falsey.contains(&value.to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn json_is_recognised_without_parsing() {
        let line = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>().into_iter();
        assert!(wants_json(line(&["strongroom", "bakup", "--json"]), None));
        assert!(!wants_json(line(&["strongroom", "ls", "--", "--json"]), None));
        assert!(wants_json(line(&["strongroom"]), Some("true".into())));
        assert!(!wants_json(line(&["strongroom"]), Some("off".into())));
    }
}
