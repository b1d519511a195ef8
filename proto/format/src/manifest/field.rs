//! Typed field lists and the numbers in them.
//!
//! A varint is LEB128: seven bits a byte, least significant first, the top bit set on all bytes but the last, at most
//! ten bytes, no byte more than needed. A signed number is folded first (`0, -1, 1, -2, …` to `0, 1, 2, 3, …`).

/// A field as it stands in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// What it is.
    pub tag: u8,
    /// Its bytes.
    pub value: Vec<u8>,
}

/// Not a number in its one encoding, or not a list of fields.
pub(super) type Why = &'static str;

pub(super) fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

pub(super) fn put_signed(bytes: &mut Vec<u8>, number: i64) {
    put_varint(bytes, ((number << 1) ^ (number >> 63)) as u64);
}

pub(super) fn put_field(bytes: &mut Vec<u8>, tag: u8, value: &[u8]) {
    bytes.push(tag);
    put_varint(bytes, value.len() as u64);
    bytes.extend(value);
}

/// Reads from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'bytes>(pub(super) &'bytes [u8]);

impl<'bytes> Reader<'bytes> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn varint(&mut self) -> Result<u64, Why> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte().ok_or("a number is cut off")?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err("a number has more than 64 bits");
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err("a number is longer than needed") } else { Ok(number) };
            }
        }
        Err("a number has more than 64 bits")
    }

    /// A number below 2³².
    pub(super) fn varint_u32(&mut self) -> Result<u32, Why> {
        u32::try_from(self.varint()?).map_err(|_| "a number has more than 32 bits")
    }

    pub(super) fn signed(&mut self) -> Result<i64, Why> {
        let folded = self.varint()?;
        Ok((folded >> 1) as i64 ^ -((folded & 1) as i64))
    }

    /// The next field, if there is one; its tag must be above `previous`.
    pub(super) fn field(&mut self, previous: &mut Option<u8>) -> Result<Option<(u8, &'bytes [u8])>, Why> {
        let Some(tag) = self.byte() else { return Ok(None) };
        if previous.is_some_and(|previous| tag <= previous) {
            return Err("fields are not in ascending order");
        }
        *previous = Some(tag);
        Ok(Some((tag, self.sized()?)))
    }

    /// So many bytes as the number before them says.
    pub(super) fn sized(&mut self) -> Result<&'bytes [u8], Why> {
        let length = usize::try_from(self.varint()?).map_err(|_| "a field is cut off")?;
        let (value, rest) = self.0.split_at_checked(length).ok_or("a field is cut off")?;
        self.0 = rest;
        Ok(value)
    }

    /// All of `value` as one number.
    pub(super) fn only_varint(value: &'bytes [u8]) -> Result<u64, Why> {
        let mut reader = Reader(value);
        let number = reader.varint()?;
        reader.end().map(|()| number)
    }

    pub(super) fn end(&self) -> Result<(), Why> {
        if self.is_empty() { Ok(()) } else { Err("bytes are left behind a value") }
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_encoding() {
        for number in [0, 1, 127, 128, 300, 1 << 32, u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            assert_eq!(Reader::only_varint(&bytes), Ok(number));
        }
        for number in [0, -1, 1, i64::MIN, i64::MAX] {
            let mut bytes = Vec::new();
            put_signed(&mut bytes, number);
            let mut reader = Reader(&bytes);
            assert_eq!(reader.signed(), Ok(number));
            assert_eq!(reader.end(), Ok(()));
        }
        for (bytes, why) in [
            (&[0x80, 0x00][..], "a number is longer than needed"),
            (&[0x80], "a number is cut off"),
            (&[], "a number is cut off"),
            (&[0xff; 11], "a number has more than 64 bits"),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], "a number has more than 64 bits"),
            (&[1, 1], "bytes are left behind a value"),
        ] {
            assert_eq!(Reader::only_varint(bytes), Err(why));
        }
    }

    #[test]
    fn fields_ascend_and_are_whole() {
        let mut bytes = Vec::new();
        put_field(&mut bytes, 3, b"abc");
        put_field(&mut bytes, 9, b"");
        let (mut reader, mut previous) = (Reader(&bytes), None);
        assert_eq!(reader.field(&mut previous), Ok(Some((3, &b"abc"[..]))));
        assert_eq!(reader.field(&mut previous), Ok(Some((9, &b""[..]))));
        assert_eq!(reader.field(&mut previous), Ok(None));
        assert!(Reader(&bytes).field(&mut Some(3)).is_err());
        assert!(Reader(&bytes[..4]).field(&mut None).is_err());
        assert!(Reader(&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).field(&mut None).is_err());
    }
}
