//! `vault list`: the tenant's vaults.

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::vault_item::VaultItem;

/// Flags of `vault list`: none of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each statement is verified against the root key that the profile pins. Writers are in `vault show`.

Example:
  strongroom vault list --json | jq -r 'select(.type == \"vault\") | .name'")]
pub struct VaultList {}

impl VaultList {
    /// Lists them.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let vaults = context.client().await?.vaults().await?;
        let count = vaults.len() as u64;
        for vault in vaults {
            context.output.item(&VaultItem::from(vault))?;
        }
        context.output.end(count, "vaults")?;
        Ok(Exit::Done)
    }
}
