//! Blobs open only as what they are, and are bounded whatever they hold.

use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::*;
use crate::aead::{NotAuthentic, Portable};

/// Bytes that no compressor shortens, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn dek(seed: u64) -> SealingDek {
    SealingDek::new(DekId::from_bytes([seed as u8; 16]), *noise(seed, 64).first_chunk().unwrap()).unwrap()
}

fn context(dek: &SealingDek, plaintext: &[u8]) -> Context {
    Context {
        cluster: ClusterEpoch::from_bytes([1; 16]),
        tenant: TenantId::from_bytes([2; 16]),
        vault: VaultId::from_bytes([3; 16]),
        domain: DomainId::from_bytes([4; 16]),
        dek: dek.dek().id(),
        chunk: ChunkId::from_bytes(*blake3::hash(plaintext).as_bytes()),
        plaintext_bytes: plaintext.len() as u32,
    }
}

const TAG: VaultTag = VaultTag::from_bytes([9; 16]);

fn sealed(dek: &SealingDek, plaintext: &[u8], compression: Compression) -> Vec<u8> {
    seal(&Portable, dek.salt([5; 24]), Kind::Data, TAG, &context(dek, plaintext), plaintext, compression).unwrap()
}

/// A blob as only the holder of the key can make it, with any body.
fn crafted(dek: &SealingDek, context: &Context, body: &[u8]) -> Vec<u8> {
    let salt = dek.salt([6; 24]);
    let once = Once::derive(dek.dek(), Kind::Data, &salt.bytes, context);
    let header = BlobHeader {
        kind: Kind::Data,
        vault_tag: TAG,
        dek: context.dek,
        chunk: context.chunk,
        salt: salt.bytes,
        commitment: once.commitment,
    };
    let mut blob = [&header.to_bytes(), body].concat();
    let tag = Portable.seal_in_place(&once.key, &once.nonce, &mut blob[HEADER_BYTES..]);
    blob.extend(tag);
    blob
}

/// Counts how often something is opened.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Aead for Counting {
    fn seal_in_place(&self, key: &[u8; 32], nonce: &[u8; 12], buffer: &mut [u8]) -> [u8; TAG_BYTES] {
        Portable.seal_in_place(key, nonce, buffer)
    }

    fn open_in_place(&self, key: &[u8; 32], nonce: &[u8; 12], sealed: &mut [u8]) -> Result<(), NotAuthentic> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Portable.open_in_place(key, nonce, sealed)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_was_sealed_opens_to_the_same_bytes(
        seed in any::<u64>(), length in 1usize..200_000, repeats in any::<bool>(), never in any::<bool>(),
        kind in prop_oneof![Just(Kind::Data), Just(Kind::Manifest)],
    ) {
        let plaintext = if repeats { noise(seed, 1 + length / 50).repeat(50) } else { noise(seed, length) };
        let compression = if never { Compression::Never } else { Compression::Auto };
        let dek = dek(seed);
        let context = context(&dek, &plaintext);
        let blob = seal(&Portable, dek.salt([7; 24]), kind, TAG, &context, &plaintext, compression).unwrap();
        prop_assert!(blob.len() <= plaintext.len() + OVERHEAD_BYTES);
        let header = BlobHeader::parse(&blob).unwrap();
        prop_assert_eq!((header.kind, header.vault_tag, header.dek, header.chunk), (kind, TAG, context.dek, context.chunk));
        prop_assert_eq!(&header.to_bytes()[..], &blob[..HEADER_BYTES]);
        prop_assert_eq!(open(&Portable, dek.dek(), kind, &context, &blob).unwrap(), plaintext);
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_a_header_with_one_encoding(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0u8..5, suite in 0u8..3, shaped in any::<bool>(),
    ) {
        if shaped && bytes.len() > 8 {
            bytes[..8].copy_from_slice(&[b'S', b'R', b'B', b'L', 1, suite, kind, 0]);
        }
        if let Ok(header) = BlobHeader::parse(&bytes) {
            prop_assert_eq!(&header.to_bytes()[..], &bytes[..HEADER_BYTES]);
        }
        let dek = dek(1);
        prop_assert!(open(&Portable, dek.dek(), Kind::Data, &context(&dek, b"x"), &bytes).is_err());
        let _ = open_records(&bytes);
    }

    #[test]
    fn an_arbitrary_body_opens_to_the_declared_length_or_not_at_all(
        mut body in proptest::collection::vec(any::<u8>(), 0..64), magic in any::<bool>(), length in 1u32..70_000,
    ) {
        if magic && body.len() > 5 {
            body[..4].copy_from_slice(&[0x28, 0xb5, 0x2f, 0xfd]);
            body[4] &= 0b1110_0100;
        }
        body.push(1);
        let dek = dek(2);
        let context = Context { plaintext_bytes: length, ..context(&dek, b"x") };
        if let Ok(plaintext) = open(&Portable, dek.dek(), Kind::Data, &context, &crafted(&dek, &context, &body)) {
            prop_assert_eq!(plaintext.len(), length as usize);
        }
    }
}

