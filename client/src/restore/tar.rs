//! Members of a tar archive, as POSIX.1-2001 (pax) has them: a ustar header, and before it an extended one for what that
//! cannot hold.
//!
//! ```text
//!   extended header (x): "LENGTH KEY=VALUE\n" …   only if: name over 100 bytes, time not a whole second of 1970 to 2242,
//!   ustar header                                   8 GiB and more, owners over 2²¹ or with long names, attributes
//!   contents, filled up to 512 bytes
//! ```
//!
//! Promises: GNU tar and libarchive read it; names are any bytes. Source: POSIX.1-2001, `pax`, "ustar Interchange
//! Format" and "pax Extended Header"; attributes
//! stand as `SCHILY.xattr.NAME`, as GNU tar, libarchive and star have them. Not here: contents (`dump.rs`).

use std::collections::BTreeMap;

use strongroom_format::manifest::entry::{Access, Attributes, Device, Moment, Owner};
use strongroom_format::manifest::names::OwnerNames;

/// Archives consist of blocks of so many bytes.
pub(crate) const BLOCK: usize = 512;
/// A ustar header's name and link name.
const NAME_BYTES: usize = 100;
/// Eleven octal digits.
const NUMBER_MAX: u64 = (1 << 33) - 1;

/// Seven octal digits: whose it is, and a device's numbers.
const ID_MAX: u32 = (1 << 21) - 1;
/// A user's or group's name, with its NUL.
const OWNER_BYTES: usize = 32;

/// What a member is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind<'a> {
    File {
        size: u64,
    },
    Directory,
    Symlink {
        target: &'a [u8],
    },
    /// One more name of a member before it.
    HardLink {
        first: &'a [u8],
    },
    Fifo,
    Device(Device),
}

/// A member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    pub path: &'a [u8],
    pub attributes: &'a Attributes,
    /// What owners are called.
    pub names: &'a OwnerNames,
    pub kind: Kind<'a>,
}

impl Member<'_> {
    /// Whether a header has room for a device's numbers.
    pub(crate) fn holds(device: Device) -> bool {
        device.major <= ID_MAX && device.minor <= ID_MAX
    }

    /// Its headers: whole blocks.
    pub(crate) fn header(&self) -> Vec<u8> {
        let (typeflag, size, link) = match self.kind {
            Kind::File { size } => (b'0', size, &b""[..]),
            Kind::HardLink { first } => (b'1', 0, first),
            Kind::Symlink { target } => (b'2', 0, target),
            Kind::Device(Device { access: Access::Character, .. }) => (b'3', 0, &b""[..]),
            Kind::Device(Device { access: Access::Block, .. }) => (b'4', 0, &b""[..]),
            Kind::Directory => (b'5', 0, &b""[..]),
            Kind::Fifo => (b'6', 0, &b""[..]),
        };
        let Attributes { mode, modified, owner, xattrs } = self.attributes;
        let mut name = self.path.to_vec();
        if matches!(self.kind, Kind::Directory) {
            name.push(b'/');
        }
        let mut records = Vec::new();
        if NAME_BYTES < name.len() {
            put_name(&mut records, b"path", &name);
        }
        if NAME_BYTES < link.len() {
            put_name(&mut records, b"linkpath", link);
        }
        if NUMBER_MAX < size {
            put(&mut records, b"size", size.to_string().as_bytes());
        }
        let whole_seconds = u64::try_from(modified.seconds).ok().filter(|seconds| *seconds <= NUMBER_MAX);
        if modified.nanos != 0 || whole_seconds.is_none() {
            put(&mut records, b"mtime", decimal(*modified).as_bytes());
        }
        // Whose it is may not be known: nobody's in particular then.
        let Owner { user, group } = owner.unwrap_or(Owner { user: 0, group: 0 });
        let named = |names: &BTreeMap<u32, Vec<u8>>, id| match owner {
            Some(_) => names.get(&id).cloned().unwrap_or_default(),
            None => Vec::new(),
        };
        let (user_name, group_name) = (named(&self.names.users, user), named(&self.names.groups, group));
        for (id, id_key, name, name_key) in
            [(user, &b"uid"[..], &user_name, &b"uname"[..]), (group, b"gid", &group_name, b"gname")]
        {
            if ID_MAX < id {
                put(&mut records, id_key, id.to_string().as_bytes());
            }
            if OWNER_BYTES <= name.len() {
                put_name(&mut records, name_key, name);
            }
        }
        for xattr in xattrs {
            put(&mut records, &[b"SCHILY.xattr.", &*keyword(&xattr.name)].concat(), &xattr.value);
        }
        let mut blocks = Vec::with_capacity(BLOCK);
        if !records.is_empty() {
            blocks.extend(
                Ustar { mode: 0o644, size: records.len() as u64, ..Ustar::new(b"././@PaxHeader", b'x') }.block(),
            );
            blocks.extend_from_slice(&records);
            blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
        }
        let device = if let Kind::Device(device) = self.kind { Some(device) } else { None };
        let (mode, mtime) = (*mode, whole_seconds.unwrap_or(0));
        let (user, group) = ((user, &*user_name), (group, &*group_name));
        let header = Ustar { mode, size, mtime, link, user, group, device, ..Ustar::new(&name, typeflag) };
        blocks.extend(header.block());
        blocks
    }
}

