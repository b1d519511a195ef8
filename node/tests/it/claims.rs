//! REFUSALS.md, "Claims that nobody may make alone", against running nodes: signatures, domains, tree nodes, spoilt
//! chunks, manifests, statements and keys.
//!
//! N102 and N103 are in `identity_and_tls.rs`. N112 cannot be shown from outside: it stands where the SDK seals
//! (`client/src/backup/sealer.rs`); so do the other halves of N114 and N115 (`proto/format`).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use strongroom::keyring;
use strongroom::restore::{Lacking, RestoreRequest};
use strongroom::snapshots::SnapshotName;
use strongroom::vaults::NewVault;
use strongroom_format::codec;
use strongroom_format::command::{Attested, Body, Command, Opened, SignedCommand};
use strongroom_format::id::{ClusterEpoch, DomainId, GroupId, SnapshotId, StatementVersion, VaultId};
use strongroom_format::keys::SenderKey;
use strongroom_format::manifest::entry::{Access, Content, Device, Owner, Piece};
use strongroom_format::manifest::holes::Hole;
use strongroom_format::manifest::xattr::{RESTORE_MARK, Xattr};
use strongroom_format::outcome::Done;
use strongroom_format::seal::Kind;
use strongroom_format::sign::{Signed, SigningKey, sign_command, unsigned_command};
use strongroom_format::tree::{Child, FANOUT_MAX, HEIGHT_MAX, Node, Totals, tree_id};
use strongroom_format::wrap::DekWrap;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::upload_request::What as Ask;

use crate::forge::{Forge, entry, file, file_of, upload};
use crate::inside::Inside;
use crate::shared::{back_up, client_with, profile_of, quiet, request, restore, shared};
use crate::speaker::{No, Speaker, no, patiently, random};
use crate::tenant::own_tenant;
use crate::trees::{self, noise};

#[tokio::test(flavor = "multi_thread")]
async fn n107_a_deciding_command_without_its_own_signature_does_nothing() {
    let cluster = shared();
    own_tenant(cluster, "n107").await;
    let speaker = Speaker::founder(cluster, "n107", "writer").await;
    let admin = Speaker::founder(cluster, "n107", "administrator").await;
    let talk = admin.talk(0).await;
    let inside = Inside::of(cluster).await;
    let before = inside.held(speaker.home, speaker.tenant).await;
    let refused = Err(no("PERMISSION_DENIED", "SIGNATURE"));
    let opening = speaker.opening(0);
    let foreign = Speaker::founder(cluster, "globex", "writer").await.person.signing;
    let stranger = SigningKey::from_secret(random()).expect("a good key");
    let good = speaker.signed(&opening);
    let mut altered = good.clone();
    let other = Command { body: Body::OpenSession { nonce: random_nonce(), budget_bytes: 1 << 20 }, ..opening.clone() };
    altered.command = codec::encode(&other);
    let mut flipped = good.clone();
    if let Some(signature) = &mut flipped.signature {
        signature.0[40] ^= 1;
    }
    let as_operator = SignedCommand {
        signature: Some(speaker.person.signing.sign("operator command", &good.command)),
        command: good.command.clone(),
    };
    for (what, command) in [
        ("none", unsigned_command(&opening)),
        ("another tenant's", sign_command(&opening, &foreign)),
        ("a stranger's", sign_command(&opening, &stranger)),
        ("another identity's", sign_command(&opening, &admin.person.signing)),
        ("of another command", altered),
        ("flipped", flipped),
        ("of another kind", as_operator),
    ] {
        assert_eq!(speaker.say(speaker.home, command).await, refused, "{what}");
    }
    // Inside an open session too; and a signature where none belongs is none.
    let mut talk = talk.clone();
    let close = talk.next(Body::CloseIdentity { identity: "writer".parse().expect("a name"), reason: "theft".into() });
    assert_eq!(admin.say(talk.group, unsigned_command(&close)).await, refused);
    assert_eq!(admin.say(talk.group, sign_command(&close, &speaker.person.signing)).await, refused);
    let ask = talk.next(Body::Ask { sequence: 1 });
    assert_eq!(admin.say(talk.group, sign_command(&ask, &admin.person.signing)).await, refused);
    // Who signs is not who is named: the door knows the caller, the rules know the key.
    let named = Command { principal: admin.person.identity.clone(), ..opening };
    let refused = speaker.say(speaker.home, admin.signed(&named)).await;
    assert_eq!(refused, Err(no("PERMISSION_DENIED", "FOREIGN_PRINCIPAL")));
    assert_eq!(inside.held(speaker.home, speaker.tenant).await, before, "what nobody signed leaves no trace");
}

