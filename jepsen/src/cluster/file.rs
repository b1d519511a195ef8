//! What `dev.json` says of a cluster, and what is said to `strongroomd dev` before.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// A node of `dev.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// The process that ran it when the file was written.
    pub pid: Option<u32>,
    /// What starts it.
    #[serde(default)]
    pub argv: Vec<String>,
    /// What it keeps; nothing if we cannot see it.
    pub data_dir: Option<PathBuf>,
    /// Where it answers operators' programs; nothing if we cannot reach it.
    pub ops: Option<SocketAddr>,
}

/// `dev.json`, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct DevFile {
    version: u32,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Paths of profiles, by name.
    pub profiles: BTreeMap<String, PathBuf>,
}

/// How a cluster of our own is started.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// `strongroomd`.
    pub program: &'a Path,
    /// Where everything of it lies; new.
    pub dir: &'a Path,
    /// Where nodes log to; new.
    pub log: &'a Path,
    /// Where each node listens; none: on loopback.
    pub addresses: Vec<IpAddr>,
    /// Words in front of each node's command; `{node}` stands for its name.
    pub before: Vec<String>,
}

/// A command that does not see what somebody has set for their own use of the client.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"STRONGROOM_")) {
        command.env_remove(name);
    }
    command
}

impl DevFile {
    /// Reads it.
    ///
    /// # Errors
    /// It does not look like one.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: Self =
            serde_json::from_str(&text).with_context(|| format!("{} does not look like dev.json", path.display()))?;
        ensure!(file.version == 1, "{} has version {}, not 1", path.display(), file.version);
        ensure!(!file.nodes.is_empty(), "{} names no node", path.display());
        Ok(file)
    }
}
