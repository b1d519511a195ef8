//! `completions`: what a shell needs to complete command lines of this program.

use clap_complete::Shell;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;

/// Flags of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom completions bash > /etc/bash_completion.d/strongroom
  strongroom completions zsh > /usr/local/share/zsh/site-functions/_strongroom
  strongroom completions fish > ~/.config/fish/completions/strongroom.fish")]
pub struct Completions {
    /// For which shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// The result.
#[derive(Serialize)]
#[serde(tag = "type", rename = "completions")]
struct Script {
    shell: String,
    script: String,
}

impl Completions {
    /// Writes the script to stdout.
    pub fn run<P: clap::Parser>(self, context: &Context) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut P::command(), "strongroom", &mut script);
        let script = String::from_utf8(script).map_err(|fault| Failure::broken("the script is no text", &fault))?;
        context.output.item(&Script { shell: self.shell.to_string(), script })?;
        Ok(Exit::Done)
    }
}

impl Item for Script {
    fn text(&self) -> String {
        self.script.trim_end().to_owned()
    }
}
