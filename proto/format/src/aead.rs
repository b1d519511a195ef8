//! AES-256-GCM behind two functions: with empty additional data, in place, under a key that is used once.
//!
//! [`Portable`] runs anywhere (offline reader, tests); client binaries bring a faster one. Golden vectors prove them
//! equal. Nodes never seal.
//!
//! Not here: where key and nonce come from (`seal.rs`, `siv.rs`).

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, Key, KeyInit, Nonce, Tag};

/// Bytes of the tag.
pub const TAG_BYTES: usize = 16;

/// The bytes were not sealed under this key and nonce, or were changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tag does not fit")]
pub struct NotAuthentic;

/// AES-256-GCM with empty additional data.
pub trait Aead: Send + Sync {
    /// Encrypts `buffer` in place and returns the tag. `buffer` has at most a few MiB.
    fn seal_in_place(&self, key: &[u8; 32], nonce: &[u8; 12], buffer: &mut [u8]) -> [u8; TAG_BYTES];

    /// Decrypts `sealed` (ciphertext, then tag) in place: afterwards all but its last [`TAG_BYTES`] bytes are the
    /// plaintext. If the tag does not fit, what is left in `sealed` means nothing.
    fn open_in_place(&self, key: &[u8; 32], nonce: &[u8; 12], sealed: &mut [u8]) -> Result<(), NotAuthentic>;
}

/// The implementation that runs on any processor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portable;

impl Aead for Portable {
    fn seal_in_place(&self, key: &[u8; 32], nonce: &[u8; 12], buffer: &mut [u8]) -> [u8; TAG_BYTES] {
        let cipher = Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key));
        let tag = cipher
            .encrypt_inout_detached(&Nonce::from(*nonce), &[], buffer.into())
            .expect("far below the 64 GiB that GCM can seal");
        tag.into()
    }

    fn open_in_place(&self, key: &[u8; 32], nonce: &[u8; 12], sealed: &mut [u8]) -> Result<(), NotAuthentic> {
        let cipher = Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key));
        let (ciphertext, tag) = sealed.split_last_chunk_mut::<TAG_BYTES>().ok_or(NotAuthentic)?;
        cipher
            .decrypt_inout_detached(&Nonce::from(*nonce), &[], ciphertext.into(), &Tag::from(*tag))
            .map_err(|_| NotAuthentic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NIST CAVP gcmEncryptExtIV256: 96-bit IV, no additional data, 128-bit plaintext, count 0.
    #[test]
    fn it_is_aes_256_gcm_as_published() {
        let key: [u8; 32] = hex::decode("31bdadd96698c204aa9ce1448ea94ae1fb4a9a0b3c9d773b51bb1822666b8f22")
            .unwrap()
            .try_into()
            .unwrap();
        let nonce: [u8; 12] = hex::decode("0d18e06c7c725ac9e362e1ce").unwrap().try_into().unwrap();
        let mut buffer = hex::decode("2db5168e932556f8089a0622981d017d").unwrap();
        let tag = Portable.seal_in_place(&key, &nonce, &mut buffer);
        assert_eq!(hex::encode(&buffer), "fa4362189661d163fcd6a56d8bf0405a");
        assert_eq!(hex::encode(tag), "d636ac1bbedd5cc3ee727dc2ab4a9489");
        buffer.extend(tag);
        Portable.open_in_place(&key, &nonce, &mut buffer).unwrap();
        assert_eq!(hex::encode(&buffer[..16]), "2db5168e932556f8089a0622981d017d");
    }

    #[test]
    fn too_few_bytes_for_a_tag_are_refused() {
        assert_eq!(Portable.open_in_place(&[1; 32], &[2; 12], &mut [0; 15]), Err(NotAuthentic));
    }
}
