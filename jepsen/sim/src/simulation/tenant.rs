//! Who signs in a simulation: nodes, an operator, tenants with their people. Keys follow from names and are the same in
//! every run; what costs to sign is signed once.
//!
//! Not here: what they ask for (`client.rs`).

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use strongroom_core::genesis::{Genesis, GenesisIssuer, GenesisNode, GenesisOperator};
use strongroom_format::chunk::Chunking;
use strongroom_format::codec;
use strongroom_format::command::{Body, Command, OperatorBody, OperatorCommand, SignedCommand};
use strongroom_format::id::{
    ClusterEpoch, DekId, Digest, GroupId, IdentityId, KeyEpoch, NodeName, Nonce, PolicyVersion, SessionId,
    StatementVersion, TenantId, TenantTag, VaultId, VaultTag,
};
use strongroom_format::keys::{DomainKeys, RestorerKey, RootKey, WriterKey};
use strongroom_format::lock::{LockMode, LockTerms};
use strongroom_format::policy::{KeepRules, Policy};
use strongroom_format::role::{OperatorRole, Plane, Role};
use strongroom_format::seal::Dek;
use strongroom_format::sign::{self, Signed, SigningKey};
use strongroom_format::statement::{
    Custody, FoundingIdentity, FoundingRecord, Recipient, VaultMode, VaultStatement, WriterCard,
};
use strongroom_format::wrap::{DekWrap, VaultKeyPair};

use crate::simulation::clocks::BEGAN_UNIX_MS;

/// Keeps everything in order.
pub(crate) const ADMIN: &str = "ada";
/// Adds holds.
pub(crate) const LEGAL: &str = "lena";
const RESTORER: &str = "rita";
const OPERATOR: &str = "olga";
/// Who backs up.
pub(crate) const WRITERS: [&str; 2] = ["web-1", "web-2"];

const DAY_MS: u64 = 86_400_000;

/// `N` bytes that look random and are the same for ever: BLAKE3 of the name.
pub(crate) fn fixed<const N: usize>(name: &str) -> [u8; N] {
    let mut bytes = [0; N];
    blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn named<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> T {
    name.parse().expect("names in this file are names")
}

fn signing_key(name: &str) -> SigningKey {
    SigningKey::from_secret(fixed(&format!("signing {name}"))).expect("32 bytes of a hash make a key")
}

/// The life of the cluster.
pub(crate) fn epoch() -> ClusterEpoch {
    ClusterEpoch::from_bytes(fixed("epoch"))
}

/// A node's signing key.
pub(crate) fn node_key(node: &NodeName) -> SigningKey {
    signing_key(&format!("node {node}"))
}

/// So many nodes, each in one of three regions, and so many shards.
pub(crate) fn genesis(nodes: usize, shards: u32) -> Genesis {
    let regions = nodes.min(3);
    let region = |number: usize| named(&format!("r{number}"));
    let node = |number: usize| {
        let name: NodeName = named(&format!("n{}", number + 1));
        GenesisNode {
            region: region(number % regions),
            peer: format!("127.0.0.1:{}", 1000 + number),
            tenant: format!("127.0.0.1:{}", 2000 + number),
            operator: format!("127.0.0.1:{}", 3000 + number),
            signing_key: node_key(&name).public_key(),
            name,
        }
    };
    let operator = GenesisOperator {
        identity: named(OPERATOR),
        roles: vec![OperatorRole::PlatformOperator],
        signing_key: signing_key(OPERATOR).public_key(),
    };
    let issuer = |plane| GenesisIssuer { plane, certificate: format!("ca of plane {plane}").into_bytes() };
    let mut genesis = Genesis {
        cluster: named("vault"),
        epoch: epoch(),
        regions: (0..regions).map(region).collect(),
        nodes: (0..nodes).map(node).collect(),
        shards: Vec::new(),
        operators: vec![operator],
        issuers: vec![issuer(Plane::Peer), issuer(Plane::Operator)],
        accept_region_loss: false,
        single_node: nodes == 1,
        clock_ms: BEGAN_UNIX_MS,
    };
    genesis.place_shards(shards);
    genesis
}

/// What an operator asks.
pub(crate) fn operator_command(number: u64, body: OperatorBody) -> SignedCommand {
    let nonce = Nonce::from_bytes(fixed(&format!("operator nonce {number}")));
    let command = OperatorCommand { cluster: epoch(), operator: named(OPERATOR), nonce, body };
    sign::sign_operator_command(&command, &signing_key(OPERATOR))
}

/// A tenant and everything that it can sign.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    pub(crate) id: TenantId,
    pub(crate) vault: VaultId,
    /// Canonical bytes of its signed founding record.
    pub(crate) founding: Vec<u8>,
    /// Canonical bytes of the signed statement of its vault.
    pub(crate) statement: Vec<u8>,
    pub(crate) writers: BTreeMap<&'static str, Writer>,
}

/// One who backs up.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) domain: DomainKeys,
    /// Canonical bytes of its signed card.
    pub(crate) card: Vec<u8>,
    pub(crate) card_digest: Digest,
    pub(crate) dek: DekId,
    /// Canonical bytes of the wrap of its key.
    pub(crate) wrap: Vec<u8>,
}

