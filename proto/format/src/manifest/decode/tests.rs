//! Manifests come back as they were written, one encoding each; everything else is refused, in bounded memory.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::chunk::CHUNK_BYTES_MAX;
use crate::id::Digest;
use crate::manifest::encode::Encoder;
use crate::manifest::entry::{Access, Attributes, Content, Device, File, Moment, Owner, Piece};
use crate::manifest::field::{Field, put_field, put_varint};
use crate::manifest::holes::Hole;
use crate::manifest::names::OwnerNames;
use crate::manifest::path::EntryPath;
use crate::manifest::xattr::{self, Xattr};

fn header(chunking: Chunking) -> Header {
    Header { chunking, root: Some(attributes(7)), unknown: vec![] }
}

fn attributes(n: u32) -> Attributes {
    let modified = Moment { seconds: i64::from(n) - 5, nanos: n % 1000 };
    Attributes { mode: 0o640 + n % 8, modified, owner: None, xattrs: vec![] }
}

fn entry(path: &str, content: Content) -> Entry {
    let path = EntryPath::new(path).unwrap();
    Entry { path, attributes: attributes(1), names: 1, content, unknown: vec![] }
}

fn directory(path: &str) -> Entry {
    entry(path, Content::Directory)
}

fn file(path: &str, pieces: &[(u64, u32, u64)]) -> Entry {
    let pieces: Vec<_> = pieces
        .iter()
        .map(|(first, offset, length)| Piece { first: *first, offset: *offset, length: *length })
        .collect();
    let size = pieces.iter().map(|piece| piece.length).sum();
    let hash = Digest::from_bytes(*blake3::hash(path.as_bytes()).as_bytes());
    let last_read = Moment { seconds: 9, nanos: 999_999_999 };
    entry(path, Content::File(File { size, pieces, hash, last_read, holes: vec![] }))
}

/// A file of these holes and one stored byte between each two of them.
fn sparse(path: &str, holes: &[(u64, u64)]) -> Entry {
    let holes: Vec<_> = holes.iter().map(|(offset, bytes)| Hole { offset: *offset, bytes: *bytes }).collect();
    let size = holes.last().map_or(0, |hole| hole.offset + hole.bytes);
    let stored = size - holes.iter().map(|hole| hole.bytes).sum::<u64>();
    let mut entry = if stored == 0 { file(path, &[]) } else { file(path, &[(0, 0, stored)]) };
    if let Content::File(file) = &mut entry.content {
        (file.size, file.holes) = (size, holes);
    }
    entry
}

fn xattrs(list: &[(&str, &[u8])]) -> Vec<Xattr> {
    list.iter().map(|(name, value)| Xattr { name: name.as_bytes().to_vec(), value: value.to_vec() }).collect()
}

fn device(access: Access, major: u32, minor: u32) -> Content {
    Content::Device(Device { access, major, minor })
}

fn hard_link(path: &str, back: u64) -> Entry {
    entry(path, Content::HardLink { back })
}

fn link(path: &str, target: &str) -> Entry {
    entry(path, Content::Symlink { target: target.into() })
}

fn runs(chunks: u32) -> Vec<Run> {
    let full = (0..chunks / 300).map(|n| Run { group: GroupId(1 + n % 3), chunks: 300 });
    full.chain((!chunks.is_multiple_of(300)).then_some(Run { group: GroupId(2), chunks: chunks % 300 })).collect()
}

fn encode(header: &Header, entries: &[Entry], runs: &[Run]) -> Result<Vec<Vec<u8>>, ManifestError> {
    let mut encoder = Encoder::new(header)?;
    let mut chunks = Vec::new();
    for entry in entries {
        chunks.extend(encoder.push(entry)?);
    }
    chunks.extend(encoder.finish(runs)?);
    Ok(chunks)
}

fn decode_with(limits: Limits, bytes: &[u8], step: usize) -> Result<Vec<Item>, ManifestError> {
    let mut decoder = Decoder::new(limits);
    let mut items = Vec::new();
    for some in bytes.chunks(step) {
        decoder.push(some);
        while let Some(item) = decoder.next_item()? {
            items.push(item);
        }
        assert!(decoder.buffer.len() <= RECORD_BYTES_MAX + 5 + step);
    }
    decoder.finish().map(|()| items)
}

fn decode(bytes: &[u8]) -> Result<Vec<Item>, ManifestError> {
    decode_with(Limits::default(), bytes, 1 << 20)
}

/// Writes again what was read.
fn again(items: &[Item]) -> Vec<Vec<u8>> {
    let Item::Header(header) = &items[0] else { panic!("the first item is the header") };
    let mut encoder = Encoder::new(header).unwrap();
    let (mut chunks, mut all_runs) = (Vec::new(), Vec::new());
    for item in &items[1..] {
        match item {
            Item::Entry(entry) => chunks.extend(encoder.push(entry).unwrap()),
            Item::Runs(runs) => all_runs.extend(runs),
            Item::End(end) => encoder.name_owners(end.names.clone()),
            Item::Header(_) => {}
        }
    }
    chunks.extend(encoder.finish(&all_runs).unwrap());
    chunks
}

fn refusal(result: Result<impl std::fmt::Debug, ManifestError>) -> &'static str {
    match result {
        Err(ManifestError::Malformed { why, .. }) => why,
        other => panic!("expected a malformed manifest, found {other:?}"),
    }
}

