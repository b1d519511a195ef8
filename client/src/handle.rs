//! Names in open directories, for system calls that take no directory handle.
//!
//! Not here: whether the name is what the caller thinks (`backup/walk.rs`, `restore/staging.rs`).

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// A path to a name in an open directory, whatever the directory is called by now. Calls that follow no link at a path's
/// end follow none at all on it.
pub(crate) fn path_of(directory: &OwnedFd, name: &CStr) -> PathBuf {
    path_to(directory).join(OsStr::from_bytes(name.to_bytes()))
}

/// A path to what is open, be it only as a path.
pub(crate) fn path_to(handle: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}
