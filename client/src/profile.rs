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
//! Not here: which keys there are and what is said of them (`profile/keys.rs`), reading key files (`keyring.rs`), what the
//! state directory holds (`state.rs`). `deploy/profile.example.toml` is a profile with every key explained.

mod fault;
mod keys;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use strongroom_format::id::{ClusterName, PublicKey, TenantId, TenantName};

use self::fault::Fault;
use crate::error::{Error, Result};
use crate::small_file;

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
        let bytes = small_file::read(path, PROFILE_BYTES_MAX).map_err(|cause| match cause.kind() {
            ErrorKind::FileTooLarge => {
                bad(path, &Fault::new("the file is too large for a profile", "name the profile itself"))
            }
            _ => Error::file("read", path, cause),
        })?;
        let text = String::from_utf8(bytes)
            .map_err(|_| bad(path, &Fault::new("the file is no UTF-8 text", "name the profile itself: a TOML file")))?;
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

    fn parse(text: &str, base: &Path) -> std::result::Result<Self, Fault> {
        let table: toml::Table = toml::from_str(text).map_err(|fault| not_toml(text, &fault))?;
        keys::check(&table)?;
        let file: File = table.try_into().map_err(|fault: toml::de::Error| {
            Fault::new(fault.message(), "correct that value; deploy/profile.example.toml shows every key")
        })?;
        let place = |path: PathBuf| base.join(path);
        let of_key =
            |key: &'static str| move |why: String| Fault::new(format_args!("{key}: {why}"), keys::next_for(key));
        let tenant = match file.tenant {
            None => None,
            Some(section) => Some(TenantSection {
                name: parsed(&section.name).map_err(of_key("tenant.name"))?,
                id: section.id.as_deref().map(parsed).transpose().map_err(of_key("tenant.id"))?,
                root: parsed(&section.root).map_err(of_key("tenant.root"))?,
                state: place(section.state),
            }),
        };
        let profile = Self {
            cluster: ClusterSection {
                name: parsed(&file.cluster.name).map_err(of_key("cluster.name"))?,
                endpoints: endpoints(file.cluster.endpoints)?,
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
        };
        profile.agrees_with_itself()?;
        Ok(profile)
    }

    /// Whether no two keys say what cannot both be true.
    fn agrees_with_itself(&self) -> std::result::Result<(), Fault> {
        if self.tenant.is_none() && self.keys != KeysSection::default() {
            return Err(Fault::new(
                "[keys] stands without [tenant]: keys are a tenant's, operators have none",
                "add [tenant] with name, root and state, or remove [keys]",
            ));
        }
        let named = [
            ("cluster.roots", Some(&self.cluster.roots)),
            ("identity.certificate", Some(&self.identity.certificate)),
            ("identity.key", Some(&self.identity.key)),
            ("identity.signing", Some(&self.identity.signing)),
            ("keys.root", self.keys.root.as_ref()),
            ("keys.writer", self.keys.writer.as_ref()),
            ("keys.restorer", self.keys.restorer.as_ref()),
        ];
        for (at, (key, path)) in named.iter().enumerate() {
            if let Some((before, _)) = named[..at].iter().find(|(_, other)| path.is_some() && other == path) {
                return Err(Fault::new(
                    format_args!("{before} and {key} name the same file"),
                    "name the file that each is about: each of them is a file of its own",
                ));
            }
        }
        Ok(())
    }
}

fn not_toml(text: &str, fault: &toml::de::Error) -> Fault {
    let line =
        fault.span().map_or(1, |span| 1 + text.get(..span.start).map_or(0, |before| before.matches('\n').count()));
    Fault::new(
        format_args!("line {line}: {}", fault.message().lines().next().unwrap_or("it is no TOML")),
        "correct that line; texts stand in quotes, lists in brackets: endpoints = [\"a.example:7701\"]",
    )
}

fn parsed<T>(text: &str) -> std::result::Result<T, String>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|why: T::Err| why.to_string())
}

fn endpoints(named: Vec<String>) -> std::result::Result<Vec<String>, Fault> {
    let next = || keys::next_for("cluster.endpoints");
    if named.is_empty() {
        return Err(Fault::new("cluster.endpoints is empty", next()));
    }
    for (at, endpoint) in named.iter().enumerate() {
        if !is_endpoint(endpoint) {
            return Err(Fault::new(format_args!("cluster.endpoints: `{endpoint}` is not host:port"), next()));
        }
        if named[..at].contains(endpoint) {
            return Err(Fault::new(
                format_args!("cluster.endpoints: `{endpoint}` stands there twice"),
                "name each once",
            ));
        }
    }
    Ok(named)
}