fn random_nonce() -> strongroom_format::id::Nonce {
    strongroom_format::id::Nonce::from_bytes(random())
}

#[tokio::test(flavor = "multi_thread")]
async fn n108_a_replayed_command_is_remembered_or_refused_and_never_done_twice() {
    let cluster = shared();
    let admin = Speaker::founder(cluster, "acme", "administrator").await;
    let opening = admin.signed(&admin.opening(0));
    let first = admin.say(admin.home, opening.clone()).await.expect("a session opens");
    assert_eq!(admin.say(admin.home, opening).await, Ok(first), "the same session");

    let mut talk = admin.talk(0).await;
    let enrolment = |id: &str| Body::EnrolIdentity {
        identity: id.parse().expect("a name"),
        roles: vec![strongroom_format::role::Role::Auditor],
        signing_key: SigningKey::from_secret(random()).expect("a good key").public_key(),
        locks: None,
        approvals: Vec::new(),
    };
    let command = talk.next(enrolment("n108"));
    let signed = admin.signed(&command);
    assert_eq!(admin.say(talk.group, signed.clone()).await, Ok(Done::Done));
    for _ in 0..3 {
        assert_eq!(admin.say(talk.group, signed.clone()).await, Ok(Done::Done), "the remembered outcome");
    }
    assert_eq!(talk.say(enrolment("n108")).await, Err(no("ALREADY_EXISTS", "IDENTITY_TAKEN")), "it was done once");

    // A number stands for one command: another under it gets the first one's outcome and is not executed.
    let other = Command { body: enrolment("n108-other"), ..command.clone() };
    assert_eq!(admin.say(talk.group, admin.signed(&other)).await, Ok(Done::Done));
    assert_eq!(talk.say(enrolment("n108-other")).await, Ok(Done::Done), "it was not executed before");

    // In another shard, group or epoch; the envelope of the call does not matter.
    let wrong_group = no("FAILED_PRECONDITION", "WRONG_GROUP");
    for group in (1..=3).map(GroupId).filter(|group| *group != talk.group) {
        assert_eq!(admin.say(group, signed.clone()).await, Err(wrong_group.clone()), "group {group}");
        let there = Command { group, ..admin.opening(0) };
        assert_eq!(admin.say(group, admin.signed(&there)).await, Err(wrong_group.clone()), "no session but at home");
    }
    let epoch = ClusterEpoch::from_bytes(random());
    let elsewhere = Command { cluster: epoch, ..admin.opening(0) };
    assert_eq!(admin.say(admin.home, admin.signed(&elsewhere)).await, Err(wrong_group));

    // What was asked about before it was applied never is.
    let late = talk.next(enrolment("n108-late"));
    assert_eq!(talk.say(Body::Ask { sequence: late.sequence }).await, Ok(Done::NeverApplied));
    assert_eq!(admin.say(talk.group, admin.signed(&late)).await, Err(no("ABORTED", "WITHDRAWN")));
}

