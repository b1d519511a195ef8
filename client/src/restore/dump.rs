//! A snapshot, or paths of it, as a tar archive to a pipe.
//!
//! Promises: members stand under their paths in the snapshot, in its order; every byte was verified before it is written,
//! every file's hash is checked before the next member begins; where bytes are damaged everywhere the archive ends in the
//! middle, so that no reader takes it for whole, and the answer is an error. Holes are written
//! as the zeros that they read as; of the names of one file the first in the archive has its bytes, the others refer to it.
//! Not here: headers (`tar.rs`), the order of bytes (`ordered.rs`). Memory: a few hundred bytes a file, and two windows of chunks.

use std::time::{Duration, Instant};

use strongroom_format::id::SnapshotId;
use strongroom_format::manifest::decode::Item;
use strongroom_format::manifest::entry::{Content, Entry};
use strongroom_format::manifest::names::OwnerNames;
use strongroom_format::manifest::path::EntryPath;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::book::Book;
use super::ordered::Ordered;
use super::pour::{Course, pour, unwritten};
use super::reading::Reading;
use super::selection::Selection;
use super::tar::{END, Kind, Member, padding};
use super::visit::Visit;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};

/// What was written.
#[derive(Clone, Debug)]
pub struct Dumped {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Files.
    pub files: u64,
    /// Their bytes, holes counted.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
    /// Fragments that nodes found damaged or missing on the way.
    pub fragments_bad: u64,
    /// Blobs that nodes had to rebuild from parity.
    pub blobs_rebuilt: u64,
    /// Entries that this version does not understand, or that no archive holds, by their paths: they are not in it.
    pub left_out: Vec<Vec<u8>>,
}

impl Client {
    /// Writes a snapshot, or what is at and below some of its paths, as a tar archive.
    ///
    /// # Errors
    /// `Refused` with code `DATA_LOSS` if bytes are damaged everywhere: the archive is cut off then. Else as
    /// [`Client::verify`].
    pub async fn dump(
        &self,
        snapshot: SnapshotId,
        paths: &[Vec<u8>],
        to: &mut (impl AsyncWrite + Unpin + Send),
        progress: Progress,
    ) -> Result<Dumped> {
        let began = Instant::now();
        let selection = Selection::below(paths)?;
        let visit = Visit::begin(self, snapshot, "dump").await?;
        let dumped = dump(&visit, &selection, to, &progress, began).await;
        visit.end().await;
        dumped
    }
}

async fn dump(
    visit: &Visit,
    selection: &Selection,
    to: &mut (impl AsyncWrite + Unpin + Send),
    progress: &Progress,
    began: Instant,
) -> Result<Dumped> {
    let gate = &visit.gate;
    let mut reading = Reading::begin(gate).await?;
    let (mut chosen, mut runs, mut names) = (Chosen::default(), Vec::new(), OwnerNames::default());
    while let Some(item) = reading.next().await? {
        match item {
            Item::Entry(entry) => chosen.take(entry, selection),
            Item::Runs(more) => runs.extend(more),
            Item::End(end) => names = end.names,
            Item::Header(_) => {}
        }
    }
    selection.require_found()?;
    let Chosen { entries, left_out, .. } = chosen;
    let (files, bytes) = entries.iter().fold((0, 0_u64), |(files, bytes), (entry, _)| match entry.content {
        Content::File(_) => (files + 1, bytes.saturating_add(entry.bytes())),
        Content::Directory
        | Content::Symlink { .. }
        | Content::HardLink { .. }
        | Content::Fifo
        | Content::Device(_)
        | Content::Other { .. } => (files, bytes),
    });
    progress.tell(Event::Planned { files, bytes });
    let mut book = Book::open(gate, &runs).await?;
    let mut parts = book.parts(entries.iter().map(|(entry, _)| entry.pieces())).await?;
    parts.sort_unstable_by_key(|part| (part.file, part.file_offset));
    let mut ordered = Ordered::begin(gate, &book, parts)?;
    let written = write(&entries, &names, &mut ordered, to, progress).await;
    let flushed = to.flush().await.map_err(unwritten);
    let (stats, bad_blobs) = ordered.finish();
    visit.report(&bad_blobs).await;
    written?;
    flushed?;
    let before = reading.stats();
    Ok(Dumped {
        snapshot: gate.envelope.snapshot,
        files,
        bytes,
        duration: began.elapsed(),
        fragments_bad: before.fragments_bad + stats.fragments_bad,
        blobs_rebuilt: before.blobs_rebuilt + stats.blobs_rebuilt,
        left_out,
    })
}

/// What goes into the archive.
#[derive(Default)]
struct Chosen {
    /// In order, each with what it is one more name of.
    entries: Vec<(Entry, Option<EntryPath>)>,
    left_out: Vec<Vec<u8>>,
    /// The entries with several names, in order: further names count back to them.
    shared: Vec<Shared>,
}

/// An entry with several names.
enum Shared {
    /// It is in the archive, under this path.
    Chosen(EntryPath),
    /// It is not selected, but another name may be.
    NotYet(Box<Entry>),
    /// It is left out, and so are its other names.
    LeftOut,
}

