//! Freeing: how copies leave this disk, against releases and in no other way.
//!
//! ```text
//!   releases ─▶ tombstones, synced ─▶ rows leave the index ─▶ holes punched, synced
//!   no row lies in a segment ─▶ index committed ─▶ segment unlinked
//! ```
//!
//! Tombstones first: a crash may leave a hole half punched, and what the index said of it in the file must then be known
//! as gone, not be found damaged. The index before the unlinking: a row must never lead to a file that is no more, and a
//! number that is given again must not be taken for read. Both run on the write lane, between groups.
//!
//! Not here: which copies may go (`strongroom_core::shard::release`), who asks for it when (`node/service`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use strongroom_core::shard::release::Release;
use strongroom_format::fragment::record_bytes;
use strongroom_format::id::TenantId;
use strongroom_format::tombstone::{ENTRIES_MAX, Tombstone, TombstoneBlock};
use strongroom_host::files::{DiskFile, Open};

use super::{ChunksError, Shared, Tail, Writer, lock, unreadable};
use crate::index::{Key, Location, SegmentNumber};
use crate::metrics;
use crate::segment::{self, BLOCK_BYTES};

/// What was freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Copies that were here.
    pub copies: u64,
    /// What their records took.
    pub bytes: u64,
}

impl Shared {
    /// Frees copies; those that are not here are left out. Runs on the write lane.
    pub(super) fn free(&self, releases: &[Release]) -> Result<Freed, ChunksError> {
        self.check()?;
        let mut by_tenant: BTreeMap<TenantId, BTreeMap<Key, Location>> = BTreeMap::new();
        for release in releases {
            let key = Key::new(&release.tenant(), &release.copy());
            if let Some(location) = self.index.find(&key).map_err(|error| self.fail(&error))? {
                by_tenant.entry(release.tenant()).or_default().insert(key, location);
            }
        }
        let mut writer = lock(&self.writer);
        let mut freed = Freed::default();
        for (tenant, rows) in by_tenant {
            let rows: Vec<(Key, Location)> = rows.into_iter().collect();
            self.bury(&mut writer, tenant, &rows)?;
            self.punch(&writer, tenant, &rows)?;
            freed.copies += rows.len() as u64;
            freed.bytes += rows.iter().map(|(_, location)| record_bytes(location.payload_bytes) as u64).sum::<u64>();
        }
        metrics::freed(freed.copies, freed.bytes);
        Ok(freed)
    }

    /// Makes tombstones durable and takes the rows out of the index.
    fn bury(&self, writer: &mut Writer, tenant: TenantId, rows: &[(Key, Location)]) -> Result<(), ChunksError> {
        let tag = self.index.tag(tenant).map_err(|error| self.fail(&error))?;
        let tag = tag.ok_or_else(|| self.fail(&io::Error::other("a tenant has copies and no tag")))?;
        let blocks = rows.chunks(ENTRIES_MAX).map(|rows| {
            let entry = |(key, location): &(Key, Location)| Tombstone {
                copy: key.copy(),
                segment: location.segment,
                block: location.block,
            };
            TombstoneBlock { tenant_tag: tag, entries: rows.iter().map(entry).collect() }.encode()
        });
        let bytes = blocks.len() as u64 * BLOCK_BYTES;
        writer.group += 1;
        let group = writer.group;
        let open = self.segment(writer, tenant, tag, bytes, &mut BTreeMap::new())?;
        open.last_group = group;
        // The reserve is there for this too: a full disk must be able to get rid of something.
        let headroom = || self.host.files().free_bytes(&self.root);
        open.file.reserve_within(bytes, headroom).map_err(|error| self.append_error(error))?;
        for block in blocks {
            open.file.stage(&[&block], BLOCK_BYTES as usize).map_err(|error| self.append_error(error))?;
        }
        open.file.sync().map_err(|error| self.append_error(error))?;
        self.index.remove(rows).map_err(|error| self.fail(&error))?;
        let open = writer.open.remove(&tenant).expect("it was opened above");
        self.note(writer, tenant, &open, Some(super::Staged { tag, rows: Vec::new() }));
        writer.open.insert(tenant, open);
        Ok(())
    }

