//! Going on with a restore that was interrupted: what of its staging directory can be kept.
//!
//! ```text
//!   staging directory ─▶ prune: only what is planned stays ─▶ read every byte ─▶ proved: kept │ else: fetched again
//! ```
//!
//! Promises: nothing is believed for lying there. A whole file is kept if its hash is the manifest's; of a file that is not
//! whole, the chunks whose keyed hashes are those of the index. What is not planned, has several names, or is not what it
//! should be is removed, so that nothing is ever written through it, and what is kept has no extended attributes: it gets
//! its own when it is whole (N115). Files with holes are fetched again. Not here: fetching the rest (`fetch.rs`).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use strongroom_format::chunk::chunk_id;
use strongroom_format::id::ChunkId;
use strongroom_format::keys::IdKey;

use super::layout::Part;
use super::path::TreePath;
use super::staging::{DirectoryAttributes, Staging, names_of, open_directory, remove_tree};
use super::whole::{Whole, hash_piece};
use super::write::{PlannedFile, There};
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};

/// Linux gives no longer list of names.
const NAMES_BYTES: usize = 64 << 10;

/// What was there already, and is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Whole files.
    pub files: u64,
    /// Bytes, also of files that are not whole.
    pub bytes: u64,
}

/// What an interrupted restore left.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// By the number of the file.
    pub there: BTreeMap<u32, There>,
    pub kept: Kept,
}

/// Clears the staging directory of all that is not planned, and makes the rest ours to read and write.
pub(crate) fn prune(staging: &Staging, directories: &[DirectoryAttributes], files: &[PlannedFile]) -> Result<()> {
    let directories: HashSet<&[u8]> = directories.iter().map(|directory| directory.path.as_bytes()).collect();
    // Empty files are made anew: there is nothing to keep of them. What lies in holes nobody has a hash of.
    let files = files.iter().filter(|file| file.stored_bytes != 0 && !file.has_holes());
    let files: HashSet<&[u8]> = files.map(|file| file.path.as_bytes()).collect();
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let shown = || String::from_utf8_lossy(&path).into_owned();
        let fail = |errno: Errno| Error::file("clear in the staging directory", shown(), errno);
        let tree_path = TreePath::new(&path).map_err(|_| fail(Errno::INVAL))?;
        let directory = staging.walk(&tree_path).map_err(fail)?;
        for name in names_of(&directory).map_err(fail)? {
            let below = match path.is_empty() {
                true => name.to_bytes().to_vec(),
                false => [&path, &b"/"[..], name.to_bytes()].concat(),
            };
            let stat = rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory if directories.contains(&*below) => {
                    rustix::fs::chmodat(&directory, &name, Mode::RWXU, AtFlags::empty()).map_err(fail)?;
                    strip(&open_directory(&directory, &name).map_err(fail)?).map_err(fail)?;
                    open.push(below);
                }
                FileType::RegularFile if files.contains(&*below) && stat.st_nlink == 1 => {
                    let mode = Mode::RUSR | Mode::WUSR;
                    rustix::fs::chmodat(&directory, &name, mode, AtFlags::empty()).map_err(fail)?;
                    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    strip(&rustix::fs::openat(&directory, &name, flags, Mode::empty()).map_err(fail)?).map_err(fail)?;
                }
                _ => remove_tree(&directory, &name).map_err(fail)?,
            }
        }
    }
    Ok(())
}

