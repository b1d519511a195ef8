//! The erasure code of a shard and where the fragments of a blob lie (DESIGN.md §3).
//!
//! Not here: the arithmetic of the code (`node/chunks`).

use borsh::{BorshDeserialize, BorshSerialize};

use crate::id::{BlobId, Slot};

/// `k` data and `m` parity fragments: any `k` of the `k + m` give the blob back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Code {
    /// Data fragments, at least 1.
    pub k: u8,
    /// Parity fragments.
    pub m: u8,
}

impl Code {
    /// The code of a shard with so many slots in so many regions; `None` where DESIGN.md §3 has no row.
    pub fn of(slots: u8, regions: u8) -> Option<Code> {
        let code = match (slots, regions) {
            (1, 1) => Code { k: 1, m: 0 },
            (3, 3) => Code { k: 2, m: 1 },
            (6, 3) => Code { k: 4, m: 2 },
            (9, 3) => Code { k: 6, m: 3 },
            (5, 1) => Code { k: 3, m: 2 },
            _ => return None,
        };
        Some(code)
    }

    /// `k + m`.
    pub fn slots(self) -> u8 {
        self.k + self.m
    }

    /// How many slots vote: `min(k + m, 2m + 1)`.
    pub fn voters(self) -> u8 {
        self.slots().min(2 * self.m + 1)
    }

    /// The bytes of each fragment of a blob of `blob_bytes`: `ceil(blob / k)`, rounded up to a multiple of 64.
    /// The last data fragments are padded with zeros. Code 1+0 pads nothing.
    pub fn fragment_bytes(self, blob_bytes: u32) -> u32 {
        if self.k == 1 {
            return blob_bytes;
        }
        blob_bytes.div_ceil(u32::from(self.k)).next_multiple_of(64)
    }

    /// The slot in which fragment `index` of a blob lies, if nothing was handed over:
    /// `(index + first 8 bytes of BlobId, little-endian) mod (k + m)`.
    pub fn slot_of(self, blob: &BlobId, index: u8) -> Slot {
        let mut first = [0; 8];
        first.copy_from_slice(&blob.as_bytes()[..8]);
        let n = u64::from(self.slots());
        let slot = (u64::from(index) + u64::from_le_bytes(first) % n) % n;
        Slot(u8::try_from(slot).expect("below k + m"))
    }

    /// The fragment of a blob that lies in a slot, if nothing was handed over: the inverse of [`Code::slot_of`].
    /// `None`: the code has no such slot.
    pub fn index_in(self, slot: Slot, blob: &BlobId) -> Option<u8> {
        (0..self.slots()).find(|index| self.slot_of(blob, *index) == slot)
    }
}

/// What a blob, a part or a snapshot survives: how many more regions, and how many more members, may be lost. Members
/// that were down when it was acknowledged count among the lost until repair has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Strength {
    /// Whole regions.
    pub regions: u8,
    /// Single members.
    pub nodes: u8,
}

impl Strength {
    /// Of nothing: what has no bytes survives everything.
    pub const BOUNDLESS: Strength = Strength { regions: u8::MAX, nodes: u8::MAX };

    /// What both survive.
    pub fn and(self, other: Strength) -> Strength {
        Strength { regions: self.regions.min(other.regions), nodes: self.nodes.min(other.nodes) }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}", self.k, self.m)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_one_fragment_of_a_blob_and_no_other_slot_has_any() {
        for code in [(1, 0), (2, 1), (4, 2), (6, 3), (3, 2)].map(|(k, m)| Code { k, m }) {
            for number in 0..50 {
                let blob = BlobId::from_bytes(*blake3::hash(&[number]).as_bytes());
                for index in 0..code.slots() {
                    assert_eq!(code.index_in(code.slot_of(&blob, index), &blob), Some(index));
                }
                assert_eq!(code.index_in(Slot(code.slots()), &blob), None);
            }
        }
    }
}
