//! `vault show`: one vault, who can open it, who writes into it.

use strongroom_format::id::VaultName;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::vault_item::VaultItem;

/// Flags of `vault show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The statement and the cards are verified against the root key that the profile pins. A writer sees its own card.

Example:
  strongroom vault show papers")]
pub struct VaultShow {
    /// Which vault.
    #[arg(value_name = "NAME")]
    vault: VaultName,
}

impl VaultShow {
    /// Shows it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let vault = context.client().await?.vault(&self.vault).await?;
        context.output.item(&VaultItem::from(vault))?;
        Ok(Exit::Done)
    }
}
