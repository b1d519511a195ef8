//! The index tree: from a stream to its chunks.
//!
//! ```text
//!             root: inner, height 2
//!            ╱        ╲                  inner  = (id, stored bytes, chunk references, leaves, height) × ~256
//!        inner         inner             leaf   = a run: (chunk id, blob id, stored bytes) × ~256
//!       ╱  │  ╲       ╱  │  ╲            sealed = the plaintext length of each entry
//!     leaf leaf leaf leaf leaf leaf
//! ```
//!
//! Every node has an open half, which nodes of the cluster read and count, and a sealed half with the plaintext
//! lengths, which writer and restorers read. The sealed half is made from a key that only the domain has and the hash
//! of the open half, and repeats byte for byte, so nodes that are shared stay equal (`siv.rs`).
//!
//! Borders are content-defined ([`Cutter`]): the same chunks give the same runs, the same runs the same tree, and a
//! change moves only the borders near to it. All leaves of a tree have the same depth.
//!
//! Promises: a [`Node`] that exists is within its limits and its totals do not overflow; decoding checks that. Whether
//! the totals that an inner node *claims* of a child are the child's is checked where the child is at hand
//! ([`Node::totals`]; `node/core`).
//!
//! Not here: in which shard a run lies (`placement.rs`), the order of runs over shards (`manifest.rs`).

use borsh::{BorshDeserialize, BorshSerialize};

use crate::aead::NotAuthentic;
use crate::chunk::CHUNK_BYTES_MAX;
use crate::codec::{self, Format};
use crate::id::{BlobId, ChunkId, TreeId};
use crate::keys::LengthKey;
use crate::seal::BLOB_BYTES_MAX;
use crate::siv::{self, Purpose};

/// A leaf has height 0; no node is higher than this.
pub const HEIGHT_MAX: u8 = 8;
/// At most so many children under an inner node, or entries in a leaf.
pub const FANOUT_MAX: usize = 1024;
/// No border before so many entries.
pub const FANOUT_MIN: usize = 64;
/// From [`FANOUT_MIN`] on, one entry in so many is a border: so a node has about 256.
pub const BORDER_ONE_IN: u64 = 192;

/// One chunk of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LeafEntry {
    /// The writer's name for it.
    pub chunk: ChunkId,
    /// The blob that the writer meant.
    pub blob: BlobId,
    /// The blob's bytes, at least 1.
    pub stored_bytes: u32,
}

/// One child of an inner node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Child {
    /// The child.
    pub id: TreeId,
    /// What its writer says that it has; true only if it equals the child's own [`Node::totals`].
    pub totals: Totals,
}

/// What a subtree has, each reference counted as often as it occurs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Totals {
    /// Bytes of the blobs.
    pub stored_bytes: u64,
    /// Chunk references.
    pub chunk_refs: u64,
    /// Leaves.
    pub leaves: u64,
    /// Height: 0 is a leaf's.
    pub height: u8,
}

/// A run of chunks.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Leaf {
    entries: Vec<LeafEntry>,
    sealed: Vec<u8>,
}

impl Leaf {
    /// Its chunks, in the stream's order.
    pub fn entries(&self) -> &[LeafEntry] {
        &self.entries
    }
}

/// A node above others.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Inner {
    children: Vec<Child>,
    sealed: Vec<u8>,
}

impl Inner {
    /// Its children, in the stream's order, all of one height.
    pub fn children(&self) -> &[Child] {
        &self.children
    }

    /// The child that holds the subtree's chunk reference `ordinal` (from 0), and the ordinal inside of that child.
    pub fn child_containing(&self, ordinal: u64) -> Option<(usize, u64)> {
        let mut rest = ordinal;
        for (at, child) in self.children.iter().enumerate() {
            match rest.checked_sub(child.totals.chunk_refs) {
                Some(after) => rest = after,
                None => return Some((at, rest)),
            }
        }
        None
    }

    /// The child that holds the subtree's leaf `ordinal` (from 0), and the leaf's ordinal inside of that child.
    pub fn child_with_leaf(&self, ordinal: u64) -> Option<(usize, u64)> {
        let mut rest = ordinal;
        for (at, child) in self.children.iter().enumerate() {
            match rest.checked_sub(child.totals.leaves) {
                Some(after) => rest = after,
                None => return Some((at, rest)),
            }
        }
        None
    }
}