#[test]
fn the_longest_chunk_opens_and_a_longer_one_is_not_sealed() {
    let dek = dek(1);
    let mut plaintext = noise(1, CHUNK_BYTES_MAX as usize);
    let blob = sealed(&dek, &plaintext, Compression::Auto);
    assert_eq!(blob.len(), BLOB_BYTES_MAX as usize);
    assert_eq!(open(&Portable, dek.dek(), Kind::Data, &context(&dek, &plaintext), &blob).unwrap(), plaintext);
    plaintext.push(0);
    for plaintext in [&plaintext[..], &[]] {
        let context = context(&dek, plaintext);
        let refused = seal(&Portable, dek.salt([0; 24]), Kind::Data, TAG, &context, plaintext, Compression::Auto);
        assert!(matches!(refused, Err(BlobError::LengthMismatch { .. })));
    }
    let other = Context { plaintext_bytes: 4, ..context(&dek, b"abc") };
    let refused = seal(&Portable, dek.salt([0; 24]), Kind::Data, TAG, &other, b"abc", Compression::Auto);
    assert_eq!(refused, Err(BlobError::LengthMismatch { expected: 4, found: 3 }));
}

#[test]
fn only_what_gets_shorter_is_compressed() {
    let dek = dek(1);
    let text = b"the same line again and again\n".repeat(40_000);
    assert!(sealed(&dek, &text, Compression::Auto).len() < text.len() / 10);
    assert_eq!(sealed(&dek, &text, Compression::Never).len(), text.len() + OVERHEAD_BYTES);
    let random = noise(1, 1 << 20);
    assert_eq!(sealed(&dek, &random, Compression::Auto).len(), random.len() + OVERHEAD_BYTES);
    // A format with a plain header and random contents, and one whose sole plain part is its middle.
    for (at, saves) in [(0, false), (400_000, true)] {
        let mut mixed = random.clone();
        let plain = if saves { 300_000 } else { 30_000 };
        mixed[at..at + plain].fill(7);
        let blob = sealed(&dek, &mixed, Compression::Auto);
        assert_eq!(blob.len() < mixed.len(), saves);
        assert_eq!(open(&Portable, dek.dek(), Kind::Data, &context(&dek, &mixed), &blob).unwrap(), mixed);
    }
}

#[test]
fn n41_a_blob_of_another_place_does_not_open_and_is_not_even_tried() {
    let dek = dek(1);
    let blob = sealed(&dek, b"plaintext", Compression::Auto);
    let right = context(&dek, b"plaintext");
    let aead = Counting::default();
    let other = [0xee; 16];
    for wrong in [
        Context { cluster: ClusterEpoch::from_bytes(other), ..right },
        Context { tenant: TenantId::from_bytes(other), ..right },
        Context { vault: VaultId::from_bytes(other), ..right },
        Context { domain: DomainId::from_bytes(other), ..right },
        Context { dek: DekId::from_bytes(other), ..right },
        Context { chunk: ChunkId::from_bytes([0xee; 32]), ..right },
        Context { plaintext_bytes: 10, ..right },
        Context { plaintext_bytes: 8, ..right },
    ] {
        assert_eq!(open(&aead, dek.dek(), Kind::Data, &wrong, &blob), Err(BlobError::CommitmentMismatch), "{wrong:?}");
    }
    assert_eq!(open(&aead, dek.dek(), Kind::Manifest, &right, &blob), Err(BlobError::CommitmentMismatch));
    assert_eq!(aead.0.load(Ordering::Relaxed), 0);
    assert_eq!(open(&aead, dek.dek(), Kind::Data, &right, &blob).unwrap(), b"plaintext");
    assert_eq!(aead.0.load(Ordering::Relaxed), 1);
}

