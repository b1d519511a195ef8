//! Signatures: Ed25519 over `"strongroom/" ‖ name ‖ 0 ‖ payload`, so that a signature over one kind of value is never
//! one over another, and a digest neither.
//!
//!     value ──encode──▶ payload ──sign──▶ Signed<T> ──open(key)──▶ value
//!                                            └──unverified()──▶ value that nobody vouches for
//!
//! Verification is strict (`verify_strict`): small-order keys and non-canonical encodings, of keys too, are refused
//! alike on every replica. Not here: whose key counts (rows in `node/core`, pinned keys at a client).

use std::fmt;
use std::marker::PhantomData;

use borsh::io::{Error, ErrorKind, Read, Result as IoResult, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::Signer;

use crate::codec::{self, Format, FormatError};
use crate::command::{Command, OperatorCommand, SignedCommand};
use crate::id::{Digest, PublicKey, Signature};
use crate::secret::{Secret, WeakKey};

/// An Ed25519 private key: zeroised when dropped, unprintable.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

/// The signature is missing, foreign or altered, or the key is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature is missing or not that of this key over these bytes")]
pub struct BadSignature;

/// Why signed bytes do not give a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// Somebody else signed, or something else. An incident.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// The payload is not what it should be, whoever signed it.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl SigningKey {
    /// Length of the secret in bytes.
    pub const BYTES: usize = 32;

    /// From 32 random bytes (the seed of RFC 8032). Weak ones are refused.
    pub fn from_secret(secret: [u8; 32]) -> Result<Self, WeakKey> {
        Ok(Self::from(&Secret::new(secret)?))
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// The secret, for a key file.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Signs `payload` as a value of the kind `name` ([`Format::NAME`]).
    pub fn sign(&self, name: &str, payload: &[u8]) -> Signature {
        Signature(self.0.sign(&message(name, payload)).to_bytes())
    }
}

impl From<&Secret<32>> for SigningKey {
    fn from(secret: &Secret<32>) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(secret.expose()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public_key())
    }
}

/// Whether `signature` is that of `key` over `payload` as a value of the kind `name`.
pub fn verify(key: &PublicKey, name: &str, payload: &[u8], signature: &Signature) -> Result<(), BadSignature> {
    let key = point(key).ok_or(BadSignature)?;
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    key.verify_strict(&message(name, payload), &signature).map_err(|_| BadSignature)
}

/// Whether signatures under this key can ever verify: the canonical encoding of a point of the curve, not of small
/// order. For rows that hold keys; [`verify`] asks again.
pub fn usable(key: &PublicKey) -> Result<(), WeakKey> {
    point(key).map(drop).ok_or(WeakKey::NoUsablePublicKey)
}

/// The library takes a coordinate of p or more as well (ZIP 215); RFC 8032 does not, and neither do we: one key, one
/// name.
fn point(key: &PublicKey) -> Option<ed25519_dalek::VerifyingKey> {
    let bytes = key.as_bytes();
    let canonical = bytes[31] & 0x7f != 0x7f || bytes[1..31].iter().any(|byte| *byte != 0xff) || bytes[0] < 0xed;
    if !canonical {
        return None;
    }
    ed25519_dalek::VerifyingKey::from_bytes(bytes).ok().filter(|point| !point.is_weak())
}

/// BLAKE3 over the message that a signature would cover: the digest of a value of the kind `name`.
pub fn digest(name: &str, payload: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(&message(name, payload)).as_bytes())
}

/// The digest of a value: [`digest`] over its canonical bytes.
pub fn digest_of<T: Format>(value: &T) -> Digest {
    digest(T::NAME, &codec::encode(value))
}

fn message(name: &str, payload: &[u8]) -> Vec<u8> {
    debug_assert!(!name.contains('\0'), "names are constants of ours");
    [b"strongroom/", name.as_bytes(), &[0], payload].concat()
}

/// The canonical bytes of a value and a signature over them. What it says is worth nothing before [`Signed::open`].
#[derive(Clone, PartialEq, Eq)]
pub struct Signed<T> {
    payload: Vec<u8>,
    signature: Signature,
    kind: PhantomData<fn() -> T>,
}

impl<T: Format> Signed<T> {
    /// Signs a value; refuses one that no reader would accept.
    pub fn new(value: &T, key: &SigningKey) -> Result<Self, FormatError> {
        let payload = codec::encode(value);
        codec::decode::<T>(&payload)?;
        let signature = key.sign(T::NAME, &payload);
        Ok(Self { payload, signature, kind: PhantomData })
    }

    /// The value, if `key` signed it.
    pub fn open(&self, key: &PublicKey) -> Result<T, SignedError> {
        verify(key, T::NAME, &self.payload, &self.signature)?;
        Ok(codec::decode(&self.payload)?)
    }

    /// The value that somebody claims was signed: to find out whose key is needed, never to act on it.
    pub fn unverified(&self) -> Result<T, FormatError> {
        codec::decode(&self.payload)
    }

    /// The digest of the value, whoever signed it: equal to [`digest_of`] it.
    pub fn digest(&self) -> Digest {
        digest(T::NAME, &self.payload)
    }

    /// Canonical bytes of the value.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

impl<T: Format> Format for Signed<T> {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 + 4 + T::BYTES_MAX + 64;
    const NAME: &'static str = T::NAME;
}

impl<T: Format> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({}, {} bytes, {:?})", T::NAME, self.payload.len(), self.signature)
    }
}

impl<T: Format> BorshSerialize for Signed<T> {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        self.payload.serialize(writer)?;
        self.signature.serialize(writer)
    }
}

impl<T: Format> BorshDeserialize for Signed<T> {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let payload = Vec::<u8>::deserialize_reader(reader)?;
        if payload.len() > T::BYTES_MAX {
            return Err(Error::new(ErrorKind::InvalidData, "the payload is longer than its format allows"));
        }
        let signature = Signature::deserialize_reader(reader)?;
        Ok(Self { payload, signature, kind: PhantomData })
    }
}

/// Signs a command of a caller to a shard.
pub fn sign_command(command: &Command, key: &SigningKey) -> SignedCommand {
    sign_as(command, key)
}

/// Signs a command of an operator to the cluster group.
pub fn sign_operator_command(command: &OperatorCommand, key: &SigningKey) -> SignedCommand {
    sign_as(command, key)
}

/// The bytes of a command that flows inside an opened session and needs no signature.
pub fn unsigned_command(command: &Command) -> SignedCommand {
    SignedCommand { command: codec::encode(command), signature: None }
}

/// Whether `key` signed these bytes as a command to a shard. A missing signature is a bad one.
pub fn verify_command(signed: &SignedCommand, key: &PublicKey) -> Result<(), BadSignature> {
    verify(key, Command::NAME, &signed.command, &signed.signature.ok_or(BadSignature)?)
}

/// Whether `key` signed these bytes as a command to the cluster group. A missing signature is a bad one.
pub fn verify_operator_command(signed: &SignedCommand, key: &PublicKey) -> Result<(), BadSignature> {
    verify(key, OperatorCommand::NAME, &signed.command, &signed.signature.ok_or(BadSignature)?)
}

fn sign_as<T: Format>(command: &T, key: &SigningKey) -> SignedCommand {
    let command = codec::encode(command);
    let signature = key.sign(T::NAME, &command);
    SignedCommand { command, signature: Some(signature) }
}
