//! Every decoder of statements, keys, envelopes and proofs on damaged and arbitrary bytes: it refuses, or it gives a
//! value whose one encoding these bytes are. It never panics and never guesses.

use std::fmt::Debug;

use proptest::prelude::*;
use strongroom_format::codec::{self, Format, FormatError};
use strongroom_format::command::{Command, Opened, OperatorCommand, SignedCommand};
use strongroom_format::enrolment::{CertificateWish, Redemption, SignedRedemption};
use strongroom_format::envelope::Envelope;
use strongroom_format::merkle::Frontier;
use strongroom_format::outcome::Outcome;
use strongroom_format::receipt::{AuditRecord, Checkpoint, Receipt, SignedCheckpoint};
use strongroom_format::records::Records;
use strongroom_format::sign::Signed;
use strongroom_format::statement::{FoundingRecord, IssuerAcceptance, VaultStatement, WriterCard};
use strongroom_format::wrap::DekWrap;

use crate::sample::{Log, Tenant, fixed};
use crate::{commands, enrolment, records};

/// What must hold for any bytes at all.
fn canonical_or_refused<T: Format>(bytes: &[u8]) {
    if let Ok(value) = codec::decode::<T>(bytes) {
        assert!(codec::encode(&value) == bytes, "{}: two encodings of one value: {}", T::NAME, hex::encode(bytes));
    }
}

fn survives_damage<T: Format + PartialEq + Debug>(value: &T) {
    let bytes = codec::encode(value);
    assert!(bytes.len() <= T::BYTES_MAX, "{}", T::NAME);
    assert_eq!(&codec::decode::<T>(&bytes).unwrap(), value);

    // Every cut and any rest; long values by steps, so that all of it takes seconds.
    for end in (0..bytes.len()).step_by(1 + bytes.len() / 2000) {
        assert!(codec::decode::<T>(&bytes[..end]).is_err(), "{} cut at {end}", T::NAME);
    }
    for rest in [0, 1, 0xff] {
        let longer = [bytes.as_slice(), &[rest]].concat();
        assert!(codec::decode::<T>(&longer).is_err(), "{} with a rest", T::NAME);
    }
    for bit in (0..bytes.len() * 8).step_by(1 + bytes.len() / 500) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        canonical_or_refused::<T>(&flipped);
    }
    for version in [0, T::VERSION + 1, 0xff] {
        let other = [&[version], &bytes[1..]].concat();
        let refused = FormatError::UnsupportedVersion { name: T::NAME, found: version, known: T::VERSION };
        assert_eq!(codec::decode::<T>(&other), Err(refused));
    }
    let long = vec![T::VERSION; T::BYTES_MAX + 1];
    assert!(matches!(codec::decode::<T>(&long), Err(FormatError::TooLong { .. })), "{}", T::NAME);
}

#[test]
fn n36_unknown_versions_cuts_rests_and_flipped_bits_are_refused() {
    let acme = Tenant::new("acme");
    survives_damage(&acme.founding());
    survives_damage(&acme.founding().sign(&acme.root).unwrap());
    survives_damage(&acme.statement());
    survives_damage(&Signed::new(&acme.statement(), acme.root.signing_key()).unwrap());
    survives_damage(&acme.card());
    survives_damage(&Signed::new(&acme.card(), acme.root.signing_key()).unwrap());
    survives_damage(&acme.wrap());
    survives_damage(&acme.envelope());
    survives_damage(&acme.signed_envelope());
    survives_damage(&acme.record());
    survives_damage(&acme.receipt().checkpoint);
    survives_damage(&acme.receipt());
    let strongroom_format::receipt::Receipt { checkpoint, signatures, .. } = acme.receipt();
    let voters = strongroom_format::receipt::Voters { keys: crate::sample::voters() };
    survives_damage(&voters);
    survives_damage(&SignedCheckpoint { checkpoint, voters, signatures });
    survives_damage(&records::sample(&acme));
    survives_damage(&enrolment::acceptance());
    for redemption in enrolment::redemptions() {
        survives_damage(&redemption.open().unwrap());
        survives_damage(&redemption);
    }
    survives_damage(&enrolment::wish());
    let mut log = Log::default();
    (0..11).for_each(|n: u8| log.append(strongroom_format::merkle::MerkleHash([n; 32])));
    survives_damage(&log.frontier);
}

#[test]
fn commands_and_outcomes_survive_damage() {
    for command in commands::commands() {
        survives_damage(&command);
        survives_damage(&strongroom_format::sign::sign_command(&command, &Tenant::new("acme").signing));
    }
    commands::operator_commands().iter().for_each(survives_damage);
    commands::outcomes().iter().for_each(survives_damage);
    survives_damage(&commands::opened());
}

fn all_decoders(bytes: &[u8]) {
    canonical_or_refused::<FoundingRecord>(bytes);
    canonical_or_refused::<Signed<FoundingRecord>>(bytes);
    canonical_or_refused::<VaultStatement>(bytes);
    canonical_or_refused::<Signed<VaultStatement>>(bytes);
    canonical_or_refused::<WriterCard>(bytes);
    canonical_or_refused::<DekWrap>(bytes);
    canonical_or_refused::<IssuerAcceptance>(bytes);
    canonical_or_refused::<Redemption>(bytes);
    canonical_or_refused::<SignedRedemption>(bytes);
    canonical_or_refused::<CertificateWish>(bytes);
    canonical_or_refused::<Envelope>(bytes);
    canonical_or_refused::<Signed<Envelope>>(bytes);
    canonical_or_refused::<AuditRecord>(bytes);
    canonical_or_refused::<Checkpoint>(bytes);
    canonical_or_refused::<SignedCheckpoint>(bytes);
    canonical_or_refused::<Receipt>(bytes);
    canonical_or_refused::<Records>(bytes);
    canonical_or_refused::<Frontier>(bytes);
    canonical_or_refused::<Command>(bytes);
    canonical_or_refused::<OperatorCommand>(bytes);
    canonical_or_refused::<SignedCommand>(bytes);
    canonical_or_refused::<Opened>(bytes);
    canonical_or_refused::<Outcome>(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_bytes_are_refused_or_canonical(mut bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        all_decoders(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        all_decoders(&bytes);
    }

    /// Small numbers make more of what looks like counts, tags and lengths.
    #[test]
    fn small_bytes_are_refused_or_canonical(rest in proptest::collection::vec(0_u8..20, 0..400)) {
        all_decoders(&[&[1], rest.as_slice()].concat());
    }

    #[test]
    fn spliced_values_are_refused_or_canonical(
        cut in 0_usize..4000,
        from in 0_usize..4000,
        which in 0_usize..7,
        other in 0_usize..7,
    ) {
        let samples = samples();
        let head = &samples[which];
        let tail = &samples[other];
        let spliced = [&head[..cut.min(head.len())], &tail[from.min(tail.len())..]].concat();
        all_decoders(&spliced);
    }
}

fn samples() -> &'static [Vec<u8>; 7] {
    static SAMPLES: std::sync::OnceLock<[Vec<u8>; 7]> = std::sync::OnceLock::new();
    SAMPLES.get_or_init(|| {
        let acme = Tenant::new("acme");
        [
            codec::encode(&acme.founding()),
            codec::encode(&acme.statement()),
            codec::encode(&acme.envelope()),
            codec::encode(&acme.receipt()),
            codec::encode(&records::sample(&acme)),
            codec::encode(&enrolment::redemptions()[1]),
            fixed::<64>("noise").to_vec(),
        ]
    })
}
