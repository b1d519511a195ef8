//! Fragment records: how one fragment of a blob lies on a disk.
//!
//! ```text
//! record   = header(128) ‖ payload ‖ zeros up to a multiple of 4096
//! header   = "SRFR" ‖ version u8 ‖ k u8 ‖ m u8 ‖ index u8 ‖ tenant tag(16) ‖ blob id(32) ‖ lease u64
//!            ‖ blob bytes u32 ‖ payload bytes u32 ‖ BLAKE3 of the payload(32) ‖ CRC-32C of the payload u32
//!            ‖ group u32 ‖ zeros(12) ‖ CRC-32C of the header's first 124 bytes u32      integers little-endian
//! ```
//!
//! A record starts on a 4 KiB boundary, no block holds two, a written block is never written again. The header says
//! everything that is needed to use the fragment without an index, and proves itself; a record in the wrong place
//! names another copy. The group is part of a copy's name because each group numbers its leases on its own: without
//! it, whoever sends one blob to two shards could let the end of a lease in one free what the other has locked. The
//! payload's CRC is what a member checks on receipt; BLAKE3 is for gathering and scrubbing.
//!
//! Not here: segments (`node/chunks`), the erasure code's arithmetic.

use crate::code::Code;
use crate::id::{BlobId, Digest, GroupId, LeaseId, TenantTag};
use crate::seal::BLOB_BYTES_MAX;

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 128;
/// Records start at multiples of this and are as long as a multiple of it.
pub const BLOCK_BYTES: usize = 4096;
/// The longest payload: that of a whole blob under code 1+0.
pub const PAYLOAD_BYTES_MAX: u32 = BLOB_BYTES_MAX;
/// The longest record.
pub const RECORD_BYTES_MAX: usize = (HEADER_BYTES + PAYLOAD_BYTES_MAX as usize).next_multiple_of(BLOCK_BYTES);

const MAGIC: [u8; 4] = *b"SRFR";
const VERSION: u8 = 1;
/// In every version: the CRC-32C of the first 124 bytes, so that damage is told from a version of the future.
const CRC_AT: usize = HEADER_BYTES - 4;
/// Neither side of a code is larger.
const SIDE_MAX: u8 = 64;

/// The name of one copy of a tenant: a fragment that lies on a disk under a lease of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyName {
    /// Of which blob.
    pub blob: BlobId,
    /// Which fragment.
    pub index: u8,
    /// The group whose lease it is.
    pub group: GroupId,
    /// The lease under which it was written.
    pub lease: LeaseId,
}

/// The header of a fragment record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    /// Stands for the tenant: random, opaque.
    pub tenant_tag: TenantTag,
    /// Which copy; its index is below `k + m`.
    pub copy: CopyName,
    /// The code that cut the blob.
    pub code: Code,
    /// Bytes of the whole blob.
    pub blob_bytes: u32,
    /// Bytes of the payload: what the code says for the blob's length.
    pub payload_bytes: u32,
    /// BLAKE3 of the payload.
    pub payload_hash: Digest,
    /// CRC-32C of the payload.
    pub payload_crc: u32,
}

/// Why bytes are not a fragment record, or its payload not the header's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// No record starts here: free space, or something else.
    #[error("no fragment record starts here")]
    NotARecord,
    /// Written by a version that this reader does not know (N36).
    #[error("fragment record: version {found} is not supported, this reader knows version {VERSION}")]
    UnsupportedVersion {
        /// What stands there.
        found: u8,
    },
    /// A record started here and its header was altered or torn.
    #[error("the header of a fragment record is damaged")]
    DamagedHeader,
    /// The header is whole and says what cannot be.
    #[error("fragment record: {why}")]
    Malformed {
        /// What is wrong, for people.
        why: &'static str,
    },
    /// The payload is not the one that the header names.
    #[error("the payload of a fragment record is damaged")]
    DamagedPayload,
}

