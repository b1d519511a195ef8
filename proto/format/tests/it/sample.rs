//! One tenant with everything that it signs, wraps and proves, from fixed bytes.

use std::collections::BTreeMap;

use strongroom_format::chunk::Chunking;
use strongroom_format::code::{Code, Strength};
use strongroom_format::codec;
use strongroom_format::envelope::{Envelope, Mac, ManifestRoot, PartRoot};
use strongroom_format::gathered::{Gathered, NamedStream, StreamOf, Whole};
use strongroom_format::id::{
    ClusterEpoch, DekId, Digest, GroupId, IdentityId, KeyEpoch, Place, PolicyVersion, PublicKey, ReplicaId, SetVersion,
    SnapshotId, StatementVersion, TenantId, TenantTag, TicketId, TreeId, VaultId, VaultTag,
};
use strongroom_format::keys::{RestorerKey, RootKey, WriterKey};
use strongroom_format::lock::{LockMode, LockTerms};
use strongroom_format::merkle::{Frontier, MerkleHash, NodeAt, Salt};
use strongroom_format::receipt::{AuditEvent, AuditRecord, Checkpoint, Committed, Receipt, Voters};
use strongroom_format::role::Role;
use strongroom_format::seal::Dek;
use strongroom_format::sign::{Signed, SigningKey};
use strongroom_format::statement::{
    Custody, FoundingIdentity, FoundingRecord, Recipient, VaultMode, VaultStatement, WriterCard,
};
use strongroom_format::wrap::{DekWrap, VaultKeyPair};

