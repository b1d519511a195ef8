//! From files to sealed chunks and back, without a cluster: reader, sealer, trees and manifest on one side, layout,
//! opening and writing on the other, memory in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_format::chunk::Chunking;
use strongroom_format::id::GroupId;
use strongroom_format::manifest::decode::{Decoder, Item, Limits};
use strongroom_format::manifest::encode::Encoder;
use strongroom_format::manifest::entry::{Attributes, Content, Entry, Header, Run};
use strongroom_format::seal::{Context, Dek, Kind};
use strongroom_format::statement::{VaultMode, VaultStatement};
use strongroom_format::tree::{Cutter, LeafEntry};
use strongroom_format::wrap::VaultKeyPair;
use tokio::sync::mpsc;

use crate::backup::memory::Memory;
use crate::backup::read::{Reader, Step};
use crate::backup::sealer::tests::{sealer, vault};
use crate::backup::walk::Walk;
use crate::backup::{CacheDirectories, Source};
use crate::progress::Progress;
use crate::restore::layout::{Layout, RunIndex};
use crate::restore::open::{NotTaken, dek_of, take};
use crate::restore::path::TreePath;
use crate::restore::staging::{DirectoryAttributes, Marker, Occupied, Staging};
use crate::restore::write::{DamagedFile, PlannedFile, Writer};

/// What a cluster would hold of one snapshot.
struct Held {
    statement: VaultStatement,
    dek: Dek,
    keys: strongroom_format::keys::DomainKeys,
    blobs: Vec<(LeafEntry, u32, Bytes)>,
    manifest: Vec<Vec<u8>>,
    cluster: strongroom_format::id::ClusterEpoch,
}

impl Held {
    fn context(&self, at: usize, dek: strongroom_format::id::DekId) -> Context {
        let (entry, plaintext_bytes, _) = &self.blobs[at];
        Context {
            cluster: self.cluster,
            tenant: self.statement.tenant,
            vault: self.statement.vault,
            domain: self.keys.domain,
            dek,
            chunk: entry.chunk,
            plaintext_bytes: *plaintext_bytes,
        }
    }

    fn open(&self, at: usize, blob: &[u8]) -> Result<Vec<u8>, NotTaken> {
        let dek = dek_of(blob).map_err(|fault| NotTaken::AnotherBlob(fault.to_string()))?;
        take(&self.dek, Kind::Data, &self.keys.id_key, &self.context(at, dek), &self.blobs[at].0, blob)
    }
}

fn dek_from(
    wrap: &strongroom_format::wrap::DekWrap,
    pair: &VaultKeyPair,
    keys: &strongroom_format::keys::DomainKeys,
) -> Dek {
    wrap.open(wrap.dek, &wrap.place(), &keys.sender_key, pair).unwrap()
}

async fn back_up(source: &Path, mode: VaultMode, chunking: Chunking) -> Held {
    let (mut statement, pair, writer, _) = vault(mode);
    statement.chunking = chunking;
    let keys = writer.in_vault(&statement.vault);
    let (sealer, wrap) = sealer(&statement, &writer);
    let sealer = Arc::new(sealer);
    let (tell, mut steps) = mpsc::channel(8);
    let reader = Reader::new(chunking, Arc::clone(&sealer), tell, Memory::new(), Progress::silent());
    let walk = Walk::new(Source::of(&[source.to_owned()]).unwrap(), CacheDirectories::Kept);
    let reading = tokio::task::spawn_blocking(move || reader.run(walk));
    let mut header = Header { chunking, root: None, unknown: Vec::new() };
    let (mut entries, mut blobs) = (Vec::new(), Vec::new());
    while let Some(step) = steps.recv().await {
        match step {
            Step::Top(attributes) => header.root = Some(attributes),
            Step::Entry(entry) => entries.push(entry),
            Step::Skipped => panic!("nothing is skipped here"),
            Step::Chunk(chunk) => {
                let sealed = sealer.seal(Kind::Data, chunk.id, &chunk.plaintext).unwrap();
                let stored_bytes = u32::try_from(sealed.bytes.len()).unwrap();
                let entry = LeafEntry { chunk: chunk.id, blob: sealed.blob, stored_bytes };
                blobs.push((entry, u32::try_from(chunk.plaintext.len()).unwrap(), sealed.bytes));
            }
        }
    }
    reading.await.unwrap();
    let mut encoder = Encoder::new(&header).unwrap();
    let mut manifest = Vec::new();
    for entry in &entries {
        manifest.extend(encoder.push(entry).unwrap());
    }
    manifest.extend(encoder.finish(&runs_of(&blobs)).unwrap());
    let dek = dek_from(&wrap, &pair, &keys);
    Held { statement, dek, keys, blobs, manifest, cluster: strongroom_format::id::ClusterEpoch::from_bytes([9; 16]) }
}