/// A stream of records that no encoder of ours would write.
fn forged(records: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"SRMF\x01".to_vec();
    for (kind, body) in records {
        bytes.push(*kind);
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(body);
    }
    bytes
}

fn fields(list: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    list.iter().for_each(|(tag, value)| put_field(&mut bytes, *tag, value));
    bytes
}

const HEADER: &[(u8, &[u8])] = &[(1, &[0])];
/// An end of one empty file.
const ONE: &[(u8, &[u8])] = &[(1, &[1]), (2, &[0]), (3, &[0]), (4, &[0])];
const END: &[(u8, &[u8])] = &[(1, &[0]), (2, &[0]), (3, &[0]), (4, &[0])];

#[test]
fn a_manifest_comes_back_as_it_was_written() {
    let entries = [
        directory("a"),
        file("a/one", &[(0, 0, 100)]),
        link("a/two", "../../etc/passwd"),
        directory("a-b"),
        file("empty", &[]),
        file("large", &[(1, 7, 1 << 40), (700, 0, 1), (3, 9, 9)]),
        file("sames", &[(3, 9, 9)]),
    ];
    for chunking in [Chunking::Default, Chunking::Fixed, Chunking::Hardened] {
        let header = header(chunking);
        let bytes = encode(&header, &entries, &runs(1000)).unwrap().concat();
        for step in [1 << 22, 1000, 1] {
            if step == 1 && chunking == Chunking::Hardened {
                continue;
            }
            let items = decode_with(Limits::default(), &bytes, step).unwrap();
            assert_eq!(items[0], Item::Header(header.clone()));
            for (item, entry) in items[1..].iter().zip(&entries) {
                assert_eq!(*item, Item::Entry(entry.clone()));
            }
            assert_eq!(items[8], Item::Runs(runs(1000)));
            let bytes = 100 + (1 << 40) + 1 + 9 + 9;
            let end = End { entries: 7, bytes, runs: 4, chunks: 1000, ..End::default() };
            assert_eq!(items[9], Item::End(end));
            assert_eq!(items.len(), 10);
        }
        assert_eq!(again(&decode(&bytes).unwrap()).concat(), bytes);
        assert_eq!(bytes.len() == CHUNK_BYTES_FIXED as usize, chunking == Chunking::Hardened);
    }
}

#[test]
fn an_empty_directory_has_a_manifest_too() {
    let bytes = encode(&header(Chunking::Default), &[], &[]).unwrap().concat();
    assert_eq!(decode(&bytes).unwrap().len(), 2);
}

#[test]
fn what_a_reader_does_not_know_is_kept_and_written_back() {
    let unknown = |tags: &[u8]| tags.iter().map(|tag| Field { tag: *tag, value: vec![*tag; 3] }).collect::<Vec<_>>();
    let mut known_kind = file("a", &[(1, 2, 3)]);
    known_kind.unknown = unknown(&[0, 10, 127]);
    let mut must_know = file("b", &[]);
    must_know.unknown = unknown(&[129]);
    let pieces = vec![Piece { first: 5, offset: 0, length: 1 }];
    let mut other_kind = entry("c", Content::Other { kind: 77, pieces });
    other_kind.unknown = unknown(&[5, 7, 8, 9, 18, 19, 20, 128, 200]);
    let after = file("d", &[(6, 0, 1)]);
    assert!(known_kind.is_understood() && after.is_understood());
    assert!(!must_know.is_understood() && !other_kind.is_understood());
    let header = Header { unknown: unknown(&[4, 100]), ..header(Chunking::Default) };
    let entries = [known_kind, must_know, other_kind, after];
    let bytes = encode(&header, &entries, &runs(7)).unwrap().concat();
    let items = decode(&bytes).unwrap();
    assert_eq!(items[0], Item::Header(header));
    for (item, entry) in items[1..5].iter().zip(entries) {
        assert_eq!(*item, Item::Entry(entry));
    }
    assert_eq!(again(&items).concat(), bytes);
    // A header with a field that must be known is another format.
    let critical = fields(&[(1, &[0]), (128, &[])]);
    assert_eq!(refusal(decode(&forged(&[(1, critical)]))), "the header has a field that must be known");
}

#[test]
fn owners_attributes_names_holes_and_special_files_come_back() {
    let owner = |user, group| Some(Owner { user, group });
    let mut whole = attributes(2);
    whole.owner = owner(0, u32::MAX - 1);
    whole.xattrs =
        xattrs(&[("security.capability", &[1, 0, 0]), ("system.posix_acl_access", &[0; 44]), ("user.", b"")]);
    let with = |mut entry: Entry, names: u32| {
        entry.attributes = whole.clone();
        entry.names = names;
        entry
    };
    let entries = [
        with(directory("d"), 1),
        with(entry("d/block", device(Access::Block, 8, 1)), 1),
        with(entry("d/char", device(Access::Character, u32::MAX, u32::MAX)), 2),
        with(entry("d/fifo", Content::Fifo), 65_000),
        with(link("d/link", "x"), 2),
        hard_link("d/link again", 1),
        hard_link("d/the fifo again", 2),
        with(sparse("holes", &[(0, 4096), (8192, 1 << 40)]), 3),
        hard_link("holes, once more", 1),
        hard_link("holes, twice more", 1),
        hard_link("the device again", 4),
        sparse("to its end", &[(0, 1)]),
    ];
    let header = Header { root: Some(whole), ..header(Chunking::Default) };
    let mut encoder = Encoder::new(&header).unwrap();
    entries.iter().for_each(|entry| assert_eq!(encoder.push(entry).unwrap(), None));
    let names = OwnerNames {
        users: BTreeMap::from([(0, b"root".to_vec())]),
        groups: BTreeMap::from([(7, vec![0xff; 255]), (u32::MAX, b"nogroup".to_vec())]),
    };
    encoder.name_owners(names.clone());
    let bytes = encoder.finish(&runs(1)).unwrap().concat();
    let items = decode(&bytes).unwrap();
    assert_eq!(items[0], Item::Header(header));
    for (item, entry) in items[1..].iter().zip(&entries) {
        assert_eq!(*item, Item::Entry(entry.clone()));
        assert!(entry.is_understood());
    }
    let end = End { entries: 12, bytes: 4096, runs: 1, chunks: 1, names, unknown: vec![] };
    assert_eq!(items.last(), Some(&Item::End(end)));
    assert_eq!(again(&items).concat(), bytes);
}

