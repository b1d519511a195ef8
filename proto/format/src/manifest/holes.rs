//! Holes: stretches of a file that were never written, read as zeros and lie nowhere.
//!
//! ```text
//!   file     0 ▓▓▓▓▓░░░░░░░▓▓▓▓▓▓▓▓░░░░ size          ▓ stored   ░ hole
//!   stored   0 ▓▓▓▓▓▓▓▓▓▓▓▓▓ stored bytes             what pieces and hash are of
//!   field    ( stored bytes since the hole before varint ‖ bytes of the hole varint ) …
//! ```
//!
//! Promises: holes that were decoded or passed [`check`] ascend, never touch each other, lie within the file, and no sum
//! over them wraps. Not here: finding and making them (the client).

use crate::manifest::field::{Reader, Why, put_varint};

/// A stretch of zeros that is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its bytes, at least 1.
    pub bytes: u64,
}

/// A stretch of a file that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins among the stored bytes.
    pub stored: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its bytes, at least 1.
    pub bytes: u64,
}

/// What lies between and around the holes of a file of `size` bytes, in order.
pub fn segments(size: u64, holes: &[Hole]) -> Vec<Segment> {
    let mut segments = Vec::with_capacity(holes.len() + 1);
    let (mut stored, mut offset) = (0, 0);
    for hole in holes.iter().chain([&Hole { offset: size, bytes: 0 }]) {
        let bytes = hole.offset - offset;
        if bytes != 0 {
            segments.push(Segment { stored, offset, bytes });
        }
        stored += bytes;
        offset = hole.offset + hole.bytes;
    }
    segments
}

/// The bytes of all holes.
pub(super) fn bytes_of(holes: &[Hole]) -> u64 {
    holes.iter().fold(0, |sum, hole| sum.saturating_add(hole.bytes))
}

pub(super) fn check(size: u64, holes: &[Hole]) -> Result<(), Why> {
    let mut least = 0;
    for hole in holes {
        let end = hole.offset.checked_add(hole.bytes).filter(|end| *end <= size);
        if hole.offset < least || hole.bytes == 0 || end.is_none() {
            return Err("a hole is outside its range");
        }
        // Two holes that touch are one.
        least = hole.offset + hole.bytes + 1;
    }
    Ok(())
}

pub(super) fn encode(holes: &[Hole]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(holes.len() * 8);
    let mut end = 0;
    for hole in holes {
        put_varint(&mut bytes, hole.offset - end);
        put_varint(&mut bytes, hole.bytes);
        end = hole.offset + hole.bytes;
    }
    bytes
}

/// Reads them; whether they fit the file, [`check`] says.
pub(super) fn decode(value: &[u8]) -> Result<Vec<Hole>, Why> {
    let outside = "a hole is outside its range";
    let mut reader = Reader(value);
    let (mut holes, mut end) = (Vec::new(), 0u64);
    if reader.is_empty() {
        return Err("no holes are no field");
    }
    while !reader.is_empty() {
        let offset = end.checked_add(reader.varint()?).ok_or(outside)?;
        let bytes = reader.varint()?;
        end = offset.checked_add(bytes).filter(|end| *end <= i64::MAX as u64).ok_or(outside)?;
        holes.push(Hole { offset, bytes });
    }
    Ok(holes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(offset: u64, bytes: u64) -> Hole {
        Hole { offset, bytes }
    }

    #[test]
    fn segments_are_what_lies_between_holes() {
        let segment = |stored, offset, bytes| Segment { stored, offset, bytes };
        assert_eq!(segments(0, &[]), []);
        assert_eq!(segments(9, &[]), [segment(0, 0, 9)]);
        assert_eq!(segments(9, &[hole(0, 9)]), []);
        assert_eq!(segments(9, &[hole(0, 2), hole(5, 4)]), [segment(0, 2, 3)]);
        assert_eq!(segments(20, &[hole(4, 6), hole(12, 1)]), [segment(0, 0, 4), segment(4, 10, 2), segment(6, 13, 7)]);
    }

    #[test]
    fn n115_holes_outside_or_touching_each_other_are_refused() {
        for holes in [vec![hole(0, 9)], vec![hole(0, 1), hole(2, 1), hole(8, 1)], vec![hole(4, 5)], vec![]] {
            assert_eq!(check(9, &holes), Ok(()));
            assert!(holes.is_empty() || decode(&encode(&holes)) == Ok(holes));
        }
        for holes in [
            vec![hole(0, 10)],
            vec![hole(9, 1)],
            vec![hole(3, 0)],
            vec![hole(0, 2), hole(2, 1)],
            vec![hole(4, 1), hole(0, 1)],
            vec![hole(1, u64::MAX)],
        ] {
            assert_eq!(check(9, &holes), Err("a hole is outside its range"), "{holes:?}");
        }
        let mut wraps = Vec::new();
        put_varint(&mut wraps, u64::MAX);
        put_varint(&mut wraps, 1);
        assert_eq!(decode(&wraps), Err("a hole is outside its range"));
        let mut twice = Vec::new();
        (0..2).for_each(|_| put_varint(&mut twice, 0));
        put_varint(&mut twice, 1 << 62);
        put_varint(&mut twice, 1 << 62);
        assert_eq!(decode(&twice), Err("a hole is outside its range"));
    }
}
