//! `identity close`: somebody may do nothing any more, for ever.

use serde::Serialize;
use strongroom_format::id::IdentityId;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;

/// Flags of `identity close`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an admin's profile. What the identity made stays. Its id is never given again, and it is never opened again.

Example:
  strongroom identity close web-1 --reason 'the machine was stolen'")]
pub struct IdentityClose {
    /// Whose.
    #[arg(value_name = "ID")]
    identity: IdentityId,

    /// Why, for the audit log.
    #[arg(long, env = "STRONGROOM_REASON", value_name = "TEXT")]
    reason: String,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "identity_closed")]
struct Closed {
    id: String,
}

impl IdentityClose {
    /// Closes it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.client().await?.close_identity(self.identity.clone(), self.reason).await?;
        context.output.item(&Closed { id: self.identity.to_string() })?;
        Ok(Exit::Done)
    }
}

impl Item for Closed {
    fn text(&self) -> String {
        format!("closed {} for ever; its open streams end within five seconds", self.id)
    }
}
