//! `vault lock`: after a cooling-off a vault's policy only gets stricter, for ever.

use std::time::Duration;

use clap::builder::FalseyValueParser;
use serde::Serialize;
use strongroom_format::id::VaultName;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::lengths;
use crate::output::Item;
use crate::text::time_of_ms;

/// Flags of `vault lock`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an admin's profile. Within the cooling-off the lock can be withdrawn, by an admin or by somebody legal; after it by
nobody: minimum, default and maximum of locks, keep rules and the expected interval then only get stricter.

Examples:
  strongroom vault lock papers --for-ever --reason 'the law asks for it'
  strongroom vault lock papers --withdraw --reason 'the wrong vault'")]
pub struct VaultLock {
    /// Which vault.
    #[arg(value_name = "NAME")]
    vault: VaultName,

    /// How long it may be withdrawn: 1 hour to 30 days.
    #[arg(long, env = "STRONGROOM_COOLING_OFF", value_name = "LENGTH", value_parser = lengths::parse, default_value = "72h")]
    cooling_off: Duration,

    /// Says that you know that there is no way back after the cooling-off.
    #[arg(long, env = "STRONGROOM_FOR_EVER", value_parser = FalseyValueParser::new(),
          required_unless_present = "withdraw")]
    for_ever: bool,

    /// Withdraw the lock instead.
    #[arg(long, env = "STRONGROOM_WITHDRAW", value_parser = FalseyValueParser::new())]
    withdraw: bool,

    /// Why, for the audit log.
    #[arg(long, env = "STRONGROOM_REASON", value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "vault_lock")]
struct Shown {
    vault: String,
    in_force: bool,
    due: Option<String>,
}

impl VaultLock {
    /// Locks it, or withdraws the lock.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        if !self.for_ever && !self.withdraw {
            return Err(Failure::usage("a vault's lock cannot be undone", "say --for-ever if that is meant"));
        }
        let client = context.client().await?;
        if self.withdraw {
            client.withdraw_vault_lock(&self.vault, self.reason).await?;
        } else {
            client.lock_vault(&self.vault, self.cooling_off, self.reason).await?;
        }
        let lock = client.policy(&self.vault).await?.lock;
        context.output.item(&Shown {
            vault: self.vault.to_string(),
            in_force: lock.as_ref().is_some_and(|lock| lock.in_force),
            due: lock.and_then(|lock| time_of_ms(lock.due_unix_ms)),
        })?;
        Ok(Exit::Done)
    }
}

impl Item for Shown {
    fn text(&self) -> String {
        match (&self.due, self.in_force) {
            (Some(due), false) => {
                format!("vault {} will be LOCKED for ever at {due}; until then it can be withdrawn", self.vault)
            }
            (Some(due), true) => format!("vault {} is LOCKED since {due}", self.vault),
            (None, _) => format!("vault {} is not locked", self.vault),
        }
    }
}
