//! Reed–Solomon: a blob as `k + m` fragments, and back from any `k` of them.
//!
//! ```text
//!   blob   [ 0 ][ 1 ] … [k-1, padded with zeros]   slices of the blob, nothing is copied but the padded ones
//!   parity [ k ] … [k+m-1]
//! ```
//!
//! Sizes are `Code::fragment_bytes` (proto/format). Code 1+0 bypasses the coder: its one fragment is the blob. The coder
//! gives no integrity: each fragment is verified before it comes here (`store.rs`), and **the caller compares the blob's
//! hash with its `BlobId`**.
//!
//! The default build is accelerated and needs AVX2 on x86-64: [`check_cpu`] says so in one sentence.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use bytes::{Bytes, BytesMut};
use reed_solomon_erasure::galois_8::ReedSolomon;
use strongroom_format::code::Code;

/// Why fragments were not made or do not give a blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// No such code: it has no data fragments, or parity of nothing.
    #[error("{code} is not an erasure code")]
    NotACode {
        /// What was asked for.
        code: Code,
    },
    /// The blob is longer than a fragment record can say.
    #[error("a blob of {bytes} bytes is too long")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Fewer than `k` different fragments: gather more.
    #[error("{found} fragments where {code} needs {}", code.k)]
    TooFew {
        /// The code.
        code: Code,
        /// How many different ones there were.
        found: usize,
    },
    /// A fragment has another length than this code and blob give, or an index outside the code: it belongs to
    /// something else.
    #[error("fragment {index} of {bytes} bytes does not belong to this blob")]
    Foreign {
        /// Its index.
        index: u8,
        /// Its length.
        bytes: usize,
    },
}

/// Says in one sentence why this build cannot run on this CPU, if it cannot. Call it before anything else.
pub fn check_cpu() -> Result<(), &'static str> {
    #[cfg(all(feature = "accelerated", target_arch = "x86_64"))]
    {
        // the coder's C is compiled for Haswell and does not look
        let haswell = std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("bmi1")
            && std::arch::is_x86_feature_detected!("bmi2")
            && std::arch::is_x86_feature_detected!("fma")
            && std::arch::is_x86_feature_detected!("lzcnt")
            && std::arch::is_x86_feature_detected!("movbe");
        if !haswell {
            return Err("this build needs a CPU with AVX2; build strongroomd with --no-default-features for this one");
        }
    }
    Ok(())
}

/// The fragments of a blob, by index.
pub fn encode(code: Code, blob: &Bytes) -> Result<Vec<Bytes>, CodingError> {
    let fragment_bytes = fragment_bytes(code, blob.len())?;
    let Some(coder) = coder(code)? else {
        return Ok(vec![blob.clone()]);
    };
    let mut fragments: Vec<Bytes> =
        (0..usize::from(code.k)).map(|index| data_fragment(blob, index, fragment_bytes)).collect();
    let mut parity = vec![vec![0; fragment_bytes]; usize::from(code.m)];
    if 0 < fragment_bytes {
        coder
            .encode_sep(&fragments, &mut parity)
            .expect("all fragments have one length and their number is the code's");
    }
    fragments.extend(parity.into_iter().map(Bytes::from));
    Ok(fragments)
}

/// A slice of the blob, copied only where it must be padded.
fn data_fragment(blob: &Bytes, index: usize, fragment_bytes: usize) -> Bytes {
    let start = (index * fragment_bytes).min(blob.len());
    let end = (start + fragment_bytes).min(blob.len());
    let slice = blob.slice(start..end);
    if slice.len() == fragment_bytes {
        return slice;
    }
    let mut padded = BytesMut::zeroed(fragment_bytes);
    padded[..slice.len()].copy_from_slice(&slice);
    padded.freeze()
}

