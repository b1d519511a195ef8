//! What a tenant can hold in hand: audit records, checkpoints that members sign, and the receipt of a snapshot.
//!
//!     record ─salt, leaf hash─▶ tenant's Merkle tree ─root─▶ checkpoint ◀─signatures of members, after their apply
//!     receipt = record (envelope digest, strength reached) + proof + checkpoint + signatures
//!
//! A receipt is checked with the members' public keys and nothing else. What was reached stands in the record, so the
//! members vouch for that too. Not here: what is recorded when (`node/core`).

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::code::{Code, Strength};
use crate::codec::{self, Format};
use crate::command::MemberSignature;
use crate::id::{
    ClusterEpoch, Digest, GroupId, IdentityId, Place, PolicyVersion, PublicKey, ReplicaId, SnapshotId, TenantTag,
    VaultId,
};
use crate::merkle::{self, BadProof, MerkleHash, Salt};
use crate::sign::{self, BadSignature, SigningKey};

/// What a leaf of a tenant's audit log is about.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AuditRecord {
    /// The group that decided.
    pub group: GroupId,
    /// Where in that group's log.
    pub place: Place,
    /// The group's elapsed clock, in milliseconds.
    pub elapsed_ms: u64,
    /// The wall clock of the entry's leader in milliseconds since 1970: a label.
    pub wall_unix_ms: i64,
    /// What happened.
    pub event: AuditEvent,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum AuditEvent {
    /// A snapshot was committed.
    Committed(Committed) = 1,
    /// Something was decided.
    Decision {
        /// Which kind of command: the number of its variant in [`crate::command::Body`] (from 0), plus 0x8000 for
        /// those of [`crate::command::OperatorBody`]; 0x2000: the redemption of a token (`enrolment.rs`).
        kind: u16,
        /// Who asked.
        principal: IdentityId,
        /// What it was about: canonical ids, at most [`AuditEvent::SUBJECT_BYTES_MAX`] bytes.
        subject: Vec<u8>,
        /// Whether it was done.
        allowed: bool,
        /// Why not, or the reason that was given; at most [`AuditEvent::REASON_BYTES_MAX`] bytes.
        reason: String,
    } = 2,
    /// Many things at once: data-plane batches, or refusals beyond the rate.
    Batch {
        /// As in [`AuditEvent::Decision`]; plus 0x4000 where they were refused.
        kind: u16,
        /// How many.
        count: u64,
        /// `BLAKE3(digest of those before ‖ canonical record)`, from zeros.
        digest: Digest,
    } = 3,
    /// A snapshot ended because its vault's policy keeps it no longer. Nobody asked for it.
    Expired(Expired) = 4,
}

/// A snapshot that its vault's policy kept no longer, and by what that was decided.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Expired {
    /// Which.
    pub snapshot: SnapshotId,
    /// Its vault.
    pub vault: VaultId,
    /// The policy in force.
    pub policy: PolicyVersion,
    /// The compliance clock at its commit, in milliseconds since 1970: what keep rules go by.
    pub committed_clock_ms: u64,
    /// The compliance clock when it ended, in milliseconds since 1970.
    pub clock_ms: u64,
}

impl Expired {
    /// Who ended it, for people: the policy.
    pub fn by(&self) -> String {
        format!("policy {}", self.policy.0)
    }

    /// Why, for people.
    pub const REASON: &str = "no lock, hold or keep rule kept it";
}

/// A committed snapshot and how strongly it lay at that moment.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Committed {
    /// Which.
    pub snapshot: SnapshotId,
    /// The digest of its envelope, whose signature was verified before.
    pub envelope: Digest,
    /// What it survives: the least strength among its parts.
    pub strength: Strength,
    /// Fragments of its blobs that lie in another slot than their own, by reference, over all parts.
    pub handed_over: u64,
    /// Fragments of its blobs that lie nowhere yet, by reference, over all parts.
    pub missing: u64,
}

impl AuditEvent {
    /// Longest subject.
    pub const SUBJECT_BYTES_MAX: usize = 1024;
    /// Longest reason.
    pub const REASON_BYTES_MAX: usize = 1024;
}

impl AuditRecord {
    /// The record's leaf.
    pub fn leaf(&self, salt: &Salt) -> MerkleHash {
        merkle::leaf_hash(salt, &codec::encode(self))
    }
}

impl Format for AuditRecord {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 4096;
    const NAME: &'static str = "audit record";

