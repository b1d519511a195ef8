//! `strongroomd dev`: a whole cluster on this machine, for trying out, for tests and for attacks.
//!
//!     found ──▶ CA processes ──▶ node processes ──▶ all ready ──▶ tenants admitted ──▶ dev.json ──▶ SIGINT or SIGTERM ends all
//!
//! Ports and keys stay for the life of the directory; starting on an existing one continues it. Not here: what a node
//! does (`wiring.rs`), the people (`people.rs`).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use strongroom::client::Client;
use strongroom::error::Error;
use strongroom::profile::Profile;
use strongroom::tenants::{self, NewTenant};
use strongroom_format::id::{ClusterName, IdentityId, NodeName, RegionName, TenantName};
use strongroom_format::role::Plane;
use strongroom_host::Host;

use crate::found::{self, Plan, PlannedNode};
use crate::people::{self, profile_path};
use crate::ports::{self, Claim};
use crate::processes::{NodeProcess, all_listen, all_ready};
use crate::settings::{Listen, NodeSettings, Storage};

/// The file that appears when everything serves.
pub const DEV_FILE: &str = "dev.json";
/// Kept from the start: what the directory is.
const PLAN_FILE: &str = "dev-plan.json";
/// How long the nodes may take until all of them serve.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// How long the nodes may take to learn of a tenant.
const KNOWN_PATIENCE: Duration = Duration::from_secs(15);
/// How long a node may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// Regions of a dev cluster, in order.
const REGIONS: [&str; 9] = ["north", "east", "south", "west", "upper", "lower", "inner", "outer", "far"];

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevPlan {
    /// How many nodes.
    pub nodes: usize,
    /// In how many regions.
    pub regions: usize,
    /// How many shards.
    pub shards: u32,
    /// The tenants, in order; the first is spread over all shards, the others over one.
    pub tenants: Vec<String>,
    /// Where each node listens, all its listeners, in order; none: all on loopback.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Words in front of each node's command; `{node}` stands for its name.
    #[serde(default)]
    pub before: Vec<String>,
}

/// `dev.json`: what scripts need to know of a running dev cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DevFile {
    /// 1.
    pub version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// The nodes.
    pub nodes: Vec<DevNode>,
    /// Absolute paths of the profiles, by name.
    pub profiles: std::collections::BTreeMap<String, PathBuf>,
}

/// A node in `dev.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DevNode {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// The process when the file was written.
    pub pid: Option<u32>,
    /// Starts it again; absolute, needs no environment and no working directory.
    pub argv: Vec<String>,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// `host:port` of its listeners.
    pub tenant: SocketAddr,
    /// For the other nodes.
    pub peer: SocketAddr,
    /// For operators.
    pub operator: SocketAddr,
    /// For operations.
    pub ops: SocketAddr,
    /// For whoever has a token.
    pub enrol: Option<SocketAddr>,
}

/// A running dev cluster.
pub struct Dev {
    dir: PathBuf,
    /// The nodes' processes, in the order of `dev.json`.
    pub nodes: Vec<NodeProcess>,
    /// The CA processes.
    authorities: Vec<NodeProcess>,
    /// While this process lives, nobody else's new cluster gets the ports of a node that is down.
    _claim: Option<Claim>,
    /// What stands in `dev.json`.
    pub file: DevFile,
}

