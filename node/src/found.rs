//! Founding a cluster: authorities for the three planes, an identity for each node, the genesis that all nodes share,
//! and a data directory for each node that `run` can start from.
//!
//!     Plan ──found──▶ ca/<plane>.pem, for each CA process ca/<plane>/, for each node { node.toml, genesis, identity/ }
//!
//! The directory of a CA process has all that it needs and nothing of the others, so that each can be moved to a machine of
//! its own (`ca.rs`).
//! Not here: tenants (they are admitted by an operator's signed command once the cluster serves), ports and processes
//! (`dev.rs`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use strongroom_core::genesis::{Genesis, GenesisIssuer, GenesisNode, GenesisOperator};
use strongroom_format::codec;
use strongroom_format::enrolment::NodeAddresses;
use strongroom_format::id::{ClusterEpoch, ClusterName, IdentityId, NodeName, RegionName};
use strongroom_format::keys::KeyFile as _;
use strongroom_format::role::{OperatorRole, Plane};
use strongroom_format::sign::SigningKey;
use strongroom_host::Host;
use strongroom_identity::ca::{Ca, Issued, write_private};
use strongroom_proto_identity::certificate::Life;
use strongroom_proto_identity::spiffe::SpiffeId;

use crate::settings::{CaPlaces, Listen, Log, NodeSettings, Storage, Timing, addresses};

/// The file in a data directory from which a node knows its cluster.
pub const GENESIS_FILE: &str = "genesis";

/// The file in a node's identity directory with the certificate of a plane's built-in CA.
pub fn root_file(plane: Plane) -> String {
    format!("{plane}-ca.pem")
}

/// How long an authority lives.
const AUTHORITY_DAYS: u64 = 20 * 365;
/// How long a certificate lives that is made here.
const LEAF_DAYS: u64 = 397;

/// A cluster to be founded.
pub struct Plan {
    /// Its name.
    pub cluster: ClusterName,
    /// Its nodes, in the order of the genesis.
    pub nodes: Vec<PlannedNode>,
    /// How many shards.
    pub shards: u32,
    /// Where the CA processes will be, as nodes dial them.
    pub ca: CaPlaces,
    /// The first platform operator.
    pub operator: IdentityId,
    /// One or two regions may hold more than the rest can lose.
    pub accept_region_loss: bool,
    /// Free bytes that chunks leave on each node's file system.
    pub storage: Storage,
    /// Where the compliance clock begins, in milliseconds since 1970: this machine's wall clock, confirmed.
    pub clock_ms: u64,
}

/// A node to be.
pub struct PlannedNode {
    /// Its name.
    pub name: NodeName,
    /// Its region.
    pub region: RegionName,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// How others reach its machine.
    pub address: String,
    /// Where it listens.
    pub listen: Listen,
}

/// What founding gives beside the data directories.
pub struct Founded {
    /// The authority of operators.
    pub operator_ca: Ca,
    /// The first operator's signing key.
    pub operator_key: SigningKey,
}

/// Founds the cluster below `dir` and in the nodes' data directories, none of which may exist.
pub fn found(host: &Host, dir: &Path, plan: &Plan) -> anyhow::Result<Founded> {
    let cluster = &plan.cluster.0;
    let peer_ca = Ca::create(cluster, Plane::Peer, life(host, AUTHORITY_DAYS))?;
    let tenant_ca = Ca::create(cluster, Plane::Tenant, life(host, AUTHORITY_DAYS))?;
    let operator_ca = Ca::create(cluster, Plane::Operator, life(host, AUTHORITY_DAYS))?;
    let authorities = dir.join("ca");
    fs::create_dir_all(&authorities).with_context(|| format!("cannot create {}", authorities.display()))?;
    for ca in [&peer_ca, &tenant_ca, &operator_ca] {
        write_public(&authorities.join(format!("{}.pem", ca.plane())), ca.certificate_pem())?;
        let process = authorities.join(ca.plane().to_string());
        fs::create_dir_all(&process).with_context(|| format!("cannot create {}", process.display()))?;
        keep_authority(ca, &process, "ca")?;
        keep_issued(&peer_ca.issue_to_process(ca.plane(), leaf_life(host))?, &process, "tls")?;
        write_public(&process.join("nodes.pem"), peer_ca.certificate_pem())?;
    }

    let operator_key = random_signing_key(host)?;
    let mut keys = Vec::new();
    for _ in &plan.nodes {
        keys.push(random_signing_key(host)?);
    }
    let genesis = genesis(host, plan, &keys, &operator_key, [&peer_ca, &operator_ca])?;
    for (node, key) in plan.nodes.iter().zip(&keys) {
        lay_out(host, plan, node, key, &genesis, [&peer_ca, &tenant_ca, &operator_ca])
            .with_context(|| format!("node {}", node.name))?;
    }
    Ok(Founded { operator_ca, operator_key })
}

