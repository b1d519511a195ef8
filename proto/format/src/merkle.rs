//! The Merkle tree of RFC 6962 (SHA-256, leaf prefix 0, node prefix 1) that a tenant's audit log is.
//!
//!     append(leaf) ──▶ Frontier (one small row) and the perfect subtrees that it completed (rows by NodeAt)
//!     rows ──inclusion_proof, consistency_proof──▶ hashes ──verify_…──▶ nobody needs to be trusted
//!
//! A leaf's hash is taken over a 16-byte salt and the record, so that a hash reveals nothing about a record that can be
//! guessed. Pure functions; proofs read stored subtree hashes through a closure. Not here: what a record is
//! (`receipt.rs`), where rows lie (`node/core`).

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use sha2::{Digest as _, Sha256};

use crate::codec::Format;

/// A hash in a Merkle tree: SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct MerkleHash(pub [u8; 32]);

impl fmt::Debug for MerkleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MerkleHash({self})")
    }
}

impl fmt::Display for MerkleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Random bytes that hide a record behind its leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Salt(pub [u8; 16]);

/// A perfect subtree: `2^level` leaves, the `index`-th of its level. Level 0 are the leaves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub struct NodeAt {
    /// Its height.
    pub level: u8,
    /// Its place among the subtrees of its height.
    pub index: u64,
}

/// What must be kept to append and to know the root: the roots of the perfect subtrees of which the tree consists, the
/// largest first. At most 64 hashes.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize)]
pub struct Frontier {
    size: u64,
    peaks: Vec<MerkleHash>,
}

/// A proof that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Merkle proof does not hold")]
pub struct BadProof;

/// Why there is no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError<E> {
    /// The leaf or the earlier size lies outside the tree.
    #[error("outside of the tree")]
    OutOfRange,
    /// A stored hash could not be read.
    #[error("a stored hash cannot be read")]
    Read(#[source] E),
}

/// `SHA-256(0 ‖ salt ‖ record)`.
pub fn leaf_hash(salt: &Salt, record: &[u8]) -> MerkleHash {
    hash(&[&[0], &salt.0, record])
}

/// `SHA-256(1 ‖ left ‖ right)`.
pub fn node_hash(left: &MerkleHash, right: &MerkleHash) -> MerkleHash {
    hash(&[&[1], &left.0, &right.0])
}

fn hash(parts: &[&[u8]]) -> MerkleHash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    MerkleHash(hasher.finalize().into())
}

impl Format for Frontier {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 + 8 + 4 + 64 * 32;
    const NAME: &'static str = "merkle frontier";

    fn check(&self) -> Result<(), &'static str> {
        match self.peaks.len() == self.size.count_ones() as usize {
            true => Ok(()),
            false => Err("as many peaks as the size has bits"),
        }
    }
}

impl Frontier {
    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf. Returns the perfect subtrees that are complete now, the leaf first: rows that proofs read.
    pub fn append(&mut self, leaf: MerkleHash) -> Vec<(NodeAt, MerkleHash)> {
        let mut at = NodeAt { level: 0, index: self.size };
        let mut hash = leaf;
        let mut completed = vec![(at, hash)];
        while at.index & 1 == 1 {
            let left = self.peaks.pop().expect("one peak for each bit of the size");
            hash = node_hash(&left, &hash);
            at = NodeAt { level: at.level + 1, index: at.index >> 1 };
            completed.push((at, hash));
        }
        self.peaks.push(hash);
        self.size = self.size.checked_add(1).expect("nobody appends 2^64 leaves");
        completed
    }

    /// The root; of no leaves, SHA-256 of nothing.
    pub fn root(&self) -> MerkleHash {
        let mut peaks = self.peaks.iter().rev();
        let Some(smallest) = peaks.next() else {
            return hash(&[]);
        };
        peaks.fold(*smallest, |right, left| node_hash(left, &right))
    }
}

/// The root of the first `size` leaves, from stored subtree hashes.
pub fn root_of<E>(size: u64, mut read: impl FnMut(NodeAt) -> Result<MerkleHash, E>) -> Result<MerkleHash, E> {
    if size == 0 { Ok(hash(&[])) } else { range(0, size, &mut read) }
}

