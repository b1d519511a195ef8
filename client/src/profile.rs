//! The profile: which cluster, which tenant, who we are, which keys we have. One TOML file.
//!
//! ```toml
//! [cluster]
//! name = "prod"
//! endpoints = ["a.example:7420", "b.example:7420"]
//! roots = "cluster-ca.pem"            # who may vouch for the nodes
//!
//! [tenant]
//! name = "acme"
//! id = "0f…"                          # 32 hex digits; pinned once known
//! root = "9c…"                        # the tenant's root key, public half, 64 hex digits
//! state = "state"                     # directory: last statement versions, last checkpoint
//!
//! [identity]
//! certificate = "writer.pem"
//! key = "writer.key"
//! signing = "writer.signing"
//!
//! [keys]                              # those that this profile needs
//! writer = "writer.writer"            # or, for an admin who makes vaults:
//! # root = "root.key"                 # the tenant's root key
//! # writers = ["web-1.writer"]        # writer keys that get a card in each new vault
//! # recipients = ["rita.pub"]         # public keys of those who can open each new vault
//! ```
//!
//! Paths are relative to the profile's directory. An unknown key is an error, because a misspelt pin is no pin.
//! Not here: reading the keys (`keyring.rs`), what the state directory holds (`state.rs`).

use std::path::{Path, PathBuf};

use serde::Deserialize;
use strongroom_format::id::{ClusterName, PublicKey, TenantId, TenantName};

use crate::error::{Error, Result};

/// The largest profile that is read.
const PROFILE_BYTES_MAX: u64 = 256 * 1024;

/// A profile, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The cluster.
    pub cluster: ClusterSection,
    /// The tenant; operators have none.
    pub tenant: Option<TenantSection>,
    /// Who we are.
    pub identity: IdentitySection,
    /// Which keys we have.
    pub keys: KeysSection,
}

/// Where the cluster is and who vouches for its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSection {
    /// Its name, as in the nodes' certificates.
    pub name: ClusterName,
    /// `host:port` of listeners, at least one; the others are learnt from the first that answers.
    pub endpoints: Vec<String>,
    /// PEM file with the certificates of the plane's authorities.
    pub roots: PathBuf,
}

/// The tenant and what of it is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantSection {
    /// Its name.
    pub name: TenantName,
    /// Its id; a cluster that gives another one is refused.
    pub id: Option<TenantId>,
    /// The public half of its root key, from which all trust in statements and cards comes.
    pub root: PublicKey,
    /// The directory with what this machine has seen.
    pub state: PathBuf,
}

/// Certificate and keys of the identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySection {
    /// PEM file: the chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file: the TLS key. Its owner only may read it.
    pub key: PathBuf,
    /// The signing key of the identity row. Its owner only may read it.
    pub signing: PathBuf,
}

/// Key files, each readable by its owner only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysSection {
    /// The tenant's root key; belongs on a machine that is offline otherwise.
    pub root: Option<PathBuf>,
    /// The writer's key.
    pub writer: Option<PathBuf>,
    /// A recipient's key pair.
    pub restorer: Option<PathBuf>,
    /// Writer keys that whoever creates a vault makes cards from.
    pub writers: Vec<PathBuf>,
    /// Public halves of restorer keys: the recipients of a vault that names no others.
    pub recipients: Vec<PathBuf>,
}

impl Profile {
    /// Reads a profile file.
    ///
    /// # Errors
    /// `Failed` if it cannot be read; `Refused` with reason `PROFILE` if it is not a profile.
    pub fn read(path: &Path) -> Result<Self> {
        let length = std::fs::metadata(path).map_err(|cause| Error::file("read", path, cause))?.len();
        if PROFILE_BYTES_MAX < length {
            return Err(bad(path, "the file is too large for a profile"));
        }
        let text = std::fs::read_to_string(path).map_err(|cause| Error::file("read", path, cause))?;
        let absolute = std::path::absolute(path).map_err(|cause| Error::file("find", path, cause))?;
        let base = absolute.parent().unwrap_or(Path::new("/"));
        Self::parse(&text, base).map_err(|why| bad(path, &why))
    }

    /// The tenant's section.
    ///
    /// # Errors
    /// `Refused` with reason `PROFILE` if the profile is an operator's.
    pub fn tenant(&self) -> Result<&TenantSection> {
        self.tenant.as_ref().ok_or_else(|| {
            Error::refused(
                "FAILED_PRECONDITION",
                "PROFILE",
                "the profile has no [tenant]",
                "use a profile of the tenant",
            )
        })
    }

