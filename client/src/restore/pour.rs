//! One file's bytes to a pipe: stored bytes as they come, holes as the zeros that they read as.
//!
//! Promises: as many bytes as were asked for, each verified or a hole's. Not here: which file (`cat.rs`, `dump.rs`), the
//! order of chunks (`ordered.rs`).

use strongroom_format::manifest::entry::File;
use strongroom_format::manifest::holes::segments;
use strongroom_format::manifest::path::EntryPath;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::ordered::{Ordered, Stretch};
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};

/// So many zeros are written at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What comes next of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// So many bytes of a hole.
    Hole(u64),
    /// So many stored bytes.
    Stored(u64),
}

/// A range of a file, to be poured.
#[derive(Debug)]
pub(crate) struct Course {
    steps: Vec<Step>,
    /// The stored bytes that it needs: from, and up to.
    pub stored: (u64, u64),
}

impl Course {
    /// All of it.
    pub(crate) fn whole(file: &File) -> Self {
        Self::of(file, 0, file.size)
    }

    /// From one byte up to another, both counted with holes.
    pub(crate) fn of(file: &File, first: u64, end: u64) -> Self {
        let mut steps = Vec::new();
        let (mut at, mut from, mut up_to) = (first, None, 0);
        for segment in segments(file.size, &file.holes) {
            let (begins, ends) = (segment.offset.max(first), (segment.offset + segment.bytes).min(end));
            if ends <= begins {
                continue;
            }
            if at < begins {
                steps.push(Step::Hole(begins - at));
            }
            steps.push(Step::Stored(ends - begins));
            from.get_or_insert(segment.stored + (begins - segment.offset));
            up_to = segment.stored + (ends - segment.offset);
            at = ends;
        }
        if at < end {
            steps.push(Step::Hole(end - at));
        }
        Self { steps, stored: (from.unwrap_or(0), up_to) }
    }
}

/// Writes a range of a file, whose stretches come next; answers the hash of the stored bytes.
///
/// # Errors
/// `Refused` with code `DATA_LOSS` at the first byte that nobody has; `Failed` if it cannot be written.
pub(crate) async fn pour(
    path: &EntryPath,
    course: &Course,
    ordered: &mut Ordered<'_>,
    to: &mut (impl AsyncWrite + Unpin + Send),
    progress: &Progress,
) -> Result<blake3::Hash> {
    let (mut hasher, mut current, mut used) = (blake3::Hasher::new(), None::<Stretch>, 0);
    for step in &course.steps {
        match *step {
            Step::Hole(mut left) => {
                while left != 0 {
                    let zeros = &ZEROS[..usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()))];
                    to.write_all(zeros).await.map_err(unwritten)?;
                    left -= zeros.len() as u64;
                    progress.tell(Event::Restored { bytes: zeros.len() as u64 });
                }
            }
            Step::Stored(mut left) => {
                while left != 0 {
                    let stretch = match current.take() {
                        Some(stretch) => stretch,
                        None => {
                            used = 0;
                            let next = ordered.next().await?;
                            next.ok_or_else(|| Error::broken("a file's bytes ended before it did"))?
                        }
                    };
                    let bytes = stretch.bytes().map_err(|why| {
                        let at = stretch.part.file_offset;
                        Error::data_loss("FILE_DAMAGED", format_args!("{path} is damaged at stored byte {at}: {why}"))
                    })?;
                    let rest = &bytes[used..];
                    let now = &rest[..usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()))];
                    to.write_all(now).await.map_err(unwritten)?;
                    hasher.update(now);
                    let (written, is_left) = (now.len(), now.len() < rest.len());
                    progress.tell(Event::Restored { bytes: written as u64 });
                    left -= written as u64;
                    used += written;
                    if is_left {
                        current = Some(stretch);
                    }
                }
            }
        }
    }
    Ok(hasher.finalize())
}

/// What cannot be written, the pipe's end perhaps.
pub(crate) fn unwritten(cause: std::io::Error) -> Error {
    Error::failed("cannot write what was read", cause)
}

#[cfg(test)]
mod tests {
    use strongroom_format::id::Digest;
    use strongroom_format::manifest::entry::Moment;
    use strongroom_format::manifest::holes::Hole;

    use super::*;

    #[test]
    fn a_course_counts_holes_and_names_the_stored_bytes_that_it_needs() {
        let hole = |offset, bytes| Hole { offset, bytes };
        let file = |size, holes| File {
            size,
            pieces: Vec::new(),
            hash: Digest::from_bytes([0; 32]),
            last_read: Moment::default(),
            holes,
        };
        let course = |file: &File, first, end| {
            let course = Course::of(file, first, end);
            (course.steps, course.stored)
        };
        let some = file(20, vec![hole(4, 6), hole(12, 8)]);
        assert_eq!(
            course(&some, 0, 20),
            (vec![Step::Stored(4), Step::Hole(6), Step::Stored(2), Step::Hole(8)], (0, 6))
        );
        assert_eq!(course(&some, 2, 11), (vec![Step::Stored(2), Step::Hole(6), Step::Stored(1)], (2, 5)));
        assert_eq!(course(&some, 11, 13), (vec![Step::Stored(1), Step::Hole(1)], (5, 6)));
        assert_eq!(course(&some, 5, 8), (vec![Step::Hole(3)], (0, 0)));
        assert_eq!(course(&file(7, vec![]), 3, 5), (vec![Step::Stored(2)], (3, 5)));
        assert_eq!(course(&file(7, vec![hole(0, 7)]), 0, 7), (vec![Step::Hole(7)], (0, 0)));
        assert_eq!(course(&file(0, vec![]), 0, 0), (vec![], (0, 0)));
    }
}
