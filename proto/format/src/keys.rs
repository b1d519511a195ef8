//! Key files and what is derived from them.
//!
//!     root key      signs founding records, vault statements and writer cards; offline
//!     signing key   signs what one identity asks
//!     writer key    ──derive(tenant, vault)──▶ domain · id key · length key · sender key
//!     restorer key  opens what statements wrap for one recipient; its public half is another file
//!
//! A file is text: a header line, lines `field value` in fixed order, and a check line over all before it, each ended
//! by one line feed. What is written differently is refused, so is a weak key. No file has a passphrase: who may read
//! it is the file system's matter and the caller's to check.
//!
//! Not here: sealing (`xwing.rs`, `wrap.rs`), where keys come from (the caller gives random bytes).

use std::fmt::{self, Write as _};
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::id::{DomainId, IdentityId, KeyEpoch, PublicKey, TenantId, VaultId};
use crate::secret::{Secret, WeakKey};
use crate::sign::SigningKey;
use crate::xwing::{XWingKey, XWingPublicKey};

/// Names chunks within a domain (keyed BLAKE3 of the plaintext).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdKey(Secret<32>);

/// Seals the plaintext lengths in index-tree nodes of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LengthKey(Secret<32>);

/// Proves the writer: the pre-shared key of its wraps and the MAC of its envelopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderKey(Secret<32>);

macro_rules! domain_key {
    ($name:ident) => {
        impl $name {
            /// From 32 secret bytes; weak ones are refused.
            pub fn from_secret(secret: [u8; 32]) -> Result<Self, WeakKey> {
                Secret::new(secret).map(Self)
            }

            /// The secret.
            pub fn secret(&self) -> &Secret<32> {
                &self.0
            }

            /// The secret's bytes.
            pub fn expose(&self) -> &[u8; 32] {
                self.0.expose()
            }
        }

        impl From<Secret<32>> for $name {
            fn from(secret: Secret<32>) -> Self {
                Self(secret)
            }
        }
    };
}

domain_key!(IdKey);
domain_key!(LengthKey);
domain_key!(SenderKey);

/// What a writer key gives in one vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainKeys {
    /// The domain's public name.
    pub domain: DomainId,
    /// Names its chunks.
    pub id_key: IdKey,
    /// Seals its lengths.
    pub length_key: LengthKey,
    /// Proves its writer.
    pub sender_key: SenderKey,
}

/// The tenant's root key: the anchor of everything that the tenant believes.
#[derive(Clone, Debug)]
pub struct RootKey(SigningKey);

/// One writer's key of one epoch. It derives; it signs and opens nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The writer.
    pub writer: IdentityId,
    /// Which key of this writer.
    pub epoch: KeyEpoch,
    secret: Secret<32>,
}

/// A recipient's private key: opens the vault keys that statements wrap for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestorerKey {
    /// The recipient.
    pub identity: IdentityId,
    key: XWingKey,
}

/// The public half of a [`RestorerKey`], to be named in vault statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestorerPublicKey {
    /// The recipient.
    pub identity: IdentityId,
    /// Its public key.
    pub public_key: XWingPublicKey,
}

impl RootKey {
    /// From 32 random bytes.
    pub fn from_secret(secret: [u8; 32]) -> Result<Self, WeakKey> {
        SigningKey::from_secret(secret).map(Self)
    }

    /// The public half, which everybody of the tenant pins.
    pub fn public_key(&self) -> PublicKey {
        self.0.public_key()
    }

    /// What signs.
    pub fn signing_key(&self) -> &SigningKey {
        &self.0
    }
}

impl WriterKey {
    /// From 32 random bytes.
    pub fn from_secret(
        tenant: TenantId,
        writer: IdentityId,
        epoch: KeyEpoch,
        secret: [u8; 32],
    ) -> Result<Self, WeakKey> {
        Ok(Self { tenant, writer, epoch, secret: Secret::new(secret)? })
    }