/// Certificates live from an hour ago, so that a client whose clock is a little late takes them.
pub fn life(host: &Host, days: u64) -> Life {
    let now = host.clock().wall_unix_ns() / 1_000_000_000;
    Life { not_before_unix_s: now.saturating_sub(3600), not_after_unix_s: now + days * 24 * 3600 - 3600 }
}

/// The life of a leaf certificate.
pub fn leaf_life(host: &Host) -> Life {
    life(host, LEAF_DAYS)
}

/// Writes an authority's certificate and key as `<name>.pem` and `<name>.key`.
pub fn keep_authority(ca: &Ca, dir: &Path, name: &str) -> anyhow::Result<()> {
    write_public(&dir.join(format!("{name}.pem")), ca.certificate_pem())?;
    write_secret(&dir.join(format!("{name}.key")), ca.key_pem().as_bytes())
}

/// Writes a certificate and its key as `<name>.pem` and `<name>.key`.
pub fn keep_issued(issued: &Issued, dir: &Path, name: &str) -> anyhow::Result<()> {
    write_public(&dir.join(format!("{name}.pem")), &issued.certificate_pem)?;
    write_secret(&dir.join(format!("{name}.key")), issued.key_pem.as_bytes())
}

/// A new signing key.
pub fn random_signing_key(host: &Host) -> anyhow::Result<SigningKey> {
    SigningKey::from_secret(random(host)).context("the random source gives weak keys")
}

/// Random bytes.
pub fn random<const N: usize>(host: &Host) -> [u8; N] {
    let mut bytes = [0; N];
    host.entropy().fill(&mut bytes);
    bytes
}

/// Writes a file that anybody may read.
pub fn write_public(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a new file that only its owner can read.
pub fn write_secret(path: &Path, secret: &[u8]) -> anyhow::Result<()> {
    write_private(path, secret).with_context(|| format!("cannot write {}", path.display()))
}

fn genesis(
    host: &Host,
    plan: &Plan,
    keys: &[SigningKey],
    operator_key: &SigningKey,
    authorities: [&Ca; 2],
) -> anyhow::Result<Genesis> {
    let mut regions = Vec::new();
    for node in &plan.nodes {
        if !regions.contains(&node.region) {
            regions.push(node.region.clone());
        }
    }
    let node = |(node, key): (&PlannedNode, &SigningKey)| {
        let NodeAddresses { peer, tenant, operator } = addresses(&node.address, &node.listen);
        GenesisNode {
            name: node.name.clone(),
            region: node.region.clone(),
            peer,
            tenant,
            operator,
            signing_key: key.public_key(),
        }
    };
    let issuer = |ca: &Ca| GenesisIssuer { plane: ca.plane(), certificate: ca.certificate().to_vec() };
    let mut genesis = Genesis {
        cluster: plan.cluster.clone(),
        epoch: ClusterEpoch::from_bytes(random(host)),
        regions,
        nodes: plan.nodes.iter().zip(keys).map(node).collect(),
        shards: Vec::new(),
        operators: vec![GenesisOperator {
            identity: plan.operator.clone(),
            roles: vec![OperatorRole::PlatformOperator],
            signing_key: operator_key.public_key(),
        }],
        issuers: authorities.into_iter().map(issuer).collect(),
        accept_region_loss: plan.accept_region_loss,
        single_node: plan.nodes.len() == 1,
        clock_ms: plan.clock_ms,
    };
    genesis.place_shards(plan.shards);
    genesis.check().context("this is no cluster that could keep its promises")?;
    Ok(genesis)
}

fn lay_out(
    host: &Host,
    plan: &Plan,
    node: &PlannedNode,
    key: &SigningKey,
    genesis: &Genesis,
    authorities: [&Ca; 3],
) -> anyhow::Result<()> {
    ensure!(!node.data_dir.exists(), "{} exists already; nothing is written over", node.data_dir.display());
    let identity = node.data_dir.join("identity");
    fs::create_dir_all(&identity).with_context(|| format!("cannot create {}", identity.display()))?;
    let spiffe =
        SpiffeId::Node { cluster: plan.cluster.0.clone(), region: node.region.0.clone(), node: node.name.0.clone() };
    for ca in authorities {
        let mut issued = ca.issue(&spiffe, leaf_life(host))?;
        // Whole, so that whoever has nothing but the CA certificate's hash can judge it.
        issued.certificate_pem.push_str(ca.certificate_pem());
        keep_issued(&issued, &identity, &ca.plane().to_string())?;
        write_public(&identity.join(root_file(ca.plane())), ca.certificate_pem())?;
    }
    write_secret(&identity.join("signing.key"), key.to_text().as_bytes())?;
    fs::write(node.data_dir.join(GENESIS_FILE), codec::encode(genesis)).context("cannot write the genesis")?;
    NodeSettings {
        cluster: plan.cluster.to_string(),
        region: node.region.to_string(),
        node: node.name.to_string(),
        data_dir: node.data_dir.clone(),
        address: node.address.clone(),
        listen: node.listen.clone(),
        ca: plan.ca.clone(),
        storage: plan.storage.clone(),
        log: Log::default(),
        timing: Timing::default(),
        test: None,
    }
    .write()
}