#[test]
fn n115_hard_links_name_an_entry_before_them_that_has_several_names_and_nothing_else() {
    let several = |mut entry: Entry| {
        entry.names = 2;
        entry
    };
    let nothing = "a hard link names no entry before it";
    let only = "only what is neither a directory nor a hard link has several names";
    let foreign = "a hard link has no attributes of its own";
    let mut with_xattrs = hard_link("b", 1);
    with_xattrs.attributes.xattrs = xattrs(&[("user.a", b"")]);
    for (entries, why) in [
        (vec![hard_link("a", 1)], nothing),
        (vec![hard_link("a", 0)], nothing),
        (vec![file("a", &[]), hard_link("b", 1)], nothing),
        (vec![hard_link("a", 1), several(file("b", &[]))], nothing),
        (vec![several(file("a", &[])), hard_link("b", 2)], nothing),
        (vec![several(file("a", &[])), hard_link("b", u64::MAX)], nothing),
        (vec![several(directory("a"))], only),
        (vec![several(file("a", &[])), several(hard_link("b", 1))], only),
        (vec![several(file("a", &[])), with_xattrs], foreign),
    ] {
        assert_eq!(refusal(encode(&header(Chunking::Default), &entries, &[])), why, "{entries:?}");
        // The same from a writer that checks nothing: a body has its fields in order, whatever they are.
        let mut records = vec![(1, fields(HEADER))];
        records.extend(entries.iter().map(|entry| (2, unchecked(entry))));
        assert_eq!(refusal(decode(&forged(&records))), why, "{entries:?}");
    }
}

/// The body of an entry without pieces, also of one that no writer of ours writes.
fn unchecked(entry: &Entry) -> Vec<u8> {
    let number = |number: u64| {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, number);
        bytes
    };
    let time: &[u8] = &[0, 0];
    let (names, mut list) = (number(entry.names.into()), vec![(1, entry.path.as_bytes())]);
    let attributes: Vec<u8> = entry
        .attributes
        .xattrs
        .iter()
        .flat_map(|xattr| {
            [&[xattr.name.len() as u8], &xattr.name[..], &[xattr.value.len() as u8], &xattr.value].concat()
        })
        .collect();
    let (kind, back) = match &entry.content {
        Content::File(_) => (&[1], None),
        Content::Directory => (&[2], None),
        Content::HardLink { back } => (&[4], Some(number(*back))),
        _ => panic!("not used here"),
    };
    list.extend([(2, &kind[..]), (3, &[0]), (4, time)]);
    if kind == &[1] {
        list.extend([(5, &[0][..]), (8, &[7; 32]), (9, time)]);
    }
    if !attributes.is_empty() {
        list.push((17, &attributes));
    }
    if entry.names != 1 {
        list.push((19, &names));
    }
    if let Some(back) = &back {
        list.push((20, back));
    }
    fields(&list)
}

