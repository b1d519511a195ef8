//! Giving restored entries what they had besides their content: owner, extended attributes, mode, time, in this order.
//!
//! A new owner takes set-uid bits and capabilities away, so it comes first; an access control list changes the mode, and a
//! mode may forbid attributes, so it comes behind them; the time is the last of what is written.
//!
//! Promises: no link is followed; what gives somebody power is given only when asked (N115), and set-uid bits never
//! without their owner; what cannot be given is counted by reason and stops nothing, unless the disk fails. Not here:
//! when it happens (`write.rs`, `others.rs`, `staging.rs`).

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use strongroom_format::manifest::entry::{Attributes, Moment};
use strongroom_format::manifest::xattr::{RESTORE_MARK, Xattr};

use crate::handle::{path_of, path_to};

/// Set-uid and set-gid.
const POWER_BITS: u32 = 0o6000;
/// The attribute that gives a program rights of root's.
const CAPABILITY: &[u8] = b"security.capability";
/// The attribute that holds an access control list.
const ACCESS_LIST: &[u8] = b"system.posix_acl_access";
/// Namespaces of attributes; others do not exist.
const NAMESPACES: [&str; 4] = ["security", "system", "trusted", "user"];

/// Whether a restore gives what gives power: set-uid and set-gid bits, capabilities, devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Special {
    /// Bits and capabilities are taken away, devices left out.
    #[default]
    LeftOut,
    /// All as it was, as far as the caller's rights allow.
    Given,
}

/// What restored entries lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lacking {
    /// Their owner or group.
    Owner,
    /// Set-uid bits, set-gid bits or capabilities.
    Power,
    /// Extended attributes, access control lists among them.
    Attributes,
    /// Permission bits.
    Mode,
}

/// Why some restored entries are not quite what they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotGiven {
    /// What they lack.
    pub what: Lacking,
    /// Why, for people.
    pub why: String,
    /// How many.
    pub entries: u64,
}

/// Gives, and counts what it could not.
#[derive(Debug)]
pub(crate) struct Giver {
    special: Special,
    not_given: Mutex<BTreeMap<(Lacking, String), u64>>,
}

/// What is given to.
#[derive(Clone, Copy)]
enum To<'a> {
    Open(BorrowedFd<'a>),
    /// A name in a directory of ours: a link, or what must not be opened.
    Name(&'a OwnedFd, &'a CStr),
}

impl Giver {
    pub(crate) fn new(special: Special) -> Self {
        Self { special, not_given: Mutex::default() }
    }

    /// To an open file or directory.
    pub(crate) fn to_open(&self, file: impl AsFd, attributes: &Attributes) -> Result<(), Errno> {
        let file = file.as_fd();
        let mode = self.all_but_mode(To::Open(file), attributes)?;
        self.mode(rustix::fs::fchmod(file, Mode::from_raw_mode(mode)))?;
        rustix::fs::futimens(file, &times(attributes.modified))
    }

