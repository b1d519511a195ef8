//! Where restored files appear: nothing is shown before it is complete.
//!
//! ```text
//!   DIR absent   .DIR.strongroom-… beside it ──rename──▶ DIR
//!   DIR empty    DIR/.strongroom-…           ──children renamed──▶ DIR
//!   not empty    the same with `into`, merging directories
//! ```
//!
//! Promises: every step is relative to a directory handle and follows no symlink (N39, N115); the staging directory is
//! its owner's only; a target that carries another tenant's marker is refused; one `syncfs` before the rename. Until then it
//! carries the number of the restore session that it belongs to, so that the next attempt can end that of a killed one.
//! Not here: what is written (`write.rs`), which path goes where (`selection.rs`).

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno;
use strongroom_format::id::{SessionId, SnapshotId, TenantId, VaultId};
use strongroom_format::manifest::entry::{Access, Attributes, Device};
use strongroom_format::manifest::xattr::RESTORE_MARK;

use super::give::{Giver, NotGiven, Special};
use super::path::TreePath;
use crate::error::{Error, Result};

/// The mark of a target as a file, where the file system has no attributes.
const MARKER_FILE: &str = ".strongroom-restored";
/// How a staging directory's mark begins: it is of no target yet.
const SESSION_NOTED: &str = "session ";
/// So many directory handles are kept open.
const HANDLES_MAX: usize = 128;

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What a target says about its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    /// Whose.
    pub tenant: TenantId,
    /// From which vault.
    pub vault: VaultId,
    /// Which snapshot, last.
    pub snapshot: SnapshotId,
}

impl Marker {
    fn text(&self) -> String {
        format!("tenant {} vault {} snapshot {}", self.tenant, self.vault, self.snapshot)
    }

    /// Whether a target with this text may take our files.
    fn agrees_with(&self, text: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(text) else { return false };
        let mut words = text.split_ascii_whitespace();
        words.next() == Some("tenant") && words.next() == Some(&self.tenant.to_string())
    }
}

/// What to do where the target is not empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Occupied {
    /// Refuse.
    #[default]
    Refused,
    /// Merge into it; files of the same name are replaced.
    Merged,
}

/// What to do with what an earlier attempt left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Earlier {
    /// Begin anew.
    #[default]
    Cleared,
    /// Go on from it: what is right of it is not fetched again.
    Continued,
}

/// A claimed target with its staging directory.
pub(crate) struct Staging {
    how: How,
    /// The target's parent (absent) or the target (else).
    outer: OwnedFd,
    /// Name of the staging directory in `outer`.
    staging_name: CString,
    root: Arc<OwnedFd>,
    shown: PathBuf,
    marker: Marker,
    earlier: Earlier,
    left_open: Option<SessionId>,
    /// What was staged is whole, or partly shown: it is not given up any more.
    is_kept: AtomicBool,
    handles: Mutex<HashMap<Vec<u8>, Arc<OwnedFd>>>,
    giver: Giver,
}

enum How {
    /// The target's name in `outer`.
    Absent(CString),
    Inside(Occupied),
}

/// A directory's attributes, set when nothing is written into it any more.
#[derive(Clone, Debug)]
pub(crate) struct DirectoryAttributes {
    /// Where.
    pub path: TreePath,
    /// All that is set.
    pub attributes: Attributes,
}

