//! Golden vectors of chunks, blobs, fragments, trees, manifests, summaries and placement.

use strongroom_format::aead::Portable;
use strongroom_format::chunk::{Chunking, chunk_id, extent_ends_before, manifest_chunk_id};
use strongroom_format::code::Code;
use strongroom_format::codec;
use strongroom_format::fragment::{CopyName, FragmentHeader};
use strongroom_format::id::{
    BlobId, ChunkId, ClusterEpoch, DekId, Digest, DomainId, GroupId, LeaseId, SnapshotId, TenantId, TenantTag, VaultId,
    VaultTag,
};
use strongroom_format::keys::{IdKey, LengthKey};
use strongroom_format::manifest::decode::{Decoder, Item, Limits};
use strongroom_format::manifest::encode::Encoder;
use strongroom_format::manifest::entry::{
    Access, Attributes, Content, Device, Entry, File, Header, Moment, Owner, Piece, Run,
};
use strongroom_format::manifest::field::Field;
use strongroom_format::manifest::holes::Hole;
use strongroom_format::manifest::names::OwnerNames;
use strongroom_format::manifest::path::EntryPath;
use strongroom_format::manifest::xattr::Xattr;
use strongroom_format::placement::group_of_run;
use strongroom_format::seal::{
    Compression, Context, Dek, Kind, SealingDek, blob_id, open, open_records, record_blob, seal,
};
use strongroom_format::summary::{Summary, open_summary, seal_summary};
use strongroom_format::tree::{Child, Cutter, LeafEntry, Node, tree_id};

use crate::golden;
use crate::sample::fixed;

fn id_key() -> IdKey {
    IdKey::from_secret(fixed("id key")).unwrap()
}

fn length_key() -> LengthKey {
    LengthKey::from_secret(fixed("length key")).unwrap()
}

fn dek_id() -> DekId {
    DekId::from_bytes(fixed("dek id"))
}

fn context(plaintext: &[u8]) -> Context {
    Context {
        cluster: ClusterEpoch::from_bytes(fixed("cluster")),
        tenant: TenantId::from_bytes(fixed("tenant")),
        vault: VaultId::from_bytes(fixed("vault")),
        domain: DomainId::from_bytes(fixed("domain")),
        dek: dek_id(),
        chunk: chunk_id(&id_key(), plaintext),
        plaintext_bytes: plaintext.len() as u32,
    }
}

fn sealed(plaintext: &[u8], compression: Compression) -> Vec<u8> {
    let dek = SealingDek::new(dek_id(), fixed("dek")).unwrap();
    dek.salt(fixed("unused"));
    let tag = VaultTag::from_bytes(fixed("vault tag"));
    let salt = dek.salt(fixed("salt"));
    seal(&Portable, salt, Kind::Data, tag, &context(plaintext), plaintext, compression).unwrap()
}

fn opened(plaintext: &[u8], blob: &[u8]) -> Vec<u8> {
    let dek = Dek::load(dek_id(), &fixed::<64>("dek")).unwrap();
    open(&Portable, &dek, Kind::Data, &context(plaintext), blob).unwrap()
}

const TEXT: &[u8] = b"Strongroom keeps what it is given. ";

#[test]
fn chunk_ids_stay_what_they_were() {
    let ids = [chunk_id(&id_key(), TEXT), chunk_id(&id_key(), b""), manifest_chunk_id(&id_key(), TEXT)];
    golden::text("chunk-ids-1.txt", &ids.map(|id| format!("{id}\n")).concat());
}

#[test]
fn blobs_stay_what_they_were() {
    let stored = sealed(TEXT, Compression::Never);
    golden::bytes("blob-stored-1", &stored);
    assert_eq!(opened(TEXT, &stored), TEXT);
    golden::text("blob-id-1.txt", &format!("{}\n", blob_id(&stored)));

    let records = record_blob(VaultTag::from_bytes(fixed("vault tag")), TEXT);
    golden::bytes("blob-records-1", &records);
    assert_eq!(open_records(&records).unwrap(), TEXT);
}

/// What another version of zstd writes may differ; what was written must open for ever.
#[test]
fn a_compressed_blob_opens_for_ever() {
    let plaintext = TEXT.repeat(100);
    let blob = golden::read_or_bless("blob-packed-1", || sealed(&plaintext, Compression::Auto));
    assert!(blob.len() < plaintext.len() / 5);
    assert_eq!(opened(&plaintext, &blob), plaintext);
}

