//! A blob from fragments of which some may be wrong: pure, and never wrong itself, because the blob's own hash judges.
//!
//! `k` fragments that are all good give the blob. Where they do not, those whose own hash fails are bad. Where all have
//! their right hashes and still give no blob, somebody wrote fragments that do not belong together: with more than `k`
//! of them every choice of `k` is tried, and those that do not fit the blob found are bad.
//!
//! Not here: where more fragments come from (`gather.rs`).

use bytes::Bytes;
use strongroom_chunks::coding;
use strongroom_format::code::Code;
use strongroom_format::id::{BlobId, Digest};

/// A fragment as a member gave it.
#[derive(Clone, Debug)]
pub struct Given {
    /// Which.
    pub index: u8,
    /// What its payload should hash to; the member's word.
    pub payload_hash: Digest,
    /// The fragment.
    pub payload: Bytes,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Solved {
    /// The blob, and the fragments that do not belong to it.
    Blob {
        /// It hashes to its id.
        blob: Bytes,
        /// Indexes of wrong fragments.
        bad: Vec<u8>,
        /// Whether anything but data fragments was needed.
        rebuilt: bool,
    },
    /// No choice of them gives the blob; these are surely bad. More fragments may help.
    Nothing {
        /// Indexes of fragments that fail their own hash or have a wrong length.
        bad: Vec<u8>,
    },
}

/// Tries to make the blob. `given` has at least `k` different fragments.
pub fn solve(code: Code, blob_id: &BlobId, blob_bytes: u32, given: &[Given]) -> Solved {
    let k = usize::from(code.k);
    let fragment_bytes = code.fragment_bytes(blob_bytes) as usize;
    let fits = |one: &&Given| one.payload.len() == fragment_bytes && one.index < code.slots();
    let of_length: Vec<&Given> = given.iter().filter(fits).collect();
    if let Some(first) = of_length.get(..k)
        && let Some(blob) = attempt(code, blob_id, blob_bytes, first)
    {
        return found(code, blob, first, given, fragment_bytes);
    }
    let good: Vec<&Given> = of_length
        .into_iter()
        .filter(|one| blake3::hash(&one.payload).as_bytes() == one.payload_hash.as_bytes())
        .collect();
    let mut chosen = Vec::with_capacity(k);
    if let Some((blob, first)) = choose(code, blob_id, blob_bytes, &good, &mut chosen) {
        return found(code, blob, &first, given, fragment_bytes);
    }
    let is_good = |one: &Given| good.iter().any(|other| other.index == one.index);
    Solved::Nothing { bad: given.iter().filter(|one| !is_good(one)).map(|one| one.index).collect() }
}

/// The blob is known; a fragment that is not one of its own is bad.
fn found(code: Code, blob: Bytes, used: &[&Given], given: &[Given], fragment_bytes: usize) -> Solved {
    let rebuilt = used.iter().any(|one| code.k <= one.index);
    let is_used = |one: &Given| used.iter().any(|other| other.index == one.index);
    let mut bad = Vec::new();
    if given.len() != used.len() {
        let all = coding::encode(code, &blob).unwrap_or_default();
        for one in given.iter().filter(|one| !is_used(one)) {
            let belongs = one.payload.len() == fragment_bytes && all.get(usize::from(one.index)) == Some(&one.payload);
            if !belongs {
                bad.push(one.index);
            }
        }
    }
    Solved::Blob { blob, bad, rebuilt }
}

fn attempt(code: Code, blob_id: &BlobId, blob_bytes: u32, chosen: &[&Given]) -> Option<Bytes> {
    let fragments: Vec<(u8, Bytes)> = chosen.iter().map(|one| (one.index, one.payload.clone())).collect();
    let blob = coding::rebuild(code, blob_bytes, &fragments).ok()?;
    (blake3::hash(&blob).as_bytes() == blob_id.as_bytes()).then_some(blob)
}

/// Every choice of `k` from `rest` behind what is chosen: at most 84 of them (6+3).
fn choose<'a>(
    code: Code,
    blob_id: &BlobId,
    blob_bytes: u32,
    rest: &[&'a Given],
    chosen: &mut Vec<&'a Given>,
) -> Option<(Bytes, Vec<&'a Given>)> {
    let lacking = usize::from(code.k) - chosen.len();
    if lacking == 0 {
        return attempt(code, blob_id, blob_bytes, chosen).map(|blob| (blob, chosen.clone()));
    }
    for (place, one) in rest.iter().enumerate() {
        if rest.len() - place < lacking {
            break;
        }
        chosen.push(one);
        let found = choose(code, blob_id, blob_bytes, &rest[place + 1..], chosen);
        chosen.pop();
        if found.is_some() {
            return found;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(bytes: usize) -> Bytes {
        let mut content = vec![0; bytes];
        blake3::Hasher::new().update(b"solve").finalize_xof().fill(&mut content);
        content.into()
    }

    fn id(blob: &[u8]) -> BlobId {
        BlobId::from_bytes(*blake3::hash(blob).as_bytes())
    }

    fn given(code: Code, blob: &Bytes) -> Vec<Given> {
        let fragments = coding::encode(code, blob).unwrap();
        (0_u8..)
            .zip(fragments)
            .map(|(index, payload)| Given {
                index,
                payload_hash: Digest::from_bytes(*blake3::hash(&payload).as_bytes()),
                payload,
            })
            .collect()
    }

    const CODE: Code = Code { k: 4, m: 2 };

    #[test]
    fn data_fragments_give_the_blob_without_rebuilding_and_parity_with() {
        let blob = blob(10_000);
        let all = given(CODE, &blob);
        let data = Solved::Blob { blob: blob.clone(), bad: vec![], rebuilt: false };
        assert_eq!(solve(CODE, &id(&blob), 10_000, &all[..4]), data);
        let parity = Solved::Blob { blob: blob.clone(), bad: vec![], rebuilt: true };
        assert_eq!(solve(CODE, &id(&blob), 10_000, &all[2..]), parity);
        let one = given(Code { k: 1, m: 0 }, &blob);
        assert_eq!(solve(Code { k: 1, m: 0 }, &id(&blob), 10_000, &one), data);
    }

    #[test]
    fn n98_a_fragment_that_fails_its_hash_is_named_and_others_serve() {
        let blob = blob(10_000);
        let mut all = given(CODE, &blob);
        let mut wrong = all[1].payload.to_vec();
        wrong[17] ^= 1;
        all[1].payload = wrong.into();
        assert_eq!(solve(CODE, &id(&blob), 10_000, &all[..4]), Solved::Nothing { bad: vec![1] });
        let found = Solved::Blob { blob: blob.clone(), bad: vec![1], rebuilt: true };
        assert_eq!(solve(CODE, &id(&blob), 10_000, &all[..5]), found);
    }

    #[test]
    fn n133_fragments_with_right_hashes_that_do_not_belong_together_are_found_out() {
        let (blob, other) = (blob(10_000), Bytes::from(vec![3; 10_000]));
        let foreign = given(CODE, &other);
        let mut all = given(CODE, &blob);
        all[0] = foreign[0].clone();
        assert_eq!(solve(CODE, &id(&blob), 10_000, &all[..4]), Solved::Nothing { bad: vec![] });
        let found = Solved::Blob { blob: blob.clone(), bad: vec![0], rebuilt: true };
        assert_eq!(solve(CODE, &id(&blob), 10_000, &all[..5]), found);
        all[5] = foreign[5].clone();
        assert_eq!(solve(CODE, &id(&blob), 10_000, &all), Solved::Blob { blob, bad: vec![0, 5], rebuilt: true });
    }

    #[test]
    fn a_fragment_of_another_length_or_index_is_bad() {
        let blob = blob(10_000);
        let mut all = given(CODE, &blob);
        all[2].payload = Bytes::from_static(b"short");
        all[3].index = 9;
        assert_eq!(solve(CODE, &id(&blob), 10_000, &all[..5]), Solved::Nothing { bad: vec![2, 9] });
    }
}
