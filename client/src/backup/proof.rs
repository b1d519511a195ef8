//! The receipt of a snapshot, fetched and verified.
//!
//! Promises: what it says is what a majority of the home shard's voters signed, about just this snapshot and envelope; the
//! log that it is in continues what this machine has seen (`audit.rs`), and from now on this machine remembers the
//! snapshot: a listing without it is refused. Not here: what a receipt is (`strongroom_format::receipt`).

use bytes::Bytes;
use strongroom_format::codec;
use strongroom_format::id::{Digest, SnapshotId, VaultId};
use strongroom_format::label::Label;
use strongroom_format::receipt::{Committed, Receipt, ReceiptTrust, SignedCheckpoint, Voters};
use strongroom_proto::v1 as pb;

use crate::audit::hashes;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::state::Noted;

/// A receipt that was verified.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The receipt.
    pub receipt: Receipt,
    /// Its canonical bytes.
    pub bytes: Bytes,
    /// What members vouch for.
    pub says: Committed,
}

/// A snapshot whose receipt is wanted, as whoever wants it knows it.
pub(crate) struct Wanted<'a> {
    pub snapshot: SnapshotId,
    pub envelope: &'a Digest,
    pub vault: VaultId,
    pub label: &'a Label,
}

impl Proof {
    /// Of a snapshot that is committed.
    pub(crate) async fn fetch(client: &Client, wanted: Wanted<'_>) -> Result<Self> {
        let Wanted { snapshot, envelope, vault, label } = wanted;
        let known = client.0.state.log()?;
        let old_size = known.as_ref().map_or(0, |known| known.checkpoint.size);
        let request = pb::GetReceiptRequest { snapshot: Bytes::copy_from_slice(snapshot.as_bytes()), old_size };
        let topology = client.topology();
        let reply = client
            .read(topology.home, |mut vaults| {
                let request = request.clone();
                async move { vaults.get_receipt(request).await }
            })
            .await?;
        let receipt: Receipt = codec::decode(&reply.receipt)?;
        let voters: Voters = codec::decode(&reply.voters)?;
        let trust = ReceiptTrust {
            cluster: topology.cluster,
            tenant: topology.founding.tag,
            voters: &voters.keys,
            signatures_min: voters.majority(),
        };
        let says = receipt.verify(snapshot, envelope, &trust).cloned().map_err(|fault| {
            Error::refused(
                "FAILED_PRECONDITION",
                "RECEIPT_INVALID",
                format_args!("snapshot {snapshot} may be committed, but {fault}"),
                "run `strongroom verify` on the snapshot and tell whoever runs the cluster",
            )
        })?;
        // Who these voters are is judged there.
        let checkpoint =
            SignedCheckpoint { checkpoint: receipt.checkpoint.clone(), voters, signatures: receipt.signatures.clone() };
        client.believe(known, &checkpoint, hashes(&reply.consistency)?).await?;
        let noted = Noted { snapshot, vault, by: client.identity().clone(), label: label.clone() };
        client.0.state.note_receipt(&noted)?;
        Ok(Self { receipt, bytes: reply.receipt, says })
    }
}
