//! The digest of a replica's state (DESIGN.md §6): the sum modulo 2²⁵⁶ of keyed BLAKE3 over every row of every table.
//!
//! A sum, so that a write costs two hashes and the order of writes does not matter. The key is public, derived from the
//! group: the digest finds faults, evidence against lies is the audit tree. It is a row itself, in [`DIGEST_TABLE`], and
//! not summed. Not here: who compares digests.

use strongroom_format::id::{Digest, GroupId};

use crate::machine::DIGEST_TABLE;
use crate::tables::{Halt, Reads, Row, Table, Tables};

/// A sum of hashes modulo 2²⁵⁶: four 64-bit words, the least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum([u64; 4]);

impl Sum {
    fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut words = [0; 4];
        for (word, eight) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*eight);
        }
        Self(words)
    }

    fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (eight, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *eight = word.to_le_bytes();
        }
        bytes
    }

    fn add(&mut self, other: Sum) {
        let mut carry = false;
        for (word, more) in self.0.iter_mut().zip(other.0) {
            let (sum, over) = word.overflowing_add(more);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            (*word, carry) = (sum, over || over_again);
        }
    }

    fn subtract(&mut self, other: Sum) {
        let mut borrow = false;
        for (word, less) in self.0.iter_mut().zip(other.0) {
            let (rest, under) = word.overflowing_sub(less);
            let (rest, under_again) = rest.overflowing_sub(u64::from(borrow));
            (*word, borrow) = (rest, under || under_again);
        }
    }
}

/// The hash of one row.
struct RowHash([u8; 32]);

impl RowHash {
    fn of_group(group: GroupId) -> Self {
        Self(blake3::derive_key("strongroom 2026-11 digest of a group's rows 1", &group.0.to_le_bytes()))
    }

    /// `keyed BLAKE3(table ‖ length of the key as u32 little-endian ‖ key ‖ value)`.
    fn of(&self, table: Table, key: &[u8], value: &[u8]) -> Sum {
        let length = u32::try_from(key.len()).expect("keys are short");
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[table.0]).update(&length.to_le_bytes()).update(key).update(value);
        Sum::from_bytes(hasher.finalize().as_bytes())
    }
}

/// Tables that keep their digest with every write.
pub(crate) struct Digested<'a> {
    below: &'a mut dyn Tables,
    hash: RowHash,
    sum: Sum,
}

impl<'a> Digested<'a> {
    /// Goes on from the stored digest.
    pub(crate) fn open(below: &'a mut dyn Tables, group: GroupId) -> Result<Self, Halt> {
        let sum = stored(&*below)?;
        Ok(Self { below, hash: RowHash::of_group(group), sum })
    }

    /// Stores the digest.
    pub(crate) fn close(self) -> Result<(), Halt> {
        self.below.put(DIGEST_TABLE, &[], &self.sum.to_bytes())
    }
}

impl Reads for Digested<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        self.below.get(table, key)
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, Halt> {
        self.below.range(table, from, to, limit)
    }
}

impl Tables for Digested<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Halt> {
        match self.below.replace(table, key, value)? {
            Some(old) if old == value => return Ok(()),
            Some(old) => self.sum.subtract(self.hash.of(table, key, &old)),
            None => {}
        }
        self.sum.add(self.hash.of(table, key, value));
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), Halt> {
        if let Some(old) = self.below.take(table, key)? {
            self.sum.subtract(self.hash.of(table, key, &old));
        }
        Ok(())
    }
}

/// The digest that a state says it has; zeros before the first entry.
pub fn recorded(reads: &dyn Reads) -> Result<Digest, Halt> {
    Ok(Digest::from_bytes(stored(reads)?.to_bytes()))
}

/// The digest that rows really have: for scrub, `fsck` and laws. The rows may come in any order and must be all.
pub fn recompute<'a>(group: GroupId, rows: impl Iterator<Item = (Table, &'a [u8], &'a [u8])>) -> Digest {
    let mut recount = Recount::new(group);
    for (table, key, value) in rows {
        recount.add(table, key, value);
    }
    recount.digest()
}

/// As [`recompute`], row by row.
pub struct Recount {
    hash: RowHash,
    sum: Sum,
}

impl Recount {
    /// Of no rows yet.
    pub fn new(group: GroupId) -> Self {
        Self { hash: RowHash::of_group(group), sum: Sum::default() }
    }

    /// Counts a row; the digest's own does not count.
    pub fn add(&mut self, table: Table, key: &[u8], value: &[u8]) {
        if table != DIGEST_TABLE {
            self.sum.add(self.hash.of(table, key, value));
        }
    }

    /// The digest of what was counted.
    pub fn digest(self) -> Digest {
        Digest::from_bytes(self.sum.to_bytes())
    }
}

fn stored(reads: &dyn Reads) -> Result<Sum, Halt> {
    match reads.get(DIGEST_TABLE, &[])? {
        None => Ok(Sum::default()),
        Some(bytes) => match <&[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(bytes) => Ok(Sum::from_bytes(bytes)),
            Err(_) => Err(Halt { why: "the digest row has not 32 bytes".into() }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::MemoryTables;

    #[test]
    fn the_kept_digest_is_the_recomputed_one_after_any_writes() {
        let mut tables = MemoryTables::default();
        for round in 0..50_u8 {
            let mut digested = Digested::open(&mut tables, GroupId(7)).unwrap();
            digested.put(Table(1 + round % 3), &[round % 7], &[round]).unwrap();
            digested.put(Table(2), &[round % 5, 1], &[]).unwrap();
            digested.delete(Table(1), &[round % 4]).unwrap();
            digested.close().unwrap();
            assert_eq!(recorded(&tables).unwrap(), recompute(GroupId(7), tables.rows()), "round {round}");
        }
        assert_ne!(recorded(&tables).unwrap(), recompute(GroupId(8), tables.rows()), "each group has its own key");
    }

    #[test]
    fn words_carry_and_borrow() {
        let mut sum = Sum([u64::MAX, u64::MAX, 0, 0]);
        sum.add(Sum([1, 0, 0, 0]));
        assert_eq!(sum, Sum([0, 0, 1, 0]));
        sum.subtract(Sum([1, 0, 0, 0]));
        assert_eq!(sum, Sum([u64::MAX, u64::MAX, 0, 0]));
        sum.subtract(Sum([0, 0, 1, 0]));
        assert_eq!(sum, Sum([u64::MAX, u64::MAX, u64::MAX, u64::MAX]), "modulo 2^256");
    }
}