#[test]
fn n115_attributes_devices_holes_and_names_beyond_their_bounds_are_refused() {
    let base: &[(u8, &[u8])] = &[(1, b"a"), (2, &[1]), (3, &[0]), (4, &[0, 0]), (5, &[0]), (8, &[7; 32]), (9, &[0, 0])];
    let with =
        |more: &[(u8, &[u8])]| refusal(decode(&forged(&[(1, fields(HEADER)), (2, fields(&[base, more].concat()))])));
    let kind = |kind: u8, more: &[(u8, &[u8])]| {
        let kind = [kind];
        let list = [&[(1, &b"a"[..]), (2, &kind), (3, &[0]), (4, &[0, 0])], more].concat();
        refusal(decode(&forged(&[(1, fields(HEADER)), (2, fields(&list))])))
    };
    let of_another = "the fields are not those of the kind";
    assert_eq!(with(&[(16, &[0])]), "a number is cut off");
    assert_eq!(with(&[(16, &[0, 0x80, 0x80, 0x80, 0x80, 0x10])]), "a number has more than 32 bits");
    assert_eq!(with(&[(16, &[0, 0, 0])]), "bytes are left behind a value");
    for owner in [&[0, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]] {
        assert_eq!(with(&[(16, owner)]), "not an owner");
    }
    assert_eq!(with(&[(17, &[])]), "no attributes are no field");
    assert_eq!(with(&[(17, &[1, b'a'])]), "a number is cut off");
    assert_eq!(with(&[(17, &[1, b'a', 2, 0])]), "a field is cut off");
    assert_eq!(with(&[(17, &[0, 0])]), "not an attribute's name");
    assert_eq!(with(&[(17, &[1, 0, 0])]), "not an attribute's name");
    let long = [&[0x80, 2][..], &[b'a'; 256], &[0]].concat();
    assert_eq!(with(&[(17, &long)]), "not an attribute's name");
    let order = "attributes are not in ascending order, or one is there twice";
    assert_eq!(with(&[(17, &[1, b'a', 0, 1, b'a', 0])]), order);
    assert_eq!(with(&[(17, &[1, b'b', 0, 1, b'a', 0])]), order);
    let large = [&[1, b'a', 0x81, 0x80, 4][..], &[0; (64 << 10) + 1]].concat();
    assert_eq!(with(&[(17, &large)]), "an attribute's value has at most 64 KiB");
    let many: Vec<u8> = (0..9).flat_map(|n| [&[1, b'a' + n, 0x80, 0x80, 4][..], &[0; 64 << 10]].concat()).collect();
    assert_eq!(with(&[(17, &many)]), "an entry's attributes have at most 512 KiB");
    assert_eq!(with(&[(18, &[1, 1])]), of_another);
    assert_eq!(with(&[(20, &[1])]), of_another);
    for names in [&[0][..], &[1], &[0x80, 0x80, 0x80, 0x80, 0x10]] {
        assert_eq!(with(&[(19, names)]), "several names are 2 to 2³² - 1");
    }
    assert_eq!(with(&[(128, &[])]), "no holes are no field");
    assert_eq!(with(&[(128, &[0, 0])]), "a hole is outside its range");
    assert_eq!(with(&[(128, &[0, 5, 0, 5])]), "a hole is outside its range");
    // A hole behind more than what is stored.
    assert_eq!(with(&[(128, &[1, 5])]), "a hole is outside its range");
    assert_eq!(kind(2, &[(128, &[0, 5])]), of_another);
    assert_eq!(kind(5, &[(7, b"x")]), of_another);
    assert_eq!(kind(6, &[]), of_another);
    assert_eq!(kind(7, &[(18, &[0x80, 0x80, 0x80, 0x80, 0x10, 0])]), "a number has more than 32 bits");
    assert_eq!(kind(6, &[(18, &[1])]), "a number is cut off");
    assert_eq!(kind(4, &[]), of_another);
    assert_eq!(kind(4, &[(6, &[0, 0, 1]), (20, &[1])]), of_another);

    // 2⁶³ bytes of holes are refused; one less takes nothing.
    let sized = |bytes: u64| {
        let mut value = vec![0];
        put_varint(&mut value, bytes);
        decode(&forged(&[(1, fields(HEADER)), (2, fields(&[base, &[(128, &value)]].concat())), (4, fields(ONE))]))
    };
    assert_eq!(refusal(sized(1 << 63)), "a hole is outside its range");
    assert_eq!(sized((1 << 63) - 1).unwrap().len(), 3);

    let root = |list: &[(u8, &[u8])]| refusal(decode(&forged(&[(1, fields(list))])));
    assert_eq!(root(&[(1, &[0]), (16, &[0, 0])]), "a field is missing");
    assert_eq!(root(&[(1, &[0]), (17, &[1, b'a', 0])]), "a field is missing");
    assert_eq!(root(&[(1, &[0]), (2, &[0]), (3, &[0, 0]), (17, &[0, 0])]), "not an attribute's name");

    let end = |tag: u8, value: &[u8]| {
        refusal(decode(&forged(&[(1, fields(HEADER)), (4, fields(&[END, &[(tag, value)]].concat()))])))
    };
    for tag in [5, 6] {
        assert_eq!(end(tag, &[]), "no names are no field");
        assert_eq!(end(tag, &[0, 0]), "not a user's or group's name");
        assert_eq!(end(tag, &[0, 1, 0]), "not a user's or group's name");
        assert_eq!(end(tag, &[3, 1, b'a', 3, 1, b'b']), "names are not in ascending order of ids");
        let many: Vec<u8> = (128..128 + 1025).flat_map(|n: u32| [n as u8 | 0x80, (n >> 7) as u8, 1, b'a']).collect();
        assert_eq!(end(tag, &many), "a snapshot names at most 1024 users or groups");
    }
}

#[test]
fn n115_more_pieces_holes_or_attributes_than_a_reader_takes_are_refused() {
    let mut heavy = file("b", &[(0, 0, 1)]);
    heavy.attributes.xattrs = xattrs(&[("user.a", &[0; 1000])]);
    let entries = [file("a", &[(0, 0, 1), (0, 0, 1)]), heavy, sparse("c", &[(0, 1), (2, 1)])];
    let bytes = encode(&header(Chunking::Default), &entries, &runs(1)).unwrap().concat();
    let written = xattr::written_bytes(&entries[1].attributes.xattrs) as u64;
    let exact = Limits { pieces: 6, xattr_bytes: written, ..Limits::default() };
    assert_eq!(decode_with(exact, &bytes, 1 << 20).unwrap().len(), 6);
    let refused = decode_with(Limits { pieces: 5, ..exact }, &bytes, 1 << 20);
    assert_eq!(refused, Err(ManifestError::Limit { record: 3, what: "pieces and holes", most: 5 }));
    let refused = decode_with(Limits { xattr_bytes: written - 1, ..exact }, &bytes, 1 << 20);
    let what = "bytes in extended attributes";
    assert_eq!(refused, Err(ManifestError::Limit { record: 2, what, most: written - 1 }));
}

