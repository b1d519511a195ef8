//! `tenant suspend`, `tenant resume`, `tenant end`: whether a tenant's people may do anything.

use serde::Serialize;
use strongroom::governance::Standing;
use strongroom_format::id::TenantId;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;

/// Flags of `tenant suspend` and `tenant resume`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an operator's profile. Suspended, a tenant's people may do nothing; nothing of it is lost, and locks go on.

Examples:
  strongroom tenant suspend 0f0f… --reason 'the contract is under review' --profile operator.toml
  strongroom tenant resume 0f0f… --reason 'signed' --profile operator.toml")]
pub struct TenantStanding {
    /// The tenant's id, as `tenant create` said.
    #[arg(value_name = "TENANT-ID")]
    tenant: TenantId,

    /// Why, for the tenant's audit log.
    #[arg(long, env = "STRONGROOM_REASON", value_name = "TEXT")]
    reason: String,
}

/// Flags of `tenant end`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an operator's profile. There is no way back: the tenant's people never do anything again, and its name and id are
never given again. What is locked stays as long as was promised.

Example:
  strongroom tenant end 0f0f… --reason 'the contract ended' --for-ever --profile operator.toml")]
pub struct TenantEnd {
    /// Which, and why.
    #[command(flatten)]
    standing: TenantStanding,

    /// Says that you know that there is no way back.
    #[arg(long, env = "STRONGROOM_FOR_EVER", required = true, value_parser = clap::builder::FalseyValueParser::new())]
    for_ever: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "tenant_standing")]
struct Shown {
    id: String,
    standing: &'static str,
}

impl TenantStanding {
    /// Suspends it.
    pub async fn suspend(self, context: &Context) -> Result<Exit, Failure> {
        self.set(context, Standing::Suspend).await
    }

    /// Lets it go on.
    pub async fn resume(self, context: &Context) -> Result<Exit, Failure> {
        self.set(context, Standing::Resume).await
    }

    async fn set(self, context: &Context, standing: Standing) -> Result<Exit, Failure> {
        context.operator().await?.set_standing(self.tenant, standing, self.reason).await?;
        let word = match standing {
            Standing::Suspend => "suspended",
            Standing::Resume => "active",
            Standing::End => "ended",
        };
        context.output.item(&Shown { id: self.tenant.to_string(), standing: word })?;
        Ok(Exit::Done)
    }
}

impl TenantEnd {
    /// Ends it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        if !self.for_ever {
            return Err(Failure::usage("ending a tenant cannot be undone", "say --for-ever if that is meant"));
        }
        self.standing.set(context, Standing::End).await
    }
}

impl Item for Shown {
    fn text(&self) -> String {
        format!("tenant {} is {}", self.id, self.standing)
    }
}
