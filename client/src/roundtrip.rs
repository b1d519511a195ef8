//! From files to sealed chunks and back, without a cluster: reader, sealer, trees and manifest on one side, layout,
//! opening and writing on the other, memory in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_format::chunk::Chunking;
use strongroom_format::code::Code;
use strongroom_format::id::GroupId;
use strongroom_format::manifest::decode::{Decoder, Item, Limits};
use strongroom_format::manifest::encode::Encoder;
use strongroom_format::manifest::entry::{Header, Run};
use strongroom_format::manifest::names::OwnerNames;
use strongroom_format::seal::{Context, Dek, Kind};
use strongroom_format::statement::{VaultMode, VaultStatement};
use strongroom_format::tree::{Cutter, LeafEntry};
use strongroom_format::wrap::VaultKeyPair;
use tokio::sync::mpsc;

use crate::backup::cache::Cache;
use crate::backup::memory::Memory;
use crate::backup::place::Placer;
use crate::backup::read::{Origin, Reader, Step};
use crate::backup::sealer::tests::{sealer, vault};
use crate::backup::walk::Walk;
use crate::backup::{Bounds, Source};
use crate::progress::Progress;
use crate::restore::layout::{Layout, RunIndex};
use crate::restore::open::{NotTaken, Sealed, take};
use crate::restore::others::{make_names, make_others};
use crate::restore::plan::Plan;
use crate::restore::selection::Selection;
use crate::restore::staging::{Earlier, Marker, Staging};
use crate::restore::write::{DamagedFile, Writer, Written};
use crate::restore::{NotGiven, Occupied, Special};

/// What a cluster would hold of one snapshot.
struct Held {
    statement: VaultStatement,
    dek: Dek,
    keys: strongroom_format::keys::DomainKeys,
    blobs: Vec<(LeafEntry, u32, Bytes)>,
    manifest: Vec<Vec<u8>>,
    cluster: strongroom_format::id::ClusterEpoch,
    changed: u64,
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
        let whole = self.take(at, &Sealed::Whole(Bytes::copy_from_slice(blob)));
        if blob.len() != self.blobs[at].0.stored_bytes as usize {
            return whole;
        }
        // As it comes from four members, in data fragments.
        let piece_bytes = Code { k: 4, m: 2 }.fragment_bytes(u32::try_from(blob.len()).unwrap()) as usize;
        let mut padded = blob.to_vec();
        padded.resize(4 * piece_bytes, 0);
        let pieces = self.take(at, &Sealed::Pieces(padded.chunks(piece_bytes).map(Bytes::copy_from_slice).collect()));
        assert_eq!(pieces.as_ref().ok(), whole.as_ref().ok());
        assert!(!matches!(pieces, Err(NotTaken::BadBlob(_))), "pieces blame nobody");
        whole
    }

    fn take(&self, at: usize, sealed: &Sealed) -> Result<Vec<u8>, NotTaken> {
        let dek = sealed.dek().map_err(|fault| NotTaken::AnotherBlob(fault.to_string()))?;
        take(&self.dek, Kind::Data, &self.keys.id_key, &self.context(at, dek), &self.blobs[at].0, sealed)
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
    back_up_when(source, mode, chunking, || {}).await
}

