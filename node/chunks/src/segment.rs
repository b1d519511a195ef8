//! Segment files: where they lie, how a record in one is read and checked, and how one is read through after a crash.
//!
//! ```text
//!   segments/<tenant id>/tag        the tenant's tag and its CRC-32C, durable before the first segment
//!   segments/<tenant id>/<n>.seg
//!   [header, payload, zeros to 4 KiB][header, payload, zeros]····set-aside zeros····
//! ```
//!
//! The bytes of a record are `proto/format`'s (`fragment.rs`). Reading through goes from record to record; where a header
//! does not verify it goes on block by block, so that one bad header costs one fragment. A record is believed there only
//! if it carries the tenant's tag, which no client knows: a payload may hold bytes that look like a record.
//!
//! Not here: who appends (`store.rs`), which copies are known (`index.rs`).

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use strongroom_format::fragment::{BLOCK_BYTES as RECORD_ALIGN, FragmentHeader, HEADER_BYTES, record_bytes};
use strongroom_format::id::{TenantId, TenantTag};
use strongroom_format::tombstone::{Tombstone, TombstoneBlock};
use strongroom_host::aligned::AlignedBuffer;
use strongroom_host::files::{DiskFile, Files, Open};
use strongroom_host::window::{PIECE_BYTES, Window};

use crate::damage::How;
use crate::index::SegmentNumber;

/// Records start at multiples of this.
pub(crate) const BLOCK_BYTES: u64 = RECORD_ALIGN as u64;

const SUFFIX: &str = ".seg";
const TAG: &str = "tag";
const TAG_BYTES: usize = 16;
const CRC_BYTES: usize = 4;

pub(crate) fn directory(root: &Path, tenant: TenantId) -> PathBuf {
    root.join(tenant.to_string())
}

pub(crate) fn path(root: &Path, tenant: TenantId, segment: SegmentNumber) -> PathBuf {
    directory(root, tenant).join(format!("{segment}{SUFFIX}"))
}