/// The proof that leaf `index` is in the tree of the first `size` leaves (RFC 6962 §2.1.1), leaf to root. `read` gives
/// the hashes that [`Frontier::append`] returned.
pub fn inclusion_proof<E>(
    index: u64,
    size: u64,
    mut read: impl FnMut(NodeAt) -> Result<MerkleHash, E>,
) -> Result<Vec<MerkleHash>, ProofError<E>> {
    if index >= size {
        return Err(ProofError::OutOfRange);
    }
    let (mut start, mut end) = (0, size);
    let mut proof = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        let beside = if index < middle {
            let right = range(middle, end, &mut read);
            end = middle;
            right
        } else {
            let left = range(start, middle, &mut read);
            start = middle;
            left
        };
        proof.push(beside.map_err(ProofError::Read)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of the first `old` leaves is a beginning of that of the first `new` (RFC 6962 §2.1.2). Empty
/// where `old` is 0 or `new`.
pub fn consistency_proof<E>(
    old: u64,
    new: u64,
    mut read: impl FnMut(NodeAt) -> Result<MerkleHash, E>,
) -> Result<Vec<MerkleHash>, ProofError<E>> {
    if old > new {
        return Err(ProofError::OutOfRange);
    }
    if old == 0 {
        return Ok(Vec::new());
    }
    let (mut start, mut end) = (0, new);
    let mut proof = Vec::new();
    // Down to the subtree that ends where the old tree ended; what lies beside the way is the proof.
    while old != end {
        let middle = start + split(end - start);
        let beside = if old <= middle {
            let right = range(middle, end, &mut read);
            end = middle;
            right
        } else {
            let left = range(start, middle, &mut read);
            start = middle;
            left
        };
        proof.push(beside.map_err(ProofError::Read)?);
    }
    // The verifier knows the old root itself; any other last subtree must be given.
    if start != 0 {
        proof.push(range(start, end, &mut read).map_err(ProofError::Read)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `leaf` is number `index` of the `size` leaves under `root` (RFC 9162 §2.1.3.2).
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: &MerkleHash,
    proof: &[MerkleHash],
    root: &MerkleHash,
) -> Result<(), BadProof> {
    if index >= size {
        return Err(BadProof);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for beside in proof {
        if last == 0 {
            return Err(BadProof);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(beside, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, beside);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == *root { Ok(()) } else { Err(BadProof) }
}

/// Whether the tree of `old` leaves under `old_root` is a beginning of that of `new` leaves under `new_root` (RFC 9162
/// §2.1.4.2). Nothing is a beginning of everything.
pub fn verify_consistency(
    old: u64,
    new: u64,
    old_root: &MerkleHash,
    new_root: &MerkleHash,
    proof: &[MerkleHash],
) -> Result<(), BadProof> {
    if old > new {
        return Err(BadProof);
    }
    if old == 0 {
        return if proof.is_empty() && *old_root == hash(&[]) { Ok(()) } else { Err(BadProof) };
    }
    if old == new {
        return if proof.is_empty() && old_root == new_root { Ok(()) } else { Err(BadProof) };
    }
    let mut given = proof.iter();
    let first = if old.is_power_of_two() { *old_root } else { *given.next().ok_or(BadProof)? };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (first, first);
    for beside in given {
        if last == 0 {
            return Err(BadProof);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(beside, &old_hash);
            new_hash = node_hash(beside, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, beside);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 && old_hash == *old_root && new_hash == *new_root { Ok(()) } else { Err(BadProof) }
}

/// The largest power of two below `leaves`, which is at least 2.
fn split(leaves: u64) -> u64 {
    1 << (u64::BITS - 1 - (leaves - 1).leading_zeros())
}

/// The root over leaves `start..end`, where `start` is a multiple of the largest power of two that fits.
fn range<E>(start: u64, end: u64, read: &mut impl FnMut(NodeAt) -> Result<MerkleHash, E>) -> Result<MerkleHash, E> {
    let leaves = end - start;
    if leaves.is_power_of_two() {
        let level = leaves.trailing_zeros();
        return read(NodeAt { level: u8::try_from(level).expect("below 64"), index: start >> level });
    }
    let middle = start + split(leaves);
    let left = range(start, middle, read)?;
    let right = range(middle, end, read)?;
    Ok(node_hash(&left, &right))
}
