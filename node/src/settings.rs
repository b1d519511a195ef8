//! The settings of one node: what may differ from node to node, read from one TOML file. What must agree everywhere is
//! in the cluster group's log.
//!
//! Not here: components. `deploy/node.example.toml` explains every key.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use strongroom_consensus::depth::LogDepth;
use strongroom_format::enrolment::NodeAddresses;
use strongroom_format::role::Plane;

/// One node's settings. An unknown key is an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSettings {
    /// The cluster's name, as in the node's certificates.
    pub cluster: String,
    /// The node's region.
    pub region: String,
    /// The node's name, unique in the cluster.
    pub node: String,
    /// Where everything of this node lies.
    pub data_dir: PathBuf,
    /// How others reach this machine: a name or an IP address, without a port. As they dial it, not as it listens.
    pub address: String,
    /// Where it listens.
    pub listen: Listen,
    /// The CA processes, each as `host:port`: a node that knows all three can let others in.
    #[serde(default)]
    pub ca: CaPlaces,
    /// Disk settings.
    #[serde(default)]
    pub storage: Storage,
    /// When the logs of groups are cut.
    #[serde(default)]
    pub log: Log,
    /// Raft timing.
    #[serde(default)]
    pub timing: Timing,
    /// What only Strongroom's own tests turn on; absent everywhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Test>,
}

/// For tests that break a running node in ways that nothing outside of it can. Refused unless every listener is on
/// loopback.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// Whether the node kills its own groups when it is told to (`kill_switch.rs`).
    pub kill_groups: bool,
}

/// One listener per plane, each with its own CA.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// For tenants' clients.
    pub tenant: SocketAddr,
    /// For the other nodes.
    pub peer: SocketAddr,
    /// For operators; loopback unless there is a reason.
    pub operator: SocketAddr,
    /// `/healthz`, `/readyz`, `/metrics`, in the clear; loopback unless there is a reason.
    pub ops: SocketAddr,
    /// For whoever has a token and no certificate yet; absent: this node lets nobody in.
    pub enrol: Option<SocketAddr>,
}

/// Where the CA processes are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaPlaces {
    /// Issues for nodes among each other.
    pub peer: Option<String>,
    /// Issues for tenants, and for nodes towards them.
    pub tenant: Option<String>,
    /// Issues for nodes towards operators.
    pub operator: Option<String>,
}

impl CaPlaces {
    /// By plane.
    pub fn by_plane(&self) -> BTreeMap<Plane, String> {
        let all = [(Plane::Peer, &self.peer), (Plane::Tenant, &self.tenant), (Plane::Operator, &self.operator)];
        all.into_iter().filter_map(|(plane, place)| Some((plane, place.clone()?))).collect()
    }
}

impl FromIterator<(Plane, String)> for CaPlaces {
    fn from_iter<I: IntoIterator<Item = (Plane, String)>>(places: I) -> Self {
        let mut all = Self::default();
        for (plane, place) in places {
            match plane {
                Plane::Peer => all.peer = Some(place),
                Plane::Tenant => all.tenant = Some(place),
                Plane::Operator => all.operator = Some(place),
            }
        }
        all
    }
}

impl Listen {
    /// Whether nobody from another machine reaches the node.
    fn is_loopback(&self) -> bool {
        let all = [Some(self.tenant), Some(self.peer), Some(self.operator), Some(self.ops), self.enrol];
        all.into_iter().flatten().all(|listener| listener.ip().is_loopback())
    }

    /// The usual ports, from one on: tenants, nodes, operators, operations, enrolment. Operators and operations on
    /// loopback; the others on `host` if that is an IP address, else everywhere.
    pub fn usual(host: &str, first_port: u16) -> anyhow::Result<Self> {
        let outside = host.parse::<IpAddr>().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let inside = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let at = |ip, more: u16| {
            let port = first_port.checked_add(more).context("not enough ports follow that one")?;
            anyhow::Ok(SocketAddr::new(ip, port))
        };
        Ok(Self {
            tenant: at(outside, 0)?,
            peer: at(outside, 1)?,
            operator: at(inside, 2)?,
            ops: at(inside, 3)?,
            enrol: Some(at(outside, 4)?),
        })
    }
}

/// Where others reach the listeners of a machine.
pub fn addresses(host: &str, listen: &Listen) -> NodeAddresses {
    let at = |listener: SocketAddr| endpoint(host, listener.port());
    NodeAddresses { peer: at(listen.peer), tenant: at(listen.tenant), operator: at(listen.operator) }
}

/// `host:port`, where an IPv6 address stands in brackets.
pub fn endpoint(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}

/// What a node may fill.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Free bytes that chunks leave on the file system, so that log and state can go on.
    #[serde(default = "reserve_bytes")]
    pub reserve_bytes: u64,
    /// How long a blob that nothing names any more waits before it goes, in seconds.
    #[serde(default = "grace_seconds")]
    pub grace_seconds: u64,
    /// How long the node rests between two passes over its disk, in seconds.
    #[serde(default = "sweep_seconds")]
    pub sweep_seconds: u64,
    /// How long the node rests between two passes in which vaults' policies end what they keep no longer, in seconds.
    #[serde(default = "expire_seconds")]
    pub expire_seconds: u64,
}

