//! Trees of files for tests: made from a seed, and compared by everything that a file system says of them: bytes, kinds,
//! permissions, owners, times, extended attributes, devices, holes, and which names are one file.
//!
//! Not here: backing up and restoring (the SDK). This shares no code with it, so that it can disagree with it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{FileType, Mode, SeekFrom, XattrFlags};

/// Bytes that nobody can compress, the same for the same seed.
pub fn noise(seed: &str, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut noise);
    noise
}

/// Makes a small tree: directories, empty, small and larger files, odd names, a link.
pub fn plant(root: &Path, seed: &str) {
    let write = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("a directory can be made");
        fs::write(path, bytes).expect("a file can be written");
    };
    write("empty", b"");
    write("text/letter.txt", format!("dear {seed}\n").repeat(40).as_bytes());
    write("odd names/ünïcode \t tab", b"odd");
    for number in 0..20 {
        let size = 1_000 + 3_000 * number;
        write(&format!("small/{number}.bin"), &noise(&format!("{seed} {number}"), size));
    }
    write("large/one.bin", &noise(&format!("{seed} large"), 3_456_789));
    fs::create_dir_all(root.join("nothing in here")).expect("a directory can be made");
    std::os::unix::fs::symlink("../text/letter.txt", root.join("small/link")).expect("a link can be made");
}

/// Adds what trees have besides: several names, holes, FIFOs, extended attributes and access control lists, names of any
/// bytes, odd times, and as root devices, capabilities and other owners. What the file system or the caller's rights do
/// not allow is left out and comes back by name.
pub fn plant_awkward(root: &Path, seed: &str) -> Vec<&'static str> {
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

    let at = |path: &str| root.join(path);
    fs::create_dir_all(at("deep/er/still")).expect("a directory can be made");
    fs::create_dir_all(at("shut")).expect("a directory can be made");
    for name in
        [&b"deep/\xff\xfe not text"[..], b"deep/new\nline", b"deep/ spaces ", b"-rf", b"deep/back\\slash", &[b'n'; 255]]
    {
        fs::write(root.join(std::ffi::OsStr::from_bytes(name)), seed).expect("any bytes make a name");
    }
    // Several names: of a small file, a large one, a link and a FIFO, here and elsewhere.
    fs::write(at("deep/first"), noise(&format!("{seed} first"), 5000)).expect("a file can be written");
    fs::write(at("deep/large"), noise(&format!("{seed} large names"), 2_500_000)).expect("a file can be written");
    std::os::unix::fs::symlink("nowhere at all", at("deep/link")).expect("a link can be made");
    let directory = fs::File::open(root).expect("the root opens");
    rustix::fs::mkfifoat(&directory, "deep/pipe", Mode::RUSR | Mode::WUSR).expect("a FIFO can be made");
    for (first, other) in [
        ("deep/first", "another"),
        ("deep/first", "deep/er/third"),
        ("deep/large", "deep/er/large"),
        ("deep/link", "a link's other name"),
        ("deep/pipe", "deep/er/pipe"),
    ] {
        fs::hard_link(at(first), at(other)).expect("another name can be made");
    }
    // Holes: before, between and behind what is written, and nothing else.
    for (name, size, writes) in [
        ("holes/between", 30 << 20, vec![(1 << 20, 100_000), (20 << 20, 1_500_000)]),
        ("holes/small", 500_000, vec![(200_000, 10)]),
        ("holes/behind", 5 << 20, vec![(0, 1)]),
        ("holes/nothing else", 4 << 30, vec![]),
    ] {
        fs::create_dir_all(at("holes")).expect("a directory can be made");
        let file = fs::File::create(at(name)).expect("a file can be made");
        file.set_len(size).expect("it can be long");
        for (offset, bytes) in writes {
            file.write_all_at(&noise(&format!("{seed} {name} {offset}"), bytes), offset).expect("it can be written");
        }
    }
    let mut not_there = Vec::new();
    let mut has = |what, set: Result<(), rustix::io::Errno>| {
        if set.is_err() && !not_there.contains(&what) {
            not_there.push(what);
        }
    };
    let line = |tag: u16, bits: u16, id: u32| [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat();
    // For one more user: owner, user 4242, group, mask, others.
    let lines = [line(1, 7, !0), line(2, 5, 4242), line(4, 4, !0), line(0x10, 5, !0), line(0x20, 0, !0)].concat();
    let list = [vec![2, 0, 0, 0], lines].concat();
    for name in ["deep/er", "deep/first", "holes/between", "shut"] {
        let file = fs::File::open(at(name)).expect("it opens");
        let set = |xattr: &str, value: &[u8]| rustix::fs::fsetxattr(&file, xattr, value, XattrFlags::empty());
        has("extended attributes", set("user.note", b"any \xff\0 bytes"));
        has("extended attributes", set("user.empty", b""));
        has("extended attributes", set("user.long", &noise(name, 2000)));
        has("access control lists", set("system.posix_acl_access", &list));
        if name == "deep/er" {
            has("access control lists", set("system.posix_acl_default", &list));
        }
    }
    fs::write(at("program"), b"#!/bin/true").expect("a file can be written");
    if rustix::process::geteuid().is_root() {
        for (name, kind, major, minor) in
            [("null", FileType::CharacterDevice, 1, 3), ("disk", FileType::BlockDevice, 7, 250)]
        {
            let number = rustix::fs::makedev(major, minor);
            has("devices", rustix::fs::mknodat(&directory, name, kind, Mode::RUSR | Mode::WOTH, number));
        }
        for name in ["program", "deep/link", "deep/pipe", "deep/er/still", "empty"] {
            std::os::unix::fs::lchown(at(name), Some(4242), Some(4343)).expect("root gives files away");
        }
        let program = fs::File::open(at("program")).expect("it opens");
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        has("capabilities", rustix::fs::fsetxattr(&program, "security.capability", &capability, XattrFlags::empty()));
    } else {
        not_there.extend(["devices", "other owners", "capabilities"]);
    }
    for (name, mode) in [("program", 0o6711), ("deep/first", 0o400), ("shut", 0o1555), ("deep/er", 0o2750)] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).expect("a mode can be set");
    }
    let old = std::time::UNIX_EPOCH - std::time::Duration::new(1000, 1);
    let file = fs::File::open(at("program")).expect("it opens");
    file.set_modified(old).expect("a time can be set");
    not_there
}