/// The tenants that have a directory.
pub(crate) fn tenants(files: &dyn Files, root: &Path) -> io::Result<Vec<TenantId>> {
    Ok(files.list(root)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// The numbers of a tenant's segments, lowest first.
pub(crate) fn numbers(files: &dyn Files, root: &Path, tenant: TenantId) -> io::Result<Vec<SegmentNumber>> {
    let names = files.list(&directory(root, tenant))?;
    let mut numbers: Vec<SegmentNumber> =
        names.iter().filter_map(|name| name.strip_suffix(SUFFIX)?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The tag that a tenant's records carry, as it stands beside its segments. `None`: it does not, or is damaged.
///
/// The index knows it too. Should that be lost, the first record cannot be asked instead: it may be torn, with good ones
/// behind it.
pub(crate) fn read_tag(files: &dyn Files, root: &Path, tenant: TenantId) -> io::Result<Option<TenantTag>> {
    let path = directory(root, tenant).join(TAG);
    if !files.exists(&path)? {
        return Ok(None);
    }
    let mut bytes = [0; TAG_BYTES + CRC_BYTES];
    let got = files.open(&path, Open::Read)?.read_at(&mut bytes, 0)?;
    let (tag, crc) = bytes.split_at(TAG_BYTES);
    let is_good = got == bytes.len() && crc32c::crc32c(tag).to_le_bytes() == *crc;
    Ok(if is_good { TenantTag::from_slice(tag).ok() } else { None })
}

/// Writes a tenant's tag beside its segments, durably. Its directory is there.
pub(crate) fn write_tag(files: &dyn Files, root: &Path, tenant: TenantId, tag: TenantTag) -> io::Result<()> {
    let directory = directory(root, tenant);
    let (path, beside) = (directory.join(TAG), directory.join(format!("{TAG}.new")));
    if files.exists(&beside)? {
        files.remove(&beside)?;
    }
    let mut bytes = tag.as_bytes().to_vec();
    bytes.extend(crc32c::crc32c(tag.as_bytes()).to_le_bytes());
    let file = files.open(&beside, Open::New)?;
    file.write_at(&bytes, 0)?;
    file.sync_data()?;
    files.rename(&beside, &path)?;
    files.sync_dir(&directory)
}

/// A record that verifies.
pub(crate) struct Found {
    pub(crate) header: FragmentHeader,
    pub(crate) payload: Bytes,
}

/// Reads the record at `offset` and verifies header and payload. The outer error is the disk's, the inner one says what
/// lies there instead.
///
/// Whole blocks are read, so that direct I/O brings them in one transfer and what is verified is what lies on the disk.
pub(crate) fn read(file: &dyn DiskFile, offset: u64, payload_bytes: u32) -> io::Result<Result<Found, How>> {
    let mut record = AlignedBuffer::zeros(record_bytes(payload_bytes));
    let got = file.read_at(record.bytes_mut(), offset)?;
    record.resize(got);
    if got < HEADER_BYTES + payload_bytes as usize {
        return Ok(Err(How::Missing));
    }
    let Ok(header) = FragmentHeader::parse(record.bytes()) else {
        return Ok(Err(How::Checksum));
    };
    if header.payload_bytes != payload_bytes {
        return Ok(Err(How::Misdirected));
    }
    let payload = Bytes::from_owner(record).slice(HEADER_BYTES..HEADER_BYTES + payload_bytes as usize);
    // Finds what rotted. Whoever gathers compares the blob with its id, so a second hash here would prove nothing more.
    if header.check_crc(&payload).is_err() {
        return Ok(Err(How::Checksum));
    }
    Ok(Ok(Found { header, payload }))
}

/// How much of each record is checked when a segment is read through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// The payload may be torn: it was perhaps never synced.
    Payload,
    /// For a look that changes nothing; whoever uses a copy verifies it.
    Header,
}

/// What lies in a segment.
pub(crate) enum Seen<'a> {
    /// A copy.
    Copy(&'a FragmentHeader),
    /// Copies that are no more, all of records before this place.
    Tombstones(&'a [Tombstone]),
}

/// Shows every good record from `from` on and returns where the last one ends, on a block (at least `from`).
pub(crate) fn scan(
    file: &dyn DiskFile,
    from: u64,
    check: Check,
    tag: Option<TenantTag>,
    mut visit: impl FnMut(u64, Seen<'_>),
) -> io::Result<u64> {
    let mut window = Window::new(file, if check == Check::Header { RECORD_ALIGN } else { PIECE_BYTES })?;
    let mut known_tag = tag;
    let mut end = from;
    let mut offset = from;
    while offset < window.file_bytes() {
        let header = FragmentHeader::parse(window.bytes(offset, HEADER_BYTES)?).ok();
        // Without a known tag (the index was lost) the first record, which no client can have written, says what it is.
        let header = header.filter(|header| match known_tag {
            Some(tag) => header.tenant_tag == tag,
            None => offset == 0,
        });
        let Some(header) = header else {
            if let Some(block) = tombstones(window.bytes(offset, RECORD_ALIGN)?, known_tag) {
                visit(offset, Seen::Tombstones(&block.entries));
                end = offset + BLOCK_BYTES;
            }
            offset += BLOCK_BYTES;
            continue;
        };
        known_tag = Some(header.tenant_tag);
        let record_bytes = header.record_bytes() as u64;
        let is_whole = record_bytes <= window.file_bytes() - offset;
        let is_good = is_whole
            && match check {
                Check::Header => true,
                Check::Payload => {
                    let start = offset + HEADER_BYTES as u64;
                    header.check_hash(window.bytes(start, header.payload_bytes as usize)?).is_ok()
                }
            };
        if is_good {
            visit(offset, Seen::Copy(&header));
            end = offset + record_bytes;
        }
        // A good header says how far its payload reaches, also where that was torn.
        offset += record_bytes;
    }
    Ok(end)
}

/// A block of tombstones, if it is the tenant's own.
fn tombstones(bytes: &[u8], tag: Option<TenantTag>) -> Option<TombstoneBlock> {
    TombstoneBlock::parse(bytes).ok().filter(|block| Some(block.tenant_tag) == tag)
}