    /// The domain and its keys in one vault: BLAKE3's key derivation over `secret(32) ‖ tenant(16) ‖ vault(16)`, one
    /// purpose each. The domain's name is the first 16 bytes of its own derivation.
    pub fn in_vault(&self, vault: &VaultId) -> DomainKeys {
        let material = [self.tenant.as_bytes().as_slice(), vault.as_bytes()].concat();
        let name = self.secret.derive("strongroom 2026-11 writer domain 1", &material);
        let mut domain = [0; DomainId::BYTES];
        domain.copy_from_slice(&name.expose()[..DomainId::BYTES]);
        DomainKeys {
            domain: DomainId::from_bytes(domain),
            id_key: IdKey(self.secret.derive("strongroom 2026-11 writer id key 1", &material)),
            length_key: LengthKey(self.secret.derive("strongroom 2026-11 writer length key 1", &material)),
            sender_key: SenderKey(self.secret.derive("strongroom 2026-11 writer sender key 1", &material)),
        }
    }

    /// The key under which a writer MACs its local cache: never leaves the machine.
    pub fn cache_key(&self) -> Secret<32> {
        self.secret.derive("strongroom 2026-11 writer cache key 1", &[])
    }
}

impl RestorerKey {
    /// From 32 random bytes.
    pub fn from_secret(identity: IdentityId, secret: [u8; 32]) -> Result<Self, WeakKey> {
        Ok(Self { identity, key: XWingKey::from_secret(secret)? })
    }

    /// The public half.
    pub fn public_key(&self) -> RestorerPublicKey {
        RestorerPublicKey { identity: self.identity.clone(), public_key: self.key.public_key() }
    }

    /// What opens.
    pub fn key(&self) -> &XWingKey {
        &self.key
    }
}

/// Why text is not a key file of the expected kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Another kind of file, another version, or none of ours.
    #[error("this is not a {expected} file")]
    OtherKind {
        /// The header that was expected.
        expected: &'static str,
    },
    /// A line is missing, misplaced, altered or too much.
    #[error("the key file is malformed at its line {line}: expected `{field}`")]
    Malformed {
        /// Which line, from 1.
        line: usize,
        /// What should stand there.
        field: &'static str,
    },
    /// The check line does not fit: a byte was altered.
    #[error("the key file is damaged: its check line does not fit")]
    Damaged,
    /// The key itself is weak.
    #[error(transparent)]
    Weak(#[from] WeakKey),
}

/// A key that has a file.
pub trait KeyFile: Sized {
    /// The first line of the file: kind and version.
    const HEADER: &'static str;
    /// The fields, in order.
    const FIELDS: &'static [&'static str];

    /// The values of the fields, in order.
    fn values(&self) -> Vec<Zeroizing<String>>;

    /// From values in the fields' order; `fault(n)` says that value `n` is malformed.
    fn from_values(values: &[&str], fault: impl Fn(usize) -> KeyFileError) -> Result<Self, KeyFileError>;

    /// The file's text.
    fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(8192));
        let fits = "text grows in memory";
        writeln!(text, "{}", Self::HEADER).expect(fits);
        for (field, value) in Self::FIELDS.iter().zip(self.values()) {
            writeln!(text, "{field} {}", value.as_str()).expect(fits);
        }
        let check = check_of(&text);
        writeln!(text, "check {check}").expect(fits);
        text
    }

    /// Reads a file's text: exactly as [`KeyFile::to_text`] writes it, or not at all.
    fn from_text(text: &str) -> Result<Self, KeyFileError> {
        let other = KeyFileError::OtherKind { expected: Self::HEADER };
        let mut lines = text.split_inclusive('\n');
        if lines.next().and_then(|line| line.strip_suffix('\n')) != Some(Self::HEADER) {
            return Err(other);
        }
        let malformed = |at: usize| KeyFileError::Malformed {
            line: at + 2,
            field: Self::FIELDS.get(at).copied().unwrap_or("check"),
        };
        let mut value_of = |at: usize, field: &str| {
            let line = lines.next().and_then(|line| line.strip_suffix('\n'));
            line.and_then(|line| line.strip_prefix(field)?.strip_prefix(' ')).ok_or_else(|| malformed(at))
        };
        let mut values = Vec::with_capacity(Self::FIELDS.len());
        for (at, field) in Self::FIELDS.iter().enumerate() {
            values.push(value_of(at, field)?);
        }
        let check = value_of(Self::FIELDS.len(), "check")?;
        if lines.next().is_some() {
            return Err(malformed(Self::FIELDS.len()));
        }
        let checked = text.len() - "check \n".len() - check.len();
        if check != check_of(&text[..checked]) {
            return Err(KeyFileError::Damaged);
        }
        let key = Self::from_values(&values, malformed)?;
        // One text per key: no second spelling of a number or an id.
        match *key.to_text() == text {
            true => Ok(key),
            false => Err(malformed(0)),
        }
    }
}