#[test]
fn unchanged_directories_give_the_same_chunks_when_contents_come_before_them() {
    let manifest = |shift: u64| {
        let mut entries = Vec::new();
        if shift > 0 {
            entries.push(file("a new file", &[(0, 0, shift << 20)]));
        }
        let mut ordinal = shift;
        for d in 0..400 {
            entries.push(directory(&format!("directory {d:03}")));
            for f in 0..60 {
                ordinal += u64::from(f % 20 == 0);
                entries.push(file(&format!("directory {d:03}/file {f:02}"), &[(ordinal, f * 1000, 1000)]));
            }
        }
        encode(&header(Chunking::Default), &entries, &runs(2000)).unwrap()
    };
    let (before, after) = (manifest(0), manifest(5));
    assert!(before.len() > 8, "{}", before.len());
    assert!(before.iter().all(|chunk| chunk.len() <= 1 << 20));
    let new = after.iter().filter(|chunk| !before.contains(chunk)).count();
    assert!(new <= 3, "{new} of {} chunks are new", after.len());
}

#[test]
fn a_directory_with_very_many_files_is_cut_inside() {
    let mut entries = vec![directory("d")];
    entries.extend((0..30_000).map(|n| file(&format!("d/{n:06}"), &[(n, 0, 1)])));
    let chunks = encode(&header(Chunking::Default), &entries, &runs(30_000)).unwrap();
    assert!(chunks.len() >= 3 && chunks.iter().all(|chunk| chunk.len() <= 1 << 20));
    let all = chunks.concat();
    assert_eq!(decode(&all).unwrap().len(), 2 + entries.len() + 1);
    let hardened = encode(&header(Chunking::Hardened), &entries, &runs(30_000)).unwrap();
    assert!(hardened.iter().all(|chunk| chunk.len() == CHUNK_BYTES_MAX as usize));
    assert_eq!(decode(&hardened.concat()).unwrap().len(), 2 + entries.len() + 1);
}

#[test]
fn many_runs_take_many_records_and_each_but_the_last_is_full() {
    let many: Vec<_> = (0..300_000).map(|n| Run { group: GroupId(1 + n % 7), chunks: 1 + n % 1024 }).collect();
    let chunks = encode(&header(Chunking::Default), &[], &many).unwrap();
    assert!(chunks.iter().all(|chunk| chunk.len() <= 1 << 20));
    let items = decode(&chunks.concat()).unwrap();
    let found: Vec<_> =
        items.iter().flat_map(|item| if let Item::Runs(runs) = item { &runs[..] } else { &[] }).collect();
    assert!(found.iter().copied().eq(&many));
    let two = forged(&[(1, fields(HEADER)), (3, vec![1, 1]), (3, vec![1, 1])]);
    assert_eq!(refusal(decode(&two)), "a record is out of place");
}

#[test]
fn n115_order_parents_and_twins_are_checked_by_writer_and_reader() {
    let order = "entries are not in ascending order, or one is there twice";
    let parent = "the parent of an entry is not a directory before it";
    for (entries, why) in [
        (vec![file("b", &[]), file("a", &[])], order),
        (vec![file("a", &[]), file("a", &[])], order),
        (vec![directory("a"), directory("b"), file("a/c", &[])], order),
        (vec![file("a/b", &[])], parent),
        (vec![directory("a"), file("a/b/c", &[])], parent),
        // A file through a just-made symbolic link, or inside of a file.
        (vec![link("a", "/etc"), file("a/passwd", &[])], parent),
        (vec![file("a", &[]), file("a/b", &[])], parent),
        (vec![entry("a", Content::Other { kind: 9, pieces: vec![] }), file("a/b", &[])], parent),
        (vec![directory("a"), directory("a/b"), file("a-b", &[]), file("b/c", &[])], parent),
    ] {
        assert_eq!(refusal(encode(&header(Chunking::Default), &entries, &[])), why);
        let mut previous = 0;
        let mut records = vec![(1, fields(HEADER))];
        records.extend(entries.iter().map(|entry| (2, entry.encode(&mut previous).unwrap())));
        assert_eq!(refusal(decode(&forged(&records))), why);
    }
}

