//! Snapshots made by hand: what a writer with good keys and bad intentions could send, step by step.
//!
//! ```text
//!   prepare ─▶ open (session, OpenSnapshot, JoinSnapshot …) ─▶ send blobs ─▶ put nodes ─▶ seal parts ─▶ commit
//!                                                             └───────────────── write: all of it ─────────────┘
//! ```
//!
//! Every step may be left out, altered or repeated. Not here: the honest way (the SDK), single commands
//! (`speaker.rs`).

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::StreamExt as _;
use strongroom::aead::Fast;
use strongroom::keyring::read_key;
use strongroom_format::chunk::{Chunking, chunk_id, manifest_chunk_id};
use strongroom_format::code::Strength;
use strongroom_format::codec;
use strongroom_format::command::{Attested, Body, OpenSnapshot, Opened, Sealed};
use strongroom_format::envelope::{Envelope, Mac, ManifestRoot, PartRoot};
use strongroom_format::gathered::Gathered;
use strongroom_format::id::{BlobId, ChunkId, DekId, Digest, GroupId, SetVersion, SnapshotId};
use strongroom_format::keys::{DomainKeys, WriterKey};
use strongroom_format::label::Label;
use strongroom_format::manifest::encode::Encoder;
use strongroom_format::manifest::entry::{Attributes, Content, Entry, File, Header, Moment, Piece, Run};
use strongroom_format::manifest::path::EntryPath;
use strongroom_format::outcome::Done;
use strongroom_format::placement::group_of_run;
use strongroom_format::policy::Policy;
use strongroom_format::seal::{Compression, Context, Kind, SealingDek, blob_id, seal};
use strongroom_format::sign::Signed;
use strongroom_format::statement::{VaultStatement, WriterCard};
use strongroom_format::summary::{Summary, seal_summary};
use strongroom_format::tree::{LeafEntry, Root, TreeBuilder};
use strongroom_format::wrap::DekWrap;
use strongroom_proto::v1 as pb;
use strongroom_proto::v1::upload_reply::What as Reply;
use strongroom_proto::v1::upload_request::What as Ask;
use tonic::Status;

use crate::cluster::Cluster;
use crate::speaker::{No, Speaker, Talk, outcome, patiently, random};

/// A blob and how a leaf names it.
#[derive(Clone, Debug)]
pub struct SealedBlob {
    /// As a leaf names it.
    pub entry: LeafEntry,
    /// The length that the leaf tells restorers.
    pub plaintext_bytes: u32,
    /// What is sent.
    pub bytes: Vec<u8>,
}

impl SealedBlob {
    /// These bytes in place of its own, under the same chunk id.
    pub fn with_bytes(mut self, bytes: Vec<u8>) -> Self {
        self.entry.blob = blob_id(&bytes);
        self.entry.stored_bytes = u32::try_from(bytes.len()).expect("a blob is short");
        self.bytes = bytes;
        self
    }
}

/// The trees of a snapshot.
#[derive(Clone, Debug)]
pub struct Trees {
    /// Roots of the contents, by shard.
    pub contents: BTreeMap<GroupId, Root>,
    /// Root of the manifest, at home.
    pub manifest: Root,
}

/// A snapshot in the making.
pub struct Forge {
    /// The session at home.
    pub talk: Talk,
    /// The sessions in other shards, once opened.
    pub others: BTreeMap<GroupId, Talk>,
    /// The vault.
    pub statement: VaultStatement,
    /// Its policy.
    pub policy: Policy,
    /// The writer's card.
    pub card: WriterCard,
    /// The writer's keys in the vault.
    pub keys: DomainKeys,
    /// The upload's key.
    pub dek: SealingDek,
    /// Its wrap.
    pub wrap: DekWrap,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its label.
    pub label: Label,
}

impl Forge {
    /// Gets everything ready; only a session is opened.
    pub async fn prepare(cluster: &Cluster, tenant: &str, writer: &str, vault: &str) -> Self {
        let speaker = Speaker::founder(cluster, tenant, writer).await;
        let key_file = cluster.directory().join("tenants").join(tenant).join(format!("{writer}.writer"));
        let key: WriterKey = read_key(&key_file).expect("the writer's key");
        let request = pb::GetVaultRequest { name: vault.to_owned(), id: Bytes::new() };
        let reply = patiently(|| {
            let (mut vaults, request) = (speaker.vaults.clone(), request.clone());
            async move { vaults.get_vault(request).await }
        })
        .await
        .expect("the vault is there");
        let found = reply.vault.expect("a vault");
        let signed: Signed<VaultStatement> = codec::decode(&found.statement).expect("a statement");
        let statement = signed.unverified().expect("a statement");
        let signed: Signed<WriterCard> = codec::decode(&reply.cards[0]).expect("a card");
        let card = signed.unverified().expect("a card");
        let keys = key.in_vault(&statement.vault);
        let dek = SealingDek::new(DekId::from_bytes(random()), random()).expect("a good key");
        let wrap = DekWrap::seal(dek.dek(), &card.place(), &keys.sender_key, &statement.public_key, random());
        let snapshot = SnapshotId::from_bytes(random());
        Self {
            talk: speaker.talk(0).await,
            others: BTreeMap::new(),
            policy: borsh::from_slice(&found.policy).expect("a policy"),
            label: Label::try_from(format!("by hand {snapshot}").as_str()).expect("a label"),
            statement,
            card,
            keys,
            dek,
            wrap,
            snapshot,
        }
    }

