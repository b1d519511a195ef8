//! A look at a stopped node's segments without its index, changing nothing: for `inspect` and `fsck`.
//!
//! Shows every record whose header verifies, also ones that a later copy of the same name has replaced. Payloads are not
//! read.

use std::path::Path;

use strongroom_format::fragment::HEADER_BYTES;
use strongroom_host::files::{Files, Open};

use crate::segment::{self, Check, Seen};
use crate::store::{ChunksError, Listed};

/// Shows the copies in a node's data directory, tenant by tenant, segment by segment. Blocking: call it from a lane, or
/// from a tool that does nothing else.
pub fn survey(files: &dyn Files, data_directory: &Path, mut visit: impl FnMut(Listed)) -> Result<(), ChunksError> {
    let root = data_directory.join("segments");
    let failed = |path: &Path, doing| {
        let path = path.to_owned();
        move |cause| ChunksError::Unreadable { path, doing, cause }
    };
    for tenant in segment::tenants(files, &root).map_err(failed(&root, "listed"))? {
        let numbers = segment::numbers(files, &root, tenant).map_err(failed(&root, "listed"))?;
        let tag = segment::read_tag(files, &root, tenant).map_err(failed(&root, "read"))?;
        for number in numbers {
            let path = segment::path(&root, tenant, number);
            let file = files.open(&path, Open::Read).map_err(failed(&path, "opened"))?;
            segment::scan(&*file, 0, Check::Header, tag, |offset, seen| {
                let Seen::Copy(header) = seen else { return };
                visit(Listed {
                    tenant,
                    copy: header.copy,
                    code: header.code,
                    file: segment::path(Path::new(""), tenant, number),
                    payload_offset: offset + HEADER_BYTES as u64,
                    payload_bytes: header.payload_bytes,
                });
            })
            .map_err(failed(&path, "read"))?;
        }
    }
    Ok(())
}
