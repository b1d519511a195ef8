//! Wraps: who opens what, and that everything else does not open.

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use strongroom_format::codec;
use strongroom_format::id::{DekId, DomainId, KeyEpoch, TenantId, VaultId};
use strongroom_format::keys::{RestorerKey, SenderKey};
use strongroom_format::secret::Secret;
use strongroom_format::statement::WriterCard;
use strongroom_format::wrap::{CardPlace, DekWrap, VaultKeyPair};
use strongroom_format::xwing::{DoesNotOpen, Psk, Wrapped, XWingKey};

use crate::golden;
use crate::sample::{Tenant, fixed, identity};

#[test]
fn a_recipient_opens_the_vault_the_card_and_the_session_key() {
    let acme = Tenant::new("acme");
    let pair = acme.statement().open_vault_key(&acme.restorer).unwrap();
    assert_eq!(pair, acme.pair);
    let keys = acme.card().open_keys(&pair).unwrap();
    assert_eq!(keys, acme.writer.in_vault(&acme.vault));
    let wrap = acme.wrap();
    golden::bytes("dek-wrap-1", &codec::encode(&wrap));
    let dek = wrap.open(wrap.dek, &acme.card().place(), &keys.sender_key, &pair).unwrap();
    assert_eq!(dek, acme.dek());
}

#[test]
fn who_is_no_recipient_opens_no_vault() {
    let (acme, globex) = (Tenant::new("acme"), Tenant::new("globex"));
    assert_eq!(acme.statement().open_vault_key(&globex.restorer), Err(DoesNotOpen), "same name, another key");
    let stranger = RestorerKey::from_secret(identity("zoe"), fixed("zoe")).unwrap();
    assert_eq!(acme.statement().open_vault_key(&stranger), Err(DoesNotOpen));
    // Another recipient's wrap under one's own name.
    let mut swapped = acme.statement();
    swapped.recipients[0].wrapped_vault_key = swapped.recipients[1].wrapped_vault_key.clone();
    assert_eq!(swapped.open_vault_key(&acme.restorer), Err(DoesNotOpen));
    // A wrap of another vault's key, made for this recipient.
    let mut other_key = acme.statement();
    other_key.public_key = globex.pair.public_key().clone();
    assert_eq!(other_key.open_vault_key(&acme.restorer), Err(DoesNotOpen));
}

#[test]
fn n51_a_wrapped_vault_key_replayed_into_another_vault_or_tenant_does_not_open() {
    let (acme, globex) = (Tenant::new("acme"), Tenant::new("globex"));
    let mut elsewhere = acme.statement();
    elsewhere.vault = globex.vault;
    assert_eq!(elsewhere.open_vault_key(&acme.restorer), Err(DoesNotOpen));
    let mut elsewhere = acme.statement();
    elsewhere.tenant = globex.id;
    assert_eq!(elsewhere.open_vault_key(&acme.restorer), Err(DoesNotOpen));
}

#[test]
fn n51_a_writer_card_s_keys_do_not_open_in_another_place() {
    let (acme, globex) = (Tenant::new("acme"), Tenant::new("globex"));
    let card = acme.card();
    assert!(card.open_keys(&acme.pair).is_ok());
    let altered = [
        WriterCard { tenant: globex.id, ..card.clone() },
        WriterCard { vault: globex.vault, ..card.clone() },
        WriterCard { domain: DomainId::from_bytes([1; 16]), ..card.clone() },
        WriterCard { writer: identity("web-2"), ..card.clone() },
        WriterCard { epoch: KeyEpoch(2), ..card.clone() },
    ];
    for card in altered {
        assert_eq!(card.open_keys(&acme.pair), Err(DoesNotOpen), "{card:?}");
    }
    assert_eq!(card.open_keys(&globex.pair), Err(DoesNotOpen));
}

