//! What two snapshots have in common, and what not, read from their manifests alone.
//!
//! ```text
//!   manifest A ─▶ entry ┐ both in path order:
//!                       ├─ the smaller path is only there; equal paths are compared
//!   manifest B ─▶ entry ┘
//! ```
//!
//! Promises: memory grows with the entries that have several names, not with the snapshots; contents are compared by their
//! hashes, nothing is fetched but the manifests. Not here: how differences look.

use std::cmp::Ordering;

use strongroom_format::id::SnapshotId;
use strongroom_format::manifest::decode::Item;
use strongroom_format::manifest::entry::{Content, Entry};

use super::reading::Reading;
use super::visit::Visit;
use crate::client::Client;
use crate::error::{Error, Result};

/// An entry that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its path, any bytes.
    pub path: Vec<u8>,
    /// How it differs.
    pub change: Change,
}

/// How an entry differs between an older and a newer snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is in the newer one only.
    Added,
    /// It is in the older one only.
    Removed,
    /// It is in both, and not the same.
    Changed {
        /// Another kind, other bytes or holes, a link to elsewhere, or one more name of something else.
        content: bool,
        /// Other permissions, another time, or another of what is kept beside contents.
        metadata: bool,
    },
}

impl Client {
    /// Compares two snapshots; differences come in path order. Answers how many there are.
    ///
    /// # Errors
    /// As [`Client::list_entries`], for either; or the listener's.
    pub async fn compare<E: From<Error>>(
        &self,
        older: SnapshotId,
        newer: SnapshotId,
        mut on: impl FnMut(Difference) -> std::result::Result<(), E>,
    ) -> std::result::Result<u64, E> {
        let a = Visit::begin(self, older, "compare").await?;
        let b = match Visit::begin(self, newer, "compare").await {
            Ok(b) => b,
            Err(error) => {
                a.end().await;
                return Err(error.into());
            }
        };
        let compared = compare(&a, &b, &mut on).await;
        a.end().await;
        b.end().await;
        compared
    }
}

async fn compare<E: From<Error>>(
    a: &Visit,
    b: &Visit,
    on: &mut impl FnMut(Difference) -> std::result::Result<(), E>,
) -> std::result::Result<u64, E> {
    let (mut from_a, mut from_b) = (Side::begin(a).await?, Side::begin(b).await?);
    let (mut in_a, mut in_b) = (from_a.next().await?, from_b.next().await?);
    let mut count = 0;
    loop {
        let order = match (&in_a, &in_b) {
            (None, None) => return Ok(count),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.entry.path.cmp(&b.entry.path),
        };
        let found = match order {
            Ordering::Less => in_a.as_ref().map(|a| (a, Change::Removed)),
            Ordering::Greater => in_b.as_ref().map(|b| (b, Change::Added)),
            Ordering::Equal => in_a.as_ref().zip(in_b.as_ref()).and_then(|(a, b)| Some((b, change(a, b)?))),
        };
        if let Some((met, change)) = found {
            count += 1;
            on(Difference { path: met.entry.path.as_bytes().to_vec(), change })?;
        }
        if order != Ordering::Greater {
            in_a = from_a.next().await?;
        }
        if order != Ordering::Less {
            in_b = from_b.next().await?;
        }
    }
}

/// One of the two snapshots.
struct Side {
    reading: Reading,
    /// The entries with several names: further names count back to them. Where they lie is not kept.
    shared: Vec<Entry>,
}

/// An entry, and what it is one more name of.
struct Met {
    entry: Entry,
    first: Option<Entry>,
}

impl Side {
    async fn begin(visit: &Visit) -> Result<Self> {
        Ok(Self { reading: Reading::begin(&visit.gate).await?, shared: Vec::new() })
    }

