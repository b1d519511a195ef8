//! Asking a shard what it knows already.
//!
//! The answer is a hint: it may be stale, and what turns out to be missing is sent after all (`distrust.rs`).

use std::collections::BTreeMap;

use bytes::Bytes;
use strongroom_format::id::{BlobId, ChunkId, DekId, DomainId, GroupId, VaultId};
use strongroom_proto::v1 as pb;

use crate::client::Client;
use crate::error::Result;

/// One writer's domain in one shard.
pub(crate) struct Shelf<'a> {
    pub client: &'a Client,
    pub group: GroupId,
    pub vault: VaultId,
    pub domain: DomainId,
}

/// A chunk that the shard knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub blob: BlobId,
    pub stored_bytes: u32,
    pub dek: DekId,
}

impl Shelf<'_> {
    /// Which of these chunks are known; at most 4096 are asked about at once.
    pub(crate) async fn which(&self, chunks: &[ChunkId]) -> Result<BTreeMap<ChunkId, Known>> {
        let mut all = BTreeMap::new();
        for some in chunks.chunks(4096) {
            let request = pb::WhichRequest {
                group: self.group.0,
                vault: Bytes::copy_from_slice(self.vault.as_bytes()),
                domain: Bytes::copy_from_slice(self.domain.as_bytes()),
                chunks: some.iter().map(|chunk| Bytes::copy_from_slice(chunk.as_bytes())).collect(),
                nodes: Vec::new(),
            };
            let reply = self
                .client
                .read(self.group, |mut client| {
                    let request = request.clone();
                    async move { client.which(request).await }
                })
                .await?;
            all.extend(reply.chunks.into_iter().filter_map(|known| {
                let blob = BlobId::from_slice(&known.blob).ok()?;
                let dek = DekId::from_slice(&known.dek).ok()?;
                Some((ChunkId::from_slice(&known.chunk).ok()?, Known { blob, stored_bytes: known.stored_bytes, dek }))
            }));
        }
        Ok(all)
    }
}
