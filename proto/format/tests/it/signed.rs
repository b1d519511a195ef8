//! What is signed: statements, cards, envelopes, commands. Whose key, which kind, which bytes.

use strongroom_format::chunk::Chunking;
use strongroom_format::codec::{self, Format, FormatError};
use strongroom_format::command::{Command, OperatorCommand, SignedCommand};
use strongroom_format::envelope::{BadMac, Envelope};
use strongroom_format::gathered::{Gathered, NamedStream, Whole};
use strongroom_format::id::{GroupId, KeyEpoch, PublicKey, Signature, StatementVersion, TreeId};
use strongroom_format::role::Role;
use strongroom_format::secret::WeakKey;
use strongroom_format::sign::{
    self, BadSignature, Signed, SignedError, SigningKey, sign_command, sign_operator_command, unsigned_command,
    verify_command, verify_operator_command,
};
use strongroom_format::statement::{FoundingRecord, UnknownSuite, VaultMode, VaultStatement, WriterCard};

use crate::sample::{HOME, Tenant, fixed, identity};
use crate::{commands, golden};

fn malformed<T: Format + std::fmt::Debug + PartialEq>(value: &T) {
    let refused = codec::decode::<T>(&codec::encode(value));
    assert!(matches!(refused, Err(FormatError::Malformed { .. })), "{refused:?}");
    // Nobody signs what nobody would read.
    assert!(Signed::new(value, &Tenant::new("acme").signing).is_err());
}

#[test]
fn signed_formats_keep_their_bytes() {
    let acme = Tenant::new("acme");
    golden::bytes("founding-record-1", &codec::encode(&acme.founding().sign(&acme.root).unwrap()));
    let statement = Signed::new(&acme.statement(), acme.root.signing_key()).unwrap();
    golden::bytes("vault-statement-1", &codec::encode(&statement));
    golden::bytes("writer-card-1", &codec::encode(&Signed::new(&acme.card(), acme.root.signing_key()).unwrap()));
    golden::bytes("envelope-1", &codec::encode(&acme.signed_envelope()));
    golden::text(
        "digests-1.txt",
        &format!(
            "writer card {}\nenvelope {}\nvault statement {}\n",
            acme.card().digest(),
            acme.envelope().digest(),
            statement.digest()
        ),
    );
}

#[test]
fn a_signature_covers_name_and_payload_as_documented() {
    let key = Tenant::new("acme").signing;
    let signature = key.sign("envelope", b"payload");
    let public = ed25519_dalek::VerifyingKey::from_bytes(key.public_key().as_bytes()).unwrap();
    let plain = ed25519_dalek::Signature::from_bytes(&signature.0);
    public.verify_strict(b"strongroom/envelope\0payload", &plain).unwrap();
    assert_eq!(
        sign::digest("envelope", b"payload").as_bytes(),
        blake3::hash(b"strongroom/envelope\0payload").as_bytes()
    );
}

#[test]
fn a_signature_over_one_kind_is_none_over_another() {
    let key = Tenant::new("acme").signing;
    let public = key.public_key();
    let signature = key.sign("envelope", b"payload");
    assert_eq!(sign::verify(&public, "envelope", b"payload", &signature), Ok(()));
    assert_eq!(sign::verify(&public, "command", b"payload", &signature), Err(BadSignature));
    assert_eq!(sign::verify(&public, "envelope", b"payloae", &signature), Err(BadSignature));
    assert_ne!(sign::digest("envelope", b"payload"), sign::digest("command", b"payload"));
}

#[test]
fn every_flipped_bit_of_a_signed_value_is_refused() {
    let acme = Tenant::new("acme");
    let bytes = codec::encode(&acme.founding().sign(&acme.root).unwrap());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(FoundingRecord::open(&flipped).is_err(), "bit {bit}");
    }
    let signed = codec::encode(&acme.signed_envelope());
    for bit in 0..signed.len() * 8 {
        let mut flipped = signed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let opened = codec::decode::<Signed<Envelope>>(&flipped).map(|it| it.open(&acme.signing.public_key()));
        assert!(!matches!(opened, Ok(Ok(_))), "bit {bit}");
    }
}

#[test]
fn n44_provenance_by_another_key_or_of_another_tenant_is_refused() {
    let (acme, globex) = (Tenant::new("acme"), Tenant::new("globex"));
    let bad = SignedError::Signature(BadSignature);
    let card = Signed::new(&acme.card(), acme.root.signing_key()).unwrap();
    assert_eq!(card.open(&acme.root.public_key()), Ok(acme.card()));
    assert_eq!(card.open(&globex.root.public_key()), Err(bad.clone()));
    // Not by the writer itself: its own key signs envelopes, not cards.
    let own = Signed::new(&acme.card(), &acme.signing).unwrap();
    assert_eq!(own.open(&acme.root.public_key()), Err(bad.clone()));
    assert_eq!(acme.signed_envelope().open(&globex.signing.public_key()), Err(bad));
}