/// The blob of `blob_bytes` from any `k` of its fragments. Each fragment was verified; the result is right only if its
/// hash is the `BlobId`, which the caller compares.
pub fn rebuild(code: Code, blob_bytes: u32, fragments: &[(u8, Bytes)]) -> Result<Bytes, CodingError> {
    let length = blob_bytes as usize;
    let fragment_bytes = fragment_bytes(code, length)?;
    let coder = coder(code)?;
    let mut by_index: Vec<Option<&Bytes>> = vec![None; usize::from(code.slots())];
    for (index, fragment) in fragments {
        match by_index.get_mut(usize::from(*index)) {
            Some(place) if fragment.len() == fragment_bytes => *place = Some(fragment),
            _ => return Err(CodingError::Foreign { index: *index, bytes: fragment.len() }),
        }
    }
    let found = by_index.iter().flatten().count();
    if found < usize::from(code.k) {
        return Err(CodingError::TooFew { code, found });
    }
    let Some(coder) = coder else {
        return Ok(by_index[0].cloned().unwrap_or_default());
    };
    let (data, parity) = by_index.split_at(usize::from(code.k));
    let mut blob = BytesMut::zeroed(fragment_bytes * data.len());
    if 0 < fragment_bytes {
        for (place, fragment) in blob.chunks_exact_mut(fragment_bytes).zip(data) {
            if let Some(fragment) = fragment {
                place.copy_from_slice(fragment);
            }
        }
    }
    if data.iter().any(Option::is_none) && 0 < fragment_bytes {
        let mut copies: Vec<Vec<u8>> =
            parity.iter().map(|fragment| fragment.map_or_else(Vec::new, |fragment| fragment.to_vec())).collect();
        let mut shards: Vec<(&mut [u8], bool)> = blob
            .chunks_exact_mut(fragment_bytes)
            .zip(data.iter().map(Option::is_some))
            .chain(copies.iter_mut().map(Vec::as_mut_slice).zip(parity.iter().map(Option::is_some)))
            .collect();
        coder.reconstruct_data(&mut shards).expect("at least k fragments of one length are there");
    }
    blob.truncate(length);
    Ok(blob.freeze())
}

fn fragment_bytes(code: Code, blob_bytes: usize) -> Result<usize, CodingError> {
    // a quarter of the range keeps the padded length in range, whatever the code
    match u32::try_from(blob_bytes) {
        Ok(bytes) if bytes <= u32::MAX / 4 && 0 < code.k => Ok(code.fragment_bytes(bytes) as usize),
        Ok(_) if code.k == 0 => Err(CodingError::NotACode { code }),
        _ => Err(CodingError::TooLong { bytes: blob_bytes }),
    }
}

