//! `strongroomd ca`: the CA process of one plane, and what else can be done with its key.
//!
//! ```text
//!   <dir>/ ca.pem, ca.key      the CA; the key is nowhere else, and never in a node's data directory
//!          tls.pem, tls.key    what it shows to nodes
//!          nodes.pem           the CA of nodes: whoever calls must have a certificate of it …
//!          nodes.crl           … that is not in here, if it is there (DER)
//!          issued.log          everything that it issued, one JSON object a line
//!          revoked.log         serial numbers that it took back, one a line
//! ```
//!
//! Everything but `ca.*` is looked at again while it runs. Not here: what may be issued (`node/api`, `authority.rs`).

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use strongroom_api::authority::{AuthorityPlane, Lifetimes};
use strongroom_api::serve::serve_authority;
use strongroom_format::name::Name;
use strongroom_format::role::Plane;
use strongroom_host::Host;
use strongroom_identity::acceptor::{Acceptor, HandshakeLimits};
use strongroom_identity::ca::Ca;
use strongroom_identity::issuers::{Issuer, IssuerTable, Issuers};
use strongroom_identity::reload::{self, Pair};
use strongroom_proto_identity::certificate::{LEAF_LIFETIME_SECONDS_MAX, Life, Purpose};
use strongroom_proto_identity::tls::{Credentials, read_certificates, read_private};
use tokio::task::JoinSet;

use crate::found::{keep_issued, leaf_life};

const DAY_S: u64 = 24 * 3600;
/// How often the list of nodes' revoked certificates is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Serves until SIGINT or SIGTERM.
pub async fn serve(plane: Plane, dir: &Path, listen: SocketAddr, days: u64, days_max: u64) -> anyhow::Result<()> {
    ensure!(
        (1..=LEAF_LIFETIME_SECONDS_MAX / DAY_S).contains(&days_max) && (1..=days_max).contains(&days),
        "certificates live for 1 to {} days",
        LEAF_LIFETIME_SECONDS_MAX / DAY_S
    );
    let host = Host::real();
    let tls = Pair::open("ca", dir.join("tls.pem"), dir.join("tls.key"), &[Purpose::Server])
        .with_context(|| format!("what the CA shows to nodes, {}", dir.join("tls.pem").display()))?;
    let cluster = tls.presented().now().leaf().id.cluster().clone();
    let ca = read(dir, &cluster, plane)?;
    let (issuers, skipped) = Issuers::new(nodes(dir, &cluster)?);
    ensure!(skipped.is_empty(), "{}: {}", dir.join("nodes.pem").display(), skipped[0].fault);
    let lifetimes = Lifetimes { default_s: days * DAY_S, max_s: days_max * DAY_S };
    let served = AuthorityPlane::new(&host, ca, lifetimes, dir.join("issued.log"));
    let acceptor = Acceptor::new(&host, Plane::Peer, tls.presented(), &issuers, HandshakeLimits::default());
    let listener = host.connections().listen(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(reload::watch(host.clone(), vec![tls]));
    tasks.spawn(watch_nodes(dir.to_owned(), cluster.clone(), issuers));
    tracing::info!(%plane, %cluster, %listen, "the CA serves nodes");
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let stop = async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    };
    serve_authority(acceptor.serve(listener), served, stop).await.context("the CA's listener ended")
}

/// Has the list of nodes' revoked certificates judged again when it changes.
async fn watch_nodes(dir: PathBuf, cluster: Name, issuers: Issuers) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match nodes(&dir, &cluster) {
            Ok(table) => {
                for skipped in issuers.replace(table) {
                    tracing::error!(fault = %skipped.fault, "nodes.pem or nodes.crl cannot be used");
                }
            }
            Err(fault) => tracing::error!(fault = format!("{fault:#}"), "nodes.pem cannot be read; it stays as it was"),
        }
    }
}

fn nodes(dir: &Path, cluster: &Name) -> anyhow::Result<IssuerTable> {
    let file = dir.join("nodes.pem");
    let certificates = read_certificates(&file).with_context(|| format!("the CA of nodes, {}", file.display()))?;
    let revocations = fs::read(dir.join("nodes.crl")).ok().map(Into::into);
    let issuer = |certificate| Issuer {
        plane: Plane::Peer,
        certificate,
        tenants: Default::default(),
        revocations: revocations.clone(),
    };
    Ok(IssuerTable {
        cluster: cluster.clone(),
        issuers: certificates.into_iter().map(issuer).collect(),
        tenants: Default::default(),
        nodes: Default::default(),
        gone_nodes: Default::default(),
    })
}

