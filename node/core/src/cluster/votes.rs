//! Votes in the cluster group: one node a region in turn, 1, 3, 5 or 7 of them, no region of three with a majority.
//!
//! Recomputed in `apply` when a node comes, from rows alone, in the order in which nodes came: so a rebuilt node keeps its
//! vote. Raft's membership follows the rows, one member at a time. Law: `laws/votes_are_one_a_region_in_turn.rs`. Not here: the rule itself (`topology.rs`), moving Raft's
//! membership (`node/service`).

use strongroom_format::id::{GroupId, NodeName};
use strongroom_format::outcome::Refusal;

use crate::cluster::rows::{FactsRow, NodeRow};
use crate::genesis::Genesis;
use crate::row::Space;
use crate::stop::Ruled;
use crate::tables::{Halt, Reads, Tables};
use crate::topology;
use crate::voters::{self, Electorate, Voter};

/// Those who vote.
pub(crate) fn electorate(reads: &dyn Reads, facts: &FactsRow) -> Result<Electorate, Halt> {
    let voters = nodes(reads)?.into_iter().filter(|node| node.votes).map(|node| Voter {
        replica: node.replica,
        node: node.name,
        signing_key: node.signing_key,
    });
    Ok(Electorate::new(facts.epoch, GroupId::CLUSTER, voters.collect()))
}

/// Gives and takes votes. Refused where those who are fenced would be no minority any more.
pub(crate) fn recount(tables: &mut dyn Tables, facts: &FactsRow) -> Ruled<()> {
    let mut nodes = nodes(&*tables)?;
    nodes.sort_by_key(|node| node.ordinal);
    let order = topology::in_turn(&facts.regions, nodes, |node| &node.region);
    let voters = topology::cluster_voters(&order.iter().map(|node| &node.region).collect::<Vec<_>>());
    let (mut fenced, mut changed) = (0, false);
    for (place, node) in order.into_iter().enumerate() {
        let votes = place < voters;
        if votes {
            fenced += usize::from(voters::is_fenced(&*tables, node.replica)?);
        } else {
            voters::forget(tables, node.replica)?;
        }
        if votes != node.votes {
            changed = true;
            Space::whole().put(tables, &(node.name.clone(),), &NodeRow { votes, ..node })?;
        }
    }
    if 0 < fenced && voters <= fenced * 2 {
        return Err(Refusal::NeedsApproval.into());
    }
    if changed {
        Space::whole().put(tables, &(), &of_another(facts))?;
    }
    Ok(())
}

/// The same, and another electorate.
pub(crate) fn of_another(facts: &FactsRow) -> FactsRow {
    FactsRow { electorate_version: facts.electorate_version + 1, ..facts.clone() }
}

/// The ordinal of the next node that comes.
pub(crate) fn next_ordinal(reads: &dyn Reads) -> Result<u32, Halt> {
    Ok(nodes(reads)?.iter().map(|node| node.ordinal + 1).max().unwrap_or(0))
}

fn nodes(reads: &dyn Reads) -> Result<Vec<NodeRow>, Halt> {
    let rows: Vec<((NodeName,), NodeRow)> = Space::whole().range(reads, &(), Genesis::NODES_MAX)?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}
