//! Chunks: how they are named and where a stream may be cut.
//!
//! A chunk is named by a keyed hash under the domain's id key, so its name means nothing outside that domain and
//! nodes cannot check it: it is its writer's claim. The cutting itself (FastCDC over slices) is the client's; the
//! numbers that both a backup and its successor must share stand here.
//!
//! **Extents.** Chunking restarts at extents. A file of [`EXTENT_BYTES`] or more is an extent. Smaller files are
//! packed in path order, across directories, into extents of about [`EXTENT_BYTES`] that end where
//! [`extent_ends_before`] says: it looks at the next file's path, so that a changed, added or removed file moves the
//! borders only near to it.
//!
//! **What the modes hide.** `Default` and `Fixed` have no seed: a node that knows a file can tell whether it is in a
//! vault. `Hardened` hides that: one stream per snapshot, cut every 4 MiB without restarts, not compressed, the last
//! chunk padded with zeros to full size.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::id::ChunkId;
use crate::keys::IdKey;

/// FastCDC: no cut before so many bytes.
pub const CHUNK_BYTES_MIN: u32 = 256 << 10;
/// FastCDC: the aim.
pub const CHUNK_BYTES_AVERAGE: u32 = 1 << 20;
/// No chunk of any mode is longer; what opens a blob gives out at most so much.
pub const CHUNK_BYTES_MAX: u32 = 4 << 20;
/// The size of every chunk but a stream's last in the modes `Fixed` and `Hardened`.
pub const CHUNK_BYTES_FIXED: u32 = 4 << 20;
/// Files of this size and above are extents of their own; smaller ones are packed into extents of about this size.
pub const EXTENT_BYTES: u64 = 1 << 20;
/// A packed extent never grows beyond this.
pub const EXTENT_BYTES_MAX: u64 = 4 << 20;

/// How a vault's streams are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Chunking {
    /// Content-defined: FastCDC v2020, normalisation 1, 256 KiB, 1 MiB, 4 MiB.
    Default = 0,
    /// Every 4 MiB, restarting at extents: images and already encrypted packs.
    Fixed = 1,
    /// Every 4 MiB of one stream, never compressed, the last chunk padded.
    Hardened = 2,
}

/// The id of a chunk of data: `BLAKE3-keyed(id key, plaintext)`.
pub fn chunk_id(key: &IdKey, plaintext: &[u8]) -> ChunkId {
    ChunkId::from_bytes(*blake3::keyed_hash(key.expose(), plaintext).as_bytes())
}

/// The id of a chunk of a manifest: the same under a key derived from the id key. A file whose bytes happen to be a
/// manifest (of this vault, restored and backed up again) is another chunk, because it is sealed as another kind.
pub fn manifest_chunk_id(key: &IdKey, plaintext: &[u8]) -> ChunkId {
    let key = key.secret().derive("strongroom 2026-11 id key of manifests 1", &[]);
    ChunkId::from_bytes(*blake3::keyed_hash(key.expose(), plaintext).as_bytes())
}

/// Whether an extent of small files that holds `extent_bytes` ends before the file at `path`, of `file_bytes`.
///
/// Never while it is empty; always where the file would take it beyond [`EXTENT_BYTES_MAX`]; never below a quarter of
/// [`EXTENT_BYTES`]. From there on the first 8 bytes (little-endian) of the path's BLAKE3 hash decide: it ends where
/// they, modulo 4 MiB, are less than `file_bytes`, and from three quarters of [`EXTENT_BYTES`] on, modulo 256 KiB. So
/// borders come every so many bytes, however large the files are; the rarer ones are those at which two backups fall
/// into step again. `path` is the manifest's: relative, bytes, `/` between.
pub fn extent_ends_before(path: &[u8], extent_bytes: u64, file_bytes: u64) -> bool {
    if extent_bytes == 0 {
        return false;
    }
    if extent_bytes.saturating_add(file_bytes) > EXTENT_BYTES_MAX {
        return true;
    }
    let every_bytes = match extent_bytes {
        below if below < EXTENT_BYTES / 4 => return false,
        below if below < EXTENT_BYTES / 4 * 3 => 4 << 20,
        _ => 256 << 10,
    };
    let hash = blake3::hash(path);
    let first = hash.as_bytes().first_chunk::<8>().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first) % every_bytes < file_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(first: u8) -> IdKey {
        let mut bytes = [7; 32];
        bytes[0] = first;
        IdKey::from_secret(bytes).unwrap()
    }

    #[test]
    fn ids_mean_nothing_outside_their_domain_and_kind() {
        assert_eq!(chunk_id(&key(1), b"x"), chunk_id(&key(1), b"x"));
        assert_ne!(chunk_id(&key(1), b"x"), chunk_id(&key(2), b"x"));
        assert_ne!(chunk_id(&key(1), b"x"), manifest_chunk_id(&key(1), b"x"));
        assert_ne!(chunk_id(&key(1), b"x").as_bytes(), blake3::hash(b"x").as_bytes());
    }

    #[test]
    fn extents_have_about_the_size_that_is_meant() {
        for file_bytes in [1_000, 20_000, 100_000, 200_000u64] {
            let (mut extent, mut extents, mut total) = (0, 1u64, 0);
            for n in 0..20_000u32 {
                if extent_ends_before(format!("some/dir/{n}").as_bytes(), extent, file_bytes) {
                    extents += 1;
                    extent = 0;
                }
                extent += file_bytes;
                total += file_bytes;
                assert!(extent <= EXTENT_BYTES_MAX);
            }
            let average = total / extents;
            assert!((768 << 10) < average && average < (5 << 18), "{file_bytes}: {average}");
        }
    }

    #[test]
    fn a_removed_file_moves_borders_only_near_to_it() {
        let borders = |skip: u32| {
            let mut extent = 0;
            let mut borders = std::collections::BTreeSet::new();
            for n in (0..20_000u32).filter(|n| *n != skip) {
                if extent_ends_before(format!("some/dir/{n}").as_bytes(), extent, 20_000) {
                    borders.insert(n);
                    extent = 0;
                }
                extent += 20_000;
            }
            borders
        };
        let before = borders(u32::MAX);
        let mut moved = 0;
        for skip in (0..2_000).step_by(97) {
            moved += before.symmetric_difference(&borders(skip)).count();
        }
        assert!(moved / 20 < 24, "{moved} borders moved in 20 removals of one file");
    }

    #[test]
    fn an_empty_extent_never_ends_and_a_full_one_always() {
        assert!(!extent_ends_before(b"a", 0, u64::MAX));
        assert!(extent_ends_before(b"a", 1, u64::MAX));
        assert!(extent_ends_before(b"a", EXTENT_BYTES_MAX, 1));
    }
}