    /// The same, and opens the snapshot in all shards of the tenant.
    pub async fn open(cluster: &Cluster, tenant: &str, writer: &str, vault: &str) -> Self {
        let mut forge = Self::prepare(cluster, tenant, writer, vault).await;
        forge.open_snapshot().await.expect("the snapshot opens");
        forge
    }

    /// What opens the snapshot.
    pub fn opening(&self) -> OpenSnapshot {
        let speaker = &self.talk.speaker;
        let mut groups = speaker.set.clone();
        groups.push(speaker.home);
        groups.sort_unstable();
        groups.dedup();
        OpenSnapshot {
            snapshot: self.snapshot,
            vault: self.statement.vault,
            label: self.label.clone(),
            domain: self.keys.domain,
            key_epoch: self.card.epoch,
            set_version: SetVersion(speaker.topology.set_version),
            groups,
            budget_bytes: 256 << 20,
            wraps: vec![codec::encode(&self.wrap)],
            stream: None,
        }
    }

    /// Opens the snapshot at home, and its parts in the other shards.
    pub async fn open_snapshot(&mut self) -> Result<Opened, No> {
        let opening = self.opening();
        let opened = match self.talk.say(Body::OpenSnapshot(opening)).await? {
            Done::SnapshotOpened { lease, opened, .. } => {
                self.talk.lease = lease;
                opened
            }
            other => panic!("another answer: {other:?}"),
        };
        for group in opened.groups.iter().copied().filter(|group| *group != opened.home) {
            let claim = Attested { value: opened.clone(), signatures: Vec::new() };
            let speaker = &self.talk.speaker;
            let join = speaker.outside(group, Body::JoinSnapshot { opened: claim });
            match speaker.say(group, speaker.signed(&join)).await? {
                Done::Joined { session, lease, .. } => {
                    let talk = Talk { speaker: speaker.clone(), group, session, lease, last: 0 };
                    self.others.insert(group, talk);
                }
                other => panic!("another answer: {other:?}"),
            }
        }
        Ok(opened)
    }

    /// The session in a shard.
    pub fn talk_in(&mut self, group: GroupId) -> &mut Talk {
        if group == self.talk.group { &mut self.talk } else { self.others.get_mut(&group).expect("a joined shard") }
    }

    /// Seals a chunk.
    pub fn seal(&self, kind: Kind, plaintext: &[u8]) -> SealedBlob {
        let chunk = match kind {
            Kind::Manifest => manifest_chunk_id(&self.keys.id_key, plaintext),
            Kind::Data | Kind::Records => chunk_id(&self.keys.id_key, plaintext),
        };
        self.seal_as(kind, chunk, plaintext)
    }

    /// Seals bytes under whatever chunk id.
    pub fn seal_as(&self, kind: Kind, chunk: ChunkId, plaintext: &[u8]) -> SealedBlob {
        let plaintext_bytes = u32::try_from(plaintext.len()).expect("a chunk is short");
        let context = Context {
            cluster: self.talk.speaker.epoch,
            tenant: self.talk.speaker.tenant,
            vault: self.statement.vault,
            domain: self.keys.domain,
            dek: self.dek.dek().id(),
            chunk,
            plaintext_bytes,
        };
        let salt = self.dek.salt(random());
        let bytes =
            seal(&Fast, salt, kind, self.statement.tag, &context, plaintext, Compression::Never).expect("sealed");
        let stored_bytes = u32::try_from(bytes.len()).expect("a blob is short");
        SealedBlob { entry: LeafEntry { chunk, blob: blob_id(&bytes), stored_bytes }, plaintext_bytes, bytes }
    }

    /// The first message of an upload into a shard.
    pub fn upload_open(&mut self, group: GroupId) -> pb::UploadOpen {
        let (vault, domain) = (self.statement.vault, self.keys.domain);
        let talk = self.talk_in(group);
        pb::UploadOpen {
            group: group.0,
            lease: talk.lease.0,
            vault: Bytes::copy_from_slice(vault.as_bytes()),
            domain: Bytes::copy_from_slice(domain.as_bytes()),
            session: talk.session.0,
        }
    }

