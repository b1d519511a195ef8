//! `vault quota set`, `identity quota set`, `tenant quota set`: how much there may be.

use std::num::NonZeroU64;

use serde::Serialize;
use strongroom_format::id::{IdentityId, TenantId, VaultName};
use strongroom_format::quota::{Quota, Quotas, TenantLimits};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Item;
use crate::quota_flags::QuotaFlags;
use crate::text::parse_rate;

/// Flags of `vault quota set`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an admin's profile. It counts in place of what was set before: what is not named is not limited any more. What is
there stays, also where it is more. Backups beyond a limit are refused with RESOURCE_EXHAUSTED/QUOTA (exit code 3).

Of stored bytes each of the tenant's shards keeps an equal share, so that a snapshot may be refused a little earlier.

Example:
  strongroom vault quota set papers --stored 2TiB --soft-stored 1500GiB --snapshots 5000")]
pub struct VaultQuotaSet {
    /// Which vault.
    #[arg(value_name = "NAME")]
    vault: VaultName,

    /// How much.
    #[command(flatten)]
    quotas: QuotaFlags,
}

/// Flags of `identity quota set`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an admin's profile. It is the writer's over all vaults: whoever steals its keys fills this and stops. It counts in
place of what was set before: what is not named is not limited any more. What is there stays.

Example:
  strongroom identity quota set web-1 --stored 200GiB --snapshots 1000 --sessions 16")]
pub struct IdentityQuotaSet {
    /// Whose.
    #[arg(value_name = "ID")]
    identity: IdentityId,

    /// How much.
    #[command(flatten)]
    quotas: QuotaFlags,
}

/// Flags of `tenant quota set`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs an operator's profile. It counts in place of what was set before: what is not named is not limited any more. What is
there stays. The tenant sees it in `usage`, and with the reason in its audit log.

Example:
  strongroom tenant quota set 0f0f… --stored 10TiB --upload-rate 200MiB --reason 'contract 17' --profile operator.toml")]
pub struct TenantQuotaSet {
    /// The tenant's id, as `tenant create` said.
    #[arg(value_name = "TENANT-ID")]
    tenant: TenantId,

    /// How much.
    #[command(flatten)]
    quotas: QuotaFlags,

    /// Let at most so many bytes a second come to each node: 50MiB.
    #[arg(long, env = "STRONGROOM_UPLOAD_RATE", value_name = "RATE", value_parser = parse_rate)]
    upload_rate: Option<NonZeroU64>,

    /// Why, for the tenant's audit log.
    #[arg(long, env = "STRONGROOM_REASON", value_name = "TEXT")]
    reason: String,
}

/// The result.
#[derive(Serialize)]
#[serde(tag = "type", rename = "quota")]
struct Shown {
    of: &'static str,
    name: String,
    logical_bytes: Limits,
    stored_bytes: Limits,
    snapshots: Limits,
    sessions: Limits,
    upload_bytes_per_second: Option<u64>,
}

#[derive(Serialize)]
struct Limits {
    soft: Option<u64>,
    hard: Option<u64>,
}

impl VaultQuotaSet {
    /// Sets them.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let quotas = self.quotas.quotas(false)?;
        context.client().await?.set_vault_quotas(&self.vault, quotas).await?;
        context.output.item(&Shown::new("vault", self.vault.to_string(), &quotas, None))?;
        Ok(Exit::Done)
    }
}

impl IdentityQuotaSet {
    /// Sets them.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let quotas = self.quotas.quotas(false)?;
        context.client().await?.set_writer_quotas(self.identity.clone(), quotas).await?;
        context.output.item(&Shown::new("writer", self.identity.to_string(), &quotas, None))?;
        Ok(Exit::Done)
    }
}

impl TenantQuotaSet {
    /// Sets them.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let quotas = self.quotas.quotas(self.upload_rate.is_some())?;
        let limits = TenantLimits { quotas, upload_bytes_per_second: self.upload_rate.map(NonZeroU64::get) };
        limits.check().map_err(|fault| Failure::usage(fault, "name a higher --upload-rate, or none"))?;
        context.operator().await?.limit_tenant(self.tenant, limits, self.reason).await?;
        let rate = limits.upload_bytes_per_second;
        context.output.item(&Shown::new("tenant", self.tenant.to_string(), &quotas, rate))?;
        Ok(Exit::Done)
    }
}

impl Shown {
    fn new(of: &'static str, name: String, quotas: &Quotas, upload_bytes_per_second: Option<u64>) -> Self {
        let limits = |Quota { soft, hard }: Quota| Limits { soft, hard };
        Self {
            of,
            name,
            logical_bytes: limits(quotas.logical_bytes),
            stored_bytes: limits(quotas.stored_bytes),
            snapshots: limits(quotas.snapshots),
            sessions: limits(quotas.sessions),
            upload_bytes_per_second,
        }
    }
}

impl Item for Shown {
    fn text(&self) -> String {
        format!("quotas of {} {} are set; `strongroom usage` shows them", self.of, self.name)
    }
}
