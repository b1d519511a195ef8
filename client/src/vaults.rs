//! Vaults: creating one where the tenant's root key is, and seeing what there is.
//!
//! ```text
//!   random key pair ─▶ statement: public half, private half wrapped for each recipient ─ root key signs ─▶ CreateVault
//!   writer's key ─▶ card: its keys in this vault, sealed to the vault                  ─ root key signs ─▶ PutCard
//! ```
//!
//! Promises: the vault's private key exists here for the time of the making and is then with its recipients only; what
//! is shown was verified against the pinned root key. Not here: key files (`keyring.rs`).

use strongroom_format::chunk::Chunking;
use strongroom_format::codec;
use strongroom_format::command::Body;
use strongroom_format::id::{
    DomainId, IdentityId, KeyEpoch, PolicyVersion, PublicKey, StatementVersion, VaultId, VaultName, VaultTag,
};
use strongroom_format::keys::{RestorerPublicKey, RootKey, WriterKey};
use strongroom_format::lock::LockTerms;
use strongroom_format::outcome::Done;
use strongroom_format::policy::{KeepRules, Policy};
use strongroom_format::sign::{Signed, digest_of};
use strongroom_format::statement::{Custody, Recipient, VaultMode, VaultStatement, WriterCard};
use strongroom_format::wrap::VaultKeyPair;
use strongroom_proto::v1 as pb;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::random::random;
use crate::session::{Session, unexpected};
use crate::vault::{VerifiedVault, Wanted};

/// A vault to be made.
#[derive(Clone, Debug)]
pub struct NewVault {
    /// Its name.
    pub name: VaultName,
    /// What it hides from nodes.
    pub mode: VaultMode,
    /// How its streams are cut; ignored in a hardened vault.
    pub chunking: Chunking,
    /// Who can open it; at least one.
    pub recipients: Vec<RestorerPublicKey>,
    /// Who may write into it.
    pub writers: Vec<NewWriter>,
    /// The lock that a snapshot gets unless its writer may choose.
    pub default_lock: Option<LockTerms>,
    /// The least and the greatest length of a lock, in milliseconds.
    pub lock_range_ms: (u64, u64),
    /// How many more regions may be lost, at least, after a commit.
    pub least_regions: u8,
}

impl NewVault {
    /// A vault for these recipients and writers, without locks.
    pub fn new(name: VaultName, recipients: Vec<RestorerPublicKey>, writers: Vec<NewWriter>) -> Self {
        Self {
            name,
            mode: VaultMode::Default,
            chunking: Chunking::Default,
            recipients,
            writers,
            default_lock: None,
            lock_range_ms: (0, 0),
            least_regions: 0,
        }
    }
}

/// A writer who gets a card.
#[derive(Clone, Debug)]
pub struct NewWriter {
    /// Its key.
    pub key: WriterKey,
    /// The key that signs its commands; `None`: as in the tenant's founding record.
    pub signing_key: Option<PublicKey>,
}

impl From<WriterKey> for NewWriter {
    fn from(key: WriterKey) -> Self {
        Self { key, signing_key: None }
    }
}

/// A vault, as its verified statement and cards say.
#[derive(Clone, Debug)]
pub struct VaultInfo {
    /// Its id.
    pub id: VaultId,
    /// Its name.
    pub name: VaultName,
    /// The statement's version.
    pub version: StatementVersion,
    /// What it hides from nodes.
    pub mode: VaultMode,
    /// How its streams are cut.
    pub chunking: Chunking,
    /// Who can open it, by name.
    pub recipients: Vec<IdentityId>,
    /// Its policy.
    pub policy: Policy,
    /// Its writers' cards, as far as the caller may see them; empty in lists.
    pub cards: Vec<CardInfo>,
}

/// A writer's card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardInfo {
    /// The writer.
    pub writer: IdentityId,
    /// Its key epoch.
    pub epoch: KeyEpoch,
    /// Its domain.
    pub domain: DomainId,
    /// The key that signs its commands.
    pub signing_key: PublicKey,
}

