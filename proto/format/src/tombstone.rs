//! Tombstones: which copies of a segment file are no more, written before their bytes are punched out.
//!
//! ```text
//! block    = "SRTS" ‖ version u8 ‖ zero ‖ count u16 ‖ tenant tag(16) ‖ entry × count ‖ zeros ‖ CRC-32C of all before u32
//! entry    = blob id(32) ‖ index u8 ‖ group u32 ‖ lease u64 ‖ segment u32 ‖ block u32              integers little-endian
//! ```
//!
//! A block is 4 KiB and lies among fragment records (`fragment.rs`), behind those that it names. It names a copy with the
//! place of its record: the same copy written again elsewhere lives. Not here: who may write one (`node/chunks`).

use crate::fragment::{BLOCK_BYTES, CopyName};
use crate::id::{BlobId, GroupId, LeaseId, TenantTag};

/// A block names at most so many copies.
pub const ENTRIES_MAX: usize = (CRC_AT - HEAD_BYTES) / ENTRY_BYTES;

const MAGIC: [u8; 4] = *b"SRTS";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 24;
const ENTRY_BYTES: usize = 53;
const CRC_AT: usize = BLOCK_BYTES - 4;

/// A copy that is no more, and where its record lay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Which copy.
    pub copy: CopyName,
    /// In which of the tenant's segments.
    pub segment: u32,
    /// In which block of it.
    pub block: u32,
}

/// A block of tombstones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TombstoneBlock {
    /// Stands for the tenant.
    pub tenant_tag: TenantTag,
    /// At most [`ENTRIES_MAX`], at least one.
    pub entries: Vec<Tombstone>,
}

/// Why bytes are no block of tombstones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TombstoneError {
    /// None starts here.
    #[error("no tombstones start here")]
    NotTombstones,
    /// Written by a version that this reader does not know (N36).
    #[error("tombstones: version {found} is not supported, this reader knows version {VERSION}")]
    UnsupportedVersion {
        /// What stands there.
        found: u8,
    },
    /// They were altered or torn, or say what cannot be.
    #[error("a block of tombstones is damaged")]
    Damaged,
}

impl TombstoneBlock {
    /// The block's bytes.
    ///
    /// # Panics
    /// With no entries, or more than [`ENTRIES_MAX`].
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        assert!((1..=ENTRIES_MAX).contains(&self.entries.len()), "a block names 1 to {ENTRIES_MAX} copies");
        let mut bytes = [0; BLOCK_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[6..8].copy_from_slice(&(self.entries.len() as u16).to_le_bytes());
        bytes[8..HEAD_BYTES].copy_from_slice(self.tenant_tag.as_bytes());
        for (entry, place) in self.entries.iter().zip(bytes[HEAD_BYTES..CRC_AT].chunks_exact_mut(ENTRY_BYTES)) {
            place[..32].copy_from_slice(entry.copy.blob.as_bytes());
            place[32] = entry.copy.index;
            place[33..37].copy_from_slice(&entry.copy.group.0.to_le_bytes());
            place[37..45].copy_from_slice(&entry.copy.lease.0.to_le_bytes());
            place[45..49].copy_from_slice(&entry.segment.to_le_bytes());
            place[49..53].copy_from_slice(&entry.block.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the block at the start of `bytes`; what follows is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<TombstoneBlock, TombstoneError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(TombstoneError::NotTombstones);
        }
        let bytes = bytes.first_chunk::<BLOCK_BYTES>().ok_or(TombstoneError::Damaged)?;
        if u32::from_le_bytes(field(bytes, CRC_AT)) != crc32c::crc32c(&bytes[..CRC_AT]) {
            return Err(TombstoneError::Damaged);
        }
        if bytes[4] != VERSION {
            return Err(TombstoneError::UnsupportedVersion { found: bytes[4] });
        }
        let count = usize::from(u16::from_le_bytes(field(bytes, 6)));
        if !(1..=ENTRIES_MAX).contains(&count) {
            return Err(TombstoneError::Damaged);
        }
        let entry = |place: &[u8]| Tombstone {
            copy: CopyName {
                blob: BlobId::from_bytes(field(place, 0)),
                index: place[32],
                group: GroupId(u32::from_le_bytes(field(place, 33))),
                lease: LeaseId(u64::from_le_bytes(field(place, 37))),
            },
            segment: u32::from_le_bytes(field(place, 45)),
            block: u32::from_le_bytes(field(place, 49)),
        };
        let block = TombstoneBlock {
            tenant_tag: TenantTag::from_bytes(field(bytes, 8)),
            entries: bytes[HEAD_BYTES..CRC_AT].chunks_exact(ENTRY_BYTES).take(count).map(entry).collect(),
        };
        if block.encode() == *bytes { Ok(block) } else { Err(TombstoneError::Damaged) }
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("every field lies inside of the block")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(count: usize) -> TombstoneBlock {
        let entry = |number: usize| Tombstone {
            copy: CopyName {
                blob: BlobId::from_bytes([number as u8; 32]),
                index: number as u8,
                group: GroupId(3),
                lease: LeaseId(number as u64),
            },
            segment: 7,
            block: number as u32,
        };
        TombstoneBlock { tenant_tag: TenantTag::from_bytes([1; 16]), entries: (0..count).map(entry).collect() }
    }

    #[test]
    fn tombstones_are_read_as_they_were_written() {
        for count in [1, 2, ENTRIES_MAX] {
            let block = block(count);
            assert_eq!(TombstoneBlock::parse(&block.encode()), Ok(block));
        }
        assert_eq!(ENTRIES_MAX, 76);
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = block(3).encode();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(TombstoneBlock::parse(&bad).is_err(), "bit {bit}");
        }
        assert_eq!(TombstoneBlock::parse(&bytes[..4095]), Err(TombstoneError::Damaged));
        assert_eq!(TombstoneBlock::parse(&[0; BLOCK_BYTES]), Err(TombstoneError::NotTombstones));
    }

    #[test]
    fn n36_versions_and_counts_that_cannot_be_are_refused_with_a_good_checksum_too() {
        let with = |at: usize, byte: u8| {
            let mut bytes = block(3).encode();
            bytes[at] = byte;
            let crc = crc32c::crc32c(&bytes[..CRC_AT]);
            bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
            TombstoneBlock::parse(&bytes).unwrap_err()
        };
        assert_eq!(with(4, 2), TombstoneError::UnsupportedVersion { found: 2 });
        for (at, byte) in [(5, 1), (6, 0), (6, 77), (7, 1), (6, 2), (CRC_AT - 1, 1)] {
            assert_eq!(with(at, byte), TombstoneError::Damaged, "byte {at} = {byte}");
        }
    }
}