fn runs_of(blobs: &[(LeafEntry, u32, Bytes)]) -> Vec<Run> {
    let (mut cutter, mut runs, mut chunks) = (Cutter::new(), Vec::new(), 0);
    for (entry, ..) in blobs {
        chunks += 1;
        if cutter.is_border_behind(entry.chunk.as_bytes()) {
            runs.push(Run { group: GroupId(1 + runs.len() as u32 % 2), chunks });
            chunks = 0;
        }
    }
    if chunks != 0 {
        runs.push(Run { group: GroupId(9), chunks });
    }
    runs
}

fn read_manifest(manifest: &[Vec<u8>]) -> (Option<Attributes>, Vec<Entry>, Vec<Run>) {
    let mut decoder = Decoder::new(Limits::default());
    let (mut top, mut entries, mut runs) = (None, Vec::new(), Vec::new());
    for chunk in manifest {
        decoder.push(chunk);
        while let Some(item) = decoder.next_item().unwrap() {
            match item {
                Item::Header(header) => top = header.root,
                Item::Entry(entry) => entries.push(entry),
                Item::Runs(more) => runs.extend(more),
                Item::End(_) => {}
            }
        }
    }
    decoder.finish().unwrap();
    (top, entries, runs)
}

/// Restores, giving chunks in an order of the caller's, some of them spoilt.
fn restore(held: &Held, to: &Path, order: &[usize], spoilt: &[usize]) -> (u64, Vec<DamagedFile>) {
    let (top, entries, runs) = read_manifest(&held.manifest);
    let mut layout = Layout::new(&runs);
    for run in layout.all().collect::<Vec<RunIndex>>() {
        let ordinals = layout.ordinals(run);
        let lengths = ordinals.map(|at| held.blobs[usize::try_from(at).unwrap()].1).collect();
        layout.learn(run, lengths);
    }
    let marker = Marker {
        tenant: held.statement.tenant,
        vault: held.statement.vault,
        snapshot: strongroom_format::id::SnapshotId::from_bytes([1; 16]),
    };
    let staging = Arc::new(Staging::claim(to, Occupied::Refused, marker).unwrap());
    let mut directories = vec![DirectoryAttributes { path: TreePath::top(), attributes: top.unwrap() }];
    let (mut files, mut links) = (Vec::new(), Vec::new());
    for entry in entries {
        let path = TreePath::new(entry.path.as_bytes()).unwrap();
        match entry.content {
            Content::Directory => {
                staging.make_directory(&path).unwrap();
                directories.push(DirectoryAttributes { path, attributes: entry.attributes });
            }
            Content::Symlink { target } => links.push((path, target, entry.attributes.modified)),
            Content::File(file) => files.push(PlannedFile {
                path,
                name: entry.path.as_bytes().to_vec(),
                attributes: entry.attributes,
                size: file.size,
                hash: file.hash,
                pieces: file.pieces,
            }),
            Content::Other { .. } => panic!("nothing else is backed up"),
        }
    }
    let pieces = (0..).zip(&files).map(|(number, file)| (number, file.pieces.as_slice()));
    let parts = layout.parts(pieces).unwrap().unwrap();
    let writer = Writer::new(Some(Arc::clone(&staging)), files, parts, Progress::silent()).unwrap();
    let needed: Vec<u64> = writer.needed().collect();
    assert!(needed.is_sorted());
    for at in order {
        if spoilt.contains(at) {
            writer.lose(*at as u64, "lost in this test").unwrap();
        } else {
            writer.take(*at as u64, &held.open(*at, &held.blobs[*at].2).unwrap()).unwrap();
        }
    }
    let (_, bytes, damaged) = writer.finish();
    for (path, target, modified) in links {
        staging.make_symlink(&path, &target, modified).unwrap();
    }
    staging.publish(directories).unwrap();
    (bytes, damaged)
}