impl Staging {
    /// Looks at the target and makes the staging directory. What an earlier attempt left in it is removed, or kept.
    ///
    /// # Errors
    /// `Refused` with reason `TARGET_MISMATCH` if the target is occupied, a symlink, no directory, or another tenant's;
    /// `BUSY` if another restore is at work there.
    pub(crate) fn claim(target: &Path, occupied: Occupied, earlier: Earlier, marker: Marker) -> Result<Self> {
        let shown = std::path::absolute(target).map_err(|cause| Error::file("find", target, cause))?;
        let (Some(parent), Some(name)) = (shown.parent(), shown.file_name()) else {
            return Err(mismatch(&shown, "is no place to restore to"));
        };
        let name = cstring(name.as_bytes()).map_err(|errno| Error::file("use", &shown, errno))?;
        std::fs::create_dir_all(parent).map_err(|cause| Error::file("make", parent, cause))?;
        let outer = open_parent(parent)?;
        let (how, outer, staging_name) = match rustix::fs::openat(&outer, &name, OPEN_DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => {
                let staging = [b".", name.to_bytes(), b".strongroom-", hex8(marker.snapshot).as_bytes()].concat();
                (How::Absent(name), outer, cstring(&staging).expect("no NUL in it"))
            }
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(mismatch(&shown, "is there and is no directory of its own"));
            }
            Err(errno) => return Err(Error::file("open", &shown, errno)),
            Ok(directory) => {
                let staging = cstring(format!(".strongroom-{}", hex8(marker.snapshot)).as_bytes()).expect("no NUL");
                check_marker(&directory, &marker, &shown)?;
                let names = names_of(&directory).map_err(|errno| Error::file("list", &shown, errno))?;
                let taken = names.iter().any(|name| *name != staging && name.to_bytes() != MARKER_FILE.as_bytes());
                if taken && occupied == Occupied::Refused {
                    return Err(mismatch(&shown, "is not empty"));
                }
                (How::Inside(occupied), directory, staging)
            }
        };
        let fail = |errno| Error::file("make staging for", &shown, errno);
        let found = find_earlier(&outer, &staging_name, &shown)?;
        let left_open = found.as_ref().and_then(noted_session);
        let root = match (found, earlier) {
            (Some(root), Earlier::Continued) => root,
            (found, Earlier::Cleared | Earlier::Continued) => {
                remove_tree(&outer, &staging_name).map_err(|errno| Error::file("clear staging for", &shown, errno))?;
                drop(found);
                rustix::fs::mkdirat(&outer, &staging_name, Mode::RWXU).map_err(fail)?;
                let root = open_directory(&outer, &staging_name).map_err(fail)?;
                rustix::fs::flock(&root, FlockOperation::NonBlockingLockExclusive).map_err(fail)?;
                root
            }
        };
        let root = Arc::new(own(root).map_err(fail)?);
        let (is_kept, handles) = (AtomicBool::new(false), Mutex::new(HashMap::new()));
        let giver = Giver::new(Special::LeftOut);
        Ok(Self { how, outer, staging_name, root, shown, marker, earlier, left_open, is_kept, handles, giver })
    }

    /// What gives power is given, or is not, which is the default.
    pub(crate) fn giving(self, special: Special) -> Self {
        Self { giver: Giver::new(special), ..self }
    }

    /// What entries lack so far.
    pub(crate) fn not_given(&self) -> Vec<NotGiven> {
        self.giver.not_given()
    }

    /// Whether what an earlier attempt left is kept as far as it is right.
    pub(crate) fn is_continued(&self) -> bool {
        self.earlier == Earlier::Continued
    }

    /// The restore session that the earlier attempt belonged to, if it said so.
    pub(crate) fn left_open(&self) -> Option<SessionId> {
        self.left_open
    }

    /// Notes the restore session that this attempt belongs to, where the file system has attributes. The mark of a target
    /// takes its place in the end.
    pub(crate) fn note_session(&self, restore: SessionId) {
        let text = format!("{SESSION_NOTED}{}", restore.0);
        let _courtesy = rustix::fs::fsetxattr(&*self.root, RESTORE_MARK, text.as_bytes(), XattrFlags::empty());
    }

    /// How many bytes the file system has left for us.
    pub(crate) fn free_bytes(&self) -> Result<u64> {
        let stat = rustix::fs::fstatvfs(&*self.root).map_err(|errno| Error::file("look at", &self.shown, errno))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Makes a directory whose parent exists, for its owner only until the end.
    pub(crate) fn make_directory(&self, path: &TreePath) -> std::result::Result<(), Errno> {
        match path.split() {
            None => Ok(()),
            Some((parent, name)) => {
                match rustix::fs::mkdirat(&*self.directory(&parent)?, cstring(name)?, Mode::RWXU) {
                    // Whatever else had this name was removed (`resume.rs`).
                    Err(Errno::EXIST) if self.earlier == Earlier::Continued => Ok(()),
                    made => made,
                }
            }
        }
    }

    /// Makes a file that did not exist.
    pub(crate) fn make_file(&self, path: &TreePath) -> std::result::Result<File, Errno> {
        self.open(path, OFlags::CREATE | OFlags::EXCL | OFlags::RDWR)
    }

    /// Opens a file that [`Staging::make_file`] made.
    pub(crate) fn open_file(&self, path: &TreePath) -> std::result::Result<File, Errno> {
        self.open(path, OFlags::RDWR)
    }

    fn open(&self, path: &TreePath, flags: OFlags) -> std::result::Result<File, Errno> {
        let (parent, name) = self.place(path)?;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&*parent, &name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(file.into())
    }

    /// Removes a file that is not shown.
    pub(crate) fn remove_file(&self, path: &TreePath) -> std::result::Result<(), Errno> {
        let (parent, name) = self.place(path)?;
        rustix::fs::unlinkat(&*parent, &name, AtFlags::empty())
    }

    /// A file that was made is whole: it gets its attributes.
    pub(crate) fn finish_file(&self, file: &File, attributes: &Attributes) -> std::result::Result<(), Errno> {
        self.giver.to_open(file, attributes)
    }

    /// Makes a symlink. Called when all files are written, so that none is written through it.
    pub(crate) fn make_symlink(
        &self,
        path: &TreePath,
        target: &[u8],
        attributes: &Attributes,
    ) -> std::result::Result<(), Errno> {
        let (parent, name) = self.place(path)?;
        rustix::fs::symlinkat(cstring(target)?, &*parent, &name)?;
        self.giver.to_link(&parent, &name, attributes)
    }

    /// Makes a named pipe.
    pub(crate) fn make_fifo(&self, path: &TreePath, attributes: &Attributes) -> std::result::Result<(), Errno> {
        let (parent, name) = self.place(path)?;
        rustix::fs::mkfifoat(&*parent, &name, Mode::RUSR | Mode::WUSR)?;
        self.giver.to_special(&parent, &name, attributes)
    }

    /// Makes a device.
    pub(crate) fn make_device(
        &self,
        path: &TreePath,
        device: Device,
        attributes: &Attributes,
    ) -> std::result::Result<(), Errno> {
        let (parent, name) = self.place(path)?;
        let kind = match device.access {
            Access::Character => FileType::CharacterDevice,
            Access::Block => FileType::BlockDevice,
        };
        let number = rustix::fs::makedev(device.major, device.minor);
        rustix::fs::mknodat(&*parent, &name, kind, Mode::RUSR | Mode::WUSR, number)?;
        self.giver.to_special(&parent, &name, attributes)
    }

    /// Gives what was made under `first` one more name.
    pub(crate) fn make_name(&self, path: &TreePath, first: &TreePath) -> std::result::Result<(), Errno> {
        let ((parent, name), (first_parent, first_name)) = (self.place(path)?, self.place(first)?);
        rustix::fs::linkat(&*first_parent, &first_name, &*parent, &name, AtFlags::empty())
    }

    /// The directory that holds it, and its name there.
    fn place(&self, path: &TreePath) -> std::result::Result<(Arc<OwnedFd>, CString), Errno> {
        let (parent, name) = path.split().ok_or(Errno::ISDIR)?;
        Ok((self.directory(&parent)?, cstring(name)?))
    }

    /// Shows everything: attributes of directories from the deepest up, one `syncfs`, renames, marker.
    pub(crate) fn publish(&self, mut directories: Vec<DirectoryAttributes>) -> Result<()> {
        let shown = self.shown.clone();
        let fail = |what: &'static str| move |errno: Errno| Error::file(what, &shown, errno);
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).clear();
        directories.sort_by_key(|directory| std::cmp::Reverse(directory.path.depth()));
        // A directory that its owner may not write into cannot be moved to another parent; so the uppermost get their
        // attributes at the end, each once: what they lack is counted.
        let deep = match self.how {
            How::Absent(_) => 1,
            How::Inside(_) => 2,
        };
        for attributes in directories.iter().filter(|attributes| deep <= attributes.path.depth()) {
            let directory = self.directory(&attributes.path).map_err(fail.clone()("open a directory of"))?;
            self.set_attributes(&directory, attributes).map_err(fail.clone()("set attributes in"))?;
            self.handles.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        match &self.how {
            How::Absent(name) => {
                // What takes long comes first: until the mark and the attributes are there it can be gone on from.
                rustix::fs::syncfs(&*self.root).map_err(fail.clone()("sync"))?;
                self.keep();
                set_marker(&self.root, &self.marker).map_err(fail.clone()("mark"))?;
                self.finish_top(&directories).map_err(fail.clone()("set attributes of"))?;
                rustix::fs::fsync(&*self.root).map_err(fail.clone()("sync"))?;
                rename_new(&self.outer, &self.staging_name, &self.outer, name).map_err(|errno| match errno {
                    Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR => {
                        let staging = self.staging_name.to_string_lossy();
                        mismatch(
                            &self.shown,
                            &format!("appeared while we restored; beside it all is whole in {staging}"),
                        )
                    }
                    errno => Error::file("rename", &self.shown, errno),
                })?;
                rustix::fs::fsync(&self.outer).map_err(fail("sync the directory of"))
            }
            How::Inside(occupied) => {
                if *occupied == Occupied::Merged {
                    find_conflict(&self.root, &self.outer, &self.shown)?;
                }
                rustix::fs::syncfs(&*self.root).map_err(fail.clone()("sync"))?;
                self.keep();
                merge(&self.root, &self.outer).map_err(fail.clone()("rename into"))?;
                rustix::fs::unlinkat(&self.outer, &self.staging_name, AtFlags::REMOVEDIR)
                    .map_err(fail.clone()("remove the staging directory in"))?;
                set_marker(&self.outer, &self.marker).map_err(fail.clone()("mark"))?;
                for attributes in directories.iter().filter(|attributes| attributes.path.depth() < deep) {
                    if attributes.path.is_top() && *occupied == Occupied::Merged {
                        continue; // the target's own attributes are not ours
                    }
                    let directory = walk(&self.outer, &attributes.path).map_err(fail.clone()("open"))?;
                    self.set_attributes(&directory, attributes).map_err(fail.clone()("set attributes in"))?;
                }
                rustix::fs::fsync(&self.outer).map_err(fail("sync"))
            }
        }
    }

    fn set_attributes(
        &self,
        directory: &OwnedFd,
        DirectoryAttributes { attributes, .. }: &DirectoryAttributes,
    ) -> std::result::Result<(), Errno> {
        self.giver.to_open(directory, attributes)
    }

    /// The marker may be a file, which moves the top directory's time.
    fn finish_top(&self, directories: &[DirectoryAttributes]) -> std::result::Result<(), Errno> {
        match directories.iter().find(|attributes| attributes.path.is_top()) {
            Some(top) => self.set_attributes(&self.root, top),
            // Of a selection without a top directory: as a directory is made by default.
            None => rustix::fs::fchmod(&*self.root, Mode::from_raw_mode(0o755)),
        }
    }

    fn keep(&self) {
        self.is_kept.store(true, Ordering::Release);
    }

    /// Gives up: nothing of what was staged stays, unless it was whole already.
    pub(crate) fn discard(&self) -> Result<()> {
        if self.is_kept.load(Ordering::Acquire) {
            return Ok(());
        }
        remove_tree(&self.outer, &self.staging_name)
            .map_err(|errno| Error::file("clear staging for", &self.shown, errno))
    }

    /// Opens a directory below the staging directory, component by component, following nothing.
    pub(crate) fn walk(&self, path: &TreePath) -> std::result::Result<OwnedFd, Errno> {
        walk(&self.root, path)
    }

    /// The handle of a directory that was made.
    fn directory(&self, path: &TreePath) -> std::result::Result<Arc<OwnedFd>, Errno> {
        if path.is_top() {
            return Ok(Arc::clone(&self.root));
        }
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handles.get(path.as_bytes()) {
            return Ok(Arc::clone(handle));
        }
        // From the nearest parent that is open.
        let handle = match path.split() {
            Some((parent, name)) if handles.contains_key(parent.as_bytes()) => {
                rustix::fs::openat(&*handles[parent.as_bytes()], cstring(name)?, OPEN_DIRECTORY, Mode::empty())?
            }
            Some(_) | None => walk(&self.root, path)?,
        };
        if HANDLES_MAX <= handles.len() {
            handles.clear();
        }
        let handle = Arc::new(handle);
        handles.insert(path.as_bytes().to_vec(), Arc::clone(&handle));
        Ok(handle)
    }
}

