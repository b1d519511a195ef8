//! The envelope: the open facts of a snapshot, MACed under the writer's sender key and signed with its signing key.
//!
//!     fields, mac = 0 ──keyed BLAKE3(sender key)──▶ mac ──encode──▶ payload ──Ed25519──▶ Signed<Envelope>
//!
//! The signature is what nodes and everybody else check; the MAC is what restorers check with the key from the writer's
//! card, so that whoever steals only a signing key makes nothing that is restored.
//!
//! Roots, in the order of `SealPart`: in the home shard the content root, if any runs lie there, then the manifest root;
//! in every other shard the content root. Not here: whether what it says is true (`node/core`).

use std::collections::BTreeMap;
use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::codec::{self, Format};
use crate::gathered::Gathered;
use crate::id::{
    ClusterEpoch, DekId, Digest, DomainId, GroupId, IdentityId, KeyEpoch, PolicyVersion, SetVersion, SnapshotId,
    StatementVersion, TenantId, TreeId, VaultId,
};
use crate::keys::SenderKey;
use crate::label::Label;
use crate::lock::LockTerms;
use crate::sign;

/// The open facts of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Envelope {
    /// The cluster epoch in which it was made.
    pub cluster: ClusterEpoch,
    /// The tenant.
    pub tenant: TenantId,
    /// The vault.
    pub vault: VaultId,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The writer.
    pub writer: IdentityId,
    /// The writer's key epoch.
    pub key_epoch: KeyEpoch,
    /// The writer's domain in this vault.
    pub domain: DomainId,
    /// The digest of the writer's card.
    pub card: Digest,
    /// The version of the vault statement that the writer checked.
    pub statement_version: StatementVersion,
    /// The version of the policy that the writer saw.
    pub policy_version: PolicyVersion,
    /// The snapshot's name within its writer.
    pub label: Label,
    /// For people and their rules; at most [`Envelope::CLASSIFICATION_BYTES_MAX`] bytes, no control characters.
    pub classification: String,
    /// For people and their rules; at most [`Envelope::PURPOSE_BYTES_MAX`] bytes, no control characters.
    pub purpose: String,
    /// At most [`Envelope::TAGS_MAX`]; keys of 1 to 128 bytes, values of at most 256, no control characters.
    pub tags: BTreeMap<String, String>,
    /// The lock that the writer asks for, where it may.
    pub requested_lock: Option<LockTerms>,
    /// The session keys made in this upload, sorted, at most [`Envelope::DEKS_MAX`].
    pub deks: Vec<DekId>,
    /// The version of the tenant's shard set by which the runs were placed.
    pub set_version: SetVersion,
    /// The manifest stream, indexed in the home shard.
    pub manifest: ManifestRoot,
    /// What each shard holds of the content, sorted by group, at least one, at most [`Envelope::PARTS_MAX`].
    pub parts: Vec<PartRoot>,
    /// The snapshot that this one follows.
    pub parent: Option<SnapshotId>,
    /// Whether it stands alone, is one writer's stream of a whole, or a whole.
    pub gathered: Gathered,
    /// A summary of the manifest, sealed by the client; at most [`Envelope::SUMMARY_BYTES_MAX`] bytes.
    pub summary: Vec<u8>,
    /// The client's wall clock in milliseconds since 1970: a label, never a rule.
    pub client_time_unix_ms: i64,
    /// Keyed BLAKE3 under the sender key over the canonical bytes with these 32 bytes zero.
    pub mac: Mac,
}

/// The root of the manifest's tree, and what lies below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ManifestRoot {
    /// The root.
    pub root: TreeId,
    /// Stored bytes below it.
    pub stored_bytes: u64,
    /// Chunk references below it.
    pub chunk_refs: u64,
}

/// What a shard holds of a snapshot's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PartRoot {
    /// The shard.
    pub group: GroupId,
    /// The content root there; `None`: no runs lie there, and both counts are zero.
    pub root: Option<TreeId>,
    /// Stored bytes below it.
    pub stored_bytes: u64,
    /// Chunk references below it.
    pub chunk_refs: u64,
}

/// A MAC: compared in constant time.
#[derive(Clone, Copy, BorshSerialize, BorshDeserialize)]
pub struct Mac([u8; 32]);