#[test]
fn n119_a_vault_statement_with_a_bad_signature_another_recipient_or_an_unknown_suite_gives_nothing() {
    let (acme, globex) = (Tenant::new("acme"), Tenant::new("globex"));
    let signed = Signed::new(&acme.statement(), globex.root.signing_key()).unwrap();
    assert_eq!(signed.open(&acme.root.public_key()), Err(BadSignature.into()));
    let mut other_key = acme.statement();
    other_key.recipients[0].public_key = globex.restorer.public_key().public_key;
    let original = Signed::new(&acme.statement(), acme.root.signing_key()).unwrap();
    let mut bytes = codec::encode(&original);
    let at = bytes.windows(16).position(|w| w == &acme.restorer.public_key().public_key.as_bytes()[..16]).unwrap();
    bytes[at..at + 1216].copy_from_slice(other_key.recipients[0].public_key.as_bytes());
    let altered: Signed<VaultStatement> = codec::decode(&bytes).unwrap();
    assert_eq!(altered.unverified().unwrap(), other_key);
    assert_eq!(altered.open(&acme.root.public_key()), Err(BadSignature.into()));

    let unknown = VaultStatement { suite: 2, ..acme.statement() };
    assert_eq!(unknown.require_known_suite(), Err(UnknownSuite { suite: 2 }));
    assert_eq!(acme.statement().require_known_suite(), Ok(()));
    // The root may sign it: a later software reads it.
    assert!(Signed::new(&unknown, acme.root.signing_key()).is_ok());
}

#[test]
fn a_founding_record_is_signed_by_the_root_that_it_names() {
    let (acme, globex) = (Tenant::new("acme"), Tenant::new("globex"));
    let bytes = codec::encode(&acme.founding().sign(&acme.root).unwrap());
    assert_eq!(FoundingRecord::open(&bytes), Ok(acme.founding()));
    assert!(acme.founding().sign(&globex.root).is_err());
    let foreign = codec::encode(&Signed::new(&acme.founding(), globex.root.signing_key()).unwrap());
    assert_eq!(FoundingRecord::open(&foreign), Err(BadSignature.into()));
}

#[test]
fn founding_records_with_unsorted_doubled_or_missing_identities_are_refused() {
    let good = Tenant::new("acme").founding();
    malformed(&FoundingRecord { identities: Vec::new(), ..good.clone() });
    malformed(&FoundingRecord { version: StatementVersion(0), ..good.clone() });
    let mut swapped = good.clone();
    swapped.identities.swap(0, 1);
    malformed(&swapped);
    let mut twice = good.clone();
    twice.approvers.push(twice.approvers[0].clone());
    malformed(&twice);
    let mut no_role = good.clone();
    no_role.identities[0].roles.clear();
    malformed(&no_role);
    let mut unsorted = good.clone();
    unsorted.identities[0].roles = vec![Role::Admin, Role::Writer];
    malformed(&unsorted);
    let mut many = good.clone();
    many.identities = (0..65)
        .map(|n| strongroom_format::statement::FoundingIdentity {
            identity: format!("m-{n:02}").parse().unwrap(),
            ..good.identities[0].clone()
        })
        .collect();
    malformed(&many);
    let nobody = FoundingRecord { approvers: Vec::new(), ..good };
    assert_eq!(codec::decode::<FoundingRecord>(&codec::encode(&nobody)), Ok(nobody), "no approvers are possible");
}

#[test]
fn vault_statements_outside_their_bounds_are_refused() {
    let good = Tenant::new("acme").statement();
    malformed(&VaultStatement { version: StatementVersion(0), ..good.clone() });
    malformed(&VaultStatement { recipients: Vec::new(), ..good.clone() });
    malformed(&VaultStatement { mode: VaultMode::Hardened, ..good.clone() });
    malformed(&VaultStatement { chunking: Chunking::Hardened, ..good.clone() });
    let mut swapped = good.clone();
    swapped.recipients.swap(0, 1);
    malformed(&swapped);
    let mut cut = good.clone();
    cut.recipients[0].wrapped_vault_key.ciphertext.pop();
    malformed(&cut);
    let hardened = VaultStatement { mode: VaultMode::Hardened, chunking: Chunking::Hardened, ..good };
    assert_eq!(codec::decode::<VaultStatement>(&codec::encode(&hardened)), Ok(hardened));
}

