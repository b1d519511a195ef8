//! What a node knows of its cluster before it has heard anybody: what the cluster began with and, if the node joined
//! later, how the cluster was then.
//!
//!     genesis ──┬──────────────▶ who we are, where the others are, which CAs vouch for nodes
//!     map ──────┘ joined later
//!
//! Both are starting points and nothing more: as soon as the cluster group is heard, it says how things are. Not here:
//! how a node gets them (`found.rs`, `join.rs`).

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use strongroom_core::genesis::Genesis;
use strongroom_core::query::{Answer, ClusterMap};
use strongroom_format::codec;
use strongroom_format::id::{ClusterName, NodeName, PublicKey, RegionName};
use strongroom_identity::issuers::{Issuer, IssuerTable};
use strongroom_service::follow;
use strongroom_service::topology::Topology;

use crate::found::GENESIS_FILE;

/// The file in a data directory that says how the cluster was when the node joined.
pub const MAP_FILE: &str = "map";

/// What the data directory says.
pub struct Origin {
    /// What the cluster began with.
    pub genesis: Genesis,
    map: Option<ClusterMap>,
}

impl Origin {
    /// Reads a data directory.
    pub fn read(data_dir: &Path) -> anyhow::Result<Self> {
        let file = data_dir.join(GENESIS_FILE);
        let bytes = fs::read(&file).with_context(|| {
            format!("cannot read {}; make the directory with `strongroomd init` or `strongroomd join`", file.display())
        })?;
        let genesis: Genesis = codec::decode(&bytes).with_context(|| format!("{} is no genesis", file.display()))?;
        genesis.check().context("the genesis breaks the rules of topology")?;
        let file = data_dir.join(MAP_FILE);
        let map = match file.exists() {
            true => Some(map_in(&fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?)?),
            false => None,
        };
        if let Some(map) = &map
            && map.epoch != genesis.epoch
        {
            bail!("{} and {GENESIS_FILE} are of two clusters", file.display());
        }
        Ok(Self { genesis, map })
    }

    /// A node's region and signing key.
    pub fn place(&self, me: &NodeName) -> Option<(RegionName, PublicKey)> {
        let founder = self.genesis.node(me).map(|node| (node.region.clone(), node.signing_key));
        let later = || self.map.as_ref()?.nodes.iter().find(|node| node.name == *me);
        founder.or_else(|| later().map(|node| (node.region.clone(), node.signing_key)))
    }

    /// The cluster's name.
    pub fn cluster(&self) -> &ClusterName {
        &self.genesis.cluster
    }

    /// Where the nodes are, as far as is known.
    pub fn topology(&self) -> Topology {
        match &self.map {
            Some(map) => Topology::of(map),
            None => Topology::at_first(&self.genesis),
        }
    }

    /// Who vouches for whom, as far as is known: of a cluster that nobody heard of yet, the genesis, for nodes and
    /// operators.
    pub fn issuers(&self) -> IssuerTable {
        if let Some(map) = &self.map {
            return follow::issuer_table(map);
        }
        let issuer = |issuer: &strongroom_core::genesis::GenesisIssuer| Issuer {
            plane: issuer.plane,
            certificate: issuer.certificate.clone().into(),
            tenants: Default::default(),
            revocations: None,
        };
        IssuerTable {
            cluster: self.genesis.cluster.0.clone(),
            issuers: self.genesis.issuers.iter().map(issuer).collect(),
            tenants: Default::default(),
            nodes: self.genesis.nodes.iter().map(|node| node.name.0.clone()).collect(),
            gone_nodes: Default::default(),
        }
    }
}

/// The map in the bytes of an answer.
pub fn map_in(answer: &[u8]) -> anyhow::Result<ClusterMap> {
    match codec::decode(answer).context("this is no map of a cluster")? {
        Answer::ClusterMap(map) => Ok(*map),
        _ => bail!("this is no map of a cluster"),
    }
}
