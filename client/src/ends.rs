//! Ends: deleting snapshots and vaults, and the proof that a snapshot has ended.
//!
//! ```text
//!   a listing lacks what this machine has a receipt for ─▶ the leaf of its end, proved to a signed log ─▶ forgotten
//!                                                            └ none ─▶ ROLLBACK_DETECTED
//! ```
//!
//! Promises: that a snapshot has ended is believed only from a log that a majority of the voters signed and that
//! continues what this machine has seen: a node cannot hide one by saying so. Not here: what keeps a snapshot (the rules).

use bytes::Bytes;
use strongroom_format::codec;
use strongroom_format::command::Body;
use strongroom_format::ending::EndOrder;
use strongroom_format::id::{SnapshotId, VaultName};
use strongroom_format::merkle;
use strongroom_format::receipt::{AuditEvent, Expired, Receipt, SignedCheckpoint, Voters};
use strongroom_proto::v1 as pb;

use crate::audit::hashes;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::vault::{VerifiedVault, Wanted};

/// The kind of the record of an end ([`EndOrder::kind`]).
const DELETED: u16 = EndOrder::FIRST_KIND;

/// The end of a snapshot, proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Who ended it: an admin, or the vault's policy.
    pub by: String,
    /// The reason that was given, or what a policy's is.
    pub reason: String,
    /// When, in milliseconds since 1970, by the wall clock of a node: a label.
    pub ended_unix_ms: i64,
    /// The number of the leaf in the tenant's log.
    pub leaf_index: u64,
}

impl Client {
    /// Ends snapshots, one after the other, for ever. Stops at the first that is refused.
    ///
    /// # Errors
    /// `Refused` with `RETENTION_ACTIVE`, `LEGAL_HOLD` or `PINNED` for what is kept, `ROLE` for whoever is no admin.
    pub async fn delete_snapshots(
        &self,
        snapshots: &[SnapshotId],
        reason: &str,
        mut done: impl FnMut(SnapshotId) -> Result<()>,
    ) -> Result<()> {
        let session = Session::open(self, self.topology().home, 0).await?;
        let mut ended = Ok(());
        for snapshot in snapshots {
            let order = EndOrder::DeleteSnapshot { snapshot: *snapshot, reason: reason.to_owned() };
            ended = session.call(Body::End(order)).await.and_then(|_| done(*snapshot));
            if ended.is_err() {
                break;
            }
        }
        session.end().await;
        ended
    }

    /// Ends a vault in which no snapshot is left. Its name is never given again.
    ///
    /// # Errors
    /// `Refused` with `VAULT_NOT_EMPTY` while a snapshot is left in it, `NOT_FOUND` if there is no such vault.
    pub async fn delete_vault(&self, name: &VaultName, reason: &str) -> Result<()> {
        let vault = VerifiedVault::fetch(self, Wanted::Name(name)).await?.statement.vault;
        let session = Session::open(self, self.topology().home, 0).await?;
        let done = session.call(Body::End(EndOrder::DeleteVault { vault, reason: reason.to_owned() })).await;
        session.end().await;
        done.map(|_| ())
    }

    /// The end of a snapshot that the tenant's log says has ended.
    ///
    /// # Errors
    /// `Refused` with `NOT_FOUND` if the node shows no end, or with what [`Client::snapshots`] says of a log that is not
    /// believed.
    pub async fn ended(&self, snapshot: SnapshotId) -> Result<Ended> {
        let known = self.0.state.log()?;
        let old_size = known.as_ref().map_or(0, |known| known.checkpoint.size);
        let request = pb::GetReceiptRequest { snapshot: Bytes::copy_from_slice(snapshot.as_bytes()), old_size };
        let reply = self
            .read(self.topology().home, |mut vaults| {
                let request = request.clone();
                async move { vaults.get_receipt(request).await }
            })
            .await?;
        let receipt: Receipt = codec::decode(&reply.receipt)?;
        let voters: Voters = codec::decode(&reply.voters)?;
        let ended = read(snapshot, &receipt)?;
        let Receipt { checkpoint, signatures, .. } = receipt;
        let checkpoint = SignedCheckpoint { checkpoint, voters, signatures };
        self.believe(known, &checkpoint, hashes(&reply.consistency)?).await?;
        Ok(ended)
    }

    /// Whether a snapshot for which this machine has a receipt is missing because it has ended. Then the receipt is
    /// forgotten, and nothing is missing any more.
    pub(crate) async fn has_ended(&self, snapshot: SnapshotId) -> Result<bool> {
        match self.ended(snapshot).await {
            Ok(_) => {
                self.0.state.forget_receipts(snapshot)?;
                Ok(true)
            }
            Err(error) if matches!(error.reason(), Some("NOT_FOUND" | "NOT_ENDED")) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What a leaf says of an end, if it is in the log of its checkpoint. Whose log that is, and who signed it, is judged
/// elsewhere.
fn read(snapshot: SnapshotId, receipt: &Receipt) -> Result<Ended> {
    let not_ended =
        || Error::refused("NOT_FOUND", "NOT_ENDED", format_args!("snapshot {snapshot} has not ended"), "nothing to do");
    let (by, reason) = match &receipt.record.event {
        AuditEvent::Decision { kind: DELETED, principal, subject, allowed: true, reason }
            if subject.as_slice() == snapshot.as_bytes() =>
        {
            (principal.to_string(), reason.clone())
        }
        AuditEvent::Expired(expired) if expired.snapshot == snapshot => (expired.by(), Expired::REASON.to_owned()),
        AuditEvent::Decision { .. } | AuditEvent::Expired(_) | AuditEvent::Committed(_) | AuditEvent::Batch { .. } => {
            return Err(not_ended());
        }
    };
    let (leaf, checkpoint) = (receipt.record.leaf(&receipt.salt), &receipt.checkpoint);
    merkle::verify_inclusion(receipt.leaf_index, checkpoint.size, &leaf, &receipt.proof, &checkpoint.root).map_err(
        |fault| Error::provenance(format_args!("the end of snapshot {snapshot} is not in the log: {fault}")),
    )?;
    Ok(Ended { by, reason, ended_unix_ms: receipt.record.wall_unix_ms, leaf_index: receipt.leaf_index })
}
