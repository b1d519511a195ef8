//! The keys that a profile names, read from files that nobody but their owner can read.
//!
//! Promises: an exposed, weak, damaged or wrong kind of key file is refused, never used with a warning; key bytes are
//! wiped. Not here: making keys (whoever makes them), what they open (`restore/gate.rs`,
//! `backup/sealer.rs`).

use std::path::{Path, PathBuf};

use strongroom_format::keys::{KeyFile, RestorerKey, RestorerPublicKey, RootKey, WriterKey};
use strongroom_format::sign::SigningKey;
use strongroom_proto_identity::tls::{CredentialsFault, read_private};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::profile::Profile;
use crate::small_file;

/// No file with the public half of a key is longer.
const KEY_BYTES_MAX: u64 = 64 << 10;

/// Reads one key file.
///
/// # Errors
/// `Refused` with reason `KEY_FILE` if others can read it or it is no good key of this kind; `Failed` if it is not
/// there.
pub fn read_key<K: KeyFile>(path: &Path) -> Result<K> {
    let bytes = read_private(path).map_err(credentials)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| no_key(path, &"it is no text"))?;
    K::from_text(text).map_err(|fault| no_key(path, &fault))
}

/// The bytes of a secret file of another kind.
///
/// # Errors
/// As [`read_key`].
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    read_private(path).map_err(credentials)
}

/// The signing key of the profile's identity.
pub(crate) fn signing(profile: &Profile) -> Result<SigningKey> {
    read_key(&profile.identity.signing)
}

/// The writer key of the profile.
pub(crate) fn writer(profile: &Profile) -> Result<WriterKey> {
    let key: WriterKey = read_key(named(profile.keys.writer.as_ref(), "writer")?)?;
    if profile.tenant()?.id.is_some_and(|tenant| tenant != key.tenant) {
        return Err(no_key(named(profile.keys.writer.as_ref(), "writer")?, &"it is of another tenant"));
    }
    Ok(key)
}

/// The restorer key of the profile.
pub(crate) fn restorer(profile: &Profile) -> Result<RestorerKey> {
    read_key(named(profile.keys.restorer.as_ref(), "restorer")?)
}

/// The tenant's root key: from `file`, or from where the profile says; it must be the one that the profile pins.
///
/// # Errors
/// `Refused` with reason `NO_KEY` or `KEY_FILE`.
pub fn root(profile: &Profile, file: Option<&Path>) -> Result<RootKey> {
    let path = match file {
        Some(file) => file,
        None => named(profile.keys.root.as_ref(), "root")?,
    };
    let key: RootKey = read_key(path)?;
    if key.public_key() != profile.tenant()?.root {
        return Err(no_key(path, &"it is not the root key that the profile pins"));
    }
    Ok(key)
}

/// The keys of the writers that the profile names for new vaults.
///
/// # Errors
/// `Refused` with reason `KEY_FILE`.
pub fn writers(profile: &Profile) -> Result<Vec<WriterKey>> {
    profile.keys.writers.iter().map(|path| read_key(path)).collect()
}

/// The public keys of the recipients that the profile names for new vaults.
///
/// # Errors
/// `Refused` with reason `KEY_FILE`.
pub fn recipients(profile: &Profile) -> Result<Vec<RestorerPublicKey>> {
    profile.keys.recipients.iter().map(|path| read_public(path)).collect()
}

/// Reads the public half of a restorer's key, which anybody may read.
///
/// # Errors
/// `Refused` with reason `KEY_FILE` if it is none; `Failed` if it is not there.
pub fn read_public(path: &Path) -> Result<RestorerPublicKey> {
    let text = small_file::read_text(path, KEY_BYTES_MAX).map_err(|cause| Error::file("read", path, cause))?;
    RestorerPublicKey::from_text(&text).map_err(|fault| no_key(path, &fault))
}

/// The same of files whose names the fault does not say: certificates, and a key if there is one.
pub(crate) fn credentials_in(certificates: &Path, key: Option<&Path>, fault: CredentialsFault) -> Error {
    let key = key.unwrap_or(certificates);
    let said = match &fault {
        CredentialsFault::Read { .. } | CredentialsFault::Exposed { .. } => return credentials(fault),
        CredentialsFault::NoKey | CredentialsFault::UnusableKey => format!("{}: {fault}", key.display()),
        CredentialsFault::NotAPair => format!("{fault}: {} and {}", key.display(), certificates.display()),
        CredentialsFault::NoCertificates | CredentialsFault::ChainTooLong | CredentialsFault::Leaf(_) => {
            format!("{}: {fault}", certificates.display())
        }
    };
    Error::refused("FAILED_PRECONDITION", "KEY_FILE", said, "name the right files in the profile, or get new ones")
}

/// What certificates and keys of TLS are refused for.
pub(crate) fn credentials(fault: CredentialsFault) -> Error {
    let next = match fault {
        CredentialsFault::Exposed { .. } => {
            "take the key for stolen unless nobody else was on the machine; then chmod 600"
        }
        CredentialsFault::Read { .. }
        | CredentialsFault::NoCertificates
        | CredentialsFault::NoKey
        | CredentialsFault::ChainTooLong
        | CredentialsFault::UnusableKey
        | CredentialsFault::NotAPair
        | CredentialsFault::Leaf(_) => "check the files that the profile names",
    };
    match fault {
        CredentialsFault::Read { path, cause } => Error::file("read", path, cause),
        fault => Error::refused("FAILED_PRECONDITION", "KEY_FILE", fault, next),
    }
}

fn named<'a>(path: Option<&'a PathBuf>, which: &str) -> Result<&'a Path> {
    path.map(PathBuf::as_path).ok_or_else(|| {
        Error::refused(
            "FAILED_PRECONDITION",
            "NO_KEY",
            format_args!("the profile names no {which} key"),
            "use a profile whose [keys] names it",
        )
    })
}

fn no_key(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::refused(
        "FAILED_PRECONDITION",
        "KEY_FILE",
        format_args!("{}: {why}", path.display()),
        "name the right key file in the profile",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn n89_a_key_that_others_can_read_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        let key = SigningKey::from_secret([1; 31].into_iter().chain([2]).collect::<Vec<u8>>().try_into().unwrap());
        std::fs::write(&path, key.unwrap().to_text().as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read_key::<SigningKey>(&path).unwrap_err().reason(), Some("KEY_FILE"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read_key::<SigningKey>(&path).is_ok());
        assert_eq!(read_key::<RootKey>(&path).unwrap_err().reason(), Some("KEY_FILE"), "another kind");
    }
}
