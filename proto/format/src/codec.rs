//! The canonical encoding: one version byte, then borsh. A value has exactly one encoding, so hashes and signatures
//! over it mean one thing; rest bytes, unsorted maps and unknown versions are refused.
//!
//! Not here: Protobuf, which only carries these bytes.

use borsh::{BorshDeserialize, BorshSerialize};

/// A top-level type that is stored, sent, hashed or signed on its own.
pub trait Format: BorshSerialize + BorshDeserialize {
    /// First byte of every encoding.
    const VERSION: u8;
    /// The largest encoding that is read, in bytes. It bounds what a decoder may allocate.
    const BYTES_MAX: usize;
    /// The name that errors and signatures use, for instance `envelope`.
    const NAME: &'static str;

    /// What a value must fulfil beyond the types of its fields (orders, bounds); [`decode`] asks.
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

/// Why bytes are not a value of the expected type. The reader refuses; it never guesses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Written by a version that this reader does not know, or no version at all.
    #[error("{name}: version {found} is not supported, this reader knows version {known}")]
    UnsupportedVersion {
        /// What was expected.
        name: &'static str,
        /// The version byte that was there.
        found: u8,
        /// The version that this reader knows.
        known: u8,
    },
    /// Longer than the format allows.
    #[error("{name}: {bytes} bytes, at most {bytes_max} are allowed")]
    TooLong {
        /// What was expected.
        name: &'static str,
        /// How long it was.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// Not a canonical encoding, or a field outside its range.
    #[error("{name}: malformed: {why}")]
    Malformed {
        /// What was expected.
        name: &'static str,
        /// What is wrong, for people.
        why: String,
    },
}

/// The canonical bytes of `value`.
pub fn encode<T: Format>(value: &T) -> Vec<u8> {
    let mut bytes = vec![T::VERSION];
    value.serialize(&mut bytes).expect("writing to memory cannot fail");
    bytes
}

/// Reads canonical bytes: all of them or none.
pub fn decode<T: Format>(bytes: &[u8]) -> Result<T, FormatError> {
    if bytes.len() > T::BYTES_MAX {
        return Err(FormatError::TooLong { name: T::NAME, bytes: bytes.len(), bytes_max: T::BYTES_MAX });
    }
    let Some((&version, rest)) = bytes.split_first() else {
        return Err(FormatError::Malformed { name: T::NAME, why: "no bytes".into() });
    };
    if version != T::VERSION {
        return Err(FormatError::UnsupportedVersion { name: T::NAME, found: version, known: T::VERSION });
    }
    let malformed = |why: String| FormatError::Malformed { name: T::NAME, why };
    let value = T::try_from_slice(rest).map_err(|why| malformed(why.to_string()))?;
    value.check().map_err(|why| malformed(why.into()))?;
    Ok(value)
}
