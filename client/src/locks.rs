//! Policies, locks and holds: how long snapshots must stay, and who says so.
//!
//! Promises: an order is executed once; what is shown is what the home shard says at its read index. An order about a
//! lock or hold is decided when the call returns, and has reached every shard when [`Client::wait_until_all_have`]
//! returns. Not here: what a lock means (`strongroom_format::lock`), who may do what (the rules).

use std::time::Duration;

use bytes::Bytes;
use strongroom_format::command::Body;
use strongroom_format::id::{HoldName, SnapshotId, VaultId, VaultName};
use strongroom_format::lock::{LockMode, Longer};
use strongroom_format::lock_order::LockOrder;
use strongroom_format::outcome::Done;
use strongroom_format::policy::Policy;
use strongroom_format::policy_view::{LockView, PolicyView, PreviewPage, Previewed};
use strongroom_proto::v1 as pb;
use tokio::time::Instant;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::{Session, unexpected};
use crate::vault::{VerifiedVault, Wanted};

/// How often is looked whether all shards have an order.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Client {
    /// A vault's policy, its lock, and the names of which no good snapshot came in time.
    ///
    /// # Errors
    /// `Refused` with `NOT_FOUND` if there is no such vault.
    pub async fn policy(&self, vault: &VaultName) -> Result<PolicyView> {
        let vault = id_of(self, vault).await?;
        let reply = self
            .read(self.topology().home, |mut vaults| {
                let request = pb::GetPolicyRequest { vault: Bytes::copy_from_slice(vault.as_bytes()) };
                async move { vaults.get_policy(request).await }
            })
            .await?;
        read("a policy", &reply.policy)
    }

    /// Puts the next version of a vault's policy in force. Needs an admin's profile.
    ///
    /// # Errors
    /// `Refused` with `VERSION_CONFLICT` if another came first, `LOCK_OUT_OF_RANGE` if its numbers make no sense,
    /// `VAULT_LOCKED` if the vault is locked and it is looser, `TOO_THIN` if it newly asks for more regions than the
    /// tenant's shards survive.
    pub async fn set_policy(&self, vault: &VaultName, policy: Policy, reason: String) -> Result<()> {
        if self.policy(vault).await?.policy.least_regions < policy.least_regions {
            self.topology().check_least_regions(policy.least_regions)?;
        }
        let vault = id_of(self, vault).await?;
        self.order(LockOrder::SetPolicy { vault, policy, reason, approvals: Vec::new() }).await
    }

    /// What would become of a vault's snapshots if a policy were in force: hands each to `seen`, by name and then in the
    /// order of commits. Changes nothing.
    ///
    /// # Errors
    /// `Refused` with `INVALID` if the policy would be refused; what `seen` fails with.
    pub async fn preview_policy(
        &self,
        vault: &VaultName,
        policy: &Policy,
        mut seen: impl FnMut(Previewed) -> Result<()>,
    ) -> Result<()> {
        let vault = id_of(self, vault).await?;
        let policy = borsh::to_vec(policy).map_err(|fault| Error::failed("a policy", fault))?;
        let mut after = Bytes::new();
        loop {
            let request = pb::PreviewPolicyRequest {
                vault: Bytes::copy_from_slice(vault.as_bytes()),
                policy: policy.clone().into(),
                after: after.clone(),
                limit: 0,
            };
            let reply = self
                .read(self.topology().home, |mut vaults| {
                    let request = request.clone();
                    async move { vaults.preview_policy(request).await }
                })
                .await?;
            let page: PreviewPage = read("a preview", &reply.page)?;
            for previewed in page.snapshots {
                seen(previewed)?;
            }
            let Some(next) = page.next else { return Ok(()) };
            after = borsh::to_vec(&next).map_err(|fault| Error::failed("a place", fault))?.into();
        }
    }

    /// Locks a vault: after the cooling-off its policy only gets stricter, for ever. Needs an admin's profile.
    ///
    /// # Errors
    /// `Refused` with `VAULT_LOCKED` if that was asked for before.
    pub async fn lock_vault(&self, vault: &VaultName, cooling_off: Duration, reason: String) -> Result<()> {
        let vault = id_of(self, vault).await?;
        let cooling_off_ms = u64::try_from(cooling_off.as_millis()).unwrap_or(u64::MAX);
        self.order(LockOrder::LockVault { vault, cooling_off_ms, reason, approvals: Vec::new() }).await
    }

    /// Withdraws a vault's lock within its cooling-off. Needs an admin's or a legal profile.
    ///
    /// # Errors
    /// `Refused` with `VAULT_LOCKED` if the cooling-off is over.
    pub async fn withdraw_vault_lock(&self, vault: &VaultName, reason: String) -> Result<()> {
        let vault = id_of(self, vault).await?;
        self.order(LockOrder::WithdrawVaultLock { vault, reason }).await
    }

    /// What keeps a snapshot.
    ///
    /// # Errors
    /// `Refused` with `NOT_FOUND` if there is none, or it is another writer's.
    pub async fn lock(&self, snapshot: SnapshotId) -> Result<LockView> {
        let reply = self
            .read(self.topology().home, |mut vaults| {
                let request = pb::GetLockRequest { snapshot: Bytes::copy_from_slice(snapshot.as_bytes()) };
                async move { vaults.get_lock(request).await }
            })
            .await?;
        read("a lock", &reply.lock)
    }

    /// Makes a snapshot's lock longer or stricter. Needs an admin's or a legal profile.
    ///
    /// # Errors
    /// `Refused` with `LOCK_CANNOT_SHRINK` or `LOCK_OUT_OF_RANGE`.
    pub async fn extend_lock(
        &self,
        snapshot: SnapshotId,
        mode: LockMode,
        longer: Longer,
        reason: String,
    ) -> Result<()> {
        self.order(LockOrder::ExtendLock { snapshot, mode, longer, reason }).await
    }

    /// Asks that a governance lock be shorter, 72 hours from now. Needs an admin's profile.
    ///
    /// # Errors
    /// `Refused` with `RETENTION_ACTIVE` under compliance, `LOCK_OUT_OF_RANGE` or `VAULT_LOCKED` below the minimum.
    pub async fn weaken_lock(&self, snapshot: SnapshotId, length: Duration, reason: String) -> Result<()> {
        let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        self.order(LockOrder::WeakenLock { snapshot, length_ms, reason, approvals: Vec::new() }).await
    }

    /// Cancels such a wish. Needs an admin's or a legal profile.
    ///
    /// # Errors
    /// `Refused` with `NOT_FOUND` if there is none.
    pub async fn cancel_weakening(&self, snapshot: SnapshotId, reason: String) -> Result<()> {
        self.order(LockOrder::CancelWeakening { snapshot, reason }).await
    }

    /// Adds a legal hold. Needs a legal profile.
    ///
    /// # Errors
    /// `Refused` with `LIMIT` if there are 16.
    pub async fn add_hold(&self, snapshot: SnapshotId, hold: HoldName, reason: String) -> Result<()> {
        self.order(LockOrder::AddHold { snapshot, hold, reason }).await
    }

    /// Removes a legal hold. Needs a legal profile.
    ///
    /// # Errors
    /// `Refused` with `NOT_FOUND` if there is none of that name.
    pub async fn remove_hold(&self, snapshot: SnapshotId, hold: HoldName, reason: String) -> Result<()> {
        self.order(LockOrder::RemoveHold { snapshot, hold, reason, approvals: Vec::new() }).await
    }

    /// Waits until every shard with a part of the snapshot has what was ordered last, or until the deadline: then the
    /// answer still names who is behind.
    ///
    /// # Errors
    /// As [`Client::lock`].
    pub async fn wait_until_all_have(&self, snapshot: SnapshotId) -> Result<LockView> {
        let ends = Instant::now() + self.patience();
        loop {
            let view = self.lock(snapshot).await?;
            if view.behind.is_empty() || ends <= Instant::now() {
                return Ok(view);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn order(&self, order: LockOrder) -> Result<()> {
        let session = Session::open(self, self.topology().home, 0).await?;
        let done = session.call(Body::Lock(order)).await;
        session.end().await;
        match done? {
            Done::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}

async fn id_of(client: &Client, vault: &VaultName) -> Result<VaultId> {
    Ok(VerifiedVault::fetch(client, Wanted::Name(vault)).await?.statement.vault)
}

fn read<T: borsh::BorshDeserialize>(what: &'static str, bytes: &[u8]) -> Result<T> {
    borsh::from_slice(bytes).map_err(|fault| Error::failed(what, fault))
}