/// Has the system begin to write a range to the disk, and forget it afterwards. A hint: nothing depends on it.
pub(crate) fn begin_to_flush(file: &File, offset: u64, bytes: u64) {
    let bytes = std::num::NonZeroU64::new(bytes);
    let _hint = rustix::fs::fadvise(file, offset, bytes, rustix::fs::Advice::DontNeed);
}

/// Makes the staging directory its owner's only, whatever its parent would have it inherit: nothing that is made in it
/// may get a list or a group that is not its own.
fn own(root: OwnedFd) -> std::result::Result<OwnedFd, Errno> {
    rustix::fs::fchmod(&root, Mode::RWXU)?;
    match rustix::fs::fremovexattr(&root, "system.posix_acl_default") {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(root),
        Err(errno) => Err(errno),
    }
}

/// The directory above a target; people may reach it by a symlink.
pub(crate) fn open_parent(parent: &Path) -> Result<OwnedFd> {
    rustix::fs::open(parent, OPEN_DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty())
        .map_err(|errno| Error::file("open", parent, errno))
}

pub(crate) fn hex8(snapshot: SnapshotId) -> String {
    hex::encode(&snapshot.as_bytes()[..8])
}

pub(crate) fn cstring(name: &[u8]) -> std::result::Result<CString, Errno> {
    CString::new(name).map_err(|_| Errno::INVAL)
}

