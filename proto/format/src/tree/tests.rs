//! Trees: the same chunks make the same tree, everybody counts alike, and nothing that cannot be is read.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn key(first: u8) -> LengthKey {
    let mut bytes = [3; 32];
    bytes[0] = first;
    LengthKey::from_secret(bytes).unwrap()
}

fn hash(n: u64) -> [u8; 32] {
    *blake3::hash(&n.to_le_bytes()).as_bytes()
}

fn entry(n: u64) -> LeafEntry {
    LeafEntry {
        chunk: ChunkId::from_bytes(hash(n)),
        blob: BlobId::from_bytes(hash(!n)),
        stored_bytes: 153 + (n % 1000) as u32,
    }
}

fn plaintext_bytes(n: u64) -> u32 {
    1 + (n % 5000) as u32
}

/// A tree over these chunks, and its nodes by id.
fn build(chunks: &[u64]) -> (Root, BTreeMap<TreeId, Vec<u8>>) {
    let mut nodes = BTreeMap::new();
    let mut keep = |made: Vec<Made>| {
        for made in made {
            let node: Node = codec::decode(&made.bytes).unwrap();
            assert_eq!((tree_id(&made.bytes), node.totals()), (made.id, made.totals));
            if let Node::Inner(inner) = &node {
                for child in inner.children() {
                    assert!(nodes.contains_key(&child.id), "children come before parents");
                }
            }
            nodes.insert(made.id, made.bytes);
        }
    };
    let (mut builder, mut cutter) = (TreeBuilder::new(key(1)), Cutter::new());
    let mut run = Vec::new();
    for (at, n) in chunks.iter().enumerate() {
        run.push(*n);
        if cutter.is_border_behind(entry(*n).chunk.as_bytes()) || at + 1 == chunks.len() {
            let lengths: Vec<_> = run.iter().map(|n| plaintext_bytes(*n)).collect();
            keep(builder.push(run.drain(..).map(entry).collect(), &lengths).unwrap());
        }
    }
    let (made, root) = builder.finish().unwrap();
    keep(made);
    assert!(nodes.contains_key(&root.id));
    (root, nodes)
}

/// All chunks below a node, with their lengths, compared with what every node on the way claims.
fn walk(nodes: &BTreeMap<TreeId, Vec<u8>>, id: &TreeId, found: &mut Vec<(ChunkId, u64)>) -> (Totals, u64) {
    let node: Node = codec::decode(&nodes[id]).unwrap();
    let lengths = node.open_lengths(&key(1)).unwrap();
    match &node {
        Node::Leaf(leaf) => found.extend(leaf.entries().iter().map(|e| e.chunk).zip(lengths.iter().copied())),
        Node::Inner(inner) => {
            for (child, length) in inner.children().iter().zip(&lengths) {
                assert_eq!(walk(nodes, &child.id, found), (child.totals, *length));
            }
        }
    }
    (node.totals(), lengths.iter().sum())
}

#[test]
fn a_tree_gives_back_its_chunks_in_order_with_their_lengths() {
    for count in [0, 1, 63, 64, 65, 1_000, 30_000] {
        let chunks: Vec<u64> = (0..count).collect();
        let (root, nodes) = build(&chunks);
        let mut found = Vec::new();
        let counted = walk(&nodes, &root.id, &mut found);
        assert_eq!(counted, (root.totals, root.plaintext_bytes), "{count}");
        let expected: Vec<_> = chunks.iter().map(|n| (entry(*n).chunk, u64::from(plaintext_bytes(*n)))).collect();
        assert_eq!(found, expected);
        assert_eq!(root.totals.chunk_refs, count);
        assert_eq!(root.totals.leaves == 1, root.totals.height == 0);
    }
}

#[test]
fn two_levels_above_the_leaves_and_look_ups_through_them() {
    let chunks: Vec<u64> = (0..120_000).collect();
    let (root, nodes) = build(&chunks);
    assert_eq!(root.totals.height, 2);
    let average = root.totals.chunk_refs / root.totals.leaves;
    assert!((220..290).contains(&average), "{average}");
    for ordinal in (0..120_000).step_by(997).chain([119_999]) {
        let (mut id, mut rest) = (root.id, ordinal);
        let found = loop {
            match codec::decode::<Node>(&nodes[&id]).unwrap() {
                Node::Leaf(leaf) => break leaf.entries()[rest as usize],
                Node::Inner(inner) => {
                    let (at, inside) = inner.child_containing(rest).unwrap();
                    (id, rest) = (inner.children()[at].id, inside);
                }
            }
        };
        assert_eq!(found, entry(ordinal));
    }
    let Node::Inner(top) = codec::decode(&nodes[&root.id]).unwrap() else { panic!("the root is no leaf") };
    assert_eq!(top.child_containing(120_000), None);
    assert_eq!(top.child_with_leaf(root.totals.leaves), None);
    let (at, inside) = top.child_with_leaf(root.totals.leaves - 1).unwrap();
    assert_eq!((at, inside), (top.children().len() - 1, top.children()[at].totals.leaves - 1));
}

