//! In the cluster group those vote whom the rule names: one node a region in turn, in the order in which nodes came.

use std::collections::BTreeSet;

use crate::cluster::rows::{FactsRow, NodeRow};
use crate::laws::state::{State, holds};
use crate::topology;

pub(crate) fn check(state: &State) -> Result<(), String> {
    let Some((_, facts)) = state.shared::<FactsRow>()?.pop() else { return Ok(()) };
    let mut nodes: Vec<NodeRow> = state.shared::<NodeRow>()?.into_iter().map(|(_, node)| node).collect();
    nodes.sort_by_key(|node| node.ordinal);
    let ordinals: BTreeSet<u32> = nodes.iter().map(|node| node.ordinal).collect();
    holds(ordinals.len() == nodes.len(), || "two nodes came at once".into())?;
    let order = topology::in_turn(&facts.regions, &nodes, |node| &node.region);
    holds(order.len() == nodes.len(), || "a node is in no region of the cluster".into())?;
    let voters = topology::cluster_voters(&order.iter().map(|node| &node.region).collect::<Vec<_>>());
    let right = order.iter().enumerate().all(|(place, node)| node.votes == (place < voters));
    holds(right, || format!("not the first {voters} vote: {order:?}"))
}
