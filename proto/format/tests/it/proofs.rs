//! Merkle proofs and receipts.

use proptest::prelude::*;
use strongroom_format::code::Strength;
use strongroom_format::codec;
use strongroom_format::id::{ClusterEpoch, GroupId, PolicyVersion, ReplicaId, SnapshotId, TenantTag, VaultId};
use strongroom_format::merkle::{
    self, BadProof, MerkleHash, ProofError, Salt, leaf_hash, node_hash, verify_consistency, verify_inclusion,
};
use strongroom_format::receipt::{
    AuditEvent, AuditRecord, BadReceipt, Expired, Receipt, ReceiptTrust, SignedCheckpoint, Voters,
};
use strongroom_format::sign::BadSignature;

use crate::golden;
use crate::sample::{Log, Tenant, cluster, digest, fixed, identity, member, snapshot, voters};

fn log_of(leaves: u64) -> Log {
    let mut log = Log::default();
    (0..leaves).for_each(|n| log.append(leaf(n)));
    log
}

fn leaf(n: u64) -> MerkleHash {
    MerkleHash(fixed(&format!("leaf {n}")))
}

/// RFC 6962 §2.1, word for word.
fn tree_head(leaves: &[MerkleHash]) -> MerkleHash {
    match leaves {
        [one] => *one,
        _ => {
            let mut k = 1;
            while 2 * k < leaves.len() {
                k *= 2;
            }
            node_hash(&tree_head(&leaves[..k]), &tree_head(&leaves[k..]))
        }
    }
}