fn read(dir: &Path, cluster: &Name, plane: Plane) -> anyhow::Result<Ca> {
    let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
    let pem = fs::read_to_string(&certificate).with_context(|| format!("cannot read {}", certificate.display()))?;
    let key = read_private(&key).context("the CA's key")?;
    let key = std::str::from_utf8(&key).context("the CA's key is no text")?;
    Ca::from_pem(cluster, plane, &pem, key).with_context(|| format!("{} is no CA", dir.display()))
}

/// The cluster of a CA's directory.
fn cluster_of(dir: &Path) -> anyhow::Result<Name> {
    let tls = Credentials::read(&dir.join("tls.pem"), &dir.join("tls.key"), Purpose::Server)
        .with_context(|| format!("what the CA shows to nodes, {}", dir.join("tls.pem").display()))?;
    Ok(tls.leaf().id.cluster().clone())
}

/// `strongroomd ca-tls`: another certificate for a CA process, made where the key of the peer plane's CA is. A process
/// that runs takes it within seconds.
pub fn renew(peer_dir: &Path, plane: Plane, dir: &Path) -> anyhow::Result<()> {
    let host = Host::real();
    let peer = read(peer_dir, &cluster_of(peer_dir)?, Plane::Peer)?;
    // Nodes would not believe another CA, and the process would answer nobody.
    let nodes = dir.join("nodes.pem");
    ensure!(
        read_certificates(&nodes)
            .with_context(|| format!("the CA of nodes, {}", nodes.display()))?
            .contains(peer.certificate()),
        "{} is not the CA of this cluster's nodes: name the directory of the peer plane's CA",
        peer_dir.display()
    );
    let issued = peer.issue_to_process(plane, leaf_life(&host))?;
    let fresh = dir.join("tls.new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).with_context(|| format!("cannot clear {}", fresh.display()))?;
    }
    fs::create_dir(&fresh).with_context(|| format!("cannot create {}", fresh.display()))?;
    keep_issued(&issued, &fresh, "tls")?;
    for file in ["tls.key", "tls.pem"] {
        fs::rename(fresh.join(file), dir.join(file)).with_context(|| format!("cannot replace {file}"))?;
    }
    fs::remove_dir(&fresh).ok();
    println!("wrote {}; a running CA process takes it within seconds", dir.join("tls.pem").display());
    Ok(())
}

/// `strongroomd ca-revoke`: takes certificates back, and writes the list that the cluster must be told.
pub fn revoke(plane: Plane, dir: &Path, serials: &[String], days: u64) -> anyhow::Result<()> {
    let host = Host::real();
    let ca = read(dir, &cluster_of(dir)?, plane)?;
    let log = dir.join("revoked.log");
    let before = match fs::read_to_string(&log) {
        Ok(text) => text,
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(fault) => return Err(fault).with_context(|| format!("cannot read {}", log.display())),
    };
    let mut revoked: Vec<Vec<u8>> = before.lines().map(parse_serial).collect::<anyhow::Result<_>>()?;
    let mut file = OpenOptions::new().create(true).append(true).open(&log)?;
    for serial in serials {
        let bytes = parse_serial(serial)?;
        if !revoked.contains(&bytes) {
            writeln!(file, "{}", hex::encode(&bytes)).with_context(|| format!("cannot write {}", log.display()))?;
            revoked.push(bytes);
        }
    }
    file.sync_all().with_context(|| format!("cannot write {}", log.display()))?;
    let now_s = host.clock().wall_unix_ns() / 1_000_000_000;
    let life = Life { not_before_unix_s: now_s, not_after_unix_s: now_s + days * DAY_S };
    // The time is a number that grows with every list.
    let list = ca.revoke(&revoked, now_s, life)?;
    let out = dir.join(format!("revoked-{now_s}.crl"));
    fs::write(&out, list).with_context(|| format!("cannot write {}", out.display()))?;
    println!("wrote {} with {} revoked certificates, good for {days} days", out.display(), revoked.len());
    println!("from its end on no certificate of this CA is accepted: make the next one in time");
    println!(
        "tell the cluster:  strongroom issuer revoke {} --list {} --profile operator.toml",
        dir.join("ca.pem").display(),
        out.display()
    );
    if plane == Plane::Peer {
        println!("tell CA processes: copy it to nodes.crl in each CA's directory");
    }
    Ok(())
}

fn parse_serial(text: &str) -> anyhow::Result<Vec<u8>> {
    let bytes = hex::decode(text.trim())
        .with_context(|| format!("`{text}` is no serial number (hex digits, as in issued.log)"))?;
    if bytes.is_empty() || 20 < bytes.len() {
        bail!("`{text}` is no serial number: it has 1 to 20 bytes");
    }
    Ok(bytes)
}
