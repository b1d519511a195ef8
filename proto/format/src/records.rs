//! Records: what a part's record blobs hold, so that fragments and a key are enough to read a snapshot without any
//! cluster: tree nodes in order and, in the home part, founding record, statement, card, wraps and envelope.
//!
//!     items ──pack──▶ payloads of at most 1 MiB ──record_blob (seal.rs)──▶ blobs, stored like data, open
//!
//! What stands here is open and proves nothing by itself: nodes are named by their hashes, the rest is signed. Not here:
//! the blob's header (`seal.rs`), in which order a part's nodes are found (`tree.rs`).

use borsh::{BorshDeserialize, BorshSerialize};

use crate::codec::{self, Format, FormatError};
use crate::id::{GroupId, SnapshotId, TenantId, VaultId};
use crate::seal::RECORD_BYTES_MAX;

/// One payload of a part's records.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Records {
    /// The tenant.
    pub tenant: TenantId,
    /// The vault.
    pub vault: VaultId,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The shard whose part this is.
    pub group: GroupId,
    /// Which payload of the part, from 0.
    pub number: u32,
    /// How many payloads the part has, at least 1.
    pub count: u32,
    /// What it holds, in order.
    pub items: Vec<RecordItem>,
}

/// One record, as its canonical bytes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum RecordItem {
    /// A node of an index tree (`tree.rs`).
    Node(Vec<u8>) = 1,
    /// A signed founding record (`statement.rs`).
    Founding(Vec<u8>) = 2,
    /// A signed vault statement (`statement.rs`).
    Statement(Vec<u8>) = 3,
    /// A signed writer card (`statement.rs`).
    Card(Vec<u8>) = 4,
    /// A wrapped session key (`wrap.rs`).
    Wrap(Vec<u8>) = 5,
    /// A signed envelope (`envelope.rs`).
    Envelope(Vec<u8>) = 6,
}

/// Whose records are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordsOf {
    /// The tenant.
    pub tenant: TenantId,
    /// The vault.
    pub vault: VaultId,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The shard.
    pub group: GroupId,
}

/// One record is longer than a payload. No canonical value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of {bytes} bytes does not fit into a record blob")]
pub struct RecordTooLong {
    /// How long it is.
    pub bytes: usize,
}

impl RecordItem {
    /// Its canonical bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            RecordItem::Node(bytes)
            | RecordItem::Founding(bytes)
            | RecordItem::Statement(bytes)
            | RecordItem::Card(bytes)
            | RecordItem::Wrap(bytes)
            | RecordItem::Envelope(bytes) => bytes,
        }
    }
}

impl Records {
    /// What a payload has before its items: version, ids, numbers, count of items.
    const HEAD_BYTES: usize = 1 + 3 * 16 + 3 * 4 + 4;
    /// What an item has before its bytes: kind and length.
    const ITEM_HEAD_BYTES: usize = 1 + 4;

    /// Packs items in order into as few payloads as take them, at least one, none longer than [`Format::BYTES_MAX`].
    pub fn pack(of: RecordsOf, items: Vec<RecordItem>) -> Result<Vec<Vec<u8>>, RecordTooLong> {
        let mut bundles = vec![Vec::new()];
        let mut used = Self::HEAD_BYTES;
        for item in items {
            let bytes = Self::ITEM_HEAD_BYTES + item.bytes().len();
            if Self::HEAD_BYTES + bytes > Self::BYTES_MAX {
                return Err(RecordTooLong { bytes: item.bytes().len() });
            }
            if used + bytes > Self::BYTES_MAX {
                bundles.push(Vec::new());
                used = Self::HEAD_BYTES;
            }
            used += bytes;
            bundles.last_mut().expect("starts with one").push(item);
        }
        let RecordsOf { tenant, vault, snapshot, group } = of;
        let count = u32::try_from(bundles.len()).expect("each takes memory");
        let payloads = bundles
            .into_iter()
            .zip(0..)
            .map(|(items, number)| codec::encode(&Records { tenant, vault, snapshot, group, number, count, items }));
        Ok(payloads.collect())
    }

    /// Reads one payload.
    pub fn unpack(payload: &[u8]) -> Result<Self, FormatError> {
        codec::decode(payload)
    }
}

impl Format for Records {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = RECORD_BYTES_MAX;
    const NAME: &'static str = "records";

    fn check(&self) -> Result<(), &'static str> {
        match self.number < self.count {
            true => Ok(()),
            false => Err("its number is not below the count"),
        }
    }
}