#[tokio::test(flavor = "multi_thread")]
async fn n109_what_is_in_another_domain_is_as_if_absent() {
    let cluster = shared();
    let contents = noise("n109", 2000);
    let mut owner = Forge::open(cluster, "acme", "writer", "papers").await;
    let blob = owner.seal(Kind::Data, &contents);
    let group = owner.shard_of(std::slice::from_ref(&blob));
    let leaf = Node::leaf(&owner.keys.length_key, vec![blob.entry], &[blob.plaintext_bytes]).expect("a leaf");
    let node = tree_id(&codec::encode(&leaf));
    owner.write(&[vec![blob.clone()]], &[file("a", &contents, 0)]).await;
    let not_found = no("NOT_FOUND", "NOT_FOUND");

    let mut second = Forge::open(cluster, "acme", "second", "papers").await;
    let which = async |forge: &Forge, domain: DomainId| -> Result<pb::WhichReply, No> {
        let request = pb::WhichRequest {
            group: group.0,
            vault: Bytes::copy_from_slice(forge.statement.vault.as_bytes()),
            domain: Bytes::copy_from_slice(domain.as_bytes()),
            chunks: vec![Bytes::copy_from_slice(blob.entry.chunk.as_bytes())],
            nodes: vec![Bytes::copy_from_slice(node.as_bytes())],
        };
        let vaults = &forge.talk.speaker.vaults;
        Ok(patiently(|| {
            let (mut vaults, request) = (vaults.clone(), request.clone());
            async move { vaults.which(request).await }
        })
        .await?)
    };
    let own = which(&owner, owner.keys.domain).await.expect("its own domain");
    assert_eq!((own.chunks.len(), own.nodes.len()), (1, 1));
    let absent = DomainId::from_bytes(random());
    for domain in [owner.keys.domain, absent, second.keys.domain] {
        let nothing = which(&second, domain).await.expect("an answer");
        assert_eq!((nothing.chunks.len(), nothing.nodes.len()), (0, 0), "alike, whose domain it may be");
    }

    // Registering and putting into a foreign domain, under one's own lease.
    for domain in [owner.keys.domain, absent] {
        let mut open = second.upload_open(group);
        open.domain = Bytes::copy_from_slice(domain.as_bytes());
        let speaker = second.talk.speaker.clone();
        let refused = upload(&speaker, vec![Ask::Open(open)]).await.map(drop).map_err(No::from);
        assert_eq!(refused, Err(not_found.clone()));
        let vault = second.statement.vault;
        let talk = second.talk_in(group);
        let lease = talk.lease;
        let put = Body::PutNodes { lease, vault, domain, nodes: vec![codec::encode(&leaf)] };
        assert_eq!(talk.say(put).await.map(drop), Err(not_found.clone()));
    }
    // Under the owner's lease: there is none for others.
    let (vault, domain) = (owner.statement.vault, owner.keys.domain);
    let lease = Forge::open(cluster, "acme", "writer", "papers").await.talk_in(group).lease;
    let put = Body::PutNodes { lease, vault, domain, nodes: vec![codec::encode(&leaf)] };
    assert_eq!(second.talk_in(group).say(put).await.map(drop), Err(no("FAILED_PRECONDITION", "LEASE_ENDED")));
    // Referring: a leaf of one's own that names the other's chunk, a parent that names the other's node.
    let mismatch = Err(no("FAILED_PRECONDITION", "MANIFEST_MISMATCH"));
    let theft = Node::leaf(&second.keys.length_key, vec![blob.entry], &[blob.plaintext_bytes]).expect("a leaf");
    assert_eq!(second.put(group, vec![codec::encode(&theft)]).await.map(drop), mismatch);
    let child = Child { id: node, totals: leaf.totals() };
    let parent = Node::inner(&second.keys.length_key, vec![child], &[2000]).expect("an inner node");
    assert_eq!(second.put(group, vec![codec::encode(&parent)]).await.map(drop), mismatch);
    // Reading the other's nodes as if they were one's own.
    for domain in [owner.keys.domain, absent] {
        let request = pb::GetNodesRequest {
            group: group.0,
            restore: 0,
            vault: Bytes::copy_from_slice(vault.as_bytes()),
            domain: Bytes::copy_from_slice(domain.as_bytes()),
            nodes: vec![Bytes::copy_from_slice(node.as_bytes())],
        };
        let reply = second.talk.speaker.vaults.clone().get_nodes(request).await.expect("an answer").into_inner();
        assert!(reply.nodes.iter().all(Bytes::is_empty), "alike");
    }
    // Joining, with a key of one's own, a snapshot in the other's domain that nobody opened, or that was opened otherwise.
    let mut honest = Forge::prepare(cluster, "acme", "second", "papers").await;
    let opened = honest.open_snapshot().await.expect("its own snapshot opens");
    let speaker = &second.talk.speaker;
    let elsewhere =
        speaker.set.iter().copied().find(|group| *group != speaker.home).expect("acme lives in three shards");
    let into_the_domain = Opened { domain: owner.keys.domain, ..opened.clone() };
    let of_nobody = Opened { snapshot: SnapshotId::from_bytes(random()), ..opened.clone() };
    let at_no_home = Opened { home: GroupId(77), snapshot: SnapshotId::from_bytes(random()), ..opened.clone() };
    let in_anothers_name = Opened { writer: "writer".parse().expect("a name"), ..opened };
    for forged in [into_the_domain, of_nobody, at_no_home, in_anothers_name] {
        let claim = Attested { value: forged.clone(), signatures: Vec::new() };
        let join = speaker.outside(elsewhere, Body::JoinSnapshot { opened: claim });
        let refused = speaker.say(elsewhere, speaker.signed(&join)).await;
        assert_eq!(refused, Err(not_found.clone()), "{forged:?}");
    }
    // Its snapshots are not there either.
    let listed = client_with(&profile_of(cluster, "acme", "second")).await.snapshots(None).await.expect("a list");
    assert!(listed.iter().all(|one| one.id != owner.snapshot));
}

