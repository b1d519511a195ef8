//! REFUSALS.md, "Upload, envelope, restore", against running nodes: bytes, trees and envelopes that do not fit, sent by
//! a writer with good keys, and what restorers make of what cannot be refused.
//!
//! Most snapshots here are made by hand (`forge.rs`) in globex, which lives in one shard; acme's lie in three. Not
//! here: grants, targets, replicas that disagree.

use std::path::PathBuf;

use bytes::Bytes;
use strongroom::restore::{Occupied, Restored};
use strongroom_format::codec;
use strongroom_format::command::{Attested, Body, Command, RegisteredChunk};
use strongroom_format::envelope::PartRoot;
use strongroom_format::id::{
    BlobId, ChunkId, GroupId, PolicyVersion, SessionId, SnapshotId, TenantId, TreeId, VaultId,
};
use strongroom_format::manifest::entry::Piece;
use strongroom_format::outcome::{Done, Outcome, Refusal};
use strongroom_format::seal::{HEADER_BYTES, Kind, SealingDek, blob_id};
use strongroom_format::sign::unsigned_command;
use strongroom_format::tree::{LeafEntry, Node};
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::upload_request::What as Ask;
use tonic::Code;

use crate::cluster::{Cluster, PATIENCE};
use crate::forge::{Forge, SealedBlob, blob_message, file, file_of, upload};
use crate::inside::Inside;
use crate::shared::{back_up, create_vault, restore, shared};
use crate::speaker::{No, Speaker, Talk, no, random};
use crate::tenant::own_tenant;
use crate::trees::{self, noise};

/// What a restorer of a tenant gets of a snapshot.
async fn restored(cluster: &Cluster, tenant: &str, snapshot: SnapshotId) -> (PathBuf, Restored) {
    let to = cluster.scratch().join("restored");
    let restorer = cluster.client(&format!("{tenant}-restorer")).await;
    let restored = restore(&restorer, snapshot, &to).await;
    (to, restored)
}

/// What a restorer is refused when it wants a snapshot.
async fn restore_refused(cluster: &Cluster, tenant: &str, snapshot: SnapshotId) -> No {
    let to = cluster.scratch().join("restored");
    let restorer = cluster.client(&format!("{tenant}-restorer")).await;
    let request = strongroom::restore::RestoreRequest::new(snapshot, to.clone());
    let refused = restorer.restore(request).await.expect_err("it is refused");
    assert!(!to.exists(), "nothing is shown");
    refused.into()
}