pub(crate) fn mismatch(shown: &Path, why: &str) -> Error {
    Error::refused(
        "FAILED_PRECONDITION",
        "TARGET_MISMATCH",
        format_args!("{} {why}", shown.display()),
        "name a directory that is absent or empty, or merge with --into",
    )
}

/// Opens a directory below `root`, component by component, following nothing.
fn walk(root: &OwnedFd, path: &TreePath) -> std::result::Result<OwnedFd, Errno> {
    let mut at = rustix::fs::openat(root, c".", OPEN_DIRECTORY, Mode::empty())?;
    for component in path.components() {
        at = rustix::fs::openat(&at, cstring(component)?, OPEN_DIRECTORY, Mode::empty())?;
    }
    Ok(at)
}

pub(crate) fn names_of(directory: &OwnedFd) -> std::result::Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// The restore session that a staging directory says it belongs to.
fn noted_session(directory: &OwnedFd) -> Option<SessionId> {
    let mut text = [0; 64];
    let length = rustix::fs::fgetxattr(directory, RESTORE_MARK, &mut text[..]).ok()?;
    let number = std::str::from_utf8(&text[..length]).ok()?.strip_prefix(SESSION_NOTED)?;
    number.parse().ok().map(SessionId)
}

/// Opens a directory by its name, unless it is a symlink.
pub(crate) fn open_directory(at: &OwnedFd, name: &CString) -> std::result::Result<OwnedFd, Errno> {
    rustix::fs::openat(at, name, OPEN_DIRECTORY, Mode::empty())
}