/// Takes all extended attributes that can be taken: an earlier attempt may have been allowed to give more.
fn strip(file: &OwnedFd) -> std::result::Result<(), Errno> {
    let mut names = vec![0; NAMES_BYTES];
    let length = match rustix::fs::flistxattr(file, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        listed => listed?,
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match rustix::fs::fremovexattr(file, name) {
            // The system's own, such as labels, which it gave by itself and would give again.
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Reads what is there of all files. What of `parts` is kept is taken out of it.
pub(crate) fn look(
    staging: &Staging,
    files: &[PlannedFile],
    parts: &mut Vec<Part>,
    chunk: impl Fn(u64) -> Option<(u32, ChunkId)>,
    id_key: &IdKey,
    progress: &Progress,
) -> Result<Left> {
    let mut left = Left::default();
    let mut kept_parts = BTreeSet::new();
    parts.sort_unstable_by_key(|part| (part.file, part.file_offset));
    for of_file in parts.chunk_by(|a, b| a.file == b.file) {
        let number = of_file[0].file;
        let plan = &files[number as usize];
        let file = match staging.open_file(&plan.path) {
            Ok(file) => file,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(Error::file("read", plan.path.to_string(), errno)),
        };
        let unreadable = |cause| Error::file("read", plan.path.to_string(), cause);
        let is_too_long = plan.stored_bytes < file.metadata().map_err(unreadable)?.size();
        let proved =
            if is_too_long { None } else { prove(&file, plan, of_file, &chunk, id_key).map_err(unreadable)? };
        let Some((there, kept)) = proved else {
            let removed = staging.remove_file(&plan.path);
            removed.map_err(|errno| Error::file("remove", plan.path.to_string(), errno))?;
            continue;
        };
        let bytes = plan.stored_bytes - there.left;
        left.kept.files += u64::from(there.left == 0);
        left.kept.bytes += bytes;
        progress.tell(Event::Restored { bytes });
        left.there.insert(number, there);
        kept_parts.extend(kept.into_iter().map(|part| (part.file, part.file_offset)));
    }
    parts.retain(|part| !kept_parts.contains(&(part.file, part.file_offset)));
    parts.sort_unstable();
    Ok(left)
}

/// What of one file is right, and which of its parts that is; `None` if nothing is.
fn prove(
    file: &File,
    plan: &PlannedFile,
    parts: &[Part],
    chunk: &impl Fn(u64) -> Option<(u32, ChunkId)>,
    id_key: &IdKey,
) -> std::io::Result<Option<(There, Vec<Part>)>> {
    let mut buffer = Vec::new();
    if let [only] = parts {
        if !read(file, only, &mut buffer)? || *blake3::hash(&buffer).as_bytes() != *plan.hash.as_bytes() {
            return Ok(None);
        }
        return Ok(Some((There { left: 0, hash: Some(blake3::hash(&buffer)), hashed: None }, vec![*only])));
    }
    let mut good = Whole::new(plan.stored_bytes);
    let (mut kept, mut others) = (Vec::new(), Vec::new());
    for part in parts {
        let whole_chunk = chunk(part.ordinal).filter(|(bytes, _)| (0, *bytes) == (part.chunk_offset, part.bytes));
        match whole_chunk {
            None => others.push(*part),
            Some((_, id)) => {
                if read(file, part, &mut buffer)? && chunk_id(id_key, &buffer) == id {
                    good.absorb(hash_piece(plan.stored_bytes, part.file_offset, &buffer));
                    kept.push(*part);
                }
            }
        }
    }
    // Pieces of chunks are proved by the hash of the whole file only.
    if kept.len() + others.len() == parts.len() {
        let mut all = good.clone();
        let mut is_there = true;
        for part in &others {
            is_there = is_there && read(file, part, &mut buffer)?;
            if is_there {
                all.absorb(hash_piece(plan.stored_bytes, part.file_offset, &buffer));
            }
        }
        if is_there {
            let hash = all.finish();
            if *hash.as_bytes() == *plan.hash.as_bytes() {
                return Ok(Some((There { left: 0, hash: Some(hash), hashed: None }, parts.to_vec())));
            }
        }
    }
    if kept.is_empty() {
        return Ok(None);
    }
    let left = plan.stored_bytes - kept.iter().map(|part| u64::from(part.bytes)).sum::<u64>();
    if left == 0 {
        // Every chunk is what the index names, and the file is not what the manifest says: let a restore find that.
        return Ok(None);
    }
    Ok(Some((There { left, hash: None, hashed: Some(Box::new(good)) }, kept)))
}

/// Reads the bytes of a part; `false` if the file ends before.
fn read(file: &File, part: &Part, buffer: &mut Vec<u8>) -> std::io::Result<bool> {
    buffer.resize(part.bytes as usize, 0);
    match file.read_exact_at(buffer, part.file_offset) {
        Ok(()) => Ok(true),
        Err(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(cause) => Err(cause),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use strongroom_format::id::{Digest, SnapshotId, TenantId, VaultId};
    use strongroom_format::manifest::entry::Attributes;

    use super::*;
    use crate::restore::staging::{Earlier, Marker, Occupied};

    const CHUNK: usize = 3000;
    const MARKER: Marker = Marker {
        tenant: TenantId::from_bytes([1; 16]),
        vault: VaultId::from_bytes([2; 16]),
        snapshot: SnapshotId::from_bytes([3; 16]),
    };

    fn id_key() -> IdKey {
        IdKey::from_secret(std::array::from_fn(|at| u8::try_from(at).unwrap())).unwrap()
    }

    fn noise(seed: u8, bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut noise);
        noise
    }

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    fn plan(name: &str, content: &[u8]) -> PlannedFile {
        PlannedFile {
            path: path(name),
            name: name.as_bytes().to_vec(),
            attributes: Attributes { mode: 0o600, ..Attributes::default() },
            size: content.len() as u64,
            stored_bytes: content.len() as u64,
            segments: Vec::new(),
            hash: Digest::from_bytes(*blake3::hash(content).as_bytes()),
            pieces: Vec::new(),
        }
    }

    /// The bytes of two files, how they are planned, their parts, and all chunks.
    type Held = (Vec<u8>, Vec<u8>, Vec<PlannedFile>, Vec<Part>, Vec<(u32, ChunkId)>);

    /// A file of three chunks, and a small one that is a piece of the last chunk.
    fn snapshot() -> Held {
        let (large, last) = (noise(1, 3 * CHUNK), noise(2, CHUNK));
        let small = last[100..200].to_vec();
        let files = vec![plan("d/large", &large), plan("small", &small)];
        let bytes = u32::try_from(CHUNK).unwrap();
        let part = |at: u64| Part { ordinal: at, chunk_offset: 0, bytes, file: 0, file_offset: at * u64::from(bytes) };
        let mut parts: Vec<Part> = (0..3).map(part).collect();
        parts.push(Part { ordinal: 3, chunk_offset: 100, bytes: 100, file: 1, file_offset: 0 });
        let chunks = large.chunks(CHUNK).chain([&last[..]]).map(|chunk| (bytes, chunk_id(&id_key(), chunk)));
        let chunks = chunks.collect();
        (large, small, files, parts, chunks)
    }

    /// What is kept of a staging directory that somebody fills, and which parts are fetched.
    fn kept(fill: impl FnOnce(&Path, &[u8], &[u8])) -> (Kept, Vec<u64>, Vec<String>) {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("target");
        let (large, small, files, mut parts, chunks) = snapshot();
        drop(Staging::claim(&target, Occupied::Refused, Earlier::Cleared, MARKER).unwrap());
        let at = std::fs::read_dir(home.path()).unwrap().next().unwrap().unwrap().path();
        fill(&at, &large, &small);
        let staging = Staging::claim(&target, Occupied::Refused, Earlier::Continued, MARKER).unwrap();
        let directories =
            [DirectoryAttributes { path: path("d"), attributes: Attributes { mode: 0o755, ..Attributes::default() } }];
        prune(&staging, &directories, &files).unwrap();
        let chunk = |ordinal: u64| chunks.get(usize::try_from(ordinal).unwrap()).copied();
        let left = look(&staging, &files, &mut parts, chunk, &id_key(), &Progress::silent()).unwrap();
        let mut names: Vec<String> =
            std::fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        (left.kept, parts.iter().map(|part| part.ordinal).collect(), names)
    }

    #[test]
    fn whole_files_and_whole_chunks_are_kept_and_nothing_else() {
        let nothing = kept(|_, _, _| {});
        assert_eq!((nothing.0, nothing.1), (Kept::default(), vec![0, 1, 2, 3]));
        let all = kept(|at, large, small| {
            std::fs::create_dir(at.join("d")).unwrap();
            std::fs::write(at.join("d/large"), large).unwrap();
            std::fs::write(at.join("small"), small).unwrap();
        });
        assert_eq!((all.0, all.1), (Kept { files: 2, bytes: 9100 }, vec![]));
        let some = kept(|at, large, small| {
            std::fs::create_dir(at.join("d")).unwrap();
            let mut large = large[..2 * CHUNK + 7].to_vec();
            large[5] ^= 1;
            std::fs::write(at.join("d/large"), large).unwrap();
            let mut small = small.to_vec();
            small[5] ^= 1;
            std::fs::write(at.join("small"), small).unwrap();
        });
        assert_eq!((some.0, some.1), (Kept { files: 0, bytes: 3000 }, vec![0, 2, 3]));
        assert_eq!(some.2, ["d"], "what proves nothing is removed");
    }

    #[test]
    fn n115_what_is_not_planned_is_removed_and_nothing_outside_is_touched() {
        let outside = tempfile::tempdir().unwrap();
        let theirs = outside.path().join("theirs");
        std::fs::write(&theirs, "theirs").unwrap();
        let (_, _, names) = kept(|at, _, small| {
            std::os::unix::fs::symlink(outside.path(), at.join("d")).unwrap();
            std::fs::write(at.join("planted"), small).unwrap();
            std::fs::create_dir(at.join("more")).unwrap();
            // The right bytes, but they are also somewhere else, where they must not change.
            std::fs::write(&theirs, small).unwrap();
            std::fs::hard_link(&theirs, at.join("small")).unwrap();
        });
        assert_eq!(names, Vec::<String>::new());
        assert!(theirs.exists());
    }

    #[test]
    fn a_staging_directory_that_others_may_write_into_is_not_continued() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("target");
        let first = Staging::claim(&target, Occupied::Refused, Earlier::Cleared, MARKER).unwrap();
        let again = || Staging::claim(&target, Occupied::Refused, Earlier::Continued, MARKER).map(|_| ());
        assert_eq!(again().unwrap_err().reason(), Some("BUSY"));
        drop(first);
        again().unwrap();
        let at = std::fs::read_dir(home.path()).unwrap().next().unwrap().unwrap().path();
        std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o770)).unwrap();
        assert_eq!(again().unwrap_err().reason(), Some("TARGET_MISMATCH"));
    }
}