#[test]
fn n115_paths_outside_sizes_that_cannot_be_and_odd_fields_are_refused() {
    let time: &[u8] = &[0, 0];
    let hash: &[u8] = &[7; 32];
    let good: &[(u8, &[u8])] =
        &[(1, b"a"), (2, &[1]), (3, &[0]), (4, time), (5, &[3]), (6, &[0, 0, 3]), (8, hash), (9, time)];
    let refused = |body: Vec<u8>| refusal(decode(&forged(&[(1, fields(HEADER)), (2, body)])));
    let with = |tag: u8, value: &[u8]| {
        let list: Vec<_> = good.iter().map(|field| if field.0 == tag { (tag, value) } else { *field }).collect();
        refused(fields(&list))
    };
    let without = |tag: u8| refused(fields(&good.iter().copied().filter(|field| field.0 != tag).collect::<Vec<_>>()));
    let accepted = decode(&forged(&[(1, fields(HEADER)), (2, fields(good))]));
    assert_eq!(accepted, Err(ManifestError::CutOff { record: 2 }));

    for path in [&b""[..], b"/etc/passwd", b"../a", b"a/../../b", b"a//b", b"a\0", b".", &[b'a'; 256], &[b'/'; 5000]] {
        assert_eq!(with(1, path), "not a path");
    }
    assert_eq!(with(2, &[]), "a value of one byte has another length");
    assert_eq!(with(2, &[2]), "the fields are not those of the kind");
    for kind in 3..=7 {
        assert_eq!(with(2, &[kind]), "the fields are not those of the kind");
    }
    assert_eq!(with(3, &[0x80, 0x20]), "a mode has 12 bits");
    assert_eq!(with(3, &[0xff, 0xff, 0xff, 0xff, 0xff, 0x1f]), "a mode has 12 bits");
    assert_eq!(with(4, &[0]), "a number is cut off");
    assert_eq!(with(4, &[0, 0x80, 0x94, 0xeb, 0xdc, 0x03]), "a second has 10⁹ nanoseconds");
    assert_eq!(with(4, &[0, 0, 0]), "bytes are left behind a value");
    assert_eq!(with(5, &[4]), "the size is not the sum of the pieces");
    assert_eq!(with(6, &[]), "no pieces are no field");
    assert_eq!(with(6, &[0, 0]), "a number is cut off");
    assert_eq!(with(6, &[0, 0, 0]), "a piece is outside its range");
    assert_eq!(with(6, &[1, 0, 3]), "a piece is outside its range");
    assert_eq!(with(6, &[0, 0x80, 0x80, 0x80, 0x02, 3]), "a piece is outside its range");
    assert_eq!(with(8, &[7; 31]), "not a hash");
    for tag in [1, 2, 3, 4] {
        assert_eq!(without(tag), "a field is missing");
    }
    for tag in [5, 8, 9] {
        assert_eq!(without(tag), "the fields are not those of the kind");
    }
    assert_eq!(without(6), "the size is not the sum of the pieces");

    // 2⁶³ bytes in one sparse-looking file, in two, and sums that wrap.
    let varint = |number: u64| {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, number);
        bytes
    };
    let sized = |lengths: &[u64], size: u64| {
        let pieces: Vec<u8> = lengths.iter().flat_map(|length| [vec![0, 0], varint(*length)].concat()).collect();
        let size = varint(size);
        let list: Vec<_> = good
            .iter()
            .map(|field| match field.0 {
                5 => (5, &size[..]),
                6 => (6, &pieces[..]),
                _ => *field,
            })
            .collect();
        fields(&list)
    };
    assert_eq!(refused(sized(&[1 << 63], 1 << 63)), "a file has 2⁶³ bytes or more");
    assert_eq!(refused(sized(&[1 << 63, 1 << 63], 0)), "the size is not the sum of the pieces");
    let huge = forged(&[(1, fields(HEADER)), (2, sized(&[(1 << 63) - 1], (1 << 63) - 1))]);
    assert_eq!(decode(&huge), Err(ManifestError::Limit { record: 1, what: "bytes in files", most: 1 << 48 }));
    let limits = Limits { bytes: u64::MAX, ..Limits::default() };
    let mut second = sized(&[1], 1);
    second[2] = b'b';
    let sum = forged(&[(1, fields(HEADER)), (2, sized(&[(1 << 63) - 1], (1 << 63) - 1)), (2, second)]);
    assert_eq!(refusal(decode_with(limits, &sum, 1 << 20)), "all files together have 2⁶³ bytes or more");

    let long = vec![b'x'; 4097];
    for target in [&b""[..], b"a\0", &long] {
        let body = fields(&[(1, b"a"), (2, &[3]), (3, &[0]), (4, time), (7, target)]);
        assert_eq!(refused(body), "not a link's target");
    }
}

