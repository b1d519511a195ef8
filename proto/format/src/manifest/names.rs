//! What the owners of a snapshot's entries were called where it was made. For people: nothing is decided by a name.
//!
//! ```text
//!   field    ( id varint ‖ name bytes varint ‖ name ) …      ids strictly ascending
//! ```
//!
//! Not here: whose entries they are ([`super::entry::Owner`]), looking them up (the client).

use std::collections::BTreeMap;

use crate::manifest::field::{Reader, Why, put_varint};

/// No name is longer, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// No snapshot names more users, or more groups.
pub const NAMES_MAX: usize = 1024;

/// Names by id; an id without one was not known by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerNames {
    /// Of users: 1 to 255 bytes each, no NUL.
    pub users: BTreeMap<u32, Vec<u8>>,
    /// Of groups, likewise.
    pub groups: BTreeMap<u32, Vec<u8>>,
}

pub(super) fn check(names: &BTreeMap<u32, Vec<u8>>) -> Result<(), Why> {
    if names.len() > NAMES_MAX {
        return Err("a snapshot names at most 1024 users or groups");
    }
    let good = |name: &Vec<u8>| (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(&0);
    if names.values().all(good) { Ok(()) } else { Err("not a user's or group's name") }
}

pub(super) fn encode(names: &BTreeMap<u32, Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (id, name) in names {
        put_varint(&mut bytes, (*id).into());
        put_varint(&mut bytes, name.len() as u64);
        bytes.extend(name);
    }
    bytes
}

/// Reads them; whether they are names, [`check`] says.
pub(super) fn decode(value: &[u8]) -> Result<BTreeMap<u32, Vec<u8>>, Why> {
    let mut reader = Reader(value);
    let mut names = BTreeMap::new();
    if reader.is_empty() {
        return Err("no names are no field");
    }
    while !reader.is_empty() {
        let id = reader.varint_u32()?;
        if names.last_key_value().is_some_and(|(last, _)| id <= *last) {
            return Err("names are not in ascending order of ids");
        }
        names.insert(id, reader.sized()?.to_vec());
    }
    Ok(names)
}