    /// Gives the space of buried records back. A file system that cannot gives it back with the segment.
    fn punch(&self, writer: &Writer, tenant: TenantId, rows: &[(Key, Location)]) -> Result<(), ChunksError> {
        let mut touched: BTreeMap<SegmentNumber, Arc<dyn DiskFile>> = BTreeMap::new();
        for (_, location) in rows {
            let path = segment::path(&self.root, tenant, location.segment);
            let file = match (touched.get(&location.segment), writer.open.get(&tenant)) {
                (Some(file), _) => Arc::clone(file),
                (None, Some(open)) if open.segment == location.segment => Arc::clone(open.file.file()),
                (None, _) => match self.host.files().open(&path, Open::Write) {
                    Ok(file) => file,
                    // Whatever took the file has freed it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(cause) => return Err(unreadable(&path, "opened", cause)),
                },
            };
            let from = u64::from(location.block) * BLOCK_BYTES;
            match file.punch(from, from + record_bytes(location.payload_bytes) as u64) {
                Ok(()) => drop(touched.insert(location.segment, file)),
                Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(()),
                Err(cause) => return Err(self.fail(&unreadable(&path, "punched", cause))),
            }
        }
        for (number, file) in touched {
            let path = segment::path(&self.root, tenant, number);
            file.sync_data().map_err(|cause| self.fail(&unreadable(&path, "synced", cause)))?;
        }
        Ok(())
    }

    /// The segment into which a tenant's copies are written now. Runs on the write lane.
    pub(super) fn tail(&self, tenant: TenantId) -> Option<SegmentNumber> {
        lock(&self.writer).tails.get(&tenant).map(|tail| tail.segment)
    }

    /// Unlinks segments below `tail` that are none of `live`, and the tail too where the tenant has no copy at all. Runs on
    /// the write lane. `live` may be older than this call: below what was the tail when it was made, rows only go.
    pub(super) fn unlink(
        &self,
        tenant: TenantId,
        tail: SegmentNumber,
        live: &BTreeSet<SegmentNumber>,
    ) -> Result<u64, ChunksError> {
        self.check()?;
        let files = &**self.host.files();
        let directory = segment::directory(&self.root, tenant);
        let mut writer = lock(&self.writer);
        let (from, to) = Key::all_of(&tenant);
        let is_bare = self.index.range(&from, &to, 1).map_err(|error| self.fail(&error))?.is_empty();
        let numbers =
            segment::numbers(files, &self.root, tenant).map_err(|cause| unreadable(&directory, "listed", cause))?;
        let empty: Vec<SegmentNumber> =
            numbers.into_iter().filter(|number| is_bare || *number < tail && !live.contains(number)).collect();
        if empty.is_empty() {
            return Ok(0);
        }
        if is_bare {
            self.end_segment(&mut writer, tenant, None)?;
            if let Some(tail) = writer.tails.get_mut(&tenant) {
                // Full, so that what comes next goes into a segment of a new number.
                *tail = Tail { end: self.options.segment_bytes_max.max(1), ..*tail };
            }
        }
        for number in &empty {
            self.index.forget(tenant, *number);
        }
        self.commit_index(&mut writer)?;
        for number in &empty {
            let path = segment::path(&self.root, tenant, *number);
            files.remove(&path).map_err(|cause| self.fail(&unreadable(&path, "removed", cause)))?;
            lock(&self.readers).forget(tenant, *number);
        }
        files.sync_dir(&directory).map_err(|cause| self.fail(&unreadable(&directory, "synced", cause)))?;
        metrics::unlinked(empty.len() as u64);
        Ok(empty.len() as u64)
    }
}
