//! A restore where one member of three lies to the SDK in one of many ways, and the others do not: everything comes back,
//! byte for byte, and nobody waits for the liar.
//!
//! Not here: a node through which everything is asked (`lies.rs`), one that lies to other nodes (`false_member.rs`).

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use prost::Message as _;
use strongroom_format::id::SnapshotId;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::fetch_run_reply::What;

use crate::cluster::{Cluster, PATIENCE};
use crate::liar::{Distortion, Liar};
use crate::shared::{back_up, create_vault, restore, shared};
use crate::speaker::Person;
use crate::tenant::own_tenant;
use crate::trees::{self, noise};

/// Where a blob names the key that it is sealed under, behind the tag of its vault (`proto/FORMATS.md`).
const A_BYTE_OF_THE_KEYS_ID: usize = 30;

fn reply(what: What) -> Vec<u8> {
    pb::FetchRunReply { what: Some(what) }.encode_to_vec()
}

/// Changes what is given, and lets the rest pass.
fn spoilt(message: Vec<u8>, spoil: impl Fn(What) -> Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    match pb::FetchRunReply::decode(&message[..]).expect("an honest node's answer reads").what {
        Some(given @ (What::Blob(_) | What::Fragment(_))) => spoil(given),
        Some(What::Lost(_) | What::Stats(_)) | None => vec![message],
    }
}

fn position(given: &What) -> u32 {
    match given {
        What::Blob(blob) => blob.position,
        What::Fragment(fragment) => fragment.position,
        What::Lost(_) | What::Stats(_) => panic!("nothing is given"),
    }
}

fn altered(given: What, alter: impl Fn(&mut Vec<u8>)) -> Vec<Vec<u8>> {
    let with = |bytes: Bytes| {
        let mut bytes = bytes.to_vec();
        alter(&mut bytes);
        Bytes::from(bytes)
    };
    vec![reply(match given {
        What::Blob(pb::FetchedBlob { position, blob }) => What::Blob(pb::FetchedBlob { position, blob: with(blob) }),
        What::Fragment(pb::FetchedFragment { position, index, payload }) => {
            What::Fragment(pb::FetchedFragment { position, index, payload: with(payload) })
        }
        What::Lost(_) | What::Stats(_) => panic!("nothing is given"),
    })]
}

fn lost(position: u32, away: bool) -> Vec<u8> {
    reply(What::Lost(pb::LostBlob { position, why: "so I say".into(), away }))
}

fn lost_again_and_again(message: Vec<u8>) -> Vec<Vec<u8>> {
    spoilt(message, |given| vec![lost(position(&given), false); 20])
}

fn away_for_ever(message: Vec<u8>) -> Vec<Vec<u8>> {
    spoilt(message, |given| vec![lost(position(&given), true)])
}

fn under_a_key_that_nobody_has(message: Vec<u8>) -> Vec<Vec<u8>> {
    spoilt(message, |given| altered(given, |bytes| bytes[A_BYTE_OF_THE_KEYS_ID] ^= 1))
}

fn other_bytes(message: Vec<u8>) -> Vec<Vec<u8>> {
    spoilt(message, |given| altered(given, |bytes| *bytes.last_mut().expect("bytes") ^= 1))
}

fn shorter(message: Vec<u8>) -> Vec<Vec<u8>> {
    spoilt(message, |given| altered(given, |bytes| bytes.truncate(bytes.len() / 2)))
}

fn what_nobody_asked_for(message: Vec<u8>) -> Vec<Vec<u8>> {
    spoilt(message, |_| vec![reply(What::Blob(pb::FetchedBlob { position: 1 << 30, blob: Bytes::new() }))])
}

fn longer_than_any_message(message: Vec<u8>) -> Vec<Vec<u8>> {
    spoilt(message, |_| vec![vec![0; 17 << 20]])
}

fn nothing_that_means_anything(message: Vec<u8>) -> Vec<Vec<u8>> {
    spoilt(message, |_| vec![pb::FetchRunReply { what: None }.encode_to_vec(); 20])
}

fn nothing_at_all(message: Vec<u8>) -> Vec<Vec<u8>> {
    spoilt(message, |_| Vec::new())
}

fn an_end_at_once(message: Vec<u8>) -> Vec<Vec<u8>> {
    spoilt(message, |_| vec![reply(What::Stats(pb::FetchStats { fragments_bad: 0, blobs_rebuilt: 0 }))])
}

const LIES: [(&str, Distortion); 10] = [
    ("lost, again and again", lost_again_and_again),
    ("away for ever", away_for_ever),
    ("a key that nobody has", under_a_key_that_nobody_has),
    ("other bytes", other_bytes),
    ("shorter", shorter),
    ("what nobody asked for", what_nobody_asked_for),
    ("longer than any message", longer_than_any_message),
    ("nothing that means anything", nothing_that_means_anything),
    ("nothing at all", nothing_at_all),
    ("an end at once", an_end_at_once),
];

/// A snapshot of a tenant of its own, and where what is in it lies: small files, and so much in one file that all members are
/// asked at once for their fragments.
async fn backed_up(cluster: &Cluster, tenant: &str) -> (SnapshotId, PathBuf) {
    own_tenant(cluster, tenant).await;
    create_vault(cluster, tenant, "papers").await;
    let source = cluster.scratch();
    trees::plant(&source, tenant);
    fs::write(source.join("one large file"), noise(tenant, 5 << 20)).expect("a file can be written");
    let writer = cluster.client(&format!("{tenant}-writer")).await;
    (back_up(&writer, &source, "papers", "whole").await.snapshot, source)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_member_that_lies_about_chunks_neither_ends_nor_stalls_nor_spoils_a_restore() {
    let cluster = shared();
    let (snapshot, source) = backed_up(cluster, "lied-to").await;
    let liar = Liar::before(cluster, &Person::founder(cluster, "lied-to", "restorer").bearer).await;
    liar.is_alone();
    for (lie, distortion) in LIES {
        liar.distort("FetchRun", distortion);
        // A client that has not yet been lied to asks everybody.
        let restorer = liar.client(cluster, "lied-to-restorer").await;
        let to = cluster.scratch().join("restored");
        let restored = tokio::time::timeout(PATIENCE, restore(&restorer, snapshot, &to)).await;
        let restored = restored.unwrap_or_else(|_| panic!("{lie}: it is waited for"));
        assert!(restored.is_whole(), "{lie}: {:?}", restored.damaged);
        trees::assert_equal(&source, &to);
        assert_ne!(liar.distorted(), 0, "{lie}: it was asked, and lied");
    }
}