impl Client {
    /// Creates a vault and gives its writers their cards. Needs the tenant's root key and an admin's profile.
    ///
    /// # Errors
    /// `Refused` with `RECIPIENTS`, `SIGNING_KEY` or `TOO_THIN` before anything is sent, else with the rules' reason. If a card is
    /// refused, the vault exists: [`Client::put_card`] gives the others.
    pub async fn create_vault(&self, new: NewVault, root: &RootKey) -> Result<VaultInfo> {
        self.topology().check_least_regions(new.least_regions)?;
        let statement = self.statement_of(&new)?;
        let signed = Signed::new(&statement, root.signing_key())?;
        let cards =
            new.writers.iter().map(|writer| self.card_of(writer, &statement, root)).collect::<Result<Vec<_>>>()?;
        let policy = Policy {
            version: PolicyVersion(1),
            default_lock: new.default_lock,
            lock_min_ms: new.lock_range_ms.0,
            lock_max_ms: new.lock_range_ms.1,
            least_regions: new.least_regions,
            keep: KeepRules::default(),
            expected_every_ms: None,
        };
        let session = Session::open(self, self.topology().home, 0).await?;
        let created =
            session.call(Body::CreateVault { statement: codec::encode(&signed), policy: policy.clone() }).await;
        let made = match created {
            Ok(Done::VaultCreated { vault }) if vault == statement.vault => {
                self.0.state.note_statement(vault, statement.version, digest_of(&statement))?;
                put_cards(&session, &cards).await
            }
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(error),
        };
        session.end().await;
        made?;
        let cards = cards.iter().map(|(card, _)| CardInfo::of(card)).collect();
        Ok(VaultInfo { cards, ..VaultInfo::of(&statement, policy) })
    }

    /// Gives a writer its card in a vault. Needs the tenant's root key and an admin's profile.
    ///
    /// # Errors
    /// `Refused` with `SIGNING_KEY` before anything is sent, else with the rules' reason.
    pub async fn put_card(&self, vault: &VaultName, writer: &NewWriter, root: &RootKey) -> Result<CardInfo> {
        let vault = VerifiedVault::fetch(self, Wanted::Name(vault)).await?;
        let card = self.card_of(writer, &vault.statement, root)?;
        let session = Session::open(self, self.topology().home, 0).await?;
        let put = put_cards(&session, std::slice::from_ref(&card)).await;
        session.end().await;
        put.map(|()| CardInfo::of(&card.0))
    }

    /// The tenant's vaults, by name.
    ///
    /// # Errors
    /// `Refused` with `PROVENANCE_INVALID` or `ROLLBACK_DETECTED` if a statement is not what it must be.
    pub async fn vaults(&self) -> Result<Vec<VaultInfo>> {
        let vaults = self.verified_vaults().await?;
        Ok(vaults.into_iter().map(|vault| VaultInfo::of(&vault.statement, vault.policy)).collect())
    }

    /// One vault with its cards.
    ///
    /// # Errors
    /// As [`Client::vaults`]; `Refused` with `NOT_FOUND` if there is none of that name.
    pub async fn vault(&self, name: &VaultName) -> Result<VaultInfo> {
        let vault = VerifiedVault::fetch(self, Wanted::Name(name)).await?;
        let cards = vault.cards.iter().map(|card| CardInfo::of(&card.card)).collect();
        Ok(VaultInfo { cards, ..VaultInfo::of(&vault.statement, vault.policy) })
    }

    /// Whether a vault's statement names this recipient with this very key.
    ///
    /// # Errors
    /// As [`Client::vault`].
    pub async fn names_recipient(&self, vault: &VaultName, key: &RestorerPublicKey) -> Result<bool> {
        let vault = VerifiedVault::fetch(self, Wanted::Name(vault)).await?;
        let is_named = |row: &Recipient| row.identity == key.identity && row.public_key == key.public_key;
        Ok(vault.statement.recipients.iter().any(is_named))
    }