#[test]
fn fragment_headers_stay_what_they_were() {
    let payload = fixed::<256>("payload");
    let copy = CopyName {
        blob: BlobId::from_bytes(fixed("blob")),
        index: 5,
        group: GroupId(0x0102_0304),
        lease: LeaseId(0x1122_3344_5566_7788),
    };
    let tag = TenantTag::from_bytes(fixed("tenant tag"));
    let header = FragmentHeader::of(tag, copy, Code { k: 4, m: 2 }, 1000, &payload).unwrap();
    golden::bytes("fragment-header-1", &header.encode());
    assert_eq!(FragmentHeader::parse(&header.encode()), Ok(header));
}

#[test]
fn tree_nodes_stay_what_they_were() {
    let entry = |name: &str| LeafEntry {
        chunk: ChunkId::from_bytes(fixed(name)),
        blob: BlobId::from_bytes(fixed(&format!("blob of {name}"))),
        stored_bytes: 0x0012_3456,
    };
    let leaf = Node::leaf(&length_key(), vec![entry("one"), entry("two")], &[0x0011_2233, 1]).unwrap();
    let bytes = codec::encode(&leaf);
    golden::bytes("tree-leaf-1", &bytes);
    assert_eq!(codec::decode::<Node>(&bytes).unwrap().open_lengths(&length_key()).unwrap(), [0x0011_2233, 1]);

    let child = Child { id: tree_id(&bytes), totals: leaf.totals() };
    let inner = Node::inner(&length_key(), vec![child, child], &[0x0011_2234; 2]).unwrap();
    let bytes = codec::encode(&inner);
    golden::bytes("tree-inner-1", &bytes);
    assert_eq!(codec::decode::<Node>(&bytes).unwrap().open_lengths(&length_key()).unwrap(), [0x0011_2234; 2]);

    golden::text("tree-ids-1.txt", &format!("{}\n{}\n", child.id, tree_id(&bytes)));
}

#[test]
fn borders_of_runs_and_extents_stay_where_they_were() {
    let mut cutter = Cutter::new();
    let id = |n: u32| *blake3::hash(&n.to_le_bytes()).as_bytes();
    let runs: Vec<_> = (0..5000).filter(|n| cutter.is_border_behind(&id(*n))).map(|n| n.to_string()).collect();
    let mut extent = 0;
    let mut extents = Vec::new();
    for n in 0..2000u32 {
        let bytes = u64::from(id(n)[0]) * 500;
        if extent_ends_before(format!("directory/file {n}").as_bytes(), extent, bytes) {
            extents.push(n.to_string());
            extent = 0;
        }
        extent += bytes;
    }
    golden::text("borders-1.txt", &format!("runs {}\nextents {}\n", runs.join(" "), extents.join(" ")));
}

#[test]
fn placement_stays_what_it_was() {
    let (tenant, vault) = (TenantId::from_bytes(fixed("tenant")), VaultId::from_bytes(fixed("vault")));
    let place = |n: u32| {
        let chunk = ChunkId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes());
        group_of_run(&tenant, &vault, &chunk, &[1, 2, 3, 70_000].map(GroupId)).unwrap().to_string()
    };
    golden::text("placement-1.txt", &format!("{}\n", (0..64).map(place).collect::<Vec<_>>().join(" ")));
}

