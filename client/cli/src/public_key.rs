//! Public signing keys on the command line: 64 hex digits, or a file that holds them.

use std::path::Path;

use strongroom::small_file;
use strongroom_format::id::PublicKey;

use crate::exit::Failure;

/// No file with a key is longer.
const KEY_BYTES_MAX: u64 = 64 << 10;

/// Reads one.
///
/// # Errors
/// Failed if the file cannot be read; refused if it holds no key.
pub fn public_key(text: &str) -> Result<PublicKey, Failure> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let content = small_file::read_text(Path::new(text), KEY_BYTES_MAX)
        .map_err(|cause| Failure::broken(&format!("cannot read the public key {text}"), &cause))?;
    content.trim_end().parse().map_err(|_| {
        Failure::refused(
            "INVALID_ARGUMENT",
            "PUBLIC_KEY",
            format!("{text} is no public signing key: 64 hex digits are expected"),
            "name the .pub file that `strongroom init-key signing` wrote",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_public_key_is_hex_or_a_file_with_hex() {
        let home = tempfile::tempdir().unwrap();
        let key = PublicKey::from_bytes([9; 32]);
        let file = home.path().join("anna.pub");
        std::fs::write(&file, format!("{key}\n")).unwrap();
        assert_eq!(public_key(&key.to_string()).unwrap(), key);
        assert_eq!(public_key(file.to_str().unwrap()).unwrap(), key);
        std::fs::write(&file, "hello").unwrap();
        assert_eq!(public_key(file.to_str().unwrap()).unwrap_err().line().reason, "PUBLIC_KEY");
        assert_eq!(public_key("/absent").unwrap_err().exit(), Exit::Failed);
    }
}