/// Everything below a directory: path, kind, mode, time, content.
fn all_of(at: &Path) -> BTreeMap<String, (u32, i64, i64, Vec<u8>)> {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::MetadataExt as _;
    let mut all = BTreeMap::new();
    let mut open = vec![at.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_symlink() {
            std::fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else if metadata.is_file() {
            std::fs::read(&path).unwrap()
        } else {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        };
        let name = path.strip_prefix(at).unwrap().to_string_lossy().into_owned();
        // The mode of a link is the system's.
        let mode = if metadata.is_symlink() { 0 } else { metadata.mode() };
        all.insert(name, (mode, metadata.mtime(), metadata.mtime_nsec(), content));
    }
    all
}

fn noise(seed: u8, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut noise);
    noise
}

/// A tree with what matters: small files over several extents, large ones, empty ones, links, any bytes in names.
fn plant(at: &Path) {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::PermissionsExt as _;
    for directory in ["a/b/c", "z", "empty"] {
        std::fs::create_dir_all(at.join(directory)).unwrap();
    }
    for n in 0..300 {
        let content = noise(1, 20_000 + n * 37);
        std::fs::write(at.join(format!("a/b/small-{n:03}")), &content[n..]).unwrap();
    }
    std::fs::write(at.join("a/large"), noise(2, 9_300_001)).unwrap();
    std::fs::write(at.join("m-large-zeros"), vec![0; 6_000_000]).unwrap();
    std::fs::write(at.join("a/nothing"), "").unwrap();
    std::fs::write(at.join(std::ffi::OsStr::from_bytes(b"z/\xff\xfe\n")), "odd").unwrap();
    std::os::unix::fs::symlink("../nowhere", at.join("z/link")).unwrap();
    std::fs::set_permissions(at.join("a/large"), std::fs::Permissions::from_mode(0o640)).unwrap();
    std::fs::set_permissions(at.join("a/b/c"), std::fs::Permissions::from_mode(0o711)).unwrap();
}

const WAYS: [(VaultMode, Chunking); 3] = [
    (VaultMode::Default, Chunking::Default),
    (VaultMode::Default, Chunking::Fixed),
    (VaultMode::Hardened, Chunking::Hardened),
];

#[tokio::test]
async fn what_comes_back_is_what_was_there_in_whatever_order_chunks_come() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("source");
    std::fs::create_dir(&source).unwrap();
    plant(&source);
    for (way, (mode, chunking)) in WAYS.into_iter().enumerate() {
        let held = back_up(&source, mode, chunking).await;
        let forwards: Vec<usize> = (0..held.blobs.len()).collect();
        let backwards: Vec<usize> = forwards.iter().rev().copied().collect();
        for (how, order) in [forwards, backwards].iter().enumerate() {
            let to = home.path().join(format!("target-{way}-{how}"));
            let (_, damaged) = restore(&held, &to, order, &[]);
            assert_eq!(damaged, []);
            assert!(all_of(&to) == all_of(&source), "{chunking:?}, order {how}: what came back differs");
        }
    }
}