#[test]
fn manifests_stay_what_they_were() {
    let modified = Moment { seconds: -1, nanos: 999_999_999 };
    let attributes = Attributes { mode: 0o2750, modified, owner: None, xattrs: vec![] };
    let entry = |path: &[u8], content: Content, unknown: Vec<Field>| {
        let path = EntryPath::new(path).unwrap();
        Entry { path, attributes: attributes.clone(), names: 1, content, unknown }
    };
    let file = |pieces: Vec<Piece>| {
        let size = pieces.iter().map(|piece| piece.length).sum();
        let last_read = Moment { seconds: 1_790_000_000, nanos: 0 };
        Content::File(File { size, pieces, hash: Digest::from_bytes(fixed("hash")), last_read, holes: vec![] })
    };
    let entries = [
        entry(b"a", Content::Directory, vec![]),
        entry(b"a/b", Content::Symlink { target: b"../../c".to_vec() }, vec![]),
        entry(b"a/\xff", file(vec![Piece { first: 300, offset: 4_000_000, length: 1 << 33 }]), vec![]),
        entry(b"a-empty", file(vec![]), vec![Field { tag: 10, value: vec![1, 2] }, Field { tag: 200, value: vec![] }]),
        entry(b"b", Content::Other { kind: 9, pieces: vec![Piece { first: 2, offset: 0, length: 9 }] }, vec![]),
        entry(
            b"c",
            file(vec![Piece { first: 2, offset: 9, length: 1 }, Piece { first: 0, offset: 0, length: 5 }]),
            vec![],
        ),
    ];
    let mut encoder =
        Encoder::new(&Header { chunking: Chunking::Fixed, root: Some(attributes.clone()), unknown: vec![] }).unwrap();
    for entry in &entries {
        assert_eq!(encoder.push(entry).unwrap(), None);
    }
    let runs = [Run { group: GroupId(1), chunks: 256 }, Run { group: GroupId(300), chunks: 77 }];
    let manifest = encoder.finish(&runs).unwrap().concat();
    golden::bytes("manifest-1", &manifest);
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(&manifest);
    let mut items = 0;
    while decoder.next_item().unwrap().is_some() {
        items += 1;
    }
    decoder.finish().unwrap();
    assert_eq!(items, 1 + entries.len() + 1 + 1);
}

#[test]
fn manifests_of_all_kinds_stay_what_they_were() {
    let attributes = Attributes {
        mode: 0o4711,
        modified: Moment { seconds: 1_790_000_000, nanos: 1 },
        owner: Some(Owner { user: 1000, group: 0 }),
        xattrs: [("security.capability", &[1, 0, 0, 2][..]), ("user.note", b"")]
            .map(|(name, value)| Xattr { name: name.into(), value: value.into() })
            .into(),
    };
    let entry = |path: &str, names: u32, content: Content| {
        let path = EntryPath::new(path).unwrap();
        Entry { path, attributes: attributes.clone(), names, content, unknown: vec![] }
    };
    let link = |path: &str, back: u64| {
        let bare = Attributes { xattrs: vec![], ..attributes.clone() };
        Entry { attributes: bare, ..entry(path, 1, Content::HardLink { back }) }
    };
    let device = |access| Content::Device(Device { access, major: 8, minor: 300 });
    let sparse = Content::File(File {
        size: (1 << 40) + 300,
        pieces: vec![Piece { first: 0, offset: 0, length: 300 }],
        hash: Digest::from_bytes(fixed("hash")),
        last_read: attributes.modified,
        holes: vec![Hole { offset: 0, bytes: 4096 }, Hole { offset: 4396, bytes: (1 << 40) - 4096 }],
    });
    let entries = [
        entry("block", 1, device(Access::Block)),
        entry("character", 2, device(Access::Character)),
        entry("fifo", 300, Content::Fifo),
        link("fifo too", 1),
        link("link to the device", 2),
        entry("sparse", 1, sparse),
    ];
    let root = Some(attributes.clone());
    let mut encoder = Encoder::new(&Header { chunking: Chunking::Default, root, unknown: vec![] }).unwrap();
    for entry in &entries {
        assert_eq!(encoder.push(entry).unwrap(), None);
    }
    let named = |id: u32, name: &str| std::collections::BTreeMap::from([(id, name.as_bytes().to_vec())]);
    encoder.name_owners(OwnerNames { users: named(1000, "anna"), groups: named(0, "root") });
    let manifest = encoder.finish(&[Run { group: GroupId(1), chunks: 1 }]).unwrap().concat();
    golden::bytes("manifest-kinds-1", &manifest);
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(&manifest);
    let mut found = Vec::new();
    while let Some(item) = decoder.next_item().unwrap() {
        if let Item::Entry(entry) = item {
            found.push(entry);
        }
    }
    decoder.finish().unwrap();
    assert_eq!(found, entries);
}

#[test]
fn summaries_stay_what_they_were() {
    let snapshot = SnapshotId::from_bytes(fixed("snapshot"));
    let summary = Summary { files: 40_000, dirs: 3_000, links: 12, bytes: 800_000_000, skipped: 1 };
    let sealed = seal_summary(&length_key(), &snapshot, &summary);
    golden::bytes("summary-1", &sealed);
    assert_eq!(open_summary(&length_key(), &snapshot, &sealed), Ok(summary));
}
