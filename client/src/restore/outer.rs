//! Where the streams of a whole appear: beside the target until all are there, if the target was absent.
//!
//! Each stream is staged inside by itself, as ever. Promises: as those of one staging directory (`staging.rs`): nothing is
//! removed or shown by a path that a symlink could turn elsewhere, nobody else works in it, another tenant's target is
//! refused.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode};
use rustix::io::Errno;

use super::staging::{
    Marker, Occupied, check_marker, cstring, find_earlier, hex8, mismatch, names_of, open_directory, remove_tree,
    rename_new, set_marker,
};
use crate::error::{Error, Result};

/// A claimed target of several streams.
pub(crate) struct Outer {
    how: How,
    shown: PathBuf,
    marker: Marker,
}

enum How {
    /// Streams come into a staging directory of this name beside the target, which is renamed to the target's.
    Beside { parent: OwnedFd, staging: CString, root: OwnedFd, name: CString, path: PathBuf },
    /// The target is there: streams come into it.
    Inside(OwnedFd),
}

impl Outer {
    /// Looks at the target, and makes the staging directory if it is absent.
    ///
    /// # Errors
    /// `Refused` with `TARGET_MISMATCH` or `BUSY`, as for one snapshot.
    pub(crate) fn claim(target: &Path, occupied: Occupied, marker: Marker) -> Result<Self> {
        let shown = std::path::absolute(target).map_err(|cause| Error::file("find", target, cause))?;
        let (Some(above), Some(name)) = (shown.parent(), shown.file_name()) else {
            return Err(mismatch(&shown, "is no place to restore to"));
        };
        let fail = |errno| Error::file("make staging for", &shown, errno);
        let name = cstring(name.as_bytes()).map_err(fail)?;
        std::fs::create_dir_all(above).map_err(|cause| Error::file("make", above, cause))?;
        let parent = super::staging::open_parent(above)?;
        let how = match open_directory(&parent, &name) {
            Err(Errno::NOENT) => {
                let staging = [b".", name.to_bytes(), b".strongroom-", hex8(marker.snapshot).as_bytes()].concat();
                let staging = cstring(&staging).map_err(fail)?;
                let found = find_earlier(&parent, &staging, &shown)?;
                remove_tree(&parent, &staging).map_err(fail)?;
                drop(found);
                rustix::fs::mkdirat(&parent, &staging, Mode::RWXU).map_err(fail)?;
                let root = open_directory(&parent, &staging).map_err(fail)?;
                rustix::fs::flock(&root, FlockOperation::NonBlockingLockExclusive).map_err(fail)?;
                let path = above.join(std::ffi::OsStr::from_bytes(staging.to_bytes()));
                How::Beside { parent, staging, root, name, path }
            }
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(mismatch(&shown, "is there and is no directory of its own"));
            }
            Err(errno) => return Err(Error::file("open", &shown, errno)),
            Ok(directory) => {
                check_marker(&directory, &marker, &shown)?;
                let names = names_of(&directory).map_err(|errno| Error::file("list", &shown, errno))?;
                if !names.is_empty() && occupied == Occupied::Refused {
                    return Err(mismatch(&shown, "is not empty"));
                }
                How::Inside(directory)
            }
        };
        Ok(Self { how, shown, marker })
    }

    /// Where streams are restored to.
    pub(crate) fn path(&self) -> &Path {
        match &self.how {
            How::Beside { path, .. } => path,
            How::Inside(_) => &self.shown,
        }
    }

    /// Shows all streams, which are durable each.
    pub(crate) fn publish(self) -> Result<()> {
        let fail = |errno| Error::file("finish", &self.shown, errno);
        match &self.how {
            How::Beside { parent, staging, root, name, .. } => {
                set_marker(root, &self.marker).map_err(fail)?;
                rustix::fs::fchmod(root, Mode::from_raw_mode(0o755)).map_err(fail)?;
                rustix::fs::fsync(root).map_err(fail)?;
                rename_new(parent, staging, parent, name).map_err(fail)?;
                rustix::fs::fsync(parent).map_err(fail)
            }
            How::Inside(directory) => {
                set_marker(directory, &self.marker).map_err(fail)?;
                rustix::fs::fsync(directory).map_err(fail)
            }
        }
    }

    /// Removes what was staged beside the target. Streams that came into a target that was there stay: each is whole.
    pub(crate) fn discard(self) -> Result<()> {
        match &self.how {
            How::Beside { parent, staging, .. } => {
                remove_tree(parent, staging).map_err(|errno| Error::file("clear staging for", &self.shown, errno))
            }
            How::Inside(_) => Ok(()),
        }
    }
}