    fn check(&self) -> Result<(), &'static str> {
        match &self.event {
            AuditEvent::Committed(_) | AuditEvent::Batch { .. } | AuditEvent::Expired(_) => Ok(()),
            AuditEvent::Decision { subject, reason, .. } => {
                let fits =
                    subject.len() <= AuditEvent::SUBJECT_BYTES_MAX && reason.len() <= AuditEvent::REASON_BYTES_MAX;
                if fits { Ok(()) } else { Err("subject or reason is too long") }
            }
        }
    }
}

/// The state of a tenant's audit log at one moment. Members sign it after their own apply.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Checkpoint {
    /// The cluster epoch.
    pub cluster: ClusterEpoch,
    /// The tenant's home shard.
    pub group: GroupId,
    /// The tenant, opaque.
    pub tenant: TenantTag,
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: MerkleHash,
    /// A log index that every signer had applied.
    pub log_index: u64,
    /// [`Voters::digest`] of the group's voters, as the signers' rows have them: so whoever knows a majority of the
    /// voters learns from it who replaced the others.
    pub voters: Digest,
}

impl Checkpoint {
    /// A member's signature over the checkpoint.
    pub fn sign(&self, replica: ReplicaId, key: &SigningKey) -> MemberSignature {
        MemberSignature { replica, signature: key.sign(Self::NAME, &codec::encode(self)) }
    }

    /// Whether the member with this key signed the checkpoint.
    pub fn verify(&self, signature: &MemberSignature, key: &PublicKey) -> Result<(), BadSignature> {
        sign::verify(key, Self::NAME, &codec::encode(self), &signature.signature)
    }
}

impl Format for Checkpoint {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 + 16 + 4 + 16 + 8 + 32 + 8 + 32;
    const NAME: &'static str = "checkpoint";
}

/// The voters of a group and the keys with which they sign.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Voters {
    /// By the voter's identity in the group.
    pub keys: BTreeMap<ReplicaId, PublicKey>,
}

impl Voters {
    /// At most so many.
    pub const MAX: usize = 64;

    /// More than half of them.
    pub fn majority(&self) -> usize {
        ReceiptTrust::majority(self.keys.len())
    }

    /// What checkpoints call the set: BLAKE3 of its canonical bytes.
    pub fn digest(&self) -> Digest {
        Digest::from_bytes(*blake3::hash(&codec::encode(self)).as_bytes())
    }

    /// How many of these voters have signed the checkpoint, each counted once. Others' signatures are passed over.
    pub fn signed(&self, checkpoint: &Checkpoint, signatures: &[MemberSignature]) -> usize {
        let good = |signature: &&MemberSignature| {
            self.keys.get(&signature.replica).is_some_and(|key| checkpoint.verify(signature, key).is_ok())
        };
        let signers: BTreeSet<ReplicaId> = signatures.iter().filter(good).map(|signature| signature.replica).collect();
        signers.len()
    }
}

impl Format for Voters {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 + 4 + Self::MAX * (8 + 32);
    const NAME: &'static str = "voters";

    fn check(&self) -> Result<(), &'static str> {
        if self.keys.len() <= Self::MAX { Ok(()) } else { Err("too many voters") }
    }
}

/// A checkpoint with its signatures and who the voters are: what a client keeps of a log.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedCheckpoint {
    /// The state of the log.
    pub checkpoint: Checkpoint,
    /// The voters that the checkpoint names by their digest.
    pub voters: Voters,
    /// Sorted by replica.
    pub signatures: Vec<MemberSignature>,
}

impl SignedCheckpoint {
    /// Whether a majority of the voters that it names has signed it. Whether they are the voters is not in it: somebody
    /// who knew the voters before compares.
    pub fn verify(&self) -> Result<(), BadReceipt> {
        if self.voters.digest() != self.checkpoint.voters {
            return Err(BadReceipt::Voters);
        }
        let (found, needed) = (self.voters.signed(&self.checkpoint, &self.signatures), self.voters.majority());
        if found < needed { Err(BadReceipt::TooFewSignatures { found, needed }) } else { Ok(()) }
    }
}

impl Format for SignedCheckpoint {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = Checkpoint::BYTES_MAX + Voters::BYTES_MAX + 4 + Voters::MAX * (8 + 64);
    const NAME: &'static str = "signed checkpoint";

    fn check(&self) -> Result<(), &'static str> {
        if Voters::MAX < self.voters.keys.len() || Voters::MAX < self.signatures.len() {
            return Err("too many voters or signatures");
        }
        match self.signatures.is_sorted_by(|a, b| a.replica < b.replica) {
            true => Ok(()),
            false => Err("signatures are not sorted, or a member signed twice"),
        }
    }
}