/// A node of an index tree. Its canonical bytes are a [`Format`]'s; its id is their hash.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub enum Node {
    /// A run.
    Leaf(Leaf),
    /// A node above others.
    Inner(Inner),
}

impl Format for Node {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 128 << 10;
    const NAME: &'static str = "tree node";
}

impl BorshDeserialize for Node {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let invalid = |why: &str| borsh::io::Error::new(borsh::io::ErrorKind::InvalidData, why);
        let node = match u8::deserialize_reader(reader)? {
            0 => Node::Leaf(Leaf::deserialize_reader(reader)?),
            1 => Node::Inner(Inner::deserialize_reader(reader)?),
            _ => return Err(invalid("neither leaf nor inner node")),
        };
        match node.check() {
            Ok(_) => Ok(node),
            Err(why) => Err(invalid(&why.to_string())),
        }
    }
}

/// Why a node cannot be (N113).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Too many entries, children or levels.
    #[error("{found} {what}, at most {most} are allowed")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// An inner node has at least one child.
    #[error("an inner node without children")]
    NoChildren,
    /// A stored length that no blob has, or a plaintext length that no chunk has.
    #[error("an entry's length is outside its range")]
    Length,
    /// The children are of different heights, or one has nothing in it.
    #[error("the children of a node do not fit together")]
    Children,
    /// The totals do not fit into 64 bits.
    #[error("the totals overflow")]
    Overflow,
    /// There is not exactly one plaintext length for each entry.
    #[error("the sealed lengths do not fit the entries")]
    Lengths,
}

/// A tree as its parent, a part or an envelope knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// The topmost node.
    pub id: TreeId,
    /// What it has.
    pub totals: Totals,
    /// The plaintext's length. Secret: for who sealed it, not for nodes.
    pub plaintext_bytes: u64,
}

/// The id of a node from its canonical bytes.
pub fn tree_id(canonical: &[u8]) -> TreeId {
    TreeId::from_bytes(*blake3::hash(canonical).as_bytes())
}

impl Node {
    /// A leaf of at most [`FANOUT_MAX`] entries with one plaintext length (1 ..= 4 MiB) for each. Only the tree of an
    /// empty stream has a leaf without entries.
    pub fn leaf(key: &LengthKey, entries: Vec<LeafEntry>, plaintext_bytes: &[u32]) -> Result<Node, TreeError> {
        if plaintext_bytes.len() != entries.len() {
            return Err(TreeError::Lengths);
        }
        if plaintext_bytes.iter().any(|bytes| !(1..=CHUNK_BYTES_MAX).contains(bytes)) {
            return Err(TreeError::Length);
        }
        let lengths: Vec<u8> = plaintext_bytes.iter().flat_map(|bytes| bytes.to_le_bytes()).collect();
        Node::Leaf(Leaf { entries, sealed: Vec::new() }).with_lengths(key, &lengths)
    }

    /// An inner node of 1 to [`FANOUT_MAX`] children of one height, with the plaintext length below each.
    pub fn inner(key: &LengthKey, children: Vec<Child>, plaintext_bytes: &[u64]) -> Result<Node, TreeError> {
        if plaintext_bytes.len() != children.len() {
            return Err(TreeError::Lengths);
        }
        if plaintext_bytes.iter().try_fold(0u64, |sum, bytes| sum.checked_add(*bytes)).is_none() {
            return Err(TreeError::Overflow);
        }
        let lengths: Vec<u8> = plaintext_bytes.iter().flat_map(|bytes| bytes.to_le_bytes()).collect();
        Node::Inner(Inner { children, sealed: Vec::new() }).with_lengths(key, &lengths)
    }

    /// What is at and below this node. It cannot fail: a node with totals that overflow does not exist.
    pub fn totals(&self) -> Totals {
        self.check().expect("checked when the node was made")
    }