#[test]
fn n51_a_session_key_replayed_into_another_tenant_vault_domain_writer_epoch_or_name_does_not_open() {
    let (acme, globex) = (Tenant::new("acme"), Tenant::new("globex"));
    let wrap = acme.wrap();
    let card = acme.card();
    let place = card.place();
    let sender = acme.writer.in_vault(&acme.vault).sender_key;
    let open = |dek: DekId, place: &CardPlace<'_>, sender: &SenderKey, pair: &VaultKeyPair| {
        wrap.open(dek, place, sender, pair).map(drop)
    };
    assert_eq!(open(wrap.dek, &place, &sender, &acme.pair), Ok(()));
    let no = Err(DoesNotOpen);
    let (web_2, other) = (identity("web-2"), DekId::from_bytes([1; 16]));
    assert_eq!(open(other, &place, &sender, &acme.pair), no);
    let moved = CardPlace { tenant: TenantId::from_bytes([1; 16]), ..place };
    assert_eq!(open(wrap.dek, &moved, &sender, &acme.pair), no);
    let moved = CardPlace { vault: VaultId::from_bytes([1; 16]), ..place };
    assert_eq!(open(wrap.dek, &moved, &sender, &acme.pair), no);
    let moved = CardPlace { domain: DomainId::from_bytes([1; 16]), ..place };
    assert_eq!(open(wrap.dek, &moved, &sender, &acme.pair), no);
    let moved = CardPlace { writer: &web_2, ..place };
    assert_eq!(open(wrap.dek, &moved, &sender, &acme.pair), no);
    let moved = CardPlace { epoch: KeyEpoch(2), ..place };
    assert_eq!(open(wrap.dek, &moved, &sender, &acme.pair), no);
    assert_eq!(open(wrap.dek, &place, &sender, &globex.pair), no);
    let foreign = globex.writer.in_vault(&acme.vault).sender_key;
    assert_eq!(open(wrap.dek, &place, &foreign, &acme.pair), no);
}

#[test]
fn n120_a_session_key_wrapped_with_public_knowledge_only_does_not_open() {
    let acme = Tenant::new("acme");
    let card = acme.card();
    let sender = acme.writer.in_vault(&acme.vault).sender_key;
    // Whoever has statement, card and an old wrap knows every field and the vault's public key, but no sender key.
    let guessed = SenderKey::from_secret(fixed("guess")).unwrap();
    let dek = acme.dek();
    let forged = DekWrap::seal(&dek, &card.place(), &guessed, acme.pair.public_key(), fixed("forger"));
    assert_eq!(forged.open(dek.id(), &card.place(), &sender, &acme.pair), Err(DoesNotOpen));
    // Nor does base mode under the same info pass for PSK mode.
    let info = [b"strongroom/dek/1\0".as_slice(), &borsh::to_vec(&(card.place(), dek.id())).unwrap()].concat();
    let base = acme.pair.public_key().seal(&info, dek.key().expose(), fixed("forger"));
    let forged = DekWrap { wrapped: base, ..forged };
    assert_eq!(forged.open(dek.id(), &card.place(), &sender, &acme.pair), Err(DoesNotOpen));
}

#[test]
fn every_flipped_bit_of_a_wrap_is_refused() {
    let acme = Tenant::new("acme");
    let card = acme.card();
    let sender = acme.writer.in_vault(&acme.vault).sender_key;
    let wrap = acme.wrap();
    let opens = |wrapped: Wrapped| {
        DekWrap { wrapped, ..wrap.clone() }.open(wrap.dek, &card.place(), &sender, &acme.pair).is_ok()
    };
    assert!(opens(wrap.wrapped.clone()));
    for bit in 0..wrap.wrapped.ciphertext.len() * 8 {
        let mut flipped = wrap.wrapped.clone();
        flipped.ciphertext[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(flipped), "bit {bit}");
    }
    for bit in (0..1120 * 8).step_by(61) {
        let mut flipped = wrap.wrapped.clone();
        flipped.encapped[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(flipped), "bit {bit} of the encapsulated key");
    }
    for end in 0..wrap.wrapped.ciphertext.len() {
        let mut cut = wrap.wrapped.clone();
        cut.ciphertext.truncate(end);
        assert!(!opens(cut), "cut at {end}");
    }
}

