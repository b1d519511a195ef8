//! `status`: nodes, shards, blobs and the clock.

use serde::Serialize;
use strongroom::status;

use crate::commands::clock::Shape;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::text::count;

/// Flags of `status`: none of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With a tenant's profile it shows the tenant's shards and blobs, with an operator's all of them. It is what the node
that answers sees.

Examples:
  strongroom status
  strongroom status --json | jq '.nodes[] | select(.up | not)'")]
pub struct Status {}

/// The result.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "status")]
struct Shown {
    cluster: String,
    nodes: Vec<Node>,
    shards: Vec<Shard>,
    blobs: Blobs,
    clock: Shape,
}

#[derive(Debug, Serialize)]
struct Node {
    name: String,
    region: String,
    up: bool,
    version: String,
}

#[derive(Debug, Serialize)]
struct Shard {
    id: u32,
    code: String,
    leader: Option<String>,
    members: Vec<String>,
    applied: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fenced: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changing: Option<String>,
}

#[derive(Debug, Serialize)]
struct Blobs {
    total: u64,
    full: u64,
    thin: u64,
    lost: u64,
}

impl Status {
    /// Asks and shows.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let profile = context.profile()?;
        let status = match &profile.tenant {
            Some(_) => status::of_tenant(&context.client().await?).await?,
            None => status::of_cluster(&context.operator().await?).await?,
        };
        context.output.item(&Shown::from(status))?;
        Ok(Exit::Done)
    }
}

impl From<status::Status> for Shown {
    fn from(status: status::Status) -> Self {
        let node = |node: status::NodeStatus| Node {
            name: node.name,
            region: node.region,
            up: node.up,
            version: node.version,
        };
        let shard = |shard: status::ShardStatus| Shard {
            id: shard.id.0,
            code: shard.code,
            leader: shard.leader,
            members: shard.members,
            applied: shard.applied,
            fenced: shard.fenced,
            changing: shard.changing,
        };
        let status::BlobCounts { total, full, thin, lost } = status.blobs;
        Self {
            cluster: status.cluster,
            nodes: status.nodes.into_iter().map(node).collect(),
            shards: status.shards.into_iter().map(shard).collect(),
            blobs: Blobs { total, full, thin, lost },
            clock: Shape::of(status.clock),
        }
    }
}

impl Item for Shown {
    fn text(&self) -> String {
        let width = self.nodes.iter().map(|node| node.name.len()).max().unwrap_or(0);
        let down = self.nodes.iter().filter(|node| !node.up).count();
        let mut lines =
            vec![format!("cluster {}: {}, {down} down", self.cluster, count(self.nodes.len() as u64, "node", "nodes"))];
        for node in &self.nodes {
            let state = if node.up { "up" } else { "DOWN" };
            lines.push(format!("  {:width$}  {:10}  {state:4}  {}", node.name, node.region, node.version));
        }
        for shard in &self.shards {
            let leader = shard.leader.as_deref().unwrap_or("nobody");
            lines.push(format!(
                "shard {}: {}, led by {leader}, applied {}; on {}",
                shard.id,
                shard.code,
                shard.applied,
                shard.members.join(" ")
            ));
            if !shard.fenced.is_empty() {
                lines.push(format!("  FENCED, its state differs from the others': {}", shard.fenced.join(" ")));
            }
            if let Some(node) = &shard.changing {
                lines.push(format!("  the member on {node} is being rebuilt"));
            }
        }
        let Blobs { total, full, thin, lost } = self.blobs;
        lines.push(format!("blobs: {total}, of which {full} full, {thin} thin, {lost} lost"));
        lines.push(format!("clock: {}", self.clock.text()));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only<T>(all: Vec<T>) -> T {
        let [one] = <[T; 1]>::try_from(all).ok().expect("one");
        one
    }

    #[test]
    fn the_result_has_the_fields_of_the_contract() {
        let shown = Shown {
            cluster: "dev".into(),
            nodes: vec![Node { name: "north-1".into(), region: "north".into(), up: true, version: "0.1.0".into() }],
            shards: vec![Shard {
                id: 1,
                code: "4+2".into(),
                leader: Some("north-1".into()),
                members: vec!["north-1".into()],
                applied: 7,
                fenced: Vec::new(),
                changing: None,
            }],
            blobs: Blobs { total: 4, full: 3, thin: 1, lost: 0 },
            clock: Shape {
                time: Some("2026-11-26T00:00:00Z".into()),
                wall_lag_s: 0.5,
                state: "running",
                bound_ms: 2000,
                why: String::new(),
            },
        };
        let expected = r#"{"type":"status","cluster":"dev","nodes":[{"name":"north-1","region":"north","up":true,"version":"0.1.0"}],"shards":[{"id":1,"code":"4+2","leader":"north-1","members":["north-1"],"applied":7}],"blobs":{"total":4,"full":3,"thin":1,"lost":0},"clock":{"time":"2026-11-26T00:00:00Z","wall_lag_s":0.5,"state":"running","bound_ms":2000,"why":""}}"#;
        assert_eq!(serde_json::to_string(&shown).unwrap(), expected);
        assert!(shown.text().contains("1 node, 0 down"));

        // What is rare stands there only when it is so.
        let shard = Shard { fenced: vec!["north-1".into()], changing: Some("north-1".into()), ..only(shown.shards) };
        let expected = r#""applied":7,"fenced":["north-1"],"changing":"north-1"}"#;
        assert!(serde_json::to_string(&shard).unwrap().ends_with(expected));
    }
}
