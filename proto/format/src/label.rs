//! Labels: what people call a snapshot within its writer, for instance `/srv/www` or `nightly`.
//!
//! A [`Label`] that exists is 1 to 1024 bytes of UTF-8 without control characters; `/` and spaces are allowed. It is
//! shown and compared, never parsed and never a path. Not here: names of tenants, vaults and identities (`name.rs`).

use std::fmt;
use std::str::FromStr;

use borsh::io::{Error, ErrorKind, Read, Result as IoResult};
use borsh::{BorshDeserialize, BorshSerialize};

/// A valid label. In borsh it is a string; reading checks the rules again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct Label(String);

/// Why some text is not a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotALabel {
    /// Nothing at all.
    #[error("a label has at least one character")]
    Empty,
    /// More than [`Label::BYTES_MAX`] bytes.
    #[error("a label has at most {} bytes", Label::BYTES_MAX)]
    TooLong,
    /// A control character, or bytes that are not UTF-8.
    #[error("a label is text without control characters")]
    ForeignCharacter,
}

impl Label {
    /// Longest label in bytes.
    pub const BYTES_MAX: usize = 1024;

    /// The text of the label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Label {
    type Error = NotALabel;

    fn try_from(text: &str) -> Result<Self, NotALabel> {
        if text.is_empty() {
            return Err(NotALabel::Empty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(NotALabel::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(NotALabel::ForeignCharacter);
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Label {
    type Err = NotALabel;

    fn from_str(text: &str) -> Result<Self, NotALabel> {
        Self::try_from(text)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Label({:?})", self.0)
    }
}

impl BorshDeserialize for Label {
    /// The length is checked before anything is reserved for it.
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let fault = |why: NotALabel| Error::new(ErrorKind::InvalidData, why);
        let length = u32::deserialize_reader(reader)? as usize;
        if length > Self::BYTES_MAX {
            return Err(fault(NotALabel::TooLong));
        }
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes)?;
        let text = str::from_utf8(&bytes).map_err(|_| fault(NotALabel::ForeignCharacter))?;
        Self::try_from(text).map_err(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_free_text_within_bounds() {
        for text in ["/", "a", "/srv/www", "nightly run 3", "größe", &"x".repeat(1024)] {
            let label: Label = text.parse().unwrap();
            let bytes = borsh::to_vec(&label).unwrap();
            assert_eq!(bytes, borsh::to_vec(text).unwrap());
            assert_eq!(borsh::from_slice::<Label>(&bytes).unwrap(), label);
        }
    }

    #[test]
    fn what_is_no_label_is_refused_by_text_and_by_bytes() {
        let long = "x".repeat(1025);
        for (text, why) in [
            ("", NotALabel::Empty),
            (long.as_str(), NotALabel::TooLong),
            ("a\nb", NotALabel::ForeignCharacter),
            ("a\0", NotALabel::ForeignCharacter),
            ("\u{85}", NotALabel::ForeignCharacter),
        ] {
            assert_eq!(text.parse::<Label>(), Err(why), "{text:?}");
            assert!(borsh::from_slice::<Label>(&borsh::to_vec(text).unwrap()).is_err(), "{text:?}");
        }
        assert!(borsh::from_slice::<Label>(&[1, 0, 0, 0, 0xff]).is_err(), "not UTF-8");
        assert!(borsh::from_slice::<Label>(&[0xff, 0xff, 0xff, 0xff]).is_err(), "no memory is reserved");
    }
}
