//! `node token`: a secret text with which a machine becomes a node of the cluster, once.

use std::time::Duration;

use serde::Serialize;
use strongroom_format::id::{NodeName, RegionName};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::text::parse_duration;

/// Flags of `node token`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an operator's profile. The token is a secret until it is used: whoever has it becomes that node. It counts once, for
minutes. On the new machine: strongroomd join TOKEN --data /var/lib/strongroom --address HOST

Example:
  strongroom node token south-1 --region south --profile operator.toml")]
pub struct NodeToken {
    /// Its name, never used before in this cluster.
    #[arg(value_name = "NAME")]
    node: NodeName,

    /// Its region, known or new: what fails together.
    #[arg(long, env = "STRONGROOM_REGION", value_name = "REGION")]
    region: RegionName,

    /// How long the token counts, at most an hour.
    #[arg(long, env = "STRONGROOM_LIFETIME", value_name = "TIME", default_value = "15m", value_parser = parse_duration)]
    lifetime: Duration,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "token")]
struct Issued {
    token: String,
    node: String,
    region: String,
}

impl NodeToken {
    /// Issues it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let operator = context.operator().await?;
        let token = operator.issue_node_token(self.node.clone(), self.region.clone(), self.lifetime).await?;
        context.output.item(&Issued {
            token: token.to_string(),
            node: self.node.to_string(),
            region: self.region.to_string(),
        })?;
        context.output.note("next, on its machine:  strongroomd join TOKEN --data DIR --address HOST");
        Ok(Exit::Done)
    }
}

impl Item for Issued {
    fn text(&self) -> String {
        self.token.clone()
    }
}
