//! A tenant and everything that it can sign.

use strongroom_format::chunk::Chunking;
use strongroom_format::codec;
use strongroom_format::command::{Body, Command, SignedCommand};
use strongroom_format::enrolment::{Redemption, SignedRedemption, request_digest, token_digest};
use strongroom_format::id::{
    DekId, Digest, GroupId, KeyEpoch, PolicyVersion, SetVersion, StatementVersion, TenantId, TenantTag, VaultId,
    VaultTag,
};
use strongroom_format::keys::{DomainKeys, RestorerKey, RootKey, WriterKey};
use strongroom_format::lock::{LockMode, LockTerms};
use strongroom_format::policy::{KeepRules, Policy};
use strongroom_format::role::Role;
use strongroom_format::seal::Dek;
use strongroom_format::sign::{self, Signed, SigningKey};
use strongroom_format::statement::{
    Custody, FoundingIdentity, FoundingRecord, IssuerAcceptance, Recipient, VaultMode, VaultStatement, WriterCard,
    issuer_digest,
};
use strongroom_format::wrap::{DekWrap, VaultKeyPair};

use crate::group::{HOUR_MS, epoch, fixed, identity, signing_key};

/// A tenant and everything that it can sign.
pub struct Tenant {
    pub name: String,
    pub id: TenantId,
    pub home: GroupId,
    pub groups: Vec<GroupId>,
    pub set_version: SetVersion,
    pub root: RootKey,
    pub vault: VaultId,
    pub pair: VaultKeyPair,
    /// Besides [`ADMIN`].
    pub more_admins: Vec<String>,
    /// Whether its vault locks nothing by itself.
    pub unlocked: bool,
}

pub const OPERATOR: &str = "olga";
pub const OFFICER: &str = "sven";
pub const ADMIN: &str = "ada";
pub const RESTORER: &str = "rita";
pub const APPROVER: &str = "berta";
pub const AUDITOR: &str = "albert";
pub const LEGAL: &str = "lena";
pub const WRITER: &str = "web-1";
pub const OTHER_WRITER: &str = "web-2";

impl Tenant {
    pub fn new(name: &str) -> Self {
        let secret = |what: &str| fixed::<32>(&format!("{name} {what}"));
        Self {
            name: name.into(),
            id: TenantId::from_bytes(fixed(&format!("{name} tenant"))),
            home: GroupId(1),
            groups: Vec::new(),
            set_version: SetVersion(1),
            root: RootKey::from_secret(secret("root")).unwrap(),
            vault: VaultId::from_bytes(fixed(&format!("{name} vault"))),
            pair: VaultKeyPair::from_secret(secret("vault")).unwrap(),
            more_admins: Vec::new(),
            unlocked: false,
        }
    }

    pub fn key(&self, who: &str) -> SigningKey {
        signing_key(&format!("{} {who}", self.name))
    }

    pub fn founding(&self) -> FoundingRecord {
        let person = |name: &str, roles: &[Role]| FoundingIdentity {
            identity: identity(name),
            roles: roles.to_vec(),
            signing_key: self.key(name).public_key(),
        };
        let mut identities =
            vec![person(ADMIN, &[Role::Admin]), person(AUDITOR, &[Role::Auditor]), person(RESTORER, &[Role::Restorer])];
        identities.push(person(LEGAL, &[Role::Legal]));
        identities.extend(self.more_admins.iter().map(|name| person(name, &[Role::Admin])));
        identities.sort_by(|one, other| one.identity.cmp(&other.identity));
        FoundingRecord {
            tenant: self.id,
            name: self.name.parse().unwrap(),
            tag: TenantTag::from_bytes(fixed(&format!("{} tag", self.name))),
            root: self.root.public_key(),
            version: StatementVersion(1),
            identities,
            approvers: vec![person(APPROVER, &[Role::Approver])],
        }
    }

    pub fn signed_founding(&self) -> Vec<u8> {
        codec::encode(&self.founding().sign(&self.root).unwrap())
    }

    pub fn statement(&self, version: u32) -> VaultStatement {
        let restorer = RestorerKey::from_secret(identity(RESTORER), fixed(&format!("{} opens", self.name))).unwrap();
        let entropy = fixed(&format!("{} wrap for the restorer", self.name));
        VaultStatement {
            tenant: self.id,
            vault: self.vault,
            name: "home".parse().unwrap(),
            tag: VaultTag::from_bytes(fixed(&format!("{} vault tag", self.name))),
            version: StatementVersion(version),
            mode: VaultMode::Default,
            chunking: Chunking::Default,
            suite: VaultStatement::SUITE,
            custody: Custody::Tenant,
            public_key: self.pair.public_key().clone(),
            recipients: vec![Recipient::new(self.id, self.vault, &self.pair, &restorer.public_key(), entropy)],
        }
    }