/// All tenants that simulations have.
static TENANTS: LazyLock<Vec<Arc<Tenant>>> =
    LazyLock::new(|| ["acme", "globex"].into_iter().map(|name| Arc::new(Tenant::new(name))).collect());

/// The first tenants.
pub(crate) fn tenants(count: usize) -> Vec<Arc<Tenant>> {
    TENANTS.iter().take(count).cloned().collect()
}

impl Tenant {
    fn new(name: &str) -> Self {
        let secret = |what: &str| fixed::<32>(&format!("{name} {what}"));
        let root = RootKey::from_secret(secret("root")).expect("32 bytes of a hash make a key");
        let pair = VaultKeyPair::from_secret(secret("vault")).expect("32 bytes of a hash make a key");
        let (id, vault) = (
            TenantId::from_bytes(fixed(&format!("{name} tenant"))),
            VaultId::from_bytes(fixed(&format!("{name} vault"))),
        );
        let person = |who: &str, roles: &[Role]| FoundingIdentity {
            identity: named(who),
            roles: roles.to_vec(),
            signing_key: key(name, who).public_key(),
        };
        let mut identities =
            vec![person(ADMIN, &[Role::Admin]), person(LEGAL, &[Role::Legal]), person(RESTORER, &[Role::Restorer])];
        identities.extend(WRITERS.map(|writer| person(writer, &[Role::Writer])));
        identities.sort_by(|one, other| one.identity.cmp(&other.identity));
        let founding = FoundingRecord {
            tenant: id,
            name: named(name),
            tag: TenantTag::from_bytes(fixed(&format!("{name} tag"))),
            root: root.public_key(),
            version: StatementVersion(1),
            identities,
            approvers: vec![],
        };
        let restorer = RestorerKey::from_secret(named(RESTORER), secret("opens")).expect("it is a key");
        let statement = VaultStatement {
            tenant: id,
            vault,
            name: named("home"),
            tag: VaultTag::from_bytes(fixed(&format!("{name} vault tag"))),
            version: StatementVersion(1),
            mode: VaultMode::Default,
            chunking: Chunking::Default,
            suite: VaultStatement::SUITE,
            custody: Custody::Tenant,
            public_key: pair.public_key().clone(),
            recipients: vec![Recipient::new(
                id,
                vault,
                &pair,
                &restorer.public_key(),
                fixed(&format!("{name} recipient")),
            )],
        };
        let writer = |who: &'static str| {
            let secret = fixed(&format!("{name} {who} 1"));
            let writer = WriterKey::from_secret(id, named(who), KeyEpoch(1), secret).expect("it is a key");
            let entropy = fixed(&format!("{name} {who} card"));
            let card = WriterCard::new(&writer, key(name, who).public_key(), &statement, entropy);
            let domain = writer.in_vault(&vault);
            let dek = DekId::from_bytes(fixed(&format!("{name} {who} dek")));
            let secret = fixed::<64>(&format!("{name} {who} dek secret"));
            let sealed = Dek::load(dek, &secret).expect("it is a key");
            let entropy = fixed(&format!("{name} {who} dek wrap"));
            let wrap = DekWrap::seal(&sealed, &card.place(), &domain.sender_key, pair.public_key(), entropy);
            let (wrap, card_digest) = (codec::encode(&wrap), card.digest());
            (who, Writer { domain, card: signed(&root, &card), card_digest, dek, wrap })
        };
        Self {
            name: name.into(),
            id,
            vault,
            founding: codec::encode(&founding.sign(&root).expect("it is its root")),
            statement: signed(&root, &statement),
            writers: WRITERS.map(writer).into(),
        }
    }

    /// Somebody's signing key.
    pub(crate) fn key(&self, who: &str) -> SigningKey {
        key(&self.name, who)
    }

    /// Who somebody is.
    pub(crate) fn identity(who: &str) -> IdentityId {
        named(who)
    }

    /// A command, signed where it must be.
    pub(crate) fn command(
        &self,
        group: GroupId,
        who: &str,
        session: Option<SessionId>,
        sequence: u64,
        body: Body,
    ) -> SignedCommand {
        let command = Command {
            cluster: epoch(),
            group,
            tenant: self.id,
            principal: named(who),
            session,
            sequence,
            needs_previous: false,
            body,
        };
        match command.body.is_deciding() {
            true => sign::sign_command(&command, &self.key(who)),
            false => sign::unsigned_command(&command),
        }
    }
}

fn key(tenant: &str, who: &str) -> SigningKey {
    signing_key(&format!("{tenant} {who}"))
}

fn signed<T: codec::Format>(root: &RootKey, value: &T) -> Vec<u8> {
    codec::encode(&Signed::new(value, root.signing_key()).expect("what these files make is not too long"))
}

/// The policy of every vault: a compliance lock of so long by default, longer if asked for.
pub(crate) fn policy(lock_ms: u64) -> Policy {
    Policy {
        version: PolicyVersion(1),
        default_lock: Some(LockTerms { mode: LockMode::Compliance, length_ms: lock_ms }),
        lock_min_ms: lock_ms,
        lock_max_ms: DAY_MS,
        least_regions: 0,
        keep: KeepRules::default(),
        expected_every_ms: None,
    }
}
