//! Usage and quotas: how much there is of a tenant, its vaults and writers, and how much there may be.
//!
//! It is what the tenant's shards count, each at its own read index, as the node that answers says: good for people and
//! alarms. What is decided is decided by the rules. Not here: what blobs lie where (`status.rs`).

use strongroom_format::command::Body;
use strongroom_format::id::{IdentityId, VaultId, VaultName};
use strongroom_format::quota::{Quota, QuotaSubject, Quotas};
use strongroom_proto::v1 as pb;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::Session;

/// How much there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Of the tenant; `None`: the caller is a writer, who sees its own.
    pub tenant: Option<Charged>,
    /// Of its vaults, with their ids.
    pub vaults: Vec<(VaultId, Charged)>,
    /// Of its writers.
    pub writers: Vec<Charged>,
    /// How many bytes a second may be sent to one node; `None`: as many as go.
    pub upload_bytes_per_second: Option<u64>,
}

/// What is counted of one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charged {
    /// The vault's or writer's name; empty: the tenant.
    pub name: String,
    /// Stored bytes that committed snapshots refer to, each reference counted.
    pub logical_bytes: Measured,
    /// Stored bytes, each counted once.
    pub stored_bytes: Measured,
    /// Snapshots.
    pub snapshots: Measured,
    /// Open sessions.
    pub sessions: Measured,
}

/// How much there is of one measure, and how much there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// How much there is.
    pub used: u64,
    /// What uploads that are under way may still add.
    pub under_way: u64,
    /// How much there may be.
    pub quota: Quota,
}

impl Measured {
    /// What is compared with quotas.
    pub fn charged(&self) -> u64 {
        self.used.saturating_add(self.under_way)
    }
}

impl Client {
    /// How much there is of the tenant, its vaults and writers. A writer sees its own.
    ///
    /// # Errors
    /// `Unavailable` if a shard of the tenant does not answer: a sum without it would be wrong.
    pub async fn usage(&self) -> Result<Usage> {
        let home = self.topology().home;
        let reply = self.read(home, |mut vaults| async move { vaults.usage(pb::UsageRequest {}).await }).await?;
        let vaults = reply.vaults.into_iter().map(|charged| {
            let id = VaultId::from_slice(&charged.vault);
            let id = id.map_err(|_| Error::broken("the node's answer has no usable vault"))?;
            Ok((id, read(charged)))
        });
        Ok(Usage {
            tenant: reply.tenant.map(read),
            vaults: vaults.collect::<Result<_>>()?,
            writers: reply.writers.into_iter().map(read).collect(),
            upload_bytes_per_second: Some(reply.upload_bytes_per_second).filter(|rate| *rate != 0),
        })
    }

    /// Says how much a vault may have, in place of what was said before.
    ///
    /// # Errors
    /// `Refused` if the caller is no admin, there is no such vault, or the quotas make no sense.
    pub async fn set_vault_quotas(&self, vault: &VaultName, quotas: Quotas) -> Result<()> {
        let vault = self.vault(vault).await?.id;
        self.set_quotas(QuotaSubject::Vault(vault), quotas).await
    }

    /// Says how much a writer may have in all vaults, in place of what was said before.
    ///
    /// # Errors
    /// As [`Client::set_vault_quotas`].
    pub async fn set_writer_quotas(&self, writer: IdentityId, quotas: Quotas) -> Result<()> {
        self.set_quotas(QuotaSubject::Writer(writer), quotas).await
    }

    async fn set_quotas(&self, of: QuotaSubject, quotas: Quotas) -> Result<()> {
        let session = Session::open(self, self.topology().home, 0).await?;
        let done = session.call(Body::SetQuotas { of, quotas }).await;
        session.end().await;
        done.map(|_done| ())
    }
}

fn read(charged: pb::Charged) -> Charged {
    let measured = |measured: Option<pb::Measured>| {
        let pb::Measured { used, under_way, soft, hard } = measured.unwrap_or_default();
        Measured { used, under_way, quota: Quota { soft, hard } }
    };
    Charged {
        name: charged.name,
        logical_bytes: measured(charged.logical_bytes),
        stored_bytes: measured(charged.stored_bytes),
        snapshots: measured(charged.snapshots),
        sessions: measured(charged.sessions),
    }
}
