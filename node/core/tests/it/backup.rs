//! A backup by hand: what a writer does, step by step, so that tests can do one step wrong.

use std::collections::BTreeMap;

use strongroom_format::codec;
use strongroom_format::command::{
    Attested, BlobRef, Body, OpenSnapshot, Opened, RegisteredChunk, Sealed, SignedCommand,
};
use strongroom_format::envelope::{Envelope, Mac, ManifestRoot, PartRoot};
use strongroom_format::gathered::Gathered;
use strongroom_format::id::{
    BlobId, ChunkId, DekId, GroupId, KeyEpoch, LeaseId, PolicyVersion, SnapshotId, StatementVersion, TreeId,
};
use strongroom_format::keys::DomainKeys;
use strongroom_format::lock::LockTerms;
use strongroom_format::outcome::{Done, Outcome};
use strongroom_format::sign::Signed;
use strongroom_format::tree::{Child, LeafEntry, Node, tree_id};

use crate::group::{claim, done, epoch, fixed, identity};
use crate::world::{Session, World};

/// A blob of a chunk: `name` says which, `copy` tells blobs of one chunk apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub of: BlobRef,
    pub stored_bytes: u32,
}

impl Piece {
    pub fn new(name: &str, copy: u32) -> Self {
        let stored_bytes = 1000 + u32::from(fixed::<1>(name)[0]);
        let of = BlobRef {
            chunk: ChunkId::from_bytes(fixed(&format!("chunk {name}"))),
            blob: BlobId::from_bytes(fixed(&format!("blob {name} {copy}"))),
        };
        Self { of, stored_bytes }
    }

    pub fn registered(self, dek: DekId) -> RegisteredChunk {
        RegisteredChunk {
            chunk: self.of.chunk,
            blob: self.of.blob,
            stored_bytes: self.stored_bytes,
            dek,
            handed_over: Vec::new(),
            missing: Vec::new(),
        }
    }

    pub fn entry(self) -> LeafEntry {
        LeafEntry { chunk: self.of.chunk, blob: self.of.blob, stored_bytes: self.stored_bytes }
    }
}

/// A leaf over pieces, and its bytes.
pub fn leaf(keys: &DomainKeys, pieces: &[Piece]) -> (Node, Vec<u8>) {
    let lengths: Vec<u32> = pieces.iter().map(|_| 900).collect();
    let node = Node::leaf(&keys.length_key, pieces.iter().map(|piece| piece.entry()).collect(), &lengths).unwrap();
    let bytes = codec::encode(&node);
    (node, bytes)
}

/// An inner node over nodes, and its bytes.
pub fn inner(keys: &DomainKeys, below: &[&Node]) -> (Node, Vec<u8>) {
    let children = below.iter().map(|node| child(node)).collect();
    let lengths: Vec<u64> = below.iter().map(|_| 900).collect();
    let node = Node::inner(&keys.length_key, children, &lengths).unwrap();
    let bytes = codec::encode(&node);
    (node, bytes)
}

pub fn child(node: &Node) -> Child {
    Child { id: id_of(node), totals: node.totals() }
}

pub fn id_of(node: &Node) -> TreeId {
    tree_id(&codec::encode(node))
}

/// A backup by hand: what a writer does, step by step, so that tests can do one step wrong.
#[derive(Clone, Debug)]
pub struct Backup {
    pub tenant: String,
    pub writer: String,
    pub snapshot: SnapshotId,
    pub label: String,
    pub groups: Vec<GroupId>,
    pub sessions: BTreeMap<GroupId, Session>,
    pub leases: BTreeMap<GroupId, LeaseId>,
    pub opened: Option<Opened>,
    pub contents: BTreeMap<GroupId, Node>,
    pub manifest: Option<Node>,
    pub sealed: BTreeMap<GroupId, Sealed>,
    pub parent: Option<SnapshotId>,
    pub requested_lock: Option<LockTerms>,
    pub gathered: Gathered,
}

impl Backup {
    pub fn new(world: &World, tenant: &str, writer: &str, session: Session, name: &str) -> Self {
        let of = world.tenant(tenant);
        let mut groups: Vec<GroupId> = of.groups.iter().copied().chain([of.home]).collect();
        groups.sort_unstable();
        groups.dedup();
        Self {
            tenant: tenant.into(),
            writer: writer.into(),
            snapshot: SnapshotId::from_bytes(fixed(&format!("snapshot {tenant} {name}"))),
            label: "/srv".into(),
            groups,
            sessions: BTreeMap::from([(session.group, session)]),
            leases: BTreeMap::new(),
            opened: None,
            contents: BTreeMap::new(),
            manifest: None,
            sealed: BTreeMap::new(),
            parent: None,
            requested_lock: None,
            gathered: Gathered::Alone,
        }
    }