/// The first vector of draft-connolly-cfrg-xwing-kem: seed, public key (its SHA-256), encapsulation's random bytes,
/// ciphertext (its SHA-256) and shared secret.
mod xwing_vector {
    pub const SEED: &str = "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26";
    pub const ENTROPY: &str = "3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e2\
                               35b8cc873c23dc62b8d260169afa2f75ab916a58d974918835d25e6a435085b2";
    pub const SHARED: &str = "d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384";
    pub const PUBLIC_SHA256: &str = "2e816deebcd76c5c80d0cd2d174478871658e8e2ff42bc9d4a6e486372e856bb";
    pub const ENCAPPED_SHA256: &str = "17cd532d657e44c897ca6583e548a5424fc70bf54f99515a4d2bcf99e3469f33";
}

fn unhex<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// RFC 9180 §5.1 with KEM 0x647a, KDF 1, AEAD 2, written out: key and nonce of the first message.
fn key_schedule(mode: u8, shared: &[u8], info: &[u8], psk: &[u8], psk_id: &[u8]) -> ([u8; 32], [u8; 12]) {
    let suite = [b"HPKE".as_slice(), &[0x64, 0x7a, 0, 1, 0, 2]].concat();
    let extract = |salt: &[u8], label: &str, ikm: &[u8]| {
        let labeled = [b"HPKE-v1", suite.as_slice(), label.as_bytes(), ikm].concat();
        Hkdf::<Sha256>::extract(Some(salt), &labeled)
    };
    let context =
        [&[mode], &extract(&[], "psk_id_hash", psk_id).0[..], &extract(&[], "info_hash", info).0[..]].concat();
    let (_, secret) = extract(shared, "secret", psk);
    let expand = |label: &str, out: &mut [u8]| {
        let length = u16::try_from(out.len()).unwrap().to_be_bytes();
        let labeled = [&length, b"HPKE-v1".as_slice(), &suite, label.as_bytes(), &context].concat();
        secret.expand(&labeled, out).unwrap();
    };
    let (mut key, mut nonce) = ([0; 32], [0; 12]);
    expand("key", &mut key);
    expand("base_nonce", &mut nonce);
    (key, nonce)
}

#[test]
fn our_hpke_is_the_standard_s() {
    let key = XWingKey::from_secret(unhex(xwing_vector::SEED)).unwrap();
    let public = key.public_key();
    assert_eq!(hex::encode(Sha256::digest(public.as_bytes())), xwing_vector::PUBLIC_SHA256);
    let psk = Secret::new(fixed("psk")).unwrap();
    let shared: [u8; 32] = unhex(xwing_vector::SHARED);
    let encrypt = |(key, nonce): ([u8; 32], [u8; 12])| {
        Aes256Gcm::new(&Key::<Aes256Gcm>::from(key)).encrypt(&Nonce::from(nonce), b"plaintext".as_slice()).unwrap()
    };

    let base = public.seal(b"info", b"plaintext", unhex(xwing_vector::ENTROPY));
    assert_eq!(hex::encode(Sha256::digest(base.encapped.as_slice())), xwing_vector::ENCAPPED_SHA256);
    assert_eq!(base.ciphertext, encrypt(key_schedule(0, &shared, b"info", b"", b"")));

    let named = Psk { key: &psk, id: b"id" };
    let proved = public.seal_from(named, b"info", b"plaintext", unhex(xwing_vector::ENTROPY));
    assert_eq!(proved.encapped, base.encapped);
    assert_eq!(proved.ciphertext, encrypt(key_schedule(1, &shared, b"info", psk.expose(), b"id")));
    assert_eq!(key.open(b"info", &base).unwrap().as_slice(), b"plaintext");
    assert_eq!(key.open_from(named, b"info", &proved).unwrap().as_slice(), b"plaintext");
    assert_eq!(key.open(b"info", &proved), Err(DoesNotOpen));
    assert_eq!(key.open(b"other", &base), Err(DoesNotOpen));
}
