//! The cache's bytes: a header, then blocks of records in the order of manifests, each under a MAC.
//!
//! ```text
//!   "SRFC" ‖ 1 ‖ header bytes u32 ‖ header (borsh) ‖ MAC(32)
//!   block  = bytes u32 ‖ is last u8 ‖ records (borsh) ‖ MAC(32)          MAC = BLAKE3-keyed(cache key, … )
//!   header MAC over "header" ‖ header; block MAC over header MAC ‖ number u64 ‖ is last ‖ records
//! ```
//!
//! Local and never sent, so it is no format of `strongroom-format`: another version of this program may ignore it.
//! Not here: who reads (`past.rs`) and writes (`next.rs`).

use std::io::{self, Read, Write};
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use strongroom_format::id::{ChunkId, ClusterEpoch, Digest, DomainId, GroupId, IdentityId, TenantId, VaultId};
use strongroom_format::keys::WriterKey;
use strongroom_format::manifest::entry::Moment;
use strongroom_format::secret::Secret;

use crate::backup::stamp::Stamp;

const MAGIC: &[u8; 5] = b"SRFC\x01";
const HEADER_BYTES_MAX: u32 = 4096;
/// No block is longer: one record of the largest file.
const BLOCK_BYTES_MAX: u32 = 16 << 20;
/// A file of more chunks is not remembered, and read in every backup.
pub(crate) const CHUNKS_MAX: usize = 1 << 18;

/// Bytes are read again after so long at the earliest,
const READ_AGAIN_FROM: i64 = 15 * DAY;
/// and at the latest, so that no file's were last read over 30 days ago.
const READ_AGAIN_BY: i64 = 29 * DAY;
const DAY: i64 = 24 * 60 * 60;

/// Whose a cache is. All of it must agree.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Binding {
    pub cluster: ClusterEpoch,
    pub tenant: TenantId,
    pub vault: VaultId,
    pub writer: IdentityId,
    /// Of the key's epoch too.
    pub domain: DomainId,
    /// Which machine.
    pub machine: Digest,
    /// Which paths, under which names.
    pub paths: Digest,
}

/// What stands in front.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Header {
    pub binding: Binding,
    /// Of the cache's own file: a copy has another one.
    pub inode: u64,
}

/// What is remembered of one file.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Record {
    pub path: Vec<u8>,
    pub stamp: Stamp,
    /// BLAKE3 of its bytes.
    pub hash: Digest,
    /// When they were last read: seconds and nanoseconds.
    pub last_read: (i64, u32),
    /// Where they begin in the first chunk.
    pub offset: u32,
    /// The chunks that hold them, all but the first from their beginning.
    pub chunks: Vec<RecordedChunk>,
}

/// A chunk and the shard that took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct RecordedChunk {
    pub id: ChunkId,
    pub plaintext_bytes: u32,
    pub group: GroupId,
}

/// Whether more blocks follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    Follows,
    Ends,
}

/// The writer's key for its caches.
#[derive(Clone)]
pub(crate) struct Seal(Arc<Secret<32>>);

/// The MAC of a header, to which its blocks are bound.
#[derive(Clone, Copy)]
pub(crate) struct HeaderMac([u8; 32]);

/// Why a cache is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unbelieved {
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("it was made under another epoch of the writer's key")]
    OtherEpoch,
    #[error("it is of another cluster, tenant, vault, writer or tree")]
    OtherPlace,
    #[error("it was made on another machine")]
    OtherMachine,
    #[error("it is a copy")]
    Copy,
    #[error("it was not written by this writer, or was changed")]
    Changed,
}

impl Record {
    /// Whether the file's bytes are to be read again though it looks unchanged. Every file has its own moment between 15
    /// and 29 days, so that each backup reads a share; a time of reading in the future is no time of reading.
    pub(crate) fn is_due(&self, now: Moment) -> bool {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.path).update(&self.last_read.0.to_le_bytes());
        let first = *hasher.finalize().as_bytes().first_chunk::<8>().expect("a hash has 32 bytes");
        let spread = i64::try_from(u64::from_le_bytes(first) % (READ_AGAIN_BY - READ_AGAIN_FROM).unsigned_abs());
        let after = READ_AGAIN_FROM + spread.expect("less than fourteen days");
        let age = now.seconds.saturating_sub(self.last_read.0);
        !(0..after).contains(&age)
    }
}

impl Seal {
    /// Of a writer.
    pub(crate) fn new(writer: &WriterKey) -> Self {
        Self(Arc::new(writer.cache_key()))
    }

    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(self.0.expose());
        for part in parts {
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }

    /// Writes what stands in front.
    pub(crate) fn write_header(&self, header: &Header, out: &mut impl Write) -> io::Result<HeaderMac> {
        let bytes = borsh::to_vec(header)?;
        let mac = self.mac(&[b"header", &bytes]);
        out.write_all(MAGIC)?;
        out.write_all(&u32::try_from(bytes.len()).map_err(io::Error::other)?.to_le_bytes())?;
        out.write_all(&bytes)?;
        out.write_all(&mac)?;
        Ok(HeaderMac(mac))
    }

    /// Reads and checks it against what it must be.
    pub(crate) fn read_header(&self, ours: &Header, from: &mut impl Read) -> Result<HeaderMac, Unbelieved> {
        if read::<5>(from)? != *MAGIC {
            return Err(Unbelieved::Changed);
        }
        let bytes = read_bytes(from, HEADER_BYTES_MAX)?;
        let mac = read::<32>(from)?;
        let found: Header = borsh::from_slice(&bytes).map_err(|_| Unbelieved::Changed)?;
        let (theirs, binding) = (&found.binding, &ours.binding);
        // A claim of its own, before the MAC is looked at: it says why, and nothing follows from it but disbelief.
        if theirs.domain != binding.domain && (&theirs.writer, theirs.vault) == (&binding.writer, binding.vault) {
            return Err(Unbelieved::OtherEpoch);
        }
        if !same(&mac, &self.mac(&[b"header", &bytes])) {
            return Err(Unbelieved::Changed);
        }
        if theirs.machine != binding.machine {
            return Err(Unbelieved::OtherMachine);
        }
        if theirs != binding {
            return Err(Unbelieved::OtherPlace);
        }
        if found.inode != ours.inode {
            return Err(Unbelieved::Copy);
        }
        Ok(HeaderMac(mac))
    }

    /// Writes a block.
    pub(crate) fn write_block(
        &self,
        header: HeaderMac,
        number: u64,
        more: More,
        records: &[Record],
        out: &mut impl Write,
    ) -> io::Result<()> {
        let bytes = borsh::to_vec(records)?;
        let is_last = [u8::from(more == More::Ends)];
        out.write_all(&u32::try_from(bytes.len()).map_err(io::Error::other)?.to_le_bytes())?;
        out.write_all(&is_last)?;
        out.write_all(&bytes)?;
        out.write_all(&self.mac(&[&header.0, &number.to_le_bytes(), &is_last, &bytes]))
    }

    /// Reads a block's bytes and checks them.
    pub(crate) fn read_block(
        &self,
        header: HeaderMac,
        number: u64,
        from: &mut impl Read,
    ) -> Result<(Vec<u8>, More), Unbelieved> {
        let length = u32::from_le_bytes(read(from)?);
        let is_last = read::<1>(from)?;
        let bytes = read_exactly(from, length, BLOCK_BYTES_MAX)?;
        let mac = read::<32>(from)?;
        if !same(&mac, &self.mac(&[&header.0, &number.to_le_bytes(), &is_last, &bytes])) {
            return Err(Unbelieved::Changed);
        }
        Ok((bytes, if is_last == [1] { More::Ends } else { More::Follows }))
    }
}

fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    // In constant time.
    blake3::Hash::from_bytes(*a) == blake3::Hash::from_bytes(*b)
}

fn read<const N: usize>(from: &mut impl Read) -> Result<[u8; N], Unbelieved> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(ends_early)?;
    Ok(bytes)
}

fn read_bytes(from: &mut impl Read, bytes_max: u32) -> Result<Vec<u8>, Unbelieved> {
    let length = u32::from_le_bytes(read(from)?);
    read_exactly(from, length, bytes_max)
}

fn read_exactly(from: &mut impl Read, length: u32, bytes_max: u32) -> Result<Vec<u8>, Unbelieved> {
    if bytes_max < length {
        return Err(Unbelieved::Changed);
    }
    let mut bytes = Vec::new();
    from.take(length.into()).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == u64::from(length) { Ok(bytes) } else { Err(Unbelieved::Changed) }
}

/// A cache that ends early is one that was changed.
fn ends_early(cause: io::Error) -> Unbelieved {
    match cause.kind() {
        io::ErrorKind::UnexpectedEof => Unbelieved::Changed,
        _ => Unbelieved::Io(cause),
    }
}