    /// The plaintext length of each entry or child. They were sealed with exactly this node's open half.
    pub fn open_lengths(&self, key: &LengthKey) -> Result<Vec<u64>, NotAuthentic> {
        let lengths = siv::open(key, Purpose::Lengths, &self.open_half(), self.sealed())?;
        Ok(match self {
            Node::Leaf(_) => {
                lengths.as_chunks().0.iter().map(|bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes))).collect()
            }
            Node::Inner(_) => lengths.as_chunks().0.iter().map(|bytes: &[u8; 8]| u64::from_le_bytes(*bytes)).collect(),
        })
    }

    fn with_lengths(mut self, key: &LengthKey, lengths: &[u8]) -> Result<Node, TreeError> {
        let sealed = siv::seal(key, Purpose::Lengths, &self.open_half(), lengths);
        match &mut self {
            Node::Leaf(leaf) => leaf.sealed = sealed,
            Node::Inner(inner) => inner.sealed = sealed,
        }
        self.check().map(|_| self)
    }

    fn sealed(&self) -> &[u8] {
        match self {
            Node::Leaf(leaf) => &leaf.sealed,
            Node::Inner(inner) => &inner.sealed,
        }
    }

    /// The hash of the canonical bytes in front of the sealed half.
    fn open_half(&self) -> [u8; 32] {
        let mut bytes = vec![Self::VERSION];
        match self {
            Node::Leaf(leaf) => (0u8, &leaf.entries).serialize(&mut bytes),
            Node::Inner(inner) => (1u8, &inner.children).serialize(&mut bytes),
        }
        .expect("writing to memory cannot fail");
        *blake3::hash(&bytes).as_bytes()
    }

    fn check(&self) -> Result<Totals, TreeError> {
        let (what, count, length_bytes) = match self {
            Node::Leaf(leaf) => ("entries", leaf.entries.len(), 4),
            Node::Inner(inner) => ("children", inner.children.len(), 8),
        };
        if count > FANOUT_MAX {
            return Err(TreeError::Limit { what, found: count, most: FANOUT_MAX });
        }
        if self.sealed().len() != count * length_bytes + siv::OVERHEAD_BYTES {
            return Err(TreeError::Lengths);
        }
        match self {
            Node::Leaf(leaf) => leaf_totals(&leaf.entries),
            Node::Inner(inner) => inner_totals(&inner.children),
        }
    }
}

fn leaf_totals(entries: &[LeafEntry]) -> Result<Totals, TreeError> {
    let mut totals = Totals { stored_bytes: 0, chunk_refs: entries.len() as u64, leaves: 1, height: 0 };
    for entry in entries {
        if !(1..=BLOB_BYTES_MAX).contains(&entry.stored_bytes) {
            return Err(TreeError::Length);
        }
        totals.stored_bytes += u64::from(entry.stored_bytes);
    }
    Ok(totals)
}

fn inner_totals(children: &[Child]) -> Result<Totals, TreeError> {
    let first = children.first().ok_or(TreeError::NoChildren)?;
    let height = usize::from(first.totals.height) + 1;
    if height > usize::from(HEIGHT_MAX) {
        return Err(TreeError::Limit { what: "levels", found: height, most: usize::from(HEIGHT_MAX) });
    }
    let mut sum = Totals { height: first.totals.height + 1, ..Totals::default() };
    for Child { totals, .. } in children {
        if totals.height != first.totals.height || totals.leaves == 0 || totals.chunk_refs == 0 {
            return Err(TreeError::Children);
        }
        let add = |sum: u64, more: u64| sum.checked_add(more).ok_or(TreeError::Overflow);
        sum.stored_bytes = add(sum.stored_bytes, totals.stored_bytes)?;
        sum.chunk_refs = add(sum.chunk_refs, totals.chunk_refs)?;
        sum.leaves = add(sum.leaves, totals.leaves)?;
    }
    Ok(sum)
}

/// Where a sequence of chunks ends a run, and a sequence of nodes their parent: a border lies behind an id if at least
/// [`FANOUT_MIN`] ids stand before it and with it, and its first 8 bytes, little-endian, are a multiple of
/// [`BORDER_ONE_IN`]; at the latest behind [`FANOUT_MAX`].
#[derive(Clone, Debug, Default)]
pub struct Cutter {
    count: usize,
}

impl Cutter {
    /// At the beginning of a sequence.
    pub fn new() -> Cutter {
        Cutter::default()
    }

