//! Command lines that make no sense, and those that only ask for help.
//!
//! Promises: help is on stdout with code 0; whoever asks this program for a node's command is told where it is; with
//! `--json` a usage error is an error object too.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::arguments::Arguments;
use crate::exit::{Exit, Failure};
use crate::output::{Chatter, Format, Output, error_line};

/// Commands of `strongroomd`, which needs a disk and no identity.
const NODE_COMMANDS: [&str; 10] =
    ["run", "init", "join", "ca", "ca-tls", "ca-revoke", "dev", "demo", "inspect", "fsck"];

/// So much is said of a command line that makes no sense.
const TOLD_CHARS_MAX: usize = 600;

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
    if fault.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let command = command_in(std::env::args_os());
        return Failure::usage(format!("`{command}` needs a command"), format!("read `{command} --help`"));
    }
    let (message, tips) = told(&text);
    let help = format!("read `{} --help`", command_in(std::env::args_os()));
    Failure::usage(message, if tips.is_empty() { help } else { format!("{tips}; {help}") })
}

/// What clap says before it shows how it is used, as one line, and its tips.
fn told(text: &str) -> (String, String) {
    let is_end = |line: &str| line.starts_with("Usage:") || line.starts_with("For more information");
    let lines = text.lines().map(str::trim).take_while(|line| !is_end(line)).filter(|line| !line.is_empty());
    let (tips, said): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("tip: "));
    let said = said.join(" ");
    let said = match said.trim_start_matches("error: ") {
        "" => "the command line makes no sense",
        said => said,
    };
    let tips: Vec<&str> = tips.into_iter().map(|tip| tip.trim_start_matches("tip: ")).collect();
    (shortened(said), shortened(&tips.join("; ")))
}

/// What was typed may be as long as it likes; what is said about it is not. Its end says what is wrong.
fn shortened(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= TOLD_CHARS_MAX {
        return text.to_owned();
    }
    let (head, tail) = (TOLD_CHARS_MAX / 3, TOLD_CHARS_MAX - TOLD_CHARS_MAX / 3);
    chars[..head].iter().chain(['…'].iter()).chain(&chars[chars.len() - tail..]).collect()
}

/// The command that was meant, as far as its words name one.
fn command_in(arguments: impl Iterator<Item = OsString>) -> String {
    let mut command = Arguments::command();
    let mut words = vec!["strongroom".to_owned()];
    for argument in arguments.skip(1).take_while(|argument| argument != "--") {
        if let Some(below) = command.find_subcommand(&argument).cloned() {
            words.push(below.get_name().to_owned());
            command = below;
        }
    }
    words.join(" ")
}

fn node_command(fault: &clap::Error) -> Option<&'static str> {
    match fault.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(asked)) => NODE_COMMANDS.into_iter().find(|command| command == asked),
        Some(_) | None => None,
    }
}

fn wants_json(arguments: impl Iterator<Item = OsString>, variable: Option<String>) -> bool {
    let falsey = ["", "0", "n", "no", "f", "false", "off"];
    let before_dashes: Vec<_> = arguments.take_while(|argument| argument != "--").collect();
    before_dashes.iter().any(|argument| argument == "--json")
        || variable.is_some_and(|value| !falsey.contains(&value.to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_named_and_so_is_the_command() {
        let missing = "error: the following required arguments were not provided:\n  --vault <VAULT>\n  --to <DIR>\n\n\
                       Usage: strongroom vault card --vault <VAULT> <NAME>\n\nFor more information, try '--help'.\n";
        let (message, tips) = told(missing);
        assert_eq!(message, "the following required arguments were not provided: --vault <VAULT> --to <DIR>");
        assert_eq!(tips, "");
        let command = |line: &str| command_in(line.split(' ').map(OsString::from));
        assert_eq!(command("strongroom --json --profile p vault card --vault"), "strongroom vault card");
        assert_eq!(command("strongroom bakup vault"), "strongroom vault");
        assert_eq!(command("strongroom backup -- vault"), "strongroom backup");
        let typo = "error: unexpected argument '--wat' found\n\n  tip: a similar argument exists: '--tag'\n\n\
                    Usage: strongroom backup [OPTIONS]\n";
        assert_eq!(
            told(typo),
            ("unexpected argument '--wat' found".into(), "a similar argument exists: '--tag'".into())
        );
        let (long, _) = told(&format!("error: invalid value '{}' for '--tag'\n", "ä".repeat(9000)));
        assert_eq!(long.chars().count(), TOLD_CHARS_MAX + 1);
        assert!(long.starts_with("invalid value") && long.ends_with("for '--tag'"), "{long}");
        assert_eq!(told("\n").0, "the command line makes no sense");
    }

    #[test]
    fn json_is_recognised_without_parsing() {
        let line = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>().into_iter();
        assert!(wants_json(line(&["strongroom", "bakup", "--json"]), None));
        assert!(!wants_json(line(&["strongroom", "ls", "--", "--json"]), None));
        assert!(wants_json(line(&["strongroom"]), Some("true".into())));
        assert!(!wants_json(line(&["strongroom"]), Some("off".into())));
    }
}
