//! Walking a tree of files: every entry once, in the order of manifests (a directory, then all that is in it, names
//! by their bytes), relative to directory handles.
//!
//! Promises: no symlink is followed below what the caller named; a name may be any bytes; sockets, and what cannot be
//! read, are reported as skipped, what vanishes as vanished, and nothing stops the walk; memory holds one listing per
//! level. Not here: reading contents, and attributes of files (`read.rs`).

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use strongroom_format::manifest::entry::{Access, Attributes, Device};
use strongroom_format::manifest::xattr::Xattr;

use super::stamp::Stamp;
use super::stat::{Inode, attributes_of};
use super::xattrs;
use crate::error::{Error, Result};
use crate::globs::{Globs, Is};

/// Deeper trees are left out: every level costs an open directory.
const DEPTH_MAX: usize = 400;

/// What a directory's cache tag starts with (bford.info/cachedir).
const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Whether directories marked with `CACHEDIR.TAG` are backed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheDirectories {
    /// Like all others.
    #[default]
    Kept,
    /// Left out, and not counted as skipped: it was asked for.
    LeftOut,
}

/// Whether directories of other file systems than their source's are entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileSystems {
    /// All of them.
    #[default]
    All,
    /// A directory that another file system is mounted on is kept, and nothing below it.
    One,
}

/// What of the sources is left out on request; that is not counted as skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Directories that are marked as caches.
    pub cache_directories: CacheDirectories,
    /// What lies on other file systems.
    pub file_systems: FileSystems,
    /// What these match, with all that lies in it; never what was named as a source.
    pub exclude: Globs,
}

/// One thing to back up and its name in the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// The top-level name under which the snapshot holds it. `None`: what is inside the directory lies at the top.
    pub top: Option<Vec<u8>>,
}

impl Source {
    /// The sources of a backup of these paths: one directory lies at the top; a single file, and each of several
    /// paths, under its base name.
    ///
    /// # Errors
    /// `Refused` if there is no path, if one has no base name where it needs one, or if two have the same.
    pub fn of(paths: &[PathBuf]) -> Result<Vec<Self>> {
        let refused = |message: String| {
            Error::refused("INVALID_ARGUMENT", "SOURCES", message, "name existing paths with different base names")
        };
        if let [only] = paths
            && std::fs::metadata(only).map_err(|cause| Error::file("read", only, cause))?.is_dir()
        {
            return Ok(vec![Self { path: only.clone(), top: None }]);
        }
        let mut sources = Vec::with_capacity(paths.len());
        for path in paths {
            std::fs::metadata(path).map_err(|cause| Error::file("read", path, cause))?;
            let whole = std::path::absolute(path).map_err(|cause| Error::file("find", path, cause))?;
            let name = whole.file_name().ok_or_else(|| refused(format!("{} has no base name", path.display())))?;
            sources.push(Self { path: path.clone(), top: Some(name.as_bytes().to_vec()) });
        }
        sources.sort_by(|a, b| a.top.cmp(&b.top));
        if let Some(twice) = sources.windows(2).find(|pair| pair[0].top == pair[1].top) {
            return Err(refused(format!(
                "{} and {} have the same base name",
                twice[0].path.display(),
                twice[1].path.display()
            )));
        }
        if sources.is_empty() {
            return Err(refused("no path is named".into()));
        }
        Ok(sources)
    }
}

/// One entry.
#[derive(Debug)]
pub(crate) struct Found {
    /// Relative to the snapshot's top, components joined by `/`; empty for the top directory itself.
    pub path: Vec<u8>,
    /// Mode, time, owner; extended attributes of all but files, which are opened later.
    pub attributes: Attributes,
    /// Which inode it is.
    pub inode: Inode,
    /// What it is.
    pub kind: Kind,
    /// What of it could not be read, for people.
    pub lacks: Option<String>,
}

/// What an entry is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A directory.
    Directory,
    /// A regular file, to be opened with [`open_file`].
    File {
        /// Size, times and inode when it was looked at.
        stamp: Stamp,
        /// The directory that holds it.
        parent: Arc<OwnedFd>,
        /// Its name there.
        name: CString,
    },
    /// A symlink with its target.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A device.
    Device(Device),
    /// It was there a moment ago.
    Vanished,
    /// Not backed up, with the reason for people.
    Skipped(String),
}

/// Opens a found file for reading, if it still is a regular file, and looks at it.
pub(crate) fn open_file(parent: &OwnedFd, name: &CString) -> std::io::Result<(std::fs::File, Stat)> {
    // Without NONBLOCK a fifo that took the file's place would stop the backup.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(std::io::Error::other("it is no regular file any more"));
    }
    Ok((file.into(), stat))
}

