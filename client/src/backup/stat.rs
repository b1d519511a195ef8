//! What a file system says of an entry, in our words.
//!
//! Not here: asking it (`walk.rs`), extended attributes (`xattrs.rs`), holes (`stored.rs`).

use rustix::fs::Stat;
use strongroom_format::manifest::entry::{Attributes, MODE_MAX, Moment, Owner};

/// What tells a file from others, and from itself at another time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inode {
    /// The file system that it is in.
    pub device: u64,
    /// Its number there.
    pub number: u64,
    /// How many names it has.
    pub names: u32,
    /// Its size.
    pub bytes: u64,
    /// When it was last changed.
    pub modified: Moment,
}

impl Inode {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            number: stat.st_ino,
            names: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX).max(1),
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            modified: modified(stat),
        }
    }
}

/// All attributes but the extended ones.
pub(crate) fn attributes_of(stat: &Stat) -> Attributes {
    let owner = Owner { user: stat.st_uid, group: stat.st_gid };
    // Nobody has this number; a file system without owners may say it.
    let is_known = owner.user != u32::MAX && owner.group != u32::MAX;
    Attributes {
        mode: stat.st_mode & MODE_MAX,
        modified: modified(stat),
        owner: is_known.then_some(owner),
        xattrs: Vec::new(),
    }
}

fn modified(stat: &Stat) -> Moment {
    Moment { seconds: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}
