//! What must hold between the records of one manifest: order, parents, counts. Writer and reader hold it alike.

use crate::manifest::entry::{Content, End, Entry, Run};
use crate::manifest::field::Why;
use crate::manifest::path::EntryPath;
use crate::manifest::xattr;
use crate::tree::FANOUT_MAX;

/// The sequence so far. Its memory is one path.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// What has been counted so far.
    pub(super) counted: End,
    last: Option<EntryPath>,
    /// The lengths of those prefixes of `last` that are directories.
    directories: Vec<usize>,
    /// One more than the highest ordinal that a piece begins with.
    chunks_named: u64,
    /// Entries with several names.
    shared: u64,
    /// Pieces and holes, of all entries.
    pub(super) pieces: u64,
    /// Bytes of extended attributes, of all entries.
    pub(super) xattr_bytes: u64,
}

impl Sequence {
    /// Takes the next entry.
    pub(super) fn entry(&mut self, entry: &Entry) -> Result<(), Why> {
        self.step(&entry.path, matches!(entry.content, Content::Directory))?;
        for piece in entry.pieces() {
            self.chunks_named = self.chunks_named.max(piece.first + 1);
        }
        match &entry.content {
            Content::HardLink { back } if self.shared < *back => {
                return Err("a hard link names no entry before it");
            }
            Content::File(file) => self.pieces += file.holes.len() as u64,
            Content::Directory
            | Content::Symlink { .. }
            | Content::HardLink { .. }
            | Content::Fifo
            | Content::Device(_)
            | Content::Other { .. } => {}
        }
        self.shared += u64::from(1 < entry.names);
        self.pieces += entry.pieces().len() as u64;
        self.xattr_bytes += xattr::written_bytes(&entry.attributes.xattrs) as u64;
        self.counted.entries += 1;
        let bytes = self.counted.bytes.checked_add(entry.stored_bytes()).filter(|bytes| *bytes <= i64::MAX as u64);
        self.counted.bytes = bytes.ok_or("all files together have 2⁶³ bytes or more")?;
        Ok(())
    }

    /// Takes the next run.
    pub(super) fn run(&mut self, run: &Run) -> Result<(), Why> {
        if run.chunks == 0 || run.chunks as usize > FANOUT_MAX {
            return Err("a run has 1 to 1024 chunks");
        }
        self.counted.runs += 1;
        self.counted.chunks += u64::from(run.chunks);
        Ok(())
    }

    /// Says whether the sequence may end here.
    pub(super) fn end(&self) -> Result<(), Why> {
        if self.chunks_named > self.counted.chunks { Err("a piece begins behind the last run") } else { Ok(()) }
    }

    fn step(&mut self, path: &EntryPath, is_directory: bool) -> Result<(), Why> {
        if let Some(last) = &self.last {
            if path <= last {
                return Err("entries are not in ascending order, or one is there twice");
            }
            while let Some(length) = self.directories.last() {
                if path.is_within(&last.as_bytes()[..*length]) {
                    break;
                }
                self.directories.pop();
            }
        }
        if path.parent().map(<[u8]>::len) != self.directories.last().copied() {
            return Err("the parent of an entry is not a directory before it");
        }
        if is_directory {
            self.directories.push(path.as_bytes().len());
        }
        self.last = Some(path.clone());
        Ok(())
    }
}