#[test]
fn a_change_moves_only_what_is_near_to_it() {
    let before: Vec<u64> = (0..60_000).collect();
    let mut after = before.clone();
    after.splice(20_000..20_003, 900_000..900_010);
    let (old, old_nodes) = build(&before);
    let (new, new_nodes) = build(&after);
    assert_ne!(old.id, new.id);
    let old_ids: BTreeSet<_> = old_nodes.keys().collect();
    let fresh = new_nodes.keys().filter(|id| !old_ids.contains(id)).count();
    assert!(fresh <= 12, "{fresh} of {} nodes are new", new_nodes.len());
    assert_eq!(build(&before), (old, old_nodes));
}

#[test]
fn a_run_of_one_chunk_repeated_ends_at_the_limit() {
    let not_a_border =
        (0..).find(|n| !u64::from_le_bytes(*hash(*n).first_chunk().unwrap()).is_multiple_of(192)).unwrap();
    let (root, nodes) = build(&vec![not_a_border; 3 * FANOUT_MAX]);
    // The same leaf three times, named three times by one inner node.
    assert_eq!((root.totals.leaves, nodes.len()), (3, 2));
    assert_eq!(root.totals.chunk_refs, 3 * 1024);
}

#[test]
fn lengths_open_with_the_domains_key_and_the_nodes_open_half_only() {
    let one = Node::leaf(&key(1), vec![entry(1), entry(2)], &[10, 20]).unwrap();
    assert_eq!(one.open_lengths(&key(1)).unwrap(), [10, 20]);
    assert_eq!(one.open_lengths(&key(2)), Err(NotAuthentic));
    let two = Node::leaf(&key(1), vec![entry(1), entry(3)], &[10, 20]).unwrap();
    let (Node::Leaf(one), Node::Leaf(two)) = (one, two) else { panic!("leaves") };
    assert_ne!(one.sealed, two.sealed);
    let crossed = Node::Leaf(Leaf { entries: one.entries.clone(), sealed: two.sealed });
    assert_eq!(crossed.open_lengths(&key(1)), Err(NotAuthentic));
    // Canary: lengths are nowhere in the open.
    let leaf = Node::leaf(&key(1), vec![entry(1)], &[0x0033_4455]).unwrap();
    assert!(!codec::encode(&leaf).windows(4).any(|bytes| bytes == 0x0033_4455u32.to_le_bytes()));
}

fn child(totals: Totals) -> Child {
    Child { id: TreeId::from_bytes([1; 32]), totals }
}

const SMALL: Totals = Totals { stored_bytes: 10, chunk_refs: 1, leaves: 1, height: 0 };

/// The canonical bytes that a hostile writer would send.
fn forged(children: Vec<Child>) -> Result<Node, codec::FormatError> {
    let sealed = vec![0; children.len() * 8 + siv::OVERHEAD_BYTES];
    codec::decode(&codec::encode(&Node::Inner(Inner { children, sealed })))
}

#[test]
fn n113_nodes_over_the_limits_or_with_totals_that_overflow_are_refused() {
    assert!(forged(vec![child(SMALL)]).is_ok());
    assert!(forged(vec![child(SMALL); FANOUT_MAX]).is_ok());
    assert!(forged(vec![child(SMALL); FANOUT_MAX + 1]).is_err());
    assert!(forged(vec![]).is_err());
    for totals in [
        Totals { height: HEIGHT_MAX, ..SMALL },
        Totals { height: u8::MAX, ..SMALL },
        Totals { leaves: 0, ..SMALL },
        Totals { chunk_refs: 0, ..SMALL },
    ] {
        assert!(forged(vec![child(totals)]).is_err(), "{totals:?}");
    }
    assert!(forged(vec![child(SMALL), child(Totals { height: 1, ..SMALL })]).is_err());
    for totals in [
        Totals { stored_bytes: u64::MAX, ..SMALL },
        Totals { chunk_refs: u64::MAX, ..SMALL },
        Totals { leaves: u64::MAX, ..SMALL },
    ] {
        assert!(forged(vec![child(totals)]).is_ok());
        assert!(forged(vec![child(totals), child(SMALL)]).is_err(), "{totals:?}");
    }

    let leaf = |entries: Vec<LeafEntry>, lengths: usize| {
        let sealed = vec![0; lengths * 4 + siv::OVERHEAD_BYTES];
        codec::decode::<Node>(&codec::encode(&Node::Leaf(Leaf { entries, sealed })))
    };
    assert!(leaf(vec![], 0).is_ok());
    assert!(leaf(vec![entry(1); FANOUT_MAX], FANOUT_MAX).is_ok());
    assert!(leaf(vec![entry(1); FANOUT_MAX + 1], FANOUT_MAX + 1).is_err());
    assert!(leaf(vec![entry(1); 2], 1).is_err());
    assert!(leaf(vec![LeafEntry { stored_bytes: 0, ..entry(1) }], 1).is_err());
    assert!(leaf(vec![LeafEntry { stored_bytes: BLOB_BYTES_MAX + 1, ..entry(1) }], 1).is_err());
}

