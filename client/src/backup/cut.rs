//! Where chunks end inside an extent: content-defined (FastCDC 2020: 256 KiB, 1 MiB, 4 MiB, no seed) or fixed (4 MiB).
//!
//! Promises: the same extent gives the same chunks however it was read. Not here: what is an extent (`pack.rs`).

use fastcdc::v2020::FastCDC;
use strongroom_format::chunk::{CHUNK_BYTES_AVERAGE, CHUNK_BYTES_FIXED, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};

const MIN: usize = CHUNK_BYTES_MIN as usize;
const AVERAGE: usize = CHUNK_BYTES_AVERAGE as usize;
const FIXED: usize = CHUNK_BYTES_FIXED as usize;
/// So many bytes of an extent always suffice to find the end of its first chunk.
pub(crate) const MAX: usize = CHUNK_BYTES_MAX as usize;

/// How chunks are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cutting {
    /// By content.
    Content,
    /// Every 4 MiB.
    Fixed,
}

/// Whether more of the extent follows behind the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// The bytes at hand end where the extent ends.
    Ends,
    /// More follows.
    Follows,
}

impl Cutting {
    /// The length of the first chunk of `bytes`; `None` if that takes more bytes than are at hand.
    pub(crate) fn first(self, bytes: &[u8], rest: Rest) -> Option<usize> {
        match rest {
            Rest::Ends if bytes.is_empty() => return None,
            Rest::Follows if bytes.len() < MAX => return None,
            Rest::Ends | Rest::Follows => {}
        }
        Some(match self {
            Self::Content => FastCDC::new(bytes, MIN, AVERAGE, MAX).cut(0, bytes.len()).1,
            Self::Fixed => bytes.len().min(FIXED),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        noise
    }

    fn chunks(cutting: Cutting, extent: &[u8], step: usize) -> Vec<usize> {
        let (mut start, mut end, mut lengths) = (0, 0, Vec::new());
        loop {
            let rest = if end == extent.len() { Rest::Ends } else { Rest::Follows };
            match cutting.first(&extent[start..end], rest) {
                Some(length) => {
                    start += length;
                    lengths.push(length);
                }
                None if rest == Rest::Ends => return lengths,
                None => end = extent.len().min(end + step),
            }
        }
    }

    #[test]
    fn chunks_do_not_depend_on_how_the_extent_was_read() {
        let extent = noise(20_000_001);
        for cutting in [Cutting::Content, Cutting::Fixed] {
            let whole = chunks(cutting, &extent, extent.len());
            assert_eq!(whole.iter().sum::<usize>(), extent.len());
            assert!(whole.iter().all(|length| (1..=MAX).contains(length)));
            assert_eq!(chunks(cutting, &extent, 100_003), whole);
            assert_eq!(chunks(cutting, &extent, 7_000_000), whole);
        }
    }

    #[test]
    fn an_empty_extent_has_no_chunk() {
        assert_eq!(Cutting::Content.first(&[], Rest::Ends), None);
    }
}
