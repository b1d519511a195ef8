//! Small files that a person names: keys, profiles, records, lists.
//!
//! Promises: what is endless (a device, a pipe that goes on) or far too long is refused, and costs no more memory than what
//! would have been small. Not here: keys that nobody else may read (`keyring.rs`), what is backed up.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

/// Reads a file of at most so many bytes.
///
/// # Errors
/// Of kind `FileTooLarge` if it is longer; else as reading.
pub fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes_max < bytes.len() as u64 {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it is longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Reads a text of at most so many bytes.
///
/// # Errors
/// As [`read`], and of kind `InvalidData` if it is no UTF-8.
pub fn read_text(path: &Path, bytes_max: u64) -> Result<String> {
    String::from_utf8(read(path, bytes_max)?).map_err(|_| Error::new(ErrorKind::InvalidData, "it is no UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_endless_or_too_long_is_refused() {
        for endless in ["/dev/zero", "/dev/urandom"] {
            assert_eq!(read(Path::new(endless), 1000).unwrap_err().kind(), ErrorKind::FileTooLarge, "{endless}");
        }
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("f");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read_text(&file, 5).unwrap(), "12345");
        assert_eq!(read(&file, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        std::fs::write(&file, b"\xff").unwrap();
        assert_eq!(read_text(&file, 5).unwrap_err().kind(), ErrorKind::InvalidData);
        assert!(read(home.path(), 5).is_err(), "a directory is no file");
    }
}