    /// Sends blobs to a shard and has them registered.
    pub async fn send(&mut self, group: GroupId, blobs: &[SealedBlob]) -> Result<Done, No> {
        let open = self.upload_open(group);
        let talk = self.talk_in(group);
        talk.last += 1;
        let register_sequence = talk.last;
        let mut messages = vec![Ask::Open(open)];
        messages.extend(blobs.iter().map(|blob| blob_message(&blob.entry.blob, &blob.bytes)));
        messages.push(Ask::Submit(pb::UploadSubmit { commands: Vec::new(), register_at: 0, register_sequence }));
        for reply in upload(&talk.speaker, messages).await? {
            if let Reply::Outcomes(outcomes) = reply {
                return outcome(codec::decode(&outcomes.register_outcome).expect("an outcome"));
            }
        }
        panic!("the submit was not answered")
    }

    /// Stores tree nodes in a shard.
    pub async fn put(&mut self, group: GroupId, nodes: Vec<Vec<u8>>) -> Result<Done, No> {
        let (vault, domain) = (self.statement.vault, self.keys.domain);
        let talk = self.talk_in(group);
        let lease = talk.lease;
        talk.say(Body::PutNodes { lease, vault, domain, nodes }).await
    }

    /// The shard of a run.
    pub fn shard_of(&self, run: &[SealedBlob]) -> GroupId {
        let speaker = &self.talk.speaker;
        let first = run.first().expect("a run has a chunk").entry.chunk;
        group_of_run(&speaker.tenant, &self.statement.vault, &first, &speaker.set).expect("a set has a shard")
    }

    /// Sends runs, each to the shard in which it belongs, and a manifest of these entries, with all their nodes.
    pub async fn store(&mut self, runs: &[Vec<SealedBlob>], entries: &[Entry]) -> Result<Trees, No> {
        let placed: Vec<_> = runs.iter().map(|run| (self.shard_of(run), run)).collect();
        self.store_placed(&placed, entries).await
    }

    /// The same, with each run in whatever shard.
    pub async fn store_placed(&mut self, runs: &[(GroupId, &Vec<SealedBlob>)], entries: &[Entry]) -> Result<Trees, No> {
        let mut by_group: BTreeMap<GroupId, Vec<&Vec<SealedBlob>>> = BTreeMap::new();
        let mut order = Vec::new();
        for (group, run) in runs {
            by_group.entry(*group).or_default().push(run);
            order.push(Run { group: *group, chunks: u32::try_from(run.len()).expect("a run is short") });
        }
        let mut contents = BTreeMap::new();
        for (group, runs) in by_group {
            contents.insert(group, self.store_tree(group, &runs).await?);
        }
        let header = Header { chunking: Chunking::Default, root: Some(attributes(0o755)), unknown: Vec::new() };
        let mut encoder = Encoder::new(&header).expect("a header");
        let mut chunks = Vec::new();
        for entry in entries {
            chunks.extend(encoder.push(entry).expect("an entry"));
        }
        chunks.extend(encoder.finish(&order).expect("a manifest"));
        let chunks: Vec<SealedBlob> = chunks.iter().map(|chunk| self.seal(Kind::Manifest, chunk)).collect();
        let manifest = self.store_tree(self.talk.group, &[&chunks]).await?;
        Ok(Trees { contents, manifest })
    }

    async fn store_tree(&mut self, group: GroupId, runs: &[&Vec<SealedBlob>]) -> Result<Root, No> {
        let mut builder = TreeBuilder::new(self.keys.length_key.clone());
        let mut nodes = Vec::new();
        for run in runs {
            self.send(group, run).await?;
            let entries = run.iter().map(|blob| blob.entry).collect();
            let lengths: Vec<u32> = run.iter().map(|blob| blob.plaintext_bytes).collect();
            nodes.extend(builder.push(entries, &lengths).expect("a run"));
        }
        let (rest, root) = builder.finish().expect("a tree");
        nodes.extend(rest);
        for some in nodes.chunks(Body::NODES_MAX) {
            self.put(group, some.iter().map(|node| node.bytes.clone()).collect()).await?;
        }
        Ok(root)
    }

