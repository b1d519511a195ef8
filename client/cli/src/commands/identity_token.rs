//! `identity token`: a secret text with which somebody new becomes an identity of the tenant, once.

use std::time::Duration;

use serde::Serialize;
use strongroom::identities::NewIdentity;
use strongroom_format::id::IdentityId;
use strongroom_format::role::Role;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::text::parse_duration;

/// Flags of `identity token`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an admin's profile. The token is a secret until it is used: whoever has it becomes ID. It counts once, for minutes.
On the new machine: strongroom enrol TOKEN --out web-1.toml

Examples:
  strongroom identity token web-1 --role writer
  strongroom identity token olga --role auditor --lifetime 1h")]
pub struct IdentityToken {
    /// Its id, never used before in this tenant.
    #[arg(value_name = "ID")]
    identity: IdentityId,

    /// What it may do; may be repeated. An admin alone may give writer and auditor.
    #[arg(long, env = "STRONGROOM_ROLE", value_name = "ROLE", required = true, value_delimiter = ',', value_parser = role)]
    role: Vec<Role>,

    /// How long the token counts, at most an hour.
    #[arg(long, env = "STRONGROOM_LIFETIME", value_name = "TIME", default_value = "15m", value_parser = parse_duration)]
    lifetime: Duration,
}

/// The result.
#[derive(Serialize)]
#[serde(tag = "type", rename = "token")]
struct Issued {
    token: String,
    identity: String,
    roles: Vec<&'static str>,
}

impl IdentityToken {
    /// Issues it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let new =
            NewIdentity { id: self.identity.clone(), roles: self.role.clone(), locks: None, lifetime: self.lifetime };
        let token = context.client().await?.issue_token(new).await?;
        let roles = self.role.iter().map(|role| role.as_str()).collect();
        context.output.item(&Issued { token: token.to_string(), identity: self.identity.to_string(), roles })?;
        context.output.note("next, on its machine:  strongroom enrol TOKEN --out FILE.toml");
        Ok(Exit::Done)
    }
}

impl Item for Issued {
    fn text(&self) -> String {
        self.token.clone()
    }
}

/// A role by its word.
pub fn role(word: &str) -> Result<Role, String> {
    word.parse().map_err(|_| format!("`{word}` is no role; there are {}", Role::ALL.map(Role::as_str).join(", ")))
}