    /// To a symbolic link, which has no mode of its own.
    pub(crate) fn to_link(&self, parent: &OwnedFd, name: &CStr, attributes: &Attributes) -> Result<(), Errno> {
        // Its bits mean nothing.
        let attributes = &Attributes { mode: 0o777, ..attributes.clone() };
        self.all_but_mode(To::Name(parent, name), attributes)?;
        rustix::fs::utimensat(parent, name, &times(attributes.modified), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// To a FIFO or a device, which is not opened: that would wait for somebody, or do something.
    pub(crate) fn to_special(&self, parent: &OwnedFd, name: &CStr, attributes: &Attributes) -> Result<(), Errno> {
        let mode = self.all_but_mode(To::Name(parent, name), attributes)?;
        let handle =
            rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        self.mode(rustix::fs::chmod(path_to(&handle), Mode::from_raw_mode(mode)))?;
        rustix::fs::utimensat(parent, name, &times(attributes.modified), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// What could not be given, by reason.
    pub(crate) fn not_given(&self) -> Vec<NotGiven> {
        let counted = self.not_given.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |((what, why), entries): (&(Lacking, String), &u64)| NotGiven {
            what: *what,
            why: why.clone(),
            entries: *entries,
        };
        counted.iter().map(row).collect()
    }

    /// The mode that is left to be set.
    fn all_but_mode(&self, to: To<'_>, attributes: &Attributes) -> Result<u32, Errno> {
        let has_owner = self.owner(to, attributes)?;
        let mut mode = attributes.mode;
        let mut lacks_power = mode & POWER_BITS != 0 && self.special == Special::LeftOut;
        for xattr in &attributes.xattrs {
            if xattr.name == RESTORE_MARK.as_bytes() {
                continue;
            }
            if xattr.name == CAPABILITY && self.special == Special::LeftOut {
                lacks_power = true;
            } else if !self.xattr(to, xattr)? && xattr.name == ACCESS_LIST {
                // With a list the group's bits are the most that anybody on the list has, not what the group has.
                mode &= !0o070 | (group_bits(&xattr.value) << 3);
            }
        }
        if lacks_power {
            self.lacks(
                Lacking::Power,
                "set-uid bits, set-gid bits and capabilities are given only when asked for".into(),
            );
            mode &= !POWER_BITS;
        } else if mode & POWER_BITS != 0 && !has_owner {
            self.lacks(Lacking::Power, "set-uid and set-gid bits would lend the rights of another owner".into());
            mode &= !POWER_BITS;
        }
        Ok(mode)
    }

    /// Whether it is its owner's now.
    fn owner(&self, to: To<'_>, attributes: &Attributes) -> Result<bool, Errno> {
        let Some(owner) = attributes.owner else { return Ok(true) };
        let (user, group) = (Uid::from_raw(owner.user), Gid::from_raw(owner.group));
        let give = |user: Option<Uid>, group: Option<Gid>| match to {
            To::Open(file) => rustix::fs::fchown(file, user, group),
            To::Name(parent, name) => rustix::fs::chownat(parent, name, user, group, AtFlags::SYMLINK_NOFOLLOW),
        };
        let errno = match give(Some(user), Some(group)) {
            Ok(()) => return Ok(true),
            Err(Errno::IO) => return Err(Errno::IO),
            Err(errno) => errno,
        };
        // The group may be one of the caller's own.
        let _group = give(None, Some(group));
        let why = match errno {
            Errno::PERM => "only root gives files to others".to_owned(),
            errno => errno.to_string(),
        };
        self.lacks(Lacking::Owner, why);
        Ok(false)
    }

    /// Whether it was set.
    fn xattr(&self, to: To<'_>, xattr: &Xattr) -> Result<bool, Errno> {
        let name = xattr.name.as_slice();
        let set = match to {
            To::Open(file) => rustix::fs::fsetxattr(file, name, &xattr.value, XattrFlags::empty()),
            To::Name(parent, of) => rustix::fs::lsetxattr(path_of(parent, of), name, &xattr.value, XattrFlags::empty()),
        };
        match set {
            Ok(()) => Ok(true),
            Err(Errno::IO) => Err(Errno::IO),
            Err(errno) => {
                let namespace = name.split(|byte| *byte == b'.').next().unwrap_or_default();
                let namespace = NAMESPACES.into_iter().find(|known| known.as_bytes() == namespace);
                let what = if name == ACCESS_LIST { "access control lists" } else { namespace.unwrap_or("other") };
                self.lacks(Lacking::Attributes, format!("{what}: {errno}"));
                Ok(false)
            }
        }
    }

    fn mode(&self, set: Result<(), Errno>) -> Result<(), Errno> {
        match set {
            Err(errno) if errno != Errno::IO => self.lacks(Lacking::Mode, errno.to_string()),
            set => return set,
        }
        Ok(())
    }

    fn lacks(&self, what: Lacking, why: String) {
        *self.not_given.lock().unwrap_or_else(PoisonError::into_inner).entry((what, why)).or_default() += 1;
    }
}

pub(crate) fn times(modified: Moment) -> Timestamps {
    let time = Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// What the owning group may do by an access control list as Linux keeps it: version u32, then tag u16, bits u16, id
/// u32 for each line (`linux/posix_acl_xattr.h`). Nothing, if it is none.
fn group_bits(list: &[u8]) -> u32 {
    const GROUP: u16 = 0x04;
    let mut lines = list.get(4..).unwrap_or_default().chunks_exact(8);
    let of_group = lines.find(|line| u16::from_le_bytes([line[0], line[1]]) == GROUP);
    of_group.map_or(0, |line| u32::from(line[2] & 0o7))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use strongroom_format::manifest::entry::Owner;

    use super::*;

    fn attributes(mode: u32, owner: Option<(u32, u32)>, xattrs: &[(&str, &[u8])]) -> Attributes {
        let xattr = |(name, value): &(&str, &[u8])| Xattr { name: name.as_bytes().to_vec(), value: value.to_vec() };
        Attributes {
            mode,
            modified: Moment { seconds: -5, nanos: 999_999_999 },
            owner: owner.map(|(user, group)| Owner { user, group }),
            xattrs: xattrs.iter().map(xattr).collect(),
        }
    }

    fn mode(file: &std::fs::File) -> u32 {
        file.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn n115_power_is_given_only_when_asked_and_said_else() {
        let file = tempfile::tempfile().unwrap();
        let giver = Giver::new(Special::LeftOut);
        giver.to_open(&file, &attributes(0o6755, None, &[("security.capability", &[1, 0, 0, 2])])).unwrap();
        assert_eq!(mode(&file), 0o755);
        let metadata = file.metadata().unwrap();
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (-5, 999_999_999));
        assert!(rustix::fs::fgetxattr(&file, "security.capability", &mut [0; 64][..]).is_err());
        let [lacks] = &giver.not_given()[..] else { panic!("one reason") };
        assert_eq!((lacks.what, lacks.entries), (Lacking::Power, 1));

        let giver = Giver::new(Special::Given);
        giver.to_open(&file, &attributes(0o6755, None, &[])).unwrap();
        assert_eq!(mode(&file), 0o6755);
        assert_eq!(giver.not_given(), []);
    }

    #[test]
    fn what_cannot_be_given_is_counted_by_reason_and_stops_nothing() {
        let giver = Giver::new(Special::Given);
        // No file system has such a namespace, and no list is one byte long.
        let odd = attributes(0o675, None, &[("nonsense.a", b"x"), ("system.posix_acl_access", b"x")]);
        let files = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        files.iter().for_each(|file| giver.to_open(file, &odd).unwrap());
        let lacks = giver.not_given();
        assert_eq!(
            lacks.iter().map(|lacks| (lacks.what, lacks.entries)).collect::<Vec<_>>(),
            [(Lacking::Attributes, 2), (Lacking::Attributes, 2)]
        );
        assert!(lacks[0].why.starts_with("access control lists: "), "{}", lacks[0].why);
        assert!(lacks[1].why.starts_with("other: "), "{}", lacks[1].why);
        // Without its list a file must not be open to more people than with it.
        assert_eq!(mode(&files[0]), 0o605);
    }

    #[test]
    fn an_ordinary_user_cannot_give_away_and_then_gives_no_power_either() {
        let file = tempfile::tempfile().unwrap();
        let giver = Giver::new(Special::Given);
        giver.to_open(&file, &attributes(0o4755, Some((4242, 4343)), &[])).unwrap();
        let metadata = file.metadata().unwrap();
        if rustix::process::geteuid().is_root() {
            assert_eq!((metadata.uid(), metadata.gid(), mode(&file)), (4242, 4343, 0o4755));
            assert_eq!(giver.not_given(), []);
        } else {
            assert_eq!(mode(&file), 0o755);
            let lacks = giver.not_given().into_iter().map(|lacks| lacks.what).collect::<Vec<_>>();
            assert_eq!(lacks, [Lacking::Owner, Lacking::Power]);
        }
    }

    #[test]
    fn a_list_says_what_its_group_may_do() {
        let line = |tag: u16, bits: u16| [tag.to_le_bytes(), bits.to_le_bytes(), [0xff; 2], [0xff; 2]].concat();
        let list = [vec![2, 0, 0, 0], line(1, 6), line(2, 7), line(4, 5), line(0x10, 7), line(0x20, 4)].concat();
        assert_eq!(group_bits(&list), 5);
        for broken in [&list[..4], &list[..20], b"", b"x"] {
            assert_eq!(group_bits(broken), 0);
        }
    }
}