/// `when`: what happens when the first chunk was read and none was taken.
async fn back_up_when(source: &Path, mode: VaultMode, chunking: Chunking, when: impl FnOnce()) -> Held {
    let (mut statement, pair, writer, _) = vault(mode);
    statement.chunking = chunking;
    let keys = writer.in_vault(&statement.vault);
    let (sealer, wrap) = sealer(&statement, &writer);
    let sealer = Arc::new(sealer);
    let (tell, mut steps) = mpsc::channel(1);
    let mut when = Some(when);
    let placer = Placer::over(statement.tenant, statement.vault, vec![GroupId(1)]);
    let reader = Reader::new(chunking, Arc::clone(&sealer), tell, Memory::new(), Arc::default(), placer);
    let walk = Walk::new(Source::of(&[source.to_owned()]).unwrap(), Bounds::default());
    let reading = tokio::task::spawn_blocking(move || reader.run(walk, Cache::default()));
    let mut header = Header { chunking, root: None, unknown: Vec::new() };
    let (mut entries, mut blobs, mut owners, mut changed) = (Vec::new(), Vec::new(), OwnerNames::default(), 0);
    while let Some(step) = steps.recv().await {
        match step {
            Step::Top(attributes) => header.root = Some(attributes),
            Step::Entry(entry) => entries.push(entry),
            Step::Skipped => panic!("nothing is skipped here"),
            Step::Changed => changed += 1,
            Step::Owners(names) => owners = names,
            Step::Chunk(chunk) => {
                if let Some(when) = when.take() {
                    when();
                }
                let Origin::Read(plaintext) = chunk.origin else { panic!("nothing is kept here") };
                let sealed = sealer.seal(Kind::Data, chunk.id, &plaintext).unwrap();
                let stored_bytes = u32::try_from(sealed.bytes.len()).unwrap();
                let entry = LeafEntry { chunk: chunk.id, blob: sealed.blob, stored_bytes };
                blobs.push((entry, u32::try_from(plaintext.len()).unwrap(), sealed.bytes));
            }
        }
    }
    let _cache = reading.await.unwrap().unwrap();
    let mut encoder = Encoder::new(&header).unwrap();
    let mut manifest = Vec::new();
    for entry in &entries {
        manifest.extend(encoder.push(entry).unwrap());
    }
    encoder.name_owners(owners);
    manifest.extend(encoder.finish(&runs_of(&blobs)).unwrap());
    let dek = dek_from(&wrap, &pair, &keys);
    let cluster = strongroom_format::id::ClusterEpoch::from_bytes([9; 16]);
    Held { statement, dek, keys, blobs, manifest, cluster, changed }
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

fn items(manifest: &[Vec<u8>]) -> Vec<Item> {
    let mut decoder = Decoder::new(Limits::default());
    let mut items = Vec::new();
    for chunk in manifest {
        decoder.push(chunk);
        while let Some(item) = decoder.next_item().unwrap() {
            items.push(item);
        }
    }
    decoder.finish().unwrap();
    items
}

/// What came back.
struct Back {
    bytes: u64,
    damaged: Vec<DamagedFile>,
    left_out: Vec<DamagedFile>,
    not_given: Vec<NotGiven>,
}

/// Restores everything, giving chunks in an order of the caller's, some of them spoilt.
fn restore(held: &Held, to: &Path, order: &[usize], spoilt: &[usize]) -> Back {
    let everything = Selection::new(&[]).unwrap();
    let mut plan = Plan::new(Special::Given);
    items(&held.manifest).into_iter().for_each(|item| plan.take(item, &everything));
    let mut layout = Layout::new(&plan.runs);
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
    let staging =
        Arc::new(Staging::claim(to, Occupied::Refused, Earlier::Cleared, marker).unwrap().giving(Special::Given));
    let Plan { directories, files, others, names, mut left_out, .. } = plan;
    for directory in &directories {
        staging.make_directory(&directory.path).unwrap();
    }
    let pieces = (0..).zip(&files).map(|(number, file)| (number, file.pieces.as_slice()));
    let parts = layout.parts(pieces).unwrap().unwrap();
    let writer = Writer::new(Some(Arc::clone(&staging)), files, parts, BTreeMap::new(), Progress::silent()).unwrap();
    let needed: Vec<u64> = writer.needed().collect();
    assert!(needed.is_sorted());
    for at in order {
        if spoilt.contains(at) {
            writer.lose(*at as u64, "lost in this test").unwrap();
        } else {
            writer.take(*at as u64, &held.open(*at, &held.blobs[*at].2).unwrap()).unwrap();
        }
    }
    let Written { bytes, mut damaged, left_out: too_large, .. } = writer.finish();
    left_out.extend(too_large);
    left_out.extend(make_others(&staging, &others).unwrap());
    make_names(&staging, &names, &mut damaged, &mut left_out).unwrap();
    staging.publish(directories).unwrap();
    Back { bytes, damaged, left_out, not_given: staging.not_given() }
}

/// All that a tree is compared by.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    device: u64,
    content: Vec<u8>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The first path of the same inode.
    first: String,
    /// Whether less is allocated than it is long.
    is_sparse: bool,
}

