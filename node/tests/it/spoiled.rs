//! A restore of many files where one chunk is bad everywhere and one node lies: the rest comes back, and what does not is
//! named (N146).
//!
//! Not here: what can still be rebuilt (`losses.rs`), the exit code (`client/cli/tests`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Instant;

use strongroom_format::code::Code;
use strongroom_format::manifest::entry::Piece;
use strongroom_format::seal::Kind;

use crate::cluster::{Cluster, PATIENCE, overwrite};
use crate::false_member::FalseMember;
use crate::forge::{Forge, SealedBlob, file_of};
use crate::losses::fragments_on;
use crate::shared::{create_vault, restore};
use crate::trees::noise;

const CHUNKS: u64 = 8;
const CHUNK_BYTES: usize = 30_000;
const FILES: u64 = 40;
/// The one that is bad.
const BAD: u64 = 3;

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// The contents of a file: the last bytes of one chunk and the first of the next.
fn lies_in(file: u64) -> [u64; 2] {
    [file % CHUNKS, (file + 1) % CHUNKS]
}

#[tokio::test(flavor = "multi_thread")]
async fn n146_one_bad_chunk_and_one_lying_node_cost_the_files_of_that_chunk_and_no_other() {
    let mut cluster = blocking(|| Cluster::start(3, &["acme", "globex"]));
    create_vault(&cluster, "globex", "papers").await;
    let restorer = cluster.client("globex-restorer").await;

    // A snapshot of which every node has a fragment of every blob.
    let began = Instant::now();
    let (snapshot, chunks, blobs) = loop {
        let round = began.elapsed().as_nanos();
        let mut forge = Forge::open(&cluster, "globex", "writer", "papers").await;
        let chunks: Vec<Vec<u8>> = (0..CHUNKS).map(|at| noise(&format!("n146 {round} {at}"), CHUNK_BYTES)).collect();
        let run: Vec<SealedBlob> = chunks.iter().map(|bytes| forge.seal(Kind::Data, bytes)).collect();
        let blobs: Vec<_> = run.iter().map(|blob| blob.entry).collect();
        let entries: Vec<_> = (0..FILES)
            .map(|file| {
                let [one, other] = lies_in(file);
                let half = CHUNK_BYTES / 2;
                let contents = [&chunks[one as usize][half..], &chunks[other as usize][..half]].concat();
                let piece = |first, offset: usize| Piece { first, offset: offset as u32, length: half as u64 };
                file_of(&format!("f{file:02}"), &contents, vec![piece(one, half), piece(other, 0)])
            })
            .collect();
        let snapshot = forge.write(&[run], &entries).await;
        let listed = restorer.snapshots(None).await.expect("a list");
        if listed.iter().any(|one| one.id == snapshot && one.strength.nodes == 1) {
            break (snapshot, chunks, blobs);
        }
        assert!(began.elapsed() < PATIENCE, "what is new still lies thin");
    };

    // One node's disk spoils its fragment of the bad chunk; another node lies about all of its fragments. The third has
    // one good fragment of every blob, and two are needed.
    blocking(|| cluster.stop("east-1"));
    let bad = blobs[BAD as usize].blob.to_string();
    let spoiled: Vec<_> = fragments_on(&cluster, "east-1").into_iter().filter(|one| one.blob == bad).collect();
    assert_eq!(spoiled.len(), 1, "it has one fragment of the bad chunk");
    spoiled.iter().for_each(|one| overwrite(&one.file, one.offset, &[0xA5; 32]));
    blocking(|| {
        cluster.restart("east-1");
        cluster.await_ready("east-1");
        cluster.stop("north-1");
    });
    let code = Code { k: 2, m: 1 };
    let shape = |bytes| (bytes, code.fragment_bytes(bytes));
    let shapes: BTreeMap<_, _> = blobs.iter().map(|entry| (entry.blob, shape(entry.stored_bytes))).collect();
    let liar = FalseMember::in_place_of(&cluster, &cluster.node("north-1").clone(), shapes).await;

    let expected: BTreeSet<String> =
        (0..FILES).filter(|file| lies_in(*file).contains(&BAD)).map(|file| format!("f{file:02}")).collect();
    let began = Instant::now();
    let wrong = || cluster.metric("strongroom_service_fragments_wrong_total", "");
    // While the others still take the liar for down it is not asked.
    let mut has_lied = false;
    while !has_lied {
        assert!(began.elapsed() < PATIENCE, "it was asked {} times, {} were found wrong", liar.asked(), wrong());
        let to = cluster.scratch().join("restored");
        let restored = restore(&restorer, snapshot, &to).await;
        has_lied = 0 < liar.asked() && 0.0 < wrong();
        let path = |path: &[u8]| String::from_utf8(path.to_vec()).expect("a name of ours");
        let named: BTreeSet<String> = restored.damaged.iter().map(|file| path(&file.path)).collect();
        assert_eq!(named, expected, "{:?}", restored.damaged);
        assert!(0 < restored.fragments_bad, "what nodes met is counted");
        let shown: BTreeSet<String> = fs::read_dir(&to)
            .expect("the target")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name of ours"))
            .filter(|name| !name.starts_with('.'))
            .collect();
        assert_eq!(shown.len() as u64, FILES - expected.len() as u64);
        for file in shown {
            assert!(!expected.contains(&file), "{file} is damaged, and shown");
            let [one, other] = lies_in(file[1..].parse().expect("a number"));
            let half = CHUNK_BYTES / 2;
            let contents = [&chunks[one as usize][half..], &chunks[other as usize][..half]].concat();
            assert!(fs::read(to.join(&file)).expect("the file") == contents, "{file} is another");
        }
    }
}
