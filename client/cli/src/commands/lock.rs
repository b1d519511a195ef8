//! `lock show|extend|weaken|cancel`: how long a snapshot must stay.

use std::time::Duration;

use clap::builder::FalseyValueParser;
use strongroom::client::Client;
use strongroom::error::Error;
use strongroom_format::id::SnapshotId;
use strongroom_format::lock::{LockMode, Longer};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::lengths;
use crate::lock_item::{Shown, none_of};
use crate::text::{length, moment_of};
use crate::which::Which;

/// Flags of `lock show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The date is the plain one. A lock begins within seconds of its commit (until then it is locked whatever the date), lasts
a thousandth longer than it says, and runs on the cluster's compliance clock, which no wall clock can hurry.

Example:
  strongroom lock show latest --vault papers")]
pub struct LockShow {
    /// Which snapshot.
    #[command(flatten)]
    which: Which,
}

/// Flags of `lock extend`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an admin's or a legal profile. A lock only grows: an earlier date or a weaker mode is refused, whoever asks. The
command waits until every shard that holds a part has the longer lock; until then `lock show` says PENDING, and exit
code 7 says that the deadline came first (the order stands and is carried on).

Examples:
  strongroom lock extend 3f0a91c2 --until-date 2030-01-01 --reason 'the audit asks for it'
  strongroom lock extend latest --vault papers --length 1y --compliance")]
pub struct LockExtend {
    /// Which snapshot.
    #[command(flatten)]
    which: Which,

    /// How long in all, from its beginning: 30d, 12h, 1w, 1y.
    #[arg(long, env = "STRONGROOM_LENGTH", value_name = "LENGTH", value_parser = lengths::parse,
          required_unless_present = "until_date", conflicts_with = "until_date")]
    length: Option<Duration>,

    /// Until this time (RFC 3339 or a date).
    #[arg(long, env = "STRONGROOM_UNTIL_DATE", value_name = "TIME", value_parser = moment_of)]
    until_date: Option<i64>,

    /// Under compliance from now on: nobody can take it back.
    #[arg(long, env = "STRONGROOM_COMPLIANCE", value_parser = FalseyValueParser::new())]
    compliance: bool,

    /// Why, for the audit log.
    #[arg(long, env = "STRONGROOM_REASON", value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Flags of `lock weaken`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an admin's profile and a reason. Only governance locks are ever weakened, never below the vault's minimum, and not
at once: 72 hours pass in which every other admin and everybody who is legal may cancel it.

Example:
  strongroom lock weaken 3f0a91c2 --length 1d --reason 'backed up the wrong disk'")]
pub struct LockWeaken {
    /// Which snapshot.
    #[command(flatten)]
    which: Which,

    /// How long in all then, from its beginning.
    #[arg(long, env = "STRONGROOM_LENGTH", value_name = "LENGTH", value_parser = lengths::parse)]
    length: Duration,

    /// Why, for the audit log.
    #[arg(long, env = "STRONGROOM_REASON", value_name = "TEXT")]
    reason: String,
}

/// Flags of `lock cancel`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an admin's or a legal profile.

Example:
  strongroom lock cancel 3f0a91c2 --reason 'nobody told us'")]
pub struct LockCancel {
    /// Which snapshot.
    #[command(flatten)]
    which: Which,

    /// Why, for the audit log.
    #[arg(long, env = "STRONGROOM_REASON", value_name = "TEXT", default_value = "")]
    reason: String,
}

impl LockShow {
    /// Shows it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let snapshot = self.which.resolve(&client).await?;
        context.output.item(&Shown::new(snapshot, client.lock(snapshot).await?))?;
        Ok(Exit::Done)
    }
}

impl LockExtend {
    /// Extends it, and waits until all shards have that.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let snapshot = self.which.resolve(&client).await?;
        let longer = match (self.length, self.until_date) {
            (Some(length), _) => Longer::Length { length_ms: lengths::milliseconds(length) },
            (None, until) => Longer::Until { date_unix_ms: until.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0) },
        };
        let now = client.lock(snapshot).await?.lock.filter(|lock| !lock.over).map(|lock| lock.terms.mode);
        let mode = if self.compliance { LockMode::Compliance } else { now.unwrap_or(LockMode::Governance) };
        if let Err(error) = client.extend_lock(snapshot, mode, longer, self.reason).await {
            return Err(with_range(&client, snapshot, error).await.into());
        }
        let shown = Shown::new(snapshot, client.wait_until_all_have(snapshot).await?);
        context.output.item(&shown)?;
        Ok(if shown.is_everywhere() { Exit::Done } else { Exit::Unavailable })
    }
}

impl LockWeaken {
    /// Asks for it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let snapshot = self.which.resolve(&client).await?;
        if let Err(error) = client.weaken_lock(snapshot, self.length, self.reason).await {
            let error = none_of("lock", "that is in force", error);
            return Err(with_range(&client, snapshot, error).await.into());
        }
        context.output.item(&Shown::new(snapshot, client.lock(snapshot).await?))?;
        Ok(Exit::Done)
    }
}

/// A refusal for a length, with the range that the vault's policy permits and how to change it.
async fn with_range(client: &Client, snapshot: SnapshotId, error: Error) -> Error {
    if error.reason() != Some("LOCK_OUT_OF_RANGE") {
        return error;
    }
    let asked = async {
        let vault = client.snapshots(None).await?.into_iter().find(|info| info.id == snapshot).map(|info| info.vault);
        Ok::<_, Error>(match vault {
            Some(vault) => Some((client.policy(&vault).await?.policy, vault)),
            None => None,
        })
    };
    let Ok(Some((policy, vault))) = asked.await else { return error };
    let message = match (policy.lock_min_ms, policy.lock_max_ms) {
        (_, 0) => format!("vault {vault} permits no locks: its policy's greatest length is 0, as in every new vault"),
        (least, most) => format!("vault {vault} permits locks of {} to {}", length(least), length(most)),
    };
    let next = format!(
        "ask for a length within that, or have an admin change it: \
         `strongroom vault policy set {vault} --max LENGTH --reason TEXT` (--min for the least), then run this again"
    );
    Error::Refused { code: "INVALID_ARGUMENT", reason: "LOCK_OUT_OF_RANGE".into(), message, next }
}

impl LockCancel {
    /// Cancels it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let snapshot = self.which.resolve(&client).await?;
        let cancelled = client.cancel_weakening(snapshot, self.reason).await;
        cancelled.map_err(|error| none_of("wish to weaken its lock", "that could be cancelled", error))?;
        context.output.item(&Shown::new(snapshot, client.lock(snapshot).await?))?;
        Ok(Exit::Done)
    }
}
