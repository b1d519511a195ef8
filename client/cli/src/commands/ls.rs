//! `ls`: what is in a snapshot.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use clap::builder::FalseyValueParser;
use serde::Serialize;
use strongroom::restore::{EntryKind, ListedEntry};
use strongroom_format::manifest::entry::Owner;

use crate::commands::ticket::StreamItem;
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

Of a snapshot that several writers made it lists the streams; --stream lists what is in one of them.

Examples:
  strongroom ls latest --vault papers
  strongroom ls latest --vault papers --name shop --stream rows-1
  strongroom ls -l 0123abcd srv/www
  strongroom ls 0123abcd etc/ssh --json")]
pub struct Ls {
    /// Of which snapshot.
    #[command(flatten)]
    which: Which,

    /// Only this path and what is below it.
    #[arg(value_name = "PATH")]
    path: Option<OsString>,

    /// Also kinds, permissions, sizes, times, owners by number, and what links point to.
    #[arg(long, short, env = "STRONGROOM_LONG", value_parser = FalseyValueParser::new())]
    long: bool,
}

/// One entry.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "entry")]
pub struct Shown {
    #[serde(skip)]
    how: How,
    path: FileName,
    kind: &'static str,
    mode: u32,
    bytes: u64,
    mtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<Whose>,
    /// Where a symbolic link points; of a hard link, the entry that it is one more name of.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<FileName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Numbers>,
}

/// An owner, by numbers.
#[derive(Debug, Serialize)]
struct Whose {
    user: u32,
    group: u32,
}

/// A device's numbers.
#[derive(Debug, Serialize)]
struct Numbers {
    major: u32,
    minor: u32,
}

/// How much people see of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Path,
    All,
}

impl Ls {
    /// Lists them.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let snapshot = self.which.resolve(&client).await?;
        if self.path.is_none() {
            let streams = self.which.streams(&client, snapshot).await?;
            if !streams.is_empty() {
                let count = streams.len() as u64;
                for stream in streams {
                    context.output.item(&StreamItem::from(stream))?;
                }
                context.output.end(count, "streams")?;
                return Ok(Exit::Done);
            }
        }
        let path = self.path.map(OsString::into_vec).unwrap_or_default();
        let how = if self.long { How::All } else { How::Path };
        let show = |entry| context.output.item(&Shown { how, ..Shown::of(entry) });
        let count = client.each_entry(snapshot, &path, show).await?;
        context.output.end(count, "entries")?;
        Ok(Exit::Done)
    }
}

impl Shown {
    /// With all that is known of it.
    pub fn of(entry: ListedEntry) -> Self {
        Self {
            how: How::All,
            path: FileName(entry.path),
            kind: word(entry.kind),
            mode: entry.mode,
            bytes: entry.bytes,
            mtime: time_of(entry.modified),
            owner: entry.owner.map(|Owner { user, group }| Whose { user, group }),
            target: entry.target.map(FileName),
            device: entry.device.map(|device| Numbers { major: device.major, minor: device.minor }),
        }
    }
}

/// A kind in one word.
pub fn word(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory => "dir",
        EntryKind::Symlink => "link",
        EntryKind::HardLink => "hardlink",
        EntryKind::Fifo => "fifo",
        EntryKind::CharacterDevice => "char",
        EntryKind::BlockDevice => "block",
        EntryKind::Other => "other",
    }
}

impl Item for Shown {
    fn text(&self) -> String {
        if self.how == How::Path {
            return self.path.to_string();
        }
        let mtime = self.mtime.as_deref().unwrap_or("-");
        let owner = self.owner.as_ref().map_or("-".to_owned(), |owner| format!("{}:{}", owner.user, owner.group));
        let bytes = self.device.as_ref().map_or(size(self.bytes), |of| format!("{}, {}", of.major, of.minor));
        let target = self.target.as_ref().map_or(String::new(), |target| format!(" -> {target}"));
        format!("{:8}  {:04o}  {bytes:>9}  {mtime:30}  {owner:9}  {}{target}", self.kind, self.mode, self.path)
    }
}

#[cfg(test)]
mod tests {
    use strongroom_format::manifest::entry::{Access, Device, Moment};

    use super::*;

    #[test]
    fn an_entry_has_the_fields_of_the_contract() {
        let entry = || ListedEntry {
            path: b"etc/\xff".to_vec(),
            kind: EntryKind::File,
            mode: 0o644,
            bytes: 5,
            modified: Moment { seconds: 0, nanos: 0 },
            owner: None,
            names: 1,
            target: None,
            device: None,
        };
        let shown = Shown::of(entry());
        let expected = r#"{"type":"entry","path":{"b64":"ZXRjL/8="},"kind":"file","mode":420,"bytes":5,"mtime":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(serde_json::to_string(&shown).unwrap(), expected);
        assert_eq!(Shown { how: How::Path, ..Shown::of(entry()) }.text(), "etc/\\xff");
        assert!(shown.text().starts_with("file      0644        5 B"), "{}", shown.text());
        let device = ListedEntry {
            kind: EntryKind::CharacterDevice,
            owner: Some(Owner { user: 0, group: 5 }),
            device: Some(Device { access: Access::Character, major: 4, minor: 64 }),
            ..entry()
        };
        let shown = Shown::of(device);
        assert!(shown.text().contains("    4, 64  ") && shown.text().contains("  0:5  "), "{}", shown.text());
        let json = serde_json::to_string(&shown).unwrap();
        assert!(json.ends_with(r#""owner":{"user":0,"group":5},"device":{"major":4,"minor":64}}"#), "{json}");
        let link = Shown::of(ListedEntry { kind: EntryKind::HardLink, target: Some(b"a".to_vec()), ..entry() });
        assert!(link.text().ends_with("etc/\\xff -> a"), "{}", link.text());
    }
}
