//! `ls`: what is in a snapshot.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use serde::Serialize;
use strongroom::restore::{EntryKind, ListedEntry};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::text::{FileName, size, time_of};
use crate::which::Which;

/// Flags of `ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs a restorer's profile: names inside snapshots are sealed. PATH shows that entry and what is below it.

Kinds are file, dir, link (symbolic), hardlink (one more name of an entry before it), fifo, char and block (devices)
and other (of a newer version).

Examples:
  strongroom ls latest --vault papers
  strongroom ls 0123abcd etc/ssh --json")]
pub struct Ls {
    /// Of which snapshot.
    #[command(flatten)]
    which: Which,

    /// Only this path and what is below it.
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
}

/// One entry.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "entry")]
struct Shown {
    path: FileName,
    kind: &'static str,
    mode: u32,
    bytes: u64,
    mtime: Option<String>,
}

impl Ls {
    /// Lists them.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let snapshot = self.which.resolve(&client).await?;
        let path = self.path.map(OsString::into_vec).unwrap_or_default();
        let entries = client.list_entries(snapshot, &path).await?;
        let count = entries.len() as u64;
        for entry in entries {
            context.output.item(&Shown::from(entry))?;
        }
        context.output.end(count, "entries")?;
        Ok(Exit::Done)
    }
}

impl From<ListedEntry> for Shown {
    fn from(entry: ListedEntry) -> Self {
        Self {
            path: FileName(entry.path),
            kind: match entry.kind {
                EntryKind::File => "file",
                EntryKind::Directory => "dir",
                EntryKind::Symlink => "link",
                EntryKind::HardLink => "hardlink",
                EntryKind::Fifo => "fifo",
                EntryKind::CharacterDevice => "char",
                EntryKind::BlockDevice => "block",
                EntryKind::Other => "other",
            },
            mode: entry.mode,
            bytes: entry.bytes,
            mtime: time_of(entry.modified),
        }
    }
}

impl Item for Shown {
    fn text(&self) -> String {
        let mtime = self.mtime.as_deref().unwrap_or("-");
        format!("{:8}  {:04o}  {:>9}  {mtime:30}  {}", self.kind, self.mode, size(self.bytes), self.path)
    }
}

#[cfg(test)]
mod tests {
    use strongroom_format::manifest::entry::Moment;

    use super::*;

    #[test]
    fn an_entry_has_the_fields_of_the_contract() {
        let shown = Shown::from(ListedEntry {
            path: b"etc/\xff".to_vec(),
            kind: EntryKind::File,
            mode: 0o644,
            bytes: 5,
            modified: Moment { seconds: 0, nanos: 0 },
            owner: None,
            names: 1,
            target: None,
            device: None,
        });
        let expected = r#"{"type":"entry","path":{"b64":"ZXRjL/8="},"kind":"file","mode":420,"bytes":5,"mtime":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(serde_json::to_string(&shown).unwrap(), expected);
        assert!(shown.text().starts_with("file      0644        5 B"), "{}", shown.text());
    }
}
