//! Reading extended attributes, access control lists among them.
//!
//! Promises: no link is followed; what comes back fits into an entry; the mark of an earlier restore is left out. Not
//! here: setting them (`restore/give.rs`).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use strongroom_format::manifest::xattr::{ALL_BYTES_MAX, RESTORE_MARK, VALUE_BYTES_MAX, Xattr, written_bytes};

use crate::handle::path_of;

/// Most values fit into so many bytes, and so do most lists of names.
const USUAL_BYTES: usize = 1024;

/// Those of an open file or directory, ascending by name; or why they are not known, for people.
pub(crate) fn of(file: impl AsFd) -> Result<Vec<Xattr>, String> {
    let file = file.as_fd();
    read(|names| rustix::fs::flistxattr(file, names), |name, value| rustix::fs::fgetxattr(file, name, value))
}

/// Those of what must not or cannot be opened: a link, a FIFO, a device.
pub(crate) fn of_name(parent: &OwnedFd, name: &CStr) -> Result<Vec<Xattr>, String> {
    let path = path_of(parent, name);
    read(|names| rustix::fs::llistxattr(&path, names), |name, value| rustix::fs::lgetxattr(&path, name, value))
}

fn read(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&CStr, &mut [u8]) -> Result<usize, Errno>,
) -> Result<Vec<Xattr>, String> {
    let names = match whole(list) {
        Ok(names) => names,
        // A file system without them, or a special file system's own opinion of them.
        Err(Errno::OPNOTSUPP | Errno::PERM) => return Ok(Vec::new()),
        Err(errno) => return Err(format!("its extended attributes cannot be listed: {errno}")),
    };
    let mut xattrs = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty() && *name != RESTORE_MARK.as_bytes()) {
        let c_name = CString::new(name).expect("split at NUL");
        match whole(|value| get(&c_name, value)) {
            Ok(value) => xattrs.push(Xattr { name: name.to_vec(), value }),
            // Removed meanwhile.
            Err(Errno::NODATA) => {}
            Err(errno) => {
                return Err(format!("its extended attribute {} cannot be read: {errno}", name.escape_ascii()));
            }
        }
    }
    xattrs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    xattrs.dedup_by(|a, b| a.name == b.name);
    match written_bytes(&xattrs) {
        ..=ALL_BYTES_MAX => Ok(xattrs),
        bytes => Err(format!("its extended attributes have {bytes} bytes, more than {ALL_BYTES_MAX}")),
    }
}

/// What a call puts into a buffer that is as large as it must be.
fn whole(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut usual = [0; USUAL_BYTES];
    match call(&mut usual) {
        Ok(bytes) => Ok(usual[..bytes].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; VALUE_BYTES_MAX];
            let bytes = call(&mut large)?;
            large.truncate(bytes);
            large.shrink_to_fit();
            Ok(large)
        }
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::XattrFlags;

    use super::*;

    /// Not every file system has `user` attributes: then there is nothing to read here.
    #[test]
    fn attributes_come_ascending_whatever_their_size_and_without_our_mark() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let set = |name: &str, value: &[u8]| rustix::fs::fsetxattr(&file, name, value, XattrFlags::empty());
        if set("user.b", b"two").is_err() {
            eprintln!("the file system has no `user` attributes; nothing was tested");
            return;
        }
        set("user.a", &[7; 2000]).unwrap();
        set("user.empty", b"").unwrap();
        set(RESTORE_MARK, b"tenant").unwrap();
        let found = of(&file).unwrap();
        let user: Vec<_> = found.iter().filter(|xattr| xattr.name.starts_with(b"user.")).collect();
        assert_eq!(
            user.iter().map(|xattr| xattr.name.as_slice()).collect::<Vec<_>>(),
            [&b"user.a"[..], b"user.b", b"user.empty"]
        );
        assert_eq!((user[0].value.len(), &user[1].value[..], user[2].value.len()), (2000, &b"two"[..], 0));
        let home = tempfile::TempDir::new().unwrap();
        let parent = OwnedFd::from(std::fs::File::open(home.path()).unwrap());
        std::fs::hard_link(file.path(), home.path().join("name")).unwrap();
        assert_eq!(of_name(&parent, c"name").unwrap(), found);
        // A link has its own, not its target's.
        std::os::unix::fs::symlink("name", home.path().join("link")).unwrap();
        let of_link = of_name(&parent, c"link").unwrap();
        assert!(of_link.iter().all(|xattr| !xattr.name.starts_with(b"user.")));
    }
}