#[test]
fn writer_cards_outside_their_bounds_are_refused() {
    let good = Tenant::new("acme").card();
    malformed(&WriterCard { epoch: KeyEpoch(0), ..good.clone() });
    malformed(&WriterCard { statement_version: StatementVersion(0), ..good.clone() });
    malformed(&WriterCard { signing_key: PublicKey::from_bytes([0; 32]), ..good.clone() });
    let mut cut = good;
    cut.sealed_keys.ciphertext.pop();
    malformed(&cut);
}

#[test]
fn envelopes_outside_their_bounds_are_refused() {
    let good = Tenant::new("acme").envelope();
    malformed(&Envelope { classification: "x".repeat(65), ..good.clone() });
    malformed(&Envelope { classification: "a\tb".into(), ..good.clone() });
    malformed(&Envelope { purpose: "x".repeat(257), ..good.clone() });
    malformed(&Envelope { summary: vec![0; Envelope::SUMMARY_BYTES_MAX + 1], ..good.clone() });
    malformed(&Envelope { parts: Vec::new(), ..good.clone() });
    malformed(&Envelope { tags: (0..65).map(|n| (n.to_string(), String::new())).collect(), ..good.clone() });
    malformed(&Envelope { tags: [(String::new(), "value".into())].into(), ..good.clone() });
    malformed(&Envelope { tags: [("key".into(), "v".repeat(257))].into(), ..good.clone() });
    malformed(&Envelope { deks: vec![good.deks[0]; 2], ..good.clone() });
    let mut swapped = good.clone();
    swapped.parts.swap(0, 1);
    malformed(&swapped);
    let mut counts_nothing = good.clone();
    counts_nothing.parts[1].chunk_refs = 1;
    malformed(&counts_nothing);

    let whole = |streams| Envelope {
        gathered: Gathered::Whole(Whole { streams, ..Tenant::new("acme").whole() }),
        ..good.clone()
    };
    let named =
        |name: String| NamedStream { name: name.parse().unwrap(), ..Tenant::new("acme").whole().streams[0].clone() };
    let many = |count: u32| (0..count).map(|n| named(format!("{}{n:04}", "s".repeat(59)))).collect::<Vec<_>>();
    malformed(&whole(Vec::new()));
    malformed(&whole(vec![named("b".into()), named("a".into())]));
    malformed(&whole(vec![named("a".into()), named("a".into())]));
    malformed(&whole(many(257)));
    let widest = NamedStream { writer: identity(&"w".repeat(63)), ..named("a".into()) };
    let streams: Vec<_> =
        many(256).into_iter().map(|stream| NamedStream { name: stream.name, ..widest.clone() }).collect();
    let all_streams = whole(streams).gathered;

    let largest = Envelope {
        gathered: all_streams,
        label: "l".repeat(1024).parse().unwrap(),
        classification: "c".repeat(64),
        purpose: "p".repeat(256),
        tags: (0..64).map(|n| (format!("{n:0128}"), "v".repeat(256))).collect(),
        deks: (0..256).map(|n| strongroom_format::id::DekId::from_bytes([n as u8; 16])).collect(),
        parts: (0..1024)
            .map(|n| strongroom_format::envelope::PartRoot { group: GroupId(n), ..good.parts[0] })
            .collect(),
        summary: vec![7; Envelope::SUMMARY_BYTES_MAX],
        ..good
    };
    assert_eq!(codec::decode::<Envelope>(&codec::encode(&largest)), Ok(largest), "all bounds at once still fit");
}

#[test]
fn an_envelope_s_mac_is_its_writer_s_and_covers_every_byte() {
    let (acme, globex) = (Tenant::new("acme"), Tenant::new("globex"));
    let envelope = acme.envelope();
    let keys = acme.writer.in_vault(&acme.vault);
    assert_eq!(envelope.verify_mac(&keys.sender_key), Ok(()));
    assert_eq!(envelope.verify_mac(&globex.writer.in_vault(&acme.vault).sender_key), Err(BadMac));
    assert_eq!(envelope.verify_mac(&acme.writer.in_vault(&globex.vault).sender_key), Err(BadMac));
    let later = Envelope { client_time_unix_ms: envelope.client_time_unix_ms + 1, ..envelope.clone() };
    assert_eq!(later.verify_mac(&keys.sender_key), Err(BadMac));
    // Whoever has only the signing key makes a good signature and no MAC.
    let resigned = Signed::new(&later, &acme.signing).unwrap();
    assert!(resigned.open(&acme.signing.public_key()).unwrap().verify_mac(&keys.sender_key).is_err());
    assert_eq!(acme.signed_envelope().digest(), envelope.digest());
}