/// The envelope was not made by a holder of the writer's sender key, or was altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the envelope's MAC does not fit: its writer did not make it")]
pub struct BadMac;

impl Mac {
    /// No MAC yet.
    pub const ZERO: Mac = Mac([0; 32]);
}

impl PartialEq for Mac {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Mac {}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({}…)", hex::encode(&self.0[..4]))
    }
}

impl Envelope {
    /// Longest classification.
    pub const CLASSIFICATION_BYTES_MAX: usize = 64;
    /// Longest purpose.
    pub const PURPOSE_BYTES_MAX: usize = 256;
    /// At most so many tags.
    pub const TAGS_MAX: usize = 64;
    /// Longest key of a tag.
    pub const TAG_KEY_BYTES_MAX: usize = 128;
    /// Longest value of a tag.
    pub const TAG_VALUE_BYTES_MAX: usize = 256;
    /// At most so many session keys made in one upload.
    pub const DEKS_MAX: usize = 256;
    /// At most so many parts.
    pub const PARTS_MAX: usize = 1024;
    /// Longest sealed summary.
    pub const SUMMARY_BYTES_MAX: usize = 64 << 10;

    /// The envelope with its MAC under the writer's sender key.
    pub fn with_mac(mut self, sender_key: &SenderKey) -> Self {
        self.mac = self.mac_under(sender_key);
        self
    }

    /// Whether a holder of the writer's sender key made the envelope.
    pub fn verify_mac(&self, sender_key: &SenderKey) -> Result<(), BadMac> {
        if self.mac == self.mac_under(sender_key) { Ok(()) } else { Err(BadMac) }
    }

    /// The envelope's digest, which its audit leaf and receipt name. Equal to that of its signed form.
    pub fn digest(&self) -> Digest {
        sign::digest_of(self)
    }

    /// The roots that a shard must have sealed, in order.
    pub fn roots_in(&self, group: GroupId, home: GroupId) -> Vec<TreeId> {
        let content = self.parts.iter().find(|part| part.group == group).and_then(|part| part.root);
        let manifest = (group == home).then_some(self.manifest.root);
        content.into_iter().chain(manifest).collect()
    }

    fn mac_under(&self, sender_key: &SenderKey) -> Mac {
        let bytes = codec::encode(&Self { mac: Mac::ZERO, ..self.clone() });
        let mut hasher = blake3::Hasher::new_keyed(sender_key.expose());
        hasher.update(&bytes);
        let mac = Mac(*hasher.finalize().as_bytes());
        hasher.zeroize();
        mac
    }
}

impl Format for Envelope {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 256 << 10;
    const NAME: &'static str = "envelope";

    fn check(&self) -> Result<(), &'static str> {
        let text = |text: &str, bytes_max: usize| text.len() <= bytes_max && !text.chars().any(char::is_control);
        if !text(&self.classification, Self::CLASSIFICATION_BYTES_MAX) {
            return Err("the classification is too long or has control characters");
        }
        if !text(&self.purpose, Self::PURPOSE_BYTES_MAX) {
            return Err("the purpose is too long or has control characters");
        }
        if self.tags.len() > Self::TAGS_MAX {
            return Err("too many tags");
        }
        for (key, value) in &self.tags {
            if key.is_empty() || !text(key, Self::TAG_KEY_BYTES_MAX) || !text(value, Self::TAG_VALUE_BYTES_MAX) {
                return Err("a tag is empty, too long or has control characters");
            }
        }
        if self.deks.len() > Self::DEKS_MAX || !self.deks.is_sorted_by(|a, b| a < b) {
            return Err("session keys are too many, not sorted, or one is named twice");
        }
        if self.parts.is_empty() || self.parts.len() > Self::PARTS_MAX {
            return Err("no part, or too many");
        }
        if !self.parts.is_sorted_by(|a, b| a.group < b.group) {
            return Err("parts are not sorted, or one is named twice");
        }
        if self.parts.iter().any(|part| part.root.is_none() && (part.stored_bytes, part.chunk_refs) != (0, 0)) {
            return Err("a part without a root counts something");
        }
        if self.summary.len() > Self::SUMMARY_BYTES_MAX {
            return Err("the summary is too long");
        }
        self.gathered.check()
    }
}
