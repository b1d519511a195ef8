//! `vault delete`: ends a vault in which no snapshot is left.

use serde::Serialize;
use strongroom_format::id::VaultName;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;

/// Flags of `vault delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an admin's profile. A vault can be deleted once every snapshot in it was deleted: while one is locked or held, the
vault stays. Its name is never given again.

Example:
  strongroom vault delete papers --reason 'moved to the archive'")]
pub struct VaultDelete {
    /// The vault.
    #[arg(value_name = "NAME")]
    name: VaultName,

    /// Why, for the audit log.
    #[arg(long, env = "STRONGROOM_REASON", value_name = "TEXT")]
    reason: String,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "vault_deleted")]
struct Deleted {
    vault: String,
}

impl VaultDelete {
    /// Deletes it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.client().await?.delete_vault(&self.name, &self.reason).await?;
        context.output.item(&Deleted { vault: self.name.to_string() })?;
        Ok(Exit::Done)
    }
}

impl Item for Deleted {
    fn text(&self) -> String {
        format!("deleted vault {}; its name is never given again", self.vault)
    }
}