    pub fn home(&self, world: &World) -> GroupId {
        world.tenant(&self.tenant).home
    }

    pub fn keys(&self, world: &World) -> DomainKeys {
        world.tenant(&self.tenant).domain(&self.writer)
    }

    pub fn submit(&mut self, world: &mut World, group: GroupId, body: Body) -> Outcome {
        let mut session = self.sessions[&group];
        let outcome = world.submit(&self.tenant, &self.writer, &mut session, body);
        self.sessions.insert(group, session);
        outcome
    }

    pub fn open_body(&self, world: &World) -> OpenSnapshot {
        let tenant = world.tenant(&self.tenant);
        OpenSnapshot {
            snapshot: self.snapshot,
            vault: tenant.vault,
            label: self.label.parse().unwrap(),
            domain: self.keys(world).domain,
            key_epoch: KeyEpoch(1),
            set_version: tenant.set_version,
            groups: self.groups.clone(),
            budget_bytes: 1 << 20,
            wraps: vec![tenant.wrap(&self.writer)],
            stream: self.gathered.stream().cloned(),
        }
    }

    pub fn open(&mut self, world: &mut World) -> Outcome {
        let (home, body) = (self.home(world), self.open_body(world));
        let outcome = self.submit(world, home, Body::OpenSnapshot(body));
        if let Outcome::Done(Done::SnapshotOpened { lease, opened, .. }) = &outcome {
            self.leases.insert(home, *lease);
            self.opened = Some(opened.clone());
        }
        outcome
    }

    pub fn join_command(&self, world: &World, group: GroupId) -> SignedCommand {
        let tenant = world.tenant(&self.tenant);
        let opened = claim(self.opened.clone().unwrap());
        tenant.seal_command(&self.writer, &tenant.command(group, &self.writer, Body::JoinSnapshot { opened }))
    }

    pub fn join(&mut self, world: &mut World, group: GroupId) -> Outcome {
        let signed = self.join_command(world, group);
        let outcome = world.group(group).client(signed);
        if let Outcome::Done(Done::Joined { session, lease, .. }) = &outcome {
            self.sessions.insert(group, Session { group, session: *session, lease: *lease, next: 1 });
            self.leases.insert(group, *lease);
        }
        outcome
    }

    pub fn register(&mut self, world: &mut World, group: GroupId, pieces: &[Piece]) -> Outcome {
        let body = Body::RegisterChunks {
            lease: self.leases[&group],
            vault: world.tenant(&self.tenant).vault,
            domain: self.keys(world).domain,
            chunks: pieces.iter().map(|piece| piece.registered(world.tenant(&self.tenant).dek(&self.writer))).collect(),
        };
        self.submit(world, group, body)
    }

    pub fn put(&mut self, world: &mut World, group: GroupId, nodes: &[Vec<u8>]) -> Outcome {
        let body = Body::PutNodes {
            lease: self.leases[&group],
            vault: world.tenant(&self.tenant).vault,
            domain: self.keys(world).domain,
            nodes: nodes.to_vec(),
        };
        self.submit(world, group, body)
    }

    /// Registers pieces, puts a leaf over them, and takes it for the content of that shard.
    pub fn fill(&mut self, world: &mut World, group: GroupId, pieces: &[Piece]) {
        done(self.register(world, group, pieces));
        let (node, bytes) = leaf(&self.keys(world), pieces);
        done(self.put(world, group, &[bytes]));
        self.contents.insert(group, node);
    }

    /// Registers a manifest of one chunk at home and puts its tree.
    pub fn fill_manifest(&mut self, world: &mut World) {
        let home = self.home(world);
        let piece = Piece::new(&format!("manifest of {}", self.snapshot), 0);
        done(self.register(world, home, &[piece]));
        let (node, bytes) = leaf(&self.keys(world), &[piece]);
        done(self.put(world, home, &[bytes]));
        self.manifest = Some(node);
    }

    pub fn roots(&self, world: &World, group: GroupId) -> Vec<TreeId> {
        let content = self.contents.get(&group).map(id_of);
        let manifest = if group == self.home(world) { self.manifest.as_ref().map(id_of) } else { None };
        content.into_iter().chain(manifest).collect()
    }