    async fn next(&mut self) -> Result<Option<Met>> {
        while let Some(item) = self.reading.next().await? {
            let Item::Entry(mut entry) = item else { continue };
            if let Content::File(file) = &mut entry.content {
                file.pieces = Vec::new();
            }
            let first = match entry.content {
                Content::HardLink { back } => {
                    let at = usize::try_from(back).ok().and_then(|back| self.shared.len().checked_sub(back));
                    at.and_then(|at| self.shared.get(at)).cloned()
                }
                _ => None,
            };
            if 1 < entry.names {
                self.shared.push(entry.clone());
            }
            return Ok(Some(Met { entry, first }));
        }
        Ok(None)
    }
}

/// How an entry changed, if it did.
fn change(a: &Met, b: &Met) -> Option<Change> {
    let content = match (&a.first, &b.first) {
        // How far back that stands says nothing.
        (Some(a), Some(b)) => a.path != b.path || is_other(&a.content, &b.content),
        (Some(_), None) | (None, Some(_)) => true,
        (None, None) => is_other(&a.entry.content, &b.entry.content),
    };
    let metadata = a.entry.attributes != b.entry.attributes || a.entry.unknown != b.entry.unknown;
    (content || metadata).then_some(Change::Changed { content, metadata })
}

fn is_other(a: &Content, b: &Content) -> bool {
    match (a, b) {
        // Where their pieces lie says nothing about what they hold.
        (Content::File(a), Content::File(b)) => (a.size, a.hash, &a.holes) != (b.size, b.hash, &b.holes),
        (Content::Other { kind: a, .. }, Content::Other { kind: b, .. }) => a != b,
        (a, b) => a != b,
    }
}

#[cfg(test)]
mod tests {
    use strongroom_format::id::Digest;
    use strongroom_format::manifest::entry::{Attributes, File, Moment, Piece};
    use strongroom_format::manifest::path::EntryPath;

    use super::*;

    fn plain(path: &str, content: Content) -> Entry {
        let modified = Moment { seconds: 1, nanos: 2 };
        let attributes = Attributes { mode: 0o644, modified, ..Attributes::default() };
        Entry { path: EntryPath::new(path).unwrap(), attributes, names: 1, content, unknown: Vec::new() }
    }

    fn entry(content: Content) -> Met {
        Met { entry: plain("a", content), first: None }
    }

    fn name_of(back: u64, first: Entry) -> Met {
        Met { first: Some(first), ..entry(Content::HardLink { back }) }
    }

    fn file(hash: u8, first: u64, last_read: i64) -> Content {
        Content::File(File {
            size: 5,
            pieces: vec![Piece { first, offset: 0, length: 5 }],
            hash: Digest::from_bytes([hash; 32]),
            last_read: Moment { seconds: last_read, nanos: 0 },
            holes: Vec::new(),
        })
    }

    #[test]
    fn contents_are_what_their_hashes_say_and_metadata_is_told_apart() {
        let a = entry(file(1, 0, 7));
        assert_eq!(change(&a, &entry(file(1, 9, 8))), None, "another place and another reading change nothing");
        assert_eq!(change(&a, &entry(file(2, 0, 7))), Some(Change::Changed { content: true, metadata: false }));
        let mut b = entry(file(1, 0, 7));
        b.entry.attributes.mode = 0o600;
        assert_eq!(change(&a, &b), Some(Change::Changed { content: false, metadata: true }));
        assert_eq!(change(&a, &entry(Content::Directory)), Some(Change::Changed { content: true, metadata: false }));
        let link = |target: &[u8]| entry(Content::Symlink { target: target.to_vec() });
        assert_eq!(change(&link(b"x"), &link(b"x")), None);
        assert!(change(&link(b"x"), &link(b"y")).is_some());
    }

    #[test]
    fn a_further_name_is_compared_by_what_it_names() {
        let content = Some(Change::Changed { content: true, metadata: false });
        let a = name_of(1, plain("first", file(1, 0, 7)));
        assert_eq!(change(&a, &name_of(9, plain("first", file(1, 5, 8)))), None, "how far back says nothing");
        assert_eq!(change(&a, &name_of(1, plain("first", file(2, 0, 7)))), content);
        assert_eq!(change(&a, &name_of(1, plain("other", file(1, 0, 7)))), content);
        assert_eq!(change(&a, &entry(file(1, 0, 7))), content);
    }
}