impl Dev {
    /// Founds the cluster if the directory is new, starts all nodes, admits the tenants, writes `dev.json`.
    pub async fn start(dir: &Path, plan: &DevPlan) -> anyhow::Result<Self> {
        let dir = std::path::absolute(dir).context("the data directory has no absolute path")?;
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        fs::remove_file(dir.join(DEV_FILE)).ok();
        let host = Host::real();
        let mut claim = None;
        if dir.join(PLAN_FILE).exists() {
            let kept: DevPlan = serde_json::from_str(&fs::read_to_string(dir.join(PLAN_FILE))?)
                .with_context(|| format!("{} is damaged", PLAN_FILE))?;
            ensure!(kept == *plan, "{} holds another cluster ({kept:?}); name another directory", dir.display());
        } else {
            ensure!(
                fs::read_dir(&dir)?.next().is_none(),
                "{} is not empty and holds no dev cluster; name another directory",
                dir.display()
            );
            claim = Some(make(&host, &dir, plan)?);
            // Last, so that a founding that broke off is not taken for a cluster.
            fs::write(dir.join(PLAN_FILE), serde_json::to_string(plan)?)?;
        }
        let mut authorities = Vec::new();
        let mut nodes = Vec::new();
        let mut entries = Vec::new();
        for name in node_names(plan) {
            let settings = NodeSettings::read(&node_dir(&dir, &name).join(NodeSettings::FILE))?;
            let argv = run_argv(&settings, &plan.before)?;
            if authorities.is_empty() {
                authorities = authority_processes(&dir, &settings)?;
                authorities.iter_mut().try_for_each(NodeProcess::start)?;
            }
            let mut process =
                NodeProcess::new(settings.node.clone(), settings.data_dir.clone(), settings.listen.ops, argv.clone());
            process.start()?;
            entries.push(DevNode {
                name: settings.node,
                region: settings.region,
                pid: process.pid(),
                argv,
                data_dir: settings.data_dir,
                tenant: settings.listen.tenant,
                peer: settings.listen.peer,
                operator: settings.listen.operator,
                ops: settings.listen.ops,
                enrol: settings.listen.enrol,
            });
            nodes.push(process);
        }
        let profile_names = plan
            .tenants
            .iter()
            .flat_map(|tenant| {
                ["writer", "restorer", "admin", "legal", "auditor"].map(|suffix| format!("{tenant}-{suffix}"))
            })
            .chain(["operator".to_owned()]);
        let profiles = profile_names.map(|name| (name.clone(), profile_path(&dir, &name))).collect();
        let file = DevFile { version: 1, cluster: CLUSTER.to_owned(), nodes: entries, profiles };
        let mut dev = Self { dir, nodes, authorities, _claim: claim, file };
        if let Err(why) = dev.serve(plan).await {
            dev.stop().await;
            return Err(why);
        }
        Ok(dev)
    }

    async fn serve(&mut self, plan: &DevPlan) -> anyhow::Result<()> {
        all_listen(&mut self.authorities, READY_PATIENCE).await?;
        all_ready(&mut self.nodes, READY_PATIENCE).await?;
        self.admit(plan).await?;
        let text = serde_json::to_string_pretty(&self.file)?;
        let half_written = self.dir.join("dev.json.tmp");
        fs::write(&half_written, text)?;
        fs::rename(&half_written, self.dir.join(DEV_FILE)).context("cannot write dev.json")
    }

    /// Admits the tenants; those that are there already stay as they are.
    async fn admit(&self, plan: &DevPlan) -> anyhow::Result<()> {
        let operator = Profile::read(&profile_path(&self.dir, "operator"))?;
        for (at, name) in plan.tenants.iter().enumerate() {
            let home = self.dir.join("tenants").join(name);
            // Its own CA, and the cluster's, so that its people can enrol.
            let mut issuers_pem = fs::read_to_string(home.join("ca.pem"))?;
            issuers_pem.push_str(&fs::read_to_string(self.dir.join("ca/tenant.pem"))?);
            let new = NewTenant {
                name: name.parse().context("a tenant's name")?,
                founding: fs::read(home.join("founding"))?,
                issuers_pem,
                width: if at == 0 { u16::try_from(plan.shards).unwrap_or(u16::MAX) } else { 1 },
            };
            tenants::admit(&operator, new, READY_PATIENCE).await.with_context(|| format!("tenant {name}"))?;
            self.await_known(name).await.with_context(|| format!("tenant {name}"))?;
        }
        Ok(())
    }