#[test]
fn n52_no_second_key_opens_a_blob_whatever_its_ciphertext() {
    let (one, two) = (dek(1), dek(2));
    let plaintext = b"plaintext";
    let context_of_one = context(&one, plaintext);
    let aead = Counting::default();
    let blob = sealed(&one, plaintext, Compression::Never);
    // The other key under the first one's id: only the commitment is left to tell.
    let impostor = Dek::load(one.dek().id(), two.dek().key().expose()).unwrap();
    let refused = open(&aead, &impostor, Kind::Data, &context_of_one, &blob);
    assert_eq!(refused, Err(BlobError::CommitmentMismatch));
    // A ciphertext that the second key would open needs the second key's commitment, and then the first refuses.
    let mut crossed = blob.clone();
    let salt = BlobHeader::parse(&blob).unwrap().salt;
    let once = Once::derive(&impostor, Kind::Data, &salt, &context_of_one);
    crossed[104..136].copy_from_slice(&once.commitment);
    assert_eq!(open(&aead, one.dek(), Kind::Data, &context_of_one, &crossed), Err(BlobError::CommitmentMismatch));
    assert_eq!(aead.0.load(Ordering::Relaxed), 0);
}

#[test]
fn n50_a_stuck_random_source_gives_no_salt_twice() {
    let dek = dek(1);
    let salts: Vec<_> = (0..1000).map(|_| dek.salt([0; 24]).bytes).collect();
    let unique: std::collections::BTreeSet<_> = salts.iter().collect();
    assert_eq!(unique.len(), salts.len());
    let (one, two) = (sealed(&dek, &[0; 64], Compression::Never), sealed(&dek, &[0; 64], Compression::Never));
    assert_ne!(one[HEADER_BYTES..], two[HEADER_BYTES..]);
    assert_ne!(one[104..136], two[104..136]);
}

#[test]
fn n36_unknown_versions_suites_and_kinds_are_refused_and_never_guessed() {
    let dek = dek(1);
    let blob = sealed(&dek, b"plaintext", Compression::Auto);
    let context = context(&dek, b"plaintext");
    let with = |at: usize, byte: u8| {
        let mut blob = blob.clone();
        blob[at] = byte;
        open(&Portable, dek.dek(), Kind::Data, &context, &blob).unwrap_err()
    };
    assert_eq!(with(4, 0), BlobError::UnsupportedVersion { found: 0 });
    assert_eq!(with(4, 2), BlobError::UnsupportedVersion { found: 2 });
    // A downgrade: sealed bytes said to be open ones.
    assert_eq!(with(5, 0), BlobError::UnsupportedSuite { found: 0 });
    assert_eq!(with(5, 2), BlobError::UnsupportedSuite { found: 2 });
    assert_eq!(with(6, 0), BlobError::UnsupportedKind { found: 0 });
    assert_eq!(with(6, 4), BlobError::UnsupportedKind { found: 4 });
    assert_eq!(with(7, 1), BlobError::Damaged { why: "a reserved byte is not zero" });
    assert_eq!(with(0, b'X'), BlobError::Damaged { why: "not a blob" });
    let records = record_blob(TAG, b"records");
    let downgraded = open(&Portable, dek.dek(), Kind::Data, &context, &records);
    assert_eq!(downgraded, Err(BlobError::CommitmentMismatch));
    assert!(matches!(
        open(&Portable, dek.dek(), Kind::Records, &context, &records),
        Err(BlobError::UnsupportedSuite { found: 0 })
    ));
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let dek = dek(1);
    for plaintext in [b"plaintext".to_vec(), b"packed ".repeat(60)] {
        let blob = sealed(&dek, &plaintext, Compression::Auto);
        let context = context(&dek, &plaintext);
        // The vault tag says nothing to who opens; the blob's id covers it.
        for bit in (0..blob.len() * 8).filter(|bit| !(64..192).contains(bit)) {
            let mut bad = blob.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&Portable, dek.dek(), Kind::Data, &context, &bad).is_err(), "bit {bit}");
            assert_ne!(blob_id(&bad), blob_id(&blob));
        }
        for cut in 0..blob.len() {
            assert!(open(&Portable, dek.dek(), Kind::Data, &context, &blob[..cut]).is_err(), "cut {cut}");
        }
        let longer = [&blob[..], &[0]].concat();
        assert!(open(&Portable, dek.dek(), Kind::Data, &context, &longer).is_err());
    }
}

