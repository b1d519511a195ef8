//! The pieces of a file, put together chunk by chunk: what goes on where the chunk before ended is one piece with it.
//!
//! Not here: which chunks (`read.rs`), how pieces are written (`strongroom_format::manifest`).

use strongroom_format::manifest::entry::Piece;

/// Pieces in the making.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pieces: Vec<Piece>,
    /// The chunk that would go on with the last piece, if that reaches its own chunk's end.
    goes_on_with: Option<u64>,
}

impl Pieces {
    /// Adds `length` bytes from `offset` of a chunk of `chunk_bytes`; no bytes are no piece.
    pub(crate) fn add(&mut self, ordinal: u64, chunk_bytes: u32, offset: u32, length: u32) {
        if length == 0 {
            return;
        }
        match self.pieces.last_mut() {
            Some(last) if self.goes_on_with == Some(ordinal) && offset == 0 => last.length += u64::from(length),
            Some(_) | None => self.pieces.push(Piece { first: ordinal, offset, length: length.into() }),
        }
        self.goes_on_with = (offset + length == chunk_bytes).then_some(ordinal + 1);
    }

    /// All of them.
    pub(crate) fn finish(self) -> Vec<Piece> {
        self.pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_that_follow_each_other_are_one_piece() {
        let mut pieces = Pieces::default();
        pieces.add(7, 100, 90, 10);
        pieces.add(8, 50, 0, 50);
        pieces.add(9, 50, 0, 20);
        assert_eq!(pieces.finish(), [Piece { first: 7, offset: 90, length: 80 }]);
    }

    #[test]
    fn chunks_apart_are_pieces_of_their_own() {
        let mut pieces = Pieces::default();
        pieces.add(7, 100, 0, 100);
        pieces.add(9, 50, 0, 50);
        pieces.add(10, 50, 0, 0);
        pieces.add(3, 50, 0, 5);
        let piece = |first, length| Piece { first, offset: 0, length };
        assert_eq!(pieces.finish(), [piece(7, 100), piece(9, 50), piece(3, 5)]);
    }
}