    fn parse(text: &str, base: &Path) -> std::result::Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|fault| fault.to_string())?;
        if file.cluster.endpoints.is_empty() {
            return Err("cluster.endpoints is empty".into());
        }
        for endpoint in &file.cluster.endpoints {
            if !is_endpoint(endpoint) {
                return Err(format!("cluster.endpoints: `{endpoint}` is not host:port"));
            }
        }
        let place = |path: PathBuf| base.join(path);
        let tenant = match file.tenant {
            None => None,
            Some(section) => Some(TenantSection {
                name: section.name.parse().map_err(|why| format!("tenant.name: {why}"))?,
                id: section.id.map(|id| id.parse()).transpose().map_err(|why| format!("tenant.id: {why}"))?,
                root: section.root.parse().map_err(|why| format!("tenant.root: {why}"))?,
                state: place(section.state),
            }),
        };
        Ok(Self {
            cluster: ClusterSection {
                name: file.cluster.name.parse().map_err(|why| format!("cluster.name: {why}"))?,
                endpoints: file.cluster.endpoints,
                roots: place(file.cluster.roots),
            },
            tenant,
            identity: IdentitySection {
                certificate: place(file.identity.certificate),
                key: place(file.identity.key),
                signing: place(file.identity.signing),
            },
            keys: KeysSection {
                root: file.keys.root.map(place),
                writer: file.keys.writer.map(place),
                restorer: file.keys.restorer.map(place),
                writers: file.keys.writers.into_iter().map(place).collect(),
                recipients: file.keys.recipients.into_iter().map(place).collect(),
            },
        })
    }
}

fn bad(path: &Path, why: &str) -> Error {
    Error::refused(
        "INVALID_ARGUMENT",
        "PROFILE",
        format_args!("{}: {why}", path.display()),
        "correct the profile; every key is explained in CONTRACTS and `strongroom::profile`",
    )
}

/// Whether the text is `host:port`, where an IPv6 address stands in brackets.
pub(crate) fn is_endpoint(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && port.parse::<u16>().is_ok_and(|port| port != 0)
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'[' | b']' | b':' | b'_'))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cluster: Cluster,
    tenant: Option<Tenant>,
    identity: Identity,
    #[serde(default)]
    keys: Keys,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cluster {
    name: String,
    endpoints: Vec<String>,
    roots: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tenant {
    name: String,
    id: Option<String>,
    root: String,
    state: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    signing: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    root: Option<PathBuf>,
    writer: Option<PathBuf>,
    restorer: Option<PathBuf>,
    #[serde(default)]
    writers: Vec<PathBuf>,
    #[serde(default)]
    recipients: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> String {
        format!(
            "[cluster]\nname = \"prod\"\nendpoints = [\"127.0.0.1:7420\", \"[::1]:7\"]\nroots = \"ca.pem\"\n\
             [tenant]\nname = \"acme\"\nid = \"{}\"\nroot = \"{}\"\nstate = \"/var/lib/strongroom\"\n\
             [identity]\ncertificate = \"a.pem\"\nkey = \"a.key\"\nsigning = \"a.signing\"\n\
             [keys]\nwriter = \"a.writer\"\n",
            "0f".repeat(16),
            "9c".repeat(32)
        )
    }

    #[test]
    fn paths_are_relative_to_the_profile() {
        let profile = Profile::parse(&example(), Path::new("/etc/strongroom")).unwrap();
        assert_eq!(profile.cluster.roots, Path::new("/etc/strongroom/ca.pem"));
        assert_eq!(profile.keys.writer.as_deref(), Some(Path::new("/etc/strongroom/a.writer")));
        assert_eq!(profile.tenant().unwrap().state, Path::new("/var/lib/strongroom"));
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let misspelt = example().replace("root = ", "rot = \"x\"\nroot = ");
        assert!(Profile::parse(&misspelt, Path::new("/")).unwrap_err().contains("rot"));
        let section = format!("{}\n[extra]\n", example());
        assert!(Profile::parse(&section, Path::new("/")).is_err());
    }

    #[test]
    fn a_pin_that_cannot_be_read_is_an_error() {
        for (from, to) in [("9c9c", "9C9c"), ("127.0.0.1:7420", "127.0.0.1"), ("\"acme\"", "\"Acme\"")] {
            assert!(Profile::parse(&example().replacen(from, to, 1), Path::new("/")).is_err(), "{to}");
        }
    }

    #[test]
    fn an_operator_has_no_tenant() {
        let text = example();
        let (before, rest) = text.split_once("[tenant]").unwrap();
        let (_, after) = rest.split_once("[identity]").unwrap();
        let profile = Profile::parse(&format!("{before}[identity]{after}"), Path::new("/")).unwrap();
        assert_eq!(profile.tenant().unwrap_err().reason(), Some("PROFILE"));
    }
}