/// The proof that a snapshot is committed, and how strongly it lay then; or that it has ended.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Receipt {
    /// Its leaf's number in the tenant's log.
    pub leaf_index: u64,
    /// The leaf's salt.
    pub salt: Salt,
    /// The leaf's record: an [`AuditEvent::Committed`], or once the snapshot has ended, the
    /// decision that ended it or an [`AuditEvent::Expired`].
    pub record: AuditRecord,
    /// From the leaf to the checkpoint's root.
    pub proof: Vec<MerkleHash>,
    /// The state of the log that covers the leaf.
    pub checkpoint: Checkpoint,
    /// The code of the home shard, as the answering node says.
    pub code: Code,
    /// Members' signatures over the checkpoint, sorted by replica.
    pub signatures: Vec<MemberSignature>,
}

/// Against what a receipt is checked: what the caller knows from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct ReceiptTrust<'a> {
    /// The cluster epoch.
    pub cluster: ClusterEpoch,
    /// The tenant's opaque tag.
    pub tenant: TenantTag,
    /// The keys of the voters of the home shard.
    pub voters: &'a BTreeMap<ReplicaId, PublicKey>,
    /// How many of them must have signed; [`ReceiptTrust::majority`] in general.
    pub signatures_min: usize,
}

impl ReceiptTrust<'_> {
    /// More than half of the voters.
    pub fn majority(voters: usize) -> usize {
        voters / 2 + 1
    }
}

/// Why a receipt proves nothing. The snapshot may be committed all the same: ask for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReceipt {
    /// About another snapshot, envelope, tenant or cluster.
    #[error("the receipt is about something else")]
    Foreign,
    /// The checkpoint names other voters than those that are known.
    #[error("the receipt's checkpoint names other voters than are known")]
    Voters,
    /// The leaf is not in the log that the checkpoint describes.
    #[error("the receipt's proof does not hold")]
    Proof(#[from] BadProof),
    /// A signature is false, from a stranger, or there twice.
    #[error("a signature in the receipt is not that of the member that it names")]
    Signature(#[from] BadSignature),
    /// Too few members have signed.
    #[error("the receipt has {found} signatures, {needed} are needed")]
    TooFewSignatures {
        /// How many are there.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
}

impl Receipt {
    /// At most so many hashes in a proof.
    pub const PROOF_MAX: usize = 64;
    /// At most so many signatures.
    pub const SIGNATURES_MAX: usize = 64;

    /// What members vouch for: that the snapshot with this envelope is in the tenant's log, and what was reached.
    pub fn verify(
        &self,
        snapshot: SnapshotId,
        envelope: &Digest,
        trust: &ReceiptTrust<'_>,
    ) -> Result<&Committed, BadReceipt> {
        let AuditEvent::Committed(committed) = &self.record.event else {
            return Err(BadReceipt::Foreign);
        };
        let ours = committed.snapshot == snapshot
            && committed.envelope == *envelope
            && self.record.group == self.checkpoint.group
            && self.record.place.index <= self.checkpoint.log_index
            && self.checkpoint.cluster == trust.cluster
            && self.checkpoint.tenant == trust.tenant;
        if !ours {
            return Err(BadReceipt::Foreign);
        }
        if (Voters { keys: trust.voters.clone() }).digest() != self.checkpoint.voters {
            return Err(BadReceipt::Voters);
        }
        let leaf = self.record.leaf(&self.salt);
        merkle::verify_inclusion(self.leaf_index, self.checkpoint.size, &leaf, &self.proof, &self.checkpoint.root)?;
        let needed = trust.signatures_min.max(1);
        if self.signatures.len() < needed {
            return Err(BadReceipt::TooFewSignatures { found: self.signatures.len(), needed });
        }
        if !self.signatures.is_sorted_by(|a, b| a.replica < b.replica) {
            return Err(BadSignature.into());
        }
        for signature in &self.signatures {
            let key = trust.voters.get(&signature.replica).ok_or(BadSignature)?;
            self.checkpoint.verify(signature, key)?;
        }
        Ok(committed)
    }
}

impl Format for Receipt {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 16 << 10;
    const NAME: &'static str = "receipt";

    fn check(&self) -> Result<(), &'static str> {
        if matches!(self.record.event, AuditEvent::Batch { .. }) {
            return Err("its record is not that of one decision");
        }
        if self.proof.len() > Self::PROOF_MAX {
            return Err("the proof is too long");
        }
        if self.signatures.len() > Self::SIGNATURES_MAX {
            return Err("too many signatures");
        }
        match self.signatures.is_sorted_by(|a, b| a.replica < b.replica) {
            true => Ok(()),
            false => Err("signatures are not sorted, or a member signed twice"),
        }
    }
}
