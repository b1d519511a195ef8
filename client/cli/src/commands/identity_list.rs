//! `identity list`: the people and machines of the tenant.

use serde::Serialize;
use strongroom::identities::Identity;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;

/// Flags of `identity list`: none of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Closed ones stay in the list: no id is ever given again.

Example:
  strongroom identity list --json | jq -r 'select(.type == \"identity\" and .open) | .id'")]
pub struct IdentityList {}

#[derive(Serialize)]
#[serde(tag = "type", rename = "identity")]
struct Shown {
    id: String,
    roles: Vec<&'static str>,
    open: bool,
    signing_key: String,
    enrolled_by: Option<String>,
}

impl IdentityList {
    /// Lists them.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let identities = context.client().await?.identities().await?;
        let count = identities.len() as u64;
        for identity in identities {
            context.output.item(&Shown::from(identity))?;
        }
        context.output.end(count, "identities")?;
        Ok(Exit::Done)
    }
}

impl From<Identity> for Shown {
    fn from(identity: Identity) -> Self {
        Self {
            id: identity.id.to_string(),
            roles: identity.roles.iter().map(|role| role.as_str()).collect(),
            open: identity.is_open,
            signing_key: identity.signing_key.to_string(),
            enrolled_by: identity.enrolled_by.map(|by| by.to_string()),
        }
    }
}

impl Item for Shown {
    fn text(&self) -> String {
        let state = if self.open { "open  " } else { "closed" };
        let by = self.enrolled_by.as_deref().unwrap_or("the founding record");
        format!("{state}  {:<20}  {}  (by {by})", self.id, self.roles.join(", "))
    }
}
