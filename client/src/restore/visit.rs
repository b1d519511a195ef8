//! A visit to one snapshot: it passed the gate, and a restore session pins it until the visit ends.
//!
//! Not here: what the gate asks (`gate.rs`), what is done meanwhile.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strongroom_format::command::{BlobRef, Body};
use strongroom_format::id::SnapshotId;
use strongroom_format::outcome::Done;
use strongroom_proto::v1 as pb;

use super::gate::Gate;
use crate::audit;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::{Session, unexpected};
use crate::throttle::Throttle;

/// A restore may last so long before its pin ends.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// So many bad blobs are reported.
const REPORTS_MAX: usize = 64;

/// A snapshot that passed the gate, pinned by a restore session.
pub(crate) struct Visit {
    pub gate: Arc<Gate>,
    session: Session,
}

impl Visit {
    /// Passes the gate and opens the session.
    pub(crate) async fn begin(client: &Client, snapshot: SnapshotId, purpose: &str) -> Result<Self> {
        Self::begin_at_most(client, snapshot, purpose, None).await
    }

    /// The same; fetches at most so many bytes a second.
    pub(crate) async fn begin_at_most(
        client: &Client,
        snapshot: SnapshotId,
        purpose: &str,
        bytes_per_second: Option<NonZeroU64>,
    ) -> Result<Self> {
        let mut gate = gate_of(client, snapshot).await?;
        let home = client.topology().home;
        gate.throttle = Throttle::new(bytes_per_second);
        let session = Session::open(client, home, 0).await.map_err(nothing_changed)?;
        let lifetime_ms = u64::try_from(LIFETIME.as_millis()).expect("a day");
        let body = Body::OpenRestore { snapshots: vec![snapshot], purpose: purpose.to_owned(), lifetime_ms };
        match session.call(body).await.map_err(nothing_changed)? {
            Done::RestoreOpened { restore, .. } => gate.restore = restore,
            other => return Err(unexpected(&other)),
        }
        Ok(Self { gate: Arc::new(gate), session })
    }

    /// A courtesy: it ends by itself.
    pub(crate) async fn end(self) {
        let ends = async {
            if let Err(error) = self.session.call(Body::EndRestore { restore: self.gate.restore }).await {
                tracing::debug!(%error, "a restore session was not ended");
            }
            self.session.end().await;
        };
        let _ended = tokio::time::timeout(Duration::from_secs(2), ends).await;
    }

    /// Says which blobs do not open, so that the next backup sends their chunks again.
    pub(crate) async fn report(&self, bad: &BTreeSet<BlobRef>) {
        for BlobRef { chunk, blob } in bad.iter().take(REPORTS_MAX).copied() {
            let envelope = &self.gate.envelope;
            let body = Body::ReportBlob {
                vault: envelope.vault,
                domain: envelope.domain,
                chunk,
                blob,
                snapshot: envelope.snapshot,
            };
            if let Err(error) = self.session.call(body).await {
                tracing::warn!(%error, %blob, "a blob that does not open was not reported");
            }
        }
    }
}

/// The gate of a snapshot, passed.
pub(crate) async fn gate_of(client: &Client, snapshot: SnapshotId) -> Result<Gate> {
    client.refresh_topology().await?;
    let request = pb::GetSnapshotRequest {
        id: Bytes::copy_from_slice(snapshot.as_bytes()),
        prefix: String::new(),
        vault: Bytes::new(),
    };
    let reply = client
        .read(client.topology().home, |mut vaults| {
            let request = request.clone();
            async move { vaults.get_snapshot(request).await }
        })
        .await;
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => return Err(audit::not_hidden(client, snapshot, error).await),
    };
    client.look_at_log().await?;
    Gate::pass(client, snapshot, reply).await
}

/// A restore session that may or may not have been opened ends by itself and changed nothing of the caller's: try again.
fn nothing_changed(error: Error) -> Error {
    match error {
        Error::Unknown { message } => Error::Unavailable { message },
        Error::Refused { .. } | Error::Failed { .. } | Error::Unavailable { .. } => error,
    }
}
