//! Receipts in hand: fetched once more, or verified without a cluster.
//!
//! ```text
//!   receipt ─▶ which voters does its checkpoint name? ─▶ a set that this machine has believed ─▶ a majority of it signed?
//! ```
//!
//! Promises: offline nothing is believed but what was believed online before, here ([`Keys::of_profile`]) or where a saved
//! `log` comes from ([`Keys::saved`]). Not here: what a receipt is (`strongroom_format::receipt`).

use std::path::Path;

use bytes::Bytes;
use strongroom_format::codec;
use strongroom_format::envelope::Envelope;
use strongroom_format::id::SnapshotId;
use strongroom_format::receipt::{AuditEvent, Committed, Receipt, ReceiptTrust, SignedCheckpoint, Voters};
use strongroom_format::sign::Signed;
use strongroom_proto::v1 as pb;

pub use crate::backup::proof::Proof;
use crate::backup::proof::Wanted as WantedReceipt;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::profile::Profile;
use crate::small_file;
use crate::state::State;
use crate::vault::{VerifiedVault, Wanted};

/// No saved checkpoint is longer: hex of its canonical bytes.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// What this machine, or a saved file, knows of who signs.
#[derive(Clone, Debug)]
pub struct Keys {
    log: SignedCheckpoint,
    state: Option<State>,
}

/// What a receipt proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The snapshot, its envelope's digest, and how strongly it lay when it was committed.
    pub committed: Committed,
    /// When it was committed, in milliseconds since 1970, by the wall clock of a node: a label.
    pub wall_unix_ms: i64,
    /// The number of its leaf in the tenant's log.
    pub leaf_index: u64,
    /// How many leaves the log had.
    pub log_size: u64,
    /// How many voters signed.
    pub signatures: usize,
    /// How many voters there were.
    pub voters: usize,
}

impl Keys {
    /// As the state directory of a profile has them. Asks nobody.
    ///
    /// # Errors
    /// `Refused` with `NO_CHECKPOINT` if this machine has never seen the tenant's log.
    pub fn of_profile(profile: &Profile) -> Result<Self> {
        let state = State::open(&profile.tenant()?.state)?;
        let log = state.log()?.ok_or_else(|| {
            Error::refused(
                "FAILED_PRECONDITION",
                "NO_CHECKPOINT",
                "this machine has not seen the tenant's log yet, so it knows no voter's key",
                "list snapshots once with this profile, or name a saved file with --voters",
            )
        })?;
        Ok(Self { log, state: Some(state) })
    }

    /// From a copy of the file `log` of a state directory.
    ///
    /// # Errors
    /// `Failed` if it cannot be read, `Refused` with `VOTERS_FILE` if it is no such file.
    pub fn saved(path: &Path) -> Result<Self> {
        let text = small_file::read_text(path, LOG_BYTES_MAX).map_err(|cause| Error::file("read", path, cause))?;
        let log: Option<SignedCheckpoint> =
            hex::decode(text.trim_end()).ok().and_then(|bytes| codec::decode(&bytes).ok());
        let log = log.filter(|log| log.verify().is_ok()).ok_or_else(|| {
            Error::refused(
                "INVALID_ARGUMENT",
                "VOTERS_FILE",
                format_args!("{} is no saved checkpoint of a tenant's log", path.display()),
                "copy the file `log` from a state directory that you trust",
            )
        })?;
        Ok(Self { log, state: None })
    }

    /// Verifies a receipt.
    ///
    /// # Errors
    /// `Refused` with `RECEIPT_INVALID` if it proves nothing, `VOTERS_UNKNOWN` if it is signed by voters that are not
    /// known here, `ROLLBACK_DETECTED` if it is of another log than the one that is known.
    pub fn verify(&self, bytes: &[u8]) -> Result<Verified> {
        let receipt: Receipt = codec::decode(bytes)?;
        let invalid = |why: &dyn std::fmt::Display| {
            Error::refused(
                "FAILED_PRECONDITION",
                "RECEIPT_INVALID",
                format_args!("the receipt proves nothing: {why}"),
                "fetch it again with `strongroom receipt get`, and tell whoever gave it to you",
            )
        };
        let AuditEvent::Committed(claimed) = receipt.record.event.clone() else {
            return Err(invalid(&"it is about no snapshot"));
        };
        let voters = self.voters(&receipt)?;
        let trust = ReceiptTrust {
            cluster: self.log.checkpoint.cluster,
            tenant: self.log.checkpoint.tenant,
            voters: &voters.keys,
            signatures_min: voters.majority(),
        };
        let committed =
            receipt.verify(claimed.snapshot, &claimed.envelope, &trust).cloned().map_err(|fault| invalid(&fault))?;
        if receipt.checkpoint.size == self.log.checkpoint.size && receipt.checkpoint.root != self.log.checkpoint.root {
            return Err(Error::refused(
                "FAILED_PRECONDITION",
                "ROLLBACK_DETECTED",
                "the receipt is of another log of the same length than the one that is known here",
                "keep both as evidence and tell whoever runs the cluster",
            ));
        }
        Ok(Verified {
            committed,
            wall_unix_ms: receipt.record.wall_unix_ms,
            leaf_index: receipt.leaf_index,
            log_size: receipt.checkpoint.size,
            signatures: receipt.signatures.len(),
            voters: voters.keys.len(),
        })
    }

    fn voters(&self, receipt: &Receipt) -> Result<Voters> {
        let named = &receipt.checkpoint.voters;
        if self.log.voters.digest() == *named {
            return Ok(self.log.voters.clone());
        }
        let earlier = match &self.state {
            Some(state) => state.voters(named)?,
            None => None,
        };
        earlier.filter(|voters| voters.digest() == *named).ok_or_else(|| {
            Error::refused(
                "FAILED_PRECONDITION",
                "VOTERS_UNKNOWN",
                "the receipt names voters that are not known here",
                "verify it where the snapshot was made, or fetch a newer receipt with `strongroom receipt get`",
            )
        })
    }
}

impl Client {
    /// Fetches and verifies the receipt of a snapshot that is committed.
    ///
    /// # Errors
    /// `Refused` with `NOT_FOUND`, `RECEIPT_INVALID`, `ROLLBACK_DETECTED`, …; `Unavailable` while too few voters sign.
    pub async fn receipt(&self, snapshot: SnapshotId) -> Result<Proof> {
        let request = pb::GetSnapshotRequest {
            id: Bytes::copy_from_slice(snapshot.as_bytes()),
            prefix: String::new(),
            vault: Bytes::new(),
        };
        let reply = self
            .read(self.topology().home, |mut vaults| {
                let request = request.clone();
                async move { vaults.get_snapshot(request).await }
            })
            .await;
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => return Err(crate::audit::not_hidden(self, snapshot, error).await),
        };
        let said = reply.snapshot.ok_or_else(|| Error::broken("the node's answer has no snapshot"))?;
        let signed: Signed<Envelope> = codec::decode(&said.envelope)?;
        let vault = VerifiedVault::fetch(self, Wanted::Id(signed.unverified()?.vault)).await?;
        let envelope = self.verified_envelope(&vault, &signed)?;
        if envelope.snapshot != snapshot {
            return Err(Error::provenance("the node answered with another snapshot's envelope"));
        }
        let wanted =
            WantedReceipt { snapshot, envelope: &signed.digest(), vault: envelope.vault, label: &envelope.label };
        Proof::fetch(self, wanted).await
    }
}
