//! Key files: one text per key, no other reading; and what is derived from a writer key.

use strongroom_format::id::{KeyEpoch, TenantId, VaultId};
use strongroom_format::keys::{KeyFile, KeyFileError, RestorerKey, RestorerPublicKey, RootKey, WriterKey};
use strongroom_format::secret::WeakKey;
use strongroom_format::sign::SigningKey;

use crate::golden;
use crate::sample::{Tenant, fixed, identity};

#[test]
fn key_files_keep_their_text_and_are_read_back() {
    let acme = Tenant::new("acme");
    golden::text("root-key-1.txt", &acme.root.to_text());
    golden::text("signing-key-1.txt", &acme.signing.to_text());
    golden::text("writer-key-1.txt", &acme.writer.to_text());
    golden::text("restorer-key-1.txt", &acme.restorer.to_text());
    golden::text("restorer-public-key-1.txt", &acme.restorer.public_key().to_text());

    let root = RootKey::from_text(&acme.root.to_text()).unwrap();
    assert_eq!(root.public_key(), acme.root.public_key());
    let signing = SigningKey::from_text(&acme.signing.to_text()).unwrap();
    assert_eq!(signing.public_key(), acme.signing.public_key());
    assert_eq!(WriterKey::from_text(&acme.writer.to_text()).unwrap(), acme.writer);
    assert_eq!(RestorerKey::from_text(&acme.restorer.to_text()).unwrap(), acme.restorer);
    let public = acme.restorer.public_key();
    assert_eq!(RestorerPublicKey::from_text(&public.to_text()).unwrap(), public);
}

/// A file with these lines and a good check line.
fn file(lines: &[&str]) -> String {
    let mut text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let check = hex::encode(&blake3::hash(text.as_bytes()).as_bytes()[..8]);
    text.push_str(&format!("check {check}\n"));
    text
}

#[test]
fn n49_weak_keys_in_files_are_refused_at_load() {
    for (secret, why) in [
        ("00".repeat(32), WeakKey::Uniform),
        ("7f".repeat(32), WeakKey::Uniform),
        ("0102".repeat(8), WeakKey::WrongLength { expected: 32, found: 16 }),
        ("0102".repeat(32), WeakKey::WrongLength { expected: 32, found: 64 }),
        (String::new(), WeakKey::WrongLength { expected: 32, found: 0 }),
    ] {
        let secret = format!("secret {secret}");
        let tenant = format!("tenant {}", TenantId::from_bytes([3; 16]));
        let weak = Some(KeyFileError::Weak(why));
        assert_eq!(RootKey::from_text(&file(&["strongroom-root-key-1", &secret])).err(), weak);
        assert_eq!(SigningKey::from_text(&file(&["strongroom-signing-key-1", &secret])).err(), weak);
        let writer = file(&["strongroom-writer-key-1", &tenant, "writer web-1", "epoch 1", &secret]);
        assert_eq!(WriterKey::from_text(&writer).err(), weak);
        let restorer = file(&["strongroom-restorer-key-1", "identity rita", &secret]);
        assert_eq!(RestorerKey::from_text(&restorer).err(), weak);
    }
    let public = file(&["strongroom-restorer-public-key-1", "identity rita", &format!("public {}", "ff".repeat(1216))]);
    assert_eq!(RestorerPublicKey::from_text(&public), Err(WeakKey::NoUsablePublicKey.into()));
    let short = file(&["strongroom-restorer-public-key-1", "identity rita", &format!("public {}", "01".repeat(32))]);
    let wrong = WeakKey::WrongLength { expected: 1216, found: 32 };
    assert_eq!(RestorerPublicKey::from_text(&short), Err(wrong.into()));
}

