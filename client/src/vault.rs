//! A vault as this client believes it: its statement verified against the pinned root key and against what was seen
//! before, its cards likewise.
//!
//! Promises: nothing is sealed to or opened from a vault whose statement is not signed by the tenant's root key, is of
//! another tenant or name, names an unknown suite, or is older than one that this machine has seen (N119). Not here:
//! making vaults (`vaults.rs`).

use bytes::Bytes;
use strongroom_format::codec;
use strongroom_format::id::{Digest, VaultId, VaultName};
use strongroom_format::policy::Policy;
use strongroom_format::sign::Signed;
use strongroom_format::statement::{VaultStatement, WriterCard};
use strongroom_proto::v1 as pb;

use crate::client::Client;
use crate::error::{Error, Result};

/// A vault whose statement was verified.
#[derive(Clone, Debug)]
pub(crate) struct VerifiedVault {
    pub statement: VaultStatement,
    /// Canonical bytes of the signed statement.
    pub statement_bytes: Bytes,
    pub policy: Policy,
    pub cards: Vec<VerifiedCard>,
}

/// A writer card whose signature was verified.
#[derive(Clone, Debug)]
pub(crate) struct VerifiedCard {
    pub card: WriterCard,
    /// Canonical bytes of the signed card.
    pub bytes: Bytes,
}

/// Which vault.
#[derive(Clone, Debug)]
pub(crate) enum Wanted<'a> {
    Name(&'a VaultName),
    Id(VaultId),
}

impl VerifiedVault {
    /// Fetches a vault with the cards that the caller may see, and verifies all of it.
    pub(crate) async fn fetch(client: &Client, wanted: Wanted<'_>) -> Result<Self> {
        let request = match &wanted {
            Wanted::Name(name) => pb::GetVaultRequest { name: name.to_string(), id: Bytes::new() },
            Wanted::Id(id) => pb::GetVaultRequest { name: String::new(), id: Bytes::copy_from_slice(id.as_bytes()) },
        };
        let home = client.topology().home;
        let reply = client
            .read(home, |mut vaults| {
                let request = request.clone();
                async move { vaults.get_vault(request).await }
            })
            .await
            .map_err(|error| no_such(&wanted, error))?;
        let vault = reply.vault.ok_or_else(|| Error::broken("the node's answer has no vault"))?;
        let verified = Self::verify(client, vault, reply.cards)?;
        let asked = match wanted {
            Wanted::Name(name) => verified.statement.name == *name,
            Wanted::Id(id) => verified.statement.vault == id,
        };
        if !asked {
            return Err(Error::provenance("the node answered with another vault's statement"));
        }
        Ok(verified)
    }

    /// Verifies what a node says about a vault.
    pub(crate) fn verify(client: &Client, vault: pb::Vault, cards: Vec<Bytes>) -> Result<Self> {
        let root = client.profile().tenant()?.root;
        let signed: Signed<VaultStatement> = codec::decode(&vault.statement)?;
        let statement =
            signed.open(&root).map_err(|fault| Error::provenance(format_args!("the vault's statement: {fault}")))?;
        if statement.tenant != client.tenant() || vault.id.as_ref() != statement.vault.as_bytes() {
            return Err(Error::provenance("the vault's statement is about another vault"));
        }
        statement.require_known_suite().map_err(|fault| {
            Error::refused("INVALID_ARGUMENT", "UNSUPPORTED_FORMAT", fault, "update this program: nothing was sealed")
        })?;
        client.0.state.note_statement(statement.vault, statement.version, signed.digest())?;
        let policy = borsh::from_slice(&vault.policy).map_err(|fault| Error::failed("the vault's policy", fault))?;
        let cards = cards
            .into_iter()
            .map(|bytes| VerifiedCard::verify(client, &statement, bytes))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { statement, statement_bytes: vault.statement, policy, cards })
    }

    /// The card with this digest.
    pub(crate) fn card(&self, digest: &Digest) -> Option<&VerifiedCard> {
        self.cards.iter().find(|card| card.card.digest() == *digest)
    }
}

/// Of a vault that is not there, or is another tenant's, its name is said: whoever asked knows it.
fn no_such(wanted: &Wanted<'_>, error: Error) -> Error {
    match (wanted, error.reason()) {
        (Wanted::Name(name), Some("NOT_FOUND")) => Error::refused(
            "NOT_FOUND",
            "NOT_FOUND",
            format_args!("there is no vault {name}, or it is not yours"),
            "`strongroom vault list` shows yours",
        ),
        _ => error,
    }
}

impl VerifiedCard {
    /// Verifies a card against the pinned root key.
    pub(crate) fn verify(client: &Client, statement: &VaultStatement, bytes: Bytes) -> Result<Self> {
        let root = client.profile().tenant()?.root;
        let signed: Signed<WriterCard> = codec::decode(&bytes)?;
        let card = signed.open(&root).map_err(|fault| Error::provenance(format_args!("a writer's card: {fault}")))?;
        if card.tenant != statement.tenant || card.vault != statement.vault {
            return Err(Error::provenance("a writer's card is about another vault"));
        }
        Ok(Self { card, bytes })
    }
}
