//! What a restore makes besides directories and files: symbolic links, FIFOs, devices, further names.
//!
//! Promises: made when all files are written, so that none is written through them (N115); a further name is one of
//! something that this restore made; what cannot be made here is left out by name. Not here: the system calls
//! (`staging.rs`), which of them are wanted (`plan.rs`).

use std::collections::BTreeSet;

use rustix::io::Errno;
use strongroom_format::manifest::entry::{Attributes, Device};

use super::path::TreePath;
use super::staging::Staging;
use super::write::DamagedFile;
use crate::error::{Error, Result};

/// Something to make.
#[derive(Debug)]
pub(crate) struct PlannedOther {
    /// Where it goes.
    pub path: TreePath,
    /// Its path in the snapshot.
    pub name: Vec<u8>,
    pub attributes: Attributes,
    pub what: Other,
}

/// What it is.
#[derive(Debug)]
pub(crate) enum Other {
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A device.
    Device(Device),
}

/// One more name of something.
#[derive(Debug)]
pub(crate) struct PlannedName {
    /// Where it goes.
    pub path: TreePath,
    /// Its path in the snapshot.
    pub name: Vec<u8>,
    /// What it names: where that goes, and its path in the snapshot.
    pub first: TreePath,
    pub first_name: Vec<u8>,
}

/// Makes them, and says what could not be made.
pub(crate) fn make_others(staging: &Staging, others: &[PlannedOther]) -> Result<Vec<DamagedFile>> {
    let mut left_out = Vec::new();
    for PlannedOther { path, name, attributes, what } in others {
        let made = match what {
            Other::Symlink(target) => staging.make_symlink(path, target, attributes),
            Other::Fifo => staging.make_fifo(path, attributes),
            Other::Device(device) => staging.make_device(path, *device, attributes),
        };
        if let Err(errno) = made {
            left_out.push(left(name, path, errno)?);
        }
    }
    Ok(left_out)
}

/// Gives further names, but to what is not there: such names are missing for the same reason.
pub(crate) fn make_names(
    staging: &Staging,
    names: &[PlannedName],
    damaged: &mut Vec<DamagedFile>,
    left_out: &mut Vec<DamagedFile>,
) -> Result<()> {
    let paths = |files: &[DamagedFile]| files.iter().map(|file| file.path.clone()).collect::<BTreeSet<_>>();
    let (are_damaged, are_left_out) = (paths(damaged), paths(left_out));
    for PlannedName { path, name, first, first_name } in names {
        let missing = || DamagedFile {
            path: name.clone(),
            why: format!("it is another name of {}", String::from_utf8_lossy(first_name)),
        };
        if are_damaged.contains(first_name) {
            damaged.push(missing());
        } else if are_left_out.contains(first_name) {
            left_out.push(missing());
        } else if let Err(errno) = staging.make_name(path, first) {
            left_out.push(left(name, path, errno)?);
        }
    }
    Ok(())
}

/// Full or broken disks end a restore; what a file system or the caller's rights do not allow costs one entry.
fn left(name: &[u8], path: &TreePath, errno: Errno) -> Result<DamagedFile> {
    match errno {
        Errno::IO | Errno::NOSPC | Errno::DQUOT | Errno::ROFS => Err(Error::file("make", path.to_string(), errno)),
        errno => Ok(DamagedFile { path: name.to_vec(), why: format!("it cannot be made here: {errno}") }),
    }
}
