//! What a tenant's root key signs: the founding record, vault statements, writer cards and acceptances of issuing CAs.
//!
//!     root key ─signs─▶ founding record     who the tenant is, its first identities and approvers
//!              ─signs─▶ vault statement     a vault's public key and its recipients, versioned
//!              ─signs─▶ writer card         one writer's keys in one vault, sealed to the vault
//!              ─signs─▶ issuer acceptance   that a CA may issue certificates for the tenant
//!
//! Nodes store them and check the signature; clients check it again against the root key that they pin. Lists are
//! sorted and free of repetitions, or the bytes are refused. Not here: which version follows which (`node/core`), the
//! highest version seen (`client`).

use borsh::{BorshDeserialize, BorshSerialize};

use crate::chunk::Chunking;
use crate::codec::{self, Format, FormatError};
use crate::id::{
    ClusterEpoch, Digest, DomainId, IdentityId, KeyEpoch, PublicKey, StatementVersion, TenantId, TenantName, TenantTag,
    VaultId, VaultName, VaultTag,
};
use crate::keys::{DomainKeys, RestorerKey, RestorerPublicKey, RootKey, WriterKey};
use crate::role::Role;
use crate::sign::{self, Signed, SignedError};
use crate::wrap::{CardPlace, VaultKeyPair, VaultKeyPlace};
use crate::xwing::{DoesNotOpen, Entropy, TAG_BYTES, Wrapped, XWingPublicKey};

/// Who a tenant is. Made before the tenant exists in any cluster; self-contained: it names the key that signs it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct FoundingRecord {
    /// Random, chosen by the tenant.
    pub tenant: TenantId,
    /// Its name.
    pub name: TenantName,
    /// What fragment headers and checkpoints carry in its place: random, opaque.
    pub tag: TenantTag,
    /// The root key that signs this record and everything after it.
    pub root: PublicKey,
    /// Counts the record's versions, from 1.
    pub version: StatementVersion,
    /// The first identities, sorted by id, at least one, at most [`FoundingRecord::IDENTITIES_MAX`].
    pub identities: Vec<FoundingIdentity>,
    /// The first approvers, sorted by id; may be empty.
    pub approvers: Vec<FoundingIdentity>,
}

/// An identity that exists from the beginning.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct FoundingIdentity {
    /// Its id.
    pub identity: IdentityId,
    /// Its roles, sorted, at least one.
    pub roles: Vec<Role>,
    /// Its signing key.
    pub signing_key: PublicKey,
}

impl FoundingRecord {
    /// At most so many identities, and so many approvers.
    pub const IDENTITIES_MAX: usize = 64;

    /// Signs the record with the root key that it names; refuses another key.
    pub fn sign(&self, root: &RootKey) -> Result<Signed<Self>, FormatError> {
        if self.root != root.public_key() {
            return Err(FormatError::Malformed { name: Self::NAME, why: "it names another root key".into() });
        }
        Signed::new(self, root.signing_key())
    }

    /// Reads a signed record and verifies it with the root key that it names itself. That proves possession of the
    /// key, not whose it is: a client compares `root` with what it pins.
    pub fn open(bytes: &[u8]) -> Result<Self, SignedError> {
        let signed: Signed<Self> = codec::decode(bytes)?;
        let root = signed.unverified()?.root;
        signed.open(&root)
    }
}

impl Format for FoundingRecord {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 32 << 10;
    const NAME: &'static str = "founding record";

    fn check(&self) -> Result<(), &'static str> {
        if self.version == StatementVersion(0) {
            return Err("versions count from 1");
        }
        if self.identities.is_empty() {
            return Err("no identity");
        }
        for list in [&self.identities, &self.approvers] {
            if list.len() > Self::IDENTITIES_MAX {
                return Err("too many identities");
            }
            if !list.is_sorted_by(|a, b| a.identity < b.identity) {
                return Err("identities are not sorted, or one is named twice");
            }
            for identity in list {
                if identity.roles.is_empty() || !identity.roles.is_sorted_by(|a, b| a < b) {
                    return Err("roles are missing, not sorted, or one is named twice");
                }
                if sign::usable(&identity.signing_key).is_err() {
                    return Err("a signing key is none");
                }
            }
        }
        Ok(())
    }
}

