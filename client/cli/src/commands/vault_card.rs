//! `vault card`: a writer's card in a vault that exists, so that it can back up into it.

use std::path::PathBuf;

use serde::Serialize;
use strongroom::keyring::{self, read_key};
use strongroom::vaults::{CardInfo, NewWriter};
use strongroom_format::id::VaultName;
use strongroom_format::keys::WriterKey;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::public_key::public_key;

/// Flags of `vault card`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an admin's profile and the tenant's root key. For a writer that `vault create` did not name, or that has a new
key (the next epoch) after a theft.

Example:
  strongroom vault card papers --writer-key db-1.writer --root-key acme.root")]
pub struct VaultCard {
    /// Which vault.
    #[arg(value_name = "NAME")]
    vault: VaultName,

    /// The writer's key file.
    #[arg(long, env = "STRONGROOM_WRITER_KEY", value_name = "FILE")]
    writer_key: PathBuf,

    /// The writer's public signing key (64 hex digits or a .pub file), if it is not in the tenant's founding record.
    #[arg(long, env = "STRONGROOM_SIGNING", value_name = "PUB")]
    signing: Option<String>,

    /// The tenant's root key.
    #[arg(long, env = "STRONGROOM_ROOT_KEY", value_name = "FILE")]
    root_key: Option<PathBuf>,
}

/// The result.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "card")]
struct Given {
    vault: String,
    writer: String,
    epoch: u32,
    domain: String,
}

impl VaultCard {
    /// Gives the card.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let profile = context.profile()?;
        let root = keyring::root(&profile, self.root_key.as_deref())?;
        let writer = NewWriter {
            key: read_key::<WriterKey>(&self.writer_key)?,
            signing_key: self.signing.as_deref().map(public_key).transpose()?,
        };
        let CardInfo { writer, epoch, domain, .. } =
            context.client().await?.put_card(&self.vault, &writer, &root).await?;
        context.output.item(&Given {
            vault: self.vault.to_string(),
            writer: writer.to_string(),
            epoch: epoch.0,
            domain: domain.to_string(),
        })?;
        Ok(Exit::Done)
    }
}

impl Item for Given {
    fn text(&self) -> String {
        format!("writer {} (key {}) has a card in vault {}", self.writer, self.epoch, self.vault)
    }
}