    pub(crate) async fn verified_vaults(&self) -> Result<Vec<VerifiedVault>> {
        let home = self.topology().home;
        let reply =
            self.read(home, |mut vaults| async move { vaults.list_vaults(pb::ListVaultsRequest {}).await }).await?;
        reply.vaults.into_iter().map(|vault| VerifiedVault::verify(self, vault, Vec::new())).collect()
    }

    fn statement_of(&self, new: &NewVault) -> Result<VaultStatement> {
        let tenant = self.tenant();
        let vault = VaultId::from_bytes(random()?);
        let pair =
            VaultKeyPair::from_secret(random()?).map_err(|fault| Error::failed("no key could be made", fault))?;
        let mut recipients = Vec::with_capacity(new.recipients.len());
        for recipient in &new.recipients {
            recipients.push(Recipient::new(tenant, vault, &pair, recipient, random()?));
        }
        recipients.sort_by(|a, b| a.identity.cmp(&b.identity));
        let twice = recipients.windows(2).any(|two| two[0].identity == two[1].identity);
        if recipients.is_empty() || VaultStatement::RECIPIENTS_MAX < recipients.len() || twice {
            return Err(Error::refused(
                "INVALID_ARGUMENT",
                "RECIPIENTS",
                "a vault has 1 to 64 recipients, each once: who else could open what is in it?",
                "name the public keys of its restorers",
            ));
        }
        Ok(VaultStatement {
            tenant,
            vault,
            name: new.name.clone(),
            tag: VaultTag::from_bytes(random()?),
            version: StatementVersion(1),
            mode: new.mode,
            chunking: match new.mode {
                VaultMode::Hardened => Chunking::Hardened,
                VaultMode::Default => new.chunking,
            },
            suite: VaultStatement::SUITE,
            custody: Custody::Tenant,
            public_key: pair.public_key().clone(),
            recipients,
        })
    }

    fn card_of(
        &self,
        NewWriter { key, signing_key }: &NewWriter,
        statement: &VaultStatement,
        root: &RootKey,
    ) -> Result<(WriterCard, Vec<u8>)> {
        if key.tenant != statement.tenant {
            return Err(Error::refused(
                "INVALID_ARGUMENT",
                "KEY_FILE",
                format_args!("the key of writer {} is of another tenant", key.writer),
                "make the writer's key with this tenant's founding record",
            ));
        }
        let topology = self.topology();
        let founder = topology.founding.identities.iter().find(|one| one.identity == key.writer);
        let signing_key = signing_key.or(founder.map(|one| one.signing_key)).ok_or_else(|| {
            Error::refused(
                "INVALID_ARGUMENT",
                "SIGNING_KEY",
                format_args!("writer {} was enrolled later than the founding record", key.writer),
                "name its public signing key",
            )
        })?;
        let card = WriterCard::new(key, signing_key, statement, random()?);
        let bytes = codec::encode(&Signed::new(&card, root.signing_key())?);
        Ok((card, bytes))
    }
}

async fn put_cards(session: &Session, cards: &[(WriterCard, Vec<u8>)]) -> Result<()> {
    for (_, bytes) in cards {
        match session.call(Body::PutCard { card: bytes.clone() }).await? {
            Done::Done => {}
            other => return Err(unexpected(&other)),
        }
    }
    Ok(())
}

impl VaultInfo {
    fn of(statement: &VaultStatement, policy: Policy) -> Self {
        Self {
            id: statement.vault,
            name: statement.name.clone(),
            version: statement.version,
            mode: statement.mode,
            chunking: statement.chunking,
            recipients: statement.recipients.iter().map(|row| row.identity.clone()).collect(),
            policy,
            cards: Vec::new(),
        }
    }
}

impl CardInfo {
    fn of(card: &WriterCard) -> Self {
        Self { writer: card.writer.clone(), epoch: card.epoch, domain: card.domain, signing_key: card.signing_key }
    }
}
