//! A secret key of whatever kind: a file says itself what it holds.
//!
//! Not here: what the kinds are for (`keys.rs`), the same on paper (`sheet.rs`).

use zeroize::Zeroizing;

use crate::keys::{KeyFile, KeyFileError, RestorerKey, RootKey, WriterKey};
use crate::sign::SigningKey;

/// The kinds of secret keys that have files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// A tenant's root key.
    Root,
    /// What one identity signs with.
    Signing,
    /// One writer's key of one epoch.
    Writer,
    /// A recipient's key pair.
    Restorer,
}

/// A key of one of the kinds.
#[derive(Clone, Debug)]
pub enum AnyKey {
    /// A tenant's root key.
    Root(RootKey),
    /// What one identity signs with.
    Signing(SigningKey),
    /// One writer's key of one epoch.
    Writer(WriterKey),
    /// A recipient's key pair.
    Restorer(RestorerKey),
}

impl KeyKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Root, Self::Signing, Self::Writer, Self::Restorer];

    /// The word for it, as in `init-key` and on sheets.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Signing => "signing",
            Self::Writer => "writer",
            Self::Restorer => "restorer",
        }
    }

    /// The kind with this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The first line of its files.
    pub fn header(self) -> &'static str {
        match self {
            Self::Root => RootKey::HEADER,
            Self::Signing => SigningKey::HEADER,
            Self::Writer => WriterKey::HEADER,
            Self::Restorer => RestorerKey::HEADER,
        }
    }

    /// The fields of its files, in order; `secret` is the last.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Root => RootKey::FIELDS,
            Self::Signing => SigningKey::FIELDS,
            Self::Writer => WriterKey::FIELDS,
            Self::Restorer => RestorerKey::FIELDS,
        }
    }
}

impl AnyKey {
    /// Its kind.
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Root(_) => KeyKind::Root,
            Self::Signing(_) => KeyKind::Signing,
            Self::Writer(_) => KeyKind::Writer,
            Self::Restorer(_) => KeyKind::Restorer,
        }
    }

    /// The text of its file.
    pub fn to_text(&self) -> Zeroizing<String> {
        match self {
            Self::Root(key) => key.to_text(),
            Self::Signing(key) => key.to_text(),
            Self::Writer(key) => key.to_text(),
            Self::Restorer(key) => key.to_text(),
        }
    }

    /// Reads a file's text; its first line says the kind.
    ///
    /// # Errors
    /// As [`KeyFile::from_text`]; another kind if no header fits.
    pub fn from_text(text: &str) -> Result<Self, KeyFileError> {
        let header = text.lines().next().unwrap_or_default();
        match KeyKind::ALL.into_iter().find(|kind| kind.header() == header) {
            Some(KeyKind::Root) => RootKey::from_text(text).map(Self::Root),
            Some(KeyKind::Signing) => SigningKey::from_text(text).map(Self::Signing),
            Some(KeyKind::Writer) => WriterKey::from_text(text).map(Self::Writer),
            Some(KeyKind::Restorer) => RestorerKey::from_text(text).map(Self::Restorer),
            None => Err(KeyFileError::OtherKind { expected: "secret key" }),
        }
    }

    /// The values of its fields, in order.
    pub fn values(&self) -> Vec<Zeroizing<String>> {
        match self {
            Self::Root(key) => key.values(),
            Self::Signing(key) => key.values(),
            Self::Writer(key) => key.values(),
            Self::Restorer(key) => key.values(),
        }
    }

    /// From values in the order of the kind's fields.
    ///
    /// # Errors
    /// Malformed or weak; the line is counted as in the kind's file.
    pub fn from_values(kind: KeyKind, values: &[&str]) -> Result<Self, KeyFileError> {
        let malformed = |at: usize| KeyFileError::Malformed {
            line: at + 2,
            field: kind.fields().get(at).copied().unwrap_or("check"),
        };
        if values.len() != kind.fields().len() {
            return Err(malformed(values.len()));
        }
        match kind {
            KeyKind::Root => RootKey::from_values(values, malformed).map(Self::Root),
            KeyKind::Signing => SigningKey::from_values(values, malformed).map(Self::Signing),
            KeyKind::Writer => WriterKey::from_values(values, malformed).map(Self::Writer),
            KeyKind::Restorer => RestorerKey::from_values(values, malformed).map(Self::Restorer),
        }
    }
}

/// A long public half in short, for people to compare: the first 16 bytes of BLAKE3 over its file's text.
pub fn fingerprint(public_file: &str) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&blake3::hash(public_file.as_bytes()).as_bytes()[..16]);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_itself_what_it_holds() {
        let secret: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let key = AnyKey::Signing(SigningKey::from_secret(secret).unwrap());
        let read = AnyKey::from_text(&key.to_text()).unwrap();
        assert_eq!((read.kind(), read.to_text()), (KeyKind::Signing, key.to_text()));
        let root = key.to_text().replace("signing", "root");
        assert_eq!(AnyKey::from_text(&root).unwrap_err(), KeyFileError::Damaged);
        for other in ["", "hello", "strongroom-root-key-2\n"] {
            assert_eq!(AnyKey::from_text(other).unwrap_err(), KeyFileError::OtherKind { expected: "secret key" });
        }
        assert_eq!(KeyKind::of_word("writer"), Some(KeyKind::Writer));
        assert_eq!(KeyKind::of_word("king"), None);
        assert!(AnyKey::from_values(KeyKind::Writer, &["00"]).is_err());
    }
}