    /// Registers a record blob and seals the part.
    pub fn seal(&mut self, world: &mut World, group: GroupId) -> Outcome {
        let record = Piece::new(&format!("records of {} in {group}", self.snapshot), 0);
        let body = Body::RegisterChunks {
            lease: self.leases[&group],
            vault: world.tenant(&self.tenant).vault,
            domain: self.keys(world).domain,
            chunks: vec![record.registered(DekId::from_bytes([0; 16]))],
        };
        done(self.submit(world, group, body));
        let (snapshot, roots) = (self.snapshot, self.roots(world, group));
        let outcome = self.submit(world, group, Body::SealPart { snapshot, roots, records: vec![record.of] });
        if let Outcome::Done(Done::Sealed(sealed)) = &outcome {
            self.sealed.insert(group, sealed.clone());
        }
        outcome
    }

    pub fn envelope(&self, world: &World) -> Envelope {
        let tenant = world.tenant(&self.tenant);
        let manifest = self.manifest.as_ref().unwrap();
        let part = |(group, node): (&GroupId, &Node)| PartRoot {
            group: *group,
            root: Some(id_of(node)),
            stored_bytes: node.totals().stored_bytes,
            chunk_refs: node.totals().chunk_refs,
        };
        let mut parts: Vec<PartRoot> = self.contents.iter().map(part).collect();
        if parts.is_empty() {
            parts.push(PartRoot { group: self.home(world), root: None, stored_bytes: 0, chunk_refs: 0 });
        }
        Envelope {
            cluster: epoch(),
            tenant: tenant.id,
            vault: tenant.vault,
            snapshot: self.snapshot,
            writer: identity(&self.writer),
            key_epoch: KeyEpoch(1),
            domain: self.keys(world).domain,
            card: tenant.card(&self.writer, 1).digest(),
            statement_version: StatementVersion(1),
            policy_version: PolicyVersion(1),
            label: self.label.parse().unwrap(),
            classification: String::new(),
            purpose: String::new(),
            tags: BTreeMap::new(),
            requested_lock: self.requested_lock,
            deks: vec![tenant.dek(&self.writer)],
            set_version: tenant.set_version,
            manifest: ManifestRoot {
                root: id_of(manifest),
                stored_bytes: manifest.totals().stored_bytes,
                chunk_refs: manifest.totals().chunk_refs,
            },
            parts,
            parent: self.parent,
            gathered: self.gathered.clone(),
            summary: Vec::new(),
            client_time_unix_ms: 0,
            mac: Mac::ZERO,
        }
        .with_mac(&self.keys(world).sender_key)
    }

    pub fn signed_envelope(&self, world: &World, envelope: &Envelope) -> Vec<u8> {
        let key = world.tenant(&self.tenant).key(&self.writer);
        codec::encode(&Signed::new(envelope, &key).unwrap())
    }

    pub fn others(&self, world: &World) -> Vec<Attested<Sealed>> {
        let home = self.home(world);
        self.sealed.iter().filter(|(group, _)| **group != home).map(|(_, sealed)| claim(sealed.clone())).collect()
    }

    pub fn commit(&mut self, world: &mut World) -> Outcome {
        let envelope = self.envelope(world);
        self.commit_envelope(world, &envelope)
    }

    pub fn commit_envelope(&mut self, world: &mut World, envelope: &Envelope) -> Outcome {
        let envelope = self.signed_envelope(world, envelope);
        let sealed = self.others(world);
        let home = self.home(world);
        self.submit(world, home, Body::CommitSnapshot { envelope, sealed })
    }

    /// Everything up to the commit, with the content `names` spread over the shards in turn.
    pub fn prepare(&mut self, world: &mut World, names: &[&str]) {
        done(self.open(world));
        let home = self.home(world);
        for group in self.groups.clone() {
            if group != home {
                done(self.join(world, group));
            }
        }
        let shards = self.groups.len();
        for (number, group) in self.groups.clone().into_iter().enumerate() {
            let pieces: Vec<Piece> =
                names.iter().skip(number).step_by(shards).map(|name| Piece::new(name, 0)).collect();
            if !pieces.is_empty() {
                self.fill(world, group, &pieces);
            }
        }
        self.fill_manifest(world);
        for group in self.groups.clone() {
            done(self.seal(world, group));
        }
    }
}

/// A whole backup, committed and told to all shards.
pub fn back_up(world: &mut World, tenant: &str, writer: &str, name: &str, contents: &[&str]) -> SnapshotId {
    let session = world.open_session(tenant, writer);
    let mut backup = Backup::new(world, tenant, writer, session, name);
    backup.prepare(world, contents);
    done(backup.commit(world));
    world.decide();
    backup.snapshot
}