/// Everything below a directory.
fn all_of(at: &Path) -> BTreeMap<String, Look> {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let mut all = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    let mut open = vec![at.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_symlink() {
            std::fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else if metadata.is_file() {
            std::fs::read(&path).unwrap()
        } else if metadata.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else {
            Vec::new()
        };
        let name = path.strip_prefix(at).unwrap().to_string_lossy().into_owned();
        let is_device = metadata.file_type().is_block_device() || metadata.file_type().is_char_device();
        let first: &mut String = inodes.entry(metadata.ino()).or_insert_with(|| name.clone());
        *first = first.clone().min(name.clone());
        let look = Look {
            // The mode of a link is the system's.
            mode: if metadata.is_symlink() { 0 } else { metadata.mode() },
            owner: (metadata.uid(), metadata.gid()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            device: if is_device { metadata.rdev() } else { 0 },
            content,
            xattrs: xattrs_of(&path),
            first: String::new(),
            is_sparse: metadata.is_file() && metadata.blocks() * 512 < metadata.size() / 2,
        };
        all.insert(name, (metadata.ino(), look));
    }
    all.into_iter().map(|(name, (inode, look))| (name, Look { first: inodes[&inode].clone(), ..look })).collect()
}

/// Attributes of a name, without those that are the system's own and without our mark.
fn xattrs_of(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 65_536];
    let Ok(bytes) = rustix::fs::llistxattr(path, &mut names[..]) else { return Vec::new() };
    let ours = |name: &&[u8]| !name.is_empty() && !name.starts_with(b"security.selinux");
    let mut xattrs = Vec::new();
    for name in names[..bytes].split(|byte| *byte == 0).filter(ours) {
        let mut value = vec![0; 65_536];
        let bytes = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(bytes);
        xattrs.push((name.to_vec(), value));
    }
    xattrs.retain(|(name, _)| name != strongroom_format::manifest::xattr::RESTORE_MARK.as_bytes());
    xattrs.sort();
    xattrs
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
    plant_awkward(at);
}

/// What trees have besides: several names, holes, FIFOs, attributes, and as root devices and other owners.
fn plant_awkward(at: &Path) {
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

    use rustix::fs::{FileType, Mode, XattrFlags};

    for (first, other) in [("a/b/small-007", "z/small too"), ("a/large", "0 large"), ("z/link", "a/link too")] {
        rustix::fs::linkat(
            rustix::fs::CWD,
            at.join(first),
            rustix::fs::CWD,
            at.join(other),
            rustix::fs::AtFlags::empty(),
        )
        .unwrap();
    }
    std::fs::hard_link(at.join("a/large"), at.join("z/large as well")).unwrap();
    let home = std::fs::File::open(at).unwrap();
    rustix::fs::mkfifoat(&home, "pipe", Mode::RUSR | Mode::WUSR | Mode::WGRP).unwrap();
    std::fs::hard_link(at.join("pipe"), at.join("a/pipe")).unwrap();
    for (name, size, writes) in [
        ("sparse", 40 << 20, vec![(1 << 20, 300_000), (33 << 20, 2_000_000)]),
        ("sparse and small", 700_000, vec![(300_000, 10)]),
        ("sparse to its end", 10 << 20, vec![(0, 10)]),
        ("nothing but a hole", 1 << 34, vec![]),
    ] {
        let file = std::fs::File::create(at.join(name)).unwrap();
        // `all_of` reads whole files.
        file.set_len(if writes.is_empty() { 1 << 26 } else { size }).unwrap();
        for (number, (offset, bytes)) in (10..).zip(writes) {
            file.write_all_at(&noise(number, bytes), offset).unwrap();
        }
    }
    for name in ["a/b", "a/large", "sparse"] {
        let file = std::fs::File::open(at.join(name)).unwrap();
        for (xattr, value) in [("user.note", &b"any \xff bytes"[..]), ("user.empty", b""), ("user.long", &[7; 3000])] {
            // Not every file system has them: then there are none to keep.
            let _set = rustix::fs::fsetxattr(&file, xattr, value, XattrFlags::empty());
        }
        // For one more user: version 2, then owner, user 4242, group, mask, others.
        let line =
            |tag: u16, bits: u16, id: u32| [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat();
        let none = u32::MAX;
        let lines = [line(1, 6, none), line(2, 4, 4242), line(4, 4, none), line(0x10, 6, none), line(0x20, 0, none)];
        let list = [vec![2, 0, 0, 0], lines.concat()].concat();
        let _set = rustix::fs::fsetxattr(&file, "system.posix_acl_access", &list, XattrFlags::empty());
        if name == "a/b" {
            std::fs::set_permissions(at.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
            let _set = rustix::fs::fsetxattr(&file, "system.posix_acl_default", &list, XattrFlags::empty());
        }
    }
    std::fs::write(at.join("program"), "#!/bin/true").unwrap();
    if rustix::process::geteuid().is_root() {
        for (name, kind, device) in
            [("null", FileType::CharacterDevice, (1, 3)), ("disk", FileType::BlockDevice, (7, 77))]
        {
            let number = rustix::fs::makedev(device.0, device.1);
            // A container may forbid devices even to root.
            let _made = rustix::fs::mknodat(&home, name, kind, Mode::RUSR | Mode::WOTH, number);
        }
        for name in ["program", "z/link", "pipe", "a/b/c", "a/nothing"] {
            std::os::unix::fs::lchown(at.join(name), Some(4242), Some(4343)).unwrap();
        }
        let program = std::fs::File::open(at.join("program")).unwrap();
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let _set = rustix::fs::fsetxattr(&program, "security.capability", &capability, XattrFlags::empty());
    }
    std::fs::set_permissions(at.join("program"), std::fs::Permissions::from_mode(0o6711)).unwrap();
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
            let back = restore(&held, &to, order, &[]);
            assert_eq!((back.damaged, back.left_out, back.not_given), (vec![], vec![], vec![]));
            let (expected, found) = (all_of(&source), all_of(&to));
            for (path, look) in &expected {
                assert!(found.get(path) == Some(look), "{chunking:?}, order {how}: {path} differs");
            }
            assert_eq!(found.len(), expected.len());
            assert!(back.bytes < 25 << 20, "{} bytes were kept: holes among them", back.bytes);
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
        let back = restore(&held, &to, &order, &[spoilt]);
        assert!(!back.damaged.is_empty());
        let lost: Vec<String> =
            back.damaged.iter().map(|file| String::from_utf8_lossy(&file.path).into_owned()).collect();
        let mut expected = all_of(&source);
        expected.retain(|path, _| !lost.contains(path));
        let found = all_of(&to);
        assert!(found.keys().eq(expected.keys()) && found.values().eq(expected.values()), "lost {lost:?}");
    }
}

#[tokio::test]
async fn a_hole_that_is_filled_in_an_image_costs_its_own_chunk() {
    use std::os::unix::fs::FileExt as _;
    let home = tempfile::tempdir().unwrap();
    let image = std::fs::File::create(home.path().join("image")).unwrap();
    image.set_len(64 << 20).unwrap();
    for n in 0..16 {
        image.write_all_at(&noise(n, 70_000), u64::from(n) << 22).unwrap();
    }
    let chunks = |held: &Held| held.blobs.iter().map(|(entry, ..)| entry.chunk).collect::<Vec<_>>();
    let before = back_up(home.path(), VaultMode::Default, Chunking::Fixed).await;
    image.write_all_at(&noise(99, 5000), (2 << 22) + (1 << 21)).unwrap();
    let after = back_up(home.path(), VaultMode::Default, Chunking::Fixed).await;
    let (before, after) = (chunks(&before), chunks(&after));
    assert_eq!((before.len(), after.len()), (16, 16));
    let new: Vec<usize> = (0..16).filter(|at| before[*at] != after[*at]).collect();
    assert_eq!(new, [2]);
}

#[tokio::test]
async fn what_changes_or_vanishes_while_it_is_read_is_counted_and_the_rest_is_whole() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("source");
    std::fs::create_dir(&source).unwrap();
    for (name, bytes) in [("a", 60 << 20), ("gone", 10), ("grows", 10), ("same", 10)] {
        std::fs::write(source.join(name), noise(bytes as u8, bytes)).unwrap();
    }
    // The reader blocks on its first chunks until somebody takes them: until then it has listed names and opened no more
    // than the first file.
    let at = source.clone();
    let held = back_up_when(&source, VaultMode::Default, Chunking::Default, move || {
        std::fs::remove_file(at.join("gone")).unwrap();
        std::fs::OpenOptions::new().write(true).open(at.join("a")).unwrap().set_len(30 << 20).unwrap();
        std::fs::write(at.join("grows"), "now it is longer").unwrap();
    })
    .await;
    assert_eq!(held.changed, 2, "one became shorter, one vanished; one grew before it was opened");
    let order: Vec<usize> = (0..held.blobs.len()).collect();
    let to = home.path().join("target");
    assert_eq!(restore(&held, &to, &order, &[]).damaged, []);
    let (found, source) = (all_of(&to), all_of(&source));
    assert_eq!(found.keys().collect::<Vec<_>>(), source.keys().collect::<Vec<_>>());
    for same in ["grows", "same"] {
        assert!(found[same] == source[same], "{same}");
    }
    let read = &found["a"].content;
    assert!(30 << 20 <= read.len() && read.len() < 60 << 20, "{} bytes were read", read.len());
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