/// What a vault hides from nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum VaultMode {
    /// Contents and names inside snapshots; a node can tell whether a file that it knows is there.
    Default = 1,
    /// That too: one stream, fixed cuts, no compression, padded.
    Hardened = 2,
}

/// Who can open a vault besides its recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Custody {
    /// Nobody.
    Tenant = 1,
}

/// The version, public key and recipients of a vault. Who wraps takes public keys from here and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VaultStatement {
    /// The tenant.
    pub tenant: TenantId,
    /// The vault, random, chosen by the tenant.
    pub vault: VaultId,
    /// Its name.
    pub name: VaultName,
    /// What blob headers carry in its place: random, opaque.
    pub tag: VaultTag,
    /// Counts the statement's versions, from 1; a client refuses a lower one than it has seen.
    pub version: StatementVersion,
    /// What the vault hides.
    pub mode: VaultMode,
    /// How its streams are cut; [`Chunking::Hardened`] in a hardened vault and nowhere else.
    pub chunking: Chunking,
    /// The sealing suite; see [`VaultStatement::require_known_suite`].
    pub suite: u8,
    /// Who can open it besides the recipients.
    pub custody: Custody,
    /// The vault's public key.
    pub public_key: XWingPublicKey,
    /// Who can open it, sorted by id, at least one, at most [`VaultStatement::RECIPIENTS_MAX`].
    pub recipients: Vec<Recipient>,
}

/// One who can open a vault.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Recipient {
    /// Its id.
    pub identity: IdentityId,
    /// Its public key.
    pub public_key: XWingPublicKey,
    /// The vault's private key, sealed to it.
    pub wrapped_vault_key: Wrapped,
}

/// The vault's sealing suite is none that this software knows: seal and open nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("suite {suite} is not supported")]
pub struct UnknownSuite {
    /// What the statement names.
    pub suite: u8,
}

impl Recipient {
    /// Wraps the vault's private key for a recipient.
    pub fn new(
        tenant: TenantId,
        vault: VaultId,
        pair: &VaultKeyPair,
        recipient: &RestorerPublicKey,
        entropy: Entropy,
    ) -> Self {
        let place = VaultKeyPlace { tenant, vault, recipient: &recipient.identity, vault_key: pair.public_key() };
        Self {
            identity: recipient.identity.clone(),
            public_key: recipient.public_key.clone(),
            wrapped_vault_key: pair.wrap_for(&place, &recipient.public_key, entropy),
        }
    }
}

impl VaultStatement {
    /// The sealing suite of today (DESIGN.md §4).
    pub const SUITE: u8 = 1;
    /// At most so many recipients.
    pub const RECIPIENTS_MAX: usize = 64;

    /// Refuses a suite that is not [`VaultStatement::SUITE`]. Whoever seals, opens or stores asks this.
    pub fn require_known_suite(&self) -> Result<(), UnknownSuite> {
        if self.suite == Self::SUITE { Ok(()) } else { Err(UnknownSuite { suite: self.suite }) }
    }

    /// Opens the vault's private key with a recipient's key. Who is no recipient, or has another key than the
    /// statement names, gets nothing.
    pub fn open_vault_key(&self, recipient: &RestorerKey) -> Result<VaultKeyPair, DoesNotOpen> {
        let row = self.recipients.iter().find(|row| row.identity == recipient.identity).ok_or(DoesNotOpen)?;
        let place = VaultKeyPlace {
            tenant: self.tenant,
            vault: self.vault,
            recipient: &recipient.identity,
            vault_key: &self.public_key,
        };
        VaultKeyPair::open(&place, recipient.key(), &row.wrapped_vault_key)
    }
}

impl Format for VaultStatement {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 256 << 10;
    const NAME: &'static str = "vault statement";

