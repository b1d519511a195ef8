//! `hold add|remove`: legal holds, which keep a snapshot whatever its lock says.

use strongroom_format::id::HoldName;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::lock_item::{Shown, none_of};
use crate::which::Which;

/// Flags of `hold add`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs a legal profile. A snapshot may have 16 holds; it stays until each is removed. The command waits until every shard
that holds a part has the hold (exit code 7: the deadline came first; the hold stands and is carried on).

Example:
  strongroom hold add 3f0a91c2 case-2026-17 --reason 'letter of the 3rd of May'")]
pub struct HoldAdd {
    /// Which snapshot.
    #[command(flatten)]
    which: Which,

    /// The hold's name, unique in the snapshot.
    #[arg(value_name = "HOLD")]
    hold: HoldName,

    /// Why, for the audit log.
    #[arg(long, env = "STRONGROOM_REASON", value_name = "TEXT")]
    reason: String,
}

/// Flags of `hold remove`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs a legal profile. Other holds and the lock go on keeping the snapshot.

Example:
  strongroom hold remove 3f0a91c2 case-2026-17 --reason 'the case was closed'")]
pub struct HoldRemove {
    /// Which, and why.
    #[command(flatten)]
    what: HoldAdd,
}

impl HoldAdd {
    /// Adds it, and waits until all shards have it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let snapshot = self.which.resolve(&client).await?;
        client.add_hold(snapshot, self.hold, self.reason).await?;
        let shown = Shown::new(snapshot, client.wait_until_all_have(snapshot).await?);
        context.output.item(&shown)?;
        Ok(if shown.is_everywhere() { Exit::Done } else { Exit::Unavailable })
    }
}

impl HoldRemove {
    /// Removes it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let snapshot = self.what.which.resolve(&client).await?;
        let removed = client.remove_hold(snapshot, self.what.hold.clone(), self.what.reason).await;
        removed.map_err(|error| none_of("hold", &format!("of the name {}", self.what.hold), error))?;
        context.output.item(&Shown::new(snapshot, client.lock(snapshot).await?))?;
        Ok(Exit::Done)
    }
}