/// This machine, as well as it can be told: what the system calls it.
pub(crate) fn machine() -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("strongroom 2026-11 machine of a cache 1");
    for file in ["/etc/machine-id", "/proc/sys/kernel/hostname"] {
        let text = std::fs::read(file).unwrap_or_default();
        hasher.update(&(text.len() as u64).to_le_bytes()).update(&text);
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use strongroom_format::id::KeyEpoch;
    use strongroom_format::statement::VaultMode;

    use super::*;
    use crate::backup::sealer::tests::vault;

    fn record() -> Record {
        let home = tempfile::NamedTempFile::new().unwrap();
        let stat = rustix::fs::fstat(home.as_file()).unwrap();
        Record {
            path: b"a/b".to_vec(),
            stamp: Stamp::of(&stat),
            hash: Digest::from_bytes([1; 32]),
            last_read: (1_000_000, 0),
            offset: 0,
            chunks: Vec::new(),
        }
    }

    #[test]
    fn a_share_of_all_files_is_due_every_day_and_every_file_within_30_days() {
        let mut due = [0; 31];
        for n in 0..3000_u32 {
            let record = Record { path: n.to_le_bytes().to_vec(), ..record() };
            let is_due = |day: i64| record.is_due(Moment { seconds: record.last_read.0 + day * DAY, nanos: 0 });
            let first = (0..=30).find(|day| is_due(*day)).unwrap();
            due[usize::try_from(first).unwrap()] += 1;
            assert!((first..40).all(is_due), "once due, it stays so");
        }
        assert_eq!(due[..=15].iter().sum::<u32>(), 0);
        assert!(due[16..=29].iter().all(|share| (100..400).contains(share)), "{due:?}");
    }

    #[test]
    fn a_file_that_was_read_in_the_future_is_due() {
        let record = record();
        assert!(record.is_due(Moment { seconds: record.last_read.0 - 1, nanos: 0 }));
        assert!(!record.is_due(Moment { seconds: record.last_read.0, nanos: 0 }));
    }

    #[test]
    fn a_machine_is_itself() {
        assert_eq!(machine(), machine());
    }

    #[test]
    fn n124_a_header_of_another_epoch_machine_place_or_file_is_not_believed() {
        let (statement, _, writer, _) = vault(VaultMode::Default);
        let secret = std::array::from_fn(|at| 70 + u8::try_from(at).unwrap());
        let later = WriterKey::from_secret(statement.tenant, writer.writer.clone(), KeyEpoch(2), secret).unwrap();
        let of = |writer: &WriterKey| Header {
            binding: Binding {
                cluster: ClusterEpoch::from_bytes([9; 16]),
                tenant: statement.tenant,
                vault: statement.vault,
                writer: writer.writer.clone(),
                domain: writer.in_vault(&statement.vault).domain,
                machine: machine(),
                paths: Digest::from_bytes([3; 32]),
            },
            inode: 7,
        };
        let (ours, seal) = (of(&writer), Seal::new(&writer));
        let mut bytes = Vec::new();
        seal.write_header(&ours, &mut bytes).unwrap();
        let read = |header: &Header, seal: &Seal| seal.read_header(header, &mut bytes.as_slice()).map(drop);
        assert!(read(&ours, &seal).is_ok());
        assert!(matches!(read(&of(&later), &Seal::new(&later)), Err(Unbelieved::OtherEpoch)));
        assert!(matches!(read(&ours, &Seal::new(&later)), Err(Unbelieved::Changed)));
        assert!(matches!(read(&Header { inode: 8, ..ours.clone() }, &seal), Err(Unbelieved::Copy)));
        let elsewhere = |change: fn(&mut Binding)| {
            let mut header = ours.clone();
            change(&mut header.binding);
            read(&header, &seal).unwrap_err()
        };
        assert!(matches!(elsewhere(|to| to.machine = Digest::from_bytes([4; 32])), Unbelieved::OtherMachine));
        assert!(matches!(elsewhere(|to| to.paths = Digest::from_bytes([4; 32])), Unbelieved::OtherPlace));
        assert!(matches!(elsewhere(|to| to.cluster = ClusterEpoch::from_bytes([8; 16])), Unbelieved::OtherPlace));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(seal.read_header(&ours, &mut changed.as_slice()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn n124_blocks_that_were_changed_moved_or_left_out_are_not_believed() {
        let (_, _, writer, _) = vault(VaultMode::Default);
        let (seal, header) = (Seal::new(&writer), HeaderMac([5; 32]));
        let block = |number: u64, more: More| {
            let mut bytes = Vec::new();
            seal.write_block(header, number, more, &[record()], &mut bytes).unwrap();
            bytes
        };
        let read = |bytes: &[u8], number: u64| seal.read_block(header, number, &mut &bytes[..]);
        let good = block(3, More::Follows);
        let (bytes, more) = read(&good, 3).unwrap();
        assert_eq!((borsh::from_slice::<Vec<Record>>(&bytes).unwrap().len(), more), (1, More::Follows));
        assert!(read(&good, 2).is_err(), "it stood elsewhere");
        assert!(seal.read_block(HeaderMac([6; 32]), 3, &mut good.as_slice()).is_err(), "under another header");
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            assert!(read(&changed, 3).is_err(), "byte {at}");
            assert!(read(&good[..at], 3).is_err(), "only {at} bytes");
        }
    }
}
