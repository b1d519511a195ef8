//! HPKE (RFC 9180) with KEM X-Wing 0x647a (X25519 + ML-KEM-768), KDF HKDF-SHA256 0x0001, AEAD AES-256-GCM 0x0002:
//! key pairs, sealing to a public key, and the same with a pre-shared key.
//!
//! Random bytes are given by the caller, so that nothing here has a random source and every output can be a vector.
//! Not here: what is sealed to whom and under which context (`wrap.rs`).

use std::convert::Infallible;
use std::fmt;

use borsh::io::{Error, ErrorKind, Read, Result as IoResult};
use borsh::{BorshDeserialize, BorshSerialize};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem, XWing};
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, OpModeR, OpModeS, PskBundle, Serializable};
use zeroize::{Zeroize, Zeroizing};

use crate::secret::{Secret, WeakKey};

/// Bytes of an X-Wing public key.
pub const PUBLIC_KEY_BYTES: usize = 1216;
/// Bytes of an encapsulated key.
pub const ENCAPPED_BYTES: usize = 1120;
/// Bytes that a ciphertext is longer than its plaintext.
pub const TAG_BYTES: usize = 16;
/// Longest plaintext that is sealed here: keys, nothing else.
pub const PLAINTEXT_BYTES_MAX: usize = 256;

/// The random bytes of one encapsulation. Used for one, never again.
pub type Entropy = [u8; 64];

/// An X-Wing public key that its KEM accepts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct XWingPublicKey(Box<[u8; PUBLIC_KEY_BYTES]>);

/// An X-Wing private key: the 32-byte seed.
#[derive(Clone, PartialEq, Eq)]
pub struct XWingKey(Secret<32>);

/// What was sealed to a public key.
#[derive(Clone, PartialEq, Eq, BorshSerialize)]
pub struct Wrapped {
    /// The encapsulated key.
    pub encapped: Box<[u8; ENCAPPED_BYTES]>,
    /// Ciphertext and tag.
    pub ciphertext: Vec<u8>,
}

/// It does not open: another key, another context, another sender, or altered bytes. All look the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the wrapped key does not open here: another key, context or sender, or altered bytes")]
pub struct DoesNotOpen;

/// A pre-shared key that proves the sender, with its public name.
#[derive(Clone, Copy)]
pub struct Psk<'a> {
    /// The key.
    pub key: &'a Secret<32>,
    /// Its name, not empty.
    pub id: &'a [u8],
}

impl XWingPublicKey {
    /// From its bytes, checked as FIPS 203 §7.2 asks.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, WeakKey> {
        let wrong = WeakKey::WrongLength { expected: PUBLIC_KEY_BYTES, found: bytes.len() };
        let array: [u8; PUBLIC_KEY_BYTES] = bytes.try_into().map_err(|_| wrong)?;
        <XWing as Kem>::PublicKey::from_bytes(&array).map_err(|_| WeakKey::NoUsablePublicKey)?;
        Ok(Self(Box::new(array)))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.0
    }

    /// Seals `plaintext` so that only the private half opens it under the same `info`. Who sealed it is not proved.
    pub fn seal(&self, info: &[u8], plaintext: &[u8], entropy: Entropy) -> Wrapped {
        self.seal_in(&OpModeS::Base, info, plaintext, entropy)
    }

    /// Seals `plaintext` so that only the private half opens it, under the same `info`, and only as coming from a
    /// holder of `psk`.
    pub fn seal_from(&self, psk: Psk<'_>, info: &[u8], plaintext: &[u8], entropy: Entropy) -> Wrapped {
        self.seal_in(&OpModeS::Psk(psk.bundle()), info, plaintext, entropy)
    }

    fn seal_in(&self, mode: &OpModeS<'_, XWing>, info: &[u8], plaintext: &[u8], entropy: Entropy) -> Wrapped {
        assert!(plaintext.len() <= PLAINTEXT_BYTES_MAX, "only keys are wrapped");
        let key = <XWing as Kem>::PublicKey::from_bytes(self.0.as_slice()).expect("checked when it was made");
        let (encapped, ciphertext) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, XWing>(
            mode,
            &key,
            info,
            plaintext,
            &[],
            &mut Given(Some(Zeroizing::new(entropy))),
        )
        .expect("a first message of a few bytes to a checked key can be sealed");
        Wrapped { encapped: Box::new(encapped.to_bytes().into()), ciphertext }
    }
}

