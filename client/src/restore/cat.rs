//! One file of a snapshot, or a range of it, to a pipe.
//!
//! Promises: every byte that is written was verified; the whole file's hash is checked at its end; where bytes are
//! damaged everywhere, what is written ends before them and the answer is an error; one more name of a file reads as the
//! file. Not here: the order (`ordered.rs`), holes (`pour.rs`).

use strongroom_format::id::SnapshotId;
use strongroom_format::manifest::decode::Item;
use strongroom_format::manifest::entry::{Content, Entry};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::book::Book;
use super::layout::Part;
use super::ordered::Ordered;
use super::path::TreePath;
use super::pour::{Course, pour, unwritten};
use super::reading::Reading;
use super::selection::not_found;
use super::visit::Visit;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};

/// Which bytes of a file: both ends are counted from 0 and are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte.
    pub first: u64,
    /// The last one; `None`: to the end of the file.
    pub last: Option<u64>,
}

impl ByteRange {
    /// All of a file.
    pub const ALL: Self = Self { first: 0, last: None };

    /// The bytes of a file of this size, from and up to; `None` if it begins behind its end.
    fn within(self, size: u64) -> Option<(u64, u64)> {
        let end = self.last.map_or(size, |last| last.saturating_add(1).min(size));
        let is_in = self.first < end || (self == Self::ALL && size == 0);
        is_in.then_some((self.first, end))
    }
}

/// What was read.
#[derive(Clone, Copy, Debug)]
pub struct FileRead {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Bytes that were written.
    pub bytes: u64,
    /// Bytes of the whole file, holes counted.
    pub size: u64,
    /// Fragments that nodes found damaged or missing on the way.
    pub fragments_bad: u64,
    /// Blobs that nodes had to rebuild from parity.
    pub blobs_rebuilt: u64,
}

impl Client {
    /// Writes a file of a snapshot, or a range of it.
    ///
    /// # Errors
    /// `Refused` with `NOT_FOUND`, `NOT_A_FILE` or `OUT_OF_RANGE`, before anything is written; with code `DATA_LOSS` if
    /// bytes are damaged everywhere: what was written before is right, and is not all. Else as [`Client::verify`].
    pub async fn read_file(
        &self,
        snapshot: SnapshotId,
        path: &[u8],
        range: ByteRange,
        to: &mut (impl AsyncWrite + Unpin + Send),
        progress: Progress,
    ) -> Result<FileRead> {
        let path = TreePath::typed(path)
            .map_err(|fault| Error::refused("INVALID_ARGUMENT", "SELECTION", fault, "name a path in the snapshot"))?;
        if path.is_top() {
            let (why, next) = ("the top of a snapshot is no file", "name a file as `strongroom ls` shows it");
            return Err(Error::refused("FAILED_PRECONDITION", "NOT_A_FILE", why, next));
        }
        let visit = Visit::begin(self, snapshot, "read a file").await?;
        let read = read(&visit, &path, range, to, &progress).await;
        visit.end().await;
        read
    }
}

