//! Small secrets beside open facts: plaintext lengths in tree nodes, the summary in an envelope. Sealed
//! deterministically, because equal nodes must stay equal, byte for byte, and without ever using a key twice on
//! different bytes.
//!
//! ```text
//! base         = BLAKE3-derive-key(context of the purpose, length key)
//! siv(32)      = BLAKE3-keyed(base, 0x01 ‖ beside(32) ‖ plaintext)
//! key ‖ nonce  = BLAKE3-keyed(base, 0x02 ‖ beside(32) ‖ siv), 44 bytes
//! sealed       = siv ‖ AES-256-GCM(key, nonce, plaintext)
//! ```
//!
//! `beside` names what the secret belongs to. The synthetic value is a keyed hash of everything, so other bytes or
//! another place give another key; it is recomputed after opening, which commits to key, place and plaintext.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::aead::{Aead, NotAuthentic, Portable, TAG_BYTES};
use crate::keys::LengthKey;
use crate::secret::Secret;

/// How much longer the sealed bytes are than the plaintext.
pub const OVERHEAD_BYTES: usize = 32 + TAG_BYTES;

/// What is sealed. Each purpose has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The plaintext lengths of a tree node.
    Lengths,
    /// The summary of a snapshot.
    Summary,
}

impl Purpose {
    /// The BLAKE3 derive-key context.
    fn context(self) -> &'static str {
        match self {
            Purpose::Lengths => "strongroom 2026-11 lengths of an index-tree node 1",
            Purpose::Summary => "strongroom 2026-11 summary of a snapshot 1",
        }
    }
}

/// Seals `plaintext`, which belongs to `beside`.
pub(crate) fn seal(key: &LengthKey, purpose: Purpose, beside: &[u8; 32], plaintext: &[u8]) -> Vec<u8> {
    let base = base(key, purpose);
    let siv = synthetic(&base, beside, plaintext);
    let (key, nonce) = once(&base, beside, &siv);
    let mut sealed = Vec::with_capacity(plaintext.len() + OVERHEAD_BYTES);
    sealed.extend(siv);
    sealed.extend(plaintext);
    let tag = Portable.seal_in_place(&key, &nonce, &mut sealed[32..]);
    sealed.extend(tag);
    sealed
}

/// Opens what [`seal`] made for the same purpose and place.
pub(crate) fn open(
    key: &LengthKey,
    purpose: Purpose,
    beside: &[u8; 32],
    sealed: &[u8],
) -> Result<Vec<u8>, NotAuthentic> {
    let (siv, ciphertext) = sealed.split_first_chunk::<32>().ok_or(NotAuthentic)?;
    let base = base(key, purpose);
    let (key, nonce) = once(&base, beside, siv);
    let mut plaintext = ciphertext.to_vec();
    Portable.open_in_place(&key, &nonce, &mut plaintext)?;
    plaintext.truncate(plaintext.len() - TAG_BYTES);
    if bool::from(synthetic(&base, beside, &plaintext).ct_eq(siv)) { Ok(plaintext) } else { Err(NotAuthentic) }
}

fn base(key: &LengthKey, purpose: Purpose) -> Secret<32> {
    key.secret().derive(purpose.context(), &[])
}

fn synthetic(base: &Secret<32>, beside: &[u8; 32], plaintext: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new_keyed(base.expose()).update(&[1]).update(beside).update(plaintext).finalize().as_bytes()
}

fn once(base: &Secret<32>, beside: &[u8; 32], siv: &[u8; 32]) -> (Zeroizing<[u8; 32]>, [u8; 12]) {
    let mut key = Zeroizing::new([0; 32]);
    let mut nonce = [0; 12];
    let mut stream = blake3::Hasher::new_keyed(base.expose()).update(&[2]).update(beside).update(siv).finalize_xof();
    stream.fill(key.as_mut());
    stream.fill(&mut nonce);
    (key, nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(first: u8) -> LengthKey {
        let mut bytes = [9; 32];
        bytes[0] = first;
        LengthKey::from_secret(bytes).unwrap()
    }

    #[test]
    fn it_opens_only_with_its_key_purpose_and_place() {
        let sealed = seal(&key(1), Purpose::Lengths, &[3; 32], b"four");
        assert_eq!(sealed.len(), 4 + OVERHEAD_BYTES);
        assert_eq!(open(&key(1), Purpose::Lengths, &[3; 32], &sealed).unwrap(), b"four");
        assert_eq!(open(&key(2), Purpose::Lengths, &[3; 32], &sealed), Err(NotAuthentic));
        assert_eq!(open(&key(1), Purpose::Summary, &[3; 32], &sealed), Err(NotAuthentic));
        assert_eq!(open(&key(1), Purpose::Lengths, &[4; 32], &sealed), Err(NotAuthentic));
    }

    #[test]
    fn the_same_bytes_seal_the_same_and_others_share_nothing() {
        let one = seal(&key(1), Purpose::Lengths, &[3; 32], &[0; 64]);
        assert_eq!(one, seal(&key(1), Purpose::Lengths, &[3; 32], &[0; 64]));
        let mut other = [0; 64];
        other[63] = 1;
        let other = seal(&key(1), Purpose::Lengths, &[3; 32], &other);
        // Under one key stream the first 63 bytes would be equal.
        assert_ne!(one[32..64], other[32..64]);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let sealed = seal(&key(1), Purpose::Lengths, &[3; 32], b"0123456789abcdef");
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key(1), Purpose::Lengths, &[3; 32], &bad).is_err(), "bit {bit}");
        }
        for cut in 0..sealed.len() {
            assert!(open(&key(1), Purpose::Lengths, &[3; 32], &sealed[..cut]).is_err(), "cut {cut}");
        }
    }
}