#[tokio::test]
async fn n146_one_lost_chunk_costs_the_files_that_it_is_in_and_no_other() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("source");
    std::fs::create_dir(&source).unwrap();
    plant(&source);
    let held = back_up(&source, VaultMode::Default, Chunking::Default).await;
    let order: Vec<usize> = (0..held.blobs.len()).collect();
    // Chunk 0 is of the first extent of small files or of the large file: either way some files are in it.
    for spoilt in [0, held.blobs.len() / 2, held.blobs.len() - 1] {
        let to = home.path().join(format!("target-{spoilt}"));
        let (_, damaged) = restore(&held, &to, &order, &[spoilt]);
        assert!(!damaged.is_empty());
        let lost: Vec<String> = damaged.iter().map(|file| String::from_utf8_lossy(&file.path).into_owned()).collect();
        let mut expected = all_of(&source);
        expected.retain(|path, _| !lost.contains(path));
        assert!(all_of(&to) == expected, "lost {lost:?}");
    }
}

#[tokio::test]
async fn hardened_chunks_tell_nothing_by_their_length() {
    let home = tempfile::tempdir().unwrap();
    plant(home.path());
    let held = back_up(home.path(), VaultMode::Hardened, Chunking::Hardened).await;
    let lengths: std::collections::BTreeSet<usize> = held.blobs.iter().map(|(_, _, blob)| blob.len()).collect();
    assert_eq!(lengths.len(), 1);
    assert!(held.manifest.iter().all(|chunk| chunk.len() == 4 << 20));
}

#[tokio::test]
async fn n41_a_good_blob_in_another_ones_place_is_not_taken() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("a"), noise(1, 2_000_000)).unwrap();
    std::fs::write(home.path().join("b"), noise(2, 2_000_000)).unwrap();
    let held = back_up(home.path(), VaultMode::Default, Chunking::Default).await;
    let (first, last) = (0, held.blobs.len() - 1);
    assert!(matches!(held.open(first, &held.blobs[last].2), Err(NotTaken::AnotherBlob(_))));
    let mut flipped = held.blobs[first].2.to_vec();
    flipped[1000] ^= 1;
    assert!(matches!(held.open(first, &flipped), Err(NotTaken::AnotherBlob(_))));
    assert!(matches!(held.open(first, b"no blob"), Err(NotTaken::AnotherBlob(_))));
    assert!(held.open(first, &held.blobs[first].2).is_ok());
}

#[tokio::test]
async fn n110_a_blob_that_its_writer_spoilt_is_told_from_one_that_a_node_spoilt() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("a"), noise(1, 2_000_000)).unwrap();
    let mut held = back_up(home.path(), VaultMode::Default, Chunking::Default).await;
    // The leaf names just these bytes, but they open to nothing.
    let mut spoilt = held.blobs[0].2.to_vec();
    spoilt[5000] ^= 1;
    held.blobs[0].0.blob = strongroom_format::seal::blob_id(&spoilt);
    assert!(matches!(held.open(0, &spoilt), Err(NotTaken::BadBlob(_))));
}

#[tokio::test]
async fn unchanged_files_beside_changed_ones_keep_their_chunks() {
    let home = tempfile::tempdir().unwrap();
    plant(home.path());
    let before = back_up(home.path(), VaultMode::Default, Chunking::Default).await;
    std::fs::write(home.path().join("a/b/small-150"), "changed").unwrap();
    std::fs::remove_file(home.path().join("a/b/small-010")).unwrap();
    let after = back_up(home.path(), VaultMode::Default, Chunking::Default).await;
    let known: std::collections::BTreeSet<_> = before.blobs.iter().map(|(entry, ..)| entry.chunk).collect();
    let new = after.blobs.iter().filter(|(entry, ..)| !known.contains(&entry.chunk)).count();
    assert!(new <= 8, "{new} of {} chunks are new", after.blobs.len());
}