/// The first differences between two trees, for people; empty if there are none.
pub fn differences(expected: &Path, found: &Path) -> Vec<String> {
    let mut differences = Vec::new();
    compare(expected, found, &mut differences);
    let (names, names_found) = (names_of_files(expected), names_of_files(found));
    if names != names_found {
        differences.push(format!("other names are one file: {names:?} became {names_found:?}"));
    }
    differences
}

/// Asserts that a tree came back as it was.
#[track_caller]
pub fn assert_equal(expected: &Path, found: &Path) {
    let differences = differences(expected, found);
    assert!(differences.is_empty(), "{differences:#?}");
}

/// What is compared of an entry besides its content.
#[derive(Debug, PartialEq, Eq)]
pub struct Look {
    kind: u32,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    device: u64,
    bytes: u64,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where data and holes begin, in turn.
    holes: Vec<u64>,
}

/// Looks at an entry.
pub fn look(path: &Path) -> std::io::Result<Look> {
    let about = fs::symlink_metadata(path)?;
    let kind = about.file_type();
    Ok(Look {
        kind: about.mode() & 0o170_000,
        // A link's own mode means nothing, and a restore's mark is no attribute of what was restored.
        mode: if kind.is_symlink() { 0 } else { about.mode() & 0o7777 },
        owner: (about.uid(), about.gid()),
        modified: (about.mtime(), about.mtime_nsec()),
        device: if kind.is_char_device() || kind.is_block_device() { about.rdev() } else { 0 },
        bytes: if kind.is_file() { about.size() } else { 0 },
        xattrs: xattrs(path),
        holes: if kind.is_file() { holes(path, about.size()) } else { Vec::new() },
    })
}

fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 65_536];
    let Ok(bytes) = rustix::fs::llistxattr(path, &mut names[..]) else { return Vec::new() };
    let mut xattrs = Vec::new();
    for name in names[..bytes].split(|byte| *byte == 0) {
        let mut value = vec![0; 65_536];
        if let Ok(bytes) = rustix::fs::lgetxattr(path, name, &mut value[..])
            && name != b"user.strongroom.restored"
        {
            value.truncate(bytes);
            xattrs.push((name.to_vec(), value));
        }
    }
    xattrs.sort();
    xattrs
}

fn holes(path: &Path, size: u64) -> Vec<u64> {
    let Ok(file) = fs::File::open(path) else { return Vec::new() };
    // What lies only in memory yet may be told otherwise.
    let _synced = file.sync_all();
    let mut borders = Vec::new();
    let mut at = 0;
    while let Ok(data) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        let Ok(hole) = rustix::fs::seek(&file, SeekFrom::Hole(data)) else { break };
        borders.extend([data, hole.min(size)]);
        at = hole;
    }
    borders
}

/// The names of each file that has several, below a directory.
fn names_of_files(root: &Path) -> std::collections::BTreeSet<Vec<std::path::PathBuf>> {
    let mut names: std::collections::BTreeMap<u64, Vec<_>> = std::collections::BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(path) = open.pop() {
        let Ok(about) = fs::symlink_metadata(&path) else { continue };
        if about.is_dir() {
            open.extend(children(&path).into_iter().map(|name| path.join(name)));
        } else if 1 < about.nlink() {
            let name = path.strip_prefix(root).expect("below the root").to_path_buf();
            names.entry(about.ino()).or_default().push(name);
        }
    }
    let sorted = |mut names: Vec<_>| {
        names.sort();
        names
    };
    names.into_values().map(sorted).filter(|names| 1 < names.len()).collect()
}

fn compare(expected: &Path, found: &Path, differences: &mut Vec<String>) {
    for name in children(expected).union(&children(found)) {
        let (one, other) = (expected.join(name), found.join(name));
        let (Ok(about), Ok(about_other)) = (look(&one), look(&other)) else {
            differences.push(format!("{} is in one of both only", one.display()));
            continue;
        };
        if about != about_other {
            differences.push(format!("{}: {about:?} became {about_other:?}", one.display()));
            continue;
        }
        let kind = fs::symlink_metadata(&one).expect("it was there").file_type();
        if kind.is_symlink() {
            if fs::read_link(&one).ok() != fs::read_link(&other).ok() {
                differences.push(format!("{} points elsewhere", one.display()));
            }
        } else if kind.is_dir() {
            compare(&one, &other, differences);
        } else if kind.is_file() && !has_same_bytes(&one, &other) {
            differences.push(format!("{} has other bytes", one.display()));
        }
    }
}

/// Of files of the same size and with the same holes, which need not be read: they are zeros.
fn has_same_bytes(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::FileExt as _;
    let (Ok(one), Ok(other)) = (fs::File::open(one), fs::File::open(other)) else { return false };
    let Ok(size) = one.metadata().map(|about| about.len()) else { return false };
    let (mut first, mut second) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    while at < size {
        at = match rustix::fs::seek(&one, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => return true,
            Err(_) => at,
        };
        let bytes = usize::try_from((size - at).min(1 << 20)).expect("a mebibyte");
        let both = one.read_exact_at(&mut first[..bytes], at).and(other.read_exact_at(&mut second[..bytes], at));
        if both.is_err() || first[..bytes] != second[..bytes] {
            return false;
        }
        at += bytes as u64;
    }
    true
}

fn children(directory: &Path) -> std::collections::BTreeSet<std::ffi::OsString> {
    let entries = fs::read_dir(directory).unwrap_or_else(|fault| panic!("{}: {fault}", directory.display()));
    entries.map(|entry| entry.expect("a readable entry").file_name()).collect()
}

/// All files below a directory, in no order.
pub fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        // What goes away meanwhile is not there.
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                Ok(_) | Err(_) => {}
            }
        }
    }
    files
}

/// Whether a path's bytes contain others.
pub fn path_contains(path: &Path, needle: &[u8]) -> bool {
    memchr::memmem::find(path.as_os_str().as_bytes(), needle).is_some()
}