    /// Waits until every node lets a tenant's people in: each learns by itself of a tenant that was admitted, and turns
    /// good certificates away until then. A tenant that may not come in any more is not waited for long.
    async fn await_known(&self, tenant: &str) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + KNOWN_PATIENCE;
        for node in &self.file.nodes {
            let mut profile = Profile::read(&self.profile(&format!("{tenant}-admin")))?;
            profile.cluster.endpoints = vec![node.tenant.to_string()];
            loop {
                match Client::connect(profile.clone(), READY_PATIENCE).await {
                    Err(refused) if refused.reason() == Some("TLS") && tokio::time::Instant::now() < deadline => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    // It was let in, or it is known and told why not.
                    Ok(_) | Err(Error::Refused { .. }) => break,
                    Err(why) => return Err(why).with_context(|| format!("node {} does not answer it", node.name)),
                }
            }
        }
        Ok(())
    }

    /// A profile's path.
    pub fn profile(&self, name: &str) -> PathBuf {
        profile_path(&self.dir, name)
    }

    /// Ends all nodes, also those that somebody else started again.
    pub async fn stop(&mut self) {
        fs::remove_file(self.dir.join(DEV_FILE)).ok();
        for process in self.nodes.iter_mut().chain(&mut self.authorities) {
            process.stop(STOP_PATIENCE).await;
        }
    }
}

const CLUSTER: &str = "dev";

/// Runs `dev` until SIGINT or SIGTERM.
pub async fn run(dir: &Path, plan: &DevPlan) -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut dev = tokio::select! {
        dev = Dev::start(dir, plan) => dev?,
        _ = tokio::signal::ctrl_c() => bail!("interrupted before the cluster served"),
        _ = terminate.recv() => bail!("ended before the cluster served"),
    };
    announce(&dev);
    let mut reap = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
            _ = reap.tick() => {
                for node in dev.nodes.iter_mut().chain(&mut dev.authorities) {
                    if let Some(status) = node.reap() {
                        eprintln!("dev: {} ended with {status}; start it again with: {}", node.name, node.argv.join(" "));
                    }
                }
            }
        }
    }
    dev.stop().await;
    Ok(())
}

fn announce(dev: &Dev) {
    println!("{}", dev.dir.join(DEV_FILE).display());
    eprintln!("dev: {} nodes serve; profiles are in {}", dev.nodes.len(), dev.dir.join("profiles").display());
    match cli_binary() {
        Some(cli) => eprintln!("dev: try: {} --profile {} status", cli.display(), dev.profile("operator").display()),
        None => eprintln!("dev: build the client with: cargo build --release -p strongroom-cli"),
    }
}

/// `strongroom` beside this binary, if it was built.
fn cli_binary() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.with_file_name("strongroom");
    beside.exists().then_some(beside)
}

