//! A visit to one snapshot: it passed the gate, and a restore session pins it until the visit ends.
//!
//! Promises: a visit that is dropped (its caller was cancelled, or failed) is ended beside everything else; one whose process
//! was killed ends by itself after a day, or when the restore is run again (`staging.rs` has its number).
//! Not here: what the gate asks (`gate.rs`), what is done meanwhile.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strongroom_format::command::{BlobRef, Body};
use strongroom_format::id::{SessionId, SnapshotId};
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
    /// `None` once it was ended.
    session: Option<Session>,
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
        // From here on whoever goes away leaves something open.
        let mut opening = Opening(Some(session));
        let session = opening.0.as_ref().expect("it was put there");
        let lifetime_ms = u64::try_from(LIFETIME.as_millis()).expect("a day");
        let body = Body::OpenRestore { snapshots: vec![snapshot], purpose: purpose.to_owned(), lifetime_ms };
        match session.call(body).await.map_err(nothing_changed)? {
            Done::RestoreOpened { restore, .. } => gate.restore = restore,
            other => return Err(unexpected(&other)),
        }
        Ok(Self { gate: Arc::new(gate), session: opening.0.take() })
    }

    /// A courtesy: it ends by itself.
    pub(crate) async fn end(mut self) {
        if let Some(session) = self.session.take() {
            let _ended = tokio::time::timeout(Duration::from_secs(2), end(session, self.gate.restore)).await;
        }
    }

    /// Ends the restore session of an earlier attempt, as a courtesy. Another identity's is as if absent.
    pub(crate) async fn end_earlier(&self, restore: SessionId) {
        let Some(session) = self.session.as_ref().filter(|_| restore != self.gate.restore) else { return };
        let end = session.call(Body::EndRestore { restore });
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(2), end).await {
            tracing::debug!(%error, %restore, "the restore session of an earlier attempt was not ended");
        }
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
            let Some(session) = &self.session else { return };
            if let Err(error) = session.call(body).await {
                tracing::warn!(%error, %blob, "a blob that does not open was not reported");
            }
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let (client, restore) = (session.client().clone(), self.gate.restore);
            client.0.farewells.begin(end(session, restore));
        }
    }
}

async fn end(session: Session, restore: SessionId) {
    if let Err(error) = session.call(Body::EndRestore { restore }).await {
        tracing::debug!(%error, "a restore session was not ended");
    }
    session.end().await;
}

/// A client session in which a restore session is being opened.
struct Opening(Option<Session>);

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(session) = self.0.take() {
            let client = session.client().clone();
            client.0.farewells.begin(async move { session.end().await });
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