impl FragmentHeader {
    /// The header of a payload, with its hash and checksum.
    pub fn of(
        tenant_tag: TenantTag,
        copy: CopyName,
        code: Code,
        blob_bytes: u32,
        payload: &[u8],
    ) -> Result<FragmentHeader, FragmentError> {
        let header = FragmentHeader {
            tenant_tag,
            copy,
            code,
            blob_bytes,
            payload_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            payload_hash: Digest::from_bytes(*blake3::hash(payload).as_bytes()),
            payload_crc: crc32c::crc32c(payload),
        };
        header.check()?;
        Ok(header)
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&[VERSION, self.code.k, self.code.m, self.copy.index]);
        bytes[8..24].copy_from_slice(self.tenant_tag.as_bytes());
        bytes[24..56].copy_from_slice(self.copy.blob.as_bytes());
        bytes[56..64].copy_from_slice(&self.copy.lease.0.to_le_bytes());
        bytes[64..68].copy_from_slice(&self.blob_bytes.to_le_bytes());
        bytes[68..72].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[72..104].copy_from_slice(self.payload_hash.as_bytes());
        bytes[104..108].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[108..112].copy_from_slice(&self.copy.group.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header at the start of `record`; what follows is not looked at.
    pub fn parse(record: &[u8]) -> Result<FragmentHeader, FragmentError> {
        if !record.starts_with(&MAGIC) {
            return Err(FragmentError::NotARecord);
        }
        let bytes = record.first_chunk::<HEADER_BYTES>().ok_or(FragmentError::DamagedHeader)?;
        if u32::from_le_bytes(field(bytes, CRC_AT)) != crc32c::crc32c(&bytes[..CRC_AT]) {
            return Err(FragmentError::DamagedHeader);
        }
        if bytes[4] != VERSION {
            return Err(FragmentError::UnsupportedVersion { found: bytes[4] });
        }
        let header = FragmentHeader {
            tenant_tag: TenantTag::from_bytes(field(bytes, 8)),
            copy: CopyName {
                blob: BlobId::from_bytes(field(bytes, 24)),
                index: bytes[7],
                group: GroupId(u32::from_le_bytes(field(bytes, 108))),
                lease: LeaseId(u64::from_le_bytes(field(bytes, 56))),
            },
            code: Code { k: bytes[5], m: bytes[6] },
            blob_bytes: u32::from_le_bytes(field(bytes, 64)),
            payload_bytes: u32::from_le_bytes(field(bytes, 68)),
            payload_hash: Digest::from_bytes(field(bytes, 72)),
            payload_crc: u32::from_le_bytes(field(bytes, 104)),
        };
        header.check()?;
        if header.encode() != *bytes {
            return Err(FragmentError::Malformed { why: "a reserved byte is not zero" });
        }
        Ok(header)
    }

    /// Bytes of the record, a multiple of [`BLOCK_BYTES`].
    pub fn record_bytes(&self) -> usize {
        record_bytes(self.payload_bytes)
    }

    /// The payload inside of `record`, not compared with anything; `None` where the record is cut off.
    pub fn payload<'record>(&self, record: &'record [u8]) -> Option<&'record [u8]> {
        record.get(HEADER_BYTES..HEADER_BYTES + self.payload_bytes as usize)
    }

    /// Whether `payload` arrived as it was sent: length and CRC-32C. Finds accidents; not proof against anybody.
    pub fn check_crc(&self, payload: &[u8]) -> Result<(), FragmentError> {
        let same = payload.len() == self.payload_bytes as usize && crc32c::crc32c(payload) == self.payload_crc;
        if same { Ok(()) } else { Err(FragmentError::DamagedPayload) }
    }

    /// Whether `payload` is the one that was written: length and BLAKE3.
    pub fn check_hash(&self, payload: &[u8]) -> Result<(), FragmentError> {
        let same = payload.len() == self.payload_bytes as usize
            && blake3::hash(payload).as_bytes() == self.payload_hash.as_bytes();
        if same { Ok(()) } else { Err(FragmentError::DamagedPayload) }
    }

    fn check(&self) -> Result<(), FragmentError> {
        let Code { k, m } = self.code;
        let why = if k == 0 || k > SIDE_MAX || m > SIDE_MAX {
            "not an erasure code"
        } else if self.copy.index >= k + m {
            "the index is none of the code's"
        } else if self.blob_bytes == 0 || self.blob_bytes > BLOB_BYTES_MAX {
            "no blob is that long"
        } else if self.payload_bytes != self.code.fragment_bytes(self.blob_bytes) {
            "the payload's length is not the code's"
        } else {
            return Ok(());
        };
        Err(FragmentError::Malformed { why })
    }
}