#[tokio::test(flavor = "multi_thread")]
async fn n110_a_chunk_id_with_other_plaintext_is_left_out_reported_sent_again_and_healed() {
    let cluster = shared();
    let source = cluster.scratch();
    let contents = noise("n110", 50_000);
    fs::write(source.join("file"), &contents).expect("a file can be written");

    // A careless or malicious run of the same writer registers other bytes under the file's chunk id.
    let mut forge = Forge::open(cluster, "globex", "writer", "ledgers").await;
    let honest = forge.seal(Kind::Data, &contents);
    let lie = forge.seal_as(Kind::Data, honest.entry.chunk, &noise("n110 lie", 50_000));
    forge.write(&[vec![lie.clone()]], &[file("file", &noise("n110 lie", 50_000), 0)]).await;
    // A leaf that means the honest blob is not satisfied by it.
    let mut checker = Forge::open(cluster, "globex", "writer", "ledgers").await;
    let leaf = Node::leaf(&checker.keys.length_key, vec![honest.entry], &[honest.plaintext_bytes]).expect("a leaf");
    let home = checker.talk.group;
    let missing = checker.put(home, vec![codec::encode(&leaf)]).await.map(drop);
    assert_eq!(missing, Err(no("FAILED_PRECONDITION", "MANIFEST_MISMATCH")), "a differing blob id is missing");

    let writer = cluster.client("globex-writer").await;
    let restorer = cluster.client("globex-restorer").await;
    let spoilt = back_up(&writer, &source, "ledgers", "n110").await;
    let to = cluster.scratch().join("spoilt");
    let part = restore(&restorer, spoilt.snapshot, &to).await;
    assert_eq!(part.damaged.len(), 1, "it took the lie for its own chunk, and the restore found out");
    assert!(!to.join("file").exists());
    // The restore has reported it: the snapshot is marked, the next backup sends the chunk again.
    let listed = restorer.snapshots(Some(&"ledgers".parse().expect("a name"))).await.expect("a list");
    let marked = |id: SnapshotId| listed.iter().find(|one| one.id == id).map(|one| one.damaged);
    assert_eq!(marked(spoilt.snapshot), Some(true));
    let healed = back_up(&writer, &source, "ledgers", "n110").await;
    assert!(contents.len() as u64 <= healed.bytes_sent, "the chunk was sent again");
    let to = cluster.scratch().join("healed");
    assert!(restore(&restorer, healed.snapshot, &to).await.is_whole());
    trees::assert_equal(&source, &to);
    // Another domain of the same tenant never saw any of it.
    let elsewhere = back_up(&writer, &source, "papers", "n110").await;
    let to = cluster.scratch().join("elsewhere");
    assert!(restore(&restorer, elsewhere.snapshot, &to).await.is_whole());
}

#[tokio::test(flavor = "multi_thread")]
async fn n113_tree_nodes_with_wrong_totals_heights_or_too_many_children_are_refused() {
    let cluster = shared();
    let mut forge = Forge::open(cluster, "globex", "writer", "papers").await;
    let home = forge.talk.group;
    let blob = forge.seal(Kind::Data, &noise("n113", 100));
    forge.send(home, std::slice::from_ref(&blob)).await.expect("a blob is sent");
    let leaf = Node::leaf(&forge.keys.length_key, vec![blob.entry], &[100]).expect("a leaf");
    let child = Child { id: tree_id(&codec::encode(&leaf)), totals: leaf.totals() };
    forge.put(home, vec![codec::encode(&leaf)]).await.expect("the leaf is put");
    let invalid = Err(no("INVALID_ARGUMENT", "INVALID"));
    // Claims about a child that is there.
    let claims: [fn(&mut Totals); 4] = [
        |totals| totals.stored_bytes += 1,
        |totals| totals.chunk_refs += 1,
        |totals| totals.leaves += 1,
        |totals| totals.height += 1,
    ];
    for (number, claim) in claims.iter().enumerate() {
        let mut false_child = child;
        claim(&mut false_child.totals);
        let node = inner(&[false_child]);
        assert_eq!(forge.put(home, vec![node]).await.map(drop), invalid, "claim {number}");
    }
    // Nodes that cannot be.
    let high = Totals { height: HEIGHT_MAX, ..child.totals };
    let huge = Totals { stored_bytes: u64::MAX, chunk_refs: u64::MAX, ..child.totals };
    let nothing = Totals { chunk_refs: 0, ..child.totals };
    for (what, children) in [
        ("none", vec![]),
        ("too many", vec![child; FANOUT_MAX + 1]),
        ("too high", vec![Child { totals: high, ..child }]),
        ("overflow", vec![Child { totals: huge, ..child }; 2]),
        ("of two heights", vec![child, Child { totals: high, ..child }]),
        ("nothing in it", vec![Child { totals: nothing, ..child }]),
    ] {
        assert_eq!(forge.put(home, vec![inner(&children)]).await.map(drop), invalid, "{what}");
    }
    let mut long = codec::encode(&Node::leaf(&forge.keys.length_key, vec![blob.entry], &[100]).expect("a leaf"));
    long.resize(200 << 10, 0);
    assert_eq!(forge.put(home, vec![long]).await.map(drop), invalid, "longer than nodes are");
    let no_length = strongroom_format::tree::LeafEntry { stored_bytes: 0, ..blob.entry };
    assert!(Node::leaf(&forge.keys.length_key, vec![no_length], &[100]).is_err(), "nor can one be built here");
    // The same child a million times is held once and counted a million times; memory and rows stay what they were.
    let inside = Inside::of(cluster).await;
    let mut level = child;
    for height in 1..=2 {
        let lengths = vec![100 * 1024_u64.pow(height - 1); FANOUT_MAX];
        let node = Node::inner(&forge.keys.length_key, vec![level; FANOUT_MAX], &lengths).expect("an inner node");
        let bytes = codec::encode(&node);
        level = Child { id: tree_id(&bytes), totals: node.totals() };
        assert_eq!(forge.put(home, vec![bytes]).await, Ok(Done::NodesPut { known: 0 }));
    }
    assert_eq!(level.totals.chunk_refs, 1 << 20);
    let _still_answers = inside.held(home, forge.talk.speaker.tenant).await;
    // Too many nodes at once.
    let node = codec::encode(&leaf);
    assert_eq!(forge.put(home, vec![node; Body::NODES_MAX + 1]).await.map(drop), invalid);
}