    fn check(&self) -> Result<(), &'static str> {
        if self.version == StatementVersion(0) {
            return Err("versions count from 1");
        }
        if (self.mode == VaultMode::Hardened) != (self.chunking == Chunking::Hardened) {
            return Err("a hardened vault is cut as one, and no other is");
        }
        if self.recipients.is_empty() || self.recipients.len() > Self::RECIPIENTS_MAX {
            return Err("no recipient, or too many");
        }
        if !self.recipients.is_sorted_by(|a, b| a.identity < b.identity) {
            return Err("recipients are not sorted, or one is named twice");
        }
        if self.recipients.iter().any(|row| row.wrapped_vault_key.ciphertext.len() != 32 + TAG_BYTES) {
            return Err("a wrapped vault key is not 32 bytes");
        }
        Ok(())
    }
}

/// One writer's keys in one vault, for restorers. Sealed to the vault's public key; the root's signature says that they
/// are the writer's.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct WriterCard {
    /// The tenant.
    pub tenant: TenantId,
    /// The vault.
    pub vault: VaultId,
    /// The writer's domain in this vault.
    pub domain: DomainId,
    /// The writer.
    pub writer: IdentityId,
    /// The writer's key epoch.
    pub epoch: KeyEpoch,
    /// The key that signs the writer's commands and envelopes.
    pub signing_key: PublicKey,
    /// The version of the vault statement whose public key was used.
    pub statement_version: StatementVersion,
    /// Id key, length key and sender key, sealed.
    pub sealed_keys: Wrapped,
}

impl WriterCard {
    /// Makes the card of a writer in the vault of a statement.
    pub fn new(writer: &WriterKey, signing_key: PublicKey, statement: &VaultStatement, entropy: Entropy) -> Self {
        let keys = writer.in_vault(&statement.vault);
        let place = CardPlace {
            tenant: statement.tenant,
            vault: statement.vault,
            domain: keys.domain,
            writer: &writer.writer,
            epoch: writer.epoch,
        };
        let sealed_keys = place.wrap(&keys, &statement.public_key, entropy);
        Self {
            tenant: statement.tenant,
            vault: statement.vault,
            domain: keys.domain,
            writer: writer.writer.clone(),
            epoch: writer.epoch,
            signing_key,
            statement_version: statement.version,
            sealed_keys,
        }
    }

    /// What the card is about.
    pub fn place(&self) -> CardPlace<'_> {
        CardPlace {
            tenant: self.tenant,
            vault: self.vault,
            domain: self.domain,
            writer: &self.writer,
            epoch: self.epoch,
        }
    }

    /// Opens the writer's keys. The card's signature was verified before: a card proves nothing by opening.
    pub fn open_keys(&self, vault: &VaultKeyPair) -> Result<DomainKeys, DoesNotOpen> {
        self.place().open(&self.sealed_keys, vault)
    }

    /// The digest that envelopes name.
    pub fn digest(&self) -> Digest {
        sign::digest_of(self)
    }
}

impl Format for WriterCard {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 2048;
    const NAME: &'static str = "writer card";

    fn check(&self) -> Result<(), &'static str> {
        if self.epoch == KeyEpoch(0) || self.statement_version == StatementVersion(0) {
            return Err("epochs and versions count from 1");
        }
        if sign::usable(&self.signing_key).is_err() {
            return Err("the signing key is none");
        }
        match self.sealed_keys.ciphertext.len() == 3 * 32 + TAG_BYTES {
            true => Ok(()),
            false => Err("the sealed keys are not 96 bytes"),
        }
    }
}

/// That the tenant lets a CA issue certificates of its identities, in one life of one cluster. The CA proves who somebody
/// is; it makes nobody (DESIGN.md §8).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct IssuerAcceptance {
    /// The tenant.
    pub tenant: TenantId,
    /// The cluster epoch.
    pub cluster: ClusterEpoch,
    /// The CA, by [`issuer_digest`] of its certificate.
    pub issuer: Digest,
    /// Counts what the tenant said of this CA, from 1.
    pub version: StatementVersion,
}

/// What an issuing CA is called: BLAKE3 of its certificate's DER.
pub fn issuer_digest(certificate: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(certificate).as_bytes())
}

impl Format for IssuerAcceptance {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 + 16 + 16 + 32 + 4;
    const NAME: &'static str = "issuer acceptance";

    fn check(&self) -> Result<(), &'static str> {
        if self.version == StatementVersion(0) { Err("versions count from 1") } else { Ok(()) }
    }
}
