//! The summary of a snapshot: what a listing shows without reading the manifest. It stands sealed in the envelope,
//! under the domain's length key and bound to the snapshot: writer and restorers read it, nodes do not.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::aead::NotAuthentic;
use crate::codec::{self, Format};
use crate::id::SnapshotId;
use crate::keys::LengthKey;
use crate::siv::{self, Purpose};

/// Bytes of a sealed summary.
pub const SEALED_BYTES: usize = 1 + 5 * 8 + siv::OVERHEAD_BYTES;

/// What is in a snapshot, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Summary {
    /// Regular files.
    pub files: u64,
    /// Directories, without the one that was backed up.
    pub dirs: u64,
    /// Symbolic links, and names of files besides their first.
    pub links: u64,
    /// Stored bytes of all files: without holes.
    pub bytes: u64,
    /// Things that were there and are not in the snapshot: sockets, or unreadable.
    pub skipped: u64,
}

impl Format for Summary {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 + 5 * 8;
    const NAME: &'static str = "summary";
}

/// Seals it for one snapshot, into [`SEALED_BYTES`].
pub fn seal_summary(key: &LengthKey, snapshot: &SnapshotId, summary: &Summary) -> Vec<u8> {
    siv::seal(key, Purpose::Summary, &beside(snapshot), &codec::encode(summary))
}

/// Opens what was sealed for this snapshot.
pub fn open_summary(key: &LengthKey, snapshot: &SnapshotId, sealed: &[u8]) -> Result<Summary, NotAuthentic> {
    let plaintext = siv::open(key, Purpose::Summary, &beside(snapshot), sealed)?;
    codec::decode(&plaintext).map_err(|_| NotAuthentic)
}

/// The snapshot's id, then 16 zeros.
fn beside(snapshot: &SnapshotId) -> [u8; 32] {
    let mut beside = [0; 32];
    beside[..16].copy_from_slice(snapshot.as_bytes());
    beside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_for_its_snapshot_and_key_only() {
        let key = LengthKey::from_secret(std::array::from_fn(|n| n as u8)).unwrap();
        let other = LengthKey::from_secret(std::array::from_fn(|n| n as u8 + 1)).unwrap();
        let snapshot = SnapshotId::from_bytes([4; 16]);
        let summary = Summary { files: 1, dirs: 2, links: 3, bytes: 4, skipped: 5 };
        let sealed = seal_summary(&key, &snapshot, &summary);
        assert_eq!(sealed.len(), SEALED_BYTES);
        assert_eq!(open_summary(&key, &snapshot, &sealed), Ok(summary));
        assert_eq!(open_summary(&other, &snapshot, &sealed), Err(NotAuthentic));
        assert_eq!(open_summary(&key, &SnapshotId::from_bytes([5; 16]), &sealed), Err(NotAuthentic));
        assert_eq!(open_summary(&key, &snapshot, &[]), Err(NotAuthentic));
    }
}
