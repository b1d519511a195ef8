//! A forward look at a file: recovery reads it in pieces instead of record by record.

use std::io;

use crate::aligned::{AlignedBuffer, BLOCK};
use crate::files::DiskFile;

/// What a reader takes at a time that looks at everything.
pub const PIECE_BYTES: usize = 1 << 20;

/// A piece of a file in memory that follows the offsets asked for.
#[derive(Debug)]
pub struct Window<'f> {
    file: &'f dyn DiskFile,
    file_bytes: u64,
    /// A multiple of [`BLOCK`].
    start: u64,
    piece: AlignedBuffer,
    piece_bytes: usize,
}

impl<'f> Window<'f> {
    /// A look at the file as long as it is now, at least `piece_bytes` at a time: [`PIECE_BYTES`] for who looks at
    /// everything, a block for who jumps from header to header.
    pub fn new(file: &'f dyn DiskFile, piece_bytes: usize) -> io::Result<Self> {
        Ok(Self { file, file_bytes: file.len()?, start: 0, piece: AlignedBuffer::default(), piece_bytes })
    }

    /// The file's length when the window was opened.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The bytes from `offset`, fewer than `length` only where the file ends.
    pub fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let end = offset.saturating_add(length as u64).min(self.file_bytes);
        if end <= offset {
            return Ok(&[]);
        }
        if offset < self.start || self.start + (self.piece.len() as u64) < end {
            self.start = offset - offset % BLOCK as u64;
            let wanted = usize::try_from(end - self.start).map_err(|_| io::ErrorKind::OutOfMemory)?;
            self.piece.resize(wanted.max(self.piece_bytes).next_multiple_of(BLOCK));
            let got = self.file.read_at(self.piece.bytes_mut(), self.start)?;
            self.piece.resize(got);
        }
        let held = self.piece.bytes();
        let from = usize::try_from(offset - self.start).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let to = usize::try_from(end - self.start).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok(&held[from.min(held.len())..to.min(held.len())])
    }
}