fn damaged(restored: &Restored) -> Vec<&[u8]> {
    restored.damaged.iter().map(|file| file.path.as_slice()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn n33_bytes_with_another_hash_or_none_are_the_callers_fault_and_nothing_is_stored() {
    let cluster = shared();
    own_tenant(cluster, "n33").await;
    create_vault(cluster, "n33", "papers").await;
    let mut forge = Forge::open(cluster, "n33", "writer", "papers").await;
    let speaker = forge.talk.speaker.clone();
    let inside = Inside::of(cluster).await;
    let before = inside.held(speaker.home, speaker.tenant).await;
    let blob = forge.seal(Kind::Data, &noise("n33", 100_000));
    let mut flipped = blob.bytes.clone();
    flipped[70_000] ^= 1;
    let mut flipped_header = blob.bytes.clone();
    flipped_header[4] ^= 1;
    let mismatch = Err(no("INVALID_ARGUMENT", "HASH_MISMATCH"));
    for (what, declared, bytes) in [
        ("other bytes", blob.entry.blob.as_bytes().to_vec(), flipped),
        ("another header", blob.entry.blob.as_bytes().to_vec(), flipped_header),
        ("cut off", blob.entry.blob.as_bytes().to_vec(), blob.bytes[..99_000].to_vec()),
        ("another hash", random::<32>().to_vec(), blob.bytes.clone()),
        ("no hash", Vec::new(), blob.bytes.clone()),
        ("half a hash", blob.entry.blob.as_bytes()[..16].to_vec(), blob.bytes.clone()),
    ] {
        forge.talk.last += 1;
        let messages = vec![
            Ask::Open(forge.upload_open(speaker.home)),
            Ask::Blob(pb::UploadBlob { blob_id: declared.into(), blob: bytes.into() }),
            Ask::Submit(pb::UploadSubmit { commands: Vec::new(), register_at: 0, register_sequence: forge.talk.last }),
        ];
        assert_eq!(upload(&speaker, messages).await.map(drop).map_err(No::from), mismatch, "{what}");
    }
    assert_eq!(inside.held(speaker.home, speaker.tenant).await, before, "nothing is stored, nothing recorded");
    // Nobody but a node says that fragments are durable.
    let chunk = RegisteredChunk {
        chunk: blob.entry.chunk,
        blob: blob.entry.blob,
        stored_bytes: blob.entry.stored_bytes,
        dek: forge.dek.dek().id(),
        handed_over: Vec::new(),
        missing: Vec::new(),
    };
    let (vault, domain, lease) = (forge.statement.vault, forge.keys.domain, forge.talk.lease);
    let register = Body::RegisterChunks { lease, vault, domain, chunks: vec![chunk] };
    let refused = forge.talk.say(register).await.map(drop);
    assert_eq!(refused, Err(no("PERMISSION_DENIED", "NOT_FROM_CLIENTS")));
    assert_eq!(inside.held(speaker.home, speaker.tenant).await.usage, before.usage, "nothing is stored");
    // The stream of another upload is none the worse for it.
    assert_eq!(forge.send(speaker.home, &[blob]).await, Ok(Done::Registered { known: 0 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn n34_what_is_missing_is_listed_and_nothing_is_made() {
    let cluster = shared();
    let mut forge = Forge::open(cluster, "globex", "writer", "papers").await;
    let home = forge.talk.group;
    let sent = forge.seal(Kind::Data, &noise("n34 sent", 1000));
    let unsent = forge.seal(Kind::Data, &noise("n34 unsent", 1000));
    forge.send(home, std::slice::from_ref(&sent)).await.expect("a blob is sent");
    let lengths = [sent.plaintext_bytes, unsent.plaintext_bytes];
    let leaf = Node::leaf(&forge.keys.length_key, vec![sent.entry, unsent.entry], &lengths).expect("a leaf");
    let (vault, domain, lease) = (forge.statement.vault, forge.keys.domain, forge.talk.lease);
    let put = forge.talk.next(Body::PutNodes { lease, vault, domain, nodes: vec![codec::encode(&leaf)] });
    match refusal(&forge.talk, &put).await {
        Refusal::ManifestMismatch { missing_chunks, missing_nodes, .. } => {
            let listed: Vec<(ChunkId, BlobId)> = missing_chunks.iter().map(|one| (one.chunk, one.blob)).collect();
            assert_eq!(listed, [(unsent.entry.chunk, unsent.entry.blob)]);
            assert_eq!(missing_nodes, []);
        }
        other => panic!("another refusal: {other:?}"),
    }
    // A stored length that is not the blob's.
    let other_length = LeafEntry { stored_bytes: sent.entry.stored_bytes - 1, ..sent.entry };
    let leaf = Node::leaf(&forge.keys.length_key, vec![other_length], &[1000]).expect("a leaf");
    let mismatch = Err(no("FAILED_PRECONDITION", "MANIFEST_MISMATCH"));
    assert_eq!(forge.put(home, vec![codec::encode(&leaf)]).await.map(drop), mismatch.clone());
    // A root that nobody has put.
    let root = TreeId::from_bytes(random());
    let seal = forge.talk.next(Body::SealPart { snapshot: forge.snapshot, roots: vec![root], records: Vec::new() });
    match refusal(&forge.talk, &seal).await {
        Refusal::ManifestMismatch { missing_nodes, .. } => assert_eq!(missing_nodes, [root]),
        other => panic!("another refusal: {other:?}"),
    }
    // A commit before any part is sealed.
    let trees = forge.store(&[vec![sent]], &[file("a", &noise("n34 sent", 1000), 0)]).await.expect("stored");
    let envelope = forge.envelope(&trees);
    assert_eq!(forge.commit(&envelope, Vec::new()).await.map(drop), mismatch);
}

async fn refusal(talk: &Talk, command: &Command) -> Refusal {
    let outcomes = talk.speaker.submit(talk.group, &[talk.speaker.signed(command)]).await.expect("an outcome");
    match &outcomes[..] {
        [Outcome::Refused(refusal)] => refusal.clone(),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n34_a_commit_with_wrong_counts_roots_or_parts_makes_nothing() {
    let cluster = shared();
    let mut forge = Forge::open(cluster, "acme", "writer", "papers").await;
    let home = forge.talk.group;
    let contents: Vec<Vec<u8>> = (0..12).map(|number| noise(&format!("n34 {number}"), 500)).collect();
    let runs: Vec<Vec<SealedBlob>> = contents.iter().map(|bytes| vec![forge.seal(Kind::Data, bytes)]).collect();
    let entries = [file("all", &contents.concat(), 0)];
    let trees = forge.store(&runs, &entries).await.expect("everything is stored");
    let good = forge.envelope(&trees);
    let sealed = forge.seal_parts(&good).await.expect("the parts are sealed");
    assert_eq!(sealed.len(), 2, "acme lives in three shards");
    let mismatch = Err(no("FAILED_PRECONDITION", "MANIFEST_MISMATCH"));
    let absent = TreeId::from_bytes(random());
    type Change = fn(&mut PartRoot, TreeId);
    let changes: [(&str, Change); 3] = [
        ("bytes", |part, _| part.stored_bytes += 1),
        ("references", |part, _| part.chunk_refs += 1),
        ("root", |part, absent| part.root = Some(absent)),
    ];
    for (what, change) in changes {
        for at in 0..good.parts.len() {
            if good.parts[at].root.is_some() {
                let mut envelope = good.clone();
                change(&mut envelope.parts[at], absent);
                let envelope = envelope.with_mac(&forge.keys.sender_key);
                assert_eq!(forge.commit(&envelope, sealed.clone()).await.map(drop), mismatch, "{what} of part {at}");
            }
        }
    }
    let mut envelope = good.clone();
    envelope.manifest.chunk_refs += 1;
    assert_eq!(forge.commit(&envelope, sealed.clone()).await.map(drop), mismatch, "the manifest's count");
    let mut envelope = good.clone();
    envelope.manifest.root = absent;
    assert_eq!(forge.commit(&envelope, sealed.clone()).await.map(drop), mismatch, "the manifest's root");
    // Parts missing, twice, in another order, of a shard that was not opened.
    let twice = vec![sealed[0].clone(), sealed[0].clone(), sealed[1].clone()];
    let turned = vec![sealed[1].clone(), sealed[0].clone()];
    let mut strange = sealed.clone();
    strange[1].value.group = GroupId(77);
    for (what, parts) in [
        ("no part", Vec::new()),
        ("one part", vec![sealed[0].clone()]),
        ("a part twice", twice),
        ("another order", turned),
        ("a strange shard", strange),
    ] {
        assert_eq!(forge.commit(&good, parts).await.map(drop), mismatch, "{what}");
    }
    let mut stolen: Vec<Attested<_>> = sealed.clone();
    stolen[0].value.snapshot = SnapshotId::from_bytes(random());
    assert_eq!(forge.commit(&good, stolen).await.map(drop), mismatch, "another snapshot's part");
    let listed = cluster.client("acme-restorer").await.snapshots(None).await.expect("a list");
    assert!(listed.iter().all(|one| one.id != forge.snapshot), "no commit was done");
    // All that was refused has spoilt nothing.
    forge.commit(&good, sealed).await.expect("the good one is committed");
    let (to, whole) = restored(cluster, "acme", forge.snapshot).await;
    assert!(whole.is_whole());
    assert_eq!(std::fs::read(to.join("all")).expect("the file"), contents.concat());
    assert_eq!(home, forge.talk.speaker.home);
}

#[tokio::test(flavor = "multi_thread")]
async fn n35_n48_an_envelope_of_another_tenant_vault_writer_or_policy_is_refused() {
    let cluster = shared();
    let mut forge = Forge::open(cluster, "globex", "writer", "papers").await;
    let trees = forge.store(&[], &[]).await.expect("an empty snapshot is stored");
    let good = forge.envelope(&trees);
    let sealed = forge.seal_parts(&good).await.expect("the part is sealed");
    let foreign = no("PERMISSION_DENIED", "FOREIGN_TENANT");
    let mut envelope = good.clone();
    envelope.tenant = TenantId::from_bytes(random());
    assert_eq!(forge.commit(&envelope, sealed.clone()).await, Err(foreign.clone()));
    let ledgers = Forge::prepare(cluster, "globex", "writer", "ledgers").await.statement.vault;
    for vault in [ledgers, VaultId::from_bytes(random())] {
        let mut envelope = good.clone();
        envelope.vault = vault;
        assert_eq!(forge.commit(&envelope, sealed.clone()).await, Err(foreign.clone()));
    }
    let mut envelope = good.clone();
    envelope.policy_version = PolicyVersion(7);
    assert_eq!(forge.commit(&envelope, sealed.clone()).await, Err(no("FAILED_PRECONDITION", "POLICY_MISMATCH")));
    let mut envelope = good.clone();
    envelope.parent = Some(SnapshotId::from_bytes(random()));
    assert_eq!(forge.commit(&envelope, sealed.clone()).await, Err(no("FAILED_PRECONDITION", "ORPHANED")));
    forge.commit(&good, sealed).await.expect("the good one is committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn n36_unknown_versions_and_suites_are_refused_and_never_guessed() {
    let cluster = shared();
    let mut forge = Forge::open(cluster, "globex", "writer", "papers").await;
    let speaker = forge.talk.speaker.clone();
    let unsupported = no("INVALID_ARGUMENT", "UNSUPPORTED_FORMAT");
    // Commands.
    let good = codec::encode(&speaker.signed(&speaker.opening(0)));
    for (version, refused) in [(0, &unsupported), (2, &unsupported), (255, &unsupported)] {
        let mut bytes = good.clone();
        bytes[0] = version;
        let request = pb::SubmitRequest { group: speaker.home.0, commands: vec![bytes.into()] };
        let answer = speaker.vaults.clone().submit(request).await.map(drop).map_err(No::from);
        assert_eq!(answer, Err(refused.clone()), "version {version}");
    }
    let mut inner = codec::encode(&speaker.opening(0));
    inner[0] = 9;
    let signature = Some(speaker.person.signing.sign("command", &inner));
    let outer = strongroom_format::command::SignedCommand { command: inner, signature };
    let request = pb::SubmitRequest { group: speaker.home.0, commands: vec![codec::encode(&outer).into()] };
    let answer = speaker.vaults.clone().submit(request).await.map(drop).map_err(No::from);
    assert_eq!(answer, Err(unsupported.clone()));
    for bytes in [Vec::new(), b"{}".to_vec(), good[1..].to_vec(), [&good[..], b"rest"].concat()] {
        let request = pb::SubmitRequest { group: speaker.home.0, commands: vec![bytes.into()] };
        let answer = speaker.vaults.clone().submit(request).await.map_err(No::from).map(drop);
        assert_eq!(answer.expect_err("no command").code, "INVALID_ARGUMENT");
    }
    // Blobs, with their right hashes: another version, an unknown suite, an open one in place of a sealed one, an
    // unknown kind, no header.
    let blob = forge.seal(Kind::Data, &noise("n36", 5000)).bytes;
    let altered = |at: usize, value: u8| {
        let mut bytes = blob.clone();
        bytes[at] = value;
        bytes
    };
    for bytes in [
        altered(4, 0),
        altered(4, 2),
        altered(5, 2),
        altered(5, 0),
        altered(6, 9),
        altered(7, 1),
        altered(0, b'X'),
        blob[HEADER_BYTES..].to_vec(),
        blob[..HEADER_BYTES - 1].to_vec(),
    ] {
        let messages = vec![Ask::Open(forge.upload_open(speaker.home)), blob_message(&blob_id(&bytes), &bytes)];
        let answer = upload(&speaker, messages).await.map(drop).map_err(No::from);
        assert_eq!(answer, Err(unsupported.clone()), "{:?}", &bytes[..8.min(bytes.len())]);
    }
    // A tree node, an envelope, a statement with an unknown suite.
    let node = Node::leaf(&forge.keys.length_key, Vec::new(), &[]).expect("an empty leaf");
    let mut node = codec::encode(&node);
    node[0] = 2;
    assert_eq!(forge.put(speaker.home, vec![node]).await, Err(unsupported.clone()));
    let trees = forge.store(&[], &[]).await.expect("an empty snapshot is stored");
    let envelope = forge.envelope(&trees);
    let sealed = forge.seal_parts(&envelope).await.expect("the part is sealed");
    let signed = strongroom_format::sign::Signed::new(&envelope, &speaker.person.signing).expect("an envelope");
    let mut bytes = codec::encode(&signed);
    bytes[0] = 2;
    let commit = Body::CommitSnapshot { envelope: bytes, sealed };
    assert_eq!(forge.talk.say(commit).await, Err(unsupported.clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn n37_what_is_there_is_never_overwritten() {
    let cluster = shared();
    let contents = noise("n37", 3000);
    let mut forge = Forge::open(cluster, "globex", "writer", "papers").await;
    let home = forge.talk.group;
    let blob = forge.seal(Kind::Data, &contents);
    let first = forge.write(&[vec![blob.clone()]], &[file("a", &contents, 0)]).await;
    let immutable = Err(no("ALREADY_EXISTS", "IMMUTABLE"));

    // A snapshot's id again: by its writer, in another vault, by another session.
    for vault in ["papers", "ledgers"] {
        let mut again = Forge::prepare(cluster, "globex", "writer", vault).await;
        again.snapshot = first;
        assert_eq!(again.open_snapshot().await.map(drop), immutable.clone(), "{vault}");
    }
    // Nor is it committed, sealed or aborted once more.
    let trees = crate::forge::Trees {
        contents: Default::default(),
        manifest: strongroom_format::tree::Root {
            id: TreeId::from_bytes(random()),
            totals: Default::default(),
            plaintext_bytes: 0,
        },
    };
    let envelope = forge.envelope(&trees);
    assert_eq!(forge.commit(&envelope, Vec::new()).await.map(drop), immutable.clone());
    assert_eq!(forge.talk.say(Body::AbortSnapshot { snapshot: first }).await.map(drop), immutable.clone());
    let seal = Body::SealPart { snapshot: first, roots: Vec::new(), records: Vec::new() };
    assert_eq!(forge.talk.say(seal).await.map(drop), immutable);

    // A blob and a node that are there are known, and change nothing.
    let mut next = Forge::open(cluster, "globex", "writer", "papers").await;
    assert_eq!(next.send(home, std::slice::from_ref(&blob)).await, Ok(Done::Registered { known: 1 }));
    let leaf = Node::leaf(&next.keys.length_key, vec![blob.entry], &[blob.plaintext_bytes]).expect("a leaf");
    assert_eq!(next.put(home, vec![codec::encode(&leaf)]).await, Ok(Done::NodesPut { known: 1 }));

    // A second blob under a known chunk id is kept beside the first; each snapshot means its own.
    let second = next.seal(Kind::Data, &contents);
    assert_eq!((second.entry.chunk, second.entry.blob == blob.entry.blob), (blob.entry.chunk, false));
    let second = next.write(&[vec![second]], &[file("b", &contents, 0)]).await;
    for (snapshot, name) in [(first, "a"), (second, "b")] {
        let (to, whole) = restored(cluster, "globex", snapshot).await;
        assert!(whole.is_whole());
        assert_eq!(std::fs::read(to.join(name)).expect("the file"), contents);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n40_positions_past_the_end_negative_or_twice_are_out_of_range() {
    let cluster = shared();
    let mut forge = Forge::open(cluster, "globex", "writer", "papers").await;
    let contents: Vec<Vec<u8>> = (0..3).map(|number| noise(&format!("n40 {number}"), 700)).collect();
    let run: Vec<SealedBlob> = contents.iter().map(|bytes| forge.seal(Kind::Data, bytes)).collect();
    let leaf = Node::leaf(
        &forge.keys.length_key,
        run.iter().map(|blob| blob.entry).collect(),
        &run.iter().map(|blob| blob.plaintext_bytes).collect::<Vec<_>>(),
    )
    .expect("a leaf");
    let snapshot = forge.write(&[run], &[file("a", &contents.concat(), 0)]).await;
    let restorer = Speaker::founder(cluster, "globex", "restorer").await;
    let mut talk = restorer.talk(0).await;
    let open = Body::OpenRestore { snapshots: vec![snapshot], purpose: "n40".into(), lifetime_ms: 600_000 };
    let Ok(Done::RestoreOpened { restore, .. }) = talk.say(open).await else { panic!("no restore session") };
    let request = |positions: &[u32]| pb::FetchRunRequest {
        group: restorer.home.0,
        restore: restore.0,
        vault: Bytes::copy_from_slice(forge.statement.vault.as_bytes()),
        domain: Bytes::copy_from_slice(forge.keys.domain.as_bytes()),
        leaf: Bytes::copy_from_slice(strongroom_format::tree::tree_id(&codec::encode(&leaf)).as_bytes()),
        positions: positions.to_vec(),
        fragments: false,
    };
    let fetch = async |request: pb::FetchRunRequest| -> Result<usize, No> {
        use pb::fetch_run_reply::What;
        let fragments = request.fragments;
        let mut stream = restorer.vaults.clone().fetch_run(request).await?.into_inner();
        let mut blobs = 0;
        while let Some(message) = stream.message().await? {
            blobs += match message.what {
                Some(What::Blob(_)) => usize::from(!fragments),
                Some(What::Fragment(_)) => usize::from(fragments),
                Some(What::Lost(_) | What::Stats(_)) | None => 0,
            };
        }
        Ok(blobs)
    };
    // Fragments come out through the same gate as blobs.
    for fragments in [false, true] {
        let request = |positions: &[u32]| pb::FetchRunRequest { fragments, ..request(positions) };
        assert_eq!(fetch(request(&[])).await, Ok(3));
        assert_eq!(fetch(request(&[0, 2])).await, Ok(2));
        for positions in [&[3][..], &[0, 1, 2, 3], &[u32::MAX], &[(-1_i32) as u32], &[1, 1], &[2, 1], &[0, 0, 0]] {
            assert_eq!(fetch(request(positions)).await, Err(no("OUT_OF_RANGE", "OUT_OF_RANGE")), "{positions:?}");
        }
        // A session that is not this caller's, or none, gives nothing.
        for restore in [0, restore.0 + 1, u64::MAX] {
            let refused = fetch(pb::FetchRunRequest { restore, ..request(&[]) }).await;
            assert_eq!(refused, Err(no("NOT_FOUND", "NOT_FOUND")), "{}", SessionId(restore));
        }
        // Nor does a run, vault or domain that it does not pin.
        let other = Bytes::from_static(&[9; 32]);
        for foreign in [
            pb::FetchRunRequest { leaf: other.clone(), ..request(&[]) },
            pb::FetchRunRequest { vault: other.slice(..16), ..request(&[]) },
            pb::FetchRunRequest { domain: other.slice(..forge.keys.domain.as_bytes().len()), ..request(&[]) },
        ] {
            assert_eq!(fetch(foreign).await, Err(no("NOT_FOUND", "NOT_FOUND")));
        }
    }
    // A file's piece that lies outside of what is there.
    let mut forge = Forge::open(cluster, "globex", "writer", "papers").await;
    let run = vec![forge.seal(Kind::Data, &contents[0])];
    let past_the_end = Piece { first: 0, offset: 0, length: 701 };
    let snapshot = forge.write(&[run], &[file_of("a", &contents[0], vec![past_the_end])]).await;
    assert_eq!(restore_refused(cluster, "globex", snapshot).await, no("DATA_LOSS", "OUT_OF_RANGE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn n41_a_good_blob_of_another_vault_does_not_open_and_costs_its_files_only() {
    let cluster = shared();
    let contents = noise("n41", 4000);
    let ledgers = Forge::prepare(cluster, "globex", "writer", "ledgers").await;
    let elsewhere = ledgers.seal(Kind::Data, &contents);
    let mut forge = Forge::open(cluster, "globex", "writer", "papers").await;
    let here = forge.seal(Kind::Data, &contents);
    // It is put in place of the chunk: its header says what nodes and leaf expect, the rest is the other vault's.
    let mut put_in_place = elsewhere.bytes.clone();
    put_in_place[..72].copy_from_slice(&here.bytes[..72]);
    let spoilt = here.with_bytes(put_in_place);
    let good = forge.seal(Kind::Data, &noise("n41 good", 900));
    let entries = [file("bad", &contents, 0), file("good", &noise("n41 good", 900), 1)];
    let snapshot = forge.write(&[vec![spoilt, good]], &entries).await;
    let (to, part) = restored(cluster, "globex", snapshot).await;
    assert_eq!(damaged(&part), [b"bad"]);
    assert!(part.damaged[0].why.contains("commitment"), "{}", part.damaged[0].why);
    assert!(!to.join("bad").exists(), "it is left out");
    assert_eq!(std::fs::read(to.join("good")).expect("the other file"), noise("n41 good", 900));
    assert_eq!(part.files, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn n52_a_blob_that_is_committed_to_another_key_opens_for_nobody_and_costs_its_files_only() {
    /// Where the commitment stands in a blob's header.
    const COMMITMENT: std::ops::Range<usize> = 104..HEADER_BYTES;
    let cluster = shared();
    let contents = noise("n52", 4000);
    let mut forge = Forge::open(cluster, "globex", "writer", "papers").await;
    // Two keys under one name, of which restorers can have one.
    let own = forge.seal(Kind::Data, &contents);
    let second = SealingDek::new(forge.dek.dek().id(), random()).expect("a good key");
    let first = std::mem::replace(&mut forge.dek, second);
    let of_second = forge.seal(Kind::Data, &noise("n52 second", 4000));
    forge.dek = first;
    // The ciphertext of the one key, committed to the other: it would open, if nobody asked what it is committed to.
    let crossed = own.clone().with_bytes({
        let mut bytes = own.bytes.clone();
        bytes[COMMITMENT].copy_from_slice(&of_second.bytes[COMMITMENT]);
        bytes
    });
    let good = forge.seal(Kind::Data, &noise("n52 good", 900));
    let entries = [
        file("crossed", &contents, 0),
        file("good", &noise("n52 good", 900), 2),
        file("second", &noise("n52 second", 4000), 1),
    ];
    let snapshot = forge.write(&[vec![crossed, of_second, good]], &entries).await;
    let (to, part) = restored(cluster, "globex", snapshot).await;
    assert_eq!(damaged(&part), [&b"crossed"[..], b"second"]);
    for file in &part.damaged {
        assert!(file.why.contains("commitment"), "{}", file.why);
    }
    assert_eq!(trees::files_below(&to).len(), 1, "nothing else is shown");
    assert_eq!(std::fs::read(to.join("good")).expect("the good one"), noise("n52 good", 900));
}

#[tokio::test(flavor = "multi_thread")]
async fn n42_chunks_reordered_truncated_or_repeated_are_found() {
    let cluster = shared();
    let contents: Vec<Vec<u8>> = (0..3).map(|number| noise(&format!("n42 {number}"), 800)).collect();
    let whole = contents.concat();
    let piece = |first| Piece { first, offset: 0, length: 800 };
    let mut forge = Forge::open(cluster, "globex", "writer", "papers").await;
    let run: Vec<SealedBlob> = contents.iter().map(|bytes| forge.seal(Kind::Data, bytes)).collect();
    let entries = [
        file_of("cut", &whole, vec![piece(0), piece(1)]),
        file_of("repeated", &whole, vec![piece(0), piece(1), piece(1)]),
        file_of("turned", &whole, vec![piece(0), piece(2), piece(1)]),
        file_of("whole", &whole, vec![piece(0), piece(1), piece(2)]),
    ];
    let snapshot = forge.write(&[run], &entries).await;
    let (to, part) = restored(cluster, "globex", snapshot).await;
    assert_eq!(damaged(&part), [&b"cut"[..], b"repeated", b"turned"]);
    assert_eq!(trees::files_below(&to).len(), 1, "nothing else is shown");
    assert_eq!(std::fs::read(to.join("whole")).expect("the whole one"), whole);

    // A manifest that counts other chunks than the shard holds.
    let mut forge = Forge::open(cluster, "globex", "writer", "papers").await;
    let runs: Vec<Vec<SealedBlob>> = vec![contents.iter().map(|bytes| forge.seal(Kind::Data, bytes)).collect()];
    let trees = forge.store(&runs, &[file("a", &whole, 0)]).await.expect("stored");
    let two = forge.store(&[runs[0][..2].to_vec()], &[]).await.expect("stored");
    let mixed = crate::forge::Trees { contents: two.contents, manifest: trees.manifest };
    let envelope = forge.envelope(&mixed);
    let sealed = forge.seal_parts(&envelope).await.expect("the part is sealed");
    forge.commit(&envelope, sealed).await.expect("nodes cannot read manifests");
    assert_eq!(restore_refused(cluster, "globex", forge.snapshot).await, no("DATA_LOSS", "MANIFEST_MISMATCH"));
}

#[tokio::test(flavor = "multi_thread")]
async fn n46_a_run_in_a_shard_in_which_it_does_not_belong_is_not_restored() {
    let cluster = shared();
    let mut forge = Forge::open(cluster, "acme", "writer", "papers").await;
    let contents = noise("n46", 600);
    let run = vec![forge.seal(Kind::Data, &contents)];
    let honest = forge.shard_of(&run);
    let wrong = *forge.talk.speaker.set.iter().find(|group| **group != honest).expect("there are three");
    let trees = forge.store_placed(&[(wrong, &run)], &[file("a", &contents, 0)]).await.expect("nodes place nothing");
    let envelope = forge.envelope(&trees);
    let sealed = forge.seal_parts(&envelope).await.expect("the parts are sealed");
    forge.commit(&envelope, sealed).await.expect("nodes cannot compute placements");
    assert_eq!(restore_refused(cluster, "acme", forge.snapshot).await, no("DATA_LOSS", "PLACEMENT_MISMATCH"));
}

#[tokio::test(flavor = "multi_thread")]
async fn n16_labels_with_control_characters_are_no_labels() {
    let cluster = shared();
    let mut forge = Forge::prepare(cluster, "globex", "writer", "papers").await;
    let opening = forge.opening();
    let command = forge.talk.next(Body::OpenSnapshot(opening));
    let label = command_label(&command);
    let mut bytes = codec::encode(&command);
    let at = memchr::memmem::find(&bytes, label.as_bytes()).expect("the label stands in the command");
    for control in [0, b'\n', 0x7f] {
        bytes[at + 3] = control;
        let signed = strongroom_format::command::SignedCommand {
            signature: Some(forge.talk.speaker.person.signing.sign("command", &bytes)),
            command: bytes.clone(),
        };
        let refused = forge.talk.speaker.submit(forge.talk.group, &[signed]).await.expect_err("no label");
        assert_eq!((refused.code(), No::from(refused).reason.as_str()), (Code::InvalidArgument, "INVALID"));
    }
}

fn command_label(command: &Command) -> String {
    match &command.body {
        Body::OpenSnapshot(open) => open.label.to_string(),
        other => panic!("another command: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_given_to_who_sees_the_snapshot_and_an_unsigned_decision_to_nobody() {
    let cluster = shared();
    let source = cluster.scratch();
    trees::plant(&source, "receipt");
    let writer = cluster.client("globex-writer").await;
    let backup = back_up(&writer, &source, "papers", "receipt").await;
    let request =
        || pb::GetReceiptRequest { snapshot: Bytes::copy_from_slice(backup.snapshot.as_bytes()), old_size: 0 };
    for role in ["writer", "restorer", "administrator"] {
        let mut vaults = Speaker::founder(cluster, "globex", role).await.vaults;
        let receipt = vaults.get_receipt(request()).await.expect("a receipt").into_inner().receipt;
        let _read: strongroom_format::receipt::Receipt = codec::decode(&receipt).expect("it reads");
    }
    let speaker = Speaker::founder(cluster, "globex", "writer").await;
    let unsigned = unsigned_command(&speaker.opening(0));
    assert_eq!(speaker.say(speaker.home, unsigned).await, Err(no("PERMISSION_DENIED", "SIGNATURE")));
}

/// Each file of a mebibyte or more holds a block of the client's memory while it waits to be sent: a backup that keeps
/// back what it has read must let go before the reader starves.
#[tokio::test(flavor = "multi_thread")]
async fn a_few_files_of_a_mebibyte_are_backed_up_and_come_back() {
    let cluster = shared();
    let source = cluster.scratch();
    for number in 0..6 {
        std::fs::write(source.join(format!("{number}")), trees::noise(&format!("mebibyte {number}"), 1_100_000))
            .expect("a file is written");
    }
    let writer = cluster.client("globex-writer").await;
    let backup = tokio::time::timeout(2 * PATIENCE, back_up(&writer, &source, "papers", "mebibytes"));
    let backup = backup.await.expect("the backup ends");
    let restorer = cluster.client("globex-restorer").await;
    let to = cluster.scratch().join("back");
    restore(&restorer, backup.snapshot, &to).await;
    trees::assert_equal(&source, &to);
}

#[tokio::test(flavor = "multi_thread")]
async fn n39_nothing_is_restored_through_links_over_others_files_or_into_another_tenants_directory() {
    let cluster = shared();
    let source = cluster.scratch();
    trees::plant(&source, "n39");
    let mut snapshots = Vec::new();
    for tenant in ["acme", "globex"] {
        let writer = cluster.client(&format!("{tenant}-writer")).await;
        snapshots.push(back_up(&writer, &source, "papers", "n39").await.snapshot);
    }
    let home = cluster.scratch();
    let outside = home.join("outside");
    std::fs::create_dir(&outside).expect("a directory can be made");
    let links = [("to-directory", outside.clone()), ("dangling", home.join("nowhere"))];
    for (name, target) in &links {
        std::os::unix::fs::symlink(target, home.join(name)).expect("a link can be made");
    }
    std::fs::write(home.join("file"), "mine").expect("a file can be written");
    std::fs::create_dir(home.join("full")).expect("a directory can be made");
    std::fs::write(home.join("full/mine"), "mine").expect("a file can be written");
    let restorer = cluster.client("acme-restorer").await;
    let into = async |snapshot: SnapshotId, to: PathBuf, occupied: Occupied| {
        let request =
            strongroom::restore::RestoreRequest { occupied, ..strongroom::restore::RestoreRequest::new(snapshot, to) };
        restorer.restore(request).await.map(drop).map_err(No::from)
    };
    let mismatch = Err(no("FAILED_PRECONDITION", "TARGET_MISMATCH"));
    for target in ["to-directory", "dangling", "file", "full", "/"] {
        let refused = into(snapshots[0], home.join(target), Occupied::Refused).await;
        assert_eq!(refused, mismatch, "{target}");
    }
    for target in ["to-directory", "dangling", "file"] {
        let refused = into(snapshots[0], home.join(target), Occupied::Merged).await;
        assert_eq!(refused, mismatch, "merged into {target}");
    }
    assert_eq!(trees::files_below(&outside).len() + trees::files_below(&home.join("full")).len(), 1, "nothing came");
    assert_eq!(std::fs::read_to_string(home.join("file")).expect("a file"), "mine");
    assert!(!home.join("nowhere").exists());
    // What was restored for globex is globex's, also where the other tenant would merge.
    let globexs = home.join("globexs");
    restore(&cluster.client("globex-restorer").await, snapshots[1], &globexs).await;
    for occupied in [Occupied::Refused, Occupied::Merged] {
        assert_eq!(into(snapshots[0], globexs.clone(), occupied).await, mismatch, "{occupied:?}");
    }
    trees::assert_equal(&source, &globexs);
}