fn reserve_bytes() -> u64 {
    1 << 30
}

fn grace_seconds() -> u64 {
    24 * 3600
}

fn sweep_seconds() -> u64 {
    3600
}

fn expire_seconds() -> u64 {
    60
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            reserve_bytes: reserve_bytes(),
            grace_seconds: grace_seconds(),
            sweep_seconds: sweep_seconds(),
            expire_seconds: expire_seconds(),
        }
    }
}

/// When the log of a group is cut, and how much of it stays.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A group writes a snapshot of its state when so many entries are behind the last one.
    pub snapshot_entries: u64,
    /// … or when its entries take so many bytes of log and some are beyond the tail.
    pub snapshot_bytes: u64,
    /// So many entries stay behind each snapshot.
    pub tail_entries: u64,
}

impl Log {
    /// As consensus wants it, if the log can work with it.
    pub fn depth(&self) -> anyhow::Result<LogDepth> {
        LogDepth::new(self.snapshot_entries, self.snapshot_bytes, self.tail_entries).context("[log] of the settings")
    }
}

impl Default for Log {
    fn default() -> Self {
        let depth = LogDepth::default();
        Self {
            snapshot_entries: depth.snapshot_entries(),
            snapshot_bytes: depth.snapshot_bytes(),
            tail_entries: depth.tail_entries(),
        }
    }
}

/// How patient Raft is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Timing {
    /// Nodes a few milliseconds apart: heartbeat 200 ms, election 400 to 800 ms.
    #[default]
    Lan,
    /// Regions far apart: heartbeat 500 ms, election 1.5 to 3 s.
    Wan,
}

impl NodeSettings {
    /// The file's name in a data directory.
    pub const FILE: &str = "node.toml";

    /// Reads a file, or says what is wrong with it and where.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let settings: Self =
            toml::from_str(&text).with_context(|| format!("{} is no node configuration", file.display()))?;
        settings.log.depth()?;
        ensure!(
            settings.test.is_none() || settings.listen.is_loopback(),
            "{}: [test] is for tests of Strongroom on one machine: take it out, or let every listener be on loopback",
            file.display()
        );
        Ok(settings)
    }

    /// Writes it into its data directory.
    pub fn write(&self) -> anyhow::Result<()> {
        self.write_into(&self.data_dir)
    }

    /// Writes it into a directory that will be its data directory.
    pub fn write_into(&self, dir: &Path) -> anyhow::Result<()> {
        let file = dir.join(Self::FILE);
        let text = toml::to_string_pretty(self).context("settings are plain TOML")?;
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../deploy/node.example.toml");

    #[test]
    fn the_example_in_deploy_is_a_valid_configuration() {
        let settings: NodeSettings = toml::from_str(EXAMPLE).expect("the example parses");
        assert_eq!(settings.timing, Timing::Lan);
        assert_eq!(settings.log.depth().expect("a valid depth"), LogDepth::default());
    }

    #[test]
    fn a_log_that_would_keep_no_tail_is_no_configuration() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join(NodeSettings::FILE);
        let read = |tail: u64| {
            let (head, _) = EXAMPLE.split_once("[log]").expect("the example has the section");
            std::fs::write(&file, format!("{head}[log]\nsnapshot_entries = 500\ntail_entries = {tail}\n"))?;
            NodeSettings::read(&file)
        };
        let settings = read(200).expect("low values are valid");
        assert_eq!(settings.log.snapshot_bytes, LogDepth::default().snapshot_bytes());
        for wrong in [99, 501] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_for_tests_is_refused_where_others_reach_the_node() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join(NodeSettings::FILE);
        let read = |text: String| {
            std::fs::write(&file, text + "\n[test]\nkill_groups = true\n").expect("a file");
            NodeSettings::read(&file)
        };
        let refused = read(EXAMPLE.to_owned()).expect_err("the example listens everywhere").to_string();
        assert!(refused.contains("[test]") && refused.contains("loopback"), "{refused}");
        let inside = EXAMPLE.replace("0.0.0.0", "127.0.0.1");
        assert!(read(inside.clone()).is_ok_and(|settings| settings.test.is_some_and(|test| test.kill_groups)));
        for listener in ["tenant", "peer", "operator", "ops", "enrol"] {
            let outside =
                inside.replacen(&format!("\n{listener} = \"127.0.0.1"), &format!("\n{listener} = \"10.0.0.1"), 1);
            assert_ne!(outside, inside, "{listener}");
            assert!(read(outside).is_err(), "{listener}");
        }
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let text = format!("{EXAMPLE}\n[storages]\nreserve_bytes = 1\n");
        let error = toml::from_str::<NodeSettings>(&text).expect_err("an unknown key").to_string();
        assert!(error.contains("storages"), "{error}");
    }
}