/// The locked staging directory of an earlier attempt, if there is one.
pub(crate) fn find_earlier(outer: &OwnedFd, name: &CString, shown: &Path) -> Result<Option<OwnedFd>> {
    let fail = |errno| Error::file("look at staging for", shown, errno);
    let found = match open_directory(outer, name) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(fail(errno)),
    };
    let refused = |reason: &str, why: &str, next: &str| {
        let name = name.to_string_lossy();
        let message = format_args!("{}: its staging directory {name} {why}", shown.display());
        Err(Error::refused("FAILED_PRECONDITION", reason, message, next))
    };
    match rustix::fs::flock(&found, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return refused("BUSY", "is in use by another restore", "wait for it, or restore elsewhere");
        }
        Err(errno) => return Err(fail(errno)),
    }
    // What others may write into proves nothing, and they could move it away while we write.
    let stat = rustix::fs::fstat(&found).map_err(fail)?;
    let others = Mode::RWXG | Mode::RWXO;
    let is_ours = stat.st_uid == rustix::process::geteuid().as_raw();
    if !is_ours || Mode::from_raw_mode(stat.st_mode).intersects(others) {
        return refused("TARGET_MISMATCH", "is not yours alone", "remove it, or restore elsewhere");
    }
    Ok(Some(found))
}