/// `N` bytes that look random and are the same for ever: BLAKE3 of the name.
pub fn fixed<const N: usize>(name: &str) -> [u8; N] {
    let mut bytes = [0; N];
    blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub fn identity(name: &str) -> IdentityId {
    name.parse().unwrap()
}

pub const HOME: GroupId = GroupId(1);

/// The tenant `name`; other names have nothing in common.
pub struct Tenant {
    pub name: String,
    pub id: TenantId,
    pub tag: TenantTag,
    pub root: RootKey,
    pub signing: SigningKey,
    pub writer: WriterKey,
    pub restorer: RestorerKey,
    pub vault: VaultId,
    pub pair: VaultKeyPair,
}

impl Tenant {
    pub fn new(name: &str) -> Self {
        let secret = |what: &str| fixed::<32>(&format!("{name} {what}"));
        let id = TenantId::from_bytes(fixed(&format!("{name} tenant")));
        Self {
            name: name.into(),
            id,
            tag: TenantTag::from_bytes(fixed(&format!("{name} tag"))),
            root: RootKey::from_secret(secret("root")).unwrap(),
            signing: SigningKey::from_secret(secret("signing")).unwrap(),
            writer: WriterKey::from_secret(id, identity("web-1"), KeyEpoch(1), secret("writer")).unwrap(),
            restorer: RestorerKey::from_secret(identity("rita"), secret("restorer")).unwrap(),
            vault: VaultId::from_bytes(fixed(&format!("{name} vault"))),
            pair: VaultKeyPair::from_secret(secret("vault")).unwrap(),
        }
    }

    pub fn founding(&self) -> FoundingRecord {
        let person = |name: &str, roles: &[Role]| FoundingIdentity {
            identity: identity(name),
            roles: roles.to_vec(),
            signing_key: SigningKey::from_secret(fixed(&format!("{} {name}", self.name))).unwrap().public_key(),
        };
        FoundingRecord {
            tenant: self.id,
            name: self.name.parse().unwrap(),
            tag: self.tag,
            root: self.root.public_key(),
            version: StatementVersion(1),
            identities: vec![person("ada", &[Role::Admin]), person("rita", &[Role::Restorer, Role::Auditor])],
            approvers: vec![person("berta", &[Role::Approver])],
        }
    }

    pub fn statement(&self) -> VaultStatement {
        let recipient = |name: &str, key: &RestorerKey| {
            let entropy = fixed(&format!("{} wrap for {name}", self.name));
            Recipient::new(self.id, self.vault, &self.pair, &key.public_key(), entropy)
        };
        let second = RestorerKey::from_secret(identity("sam"), fixed(&format!("{} sam", self.name))).unwrap();
        VaultStatement {
            tenant: self.id,
            vault: self.vault,
            name: "home".parse().unwrap(),
            tag: VaultTag::from_bytes(fixed(&format!("{} vault tag", self.name))),
            version: StatementVersion(1),
            mode: VaultMode::Default,
            chunking: Chunking::Default,
            suite: VaultStatement::SUITE,
            custody: Custody::Tenant,
            public_key: self.pair.public_key().clone(),
            recipients: vec![recipient("rita", &self.restorer), recipient("sam", &second)],
        }
    }

    pub fn card(&self) -> WriterCard {
        let entropy = fixed(&format!("{} card", self.name));
        WriterCard::new(&self.writer, self.signing.public_key(), &self.statement(), entropy)
    }

    pub fn dek(&self) -> Dek {
        let id = DekId::from_bytes(fixed(&format!("{} dek id", self.name)));
        Dek::load(id, &fixed::<64>(&format!("{} dek", self.name))).unwrap()
    }

    pub fn wrap(&self) -> DekWrap {
        let card = self.card();
        let keys = self.writer.in_vault(&self.vault);
        let entropy = fixed(&format!("{} dek wrap", self.name));
        DekWrap::seal(&self.dek(), &card.place(), &keys.sender_key, self.pair.public_key(), entropy)
    }

    pub fn envelope(&self) -> Envelope {
        let keys = self.writer.in_vault(&self.vault);
        let part = |group: u32, root: Option<&str>, stored_bytes, chunk_refs| PartRoot {
            group: GroupId(group),
            root: root.map(|name| TreeId::from_bytes(fixed(name))),
            stored_bytes,
            chunk_refs,
        };
        Envelope {
            cluster: cluster(),
            tenant: self.id,
            vault: self.vault,
            snapshot: snapshot(),
            writer: self.writer.writer.clone(),
            key_epoch: self.writer.epoch,
            domain: keys.domain,
            card: self.card().digest(),
            statement_version: StatementVersion(1),
            policy_version: PolicyVersion(3),
            label: "/srv/www".parse().unwrap(),
            classification: "internal".into(),
            purpose: "nightly".into(),
            tags: BTreeMap::from([("host".into(), "web-1".into()), ("team".into(), "größe".into())]),
            requested_lock: Some(LockTerms { mode: LockMode::Governance, length_ms: 86_400_000 }),
            deks: vec![self.dek().id()],
            set_version: SetVersion(2),
            manifest: ManifestRoot {
                root: TreeId::from_bytes(fixed("manifest root")),
                stored_bytes: 70_000,
                chunk_refs: 1,
            },
            parts: vec![
                part(1, Some("part 1"), 1 << 30, 1024),
                part(2, None, 0, 0),
                part(3, Some("part 3"), 5_000_000_000, 4800),
            ],
            parent: Some(SnapshotId::from_bytes(fixed("parent"))),
            gathered: Gathered::Stream(stream_of()),
            summary: fixed::<100>("summary").to_vec(),
            client_time_unix_ms: 1_790_000_000_123,
            mac: Mac::ZERO,
        }
        .with_mac(&keys.sender_key)
    }

    /// A whole of that stream.
    pub fn whole(&self) -> Whole {
        let StreamOf { ticket, name } = stream_of();
        let writer = self.writer.writer.clone();
        Whole {
            ticket,
            streams: vec![NamedStream { name, writer, snapshot: snapshot(), envelope: self.envelope().digest() }],
        }
    }

    pub fn signed_envelope(&self) -> Signed<Envelope> {
        Signed::new(&self.envelope(), &self.signing).unwrap()
    }

    pub fn record(&self) -> AuditRecord {
        AuditRecord {
            group: HOME,
            place: Place { index: 900, position: 2 },
            elapsed_ms: 123_456,
            wall_unix_ms: 1_790_000_001_000,
            event: AuditEvent::Committed(Committed {
                snapshot: snapshot(),
                envelope: self.signed_envelope().digest(),
                strength: Strength { regions: 1, nodes: 2 },
                handed_over: 3,
                missing: 1,
            }),
        }
    }

    /// A receipt in a log of 11 leaves, its own the seventh, signed by members 1, 2 and 4.
    pub fn receipt(&self) -> Receipt {
        let salt = Salt(fixed("salt"));
        let mut log = Log::default();
        for n in 0..11_u64 {
            let leaf = if n == 6 { self.record().leaf(&salt) } else { MerkleHash(fixed(&format!("leaf {n}"))) };
            log.append(leaf);
        }
        let checkpoint = Checkpoint {
            cluster: cluster(),
            group: HOME,
            tenant: self.tag,
            size: 11,
            root: log.frontier.root(),
            log_index: 905,
            voters: Voters { keys: voters() }.digest(),
        };
        let signatures = [1, 2, 4].map(|n| checkpoint.sign(ReplicaId(n), &member(n)));
        Receipt {
            leaf_index: 6,
            salt,
            record: self.record(),
            proof: log.inclusion(6, 11),
            checkpoint,
            code: Code { k: 4, m: 2 },
            signatures: signatures.to_vec(),
        }
    }
}

pub fn cluster() -> ClusterEpoch {
    ClusterEpoch::from_bytes(fixed("cluster"))
}

pub fn snapshot() -> SnapshotId {
    SnapshotId::from_bytes(fixed("snapshot"))
}

pub fn stream_of() -> StreamOf {
    StreamOf { ticket: TicketId::from_bytes(fixed("ticket")), name: "shop-rows".parse().unwrap() }
}

pub fn digest(name: &str) -> Digest {
    Digest::from_bytes(fixed(name))
}

/// The signing key of member `n`.
pub fn member(n: u64) -> SigningKey {
    SigningKey::from_secret(fixed(&format!("member {n}"))).unwrap()
}

/// The public keys of the home shard's five voters.
pub fn voters() -> BTreeMap<ReplicaId, PublicKey> {
    (1..=5).map(|n| (ReplicaId(n), member(n).public_key())).collect()
}

/// A Merkle log with the rows that proofs need.
#[derive(Default)]
pub struct Log {
    pub frontier: Frontier,
    pub rows: BTreeMap<NodeAt, MerkleHash>,
}

impl Log {
    pub fn append(&mut self, leaf: MerkleHash) {
        // Through its row, as a node does.
        let mut frontier: Frontier = codec::decode(&codec::encode(&self.frontier)).unwrap();
        self.rows.extend(frontier.append(leaf));
        self.frontier = frontier;
    }

    pub fn read(&self, at: NodeAt) -> Result<MerkleHash, NodeAt> {
        self.rows.get(&at).copied().ok_or(at)
    }

    pub fn inclusion(&self, index: u64, size: u64) -> Vec<MerkleHash> {
        strongroom_format::merkle::inclusion_proof(index, size, |at| self.read(at)).unwrap()
    }

    pub fn consistency(&self, old: u64, new: u64) -> Vec<MerkleHash> {
        strongroom_format::merkle::consistency_proof(old, new, |at| self.read(at)).unwrap()
    }
}