/// The canonical bytes of an inner node, possible or not.
fn inner(children: &[Child]) -> Vec<u8> {
    let sealed = vec![0_u8; 8 * children.len() + 16];
    let mut bytes = vec![1, 1];
    bytes.extend(borsh::to_vec(children).expect("children"));
    bytes.extend(borsh::to_vec(&sealed).expect("bytes"));
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn n114_a_blob_that_is_longer_than_its_leaf_says_gives_nothing() {
    let cluster = shared();
    let mut forge = Forge::open(cluster, "globex", "writer", "papers").await;
    let contents = noise("n114", 5000);
    let mut short = forge.seal(Kind::Data, &contents);
    short.plaintext_bytes = 100;
    let mut long = forge.seal(Kind::Data, &noise("n114 long", 5000));
    long.plaintext_bytes = 4 << 20;
    let good = forge.seal(Kind::Data, b"good");
    let entries = [
        file("a", &contents[..100], 0),
        file_of("b", &contents, vec![Piece { first: 1, offset: 0, length: 4 << 20 }]),
        file("c", b"good", 2),
    ];
    let snapshot = forge.write(&[vec![short, long, good]], &entries).await;
    let to = cluster.scratch().join("restored");
    let part = restore(&cluster.client("globex-restorer").await, snapshot, &to).await;
    let left_out: Vec<&[u8]> = part.damaged.iter().map(|file| file.path.as_slice()).collect();
    assert_eq!(left_out, [b"a", b"b"]);
    assert_eq!(fs::read(to.join("c")).expect("the good one"), b"good");
    assert_eq!(trees::files_below(&to).len(), 1);
    // More than a blob may have does not even arrive.
    let home = forge.talk.group;
    let mut late = Forge::open(cluster, "globex", "writer", "papers").await;
    let too_long = late.seal(Kind::Data, &noise("n114", 1000)).with_bytes({
        let mut bytes = late.seal(Kind::Data, &noise("n114", 1000)).bytes;
        bytes.resize((4 << 20) + 4096, 7);
        bytes
    });
    assert_eq!(late.send(home, &[too_long]).await.expect_err("too long").code, "INVALID_ARGUMENT");
}

#[tokio::test(flavor = "multi_thread")]
async fn n115_a_manifest_with_tricks_harms_nothing_outside_and_fills_nothing() {
    let cluster = shared();
    let mut forge = Forge::open(cluster, "globex", "writer", "papers").await;
    let outside = cluster.scratch();
    let contents = noise("n115", 1000);
    let blob = forge.seal(Kind::Data, &contents);
    let pieces = || vec![Piece { first: 0, offset: 0, length: 1000 }];
    let mut set_uid = file_of("set-uid", &contents, pieces());
    set_uid.attributes.mode = 0o6755;
    let target = outside.to_str().expect("UTF-8").as_bytes().to_vec();
    set_uid.names = 2;
    let disk = Device { access: Access::Block, major: 8, minor: 0 };
    // Not a byte of it is stored, and few file systems can hold it.
    let mut boundless = file_of("boundless", b"", Vec::new());
    if let Content::File(file) = &mut boundless.content {
        (file.size, file.holes) = (i64::MAX as u64, vec![Hole { offset: 0, bytes: i64::MAX as u64 }]);
    }
    let mut marked = entry("marked", 0o755, Content::Directory);
    marked.attributes.owner = Some(Owner { user: 4242, group: 4242 });
    marked.attributes.xattrs = [("security.capability", &[1, 0, 0, 2][..]), (RESTORE_MARK, b"tenant ab"), ("x.y", b"")]
        .map(|(name, value)| Xattr { name: name.into(), value: value.into() })
        .into();
    let entries = [
        boundless,
        entry("device", 0o644, Content::Device(disk)),
        entry("elsewhere", 0o777, Content::Symlink { target }),
        marked,
        entry("newer", 0o644, Content::Other { kind: 99, pieces: Vec::new() }),
        set_uid,
        entry("set-uid too", 0o6755, Content::HardLink { back: 1 }),
    ];
    let snapshot = forge.write(&[vec![blob.clone()]], &entries).await;
    let restorer = cluster.client("globex-restorer").await;
    let to = cluster.scratch().join("restored");
    let restored = restore(&restorer, snapshot, &to).await;
    let mut left_out: BTreeSet<&[u8]> = restored.left_out.iter().map(|file| file.path.as_slice()).collect();
    let takes_no_space = fs::metadata(to.join("boundless")).is_ok_and(|about| about.blocks() == 0);
    assert!(left_out.remove(&b"boundless"[..]) || takes_no_space);
    assert_eq!(left_out, BTreeSet::from([&b"device"[..], b"newer"]));
    assert!(restored.is_whole());
    for name in ["set-uid", "set-uid too"] {
        let mode = fs::metadata(to.join(name)).expect("the file").permissions().mode() & 0o7777;
        assert_eq!(mode, 0o755, "set-uid is not given unasked");
    }
    let power: u64 =
        restored.not_given.iter().filter(|lack| lack.what == Lacking::Power).map(|lack| lack.entries).sum();
    assert_eq!(power, 2, "set-uid bits and a capability: {:?}", restored.not_given);
    let marked = fs::File::open(to.join("marked")).expect("the directory");
    for name in [RESTORE_MARK, "security.capability"] {
        assert!(rustix::fs::fgetxattr(&marked, name, &mut [0; 100][..]).is_err(), "{name} came from the manifest");
    }
    assert!(fs::symlink_metadata(to.join("elsewhere")).expect("the link").is_symlink());
    assert_eq!(fs::read_dir(&outside).expect("the directory").count(), 0, "nothing was written through the link");
    // Restoring into the same place again does not follow it either.
    let mut again = RestoreRequest::new(snapshot, to.clone());
    again.occupied = strongroom::restore::Occupied::Merged;
    restorer.restore(again).await.expect("it merges");
    assert_eq!(fs::read_dir(&outside).expect("the directory").count(), 0);

    // Files far larger than any disk out of one chunk of a thousand bytes: refused before anything is made of them.
    for (length, refusal) in [(1 << 47, no("DATA_LOSS", "OUT_OF_RANGE")), (1 << 62, no("RESOURCE_EXHAUSTED", "LIMIT"))]
    {
        let mut forge = Forge::open(cluster, "globex", "writer", "papers").await;
        let huge = vec![Piece { first: 0, offset: 0, length }];
        let run = vec![forge.seal(Kind::Data, &contents)];
        let snapshot = forge.write(&[run], &[file_of("huge", &contents, huge)]).await;
        let to = cluster.scratch().join("restored");
        let refused = restorer.restore(RestoreRequest::new(snapshot, to.clone())).await.expect_err("it does not fit");
        assert_eq!(No::from(refused), refusal);
        assert!(!to.exists());
        assert!(restorer.verify(snapshot, &[], strongroom::progress::Progress::silent()).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n116_nobody_commits_under_anothers_name_and_latest_does_not_choose() {
    let cluster = shared();
    // Opened by the one, enveloped under the other's name.
    let mut forge = Forge::open(cluster, "acme", "second", "papers").await;
    let trees = forge.store(&[], &[]).await.expect("an empty snapshot is stored");
    let good = forge.envelope(&trees);
    let sealed = forge.seal_parts(&good).await.expect("the parts are sealed");
    let mut stolen = good.clone();
    stolen.writer = "writer".parse().expect("a name");
    let stolen = stolen.with_mac(&forge.keys.sender_key);
    assert_eq!(forge.commit(&stolen, sealed.clone()).await, Err(no("PERMISSION_DENIED", "ROLE")));
    // An envelope that the other did sign, committed by this one.
    let writer = Speaker::founder(cluster, "acme", "writer").await;
    let signed = Signed::new(&stolen, &writer.person.signing).expect("an envelope");
    let commit = Body::CommitSnapshot { envelope: codec::encode(&signed), sealed };
    assert_eq!(forge.talk.say(commit).await, Err(no("PERMISSION_DENIED", "SIGNATURE")));
    // The other's opened snapshot is as if absent.
    let theirs = Forge::open(cluster, "acme", "writer", "papers").await;
    let abort = Body::AbortSnapshot { snapshot: theirs.snapshot };
    assert_eq!(forge.talk.say(abort).await, Err(no("NOT_FOUND", "NOT_FOUND")));
    // Opening in the other's domain, too.
    let mut trespass = Forge::prepare(cluster, "acme", "second", "papers").await;
    let mut opening = trespass.opening();
    opening.domain = theirs.keys.domain;
    assert_eq!(trespass.talk.say(Body::OpenSnapshot(opening)).await, Err(no("NOT_FOUND", "NOT_FOUND")));

    let source = cluster.scratch();
    trees::plant(&source, "n116");
    let first = back_up(&cluster.client("acme-writer").await, &source, "papers", "n116").await.snapshot;
    let second = client_with(&profile_of(cluster, "acme", "second")).await;
    let second = back_up(&second, &source, "papers", "n116").await.snapshot;
    let restorer = cluster.client("acme-restorer").await;
    let latest = async |name: &str| {
        let name = SnapshotName::Latest { vault: "papers".parse().expect("a name"), name: Some(name.into()) };
        restorer.find_snapshot(&name).await.map_err(|error| error.reason().map(str::to_owned))
    };
    assert_eq!(latest("n116").await, Err(Some("AMBIGUOUS".into())));
    assert_eq!(latest("writer/n116").await, Ok(first));
    assert_eq!(latest("second/n116").await, Ok(second));
}

/// A copy of a profile in which some text is replaced.
fn altered_profile(profile: &Path, directory: &Path, changes: &[(&str, &str)]) -> PathBuf {
    let mut text = fs::read_to_string(profile).expect("a profile");
    for (from, to) in changes {
        assert!(text.contains(from), "the profile has {from}");
        text = text.replace(from, to);
    }
    let copy = directory.join("profile.toml");
    fs::write(&copy, text).expect("a profile can be written");
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn n119_under_a_statement_that_does_not_hold_nothing_is_sealed() {
    let cluster = shared();
    let _quiet = quiet().await;
    let source = cluster.scratch();
    trees::plant(&source, "n119");
    let own = Forge::prepare(cluster, "initech", "writer", "papers").await;
    let inside = Inside::of(cluster).await;
    let (home, tenant) = (own.talk.group, own.talk.speaker.tenant);
    let usage = async || inside.held(home, tenant).await.usage;
    let before = usage().await;

    // A newer version was seen on this machine than the cluster shows; or another one of the same version.
    let vault = own.statement.vault;
    let digest = "ab".repeat(32);
    for (seen, reason) in [(7, "ROLLBACK_DETECTED"), (1, "FORK_DETECTED")] {
        let state = cluster.scratch();
        fs::write(state.join(format!("statement-{vault}")), format!("{seen} {digest}\n")).expect("a state file");
        let state = state.to_str().expect("UTF-8").to_owned();
        let directory = cluster.directory().join("tenants/initech/state-writer");
        let changes = [(directory.to_str().expect("UTF-8"), state.as_str())];
        let profile = altered_profile(cluster.profile("initech-writer"), &cluster.scratch(), &changes);
        let writer = client_with(&profile).await;
        let refused = writer.back_up(request(&source, "papers", "n119")).await.expect_err("nothing is sealed");
        assert_eq!(No::from(refused), no("FAILED_PRECONDITION", reason));
    }
    // Another root key is pinned than the one that signed.
    let root_of = |tenant: &str| {
        let profile = strongroom::profile::Profile::read(cluster.profile(&format!("{tenant}-writer")));
        profile.expect("a profile").tenant.expect("a tenant's").root.to_string()
    };
    let (pinned, other) = (root_of("initech"), root_of("globex"));
    let changes = [(pinned.as_str(), other.as_str())];
    let profile = altered_profile(cluster.profile("initech-writer"), &cluster.scratch(), &changes);
    let profile = strongroom::profile::Profile::read(&profile).expect("a profile");
    let refused = strongroom::client::Client::connect(profile, crate::cluster::PATIENCE).await.expect_err("not ours");
    assert_eq!(No::from(refused), no("FAILED_PRECONDITION", "PROVENANCE_INVALID"));

    // The rules take no statement that the tenant's root key has not signed, that names another suite, or that does
    // not follow.
    let admin = cluster.client("initech-admin").await;
    let key = keyring::root(admin.profile(), None).expect("dev's admin has the root key");
    let mut talk = Speaker::founder(cluster, "initech", "administrator").await.talk(0).await;
    let policy = own.policy.clone();
    let mut fresh = own.statement.clone();
    (fresh.vault, fresh.name) = (VaultId::from_bytes(random()), "n119".parse().expect("a name"));
    let stranger = SigningKey::from_secret(random()).expect("a good key");
    let unknown_suite = {
        let mut statement = fresh.clone();
        statement.suite = 2;
        statement
    };
    let later = {
        let mut statement = fresh.clone();
        statement.version = StatementVersion(2);
        statement
    };
    for (statement, signer, refused) in [
        (&fresh, &stranger, no("FAILED_PRECONDITION", "PROVENANCE_INVALID")),
        (&unknown_suite, key.signing_key(), no("INVALID_ARGUMENT", "UNSUPPORTED_FORMAT")),
        (&later, key.signing_key(), no("ABORTED", "VERSION_CONFLICT")),
    ] {
        let signed = Signed::new(statement, signer).expect("a statement");
        let body = Body::CreateVault { statement: codec::encode(&signed), policy: policy.clone() };
        assert_eq!(talk.say(body).await.map(drop), Err(refused));
    }
    let mut skipping = own.statement.clone();
    skipping.version = StatementVersion(3);
    for (statement, refused) in [(&skipping, "VERSION_CONFLICT"), (&own.statement, "VERSION_CONFLICT")] {
        let signed = Signed::new(statement, key.signing_key()).expect("a statement");
        let body = Body::UpdateStatement { statement: codec::encode(&signed) };
        assert_eq!(talk.say(body).await.map(drop), Err(no("ABORTED", refused)));
    }
    // A vault without recipients, that nobody could ever open.
    let nobody = NewVault::new("n119".parse().expect("a name"), Vec::new(), Vec::new());
    let refused = admin.create_vault(nobody, &key).await.expect_err("nobody could open it");
    assert_eq!(refused.reason(), Some("RECIPIENTS"));
    assert_eq!(usage().await, before, "no byte was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn n120_what_is_made_with_public_knowledge_only_is_not_restored() {
    let cluster = shared();
    let contents = noise("n120", 1000);
    let guess = || SenderKey::from_secret(random()).expect("a good key");
    let restorer = cluster.client("globex-restorer").await;
    let refused = async |snapshot: SnapshotId| {
        let to = cluster.scratch().join("restored");
        let refused = restorer.restore(RestoreRequest::new(snapshot, to.clone())).await.expect_err("not believed");
        assert!(!to.exists());
        No::from(refused)
    };
    let provenance = no("FAILED_PRECONDITION", "PROVENANCE_INVALID");

    // A thief of certificate and signing key, without the writer's key: the envelope's MAC does not fit.
    let mut forge = Forge::prepare(cluster, "globex", "writer", "papers").await;
    forge.keys.sender_key = guess();
    forge.wrap = DekWrap::seal(
        forge.dek.dek(),
        &forge.card.place(),
        &forge.keys.sender_key,
        &forge.statement.public_key,
        random(),
    );
    forge.open_snapshot().await.expect("nodes cannot tell");
    let run = vec![forge.seal(Kind::Data, &contents)];
    let snapshot = forge.write(&[run], &[file("a", &contents, 0)]).await;
    assert_eq!(refused(snapshot).await, provenance);

    // The MAC fits, but the session key was wrapped by somebody who knows the public key only.
    let mut forge = Forge::prepare(cluster, "globex", "writer", "papers").await;
    forge.wrap = DekWrap::seal(forge.dek.dek(), &forge.card.place(), &guess(), &forge.statement.public_key, random());
    forge.open_snapshot().await.expect("nodes cannot tell");
    let run = vec![forge.seal(Kind::Data, &contents)];
    let snapshot = forge.write(&[run], &[file("a", &contents, 0)]).await;
    assert_eq!(refused(snapshot).await, provenance);

    // A wrap for another writer, vault or domain is refused by the rules.
    let mut forge = Forge::prepare(cluster, "globex", "writer", "papers").await;
    let good = forge.wrap.clone();
    let mut wraps = vec![good.clone(), good.clone(), good];
    wraps[0].writer = "restorer".parse().expect("a name");
    wraps[1].vault = VaultId::from_bytes(random());
    wraps[2].domain = DomainId::from_bytes(random());
    for wrap in wraps {
        forge.wrap = wrap;
        assert_eq!(forge.open_snapshot().await.map(drop), Err(provenance.clone()));
    }
    // So is a chunk under a key without a wrap.
    let mut forge = Forge::open(cluster, "globex", "writer", "papers").await;
    let other = Forge::prepare(cluster, "globex", "writer", "papers").await;
    let home = forge.talk.group;
    let stranger = other.seal(Kind::Data, &contents);
    assert_eq!(forge.send(home, &[stranger]).await, Err(provenance));
}