/// Founds it. The claim on its ports is for whoever starts the nodes.
fn make(host: &Host, dir: &Path, plan: &DevPlan) -> anyhow::Result<Claim> {
    ensure!((1..=REGIONS.len()).contains(&plan.regions), "between 1 and {} regions", REGIONS.len());
    ensure!(plan.nodes >= plan.regions, "a region without a node");
    ensure!(
        plan.addresses.is_empty() || plan.addresses.len() == plan.nodes,
        "there are {} addresses and {} nodes: name one for each, or none",
        plan.addresses.len(),
        plan.nodes
    );
    let cluster: ClusterName = CLUSTER.parse().context("our own names are names")?;
    let operator: IdentityId = "platform".parse().context("our own names are names")?;
    let claim = ports::claim(host, plan.nodes * 5 + Plane::ALL.len())?;
    let mut ports = claim.ports.iter();
    let mut listener = |ip: IpAddr| SocketAddr::new(ip, *ports.next().expect("as many as were claimed"));
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ca = Plane::ALL.into_iter().map(|plane| (plane, listener(loopback).to_string())).collect();
    let nodes: Vec<PlannedNode> = node_names(plan)
        .into_iter()
        .enumerate()
        .map(|(at, name)| {
            let ip = plan.addresses.get(at).copied().unwrap_or(loopback);
            anyhow::Ok(PlannedNode {
                data_dir: node_dir(dir, &name),
                name,
                region: REGIONS[at % plan.regions].parse::<RegionName>().context("our own names are names")?,
                address: ip.to_string(),
                listen: Listen {
                    tenant: listener(ip),
                    peer: listener(ip),
                    operator: listener(ip),
                    ops: listener(ip),
                    enrol: Some(listener(ip)),
                },
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let endpoints = |of: fn(&Listen) -> SocketAddr| nodes.iter().map(|n| of(&n.listen).to_string()).collect::<Vec<_>>();
    let (tenant_endpoints, operator_endpoints) = (endpoints(|l| l.tenant), endpoints(|l| l.operator));
    let founding = Plan {
        cluster: cluster.clone(),
        nodes,
        shards: plan.shards,
        ca,
        operator: operator.clone(),
        accept_region_loss: plan.regions < 3,
        // A development machine's disk may be nearly full; production keeps more, and is in no hurry to forget.
        storage: Storage { reserve_bytes: 256 << 20, grace_seconds: 600, sweep_seconds: 60, expire_seconds: 10 },
        // All nodes share this machine's wall clock; whoever tries things out confirms it by trying.
        clock_ms: host.clock().wall_unix_ns() / 1_000_000,
    };
    let founded = found::found(host, dir, &founding)?;
    fs::create_dir_all(dir.join("profiles"))?;
    people::make_operator(host, dir, &cluster, &operator, &founded, &operator_endpoints)?;
    for name in &plan.tenants {
        let name: TenantName = name.parse().with_context(|| format!("`{name}` is no tenant name"))?;
        people::make_tenant(host, dir, &cluster, &name, &tenant_endpoints)?;
    }
    Ok(claim)
}

fn node_names(plan: &DevPlan) -> Vec<NodeName> {
    let name = |at: usize| format!("{}-{}", REGIONS[at % plan.regions], at / plan.regions + 1);
    (0..plan.nodes).map(|at| name(at).parse().expect("our own names are names")).collect()
}

fn node_dir(dir: &Path, name: &NodeName) -> PathBuf {
    dir.join("nodes").join(name.to_string())
}

/// The three CA processes of a cluster, where its nodes expect them.
fn authority_processes(dir: &Path, settings: &NodeSettings) -> anyhow::Result<Vec<NodeProcess>> {
    let program = text(std::env::current_exe().context("this program has no path")?)?;
    let process = |(plane, place): (Plane, String)| {
        let listen: SocketAddr = place.parse().with_context(|| format!("`{place}` is no address of this machine"))?;
        let home = dir.join("ca").join(plane.to_string());
        let words = ["ca", "--plane", plane.as_str(), "--listen", &place, "--dir"].map(str::to_owned);
        let argv = std::iter::once(program.clone()).chain(words).chain([text(home.clone())?]).collect();
        Ok(NodeProcess::new(format!("the CA of the {plane} plane"), home, listen, argv))
    };
    settings.ca.by_plane().into_iter().map(process).collect()
}

fn text(path: PathBuf) -> anyhow::Result<String> {
    path.into_os_string().into_string().map_err(|_| anyhow::anyhow!("a path is not UTF-8"))
}

fn run_argv(settings: &NodeSettings, before: &[String]) -> anyhow::Result<Vec<String>> {
    let program = std::env::current_exe().context("this program has no path")?;
    let config = settings.data_dir.join(NodeSettings::FILE);
    let run = [text(program)?, "run".to_owned(), "--config".to_owned(), text(config)?];
    Ok(before.iter().map(|word| word.replace("{node}", &settings.node)).chain(run).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_in_front_of_each_nodes_command_with_its_name() {
        let example = include_str!("../../deploy/node.example.toml");
        let settings: NodeSettings = toml::from_str(example).expect("the example parses");
        let before = ["/usr/bin/nsenter".to_owned(), "--net=/run/netns/{node}".to_owned()];
        let argv = run_argv(&settings, &before).expect("an argv");
        assert_eq!(argv[1], format!("--net=/run/netns/{}", settings.node));
        assert_eq!(argv[3..5], ["run", "--config"]);
        assert_eq!(run_argv(&settings, &[]).expect("an argv"), argv[2..]);
    }
}