#[test]
fn an_envelope_names_the_roots_of_each_shard_in_order() {
    let envelope = Tenant::new("acme").envelope();
    let root = |name: &str| TreeId::from_bytes(fixed(name));
    assert_eq!(envelope.roots_in(GroupId(1), HOME), [root("part 1"), root("manifest root")]);
    assert_eq!(envelope.roots_in(GroupId(2), HOME), []);
    assert_eq!(envelope.roots_in(GroupId(2), GroupId(2)), [root("manifest root")]);
    assert_eq!(envelope.roots_in(GroupId(3), HOME), [root("part 3")]);
    assert_eq!(envelope.roots_in(GroupId(4), HOME), []);
}

#[test]
fn n107_a_command_without_with_a_foreign_or_with_an_altered_signature_is_refused() {
    let (acme, globex) = (Tenant::new("acme"), Tenant::new("globex"));
    let key = acme.signing.public_key();
    for command in commands::commands() {
        let signed = sign_command(&command, &acme.signing);
        assert_eq!(codec::decode::<Command>(&signed.command), Ok(command.clone()));
        assert_eq!(verify_command(&signed, &key), Ok(()));
        assert_eq!(verify_command(&signed, &globex.signing.public_key()), Err(BadSignature));
        assert_eq!(verify_command(&unsigned_command(&command), &key), Err(BadSignature));
        let other = Command { sequence: command.sequence + 1, ..command.clone() };
        let altered = SignedCommand { command: codec::encode(&other), ..signed.clone() };
        assert_eq!(verify_command(&altered, &key), Err(BadSignature), "used again under another number");
        assert_eq!(verify_operator_command(&signed, &key), Err(BadSignature), "another kind");
    }
    let operator: OperatorCommand = commands::operator_commands().remove(0);
    let signed = sign_operator_command(&operator, &acme.signing);
    assert_eq!(verify_operator_command(&signed, &key), Ok(()));
    assert_eq!(verify_command(&signed, &key), Err(BadSignature));
}

#[test]
fn odd_public_keys_and_signatures_never_verify() {
    // A small-order key verifies anything where checks are lenient: R = identity, s = 0.
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut forged = [0; 64];
    forged[0] = 1;
    let small = PublicKey::from_bytes(identity);
    assert_eq!(sign::verify(&small, "envelope", b"anything", &Signature(forged)), Err(BadSignature));
    assert_eq!(sign::usable(&small), Err(WeakKey::NoUsablePublicKey));
    // y = p + 18 is a second spelling of y = 18.
    let twice = PublicKey::from_bytes([0xff; 32]);
    assert!(ed25519_dalek::VerifyingKey::from_bytes(twice.as_bytes()).is_ok());
    assert_eq!(sign::usable(&twice), Err(WeakKey::NoUsablePublicKey));
    let key = Tenant::new("acme").signing;
    assert_eq!(sign::usable(&key.public_key()), Ok(()));

    // s + L is the same signature to who does not reduce.
    let good = key.sign("envelope", b"payload");
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut carry = 0;
    let mut twin = good;
    for (byte, add) in twin.0[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(sign::verify(&key.public_key(), "envelope", b"payload", &good), Ok(()));
    assert_eq!(sign::verify(&key.public_key(), "envelope", b"payload", &twin), Err(BadSignature));
}

#[test]
fn n49_weak_signing_keys_are_refused() {
    assert_eq!(SigningKey::from_secret([0; 32]).unwrap_err(), WeakKey::Uniform);
    assert_eq!(SigningKey::from_secret([9; 32]).unwrap_err(), WeakKey::Uniform);
}

#[test]
fn private_keys_do_not_print() {
    let acme = Tenant::new("acme");
    let printed = format!("{:?} {:?} {:?} {:?} {:?}", acme.root, acme.signing, acme.writer, acme.restorer, acme.pair);
    let printed = format!("{printed} {:?} {:?}", acme.writer.in_vault(&acme.vault), acme.dek());
    let domain = acme.writer.in_vault(&acme.vault);
    for secret in [
        acme.root.signing_key().expose().as_slice(),
        acme.signing.expose(),
        acme.restorer.key().secret().expose(),
        domain.id_key.expose(),
        domain.length_key.expose(),
        domain.sender_key.expose(),
        acme.dek().key().expose(),
    ] {
        assert!(!printed.contains(&hex::encode(&secret[..4])), "{printed}");
        assert!(!printed.contains(&format!("{:?}", &secret[..4])[1..12]), "{printed}");
    }
}
