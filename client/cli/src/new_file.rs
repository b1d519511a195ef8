//! New files: keys and what goes with them. Nothing is ever written over.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Its owner.
    Owner,
    /// Anybody.
    All,
}

/// The path with more behind its name: `a.key` and `.pub` give `a.key.pub`.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut whole = path.as_os_str().to_owned();
    whole.push(suffix);
    PathBuf::from(whole)
}

/// Whether nothing is there yet that would be written over: for whoever does much before it writes.
///
/// # Errors
/// Refused with `ALREADY_EXISTS` if something is.
pub fn nothing_at(paths: &[&Path]) -> Result<(), Failure> {
    if paths.iter().any(|path| path.as_os_str() == "-") {
        // Nobody who writes this means a file of that name.
        return Err(Failure::usage("`-` is no file: this is not written to stdout", "name a file"));
    }
    match paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(exists(path)),
        None => Ok(()),
    }
}

/// Writes new files, durable when this returns. If one of them exists nothing is written.
///
/// # Errors
/// Refused with `ALREADY_EXISTS` if one exists; failed if one cannot be written.
pub fn write_new(files: &[(&Path, Readers, &[u8])]) -> Result<(), Failure> {
    nothing_at(&files.iter().map(|(path, _, _)| *path).collect::<Vec<_>>())?;
    for (path, readers, content) in files {
        write_one(path, *readers, content).map_err(|cause| match cause.kind() {
            ErrorKind::AlreadyExists => exists(path),
            _ => Failure::broken(&format!("cannot write {}", path.display()), &cause),
        })?;
    }
    Ok(())
}

fn write_one(path: &Path, readers: Readers, content: &[u8]) -> std::io::Result<()> {
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::All => 0o644,
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn exists(path: &Path) -> Failure {
    Failure::refused(
        "ALREADY_EXISTS",
        "EXISTS",
        format!("{} exists already; nothing is written over", path.display()),
        "name another file",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn nothing_is_written_over_and_all_or_nothing_is_written() {
        let home = tempfile::tempdir().unwrap();
        let (a, b) = (home.path().join("a"), beside(&home.path().join("a"), ".pub"));
        std::fs::write(&b, "old").unwrap();
        let files: [(&Path, Readers, &[u8]); 2] = [(&a, Readers::Owner, b"1"), (&b, Readers::All, b"2")];
        assert_eq!(write_new(&files).unwrap_err().line().reason, "EXISTS");
        assert!(!a.exists());
        std::fs::remove_file(&b).unwrap();
        write_new(&files).unwrap();
        assert_eq!(std::fs::metadata(&a).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(write_new(&files).unwrap_err().line().code, "ALREADY_EXISTS");
        assert_eq!(std::fs::read(&a).unwrap(), b"1");
    }
}