/// The coder of a code, made once: its tables cost more than a small blob. `None` for 1+0.
fn coder(code: Code) -> Result<Option<Arc<ReedSolomon>>, CodingError> {
    static CODERS: OnceLock<RwLock<BTreeMap<Code, Arc<ReedSolomon>>>> = OnceLock::new();
    if code == (Code { k: 1, m: 0 }) {
        return Ok(None);
    }
    let coders = CODERS.get_or_init(RwLock::default);
    if let Some(coder) = coders.read().unwrap_or_else(PoisonError::into_inner).get(&code) {
        return Ok(Some(Arc::clone(coder)));
    }
    if code.k.checked_add(code.m).is_none() {
        return Err(CodingError::NotACode { code });
    }
    let coder =
        ReedSolomon::new(usize::from(code.k), usize::from(code.m)).map_err(|_| CodingError::NotACode { code })?;
    let coder = Arc::new(coder);
    coders.write().unwrap_or_else(PoisonError::into_inner).insert(code, Arc::clone(&coder));
    Ok(Some(coder))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The codes of DESIGN.md §3.
    const CODES: [Code; 5] =
        [Code { k: 1, m: 0 }, Code { k: 2, m: 1 }, Code { k: 4, m: 2 }, Code { k: 6, m: 3 }, Code { k: 3, m: 2 }];

    fn blob(bytes: usize) -> Bytes {
        blake3::Hasher::new().update(b"blob").finalize_xof().take_bytes(bytes)
    }

    trait TakeBytes {
        fn take_bytes(self, count: usize) -> Bytes;
    }

    impl TakeBytes for blake3::OutputReader {
        fn take_bytes(mut self, count: usize) -> Bytes {
            let mut bytes = vec![0; count];
            self.fill(&mut bytes);
            bytes.into()
        }
    }

    #[test]
    fn any_k_fragments_give_the_blob_back_for_every_code() {
        check_cpu().unwrap();
        for code in CODES {
            for bytes in [0, 1, 63, 64, 65, 4096, 100_003] {
                let blob = blob(bytes);
                let fragments = encode(code, &blob).unwrap();
                assert_eq!(fragments.len(), usize::from(code.slots()));
                for chosen in 0_u32..1 << code.slots() {
                    if chosen.count_ones() != u32::from(code.k) {
                        continue;
                    }
                    let some: Vec<(u8, Bytes)> = (0..code.slots())
                        .filter(|index| chosen >> index & 1 == 1)
                        .map(|index| (index, fragments[usize::from(index)].clone()))
                        .collect();
                    let rebuilt = rebuild(code, bytes as u32, &some).unwrap();
                    assert!(rebuilt == blob, "{code}, {bytes} bytes, fragments {chosen:b}");
                }
            }
        }
    }

    /// The coder's matrix is part of what lies on disks: another library, version or build must give the same bytes.
    #[test]
    fn parity_keeps_its_bytes() {
        let expected = "e2e0dcd9b8e93a42a55d39a1be72dec896982ab88ed667c7286b0be0937b859e";
        let mut hasher = blake3::Hasher::new();
        for code in CODES {
            for parity in &encode(code, &blob(100_003)).unwrap()[usize::from(code.k)..] {
                hasher.update(parity);
            }
        }
        assert_eq!(hasher.finalize().to_hex().as_str(), expected);
    }

    #[test]
    fn fewer_than_k_different_fragments_give_nothing() {
        for code in CODES {
            let fragments = encode(code, &blob(1000)).unwrap();
            let twice: Vec<(u8, Bytes)> = (0..code.k - 1)
                .chain(0..code.k - 1)
                .map(|index| (index, fragments[usize::from(index)].clone()))
                .collect();
            let found = usize::from(code.k - 1);
            assert_eq!(rebuild(code, 1000, &twice), Err(CodingError::TooFew { code, found }));
        }
    }

    #[test]
    fn fragments_of_another_size_or_index_are_refused() {
        let code = Code { k: 2, m: 1 };
        let fragments = encode(code, &blob(1000)).unwrap();
        let foreign = CodingError::Foreign { index: 0, bytes: 3 };
        assert_eq!(rebuild(code, 1000, &[(0, Bytes::from_static(b"abc"))]), Err(foreign));
        let bytes = fragments[0].len();
        let foreign = CodingError::Foreign { index: 3, bytes };
        assert_eq!(rebuild(code, 1000, &[(3, fragments[0].clone())]), Err(foreign));
    }

    #[test]
    fn codes_without_data_or_with_parity_of_nothing_are_refused() {
        for code in [Code { k: 0, m: 0 }, Code { k: 0, m: 2 }, Code { k: 2, m: 0 }, Code { k: 200, m: 100 }] {
            assert_eq!(encode(code, &blob(10)), Err(CodingError::NotACode { code }), "{code:?}");
            assert_eq!(rebuild(code, 10, &[]), Err(CodingError::NotACode { code }), "{code:?}");
        }
    }

    #[test]
    fn whole_data_fragments_are_slices_of_the_blob() {
        let blob = blob(4096);
        let fragments = encode(Code { k: 4, m: 2 }, &blob).unwrap();
        assert_eq!(fragments[1].as_ptr(), blob[1024..].as_ptr());
        let one = encode(Code { k: 1, m: 0 }, &blob).unwrap();
        assert_eq!(one[0].as_ptr(), blob.as_ptr());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn more_than_k_fragments_in_any_order_give_the_blob_back(
            content in prop::collection::vec(any::<u8>(), 0..5000),
            code in prop::sample::select(CODES.to_vec()),
            order in Just((0..9_u8).collect::<Vec<_>>()).prop_shuffle(),
            lost in any::<u8>(),
        ) {
            let blob = Bytes::from(content);
            let fragments = encode(code, &blob).unwrap();
            let kept = usize::from(code.slots() - lost % (code.m + 1));
            let some: Vec<(u8, Bytes)> = order
                .into_iter()
                .filter(|index| *index < code.slots())
                .take(kept)
                .map(|index| (index, fragments[usize::from(index)].clone()))
                .collect();
            prop_assert_eq!(rebuild(code, blob.len() as u32, &some).unwrap(), blob);
        }
    }
}