    pub fn signed_statement(&self, version: u32) -> Vec<u8> {
        self.sign(&self.statement(version))
    }

    pub fn sign<T: codec::Format>(&self, value: &T) -> Vec<u8> {
        codec::encode(&Signed::new(value, self.root.signing_key()).unwrap())
    }

    pub fn writer_key(&self, writer: &str, epoch: u32) -> WriterKey {
        let secret = fixed(&format!("{} {writer} {epoch}", self.name));
        WriterKey::from_secret(self.id, identity(writer), KeyEpoch(epoch), secret).unwrap()
    }

    pub fn domain(&self, writer: &str) -> DomainKeys {
        self.writer_key(writer, 1).in_vault(&self.vault)
    }

    pub fn card(&self, writer: &str, epoch: u32) -> WriterCard {
        let entropy = fixed(&format!("{} {writer} card {epoch}", self.name));
        let key = self.writer_key(writer, epoch);
        WriterCard::new(&key, self.key(writer).public_key(), &self.statement(1), entropy)
    }

    pub fn dek(&self, writer: &str) -> DekId {
        DekId::from_bytes(fixed(&format!("{} {writer} dek", self.name)))
    }

    pub fn wrap(&self, writer: &str) -> Vec<u8> {
        let secret = fixed::<64>(&format!("{} {writer} dek secret", self.name));
        let dek = Dek::load(self.dek(writer), &secret).unwrap();
        let card = self.card(writer, 1);
        let keys = self.domain(writer);
        let entropy = fixed(&format!("{} {writer} dek wrap", self.name));
        codec::encode(&DekWrap::seal(&dek, &card.place(), &keys.sender_key, self.pair.public_key(), entropy))
    }

    /// A command, unsigned and not in a session.
    pub fn command(&self, group: GroupId, who: &str, body: Body) -> Command {
        Command {
            cluster: epoch(),
            group,
            tenant: self.id,
            principal: identity(who),
            session: None,
            sequence: 0,
            needs_previous: false,
            body,
        }
    }

    /// The policy of its vault.
    pub fn policy(&self) -> Policy {
        let policy = policy();
        if self.unlocked { Policy { default_lock: None, ..policy } } else { policy }
    }

    /// Signed where it must be.
    pub fn seal_command(&self, who: &str, command: &Command) -> SignedCommand {
        if command.body.is_deciding() {
            sign::sign_command(command, &self.key(who))
        } else {
            sign::unsigned_command(command)
        }
    }
}

/// The policy of every vault here: 30 days, unless asked for 1 to 60.
pub fn policy() -> Policy {
    Policy {
        version: PolicyVersion(1),
        default_lock: Some(LockTerms { mode: LockMode::Governance, length_ms: 30 * 24 * HOUR_MS }),
        lock_min_ms: 24 * HOUR_MS,
        lock_max_ms: 60 * 24 * HOUR_MS,
        least_regions: 0,
        keep: KeepRules::default(),
        expected_every_ms: None,
    }
}

/// The key of a token.
pub fn token_key(name: &str) -> SigningKey {
    signing_key(&format!("token {name}"))
}

/// What a token is found by.
pub fn token(name: &str) -> Digest {
    token_digest(&token_key(name).public_key())
}

/// The end of every wall clock here, unless a test says otherwise.
pub const WALL_END: u64 = u64::MAX;

impl Tenant {
    /// What the bearer of a token asks, as `who`.
    pub fn redeem(&self, name: &str, who: &str) -> SignedRedemption {
        let (token, key) = (token_key(name), self.key(who));
        let redemption = Redemption {
            cluster: epoch(),
            group: self.home,
            tenant: Some(self.id),
            token: token.public_key(),
            signing_key: key.public_key(),
            request: request_digest(b"request"),
            node: None,
        };
        SignedRedemption::new(&redemption, &token, &key).unwrap()
    }

    /// That the tenant accepts a CA.
    pub fn accepts(&self, certificate: &[u8], version: u32) -> Vec<u8> {
        let issuer = issuer_digest(certificate);
        let version = StatementVersion(version);
        self.sign(&IssuerAcceptance { tenant: self.id, cluster: epoch(), issuer, version })
    }
}

/// A token of an hour for a writer or whoever else.
pub fn issue_body(name: &str, who: &str, roles: &[Role]) -> Body {
    Body::IssueToken {
        token: token(name),
        identity: identity(who),
        roles: roles.to_vec(),
        locks: None,
        lifetime_ms: HOUR_MS,
        wall_end_unix_ms: WALL_END,
        approvals: Vec::new(),
    }
}
