//! A look at a stopped node's segments without its index, changing nothing: for `inspect` and `fsck`.
//!
//! [`survey`] shows every record whose header verifies, also ones that a later copy of the same name has replaced, and reads
//! no payload. [`read_through`] shows what is to be believed of each copy: its last record, unless a tombstone buried it, and
//! whether its payload verifies.

use std::collections::BTreeMap;
use std::path::Path;

use strongroom_format::fragment::{CopyName, HEADER_BYTES, record_bytes};
use strongroom_format::id::TenantId;
use strongroom_host::files::{DiskFile, Files, Open};

use crate::index::SegmentNumber;
use crate::segment::{self, BLOCK_BYTES, Check, Seen};
use crate::store::{ChunksError, Listed};

/// Shows the copies in a node's data directory, tenant by tenant, segment by segment. Blocking: call it from a lane, or
/// from a tool that does nothing else.
pub fn survey(files: &dyn Files, data_directory: &Path, mut visit: impl FnMut(Listed)) -> Result<(), ChunksError> {
    each_segment(files, data_directory, |tenant, number, _, offset, seen| {
        let Seen::Copy(header) = seen else { return Ok(()) };
        visit(Listed {
            tenant,
            copy: header.copy,
            code: header.code,
            file: segment::path(Path::new(""), tenant, number),
            payload_offset: offset + HEADER_BYTES as u64,
            payload_bytes: header.payload_bytes,
        });
        Ok(())
    })
}

/// What lies on a disk of one copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lying {
    /// Whether its payload is the one that was written.
    pub is_whole: bool,
    /// What its record takes.
    pub record_bytes: u64,
}

/// Reads all copies below a data directory and verifies each payload. What a rotten header names is not there, nor
/// what a tombstone says was freed. They lie in memory, some 200 bytes each. Blocks.
pub fn read_through(
    files: &dyn Files,
    data_directory: &Path,
) -> Result<BTreeMap<(TenantId, CopyName), Lying>, ChunksError> {
    let mut there = BTreeMap::new();
    let mut places: BTreeMap<(TenantId, CopyName), (SegmentNumber, u64)> = BTreeMap::new();
    each_segment(files, data_directory, |tenant, number, file, offset, seen| {
        match seen {
            Seen::Copy(header) => {
                let name = (tenant, header.copy);
                let is_whole = segment::read(file, offset, header.payload_bytes)?
                    .is_ok_and(|found| found.header == *header && header.check_hash(&found.payload).is_ok());
                let record_bytes = record_bytes(header.payload_bytes) as u64;
                there.insert(name, Lying { is_whole, record_bytes });
                places.insert(name, (number, offset));
            }
            Seen::Tombstones(entries) => {
                for entry in entries {
                    let (name, at) = ((tenant, entry.copy), (entry.segment, u64::from(entry.block) * BLOCK_BYTES));
                    // The same copy written again elsewhere lives.
                    if places.get(&name).is_none_or(|place| *place == at) {
                        there.remove(&name);
                    }
                }
            }
        }
        Ok(())
    })?;
    Ok(there)
}

/// Shows all good headers and tombstones, tenant by tenant, segment by segment, record by record.
fn each_segment(
    files: &dyn Files,
    data_directory: &Path,
    mut visit: impl FnMut(TenantId, SegmentNumber, &dyn DiskFile, u64, Seen<'_>) -> std::io::Result<()>,
) -> Result<(), ChunksError> {
    let root = data_directory.join("segments");
    let failed = |path: &Path, doing| {
        let path = path.to_owned();
        move |cause| ChunksError::Unreadable { path, doing, cause }
    };
    if !files.exists(&root).map_err(failed(&root, "found"))? {
        return Ok(());
    }
    for tenant in segment::tenants(files, &root).map_err(failed(&root, "listed"))? {
        let numbers = segment::numbers(files, &root, tenant).map_err(failed(&root, "listed"))?;
        let tag = segment::read_tag(files, &root, tenant).map_err(failed(&root, "read"))?;
        for number in numbers {
            let path = segment::path(&root, tenant, number);
            let file = files.open(&path, Open::Read).map_err(failed(&path, "opened"))?;
            let mut fault = None;
            segment::scan(&*file, 0, Check::Header, tag, |offset, seen| {
                if fault.is_none() {
                    fault = visit(tenant, number, &*file, offset, seen).err();
                }
            })
            .and_then(|_| fault.map_or(Ok(()), Err))
            .map_err(failed(&path, "read"))?;
        }
    }
    Ok(())
}