impl XWingKey {
    /// From 32 random bytes, which are the key. Weak ones are refused.
    pub fn from_secret(secret: [u8; 32]) -> Result<Self, WeakKey> {
        Secret::new(secret).map(Self)
    }

    /// The secret, for a key file.
    pub fn secret(&self) -> &Secret<32> {
        &self.0
    }

    /// The public half.
    pub fn public_key(&self) -> XWingPublicKey {
        let public: [u8; PUBLIC_KEY_BYTES] = XWing::sk_to_pk(&self.key()).to_bytes().into();
        XWingPublicKey(Box::new(public))
    }

    /// Opens what [`XWingPublicKey::seal`] sealed.
    pub fn open(&self, info: &[u8], wrapped: &Wrapped) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        self.open_in(&OpModeR::Base, info, wrapped)
    }

    /// Opens what [`XWingPublicKey::seal_from`] sealed.
    pub fn open_from(&self, psk: Psk<'_>, info: &[u8], wrapped: &Wrapped) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        self.open_in(&OpModeR::Psk(psk.bundle()), info, wrapped)
    }

    fn open_in(
        &self,
        mode: &OpModeR<'_, XWing>,
        info: &[u8],
        wrapped: &Wrapped,
    ) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        let encapped = <XWing as Kem>::EncappedKey::from_bytes(wrapped.encapped.as_slice()).map_err(|_| DoesNotOpen)?;
        hpke::single_shot_open::<AesGcm256, HkdfSha256, XWing>(
            mode,
            &self.key(),
            &encapped,
            info,
            &wrapped.ciphertext,
            &[],
        )
        .map(Zeroizing::new)
        .map_err(|_| DoesNotOpen)
    }

    fn key(&self) -> <XWing as Kem>::PrivateKey {
        <XWing as Kem>::PrivateKey::from_bytes(self.0.expose()).expect("any 32 bytes are a private key")
    }
}

impl From<Secret<32>> for XWingKey {
    fn from(secret: Secret<32>) -> Self {
        Self(secret)
    }
}

impl<'a> Psk<'a> {
    fn bundle(self) -> PskBundle<'a> {
        PskBundle::new(self.key.expose(), self.id).expect("neither key nor id is empty")
    }
}

impl BorshDeserialize for XWingPublicKey {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let mut bytes = [0; PUBLIC_KEY_BYTES];
        reader.read_exact(&mut bytes)?;
        Self::from_slice(&bytes).map_err(|fault| Error::new(ErrorKind::InvalidData, fault))
    }
}

impl BorshDeserialize for Wrapped {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let mut encapped = Box::new([0; ENCAPPED_BYTES]);
        reader.read_exact(encapped.as_mut_slice())?;
        let length = u32::deserialize_reader(reader)? as usize;
        if !(TAG_BYTES..=PLAINTEXT_BYTES_MAX + TAG_BYTES).contains(&length) {
            return Err(Error::new(ErrorKind::InvalidData, "a wrapped key has a wrong length"));
        }
        let mut ciphertext = vec![0; length];
        reader.read_exact(&mut ciphertext)?;
        Ok(Self { encapped, ciphertext })
    }
}

impl fmt::Debug for XWingPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "XWingPublicKey({}…)", hex::encode(&self.0[..8]))
    }
}

impl fmt::Debug for XWingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("XWingKey([redacted])")
    }
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wrapped({} bytes)", self.ciphertext.len())
    }
}

/// A random source that gives the caller's 64 bytes, once: X-Wing's encapsulation draws exactly these.
struct Given(Option<Zeroizing<Entropy>>);

impl TryRng for Given {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("X-Wing draws its 64 bytes at once")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("X-Wing draws its 64 bytes at once")
    }

    fn try_fill_bytes(&mut self, wanted: &mut [u8]) -> Result<(), Infallible> {
        let mut given = self.0.take().expect("X-Wing draws its 64 bytes once");
        wanted.copy_from_slice(given.as_slice());
        given.zeroize();
        Ok(())
    }
}

impl TryCryptoRng for Given {}