/// The leaves and roots of the published tests of Certificate Transparency's Merkle trees. Our leaves have a salt; an
/// RFC 6962 leaf of 16 bytes or more is one whose first 16 bytes are the salt.
#[test]
fn the_tree_is_that_of_rfc_6962() {
    let hash = |text: &str| MerkleHash(hex::decode(text).unwrap().try_into().unwrap());
    assert_eq!(
        Log::default().frontier.root(),
        hash("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    );
    let bytes: [u8; 16] = hex::decode("606162636465666768696a6b6c6d6e6f").unwrap().try_into().unwrap();
    let salted = leaf_hash(&Salt(bytes), b"");
    assert_eq!(salted, hash("46f6ffadd3d06a09ff3c5860d2755c8b9819db7df44251788c7d8e3180de8eb1"));
    // The roots over the leaves "", 00, 10, 2021, 3031, 40414243, 5051…57, 6061…6f.
    let leaves = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7",
        "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "4271a26be0d8a84f0bd54c8c302e7cb3a3b5d1fa6780a40bcce2873477dab658",
        "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut log = Log::default();
    for (leaf, root) in leaves.into_iter().map(hash).chain([salted]).zip(roots) {
        log.append(leaf);
        assert_eq!(log.frontier.root(), hash(root));
    }
}

#[test]
fn every_leaf_of_every_small_tree_can_be_proved_and_nothing_else() {
    let log = log_of(40);
    let leaves: Vec<_> = (0..40).map(leaf).collect();
    for size in 1..=40_u64 {
        let root = merkle::root_of(size, |at| log.read(at)).unwrap();
        assert_eq!(root, tree_head(&leaves[..size as usize]));
        for index in 0..size {
            let proof = log.inclusion(index, size);
            assert_eq!(verify_inclusion(index, size, &leaf(index), &proof, &root), Ok(()));
            for other in (0..size + 2).filter(|other| *other != index) {
                assert_eq!(verify_inclusion(other, size, &leaf(index), &proof, &root), Err(BadProof));
            }
            assert_eq!(verify_inclusion(index, size, &leaf(99), &proof, &root), Err(BadProof));
            let mut longer = proof.clone();
            longer.push(leaf(1));
            assert_eq!(verify_inclusion(index, size, &leaf(index), &longer, &root), Err(BadProof));
            for at in 0..proof.len() {
                let mut altered = proof.clone();
                altered[at].0[7] ^= 1;
                assert_eq!(verify_inclusion(index, size, &leaf(index), &altered, &root), Err(BadProof));
                altered.remove(at);
                assert_eq!(verify_inclusion(index, size, &leaf(index), &altered, &root), Err(BadProof));
            }
        }
    }
    assert_eq!(merkle::inclusion_proof(7, 7, |at| log.read(at)), Err(ProofError::OutOfRange));
    assert!(matches!(merkle::inclusion_proof(50, 64, |at| log.read(at)), Err(ProofError::Read(_))));
}

#[test]
fn every_beginning_of_every_small_tree_can_be_proved_and_nothing_else() {
    let log = log_of(40);
    let root = |size: u64| merkle::root_of(size, |at| log.read(at)).unwrap();
    for new in 0..=40_u64 {
        for old in 0..=new {
            let proof = log.consistency(old, new);
            assert_eq!(verify_consistency(old, new, &root(old), &root(new), &proof), Ok(()), "{old} {new}");
            let stranger = leaf(99);
            assert_eq!(verify_consistency(old, new, &stranger, &root(new), &proof), Err(BadProof));
            if old != 0 {
                assert_eq!(verify_consistency(old, new, &root(old), &stranger, &proof), Err(BadProof));
            }
            for at in 0..proof.len() {
                let mut altered = proof.clone();
                altered[at].0[0] ^= 0x80;
                assert_eq!(verify_consistency(old, new, &root(old), &root(new), &altered), Err(BadProof));
                altered.remove(at);
                assert_eq!(verify_consistency(old, new, &root(old), &root(new), &altered), Err(BadProof));
            }
            let mut longer = proof.clone();
            longer.push(leaf(1));
            assert_eq!(verify_consistency(old, new, &root(old), &root(new), &longer), Err(BadProof));
        }
        assert_eq!(merkle::consistency_proof(new + 1, new, |at| log.read(at)), Err(ProofError::OutOfRange));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn proofs_of_larger_trees_hold(size in 41_u64..3000, a in any::<u64>(), b in any::<u64>()) {
        let log = log_of(size);
        let root = log.frontier.root();
        let (index, old) = (a % size, b % (size + 1));
        prop_assert_eq!(verify_inclusion(index, size, &leaf(index), &log.inclusion(index, size), &root), Ok(()));
        let old_root = merkle::root_of(old, |at| log.read(at)).unwrap();
        prop_assert_eq!(verify_consistency(old, size, &old_root, &root, &log.consistency(old, size)), Ok(()));
    }

    #[test]
    fn arbitrary_proofs_do_not_hold(
        index in any::<u64>(),
        size in any::<u64>(),
        proof in proptest::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let proof: Vec<_> = proof.into_iter().map(MerkleHash).collect();
        prop_assert_eq!(verify_inclusion(index, size, &leaf(1), &proof, &leaf(2)), Err(BadProof));
        prop_assert_eq!(verify_consistency(index, size, &leaf(1), &leaf(2), &proof), Err(BadProof));
    }
}

fn trust(voters: &std::collections::BTreeMap<ReplicaId, strongroom_format::id::PublicKey>) -> ReceiptTrust<'_> {
    ReceiptTrust {
        cluster: cluster(),
        tenant: Tenant::new("acme").tag,
        voters,
        signatures_min: ReceiptTrust::majority(voters.len()),
    }
}

fn check(receipt: &Receipt) -> Result<(), BadReceipt> {
    let envelope = Tenant::new("acme").signed_envelope().digest();
    let voters = voters();
    let committed = receipt.verify(snapshot(), &envelope, &trust(&voters))?;
    assert_eq!((committed.snapshot, committed.envelope), (snapshot(), envelope));
    Ok(())
}

#[test]
fn a_receipt_proves_its_snapshot_with_nothing_but_public_keys() {
    let receipt = Tenant::new("acme").receipt();
    assert_eq!(check(&receipt), Ok(()));
    golden::bytes("receipt-1", &codec::encode(&receipt));
    golden::bytes("checkpoint-1", &codec::encode(&receipt.checkpoint));
    let voters = Voters { keys: voters() };
    golden::bytes("voters-1", &codec::encode(&voters));
    let Receipt { checkpoint, signatures, .. } = receipt;
    golden::bytes("signed-checkpoint-1", &codec::encode(&SignedCheckpoint { checkpoint, voters, signatures }));
    golden::bytes("merkle-frontier-1", &codec::encode(&log_of(11).frontier));
}

#[test]
fn audit_records_keep_their_bytes() {
    let record = Tenant::new("acme").record();
    golden::bytes("audit-record-committed-1", &codec::encode(&record));
    let decision = AuditEvent::Decision {
        kind: 14,
        principal: identity("web-1"),
        subject: snapshot().as_bytes().to_vec(),
        allowed: false,
        reason: "signature".into(),
    };
    golden::bytes("audit-record-decision-1", &codec::encode(&AuditRecord { event: decision, ..record.clone() }));
    let batch = AuditEvent::Batch { kind: 11, count: 4096, digest: digest("batch") };
    golden::bytes("audit-record-batch-1", &codec::encode(&AuditRecord { event: batch, ..record.clone() }));
    let expired = AuditEvent::Expired(Expired {
        snapshot: snapshot(),
        vault: VaultId::from_bytes(fixed("vault")),
        policy: PolicyVersion(3),
        committed_clock_ms: 1_790_000_000_000,
        clock_ms: 1_800_000_000_000,
    });
    golden::bytes("audit-record-expired-1", &codec::encode(&AuditRecord { event: expired, ..record }));
}

#[test]
fn n134_a_receipt_without_a_majority_s_signatures_is_not_accepted() {
    let good = Tenant::new("acme").receipt();
    let with = |n: usize| Receipt { signatures: good.signatures[..n].to_vec(), ..good.clone() };
    assert_eq!(check(&with(2)), Err(BadReceipt::TooFewSignatures { found: 2, needed: 3 }));
    assert_eq!(check(&with(0)), Err(BadReceipt::TooFewSignatures { found: 0, needed: 3 }));
    // Nobody's signature is never enough, whatever the caller asks for.
    let voters = voters();
    let none_needed = ReceiptTrust { signatures_min: 0, ..trust(&voters) };
    let digest = Tenant::new("acme").signed_envelope().digest();
    assert!(with(0).verify(snapshot(), &digest, &none_needed).is_err());
}

#[test]
fn n134_a_checkpoint_is_that_of_a_majority_of_the_voters_that_it_names() {
    let Receipt { checkpoint, signatures, .. } = Tenant::new("acme").receipt();
    let good = SignedCheckpoint { checkpoint, voters: Voters { keys: voters() }, signatures };
    assert_eq!(good.verify(), Ok(()));
    let with = |n: usize| SignedCheckpoint { signatures: good.signatures[..n].to_vec(), ..good.clone() };
    assert_eq!(with(2).verify(), Err(BadReceipt::TooFewSignatures { found: 2, needed: 3 }));
    // Others put in the voters' place sign nothing: the checkpoint's signatures cover who the voters are.
    let mut other = good.clone();
    other.voters.keys.insert(ReplicaId(9), member(9).public_key());
    assert_eq!(other.verify(), Err(BadReceipt::Voters));
    let mut twice = good.clone();
    twice.signatures = vec![good.signatures[0].clone(); 3];
    assert_eq!(twice.verify(), Err(BadReceipt::TooFewSignatures { found: 1, needed: 3 }));
    assert!(codec::decode::<SignedCheckpoint>(&codec::encode(&twice)).is_err());
}

#[test]
fn n134_signatures_of_strangers_twice_or_over_something_else_do_not_count() {
    let good = Tenant::new("acme").receipt();
    let signed_by = |signatures: [(u64, u64); 3]| {
        let sign = |(name, key): (u64, u64)| good.checkpoint.sign(ReplicaId(name), &member(key));
        Receipt { signatures: signatures.map(sign).to_vec(), ..good.clone() }
    };
    assert_eq!(check(&signed_by([(1, 1), (3, 3), (5, 5)])), Ok(()));
    let bad = Err(BadReceipt::Signature(BadSignature));
    assert_eq!(check(&signed_by([(1, 1), (2, 2), (6, 6)])), bad, "no voter");
    assert_eq!(check(&signed_by([(1, 1), (2, 2), (2, 2)])), bad, "twice");
    assert_eq!(check(&signed_by([(1, 1), (2, 2), (3, 2)])), bad, "another's key");
    let mut older = good.checkpoint.clone();
    older.log_index -= 1;
    let mut receipt = good.clone();
    receipt.signatures[0] = older.sign(ReplicaId(1), &member(1));
    assert_eq!(check(&receipt), bad, "another checkpoint");
}

#[test]
fn n134_a_receipt_about_something_else_or_for_an_entry_that_is_not_in_the_log_is_not_accepted() {
    let good = Tenant::new("acme").receipt();
    let foreign = Err(BadReceipt::Foreign);
    let digest = Tenant::new("acme").signed_envelope().digest();
    let voters = voters();
    let trust = trust(&voters);
    assert_eq!(good.verify(SnapshotId::from_bytes([1; 16]), &digest, &trust).map(drop), foreign);
    assert_eq!(good.verify(snapshot(), &crate::sample::digest("other"), &trust).map(drop), foreign);
    let other = ReceiptTrust { cluster: ClusterEpoch::from_bytes([1; 16]), ..trust };
    assert_eq!(good.verify(snapshot(), &digest, &other).map(drop), foreign);
    let other = ReceiptTrust { tenant: TenantTag::from_bytes([1; 16]), ..trust };
    assert_eq!(good.verify(snapshot(), &digest, &other).map(drop), foreign);
    let mut elsewhere = good.clone();
    elsewhere.record.group = GroupId(9);
    assert_eq!(check(&elsewhere), foreign);
    let mut later = good.clone();
    later.record.place.index = later.checkpoint.log_index + 1;
    assert_eq!(check(&later), foreign, "the signers had not applied it");

    let proof = Err(BadReceipt::Proof(BadProof));
    let mut stronger = good.clone();
    if let AuditEvent::Committed(committed) = &mut stronger.record.event {
        committed.strength = Strength { regions: 2, nodes: 4 };
    }
    assert_eq!(check(&stronger), proof, "members vouch for less");
    let mut altered = good.clone();
    altered.record.wall_unix_ms += 1;
    assert_eq!(check(&altered), proof, "an entry that never was");
    assert_eq!(check(&Receipt { salt: Salt([1; 16]), ..good.clone() }), proof);
    assert_eq!(check(&Receipt { leaf_index: 7, ..good.clone() }), proof);
    assert_eq!(check(&Receipt { proof: Vec::new(), ..good.clone() }), proof);
}
