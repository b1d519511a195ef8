//! What nodes must never say (N94): names of tenants, and secrets of people, operators and CAs, as the files of a `dev`
//! cluster have them; and the search for them in what was said.
//!
//! Not here: when it is searched (`whole.rs`, and each cluster at its end).

use std::fs;
use std::path::Path;

use crate::trees;

/// Something that must stand nowhere, and what it is.
pub type Secret = (String, Vec<u8>);

/// The names of the tenants in the directory of a `dev` cluster, and the secrets of their people, its operator and its CAs.
pub fn secrets_in(home: &Path) -> Vec<Secret> {
    let mut secrets = Vec::new();
    for tenant in fs::read_dir(home.join("tenants")).into_iter().flatten().flatten() {
        let name = tenant.file_name().into_string().expect("names are ASCII");
        secrets.push((format!("the name {name}"), name.into_bytes()));
    }
    for file in trees::files_below(home) {
        let is_key = file
            .extension()
            .is_some_and(|end| ["key", "signing", "writer", "restorer"].iter().any(|of_keys| end == *of_keys));
        let text = if is_key { fs::read_to_string(&file).unwrap_or_default() } else { String::new() };
        secrets.extend(secret_in(&text).map(|secret| (shown(&file, home), secret)));
    }
    secrets
}

/// The longest word of the last long line of a key's file: what is secret in it.
pub fn secret_in(text: &str) -> Option<Vec<u8>> {
    let line = text.lines().rfind(|line| 40 < line.len() && !line.starts_with('-'))?;
    line.split_whitespace().max_by_key(|word| word.len()).map(|word| word.as_bytes().to_vec())
}

fn shown(file: &Path, home: &Path) -> String {
    file.strip_prefix(home).unwrap_or(file).display().to_string()
}

/// Asserts that none of it was said.
pub fn nothing_secret(secrets: &[Secret], said: &[u8]) {
    for (what, secret) in secrets {
        if let Some(at) = memchr::memmem::find(said, secret) {
            let line = said[at..].iter().position(|byte| *byte == b'\n').map_or(said.len(), |end| at + end);
            let begin = said[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            panic!("{what} was said: {}", String::from_utf8_lossy(&said[begin..line]));
        }
    }
}
