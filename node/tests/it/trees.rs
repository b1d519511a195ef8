//! Trees of files for tests: made from a seed, and compared byte for byte.
//!
//! Not here: backing up and restoring (the SDK). This shares no code with it, so that it can disagree with it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

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

/// The first differences between two trees, for people; empty if there are none.
pub fn differences(expected: &Path, found: &Path) -> Vec<String> {
    let mut differences = Vec::new();
    compare(expected, found, &mut differences);
    differences
}

/// Asserts that a tree came back as it was.
#[track_caller]
pub fn assert_equal(expected: &Path, found: &Path) {
    let differences = differences(expected, found);
    assert!(differences.is_empty(), "{differences:#?}");
}

fn compare(expected: &Path, found: &Path, differences: &mut Vec<String>) {
    for name in children(expected).union(&children(found)) {
        let (one, other) = (expected.join(name), found.join(name));
        let (Ok(about), Ok(about_other)) = (fs::symlink_metadata(&one), fs::symlink_metadata(&other)) else {
            differences.push(format!("{} is in one of both only", one.display()));
            continue;
        };
        let same_kind = about.file_type() == about_other.file_type();
        let is_link = about.is_symlink();
        let look = |about: &fs::Metadata| (about.mode() & 0o7777, about.mtime(), about.mtime_nsec());
        if !same_kind || (!is_link && look(&about) != look(&about_other)) {
            differences.push(format!("{}: {:?} became {:?}", one.display(), look(&about), look(&about_other)));
        } else if is_link {
            if fs::read_link(&one).ok() != fs::read_link(&other).ok() {
                differences.push(format!("{} points elsewhere", one.display()));
            }
        } else if about.is_dir() {
            compare(&one, &other, differences);
        } else if fs::read(&one).ok() != fs::read(&other).ok() {
            differences.push(format!("{} has other bytes", one.display()));
        }
    }
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