impl Chosen {
    /// Takes what comes next in the manifest.
    fn take(&mut self, entry: Entry, selection: &Selection) {
        let is_shared = 1 < entry.names;
        if selection.place(&entry.path, matches!(entry.content, Content::Directory)).is_none() {
            if is_shared {
                self.shared.push(Shared::NotYet(Box::new(entry)));
            }
            return;
        }
        match entry.content {
            Content::HardLink { back } if entry.is_understood() => self.take_name(entry, back),
            _ => {
                let taken = self.choose(entry);
                if is_shared {
                    self.shared.push(taken);
                }
            }
        }
    }

    fn take_name(&mut self, link: Entry, back: u64) {
        let at = usize::try_from(back).ok().and_then(|back| self.shared.len().checked_sub(back));
        // The decoder has seen that it is there.
        match at.and_then(|at| self.shared.get_mut(at)) {
            Some(Shared::Chosen(first)) => {
                let first = first.clone();
                self.entries.push((link, Some(first)));
            }
            Some(first @ Shared::NotYet(_)) => {
                let Shared::NotYet(mut entry) = std::mem::replace(first, Shared::LeftOut) else { return };
                entry.path = link.path;
                let taken = self.choose(*entry);
                if let Some(first) = at.and_then(|at| self.shared.get_mut(at)) {
                    *first = taken;
                }
            }
            Some(Shared::LeftOut) | None => self.left_out.push(link.path.as_bytes().to_vec()),
        }
    }

    fn choose(&mut self, entry: Entry) -> Shared {
        let is_held = match entry.content {
            Content::Device(device) => Member::holds(device),
            _ => entry.is_understood(),
        };
        let path = entry.path.clone();
        if !(is_held && entry.is_understood()) {
            self.left_out.push(path.as_bytes().to_vec());
            return Shared::LeftOut;
        }
        self.entries.push((entry, None));
        Shared::Chosen(path)
    }
}

async fn write(
    entries: &[(Entry, Option<EntryPath>)],
    names: &OwnerNames,
    ordered: &mut Ordered<'_>,
    to: &mut (impl AsyncWrite + Unpin + Send),
    progress: &Progress,
) -> Result<()> {
    for (entry, first) in entries {
        let kind = match (&entry.content, first) {
            (Content::File(file), _) => Kind::File { size: file.size },
            (Content::Directory, _) => Kind::Directory,
            (Content::Symlink { target }, _) => Kind::Symlink { target },
            (Content::HardLink { .. }, Some(first)) => Kind::HardLink { first: first.as_bytes() },
            (Content::Fifo, _) => Kind::Fifo,
            (Content::Device(device), _) => Kind::Device(*device),
            // Left out, and so not among these.
            (Content::HardLink { .. }, None) | (Content::Other { .. }, _) => continue,
        };
        let (path, attributes) = (entry.path.as_bytes(), &entry.attributes);
        to.write_all(&Member { path, attributes, names, kind }.header()).await.map_err(unwritten)?;
        let Content::File(file) = &entry.content else { continue };
        let hash = pour(&entry.path, &Course::whole(file), ordered, to, progress).await?;
        if *hash.as_bytes() != *file.hash.as_bytes() {
            let why = format_args!("the content of {} is not what its manifest says", entry.path);
            return Err(Error::data_loss("FILE_DAMAGED", why));
        }
        to.write_all(padding(file.size)).await.map_err(unwritten)?;
    }
    to.write_all(&END).await.map_err(unwritten)
}

#[cfg(test)]
mod tests {
    use strongroom_format::manifest::entry::{Access, Attributes, Device};

    use super::*;

    #[test]
    fn the_first_name_in_the_archive_is_the_entry_and_later_ones_refer_to_it() {
        let entry = |path: &str, names, content| Entry {
            path: EntryPath::new(path).unwrap(),
            attributes: Attributes::default(),
            names,
            content,
            unknown: Vec::new(),
        };
        let device = |minor| Content::Device(Device { access: Access::Block, major: 8, minor });
        let chosen = |paths: &[&str]| {
            let paths: Vec<Vec<u8>> = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
            let selection = Selection::below(&paths).unwrap();
            let mut chosen = Chosen::default();
            for entry in [
                entry("a", 3, Content::Fifo),
                entry("b", 2, device(u32::MAX)),
                entry("c", 1, Content::HardLink { back: 2 }),
                entry("d", 1, Content::HardLink { back: 2 }),
                entry("e", 1, Content::HardLink { back: 1 }),
            ] {
                chosen.take(entry, &selection);
            }
            let shown = |(entry, first): &(Entry, Option<EntryPath>)| {
                (entry.path.to_string(), first.as_ref().map(ToString::to_string))
            };
            (chosen.entries.iter().map(shown).collect::<Vec<_>>(), chosen.left_out)
        };
        let pair = |path: &str, first: Option<&str>| (path.to_owned(), first.map(ToOwned::to_owned));
        let (all, left_out) = chosen(&[]);
        assert_eq!(all, [pair("a", None), pair("c", Some("a")), pair("d", Some("a"))]);
        assert_eq!(left_out, [b"b", b"e"], "no archive holds such a number");
        let (some, _) = chosen(&["c", "d"]);
        assert_eq!(some, [pair("c", None), pair("d", Some("c"))]);
    }
}
