//! `man`: the manual of this program, a page for each command.

use std::path::PathBuf;

use serde::Serialize;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::text::{FileName, count};

/// Flags of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --out it writes the page of the program to stdout; with it, a page for each command into DIR.

Examples:
  strongroom man | man -l -
  strongroom man --out /usr/local/share/man/man1")]
pub struct Man {
    /// A directory that is there, for all pages; older pages of the same names are replaced.
    #[arg(long, env = "STRONGROOM_OUT", value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The result.
#[derive(Serialize)]
#[serde(tag = "type", rename = "man")]
struct Pages {
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<String>,
    files: Vec<FileName>,
}

impl Man {
    /// Writes it.
    pub fn run<P: clap::Parser>(self, context: &Context) -> Result<Exit, Failure> {
        let mut command = P::command();
        command.build();
        let pages = match self.out {
            None => Pages { page: Some(page(&command)?.1), files: Vec::new() },
            Some(directory) => {
                let mut files = Vec::new();
                let mut left = vec![command];
                while let Some(command) = left.pop() {
                    let (name, text) = page(&command)?;
                    let path = directory.join(name);
                    std::fs::write(&path, text)
                        .map_err(|cause| Failure::broken(&format!("cannot write {}", path.display()), &cause))?;
                    files.push(path);
                    left.extend(command.get_subcommands().filter(|one| one.get_name() != "help").cloned());
                }
                files.sort_unstable();
                Pages { page: None, files: files.iter().map(|path| FileName::of(path)).collect() }
            }
        };
        context.output.item(&pages)?;
        Ok(Exit::Done)
    }
}

/// A page with the name of its file.
fn page(command: &clap::Command) -> Result<(String, String), Failure> {
    let man = clap_mangen::Man::new(command.clone());
    let name = man.get_filename();
    let mut text = Vec::new();
    man.render(&mut text).map_err(|cause| Failure::broken("cannot write the page", &cause))?;
    let text = String::from_utf8(text).map_err(|fault| Failure::broken("the page is no text", &fault))?;
    Ok((name, text))
}

impl Item for Pages {
    fn text(&self) -> String {
        match &self.page {
            Some(page) => page.trim_end().to_owned(),
            None => format!("wrote {}", count(self.files.len() as u64, "page", "pages")),
        }
    }
}
