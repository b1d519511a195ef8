//! The hash of a whole file whose pieces come in any order, without reading anything back: BLAKE3 is a tree.
//!
//! ```text
//!   piece ─▶ aligned subtrees (hashed by whoever has the piece) ─▶ absorb: two halves become their parent
//!         └▶ what does not fill 1 KiB at its edges ─▶ waits for its neighbours
//! ```
//!
//! Promises: all bytes once, in any order, give what [`blake3::hash`] gives of them in order; at rest the memory is a few
//! hashes and at most 2 KiB for each gap. Source: the BLAKE3 paper §2.1 (tree), `blake3::hazmat` (subtrees).
//! Not here: files, and whether the hash is the right one (`write.rs`).

use std::collections::BTreeMap;

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// Bytes of a leaf of the tree.
const LEAF_BYTES: u64 = 1024;

/// A node: the level (0: leaves) and its place in the level.
type Place = (u32, u64);

/// A piece, hashed as far as it can be alone.
#[derive(Debug)]
pub(crate) struct Hashed<'bytes> {
    nodes: Vec<(Place, ChainingValue)>,
    /// What fills no leaf, with the offset in the file.
    edges: Vec<(u64, &'bytes [u8])>,
}

/// A file under way.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    leaves: u64,
    size: u64,
    nodes: BTreeMap<Place, ChainingValue>,
    /// Leaves of which some bytes are here, and how many.
    edges: BTreeMap<u64, (Box<[u8; LEAF_BYTES as usize]>, usize)>,
}

/// Hashes a piece of a file of `size` bytes, which has more than this piece.
pub(crate) fn hash_piece(size: u64, offset: u64, bytes: &[u8]) -> Hashed<'_> {
    let leaves = size.div_ceil(LEAF_BYTES);
    let mut hashed = Hashed { nodes: Vec::new(), edges: Vec::new() };
    let (mut at, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let leaf = at / LEAF_BYTES;
        let full = rest.len() as u64 / LEAF_BYTES;
        let bytes_now = if !at.is_multiple_of(LEAF_BYTES) || full == 0 {
            let now = rest.len().min((LEAF_BYTES - at % LEAF_BYTES) as usize);
            hashed.edges.push((at, &rest[..now]));
            now
        } else {
            // The largest subtree that begins here and is inside of the piece, but never the whole file: a root is
            // hashed in another way.
            let mut level = leaf.trailing_zeros().min(full.ilog2());
            if 1 << level == leaves {
                level -= 1;
            }
            let now = (LEAF_BYTES << level) as usize;
            let node = Hasher::new().set_input_offset(at).update(&rest[..now]).finalize_non_root();
            hashed.nodes.push(((level, leaf >> level), node));
            now
        };
        at += bytes_now as u64;
        rest = &rest[bytes_now..];
    }
    hashed
}

impl Whole {
    /// A file of `size` bytes of which nothing is known; it has more than one piece.
    pub(crate) fn new(size: u64) -> Self {
        Self { leaves: size.div_ceil(LEAF_BYTES), size, nodes: BTreeMap::new(), edges: BTreeMap::new() }
    }

    /// Takes a piece. Each byte of the file must come once.
    pub(crate) fn absorb(&mut self, piece: Hashed<'_>) {
        for (place, node) in piece.nodes {
            self.join(place, node);
        }
        for (offset, bytes) in piece.edges {
            let leaf = offset / LEAF_BYTES;
            let wanted = (self.size - leaf * LEAF_BYTES).min(LEAF_BYTES) as usize;
            let (edge, there) = self.edges.entry(leaf).or_insert_with(|| (Box::new([0; LEAF_BYTES as usize]), 0));
            let start = (offset % LEAF_BYTES) as usize;
            edge[start..start + bytes.len()].copy_from_slice(bytes);
            *there += bytes.len();
            if *there == wanted && self.leaves != 1 {
                let node =
                    Hasher::new().set_input_offset(leaf * LEAF_BYTES).update(&edge[..wanted]).finalize_non_root();
                self.edges.remove(&leaf);
                self.join((0, leaf), node);
            }
        }
    }

