//! `strongroomd init`: founds a cluster on its first machine.
//!
//! Alone (without `--address`) it gets one shard that survives nothing, for trying out. With `--address` other machines can
//! join, and it has no shard yet: shards are created when there are nodes to keep them. Not here: joining (`join.rs`),
//! several nodes on one machine (`dev.rs`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, ensure};
use strongroom_format::id::{ClusterName, IdentityId};
use strongroom_format::role::Plane;
use strongroom_host::Host;

use crate::confirm;
use crate::found::{self, Plan, PlannedNode};
use crate::people;
use crate::settings::{Listen, NodeSettings, Storage, endpoint};

/// The port behind the node's own at which the CA processes listen, one after another.
const CA_PORTS_FROM: u16 = 5;

/// What is asked for.
pub struct Wish<'a> {
    /// The data directory to be.
    pub data: &'a Path,
    /// The cluster's name.
    pub cluster: &'a str,
    /// The node's region.
    pub region: &'a str,
    /// Its name; `None`: the region's with a 1.
    pub node: Option<&'a str>,
    /// How others reach this machine; `None`: nobody else will be in the cluster.
    pub address: Option<&'a str>,
    /// The first port.
    pub port: u16,
    /// What a person says that the time is; `None`: ask.
    pub time: Option<&'a str>,
}

/// Founds the cluster in `data`: the node's directory, and beside it the CAs' and the operator's profile.
pub fn init(wish: &Wish<'_>) -> anyhow::Result<()> {
    let data = std::path::absolute(wish.data).context("the data directory has no absolute path")?;
    let Wish { region, port, .. } = *wish;
    for part in ["node", "ca", "operator", "profiles"] {
        let part = data.join(part);
        ensure!(!part.exists(), "{} exists already; nothing is written over: name another --data", part.display());
    }
    let cluster: ClusterName =
        wish.cluster.parse().with_context(|| format!("`{}` is no cluster name", wish.cluster))?;
    let operator: IdentityId = "platform".parse().context("our own names are names")?;
    let loopback = Ipv4Addr::LOCALHOST.to_string();
    let host_name = wish.address.unwrap_or(&loopback);
    let listen = Listen::usual(host_name, port)?;
    let name = wish.node.map_or_else(|| format!("{region}-1"), str::to_owned);
    let mut ca_listen = Vec::new();
    for (plane, more) in Plane::ALL.into_iter().zip(CA_PORTS_FROM..) {
        let port = port.checked_add(more).context("eight ports do not follow that one")?;
        ca_listen.push((plane, SocketAddr::new(listen.peer.ip(), port)));
    }
    let host = Host::real();
    let clock_ms = confirm::confirmed(&host, wish.time)?;
    let plan = Plan {
        cluster: cluster.clone(),
        nodes: vec![PlannedNode {
            name: name.parse().with_context(|| format!("`{name}` is no node name"))?,
            region: region.parse().with_context(|| format!("`{region}` is no region name"))?,
            data_dir: data.join("node"),
            address: host_name.to_owned(),
            listen: listen.clone(),
        }],
        shards: if wish.address.is_some() { 0 } else { 1 },
        ca: ca_listen.iter().map(|(plane, at)| (*plane, endpoint(host_name, at.port()))).collect(),
        operator: operator.clone(),
        accept_region_loss: wish.address.is_none(),
        storage: Storage::default(),
        clock_ms,
    };
    let founded = found::found(&host, &data, &plan)?;
    std::fs::create_dir_all(data.join("profiles")).context("cannot create the profiles' directory")?;
    let operator_at = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listen.operator.port());
    people::make_operator(&host, &data, &cluster, &operator, &founded, &[operator_at.to_string()])?;

    let profile = people::profile_path(&data, "operator");
    println!("founded {cluster} with its first node, {name} in region {region}");
    println!("next, here:");
    for (plane, at) in ca_listen {
        println!(
            "  strongroomd ca --plane {plane} --dir {} --listen {at} &",
            data.join("ca").join(plane.to_string()).display()
        );
    }
    println!("  strongroomd run --config {} &", data.join("node").join(NodeSettings::FILE).display());
    if wish.address.is_none() {
        println!("  strongroom status --profile {}", profile.display());
        println!("it has one node and survives the loss of nothing: for trying out, not for the last copy of anything");
        return Ok(());
    }
    println!("then, for each further machine (three regions survive the loss of one):");
    println!("  strongroom node token NAME --region REGION --profile {}", profile.display());
    println!("and on that machine:");
    println!("  strongroomd join TOKEN --data {} --address ITS-ADDRESS", data.display());
    println!("then, here:");
    println!("  strongroom shard create {name} NAME NAME --profile {}", profile.display());
    println!("  strongroom tenant create TENANT --founding FILE --profile {}", profile.display());
    println!(
        "whoever has {} can name anybody: move its parts to machines that are no nodes when you can",
        data.join("ca").display()
    );
    Ok(())
}