/// The walk. An iterator that never fails: what cannot be read is [`Kind::Skipped`].
pub(crate) struct Walk {
    sources: std::vec::IntoIter<Source>,
    levels: Vec<Level>,
    bounds: Bounds,
    /// The file system of the present source.
    device: u64,
}

struct Level {
    directory: Arc<OwnedFd>,
    path: Vec<u8>,
    names: std::vec::IntoIter<CString>,
}

impl Walk {
    /// Starts at sources in the order of their top-level names.
    pub(crate) fn new(sources: Vec<Source>, bounds: Bounds) -> Self {
        Self { sources: sources.into_iter(), levels: Vec::new(), bounds, device: 0 }
    }

    fn start(&mut self, source: &Source) -> Found {
        let path = source.top.clone().unwrap_or_default();
        // What the caller named may be a symlink; nothing below it is followed.
        let opened =
            rustix::fs::open(&source.path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        match opened {
            Ok(directory) => match rustix::fs::fstat(&directory) {
                Ok(stat) => {
                    self.device = stat.st_dev;
                    self.enter(directory, path, &stat)
                        .unwrap_or_else(|path| skipped(path, "the directory is marked as a cache".into()))
                }
                Err(errno) => skipped(path, errno.to_string()),
            },
            Err(Errno::NOTDIR) => self.start_file(&source.path, path),
            Err(errno) => skipped(path, errno.to_string()),
        }
    }

    fn start_file(&mut self, source: &Path, path: Vec<u8>) -> Found {
        let parent = match source.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        let name = source.file_name().unwrap_or_else(|| OsStr::new("."));
        let opened = rustix::fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        match (opened, CString::new(name.as_bytes())) {
            (Ok(parent), Ok(name)) => match rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => self
                    .describe(&Arc::new(parent), name, path, &stat)
                    .unwrap_or_else(|| skipped(Vec::new(), "the directory is marked as a cache".into())),
                Err(errno) => skipped(path, errno.to_string()),
            },
            (Err(errno), _) => skipped(path, errno.to_string()),
            (_, Err(nul)) => skipped(path, nul.to_string()),
        }
    }

    /// Looks at one name; `None` if it is left out on request.
    fn look(&mut self, parent: &Arc<OwnedFd>, name: CString, path: Vec<u8>) -> Option<Found> {
        let exclude = &self.bounds.exclude;
        let stat = match rustix::fs::statat(parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(_) if exclude.match_entry(&path, Is::Directory) => return None,
            Err(errno) => return Some(missed(path, errno)),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if exclude.match_entry(&path, if is_directory { Is::Directory } else { Is::Other }) {
            return None;
        }
        if self.bounds.file_systems == FileSystems::One && stat.st_dev != self.device {
            return is_directory.then(|| found(path, &stat, Kind::Directory, Ok(Vec::new())));
        }
        self.describe(parent, name, path, &stat)
    }

    /// Says what was looked at, and goes down into directories; `None` if it is left out on request.
    fn describe(&mut self, parent: &Arc<OwnedFd>, name: CString, path: Vec<u8>, stat: &Stat) -> Option<Found> {
        let xattrs = || xattrs::of_name(parent, &name);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                if DEPTH_MAX <= self.levels.len() {
                    return Some(skipped(path, format!("more than {DEPTH_MAX} directories deep")));
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match rustix::fs::openat(parent, &name, flags, Mode::empty()) {
                    Ok(directory) => self.enter(directory, path, stat).ok(),
                    Err(errno) => Some(missed(path, errno)),
                }
            }
            FileType::RegularFile => {
                let kind = Kind::File { stamp: Stamp::of(stat), parent: Arc::clone(parent), name };
                Some(found(path, stat, kind, Ok(Vec::new())))
            }
            FileType::Symlink => match rustix::fs::readlinkat(parent, &name, Vec::new()) {
                Ok(target) => Some(found(path, stat, Kind::Symlink(target.into_bytes()), xattrs())),
                Err(errno) => Some(missed(path, errno)),
            },
            FileType::Fifo => Some(found(path, stat, Kind::Fifo, xattrs())),
            FileType::CharacterDevice => Some(found(path, stat, device(stat, Access::Character), xattrs())),
            FileType::BlockDevice => Some(found(path, stat, device(stat, Access::Block), xattrs())),
            FileType::Socket => Some(skipped(path, "a socket lives only as long as its process".into())),
            FileType::Unknown => Some(skipped(path, "its kind is not known".into())),
        }
    }