    /// The hash, once all bytes have come; before that, some other hash.
    pub(crate) fn finish(self) -> blake3::Hash {
        if self.leaves <= 1 {
            let bytes = self.edges.first_key_value().map_or(&[][..], |(_, (edge, _))| &edge[..self.size as usize]);
            return blake3::hash(bytes);
        }
        // What is left are the peaks of the tree, the highest first in the file.
        let mut peaks: Vec<(Place, ChainingValue)> = self.nodes.into_iter().collect();
        peaks.sort_by_key(|((level, place), _)| place << level);
        let mut right = match peaks.pop() {
            Some((_, peak)) => peak,
            None => return blake3::hash(&[]),
        };
        while let Some((_, left)) = peaks.pop() {
            if peaks.is_empty() {
                return merge_subtrees_root(&left, &right, Mode::Hash);
            }
            right = merge_subtrees_non_root(&left, &right, Mode::Hash);
        }
        blake3::hash(&[])
    }

    /// Puts a node in, and every parent that it completes, up to but not including the root.
    fn join(&mut self, place: Place, node: ChainingValue) {
        let ((mut level, mut at), mut node) = (place, node);
        loop {
            let parent_leaves = 2 << level;
            let parent_is_full = (at / 2 + 1) * parent_leaves <= self.leaves && parent_leaves < self.leaves;
            let sibling = if parent_is_full { self.nodes.remove(&(level, at ^ 1)) } else { None };
            let Some(sibling) = sibling else { break };
            let (left, right) = if at.is_multiple_of(2) { (&node, &sibling) } else { (&sibling, &node) };
            node = merge_subtrees_non_root(left, right, Mode::Hash);
            (level, at) = (level + 1, at / 2);
        }
        self.nodes.insert((level, at), node);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at * 31 % 251) as u8).collect()
    }

    fn hash_in_order_of(content: &[u8], mut pieces: Vec<(usize, usize)>) -> blake3::Hash {
        let mut whole = Whole::new(content.len() as u64);
        for (start, end) in pieces.drain(..) {
            whole.absorb(hash_piece(content.len() as u64, start as u64, &content[start..end]));
        }
        whole.finish()
    }

    #[test]
    fn a_large_file_in_two_pieces_backwards() {
        for bytes in [2, 1023, 1024, 1025, 2048, 2049, 4096, 1 << 20, (1 << 20) + 1, 3_333_333] {
            let content = content(bytes);
            for cut in [1, bytes / 2, bytes - 1] {
                let hash = hash_in_order_of(&content, vec![(cut, bytes), (0, cut)]);
                assert_eq!(hash, blake3::hash(&content), "{bytes} bytes cut at {cut}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Wherever a file is cut and in whatever order its pieces come, the hash is that of the file.
        #[test]
        fn the_order_of_pieces_changes_nothing(
            bytes in 1_usize..40_000,
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..24),
            order in any::<u64>(),
        ) {
            let content = content(bytes);
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes)).chain([bytes]).collect();
            ends.sort_unstable();
            ends.dedup();
            let mut pieces: Vec<(usize, usize)> = ends
                .iter()
                .scan(0, |start, &end| Some((std::mem::replace(start, end), end)))
                .filter(|(start, end)| start < end)
                .collect();
            pieces.sort_by_key(|(start, _)| (*start as u64 ^ order).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            if pieces.len() == 1 {
                // A file of one piece is hashed as it is.
                return Ok(());
            }
            prop_assert_eq!(hash_in_order_of(&content, pieces), blake3::hash(&content));
        }

        /// Another byte anywhere gives another hash.
        #[test]
        fn a_wrong_byte_is_noticed(bytes in 2_usize..9_000, at in any::<prop::sample::Index>()) {
            let right = content(bytes);
            let mut wrong = right.clone();
            wrong[at.index(bytes)] ^= 1;
            let pieces = vec![(bytes / 2, bytes), (0, bytes / 2)];
            prop_assert_ne!(hash_in_order_of(&wrong, pieces), blake3::hash(&right));
        }
    }
}
