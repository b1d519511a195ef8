//! A page of instructions as a program: its machines and its blocks of commands, in order. Pure.
//!
//! Machines stand in a table whose first three columns are `` `NAME` ``, `` `REGION` ``, `` `ADDRESS` ``. A block opens
//! with three backticks, `sh`, and on which machines it is typed, perhaps with a condition:
//!
//! ```text
//!   sh one            on machine one
//!   sh two,three      on each of them, in this order
//!   sh one,two wan    only if the regions are far apart
//!   sh build          where the programs are built: the runner brings them itself
//! ```
//!
//! A block of commands without a place is an error: nothing on the page may be left out unnoticed.

use anyhow::{Context as _, bail, ensure};

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its machines: name, region, address.
    pub machines: Vec<(String, String, String)>,
    /// Its commands.
    pub blocks: Vec<Block>,
}

/// Commands that are typed one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The line on the page where it opens, from 1.
    pub line: usize,
    /// The machines.
    pub on: Vec<String>,
    /// When.
    pub when: When,
    /// The commands.
    pub commands: String,
}

/// When a block is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// If the regions are far apart.
    Wan,
    /// Where the programs are built.
    Building,
}

/// Reads a page.
///
/// # Errors
/// A block that is typed nowhere, a machine that the table does not name, a block that does not end.
pub fn read(text: &str) -> anyhow::Result<Page> {
    let machines: Vec<_> = text.lines().filter_map(machine).collect();
    ensure!(!machines.is_empty(), "no table names machines");
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let mut body = String::new();
        loop {
            let (_, line) = lines.next().with_context(|| format!("line {}: this block does not end", at + 1))?;
            if line == "```" {
                break;
            }
            body.push_str(line);
            body.push('\n');
        }
        let words: Vec<&str> = info.split_whitespace().collect();
        if words.first() != Some(&"sh") {
            ensure!(!words.is_empty(), "line {}: what is in this block?", at + 1);
            continue;
        }
        let (on, when) = match words[1..] {
            ["build"] => (Vec::new(), When::Building),
            [on] => (names(on), When::Always),
            [on, "wan"] => (names(on), When::Wan),
            _ => bail!("line {}: `{info}` does not say where this is typed", at + 1),
        };
        let unknown = on.iter().find(|name| machines.iter().all(|(known, ..)| known != *name));
        ensure!(unknown.is_none(), "line {}: no machine {unknown:?} in the table", at + 1);
        blocks.push(Block { line: at + 1, on, when, commands: body });
    }
    ensure!(!blocks.is_empty(), "no block of commands");
    Ok(Page { machines, blocks })
}

fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

/// A row of the table of machines.
fn machine(line: &str) -> Option<(String, String, String)> {
    let mut columns = line
        .strip_prefix('|')?
        .split('|')
        .map(|column| column.trim().strip_prefix('`').and_then(|inner| inner.strip_suffix('`')).map(str::to_owned));
    let (name, region, address) = (columns.next()??, columns.next()??, columns.next()??);
    address.parse::<std::net::Ipv4Addr>().is_ok().then_some((name, region, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# A page\n\n| machine | region | address | for |\n|---|---|---|---|\n\
        | `one` | `west` | `10.77.1.10` | a node |\n| `two` | `east` | `10.77.2.10` | a node |\n\n\
        ```sh build\ncargo build\n```\n\n```sh one\nfirst\n  second\n```\n```toml\nkey = 1\n```\n\
        ```sh one,two wan\nthird\n```\n";

    #[test]
    fn machines_and_blocks_are_read_in_order_with_their_lines() {
        let page = read(PAGE).unwrap();
        let of = |name: &str, region: &str, address: &str| (name.to_owned(), region.to_owned(), address.to_owned());
        assert_eq!(page.machines, [of("one", "west", "10.77.1.10"), of("two", "east", "10.77.2.10")]);
        let block = |line, on: &[&str], when, commands: &str| Block {
            line,
            on: on.iter().map(|name| (*name).to_owned()).collect(),
            when,
            commands: commands.to_owned(),
        };
        let wanted = [
            block(8, &[], When::Building, "cargo build\n"),
            block(12, &["one"], When::Always, "first\n  second\n"),
            block(19, &["one", "two"], When::Wan, "third\n"),
        ];
        assert_eq!(page.blocks, wanted);
    }

    #[test]
    fn a_block_that_would_be_left_out_is_an_error() {
        let faults = ["```sh\n", "```sh three\n", "```sh one sometimes\n", "```sh one,\n", "```\n"];
        for fault in faults {
            assert!(read(&format!("{PAGE}{fault}x\n```\n")).is_err(), "{fault}");
        }
        assert!(read(&format!("{PAGE}```sh one\nx\n")).is_err(), "it does not end");
        assert!(read("```sh one\nx\n```\n").is_err(), "no table");
        assert!(read("| `one` | `west` | `10.77.1.10` |\n").is_err(), "no block");
    }
}
