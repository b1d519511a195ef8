//! Secret key bytes: wiped when dropped, printed as `[redacted]`, compared in constant time, weak ones refused when
//! they are loaded.
//!
//! Not here: what the keys are for (`keys.rs`, `seal.rs`).

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Why bytes are not taken as a key (N49).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakKey {
    /// Cut off, padded, or another kind of key.
    #[error("a key of {expected} bytes is needed, not {found}")]
    WrongLength {
        /// How long the key is.
        expected: usize,
        /// How long these bytes are.
        found: usize,
    },
    /// All zero, or one byte repeated: a buffer that was never filled.
    #[error("the key is one byte repeated")]
    Uniform,
    /// No public key, or one of small order.
    #[error("the bytes are no usable public key")]
    NoUsablePublicKey,
}

/// `N` secret bytes that are not all the same. They stay in one place on the heap, so that moving the value leaves no
/// copy behind, and are wiped when it is dropped.
#[derive(Clone)]
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// From random bytes; this copy of them is wiped, the caller wipes its own.
    pub fn new(mut bytes: [u8; N]) -> Result<Self, WeakKey> {
        let loaded = Self::from_slice(&bytes);
        bytes.zeroize();
        loaded
    }

    /// From bytes of exactly the right length. The caller wipes its own copy.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, WeakKey> {
        if bytes.len() != N {
            return Err(WeakKey::WrongLength { expected: N, found: bytes.len() });
        }
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return Err(WeakKey::Uniform);
        }
        let mut secret = Secret(Box::new([0; N]));
        secret.0.copy_from_slice(bytes);
        Ok(secret)
    }

    /// The bytes. Do not copy them to where they are not wiped.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// BLAKE3's key derivation over `secret ‖ material`. `context` is a constant of this package, one per purpose.
    pub fn derive(&self, context: &'static str, material: &[u8]) -> Secret<32> {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(self.expose()).update(material);
        let mut derived = Secret(Box::new([0; 32]));
        hasher.finalize_xof().fill(derived.0.as_mut());
        hasher.zeroize();
        derived
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n49_weak_keys_are_refused_at_load() {
        assert_eq!(Secret::new([0; 32]).unwrap_err(), WeakKey::Uniform);
        assert_eq!(Secret::new([0x5a; 32]).unwrap_err(), WeakKey::Uniform);
        let wrong = |found| WeakKey::WrongLength { expected: 32, found };
        assert_eq!(Secret::<32>::from_slice(&[1; 31]).unwrap_err(), wrong(31));
        assert_eq!(Secret::<32>::from_slice(&[]).unwrap_err(), wrong(0));
        let mut good = [7; 32];
        good[31] = 8;
        assert_eq!(Secret::new(good).unwrap().expose(), &good);
    }

    #[test]
    fn secrets_do_not_print() {
        let mut bytes = [0x41; 32];
        bytes[0] = 0x42;
        assert_eq!(format!("{:?}", Secret::new(bytes).unwrap()), "[redacted]");
    }

    #[test]
    fn a_derived_key_is_blake3s_over_secret_and_material() {
        let mut bytes = [0x41; 32];
        bytes[0] = 0x42;
        let derived = Secret::new(bytes).unwrap().derive("strongroom test", b"material");
        let expected = blake3::derive_key("strongroom test", &[&bytes[..], b"material"].concat());
        assert_eq!(derived.expose(), &expected);
    }
}