#[test]
fn n114_what_inflates_past_its_length_is_refused_before_it_is_inflated() {
    let dek = dek(1);
    let open_as = |length: u32, body: &[u8]| {
        let context = Context { plaintext_bytes: length, ..context(&dek, b"x") };
        open(&Portable, dek.dek(), Kind::Data, &context, &crafted(&dek, &context, body)).unwrap_err()
    };
    let packed = |plaintext: &[u8]| {
        let mut frame = Vec::with_capacity(plaintext.len() + 1024);
        zstd_safe::compress(&mut frame, plaintext, 1).unwrap();
        frame
    };
    let with = |frame: &[u8], packing: u8| [frame, &[packing]].concat();
    let zeros = packed(&vec![0; 64 << 20]);

    // A bomb of 64 MiB; one that declares what is expected and holds more, and less.
    assert_eq!(open_as(1 << 20, &with(&zeros, 1)), BlobError::LengthMismatch { expected: 1 << 20, found: 64 << 20 });
    let frame = packed(&vec![0; 70_000]);
    assert_eq!(frame[4] & 0xe0, 0xa0, "a single segment with four bytes of size");
    for declared in [69_999u32, 70_001] {
        let mut lie = frame.clone();
        lie[5..9].copy_from_slice(&declared.to_le_bytes());
        assert_eq!(open_as(declared, &with(&lie, 1)), BlobError::Damaged { why: "zstd cannot inflate it" });
    }
    // A window of 8 MiB, or 2⁴¹.
    for (window, refused) in [(12 << 3, false), (13 << 3, true), (31 << 3, true)] {
        let lie = [&[0x28, 0xb5, 0x2f, 0xfd, 0x80, window, 16, 0, 0, 0], &[0x81, 0, 0, 7][..]].concat();
        let window_refused = open_as(16, &with(&lie, 1)) == BlobError::Damaged { why: "a zstd window above 4 MiB" };
        assert_eq!(window_refused, refused, "{window}");
    }
    // Two frames, a skippable one, a rest, a cut, a dictionary, no size.
    let half = packed(&vec![0; 35_000]);
    let two = [&half[..], &half].concat();
    assert!(matches!(open_as(70_000, &with(&two, 1)), BlobError::LengthMismatch { .. }));
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0], &frame[..]].concat();
    assert_eq!(open_as(70_000, &with(&skippable, 1)), BlobError::Damaged { why: "not a zstd frame" });
    let rest = [&frame[..], &[0]].concat();
    assert_eq!(open_as(70_000, &with(&rest, 1)), BlobError::Damaged { why: "not exactly one zstd frame" });
    for cut in 0..frame.len() {
        assert!(matches!(open_as(70_000, &with(&frame[..cut], 1)), BlobError::Damaged { .. }));
    }
    let mut dictionary = frame.clone();
    dictionary[4] |= 1;
    assert!(matches!(open_as(70_000, &with(&dictionary, 1)), BlobError::Damaged { .. }));
    let sizeless = [0x28, 0xb5, 0x2f, 0xfd, 0, 0, 1, 0, 0];
    assert!(matches!(open_as(1, &with(&sizeless, 1)), BlobError::Damaged { .. }));
    // Stored bytes of another length; an unknown packing; nothing at all.
    assert_eq!(open_as(4, &with(b"abc", 0)), BlobError::LengthMismatch { expected: 4, found: 3 });
    assert_eq!(open_as(3, &with(b"abc", 2)), BlobError::Damaged { why: "an unknown packing" });
    assert_eq!(open_as(3, b""), BlobError::Damaged { why: "no packing" });
    assert_eq!(
        open_as(3, &with(&[0; 100], 0)),
        BlobError::Damaged { why: "longer than its plaintext stored as it is" }
    );
    // What is asked for is bounded too.
    let context = Context { plaintext_bytes: CHUNK_BYTES_MAX + 1, ..context(&dek, b"x") };
    let refused = open(&Portable, dek.dek(), Kind::Data, &context, &crafted(&dek, &context, &with(&zeros, 1)));
    assert!(matches!(refused, Err(BlobError::LengthMismatch { .. })));
}

#[test]
fn record_blobs_prove_their_payload() {
    let blob = record_blob(TAG, b"records of a part");
    assert_eq!(open_records(&blob).unwrap(), b"records of a part");
    let header = BlobHeader::parse(&blob).unwrap();
    assert_eq!((header.kind, header.vault_tag), (Kind::Records, TAG));
    assert_eq!(header.chunk.as_bytes(), blake3::hash(b"records of a part").as_bytes());
    for bit in (0..blob.len() * 8).filter(|bit| !(64..192).contains(bit)) {
        let mut bad = blob.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(open_records(&bad).is_err(), "bit {bit}");
    }
    for cut in 0..blob.len() {
        assert!(open_records(&blob[..cut]).is_err());
    }
    assert!(matches!(
        open_records(&sealed(&dek(1), b"x", Compression::Never)),
        Err(BlobError::UnsupportedSuite { found: 1 })
    ));
}

#[test]
fn n49_a_weak_dek_is_refused_and_none_prints() {
    let id = DekId::from_bytes([1; 16]);
    assert!(SealingDek::new(id, [0; 64]).is_err());
    assert!(Dek::load(id, &[7; 64]).is_err());
    assert!(Dek::load(id, &noise(1, 63)).is_err());
    let printed = format!("{:?}", dek(1));
    assert!(printed.contains("[redacted]") && !printed.contains(&hex::encode(noise(1, 8))));
}
