//! The frame around one record of a log file, byte for byte.
//!
//! ```text
//!   offset  bytes
//!   0       4      magic "SRLR"
//!   4       1      version 1
//!   5       1      kind, the caller's
//!   6       1      1 if another record of the same group follows, 0 if this is the last
//!   7       1      0
//!   8       4      payload length
//!   12      4      CRC-32C over file number, offset, header without this field, payload
//!   16      8      salt: random, the same in the whole file
//!   24      8      how many bytes of this file were durable when the record was written
//!   32             payload; the next record of the group starts at the next multiple of 8
//! ```
//!
//! All numbers are little-endian. File number and offset are in the checksum and not in the record: a record in the
//! wrong place does not verify. The salt keeps bytes of an earlier file with the same number from being taken for this
//! one's. The last field tells damage from a torn tail: a record that says that bytes before it were durable, behind
//! bytes that do not verify, proves that they were there once.

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 32;

/// Records of a group start on multiples of this.
pub(crate) const RECORD_ALIGN: usize = 8;

/// No record carries more; a length beyond it is no record.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 16 << 20;

const MAGIC: [u8; 4] = *b"SRLR";
const VERSION: u8 = 1;

/// Where a record lies and whose it is; all of it is covered by the checksum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) file: u64,
    pub(crate) offset: u64,
}

/// What a header says beside the payload's checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) more: bool,
    pub(crate) length: u32,
    pub(crate) salt: u64,
    pub(crate) durable: u64,
}

impl Header {
    /// The header's bytes for this payload at this place.
    pub(crate) fn write(self, place: Place, payload: &[u8]) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.kind;
        bytes[6] = u8::from(self.more);
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.salt.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.durable.to_le_bytes());
        let checksum = checksum(place, &bytes, payload);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header without believing it: [`Header::verifies`] does.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        if bytes[0..4] != MAGIC || bytes[4] != VERSION || 1 < bytes[6] || bytes[7] != 0 {
            return None;
        }
        let length = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        if PAYLOAD_BYTES_MAX < length as usize {
            return None;
        }
        let eight = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(number)
        };
        Some(Self { kind: bytes[5], more: bytes[6] == 1, length, salt: eight(16), durable: eight(24) })
    }

    /// Whether header and payload are what was written at this place.
    pub(crate) fn verifies(place: Place, header: &[u8], payload: &[u8]) -> bool {
        let Some(bytes) = header.first_chunk::<HEADER_BYTES>() else {
            return false;
        };
        bytes[12..16] == checksum(place, bytes, payload).to_le_bytes()
    }
}

fn checksum(place: Place, header: &[u8; HEADER_BYTES], payload: &[u8]) -> u32 {
    let mut checksum = crc32c::crc32c(&place.file.to_le_bytes());
    checksum = crc32c::crc32c_append(checksum, &place.offset.to_le_bytes());
    checksum = crc32c::crc32c_append(checksum, &header[..12]);
    checksum = crc32c::crc32c_append(checksum, &header[16..]);
    crc32c::crc32c_append(checksum, payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header { kind: 3, more: true, length: 5, salt: 0x1122, durable: 4096 };
    const PLACE: Place = Place { file: 2, offset: 8192 };

    #[test]
    fn a_header_keeps_its_bytes() {
        let bytes = HEADER.write(PLACE, b"hello");
        assert_eq!(
            bytes,
            [
                0x53, 0x52, 0x4c, 0x52, 1, 3, 1, 0, 5, 0, 0, 0, bytes[12], bytes[13], bytes[14], bytes[15], 0x22, 0x11,
                0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0
            ]
        );
        assert_eq!(Header::read(&bytes), Some(HEADER));
        assert!(Header::verifies(PLACE, &bytes, b"hello"));
    }

    #[test]
    fn any_other_bit_or_place_does_not_verify() {
        let bytes = HEADER.write(PLACE, b"hello");
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!Header::verifies(PLACE, &flipped, b"hello"), "bit {bit}");
        }
        assert!(!Header::verifies(PLACE, &bytes, b"hellp"));
        assert!(!Header::verifies(Place { file: 3, ..PLACE }, &bytes, b"hello"));
        assert!(!Header::verifies(Place { offset: 4096, ..PLACE }, &bytes, b"hello"));
    }
}