    /// Reads a directory's names and goes down into it. The path comes back if it is left out on request.
    fn enter(&mut self, directory: OwnedFd, path: Vec<u8>, stat: &Stat) -> std::result::Result<Found, Vec<u8>> {
        if self.bounds.cache_directories == CacheDirectories::LeftOut && is_cache(&directory) {
            return Err(path);
        }
        let names = match names_of(&directory) {
            Ok(names) => names,
            Err(errno) => return Ok(missed(path, errno)),
        };
        let entry = found(path.clone(), stat, Kind::Directory, xattrs::of(&directory));
        self.levels.push(Level { directory: Arc::new(directory), path, names: names.into_iter() });
        Ok(entry)
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            let Some(level) = self.levels.last_mut() else {
                let source = self.sources.next()?;
                return Some(self.start(&source));
            };
            let Some(name) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let mut path = level.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.to_bytes());
            let parent = Arc::clone(&level.directory);
            if let Some(found) = self.look(&parent, name, path) {
                return Some(found);
            }
        }
    }
}

fn names_of(directory: &OwnedFd) -> std::result::Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn is_cache(directory: &OwnedFd) -> bool {
    let Ok((tag, _)) = open_file(directory, &c"CACHEDIR.TAG".to_owned()) else { return false };
    let mut start = [0; CACHE_TAG.len()];
    rustix::io::pread(tag.as_fd(), &mut start, 0).is_ok_and(|n| n == CACHE_TAG.len()) && start == CACHE_TAG
}

fn device(stat: &Stat, access: Access) -> Kind {
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Kind::Device(Device { access, major, minor })
}