/// Removes a name and all below it, following nothing. Absent is fine.
pub(crate) fn remove_tree(parent: &OwnedFd, name: &CString) -> std::result::Result<(), Errno> {
    match rustix::fs::openat(parent, name, OPEN_DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::LOOP | Errno::NOTDIR) => return rustix::fs::unlinkat(parent, name, AtFlags::empty()),
        Err(errno) => return Err(errno),
        Ok(directory) => {
            rustix::fs::fchmod(&directory, Mode::RWXU)?;
            for child in names_of(&directory)? {
                remove_tree(&directory, &child)?;
            }
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

pub(crate) fn check_marker(directory: &OwnedFd, marker: &Marker, shown: &Path) -> Result<()> {
    let mut text = vec![0; 256];
    let found = match rustix::fs::fgetxattr(directory, RESTORE_MARK, &mut text[..]) {
        Ok(length) => {
            text.truncate(length);
            Some(text)
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => {
            match rustix::fs::openat(
                directory,
                MARKER_FILE,
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            ) {
                Ok(file) => {
                    let length = rustix::io::pread(file.as_fd(), &mut text[..], 0)
                        .map_err(|errno| Error::file("read the marker of", shown, errno))?;
                    text.truncate(length);
                    Some(text)
                }
                Err(Errno::NOENT) => None,
                Err(errno) => return Err(Error::file("read the marker of", shown, errno)),
            }
        }
        // Longer than any marker of ours.
        Err(Errno::RANGE) => Some(Vec::new()),
        Err(errno) => return Err(Error::file("read the marker of", shown, errno)),
    };
    match found {
        Some(text) if !marker.agrees_with(&text) => Err(mismatch(shown, "holds what was restored for another tenant")),
        Some(_) | None => Ok(()),
    }
}

pub(crate) fn set_marker(directory: &OwnedFd, marker: &Marker) -> std::result::Result<(), Errno> {
    match rustix::fs::fsetxattr(directory, RESTORE_MARK, marker.text().as_bytes(), XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => {
            let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(directory, MARKER_FILE, flags, Mode::from_raw_mode(0o644))?;
            rustix::io::write(&file, marker.text().as_bytes()).map(|_| ())
        }
        other => other,
    }
}

pub(crate) fn rename_new(from: &OwnedFd, old: &CString, to: &OwnedFd, new: &CString) -> std::result::Result<(), Errno> {
    match rustix::fs::renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
        // Not every file system knows the flag; an empty directory in between is replaced, nothing else can be.
        Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::renameat(from, old, to, new),
        other => other,
    }
}

/// Finds what would stop a merge halfway, before anything is moved: a name that is a directory on one side only, a directory
/// into which we may not write, another file system.
fn find_conflict(from: &OwnedFd, to: &OwnedFd, shown: &Path) -> Result<()> {
    let fail = |errno: Errno| Error::file("look into", shown, errno);
    let device = |of: &OwnedFd| rustix::fs::fstat(of).map(|stat| stat.st_dev).map_err(fail);
    if device(from)? != device(to)? {
        return Err(mismatch(shown, "is on another file system than what it lies in"));
    }
    match rustix::fs::accessat(to, c".", rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK, AtFlags::EACCESS) {
        // An old kernel that cannot be asked says so when it is done.
        Ok(()) | Err(Errno::NOSYS) => {}
        Err(Errno::ACCESS | Errno::ROFS) => return Err(mismatch(shown, "may not be written into")),
        Err(errno) => return Err(fail(errno)),
    }
    for name in names_of(from).map_err(fail)? {
        let there = match rustix::fs::statat(to, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(fail(errno)),
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        };
        let here = rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        match (FileType::from_raw_mode(here.st_mode), there) {
            (FileType::Directory, FileType::Directory) => {
                let below = shown.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
                let open = |at: &OwnedFd| rustix::fs::openat(at, &name, OPEN_DIRECTORY, Mode::empty()).map_err(fail);
                find_conflict(&open(from)?, &open(to)?, &below)?;
            }
            (FileType::Directory, _) | (_, FileType::Directory) => {
                let below = shown.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
                return Err(mismatch(&below, "is a directory on one side only"));
            }
            (_, _) => {}
        }
    }
    Ok(())
}

/// Moves all names of one directory into another; directories that are on both sides are merged.
fn merge(from: &OwnedFd, to: &OwnedFd) -> std::result::Result<(), Errno> {
    for name in names_of(from)? {
        match move_into(from, to, &name) {
            Ok(()) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                let open = |at: &OwnedFd| rustix::fs::openat(at, &name, OPEN_DIRECTORY, Mode::empty());
                let below = open(from)?;
                rustix::fs::fchmod(&below, Mode::RWXU)?;
                merge(&below, &open(to)?)?;
                rustix::fs::unlinkat(from, &name, AtFlags::REMOVEDIR)?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Moves one name. A directory that its owner may not write into gets another parent only while he may.
fn move_into(from: &OwnedFd, to: &OwnedFd, name: &CString) -> std::result::Result<(), Errno> {
    match rustix::fs::renameat(from, name, to, name) {
        Err(Errno::ACCESS) => {}
        other => return other,
    }
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Errno::ACCESS);
    }
    // The staging directory is ours alone: nobody puts a symlink there meanwhile.
    let chmod = |at: &OwnedFd, mode| rustix::fs::chmodat(at, name, mode, AtFlags::empty());
    let mode = Mode::from_raw_mode(stat.st_mode);
    chmod(from, mode | Mode::RWXU)?;
    let moved = rustix::fs::renameat(from, name, to, name);
    match moved {
        Ok(()) => {
            let directory = rustix::fs::openat(to, name, OPEN_DIRECTORY, Mode::empty())?;
            rustix::fs::fchmod(&directory, mode)
        }
        Err(errno) => {
            chmod(from, mode)?;
            Err(errno)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use strongroom_format::manifest::entry::Moment;

    use super::*;

    const OURS: Marker = Marker {
        tenant: TenantId::from_bytes([1; 16]),
        vault: VaultId::from_bytes([2; 16]),
        snapshot: SnapshotId::from_bytes([3; 16]),
    };

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    fn attributes(text: &str, mode: u32) -> DirectoryAttributes {
        let modified = Moment { seconds: 1_500_000_000, nanos: 7 };
        DirectoryAttributes { path: path(text), attributes: Attributes { mode, modified, ..Attributes::default() } }
    }

    fn fill(staging: &Staging) {
        staging.make_directory(&path("a")).unwrap();
        staging.make_directory(&path("a/b")).unwrap();
        staging.make_file(&path("a/b/f")).unwrap().write_all(b"f").unwrap();
        staging.make_symlink(&path("a/link"), b"/etc/passwd", &Attributes::default()).unwrap();
    }

    fn names(at: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(at).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_absent_target_appears_whole_by_rename() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("deep/down/target");
        let staging = Staging::claim(&target, Occupied::Refused, Earlier::Cleared, OURS).unwrap();
        fill(&staging);
        assert!(!target.exists(), "nothing is shown before the end");
        staging.publish(vec![attributes("", 0o750), attributes("a", 0o555), attributes("a/b", 0o500)]).unwrap();
        assert_eq!(std::fs::read(target.join("a/b/f")).unwrap(), b"f");
        assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o7777, 0o750);
        assert_eq!(std::fs::metadata(target.join("a/b")).unwrap().permissions().mode() & 0o7777, 0o500);
        let modified = std::fs::metadata(target.join("a")).unwrap().modified().unwrap();
        assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos(), 1_500_000_000_000_000_007);
        assert_eq!(names(target.parent().unwrap()), ["target"], "no staging directory is left");
    }

    #[test]
    fn an_empty_target_is_filled_and_keeps_its_place() {
        let home = tempfile::tempdir().unwrap();
        let staging = Staging::claim(home.path(), Occupied::Refused, Earlier::Cleared, OURS).unwrap();
        fill(&staging);
        staging.publish(vec![attributes("a", 0o555), attributes("a/b", 0o500)]).unwrap();
        assert_eq!(std::fs::read(home.path().join("a/b/f")).unwrap(), b"f");
        assert_eq!(std::fs::metadata(home.path().join("a")).unwrap().permissions().mode() & 0o7777, 0o555);
    }

    #[test]
    fn an_occupied_target_is_refused_or_merged_on_request() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("a/b")).unwrap();
        std::fs::write(home.path().join("a/b/old"), "old").unwrap();
        let refused = Staging::claim(home.path(), Occupied::Refused, Earlier::Cleared, OURS).map(|_| ()).unwrap_err();
        assert_eq!(refused.reason(), Some("TARGET_MISMATCH"));
        let staging = Staging::claim(home.path(), Occupied::Merged, Earlier::Cleared, OURS).unwrap();
        fill(&staging);
        staging.publish(vec![attributes("a", 0o755), attributes("a/b", 0o755)]).unwrap();
        assert_eq!(names(&home.path().join("a/b")), ["f", "old"]);
    }

    /// Shown as an ordinary user: whoever may do everything moves these too.
    #[test]
    fn directories_that_may_not_be_written_into_are_merged_as_they_are() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("a")).unwrap();
        std::fs::write(home.path().join("a/old"), "old").unwrap();
        let staging = Staging::claim(home.path(), Occupied::Merged, Earlier::Cleared, OURS).unwrap();
        fill(&staging);
        staging.publish(vec![attributes("a", 0o755), attributes("a/b", 0o500)]).unwrap();
        let moved = home.path().join("a/b");
        assert_eq!(std::fs::metadata(&moved).unwrap().permissions().mode() & 0o7777, 0o500);
        let modified = std::fs::metadata(&moved).unwrap().modified().unwrap();
        assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos(), 1_500_000_000_000_000_007);
        assert_eq!(names(&home.path().join("a")), ["b", "link", "old"]);
        std::fs::set_permissions(&moved, std::fs::Permissions::from_mode(0o700)).unwrap();
    }

    /// Shown as an ordinary user.
    #[test]
    fn a_target_that_takes_nothing_is_refused_before_anything_is_moved() {
        if rustix::process::geteuid().is_root() {
            eprintln!("root writes everywhere; nothing was tested");
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let closed = home.path().join("a/b");
        std::fs::create_dir_all(&closed).unwrap();
        std::fs::write(home.path().join("a/link"), "old").unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
        let staging = Staging::claim(home.path(), Occupied::Merged, Earlier::Cleared, OURS).unwrap();
        fill(&staging);
        let refused = staging.publish(vec![]).unwrap_err();
        assert_eq!(refused.reason(), Some("TARGET_MISMATCH"));
        assert_eq!(std::fs::read(home.path().join("a/link")).unwrap(), b"old");
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn what_is_whole_stays_where_the_target_appeared_meanwhile() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("target");
        let staging = Staging::claim(&target, Occupied::Refused, Earlier::Cleared, OURS).unwrap();
        fill(&staging);
        std::fs::create_dir(&target).unwrap();
        std::fs::write(target.join("theirs"), "theirs").unwrap();
        let refused = staging.publish(vec![]).unwrap_err();
        assert_eq!(refused.reason(), Some("TARGET_MISMATCH"));
        staging.discard().unwrap();
        let staged = names(home.path()).into_iter().find(|name| name.starts_with(".target.strongroom-")).unwrap();
        assert!(refused.to_string().contains(&staged), "{refused}");
        assert_eq!(std::fs::read(home.path().join(staged).join("a/b/f")).unwrap(), b"f");
        assert_eq!(names(&target), ["theirs"]);
    }

    #[test]
    fn n39_nothing_is_merged_through_a_symlink() {
        let home = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), home.path().join("a")).unwrap();
        let staging = Staging::claim(home.path(), Occupied::Merged, Earlier::Cleared, OURS).unwrap();
        fill(&staging);
        let refused = staging.publish(vec![]).unwrap_err();
        assert_eq!(refused.reason(), Some("TARGET_MISMATCH"));
        assert!(names(outside.path()).is_empty());
    }

    #[test]
    fn n39_a_target_that_is_a_symlink_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), home.path().join("target")).unwrap();
        let refused = Staging::claim(&home.path().join("target"), Occupied::Merged, Earlier::Cleared, OURS)
            .map(|_| ())
            .unwrap_err();
        assert_eq!(refused.reason(), Some("TARGET_MISMATCH"));
    }

    #[test]
    fn n115_a_file_is_never_made_through_a_symlink_that_was_just_made() {
        let home = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let staging = Staging::claim(&home.path().join("target"), Occupied::Refused, Earlier::Cleared, OURS).unwrap();
        staging.make_symlink(&path("x"), outside.path().as_os_str().as_bytes(), &Attributes::default()).unwrap();
        assert!(staging.make_file(&path("x/f")).is_err());
        assert!(staging.make_directory(&path("x/d")).is_err());
        let into = outside.path().join("f");
        staging.make_symlink(&path("y"), into.as_os_str().as_bytes(), &Attributes::default()).unwrap();
        assert!(staging.make_file(&path("y")).is_err());
        assert!(staging.open_file(&path("y")).is_err());
        assert!(staging.make_fifo(&path("x/p"), &Attributes::default()).is_err());
        assert!(staging.make_symlink(&path("x/l"), b"y", &Attributes::default()).is_err());
        std::fs::write(outside.path().join("theirs"), "").unwrap();
        assert!(staging.make_name(&path("mine"), &path("x/theirs")).is_err(), "no name of what lies outside");
        std::fs::remove_file(outside.path().join("theirs")).unwrap();
        // A further name of a link is one of the link, not of what it points to.
        staging.make_name(&path("y too"), &path("y")).unwrap();
        assert!(names(outside.path()).is_empty());
    }

    #[test]
    fn what_is_restored_inherits_nothing_from_where_it_is_restored_to() {
        let home = tempfile::tempdir().unwrap();
        let line =
            |tag: u16, bits: u16, id: u32| [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat();
        let none = u32::MAX;
        let list = [
            vec![2, 0, 0, 0],
            line(0x01, 7, none),
            line(0x02, 7, 4242),
            line(0x04, 7, none),
            line(0x10, 7, none),
            line(0x20, 7, none),
        ];
        let at = std::fs::File::open(home.path()).unwrap();
        let name = "system.posix_acl_default";
        if rustix::fs::fsetxattr(&at, name, &list.concat(), XattrFlags::empty()).is_err() {
            eprintln!("the file system has no access control lists; nothing was tested");
            return;
        }
        let target = home.path().join("target");
        let staging = Staging::claim(&target, Occupied::Refused, Earlier::Cleared, OURS).unwrap();
        fill(&staging);
        staging.finish_file(&staging.open_file(&path("a/b/f")).unwrap(), &Attributes::default()).unwrap();
        staging.publish(vec![attributes("", 0o700), attributes("a", 0o700)]).unwrap();
        for inherited in ["system.posix_acl_access", name] {
            let path = target.join("a");
            assert!(rustix::fs::lgetxattr(&path, inherited, &mut [0; 100][..]).is_err(), "{inherited}");
        }
        assert!(rustix::fs::lgetxattr(target.join("a/b/f"), "system.posix_acl_access", &mut [0; 100][..]).is_err());
    }

    #[test]
    fn another_tenants_target_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("target");
        Staging::claim(&target, Occupied::Refused, Earlier::Cleared, OURS).unwrap().publish(vec![]).unwrap();
        let theirs = Marker { tenant: TenantId::from_bytes([9; 16]), ..OURS };
        let refused = Staging::claim(&target, Occupied::Merged, Earlier::Cleared, theirs).map(|_| ()).unwrap_err();
        assert_eq!(refused.reason(), Some("TARGET_MISMATCH"));
        assert!(Staging::claim(&target, Occupied::Merged, Earlier::Cleared, OURS).is_ok());
    }

    #[test]
    fn what_an_earlier_attempt_left_is_cleared_and_discarding_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("target");
        let first = Staging::claim(&target, Occupied::Refused, Earlier::Cleared, OURS).unwrap();
        fill(&first);
        drop(first);
        let second = Staging::claim(&target, Occupied::Refused, Earlier::Cleared, OURS).unwrap();
        fill(&second);
        second.discard().unwrap();
        assert!(names(home.path()).is_empty());
    }
}
