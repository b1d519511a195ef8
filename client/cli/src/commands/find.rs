//! `find`: entries of a snapshot by name, kind, size and time.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use strongroom::globs::{Glob, Globs, Is};
use strongroom::restore::{EntryKind, ListedEntry};
use strongroom_format::id::{StreamName, VaultName};

use crate::commands::ls::{Shown, word};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::text::{moment_of, parse_size};
use crate::which::{Named, Which};

/// Flags of `find`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs a restorer's profile: names inside snapshots are sealed. All that is asked must hold; of several --name, and of
several --kind, one is enough. In a glob `*` and `?` stop at a /, `**/` is any directories, `[a-z]` one of a list; a glob
without a / means names at any depth. Quote it, or the shell reads it first.

Examples:
  strongroom find latest --vault papers --name '*.pdf'
  strongroom find 0123abcd --kind file --larger 100M
  strongroom find 0123abcd --name '/srv/**/core' --newer 2026-11-01 --json")]
pub struct Find {
    /// In which snapshot: an id, its first 8 or more digits, or `latest` (with --vault).
    #[arg(value_name = "SNAPSHOT")]
    snapshot: Named,

    /// The vault; needed for `latest`.
    #[arg(long, env = "STRONGROOM_VAULT")]
    vault: Option<VaultName>,

    /// For `latest`: of this name, LABEL or WRITER/LABEL.
    #[arg(long, env = "STRONGROOM_LABEL", value_name = "LABEL")]
    label: Option<String>,

    /// One stream of a snapshot that several writers made.
    #[arg(long, env = "STRONGROOM_STREAM", value_name = "STREAM")]
    stream: Option<StreamName>,

    /// Only entries that a glob matches.
    #[arg(long = "name", env = "STRONGROOM_NAME", value_name = "GLOB")]
    names: Vec<OsString>,

    /// Only entries of this kind: file, dir, link, hardlink, fifo, char, block.
    #[arg(long = "kind", env = "STRONGROOM_KIND", value_name = "KIND", value_parser = parse_kind)]
    kinds: Vec<EntryKind>,

    /// Only files of more bytes: 100, 4K, 1.5GiB.
    #[arg(long, env = "STRONGROOM_LARGER", value_name = "SIZE", value_parser = parse_size)]
    larger: Option<u64>,

    /// Only files of fewer bytes.
    #[arg(long, env = "STRONGROOM_SMALLER", value_name = "SIZE", value_parser = parse_size)]
    smaller: Option<u64>,

    /// Only entries that were changed at this time or later (RFC 3339 or a date).
    #[arg(long, env = "STRONGROOM_NEWER", value_name = "TIME", value_parser = moment_of)]
    newer: Option<i64>,

    /// Only entries that were changed before this time.
    #[arg(long, env = "STRONGROOM_OLDER", value_name = "TIME", value_parser = moment_of)]
    older: Option<i64>,
}

/// What entries must be.
struct Wanted {
    names: Globs,
    kinds: Vec<EntryKind>,
    larger: Option<u64>,
    smaller: Option<u64>,
    newer_ms: Option<i64>,
    older_ms: Option<i64>,
}

impl Find {
    /// Finds them.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let globs = self.names.iter().map(|name| Glob::parse(name.as_bytes())).collect::<Result<Vec<_>, _>>();
        let globs = globs.map_err(|bad| Failure::usage(bad.to_string(), "see `strongroom find --help`"))?;
        let wanted = Wanted {
            names: Globs::new(globs),
            kinds: self.kinds,
            larger: self.larger,
            smaller: self.smaller,
            newer_ms: self.newer,
            older_ms: self.older,
        };
        let which = Which { snapshot: self.snapshot, vault: self.vault, name: self.label, stream: self.stream };
        let client = context.client().await?;
        let snapshot = which.resolve_one(&client).await?;
        let mut count = 0;
        let show = |entry: ListedEntry| {
            if !wanted.is_met_by(&entry) {
                return Ok(());
            }
            count += 1;
            context.output.item(&Shown::of(entry))
        };
        client.each_entry(snapshot, b"", show).await?;
        context.output.end(count, "entries")?;
        Ok(Exit::Done)
    }
}

impl Wanted {
    fn is_met_by(&self, entry: &ListedEntry) -> bool {
        let is = if entry.kind == EntryKind::Directory { Is::Directory } else { Is::Other };
        let is_file = entry.kind == EntryKind::File;
        let modified_ms =
            entry.modified.seconds.saturating_mul(1000).saturating_add(i64::from(entry.modified.nanos / 1_000_000));
        (self.names.is_empty() || self.names.match_entry(&entry.path, is))
            && (self.kinds.is_empty() || self.kinds.contains(&entry.kind))
            && self.larger.is_none_or(|bytes| is_file && bytes < entry.bytes)
            && self.smaller.is_none_or(|bytes| is_file && entry.bytes < bytes)
            && self.newer_ms.is_none_or(|from| from <= modified_ms)
            && self.older_ms.is_none_or(|until| modified_ms < until)
    }
}

fn parse_kind(text: &str) -> Result<EntryKind, String> {
    let known = KINDS.into_iter().find(|kind| word(*kind) == text);
    known.ok_or_else(|| "a kind is file, dir, link, hardlink, fifo, char or block".to_owned())
}

/// What can be asked for.
const KINDS: [EntryKind; 7] = [
    EntryKind::File,
    EntryKind::Directory,
    EntryKind::Symlink,
    EntryKind::HardLink,
    EntryKind::Fifo,
    EntryKind::CharacterDevice,
    EntryKind::BlockDevice,
];

#[cfg(test)]
mod tests {
    use strongroom_format::manifest::entry::Moment;

    use super::*;

    #[test]
    fn all_that_is_asked_must_hold() {
        let entry = ListedEntry {
            path: b"srv/a.log".to_vec(),
            kind: EntryKind::File,
            mode: 0o644,
            bytes: 100,
            modified: Moment { seconds: 10, nanos: 0 },
            owner: None,
            names: 1,
            target: None,
            device: None,
        };
        let anything = || Wanted {
            names: Globs::default(),
            kinds: Vec::new(),
            larger: None,
            smaller: None,
            newer_ms: None,
            older_ms: None,
        };
        let globs = |glob: &str| Globs::new([Glob::parse(glob).unwrap()]);
        assert!(anything().is_met_by(&entry));
        for (wanted, is_met) in [
            (Wanted { names: globs("*.log"), ..anything() }, true),
            (Wanted { names: globs("srv"), ..anything() }, false),
            (Wanted { kinds: vec![EntryKind::Directory], ..anything() }, false),
            (Wanted { larger: Some(99), ..anything() }, true),
            (Wanted { larger: Some(100), ..anything() }, false),
            (Wanted { smaller: Some(101), ..anything() }, true),
            (Wanted { newer_ms: Some(10_000), older_ms: Some(10_001), ..anything() }, true),
            (Wanted { older_ms: Some(10_000), ..anything() }, false),
        ] {
            assert_eq!(wanted.is_met_by(&entry), is_met);
        }
    }
}