    /// The envelope over these trees.
    pub fn envelope(&self, trees: &Trees) -> Envelope {
        let part = |group: &GroupId| match trees.contents.get(group) {
            Some(root) => PartRoot {
                group: *group,
                root: Some(root.id),
                stored_bytes: root.totals.stored_bytes,
                chunk_refs: root.totals.chunk_refs,
            },
            None => PartRoot { group: *group, root: None, stored_bytes: 0, chunk_refs: 0 },
        };
        let opening = self.opening();
        Envelope {
            cluster: self.talk.speaker.epoch,
            tenant: self.talk.speaker.tenant,
            vault: self.statement.vault,
            snapshot: self.snapshot,
            writer: self.talk.speaker.person.identity.clone(),
            key_epoch: self.card.epoch,
            domain: self.keys.domain,
            card: self.card.digest(),
            statement_version: self.statement.version,
            policy_version: self.policy.version,
            label: self.label.clone(),
            classification: String::new(),
            purpose: String::new(),
            tags: BTreeMap::new(),
            requested_lock: None,
            deks: vec![self.dek.dek().id()],
            set_version: opening.set_version,
            manifest: ManifestRoot {
                root: trees.manifest.id,
                stored_bytes: trees.manifest.totals.stored_bytes,
                chunk_refs: trees.manifest.totals.chunk_refs,
            },
            parts: opening.groups.iter().map(part).collect(),
            parent: None,
            gathered: Gathered::Alone,
            summary: seal_summary(&self.keys.length_key, &self.snapshot, &Summary::default()),
            client_time_unix_ms: 0,
            mac: Mac::ZERO,
        }
        .with_mac(&self.keys.sender_key)
    }

    /// Seals the part in every shard, and says what the other shards sealed.
    pub async fn seal_parts(&mut self, envelope: &Envelope) -> Result<Vec<Attested<Sealed>>, No> {
        let home = self.talk.group;
        let mut sealed = Vec::new();
        for group in self.opening().groups {
            let body =
                Body::SealPart { snapshot: self.snapshot, roots: envelope.roots_in(group, home), records: Vec::new() };
            match self.talk_in(group).say(body).await? {
                Done::Sealed(value) if group != home => sealed.push(Attested { value, signatures: Vec::new() }),
                Done::Sealed(_) => {}
                other => panic!("another answer: {other:?}"),
            }
        }
        Ok(sealed)
    }

    /// Commits, with this writer's signature over the envelope.
    pub async fn commit(&mut self, envelope: &Envelope, sealed: Vec<Attested<Sealed>>) -> Result<Strength, No> {
        let signed = Signed::new(envelope, &self.talk.speaker.person.signing).expect("an envelope");
        match self.talk.say(Body::CommitSnapshot { envelope: codec::encode(&signed), sealed }).await? {
            Done::Committed { strength, .. } => Ok(strength),
            other => panic!("another answer: {other:?}"),
        }
    }

    /// All of it, from an opened snapshot to a committed one.
    pub async fn write(&mut self, runs: &[Vec<SealedBlob>], entries: &[Entry]) -> SnapshotId {
        let trees = self.store(runs, entries).await.expect("everything is stored");
        let envelope = self.envelope(&trees);
        let sealed = self.seal_parts(&envelope).await.expect("the parts are sealed");
        self.commit(&envelope, sealed).await.expect("the snapshot is committed");
        self.snapshot
    }
}

/// A blob on an upload, with its declared hash.
pub fn blob_message(declared: &BlobId, bytes: &[u8]) -> Ask {
    Ask::Blob(pb::UploadBlob {
        blob_id: Bytes::copy_from_slice(declared.as_bytes()),
        blob: Bytes::copy_from_slice(bytes),
    })
}

/// Sends messages on one upload stream and takes what comes back until it ends.
pub async fn upload(speaker: &Speaker, messages: Vec<Ask>) -> Result<Vec<Reply>, Status> {
    let requests = messages.into_iter().map(|what| pb::UploadRequest { what: Some(what) });
    let mut answers = speaker.vaults.clone().upload(futures_util::stream::iter(requests)).await?.into_inner();
    let mut replies = Vec::new();
    while let Some(reply) = answers.next().await {
        replies.extend(reply?.what);
    }
    Ok(replies)
}

/// Mode, and a time of no meaning.
pub fn attributes(mode: u32) -> Attributes {
    Attributes { mode, modified: Moment { seconds: 1_700_000_000, nanos: 0 }, ..Attributes::default() }
}

/// A file whose bytes are those of chunk number `first`, and of those that follow.
pub fn file(path: &str, contents: &[u8], first: u64) -> Entry {
    let pieces = vec![Piece { first, offset: 0, length: contents.len() as u64 }];
    file_of(path, contents, pieces)
}

/// A file of any pieces, whose content is said to be this.
pub fn file_of(path: &str, contents: &[u8], pieces: Vec<Piece>) -> Entry {
    let size = pieces.iter().map(|piece| piece.length).sum();
    let hash = Digest::from_bytes(*blake3::hash(contents).as_bytes());
    let last_read = Moment { seconds: 1_700_000_000, nanos: 0 };
    entry(path, 0o644, Content::File(File { size, pieces, hash, last_read, holes: Vec::new() }))
}

/// Any entry.
pub fn entry(path: &str, mode: u32, content: Content) -> Entry {
    let path = EntryPath::new(path.as_bytes()).expect("a path");
    Entry { path, attributes: attributes(mode), names: 1, content, unknown: Vec::new() }
}