#[test]
fn n113_the_same_child_a_million_times_is_counted_a_million_times_and_held_once() {
    // 1024 × 1024 references to one leaf take two nodes; 1024⁷ do not fit into the totals.
    let mut node = Node::leaf(&key(1), vec![entry(1)], &[1]).unwrap();
    let mut plaintext_bytes = 1u64;
    for height in 1..=6 {
        let child = Child { id: tree_id(&codec::encode(&node)), totals: node.totals() };
        node = Node::inner(&key(1), vec![child; FANOUT_MAX], &[plaintext_bytes; FANOUT_MAX]).unwrap();
        plaintext_bytes *= 1024;
        assert_eq!(node.totals().chunk_refs, 1 << (10 * height));
        if height == 5 {
            break;
        }
    }
    let child = Child { id: tree_id(&codec::encode(&node)), totals: node.totals() };
    assert_eq!(Node::inner(&key(1), vec![child; FANOUT_MAX], &[0; FANOUT_MAX]), Err(TreeError::Overflow));
}

#[test]
fn a_builder_refuses_what_does_not_fit() {
    let mut builder = TreeBuilder::new(key(1));
    assert_eq!(builder.push(vec![], &[]), Err(TreeError::Children));
    assert_eq!(builder.push(vec![entry(1)], &[]), Err(TreeError::Lengths));
    assert_eq!(builder.push(vec![entry(1)], &[0]), Err(TreeError::Length));
    assert_eq!(builder.push(vec![entry(1)], &[CHUNK_BYTES_MAX + 1]), Err(TreeError::Length));
    let many = vec![entry(1); FANOUT_MAX + 1];
    let limit = TreeError::Limit { what: "entries", found: 1025, most: 1024 };
    assert_eq!(builder.push(many, &[1; FANOUT_MAX + 1]), Err(limit));
}

fn canonical_or_refused(bytes: &[u8]) {
    if let Ok(node) = codec::decode::<Node>(bytes) {
        assert_eq!(codec::encode(&node), bytes);
        let _ = (node.totals(), node.open_lengths(&key(1)));
    }
}

#[test]
fn n36_flipped_bits_cuts_and_other_versions_are_refused_or_another_node() {
    let leaf = Node::leaf(&key(1), vec![entry(1), entry(2)], &[1, 2]).unwrap();
    let inner = Node::inner(&key(1), vec![child(SMALL); 2], &[1, 2]).unwrap();
    for node in [leaf, inner] {
        let bytes = codec::encode(&node);
        assert_eq!(codec::decode::<Node>(&bytes).unwrap(), node);
        for cut in 0..bytes.len() {
            assert!(codec::decode::<Node>(&bytes[..cut]).is_err());
        }
        assert!(codec::decode::<Node>(&[&bytes[..], &[0]].concat()).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            canonical_or_refused(&bad);
            let opens = codec::decode::<Node>(&bad).is_ok_and(|node| node.open_lengths(&key(1)).is_ok());
            assert!(!opens, "bit {bit}");
        }
        for version in [0, 2, 255] {
            let other = [&[version], &bytes[1..]].concat();
            assert!(matches!(codec::decode::<Node>(&other), Err(codec::FormatError::UnsupportedVersion { .. })));
        }
    }
}

#[test]
fn the_largest_nodes_fit_into_what_is_read() {
    let leaf = Node::leaf(&key(1), vec![entry(1); FANOUT_MAX], &[1; FANOUT_MAX]).unwrap();
    let inner = Node::inner(&key(1), vec![child(SMALL); FANOUT_MAX], &[1; FANOUT_MAX]).unwrap();
    for node in [leaf, inner] {
        assert!(codec::decode::<Node>(&codec::encode(&node)).is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_bytes_are_refused_or_one_nodes_only_encoding(
        bytes in proptest::collection::vec(prop_oneof![3 => 0u8..4, 1 => any::<u8>()], 0..400), tag in 0u8..3,
    ) {
        canonical_or_refused(&bytes);
        canonical_or_refused(&[&[1, tag], &bytes[..]].concat());
        // Counts that look possible.
        canonical_or_refused(&[&[1, tag, (bytes.len() / 68) as u8, 0, 0, 0], &bytes[..]].concat());
    }

    #[test]
    fn runs_have_64_to_1024_chunks(seed in any::<u64>(), count in 1usize..6_000) {
        let mut cutter = Cutter::new();
        let mut length = 0;
        for n in 0..count as u64 {
            length += 1;
            if cutter.is_border_behind(&hash(seed.wrapping_add(n))) {
                prop_assert!((FANOUT_MIN..=FANOUT_MAX).contains(&length));
                length = 0;
            }
        }
        prop_assert!(length < FANOUT_MAX);
    }
}