#[test]
fn n115_entries_without_end_and_records_of_any_claimed_length_take_bounded_memory() {
    let mut decoder = Decoder::new(Limits { entries: 10_000, ..Limits::default() });
    decoder.push(&forged(&[(1, fields(HEADER))]));
    let mut count = 0u64;
    let refused = loop {
        let body = directory(&format!("{count:09}")).encode(&mut 0).unwrap();
        decoder.push(&forged(&[(2, body)])[5..]);
        loop {
            match decoder.next_item() {
                Ok(Some(_)) => count += 1,
                Ok(None) => break,
                Err(refused) => assert_eq!(count, 10_001, "{refused}"),
            }
            if count > 10_000 {
                break;
            }
        }
        if let Some(failed) = decoder.failed {
            break failed;
        }
        assert!(decoder.buffer.capacity() < 4096 && count < 20_000);
    };
    assert_eq!(refused, ManifestError::Limit { record: 10_001, what: "entries", most: 10_000 });
    // A failed decoder takes nothing more in.
    decoder.push(&[0; 100]);
    assert_eq!((decoder.next_item(), decoder.buffer.len()), (Err(refused), 0));

    let mut claim = forged(&[(1, fields(HEADER))]);
    claim.extend([2, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(refusal(decode(&claim)), "a record has at most 1 MiB");
    let mut many_runs = vec![1; 2 * RUNS_PER_RECORD];
    many_runs.extend([1, 1]);
    assert_eq!(refusal(decode(&forged(&[(1, fields(HEADER)), (3, many_runs)]))), "a record has at most 4096 runs");
}

#[test]
fn records_out_of_place_and_ends_that_lie_are_refused() {
    let header = (1, fields(HEADER));
    for (records, why) in [
        (vec![(2, vec![])], "a record is out of place"),
        (vec![header.clone(), header.clone()], "a record is out of place"),
        (vec![header.clone(), (3, vec![1, 1]), (2, vec![])], "a record is out of place"),
        (vec![header.clone(), (5, vec![])], "an unknown kind of record"),
        (vec![header.clone(), (3, vec![])], "a record without runs"),
        (vec![header.clone(), (3, vec![1, 0])], "a run has 1 to 1024 chunks"),
        (vec![header.clone(), (3, vec![1, 0x81, 0x08])], "a run has 1 to 1024 chunks"),
        (vec![header.clone(), (4, fields(&END[..3]))], "a field is missing"),
        (vec![header.clone(), (4, fields(&[(1, &[1]), (2, &[0]), (3, &[0]), (4, &[0])]))], "the end counts otherwise"),
        (vec![header.clone(), (4, fields(END)), (4, fields(END))], "something stands behind the end"),
        (vec![(1, fields(&[(1, &[3])]))], "an unknown chunking"),
        (vec![(1, fields(&[(1, &[0]), (2, &[0])]))], "a field is missing"),
    ] {
        assert_eq!(refusal(decode(&forged(&records))), why);
    }
    assert_eq!(
        refusal(decode(&[&forged(&[header, (4, fields(END))])[..], &[0]].concat())),
        "something stands behind the end"
    );
    let behind = "a piece begins behind the last run";
    assert_eq!(refusal(encode(&self::header(Chunking::Default), &[file("a", &[(5, 0, 1)])], &runs(5))), behind);
    assert_eq!(refusal(decode(b"SRMX\x01")), "not a manifest");
}

#[test]
fn n36_other_versions_are_refused() {
    for version in [0, 2, 255] {
        let bytes = [b'S', b'R', b'M', b'F', version];
        assert_eq!(decode(&bytes), Err(ManifestError::UnsupportedVersion { found: version }));
    }
}

/// It is refused, or its bytes are the only ones for what it says.
fn canonical_or_refused(bytes: &[u8]) {
    if let Ok(items) = decode_with(Limits { bytes: u64::MAX, ..Limits::default() }, bytes, 1 << 20) {
        assert_eq!(again(&items).concat(), bytes, "{}", hex::encode(bytes));
    }
}

#[test]
fn every_cut_is_noticed_and_flipped_bits_do_no_harm() {
    let entries = [directory("a"), file("a/b", &[(0, 0, 300), (4, 1, 1)]), link("c", "a")];
    let bytes = encode(&header(Chunking::Default), &entries, &runs(1000)).unwrap().concat();
    for cut in 0..bytes.len() {
        assert!(matches!(decode(&bytes[..cut]), Err(ManifestError::CutOff { .. })), "cut {cut}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        canonical_or_refused(&bad);
    }
    let hardened = encode(&header(Chunking::Hardened), &entries, &runs(1000)).unwrap().concat();
    assert!(matches!(decode(&hardened[..hardened.len() - 1]), Err(ManifestError::CutOff { .. })));
    assert_eq!(refusal(decode(&[&hardened[..], &[0; 1 << 22]].concat())), "something stands behind the end");
    let mut bad = hardened.clone();
    bad[2_000_000] = 1;
    assert_eq!(refusal(decode(&bad)), "something stands behind the end");
}

#[test]
fn a_record_beyond_its_limit_is_not_written() {
    let pieces: Vec<_> = (0..200_000).map(|n| (n % 2, 4_000_000, 1 << 40)).collect();
    let refused = encode(&header(Chunking::Default), &[file("a", &pieces)], &runs(2));
    assert_eq!(refusal(refused), "a record has at most 1 MiB");
    let almost = &pieces[..80_000];
    let chunks = encode(&header(Chunking::Default), &[file("a", almost), file("b", almost)], &runs(2)).unwrap();
    assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK_BYTES_MAX as usize));
    let limits = Limits { bytes: u64::MAX, ..Limits::default() };
    assert!(decode_with(limits, &chunks.concat(), 4096).is_ok());
}

prop_compose! {
    fn any_component()(bytes in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'-'), 1u8..], 1..4)) -> Vec<u8> {
        let name: Vec<u8> = bytes.into_iter().map(|byte| if byte == b'/' { b'_' } else { byte }).collect();
        if name == b"." || name == b".." { b"dots".to_vec() } else { name }
    }
}

prop_compose! {
    fn any_moment()(seconds in any::<i64>(), nanos in 0u32..1_000_000_000) -> Moment {
        Moment { seconds, nanos }
    }
}

prop_compose! {
    fn any_pieces()(
        pieces in proptest::collection::vec((0u64..100_000, 0..CHUNK_BYTES_MAX, 1u64..1 << 40), 0..4),
    ) -> Vec<Piece> {
        pieces.into_iter().map(|(first, offset, length)| Piece { first, offset, length }).collect()
    }
}

prop_compose! {
    fn any_holes()(list in proptest::collection::vec((1u64..1 << 30, 1u64..1 << 30), 0..4)) -> Vec<Hole> {
        let mut end = 0;
        let hole = |(gap, bytes)| {
            let hole = Hole { offset: end + gap, bytes };
            end = hole.offset + bytes;
            hole
        };
        list.into_iter().map(hole).collect()
    }
}