/// The first 8 bytes of BLAKE3 over the text before the check line, in hex.
fn check_of(text: &str) -> String {
    hex::encode(&blake3::hash(text.as_bytes()).as_bytes()[..8])
}

fn secret_text(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(hex::encode(bytes))
}

/// Hex to exactly 32 bytes. A wrong length is a weak key, not a malformed line.
fn secret_value(text: &str, fault: KeyFileError) -> Result<Secret<32>, KeyFileError> {
    let bytes = Zeroizing::new(hex::decode(text).map_err(|_| fault)?);
    Ok(Secret::from_slice(&bytes)?)
}

fn value<T: FromStr>(text: &str, fault: KeyFileError) -> Result<T, KeyFileError> {
    text.parse().map_err(|_| fault)
}

impl KeyFile for RootKey {
    const HEADER: &'static str = "strongroom-root-key-1";
    const FIELDS: &'static [&'static str] = &["secret"];

    fn values(&self) -> Vec<Zeroizing<String>> {
        vec![secret_text(self.0.expose())]
    }

    fn from_values(values: &[&str], fault: impl Fn(usize) -> KeyFileError) -> Result<Self, KeyFileError> {
        Ok(Self(SigningKey::from(&secret_value(values[0], fault(0))?)))
    }
}

impl KeyFile for SigningKey {
    const HEADER: &'static str = "strongroom-signing-key-1";
    const FIELDS: &'static [&'static str] = &["secret"];

    fn values(&self) -> Vec<Zeroizing<String>> {
        vec![secret_text(self.expose())]
    }

    fn from_values(values: &[&str], fault: impl Fn(usize) -> KeyFileError) -> Result<Self, KeyFileError> {
        Ok(Self::from(&secret_value(values[0], fault(0))?))
    }
}

impl KeyFile for WriterKey {
    const HEADER: &'static str = "strongroom-writer-key-1";
    const FIELDS: &'static [&'static str] = &["tenant", "writer", "epoch", "secret"];

    fn values(&self) -> Vec<Zeroizing<String>> {
        let plain = |value: &dyn fmt::Display| Zeroizing::new(value.to_string());
        vec![plain(&self.tenant), plain(&self.writer), plain(&self.epoch), secret_text(self.secret.expose())]
    }

    fn from_values(values: &[&str], fault: impl Fn(usize) -> KeyFileError) -> Result<Self, KeyFileError> {
        let tenant = value(values[0], fault(0))?;
        let writer = value(values[1], fault(1))?;
        let epoch = KeyEpoch(value(values[2], fault(2))?);
        if epoch == KeyEpoch(0) {
            return Err(fault(2));
        }
        Ok(Self { tenant, writer, epoch, secret: secret_value(values[3], fault(3))? })
    }
}

impl KeyFile for RestorerKey {
    const HEADER: &'static str = "strongroom-restorer-key-1";
    const FIELDS: &'static [&'static str] = &["identity", "secret"];

    fn values(&self) -> Vec<Zeroizing<String>> {
        vec![Zeroizing::new(self.identity.to_string()), secret_text(self.key.secret().expose())]
    }

    fn from_values(values: &[&str], fault: impl Fn(usize) -> KeyFileError) -> Result<Self, KeyFileError> {
        let identity = value(values[0], fault(0))?;
        Ok(Self { identity, key: XWingKey::from(secret_value(values[1], fault(1))?) })
    }
}

impl KeyFile for RestorerPublicKey {
    const HEADER: &'static str = "strongroom-restorer-public-key-1";
    const FIELDS: &'static [&'static str] = &["identity", "public"];

    fn values(&self) -> Vec<Zeroizing<String>> {
        vec![
            Zeroizing::new(self.identity.to_string()),
            Zeroizing::new(hex::encode(self.public_key.as_bytes().as_slice())),
        ]
    }

    fn from_values(values: &[&str], fault: impl Fn(usize) -> KeyFileError) -> Result<Self, KeyFileError> {
        let identity = value(values[0], fault(0))?;
        let bytes = hex::decode(values[1]).map_err(|_| fault(1))?;
        Ok(Self { identity, public_key: XWingPublicKey::from_slice(&bytes)? })
    }
}