    /// Takes the next id and says whether a border lies behind it.
    pub fn is_border_behind(&mut self, id: &[u8; 32]) -> bool {
        self.count += 1;
        let first = u64::from_le_bytes(*id.first_chunk().expect("an id has 32 bytes"));
        let chosen = self.count >= FANOUT_MIN && first.is_multiple_of(BORDER_ONE_IN);
        let ends = chosen || self.count == FANOUT_MAX;
        if ends {
            self.count = 0;
        }
        ends
    }
}

/// A node as it is sent and stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its id.
    pub id: TreeId,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
    /// What it has.
    pub totals: Totals,
}

/// Builds the tree over runs that come in order. It holds at most [`FANOUT_MAX`] children per level and gives every
/// node out once, children before parents.
#[derive(Debug)]
pub struct TreeBuilder {
    key: LengthKey,
    levels: Vec<Level>,
    made: Vec<Made>,
}

#[derive(Debug, Default)]
struct Level {
    cutter: Cutter,
    children: Vec<Child>,
    plaintext_bytes: Vec<u64>,
}

impl TreeBuilder {
    /// Of a stream of the domain that `key` belongs to.
    pub fn new(key: LengthKey) -> TreeBuilder {
        TreeBuilder { key, levels: Vec::new(), made: Vec::new() }
    }

    /// Takes the next run (of [`Cutter`]'s making; at least one entry) and gives out the nodes that are complete: its
    /// leaf and perhaps nodes above. After an error the builder is of no more use.
    pub fn push(&mut self, entries: Vec<LeafEntry>, plaintext_bytes: &[u32]) -> Result<Vec<Made>, TreeError> {
        if entries.is_empty() {
            return Err(TreeError::Children);
        }
        let leaf = Node::leaf(&self.key, entries, plaintext_bytes)?;
        self.add(0, &leaf, plaintext_bytes.iter().map(|bytes| u64::from(*bytes)).sum())?;
        Ok(std::mem::take(&mut self.made))
    }

    /// The nodes that are still missing, and the root: the last of them, or given out before. An empty stream has one
    /// leaf without entries.
    pub fn finish(mut self) -> Result<(Vec<Made>, Root), TreeError> {
        if self.levels.is_empty() {
            let leaf = Node::leaf(&self.key, Vec::new(), &[])?;
            let made = made(&leaf);
            let root = Root { id: made.id, totals: made.totals, plaintext_bytes: 0 };
            return Ok((vec![made], root));
        }
        for at in 0.. {
            let is_topmost = at + 1 == self.levels.len();
            let level = &self.levels[at];
            if let ([child], [plaintext_bytes], true) = (&level.children[..], &level.plaintext_bytes[..], is_topmost) {
                let root = Root { id: child.id, totals: child.totals, plaintext_bytes: *plaintext_bytes };
                return Ok((self.made, root));
            }
            if !level.children.is_empty() {
                self.close(at)?;
            }
        }
        unreachable!("every level has fewer nodes than the one below")
    }

    fn add(&mut self, at: usize, node: &Node, plaintext_bytes: u64) -> Result<(), TreeError> {
        let made = made(node);
        let child = Child { id: made.id, totals: made.totals };
        self.made.push(made);
        if at == self.levels.len() {
            self.levels.push(Level::default());
        }
        let level = &mut self.levels[at];
        level.children.push(child);
        level.plaintext_bytes.push(plaintext_bytes);
        if level.cutter.is_border_behind(child.id.as_bytes()) { self.close(at) } else { Ok(()) }
    }

    fn close(&mut self, at: usize) -> Result<(), TreeError> {
        let level = std::mem::take(&mut self.levels[at]);
        let total = level.plaintext_bytes.iter().try_fold(0u64, |sum, bytes| sum.checked_add(*bytes));
        let parent = Node::inner(&self.key, level.children, &level.plaintext_bytes)?;
        self.add(at + 1, &parent, total.ok_or(TreeError::Overflow)?)
    }
}

fn made(node: &Node) -> Made {
    let bytes = codec::encode(node);
    Made { id: tree_id(&bytes), totals: node.totals(), bytes }
}

#[cfg(test)]
mod tests;
