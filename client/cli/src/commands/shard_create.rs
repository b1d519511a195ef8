//! `shard create`: another shard, with one member on each of the named nodes.

use serde::Serialize;
use strongroom_format::id::NodeName;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;

/// Flags of `shard create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an operator's profile. Name the nodes region by region in turn. What a shard survives follows from how many there are:
3 nodes in 3 regions (code 2+1) survive a region, 6 (4+2) a region or any two nodes, 9 (6+3) a region or any three. Tenants
that are created afterwards can live in it.

Example:
  strongroom shard create north-1 south-1 west-1 --profile operator.toml")]
pub struct ShardCreate {
    /// The nodes, by slot.
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<NodeName>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "shard")]
struct Created {
    id: u32,
    nodes: Vec<String>,
}

impl ShardCreate {
    /// Creates it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let group = context.operator().await?.create_shard(self.nodes.clone()).await?;
        context.output.item(&Created { id: group.0, nodes: self.nodes.iter().map(NodeName::to_string).collect() })?;
        context
            .output
            .note("next:  strongroom tenant create NAME --founding FILE   (see `strongroom init-key root --help`)");
        Ok(Exit::Done)
    }
}

impl Item for Created {
    fn text(&self) -> String {
        format!("shard {} has members on {}", self.id, self.nodes.join(", "))
    }
}
