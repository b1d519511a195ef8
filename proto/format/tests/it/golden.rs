//! Golden files: bytes that once were written must be written again, for ever. One file per format and version, lower-
//! case hex in lines of 64 digits (`.hex`) or the text itself (`.txt`).
//!
//! A missing file is a failure; `STRONGROOM_BLESS=1` writes it. A file of a released version is never blessed again.

use std::fs;
use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Compares `bytes` with `tests/golden/<name>.hex`.
#[track_caller]
pub fn bytes(name: &str, bytes: &[u8]) {
    let hex = hex::encode(bytes);
    let lines: Vec<_> = hex.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    text(&format!("{name}.hex"), &format!("{}\n", lines.join("\n")));
}

/// Compares `text` with `tests/golden/<file>`.
#[track_caller]
pub fn text(file: &str, text: &str) {
    let path = path(file);
    if std::env::var_os("STRONGROOM_BLESS").is_some() && !path.exists() {
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
    assert!(golden == text, "{file} differs: what is written is\n{text}");
}

/// The bytes in `tests/golden/<name>.hex`, where writing them again need not give the same.
pub fn read_or_bless(name: &str, write: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = path(&format!("{name}.hex"));
    if std::env::var_os("STRONGROOM_BLESS").is_some() && !path.exists() {
        bytes(name, &write());
    }
    let golden = fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
    hex::decode(golden.split_whitespace().collect::<String>()).unwrap()
}
