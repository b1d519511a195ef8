//! What must stand nowhere on the nodes' disks or in their logs: contents, names from inside snapshots, their lengths,
//! unkeyed hashes (P5, N143). What must not be in logs and metrics is searched in all that a run has said (`whole.rs`).
//!
//! Names of tenants, vaults, writers and snapshots are open to nodes, and are the proof that the search finds things.

use std::fs;

use sha2::{Digest as _, Sha256};

use crate::cluster::until;
use crate::shared::{back_up, restore, shared};
use crate::trees::{self, noise};

const CANARY: &str = "canary-7f3b9a44c1d2e6-of-acme";
/// The files' lengths: as 64 bits of either order and in decimal they occur by accident once in a few million years.
const LENGTHS: [usize; 2] = [1_234_577, 876_543];

#[tokio::test(flavor = "multi_thread")]
async fn n143_no_content_no_name_no_length_and_no_unkeyed_hash_is_on_a_nodes_disk_or_in_its_log() {
    let cluster = shared();
    let source = cluster.scratch();
    let label = "label-of-the-canaries";
    // Compressible and not, alone in its extent or packed with others; in names, a link, and the text.
    let alone = noise(CANARY, LENGTHS[0]);
    let text: Vec<u8> = format!("{CANARY} in the text\n").bytes().cycle().take(LENGTHS[1]).collect();
    let short = format!("{CANARY} alone");
    fs::create_dir(source.join(format!("{CANARY}-directory"))).expect("a directory can be made");
    fs::write(source.join("alone.bin"), &alone).expect("a file can be written");
    fs::write(source.join(format!("{CANARY}-directory/{CANARY}-file")), &text).expect("a file can be written");
    fs::write(source.join("short"), &short).expect("a file can be written");
    std::os::unix::fs::symlink(format!("/nowhere/{CANARY}-target"), source.join("link")).expect("a link can be made");
    let writer = cluster.client("acme-writer").await;
    let backup = back_up(&writer, &source, "papers", label).await;
    // Once more, of the short file alone: then a chunk is a file, and its unkeyed hash would be the chunk's.
    let single = cluster.scratch();
    fs::write(single.join("single"), &short).expect("a file can be written");
    back_up(&writer, &single, "papers", label).await;
    let restorer = cluster.client("acme-restorer").await;
    let to = cluster.scratch().join("restored");
    restore(&restorer, backup.snapshot, &to).await;
    trees::assert_equal(&source, &to);

    let mut needles: Vec<(String, Vec<u8>)> = vec![
        ("the canary".into(), CANARY.into()),
        ("a file's name".into(), b"alone.bin".to_vec()),
        ("content".into(), alone[500_000..500_024].to_vec()),
        ("the first bytes".into(), alone[..24].to_vec()),
        ("the last bytes".into(), alone[LENGTHS[0] - 24..].to_vec()),
    ];
    for (what, bytes) in [("alone", &alone), ("the text", &text), ("the short one", &short.clone().into_bytes())] {
        let (blake3, sha256) = (blake3::hash(bytes), Sha256::digest(bytes));
        for (hash, value) in [("BLAKE3", blake3.as_bytes().to_vec()), ("SHA-256", sha256.to_vec())] {
            needles.push((format!("{hash} of {what} in hex"), hex::encode(&value).into_bytes()));
            needles.push((format!("{hash} of {what}"), value));
        }
    }
    for length in LENGTHS {
        needles.push((format!("{length} in decimal"), length.to_string().into_bytes()));
        needles.push((format!("{length} little-endian"), (length as u64).to_le_bytes().to_vec()));
        needles.push((format!("{length} big-endian"), (length as u64).to_be_bytes().to_vec()));
    }

    let mut searched = 0;
    let mut found_open_names = 0;
    let log = cluster.log();
    for node in &cluster.nodes {
        for file in trees::files_below(&node.data_dir) {
            assert!(!trees::path_contains(&file, CANARY.as_bytes()), "{}", file.display());
            // What goes away meanwhile is not there.
            let Ok(bytes) = fs::read(&file) else { continue };
            searched += bytes.len();
            for (what, needle) in &needles {
                let found = memchr::memmem::find(&bytes, needle);
                assert!(found.is_none(), "{} holds {what} at {found:?}", file.display());
            }
            found_open_names += usize::from(memchr::memmem::find(&bytes, label.as_bytes()).is_some());
        }
    }
    for (what, needle) in &needles {
        assert!(memchr::memmem::find(log.as_bytes(), needle).is_none(), "the log holds {what}");
    }
    assert!(LENGTHS[0] < searched, "there was something to search");
    assert!(0 < found_open_names, "the search finds what is open: the snapshot's label");
    until(|| !cluster.log().is_empty(), || "nodes log something".into());
}
