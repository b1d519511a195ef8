//! Extended attributes of an entry: what a file system keeps under names of its own. Access control lists are among
//! them (`system.posix_acl_access`, `system.posix_acl_default`), and so are capabilities (`security.capability`).
//!
//! ```text
//!   field    ( name bytes varint ‖ name ‖ value bytes varint ‖ value ) …      names strictly ascending
//! ```
//!
//! Not here: reading and setting them, and which of them give power (the client).

use crate::manifest::field::{Reader, Why, put_varint};

/// No name is longer, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// No value is longer, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 << 10;
/// All of one entry together, as they are written, are not longer.
pub const ALL_BYTES_MAX: usize = 512 << 10;

/// The mark that a restore leaves in its target. It is no attribute of an entry: neither written nor restored.
pub const RESTORE_MARK: &str = "user.strongroom.restored";

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// With its namespace, as in `user.mime_type`: 1 to 255 bytes, no NUL.
    pub name: Vec<u8>,
    /// At most 64 KiB of anything.
    pub value: Vec<u8>,
}

/// How many bytes some attributes take as they are written, at most.
pub fn written_bytes(xattrs: &[Xattr]) -> usize {
    // A length of up to 64 KiB takes at most three bytes.
    xattrs.iter().map(|xattr| 3 + xattr.name.len() + 3 + xattr.value.len()).sum()
}

pub(super) fn check(xattrs: &[Xattr]) -> Result<(), Why> {
    for Xattr { name, value } in xattrs {
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || name.contains(&0) {
            return Err("not an attribute's name");
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err("an attribute's value has at most 64 KiB");
        }
    }
    if !xattrs.is_sorted_by(|a, b| a.name < b.name) {
        return Err("attributes are not in ascending order, or one is there twice");
    }
    if written_bytes(xattrs) > ALL_BYTES_MAX { Err("an entry's attributes have at most 512 KiB") } else { Ok(()) }
}

pub(super) fn encode(xattrs: &[Xattr]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(written_bytes(xattrs));
    for Xattr { name, value } in xattrs {
        for part in [name, value] {
            put_varint(&mut bytes, part.len() as u64);
            bytes.extend(part);
        }
    }
    bytes
}

/// Reads them; whether they are in order and within bounds, [`check`] says.
pub(super) fn decode(value: &[u8]) -> Result<Vec<Xattr>, Why> {
    let mut reader = Reader(value);
    let mut xattrs = Vec::new();
    if reader.is_empty() {
        return Err("no attributes are no field");
    }
    while !reader.is_empty() {
        let (name, value) = (reader.sized()?.to_vec(), reader.sized()?.to_vec());
        xattrs.push(Xattr { name, value });
    }
    Ok(xattrs)
}
