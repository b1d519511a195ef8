//! `vault create`: a new vault, its recipients and its writers' cards, signed by the tenant's root key.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use strongroom::keyring::{self, read_key, read_public};
use strongroom::vaults::{NewVault, NewWriter};
use strongroom_format::id::VaultName;
use strongroom_format::statement::VaultMode;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::vault_item::VaultItem;

/// Flags of `vault create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an admin's profile, the tenant's root key, the public key of each restorer and the key of each writer. What no
flag names is taken from the profile's [keys]: root, recipients, writers. Whoever holds none of the recipients' keys can
never open what is in the vault: name two restorers, and keep one key far away.

Examples:
  strongroom vault create papers
  strongroom vault create papers --root-key acme.root --recipient rita.restorer.pub --recipient safe.restorer.pub \\
      --writer-key web-1.writer --writer-key db-1.writer
  strongroom vault create secrets --hardened --least-regions 1")]
pub struct VaultCreate {
    /// The vault's name, unique in the tenant.
    #[arg(value_name = "NAME")]
    vault: VaultName,

    /// The tenant's root key.
    #[arg(long, env = "STRONGROOM_ROOT_KEY", value_name = "FILE")]
    root_key: Option<PathBuf>,

    /// Who can open the vault: the .pub file of a restorer's key; as often as there are restorers.
    #[arg(long, env = "STRONGROOM_RECIPIENT", value_name = "PUB", value_delimiter = ',')]
    recipient: Vec<PathBuf>,

    /// Who may write into it: a writer's key file; as often as there are writers.
    #[arg(long, env = "STRONGROOM_WRITER_KEY", value_name = "FILE", value_delimiter = ',')]
    writer_key: Vec<PathBuf>,

    /// Hide also whether a known file is in it: fixed cuts, no compression, no deduplication across edits.
    #[arg(long, env = "STRONGROOM_HARDENED", value_parser = FalseyValueParser::new())]
    hardened: bool,

    /// Refuse a backup that would survive the loss of fewer regions than this.
    #[arg(long, env = "STRONGROOM_LEAST_REGIONS", value_name = "N", default_value_t = 0)]
    least_regions: u8,
}

impl VaultCreate {
    /// Creates the vault.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let profile = context.profile()?;
        let root = keyring::root(&profile, self.root_key.as_deref())?;
        let recipients = match &self.recipient[..] {
            [] => keyring::recipients(&profile)?,
            named => named.iter().map(|path| read_public(path)).collect::<Result<_, _>>()?,
        };
        let writers = match &self.writer_key[..] {
            [] => keyring::writers(&profile)?,
            named => named.iter().map(|path| read_key(path)).collect::<Result<_, _>>()?,
        };
        let mut new = NewVault::new(self.vault, recipients, writers.into_iter().map(NewWriter::from).collect());
        if self.hardened {
            new.mode = VaultMode::Hardened;
        }
        new.least_regions = self.least_regions;
        if new.writers.is_empty() {
            context.output.note("no writer key is named: nobody can back up into this vault until `vault card`");
        }
        let made = context.client().await?.create_vault(new, &root).await?;
        context.output.item(&VaultItem::from(made))?;
        Ok(Exit::Done)
    }
}