fn found(path: Vec<u8>, stat: &Stat, kind: Kind, xattrs: std::result::Result<Vec<Xattr>, String>) -> Found {
    let (xattrs, lacks) = match xattrs {
        Ok(xattrs) => (xattrs, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    let attributes = Attributes { xattrs, ..attributes_of(stat) };
    Found { path, attributes, inode: Inode::of(stat), kind, lacks }
}

fn skipped(path: Vec<u8>, why: String) -> Found {
    nothing(path, Kind::Skipped(why))
}

/// A name that was listed and cannot be looked at.
fn missed(path: Vec<u8>, errno: Errno) -> Found {
    match errno {
        Errno::NOENT => nothing(path, Kind::Vanished),
        errno => skipped(path, errno.to_string()),
    }
}

fn nothing(path: Vec<u8>, kind: Kind) -> Found {
    Found { path, attributes: Attributes::default(), inode: Inode::default(), kind, lacks: None }
}

#[cfg(test)]
mod tests {
    use strongroom_format::manifest::entry::Owner;

    use super::*;

    fn paths(sources: Vec<Source>, cache_directories: CacheDirectories) -> Vec<(String, &'static str)> {
        paths_within(sources, Bounds { cache_directories, ..Bounds::default() })
    }

    fn paths_within(sources: Vec<Source>, bounds: Bounds) -> Vec<(String, &'static str)> {
        Walk::new(sources, bounds)
            .map(|found| {
                let kind = match found.kind {
                    Kind::Directory => "dir",
                    Kind::File { .. } => "file",
                    Kind::Symlink(_) => "link",
                    Kind::Fifo => "fifo",
                    Kind::Device(_) => "device",
                    Kind::Vanished => "vanished",
                    Kind::Skipped(_) => "skipped",
                };
                (String::from_utf8_lossy(&found.path).into_owned(), kind)
            })
            .collect()
    }

    #[test]
    fn a_directory_comes_before_all_that_is_in_it_and_names_are_ordered_by_bytes() {
        let home = tempfile::tempdir().unwrap();
        let at = home.path();
        std::fs::create_dir(at.join("a")).unwrap();
        for file in ["a/z", "a.txt", "a-b", "B"] {
            std::fs::write(at.join(file), file).unwrap();
        }
        std::os::unix::fs::symlink("/etc", at.join("etc")).unwrap();
        std::fs::write(at.join(OsStr::from_bytes(b"x\xff")), "").unwrap();
        let all = paths(Source::of(&[at.to_owned()]).unwrap(), CacheDirectories::Kept);
        let expected = [
            ("", "dir"),
            ("B", "file"),
            ("a", "dir"),
            ("a/z", "file"),
            ("a-b", "file"),
            ("a.txt", "file"),
            ("etc", "link"),
            ("x\u{fffd}", "file"),
        ];
        assert_eq!(all, expected.map(|(path, kind)| (path.to_owned(), kind)));
    }

    #[test]
    fn a_fifo_is_found_a_socket_skipped_and_what_vanished_said() {
        let home = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(home.path().join("socket")).unwrap();
        let at = rustix::fs::open(home.path(), OFlags::RDONLY, Mode::empty()).unwrap();
        rustix::fs::mkfifoat(&at, "fifo", Mode::RUSR).unwrap();
        std::fs::write(home.path().join("gone"), "").unwrap();
        let mut walk = Walk::new(Source::of(&[home.path().to_owned()]).unwrap(), Bounds::default());
        assert!(matches!(walk.next().unwrap().kind, Kind::Directory));
        std::fs::remove_file(home.path().join("gone")).unwrap();
        let rest: Vec<_> = walk.map(|found| (found.path, found.kind)).collect();
        assert!(matches!(&rest[0], (path, Kind::Fifo) if path == b"fifo"));
        assert!(matches!(&rest[1], (path, Kind::Vanished) if path == b"gone"));
        assert!(matches!(&rest[2], (path, Kind::Skipped(_)) if path == b"socket"));
    }

    #[test]
    fn owner_and_inode_are_those_of_the_file_system() {
        use std::os::unix::fs::MetadataExt as _;
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("a"), "x").unwrap();
        std::fs::hard_link(home.path().join("a"), home.path().join("b")).unwrap();
        let all: Vec<_> = Walk::new(Source::of(&[home.path().to_owned()]).unwrap(), Bounds::default()).collect();
        let metadata = std::fs::metadata(home.path().join("a")).unwrap();
        let owner = Some(Owner { user: metadata.uid(), group: metadata.gid() });
        assert_eq!((all[1].attributes.owner, all[1].inode.number, all[1].inode.names), (owner, metadata.ino(), 2));
        assert_eq!(all[1].inode, all[2].inode);
    }

    #[test]
    fn cache_directories_are_left_out_only_on_request() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("cache")).unwrap();
        std::fs::write(home.path().join("cache/CACHEDIR.TAG"), [CACHE_TAG, b"\n"].concat()).unwrap();
        let sources = Source::of(&[home.path().to_owned()]).unwrap();
        assert_eq!(paths(sources.clone(), CacheDirectories::Kept).len(), 3);
        assert_eq!(paths(sources, CacheDirectories::LeftOut).len(), 1);
    }

    #[test]
    fn what_is_excluded_is_not_there_and_directories_are_not_entered() {
        let home = tempfile::tempdir().unwrap();
        for directory in ["src", "target/debug", "src/target"] {
            std::fs::create_dir_all(home.path().join(directory)).unwrap();
        }
        for file in ["a.o", "src/b.o", "src/b.c", "target/debug/x", "src/target/y"] {
            std::fs::write(home.path().join(file), "").unwrap();
        }
        let exclude = |globs: &[&str]| {
            let exclude = Globs::new(globs.iter().map(|glob| crate::globs::Glob::parse(glob).unwrap()));
            let all =
                paths_within(Source::of(&[home.path().to_owned()]).unwrap(), Bounds { exclude, ..Bounds::default() });
            all.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
        };
        assert_eq!(exclude(&["*.o", "/target/"]), ["", "src", "src/b.c", "src/target", "src/target/y"]);
        assert_eq!(exclude(&["*", "!src", "!*.c"]), ["", "src", "src/b.c"]);
    }

    #[test]
    fn another_file_system_is_kept_as_an_empty_directory() {
        // Everywhere on Linux: /proc is one of its own, below /.
        let sources = vec![Source { path: "/".into(), top: None }];
        let bounds = Bounds { file_systems: FileSystems::One, ..Bounds::default() };
        let below: Vec<_> = Walk::new(sources, bounds)
            .skip_while(|found| found.path != b"proc")
            .take(2)
            .map(|found| String::from_utf8_lossy(&found.path).into_owned())
            .collect();
        assert!(below.len() == 2 && !below[1].starts_with("proc/"), "{below:?}");
    }

    #[test]
    fn several_paths_lie_under_their_base_names_which_must_differ() {
        let home = tempfile::tempdir().unwrap();
        for directory in ["one/x", "two/x", "two/y"] {
            std::fs::create_dir_all(home.path().join(directory)).unwrap();
        }
        let path = |text: &str| home.path().join(text);
        let both = Source::of(&[path("two/y"), path("one/x")]).unwrap();
        assert_eq!(paths(both, CacheDirectories::Kept), [("x".to_owned(), "dir"), ("y".to_owned(), "dir")]);
        assert_eq!(Source::of(&[path("one/x"), path("two/x")]).unwrap_err().reason(), Some("SOURCES"));
    }

    #[test]
    fn a_single_file_lies_under_its_name() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("f"), "x").unwrap();
        let sources = Source::of(&[home.path().join("f")]).unwrap();
        assert_eq!(paths(sources, CacheDirectories::Kept), [("f".to_owned(), "file")]);
    }
}