/// Bytes of the record of a payload, a multiple of [`BLOCK_BYTES`].
pub fn record_bytes(payload_bytes: u32) -> usize {
    (HEADER_BYTES + payload_bytes as usize).next_multiple_of(BLOCK_BYTES)
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    *header[at..].first_chunk().expect("every field lies inside of the header")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(code: Code, index: u8, blob_bytes: u32) -> (FragmentHeader, Vec<u8>) {
        let payload = vec![0xa5; code.fragment_bytes(blob_bytes) as usize];
        (FragmentHeader::of(TAG, copy(index), code, blob_bytes, &payload).unwrap(), payload)
    }

    const TAG: TenantTag = TenantTag::from_bytes([1; 16]);

    fn copy(index: u8) -> CopyName {
        CopyName { blob: BlobId::from_bytes([2; 32]), index, group: GroupId(3), lease: LeaseId(77) }
    }

    #[test]
    fn a_header_says_all_that_is_needed_and_proves_itself() {
        for (code, blob_bytes) in
            [(Code { k: 1, m: 0 }, 1), (Code { k: 4, m: 2 }, 1_000_001), (Code { k: 1, m: 0 }, BLOB_BYTES_MAX)]
        {
            let (header, payload) = sample(code, code.slots() - 1, blob_bytes);
            let mut record = header.encode().to_vec();
            record.extend(&payload);
            record.resize(header.record_bytes(), 0);
            assert_eq!(FragmentHeader::parse(&record), Ok(header));
            assert_eq!(header.payload(&record), Some(&payload[..]));
            assert_eq!(header.check_crc(&payload), Ok(()));
            assert_eq!(header.check_hash(&payload), Ok(()));
            assert!(record.len().is_multiple_of(BLOCK_BYTES) && record.len() <= RECORD_BYTES_MAX);
            assert_eq!(header.payload(&record[..record.len().min(100)]), None);
        }
        assert_eq!(record_bytes(1), 4096);
        assert_eq!(record_bytes(4096 - 128), 4096);
        assert_eq!(record_bytes(4096 - 127), 8192);
    }

    #[test]
    fn every_flipped_bit_of_a_header_and_of_a_payload_is_found() {
        let (header, mut payload) = sample(Code { k: 2, m: 1 }, 1, 100);
        let bytes = header.encode();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 32 { FragmentError::NotARecord } else { FragmentError::DamagedHeader };
            assert_eq!(FragmentHeader::parse(&bad), Err(expected), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(FragmentHeader::parse(&bytes[..cut]).is_err());
        }
        for bit in 0..payload.len() * 8 {
            payload[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(header.check_crc(&payload), Err(FragmentError::DamagedPayload));
            assert_eq!(header.check_hash(&payload), Err(FragmentError::DamagedPayload));
            payload[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(header.check_crc(&payload[1..]), Err(FragmentError::DamagedPayload));
    }

    #[test]
    fn n36_versions_and_shapes_that_cannot_be_are_refused_with_a_good_checksum_too() {
        let (header, _) = sample(Code { k: 4, m: 2 }, 5, 1000);
        let with = |at: usize, byte: u8| {
            let mut bytes = header.encode();
            bytes[at] = byte;
            let crc = crc32c::crc32c(&bytes[..CRC_AT]);
            bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
            FragmentHeader::parse(&bytes).unwrap_err()
        };
        assert_eq!(with(4, 2), FragmentError::UnsupportedVersion { found: 2 });
        for (at, byte) in [(5, 0), (5, 65), (6, 255), (7, 6), (65, 0xff), (68, 1), (67, 0xff), (112, 1), (123, 1)] {
            assert!(matches!(with(at, byte), FragmentError::Malformed { .. }), "byte {at} = {byte}");
        }
        assert_eq!(FragmentHeader::parse(&[0; 4096]), Err(FragmentError::NotARecord));
        let code = Code { k: 2, m: 1 };
        assert!(FragmentHeader::of(TAG, copy(3), code, 64, &[0; 64]).is_err());
        assert!(FragmentHeader::of(TAG, copy(0), code, 0, &[]).is_err());
        assert!(FragmentHeader::of(TAG, copy(0), code, 64, &[0; 63]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn arbitrary_bytes_are_refused_or_a_header_with_one_encoding(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200), shaped in any::<bool>(),
        ) {
            if shaped && bytes.len() >= HEADER_BYTES {
                bytes[..5].copy_from_slice(b"SRFR\x01");
                let crc = crc32c::crc32c(&bytes[..CRC_AT]);
                bytes[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
            }
            if let Ok(header) = FragmentHeader::parse(&bytes) {
                prop_assert_eq!(&header.encode()[..], &bytes[..HEADER_BYTES]);
            }
        }
    }
}
