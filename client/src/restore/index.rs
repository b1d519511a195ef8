//! Reading index trees: which leaves a part has, and what stands in them.
//!
//! Promises: a node is what its id says, or another member is asked; what a parent claims of a child is what the child
//! is (N42, N113); a leaf of a part lies in the shard in which it belongs (N46, with `layout.rs`). Not here: blobs.

use bytes::Bytes;
use strongroom_format::chunk::CHUNK_BYTES_MAX;
use strongroom_format::codec;
use strongroom_format::id::{GroupId, TreeId};
use strongroom_format::tree::{LeafEntry, Node, Totals, tree_id};
use strongroom_proto::v1 as pb;
use tonic::Status;

use super::gate::Gate;
use crate::error::{Error, Result};

/// A node's answer is bounded by so many nodes.
const NODES_AT_ONCE: usize = 64;

/// A leaf as its parent knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeafAt {
    pub id: TreeId,
    pub chunks: u64,
}

/// A run with the lengths that its sealed half tells.
#[derive(Clone, Debug)]
pub(crate) struct RunNode {
    pub leaf: TreeId,
    pub entries: Vec<LeafEntry>,
    pub plaintext_bytes: Vec<u32>,
}

/// The leaves below a root, in order. `stored_bytes` and `chunk_refs` are what the envelope says of the root.
pub(crate) async fn leaves(
    gate: &Gate,
    group: GroupId,
    root: TreeId,
    stored_bytes: u64,
    chunk_refs: u64,
) -> Result<Vec<LeafAt>> {
    let top = nodes(gate, group, &[root]).await?.pop().expect("one node for one id");
    let totals = top.totals();
    if (totals.stored_bytes, totals.chunk_refs) != (stored_bytes, chunk_refs) {
        return Err(wrong("the tree holds other totals than the envelope says"));
    }
    let mut level: Vec<(TreeId, Totals)> = match top {
        Node::Leaf(_) => return Ok(vec![LeafAt { id: root, chunks: totals.chunk_refs }]),
        Node::Inner(inner) => inner.children().iter().map(|child| (child.id, child.totals)).collect(),
    };
    while level.first().is_some_and(|(_, totals)| totals.height != 0) {
        let mut below = Vec::new();
        for some in level.chunks(NODES_AT_ONCE) {
            let ids: Vec<TreeId> = some.iter().map(|(id, _)| *id).collect();
            for (node, (_, claimed)) in nodes(gate, group, &ids).await?.into_iter().zip(some) {
                match node {
                    Node::Inner(inner) if Node::Inner(inner.clone()).totals() == *claimed => {
                        below.extend(inner.children().iter().map(|child| (child.id, child.totals)));
                    }
                    Node::Inner(_) | Node::Leaf(_) => return Err(wrong("a tree node is not what its parent says")),
                }
            }
        }
        level = below;
    }
    Ok(level.into_iter().map(|(id, totals)| LeafAt { id, chunks: totals.chunk_refs }).collect())
}

/// The runs of some leaves, in the same order.
pub(crate) async fn runs(gate: &Gate, group: GroupId, leaves: &[LeafAt]) -> Result<Vec<RunNode>> {
    let mut runs = Vec::with_capacity(leaves.len());
    for some in leaves.chunks(NODES_AT_ONCE) {
        let ids: Vec<TreeId> = some.iter().map(|leaf| leaf.id).collect();
        for (node, at) in nodes(gate, group, &ids).await?.into_iter().zip(some) {
            runs.push(run(gate, node, *at)?);
        }
    }
    Ok(runs)
}

fn run(gate: &Gate, node: Node, at: LeafAt) -> Result<RunNode> {
    let lengths = node
        .open_lengths(&gate.keys.length_key)
        .map_err(|fault| Error::provenance(format_args!("the lengths of a run: {fault}")))?;
    let Node::Leaf(leaf) = node else { return Err(wrong("a leaf is none")) };
    if leaf.entries().len() as u64 != at.chunks || lengths.len() != leaf.entries().len() {
        return Err(wrong("a leaf has another number of chunks than its parent says"));
    }
    Ok(RunNode { leaf: at.id, entries: leaf.entries().to_vec(), plaintext_bytes: possible(lengths)? })
}

/// Lengths of chunks in bytes, if chunks can be so long: a writer sealed whatever it liked.
fn possible(lengths: Vec<u64>) -> Result<Vec<u32>> {
    let is_possible = |bytes: &u32| (1..=CHUNK_BYTES_MAX).contains(bytes);
    let all = lengths.into_iter().map(|bytes| u32::try_from(bytes).ok().filter(is_possible)).collect::<Option<_>>();
    all.ok_or_else(|| wrong("a chunk is empty, or longer than chunks are"))
}

async fn nodes(gate: &Gate, group: GroupId, ids: &[TreeId]) -> Result<Vec<Node>> {
    let request = pb::GetNodesRequest {
        group: group.0,
        restore: gate.restore.0,
        vault: Bytes::copy_from_slice(gate.envelope.vault.as_bytes()),
        domain: Bytes::copy_from_slice(gate.envelope.domain.as_bytes()),
        nodes: ids.iter().map(|id| Bytes::copy_from_slice(id.as_bytes())).collect(),
    };
    let reply = gate
        .client
        .read(group, |mut vaults| {
            let request = request.clone();
            async move {
                let reply = vaults.get_nodes(request).await?;
                let found = &reply.get_ref().nodes;
                let good = found.len() == ids.len() && found.iter().zip(ids).all(|(bytes, id)| tree_id(bytes) == *id);
                // Another member may have what this one does not.
                if good { Ok(reply) } else { Err(Status::unavailable("tree nodes are missing or damaged there")) }
            }
        })
        .await?;
    Ok(reply.nodes.iter().map(|bytes| codec::decode(bytes)).collect::<std::result::Result<_, _>>()?)
}

fn wrong(why: &str) -> Error {
    Error::data_loss("MANIFEST_MISMATCH", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_no_chunk_has_end_a_restore_before_anything_is_made_room_for() {
        let longest = u64::from(CHUNK_BYTES_MAX);
        assert_eq!(possible(vec![1, longest]).unwrap(), [1, CHUNK_BYTES_MAX]);
        for bytes in [0, longest + 1, u64::from(u32::MAX) + 2, u64::MAX] {
            let error = possible(vec![1, bytes]).unwrap_err();
            assert!(error.to_string().contains("longer than chunks are"), "{bytes}: {error}");
        }
    }
}