prop_compose! {
    /// A leaf, how many names it has, and whether it rather is another name of the last one with several.
    fn any_leaf()(
        which in 0u8..8, pieces in any_pieces(), holes in any_holes(), hash in any::<[u8; 32]>(), last_read in any_moment(),
        target in proptest::collection::vec(1u8.., 1..40), kind in 8u8.., numbers in any::<(u32, u32)>(), names in 1u32..3,
    ) -> (Content, u32, bool) {
        let content = match which {
            0..=2 => {
                let stored: u64 = pieces.iter().map(|piece| piece.length).sum();
                let fits = holes.last().is_none_or(|hole| hole.offset <= stored);
                let holes = if fits { holes } else { vec![] };
                let size = stored + holes.iter().map(|hole| hole.bytes).sum::<u64>();
                Content::File(File { size, pieces, hash: Digest::from_bytes(hash), last_read, holes })
            }
            3 => Content::Symlink { target },
            4 => Content::Fifo,
            5 => device(Access::Character, numbers.0, numbers.1),
            6 => device(Access::Block, numbers.0, numbers.1),
            _ => Content::Other { kind, pieces },
        };
        let names = if which < 7 { names } else { 1 };
        (content, names, numbers.0 % 4 == 0)
    }
}

prop_compose! {
    fn any_attributes()(
        mode in 0u32..=0o7777, modified in any_moment(), owner in proptest::option::of((0..u32::MAX, 0..u32::MAX)),
        xattrs in proptest::collection::btree_map(
            proptest::collection::vec(1u8.., 1..9), proptest::collection::vec(any::<u8>(), 0..200), 0..3,
        ),
    ) -> Attributes {
        let owner = owner.map(|(user, group)| Owner { user, group });
        Attributes { mode, modified, owner, xattrs: xattrs.into_iter().map(|(name, value)| Xattr { name, value }).collect() }
    }
}

prop_compose! {
    fn any_entries()(
        leaves in proptest::collection::vec((
            proptest::collection::vec(any_component(), 1..5), any_leaf(), any_attributes(),
            proptest::collection::btree_map(
                prop_oneof![10u8..16, 21u8..128, 129u8..], proptest::collection::vec(any::<u8>(), 0..9), 0..2,
            ),
        ), 0..40),
    ) -> Vec<Entry> {
        let mut entries = BTreeMap::new();
        for (components, (content, names, is_link), attributes, unknown) in leaves {
            for depth in 1..components.len() {
                let path = EntryPath::new(components[..depth].join(&b'/')).unwrap();
                let (attributes, content) = (attributes.clone(), Content::Directory);
                let directory = Entry { path: path.clone(), attributes, names: 1, content, unknown: vec![] };
                entries.insert(path, (directory, false));
            }
            let path = EntryPath::new(components.join(&b'/')).unwrap();
            let unknown = unknown.into_iter().map(|(tag, value)| Field { tag, value }).collect();
            let entry = Entry { path: path.clone(), attributes, names, content, unknown };
            entries.entry(path).or_insert((entry, is_link));
        }
        let mut shared = 0;
        let settle = |(mut entry, is_link): (Entry, bool)| {
            if is_link && shared != 0 {
                entry.content = Content::HardLink { back: u64::from(entry.attributes.mode) % shared + 1 };
                entry.attributes.xattrs.clear();
                entry.names = 1;
            }
            shared += u64::from(1 < entry.names);
            entry
        };
        entries.into_values().map(settle).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_tree_comes_back_from_any_slices(entries in any_entries(), step in 1usize..700) {
        let header = Header { root: None, ..header(Chunking::Default) };
        let bytes = encode(&header, &entries, &runs(100_000)).unwrap().concat();
        let items = decode_with(Limits::default(), &bytes, step).unwrap();
        let found: Vec<_> = items.iter().filter_map(|item| if let Item::Entry(entry) = item { Some(entry) } else { None }).collect();
        prop_assert!(found.into_iter().eq(&entries));
        prop_assert_eq!(again(&items).concat(), bytes);
    }

    #[test]
    fn a_damaged_tree_is_refused_or_another_ones_only_encoding(
        entries in any_entries(), at in any::<proptest::sample::Index>(), with in proptest::collection::vec(any::<u8>(), 0..4),
        removed in 0usize..4,
    ) {
        let mut bytes = encode(&header(Chunking::Default), &entries, &runs(100_000)).unwrap().concat();
        let at = at.index(bytes.len());
        bytes.splice(at..(at + removed).min(bytes.len()), with);
        canonical_or_refused(&bytes);
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_canonical(
        records in proptest::collection::vec((1u8..5, proptest::collection::vec(prop_oneof![3 => 0u8..22, 1 => any::<u8>()], 0..60)), 0..6),
    ) {
        canonical_or_refused(&forged(&records));
        canonical_or_refused(&[&forged(&[(1, fields(HEADER))])[..], &forged(&records)[5..]].concat());
        let bodies: Vec<u8> = records.iter().flat_map(|(_, body)| body.clone()).collect();
        canonical_or_refused(&bodies);
        let mut previous = 0;
        if let Ok(entry) = Entry::decode(&bodies, &mut previous) {
            prop_assert_eq!(entry.encode(&mut 0).unwrap(), bodies);
        }
    }
}
