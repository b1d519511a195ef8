//! Identifiers, each a type of its own: a `TenantId` cannot be passed for a `VaultId`.
//!
//! Random ids are 16 bytes and mean nothing; hashes are 32 bytes. Both print as lower-case hex.

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::name::Name;

/// Why a text is not an id: not lower-case hex of the right length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} lower-case hex digits")]
pub struct NotAnId {
    /// How many digits the id has.
    pub expected: usize,
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $n:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
        pub struct $name([u8; $n]);

        impl $name {
            /// Length in bytes.
            pub const BYTES: usize = $n;

            /// From its bytes.
            pub const fn from_bytes(bytes: [u8; $n]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $n] {
                &self.0
            }

            /// From a slice of exactly the right length.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, NotAnId> {
                bytes.try_into().map(Self).map_err(|_| NotAnId { expected: 2 * $n })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let wrong = NotAnId { expected: 2 * $n };
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(wrong);
                }
                let mut bytes = [0; $n];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| wrong)?;
                Ok(Self(bytes))
            }
        }
    };
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
        )]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
        pub struct $name(pub Name);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = crate::name::NotAName;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Name::try_from(text).map(Self)
            }
        }
    };
}

bytes_id!(/// One life of a cluster; nothing signed for one epoch is valid in another.
    ClusterEpoch, 16);
bytes_id!(/// A tenant, never given again.
    TenantId, 16);
bytes_id!(/// What fragment headers carry in place of a tenant: random, opaque.
    TenantTag, 16);
bytes_id!(/// A vault of a tenant.
    VaultId, 16);
bytes_id!(/// What blob headers carry in place of a vault: random, opaque.
    VaultTag, 16);
bytes_id!(/// One writer, key epoch and vault: what deduplicates with what.
    DomainId, 16);
bytes_id!(/// A snapshot: random, chosen by the client, refused if taken.
    SnapshotId, 16);
bytes_id!(/// A ticket, under which several writers make one snapshot: random, chosen by the client, refused if taken.
    TicketId, 16);
bytes_id!(/// A session's data encryption key.
    DekId, 16);
bytes_id!(/// A random value that makes a command unlike any other.
    Nonce, 16);
bytes_id!(/// A chunk of plaintext, by keyed hash: means nothing outside its domain.
    ChunkId, 32);
bytes_id!(/// A blob, by the BLAKE3 hash of its sealed bytes.
    BlobId, 32);
bytes_id!(/// A node of an index tree, by the BLAKE3 hash of its canonical bytes.
    TreeId, 32);
bytes_id!(/// Any other BLAKE3 hash: of an envelope, a card, a state.
    Digest, 32);
bytes_id!(/// An Ed25519 public key.
    PublicKey, 32);

/// An Ed25519 signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({}…)", hex::encode(&self.0[..8]))
    }
}

number_id!(/// A Raft group: 0 is the cluster group, the others are shards.
    GroupId, u32);
number_id!(/// One member in one group: (log index of the cluster group's entry that allotted it) · 256 + slot.
    /// Never reused.
    ReplicaId, u64);
number_id!(/// The place of a slot in a shard, from 0.
    Slot, u8);
number_id!(/// A lease, named by the place in its group's log that opened it ([`Place::number`]).
    LeaseId, u64);
number_id!(/// A client session or a restore session, named by its place in its group's log ([`Place::number`]).
    SessionId, u64);
number_id!(/// Counts the versions of the set of shards over which a tenant is spread, from 1.
    SetVersion, u32);
number_id!(/// Counts the versions of a vault's policy, from 1.
    PolicyVersion, u32);
number_id!(/// Counts the versions of a vault statement, from 1.
    StatementVersion, u32);
number_id!(/// Counts the keys of one writer, from 1.
    KeyEpoch, u32);
number_id!(/// Counts the versions of the rules, from 1.
    RulesVersion, u32);

name_id!(/// The name of a cluster.
    ClusterName);
name_id!(/// The name of a region.
    RegionName);
name_id!(/// The name of a node, unique in its cluster.
    NodeName);
name_id!(/// The name of a tenant, never given again.
    TenantName);
name_id!(/// The name of a vault, unique in its tenant.
    VaultName);
name_id!(/// The name of a stream, unique in its whole.
    StreamName);
name_id!(/// A person or machine of one tenant (or an operator), over all its roles; never given again.
    IdentityId);
name_id!(/// A legal hold, unique in its snapshot.
    HoldName);

impl GroupId {
    /// The cluster group.
    pub const CLUSTER: GroupId = GroupId(0);
}

/// Where a command stands in its group's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Place {
    /// The entry's log index.
    pub index: u64,
    /// The command's place in the entry, from 0, below [`Place::COMMANDS_MAX`].
    pub position: u16,
}

impl Place {
    /// At most so many commands stand in one entry.
    pub const COMMANDS_MAX: u16 = 4096;

    /// One number for both: `index · 4096 + position`.
    pub fn number(self) -> u64 {
        debug_assert!(self.position < Self::COMMANDS_MAX);
        (self.index << 12) | u64::from(self.position)
    }

    /// The log index that is part of a [`Place::number`].
    pub fn index_of(number: u64) -> u64 {
        number >> 12
    }
}