/// What follows contents of so many bytes, up to the next block.
pub(crate) fn padding(size: u64) -> &'static [u8] {
    let rest = (size % BLOCK as u64) as usize;
    &[0; BLOCK][..(BLOCK - rest) % BLOCK]
}

/// The end of an archive.
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// A ustar header; what does not fit stands in the extended header.
struct Ustar<'a> {
    name: &'a [u8],
    mode: u32,
    user: (u32, &'a [u8]),
    group: (u32, &'a [u8]),
    size: u64,
    mtime: u64,
    typeflag: u8,
    link: &'a [u8],
    device: Option<Device>,
}

impl<'a> Ustar<'a> {
    fn new(name: &'a [u8], typeflag: u8) -> Self {
        let nobody = (0, &b""[..]);
        Self { name, mode: 0, user: nobody, group: nobody, size: 0, mtime: 0, typeflag, link: b"", device: None }
    }

    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        let id = |id: u32| format!("{:07o}", if id <= ID_MAX { id } else { 0 });
        let short = |name: &'a [u8]| if name.len() < OWNER_BYTES { name } else { b"" };
        put(0, &self.name[..self.name.len().min(NAME_BYTES)]);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, id(self.user.0).as_bytes());
        put(116, id(self.group.0).as_bytes());
        put(124, format!("{:011o}", if self.size <= NUMBER_MAX { self.size } else { 0 }).as_bytes());
        put(136, format!("{:011o}", self.mtime).as_bytes());
        put(148, b"        ");
        put(156, &[self.typeflag]);
        put(157, &self.link[..self.link.len().min(NAME_BYTES)]);
        put(257, b"ustar\x0000");
        put(265, short(self.user.1));
        put(297, short(self.group.1));
        if let Some(device) = self.device {
            put(329, id(device.major).as_bytes());
            put(337, id(device.minor).as_bytes());
        }
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// An attribute's name as part of a key, where `=` ends it: as GNU tar writes it.
fn keyword(name: &[u8]) -> Vec<u8> {
    let mut keyword = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'%' => keyword.extend_from_slice(b"%25"),
            b'=' => keyword.extend_from_slice(b"%3D"),
            other => keyword.push(*other),
        }
    }
    keyword
}

/// Names are UTF-8 unless the header says that they are any bytes.
fn put_name(records: &mut Vec<u8>, key: &[u8], name: &[u8]) {
    if std::str::from_utf8(name).is_err() {
        put(records, b"hdrcharset", b"BINARY");
    }
    put(records, key, name);
}

