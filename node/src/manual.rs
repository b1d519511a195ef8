//! Manual pages and shell completions, made from the command line itself.
//!
//! Not here: the command line (`main.rs`).

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// Those who run daemons look there.
const SECTION: &str = "8";

/// Writes what a shell needs to stdout.
pub fn completions(mut command: Command, shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "strongroomd", &mut script);
    std::io::stdout().write_all(&script).context("cannot write to stdout")
}

/// Writes a page for each command into a directory, or that of the program to stdout.
pub fn pages(mut command: Command, out: Option<&Path>) -> anyhow::Result<()> {
    command.build();
    let Some(directory) = out else {
        return std::io::stdout().write_all(&page(command)?.1).context("cannot write to stdout");
    };
    let mut left = vec![command];
    let mut written = 0;
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands().filter(|one| one.get_name() != "help").cloned());
        let (name, text) = page(command)?;
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        written += 1;
    }
    println!("wrote {written} pages");
    Ok(())
}

fn page(command: Command) -> anyhow::Result<(String, Vec<u8>)> {
    let man = Man::new(command).section(SECTION);
    let mut text = Vec::new();
    man.render(&mut text).context("cannot write the page")?;
    Ok((man.get_filename(), text))
}
