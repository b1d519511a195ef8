//! Names: what people call tenants, identities, nodes, regions, operators and clusters.
//!
//! A [`Name`] that exists is valid: 1 to 63 bytes of `a-z 0-9 -`, the first a letter, none of the reserved words. So
//! it can stand in a path, a URI, a certificate or a file name without quoting, two names that look alike are alike,
//! and no name passes for a part of the house (`root`, `admin`, …). The same rules hold for every kind of name.
//!
//! Not here: labels of snapshots and names inside of them, which are free text and never parsed.

use std::fmt;
use std::str::FromStr;

use borsh::io::{Error, ErrorKind, Read, Result as IoResult, Write};
use borsh::{BorshDeserialize, BorshSerialize};

/// Longest name in bytes: what a DNS label may have, so that names fit wherever host names do.
pub const NAME_BYTES_MAX: usize = 63;

/// Words that would read as a part of the house, or as "everybody".
pub const RESERVED: [&str; 9] = ["root", "system", "node", "operator", "admin", "all", "any", "global", "default"];

/// A valid name. In borsh it is a string; reading checks the rules again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why some text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAName {
    /// Nothing at all.
    #[error("a name has at least one character")]
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("a name has at most {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// The first byte is not `a-z`.
    #[error("a name starts with a letter a-z")]
    NoLetterFirst,
    /// A byte outside `a-z 0-9 -`.
    #[error("a name consists of a-z, 0-9 and -")]
    ForeignCharacter,
    /// One of [`RESERVED`].
    #[error("this name is reserved")]
    Reserved,
}

impl Name {
    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, NotAName> {
        check(&text)?;
        Ok(Self(text))
    }
}

impl TryFrom<&str> for Name {
    type Error = NotAName;

    fn try_from(text: &str) -> Result<Self, NotAName> {
        check(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        Self::try_from(text)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", self.0)
    }
}

impl BorshSerialize for Name {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        self.0.serialize(writer)
    }
}

impl BorshDeserialize for Name {
    /// The length is checked before anything is reserved for it.
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let length = u32::deserialize_reader(reader)?;
        let mut bytes = [0_u8; NAME_BYTES_MAX];
        let bytes = usize::try_from(length)
            .ok()
            .and_then(|length| bytes.get_mut(..length))
            .ok_or_else(|| Error::new(ErrorKind::InvalidData, NotAName::TooLong))?;
        reader.read_exact(bytes)?;
        let text = str::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::InvalidData, NotAName::ForeignCharacter))?;
        Self::try_from(text).map_err(|fault| Error::new(ErrorKind::InvalidData, fault))
    }
}

fn check(text: &str) -> Result<(), NotAName> {
    let bytes = text.as_bytes();
    let Some(first) = bytes.first() else {
        return Err(NotAName::Empty);
    };
    if bytes.len() > NAME_BYTES_MAX {
        return Err(NotAName::TooLong);
    }
    if !bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        return Err(NotAName::ForeignCharacter);
    }
    if !first.is_ascii_lowercase() {
        return Err(NotAName::NoLetterFirst);
    }
    if RESERVED.contains(&text) {
        return Err(NotAName::Reserved);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_lower_case_and_starts_with_a_letter() {
        for good in ["a", "acme", "eu-west-1", "a-", "admins", &"x".repeat(63)] {
            assert_eq!(Name::try_from(good).map(|name| name.to_string()), Ok(good.to_owned()));
        }
        assert_eq!(Name::try_from(""), Err(NotAName::Empty));
        assert_eq!(Name::try_from("1a"), Err(NotAName::NoLetterFirst));
        assert_eq!(Name::try_from("-a"), Err(NotAName::NoLetterFirst));
    }

    #[test]
    fn n09_reserved_long_and_look_alike_names_are_refused() {
        for word in RESERVED {
            assert_eq!(Name::try_from(word), Err(NotAName::Reserved), "{word}");
        }
        assert_eq!(Name::try_from("x".repeat(64)), Err(NotAName::TooLong));
        for foreign in ["асme", "Acme", "a_b", "a.b", "a b", "ａcme", "a\u{301}", "i\u{307}", "ﬁ"] {
            assert_eq!(Name::try_from(foreign), Err(NotAName::ForeignCharacter), "{foreign}");
        }
    }

    #[test]
    fn n16_names_with_separators_or_control_characters_are_refused() {
        for foreign in ["a/b", "a%2Fb", "a\\b", "a\0b", "a..b", "a\nb", "a\u{7f}"] {
            assert_eq!(Name::try_from(foreign), Err(NotAName::ForeignCharacter), "{foreign:?}");
        }
    }

    #[test]
    fn borsh_is_that_of_a_string_and_checks_when_it_reads() {
        let name = Name::try_from("acme").unwrap();
        let bytes = borsh::to_vec(&name).unwrap();
        assert_eq!(bytes, borsh::to_vec("acme").unwrap());
        assert_eq!(borsh::from_slice::<Name>(&bytes).unwrap(), name);
        for bad in ["", "root", "A", "a/b"] {
            assert!(borsh::from_slice::<Name>(&borsh::to_vec(bad).unwrap()).is_err(), "{bad}");
        }
        let huge = [u32::MAX.to_le_bytes().as_slice(), b"acme"].concat();
        assert!(borsh::from_slice::<Name>(&huge).is_err());
        assert!(borsh::from_slice::<Name>(&bytes[..6]).is_err(), "cut short");
    }
}