async fn read(
    visit: &Visit,
    path: &TreePath,
    range: ByteRange,
    to: &mut (impl AsyncWrite + Unpin + Send),
    progress: &Progress,
) -> Result<FileRead> {
    let gate = &visit.gate;
    let mut reading = Reading::begin(gate).await?;
    let (mut found, mut runs) = (None, Vec::new());
    // The entries with several names: one that comes later may count back to them.
    let mut shared: Vec<Entry> = Vec::new();
    while let Some(item) = reading.next().await? {
        match item {
            Item::Entry(entry) if entry.path.as_bytes() == path.as_bytes() => {
                found = Some(match entry.content {
                    Content::HardLink { back } if entry.is_understood() => {
                        let at = usize::try_from(back).ok().and_then(|back| shared.len().checked_sub(back));
                        let first = at.filter(|at| *at < shared.len()).map(|at| shared.swap_remove(at));
                        first.ok_or_else(|| Error::data_loss("MANIFEST_MALFORMED", "a name of nothing"))?
                    }
                    _ => entry,
                });
                shared = Vec::new();
            }
            Item::Entry(entry) if found.is_none() && 1 < entry.names => shared.push(entry),
            Item::Runs(more) => runs.extend(more),
            Item::Header(_) | Item::Entry(_) | Item::End(_) => {}
        }
    }
    let Some(entry) = found else {
        return Err(not_found(path));
    };
    let is_understood = entry.is_understood();
    let Content::File(file) = entry.content else {
        return Err(Error::refused(
            "FAILED_PRECONDITION",
            "NOT_A_FILE",
            format_args!("{path} is no file"),
            "`strongroom ls` shows what it is, `strongroom dump` takes whole directories",
        ));
    };
    if !is_understood {
        return Err(Error::refused(
            "INVALID_ARGUMENT",
            "UNSUPPORTED_FORMAT",
            format_args!("this version does not understand {path}"),
            "update this program: the snapshot is newer than what it reads",
        ));
    }
    let Some((first, end)) = range.within(file.size) else {
        return Err(Error::refused(
            "OUT_OF_RANGE",
            "OUT_OF_RANGE",
            format_args!("{path} has {} bytes: byte {} is not in it", file.size, range.first),
            "name a range inside of the file; its first byte is 0",
        ));
    };
    progress.tell(Event::Planned { files: 1, bytes: end - first });
    let course = Course::of(&file, first, end);
    let (stored_first, stored_end) = course.stored;
    let mut book = Book::open(gate, &runs).await?;
    let mut parts = book.parts(std::iter::once(file.pieces.as_slice())).await?;
    parts.sort_unstable_by_key(|part| part.file_offset);
    let parts: Vec<Part> = parts.into_iter().filter_map(|part| clip(part, stored_first, stored_end)).collect();
    let mut ordered = Ordered::begin(gate, &book, parts)?;
    let poured = pour(&entry.path, &course, &mut ordered, to, progress).await;
    let flushed = to.flush().await.map_err(unwritten);
    let (stats, bad_blobs) = ordered.finish();
    visit.report(&bad_blobs).await;
    let hash = poured?;
    flushed?;
    if (first, end) == (0, file.size) && *hash.as_bytes() != *file.hash.as_bytes() {
        let why = format_args!("the content of {path} is not what its manifest says");
        return Err(Error::data_loss("FILE_DAMAGED", why));
    }
    let stats_before = reading.stats();
    Ok(FileRead {
        snapshot: gate.envelope.snapshot,
        bytes: end - first,
        size: file.size,
        fragments_bad: stats_before.fragments_bad + stats.fragments_bad,
        blobs_rebuilt: stats_before.blobs_rebuilt + stats.blobs_rebuilt,
    })
}

/// What of a part lies between two stored bytes of its file.
fn clip(mut part: Part, first: u64, end: u64) -> Option<Part> {
    let part_end = part.file_offset + u64::from(part.bytes);
    if part_end <= first || end <= part.file_offset {
        return None;
    }
    let front = u32::try_from(first.saturating_sub(part.file_offset)).expect("less than the part's bytes");
    let back = u32::try_from(part_end.saturating_sub(end)).expect("less than the part's bytes");
    part.chunk_offset += front;
    part.file_offset += u64::from(front);
    part.bytes -= front + back;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_with_the_file_and_never_begins_behind_it() {
        let range = |first, last| ByteRange { first, last };
        assert_eq!(range(0, None).within(10), Some((0, 10)));
        assert_eq!(range(3, Some(3)).within(10), Some((3, 4)));
        assert_eq!(range(3, Some(u64::MAX)).within(10), Some((3, 10)));
        assert_eq!(range(10, None).within(10), None);
        assert_eq!(range(0, Some(0)).within(0), None);
        assert_eq!(ByteRange::ALL.within(0), Some((0, 0)), "an empty file can be read");
    }

    #[test]
    fn a_part_is_cut_at_both_ends() {
        let part = Part { ordinal: 7, chunk_offset: 5, bytes: 10, file: 0, file_offset: 100 };
        assert_eq!(clip(part, 0, 1000), Some(part));
        assert_eq!(clip(part, 103, 104), Some(Part { chunk_offset: 8, bytes: 1, file_offset: 103, ..part }));
        assert_eq!(clip(part, 0, 101), Some(Part { bytes: 1, ..part }));
        assert_eq!(clip(part, 0, 100), None);
        assert_eq!(clip(part, 110, 111), None);
    }
}