/// The length of a record counts its own digits.
fn put(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + digits(length) {
        length = rest + digits(length);
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.extend_from_slice(&[b" ", key, b"=", value, b"\n"].concat());
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Seconds with nine places; before 1970 the fraction counts down too.
fn decimal(Moment { seconds, nanos }: Moment) -> String {
    match (seconds, nanos) {
        (0.., _) | (_, 0) => format!("{seconds}.{nanos:09}"),
        (..0, _) => format!("-{}.{:09}", -(i128::from(seconds) + 1), 1_000_000_000 - nanos),
    }
}

#[cfg(test)]
mod tests {
    use strongroom_format::manifest::xattr::Xattr;

    use super::*;

    #[test]
    fn records_count_their_own_length() {
        for bytes in [1, 80, 90, 91, 92, 93, 94, 95, 990, 991, 992, 993, 5000] {
            let mut records = Vec::new();
            put(&mut records, b"path", &vec![b'x'; bytes]);
            let said: usize = std::str::from_utf8(&records).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, records.len());
        }
    }

    #[test]
    fn times_before_1970_count_down() {
        assert_eq!(decimal(Moment { seconds: 5, nanos: 7 }), "5.000000007");
        assert_eq!(decimal(Moment { seconds: -1, nanos: 500_000_000 }), "-0.500000000");
        assert_eq!(decimal(Moment { seconds: -3, nanos: 250_000_000 }), "-2.750000000");
        assert_eq!(decimal(Moment { seconds: -3, nanos: 0 }), "-3.000000000");
    }

    fn attributes(owner: Option<(u32, u32)>) -> Attributes {
        let modified = Moment { seconds: 1_700_000_000, nanos: 0 };
        let owner = owner.map(|(user, group)| Owner { user, group });
        Attributes { mode: 0o640, modified, owner, xattrs: Vec::new() }
    }

    fn has(header: &[u8], what: &[u8]) -> bool {
        header.windows(what.len()).any(|bytes| bytes == what)
    }

    #[test]
    fn what_ustar_holds_has_no_extended_header() {
        let (attributes, names) = (attributes(Some((1000, 100))), OwnerNames::default());
        let file = Member { path: b"a/b", attributes: &attributes, names: &names, kind: Kind::File { size: 5 } };
        let header = file.header();
        assert_eq!(header.len(), BLOCK);
        assert_eq!((&header[..4], &header[100..107], header[156]), (&b"a/b\0"[..], &b"0000640"[..], b'0'));
        assert_eq!((&header[108..115], &header[116..123]), (&b"0001750"[..], &b"0000144"[..]));
        assert_eq!(padding(5).len(), 507);
        assert_eq!(padding(1024).len(), 0);
        let large = Member { kind: Kind::File { size: 9 << 30 }, ..file };
        assert!(has(&large.header(), b"size=9663676416\n"));
        assert_eq!(Member { path: &[b'd'; 99], kind: Kind::Directory, ..file }.header().len(), BLOCK);
        assert_eq!(Member { path: &[b'd'; 100], kind: Kind::Directory, ..file }.header().len(), 3 * BLOCK);
    }

    #[test]
    fn owners_attributes_and_special_kinds_stand_where_readers_look() {
        let mut attributes = attributes(Some((3_000_000, 7)));
        attributes.xattrs.push(Xattr { name: b"user.a=b".to_vec(), value: b"\0v".to_vec() });
        let mut names = OwnerNames::default();
        names.users.insert(3_000_000, b"x".repeat(40));
        names.groups.insert(7, b"staff".to_vec());
        let fifo = Member { path: b"p", attributes: &attributes, names: &names, kind: Kind::Fifo };
        let header = fifo.header();
        for record in
            [&b"15 uid=3000000\n"[..], &[b"uname=", &*b"x".repeat(40)].concat(), b"SCHILY.xattr.user.a%3Db=\0v\n"]
        {
            assert!(has(&header, record));
        }
        let last = &header[header.len() - BLOCK..];
        assert_eq!((last[156], &last[265..266], &last[297..303]), (b'6', &b"\0"[..], &b"staff\0"[..]));
        let device = Device { access: Access::Character, major: 1, minor: 8 };
        let header = Member { kind: Kind::Device(device), ..fifo }.header();
        let last = &header[header.len() - BLOCK..];
        assert_eq!((last[156], &last[329..336], &last[337..344]), (b'3', &b"0000001"[..], &b"0000010"[..]));
        let header = Member { kind: Kind::HardLink { first: b"first" }, ..fifo }.header();
        let last = &header[header.len() - BLOCK..];
        assert_eq!((last[156], &last[157..163]), (b'1', &b"first\0"[..]));
    }
}
