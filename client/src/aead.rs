//! AES-256-GCM by aws-lc-rs, which TLS links anyway and which is several times as fast as the portable one.
//!
//! Promises: the same bytes as [`strongroom_format::aead::Portable`], which a test proves. Not here: keys and nonces.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use strongroom_format::aead::{Aead, NotAuthentic, TAG_BYTES};

/// The implementation of client programs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fast;

impl Aead for Fast {
    fn seal_in_place(&self, key: &[u8; 32], nonce: &[u8; 12], buffer: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = key_of(key)
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(*nonce), Aad::empty(), buffer)
            .expect("far below the 64 GiB that GCM can seal");
        tag.as_ref().try_into().expect("a tag of GCM has 16 bytes")
    }

    fn open_in_place(&self, key: &[u8; 32], nonce: &[u8; 12], sealed: &mut [u8]) -> Result<(), NotAuthentic> {
        key_of(key)
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), sealed)
            .map(|_| ())
            .map_err(|_| NotAuthentic)
    }
}

fn key_of(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("an AES-256 key has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_format::aead::Portable;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_equals_the_portable_one(
            key: [u8; 32], nonce: [u8; 12], plain in proptest::collection::vec(any::<u8>(), 0..5000), flip: usize
        ) {
            let (mut fast, mut portable) = (plain.clone(), plain.clone());
            let tag = Fast.seal_in_place(&key, &nonce, &mut fast);
            prop_assert_eq!(tag, Portable.seal_in_place(&key, &nonce, &mut portable));
            prop_assert_eq!(&fast, &portable);
            fast.extend_from_slice(&tag);
            let mut spoilt = fast.clone();
            let at = flip % spoilt.len();
            spoilt[at] ^= 1;
            prop_assert_eq!(Fast.open_in_place(&key, &nonce, &mut fast), Ok(()));
            prop_assert_eq!(&fast[..plain.len()], &plain[..]);
            prop_assert_eq!(Fast.open_in_place(&key, &nonce, &mut spoilt), Err(NotAuthentic));
            prop_assert_eq!(Fast.open_in_place(&key, &nonce, &mut [0; 15]), Err(NotAuthentic));
        }
    }
}