#[test]
fn what_is_written_differently_is_refused() {
    let secret = format!("secret {}", hex::encode(fixed::<32>("secret")));
    let upper = format!("secret {}", hex::encode_upper(fixed::<32>("secret")));
    let tenant = format!("tenant {}", TenantId::from_bytes([3; 16]));
    let good = ["strongroom-writer-key-1", &tenant, "writer web-1", "epoch 7", &secret];
    assert!(WriterKey::from_text(&file(&good)).is_ok());
    let read = |at: usize, line: &str| {
        let mut lines = good;
        lines[at] = line;
        WriterKey::from_text(&file(&lines)).unwrap_err()
    };
    let other = KeyFileError::OtherKind { expected: "strongroom-writer-key-1" };
    assert_eq!(read(0, "strongroom-writer-key-2"), other);
    assert_eq!(read(0, "strongroom-root-key-1"), other);
    assert_eq!(read(0, " strongroom-writer-key-1"), other);
    let epoch = KeyFileError::Malformed { line: 4, field: "epoch" };
    for line in ["epoch 0", "epoch", "epoch -1", "epoch x", "epoch 4294967296", "EPOCH 7", "epoch\t7"] {
        assert_eq!(read(3, line), epoch, "{line}");
    }
    for line in ["epoch 07", "epoch +7"] {
        assert!(matches!(read(3, line), KeyFileError::Malformed { .. }), "{line}");
    }
    assert!(matches!(read(4, &upper), KeyFileError::Malformed { .. }));
    assert!(matches!(read(4, &format!("{secret} ")), KeyFileError::Malformed { .. }));
    assert!(matches!(read(2, "writer Web"), KeyFileError::Malformed { line: 3, field: "writer" }));
    assert!(matches!(read(2, "writer admin"), KeyFileError::Malformed { line: 3, field: "writer" }));

    let text = file(&good);
    let check = KeyFileError::Malformed { line: 6, field: "check" };
    assert_eq!(WriterKey::from_text(text.trim_end()), Err(check.clone()));
    assert_eq!(WriterKey::from_text(&format!("{text}\n")), Err(check.clone()));
    assert_eq!(WriterKey::from_text(&format!("{text}note\n")), Err(check));
    assert!(WriterKey::from_text(&text.replace('\n', "\r\n")).is_err());
    assert!(WriterKey::from_text("").is_err());
}

#[test]
fn every_altered_byte_of_a_key_file_is_noticed() {
    let acme = Tenant::new("acme");
    let text = acme.writer.to_text();
    for at in 0..text.len() {
        for replacement in ["0", "f", "\n", " "] {
            let altered = format!("{}{replacement}{}", &text[..at], &text[at + 1..]);
            if altered != *text {
                assert!(WriterKey::from_text(&altered).is_err(), "byte {at}");
            }
        }
        assert!(WriterKey::from_text(&text[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn a_writer_key_gives_each_vault_keys_of_its_own() {
    let acme = Tenant::new("acme");
    let keys = acme.writer.in_vault(&acme.vault);
    golden::text(
        "writer-domain-1.txt",
        &format!(
            "domain {}\nid key {}\nlength key {}\nsender key {}\ncache key {}\n",
            keys.domain,
            hex::encode(keys.id_key.expose()),
            hex::encode(keys.length_key.expose()),
            hex::encode(keys.sender_key.expose()),
            hex::encode(acme.writer.cache_key().expose()),
        ),
    );
    // Documented: BLAKE3's derive-key mode over secret ‖ tenant ‖ vault.
    let secret = fixed::<32>("acme writer");
    let material = [secret.as_slice(), acme.id.as_bytes(), acme.vault.as_bytes()].concat();
    let id_key = blake3::derive_key("strongroom 2026-11 writer id key 1", &material);
    assert_eq!(keys.id_key.expose(), &id_key);

    let elsewhere = [
        acme.writer.in_vault(&VaultId::from_bytes([1; 16])),
        WriterKey::from_secret(TenantId::from_bytes([1; 16]), identity("web-1"), KeyEpoch(1), secret)
            .unwrap()
            .in_vault(&acme.vault),
        WriterKey::from_secret(acme.id, identity("web-1"), KeyEpoch(2), fixed("new secret"))
            .unwrap()
            .in_vault(&acme.vault),
    ];
    for other in elsewhere {
        assert_ne!(other.domain, keys.domain);
        assert_ne!(other.id_key, keys.id_key);
        assert_ne!(other.length_key, keys.length_key);
        assert_ne!(other.sender_key, keys.sender_key);
    }
    assert_ne!(keys.id_key.secret(), keys.sender_key.secret());
    assert_ne!(keys.id_key.secret(), keys.length_key.secret());
}
