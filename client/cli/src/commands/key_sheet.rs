//! `key sheet`: the recovery sheet of a key that exists.

use std::path::PathBuf;

use serde::Serialize;
use strongroom::keyring;
use strongroom_format::any_key::AnyKey;
use strongroom_format::sheet;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::recovery;
use crate::text::FileName;

/// Flags of `key sheet`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The sheet is the key on paper: lines to be typed back, each with a check. It goes to stdout, secret as it is: send it to a
printer or to a file that only you can read, never into a log.

Examples:
  strongroom key sheet acme.root | lp
  strongroom key sheet rita.restorer")]
pub struct KeySheet {
    /// The key file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// The sheet.
#[derive(Serialize)]
#[serde(tag = "type", rename = "sheet")]
struct Sheet<'a> {
    file: FileName,
    kind: &'static str,
    lines: Vec<&'a str>,
    #[serde(skip)]
    text: Zeroizing<String>,
}

impl KeySheet {
    /// Shows it.
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let key = read(&self.file)?;
        let lines = sheet::write(&key);
        context.output.item(&Sheet {
            file: FileName::of(&self.file),
            kind: key.kind().as_str(),
            lines: lines.lines().collect(),
            text: recovery::text(&key),
        })?;
        Ok(Exit::Done)
    }
}

fn read(path: &std::path::Path) -> Result<AnyKey, Failure> {
    let bytes = keyring::read_secret(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| no_key(path, "it is no text"))?;
    AnyKey::from_text(text).map_err(|fault| no_key(path, &fault.to_string()))
}

fn no_key(path: &std::path::Path, why: &str) -> Failure {
    Failure::refused(
        "INVALID_ARGUMENT",
        "KEY_FILE",
        format!("{}: {why}", path.display()),
        "name a secret key file that `strongroom init-key` wrote",
    )
}

impl Item for Sheet<'_> {
    fn text(&self) -> String {
        self.text.trim_end().to_owned()
    }
}