fn bad(path: &Path, fault: &Fault) -> Error {
    Error::refused("INVALID_ARGUMENT", "PROFILE", format_args!("{}: {}", path.display(), fault.what), &fault.next)
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
        assert!(Profile::parse(&misspelt, Path::new("/")).unwrap_err().what.contains("tenant.rot"));
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
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (from, to, what, next) in [
            ("name = \"prod\"\n", "", "cluster.name is missing", "add `name = \"…\"` under [cluster]"),
            ("endpoints = ", "endpoint = ", "cluster.endpoint is no key", "did you mean `endpoints`"),
            ("endpoints = [\"127.0.0.1:7420\", \"[::1]:7\"]", "endpoints = \"h:1\"", "must be a list", "endpoints = ["),
            ("\"[::1]:7\"", "\"127.0.0.1:7420\"", "stands there twice", "name each once"),
            ("\"[::1]:7\"", "7", "must be a list of texts", "endpoints = ["),
            ("[\"127.0.0.1:7420\", \"[::1]:7\"]", "[]", "endpoints is empty", "host:port"),
            ("127.0.0.1:7420", "https://a.example", "is not host:port", "host:port"),
            ("[tenant]", "[tennant]", "there is no section [tennant]", "did you mean [tenant]"),
            ("[cluster]\n", "", "`endpoints` stands outside of any section", "[cluster]"),
            ("signing = \"a.signing\"", "", "identity.signing is missing", "init-key signing"),
            ("[keys]", "signing = 7\n[keys]", "line ", "correct that line"),
            ("\"a.signing\"", "7", "identity.signing must be a text", "signing = \"…\""),
            ("\"a.signing\"", "\"\"", "identity.signing is empty", "signing = \"…\""),
            ("\"a.signing\"", "\"a.key\"", "identity.key and identity.signing name the same file", "its own"),
            ("writer = ", "state = \"s\"\nwriter = ", "keys.state is no key", "belongs under [tenant]"),
            ("writer = ", "colour = 1\nwriter = ", "keys.colour is no key", "root, writer, restorer"),
            ("name = \"prod\"", "name = prod", "line 2: ", "quotes"),
            ("9c9c", "9c", "tenant.root: ", ".pub"),
            ("0f0f", "0f", "tenant.id: ", "32 hex digits"),
        ] {
            let text = example().replacen(from, to, 1);
            assert_ne!(text, example(), "{from}");
            let fault = Profile::parse(&text, Path::new("/")).unwrap_err();
            assert!(fault.what.contains(what) && fault.next.contains(next), "{to}: {fault:?}");
        }
        let nothing = Profile::parse("", Path::new("/")).unwrap_err();
        assert!(nothing.what.contains("[cluster] is missing"), "{nothing:?}");
    }

    #[test]
    fn the_example_is_a_profile_and_explains_every_key() {
        let text = include_str!("../../deploy/profile.example.toml");
        let profile = Profile::parse(text, Path::new("/etc/strongroom")).unwrap();
        assert_eq!(profile.cluster.roots, Path::new("/etc/strongroom/web-1.roots.pem"));
        assert!(profile.keys.writer.is_some());
        for key in keys::all() {
            let (_, name) = key.split_once('.').unwrap();
            let says = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{name} = "));
            assert!(text.lines().any(says), "{key} is not in it");
        }
        // Everything that stands there as a comment is right too.
        let opened: Vec<&str> = text
            .lines()
            .map(|line| {
                line.strip_prefix("# ")
                    .filter(|rest| rest.split_once(" = ").is_some_and(|(key, _)| keys::is_name(key)))
                    .unwrap_or(line)
            })
            .collect();
        Profile::parse(&opened.join("\n"), Path::new("/etc/strongroom")).unwrap();
    }

    #[test]
    fn an_operator_has_no_tenant() {
        let text = example();
        let (before, rest) = text.split_once("[tenant]").unwrap();
        let (_, after) = rest.split_once("[identity]").unwrap();
        let (after, _) = after.split_once("[keys]").unwrap();
        let profile = Profile::parse(&format!("{before}[identity]{after}"), Path::new("/")).unwrap();
        assert_eq!(profile.tenant().unwrap_err().reason(), Some("PROFILE"));
        let with_keys = format!("{before}[identity]{after}").replace("[identity]", "[keys]\nroot = \"r\"\n[identity]");
        let fault = Profile::parse(&with_keys, Path::new("/")).unwrap_err();
        assert!(fault.what.contains("without [tenant]") && fault.next.contains("[tenant]"), "{fault:?}");
    }
}
