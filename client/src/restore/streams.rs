//! Wholes: what their streams are, and all of them into one directory.
//!
//! ```text
//!   whole ─gate─▶ its envelope names streams ─▶ each: gate, the digest that the whole names, ticket, name, vault
//!   DIR absent   .DIR.strongroom-…/<stream>/… ──all there──rename──▶ DIR
//!   DIR there    DIR/<stream>/… each whole or not at all
//! ```
//!
//! Promises: a stream is believed as part of a whole only if the opener's envelope names the envelope that its writer
//! signed, both MACed under their writers' sender keys; a stream of the same name from another whole is refused (N44).
//! Several machines restore in parallel by taking streams each. Not here: restoring one of them (`restore.rs`).

use std::path::Path;

use strongroom_format::gathered::{NamedStream, StreamOf};
use strongroom_format::id::{SnapshotId, StreamName};
use strongroom_format::sign;

use super::outer::Outer;
use super::staging::Marker;
use super::visit::gate_of;
use super::{Earlier, RestoreRequest, Restored, blocking};
use crate::client::Client;
use crate::error::{Error, Result};

/// What was restored of each stream, by name.
pub type RestoredStreams = Vec<(StreamName, Restored)>;

impl Client {
    /// The streams of a snapshot by name; empty if it is no whole. For restorers.
    ///
    /// # Errors
    /// `Refused` with `NOT_FOUND`, or `PROVENANCE_INVALID` as [`Client::restore`].
    pub async fn streams(&self, snapshot: SnapshotId) -> Result<Vec<NamedStream>> {
        let gate = gate_of(self, snapshot).await?;
        Ok(gate.envelope.gathered.whole().map(|whole| whole.streams.clone()).unwrap_or_default())
    }

    /// The snapshot that is one stream of a whole, once it is proved to be that.
    ///
    /// # Errors
    /// `Refused` with `NOT_FOUND` if it has no such stream, `PROVENANCE_INVALID` if the stream is not what the whole says.
    pub async fn find_stream(&self, whole: SnapshotId, name: &StreamName) -> Result<SnapshotId> {
        let gate = gate_of(self, whole).await?;
        let found = gate.envelope.gathered.whole().and_then(|all| Some((all.ticket, all.stream(name)?)));
        let (ticket, named) = found.ok_or_else(|| {
            Error::refused(
                "NOT_FOUND",
                "NO_SUCH_STREAM",
                format_args!("snapshot {whole} has no stream {name}"),
                "see `strongroom ls SNAPSHOT` for the streams of a whole",
            )
        })?;
        let stream = gate_of(self, named.snapshot).await?.envelope;
        let says = StreamOf { ticket, name: name.clone() };
        let is_it = sign::digest_of(&stream) == named.envelope
            && stream.writer == named.writer
            && stream.vault == gate.envelope.vault
            && stream.gathered.stream() == Some(&says);
        if !is_it {
            return Err(Error::provenance(format_args!("stream {name} is not what the whole says of it")));
        }
        Ok(named.snapshot)
    }

    /// Restores every stream of a whole, each into a directory of its name in the target. Where the target was absent it
    /// appears when all streams are there; else each appears when it is whole.
    ///
    /// # Errors
    /// As [`Client::restore`]; `Refused` with `STREAMS` if the snapshot is no whole, or if paths are named, or an earlier
    /// attempt is to be gone on from: those are for one stream at a time.
    pub async fn restore_streams(&self, request: RestoreRequest) -> Result<RestoredStreams> {
        if !request.paths.is_empty() || !request.globs.is_empty() || request.earlier == Earlier::Continued {
            return Err(one_by_one("paths are restored, and restores gone on with, one stream at a time"));
        }
        let gate = gate_of(self, request.snapshot).await?;
        let Some(whole) = gate.envelope.gathered.whole() else {
            return Err(one_by_one("the snapshot has no streams"));
        };
        let marker = Marker { tenant: gate.envelope.tenant, vault: gate.envelope.vault, snapshot: request.snapshot };
        let (to, occupied) = (request.to.clone(), request.occupied);
        let outer = blocking(move || Outer::claim(&to, occupied, marker)).await?;
        let done = self.each_stream(&request, whole.streams.iter().map(|named| &named.name), outer.path()).await;
        match done {
            Ok(restored) => {
                blocking(move || outer.publish()).await?;
                Ok(restored)
            }
            Err(error) => {
                blocking(move || outer.discard()).await?;
                Err(error)
            }
        }
    }

    async fn each_stream(
        &self,
        request: &RestoreRequest,
        names: impl Iterator<Item = &StreamName>,
        into: &Path,
    ) -> Result<RestoredStreams> {
        let mut restored = Vec::new();
        for name in names {
            let snapshot = self.find_stream(request.snapshot, name).await?;
            let to = into.join(name.0.as_str());
            let one = self.restore(RestoreRequest { snapshot, to, ..request.clone() }).await?;
            restored.push((name.clone(), one));
        }
        Ok(restored)
    }
}

/// Why something cannot be done with a whole, which has streams instead of files.
pub fn one_stream_at_a_time() -> Error {
    one_by_one("the snapshot has streams instead of files")
}

fn one_by_one(why: &str) -> Error {
    Error::refused("INVALID_ARGUMENT", "STREAMS", why, "name the stream with --stream NAME, and run it for each")
}
